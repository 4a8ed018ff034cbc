/* SPDX-License-Identifier: MIT */
/* How long attempts of one signature took: a mean in which the latest weigh most. Each is
 * learnt from twice: under the signature of its type and command, and under that of its
 * type alone. Remembered in memory while in use. What was learnt is written at the
 * commit, but a mean that is known well and hardly moves only now and then: of short
 * tasks each would otherwise pay for two more rows. */
#include "store/sqlite_priv.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define WEIGHT     8    /* the mean is that of about so many latest durations */
#define REMEMBERED 1024 /* after more than these, all are forgotten at a commit */

/* A mean of at least WEIGHT durations that is off by less than one of these in the table
 * may be so for a while. */
#define OFF_PART  16
#define OFF_FOR   (10 * ER_USEC_PER_MS)
#define OFF_WHILE (60 * ER_USEC_PER_SEC)

/* The entry of a signature, read from the table when it was not in memory. */
static int
find(struct er_store *s, int64_t signature, struct er_duration **out)
{
    struct er_duration *d;
    struct er_stmt q;
    HASH_FIND(hh, s->durations, &signature, sizeof signature, d);
    if (d) {
        *out = d;
        return 0;
    }
    d = er_zalloc(sizeof *d);
    if (!d) {
        return er_sqlite_no_memory(&s->c);
    }
    d->signature = signature;
    er_stmt_begin(&q, &s->c, ER_SQL_DURATION_GET);
    er_stmt_i64(&q, signature);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        d->n = er_col_i64(&q, 0);
        d->mean_for = er_col_i64(&q, 1);
        d->stored_for = d->mean_for;
        d->stored_at = er_col_i64(&q, 2);
    }
    er_stmt_end(&q);
    if (rc >= 0) {
        HASH_ADD(hh, s->durations, signature, sizeof d->signature, d);
        rc = d->hh.tbl ? 0 : er_sqlite_no_memory(&s->c);
    }
    if (rc) {
        er_free(d);
        return rc;
    }
    *out = d;
    return 0;
}

int64_t
er_sqlite_type_signature(const char *type)
{
    static const char what[] = "the type alone"; /* seeds are few, texts are not */
    uint64_t seed = XXH3_64bits(what, sizeof what);
    uint64_t h = XXH3_64bits_withSeed(type, strlen(type), seed);
    return h != 0 ? (int64_t)h : 1;
}

int
er_store_type_takes(struct er_store_reader *r, const char *type, er_usec *out_for)
{
    struct er_stmt q;
    er_stmt_begin(&q, er_sqlite_reader(r), ER_SQL_DURATION_GET);
    er_stmt_i64(&q, er_sqlite_type_signature(type));
    int rc = er_stmt_step(&q);
    if (rc >= 0) {
        *out_for = rc == 1 ? er_col_i64(&q, 1) : 0;
    }
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

int
er_sqlite_expected(struct er_store *s, int64_t signature, er_usec *out)
{
    struct er_duration *d = NULL;
    int rc = signature != 0 ? find(s, signature, &d) : 0;
    *out = d ? d->mean_for : 0;
    return rc;
}

/* Whether the table should know. */
static bool
is_news(const struct er_duration *d)
{
    er_usec off_by = d->mean_for > d->stored_for ? d->mean_for - d->stored_for
                                                 : d->stored_for - d->mean_for;
    return d->n <= WEIGHT || d->used_at - d->stored_at > OFF_WHILE ||
           (off_by > OFF_FOR && off_by > d->stored_for / OFF_PART);
}

int
er_sqlite_learn(struct er_store *s, er_usec now, int64_t signature, er_usec took)
{
    struct er_duration *d;
    int rc = find(s, signature, &d);
    if (rc) {
        return rc;
    }
    d->n++;
    d->mean_for += (took - d->mean_for) / (d->n < WEIGHT ? d->n : WEIGHT);
    d->used_at = now;
    d->dirty = d->dirty || is_news(d);
    s->durations_dirty = s->durations_dirty || d->dirty;
    return 0;
}

int
er_sqlite_durations_flush(struct er_store *s)
{
    int rc = 0;
    if (!s->durations_dirty) {
        return 0;
    }
    for (struct er_duration *d = s->durations; d && rc == 0; d = d->hh.next) {
        if (d->dirty) {
            struct er_stmt q;
            er_stmt_begin(&q, &s->c, ER_SQL_DURATION_PUT);
            er_stmt_i64(&q, d->signature);
            er_stmt_i64(&q, d->n);
            er_stmt_i64(&q, d->mean_for);
            er_stmt_i64(&q, d->used_at);
            rc = er_stmt_run(&q);
            d->stored_for = d->mean_for;
            d->stored_at = d->used_at;
            d->dirty = false;
        }
    }
    s->durations_dirty = rc != 0;
    return rc;
}

void
er_sqlite_durations_keep(struct er_store *s)
{
    if (HASH_COUNT(s->durations) > REMEMBERED) {
        er_sqlite_durations_forget(s);
    }
}

void
er_sqlite_durations_forget(struct er_store *s)
{
    struct er_duration *d, *next;
    HASH_ITER (hh, s->durations, d, next) {
        HASH_DEL(s->durations, d);
        er_free(d);
    }
    s->durations_dirty = false;
}
