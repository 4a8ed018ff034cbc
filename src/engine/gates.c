/* SPDX-License-Identifier: MIT */
/* Gates: what holds a lane back although its queue could give work. A type gives permits,
 * a limit key permits and tokens, a queue tokens (its permits and its switch close the
 * queue as a whole, see lanes.c; so does the lack of a session for those of its lanes
 * that stand in one bay, see pools.c). A lane whose head a gate does not let through
 * leaves its bay's heap and waits at that gate, at one at a time.
 *
 * Happy path: er_gates_refuse finds a gate in the way of the best lane -> er_gates_park
 * -> the gate gets room (a permit comes back, time has passed, settings) -> `look` sends
 * the first in line back to its bay's heap as the gate's envoy -> when that is taken, or
 * held up elsewhere, the next one.
 *
 * One envoy is enough, since tasks are taken one at a time. The invariant, for each gate
 * that would let its first in line through: its envoy stands in the heap of an open bay
 * and goes before all that wait there and whose bay is open. So the best lane of all open
 * bays goes before all that might run, and none is forgotten. `look` establishes it; it
 * is called after whatever may break it: room, a better head in line, an envoy that is
 * gone, a bay that opened or closed.
 *
 * Those whose bay is closed must not be in the way of others at the gate: they wait by
 * bay, in groups. A group whose turn comes while its bay is closed is set aside until
 * that opens; an envoy whose bay closes is replaced by one of another bay. Neither costs
 * anything where a gate has lanes of one bay only. One that saves up tokens saves no more
 * when its bay closes. Nothing here depends on how many lanes
 * wait: each event moves a constant number of them.
 *
 * Tokens are for the first in line: nobody behind it takes what it saves up for. A lane
 * that needs tokens of its queue and of its key, and has waited for those of one, may
 * find too few of the other, and so on for ever, since others need only one of them. So
 * the gate that it comes from keeps a hold for it (the best such lane): whoever goes
 * after it takes tokens there only if as many will be there again when the other gate
 * opens. */
#include "engine/engine_priv.h"

#include <limits.h>
#include <string.h>

#include "base/mem.h"

static void look(struct er_engine *e, struct er_gate *g);

static void
must_push(struct er_heap *h, struct er_heap_node *node)
{
    ER_ASSERT(er_heap_push(h, node) == 0);
}

static struct er_lane_live *
group_first(const struct er_gate_group *g)
{
    return ER_CONTAINER(er_heap_get(&g->lanes), struct er_lane_live, node);
}

static bool
group_less(const struct er_heap_node *a, const struct er_heap_node *b)
{
    return er_lanes_less(
        er_heap_get(&ER_CONTAINER(a, struct er_gate_group, node)->lanes),
        er_heap_get(&ER_CONTAINER(b, struct er_gate_group, node)->lanes));
}

static bool
toll_less(const struct er_heap_node *a, const struct er_heap_node *b)
{
    return ER_CONTAINER(a, struct er_limit_live, toll)->opens_at <
           ER_CONTAINER(b, struct er_limit_live, toll)->opens_at;
}

/* ---- limits ---- */

void
er_gates_init(struct er_engine *e)
{
    er_heap_init(&e->tolls, toll_less);
    e->toll_at = ER_NEVER;
}

void
er_gates_limit_init(struct er_limit_live *l, enum er_gate_kind kind, const char *name)
{
    l->kind = kind;
    l->name = er_xstrdup(name);
    l->permits.limit = l->tokens.limit = l;
    l->tokens.tokens = true;
    er_heap_init(&l->permits.groups, group_less);
    er_heap_init(&l->tokens.groups, group_less);
}

void
er_gates_limit_fini(struct er_limit_live *l)
{
    er_heap_fini(&l->permits.groups);
    er_heap_fini(&l->tokens.groups);
    er_free(l->name);
}

struct er_limit_live *
er_gates_limit(struct er_engine *e, enum er_gate_kind kind, const char *name)
{
    struct er_limit_live **all = kind == ER_GATE_TYPE ? &e->types : &e->keys, *l;
    HASH_FIND_STR(*all, name, l);
    if (!l) {
        l = er_xzalloc(sizeof *l);
        er_gates_limit_init(l, kind, name);
        HASH_ADD_KEYPTR(hh, *all, l->name, strlen(l->name), l);
        if (kind == ER_GATE_TYPE) {
            er_pools_type_added(e, l);
        }
    }
    return l;
}

