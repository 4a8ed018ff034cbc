/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/suggest.h"

static void
suggest_distance__counts_edits_and_swaps(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        size_t limit, want;
    } cases[] = {
        {"", "", 3, 0},
        {"abc", "abc", 3, 0},
        {"abc", "ABC", 3, 0},
        {"", "abc", 3, 3},
        {"abc", "", 3, 3},
        {"abc", "abd", 3, 1},
        {"abc", "acb", 3, 1},
        {"abc", "ab", 3, 1},
        {"abc", "xabc", 3, 1},
        {"ca", "abc", 3, 3},
        {"kitten", "sitting", 3, 3},
        {"kitten", "sitting", 2, 3},
        {"kitten", "sitting", 0, 1},
        {"abcdef", "ab", 3, 4},
        {"retires", "retries", 3, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(er_suggest_distance(cases[i].a, cases[i].b, cases[i].limit),
                         cases[i].want);
        assert_int_equal(er_suggest_distance(cases[i].b, cases[i].a, cases[i].limit),
                         cases[i].want);
    }
}

static void
suggest_distance__of_long_words_is_beyond_the_limit(void **state)
{
    (void)state;
    char a[ER_SUGGEST_MAX + 2], b[ER_SUGGEST_MAX + 2];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    a[ER_SUGGEST_MAX] = b[ER_SUGGEST_MAX] = '\0';
    assert_int_equal(er_suggest_distance(a, a, 3), 0);
    assert_int_equal(er_suggest_distance(a, b, 64), 64);
    a[ER_SUGGEST_MAX] = 'a';
    a[ER_SUGGEST_MAX + 1] = '\0';
    assert_int_equal(er_suggest_distance(a, a, 3), 4);
}

static const char *const names[] = {
    "add",    "tasks",  "show",   "cancel", "pause", "resume",       "retry",
    "remove", "result", "events", "wait",   "log",   "http.request", "completions",
};
#define NAMES (sizeof names / sizeof names[0])

static void
suggest_find__gives_the_nearest(void **state)
{
    (void)state;
    static const struct {
        const char *word, *want;
    } cases[] = {
        {"htp.request", "http.request"},
        {"cancle", "cancel"},
        {"tasky", "tasks"},
        {"task", "tasks"},
        {"retyr", "retry"},
        {"Show", "show"},
        {"ad", "add"},
        {"resum", "resume"},
        {"comp", "completions"},
        {"eve", "events"},
        {"shwo", "show"},
        {"add", "add"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *got = er_suggest_find(cases[i].word, names, NAMES);
        if (!got || strcmp(got, cases[i].want) != 0) {
            fail_msg("%s: %s, expected %s", cases[i].word, got ? got : "none",
                     cases[i].want);
        }
    }
}

static void
suggest_find__keeps_silent_rather_than_guess(void **state)
{
    (void)state;
    static const char *const words[] = {"",    "x",  "frobnicate",
                                        "qqq", "re", "zzzzzzzzzzzz"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *got = er_suggest_find(words[i], names, NAMES);
        if (got) {
            fail_msg("'%s': %s", words[i], got);
        }
    }
    assert_null(er_suggest_find("add", names, 0));
    /* two that begin so: no guess */
    static const char *const two[] = {"compress", "completions"};
    assert_null(er_suggest_find("comp", two, 2));
}

static void
suggest_fail__says_what_was_meant(void **state)
{
    (void)state;
    struct er_err err;
    assert_int_equal(
        er_suggest_fail(&err, ER_ENOTFOUND, "type", "htp.request", names, NAMES),
        ER_ENOTFOUND);
    assert_string_equal(err.text,
                        "unknown type 'htp.request' (did you mean http.request?)");
    assert_int_equal(er_suggest_fail(&err, ER_EINVALID, "verb", "xyzzy", names, NAMES),
                     ER_EINVALID);
    assert_string_equal(err.text, "unknown verb 'xyzzy'");
    assert_int_equal(er_suggest_fail(NULL, ER_EINVALID, "verb", "x", names, NAMES),
                     ER_EINVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suggest_distance__counts_edits_and_swaps),
        cmocka_unit_test(suggest_distance__of_long_words_is_beyond_the_limit),
        cmocka_unit_test(suggest_find__gives_the_nearest),
        cmocka_unit_test(suggest_find__keeps_silent_rather_than_guess),
        cmocka_unit_test(suggest_fail__says_what_was_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
