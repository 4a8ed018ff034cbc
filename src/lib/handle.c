/* SPDX-License-Identifier: MIT */
/* A handle's life. The loop lives on a thread of ours (ERRAND_THREAD) or on whichever thread
 * turns it (ERRAND_TURN: the one that opened it, until another calls errand_turn).
 *
 * Happy path of a blocking function: a letter into the inbox -> the loop's thread calls
 * wait->fn -> er_handle_done wakes the caller. On the thread that turns there is no letter:
 * fn is called, and the loop turned until it is done.
 *
 * Closing: the inbox is closed (who comes later gets ERRAND_ECLOSED) -> asks of waiting
 * callers end -> handlers stop -> the bus ends -> the worker for commands, the doors -> the
 * loop is left -> engine or connections are freed.
 *
 * With ERRAND_TURN the descriptor is an epoll over the loop's own and a timerfd, which is set
 * after each turn to when the next timer of the loop is due. */
#include "lib/handle.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "base/error.h"
#include "base/heap.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "lib/embedded.h"
#include "lib/events.h"
#include "lib/inside.h"
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

#define CONNECT_MS 10000
#define BOUNDS_MS  500 /* between two looks at asks that are late */
#define TURNS_MAX  16  /* rounds of the loop in one errand_turn */

enum step { OPEN, CALLERS, HANDLERS, HOUSE, OVER };

struct er_wheels {
    struct errand *e;
    uv_async_t async;     /* the inbox has something */
    uv_prepare_t prepare; /* the end of the turn, before the engine's own */
    uv_idle_t idle;       /* runs while something is stirred: the loop does not sleep */
    uv_timer_t bounds;    /* runs while asks with a bound are under way */
    int outer, timer_fd;  /* ERRAND_TURN; -1 = none */
    er_usec armed_at;     /* mono; ER_NEVER = the timerfd is not set */
    /* ERRAND_TURN: the mark of the thread that has the loop now, so that no two have; 0 = none.
     * Changed under `gate`, for who closes to wait. */
    struct er_count inside;
    struct er_lock gate;
    int depth;       /* how often it has taken it */
    bool turning;    /* blocking functions are refused on the loop's thread */
    bool is_running; /* within uv_run */
    bool has_thread;
    struct er_count is_closed; /* the inbox: ERRAND_THREAD */
    enum step step;
    struct er_lock log_lock;
};

const char *
er_handle_folder(char *out, size_t size)
{
    Dl_info info;
    char path[PATH_MAX];
    if (!dladdr((void *)(uintptr_t)errand_open, &info) || !info.dli_fname ||
        !strchr(info.dli_fname, '/') || !realpath(info.dli_fname, path)) {
        return NULL;
    }
    *strrchr(path, '/') = '\0';
    (void)snprintf(out, size, "%s", path);
    return out;
}

/* ---- errors ---- */

int
errand_version(void)
{
    return ERRAND_VERSION;
}

const char *
errand_strerror(int code)
{
    return code == 0 ? "ok" : er_error_meaning(code);
}

void
errand_free(void *p)
{
    er_free(p);
}

/* ---- threads ---- */

/* Names a thread while it lives: no two have this at the same address. */
static int64_t
own_mark(void)
{
    static _Thread_local char mark;
    return (int64_t)(intptr_t)&mark;
}

bool
er_handle_is_loop(const struct errand *e)
{
    return er_count_get(&e->owner) == own_mark();
}

/* The innermost function of an application that we have called on this thread. */
static _Thread_local struct er_turn_frame *frames;

void
er_handle_push(struct er_turn_frame *f, const struct errand *e)
{
    *f = (struct er_turn_frame){e, frames};
    frames = f;
}

void
er_handle_pop(const struct er_turn_frame *f)
{
    frames = f->outer;
}

static bool
is_called_by(const struct errand *e)
{
    const struct er_turn_frame *f = frames;
    while (f && f->e != e) {
        f = f->outer;
    }
    return f != NULL;
}

