/* SPDX-License-Identifier: MIT */
/* Stopping what runs where it is, and letting it go on; the switches of queues and of
 * everything.
 *
 * Happy path: asked (the run says what is wanted) -> told to the worker -> it reports
 * `paused` or `resumed` -> that is written (report.c) -> the run says what is. The last
 * request wins: what is wanted and what is may differ for a while, and the line that was
 * sent last makes them agree. While they differ the task shows as pausing or resuming.
 * A handler, or a program that speaks the handlers' protocol, is not stopped where it is: it
 * is asked to stop (er_dispatch_send_stop), and its task put back held, at its checkpoint.
 * Failure modes: no link, or the worker does not know the run yet: said when it does. The
 * attempt ends first: what follows it is held (ends.c). Its worker dies: a loss as ever. The
 * engine dies before the worker has heard of it: forgotten, since what was answered is that
 * it was asked for; but what the worker has heard is taken over from it when it is back. */
#include "engine/engine_priv.h"

#include <string.h>

#include "base/mem.h"

static void
send(struct er_run *run, bool pause)
{
    struct er_session_live *s = run->session;
    if (!s->link || run->phase != ER_RUN_HELD || !run->told) {
        return; /* said when it is attached, or told of the run */
    }
    er_buf_addf(&s->link->out, "{\"%s\":{\"task\":%lld,\"attempt\":%d}}\n",
                pause ? "pause" : "resume", (long long)run->id, run->attempt);
    s->link->wake(s->link);
    er_silence_asked(s);
}

bool
er_pause_in_place(const struct er_engine *e, const struct er_run *run)
{
    return !run->session->handlers &&
           er_engine_type(e, run->lane->type->name)->n_program == 0;
}

void
er_pause_ask(struct er_run *run, bool pause, bool hold)
{
    bool changed = run->want_pause != pause || run->want_unknown;
    run->want_pause = pause;
    run->want_unknown = false;
    run->hold = hold;
    if (changed) {
        send(run, pause);
    }
}

void
er_pause_tell(struct er_run *run)
{
    if (run->want_pause != run->paused) {
        send(run, run->want_pause);
    }
}

void
er_pause_done(struct er_run *run, bool paused)
{
    run->paused = paused;
}

/* Whether the switch of everything, or of its queue, stops it. */
static bool
is_switched_off(const struct er_engine *e, const struct er_run *run)
{
    return e->all_paused || run->lane->queue->paused;
}

void
er_pause_load(struct er_engine *e, struct er_run *run, const struct er_task *task)
{
    run->paused = task->state == ER_TASK_PAUSED;
    run->want_pause = run->paused;
    run->want_unknown = true;
    run->hold = run->paused && !is_switched_off(e, run);
}

/* `paused`: that is the last order that it has heard. Whether it has carried it out it
 * reports by itself, until it is answered. */
void
er_pause_held(struct er_engine *e, struct er_run *run, bool paused)
{
    if (run->want_unknown) { /* it may have heard of a request that we know nothing of */
        run->want_unknown = false;
        run->want_pause = paused;
        run->hold = paused && !is_switched_off(e, run);
    }
    if (run->want_pause != paused) {
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

static int
run_pause(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_pause_request *p = (struct er_pause_request *)(void *)op;
    return p->queue ? put_queue(p, s, now) : er_store_pause_all(s, now, p->paused);
}

static void
tell_run(struct er_pause_request *p, struct er_run *run)
{
    bool in_place = er_pause_in_place(p->engine, run);
    if (run->phase == ER_RUN_ENDING || run->cancel || run->requeue) {
        return; /* it stops anyway, and the switch keeps it from starting */
    }
    if (!p->paused && !run->want_pause && !run->paused) {
        return;
    }
    p->n_told += run->id > 0; /* an empty seat is nobody, but whoever gets it is meant */
    if (p->paused && (p->free_slot || !in_place)) {
        run->requeue = true; /* not held: the switch holds it */
        run->stop_pause = !in_place;
        er_dispatch_send_stop(run);
    } else {
        er_pause_ask(run, p->paused, p->paused && run->hold);
    }
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
    struct er_run *run, *next;
    HASH_ITER (hh, e->runs, run, next) {
        bool meant = !p->queue || strcmp(run->lane->queue->limit.name, p->queue) == 0;
        if (meant && is_switched_off(e, run) == p->paused) {
            tell_run(p, run);
        }
    }
    p->done(p, 0);
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
    if (p->queue) {
        copy_settings(e, p);
    }
    p->op.run = run_pause;
    p->op.done = done_pause;
    er_ferry_post(e->ferry, &p->op);
}
