/* SPDX-License-Identifier: MIT */
/* Spans of time as people write and read them, and rates. Pure; any thread.
 *
 * A duration is one or more numbers with a unit (ms s m h d), the larger unit first, each
 * unit once: `250ms`, `2s`, `5m`, `1h30m`, `2d`. The last number may have a fraction
 * (`1.5s`, `1h0.5m`); what is below a microsecond is dropped. `0` needs no unit, any
 * other number does. Signs, spaces and exponents are refused. */
#ifndef ER_MODEL_DURATION_H
#define ER_MODEL_DURATION_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

/* The longest span that is accepted: 100 years of 365 days. */
#define ER_DURATION_MAX ((er_usec)36500 * 86400 * ER_USEC_PER_SEC)

/* Reads a duration: 0, or ER_EINVALID with words such as
 * `invalid duration '5 parsecs' (try 250ms, 2s, 5m, 1h30m)`. */
int er_duration_parse(const char *text, er_usec *out_for,
                      struct er_err *err) ER_MUSTCHECK;

#define ER_DURATION_SIZE 32
/* Writes a span for people, two units at most: `450ms`, `3.2s`, `2m05s`, `1h03m`,
 * `2d04h`. Rounds down, so that a minute is never shown before it is over; below zero is
 * `0ms`. */
void er_duration_format(er_usec span_for, char out[ER_DURATION_SIZE]);
/* Writes how long ago something was: `just now` (under a minute, or in the future), `5m
 * ago`, `3h ago`, `2d ago`. */
void er_age_format(er_usec age_for, char out[ER_DURATION_SIZE]);
/* Adds a span so that er_duration_parse reads the same again: `1h30m`, `1.5s`, `0`. Below
 * zero counts as 0. */
void er_duration_encode(er_usec span_for, struct er_buf *b);

#endif
