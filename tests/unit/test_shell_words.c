/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>

#include "base/mem.h"
#include "model/shell_words.h"
#include "model/text.h"

static void
check(const char *word, const char *want)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_shell_words_add(&b, word);
    assert_string_equal(b.data, want);
    er_buf_fini(&b);
}

static void
shell_words__quotes_only_what_needs_it(void **state)
{
    (void)state;
    check("make", "make");
    check("-j8", "-j8");
    check("/usr/bin/a_b.c", "/usr/bin/a_b.c");
    check("A=b,c:d@e%f+g", "A=b,c:d@e%f+g");
    check("", "''");
    check("a b", "'a b'");
    check("it's", "'it'\\''s'");
    check("'", "''\\'''");
    check("$HOME", "'$HOME'");
    check("a;b", "'a;b'");
    check("~", "'~'");
    check("*", "'*'");
    check("a\nb", "'a\nb'");
    check("é", "'é'");
    check("#x", "'#x'");
    check("{a,b}", "'{a,b}'");
}

static void
shell_words__a_shell_reads_them_back(void **state)
{
    (void)state;
    static const char *const words[] = {
        "plain", "",    "a b",     "it's",  "'",  "''",           "\"", "$x `y` \\",
        "~",     "*",   "a\nb\tc", "!",     "é€", "-n",           "#",  "&&|;<>()",
        "{a,b}", "[x]", "a=b",     "%s\\n", "\\", "\x01\x7f\xff",
    };
    size_t n = sizeof words / sizeof words[0];
    struct er_buf line, want, got;
    er_buf_init(&line, 0);
    er_buf_init(&want, 0);
    er_buf_init(&got, 0);
    er_buf_add_str(&line, "printf '%s.' ");
    er_shell_words_encode(&line, words, n);
    for (size_t i = 0; i < n; i++) {
        er_buf_add_str(&want, words[i]);
        er_buf_add_char(&want, '.');
    }
    FILE *shell = popen(line.data, "r");
    assert_non_null(shell);
    char chunk[512];
    size_t have;
    while ((have = fread(chunk, 1, sizeof chunk, shell)) > 0) {
        er_buf_add(&got, chunk, have);
    }
    assert_int_equal(pclose(shell), 0);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    er_buf_fini(&line);
    er_buf_fini(&want);
    er_buf_fini(&got);
}

static void
shell_words__a_first_word_is_no_assignment(void **state)
{
    (void)state;
    static const char *const words[] = {"a=b", "c=d"};
    struct er_buf b;
    er_buf_init(&b, 0);
    er_shell_words_encode(&b, words, 2);
    assert_string_equal(b.data, "'a=b' c=d");
    er_buf_fini(&b);
}

static void
check_name(const char *const *argv, size_t n, const char *want)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_shell_words_name(&b, argv, n);
    assert_int_equal(b.failed, 0);
    er_buf_add(&b, "", 0);
    assert_string_equal(b.data, want);
    er_buf_fini(&b);
}

static void
shell_words_name__is_the_command_on_one_line(void **state)
{
    (void)state;
    static const char *const words[] = {"make", "-j8", "all tests"};
    check_name(words, 3, "make -j8 'all tests'");
    static const char *const line[] = {"for i in 1 2; do\n\techo $i\ndone"};
    check_name(line, 1, "for i in 1 2; do echo $i done");
    static const char *const url[] = {"git", "clone", "https://u:p@h/r"};
    check_name(url, 3, "git clone https://u:***@h/r");
    static const char *const odd[] = {"\x1b[31mred\x07"};
    check_name(odd, 1, "red");
    check_name(odd, 0, "");
    static const char *const empty[] = {""};
    check_name(empty, 1, "");
}

static void
shell_words_name__is_cut_between_characters(void **state)
{
    (void)state;
    char text[400];
    const char *argv[] = {text};
    memset(text, 'a', 60);
    text[60] = '\0';
    check_name(argv, 1, text);
    memset(text, 'a', 61);
    text[61] = '\0';
    char want[80];
    memset(want, 'a', 59);
    memcpy(want + 59, "…", sizeof "…");
    check_name(argv, 1, want);
    text[0] = '\0';
    for (int i = 0; i < 90; i++) {
        memcpy(text + 4 * i, "😀", 5);
    }
    struct er_buf b;
    er_buf_init(&b, 0);
    er_shell_words_name(&b, argv, 1);
    assert_int_equal(b.len, 59 * 4 + 3);
    assert_int_equal(er_text_fit_chars(b.data, b.len, 1000), b.len);
    assert_memory_equal(b.data, text, 59 * 4);
    er_buf_fini(&b);
}

static void
shell_words_name__without_memory_says_so(void **state)
{
    (void)state;
    static const char *const words[] = {"make", "all"};
    for (long n = 1;; n++) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_mem_fault_set(n, 0);
        er_shell_words_name(&b, words, 2);
        bool hit = er_mem_fault_hit() != 0;
        er_mem_fault_set(0, 0);
        assert_int_equal(b.failed, hit ? ER_ENOMEM : 0);
        er_buf_fini(&b);
        if (!hit) {
            assert_true(n > 2);
            break;
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shell_words__quotes_only_what_needs_it),
        cmocka_unit_test(shell_words__a_shell_reads_them_back),
        cmocka_unit_test(shell_words__a_first_word_is_no_assignment),
        cmocka_unit_test(shell_words_name__is_the_command_on_one_line),
        cmocka_unit_test(shell_words_name__is_cut_between_characters),
        cmocka_unit_test(shell_words_name__without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
