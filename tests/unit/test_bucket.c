/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "model/bucket.h"

#define MS ER_USEC_PER_MS
#define S  ER_USEC_PER_SEC
#define M  (60 * S)

static struct er_rate
rate(const char *text)
{
    struct er_rate r;
    assert_int_equal(er_rate_parse(text, &r, NULL), 0);
    return r;
}

static bool
take(struct er_bucket *b, const struct er_rate *r, int64_t n, er_usec now)
{
    er_bucket_fill(b, r, n, now);
    if (!er_bucket_has(b, r, n)) {
        return false;
    }
    er_bucket_take(b, r, n);
    return true;
}

static void
bucket__begins_empty_and_fills_evenly(void **state)
{
    (void)state;
    struct er_rate r = rate("60/1m");
    struct er_bucket b;
    er_bucket_init(&b, 5 * S);
    const er_usec one = (M + ER_BUCKET_MARGIN) / 60 + 1; /* rounded up */
    assert_false(take(&b, &r, 1, 5 * S));
    assert_int_equal(er_bucket_opens_at(&b, &r, 1), 5 * S + one);
    assert_false(take(&b, &r, 1, 5 * S + one - 1));
    assert_true(take(&b, &r, 1, 5 * S + one));
    assert_false(take(&b, &r, 1, 5 * S + one));
    assert_true(take(&b, &r, 1, 5 * S + 2 * one));
}

static void
bucket__leaves_a_margin_of_a_twentieth_at_most(void **state)
{
    (void)state;
    struct er_rate minute = rate("60/1m"), second = rate("9/1s"), less = rate("1/100ms");
    assert_int_equal(er_bucket_span(&minute), M + 50 * MS);
    assert_int_equal(er_bucket_span(&second), S + 50 * MS);
    assert_int_equal(er_bucket_span(&less), 105 * MS);
}

static void
bucket__holds_its_burst_and_no_more(void **state)
{
    (void)state;
    struct er_rate r = rate("60/1m:burst=3");
    struct er_bucket b;
    er_bucket_init(&b, 0);
    for (int i = 0; i < 3; i++) {
        assert_true(take(&b, &r, 1, 10 * M));
    }
    assert_false(take(&b, &r, 1, 10 * M));
    assert_true(er_bucket_level(&b, &r) == 0);
}

static void
bucket__holds_what_is_wanted_from_it(void **state)
{
    (void)state;
    struct er_rate r = rate("10/1s:burst=2");
    struct er_bucket b;
    er_bucket_init(&b, 0);
    er_bucket_fill(&b, &r, 7, 10 * S);
    assert_true(er_bucket_has(&b, &r, 7));
    assert_false(er_bucket_has(&b, &r, 8));
    assert_int_equal(er_bucket_opens_at(&b, &r, 8), 10 * S + 105 * MS);
    er_bucket_fill(&b, &r, 0, 10 * S); /* nobody wants so much any more */
    assert_true(er_bucket_has(&b, &r, 2));
    assert_false(er_bucket_has(&b, &r, 3));
}

static void
bucket__does_not_run_backwards(void **state)
{
    (void)state;
    struct er_rate r = rate("1/1s");
    struct er_bucket b;
    er_bucket_init(&b, 10 * S);
    er_bucket_fill(&b, &r, 0, 9 * S);
    assert_int_equal(er_bucket_opens_at(&b, &r, 1), 11 * S + 50 * MS);
}

static void
bucket__takes_back_what_fits(void **state)
{
    (void)state;
    struct er_rate r = rate("10/1s:burst=4");
    struct er_bucket b;
    er_bucket_init(&b, 0);
    assert_true(take(&b, &r, 3, M));
    er_bucket_give(&b, &r, 2, 0);
    assert_true(er_bucket_level(&b, &r) == 3);
    er_bucket_give(&b, &r, 9, 0);
    assert_true(er_bucket_level(&b, &r) == 4);
}

static void
need__is_the_cost_or_one(void **state)
{
    (void)state;
    struct er_rate cost = rate("10/1s"), starts = rate("10/1s:starts");
    assert_int_equal(er_bucket_need(&cost, 7), 7);
    assert_int_equal(er_bucket_need(&cost, 0), 1);
    assert_int_equal(er_bucket_need(&starts, 7), 1);
}

static void
bounds__overflow_nothing(void **state)
{
    (void)state;
    struct er_rate slow = rate("1/365d"), fast = rate("1000000000/1ms:burst=1000000000");
    struct er_bucket b;
    er_bucket_init(&b, 0);
    assert_int_equal(er_bucket_opens_at(&b, &slow, 1000000000), ER_NEVER);
    assert_int_equal(er_bucket_opens_at(&b, &slow, 1),
                     INT64_C(365) * 86400 * S + 50 * MS);
    er_bucket_fill(&b, &fast, 0, ER_NEVER - 1);
    assert_true(er_bucket_level(&b, &fast) == 1e9);
}

/* With a burst of 1, no span of per_for sees more than n, wherever it begins; and whoever
 * comes when he was told to is let in. */
static void
any_span__sees_no_more_than_the_rate(void **state)
{
    (void)state;
    const char *given = getenv("TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    print_message("# seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 200; round++) {
        struct er_rate r = {.n = 1 + (int64_t)(er_rand_next(&seed) % 20),
                            .per_for = MS + (er_usec)(er_rand_next(&seed) % 100000),
                            .burst = 1};
        er_usec now = 0, at[300];
        struct er_bucket b;
        er_bucket_init(&b, now);
        for (size_t i = 0; i < 300; i++) {
            if (er_rand_next(&seed) % 8 == 0) {
                now += (er_usec)(er_rand_next(&seed) % (2 * (uint64_t)r.per_for));
            }
            if (!take(&b, &r, 1, now)) {
                now = er_bucket_opens_at(&b, &r, 1);
                assert_true(take(&b, &r, 1, now));
            }
            at[i] = now;
            if (i >= (size_t)r.n) {
                assert_true(at[i] - at[i - (size_t)r.n] >= r.per_for);
            }
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket__begins_empty_and_fills_evenly),
        cmocka_unit_test(bucket__leaves_a_margin_of_a_twentieth_at_most),
        cmocka_unit_test(bucket__holds_its_burst_and_no_more),
        cmocka_unit_test(bucket__holds_what_is_wanted_from_it),
        cmocka_unit_test(bucket__does_not_run_backwards),
        cmocka_unit_test(bucket__takes_back_what_fits),
        cmocka_unit_test(need__is_the_cost_or_one),
        cmocka_unit_test(bounds__overflow_nothing),
        cmocka_unit_test(any_span__sees_no_more_than_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
