/* SPDX-License-Identifier: MIT */
/* Options from a table: every way to write one, and what is said of mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "app/app.h"
#include "app/options.h"

struct data {
    bool follow, hold;
    const char *name, *on_lost;
    struct er_opt_int n;
    struct er_opt_span delay;
    struct er_opt_list tags;
};
#define AT(field) offsetof(struct data, field)
static const struct er_opt opts[] = {
    {'f', "follow", NULL, ER_OPT_FLAG, AT(follow), "", 0, 0, NULL},
    {0, "hold", NULL, ER_OPT_FLAG, AT(hold), "", 0, 0, NULL},
    {0, "name", "TEXT", ER_OPT_TEXT, AT(name), "", 0, 0, NULL},
    {0, "on-lost", "run|fail", ER_OPT_WORD, AT(on_lost), "", 0, 0, "run fail"},
    {'n', "lines", "N", ER_OPT_INT, AT(n), "", -5, 100, NULL},
    {0, "delay", "DUR", ER_OPT_SPAN, AT(delay), "", 0, 0, NULL},
    {'t', "tag", "TAG", ER_OPT_LIST, AT(tags), "", 0, 0, NULL},
    ER_OPT_END,
};

static struct data data;
static struct er_err err;
static char *argv[16];
static int rest;

/* Parses words (ended by NULL); *out_n gets what er_options_parse returns. */
static int
parse(bool stop_early, const char *const *words)
{
    int n = 0;
    for (; words[n]; n++) {
        argv[n] = (char *)(uintptr_t)words[n];
    }
    struct er_opt_target target = {opts, &data};
    er_options_fini(&target, 1);
    data = (struct data){0};
    err.text[0] = '\0';
    return er_options_parse(&target, 1, "errand test", stop_early, n, argv, &rest, &err);
}
#define PARSE(stop, ...) parse(stop, (const char *const[]){__VA_ARGS__, NULL})

static int
teardown(void **state)
{
    (void)state;
    struct er_opt_target target = {opts, &data};
    er_options_fini(&target, 1);
    return 0;
}

static void
values__come_in_every_form(void **state)
{
    (void)state;
    assert_int_equal(PARSE(false, "--lines", "5", "--name=x=y", "-f"), 0);
    assert_int_equal(data.n.value, 5);
    assert_string_equal(data.name, "x=y");
    assert_true(data.follow);
    assert_false(data.hold);
    assert_int_equal(PARSE(false, "-n7"), 0);
    assert_int_equal(data.n.value, 7);
    assert_int_equal(PARSE(false, "-fn", "-5"), 0);
    assert_true(data.follow && data.n.set);
    assert_int_equal(data.n.value, -5);
    assert_int_equal(PARSE(false, "--delay", "1m30s", "--on-lost", "fail"), 0);
    assert_int_equal(data.delay.value, 90 * ER_USEC_PER_SEC);
    assert_string_equal(data.on_lost, "fail");
    assert_int_equal(PARSE(false, "-ta", "--tag", "b", "--tag=c"), 0);
    assert_int_equal(data.tags.n, 3);
    assert_string_equal(data.tags.v[1], "b");
    assert_string_equal(data.tags.v[2], "c");
}

static void
operands__stand_anywhere_unless_the_first_ends_the_options(void **state)
{
    (void)state;
    assert_int_equal(PARSE(false, "1", "-f", "2", "-", "--", "-x"), 4);
    assert_string_equal(argv[0], "1");
    assert_string_equal(argv[1], "2");
    assert_string_equal(argv[2], "-");
    assert_string_equal(argv[3], "-x");
    assert_int_equal(rest, 3);
    assert_true(data.follow);
    assert_int_equal(PARSE(true, "-n", "3", "make", "-f", "--", "x"), 4);
    assert_string_equal(argv[0], "make");
    assert_string_equal(argv[2], "--");
    assert_int_equal(rest, -1);
    assert_false(data.follow);
    assert_int_equal(PARSE(true, "--", "-f"), 1);
    assert_string_equal(argv[0], "-f");
    assert_int_equal(rest, 0);
}

static void
refused(int rc, const char *words)
{
    assert_int_equal(rc, ER_EINVALID);
    assert_string_equal(err.text, words);
}

static void
mistakes__name_the_option_and_what_is_right(void **state)
{
    (void)state;
    refused(PARSE(false, "--folow"), "unknown option '--folow' (did you mean --follow?)");
    refused(PARSE(false, "--zzz=1"),
            "unknown option '--zzz' (errand test --help lists them)");
    refused(PARSE(false, "-x"), "unknown option '-x' (errand test --help lists them)");
    refused(PARSE(false, "--lines"), "--lines needs a value: --lines N");
    refused(PARSE(false, "-n"), "--lines needs a value: --lines N");
    refused(PARSE(false, "--follow=yes"), "--follow takes no value");
    refused(PARSE(false, "-n101"),
            "invalid value '101' for --lines: it takes a whole number from -5 to 100");
    refused(PARSE(false, "-n", "1x"),
            "invalid value '1x' for --lines: it takes a whole number from -5 to 100");
    refused(PARSE(false, "--name", ""), "--name needs a value (TEXT), not an empty one");
    refused(PARSE(false, "--tag="), "--tag needs a value (TAG), not an empty one");
    refused(PARSE(false, "--on-lost", "fai"),
            "invalid value 'fai' for --on-lost: it is one of run fail");
    refused(PARSE(false, "--delay", "soon"),
            "--delay: invalid duration 'soon' (try 250ms, 2s, 5m, 1h30m)");
}

static void
numbers__are_whole_and_in_range(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",   " 1", "+1", "1 ", "0x1", "1.0", "--1", "-", "9223372036854775808",
        "-6", "101"};
    int64_t v;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(er_options_int(bad[i], -5, 100, &v), ER_EINVALID);
    }
    assert_int_equal(er_options_int("-5", -5, 100, &v), 0);
    assert_int_equal(v, -5);
    assert_int_equal(er_options_int("9223372036854775807", 0, INT64_MAX, &v), 0);
    assert_int_equal(v, INT64_MAX);
}

/* The help puts them into one list, and one letter or name must mean one thing. */
static void
commands__have_no_option_twice(void **state)
{
    (void)state;
    for (size_t c = 0; er_commands[c]; c++) {
        const struct er_opt *tables[ER_CMD_TABLES + 1] = {er_common_opts};
        memcpy(tables + 1, er_commands[c]->opts, sizeof er_commands[c]->opts);
        const struct er_opt *seen[96];
        size_t n = 0;
        for (size_t t = 0; t <= ER_CMD_TABLES; t++) {
            for (const struct er_opt *o = tables[t]; o && o->name; o++) {
                assert_int_equal(o->arg == NULL, o->kind == ER_OPT_FLAG);
                assert_true(o->help[0] != '\0');
                assert_true(o->kind != ER_OPT_WORD || o->words);
                for (size_t i = 0; i < n; i++) {
                    assert_string_not_equal(seen[i]->name, o->name);
                    assert_true(!o->letter || seen[i]->letter != o->letter);
                }
                seen[n++] = o;
                assert_true(n < 96);
            }
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values__come_in_every_form),
        cmocka_unit_test(operands__stand_anywhere_unless_the_first_ends_the_options),
        cmocka_unit_test(mistakes__name_the_option_and_what_is_right),
        cmocka_unit_test(numbers__are_whole_and_in_range),
        cmocka_unit_test(commands__have_no_option_twice),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, teardown);
}
