/* SPDX-License-Identifier: MIT */
/* Who takes events and calls: a thread of the subscriber's, a turn or a pull.
 *
 * Sleeping: the descriptor is an eventfd. It is readable unless the ring counts the
 * reader as asleep; so whoever finds nothing first empties it, then goes to sleep (which
 * looks once more), and whoever wakes a sleeper writes to it: level-triggered polling is
 * right.
 *
 * Before a thread sleeps it looks at its ring for some microseconds, if that was worth it
 * the last time: waking somebody costs the publisher a system call. On a machine with one
 * processor it does not: who would publish meanwhile?
 *
 * The end: er_entry_enter refuses once the subscription is closed; whoever leaves a
 * closed one saves its cursor first and then calls er_bus_settle. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "lib/bus_priv.h"

#define SAVE_EVERY  1000
#define SPIN_APART  32 /* so that it does not take the line from who is writing it */
#define SPIN_LEAST  4  /* some 2 us */
#define SPIN_MOST   64
#define RETRY_LEAST 100 /* ms */
#define RETRY_MOST  5000

/* ---- cursors ---- */

static int
save(struct er_bus_sub *sub)
{
    const struct er_bus_options *o = &sub->bus->options;
    int64_t seq = sub->done_seq;
    if (seq == sub->saved_seq) {
        return 0;
    }
    int rc = o->cursor_save(o->ctx, sub->cursor, seq);
    if (rc) {
        er_count_own(&sub->errors, 1);
        return rc;
    }
    sub->saved_seq = seq;
    sub->unsaved = 0;
    return 0;
}

void
er_bus_serve_save(struct er_bus_sub *sub)
{
    if (sub->cursor && sub->done_seq != sub->saved_seq) {
        (void)save(sub); /* counted, and tried again with the next fact */
    }
}

/* ---- entering and leaving ---- */

static int
enter(struct er_bus_sub *sub)
{
    int rc = er_entry_enter(&sub->entry);
    if (rc == ER_ECLOSED) {
        er_bus_settle(sub->bus);
    }
    return rc;
}

/* After a turn in which everything was given back. The handle may be gone afterwards. */
static void
leave(struct er_bus_sub *sub)
{
    struct er_bus *bus = sub->bus;
    if (er_entry_is_closed(&sub->entry)) {
        er_bus_take_back(sub);
        er_bus_serve_save(sub);
    }
    if (er_entry_leave(&sub->entry)) {
        er_bus_settle(bus);
    }
}

static void
drain(const struct er_bus_sub *sub)
{
    uint64_t n;
    while (read(sub->fd, &n, sizeof n) < 0 && errno == EINTR) {
    }
}

/* Nothing was found: false when there is something after all. */
static bool
fall_asleep(struct er_bus_sub *sub)
{
    bool wake = false;
    er_bus_serve_save(sub);
    drain(sub);
    if (er_ring_sleep(sub->ring, !sub->in_batch, &wake)) {
        return true;
    }
    if (wake) {
        er_bus_signal(sub);
    }
    return false;
}

/* Takes one and calls for it: 1, 0 or a code. */
static int
serve_one(struct er_bus_sub *sub)
{
    int rc = er_bus_take_next(sub);
    if (rc == 1) {
        sub->fn(sub->ctx, sub, &sub->now);
        er_count_own(&sub->delivered, 1);
        if (sub->unsaved >= SAVE_EVERY && sub->cursor) {
            er_bus_take_back(sub);
            er_bus_serve_save(sub);
        }
    }
    return rc;
}

/* ---- a thread ---- */

static void
pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Looks for something to do for a while that depends on how that went before. */
static bool
spin(const struct er_bus_sub *sub, int *rounds)
{
    for (int i = 0; i < *rounds; i++) {
        for (int k = 0; k < SPIN_APART; k++) {
            pause_cpu();
        }
        if (er_ring_is_ready(sub->ring, !sub->in_batch)) {
            *rounds = *rounds < SPIN_MOST ? *rounds * 2 : SPIN_MOST;
            return true;
        }
    }
    *rounds = *rounds > SPIN_LEAST ? *rounds / 2 : *rounds;
    return false;
}

static void
wait_fd(const struct er_bus_sub *sub, int ms)
{
    struct pollfd p = {.fd = sub->fd, .events = POLLIN};
    (void)poll(&p, 1, ms);
}

/* The read function has failed: some time later it is tried again. */
static void
wait_retry(const struct er_bus_sub *sub, int *ms)
{
    drain(sub);
    if (!er_entry_is_closed(&sub->entry)) {
        wait_fd(sub, *ms);
        *ms = *ms * 2 < RETRY_MOST ? *ms * 2 : RETRY_MOST;
    }
}

static void *
run(void *ctx)
{
    struct er_bus_sub *sub = ctx;
    int rounds = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? SPIN_MOST : 0;
    int ms = RETRY_LEAST;
    while (enter(sub) == 0) {
        int rc;
        while ((rc = serve_one(sub)) == 1 && !er_entry_is_closed(&sub->entry)) {
            ms = RETRY_LEAST;
        }
        bool asleep = rc == 0 && !spin(sub, &rounds) && fall_asleep(sub);
        if (er_entry_is_closed(&sub->entry)) {
            leave(sub);
            return NULL; /* sub stays until this thread was joined */
        }
        leave(sub);
        if (asleep) {
            wait_fd(sub, -1);
        } else if (rc < 0) {
            wait_retry(sub, &ms);
        }
    }
    return NULL;
}

int
er_bus_serve_start(struct er_bus_sub *sub)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&sub->thread, NULL, run, sub);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc ? ER_EIO : 0;
}

/* ---- turns and pulls ---- */

int
er_bus_turn(struct er_bus_sub *sub, size_t max)
{
    if (sub->way != ER_BUS_TURN) {
        return ER_EINVALID;
    }
    int rc = enter(sub), n = 0;
    if (rc) {
        return rc;
    }
    for (;;) {
        if (max && (size_t)n >= max) {
            er_bus_take_back(sub);
            break;
        }
        rc = serve_one(sub);
        if (rc < 0 || (rc == 0 && fall_asleep(sub))) {
            break;
        }
        n += rc;
        if (er_entry_is_closed(&sub->entry)) {
            rc = n > 0 ? 0 : ER_ECLOSED;
            break;
        }
    }
    leave(sub);
    return n > 0 ? n : rc;
}

int
er_bus_pull(struct er_bus_sub *sub, const struct er_bus_event **out)
{
    if (sub->way != ER_BUS_PULL) {
        return ER_EINVALID;
    }
    int rc = enter(sub);
    if (rc) {
        return rc;
    }
    do {
        rc = er_bus_take_next(sub);
    } while (rc == 0 && !fall_asleep(sub));
    if (rc == 1) {
        *out = &sub->now;
        er_count_own(&sub->delivered, 1);
        if (sub->unsaved >= SAVE_EVERY) {
            er_bus_serve_save(sub);
        }
    }
    leave(sub);
    return rc;
}
