/* SPDX-License-Identifier: MIT */
/* Sessions and what is sent to them. A session is a worker that the store knows; it has a
 * link while its stream is open. A run belongs to one session from its claim to its end.
 *
 * Happy path: session_open -> (welcome goes out with attach) -> run lines as claims come
 * back -> reports (report.c). The link breaks: the runs stay, nothing is sent, and attach
 * sorts out what the worker has and has not. The worker dies: recover.c. */
#include "engine/engine_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/rand.h"

/* Work given ahead is worth at most this long: short tasks never wait for the store, long
 * ones are never held by a worker while another could take them. */
#define LOOKAHEAD_FOR (20 * ER_USEC_PER_MS)
#define LOOKAHEAD_MAX 32                 /* attempts ahead for each slot ... */
#define LOOKAHEAD_ALL 256                /* ... and for all of a session's */
#define SLEEPER_MAX   ((size_t)64 << 10) /* bytes that a link's empty buffer may keep */
/* Sessions of handlers are called h1, h2 ...: so they are known as such after a start. */
#define HANDLERS_NAME 'h'

struct er_live_attempt *
er_live_attempt_find(const struct er_engine *e, er_task_id id)
{
    struct er_live_attempt *run;
    HASH_FIND(hh, e->runs, &id, sizeof id, run);
    return run;
}

struct er_live_attempt *
er_live_attempt_new(struct er_engine *e, struct er_session_live *s,
                    struct er_lane_live *lane, er_task_id id)
{
    struct er_live_attempt *run = er_xzalloc(sizeof *run);
    run->id = id;
    run->session = s;
    run->lane = lane;
    run->started_at = ER_NEVER;
    TAILQ_INSERT_TAIL(&s->runs, run, in_session);
    s->load++;
    HASH_ADD(hh, e->runs, id, sizeof run->id, run);
    return run;
}

void
er_live_attempt_fill(struct er_live_attempt *run, const struct er_task *task)
{
    run->attempt = task->attempt;
    run->run = task->run;
    run->failures = task->failures;
    run->losses = task->losses;
    run->retries = task->retries;
    run->backoff_for = task->backoff_for;
    run->grace_for = task->grace_for;
    run->on_lost = task->on_lost;
    run->cancel = task->cancel_requested;
    run->items_completed = task->items_completed;
    run->items_failed = task->items_failed;
    run->has_items = task->items_completed + task->items_failed > 0;
    run->correlation = er_xstrdup(task->correlation);
}

void
er_live_attempt_set_task(struct er_engine *e, struct er_live_attempt *run,
                         const struct er_task *task)
{
    HASH_DEL(e->runs, run);
    run->id = task->id;
    HASH_ADD(hh, e->runs, id, sizeof run->id, run);
    run->ready = (struct er_ready){
        .id = task->id, .lane = task->lane, .rank = task->rank, .cost = task->cost};
    /* whoever knew of the task before us may have asked for it already */
    run->change_asked = e->n_changes > 0;
}

void
er_live_attempt_free(struct er_engine *e, struct er_live_attempt *run)
{
    HASH_DEL(e->runs, run);
    TAILQ_REMOVE(&run->session->runs, run, in_session);
    if (run->phase != ER_LIVE_ENDING) {
        run->session->load--;
    }
    er_free(run->cancel_reason);
    er_free(run->cancel_by);
    er_free(run->correlation);
    er_free(run->progress);
    er_free(run->checkpoint);
    er_free(run->twins);
    er_free(run);
}

/* ---- sessions ---- */

bool
er_dispatch_is_connected(const struct er_session_live *s)
{
    return s->link && !s->draining && !s->dying;
}

static int
session_room(const struct er_session_live *s)
{
    if (!er_dispatch_is_connected(s) || er_orders_is_full(s)) {
        return 0;
    }
    er_usec ahead = 0;
    if (s->mean_for > 0) {
        ahead = LOOKAHEAD_FOR / s->mean_for;
        ahead = ahead > LOOKAHEAD_MAX ? LOOKAHEAD_MAX : ahead;
    }
    ahead *= s->slots;
    return s->slots + (int)(ahead > LOOKAHEAD_ALL ? LOOKAHEAD_ALL : ahead) - s->load;
}

struct er_session_live *
er_dispatch_pick(struct er_engine *e, const struct er_pool *pool)
{
    struct er_session_live *s, *next, *best = NULL;
    HASH_ITER (hh, e->sessions, s, next) {
        if (session_room(s) > 0 && (!best || session_room(s) > session_room(best)) &&
            (!pool || er_pools_has(pool, s))) {
            best = s;
        }
    }
    return best;
}

