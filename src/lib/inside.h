/* SPDX-License-Identifier: MIT */
/* The door of the engine inside: asks become requests of the API (api/request.h) in the
 * same process. Loop thread. */
#ifndef ER_LIB_INSIDE_H
#define ER_LIB_INSIDE_H

#include "lib/ask.h"

/* Hands a request to the API. Its answer comes with one of the next er_inside_turn. */
void er_inside_send(struct er_ask *ask);
/* Who asked is gone; the ask is freed by its owner. */
void er_inside_drop(struct er_ask *ask);
bool er_inside_got(const struct er_ask *ask, const char *name, char *out, size_t size);

/* The requests whose answers are ready, and the streams that have something to say. */
struct er_inside;
struct er_inside *er_inside_new(struct errand *e);
void er_inside_free(struct er_inside *in);
/* Delivers them. Returns whether there are more already. */
bool er_inside_turn(struct er_inside *in);

/* Whether nothing waits to be delivered. */
bool er_inside_is_quiet(const struct er_inside *in);

#endif
