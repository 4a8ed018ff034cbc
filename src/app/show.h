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
/* Adds the first dependency that did not end as it was to, where there is one, as
 * BEFORE41BETWEEN failed (is running, with `open`: those count that have not ended). */
bool er_show_add_unmet(const json_t *task, const char *before, const char *between,
                       bool open, struct er_buf *b);
/* Adds how it ended, or its state: "failed with exit code 3", "was cancelled". */
void er_show_outcome(const json_t *task, struct er_buf *b);
/* Prints a table and frees it: 0 or the exit code. */
int er_show_table_end(struct er_table *table);
/* Adds "45s" behind `before` for a moment that lies ahead; false when it does not. */
bool er_show_add_in(struct er_buf *b, const char *before, er_usec at, er_usec now);
/* Adds a span given in seconds between two texts. */
void er_show_add_seconds(struct er_buf *b, const char *before, double seconds,
                         const char *after);
/* The colour of a state. */
enum er_style er_show_style(enum er_task_state state);
/* The columns of er_show_row. */
struct er_table *er_show_table(void);
/* Adds a row: icon, id, name, bar, percent, what it does or how it ended, rate, time. */
void er_show_row(struct er_table *table, const struct er_term *t, const json_t *task,
                 er_usec now);
/* Adds `Running 2 · Queued 5 · Completed 31 · Failed 1` and what else there is. */
void er_show_footer(const struct er_term *t, const json_t *counts, struct er_buf *b);
/* What is asked for besides the task itself; zeroed: nothing. */
struct er_show_more {
    const json_t *attempts; /* an array, or NULL */
    const char *why;        /* a sentence, or NULL */
    const json_t *open;     /* the first of the tasks that it still waits for, or NULL */
    int64_t open_more;      /* how many more there are */
};
/* Adds all of a task. */
void er_show_task(const struct er_term *t, const json_t *task,
                  const struct er_show_more *more, er_usec now, struct er_buf *b);
/* Adds output as lines, each indented and made fit for a terminal. */
void er_show_output(const struct er_term *t, const char *s, size_t n, struct er_buf *b);

#endif
