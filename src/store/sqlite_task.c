/* SPDX-License-Identifier: MIT */
/* Reading tasks: whole, and in the short form that changes need. Also the look-up of a
 * session's worker. */
#include "store/sqlite_priv.h"

#include <stdio.h>
#include <string.h>

static void
read_numbers(struct er_stmt *q, struct er_task *t, int64_t *out_signature)
{
    t->id = er_col_i64(q, 0);
    t->run = er_col_int(q, 1);
    t->state = (enum er_task_state)er_col_int(q, 2);
    t->asked = (unsigned)er_col_int(q, 4);
    t->held = er_col_int(q, 3) != 0 || (t->asked & ER_ASKED_HOLD) != 0;
    t->cancel_requested = (t->asked & ER_ASKED_CANCEL) != 0;
    t->lane = er_col_i64(q, 5);
    t->rank = er_col_i64(q, 6);
    t->priority = er_col_int(q, 7);
    t->attempt = er_col_int(q, 8);
    t->failures = er_col_int(q, 9);
    t->losses = er_col_int(q, 10);
    t->retries = er_col_int(q, 11);
    t->on_lost = (enum er_on_lost)er_col_int(q, 12);
    t->waiting = er_col_int(q, 13);
    t->session = er_col_i64(q, 14);
    t->env = er_col_i64(q, 15);
    t->parent = er_col_i64(q, 16);
    t->backoff_for = er_col_i64(q, 17);
    t->timeout_for = er_col_i64(q, 18);
    t->grace_for = er_col_i64(q, 19);
    *out_signature = er_col_i64(q, 20);
    t->created_at = er_col_i64(q, 21);
    t->expires_at = er_col_i64_or(q, 22, ER_NEVER);
    t->run_at = er_col_i64_or(q, 23, ER_NEVER);
    t->started_at = er_col_i64_or(q, 24, ER_NEVER);
    t->finished_at = er_col_i64_or(q, 25, ER_NEVER);
    t->resumes_at = er_col_i64_or(q, 26, ER_NEVER);
    t->has_exit_code = er_col_i64_or(q, 27, INT64_MIN) != INT64_MIN;
    t->exit_code = er_col_int(q, 27);
    t->signal = er_col_int(q, 28);
    t->cpu_for = er_col_i64(q, 29);
    t->peak_rss = er_col_i64(q, 30);
}

int
er_sqlite_read_task(struct er_stmt *q, struct er_arena *arena, struct er_task *out,
                    int64_t *out_signature)
{
    bool failed = false;
    struct er_task t = {.id = 0};
    read_numbers(q, &t, out_signature);
    t.correlation = er_col_text(q, 31, arena, &failed);
    t.name = er_col_text(q, 32, arena, &failed);
    t.key = er_col_text(q, 33, arena, &failed);
    t.cwd = er_col_text(q, 34, arena, &failed);
    t.tags_json = er_col_text(q, 35, arena, &failed);
    t.meta_json = er_col_text(q, 36, arena, &failed);
    t.progress_json = er_col_text(q, 37, arena, &failed);
    t.checkpoint_json = er_col_text(q, 38, arena, &failed);
    t.error_json = er_col_text(q, 39, arena, &failed);
    t.warnings_json = er_col_text(q, 40, arena, &failed);
    t.args_json = er_col_text(q, 41, arena, &failed);
    t.cost = er_col_i64(q, 42);
    t.heartbeat_for = er_col_i64(q, 43);
    t.items_completed = er_col_i64(q, 44);
    t.items_failed = er_col_i64(q, 45);
    if (failed) {
        return er_sqlite_no_memory(q->c);
    }
    *out = t;
    return 0;
}

static int
read_brief(struct er_store *s, struct er_stmt *q, struct er_brief *b)
{
    bool failed = false;
    b->run = er_col_int(q, 0);
    b->state = (enum er_task_state)er_col_int(q, 1);
    b->asked = (unsigned)er_col_int(q, 3);
    b->held = er_col_int(q, 2) != 0 || (b->asked & ER_ASKED_HOLD) != 0;
    b->rank = er_col_i64(q, 5);
    b->priority = er_col_int(q, 6);
    b->attempt = er_col_int(q, 7);
    b->failures = er_col_int(q, 8);
    b->waiting = er_col_int(q, 9);
    b->session = er_col_i64(q, 10);
    b->env = er_col_i64(q, 11);
    b->signature = er_col_i64(q, 12);
    b->created_at = er_col_i64(q, 13);
    b->expires_at = er_col_i64_or(q, 14, ER_NEVER);
    b->run_at = er_col_i64_or(q, 15, ER_NEVER);
    b->started_at = er_col_i64_or(q, 16, ER_NEVER);
    b->finished_at = er_col_i64_or(q, 17, ER_NEVER);
    b->cost = er_col_i64(q, 18);
    b->items_completed = er_col_i64(q, 19);
    b->items_failed = er_col_i64(q, 20);
    b->output_bytes = er_col_i64(q, 21);
    b->has_tags = er_col_int(q, 22) != 0;
    b->correlation = er_col_text(q, 23, &s->fx.arena, &failed);
    b->meta = er_col_text(q, 24, &s->fx.arena, &failed);
    if (failed) {
        return er_sqlite_no_memory(&s->c);
    }
    b->lane = er_sqlite_lane_find(s, er_col_i64(q, 4));
    if (!b->lane || b->state < 0 || b->state >= ER_TASK_STATES) {
        return er_sqlite_fail(&s->c, ER_ECORRUPT,
                              "a task has a lane or state that is unknown");
    }
    return 1;
}

int
er_sqlite_brief(struct er_store *s, er_task_id id, struct er_brief *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_BRIEF);
    er_stmt_i64(&q, id);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *out = (struct er_brief){.id = id};
        rc = read_brief(s, &q, out);
    }
    er_stmt_end(&q);
    return rc;
}

int
er_sqlite_session(struct er_store *s, int64_t session)
{
    if (session == s->session && session != 0) {
        return 1;
    }
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_SESSION_WORKER);
    er_stmt_i64(&q, session);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        const char *worker = (const char *)sqlite3_column_text(q.st, 0);
        if (!worker) {
            rc = er_sqlite_no_memory(&s->c);
        } else {
            s->session = session;
            (void)snprintf(s->worker, sizeof s->worker, "%s", worker);
        }
    }
    er_stmt_end(&q);
    return rc;
}
