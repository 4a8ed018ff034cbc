/* SPDX-License-Identifier: MIT */
/* A store in memory does all its work in the turns of the loop. So the engine is at rest
 * when the loop has gone round a few times without anything to do and no attempt runs but
 * those that sleep by the test's clock: that is what er_testing_rest waits for. Moving
 * the clock goes from one moment at which something is due to the next, and rests at
 * each.
 *
 * wall, mono and boot move together. */
#include "lib/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "api/api.h"
#include "base/count.h"
#include "base/heap.h"
#include "base/mem.h"
#include "lib/embedded.h"
#include "lib/handle.h"
#include "lib/handlers.h"
#include "lib/inside.h"
#include "lib/sync.h"
#include "wire/json.h"

#define ROUNDS   4 /* of the loop without anything to do */
#define LOOK_MS  1 /* between two looks while handlers run */
#define PAGE     1000
#define LONGEST  (366 * 86400 * ER_USEC_PER_SEC) /* that a sleeper moves the clock */
#define BLANK_US 1 /* what is due at a moment is due when it has come */

struct er_testing {
    struct errand *e;
    struct er_clock clock;
    struct er_count now; /* wall */
    er_usec mono_offset;
    struct er_handlers *handlers;
};

/* ---- the clock ---- */

static er_usec
read_wall(void *ctx)
{
    const struct er_testing *t = ctx;
    return er_count_see(&t->now);
}

static er_usec
read_mono(void *ctx)
{
    const struct er_testing *t = ctx;
    return er_count_see(&t->now) - t->mono_offset;
}

struct er_testing *
er_testing_new(struct errand *e)
{
    struct er_testing *t = er_zalloc(sizeof *t);
    if (t) {
        er_usec now = er_clock_wall(er_clock_system());
        t->e = e;
        t->mono_offset = now - ER_USEC_PER_SEC;
        er_count_set(&t->now, now);
        t->clock = (struct er_clock){read_wall, read_mono, read_mono, t};
    }
    return t;
}

void
er_testing_free(struct er_testing *t)
{
    er_free(t);
}

const struct er_clock *
er_testing_clock(const struct er_testing *t)
{
    return &t->clock;
}

/* ---- rest ---- */

struct resting {
    struct er_wait wait;
    struct er_testing *t;
    uv_idle_t idle;
    uv_timer_t timer;
    int rounds;
    int open; /* handles that are being closed */
};

static bool
is_at_rest(const struct er_testing *t)
{
    struct er_engine_stats stats;
    struct errand *e = t->e;
    er_engine_stats(er_embedded_api(e->embedded)->engine, &stats);
    size_t asleep = er_handlers_asleep(t->handlers);
    bool is_inline = (e->options.test & ERRAND_TEST_INLINE) != 0;
    return er_inside_is_quiet(er_embedded_inside(e->embedded)) &&
           er_embedded_is_quiet(e->embedded) &&
           (is_inline ||
            (stats.running <= asleep && er_handlers_busy(t->handlers) <= asleep));
}

static void
on_rest_closed(uv_handle_t *h)
{
    struct resting *r = h->data;
    if (--r->open == 0) {
        er_handle_done(&r->wait, 0);
    }
}

static void on_rest_timer(uv_timer_t *timer);

static void
on_rest_idle(uv_idle_t *h)
{
    struct resting *r = h->data;
    if (!is_at_rest(r->t)) {
        r->rounds = 0;
        (void)uv_idle_stop(h);
        (void)uv_timer_start(&r->timer, on_rest_timer, LOOK_MS, 0);
    } else if (++r->rounds >= ROUNDS) {
        r->open = 2;
        uv_close((uv_handle_t *)&r->idle, on_rest_closed);
        uv_close((uv_handle_t *)&r->timer, on_rest_closed);
    }
}

static void
on_rest_timer(uv_timer_t *timer)
{
    struct resting *r = timer->data;
    (void)uv_idle_start(&r->idle, on_rest_idle);
}

static void
rest_here(struct er_wait *wait)
{
    struct resting *r = ER_CONTAINER(wait, struct resting, wait);
    uv_loop_t *uv = er_loop_uv(wait->e->loop);
    (void)uv_idle_init(uv, &r->idle);
    (void)uv_timer_init(uv, &r->timer);
    r->idle.data = r->timer.data = r;
    (void)uv_idle_start(&r->idle, on_rest_idle);
}

