/* SPDX-License-Identifier: MIT */
/* The table "What an attempt comes to" of docs/SEMANTICS.md, line by line. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

#include "model/verdict.h"

#define SEC ER_USEC_PER_SEC
#define NOW (1000 * SEC)

static struct er_type type;

/* One that ran and exited, with a budget of two failures. */
static struct er_end
end_of(int exit_code)
{
    er_type_init(&type, "t");
    return (struct er_end){.spawned = true,
                           .has_exit_code = true,
                           .exit_code = exit_code,
                           .type = &type,
                           .retries = 2,
                           .max_losses = 3,
                           .backoff_for = SEC,
                           .backoff_cap = 30 * SEC,
                           .random = 7};
}

static struct er_verdict
of(struct er_end end)
{
    struct er_verdict v;
    er_verdict(&end, NOW, &v);
    /* what holds of every one: the table of states allows it, and only what goes on
     * costs */
    assert_true(er_task_state_can_move(ER_TASK_RUNNING, v.state));
    assert_true(v.at == ER_NEVER || v.state == ER_TASK_SCHEDULED ||
                v.state == ER_TASK_PAUSED);
    assert_true(v.at != ER_NEVER || v.state != ER_TASK_SCHEDULED);
    assert_false(v.held && er_task_state_is_final(v.state));
    assert_true(v.add_failures + v.add_losses <= 1);
    assert_non_null(v.outcome);
    assert_true((v.class == NULL) == (v.code == NULL));
    return v;
}

static void
expect_failure(struct er_verdict v, const char *class, const char *code)
{
    assert_int_equal(v.add_failures, 1);
    assert_int_equal(v.add_losses, 0);
    assert_string_equal(v.outcome, ER_OUTCOME_FAILED);
    assert_string_equal(v.class, class);
    assert_string_equal(v.code, code);
}

/* ---- never spawned ---- */

static void
never_spawned__is_given_back_and_costs_nothing(void **state)
{
    (void)state;
    struct er_end e = end_of(0);
    e.spawned = e.has_exit_code = false;
    struct er_verdict v = of(e);
    assert_int_equal(v.state, ER_TASK_QUEUED);
    assert_true(v.refund);
    assert_false(v.held);
    assert_string_equal(v.outcome, ER_OUTCOME_REFUNDED);
    assert_int_equal(v.event, ER_EVENT_TASK_QUEUED);
    assert_int_equal(v.add_failures + v.add_losses, 0);
    e.hold = true;
    v = of(e);
    assert_true(v.held && v.refund);
    assert_int_equal(v.event, ER_EVENT_TASK_PAUSED);
    e.cancel = true;
    v = of(e);
    assert_int_equal(v.state, ER_TASK_CANCELLED);
    assert_true(v.refund);
}

/* ---- cancel ---- */

static void
cancel__ends_it_whatever_else_it_came_to(void **state)
{
    (void)state;
    static const enum er_end_why whys[] = {ER_END_ITSELF,    ER_END_CANCEL,
                                           ER_END_REQUEUE,   ER_END_TIMEOUT,
                                           ER_END_HEARTBEAT, ER_END_LOST};
    for (size_t i = 0; i < sizeof whys / sizeof *whys; i++) {
        struct er_end e = end_of(1);
        e.why = whys[i];
        e.cancel = true;
        e.hold = true;
        e.retry_after_for = i % 2 ? SEC : 0;
        struct er_verdict v = of(e);
        assert_int_equal(v.state, ER_TASK_CANCELLED);
        assert_int_equal(v.event, ER_EVENT_TASK_CANCELLED);
        assert_int_equal(v.add_failures, 0);
        assert_null(v.class);
    }
}

static void
cancel__comes_too_late_for_what_has_completed(void **state)
{
    (void)state;
    struct er_end e = end_of(0);
    e.cancel = true;
    assert_int_equal(of(e).state, ER_TASK_COMPLETED);
    e.items_failed = 1; /* ... and that it has not */
    assert_int_equal(of(e).state, ER_TASK_CANCELLED);
    e = end_of(0);
    e.why = ER_END_CANCEL; /* it took the TERM and left with 0 */
    assert_int_equal(of(e).state, ER_TASK_CANCELLED);
}

/* ---- put back ---- */

