/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static void
buf__grows_and_stays_terminated(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    assert_null(b.data);
    for (int i = 0; i < 1000; i++) {
        er_buf_add_char(&b, (char)('a' + i % 26));
        assert_int_equal(b.len, i + 1);
        assert_int_equal(b.data[b.len], '\0');
    }
    assert_int_equal(b.data[27], 'b');
    er_buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    er_buf_add(&b, "x\0y", 3);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "x\0y", 4);
    er_buf_fini(&b);
    assert_null(b.data);
}

static void
buf__numbers_and_formats(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_i64(&b, 0);
    er_buf_add_char(&b, ' ');
    er_buf_add_i64(&b, INT64_MIN);
    er_buf_add_char(&b, ' ');
    er_buf_add_i64(&b, INT64_MAX);
    er_buf_addf(&b, " %s-%03d", "x", 7);
    assert_string_equal(b.data, "0 -9223372036854775808 9223372036854775807 x-007");
    er_buf_clear(&b);
    er_buf_add_seconds(&b, 0);
    er_buf_add_char(&b, ' ');
    er_buf_add_seconds(&b, 100);
    er_buf_add_char(&b, ' ');
    er_buf_add_seconds(&b, 90 * INT64_C(1000000) + 120034);
    er_buf_add_char(&b, ' ');
    er_buf_add_seconds(&b, INT64_MAX);
    assert_string_equal(b.data, "0 0.000100 90.120034 9223372036854.775807");
    er_buf_clear(&b);
    er_buf_addf(&b, "%*s", 5000, "wide");
    assert_int_equal(b.len, 5000);
    er_buf_fini(&b);
}

static void
buf__refuses_what_is_above_its_ceiling_as_a_whole(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 10);
    er_buf_add_str(&b, "12345678");
    er_buf_add_str(&b, "abc");
    assert_int_equal(b.failed, ER_ETOOBIG);
    assert_string_equal(b.data, "12345678");
    /* it stays so, also for what would fit */
    er_buf_add_str(&b, "a");
    assert_string_equal(b.data, "12345678");
    assert_int_equal(er_buf_reserve(&b, 1), ER_ETOOBIG);
    er_buf_clear(&b);
    assert_int_equal(b.failed, 0);
    er_buf_add_str(&b, "1234567890");
    assert_int_equal(b.failed, 0);
    er_buf_fini(&b);
    er_buf_init(&b, 0);
    assert_int_equal(er_buf_reserve(&b, SIZE_MAX), ER_ETOOBIG);
    er_buf_fini(&b);
}

static void
buf__without_memory_keeps_what_it_has(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "kept");
    er_mem_fault_set(1, 0);
    er_buf_addf(&b, "%*s", 500, "x");
    assert_int_equal(er_mem_fault_hit(), 1);
    assert_int_equal(b.failed, ER_ENOMEM);
    assert_string_equal(b.data, "kept");
    er_buf_fini(&b);
}

static void
buf__json_strings_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *want;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\n\r\t", 3, "\"\\n\\r\\t\""},
        {"\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\\u007f\""},
        {"h\xc3\xa9\xe2\x82\xac", 6, "\"h\xc3\xa9\xe2\x82\xac\""},
        {"\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         3,
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xc0\x80", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_add_json(&b, cases[i].text, cases[i].n);
        assert_string_equal(b.data, cases[i].want);
        er_buf_fini(&b);
    }
}

static void
buf__json_of_nothing_is_null(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_json_str(&b, NULL);
    er_buf_add_json_str(&b, "x");
    assert_string_equal(b.data, "null\"x\"");
    er_buf_fini(&b);
}

static void
buf_drop__removes_the_front(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "abcdef");
    er_buf_drop(&b, 0);
    assert_string_equal(b.data, "abcdef");
    er_buf_drop(&b, 2);
    assert_string_equal(b.data, "cdef");
    assert_int_equal(b.len, 4);
    er_buf_drop(&b, 100);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    er_buf_fini(&b);
}

static void
buf_take__gives_the_memory_away(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 7);
    char *empty = er_buf_take(&b);
    assert_string_equal(empty, "");
    er_free(empty);
    er_buf_add_str(&b, "abc");
    char *text = er_buf_take(&b);
    assert_string_equal(text, "abc");
    er_free(text);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.max, 7); /* the ceiling stays */
    er_buf_add_str(&b, "too long a text");
    assert_null(er_buf_take(&b));
    assert_int_equal(b.failed, 0);
    er_buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf__grows_and_stays_terminated),
        cmocka_unit_test(buf__numbers_and_formats),
        cmocka_unit_test(buf__refuses_what_is_above_its_ceiling_as_a_whole),
        cmocka_unit_test(buf__without_memory_keeps_what_it_has),
        cmocka_unit_test(buf__json_strings_are_escaped),
        cmocka_unit_test(buf__json_of_nothing_is_null),
        cmocka_unit_test(buf_drop__removes_the_front),
        cmocka_unit_test(buf_take__gives_the_memory_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
