/* SPDX-License-Identifier: MIT */
/* What the engine has been told of queues, types and limit keys, and whether it keeps to
 * it. The engine decides in memory and may be told meanwhile: until the next crossing it
 * may still act by what it knew before, so the looser of both holds. Of rates every start
 * is written down, and every span that ends with the latest is looked at. */
#include <string.h>

#include "check.h"

#define STARTS 400 /* kept of one gate */

struct start {
    er_usec at; /* boot: when the engine took it from its lane */
    int64_t cost;
    er_task_id id;
};
struct gate {
    int concurrency, loose_concurrency; /* 0 = no limit */
    bool paused, loose_paused;          /* loose: only when it was so all the time */
    struct er_rate rates[ER_MAX_RATES];
    size_t n_rates;
    er_usec since;       /* boot: these rates hold */
    er_usec refunded_at; /* boot: tokens were given back; the cap then cuts less */
    struct start starts[STARTS];
    int n;
};
static struct gate gates[N_GATES];
static bool all_paused, loose_all_paused;
static er_usec opened_at; /* boot */
static er_usec last_news; /* boot: something became true */

/* Claims of this transaction, and when the engine took what: not yet true. */
static struct {
    er_task_id id;
    er_usec at;
} taken[MAX_MODEL];
static int n_taken;
static er_task_id begun[MAX_MODEL];
static int n_begun;

static const char *
gate_name(int g)
{
    return g < N_QUEUES             ? queue_name(g)
           : g < N_QUEUES + N_TYPES ? type_name(g - N_QUEUES)
                                    : key_name(g - N_QUEUES - N_TYPES);
}

/* The gates of a task: its queue, its type, its key when it has one. */
static int
gates_of(const struct mtask *t, int out[3])
{
    out[0] = gate_queue(t->queue);
    out[1] = gate_type(t->type);
    out[2] = gate_key(t->key);
    return t->key ? 3 : 2;
}

static bool
is_at(const struct mtask *t, int g)
{
    return g == gate_queue(t->queue) || g == gate_type(t->type) ||
           (t->key && g == gate_key(t->key));
}

/* ---- what it is told ---- */

void
limits_begin(void)
{
    memset(gates, 0, sizeof gates);
    n_taken = n_begun = 0;
    all_paused = loose_all_paused = false;
}

void
limits_opened(void)
{
    for (int g = 0; g < N_GATES; g++) {
        const struct mgate *m = &model.now.gates[g];
        gates[g].concurrency = gates[g].loose_concurrency = m->concurrency;
        gates[g].paused = gates[g].loose_paused = m->paused;
        if (gates[g].n_rates != m->n_rates ||
            memcmp(gates[g].rates, m->rates, sizeof m->rates) != 0) {
            limits_told_rates(g, m->rates, m->n_rates);
        }
    }
    all_paused = loose_all_paused = model.now.all_paused;
    opened_at = sim.boot;
    n_taken = 0;
}

void
limits_told(int g, int concurrency, bool paused)
{
    struct gate *t = &gates[g];
    t->concurrency = concurrency;
    t->paused = paused;
    if (concurrency == 0 ||
        (t->loose_concurrency && concurrency > t->loose_concurrency)) {
        t->loose_concurrency = concurrency;
    }
    t->loose_paused = t->loose_paused && paused;
}

void
limits_told_rates(int g, const struct er_rate *rates, size_t n)
{
    memset(gates[g].rates, 0, sizeof gates[g].rates);
    memcpy(gates[g].rates, rates, n * sizeof *rates);
    gates[g].n_rates = n;
    gates[g].since = sim.boot;
    gates[g].n = 0;
}

void
limits_told_all_paused(bool paused)
{
    all_paused = paused;
    loose_all_paused = loose_all_paused && paused;
}

void
limits_crossed(void)
{
    for (int g = 0; g < N_GATES; g++) {
        gates[g].loose_concurrency = gates[g].concurrency;
        gates[g].loose_paused = gates[g].paused;
    }
    loose_all_paused = all_paused;
}

/* ---- starts ---- */

bool __real_er_lanes_take(struct er_engine *e, struct er_ready *out,
                          struct er_lane_live **out_lane);
bool __wrap_er_lanes_take(struct er_engine *e, struct er_ready *out,
                          struct er_lane_live **out_lane);
bool
__wrap_er_lanes_take(struct er_engine *e, struct er_ready *out,
                     struct er_lane_live **out_lane)
{
    bool got = __real_er_lanes_take(e, out, out_lane);
    if (got) {
        if (n_taken == MAX_MODEL) { /* old ones, of claims that were refused */
            n_taken = 0;
        }
        taken[n_taken].id = out->id;
        taken[n_taken++].at = sim.boot;
    }
    return got;
}

static er_usec
taken_at(er_task_id id)
{
    for (int i = n_taken - 1; i >= 0; i--) {
        if (taken[i].id == id) {
            er_usec at = taken[i].at;
            taken[i] = taken[--n_taken];
            return at;
        }
    }
    return sim.boot;
}

static double
cost_at(const struct er_rate *r, int64_t cost)
{
    return r->starts ? 1.0 : (double)cost;
}

/* G8: no span that ends with the latest start has more than the bucket may have let
 * through: what it holds, and what came in meanwhile. */
