/* SPDX-License-Identifier: MIT */
/* What holds tasks back: permits of queues, types and limit keys, rates of queues and
 * keys, and the lack of a session that serves their type. The gates alone, against a
 * model that looks at every task each time. */
#include "engine_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"

/* ---- against the model ---- */

#define QUEUES 5
#define TYPES  4
#define KEYS   7 /* the first one is none */
#define LANES  (QUEUES * TYPES * KEYS)
#define TASKS  400
#define CREW   4 /* sessions; the first one executes processes, which t0 and t1 are */

struct m_task {
    struct er_ready ready; /* id 0 = a free place */
    bool running;
    bool may; /* permits and tokens are there */
};
struct m_limit {
    int concurrency, running;
    bool paused;
    struct er_rate rates[ER_MAX_RATES];
    struct er_bucket buckets[ER_MAX_RATES];
    size_t n_rates;
};
static uint64_t first_seed; /* of the next model; 0 = its number */

struct model {
    struct er_engine e;
    struct er_clock clock;
    er_usec wall, boot;
    uint64_t seed;
    bool strict; /* all costs are 1, and no task needs tokens of two limits */
    bool queue_rates, key_rates;
    bool crew; /* there are sessions: */
    struct er_session_live *sessions[CREW];
    bool serves[CREW][TYPES];
    struct er_link link;
    er_task_id last_id;
    struct m_task tasks[TASKS];
    struct m_limit queues[QUEUES], types[TYPES], keys[KEYS];
    size_t taken;
};

static er_usec
m_wall(void *ctx)
{
    return ((struct model *)ctx)->wall;
}

static er_usec
m_boot(void *ctx)
{
    return ((struct model *)ctx)->boot;
}

static size_t
any(struct model *m, size_t n)
{
    return (size_t)(er_rand_next(&m->seed) % n);
}

static void
name_of(char out[16], const char *what, size_t i)
{
    (void)snprintf(out, 16, "%s%zu", what, i);
}

/* A type that is executed by processes. */
static void
m_process(struct model *m, const char *name)
{
    const char *command[] = {"true"};
    struct er_type t;
    er_type_init(&t, name);
    t.command = command;
    t.n_command = 1;
    er_engine_type_changed(&m->e, &t);
}

static void
m_start(struct model *m)
{
    struct er_err err = {""};
    static uint64_t models;
    const char *given = getenv("TEST_SEED");
    models++;
    m->seed = given ? strtoull(given, NULL, 10) : first_seed ? first_seed : models;
    print_message("# seed %llu\n", (unsigned long long)m->seed);
    m->wall = 1000000 * SEC;
    m->boot = SEC;
    m->clock = (struct er_clock){m_wall, m_boot, m_boot, m};
    m->e.options.clock = &m->clock;
    assert_int_equal(er_loop_new(&m->e.options.loop, &err), 0);
    m->e.next_due = ER_NEVER;
    m->e.stopping = true; /* there is no store to look anything up in */
    er_lanes_init(&m->e);
    for (size_t i = 0; i < (m->crew ? 2 : TYPES); i++) {
        char name[16];
        name_of(name, "t", i);
        m_process(m, name);
    }
    for (size_t i = 0; i < LANES; i++) {
        char queue[16], type[16], key[16];
        name_of(queue, "q", i % QUEUES);
        name_of(type, "t", i / QUEUES % TYPES);
        name_of(key, "k", i / QUEUES / TYPES);
        struct er_lane lane = {(int64_t)i + 1, queue, type,
                               i / QUEUES / TYPES == 0 ? "" : key};
        (void)er_lanes_add(&m->e, &lane);
    }
}

static void
m_end(struct model *m)
{
    for (size_t i = 0; m->crew && i < CREW; i++) {
        er_dispatch_remove(&m->e, m->sessions[i]);
    }
    er_lanes_fini(&m->e);
    er_limits_fini(&m->e);
    er_loop_free(m->e.options.loop);
    free(m);
}

/* The limits of a task's lane: queue, type, and key or NULL. */
static void
m_limits(struct model *m, const struct er_ready *r, struct m_limit *out[3])
{
    size_t i = (size_t)r->lane - 1, key = i / QUEUES / TYPES;
    out[0] = &m->queues[i % QUEUES];
    out[1] = &m->types[i / QUEUES % TYPES];
    out[2] = key ? &m->keys[key] : NULL;
}

