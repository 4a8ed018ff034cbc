/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

#include "model/when.h"

/* Winter in a zone that changes its clocks: UTC+1, in summer UTC+2. */
static int
set_zone(void **state)
{
    (void)state;
    int rc = setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    return rc;
}

static er_usec
at(const char *rfc3339)
{
    er_usec v = 0;
    assert_int_equal(er_time_parse(rfc3339, &v), 0);
    return v;
}

static void
check(const char *text, const char *now, const char *want)
{
    er_usec v = 0;
    struct er_err err = {""};
    if (er_when_parse(text, at(now), &v, &err) || v != at(want)) {
        char got[ER_RFC3339_SIZE];
        er_time_format(v, got);
        fail_msg("'%s' at %s: %s, expected %s (%s)", text, now, got, want, err.text);
    }
}

#define NOW "2026-01-31T09:30:00Z" /* 10:30 here */

static void
when_parse__reads_rfc_3339(void **state)
{
    (void)state;
    check("2026-02-01T08:00:00Z", NOW, "2026-02-01T08:00:00Z");
    check("2026-02-01T08:00:00.25+05:30", NOW, "2026-02-01T02:30:00.25Z");
    check("2020-02-29T00:00:00Z", NOW, "2020-02-29T00:00:00Z");
}

static void
when_parse__takes_a_clock_time_as_its_next_occurrence(void **state)
{
    (void)state;
    check("10:31", NOW, "2026-01-31T09:31:00Z");
    check("10:30:15", NOW, "2026-01-31T09:30:15Z");
    check("23:59", NOW, "2026-01-31T22:59:00Z");
    check("10:29", NOW, "2026-02-01T09:29:00Z");
    check("00:00", NOW, "2026-01-31T23:00:00Z");
}

static void
when_parse__takes_now_itself_as_tomorrow(void **state)
{
    (void)state;
    check("10:30", NOW, "2026-02-01T09:30:00Z");
}

static void
when_parse__reads_local_dates(void **state)
{
    (void)state;
    check("2026-02-01 08:00", NOW, "2026-02-01T07:00:00Z");
    check("2026-02-01T08:00", NOW, "2026-02-01T07:00:00Z");
    check("2026-07-01 08:00:30", NOW, "2026-07-01T06:00:30Z");
    check("2025-12-31 23:59", NOW, "2025-12-31T22:59:00Z");
}

static void
when_parse__reads_tomorrow_also_across_a_change_of_clocks(void **state)
{
    (void)state;
    check("tomorrow 09:00", NOW, "2026-02-01T08:00:00Z");
    check("tomorrow 10:30", NOW, "2026-02-01T09:30:00Z");
    check("tomorrow 09:00:05", "2026-03-28T12:00:00Z", "2026-03-29T07:00:05Z");
    check("09:00", "2026-03-28T12:00:00Z", "2026-03-29T07:00:00Z");
    check("09:00", "2026-10-24T12:00:00Z", "2026-10-25T08:00:00Z");
}

static void
when_parse__refuses_what_is_no_time(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "24:00",
        "9:30",
        "09:60",
        "09:30:60",
        "09:30:15.5",
        "0930",
        "noon",
        "tomorrow",
        "tomorrow ",
        "tomorrow 9",
        "today 09:00",
        "2026-02-30 09:00",
        "2026-13-01 09:00",
        "2026-00-10 09:00",
        "2026-01-00 09:00",
        "2026-01-31",
        "1969-12-31 09:00",
        "2026-1-31 09:00",
        "09:30 ",
        " 09:30",
        "-09:30",
        "2026-01-31  09:00",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        er_usec v = 77;
        struct er_err err = {""};
        if (er_when_parse(bad[i], at(NOW), &v, &err) != ER_EINVALID) {
            fail_msg("'%s' was accepted", bad[i]);
        }
        assert_int_equal(v, 77);
        assert_non_null(strstr(err.text, "(try 09:30, 'tomorrow 09:30'"));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(when_parse__reads_rfc_3339),
        cmocka_unit_test(when_parse__takes_a_clock_time_as_its_next_occurrence),
        cmocka_unit_test(when_parse__takes_now_itself_as_tomorrow),
        cmocka_unit_test(when_parse__reads_local_dates),
        cmocka_unit_test(when_parse__reads_tomorrow_also_across_a_change_of_clocks),
        cmocka_unit_test(when_parse__refuses_what_is_no_time),
    };
    return cmocka_run_group_tests(tests, set_zone, NULL);
}
