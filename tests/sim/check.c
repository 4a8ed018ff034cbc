/* SPDX-License-Identifier: MIT */
/* The store's verbs stand here in front of the real ones (ld --wrap): each asks the model
 * what has to come, calls the real one, and compares. Facts are compared at the commit. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "../store/fault_vfs.h"
#include "base/mem.h"

struct told told[N_QUEUES];

#define NEVER_KNOWN INT64_MAX

/* What is not the store's: the engine's knowledge of tasks, by place in a small table. */
struct knows {
    er_task_id id;
    int64_t since; /* crossings that had run when the engine heard that it may run */
};
static struct knows knows[MAX_MODEL];
static int n_knows;

struct asked { /* a requeue that was acknowledged in this life of the daemon */
    er_task_id id;
    int attempt;
    bool hold;
};
static struct asked asked[256];
static int n_asked;
static int64_t closed[64]; /* sessions closed in this transaction */
static int n_closed;
static er_usec jumped_at = -1; /* mono: the wall clock was set */

/* ---- small things ---- */

static struct knows *
find_knows(er_task_id id)
{
    for (int i = 0; i < n_knows; i++) {
        if (knows[i].id == id) {
            return &knows[i];
        }
    }
    return NULL;
}

static void
set_knows(er_task_id id, int64_t since)
{
    struct knows *k = find_knows(id);
    if (since == NEVER_KNOWN) {
        if (k) {
            *k = knows[--n_knows];
        }
        return;
    }
    if (!k) {
        ER_ASSERT(n_knows < MAX_MODEL);
        k = &knows[n_knows++];
    }
    *k = (struct knows){id, since};
}

void
check_asked_requeue(er_task_id id, int attempt, bool hold)
{
    if (n_asked == 256) {
        memmove(asked, asked + 1, sizeof asked - sizeof asked[0]);
        n_asked--;
    }
    asked[n_asked++] = (struct asked){id, attempt, hold};
}

static const struct asked *
find_asked(er_task_id id, int attempt)
{
    for (int i = n_asked - 1; i >= 0; i--) {
        if (asked[i].id == id && asked[i].attempt == attempt) {
            return &asked[i];
        }
    }
    return NULL;
}

void
check_life_ends(void)
{
    n_asked = n_knows = 0;
}

void
check_clock_was_set(void)
{
    jumped_at = sim.mono;
}

void
check_told_queue(int q, int concurrency, bool paused)
{
    struct told *t = &told[q];
    t->concurrency = concurrency;
    t->paused = paused;
    if (concurrency == 0 ||
        (t->loose_concurrency && concurrency > t->loose_concurrency)) {
        t->loose_concurrency = concurrency;
    }
    t->loose_paused = t->loose_paused && paused;
}

static void
tighten(void)
{
    for (int q = 0; q < N_QUEUES; q++) {
        told[q].loose_concurrency = told[q].concurrency;
        told[q].loose_paused = told[q].paused;
    }
}

static int
index_of(const char *(*name)(int), int n, const char *word)
{
    for (int i = 0; i < n; i++) {
        const char *is = name(i);
        if ((!is && (!word || !*word)) || (is && word && strcmp(is, word) == 0)) {
            return i;
        }
    }
    sim_fail("a name that nobody gave: '%s'", word ? word : "");
}

static void
want(const char *verb, er_task_id id, int is, int should)
{
    if (is != should) {
        sim_fail("%s of task %lld answers %d (%s), it should be %d (%s)", verb,
                 (long long)id, is, is ? er_error_word(is) : "ok", should,
                 should ? er_error_word(should) : "ok");
    }
}

/* ---- transactions ---- */

int __real_er_store_begin(struct er_store *s);
int __wrap_er_store_begin(struct er_store *s);
int
__wrap_er_store_begin(struct er_store *s)
{
    int rc = __real_er_store_begin(s);
    if (rc == 0) {
        sim.n.crossings++;
        m_begin();
        n_closed = 0;
    }
    return rc;
}

/* The facts of one task come in the order in which the model says them. */
static void
match_fact(const struct er_fact *f)
{
    for (int i = 0; i < model.n_expect; i++) {
        struct mexpect *x = &model.expect[i];
        if (!x->seen && x->task == f->task && (f->task != 0 || x->event == f->event)) {
            if (x->event != f->event) {
                sim_fail("G2: task %lld: the fact %s comes where %s should",
                         (long long)f->task, er_event_word(f->event),
                         er_event_word(x->event));
            }
            x->seen = true;
            return;
        }
    }
    sim_fail("a fact that nothing explains: %s of task %lld", er_event_word(f->event),
             (long long)f->task);
}

static void
check_facts(const struct er_effects *fx)
{
    for (size_t i = 0; i < fx->n_facts; i++) {
        const struct er_fact *f = &fx->facts[i];
        if (f->seq != model.now.last_seq + 1) {
            sim_fail("G7: fact %lld comes behind %lld", (long long)f->seq,
                     (long long)model.now.last_seq);
        }
        model.now.last_seq = f->seq;
        match_fact(f);
        sim_note("fact %lld %s %lld/%d", (long long)f->seq, er_event_word(f->event),
                 (long long)f->task, f->attempt);
    }
    for (int i = 0; i < model.n_expect; i++) {
        if (!model.expect[i].seen) {
            sim_fail("G2: the fact %s of task %lld is missing",
                     er_event_word(model.expect[i].event),
                     (long long)model.expect[i].task);
        }
    }
}

