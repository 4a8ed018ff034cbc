/* SPDX-License-Identifier: MIT */
/* Subscribers on the handle's loop (ERRAND_ON_LOOP): the bus's descriptor is readable ->
 * a turn -> the program's function, some events at a time. All that concerns the bus's
 * subscription happens on the loop's thread, where other threads send what they want.
 *
 * Nobody may wait there. So a cursor is looked up before, by the thread that subscribes;
 * and where facts have to be read again the turn ends "busy", and all are turned when the
 * page has come (er_events_turn_all). A page that cannot be read is tried again after a
 * while. */
#include "base/heap.h"
#include "lib/events_priv.h"

#define TURN_MAX 256 /* events for one subscriber in one turn */

void
er_events_on_loop_event(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct errand *e = ((struct errand_subscription *)ctx)->e;
    bool was = er_handle_enter(e);
    er_events_on_event(ctx, sub, ev); /* it may have unsubscribed in there */
    er_handle_leave(e, was);
}

static void
on_poll_closed(uv_handle_t *h)
{
    er_events_release(h->data);
}

/* Takes it off the list and stops looking at its descriptor, which the bus closes
 * then. */
static void
leave_loop(struct errand_subscription *s)
{
    struct er_events *ev = s->e->events;
    if (ev->turn_next == s) {
        ev->turn_next = s->next;
    }
    *s->prev = s->next;
    if (s->next) {
        s->next->prev = s->prev;
    }
    uv_close((uv_handle_t *)&s->poll, on_poll_closed);
}

/* Something could not be read again: it is tried again. */
static void
on_retry(uv_timer_t *t)
{
    struct er_events_timer *timer = t->data;
    er_events_turn_all(timer->ev);
}

static void
turn(struct errand_subscription *s)
{
    struct er_events *ev = s->e->events;
    int rc = er_bus_turn(er_events_bus_sub(s), TURN_MAX); /* may have ended s */
    /* ER_EBUSY: a page is on its way, and er_events_turn_all follows */
    if (rc < 0 && rc != ER_EBUSY && rc != ER_ECLOSED && !ev->is_closing) {
        (void)uv_timer_start(&ev->timer->retry, on_retry, ER_EVENTS_AGAIN_MS, 0);
    }
}

static void
on_readable(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    turn(h->data);
}

void
er_events_turn_all(struct er_events *ev)
{
    struct errand_subscription *s;
    ev->turn_next = ev->loop_subs;
    while ((s = ev->turn_next)) {
        ev->turn_next = s->next;
        turn(s); /* its callback may unsubscribe it, and any other (leave_loop) */
    }
}

static int
join_loop(struct errand_subscription *s)
{
    struct er_events *ev = s->e->events;
    int fd = er_bus_fd(er_events_bus_sub(s));
    if (uv_poll_init(er_loop_uv(s->e->loop), &s->poll, fd) != 0) {
        return ER_EIO;
    }
    s->poll.data = s;
    s->refs++;
    s->next = ev->loop_subs;
    s->prev = &ev->loop_subs;
    if (s->next) {
        s->next->prev = &s->next;
    }
    ev->loop_subs = s;
    (void)uv_poll_start(&s->poll, UV_READABLE, on_readable);
    return 0;
}

/* The bus asks for the cursor, and finds what was looked up. What the loop cannot look at
 * is taken back. */
static int
subscribe_preloaded(struct er_subscribing *k)
{
    struct errand_subscription *s = k->s;
    struct er_events *ev = s->e->events;
    ev->preloaded = k->want.cursor;
    ev->preloaded_at = k->cursor_at;
    int rc = er_events_subscribe(k);
    ev->preloaded = NULL;
    if (rc) {
        return rc;
    }
    rc = join_loop(s);
    if (rc) {
        s->ended = NULL; /* it has not begun */
        s->refs++;       /* the subscriber's, who frees it */
        (void)er_bus_unsubscribe(er_events_bus_sub(s));
    }
    return rc;
}

static void
subscribe_here(struct er_wait *wait)
{
    struct er_subscribing *k = ER_CONTAINER(wait, struct er_subscribing, wait);
    er_handle_done(wait, subscribe_preloaded(k));
}

/* As the bus would, which may not block there: a new one is made first. */
static int
look_up_cursor(struct er_subscribing *k)
{
    struct er_events *ev = k->s->e->events;
    int rc = er_events_cursor_load(ev, k->want.cursor, &k->cursor_at);
    if (rc == ER_ENOTFOUND) {
        k->cursor_at = er_bus_begins(ev->bus, &k->want);
        rc = er_events_cursor_save(ev, k->want.cursor, k->cursor_at);
    }
    return rc;
}

int
er_events_loop_subscribe(struct er_subscribing *k)
{
    struct errand *e = k->s->e;
    int rc = er_bus_check(e->events->bus, &k->want, &k->err);
    k->cursor_at = -1;
    if (rc == 0 && k->want.cursor) {
        rc = look_up_cursor(k);
    }
    k->wait.fn = subscribe_here;
    if (rc == 0 && er_handle_take_loop(e)) {
        rc = subscribe_preloaded(k);
        er_handle_give_loop(e);
        return rc;
    }
    return rc ? rc : er_handle_wait(e, &k->wait);
}

static void
unsubscribe_here(struct er_wait *wait)
{
    struct errand_subscription *s = wait->ctx;
    leave_loop(s);
    er_handle_done(wait, er_bus_unsubscribe(er_events_bus_sub(s)));
}

void
er_events_loop_unsubscribe(struct errand_subscription *s)
{
    struct errand *e = s->e;
    if (er_handle_take_loop(e)) {
        leave_loop(s);
        (void)er_bus_unsubscribe(er_events_bus_sub(s)); /* s may be gone */
        er_handle_give_loop(e);
    } else {
        struct er_wait wait = {.fn = unsubscribe_here, .ctx = s};
        (void)er_handle_wait(e, &wait);
    }
}

void
er_events_close_loop(struct er_events *ev)
{
    (void)uv_timer_stop(&ev->timer->retry);
    while (ev->loop_subs) {
        leave_loop(ev->loop_subs);
    }
}
