/* SPDX-License-Identifier: MIT */
/* The bus, and the life of a subscription (publishing: bus_publish.c).
 *
 * The end of a subscription: er_bus_unsubscribe closes the entry, so that no call begins
 * any more. Once nobody calls it (er_bus_settle looks, now and whenever somebody has left
 * a closed one) `ended` is called and who waits is woken. Its memory stays until no walk
 * has it in its list and its thread was joined.
 *
 * Facts: a publisher raises `last_seq` before it takes the roster's newest list; a
 * subscriber is listed before it looks at last_seq. So each fact reaches it in one way at
 * least: by the walk, or by lying at or before the number up to which it reads again. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/bus_priv.h"

/* ---- the bus ---- */

int
er_bus_new(const struct er_bus_options *options, struct er_bus **out)
{
    if (!options->cursor_load != !options->cursor_save) {
        return ER_EINVALID;
    }
    struct er_bus *bus = er_zalloc(sizeof *bus);
    if (!bus) {
        return ER_ENOMEM;
    }
    int rc = er_roster_init(&bus->roster);
    if (rc) {
        er_free(bus);
        return rc;
    }
    bus->options = *options;
    er_count_set(&bus->last_seq, options->last_seq);
    er_lock_init(&bus->lock);
    TAILQ_INIT(&bus->subs);
    TAILQ_INIT(&bus->waiters);
    *out = bus;
    return 0;
}

static void
free_parts(struct er_bus_sub *sub)
{
    er_bus_spill_fini(&sub->spill);
    er_bus_spill_fini(&sub->batch);
    er_buf_fini(&sub->page);
    er_bus_wants_fini(&sub->wants);
    er_ring_free(sub->ring);
    if (sub->fd >= 0) {
        (void)close(sub->fd);
    }
    er_lock_fini(&sub->lock);
    er_free(sub->cursor);
    er_free(sub);
}

/* With the bus's lock. */
static void
add_stats(struct er_bus_stats *sum, struct er_bus_sub *sub)
{
    er_lock_take(&sub->lock);
    int64_t kept = er_bus_spill_count(&sub->spill);
    int64_t from = sub->spill.from;
    int64_t to = sub->ring ? (int64_t)(er_ring_why(sub->ring) >> ER_BUS_SHUT_BITS) : 0;
    er_lock_give(&sub->lock);
    int64_t left_out = er_count_get(&sub->left_out);
    sum->left_out += left_out;
    sum->coalesced += er_count_get(&sub->coalesced);
    int64_t delivered = er_count_get(&sub->delivered);
    if (!sub->ring && sub->all) {
        delivered += er_entry_walks(&sub->bus->roster, &sub->entry);
    }
    sum->delivered += delivered;
    sum->reread += er_count_get(&sub->reread);
    sum->gaps += er_count_get(&sub->gaps);
    sum->missed += er_count_get(&sub->missed);
    sum->errors += er_count_get(&sub->errors);
    if (!sub->ring) {
        sum->published += delivered;
        return;
    }
    int64_t waiting = (int64_t)er_ring_waiting(sub->ring);
    sum->published +=
        er_count_get(&sub->taken) + waiting + er_count_get(&sub->spilled) + left_out;
    sum->lag += waiting + kept + er_count_get(&sub->batched) + er_count_get(&sub->owed) +
                (from ? to - from + 1 : 0);
}

/* Frees what nobody can reach any more. */
static void
collect(struct er_bus *bus)
{
    er_lock_take(&bus->lock);
    struct er_entry *gone = er_roster_collect(&bus->roster);
    for (struct er_entry *e = gone; e; e = e->next_gone) {
        struct er_bus_sub *sub = (struct er_bus_sub *)(void *)e;
        TAILQ_REMOVE(&bus->subs, sub, in_bus);
        add_stats(&bus->past, sub);
    }
    bus->past.lag = 0;
    er_lock_give(&bus->lock);
    while (gone) {
        struct er_entry *next = gone->next_gone;
        free_parts((struct er_bus_sub *)(void *)gone);
        gone = next;
    }
}

