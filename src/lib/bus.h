/* SPDX-License-Identifier: MIT */
/* The event bus of a process: who publishes does not know who listens, and is never
 * slowed by them.
 *
 *     struct er_bus *bus;
 *     er_bus_new(&(struct er_bus_options){
 *         .read = read_store, .ctx = s, .last_seq = n}, &bus);
 *     er_bus_subscribe(bus, &(struct er_bus_subscription){
 *         .way = ER_BUS_THREAD, .fn = on_event, .filter = {.task = 42}}, &sub, &err);
 *     er_bus_publish(bus, &(struct er_bus_event){.name = "task-progress",
 *         .kind = ER_BUS_SAMPLE, .task = 42, .data = json, .len = n});
 *     er_bus_unsubscribe(sub);
 *     er_bus_free(bus);
 *
 * Kinds. A *fact* has a number and is durable elsewhere before it is published. A
 * *sample* (progress, output grew, a program's passing topics) lives here only; of one
 * name and task the latest is what counts.
 *
 * What a subscriber is promised:
 *   - Facts come in the order of their numbers, each at most once.
 *   - What one thread has published comes in that thread's order. (Of samples that were
 *     coalesced the latest comes, in the latest's place.)
 *   - Nothing is lost without its mark. A subscriber holds a bounded buffer. When it is
 *     full, samples are coalesced: the latest of each (name, task) is kept. Facts are
 *     left out and later read again through the `read` function, on the subscriber's own
 *     thread; those that are gone from there (or all of them, when there is no such
 *     function) are told by an event `gap`. When even the latest samples do not fit, or
 *     there is no memory for them, an event `missed` tells how many were dropped.
 *   - A subscriber that is slow or stuck costs the publisher a little of its time (less
 *     than one that keeps up) and the others nothing. Only one that is called inline is a
 *     part of the publisher's own time.
 *
 * Ways to be called (enum er_bus_way): inline, on the publisher's thread; on a thread
 * that the bus makes for this subscriber; on whichever thread calls er_bus_turn; or not
 * at all: er_bus_pull hands out one event at a time. The last two have a descriptor
 * (er_bus_fd) that is readable when there is something to do.
 *
 * Inside a callback everything of this header may be called, but er_bus_free, and
 * er_bus_turn or er_bus_pull on the same subscriber. What is published from inside an
 * *inline* callback is delivered right after the event that is being delivered, so that
 * all see both in the same order.
 *
 * Numbers of facts: who publishes facts does so in the order of their numbers, one call
 * after another (from any thread): only who commits them knows their order.
 *
 * Threads: any, for every function that does not say otherwise. The bus has no thread but
 * those of ER_BUS_THREAD, with all signals blocked; no globals, no signal handlers. */
#ifndef ER_LIB_BUS_H
#define ER_LIB_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define ER_BUS_NAME_MAX ((size_t)1000) /* bytes of a name, a correlation, a cursor */
/* Bytes of payload: of a program's own event 1 MiB, of a task's the whole object, in
 * which an error alone may have as much. */
#define ER_BUS_DATA_MAX   ((size_t)2 << 20)
#define ER_BUS_BUFFER     ((size_t)64 * 1024) /* bytes of a subscriber's buffer if not said */
#define ER_BUS_BUFFER_MIN ((size_t)1024)
#define ER_BUS_BUFFER_MAX ((size_t)1 << 30)

#define ER_BUS_SEQ_MAX ((int64_t)1 << 53) /* the largest number of a fact */

struct er_bus;
struct er_bus_sub;

enum er_bus_kind {
    ER_BUS_FACT = 1,
    ER_BUS_SAMPLE = 2,
    ER_BUS_GAP = 4,    /* only delivered: the facts `from` to `to` are gone */
    ER_BUS_MISSED = 8, /* only delivered: `to` samples were dropped */
};

/* An event, as it is published and as it is delivered. All pointers are borrowed: the
 * publisher's until er_bus_publish returns, the subscriber's until its callback returns
 * (or the next er_bus_pull). */
