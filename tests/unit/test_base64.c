/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/rand.h"

static void
base64__has_the_vectors_of_the_rfc(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xfe\xfd", "//79"},
        {"\xfb\xef\xbe", "++++"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_base64_encode(&b, cases[i][0], strlen(cases[i][0]));
        er_buf_add(&b, "", 0);
        assert_string_equal(b.data, cases[i][1]);
        er_buf_clear(&b);
        assert_int_equal(er_base64_decode(&b, cases[i][1], strlen(cases[i][1])), 0);
        er_buf_add(&b, "", 0);
        assert_string_equal(b.data, cases[i][0]);
        er_buf_fini(&b);
    }
}

static void
base64__any_bytes_come_back(void **state)
{
    (void)state;
    uint64_t seed = 8;
    for (size_t n = 0; n < 200; n++) {
        unsigned char bytes[200];
        struct er_buf text, back;
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (unsigned char)er_rand_next(&seed);
        }
        er_buf_init(&text, 0);
        er_buf_init(&back, 0);
        er_base64_encode(&text, bytes, n);
        assert_int_equal(text.len, (n + 2) / 3 * 4);
        er_buf_add(&text, "", 0);
        assert_int_equal(er_base64_decode(&back, text.data, text.len), 0);
        assert_int_equal(back.len, n);
        if (n > 0) {
            assert_memory_equal(back.data, bytes, n);
        }
        er_buf_fini(&text);
        er_buf_fini(&back);
    }
}

static void
base64__refuses_the_rest_and_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z",        "Zg",       "Zg=",       "====",     "Z===",     "Zg==Zg==",
        "Zm9v$m8=", "Zm9v Zg=", "Zm9v\nZg=", "Zm9vZ=g=", "Zm9v-_8=",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_add_str(&b, "kept");
        if (er_base64_decode(&b, bad[i], strlen(bad[i])) != ER_EINVALID) {
            fail_msg("'%s' was accepted", bad[i]);
        }
        assert_int_equal(b.len, 4);
        assert_string_equal(b.data, "kept");
        er_buf_fini(&b);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64__has_the_vectors_of_the_rfc),
        cmocka_unit_test(base64__any_bytes_come_back),
        cmocka_unit_test(base64__refuses_the_rest_and_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