static void
requeue__is_queued_again_and_costs_no_failure(void **state)
{
    (void)state;
    struct er_end e = end_of(143);
    e.why = ER_END_REQUEUE;
    e.retries = 0;
    struct er_verdict v = of(e);
    assert_int_equal(v.state, ER_TASK_QUEUED);
    assert_int_equal(v.add_failures, 0);
    assert_false(v.refund || v.held);
    assert_string_equal(v.outcome, ER_OUTCOME_REQUEUED);
    assert_string_equal(v.reason, "requeue");
    e.hold = true;
    v = of(e);
    assert_true(v.held);
    assert_int_equal(v.event, ER_EVENT_TASK_PAUSED);
    assert_string_equal(v.reason, "user");
}

/* ---- its worker died ---- */

static void
loss__follows_on_lost_and_costs_no_failure(void **state)
{
    (void)state;
    struct er_end e = end_of(0);
    e.why = ER_END_LOST;
    e.has_exit_code = false;
    struct er_verdict v = of(e);
    assert_int_equal(v.state, ER_TASK_QUEUED);
    assert_int_equal(v.add_losses, 1);
    assert_int_equal(v.add_failures, 0);
    assert_string_equal(v.reason, "worker-lost");
    e.on_lost = ER_ON_LOST_HOLD;
    v = of(e);
    assert_true(v.held && v.state == ER_TASK_QUEUED);
    assert_int_equal(v.event, ER_EVENT_TASK_PAUSED);
    e.on_lost = ER_ON_LOST_FAIL;
    v = of(e);
    assert_int_equal(v.state, ER_TASK_FAILED);
    assert_int_equal(v.add_failures, 0);
    assert_string_equal(v.code, "worker-lost");
}

static void
third_loss_in_a_row__fails_whatever_the_policy(void **state)
{
    (void)state;
    for (int policy = 0; policy < 3; policy++) {
        struct er_end e = end_of(0);
        e.why = ER_END_LOST;
        e.on_lost = (enum er_on_lost)policy;
        e.losses = 2;
        struct er_verdict v = of(e);
        assert_int_equal(v.state, ER_TASK_FAILED);
        assert_string_equal(v.code, "worker-lost");
        assert_int_equal(v.add_losses, 1);
        e.max_losses = 4;
        assert_int_equal(of(e).state == ER_TASK_FAILED, policy == ER_ON_LOST_FAIL);
    }
}

static void
loss_of_a_paused_task__is_queued_and_not_held(void **state)
{
    (void)state;
    struct er_end e = end_of(0);
    e.why = ER_END_LOST;
    e.hold = true;
    assert_false(of(e).held);
    e.requeue = true; /* it was to be put back held: so it is */
    struct er_verdict v = of(e);
    assert_true(v.held);
    assert_int_equal(v.add_losses, 0);
}

/* ---- clocks ---- */

static void
timeout_and_heartbeat__are_failures_with_their_own_code(void **state)
{
    (void)state;
    struct er_end e = end_of(0); /* even when it left with 0 on the TERM */
    e.why = ER_END_TIMEOUT;
    e.retry_after_for = SEC;
    expect_failure(of(e), "retryable", "timeout");
    assert_int_equal(of(e).state, ER_TASK_SCHEDULED);
    e.why = ER_END_HEARTBEAT;
    expect_failure(of(e), "retryable", "heartbeat");
    e.retries = 0;
    assert_int_equal(of(e).state, ER_TASK_FAILED);
}

/* ---- rate limits ---- */

static void
rate_limit__pauses_until_then_and_costs_no_failure(void **state)
{
    (void)state;
    struct er_end e = end_of(1);
    e.retries = 0;
    e.retry_after_for = 45 * SEC;
    e.has_error = true; /* the report wins */
    e.error_class = "fatal";
    struct er_verdict v = of(e);
    assert_int_equal(v.state, ER_TASK_PAUSED);
    assert_int_equal(v.at, NOW + 45 * SEC);
    assert_int_equal(v.add_failures, 0);
    assert_false(v.held || v.refund);
    assert_string_equal(v.outcome, ER_OUTCOME_LIMITED);
    assert_int_equal(v.event, ER_EVENT_TASK_PAUSED);
    assert_string_equal(v.reason, "rate-limit");
    assert_string_equal(v.code, "rate-limit");
    assert_string_equal(v.class, "retryable");
    e.exit_code = 0;
    assert_int_equal(of(e).state, ER_TASK_PAUSED);
}

