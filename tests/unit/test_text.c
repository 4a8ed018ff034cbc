/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "base/utf8.h"
#include "model/text.h"

static void
check(const char *text, size_t n, const char *want)
{
    char out[100];
    size_t len = er_text_clean(out, sizeof out, text, n);
    assert_string_equal(out, want);
    assert_int_equal(len, strlen(want));
}
#define CHECK(text, want) check(text, sizeof(text) - 1, want)

static void
text_clean__drops_what_moves_a_cursor(void **state)
{
    (void)state;
    CHECK("plain text", "plain text");
    CHECK("", "");
    CHECK("\x1b[31mred\x1b[0m", "red");
    CHECK("a\x1b[2J\x1b[Hb", "ab");
    CHECK("\x1b]0;title\x07x", "x");
    CHECK("\x1b]0;title\x1b\\x", "x");
    CHECK("\x1bPstring\x1b\\x", "x");
    CHECK("\x1b(Bx", "x");
    CHECK("a\x01\x02\x7f"
          "b",
          "ab");
    CHECK("a\0b", "ab");
    CHECK("a\xc2\x9b"
          "31mb",
          "a31mb"); /* C1: CSI in one character */
    CHECK("x\x1b", "x");
    CHECK("x\x1b[", "x");
    CHECK("x\x1b[12", "x");
    CHECK("x\x1b]no end", "x");
}

static void
text_clean__makes_one_space_of_blanks(void **state)
{
    (void)state;
    CHECK("  a \t\r\n\v b  ", "a b");
    CHECK(" \n ", "");
    CHECK("a \x1b[0m b", "a b");
    CHECK("a\nb", "a b");
}

static void
text_clean__marks_what_is_not_utf8(void **state)
{
    (void)state;
    CHECK("a\xff"
          "b",
          "a?b");
    CHECK("\xe2\x82", "??");
    CHECK("€é", "€é");
    CHECK("\xed\xa0\x80", "???");
}

static void
text_clean__cuts_between_characters(void **state)
{
    (void)state;
    char out[6];
    assert_int_equal(er_text_clean(out, 6, "abcdefgh", 8), 5);
    assert_string_equal(out, "abcde");
    assert_int_equal(er_text_clean(out, 6, "ab€€", 8), 5);
    assert_string_equal(out, "ab€");
    assert_int_equal(er_text_clean(out, 6, "abc€", 6), 3);
    assert_string_equal(out, "abc");
    assert_int_equal(er_text_clean(out, 6, "abcd x", 6), 4);
    assert_string_equal(out, "abcd");
    assert_int_equal(er_text_clean(out, 1, "abc", 3), 0);
    assert_string_equal(out, "");
}

static void
text_clean__of_anything_is_clean(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int round = 0; round < 2000; round++) {
        char in[64], out[40];
        size_t n = er_rand_next(&seed) % sizeof in;
        for (size_t i = 0; i < n; i++) {
            in[i] = (char)er_rand_next(&seed);
        }
        size_t size = 1 + er_rand_next(&seed) % sizeof out;
        size_t len = er_text_clean(out, size, in, n);
        assert_true(len < size);
        assert_int_equal(strlen(out), len);
        assert_true(er_utf8_is_valid(out, len));
        for (size_t i = 0; i < len; i++) {
            assert_true((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
        }
        assert_true(len == 0 || (out[0] != ' ' && out[len - 1] != ' '));
    }
}

static void
text_fit__keeps_whole_characters(void **state)
{
    (void)state;
    static const char text[] = "a€b"; /* 1 + 3 + 1 bytes */
    static const size_t want[] = {0, 1, 1, 1, 4, 5, 5};
    for (size_t max = 0; max < 7; max++) {
        assert_int_equal(er_text_fit(text, 5, max), want[max]);
    }
    assert_int_equal(er_text_fit("\xff\xff\xff", 3, 2), 2);
    assert_int_equal(er_text_fit("", 0, 0), 0);
}

static void
text_fit_chars__counts_characters(void **state)
{
    (void)state;
    assert_int_equal(er_text_fit_chars("a€b", 5, 0), 0);
    assert_int_equal(er_text_fit_chars("a€b", 5, 1), 1);
    assert_int_equal(er_text_fit_chars("a€b", 5, 2), 4);
    assert_int_equal(er_text_fit_chars("a€b", 5, 3), 5);
    assert_int_equal(er_text_fit_chars("a€b", 5, 9), 5);
    assert_int_equal(er_text_fit_chars("\xff\xff", 2, 1), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_clean__drops_what_moves_a_cursor),
        cmocka_unit_test(text_clean__makes_one_space_of_blanks),
        cmocka_unit_test(text_clean__marks_what_is_not_utf8),
        cmocka_unit_test(text_clean__cuts_between_characters),
        cmocka_unit_test(text_clean__of_anything_is_clean),
        cmocka_unit_test(text_fit__keeps_whole_characters),
        cmocka_unit_test(text_fit_chars__counts_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
