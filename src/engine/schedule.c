/* SPDX-License-Identifier: MIT */
/* Who may run now? At the end of each turn of the loop the best tasks of the lanes are
 * claimed for the sessions that have room, in the same crossing as the ends that made the
 * room. While the store refuses writes nothing is claimed, and one timer tries again. */
#include "engine/engine_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"

#define CLAIM_MAX   ((size_t)256)   /* tasks in one claim */
#define DUE_MAX     500             /* tasks moved by one look at what is due */
#define SICK_RETRY  ER_USEC_PER_SEC /* pause between tries on a store that refuses */
#define CLOCK_STEP  (500 * ER_USEC_PER_MS) /* from which on a clock was set, not trimmed */
#define ROUNDS_MAX  32                     /* crossings in one turn, without threads */
#define PRUNE_EVERY 200 /* finished tasks between two looks at retention */
#define PRUNE_MAX   500 /* tasks removed in one transaction */

/* ---- claims ---- */

struct claim_op {
    struct er_op op;
    struct er_engine *engine;
    struct er_arena arena;
    size_t n;
    struct er_claim rows[CLAIM_MAX];
};

static int
run_claim(struct er_op *op, struct er_store *s, er_usec now)
{
    struct claim_op *c = (struct claim_op *)(void *)op;
    return er_store_claim(s, now, c->rows, c->n, &c->arena);
}

void
er_schedule_held(struct er_engine *e, struct er_live_attempt *run,
                 const struct er_claim *row)
{
    run->phase = ER_LIVE_HELD;
    er_live_attempt_fill(run, row->task);
    e->stats.claims++;
    e->n_dependents -= row->task->has_after && e->n_dependents > 0;
    er_orders_send(e, run, row);
    er_pause_claimed(e, run);
}

/* The claim of one task came back. */
static void
claimed(struct er_engine *e, struct er_claim *row, int rc)
{
    struct er_live_attempt *run = er_live_attempt_find(e, row->id);
    ER_ASSERT(run && run->phase == ER_LIVE_CLAIMING);
    if (rc == 0 && row->status == 0) {
        er_schedule_held(e, run, row);
        return;
    }
    er_lanes_release(e, run->lane);
    er_lanes_refund(e, run->lane, run->ready.cost);
    if (rc && !ER_MUTANT(8)) { /* nothing happened to it: it stands where it stood */
        er_lanes_ready(e, &run->ready);
    } else {
        e->stats.claim_misses++;
    }
    for (size_t i = 0; i < run->n_twins; i++) {
        er_lanes_ready(e, &run->twins[i]);
    }
    er_live_attempt_free(e, run);
}

static void
done_claim(struct er_op *op, int rc)
{
    struct claim_op *c = (struct claim_op *)(void *)op;
    for (size_t i = 0; i < c->n; i++) {
        claimed(c->engine, &c->rows[i], rc);
    }
    if (rc) {
        er_schedule_sick(c->engine, rc);
    }
    er_arena_free(&c->arena);
    er_free(c);
}

/* A task that was edited stands in the windows at several places, of which one is right;
 * the claim that is under way may be of a wrong one. */
static void
keep_twin(struct er_live_attempt *run, const struct er_ready *ready)
{
    if (run->phase == ER_LIVE_CLAIMING && !ER_MUTANT(9)) {
        run->twins =
            er_xrealloc_array(run->twins, run->n_twins + 1, sizeof run->twins[0]);
        run->twins[run->n_twins++] = *ready;
    }
}

static void
claim_some(struct er_engine *e)
{
    struct claim_op *c = NULL;
    struct er_session_live *s;
    struct er_ready ready;
    struct er_lane_live *lane;
    while ((!c || c->n < CLAIM_MAX) && er_pools_look(e) &&
           er_lanes_take(e, &ready, &lane)) {
        if (!c) {
            c = er_xzalloc(sizeof *c);
            c->op.run = run_claim;
            c->op.done = done_claim;
            c->engine = e;
        }
        struct er_live_attempt *twin = er_live_attempt_find(e, ready.id);
        if (twin) {
            er_lanes_release(e, lane);
            er_lanes_refund(e, lane, ready.cost);
            keep_twin(twin, &ready);
            continue;
        }
        s = er_dispatch_pick(e, e->mixed ? lane->type->pool : NULL);
        struct er_live_attempt *run = er_live_attempt_new(e, s, lane, ready.id);
        run->ready = ready;
        c->rows[c->n].id = ready.id;
        c->rows[c->n].session = s->id;
        c->rows[c->n].lane = ready.lane;
        c->rows[c->n].rank = ready.rank;
        c->n++;
    }
    if (c && c->n > 0) {
        er_ferry_post(e->ferry, &c->op);
    } else if (c) {
        er_free(c);
    }
}

