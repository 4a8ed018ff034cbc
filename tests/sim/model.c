/* SPDX-License-Identifier: MIT */
#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct model model;

const char *
queue_name(int q)
{
    static const char *const names[N_QUEUES] = {"default", "q1", "q2", "q3", "q4"};
    return names[q];
}

const char *
type_name(int t)
{
    static const char *const names[N_TYPES] = {"shell", "t1", "t2"};
    return names[t];
}

const char *
key_name(int k)
{
    static const char *const names[N_KEYS] = {NULL, "k1", "k2", "k3"};
    return names[k];
}

/* ---- looking ---- */

struct mtask *
m_find(er_task_id id)
{
    for (int i = model.now.n - 1; i >= 0; i--) {
        if (model.tasks[i].id == id) {
            return &model.tasks[i];
        }
    }
    return NULL;
}

struct mtask *
m_there(er_task_id id)
{
    struct mtask *t = m_find(id);
    return t && !t->removed ? t : NULL;
}

bool
m_waits(const struct mtask *t)
{
    return !t->removed && !er_task_state_is_final(t->state) && t->session == 0;
}

bool
m_in_line(const struct mtask *t)
{
    return m_waits(t) && t->state != ER_TASK_PAUSED;
}

bool
m_claimable(const struct mtask *t)
{
    return !t->removed && t->state == ER_TASK_QUEUED && !t->held;
}

int
m_has(int64_t session)
{
    int n = 0;
    for (int i = 0; i < model.now.n; i++) {
        n += !model.tasks[i].removed && model.tasks[i].session == session;
    }
    return n;
}

int
m_count(unsigned bits)
{
    int n = 0;
    for (; bits; bits >>= 1) {
        n += (int)(bits & 1);
    }
    return n;
}

struct mgate *
m_gate_put(int g, int concurrency, const struct er_rate *rates, size_t n)
{
    struct mgate *gate = &model.now.gates[g];
    bool paused = gate->paused;
    *gate = (struct mgate){.exists = true, .concurrency = concurrency, .paused = paused};
    for (size_t i = 0; i < n; i++) {
        gate->rates[i] = rates[i];
    }
    gate->n_rates = n;
    return gate;
}

void
m_spans_unknown(void)
{
    for (int i = 0; i < model.now.n; i++) {
        model.tasks[i].due_boot = -1;
    }
}

int64_t
m_waiting_in(int queue)
{
    int64_t n = 0;
    for (int i = 0; i < model.now.n; i++) {
        n += m_in_line(&model.tasks[i]) && model.tasks[i].queue == queue;
    }
    return n;
}

bool
m_open_in(int queue)
{
    for (int i = 0; i < model.now.n; i++) {
        const struct mtask *t = &model.tasks[i];
        if (!t->removed && t->queue == queue && !er_task_state_is_final(t->state)) {
            return true;
        }
    }
    return false;
}

bool
m_session_open(int64_t id)
{
    for (int i = 0; i < model.now.n_sessions; i++) {
        if (model.now.sessions[i].id == id) {
            return model.now.sessions[i].open;
        }
    }
    return false;
}

const struct mlane *
m_lane(int64_t id)
{
    for (int i = 0; i < model.n_lanes; i++) {
        if (model.lanes[i].id == id) {
            return &model.lanes[i];
        }
    }
    return NULL;
}

int64_t
m_rank(er_usec now, int priority)
{
    return now - priority * MIN;
}

/* ---- transactions ---- */

void
m_begin(void)
{
    if (model.in_tx) {
        sim_fail("a transaction begins inside another one");
    }
    model.in_tx = true;
    model.before = model.now;
    model.n_undo = model.n_expect = 0;
}

struct mtask *
m_touch(struct mtask *t)
{
    int place = (int)(t - model.tasks);
    for (int i = 0; i < model.n_undo; i++) {
        if (model.undo[i].place == place) {
            return t;
        }
    }
    if (model.n_undo == MAX_UNDO) {
        sim_fail("more than %d tasks in one transaction", MAX_UNDO);
    }
    model.undo[model.n_undo].place = place;
    model.undo[model.n_undo++].was = *t;
    return t;
}

void
m_forget_maybe(void)
{
    for (int i = 0; i < model.n_maybe; i++) {
        er_free(model.maybe[i].is);
    }
    model.n_maybe = 0;
}

