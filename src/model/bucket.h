/* SPDX-License-Identifier: MIT */
/* A token bucket: what a rate (model/rate.h) has left. Pure: the time is handed in, from
 * a clock that never goes back. Any thread.
 *
 * It fills by rate.n in rate.per_for and ER_BUCKET_MARGIN (at most a twentieth of the
 * span): tokens are counted when a task is claimed, and whoever set the rate counts when
 * it has started, which takes now more, now less. It holds rate.burst, or what is
 * `wanted` from it at once when that is more. It counts in whole parts of a token, so
 * that nothing is rounded: it holds what was asked for at the very microsecond that
 * er_bucket_opens_at has named. */
#ifndef ER_MODEL_BUCKET_H
#define ER_MODEL_BUCKET_H

#include <stdbool.h>

#include "base/clock.h"
#include "model/rate.h"

#define ER_BUCKET_MARGIN (50 * ER_USEC_PER_MS)

__extension__ typedef __int128 er_bucket_parts;

struct er_bucket {
    er_bucket_parts level; /* tokens x er_bucket_span */
    er_usec at;            /* when it held that */
};

/* In which it fills by rate.n: the rate's span and the margin. */
er_usec er_bucket_span(const struct er_rate *r);
/* An empty bucket. */
void er_bucket_init(struct er_bucket *b, er_usec now);
/* What one start takes: its cost, or 1 of a rate that counts starts. */
int64_t er_bucket_need(const struct er_rate *r, int64_t cost);
/* Fills it up to now; a moment before the last one changes nothing. */
void er_bucket_fill(struct er_bucket *b, const struct er_rate *r, int64_t wanted,
                    er_usec now);
/* Whether it holds that many tokens; er_bucket_fill comes first. */
bool er_bucket_has(const struct er_bucket *b, const struct er_rate *r, int64_t n);
/* Takes tokens; it must hold them. */
void er_bucket_take(struct er_bucket *b, const struct er_rate *r, int64_t n);
/* Gives tokens back that were not used; what does not fit is lost. */
void er_bucket_give(struct er_bucket *b, const struct er_rate *r, int64_t n,
                    int64_t wanted);
/* When it will hold n tokens if nobody takes any: the moment of the last fill when it
 * does already, ER_NEVER when that is too far away to tell. */
er_usec er_bucket_opens_at(const struct er_bucket *b, const struct er_rate *r, int64_t n);
/* Tokens as a number for people. */
double er_bucket_level(const struct er_bucket *b, const struct er_rate *r);

#endif
