/* SPDX-License-Identifier: MIT */
/* The threads on which handlers run. They take from one queue: who has finished takes the
 * next without waking anybody, and wakes one more when there is work beyond its own; so a
 * burst of short ones is worked off by few threads, and long ones have all of them within
 * moments.
 *
 * Failure modes: a thread cannot be made: those there are go on; the first that cannot is
 * tried again with each new order. */
#include "lib/handlers_priv.h"

#include <signal.h>

#include "base/mem.h"

/* ---- waking the loop ---- */

static void
on_wake(struct er_letter *letter)
{
    struct er_handlers *h = ER_CONTAINER(letter, struct er_handlers, wake);
    er_lock_take(&h->pool);
    h->is_woken = false;
    er_lock_give(&h->pool);
    if (!h->is_done) {
        er_handlers_look(h); /* which may post this letter again */
    } else if (h->on_done) {
        void (*done)(struct errand * e) = h->on_done;
        h->on_done = NULL;
        done(h->e);
    }
}

/* With the lock taken: whether the caller must post the letter, when it has given it. */
static bool
must_wake(struct er_handlers *h)
{
    bool must = !h->is_woken && !h->hush;
    h->is_woken = h->is_woken || must;
    return must;
}

static void
post(struct er_handlers *h)
{
    h->wake.deliver = on_wake;
    er_loop_post(h->e->loop, &h->wake);
}

void
er_handlers_pool_wake(struct er_handlers *h)
{
    er_lock_take(&h->pool);
    bool must = !h->is_woken;
    h->is_woken = true;
    er_lock_give(&h->pool);
    if (must) {
        post(h);
    }
}

void
er_handlers_pool_stir(struct er_handler_attempt *attempt)
{
    struct er_handlers *h = attempt->handlers;
    bool must = false;
    er_lock_take(&h->pool);
    if (!attempt->is_stirred && attempt->state == ER_HANDLERS_RUNNING) {
        attempt->is_stirred = true;
        TAILQ_INSERT_TAIL(&h->stirred, attempt, in_stirred);
        must = must_wake(h);
    }
    er_lock_give(&h->pool);
    if (must) {
        post(h);
    }
}

/* ---- working ---- */

/* Without the lock, for which who is woken would wait. */
static void
ring(struct er_handlers_idler *called)
{
    if (called) {
        er_bell_ring(&called->bell);
    }
}

/* With the lock taken. */
static struct er_handler_attempt *
take_next(struct er_handlers *h)
{
    struct er_handler_attempt *attempt = TAILQ_FIRST(&h->queue);
    if (attempt) {
        TAILQ_REMOVE(&h->queue, attempt, in_pool);
        attempt->state = ER_HANDLERS_RUNNING;
        attempt->begun = er_begun_add(h->begun, attempt->base.task, attempt->base.number);
        attempt->begin_at = er_handlers_now(h);
        attempt->started_at = er_clock_wall(h->clock);
    }
    return attempt;
}

/* With the lock taken; it is given, also to one who was called (or NULL), and taken
 * again. */
static void
work_on(struct er_handlers *h, struct er_handler_attempt *attempt,
        struct er_handlers_idler *called)
{
    struct er_turn_frame frame;
    er_lock_give(&h->pool);
    ring(called);
    er_handle_push(&frame, h->e);
    er_handlers_mouth_run(attempt);
    er_handle_pop(&frame);
    er_lock_take(&h->pool);
    attempt->state = ER_HANDLERS_ENDED;
    TAILQ_INSERT_TAIL(&h->ended, attempt, in_pool);
    if (must_wake(h)) {
        er_lock_give(&h->pool);
        post(h);
        er_lock_take(&h->pool);
    }
}

static void make_thread(struct er_handlers *h);

/* With the lock taken: there is more to do than those that are awake will take. Returns
 * who is to be rung. */
static struct er_handlers_idler *
call_another(struct er_handlers *h)
{
    struct er_handlers_idler *idler = SLIST_FIRST(&h->idle);
    if (h->is_called) {
        return NULL; /* that one will look for more itself */
    }
    if (idler) {
        SLIST_REMOVE_HEAD(&h->idle, link);
        h->is_called = true;
    } else if (h->n_threads < h->max_threads) {
        make_thread(h);
    }
    return idler;
}

/* With the lock taken, as afterwards. */
static void
wait_idle(struct er_handlers *h, struct er_handlers_idler *self)
{
    SLIST_INSERT_HEAD(&h->idle, self, link); /* who was busy last is called first */
    er_lock_give(&h->pool);
    er_bell_wait(&self->bell);
    er_lock_take(&h->pool);
    h->is_called = false;
}

static void *
work(void *ctx)
{
    struct er_handlers *h = ctx;
    struct er_handlers_idler self;
    er_bell_init(&self.bell);
    er_lock_take(&h->pool);
    for (;;) {
        struct er_handler_attempt *attempt = take_next(h);
        if (attempt) {
            work_on(h, attempt, TAILQ_EMPTY(&h->queue) ? NULL : call_another(h));
        } else if (h->quit) {
            break;
        } else {
            wait_idle(h, &self);
        }
    }
    er_lock_give(&h->pool);
    er_bell_fini(&self.bell);
    return NULL;
}

