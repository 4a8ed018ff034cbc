/* SPDX-License-Identifier: MIT */
/* Clocks that are set while the engine runs, suspend, and what that means for what
 * waits. */
#include "engine_fixture.h"

#include "base/mem.h"

/* The wall clock is set; the kernel tells the loop. */
static void
set_clock(struct fixture *f, er_usec by)
{
    f->wall += by;
    er_loop_set_alarm(f->loop, ++f->kicks);
    f_settle(f);
}

static er_task_id
delayed(struct fixture *f, er_usec by, bool fixed)
{
    struct er_new_task row = f_new();
    row.run_at = f->wall + by;
    row.run_at_fixed = fixed;
    return f_add(f, row);
}

static void
clock_set_forward__ends_no_delay_but_reaches_a_moment_that_was_named(void **state)
{
    struct fixture *f = *state;
    er_task_id delay = delayed(f, 60 * SEC, false), at = delayed(f, 60 * SEC, true);
    set_clock(f, 3600 * SEC);
    assert_int_equal(f_get(f, delay).state, ER_TASK_SCHEDULED);
    assert_int_equal(f_get(f, delay).run_at, f->wall + 60 * SEC);
    assert_int_equal(f_get(f, at).state, ER_TASK_QUEUED);
    f_pass(f, 59 * SEC);
    assert_int_equal(f_get(f, delay).state, ER_TASK_SCHEDULED);
    f_pass(f, 2 * SEC);
    assert_int_equal(f_get(f, delay).state, ER_TASK_QUEUED);
}

static void
clock_set_back__makes_no_delay_longer(void **state)
{
    struct fixture *f = *state;
    er_task_id delay = delayed(f, 60 * SEC, false), at = delayed(f, 60 * SEC, true);
    f_pass(f, 30 * SEC);
    set_clock(f, -3600 * SEC);
    f_pass(f, 31 * SEC);
    assert_int_equal(f_get(f, delay).state, ER_TASK_QUEUED);
    assert_int_equal(f_get(f, at).state, ER_TASK_SCHEDULED);
    f_pass(f, 3600 * SEC);
    assert_int_equal(f_get(f, at).state, ER_TASK_QUEUED);
}

static void
clock_that_is_set__moves_backoffs_rate_limits_and_expiries(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    row.retries = 1;
    row.backoff_for = 20 * SEC;
    er_task_id retry = f_add(f, row), limited = f_add(f, row);
    assert_int_equal(w_end(w, w_run(w), 1), 0);
    assert_int_equal(
        w_report(w, "%s", w_finished(f, w_run(w), 1, ",\"retry_after_s\":60")), 0);
    row = f_new();
    row.held = true;
    row.expires_at = f->wall + 60 * SEC;
    er_task_id expires = f_add(f, row);
    er_usec retry_at = f_get(f, retry).run_at, resumes_at = f_get(f, limited).resumes_at;
    set_clock(f, 7200 * SEC);
    assert_int_equal(f_get(f, retry).run_at, retry_at + 7200 * SEC);
    assert_int_equal(f_get(f, limited).resumes_at, resumes_at + 7200 * SEC);
    assert_int_equal(f_get(f, expires).state, ER_TASK_QUEUED);
    f_pass(f, 61 * SEC);
    assert_int_equal(f_get(f, retry).state, ER_TASK_RUNNING);
    assert_int_equal(f_get(f, limited).state, ER_TASK_RUNNING);
    assert_int_equal(f_get(f, expires).state, ER_TASK_FAILED);
}

static void
small_step__is_none_and_small_steps_add_up(void **state)
{
    struct fixture *f = *state;
    er_task_id delay = delayed(f, 60 * SEC, false);
    er_usec at = f_get(f, delay).run_at;
    set_clock(f, SEC / 4);
    assert_int_equal(f_get(f, delay).run_at, at);
    set_clock(f, SEC / 2);
    assert_int_equal(f_get(f, delay).run_at, at + SEC * 3 / 4);
}

static void
clock_that_was_set_while_nothing_waited__moves_nothing(void **state)
{
    struct fixture *f = *state;
    f->wall += 3600 * SEC; /* no alarm is set: nobody is told */
    er_task_id delay = delayed(f, 60 * SEC, false);
    f_pass(f, 30 * SEC);
    assert_int_equal(f_get(f, delay).state, ER_TASK_SCHEDULED);
    f_pass(f, 31 * SEC);
    assert_int_equal(f_get(f, delay).state, ER_TASK_QUEUED);
}

/* A first task that runs, and one that waits for it and for a delay. */
static er_task_id
blocked(struct fixture *f, struct worker *w, struct er_held *first)
{
    struct er_new_after after = {.when = ER_AFTER_ANY, .ref = -1};
    struct er_new_task row = f_new();
    after.id = f_add(f, f_new());
    *first = w_run(w);
    row.after = &after;
    row.n_after = 1;
    row.run_at = f->wall + 60 * SEC;
    er_task_id id = f_add(f, row);
    assert_int_equal(f_get(f, id).state, ER_TASK_BLOCKED);
    return id;
}

static void
clock_set_while_only_the_blocked_wait__moves_their_delays(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_held h;
    er_task_id id = blocked(f, w, &h);
    f->wall += 3600 * SEC; /* before the loop hears of it, somebody waits for a moment */
    er_task_id other = delayed(f, 30 * SEC, false);
    set_clock(f, 0);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_SCHEDULED);
    f_pass(f, 31 * SEC); /* what came after it was set is not moved */
    assert_int_equal(f_get(f, other).state, ER_TASK_RUNNING);
    assert_int_equal(w_end(w, w_run(w), 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_SCHEDULED);
    f_pass(f, 30 * SEC);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
}

static void
clock_set_just_before_an_end__moves_the_delay_of_who_waits_for_it(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_held h;
    er_task_id id = blocked(f, w, &h);
    f->wall += 3600 * SEC;
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_SCHEDULED);
    f_pass(f, 61 * SEC);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
}

static void
shift__is_persistent(void **state)
{
    struct fixture *f = *state;
    er_task_id delay = delayed(f, 60 * SEC, false);
    er_usec at = f_get(f, delay).run_at;
    set_clock(f, 3600 * SEC);
    f_close(f);
    f_open(f);
    assert_int_equal(f_get(f, delay).run_at, at + 3600 * SEC);
    f_pass(f, 61 * SEC);
    assert_int_equal(f_get(f, delay).state, ER_TASK_QUEUED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(clock_set_forward__ends_no_delay_but_reaches_a_moment_that_was_named),
        TEST(clock_set_back__makes_no_delay_longer),
        TEST(clock_that_is_set__moves_backoffs_rate_limits_and_expiries),
        TEST(small_step__is_none_and_small_steps_add_up),
        TEST(clock_that_was_set_while_nothing_waited__moves_nothing),
        TEST(clock_set_while_only_the_blocked_wait__moves_their_delays),
        TEST(clock_set_just_before_an_end__moves_the_delay_of_who_waits_for_it),
        TEST(shift__is_persistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
