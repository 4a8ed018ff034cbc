/* SPDX-License-Identifier: MIT */
/* One task: read on the reader's thread, shown with what only memory knows (progress,
 * pid, why it waits), now or when it has come as far as the caller wants. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "api/tasks.h"
#include "base/mem.h"
#include "wire/task_json.h"

#define CAUSES_MAX 200 /* facts of one task that are read to find the latest */

/* ---- encoding ---- */

/* A sentence about its worker, when that does not answer; else null. */
static void
add_silence(const struct er_api *s, const struct er_task *t, struct er_buf *out)
{
    struct er_buf text;
    er_buf_init(&text, 0);
    bool is_silent = t->session != 0 && er_engine_silent(s->engine, t->id, &text);
    er_buf_add_json_str(out, is_silent ? text.data : NULL);
    er_buf_fini(&text);
}

/* The progress of a task that runs, its time left as it is now: it was computed with the
 * report. The text is our own (model/progress.h). */
static const char *
count_down(const char *progress, er_usec age, struct er_buf *b)
{
    static const char member[] = "\"eta_s\":";
    const char *at = progress ? strstr(progress, member) : NULL;
    char *end;
    if (!at) {
        return progress;
    }
    at += sizeof member - 1;
    double left = strtod(at, &end);
    if (end == at) { /* null */
        return progress;
    }
    left -= (double)age / (double)ER_USEC_PER_SEC;
    er_buf_add(b, progress, (size_t)(at - progress));
    er_buf_addf(b, "%.1f%s", left > 0.0 ? left : 0.0, end);
    return b->failed ? progress : b->data;
}

void
er_task_view(struct er_call *call, const struct er_task *t, const struct er_show *show,
             struct er_buf *out)
{
    const struct er_api *s = call->api;
    struct er_task_json_after shown[ER_AFTER_SHOWN];
    struct er_task_json_more m = {.after = shown};
    struct er_task copy = *t;
    struct er_live live;
    struct er_buf why, progress;
    er_buf_init(&why, 4096);
    er_buf_init(&progress, 0);
    if (t->session != 0 && er_engine_live(s->engine, t->id, &live) &&
        live.attempt == t->attempt) {
        m.progress_json = count_down(live.progress_json, live.progress_for, &progress);
        m.pid = live.pid;
        m.pause_requested = live.pausing;
        copy.started_at = live.started_at != ER_NEVER ? live.started_at : t->started_at;
    }
    if (show) {
        m.has_after = m.with_checkpoint = true;
        m.after_more = show->n_after > ER_AFTER_SHOWN;
        m.n_after = m.after_more ? ER_AFTER_SHOWN : show->n_after;
    }
    for (size_t i = 0; i < m.n_after; i++) {
        const struct er_after *a = &show->after[i];
        shown[i] = (struct er_task_json_after){a->id, a->when, a->state};
    }
    if (!er_task_state_is_final(t->state) && t->state != ER_TASK_RUNNING) {
        er_why(call, t, show, &why);
    }
    m.waiting_for = why.len ? why.data : NULL;
    const struct er_type *type = er_engine_type(s->engine, t->type);
    m.params = type->params;
    m.n_params = type->n_params;
    m.hide_args = !er_engine_has_type(s->engine, t->type);
    er_task_json(out, &copy, &m);
    er_buf_fini(&why);
    er_buf_fini(&progress);
    if (show && out->len > 0 && !out->failed) {
        bool known = t->state == ER_TASK_CANCELLED && show->cause_json;
        out->data[--out->len] = '\0'; /* the closing brace */
        er_buf_addf(out, ",\"cancelled\":%s,\"worker_silent\":",
                    known ? show->cause_json : "null");
        add_silence(s, t, out);
        er_buf_add_char(out, '}');
    }
}

static uint64_t
mix(uint64_t h, const void *p, size_t n)
{
    return XXH3_64bits_withSeed(p, n, h);
}

static uint64_t
mix_text(uint64_t h, const char *text)
{
    return text ? mix(h, text, strlen(text)) : mix(h, "\xff", 1);
}

