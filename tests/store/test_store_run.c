/* SPDX-License-Identifier: MIT */
/* Claims, ends, progress, and what waits for other tasks. */
#include <stdio.h>
#include <string.h>

#include "store_fixture.h"

static int
claim_status(struct fixture *f, er_task_id id, int64_t session)
{
    struct er_claim row = {.id = id, .session = session};
    f_begin(f);
    assert_int_equal(er_store_claim(f->s, f->now, &row, 1, &f->arena), 0);
    f_commit(f);
    return row.status;
}

static int
finish_status(struct fixture *f, struct er_finish row)
{
    f_begin(f);
    assert_int_equal(er_store_finish(f->s, f->now, &row, 1), 0);
    f_commit(f);
    return row.status;
}

static void
claim__gives_the_task_as_it_now_is(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.limit_key = "l";
    row.args_json = "{\"argv\":[\"true\"]}";
    er_task_id id = f_add(f, row);
    f->now += SEC;
    struct er_task *t = f_claim(f, id);
    assert_int_equal(t->state, ER_TASK_RUNNING);
    assert_int_equal(t->attempt, 1);
    assert_int_equal(t->session, f->session);
    assert_string_equal(t->worker, "w1");
    assert_string_equal(t->type, "shell");
    assert_string_equal(t->queue, "default");
    assert_string_equal(t->limit_key, "l");
    assert_string_equal(t->args_json, "{\"argv\":[\"true\"]}");
    assert_true(t->started_at == f->now);
    assert_string_equal(f_facts(f), "task-started 1/1");
    assert_string_equal(f_data(f, 0), "{\"worker\":\"w1\",\"attempt\":1}");
    struct er_task stored = f_get(f, id);
    assert_int_equal(stored.state, ER_TASK_RUNNING);
    assert_int_equal(stored.attempt, 1);
    assert_string_equal(stored.worker, "w1");
    assert_int_equal(f_count(f, "default", ER_TASK_RUNNING), 1);
    assert_int_equal(f_count(f, "default", ER_TASK_QUEUED), 0);
}

/* Its own transaction tells of it as fresh, and nobody hears that it could run. */
static void
claim__in_the_transaction_of_the_submit(void **state)
{
    struct fixture *f = *state;
    const struct er_ready *fresh;
    int64_t before, total;
    (void)f_add(f, f_new());
    struct er_new_task rows[2] = {f_new(), f_new()};
    rows[1].priority = 3;
    f_begin(f);
    assert_int_equal(er_store_fresh(f->s, &fresh, &before), 0);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 2, false), 0);
    assert_int_equal(er_store_fresh(f->s, &fresh, &total), 2);
    assert_int_equal(total, before + 2);
    assert_int_equal(fresh[0].id, rows[0].id);
    assert_int_equal(fresh[1].id, rows[1].id);
    struct er_claim claim = {.id = rows[0].id,
                             .session = f->session,
                             .lane = fresh[0].lane,
                             .rank = fresh[0].rank,
                             .fresh = true};
    assert_int_equal(er_store_claim(f->s, f->now, &claim, 1, &f->arena), 0);
    assert_int_equal(claim.status, 0);
    assert_int_equal(er_store_fresh(f->s, &fresh, &total), 1);
    assert_int_equal(total, before + 1);
    assert_int_equal(fresh[0].id, rows[1].id);
    f_commit(f);
    assert_string_equal(f_facts(f), "task-queued 2, task-queued 3, task-started 2/1");
    assert_string_equal(f_ready(f), "3");
    assert_int_equal(f->fx.ready_total, total);
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 1, false), 0);
    er_store_rollback(f->s);
    f_begin(f);
    assert_int_equal(er_store_fresh(f->s, &fresh, &before), 0);
    assert_int_equal(before, total); /* it never was */
    f_commit(f);
}

