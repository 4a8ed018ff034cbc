/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/name.h"
#include "model/task.h"

static void
names__that_addresses_can_hold(void **state)
{
    static const char *const good[] = {"a",   "default", "https://x/y?z", ".hidden",
                                       "...", "a b",     "\xc3\xa9",      "a/../b"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_null(er_name_refusal(good[i]));
    }
}

static void
names__that_are_refused(void **state)
{
    static const struct {
        const char *name, *why;
    } bad[] = {{"", "empty"},       {".", "'.' or '..'"},  {"..", "'.' or '..'"},
               {"a/", "ends with"}, {"a\nb", "a control"}, {"\x7f", "a control"}};
    char longest[ER_MAX_NAME + 2];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = er_name_refusal(bad[i].name);
        assert_non_null(why);
        assert_non_null(strstr(why, bad[i].why));
    }
    memset(longest, 'x', sizeof longest - 1);
    longest[ER_MAX_NAME] = '\0';
    assert_null(er_name_refusal(longest));
    longest[ER_MAX_NAME] = 'x';
    longest[ER_MAX_NAME + 1] = '\0';
    assert_non_null(strstr(er_name_refusal(longest), "at most 1000 bytes"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names__that_addresses_can_hold),
        cmocka_unit_test(names__that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