static void
claim(struct er_engine *e)
{
    if (!e->sick && !e->tight && !e->stopping && !e->draining && !e->options.is_idle) {
        claim_some(e);
        er_offers_make(e);
        er_pools_ask(e);
    }
    e->n_coming = 0;
}

static void
on_again(struct er_letter *letter)
{
    ER_CONTAINER(letter, struct er_engine, again)->again_posted = false;
}

/* Without threads: one thing leads to another, a submit to its claim, that to its line;
 * all of it in one turn, but a turn has an end. */
static void
turn_inline(struct er_engine *e)
{
    for (int i = 0; i < ROUNDS_MAX; i++) {
        claim(e);
        if (!er_engine_turn_inline(e)) {
            return;
        }
    }
    if (!e->again_posted) {
        e->again_posted = true;
        e->again.deliver = on_again;
        er_loop_post(e->options.loop, &e->again);
    }
}

static void look_at_clock(struct er_engine *e);

void
er_schedule_turn(void *engine)
{
    struct er_engine *e = engine;
    look_at_clock(e);
    if (e->options.inline_store) {
        turn_inline(e);
        return;
    }
    claim(e);
    er_ferry_flush(e->ferry);
}

/* ---- what is due ---- */

struct due_op {
    struct er_op op;
    struct er_engine *engine;
    er_usec shift; /* the clock was set: by that */
    bool probe;    /* the store refused: a write tells whether it still does */
    er_usec next;
};

static int
run_due(struct er_op *op, struct er_store *s, er_usec now)
{
    struct due_op *d = (struct due_op *)(void *)op;
    int rc = d->probe ? er_store_probe(s, now) : 0;
    if (rc == 0 && d->shift) {
        rc = er_store_shift(s, d->shift);
    }
    return rc ? rc : er_store_due(s, now, DUE_MAX, &d->next);
}

static void
set_alarm(struct er_engine *e)
{
    er_usec at = e->due_under_way ? ER_NEVER : e->next_due, gates_at = er_gates_due_at(e);
    at = gates_at < at ? gates_at : at;
    at = e->autopsies_at < at ? e->autopsies_at : at;
    at = e->silence_at < at ? e->silence_at : at;
    if (e->sick || (e->tight && at > e->sick_until)) {
        at = e->sick_until;
    }
    er_loop_set_alarm(e->options.loop, at);
}

static void
done_due(struct er_op *op, int rc)
{
    struct due_op *d = (struct due_op *)(void *)op;
    struct er_engine *e = d->engine;
    e->due_under_way = false;
    if (rc) {
        e->next_due = 0; /* look again as soon as the store is well */
        er_schedule_sick(e, rc);
    } else {
        e->shift -= d->shift;
        er_schedule_due(e, d->next);
    }
    set_alarm(e);
    er_free(d);
}

static void
look_at_due(struct er_engine *e)
{
    er_usec now = ER_MUTANT(7) ? e->clock_base + er_clock_mono(e->options.clock)
                               : er_clock_wall(e->options.clock);
    if (e->due_under_way || e->stopping || e->next_due > now) {
        return;
    }
    struct due_op *d = er_xzalloc(sizeof *d);
    d->op.run = run_due;
    d->op.done = done_due;
    d->engine = e;
    d->shift = e->shift;
    d->probe = e->sick;
    e->due_under_way = true;
    e->next_due = ER_NEVER; /* effects that come meanwhile lower it again */
    /* what is posted already was asked for by the clock as it is now */
    er_ferry_post_first(e->ferry, &d->op);
}

static er_usec
clock_base(const struct er_engine *e)
{
    return er_clock_wall(e->options.clock) - er_clock_boot(e->options.clock);
}

/* The wall clock and the one that is never set have moved apart: what waits for a span
 * goes with them, before anything is found due, or begins to wait. So it is looked at in
 * each turn: the loop is told of a set clock, but may have other things to do first. */
static void
look_at_clock(struct er_engine *e)
{
    er_usec by = clock_base(e) - e->clock_base;
    if ((by > -CLOCK_STEP && by < CLOCK_STEP) || ER_MUTANT(11)) {
        return;
    }
    by =
        clock_base(e) - e->clock_base; /* we may have been stopped between two readings */
    if (by > -CLOCK_STEP && by < CLOCK_STEP) {
        return;
    }
    er_log(ER_LOG_INFO, "schedule", "the clock was set by %.1f s", (double)by / 1e6);
    e->clock_base += by;
    e->shift += by;
    e->sick_until += by;
    e->autopsies_at += e->autopsies_at == ER_NEVER ? 0 : by;
    e->silence_at += e->silence_at == ER_NEVER ? 0 : by;
    e->next_due = 0;
    look_at_due(e);
}

