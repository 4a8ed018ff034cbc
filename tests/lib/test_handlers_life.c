/* SPDX-License-Identifier: MIT */
/* Handlers of this process: their session, their attempts, how they are asked to stop. */
#include "handlers_fixture.h"

/* ---- the session ---- */

static void
handlers__say_what_they_serve(void **state)
{
    (void)state;
    begin("t", do_nothing, NULL);
    assert_non_null(strstr(w.hello, "\"slots\":2"));
    assert_non_null(strstr(w.hello, "\"session\":null"));
    assert_non_null(strstr(w.hello, "\"types\":[\"t\"]"));
    assert_int_equal(w.n_reports, 0);
    serve("u", do_nothing, NULL);
    assert_string_equal(await_report(), "{\"types\":[\"t\",\"u\"]}\n");
    serve("u", do_nothing, NULL); /* again: nothing new */
    answer(200, "{\"lost\":[]}");
    assert_true(er_handlers_serves(w.e.handlers, "u"));
    assert_int_equal(er_handlers_withdraw(w.e.handlers, "t"), 0);
    assert_string_equal(await_report(), "{\"types\":[\"u\"]}\n");
    assert_int_equal(er_handlers_withdraw(w.e.handlers, "t"), ER_ENOTFOUND);
    run(1, "");
    answer(200, "{\"lost\":[]}");
    assert_string_equal(await_report(),
                        "{\"finished\":{\"task\":1,\"attempt\":1,\"spawned\":false,"
                        "\"why\":\"requeue\"}}\n");
}

static int
echo_args(errand_attempt *a, void *ctx)
{
    (void)ctx;
    const char *args = errand_attempt_args(a);
    return errand_result_set(a, args, strlen(args));
}

static void
handlers__run_and_report(void **state)
{
    (void)state;
    begin("t", echo_args, NULL);
    run(42, "");
    answer_all();
    assert_true(said("{\"finished\":{\"task\":42,\"attempt\":1,\"spawned\":true,"
                     "\"started_at\":\""));
    assert_true(said("\"exit_code\":0,\"result\":\"eyJuIjo0Mn0=\"}}\n"));
}

static int
count_runs(errand_attempt *a, void *ctx)
{
    (void)a;
    er_count_add(ctx, 1);
    return 0;
}

static void
handlers__send_what_came_meanwhile_together(void **state)
{
    struct er_count runs = {0};
    (void)state;
    begin("t", count_runs, &runs);
    run(1, "");
    (void)await_report();
    for (int i = 2; i <= 50; i++) {
        run(i, "");
    }
    while (er_count_get(&runs) < 50) {
        turn();
    }
    answer_all();
    assert_true(said("\"task\":50,"));
    assert_in_range(w.n_reports, 2, 50);
}

static int
misbehave(errand_attempt *a, void *ctx)
{
    (void)ctx;
    switch (errand_arg_integer(a, "n", 0)) {
    case 1:
        return errand_fail(a, ERRAND_FATAL, "no-way", "it cannot", "do not");
    case 2:
        return errand_rate_limited(a, 1500);
    default:
        return 9;
    }
}

static void
handlers__report_how_it_failed(void **state)
{
    (void)state;
    begin("t", misbehave, NULL);
    run(1, "");
    run(2, "");
    run(3, "");
    answer_all();
    assert_true(
        said("\"error\":{\"class\":\"fatal\",\"code\":\"no-way\",\"message\":\"it "
             "cannot\",\"suggested_action\":\"do not\"}"));
    assert_true(said("\"retry_after_s\":1.500"));
    assert_true(said("the handler returned 9"));
}

static int
reverse(const char *request, char **reply)
{
    *reply = strdup(request);
    return 0;
}

static void
handlers__run_blocking_functions(void **state)
{
    struct er_handler handler = {.blocking = reverse};
    (void)state;
    assert_int_equal(er_handlers_serve(w.e.handlers, "t", &handler), 0);
    order(welcome, folder);
    run(42, "");
    answer_all();
    assert_true(said("\"result\":\"eyJuIjo0Mn0=\""));
}

/* ---- being asked to stop ---- */

static void
handlers__stop_when_they_are_asked(void **state)
{
    static const struct {
        const char *why;
        enum errand_stop stop;
    } cases[] = {{"cancel", ERRAND_STOP_CANCEL},
                 {"pause", ERRAND_STOP_PAUSE},
                 {"requeue", ERRAND_STOP_SHUTDOWN}};
    struct gate g = {0};
    char want[100];
    (void)state;
    begin("t", until_stop, &g);
    for (int i = 0; i < 3; i++) {
        run(i + 1, "");
        await_inside(&g, i + 1);
        order(
            "{\"stop_task\":{\"task\":%d,\"attempt\":1,\"why\":\"%s\",\"grace_s\":5}}\n",
            i + 1, cases[i].why);
        answer_all();
        assert_int_equal(er_count_get(&g.seen), cases[i].stop);
        (void)snprintf(want, sizeof want, "\"spawned\":true,\"why\":\"%s\"",
                       cases[i].why);
        assert_true(said(want));
    }
}

static void
handlers__tell_what_it_came_to_when_it_had_ended(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, "");
    await_inside(&g, 1);
    serve("t", do_nothing, NULL); /* for those that come */
    run(2, "");
    while (er_handlers_busy(w.e.handlers) < 2) {
        turn();
    }
    order(
        "{\"stop_task\":{\"task\":1,\"attempt\":1,\"why\":\"cancel\",\"grace_s\":5}}\n"
        "{\"stop_task\":{\"task\":9,\"attempt\":1,\"why\":\"cancel\",\"grace_s\":5}}\n");
    answer_all();
    assert_true(said("{\"task\":1,\"attempt\":1,\"spawned\":true,\"why\":\"cancel\""));
    assert_true(said("{\"task\":2,\"attempt\":1,\"spawned\":true,\"started_at\""));
}

