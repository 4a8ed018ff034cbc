/* SPDX-License-Identifier: MIT */
/* Lanes: what may run next. A lane is (queue, type, limit key); its tasks differ only in
 * rank. Memory holds a window of the first few of each lane; what lies behind is fetched
 * (a peek) before the window runs dry. The lanes of a queue stand in bays, one for all
 * types that the same sessions serve (pools.c). Lanes with something in their window
 * stand in their bay's heap or wait at a gate (gates.c), bays that may give work in the
 * engine's heap, all by best head: taking the next task costs O(log lanes), whatever is
 * saturated, paused, without a session or waiting beside it.
 *
 * The rule is that a window has no holes: what the store has and the window has not lies
 * behind the window's end, and then `more` is set. So news that fall behind the end of a
 * window with `more` are left out, the next peek brings them. A peek and the news may
 * cross on their way: of all that is left out while a peek is under way the first is
 * noted, and of what the peek brings, only what stands before that one is taken; the next
 * peek begins there. The same task from both sides is recognised by its place. A task
 * that is gone or elsewhere by the time it is claimed is refused by the store's
 * compare-and-set, which costs nothing but the try. */
#include "engine/engine_priv.h"

#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"

#define WINDOW_MAX ((size_t)256)
#define WINDOW_LOW ((size_t)64)

static bool
ready_less(const struct er_ready *a, const struct er_ready *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->id < b->id;
}

const struct er_ready *
er_lanes_head(const struct er_lane_live *lane)
{
    return &lane->win[lane->first];
}

bool
er_lanes_less(const struct er_heap_node *a, const struct er_heap_node *b)
{
    return ready_less(er_lanes_head(ER_CONTAINER(a, struct er_lane_live, node)),
                      er_lanes_head(ER_CONTAINER(b, struct er_lane_live, node)));
}

static const struct er_ready *
bay_head(const struct er_bay *bay)
{
    return er_lanes_head(
        ER_CONTAINER(er_heap_get(&bay->lanes), struct er_lane_live, node));
}

static bool
bay_less(const struct er_heap_node *a, const struct er_heap_node *b)
{
    return ready_less(bay_head(ER_CONTAINER(a, struct er_bay, node)),
                      bay_head(ER_CONTAINER(b, struct er_bay, node)));
}

static void check_head(struct er_engine *e, struct er_lane_live *lane);

static void
must_push(struct er_heap *h, struct er_heap_node *node)
{
    ER_ASSERT(er_heap_push(h, node) == 0);
}

void
er_lanes_init(struct er_engine *e)
{
    er_heap_init(&e->open, bay_less);
    er_gates_init(e);
    er_pools_init(e);
}

void
er_lanes_fini(struct er_engine *e)
{
    HASH_CLEAR(hh_watch, e->watched);
    HASH_CLEAR(hh_names, e->lanes_by_names);
    er_pools_fini(e);
    er_gates_fini(e);
    struct er_lane_live *lane, *lane_next;
    HASH_ITER (hh, e->lanes, lane, lane_next) {
        HASH_DEL(e->lanes, lane);
        er_free(lane->win);
        er_free(lane);
    }
    struct er_queue_live *q, *q_next;
    HASH_ITER (hh, e->queues, q, q_next) {
        HASH_DEL(e->queues, q);
        er_gates_limit_fini(&q->limit);
        er_free(q);
    }
    er_heap_fini(&e->open);
}

/* The bay stands in the heap of open ones if and only if it may give work. */
static void
bay_place(struct er_engine *e, struct er_bay *bay)
{
    if (!bay->open || bay->lanes.n == 0) {
        er_heap_remove(&e->open, &bay->node);
    } else if (bay->node.pos) {
        er_heap_move(&e->open, &bay->node);
    } else {
        must_push(&e->open, &bay->node);
    }
}

void
er_lanes_bay_update(struct er_engine *e, struct er_bay *bay)
{
    bool open = bay->queue->open && bay->pool->room;
    if (open == bay->open) {
        return;
    }
    bay->open = open;
    bay_place(e, bay);
    if (open) {
        er_gates_bay_opened(e, bay);
    } else {
        er_gates_bay_closed(e, bay);
    }
}

void
er_lanes_queue_update(struct er_engine *e, struct er_queue_live *q)
{
    const struct er_limit_live *l = &q->limit;
    bool open = (!q->paused || ER_MUTANT(6)) &&
                (l->concurrency == 0 || l->running < l->concurrency);
    if (open == q->open) {
        return;
    }
    q->open = open;
    struct er_bay *bay;
    TAILQ_FOREACH (bay, &q->bays, in_queue) {
        er_lanes_bay_update(e, bay);
        if (open && bay->unasked) {
            er_pools_want_all(e, bay);
        }
    }
}

