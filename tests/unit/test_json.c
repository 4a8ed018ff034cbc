/* SPDX-License-Identifier: MIT */
#include "wire/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/task.h"

static void
check_parse(const char *text, int code, const char *words)
{
    struct er_err err = {{0}};
    json_t *v = NULL;
    assert_int_equal(er_json_parse(text, strlen(text), &v, &err), code);
    assert_string_equal(err.text, words);
    assert_true((v != NULL) == (code == 0));
    json_decref(v);
}

static void
parse__tells_what_is_wrong_and_where(void **state)
{
    (void)state;
    check_parse("{\"a\": [1, 2]}", 0, "");
    check_parse(" 1.5 ", 0, "");
    check_parse("{\"a\":\n 1,}", ER_EINVALID,
                "invalid JSON: string or '}' expected near '}' at line 2, column 4");
    check_parse("", ER_EINVALID,
                "invalid JSON: unexpected token near end of file at line 1, column 0");
    check_parse("{\"a\":1,\"a\":2}", ER_EINVALID,
                "invalid JSON: duplicate object key near '\"a\"' at line 1, column 10");
}

static long allocations; /* until one fails; 0 = none does */

static void *
alloc(size_t size)
{
    return allocations > 0 && --allocations == 0 ? NULL : malloc(size);
}

static void
parse__survives_a_moment_without_memory(void **state)
{
    static const char text[] =
        "{\"a\": [1, 2.5, {\"b\": \"text\"}], \"c\": true, \"d\": {}}";
    (void)state;
    json_set_alloc_funcs(alloc, free);
    long n = 0;
    do {
        allocations = ++n;
        check_parse(text, 0, "");
    } while (allocations == 0);
    allocations = 0;
    json_set_alloc_funcs(malloc, free);
    assert_true(n > 10);
}

static void
parse__bounds_depth_and_length(void **state)
{
    (void)state;
    char text[200];
    for (int depth = 32; depth <= 33; depth++) {
        struct er_err err = {{0}};
        json_t *v = NULL;
        int n = snprintf(text, sizeof text, "{\"a\": \"[[{\\\"[\",\n\"b\": ");
        memset(text + n, '[', (size_t)depth - 1);
        memset(text + n + depth - 1, ']', (size_t)depth - 1);
        strcpy(text + n + 2 * (depth - 1), "}");
        int rc = er_json_parse(text, strlen(text), &v, &err);
        assert_int_equal(rc, depth == 32 ? 0 : ER_EINVALID);
        assert_string_equal(
            err.text, depth == 32
                          ? ""
                          : "invalid JSON: nested deeper than 32 at line 2, column 37");
        json_decref(v);
    }
    char *big = er_xalloc(ER_JSON_MAX + 1);
    memset(big, ' ', ER_JSON_MAX + 1);
    big[0] = '1';
    json_t *v = NULL;
    assert_int_equal(er_json_parse(big, ER_JSON_MAX + 1, &v, NULL), ER_ETOOBIG);
    assert_int_equal(er_json_parse(big, ER_JSON_MAX, &v, NULL), 0);
    json_decref(v);
    er_free(big);
}

struct sample {
    const char *name;
    int64_t priority;
    double share;
    bool held;
    er_usec delay_for, run_at;
    int on_lost;
    const json_t *meta, *tags, *any;
};
#define AT(member) .offset = offsetof(struct sample, member)
static const struct er_json_field fields[] = {
    {"name", ER_JSON_STRING, .required = true, .min = 1, .max = 5, AT(name)},
    {"priority", ER_JSON_INT, .min = -1000, .max = 1000, AT(priority)},
    {"share", ER_JSON_NUMBER, .min = 0, .max = 1, AT(share)},
    {"held", ER_JSON_BOOL, AT(held)},
    {"delay_s", ER_JSON_SPAN, .min = 0, .max = 86400, AT(delay_for)},
    {"run_at", ER_JSON_TIME, AT(run_at)},
    {"on_lost", ER_JSON_WORD, AT(on_lost), .find = er_on_lost_find,
     .words = "run, fail or hold"},
    {"meta", ER_JSON_OBJECT, AT(meta)},
    {"tags", ER_JSON_ARRAY, .min = 0, .max = 2, AT(tags)},
    {"any", ER_JSON_ANY, AT(any)},
};
static const struct er_json_form form = {fields, sizeof fields / sizeof fields[0], false};

