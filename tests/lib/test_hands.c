/* SPDX-License-Identifier: MIT */
/* Handlers of this process against an engine that is the test: asks are caught, and answered
 * by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "base/count.h"
#include "base/io.h"
#include "base/lock.h"
#include "base/mem.h"
#include "lib/hands_priv.h"
#include "lib/house.h"
#include "wire/outlog.h"

/* ---- an engine ---- */

#define ASKS 64
static struct {
    struct errand e;
    struct er_ask *claim, *report; /* that were sent and are not answered */
    char *hello;
    struct er_buf reports; /* all bodies */
    int n_reports, n_claims;
    struct er_buf log;
    bool done;
} w;

struct er_ask *
er_ask_new(struct errand *e, const char *method, const char *target_fmt, ...)
{
    struct er_ask *ask = er_xzalloc(sizeof *ask);
    ask->e = e;
    ask->method = method;
    ask->target = er_xstrdup(target_fmt);
    return ask;
}

void
er_ask_header(struct er_ask *ask, const char *name, const char *value)
{
    er_buf_addf(&ask->headers, "%s=%s;", name, value);
}

void
er_ask_send(struct er_ask *ask)
{
    if (strcmp(ask->target, "/v1/work/claim") == 0) {
        assert_null(w.claim);
        w.claim = ask;
        w.n_claims++;
        er_free(w.hello);
        w.hello = er_xstrdup(ask->body.data);
        return;
    }
    assert_string_equal(ask->target, "/v1/work/report");
    assert_null(w.report); /* one at a time */
    assert_string_equal(ask->headers.data, "X-Errand-Session=7;X-Errand-Token=secret;");
    w.report = ask;
    w.n_reports++;
    er_buf_add(&w.reports, ask->body.data, ask->body.len);
}

static void
free_ask(struct er_ask *ask)
{
    er_buf_fini(&ask->body);
    er_buf_fini(&ask->headers);
    er_free(ask->target);
    er_free(ask);
}

static void
take_away(struct er_ask *ask)
{
    w.claim = w.claim == ask ? NULL : w.claim;
    w.report = w.report == ask ? NULL : w.report;
}

void
er_ask_cancel(struct er_ask *ask)
{
    take_away(ask);
    free_ask(ask);
}

static void
end_ask(struct er_ask *ask, int status, const char *text)
{
    struct er_buf body;
    er_buf_init(&body, 0);
    er_buf_add_str(&body, text);
    take_away(ask);
    ask->done(ask, status, &body);
    free_ask(ask);
    er_buf_fini(&body);
}

void
er_handle_log(struct errand *e, int level, const char *fmt, ...)
{
    char text[1000];
    va_list args;
    (void)e;
    (void)level;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    er_buf_addf(&w.log, "%s\n", text);
}

int
er_handle_wait(struct errand *e, struct er_wait *wait)
{
    wait->e = e;
    wait->fn(wait); /* the test's find_logs reads only */
    return wait->code;
}

void
er_handle_done(struct er_wait *wait, int code)
{
    wait->code = code;
}

void
er_handle_push(struct er_frame *f, const struct errand *e)
{
    f->e = e;
}

void
er_handle_pop(const struct er_frame *f)
{
    (void)f;
}

const char *
er_house_logs(struct er_house *house)
{
    (void)house;
    return NULL;
}

/* ---- running it ---- */

static const char welcome[] =
    "{\"welcome\":{\"session\":7,\"token\":\"secret\",\"worker\":\"w1\",\"slots\":2,"
    "\"logs\":\"%s\",\"lock\":null,\"output_head\":1000,\"output_tail\":1000,"
    "\"progress_interval_ms\":50}}\n";

static char folder[64];

static void
order(const char *fmt, ...)
{
    char text[4000];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    assert_non_null(w.claim);
    w.claim->data(w.claim, text, (size_t)n);
}

/* Never sleeps for long: what is waited for may have been caused by a timer of this turn. */
static void
turn(void)
{
    if (uv_run(er_loop_uv(w.e.loop), UV_RUN_NOWAIT) >= 0) {
        (void)poll(NULL, 0, 1);
    }
}

