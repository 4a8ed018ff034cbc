/* SPDX-License-Identifier: MIT */
/* How it works. Positions count units of 8 bytes since the beginning, modulo 2^40; a
 * record is a header word and its bytes, in one piece (when the end of the memory is too
 * near, a record of filler takes the rest). The header is 0 until the record is written:
 * the reader clears what it has read before it gives the room back, so that whatever
 * becomes a header later is 0 already.
 *
 *   tail   where the next record is reserved; with it, in the upper 24 bits, how many
 *          were: one compare-and-swap moves both
 *   head   what the reader has given back; it moves in steps of an eighth of the ring, so
 *          that writers do not fetch its cache line for each record
 *
 * Memory order. Three pairs carry everything:
 *
 *   1 header: the writer stores it (release at least) after the bytes; the reader loads
 *     it (acquire) before them. So the reader sees whole records.
 *   2 head: the reader stores it (release) after it has read and cleared; a writer loads
 *     it (acquire) before it writes there. So nobody writes into what is being read, and
 *     the zeroes come before the new header. `seen`, the writers' copy of head, is itself
 *     stored with release and loaded with acquire by those who go by it. An old head only
 *     makes the ring look fuller. An old *tail* beside a new head could look like
 *     nonsense; then the tail has moved, which is looked at before "no room" is said.
 *   3 sleeping: a writer stores the header (or `shut`), then loads `asleep`; the reader
 *     stores `asleep`, then loads the header (and `shut`). With a full barrier in between
 *     on both sides at least one sees the other: no record is left to a sleeper. The
 *     reader makes the barriers of both (base/barrier.h), since a locked instruction for
 *     each record would have the writer wait until the reader's core gives the line up;
 *     where that cannot be, and for `shut`, all are sequentially consistent. Whoever
 *     turns `asleep` from 1 to 0 by an exchange, and nobody else, wakes.
 *
 * Shutting. `shut` is a word that the owner gives a meaning. While it is not 0, writers
 * keep what they have elsewhere: under a lock, or in the word itself by a
 * compare-and-swap. The reader, when the ring is empty, takes all of that under the same
 * lock: er_ring_open first exchanges the word for OPENING (no compare-and-swap succeeds
 * any more, and the ring is still shut), then reads the tail (the mark), then stores 0.
 * Claim: what one writer put into the ring before what was taken lies before the mark,
 * and what it puts there afterwards behind it. Before: its reservation came before its
 * append in its own program, and the append, by the lock or by the word, before the
 * reading of the mark. After: at its append the ring was shut; its next reservation
 * succeeds only when it reads (acquire) the 0 that was stored after the mark was read; so
 * its compare-and-swap comes after that reading and lies behind the mark. A writer that
 * had looked at `shut` before somebody else set it may reserve at any time later: if it
 * appends something before the opening, "before" holds; if not, either side of the mark
 * is right. */
#include "base/ring.h"

#include <stdatomic.h>
#include <string.h>

#include "base/barrier.h"
#include "base/mem.h"

#define POS_BITS 40
#define POS_MASK ((UINT64_C(1) << POS_BITS) - 1)
#define ONE_MORE (UINT64_C(1) << POS_BITS)
#define UNIT     ((size_t)8)
#define FILLER   ((uint64_t)1 << 32) /* in a header, beside the length in units */
#define AHEAD    48                  /* units: six lines */
#define OPENING  (UINT64_C(1) << 63)
#define APART    128 /* bytes between what different threads write */

struct er_ring {
    _Atomic uint64_t *words;
    uint64_t units; /* a power of two */
    bool heavy;     /* who goes to sleep makes the barriers; else those who write do */
    char apart1[APART];
    _Atomic uint64_t tail;
    _Atomic uint64_t seen; /* a head that some writer has read */
    char apart2[APART];
    _Atomic uint64_t head;
    char apart3[APART];
    _Atomic uint64_t
        next;       /* the reader's: where it reads, with the count above as well */
    uint64_t given; /* the reader's: what head says */
    char apart4[APART];
    _Atomic int asleep;
    _Atomic uint64_t shut;
    char apart5[APART];
};

