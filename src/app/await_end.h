/* SPDX-License-Identifier: MIT */
/* How a task that was waited for has ended, told as a command tells it: by the exit code,
 * and on standard error. */
#ifndef ER_APP_AWAIT_END_H
#define ER_APP_AWAIT_END_H

#include "app/app.h"
#include "model/task.h"

/* The exit code of a task's command as a shell would have it: its own, 128 + the signal,
 * 1 when there is none and it did not complete. Says on standard error what the command
 * has not said itself of its end. */
int er_await_end(const json_t *task);
/* For --wait and --follow: waits (showing the output), prints the task if `json`, and
 * returns the command's exit code. */
int er_await_command(struct er_app *app, er_task_id id, bool follow, bool json);
/* Says on standard error why a task that is final did not complete. */
void er_await_complain(const json_t *task);

#endif
