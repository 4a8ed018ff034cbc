/* SPDX-License-Identifier: MIT */
/* Workers that are played by the rules of docs/PROTOCOL.md: they connect, run what they
 * are given for a random while, report, come back after a lost link with what they hold
 * and owe. And by bad luck: they lose replies, leave a report half said, freeze and
 * die. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model.h"

#define GIVE_BACK_AFTER (100 * MS)

static int
place(const struct vworker *w)
{
    return (int)(w - sim.workers);
}

static bool
up(void)
{
    return sim.e && !sim.tearing;
}

/* ---- its attempts ---- */

static int
slots_used(const struct vworker *w)
{
    int n = 0;
    for (int i = 0; i < sim.n_tries; i++) {
        n += sim.tries[i].phase == TRY_RUNS && sim.tries[i].worker == place(w);
    }
    return n;
}

static void
plan(struct try *t)
{
    uint64_t dice = rnd(100);
    t->code = 0;
    t->will = END_EXIT;
    if (dice >= 92 && t->handler) {
        t->will = END_EXIT; /* there is no process that could be killed, or be missing */
    } else if (dice >= 96) {
        t->will = END_NOT_FOUND;
    } else if (dice >= 92) {
        t->will = END_SIGNAL;
    } else if (dice >= 89) {
        t->will = END_TIMEOUT;
    } else if (dice >= 82) {
        t->will = END_ERROR;
        t->code = (int)rnd(3);
    } else if (dice >= 76) {
        t->will = END_LIMITED;
        t->retry_after = SEC + rnd_span(30 * SEC) / MS * MS;
    } else if (dice >= 60) {
        t->code = 1 + (int)rnd(3);
    }
}

static er_usec
how_long(void)
{
    if (one_in(3)) {
        return rnd_span(20 * MS);
    }
    return one_in(10) ? rnd_span(20 * MIN) : rnd_span(10 * SEC);
}

static void
soon(struct vworker *w)
{
    er_usec at = sim.mono + (er_usec)rnd(30 * MS);
    w->report_at = at < w->report_at ? at : w->report_at;
}

static void
end_try(struct try *t, enum try_end end)
{
    bool was_up = t->phase == TRY_RUNS || end == END_NOT_FOUND;
    t->phase = TRY_ENDED;
    t->end = end;
    t->tree = false;
    t->at = ER_NEVER;
    t->ended_at = wall();
    t->log = t->log || end == END_NOT_FOUND;
    t->exit_frame = was_up && t->worker >= 0;
    sim_note("end %lld/%d %d", (long long)t->task, t->attempt, (int)end);
    if (t->worker >= 0) {
        soon(&sim.workers[t->worker]);
    }
}

static void
spawn(struct try *t)
{
    if (world_tree_lives(t->task)) {
        sim_fail("G3: attempt %d of task %lld starts while another one still runs",
                 t->attempt, (long long)t->task);
    }
    t->started_at = wall();
    if (t->will == END_NOT_FOUND) {
        end_try(t, END_NOT_FOUND);
        return;
    }
    t->phase = TRY_RUNS;
    t->tree = t->log = true;
    t->at = sim.mono + how_long();
    t->steps = one_in(8) ? 1 + (int)rnd(6) : 0;
    sim_note("spawn %lld/%d", (long long)t->task, t->attempt);
    soon(&sim.workers[t->worker]);
}

/* It has worked off one more of its items. */
static void
end_item(struct try *t)
{
    unsigned bit = 1u << rnd(16);
    t->steps--;
    t->items |= bit;
    t->items_bad = one_in(12) ? t->items_bad | bit : t->items_bad & ~bit;
    t->at = sim.mono + rnd_span(2 * SEC);
    if (t->worker >= 0) {
        soon(&sim.workers[t->worker]);
    }
}

/* What was to happen to an attempt happens. */
static void
advance(struct try *t)
{
    if (t->phase == TRY_RUNS && t->steps > 0 && !t->requeue_told && !t->cancel_told) {
        end_item(t);
        return;
    }
    if (t->phase == TRY_RUNS) {
        enum try_end end = t->will;
        if (t->requeue_told || t->cancel_told) {
            end = t->cancel_told ? END_CANCEL : END_REQUEUE;
        }
        end_try(t, end);
        return;
    }
    struct vworker *w = &sim.workers[t->worker];
    if (slots_used(w) < w->slots) {
        spawn(t);
    } else if (sim.mono - t->told_at >= GIVE_BACK_AFTER) {
        t->told_at = ER_NEVER;
        end_try(t, END_UNSPAWNED);
    } else {
        t->at = t->told_at + GIVE_BACK_AFTER;
    }
}

