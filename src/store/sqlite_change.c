/* SPDX-License-Identifier: MIT */
/* Changes by request: cancel, hold, retry, remove (edit is in sqlite_edit.c). Each reads
 * the task, answers with the state it is in, and changes it if that state allows it. */
#include "store/sqlite_priv.h"

int
er_sqlite_look(struct er_store *s, struct er_change *row, struct er_brief *t)
{
    int rc = er_sqlite_brief(s, row->id, t);
    row->status = rc == 0 ? ER_ENOTFOUND : 0;
    row->attempt = 0;
    row->session = 0;
    row->dependents = 0;
    row->cancel_requested = false;
    row->asked = 0;
    row->items_completed = row->items_failed = 0;
    if (rc == 1) {
        row->state = t->state;
        row->held = t->held;
        row->attempt = t->attempt;
        row->session = t->session;
        row->cancel_requested = (t->asked & ER_ASKED_CANCEL) != 0;
        row->asked = t->asked;
        row->items_completed = t->items_completed;
        row->items_failed = t->items_failed;
    }
    return rc;
}

int
er_store_look(struct er_store *s, struct er_change *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        struct er_brief t;
        rc = er_sqlite_look(s, &rows[i], &t);
    }
    return er_sqlite_leave(s, rc > 0 ? 0 : rc);
}

bool
er_sqlite_waits(const struct er_brief *t)
{
    return !er_task_state_is_final(t->state) && t->session == 0;
}

/* Of an attempt that is open. */
static int
set_asked(struct er_store *s, er_task_id id, unsigned was, unsigned asked)
{
    struct er_stmt q;
    if (asked == was) {
        return 0;
    }
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_ASK);
    er_stmt_i64(&q, id);
    er_stmt_i64(&q, asked);
    return er_stmt_run_one(&q);
}

