/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "base/error.h"

static const int codes[] = {
#define ER_ERROR(name, number, word, http, exit, meaning) ER_E##name,
#include "base/errors.def"
#undef ER_ERROR
};
#define CODES (sizeof codes / sizeof codes[0])

static void
error__each_has_a_word_of_its_own_and_sane_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < CODES; i++) {
        assert_true(codes[i] < 0);
        assert_int_equal(er_error_find(er_error_word(codes[i])), codes[i]);
        assert_true(er_error_http(codes[i]) >= 400 && er_error_http(codes[i]) < 600);
        int exit_code = er_error_exit(codes[i]);
        assert_true((exit_code >= 1 && exit_code <= 6) || exit_code == 124);
        assert_true(strlen(er_error_meaning(codes[i])) > 0);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(codes[i], codes[j]);
        }
    }
}

static void
error__exit_codes_and_words_are_those_of_the_documents(void **state)
{
    (void)state;
    assert_int_equal(er_error_exit(ER_EINVALID), 2);
    assert_int_equal(er_error_exit(ER_ENOTFOUND), 3);
    assert_int_equal(er_error_exit(ER_ENODAEMON), 4);
    assert_int_equal(er_error_exit(ER_ESTATE), 5);
    assert_int_equal(er_error_exit(ER_EAUTH), 5);
    assert_int_equal(er_error_exit(ER_ETIMEOUT), 124);
    assert_int_equal(er_error_http(ER_ESTATE), 409);
    assert_int_equal(er_error_http(ER_ETOOBIG), 413);
    assert_int_equal(er_error_http(ER_EFULL), 429);
    assert_int_equal(er_error_http(ER_ECLOSED), 503);
    assert_string_equal(er_error_word(ER_ENOTFOUND), "not-found");
}

static void
error__unknown_codes_are_internal(void **state)
{
    (void)state;
    static const int odd[] = {0, 1, -1000};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(er_error_word(odd[i]), "internal");
        assert_string_equal(er_error_meaning(odd[i]), "internal error");
        assert_int_equal(er_error_http(odd[i]), 500);
        assert_int_equal(er_error_exit(odd[i]), 1);
    }
    assert_int_equal(er_error_find("nonsense"), 0);
    assert_int_equal(er_error_find(""), 0);
}

static void
fail__sets_words_and_passes_the_code_on(void **state)
{
    (void)state;
    struct er_err err = {""};
    assert_int_equal(er_fail(&err, ER_EFULL, "queue '%s' is full: %d", "build", 10),
                     ER_EFULL);
    assert_string_equal(err.text, "queue 'build' is full: 10");
    assert_int_equal(er_fail(NULL, ER_EFULL, "nobody reads this"), ER_EFULL);
}

static void
fail__cuts_what_is_too_long(void **state)
{
    (void)state;
    struct er_err err;
    assert_int_equal(er_fail(&err, ER_EIO, "%*s", 2000, "x"), ER_EIO);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_int_equal(er_fail_prefix(&err, ER_EIO, "%*s", 2000, "y"), ER_EIO);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void
fail_prefix__goes_before_the_words(void **state)
{
    (void)state;
    struct er_err err = {"disk image is malformed"};
    assert_int_equal(er_fail_prefix(&err, ER_ECORRUPT, "open store '%s'", "/x"),
                     ER_ECORRUPT);
    assert_string_equal(err.text, "open store '/x': disk image is malformed");
    struct er_err none = {""};
    assert_int_equal(er_fail_prefix(&none, ER_ENOTFOUND, "task %d", 5), ER_ENOTFOUND);
    assert_string_equal(none.text, "task 5: no such thing");
    assert_int_equal(er_fail_prefix(NULL, ER_EIO, "x"), ER_EIO);
}

static void
error_from_errno__maps_what_the_system_says(void **state)
{
    (void)state;
    static const struct {
        int errnum, want;
    } cases[] = {{ENOSPC, ER_EDISKFULL}, {EDQUOT, ER_EDISKFULL},
                 {ENOMEM, ER_ENOMEM},    {ENOENT, ER_ENOTFOUND},
                 {EEXIST, ER_EEXISTS},   {EACCES, ER_EAUTH},
                 {EPERM, ER_EAUTH},      {EINVAL, ER_EINVALID},
                 {EIO, ER_EIO},          {0, ER_EIO}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(er_error_from_errno(cases[i].errnum), cases[i].want);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error__each_has_a_word_of_its_own_and_sane_numbers),
        cmocka_unit_test(error__exit_codes_and_words_are_those_of_the_documents),
        cmocka_unit_test(error__unknown_codes_are_internal),
        cmocka_unit_test(fail__sets_words_and_passes_the_code_on),
        cmocka_unit_test(fail__cuts_what_is_too_long),
        cmocka_unit_test(fail_prefix__goes_before_the_words),
        cmocka_unit_test(error_from_errno__maps_what_the_system_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
