/* SPDX-License-Identifier: MIT */
/* What applications test themselves with: a clock that stands still, handlers that run
 * inside the submit, and stores that run nothing. Each is exact: a millisecond too early
 * nothing has happened. */
#include "lib_fixture.h"

struct work {
    int runs, failures; /* so many of the first runs fail */
    int64_t sleep_ms, child;
    int stopped;
};

static int
do_work(errand_attempt *a, void *ctx)
{
    struct work *w = ctx;
    __atomic_add_fetch(&w->runs, 1, __ATOMIC_SEQ_CST);
    if (w->sleep_ms > 0) {
        w->stopped = errand_sleep(a, w->sleep_ms);
        if (w->stopped) {
            return ERRAND_STOPPED;
        }
    }
    if (w->runs <= w->failures) {
        return errand_fail(a, ERRAND_RETRYABLE, "not-yet", "it comes later", NULL);
    }
    return 0;
}

static errand *
open_test(int test)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    errand *e = NULL;
    o.test = test;
    OK(errand_open("memory:", &o, &e, &error));
    return e;
}

static void
serve(errand *e, const char *name, errand_handler_fn *fn, void *ctx, int64_t timeout_ms,
      int64_t backoff_ms)
{
    struct errand_type type = ERRAND_INIT(errand_type);
    errand_error error;
    type.name = name;
    type.description = "of a test";
    type.handler = fn;
    type.ctx = ctx;
    type.timeout_ms = timeout_ms;
    type.backoff_ms = backoff_ms;
    OK(errand_register(e, &type, &error));
}

static int64_t
submit(errand *e, const char *type, const char *args,
       const struct errand_submit_options *options)
{
    errand_error error;
    int64_t id = 0;
    OK(errand_submit(e, type, args, options, &id, &error));
    return id;
}

static void
advance(errand *e, int64_t ms)
{
    errand_error error;
    OK(errand_test_advance(e, ms, &error));
}

#define IS(e, id, state)                                                                 \
    assert_string_equal(errand_state_word(errand_state(e, id, NULL)), state)

static bool
why_says(errand *e, int64_t id, const char *words)
{
    errand_error error;
    char *why = NULL;
    OK(errand_why(e, id, &why, &error));
    bool does = strstr(why, words) != NULL;
    if (!does) {
        print_message("# why: %s\n", why);
    }
    errand_free(why);
    return does;
}

/* ---- the clock ---- */

static void
testing__a_delay_is_over_to_the_millisecond(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct work w = {0};
        struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
        errand *e = open_test(ERRAND_TEST_CLOCK);
        serve(e, "t", do_work, &w, 0, 0);
        o.delay_ms = 60000;
        int64_t id = submit(e, "t", NULL, &o);
        assert_true(why_says(e, id, "in 1m"));
        advance(e, 59999);
        IS(e, id, "scheduled");
        assert_int_equal(w.runs, 0);
        advance(e, 1);
        IS(e, id, "completed");
        assert_int_equal(w.runs, 1);
        errand_close(e);
    }
}

static void
testing__a_retry_comes_after_its_backoff(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct work w = {.failures = 2};
        errand *e = open_test(ERRAND_TEST_CLOCK);
        serve(e, "t", do_work, &w, 0, 1000);
        int64_t id = submit(e, "t", NULL, NULL);
        advance(e, 0);
        assert_int_equal(w.runs, 1);
        IS(e, id, "scheduled");
        advance(e, 999);
        assert_int_equal(w.runs, 1);
        advance(e, 1);
        assert_int_equal(w.runs, 2);
        advance(e, 1999); /* twice as long */
        assert_int_equal(w.runs, 2);
        advance(e, 1);
        assert_int_equal(w.runs, 3);
        IS(e, id, "completed");
        errand_close(e);
    }
}

static void
testing__a_rate_lets_through_by_the_clock(void **state)
{
    (void)state;
    static const char rate[] = "{\"rates\":[{\"n\":1,\"per_s\":10,\"burst\":1}]}";
    struct work w = {0};
    errand *e = open_test(ERRAND_TEST_CLOCK);
    errand_error error;
    char *out = NULL;
    serve(e, "t", do_work, &w, 0, 0);
    int status = errand_request(e, "PUT", "/v1/queues/default", rate, sizeof rate - 1,
                                &out, NULL, &error);
    if (status < 200 || status >= 300) {
        fail_msg("%d: %s", status, out ? out : error.message);
    }
    errand_free(out);
    advance(e, 11000); /* it begins empty */
    int64_t first = submit(e, "t", NULL, NULL), second = submit(e, "t", NULL, NULL);
    advance(e, 0);
    IS(e, first, "completed");
    IS(e, second, "queued");
    advance(e, 10049); /* docs/SEMANTICS.md: 50 ms more */
    IS(e, second, "queued");
    advance(e, 1);
    IS(e, second, "completed");
    errand_close(e);
}

