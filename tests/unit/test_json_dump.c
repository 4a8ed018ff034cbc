/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/json_dump.h"

static void
dumps__writes_reals_as_short_as_they_can_be(void **state)
{
    (void)state;
    static const char text[] =
        "[0.304,-0.1,1706693400.123456,0.30000000000000004,1e+20,5e-324,3.0,"
        "123456789012345678,"
        "\"0.30399999999999999 \\\"0.30399999999999999\",{\"0.30399999999999999\":1.5}]";
    json_t *v = json_loads(text, 0, NULL);
    assert_non_null(v);
    char *got = er_json_dumps(v, JSON_COMPACT);
    assert_string_equal(
        got,
        "[0.304,-0.1,1706693400.123456,0.30000000000000004,1e20,4.94065645841247e-324,"
        "3.0,"
        "123456789012345678,"
        "\"0.30399999999999999 \\\"0.30399999999999999\",{\"0.30399999999999999\":1.5}]");
    json_t *again = json_loads(got, 0, NULL);
    assert_true(json_equal(v, again));
    free(got);
    json_decref(again);
    json_decref(v);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dumps__writes_reals_as_short_as_they_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
