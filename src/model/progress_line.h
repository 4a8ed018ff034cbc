/* SPDX-License-Identifier: MIT */
/* One line that a task wrote to its progress descriptor, or the words after `errand
 * progress`. Pure; any thread.
 *
 *   40 · 40% · 40.5 % linking      percent, then a message
 *   2/4 · 2/4 cloning              current of total, then a message
 *   {"percent": 40, ...}           JSON, which the caller reads
 *
 * Numbers may be out of range (-3, 140, 5/4): they are clamped where they are used. */
#ifndef ER_MODEL_PROGRESS_LINE_H
#define ER_MODEL_PROGRESS_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/progress.h"

#define ER_PROGRESS_LINE_MAX (1 << 20) /* bytes of a line, JSON included; callers cut */

struct er_progress_line {
    bool is_json; /* the line begins with '{'; nothing else is set */
    bool is_blank;
    bool has_percent, has_current; /* one of them, with current its total */
    double percent;
    int64_t current, total;
    char message[ER_PROGRESS_TEXT + 1]; /* cleaned; "" = none was given */
};

/* Reads the n bytes of a line, with or without its line end: 0, or ER_EINVALID with words
 * such as `invalid progress 'x' (try 40, '40% linking', '2/4 cloning' or JSON)`. */
int er_progress_line_parse(const char *line, size_t n, struct er_progress_line *out_line,
                           struct er_err *err) ER_MUSTCHECK;
/* The update that a plain line means; it borrows the message from `line`. A line without
 * words leaves the message as it was. */
struct er_progress_update er_progress_line_update(const struct er_progress_line *line);

#endif