static void
keep_maybe(void)
{
    if (model.n_maybe == MAX_MAYBE) { /* the oldest goes: it was written over since */
        er_free(model.maybe[0].is);
        memmove(model.maybe, model.maybe + 1, (MAX_MAYBE - 1) * sizeof model.maybe[0]);
        model.n_maybe--;
    }
    struct mmaybe *m = &model.maybe[model.n_maybe++];
    m->small = model.now;
    m->n = 0;
    int grown = model.now.n > model.before.n ? model.now.n - model.before.n : 0;
    m->is = er_xrealloc_array(NULL, (size_t)(model.n_undo + grown) + 1, sizeof *m->is);
    for (int i = 0; i < model.n_undo; i++) {
        int place = model.undo[i].place;
        if (place < model.before.n) {
            m->is[m->n++] = (struct mundo){place, model.tasks[place]};
        }
    }
    for (int place = model.before.n; place < model.now.n; place++) {
        m->is[m->n++] = (struct mundo){place, model.tasks[place]};
    }
}

void
m_rollback(bool may_be_there)
{
    if (may_be_there) {
        model.now.last_seq += model.n_expect;
        keep_maybe();
    }
    for (int i = model.n_undo - 1; i >= 0; i--) {
        model.tasks[model.undo[i].place] = model.undo[i].was;
    }
    model.now = model.before;
    model.in_tx = false;
}

void
m_commit(void)
{
    model.in_tx = false;
    if (model.n_expect > 0) { /* else nothing may have been written over it */
        m_forget_maybe();
    }
}

/* Swaps what is with what may be. */
static void
swap_maybe(struct mmaybe *m)
{
    struct msmall small = model.now;
    model.now = m->small;
    m->small = small;
    for (int k = 0; k < m->n; k++) {
        struct mtask was = model.tasks[m->is[k].place];
        model.tasks[m->is[k].place] = m->is[k].was;
        m->is[k].was = was;
    }
}

void
m_take_maybe(int i)
{
    swap_maybe(&model.maybe[i]);
}

void
m_leave_maybe(int i)
{
    swap_maybe(&model.maybe[i]);
}

void
m_compact(void)
{
    int n = 0;
    if (model.in_tx || model.n_maybe > 0) {
        return; /* places must not change */
    }
    for (int i = 0; i < model.now.n; i++) {
        if (!model.tasks[i].forgotten) {
            if (i != n) {
                model.tasks[n] = model.tasks[i];
            }
            n++;
        }
    }
    model.now.n = n;
}

void
m_expect(enum er_event event, er_task_id task)
{
    if (model.n_expect == MAX_EXPECT) {
        sim_fail("more than %d facts in one transaction", MAX_EXPECT);
    }
    model.expect[model.n_expect++] = (struct mexpect){event, task, false};
}

/* ---- what follows from an end ---- */

static void
release(struct mtask *t, er_usec now)
{
    bool later = t->run_at != ER_NEVER && t->run_at > now;
    t->state = later ? ER_TASK_SCHEDULED : ER_TASK_QUEUED;
    m_expect(later ? ER_EVENT_TASK_SCHEDULED : ER_EVENT_TASK_QUEUED, t->id);
}

static bool
waits_for_something(const struct mtask *t)
{
    for (int i = 0; i < t->n_after; i++) {
        if (!t->after[i].settled) {
            return true;
        }
    }
    return false;
}

/* `ok` wants completed, `any` any end, `fail` failed. */
static bool
is_met(enum er_after_when when, enum er_task_state state)
{
    return when == ER_AFTER_ANY || (when == ER_AFTER_OK && state == ER_TASK_COMPLETED) ||
           (when == ER_AFTER_FAIL && state == ER_TASK_FAILED);
}

static void
tell_dependent(struct mtask *t, er_task_id ended, enum er_task_state state, er_usec now)
{
    bool possible = true, asked = false;
    for (int i = 0; i < t->n_after; i++) {
        if (t->after[i].id == ended && !t->after[i].settled) {
            m_touch(t)->after[i].settled = true;
            asked = true;
            possible = possible && is_met(t->after[i].when, state);
        }
    }
    if (!asked || t->removed || t->state != ER_TASK_BLOCKED) {
        return;
    }
    if (!possible) {
        m_end(t, ER_TASK_CANCELLED, now);
    } else if (!waits_for_something(t)) {
        release(t, now);
    }
}

