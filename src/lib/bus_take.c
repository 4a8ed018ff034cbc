/* SPDX-License-Identifier: MIT */
/* The next event for one subscriber. It comes from one of three places, in this order:
 *
 *   1 the ring, up to the mark when there is a batch, else to its end
 *   2 the batch: what was spilled while the ring was full, or the beginning of a
 *     subscription that resumes. Facts are read again page by page, and each sample of
 *     the batch goes between those facts between which it was published.
 *   3 (ring at its end, no batch, shut) what is spilled becomes the batch, and the ring
 *     is opened
 *
 * Happy path: place 1 only. Failures: the read function fails: the code is returned, and
 * the next call tries again from the same fact. Facts that are gone from there: a gap. A
 * fact that comes a second time (it was read again, and it is in the ring, too) is passed
 * over.
 *
 * Invariants: facts up to last_seq were delivered, fitted nobody, or are told as gone; in
 * a batch `since` <= every fact that is still owed <= `until`. */
#include <string.h>

#include "base/mem.h"
#include "lib/bus_priv.h"

static int64_t
max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- one in hand ---- */

static void
page_step(struct er_bus_sub *sub)
{
    size_t size;
    memcpy(&size, sub->page.data + sub->page_at, sizeof size);
    sub->page_at += sizeof size + size;
}

static void
count_batch(struct er_bus_sub *sub)
{
    er_count_set(&sub->batched, er_bus_spill_count(&sub->batch));
}

void
er_bus_take_back(struct er_bus_sub *sub)
{
    switch (sub->hand) {
    case ER_BUS_RECORD:
        er_ring_drop(sub->ring);
        er_count_own(&sub->taken, 1);
        break;
    case ER_BUS_LATEST:
        er_free(er_bus_spill_take(&sub->batch));
        count_batch(sub);
        break;
    case ER_BUS_PAGED:
        page_step(sub);
        break;
    case ER_BUS_MARK:
    case ER_BUS_NOTHING:
        break;
    }
    if (sub->hand != ER_BUS_NOTHING && sub->last_seq > sub->done_seq) {
        sub->done_seq = sub->last_seq;
        sub->unsaved++;
    }
    sub->hand = ER_BUS_NOTHING;
}

static int
give_mark(struct er_bus_sub *sub, enum er_bus_kind kind, int64_t from, int64_t to)
{
    sub->hand = ER_BUS_MARK;
    sub->now = (struct er_bus_event){.name = kind == ER_BUS_GAP ? "gap" : "missed",
                                     .kind = kind,
                                     .from = from,
                                     .to = to};
    return 1;
}

static int
give_sample(struct er_bus_sub *sub, const struct er_bus_sample *p)
{
    sub->hand = ER_BUS_LATEST;
    er_bus_record_read(p->record, &sub->now);
    return 1;
}

/* ---- pages of facts that are read again ---- */

struct sink {
    struct er_bus_sub *sub;
    int64_t last; /* the last fact that was given */
    size_t given, kept;
    int stopped;
};

static int
keep_fact(struct er_bus_sub *sub, const struct er_bus_pub *pub)
{
    size_t size = pub->size, at = sub->page.len;
    int rc = er_buf_reserve(&sub->page, sizeof size + size);
    if (rc) {
        return rc;
    }
    memcpy(sub->page.data + at, &size, sizeof size);
    er_bus_record_write(sub->page.data + at + sizeof size, pub);
    sub->page.len += sizeof size + size;
    return 0;
}

static int
on_fact(void *ctx, const struct er_bus_event *fact)
{
    struct sink *k = ctx;
    struct er_bus_pub pub;
    if (k->stopped) {
        return k->stopped;
    }
    if (fact->seq > k->sub->until) {
        return k->stopped = ER_EFULL;
    }
    int rc = er_bus_event_check(fact, NULL, &pub);
    if (rc || fact->kind != ER_BUS_FACT) {
        return k->stopped = ER_EINVALID;
    }
    if (fact->seq <= k->last) {
        return 0;
    }
    if (er_bus_wants_fits(&k->sub->wants, &pub)) {
        rc = keep_fact(k->sub, &pub);
        if (rc) {
            return k->stopped = rc;
        }
        k->kept++;
    }
    k->last = fact->seq;
    k->given++;
    if (k->given >= ER_BUS_PAGE || k->sub->page.len >= k->sub->spill.max) {
        k->stopped = ER_EFULL;
    }
    return k->stopped;
}

/* What is gone before the page's first fact. */
static int64_t
gap_before(const struct er_bus_sub *sub, int64_t first)
{
    int64_t to = first - 1 < sub->until ? first - 1 : sub->until;
    if (sub->page.len > 0) {
        struct er_bus_event ev;
        er_bus_record_read(sub->page.data + sizeof(size_t), &ev);
        to = ev.seq - 1 < to ? ev.seq - 1 : to;
    }
    return to > sub->since ? to : 0;
}

static int
read_failed(struct er_bus_sub *sub, int rc)
{
    er_count_own(&sub->errors, 1);
    return rc < 0 ? rc : ER_EIO;
}

