/* SPDX-License-Identifier: MIT */
/* Reports that come twice, late, or from a worker that dies: each end is taken once, and
 * none is forgotten that is not on disk. */
#include "engine_fixture.h"

#include <string.h>

#include "../store/fault_vfs.h"
#include "base/mem.h"

static size_t
sessions(struct fixture *f)
{
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    return st.sessions;
}

static void
same_end_twice_in_one_report__is_one_end(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    char *end = w_finished(f, h, 0, "");
    assert_int_equal(w_report(w, "%s%s", end, end), 0);
    assert_int_equal(w->n_lost, 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
}

static void
end_that_is_being_written__is_to_be_reported_again(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    char *end = w_finished(f, h, 0, "");
    int first, second;
    f_block(f);
    w_post(w, &first, end);
    f_flush(f);
    w_post(w, &second, end); /* on a new connection: the answer was lost */
    assert_int_equal(second, ER_EBUSY);
    fault_vfs_break(FAULT_VFS_IO, 1);
    f_unblock(f);
    f_until(f, first <= 0);
    assert_int_equal(first, ER_EIO);
    fault_vfs_mend();
    f_pass(f, 2 * SEC);
    assert_int_equal(w_report(w, "%s", end), 0);
    assert_int_equal(w->n_lost, 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(w_report(w, "%s", end), 0); /* and once more: now it is over */
    assert_int_equal(w->n_lost, 1);
}

static void
report_of_a_dead_worker__that_was_not_sent_leaves_its_ends_to_the_autopsy(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id id = f_add_many(f, f_new(), 2);
    struct er_held h = w_run(w), other = w_run(w);
    struct er_err err;
    struct er_report_batch *b = er_engine_report_new(f->e, w->session, w->token);
    char *end = w_finished(f, h, 0, ""), *late = w_finished(f, other, 0, "");
    assert_int_equal(er_engine_report_line(b, end, strlen(end), &err), 0);
    w_die(w); /* the rest of the body hangs in its connection */
    assert_int_equal(er_engine_report_line(b, late, strlen(late), &err), 0);
    f_until(f, sessions(f) == 0);
    er_engine_report_drop(b);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_int_equal(f_get(f, id + 1).state, ER_TASK_QUEUED);
}

static void
worker_dies__while_a_refund_waits_for_the_disk(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    (void)w_run(w);
    w_detach(w);
    fault_vfs_break(FAULT_VFS_IO, 1);
    assert_int_equal(w_attach(w, NULL, 0, NULL, 0), 0); /* it has nothing: a refund */
    f_settle(f);
    w_die(w);
    f_settle(f);
    fault_vfs_mend();
    f_pass(f, 2 * SEC);
    f_until(f, sessions(f) == 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_int_equal(f_get(f, id).attempt, 0);
}

static void
what_overtakes_the_run_line__is_said_behind_it_or_refused(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.env_json = "{\"A\":\"1\"}";
    int rc = 1, cancel = 1;
    er_task_id id = 0;
    f_block(f);
    f_post_submit(f, &row, 1, &rc, &id);
    f_unblock(f);
    struct er_live live;
    f_until(f, er_engine_live(f->e, id, &live));
    bool told = w_count(w, "run") > 0; /* its environment may have been fast */
    if (!told) {
        assert_int_equal(er_engine_input(f->e, id, "x", 1, false), ER_EBUSY);
    }
    f_post_change(f, ER_CHANGE_CANCEL, id, false, &cancel);
    f_until(f, cancel <= 0 && w_count(w, "cancel") == 1);
    assert_int_equal(cancel, 0);
    assert_int_equal(w_count(w, "run"), 1);
    json_t *first;
    size_t i, run_at = 0, cancel_at = 0;
    json_array_foreach(w->lines, i, first)
    {
        run_at = json_object_get(first, "run") ? i : run_at;
        cancel_at = json_object_get(first, "cancel") ? i : cancel_at;
    }
    assert_true(run_at < cancel_at);
}

static void
old_link__is_not_the_sessions_any_more(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_link old = {0};
    er_buf_init(&old.out, 0);
    assert_int_equal(w_attach(w, NULL, 0, NULL, 0), 0);
    assert_false(er_engine_session_detach(f->e, &old));
    assert_true(er_engine_session_detach(f->e, &w->link));
    er_buf_fini(&old.out);
}

static void
subscription_from_the_future__begins_now(void **state)
{
    struct fixture *f = *state;
    struct sub s;
    (void)f_add(f, f_new());
    s_open(f, &s, &(struct er_sub_filter){0}, 1000000);
    er_task_id id = f_add(f, f_new());
    json_t *fact = NULL;
    int64_t seq;
    f_until(f, (s_pull(&s), fact = s_take(&s, &seq)) != NULL);
    assert_int_equal(json_integer_value(json_object_get(fact, "task")), id);
    json_decref(fact);
    s_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(same_end_twice_in_one_report__is_one_end),
        TEST_HELD(end_that_is_being_written__is_to_be_reported_again),
        TEST(report_of_a_dead_worker__that_was_not_sent_leaves_its_ends_to_the_autopsy),
        TEST(worker_dies__while_a_refund_waits_for_the_disk),
        TEST_HELD(what_overtakes_the_run_line__is_said_behind_it_or_refused),
        TEST(old_link__is_not_the_sessions_any_more),
        TEST(subscription_from_the_future__begins_now),
    };
    return RUN(tests, NULL, NULL);
}
