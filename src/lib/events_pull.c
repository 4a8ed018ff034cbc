/* SPDX-License-Identifier: MIT */
/* Subscriptions that the program asks (ERRAND_PULL): errand_pull -> the bus gives an
 * event, which may be gone at any moment -> a copy that is the subscription's own.
 *
 * They are the program's until errand_unsubscribe, also beyond the handle: they share
 * `er_pulls`, whose lock says whether the bus may still be asked. Closing marks them all
 * as over, waits for those that are inside a pull, and lets them be: pulling them says
 * ERRAND_ECLOSED from then on.
 *
 * A callback of the loop that runs inside a pull (ERRAND_TURN) may end the very
 * subscription that is pulled: that is noted, and done when the pull comes back. Where
 * memory has no room for the copy the event is kept, and given by the next pull. */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/io.h"
#include "base/mem.h"
#include "lib/events_priv.h"

/* Freed by the last of the handle and the subscriptions that refer to it. */
struct er_pulls {
    struct er_lock lock; /* of the rest, and of what the subscriptions below say so */
    int refs;
    bool is_closed; /* the handle */
    struct errand_subscription *subs;
};

/* ---- all of a handle ---- */

struct er_pulls *
er_events_pulls_new(void)
{
    struct er_pulls *p = er_zalloc(sizeof *p);
    if (p) {
        er_lock_init(&p->lock);
        p->refs = 1;
    }
    return p;
}

/* With the lock taken, which it gives. */
static void
release_pulls(struct er_pulls *p)
{
    bool is_last = --p->refs == 0;
    er_lock_give(&p->lock);
    if (is_last) {
        er_lock_fini(&p->lock);
        er_free(p);
    }
}

void
er_events_pulls_free(struct er_pulls *p)
{
    er_lock_take(&p->lock);
    release_pulls(p);
}

/* With the lock taken. */
static void
leave_pulls(struct errand_subscription *s)
{
    if (s->prev) {
        *s->prev = s->next;
        if (s->next) {
            s->next->prev = s->prev;
        }
        s->prev = NULL;
    }
}

void
er_events_pulls_close(struct er_pulls *p)
{
    struct errand_subscription *s;
    er_lock_take(&p->lock);
    p->is_closed = true;
    for (s = p->subs; s; s = s->next) {
        s->is_over = true;
    }
    while ((s = p->subs)) {
        if (s->users > 0) {
            er_lock_wait(&p->lock);
            continue;
        }
        (void)eventfd_write(s->fd, 1);
        leave_pulls(s);
    }
    er_lock_give(&p->lock);
}

static int
join_pulls(struct errand_subscription *s)
{
    struct er_pulls *p = s->pulls;
    er_lock_take(&p->lock);
    if (p->is_closed) {
        er_lock_give(&p->lock);
        return ER_ECLOSED;
    }
    s->next = p->subs;
    s->prev = &p->subs;
    if (s->next) {
        s->next->prev = &s->next;
    }
    p->subs = s;
    p->refs++;
    er_lock_give(&p->lock);
    return 0;
}

/* ---- one ---- */

bool
er_events_pull_begin(struct errand_subscription *s)
{
    er_lock_take(&s->pulls->lock);
    bool is_live = !s->is_over;
    s->users += is_live;
    er_lock_give(&s->pulls->lock);
    return is_live;
}

void
er_events_pull_end(struct errand_subscription *s)
{
    er_lock_take(&s->pulls->lock);
    s->users--;
    er_lock_wake(&s->pulls->lock);
    er_lock_give(&s->pulls->lock);
}

bool
er_events_pull_is_dropped(struct errand_subscription *s)
{
    er_lock_take(&s->pulls->lock);
    bool is_dropped = s->is_dropped;
    er_lock_give(&s->pulls->lock);
    return is_dropped;
}

void
er_events_pull_release(struct errand_subscription *s)
{
    struct er_pulls *p = s->pulls;
    er_lock_take(&p->lock);
    if (--s->refs > 0) {
        er_lock_give(&p->lock);
        return;
    }
    leave_pulls(s);
    er_lock_wake(&p->lock);
    er_close(&s->fd);
    er_buf_fini(&s->copy);
    er_free(s);
    release_pulls(p);
}

