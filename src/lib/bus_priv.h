/* SPDX-License-Identifier: MIT */
/* What the files of the event bus share:
 *
 *   bus.c          the bus, and the life of a subscription
 *   bus_publish.c  from the publisher to each subscriber
 *   bus_event.c    checking, filtering and copying one event
 *   bus_spill.c    what a full buffer keeps: the latest samples, and from where facts are
 *                  to be read again
 *   bus_take.c     the next event for one subscriber, from its ring, what was spilled,
 *                  and pages of facts that were read again
 *   bus_serve.c    who calls: a thread, a turn, a pull; sleeping and waking; cursors
 *
 * The way of an event: er_bus_publish -> each subscriber's callback (inline), or a record
 * in its ring -> er_bus_take_next -> its callback. Full ring: -> er_bus_spill_* instead,
 * until the subscriber has emptied the ring and taken what was spilled.
 *
 * Locks (base/lock.h). bus->lock: who subscribes, unsubscribes and waits for an end;
 * never taken to publish. sub->lock: what is spilled; taken by a publisher only for a
 * subscriber whose ring is full, for one look-up and one copy, and by the subscriber for
 * one swap of pointers. A mailbox would do for neither: coalescing changes what others
 * have posted, and the end of a subscription has to be waited for. bus->lock is taken
 * first where both are (the metrics); neither in a callback. */
#ifndef ER_LIB_BUS_PRIV_H
#define ER_LIB_BUS_PRIV_H

#include <pthread.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/count.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/ring.h"
#include "base/roster.h"
#include "lib/bus.h"

#define ER_BUS_PAGE 256 /* facts that are read again at a time */

/* ---- bus_event.c ---- */

/* An event on its way, with what is worth knowing once for all subscribers. */
struct er_bus_pub {
    const struct er_bus_event *ev;
    size_t name_len;
    size_t correlation_len;
    size_t size; /* of the record of it */
    int64_t
        after; /* of a sample: all facts that its publisher may know of lie up to here */
};
/* All but `after`. `before`: one that was checked just now, whose lengths need not be
 * taken again where the pointer is the same; or NULL. */
int er_bus_event_check(const struct er_bus_event *ev, const struct er_bus_pub *before,
                       struct er_bus_pub *out) ER_MUSTCHECK;

/* A filter of our own. */
struct er_bus_word {
    char *text;
    size_t len;
};
struct er_bus_wants {
    struct er_bus_filter filter; /* pointing to the copies below */
    bool all;                    /* everything fits */
    unsigned kinds;
    struct er_bus_word *names;
    char **texts;
    size_t n_names;
    struct er_bus_word prefix, correlation;
};
int er_bus_wants_init(struct er_bus_wants *w, const struct er_bus_filter *f,
                      struct er_err *err) ER_MUSTCHECK;
void er_bus_wants_fini(struct er_bus_wants *w);
bool er_bus_wants_fits(const struct er_bus_wants *w, const struct er_bus_pub *pub);

/* A copied event in pub->size bytes of memory, aligned to 8. */
void er_bus_record_write(void *record, const struct er_bus_pub *pub);
/* The event in it; its pointers point into the record. */
void er_bus_record_read(const void *record, struct er_bus_event *out);

/* ---- bus_spill.c ---- */

struct er_bus_sample {
    TAILQ_ENTRY(er_bus_sample) link;
    UT_hash_handle hh; /* by `key`: task and name */
    int64_t after;     /* as of the event */
    size_t room;       /* bytes for the record */
    size_t size;       /* bytes in all */
    unsigned char *key;
    _Alignas(8) unsigned char record[]; /* the key stands behind it */
};
TAILQ_HEAD(er_bus_samples, er_bus_sample);

struct er_bus_spill {
    struct er_bus_samples samples; /* in the order of their last change */
    struct er_bus_sample *table;
    size_t bytes;
    size_t max;   /* bytes */
    int64_t from; /* the first fact that was left out; 0 = none */
    int64_t missed;
};
void er_bus_spill_init(struct er_bus_spill *s, size_t max);
void er_bus_spill_fini(struct er_bus_spill *s);
/* Moves all into `to` (which is empty); `s` is empty afterwards. */
void er_bus_spill_move(struct er_bus_spill *s, struct er_bus_spill *to);
/* Keeps it instead of an older one; true when there was such a one. */
bool er_bus_spill_sample(struct er_bus_spill *s, const struct er_bus_pub *pub);
/* Takes the oldest sample out, which is then the caller's to free; NULL when there is
 * none. */
