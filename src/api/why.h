/* SPDX-License-Identifier: MIT */
/* Why a task is as it is, in one true sentence. */
#ifndef ER_API_WHY_H
#define ER_API_WHY_H

#include "api/api.h"

/* How many of the tasks that one waits for are named. */
#define ER_WHY_NAMED ((size_t)5)

struct er_show;
/* Adds a sentence, without a capital and a full stop, for a task in any state: what
 * exactly it waits for and until when if that is known; where it runs; how it ended, and
 * by what. `show`: what else was read of it (NULL = nothing). Returns until when (wall)
 * it waits if that is known, or ER_NEVER. */
er_usec er_why(const struct er_call *call, const struct er_task *t,
               const struct er_show *show, struct er_buf *b);
/* "; it is started again in 7s", where a start of the worker is planned. */
void er_why_add_restart(const struct er_api *api, struct er_buf *b);

#endif
