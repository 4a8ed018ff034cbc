/* SPDX-License-Identifier: MIT */
/* The beginning and the end of a handle's events. Made with the handle, they ask for
 * nothing until somebody subscribes. At the end: no stream any more -> nobody on the
 * loop, nobody inside a pull -> the bus ends every subscription -> the cursors that could
 * not be saved meanwhile are sent. Whoever still waits for the first stream hears
 * ERRAND_ECLOSED. */
#include "base/mem.h"
#include "lib/events_priv.h"

bool
er_events_are_ready(const struct er_events *ev)
{
    return er_count_see(&ev->is_ready) != 0;
}

struct er_events *
er_events_new(struct errand *e)
{
    struct er_events *ev = er_zalloc(sizeof *ev);
    struct er_events_timer *timer = er_zalloc(sizeof *timer);
    struct er_pulls *pulls = er_events_pulls_new();
    if (!ev || !timer || !pulls) {
        er_free(ev);
        er_free(timer);
        if (pulls) {
            er_events_pulls_free(pulls);
        }
        return NULL;
    }
    ev->pulls = pulls;
    ev->e = e;
    ev->timer = timer;
    timer->ev = ev;
    timer->again.data = timer->retry.data = timer;
    er_lock_init(&ev->lock);
    (void)uv_timer_init(er_loop_uv(e->loop), &timer->again);
    (void)uv_timer_init(er_loop_uv(e->loop), &timer->retry);
    return ev;
}

void
er_events_close(struct errand *e, void (*closed)(struct errand *e))
{
    struct er_events *ev = e->events;
    ev->is_closing = true;
    ev->closed = closed;
    er_events_close_stream(ev);
    er_events_close_loop(ev);
    er_events_pulls_close(ev->pulls);
    if (ev->bus) {
        (void)er_count_swap(&ev->is_ready, 0);
        er_bus_free(ev->bus);
        ev->bus = NULL;
    }
    er_events_save_rest(ev);
}

void
er_events_free(struct er_events *ev)
{
    if (ev) {
        er_events_free_pages(ev);
        er_events_free_echoes(ev);
        er_buf_fini(&ev->frames);
        er_buf_fini(&ev->samples);
        er_lock_fini(&ev->lock);
        er_events_pulls_free(ev->pulls);
        er_free(ev->timer);
        er_free(ev);
    }
}