/* Waits until nothing happens any more; handlers that are inline do not run. */
static int
calm(struct er_testing *t)
{
    struct resting *r = er_zalloc(sizeof *r);
    if (!r) {
        return ER_ENOMEM;
    }
    r->wait.fn = rest_here;
    r->t = t;
    int rc = er_handle_wait(t->e, &r->wait);
    er_free(r);
    return rc;
}

/* The same, but the caller's thread runs handlers that are inline. */
static int
rest(struct er_testing *t)
{
    bool is_inline = (t->e->options.test & ERRAND_TEST_INLINE) != 0;
    int rc;
    do {
        rc = calm(t);
    } while (rc == 0 && is_inline && er_handlers_work(t->handlers));
    return rc;
}

void
er_testing_run(struct er_testing *t)
{
    if (t && (t->e->options.test & ERRAND_TEST_INLINE)) {
        int rc = rest(t);
        (void)rc; /* the handle closes: nothing runs any more */
    }
}

/* ---- moving the clock ---- */

struct moving {
    struct er_wait wait;
    struct er_testing *t;
    er_usec target;
    bool is_there;
};

/* To the next moment at which something is due, or to the target. */
static void
move_here(struct er_wait *wait)
{
    struct moving *m = ER_CONTAINER(wait, struct moving, wait);
    struct er_testing *t = m->t;
    er_usec now = er_count_get(&t->now);
    er_usec next = er_loop_alarm_at(t->e->loop);
    er_usec due = er_handlers_due(t->handlers);
    if (due != ER_NEVER && due + t->mono_offset < next) {
        next = due + t->mono_offset;
    }
    m->is_there = next > m->target;
    next = m->is_there ? m->target : next < now + BLANK_US ? now + BLANK_US : next;
    next = next > m->target ? m->target : next;
    (void)er_count_swap(&t->now,
                        next > now ? next : now); /* a sleeper may have moved it */
    (void)er_loop_ring_if_due(t->e->loop);
    er_handlers_clock_moved(t->handlers);
    er_handle_done(wait, 0);
}

/* A handler that is inline sleeps: it has the only thread there is, and moves the
 * clock. */
static void
sleep_on(void *ctx, const struct errand_attempt *a, er_usec till)
{
    struct er_testing *t = ctx;
    er_usec now = er_count_see(&t->now), mono = now - t->mono_offset;
    struct moving m = {.wait = {.fn = move_here}, .t = t};
    m.target = now + (till - mono < LONGEST ? till - mono : LONGEST);
    int rc = calm(t);
    while (rc == 0 && er_count_see(&t->now) < m.target && !errand_should_stop(a)) {
        rc = er_handle_wait(t->e, &m.wait);
        rc = rc ? rc : calm(t);
    }
}

int
er_testing_start(struct er_testing *t)
{
    int test = t->e->options.test;
    t->handlers = er_handlers_get(t->e);
    if (!t->handlers) {
        return ER_ENOMEM;
    }
    if (test & ERRAND_TEST_CLOCK) {
        er_handlers_set_clock(t->handlers, &t->clock);
    }
    if (test & ERRAND_TEST_INLINE) {
        er_handlers_set_inline(t->handlers);
        er_handlers_set_mover(t->handlers, test & ERRAND_TEST_CLOCK ? sleep_on : NULL, t);
    }
    return 0;
}

/* ---- for the test ---- */

static int
check(const errand *e, int mode, const char *word, errand_error *error)
{
    if (!e) {
        return er_handle_fail(error, ER_EINVALID, "e", "e is NULL");
    }
    if (mode ? !(e->options.test & mode) : !e->options.test) {
        return er_handle_fail(error, ER_EINVALID, "test",
                              "the handle was opened without %s", word);
    }
    return 0;
}

