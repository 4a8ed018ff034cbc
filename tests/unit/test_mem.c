/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void
mem__copies(void **state)
{
    (void)state;
    char *a = er_strdup("abc"), *b = er_strndup("abcdef", 3), *c = er_memdup("a\0b", 3);
    char *d = er_strndup("ab", 10);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "abc");
    assert_memory_equal(c, "a\0b", 4);
    assert_string_equal(d, "ab");
    assert_null(er_strdup(NULL));
    assert_null(er_strndup(NULL, 4));
    er_free(a);
    er_free(b);
    er_free(c);
    er_free(d);
    er_free(NULL);
}

static void
mem__sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    assert_null(er_realloc_array(NULL, SIZE_MAX / 2, 3));
    int *p = er_realloc_array(NULL, 4, sizeof *p);
    assert_non_null(p);
    p[3] = 7;
    assert_null(er_realloc_array(p, SIZE_MAX, sizeof *p));
    assert_int_equal(p[3], 7); /* as it was */
    er_free(p);
}

static void
mem__nothing_is_still_something(void **state)
{
    (void)state;
    void *a = er_alloc(0), *b = er_zalloc(0);
    assert_non_null(a);
    assert_non_null(b);
    er_free(a);
    er_free(b);
}

static void
mem__fault_strikes_the_nth_allocation(void **state)
{
    (void)state;
    er_mem_fault_set(3, 0);
    void *a = er_alloc(1), *b = er_zalloc(1);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(er_mem_fault_hit(), 0);
    assert_null(er_strdup("third"));
    assert_int_equal(er_mem_fault_hit(), 1);
    void *c = er_alloc(1);
    assert_non_null(c);
    er_free(a);
    er_free(b);
    er_free(c);
}

static void
mem__fault_may_persist_until_it_is_switched_off(void **state)
{
    (void)state;
    er_mem_fault_set(1, 1);
    assert_null(er_alloc(1));
    assert_null(er_zalloc(1));
    assert_null(er_realloc(NULL, 1));
    er_mem_fault_set(0, 0);
    assert_int_equal(er_mem_fault_hit(), 0);
    void *p = er_alloc(1);
    assert_non_null(p);
    er_free(p);
}

static void
mem__the_programs_forms_give_what_they_are_asked_for(void **state)
{
    (void)state;
    char *text = er_xasprintf("%s-%d", "x", 5), *copy = er_xstrdup("y"), *part;
    part = er_xstrndup("abc", 2);
    int *zeros = er_xzalloc(4 * sizeof *zeros);
    assert_string_equal(text, "x-5");
    assert_string_equal(copy, "y");
    assert_string_equal(part, "ab");
    assert_null(er_xstrdup(NULL));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(zeros[i], 0);
    }
    zeros = er_xrealloc_array(zeros, 100, sizeof *zeros);
    zeros[99] = 1;
    er_free(text);
    er_free(copy);
    er_free(part);
    er_free(zeros);
}

static void
arena__pieces_are_cleared_aligned_and_apart(void **state)
{
    (void)state;
    struct er_arena a = {0};
    unsigned char *pieces[300];
    for (size_t n = 0; n < 300; n++) {
        pieces[n] = er_arena_alloc(&a, n);
        assert_non_null(pieces[n]);
        assert_int_equal((uintptr_t)pieces[n] % 16, 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(pieces[n][i], 0);
        }
        memset(pieces[n], (int)(n % 251), n);
    }
    for (size_t n = 0; n < 300; n++) {
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(pieces[n][i], n % 251);
        }
    }
    er_arena_free(&a);
}

static void
arena__takes_large_pieces_and_is_usable_again(void **state)
{
    (void)state;
    struct er_arena a = {0};
    char *small = er_arena_strdup(&a, "small");
    char *large = er_arena_alloc(&a, 100000);
    assert_non_null(large);
    memset(large, 'x', 100000);
    char *after = er_arena_memdup(&a, "a\0b", 3);
    assert_string_equal(small, "small");
    assert_memory_equal(after, "a\0b", 4);
    assert_null(er_arena_strdup(&a, NULL));
    assert_null(er_arena_alloc(&a, SIZE_MAX));
    er_arena_free(&a);
    assert_null(a.head);
    assert_string_equal(er_arena_strdup(&a, "again"), "again");
    er_arena_free(&a);
    er_arena_free(&a);
}

static void
arena__cleared_keeps_one_block_as_it_was_new(void **state)
{
    (void)state;
    struct er_arena a = {0};
    static const char zeros[3000];
    er_arena_clear(&a);
    char *first = er_arena_alloc(&a, sizeof zeros);
    memset(first, 'x', sizeof zeros);
    er_arena_clear(&a);
    char *again = er_arena_alloc(&a, sizeof zeros);
    assert_ptr_equal(again, first);
    assert_memory_equal(again, zeros, sizeof zeros);
    memset(again, 'x', sizeof zeros);
    memset(er_arena_alloc(&a, sizeof zeros), 'x', sizeof zeros); /* a second block */
    er_arena_clear(&a);
    assert_memory_equal(er_arena_alloc(&a, sizeof zeros), zeros, sizeof zeros);
    (void)!er_arena_alloc(&a, 100000); /* one that is not kept */
    er_arena_clear(&a);
    assert_null(a.head);
    er_arena_free(&a);
}

static void
arena__without_memory_keeps_what_it_has(void **state)
{
    (void)state;
    struct er_arena a = {0};
    char *kept = er_arena_strdup(&a, "kept");
    er_mem_fault_set(1, 0);
    assert_null(er_arena_alloc(&a, 100000));
    assert_int_equal(er_mem_fault_hit(), 1);
    assert_string_equal(kept, "kept");
    assert_non_null(er_arena_alloc(&a, 8));
    er_arena_free(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mem__copies),
        cmocka_unit_test(mem__sizes_that_overflow_are_refused),
        cmocka_unit_test(mem__nothing_is_still_something),
        cmocka_unit_test(mem__fault_strikes_the_nth_allocation),
        cmocka_unit_test(mem__fault_may_persist_until_it_is_switched_off),
        cmocka_unit_test(mem__the_programs_forms_give_what_they_are_asked_for),
        cmocka_unit_test(arena__pieces_are_cleared_aligned_and_apart),
        cmocka_unit_test(arena__takes_large_pieces_and_is_usable_again),
        cmocka_unit_test(arena__cleared_keeps_one_block_as_it_was_new),
        cmocka_unit_test(arena__without_memory_keeps_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