struct er_bus_sample *er_bus_spill_take(struct er_bus_spill *s);
/* Samples, and one more when some were missed. */
int64_t er_bus_spill_count(const struct er_bus_spill *s);

/* ---- a subscriber ---- */

/* Why a ring is shut (er_ring_shut): samples were spilled; facts were left out, from
 * spill.from up to the number in the bits above. */
#define ER_BUS_SHUT_SAMPLES UINT64_C(1)
#define ER_BUS_SHUT_FACTS   UINT64_C(2)
#define ER_BUS_SHUT_BITS    2

enum er_bus_state { ER_BUS_LIVE, ER_BUS_ENDING, ER_BUS_SETTLING, ER_BUS_SETTLED };

struct er_bus_sub {
    struct er_entry entry; /* first: the roster knows it by that */
    er_bus_fn *fn;
    void *ctx;
    bool all; /* wants.all */
    struct er_bus *bus;
    struct er_bus_wants wants;
    enum er_bus_way way;
    struct er_ring *ring; /* NULL when inline */
    int fd;               /* an eventfd; -1 when inline */
    void (*ended)(void *ctx);

    char apart1[64];
    struct er_lock lock; /* of the next two */
    struct er_bus_spill spill;
    struct er_count spilled, coalesced; /* samples */
    struct er_count left_out;           /* by one publisher of facts at a time */

    /* of the subscriber's thread */
    char apart2[64];
    struct er_bus_event now; /* the one in hand ... */
    enum { ER_BUS_NOTHING, ER_BUS_RECORD, ER_BUS_LATEST, ER_BUS_PAGED, ER_BUS_MARK } hand;
    int64_t last_seq; /* facts up to here were delivered or looked at */
    bool in_batch;    /* `batch` is what comes after the ring's records up to mark */
    uint64_t mark;    /* (er_ring_open) */
    struct er_bus_spill batch; /* samples and what was missed */
    int64_t since, until;      /* facts still to be read again */
    struct er_buf page;        /* records of facts that were read */
    size_t page_at;            /* bytes of the page that were delivered */
    bool page_open;            /* there is a page, perhaps an empty one */
    int64_t page_reached;      /* what it covers */
    int64_t gap_to; /* the facts behind `since` up to here are gone; 0 = none */
    char *cursor;
    int64_t done_seq;  /* the subscriber is done with facts up to here */
    int64_t saved_seq; /* and this is what the cursor says */
    int unsaved;       /* facts since */
    struct er_count taken, delivered, reread, gaps, missed, errors;
    struct er_count batched, owed; /* samples and numbers of facts left in the batch */

    /* of bus->lock */
    enum er_bus_state state;
    bool to_join; /* its thread was started and not joined */
    pthread_t thread;
    TAILQ_ENTRY(er_bus_sub) in_bus;
};

/* A thread that waits in er_bus_unsubscribe. */
struct er_bus_waiter {
    uintptr_t thread;
    const struct er_bus_sub *sub;
    TAILQ_ENTRY(er_bus_waiter) link;
};

struct er_bus {
    struct er_bus_options options;
    struct er_count last_seq; /* the number of the last fact */
    struct er_roster roster;
    struct er_lock lock;           /* of the rest */
    TAILQ_HEAD(, er_bus_sub) subs; /* until they are freed */
    TAILQ_HEAD(, er_bus_waiter) waiters;
    struct er_bus_stats past; /* of subscribers that were freed */
};

/* bus.c: calls `ended` for those that are over and wakes who waits. After a callback
 * whose subscription was ended meanwhile. */
void er_bus_settle(struct er_bus *bus);
/* bus_publish.c */
void er_bus_signal(struct er_bus_sub *sub); /* makes its descriptor readable */

/* bus_take.c; the subscriber's thread */
/* 1: sub->now is the next event; 0: there is none; or the code of the read function.
 * Gives the one that was in hand back. */
int er_bus_take_next(struct er_bus_sub *sub) ER_MUSTCHECK;
void er_bus_take_back(struct er_bus_sub *sub); /* only that */

/* bus_serve.c */
int er_bus_serve_start(struct er_bus_sub *sub) ER_MUSTCHECK; /* the thread */
void er_bus_serve_save(struct er_bus_sub *sub); /* the cursor, when there is need to */

#endif