static void
free_all(struct er_limit_live **all)
{
    struct er_limit_live *l, *next;
    HASH_ITER (hh, *all, l, next) {
        HASH_DEL(*all, l);
        er_gates_limit_fini(l);
        er_free(l);
    }
}

void
er_gates_fini(struct er_engine *e)
{
    struct er_gate_group *g, *next;
    HASH_ITER (hh, e->groups, g, next) {
        HASH_DEL(e->groups, g);
        er_heap_fini(&g->lanes);
        er_free(g);
    }
    free_all(&e->types);
    free_all(&e->keys);
    er_heap_fini(&e->tolls);
}

/* ---- who is let through ---- */

static void
fill(struct er_engine *e, struct er_limit_live *l)
{
    er_usec now = er_clock_boot(e->options.clock);
    for (size_t i = 0; i < l->n_rates; i++) {
        er_bucket_fill(&l->buckets[i], &l->rates[i],
                       er_bucket_need(&l->rates[i], l->wanted), now);
    }
}

static bool
has_permit(const struct er_limit_live *l)
{
    return l->concurrency == 0 || l->running < l->concurrency;
}

/* The buckets must be filled. */
static bool
has_tokens(const struct er_limit_live *l, int64_t cost)
{
    for (size_t i = 0; i < l->n_rates; i++) {
        if (!er_bucket_has(&l->buckets[i], &l->rates[i],
                           er_bucket_need(&l->rates[i], cost))) {
            return false;
        }
    }
    return true;
}

/* The best lane that waits there and whose bay is open, or that no other bay could be
 * kept from. */
static struct er_lane_live *
first_in_line(struct er_gate *g)
{
    struct er_heap_node *node;
    while ((node = er_heap_get(&g->groups)) != NULL) {
        struct er_gate_group *group = ER_CONTAINER(node, struct er_gate_group, node);
        if (group->bay->open || g->n_groups == 1) {
            return group_first(group);
        }
        er_heap_remove(&g->groups, node);
        TAILQ_INSERT_TAIL(&group->bay->aside, group, in_bay);
        group->aside = true;
    }
    return NULL;
}

/* Until when (boot) the limit's tokens are kept for a better lane, and this one has to
 * leave them; 0 = they are not. The buckets must be filled. */
static er_usec
held_until(const struct er_limit_live *l, const struct er_lane_live *lane)
{
    const struct er_lane_live *hold = l->tokens.hold;
    if (!hold || hold == lane || !hold->waits || !hold->bay->open ||
        !er_lanes_less(&hold->node, &lane->node)) {
        return 0;
    }
    struct er_gate *other = hold->waits->gate;
    if (!other->tokens || other->limit == l || other->limit->toll.pos == 0 ||
        first_in_line(other) != hold) {
        return 0; /* nobody knows when it comes */
    }
    er_usec until = other->limit->opens_at;
    for (size_t i = 0; i < l->n_rates; i++) {
        const struct er_rate *r = &l->rates[i];
        int64_t need = er_bucket_need(r, er_lanes_head(hold)->cost);
        struct er_bucket b = l->buckets[i];
        er_bucket_take(&b, r, er_bucket_need(r, er_lanes_head(lane)->cost));
        er_bucket_fill(&b, r, need, until);
        if (!er_bucket_has(&b, r, need)) {
            return until;
        }
    }
    return 0;
}

static bool
refuses_tokens(struct er_engine *e, struct er_limit_live *l,
               const struct er_lane_live *lane)
{
    if (l->n_rates == 0) {
        return false;
    }
    const struct er_lane_live *first = first_in_line(&l->tokens);
    if (first && er_lanes_less(&first->node, &lane->node)) {
        return true;
    }
    fill(e, l);
    return !has_tokens(l, er_lanes_head(lane)->cost) || held_until(l, lane) > 0;
}

/* Permits come first, so that nobody saves tokens for what could not run; then the key's
 * tokens, which are fewer and slower than the queue's. */
struct er_gate *
er_gates_refuse(struct er_engine *e, struct er_lane_live *lane)
{
    if (!has_permit(lane->type)) {
        return &lane->type->permits;
    }
    if (lane->key && !has_permit(lane->key)) {
        return &lane->key->permits;
    }
    if (lane->key && refuses_tokens(e, lane->key, lane)) {
        return &lane->key->tokens;
    }
    if (refuses_tokens(e, &lane->queue->limit, lane)) {
        return &lane->queue->limit.tokens;
    }
    return NULL;
}

/* ---- groups ---- */

/* A group is out of its gate's heap while its lanes change, since its place there depends
 * on them. */