static void
learn_lanes(const struct er_lane *lanes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!m_lane(lanes[i].id)) {
            ER_ASSERT((size_t)model.n_lanes < sizeof model.lanes / sizeof *model.lanes);
            model.lanes[model.n_lanes++] = (struct mlane){
                lanes[i].id, index_of(queue_name, N_QUEUES, lanes[i].queue),
                index_of(type_name, N_TYPES, lanes[i].type),
                index_of(key_name, N_KEYS, lanes[i].limit_key)};
        }
    }
}

static void
forget_closed(void)
{
    for (int c = 0; c < n_closed; c++) {
        for (int i = 0; i < sim.n_tries; i++) {
            struct try *t = &sim.tries[i];
            if (t->phase != TRY_FREE && t->session == closed[c]) {
                if (t->tree) {
                    sim_fail("G3: session %lld is closed and task %lld still runs",
                             (long long)closed[c], (long long)t->task);
                }
                try_free(t);
            }
        }
    }
}

int __real_er_store_commit(struct er_store *s, struct er_effects *out);
int __wrap_er_store_commit(struct er_store *s, struct er_effects *out);
int
__wrap_er_store_commit(struct er_store *s, struct er_effects *out)
{
    int rc = __real_er_store_commit(s, out);
    tighten();
    if (rc) {
        sim.n.failed_crossings++;
        sim_note("commit fails: %s", er_error_word(rc));
        m_rollback(true);
        return rc;
    }
    check_facts(out);
    learn_lanes(out->lanes, out->n_lanes);
    m_commit();
    forget_closed();
    return 0;
}

void __real_er_store_rollback(struct er_store *s);
void __wrap_er_store_rollback(struct er_store *s);
void
__wrap_er_store_rollback(struct er_store *s)
{
    __real_er_store_rollback(s);
    tighten();
    sim.n.failed_crossings++;
    sim_note("rollback");
    m_rollback(false);
}

/* ---- submit ---- */

static uint64_t
key_number(const char *key)
{
    return key ? strtoull(key + 1, NULL, 10) : 0;
}

static struct mtask *
find_key(uint64_t key)
{
    for (int i = model.now.n - 1; i >= 0 && key; i--) {
        if ((uint64_t)model.tasks[i].name_key == key && !model.tasks[i].forgotten) {
            return &model.tasks[i];
        }
    }
    return NULL;
}

static er_task_id
after_id(const struct er_new_task *rows, const struct er_new_after *a)
{
    return a->id ? a->id : rows[a->ref].id;
}

static struct mtask *
append(const struct er_new_task *rows, const struct er_new_task *row, er_usec now)
{
    if (model.now.n == MAX_MODEL) {
        sim_fail("more than %d tasks in the model", MAX_MODEL);
    }
    if (row->id <= model.now.last) {
        sim_fail("the number %lld was given before", (long long)row->id);
    }
    model.now.last = row->id;
    struct mtask *t = &model.tasks[model.now.n++];
    *t = (struct mtask){.id = row->id,
                        .run = 1,
                        .held = row->held,
                        .retries = row->retries,
                        .priority = row->priority,
                        .on_lost = row->on_lost,
                        .backoff_for = row->backoff_for,
                        .run_at = row->run_at,
                        .run_at_fixed = row->run_at_fixed,
                        .expires_at = row->expires_at,
                        .resumes_at = ER_NEVER,
                        .created_at = now,
                        .rank = m_rank(now, row->priority),
                        .queue = index_of(queue_name, N_QUEUES, row->queue),
                        .type = index_of(type_name, N_TYPES, row->type),
                        .key = index_of(key_name, N_KEYS, row->limit_key),
                        .name_key = (int)key_number(row->key),
                        .body = row->body_hash,
                        .n_after = (int)row->n_after};
    for (size_t i = 0; i < row->n_after; i++) {
        t->after[i] =
            (struct mafter){after_id(rows, &row->after[i]), row->after[i].when, false};
    }
    return t;
}

/* Whether the rule of a key explains the answer; false: it is a new task. */
static bool
explained_by_key(const struct er_new_task *row)
{
    const struct mtask *t = find_key(key_number(row->key));
    if (!t) {
        return false;
    }
    int should = t->body == row->body_hash ? 0 : ER_EEXISTS;
    want("a repeated key", t->id, row->status, should);
    if (row->id != t->id || row->existing != (should == 0)) {
        sim_fail("the key of task %lld gives task %lld", (long long)t->id,
                 (long long)row->id);
    }
    return true;
}

static bool
names_forgotten(const struct er_new_task *rows, const struct er_new_task *row)
{
    for (size_t i = 0; i < row->n_after; i++) {
        if (row->after[i].id == 0 && rows[row->after[i].ref].status != 0) {
            return true; /* it refers to one that was refused */
        }
        const struct mtask *t = row->after[i].id ? m_find(row->after[i].id) : NULL;
        if (row->after[i].id && (!t || t->forgotten)) {
            return true;
        }
    }
    return false;
}

