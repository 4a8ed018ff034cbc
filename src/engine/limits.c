/* SPDX-License-Identifier: MIT */
/* The settings of queues, types and limit keys as memory has them, the switch over
 * everything, and what can be told of them: a view for the API, a sentence for `why`. */
#include "engine/engine_priv.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/duration.h"
#include "wire/type_json.h"

struct er_type_def {
    struct er_arena arena; /* of the type's texts */
    struct er_type type;
    UT_hash_handle hh;
};

/* ---- settings ---- */

void
er_engine_queue_changed(struct er_engine *e, const struct er_queue *from)
{
    struct er_queue_live *q = er_lanes_queue(e, from->name);
    q->size = from->size;
    q->paused = from->paused;
    er_gates_set(e, &q->limit, from->concurrency, from->rates, from->n_rates);
    er_lanes_queue_update(e, q);
}

void
er_engine_queue_removed(struct er_engine *e, const char *name)
{
    er_engine_queue_changed(e, &(struct er_queue){.name = name});
}

void
er_engine_limit_changed(struct er_engine *e, const struct er_limit *limit)
{
    er_gates_set(e, er_gates_limit(e, ER_GATE_KEY, limit->key), limit->concurrency,
                 limit->rates, limit->n_rates);
}

void
er_engine_limit_removed(struct er_engine *e, const char *key)
{
    er_engine_limit_changed(e, &(struct er_limit){.key = key});
}

static void
forget_def(struct er_engine *e, const char *name)
{
    struct er_type_def *def;
    HASH_FIND_STR(e->type_defs, name, def);
    if (def) {
        HASH_DEL(e->type_defs, def);
        er_arena_free(&def->arena);
        er_free(def);
    }
}

void
er_engine_type_changed(struct er_engine *e, const struct er_type *type)
{
    struct er_type_def *def = er_xzalloc(sizeof *def);
    int rc = er_type_copy(type, &def->arena, &def->type);
    ER_ASSERT(rc == 0); /* it is on disk: no way back for want of some bytes */
    const char *name = def->type.name;
    forget_def(e, name); /* after the copy: `type` may be that one */
    HASH_ADD_KEYPTR(hh, e->type_defs, name, strlen(name), def);
    er_gates_set(e, er_gates_limit(e, ER_GATE_TYPE, name), def->type.concurrency, NULL,
                 0);
    er_pools_type_changed(e, name);
}

void
er_engine_type_removed(struct er_engine *e, const char *name)
{
    struct er_limit_live *type = er_gates_limit(e, ER_GATE_TYPE, name);
    er_gates_set(e, type, 0, NULL, 0);
    forget_def(e, name); /* the name may be its own */
    er_pools_type_changed(e, type->name);
}

bool
er_limits_is_process(const struct er_engine *e, const char *name)
{
    struct er_type_def *def;
    HASH_FIND_STR(e->type_defs, name, def);
    if (def && (def->type.n_command > 0 || def->type.n_program > 0)) {
        return true;
    }
    return strcmp(name, "shell") == 0 && (!def || !def->type.handler);
}

const struct er_type *
er_engine_type(const struct er_engine *e, const char *name)
{
    struct er_type_def *def;
    HASH_FIND_STR(e->type_defs, name, def);
    if (def) {
        return &def->type;
    }
    er_type_init(e->type_asked, name);
    return e->type_asked;
}

bool
er_engine_has_type(const struct er_engine *e, const char *name)
{
    struct er_type_def *def;
    HASH_FIND_STR(e->type_defs, name, def);
    return def != NULL;
}

void
er_engine_each_type(const struct er_engine *e,
                    void (*fn)(void *ctx, const struct er_type *type), void *ctx)
{
    struct er_type_def *def, *next;
    HASH_ITER (hh, e->type_defs, def, next) {
        fn(ctx, &def->type);
    }
}

void
er_limits_pause_all(struct er_engine *e, bool paused)
{
    e->all_paused = paused;
}

bool
er_engine_all_paused(const struct er_engine *e)
{
    return e->all_paused;
}

void
er_engine_set_draining(struct er_engine *e)
{
    e->draining = true;
}

static void
load_type(struct er_engine *e, const struct er_type_row *row, struct er_arena *arena)
{
    struct er_type type;
    struct er_err err = {""};
    if (er_type_json_parse(row->name, row->definition_json, arena, &type, &err)) {
        er_log(ER_LOG_ERROR, "store", "the definition of type '%s' cannot be read: %s",
               row->name, err.text);
        return;
    }
    er_engine_type_changed(e, &type);
}

