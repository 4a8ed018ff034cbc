/* SPDX-License-Identifier: MIT */
/* Waiting until a task is final: the daemon holds the answer back until it is. Goes on
 * over a restart of the daemon. Blocking. */
#ifndef ER_APP_AWAIT_H
#define ER_APP_AWAIT_H

#include "app/app.h"
#include "model/task.h"

enum er_await {
    ER_AWAIT_FINAL,
    ER_AWAIT_STARTED, /* it runs, or has run */
    ER_AWAIT_WHOLE,   /* final, and given with its result, which may be large */
};
/* Waits until the task is so, or until a moment (er_clock_mono; ER_NEVER = no limit; 0 = asks
 * once and takes what is). Gives the task as JSON, or what is left of a removed one; the
 * caller frees it. ER_ETIMEOUT (with the task), ER_ENOTFOUND. */
int er_await_task(struct er_app *app, er_task_id id, enum er_await until,
                  er_usec deadline, json_t **out, struct er_err *err) ER_MUSTCHECK;
/* The exit code of a task's command as a shell would have it: its own, 128 + the signal,
 * 1 when there is none and it did not complete. Says on standard error what the command has
 * not said itself of its end. */
int er_await_end(const json_t *task);
/* For --wait and --follow: waits (showing the output), prints the task if `json`, and
 * returns the command's exit code. */
int er_await_command(struct er_app *app, er_task_id id, bool follow, bool json);
/* Says on standard error why a task that is final did not complete. */
void er_await_complain(const json_t *task);

#endif
