/* SPDX-License-Identifier: MIT */
/* The way of a task through the engine, without bad luck: claims, reports and what
 * follows from them, in facts and in the task's row. */
#include "engine_fixture.h"

#include <string.h>

#include "base/mem.h"

static void
task_runs__from_submit_to_its_final_fact(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    json_t *line = w_take(w, "run");
    assert_int_equal(json_integer_value(json_object_get(line, "task")), id);
    assert_int_equal(json_integer_value(json_object_get(line, "attempt")), 1);
    assert_string_equal(json_string_value(json_object_get(line, "type")), "shell");
    assert_true(json_is_object(json_object_get(line, "args")));

    struct er_held h = {.task = id, .attempt = 1};
    assert_int_equal(w_start(w, h), 0);
    struct er_live live;
    assert_true(er_engine_live(f->e, id, &live));
    assert_int_equal(live.pid, 4242);
    assert_false(live.ending);
    f->wall += 2 * SEC;
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(w->n_lost, 0);

    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_COMPLETED);
    assert_int_equal(t.exit_code, 0);
    assert_true(t.has_exit_code);
    assert_false(er_engine_live(f->e, id, &live));
    assert_string_equal(f_facts(f, id), "task-queued, task-started/1, task-completed/1");
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    assert_int_equal(st.running, 0);
    assert_int_equal(st.finished, 1);
}

static void
environment__is_sent_once_before_the_first_run_that_names_it(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    row.env_json = "{\"PATH\":\"/bin\"}";
    (void)f_add_many(f, row, 2);
    f_until(f, w_count(w, "run") == 2);
    assert_int_equal(w_count(w, "env"), 1);
    const json_t *env = w_peek(w, "env"), *run = w_peek(w, "run");
    assert_int_equal(json_integer_value(json_object_get(env, "id")),
                     json_integer_value(json_object_get(run, "env")));
    const json_t *vars = json_object_get(env, "vars");
    assert_string_equal(json_string_value(json_object_get(vars, "PATH")), "/bin");
}

static void
failure__comes_back_after_its_backoff_until_the_budget_is_spent(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 1;
    er_task_id id = f_add(f, row);
    assert_int_equal(w_end(w, w_run(w), 3), 0);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_SCHEDULED);
    assert_int_equal(t.failures, 1);
    assert_in_range(t.run_at, f->wall + SEC * 3 / 4, f->wall + SEC * 5 / 4);
    const json_t *data = f_data(f, id, ER_EVENT_TASK_RETRYING);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(data, "error"), "code")),
        "exit");
    assert_true(json_is_true(json_object_get(data, "retryable")));

    f_pass(f, SEC / 2); /* not yet */
    assert_int_equal(w_count(w, "run"), 0);
    f_pass(f, SEC);
    struct er_held h = w_run(w);
    assert_int_equal(h.attempt, 2);
    assert_int_equal(w_end(w, h, 4), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_FAILED);
    assert_string_equal(f_facts(f, id),
                        "task-queued, task-started/1, task-retrying/1, task-queued/1, "
                        "task-started/2, task-failed/2");
    data = f_data(f, id, ER_EVENT_TASK_FAILED);
    assert_int_equal(json_integer_value(json_object_get(data, "failures")), 2);
}

static void
fatal_error__is_not_tried_again(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 5;
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    char *line = w_finished(f, h, 1,
                            ",\"error\":{\"class\":\"fatal\",\"code\":\"no\","
                            "\"message\":\"no\"}");
    assert_int_equal(w_report(w, "%s", line), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_FAILED);
    const json_t *data = f_data(f, id, ER_EVENT_TASK_FAILED);
    assert_true(json_is_false(json_object_get(data, "retryable")));
}

static void
rate_limit__waits_and_spends_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 1, ",\"retry_after_s\":30")), 0);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_PAUSED);
    assert_int_equal(t.failures, 0);
    assert_int_equal(t.resumes_at, f->wall + 30 * SEC);
    assert_non_null(strstr(t.error_json, "rate limit exceeded (retry after 30s)"));
    assert_non_null(strstr(t.error_json, "\"retry_after_s\":30.000"));
    const json_t *data = f_data(f, id, ER_EVENT_TASK_PAUSED);
    assert_string_equal(json_string_value(json_object_get(data, "reason")), "rate-limit");
    f_pass(f, 31 * SEC);
    h = w_run(w);
    assert_int_equal(h.attempt, 2);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
}

