/* SPDX-License-Identifier: MIT */
/* Offers: a task that finds its lane empty and a slot free is claimed in the transaction
 * that makes it, so that it is with its worker after one sync and not after two.
 *
 * Happy path: a submit is posted, and the lanes of its rows are noted -> at the end of
 * the turn, when nobody is known any more who may run, each of them gets a seat: a run
 * without a task, which holds a session's slot and the lane's permits as any run in phase
 * CLAIMING does -> one operation behind the submits claims for each seat the best of its
 * lane that has become able to run in this transaction -> a seat that was taken is a run
 * that is held; one that was not is given back (the submit was refused, its task is
 * blocked, or held).
 *
 * The same for what the end of an attempt releases, in the lane of what ended, as long as
 * tasks with dependencies were submitted and have not started.
 *
 * Nobody is overtaken: whom the loop knew it has claimed before, so only those can stand
 * before who have become able to run since, and of whom it will hear: what an end
 * releases, what is due, submits without a seat. The store counts them (er_store_fresh).
 * When there are more of them than slots and permits are left beside the seats, nothing
 * is claimed, and the loop decides as ever when it has heard of all. It always does where
 * tokens are asked for.
 *
 * Failure modes: the transaction fails: all seats are given back. The session dies: its
 * autopsy waits for offers as it does for claims. */
#include "engine/engine_priv.h"

#include <limits.h>

#include "base/mem.h"
#include "base/mutant.h"

struct offer {
    struct er_op op;
    struct er_engine *engine;
    struct er_arena arena;
    int64_t heard;                 /* of so many who became able to run */
    int spare;                     /* left beside the seats, where it is least */
    size_t n, n_taken;             /* seats; those with somebody are the first */
    struct er_live_attempt **runs; /* of the loop; behind the rows */
    struct er_claim rows[];
};

/* ---- on the store's thread ---- */

static bool
stands_before(const struct er_ready *a, const struct er_ready *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->id < b->id;
}

/* The best of a lane that stands behind `last`; NULL = there is none. What has had an
 * attempt waits for the loop: something may have been promised about it while that
 * ended. */
static const struct er_ready *
next_of(int64_t lane, const struct er_ready *last, const struct er_ready *fresh, size_t n)
{
    const struct er_ready *best = NULL;
    for (size_t i = 0; i < n; i++) {
        if (fresh[i].lane == lane && !fresh[i].again && stands_before(last, &fresh[i]) &&
            (!best || stands_before(&fresh[i], best))) {
            best = &fresh[i];
        }
    }
    return best;
}

/* Whoever has got a seat in that lane last. */
static struct er_ready
last_of(const struct offer *o, int64_t lane)
{
    for (size_t i = o->n_taken; i > 0; i--) {
        if (o->rows[i - 1].lane == lane) {
            return (struct er_ready){.id = o->rows[i - 1].id,
                                     .rank = o->rows[i - 1].rank};
        }
    }
    return (struct er_ready){.rank = INT64_MIN};
}

static void
swap_seats(struct offer *o, size_t i, size_t k)
{
    struct er_claim row = o->rows[i];
    struct er_live_attempt *run = o->runs[i];
    o->rows[i] = o->rows[k];
    o->runs[i] = o->runs[k];
    o->rows[k] = row;
    o->runs[k] = run;
}

static void
seat_all(struct offer *o, const struct er_ready *fresh, size_t n)
{
    for (size_t i = 0; i < o->n; i++) {
        struct er_claim *row = &o->rows[i];
        struct er_ready last = last_of(o, row->lane);
        const struct er_ready *best = next_of(row->lane, &last, fresh, n);
        if (best) {
            row->id = best->id;
            row->rank = best->rank;
            swap_seats(o, i, o->n_taken++);
        }
    }
}

static int
run_offer(struct er_op *op, struct er_store *s, er_usec now)
{
    struct offer *o = (struct offer *)(void *)op;
    const struct er_ready *fresh;
    int64_t total, others;
    size_t n = er_store_fresh(s, &fresh, &total);
    o->n_taken = 0;
    if (total - o->heard - (int64_t)o->n > o->spare) {
        return 0;
    }
    seat_all(o, fresh, n);
    others = total - o->heard - (int64_t)o->n_taken;
    if (others > o->spare) {
        o->n_taken = 0;
        return 0;
    }
    return er_store_claim(s, now, o->rows, o->n_taken, &o->arena);
}