static void
exit_code_that_means_rate_limit__pauses_as_long_as_the_type_says(void **state)
{
    (void)state;
    struct er_end e = end_of(29);
    type.exits[29] = ER_EXIT_RATE_LIMIT;
    assert_int_equal(of(e).at, NOW + ER_RATE_LIMIT_FOR);
    type.rate_limit_for = 5 * SEC;
    assert_int_equal(of(e).state, ER_TASK_PAUSED);
    assert_int_equal(of(e).at, NOW + 5 * SEC);
    assert_int_equal(of(e).wait_for, 5 * SEC);
}

/* ---- a reported error ---- */

static void
reported_error__wins_over_the_exit_code(void **state)
{
    (void)state;
    struct er_end e = end_of(0);
    type.exits[0] = ER_EXIT_COMPLETED;
    e.has_error = true;
    e.error_class = "retryable";
    e.error_code = "flaky";
    expect_failure(of(e), "retryable", "flaky");
    assert_int_equal(of(e).state, ER_TASK_SCHEDULED);
    e.error_class = "fatal";
    expect_failure(of(e), "fatal", "flaky");
    assert_int_equal(of(e).state, ER_TASK_FAILED);
    assert_null(of(e).action);
    e.error_class = "user-actionable";
    assert_int_equal(of(e).state, ER_TASK_FAILED);
    assert_non_null(of(e).action);
    e.error_class = NULL; /* it did not say */
    e.error_code = NULL;
    expect_failure(of(e), "retryable", "reported");
}

/* ---- exit codes ---- */

static void
exit_code__means_what_the_type_says(void **state)
{
    (void)state;
    static const struct {
        enum er_exit_means means;
        enum er_task_state state;
        const char *class;
    } cases[] = {
        {ER_EXIT_DEFAULT, ER_TASK_SCHEDULED, "retryable"},
        {ER_EXIT_RETRYABLE, ER_TASK_SCHEDULED, "retryable"},
        {ER_EXIT_FATAL, ER_TASK_FAILED, "fatal"},
        {ER_EXIT_USER_ACTIONABLE, ER_TASK_FAILED, "user-actionable"},
    };
    struct er_end e = end_of(3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        type.exits[3] = (unsigned char)cases[i].means;
        struct er_verdict v = of(e);
        expect_failure(v, cases[i].class, "exit");
        assert_int_equal(v.state, cases[i].state);
        assert_true((v.action != NULL) == (cases[i].means == ER_EXIT_USER_ACTIONABLE));
    }
    type.exits[3] = ER_EXIT_COMPLETED;
    assert_int_equal(of(e).state, ER_TASK_COMPLETED);
    e = end_of(0);
    type.exits[0] = ER_EXIT_FATAL; /* even 0 */
    expect_failure(of(e), "fatal", "exit");
    expect_failure(of(end_of(ER_EX_TEMPFAIL)), "retryable", "exit");
}

static void
signal__is_a_retryable_failure(void **state)
{
    (void)state;
    struct er_end e = end_of(0);
    e.has_exit_code = false;
    e.signal = 9;
    expect_failure(of(e), "retryable", "signal");
    e.signal = 0; /* nobody knows how it ended */
    expect_failure(of(e), "retryable", "exit");
}

/* ---- items ---- */

static void
items__below_the_threshold_are_a_failure(void **state)
{
    (void)state;
    static const struct {
        int64_t completed, failed;
        int percent;
        bool ok;
    } cases[] = {
        {95, 5, 95, true},   {94, 6, 95, false}, {949, 51, 95, false},
        {10, 0, 95, true},   {0, 1, 95, false},  {0, 1, 0, true},
        {99, 1, 100, false}, {1, 1, 50, true},   {0, 0, 100, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct er_end e = end_of(0);
        type.success_percent = cases[i].percent;
        e.items_completed = cases[i].completed;
        e.items_failed = cases[i].failed;
        struct er_verdict v = of(e);
        if (cases[i].ok) {
            assert_int_equal(v.state, ER_TASK_COMPLETED);
            assert_true(v.items_warning == (cases[i].failed > 0));
        } else {
            expect_failure(v, "retryable", "items-failed");
        }
    }
    struct er_end e = end_of(1); /* the exit code comes first */
    e.items_completed = 10;
    expect_failure(of(e), "retryable", "exit");
}

/* ---- what could not be started ---- */

static void
command_that_cannot_be_started__is_for_the_user_to_mend(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        int exit_code;
    } cases[] = {
        {"not-found", 127},
        {"not-executable", 126},
        {"no-cwd", 126},
        {"stdin-missing", 126},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct er_end e = end_of(cases[i].exit_code);
        e.spawned = false;
        e.has_error = true;
        e.error_class = "fatal";
        e.error_code = cases[i].code;
        struct er_verdict v = of(e);
        expect_failure(v, "user-actionable", cases[i].code);
        assert_int_equal(v.state, ER_TASK_FAILED); /* whatever is left of the budget */
        assert_non_null(v.action);
        assert_false(v.refund);
        e.spawned = true; /* a command that says such a word itself is believed */
        expect_failure(of(e), "fatal", cases[i].code);
    }
    struct er_end e = end_of(0);
    e.spawned = e.has_exit_code = false;
    e.has_error = true;
    e.error_class = "retryable";
    e.error_code = "spawn-failed";
    expect_failure(of(e), "retryable", "spawn-failed");
    assert_int_equal(of(e).state, ER_TASK_SCHEDULED);
}