static void
group_out(struct er_gate_group *g)
{
    if (!g->aside) {
        er_heap_remove(&g->gate->groups, &g->node);
    }
}

static void
list_saver(struct er_gate_group *g)
{
    bool saves = g->gate->tokens && g->gate->n_groups > 1 && g->lanes.n > 0;
    if (saves && !g->saves) {
        TAILQ_INSERT_TAIL(&g->bay->savers, g, in_savers);
    } else if (!saves && g->saves) {
        TAILQ_REMOVE(&g->bay->savers, g, in_savers);
    }
    g->saves = saves;
}

static void
group_in(struct er_gate_group *g)
{
    list_saver(g);
    if (!g->aside && g->lanes.n > 0) {
        must_push(&g->gate->groups, &g->node);
    } else if (g->aside && g->lanes.n == 0) {
        TAILQ_REMOVE(&g->bay->aside, g, in_bay);
        g->aside = false;
    }
}

/* What a lane saves tokens for may be cancelled, held, edited: see lanes.c. */
static void
watch(struct er_engine *e, struct er_lane_live *lane)
{
    struct er_lane_live *other;
    er_task_id id = er_lanes_head(lane)->id;
    HASH_FIND(hh_watch, e->watched, &id, sizeof id, other);
    if (!other) { /* else it was moved, and stands in two lanes: one of them will do */
        lane->watched = id;
        HASH_ADD(hh_watch, e->watched, watched, sizeof lane->watched, lane);
    }
}

static void
unwatch(struct er_engine *e, struct er_lane_live *lane)
{
    if (lane->watched) {
        HASH_DELETE(hh_watch, e->watched, lane);
        lane->watched = 0;
    }
}

static void
unpark(struct er_engine *e, struct er_lane_live *lane)
{
    struct er_gate_group *g = lane->waits;
    group_out(g);
    er_heap_remove(&g->lanes, &lane->node);
    group_in(g);
    lane->waits = NULL;
    unwatch(e, lane);
}

/* ---- envoys ---- */

static void
list_envoy(struct er_gate *g)
{
    struct er_lane_live *lane = g->envoy;
    if (lane && g->n_groups > 1 && !lane->listed) {
        TAILQ_INSERT_TAIL(&lane->bay->envoys, lane, in_envoys);
        lane->listed = true;
    }
}

/* The lane speaks for no gate any more. Returns the one that it spoke for. */
static struct er_gate *
dismiss(struct er_lane_live *lane)
{
    struct er_gate *g = lane->envoy_of;
    if (g) {
        g->envoy = NULL;
        lane->envoy_of = NULL;
    }
    if (lane->listed) {
        TAILQ_REMOVE(&lane->bay->envoys, lane, in_envoys);
        lane->listed = false;
    }
    return g;
}

/* Where tokens are held for that lane things are different now. */
static void
look_at_holds(struct er_engine *e, struct er_lane_live *lane)
{
    struct er_limit_live *limits[] = {&lane->queue->limit, lane->key};
    for (size_t i = 0; i < 2; i++) {
        if (limits[i] && limits[i]->tokens.hold == lane) {
            look(e, &limits[i]->tokens);
        }
    }
}

static void
send_envoy(struct er_engine *e, struct er_gate *g, struct er_lane_live *lane)
{
    if (g->envoy) {
        (void)dismiss(g->envoy); /* it stays where it is, as any lane */
    }
    unpark(e, lane);
    g->envoy = lane;
    lane->envoy_of = g;
    list_envoy(g);
    er_lanes_enter(e, lane);
    look_at_holds(e, lane);
}

/* ---- tolls: gates that open with time ---- */

static void
wait_for_tokens(struct er_engine *e, struct er_limit_live *l, int64_t cost, er_usec at)
{
    for (size_t i = 0; i < l->n_rates; i++) {
        er_usec one = er_bucket_opens_at(&l->buckets[i], &l->rates[i],
                                         er_bucket_need(&l->rates[i], cost));
        at = one > at ? one : at;
    }
    if (at == ER_NEVER) {
        return;
    }
    l->opens_at = at;
    must_push(&e->tolls, &l->toll);
    if (er_heap_get(&e->tolls) == &l->toll) {
        er_schedule_rearm(e);
    }
}