/* ERRAND_TURN: whether this thread is inside the loop. */
static bool
has_loop(const struct errand *e)
{
    return er_count_get(&e->wheels->inside) == own_mark();
}

bool
er_handle_cannot_wait(const struct errand *e)
{
    return e->options.threading == ERRAND_THREAD ||
           (has_loop(e) && (e->wheels->turning || e->in_callback));
}

/* ERRAND_TURN: the loop is this thread's from now on, unless another is inside; that is waited
 * for, or not. */
static bool
claim_loop(struct errand *e, bool waits)
{
    struct er_wheels *w = e->wheels;
    er_lock_take(&w->gate);
    while (waits && er_count_get(&w->inside) != 0) {
        er_lock_wait(&w->gate);
    }
    bool is_free = er_count_get(&w->inside) == 0;
    if (is_free) {
        er_count_set(&w->inside, own_mark());
        er_count_set(&e->owner, own_mark());
        w->depth = 1;
    }
    er_lock_give(&w->gate);
    return is_free;
}

bool
er_handle_take_loop(struct errand *e)
{
    if (e->options.threading == ERRAND_THREAD) {
        return er_handle_is_loop(e);
    }
    if (has_loop(e)) {
        e->wheels->depth++;
        return true;
    }
    return er_handle_is_loop(e) && claim_loop(e, false);
}

void
er_handle_give_loop(struct errand *e)
{
    struct er_wheels *w = e->wheels;
    if (e->options.threading == ERRAND_THREAD || --w->depth > 0) {
        return;
    }
    er_lock_take(&w->gate);
    er_count_set(&w->inside, 0);
    er_lock_wake(&w->gate);
    er_lock_give(&w->gate); /* who closes may free it now */
}

static void
to_log(void *ctx, enum er_log_level level, const char *src, const char *text)
{
    struct errand *e = ctx;
    (void)src;
    if (e->options.log) {
        er_lock_take(&e->wheels->log_lock);
        e->options.log(e->options.log_ctx, (int)level + 1, text);
        er_lock_give(&e->wheels->log_lock);
    }
}

const struct er_clock *
er_handle_clock(const struct errand *e)
{
    return e->options.test & ERRAND_TEST_CLOCK ? er_testing_clock(e->testing)
                                               : er_clock_system();
}

void
er_handle_log(struct errand *e, int level, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    to_log(e, (enum er_log_level)(level - 1), "", text);
}

/* ---- the loop ---- */

static void begin_close(struct errand *e);

static void
take_letters(struct er_wheels *w)
{
    struct er_mail *mail = er_mailbox_take(w->e->inbox);
    while (mail) {
        struct er_mail *next = mail->next;
        struct er_letter *letter = (struct er_letter *)(void *)mail;
        letter->deliver(letter);
        mail = next;
    }
}

/* A closed inbox gets no more letters: the closing comes behind the last. */
static void
on_async(uv_async_t *h)
{
    struct er_wheels *w = h->data;
    bool is_closed = er_count_see(&w->is_closed) != 0;
    take_letters(w);
    if (is_closed && w->step == OPEN) {
        begin_close(w->e);
    }
}

static void
wake_inbox(void *ctx)
{
    struct er_wheels *w = ctx;
    (void)uv_async_send(&w->async);
}

static void
on_idle(uv_idle_t *h)
{
    (void)h; /* that it is active keeps the loop from sleeping */
}

static void
on_prepare(uv_prepare_t *h)
{
    struct er_wheels *w = h->data;
    struct er_inside *in = w->e->embedded ? er_embedded_inside(w->e->embedded) : NULL;
    if (!in || !er_inside_turn(in)) {
        (void)uv_idle_stop(&w->idle);
    }
}

void
er_handle_stir(struct errand *e)
{
    (void)uv_idle_start(&e->wheels->idle, on_idle);
}

static void
on_bounds(uv_timer_t *t)
{
    struct er_wheels *w = t->data;
    if (er_ask_look(w->e) == 0) {
        (void)uv_timer_stop(t);
    }
}