/* With the lock taken. Signals are the host's business. */
static void
make_thread(struct er_handlers *h)
{
    sigset_t all, old;
    if (!h->threads) {
        h->threads = er_alloc((size_t)h->max_threads * sizeof *h->threads);
    }
    if (!h->threads || h->quit) {
        return;
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&h->threads[h->n_threads], NULL, work, h) == 0) {
        h->n_threads++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void
er_handlers_pool_add(struct er_handlers *h)
{
    struct er_handler_attempt *attempt;
    struct er_handlers_idler *called = NULL;
    if (TAILQ_EMPTY(&h->incoming)) {
        return;
    }
    er_lock_take(&h->pool);
    while ((attempt = TAILQ_FIRST(&h->incoming))) {
        TAILQ_REMOVE(&h->incoming, attempt, in_incoming);
        TAILQ_INSERT_TAIL(&h->queue, attempt, in_pool);
    }
    if (!h->is_inline) {
        called = call_another(h);
    }
    er_lock_give(&h->pool);
    ring(called);
}

bool
er_handlers_work(struct er_handlers *h)
{
    er_lock_take(&h->pool);
    struct er_handler_attempt *attempt = take_next(h);
    if (attempt) {
        work_on(h, attempt, NULL);
    }
    er_lock_give(&h->pool);
    return attempt != NULL;
}

/* ---- the loop's side ---- */

bool
er_handlers_pool_take_out(struct er_handler_attempt *attempt)
{
    struct er_handlers *h = attempt->handlers;
    er_lock_take(&h->pool);
    bool was = attempt->state == ER_HANDLERS_QUEUED;
    if (was) {
        TAILQ_REMOVE(&h->queue, attempt, in_pool);
        attempt->state = ER_HANDLERS_ENDED;
    }
    er_lock_give(&h->pool);
    return was;
}

enum er_handler_attempt_state
er_handlers_pool_state(struct er_handler_attempt *attempt)
{
    er_lock_take(&attempt->handlers->pool);
    enum er_handler_attempt_state s = attempt->state;
    er_lock_give(&attempt->handlers->pool);
    return s;
}

void
er_handlers_pool_collect(struct er_handlers *h, struct er_handler_attempt_list *ended,
                         struct er_handler_attempt_list *stirred)
{
    struct er_handler_attempt *attempt;
    TAILQ_INIT(ended);
    TAILQ_INIT(stirred);
    er_lock_take(&h->pool);
    TAILQ_FOREACH (attempt, &h->ended, in_pool) {
        if (attempt->is_stirred) { /* its end says all */
            attempt->is_stirred = false;
            TAILQ_REMOVE(&h->stirred, attempt, in_stirred);
        }
    }
    TAILQ_CONCAT(ended, &h->ended, in_pool);
    /* a stirred one may be stirred again from now on: by then it must be out of this
     * list */
    while ((attempt = TAILQ_FIRST(&h->stirred))) {
        TAILQ_REMOVE(&h->stirred, attempt, in_stirred);
        attempt->is_stirred = false;
        TAILQ_INSERT_TAIL(stirred, attempt, in_looked);
    }
    er_lock_give(&h->pool);
}

void
er_handlers_pool_hush(struct er_handlers *h, bool hush)
{
    er_lock_take(&h->pool);
    h->hush = hush;
    er_lock_give(&h->pool);
}

void
er_handlers_pool_begin(struct er_handlers *h)
{
    struct er_begun *b = h->logs ? er_begun_open(h->logs, h->session) : NULL;
    struct er_handler_attempt *attempt;
    er_lock_take(&h->pool);
    TAILQ_FOREACH (attempt, &h->all, in_all) {
        attempt->begun = -1; /* of the session before, which is over */
    }
    struct er_begun *old = h->begun;
    h->begun = b;
    er_lock_give(&h->pool);
    er_begun_close(old);
}

void
er_handlers_pool_forget(struct er_handler_attempt *attempt)
{
    er_lock_take(&attempt->handlers->pool);
    er_begun_remove(attempt->handlers->begun, attempt->begun);
    er_lock_give(&attempt->handlers->pool);
}

void
er_handlers_pool_init(struct er_handlers *h)
{
    er_lock_init(&h->pool);
    SLIST_INIT(&h->idle);
    TAILQ_INIT(&h->queue);
    TAILQ_INIT(&h->ended);
    TAILQ_INIT(&h->stirred);
    h->max_threads =
        h->e->options.handler_threads > 0 ? h->e->options.handler_threads : 1;
}

void
er_handlers_pool_fini(struct er_handlers *h)
{
    er_lock_take(&h->pool);
    h->quit = true;
    while (!SLIST_EMPTY(&h->idle)) {
        struct er_handlers_idler *idler = SLIST_FIRST(&h->idle);
        SLIST_REMOVE_HEAD(&h->idle, link);
        ring(idler); /* it may be gone now */
    }
    er_lock_give(&h->pool);
    for (int i = 0; i < h->n_threads; i++) {
        (void)pthread_join(h->threads[i], NULL);
    }
    er_free(h->threads);
    er_begun_close(h->begun);
    h->begun = NULL;
    h->threads = NULL;
    h->n_threads = 0;
}