/* ---- lines from the daemon ---- */

static struct try *
own_try(const struct vworker *w, const json_t *o)
{
    return try_find(json_integer_value(json_object_get(o, "task")),
                    (int)json_integer_value(json_object_get(o, "attempt")), w->session);
}

/* The run line brings the latest checkpoint that was stored. */
static void
check_order(struct try *t, const json_t *o)
{
    const struct mtask *m = m_there(t->task);
    const json_t *c = json_object_get(o, "checkpoint");
    int at =
        json_is_object(c) ? (int)json_integer_value(json_object_get(c, "at")) + 1 : 0;
    t->checkpoint = at;
    if (m && m->attempt == t->attempt && m->session == t->session &&
        m->checkpoint != at) {
        sim_fail("attempt %d of task %lld begins at checkpoint %d, stored is %d",
                 t->attempt, (long long)t->task, at, m->checkpoint);
    }
}

static void
take_run(struct vworker *w, const json_t *o)
{
    if (own_try(w, o)) {
        return; /* told twice */
    }
    bool handled =
        strcmp(json_string_value(json_object_get(o, "type")), type_name(HANDLED)) == 0;
    if (handled != w->handlers) {
        sim_fail("task %lld is given to worker %d, which does not execute its type",
                 (long long)json_integer_value(json_object_get(o, "task")), place(w));
    }
    struct try *t = try_new();
    t->handler = w->handlers;
    t->phase = TRY_TOLD;
    t->task = json_integer_value(json_object_get(o, "task"));
    t->attempt = (int)json_integer_value(json_object_get(o, "attempt"));
    t->worker = place(w);
    t->session = w->session;
    memcpy(t->token, w->token, sizeof t->token);
    t->told_at = sim.mono;
    t->at = sim.mono + (er_usec)rnd(3 * MS);
    plan(t);
    check_order(t, o);
}

static void
take_cancel(struct vworker *w, const json_t *o)
{
    struct try *t = own_try(w, o);
    if (!t || t->phase == TRY_ENDED) {
        return;
    }
    const char *why = json_string_value(json_object_get(o, "why"));
    bool requeue = strcmp(why, "cancel") != 0;
    t->pause_told = strcmp(why, "pause") == 0;
    t->requeue_told = t->requeue_told || requeue;
    t->cancel_told = t->cancel_told || !requeue;
    if (t->phase == TRY_TOLD) {
        end_try(t, END_UNSPAWNED);
    } else if (chance(85)) {
        er_usec at = sim.mono + (er_usec)rnd(5 * SEC);
        t->at = at < t->at ? at : t->at;
    } else { /* it was on its way out */
        end_try(t, t->will);
    }
}

static void
take_pause(struct vworker *w, const json_t *o)
{
    struct try *t = own_try(w, o);
    if (t && t->phase == TRY_TOLD) {
        t->requeue_told = true;
        end_try(t, END_UNSPAWNED);
    } else if (t && t->phase == TRY_RUNS && !t->stopped && !t->cancel_told &&
               !t->requeue_told) {
        t->stopped = true;
        t->left = t->at - sim.mono;
        t->at = ER_NEVER;
        sim_note("stop %lld/%d", (long long)t->task, t->attempt);
        soon(w);
    }
}

static void
take_resume(struct vworker *w, const json_t *o)
{
    struct try *t = own_try(w, o);
    if (t && t->phase == TRY_RUNS && t->stopped) {
        t->stopped = false;
        t->at = t->at == ER_NEVER ? sim.mono + t->left : t->at;
        sim_note("go on %lld/%d", (long long)t->task, t->attempt);
        soon(w);
    }
}

/* The names of items that are done: those that the store has. */
static void
take_given(const json_t *o)
{
    const struct mtask *t = m_there(json_integer_value(json_object_get(o, "task")));
    const char *text = json_string_value(json_object_get(o, "text"));
    unsigned done = 0;
    if (strcmp(json_string_value(json_object_get(o, "env")), "ERRAND_ITEMS_DONE") != 0) {
        return;
    }
    for (; *text; text = strchr(text, '\n') + 1) {
        done |= 1u << atoi(text + 1);
    }
    bool its = t && t->attempt == (int)json_integer_value(json_object_get(o, "attempt"));
    if (its && t->session != 0 && done != t->items_done) {
        sim_fail("task %lld is told of the items %x, done are %x", (long long)t->id, done,
                 t->items_done);
    }
}