void
er_bus_stats(struct er_bus *bus, struct er_bus_stats *out)
{
    er_lock_take(&bus->lock);
    *out = bus->past;
    struct er_bus_sub *sub;
    TAILQ_FOREACH (sub, &bus->subs, in_bus) {
        int64_t lag = out->lag;
        add_stats(out, sub);
        out->lag = sub->state == ER_BUS_LIVE ? out->lag : lag;
    }
    er_lock_give(&bus->lock);
    out->published = er_roster_walks(&bus->roster);
}

void
er_bus_sub_stats(struct er_bus_sub *sub, struct er_bus_stats *out)
{
    *out = (struct er_bus_stats){0};
    er_lock_take(&sub->bus->lock);
    add_stats(out, sub);
    er_lock_give(&sub->bus->lock);
}

/* ---- the beginning of a subscription ---- */

static int
check_cursor(const struct er_bus *bus, const struct er_bus_subscription *s,
             struct er_err *err)
{
    if (!s->cursor) {
        return 0;
    }
    if (!bus->options.cursor_load) {
        return er_fail(err, ER_EINVALID, "cursor: this bus keeps none");
    }
    size_t n = strlen(s->cursor);
    if (n == 0 || n > ER_BUS_NAME_MAX) {
        return er_fail(err, ER_EINVALID, "cursor: has to have 1 to %zu bytes, has %zu",
                       ER_BUS_NAME_MAX, n);
    }
    return 0;
}

int
er_bus_check(const struct er_bus *bus, const struct er_bus_subscription *s,
             struct er_err *err)
{
    if ((unsigned)s->way > ER_BUS_PULL) {
        return er_fail(err, ER_EINVALID, "way: %d is none", (int)s->way);
    }
    if (!s->fn != (s->way == ER_BUS_PULL)) {
        return er_fail(err, ER_EINVALID,
                       s->fn ? "fn: has to be NULL for a subscriber that pulls"
                             : "fn: is NULL; only a subscriber that pulls has none");
    }
    if (s->buffer > ER_BUS_BUFFER_MAX || (s->buffer && s->buffer < ER_BUS_BUFFER_MIN)) {
        return er_fail(err, ER_EINVALID, "buffer: %zu bytes; %zu to %zu are possible",
                       s->buffer, ER_BUS_BUFFER_MIN, ER_BUS_BUFFER_MAX);
    }
    if (s->resume && s->since < 0) {
        return er_fail(err, ER_EINVALID, "since: %lld is below 0", (long long)s->since);
    }
    if (s->way == ER_BUS_INLINE && (s->resume || s->cursor)) {
        return er_fail(err, ER_EINVALID,
                       "%s: an inline subscriber cannot wait for facts from before",
                       s->resume ? "resume" : "cursor");
    }
    return check_cursor(bus, s, err);
}

/* What a subscriber that is not called inline has besides. */
static int
init_queue(struct er_bus_sub *sub, const struct er_bus_subscription *s,
           struct er_err *err)
{
    size_t size = s->buffer ? s->buffer : ER_BUS_BUFFER;
    er_bus_spill_init(&sub->spill, size);
    sub->ring = er_ring_new(size);
    sub->cursor = er_strdup(s->cursor);
    if (!sub->ring || (s->cursor && !sub->cursor)) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    sub->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return sub->fd < 0 ? er_fail(err, ER_EIO, "no descriptor for a subscriber: %s",
                                 strerror(errno))
                       : 0;
}

