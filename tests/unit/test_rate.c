/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/rate.h"

#define MS ER_USEC_PER_MS
#define S  ER_USEC_PER_SEC
#define M  (60 * S)
#define D  (24 * 60 * M)

static void
rate_parse__reads_count_and_span(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t n;
        er_usec per;
        int64_t burst;
        bool starts;
        const char *again;
    } good[] = {
        {"10/1m", 10, M, 1, false, "10/1m"},
        {"10/m", 10, M, 1, false, "10/1m"},
        {"1/s", 1, S, 1, false, "1/1s"},
        {"100/1h30m", 100, 90 * M, 1, false, "100/1h30m"},
        {"5/250ms", 5, 250 * MS, 1, false, "5/250ms"},
        {"1000000000/d", 1000000000, D, 1, false, "1000000000/1d"},
        {"9/m:starts", 9, M, 1, true, "9/1m:starts"},
        {"9/m:burst=9", 9, M, 9, false, "9/1m:burst=9"},
        {"9/m:starts:burst=2", 9, M, 2, true, "9/1m:burst=2:starts"},
        {"9/m:burst=1", 9, M, 1, false, "9/1m"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct er_rate r = {0};
        struct er_buf b;
        er_buf_init(&b, 0);
        assert_int_equal(er_rate_parse(good[i].text, &r, NULL), 0);
        assert_int_equal(r.n, good[i].n);
        assert_int_equal(r.burst, good[i].burst);
        assert_int_equal(r.starts, good[i].starts);
        assert_int_equal(r.per_for, good[i].per);
        er_rate_encode(&r, &b);
        assert_string_equal(b.data, good[i].again);
        er_buf_fini(&b);
    }
}

static void
rate_parse__refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "10",        "/1m",          "10/",
        "0/1m",       "-1/1m",     "10/0",         "10/0s",
        "10/1",       "10/mm",     "10/1m/",       "1.5/m",
        "10 /m",      "10/m ",     "1000000001/s", "99999999999999999999/s",
        "9/m:",       "9/m:start", "9/m:burst=0",  "9/m:burst=10",
        "9/m:burst=", "9/400d",    "9/999us",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct er_rate r = {.n = 7};
        struct er_err err;
        if (er_rate_parse(bad[i], &r, &err) != ER_EINVALID) {
            fail_msg("'%s' was accepted", bad[i]);
        }
        assert_int_equal(r.n, 7);
        assert_non_null(strstr(err.text, "try 10/1s"));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rate_parse__reads_count_and_span),
        cmocka_unit_test(rate_parse__refuses_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