static void
take_drop(struct vworker *w, const json_t *o)
{
    struct try *t = own_try(w, o);
    if (t) {
        sim_note("drop %lld/%d", (long long)t->task, t->attempt);
        try_free(t);
    }
}

static void
take_line(struct vworker *w, const char *line, size_t n)
{
    json_error_t je;
    json_t *o = json_loadb(line, n, 0, &je);
    if (!o) {
        sim_fail("a line to a worker is not JSON: %.*s", (int)n, line);
    }
    const char *kind = json_object_iter_key(json_object_iter(o));
    const json_t *v = json_object_get(o, kind);
    if (strcmp(kind, "run") == 0) {
        take_run(w, v);
    } else if (strcmp(kind, w->handlers ? "stop_task" : "cancel") == 0) {
        take_cancel(w, v);
    } else if (strcmp(kind, "pause") == 0 && !w->handlers) {
        take_pause(w, v);
    } else if (strcmp(kind, "resume") == 0 && !w->handlers) {
        take_resume(w, v);
    } else if (strcmp(kind, "given") == 0) {
        take_given(v);
    } else if (strcmp(kind, "drop") == 0) {
        take_drop(w, v);
    } else if (strcmp(kind, "slots") == 0) {
        w->slots = (int)json_integer_value(v);
    } else if (strcmp(kind, "welcome") != 0) {
        sim_fail("a worker%s is told '%s'", w->handlers ? " with handlers" : "", kind);
    }
    json_decref(o);
}

static void
read_link(struct vworker *w)
{
    struct er_buf *out = &w->link.out;
    char *end;
    w->read_at = ER_NEVER;
    while (out->len > 0 && (end = memchr(out->data, '\n', out->len)) != NULL) {
        take_line(w, out->data, (size_t)(end - out->data));
        er_buf_drop(out, (size_t)(end - out->data) + 1);
    }
}

static void
on_wake(struct er_link *link)
{
    struct vworker *w = ER_CONTAINER(link, struct vworker, link);
    if (w->read_at == ER_NEVER) {
        w->read_at = sim.mono + (one_in(20) ? (er_usec)rnd(2 * SEC) : (er_usec)rnd(MS));
    }
}

/* ---- connecting ---- */

struct opening {
    struct vworker *w;
    int64_t life;
};

static void
find_token(void *ctx, const struct er_session_view *view)
{
    struct vworker *w = ctx;
    if (view->id == w->session) {
        (void)snprintf(w->token, sizeof w->token, "%s", view->token);
    }
}

static void
on_opened(void *ctx, int64_t session, int rc)
{
    struct opening *o = ctx;
    struct vworker *w = o->w;
    if (o->life == sim.life && !sim.tearing) {
        w->opening = false;
        w->connect_at = sim.mono + (rc ? SEC : (er_usec)rnd(MS));
        if (rc == 0) {
            w->alive = true;
            w->session = session;
            er_engine_sessions(sim.e, find_token, w);
            sim_note("worker %d has session %lld", place(w), (long long)session);
        }
    }
    free(o);
}

static void
open_session(struct vworker *w)
{
    struct opening *o = calloc(1, sizeof *o);
    o->w = w;
    o->life = sim.life;
    w->opening = true;
    w->slots = 1 + (int)rnd(4);
    if (w->handlers) {
        er_engine_session_open_handlers(sim.e, 1, on_opened, o);
    } else {
        er_engine_session_open(sim.e, 1, on_opened, o);
    }
}

static void
forget_all(struct vworker *w)
{
    for (int i = 0; i < sim.n_tries; i++) {
        if (sim.tries[i].phase != TRY_FREE && sim.tries[i].worker == place(w)) {
            try_free(&sim.tries[i]);
        }
    }
}