void
er_handle_watch_bounds(struct errand *e)
{
    uv_timer_t *t = &e->wheels->bounds;
    if (!uv_is_active((const uv_handle_t *)t)) {
        (void)uv_timer_start(t, on_bounds, BOUNDS_MS, BOUNDS_MS);
    }
}

static void
start_wheels(struct errand *e)
{
    struct er_wheels *w = e->wheels;
    uv_loop_t *uv = er_loop_uv(e->loop);
    w->async.data = w->prepare.data = w->idle.data = w->bounds.data = w;
    ER_ASSERT(uv_async_init(uv, &w->async, on_async) == 0);
    ER_ASSERT(uv_prepare_init(uv, &w->prepare) == 0);
    ER_ASSERT(uv_prepare_start(&w->prepare, on_prepare) == 0);
    ER_ASSERT(uv_idle_init(uv, &w->idle) == 0);
    ER_ASSERT(uv_timer_init(uv, &w->bounds) == 0);
}

/* ---- waiting ---- */

bool
er_handle_post(struct errand *e, struct er_letter *letter)
{
    return er_mailbox_post(e->inbox, &letter->mail);
}

static void
begin_wait(struct er_wait *w)
{
    struct errand *e = w->e;
    w->next = e->waits;
    w->prev = &e->waits;
    if (w->next) {
        w->next->prev = &w->next;
    }
    e->waits = w;
    w->fn(w);
}

static void
deliver_wait(struct er_letter *letter)
{
    struct er_wait *w = ER_CONTAINER(letter, struct er_wait, letter);
    if (w->e->wheels->step > OPEN) {
        w->prev = NULL;
        er_handle_done(w, ER_ECLOSED);
        return;
    }
    begin_wait(w);
}

/* Within uv_run: it returns at the end of this round. */
static void
do_not_sleep(struct errand *e)
{
    if (e->wheels->is_running) {
        uv_stop(er_loop_uv(e->loop));
    }
}

void
er_handle_done(struct er_wait *w, int code)
{
    if (w->prev) {
        *w->prev = w->next;
        if (w->next) {
            w->next->prev = w->prev;
        }
    }
    if (w->is_turning) {
        w->code = code;
        w->is_done = true;
        do_not_sleep(w->e);
        return;
    }
    w->code = code;
    er_bell_ring(&w->done); /* it may be gone now */
}

static void after_turn(struct er_wheels *w);

static void
run(struct er_wheels *w, uv_run_mode mode)
{
    er_log_sink(to_log, w->e);
    bool was = w->turning;
    w->turning = w->is_running = true;
    (void)uv_run(er_loop_uv(w->e->loop), mode);
    w->turning = was;
    w->is_running = false;
    er_log_sink(NULL, NULL);
}

static int
wait_turning(struct errand *e, struct er_wait *w)
{
    w->is_turning = true;
    w->prev = NULL;
    if (e->wheels->step > OPEN) {
        return ER_ECLOSED;
    }
    er_log_sink(to_log, e);
    begin_wait(w);
    while (!w->is_done) {
        run(e->wheels, UV_RUN_ONCE);
    }
    after_turn(e->wheels);
    return w->code;
}

int
er_handle_wait(struct errand *e, struct er_wait *w)
{
    w->e = e;
    w->is_done = w->is_turning = false;
    w->code = 0;
    if (er_handle_is_loop(e) && er_handle_cannot_wait(e)) {
        return ER_EBUSY;
    }
    if (er_handle_take_loop(e)) {
        int rc = wait_turning(e, w);
        er_handle_give_loop(e);
        return rc;
    }
    er_bell_init(&w->done);
    w->letter.deliver = deliver_wait;
    if (er_handle_post(e, &w->letter)) {
        er_bell_wait(&w->done);
    } else {
        w->code = ER_ECLOSED;
    }
    er_bell_fini(&w->done);
    return w->code;
}

/* ---- turns ---- */

int
errand_fd(const errand *e)
{
    return e ? e->wheels->outer : -1;
}

