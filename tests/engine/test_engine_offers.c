/* SPDX-License-Identifier: MIT */
/* Offers: what finds its lane empty and a slot free is claimed in the transaction of its
 * submit; what does not leaves no trace of the seat that was kept for it. */
#include "engine_fixture.h"

#include <string.h>

#include "../store/fault_vfs.h"

static int64_t
commits(struct fixture *f)
{
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    return st.commits;
}

static size_t
running(struct fixture *f)
{
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    return st.running;
}

/* Makes the lane of such a row known to the loop, and leaves it empty. */
static void
make_lane(struct fixture *f, struct er_new_task row)
{
    row.held = true;
    er_task_id id = f_add(f, row);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    f_settle(f);
}

static struct er_new_task
in_queue(const char *queue)
{
    struct er_new_task row = f_new();
    row.queue = queue;
    return row;
}

/* How many commits lie between the submit and the last of n run lines. */
static int64_t
commits_to_run(struct fixture *f, struct worker *w, const struct er_new_task *rows,
               size_t n)
{
    int rc = 1;
    er_task_id ids[8];
    f_settle(f);
    size_t before = w_count(w, "run");
    int64_t began = commits(f);
    f_post_submit(f, rows, n, &rc, ids);
    f_until(f, rc <= 0 && w_count(w, "run") == before + n);
    return commits(f) - began;
}

/* ---- the short way ---- */

static void
free_slot__is_taken_in_the_commit_of_the_submit(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    make_lane(f, row);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(commits_to_run(f, w, &row, 1), 1);
        struct er_held h = w_run(w);
        assert_int_equal(h.attempt, 1);
        assert_string_equal(f_facts(f, h.task), "task-queued, task-started/1");
        assert_int_equal(f_get(f, h.task).state, ER_TASK_RUNNING);
        assert_int_equal(w_end(w, h, 0), 0);
        assert_int_equal(f_get(f, h.task).state, ER_TASK_COMPLETED);
    }
    assert_int_equal(running(f), 0);
}

static void
batch_that_fits__is_claimed_with_its_submit_in_order(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 3);
    struct er_new_task rows[3] = {f_new(), f_new(), f_new()};
    make_lane(f, rows[0]);
    rows[1].priority = 5;
    assert_int_equal(commits_to_run(f, w, rows, 3), 1);
    er_task_id a = w_run(w).task, b = w_run(w).task, c = w_run(w).task;
    assert_true(b == a - 1 && c == a + 1); /* the second goes first */
}

static void
several_lanes__in_one_turn_in_one_commit(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    struct er_new_task rows[2] = {in_queue("a"), in_queue("b")};
    rows[1].limit_key = "k";
    make_lane(f, rows[0]);
    make_lane(f, rows[1]);
    assert_int_equal(commits_to_run(f, w, rows, 2), 1);
}

static void
sessions__get_what_they_serve(void **state)
{
    static const char *const hash[] = {"hash", NULL}, *const copy[] = {"copy", NULL};
    struct fixture *f = *state;
    f_handled(f, "hash");
    f_handled(f, "copy");
    struct worker *a = w_handlers(f, 1, hash), *b = w_handlers(f, 1, copy);
    struct er_new_task h = f_new(), c = f_new();
    h.type = "hash";
    c.type = "copy";
    make_lane(f, h);
    make_lane(f, c);
    assert_int_equal(commits_to_run(f, b, &c, 1), 1);
    (void)f_add(f, c); /* `a` has a free slot, but not for this */
    f_settle(f);
    assert_int_equal(w_count(a, "run"), 0);
    assert_int_equal(w_count(b, "run"), 1);
    assert_int_equal(commits_to_run(f, a, &h, 1), 1);
}

static void
chain__goes_on_in_the_commit_of_each_end(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    er_task_id id = f_add(f, row);
    row.n_after = 1;
    for (int i = 0; i < 3; i++) {
        const struct er_new_after after = {.id = id + i, .ref = -1, .when = ER_AFTER_OK};
        row.after = &after;
        assert_int_equal(f_add(f, row), id + i + 1);
    }
    for (int i = 0; i < 3; i++) {
        int rc = 1;
        struct er_held h = w_run(w);
        f_settle(f);
        int64_t began = commits(f);
        w_post(w, &rc, w_finished(f, h, 0, ""));
        f_until(f, rc <= 0 && w_count(w, "run") == 1);
        assert_int_equal(commits(f) - began, 1);
    }
    assert_int_equal(w_run(w).task, id + 3);
}

/* ---- seats that nobody takes ---- */

/* The one slot, and the one permit, are there for the next. */
static void
expect_room(struct fixture *f, struct worker *w)
{
    f_settle(f);
    assert_int_equal(running(f), 0);
    assert_int_equal(w_count(w, "run"), 0);
    struct er_new_task row = in_queue("narrow");
    assert_int_equal(commits_to_run(f, w, &row, 1), 1);
    assert_int_equal(w_end(w, w_run(w), 0), 0);
}