/* Not in the bus yet. NULL, with *out_rc and err set, when it cannot be made. */
static struct er_bus_sub *
make_sub(struct er_bus *bus, const struct er_bus_subscription *s, int *out_rc,
         struct er_err *err)
{
    struct er_bus_sub *sub = er_zalloc(sizeof *sub);
    if (!sub) {
        *out_rc = er_fail(err, ER_ENOMEM, "out of memory");
        return NULL;
    }
    sub->bus = bus;
    sub->way = s->way;
    sub->fn = s->fn;
    sub->ctx = s->ctx;
    sub->ended = s->ended;
    sub->fd = -1;
    er_lock_init(&sub->lock);
    er_bus_spill_init(&sub->spill, 0);
    er_bus_spill_init(&sub->batch, 0);
    er_buf_init(&sub->page, 0);
    *out_rc = er_bus_wants_init(&sub->wants, &s->filter, err);
    sub->all = sub->wants.all;
    if (*out_rc == 0 && s->way != ER_BUS_INLINE) {
        *out_rc = init_queue(sub, s, err);
    }
    if (*out_rc) {
        free_parts(sub);
        return NULL;
    }
    return sub;
}

static bool
cursor_in_use(const struct er_bus *bus, const char *cursor)
{
    const struct er_bus_sub *sub;
    TAILQ_FOREACH (sub, &bus->subs, in_bus) {
        if (sub->state != ER_BUS_SETTLED && sub->cursor &&
            strcmp(sub->cursor, cursor) == 0) {
            return true;
        }
    }
    return false;
}

static int
join_bus(struct er_bus_sub *sub, struct er_err *err)
{
    struct er_bus *bus = sub->bus;
    er_lock_take(&bus->lock);
    int rc = 0;
    if (sub->cursor && cursor_in_use(bus, sub->cursor)) {
        rc = er_fail(err, ER_EEXISTS, "cursor: '%s' is in use", sub->cursor);
    } else if (er_roster_add(&bus->roster, &sub->entry, sub->way == ER_BUS_INLINE)) {
        rc = er_fail(err, ER_ENOMEM, "out of memory");
    } else {
        er_entry_hold(&sub->entry); /* the handle's */
        TAILQ_INSERT_TAIL(&bus->subs, sub, in_bus);
    }
    er_lock_give(&bus->lock);
    return rc;
}

/* Behind `last`, but where older facts are asked for (and such facts exist). */
static int64_t
begin_behind(const struct er_bus_subscription *s, int64_t last)
{
    bool resume = s->resume && s->since <= last;
    bool wants_facts = s->filter.kinds == 0 || (s->filter.kinds & ER_BUS_FACT);
    return resume && wants_facts ? s->since : last;
}

int64_t
er_bus_begins(const struct er_bus *bus, const struct er_bus_subscription *s)
{
    return begin_behind(s, er_count_see(&bus->last_seq));
}

/* Where its cursor is. A new one is made where it begins, at once: what is published from
 * now on is owed to the next subscriber, whatever becomes of this one. */
static int
begin_at_cursor(struct er_bus_sub *sub, int64_t begins, int64_t *out_since,
                struct er_err *err)
{
    const struct er_bus_options *o = &sub->bus->options;
    int rc = o->cursor_load(o->ctx, sub->cursor, out_since);
    if (rc && rc != ER_ENOTFOUND) {
        return er_fail(err, rc, "cursor: '%s' cannot be read: %s", sub->cursor,
                       er_error_meaning(rc));
    }
    if (rc == ER_ENOTFOUND) {
        *out_since = begins;
        rc = o->cursor_save(o->ctx, sub->cursor, begins);
    }
    sub->saved_seq = *out_since;
    return rc == 0 ? 0
                   : er_fail(err, rc, "cursor: '%s' cannot be made: %s", sub->cursor,
                             er_error_meaning(rc));
}

