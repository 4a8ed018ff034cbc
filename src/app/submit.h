/* SPDX-License-Identifier: MIT */
/* The options that add, submit and call share, and the JSON they become. The text
 * is built by hand: `errand add` is to take about a millisecond. */
#ifndef ER_APP_SUBMIT_H
#define ER_APP_SUBMIT_H

#include "app/app.h"
#include "base/rand.h"
#include "model/task.h"

struct er_submission {
    const char *name, *queue, *on_lost, *key, *limit_key, *correlation, *cwd,
        *standard_input;
    const char *at, *parent;
    struct er_opt_int priority, retries, cost;
    struct er_opt_span delay, backoff, timeout, grace, expires, heartbeat;
    struct er_opt_list after, tags, meta, env;
    bool hold, input, wait, follow, json;
};
/* What can be changed while a task waits (errand edit takes it too), and the rest. */
extern const struct er_opt er_submit_change_opts[], er_submit_opts[];

/* Checks what the options say together: 0, or ER_EINVALID with words. */
int er_submit_check(const struct er_submission *s, struct er_err *err) ER_MUSTCHECK;
/* Adds `"args":{...}` of a command: one argument is a shell line, several are run as they
 * are; with standard input as the options say. ER_EINVALID: not UTF-8; ER_ETOOBIG. */
int er_submit_command_args(const struct er_submission *s, int n, char **argv,
                           struct er_buf *b, struct er_err *err) ER_MUSTCHECK;
/* Adds the members of er_submit_change_opts that were given, each with a comma before it.
 * Asks the daemon what `@last` is when it is named. */
int er_submit_changes(struct er_app *app, const struct er_submission *s, struct er_buf *b,
                      struct er_err *err) ER_MUSTCHECK;
/* Adds all other members, each with a comma before it: what the options give, the working
 * folder and the environment. Asks the daemon what `@last` is when it is named. */
int er_submit_members(struct er_app *app, const struct er_submission *s, struct er_buf *b,
                      struct er_err *err) ER_MUSTCHECK;
/* Sends one task: its id, and in *answer (which the caller ends) the daemon's answer,
 * short or, with --json, the whole task. */
int er_submit_store(struct er_app *app, const struct er_submission *s,
                    const struct er_buf *body, er_task_id *out,
                    struct er_response *answer, struct er_err *err) ER_MUSTCHECK;
/* Prints an id on a line of its own: 0 or the exit code. */
int er_submit_print_id(er_task_id id);
/* The same with the daemon's answer, on a line of its own. */
int er_submit_print_answer(er_task_id id, const struct er_buf *body);
/* Sends one task and prints its id, or with --json all of it; then waits or follows when
 * the options say so. The exit code. */
int er_submit_send(struct er_app *app, const struct er_submission *s,
                   const struct er_buf *body);

#endif
