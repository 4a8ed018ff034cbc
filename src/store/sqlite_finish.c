/* SPDX-License-Identifier: MIT */
/* The ends of attempts. Everything that an end means is in the same transaction: the
 * task's new state, the attempt's row, the fact, the learnt duration, and what becomes of
 * those that wait for it. A report of an attempt that is no longer the task's changes
 * nothing; one that is paused in place may end as one that runs. */
#include "store/sqlite_priv.h"

static er_usec
or_else(er_usec at, er_usec otherwise)
{
    return at == ER_NEVER ? otherwise : at;
}

/* Whether the losses in a row are over: the attempt came to its own end, and another
 * follows. A task that is final keeps the count, so that one can see what it went
 * through. */
static bool
ends_losses(const struct er_finish *row)
{
    return row->add_losses == 0 && row->state == ER_TASK_SCHEDULED;
}

/* What the attempt adds to the task's logs. */
static int64_t
output_of(const struct er_finish *row)
{
    return row->refund || row->output_bytes < 0 ? 0 : row->output_bytes;
}

static int
update_task(struct er_store *s, er_usec now, const struct er_finish *row,
            const struct er_brief *t)
{
    struct er_stmt q;
    bool final = er_task_state_is_final(row->state);
    er_usec started = final ? or_else(row->started_at, t->started_at) : ER_NEVER;
    er_usec finished = final ? or_else(row->finished_at, now) : ER_NEVER;
    bool moment = row->state == ER_TASK_SCHEDULED;
    bool resumes = row->state == ER_TASK_PAUSED;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_FINISH);
    er_stmt_i64(&q, row->id);
    er_stmt_i64(&q, row->attempt);
    er_stmt_i64(&q, row->session);
    er_stmt_i64(&q, row->state);
    er_stmt_i64(&q, row->held && row->state == ER_TASK_QUEUED);
    er_stmt_i64(&q, row->refund ? 1 : 0);
    er_stmt_i64(&q, row->add_failures);
    er_stmt_i64(&q, ends_losses(row) ? 0 : 1);
    er_stmt_i64(&q, row->add_losses);
    er_stmt_i64_or_null(&q, moment ? or_else(row->run_at, now) : ER_NEVER, ER_NEVER);
    er_stmt_i64_or_null(&q, resumes ? row->run_at : ER_NEVER, ER_NEVER);
    er_stmt_i64_or_null(&q, started, ER_NEVER);
    er_stmt_i64_or_null(&q, finished, ER_NEVER);
    er_stmt_i64_or_null(&q, row->has_exit_code ? row->exit_code : INT64_MIN, INT64_MIN);
    er_stmt_i64(&q, row->signal);
    er_stmt_i64(&q, row->cpu_for);
    er_stmt_i64(&q, row->peak_rss);
    er_stmt_text(&q, row->progress_json);
    er_stmt_text(&q, row->checkpoint_json);
    er_stmt_text(&q, row->error_json);
    er_stmt_text(&q, row->warnings_json);
    er_stmt_blob(&q, row->result, row->result_len);
    er_stmt_i64(&q, output_of(row));
    return er_stmt_run_one(&q);
}

static int
insert_attempt(struct er_store *s, er_usec now, const struct er_finish *row,
               const struct er_brief *t)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_ATTEMPT_ADD);
    er_stmt_i64(&q, row->id);
    er_stmt_i64(&q, row->attempt);
    er_stmt_i64(&q, t->run);
    er_stmt_i64(&q, row->session);
    er_stmt_i64_or_null(&q, row->started_at, ER_NEVER);
    er_stmt_i64(&q, or_else(row->finished_at, now));
    er_stmt_text(&q, row->outcome);
    er_stmt_i64_or_null(&q, row->has_exit_code ? row->exit_code : INT64_MIN, INT64_MIN);
    er_stmt_i64(&q, row->signal);
    er_stmt_text(&q, row->error_json);
    er_stmt_i64(&q, row->cpu_for);
    er_stmt_i64(&q, row->peak_rss);
    er_stmt_i64(&q, output_of(row));
    return er_stmt_run(&q);
}

/* Learns from a completed attempt whose times are known. */
static int
learn(struct er_store *s, er_usec now, const struct er_finish *row,
      const struct er_brief *t)
{
    if (row->state != ER_TASK_COMPLETED || row->started_at == ER_NEVER ||
        row->finished_at == ER_NEVER || row->finished_at < row->started_at) {
        return 0;
    }
    er_usec took = row->finished_at - row->started_at;
    took = took > 0 ? took : 1; /* 0 stands for unknown */
    int rc = er_sqlite_learn(s, now, t->lane->type_signature, took);
    return rc || t->signature == 0 ? rc : er_sqlite_learn(s, now, t->signature, took);
}

/* What the new state means for others. */
static int
announce(struct er_store *s, er_usec now, const struct er_finish *row,
         const struct er_brief *t)
{
    if (er_task_state_is_final(row->state)) {
        er_sqlite_count_log(s, t->output_bytes + output_of(row));
        return er_sqlite_ended(s, row->id, row->state);
    }
    if (row->state == ER_TASK_SCHEDULED) {
        er_sqlite_next_due(s, or_else(row->run_at, now));
    } else if (row->state == ER_TASK_PAUSED) {
        er_sqlite_next_due(s, row->run_at);
    }
    if (row->refund && t->attempt == 1) {
        er_sqlite_next_due(s, t->expires_at); /* it waits for its first start again */
    }
    return row->state == ER_TASK_QUEUED && !row->held ? er_sqlite_ready(s, t) : 0;
}

static int
record(struct er_store *s, er_usec now, const struct er_finish *row,
       const struct er_brief *t)
{
    er_buf_clear(&s->buf);
    er_buf_add_str(&s->buf, row->event_data_json ? row->event_data_json : "{}");
    int rc = er_sqlite_fact(s, now, row->event, t, row->attempt, er_sqlite_data(s));
    return rc || !row->result ? rc
                              : er_sqlite_fact_result(s, row->result, row->result_len);
}

static int
finish_row(struct er_store *s, er_usec now, struct er_finish *row)
{
    struct er_brief t;
    int rc = er_sqlite_brief(s, row->id, &t);
    if (rc < 0) {
        return rc;
    }
    if (rc == 0 || t.session == 0 || t.attempt != row->attempt ||
        t.session != row->session) {
        row->status = ER_ELOST;
        return 0;
    }
    /* One that was stopped where it is may report what it did before: the same rules. */
    if (!er_task_state_can_move(ER_TASK_RUNNING, row->state)) {
        row->status = ER_EINVALID;
        return 0;
    }
    row->status = 0;
    rc = update_task(s, now, row, &t);
    if (rc == 0 && !row->refund) {
        rc = insert_attempt(s, now, row, &t);
    }
    if (rc == 0) {
        if (t.state != row->state) { /* paused in place, and now by a rate limit */
            er_sqlite_count_move(s, t.lane, t.state, row->state);
        }
        rc = learn(s, now, row, &t);
    }
    if (rc == 0) {
        rc = record(s, now, row, &t);
    }
    if (rc == 0) {
        rc = announce(s, now, row, &t);
    }
    return rc ? rc : er_sqlite_settle(s, now);
}

int
er_store_finish(struct er_store *s, er_usec now, struct er_finish *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = finish_row(s, now, &rows[i]);
    }
    return er_sqlite_leave(s, rc);
}
