/* SPDX-License-Identifier: MIT */
/* Opening, at the first subscription: the number of the latest fact -> the bus -> the stream
 * behind that number; when its head has come the subscriptions that wait are made.
 *
 * Subscribers on the loop (ERRAND_ON_LOOP) are turned when their descriptor says so; all that
 * concerns their bus subscription happens on the loop's thread.
 *
 * Subscriptions that pull are the program's until errand_unsubscribe, also beyond the handle:
 * they share `er_pulls`, whose lock says whether the bus may still be asked. Closing marks
 * them all as over, waits for those that are inside a pull, and lets them be. What they have
 * pulled last is a copy of their own. */
#include "lib/events.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "base/heap.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "lib/handle.h"

#define FRAME_MAX ((size_t)64 << 20)
#define AGAIN_MS  100 /* before a stream that broke is opened again */
#define TURN_MAX  256 /* events for one subscriber in one turn */
#define ASK_FOR   (30 * ER_USEC_PER_SEC)

struct er_events_timer {
    uv_timer_t uv, retry;
    struct er_events *ev;
};

struct er_opener {
    struct er_wait wait;
    errand_error *error;
    struct er_opener *next;
};

/* Freed by the last of the handle and the subscriptions that refer to it. */
struct er_pulls {
    struct er_lock lock; /* of the rest, and of what the subscriptions below say so */
    int refs;
    bool is_closed; /* the handle */
    struct errand_subscription *subs;
};

struct errand_subscription {
    struct errand *e;
    struct er_count sub; /* the bus's handle, as a number: a callback may come before the
                          * subscribing thread has it */
    errand_event_fn *fn;
    void *ctx;
    void (*ended)(void *ctx);
    int delivery;
    uv_poll_t poll; /* ERRAND_ON_LOOP */
    int refs;       /* the bus's, and the poll's or (PULL: of the lock) the program's */
    struct errand_subscription *next, **prev; /* ON_LOOP; PULL: of the lock */
    /* ERRAND_PULL */
    struct er_pulls *pulls;
    int users;      /* of the lock: threads that ask the bus */
    bool is_pulled; /* of the lock: by this thread ... */
    pthread_t puller;
    bool is_left; /* ... which has unsubscribed in a callback meanwhile (ERRAND_TURN) */
    bool is_over; /* of the lock: nobody may any more */
    bool is_dropped; /* of the lock: the program has unsubscribed */
    int fd;          /* the bus's, once more */
    errand_event now;
    struct er_buf copy;                 /* what `now` points to */
    const struct er_bus_event *pending; /* there was no memory for the copy */
};

_Static_assert(ERRAND_FACT == (int)ER_BUS_FACT && ERRAND_SAMPLE == (int)ER_BUS_SAMPLE &&
                   ERRAND_GAP == (int)ER_BUS_GAP && ERRAND_MISSED == (int)ER_BUS_MISSED,
               "kinds are the bus's");

static void open_stream(struct er_events *ev);

bool
er_events_are_ready(const struct er_events *ev)
{
    return er_count_see(&ev->is_ready) != 0;
}

/* ---- the stream ---- */

/* "id: 7\nevent: x\ndata: {...}\n\n": only the data counts, which says it all. */
static void
take_frame(struct er_events *ev, const char *frame, size_t len)
{
    struct er_bus_event event;
    struct er_buf scratch;
    const char *end = frame + len;
    er_buf_init(&scratch, 0);
    while (frame < end && strncmp(frame, "data: ", 6) != 0) {
        const char *nl = memchr(frame, '\n', (size_t)(end - frame));
        frame = nl ? nl + 1 : end;
    }
    const char *nl = frame < end ? memchr(frame, '\n', (size_t)(end - frame)) : NULL;
    if (frame < end &&
        er_events_parse(frame + 6, (size_t)((nl ? nl : end) - frame) - 6, &scratch,
                        &event) &&
        !er_events_is_echo(ev, &event)) {
        /* ER_ESTATE: it came before; anything else the bus tells by its marks */
        int rc = er_bus_publish(ev->bus, &event);
        if (rc == 0 && event.seq > ev->last_seq) {
            ev->last_seq = event.seq;
        }
    }
    er_buf_fini(&scratch);
}

