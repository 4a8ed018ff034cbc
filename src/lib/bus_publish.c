/* SPDX-License-Identifier: MIT */
/* Publishing walks the roster (base/roster.h): first the inline subscribers, who are
 * called, then the others, who get a record into their ring, or, when that is full or
 * shut, what they need is spilled (bus_spill.c) under a lock that is held for one look-up
 * and one copy.
 *
 * What an inline callback publishes itself is copied and delivered right after the event
 * that is being delivered, by the same walk: a thread knows by its chain of frames that
 * it is inside of one. So all subscribers see both in the same order. */
#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/bus_priv.h"

#define RUN 64 /* events that are looked at and written together */

/* Not to be put into what calls it, where it would cost those who do not need it. */
#define RARE __attribute__((noinline, cold))

/* A walk that is going on on this thread with inline callbacks in it. */
struct deferred {
    struct deferred *next;
    int64_t after;
    _Alignas(8) unsigned char record[];
};
struct frame {
    const struct er_bus *bus;
    struct frame *outer;
    struct deferred *first, **last; /* what the callbacks have published */
};
static _Thread_local struct frame *frames;

RARE void
er_bus_signal(struct er_bus_sub *sub)
{
    uint64_t one = 1;
    while (write(sub->fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void
shut(struct er_bus_sub *sub, uint64_t bits, int64_t seq, bool *wake)
{
    uint64_t was = er_ring_why(sub->ring), why;
    do {
        why = seq ? (uint64_t)seq << ER_BUS_SHUT_BITS | (was & ER_BUS_SHUT_SAMPLES) : was;
    } while (!er_ring_shut(sub->ring, &was, why | bits, wake));
}

/* Leaves a fact out. When others were left out before it, one compare-and-swap says up to
 * where they are to be read again. */
static void
leave_out(struct er_bus_sub *sub, int64_t seq)
{
    bool wake;
    er_count_own(&sub->left_out, 1);
    uint64_t was = er_ring_why(sub->ring);
    while (was & ER_BUS_SHUT_FACTS) {
        uint64_t why = (uint64_t)seq << ER_BUS_SHUT_BITS | (was & ER_BUS_SHUT_SAMPLES) |
                       ER_BUS_SHUT_FACTS;
        if (er_ring_shut(sub->ring, &was, why, &wake)) {
            return;
        }
    }
    er_lock_take(&sub->lock);
    sub->spill.from = seq; /* the first since the ring was opened */
    shut(sub, ER_BUS_SHUT_FACTS, seq, &wake);
    er_lock_give(&sub->lock);
    if (wake) {
        er_bus_signal(sub);
    }
}

/* So many samples, one after the other. */
static void
spill_samples(struct er_bus_sub *sub, const struct er_bus_pub *pubs, size_t n)
{
    bool wake = false;
    int64_t coalesced = 0;
    er_lock_take(&sub->lock);
    for (size_t i = 0; i < n; i++) {
        coalesced += er_bus_spill_sample(&sub->spill, &pubs[i]);
    }
    er_count_own(&sub->spilled, (int64_t)n);
    er_count_own(&sub->coalesced, coalesced);
    if (!(er_ring_why(sub->ring) & ER_BUS_SHUT_SAMPLES)) {
        shut(sub, ER_BUS_SHUT_SAMPLES, 0, &wake);
    }
    er_lock_give(&sub->lock);
    if (wake) {
        er_bus_signal(sub);
    }
}

/* One into the ring. False: no room. */
static bool
enqueue_one(struct er_bus_sub *sub, const struct er_bus_pub *pub)
{
    void *p = er_ring_reserve(sub->ring, pub->size);
    if (!p) {
        return false;
    }
    er_bus_record_write(p, pub);
    if (er_ring_commit(sub->ring, p, pub->size)) {
        er_bus_signal(sub);
    }
    return true;
}

/* There was no room for all of them: what the ring still takes, and the rest
 * elsewhere. */
static RARE void
keep_elsewhere(struct er_bus_sub *sub, const struct er_bus_pub *pubs, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (n > 1 && enqueue_one(sub, &pubs[i])) {
            i++;
        } else if (pubs[i].ev->kind == ER_BUS_FACT) {
            leave_out(sub, pubs[i].ev->seq);
            i++;
        } else {
            size_t from = i;
            while (i < n && pubs[i].ev->kind == ER_BUS_SAMPLE) {
                i++;
            }
            spill_samples(sub, &pubs[from], i - from);
        }
    }
}

/* Puts so many, which take `size` bytes of a ring together, into this one's. */
static void
enqueue(struct er_bus_sub *sub, const struct er_bus_pub *pubs, size_t n, size_t size)
{
    void *p = er_ring_reserve_run(sub->ring, size, n);
    if (!p) {
        keep_elsewhere(sub, pubs, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        er_bus_record_write(p, &pubs[i]);
        p = er_ring_put(sub->ring, p, pubs[i].size);
    }
    if (er_ring_wake(sub->ring)) {
        er_bus_signal(sub);
    }
}

static bool
fits(const struct er_bus_sub *sub, const struct er_bus_pub *pub)
{
    return sub->all || er_bus_wants_fits(&sub->wants, pub);
}

/* Those that fit, in as long runs as they stand side by side. */
static void
enqueue_fitting(struct er_bus_sub *sub, const struct er_bus_pub *pubs, size_t n)
{
    size_t from = 0, size = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && fits(sub, &pubs[i])) {
            size += er_ring_size(pubs[i].size);
            continue;
        }
        if (i > from) {
            enqueue(sub, &pubs[from], i - from, size);
        }
        from = i + 1;
        size = 0;
    }
}

/* Who wants everything is counted by the walks over its lists: a locked instruction for
 * each call would cost more than the call. */
static void
call_inline(struct er_pass *pass, const struct er_bus_pub *pub)
{
    for (size_t i = 0; i < pass->list->n_first; i++) {
        struct er_entry *e = pass->list->entries[i];
        struct er_bus_sub *sub = (struct er_bus_sub *)(void *)e;
        if (!fits(sub, pub)) {
            continue;
        }
        bool call = er_pass_at(pass, e);
        if (call) {
            sub->fn(sub->ctx, sub, pub->ev);
        }
        if (call != sub->all) {
            er_count_add(&sub->delivered, call ? 1 : -1);
        }
    }
    (void)er_pass_at(pass, NULL);
}

static void
deliver(struct er_pass *pass, const struct er_bus_pub *pubs, size_t n)
{
    for (size_t i = pass->list->n_first; i < pass->list->n; i++) {
        struct er_entry *e = pass->list->entries[i];
        if (!er_entry_is_closed(e)) {
            enqueue_fitting((struct er_bus_sub *)(void *)e, pubs, n);
        }
    }
    er_pass_count(pass, (int64_t)n);
}

/* The inline ones first. */
static void
deliver_and_call(struct er_pass *pass, const struct er_bus_pub *pub)
{
    if (pass->list->n_first > 0) {
        call_inline(pass, pub);
    }
    deliver(pass, pub, 1);
}

/* What was published by the callbacks meanwhile, and by theirs. */
static void
deliver_deferred(struct er_pass *pass, struct frame *f)
{
    while (f->first) {
        struct deferred *d = f->first;
        f->first = d->next;
        if (!f->first) {
            f->last = &f->first;
        }
        struct er_bus_event ev;
        struct er_bus_pub pub;
        er_bus_record_read(d->record, &ev);
        int rc = er_bus_event_check(&ev, NULL, &pub);
        ER_ASSERT(rc == 0);
        pub.after = d->after;
        er_pass_renew(pass);
        deliver_and_call(pass, &pub);
        er_free(d);
    }
}

/* Events that are published together, one after the other, in runs. */
struct series {
    const struct er_bus_event *evs;
    size_t n, at;            /* evs[at] is the first that is in no run yet */
    int64_t first, last;     /* facts; 0 = none */
    int64_t after;           /* the last fact before evs[at] */
    struct er_bus_pub *pubs; /* the run: of evs[at - ready] and so on */
    size_t ready;
};

/* Makes the next run. Well formed? */
static int
series_look(struct series *s)
{
    const struct er_bus_pub *before = NULL;
    size_t n = s->n - s->at < RUN ? s->n - s->at : RUN;
    for (size_t i = 0; i < n; i++) {
        struct er_bus_pub *pub = &s->pubs[i];
        int rc = er_bus_event_check(&s->evs[s->at + i], before, pub);
        if (rc) {
            return rc;
        }
        pub->after = s->after;
        s->after = pub->ev->seq ? pub->ev->seq : s->after;
        before = pub;
    }
    s->at += n;
    s->ready = n;
    return 0;
}

/* How many events of a run are in s->pubs now; 0 = that was all. */
static size_t
series_next(struct series *s)
{
    if (s->ready == 0 && s->at < s->n) {
        int rc = series_look(s);
        ER_ASSERT(rc == 0); /* it was checked before */
    }
    size_t n = s->ready;
    s->ready = 0;
    return n;
}

static struct frame *
find_frame(const struct er_bus *bus)
{
    struct frame *f = frames;
    while (f && f->bus != bus) {
        f = f->outer;
    }
    return f;
}

/* The numbers of the run's facts rise. */
static int
series_check_facts(struct series *s)
{
    for (size_t i = 0; i < s->ready; i++) {
        int64_t seq = s->pubs[i].ev->seq;
        if (seq && seq <= s->last) {
            return ER_ESTATE;
        }
        s->last = seq ? seq : s->last;
        s->first = s->first ? s->first : seq;
    }
    return 0;
}

/* All of it. The only run stays; of several the first is made again. */
static int
series_check(struct series *s)
{
    int64_t after = s->after;
    do {
        int rc = series_look(s);
        rc = rc ? rc : series_check_facts(s);
        if (rc) {
            return rc;
        }
    } while (s->at < s->n);
    if (s->n > RUN) {
        s->at = s->ready = 0;
        s->after = after;
    }
    return 0;
}

static void
free_deferred(struct deferred *d)
{
    while (d) {
        struct deferred *next = d->next;
        er_free(d);
        d = next;
    }
}

static bool
raise_seq(struct er_bus *bus, const struct series *s)
{
    return s->first == 0 || er_count_raise(&bus->last_seq, s->first, s->last);
}

/* Hangs copies of a run to the end of a chain, whose new end it returns; NULL: no
 * memory. */
static struct deferred **
defer(struct deferred **end, const struct er_bus_pub *pubs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct deferred *d = er_alloc(sizeof *d + pubs[i].size);
        if (!d) {
            return NULL;
        }
        d->next = NULL;
        d->after = pubs[i].after;
        er_bus_record_write(d->record, &pubs[i]);
        *end = d;
        end = &d->next;
    }
    return end;
}

