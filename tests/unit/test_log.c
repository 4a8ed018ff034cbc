/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Runs one er_log with standard error going into a pipe: what was written. */
static void
catch_log(enum er_log_level level, const char *src, const char *text, char *out,
          size_t size)
{
    int fds[2], keep = dup(STDERR_FILENO);
    assert_true(keep >= 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    er_log(level, src, "%s", text);
    assert_true(dup2(keep, STDERR_FILENO) >= 0);
    ssize_t n = read(fds[0], out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    (void)close(keep);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void
log_level__words_are_found(void **state)
{
    (void)state;
    assert_int_equal(er_log_find_level("error"), ER_LOG_ERROR);
    assert_int_equal(er_log_find_level("warn"), ER_LOG_WARN);
    assert_int_equal(er_log_find_level("info"), ER_LOG_INFO);
    assert_int_equal(er_log_find_level("debug"), ER_LOG_DEBUG);
    assert_int_equal(er_log_find_level("trace"), -1);
    assert_int_equal(er_log_find_level(""), -1);
}

static void
log__writes_one_line_with_its_time(void **state)
{
    (void)state;
    char out[500];
    er_usec at;
    catch_log(ER_LOG_WARN, "dispatch", "worker w1 is gone", out, sizeof out);
    char *rest = strchr(out, ' ');
    assert_non_null(rest);
    *rest++ = '\0';
    assert_int_equal(er_time_parse(out, &at), 0);
    assert_string_equal(rest, "level=warn src=dispatch msg=\"worker w1 is gone\"\n");
}

static void
log__escapes_what_would_break_the_line(void **state)
{
    (void)state;
    char out[500];
    catch_log(ER_LOG_ERROR, "x", "a\"b\\c\nd\x1b\x7f é", out, sizeof out);
    assert_non_null(strstr(out, "msg=\"a\\\"b\\\\c\\x0ad\\x1b\\x7f é\"\n"));
}

static void
log__keeps_the_line_bounded(void **state)
{
    (void)state;
    static char text[5000], out[8000];
    memset(text, '\n', sizeof text - 1);
    catch_log(ER_LOG_ERROR, "x", text, out, sizeof out);
    size_t n = strlen(out);
    assert_true(n > 1000 && n <= 2400);
    assert_string_equal(out + n - 2, "\"\n");
}

static void
log__leaves_out_what_is_less_important(void **state)
{
    (void)state;
    static const enum er_log_level levels[] = {ER_LOG_ERROR, ER_LOG_WARN, ER_LOG_INFO,
                                               ER_LOG_DEBUG};
    for (size_t least = 0; least < 4; least++) {
        er_log_set_level(levels[least]);
        for (size_t i = 0; i < 4; i++) {
            char out[500];
            catch_log(levels[i], "x", "y", out, sizeof out);
            assert_int_equal(out[0] != '\0', i <= least);
        }
    }
    er_log_set_level(ER_LOG_INFO);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_level__words_are_found),
        cmocka_unit_test(log__writes_one_line_with_its_time),
        cmocka_unit_test(log__escapes_what_would_break_the_line),
        cmocka_unit_test(log__keeps_the_line_bounded),
        cmocka_unit_test(log__leaves_out_what_is_less_important),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