void
m_end(struct mtask *t, enum er_task_state state, er_usec now)
{
    m_touch(t);
    t->state = state;
    t->held = t->cancel = t->promised = t->back = t->stop = false;
    t->session = 0;
    t->resumes_at = ER_NEVER;
    t->finished_at = now;
    t->finals++;
    m_expect(state == ER_TASK_COMPLETED ? ER_EVENT_TASK_COMPLETED
             : state == ER_TASK_FAILED  ? ER_EVENT_TASK_FAILED
                                        : ER_EVENT_TASK_CANCELLED,
             t->id);
    if (t->finals != 1) {
        sim_fail("G2: run %d of task %lld has ended %d times", t->run, (long long)t->id,
                 t->finals);
    }
    for (int i = 0; i < model.now.n; i++) {
        tell_dependent(&model.tasks[i], t->id, state, now);
    }
}

/* ---- the verbs ---- */

void
m_new(struct mtask *t, er_usec now)
{
    bool possible = true;
    for (int i = 0; i < t->n_after; i++) {
        const struct mtask *on = m_find(t->after[i].id);
        if (!on || on->forgotten) { /* it has ended, nobody knows how */
            t->after[i].settled = true;
        } else if (er_task_state_is_final(on->state)) {
            t->after[i].settled = true;
            possible = possible && is_met(t->after[i].when, on->state);
        }
    }
    if (!possible) {
        m_expect(ER_EVENT_TASK_BLOCKED, t->id);
        t->held = false;
        m_end(t, ER_TASK_CANCELLED, now);
        return;
    }
    if (waits_for_something(t)) {
        t->state = ER_TASK_BLOCKED;
        m_expect(ER_EVENT_TASK_BLOCKED, t->id);
    } else {
        release(t, now);
    }
    if (t->held) {
        m_expect(ER_EVENT_TASK_PAUSED, t->id);
    }
}

int
m_claim(er_task_id id, int64_t session, int64_t lane, int64_t rank)
{
    struct mtask *t = m_there(id);
    const struct mlane *l = m_lane(lane);
    if (!m_session_open(session)) {
        return ER_ELOST;
    }
    if (!t || !m_claimable(t) || t->rank != rank || !l || l->queue != t->queue ||
        l->type != t->type || l->key != t->key) {
        return ER_ESTATE;
    }
    m_touch(t);
    t->state = ER_TASK_RUNNING;
    t->attempt++;
    t->session = session;
    t->run_at = ER_NEVER;
    m_expect(ER_EVENT_TASK_STARTED, id);
    return 0;
}

int
m_cancel(er_task_id id, er_usec now)
{
    struct mtask *t = m_there(id);
    if (!t) {
        return ER_ENOTFOUND;
    }
    if (er_task_state_is_final(t->state)) {
        return ER_ESTATE;
    }
    if (t->session != 0) {
        m_touch(t)->cancel = true;
        t->promised = false;
    } else {
        m_end(t, ER_TASK_CANCELLED, now);
    }
    return 0;
}

/* Of what runs or is paused in place: what was acknowledged is not forgotten. */
static int
hold_open(struct mtask *t, bool held)
{
    if (held ? t->cancel : !t->held && !t->stop && t->state != ER_TASK_PAUSED) {
        return ER_ESTATE;
    }
    m_touch(t)->held = held;
    t->stop = held && (t->stop || !t->back);
    return 0;
}

int
m_ask(er_task_id id, unsigned unless, unsigned clear, unsigned set)
{
    struct mtask *t = m_there(id);
    if (!t) {
        return ER_ENOTFOUND;
    }
    if (t->session == 0 || (t->cancel && unless & ER_ASKED_CANCEL) ||
        (t->back && unless & ER_ASKED_REQUEUE)) {
        return ER_ESTATE;
    }
    m_touch(t);
    t->back = t->back || set & ER_ASKED_REQUEUE;
    t->stop = (t->stop && !(clear & ER_ASKED_PAUSE)) || set & ER_ASKED_PAUSE;
    t->held = (t->held && !(clear & ER_ASKED_HOLD)) || set & ER_ASKED_HOLD;
    return 0;
}

