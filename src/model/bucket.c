/* SPDX-License-Identifier: MIT */
/* Filled when it is looked at, from the time that has passed; never by a timer. Numbers
 * are counted in parts of a token and cannot overflow within the bounds of a rate.
 * Taking more than there is is the caller's mistake (er_bucket_has comes before). */
#include "model/bucket.h"

#include "base/error.h"

er_usec
er_bucket_span(const struct er_rate *r)
{
    er_usec margin = r->per_for / 20;
    return r->per_for + (margin < ER_BUCKET_MARGIN ? margin : ER_BUCKET_MARGIN);
}

void
er_bucket_init(struct er_bucket *b, er_usec now)
{
    *b = (struct er_bucket){.level = 0, .at = now};
}

int64_t
er_bucket_need(const struct er_rate *r, int64_t cost)
{
    return r->starts || cost < 1 ? 1 : cost;
}

/* Tokens as parts. No product here overflows: at most 10^9 tokens x 3.2 * 10^13 us, or
 * 10^9 tokens a span x 9.3 * 10^18 us of filling. */
static er_bucket_parts
parts(const struct er_rate *r, int64_t n)
{
    return (er_bucket_parts)n * er_bucket_span(r);
}

static void
cap(struct er_bucket *b, const struct er_rate *r, int64_t wanted)
{
    er_bucket_parts most = parts(r, wanted > r->burst ? wanted : r->burst);
    if (b->level > most) {
        b->level = most;
    }
}

void
er_bucket_fill(struct er_bucket *b, const struct er_rate *r, int64_t wanted, er_usec now)
{
    if (now > b->at) {
        b->level += (er_bucket_parts)r->n * (now - b->at);
        b->at = now;
    }
    cap(b, r, wanted);
}

bool
er_bucket_has(const struct er_bucket *b, const struct er_rate *r, int64_t n)
{
    return b->level >= parts(r, n);
}

void
er_bucket_take(struct er_bucket *b, const struct er_rate *r, int64_t n)
{
    ER_ASSERT(er_bucket_has(b, r, n));
    b->level -= parts(r, n);
}

void
er_bucket_give(struct er_bucket *b, const struct er_rate *r, int64_t n, int64_t wanted)
{
    b->level += parts(r, n);
    cap(b, r, wanted);
}

er_usec
er_bucket_opens_at(const struct er_bucket *b, const struct er_rate *r, int64_t n)
{
    er_bucket_parts missing = parts(r, n) - b->level;
    if (missing <= 0) {
        return b->at;
    }
    er_bucket_parts at = b->at + (missing + r->n - 1) / r->n;
    return at < ER_NEVER ? (er_usec)at : ER_NEVER;
}

double
er_bucket_level(const struct er_bucket *b, const struct er_rate *r)
{
    return (double)b->level / (double)er_bucket_span(r);
}