/* What an edit can change, and what decides whether one is possible. */
void
er_show_etag(const struct er_show *show, char out[ER_ETAG_SIZE])
{
    const struct er_task *t = &show->task;
    const int64_t numbers[] = {
        t->id,        t->run,     (int64_t)t->state,   t->held,
        t->priority,  t->cost,    t->attempt,          t->failures,
        t->losses,    t->retries, t->backoff_for,      t->timeout_for,
        t->grace_for, t->run_at,  t->heartbeat_for,    t->expires_at,
        t->session,   t->waiting, (int64_t)t->on_lost,
    };
    uint64_t h = mix(0, numbers, sizeof numbers);
    h = mix_text(mix_text(mix_text(h, t->name), t->queue), t->limit_key);
    for (size_t i = 0; i < show->n_after; i++) {
        const int64_t after[] = {show->after[i].id, (int64_t)show->after[i].when};
        h = mix(h, after, sizeof after);
    }
    (void)snprintf(out, ER_ETAG_SIZE, "\"%016llx\"", (unsigned long long)h);
}

/* ---- reading ---- */

/* What the task's latest fact of a kind says. A failure to read it is no failure: it is
 * told less. */
static void
find_cause(struct er_show *show, enum er_event event, struct er_store_reader *r)
{
    struct er_fact_filter f = {
        .task = show->id, .events = (uint64_t)1 << event, .limit = CAUSES_MAX};
    struct er_fact *facts = NULL;
    size_t n = 0;
    int64_t last;
    if (er_store_facts(r, &f, &show->q.arena, &facts, &n, &last) == 0 && n > 0 &&
        n < CAUSES_MAX) {
        show->cause_json = facts[n - 1].data_json;
    }
}

static void
run_show(struct er_query *q, struct er_store_reader *r)
{
    struct er_show *show = (struct er_show *)(void *)q;
    q->rc = er_store_get(r, show->id, !show->no_result, &q->arena, &show->task);
    if (q->rc == 0) {
        q->rc = er_store_after(r, show->id, false, 0, ER_AFTER_SHOWN + 1, &q->arena,
                               &show->after, &show->n_after);
    } else if (q->rc == ER_ENOTFOUND) {
        show->has_tombstone = er_store_get_tombstone(r, show->id, &show->tombstone) == 0;
    }
    if (q->rc == 0 && show->task.state == ER_TASK_BLOCKED) {
        q->rc = er_store_after(r, show->id, true, 0, ER_WHY_NAMED, &q->arena, &show->open,
                               &show->n_open);
    }
    if (q->rc == 0 && !show->brief && show->task.state == ER_TASK_CANCELLED) {
        find_cause(show, ER_EVENT_TASK_CANCELLED, r);
    } else if (q->rc == 0 && !show->brief && show->task.held &&
               show->task.state != ER_TASK_RUNNING) {
        find_cause(show, ER_EVENT_TASK_PAUSED, r);
    }
}

void
er_call_missing(struct er_call *call, er_task_id task, int code,
                const struct er_tombstone *t)
{
    long long id = (long long)task;
    if (code != ER_ENOTFOUND) {
        er_call_problem(call, code, NULL, "cannot read task %lld: %s", id,
                        er_error_meaning(code));
        return;
    }
    if (!t) {
        er_call_problem(call, ER_ENOTFOUND, NULL, "there is no task %lld", id);
        return;
    }
    char at[ER_RFC3339_SIZE], exit_code[16] = "null", extra[256];
    er_time_format(t->finished_at, at);
    if (t->has_exit_code) {
        (void)snprintf(exit_code, sizeof exit_code, "%d", t->exit_code);
    }
    (void)snprintf(
        extra, sizeof extra,
        "\"tombstone\":{\"id\":%lld,\"run\":%d,\"state\":\"%s\",\"exit_code\":%s,"
        "\"finished_at\":\"%s\"}",
        (long long)t->id, t->run, er_task_state_word(t->state), exit_code, at);
    er_call_problem_extra(
        call, ER_ENOTFOUND, NULL, extra, "task %lld was removed; it %s%s", id,
        t->state == ER_TASK_CANCELLED ? "was " : "had ", er_task_state_word(t->state));
}