static void
claim__takes_only_what_is_queued_and_not_held(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.held = true;
    er_task_id held = f_add(f, row);
    row.held = false;
    row.run_at = T0 + SEC;
    er_task_id scheduled = f_add(f, row);
    er_task_id taken = f_add(f, f_new());
    (void)f_claim(f, taken);
    assert_int_equal(claim_status(f, held, f->session), ER_ESTATE);
    assert_int_equal(claim_status(f, scheduled, f->session), ER_ESTATE);
    assert_int_equal(claim_status(f, taken, f->session), ER_ESTATE);
    assert_int_equal(claim_status(f, 99, f->session), ER_ESTATE);
    assert_int_equal(f->fx.n_facts, 0);
}

static void
claim__needs_an_open_session(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    int64_t other = f_open_session(f, "w2");
    assert_int_equal(claim_status(f, id, 99), ER_ELOST);
    f_begin(f);
    assert_int_equal(er_store_session_close(f->s, f->now, other, false), 0);
    f_commit(f);
    assert_int_equal(claim_status(f, id, other), ER_ELOST);
    assert_int_equal(claim_status(f, id, f->session), 0);
}

static void
claim__several_at_once_answer_each_for_itself(void **state)
{
    struct fixture *f = *state;
    struct er_claim rows[3];
    (void)f_add(f, f_new());
    (void)f_add(f, f_new());
    for (int i = 0; i < 3; i++) {
        rows[i] = (struct er_claim){.id = i == 0   ? 1
                                          : i == 1 ? 77
                                                   : 2,
                                    .session = f->session};
    }
    f_begin(f);
    assert_int_equal(er_store_claim(f->s, f->now, rows, 3, &f->arena), 0);
    f_commit(f);
    assert_true(rows[0].status == 0 && rows[1].status == ER_ESTATE &&
                rows[2].status == 0);
    assert_string_equal(f_facts(f), "task-started 1/1, task-started 2/1");
}

static void
finish__completed_keeps_what_the_attempt_left(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_COMPLETED);
    row.result = "a\0b";
    row.result_len = 3;
    row.progress_json = "{\"percent\":100}";
    row.checkpoint_json = "{\"at\":9}";
    row.warnings_json = "[\"w\"]";
    row.cpu_for = 11;
    row.peak_rss = 12;
    row.output_bytes = 13;
    row.event_data_json = "{\"duration_s\":1.0}";
    f_finish(f, row);
    assert_string_equal(f_facts(f), "task-completed 1/1");
    assert_string_equal(f_data(f, 0), "{\"duration_s\":1.0}");
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_COMPLETED);
    assert_true(t.started_at == row.started_at && t.finished_at == row.finished_at);
    assert_int_equal(t.result_len, 3);
    assert_memory_equal(t.result, "a\0b", 3);
    assert_string_equal(t.progress_json, "{\"percent\":100}");
    assert_string_equal(t.checkpoint_json, "{\"at\":9}");
    assert_string_equal(t.warnings_json, "[\"w\"]");
    assert_true(t.has_exit_code && t.exit_code == 0);
    assert_int_equal(t.cpu_for, 11);
    assert_int_equal(t.peak_rss, 12);
    assert_int_equal(t.session, 0);
    assert_null(t.worker);
    struct er_attempt *a;
    size_t n;
    assert_int_equal(er_store_attempts(f->r, id, &f->arena, &a, &n), 0);
    assert_int_equal(n, 1);
    assert_true(a[0].number == 1 && a[0].run == 1 && a[0].session == f->session);
    assert_string_equal(a[0].worker, "w1");
    assert_string_equal(a[0].outcome, "completed");
    assert_true(a[0].has_exit_code && a[0].exit_code == 0 && a[0].output_bytes == 13);
    assert_true(a[0].started_at == row.started_at && a[0].finished_at == row.finished_at);
    struct er_task brief;
    assert_int_equal(er_store_get(f->r, id, false, &f->arena, &brief), 0);
    assert_null(brief.result);
}

