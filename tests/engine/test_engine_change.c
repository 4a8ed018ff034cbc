/* SPDX-License-Identifier: MIT */
/* Requests about tasks, and how they fare when they meet a claim or an end on the way. */
#include "engine_fixture.h"

#include <string.h>
#include <unistd.h>

#include "../store/fault_vfs.h"
#include "base/mem.h"
#include "wire/outlog.h"

static void
cancel_of_a_waiting_task__is_final_at_once(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    assert_string_equal(f_facts(f, id), "task-queued, task-cancelled");
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), ER_ESTATE);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, 99), ER_ENOTFOUND);
    struct worker *w = w_new(f, 1);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
}

static void
cancel_of_a_running_task__is_told_to_its_worker_and_final_with_its_report(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    const json_t *line = w_take(w, "cancel");
    assert_string_equal(json_string_value(json_object_get(line, "why")), "cancel");
    assert_float_equal(json_real_value(json_object_get(line, "grace_s")), 5.0, 0.001);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_true(f_get(f, id).cancel_requested);
    char *end = w_finished(f, h, 143, ",\"why\":\"cancel\"");
    assert_int_equal(w_report(w, "%s", end), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    const json_t *data = f_data(f, id, ER_EVENT_TASK_CANCELLED);
    assert_string_equal(json_string_value(json_object_get(data, "reason")),
                        "a test asked");
    assert_string_equal(json_string_value(json_object_get(data, "by")), "tester");
}

static void
cancel_that_crosses_a_good_end__leaves_it_completed(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
}

static void
cancel_while_a_claim_is_under_way__follows_the_run_line(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 0);
    int rc;
    struct er_new_task row = f_new();
    row.env_json = "{\"A\":\"b\"}";
    er_task_id ids[] = {f_add(f, f_new()), f_add(f, row)};
    f_block(f);
    er_engine_set_slots(f->e, w->session, 2);
    f_flush(f);
    int rcs[2];
    for (int i = 0; i < 2; i++) {
        f_post_change(f, ER_CHANGE_CANCEL, ids[i], false, &rcs[i]);
    }
    f_flush(f);
    f_unblock(f);
    f_until(f, w_count(w, "run") == 2 && w_count(w, "cancel") == 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rcs[i], 0);
        size_t run = SIZE_MAX;
        for (size_t j = 0; j < json_array_size(w->lines); j++) {
            const json_t *line = json_array_get(w->lines, j);
            const json_t *o = json_object_get(line, "run"),
                         *c = json_object_get(line, "cancel");
            if (json_integer_value(json_object_get(o, "task")) == ids[i]) {
                run = j;
            } else if (json_integer_value(json_object_get(c, "task")) == ids[i]) {
                assert_true(run < j);
            }
        }
    }
    for (int i = 0; i < 2; i++) {
        char *end = w_finished(f, w_run(w), 143, ",\"spawned\":false,\"why\":\"cancel\"");
        rc = w_report(w, "%s", end);
        assert_int_equal(rc, 0);
        assert_int_equal(f_get(f, ids[i]).state, ER_TASK_CANCELLED);
    }
}

/* The crossing that had begun before it was posted fails with it. */
static void
submit_while_a_crossing_runs__goes_with_it(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    er_task_id id;
    int rc;
    f->gate_rc = 0;
    f_block(f);
    f_post_submit(f, &row, 1, &rc, &id);
    f_flush(f);
    fault_vfs_break(FAULT_VFS_IO, 1);
    f_unblock(f);
    f_until(f, rc <= 0);
    fault_vfs_mend();
    assert_int_equal(rc, ER_EIO);
    assert_int_equal(f->gate_rc, ER_EIO);
}

static void
cancel_before_a_claim_in_one_crossing__wins(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 0);
    er_task_id id = f_add(f, f_new());
    int rc;
    f_block(f);
    f_post_change(f, ER_CHANGE_CANCEL, id, false, &rc);
    f_flush(f);
    er_engine_set_slots(f->e, w->session, 1);
    f_flush(f);
    f_unblock(f);
    assert_int_equal(rc, 0);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    assert_int_equal(st.claim_misses, 1);
    assert_int_equal(st.running, 0);
    er_task_id next = f_add(f, f_new()); /* its slot is free */
    assert_int_equal(w_run(w).task, next);
}