int
er_dispatch_free_slots(const struct er_engine *e, const struct er_pool *pool)
{
    struct er_session_live *s, *next;
    int n = 0;
    HASH_ITER (hh, e->sessions, s, next) {
        if (er_dispatch_is_connected(s) && s->slots > s->load &&
            (!pool || er_pools_has(pool, s))) {
            n += s->slots - s->load;
        }
    }
    return n;
}

struct er_session_live *
er_dispatch_find(struct er_engine *e, int64_t session, const char *token)
{
    struct er_session_live *s;
    HASH_FIND(hh, e->sessions, &session, sizeof session, s);
    return s && token && strcmp(s->token, token) == 0 ? s : NULL;
}

struct er_session_live *
er_dispatch_add(struct er_engine *e, const struct er_session *from)
{
    struct er_session_live *s = er_xzalloc(sizeof *s);
    s->id = from->id;
    s->worker = er_xstrdup(from->worker);
    memcpy(s->token, from->token, strnlen(from->token, sizeof s->token - 1));
    s->handlers = from->worker[0] == HANDLERS_NAME; /* what its hello says counts more */
    s->pid = from->pid;
    s->engine = e;
    er_silence_forget(s);
    TAILQ_INIT(&s->runs);
    TAILQ_INIT(&s->orders);
    HASH_ADD(hh, e->sessions, id, sizeof s->id, s);
    return s;
}

void
er_dispatch_remove(struct er_engine *e, struct er_session_live *s)
{
    ER_ASSERT(TAILQ_EMPTY(&s->runs));
    er_orders_forget_envs(s);
    er_orders_drop(s);
    HASH_DEL(e->sessions, s);
    er_free(s->worker);
    er_free(s->types);
    er_free(s);
}

struct open_op {
    struct er_op op;
    struct er_engine *engine;
    struct er_session session;
    char worker[24];
    char token[33];
    er_session_done_fn *done;
    void *ctx;
};

static int
run_open(struct er_op *op, struct er_store *s, er_usec now)
{
    struct open_op *o = (struct open_op *)(void *)op;
    return er_store_session_open(s, now, &o->session);
}

static void
done_open(struct er_op *op, int rc)
{
    struct open_op *o = (struct open_op *)(void *)op;
    if (rc) {
        er_schedule_sick(o->engine, rc);
    } else {
        (void)er_dispatch_add(o->engine, &o->session);
    }
    o->done(o->ctx, rc ? 0 : o->session.id, rc);
    er_free(o);
}

/* The first name of the form wN (or hN) that no session has. */
static void
free_name(struct er_engine *e, char kind, char *out, size_t size)
{
    for (int i = 1;; i++) {
        bool used = false;
        struct er_session_live *s, *next;
        (void)snprintf(out, size, "%c%d", kind, i);
        HASH_ITER (hh, e->sessions, s, next) {
            used = used || strcmp(s->worker, out) == 0;
        }
        if (!used) {
            return;
        }
    }
}

static void
open_session(struct er_engine *e, int pid, char kind, er_session_done_fn *done, void *ctx)
{
    struct open_op *o = er_xzalloc(sizeof *o);
    unsigned char raw[16];
    er_rand_bytes(raw, sizeof raw);
    for (size_t i = 0; i < sizeof raw; i++) {
        (void)snprintf(o->token + 2 * i, 3, "%02x", raw[i]);
    }
    free_name(e, kind, o->worker, sizeof o->worker);
    o->op.run = run_open;
    o->op.done = done_open;
    o->engine = e;
    o->session.worker = o->worker;
    o->session.token = o->token;
    o->session.pid = pid;
    o->session.started_at = er_clock_wall(e->options.clock);
    o->done = done;
    o->ctx = ctx;
    er_ferry_post(e->ferry, &o->op);
}

void
er_engine_session_open(struct er_engine *e, int pid, er_session_done_fn *done, void *ctx)
{
    open_session(e, pid, 'w', done, ctx);
}

void
er_engine_session_open_handlers(struct er_engine *e, int pid, er_session_done_fn *done,
                                void *ctx)
{
    open_session(e, pid, HANDLERS_NAME, done, ctx);
}

