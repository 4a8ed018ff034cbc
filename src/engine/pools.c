/* SPDX-License-Identifier: MIT */
/* Pools: which sessions serve which types. A session of a worker executes processes
 * (`shell`, and every type with a command or a program); a session of handlers executes
 * the types that it has named. Types that the same sessions serve are in one pool;
 * usually there is the one of processes, one of each program with handlers, and that of
 * the types that nobody serves.
 *
 * A pool whose sessions have no room gives no work: its bays (a bay is the lanes of one
 * queue and one pool) are closed, as a queue is whose permits are taken, and stand in
 * nobody's way, neither in the heap of bays nor at gates that they share. So a claim
 * looks at what could run only. Who has room is looked at right before a task is taken;
 * with one kind of sessions only there is nothing to tell apart, and no bay opens or
 * closes for it.
 *
 * Happy path: er_pools_update after sessions have changed -> each type finds its pool by
 * who serves it -> lanes of types that have another pool now move to its bays ->
 * er_pools_look before each claim. Sessions come and go rarely: that may cost as much as
 * there are lanes. */
#include "engine/engine_priv.h"

#include <string.h>

#include "base/mem.h"

/* ---- pools ---- */

static struct er_pool *
new_pool(struct er_engine *e, bool processes)
{
    struct er_pool *pool = er_xzalloc(sizeof *pool);
    pool->processes = processes;
    TAILQ_INIT(&pool->bays);
    TAILQ_INSERT_TAIL(&e->pools, pool, in_engine);
    return pool;
}

void
er_pools_init(struct er_engine *e)
{
    TAILQ_INIT(&e->pools);
    TAILQ_INIT(&e->unserved);
    e->by_processes = new_pool(e, true);
    e->by_processes->room = true;
}

static void
free_bay(struct er_bay *bay)
{
    TAILQ_REMOVE(&bay->queue->bays, bay, in_queue);
    TAILQ_REMOVE(&bay->pool->bays, bay, in_pool);
    er_heap_fini(&bay->lanes);
    er_free(bay);
}

static void
free_pool(struct er_engine *e, struct er_pool *pool)
{
    struct er_bay *bay;
    while ((bay = TAILQ_FIRST(&pool->bays)) != NULL) {
        free_bay(bay);
    }
    TAILQ_REMOVE(&e->pools, pool, in_engine);
    er_free(pool->sessions);
    er_free(pool);
}

void
er_pools_fini(struct er_engine *e)
{
    struct er_pool *pool;
    while ((pool = TAILQ_FIRST(&e->pools)) != NULL) {
        free_pool(e, pool);
    }
}

struct er_bay *
er_pools_bay(struct er_queue_live *q, struct er_pool *pool)
{
    struct er_bay *bay;
    TAILQ_FOREACH (bay, &q->bays, in_queue) {
        if (bay->pool == pool) {
            return bay;
        }
    }
    bay = er_xzalloc(sizeof *bay);
    bay->queue = q;
    bay->pool = pool;
    bay->open = q->open && pool->room;
    er_heap_init(&bay->lanes, er_lanes_less);
    TAILQ_INIT(&bay->aside);
    TAILQ_INIT(&bay->savers);
    TAILQ_INIT(&bay->envoys);
    TAILQ_INIT(&bay->holds);
    TAILQ_INSERT_TAIL(&q->bays, bay, in_queue);
    TAILQ_INSERT_TAIL(&pool->bays, bay, in_pool);
    return bay;
}

bool
er_pools_has(const struct er_pool *pool, const struct er_session_live *s)
{
    if (!s->handlers) {
        return pool->processes;
    }
    for (size_t i = 0; i < pool->n_sessions; i++) {
        if (pool->sessions[i] == s) {
            return true;
        }
    }
    return false;
}

/* ---- who serves a type ---- */

static bool
serves(const struct er_session_live *s, const struct er_limit_live *type)
{
    for (size_t i = 0; s->handlers && i < s->n_types; i++) {
        if (s->types[i] == type) {
            return er_dispatch_is_connected(s);
        }
    }
    return false;
}

