/* SPDX-License-Identifier: MIT */
/* What the end of a task means for those that wait for it. A dependency that is met
 * counts down `waiting`; at 0 the task goes on to scheduled or queued. One that can no
 * longer be met cancels its task, which has then ended itself: a work list, not
 * recursion, since chains and fans may have 100,000 tasks. */
#include "store/sqlite_priv.h"

#include "base/mutant.h"

int
er_sqlite_ended(struct er_store *s, er_task_id id, enum er_task_state state)
{
    if (s->n_ended == s->ended_size) {
        size_t size = s->ended_size ? s->ended_size * 2 : 16;
        struct er_ended *more = er_realloc_array(s->ended, size, sizeof *more);
        if (!more) {
            return er_sqlite_no_memory(&s->c);
        }
        s->ended = more;
        s->ended_size = size;
    }
    s->ended[s->n_ended++] = (struct er_ended){.id = id, .state = state};
    return 0;
}

/* `by`: the task because of which it is cancelled; 0 = none. */
static int
end_waiting(struct er_store *s, er_usec now, const struct er_brief *t,
            enum er_task_state state, const char *error_json, er_task_id by)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_END_WAITING);
    er_stmt_i64(&q, t->id);
    er_stmt_i64(&q, t->state);
    er_stmt_i64(&q, state);
    er_stmt_i64(&q, now);
    er_stmt_text(&q, error_json);
    er_stmt_i64_or_null(&q, by, 0);
    int rc = er_stmt_run_one(&q);
    if (rc == 0) {
        er_sqlite_count_move(s, t->lane, t->state, state);
        er_sqlite_count_log(s, t->output_bytes);
        rc = er_sqlite_ended(s, t->id, state);
    }
    return rc;
}

int
er_sqlite_end_waiting(struct er_store *s, er_usec now, const struct er_brief *t,
                      enum er_task_state state, const char *error_json)
{
    return end_waiting(s, now, t, state, error_json, 0);
}

int
er_sqlite_cancel_dependent(struct er_store *s, er_usec now, const struct er_brief *t,
                           er_task_id by)
{
    int rc = end_waiting(s, now, t, ER_TASK_CANCELLED, NULL, by);
    return rc ? rc : er_sqlite_fact_cancelled(s, now, t, "dependency", by, NULL);
}

static int
release(struct er_store *s, er_usec now, struct er_brief *t)
{
    enum er_task_state from = t->state;
    t->waiting = 0;
    t->state =
        t->run_at != ER_NEVER && t->run_at > now ? ER_TASK_SCHEDULED : ER_TASK_QUEUED;
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_RELEASE);
    er_stmt_i64(&q, t->id);
    er_stmt_i64(&q, t->state);
    int rc = er_stmt_run_one(&q);
    if (rc) {
        return rc;
    }
    er_sqlite_count_move(s, t->lane, from, t->state);
    rc = er_sqlite_fact_waits(s, now, t);
    if (rc || t->state == ER_TASK_SCHEDULED) {
        er_sqlite_next_due(s, t->run_at);
        return rc;
    }
    return t->held ? 0 : er_sqlite_ready(s, t);
}

/* One dependency less, when it waits for more: 1; 0: this was the last, or it does not
 * wait any more. Reads nothing of the task: one that waits for 100,000 costs each of them
 * the same. */
static int
count_down(struct er_store *s, er_task_id id)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_COUNT_DOWN);
    er_stmt_i64(&q, id);
    int rc = er_stmt_run(&q);
    return rc ? rc : sqlite3_changes(s->c.db);
}

struct dependent {
    er_task_id task;
    enum er_after_when when;
};

/* Those that wait for a task, into s->tmp: 0 or an error. They are gathered first, since
 * what follows changes what is being read. */
static int
gather(struct er_store *s, er_task_id id, struct dependent **out, size_t *out_n)
{
    struct er_stmt q;
    struct dependent *list = NULL;
    size_t n = 0, size = 0;
    er_stmt_begin(&q, &s->c, ER_SQL_DEPENDENTS);
    er_stmt_i64(&q, id);
    int rc;
    while ((rc = er_stmt_step(&q)) == 1) {
        struct dependent *more = er_sqlite_grow(&s->tmp, list, n, &size, sizeof *list);
        if (!more) {
            rc = er_sqlite_no_memory(&s->c);
            break;
        }
        list = more;
        list[n].task = er_col_i64(&q, 0);
        list[n++].when = (enum er_after_when)er_col_int(&q, 1);
    }
    er_stmt_end(&q);
    *out = list;
    *out_n = n;
    return rc;
}

static int
settle_dependent(struct er_store *s, er_usec now, const struct er_ended *e,
                 const struct dependent *d)
{
    struct er_brief t;
    bool met = er_after_is_met(d->when, e->state) || ER_MUTANT(3);
    int rc = met ? count_down(s, d->task) : 0;
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    rc = er_sqlite_brief(s, d->task, &t);
    if (rc <= 0 || t.state != ER_TASK_BLOCKED) {
        return rc < 0 ? rc : 0; /* removed, or cancelled before */
    }
    return met ? release(s, now, &t) : er_sqlite_cancel_dependent(s, now, &t, e->id);
}

static int
settle_one(struct er_store *s, er_usec now, struct er_ended e)
{
    struct dependent *list;
    size_t n;
    int rc = gather(s, e.id, &list, &n);
    if (rc || n == 0) {
        return rc;
    }
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_DEPENDENTS_SETTLE);
    er_stmt_i64(&q, e.id);
    rc = er_stmt_run(&q);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = settle_dependent(s, now, &e, &list[i]);
    }
    return rc;
}

int
er_sqlite_settle(struct er_store *s, er_usec now)
{
    int rc = 0;
    while (s->n_ended > 0 && rc == 0) {
        rc = settle_one(s, now, s->ended[--s->n_ended]);
    }
    return rc;
}