struct er_queue_live *
er_lanes_queue(struct er_engine *e, const char *name)
{
    struct er_queue_live *q;
    HASH_FIND_STR(e->queues, name, q);
    if (!q) {
        q = er_xzalloc(sizeof *q);
        er_gates_limit_init(&q->limit, ER_GATE_QUEUE, name);
        q->open = true;
        TAILQ_INIT(&q->bays);
        HASH_ADD_KEYPTR(hh, e->queues, q->limit.name, strlen(q->limit.name), q);
    }
    return q;
}

struct er_lane_live *
er_lanes_find(struct er_engine *e, int64_t id)
{
    struct er_lane_live *lane;
    HASH_FIND(hh, e->lanes, &id, sizeof id, lane);
    return lane;
}

/* From the queue to the limit key. */
#define NAMES_SIZE                                                                       \
    (offsetof(struct er_lane_live, bay) - offsetof(struct er_lane_live, queue))

struct er_lane_live *
er_lanes_find_names(struct er_engine *e, const char *queue, const char *type,
                    const char *limit_key)
{
    struct er_lane_live names = {0}, *lane;
    HASH_FIND_STR(e->queues, queue, names.queue);
    HASH_FIND_STR(e->types, type, names.type);
    if (limit_key && *limit_key) {
        HASH_FIND_STR(e->keys, limit_key, names.key);
        if (!names.key) {
            return NULL;
        }
    }
    HASH_FIND(hh_names, e->lanes_by_names, &names.queue, NAMES_SIZE, lane);
    return lane;
}

struct er_lane_live *
er_lanes_add(struct er_engine *e, const struct er_lane *from)
{
    struct er_lane_live *lane = er_lanes_find(e, from->id);
    if (!lane) {
        lane = er_xzalloc(sizeof *lane);
        lane->id = from->id;
        lane->queue = er_lanes_queue(e, from->queue);
        lane->type = er_gates_limit(e, ER_GATE_TYPE, from->type);
        if (from->limit_key && *from->limit_key) {
            lane->key = er_gates_limit(e, ER_GATE_KEY, from->limit_key);
        }
        lane->bay = er_pools_bay(lane->queue, lane->type->pool);
        HASH_ADD(hh, e->lanes, id, sizeof lane->id, lane);
        HASH_ADD(hh_names, e->lanes_by_names, queue, NAMES_SIZE, lane);
    }
    return lane;
}

/* The lane's head has changed, or it has got one, or lost it: its place in its bay's
 * heap. */
static void
lane_place(struct er_engine *e, struct er_lane_live *lane)
{
    struct er_bay *bay = lane->bay;
    /* the bay's place depends on its lanes' heads: out while they change */
    er_heap_remove(&e->open, &bay->node);
    if (lane->n == 0 || lane->waits) {
        er_heap_remove(&bay->lanes, &lane->node);
    } else if (lane->node.pos) {
        er_heap_move(&bay->lanes, &lane->node);
    } else {
        must_push(&bay->lanes, &lane->node);
    }
    bay_place(e, bay);
    if (!bay->pool->served && lane->node.pos && !lane->waits) {
        er_pools_want(e, lane);
    }
}

void
er_lanes_move(struct er_engine *e, struct er_lane_live *lane)
{
    struct er_bay *from = lane->bay;
    if (lane->node.pos && !lane->waits) {
        er_heap_remove(&e->open, &from->node);
        er_heap_remove(&from->lanes, &lane->node);
        bay_place(e, from);
    }
    er_gates_move(e, lane, er_pools_bay(lane->queue, lane->type->pool));
    lane_place(e, lane); /* if a gate is in its way, `best` finds out */
}

void
er_lanes_enter(struct er_engine *e, struct er_lane_live *lane)
{
    lane_place(e, lane);
}

static void
lane_update(struct er_engine *e, struct er_lane_live *lane)
{
    if (lane->waits) {
        er_gates_head_changed(e, lane);
        check_head(e, lane);
    } else {
        lane_place(e, lane);
    }
}

/* Room for one more at the end of the window's array. */
static void
window_grow(struct er_lane_live *lane)
{
    if (lane->first > 0 && lane->first + lane->n == lane->size) {
        memmove(lane->win, lane->win + lane->first, lane->n * sizeof lane->win[0]);
        lane->first = 0;
    }
    if (lane->n == lane->size) {
        lane->size = lane->size ? lane->size * 2 : 8;
        lane->win = er_xrealloc_array(lane->win, lane->size, sizeof lane->win[0]);
    }
}

/* A task that could run is not in the window: it stands behind its end. */
static void
leave_out(struct er_lane_live *lane, const struct er_ready *ready)
{
    lane->more = true;
    if (lane->peeking && (!lane->missed || ready_less(ready, &lane->first_missed))) {
        lane->missed = true;
        lane->first_missed = *ready;
    }
}

