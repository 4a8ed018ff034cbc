/* SPDX-License-Identifier: MIT */
/* A task as people read it: in one row of a table, in one sentence, in full. The task is
 * the JSON of the daemon. */
#ifndef ER_APP_SHOW_H
#define ER_APP_SHOW_H

#include "app/app.h"
#include "app/render.h"
#include "model/task.h"

/* Prints a value as one line of JSON; 0 or the exit code. */
int er_show_json(const json_t *value);
/* Adds how it ended, or its state: "failed with exit code 3", "was cancelled". */
void er_show_outcome(const json_t *task, struct er_buf *b);
/* Adds in one sentence what exactly it waits for, and until when if that is known. */
void er_show_why(const json_t *task, er_usec now, struct er_buf *b);
/* The columns of er_show_row. */
struct er_table *er_show_table(void);
/* Adds a row: icon, id, name, bar, percent, what it does or how it ended, rate, time. */
void er_show_row(struct er_table *table, const struct er_term *t, const json_t *task,
                 er_usec now);
/* Adds `Running 2 · Queued 5 · Completed 31 · Failed 1` and what else there is. */
void er_show_footer(const struct er_term *t, const json_t *counts, struct er_buf *b);
/* Adds all of a task, with its attempts (an array, or NULL). */
void er_show_task(const struct er_term *t, const json_t *task, const json_t *attempts,
                  er_usec now, struct er_buf *b);
/* Adds output as lines, each indented and made fit for a terminal. */
void er_show_output(const struct er_term *t, const char *s, size_t n, struct er_buf *b);

#endif