struct er_bus_event {
    const char *name; /* "task-failed", or a program's topic; "gap" and "missed" */
    enum er_bus_kind kind;
    int64_t seq;             /* a fact's number, from 1; else 0 */
    int64_t task;            /* 0 = of no task */
    const char *correlation; /* NULL = none */
    const void *data;        /* the payload: bytes, to which the bus gives no meaning */
    size_t len;
    int64_t from, to; /* of gap and missed, else 0 */
};

/* What a subscriber wants; all that is given must fit. A zeroed filter wants
 * everything. */
struct er_bus_filter {
    unsigned kinds;           /* ER_BUS_FACT | ER_BUS_SAMPLE; 0 = both */
    const char *const *names; /* these names ... */
    size_t n_names;
    const char *prefix; /* ... or (when both are given) names that begin so */
    int64_t task;       /* 0 = any */
    const char *correlation;
};

/* ---- where facts are read again ---- */

/* Takes one fact (copied). 0: go on. ER_EFULL or another code: stop, and return 0 or that
 * code from the reading function. */
typedef int er_bus_sink_fn(void *sink, const struct er_bus_event *fact);

struct er_bus_read {
    int64_t since, until;               /* facts with since < number <= until, in order */
    size_t limit;                       /* enough of them for one call */
    const struct er_bus_filter *filter; /* a help: what does not fit is left out anyway */
    int64_t first;   /* out: the oldest number that is kept; 0 = nothing is gone */
    int64_t reached; /* out: all up to here was looked at; preset to until */
};
/* Reads facts into the sink. May block: it is called on the subscriber's own thread (or
 * turn, or pull), never on a publisher's, with no lock held. Returns 0 or a code
 * (ER_EIO); then the facts given so far count and it is called again: by the bus's own
 * thread after a while (100 ms, doubling to 5 s), else by the next turn or pull. When
 * `limit` facts were given, or the sink has stopped it, `reached` is ignored. */
typedef int er_bus_read_fn(void *ctx, struct er_bus_read *req, er_bus_sink_fn *fn,
                           void *sink);

struct er_bus_options {
    int64_t last_seq; /* the number of the last fact that was published ever; 0 = none */
    er_bus_read_fn *read; /* NULL: what was left out is a gap */
    /* Named cursors; both or none. load: ER_ENOTFOUND when there is no such one. They may
     * block and are called on the subscriber's thread, or in er_bus_(un)subscribe. */
    int (*cursor_load)(void *ctx, const char *name, int64_t *out_seq);
    int (*cursor_save)(void *ctx, const char *name, int64_t seq);
    void *ctx;
};

/* 0 or ER_ENOMEM, ER_EINVALID (one cursor function without the other). */
int er_bus_new(const struct er_bus_options *options, struct er_bus **out) ER_MUSTCHECK;
/* Ends all subscriptions (their handles are gone) and waits for their callbacks; NULL is
 * fine. Nobody publishes any more, and the caller is in no callback. */
void er_bus_free(struct er_bus *bus);

/* ---- publishing ---- */

/* Hands an event to all who want it. Does not block: no file, no callback but the inline
 * ones. All or nothing: ER_EINVALID (no name, a kind that is not fact or sample, a fact
 * without a number, a sample with one), ER_ETOOBIG, ER_ESTATE (a fact whose number is not
 * above the last one: published already), ER_ENOMEM (only from inside an inline callback,
 * or with more than 32 threads publishing at a time). Needs no memory otherwise. */
int er_bus_publish(struct er_bus *bus, const struct er_bus_event *ev) ER_MUSTCHECK;
/* The same for several in a row, which costs less each. */
int er_bus_publish_many(struct er_bus *bus, const struct er_bus_event *evs,
                        size_t n) ER_MUSTCHECK;

/* ---- subscribing ---- */

enum er_bus_way {
    ER_BUS_INLINE, /* fn, on the publisher's thread; several at a time when several publish */
    ER_BUS_THREAD, /* fn, on a thread of its own */
    ER_BUS_TURN,   /* fn, inside er_bus_turn */
    ER_BUS_PULL,   /* er_bus_pull */
};
/* `sub` is what er_bus_subscribe gives: the first call may come before it has
 * returned. */