/* Whether a session has room for a task. */
static bool
m_has_room(const struct model *m, const struct m_task *t)
{
    size_t type = ((size_t)t->ready.lane - 1) / QUEUES % TYPES;
    bool found = !m->crew;
    for (size_t i = 0; m->crew && i < CREW; i++) {
        const struct er_session_live *s = m->sessions[i];
        found = found || (s->link && s->slots > 0 && m->serves[i][type]);
    }
    return found;
}

static bool
m_permits(struct model *m, const struct m_task *t)
{
    struct m_limit *l[3];
    if (!m_has_room(m, t)) {
        return false;
    }
    m_limits(m, &t->ready, l);
    for (size_t i = 0; i < 3; i++) {
        if (l[i] && (l[i]->paused ||
                     (l[i]->concurrency > 0 && l[i]->running >= l[i]->concurrency))) {
            return false;
        }
    }
    return true;
}

/* The same by the engine's own buckets: how much they hold for a cost above the burst
 * depends on who is first in line, which the model does not know. */
static er_usec
m_opens_at_live(struct model *m, const struct m_task *t)
{
    struct er_lane_live *lane = er_lanes_find(&m->e, t->ready.lane);
    struct er_limit_live *l[] = {&lane->queue->limit, lane->key};
    er_usec at = m->boot;
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; l[i] && k < l[i]->n_rates; k++) {
            struct er_bucket b = l[i]->buckets[k];
            const struct er_rate *r = &l[i]->rates[k];
            er_bucket_fill(&b, r, er_bucket_need(r, l[i]->wanted), m->boot);
            er_usec one = er_bucket_opens_at(&b, r, er_bucket_need(r, t->ready.cost));
            at = one > at ? one : at;
        }
    }
    return at;
}

/* When all its buckets have enough, if nobody else takes any. */
static er_usec
m_opens_at(struct model *m, const struct m_task *t)
{
    struct m_limit *l[3];
    er_usec at = m->boot;
    if (!m->strict) {
        return m_opens_at_live(m, t);
    }
    m_limits(m, &t->ready, l);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; l[i] && k < l[i]->n_rates; k++) {
            struct er_bucket b = l[i]->buckets[k];
            int64_t need = er_bucket_need(&l[i]->rates[k], t->ready.cost);
            er_bucket_fill(&b, &l[i]->rates[k], need, m->boot);
            er_usec one = er_bucket_opens_at(&b, &l[i]->rates[k], need);
            at = one > at ? one : at;
        }
    }
    return at;
}

static bool
m_before(const struct m_task *a, const struct m_task *b)
{
    return a->ready.rank != b->ready.rank ? a->ready.rank < b->ready.rank
                                          : a->ready.id < b->ready.id;
}

static bool
m_share_rates(struct model *m, const struct m_task *a, const struct m_task *b)
{
    struct m_limit *of_a[3], *of_b[3];
    m_limits(m, &a->ready, of_a);
    m_limits(m, &b->ready, of_b);
    return (of_a[0] == of_b[0] && of_a[0]->n_rates > 0) ||
           (of_a[2] && of_a[2] == of_b[2] && of_a[2]->n_rates > 0);
}

/* Its cost is above a burst: the bucket holds as much only while it is first in line. */
static bool
m_above_burst(struct model *m, const struct m_task *t)
{
    struct m_limit *l[3];
    m_limits(m, &t->ready, l);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; l[i] && k < l[i]->n_rates; k++) {
            if (er_bucket_need(&l[i]->rates[k], t->ready.cost) > l[i]->rates[k].burst) {
                return true;
            }
        }
    }
    return false;
}

/* A task that could run, but whose turn it need not be: a better one is first in line for
 * tokens of the same limit, or gets into it, or has tokens held there. */
static bool
m_stands_back(struct model *m, const struct m_task *t)
{
    if (m_above_burst(m, t)) {
        return true;
    }
    for (size_t i = 0; i < TASKS; i++) {
        const struct m_task *other = &m->tasks[i];
        if (other->ready.id == 0 || other->running || !m_before(other, t) ||
            !m_share_rates(m, other, t)) {
            continue;
        }
        const struct er_gate_group *waits =
            er_lanes_find(&m->e, other->ready.lane)->waits;
        if ((waits && m_has_room(m, other) && waits->gate->tokens) ||
            (m_permits(m, other) && (!other->may || m_above_burst(m, other)))) {
            return true;
        }
    }
    return false;
}