/* Sets the timerfd to when the loop wants to be turned next. */
static void
arm(struct er_wheels *w)
{
    int ms = uv_backend_timeout(er_loop_uv(w->e->loop));
    er_usec now = er_clock_mono(er_clock_system());
    er_usec at = ms < 0 ? ER_NEVER : now + (er_usec)ms * ER_USEC_PER_MS;
    if (at == w->armed_at && at > now) {
        return;
    }
    er_usec in = at == ER_NEVER ? 0 : at - now;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(in / ER_USEC_PER_SEC),
                     .tv_nsec = (long)(in % ER_USEC_PER_SEC) * 1000}};
    if (at != ER_NEVER && in == 0) {
        when.it_value.tv_nsec = 1;
    }
    w->armed_at = at;
    (void)timerfd_settime(w->timer_fd, 0, &when, NULL);
}

static void
after_turn(struct er_wheels *w)
{
    er_loop_settle(w->e->loop);
    for (int i = 0; i < TURNS_MAX && uv_backend_timeout(er_loop_uv(w->e->loop)) == 0;
         i++) {
        run(w, UV_RUN_NOWAIT);
        er_loop_settle(w->e->loop);
    }
    arm(w);
}

int
errand_turn(errand *e)
{
    if (!e || e->options.threading != ERRAND_TURN) {
        return ERRAND_EINVALID;
    }
    if (is_called_by(e)) {
        return ERRAND_EBUSY;
    }
    if (er_count_get(&e->closing)) {
        return ERRAND_ECLOSED;
    }
    if (!claim_loop(e, false)) { /* from inside a callback, or another thread is at it */
        return ERRAND_EBUSY;
    }
    run(e->wheels, UV_RUN_NOWAIT);
    after_turn(e->wheels);
    er_handle_give_loop(e);
    return 0;
}

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
    do_not_sleep(e);
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

static void
begin_close(struct errand *e)
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
    er_log_sink(to_log, e);
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
    er_count_set(&e->owner, own_mark());
    er_log_sink(to_log, e);
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
    er_free((char *)(uintptr_t)e->options.worker);
    er_free((char *)(uintptr_t)e->options.socket);
    er_free((char *)(uintptr_t)e->options.types_dir);
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
    if (is_called_by(e) || has_loop(e) || (w->has_thread && er_handle_is_loop(e))) {
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
        (void)claim_loop(e,
                         true); /* a thread that waits inside has begun to close, then */
        w->turning = true;
        take_letters(w); /* those that came before get their ends, too */
        if (w->step == OPEN) {
            begin_close(e);
        }
        while (w->step != OVER) {
            run(w, UV_RUN_ONCE);
        }
        finish(e);
    }
    free_handle(e);
}

/* ---- opening ---- */

static int
check_types_dir(const char *path, errand_error *error)
{
    char within[PATH_MAX];
    if (!path) {
        return 0;
    }
    (void)snprintf(within, sizeof within, "%s/.", path);
    return access(within, R_OK | X_OK) == 0
               ? 0
               : er_handle_fail(error, errno == ENOENT ? ER_ENOTFOUND : ER_EINVALID,
                                "types_dir",
                                "types_dir: the folder '%.200s' cannot be read: %s", path,
                                strerror(errno));
}