/* Answers reports until one has said that. */
static void
await_answering(const char *text)
{
    while (!w.reports.data || !strstr(w.reports.data, text)) {
        if (w.report) {
            end_ask(w.report, 200, "{\"lost\":[]}");
        } else {
            turn();
        }
    }
}

/* Waits until a report is under way. */
static const char *
await_report(void)
{
    while (!w.report) {
        turn();
    }
    return w.report->body.data;
}

static void
answer(int status, const char *text)
{
    (void)await_report();
    end_ask(w.report, status, text);
}

static void
answer_all(void)
{
    while (er_hands_busy(w.e.hands) > 0) {
        answer(200, "{\"lost\":[]}");
    }
}

static void
on_done(struct errand *e)
{
    (void)e;
    w.done = true;
}

static int
setup(void **state)
{
    struct er_err err;
    (void)state;
    memset(&w, 0, sizeof w);
    w.e.options.handler_threads = 2;
    assert_int_equal(er_loop_new(&w.e.loop, &err), 0);
    (void)strcpy(folder, "/tmp/errand-hands-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_non_null(er_hands_get(&w.e));
    return 0;
}

static void
stop(void)
{
    if (!w.done) {
        w.e.hands_stop(&w.e, on_done);
    }
    while (!w.done) {
        if (w.report) {
            end_ask(w.report, 200, "{\"lost\":[]}");
        } else {
            turn();
        }
    }
}

static int
teardown(void **state)
{
    char command[200];
    (void)state;
    stop();
    w.e.hands_free(&w.e);
    assert_null(w.claim);
    assert_null(w.report);
    er_loop_free(w.e.loop);
    er_free(w.hello);
    er_buf_fini(&w.reports);
    er_buf_fini(&w.log);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void
serve(const char *type, errand_handler_fn *fn, void *ctx)
{
    struct er_handler handler = {.fn = fn, .ctx = ctx};
    assert_int_equal(er_hands_serve(w.e.hands, type, &handler), 0);
}

static void
begin(const char *type, errand_handler_fn *fn, void *ctx)
{
    serve(type, fn, ctx);
    order(welcome, folder);
}

static void
run(int task, const char *more)
{
    order("{\"run\":{\"task\":%d,\"attempt\":1,\"run\":1,\"type\":\"t\",\"args\":{\"n\":%"
          "d},"
          "\"grace_s\":5%s}}\n",
          task, task, more);
}

static bool
said(const char *text)
{
    return w.reports.data && strstr(w.reports.data, text);
}

/* ---- handlers ---- */

struct gate {
    struct er_count open, inside, seen;
};

static int
do_nothing(errand_attempt *a, void *ctx)
{
    (void)a;
    (void)ctx;
    return 0;
}

/* Runs until it is to stop, and remembers why. */
static int
until_stop(errand_attempt *a, void *ctx)
{
    struct gate *g = ctx;
    struct pollfd p = {errand_stop_fd(a), POLLIN, 0};
    er_count_add(&g->inside, 1);
    while (!errand_should_stop(a)) {
        (void)poll(&p, 1, -1);
    }
    er_count_set(&g->seen, errand_should_stop(a));
    return ERRAND_STOPPED;
}

/* Runs until the gate is open, deaf to all. */
static int
until_open(errand_attempt *a, void *ctx)
{
    struct gate *g = ctx;
    er_count_add(&g->inside, 1);
    while (!er_count_get(&g->open)) {
        (void)poll(NULL, 0, 1);
    }
    er_count_set(&g->seen, errand_should_stop(a));
    return errand_should_stop(a) ? ERRAND_STOPPED : 0;
}

static void
await_inside(struct gate *g, int64_t n)
{
    while (er_count_get(&g->inside) < n) {
        (void)poll(NULL, 0, 1);
    }
}

/* ---- the session ---- */

static void
hands__say_what_they_serve(void **state)
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
    assert_true(er_hands_serves(w.e.hands, "u"));
    assert_int_equal(er_hands_withdraw(w.e.hands, "t"), 0);
    assert_string_equal(await_report(), "{\"types\":[\"u\"]}\n");
    assert_int_equal(er_hands_withdraw(w.e.hands, "t"), ER_ENOTFOUND);
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
hands__run_and_report(void **state)
{
    (void)state;
    begin("t", echo_args, NULL);
    run(42, "");
    answer_all();
    assert_true(said("{\"finished\":{\"task\":42,\"attempt\":1,\"spawned\":true,"
                     "\"started_at\":\""));
    assert_true(said("\"exit_code\":0,\"result\":\"eyJuIjo0Mn0=\"}}\n"));
}

static bool
has_ended(void)
{
    er_lock_take(&w.e.hands->pool);
    bool yes = TAILQ_FIRST(&w.e.hands->ended) != NULL;
    er_lock_give(&w.e.hands->pool);
    return yes;
}

static void
hands__send_what_came_meanwhile_together(void **state)
{
    (void)state;
    begin("t", do_nothing, NULL);
    run(1, "");
    (void)await_report();
    for (int i = 2; i <= 50; i++) {
        run(i, "");
    }
    while (er_hands_busy(w.e.hands) < 50) {
        turn();
    }
    for (int i = 0; i < 100 && !has_ended(); i++) {
        (void)poll(NULL, 0, 1);
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
hands__report_how_it_failed(void **state)
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
hands__run_blocking_functions(void **state)
{
    struct er_handler handler = {.blocking = reverse};
    (void)state;
    assert_int_equal(er_hands_serve(w.e.hands, "t", &handler), 0);
    order(welcome, folder);
    run(42, "");
    answer_all();
    assert_true(said("\"result\":\"eyJuIjo0Mn0=\""));
}

/* ---- being asked to stop ---- */

static void
hands__stop_when_they_are_asked(void **state)
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
hands__tell_what_it_came_to_when_it_had_ended(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, "");
    await_inside(&g, 1);
    serve("t", do_nothing, NULL); /* for those that come */
    run(2, "");
    while (er_hands_busy(w.e.hands) < 2) {
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
hands__give_back_what_has_no_thread(void **state)
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
hands__have_a_timeout(void **state)
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
hands__must_not_be_silent(void **state)
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
hands__complain_of_one_that_does_not_stop(void **state)
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
hands__drop_what_is_not_theirs_any_more(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, "");
    await_inside(&g, 1);
    order("{\"drop\":{\"task\":1,\"attempt\":1}}\n");
    while (er_hands_busy(w.e.hands) > 0) {
        turn();
    }
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_LOST);
    assert_false(said("finished"));
}

/* ---- what they say ---- */

static int
work_on_items(errand_attempt *a, void *ctx)
{
    struct gate *g = ctx;
    (void)errand_item(a, "one", 0);
    (void)errand_item(a, "t\"wo", 1);
    (void)errand_checkpoint(a, "{\"at\": 2}");
    er_count_set(&g->seen, errand_item_is_done(a, "b") ? 1 : 0);
    return 0;
}

static void
hands__keep_items_before_the_end(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", work_on_items, &g);
    order("{\"given\":{\"task\":1,\"attempt\":1,\"env\":\"ERRAND_ITEMS_DONE\","
          "\"text\":\"a\\nb\\n\"}}\n");
    run(1, "");
    answer_all();
    assert_int_equal(er_count_get(&g.seen), 1);
    const char *one = strstr(w.reports.data, "{\"item\":{\"task\":1,\"attempt\":1,"
                                             "\"name\":\"one\",\"failed\":false}}\n");
    const char *two = strstr(w.reports.data, "\"name\":\"t\\\"wo\",\"failed\":true}}\n");
    const char *checkpoint = strstr(w.reports.data, "\"checkpoint\":{\"at\":2}}}\n");
    const char *end = strstr(w.reports.data, "{\"finished\"");
    assert_true(one && two && checkpoint && end);
    assert_true(one < two && two < checkpoint && checkpoint < end);
    assert_true(said("\"items_completed\":1,\"items_failed\":1"));
}

#define MANY 40000 /* of 1000 bytes: more than the bound */

static int
make_many_items(errand_attempt *a, void *ctx)
{
    struct gate *g = ctx;
    char name[ER_MAX_NAME + 1];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (int i = 0; i < MANY; i++) {
        if (errand_item(a, name, 0) != 0) {
            return 1;
        }
        er_count_add(&g->seen, 1);
    }
    return 0;
}

static void
hands__make_items_wait_for_answers(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", make_many_items, &g);
    run(1, "");
    (void)await_report(); /* and it is not answered */
    int64_t before = -1;
    while (er_count_get(&g.seen) * ER_MAX_NAME < (int64_t)ER_HANDS_NOTES_MAX / 11 * 10 ||
           er_count_get(&g.seen) != before) {
        before = er_count_get(&g.seen);
        (void)poll(NULL, 0, 20);
    }
    assert_true(er_count_get(&g.seen) < MANY);
    while (er_hands_busy(w.e.hands) > 0) {
        (void)await_report();
        er_buf_fini(&w.reports); /* not all of it is kept */
        answer(200, "{\"lost\":[]}");
    }
    assert_int_equal(er_count_get(&g.seen), MANY);
    assert_int_equal(w.e.hands->notes_bytes, 0);
}

static int
make_progress(errand_attempt *a, void *ctx)
{
    (void)ctx;
    for (int i = 1; i <= 20000; i++) {
        errand_progress_to(a, i, 20000, "x");
    }
    return 0;
}

static int
count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; at && (at = strstr(at, part)); at++) {
        n++;
    }
    return n;
}

static void
hands__tell_progress_now_and_then_and_the_last(void **state)
{
    (void)state;
    begin("t", make_progress, NULL);
    run(1, "");
    answer_all();
    assert_in_range(count(w.reports.data, "{\"progress\":{\"task\":1,"), 1, 100);
    const char *end = strstr(w.reports.data, "{\"finished\"");
    assert_non_null(end);
    assert_non_null(strstr(end, "\"percent\":100"));
    assert_non_null(strstr(end, "\"current\":20000,\"total\":20000"));
}

static int
say_then_wait(errand_attempt *a, void *ctx)
{
    errand_progress_to(a, 1, 4, "first");
    errand_progress_to(a, 2, 4, "second");
    return until_open(a, ctx);
}

/* What was said last is told although the handler says nothing more. */
static void
hands__tell_the_last_progress_of_a_silent_one(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", say_then_wait, &g);
    run(1, "");
    await_answering("\"item\":\"second\"");
    er_count_set(&g.open, 1);
    answer_all();
}

static int
write_output(errand_attempt *a, void *ctx)
{
    (void)ctx;
    return errand_output(a, "hello\n", 6) || errand_outputf(a, "%d", 42);
}

static void
hands__write_output_to_a_log(void **state)
{
    struct er_outlog_reader *r;
    struct er_outlog_frame f;
    struct er_buf text, end;
    (void)state;
    begin("t", write_output, NULL);
    run(1234, "");
    answer_all();
    assert_true(said("\"output_bytes\":8}}"));
    er_buf_init(&text, 0);
    er_buf_init(&end, 0);
    assert_int_equal(er_outlog_open(folder, 1234, 1, &r), 0);
    while (er_outlog_next(r, &f) == 1) {
        if (f.kind == ER_OUTLOG_STDOUT) {
            er_buf_add(&text, f.data, f.len);
        }
    }
    er_outlog_reader_close(r);
    assert_string_equal(text.data, "hello\n42");
    assert_int_equal(er_outlog_exit(folder, 1234, 1, &end, NULL), 1);
    assert_non_null(strstr(end.data, "{\"task\":1234,\"attempt\":1,\"spawned\":true,"));
    er_buf_fini(&text);
    er_buf_fini(&end);
}

static void
hands__take_progress_that_came_by_http(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_open, &g);
    run(1, "");
    await_inside(&g, 1);
    order("{\"tell\":{\"task\":1,\"attempt\":1,\"line\":{\"percent\":40,\"message\":"
          "\"linking\"}}}\n");
    await_answering("\"message\":\"linking\"");
    assert_true(said("\"percent\":40"));
    er_count_set(&g.open, 1);
    answer_all();
}