static void
submitted(const struct er_new_task *rows, size_t n, bool atomic, er_usec now)
{
    int64_t room[N_QUEUES], maybe[N_QUEUES] = {0}; /* taken by rows that do not wait */
    bool any_failed = false;
    for (int q = 0; q < N_QUEUES; q++) {
        const struct mqueue *mq = &model.now.queues[q];
        room[q] = mq->size > 0 ? mq->size - m_waiting_in(q) : INT64_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        any_failed = any_failed || rows[i].status != 0;
    }
    for (size_t i = 0; i < n; i++) {
        const struct er_new_task *row = &rows[i];
        int q = index_of(queue_name, N_QUEUES, row->queue);
        if (row->status == ER_ECANCELLED) {
            if (!atomic || !any_failed) {
                sim_fail("a row of a batch is refused for no neighbour's fault");
            }
            maybe[q]++;
            continue;
        }
        if (explained_by_key(row)) {
            continue;
        }
        if (row->status == ER_EFULL) {
            if (room[q] - maybe[q] > 0) {
                sim_fail(
                    "queue %s is said to be full with room for %lld: row %zu of %zu, "
                    "%lld of %lld wait",
                    row->queue, (long long)room[q], i, n, (long long)row->waiting,
                    (long long)row->queue_size);
            }
            sim.n.refused++;
            continue;
        }
        if (row->status == ER_ENOTFOUND && names_forgotten(rows, row)) {
            maybe[q]++;
            continue;
        }
        want("submit", row->id, row->status, 0);
        if (atomic && any_failed) {
            sim_fail("half of a batch is there");
        }
        struct mtask *t = append(rows, row, now);
        m_new(t, now);
        maybe[q] += !m_in_line(t);
        if (m_in_line(t) && room[q]-- <= 0) {
            sim_fail("G8: queue %s takes more than its size: %lld of %lld wait",
                     row->queue, (long long)m_waiting_in(q),
                     (long long)model.now.queues[q].size);
        }
        sim.n.tasks++;
        if (row->state != t->state || row->rank != t->rank) {
            sim_fail("task %lld begins as %s, it should be %s", (long long)row->id,
                     er_task_state_word(row->state), er_task_state_word(t->state));
        }
    }
}

int __real_er_store_submit(struct er_store *s, er_usec now, struct er_new_task *rows,
                           size_t n, bool atomic);
int __wrap_er_store_submit(struct er_store *s, er_usec now, struct er_new_task *rows,
                           size_t n, bool atomic);
int
__wrap_er_store_submit(struct er_store *s, er_usec now, struct er_new_task *rows,
                       size_t n, bool atomic)
{
    int rc = __real_er_store_submit(s, now, rows, n, atomic);
    if (rc == 0) {
        submitted(rows, n, atomic, now);
    }
    return rc;
}

void
check_submitted(const struct er_new_task *row)
{
    struct mtask *t = m_find(row->id);
    if (!t && row->id > 0 && row->existing) {
        return; /* its tombstone is old */
    }
    if (!t || model.in_tx) {
        sim_fail("G1: a submit is acknowledged, and task %lld is not on disk",
                 (long long)row->id);
    }
    t->acked = true;
}

/* ---- claims ---- */

/* Tasks of a queue that run, without those whose end the worker has told (it may be on its
 * way to the disk yet). */
static int
really_running(int queue)
{
    int n = m_running(queue, -1, -1, 0);
    for (int i = 0; i < sim.n_tries; i++) {
        const struct try *a = &sim.tries[i];
        const struct mtask *t = a->phase == TRY_ENDED ? m_there(a->task) : NULL;
        n -= t && t->queue == queue && t->session != 0 && t->attempt == a->attempt &&
             t->session == a->session;
    }
    return n;
}

/* G8 and order, of a task that has just been given to a session. */
static void
check_claimed(const struct mtask *t)
{
    const struct told *q = &told[t->queue];
    if (q->loose_concurrency > 0 && really_running(t->queue) > q->loose_concurrency) {
        sim_fail("G8: queue %s runs %d of at most %d tasks", queue_name(t->queue),
                 really_running(t->queue), q->loose_concurrency);
    }
    if (q->loose_paused) {
        sim_fail("task %lld is started though queue %s is paused", (long long)t->id,
                 queue_name(t->queue));
    }
    if (world_tree_lives(t->id)) {
        sim_fail("G3: task %lld is given away while an attempt of it runs",
                 (long long)t->id);
    }
    for (int i = 0; i < model.now.n; i++) {
        const struct mtask *u = &model.tasks[i];
        if (m_claimable(u) && u->queue == t->queue && u->type == t->type &&
            u->key == t->key &&
            (u->rank < t->rank || (u->rank == t->rank && u->id < t->id))) {
            const struct knows *k = find_knows(u->id);
            if (k && k->since < sim.n.crossings - 1) {
                sim_fail("task %lld is started before task %lld, which stands before it",
                         (long long)t->id, (long long)u->id);
            }
        }
    }
}

int __real_er_store_claim(struct er_store *s, er_usec now, struct er_claim *rows,
                          size_t n, struct er_arena *arena);
int __wrap_er_store_claim(struct er_store *s, er_usec now, struct er_claim *rows,
                          size_t n, struct er_arena *arena);
