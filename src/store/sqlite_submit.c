/* SPDX-License-Identifier: MIT */
/* Submits: sqlite_plan.c has decided every row; here they are written, in order. */
#include "store/sqlite_priv.h"

/* Before everything, or behind it, where the numbers end. */
int64_t
er_sqlite_rank(const struct er_store *s, er_usec at, int priority)
{
    int64_t worth, rank;
    if (__builtin_mul_overflow((int64_t)priority, s->ageing, &worth) ||
        __builtin_sub_overflow(at, worth, &rank)) {
        return priority > 0 ? INT64_MIN + 1 : INT64_MAX - 1;
    }
    return rank;
}

void
er_store_set_ageing(struct er_store *s, er_usec step)
{
    s->ageing = step;
}

static int
insert_task(struct er_store *s, const struct er_new_task *row,
            const struct er_plan_row *plan, const struct er_brief *t)
{
    struct er_stmt q;
    bool final = er_task_state_is_final(t->state);
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_ADD);
    er_stmt_i64(&q, t->id);
    er_stmt_i64(&q, t->state);
    er_stmt_i64(&q, t->held);
    er_stmt_i64(&q, t->lane->id);
    er_stmt_i64(&q, t->rank);
    er_stmt_i64(&q, t->priority);
    er_stmt_i64(&q, t->cost);
    er_stmt_i64(&q, row->retries);
    er_stmt_i64(&q, row->on_lost);
    er_stmt_i64(&q, t->waiting);
    er_stmt_i64(&q, t->env);
    er_stmt_i64_or_null(&q, row->parent, 0);
    er_stmt_i64_or_null(&q, final ? plan->after_id[plan->cancel_after] : 0, 0);
    er_stmt_i64(&q, row->backoff_for);
    er_stmt_i64(&q, row->timeout_for);
    er_stmt_i64(&q, row->grace_for);
    er_stmt_i64(&q, row->heartbeat_for);
    er_stmt_i64(&q, t->signature);
    er_stmt_i64(&q, (int64_t)row->body_hash);
    er_stmt_i64(&q, s->last_seq + 1); /* of the fact that follows */
    er_stmt_i64(&q, t->created_at);
    er_stmt_i64_or_null(&q, t->expires_at, ER_NEVER);
    er_stmt_i64_or_null(&q, t->run_at, ER_NEVER);
    er_stmt_i64(&q, row->run_at_fixed);
    er_stmt_i64_or_null(&q, final ? t->created_at : ER_NEVER, ER_NEVER);
    er_stmt_text(&q, t->correlation);
    er_stmt_text(&q, row->name);
    er_stmt_text(&q, row->key);
    er_stmt_text(&q, row->cwd);
    er_stmt_text(&q, row->tags_json);
    er_stmt_text(&q, row->meta_json);
    er_stmt_text(&q, row->args_json);
    return er_stmt_run(&q);
}

int
er_sqlite_add_after(struct er_store *s, er_task_id id, const struct er_new_after *after,
                    size_t n, const er_task_id *ids, const int *states)
{
    int rc = 0;
    for (size_t k = 0; k < n && rc == 0; k++) {
        struct er_stmt q;
        er_stmt_begin(&q, &s->c, ER_SQL_DEPENDENCY_ADD);
        er_stmt_i64(&q, id);
        er_stmt_i64(&q, (int64_t)k);
        er_stmt_i64(&q, ids[k]);
        er_stmt_i64(&q, after[k].when);
        er_stmt_i64(&q, states[k] >= 0);
        rc = er_stmt_run(&q);
    }
    return rc;
}

static int
insert_tags(struct er_store *s, const struct er_new_task *row)
{
    const char *at = NULL;
    int rc;
    while ((rc = er_sqlite_tag_next(row->tags_json, &at, &s->buf)) == 1) {
        struct er_stmt q;
        er_stmt_begin(&q, &s->c, ER_SQL_TAG_ADD);
        er_stmt_text(&q, s->buf.data);
        er_stmt_i64(&q, row->id);
        rc = er_stmt_run(&q);
        if (rc) {
            return rc;
        }
    }
    return rc ? er_sqlite_no_memory(&s->c) : 0; /* they have been checked */
}