/* Looks at all tasks. The first that could run now; NULL = none. */
static struct m_task *
m_choose(struct model *m)
{
    struct m_task *best = NULL;
    for (size_t i = 0; i < TASKS; i++) {
        struct m_task *t = &m->tasks[i];
        t->may =
            t->ready.id && !t->running && m_permits(m, t) && m_opens_at(m, t) <= m->boot;
        if (t->may && (!best || m_before(t, best))) {
            best = t;
        }
    }
    return best;
}

/* All that could run when m_choose looked and were not taken, but worse ones (NULL: none
 * were), stand back for a reason. By now they wait in line, if it is one for tokens. */
static void
m_check_line(struct model *m, const struct m_task *taken)
{
    for (size_t i = 0; i < TASKS; i++) {
        const struct m_task *t = &m->tasks[i];
        if (t->may && !t->running && (!taken || m_before(t, taken)) &&
            (m->strict || !m_stands_back(m, t))) {
            fail_msg("task %lld is left waiting, %lld was taken", (long long)t->ready.id,
                     taken ? (long long)taken->ready.id : 0LL);
        }
    }
}

/* Counts a start, or the end of one (by -1); `tokens`: takes them, gives them back. */
static void
m_count(struct model *m, const struct m_task *t, int by, bool tokens)
{
    struct m_limit *l[3];
    m_limits(m, &t->ready, l);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; tokens && m->strict && l[i] && k < l[i]->n_rates; k++) {
            const struct er_rate *r = &l[i]->rates[k];
            int64_t need = er_bucket_need(r, t->ready.cost);
            er_bucket_fill(&l[i]->buckets[k], r, by > 0 ? need : 0, m->boot);
            if (by > 0) {
                er_bucket_take(&l[i]->buckets[k], r, need);
            } else {
                er_bucket_give(&l[i]->buckets[k], r, need, 0);
            }
        }
        if (l[i]) {
            l[i]->running += by;
        }
    }
}

static struct m_task *
m_find(struct model *m, er_task_id id)
{
    for (size_t i = 0; i < TASKS; i++) {
        if (m->tasks[i].ready.id == id) {
            return &m->tasks[i];
        }
    }
    fail_msg("task %lld is not there", (long long)id);
    return &m->tasks[0];
}

static void
m_add(struct model *m, int64_t most_cost)
{
    for (size_t i = 0; i < TASKS; i++) {
        struct m_task *t = &m->tasks[i];
        if (t->ready.id == 0) {
            t->running = false;
            t->ready = (struct er_ready){.id = ++m->last_id,
                                         .lane = (int64_t)any(m, LANES) + 1,
                                         .rank = (int64_t)any(m, 1000),
                                         .cost = 1 + (int64_t)any(m, (size_t)most_cost)};
            er_lanes_ready(&m->e, &t->ready);
            return;
        }
    }
}

static void
m_release(struct model *m)
{
    struct m_task *t = &m->tasks[any(m, TASKS)];
    if (t->ready.id == 0 || !t->running) {
        return;
    }
    bool refund = any(m, 4) == 0;
    struct er_lane_live *lane = er_lanes_find(&m->e, t->ready.lane);
    m_count(m, t, -1, refund);
    er_lanes_release(&m->e, lane);
    if (refund) {
        er_lanes_refund(&m->e, lane, t->ready.cost);
    }
    if (refund && any(m, 2)) { /* it stands where it stood */
        t->running = false;
        er_lanes_ready(&m->e, &t->ready);
    } else {
        t->ready.id = 0;
    }
}