void
er_schedule_due(struct er_engine *e, er_usec at)
{
    if (at < e->next_due) {
        e->next_due = at;
        set_alarm(e);
    }
}

void
er_schedule_rearm(struct er_engine *e)
{
    set_alarm(e);
}

void
er_schedule_alarm(void *engine)
{
    struct er_engine *e = engine;
    look_at_clock(e);
    if ((e->sick || e->tight) && er_clock_wall(e->options.clock) >= e->sick_until) {
        e->sick_until = er_clock_wall(e->options.clock) + SICK_RETRY;
        er_ballast_look(e);
        if (e->sick) {
            e->next_due = 0; /* try again: a commit of a look at what is due tells */
        }
    }
    er_gates_tick(e);
    er_recover_tick(e);
    er_silence_tick(e);
    look_at_due(e);
    set_alarm(e);
}

/* ---- a store that refuses ---- */

void
er_schedule_sick(struct er_engine *e, int code)
{
    if (e->stopping) {
        return; /* refused because the ferry goes no more */
    }
    e->stats.commit_failures++;
    if (!e->sick) {
        er_log(ER_LOG_ERROR, "store",
               "the store refuses writes: %s; nothing is lost, trying "
               "again every second",
               er_error_meaning(code));
    }
    if (code == ER_EDISKFULL) {
        er_ballast_give_up(e);
    }
    e->sick = true;
    e->sick_code = code;
    e->sick_until = er_clock_wall(e->options.clock) + SICK_RETRY;
    set_alarm(e);
}

/* In the order in which they came: an end that waits goes before one that builds on
 * it. */
static void
add_later(struct er_engine *e, struct er_op *op)
{
    op->next = NULL;
    if (!e->later) {
        e->later_end = &e->later;
    }
    *e->later_end = op;
    e->later_end = &op->next;
}

void
er_schedule_later(struct er_engine *e, struct er_op *op, int code)
{
    ER_ASSERT(!e->stopping);
    er_schedule_sick(e, code);
    add_later(e, op);
}

void
er_schedule_post_later(struct er_engine *e)
{
    while (e->later) {
        struct er_op *op = e->later;
        e->later = op->next;
        er_ferry_post(e->ferry, op);
    }
}

void
er_schedule_well(struct er_engine *e)
{
    if (!e->sick) {
        return;
    }
    er_log(ER_LOG_WARN, "store", "the store takes writes again%s",
           e->tight ? ", of what was taken before: submits are refused until there is "
                      "space on the disk"
                    : "");
    e->sick = false;
    e->sick_code = 0;
    set_alarm(e);
    er_schedule_post_later(e);
    struct er_lane_live *lane, *next;
    HASH_ITER (hh, e->lanes, lane, next) {
        er_lanes_mark_more(e, lane);
    }
}

/* ---- retention ---- */

struct prune_op {
    struct er_op op;
    struct er_engine *engine;
    struct er_retention keep;
    struct er_arena arena;
    struct er_removed *removed;
    size_t n;
    bool more;
    int64_t total;
    er_clean_done_fn *done;
    void *ctx;
};

static int
run_prune(struct er_op *op, struct er_store *s, er_usec now)
{
    struct prune_op *p = (struct prune_op *)(void *)op;
    return er_store_prune(s, now, &p->keep, PRUNE_MAX, &p->arena, &p->removed, &p->n,
                          &p->more);
}

static void
done_prune(struct er_op *op, int rc)
{
    struct prune_op *p = (struct prune_op *)(void *)op;
    struct er_engine *e = p->engine;
    p->total += rc ? 0 : (int64_t)p->n;
    if (rc == 0 && p->n > 0) {
        er_engine_delete_logs(e, &p->arena, p->removed, p->n);
    }
    er_arena_free(&p->arena);
    p->arena = (struct er_arena){0};
    if (rc == 0 && p->more && !e->stopping) {
        er_ferry_post(e->ferry, &p->op);
        return;
    }
    if (p->done) {
        p->done(p->ctx, rc, p->total);
    } else {
        e->pruning = false;
    }
    er_free(p);
}

void
er_engine_clean(struct er_engine *e, const struct er_retention *keep,
                er_clean_done_fn *done, void *ctx)
{
    struct prune_op *p = er_xzalloc(sizeof *p);
    p->op.run = run_prune;
    p->op.done = done_prune;
    p->engine = e;
    p->keep = *keep;
    p->done = done;
    p->ctx = ctx;
    er_ferry_post(e->ferry, &p->op);
}

void
er_schedule_prune(struct er_engine *e)
{
    if (++e->finished_since_prune >= PRUNE_EVERY && !e->pruning && !e->sick) {
        e->finished_since_prune = 0;
        e->pruning = true;
        er_engine_clean(e, &e->options.retention, NULL, NULL);
    }
}
