/* SPDX-License-Identifier: MIT */
/* The way on, as an answer names it. Who asks by a connection has the command errand; a
 * program that has the engine inside has the functions of errand.h, and there may be no
 * socket that a command could reach. On the loop's thread. */
#ifndef ER_API_HINT_H
#define ER_API_HINT_H

#include "api/api.h"

/* What can be done: with one task, one queue, or all that is there. */
enum er_hint {
    ER_HINT_RETRY,
    ER_HINT_CANCEL,
    ER_HINT_REQUEUE_HELD,
    ER_HINT_RESUME,
    ER_HINT_SHOW,
    ER_HINT_RESUME_QUEUE,
    ER_HINT_CANCEL_QUEUE, /* all of its tasks */
    ER_HINT_RESUME_ALL,
    ER_HINT_CLEAN,
    ER_HINT_INPUT,
};
/* Adds what does it for who asks, to be followed by what that comes to ("errand retry 7",
 * " runs it again"). what: the task's id, the queue's name; NULL where it is about
 * neither. */
void er_hint_add(const struct er_call *call, enum er_hint hint, const char *what,
                 struct er_buf *b);
/* The same for a task. */
void er_hint_add_task(const struct er_call *call, enum er_hint hint, er_task_id id,
                      struct er_buf *b);
/* "the daemon", or what stands in its place around an engine inside a program. */
const char *er_hint_host(const struct er_api *api);

#endif