static void
handlers__give_back_what_has_no_thread(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_open, &g);
    run(1, "");
    run(2, "");
    await_inside(&g, 2);
    run(3, "");
    run(4, "");
    order(
        "{\"stop_task\":{\"task\":4,\"attempt\":1,\"why\":\"cancel\",\"grace_s\":5}}\n");
    await_answering("{\"task\":4,\"attempt\":1,\"spawned\":false,\"why\":\"cancel\"}");
    await_answering("{\"task\":3,\"attempt\":1,\"spawned\":false,\"why\":\"requeue\"}");
    assert_true(said("{\"started\":{\"task\":1,"));
    assert_true(said("{\"started\":{\"task\":2,"));
    er_count_set(&g.open, 1);
    answer_all();
}

static void
handlers__have_a_timeout(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, ",\"timeout_s\":0.02");
    answer_all();
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_TIMEOUT);
    assert_true(said("\"why\":\"timeout\",\"error\":{\"class\":\"retryable\","
                     "\"code\":\"timeout\",\"message\":\"ran longer than 20ms\"}"));
}

static void
handlers__must_not_be_silent(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, ",\"heartbeat_s\":0.02");
    answer_all();
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_TIMEOUT);
    assert_true(said("\"why\":\"heartbeat\""));
}

static void
handlers__complain_of_one_that_does_not_stop(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_open, &g);
    run(1, "");
    await_inside(&g, 1);
    order("{\"stop_task\":{\"task\":1,\"attempt\":1,\"why\":\"cancel\","
          "\"grace_s\":0.01}}\n");
    while (!w.log.data || !strstr(w.log.data, "keeps its thread")) {
        if (w.report) {
            end_ask(w.report, 200, "{\"lost\":[]}");
        } else {
            turn();
        }
    }
    er_count_set(&g.open, 1);
    answer_all();
    assert_true(said("\"warnings\":[\"it was asked to stop (cancel), and went on for "
                     "longer than its grace\"]"));
}

static void
handlers__drop_what_is_not_theirs_any_more(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, "");
    await_inside(&g, 1);
    order("{\"drop\":{\"task\":1,\"attempt\":1}}\n");
    while (er_handlers_busy(w.e.handlers) > 0) {
        turn();
    }
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_LOST);
    assert_false(said("finished"));
}

static void
handlers__stop_with_the_handle(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, "");
    run(2, "");
    await_inside(&g, 2);
    run(3, "");
    stop();
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_SHUTDOWN);
    /* first that nothing is served any more: what is given back must not come again */
    const char *none = strstr(w.reports.data, "{\"types\":[]}");
    assert_non_null(none);
    assert_true(none < strstr(w.reports.data, "\"requeue\""));
    assert_true(said("{\"task\":1,\"attempt\":1,\"spawned\":true,\"why\":\"requeue\""));
    assert_true(said("{\"task\":3,\"attempt\":1,\"spawned\":false,\"why\":\"requeue\""));
    assert_null(w.claim);
    struct er_handler handler = {.fn = do_nothing};
    assert_int_equal(er_handlers_serve(w.e.handlers, "u", &handler), ER_ECLOSED);
}

/* ---- for tests of applications ---- */

static struct er_count moment;

static er_usec
read_moment(void *ctx)
{
    (void)ctx;
    return er_count_get(&moment);
}

static const struct er_clock still = {read_moment, read_moment, read_moment, NULL};

static int
sleep_an_hour(errand_attempt *a, void *ctx)
{
    struct gate *g = ctx;
    er_count_set(&g->seen, errand_sleep(a, 3600 * 1000) + 100);
    return 0;
}

static void
handlers__run_inline(void **state)
{
    (void)state;
    er_handlers_set_inline(w.e.handlers);
    begin("t", do_nothing, NULL);
    assert_false(er_handlers_work(w.e.handlers));
    run(1, "");
    assert_int_equal(w.n_reports, 0);
    assert_true(er_handlers_work(w.e.handlers));
    assert_false(er_handlers_work(w.e.handlers));
    answer_all();
    assert_true(said("\"finished\""));
}

static void
handlers__sleep_by_a_clock_that_is_moved(void **state)
{
    struct gate g = {0};
    (void)state;
    er_count_set(&moment, 1000 * ER_USEC_PER_SEC);
    er_handlers_set_clock(w.e.handlers, &still);
    begin("t", sleep_an_hour, &g);
    run(1, ",\"timeout_s\":7200");
    while (er_handlers_asleep(w.e.handlers) == 0) {
        (void)poll(NULL, 0, 1);
    }
    assert_true(er_handlers_due(w.e.handlers) <= 4600 * ER_USEC_PER_SEC);
    assert_int_equal(er_count_get(&g.seen), 0);
    er_count_add(&moment, 3600 * ER_USEC_PER_SEC);
    er_handlers_clock_moved(w.e.handlers);
    answer_all();
    assert_int_equal(er_count_get(&g.seen), 100);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HANDS(say_what_they_serve),
        HANDS(run_and_report),
        HANDS(send_what_came_meanwhile_together),
        HANDS(report_how_it_failed),
        HANDS(run_blocking_functions),
        HANDS(stop_when_they_are_asked),
        HANDS(tell_what_it_came_to_when_it_had_ended),
        HANDS(give_back_what_has_no_thread),
        HANDS(have_a_timeout),
        HANDS(must_not_be_silent),
        HANDS(complain_of_one_that_does_not_stop),
        HANDS(drop_what_is_not_theirs_any_more),
        HANDS(stop_with_the_handle),
        HANDS(run_inline),
        HANDS(sleep_by_a_clock_that_is_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
