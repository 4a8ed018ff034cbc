/* SPDX-License-Identifier: MIT */
/* The worker's timers: moments on the monotonic clock in one heap, behind one timer of
 * the loop that is armed only while there is one. Embedded by their owners; starting and
 * stopping cost no system call, and a stopped one's memory is free at once. Loop thread.
 */
#ifndef ER_WORK_TIMER_H
#define ER_WORK_TIMER_H

#include <stdbool.h>
#include <uv.h>

#include "base/clock.h"
#include "base/heap.h"

struct er_timer;
typedef void er_timer_fn(struct er_timer *t);

/* A zeroed one is off. */
struct er_timer {
    struct er_heap_node node;
    er_usec at;
    er_timer_fn *fn;
};

struct er_timers {
    struct er_heap heap;
    const struct er_clock *clock;
    uv_timer_t uv;
    er_usec armed_at; /* what uv is set to; ER_NEVER = off */
};

int er_timers_init(struct er_timers *ts, uv_loop_t *loop,
                   const struct er_clock *clock) ER_MUSTCHECK;
/* All timers must be off; the loop must run once more for the handle. */
void er_timers_fini(struct er_timers *ts);
/* Sets the loop's timer to the earliest; called before the loop goes to sleep. */
void er_timers_arm(struct er_timers *ts);

/* Calls fn once, at that moment or soon after; moves it when it is on already. Ends the
 * process when memory is out (a heap of a few hundred pointers). */
void er_timer_start(struct er_timers *ts, struct er_timer *t, er_usec mono_at,
                    er_timer_fn *fn);
void er_timer_stop(struct er_timers *ts, struct er_timer *t);
static inline bool
er_timer_is_on(const struct er_timer *t)
{
    return t->node.pos != 0;
}

#endif