/* From where its facts come: in the bus, before its thread is there. */
static int
begin_facts(struct er_bus_sub *sub, const struct er_bus_subscription *s,
            struct er_err *err)
{
    int64_t last = er_count_see(&sub->bus->last_seq), since = begin_behind(s, last);
    int rc = sub->cursor ? begin_at_cursor(sub, since, &since, err) : 0;
    if (rc) {
        return rc;
    }
    if (since > last || !(sub->wants.kinds & ER_BUS_FACT)) {
        since = last;
    }
    sub->last_seq = sub->done_seq = sub->since = since;
    sub->until = last;
    sub->in_batch = true; /* nothing spilled, nothing in the ring before it */
    er_count_set(&sub->owed, last - since);
    if (since < last && er_ring_wake(sub->ring)) {
        er_bus_signal(sub);
    }
    return 0;
}

static int
start_thread(struct er_bus_sub *sub, struct er_err *err)
{
    er_lock_take(&sub->bus->lock); /* whoever joins it finds its id */
    int rc = er_bus_serve_start(sub);
    sub->to_join = rc == 0;
    er_lock_give(&sub->bus->lock);
    return rc ? er_fail(err, rc, "no thread for a subscriber") : 0;
}

int
er_bus_subscribe(struct er_bus *bus, const struct er_bus_subscription *s,
                 struct er_bus_sub **out, struct er_err *err)
{
    int rc = er_bus_check(bus, s, err);
    if (rc) {
        return rc;
    }
    struct er_bus_sub *sub = make_sub(bus, s, &rc, err);
    if (!sub) {
        return rc;
    }
    rc = join_bus(sub, err);
    if (rc) {
        free_parts(sub);
        return rc;
    }
    if (s->way != ER_BUS_INLINE) {
        rc = begin_facts(sub, s, err);
    }
    if (rc == 0 && s->way == ER_BUS_THREAD) {
        rc = start_thread(sub, err);
    }
    if (rc) {
        sub->ended = NULL; /* it has not begun */
        (void)er_bus_unsubscribe(sub);
        return rc;
    }
    *out = sub;
    collect(bus);
    return 0;
}

int
er_bus_fd(const struct er_bus_sub *sub)
{
    return sub->way == ER_BUS_TURN || sub->way == ER_BUS_PULL ? sub->fd : -1;
}

/* ---- its end ---- */

/* One that was ended and that nobody calls any more; the lock. */
static struct er_bus_sub *
find_over(struct er_bus *bus)
{
    struct er_bus_sub *sub;
    TAILQ_FOREACH (sub, &bus->subs, in_bus) {
        if (sub->state == ER_BUS_ENDING &&
            !er_roster_runs(&bus->roster, &sub->entry, 0)) {
            return sub;
        }
    }
    return NULL;
}

void
er_bus_settle(struct er_bus *bus)
{
    er_lock_take(&bus->lock);
    struct er_bus_sub *sub;
    while ((sub = find_over(bus))) {
        sub->state = ER_BUS_SETTLING;
        er_lock_give(&bus->lock);
        if (sub->ended) {
            sub->ended(sub->ctx);
        }
        er_lock_take(&bus->lock);
        sub->state = ER_BUS_SETTLED;
        if (!sub->to_join) {
            er_entry_release(&bus->roster, &sub->entry);
        }
    }
    er_lock_wake(&bus->lock); /* also those whose turn in a circle has changed */
    er_lock_give(&bus->lock);
}

/* Joins the threads of those that are over. */
static void
reap(struct er_bus *bus)
{
    er_lock_take(&bus->lock);
    struct er_bus_sub *sub = TAILQ_FIRST(&bus->subs);
    while (sub) {
        if (sub->state == ER_BUS_SETTLED && sub->to_join &&
            !pthread_equal(sub->thread, pthread_self())) {
            sub->to_join = false;
            er_lock_give(&bus->lock);
            (void)pthread_join(sub->thread, NULL);
            er_lock_take(&bus->lock);
            er_entry_release(&bus->roster, &sub->entry);
            sub = TAILQ_FIRST(&bus->subs);
        } else {
            sub = TAILQ_NEXT(sub, in_bus);
        }
    }
    er_lock_give(&bus->lock);
    collect(bus);
}