/* ---- the budget ---- */

static void
failure__spends_the_budget_and_waits_twice_as_long_each_time(void **state)
{
    (void)state;
    struct er_end e = end_of(1);
    e.retries = 8;
    for (int i = 0; i < 8; i++) {
        e.failures = i;
        struct er_verdict v = of(e);
        er_usec base = (SEC << i) > 30 * SEC ? 30 * SEC : SEC << i;
        assert_int_equal(v.state, ER_TASK_SCHEDULED);
        assert_int_equal(v.event, ER_EVENT_TASK_RETRYING);
        assert_true(v.at >= NOW + base * 3 / 4 && v.at <= NOW + base * 5 / 4);
    }
    e.failures = 8;
    assert_int_equal(of(e).state, ER_TASK_FAILED);
    assert_int_equal(of(e).event, ER_EVENT_TASK_FAILED);
}

static void
pause_that_came_too_late__holds_the_next_attempt(void **state)
{
    (void)state;
    struct er_end e = end_of(1);
    e.hold = true;
    assert_true(of(e).held);
    assert_int_equal(of(e).state, ER_TASK_SCHEDULED);
    assert_int_equal(of(e).event, ER_EVENT_TASK_RETRYING);
    e.retries = 0;
    assert_int_equal(of(e).state, ER_TASK_FAILED);
    assert_int_equal(of(end_of(0)).state, ER_TASK_COMPLETED);
    e.retry_after_for = SEC;
    assert_true(of(e).held);
}

static void
why__is_found_by_its_word(void **state)
{
    (void)state;
    assert_int_equal(er_end_why_find("cancel"), ER_END_CANCEL);
    assert_int_equal(er_end_why_find("requeue"), ER_END_REQUEUE);
    assert_int_equal(er_end_why_find("timeout"), ER_END_TIMEOUT);
    assert_int_equal(er_end_why_find("heartbeat"), ER_END_HEARTBEAT);
    assert_int_equal(er_end_why_find("whatever"), ER_END_ITSELF);
    assert_int_equal(er_end_why_find(NULL), ER_END_ITSELF);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_spawned__is_given_back_and_costs_nothing),
        cmocka_unit_test(cancel__ends_it_whatever_else_it_came_to),
        cmocka_unit_test(cancel__comes_too_late_for_what_has_completed),
        cmocka_unit_test(requeue__is_queued_again_and_costs_no_failure),
        cmocka_unit_test(loss__follows_on_lost_and_costs_no_failure),
        cmocka_unit_test(third_loss_in_a_row__fails_whatever_the_policy),
        cmocka_unit_test(loss_of_a_paused_task__is_queued_and_not_held),
        cmocka_unit_test(timeout_and_heartbeat__are_failures_with_their_own_code),
        cmocka_unit_test(rate_limit__pauses_until_then_and_costs_no_failure),
        cmocka_unit_test(
            exit_code_that_means_rate_limit__pauses_as_long_as_the_type_says),
        cmocka_unit_test(reported_error__wins_over_the_exit_code),
        cmocka_unit_test(exit_code__means_what_the_type_says),
        cmocka_unit_test(signal__is_a_retryable_failure),
        cmocka_unit_test(items__below_the_threshold_are_a_failure),
        cmocka_unit_test(command_that_cannot_be_started__is_for_the_user_to_mend),
        cmocka_unit_test(failure__spends_the_budget_and_waits_twice_as_long_each_time),
        cmocka_unit_test(pause_that_came_too_late__holds_the_next_attempt),
        cmocka_unit_test(why__is_found_by_its_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