int
__wrap_er_store_claim(struct er_store *s, er_usec now, struct er_claim *rows, size_t n,
                      struct er_arena *arena)
{
    int rc = __real_er_store_claim(s, now, rows, n, arena);
    for (size_t i = 0; i < n; i++) {
        set_knows(rows[i].id, NEVER_KNOWN);
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        want("claim", rows[i].id, rows[i].status,
             m_claim(rows[i].id, rows[i].session, rows[i].lane, rows[i].rank));
        if (rows[i].status == 0) {
            struct mtask *t = m_there(rows[i].id);
            sim.n.attempts++;
            if (rows[i].task->attempt != t->attempt || rows[i].task->run != t->run) {
                sim_fail("task %lld is claimed as attempt %d, it should be %d",
                         (long long)t->id, rows[i].task->attempt, t->attempt);
            }
            check_claimed(t);
        }
    }
    return rc;
}

void __real_er_lanes_ready(struct er_engine *e, const struct er_ready *ready);
void __wrap_er_lanes_ready(struct er_engine *e, const struct er_ready *ready);
void
__wrap_er_lanes_ready(struct er_engine *e, const struct er_ready *ready)
{
    set_knows(ready->id, sim.n.crossings);
    __real_er_lanes_ready(e, ready);
}

/* ---- ends ---- */

/* What an attempt's end comes to, by the table in docs/SEMANTICS.md. */
struct verdict {
    const struct mtask *t;
    const struct try *a; /* NULL: no worker ever knew of it */
    const struct er_finish *row;
    const struct asked *asked;
};

static bool
row_is(const struct er_finish *row, enum er_task_state state, int failures, int losses,
       bool refund, bool held)
{
    return row->state == state && row->add_failures == failures &&
           row->add_losses == losses && row->refund == refund && row->held == held;
}

static bool
may_be_cancelled(const struct verdict *v)
{
    return v->t->cancel && v->row->state == ER_TASK_CANCELLED && !v->row->refund &&
           v->row->add_failures == 0;
}

static bool
is_put_back(const struct verdict *v)
{
    bool hold = v->asked && v->asked->hold;
    return row_is(v->row, ER_TASK_QUEUED, 0, 0, false, false) ||
           (hold && row_is(v->row, ER_TASK_QUEUED, 0, 0, false, true));
}

static bool
is_refund(const struct verdict *v)
{
    bool hold = v->asked && v->asked->hold;
    return row_is(v->row, ER_TASK_QUEUED, 0, 0, true, false) ||
           (hold && row_is(v->row, ER_TASK_QUEUED, 0, 0, true, true));
}

static bool
is_loss(const struct verdict *v)
{
    const struct mtask *t = v->t;
    if (v->asked && is_put_back(v)) {
        return true;
    }
    if (t->losses + 1 >= ER_MAX_LOSSES || t->on_lost == ER_ON_LOST_FAIL) {
        return row_is(v->row, ER_TASK_FAILED, 0, 1, false, false);
    }
    return row_is(v->row, ER_TASK_QUEUED, 0, 1, false, t->on_lost == ER_ON_LOST_HOLD);
}

static bool
clock_was_set(void)
{
    return jumped_at >= 0 && sim.mono - jumped_at < 5 * SEC;
}

static bool
in_backoff(const struct verdict *v, er_usec now)
{
    const struct mtask *t = v->t;
    er_usec wait_for = t->backoff_for;
    er_usec cap = 30 * SEC > t->backoff_for ? 30 * SEC : t->backoff_for;
    for (int i = 0; i < t->failures; i++) {
        wait_for = wait_for * 2 > cap ? cap : wait_for * 2;
    }
    if (clock_was_set()) {
        return true; /* told by another clock */
    }
    er_usec from = v->a->told_last < now ? v->a->told_last : now;
    return v->row->run_at >= from + wait_for * 3 / 4 - 1 &&
           v->row->run_at <= now + wait_for * 5 / 4 + 1;
}

static bool
is_failure(const struct verdict *v, bool retryable, er_usec now)
{
    if (!retryable || v->t->failures + 1 > v->t->retries) {
        return row_is(v->row, ER_TASK_FAILED, 1, 0, false, false);
    }
    return row_is(v->row, ER_TASK_SCHEDULED, 1, 0, false, false) && in_backoff(v, now);
}

static bool
is_limited(const struct verdict *v, er_usec now)
{
    er_usec at = v->row->run_at - v->a->retry_after;
    return row_is(v->row, ER_TASK_PAUSED, 0, 0, false, v->row->held) &&
           (clock_was_set() || (at >= v->a->told_last - MS && at <= now + MS));
}

static bool
is_right(const struct verdict *v, er_usec now)
{
    const struct try *a = v->a;
    if (may_be_cancelled(v)) {
        return !a || a->end != END_EXIT || a->code != 0 || !a->exit_frame;
    }
    if (!a || a->phase == TRY_TOLD || a->end == END_UNSPAWNED) {
        return is_refund(v);
    }
    if (!a->exit_frame) {
        return is_loss(v);
    }
    switch (a->end) {
    case END_EXIT:
        return a->code ? is_failure(v, true, now)
                       : row_is(v->row, ER_TASK_COMPLETED, 0, 0, false, false);
    case END_SIGNAL:
    case END_TIMEOUT:
        return is_failure(v, true, now);
    case END_ERROR:
        return is_failure(v, a->code == 0, now);
    case END_NOT_FOUND:
        return is_failure(v, false, now);
    case END_REQUEUE:
        return is_put_back(v);
    case END_LIMITED:
        return is_limited(v, now);
    case END_CANCEL:
    case END_UNSPAWNED:
    case END_NONE:
        break;
    }
    return false;
}

