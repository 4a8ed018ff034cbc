/* SPDX-License-Identifier: MIT */
/* Subscribing to a handle's events: the options are checked -> the bus is there, or is
 * opened (events_stream.c) -> the bus hears of the subscription, by the way that its
 * delivery goes: on the loop (events_loop.c), asked by the program (events_pull.c), or at
 * once (on a thread of its own, and inline).
 *
 * A callback may come, and may end the subscription, before errand_subscribe returns; so
 * whoever is told learns the bus's handle first. What is refused frees what was made, and
 * names the member. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "lib/events_priv.h"

_Static_assert(ERRAND_FACT == (int)ER_BUS_FACT && ERRAND_SAMPLE == (int)ER_BUS_SAMPLE &&
                   ERRAND_GAP == (int)ER_BUS_GAP && ERRAND_MISSED == (int)ER_BUS_MISSED,
               "kinds are the bus's");

errand_event
er_events_to_public(const struct er_bus_event *ev)
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

/* ---- what the bus calls ---- */

void
er_events_on_event(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct errand_subscription *s = ctx;
    errand_event event = er_events_to_public(ev);
    struct er_turn_frame frame;
    if (er_events_bus_sub(s) != sub) {
        er_events_set_bus_sub(s, sub); /* a locked instruction: not for each event */
    }
    er_handle_push(&frame, s->e);
    s->fn(s->ctx, s, &event); /* it may have unsubscribed in there */
    er_handle_pop(&frame);
}

void
er_events_release(struct errand_subscription *s)
{
    if (--s->refs == 0) {
        er_free(s);
    }
}

static void
on_ended(void *ctx)
{
    struct errand_subscription *s = ctx;
    if (s->ended && !(s->pulls && er_events_pull_is_dropped(s))) {
        struct er_turn_frame frame;
        er_handle_push(&frame, s->e);
        s->ended(s->ctx);
        er_handle_pop(&frame);
    }
    if (s->pulls) {
        er_events_pull_release(s);
    } else {
        er_events_release(s);
    }
}

/* ---- subscribing ---- */

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
er_events_subscribe(struct er_subscribing *k)
{
    struct errand_subscription *s = k->s;
    struct er_bus_sub *sub;
    int rc = er_bus_subscribe(s->e->events->bus, &k->want, &sub, &k->err);
    if (rc == 0) {
        er_events_set_bus_sub(s, sub);
    }
    return rc;
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
    rc = rc ? rc : er_events_open(e, error);
    if (rc) {
        return rc;
    }
    struct er_subscribing k = {.s = make(e, &o, fn, ctx)};
    if (!k.s) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    k.want = (struct er_bus_subscription){.filter = {.kinds = o.kinds,
                                                     .names = o.names,
                                                     .n_names = count_names(o.names),
                                                     .prefix = o.prefix,
                                                     .task = o.task,
                                                     .correlation = o.correlation},
                                          .way = ways[o.delivery],
                                          .fn = o.delivery == ERRAND_PULL ? NULL
                                                : o.delivery == ERRAND_ON_LOOP
                                                    ? er_events_on_loop_event
                                                    : er_events_on_event,
                                          .ctx = k.s,
                                          .ended = on_ended,
                                          .buffer = o.buffer,
                                          .resume = o.resume != 0,
                                          .since = o.since,
                                          .cursor = o.cursor};
    *out = k.s; /* a callback may come, and end it, before this returns */
    rc = o.delivery == ERRAND_ON_LOOP ? er_events_loop_subscribe(&k)
         : o.delivery == ERRAND_PULL  ? er_events_pull_subscribe(&k)
                                      : er_events_subscribe(&k);
    if (rc) {
        *out = NULL;
        if (o.delivery != ERRAND_PULL) { /* which has freed itself */
            er_free(k.s);
        }
        return refuse_subscribe(error, rc, &k.err);
    }
    return er_handle_fine(error);
}

/* ---- the others ---- */

void
errand_unsubscribe(errand_subscription *s)
{
    if (!s) {
        return;
    }
    if (s->delivery == ERRAND_PULL) {
        er_events_pull_unsubscribe(s);
    } else if (s->delivery == ERRAND_ON_LOOP) {
        er_events_loop_unsubscribe(s);
    } else {
        (void)er_bus_unsubscribe(er_events_bus_sub(s));
    }
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
        if (er_events_pull_begin(s)) {
            er_bus_sub_stats(er_events_bus_sub(s), &b);
            er_events_pull_end(s);
        }
    } else if (s) {
        er_bus_sub_stats(er_events_bus_sub(s), &b);
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
