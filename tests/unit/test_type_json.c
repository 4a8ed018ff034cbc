/* SPDX-License-Identifier: MIT */
/* Types' definitions and rates as JSON: what is read, what is refused and how it is said,
 * and that what is written reads the same again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "wire/json.h"
#include "wire/type_json.h"

static struct er_arena arena;
static struct er_err err;

static int
teardown(void **state)
{
    (void)state;
    er_arena_free(&arena);
    return 0;
}

static int
parse(const char *json, struct er_type *t)
{
    err.text[0] = '\0';
    return er_type_json_parse("fetch", json, &arena, t, &err);
}

static void
check_text(const struct er_type *t, const char *expected)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_type_json_add(t, &b);
    assert_string_equal(b.data, expected);
    er_buf_fini(&b);
}

static void
plain__is_an_empty_object(void **state)
{
    (void)state;
    struct er_type t;
    assert_int_equal(parse("{}", &t), 0);
    assert_string_equal(t.name, "fetch");
    assert_int_equal(t.retries, -1);
    assert_int_equal(t.success_percent, ER_SUCCESS_PERCENT);
    assert_int_equal(er_type_exit(&t, 75), ER_EXIT_RETRYABLE);
    assert_int_equal(er_type_exit(&t, 0), ER_EXIT_COMPLETED);
    check_text(&t, "{}");
    assert_int_equal(
        parse("{\"help\": null, \"retries\": null, \"exit_codes\": null}", &t), 0);
    check_text(&t, "{}");
}

static void
full__reads_the_same_again(void **state)
{
    (void)state;
    static const char text[] =
        "{\"help\":\"fetches \\\"a\\\" page\",\"concurrency\":4,\"retries\":0,"
        "\"backoff_s\":0.25,\"timeout_s\":60,\"heartbeat_s\":1.5,\"success_percent\":100,"
        "\"rate_limit_s\":5,\"exit_codes\":{\"0\":\"fatal\",\"3\":\"rate-limit\","
        "\"24\":\"completed\",\"75\":\"user-actionable\",\"255\":\"retryable\"}}";
    struct er_type t;
    assert_int_equal(parse(text, &t), 0);
    assert_int_equal(t.concurrency, 4);
    assert_int_equal(t.retries, 0);
    assert_int_equal(t.backoff_for, 250 * ER_USEC_PER_MS);
    assert_int_equal(t.heartbeat_for, 1500 * ER_USEC_PER_MS);
    assert_int_equal(er_type_exit(&t, 24), ER_EXIT_COMPLETED);
    assert_int_equal(er_type_exit(&t, 0), ER_EXIT_FATAL);
    assert_int_equal(er_type_exit(&t, 3), ER_EXIT_RATE_LIMIT);
    assert_int_equal(er_type_exit(&t, 1), ER_EXIT_RETRYABLE);
    check_text(&t, text);
}

static void
mistakes__name_the_member(void **state)
{
    (void)state;
    static const struct {
        const char *json, *part;
    } all[] = {
        {"[]", "an object is needed"},
        {"{\"retrys\": 1}", "did you mean retries"},
        {"{\"retries\": -1}", "retries is -1 (0 to 1000"},
        {"{\"retries\": \"2\"}", "retries must be an integer"},
        {"{\"concurrency\": -5}", "concurrency is -5"},
        {"{\"success_percent\": 101}", "success_percent is 101 (0 to 100"},
        {"{\"timeout_s\": -0.5}", "timeout_s is -0.5"},
        {"{\"timeout_s\": 1e300}", "timeout_s is 1e300"},
        {"{\"exit_codes\": [1]}", "exit_codes must be an object"},
        {"{\"exit_codes\": {\"256\": \"fatal\"}}", "'256' is not an exit code"},
        {"{\"exit_codes\": {\"-1\": \"fatal\"}}", "'-1' is not an exit code"},
        {"{\"exit_codes\": {\"07\": \"fatal\"}}", "'07' is not an exit code"},
        {"{\"exit_codes\": {\"\": \"fatal\"}}", "'' is not an exit code"},
        {"{\"exit_codes\": {\"3\": \"bad\"}}", "exit_codes: 3 means one of completed"},
        {"{\"exit_codes\": {\"3\": 3}}", "exit_codes: 3 means one of completed"},
        {"{\"help\": 1", "invalid JSON"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct er_type t;
        assert_int_equal(parse(all[i].json, &t), ER_EINVALID);
        if (!strstr(err.text, all[i].part)) {
            fail_msg("%s: '%s' lacks '%s'", all[i].json, err.text, all[i].part);
        }
    }
}

static void
typed__reads_the_same_again(void **state)
{
    (void)state;
    static const char text[] =
        "{\"help\":\"x\",\"retries\":0,\"timeout_s\":0,\"on_lost\":\"fail\","
        "\"idempotent\":true,\"expected_s\":1.5,\"parameters\":["
        "{\"name\":\"url\",\"kind\":\"url\",\"required\":true},"
        "{\"name\":\"body\",\"kind\":\"string\"}],"
        "\"command\":[\"curl\",\"{url}\"],\"stdin\":\"{body}\"}";
    struct er_type t;
    assert_int_equal(parse(text, &t), 0);
    assert_true(t.has_params && t.n_params == 2 && t.has_on_lost && t.idempotent);
    assert_int_equal(t.on_lost, ER_ON_LOST_FAIL);
    assert_int_equal(t.expected_for, 1500 * ER_USEC_PER_MS);
    assert_int_equal(t.n_command, 2);
    assert_string_equal(t.command_stdin, "{body}");
    check_text(&t, text);
    static const char *const same[] = {
        "{\"program\":[\"worker\",\"-v\"]}",
        "{\"handler\":true}",
        "{\"parameters\":[]}",
        "{\"on_lost\":\"run\",\"handler\":true,\"origin\":\"file\"}",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_int_equal(parse(same[i], &t), 0);
        check_text(&t, same[i]);
    }
    assert_true(t.from_file);
}

static void
typed__has_defaults_when_it_says_how_it_is_executed(void **state)
{
    (void)state;
    static const char *const ways[] = {"\"command\":[\"true\"]", "\"program\":[\"x\"]",
                                       "\"handler\":true"};
    struct er_type t;
    char text[100];
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof text, "{%s}", ways[i]);
        assert_int_equal(parse(text, &t), 0);
        assert_int_equal(t.retries, 2);
        assert_int_equal(t.timeout_for, 1800 * ER_USEC_PER_SEC);
        check_text(&t, text);
        (void)snprintf(text, sizeof text, "{\"retries\":0,\"timeout_s\":0,%s}", ways[i]);
        assert_int_equal(parse(text, &t), 0);
        assert_int_equal(t.retries, 0);
        assert_int_equal(t.timeout_for, 0);
        check_text(&t, text);
        (void)snprintf(text, sizeof text, "{\"retries\":2,\"timeout_s\":1800.0,%s}",
                       ways[i]);
        assert_int_equal(parse(text, &t), 0);
        (void)snprintf(text, sizeof text, "{%s}", ways[i]);
        check_text(&t, text);
    }
    assert_int_equal(parse("{\"handler\":false,\"command\":null}", &t), 0);
    assert_int_equal(t.retries, -1);
    assert_int_equal(t.timeout_for, 0);
}

static void
typed__mistakes_begin_with_the_member(void **state)
{
    (void)state;
    static const struct {
        const char *json, *start;
    } all[] = {
        {"{\"command\":[]}", "command has 0 elements"},
        {"{\"command\":\"ls\"}", "command must be an array"},
        {"{\"command\":[1]}", "command: word 1 must be a string"},
        {"{\"command\":[\"\"]}", "command: the name of the program is empty"},
        {"{\"command\":[\"a\",\"{b}\"]}", "command: word 2: {b} in '{b}' is no par"},
        {"{\"command\":[\"a{\"]}", "command: word 1: a brace in"},
        {"{\"command\":[\"{b}\"],\"parameters\":[{\"name\":\"b\",\"kind\":"
         "\"string\"}]}",
         "command: word 1: {b} in '{b}' may be absent"},
        {"{\"command\":[\"a\"],\"stdin\":\"{b}\"}", "stdin: {b} in '{b}' is no par"},
        {"{\"stdin\":\"x\"}", "stdin goes with command"},
        {"{\"program\":[\"x\"],\"stdin\":\"x\"}", "stdin goes with command"},
        {"{\"command\":[\"a\"],\"program\":[\"b\"]}", "program: a type is executed"},
        {"{\"command\":[\"a\"],\"handler\":true}", "handler: a type is executed"},
        {"{\"program\":[\"a\"],\"handler\":true}", "handler: a type is executed"},
        {"{\"handler\":1}", "handler must be true or false"},
        {"{\"on_lost\":\"retry\"}",
         "on_lost: invalid on_lost 'retry' (run, fail or hold)"},
        {"{\"idempotent\":\"yes\"}", "idempotent must be true or false"},
        {"{\"expected_s\":-1}", "expected_s is -1"},
        {"{\"parameters\":{}}", "parameters must be an array"},
        {"{\"parameters\":[{\"name\":\"a\",\"kind\":\"integer\",\"min\":2,\"max\":"
         "1}]}",
         "params.a.min: min is 2, which is above max"},
        {"{\"parameters\":[1]}", "params[0]: "},
        {"{\"origin\":\"heaven\"}", "origin: invalid origin"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct er_type t;
        assert_int_equal(parse(all[i].json, &t), ER_EINVALID);
        if (strncmp(err.text, all[i].start, strlen(all[i].start)) != 0) {
            fail_msg("%s: '%s', not '%s'", all[i].json, err.text, all[i].start);
        }
    }
}

static int
read_rates(const char *json, struct er_rate *rates, size_t *n)
{
    json_t *v = NULL;
    err.text[0] = '\0';
    assert_int_equal(er_json_parse(json, strlen(json), &v, &err), 0);
    int rc = er_rates_json_read(v, rates, n, &err);
    json_decref(v);
    return rc;
}

static void
rates__are_texts_or_objects(void **state)
{
    (void)state;
    static const char written[] =
        "[{\"n\":60,\"per_s\":60,\"burst\":1,\"counts\":\"cost\"},"
        "{\"n\":90000,\"per_s\":60,\"burst\":100,\"counts\":\"starts\"},"
        "{\"n\":5,\"per_s\":0.001,\"burst\":5,\"counts\":\"cost\"}]";
    struct er_rate rates[ER_MAX_RATES], again[ER_MAX_RATES];
    size_t n = 9, m = 9;
    assert_int_equal(
        read_rates("[\"60/1m\", {\"n\": 90000, \"per_s\": 60, \"burst\": 100, "
                   "\"counts\": \"starts\"}, \"5/1ms:burst=5\"]",
                   rates, &n),
        0);
    assert_int_equal(n, 3);
    assert_int_equal(rates[0].per_for, 60 * ER_USEC_PER_SEC);
    assert_int_equal(rates[0].burst, 1);
    assert_true(rates[1].starts);
    struct er_buf b;
    er_buf_init(&b, 0);
    er_rates_json_add(rates, n, &b);
    assert_string_equal(b.data, written);
    assert_int_equal(read_rates(b.data, again, &m), 0);
    assert_int_equal(m, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(again[i].n, rates[i].n);
        assert_int_equal(again[i].per_for, rates[i].per_for);
        assert_int_equal(again[i].burst, rates[i].burst);
        assert_int_equal(again[i].starts, rates[i].starts);
    }
    er_buf_fini(&b);
    assert_int_equal(read_rates("[]", rates, &n), 0);
    assert_int_equal(n, 0);
}

static void
rates__mistakes_name_the_one(void **state)
{
    (void)state;
    static const struct {
        const char *json, *part;
    } all[] = {
        {"{}", "rates is not an array"},
        {"[\"1/1s\",\"1/1s\",\"1/1s\",\"1/1s\",\"1/1s\"]", "at most 4"},
        {"[\"1/1s\", \"fast\"]", "rates[1]: invalid rate 'fast'"},
        {"[5]", "rates[0]: a rate is a text"},
        {"[{\"n\": 1}]", "rates[0]: per_s is missing"},
        {"[{\"n\": 0, \"per_s\": 1}]", "rates[0]: n is 0"},
        {"[{\"n\": 1, \"per_s\": 0}]", "rates[0]: per_s is from 0.001"},
        {"[{\"n\": 1, \"per_s\": 1, \"burst\": 2}]", "rates[0]: burst is from 1 to n"},
        {"[{\"n\": 1, \"per_s\": 1, \"counts\": \"x\"}]", "counts is cost or starts"},
        {"[{\"n\": 1, \"per_s\": 1, \"count\": 1}]", "did you mean counts"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct er_rate rates[ER_MAX_RATES];
        size_t n;
        assert_int_equal(read_rates(all[i].json, rates, &n), ER_EINVALID);
        if (!strstr(err.text, all[i].part)) {
            fail_msg("%s: '%s' lacks '%s'", all[i].json, err.text, all[i].part);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain__is_an_empty_object),
        cmocka_unit_test(full__reads_the_same_again),
        cmocka_unit_test(mistakes__name_the_member),
        cmocka_unit_test(typed__reads_the_same_again),
        cmocka_unit_test(typed__has_defaults_when_it_says_how_it_is_executed),
        cmocka_unit_test(typed__mistakes_begin_with_the_member),
        cmocka_unit_test(rates__are_texts_or_objects),
        cmocka_unit_test(rates__mistakes_name_the_one),
    };
    return cmocka_run_group_tests_name("type_json", tests, NULL, teardown);
}