int
errand_test_advance(errand *e, int64_t ms, errand_error *error)
{
    int rc = check(e, ERRAND_TEST_CLOCK, "ERRAND_TEST_CLOCK", error);
    if (rc == 0 && ms < 0) {
        rc = er_handle_fail(error, ER_EINVALID, "ms", "the clock goes forward only");
    }
    if (rc) {
        return rc;
    }
    struct moving m = {.wait = {.fn = move_here}, .t = e->testing};
    m.target = er_count_see(&e->testing->now) + ms * ER_USEC_PER_MS;
    rc = rest(e->testing);
    while (rc == 0 && !m.is_there) {
        rc = er_handle_wait(e, &m.wait);
        rc = rc ? rc : rest(e->testing);
    }
    return rc ? er_handle_fail(error, rc, NULL, "%s", er_error_meaning(rc))
              : er_handle_fine(error);
}

/* ---- looking ---- */

/* GETs JSON. */
static int
get_json(errand *e, const char *target, json_t **out, errand_error *error)
{
    struct er_buf b;
    struct er_sync_spec spec = {.method = "GET", .target = target};
    int rc = er_sync_run(e, &spec, &b, error);
    if (rc) {
        return rc;
    }
    *out = json_loadb(b.data, b.len, 0, NULL);
    er_buf_fini(&b);
    return *out ? 0 : er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
}

int64_t
errand_test_settle(errand *e, errand_error *error)
{
    static const char *const open[] = {"queued", "scheduled", "blocked", "running",
                                       "paused"};
    json_t *o;
    int64_t n = 0;
    int rc = check(e, 0, "a test mode", error);
    rc = rc ? rc : rest(e->testing);
    rc = rc ? rc : get_json(e, "/v1/tasks?limit=1", &o, error);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        n += json_integer_value(json_object_get(json_object_get(o, "counts"), open[i]));
    }
    json_decref(o);
    return n;
}

/* Whether all members of `wanted` are in `args`, with the same values; those of an object
 * in it likewise. */
static bool
contains(const json_t *args, json_t *wanted, int depth)
{
    const char *name;
    json_t *value;
    json_object_foreach(wanted, name, value)
    {
        json_t *there = json_object_get(args, name);
        bool both = json_is_object(there) && json_is_object(value) && depth > 0;
        if (both ? !contains(there, value, depth - 1) : !json_equal(there, value)) {
            return false;
        }
    }
    return true;
}

struct found {
    const char *type;
    json_t *wanted; /* NULL = whatever */
    int64_t n, latest, cursor;
};

/* One page, the newest first. */
static int
look_through(errand *e, struct found *f, errand_error *error)
{
    char target[64];
    json_t *page, *task;
    size_t i;
    (void)snprintf(target, sizeof target, "/v1/tasks?limit=%d", PAGE);
    if (f->cursor > 0) {
        (void)snprintf(target, sizeof target, "/v1/tasks?limit=%d&cursor=%lld", PAGE,
                       (long long)f->cursor);
    }
    int rc = get_json(e, target, &page, error);
    if (rc) {
        return rc;
    }
    json_array_foreach(json_object_get(page, "tasks"), i, task)
    {
        const char *type = json_string_value(json_object_get(task, "type"));
        int64_t id = json_integer_value(json_object_get(task, "id"));
        if ((!f->type || (type && strcmp(type, f->type) == 0)) &&
            contains(json_object_get(task, "args"), f->wanted, ER_JSON_DEPTH)) {
            f->n++;
            f->latest = id > f->latest ? id : f->latest;
        }
    }
    const char *next = json_string_value(json_object_get(page, "next"));
    f->cursor = next ? strtoll(next, NULL, 10) : 0;
    json_decref(page);
    return 0;
}

int64_t
errand_test_submitted(errand *e, const char *type, const char *args, int64_t *out_id,
                      errand_error *error)
{
    struct found f = {.type = type};
    int rc = check(e, 0, "a test mode", error);
    if (rc == 0 && args) {
        struct er_err err = {""};
        rc = er_json_parse(args, strlen(args), &f.wanted, &err);
        if (rc || !json_is_object(f.wanted)) {
            rc = er_handle_fail(error, rc ? rc : ER_EINVALID, "args",
                                "args is not a JSON object: %s",
                                rc ? err.text : "it begins otherwise");
        }
    }
    do {
        rc = rc ? rc : look_through(e, &f, error);
    } while (rc == 0 && f.cursor > 0);
    json_decref(f.wanted);
    if (rc) {
        return rc;
    }
    if (out_id) {
        *out_id = f.latest;
    }
    return f.n;
}
