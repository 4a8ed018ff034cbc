/* SPDX-License-Identifier: MIT */
/* Stopping what runs where it is, and letting it go on; the switches of queues and of
 * everything.
 *
 * Happy path: asked, which is stored (ER_ASKED_*) -> the run says what is wanted -> told
 * to the worker -> it reports `paused` or `resumed` -> that is written (report.c) -> the
 * run says what is. The last
 * request wins: what is wanted and what is may differ for a while, and the line that was
 * sent last makes them agree. While they differ the task shows as pausing or resuming.
 * A handler, or a program that speaks the handlers' protocol, is not stopped where it is:
 * it is asked to stop (er_dispatch_send_stop), and its task put back held, at its
 * checkpoint. A switch is stored first, then what it asks of those that run; then it is
 * answered.
 * Failure modes: no link, or the worker does not know the run yet: said when it does. The
 * attempt ends first: its end finds in its transaction what was asked, and what follows
 * is held (outcome.c). Its worker dies: a loss as ever. The engine dies: the next one
 * reads what was asked, and asks again. */
#include "engine/engine_priv.h"

#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"

static void
send(struct er_live_attempt *run, bool pause)
{
    struct er_session_live *s = run->session;
    if (!s->link || run->phase != ER_LIVE_HELD || !run->told) {
        return; /* said when it is attached, or told of the run */
    }
    er_buf_addf(&s->link->out, "{\"%s\":{\"task\":%lld,\"attempt\":%d}}\n",
                pause ? "pause" : "resume", (long long)run->id, run->attempt);
    s->link->wake(s->link);
    er_silence_asked(s);
}

bool
er_pause_in_place(const struct er_engine *e, const struct er_live_attempt *run)
{
    return !run->session->handlers &&
           er_engine_type(e, run->lane->type->name)->n_program == 0;
}

void
er_pause_ask(struct er_live_attempt *run, bool pause, bool hold)
{
    bool changed = run->want_pause != pause;
    run->want_pause = pause;
    run->hold = hold;
    if (changed) {
        send(run, pause);
    }
}

void
er_pause_tell(struct er_live_attempt *run)
{
    if (run->want_pause != run->paused) {
        send(run, run->want_pause);
    }
}

void
er_pause_done(struct er_live_attempt *run, bool paused)
{
    er_usec now = er_clock_mono(run->session->engine->options.clock);
    if (run->paused != paused) { /* its time left stands still meanwhile */
        run->progress_at = now - run->progress_at;
    }
    run->paused = paused;
}

/* Whether the switch of everything, or of its queue, stops it. */
static bool
is_switched_off(const struct er_engine *e, const struct er_live_attempt *run)
{
    return e->all_paused || run->lane->queue->paused;
}

void
er_pause_load(struct er_engine *e, struct er_live_attempt *run,
              const struct er_task *task)
{
    unsigned asked = ER_MUTANT(16) ? 0 : task->asked;
    bool pause = (asked & ER_ASKED_PAUSE) != 0, in_place = er_pause_in_place(e, run);
    run->paused = task->state == ER_TASK_PAUSED;
    run->stop_pause = pause && !in_place;
    run->requeue = run->stop_pause || (asked & ER_ASKED_REQUEUE);
    run->want_pause = pause && !run->requeue;
    run->hold = (asked & ER_ASKED_HOLD) != 0;
}

/* `paused`: that is the last order that it has heard. Whether it has carried it out it
 * reports by itself, until it is answered. */
void
er_pause_held(struct er_live_attempt *run, bool paused)
{
    if (run->want_pause != paused && !run->cancel && !run->requeue) {
        send(run, run->want_pause);
    }
}

/* ---- the switches ---- */

static int
put_queue(struct er_pause_request *p, struct er_store *s, er_usec now)
{
    p->settings.paused = p->paused;
    return er_store_queue_put(s, now, &p->settings);
}

static unsigned
asks(const struct er_pause_request *p)
{
    unsigned how = ER_ASKED_PAUSE | (p->free_slot ? ER_ASKED_REQUEUE : 0);
    return p->paused ? how : 0;
}

static int
run_pause(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_pause_request *p = (struct er_pause_request *)(void *)op;
    return p->queue ? put_queue(p, s, now) : er_store_pause_all(s, now, p->paused);
}

static bool
stops_anyway(const struct er_live_attempt *run)
{
    return run->phase == ER_LIVE_ENDING || run->cancel || run->requeue;
}

/* Whether the switch changes anything for it. */
static bool
is_meant(const struct er_pause_request *p, const struct er_live_attempt *run)
{
    bool here = !p->queue || strcmp(run->lane->queue->limit.name, p->queue) == 0;
    if (!here || is_switched_off(p->engine, run) != p->paused || stops_anyway(run)) {
        return false; /* what stops, the switch keeps from starting */
    }
    return p->paused || run->want_pause || run->paused || run->n_switching > 0;
}

