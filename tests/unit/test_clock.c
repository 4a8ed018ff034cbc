/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static er_usec
fixed(void *ctx)
{
    return *(er_usec *)ctx;
}

static void
clock__is_what_was_handed_in(void **state)
{
    (void)state;
    er_usec at = 42;
    struct er_clock clock = {fixed, fixed, fixed, &at};
    assert_int_equal(er_clock_wall(&clock), 42);
    at = 43;
    assert_int_equal(er_clock_mono(&clock), 43);
}

static void
clock_system__moves_on(void **state)
{
    (void)state;
    const struct er_clock *clock = er_clock_system();
    er_usec mono = er_clock_mono(clock), wall = er_clock_wall(clock);
    assert_true(er_clock_mono(clock) >= mono);
    er_usec year_2020, year_2200;
    assert_int_equal(er_time_parse("2020-01-01T00:00:00Z", &year_2020), 0);
    assert_int_equal(er_time_parse("2200-01-01T00:00:00Z", &year_2200), 0);
    assert_true(wall > year_2020 && wall < year_2200);
}

static void
check(er_usec at, const char *want)
{
    char out[ER_RFC3339_SIZE];
    er_time_format(at, out);
    assert_string_equal(out, want);
}

static void
time_format__is_utc_with_milliseconds_rounded_down(void **state)
{
    (void)state;
    check(0, "1970-01-01T00:00:00.000Z");
    check(1769851800123456, "2026-01-31T09:30:00.123Z");
    check(1769851800123999, "2026-01-31T09:30:00.123Z");
    check(-1, "1969-12-31T23:59:59.999Z");
    check(ER_NEVER, "9999-12-31T23:59:59.999Z");
    check(INT64_MIN, "9999-12-31T23:59:59.999Z");
    check(951782400000000, "2000-02-29T00:00:00.000Z");
}

static void
time_parse__reads_rfc_3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        er_usec want;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-31T09:30:00.123Z", 1769851800123000},
        {"2026-01-31T09:30:00.123456789Z", 1769851800123456},
        {"2026-01-31T09:30:00z", 1769851800000000},
        {"2026-01-31t09:30:00Z", 1769851800000000},
        {"2026-01-31 09:30:00Z", 1769851800000000},
        {"2026-01-31T10:30:00+01:00", 1769851800000000},
        {"2026-01-31T04:00:00-05:30", 1769851800000000},
        {"2000-02-29T00:00:00Z", 951782400000000},
        {"2016-12-31T23:59:60Z", 1483228800000000}, /* a leap second is the next one */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_usec at = -1;
        if (er_time_parse(cases[i].text, &at) || at != cases[i].want) {
            fail_msg("%s: %lld", cases[i].text, (long long)at);
        }
    }
}

static void
time_parse__refuses_the_rest(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026",
        "2026-01-31",
        "2026-01-31T09:30:00",
        "2026-01-31T09:30Z",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T00:60:00Z",
        "2026-01-31T00:00:61Z",
        "1969-12-31T23:59:59Z",
        "2026-01-31T09:30:00Zx",
        "2026-01-31T09:30:00+1",
        "2026-01-31T09:30:00+24:00",
        "2026-01-31T09:30:00+01:60",
        "2026-01-31T09:30:00+01:00x",
        "now",
        "2026-01-31T-1:30:00Z",
        "2026-01-31T 9:30:00Z",
        "2026-+1-31T09:30:00Z",
        "2026-1-31T09:30:00Z",
        "2026-01-31T09:30:00+-1:00",
        "2026-01-31T09:30:00.Z",
        "2026-01-31T09:30:00.5",
        "2026-01-31  09:30:00Z",
        "2026-01-31x09:30:00Z",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        er_usec at = 77;
        if (er_time_parse(bad[i], &at) != ER_EINVALID) {
            fail_msg("'%s' was accepted", bad[i]);
        }
        assert_int_equal(at, 77);
    }
}

static void
time__is_read_back_as_it_was_written(void **state)
{
    (void)state;
    for (er_usec at = 0; at < INT64_C(4000000000000000); at += INT64_C(7654321987654)) {
        char out[ER_RFC3339_SIZE];
        er_usec back = -1;
        er_time_format(at, out);
        assert_int_equal(er_time_parse(out, &back), 0);
        assert_int_equal(back, at - at % 1000);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock__is_what_was_handed_in),
        cmocka_unit_test(clock_system__moves_on),
        cmocka_unit_test(time_format__is_utc_with_milliseconds_rounded_down),
        cmocka_unit_test(time_parse__reads_rfc_3339),
        cmocka_unit_test(time_parse__refuses_the_rest),
        cmocka_unit_test(time__is_read_back_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