/* From inside an inline callback: copies go behind the walk that is going on. */
static RARE int
publish_deferred(struct er_bus *bus, struct frame *f, struct series *s)
{
    struct deferred *chain = NULL, **end = &chain;
    size_t n;
    while ((n = series_next(s)) > 0) {
        end = defer(end, s->pubs, n);
        if (!end) {
            free_deferred(chain);
            return ER_ENOMEM;
        }
    }
    if (!raise_seq(bus, s)) {
        free_deferred(chain);
        return ER_ESTATE;
    }
    if (chain) {
        *f->last = chain;
        f->last = end;
    }
    return 0;
}

static __attribute__((noinline)) void
walk_with_callbacks(struct er_bus *bus, struct er_pass *pass, struct series *s)
{
    struct frame f = {.bus = bus, .outer = frames};
    size_t n;
    f.last = &f.first;
    frames = &f;
    while ((n = series_next(s)) > 0) {
        for (size_t i = 0; i < n; i++) {
            deliver_and_call(pass, &s->pubs[i]);
            deliver_deferred(pass, &f);
        }
    }
    frames = f.outer;
}

static int
publish(struct er_bus *bus, struct series *s)
{
    struct frame *f = find_frame(bus);
    if (f) {
        return publish_deferred(bus, f, s);
    }
    struct er_pass pass;
    if (!er_pass_enter(&bus->roster, &pass)) {
        return ER_ENOMEM;
    }
    int rc = raise_seq(bus, s) ? 0 : ER_ESTATE;
    if (rc == 0 && s->first) {
        er_pass_renew(&pass); /* the newest list, after the number was raised */
    }
    size_t n;
    if (rc == 0 && pass.list->n_first > 0) {
        walk_with_callbacks(bus, &pass, s);
    } else {
        while (rc == 0 && (n = series_next(s)) > 0) {
            deliver(&pass, s->pubs, n);
        }
    }
    er_pass_leave(&pass);
    if (pass.ended) {
        er_bus_settle(bus);
    }
    return rc;
}