static void
testing__what_waits_too_long_expires(void **state)
{
    (void)state;
    errand *e = open_test(ERRAND_TEST_CLOCK);
    serve(e, "t", NULL, NULL, 0, 0);
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    o.expires_ms = 5000;
    int64_t id = submit(e, "t", NULL, &o);
    advance(e, 4999);
    IS(e, id, "queued");
    advance(e, 1);
    IS(e, id, "failed");
    assert_true(why_says(e, id, "waited in the queue longer"));
    errand_close(e);
}

static void
testing__a_timeout_stops_a_sleeper(void **state)
{
    (void)state;
    struct work w = {.sleep_ms = 60000};
    errand *e = open_test(ERRAND_TEST_CLOCK);
    serve(e, "t", do_work, &w, 3000, 0);
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    o.has_retries = 1;
    int64_t id = submit(e, "t", NULL, &o);
    advance(e, 2999);
    IS(e, id, "running");
    advance(e, 1);
    IS(e, id, "failed");
    assert_int_equal(w.stopped, ERRAND_STOP_TIMEOUT);
    errand_close(e);
}

static void
testing__a_sleeper_wakes_by_the_clock(void **state)
{
    (void)state;
    struct work w = {.sleep_ms = 100};
    errand *e = open_test(ERRAND_TEST_CLOCK);
    serve(e, "t", do_work, &w, 0, 0);
    int64_t id = submit(e, "t", NULL, NULL);
    advance(e, 99);
    IS(e, id, "running");
    advance(e, 1);
    IS(e, id, "completed");
    errand_close(e);
}

/* ---- inline ---- */

static int
submit_child(errand_attempt *a, void *ctx)
{
    struct work *w = ctx;
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    errand_error error;
    w->runs++;
    o.parent = errand_attempt_task(a);
    return errand_submit(errand_attempt_handle(a), "child", NULL, &o, &w->child, &error);
}

static void
check_inline(int threading)
{
    struct errand_options options = ERRAND_INIT(errand_options);
    struct work good = {0}, bad = {.failures = 100}, late = {.failures = 1}, parent = {0};
    errand_error error;
    errand *e = NULL;
    options.test = ERRAND_TEST_INLINE;
    options.threading = threading;
    OK(errand_open("memory:", &options, &e, &error));
    serve(e, "good", do_work, &good, 0, 0);
    serve(e, "child", do_work, &good, 0, 0);
    serve(e, "bad", do_work, &bad, 0, 0);
    serve(e, "late", do_work, &late, 0, 3600000);
    serve(e, "parent", submit_child, &parent, 0, 0);
    int64_t id = submit(e, "good", NULL, NULL);
    assert_int_equal(good.runs, 1);
    IS(e, id, "completed");
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    o.has_retries = 1;
    id = submit(e, "bad", NULL, &o);
    assert_int_equal(bad.runs, 1);
    IS(e, id, "failed");
    id = submit(e, "late", NULL, NULL);
    assert_int_equal(late.runs, 1);
    IS(e, id, "scheduled");
    id = submit(e, "parent", NULL, NULL);
    assert_int_equal(parent.runs, 1);
    IS(e, id, "completed");
    IS(e, parent.child, "completed");
    assert_int_equal(good.runs, 2);
    errand_close(e);
}

static void
testing__inline_runs_before_the_submit_returns(void **state)
{
    (void)state;
    check_inline(ERRAND_THREAD);
    check_inline(ERRAND_TURN);
}

static void
check_inline_sleep(int threading)
{
    struct errand_options options = ERRAND_INIT(errand_options);
    struct work slow = {.sleep_ms = 100000}, stuck = {.sleep_ms = INT64_MAX}, late = {0};
    errand_error error;
    errand *e = NULL;
    options.test = ERRAND_TEST_CLOCK | ERRAND_TEST_INLINE;
    options.threading = threading;
    OK(errand_open("memory:", &options, &e, &error));
    serve(e, "slow", do_work, &slow, 0, 0);
    serve(e, "stuck", do_work, &stuck, 5000, 0);
    serve(e, "late", do_work, &late, 0, 0);
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    o.delay_ms = 99000;
    int64_t delayed = submit(e, "late", NULL, &o);
    IS(e, delayed, "scheduled");
    int64_t id = submit(e, "slow", NULL, NULL);
    IS(e, id, "completed");
    IS(e, delayed, "completed"); /* it came due meanwhile */
    o.delay_ms = 0;
    o.has_retries = 1;
    id = submit(e, "stuck", NULL, &o);
    IS(e, id, "failed");
    assert_int_equal(stuck.stopped, ERRAND_STOP_TIMEOUT);
    errand_close(e);
}

static void
testing__inline_sleepers_move_the_clock(void **state)
{
    (void)state;
    check_inline_sleep(ERRAND_THREAD);
    check_inline_sleep(ERRAND_TURN);
}

/* ---- hold ---- */

