/* SPDX-License-Identifier: MIT */
/* What runs next: order over lanes and queues, windows that are refilled, and what
 * happens when the news of a task and a look into the store cross on their way. */
#include "engine_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"

/* Ends what comes until nothing has come for as long as the store takes; notes the order.
 * Each task may come once. */
struct seen {
    er_task_id order[8192];
    size_t n;
    unsigned char times[16384];
};

static void
take_all(struct worker *w, struct seen *seen)
{
    struct er_held h;
    while (w_has_run(w, &h)) {
        assert_true(h.task < 16384 && seen->n < 8192);
        assert_int_equal(seen->times[h.task]++, 0);
        seen->order[seen->n++] = h.task;
        int *rc = er_arena_alloc(&w->f->arena, sizeof *rc);
        w_post(w, rc, w_finished(w->f, h, 0, ""));
    }
}

static void
run_all(struct fixture *f, struct worker *w, struct seen *seen)
{
    size_t before;
    do {
        before = seen->n;
        f_settle(f);
        take_all(w, seen);
        f_settle(f);
        take_all(w, seen);
    } while (seen->n != before);
    assert_null(f->e->runs);
}

static struct seen *
new_seen(struct fixture *f)
{
    struct seen *seen = er_arena_alloc(&f->arena, sizeof *seen);
    assert_non_null(seen);
    return seen;
}

static struct er_new_task
with_priority(int priority)
{
    struct er_new_task row = f_new();
    row.priority = priority;
    return row;
}

static void
order__is_by_priority_then_by_time_over_all_queues(void **state)
{
    struct fixture *f = *state;
    static const char *const queues[] = {"a", "b", "c"}, *const types[] = {"x", "y"};
    er_task_id want[3][60];
    size_t n[3] = {0};
    f_type(f, "x", 0);
    f_type(f, "y", 0);
    for (int i = 0; i < 90; i++) {
        struct er_new_task row = f_new();
        int priority = i % 4 == 3 ? 2 : i % 4 == 1 ? 1 : 0;
        row.priority = priority * 10;
        row.queue = queues[i % 3];
        row.type = types[i / 3 % 2];
        f->wall += ER_USEC_PER_MS;
        want[priority][n[priority]++] = f_add(f, row);
    }
    struct worker *w = w_new(f, 1);
    struct seen *seen = new_seen(f);
    run_all(f, w, seen);
    assert_int_equal(seen->n, 90);
    size_t at = 0;
    for (int p = 2; p >= 0; p--) {
        for (size_t i = 0; i < n[p]; i++) {
            assert_int_equal(seen->order[at++], want[p][i]);
        }
    }
}

static void
waiting__ages_so_that_a_minute_is_worth_a_step_of_priority(void **state)
{
    struct fixture *f = *state;
    er_task_id old = f_add(f, with_priority(0));
    f->wall += 61 * SEC;
    er_task_id young = f_add(f, with_priority(1)), urgent = f_add(f, with_priority(2));
    struct worker *w = w_new(f, 1);
    struct seen *seen = new_seen(f);
    run_all(f, w, seen);
    assert_int_equal(seen->order[0], urgent);
    assert_int_equal(seen->order[1], old);
    assert_int_equal(seen->order[2], young);
}

static void
thousands_in_one_lane__are_claimed_once_and_in_order(void **state)
{
    struct fixture *f = *state;
    er_task_id first = f_add_many(f, f_new(), 3000);
    struct worker *w = w_new(f, 40);
    struct seen *seen = new_seen(f);
    run_all(f, w, seen);
    assert_int_equal(seen->n, 3000);
    for (size_t i = 0; i < seen->n; i++) {
        assert_int_equal(seen->order[i], first + (er_task_id)i);
    }
}

static void
thousands__are_found_again_by_a_new_engine(void **state)
{
    struct fixture *f = *state;
    er_task_id first = f_add_many(f, f_new(), 1500);
    f_close(f);
    f_open(f);
    er_task_id late = f_add(f, with_priority(0));
    struct worker *w = w_new(f, 100);
    struct seen *seen = new_seen(f);
    run_all(f, w, seen);
    assert_int_equal(seen->n, 1501);
    assert_int_equal(seen->order[0], first);
    assert_int_equal(seen->order[1500], late);
}

static void
paused_or_saturated_queue__holds_up_nobody(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "paused", 0, true);
    f_queue(f, "narrow", 1, false);
    struct er_new_task row = with_priority(100);
    row.queue = "paused";
    (void)f_add_many(f, row, 10000);
    row.queue = "narrow";
    er_task_id narrow = f_add_many(f, row, 10000);
    struct worker *w = w_new(f, 4);
    assert_int_equal(w_run(w).task, narrow);
    er_task_id id = f_add(f, with_priority(-100));
    assert_int_equal(w_run(w).task, id);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
}

static void
submit_between_a_look_behind_the_window__is_not_left_out(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 0);
    (void)f_add_many(f, with_priority(10), 256);
    (void)f_add_many(f, with_priority(0), 44);
    f_block(f);
    er_engine_set_slots(f->e, w->session, 200);
    f_flush(f); /* claims 200, and looks for what lies behind the window */
    struct er_new_task between = with_priority(5);
    int rc;
    f_post_submit(f, &between, 1, &rc, NULL);
    f_flush(f);
    f_unblock(f);
    assert_int_equal(rc, 0);
    struct seen *seen = new_seen(f);
    run_all(f, w, seen);
    assert_int_equal(seen->n, 301);
    assert_int_equal(seen->order[256], 301);
}

