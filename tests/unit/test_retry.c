/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "model/retry.h"

#define S ER_USEC_PER_SEC

static void
retry_backoff__doubles_up_to_the_cap(void **state)
{
    (void)state;
    static const er_usec want[] = {1, 2, 4, 8, 16, 30, 30, 30};
    for (int failures = 1; failures <= 8; failures++) {
        er_usec middle = want[failures - 1] * S;
        /* the ends of the spread: a quarter to either side */
        assert_int_equal(er_retry_backoff(S, 0, failures, 0), middle - middle / 4);
        uint64_t width = (uint64_t)(middle / 4) * 2;
        assert_int_equal(er_retry_backoff(S, 0, failures, width), middle + middle / 4);
        assert_int_equal(er_retry_backoff(S, 0, failures, width / 2), middle);
    }
}

static void
retry_backoff__stays_within_a_quarter_whatever_the_random_number(void **state)
{
    (void)state;
    uint64_t seed = 42;
    bool below = false, above = false;
    for (int i = 0; i < 1000; i++) {
        er_usec v = er_retry_backoff(4 * S, 0, 2, er_rand_next(&seed));
        assert_true(v >= 6 * S && v <= 10 * S);
        below |= v < 7 * S;
        above |= v > 9 * S;
    }
    assert_true(below && above);
}

static void
retry_backoff__of_odd_bases_stays_sane(void **state)
{
    (void)state;
    assert_int_equal(er_retry_backoff(S, 2 * S, 9, 0), 2 * S - S / 2);
    assert_int_equal(er_retry_backoff(0, 0, 5, 123), 0);
    assert_int_equal(er_retry_backoff(-S, 0, 5, 123), 0);
    assert_int_equal(er_retry_backoff(1, 0, 1, UINT64_MAX), 1);
    /* a base above the cap is its own cap, and no number of failures overflows */
    assert_int_equal(er_retry_backoff(100 * S, 0, 1, 0), 75 * S);
    assert_int_equal(er_retry_backoff(100 * S, 0, INT32_MAX, 0), 75 * S);
    assert_int_equal(er_retry_backoff(S, 0, INT32_MAX, 0), 30 * S - 30 * S / 4);
    assert_true(er_retry_backoff(INT64_MAX / 2, 0, 9, UINT64_MAX) > 0);
}

static struct er_retry_failure
failure(int failures, int retries)
{
    return (struct er_retry_failure){
        .failures = failures, .retries = retries, .backoff_for = S, .random = 0};
}

static void
retry_decide__spends_the_budget(void **state)
{
    (void)state;
    struct er_retry_failure f;
    for (int retries = 0; retries < 4; retries++) {
        for (int failures = 1; failures < 6; failures++) {
            er_usec at = -1;
            f = failure(failures, retries);
            bool again = er_retry_decide(&f, 1000 * S, &at);
            assert_int_equal(again, failures <= retries);
            assert_int_equal(at,
                             again ? 1000 * S + er_retry_backoff(S, 0, failures, 0) : -1);
        }
    }
}

static void
retry_decide__never_repeats_what_is_fatal_or_the_users_business(void **state)
{
    (void)state;
    static const struct {
        const char *error_class;
        bool again;
    } cases[] = {{"retryable", true},
                 {NULL, true},
                 {"odd", true},
                 {"fatal", false},
                 {"user-actionable", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_usec at = -1;
        struct er_retry_failure f = failure(1, 5);
        f.error_class = cases[i].error_class;
        assert_int_equal(er_retry_decide(&f, 0, &at), cases[i].again);
    }
}

static void
retry_decide__waits_as_long_as_the_task_asks_but_no_less_than_the_backoff(void **state)
{
    (void)state;
    er_usec at;
    struct er_retry_failure f = failure(1, 1);
    f.retry_after_for = 45 * S;
    assert_true(er_retry_decide(&f, 10 * S, &at));
    assert_int_equal(at, 55 * S);
    f.retry_after_for = 1;
    assert_true(er_retry_decide(&f, 10 * S, &at));
    assert_int_equal(at, 10 * S + er_retry_backoff(S, 0, 1, 0));
    f.retry_after_for = INT64_MAX - 5;
    assert_true(er_retry_decide(&f, 10 * S, &at));
    assert_true(at > 10 * S && at < ER_NEVER);
}

static void
retry_decide_lost__follows_the_policy_until_one_loss_too_many(void **state)
{
    (void)state;
    for (int policy = 0; policy < 3; policy++) {
        for (int losses = 1; losses < 6; losses++) {
            for (int max = 1; max < 5; max++) {
                assert_int_equal(
                    er_retry_decide_lost((enum er_on_lost)policy, losses, max),
                    losses >= max ? (int)ER_ON_LOST_FAIL : policy);
            }
        }
    }
}

static void
retry_class__words_are_found_again(void **state)
{
    (void)state;
    static const char *const words[] = {"retryable", "fatal", "user-actionable"};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(er_retry_class_word((enum er_retry_class)i), words[i]);
        assert_int_equal(er_retry_class_find(words[i]), i);
    }
    assert_int_equal(er_retry_class_find("Fatal"), -1);
    assert_string_equal(er_retry_class_word((enum er_retry_class)3), "unknown");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retry_backoff__doubles_up_to_the_cap),
        cmocka_unit_test(
            retry_backoff__stays_within_a_quarter_whatever_the_random_number),
        cmocka_unit_test(retry_backoff__of_odd_bases_stays_sane),
        cmocka_unit_test(retry_decide__spends_the_budget),
        cmocka_unit_test(retry_decide__never_repeats_what_is_fatal_or_the_users_business),
        cmocka_unit_test(
            retry_decide__waits_as_long_as_the_task_asks_but_no_less_than_the_backoff),
        cmocka_unit_test(retry_decide_lost__follows_the_policy_until_one_loss_too_many),
        cmocka_unit_test(retry_class__words_are_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