static void
refused__gives_its_seat_back(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 1, false);
    struct worker *w = w_new(f, 1);
    struct er_new_task row = in_queue("narrow");
    make_lane(f, row);
    row.key = "once";
    er_task_id id = f_add(f, row);
    assert_int_equal(w_end(w, w_run(w), 0), 0);
    assert_int_equal(f_add(f, row), id); /* there already */
    expect_room(f, w);

    int rc = 1;
    er_task_id ids[1];
    row.key = NULL;
    row.parent = 999;
    f_post_submit(f, &row, 1, &rc, ids);
    f_until(f, rc <= 0);
    expect_room(f, w);
}

static void
waiting_ones__take_no_seat(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 1, false);
    struct worker *w = w_new(f, 1);
    struct er_new_task row = in_queue("narrow");
    make_lane(f, row);
    row.held = true;
    er_task_id held = f_add(f, row);
    expect_room(f, w);
    row.held = false;
    row.run_at = f->wall + 100 * SEC;
    (void)f_add(f, row);
    expect_room(f, w);
    row.run_at = ER_NEVER;
    const struct er_new_after after = {.id = held, .ref = -1, .when = ER_AFTER_OK};
    row.after = &after;
    row.n_after = 1;
    er_task_id blocked = f_add(f, row);
    expect_room(f, w);
    assert_int_equal(f_get(f, blocked).state, ER_TASK_BLOCKED);
}

static void
closed_ones__are_not_offered(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 1, false);
    struct worker *w = w_new(f, 2);
    struct er_new_task rows[2] = {in_queue("narrow"), in_queue("narrow")};
    rows[1].type = "make";
    f_type(f, "make", 0);
    make_lane(f, rows[0]);
    make_lane(f, rows[1]);
    int rc = 1;
    er_task_id ids[2];
    f_post_submit(f, rows, 2, &rc, ids); /* two slots, one permit */
    f_until(f, rc <= 0 && w_count(w, "run") == 1);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 1);
    struct er_held h = w_run(w);
    assert_int_equal(h.task, ids[0]);
    assert_int_equal(w_end(w, h, 0), 0);
    h = w_run(w);
    assert_int_equal(h.task, ids[1]);
    assert_int_equal(w_end(w, h, 0), 0);

    f_queue(f, "narrow", 1, true);
    er_task_id id = f_add(f, rows[0]);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    f_queue(f, "narrow", 1, false);
    assert_int_equal(w_run(w).task, id);
}

static void
cancel_in_the_same_turn__leaves_the_slot_free(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 1, false);
    struct worker *w = w_new(f, 1);
    struct er_new_task row = in_queue("narrow");
    make_lane(f, row);
    er_task_id next = f_add(f, row) + 1, got;
    assert_int_equal(w_end(w, w_run(w), 0), 0);
    int rc = 1, status = 1;
    f_post_submit(f, &row, 1, &rc, &got);
    f_post_change(f, ER_CHANGE_CANCEL, next, false, &status);
    f_until(f, rc <= 0 && status <= 0);
    assert_int_equal(status, 0);
    assert_int_equal(f_get(f, next).state, ER_TASK_CANCELLED);
    expect_room(f, w);
}

static void
disk_that_refuses__gives_the_seat_back(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 1, false);
    struct worker *w = w_new(f, 1);
    struct er_new_task row = in_queue("narrow");
    make_lane(f, row);
    int rc = 1;
    er_task_id id;
    fault_vfs_break(FAULT_VFS_SYNC, 1);
    f_post_submit(f, &row, 1, &rc, &id);
    f_until(f, rc <= 0);
    assert_int_equal(rc, ER_EIO);
    assert_int_equal(running(f), 0);
    assert_int_equal(w_count(w, "run"), 0);
    fault_vfs_mend();
    f_pass(f, 2 * SEC);
    f_settle(f);
    expect_room(f, w);
}

/* ---- order ---- */

static void
too_many_for_the_slots__go_by_rank(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task low = f_new(), high = f_new();
    high.type = "make"; /* a lane of its own */
    high.priority = 1;
    f_type(f, "make", 0);
    make_lane(f, low);
    make_lane(f, high);
    int rc[2] = {1, 1};
    er_task_id ids[2];
    f_post_submit(f, &low, 1, &rc[0], &ids[0]);
    f_post_submit(f, &high, 1, &rc[1], &ids[1]);
    struct er_held h = w_run(w);
    assert_int_equal(h.task, ids[1]);
    f_settle(f);
    assert_int_equal(f_get(f, ids[0]).state, ER_TASK_QUEUED);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(w_run(w).task, ids[0]);
}

/* Somebody whom the loop has not heard of yet, and who stands before. */
static void
unheard_ones__are_not_overtaken(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    static const char *const types[] = {"shell", "make"}; /* its lane, another */
    f_type(f, "make", 0);
    for (int i = 0; i < 2; i++) {
        struct er_new_task row = f_new(), old = f_new();
        make_lane(f, row);
        old.held = true;
        old.type = types[i];
        er_task_id first = f_add(f, old), id;
        f->wall += SEC;
        int rc = 1, status = 1;
        f_post_change(f, ER_CHANGE_RESUME, first, false, &status);
        f_post_submit(f, &row, 1, &rc, &id);
        struct er_held h = w_run(w);
        assert_int_equal(h.task, first);
        assert_int_equal(w_end(w, h, 0), 0);
        h = w_run(w);
        assert_int_equal(h.task, id);
        assert_int_equal(w_end(w, h, 0), 0);
    }
}