static void
finish__an_empty_result_is_not_none(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_COMPLETED);
    row.result = "";
    f_finish(f, row);
    struct er_task t = f_get(f, id);
    assert_non_null(t.result);
    assert_int_equal(t.result_len, 0);
}

static void
finish__of_somebody_else_changes_nothing(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_COMPLETED);
    row.attempt = 2;
    assert_int_equal(finish_status(f, row), ER_ELOST);
    row.attempt = 1;
    row.session++;
    assert_int_equal(finish_status(f, row), ER_ELOST);
    row.session--;
    row.id = 99;
    assert_int_equal(finish_status(f, row), ER_ELOST);
    row.id = id;
    row.state = ER_TASK_BLOCKED;
    assert_int_equal(finish_status(f, row), ER_EINVALID);
    assert_int_equal(f->fx.n_facts, 0);
    row.state = ER_TASK_COMPLETED;
    assert_int_equal(finish_status(f, row), 0);
    assert_int_equal(finish_status(f, row), ER_ELOST);
    assert_int_equal(f->fx.n_facts, 0);
    assert_int_equal(finish_status(f, f_ends(f, id, ER_TASK_FAILED)), ER_ELOST);
}

static void
finish__scheduled_waits_and_counts_the_failure(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_SCHEDULED);
    row.run_at = T0 + 30 * SEC;
    row.add_failures = 1;
    row.error_json = "{\"code\":\"exit\"}";
    row.event_data_json = "{\"retryable\":true}";
    f_finish(f, row);
    assert_string_equal(f_facts(f), "task-retrying 1/1");
    assert_true(f->fx.next_due == T0 + 30 * SEC);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_SCHEDULED);
    assert_int_equal(t.failures, 1);
    assert_true(t.run_at == T0 + 30 * SEC && t.finished_at == ER_NEVER);
    assert_string_equal(t.error_json, "{\"code\":\"exit\"}");
    er_usec next;
    f->now = T0 + 30 * SEC;
    f_begin(f);
    assert_int_equal(er_store_due(f->s, f->now, 10, &next), 0);
    f_commit(f);
    f_run(f, id, ER_TASK_COMPLETED);
    t = f_get(f, id);
    assert_int_equal(t.attempt, 2);
    assert_null(t.error_json); /* it completed: the earlier error is not its own */
    struct er_attempt *a;
    size_t n;
    assert_int_equal(er_store_attempts(f->r, id, &f->arena, &a, &n), 0);
    assert_int_equal(n, 2);
    assert_string_equal(a[0].error_json, "{\"code\":\"exit\"}");
}

static void
finish__without_a_moment_scheduled_is_due_at_once(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    f_finish(f, f_ends(f, id, ER_TASK_SCHEDULED));
    assert_true(f_get(f, id).run_at == f->now && f->fx.next_due == f->now);
}

static void
finish__back_to_the_queue_is_ready_again(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_QUEUED);
    row.outcome = ER_OUTCOME_REQUEUED;
    f_finish(f, row);
    assert_string_equal(f_ready(f), "1");
    assert_int_equal(f_get(f, id).attempt, 1);
    (void)f_claim(f, id);
    row = f_ends(f, id, ER_TASK_QUEUED);
    row.held = true;
    row.event = ER_EVENT_TASK_PAUSED;
    f_finish(f, row);
    assert_string_equal(f_ready(f), "");
    assert_string_equal(f_facts(f), "task-paused 1/2");
    assert_true(f_get(f, id).held);
}

