/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "model/progress_line.h"

static int
parse(const char *text, struct er_progress_line *l, struct er_err *err)
{
    return er_progress_line_parse(text, strlen(text), l, err);
}

static void
progress_line__reads_percents(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double percent;
        const char *message;
    } cases[] = {
        {"40", 40, ""},
        {"40%", 40, ""},
        {"40\n", 40, ""},
        {"40%\r\n", 40, ""},
        {"  40 % ", 40, ""},
        {"40.5 % linking", 40.5, "linking"},
        {"40% linking the  program", 40, "linking the program"},
        {"40 linking", 40, "linking"},
        {"100 % % done", 100, "% done"},
        {"0", 0, ""},
        {"-5", -5, ""},
        {"140%", 140, ""},
        {"33.25", 33.25, ""},
        {"7\t\x1b[31mred\x1b[0m", 7, "red"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct er_progress_line l;
        struct er_err err = {""};
        if (parse(cases[i].text, &l, &err)) {
            fail_msg("'%s': %s", cases[i].text, err.text);
        }
        assert_true(l.has_percent && !l.has_current && !l.is_json && !l.is_blank);
        assert_true(fabs(l.percent - cases[i].percent) < 1e-9);
        assert_string_equal(l.message, cases[i].message);
    }
}

static void
progress_line__reads_counts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t current, total;
        const char *message;
    } cases[] = {
        {"2/4", 2, 4, ""},
        {"2/4 cloning", 2, 4, "cloning"},
        {"5/4", 5, 4, ""},
        {"-1/4", -1, 4, ""},
        {"0/1", 0, 1, ""},
        {"9223372036854775807/9223372036854775807", INT64_MAX, INT64_MAX, ""},
        {"99999999999999999999/99999999999999999999", INT64_MAX, INT64_MAX, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct er_progress_line l;
        assert_int_equal(parse(cases[i].text, &l, NULL), 0);
        assert_true(l.has_current && !l.has_percent);
        assert_int_equal(l.current, cases[i].current);
        assert_int_equal(l.total, cases[i].total);
        assert_string_equal(l.message, cases[i].message);
    }
}

static void
progress_line__tells_json_and_blank_lines(void **state)
{
    (void)state;
    struct er_progress_line l;
    assert_int_equal(parse("  {\"percent\": 4", &l, NULL), 0);
    assert_true(l.is_json && !l.is_blank && !l.has_percent);
    static const char *const blank[] = {"", " ", "\n", "\r\n", " \t \n"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(parse(blank[i], &l, NULL), 0);
        assert_true(l.is_blank && !l.is_json && !l.has_percent && !l.has_current);
    }
}

static void
progress_line__refuses_the_rest_and_says_what_would_be_right(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "linking", "40linking", "40%linking", "2/",    "/4",    "2/0", "2/-4",
        "2/4x",    "2 / 4",     "1.",         ".5",    "nan",   "inf", "1e3",
        "--5",     "0x10",      "[1]",        "\"x\"", "2/4/6", "+5",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct er_progress_line l = {.total = 77};
        struct er_err err = {""};
        /* "2 / 4" reads as 2 percent and a message */
        int want = strcmp(bad[i], "2 / 4") == 0 ? 0 : ER_EINVALID;
        if (parse(bad[i], &l, &err) != want) {
            fail_msg("'%s': %s", bad[i], err.text);
        }
        if (want) {
            assert_int_equal(l.total, 77);
            assert_non_null(
                strstr(err.text, "(try 40, '40% linking', '2/4 cloning' or JSON)"));
        }
    }
    struct er_progress_line l;
    struct er_err err;
    assert_int_equal(parse("a\x1b[2Jb\n", &l, &err), ER_EINVALID);
    assert_string_equal(err.text,
                        "invalid progress 'ab' (try 40, '40% linking', '2/4 cloning' "
                        "or JSON)");
}

static void
progress_line__reads_no_byte_behind_its_end(void **state)
{
    (void)state;
    struct er_progress_line l;
    char *exact = malloc(2); /* so that the sanitizer sees a byte too far */
    assert_non_null(exact);
    memcpy(exact, "42", 2);
    assert_int_equal(er_progress_line_parse(exact, 2, &l, NULL), 0);
    assert_true(fabs(l.percent - 42) < 1e-9);
    assert_int_equal(er_progress_line_parse(exact, 1, &l, NULL), 0);
    assert_true(fabs(l.percent - 4) < 1e-9);
    assert_int_equal(er_progress_line_parse(exact, 0, &l, NULL), 0);
    free(exact);
}

static void
progress_line__becomes_a_reported_update(void **state)
{
    (void)state;
    struct er_progress p;
    struct er_progress_line l;
    er_progress_init(&p, 0);
    assert_int_equal(parse("2/4 cloning", &l, NULL), 0);
    struct er_progress_update u = er_progress_line_update(&l);
    assert_int_equal(er_progress_update(&p, &u, 1), 1);
    assert_int_equal(p.source, ER_PROGRESS_REPORTED);
    assert_int_equal(p.current, 2);
    assert_string_equal(p.message, "cloning");
    /* a line without words leaves them as they are */
    assert_int_equal(parse("3/4", &l, NULL), 0);
    u = er_progress_line_update(&l);
    assert_int_equal(er_progress_update(&p, &u, 2), 1);
    assert_string_equal(p.message, "cloning");
    assert_true(fabs(p.percent - 75) < 1e-9);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_line__reads_percents),
        cmocka_unit_test(progress_line__reads_counts),
        cmocka_unit_test(progress_line__tells_json_and_blank_lines),
        cmocka_unit_test(progress_line__refuses_the_rest_and_says_what_would_be_right),
        cmocka_unit_test(progress_line__reads_no_byte_behind_its_end),
        cmocka_unit_test(progress_line__becomes_a_reported_update),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
