/* SPDX-License-Identifier: MIT */
/* What the cmd_*.c share with each other: the entries, for main.c, and pieces that two of
 * them use. */
#ifndef ER_APP_CMD_H
#define ER_APP_CMD_H

#include "app/app.h"
#include "app/submit.h"

extern const struct er_cmd er_cmd_add, er_cmd_submit, er_cmd_call, er_cmd_tasks,
    er_cmd_show, er_cmd_why, er_cmd_log, er_cmd_result, er_cmd_events, er_cmd_wait,
    er_cmd_cancel, er_cmd_pause, er_cmd_resume, er_cmd_retry, er_cmd_remove,
    er_cmd_requeue, er_cmd_send, er_cmd_edit, er_cmd_queue, er_cmd_limit, er_cmd_types,
    er_cmd_progress, er_cmd_stats, er_cmd_clean, er_cmd_doctor, er_cmd_serve,
    er_cmd_worker, er_cmd_shutdown, er_cmd_config, er_cmd_completions, er_cmd_help;

/* Queues a task for each line of standard input: the exit code. */
int er_bulk_submit(struct er_app *app, const struct er_submission *s, const char *type,
                   bool atomic);
/* Prints the usage of one command. */
void er_help_print(const struct er_cmd *cmd);
/* Prints the list of all commands. */
void er_help_print_all(void);

#endif