er_usec
er_gates_due_at(struct er_engine *e)
{
    struct er_heap_node *node = er_heap_get(&e->tolls);
    if (!node) {
        return ER_NEVER;
    }
    er_usec at = ER_CONTAINER(node, struct er_limit_live, toll)->opens_at;
    if (at != e->toll_at) { /* not each time: the alarm would be set anew for nothing */
        er_usec left = at - er_clock_boot(e->options.clock);
        er_usec wall = er_clock_wall(e->options.clock);
        e->toll_at = at;
        e->toll_wall = left < ER_NEVER - wall ? wall + left : ER_NEVER;
    }
    return e->toll_wall;
}

void
er_gates_tick(struct er_engine *e)
{
    er_usec now = er_clock_boot(e->options.clock);
    struct er_heap_node *node;
    e->toll_at = ER_NEVER;
    while ((node = er_heap_get(&e->tolls)) != NULL) {
        struct er_limit_live *l = ER_CONTAINER(node, struct er_limit_live, toll);
        if (l->opens_at > now) {
            break;
        }
        look(e, &l->tokens);
    }
}

/* ---- the one rule ---- */

/* Whether the gate's envoy stands for that lane, too. */
static bool
covers(const struct er_lane_live *envoy, const struct er_lane_live *lane)
{
    return envoy && (envoy->bay->open || envoy->bay == lane->bay) &&
           er_lanes_less(&envoy->node, &lane->node);
}

static bool
admits(struct er_engine *e, struct er_gate *g, const struct er_lane_live *first)
{
    struct er_limit_live *l = g->limit;
    if (!g->tokens) {
        return has_permit(l);
    }
    int64_t cost = er_lanes_head(first)->cost;
    bool enough = has_tokens(l, cost);
    er_usec until = enough ? held_until(l, first) : 0;
    if (enough && until == 0) {
        return true;
    }
    /* behind the one that it is held for, whose gate opens at `until` */
    wait_for_tokens(e, l, cost, until > 0 ? until + 1 : 0);
    return false;
}

/* What the buckets must be able to hold. */
static void
want(struct er_engine *e, struct er_gate *g, const struct er_lane_live *first)
{
    struct er_limit_live *l = g->limit;
    const struct er_lane_live *hold = g->hold, *lanes[] = {first, g->envoy, NULL};
    fill(e, l);
    if (hold && ((hold->waits && hold->waits->gate->tokens) ||
                 (hold->envoy_of && hold->envoy_of->tokens))) {
        lanes[2] = hold;
    }
    l->wanted = 0;
    for (size_t i = 0; i < 3; i++) {
        if (lanes[i] && er_lanes_head(lanes[i])->cost > l->wanted) {
            l->wanted = er_lanes_head(lanes[i])->cost;
        }
    }
}

/* Makes the invariant true for that gate. */
static void
look(struct er_engine *e, struct er_gate *g)
{
    struct er_lane_live *first = first_in_line(g);
    if (g->tokens) {
        er_heap_remove(&e->tolls, &g->limit->toll);
        want(e, g, first);
    }
    if (first && !covers(g->envoy, first) && admits(e, g, first)) {
        send_envoy(e, g, first);
    }
}

/* ---- waiting ---- */

static struct er_gate_group *
group_of(struct er_engine *e, struct er_gate *gate, struct er_bay *bay)
{
    struct {
        struct er_gate *gate;
        struct er_bay *bay;
    } key = {gate, bay};
    struct er_gate_group *g;
    HASH_FIND(hh, e->groups, &key, sizeof key, g);
    if (!g) {
        g = er_xzalloc(sizeof *g);
        g->gate = gate;
        g->bay = bay;
        er_heap_init(&g->lanes, er_lanes_less);
        HASH_ADD(hh, e->groups, gate, sizeof key, g);
        gate->n_groups++;
        list_envoy(gate);
        for (size_t i = 0; gate->n_groups == 2 && i < gate->groups.n; i++) {
            list_saver(ER_CONTAINER(gate->groups.nodes[i], struct er_gate_group, node));
        }
    }
    return g;
}

static void
set_hold(struct er_gate *g, struct er_lane_live *lane)
{
    if (g->hold) {
        TAILQ_REMOVE(&g->hold->bay->holds, g, in_holds);
    }
    g->hold = lane;
    if (lane) {
        TAILQ_INSERT_TAIL(&lane->bay->holds, g, in_holds);
    }
}

/* A lane that had enough tokens at one gate waits for those of another. */
static void
keep_hold(struct er_gate *from, struct er_gate *to, struct er_lane_live *lane)
{
    if (to->hold == lane) {
        set_hold(to, NULL);
    }
    if (from && from != to && from->tokens &&
        (!from->hold || er_lanes_less(&lane->node, &from->hold->node))) {
        set_hold(from, lane);
    }
}