static void
tell_run(const struct er_pause_request *p, struct er_live_attempt *run)
{
    bool in_place = er_pause_in_place(p->engine, run);
    if (p->paused && (p->free_slot || !in_place)) {
        run->requeue = true; /* not held: the switch holds it */
        run->stop_pause = !in_place;
        er_dispatch_send_stop(run);
    } else {
        er_pause_ask(run, p->paused, p->paused && run->hold);
    }
}

static int
run_asks(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_pause_request *p = (struct er_pause_request *)(void *)op;
    (void)now;
    return er_store_ask(s, p->rows, p->n_rows, ER_ASKED_CANCEL | ER_ASKED_REQUEUE,
                        p->paused ? 0 : ER_ASKED_PAUSE | ER_ASKED_HOLD, asks(p));
}

static void
done_asks(struct er_op *op, int rc)
{
    struct er_pause_request *p = (struct er_pause_request *)(void *)op;
    struct er_engine *e = p->engine;
    if (rc) {
        er_schedule_sick(e, rc);
    }
    for (size_t i = 0; i < p->n_rows; i++) { /* in the store's order, as all changes */
        const struct er_change *row = &p->rows[i];
        struct er_live_attempt *run = er_live_attempt_find(e, row->id);
        bool open = rc == 0 && row->status == 0 && run && run->attempt == row->attempt;
        if (run && run->n_switching > 0) {
            run->n_switching--;
        }
        if (open && !stops_anyway(run)) {
            tell_run(p, run);
            p->n_told++;
        }
    }
    er_free(p->rows);
    p->done(p, rc);
}

static void
done_pause(struct er_op *op, int rc)
{
    struct er_pause_request *p = (struct er_pause_request *)(void *)op;
    struct er_engine *e = p->engine;
    if (rc) {
        er_schedule_sick(e, rc);
        p->done(p, rc);
        return;
    }
    if (p->queue) {
        er_engine_queue_changed(e, &p->settings);
    } else {
        er_limits_pause_all(e, p->paused);
    }
    p->rows = er_xrealloc_array(NULL, HASH_COUNT(e->runs) + 1, sizeof *p->rows);
    struct er_live_attempt *run, *next;
    HASH_ITER (hh, e->runs, run, next) {
        if (!is_meant(p, run)) {
            continue;
        }
        if (run->id > 0) {
            run->n_switching++;
            p->rows[p->n_rows++] = (struct er_change){.id = run->id};
        } else {
            tell_run(p, run); /* an empty seat is nobody, but whoever gets it is meant */
        }
    }
    if (p->n_rows == 0) {
        done_asks(&p->op, 0);
        return;
    }
    p->op.run = run_asks;
    p->op.done = done_asks;
    er_ferry_post(e->ferry, &p->op);
}

/* ---- a switch that crosses a claim ---- */

struct claimed {
    struct er_op op;
    struct er_engine *engine;
    struct er_change row;
    unsigned asks;
};

static int
run_claimed(struct er_op *op, struct er_store *s, er_usec now)
{
    struct claimed *c = (struct claimed *)(void *)op;
    (void)now;
    return er_store_ask(s, &c->row, 1, ER_ASKED_CANCEL | ER_ASKED_REQUEUE, 0, c->asks);
}

static void
done_claimed(struct er_op *op, int rc)
{
    struct claimed *c = (struct claimed *)(void *)op;
    if (rc && !c->engine->stopping) {
        er_schedule_later(c->engine, op, rc);
        return;
    }
    er_free(c);
}

void
er_pause_claimed(struct er_engine *e, const struct er_live_attempt *run)
{
    unsigned asked = (run->want_pause || run->stop_pause ? ER_ASKED_PAUSE : 0) |
                     (run->requeue && !run->stop_pause ? ER_ASKED_REQUEUE : 0);
    if (asked == 0 || !is_switched_off(e, run)) {
        return; /* or it is its session that ends */
    }
    struct claimed *c = er_xzalloc(sizeof *c);
    c->op.run = run_claimed;
    c->op.done = done_claimed;
    c->engine = e;
    c->row.id = run->id;
    c->asks = asked;
    er_ferry_post(e->ferry, &c->op);
}

/* The settings that the switch of a queue stands among, as they are now. */
static void
copy_settings(struct er_engine *e, struct er_pause_request *p)
{
    const struct er_queue_live *q = er_lanes_queue(e, p->queue);
    p->settings = (struct er_queue){.name = p->queue,
                                    .concurrency = q->limit.concurrency,
                                    .size = q->size,
                                    .n_rates = q->limit.n_rates};
    memcpy(p->settings.rates, q->limit.rates, sizeof p->settings.rates);
}

void
er_engine_pause(struct er_engine *e, struct er_pause_request *p)
{
    p->engine = e;
    p->n_told = 0;
    p->rows = NULL;
    p->n_rows = 0;
    if (p->queue) {
        copy_settings(e, p);
    }
    p->op.run = run_pause;
    p->op.done = done_pause;
    er_ferry_post(e->ferry, &p->op);
}