/* New settings for one of the limits. */
static void
m_set(struct model *m)
{
    struct m_limit l = {0};
    char name[16];
    size_t which = any(m, 3), i;
    bool rates = which == 0 ? m->queue_rates : which == 2 && m->key_rates;
    l.concurrency = any(m, 3) == 0 ? 0 : 1 + (int)any(m, 6);
    while (rates && l.n_rates < ER_MAX_RATES && any(m, 2)) {
        struct er_rate *r = &l.rates[l.n_rates];
        *r = (struct er_rate){.n = 1 + (int64_t)any(m, 5),
                              .per_for = (er_usec)(1 + any(m, 3)) * 100000,
                              .burst = 1,
                              .starts = any(m, 4) == 0};
        r->burst = 1 + (int64_t)any(m, (size_t)r->n);
        er_bucket_init(&l.buckets[l.n_rates++], m->boot);
    }
    struct m_limit *to;
    if (which == 0) {
        i = any(m, QUEUES);
        l.paused = any(m, 3) == 0;
        to = &m->queues[i];
    } else if (which == 1) {
        i = any(m, TYPES);
        to = &m->types[i];
    } else {
        i = 1 + any(m, KEYS - 1);
        to = &m->keys[i];
    }
    for (size_t k = 0; k < l.n_rates; k++) { /* what was there keeps what it holds */
        for (size_t o = to->n_rates; o-- > 0;) {
            const struct er_rate *r = &l.rates[k], *old = &to->rates[o];
            if (r->n == old->n && r->per_for == old->per_for &&
                r->starts == old->starts) {
                er_bucket_fill(&to->buckets[o], old, 0, m->boot);
                l.buckets[k] = to->buckets[o];
            }
        }
    }
    l.running = to->running;
    *to = l;
    name_of(name, which == 0 ? "q" : which == 1 ? "t" : "k", i);
    if (which == 0) {
        struct er_queue q = {.name = name,
                             .concurrency = l.concurrency,
                             .paused = l.paused,
                             .n_rates = l.n_rates};
        memcpy(q.rates, l.rates, sizeof q.rates);
        er_engine_queue_changed(&m->e, &q);
    } else if (which == 1) {
        er_gates_set(&m->e, er_gates_limit(&m->e, ER_GATE_TYPE, name), l.concurrency,
                     NULL, 0);
    } else {
        struct er_limit k = {
            .key = name, .concurrency = l.concurrency, .n_rates = l.n_rates};
        memcpy(k.rates, l.rates, sizeof k.rates);
        er_engine_limit_changed(&m->e, &k);
    }
}

/* Nothing more can be taken now: then the alarm is set for the moment that something can,
 * at the latest, and not at all where nobody waits for tokens. */
static void
m_check_alarm(struct model *m)
{
    er_usec at = ER_NEVER;
    bool rated = false;
    for (size_t i = 0; i < TASKS; i++) {
        struct m_task *t = &m->tasks[i];
        struct m_limit *l[3];
        if (t->ready.id && !t->running) {
            m_limits(m, &t->ready, l);
            rated = rated || l[0]->n_rates > 0 || (l[2] && l[2]->n_rates > 0);
            if (m_permits(m, t)) {
                er_usec one = m_opens_at(m, t);
                at = one < at ? one : at;
            }
        }
    }
    er_usec due = er_gates_due_at(&m->e);
    assert_true(at == ER_NEVER || due <= m->wall + (at - m->boot));
    assert_true(rated || due == ER_NEVER);
    assert_true(due == ER_NEVER || due > m->wall);
}

/* ---- sessions ---- */

/* A session of handlers serves some types. */
static void
m_types(struct model *m, size_t i, unsigned mask)
{
    char names[TYPES][16];
    const char *list[TYPES];
    size_t n = 0;
    for (size_t t = 0; t < TYPES; t++) {
        m->serves[i][t] = mask >> t & 1;
        if (m->serves[i][t]) {
            name_of(names[n], "t", t);
            list[n] = names[n];
            n++;
        }
    }
    er_engine_set_types(&m->e, m->sessions[i]->id, list, n);
}

static void
m_hire(struct model *m)
{
    for (size_t i = 0; i < CREW; i++) {
        struct er_session s = {
            .id = (int64_t)i + 1, .worker = i == 0 ? "w1" : "h1", .token = "", .pid = 1};
        m->sessions[i] = er_dispatch_add(&m->e, &s);
        m->sessions[i]->slots = 1;
        m->sessions[i]->link = &m->link;
        m->serves[i][0] = m->serves[i][1] = i == 0;
        if (i > 0) {
            m_types(m, i, 0xf);
        }
    }
    er_pools_update(&m->e);
}

/* Something about a session changes. */
static void
m_change_crew(struct model *m)
{
    size_t i = any(m, CREW), what = any(m, 8);
    struct er_session_live *s = m->sessions[i];
    if (what == 0) {
        s->link = s->link ? NULL : &m->link;
        er_pools_update(&m->e);
    } else if (what == 1 && i > 0) {
        m_types(m, i, (unsigned)any(m, 16));
    } else {
        s->slots = (int)any(m, 2);
    }
}

/* All that waits is served. */
static void
m_whole_crew(struct model *m)
{
    for (size_t i = 0; i < CREW; i++) {
        m->sessions[i]->link = &m->link;
        m->sessions[i]->slots = 1;
    }
    m_types(m, 1, 0xc);
    er_pools_update(&m->e);
}