/* Whether a switch in the query is on. */
static bool
is_set(struct er_call *call, const char *name)
{
    const char *value = er_request_query(call->req, name);
    return value && strcmp(value, "0") != 0;
}

/* Nobody needs to read a result of MiBs to see how a task ended. */
static bool
is_without_result(struct er_call *call)
{
    const char *result = er_request_query(call->req, "result");
    return result && strcmp(result, "0") == 0;
}

static void
answer_brief(struct er_call *call, er_task_id id, enum er_task_state state)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"id\":%lld,\"state\":\"%s\"}", (long long)id,
                er_task_state_word(state));
    er_call_json(call, 200, &b);
}

void
er_show_answer(struct er_show *show)
{
    struct er_call *call = show->call;
    struct er_buf b;
    char etag[ER_ETAG_SIZE], where[40];
    if (show->q.rc) {
        er_call_missing(call, show->id, show->q.rc,
                        show->has_tombstone ? &show->tombstone : NULL);
        return;
    }
    if (!call->req || call->answered) {
        return;
    }
    if (show->brief) {
        answer_brief(call, show->id, er_task_shown_state(&show->task));
        return;
    }
    if (show->location) {
        (void)snprintf(where, sizeof where, "/v1/tasks/%lld", (long long)show->id);
        er_request_add_header(call->req, "Location", where);
    }
    er_show_etag(show, etag);
    er_request_add_header(call->req, "ETag", etag);
    er_buf_init(&b, 0);
    er_task_view(call, &show->task, show, &b);
    if (show->extra && b.len > 0) {
        b.data[--b.len] = '\0'; /* the closing brace */
        er_buf_addf(&b, ",%s}", show->extra);
    }
    er_call_json(call, show->status, &b);
}

static void
done_show(struct er_query *q)
{
    struct er_show *show = (struct er_show *)(void *)q;
    show->then(show);
    er_call_release(show->call);
    er_arena_free(&q->arena);
    er_free(show);
}

struct er_show *
er_show_new(struct er_call *call, er_task_id id, void (*then)(struct er_show *show))
{
    struct er_show *show = er_xzalloc(sizeof *show);
    show->q.run = run_show;
    show->q.done = done_show;
    show->call = call;
    show->id = id;
    show->status = 200;
    show->then = then ? then : er_show_answer;
    return show;
}

void
er_show_start(struct er_show *show)
{
    er_call_hold(show->call);
    er_engine_query(show->call->api->engine, &show->q);
}

void
er_call_task(struct er_call *call, er_task_id id, int status, bool location)
{
    struct er_show *show = er_show_new(call, id, NULL);
    show->status = status;
    show->location = location;
    er_show_start(show);
}

/* ---- waiting for a task ---- */

struct waiter {
    struct er_call *call;
    er_task_id id;
    enum er_wait_until until;
    bool brief;  /* the state is all that is asked for */
    bool silent; /* answer too when its worker does not */
    bool no_result;
    bool over;   /* time is up: answer with what there is */
    bool asking; /* a query is under way */
    bool again;  /* something happened meanwhile */
    struct er_watch *watch;
    uv_timer_t timer;
};

static void
free_waiter(uv_handle_t *h)
{
    er_free(h->data);
}

static void
waiter_end(struct er_call *call)
{
    struct waiter *w = call->state;
    if (w) {
        call->state = NULL;
        er_engine_unwatch(w->watch);
        uv_close((uv_handle_t *)&w->timer, free_waiter);
    }
}

static bool
has_come(const struct waiter *w, const struct er_task *t)
{
    switch (w->until) {
    case ER_WAIT_FINAL:
        return er_task_state_is_final(t->state);
    case ER_WAIT_STARTED:
        return er_task_state_is_final(t->state) || t->state == ER_TASK_RUNNING ||
               t->state == ER_TASK_PAUSED;
    case ER_WAIT_PAUSED:
        return t->state != ER_TASK_RUNNING;
    case ER_WAIT_RESUMED:
        return er_task_shown_state(t) != ER_TASK_PAUSED;
    }
    return true;
}