static void
never_spawned__is_refunded_and_runs_again_as_the_same_attempt(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    char *line = w_finished(f, h, 0, ",\"spawned\":false,\"why\":\"requeue\"");
    assert_int_equal(w_report(w, "%s", line), 0);
    struct er_held again = w_run(w);
    assert_int_equal(again.task, id);
    assert_int_equal(again.attempt, 1);
    assert_int_equal(w_end(w, again, 0), 0);
    assert_int_equal(f_get(f, id).attempt, 1);
}

static void
progress__is_seen_at_once_and_stands_in_the_end(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(w_start(w, h), 0);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(w_report(w,
                                  "{\"progress\":{\"task\":%lld,\"attempt\":1,"
                                  "\"progress\":{\"percent\":%d},\"checkpoint\":null}}",
                                  (long long)id, i * 10),
                         0);
    }
    struct er_live live;
    assert_true(er_engine_live(f->e, id, &live));
    assert_string_equal(live.progress_json, "{\"percent\":30}");
    f_settle(f);
    /* in the row at most once a second: the first of the three */
    assert_string_equal(f_get(f, id).progress_json, "{\"percent\":10}");
    assert_int_equal(w_end(w, h, 0), 0);
    const json_t *data = f_data(f, id, ER_EVENT_TASK_COMPLETED);
    const json_t *progress = json_object_get(data, "progress");
    assert_int_equal(json_integer_value(json_object_get(progress, "percent")), 30);
    assert_string_equal(f_get(f, id).progress_json, "{\"percent\":30}");
}

static void
checkpoint__is_kept_at_once_and_given_to_the_next_attempt(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 1;
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(w_report(w,
                                  "{\"progress\":{\"task\":%lld,\"attempt\":1,"
                                  "\"progress\":null,\"checkpoint\":{\"n\":%d}}}",
                                  (long long)id, i),
                         0);
    }
    f_settle(f);
    assert_string_equal(f_get(f, id).checkpoint_json, "{\"n\":2}");
    assert_int_equal(w_end(w, h, 1), 0);
    f_pass(f, 2 * SEC);
    const json_t *line = w_take(w, "run");
    const json_t *checkpoint = json_object_get(line, "checkpoint");
    assert_int_equal(json_integer_value(json_object_get(checkpoint, "n")), 2);
}

static void
result__stands_in_the_task_and_when_small_in_the_event(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    char *line = w_finished(f, h, 0, ",\"result\":\"eyJhIjoxfQ==\",\"warnings\":[\"w\"]");
    assert_int_equal(w_report(w, "%s", line), 0);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.result_len, 7);
    assert_memory_equal(t.result, "{\"a\":1}", 7);
    const json_t *data = f_data(f, id, ER_EVENT_TASK_COMPLETED);
    const json_t *result = json_object_get(data, "result");
    assert_int_equal(json_integer_value(json_object_get(result, "a")), 1);
    assert_int_equal(json_array_size(json_object_get(data, "warnings")), 1);
}

static void
concurrency_of_a_queue__is_never_passed(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 2, false);
    struct worker *w = w_new(f, 8);
    struct er_new_task row = f_new();
    row.queue = "narrow";
    (void)f_add_many(f, row, 20);
    for (int i = 0; i < 10; i++) {
        f_settle(f);
        assert_int_equal(w_count(w, "run"), 2);
        struct er_held a = w_run(w), b = w_run(w);
        assert_int_equal(
            w_report(w, "%s%s", w_finished(f, a, 0, ""), w_finished(f, b, 0, "")), 0);
    }
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
}

static void
raised_limit__takes_effect_at_once(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 1, false);
    struct worker *w = w_new(f, 8);
    struct er_new_task row = f_new();
    row.queue = "narrow";
    (void)f_add_many(f, row, 4);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 1);
    f_queue(f, "narrow", 3, false);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 3);
    f_queue(f, "narrow", 0, true);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 3);
    f_queue(f, "narrow", 0, false);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 4);
}