/* Takes all that may run now, at most n, and compares with the model. */
static void
m_take(struct model *m, size_t n)
{
    er_gates_tick(&m->e);
    while (n-- > 0) {
        struct er_ready got;
        struct er_lane_live *lane;
        struct m_task *want = m_choose(m);
        if ((m->crew && !er_pools_look(&m->e)) || !er_lanes_take(&m->e, &got, &lane)) {
            m_check_line(m, NULL);
            if (m->strict) {
                m_check_alarm(m);
            }
            return;
        }
        struct m_task *t = m_find(m, got.id);
        if (t->running || !t->may || (m->strict && t != want)) {
            fail_msg("task %lld was taken instead of %lld", (long long)got.id,
                     want ? (long long)want->ready.id : 0LL);
        }
        assert_true(!m->crew || er_dispatch_pick(&m->e, lane->type->pool));
        m_check_line(m, t);
        m_count(m, t, 1, true);
        t->running = true;
        m->taken++;
    }
}

static void
m_step(struct model *m, int64_t most_cost)
{
    size_t what = any(m, 40);
    if (m->crew && any(m, 4) == 0) {
        m_change_crew(m);
    } else if (what < 14) {
        m_add(m, most_cost);
    } else if (what < 26) {
        for (int i = 0; i < 6; i++) {
            m_release(m);
        }
    } else if (what < 36) {
        m_take(m, any(m, 3) ? 1 : TASKS);
    } else if (what < 39) {
        er_usec span = (er_usec)any(m, 3 * 50000);
        m->boot += span;
        m->wall += span;
        if (any(m, 8) == 0) { /* somebody sets the clock, and the loop says so */
            m->wall += (er_usec)any(m, 100 * (size_t)SEC) - 50 * SEC;
            er_gates_tick(&m->e);
        }
    } else {
        m_set(m);
    }
}

/* All that runs ends; how many did. */
static size_t
m_end_all(struct model *m)
{
    size_t n = 0;
    for (size_t i = 0; i < TASKS; i++) {
        struct m_task *t = &m->tasks[i];
        if (t->ready.id && t->running) {
            m_count(m, t, -1, false);
            er_lanes_release(&m->e, er_lanes_find(&m->e, t->ready.lane));
            t->ready.id = 0;
            n++;
        }
    }
    return n;
}

/* Whatever waits in a queue that is not paused runs, by ends and the alarm alone. */
static void
m_drain(struct model *m)
{
    size_t left, rounds = 0;
    do {
        left = 0;
        assert_true(rounds++ < 10000);
        m_take(m, TASKS);
        for (size_t i = 0; i < TASKS; i++) {
            const struct m_task *t = &m->tasks[i];
            left += t->ready.id && !m->queues[(t->ready.lane - 1) % QUEUES].paused;
        }
        if (m_end_all(m) == 0 && left > 0) {
            er_usec due = er_gates_due_at(&m->e);
            assert_true(due != ER_NEVER && due > m->wall);
            m->boot += due - m->wall;
            m->wall = due;
        }
    } while (left > 0);
}

static void
against_model(bool crew, bool queue_rates, bool key_rates, int64_t most_cost, int steps)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->queue_rates = queue_rates;
    m->key_rates = key_rates;
    m->strict = most_cost == 1 && !(queue_rates && key_rates);
    m->crew = crew;
    m_start(m);
    if (crew) {
        m_hire(m);
    }
    for (int i = 0; i < steps; i++) {
        m_step(m, most_cost);
    }
    if (crew) {
        m_whole_crew(m);
    }
    m_drain(m);
    assert_true(m->taken > (size_t)steps / (crew ? 200 : 20)); /* few have room */
    m_end(m);
}

static void
permits__choose_the_same_task_as_a_look_at_all(void **state)
{
    (void)state;
    against_model(false, false, false, 1, 60000);
}

static void
rates__choose_the_same_task_as_a_look_at_all(void **state)
{
    (void)state;
    against_model(false, true, false, 1, 40000);
    against_model(false, false, true, 1, 40000);
}

static void
rates_and_costs__let_nobody_be_overtaken_but_in_line(void **state)
{
    (void)state;
    against_model(false, true, true, 1, 30000);
    against_model(false, true, false, 7, 30000);
    against_model(false, true, true, 7, 30000);
}

static void
sessions__choose_the_same_task_as_a_look_at_all(void **state)
{
    (void)state;
    against_model(true, false, false, 1, 40000);
    against_model(true, true, false, 1, 20000);
    against_model(true, false, true, 1, 20000);
}

