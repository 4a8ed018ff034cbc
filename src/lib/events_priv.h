/* SPDX-License-Identifier: MIT */
/* What the files of a handle's events share, but pages, cursors and publishing, which
 * need no more than events.h:
 *
 *   events.c            the beginning and the end
 *   events_stream.c     opening at the first subscription, and the stream that feeds the
 *                       bus
 *   events_subscribe.c  errand_subscribe and the like, and what the bus calls
 *   events_loop.c       subscriptions that are turned on the loop (ERRAND_ON_LOOP)
 *   events_pull.c       subscriptions that the program asks (ERRAND_PULL)
 *
 * Who refers to a subscription, and frees it as the last one: the bus until it calls
 * `ended`; with ERRAND_ON_LOOP also its poll, with ERRAND_PULL also the program. */
#ifndef ER_LIB_EVENTS_PRIV_H
#define ER_LIB_EVENTS_PRIV_H

#include <pthread.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "lib/events.h"
#include "lib/handle.h"

#define ER_EVENTS_AGAIN_MS 100 /* before what failed is tried again */

struct er_events_timer {
    uv_timer_t again; /* events_stream.c: the stream is opened */
    uv_timer_t retry; /* events_loop.c: the subscribers are turned */
    struct er_events *ev;
};

struct errand_subscription {
    struct errand *e;
    struct er_count sub; /* the bus's handle, as a number: a callback may come before the
                          * subscribing thread has it */
    errand_event_fn *fn;
    void *ctx;
    void (*ended)(void *ctx);
    int delivery;
    uv_poll_t poll; /* ERRAND_ON_LOOP */
    int refs;       /* the bus's, and the poll's or (PULL: of the lock) the program's */
    struct errand_subscription *next, **prev; /* ON_LOOP; PULL: of the lock */
    /* ERRAND_PULL */
    struct er_pulls *pulls;
    int users;      /* of the lock: threads that ask the bus */
    bool is_pulled; /* of the lock: by this thread ... */
    pthread_t puller;
    bool is_left; /* ... which has unsubscribed in a callback meanwhile (ERRAND_TURN) */
    bool is_over; /* of the lock: nobody may any more */
    bool is_dropped; /* of the lock: the program has unsubscribed */
    int fd;          /* the bus's, once more */
    errand_event now;
    struct er_buf copy;                 /* what `now` points to */
    const struct er_bus_event *pending; /* there was no memory for the copy */
};

/* A subscription that is being made. */
struct er_subscribing {
    struct er_wait wait;
    struct errand_subscription *s;
    struct er_bus_subscription want;
    int64_t cursor_at; /* on the loop: was looked up before; -1 = there is none */
    struct er_err err;
};

static inline struct er_bus_sub *
er_events_bus_sub(const struct errand_subscription *s)
{
    return (struct er_bus_sub *)(intptr_t)er_count_see(&s->sub);
}

static inline void
er_events_set_bus_sub(struct errand_subscription *s, struct er_bus_sub *sub)
{
    (void)er_count_swap(&s->sub, (int64_t)(intptr_t)sub);
}

/* ---- events_stream.c ---- */

/* Any thread: waits until bus and stream are there. Fills error (may be NULL) as it
 * fails. */
int er_events_open(struct errand *e, errand_error *error);
/* Loop thread, ev->is_closing is set: no stream any more; who waits for it hears so. */
void er_events_close_stream(struct er_events *ev);

/* ---- events_subscribe.c ---- */

/* The same event, which points to the same texts. */
errand_event er_events_to_public(const struct er_bus_event *ev);
/* The bus's callback, but on the loop: calls the program's function. */
er_bus_fn er_events_on_event;
/* Not PULL: the bus or the poll does not refer to it any more. */
void er_events_release(struct errand_subscription *s);
/* Tells the bus of it: 0, or what er_bus_subscribe says, with words in k->err. */
int er_events_subscribe(struct er_subscribing *k);

/* ---- events_loop.c ---- */

/* The bus's callback on the loop. */
er_bus_fn er_events_on_loop_event;
/* Any thread: as er_events_subscribe, and the loop looks at its descriptor from now
 * on. */
int er_events_loop_subscribe(struct er_subscribing *k);
/* Any thread: the bus and the loop let it go; no callback comes after this. */
void er_events_loop_unsubscribe(struct errand_subscription *s);
/* Loop thread, at the end: takes all off the loop. */
void er_events_close_loop(struct er_events *ev);

/* ---- events_pull.c ---- */

/* Of a handle. NULL: no memory. */
struct er_pulls *er_events_pulls_new(void);
/* The handle's reference goes; subscriptions that the program still has keep theirs. */
void er_events_pulls_free(struct er_pulls *p);
/* Loop thread: nobody asks the bus any more when this returns; all are told by their
 * descriptors that something has come, which is that. */
void er_events_pulls_close(struct er_pulls *p);
/* As er_events_subscribe. It frees k->s itself when it fails. */
int er_events_pull_subscribe(struct er_subscribing *k);
void er_events_pull_unsubscribe(struct errand_subscription *s);
/* Between the two the bus stays. False: it has gone. */
bool er_events_pull_begin(struct errand_subscription *s);
void er_events_pull_end(struct errand_subscription *s);
/* Whether the program has brought about its end, and need not be told of it. */
bool er_events_pull_is_dropped(struct errand_subscription *s);
/* The bus, or the program, has done with it. */
void er_events_pull_release(struct errand_subscription *s);

#endif
