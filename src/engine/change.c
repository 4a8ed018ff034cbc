/* SPDX-License-Identifier: MIT */
/* Submits and changes by request: what may be refused from memory is refused here, the
 * rest goes to the store as one operation, and what a change means for a running attempt
 * is told to its worker when the change is on disk. */
#include "engine/engine_priv.h"

#include "base/mem.h"

/* ---- submit ---- */

static int
run_submit(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_submit *sub = (struct er_submit *)(void *)op;
    return er_store_submit(s, now, sub->rows, sub->n, sub->atomic);
}

/* Refused from memory, but from the loop as any other answer; the crossing goes on. */
static int
refuse_submit(struct er_op *op, struct er_store *s, er_usec now)
{
    (void)s;
    (void)now;
    struct er_submit *sub = (struct er_submit *)(void *)op;
    for (size_t i = 0; i < sub->n; i++) {
        sub->rows[i].status = ER_EDISKFULL;
    }
    return 0;
}

static void
done_submit(struct er_op *op, int rc)
{
    struct er_submit *sub = (struct er_submit *)(void *)op;
    if (rc) {
        er_schedule_sick(sub->engine, rc);
    }
    sub->done(sub, rc);
}

void
er_engine_submit(struct er_engine *e, struct er_submit *sub)
{
    sub->engine = e;
    sub->op.run = e->tight ? refuse_submit : run_submit;
    sub->op.done = done_submit;
    er_ferry_post(e->ferry, &sub->op);
    er_offers_expect(e, sub->rows, sub->n);
}

void
er_engine_flush(struct er_engine *e)
{
    er_ferry_flush(e->ferry);
}

/* ---- changes ---- */

static int
run_pause(struct er_change_request *c, struct er_store *s, er_usec now)
{
    int rc = er_store_hold(s, now, c->rows, c->n, true);
    for (size_t i = 0; i < c->n && rc == 0 && c->free_slot; i++) {
        if (c->rows[i].status == 0 && c->rows[i].session != 0) {
            rc = er_store_ask(s, &c->rows[i], 1, 0, 0, ER_ASKED_REQUEUE);
        }
    }
    return rc;
}

static int
run_change(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_change_request *c = (struct er_change_request *)(void *)op;
    switch (c->kind) {
    case ER_CHANGE_CANCEL:
        return er_store_cancel(s, now, c->rows, c->n, c->reason, c->by);
    case ER_CHANGE_PAUSE:
        return run_pause(c, s, now);
    case ER_CHANGE_RESUME:
        return er_store_hold(s, now, c->rows, c->n, false);
    case ER_CHANGE_RETRY:
        return er_store_retry(s, now, c->rows, c->n);
    case ER_CHANGE_REMOVE:
        return er_store_remove(s, now, c->rows, c->n);
    case ER_CHANGE_EDIT:
        return er_store_edit(s, now, &c->rows[0], &c->edit);
    case ER_CHANGE_REQUEUE:
        return er_store_ask(s, c->rows, c->n, ER_ASKED_CANCEL,
                            ER_ASKED_PAUSE | ER_ASKED_HOLD,
                            ER_ASKED_REQUEUE | (c->hold ? ER_ASKED_HOLD : 0));
    }
    return ER_EINVALID;
}

/* The run of a task that is running or paused in place, as the row says. */
static struct er_live_attempt *
run_of(struct er_engine *e, const struct er_change *row)
{
    struct er_live_attempt *run = row->session ? er_live_attempt_find(e, row->id) : NULL;
    return run && run->attempt == row->attempt ? run : NULL;
}

/* Whether it asks something of what runs. */
static bool
is_for_runs(enum er_change_kind kind)
{
    return kind == ER_CHANGE_CANCEL || kind == ER_CHANGE_PAUSE ||
           kind == ER_CHANGE_RESUME || kind == ER_CHANGE_REQUEUE;
}