static void
check_verdict(const struct mtask *t, const struct er_finish *row, er_usec now)
{
    struct verdict v = {t, try_find(row->id, row->attempt, row->session), row,
                        find_asked(row->id, row->attempt)};
    if (v.a && v.a->tree) {
        sim_fail("G3: attempt %d of task %lld is ended while it runs", row->attempt,
                 (long long)row->id);
    }
    if (!is_right(&v, now)) {
        sim_fail("attempt %d of task %lld (end %d, code %d, phase %d, exit frame %d, "
                 "cancel %d) comes to %s, +%d failures, +%d losses%s%s; it has %d "
                 "failures of %d, %d losses, on-lost %d; in %.3f s",
                 row->attempt, (long long)row->id, v.a ? (int)v.a->end : -1,
                 v.a ? v.a->code : 0, v.a ? (int)v.a->phase : 0,
                 v.a ? v.a->exit_frame : 0, t->cancel, er_task_state_word(row->state),
                 row->add_failures, row->add_losses, row->refund ? ", refund" : "",
                 row->held ? ", held" : "", t->failures, t->retries, t->losses,
                 (int)t->on_lost,
                 row->run_at == ER_NEVER ? -1.0 : (double)(row->run_at - now) / 1e6);
    }
}

static void
finished(const struct er_finish *row, er_usec now)
{
    struct mtask *t = m_there(row->id);
    bool its =
        t && t->session != 0 && t->attempt == row->attempt && t->session == row->session;
    want("finish", row->id, row->status, its ? 0 : ER_ELOST);
    if (!its) {
        return;
    }
    check_verdict(t, row, now);
    m_touch(t);
    t->attempt -= row->refund;
    t->failures += row->add_failures;
    t->losses += row->add_losses;
    t->session = 0;
    if (er_task_state_is_final(row->state)) {
        sim.n.completed += row->state == ER_TASK_COMPLETED;
        sim.n.failed += row->state == ER_TASK_FAILED;
        sim.n.cancelled += row->state == ER_TASK_CANCELLED;
        m_end(t, row->state, now);
        t->finished_at = row->finished_at != ER_NEVER ? row->finished_at : now;
        return;
    }
    t->promised = t->promised || t->cancel;
    t->cancel = false;
    t->state = row->state;
    t->held = row->held;
    if (row->state == ER_TASK_SCHEDULED) {
        t->run_at = row->run_at;
        t->run_at_fixed = false;
        t->losses = row->add_losses ? t->losses : 0;
        sim.n.retries++;
        m_expect(ER_EVENT_TASK_RETRYING, t->id);
    } else if (row->state == ER_TASK_PAUSED) {
        t->resumes_at = row->run_at;
        m_expect(ER_EVENT_TASK_PAUSED, t->id);
    } else {
        m_expect(row->held ? ER_EVENT_TASK_PAUSED : ER_EVENT_TASK_QUEUED, t->id);
    }
}

int __real_er_store_finish(struct er_store *s, er_usec now, struct er_finish *rows,
                           size_t n);
int __wrap_er_store_finish(struct er_store *s, er_usec now, struct er_finish *rows,
                           size_t n);
int
__wrap_er_store_finish(struct er_store *s, er_usec now, struct er_finish *rows, size_t n)
{
    int rc = __real_er_store_finish(s, now, rows, n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        finished(&rows[i], now);
    }
    return rc;
}

/* ---- changes ---- */

static void
check_before(const struct er_change *row, const struct mtask *was, bool there)
{
    if (there && (row->state != was->state || row->held != was->held)) {
        sim_fail("task %lld is said to be %s%s, it is %s%s", (long long)row->id,
                 er_task_state_word(row->state), row->held ? " (held)" : "",
                 er_task_state_word(was->state), was->held ? " (held)" : "");
    }
}

enum verb { CANCEL, HOLD, RESUME, RETRY, REMOVE };

static void
changed(enum verb verb, const struct er_change *rows, size_t n, er_usec now)
{
    static const char *const words[] = {"cancel", "hold", "resume", "retry", "remove"};
    for (size_t i = 0; i < n; i++) {
        const struct mtask *t = m_there(rows[i].id);
        struct mtask was = {0};
        int should = 0;
        if (t) {
            was = *t;
        }
        switch (verb) {
        case CANCEL:
            should = m_cancel(rows[i].id, now);
            break;
        case HOLD:
        case RESUME:
            should = m_hold(rows[i].id, verb == HOLD);
            break;
        case RETRY:
            should = m_retry(rows[i].id, now);
            break;
        case REMOVE:
            should = m_remove(rows[i].id, now);
            break;
        }
        want(words[verb], rows[i].id, rows[i].status, should);
        check_before(&rows[i], &was, t != NULL);
        sim.n.changes++;
        set_knows(rows[i].id, NEVER_KNOWN);
    }
}

int __real_er_store_cancel(struct er_store *s, er_usec now, struct er_change *rows,
                           size_t n, const char *reason, const char *by);
int __wrap_er_store_cancel(struct er_store *s, er_usec now, struct er_change *rows,
                           size_t n, const char *reason, const char *by);
int
__wrap_er_store_cancel(struct er_store *s, er_usec now, struct er_change *rows, size_t n,
                       const char *reason, const char *by)
{
    int rc = __real_er_store_cancel(s, now, rows, n, reason, by);
    if (rc == 0) {
        changed(CANCEL, rows, n, now);
    }
    return rc;
}

