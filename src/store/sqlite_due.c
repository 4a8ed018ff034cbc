/* SPDX-License-Identifier: MIT */
/* What time brings: scheduled tasks become queued, what a rate limit has paused goes on,
 * and what has waited for its first start longer than it was allowed to fails. Also a
 * clock that was set, and a lane's first tasks, for the scheduler. */
#include "store/sqlite_priv.h"

#include "base/mutant.h"

#define EXPIRED_ERROR                                                                    \
    "{\"class\":\"fatal\",\"code\":\"expired\",\"message\":\"waited in the queue "       \
    "longer than "                                                                       \
    "it was allowed to\",\"suggested_action\":\"allow a longer wait, or more at a "      \
    "time\","                                                                            \
    "\"retry_after_s\":null,\"details\":null}"

/* At most `limit` ids that a statement finds, into s->tmp. They are gathered first, since
 * what follows changes what is being read. */
static int
gather(struct er_store *s, enum er_sql which, er_usec now, size_t limit, er_task_id **out,
       size_t *out_n)
{
    struct er_stmt q;
    size_t n = 0;
    er_task_id *ids = er_arena_alloc(&s->tmp, limit * sizeof *ids);
    if (!ids) {
        return er_sqlite_no_memory(&s->c);
    }
    er_stmt_begin(&q, &s->c, which);
    er_stmt_i64(&q, now);
    er_stmt_i64(&q, (int64_t)limit);
    int rc;
    while ((rc = er_stmt_step(&q)) == 1 && n < limit) {
        ids[n++] = er_col_i64(&q, 0);
    }
    er_stmt_end(&q);
    *out = ids;
    *out_n = n;
    return rc < 0 ? rc : 0;
}

/* Moves a task to queued by a statement: 1, 0 (there is none) or an error. */
static int
move_to_queued(struct er_store *s, enum er_sql which, er_task_id id, struct er_brief *t)
{
    int rc = er_sqlite_brief(s, id, t);
    if (rc <= 0) {
        return rc;
    }
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, which);
    er_stmt_i64(&q, id);
    rc = er_stmt_run_one(&q);
    if (rc) {
        return rc;
    }
    er_sqlite_count_move(s, t->lane, t->state, ER_TASK_QUEUED);
    t->state = ER_TASK_QUEUED;
    return 1;
}

static int
queue_due(struct er_store *s, er_usec now, er_task_id id)
{
    struct er_brief t;
    int rc = move_to_queued(s, ER_SQL_TASK_DUE, id, &t);
    if (rc == 1) {
        rc = er_sqlite_fact_waits(s, now, &t);
        rc = rc || t.held ? rc : er_sqlite_ready(s, &t);
    }
    return rc;
}

/* A rate limit is over. What is held stays so. */
static int
resume_due(struct er_store *s, er_usec now, er_task_id id)
{
    struct er_brief t;
    int rc = move_to_queued(s, ER_SQL_TASK_RESUME, id, &t);
    if (rc == 1) {
        rc = er_sqlite_fact_pause(s, now, &t, false, "rate-limit");
        rc = rc || t.held ? rc : er_sqlite_ready(s, &t);
    }
    return rc;
}

static int
expire(struct er_store *s, er_usec now, er_task_id id)
{
    struct er_brief t;
    int rc = er_sqlite_brief(s, id, &t);
    /* One that waited for another that has just expired is gone already. */
    if (rc <= 0 || er_task_state_is_final(t.state)) {
        return rc < 0 ? rc : 0;
    }
    rc = er_sqlite_end_waiting(s, now, &t, ER_TASK_FAILED, EXPIRED_ERROR);
    if (rc) {
        return rc;
    }
    er_buf_clear(&s->buf);
    er_buf_add_str(&s->buf, "{\"duration_s\":null,\"error\":" EXPIRED_ERROR
                            ",\"retryable\":false,\"failures\":");
    er_buf_add_i64(&s->buf, t.failures);
    er_buf_add_str(&s->buf, ",\"progress\":null}");
    rc = er_sqlite_fact(s, now, ER_EVENT_TASK_FAILED, &t, t.attempt, er_sqlite_data(s));
    return rc ? rc : er_sqlite_settle(s, now);
}

static int
for_due(struct er_store *s, enum er_sql which, er_usec now, size_t *limit,
        int (*fn)(struct er_store *s, er_usec now, er_task_id id))
{
    er_task_id *ids;
    size_t n = 0;
    int rc = *limit > 0 ? gather(s, which, now, *limit, &ids, &n) : 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = fn(s, now, ids[i]);
    }
    *limit -= n;
    return rc;
}

int
er_sqlite_next_moment(struct er_store *s, er_usec *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_NEXT_DUE);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        er_usec next = ER_NEVER;
        for (int col = 0; col < 3; col++) {
            er_usec at = er_col_i64_or(&q, col, ER_NEVER);
            next = at < next ? at : next;
        }
        *out = next;
    }
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

int
er_store_due(struct er_store *s, er_usec now, size_t limit, er_usec *out_next)
{
    int rc = er_sqlite_enter(s);
    /* Expired ones first: what is due and expired at the same time must not start. */
    if (rc == 0) {
        rc = for_due(s, ER_SQL_EXPIRED, now, &limit, expire);
    }
    if (rc == 0) {
        rc = for_due(s, ER_SQL_DUE, now, &limit, queue_due);
    }
    if (rc == 0 && !ER_MUTANT(12)) {
        rc = for_due(s, ER_SQL_RESUMES, now, &limit, resume_due);
    }
    if (rc == 0) {
        rc = er_sqlite_next_moment(s, out_next);
    }
    return er_sqlite_leave(s, rc);
}

int
er_store_shift(struct er_store *s, er_usec by)
{
    static const enum er_sql shifts[] = {ER_SQL_SHIFT_SCHEDULED, ER_SQL_SHIFT_BLOCKED,
                                         ER_SQL_SHIFT_RESUMES, ER_SQL_SHIFT_EXPIRES,
                                         ER_SQL_SHIFT_EXPIRES_RUNNING};
    const int64_t far = INT64_C(1) << 61; /* 73,000 years: sums below do not overflow */
    er_usec next = ER_NEVER;
    by = by > far ? far : by < -far ? -far : by;
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < sizeof shifts / sizeof shifts[0] && rc == 0; i++) {
        struct er_stmt q;
        er_stmt_begin(&q, &s->c, shifts[i]);
        er_stmt_i64(&q, by);
        er_stmt_i64(&q, far);
        rc = er_stmt_run(&q);
    }
    if (rc == 0) {
        rc = er_sqlite_next_moment(s, &next);
        er_sqlite_next_due(s, next);
    }
    return er_sqlite_leave(s, rc);
}

int
er_store_peek(struct er_store *s, int64_t lane, int64_t after_rank, er_task_id after_id,
              struct er_ready *out, size_t n, size_t *out_n)
{
    struct er_stmt q;
    size_t found = 0;
    er_stmt_begin(&q, &s->c, ER_SQL_PEEK);
    er_stmt_i64(&q, lane);
    er_stmt_i64(&q, after_rank);
    er_stmt_i64(&q, after_id);
    er_stmt_i64(&q, (int64_t)n);
    int rc = 0;
    while (found < n && (rc = er_stmt_step(&q)) == 1) {
        out[found++] = (struct er_ready){
            .id = er_col_i64(&q, 0),
            .lane = lane,
            .rank = er_col_i64(&q, 1),
            .cost = er_col_i64(&q, 2),
        };
    }
    er_stmt_end(&q);
    if (rc < 0) {
        return rc;
    }
    *out_n = found;
    return 0;
}