static void
unheard_ones__are_no_hindrance_where_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new(), old = f_new();
    old.held = true;
    old.type = "make";
    f_type(f, "make", 0);
    make_lane(f, row);
    make_lane(f, old);
    er_task_id first = f_add(f, old), id;
    int rc = 1, status = 1;
    f_post_change(f, ER_CHANGE_RESUME, first, false, &status);
    f_post_submit(f, &row, 1, &rc, &id);
    struct er_held h = w_run(w), later = w_run(w);
    assert_int_equal(h.task, id); /* with its submit */
    assert_int_equal(later.task, first);
}

/* ---- what happens meanwhile ---- */

static void
cancel_on_the_way__ends_what_was_claimed(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    make_lane(f, row);
    er_task_id next = f_add(f, row) + 1, id;
    assert_int_equal(w_end(w, w_run(w), 0), 0);
    int rc = 1, status = 1;
    f_block(f);
    f_post_submit(f, &row, 1, &rc, &id);
    f_flush(f);
    f_post_change(f, ER_CHANGE_CANCEL, next, false, &status); /* by whoever guesses it */
    f_flush(f);
    f_unblock(f);
    f_until(f, rc <= 0 && status <= 0);
    assert_int_equal(status, 0);
    struct er_held h = w_run(w);
    assert_int_equal(h.task, next);
    (void)w_take(w, "cancel");
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 1, ",\"why\":\"cancel\"")), 0);
    assert_int_equal(f_get(f, next).state, ER_TASK_CANCELLED);
}

static void
worker_that_dies_meanwhile__loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    make_lane(f, row);
    int rc = 1;
    er_task_id id;
    f_block(f);
    f_post_submit(f, &row, 1, &rc, &id);
    f_flush(f);
    w_die(w);
    f_flush(f);
    f_unblock(f);
    f_until(f, rc <= 0);
    struct worker *next = w_new(f, 1);
    struct er_held h = w_run(next);
    assert_int_equal(h.task, id);
    assert_int_equal(w_end(next, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
}

static void
queue_paused_meanwhile__puts_it_back(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = in_queue("narrow");
    make_lane(f, row);
    int rc = 1;
    er_task_id id;
    f_block(f);
    f_post_submit(f, &row, 1, &rc, &id);
    f_flush(f);
    f_unblock(f);
    f_queue(f, "narrow", 0, true);
    f_settle(f);
    struct er_held h = w_run(w); /* it came first */
    assert_int_equal(h.task, id);
    assert_int_equal(w_end(w, h, 0), 0);
    f_queue(f, "narrow", 0, false);
    assert_int_equal(commits_to_run(f, w, &row, 1), 1);
}

/* A pause that was promised while the task was being put back is made good before it
 * could be given away again. */
static void
put_back_with_a_promise__gets_no_seat(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    er_task_id id = f_add(f, row), next;
    struct er_held h = w_run(w);
    assert_int_equal(w_start(w, h), 0);
    assert_int_equal(f_change(f, ER_CHANGE_REQUEUE, id), 0);
    (void)w_take(w, "cancel");
    int paused = 1, ended = 1, rc = 1;
    f_block(f);
    f_post_change(f, ER_CHANGE_PAUSE, id, false, &paused);
    w_post(w, &ended, w_finished(f, h, 143, ",\"why\":\"requeue\""));
    f_flush(f);
    f_post_submit(f, &row, 1, &rc, &next);
    f_flush(f);
    f_unblock(f);
    f_until(f, paused <= 0 && ended <= 0 && rc <= 0);
    assert_int_equal(paused, 0);
    assert_int_equal(w_run(w).task, next);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_true(f_get(f, id).held);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(free_slot__is_taken_in_the_commit_of_the_submit),
        TEST(batch_that_fits__is_claimed_with_its_submit_in_order),
        TEST(several_lanes__in_one_turn_in_one_commit),
        TEST(sessions__get_what_they_serve),
        TEST(chain__goes_on_in_the_commit_of_each_end),
        TEST(refused__gives_its_seat_back),
        TEST(waiting_ones__take_no_seat),
        TEST(closed_ones__are_not_offered),
        TEST(cancel_in_the_same_turn__leaves_the_slot_free),
        TEST(disk_that_refuses__gives_the_seat_back),
        TEST(too_many_for_the_slots__go_by_rank),
        TEST(unheard_ones__are_not_overtaken),
        TEST(unheard_ones__are_no_hindrance_where_there_is_room),
        TEST_HELD(cancel_on_the_way__ends_what_was_claimed),
        TEST_HELD(worker_that_dies_meanwhile__loses_nothing),
        TEST_HELD(queue_paused_meanwhile__puts_it_back),
        TEST_HELD(put_back_with_a_promise__gets_no_seat),
    };
    return RUN(tests, NULL, NULL);
}