static void
drop_holds(struct er_lane_live *lane)
{
    struct er_limit_live *limits[] = {&lane->queue->limit, lane->key};
    for (size_t i = 0; i < 2; i++) {
        if (limits[i] && limits[i]->tokens.hold == lane) {
            set_hold(&limits[i]->tokens, NULL);
        }
    }
}

void
er_gates_park(struct er_engine *e, struct er_lane_live *lane, struct er_gate *gate)
{
    struct er_gate_group *g = group_of(e, gate, lane->bay);
    struct er_gate *spoke_for = dismiss(lane);
    group_out(g);
    must_push(&g->lanes, &lane->node);
    group_in(g);
    lane->waits = g;
    if (gate->tokens) {
        watch(e, lane);
        keep_hold(spoke_for, gate, lane);
    }
    if (spoke_for && spoke_for != gate) {
        look(e, spoke_for);
    }
    look(e, gate);
}

void
er_gates_head_changed(struct er_engine *e, struct er_lane_live *lane)
{
    struct er_gate *gate = lane->waits->gate;
    unpark(e, lane);
    if (lane->n > 0) {
        er_gates_park(e, lane, gate);
    } else {
        look(e, gate);
    }
    look_at_holds(e, lane);
}

void
er_gates_bay_opened(struct er_engine *e, struct er_bay *bay)
{
    struct er_gate_group *g;
    while ((g = TAILQ_FIRST(&bay->aside)) != NULL) {
        TAILQ_REMOVE(&bay->aside, g, in_bay);
        g->aside = false;
        must_push(&g->gate->groups, &g->node);
        list_saver(g);
        look(e, g->gate);
    }
}

struct gate_list {
    struct er_gate **gates;
    size_t n, size;
};

static void
note_gate(struct gate_list *all, struct er_gate *g)
{
    if (all->n == all->size) {
        all->size = all->size ? 2 * all->size : 16;
        all->gates = er_xrealloc_array(all->gates, all->size, sizeof(struct er_gate *));
    }
    all->gates[all->n++] = g;
}

/* Whom the bay's envoys kept back may go now, and others may have what its lanes saved up
 * for, here or at another gate. All is gathered first: a look at one gate changes
 * others. */
void
er_gates_bay_closed(struct er_engine *e, struct er_bay *bay)
{
    struct gate_list all = {0};
    struct er_lane_live *lane;
    struct er_gate_group *g;
    struct er_gate *gate;
    TAILQ_FOREACH (lane, &bay->envoys, in_envoys) {
        note_gate(&all, lane->envoy_of);
    }
    TAILQ_FOREACH (g, &bay->savers, in_savers) {
        if (er_heap_get(&g->gate->groups) == &g->node) {
            note_gate(&all, g->gate); /* first in line no more */
        }
    }
    TAILQ_FOREACH (gate, &bay->holds, in_holds) {
        note_gate(&all, gate);
    }
    for (size_t i = 0; i < all.n; i++) {
        look(e, all.gates[i]);
    }
    er_free(all.gates);
}

void
er_gates_move(struct er_engine *e, struct er_lane_live *lane, struct er_bay *bay)
{
    struct er_gate *waited_at = lane->waits ? lane->waits->gate : NULL;
    struct er_gate *spoke_for = dismiss(lane);
    struct er_limit_live *limits[] = {&lane->queue->limit, lane->key};
    if (waited_at) {
        unpark(e, lane);
        look(e, waited_at);
    }
    if (spoke_for) {
        look(e, spoke_for);
    }
    look_at_holds(e, lane);
    for (size_t i = 0; i < 2; i++) {
        struct er_gate *g = limits[i] ? &limits[i]->tokens : NULL;
        if (g && g->hold == lane) {
            TAILQ_REMOVE(&lane->bay->holds, g, in_holds);
            TAILQ_INSERT_TAIL(&bay->holds, g, in_holds);
        }
    }
    lane->bay = bay;
}

void
er_gates_forget_bay(struct er_engine *e, struct er_bay *bay)
{
    struct er_gate_group *g, *next;
    HASH_ITER (hh, e->groups, g, next) {
        if (g->bay == bay) {
            ER_ASSERT(g->lanes.n == 0 && !g->aside);
            HASH_DEL(e->groups, g);
            g->gate->n_groups--;
            er_heap_fini(&g->lanes);
            er_free(g);
        }
    }
}

