/* SPDX-License-Identifier: MIT */
/* A handle is opened and closed.
 *
 * Closing: the inbox is closed (who comes later gets ERRAND_ECLOSED) -> asks of waiting
 * callers end -> handlers stop -> the bus ends -> the worker for commands, the doors ->
 * the loop is left -> engine or connections are freed. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/heap.h"
#include "base/io.h"
#include "base/mem.h"
#include "lib/embedded.h"
#include "lib/events.h"
#include "lib/handle_priv.h"
#include "lib/options.h"
#include "lib/standard.h"
#include "lib/testing.h"
#include "lib/wire.h"

_Static_assert(ERRAND_ENODAEMON == ER_ENODAEMON && ERRAND_ETIMEOUT == ER_ETIMEOUT &&
                   ERRAND_EFULL == ER_EFULL && ERRAND_EIO == ER_EIO &&
                   ERRAND_ECLOSED == ER_ECLOSED && ERRAND_EBUSY == ER_EBUSY &&
                   ERRAND_EDISKFULL == ER_EDISKFULL && ERRAND_EAUTH == ER_EAUTH &&
                   ERRAND_ETOOBIG == ER_ETOOBIG && ERRAND_ECANCELLED == ER_ECANCELLED &&
                   ERRAND_ECORRUPT == ER_ECORRUPT && ERRAND_ESCHEMA == ER_ESCHEMA &&
                   ERRAND_ELOST == ER_ELOST && ERRAND_ETASKFAILED == ER_ETASKFAILED,
               "the public codes are the inner ones");

/* ---- closing ---- */

static void
leave_loop(void *ctx)
{
    struct errand *e = ctx;
    e->wheels->step = OVER;
    er_ask_end_all(e, false);
    while (e->waits) {
        er_handle_done(e->waits, ER_ECLOSED);
    }
    er_handle_do_not_sleep(e);
}

static void
stop_house(struct errand *e)
{
    e->wheels->step = HOUSE;
    er_ask_end_all(e, false);
    if (e->embedded) {
        er_embedded_stop(e->embedded, leave_loop, e);
        return;
    }
    if (e->wire) {
        er_wire_close(e->wire);
    }
    leave_loop(e);
}

static void
stop_events(struct errand *e)
{
    er_events_close(e, stop_house);
}

void
er_handle_begin_close(struct errand *e)
{
    e->wheels->step = CALLERS;
    er_ask_end_all(e, true);
    e->wheels->step = HANDLERS;
    if (e->handlers) {
        e->hands_stop(e, stop_events);
    } else {
        stop_events(e);
    }
}

/* The loop has been left, on its thread. */
static void
finish(struct errand *e)
{
    er_log_sink(er_handle_to_log, e);
    if (e->handlers) {
        e->hands_free(e);
    }
    if (e->embedded) {
        er_embedded_free(e->embedded);
    }
    er_loop_free(e->loop);
    e->loop = NULL;
    er_wire_free(e->wire);
    er_events_free(e->events);
    er_log_sink(NULL, NULL);
}

static void *
thread_main(void *arg)
{
    struct errand *e = arg;
    er_count_set(&e->owner, er_handle_mark());
    er_log_sink(er_handle_to_log, e);
    e->wheels->is_running = true;
    while (e->wheels->step != OVER) {
        (void)uv_run(er_loop_uv(e->loop), UV_RUN_DEFAULT);
    }
    e->wheels->is_running = false;
    finish(e);
    return NULL;
}

static int
start_thread(struct errand *e, errand_error *error)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&e->thread, NULL, thread_main, e);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        return er_handle_fail(error, ER_EIO, NULL, "cannot start a thread: %s",
                              strerror(rc));
    }
    (void)pthread_setname_np(e->thread, "errand");
    e->wheels->has_thread = true;
    return 0;
}

static void
free_handle(struct errand *e)
{
    struct er_wheels *w = e->wheels;
    if (w) {
        er_close(&w->timer_fd);
        er_close(&w->outer);
        er_lock_fini(&w->log_lock);
        er_lock_fini(&w->gate);
    }
    er_loop_free(e->loop);
    er_mailbox_free(e->inbox);
    er_free(w);
    er_options_fini(&e->options);
    er_free(e->socket);
    er_testing_free(e->testing);
    er_free(e);
    er_standard_release();
}

void
errand_close(errand *e)
{
    if (!e) {
        return;
    }
    struct er_wheels *w = e->wheels;
    if (er_handle_is_inside(e) || er_handle_has_loop(e) ||
        (w->has_thread && er_handle_is_loop(e))) {
        er_handle_log(
            e, ERRAND_LOG_ERROR,
            "errand_close from inside a handler or callback: nothing was closed");
        return;
    }
    if (er_count_swap(&e->closing, 1) != 0) {
        er_handle_log(e, ERRAND_LOG_ERROR, "errand_close, twice: nothing was done");
        return;
    }
    er_mailbox_close(e->inbox);
    (void)er_count_swap(&w->is_closed, 1);
    (void)uv_async_send(&w->async);
    if (w->has_thread) {
        (void)pthread_join(e->thread, NULL);
    } else {
        (void)er_handle_claim_loop(
            e, true); /* a thread that waits inside has begun to close, then */
        w->turning = true;
        er_handle_take_letters(w); /* those that came before get their ends, too */
        if (w->step == OPEN) {
            er_handle_begin_close(e);
        }
        while (w->step != OVER) {
            er_handle_run(w, UV_RUN_ONCE);
        }
        finish(e);
    }
    free_handle(e);
}