/* Reads the next page. 0: there is a page or a gap, or `since` has moved; or a code. */
static int
read_page(struct er_bus_sub *sub)
{
    const struct er_bus_options *o = &sub->bus->options;
    if (!o->read) {
        sub->gap_to = sub->until;
        return 0;
    }
    struct sink k = {.sub = sub, .last = sub->since};
    struct er_bus_read req = {.since = sub->since,
                              .until = sub->until,
                              .limit = ER_BUS_PAGE,
                              .filter = &sub->wants.filter,
                              .reached = sub->until};
    er_buf_clear(&sub->page);
    sub->page_at = 0;
    int rc = o->read(o->ctx, &req, on_fact, &k);
    if (rc == 0 && k.stopped != ER_EFULL) {
        rc = k.stopped;
    }
    if (rc && k.given == 0) {
        return read_failed(sub, rc);
    }
    bool cut = rc || k.stopped || k.given >= ER_BUS_PAGE;
    int64_t reached = req.reached < sub->until ? req.reached : sub->until;
    sub->page_reached = cut ? k.last : max_of(reached, k.last);
    sub->page_open = true;
    sub->gap_to = req.first > sub->since + 1 ? gap_before(sub, req.first) : 0;
    if (sub->page_reached <= sub->since && !sub->gap_to) {
        return read_failed(sub, ER_EIO); /* it does not get on */
    }
    return 0;
}

/* Facts up to there are dealt with. */
static void
advance(struct er_bus_sub *sub, int64_t since)
{
    sub->since = since;
    sub->last_seq = max_of(sub->last_seq, since);
    er_count_set(&sub->owed, sub->until - since);
}

static void
close_page(struct er_bus_sub *sub)
{
    sub->page_open = false;
    er_buf_clear(&sub->page);
    sub->page_at = 0;
    advance(sub, max_of(sub->since, sub->page_reached));
}

/* ---- the batch ---- */

static int
give_gap(struct er_bus_sub *sub)
{
    int64_t from = sub->since + 1;
    advance(sub, sub->gap_to);
    sub->gap_to = 0;
    er_count_own(&sub->gaps, 1);
    return give_mark(sub, ER_BUS_GAP, from, sub->since);
}

/* The next fact of the page, or the sample that was published before it. */
static int
give_fact(struct er_bus_sub *sub, const struct er_bus_sample *p)
{
    struct er_bus_event ev;
    er_bus_record_read(sub->page.data + sub->page_at + sizeof(size_t), &ev);
    if (p && p->after < ev.seq) {
        return give_sample(sub, p);
    }
    sub->hand = ER_BUS_PAGED;
    sub->now = ev;
    advance(sub, ev.seq);
    er_count_own(&sub->reread, 1);
    return 1;
}

/* As er_bus_take_next; 0: the batch is over. */
static int
take_from_batch(struct er_bus_sub *sub)
{
    if (sub->batch.missed) {
        int64_t n = sub->batch.missed;
        sub->batch.missed = 0;
        er_count_own(&sub->missed, n);
        count_batch(sub);
        return give_mark(sub, ER_BUS_MISSED, 0, n);
    }
    for (;;) {
        const struct er_bus_sample *p = TAILQ_FIRST(&sub->batch.samples);
        if (p && (sub->since >= sub->until || p->after <= sub->since)) {
            return give_sample(sub, p);
        }
        if (sub->gap_to) {
            return give_gap(sub);
        }
        if (sub->page_at < sub->page.len) {
            return give_fact(sub, p);
        }
        if (sub->page_open) {
            close_page(sub);
        } else if (sub->since < sub->until) {
            int rc = read_page(sub);
            if (rc) {
                return rc;
            }
        } else {
            er_buf_fini(&sub->page);
            sub->in_batch = false;
            return 0;
        }
    }
}

/* What the metrics call lag goes from one place to the other under the lock. */
static void
open_batch(struct er_bus_sub *sub)
{
    uint64_t why;
    er_lock_take(&sub->lock);
    er_bus_spill_move(&sub->spill, &sub->batch);
    sub->mark = er_ring_open(sub->ring, &why);
    sub->since = sub->until = 0;
    if (why & ER_BUS_SHUT_FACTS) {
        sub->since = max_of(sub->batch.from - 1, sub->last_seq);
        sub->until = (int64_t)(why >> ER_BUS_SHUT_BITS);
    }
    er_count_set(&sub->owed, sub->until - sub->since);
    count_batch(sub);
    er_lock_give(&sub->lock);
    sub->in_batch = true;
}

int
er_bus_take_next(struct er_bus_sub *sub)
{
    er_bus_take_back(sub);
    for (;;) {
        if (sub->in_batch && !er_ring_is_before(sub->ring, sub->mark)) {
            int rc = take_from_batch(sub);
            if (rc) {
                return rc;
            }
        }
        size_t n;
        const void *record = er_ring_peek(sub->ring, &n);
        if (record) {
            sub->hand = ER_BUS_RECORD;
            er_bus_record_read(record, &sub->now);
            if (sub->now.kind == ER_BUS_SAMPLE) {
                return 1;
            }
            if (sub->now.seq > sub->last_seq) {
                sub->last_seq = sub->now.seq;
                return 1;
            }
            er_bus_take_back(sub); /* this fact was read again before */
        } else if (!sub->in_batch && er_ring_why(sub->ring)) {
            open_batch(sub);
        } else {
            return 0;
        }
    }
}
