/* SPDX-License-Identifier: MIT */
/* Counters that one thread reads while others count. They order nothing: what is read is
 * a value the counter had, exact once the threads that count are known to be done. A
 * zeroed struct is 0. */
#ifndef ER_BASE_COUNT_H
#define ER_BASE_COUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct er_count {
    _Atomic int64_t n;
};

static inline int64_t
er_count_get(const struct er_count *c)
{
    return atomic_load_explicit(&c->n, memory_order_relaxed);
}

/* For a counter that any thread counts. */
static inline void
er_count_add(struct er_count *c, int64_t n)
{
    (void)atomic_fetch_add_explicit(&c->n, n, memory_order_relaxed);
}

/* For a counter that only one thread at a time counts: no locked instruction. */
static inline void
er_count_own(struct er_count *c, int64_t n)
{
    atomic_store_explicit(&c->n, er_count_get(c) + n, memory_order_relaxed);
}

static inline void
er_count_set(struct er_count *c, int64_t n)
{
    atomic_store_explicit(&c->n, n, memory_order_relaxed);
}

/* Raises it to `to` if it is below `above`; else false. Sequentially consistent: a thread
 * that raises and then looks at something, and one that changes that and then reads by
 * er_count_see, cannot both miss the other. */
static inline bool
er_count_raise(struct er_count *c, int64_t above, int64_t to)
{
    int64_t now = atomic_load(&c->n);
    while (now < above) {
        if (atomic_compare_exchange_weak(&c->n, &now, to)) {
            return true;
        }
    }
    return false;
}

/* Puts `to` in its place and returns what was there. Sequentially consistent: what a
 * thread did before it put a value in is seen by who takes that out. */
static inline int64_t
er_count_swap(struct er_count *c, int64_t to)
{
    return atomic_exchange(&c->n, to);
}

static inline int64_t
er_count_see(const struct er_count *c)
{
    return atomic_load(&c->n);
}

#endif
