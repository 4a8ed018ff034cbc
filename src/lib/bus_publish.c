/* SPDX-License-Identifier: MIT */
/* Publishing walks the roster (base/roster.h): first the inline subscribers, who are called,
 * then the others, who get a record into their ring, or, when that is full or shut, what
 * they need is spilled (bus_spill.c) under a lock that is held for one look-up and one copy.
 *
 * What an inline callback publishes itself is copied and delivered right after the event
 * that is being delivered, by the same walk: a thread knows by its chain of frames that it
 * is inside of one. So all subscribers see both in the same order. */
#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/bus_priv.h"

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

void
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

static void
spill_sample(struct er_bus_sub *sub, const struct er_bus_pub *pub)
{
    bool wake = false;
    er_lock_take(&sub->lock);
    er_count_own(&sub->spilled, 1);
    if (er_bus_spill_sample(&sub->spill, pub)) {
        er_count_own(&sub->coalesced, 1);
    }
    if (!(er_ring_why(sub->ring) & ER_BUS_SHUT_SAMPLES)) {
        shut(sub, ER_BUS_SHUT_SAMPLES, 0, &wake);
    }
    er_lock_give(&sub->lock);
    if (wake) {
        er_bus_signal(sub);
    }
}

static void
enqueue(struct er_bus_sub *sub, const struct er_bus_pub *pub)
{
    size_t n = er_bus_record_size(pub);
    void *p = er_ring_reserve(sub->ring, n);
    if (!p) {
        if (pub->ev->kind == ER_BUS_FACT) {
            leave_out(sub, pub->ev->seq);
        } else {
            spill_sample(sub, pub);
        }
        return;
    }
    er_bus_record_write(p, pub);
    if (er_ring_commit(sub->ring, p, n)) {
        er_bus_signal(sub);
    }
}

static bool
fits(const struct er_bus_sub *sub, const struct er_bus_pub *pub)
{
    return sub->all || er_bus_wants_fits(&sub->wants, pub);
}

/* Who wants everything is counted by the walks over its lists: a locked instruction for each
 * call would cost more than the call. */
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
deliver(struct er_pass *pass, const struct er_bus_pub *pub)
{
    if (pass->list->n_first > 0) {
        call_inline(pass, pub);
    }
    for (size_t i = pass->list->n_first; i < pass->list->n; i++) {
        struct er_entry *e = pass->list->entries[i];
        struct er_bus_sub *sub = (struct er_bus_sub *)(void *)e;
        if (!er_entry_is_closed(e) && fits(sub, pub)) {
            enqueue(sub, pub);
        }
    }
    er_pass_count(pass);
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
        int rc = er_bus_event_check(&ev, &pub);
        ER_ASSERT(rc == 0);
        pub.after = d->after;
        er_pass_renew(pass);
        deliver(pass, &pub);
        er_free(d);
    }
}

/* Events that are published together, one after the other. */
struct series {
    const struct er_bus_event *evs;
    size_t n, at;
    int64_t first, last; /* facts; 0 = none */
    int64_t after;       /* the last fact before evs[at] */
};

static bool
series_next(struct series *s, struct er_bus_pub *out)
{
    if (s->at == s->n) {
        return false;
    }
    int rc = er_bus_event_check(&s->evs[s->at], out);
    ER_ASSERT(rc == 0); /* it was checked before */
    out->after = s->after;
    s->after = out->ev->seq ? out->ev->seq : s->after;
    s->at++;
    return true;
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

/* All are well formed, and the facts' numbers rise. */
static int
series_check(struct series *s)
{
    struct er_bus_pub pub;
    for (size_t i = 0; i < s->n; i++) {
        const struct er_bus_event *ev = &s->evs[i];
        int rc = er_bus_event_check(ev, &pub);
        if (rc) {
            return rc;
        }
        if (ev->kind == ER_BUS_FACT) {
            if (ev->seq <= s->last) {
                return ER_ESTATE;
            }
            s->last = ev->seq;
            s->first = s->first ? s->first : ev->seq;
        }
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

/* From inside an inline callback: copies go behind the walk that is going on. */
static int
publish_deferred(struct er_bus *bus, struct frame *f, struct series *s)
{
    struct deferred *chain = NULL, **end = &chain;
    struct er_bus_pub pub;
    while (series_next(s, &pub)) {
        struct deferred *d = er_alloc(sizeof *d + er_bus_record_size(&pub));
        if (!d) {
            free_deferred(chain);
            return ER_ENOMEM;
        }
        d->next = NULL;
        d->after = pub.after;
        er_bus_record_write(d->record, &pub);
        *end = d;
        end = &d->next;
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

static void
walk_with_callbacks(struct er_bus *bus, struct er_pass *pass, struct series *s)
{
    struct frame f = {.bus = bus, .outer = frames};
    struct er_bus_pub pub;
    f.last = &f.first;
    frames = &f;
    while (series_next(s, &pub)) {
        deliver(pass, &pub);
        deliver_deferred(pass, &f);
    }
    frames = f.outer;
}

/* `only`: the one event of the series, checked, or NULL. */
static int
publish(struct er_bus *bus, struct series *s, const struct er_bus_pub *only)
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
    struct er_bus_pub pub;
    if (rc == 0 && pass.list->n_first > 0) {
        walk_with_callbacks(bus, &pass, s);
    } else if (rc == 0 && only) {
        deliver(&pass, only);
    } else {
        while (rc == 0 && series_next(s, &pub)) {
            deliver(&pass, &pub);
        }
    }
    er_pass_leave(&pass);
    if (pass.ended) {
        er_bus_settle(bus);
    }
    return rc;
}

int
er_bus_publish(struct er_bus *bus, const struct er_bus_event *ev)
{
    struct er_bus_pub pub;
    int rc = er_bus_event_check(ev, &pub);
    if (rc) {
        return rc;
    }
    pub.after = er_count_see(&bus->last_seq);
    struct series s = {
        .evs = ev, .n = 1, .first = ev->seq, .last = ev->seq, .after = pub.after};
    return publish(bus, &s, &pub);
}

int
er_bus_publish_many(struct er_bus *bus, const struct er_bus_event *evs, size_t n)
{
    struct series s = {.evs = evs, .n = n, .after = er_count_see(&bus->last_seq)};
    int rc = series_check(&s);
    return rc || n == 0 ? rc : publish(bus, &s, NULL);
}