/* An end may be written before the answer is back: it looks into the store for what was
 * asked, and the words of who has cancelled go with it. */
static void
note(struct er_engine *e, const struct er_change_request *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct er_live_attempt *run = er_live_attempt_find(e, c->rows[i].id);
        if (run) {
            run->change_asked = true;
        }
        if (run && c->kind == ER_CHANGE_CANCEL) {
            er_free(run->cancel_reason);
            er_free(run->cancel_by);
            run->cancel_reason = er_xstrdup(c->reason);
            run->cancel_by = er_xstrdup(c->by);
        }
    }
}

static void
tell_cancel(struct er_engine *e, const struct er_change_request *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct er_live_attempt *run =
            c->rows[i].status == 0 ? run_of(e, &c->rows[i]) : NULL;
        if (run) {
            run->cancel = true;
            er_dispatch_send_stop(run);
        }
    }
}

/* ---- pause, resume and requeue of what runs ---- */

static void
put_back(struct er_live_attempt *run, bool hold)
{
    run->requeue = true;
    run->hold = hold;
    er_dispatch_send_stop(run);
}

static void
pause_run(const struct er_engine *e, struct er_live_attempt *run, bool free_slot)
{
    bool in_place = er_pause_in_place(e, run);
    if (run->phase != ER_LIVE_HELD || run->requeue) {
        run->hold = true; /* it ends, or is put back: what follows is held */
    } else if (free_slot || !in_place) {
        run->stop_pause = !in_place;
        put_back(run, true);
    } else {
        er_pause_ask(run, true, true);
    }
}

static void
resume_run(struct er_live_attempt *run)
{
    run->hold = run->stop_pause = false;
    if (run->phase == ER_LIVE_HELD && !run->requeue) {
        er_pause_ask(run, false, false);
    }
}

/* What is asked of what runs is on disk: now its worker is told. */
static void
tell_runs(struct er_engine *e, const struct er_change_request *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct er_live_attempt *run =
            c->rows[i].status == 0 ? run_of(e, &c->rows[i]) : NULL;
        if (!run) {
            continue;
        }
        if (c->kind == ER_CHANGE_PAUSE) {
            pause_run(e, run, c->free_slot);
        } else if (c->kind == ER_CHANGE_RESUME) {
            resume_run(run);
        } else {
            put_back(run, c->hold);
        }
    }
}

/* ---- the rest ---- */

static void
forget_logs(struct er_engine *e, const struct er_change_request *c)
{
    struct er_arena arena = {0};
    struct er_removed *removed = er_arena_alloc(&arena, c->n * sizeof *removed);
    size_t n = 0;
    for (size_t i = 0; removed && i < c->n; i++) {
        if (c->rows[i].status == 0) {
            removed[n++] = (struct er_removed){c->rows[i].id, c->rows[i].attempt};
        }
    }
    if (n > 0) {
        er_engine_delete_logs(e, &arena, removed, n);
    } else {
        er_arena_free(&arena);
    }
}

static void
done_change(struct er_op *op, int rc)
{
    struct er_change_request *c = (struct er_change_request *)(void *)op;
    struct er_engine *e = c->engine;
    e->n_changes -= is_for_runs(c->kind);
    if (rc) {
        er_schedule_sick(e, rc);
    } else if (c->kind == ER_CHANGE_REMOVE) {
        forget_logs(e, c);
    } else if (c->kind == ER_CHANGE_CANCEL) {
        tell_cancel(e, c);
    } else if (is_for_runs(c->kind)) {
        tell_runs(e, c);
    }
    c->done(c, rc);
}

void
er_engine_change(struct er_engine *e, struct er_change_request *c)
{
    c->engine = e;
    if (is_for_runs(c->kind)) {
        e->n_changes++;
        note(e, c);
    }
    c->op.run = run_change;
    c->op.done = done_change;
    er_ferry_post(e->ferry, &c->op);
}