static void
sessions__without_room_keep_nobody_else_from_tokens(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        int64_t most_cost;
    } once[] = {
        /* tokens were held for one that waits elsewhere, and whose session has no room */
        {UINT64_C(14605926655006228497), 1},
        /* ... and that had been set aside there, or was not the first in line there */
        {UINT64_C(17849210641713185807), 1},
        {UINT64_C(11158928815671599644), 1},
        /* a look at the gate of one envoy of a bay took another one from the list of
         * those */
        {UINT64_C(670051831538552066), 7},
        {UINT64_C(10520748926062250168), 7},
    };
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++) {
        first_seed = once[i].seed;
        against_model(true, true, true, once[i].most_cost, 20000);
    }
    first_seed = 0;
    against_model(true, true, true, 1, 20000);
    against_model(true, true, true, 7, 20000);
}

static void
m_put(struct model *m, size_t queue, size_t key, int64_t rank, int64_t cost)
{
    struct er_ready r = {.id = ++m->last_id,
                         .lane = (int64_t)(queue + QUEUES * TYPES * key) + 1,
                         .rank = rank,
                         .cost = cost};
    er_lanes_ready(&m->e, &r);
}

static void
m_rate(struct model *m, const char *queue, const char *key, const char *rate)
{
    struct er_rate r;
    assert_int_equal(er_rate_parse(rate, &r, NULL), 0);
    if (queue) {
        er_engine_queue_changed(
            &m->e, &(struct er_queue){.name = queue, .n_rates = 1, .rates = {r}});
    } else {
        er_engine_limit_changed(
            &m->e, &(struct er_limit){.key = key, .n_rates = 1, .rates = {r}});
    }
}

/* How long until that task is taken, others being taken as they come. */
static er_usec
m_wait_for(struct model *m, er_task_id id, er_usec most)
{
    er_usec began = m->boot;
    struct er_ready got = {0};
    struct er_lane_live *lane;
    while (got.id != id) {
        er_gates_tick(&m->e);
        while (got.id != id && er_lanes_take(&m->e, &got, &lane)) {
            er_lanes_release(&m->e, lane);
        }
        if (got.id != id) {
            er_usec due = er_gates_due_at(&m->e);
            assert_true(due != ER_NEVER && due > m->wall);
            m->boot += due - m->wall;
            m->wall = due;
            assert_true(m->boot - began <= most);
        }
    }
    return m->boot - began;
}

/* Its queue and its key each have a token a second, never at the same moment, and each
 * has takers that need nothing else. */
static void
tokens_of_two_limits__come_together_in_the_end(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m_start(m);
    m_rate(m, "q0", NULL, "1/1s");
    m->boot += SEC / 2;
    m->wall += SEC / 2;
    m_rate(m, NULL, "k1", "1/1s");
    m_put(m, 0, 1, 0, 1);
    er_task_id id = m->last_id;
    for (int64_t i = 1; i <= 100; i++) {
        m_put(m, 0, 0, i, 1);
        m_put(m, 1, 1, i, 1);
    }
    (void)m_wait_for(m, id, 3 * SEC);
    m_end(m);
}

static void
cost_above_both_bursts__is_saved_up_for(void **state)
{
    (void)state;
    for (int others = 0; others < 2; others++) {
        struct model *m = calloc(1, sizeof *m);
        assert_non_null(m);
        m_start(m);
        m_rate(m, "q0", NULL, "10/1s:burst=2");
        m_rate(m, NULL, "k1", "7/1s:burst=3");
        m_put(m, 0, 1, 0, 30);
        er_task_id id = m->last_id;
        for (int64_t i = 1; others && i <= 100; i++) {
            m_put(m, 0, 0, i, 1);
            m_put(m, 1, 1, i, 1);
        }
        er_usec took = m_wait_for(m, id, 10 * SEC);
        assert_true(took >= 30 * SEC / 7);
        m_end(m);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permits__choose_the_same_task_as_a_look_at_all),
        cmocka_unit_test(rates__choose_the_same_task_as_a_look_at_all),
        cmocka_unit_test(rates_and_costs__let_nobody_be_overtaken_but_in_line),
        cmocka_unit_test(sessions__choose_the_same_task_as_a_look_at_all),
        cmocka_unit_test(sessions__without_room_keep_nobody_else_from_tokens),
        cmocka_unit_test(tokens_of_two_limits__come_together_in_the_end),
        cmocka_unit_test(cost_above_both_bursts__is_saved_up_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