static void
on_frames(struct er_ask *ask, const char *data, size_t len)
{
    struct er_events *ev = ask->ctx;
    struct er_buf *b = &ev->frames;
    size_t used = 0;
    b->max = FRAME_MAX;
    er_buf_add(b, data, len);
    if (b->failed) { /* begin again behind what was taken */
        er_buf_fini(b);
        return;
    }
    for (;;) {
        const char *end = memmem(b->data + used, b->len - used, "\n\n", 2);
        if (!end) {
            break;
        }
        take_frame(ev, b->data + used, (size_t)(end + 1 - (b->data + used)));
        used = (size_t)(end + 2 - b->data);
    }
    er_buf_drop(b, used);
}

static void
end_opening(struct er_events *ev, int code, const struct er_buf *words)
{
    struct er_opener *o = ev->openers;
    ev->openers = NULL;
    while (o) {
        struct er_opener *next = o->next;
        if (code) {
            (void)er_handle_problem(o->error, code, words);
        }
        er_handle_done(&o->wait, code);
        o = next;
    }
}

static void
on_began(struct er_ask *ask)
{
    struct er_events *ev = ask->ctx;
    (void)er_count_swap(&ev->is_ready, 1);
    end_opening(ev, 0, NULL);
}

static void
on_again(uv_timer_t *t)
{
    struct er_events_timer *timer = t->data;
    open_stream(timer->ev);
}

static void
on_stream_end(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_events *ev = ask->ctx;
    ev->stream = NULL;
    er_buf_fini(&ev->frames);
    if (status >= 300 || (status < 0 && !er_events_are_ready(ev))) {
        end_opening(ev, status < 0 ? status : ER_EIO, body);
    }
    if (!ev->is_closing && status != ER_ECLOSED) {
        (void)uv_timer_start(&ev->timer->uv, on_again, AGAIN_MS, 0);
    }
}

static void
open_stream(struct er_events *ev)
{
    if (ev->stream || ev->is_closing) {
        return;
    }
    ev->stream =
        er_ask_new(ev->e, "GET", "/v1/events?since=%lld", (long long)ev->last_seq);
    ev->stream->ctx = ev;
    ev->stream->alone = true;
    ev->stream->began = on_began;
    ev->stream->data = on_frames;
    ev->stream->done = on_stream_end;
    er_ask_send(ev->stream);
}

/* ---- opening ---- */

/* The latest fact's number, of the last line of a page. */
static int64_t
last_of(const struct er_buf *body)
{
    const char *at = body->data ? strstr(body->data, "\"last\":") : NULL;
    return at ? strtoll(at + 7, NULL, 10) : 0;
}

static void
on_where(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_events *ev = ask->ctx;
    if (status != 200) {
        end_opening(ev, status < 0 ? status : ER_EIO, body);
        return;
    }
    ev->last_seq = last_of(body);
    const struct er_bus_options o = {.last_seq = ev->last_seq,
                                     .read = er_events_read,
                                     .cursor_load = er_events_cursor_load,
                                     .cursor_save = er_events_cursor_save,
                                     .ctx = ev};
    int rc = er_bus_new(&o, &ev->bus);
    if (rc) {
        end_opening(ev, rc, NULL);
        return;
    }
    open_stream(ev);
}

static void
open_here(struct er_wait *wait)
{
    struct er_opener *o = ER_CONTAINER(wait, struct er_opener, wait);
    struct er_events *ev = wait->e->events;
    if (er_events_are_ready(ev)) {
        er_handle_done(wait, 0);
        return;
    }
    bool is_first = !ev->openers;
    o->next = ev->openers;
    ev->openers = o;
    if (!is_first) {
        return;
    }
    if (ev->bus) {
        open_stream(ev); /* it was refused before */
        return;
    }
    /* a number that no fact has had: nothing but the bounds */
    struct er_ask *ask =
        er_ask_new(wait->e, "GET", "/v1/events?format=ndjson&limit=1&since=%lld",
                   (long long)ER_BUS_SEQ_MAX);
    ask->ctx = ev;
    ask->done = on_where;
    ask->bound = ASK_FOR;
    er_ask_send(ask);
}

static int
open_events(struct errand *e, errand_error *error)
{
    struct er_opener o = {.wait = {.fn = open_here}, error, NULL};
    if (er_events_are_ready(e->events)) {
        return 0;
    }
    (void)er_handle_fine(error);
    int rc = er_handle_wait(e, &o.wait);
    if (rc && (!error || error->code == 0)) {
        return er_handle_fail(error, rc, NULL,
                              rc == ER_EBUSY ? "the first subscription blocks: not from "
                                               "inside a callback of the loop"
                                             : "%s",
                              er_error_meaning(rc));
    }
    return rc;
}