int __real_er_store_hold(struct er_store *s, er_usec now, struct er_change *rows,
                         size_t n, bool held);
int __wrap_er_store_hold(struct er_store *s, er_usec now, struct er_change *rows,
                         size_t n, bool held);
int
__wrap_er_store_hold(struct er_store *s, er_usec now, struct er_change *rows, size_t n,
                     bool held)
{
    int rc = __real_er_store_hold(s, now, rows, n, held);
    if (rc == 0) {
        changed(held ? HOLD : RESUME, rows, n, now);
    }
    return rc;
}

int __real_er_store_retry(struct er_store *s, er_usec now, struct er_change *rows,
                          size_t n);
int __wrap_er_store_retry(struct er_store *s, er_usec now, struct er_change *rows,
                          size_t n);
int
__wrap_er_store_retry(struct er_store *s, er_usec now, struct er_change *rows, size_t n)
{
    int rc = __real_er_store_retry(s, now, rows, n);
    if (rc == 0) {
        changed(RETRY, rows, n, now);
    }
    return rc;
}

int __real_er_store_remove(struct er_store *s, er_usec now, struct er_change *rows,
                           size_t n);
int __wrap_er_store_remove(struct er_store *s, er_usec now, struct er_change *rows,
                           size_t n);
int
__wrap_er_store_remove(struct er_store *s, er_usec now, struct er_change *rows, size_t n)
{
    int rc = __real_er_store_remove(s, now, rows, n);
    if (rc == 0) {
        changed(REMOVE, rows, n, now);
    }
    return rc;
}

static void
edited(const struct er_change *row, const struct er_edit *edit, er_usec now)
{
    struct mtask *t = m_there(row->id);
    want("edit", row->id, row->status, !t ? ER_ENOTFOUND : !m_waits(t) ? ER_ESTATE : 0);
    if (row->status) {
        return;
    }
    check_before(row, t, true);
    m_touch(t);
    set_knows(t->id, NEVER_KNOWN);
    if (edit->has_priority) {
        t->rank -= (edit->priority - t->priority) * MIN;
        t->priority = edit->priority;
    }
    if (edit->has_retries) {
        t->retries = edit->retries;
    }
    if (edit->queue) {
        t->queue = index_of(queue_name, N_QUEUES, edit->queue);
    }
    if (edit->limit_key) {
        t->key = index_of(key_name, N_KEYS, edit->limit_key);
    }
    if (edit->has_run_at) {
        t->run_at = edit->run_at;
        t->run_at_fixed = edit->run_at_fixed;
        if (t->state != ER_TASK_BLOCKED) {
            t->resumes_at = ER_NEVER;
            bool later = t->run_at != ER_NEVER && t->run_at > now;
            t->state = later ? ER_TASK_SCHEDULED : ER_TASK_QUEUED;
        }
    }
    sim.n.changes++;
    m_expect(ER_EVENT_TASK_CHANGED, t->id);
}

int __real_er_store_edit(struct er_store *s, er_usec now, struct er_change *row,
                         struct er_edit *edit);
int __wrap_er_store_edit(struct er_store *s, er_usec now, struct er_change *row,
                         struct er_edit *edit);
int
__wrap_er_store_edit(struct er_store *s, er_usec now, struct er_change *row,
                     struct er_edit *edit)
{
    int rc = __real_er_store_edit(s, now, row, edit);
    if (rc == 0) {
        edited(row, edit, now);
    }
    return rc;
}

int __real_er_store_due(struct er_store *s, er_usec now, size_t limit, er_usec *out_next);
int __wrap_er_store_due(struct er_store *s, er_usec now, size_t limit, er_usec *out_next);
int
__wrap_er_store_due(struct er_store *s, er_usec now, size_t limit, er_usec *out_next)
{
    int rc = __real_er_store_due(s, now, limit, out_next);
    if (rc == 0) {
        m_due(now);
    }
    return rc;
}

int __real_er_store_shift(struct er_store *s, er_usec by);
int __wrap_er_store_shift(struct er_store *s, er_usec by);
int
__wrap_er_store_shift(struct er_store *s, er_usec by)
{
    int rc = __real_er_store_shift(s, by);
    if (rc == 0) {
        sim_note("shift by %.3f", (double)by / 1e6);
        m_shift(by);
    }
    return rc;
}

/* ---- sessions and queues ---- */

int __real_er_store_session_open(struct er_store *s, er_usec now,
                                 struct er_session *session);
int __wrap_er_store_session_open(struct er_store *s, er_usec now,
                                 struct er_session *session);
int
__wrap_er_store_session_open(struct er_store *s, er_usec now, struct er_session *session)
{
    int rc = __real_er_store_session_open(s, now, session);
    if (rc == 0) {
        struct msmall *m = &model.now;
        if (m->n_sessions == 64) {
            memmove(m->sessions, m->sessions + 1,
                    sizeof m->sessions - sizeof m->sessions[0]);
            m->n_sessions--;
        }
        m->sessions[m->n_sessions++] = (struct msession){session->id, true};
        m_expect(ER_EVENT_WORKER_STARTED, 0);
    }
    return rc;
}

