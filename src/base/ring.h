/* SPDX-License-Identifier: MIT */
/* A bounded queue of records of any length in one piece of memory: many threads write,
 * one at a time reads. Nobody waits for anybody: a writer that finds no room is told so,
 * the reader finds nothing. Records come out in the order in which their room was
 * reserved, so each writer's own order is kept.
 *
 *     writer                                   reader
 *     p = er_ring_reserve(r, n);               while ((p = er_ring_peek(r, &n))) {
 *     if (!p) ... no room, or shut ...             ... use p[0..n) in place ...
 *     ... fill p[0..n) ...                         er_ring_drop(r);
 *     if (er_ring_commit(r, p, n)) wake it     }
 *                                              if (er_ring_sleep(r, ...)) wait
 *
 * Between reserve and commit a writer must not wait for anything: the reader cannot pass.
 *
 * The ring can be *shut*, with a word that says why: writers then get no room and keep
 * their records elsewhere (behind a lock of their own, or in that word) until the reader
 * has read the ring to its end, takes what is kept elsewhere and opens it again;
 * er_ring_open tells the mark up to which records in the ring are older than those.
 * ring.c has the argument why each writer's order survives this. */
#ifndef ER_BASE_RING_H
#define ER_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define ER_RING_MIN ((size_t)1024)
#define ER_RING_MAX ((size_t)1 << 30)

struct er_ring;

/* `size` bytes, raised to a power of two within ER_RING_MIN and ER_RING_MAX. The reader
 * is taken to be asleep at first. NULL when out of memory. */
struct er_ring *er_ring_new(size_t size) ER_MUSTCHECK;
void er_ring_free(struct er_ring *r); /* NULL is fine */

/* Any thread. Room for n bytes, aligned to 8, or NULL: no room, shut, or n is more than
 * half of the ring. */
void *er_ring_reserve(struct er_ring *r, size_t n) ER_MUSTCHECK;
/* Any thread, with what er_ring_reserve gave. True: the reader was asleep and it is the
 * caller's duty to wake it. */
bool er_ring_commit(struct er_ring *r, void *p, size_t n) ER_MUSTCHECK;
/* Several records at once, which costs less each, one behind the other in one piece:
 *
 *     p = er_ring_reserve_run(r, er_ring_size(n1) + er_ring_size(n2), 2);
 *     ... fill p[0..n1) ...      p = er_ring_put(r, p, n1);
 *     ... fill p[0..n2) ...      (void)er_ring_put(r, p, n2);
 *     if (er_ring_wake(r)) wake the reader
 *
 * reserve_run: any thread; NULL as er_ring_reserve, for all together. put: the record at
 * p is written; returns where the next one of the run is to be written. */
static inline size_t
er_ring_size(size_t n)
{
    return 8 + ((n + 7) & ~(size_t)7);
}
void *er_ring_reserve_run(struct er_ring *r, size_t size, size_t records) ER_MUSTCHECK;
void *er_ring_put(struct er_ring *r, void *p, size_t n);
/* Any thread. The word; 0: it is open. */
uint64_t er_ring_why(const struct er_ring *r);
/* Any thread. Shuts it, or changes the word, if that is *was; else false and *was is what
 * it is. From 0 only under the lock. `why` is not 0 and has not the highest bit.
 * *out_wake as what er_ring_commit returns. */
bool er_ring_shut(struct er_ring *r, uint64_t *was, uint64_t why,
                  bool *out_wake) ER_MUSTCHECK;
/* Any thread. True as for er_ring_commit; behind a run, or for what the ring knows
 * nothing of. */
bool er_ring_wake(struct er_ring *r) ER_MUSTCHECK;
/* Any thread. Records that wait, modulo 2^24; the one in the reader's hand is one. */
size_t er_ring_waiting(const struct er_ring *r);

/* The reader. The oldest record, or NULL when there is none or it is not written yet. */
void *er_ring_peek(struct er_ring *r, size_t *out_n);
/* The reader. Is done with the record that er_ring_peek gave. */
void er_ring_drop(struct er_ring *r);
/* The reader, and under the lock. Opens it; gives the word as it was at last, and the
 * mark. */
uint64_t er_ring_open(struct er_ring *r, uint64_t *out_why);
/* The reader. Whether the next record lies before that mark. */
bool er_ring_is_before(const struct er_ring *r, uint64_t mark);
/* The reader. Whether there is a record; with `shut_too` also whether the ring is
 * shut. */
bool er_ring_is_ready(const struct er_ring *r, bool shut_too);
/* The reader. True: it counts as asleep now, the next that has something for it is told.
 * False: something has come; *out_wake as for er_ring_commit (it is still for the caller
 * to bring the means of waking into its woken state). */
bool er_ring_sleep(struct er_ring *r, bool shut_too, bool *out_wake) ER_MUSTCHECK;

#endif