static void
attach(struct vworker *w)
{
    struct er_held held[MAX_TRIES], owed[MAX_TRIES];
    const char *types[] = {type_name(HANDLED)};
    struct er_hello hello = {.session = w->session,
                             .types = w->handlers ? types : NULL,
                             .n_types = w->serves ? 1 : 0,
                             .token = w->token,
                             .pid = 1,
                             .slots = w->slots,
                             .held = held,
                             .owed = owed};
    for (int i = 0; i < sim.n_tries; i++) {
        const struct try *t = &sim.tries[i];
        if (t->phase != TRY_FREE && t->worker == place(w)) {
            struct er_held h = {.task = t->task,
                                .attempt = t->attempt,
                                .pid = 7,
                                .started_at = t->log ? t->started_at : ER_NEVER,
                                .paused = t->stopped};
            if (t->phase == TRY_ENDED) {
                owed[hello.n_owed++] = h;
            } else {
                held[hello.n_held++] = h;
            }
        }
    }
    er_buf_clear(&w->link.out);
    w->link.wake = on_wake;
    int rc = er_engine_session_attach(sim.e, &hello, &w->link, "{\"welcome\":{}}\n");
    sim_note("attach %d rc %d held %zu owed %zu", place(w), rc, hello.n_held,
             hello.n_owed);
    w->attached = rc == 0;
    w->silent_until = ER_NEVER;
    if (rc) { /* it is not known any more: it ends all and starts anew */
        forget_all(w);
        w->alive = false;
        w->connect_at = sim.mono + SEC;
    } else {
        soon(w);
    }
}

static void
connect(struct vworker *w)
{
    w->connect_at = ER_NEVER;
    if (!w->alive) {
        open_session(w);
    } else if (!w->attached) {
        attach(w);
    }
}

void
worker_unlink(struct vworker *w)
{
    if (w->attached) {
        (void)er_engine_session_detach(sim.e, &w->link);
        w->attached = false;
        w->read_at = ER_NEVER;
        er_buf_clear(&w->link.out);
        w->connect_at = sim.mono + rnd_span(500 * MS);
    }
}

/* ---- reports ---- */

struct sent {
    struct vworker *w;
    int64_t life, report_no;
};

static void
take_back(struct vworker *w, er_usec again)
{
    for (int i = 0; i < sim.n_tries; i++) {
        struct try *t = &sim.tries[i];
        if (t->phase != TRY_FREE && t->worker == place(w)) {
            t->under_way = false;
            t->items_sent = 0;
            t->checkpoint_sent = 0;
            t->stopped_sent = t->stopped_said;
        }
    }
    w->report_no = 0;
    w->report_at = sim.mono + again;
}

/* What the daemon has taken is on disk. */
static void
check_taken(const struct try *t)
{
    const struct mtask *m = m_there(t->task);
    if (!m || m->attempt != t->attempt || m->session != t->session) {
        return; /* not its any more */
    }
    if ((t->items_sent & ~(m->items_done | m->items_failed)) != 0) {
        sim_fail("items of task %lld were taken and are not stored", (long long)t->task);
    }
    if (t->checkpoint_sent && m->checkpoint != t->checkpoint_sent) {
        sim_fail("checkpoint %d of task %lld was taken, stored is %d", t->checkpoint_sent,
                 (long long)t->task, m->checkpoint);
    }
}

static void
on_reported(void *ctx, int rc, const struct er_held *lost, size_t n_lost)
{
    struct sent *s = ctx;
    struct vworker *w = s->w;
    if (s->life != sim.life || sim.tearing || w->report_no != s->report_no) {
        free(s);
        return;
    }
    free(s);
    sim.n.late_reports += (int64_t)n_lost;
    bool refused = rc != 0 || w->foreign == 0;
    for (size_t i = 0; i < n_lost; i++) {
        refused = refused || lost[i].task == w->foreign;
    }
    if (!refused) {
        sim_fail("G3: an end of task %lld by a worker that does not have it is taken",
                 (long long)w->foreign);
    }
    if (rc || chance(10)) { /* refused; or the reply is lost on its way */
        take_back(w, rc ? rnd_span(500 * MS) : rnd_span(4 * SEC));
        return;
    }
    for (int i = 0; i < sim.n_tries; i++) {
        struct try *t = &sim.tries[i];
        if (t->phase == TRY_FREE || t->worker != place(w)) {
            continue;
        }
        check_taken(t);
        t->items &= ~t->items_sent;
        t->items_sent = 0;
        t->stopped_said = t->stopped_sent;
        t->checkpoint_sent = 0;
        if (t->phase == TRY_ENDED && t->under_way) {
            try_free(t);
        }
    }
    w->report_no = 0;
    w->report_at = sim.mono;
}