static void
finish__a_refund_undoes_the_attempt(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_QUEUED);
    row.refund = true;
    row.outcome = ER_OUTCOME_REFUNDED;
    f_finish(f, row);
    assert_int_equal(f_get(f, id).attempt, 0);
    struct er_attempt *a;
    size_t n;
    assert_int_equal(er_store_attempts(f->r, id, &f->arena, &a, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(f_claim(f, id)->attempt, 1);
}

static void
finish__losses_are_counted_in_a_row(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    for (int i = 1; i <= 2; i++) {
        (void)f_claim(f, id);
        struct er_finish row = f_ends(f, id, ER_TASK_QUEUED);
        row.add_losses = 1;
        row.outcome = ER_OUTCOME_LOST;
        row.started_at = ER_NEVER;
        row.has_exit_code = false;
        f_finish(f, row);
        assert_int_equal(f_get(f, id).losses, i);
    }
    /* Put back by request: the attempt did not come to its own end. */
    (void)f_claim(f, id);
    f_finish(f, f_ends(f, id, ER_TASK_QUEUED));
    assert_int_equal(f_get(f, id).losses, 2);
    (void)f_claim(f, id);
    f_finish(f, f_ends(f, id, ER_TASK_SCHEDULED));
    assert_int_equal(f_get(f, id).losses, 0);
    /* A final state keeps what was counted. */
    er_task_id other = f_add(f, f_new());
    (void)f_claim(f, other);
    struct er_finish lost = f_ends(f, other, ER_TASK_QUEUED);
    lost.add_losses = 1;
    lost.outcome = ER_OUTCOME_LOST;
    f_finish(f, lost);
    (void)f_claim(f, other);
    f_finish(f, f_ends(f, other, ER_TASK_COMPLETED));
    assert_int_equal(f_get(f, other).losses, 1);
    struct er_attempt *a;
    size_t n;
    assert_int_equal(er_store_attempts(f->r, id, &f->arena, &a, &n), 0);
    assert_int_equal(n, 4);
    assert_true(a[0].started_at == ER_NEVER && !a[0].has_exit_code);
}

static void
finish__paused_waits_for_its_moment_or_resume(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_PAUSED);
    row.run_at = T0 + 45 * SEC;
    f_finish(f, row);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_PAUSED);
    assert_true(t.resumes_at == T0 + 45 * SEC);
    struct er_change change = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_hold(f->s, f->now, &change, 1, false), 0);
    f_commit(f);
    assert_string_equal(f_facts(f), "task-resumed 1/1");
    assert_string_equal(f_ready(f), "1");
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
}

static void
progress__keeps_the_latest_of_what_runs(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_progress_row rows[3] = {
        {.id = id,
         .attempt = 1,
         .session = f->session,
         .progress_json = "{\"p\":1}",
         .checkpoint_json = "{\"c\":1}"},
        {.id = id, .attempt = 1, .session = f->session, .progress_json = "{\"p\":2}"},
        {.id = id, .attempt = 2, .session = f->session, .progress_json = "{\"p\":3}"},
    };
    f_begin(f);
    assert_int_equal(er_store_progress(f->s, rows, 3), 0);
    f_commit(f);
    assert_true(rows[0].status == 0 && rows[1].status == 0 && rows[2].status == ER_ELOST);
    assert_string_equal(f_get(f, id).progress_json, "{\"p\":2}");
    assert_string_equal(f_get(f, id).checkpoint_json, "{\"c\":1}");
    assert_int_equal(f->fx.n_facts, 0);
}

static void
attempts__tell_the_one_that_runs(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_attempt *a;
    size_t n;
    assert_int_equal(er_store_attempts(f->r, id, &f->arena, &a, &n), 0);
    assert_int_equal(n, 1);
    assert_true(a[0].number == 1 && a[0].finished_at == ER_NEVER);
    assert_null(a[0].outcome);
    assert_string_equal(a[0].worker, "w1");
}