/* ---- on the loop's ---- */

static void
give_back(struct er_engine *e, struct er_live_attempt *run)
{
    if (!ER_MUTANT(15)) {
        er_lanes_release(e, run->lane);
    }
    er_live_attempt_free(e, run);
}

static void
done_offer(struct er_op *op, int rc)
{
    struct offer *o = (struct offer *)(void *)op;
    struct er_engine *e = o->engine;
    for (size_t i = 0; i < o->n; i++) {
        const struct er_claim *row = &o->rows[i];
        if (rc == 0 && i < o->n_taken && row->status == 0) {
            er_live_attempt_set_task(e, o->runs[i], row->task);
            er_schedule_held(e, o->runs[i], row);
        } else {
            give_back(e, o->runs[i]);
        }
    }
    if (rc) {
        er_schedule_sick(e, rc);
    }
    er_arena_free(&o->arena);
    er_free(o);
}

/* How many more could start in that lane, by what is known. */
static int
room_of(struct er_engine *e, const struct er_lane_live *lane)
{
    int slots = er_dispatch_free_slots(e, e->mixed ? lane->type->pool : NULL);
    int permits = er_gates_permits_left(lane);
    return slots < permits ? slots : permits;
}

static bool
may_offer(struct er_engine *e, const struct er_lane_live *lane)
{
    return lane->n == 0 && !lane->more && er_pools_look(e) && lane->bay->open &&
           room_of(e, lane) > 0;
}

static void
add_seat(struct offer *o, struct er_lane_live *lane)
{
    struct er_engine *e = o->engine;
    struct er_session_live *s = er_dispatch_pick(e, e->mixed ? lane->type->pool : NULL);
    o->runs[o->n] = er_live_attempt_new(e, s, lane, --e->last_seat);
    o->rows[o->n].session = s->id;
    o->rows[o->n].lane = lane->id;
    o->rows[o->n].fresh = true;
    o->n++;
    er_lanes_retake(e, lane);
}

static struct offer *
make_offer(struct er_engine *e)
{
    struct offer *o = NULL;
    size_t size = sizeof *o + e->n_coming * (sizeof o->rows[0] + sizeof o->runs[0]);
    o = er_xzalloc(size);
    o->op.run = run_offer;
    o->op.done = done_offer;
    o->engine = e;
    o->heard = e->heard;
    o->runs = (struct er_live_attempt **)(void *)&o->rows[e->n_coming];
    for (size_t i = 0; i < e->n_coming; i++) {
        if (may_offer(e, e->coming[i])) {
            add_seat(o, e->coming[i]);
        }
    }
    o->spare = INT_MAX;
    for (size_t i = 0; i < o->n; i++) {
        int room = room_of(e, o->runs[i]->lane);
        o->spare = room < o->spare ? room : o->spare;
    }
    return o;
}

static void
expect(struct er_engine *e, struct er_lane_live *lane)
{
    if (e->n_coming < ER_OFFERS_MAX) {
        e->coming[e->n_coming] = lane;
    }
    e->n_coming++;
}

void
er_offers_expect(struct er_engine *e, const struct er_new_task *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct er_new_task *row = &rows[i];
        e->n_dependents += row->n_after > 0;
        if (row->held || row->n_after > 0 || row->run_at != ER_NEVER ||
            e->n_coming > ER_OFFERS_MAX) {
            continue;
        }
        struct er_lane_live *lane =
            er_lanes_find_names(e, row->queue, row->type, row->limit_key);
        if (lane) {
            expect(e, lane);
        }
    }
}

void
er_offers_expect_after(struct er_engine *e, struct er_lane_live *lane)
{
    if (e->n_dependents > 0) {
        expect(e, lane);
    }
}

void
er_offers_make(struct er_engine *e)
{
    if (e->n_coming == 0 || e->n_coming > ER_OFFERS_MAX || e->all_paused ||
        e->n_peeks > 0 || e->open.n > 0 ||
        er_dispatch_free_slots(e, NULL) < (int)e->n_coming) {
        return;
    }
    struct offer *o = make_offer(e);
    if (o->n > 0) {
        er_ferry_post(e->ferry, &o->op);
    } else {
        er_free(o);
    }
}
