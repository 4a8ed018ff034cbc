/* SPDX-License-Identifier: MIT */
/* Handlers of this process against an engine that is the test: asks are caught, and
 * answered by hand. */
#ifndef HANDS_FIXTURE_H
#define HANDS_FIXTURE_H

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
#include "lib/embedded.h"
#include "lib/handlers_priv.h"
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

static inline void
free_ask(struct er_ask *ask)
{
    er_buf_fini(&ask->body);
    er_buf_fini(&ask->headers);
    er_free(ask->target);
    er_free(ask);
}

static inline void
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

static inline void
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
er_handle_push(struct er_turn_frame *f, const struct errand *e)
{
    f->e = e;
}

void
er_handle_pop(const struct er_turn_frame *f)
{
    (void)f;
}

const char *
er_embedded_logs(struct er_embedded *embedded)
{
    (void)embedded;
    return NULL;
}

/* ---- running it ---- */

static const char welcome[] =
    "{\"welcome\":{\"session\":7,\"token\":\"secret\",\"worker\":\"w1\",\"slots\":2,"
    "\"logs\":\"%s\",\"lock\":null,\"output_head\":1000,\"output_tail\":1000,"
    "\"progress_interval_ms\":50}}\n";

static char folder[64];

static inline void
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

/* Never sleeps for long: what is waited for may have been caused by a timer of this
 * turn. */
static inline void
turn(void)
{
    if (uv_run(er_loop_uv(w.e.loop), UV_RUN_NOWAIT) >= 0) {
        (void)poll(NULL, 0, 1);
    }
}

/* Answers reports until one has said that. */
static inline void
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
static inline const char *
await_report(void)
{
    while (!w.report) {
        turn();
    }
    return w.report->body.data;
}

static inline void
answer(int status, const char *text)
{
    (void)await_report();
    end_ask(w.report, status, text);
}

static inline void
answer_all(void)
{
    while (er_handlers_busy(w.e.handlers) > 0) {
        answer(200, "{\"lost\":[]}");
    }
}

static inline void
on_done(struct errand *e)
{
    (void)e;
    w.done = true;
}

static inline int
setup(void **state)
{
    struct er_err err;
    (void)state;
    memset(&w, 0, sizeof w);
    w.e.options.handler_threads = 2;
    assert_int_equal(er_loop_new(&w.e.loop, &err), 0);
    (void)strcpy(folder, "/tmp/errand-hands-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_non_null(er_handlers_get(&w.e));
    return 0;
}

static inline void
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

static inline int
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

static inline void
serve(const char *type, errand_handler_fn *fn, void *ctx)
{
    struct er_handler handler = {.fn = fn, .ctx = ctx};
    assert_int_equal(er_handlers_serve(w.e.handlers, type, &handler), 0);
}

static inline void
begin(const char *type, errand_handler_fn *fn, void *ctx)
{
    serve(type, fn, ctx);
    order(welcome, folder);
}

static inline void
run(int task, const char *more)
{
    order("{\"run\":{\"task\":%d,\"attempt\":1,\"run\":1,\"type\":\"t\",\"args\":{\"n\":%"
          "d},"
          "\"grace_s\":5%s}}\n",
          task, task, more);
}

static inline bool
said(const char *text)
{
    return w.reports.data && strstr(w.reports.data, text);
}

/* ---- handlers ---- */

struct gate {
    struct er_count open, inside, seen;
};

static inline int
do_nothing(errand_attempt *a, void *ctx)
{
    (void)a;
    (void)ctx;
    return 0;
}

/* Runs until it is to stop, and remembers why. */
static inline int
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
static inline int
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

static inline void
await_inside(struct gate *g, int64_t n)
{
    while (er_count_get(&g->inside) < n) {
        (void)poll(NULL, 0, 1);
    }
}

/* How often a part stands in a text. */
static inline int
count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; at && (at = strstr(at, part)); at++) {
        n++;
    }
    return n;
}

#define HANDS(name) cmocka_unit_test_setup_teardown(handlers__##name, setup, teardown)

#endif
