/* SPDX-License-Identifier: MIT */
/* Handlers of this process when their engine refuses, fails, or is another one. */
#include "handlers_fixture.h"

static void
handlers__send_again_what_was_not_taken(void **state)
{
    char first[1000];
    (void)state;
    begin("t", do_nothing, NULL);
    run(1, "");
    (void)snprintf(first, sizeof first, "%s", await_report());
    answer(503, "{\"code\":\"io\"}");
    assert_memory_equal(await_report(), first, strlen(first));
    answer(ER_ENODAEMON, "nobody answers");
    assert_memory_equal(await_report(), first, strlen(first));
    answer_all();
    assert_true(said("{\"finished\":{\"task\":1,"));
}

static void
handlers__give_up_the_one_line_that_is_refused(void **state)
{
    (void)state;
    begin("t", do_nothing, NULL);
    run(1, "");
    (void)await_report();
    for (int i = 2; i <= 4; i++) {
        run(i, "");
    }
    while (er_handlers_busy(w.e.handlers) < 4) {
        turn();
    }
    answer(200, "{\"lost\":[]}");
    while (er_handlers_busy(w.e.handlers) > 0) {
        const char *body = await_report();
        bool bad = strstr(body, "\"task\":3,") != NULL;
        bool alone = count(body, "\n") == 1;
        answer(bad ? 400 : 200, bad ? "{\"detail\":\"no\"}" : "{\"lost\":[]}");
        if (bad && alone) {
            break;
        }
    }
    answer_all();
    assert_true(said("\"task\":2,"));
    assert_true(said("\"task\":4,"));
    assert_non_null(strstr(w.log.data, "was refused (status 400)"));
}

static void
handlers__go_on_with_the_next_daemon(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_open, &g);
    run(1, "");
    await_inside(&g, 1);
    serve("u", do_nothing, NULL);
    order("{\"run\":{\"task\":2,\"attempt\":3,\"type\":\"u\",\"args\":{}}}\n");
    await_answering("\"types\"");
    while (!strstr(await_report(), "{\"finished\":{\"task\":2,")) {
        answer(200, "{\"lost\":[]}");
    }
    end_ask(w.claim, 200, ""); /* the daemon is gone, with the report */
    while (!w.claim) {
        turn();
    }
    assert_null(w.report);
    assert_non_null(strstr(w.hello, "\"session\":7,\"token\":\"secret\""));
    assert_non_null(strstr(w.hello, "\"held\":[{\"task\":1,\"attempt\":1,\"pid\":"));
    assert_non_null(strstr(w.hello, "\"owed\":[{\"task\":2,\"attempt\":3}]"));
    order(welcome, folder);
    assert_non_null(strstr(await_report(), "{\"finished\":{\"task\":2,\"attempt\":3,"));
    er_count_set(&g.open, 1);
    answer_all();
}

/* The engine takes what it has told for heard: only another hello says that it is not. */
static void
handlers__break_the_link_when_a_line_is_lost(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_open, &g);
    run(1, "");
    await_inside(&g, 1);
    for (int i = 0; i < 2; i++) { /* in its first piece, and in its last */
        int claims = w.n_claims;
        if (i > 0) {
            order("{\"run\":{\"task\":2,\"attempt\":1,\"type\":\"t\",");
        }
        er_mem_fault_set(1, 0);
        order("%*s%s", 3000, "", i > 0 ? "\"args\":{}}}\n" : "{\"run\":{\"task\":2");
        assert_true(er_mem_fault_hit());
        er_mem_fault_set(0, 0);
        assert_int_equal(w.n_claims, claims);
        while (!w.claim) {
            turn();
        }
        assert_non_null(strstr(w.hello, "\"held\":[{\"task\":1,\"attempt\":1,\"pid\":"));
        assert_null(strstr(w.hello, "\"task\":2"));
        order(welcome, folder);
    }
    run(2, ""); /* told again */
    er_count_set(&g.open, 1);
    await_answering("{\"finished\":{\"task\":2,");
    answer_all();
}

static void
handlers__begin_anew_when_their_session_is_lost(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, "");
    await_inside(&g, 1);
    end_ask(w.claim, 200, "");
    while (!w.claim) {
        turn();
    }
    end_ask(w.claim, 409, "{\"code\":\"lost\"}");
    while (!w.claim || er_handlers_busy(w.e.handlers) > 0) {
        turn();
    }
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_LOST);
    assert_non_null(strstr(w.hello, "\"session\":null"));
    assert_false(said("finished"));
    order(welcome, folder);
}

static void
handlers__forget_what_an_answer_says_is_lost(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, "");
    await_inside(&g, 1);
    answer(200, "{\"lost\":[{\"task\":1,\"attempt\":1}]}"); /* of `started` */
    while (er_handlers_busy(w.e.handlers) > 0) {
        turn();
    }
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_LOST);
    assert_false(said("finished"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HANDS(send_again_what_was_not_taken),
        HANDS(give_up_the_one_line_that_is_refused),
        HANDS(go_on_with_the_next_daemon),
        HANDS(break_the_link_when_a_line_is_lost),
        HANDS(begin_anew_when_their_session_is_lost),
        HANDS(forget_what_an_answer_says_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
