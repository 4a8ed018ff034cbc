/* SPDX-License-Identifier: MIT */
/* Names of kinds, parameters and types; copies of types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/type.h"

static void
kinds__have_words(void **state)
{
    (void)state;
    for (int k = ER_PARAM_STRING; k <= ER_PARAM_OBJECT; k++) {
        assert_int_equal(er_param_kind_find(er_param_kind_word((enum er_param_kind)k)),
                         k);
    }
    assert_string_equal(er_param_kind_word(ER_PARAM_STRINGS), "strings");
    assert_int_equal(er_param_kind_find("float"), -1);
    assert_int_equal(er_param_kind_find(""), -1);
    assert_int_equal(er_param_kind_find(NULL), -1);
    assert_string_equal(er_param_kind_word((enum er_param_kind)99), "?");
}

static void
names__are_of_few_letters(void **state)
{
    (void)state;
    char longest[ER_PARAM_NAME_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[ER_PARAM_NAME_MAX] = '\0';
    assert_true(er_param_is_name("a") && er_param_is_name("max_bytes-2"));
    assert_true(er_param_is_name(longest) && er_type_is_name(longest));
    longest[ER_PARAM_NAME_MAX] = 'a';
    longest[ER_PARAM_NAME_MAX + 1] = '\0';
    assert_false(er_param_is_name(longest) || er_type_is_name(longest));
    static const char *const bad[] = {"", "1a", "_a", "-a", "a.b", "a b", "a{", "é"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(er_param_is_name(bad[i]));
    }
    assert_true(er_type_is_name("http.request") && er_type_is_name("7-zip_x"));
    assert_true(er_type_is_name("_x.") && er_type_is_name("a..b") &&
                er_type_is_name("9"));
    assert_false(er_type_is_name(".") || er_type_is_name("..") || er_type_is_name(".x") ||
                 er_type_is_name("-x") || er_type_is_name("..."));
    assert_false(er_type_is_name("") || er_type_is_name("a/b") || er_type_is_name("a b"));
}

static void
fill(struct er_type *t, struct er_param *p, const char **choices, const char **command)
{
    er_type_init(t, "fetch");
    choices[0] = "a";
    choices[1] = "b";
    command[0] = "curl";
    command[1] = "{url}";
    p[0] = (struct er_param){.name = "url", .kind = ER_PARAM_URL, .required = true};
    p[1] = (struct er_param){.name = "mode",
                             .kind = ER_PARAM_STRING,
                             .default_json = "\"a\"",
                             .choices = choices,
                             .n_choices = 2,
                             .pattern = "^.$",
                             .help = "how"};
    t->params = p;
    t->n_params = 2;
    t->has_params = true;
    t->command = command;
    t->n_command = 2;
    t->command_stdin = "{mode}";
    t->help = "fetches";
}

static void
copy__has_all_of_its_own(void **state)
{
    (void)state;
    struct er_arena arena = {0};
    struct er_type t, copy;
    struct er_param p[2];
    const char *choices[2], *command[2];
    fill(&t, p, choices, command);
    assert_int_equal(er_type_copy(&t, &arena, &copy), 0);
    memset(p, 0, sizeof p);
    choices[0] = choices[1] = command[0] = command[1] = NULL;
    assert_string_equal(copy.name, "fetch");
    assert_string_equal(copy.help, "fetches");
    assert_string_equal(copy.params[0].name, "url");
    assert_true(copy.params[0].required);
    assert_string_equal(copy.params[1].default_json, "\"a\"");
    assert_string_equal(copy.params[1].choices[1], "b");
    assert_string_equal(copy.params[1].pattern, "^.$");
    assert_string_equal(copy.command[1], "{url}");
    assert_string_equal(copy.command_stdin, "{mode}");
    assert_null(copy.program);
    assert_true(er_type_is_executed(&copy));
    er_arena_free(&arena);
}

static void
copy__fails_whole_when_memory_is_out(void **state)
{
    (void)state;
    struct er_type t, copy;
    struct er_param p[2];
    const char *choices[2], *command[2];
    bool struck = true;
    fill(&t, p, choices, command);
    for (long n = 1; struck; n++) {
        struct er_arena arena = {0};
        copy.name = "untouched";
        er_mem_fault_set(n, 0);
        int rc = er_type_copy(&t, &arena, &copy);
        struck = er_mem_fault_hit();
        er_mem_fault_set(0, 0);
        assert_int_equal(rc, struck ? ER_ENOMEM : 0);
        assert_string_equal(copy.name, struck ? "untouched" : "fetch");
        er_arena_free(&arena);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds__have_words),
        cmocka_unit_test(names__are_of_few_letters),
        cmocka_unit_test(copy__has_all_of_its_own),
        cmocka_unit_test(copy__fails_whole_when_memory_is_out),
    };
    return cmocka_run_group_tests_name("param", tests, NULL, NULL);
}