/* Before the bus knows of it, nobody else does. */
int
er_events_pull_subscribe(struct er_subscribing *k)
{
    struct errand_subscription *s = k->s;
    s->users = 1;
    int rc = join_pulls(s);
    if (rc) {
        er_free(s);
        return rc;
    }
    rc = er_events_subscribe(k);
    s->refs -= rc != 0; /* the bus never had it */
    if (rc == 0) {
        s->fd = fcntl(er_bus_fd(er_events_bus_sub(s)), F_DUPFD_CLOEXEC, 0);
        rc = s->fd < 0 ? ER_EIO : 0;
        if (rc) {
            s->ended = NULL; /* it has not begun */
            (void)er_bus_unsubscribe(er_events_bus_sub(s));
        }
    }
    if (rc == 0) {
        er_events_pull_end(s);
    } else {
        er_events_pull_release(s);
    }
    return rc;
}

void
er_events_pull_unsubscribe(struct errand_subscription *s)
{
    struct er_pulls *p = s->pulls;
    er_lock_take(&p->lock);
    if (s->is_pulled && pthread_equal(s->puller, pthread_self())) {
        s->is_left = true; /* the pull does it */
        er_lock_give(&p->lock);
        return;
    }
    bool was_over = s->is_over;
    s->is_over = true;
    while (!was_over && s->users > 0) {
        er_lock_wait(&p->lock);
    }
    s->users += !was_over; /* the bus stays for us */
    s->is_dropped = was_over;
    er_lock_give(&p->lock);
    if (!was_over) {
        (void)er_bus_unsubscribe(er_events_bus_sub(s));
    }
    er_events_pull_release(s);
}

/* ---- pulling ---- */

/* Copies the event that the bus has given, which may be gone at any moment. */
static int
keep(struct errand_subscription *s, const struct er_bus_event *ev)
{
    struct er_buf *b = &s->copy;
    size_t name = strlen(ev->name) + 1;
    size_t correlation = ev->correlation ? strlen(ev->correlation) + 1 : 0;
    er_buf_clear(b);
    s->pending = ev;
    int rc = er_buf_reserve(b, name + correlation + ev->len + 1);
    if (rc) {
        return rc;
    }
    s->pending = NULL;
    er_buf_add(b, ev->name, name);
    er_buf_add(b, ev->correlation, correlation);
    er_buf_add(b, ev->data, ev->len);
    s->now = er_events_to_public(ev);
    s->now.name = b->data;
    s->now.correlation = correlation ? b->data + name : NULL;
    s->now.data = ev->data ? b->data + name + correlation : NULL;
    return 1;
}

/* Returns whether it was left meanwhile. */
static bool
set_pulled(struct errand_subscription *s, bool is_pulled)
{
    er_lock_take(&s->pulls->lock);
    s->is_pulled = is_pulled;
    s->puller = pthread_self();
    bool is_left = s->is_left;
    er_lock_give(&s->pulls->lock);
    return is_left;
}

static int
pull(struct errand_subscription *s)
{
    const struct er_bus_event *ev = s->pending;
    int rc = ev ? 1 : er_bus_pull(er_events_bus_sub(s), &ev);
    return rc == 1 ? keep(s, ev) : rc;
}

int
errand_pull(errand_subscription *s, const errand_event **out)
{
    if (!s || !out || s->delivery != ERRAND_PULL) {
        return ERRAND_EINVALID;
    }
    *out = NULL;
    if (!er_events_pull_begin(s)) {
        return ERRAND_ECLOSED;
    }
    set_pulled(s, true);
    int rc = pull(s);
    bool is_left = set_pulled(s, false);
    er_events_pull_end(s);
    if (is_left) {
        er_events_pull_unsubscribe(s);
        return ERRAND_ECLOSED;
    }
    if (rc == 1) {
        *out = &s->now;
    }
    return rc;
}

int
errand_subscription_fd(const errand_subscription *s)
{
    return s && s->delivery == ERRAND_PULL ? s->fd : -1;
}
