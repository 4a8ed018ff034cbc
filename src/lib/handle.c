/* SPDX-License-Identifier: MIT */
/* A handle's loop lives on a thread of ours (ERRAND_THREAD) or on whichever thread
 * turns it (ERRAND_TURN: the one that opened it, until another calls errand_turn).
 *
 * Happy path of a blocking function: a letter into the inbox -> the loop's thread calls
 * wait->fn -> er_handle_done wakes the caller. On the thread that turns there is no
 * letter: fn is called, and the loop turned until it is done.
 *
 * With ERRAND_TURN the descriptor is an epoll over the loop's own and a timerfd, which is
 * set after each turn to when the next timer of the loop is due. */
#include "lib/handle_priv.h"

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

#define BOUNDS_MS 500 /* between two looks at asks that are late */
#define TURNS_MAX 16  /* rounds of the loop in one errand_turn */

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
int64_t
er_handle_mark(void)
{
    static _Thread_local char mark;
    return (int64_t)(intptr_t)&mark;
}

bool
er_handle_is_loop(const struct errand *e)
{
    return er_count_get(&e->owner) == er_handle_mark();
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

bool
er_handle_is_inside(const struct errand *e)
{
    const struct er_turn_frame *f = frames;
    while (f && f->e != e) {
        f = f->outer;
    }
    return f != NULL;
}

/* ERRAND_TURN: whether this thread is inside the loop. */
bool
er_handle_has_loop(const struct errand *e)
{
    return er_count_get(&e->wheels->inside) == er_handle_mark();
}

bool
er_handle_cannot_wait(const struct errand *e)
{
    return e->options.threading == ERRAND_THREAD ||
           (er_handle_has_loop(e) && (e->wheels->turning || e->in_callback));
}

/* ERRAND_TURN: the loop is this thread's from now on, unless another is inside; that is
 * waited for, or not. */
bool
er_handle_claim_loop(struct errand *e, bool waits)
{
    struct er_wheels *w = e->wheels;
    er_lock_take(&w->gate);
    while (waits && er_count_get(&w->inside) != 0) {
        er_lock_wait(&w->gate);
    }
    bool is_free = er_count_get(&w->inside) == 0;
    if (is_free) {
        er_count_set(&w->inside, er_handle_mark());
        er_count_set(&e->owner, er_handle_mark());
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
    if (er_handle_has_loop(e)) {
        e->wheels->depth++;
        return true;
    }
    return er_handle_is_loop(e) && er_handle_claim_loop(e, false);
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

void
er_handle_to_log(void *ctx, enum er_log_level level, const char *src, const char *text)
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
    er_handle_to_log(e, (enum er_log_level)(level - 1), "", text);
}

/* ---- the loop ---- */

void
er_handle_take_letters(struct er_wheels *w)
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
    er_handle_take_letters(w);
    if (is_closed && w->step == OPEN) {
        er_handle_begin_close(w->e);
    }
}

void
er_handle_wake(void *ctx)
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

void
er_handle_start_wheels(struct errand *e)
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
void
er_handle_do_not_sleep(struct errand *e)
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
        er_handle_do_not_sleep(w->e);
        return;
    }
    w->code = code;
    er_bell_ring(&w->done); /* it may be gone now */
}

static void after_turn(struct er_wheels *w);

void
er_handle_run(struct er_wheels *w, uv_run_mode mode)
{
    er_log_sink(er_handle_to_log, w->e);
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
    er_log_sink(er_handle_to_log, e);
    begin_wait(w);
    while (!w->is_done) {
        er_handle_run(e->wheels, UV_RUN_ONCE);
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
        er_handle_run(w, UV_RUN_NOWAIT);
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
    if (er_handle_is_inside(e)) {
        return ERRAND_EBUSY;
    }
    if (er_count_get(&e->closing)) {
        return ERRAND_ECLOSED;
    }
    if (!er_handle_claim_loop(
            e, false)) { /* from inside a callback, or another thread is at it */
        return ERRAND_EBUSY;
    }
    er_handle_run(e->wheels, UV_RUN_NOWAIT);
    after_turn(e->wheels);
    er_handle_give_loop(e);
    return 0;
}
