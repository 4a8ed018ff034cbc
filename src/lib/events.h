/* SPDX-License-Identifier: MIT */
/* The event bus of a handle (lib/bus.h), fed by one stream of the API's events:
 *
 *   GET /v1/events (SSE) ----> frames ----> er_bus_publish ----> subscribers
 *   errand_publish: samples go to the bus at once, and to the daemon; facts to the store,
 *   and come back by the stream with their numbers
 *
 * What a subscriber's buffer had no room for is read again by pages (format=ndjson);
 * cursors are the API's. A stream that breaks is opened again behind the last fact that
 * came, so that nothing is missing.
 *
 *   events_stream.c  the stream
 *   events_read.c    one event's JSON; pages and cursors
 *   publish.c        publishing
 *   events_priv.h    has the others: subscriptions, the beginning and the end */
#ifndef ER_LIB_EVENTS_H
#define ER_LIB_EVENTS_H

#include <errand.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/count.h"
#include "base/lock.h"
#include "lib/bus.h"

struct er_ask;
struct er_echo;
struct er_page;
struct er_wait;
struct er_cursor_save;
struct er_events_timer;
struct er_opener;
struct er_pulls; /* ERRAND_PULL: events_pull.c */

struct er_events {
    struct errand *e;
    struct er_bus *bus;        /* NULL until it is known where the facts are */
    struct er_count is_ready;  /* bus and stream are there: any thread may use the bus */
    struct er_opener *openers; /* wait for that */
    struct er_ask *stream;     /* NULL = none now */
    struct er_buf frames;      /* of it, not complete yet */
    int64_t last_seq;          /* of the last fact that came */
    struct er_events_timer *timer;         /* of what is tried again */
    struct errand_subscription *loop_subs; /* ERRAND_ON_LOOP */
    struct errand_subscription *turn_next; /* of these, while all are turned */
    struct er_pulls *pulls;                /* ERRAND_PULL */
    struct er_page *pages;                 /* read again for these */
    const char *preloaded; /* a cursor that was looked up before its subscription ... */
    int64_t preloaded_at;  /* ... and where it stands; -1 = there is none such */
    bool is_closing;
    /* publish.c */
    struct er_lock lock;   /* of the next three */
    struct er_buf samples; /* lines that wait to be sent */
    bool is_sending;
    struct er_echo *echoes; /* of samples that the stream will bring back */
    /* cursors that could not be saved while closing; events_read.c */
    struct er_cursor_save *saves;
    size_t n_saves;
    size_t n_saving; /* are being saved: the end waits for them */
    bool is_over;    /* the bus has ended */
    void (*closed)(struct errand *e);
};

/* Made with the handle; asks for nothing yet. NULL: no memory. */
struct er_events *er_events_new(struct errand *e);
/* Ends all subscriptions, then saves their cursors; `closed` is called then, perhaps from
 * inside. Loop thread. */
void er_events_close(struct errand *e, void (*closed)(struct errand *e));
/* The loop has ended. */
void er_events_free(struct er_events *ev);
/* Any thread: whether the bus is there. Otherwise nobody has subscribed yet. */
bool er_events_are_ready(const struct er_events *ev);
/* A page has come: subscribers on the loop may go on. */
void er_events_turn_all(struct er_events *ev);

/* ---- events_read.c ---- */

/* One event's JSON (docs/PROTOCOL.md, "GET /v1/events") as the bus has it; its texts stay
 * in `text` or in `scratch`, which is emptied. False: it is none. */
bool er_events_parse(const char *text, size_t len, struct er_buf *scratch,
                     struct er_bus_event *out);
er_bus_read_fn er_events_read;
int er_events_cursor_load(void *ctx, const char *name, int64_t *out_seq);
int er_events_cursor_save(void *ctx, const char *name, int64_t seq);
/* Sends what could not be saved before; `closed` when that is, and what was on its
 * way. */
void er_events_save_rest(struct er_events *ev);
void er_events_free_pages(struct er_events *ev);

/* ---- publish.c ---- */

/* Loop thread: whether that sample is one of ours that was delivered already. */
bool er_events_is_echo(struct er_events *ev, const struct er_bus_event *event);
void er_events_free_echoes(struct er_events *ev);

#endif