static void
durations__are_learnt_from_what_completed(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.signature = 42;
    for (int i = 0; i < 4; i++) {
        static const enum er_task_state ends[] = {ER_TASK_FAILED, ER_TASK_COMPLETED,
                                                  ER_TASK_COMPLETED, ER_TASK_COMPLETED};
        static const er_usec expected[] = {0, 0, SEC, 3 * SEC / 2};
        er_task_id id = f_add(f, row);
        struct er_claim claim = {.id = id, .session = f->session};
        f_begin(f);
        assert_int_equal(er_store_claim(f->s, f->now, &claim, 1, &f->arena), 0);
        f_commit(f);
        assert_int_equal(claim.expected_for, expected[i]);
        struct er_finish end = f_ends(f, id, ends[i]);
        end.finished_at = end.started_at + (i == 1 ? 1 : 2) * SEC;
        f_finish(f, end);
        if (i == 2 && !f->in_memory) {
            f_reopen(f);
        }
    }
    (void)f_add(f, row);
    assert_non_null(strstr(f_data(f, 0), "\"estimated_s\":1.666"));
}

static void
dependents__go_on_or_are_cancelled_by_how_it_ended(void **state)
{
    struct fixture *f = *state;
    static const enum er_task_state ends[] = {ER_TASK_COMPLETED, ER_TASK_FAILED,
                                              ER_TASK_CANCELLED};
    for (size_t e = 0; e < 3; e++) {
        er_task_id on = f_add(f, f_new());
        er_task_id waits[3];
        for (int w = 0; w < 3; w++) {
            waits[w] = f_add_after(f, on, (enum er_after_when)w);
            assert_int_equal(f_get(f, waits[w]).state, ER_TASK_BLOCKED);
        }
        f_run(f, on, ends[e]);
        for (int w = 0; w < 3; w++) {
            bool met = er_after_is_met((enum er_after_when)w, ends[e]);
            assert_int_equal(f_get(f, waits[w]).state,
                             met ? ER_TASK_QUEUED : ER_TASK_CANCELLED);
        }
        assert_int_equal(f->fx.n_facts, 4);
    }
}

static void
dependents__facts_say_why_and_keep_meta(void **state)
{
    struct fixture *f = *state;
    er_task_id on = f_add(f, f_new());
    struct er_new_after after = {.id = on, .ref = -1, .when = ER_AFTER_ANY};
    struct er_new_task row = f_new();
    row.after = &after;
    row.n_after = 1;
    row.meta_json = "{\"m\":\"1\"}";
    (void)f_add(f, row);
    (void)f_add_after(f, on, ER_AFTER_OK);
    f_run(f, on, ER_TASK_FAILED);
    assert_string_equal(f_facts(f), "task-failed 1/1, task-queued 2, task-cancelled 3");
    assert_non_null(strstr(f_data(f, 1), "\"meta\":{\"m\":\"1\"}"));
    assert_string_equal(f_data(f, 2), "{\"reason\":\"dependency\",\"by\":1}");
}

static void
dependents__wait_for_all_of_theirs(void **state)
{
    struct fixture *f = *state;
    er_task_id a = f_add(f, f_new()), b = f_add(f, f_new());
    /* The same one twice counts twice. */
    struct er_new_after after[] = {{.id = a, .ref = -1},
                                   {.id = b, .ref = -1},
                                   {.id = a, .ref = -1, .when = ER_AFTER_ANY}};
    struct er_new_task row = f_new();
    row.after = after;
    row.n_after = 3;
    row.run_at = T0 + 10 * SEC;
    er_task_id id = f_add(f, row);
    assert_int_equal(f_get(f, id).waiting, 3);
    f_run(f, a, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, id).waiting, 1);
    f_run(f, b, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, id).state, ER_TASK_SCHEDULED);
    assert_true(f->fx.next_due == T0 + 10 * SEC);
}

static void
dependents__held_ones_go_on_but_are_not_ready(void **state)
{
    struct fixture *f = *state;
    er_task_id on = f_add(f, f_new());
    struct er_new_after after = {.id = on, .ref = -1};
    struct er_new_task row = f_new();
    row.after = &after;
    row.n_after = 1;
    row.held = true;
    er_task_id id = f_add(f, row);
    f_run(f, on, ER_TASK_COMPLETED);
    struct er_task t = f_get(f, id);
    assert_true(t.state == ER_TASK_QUEUED && t.held);
    assert_string_equal(f_ready(f), "");
}