static void
send_batch(struct vworker *w)
{
    struct sent *s = calloc(1, sizeof *s);
    struct er_report_batch *b = w->batch;
    *s = (struct sent){w, sim.life, w->report_no};
    w->batch = NULL;
    er_engine_report_send(b, on_reported, s);
}

static bool
say(struct vworker *w, const char *text)
{
    struct er_err err = {""};
    int rc = er_engine_report_line(w->batch, text, strlen(text), &err);
    if (rc && rc != ER_EBUSY) {
        sim_fail("a report is refused: %s: %s", err.text, text);
    }
    return rc == 0;
}

static bool
say_items(struct vworker *w, struct try *t)
{
    bool ok = true;
    for (unsigned i = 0; i < 16 && ok; i++) {
        if (t->items & (1u << i)) {
            char *json = er_xasprintf("{\"item\":{\"task\":%lld,\"attempt\":%d,\"name\":"
                                      "\"i%u\",\"failed\":%s}}",
                                      (long long)t->task, t->attempt, i,
                                      t->items_bad & (1u << i) ? "true" : "false");
            t->items_sent |= 1u << i;
            ok = say(w, json);
            er_free(json);
        }
    }
    return ok;
}

static bool
say_state(struct vworker *w, struct try *t)
{
    char *json =
        er_xasprintf("{\"%s\":{\"task\":%lld,\"attempt\":%d}}",
                     t->stopped ? "paused" : "resumed", (long long)t->task, t->attempt);
    t->stopped_sent = t->stopped;
    bool ok = say(w, json);
    er_free(json);
    return ok;
}

static bool
say_progress(struct vworker *w, struct try *t)
{
    t->checkpoint++;
    char *json =
        er_xasprintf("{\"progress\":{\"task\":%lld,\"attempt\":%d,\"progress\":"
                     "{\"percent\":%d},\"checkpoint\":{\"at\":%d}}}",
                     (long long)t->task, t->attempt, (int)rnd(100), t->checkpoint - 1);
    t->checkpoint_sent = t->checkpoint;
    bool ok = say(w, json);
    er_free(json);
    return ok;
}

static bool
say_start(struct vworker *w, struct try *t)
{
    char *json = er_xasprintf("{\"started\":{\"task\":%lld,\"attempt\":%d,\"pid\":7,"
                              "\"started_at\":\"2026-01-01T00:00:00Z\"}}",
                              (long long)t->task, t->attempt);
    t->said_start = true;
    bool ok = say(w, json);
    er_free(json);
    return ok;
}

static bool
say_end(struct vworker *w, struct try *t)
{
    char *end = try_report(t);
    char *json = er_xasprintf("{\"finished\":%s}", end);
    er_free(end);
    t->told_last = wall();
    t->under_way = true;
    bool ok = say(w, json);
    er_free(json);
    return ok;
}

static bool
say_one(struct vworker *w, struct try *t)
{
    if (t->phase == TRY_TOLD) {
        return true;
    }
    bool ok = true;
    if (t->phase == TRY_RUNS) {
        ok = t->said_start || say_start(w, t);
        ok = ok && (t->stopped == t->stopped_said || say_state(w, t));
        ok = ok && (!chance(30) || say_progress(w, t));
    }
    ok = ok && say_items(w, t);
    return ok && (t->phase != TRY_ENDED || say_end(w, t));
}

/* A worker that is confused, or far away and late, ends what is another one's. */
static bool
say_foreign(struct vworker *w)
{
    for (int i = 0; i < sim.n_tries; i++) {
        const struct try *t = &sim.tries[i];
        if (t->phase == TRY_RUNS && t->worker >= 0 && t->worker != place(w)) {
            char *json = er_xasprintf("{\"finished\":{\"task\":%lld,\"attempt\":%d,"
                                      "\"exit_code\":0}}",
                                      (long long)t->task, t->attempt);
            w->foreign = t->task;
            bool ok = say(w, json);
            er_free(json);
            return ok;
        }
    }
    return true;
}

static bool
has_to_report(const struct vworker *w)
{
    for (int i = 0; i < sim.n_tries; i++) {
        const struct try *t = &sim.tries[i];
        if (t->worker == place(w) &&
            (t->phase == TRY_ENDED ||
             (t->phase == TRY_RUNS &&
              (!t->said_start || t->items || t->stopped != t->stopped_said)))) {
            return true;
        }
    }
    return false;
}

