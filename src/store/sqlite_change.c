/* SPDX-License-Identifier: MIT */
/* Changes by request: cancel, hold, retry, remove, edit. Each reads the task, answers
 * with the state it is in, and changes it if that state allows it. */
#include "store/sqlite_priv.h"

/* Reads the task of a row: 1 found (the row says its state); 0 not found; or an error. */
static int
look(struct er_store *s, struct er_change *row, struct er_brief *t)
{
    int rc = er_sqlite_brief(s, row->id, t);
    row->status = rc == 0 ? ER_ENOTFOUND : 0;
    row->attempt = 0;
    row->session = 0;
    if (rc == 1) {
        row->state = t->state;
        row->held = t->held;
        row->attempt = t->attempt;
        row->session = t->state == ER_TASK_RUNNING ? t->session : 0;
    }
    return rc;
}

int
er_store_look(struct er_store *s, struct er_change *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        struct er_brief t;
        rc = look(s, &rows[i], &t);
    }
    return er_sqlite_leave(s, rc > 0 ? 0 : rc);
}

/* Waits: queued, scheduled or blocked, held or not. */
static bool
waits(const struct er_brief *t)
{
    return t->state == ER_TASK_QUEUED || t->state == ER_TASK_SCHEDULED ||
           t->state == ER_TASK_BLOCKED;
}

static int
set_cancel_requested(struct er_store *s, er_task_id id)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_CANCEL_REQUEST);
    er_stmt_i64(&q, id);
    return er_stmt_run_one(&q);
}

static int
cancel_row(struct er_store *s, er_usec now, struct er_change *row, const char *reason,
           const char *by)
{
    struct er_brief t;
    int rc = look(s, row, &t);
    if (rc <= 0) {
        return rc;
    }
    if (er_task_state_is_final(t.state)) {
        row->status = ER_ESTATE;
        return 0;
    }
    if (t.state == ER_TASK_RUNNING) {
        return t.cancel_requested ? 0 : set_cancel_requested(s, row->id);
    }
    rc = er_sqlite_end_waiting(s, now, &t, ER_TASK_CANCELLED, NULL);
    if (rc == 0) {
        rc = er_sqlite_fact_cancelled(s, now, &t, reason, 0, by);
    }
    return rc ? rc : er_sqlite_settle(s, now);
}

int
er_store_cancel(struct er_store *s, er_usec now, struct er_change *rows, size_t n,
                const char *reason, const char *by)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = cancel_row(s, now, &rows[i], reason, by);
    }
    return er_sqlite_leave(s, rc);
}

static int
set_hold(struct er_store *s, const struct er_brief *t, bool held,
         enum er_task_state state)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_HOLD);
    er_stmt_i64(&q, t->id);
    er_stmt_i64(&q, held);
    er_stmt_i64(&q, state);
    int rc = er_stmt_run_one(&q);
    if (rc == 0 && state != t->state) {
        er_sqlite_count_move(s, t->lane, t->state, state);
    }
    return rc;
}

static int
hold_row(struct er_store *s, er_usec now, struct er_change *row, bool held)
{
    struct er_brief t;
    int rc = look(s, row, &t);
    if (rc <= 0) {
        return rc;
    }
    bool paused = t.state == ER_TASK_PAUSED;
    if (!waits(&t) && !paused) {
        row->status = ER_ESTATE;
        return 0;
    }
    if ((paused || t.held) == held) {
        return 0;
    }
    enum er_task_state state = paused ? ER_TASK_QUEUED : t.state;
    rc = set_hold(s, &t, held, state);
    if (rc == 0) {
        rc = er_sqlite_fact_held(s, now, &t, held);
    }
    if (rc || held || state != ER_TASK_QUEUED) {
        return rc;
    }
    return er_sqlite_ready(s, t.id, t.lane->id, t.rank);
}

int
er_store_hold(struct er_store *s, er_usec now, struct er_change *rows, size_t n,
              bool held)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = hold_row(s, now, &rows[i], held);
    }
    return er_sqlite_leave(s, rc);
}

static int
begin_run(struct er_store *s, er_usec now, struct er_brief *t)
{
    struct er_stmt q;
    t->rank = er_sqlite_rank(now, t->priority);
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_RETRY);
    er_stmt_i64(&q, t->id);
    er_stmt_i64(&q, t->rank);
    int rc = er_stmt_run_one(&q);
    if (rc == 0) {
        er_stmt_begin(&q, &s->c, ER_SQL_DEPENDENCIES_SETTLE);
        er_stmt_i64(&q, t->id);
        rc = er_stmt_run(&q);
    }
    return rc;
}

