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
}

/* ---- changes ---- */

static int
run_change(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_change_request *c = (struct er_change_request *)(void *)op;
    switch (c->kind) {
    case ER_CHANGE_CANCEL:
        return er_store_cancel(s, now, c->rows, c->n, c->reason, c->by);
    case ER_CHANGE_PAUSE:
        return er_store_hold(s, now, c->rows, c->n, true);
    case ER_CHANGE_RESUME:
        return er_store_hold(s, now, c->rows, c->n, false);
    case ER_CHANGE_RETRY:
        return er_store_retry(s, now, c->rows, c->n);
    case ER_CHANGE_REMOVE:
        return er_store_remove(s, now, c->rows, c->n);
    case ER_CHANGE_EDIT:
        return er_store_edit(s, now, &c->rows[0], &c->edit);
    case ER_CHANGE_REQUEUE:
        return er_store_look(s, c->rows,
                             c->n); /* the rest is memory's and the worker's */
    }
    return ER_EINVALID;
}

static void
tell_cancel(struct er_engine *e, const struct er_change *row, const char *reason,
            const char *by)
{
    struct er_run *run = er_run_find(e, row->id);
    if (row->state != ER_TASK_RUNNING || !run || run->attempt != row->attempt) {
        return;
    }
    run->cancel = true;
    er_free(run->cancel_reason);
    er_free(run->cancel_by);
    run->cancel_reason = er_xstrdup(reason);
    run->cancel_by = er_xstrdup(by);
    er_dispatch_send_cancel(run, "cancel");
}

struct cancel_after {
    struct er_op op;
    struct er_engine *engine;
    struct er_change row;
    char *reason, *by;
};

static int
run_cancel_after(struct er_op *op, struct er_store *s, er_usec now)
{
    struct cancel_after *c = (struct cancel_after *)(void *)op;
    return er_store_cancel(s, now, &c->row, 1, c->reason, c->by);
}

static void
done_cancel_after(struct er_op *op, int rc)
{
    struct cancel_after *c = (struct cancel_after *)(void *)op;
    if (rc && !c->engine->stopping) {
        er_schedule_later(c->engine, op, rc);
        return;
    }
    if (rc == 0 && c->row.status == 0) {
        tell_cancel(c->engine, &c->row, c->reason, c->by);
    }
    er_free(c->reason);
    er_free(c->by);
    er_free(c);
}

void
er_change_cancel_after(struct er_engine *e, const struct er_run *run)
{
    struct cancel_after *c = er_xzalloc(sizeof *c);
    c->op.run = run_cancel_after;
    c->op.done = done_cancel_after;
    c->engine = e;
    c->row.id = run->id;
    c->reason = er_xstrdup(run->cancel_reason ? run->cancel_reason : "cancelled");
    c->by = er_xstrdup(run->cancel_by);
    er_ferry_post(e->ferry, &c->op);
}

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
requeue(struct er_engine *e, struct er_change_request *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct er_run *run = er_run_find(e, c->rows[i].id);
        if (c->rows[i].status) {
            continue; /* there is no such task */
        }
        if (!run || run->phase != ER_RUN_HELD || run->cancel) {
            c->rows[i].status = ER_ESTATE;
            continue;
        }
        c->rows[i].status = 0;
        c->rows[i].state = ER_TASK_RUNNING;
        run->requeue = true;
        run->hold = c->hold;
        er_dispatch_send_cancel(run, "requeue");
    }
}

static void
done_change(struct er_op *op, int rc)
{
    struct er_change_request *c = (struct er_change_request *)(void *)op;
    struct er_engine *e = c->engine;
    if (rc) {
        er_schedule_sick(e, rc);
    } else if (c->kind == ER_CHANGE_REQUEUE) {
        requeue(e, c);
    } else if (c->kind == ER_CHANGE_REMOVE) {
        forget_logs(e, c);
    } else if (c->kind == ER_CHANGE_CANCEL) {
        for (size_t i = 0; i < c->n; i++) {
            if (c->rows[i].status == 0) {
                tell_cancel(e, &c->rows[i], c->reason, c->by);
            }
        }
    }
    c->done(c, rc);
}

void
er_engine_change(struct er_engine *e, struct er_change_request *c)
{
    c->engine = e;
    c->op.run = run_change;
    c->op.done = done_change;
    er_ferry_post(e->ferry, &c->op);
}
