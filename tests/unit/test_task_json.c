/* SPDX-License-Identifier: MIT */
#include "wire/task_json.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/problem.h"

static struct er_task
sample_task(void)
{
    return (struct er_task){
        .id = 42,
        .run = 1,
        .state = ER_TASK_RUNNING,
        .type = "shell",
        .queue = "default",
        .name = "Run \"tests\"",
        .args_json = "{\"argv\":[\"make\"]}",
        .correlation = "c1",
        .retries = 2,
        .cost = 3,
        .on_lost = ER_ON_LOST_HOLD,
        .heartbeat_for = 1500000,
        .grace_for = 5000000,
        .attempt = 3,
        .created_at = 1769851800123000,
        .run_at = ER_NEVER,
        .started_at = 1769851801000000,
        .finished_at = ER_NEVER,
        .resumes_at = ER_NEVER,
        .expires_at = ER_NEVER,
    };
}

static json_t *
encode(const struct er_task *t, const struct er_task_json_more *more)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_task_json(&b, t, more);
    json_t *o = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    assert_null(strchr(b.data, '\n'));
    er_buf_fini(&b);
    return o;
}

static void
check_member(const json_t *o, const char *name, const char *expected)
{
    const json_t *v = json_object_get(o, name);
    if (!v) {
        fail_msg("no member %s", name);
    }
    char *got = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    assert_string_equal(got, expected);
    free(got);
}

static void
task__shows_what_is_known_and_null_for_the_rest(void **state)
{
    (void)state;
    struct er_task t = sample_task();
    json_t *o = encode(&t, NULL);
    static const char *const members[][2] = {
        {"id", "42"},
        {"run", "1"},
        {"type", "\"shell\""},
        {"name", "\"Run \\\"tests\\\"\""},
        {"queue", "\"default\""},
        {"state", "\"running\""},
        {"held", "false"},
        {"cancel_requested", "false"},
        {"pause_requested", "false"},
        {"priority", "0"},
        {"cost", "3"},
        {"backoff_s", "0"},
        {"on_lost", "\"hold\""},
        {"timeout_s", "null"},
        {"heartbeat_s", "1.5"},
        {"grace_s", "5"},
        {"expires_at", "null"},
        {"items_completed", "0"},
        {"items_failed", "0"},
        {"args", "{\"argv\":[\"make\"]}"},
        {"cwd", "null"},
        {"attempt", "3"},
        {"attempts", "3"},
        {"failures", "0"},
        {"losses", "0"},
        {"retries", "2"},
        {"correlation_id", "\"c1\""},
        {"parent", "null"},
        {"key", "null"},
        {"limit_key", "null"},
        {"tags", "[]"},
        {"meta", "{}"},
        {"after", "null"},
        {"waiting_for", "null"},
        {"created_at", "\"2026-01-31T09:30:00.123Z\""},
        {"run_at", "null"},
        {"started_at", "\"2026-01-31T09:30:01.000Z\""},
        {"finished_at", "null"},
        {"resumes_at", "null"},
        {"progress", "null"},
        {"result", "null"},
        {"result_bytes", "null"},
        {"exit_code", "null"},
        {"signal", "null"},
        {"error", "null"},
        {"warnings", "[]"},
        {"worker", "null"},
        {"pid", "null"},
        {"cpu_s", "null"},
        {"peak_rss_bytes", "null"},
    };
    size_t n = sizeof members / sizeof members[0];
    for (size_t i = 0; i < n; i++) {
        check_member(o, members[i][0], members[i][1]);
    }
    assert_int_equal(json_object_size(o), n);
    json_decref(o);
}

static void
task__shows_what_was_asked_of_it(void **state)
{
    (void)state;
    struct er_task t = sample_task();
    struct er_task_json_more more = {.pause_requested = true, .with_checkpoint = true};
    t.expires_at = t.created_at;
    t.backoff_for = 250000;
    t.checkpoint_json = "{\"at\":3}";
    json_t *o = encode(&t, &more);
    check_member(o, "pause_requested", "true");
    check_member(o, "checkpoint", "{\"at\":3}");
    check_member(o, "backoff_s", "0.25");
    check_member(o, "expires_at", "\"2026-01-31T09:30:00.123Z\"");
    json_decref(o);
    t.checkpoint_json = NULL;
    o = encode(&t, &more);
    check_member(o, "checkpoint", "null");
    json_decref(o);
}

static void
progress__counts_the_items_of_earlier_attempts(void **state)
{
    (void)state;
    struct er_task t = sample_task();
    t.items_completed = 250;
    t.items_failed = 1;
    t.progress_json = "{\"percent\":33.3,\"items_completed\":3,\"items_failed\":2}";
    json_t *o = encode(&t, NULL);
    check_member(o, "items_completed", "250");
    const json_t *p = json_object_get(o, "progress");
    check_member(p, "items_completed", "250");
    check_member(p, "items_failed", "2"); /* told, and not stored yet */
    assert_true(json_real_value(json_object_get(p, "percent")) < 33.31);
    json_decref(o);
}