struct er_ring *
er_ring_new(size_t size)
{
    size_t bytes = ER_RING_MIN;
    while (bytes < size && bytes < ER_RING_MAX) {
        bytes *= 2;
    }
    struct er_ring *r = er_zalloc(sizeof *r);
    if (!r) {
        return NULL;
    }
    r->words = er_zalloc(bytes);
    if (!r->words) {
        er_free(r);
        return NULL;
    }
    r->units = bytes / UNIT;
    r->heavy = er_barrier_init();
    atomic_init(&r->asleep, 1);
    return r;
}

void
er_ring_free(struct er_ring *r)
{
    if (r) {
        er_free(r->words);
        er_free(r);
    }
}

static uint64_t
units_of(size_t n)
{
    return er_ring_size(n) / UNIT;
}

static void *
body(_Atomic uint64_t *header)
{
    return (void *)(uintptr_t)(header + 1);
}

/* The lines for a few records on still are the reader's, who has cleared them. */
static void
look_ahead(const struct er_ring *r, const _Atomic uint64_t *header)
{
    size_t at = (size_t)(header - r->words) + AHEAD;
    __builtin_prefetch((const void *)(uintptr_t)&r->words[at & (r->units - 1)], 1);
}

static uint64_t
distance(uint64_t from, uint64_t to)
{
    return (to - from) & POS_MASK;
}

/* Where the reader is: only it changes that, others look for the metrics. */
static uint64_t
next_of(const struct er_ring *r)
{
    return atomic_load_explicit(&r->next, memory_order_relaxed);
}

/* Whether `want` units behind tail fit; looks at the reader's head when the copy says
 * no. */
static bool
has_room(struct er_ring *r, uint64_t tail, uint64_t want)
{
    uint64_t head = atomic_load_explicit(&r->seen, memory_order_acquire);
    if (distance(head, tail) + want <= r->units) {
        return true;
    }
    head = atomic_load_explicit(&r->head, memory_order_acquire);
    atomic_store_explicit(&r->seen, head, memory_order_release);
    return distance(head, tail) + want <= r->units;
}

/* A place for `records` that take so many units, in one piece. NULL as
 * er_ring_reserve. */
static _Atomic uint64_t *
reserve(struct er_ring *r, uint64_t need, uint64_t records)
{
    if (need > r->units / 2 || atomic_load_explicit(&r->shut, memory_order_acquire)) {
        return NULL;
    }
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    for (;;) {
        uint64_t at = tail & (r->units - 1);
        uint64_t filler = r->units - at < need ? r->units - at : 0;
        if (!has_room(r, tail, filler + need)) {
            uint64_t now = atomic_load_explicit(&r->tail, memory_order_relaxed);
            if (now == tail) {
                return NULL;
            }
            tail = now;
            continue;
        }
        uint64_t to = ((tail + filler + need) & POS_MASK) |
                      ((tail & ~POS_MASK) + records * ONE_MORE);
        if (atomic_compare_exchange_weak_explicit(
                &r->tail, &tail, to, memory_order_acq_rel, memory_order_relaxed)) {
            if (filler) {
                atomic_store_explicit(&r->words[at], FILLER | filler,
                                      memory_order_release);
                at = 0;
            }
            return &r->words[at];
        }
    }
}

void *
er_ring_reserve(struct er_ring *r, size_t n)
{
    _Atomic uint64_t *header = n > ER_RING_MAX ? NULL : reserve(r, units_of(n), 1);
    return header ? body(header) : NULL;
}

void *
er_ring_reserve_run(struct er_ring *r, size_t size, size_t records)
{
    _Atomic uint64_t *header = reserve(r, size / UNIT, records);
    return header ? body(header) : NULL;
}

static bool
take_sleep(struct er_ring *r)
{
    return atomic_load(&r->asleep) && atomic_exchange(&r->asleep, 0);
}