/* ---- subscriptions ---- */

static errand_event
to_public(const struct er_bus_event *ev)
{
    return (errand_event){.name = ev->name,
                          .kind = (int)ev->kind,
                          .seq = ev->seq,
                          .task = ev->task,
                          .correlation = ev->correlation,
                          .data = ev->data,
                          .len = ev->len,
                          .from = ev->from,
                          .to = ev->to};
}

static struct er_bus_sub *
bus_sub(const struct errand_subscription *s)
{
    return (struct er_bus_sub *)(intptr_t)er_count_see(&s->sub);
}

static void
set_bus_sub(struct errand_subscription *s, struct er_bus_sub *sub)
{
    (void)er_count_swap(&s->sub, (int64_t)(intptr_t)sub);
}

static void
on_event(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct errand_subscription *s = ctx;
    errand_event event = to_public(ev);
    struct er_turn_frame frame;
    if (bus_sub(s) != sub) { /* a locked instruction, which each event need not pay for */
        set_bus_sub(s, sub);
    }
    er_handle_push(&frame, s->e);
    s->fn(s->ctx, s, &event); /* it may have unsubscribed in there */
    er_handle_pop(&frame);
}

static void
on_loop_event(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct errand *e = ((struct errand_subscription *)ctx)->e;
    bool was = er_handle_enter(e);
    on_event(ctx, sub, ev); /* it may have unsubscribed in there */
    er_handle_leave(e, was);
}

/* One of the one or two that refer to it (both on the loop's thread) does not any more. */
static void
release(struct errand_subscription *s)
{
    if (--s->refs == 0) {
        er_free(s);
    }
}

static bool begin_end(struct errand_subscription *s);
static void release_pull(struct errand_subscription *s);

static void
on_ended(void *ctx)
{
    struct errand_subscription *s = ctx;
    if (s->ended && begin_end(s)) {
        struct er_turn_frame frame;
        er_handle_push(&frame, s->e);
        s->ended(s->ctx);
        er_handle_pop(&frame);
    }
    if (s->pulls) {
        release_pull(s);
    } else {
        release(s);
    }
}

/* ---- on the loop ---- */

static void
on_poll_closed(uv_handle_t *h)
{
    release(h->data);
}

/* Takes it off the list and stops looking at its descriptor, which the bus closes then. */
static void
leave_loop(struct errand_subscription *s)
{
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
    int rc = er_bus_turn(bus_sub(s), TURN_MAX); /* may have ended s */
    /* ER_EBUSY: a page is on its way, and er_events_turn_all follows */
    if (rc < 0 && rc != ER_EBUSY && rc != ER_ECLOSED && !ev->is_closing) {
        (void)uv_timer_start(&ev->timer->retry, on_retry, AGAIN_MS, 0);
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
    struct errand_subscription *next;
    for (struct errand_subscription *s = ev->loop_subs; s; s = next) {
        next = s->next;
        s->refs++; /* its callback may unsubscribe it */
        turn(s);
        next = s->next;
        release(s);
    }
}

static int
join_loop(struct errand_subscription *s)
{
    struct er_events *ev = s->e->events;
    int fd = er_bus_fd(bus_sub(s));
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

/* ---- pulling ---- */

static struct er_pulls *
make_pulls(void)
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

/* False: it is over. */
static bool
begin_use(struct errand_subscription *s)
{
    er_lock_take(&s->pulls->lock);
    bool is_live = !s->is_over;
    s->users += is_live;
    er_lock_give(&s->pulls->lock);
    return is_live;
}

static void
end_use(struct errand_subscription *s)
{
    er_lock_take(&s->pulls->lock);
    s->users--;
    er_lock_wake(&s->pulls->lock);
    er_lock_give(&s->pulls->lock);
}

/* The lock. */
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

/* Nobody asks the bus any more when this returns. What has been polled for is that. */
static void
end_pulls(struct er_pulls *p)
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

/* Whether the program is to be told of the end: not when it has brought it about meanwhile. */
static bool
begin_end(struct errand_subscription *s)
{
    bool is_dropped = false;
    if (s->pulls) {
        er_lock_take(&s->pulls->lock);
        is_dropped = s->is_dropped;
        er_lock_give(&s->pulls->lock);
    }
    return !is_dropped;
}

/* The bus, or the program, has done with it. */
static void
release_pull(struct errand_subscription *s)
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

static void
unsubscribe_pull(struct errand_subscription *s)
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
        (void)er_bus_unsubscribe(bus_sub(s));
    }
    release_pull(s);
}

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
    s->now = to_public(ev);
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
    int rc = ev ? 1 : er_bus_pull(bus_sub(s), &ev);
    return rc == 1 ? keep(s, ev) : rc;
}