static void
task__shows_how_it_ended(void **state)
{
    (void)state;
    struct er_task t = sample_task();
    t.state = ER_TASK_FAILED;
    t.has_exit_code = true;
    t.exit_code = 0;
    t.signal = 9;
    t.parent = 41;
    t.error_json = "{\"code\":\"timeout\"}";
    t.warnings_json = "[\"w\"]";
    t.tags_json = "[\"a\"]";
    t.meta_json = "{\"k\":\"v\"}";
    t.progress_json = "{\"percent\":50.0}";
    t.cpu_for = 800000;
    t.peak_rss = 1048576;
    t.result = "{ \"a\" : 1 }\n";
    t.result_len = strlen(t.result);
    json_t *o = encode(&t, NULL);
    check_member(o, "exit_code", "0");
    check_member(o, "signal", "9");
    check_member(o, "parent", "41");
    check_member(o, "error", "{\"code\":\"timeout\"}");
    check_member(o, "warnings", "[\"w\"]");
    check_member(o, "tags", "[\"a\"]");
    check_member(o, "meta", "{\"k\":\"v\"}");
    check_member(o, "progress", "{\"percent\":50.0}");
    check_member(o, "peak_rss_bytes", "1048576");
    check_member(o, "result", "{\"a\":1}");
    check_member(o, "result_bytes", "12");
    assert_true(json_real_value(json_object_get(o, "cpu_s")) > 0.7999);
    assert_true(json_real_value(json_object_get(o, "cpu_s")) < 0.8001);
    json_decref(o);
}

static void
task__takes_in_what_its_row_does_not_say(void **state)
{
    (void)state;
    struct er_task t = sample_task();
    const struct er_task_json_after after[] = {
        {41, ER_AFTER_OK, ER_TASK_COMPLETED},
        {40, ER_AFTER_FAIL, -1},
    };
    struct er_task_json_more more = {
        .progress_json = "{\"percent\":60.0}",
        .pid = 1234,
        .waiting_for = "task 41",
        .has_after = true,
        .after = after,
        .n_after = 2,
        .after_more = true,
    };
    t.progress_json = "{\"percent\":50.0}";
    json_t *o = encode(&t, &more);
    check_member(o, "progress", "{\"percent\":60.0}");
    check_member(o, "pid", "1234");
    check_member(o, "waiting_for", "\"task 41\"");
    check_member(o, "after",
                 "[{\"id\":41,\"when\":\"ok\",\"state\":\"completed\"},"
                 "{\"id\":40,\"when\":\"fail\",\"state\":null}]");
    check_member(o, "after_more", "true");
    json_decref(o);
    more = (struct er_task_json_more){.has_after = true};
    o = encode(&t, &more);
    check_member(o, "after", "[]");
    assert_null(json_object_get(o, "after_more"));
    json_decref(o);
}

static void
task__shows_a_held_one_as_paused(void **state)
{
    (void)state;
    struct er_task t = sample_task();
    t.state = ER_TASK_QUEUED;
    t.held = true;
    json_t *o = encode(&t, NULL);
    check_member(o, "state", "\"paused\"");
    check_member(o, "held", "true");
    json_decref(o);
}

static void
check_result(const void *p, size_t n, const char *expected)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_result_json(&b, p, n);
    assert_string_equal(b.data, expected);
    er_buf_fini(&b);
}

static void
result__is_json_or_text_or_bytes(void **state)
{
    (void)state;
    check_result(NULL, 0, "null");
    check_result("", 0, "\"\"");
    check_result("42", 2, "42");
    check_result("42 apples", 9, "\"42 apples\"");
    check_result("line\n", 5, "\"line\\n\"");
    check_result("[1,\n 2]\n", 8, "[1,2]");
    check_result("{\"a\":1,\"a\":2}", 13, "\"{\\\"a\\\":1,\\\"a\\\":2}\"");
    check_result("gr\xc3\xbc\xc3\x9f", 6, "\"gr\xc3\xbc\xc3\x9f\"");
    check_result("\xff\xfe", 2, "{\"base64\":\"//4=\"}");
    check_result("a\0b", 3, "{\"base64\":\"YQBi\"}");
}

