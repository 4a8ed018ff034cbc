/* SPDX-License-Identifier: MIT */
/* Pieces of text that rows (show.c) and the full view (show_full.c) share. */
#ifndef ER_APP_SHOW_PRIV_H
#define ER_APP_SHOW_PRIV_H

#include "app/render.h"
#include "base/clock.h"
#include "model/task.h"

#include <jansson.h>
#include <stdbool.h>

#define ER_SHOW_BAR 10 /* cells of a bar */

/* Adds the span between two moments between two texts; nothing, and false, when one of
 * them is unknown. */
bool er_show_add_span(struct er_buf *b, const char *before, er_usec from, er_usec to,
                      const char *after);
/* Adds how long ago a moment was, if it is known. */
void er_show_add_age(struct er_buf *b, const char *before, er_usec at, er_usec now);
/* Adds "exit code 3", "signal 9 (KILL)" or the error's code; false when none is known. */
bool er_show_add_cause(const json_t *task, struct er_buf *b);
/* Adds an amount in short: "1234", "1.2M files"; of bytes "1.2 MB". */
void er_show_add_amount(struct er_buf *b, double v, const char *unit);
/* Adds what a running task does: "2/4 repos", its item, its message. */
void er_show_add_doing(const json_t *task, const json_t *progress, struct er_buf *b);
/* Adds "rate limited, resumes in 45s", "resumes in 45s" or "paused". */
void er_show_add_paused(const json_t *task, er_usec now, struct er_buf *b);

#endif
