/* SPDX-License-Identifier: MIT */
/* The timer of the loop is set to the first of the heap, once before the loop sleeps.
 * Where the heap cannot grow the process ends: a clock that does not run could not be
 * told. */
#include "work/timer.h"

static bool
is_sooner(const struct er_heap_node *a, const struct er_heap_node *b)
{
    const struct er_timer *x = ER_CONTAINER(a, const struct er_timer, node);
    const struct er_timer *y = ER_CONTAINER(b, const struct er_timer, node);
    return x->at < y->at;
}

static struct er_timer *
first(const struct er_timers *ts)
{
    struct er_heap_node *node = er_heap_get(&ts->heap);
    return node ? ER_CONTAINER(node, struct er_timer, node) : NULL;
}

static void
on_due(uv_timer_t *uv)
{
    struct er_timers *ts = uv->data;
    ts->armed_at = ER_NEVER;
    er_usec now = er_clock_mono(ts->clock);
    for (struct er_timer *t; (t = first(ts)) != NULL && t->at <= now;) {
        er_heap_remove(&ts->heap, &t->node);
        t->fn(t);
    }
}

int
er_timers_init(struct er_timers *ts, uv_loop_t *loop, const struct er_clock *clock)
{
    *ts = (struct er_timers){.clock = clock, .armed_at = ER_NEVER};
    er_heap_init(&ts->heap, is_sooner);
    ts->uv.data = ts;
    return uv_timer_init(loop, &ts->uv) == 0 ? 0 : ER_EIO;
}

void
er_timers_fini(struct er_timers *ts)
{
    er_heap_fini(&ts->heap);
    uv_close((uv_handle_t *)&ts->uv, NULL);
}

void
er_timers_arm(struct er_timers *ts)
{
    struct er_timer *t = first(ts);
    if (!t) {
        if (ts->armed_at != ER_NEVER) {
            (void)uv_timer_stop(&ts->uv);
            ts->armed_at = ER_NEVER;
        }
        return;
    }
    if (t->at == ts->armed_at) {
        return;
    }
    er_usec in = t->at - er_clock_mono(ts->clock);
    uint64_t ms = in > 0 ? (uint64_t)((in + ER_USEC_PER_MS - 1) / ER_USEC_PER_MS) : 0;
    uv_update_time(ts->uv.loop);
    (void)uv_timer_start(&ts->uv, on_due, ms, 0);
    ts->armed_at = t->at;
}

void
er_timer_start(struct er_timers *ts, struct er_timer *t, er_usec mono_at, er_timer_fn *fn)
{
    t->fn = fn;
    t->at = mono_at;
    if (er_timer_is_on(t)) {
        er_heap_move(&ts->heap, &t->node);
    } else {
        ER_ASSERT(er_heap_push(&ts->heap, &t->node) == 0);
    }
}

void
er_timer_stop(struct er_timers *ts, struct er_timer *t)
{
    er_heap_remove(&ts->heap, &t->node);
}