void
er_limits_load(struct er_engine *e, const struct er_store_state *st)
{
    struct er_arena arena = {0};
    e->type_asked = er_xzalloc(sizeof *e->type_asked);
    for (size_t i = 0; i < st->n_queues; i++) {
        er_engine_queue_changed(e, &st->queues[i]);
    }
    for (size_t i = 0; i < st->n_limits; i++) {
        er_engine_limit_changed(e, &st->limits[i]);
    }
    for (size_t i = 0; i < st->n_types; i++) {
        load_type(e, &st->types[i], &arena);
    }
    er_limits_pause_all(e, st->all_paused);
    er_arena_free(&arena);
}

void
er_limits_fini(struct er_engine *e)
{
    struct er_type_def *def, *next;
    HASH_ITER (hh, e->type_defs, def, next) {
        forget_def(e, def->type.name);
    }
    er_free(e->type_asked);
}

/* ---- views ---- */

static struct er_limit_live *
find_limit(const struct er_engine *e, enum er_gate_kind kind, const char *name)
{
    struct er_limit_live *l;
    if (kind == ER_GATE_QUEUE) {
        struct er_queue_live *q;
        HASH_FIND_STR(e->queues, name, q);
        return q ? &q->limit : NULL;
    }
    if (kind == ER_GATE_TYPE) {
        HASH_FIND_STR(e->types, name, l);
    } else {
        HASH_FIND_STR(e->keys, name, l);
    }
    return l;
}

/* The same moment on the wall clock. */
static er_usec
to_wall(const struct er_engine *e, er_usec boot_at)
{
    er_usec wall = er_clock_wall(e->options.clock);
    er_usec left = boot_at - er_clock_boot(e->options.clock);
    return left < ER_NEVER - wall ? wall + left : ER_NEVER;
}

/* What bucket i holds now. */
static struct er_bucket
bucket_now(const struct er_engine *e, const struct er_limit_live *l, size_t i)
{
    struct er_bucket b = l->buckets[i];
    er_bucket_fill(&b, &l->rates[i], er_bucket_need(&l->rates[i], l->wanted),
                   er_clock_boot(e->options.clock));
    return b;
}

bool
er_engine_gate(const struct er_engine *e, enum er_gate_kind kind, const char *name,
               struct er_gate_view *out)
{
    const struct er_limit_live *l = find_limit(e, kind, name);
    if (!l) {
        return false;
    }
    *out = (struct er_gate_view){.running = l->running,
                                 .concurrency = l->concurrency,
                                 .n_rates = l->n_rates,
                                 .open_at = ER_NEVER};
    if (kind == ER_GATE_QUEUE) {
        out->paused = ER_CONTAINER(l, struct er_queue_live, limit)->paused;
    }
    for (size_t i = 0; i < l->n_rates; i++) {
        struct er_bucket b = bucket_now(e, l, i);
        out->rates[i] = l->rates[i];
        out->level[i] = er_bucket_level(&b, &l->rates[i]);
    }
    if (l->toll.pos) {
        out->open_at = to_wall(e, l->opens_at);
    }
    return true;
}

/* ---- why ---- */

static const char *
kind_word(const struct er_limit_live *l)
{
    switch (l->kind) {
    case ER_GATE_QUEUE:
        return "queue";
    case ER_GATE_TYPE:
        return "type";
    case ER_GATE_KEY:
        return "limit key";
    }
    return "limit";
}

static bool
why_permits(const struct er_limit_live *l, struct er_buf *b)
{
    if (!l || l->concurrency == 0 || l->running < l->concurrency) {
        return false;
    }
    er_buf_addf(b, "%s '%s' runs %d of at most %d task%s", kind_word(l), l->name,
                l->running, l->concurrency, l->concurrency == 1 ? "" : "s");
    return true;
}

/* The rate that holds a start of that cost back longest; *at (boot) is until when, if
 * nobody takes tokens before. False: none does. */
static bool
slowest(const struct er_engine *e, const struct er_limit_live *l, int64_t cost,
        size_t *out, er_usec *at)
{
    bool found = false;
    for (size_t i = 0; i < l->n_rates; i++) {
        struct er_bucket bucket = bucket_now(e, l, i);
        int64_t need = er_bucket_need(&l->rates[i], cost);
        er_usec one = er_bucket_opens_at(&bucket, &l->rates[i], need);
        if (!er_bucket_has(&bucket, &l->rates[i], need) && (!found || one > *at)) {
            *out = i;
            *at = one;
            found = true;
        }
    }
    return found;
}