/* ---- permits and tokens ---- */

/* Looks at all gates that the lane passes where somebody waits. */
static void
look_at_all(struct er_engine *e, struct er_lane_live *lane)
{
    struct er_limit_live *limits[] = {&lane->queue->limit, lane->type, lane->key};
    for (size_t i = 0; i < 3; i++) {
        if (limits[i] && limits[i]->permits.groups.n > 0) {
            look(e, &limits[i]->permits);
        }
        if (limits[i] && (limits[i]->tokens.groups.n > 0 || limits[i]->wanted)) {
            look(e, &limits[i]->tokens);
        }
    }
}

void
er_gates_dismiss(struct er_engine *e, struct er_lane_live *lane)
{
    (void)dismiss(lane);
    drop_holds(lane);
    look_at_all(e, lane);
}

static void
take_tokens(struct er_engine *e, struct er_limit_live *l, int64_t cost)
{
    fill(e, l);
    for (size_t i = 0; i < l->n_rates; i++) {
        er_bucket_take(&l->buckets[i], &l->rates[i], er_bucket_need(&l->rates[i], cost));
    }
}

static void
give_tokens(struct er_engine *e, struct er_limit_live *l, int64_t cost)
{
    fill(e, l);
    for (size_t i = 0; i < l->n_rates; i++) {
        er_bucket_give(&l->buckets[i], &l->rates[i], er_bucket_need(&l->rates[i], cost),
                       er_bucket_need(&l->rates[i], l->wanted));
    }
}

static void
count(struct er_lane_live *lane, int by)
{
    lane->queue->limit.running += by;
    lane->type->running += by;
    if (lane->key) {
        lane->key->running += by;
    }
    ER_ASSERT(lane->queue->limit.running >= 0 && lane->type->running >= 0);
}

void
er_gates_take(struct er_engine *e, struct er_lane_live *lane, int64_t cost)
{
    (void)dismiss(lane);
    drop_holds(lane);
    count(lane, 1);
    take_tokens(e, &lane->queue->limit, cost);
    if (lane->key) {
        take_tokens(e, lane->key, cost);
    }
    look_at_all(e, lane);
}

/* At most n, less what is taken. */
static int
left(const struct er_limit_live *l, int n)
{
    int permits = l->concurrency - l->running;
    permits = permits < 0 ? 0 : permits;
    if (l->n_rates > 0) {
        return 0;
    }
    return l->concurrency == 0 || permits > n ? n : permits;
}

int
er_gates_permits_left(const struct er_lane_live *lane)
{
    int n = left(&lane->queue->limit, INT_MAX);
    n = left(lane->type, n);
    return lane->key ? left(lane->key, n) : n;
}

void
er_gates_retake(struct er_engine *e, struct er_lane_live *lane)
{
    (void)e;
    count(lane, 1);
}

void
er_gates_release(struct er_engine *e, struct er_lane_live *lane)
{
    count(lane, -1);
    look_at_all(e, lane);
}

void
er_gates_refund(struct er_engine *e, struct er_lane_live *lane, int64_t cost)
{
    give_tokens(e, &lane->queue->limit, cost);
    if (lane->key) {
        give_tokens(e, lane->key, cost);
    }
    look_at_all(e, lane);
}

/* ---- settings ---- */

/* The bucket of such a rate as it is, empty when there is none. */
static struct er_bucket
bucket_of(struct er_engine *e, const struct er_limit_live *l, const struct er_rate *r)
{
    struct er_bucket b;
    for (size_t i = 0; i < l->n_rates; i++) {
        const struct er_rate *old = &l->rates[i];
        if (old->n == r->n && old->per_for == r->per_for && old->starts == r->starts) {
            return l->buckets[i];
        }
    }
    er_bucket_init(&b, er_clock_boot(e->options.clock));
    return b;
}

void
er_gates_set(struct er_engine *e, struct er_limit_live *l, int concurrency,
             const struct er_rate *rates, size_t n)
{
    struct er_bucket buckets[ER_MAX_RATES];
    ER_ASSERT(n <= ER_MAX_RATES);
    fill(e, l);
    for (size_t i = 0; i < n; i++) {
        buckets[i] = bucket_of(e, l, &rates[i]);
    }
    l->concurrency = concurrency;
    l->n_rates = n;
    for (size_t i = 0; i < n; i++) {
        l->rates[i] = rates[i];
        l->buckets[i] = buckets[i];
    }
    look(e, &l->permits);
    look(e, &l->tokens);
}