static bool
is_same(const struct er_pool *pool, bool processes, struct er_session_live *const *list,
        size_t n)
{
    return pool->processes == processes && pool->n_sessions == n &&
           (n == 0 ||
            memcmp(pool->sessions, list, n * sizeof(struct er_session_live *)) == 0);
}

/* The pool of a type by who serves it now; made if new. */
static struct er_pool *
find_pool(struct er_engine *e, const struct er_limit_live *type)
{
    bool processes = er_limits_is_process(e, type->name);
    struct er_session_live *s, *next, **list = NULL;
    struct er_pool *pool;
    size_t n = 0;
    if (e->mixed) { /* always in the same order: that in which they were opened */
        list = er_xrealloc_array(NULL, HASH_COUNT(e->sessions),
                                 sizeof(struct er_session_live *));
        HASH_ITER (hh, e->sessions, s, next) {
            if (serves(s, type)) {
                list[n++] = s;
            }
        }
    }
    TAILQ_FOREACH (pool, &e->pools, in_engine) {
        if (is_same(pool, processes, list, n)) {
            er_free(list);
            return pool;
        }
    }
    pool = new_pool(e, processes);
    pool->sessions = list;
    pool->n_sessions = n;
    return pool;
}

static void
set_room(struct er_engine *e, struct er_pool *pool, bool room)
{
    struct er_bay *bay;
    if (pool->room == room) {
        return;
    }
    pool->room = room;
    TAILQ_FOREACH (bay, &pool->bays, in_pool) {
        er_lanes_bay_update(e, bay);
    }
}

/* Who is there. */
static void
count_sessions(struct er_engine *e, bool *out_processes)
{
    struct er_session_live *s, *next;
    *out_processes = false;
    e->mixed = false;
    HASH_ITER (hh, e->sessions, s, next) {
        bool there = er_dispatch_is_connected(s);
        e->mixed = e->mixed || (there && s->handlers);
        *out_processes = *out_processes || (there && !s->handlers);
    }
}

/* Finds each type's pool; true when some have another one than before. */
static bool
assign(struct er_engine *e)
{
    struct er_limit_live *l, *next;
    bool moved = false;
    HASH_ITER (hh, e->types, l, next) {
        struct er_pool *pool = find_pool(e, l);
        if (pool != l->pool) {
            l->pool->n_types--;
            pool->n_types++;
            l->pool = pool;
            moved = true;
        }
    }
    return moved;
}

static void
move_lanes(struct er_engine *e)
{
    struct er_lane_live *lane, *next;
    HASH_ITER (hh, e->lanes, lane, next) {
        if (lane->bay->pool != lane->type->pool) {
            er_lanes_move(e, lane);
        }
    }
}

/* Pools of sessions that are gone. Their bays are empty by now. */
static void
drop_pools(struct er_engine *e)
{
    struct er_pool *pool, *next;
    for (pool = TAILQ_FIRST(&e->pools); pool; pool = next) {
        struct er_bay *bay;
        next = TAILQ_NEXT(pool, in_engine);
        if (pool->n_types > 0 || pool == e->by_processes) {
            continue;
        }
        TAILQ_FOREACH (bay, &pool->bays, in_pool) {
            er_gates_forget_bay(e, bay);
        }
        free_pool(e, pool);
    }
}

/* Whom a pool's tasks find now. */
static void
set_served(struct er_engine *e, struct er_pool *pool, bool served)
{
    struct er_bay *bay;
    bool left = pool->served && !served;
    pool->served = served;
    TAILQ_FOREACH (bay, &pool->bays, in_pool) {
        if (left) {
            er_pools_want_all(e, bay);
        }
    }
}

void
er_pools_update(struct er_engine *e)
{
    struct er_limit_live *l, *l_next;
    struct er_pool *pool;
    bool processes;
    count_sessions(e, &processes);
    bool moved = assign(e);
    TAILQ_FOREACH (pool, &e->pools, in_engine) {
        set_served(e, pool, pool->n_sessions > 0 || (pool->processes && processes));
        /* with one kind of sessions, whoever is asked has room */
        set_room(e, pool, pool->processes || (e->mixed && pool->served));
    }
    if (moved) {
        move_lanes(e);
        drop_pools(e);
    }
    HASH_ITER (hh, e->types, l, l_next) {
        l->asked = l->asked && !l->pool->served;
    }
}

