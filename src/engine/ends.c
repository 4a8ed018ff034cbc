/* SPDX-License-Identifier: MIT */
/* The end of a run in memory, and ends that the engine finds itself. A run whose end is
 * on its way to the store is in phase ENDING: it has given its permits back, and nothing
 * is said to its worker about it any more. */
#include "engine/engine_priv.h"

#include "base/mem.h"

void
er_live_attempt_end_begin(struct er_engine *e, struct er_live_attempt *run)
{
    run->phase = ER_LIVE_ENDING;
    run->session->load--;
    er_lanes_release(e, run->lane);
}

void
er_live_attempt_end_undo(struct er_engine *e, struct er_live_attempt *run)
{
    run->phase = ER_LIVE_HELD;
    run->session->load++;
    er_lanes_retake(e, run->lane);
}

void
er_live_attempt_end_done(struct er_engine *e, struct er_live_attempt *run,
                         const struct er_outcome *o)
{
    if (o->row.refund && o->row.status == 0) {
        er_lanes_refund(e, run->lane, run->ready.cost);
    }
    er_live_attempt_free(e, run);
}

/* ---- ends that nobody else asks for ---- */

struct er_ends {
    struct er_op op;
    struct er_engine *engine;
    struct er_arena arena;
    size_t n, room;
    struct er_outcome rows[];
};

struct er_ends *
er_ends_new(struct er_engine *e, size_t room)
{
    struct er_ends *ends = er_xzalloc(sizeof *ends + room * sizeof ends->rows[0]);
    ends->engine = e;
    ends->room = room;
    return ends;
}

struct er_outcome *
er_ends_next(struct er_ends *ends)
{
    ER_ASSERT(ends->n < ends->room);
    return &ends->rows[ends->n++];
}

void
er_ends_undo(struct er_ends *ends)
{
    ends->n--;
}

struct er_arena *
er_ends_arena(struct er_ends *ends)
{
    return &ends->arena;
}

static int
run_ends(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_ends *ends = (struct er_ends *)(void *)op;
    return er_outcome_write(s, now, &ends->arena, ends->rows, ends->n);
}

static void
done_ends(struct er_op *op, int rc)
{
    struct er_ends *ends = (struct er_ends *)(void *)op;
    struct er_engine *e = ends->engine;
    if (rc && !e->stopping) {
        er_schedule_later(e, op, rc);
        return;
    }
    for (size_t i = 0; i < ends->n && rc == 0; i++) {
        er_live_attempt_end_done(e, er_live_attempt_find(e, ends->rows[i].row.id),
                                 &ends->rows[i]);
    }
    er_arena_free(&ends->arena);
    er_free(ends);
}

void
er_ends_post(struct er_ends *ends)
{
    if (ends->n == 0) {
        er_arena_free(&ends->arena);
        er_free(ends);
        return;
    }
    for (size_t i = 0; i < ends->n; i++) {
        ends->rows[i].look = true; /* it may wait, and a cancel come meanwhile */
    }
    ends->op.run = run_ends;
    ends->op.done = done_ends;
    er_ferry_post(ends->engine->ferry, &ends->op);
}