static void
dependents__of_a_retried_task_are_not_counted_twice(void **state)
{
    struct fixture *f = *state;
    er_task_id a = f_add(f, f_new()), b = f_add(f, f_new());
    struct er_new_after after[] = {{.id = a, .ref = -1, .when = ER_AFTER_ANY},
                                   {.id = b, .ref = -1}};
    struct er_new_task row = f_new();
    row.after = after;
    row.n_after = 2;
    er_task_id id = f_add(f, row);
    f_run(f, a, ER_TASK_FAILED);
    struct er_change change = f_change(a);
    f_begin(f);
    assert_int_equal(er_store_retry(f->s, f->now, &change, 1), 0);
    f_commit(f);
    f_run(f, a, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, id).state, ER_TASK_BLOCKED);
    f_run(f, b, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
}

#define MANY 20000

static void
submit_many(struct fixture *f, er_task_id first, bool chain)
{
    struct er_new_task *rows = er_arena_alloc(&f->arena, MANY * sizeof *rows);
    struct er_new_after *after = er_arena_alloc(&f->arena, MANY * sizeof *after);
    for (int i = 0; i < MANY; i++) {
        bool on_first = !chain || i == 0;
        after[i].id = on_first ? first : 0;
        after[i].ref = on_first ? -1 : i - 1;
        rows[i] = f_new();
        rows[i].after = &after[i];
        rows[i].n_after = 1;
    }
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, MANY, true), 0);
    f_commit(f);
    assert_int_equal(f->fx.n_facts, MANY);
}

static void
dependents__may_be_many_beside_each_other(void **state)
{
    struct fixture *f = *state;
    er_task_id on = f_add(f, f_new());
    submit_many(f, on, false);
    f_run(f, on, ER_TASK_COMPLETED);
    assert_int_equal(f->fx.n_ready, MANY);
    assert_int_equal(f_count(f, "default", ER_TASK_QUEUED), MANY);
}

static void
dependents__may_be_many_behind_each_other(void **state)
{
    struct fixture *f = *state;
    er_task_id on = f_add(f, f_new());
    submit_many(f, on, true);
    f_run(f, on, ER_TASK_FAILED);
    assert_int_equal(f->fx.n_facts, MANY + 1);
    assert_int_equal(f_count(f, "default", ER_TASK_CANCELLED), MANY);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(claim__gives_the_task_as_it_now_is),
        BOTH(claim__in_the_transaction_of_the_submit),
        BOTH(claim__takes_only_what_is_queued_and_not_held),
        BOTH(claim__needs_an_open_session),
        BOTH(claim__several_at_once_answer_each_for_itself),
        BOTH(finish__completed_keeps_what_the_attempt_left),
        BOTH(finish__an_empty_result_is_not_none),
        BOTH(finish__of_somebody_else_changes_nothing),
        BOTH(finish__scheduled_waits_and_counts_the_failure),
        BOTH(finish__without_a_moment_scheduled_is_due_at_once),
        BOTH(finish__back_to_the_queue_is_ready_again),
        BOTH(finish__a_refund_undoes_the_attempt),
        BOTH(finish__losses_are_counted_in_a_row),
        BOTH(finish__paused_waits_for_its_moment_or_resume),
        BOTH(progress__keeps_the_latest_of_what_runs),
        BOTH(attempts__tell_the_one_that_runs),
        BOTH(durations__are_learnt_from_what_completed),
        BOTH(dependents__go_on_or_are_cancelled_by_how_it_ended),
        BOTH(dependents__facts_say_why_and_keep_meta),
        BOTH(dependents__wait_for_all_of_theirs),
        BOTH(dependents__held_ones_go_on_but_are_not_ready),
        BOTH(dependents__of_a_retried_task_are_not_counted_twice),
        IN_MEMORY(dependents__may_be_many_beside_each_other),
        IN_MEMORY(dependents__may_be_many_behind_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