static void
testing__hold_runs_nothing(void **state)
{
    (void)state;
    static const char args[] = "{\"a\":{\"b\":[1,{\"c\":null}]},\"d\":\"x\"}";
    struct work w = {0};
    errand *e = open_test(ERRAND_TEST_HOLD);
    errand_error error;
    int64_t found = 0;
    serve(e, "t", do_work, &w, 0, 0);
    serve(e, "u", do_work, &w, 0, 0);
    int64_t id = submit(e, "t", args, NULL);
    (void)submit(e, "u", args, NULL);
    (void)submit(e, "t", "{\"d\":\"y\"}", NULL);
    assert_int_equal(errand_test_settle(e, &error), 3);
    assert_int_equal(w.runs, 0);
    assert_int_equal(errand_test_submitted(e, NULL, NULL, NULL, &error), 3);
    assert_int_equal(
        errand_test_submitted(e, "t", "{\"a\":{\"b\":[1,{\"c\":null}]}}", &found, &error),
        1);
    assert_int_equal(found, id);
    assert_int_equal(
        errand_test_submitted(e, "t", "{\"a\":{\"b\":[1,{\"c\":2}]}}", NULL, &error), 0);
    assert_int_equal(errand_test_submitted(e, "t", "{\"z\":1}", NULL, &error), 0);
    static const char *const parts[] = {"{\"a\":{}}", "{\"n\":{\"x\":1}}",
                                        "{\"n\":{\"m\":{\"z\":3}},\"d\":\"n\"}"};
    (void)submit(e, "t", "{\"d\":\"n\",\"n\":{\"x\":1,\"m\":{\"y\":2,\"z\":3}}}", NULL);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(errand_test_submitted(e, "t", parts[i], NULL, &error), 1);
    }
    assert_int_equal(errand_test_submitted(e, "t", "{\"n\":{\"x\":2}}", NULL, &error), 0);
    assert_int_equal(errand_test_submitted(e, "t", "[]", NULL, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "args");
    errand_close(e);
}

static void
check_why(errand *e, int64_t id, const char *words)
{
    errand_error error;
    char *why = NULL;
    OK(errand_why(e, id, &why, &error));
    if (!strstr(why, words)) {
        fail_msg("task %lld: %s", (long long)id, why);
    }
    errand_free(why);
}

/* Of a test's modes, too, what is told why a task waits is true. */
static void
testing__why_is_true(void **state)
{
    (void)state;
    struct work w = {.sleep_ms = 60000};
    errand_error error;
    errand *e = open_test(ERRAND_TEST_HOLD);
    serve(e, "t", do_work, &w, 0, 0);
    check_why(e, submit(e, "t", NULL, NULL), "nothing is run here (ERRAND_TEST_HOLD)");
    errand_close(e);
    e = open_test(ERRAND_TEST_CLOCK);
    serve(e, "t", do_work, &w, 0, 0);
    int64_t id = submit(e, "t", NULL, NULL);
    assert_int_equal(errand_test_settle(e, &error), 1);
    check_why(e, id, "it runs: attempt 1");
    OK(errand_test_advance(e, 30000, &error));
    check_why(e, id, "it runs: attempt 1, for 30.0s");
    errand_close(e);
}

/* However far the clock moves meanwhile, nobody is silent for it. */
static void
testing__a_worker_is_not_judged_by_the_clock(void **state)
{
    static const char *const argv[] = {"/bin/sh", "-c", "exec sleep 1000", NULL};
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    errand_error error;
    int64_t id = 0;
    char *why = NULL;
    (void)state;
    errand *e = open_test(ERRAND_TEST_CLOCK | ERRAND_TEST_INLINE);
    OK(errand_submit_command(e, argv, NULL, &o, &id, &error));
    for (int i = 0; i < 5; i++) {
        OK(errand_test_advance(e, 10000, &error));
    }
    OK(errand_why(e, id, &why, &error));
    assert_null(strstr(why, "has not answered"));
    errand_free(why);
    errand_close(e);
}

static void
testing__modes_that_do_not_go_together_are_refused(void **state)
{
    (void)state;
    static const int bad[] = {ERRAND_TEST_HOLD | ERRAND_TEST_INLINE, 8, -1};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct errand_options o = ERRAND_INIT(errand_options);
        errand_error error;
        errand *e = NULL;
        o.test = bad[i];
        assert_int_equal(errand_open("memory:", &o, &e, &error), ERRAND_EINVALID);
        assert_string_equal(error.field, "test");
        assert_null(e);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(testing__a_delay_is_over_to_the_millisecond),
        cmocka_unit_test(testing__a_retry_comes_after_its_backoff),
        cmocka_unit_test(testing__a_rate_lets_through_by_the_clock),
        cmocka_unit_test(testing__what_waits_too_long_expires),
        cmocka_unit_test(testing__a_timeout_stops_a_sleeper),
        cmocka_unit_test(testing__a_sleeper_wakes_by_the_clock),
        cmocka_unit_test(testing__inline_runs_before_the_submit_returns),
        cmocka_unit_test(testing__inline_sleepers_move_the_clock),
        cmocka_unit_test(testing__hold_runs_nothing),
        cmocka_unit_test(testing__why_is_true),
        cmocka_unit_test(testing__a_worker_is_not_judged_by_the_clock),
        cmocka_unit_test(testing__modes_that_do_not_go_together_are_refused),
    };
    return cmocka_run_group_tests(tests, setup_home, teardown_home);
}
