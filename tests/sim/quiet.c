/* SPDX-License-Identifier: MIT */
/* What is looked at as a whole: every task in the store against the array, the store's
 * own invariants, what a daemon finds when it starts, and what must have happened when
 * nothing is under way. */
#include <string.h>

#include "check.h"

static unsigned
asked_of(const struct mtask *t)
{
    return t->session == 0
               ? 0
               : (t->cancel ? ER_ASKED_CANCEL : 0) | (t->back ? ER_ASKED_REQUEUE : 0) |
                     (t->stop ? ER_ASKED_PAUSE : 0) | (t->held ? ER_ASKED_HOLD : 0);
}

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
           : is->asked != asked_of(t)                               ? "what is asked"
           : is->attempt != t->attempt                              ? "attempt"
           : is->failures != t->failures                            ? "failures"
           : is->losses != t->losses                                ? "losses"
           : is->retries != t->retries                              ? "retries"
           : is->rank != t->rank                                    ? "rank"
           : is->priority != t->priority                            ? "priority"
           : is->cost != t->cost                                    ? "cost"
           : is->items_completed != m_count(t->items_done)          ? "items"
           : is->items_failed != m_count(t->items_failed)           ? "failed items"
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

void
check_opened(void)
{
    int64_t seq = er_engine_last_seq(sim.e);
    check_forget_known();
    judge_begin();
    if (model.n_maybe > 0 && (seq != model.now.last_seq || !all_is_same(false))) {
        try_maybes(seq);
    }
    if (seq != model.now.last_seq) {
        sim_fail("G1: the store comes back with fact %lld, it had %lld", (long long)seq,
                 (long long)model.now.last_seq);
    }
    m_forget_maybe();
    limits_opened();
    check_full();
    check_verify();
}

/* ---- when all is quiet ---- */

static bool
a_slot_is_free(bool handlers)
{
    for (int i = 0; i < sim.n_workers; i++) {
        const struct vworker *w = &sim.workers[i];
        if (w->handlers == handlers && (w->serves || !handlers) && w->attached &&
            m_has(w->session) < w->slots) {
            return true;
        }
    }
    return false;
}

static void
fail_waits(const struct mtask *t)
{
    struct er_buf why;
    struct er_task task = {.id = t->id,
                           .rank = t->rank,
                           .cost = t->cost,
                           .queue = queue_name(t->queue),
                           .type = type_name(t->type),
                           .limit_key = key_name(t->key)};
    er_buf_init(&why, 0);
    er_engine_why_queued(sim.e, &task, &why, &(er_usec){0});
    er_buf_add_char(&why, '\0');
    sim_fail(
        "G6: task %lld could run and does not (%s, %s, %s; cost %lld); it is said: %s",
        (long long)t->id, task.queue, task.type, t->key ? task.limit_key : "no key",
        (long long)t->cost, why.data);
}

static void
check_waiting(const struct mtask *t, bool slot, er_usec now)
{
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
    if (t->due_boot >= 0 && t->state == ER_TASK_SCHEDULED &&
        sim.boot > t->due_boot + 2 * SEC) {
        sim_fail("task %lld was to wait until %.3f s ago, clocks that were set apart",
                 (long long)t->id, (double)(sim.boot - t->due_boot) / 1e6);
    }
    if (slot && m_claimable(t) && limits_admit(t)) {
        fail_waits(t);
    }
}

/* What was acknowledged has come to the worker, whatever daemon it was told to. */
static void
check_told(const struct mtask *t)
{
    const struct try *a = try_find(t->id, t->attempt, t->session);
    const struct vworker *w = a && a->worker >= 0 ? &sim.workers[a->worker] : NULL;
    if (!w || !w->attached || w->frozen || w->read_at != ER_NEVER ||
        a->phase != TRY_RUNS || a->cancel_told || a->requeue_told) {
        return;
    }
    bool back = t->back || (t->stop && t->type == HANDLED);
    if (t->cancel || back) {
        sim_fail("task %lld is to be %s, and its worker has not heard of it",
                 (long long)t->id, t->cancel ? "cancelled" : "put back");
    }
    if (t->stop != a->stopped) {
        sim_fail("task %lld is to %s, and its worker has not heard of it",
                 (long long)t->id, t->stop ? "stop" : "go on");
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
    bool slot = a_slot_is_free(false), handler = a_slot_is_free(true);
    limits_survey();
    sim.n.checks++;
    for (int i = 0; i < model.now.n; i++) {
        if (!model.tasks[i].removed && model.tasks[i].session != 0) {
            check_told(&model.tasks[i]);
        }
        if (m_waits(&model.tasks[i])) {
            check_waiting(&model.tasks[i],
                          model.tasks[i].type == HANDLED ? handler : slot, wall());
        }
    }
}