void *
er_ring_put(struct er_ring *r, void *p, size_t n)
{
    _Atomic uint64_t *header = (_Atomic uint64_t *)p - 1;
    /* the length in bytes stands above the length in units and the filler's bit */
    uint64_t value = units_of(n) | (uint64_t)n << 33;
    if (r->heavy) {
        atomic_store_explicit(header, value, memory_order_release);
        atomic_signal_fence(memory_order_seq_cst); /* rule 3 */
    } else {
        atomic_store(header, value);
    }
    look_ahead(r, header);
    return body(header + units_of(n));
}

bool
er_ring_commit(struct er_ring *r, void *p, size_t n)
{
    (void)er_ring_put(r, p, n);
    return take_sleep(r);
}

uint64_t
er_ring_why(const struct er_ring *r)
{
    return atomic_load(&r->shut);
}

bool
er_ring_shut(struct er_ring *r, uint64_t *was, uint64_t why, bool *out_wake)
{
    if (!atomic_compare_exchange_strong(&r->shut, was, why)) {
        return false;
    }
    /* who shut it first has woken the reader, and who finds it shut does not sleep */
    *out_wake = *was == 0 && take_sleep(r);
    return true;
}

bool
er_ring_wake(struct er_ring *r)
{
    return take_sleep(r);
}

uint64_t
er_ring_open(struct er_ring *r, uint64_t *out_why)
{
    *out_why = atomic_exchange(&r->shut, OPENING);
    uint64_t mark = atomic_load(&r->tail);
    atomic_store(&r->shut, 0);
    return mark;
}

bool
er_ring_is_before(const struct er_ring *r, uint64_t mark)
{
    uint64_t left = distance(next_of(r), mark);
    return left > 0 && left <= r->units;
}

size_t
er_ring_waiting(const struct er_ring *r)
{
    uint64_t next = next_of(r);
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    return (size_t)((tail >> POS_BITS) - (next >> POS_BITS)) & 0xffffff;
}

/* Clears what has been read and gives its room back. */
static void
give_back(struct er_ring *r)
{
    uint64_t from = r->given & (r->units - 1);
    uint64_t next = next_of(r), n = distance(r->given, next);
    uint64_t first = from + n > r->units ? r->units - from : n;
    memset((void *)(uintptr_t)&r->words[from], 0, (size_t)first * UNIT);
    memset((void *)(uintptr_t)r->words, 0, (size_t)(n - first) * UNIT);
    r->given = next;
    atomic_store_explicit(&r->head, next, memory_order_release);
}

static void
step(struct er_ring *r, uint64_t units, uint64_t records)
{
    uint64_t next = next_of(r);
    next = ((next + units) & POS_MASK) | ((next & ~POS_MASK) + records);
    atomic_store_explicit(&r->next, next, memory_order_relaxed);
}

void *
er_ring_peek(struct er_ring *r, size_t *out_n)
{
    for (;;) {
        uint64_t at = next_of(r) & (r->units - 1);
        uint64_t header = atomic_load_explicit(&r->words[at], memory_order_acquire);
        if (header == 0) {
            if (r->given != next_of(r)) {
                give_back(r);
            }
            return NULL;
        }
        if (!(header & FILLER)) {
            *out_n = (size_t)(header >> 33);
            return (void *)(uintptr_t)&r->words[at + 1];
        }
        step(r, header & (FILLER - 1), 0);
    }
}

void
er_ring_drop(struct er_ring *r)
{
    uint64_t at = next_of(r) & (r->units - 1);
    uint64_t header = atomic_load_explicit(&r->words[at], memory_order_relaxed);
    step(r, header & (FILLER - 1), ONE_MORE);
    if (distance(r->given, next_of(r)) >= r->units / 8) {
        give_back(r);
    }
}

bool
er_ring_is_ready(const struct er_ring *r, bool shut_too)
{
    return atomic_load(&r->words[next_of(r) & (r->units - 1)]) != 0 ||
           (shut_too && atomic_load(&r->shut));
}

bool
er_ring_sleep(struct er_ring *r, bool shut_too, bool *out_wake)
{
    atomic_store(&r->asleep, 1);
    if (r->heavy) {
        er_barrier_all();
    }
    if (!er_ring_is_ready(r, shut_too)) {
        return true;
    }
    *out_wake = take_sleep(r);
    return false;
}