static int
cancel_row(struct er_store *s, er_usec now, struct er_change *row, const char *reason,
           const char *by)
{
    struct er_brief t;
    int rc = er_sqlite_look(s, row, &t);
    if (rc <= 0) {
        return rc;
    }
    if (er_task_state_is_final(t.state)) {
        row->status = ER_ESTATE;
        return 0;
    }
    if (t.session != 0) {
        return set_asked(s, row->id, t.asked, t.asked | ER_ASKED_CANCEL);
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

/* Of what runs, or is paused in place. */
static int
hold_open(struct er_store *s, struct er_change *row, const struct er_brief *t, bool held)
{
    const unsigned pause = ER_ASKED_PAUSE | ER_ASKED_HOLD;
    if (held && !(t->asked & ER_ASKED_CANCEL)) {
        unsigned set = t->asked & ER_ASKED_REQUEUE ? ER_ASKED_HOLD : pause;
        return set_asked(s, row->id, t->asked, t->asked | set);
    }
    if (!held && (t->asked & pause || t->state == ER_TASK_PAUSED)) {
        return set_asked(s, row->id, t->asked, t->asked & ~pause);
    }
    row->status = ER_ESTATE;
    return 0;
}

static int
hold_row(struct er_store *s, er_usec now, struct er_change *row, bool held)
{
    struct er_brief t;
    int rc = er_sqlite_look(s, row, &t);
    if (rc <= 0) {
        return rc;
    }
    bool paused = t.state == ER_TASK_PAUSED;
    if (t.session != 0) {
        return hold_open(s, row, &t, held);
    }
    if (!er_sqlite_waits(&t)) {
        row->status = ER_ESTATE;
        return 0;
    }
    /* What a rate limit has paused goes on when the hold is undone, held or not. */
    if (t.held == held && (held || !paused)) {
        return 0;
    }
    enum er_task_state state = paused && !held ? ER_TASK_QUEUED : t.state;
    rc = set_hold(s, &t, held, state);
    if (rc == 0) {
        rc = er_sqlite_fact_held(s, now, &t, held);
    }
    if (rc || held || state != ER_TASK_QUEUED) {
        return rc;
    }
    return er_sqlite_ready(s, &t);
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
ask_row(struct er_store *s, struct er_change *row, unsigned unless, unsigned clear,
        unsigned set)
{
    struct er_brief t;
    int rc = er_sqlite_look(s, row, &t);
    if (rc <= 0) {
        return rc;
    }
    if (t.session == 0 || t.asked & unless) {
        row->status = ER_ESTATE;
        return 0;
    }
    return set_asked(s, row->id, t.asked, (t.asked & ~clear) | set);
}

int
er_store_ask(struct er_store *s, struct er_change *rows, size_t n, unsigned unless,
             unsigned clear, unsigned set)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = ask_row(s, &rows[i], unless, clear, set);
    }
    return er_sqlite_leave(s, rc);
}

/* What it had stored: a run that completed leaves nothing to the next, any other one what
 * it has done, so that it is not done again. */
static int
drop_items(struct er_store *s, const struct er_brief *t)
{
    struct er_stmt q;
    if (t->items_completed + t->items_failed == 0) {
        return 0;
    }
    er_stmt_begin(&q, &s->c,
                  t->state == ER_TASK_COMPLETED ? ER_SQL_ITEMS_REMOVE
                                                : ER_SQL_ITEMS_FAILED_REMOVE);
    er_stmt_i64(&q, t->id);
    return er_stmt_run(&q);
}

static int
begin_run(struct er_store *s, er_usec now, struct er_brief *t)
{
    struct er_stmt q;
    int dropped = drop_items(s, t);
    if (dropped) {
        return dropped;
    }
    t->rank = er_sqlite_rank(s, now, t->priority);
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

/* As er_sqlite_look, for changes of what has ended only. */
static int
look_final(struct er_store *s, struct er_change *row, struct er_brief *out)
{
    int rc = er_sqlite_look(s, row, out);
    if (rc > 0 && !er_task_state_is_final(out->state)) {
        row->status = ER_ESTATE;
        return 0;
    }
    return rc;
}

static int
retry_row(struct er_store *s, er_usec now, struct er_change *row)
{
    struct er_brief t;
    int rc = look_final(s, row, &t);
    if (rc <= 0) {
        return rc;
    }
    rc = begin_run(s, now, &t);
    if (rc) {
        return rc;
    }
    er_sqlite_count_move(s, t.lane, t.state, ER_TASK_QUEUED);
    er_sqlite_count_log(s, -t.output_bytes);
    t.run++;
    t.state = ER_TASK_QUEUED;
    t.waiting = 0;
    rc = er_sqlite_fact_waits(s, now, &t);
    return rc ? rc : er_sqlite_ready(s, &t);
}

/* Those that were cancelled because one of the n ids was, behind them in the list. */
static int
list_cancelled_by(struct er_store *s, er_task_id id, er_task_id **ids, size_t *n,
                  size_t *size)
{
    struct er_stmt q;
    er_task_id last = 0;
    er_stmt_begin(&q, &s->c, ER_SQL_CANCELLED_BY);
    er_stmt_i64(&q, id);
    int rc;
    while ((rc = er_stmt_step(&q)) == 1) {
        er_task_id task = er_col_i64(&q, 0);
        if (task == last) {
            continue; /* it named the same one twice */
        }
        er_task_id *more = er_sqlite_grow(&s->tmp, *ids, *n, size, sizeof *more);
        if (!more) {
            rc = er_sqlite_no_memory(&s->c);
            break;
        }
        *ids = more;
        more[(*n)++] = last = task;
    }
    er_stmt_end(&q);
    return rc;
}

/* How many were cancelled because of a task, and because of those, and so on. After all
 * of a call have begun their new runs, so that none of these is counted. */
static int
count_cancelled(struct er_store *s, struct er_change *row)
{
    er_task_id *ids = NULL;
    size_t n = 0, size = 0;
    int rc = list_cancelled_by(s, row->id, &ids, &n, &size);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = list_cancelled_by(s, ids[i], &ids, &n, &size);
    }
    row->dependents = (int64_t)n;
    return rc;
}

int
er_store_retry(struct er_store *s, er_usec now, struct er_change *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = retry_row(s, now, &rows[i]);
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = rows[i].status == 0 ? count_cancelled(s, &rows[i]) : 0;
    }
    return er_sqlite_leave(s, rc);
}

static int
remove_row(struct er_store *s, er_usec now, struct er_change *row)
{
    struct er_brief t;
    int rc = look_final(s, row, &t);
    return rc <= 0 ? rc : er_sqlite_remove(s, now, &t);
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