static int
retry_row(struct er_store *s, er_usec now, struct er_change *row)
{
    struct er_brief t;
    int rc = look(s, row, &t);
    if (rc <= 0) {
        return rc;
    }
    if (!er_task_state_is_final(t.state)) {
        row->status = ER_ESTATE;
        return 0;
    }
    rc = begin_run(s, now, &t);
    if (rc) {
        return rc;
    }
    er_sqlite_count_move(s, t.lane, t.state, ER_TASK_QUEUED);
    t.run++;
    t.state = ER_TASK_QUEUED;
    t.waiting = 0;
    rc = er_sqlite_fact_waits(s, now, &t);
    return rc ? rc : er_sqlite_ready(s, t.id, t.lane->id, t.rank);
}

int
er_store_retry(struct er_store *s, er_usec now, struct er_change *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = retry_row(s, now, &rows[i]);
    }
    return er_sqlite_leave(s, rc);
}

static int
remove_row(struct er_store *s, er_usec now, struct er_change *row)
{
    struct er_brief t;
    int rc = look(s, row, &t);
    if (rc <= 0) {
        return rc;
    }
    if (!er_task_state_is_final(t.state)) {
        row->status = ER_ESTATE;
        return 0;
    }
    return er_sqlite_remove(s, now, &t);
}

int
er_store_remove(struct er_store *s, er_usec now, struct er_change *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = remove_row(s, now, &rows[i]);
    }
    return er_sqlite_leave(s, rc);
}

/* The lane that an edit leads to. */
static int
edit_lane(struct er_store *s, const struct er_brief *t, const struct er_edit *edit,
          struct er_lane_entry **out)
{
    const char *queue = edit->queue ? edit->queue : t->lane->queue;
    const char *limit_key = edit->limit_key ? edit->limit_key : t->lane->limit_key;
    return er_sqlite_lane(s, queue, t->lane->type, limit_key, out);
}

/* The task as the edit wants it. */
static int
apply(struct er_store *s, er_usec now, struct er_brief *t, const struct er_edit *edit)
{
    if (edit->has_priority) {
        t->rank += er_sqlite_rank(0, edit->priority) - er_sqlite_rank(0, t->priority);
        t->priority = edit->priority;
    }
    if (edit->has_run_at) {
        t->run_at = edit->run_at;
        if (t->state != ER_TASK_BLOCKED) {
            bool later = t->run_at != ER_NEVER && t->run_at > now;
            t->state = later ? ER_TASK_SCHEDULED : ER_TASK_QUEUED;
        }
    }
    return edit_lane(s, t, edit, &t->lane);
}

static int
store_edit(struct er_store *s, const struct er_brief *t, const struct er_edit *edit)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_EDIT);
    er_stmt_i64(&q, t->id);
    er_stmt_i64(&q, t->state);
    er_stmt_i64(&q, t->lane->id);
    er_stmt_i64(&q, t->rank);
    er_stmt_i64(&q, t->priority);
    er_stmt_i64_or_null(&q, t->run_at, ER_NEVER);
    er_stmt_text(&q, edit->name);
    er_stmt_i64_or_null(&q, edit->has_retries ? edit->retries : INT64_MIN, INT64_MIN);
    er_stmt_i64_or_null(&q, edit->has_timeout ? edit->timeout_for : INT64_MIN, INT64_MIN);
    return er_stmt_run_one(&q);
}

static int
record_edit(struct er_store *s, er_usec now, const struct er_brief *t)
{
    struct er_buf *b = &s->buf;
    er_buf_clear(b);
    er_buf_add_str(b, "{\"state\":");
    er_buf_add_json_str(b, er_task_state_word(t->state));
    er_buf_add_str(b, ",\"priority\":");
    er_buf_add_i64(b, t->priority);
    er_buf_add_str(b, ",\"run_at\":");
    er_sqlite_add_moment(b, t->run_at);
    er_buf_add_char(b, '}');
    return er_sqlite_fact(s, now, ER_EVENT_TASK_CHANGED, t, t->attempt,
                          er_sqlite_data(s));
}

static int
edit_row(struct er_store *s, er_usec now, struct er_change *row,
         const struct er_edit *edit)
{
    struct er_brief old, t;
    int rc = look(s, row, &old);
    if (rc <= 0) {
        return rc;
    }
    if (!waits(&old)) {
        row->status = ER_ESTATE;
        return 0;
    }
    t = old;
    rc = apply(s, now, &t, edit);
    if (rc == 0) {
        rc = store_edit(s, &t, edit);
    }
    if (rc == 0) {
        er_sqlite_count(s, old.lane, old.state, -1);
        er_sqlite_count(s, t.lane, t.state, 1);
        rc = record_edit(s, now, &t);
    }
    if (t.state == ER_TASK_SCHEDULED) {
        er_sqlite_next_due(s, t.run_at);
    }
    bool moved = old.state != t.state || old.lane != t.lane || old.rank != t.rank;
    if (rc == 0 && moved && t.state == ER_TASK_QUEUED && !t.held) {
        rc = er_sqlite_ready(s, t.id, t.lane->id, t.rank);
    }
    return rc;
}

int
er_store_edit(struct er_store *s, er_usec now, struct er_change *row,
              struct er_edit *edit)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = edit_row(s, now, row, edit);
    }
    return er_sqlite_leave(s, rc);
}