/* Puts a task into the window at its place; twice is once. Returns whether it is a new
 * head. */
static bool
window_insert(struct er_lane_live *lane, const struct er_ready *ready)
{
    window_grow(lane);
    struct er_ready *win = lane->win + lane->first;
    size_t lo = 0, hi = lane->n;
    if (hi > 0 && ready_less(&win[hi - 1], ready)) {
        lo = hi; /* the usual case: behind all */
    }
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (ready_less(&win[mid], ready)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo < lane->n && win[lo].id == ready->id && win[lo].rank == ready->rank) {
        win[lo].cost = ready->cost; /* it may have been edited */
        lane->confirmed = lane->confirmed || lo == 0;
        return lo == 0;
    }
    memmove(win + lo + 1, win + lo, (lane->n - lo) * sizeof win[0]);
    win[lo] = *ready;
    lane->n++;
    if (lane->n > WINDOW_MAX) {
        lane->n--;
        leave_out(lane, &win[lane->n]);
    }
    return lo == 0;
}

struct peek_op {
    struct er_op op;
    struct er_engine *engine;
    int64_t lane;
    struct er_ready from;
    size_t n;
    struct er_ready got[WINDOW_MAX];
};

static int
run_peek(struct er_op *op, struct er_store *s, er_usec now)
{
    (void)now;
    struct peek_op *p = (struct peek_op *)(void *)op;
    return er_store_peek(s, p->lane, p->from.rank, p->from.id, p->got, WINDOW_MAX, &p->n);
}

/* Takes in what a peek brought, up to the first that was left out meanwhile. */
static void
window_extend(struct er_lane_live *lane, const struct peek_op *p)
{
    bool missed = lane->missed;
    struct er_ready end = lane->first_missed;
    lane->more = p->n == WINDOW_MAX || missed;
    for (size_t i = 0; i < p->n && (!missed || ready_less(&p->got[i], &end)); i++) {
        (void)window_insert(lane, &p->got[i]);
    }
    if (missed) {
        (void)window_insert(lane, &end);
    }
}

static void
done_peek(struct er_op *op, int rc)
{
    struct peek_op *p = (struct peek_op *)(void *)op;
    struct er_engine *e = p->engine;
    struct er_lane_live *lane = er_lanes_find(e, p->lane);
    lane->peeking = false;
    e->n_peeks--;
    if (rc) {
        er_schedule_sick(e, rc);
    } else {
        window_extend(lane, p);
        lane_update(e, lane);
    }
    lane->missed = false;
    er_free(p);
    er_lanes_mark_more(e, lane);
}

/* Fetches what lies behind the window, when there is something and it runs low. */
static void
lane_refill(struct er_engine *e, struct er_lane_live *lane)
{
    if (!lane->more || lane->peeking || lane->n >= WINDOW_LOW || e->sick || e->stopping) {
        return;
    }
    struct peek_op *p = er_xzalloc(sizeof *p);
    p->op.run = run_peek;
    p->op.done = done_peek;
    p->engine = e;
    p->lane = lane->id;
    p->from.rank = INT64_MIN;
    if (lane->n > 0) {
        p->from = lane->win[lane->first + lane->n - 1];
    }
    lane->peeking = true;
    e->n_peeks++;
    er_ferry_post(e->ferry, &p->op);
}

void
er_lanes_mark_more(struct er_engine *e, struct er_lane_live *lane)
{
    lane_refill(e, lane);
}

void
er_lanes_ready(struct er_engine *e, const struct er_ready *ready)
{
    struct er_lane_live *lane = er_lanes_find(e, ready->lane);
    ER_ASSERT(lane);
    bool behind =
        lane->n == 0 || ready_less(&lane->win[lane->first + lane->n - 1], ready);
    if (lane->more && behind) {
        leave_out(lane, ready);
        lane_refill(e, lane);
        return;
    }
    if (window_insert(lane, ready)) {
        lane_update(e, lane);
    }
}

static void
drop_head(struct er_lane_live *lane)
{
    lane->first++;
    lane->n--;
    if (lane->n == 0) {
        lane->first = 0;
        if (lane->size > 8) {
            er_free(lane->win);
            lane->win = NULL;
            lane->size = 0;
        }
    }
}

/* ---- heads that save up ---- */

/* A task that waits may be cancelled, held, edited, expire. In general its claim finds
 * out, which costs nothing; but where it is first in line for tokens and its cost is
 * high, all behind it would wait for what it does not need any more. So it is looked up
 * when it begins to wait for them, and at each fact about it. */
struct check_op {
    struct er_op op;
    struct er_engine *engine;
    struct er_ready head, got;
    size_t n;
};

static int
run_check(struct er_op *op, struct er_store *s, er_usec now)
{
    (void)now;
    struct check_op *c = (struct check_op *)(void *)op;
    return er_store_peek(s, c->head.lane, c->head.rank, c->head.id - 1, &c->got, 1,
                         &c->n);
}