/* ---- when it goes wrong ---- */

static void
hands__send_again_what_was_not_taken(void **state)
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
hands__give_up_the_one_line_that_is_refused(void **state)
{
    (void)state;
    begin("t", do_nothing, NULL);
    run(1, "");
    (void)await_report();
    for (int i = 2; i <= 4; i++) {
        run(i, "");
    }
    while (er_hands_busy(w.e.hands) < 4) {
        turn();
    }
    answer(200, "{\"lost\":[]}");
    while (er_hands_busy(w.e.hands) > 0) {
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
hands__go_on_with_the_next_daemon(void **state)
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

static void
hands__begin_anew_when_their_session_is_lost(void **state)
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
    while (!w.claim || er_hands_busy(w.e.hands) > 0) {
        turn();
    }
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_LOST);
    assert_non_null(strstr(w.hello, "\"session\":null"));
    assert_false(said("finished"));
    order(welcome, folder);
}

static void
hands__forget_what_an_answer_says_is_lost(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_stop, &g);
    run(1, "");
    await_inside(&g, 1);
    answer(200, "{\"lost\":[{\"task\":1,\"attempt\":1}]}"); /* of `started` */
    while (er_hands_busy(w.e.hands) > 0) {
        turn();
    }
    assert_int_equal(er_count_get(&g.seen), ERRAND_STOP_LOST);
    assert_false(said("finished"));
}