int __real_er_store_session_close(struct er_store *s, er_usec now, int64_t id, bool lost);
int __wrap_er_store_session_close(struct er_store *s, er_usec now, int64_t id, bool lost);
int
__wrap_er_store_session_close(struct er_store *s, er_usec now, int64_t id, bool lost)
{
    int rc = __real_er_store_session_close(s, now, id, lost);
    if (rc == ER_ESTATE || rc == ER_ENOTFOUND) {
        sim_fail("session %lld cannot be closed: %s", (long long)id, er_error_word(rc));
    }
    for (int i = 0; i < model.now.n_sessions && rc == 0; i++) {
        if (model.now.sessions[i].id == id) {
            model.now.sessions[i].open = false;
        }
    }
    if (rc == 0) {
        closed[n_closed++] = id;
        if (lost) {
            m_expect(ER_EVENT_WORKER_LOST, 0);
        }
    }
    return rc;
}

int __real_er_store_queue_put(struct er_store *s, er_usec now, const struct er_queue *q);
int __wrap_er_store_queue_put(struct er_store *s, er_usec now, const struct er_queue *q);
int
__wrap_er_store_queue_put(struct er_store *s, er_usec now, const struct er_queue *q)
{
    int rc = __real_er_store_queue_put(s, now, q);
    if (rc == 0) {
        struct mqueue *mq = &model.now.queues[index_of(queue_name, N_QUEUES, q->name)];
        *mq = (struct mqueue){true, q->concurrency, q->size, q->paused};
        m_expect(ER_EVENT_QUEUE_CHANGED, 0);
    }
    return rc;
}

int __real_er_store_queue_remove(struct er_store *s, er_usec now, const char *name);
int __wrap_er_store_queue_remove(struct er_store *s, er_usec now, const char *name);
int
__wrap_er_store_queue_remove(struct er_store *s, er_usec now, const char *name)
{
    int rc = __real_er_store_queue_remove(s, now, name);
    int q = index_of(queue_name, N_QUEUES, name);
    struct mqueue *mq = &model.now.queues[q];
    bool used = m_open_in(q);
    if (rc == 0 || rc == ER_ESTATE || rc == ER_ENOTFOUND) {
        want("removing a queue", q, rc, used ? ER_ESTATE : mq->exists ? 0 : ER_ENOTFOUND);
    }
    if (rc == 0) {
        *mq = (struct mqueue){0};
        m_expect(ER_EVENT_QUEUE_CHANGED, 0);
    }
    return rc;
}

/* ---- retention ---- */

static bool
needed(er_task_id id)
{
    for (int i = 0; i < model.now.n; i++) {
        const struct mtask *t = &model.tasks[i];
        for (int k = 0; k < t->n_after && !t->removed; k++) {
            if (t->after[k].id == id && !er_task_state_is_final(t->state)) {
                return true;
            }
        }
    }
    return false;
}

int __real_er_store_prune(struct er_store *s, er_usec now,
                          const struct er_retention *keep, size_t limit,
                          struct er_arena *arena, struct er_removed **out, size_t *out_n,
                          bool *out_more);
int __wrap_er_store_prune(struct er_store *s, er_usec now,
                          const struct er_retention *keep, size_t limit,
                          struct er_arena *arena, struct er_removed **out, size_t *out_n,
                          bool *out_more);
int
__wrap_er_store_prune(struct er_store *s, er_usec now, const struct er_retention *keep,
                      size_t limit, struct er_arena *arena, struct er_removed **out,
                      size_t *out_n, bool *out_more)
{
    int rc = __real_er_store_prune(s, now, keep, limit, arena, out, out_n, out_more);
    for (size_t i = 0; i < *out_n && rc == 0; i++) {
        const struct mtask *t = m_there((*out)[i].id);
        if (!t || !er_task_state_is_final(t->state) || needed(t->id) ||
            t->finished_at > now - keep->keep_for) {
            sim_fail("task %lld is removed, and must not be", (long long)(*out)[i].id);
        }
        (void)m_remove(t->id, now);
    }
    for (int i = 0; i < model.now.n && rc == 0; i++) {
        struct mtask *t = &model.tasks[i];
        if (t->removed && !t->forgotten && t->removed_at < now - keep->tombstone_for) {
            m_touch(t)->forgotten = true;
        }
    }
    return rc;
}

/* ---- all of it ---- */

/* What a task in the store has other than the model's; NULL = nothing. */
static const char *
difference(const struct er_task *is, const struct mtask *t)
{
    bool scheduled = t->state == ER_TASK_SCHEDULED, paused = t->state == ER_TASK_PAUSED;
    return is->run != t->run                                        ? "run"
           : is->state != t->state                                  ? "state"
           : is->held != t->held                                    ? "hold"
           : is->session != t->session                              ? "session"
           : is->cancel_requested != (t->cancel && t->session != 0) ? "cancel"
           : is->attempt != t->attempt                              ? "attempt"
           : is->failures != t->failures                            ? "failures"
           : is->losses != t->losses                                ? "losses"
           : is->retries != t->retries                              ? "retries"
           : is->rank != t->rank                                    ? "rank"
           : is->priority != t->priority                            ? "priority"
           : scheduled && is->run_at != t->run_at                   ? "run_at"
           : paused && is->resumes_at != t->resumes_at              ? "resumes_at"
                                                                    : NULL;
}