/* The head that was looked up is not there any more. */
static bool
is_gone(const struct check_op *c, const struct er_lane_live *lane)
{
    return lane->n > 0 && er_lanes_head(lane)->id == c->head.id &&
           er_lanes_head(lane)->rank == c->head.rank && !lane->confirmed &&
           (c->n == 0 || c->got.id != c->head.id);
}

static void
done_check(struct er_op *op, int rc)
{
    struct check_op *c = (struct check_op *)(void *)op;
    struct er_engine *e = c->engine;
    struct er_lane_live *lane = er_lanes_find(e, c->head.lane);
    bool again = lane->check_again;
    lane->checking = lane->check_again = false;
    if (rc) {
        er_schedule_sick(e, rc);
    } else if (is_gone(c, lane)) {
        drop_head(lane);
        lane_update(e, lane);
        if (lane->n == 0) {
            er_gates_dismiss(e, lane);
        }
        lane_refill(e, lane);
    }
    er_free(c);
    if (again) {
        check_head(e, lane);
    }
}

static void
check_head(struct er_engine *e, struct er_lane_live *lane)
{
    if (!lane->waits || !lane->waits->gate->tokens || er_lanes_head(lane)->cost <= 1 ||
        e->sick || e->stopping) {
        return;
    }
    if (lane->checking) {
        lane->check_again = true;
        return;
    }
    struct check_op *c = er_xzalloc(sizeof *c);
    c->op.run = run_check;
    c->op.done = done_check;
    c->engine = e;
    c->head = *er_lanes_head(lane);
    lane->checking = true;
    lane->confirmed = false;
    er_ferry_post(e->ferry, &c->op);
}

/* The best lane that may run; those that may not are sent to their gates on the way. */
static struct er_lane_live *
best(struct er_engine *e)
{
    struct er_heap_node *node;
    while ((node = er_heap_get(&e->open)) != NULL) {
        struct er_bay *bay = ER_CONTAINER(node, struct er_bay, node);
        struct er_lane_live *lane =
            ER_CONTAINER(er_heap_get(&bay->lanes), struct er_lane_live, node);
        struct er_gate *gate = er_gates_refuse(e, lane);
        if (!gate) {
            return lane;
        }
        er_heap_remove(&e->open, &bay->node);
        er_heap_remove(&bay->lanes, &lane->node);
        bay_place(e, bay);
        er_gates_park(e, lane, gate);
        check_head(e, lane);
    }
    return NULL;
}

bool
er_lanes_take(struct er_engine *e, struct er_ready *out, struct er_lane_live **out_lane)
{
    struct er_lane_live *lane = e->all_paused ? NULL : best(e);
    if (!lane) {
        return false;
    }
    *out = *er_lanes_head(lane);
    *out_lane = lane;
    drop_head(lane);
    lane_place(e, lane);
    er_gates_take(e, lane, out->cost);
    er_lanes_queue_update(e, lane->queue);
    lane_refill(e, lane);
    return true;
}

void
er_lanes_release(struct er_engine *e, struct er_lane_live *lane)
{
    er_gates_release(e, lane);
    if (!ER_MUTANT(2)) {
        er_lanes_queue_update(e, lane->queue);
    }
}

void
er_lanes_retake(struct er_engine *e, struct er_lane_live *lane)
{
    er_gates_retake(e, lane);
    er_lanes_queue_update(e, lane->queue);
}

void
er_lanes_refund(struct er_engine *e, struct er_lane_live *lane, int64_t cost)
{
    er_gates_refund(e, lane, cost);
}

/* ---- news ---- */

static void
look_at_fact(struct er_engine *e, const struct er_fact *fact)
{
    static const uint64_t left =
        UINT64_C(1) << ER_EVENT_TASK_CANCELLED | UINT64_C(1) << ER_EVENT_TASK_PAUSED |
        UINT64_C(1) << ER_EVENT_TASK_CHANGED | UINT64_C(1) << ER_EVENT_TASK_FAILED;
    struct er_lane_live *lane;
    if ((left >> fact->event & 1) == 0) {
        return;
    }
    HASH_FIND(hh_watch, e->watched, &fact->task, sizeof fact->task, lane);
    if (lane) {
        check_head(e, lane);
    }
}

void
er_lanes_news(struct er_engine *e, const struct er_effects *fx)
{
    for (size_t i = 0; i < fx->n_lanes; i++) {
        (void)er_lanes_add(e, &fx->lanes[i]);
    }
    for (size_t i = 0; e->watched && i < fx->n_facts; i++) {
        look_at_fact(e, &fx->facts[i]);
    }
    for (size_t i = 0; i < fx->n_ready; i++) {
        er_lanes_ready(e, &fx->ready[i]);
    }
}