/* ---- subscribing ---- */

struct subscribing {
    struct er_wait wait;
    struct errand_subscription *s;
    struct er_bus_subscription want;
    int64_t cursor_at; /* on the loop: was looked up before; -1 = there is none */
    struct er_err err;
};

static int
subscribe(struct subscribing *k)
{
    struct errand_subscription *s = k->s;
    struct er_bus_sub *sub;
    int rc = er_bus_subscribe(s->e->events->bus, &k->want, &sub, &k->err);
    if (rc == 0) {
        set_bus_sub(s, sub);
    }
    return rc;
}

static void
subscribe_here(struct er_wait *wait)
{
    struct subscribing *k = ER_CONTAINER(wait, struct subscribing, wait);
    struct er_events *ev = k->s->e->events;
    ev->preloaded = k->want.cursor;
    ev->preloaded_at = k->cursor_at;
    int rc = subscribe(k);
    ev->preloaded = NULL;
    if (rc == 0) {
        rc = join_loop(k->s);
        if (rc) { /* `ended` frees it */
            (void)er_bus_unsubscribe(bus_sub(k->s));
        }
    }
    er_handle_done(wait, rc);
}

static int
subscribe_on_loop(struct subscribing *k)
{
    struct errand *e = k->s->e;
    int rc = 0;
    k->cursor_at = -1;
    if (k->want.cursor) {
        rc = er_events_cursor_load(e->events, k->want.cursor, &k->cursor_at);
        rc = rc == ER_ENOTFOUND ? 0 : rc;
    }
    k->wait.fn = subscribe_here;
    if (rc == 0 && er_handle_take_loop(e)) {
        struct er_events *ev = e->events;
        ev->preloaded = k->want.cursor;
        ev->preloaded_at = k->cursor_at;
        rc = subscribe(k);
        ev->preloaded = NULL;
        rc = rc ? rc : join_loop(k->s);
        er_handle_give_loop(e);
        return rc;
    }
    return rc ? rc : er_handle_wait(e, &k->wait);
}

static int
read_options(const struct errand_subscribe_options *given,
             struct errand_subscribe_options *o, errand_event_fn *fn, errand_error *error)
{
    int rc = er_handle_read(o, sizeof *o, given, error);
    if (rc) {
        return rc;
    }
    if (o->kinds & ~(unsigned)(ERRAND_FACT | ERRAND_SAMPLE)) {
        return er_handle_fail(error, ER_EINVALID, "kinds",
                              "kinds are ERRAND_FACT and ERRAND_SAMPLE");
    }
    if (o->delivery < ERRAND_ON_THREAD || o->delivery > ERRAND_PULL) {
        return er_handle_fail(error, ER_EINVALID, "delivery", "no such delivery: %d",
                              o->delivery);
    }
    if (o->task < 0 || o->since < 0) {
        return er_handle_fail(error, ER_EINVALID, o->task < 0 ? "task" : "since",
                              "%s is negative", o->task < 0 ? "task" : "since");
    }
    if (o->since > 0 && !o->resume) {
        return er_handle_fail(error, ER_EINVALID, "since",
                              "since %lld goes with resume only", (long long)o->since);
    }
    if (o->correlation && !er_utf8_is_valid(o->correlation, strlen(o->correlation))) {
        return er_handle_fail(error, ER_EINVALID, "correlation",
                              "correlation is not UTF-8");
    }
    if (o->cursor && strchr(o->cursor, '/')) {
        return er_handle_fail(error, ER_EINVALID, "cursor",
                              "cursor: a name without a slash, not '%.100s'", o->cursor);
    }
    if ((o->delivery == ERRAND_PULL) != (fn == NULL)) {
        return er_handle_fail(error, ER_EINVALID, "fn",
                              fn ? "ERRAND_PULL takes no function" : "fn is NULL");
    }
    return 0;
}

static size_t
count_names(const char *const *names)
{
    size_t n = 0;
    while (names && names[n]) {
        n++;
    }
    return n;
}

