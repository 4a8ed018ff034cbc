/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

/* The length of a character by its code point, written down once more: RFC 3629. */
static size_t
encode(unsigned cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 63));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 63));
        out[2] = (char)(0x80 | (cp & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 63));
    out[2] = (char)(0x80 | (cp >> 6 & 63));
    out[3] = (char)(0x80 | (cp & 63));
    return 4;
}

static void
utf8__knows_every_character_and_no_surrogate(void **state)
{
    (void)state;
    for (unsigned cp = 0; cp < 0x1fffff; cp += cp < 0x20000 ? 1 : 61) {
        char text[4];
        size_t n = encode(cp, text);
        bool good = cp < 0xd800 || (cp > 0xdfff && cp <= 0x10ffff);
        if (er_utf8_len(text, n) != (good ? n : 0)) {
            fail_msg("U+%04X", cp);
        }
        for (size_t cut = 0; cut < n; cut++) {
            assert_int_equal(er_utf8_len(text, cut), 0);
        }
    }
}

static void
utf8__refuses_what_is_not_well_formed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2 ",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
        "\xe2\x28\xa1",
        "\xe2\x82\x28",
        "\xf0\x9f\x98\x28",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(er_utf8_len(bad[i], strlen(bad[i])), 0);
        assert_false(er_utf8_is_valid(bad[i], strlen(bad[i])));
    }
}

static void
utf8_is_valid__looks_at_all_of_a_text(void **state)
{
    (void)state;
    assert_true(er_utf8_is_valid("", 0));
    assert_true(er_utf8_is_valid("a\0b", 3));
    assert_true(er_utf8_is_valid("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 11));
    assert_false(er_utf8_is_valid("good then \xff", 11));
    assert_false(er_utf8_is_valid("cut \xe2\x82", 6));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8__knows_every_character_and_no_surrogate),
        cmocka_unit_test(utf8__refuses_what_is_not_well_formed),
        cmocka_unit_test(utf8_is_valid__looks_at_all_of_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