/* The end was decided before the cancel came; both are on disk when they come back. */
static void
cancel_then_failure_on_the_way__is_cancelled_not_tried_again(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 5;
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    int cancel, report;
    f_block(f);
    f_post_change(f, ER_CHANGE_CANCEL, id, false, &cancel);
    f_flush(f);
    w_post(w, &report, w_finished(f, h, 1, ""));
    f_flush(f);
    f_unblock(f);
    assert_int_equal(cancel, 0);
    assert_int_equal(report, 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    const json_t *data = f_data(f, id, ER_EVENT_TASK_CANCELLED);
    assert_string_equal(json_string_value(json_object_get(data, "by")), "tester");
}

static void
failure_then_cancel_on_the_way__is_cancelled_while_it_waits(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 5;
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    int cancel, report;
    f_block(f);
    w_post(w, &report, w_finished(f, h, 1, ""));
    f_flush(f);
    f_post_change(f, ER_CHANGE_CANCEL, id, false, &cancel);
    f_flush(f);
    f_unblock(f);
    assert_int_equal(cancel, 0);
    assert_int_equal(report, 0);
    assert_string_equal(f_facts(f, id),
                        "task-queued, task-started/1, task-retrying/1, task-cancelled/1");
}

static void
cancel_while_the_worker_is_away__is_said_when_it_is_back(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    w_detach(w);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    const json_t *line = w_take(w, "cancel");
    assert_int_equal(json_integer_value(json_object_get(line, "task")), id);
}

static void
requeue__puts_a_running_task_back(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(f_change(f, ER_CHANGE_REQUEUE, id), 0);
    const json_t *line = w_take(w, "cancel");
    assert_string_equal(json_string_value(json_object_get(line, "why")), "requeue");
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"requeue\"")), 0);
    struct er_held again = w_run(w);
    assert_int_equal(again.task, id);
    assert_int_equal(again.attempt, 2);
    assert_int_equal(w_end(w, again, 0), 0);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_COMPLETED);
    assert_int_equal(t.failures + t.losses, 0);
}

static void
requeue_with_hold__waits_until_it_is_resumed(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    int rc;
    f_post_change(f, ER_CHANGE_REQUEUE, id, true, &rc);
    f_settle(f);
    assert_int_equal(rc, 0);
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"requeue\"")), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_true(f_get(f, id).held);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    assert_int_equal(w_run(w).attempt, 2);
    assert_string_equal(f_facts(f, id), "task-queued, task-started/1, task-paused/1, "
                                        "task-resumed/1, task-started/2");
}

static void
cancel_after_requeue__wins(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(f_change(f, ER_CHANGE_REQUEUE, id), 0);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 0, ",\"why\":\"requeue\"")), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
}

static void
requeue__is_for_running_tasks(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    assert_int_equal(f_change(f, ER_CHANGE_REQUEUE, id), ER_ESTATE);
    assert_int_equal(f_change(f, ER_CHANGE_REQUEUE, 99), ER_ENOTFOUND);
}

static void
hold__keeps_a_task_from_running_and_resume_lets_it_go(void **state)
{
    struct fixture *f = *state;
    er_task_id a = f_add(f, f_new()), b = f_add(f, f_new());
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, a), 0);
    struct worker *w = w_new(f, 2);
    assert_int_equal(w_run(w).task, b);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, a), 0);
    struct er_held h = w_run(w);
    assert_int_equal(h.task, a);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, a), ER_ESTATE); /* it is final */
}

static void
retry__is_a_new_run_of_a_finished_task(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    assert_int_equal(w_end(w, w_run(w), 1), 0);
    assert_int_equal(f_change(f, ER_CHANGE_RETRY, id), 0);
    struct er_held h = w_run(w);
    assert_int_equal(h.attempt, 2);
    assert_int_equal(w_end(w, h, 0), 0);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.run, 2);
    assert_int_equal(t.state, ER_TASK_COMPLETED);
}

static void
remove__takes_the_logs_along(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_outlog log;
    er_task_id id = f_add(f, f_new());
    assert_int_equal(er_outlog_create(&log, f->logs, id, 1, 1000, 1000, NULL), 0);
    er_outlog_close(&log);
    assert_int_equal(f_change(f, ER_CHANGE_REMOVE, id), ER_ESTATE);
    assert_int_equal(w_end(w, w_run(w), 0), 0);
    struct er_buf b;
    er_buf_init(&b, 0);
    assert_int_equal(er_outlog_exit(f->logs, id, 1, &b, NULL), 0);
    assert_int_equal(f_change(f, ER_CHANGE_REMOVE, id), 0);
    f_settle(f);
    assert_int_equal(er_outlog_exit(f->logs, id, 1, &b, NULL), ER_ENOTFOUND);
    er_buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cancel_of_a_waiting_task__is_final_at_once),
        TEST(cancel_of_a_running_task__is_told_to_its_worker_and_final_with_its_report),
        TEST(cancel_that_crosses_a_good_end__leaves_it_completed),
        TEST_HELD(cancel_while_a_claim_is_under_way__follows_the_run_line),
        TEST_HELD(submit_while_a_crossing_runs__goes_with_it),
        TEST_HELD(cancel_before_a_claim_in_one_crossing__wins),
        TEST_HELD(cancel_then_failure_on_the_way__is_cancelled_not_tried_again),
        TEST_HELD(failure_then_cancel_on_the_way__is_cancelled_while_it_waits),
        TEST(cancel_while_the_worker_is_away__is_said_when_it_is_back),
        TEST(requeue__puts_a_running_task_back),
        TEST(requeue_with_hold__waits_until_it_is_resumed),
        TEST(cancel_after_requeue__wins),
        TEST(requeue__is_for_running_tasks),
        TEST(hold__keeps_a_task_from_running_and_resume_lets_it_go),
        TEST(retry__is_a_new_run_of_a_finished_task),
        TEST(remove__takes_the_logs_along),
    };
    return RUN(tests, NULL, NULL);
}