/* ---- opening ---- */

static int
make_outer(struct errand *e, errand_error *error)
{
    struct er_wheels *w = e->wheels;
    w->outer = epoll_create1(EPOLL_CLOEXEC);
    w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event in = {.events = EPOLLIN};
    if (w->outer < 0 || w->timer_fd < 0 ||
        epoll_ctl(w->outer, EPOLL_CTL_ADD, uv_backend_fd(er_loop_uv(e->loop)), &in) ||
        epoll_ctl(w->outer, EPOLL_CTL_ADD, w->timer_fd, &in)) {
        return er_handle_fail(error, ER_EIO, NULL, "cannot make a descriptor to poll: %s",
                              strerror(errno));
    }
    return 0;
}

struct opening {
    struct er_wait wait;
    struct errand *e;
    const char *url;
    errand_error *error;
};

/* Memory, or a thread, is nobody's fault. */
static const char *
blame(int rc, const char *field)
{
    return rc == ER_ENOMEM ? NULL : field;
}

static void
on_connected(void *ctx, int rc, const char *words)
{
    struct opening *o = ctx;
    if (rc) {
        (void)er_handle_fail(o->error, rc, blame(rc, "url"), "%s", words);
    }
    er_handle_done(&o->wait, rc);
}

static void
open_here(struct er_wait *wait)
{
    struct opening *o = wait->ctx;
    struct errand *e = o->e;
    struct er_err err = {""};
    const char *field = NULL;
    int rc;
    if (!o->url || strncmp(o->url, "unix:", 5) == 0) {
        rc = er_wire_open(e, on_connected, o, &e->wire, &err);
        if (rc == 0) {
            return; /* on_connected tells */
        }
    } else {
        const char *path = strcmp(o->url, "memory:") == 0 ? NULL : o->url + 7;
        rc = er_embedded_open(e, path, &e->embedded, &field, &err);
        rc = rc || !e->testing ? rc : er_testing_start(e->testing);
    }
    if (rc) {
        (void)er_handle_fail(o->error, rc, blame(rc, field), "%s", err.text);
    }
    er_handle_done(wait, rc);
}

static int
make(struct errand *e, const char *url, errand_error *error)
{
    struct er_err err = {""};
    struct er_wheels *w = e->wheels;
    if (url && strncmp(url, "unix:", 5) == 0) {
        e->socket = er_strdup(url + 5);
    }
    e->inbox = er_mailbox_new(er_handle_wake, w);
    if (!e->inbox || (url && strncmp(url, "unix:", 5) == 0 && !e->socket)) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    if (e->options.test) {
        e->testing = er_testing_new(e);
        if (!e->testing) {
            return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
        }
    }
    int rc = e->options.test & ERRAND_TEST_CLOCK
                 ? er_loop_new_virtual(er_handle_clock(e), &e->loop, &err)
                 : er_loop_new(&e->loop, &err);
    if (rc) {
        return er_handle_fail(error, rc, NULL, "%s",
                              err.text[0] ? err.text : er_error_meaning(rc));
    }
    er_handle_start_wheels(e);
    e->events = er_events_new(e);
    if (!e->events) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    if (e->options.threading == ERRAND_THREAD) {
        return start_thread(e, error);
    }
    er_count_set(&e->owner, er_handle_mark());
    return make_outer(e, error);
}

int
errand_open(const char *url, const struct errand_options *options, errand **out,
            errand_error *error)
{
    if (!out) {
        return er_handle_fail(error, ER_EINVALID, "out", "out is NULL");
    }
    *out = NULL;
    er_log_set_quiet();
    er_mem_reserve(ER_HANDLE_RESERVE);
    struct errand *e = er_zalloc(sizeof *e);
    struct er_wheels *w = er_zalloc(sizeof *w);
    if (!e || !w) {
        er_free(e);
        er_free(w);
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    er_standard_hold();
    e->wheels = w;
    w->e = e;
    w->outer = w->timer_fd = -1;
    w->armed_at = ER_NEVER;
    er_lock_init(&w->log_lock);
    er_lock_init(&w->gate);
    TAILQ_INIT(&e->asks);
    int rc = er_options_read(&e->options, options, error);
    rc = rc ? rc : er_options_check(url, &e->options, error);
    rc = rc ? rc : make(e, url, error);
    if (rc) {
        free_handle(e);
        return rc;
    }
    struct opening o = {.e = e, .url = url, .error = error};
    o.wait.fn = open_here;
    o.wait.ctx = &o;
    rc = er_handle_wait(e, &o.wait);
    if (rc) {
        errand_close(e);
        return rc;
    }
    *out = e;
    return er_handle_fine(error);
}
