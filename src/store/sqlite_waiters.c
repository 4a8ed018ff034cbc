/* SPDX-License-Identifier: MIT */
/* Who waits for a queue, a type or a limit key: the lanes by that name, each with its
 * first few tasks from the claim index, merged. What it costs grows with the lanes, not
 * with the tasks: those of a lane are counted up to a bound only. */
#include <string.h>

#include "store/sqlite_priv.h"

/* The ids of the lanes with those names. */
static int
find_lanes(struct er_sqlite *c, const struct er_waiters_of *of, struct er_arena *arena,
           int64_t **out, size_t *out_n)
{
    struct er_stmt q;
    size_t size = 0;
    int rc;
    *out = NULL;
    *out_n = 0;
    er_stmt_begin(&q, c, ER_SQL_LANES_NAMED);
    er_stmt_text(&q, of->queue);
    er_stmt_text(&q, of->type);
    er_stmt_text(&q, of->limit_key);
    while ((rc = er_stmt_step(&q)) == 1) {
        int64_t *more = er_sqlite_grow(arena, *out, *out_n, &size, sizeof *more);
        if (!more) {
            rc = er_sqlite_no_memory(c);
            break;
        }
        *out = more;
        more[(*out_n)++] = er_col_i64(&q, 0);
    }
    er_stmt_end(&q);
    return rc;
}

static int
count_lane(struct er_sqlite *c, int64_t lane, int64_t room, int64_t *n)
{
    struct er_stmt q;
    er_stmt_begin(&q, c, ER_SQL_LANE_COUNT);
    er_stmt_i64(&q, lane);
    er_stmt_i64(&q, room);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *n += er_col_i64(&q, 0);
    }
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

static bool
goes_before(const struct er_ready *a, const struct er_ready *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->id < b->id;
}

/* Into its place among the first `limit`; false: it is behind them all. */
static bool
insert(struct er_ready *best, size_t *n, size_t limit, const struct er_ready *one)
{
    size_t at = *n;
    while (at > 0 && goes_before(one, &best[at - 1])) {
        at--;
    }
    if (at == limit) {
        return false;
    }
    *n += *n < limit;
    memmove(&best[at + 1], &best[at], (*n - at - 1) * sizeof *best);
    best[at] = *one;
    return true;
}

/* *out_seen: how many it has, `limit` when there may be more. */
static int
merge_lane(struct er_sqlite *c, int64_t lane, struct er_ready *best, size_t *n,
           size_t limit, int64_t *out_seen)
{
    struct er_stmt q;
    int rc = 0;
    *out_seen = 0;
    er_stmt_begin(&q, c, ER_SQL_PEEK);
    er_stmt_i64(&q, lane);
    er_stmt_i64(&q, INT64_MIN);
    er_stmt_i64(&q, 0);
    er_stmt_i64(&q, (int64_t)limit);
    while ((rc = er_stmt_step(&q)) == 1) {
        struct er_ready one = {
            .id = er_col_i64(&q, 0), .lane = lane, .rank = er_col_i64(&q, 1)};
        (void)insert(best, n, limit, &one);
        ++*out_seen;
    }
    er_stmt_end(&q);
    return rc;
}

/* Those of them that are still to be read, and still wait. */
static int
read_tasks(struct er_store_reader *r, const struct er_ready *best, size_t n,
           struct er_arena *arena, struct er_waiters *out)
{
    for (size_t i = 0; i < n; i++) {
        struct er_task *t = &out->first[out->n_first];
        int rc = er_store_get(r, best[i].id, false, arena, t);
        if (rc && rc != ER_ENOTFOUND) {
            return rc;
        }
        out->n_first += rc == 0 && t->state == ER_TASK_QUEUED && !t->held;
    }
    return 0;
}

int
er_store_waiters(struct er_store_reader *r, const struct er_waiters_of *of, size_t limit,
                 struct er_arena *arena, struct er_waiters *out)
{
    struct er_sqlite *c = er_sqlite_reader(r);
    int64_t *lanes;
    size_t n_lanes, n = 0;
    *out = (struct er_waiters){0};
    struct er_ready *best = er_arena_alloc(arena, (limit + 1) * sizeof *best);
    out->first = er_arena_alloc(arena, (limit + 1) * sizeof *out->first);
    if (!best || !out->first) {
        return er_sqlite_no_memory(c);
    }
    int rc = find_lanes(c, of, arena, &lanes, &n_lanes);
    for (size_t i = 0; rc == 0 && i < n_lanes; i++) {
        int64_t seen, room = ER_WAITERS_COUNTED - out->n;
        rc = merge_lane(c, lanes[i], best, &n, limit, &seen);
        if (rc == 0 && seen == (int64_t)limit && room > 0) {
            rc = count_lane(c, lanes[i], room, &out->n);
        } else {
            out->n += seen < room ? seen : room;
        }
    }
    return rc ? rc : read_tasks(r, best, n, arena, out);
}

int
er_store_key_waiters(struct er_store_reader *r, const struct er_limit *limits, size_t n,
                     int64_t *out)
{
    struct er_sqlite *c = er_sqlite_reader(r);
    struct er_stmt q;
    size_t at = 0;
    int rc;
    memset(out, 0, n * sizeof *out);
    er_stmt_begin(&q, c, ER_SQL_LANES_KEYS); /* by name, as the limits are */
    while (at < n && (rc = er_stmt_step(&q)) == 1) {
        const char *key = (const char *)sqlite3_column_text(q.st, 1);
        while (key && at < n && strcmp(limits[at].key, key) < 0) {
            at++;
        }
        if (key && at < n && strcmp(limits[at].key, key) == 0 &&
            out[at] < ER_WAITERS_COUNTED) {
            rc = count_lane(c, er_col_i64(&q, 0), ER_WAITERS_COUNTED - out[at], &out[at]);
            if (rc) {
                break;
            }
        }
    }
    er_stmt_end(&q);
    return at < n ? rc : 0;
}
