/* SPDX-License-Identifier: MIT */
/* What an attempt's end comes to: the table in docs/SEMANTICS.md, by what really happened
 * to the attempt (struct try), against the row that the engine wants to write. Where a
 * request and an end may have crossed, either outcome is right. */
#include <string.h>

#include "check.h"

struct asked { /* put back or paused, acknowledged in this life of the daemon */
    er_task_id id;
    int attempt;
    bool requeue;
};
static struct asked asked[256];
static int n_asked;
static er_usec jumped_at = -1; /* mono: the wall clock was set */

void
judge_begin(void)
{
    n_asked = 0;
    jumped_at = -1;
}

void
judge_asked(er_task_id id, int attempt, bool requeue)
{
    if (n_asked == 256) {
        memmove(asked, asked + 1, sizeof asked - sizeof asked[0]);
        n_asked--;
    }
    asked[n_asked++] = (struct asked){id, attempt, requeue};
}

void
judge_clock_was_set(void)
{
    jumped_at = sim.mono;
}

bool
judge_clock_unsure(void)
{
    return jumped_at >= 0 && sim.mono - jumped_at < 5 * SEC;
}

struct verdict {
    const struct mtask *t;
    const struct try *a; /* NULL: no worker ever knew of it */
    const struct er_finish *row;
    bool asked_back; /* to put it back */
};

static bool
comes_to(const struct verdict *v, enum er_task_state state, int failures, int losses,
         bool refund)
{
    const struct er_finish *row = v->row;
    return row->state == state && row->add_failures == failures &&
           row->add_losses == losses && row->refund == refund &&
           row->held == (state == ER_TASK_QUEUED && losses == 0 && v->t->held);
}

static bool
is_cancelled(const struct verdict *v)
{
    bool spawned = v->a && v->a->phase != TRY_TOLD && v->a->end != END_UNSPAWNED;
    return (v->t->cancel || v->t->promised) && v->row->state == ER_TASK_CANCELLED &&
           (!v->row->refund || !spawned) && v->row->add_failures == 0;
}

static bool
is_put_back(const struct verdict *v)
{
    return comes_to(v, ER_TASK_QUEUED, 0, 0, false);
}

static bool
is_loss(const struct verdict *v)
{
    const struct mtask *t = v->t;
    if (t->back || (v->asked_back && is_put_back(v))) {
        return is_put_back(v); /* that it was asked for is stored */
    }
    if (t->losses + 1 >= ER_MAX_LOSSES || t->on_lost == ER_ON_LOST_FAIL) {
        return comes_to(v, ER_TASK_FAILED, 0, 1, false);
    }
    if (t->on_lost == ER_ON_LOST_HOLD) {
        return v->row->held && v->row->state == ER_TASK_QUEUED &&
               v->row->add_failures == 0 && v->row->add_losses == 1 && !v->row->refund;
    }
    return comes_to(v, ER_TASK_QUEUED, 0, 1, false);
}

/* backoff x 2^(failures before), at most 30 s (or itself), a quarter to either side. */
static bool
in_backoff(const struct verdict *v, er_usec now)
{
    er_usec base = v->t->backoff_for, cap = base > 30 * SEC ? base : 30 * SEC;
    er_usec wait_for = base;
    for (int i = 0; i < v->t->failures; i++) {
        wait_for = wait_for * 2 > cap ? cap : wait_for * 2;
    }
    er_usec from = v->a->told_last < now ? v->a->told_last : now;
    return judge_clock_unsure() || (v->row->run_at >= from + wait_for * 3 / 4 - 1 &&
                                    v->row->run_at <= now + wait_for * 5 / 4 + 1);
}

static bool
is_failure(const struct verdict *v, bool retryable, er_usec now)
{
    if (!retryable || v->t->failures + 1 > v->t->retries) {
        return comes_to(v, ER_TASK_FAILED, 1, 0, false);
    }
    return comes_to(v, ER_TASK_SCHEDULED, 1, 0, false) && in_backoff(v, now);
}

static bool
is_limited(const struct verdict *v, er_usec now)
{
    er_usec at = v->row->run_at - v->a->retry_after;
    return comes_to(v, ER_TASK_PAUSED, 0, 0, false) &&
           (judge_clock_unsure() || (at >= v->a->told_last - MS && at <= now + MS));
}

/* Its exit code says that it did its work; its items have a say, too. */
static bool
is_done(const struct verdict *v, er_usec now)
{
    int good = m_count(v->t->items_done), bad = m_count(v->t->items_failed);
    if (bad > 0 && good * 100 < 95 * (good + bad)) {
        return is_failure(v, true, now);
    }
    return comes_to(v, ER_TASK_COMPLETED, 0, 0, false);
}

/* Of an attempt that a worker with handlers was given, and then died: it may have
 * begun. */
static bool
is_lost_handler(const struct verdict *v)
{
    return v->t->type == HANDLED && (!v->a || v->a->worker < 0) && is_loss(v);
}

static bool
is_right(const struct verdict *v, er_usec now)
{
    const struct try *a = v->a;
    bool did_it = a && a->end == END_EXIT && a->code == 0 && a->exit_frame;
    if (is_cancelled(v) && (!did_it || m_count(v->t->items_failed) > 0)) {
        return true;
    }
    if (!a || a->phase == TRY_TOLD || a->end == END_UNSPAWNED) {
        return comes_to(v, ER_TASK_QUEUED, 0, 0, true) || is_lost_handler(v);
    }
    if (!a->exit_frame) {
        return is_loss(v);
    }
    switch (a->end) {
    case END_EXIT:
        return a->code ? is_failure(v, true, now) : is_done(v, now);
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

void
judge_end(const struct mtask *t, const struct er_finish *row, er_usec now)
{
    struct verdict v = {.t = t,
                        .a = try_find(row->id, row->attempt, row->session),
                        .row = row,
                        .asked_back = t->stop && t->type == HANDLED};
    for (int i = 0; i < n_asked; i++) {
        if (asked[i].id == row->id && asked[i].attempt == row->attempt) {
            v.asked_back = v.asked_back || asked[i].requeue;
        }
    }
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