/* Whether the store has what the model has; if not, and `say`, it is told. */
static bool
all_is_same(bool say)
{
    struct er_filter f = {.limit = 1000};
    bool more = true;
    int seen = 0, there = 0;
    while (more) {
        struct er_arena arena = {0};
        struct er_task *tasks;
        size_t n;
        if (er_store_list(sim.e->reader, &f, &arena, &tasks, &n, &more)) {
            sim_fail("the store cannot be read");
        }
        for (size_t i = 0; i < n; i++) {
            const struct mtask *t = m_there(tasks[i].id);
            const char *what = t ? difference(&tasks[i], t) : "being there";
            if (what && say) {
                sim_fail("task %lld (%s in the store, %s in the model) has another %s",
                         (long long)tasks[i].id, er_task_state_word(tasks[i].state),
                         t ? er_task_state_word(t->state) : "nothing", what);
            }
            if (what) {
                er_arena_free(&arena);
                return false;
            }
            f.before = tasks[i].id;
            seen++;
        }
        er_arena_free(&arena);
    }
    for (int i = 0; i < model.now.n; i++) {
        there += !model.tasks[i].removed;
    }
    if (seen != there && say) {
        sim_fail("G1: the store has %d tasks, there should be %d", seen, there);
    }
    return seen == there;
}

void
check_full(void)
{
    (void)all_is_same(true);
    sim.n.full_checks++;
}

void
check_verify(void)
{
    struct er_err err = {""};
    if (er_store_verify(sim.e->store, &err)) {
        sim_fail("er_store_verify: %s", err.text);
    }
    sim.n.verifies++;
}

/* The disk had refused a commit, and has it all the same: one of those that failed. */
static void
try_maybes(int64_t seq)
{
    for (int i = model.n_maybe - 1; i >= 0; i--) {
        if (model.maybe[i].small.last_seq == seq) {
            m_take_maybe(i);
            if (all_is_same(false)) {
                sim_note("a commit that failed is there after all");
                return;
            }
            m_leave_maybe(i);
        }
    }
}

int __real_er_store_load(struct er_store *s, struct er_arena *arena,
                         struct er_store_state *out);
int __wrap_er_store_load(struct er_store *s, struct er_arena *arena,
                         struct er_store_state *out);
int
__wrap_er_store_load(struct er_store *s, struct er_arena *arena,
                     struct er_store_state *out)
{
    int rc = __real_er_store_load(s, arena, out);
    if (rc == 0) {
        model.n_lanes = 0;
        learn_lanes(out->lanes, out->n_lanes);
    }
    return rc;
}

void
check_opened(void)
{
    int64_t seq = er_engine_last_seq(sim.e);
    check_life_ends();
    if (model.n_maybe > 0 && (seq != model.now.last_seq || !all_is_same(false))) {
        try_maybes(seq);
    }
    if (seq != model.now.last_seq) {
        sim_fail("G1: the store comes back with fact %lld, it had %lld", (long long)seq,
                 (long long)model.now.last_seq);
    }
    m_forget_maybe();
    for (int q = 0; q < N_QUEUES; q++) {
        const struct mqueue *mq = &model.now.queues[q];
        told[q] = (struct told){mq->concurrency, mq->concurrency, mq->paused, mq->paused};
    }
    check_full();
    check_verify();
}

/* ---- when all is quiet ---- */

static bool
a_slot_is_free(void)
{
    for (int i = 0; i < sim.n_workers; i++) {
        const struct vworker *w = &sim.workers[i];
        if (w->attached && m_running(-1, -1, -1, w->session) < w->slots) {
            return true;
        }
    }
    return false;
}

static void
check_waiting(const struct mtask *t, bool slot, er_usec now)
{
    const struct told *q = &told[t->queue];
    if (t->state == ER_TASK_SCHEDULED && t->run_at <= now) {
        sim_fail("task %lld was due %.3f s ago and is still scheduled; the alarm is in "
                 "%.3f s, what is due next in %.3f s",
                 (long long)t->id, (double)(now - t->run_at) / 1e6,
                 (double)(sim_loop_alarm(sim.loop) - now) / 1e6,
                 (double)(sim.e->next_due - now) / 1e6);
    }
    if (t->state == ER_TASK_PAUSED && t->resumes_at <= now) {
        sim_fail("task %lld should have resumed %.3f s ago", (long long)t->id,
                 (double)(now - t->resumes_at) / 1e6);
    }
    if (t->attempt == 0 && t->expires_at <= now) {
        sim_fail("task %lld has expired %.3f s ago and still waits", (long long)t->id,
                 (double)(now - t->expires_at) / 1e6);
    }
    if (t->promised) {
        sim_fail("task %lld: a cancel was promised, and it waits", (long long)t->id);
    }
    if (slot && m_claimable(t) && !q->paused &&
        (q->concurrency == 0 || m_running(t->queue, -1, -1, 0) < q->concurrency)) {
        sim_fail("G6: task %lld could run and does not", (long long)t->id);
    }
}

void
check_quiet(void)
{
    struct er_engine_stats st;
    er_engine_stats(sim.e, &st);
    if (st.sick) {
        return;
    }
    bool slot = a_slot_is_free();
    sim.n.checks++;
    for (int i = 0; i < model.now.n; i++) {
        if (m_waits(&model.tasks[i])) {
            check_waiting(&model.tasks[i], slot, wall());
        }
    }
}

void
check_begin(void)
{
    model.n_lanes = 0;
    model.now = (struct msmall){0};
    memset(told, 0, sizeof told);
    n_knows = n_asked = 0;
    jumped_at = -1;
}