static void
read__fills_what_is_given_and_leaves_the_rest(void **state)
{
    (void)state;
    json_t *o = json_loads("{\"name\":\"n\",\"priority\":-3,\"share\":1,\"held\":true,"
                           "\"delay_s\":1.5,\"run_at\":\"2026-01-31T09:30:00Z\","
                           "\"on_lost\":\"hold\",\"meta\":{},\"tags\":[1],\"any\":null}",
                           0, NULL);
    struct sample s = {.share = 0.25};
    struct er_json_fault fault;
    uint64_t given = 0;
    assert_int_equal(er_json_read(o, &form, &s, &given, &fault), 0);
    assert_string_equal(s.name, "n");
    assert_int_equal(s.priority, -3);
    assert_true(s.share > 0.99);
    assert_true(s.held);
    assert_int_equal(s.delay_for, 1500000);
    assert_int_equal(s.run_at, 1769851800 * ER_USEC_PER_SEC);
    assert_int_equal(s.on_lost, ER_ON_LOST_HOLD);
    assert_true(json_is_object(s.meta));
    assert_int_equal(json_array_size(s.tags), 1);
    assert_true(json_is_null(s.any));
    assert_int_equal(given, (1u << form.n) - 1);
    json_decref(o);

    o = json_loads("{\"name\":\"n\",\"priority\":null}", 0, NULL);
    s = (struct sample){.priority = 7};
    assert_int_equal(er_json_read(o, &form, &s, &given, &fault), 0);
    assert_int_equal(s.priority, 7);
    assert_int_equal(given, 1);
    json_decref(o);
}

static void
read__names_the_member_and_what_would_be_right(void **state)
{
    static const struct {
        const char *text, *field, *words;
    } cases[] = {
        {"[]", "", "an object is needed, not an array"},
        {"{}", "name", "name is missing (a string)"},
        {"{\"name\":null}", "name", "name is missing (a string)"},
        {"{\"name\":1}", "name", "name must be a string, not an integer"},
        {"{\"name\":\"\"}", "name", "name has 0 bytes (1 to 5 are allowed)"},
        {"{\"name\":\"abcdef\"}", "name", "name has 6 bytes (1 to 5 are allowed)"},
        {"{\"name\":\"n\",\"priority\":1001}", "priority",
         "priority is 1001 (-1000 to 1000 is allowed)"},
        {"{\"name\":\"n\",\"priority\":1.0}", "priority",
         "priority must be an integer, not a number"},
        {"{\"name\":\"n\",\"share\":1.5}", "share", "share is 1.5 (0 to 1 is allowed)"},
        {"{\"name\":\"n\",\"share\":\"1\"}", "share",
         "share must be a number, not a string"},
        {"{\"name\":\"n\",\"held\":1}", "held",
         "held must be true or false, not an integer"},
        {"{\"name\":\"n\",\"delay_s\":-1}", "delay_s",
         "delay_s is -1 (0 to 86400 is allowed)"},
        {"{\"name\":\"n\",\"delay_s\":\"5 parsecs\"}", "delay_s",
         "delay_s must be a number of seconds, not a string"},
        {"{\"name\":\"n\",\"run_at\":\"tomorrow\"}", "run_at",
         "invalid run_at 'tomorrow' (a time such as \"2026-01-31T09:30:00Z\" is needed)"},
        {"{\"name\":\"n\",\"on_lost\":\"panic\"}", "on_lost",
         "invalid on_lost 'panic' (run, fail or hold)"},
        {"{\"name\":\"n\",\"meta\":[]}", "meta", "meta must be an object, not an array"},
        {"{\"name\":\"n\",\"tags\":[1,2,3]}", "tags",
         "tags has 3 elements (0 to 2 are allowed)"},
        {"{\"name\":\"n\",\"priorty\":1}", "priorty",
         "unknown member 'priorty' (did you mean priority?)"},
        {"{\"name\":\"n\",\"colour\":1}", "colour", "unknown member 'colour'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *o = json_loads(cases[i].text, 0, NULL);
        struct sample s = {0};
        struct er_json_fault fault;
        uint64_t given = 99;
        assert_int_equal(er_json_read(o, &form, &s, &given, &fault), ER_EINVALID);
        assert_string_equal(fault.err.text, cases[i].words);
        assert_string_equal(fault.field, cases[i].field);
        assert_int_equal(given, 99);
        json_decref(o);
    }
}

static void
read__passes_over_what_it_does_not_know_when_lenient(void **state)
{
    (void)state;
    struct er_json_form lenient = form;
    struct er_json_fault fault;
    struct sample s = {0};
    lenient.lenient = true;
    json_t *o = json_loads("{\"colour\":1,\"name\":\"n\"}", 0, NULL);
    assert_int_equal(er_json_read(o, &lenient, &s, NULL, &fault), 0);
    assert_string_equal(s.name, "n");
    json_decref(o);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse__tells_what_is_wrong_and_where),
        cmocka_unit_test(parse__survives_a_moment_without_memory),
        cmocka_unit_test(parse__bounds_depth_and_length),
        cmocka_unit_test(read__fills_what_is_given_and_leaves_the_rest),
        cmocka_unit_test(read__names_the_member_and_what_would_be_right),
        cmocka_unit_test(read__passes_over_what_it_does_not_know_when_lenient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