void
er_engine_sessions(struct er_engine *e,
                   void (*fn)(void *ctx, const struct er_session_view *view), void *ctx)
{
    struct er_session_live *s, *next;
    HASH_ITER (hh, e->sessions, s, next) {
        struct er_session_view v = {.id = s->id,
                                    .worker = s->worker,
                                    .token = s->token,
                                    .pid = s->pid,
                                    .slots = s->slots,
                                    .handlers = s->handlers,
                                    .connected = s->link != NULL,
                                    .silent_for = er_silence_for(s)};
        er_task_id *ids = er_xrealloc_array(NULL, (size_t)s->load + 1, sizeof *ids);
        struct er_live_attempt *run;
        TAILQ_FOREACH (run, &s->runs, in_session) {
            v.n_runs++;
            if (run->phase == ER_LIVE_HELD && run->started_at != ER_NEVER) {
                ids[v.n_running++] = run->id;
            }
        }
        v.running = ids;
        fn(ctx, &v);
        er_free(ids);
    }
}

/* ---- lines ---- */

static void
wake(struct er_session_live *s)
{
    s->link->wake(s->link);
}

static void
add_task_attempt(struct er_buf *b, const struct er_live_attempt *run)
{
    er_buf_addf(b, "{\"task\":%lld,\"attempt\":%d", (long long)run->id, run->attempt);
}

/* A handler is asked to stop. What a process runs is ended; a program with a protocol is
 * told first, and when that is for a pause it wants to know. */
void
er_dispatch_send_stop(struct er_live_attempt *run)
{
    struct er_session_live *s = run->session;
    bool pause = !run->cancel && run->stop_pause;
    const char *why = run->cancel ? "cancel" : "requeue";
    if (!s->link || run->phase != ER_LIVE_HELD || !run->told) {
        return; /* said again when it is attached, or told of the run */
    }
    er_buf_add_str(&s->link->out, s->handlers ? "{\"stop_task\":" : "{\"cancel\":");
    add_task_attempt(&s->link->out, run);
    er_buf_addf(&s->link->out, ",\"grace_s\":%.3f,\"why\":\"%s\"%s}}\n",
                (double)run->grace_for / 1e6, s->handlers && pause ? "pause" : why,
                !s->handlers && pause ? ",\"stop\":\"pause\"" : "");
    wake(s);
    er_silence_asked(s);
}

/* ---- attach and detach ---- */

static bool
is_in(const struct er_held *list, size_t n, const struct er_live_attempt *run)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].task == run->id && list[i].attempt == run->attempt) {
            return true;
        }
    }
    return false;
}

/* What the worker has and we do not: not its any more. */
static void
drop_strangers(struct er_engine *e, struct er_session_live *s,
               const struct er_hello *hello)
{
    for (size_t i = 0; i < hello->n_held; i++) {
        const struct er_held *h = &hello->held[i];
        struct er_live_attempt *run = er_live_attempt_find(e, h->task);
        if (run && run->session == s && run->attempt == h->attempt) {
            run->pid = h->pid;
            run->started_at = h->started_at;
            run->told = true;
            if (run->phase == ER_LIVE_HELD) {
                er_pause_held(run, h->paused);
            }
            continue;
        }
        er_buf_addf(&s->link->out, "{\"drop\":{\"task\":%lld,\"attempt\":%d}}\n",
                    (long long)h->task, h->attempt);
    }
}

/* Ends of runs that a living worker does not know: they never reached it. */
static void
refund_unknown(struct er_engine *e, struct er_session_live *s,
               const struct er_hello *hello)
{
    struct er_live_attempt *run;
    struct er_ends *ends = er_ends_new(e, (size_t)s->load);
    TAILQ_FOREACH (run, &s->runs, in_session) {
        if (run->phase == ER_LIVE_HELD && !is_in(hello->held, hello->n_held, run) &&
            !is_in(hello->owed, hello->n_owed, run)) {
            struct er_outcome *o = er_ends_next(ends);
            if (er_outcome_unspawned(e, run, er_ends_arena(ends), o)) {
                er_ends_undo(ends);
                er_orders_break(s);
                break;
            }
            er_live_attempt_end_begin(e, run);
        }
    }
    er_ends_post(ends);
}

