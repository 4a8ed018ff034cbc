/* SPDX-License-Identifier: MIT */
/* A task's output on ours: whole or its end, once or as it grows, the two streams
 * together, one of them, or each to its own descriptor; or as JSON, one object a piece.
 * Goes on over a restart of the daemon. */
#ifndef ER_APP_OUTPUT_H
#define ER_APP_OUTPUT_H

#include "app/app.h"
#include "model/task.h"

struct er_output_options {
    bool follow;
    int64_t tail;       /* the last N lines; -1 = all */
    int64_t attempt;    /* 0 = the latest */
    const char *stream; /* "stdout", "stderr"; NULL = both */
    bool timestamps;
    bool split;        /* standard error to our standard error */
    bool colour;       /* marks lines of standard error */
    bool json;         /* the daemon's pieces, each an object on a line, with "task" */
    uint64_t *written; /* NULL, or where to put how many bytes were written */
};
/* Writes it. ER_ENOTFOUND when there is no such task or it has no output; ER_ECORRUPT
 * when a part of it cannot be read, after what can. */
int er_output_run(struct er_app *app, er_task_id id, const struct er_output_options *o,
                  struct er_err *err) ER_MUSTCHECK;
/* Adds the last `lines` lines of the latest attempt to b. */
int er_output_tail(struct er_app *app, er_task_id id, int lines, struct er_buf *b,
                   struct er_err *err) ER_MUSTCHECK;

#endif