/* The facts of a task that begins: how it waits, held, or cancelled at once. */
static int
record(struct er_store *s, er_usec now, const struct er_plan_row *plan,
       const struct er_brief *t)
{
    if (t->state == ER_TASK_CANCELLED) {
        struct er_brief blocked = *t;
        blocked.state = ER_TASK_BLOCKED;
        blocked.waiting = plan->waiting + 1; /* what can't be met counts, too */
        int rc = er_sqlite_fact_waits(s, now, &blocked);
        return rc ? rc
                  : er_sqlite_fact_cancelled(s, now, t, "dependency",
                                             plan->after_id[plan->cancel_after], NULL);
    }
    int rc = er_sqlite_fact_waits(s, now, t);
    if (rc == 0 && t->held) {
        rc = er_sqlite_fact_held(s, now, t, true);
    }
    return rc;
}

static int
announce(struct er_store *s, const struct er_brief *t)
{
    if (t->state == ER_TASK_SCHEDULED) {
        er_sqlite_next_due(s, t->run_at);
    }
    if (t->state != ER_TASK_CANCELLED) {
        er_sqlite_next_due(s, t->expires_at);
    }
    return t->state == ER_TASK_QUEUED && !t->held ? er_sqlite_ready(s, t) : 0;
}

/* The row as a task that begins. */
static int
make_brief(struct er_store *s, er_usec now, const struct er_new_task *row,
           const struct er_plan_row *plan, struct er_brief *t)
{
    *t = (struct er_brief){
        .id = row->id,
        .run = 1,
        .state = plan->state,
        .held = row->held && plan->state != ER_TASK_CANCELLED,
        .rank = er_sqlite_rank(s, now, row->priority),
        .priority = row->priority,
        .cost = row->cost > 0 ? row->cost : 1,
        .waiting = plan->state == ER_TASK_BLOCKED ? plan->waiting : 0,
        .signature = (int64_t)row->signature,
        .created_at = now,
        .expires_at = row->expires_at,
        .run_at = row->run_at,
        .meta = row->meta_json, /* only read before this row is done */
        .correlation = er_arena_strdup(&s->fx.arena, plan->correlation),
    };
    if (!t->correlation) {
        return er_sqlite_no_memory(&s->c);
    }
    int rc = er_sqlite_lane(s, row->queue, row->type, row->limit_key, &t->lane);
    if (rc == 0 && row->env_json) {
        rc = er_sqlite_env(s, row->env_json, &t->env);
    }
    return rc;
}

static int
submit_row(struct er_store *s, er_usec now, struct er_new_task *row,
           const struct er_plan_row *plan)
{
    struct er_brief t;
    int rc = make_brief(s, now, row, plan, &t);
    if (rc == 0) {
        row->lane = t.lane->id;
        row->rank = t.rank;
        rc = insert_task(s, row, plan, &t);
    }
    if (rc == 0) {
        er_sqlite_count(s, t.lane, t.state, 1);
        rc = er_sqlite_add_after(s, row->id, row->after, row->n_after, plan->after_id,
                                 plan->after_state);
    }
    if (rc == 0 && row->tags_json) {
        rc = insert_tags(s, row);
    }
    if (rc == 0) {
        rc = record(s, now, plan, &t);
    }
    return rc ? rc : announce(s, &t);
}

/* How long tasks of its type take, for whom it is worth a look. */
static int
tell_takes(struct er_store *s, struct er_new_task *row)
{
    row->type_takes = 0;
    return row->ask_takes ? er_sqlite_expected(s, er_sqlite_type_signature(row->type),
                                               &row->type_takes)
                          : 0;
}

static int
submit_rows(struct er_store *s, er_usec now, struct er_plan *p)
{
    int rc = 0;
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        struct er_new_task *row = &p->rows[i];
        const struct er_plan_row *plan = &p->plan[i];
        if (row->status != 0) {
            continue;
        }
        if (plan->alias >= 0) {
            row->state = p->rows[plan->alias].state;
            row->lane = p->rows[plan->alias].lane;
            row->rank = p->rows[plan->alias].rank;
        } else if (!row->existing) {
            rc = submit_row(s, now, row, plan);
        }
        if (rc == 0) {
            rc = tell_takes(s, row);
        }
    }
    return rc;
}

int
er_store_submit(struct er_store *s, er_usec now, struct er_new_task *rows, size_t n,
                bool atomic)
{
    struct er_plan p;
    int rc = er_sqlite_enter(s);
    if (rc == 0 && n > 0) {
        rc = er_sqlite_plan(s, now, rows, n, &p);
        if (rc == 0) {
            er_sqlite_plan_finish(s, &p, atomic);
            rc = submit_rows(s, now, &p);
        }
    }
    return er_sqlite_leave(s, rc);
}