typedef void er_bus_fn(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev);

struct er_bus_subscription {
    struct er_bus_filter filter; /* copied */
    enum er_bus_way way;
    er_bus_fn *fn; /* NULL with ER_BUS_PULL only */
    void *ctx;
    /* When not NULL: called once, when fn is not running and will never be called again,
     * on the thread that has noticed; at the latest before er_bus_free returns. */
    void (*ended)(void *ctx);
    size_t
        buffer; /* bytes, raised to a power of two; as much again for coalesced samples */
    /* Facts from before. Not with ER_BUS_INLINE, which cannot wait for them. */
    bool resume; /* begin behind number `since`; one that no fact has had yet: from now */
    int64_t since;
    const char
        *cursor; /* begin behind what this cursor says; a new one is saved at once, where
                  * it would begin without one */
};

/* Refuses what er_bus_subscribe would refuse for its members. */
int er_bus_check(const struct er_bus *bus, const struct er_bus_subscription *s,
                 struct er_err *err) ER_MUSTCHECK;
/* The number behind which it would begin now, were its cursor new. */
int64_t er_bus_begins(const struct er_bus *bus, const struct er_bus_subscription *s);
/* Begins now: whatever is published after this returns is delivered (or told as lost).
 * *out is the handle for er_bus_unsubscribe. ER_EINVALID names the member; ER_EEXISTS:
 * the cursor is in use; ER_ENOMEM; ER_EIO: no descriptor or no thread; or what the cursor
 * functions say. */
int er_bus_subscribe(struct er_bus *bus, const struct er_bus_subscription *s,
                     struct er_bus_sub **out, struct er_err *err) ER_MUSTCHECK;
/* Ends a subscription; the handle is gone. When it returns 0, the callback is not running
 * and never called again; from inside this very callback: it is not called again after it
 * has returned (on another publisher's thread an inline one may still be running: `ended`
 * tells). ER_EBUSY: ended as well, but the callback still runs on a thread that itself
 * waits in here for the caller's callback; neither would ever go on. */
int er_bus_unsubscribe(struct er_bus_sub *sub);

/* The descriptor of a TURN or PULL subscriber, to be polled for reading; stays the bus's.
 * -1 for the other ways. */
int er_bus_fd(const struct er_bus_sub *sub);
/* Calls the callback for what there is, at most `max` events (0 = until there is none).
 * Returns how many, or ER_EBUSY (another thread is at it, or this callback itself),
 * ER_EINVALID (not a TURN subscriber), ER_ECLOSED (ended meanwhile), or what `read`
 * says. */
int er_bus_turn(struct er_bus_sub *sub, size_t max) ER_MUSTCHECK;
/* Gives the next event: 1 and *out, which stays until the next pull or unsubscribe; 0
 * when there is none; or a code as er_bus_turn. */
int er_bus_pull(struct er_bus_sub *sub, const struct er_bus_event **out) ER_MUSTCHECK;
/* A named cursor is saved behind the last fact that the callback has returned from (pull:
 * that was followed by another pull): by itself, whenever there is nothing more to
 * deliver, after each 1,000 facts, and at the end; after a crash the facts since then
 * come again. */

/* ---- metrics ---- */

struct er_bus_stats {
    int64_t published; /* events (of a subscriber: those that fitted its filter) */
    int64_t delivered;
    int64_t
        coalesced; /* samples that a later one has replaced before they were delivered */
    int64_t left_out; /* facts that had no place in the buffer */
    int64_t reread;   /* facts that came from the read function */
    int64_t gaps;     /* gap events */
    int64_t missed;   /* samples that were dropped */
    int64_t errors;   /* of the read and the cursor functions */
    int64_t lag;      /* what waits to be delivered now (for facts to be read again, the
                        * difference of numbers, which may be more) */
};
/* All subscribers that are and were; lag: of those that are. */
void er_bus_stats(struct er_bus *bus, struct er_bus_stats *out);
void er_bus_sub_stats(struct er_bus_sub *sub, struct er_bus_stats *out);

#endif