/* One event to those who have a ring. */
static void
deliver_one(struct er_pass *pass, const struct er_bus_pub *pub)
{
    for (size_t i = 0; i < pass->list->n; i++) {
        struct er_entry *e = pass->list->entries[i];
        struct er_bus_sub *sub = (struct er_bus_sub *)(void *)e;
        if (!er_entry_is_closed(e) && fits(sub, pub) && !enqueue_one(sub, pub)) {
            keep_elsewhere(sub, pub, 1);
        }
    }
    er_pass_count(pass, 1);
}

/* The short way of one sample where nobody is called inline; false: it is not that, and
 * nothing was done. */
static bool
publish_sample(struct er_bus *bus, const struct er_bus_pub *pub)
{
    struct er_pass pass;
    if (pub->ev->seq != 0 || frames || !er_pass_enter(&bus->roster, &pass)) {
        return false;
    }
    bool is_short = pass.list->n_first == 0;
    if (is_short) {
        deliver_one(&pass, pub);
    }
    er_pass_leave(&pass);
    return is_short;
}

int
er_bus_publish(struct er_bus *bus, const struct er_bus_event *ev)
{
    struct er_bus_pub pub;
    int rc = er_bus_event_check(ev, NULL, &pub);
    if (rc) {
        return rc;
    }
    pub.after = er_count_see(&bus->last_seq);
    if (publish_sample(bus, &pub)) {
        return 0;
    }
    struct series s = {.first = ev->seq, .last = ev->seq, .pubs = &pub, .ready = 1};
    return publish(bus, &s);
}

int
er_bus_publish_many(struct er_bus *bus, const struct er_bus_event *evs, size_t n)
{
    struct er_bus_pub pubs[RUN];
    struct series s = {
        .evs = evs, .n = n, .after = er_count_see(&bus->last_seq), .pubs = pubs};
    int rc = series_check(&s);
    return rc || n == 0 ? rc : publish(bus, &s);
}
