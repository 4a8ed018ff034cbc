/* SPDX-License-Identifier: MIT */
/* Claims, the progress of what runs, and stopping it where it is. A claim reads the task
 * (which is what the worker gets), moves it by compare-and-set, and tells. The attempt
 * gets its row when it ends; until then the task's row tells everything about it. */
#include "store/sqlite_priv.h"

/* Reads a task that may be claimed: 1, 0 (there is none, or not any more) or an error. */
static int
read_claimable(struct er_store *s, er_task_id id, struct er_arena *arena,
               struct er_task *out, int64_t *out_signature)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_CLAIMABLE);
    er_stmt_i64(&q, id);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        int failed = er_sqlite_read_task(&q, arena, out, out_signature);
        out->has_after = failed == 0 && er_col_int(&q, ER_TASK_N_COLUMNS) != 0;
        rc = failed ? failed : 1;
    }
    er_stmt_end(&q);
    return rc;
}

/* The names that stand in the lane and the session. */
static int
add_names(struct er_store *s, const struct er_lane_entry *lane, struct er_arena *arena,
          struct er_task *t)
{
    t->queue = er_arena_strdup(arena, lane->queue);
    t->type = er_arena_strdup(arena, lane->type);
    t->worker = er_arena_strdup(arena, s->worker);
    t->limit_key = lane->limit_key[0] ? er_arena_strdup(arena, lane->limit_key) : NULL;
    bool ok = t->queue && t->type && t->worker && (t->limit_key || !lane->limit_key[0]);
    return ok ? 0 : er_sqlite_no_memory(&s->c);
}

static int
move_to_running(struct er_store *s, er_usec now, struct er_task *t)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_CLAIM);
    er_stmt_i64(&q, t->id);
    er_stmt_i64(&q, t->session);
    er_stmt_i64(&q, now);
    return er_stmt_run_one(&q);
}

static int
record_start(struct er_store *s, er_usec now, struct er_lane_entry *lane,
             const struct er_task *t)
{
    struct er_brief brief = {
        .id = t->id,
        .run = t->run,
        .lane = lane,
        .correlation = er_arena_strdup(&s->fx.arena, t->correlation),
    };
    if (!brief.correlation) {
        return er_sqlite_no_memory(&s->c);
    }
    er_buf_clear(&s->buf);
    er_buf_add_str(&s->buf, "{\"worker\":");
    er_buf_add_json_str(&s->buf, s->worker);
    er_buf_add_str(&s->buf, ",\"attempt\":");
    er_buf_add_i64(&s->buf, t->attempt);
    er_buf_add_char(&s->buf, '}');
    return er_sqlite_fact(s, now, ER_EVENT_TASK_STARTED, &brief, t->attempt,
                          er_sqlite_data(s));
}

static int
give(struct er_store *s, er_usec now, struct er_claim *row, struct er_task *t,
     struct er_arena *arena)
{
    struct er_lane_entry *lane = er_sqlite_lane_find(s, t->lane);
    if (!lane) {
        return er_sqlite_fail(&s->c, ER_ECORRUPT, "a task has a lane that is unknown");
    }
    t->state = ER_TASK_RUNNING;
    t->attempt++;
    t->session = row->session;
    t->started_at = now;
    t->run_at = ER_NEVER;
    t->resumes_at = ER_NEVER;
    int rc = add_names(s, lane, arena, t);
    if (rc == 0) {
        rc = move_to_running(s, now, t);
    }
    if (rc == 0) {
        er_sqlite_count_move(s, lane, ER_TASK_QUEUED, ER_TASK_RUNNING);
        rc = record_start(s, now, lane, t);
    }
    return rc;
}

/* Whether the task is where the claim has seen it: it may have been edited since. */
static bool
stands(const struct er_claim *row, const struct er_task *t)
{
    return row->lane == 0 || (row->lane == t->lane && row->rank == t->rank);
}

static int
claim_row(struct er_store *s, er_usec now, struct er_claim *row, struct er_arena *arena)
{
    int64_t signature;
    row->task = NULL;
    row->expected_for = 0;
    row->after = NULL;
    row->n_after = 0;
    int rc = er_sqlite_session(s, row->session);
    if (rc <= 0) {
        row->status = ER_ELOST;
        return rc;
    }
    struct er_task *t = er_arena_alloc(arena, sizeof *t);
    rc =
        t ? read_claimable(s, row->id, arena, t, &signature) : er_sqlite_no_memory(&s->c);
    if (rc <= 0 || !stands(row, t)) {
        row->status = ER_ESTATE;
        return rc < 0 ? rc : 0;
    }
    rc = give(s, now, row, t, arena);
    if (rc == 0) {
        rc = er_sqlite_expected(s, signature, &row->expected_for);
    }
    if (rc == 0 && t->has_after) {
        rc = er_sqlite_after_few(&s->c, t->id, arena, &row->after, &row->n_after);
    }
    if (rc == 0 && row->fresh) {
        er_sqlite_not_ready(s, row->id, row->lane);
    }
    row->task = t;
    row->status = 0;
    return rc;
}

int
er_store_claim(struct er_store *s, er_usec now, struct er_claim *rows, size_t n,
               struct er_arena *arena)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = claim_row(s, now, &rows[i], arena);
    }
    return er_sqlite_leave(s, rc);
}

int
er_store_progress(struct er_store *s, struct er_progress_row *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct er_stmt q;
        er_stmt_begin(&q, &s->c, ER_SQL_TASK_PROGRESS);
        er_stmt_i64(&q, rows[i].id);
        er_stmt_i64(&q, rows[i].attempt);
        er_stmt_i64(&q, rows[i].session);
        er_stmt_text(&q, rows[i].progress_json);
        er_stmt_text(&q, rows[i].checkpoint_json);
        rc = er_stmt_run(&q);
        rows[i].status = sqlite3_changes(s->c.db) == 1 ? 0 : ER_ELOST;
    }
    return er_sqlite_leave(s, rc);
}

/* 1: the row's attempt is open; 0: not any more; or an error. */
static int
find_open(struct er_store *s, const struct er_suspend *row, struct er_brief *t)
{
    int rc = er_sqlite_brief(s, row->id, t);
    return rc == 1 ? t->session != 0 && t->session == row->session &&
                         t->attempt == row->attempt
                   : rc;
}

static int
suspend_row(struct er_store *s, er_usec now, struct er_suspend *row)
{
    struct er_brief t;
    enum er_task_state state = row->paused ? ER_TASK_PAUSED : ER_TASK_RUNNING;
    int rc = find_open(s, row, &t);
    row->status = rc == 0 ? ER_ELOST : 0;
    if (rc <= 0 || t.state == state) {
        return rc < 0 ? rc : 0;
    }
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_SUSPEND);
    er_stmt_i64(&q, row->id);
    er_stmt_i64(&q, state);
    rc = er_stmt_run_one(&q);
    if (rc == 0) {
        er_sqlite_count_move(s, t.lane, t.state, state);
        rc = er_sqlite_fact_held(s, now, &t, row->paused);
    }
    return rc;
}

int
er_store_suspend(struct er_store *s, er_usec now, struct er_suspend *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = suspend_row(s, now, &rows[i]);
    }
    return er_sqlite_leave(s, rc);
}