/* Whether a wait for `sub` by this thread would never end, since its callback's thread
 * waits (perhaps for one that waits) for a callback of this thread; the lock. */
static bool
is_circle(struct er_bus *bus, uintptr_t self, const struct er_bus_sub *sub, int depth)
{
    struct er_bus_waiter *w;
    TAILQ_FOREACH (w, &bus->waiters, link) {
        if (w->thread == self || depth > 64 ||
            !er_roster_runs(&bus->roster, &sub->entry, w->thread)) {
            continue;
        }
        if (er_roster_runs(&bus->roster, &w->sub->entry, self) ||
            is_circle(bus, self, w->sub, depth + 1)) {
            return true;
        }
    }
    return false;
}

/* Until it is settled: 0 or ER_EBUSY; the lock. */
static int
wait_settled(struct er_bus *bus, const struct er_bus_sub *sub, uintptr_t self)
{
    struct er_bus_waiter w = {.thread = self, .sub = sub};
    int rc = 0;
    TAILQ_INSERT_TAIL(&bus->waiters, &w, link);
    while (sub->state != ER_BUS_SETTLED && rc == 0) {
        if (is_circle(bus, self, sub, 0)) {
            rc = ER_EBUSY;
        } else {
            er_lock_wait(&bus->lock);
        }
    }
    TAILQ_REMOVE(&bus->waiters, &w, link);
    return rc;
}

int
er_bus_unsubscribe(struct er_bus_sub *sub)
{
    struct er_bus *bus = sub->bus;
    uintptr_t self = er_roster_self();
    er_lock_take(&bus->lock);
    if (sub->state != ER_BUS_LIVE) { /* a second time, from inside its callback */
        er_lock_give(&bus->lock);
        return ER_EINVALID;
    }
    er_roster_remove(&bus->roster, &sub->entry);
    sub->state = ER_BUS_ENDING;
    er_entry_hold(&sub->entry); /* ours, until we are done here */
    bool own = er_roster_runs(&bus->roster, &sub->entry, self);
    er_lock_give(&bus->lock);
    if (sub->fd >= 0) {
        er_bus_signal(sub);
    }
    er_bus_settle(bus);
    er_lock_take(&bus->lock);
    int rc = own ? 0 : wait_settled(bus, sub, self);
    bool over = sub->state == ER_BUS_SETTLED;
    er_lock_give(&bus->lock);
    if (over && !own && sub->ring) {
        er_bus_take_back(sub);
        er_bus_serve_save(sub);
    }
    er_lock_take(&bus->lock);
    er_entry_release(&bus->roster, &sub->entry);
    er_lock_give(&bus->lock);
    reap(bus);
    return rc;
}

/* One that is not settled, of those that are live or of all; the lock. */
static struct er_bus_sub *
find_unsettled(const struct er_bus *bus, bool live)
{
    struct er_bus_sub *sub;
    TAILQ_FOREACH (sub, &bus->subs, in_bus) {
        if (live ? sub->state == ER_BUS_LIVE : sub->state != ER_BUS_SETTLED) {
            return sub;
        }
    }
    return NULL;
}

void
er_bus_free(struct er_bus *bus)
{
    if (!bus) {
        return;
    }
    er_lock_take(&bus->lock);
    struct er_bus_sub *sub;
    while ((sub = find_unsettled(bus, true))) {
        er_lock_give(&bus->lock);
        (void)er_bus_unsubscribe(sub);
        er_lock_take(&bus->lock);
    }
    while (find_unsettled(bus, false)) { /* those that have ended themselves */
        er_lock_wait(&bus->lock);
    }
    er_lock_give(&bus->lock);
    reap(bus);
    ER_ASSERT(TAILQ_EMPTY(&bus->subs));
    er_roster_fini(&bus->roster);
    er_lock_fini(&bus->lock);
    er_free(bus);
}