static void
drop_batch(struct vworker *w)
{
    if (w->batch) {
        er_engine_report_drop(w->batch);
        w->batch = NULL;
    }
}

/* A program takes its handler away, or registers it. */
static void
serve(struct vworker *w, bool serves)
{
    const char *types[] = {type_name(HANDLED)};
    w->serves = serves;
    sim_note("worker %d serves %d", place(w), serves);
    if (w->attached) {
        er_engine_set_types(sim.e, w->session, types, serves ? 1 : 0);
    }
}

void
workers_heal(void)
{
    for (int i = 0; i < sim.n_workers; i++) {
        if (sim.workers[i].handlers && !sim.workers[i].serves) {
            serve(&sim.workers[i], true);
        }
    }
}

static void
report(struct vworker *w)
{
    w->report_at = ER_NEVER;
    if (w->handlers && one_in(30)) {
        serve(w, !w->serves);
    }
    if (w->batch) { /* the rest of one that was begun */
        if (chance(80)) {
            send_batch(w);
        } else {
            drop_batch(w);
            take_back(w, rnd_span(200 * MS));
        }
        return;
    }
    if (w->report_no != 0 || !has_to_report(w)) {
        return;
    }
    w->batch = er_engine_report_new(sim.e, w->session, w->token);
    if (!w->batch) {
        sim_fail("the session of living worker %d is not known", place(w));
    }
    w->report_no = ++sim.reports;
    w->foreign = 0;
    if (one_in(40) && !say_foreign(w)) {
        sim_fail("a late report is not answered");
    }
    for (int i = 0; i < sim.n_tries; i++) {
        struct try *t = &sim.tries[i];
        if (t->phase != TRY_FREE && t->worker == place(w) && !say_one(w, t)) {
            drop_batch(w);
            take_back(w, rnd_span(200 * MS));
            return;
        }
    }
    if (one_in(15)) {
        w->report_at = sim.mono + rnd_span(100 * MS);
        return;
    }
    send_batch(w);
}

/* ---- bad luck ---- */

/* The daemon learns that a worker is dead. */
static void
tell_dead(struct vworker *w)
{
    w->dead_at = ER_NEVER;
    if (w->attached) {
        (void)er_engine_session_detach(sim.e, &w->link);
        w->attached = false;
        er_buf_clear(&w->link.out);
    }
    er_engine_session_dead(sim.e, w->dead_session, true);
    drop_batch(w);
    w->connect_at = sim.mono + rnd_span(500 * MS);
}

void
worker_die(struct vworker *w)
{
    if (!w->alive) {
        return;
    }
    sim_note("worker %d dies, session %lld", place(w), (long long)w->session);
    sim.n.worker_deaths++;
    w->alive = w->frozen = false;
    w->dead_session = w->session;
    w->report_no = 0;
    w->read_at = w->report_at = w->connect_at = w->thaw_at = w->silent_until = ER_NEVER;
    for (int i = 0; i < sim.n_tries; i++) {
        struct try *t = &sim.tries[i];
        if (t->phase != TRY_FREE && t->worker == place(w)) {
            t->worker = -1;
            t->tree = t->tree && !t->handler;
            t->at = t->phase == TRY_RUNS && !t->handler ? t->at : ER_NEVER;
            if (t->phase == TRY_ENDED && (t->handler || one_in(4))) {
                t->exit_frame = false; /* it did not come to write it */
            }
        }
    }
    w->dead_at = sim.mono + (one_in(2) ? 0 : (er_usec)rnd(SEC));
}

void
workers_daemon_gone(void)
{
    for (int i = 0; i < sim.n_workers; i++) {
        struct vworker *w = &sim.workers[i];
        w->attached = w->opening = false;
        drop_batch(w);
        w->read_at = w->connect_at = w->report_at = w->dead_at = ER_NEVER;
        w->silent_until = ER_NEVER;
        er_buf_clear(&w->link.out);
        if (w->alive) {
            take_back(w, 0);
        }
    }
}

/* Sessions whose worker is not there: their locks are free, or they stay silent. */
struct orphan {
    int64_t session;
    er_usec at;
};
static struct orphan orphans[64];
static int n_orphans;

