/* SPDX-License-Identifier: MIT */
/* The way of asks to a daemon: a pool of connections to its socket, on the handle's loop.
 * Loop thread. */
#ifndef ER_LIB_WIRE_H
#define ER_LIB_WIRE_H

#include "lib/ask.h"

struct er_wire;
/* Connects for the first time; `done` is called once, never from inside: 0, or the code
 * and its words. socket NULL = the user's own daemon. */
typedef void er_wire_open_fn(void *ctx, int rc, const char *words);
int er_wire_open(struct errand *e, er_wire_open_fn *done, void *ctx, struct er_wire **out,
                 struct er_err *err) ER_MUSTCHECK;
/* Closes all connections, and ends the thread that connects. Asks have ended. The handles
 * are closed by the loop's next rounds; er_wire_free after them. */
void er_wire_close(struct er_wire *w);
void er_wire_free(struct er_wire *w);

void er_wire_send(struct er_wire *w, struct er_ask *ask);
void er_wire_drop(struct er_wire *w, struct er_ask *ask);
bool er_wire_got(const struct er_ask *ask, const char *name, char *out, size_t size);

#endif