static void
check_rate(int g, const struct er_rate *r)
{
    const struct gate *t = &gates[g];
    double sum = 0, most = (double)r->burst;
    if (!r->starts && most < USERS_MAX_COST) { /* saved up for one that costs so much */
        most = USERS_MAX_COST;
    }
    er_usec end = t->starts[t->n - 1].at;
    most += t->refunded_at > 0 && end - t->refunded_at <= r->per_for ? 1.0 : 0.0;
    for (int i = t->n - 1; i >= 0; i--) {
        double cost = cost_at(r, t->starts[i].cost);
        er_usec span = end - t->starts[i].at;
        double in = (double)r->n * (double)span / (double)r->per_for;
        sum += cost;
        if (sum > most + in + 0.001) {
            sim_fail("G8: %s lets %.0f through in %.6f s, its rate is %lld in %.3f s, "
                     "burst %lld",
                     gate_name(g), sum, (double)span / 1e6, (long long)r->n,
                     (double)r->per_for / 1e6, (long long)r->burst);
        }
    }
}

static void
write_start(int g, const struct mtask *t, er_usec at)
{
    struct gate *gate = &gates[g];
    if (gate->n_rates == 0 || at <= gate->since) {
        return;
    }
    if (gate->n == STARTS) {
        gate->n -= STARTS / 2;
        memmove(gate->starts, gate->starts + STARTS / 2,
                (size_t)gate->n * sizeof gate->starts[0]);
    }
    gate->starts[gate->n++] = (struct start){at, t->cost, t->id};
    for (size_t i = 0; i < gate->n_rates; i++) {
        check_rate(g, &gate->rates[i]);
    }
}

void
limits_claimed(er_task_id id)
{
    begun[n_begun++] = id;
}

void
limits_committed(void)
{
    last_news = sim.boot;
    for (int i = 0; i < n_begun; i++) {
        const struct mtask *t = m_find(begun[i]);
        int at[3], n = gates_of(t, at);
        er_usec when = taken_at(t->id);
        for (int k = 0; k < n; k++) {
            write_start(at[k], t, when);
        }
    }
    n_begun = 0;
}

void
limits_rolled_back(void)
{
    n_begun = 0;
}

/* Its tokens are given back. */
void
limits_refunded(er_task_id id)
{
    for (int g = 0; g < N_GATES; g++) {
        struct gate *t = &gates[g];
        for (int i = t->n - 1; i >= 0; i--) {
            if (t->starts[i].id == id) {
                memmove(t->starts + i, t->starts + i + 1,
                        (size_t)(t->n - i - 1) * sizeof t->starts[0]);
                t->n--;
                t->refunded_at = sim.boot;
                break;
            }
        }
    }
}

/* ---- how many run ---- */

/* Tasks at a gate that run, without those whose end the worker has told (it may be on its
 * way to the disk yet). */
static int
really_running(int g)
{
    int n = 0;
    for (int i = 0; i < model.now.n; i++) {
        const struct mtask *t = &model.tasks[i];
        n += !t->removed && t->session != 0 && is_at(t, g);
    }
    for (int i = 0; i < sim.n_tries; i++) {
        const struct try *a = &sim.tries[i];
        const struct mtask *t = a->phase == TRY_ENDED ? m_there(a->task) : NULL;
        n -= t && t->session != 0 && is_at(t, g) && t->attempt == a->attempt &&
             t->session == a->session;
    }
    return n;
}

void
limits_check_claimed(const struct mtask *t)
{
    int at[3], n = gates_of(t, at);
    for (int k = 0; k < n; k++) {
        const struct gate *g = &gates[at[k]];
        if (g->loose_concurrency > 0 && really_running(at[k]) > g->loose_concurrency) {
            sim_fail("G8: %s runs %d of at most %d tasks", gate_name(at[k]),
                     really_running(at[k]), g->loose_concurrency);
        }
        if (g->loose_paused) {
            sim_fail("task %lld is started though %s is paused", (long long)t->id,
                     gate_name(at[k]));
        }
    }
    if (loose_all_paused) {
        sim_fail("task %lld is started though everything is paused", (long long)t->id);
    }
}

/* ---- who could run ---- */

static struct {
    int running;
    int64_t cost; /* the greatest of those that wait and may run */
    bool open;
} now_at[N_GATES];

/* Whether the bucket may still have to fill for what waits there. */
static bool
may_be_dry(int g)
{
    const struct gate *t = &gates[g];
    er_usec last = t->since > opened_at ? t->since : opened_at, need = 0;
    for (size_t i = 0; i < t->n_rates; i++) {
        er_usec one = t->rates[i].per_for / t->rates[i].n + 1;
        er_usec two =
            2 * one * now_at[g].cost; /* its own, and what another one saves up */
        need = two > need ? two : need;
        if (2 * now_at[g].cost > t->rates[i].burst && last_news > last) {
            last = last_news; /* it saves up from when those wait that cost so much */
        }
    }
    if (t->n > 0 && t->starts[t->n - 1].at > last) {
        last = t->starts[t->n - 1].at;
    }
    return t->n_rates > 0 && sim.boot - last <= need + SEC;
}

void
limits_survey(void)
{
    memset(now_at, 0, sizeof now_at);
    for (int i = 0; i < model.now.n; i++) {
        const struct mtask *t = &model.tasks[i];
        int at[3], n = gates_of(t, at);
        bool claimable = m_claimable(t);
        for (int k = 0; k < n && !t->removed; k++) {
            now_at[at[k]].running += t->session != 0;
            if (claimable && t->cost > now_at[at[k]].cost) {
                now_at[at[k]].cost = t->cost;
            }
        }
    }
    for (int g = 0; g < N_GATES; g++) {
        int most = gates[g].concurrency;
        now_at[g].open = !gates[g].paused && !all_paused && !may_be_dry(g) &&
                         (most == 0 || now_at[g].running < most);
    }
}

bool
limits_admit(const struct mtask *t)
{
    int at[3], n = gates_of(t, at);
    for (int k = 0; k < n; k++) {
        if (!now_at[at[k]].open) {
            return false;
        }
    }
    return true;
}