static void
list_orphan(void *ctx, const struct er_session_view *view)
{
    (void)ctx;
    for (int i = 0; i < sim.n_workers; i++) {
        struct vworker *w = &sim.workers[i];
        if (w->alive && w->session == view->id) {
            w->silent_until = sim.mono + 10 * SEC;
            w->connect_at = sim.mono + rnd_span(300 * MS);
            return;
        }
    }
    ER_ASSERT(n_orphans < 64);
    orphans[n_orphans++] = (struct orphan){view->id, sim.mono + (er_usec)rnd(100 * MS)};
}

void
workers_daemon_there(void)
{
    n_orphans = 0;
    er_engine_sessions(sim.e, list_orphan, NULL);
    for (int i = 0; i < sim.n_workers; i++) {
        struct vworker *w = &sim.workers[i];
        if (!w->alive || w->connect_at == ER_NEVER) {
            w->connect_at = sim.mono + rnd_span(300 * MS);
        }
    }
}

/* ---- what happens next ---- */

int
workers_alive(void)
{
    int n = 0;
    for (int i = 0; i < sim.n_workers; i++) {
        n += sim.workers[i].alive;
    }
    return n;
}

static er_usec
worker_next(const struct vworker *w)
{
    er_usec at = w->thaw_at;
    if (up() && !w->frozen) {
        at = w->connect_at < at && !w->opening ? w->connect_at : at;
        at = w->read_at < at ? w->read_at : at;
        at = w->report_at < at && w->alive ? w->report_at : at;
    }
    if (up()) {
        at = w->dead_at < at ? w->dead_at : at;
        at = w->silent_until < at ? w->silent_until : at;
    }
    return at;
}

static er_usec
try_next(const struct try *t)
{
    if (t->phase == TRY_FREE || t->phase == TRY_ENDED ||
        (t->worker >= 0 && sim.workers[t->worker].frozen)) {
        return ER_NEVER;
    }
    return t->at;
}

er_usec
workers_next(void)
{
    er_usec at = ER_NEVER;
    for (int i = 0; i < sim.n_workers; i++) {
        er_usec next = worker_next(&sim.workers[i]);
        at = next < at ? next : at;
    }
    for (int i = 0; i < sim.n_tries; i++) {
        er_usec next = try_next(&sim.tries[i]);
        at = next < at ? next : at;
    }
    for (int i = 0; i < n_orphans && up(); i++) {
        at = orphans[i].at < at ? orphans[i].at : at;
    }
    return at;
}

static void
worker_happen(struct vworker *w)
{
    if (w->thaw_at <= sim.mono) {
        w->thaw_at = ER_NEVER;
        w->frozen = false;
    } else if (w->dead_at <= sim.mono) {
        tell_dead(w);
    } else if (w->silent_until <= sim.mono) { /* the daemon kills it */
        w->silent_until = ER_NEVER;
        worker_die(w);
        w->dead_at = sim.mono;
    } else if (w->connect_at <= sim.mono) {
        connect(w);
    } else if (w->read_at <= sim.mono) {
        read_link(w);
    } else {
        report(w);
    }
}

void
workers_happen(void)
{
    int first = (int)rnd((uint64_t)sim.n_workers);
    for (int k = 0; k < sim.n_workers; k++) {
        struct vworker *w = &sim.workers[(first + k) % sim.n_workers];
        if (worker_next(w) <= sim.mono) {
            worker_happen(w);
            return;
        }
    }
    for (int i = 0; i < n_orphans && up(); i++) {
        if (orphans[i].at <= sim.mono) {
            int64_t session = orphans[i].session;
            orphans[i] = orphans[--n_orphans];
            er_engine_session_dead(sim.e, session, true);
            return;
        }
    }
    for (int i = 0; i < sim.n_tries; i++) {
        if (try_next(&sim.tries[i]) <= sim.mono) {
            advance(&sim.tries[i]);
            return;
        }
    }
}

void
workers_begin(void)
{
    sim.n_workers = 2 + (int)rnd(3);
    for (int i = 0; i < sim.n_workers; i++) {
        struct vworker *w = &sim.workers[i];
        *w = (struct vworker){.connect_at = sim.mono,
                              .read_at = ER_NEVER,
                              .report_at = ER_NEVER,
                              .thaw_at = ER_NEVER,
                              .silent_until = ER_NEVER,
                              .dead_at = ER_NEVER};
        w->handlers = w->serves = i == 0;
        er_buf_init(&w->link.out, 0);
    }
}