static bool
why_tokens(const struct er_engine *e, const struct er_limit_live *l,
           const struct er_task *t, struct er_buf *b, er_usec *out_until)
{
    struct er_buf rate;
    er_usec at = 0;
    size_t i;
    /* behind others in line it is their cost that counts */
    if (!l || !slowest(e, l, l->wanted > t->cost ? l->wanted : t->cost, &i, &at)) {
        return false;
    }
    er_buf_init(&rate, 128);
    er_rate_encode(&l->rates[i], &rate);
    er_buf_addf(b, "%s '%s' lets %s through", kind_word(l), l->name, rate.data);
    er_buf_fini(&rate);
    at = l->toll.pos ? l->opens_at : at;
    er_usec wall = at == ER_NEVER ? ER_NEVER : to_wall(e, at);
    *out_until = wall;
    if (wall != ER_NEVER) {
        char moment[ER_RFC3339_SIZE], left[ER_DURATION_SIZE];
        er_time_format(wall, moment);
        er_duration_format(wall - er_clock_wall(e->options.clock), left);
        er_buf_addf(b, ", nobody until %s, in %s", moment, left);
    }
    return true;
}

/* What everything waits for. */
static bool
why_all(struct er_engine *e, const struct er_engine_stats *st, struct er_buf *b,
        enum er_held_by *out)
{
    if (st->sick) {
        er_buf_addf(b, "the store refuses writes now: %s",
                    er_error_meaning(st->sick_code));
    } else if (e->options.is_idle) {
        er_buf_add_str(b, "nothing is run here (ERRAND_TEST_HOLD)");
    } else if (e->draining || e->stopping) {
        er_buf_add_str(b, "nothing is started any more");
        *out = ER_HELD_BY_ENDING;
    } else if (e->all_paused) {
        er_buf_add_str(b, "everything is paused");
        *out = ER_HELD_BY_ALL;
    } else {
        return false;
    }
    return true;
}

/* What stands in the way of its queue, type and key. */
static bool
why_limits(struct er_engine *e, const struct er_task *t, struct er_buf *b,
           enum er_held_by *out, er_usec *out_until)
{
    const struct er_limit_live *queue = find_limit(e, ER_GATE_QUEUE, t->queue);
    const struct er_limit_live *type = find_limit(e, ER_GATE_TYPE, t->type);
    const struct er_limit_live *key =
        t->limit_key ? find_limit(e, ER_GATE_KEY, t->limit_key) : NULL;
    if (queue && ER_CONTAINER(queue, struct er_queue_live, limit)->paused) {
        er_buf_addf(b, "queue '%s' is paused", t->queue);
        *out = ER_HELD_BY_QUEUE;
        return true;
    }
    return why_permits(queue, b) || why_permits(type, b) || why_permits(key, b) ||
           why_tokens(e, key, t, b, out_until) || why_tokens(e, queue, t, b, out_until);
}

/* Whether others of its lane go before it. */
static bool
stands_behind(struct er_engine *e, const struct er_task *t)
{
    struct er_lane_live *lane = er_lanes_find(e, t->lane);
    return lane && lane->n > 0 && er_lanes_head(lane)->id != t->id;
}

/* Who would have to execute it. */
static bool
why_sessions(struct er_engine *e, const struct er_task *t, struct er_buf *b,
             enum er_held_by *out)
{
    const struct er_limit_live *type = find_limit(e, ER_GATE_TYPE, t->type);
    const struct er_pool *pool = type ? type->pool : e->by_processes;
    if (!er_engine_is_served(e, t->type)) {
        if (pool->processes) {
            er_buf_add_str(b, "no worker is there yet");
            *out = ER_HELD_BY_NO_WORKER;
        } else {
            er_buf_addf(b, "no worker serves type '%s' now", t->type);
        }
        return true;
    }
    if (er_dispatch_pick(e, pool)) {
        return false;
    }
    if (e->mixed) {
        er_buf_addf(b, "all slots of the workers that serve type '%s' are taken",
                    t->type);
    } else {
        size_t n = HASH_COUNT(e->runs);
        er_buf_addf(b, "all slots are taken: %zu task%s run%s", n, n == 1 ? "" : "s",
                    n == 1 ? "s" : "");
    }
    return true;
}

enum er_held_by
er_engine_why_queued(struct er_engine *e, const struct er_task *t, struct er_buf *b,
                     er_usec *out_until)
{
    struct er_engine_stats st;
    enum er_held_by by = ER_HELD_BY_OTHER;
    er_engine_stats(e, &st);
    *out_until = ER_NEVER;
    if (!why_all(e, &st, b, &by) && !why_limits(e, t, b, &by, out_until) &&
        !why_sessions(e, t, b, &by)) {
        er_buf_add_str(b, stands_behind(e, t) ? "others stand before it in its lane"
                                              : "it is about to be started");
    }
    return by;
}
