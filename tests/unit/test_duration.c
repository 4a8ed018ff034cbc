/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/duration.h"

#define MS ER_USEC_PER_MS
#define S  ER_USEC_PER_SEC
#define M  (60 * S)
#define H  (60 * M)
#define D  (24 * H)

static void
duration_parse__reads_units_in_falling_order(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        er_usec want;
    } good[] = {
        {"0", 0},
        {"0s", 0},
        {"250ms", 250 * MS},
        {"2s", 2 * S},
        {"5m", 5 * M},
        {"1h30m", H + 30 * M},
        {"2d", 2 * D},
        {"1.5s", 1500 * MS},
        {"1d2h3m4s5ms", D + 2 * H + 3 * M + 4 * S + 5 * MS},
        {"0.5h", 30 * M},
        {"1h0.5m", H + 30 * S},
        {"1.5d", 36 * H},
        {"90s", 90 * S},
        {"0.001ms", 1},
        {"0.0019ms", 1},
        {"007s", 7 * S},
        {"36500d", ER_DURATION_MAX},
        {"3.25ms", 3250},
        {"1.9999999s", 1999999},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        er_usec v = -1;
        struct er_err err = {""};
        if (er_duration_parse(good[i].text, &v, &err) || v != good[i].want) {
            fail_msg("%s: %lld, expected %lld (%s)", good[i].text, (long long)v,
                     (long long)good[i].want, err.text);
        }
    }
}

static void
duration_parse__refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",   "5",    "5 parsecs", "-5s",  "+5s", "5 s",   " 5s",    "5s ",  "s",
        "ms", "1m1h", "1m1m",      "1.5",  "1.s", ".5s",   "1.5h3m", "1e3s", "0x10s",
        "5S", "5sec", "5w",        "1h30", "١s",  "5m-3s", "inf",    "nan",  "00",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        er_usec v = 77;
        struct er_err err = {""};
        if (er_duration_parse(bad[i], &v, &err) != ER_EINVALID) {
            fail_msg("'%s' was accepted as %lld", bad[i], (long long)v);
        }
        assert_int_equal(v, 77);
        assert_non_null(strstr(err.text, "invalid duration '"));
    }
}

static void
duration_parse__says_what_would_be_right(void **state)
{
    (void)state;
    er_usec v = 0;
    struct er_err err;
    assert_int_equal(er_duration_parse("5 parsecs", &v, &err), ER_EINVALID);
    assert_string_equal(err.text,
                        "invalid duration '5 parsecs' (try 250ms, 2s, 5m, 1h30m)");
    assert_int_equal(er_duration_parse("5 parsecs", &v, NULL), ER_EINVALID);
}

static void
duration_parse__refuses_more_than_a_hundred_years(void **state)
{
    (void)state;
    static const char *const big[] = {
        "36501d",
        "36500d1ms",
        "99999999999999999999999999s",
        "9223372036854775808ms",
        "36500d0.1ms",
        "3153600001s",
    };
    for (size_t i = 0; i < sizeof big / sizeof big[0]; i++) {
        er_usec v = 77;
        struct er_err err;
        assert_int_equal(er_duration_parse(big[i], &v, &err), ER_EINVALID);
        assert_non_null(strstr(err.text, "is too long (at most 36500d)"));
        assert_int_equal(v, 77);
    }
}

static void
duration_format__shows_two_units_rounded_down(void **state)
{
    (void)state;
    static const struct {
        er_usec span;
        const char *want;
    } cases[] = {
        {0, "0ms"},
        {-5 * S, "0ms"},
        {999, "0ms"},
        {450 * MS, "450ms"},
        {999 * MS, "999ms"},
        {S, "1.0s"},
        {3250 * MS, "3.2s"},
        {59999 * MS, "59.9s"},
        {M, "1m00s"},
        {125 * S, "2m05s"},
        {H - 1, "59m59s"},
        {H, "1h00m"},
        {63 * M, "1h03m"},
        {D - 1, "23h59m"},
        {D, "1d00h"},
        {52 * H, "2d04h"},
        {ER_DURATION_MAX, "36500d00h"},
        {INT64_MAX, "106751991d04h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[ER_DURATION_SIZE];
        er_duration_format(cases[i].span, out);
        assert_string_equal(out, cases[i].want);
    }
}

static void
age_format__counts_whole_minutes_hours_and_days(void **state)
{
    (void)state;
    static const struct {
        er_usec age;
        const char *want;
    } cases[] = {
        {-H, "just now"},    {0, "just now"},
        {M - 1, "just now"}, {M, "1m ago"},
        {5 * M, "5m ago"},   {H - 1, "59m ago"},
        {3 * H, "3h ago"},   {D - 1, "23h ago"},
        {2 * D, "2d ago"},   {INT64_MAX, "106751991d ago"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[ER_DURATION_SIZE];
        er_age_format(cases[i].age, out);
        assert_string_equal(out, cases[i].want);
    }
}

static void
duration_encode__is_read_back_as_the_same(void **state)
{
    (void)state;
    static const struct {
        er_usec span;
        const char *want;
    } cases[] = {
        {0, "0"},
        {-3, "0"},
        {250 * MS, "250ms"},
        {1500 * MS, "1.5s"},
        {90 * M, "1h30m"},
        {2 * D, "2d"},
        {1, "0.001ms"},
        {S + 1, "1.000001s"},
        {D + S, "1d1s"},
        {H + 1500, "1h1.5ms"},
        {M + 20 * MS, "1m20ms"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct er_buf b;
        er_usec back = -1;
        er_buf_init(&b, 0);
        er_duration_encode(cases[i].span, &b);
        assert_string_equal(b.data, cases[i].want);
        assert_int_equal(er_duration_parse(b.data, &back, NULL), 0);
        assert_int_equal(back, cases[i].span > 0 ? cases[i].span : 0);
        er_buf_fini(&b);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duration_parse__reads_units_in_falling_order),
        cmocka_unit_test(duration_parse__refuses_what_is_none),
        cmocka_unit_test(duration_parse__says_what_would_be_right),
        cmocka_unit_test(duration_parse__refuses_more_than_a_hundred_years),
        cmocka_unit_test(duration_format__shows_two_units_rounded_down),
        cmocka_unit_test(age_format__counts_whole_minutes_hours_and_days),
        cmocka_unit_test(duration_encode__is_read_back_as_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
