/* SPDX-License-Identifier: MIT */
/* Waiting until a task is final: the daemon holds the answer back until it is. Goes on
 * over a restart of the daemon. Blocking. */
#ifndef ER_APP_AWAIT_H
#define ER_APP_AWAIT_H

#include "app/app.h"
#include "model/task.h"

enum er_await { /* bits */
                ER_AWAIT_FINAL = 0,
                ER_AWAIT_STARTED = 1, /* it runs, or has run */
                ER_AWAIT_WHOLE = 2,   /* given with its result, which may be large */
                ER_AWAIT_ANSWERED =
                    4, /* a minute at most when its worker does not answer */
};
/* Waits until the task is so, or until a moment (er_clock_mono; ER_NEVER = no limit; 0 =
 * asks once and takes what is). Gives the task as JSON, or what is left of a removed one;
 * the caller frees it. A note tells, once a command, of a worker that does not answer.
 * ER_ETIMEOUT (with the task), ER_ENOTFOUND. */
int er_await_task(struct er_app *app, er_task_id id, unsigned how, er_usec deadline,
                  json_t **out, struct er_err *err) ER_MUSTCHECK;
/* Looks whether the worker that has the task, as it was given, answers: tells once a
 * command when it does not. */
void er_await_look(struct er_app *app, const json_t *task);
/* The moment until which is waited, of ER_AWAIT_ANSWERED: a minute after a worker was
 * found silent, if it still is; at most the deadline. */
er_usec er_await_until(const struct er_app *app, er_usec deadline);
/* Seconds to ask the daemon to hold an answer back, until a moment: at most what it
 * allows. */
double er_await_seconds(er_usec deadline);
#endif