void
er_pools_type_added(struct er_engine *e, struct er_limit_live *type)
{
    type->pool = find_pool(e, type);
    type->pool->n_types++;
}

void
er_pools_type_changed(struct er_engine *e, const char *name)
{
    struct er_limit_live *type = er_gates_limit(e, ER_GATE_TYPE, name);
    if (type->pool->processes != er_limits_is_process(e, name)) {
        er_pools_update(e);
    }
}

bool
er_pools_look(struct er_engine *e)
{
    struct er_pool *pool;
    if (!er_dispatch_pick(e, NULL)) {
        return false;
    }
    if (e->mixed) {
        TAILQ_FOREACH (pool, &e->pools, in_engine) {
            set_room(e, pool, er_dispatch_pick(e, pool) != NULL);
        }
    }
    return true;
}

/* ---- what nobody serves ---- */

void
er_pools_want(struct er_engine *e, struct er_lane_live *lane)
{
    struct er_limit_live *type = lane->type;
    if (!e->options.on_unserved || type->asked || type->to_ask) {
        return;
    }
    if (!lane->queue->open) {
        lane->bay->unasked = true;
        return;
    }
    type->to_ask = true;
    TAILQ_INSERT_TAIL(&e->unserved, type, in_unserved);
}

void
er_pools_want_all(struct er_engine *e, struct er_bay *bay)
{
    bay->unasked = false;
    for (size_t i = 0; i < bay->lanes.n && !bay->pool->served; i++) {
        er_pools_want(e, ER_CONTAINER(bay->lanes.nodes[i], struct er_lane_live, node));
    }
}

void
er_pools_ask(struct er_engine *e)
{
    struct er_limit_live *type;
    while (!e->all_paused && (type = TAILQ_FIRST(&e->unserved)) != NULL) {
        TAILQ_REMOVE(&e->unserved, type, in_unserved);
        type->to_ask = false;
        if (!type->pool->served) {
            type->asked = true;
            e->options.on_unserved(e->options.unserved_ctx, type->name);
        }
    }
}

/* ---- sessions of handlers ---- */

/* The types by name, as the session keeps them. */
static void
set_types(struct er_engine *e, struct er_session_live *s, const char *const *types,
          size_t n)
{
    s->types = er_xrealloc_array(s->types, n + 1, sizeof(struct er_limit_live *));
    s->n_types = n;
    for (size_t i = 0; i < n; i++) {
        s->types[i] = er_gates_limit(e, ER_GATE_TYPE, types[i]);
    }
}

void
er_pools_set_types(struct er_engine *e, struct er_session_live *s,
                   const char *const *types, size_t n)
{
    s->handlers = types != NULL;
    set_types(e, s, types, n);
}

void
er_engine_set_types(struct er_engine *e, int64_t session, const char *const *types,
                    size_t n)
{
    struct er_session_live *s;
    HASH_FIND(hh, e->sessions, &session, sizeof session, s);
    if (s && s->handlers) {
        set_types(e, s, types, n);
        er_pools_update(e);
    }
}

bool
er_engine_is_served(const struct er_engine *e, const char *type)
{
    struct er_limit_live *l;
    HASH_FIND_STR(e->types, type, l);
    if (l) {
        return l->pool->served;
    }
    return e->by_processes->served && er_limits_is_process(e, type);
}

bool
er_engine_is_named_besides(const struct er_engine *e, const char *type, int64_t session)
{
    const struct er_session_live *s, *next;
    HASH_ITER (hh, e->sessions, s, next) {
        bool counts = s->handlers && !s->dying && s->id != session;
        for (size_t i = 0; counts && i < s->n_types; i++) {
            if (strcmp(s->types[i]->name, type) == 0) {
                return true;
            }
        }
    }
    return false;
}