static void
hands__stop_with_the_handle(void **state)
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
    assert_int_equal(er_hands_serve(w.e.hands, "u", &handler), ER_ECLOSED);
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
hands__run_inline(void **state)
{
    (void)state;
    er_hands_set_inline(w.e.hands);
    begin("t", do_nothing, NULL);
    assert_false(er_hands_work(w.e.hands));
    run(1, "");
    assert_int_equal(w.n_reports, 0);
    assert_true(er_hands_work(w.e.hands));
    assert_false(er_hands_work(w.e.hands));
    answer_all();
    assert_true(said("\"finished\""));
}

static void
hands__sleep_by_a_clock_that_is_moved(void **state)
{
    struct gate g = {0};
    (void)state;
    er_count_set(&moment, 1000 * ER_USEC_PER_SEC);
    er_hands_set_clock(w.e.hands, &still);
    begin("t", sleep_an_hour, &g);
    run(1, ",\"timeout_s\":7200");
    while (er_hands_asleep(w.e.hands) == 0) {
        (void)poll(NULL, 0, 1);
    }
    assert_true(er_hands_due(w.e.hands) <= 4600 * ER_USEC_PER_SEC);
    assert_int_equal(er_count_get(&g.seen), 0);
    er_count_add(&moment, 3600 * ER_USEC_PER_SEC);
    er_hands_clock_moved(w.e.hands);
    answer_all();
    assert_int_equal(er_count_get(&g.seen), 100);
}

int
main(void)
{
#define HANDS(name) cmocka_unit_test_setup_teardown(hands__##name, setup, teardown)
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
        HANDS(keep_items_before_the_end),
        HANDS(make_items_wait_for_answers),
        HANDS(tell_progress_now_and_then_and_the_last),
        HANDS(tell_the_last_progress_of_a_silent_one),
        HANDS(write_output_to_a_log),
        HANDS(take_progress_that_came_by_http),
        HANDS(send_again_what_was_not_taken),
        HANDS(give_up_the_one_line_that_is_refused),
        HANDS(go_on_with_the_next_daemon),
        HANDS(begin_anew_when_their_session_is_lost),
        HANDS(forget_what_an_answer_says_is_lost),
        HANDS(stop_with_the_handle),
        HANDS(run_inline),
        HANDS(sleep_by_a_clock_that_is_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