/* Before the bus knows of it, nobody else does. */
static int
subscribe_pull(struct subscribing *k)
{
    struct errand_subscription *s = k->s;
    s->users = 1;
    int rc = join_pulls(s);
    if (rc) {
        er_free(s);
        return rc;
    }
    rc = subscribe(k);
    s->refs -= rc != 0; /* the bus never had it */
    if (rc == 0) {
        s->fd = fcntl(er_bus_fd(bus_sub(s)), F_DUPFD_CLOEXEC, 0);
        rc = s->fd < 0 ? ER_EIO : 0;
        if (rc) {
            s->ended = NULL; /* it has not begun */
            (void)er_bus_unsubscribe(bus_sub(s));
        }
    }
    if (rc == 0) {
        end_use(s);
    } else {
        release_pull(s);
    }
    return rc;
}

static struct errand_subscription *
make(errand *e, const struct errand_subscribe_options *o, errand_event_fn *fn, void *ctx)
{
    struct errand_subscription *s = er_zalloc(sizeof *s);
    if (s) {
        s->e = e;
        s->fn = fn;
        s->ctx = ctx;
        s->ended = o->ended;
        s->delivery = o->delivery;
        s->refs = o->delivery == ERRAND_PULL ? 2 : 1;
        s->fd = -1;
        s->pulls = o->delivery == ERRAND_PULL ? e->events->pulls : NULL;
    }
    return s;
}

/* The bus's words begin with the member: "filter.prefix: has to have ...". */
static int
refuse_subscribe(errand_error *error, int rc, const struct er_err *err)
{
    static const char filter[] = "filter.";
    char field[32] = "";
    const char *words = err->text[0] ? err->text : er_error_meaning(rc);
    if (strncmp(words, filter, sizeof filter - 1) == 0) {
        words += sizeof filter - 1;
    }
    size_t n = strspn(words, "abcdefghijklmnopqrstuvwxyz_");
    if (n > 0 && n < sizeof field && (words[n] == ':' || words[n] == '[')) {
        (void)snprintf(field, sizeof field, "%.*s", (int)n, words);
    }
    return er_handle_fail(error, rc == ER_EEXISTS ? ER_EBUSY : rc, field, "%s", words);
}

int
errand_subscribe(errand *e, const struct errand_subscribe_options *options,
                 errand_event_fn *fn, void *ctx, errand_subscription **out,
                 errand_error *error)
{
    static const enum er_bus_way ways[] = {[ERRAND_ON_THREAD] = ER_BUS_THREAD,
                                           [ERRAND_ON_LOOP] = ER_BUS_TURN,
                                           [ERRAND_INLINE] = ER_BUS_INLINE,
                                           [ERRAND_PULL] = ER_BUS_PULL};
    struct errand_subscribe_options o;
    if (!e || !out) {
        return er_handle_fail(error, ER_EINVALID, e ? "out" : "e", "%s is NULL",
                              e ? "out" : "e");
    }
    *out = NULL;
    int rc = read_options(options, &o, fn, error);
    rc = rc ? rc : open_events(e, error);
    if (rc) {
        return rc;
    }
    struct subscribing k = {.s = make(e, &o, fn, ctx)};
    if (!k.s) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    k.want =
        (struct er_bus_subscription){.filter = {.kinds = o.kinds,
                                                .names = o.names,
                                                .n_names = count_names(o.names),
                                                .prefix = o.prefix,
                                                .task = o.task,
                                                .correlation = o.correlation},
                                     .way = ways[o.delivery],
                                     .fn = o.delivery == ERRAND_PULL      ? NULL
                                           : o.delivery == ERRAND_ON_LOOP ? on_loop_event
                                                                          : on_event,
                                     .ctx = k.s,
                                     .ended = on_ended,
                                     .buffer = o.buffer,
                                     .resume = o.resume != 0,
                                     .since = o.since,
                                     .cursor = o.cursor};
    *out = k.s; /* a callback may come, and end it, before this returns */
    rc = o.delivery == ERRAND_ON_LOOP ? subscribe_on_loop(&k)
         : o.delivery == ERRAND_PULL  ? subscribe_pull(&k)
                                      : subscribe(&k);
    if (rc) {
        *out = NULL;
        if (o.delivery != ERRAND_PULL) { /* which has freed itself */
            er_free(k.s);
        }
        return refuse_subscribe(error, rc, &k.err);
    }
    return er_handle_fine(error);
}