static void
flood_before_the_window__pushes_nothing_out_for_good(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 0);
    er_task_id first = f_add_many(f, f_new(), 257);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, first + 256), 0);
    f_block(f);
    er_engine_set_slots(f->e, w->session, 200);
    f_flush(f);
    int rc;
    struct er_new_task *rows = calloc(240, sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < 240; i++) {
        rows[i] = with_priority(10);
    }
    f_post_submit(f, rows, 240, &rc, NULL);
    free(rows);
    f_flush(f);
    f_unblock(f);
    assert_int_equal(rc, 0);
    struct seen *seen = new_seen(f);
    run_all(f, w, seen);
    assert_int_equal(seen->n, 496);
    for (size_t i = 0; i < 240; i++) { /* after the 200 that were claimed already */
        assert_int_equal(seen->order[200 + i], first + 257 + (er_task_id)i);
    }
}

static void
urgent_one_while_the_window_is_empty__is_not_left_out(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 0);
    (void)f_add_many(f, f_new(), 300);
    f_block(f);
    er_engine_set_slots(f->e, w->session, 256);
    f_flush(f); /* claims all that is in the window */
    int rc;
    struct er_new_task urgent = with_priority(10);
    f_post_submit(f, &urgent, 1, &rc, NULL);
    f_flush(f);
    f_unblock(f);
    struct seen *seen = new_seen(f);
    run_all(f, w, seen);
    assert_int_equal(seen->n, 301);
    assert_int_equal(seen->order[256], 301);
}

/* Everything at once, many times: what comes in any order is claimed once each. */
static void
any_mixture__leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    const char *given = getenv("TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct worker *w = w_new(f, 150);
    struct seen *seen = new_seen(f);
    size_t n = 0;
    for (int turn = 0; turn < 60; turn++) {
        struct er_new_task rows[200];
        size_t many = er_rand_next(&seed) % 4 == 0 ? 200 : er_rand_next(&seed) % 30;
        for (size_t i = 0; i < many; i++) {
            rows[i] = with_priority((int)(er_rand_next(&seed) % 7));
            rows[i].held = er_rand_next(&seed) % 8 == 0;
        }
        int *rc = er_arena_alloc(&f->arena, 4 * sizeof *rc);
        f_post_submit(f, rows, many, &rc[0], NULL);
        n += many;
        for (int i = 1; i < 4; i++) {
            er_task_id id = (er_task_id)(er_rand_next(&seed) % (n + 1)) + 1;
            f_post_change(f, i == 1 ? ER_CHANGE_PAUSE : ER_CHANGE_RESUME, id, false,
                          &rc[i]);
        }
        f->wall += ER_USEC_PER_MS;
        f_turn(f, "anything");
        take_all(w, seen);
    }
    for (size_t i = 1; i <= n; i++) {
        (void)f_change(f, ER_CHANGE_RESUME, (er_task_id)i);
    }
    run_all(f, w, seen);
    assert_int_equal(seen->n, n);
}

static void
edited_task__runs_where_it_now_stands(void **state)
{
    struct fixture *f = *state;
    struct er_edit last = {.has_priority = true, .priority = -10};
    er_task_id a = f_add(f, f_new()), b = f_add(f, f_new()), c = f_add(f, f_new());
    f_edit(f, a, last);
    struct worker *w = w_new(f, 1);
    struct seen *seen = new_seen(f);
    run_all(f, w, seen);
    assert_int_equal(seen->order[0], b);
    assert_int_equal(seen->order[1], c);
    assert_int_equal(seen->order[2], a);
}

/* Both of its places are taken in one turn: the claim of the wrong one is refused. */
static void
task_claimed_at_its_old_place__is_claimed_again(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    f_edit(f, id, (struct er_edit){.has_priority = true, .priority = -10});
    struct worker *w = w_new(f, 2);
    assert_int_equal(w_run(w).task, id);
}

static void
task_moved_to_a_paused_queue__waits_there(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "paused", 0, true);
    er_task_id id = f_add(f, f_new());
    f_edit(f, id, (struct er_edit){.queue = "paused"});
    struct worker *w = w_new(f, 1);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    f_queue(f, "paused", 0, false);
    assert_int_equal(w_run(w).task, id);
}

/* What stood in a window twice, and is running, is no reason to stop looking. */
static void
task_seen_twice__does_not_hold_up_the_next(void **state)
{
    struct fixture *f = *state;
    er_task_id a = f_add(f, with_priority(5)), b = f_add(f, f_new());
    f_edit(f, a, (struct er_edit){.has_priority = true, .priority = 10});
    er_task_id c = f_add(f, f_new());
    struct worker *w = w_new(f, 1);
    struct er_held h = w_run(w);
    assert_int_equal(h.task, a);
    f_settle(f);
    er_engine_set_slots(f->e, w->session, 2);
    assert_int_equal(w_run(w).task, b);
    er_engine_set_slots(f->e, w->session, 3);
    assert_int_equal(w_run(w).task, c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(order__is_by_priority_then_by_time_over_all_queues),
        TEST(waiting__ages_so_that_a_minute_is_worth_a_step_of_priority),
        TEST(thousands_in_one_lane__are_claimed_once_and_in_order),
        TEST(thousands__are_found_again_by_a_new_engine),
        TEST(paused_or_saturated_queue__holds_up_nobody),
        TEST(submit_between_a_look_behind_the_window__is_not_left_out),
        TEST(flood_before_the_window__pushes_nothing_out_for_good),
        TEST(urgent_one_while_the_window_is_empty__is_not_left_out),
        TEST(any_mixture__leaves_nothing_behind),
        TEST(edited_task__runs_where_it_now_stands),
        TEST(task_claimed_at_its_old_place__is_claimed_again),
        TEST(task_moved_to_a_paused_queue__waits_there),
        TEST(task_seen_twice__does_not_hold_up_the_next),
    };
    return RUN(tests, NULL, NULL);
}