int
er_engine_session_attach(struct er_engine *e, const struct er_hello *hello,
                         struct er_link *link, const char *welcome)
{
    struct er_session_live *s = er_dispatch_find(e, hello->session, hello->token);
    if (!s || s->dying) {
        return ER_ELOST;
    }
    if (s->link) {
        (void)er_engine_session_detach(e, s->link); /* the old stream is a dead one */
    }
    s->link = link;
    s->pid = hello->pid;
    s->slots = hello->slots;
    s->pings = hello->pings;
    er_silence_forget(s);
    er_pools_set_types(e, s, hello->types, hello->n_types);
    er_pools_update(e);
    er_orders_forget_envs(s);
    er_buf_add_str(&link->out, welcome);
    drop_strangers(e, s, hello);
    refund_unknown(e, s, hello);
    struct er_live_attempt *run;
    TAILQ_FOREACH (run, &s->runs, in_session) {
        if (run->cancel || run->requeue) {
            er_dispatch_send_stop(run);
        }
    }
    wake(s);
    er_silence_asked(s);
    return 0;
}

bool
er_engine_session_detach(struct er_engine *e, struct er_link *link)
{
    bool was_its = false;
    struct er_session_live *s, *next;
    HASH_ITER (hh, e->sessions, s, next) {
        if (s->link == link) {
            s->link = NULL;
            er_silence_forget(s);
            er_orders_drop(s);
            was_its = true;
        }
    }
    if (was_its) {
        er_pools_update(e);
    }
    return was_its;
}

void
er_engine_link_take(struct er_engine *e, struct er_link *link, struct er_buf *to,
                    size_t room)
{
    struct er_session_live *s, *next;
    struct er_buf *out = &link->out;
    size_t n = out->len - link->sent;
    n = n < room ? n : room;
    er_buf_add(to, out->data ? out->data + link->sent : "", n);
    link->sent += n;
    if (link->sent == out->len) {
        if (out->size > SLEEPER_MAX) {
            er_buf_fini(out); /* a burst is over: give its memory back */
        } else {
            er_buf_clear(out);
        }
        link->sent = 0;
    } else if (link->sent > out->len / 2) { /* so each byte is moved about once */
        er_buf_drop(out, link->sent);
        link->sent = 0;
    }
    HASH_ITER (hh, e->sessions, s, next) {
        if (s->link == link) {
            er_orders_next(e, s);
        }
    }
}

void
er_engine_session_drain(struct er_engine *e, int64_t session, bool stop)
{
    struct er_session_live *s;
    HASH_FIND(hh, e->sessions, &session, sizeof session, s);
    if (s) {
        struct er_live_attempt *run;
        s->draining = true;
        TAILQ_FOREACH (run, &s->runs, in_session) {
            /* also when the worker is killed because it does not: no loss */
            run->requeue = run->requeue || stop;
        }
        if (s->link) {
            er_buf_add_str(&s->link->out, stop ? "{\"stop\":{}}\n" : "{\"drain\":{}}\n");
            wake(s);
        }
        er_pools_update(e);
    }
}

void
er_engine_set_slots(struct er_engine *e, int64_t session, int slots)
{
    struct er_session_live *s;
    HASH_FIND(hh, e->sessions, &session, sizeof session, s);
    if (s && s->slots != slots) {
        s->slots = slots;
        if (s->link) {
            er_buf_addf(&s->link->out, "{\"slots\":%d}\n", slots);
            wake(s);
        }
    }
}

/* ---- standard input ---- */

int
er_engine_input(struct er_engine *e, er_task_id id, const void *p, size_t n, bool eof)
{
    struct er_live_attempt *run = er_live_attempt_find(e, id);
    if (!run || run->phase == ER_LIVE_ENDING || !run->session->link ||
        run->session->handlers) {
        return ER_ESTATE;
    }
    if (run->phase == ER_LIVE_CLAIMING || !run->told || er_orders_is_full(run->session)) {
        return ER_EBUSY;
    }
    struct er_buf *out = &run->session->link->out;
    er_buf_add_str(out, "{\"input\":");
    add_task_attempt(out, run);
    er_buf_add_str(out, ",\"base64\":\"");
    er_base64_encode(out, p, n);
    er_buf_addf(out, "\",\"eof\":%s}}\n", eof ? "true" : "false");
    wake(run->session);
    return 0;
}

int
er_engine_tell(struct er_engine *e, er_task_id id, const char *json)
{
    struct er_live_attempt *run = er_live_attempt_find(e, id);
    if (!run || run->phase != ER_LIVE_HELD || !run->told || !run->session->link) {
        return ER_ESTATE;
    }
    struct er_buf *out = &run->session->link->out;
    er_buf_add_str(out, "{\"tell\":");
    add_task_attempt(out, run);
    er_buf_add_str(out, ",\"line\":");
    er_buf_add_str(out, json);
    er_buf_add_str(out, "}}\n");
    wake(run->session);
    return 0;
}