static void
attempt__shows_its_outcome(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_attempt_json(&b, &(struct er_attempt_json){.number = 2,
                                                  .run = 1,
                                                  .worker = "w1",
                                                  .started_at = 1769851800123000,
                                                  .finished_at = ER_NEVER,
                                                  .outcome = ER_OUTCOME_LOST,
                                                  .signal = 9,
                                                  .cpu_for = 2000001,
                                                  .output_bytes = 0});
    assert_string_equal(
        b.data, "{\"attempt\":2,\"run\":1,\"worker\":\"w1\","
                "\"started_at\":\"2026-01-31T09:30:00.123Z\",\"finished_at\":null,"
                "\"outcome\":\"lost\",\"exit_code\":null,\"signal\":9,\"error\":null,"
                "\"cpu_s\":2.000001,\"peak_rss_bytes\":null,\"output_bytes\":0}");
    er_buf_fini(&b);
}

static void
fact__shows_numbers_and_what_it_is_about(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    struct er_fact f = {
        .seq = 1042,
        .event = ER_EVENT_TASK_FAILED,
        .at = 1769851800123000,
        .task = 42,
        .run = 1,
        .attempt = 3,
        .type = "shell",
        .queue = "default",
        .correlation = "c1",
        .data_json = "{\"failures\":3}",
    };
    er_fact_json(&b, &f);
    assert_string_equal(b.data,
                        "{\"seq\":1042,\"event\":\"task-failed\","
                        "\"time\":\"2026-01-31T09:30:00.123Z\",\"task\":42,\"run\":1,"
                        "\"type\":\"shell\",\"queue\":\"default\","
                        "\"correlation_id\":\"c1\",\"attempt\":3,"
                        "\"data\":{\"failures\":3}}");
    er_buf_clear(&b);
    f = (struct er_fact){.event = ER_EVENT_WORKER_STARTED, .at = 0, .data_json = "{}"};
    er_fact_json(&b, &f);
    assert_string_equal(b.data, "{\"seq\":null,\"event\":\"worker-started\","
                                "\"time\":\"1970-01-01T00:00:00.000Z\",\"task\":null,"
                                "\"run\":null,\"type\":null,\"queue\":null,"
                                "\"correlation_id\":null,\"attempt\":null,\"data\":{}}");
    er_buf_fini(&b);
}

static void
problem__names_code_field_and_what_would_be_right(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    assert_int_equal(er_problem_json(&b, ER_ENOTFOUND, "there is no task 99", NULL, NULL),
                     404);
    assert_string_equal(b.data, "{\"type\":\"about:blank\",\"title\":\"no such thing\","
                                "\"status\":404,\"code\":\"not-found\","
                                "\"detail\":\"there is no task 99\",\"field\":null}");
    er_buf_clear(&b);
    assert_int_equal(
        er_problem_json_status(&b, 405, ER_EINVALID, NULL, "a\"b", "\"line\":3"), 405);
    assert_string_equal(b.data,
                        "{\"type\":\"about:blank\",\"title\":\"invalid argument\","
                        "\"status\":405,\"code\":\"invalid\","
                        "\"detail\":\"invalid argument\",\"field\":\"a\\\"b\","
                        "\"line\":3}");
    er_buf_fini(&b);
}

static void
secrets__are_not_shown(void **state)
{
    (void)state;
    static const struct er_param params[] = {{.name = "url", .kind = ER_PARAM_URL},
                                             {.name = "token", .secret = true},
                                             {.name = "keys", .secret = true},
                                             {.name = "absent", .secret = true}};
    struct er_task t = sample_task();
    t.args_json = "{\"url\":\"http://u:p@h/\",\"token\":\"abc\",\"keys\":[1],\"f\":0.5}";
    json_t *o = encode(&t, &(struct er_task_json_more){.params = params, .n_params = 4});
    check_member(o, "args",
                 "{\"url\":\"http://u:***@h/\",\"token\":\"***\",\"keys\":\"***\","
                 "\"f\":0.5}");
    json_decref(o);
    o = encode(&t, &(struct er_task_json_more){.hide_args = true});
    check_member(o, "args",
                 "{\"url\":\"***\",\"token\":\"***\",\"keys\":\"***\",\"f\":\"***\"}");
    json_decref(o);
    t.args_json = "not JSON";
    o = encode(&t, &(struct er_task_json_more){.hide_args = true});
    check_member(o, "args", "{}");
    json_decref(o);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(task__shows_what_is_known_and_null_for_the_rest),
        cmocka_unit_test(task__shows_what_was_asked_of_it),
        cmocka_unit_test(progress__counts_the_items_of_earlier_attempts),
        cmocka_unit_test(task__shows_how_it_ended),
        cmocka_unit_test(task__takes_in_what_its_row_does_not_say),
        cmocka_unit_test(task__shows_a_held_one_as_paused),
        cmocka_unit_test(result__is_json_or_text_or_bytes),
        cmocka_unit_test(attempt__shows_its_outcome),
        cmocka_unit_test(fact__shows_numbers_and_what_it_is_about),
        cmocka_unit_test(problem__names_code_field_and_what_would_be_right),
        cmocka_unit_test(secrets__are_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
