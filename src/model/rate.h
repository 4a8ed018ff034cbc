/* SPDX-License-Identifier: MIT */
/* Rates: so many in such a span, as a token bucket. Pure; any thread.
 *
 * As text: `60/1m`; behind it `:starts` (it counts starts, not what they cost) and
 * `:burst=N` (what the bucket holds). */
#ifndef ER_MODEL_RATE_H
#define ER_MODEL_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

#define ER_MAX_RATES 4 /* rates of one queue or limit key that hold at once */

/* A bucket fills by n in every per_for and holds at most `burst` (1: starts are evenly
 * spaced, so that no span of per_for sees more than n). */
struct er_rate {
    int64_t n;       /* from 1 to 10^9 */
    er_usec per_for; /* from 1 ms to 365 days */
    int64_t burst;   /* from 1 to n */
    bool starts;     /* it counts each start as 1; else what it costs */
};

/* Reads `10/1m`, `10/m`, `90000/1m:starts`, `5000/1h:burst=100`: 0 or ER_EINVALID with
 * words. */
int er_rate_parse(const char *text, struct er_rate *out_rate,
                  struct er_err *err) ER_MUSTCHECK;
/* Adds a rate so that er_rate_parse reads the same again, as short as can be: `10/1m`. */
void er_rate_encode(const struct er_rate *rate, struct er_buf *b);

#endif
