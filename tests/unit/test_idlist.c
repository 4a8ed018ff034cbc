/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/idlist.h"

/* Parses the texts in turn into a new list; the code of the first that fails. */
static int
parse(struct er_idlist *l, const char *const *texts, size_t n, struct er_err *err)
{
    er_idlist_init(l);
    for (size_t i = 0; i < n; i++) {
        int rc = er_idlist_parse(l, texts[i], err);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static void
check(const char *text, const er_task_id *want, size_t n)
{
    struct er_idlist l;
    assert_int_equal(parse(&l, &text, 1, NULL), 0);
    assert_int_equal(l.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(l.ids[i], want[i]);
    }
    er_idlist_fini(&l);
}
#define CHECK(text, ...)                                                                 \
    check(text, (const er_task_id[]){__VA_ARGS__},                                       \
          sizeof((const er_task_id[]){__VA_ARGS__}) / sizeof(er_task_id))

static void
idlist__reads_numbers_ranges_and_last(void **state)
{
    (void)state;
    CHECK("42", 42);
    CHECK("3-7", 3, 4, 5, 6, 7);
    CHECK("5-5", 5);
    CHECK("1,4-6,2", 1, 4, 5, 6, 2);
    CHECK("@last", ER_IDLIST_LAST);
    CHECK("@last,9", ER_IDLIST_LAST, 9);
    CHECK("007", 7);
    CHECK("9223372036854775807", INT64_MAX);
    CHECK("9223372036854775806-9223372036854775807", INT64_MAX - 1, INT64_MAX);
}

static void
idlist__collects_several_arguments(void **state)
{
    (void)state;
    static const char *const texts[] = {"5", "3-4", "@last", "9"};
    struct er_idlist l;
    assert_int_equal(parse(&l, texts, 4, NULL), 0);
    assert_int_equal(l.n, 5);
    assert_true(er_idlist_has_last(&l));
    er_idlist_resolve(&l, 77);
    assert_false(er_idlist_has_last(&l));
    static const er_task_id want[] = {5, 3, 4, 77, 9};
    assert_memory_equal(l.ids, want, sizeof want);
    er_idlist_fini(&l);
}

static void
idlist__refuses_what_is_no_id(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "x",
        "0",
        "-1",
        "+1",
        "1-",
        "-",
        "1--2",
        "1-2-3",
        "3-x",
        "@first",
        "@last ",
        " 1",
        "1 ",
        "1,",
        ",1",
        "1,,2",
        "1.5",
        "0x10",
        "0-3",
        "9223372036854775808",
        "99999999999999999999999",
        "@",
        "#1",
        "1-@last",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct er_idlist l;
        struct er_err err = {""};
        if (parse(&l, &bad[i], 1, &err) != ER_EINVALID) {
            fail_msg("'%s' was accepted", bad[i]);
        }
        assert_int_equal(l.n, 0);
        assert_non_null(strstr(err.text, "(try 42, 3-7 or @last)"));
        er_idlist_fini(&l);
    }
}

static void
idlist__names_what_was_wrong(void **state)
{
    (void)state;
    struct er_idlist l;
    struct er_err err;
    er_idlist_init(&l);
    assert_int_equal(er_idlist_parse(&l, "x", &err), ER_EINVALID);
    assert_string_equal(err.text, "invalid id 'x' (try 42, 3-7 or @last)");
    assert_int_equal(er_idlist_parse(&l, "7-3", &err), ER_EINVALID);
    assert_string_equal(err.text,
                        "invalid id '7-3': a range goes from the lower to the higher");
    assert_int_equal(er_idlist_parse(&l, "1-100001", &err), ER_ETOOBIG);
    assert_string_equal(err.text,
                        "too many ids in '1-100001' (at most 100000 at a time)");
    er_idlist_fini(&l);
}

static void
idlist__is_bounded(void **state)
{
    (void)state;
    struct er_idlist l;
    er_idlist_init(&l);
    assert_int_equal(er_idlist_parse(&l, "1-9223372036854775807", NULL), ER_ETOOBIG);
    assert_int_equal(er_idlist_parse(&l, "1-100000", NULL), 0);
    assert_int_equal(l.n, ER_IDLIST_MAX);
    assert_int_equal(er_idlist_parse(&l, "5", NULL), ER_ETOOBIG);
    assert_int_equal(l.n, ER_IDLIST_MAX);
    er_idlist_fini(&l);
}

static void
idlist__adds_nothing_of_an_argument_that_fails(void **state)
{
    (void)state;
    struct er_idlist l;
    er_idlist_init(&l);
    assert_int_equal(er_idlist_parse(&l, "1", NULL), 0);
    assert_int_equal(er_idlist_parse(&l, "2,3-5,x", NULL), ER_EINVALID);
    assert_int_equal(l.n, 1);
    er_idlist_fini(&l);
}

static void
idlist_unique__keeps_the_first_of_each_in_order(void **state)
{
    (void)state;
    struct er_idlist l;
    er_idlist_init(&l);
    assert_int_equal(er_idlist_unique(&l), 0);
    assert_int_equal(er_idlist_parse(&l, "9,3,5-7,3,6,9,1", NULL), 0);
    assert_int_equal(er_idlist_unique(&l), 0);
    static const er_task_id want[] = {9, 3, 5, 6, 7, 1};
    assert_int_equal(l.n, 6);
    assert_memory_equal(l.ids, want, sizeof want);
    er_idlist_fini(&l);
}

static void
idlist__without_memory_stays_as_it_was(void **state)
{
    (void)state;
    struct er_idlist l;
    er_idlist_init(&l);
    er_mem_fault_set(1, 0);
    assert_int_equal(er_idlist_parse(&l, "1-5", NULL), ER_ENOMEM);
    assert_int_equal(l.n, 0);
    assert_int_equal(er_idlist_parse(&l, "2,1,2", NULL), 0);
    er_mem_fault_set(1, 0);
    assert_int_equal(er_idlist_unique(&l), ER_ENOMEM);
    er_mem_fault_set(0, 0);
    assert_int_equal(l.n, 3);
    er_idlist_fini(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idlist__reads_numbers_ranges_and_last),
        cmocka_unit_test(idlist__collects_several_arguments),
        cmocka_unit_test(idlist__refuses_what_is_no_id),
        cmocka_unit_test(idlist__names_what_was_wrong),
        cmocka_unit_test(idlist__is_bounded),
        cmocka_unit_test(idlist__adds_nothing_of_an_argument_that_fails),
        cmocka_unit_test(idlist_unique__keeps_the_first_of_each_in_order),
        cmocka_unit_test(idlist__without_memory_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
