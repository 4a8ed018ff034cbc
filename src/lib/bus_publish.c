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
spill(struct er_bus_sub *sub, const struct er_bus_pub *pub)
{
    er_lock_take(&sub->lock);
    sub->spilled++;
    if (pub->ev->kind == ER_BUS_FACT) {
        er_bus_spill_fact(&sub->spill, pub->ev->seq);
        er_count_own(&sub->left_out, 1);
    } else if (er_bus_spill_sample(&sub->spill, pub)) {
        er_count_own(&sub->coalesced, 1);
    }
    bool wake = er_ring_shut(sub->ring);
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
        spill(sub, pub);
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
    return sub->wants.all || er_bus_wants_fits(&sub->wants, pub);
}

static void
call_inline(struct er_pass *pass, const struct er_bus_pub *pub)
{
    for (size_t i = 0; i < pass->list->n_first; i++) {
        struct er_entry *e = pass->list->entries[i];
        struct er_bus_sub *sub = (struct er_bus_sub *)(void *)e;
        if (fits(sub, pub) && er_pass_at(pass, e)) {
            sub->fn(sub->ctx, sub, pub->ev);
            er_count_add(&sub->delivered, 1);
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
    er_count_own(&pass->slot->walks, 1);
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
        er_pass_renew(pass);
        deliver(pass, &pub);
        er_free(d);
    }
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

/* All are well formed, and the facts' numbers rise: 0 or a code; their first and last. */
static int
check_all(const struct er_bus_event *evs, size_t n, int64_t *first, int64_t *last)
{
    struct er_bus_pub pub;
    *first = *last = 0;
    for (size_t i = 0; i < n; i++) {
        int rc = er_bus_event_check(&evs[i], &pub);
        if (rc) {
            return rc;
        }
        if (evs[i].kind == ER_BUS_FACT) {
            if (evs[i].seq <= *last) {
                return ER_ESTATE;
            }
            *last = evs[i].seq;
            *first = *first ? *first : evs[i].seq;
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
raise_seq(struct er_bus *bus, int64_t first, int64_t last)
{
    return first == 0 || er_count_raise(&bus->last_seq, first, last);
}

/* From inside an inline callback: copies go behind the walk that is going on. */
static int
publish_deferred(struct er_bus *bus, struct frame *f, const struct er_bus_event *evs,
                 size_t n, int64_t first, int64_t last)
{
    struct deferred *chain = NULL, **end = &chain;
    for (size_t i = 0; i < n; i++) {
        struct er_bus_pub pub;
        int rc = er_bus_event_check(&evs[i], &pub);
        ER_ASSERT(rc == 0);
        struct deferred *d = er_alloc(sizeof *d + er_bus_record_size(&pub));
        if (!d) {
            free_deferred(chain);
            return ER_ENOMEM;
        }
        d->next = NULL;
        er_bus_record_write(d->record, &pub);
        *end = d;
        end = &d->next;
    }
    if (!raise_seq(bus, first, last)) {
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
walk_with_callbacks(struct er_bus *bus, struct er_pass *pass,
                    const struct er_bus_event *evs, size_t n)
{
    struct frame f = {.bus = bus, .outer = frames};
    f.last = &f.first;
    frames = &f;
    for (size_t i = 0; i < n; i++) {
        struct er_bus_pub pub;
        int rc = er_bus_event_check(&evs[i], &pub);
        ER_ASSERT(rc == 0);
        deliver(pass, &pub);
        deliver_deferred(pass, &f);
    }
    frames = f.outer;
}

static int
publish(struct er_bus *bus, const struct er_bus_event *evs, size_t n,
        const struct er_bus_pub *only, int64_t first, int64_t last)
{
    struct frame *f = find_frame(bus);
    if (f) {
        return publish_deferred(bus, f, evs, n, first, last);
    }
    struct er_pass pass;
    if (!er_pass_enter(&bus->roster, &pass)) {
        return ER_ENOMEM;
    }
    int rc = raise_seq(bus, first, last) ? 0 : ER_ESTATE;
    if (rc == 0 && first) {
        er_pass_renew(&pass); /* the newest list, after the number was raised */
    }
    if (rc == 0 && pass.list->n_first > 0) {
        walk_with_callbacks(bus, &pass, evs, n);
    } else if (rc == 0 && only) {
        deliver(&pass, only);
    } else if (rc == 0) {
        for (size_t i = 0; i < n; i++) {
            struct er_bus_pub pub;
            rc = er_bus_event_check(&evs[i], &pub);
            ER_ASSERT(rc == 0);
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
    return rc ? rc : publish(bus, ev, 1, &pub, ev->seq, ev->seq);
}

int
er_bus_publish_many(struct er_bus *bus, const struct er_bus_event *evs, size_t n)
{
    int64_t first, last;
    int rc = check_all(evs, n, &first, &last);
    return rc || n == 0 ? rc : publish(bus, evs, n, NULL, first, last);
}
