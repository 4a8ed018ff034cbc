/* SPDX-License-Identifier: MIT */
#include "wire/json_text.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"

/* What becomes of a text; "-" when it is refused. The caller frees it. */
static char *
compact(const char *text, size_t n)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "before");
    if (er_json_text_compact(&b, text, n)) {
        assert_string_equal(b.data, "before");
        er_buf_fini(&b);
        return er_xstrdup("-");
    }
    char *out = er_xstrdup(b.data + strlen("before"));
    er_buf_fini(&b);
    return out;
}

static void
check(const char *text, const char *expected)
{
    char *got = compact(text, strlen(text));
    assert_string_equal(got, expected);
    er_free(got);
}

static void
compact__takes_blanks_out_and_nothing_else(void **state)
{
    (void)state;
    check(" 1 ", "1");
    check("{ \"a\" : [ 1 , 2.50 ,\ttrue,\r\nnull ] , \"b c\":{} }",
          "{\"a\":[1,2.50,true,null],\"b c\":{}}");
    check("\" \\u00e9 \\ud83d\\ude00 \xc3\xa9 \"",
          "\" \\u00e9 \\ud83d\\ude00 \xc3\xa9 \"");
    check("[-0, 0.1, 1e5, 1E-5, -9223372036854775808, 9223372036854775807]",
          "[-0,0.1,1e5,1E-5,-9223372036854775808,9223372036854775807]");
    check("[]", "[]");
    check("false", "false");
}

static void
compact__refuses_what_is_not_json(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "1e+",
        "nul",
        "truee",
        "1 2",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "'a'",
        "[1}",
        "NaN",
        "{\"a\":1 \"b\":2}",
        "\"\xc3\"",
        "\"\xff\"",
        "\"\xed\xa0\x80\"",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        check(bad[i], "-");
    }
    check("\"a\" \"b\"", "-");
}

static void
compact__refuses_what_readers_stumble_over(void **state)
{
    (void)state;
    check("{\"a\":1,\"b\":2,\"a\":3}", "-");
    check("{\"a\":1,\"\\u0061\":3}", "-");
    check("{\"\xc3\xa9\":1,\"\\u00e9\":3}", "-");
    check("[{\"a\":1},{\"a\":1}]", "[{\"a\":1},{\"a\":1}]");
    check("{\"a\":{\"a\":1}}", "{\"a\":{\"a\":1}}");
    check("9223372036854775808", "-");
    check("-9223372036854775809", "-");
    check("1e999", "-");
    check("\"\\u0000\"", "-");
    check("\"\\ud800\"", "-");
    check("\"\\udc00\"", "-");
    check("\"\\ud800\\u0041\"", "-");
}

static void
compact__bounds_the_depth(void **state)
{
    (void)state;
    char text[2 * (ER_JSON_DEPTH + 1) + 1];
    for (size_t depth = ER_JSON_DEPTH; depth <= ER_JSON_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        check(text, depth <= ER_JSON_DEPTH ? text : "-");
    }
    memset(text, '[', ER_JSON_DEPTH);
    strcpy(text + ER_JSON_DEPTH, "1");
    memset(text + ER_JSON_DEPTH + 1, ']', ER_JSON_DEPTH);
    text[2 * ER_JSON_DEPTH + 1] = '\0';
    check(text, text);
}

/* The reference is jansson, whose readers must take what goes through here. */
static void
compact__agrees_with_a_reader_on_mutated_texts(void **state)
{
    static const char seed_text[] = "{\"name\":[1,-2.5e3,true,false,null,"
                                    "\"x\\n\\u00e9\\ud83d\\ude00\"],\"b\":{\"c\":0}}";
    static const char bytes[] = "{}[]:,\"\\0123456789.eE+-truefalsnu \n\xc3\xa9\x01";
    uint64_t seed = 20260131;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof seed_text];
        memcpy(text, seed_text, sizeof text);
        size_t n =
            sizeof text - 1 - (er_rand_next(&seed) % 4 ? 0 : er_rand_next(&seed) % 20);
        for (uint64_t i = er_rand_next(&seed) % 3; i > 0; i--) {
            text[er_rand_next(&seed) % n] =
                bytes[er_rand_next(&seed) % (sizeof bytes - 1)];
        }
        json_t *value =
            json_loadb(text, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        char *got = compact(text, n);
        json_t *again = json_loads(got, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        assert_int_equal(value != NULL, strcmp(got, "-") != 0);
        assert_true(!value || json_equal(value, again));
        json_decref(value);
        json_decref(again);
        er_free(got);
    }
}

static void
compact__reports_memory_that_is_out(void **state)
{
    (void)state;
    struct er_buf b;
    for (long n = 1;; n++) {
        er_buf_init(&b, 0);
        er_mem_fault_set(n, 0);
        int rc =
            er_json_text_compact(&b, "{\"a\":[1,2,3],\"b\":\"cccccccccccccccccc\"}", 38);
        int struck = er_mem_fault_hit();
        er_mem_fault_set(0, 0);
        er_buf_fini(&b);
        if (!struck) {
            assert_int_equal(rc, 0);
            return;
        }
        assert_int_equal(rc, ER_ENOMEM);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact__takes_blanks_out_and_nothing_else),
        cmocka_unit_test(compact__refuses_what_is_not_json),
        cmocka_unit_test(compact__refuses_what_readers_stumble_over),
        cmocka_unit_test(compact__bounds_the_depth),
        cmocka_unit_test(compact__agrees_with_a_reader_on_mutated_texts),
        cmocka_unit_test(compact__reports_memory_that_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