static int
read_options(struct errand *e, const struct errand_options *given, errand_error *error)
{
    struct errand_options *o = &e->options;
    int rc = er_handle_read(o, sizeof *o, given, error);
    if (rc) {
        return rc;
    }
    const char *worker = o->worker, *path = o->socket, *types = o->types_dir;
    o->worker = er_strdup(worker);
    o->socket = er_strdup(path);
    o->types_dir = er_strdup(types);
    if ((worker && !o->worker) || (path && !o->socket) || (types && !o->types_dir)) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    if (o->threading != ERRAND_THREAD && o->threading != ERRAND_TURN) {
        return er_handle_fail(error, ER_EINVALID, "threading",
                              "threading %d is neither ERRAND_THREAD nor ERRAND_TURN",
                              o->threading);
    }
    if (o->handler_threads < 0 || o->handler_threads > 1000) {
        return er_handle_fail(error, ER_EINVALID, "handler_threads",
                              "handler_threads %d (1 to 1000; 0 = the number of cores)",
                              o->handler_threads);
    }
    if (o->concurrency < 0 || o->concurrency > 10000) {
        return er_handle_fail(error, ER_EINVALID, "concurrency",
                              "concurrency %d (1 to 10000; 0 = the number of cores)",
                              o->concurrency);
    }
    if (worker && access(worker, X_OK) != 0) {
        return er_handle_fail(error, ER_EINVALID, "worker",
                              "worker: '%.200s' cannot be executed: %s", worker,
                              strerror(errno));
    }
    rc = check_types_dir(types, error);
    if (rc) {
        return rc;
    }
    if (o->connect_ms < 0) {
        return er_handle_fail(error, ER_EINVALID, "connect_ms", "connect_ms is negative");
    }
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    cores = cores > 0 ? cores : 1;
    o->handler_threads = o->handler_threads ? o->handler_threads : cores;
    o->concurrency = o->concurrency ? o->concurrency : cores;
    o->connect_ms = o->connect_ms ? o->connect_ms : CONNECT_MS;
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
check_test(int test, errand_error *error)
{
    const int known = ERRAND_TEST_CLOCK | ERRAND_TEST_INLINE | ERRAND_TEST_HOLD;
    if (test & ~known) {
        return er_handle_fail(error, ER_EINVALID, "test",
                              "test %#x has bits that are no enum errand_test_mode",
                              (unsigned)test);
    }
    if ((test & ERRAND_TEST_HOLD) && (test & ERRAND_TEST_INLINE)) {
        return er_handle_fail(error, ER_EINVALID, "test",
                              "ERRAND_TEST_HOLD runs nothing, ERRAND_TEST_INLINE runs at "
                              "once: one or the other");
    }
    return 0;
}

static int
check_url(const char *url, const struct errand_options *o, errand_error *error)
{
    bool is_memory = url && strcmp(url, "memory:") == 0;
    if (url && strncmp(url, "unix:", 5) == 0 && (url[5] != '/' || url[6] == '/')) {
        return er_handle_fail(error, ER_EINVALID, "url",
                              "'%.200s': a socket is named by its whole path, with one / "
                              "at its beginning: unix:/PATH",
                              url);
    }
    if (url && !is_memory && strncmp(url, "unix:", 5) != 0 &&
        (strncmp(url, "sqlite:", 7) != 0 || !url[7] ||
         strncmp(url, "sqlite://", 9) == 0)) {
        return er_handle_fail(
            error, ER_EINVALID, "url",
            "'%.200s' is none of unix:/PATH, sqlite:PATH (no //), memory: (NULL "
            "= the user's daemon)",
            url);
    }
    if (o->types_dir && (!url || strncmp(url, "unix:", 5) == 0)) {
        return er_handle_fail(error, ER_EINVALID, "types_dir",
                              "types_dir is for sqlite: and memory: only: a daemon has a "
                              "types.d of its own");
    }
    if (o->test && !is_memory) {
        return er_handle_fail(error, ER_EINVALID, "test",
                              "test modes are for memory: only");
    }
    return check_test(o->test, error);
}

static int
make(struct errand *e, const char *url, errand_error *error)
{
    struct er_err err = {""};
    struct er_wheels *w = e->wheels;
    if (url && strncmp(url, "unix:", 5) == 0) {
        e->socket = er_strdup(url + 5);
    }
    e->inbox = er_mailbox_new(wake_inbox, w);
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
    start_wheels(e);
    e->events = er_events_new(e);
    if (!e->events) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    if (e->options.threading == ERRAND_THREAD) {
        return start_thread(e, error);
    }
    er_count_set(&e->owner, own_mark());
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
    int rc = read_options(e, options, error);
    rc = rc ? rc : check_url(url, &e->options, error);
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
