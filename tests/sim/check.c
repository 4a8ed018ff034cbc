/* SPDX-License-Identifier: MIT */
/* The store's verbs stand here in front of the real ones (ld --wrap): each asks the model
 * what has to come, calls the real one, and compares. Facts are compared at the
 * commit. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "../store/fault_vfs.h"
#include "base/mem.h"

#define NEVER_KNOWN INT64_MAX

/* What is not the store's: the engine's knowledge of tasks, by place in a small table. */
struct knows {
    er_task_id id;
    int64_t since; /* crossings that had run when the engine heard that it may run */
};
static struct knows knows[MAX_MODEL];
static int n_knows;

static bool shifted; /* in this transaction: the store knows of a clock that was set */
static int64_t closed[64]; /* sessions closed in this transaction */
static int n_closed;

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
        shifted = false;
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

/* An end holds what follows it in its own transaction. */
static void
check_promises(void)
{
    for (int i = 0; i < model.now.n; i++) {
        if (model.tasks[i].to_hold) {
            sim_fail("task %lld was to be held when its attempt ended, and is not",
                     (long long)model.tasks[i].id);
        }
    }
}

int __real_er_store_commit(struct er_store *s, struct er_effects *out);
int __wrap_er_store_commit(struct er_store *s, struct er_effects *out);
int
__wrap_er_store_commit(struct er_store *s, struct er_effects *out)
{
    int rc = __real_er_store_commit(s, out);
    limits_crossed();
    if (rc) {
        sim.n.failed_crossings++;
        sim_note("commit fails: %s", er_error_word(rc));
        m_rollback(true);
        limits_rolled_back();
        return rc;
    }
    check_facts(out);
    check_promises();
    learn_lanes(out->lanes, out->n_lanes);
    m_commit();
    limits_committed();
    forget_closed();
    sim.shift_pending = sim.shift_pending && !shifted;
    return 0;
}