int
m_hold(er_task_id id, bool held)
{
    struct mtask *t = m_there(id);
    if (!t) {
        return ER_ENOTFOUND;
    }
    if (t->session != 0) {
        return hold_open(t, held);
    }
    if (!m_waits(t)) {
        return ER_ESTATE;
    }
    if (t->held == held && (held || t->state != ER_TASK_PAUSED)) {
        return 0;
    }
    m_touch(t)->held = held;
    t->to_hold = false;
    if (t->state == ER_TASK_PAUSED && !held) {
        t->state = ER_TASK_QUEUED;
        t->resumes_at = ER_NEVER;
    }
    m_expect(held ? ER_EVENT_TASK_PAUSED : ER_EVENT_TASK_RESUMED, id);
    return 0;
}

int
m_retry(er_task_id id, er_usec now)
{
    struct mtask *t = m_there(id);
    if (!t) {
        return ER_ENOTFOUND;
    }
    if (!er_task_state_is_final(t->state)) {
        return ER_ESTATE;
    }
    m_touch(t);
    if (t->state == ER_TASK_COMPLETED) {
        t->items_done = 0;
        t->checkpoint = 0;
    }
    t->items_failed = 0;
    t->run++;
    t->finals = t->failures = t->losses = 0;
    t->state = ER_TASK_QUEUED;
    t->held = false;
    t->run_at = t->expires_at = t->resumes_at = ER_NEVER;
    t->rank = m_rank(now, t->priority);
    for (int i = 0; i < t->n_after; i++) {
        t->after[i].settled = true;
    }
    m_expect(ER_EVENT_TASK_QUEUED, id);
    return 0;
}

int
m_remove(er_task_id id, er_usec now)
{
    struct mtask *t = m_there(id);
    if (!t) {
        return ER_ENOTFOUND;
    }
    if (!er_task_state_is_final(t->state)) {
        return ER_ESTATE;
    }
    m_touch(t);
    t->removed = true;
    t->removed_at = now;
    m_expect(ER_EVENT_TASK_REMOVED, id);
    return 0;
}

/* The one that has waited beyond its bound the longest; NULL = none. */
static struct mtask *
first_expired(er_usec now)
{
    struct mtask *first = NULL;
    for (int i = 0; i < model.now.n; i++) {
        struct mtask *t = &model.tasks[i];
        if (m_waits(t) && t->attempt == 0 && t->expires_at <= now &&
            (!first || t->expires_at < first->expires_at)) {
            first = t;
        }
    }
    return first;
}

void
m_due(er_usec now)
{
    struct mtask *t;
    while ((t = first_expired(now)) != NULL) {
        m_end(t, ER_TASK_FAILED, now);
    }
    for (int i = 0; i < model.now.n; i++) {
        t = &model.tasks[i];
        if (!t->removed && t->state == ER_TASK_SCHEDULED && t->run_at <= now) {
            m_touch(t)->state = ER_TASK_QUEUED;
            m_expect(ER_EVENT_TASK_QUEUED, t->id);
            if (t->due_boot >= 0 && sim.boot < t->due_boot - 2 * SEC) {
                sim_fail("task %lld goes on %.3f s too early, clocks that were set apart",
                         (long long)t->id, (double)(t->due_boot - sim.boot) / 1e6);
            }
        } else if (m_waits(t) && t->state == ER_TASK_PAUSED && t->resumes_at <= now) {
            m_touch(t)->state = ER_TASK_QUEUED;
            t->resumes_at = ER_NEVER;
            m_expect(ER_EVENT_TASK_RESUMED, t->id);
        }
    }
}

/* Spans that are being waited for move with the clock; moments that were named stay. */
void
m_shift(er_usec by)
{
    for (int i = 0; i < model.now.n; i++) {
        struct mtask *t = &model.tasks[i];
        bool delayed = t->state == ER_TASK_SCHEDULED || t->state == ER_TASK_BLOCKED;
        if (t->removed || er_task_state_is_final(t->state)) {
            continue;
        }
        m_touch(t);
        if (delayed && !t->run_at_fixed && t->run_at != ER_NEVER) {
            t->run_at += by;
        }
        if (t->resumes_at != ER_NEVER) {
            t->resumes_at += by;
        }
        if (t->expires_at != ER_NEVER && (t->attempt == 0 || t->session != 0)) {
            t->expires_at += by;
        }
    }
}