/* Work ahead of free slots is for short attempts only. */
static void
lookahead__only_while_attempts_are_short(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    (void)f_add_many(f, f_new(), 100);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 2); /* nothing is known of them yet */
    struct er_held h = w_run(w);
    assert_int_equal(w_end(w, h, 0), 0); /* took no time at all */
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 2 * 33);
    for (int i = 0; i < 8; i++) { /* these took a second each */
        h = w_run(w);
        char at[ER_RFC3339_SIZE];
        er_time_format(f->wall - SEC, at);
        assert_int_equal(w_report(w,
                                  "{\"finished\":{\"task\":%lld,\"attempt\":1,"
                                  "\"exit_code\":0,\"started_at\":\"%s\","
                                  "\"finished_at\":\"2100-01-01T00:00:00Z\"}}",
                                  (long long)h.task, at),
                         0);
    }
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 2 * 33 - 8);
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    assert_int_equal(st.running, 2 * 33 - 8);
}

static void
slots__are_filled_where_there_is_most_room(void **state)
{
    struct fixture *f = *state;
    struct worker *a = w_new(f, 1), *b = w_new(f, 3);
    (void)f_add_many(f, f_new(), 10);
    f_settle(f);
    assert_int_equal(w_count(a, "run"), 1);
    assert_int_equal(w_count(b, "run"), 3);
    er_engine_set_slots(f->e, a->session, 2);
    f_settle(f);
    assert_int_equal(w_count(a, "run"), 2);
    assert_int_equal(w_count(a, "slots"), 1);
    er_engine_session_drain(f->e, b->session, false);
    assert_int_equal(w_count(b, "drain"), 1);
    struct er_held h = w_run(b);
    assert_int_equal(w_end(b, h, 0), 0);
    f_settle(f);
    assert_int_equal(w_count(b, "run"), 2); /* it gets no more */
}

static void
dependent__starts_when_what_it_waits_for_is_done(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 4);
    er_task_id first = f_add(f, f_new());
    struct er_new_after after = {.id = first, .ref = -1, .when = ER_AFTER_OK};
    struct er_new_task row = f_new();
    row.after = &after;
    row.n_after = 1;
    er_task_id second = f_add(f, row);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 1);
    assert_int_equal(w_end(w, w_run(w), 0), 0);
    assert_int_equal(w_run(w).task, second);
}

static void
input_and_tell__reach_a_running_task_only(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(er_engine_input(f->e, id, "hi", 2, true), 0);
    const json_t *line = w_take(w, "input");
    assert_string_equal(json_string_value(json_object_get(line, "base64")), "aGk=");
    assert_true(json_is_true(json_object_get(line, "eof")));
    assert_int_equal(er_engine_tell(f->e, id, "{\"percent\":4}"), 0);
    assert_non_null(w_take(w, "tell"));
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(er_engine_input(f->e, id, "hi", 2, false), ER_ESTATE);
    assert_int_equal(er_engine_tell(f->e, id, "{}"), ER_ESTATE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(task_runs__from_submit_to_its_final_fact),
        TEST(environment__is_sent_once_before_the_first_run_that_names_it),
        TEST(failure__comes_back_after_its_backoff_until_the_budget_is_spent),
        TEST(fatal_error__is_not_tried_again),
        TEST(rate_limit__waits_and_spends_nothing),
        TEST(never_spawned__is_refunded_and_runs_again_as_the_same_attempt),
        TEST(progress__is_seen_at_once_and_stands_in_the_end),
        TEST(checkpoint__is_kept_at_once_and_given_to_the_next_attempt),
        TEST(result__stands_in_the_task_and_when_small_in_the_event),
        TEST(concurrency_of_a_queue__is_never_passed),
        TEST(raised_limit__takes_effect_at_once),
        TEST(lookahead__only_while_attempts_are_short),
        TEST(slots__are_filled_where_there_is_most_room),
        TEST(dependent__starts_when_what_it_waits_for_is_done),
        TEST(input_and_tell__reach_a_running_task_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