static void
unsubscribe_here(struct er_wait *wait)
{
    struct errand_subscription *s = wait->ctx;
    leave_loop(s);
    er_handle_done(wait, er_bus_unsubscribe(bus_sub(s)));
}

void
errand_unsubscribe(errand_subscription *s)
{
    if (!s) {
        return;
    }
    struct errand *e = s->e;
    if (s->delivery == ERRAND_PULL) {
        unsubscribe_pull(s);
    } else if (s->delivery != ERRAND_ON_LOOP) {
        (void)er_bus_unsubscribe(bus_sub(s));
    } else if (er_handle_take_loop(e)) {
        leave_loop(s);
        (void)er_bus_unsubscribe(bus_sub(s)); /* s may be gone */
        er_handle_give_loop(e);
    } else {
        struct er_wait wait = {.fn = unsubscribe_here, .ctx = s};
        (void)er_handle_wait(e, &wait);
    }
}

int
errand_subscription_fd(const errand_subscription *s)
{
    return s && s->delivery == ERRAND_PULL ? s->fd : -1;
}

int
errand_pull(errand_subscription *s, const errand_event **out)
{
    if (!s || !out || s->delivery != ERRAND_PULL) {
        return ERRAND_EINVALID;
    }
    *out = NULL;
    if (!begin_use(s)) {
        return ERRAND_ECLOSED;
    }
    set_pulled(s, true);
    int rc = pull(s);
    bool is_left = set_pulled(s, false);
    end_use(s);
    if (is_left) {
        unsubscribe_pull(s);
        return ERRAND_ECLOSED;
    }
    if (rc == 1) {
        *out = &s->now;
    }
    return rc;
}

void
errand_bus_metrics(errand *e, const errand_subscription *sub,
                   struct errand_bus_stats *out)
{
    struct er_bus_stats b = {0};
    struct errand_bus_stats all;
    if (!out || out->size < sizeof out->size) {
        return;
    }
    struct errand_subscription *s = (struct errand_subscription *)(uintptr_t)sub;
    if (s && s->pulls) {
        if (begin_use(s)) {
            er_bus_sub_stats(bus_sub(s), &b);
            end_use(s);
        }
    } else if (s) {
        er_bus_sub_stats(bus_sub(s), &b);
    } else if (e && er_events_are_ready(e->events)) {
        er_bus_stats(e->events->bus, &b);
    }
    all = (struct errand_bus_stats){.size = out->size,
                                    .published = b.published,
                                    .delivered = b.delivered,
                                    .coalesced = b.coalesced,
                                    .reread = b.reread,
                                    .gaps = b.gaps,
                                    .missed = b.missed,
                                    .lag = b.lag};
    memcpy(out, &all, out->size < sizeof all ? out->size : sizeof all);
}

/* ---- life ---- */

struct er_events *
er_events_new(struct errand *e)
{
    struct er_events *ev = er_zalloc(sizeof *ev);
    struct er_events_timer *timer = er_zalloc(sizeof *timer);
    struct er_pulls *pulls = make_pulls();
    if (!ev || !timer || !pulls) {
        er_free(ev);
        er_free(timer);
        if (pulls) {
            er_lock_take(&pulls->lock);
            release_pulls(pulls);
        }
        return NULL;
    }
    ev->pulls = pulls;
    ev->e = e;
    ev->timer = timer;
    timer->ev = ev;
    timer->uv.data = timer->retry.data = timer;
    er_lock_init(&ev->lock);
    (void)uv_timer_init(er_loop_uv(e->loop), &timer->uv);
    (void)uv_timer_init(er_loop_uv(e->loop), &timer->retry);
    return ev;
}

void
er_events_close(struct errand *e, void (*closed)(struct errand *e))
{
    struct er_events *ev = e->events;
    ev->is_closing = true;
    ev->closed = closed;
    (void)uv_timer_stop(&ev->timer->uv);
    (void)uv_timer_stop(&ev->timer->retry);
    er_ask_cancel(ev->stream);
    ev->stream = NULL;
    end_opening(ev, ER_ECLOSED, NULL);
    while (ev->loop_subs) {
        leave_loop(ev->loop_subs);
    }
    end_pulls(ev->pulls);
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
        er_lock_take(&ev->pulls->lock);
        release_pulls(ev->pulls);
        er_free(ev->timer);
        er_free(ev);
    }
}