/* Whether its worker does not answer, where the caller wants to know that. */
static bool
waits_in_vain(const struct waiter *w)
{
    struct er_buf text;
    er_buf_init(&text, 0);
    bool is_silent = w->silent && er_engine_silent(w->call->api->engine, w->id, &text);
    er_buf_fini(&text);
    return is_silent;
}

static void ask(struct waiter *w);

static void
on_asked(struct er_show *show)
{
    struct waiter *w = show->call->state;
    if (!w) {
        return; /* the caller has gone */
    }
    w->asking = false;
    if (show->q.rc || w->over || has_come(w, &show->task) ||
        (show->task.session != 0 && waits_in_vain(w))) {
        waiter_end(show->call);
        er_show_answer(show);
    } else if (w->again) {
        ask(w);
    }
}

static void
ask(struct waiter *w)
{
    if (w->asking) {
        w->again = true;
        return;
    }
    w->asking = true;
    w->again = false;
    struct er_show *show = er_show_new(w->call, w->id, on_asked);
    show->brief = w->brief;
    show->no_result = w->no_result;
    er_show_start(show);
}

/* The final state that a fact tells, or -1. */
static int
final_state(enum er_event event)
{
    for (int state = 0; state < ER_TASK_STATES; state++) {
        if (er_task_state_is_final((enum er_task_state)state) &&
            er_event_of_state((enum er_task_state)state) == event) {
            return state;
        }
    }
    return -1;
}

/* Who waits for the end looks when it has come: at each step on the way there it would be
 * a query each. Who wants to know the state alone has it from the fact. */
static void
on_watched(void *ctx, enum er_event event)
{
    struct waiter *w = ctx;
    struct er_call *call = w->call;
    int state = final_state(event);
    if (w->until == ER_WAIT_FINAL && w->brief && state >= 0) {
        er_task_id id = w->id;
        waiter_end(call);
        answer_brief(call, id, (enum er_task_state)state);
    } else if (w->until == ER_WAIT_FINAL ? state >= 0 || event == ER_EVENT_TASK_REMOVED
                                         : er_event_is_fact(event)) {
        ask(w);
    }
}

static void
on_silence(void *ctx)
{
    ask(ctx);
}

static void
on_waited(uv_timer_t *t)
{
    struct waiter *w = t->data;
    w->over = true;
    ask(w);
}

/* Whether memory knows that the task has not ended: the fact of its end is still to come,
 * and nothing need be read before. */
static bool
runs(const struct er_api *api, er_task_id id)
{
    struct er_live live;
    return er_engine_live(api->engine, id, &live);
}

void
er_wait_start(struct er_call *call, er_task_id id, uint64_t ms, enum er_wait_until until)
{
    struct waiter *w = er_xzalloc(sizeof *w);
    w->call = call;
    w->brief = is_set(call, "brief");
    w->silent = !w->brief && is_set(call, "silent");
    w->no_result = is_without_result(call);
    w->id = id;
    w->until = until;
    w->watch = er_engine_watch(call->api->engine, id, on_watched, w);
    if (w->silent) {
        er_engine_watch_silence(w->watch, on_silence);
    }
    call->state = w;
    call->gone = waiter_end;
    (void)uv_timer_init(er_loop_uv(call->api->loop), &w->timer);
    w->timer.data = w;
    (void)uv_timer_start(&w->timer, on_waited, ms, 0);
    if (until != ER_WAIT_FINAL || !runs(call->api, id) || waits_in_vain(w)) {
        ask(w);
    }
}

void
er_api_show(struct er_call *call)
{
    uint64_t wait;
    const char *until = er_request_query(call->req, "until");
    if (!er_call_seconds(call, "wait", &wait)) {
        return;
    }
    if (until && strcmp(until, "final") != 0 && strcmp(until, "started") != 0) {
        er_call_problem(call, ER_EINVALID, "until",
                        "until is final or started, not '%.50s'", until);
        return;
    }
    if (wait == 0) {
        struct er_show *show = er_show_new(call, call->id, NULL);
        show->brief = is_set(call, "brief");
        show->no_result = is_without_result(call);
        er_show_start(show);
    } else {
        er_wait_start(call, call->id, wait,
                      until && strcmp(until, "started") == 0 ? ER_WAIT_STARTED
                                                             : ER_WAIT_FINAL);
    }
}