void __real_er_store_rollback(struct er_store *s);
void __wrap_er_store_rollback(struct er_store *s);
void
__wrap_er_store_rollback(struct er_store *s)
{
    __real_er_store_rollback(s);
    limits_crossed();
    sim.n.failed_crossings++;
    sim_note("rollback");
    m_rollback(false);
    limits_rolled_back();
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

/* On the clock that is never set: when a span that begins now ends; -1 = unknown. */
static er_usec
span_ends(er_usec at, bool fixed, er_usec now)
{
    return fixed || at == ER_NEVER || judge_clock_unsure() ? -1 : sim.boot + (at - now);
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
                        .cost = row->cost > 0 ? row->cost : 1,
                        .queue = index_of(queue_name, N_QUEUES, row->queue),
                        .type = index_of(type_name, N_TYPES, row->type),
                        .key = index_of(key_name, N_KEYS, row->limit_key),
                        .name_key = (int)key_number(row->key),
                        .body = row->body_hash,
                        .n_after = (int)row->n_after};
    t->due_boot = span_ends(t->run_at, t->run_at_fixed, now);
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

/* Whether it refers to a row that was refused, or is the same by its key: then it is,
 * too. */
static bool
hangs_on_refused(const struct er_new_task *rows, size_t at)
{
    const struct er_new_task *row = &rows[at];
    for (size_t i = 0; i < at; i++) {
        if (row->key && rows[i].key && strcmp(rows[i].key, row->key) == 0 &&
            rows[i].status == row->status) {
            return true;
        }
    }
    for (size_t i = 0; i < row->n_after; i++) {
        if (row->after[i].id == 0 && rows[row->after[i].ref].status != 0) {
            return true;
        }
    }
    return false;
}

/* Whether a row before it in the batch has the same key and another body. */
static bool
names_key_of(const struct er_new_task *rows, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (rows[k].key && rows[i].key && strcmp(rows[k].key, rows[i].key) == 0 &&
            rows[k].body_hash != rows[i].body_hash) {
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
        const struct mgate *mq = &model.now.gates[gate_queue(q)];
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
        if (row->status != 0 && hangs_on_refused(rows, i)) {
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
        if (row->status == ER_EEXISTS && names_key_of(rows, i)) {
            maybe[q]++;
            continue; /* and that one is not there, since the batch was refused */
        }
        if (row->status == ER_EEXISTS) {
            sim_fail("task %lld is said to have the key %s already", (long long)row->id,
                     row->key);
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
                     (long long)model.now.gates[gate_queue(q)].size);
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

/* G3, G8 and order, of a task that has just been given to a session. */
static void
check_claimed(const struct mtask *t)
{
    limits_check_claimed(t);
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
            limits_claimed(t->id);
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

/* {"at": N} */
static int
checkpoint_number(const char *json)
{
    const char *digits = json + strcspn(json, "0123456789");
    return atoi(digits) + 1;
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
    judge_end(t, row, now);
    m_touch(t);
    t->attempt -= row->refund;
    if (row->refund) {
        limits_refunded(t->id);
    }
    t->failures += row->add_failures;
    t->losses += row->add_losses;
    t->session = 0;
    if (row->checkpoint_json) {
        t->checkpoint = checkpoint_number(row->checkpoint_json);
    }
    if (er_task_state_is_final(row->state)) {
        sim.n.completed += row->state == ER_TASK_COMPLETED;
        sim.n.failed += row->state == ER_TASK_FAILED;
        sim.n.cancelled += row->state == ER_TASK_CANCELLED;
        m_end(t, row->state, now);
        t->finished_at = row->finished_at != ER_NEVER ? row->finished_at : now;
        return;
    }
    t->promised = t->promised || t->cancel;
    t->cancel = t->back = t->stop = false;
    t->to_hold = t->held && row->add_losses == 0 && row->state != ER_TASK_QUEUED;
    t->state = row->state;
    t->held = row->held;
    if (row->state == ER_TASK_SCHEDULED) {
        t->run_at = row->run_at;
        t->run_at_fixed = false;
        t->due_boot = span_ends(t->run_at, false, now);
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

/* ---- while it runs ---- */

static struct mtask *
its_task(er_task_id id, int attempt, int64_t session)
{
    struct mtask *t = m_there(id);
    return t && t->session != 0 && t->attempt == attempt && t->session == session ? t
                                                                                  : NULL;
}

int __real_er_store_progress(struct er_store *s, struct er_progress_row *rows, size_t n);
int __wrap_er_store_progress(struct er_store *s, struct er_progress_row *rows, size_t n);
int
__wrap_er_store_progress(struct er_store *s, struct er_progress_row *rows, size_t n)
{
    int rc = __real_er_store_progress(s, rows, n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct mtask *t = its_task(rows[i].id, rows[i].attempt, rows[i].session);
        want("progress", rows[i].id, rows[i].status, t ? 0 : ER_ELOST);
        if (t && rows[i].checkpoint_json) {
            m_touch(t)->checkpoint = checkpoint_number(rows[i].checkpoint_json);
        }
    }
    return rc;
}

int __real_er_store_suspend(struct er_store *s, er_usec now, struct er_suspend *rows,
                            size_t n);
int __wrap_er_store_suspend(struct er_store *s, er_usec now, struct er_suspend *rows,
                            size_t n);
int
__wrap_er_store_suspend(struct er_store *s, er_usec now, struct er_suspend *rows,
                        size_t n)
{
    int rc = __real_er_store_suspend(s, now, rows, n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct mtask *t = its_task(rows[i].id, rows[i].attempt, rows[i].session);
        want("suspend", rows[i].id, rows[i].status, t ? 0 : ER_ELOST);
        if (t && rows[i].paused != (t->state == ER_TASK_PAUSED)) {
            m_touch(t)->state = rows[i].paused ? ER_TASK_PAUSED : ER_TASK_RUNNING;
            sim.n.stops += rows[i].paused;
            m_expect(rows[i].paused ? ER_EVENT_TASK_PAUSED : ER_EVENT_TASK_RESUMED,
                     t->id);
        }
    }
    return rc;
}

int __real_er_store_items_put(struct er_store *s, er_usec now, struct er_item_row *rows,
                              size_t n);
int __wrap_er_store_items_put(struct er_store *s, er_usec now, struct er_item_row *rows,
                              size_t n);
int
__wrap_er_store_items_put(struct er_store *s, er_usec now, struct er_item_row *rows,
                          size_t n)
{
    int rc = __real_er_store_items_put(s, now, rows, n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct mtask *t = its_task(rows[i].id, rows[i].attempt, rows[i].session);
        unsigned bit = 1u << atoi(rows[i].name + 1);
        want("item", rows[i].id, rows[i].status, t ? 0 : ER_ELOST);
        if (t) {
            m_touch(t);
            t->items_done = rows[i].failed ? t->items_done & ~bit : t->items_done | bit;
            t->items_failed =
                rows[i].failed ? t->items_failed | bit : t->items_failed & ~bit;
            sim.n.items++;
        }
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

int __real_er_store_ask(struct er_store *s, struct er_change *rows, size_t n,
                        unsigned unless, unsigned clear, unsigned set);
int __wrap_er_store_ask(struct er_store *s, struct er_change *rows, size_t n,
                        unsigned unless, unsigned clear, unsigned set);
int
__wrap_er_store_ask(struct er_store *s, struct er_change *rows, size_t n, unsigned unless,
                    unsigned clear, unsigned set)
{
    int rc = __real_er_store_ask(s, rows, n, unless, clear, set);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct mtask *t = m_there(rows[i].id);
        struct mtask was = t ? *t : (struct mtask){0};
        want("asking", rows[i].id, rows[i].status, m_ask(rows[i].id, unless, clear, set));
        check_before(&rows[i], &was, t != NULL);
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
        t->due_boot = span_ends(t->run_at, t->run_at_fixed, now);
        if (t->state != ER_TASK_BLOCKED) {
            t->resumes_at = ER_NEVER;
            bool later = t->run_at != ER_NEVER && t->run_at > now;
            t->state = later ? ER_TASK_SCHEDULED : ER_TASK_QUEUED;
        }
    }
    if (edit->has_cost) {
        t->cost = edit->cost;
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
        shifted = true;
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
        struct mgate *g = m_gate_put(gate_queue(index_of(queue_name, N_QUEUES, q->name)),
                                     q->concurrency, q->rates, q->n_rates);
        g->size = q->size;
        g->paused = q->paused;
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
    struct mgate *mq = &model.now.gates[gate_queue(q)];
    bool used = m_open_in(q);
    if (rc == 0 || rc == ER_ESTATE || rc == ER_ENOTFOUND) {
        want("removing a queue", q, rc, used ? ER_ESTATE : mq->exists ? 0 : ER_ENOTFOUND);
    }
    if (rc == 0) {
        *mq = (struct mgate){0};
        m_expect(ER_EVENT_QUEUE_CHANGED, 0);
    }
    return rc;
}

int __real_er_store_pause_all(struct er_store *s, er_usec now, bool paused);
int __wrap_er_store_pause_all(struct er_store *s, er_usec now, bool paused);
int
__wrap_er_store_pause_all(struct er_store *s, er_usec now, bool paused)
{
    int rc = __real_er_store_pause_all(s, now, paused);
    if (rc == 0 && model.now.all_paused != paused) {
        model.now.all_paused = paused;
        m_expect(ER_EVENT_QUEUE_CHANGED, 0);
    }
    return rc;
}

/* The engine follows the store: from now on it may start what it did not, or must not. */
void __real_er_limits_pause_all(struct er_engine *e, bool paused);
void __wrap_er_limits_pause_all(struct er_engine *e, bool paused);
void
__wrap_er_limits_pause_all(struct er_engine *e, bool paused)
{
    limits_told_all_paused(paused);
    __real_er_limits_pause_all(e, paused);
}

void __real_er_engine_queue_changed(struct er_engine *e, const struct er_queue *q);
void __wrap_er_engine_queue_changed(struct er_engine *e, const struct er_queue *q);
void
__wrap_er_engine_queue_changed(struct er_engine *e, const struct er_queue *q)
{
    int g = gate_queue(index_of(queue_name, N_QUEUES, q->name));
    limits_told(g, q->concurrency, q->paused);
    limits_told_rates(g, q->rates, q->n_rates);
    __real_er_engine_queue_changed(e, q);
}

int __real_er_store_limit_put(struct er_store *s, er_usec now,
                              const struct er_limit *limit);
int __wrap_er_store_limit_put(struct er_store *s, er_usec now,
                              const struct er_limit *limit);
int
__wrap_er_store_limit_put(struct er_store *s, er_usec now, const struct er_limit *limit)
{
    int rc = __real_er_store_limit_put(s, now, limit);
    if (rc == 0) {
        (void)m_gate_put(gate_key(index_of(key_name, N_KEYS, limit->key)),
                         limit->concurrency, limit->rates, limit->n_rates);
        m_expect(ER_EVENT_LIMIT_CHANGED, 0);
    }
    return rc;
}

int __real_er_store_limit_remove(struct er_store *s, er_usec now, const char *key);
int __wrap_er_store_limit_remove(struct er_store *s, er_usec now, const char *key);
int
__wrap_er_store_limit_remove(struct er_store *s, er_usec now, const char *key)
{
    int rc = __real_er_store_limit_remove(s, now, key);
    struct mgate *g = &model.now.gates[gate_key(index_of(key_name, N_KEYS, key))];
    if (rc == 0 || rc == ER_ENOTFOUND) {
        want("removing a limit", 0, rc, g->exists ? 0 : ER_ENOTFOUND);
    }
    if (rc == 0) {
        *g = (struct mgate){0};
        m_expect(ER_EVENT_LIMIT_CHANGED, 0);
    }
    return rc;
}

/* {"concurrency":N}, or {} */
static int
type_concurrency(const char *json)
{
    const char *digits = json + strcspn(json, "0123456789");
    return atoi(digits);
}

int __real_er_store_type_put(struct er_store *s, er_usec now,
                             const struct er_type_row *type);
int __wrap_er_store_type_put(struct er_store *s, er_usec now,
                             const struct er_type_row *type);
int
__wrap_er_store_type_put(struct er_store *s, er_usec now, const struct er_type_row *type)
{
    int rc = __real_er_store_type_put(s, now, type);
    int g = gate_type(index_of(type_name, N_TYPES, type->name));
    int concurrency = type_concurrency(type->definition_json);
    bool same =
        model.now.gates[g].exists && model.now.gates[g].concurrency == concurrency;
    if (rc == 0 && !same) {
        (void)m_gate_put(g, concurrency, NULL, 0);
        m_expect(ER_EVENT_TYPE_CHANGED, 0);
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

static int
compare_tombstones(const void *a, const void *b)
{
    const struct mtask *x = *(struct mtask *const *)a, *y = *(struct mtask *const *)b;
    er_usec dx = x->removed_at, dy = y->removed_at;
    return dx != dy ? (dx > dy) - (dx < dy) : (x->id > y->id) - (x->id < y->id);
}

/* No more than `limit` tombstones go in one transaction: if the next one fails, the rest
 * are there still, and hold their keys. */
static void
forget_oldest(er_usec before, size_t limit)
{
    static struct mtask *due[MAX_MODEL];
    size_t n = 0;
    for (int i = 0; i < model.now.n; i++) {
        struct mtask *t = &model.tasks[i];
        if (t->removed && !t->forgotten && t->removed_at <= before) {
            due[n++] = t;
        }
    }
    qsort(due, n, sizeof due[0], compare_tombstones);
    for (size_t i = 0; i < n && i < limit; i++) {
        m_touch(due[i])->forgotten = true;
    }
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
    if (rc == 0) {
        forget_oldest(now - keep->tombstone_for, limit);
    }
    return rc;
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
check_forget_known(void)
{
    n_knows = 0;
}

void
check_begin(void)
{
    n_knows = 0;
    model.n_lanes = 0;
    model.now = (struct msmall){0};
    limits_begin();
    judge_begin();
}
