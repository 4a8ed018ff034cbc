/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

static void
rand_next__is_the_same_for_the_same_seed(void **state)
{
    (void)state;
    uint64_t a = 99, b = 99, c = 100;
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        uint64_t x = er_rand_next(&a);
        assert_true(x == er_rand_next(&b));
        differs |= x != er_rand_next(&c);
    }
    assert_true(differs);
}

static void
rand_next__has_the_values_of_splitmix64(void **state)
{
    (void)state;
    /* the generator's published first values for the seed 1234567 */
    static const uint64_t want[] = {UINT64_C(6457827717110365317),
                                    UINT64_C(3203168211198807973),
                                    UINT64_C(9817491932198370423)};
    uint64_t seed = 1234567;
    for (size_t i = 0; i < 3; i++) {
        assert_true(er_rand_next(&seed) == want[i]);
    }
}

static void
rand_bytes__fills_all_and_never_the_same(void **state)
{
    (void)state;
    unsigned char a[1000] = {0}, b[1000] = {0};
    er_rand_bytes(a, sizeof a);
    er_rand_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    /* the last sixteen are zero by chance once in 2^128 */
    static const unsigned char zeros[16];
    assert_memory_not_equal(a + sizeof a - 16, zeros, 16);
    er_rand_bytes(a, 0);
}

static void
uuid7__has_its_form_and_its_time(void **state)
{
    (void)state;
    char u[ER_UUID_SIZE];
    er_uuid7(INT64_C(0x0123456789ab) * 1000 + 999, u);
    assert_int_equal(strlen(u), 36);
    assert_memory_equal(u, "01234567-89ab-7", 15);
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        assert_true(dash ? u[i] == '-' : strchr("0123456789abcdef", u[i]) != NULL);
    }
    assert_non_null(strchr("89ab", u[19]));
}

static void
uuid7__sorts_by_its_time_and_never_repeats(void **state)
{
    (void)state;
    char before[ER_UUID_SIZE] = "", u[ER_UUID_SIZE], twin[ER_UUID_SIZE];
    for (er_usec at = 0; at < INT64_C(4000000000000000); at += INT64_C(40000000000001)) {
        er_uuid7(at, u);
        er_uuid7(at, twin);
        assert_string_not_equal(u, twin);
        assert_true(strcmp(before, u) < 0);
        memcpy(before, u, sizeof u);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rand_next__is_the_same_for_the_same_seed),
        cmocka_unit_test(rand_next__has_the_values_of_splitmix64),
        cmocka_unit_test(rand_bytes__fills_all_and_never_the_same),
        cmocka_unit_test(uuid7__has_its_form_and_its_time),
        cmocka_unit_test(uuid7__sorts_by_its_time_and_never_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
