/* SPDX-License-Identifier: MIT */
/* Reading tasks, and changes by request. Reads go through the reader's thread and are
 * encoded here with what only memory knows (progress, pid). */
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/base64.h"
#include "base/mem.h"
#include "model/duration.h"
#include "model/suggest.h"
#include "serve/server.h"
#include "wire/problem.h"
#include "wire/task_json.h"

#define AFTER_SHOWN ((size_t)100)
#define IDS_MAX     ((size_t)100000)

/* ---- encoding ---- */

static void
waiting_words(struct er_server *s, const struct er_task *t, const struct er_after *after,
              size_t n, struct er_buf *b)
{
    char at[ER_RFC3339_SIZE];
    if (er_task_shown_state(t) == ER_TASK_PAUSED) {
        er_buf_addf(b, "it is paused (errand resume %lld)", (long long)t->id);
    } else if (t->state == ER_TASK_SCHEDULED) {
        er_time_format(t->run_at, at);
        er_buf_addf(b, "%s until %s",
                    t->failures ? "the pause before its next attempt lasts"
                                : "it is delayed",
                    at);
    } else if (t->state == ER_TASK_BLOCKED) {
        er_buf_add_str(b, "it waits for");
        for (size_t i = 0, shown = 0; i < n; i++) {
            if (after[i].state >= 0 &&
                er_task_state_is_final((enum er_task_state)after[i].state)) {
                continue;
            }
            er_buf_addf(b, "%s task %lld (%s)", shown ? "," : "", (long long)after[i].id,
                        after[i].state >= 0
                            ? er_task_state_word((enum er_task_state)after[i].state)
                            : "gone");
            if (++shown == 10) {
                er_buf_addf(b, " and others, %d in all", t->waiting);
                break;
            }
        }
    } else if (t->state == ER_TASK_QUEUED) {
        er_engine_why_queued(s->engine, t, b);
    }
}

/* Adds a task with what only memory knows of it. after NULL: not asked for. */
static void
encode(struct er_server *s, const struct er_task *t, const struct er_after *after,
       size_t n_after, bool more, struct er_buf *out)
{
    struct er_task_json_after shown[AFTER_SHOWN];
    struct er_task_json_more m = {.has_after = after != NULL,
                                  .after = shown,
                                  .n_after = n_after,
                                  .after_more = more};
    struct er_task copy = *t;
    struct er_live live;
    struct er_buf why;
    er_buf_init(&why, 4096);
    if (t->state == ER_TASK_RUNNING && er_engine_live(s->engine, t->id, &live) &&
        live.attempt == t->attempt) {
        m.progress_json = live.progress_json;
        m.pid = live.pid;
        copy.started_at = live.started_at != ER_NEVER ? live.started_at : t->started_at;
    }
    for (size_t i = 0; i < n_after; i++) {
        shown[i] =
            (struct er_task_json_after){after[i].id, after[i].when, after[i].state};
    }
    waiting_words(s, t, after, n_after, &why);
    m.waiting_for = why.len ? why.data : NULL;
    er_task_json(out, &copy, &m);
    er_buf_fini(&why);
}

/* ---- one task ---- */

struct show_query {
    struct er_query q;
    struct er_call *call;
    er_task_id id;
    int status; /* of the answer */
    bool location;
    struct er_task task;
    struct er_after *after;
    size_t n_after;
    bool has_tombstone;
    struct er_tombstone tombstone;
    void (*then)(struct show_query *sq); /* instead of answering; owns nothing */
};

static void
run_show(struct er_query *q, struct er_store_reader *r)
{
    struct show_query *sq = (struct show_query *)(void *)q;
    q->rc = er_store_get(r, sq->id, true, &q->arena, &sq->task);
    if (q->rc == 0) {
        q->rc = er_store_after(r, sq->id, false, 0, AFTER_SHOWN + 1, &q->arena, &sq->after,
                               &sq->n_after);
    } else if (q->rc == ER_ENOTFOUND) {
        sq->has_tombstone = er_store_get_tombstone(r, sq->id, &sq->tombstone) == 0;
    }
}

static void
answer_missing(const struct show_query *sq)
{
    if (sq->q.rc != ER_ENOTFOUND) {
        er_call_problem(sq->call, sq->q.rc, NULL, "cannot read task %lld: %s",
                        (long long)sq->id, er_error_meaning(sq->q.rc));
        return;
    }
    if (!sq->has_tombstone) {
        er_call_problem(sq->call, ER_ENOTFOUND, NULL, "there is no task %lld",
                        (long long)sq->id);
        return;
    }
    const struct er_tombstone *t = &sq->tombstone;
    char at[ER_RFC3339_SIZE], code[16] = "null", extra[256];
    er_time_format(t->finished_at, at);
    if (t->has_exit_code) {
        (void)snprintf(code, sizeof code, "%d", t->exit_code);
    }
    (void)snprintf(
        extra, sizeof extra,
        "\"tombstone\":{\"id\":%lld,\"run\":%d,\"state\":\"%s\",\"exit_code\":%s,"
        "\"finished_at\":\"%s\"}",
        (long long)t->id, t->run, er_task_state_word(t->state), code, at);
    er_call_problem_extra(sq->call, ER_ENOTFOUND, NULL, extra,
                          "task %lld was removed; it had %s", (long long)sq->id,
                          er_task_state_word(t->state));
}

static void
answer_show(struct show_query *sq)
{
    struct er_buf b;
    if (sq->q.rc) {
        answer_missing(sq);
        return;
    }
    if (sq->location && sq->call->req && !sq->call->answered) {
        char where[40];
        (void)snprintf(where, sizeof where, "/v1/tasks/%lld", (long long)sq->id);
        er_http_add_header(sq->call->req, "Location", where);
    }
    bool more = sq->n_after > AFTER_SHOWN;
    er_buf_init(&b, 0);
    encode(sq->call->server, &sq->task, sq->after, more ? AFTER_SHOWN : sq->n_after, more,
           &b);
    er_call_json(sq->call, sq->status, &b);
}

static void
done_show(struct er_query *q)
{
    struct show_query *sq = (struct show_query *)(void *)q;
    if (sq->then) {
        sq->then(sq);
    } else {
        answer_show(sq);
    }
    er_call_release(sq->call);
    er_arena_free(&q->arena);
    er_free(sq);
}

static void
query_show(struct er_call *call, er_task_id id, int status, bool location,
           void (*then)(struct show_query *sq))
{
    struct show_query *sq = er_xzalloc(sizeof *sq);
    sq->q.run = run_show;
    sq->q.done = done_show;
    sq->call = call;
    sq->id = id;
    sq->status = status;
    sq->location = location;
    sq->then = then;
    er_call_hold(call);
    er_engine_query(call->server->engine, &sq->q);
}

void
er_call_task(struct er_call *call, er_task_id id, int status, bool location)
{
    query_show(call, id, status, location, NULL);
}

/* ---- waiting for a task ---- */

/* GET with `wait`, and cancel with `wait`. */
struct waiter {
    struct er_call *call;
    er_task_id id;
    bool until_started;
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

static void ask(struct waiter *w);

static void
on_asked(struct show_query *sq)
{
    struct waiter *w = sq->call->state;
    if (!w) {
        return; /* the caller has gone */
    }
    w->asking = false;
    enum er_task_state st = sq->task.state;
    bool ready = sq->q.rc || w->over || er_task_state_is_final(st) ||
                 (w->until_started && (st == ER_TASK_RUNNING || st == ER_TASK_PAUSED));
    if (ready) {
        waiter_end(sq->call);
        answer_show(sq);
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
    query_show(w->call, w->id, 200, false, on_asked);
}

static void
on_watched(void *ctx, enum er_event event)
{
    struct waiter *w = ctx;
    if (er_event_is_fact(event)) {
        ask(w);
    }
}

static void
on_waited(uv_timer_t *t)
{
    struct waiter *w = t->data;
    w->over = true;
    ask(w);
}

static void
waiter_start(struct er_call *call, er_task_id id, uint64_t ms, bool until_started)
{
    struct waiter *w = er_xzalloc(sizeof *w);
    w->call = call;
    w->id = id;
    w->until_started = until_started;
    w->watch = er_engine_watch(call->server->engine, id, on_watched, w);
    call->state = w;
    call->gone = waiter_end;
    (void)uv_timer_init(er_loop_uv(call->server->loop), &w->timer);
    w->timer.data = w;
    (void)uv_timer_start(&w->timer, on_waited, ms, 0);
    ask(w);
}

void
er_api_show(struct er_call *call)
{
    uint64_t wait;
    const char *until = er_http_query(call->req, "until");
    if (!er_call_seconds(call, "wait", &wait)) {
        return;
    }
    if (until && strcmp(until, "final") != 0 && strcmp(until, "started") != 0) {
        er_call_problem(call, ER_EINVALID, "until",
                        "until is final or started, not '%.50s'", until);
        return;
    }
    if (wait == 0) {
        er_call_task(call, call->id, 200, false);
    } else {
        waiter_start(call, call->id, wait, until && strcmp(until, "started") == 0);
    }
}

/* ---- lists ---- */

struct list_query {
    struct er_query q;
    struct er_call *call;
    struct er_filter filter;
    bool default_view;
    struct er_task *tasks, *running;
    size_t n, n_running;
    bool more;
    struct er_counter *counters;
    size_t n_counters;
};

#define BIT(state) (1u << ER_TASK_##state)

static void
run_list(struct er_query *q, struct er_store_reader *r)
{
    struct list_query *l = (struct list_query *)(void *)q;
    bool more;
    if (l->default_view && l->filter.before == 0) {
        struct er_filter running = l->filter;
        running.states = BIT(RUNNING);
        q->rc = er_store_list(r, &running, &q->arena, &l->running, &l->n_running, &more);
        l->filter.states =
            ~(BIT(CANCELLED) | BIT(RUNNING)) & ((1u << ER_TASK_STATES) - 1);
        l->filter.limit -= l->n_running;
    } else if (l->default_view) {
        l->filter.states =
            ~(BIT(CANCELLED) | BIT(RUNNING)) & ((1u << ER_TASK_STATES) - 1);
    }
    if (q->rc == 0 && l->filter.limit > 0) {
        q->rc = er_store_list(r, &l->filter, &q->arena, &l->tasks, &l->n, &l->more);
    }
    if (q->rc == 0) {
        q->rc = er_store_counters(r, &q->arena, &l->counters, &l->n_counters);
    }
}

static void
add_counts(struct er_buf *b, const struct er_counter *c, size_t n)
{
    for (int st = 0; st < ER_TASK_STATES; st++) {
        int64_t sum = 0;
        for (size_t i = 0; i < n; i++) {
            sum += c[i].n[st];
        }
        er_buf_addf(b, "%s\"%s\":%lld", st ? "," : "{",
                    er_task_state_word((enum er_task_state)st), (long long)sum);
    }
    er_buf_add_char(b, '}');
}

/* Both lists are newest first: merged in that order. */
static void
add_tasks(struct list_query *l, struct er_buf *b)
{
    struct er_server *s = l->call->server;
    size_t i = 0, k = 0;
    while (i < l->n_running || k < l->n) {
        bool first = k >= l->n || (i < l->n_running && l->running[i].id > l->tasks[k].id);
        const struct er_task *t = first ? &l->running[i++] : &l->tasks[k++];
        if (i + k > 1) {
            er_buf_add_char(b, ',');
        }
        encode(s, t, NULL, 0, false, b);
    }
}

static void
done_list(struct er_query *q)
{
    struct list_query *l = (struct list_query *)(void *)q;
    if (q->rc) {
        er_call_problem(l->call, q->rc, NULL, "cannot read the list: %s",
                        er_error_meaning(q->rc));
    } else {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_add_str(&b, "{\"tasks\":[");
        add_tasks(l, &b);
        er_buf_add_str(&b, "],\"next\":");
        if (l->more && l->n > 0) {
            er_buf_addf(&b, "\"%lld\"", (long long)l->tasks[l->n - 1].id);
        } else {
            er_buf_add_str(&b, "null");
        }
        er_buf_add_str(&b, ",\"counts\":");
        add_counts(&b, l->counters, l->n_counters);
        er_buf_add_char(&b, '}');
        er_call_json(l->call, 200, &b);
    }
    er_call_release(l->call);
    er_arena_free(&q->arena);
    er_free(l);
}

static bool
parse_states(struct er_call *call, const char *text, unsigned *out)
{
    const char *names[ER_TASK_STATES];
    for (int i = 0; i < ER_TASK_STATES; i++) {
        names[i] = er_task_state_word((enum er_task_state)i);
    }
    while (text && *text) {
        char word[32];
        size_t len = strcspn(text, ",");
        (void)snprintf(word, sizeof word, "%.*s", (int)(len < 31 ? len : 31), text);
        int st = er_task_state_find(word);
        if (st < 0) {
            struct er_err err;
            int rc =
                er_suggest_fail(&err, ER_EINVALID, "state", word, names, ER_TASK_STATES);
            er_call_problem(call, rc, "state", "%s", err.text);
            return false;
        }
        *out |= 1u << st;
        text += len + (text[len] == ',');
    }
    return true;
}

void
er_api_list(struct er_call *call)
{
    int64_t limit, before;
    unsigned states = 0;
    const char *view = er_http_query(call->req, "view");
    if (!er_call_number(call, "limit", 1, 1000, 50, &limit) ||
        !er_call_number(call, "cursor", 1, INT64_MAX, 0, &before) ||
        !parse_states(call, er_http_query(call->req, "state"), &states)) {
        return;
    }
    struct list_query *l = er_xzalloc(sizeof *l);
    l->q.run = run_list;
    l->q.done = done_list;
    l->call = call;
    l->default_view = view && strcmp(view, "default") == 0 && states == 0;
    l->filter = (struct er_filter){
        .states = states,
        .queue = er_arena_strdup(&l->q.arena, er_http_query(call->req, "queue")),
        .type = er_arena_strdup(&l->q.arena, er_http_query(call->req, "type")),
        .tag = er_arena_strdup(&l->q.arena, er_http_query(call->req, "tag")),
        .correlation =
            er_arena_strdup(&l->q.arena, er_http_query(call->req, "correlation")),
        .before = before,
        .limit = (size_t)limit,
    };
    er_call_hold(call);
    er_engine_query(call->server->engine, &l->q);
}

/* ---- result and attempts ---- */

struct part_query {
    struct er_query q;
    struct er_call *call;
    struct er_task task;
    struct er_attempt *attempts;
    size_t n;
    bool attempts_wanted;
};

static void
run_part(struct er_query *q, struct er_store_reader *r)
{
    struct part_query *p = (struct part_query *)(void *)q;
    q->rc = er_store_get(r, p->call->id, !p->attempts_wanted, &q->arena, &p->task);
    if (q->rc == 0 && p->attempts_wanted) {
        q->rc = er_store_attempts(r, p->call->id, &q->arena, &p->attempts, &p->n);
    }
}

static void
done_part(struct er_query *q)
{
    struct part_query *p = (struct part_query *)(void *)q;
    struct er_buf b;
    er_buf_init(&b, 0);
    if (q->rc) {
        er_call_problem(p->call, q->rc, NULL, "there is no task %lld",
                        (long long)p->call->id);
    } else if (p->attempts_wanted) {
        er_buf_add_str(&b, "{\"attempts\":[");
        for (size_t i = 0; i < p->n; i++) {
            er_buf_add_str(&b, i ? "," : "");
            const struct er_attempt *a = &p->attempts[i];
            er_attempt_json(&b,
                            &(struct er_attempt_json){.number = a->number,
                                                      .run = a->run,
                                                      .worker = a->worker,
                                                      .started_at = a->started_at,
                                                      .finished_at = a->finished_at,
                                                      .outcome = a->outcome,
                                                      .has_exit_code = a->has_exit_code,
                                                      .exit_code = a->exit_code,
                                                      .signal = a->signal,
                                                      .error_json = a->error_json,
                                                      .cpu_for = a->cpu_for,
                                                      .peak_rss = a->peak_rss,
                                                      .output_bytes = a->output_bytes});
        }
        er_buf_add_str(&b, "]}");
        er_call_json(p->call, 200, &b);
    } else if (!p->task.result) {
        er_call_problem(p->call, ER_ENOTFOUND, NULL, "task %lld has no result",
                        (long long)p->call->id);
    } else if (p->call->req && !p->call->answered) {
        er_buf_add(&b, p->task.result, p->task.result_len);
        p->call->answered = true;
        er_http_reply(p->call->req, 200, "application/octet-stream", &b);
    }
    er_buf_fini(&b);
    er_call_release(p->call);
    er_arena_free(&q->arena);
    er_free(p);
}

static void
query_part(struct er_call *call, bool attempts)
{
    struct part_query *p = er_xzalloc(sizeof *p);
    p->q.run = run_part;
    p->q.done = done_part;
    p->call = call;
    p->attempts_wanted = attempts;
    er_call_hold(call);
    er_engine_query(call->server->engine, &p->q);
}

void
er_api_result(struct er_call *call)
{
    query_part(call, false);
}

void
er_api_attempts(struct er_call *call)
{
    query_part(call, true);
}

void
er_api_items(struct er_call *call)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"items\":[],\"next\":null}");
    er_call_json(call, 200, &b);
}

/* ---- changes ---- */

static const struct action {
    const char *name;
    enum er_change_kind kind;
} actions[] = {
    {"cancel", ER_CHANGE_CANCEL}, {"pause", ER_CHANGE_PAUSE},
    {"resume", ER_CHANGE_RESUME}, {"retry", ER_CHANGE_RETRY},
    {"remove", ER_CHANGE_REMOVE}, {"requeue", ER_CHANGE_REQUEUE},
};
#define N_ACTIONS (sizeof actions / sizeof actions[0])

/* The state that people see: what is held and waits is paused. */
static enum er_task_state
shown_state(const struct er_change *row)
{
    return er_task_shown_state(&(struct er_task){.state = row->state, .held = row->held});
}

/* Why a change was refused, in words. */
static void
refusal(const struct er_change_request *c, const struct er_change *row, char *out,
        size_t size)
{
    static const char *const verbs[] = {"cancel", "pause", "resume", "retry",
                                        "remove", "edit",  "requeue"};
    long long id = (long long)row->id;
    const char *verb = verbs[c->kind], *state = er_task_state_word(shown_state(row));
    const char *hint = "";
    char text[80];
    if (row->status == ER_ENOTFOUND) {
        (void)snprintf(out, size, "there is no task %lld", id);
        return;
    }
    if (row->status != ER_ESTATE) {
        (void)snprintf(out, size, "cannot %s %lld: %s", verb, id,
                       er_error_meaning(row->status));
        return;
    }
    bool final = er_task_state_is_final(row->state);
    if (c->kind == ER_CHANGE_REQUEUE) {
        (void)snprintf(out, size, "cannot requeue %lld: it is %s, not running", id,
                       row->state == ER_TASK_RUNNING ? "ending" : state);
        return;
    }
    if (final && c->kind != ER_CHANGE_RETRY && c->kind != ER_CHANGE_REMOVE) {
        (void)snprintf(text, sizeof text, " (errand retry %lld runs it again)", id);
        hint = text;
    } else if (!final && (c->kind == ER_CHANGE_RETRY || c->kind == ER_CHANGE_REMOVE)) {
        (void)snprintf(text, sizeof text, " (errand cancel %lld ends it)", id);
        hint = text;
    } else if (row->state == ER_TASK_RUNNING) {
        (void)snprintf(text, sizeof text, " (errand requeue --hold %lld stops it)", id);
        hint = text;
    }
    (void)snprintf(out, size, "cannot %s %lld: it is %s%s", verb, id, state, hint);
}

/* The state that a task has after a change that was made. */
static enum er_task_state
state_after(const struct er_change_request *c, const struct er_change *row)
{
    switch (c->kind) {
    case ER_CHANGE_CANCEL:
        return row->state == ER_TASK_RUNNING ? ER_TASK_RUNNING : ER_TASK_CANCELLED;
    case ER_CHANGE_PAUSE:
        return ER_TASK_PAUSED;
    case ER_CHANGE_RESUME:
        return row->state == ER_TASK_PAUSED ? ER_TASK_QUEUED : row->state;
    case ER_CHANGE_RETRY:
        return ER_TASK_QUEUED;
    case ER_CHANGE_REMOVE: /* what it had in the end */
    case ER_CHANGE_EDIT:
    case ER_CHANGE_REQUEUE:
        break;
    }
    return row->state;
}

static void
answer_change_many(struct er_change_request *c)
{
    struct er_call *call = c->ctx;
    struct er_buf b;
    er_buf_init(&b, (size_t)256 << 20);
    for (size_t i = 0; i < c->n; i++) {
        const struct er_change *row = &c->rows[i];
        if (row->status == 0) {
            er_buf_addf(&b, "{\"id\":%lld,\"state\":\"%s\"}\n", (long long)row->id,
                        er_task_state_word(state_after(c, row)));
        } else {
            char words[300], extra[80];
            const char *state =
                row->status == ER_ESTATE ? er_task_state_word(shown_state(row)) : NULL;
            refusal(c, row, words, sizeof words);
            (void)snprintf(extra, sizeof extra, "\"id\":%lld,\"state\":%s%s%s",
                           (long long)row->id, state ? "\"" : "", state ? state : "null",
                           state ? "\"" : "");
            er_problem_json(&b, row->status, words, NULL, extra);
            er_buf_add_char(&b, '\n');
        }
    }
    er_call_ndjson(call, 200, &b);
}

static void
answer_change_one(struct er_change_request *c)
{
    struct er_call *call = c->ctx;
    const struct er_change *row = &c->rows[0];
    if (row->status) {
        char words[300], extra[40] = "";
        refusal(c, row, words, sizeof words);
        if (row->status == ER_ESTATE) {
            (void)snprintf(extra, sizeof extra, "\"state\":\"%s\"",
                           er_task_state_word(shown_state(row)));
        }
        er_call_problem_extra(call, row->status, NULL, extra[0] ? extra : NULL, "%s",
                              words);
        return;
    }
    if (c->kind == ER_CHANGE_REMOVE) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_call_json(call, 204, &b);
        return;
    }
    uint64_t wait;
    if (call->req && !call->answered && c->kind == ER_CHANGE_CANCEL &&
        row->state == ER_TASK_RUNNING && er_call_seconds(call, "wait", &wait) &&
        wait > 0) {
        waiter_start(call, row->id, wait, false);
        return;
    }
    if (!call->answered) {
        er_call_task(call, row->id, 200, false);
    }
}

static void
on_changed(struct er_change_request *c, int rc)
{
    struct er_call *call = c->ctx;
    if (rc) {
        er_call_problem(call, rc, NULL, "nothing was changed: %s", er_error_meaning(rc));
    } else if (call->req && call->name && call->id == 0) {
        answer_change_many(c);
    } else if (call->req) {
        answer_change_one(c);
    }
    er_arena_free(&c->arena);
    er_call_release(call);
    er_free(c);
}

static struct er_change_request *
new_change(struct er_call *call, enum er_change_kind kind, size_t n)
{
    struct er_change_request *c = er_xzalloc(sizeof *c);
    c->kind = kind;
    c->rows = er_arena_alloc(&c->arena, (n + 1) * sizeof *c->rows);
    ER_ASSERT(c->rows);
    c->n = n;
    c->done = on_changed;
    c->ctx = call;
    c->reason = "cancelled by request";
    er_call_hold(call);
    return c;
}

/* A member that is absent, or true or false. Answers and returns false when it is not. */
static bool
check_flag(struct er_call *call, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (v && !json_is_boolean(v)) {
        er_call_problem(call, ER_EINVALID, name, "%s is not true or false", name);
        return false;
    }
    return true;
}

/* A member that is absent, or a text as names are; likewise. */
static bool
check_text(struct er_call *call, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    size_t len = json_string_length(v);
    bool ok = !v || (json_is_string(v) && len > 0 && len <= ER_MAX_NAME);
    for (const char *p = v && ok ? json_string_value(v) : ""; *p && ok; p++) {
        ok = (unsigned char)*p >= 0x20 && *p != 0x7f;
    }
    if (!ok) {
        er_call_problem(call, ER_EINVALID, name,
                        "%s is not a string of 1 to %d bytes without control characters",
                        name, ER_MAX_NAME);
    }
    return ok;
}

/* What the body says about the action. */
static bool
read_action_body(struct er_call *call, struct er_change_request *c, const json_t *o)
{
    const char *reason = json_string_value(json_object_get(o, "reason"));
    if (!check_flag(call, o, "hold") || !check_text(call, o, "reason")) {
        return false;
    }
    c->hold = json_is_true(json_object_get(o, "hold"));
    if (reason) {
        c->reason = er_arena_strdup(&c->arena, reason);
    }
    c->by = "api";
    return true;
}

static void
drop_change(struct er_change_request *c)
{
    struct er_call *call = c->ctx;
    er_arena_free(&c->arena);
    er_free(c);
    er_call_release(call);
}

static int
find_action(struct er_call *call)
{
    const char *names[N_ACTIONS];
    for (size_t i = 0; i < N_ACTIONS; i++) {
        names[i] = actions[i].name;
        if (strcmp(actions[i].name, call->name) == 0) {
            return (int)i;
        }
    }
    struct er_err err;
    int rc = er_suggest_fail(&err, ER_ENOTFOUND, "action", call->name, names, N_ACTIONS);
    er_call_problem(call, rc, NULL, "%s", err.text);
    return -1;
}

void
er_api_action(struct er_call *call)
{
    static const char *const known[] = {"hold", "reason"};
    uint64_t wait;
    int a = find_action(call);
    /* `wait` is used when the cancel is done: too late to refuse it */
    json_t *o =
        a < 0 || !er_call_seconds(call, "wait", &wait) ? NULL : er_call_object(call);
    if (!o) {
        return;
    }
    if (er_call_known(call, o, known, 2)) {
        struct er_change_request *c = new_change(call, actions[a].kind, 1);
        c->rows[0].id = call->id;
        if (read_action_body(call, c, o)) {
            er_engine_change(call->server->engine, c);
        } else {
            drop_change(c);
        }
    }
    json_decref(o);
}

void
er_api_delete(struct er_call *call)
{
    struct er_change_request *c = new_change(call, ER_CHANGE_REMOVE, 1);
    c->rows[0].id = call->id;
    er_engine_change(call->server->engine, c);
}

/* ---- many at once ---- */

/* Finds the tasks that an action by filter is about, page by page, then acts. */
struct select_query {
    struct er_query q;
    struct er_call *call;
    struct er_filter filter;
    struct er_change_request *change;
    er_task_id *ids;
    size_t n, size;
};

static void
run_select(struct er_query *q, struct er_store_reader *r)
{
    struct select_query *s = (struct select_query *)(void *)q;
    bool more = true;
    while (q->rc == 0 && more && s->n < IDS_MAX) {
        struct er_task *tasks;
        struct er_arena arena = {0};
        size_t n = 0;
        q->rc = er_store_list(r, &s->filter, &arena, &tasks, &n, &more);
        for (size_t i = 0; q->rc == 0 && i < n; i++) {
            if (s->n == s->size) {
                s->size = s->size ? s->size * 2 : 64;
                s->ids = er_xrealloc_array(s->ids, s->size, sizeof *s->ids);
            }
            s->ids[s->n++] = tasks[i].id;
            s->filter.before = tasks[i].id;
        }
        er_arena_free(&arena);
    }
}

static void
done_select(struct er_query *q)
{
    struct select_query *s = (struct select_query *)(void *)q;
    struct er_change_request *c = s->change;
    if (q->rc) {
        er_call_problem(s->call, q->rc, NULL, "cannot read the list: %s",
                        er_error_meaning(q->rc));
        drop_change(c);
    } else {
        c->n = s->n;
        c->rows = er_arena_alloc(&c->arena, (s->n + 1) * sizeof *c->rows);
        ER_ASSERT(c->rows);
        for (size_t i = 0; i < s->n; i++) {
            c->rows[i].id = s->ids[s->n - 1 - i]; /* oldest first */
        }
        er_engine_change(s->call->server->engine, c);
    }
    er_free(s->ids);
    er_arena_free(&q->arena);
    er_free(s);
}

/* The states an action by filter is about: what it could change. */
static unsigned
states_of_action(enum er_change_kind kind)
{
    unsigned final = BIT(COMPLETED) | BIT(FAILED) | BIT(CANCELLED);
    unsigned all = (1u << ER_TASK_STATES) - 1;
    switch (kind) {
    case ER_CHANGE_CANCEL:
    case ER_CHANGE_EDIT:
        return all & ~final;
    case ER_CHANGE_PAUSE:
        return BIT(QUEUED) | BIT(SCHEDULED) | BIT(BLOCKED);
    case ER_CHANGE_RESUME:
        return BIT(PAUSED);
    case ER_CHANGE_RETRY:
        return BIT(FAILED) | BIT(CANCELLED);
    case ER_CHANGE_REMOVE:
        return final;
    case ER_CHANGE_REQUEUE:
        return BIT(RUNNING);
    }
    return all;
}

static void
act_by_filter(struct er_call *call, struct er_change_request *c, const json_t *o)
{
    unsigned states = 0;
    if (!parse_states(call, json_string_value(json_object_get(o, "state")), &states)) {
        drop_change(c);
        return;
    }
    struct select_query *s = er_xzalloc(sizeof *s);
    s->q.run = run_select;
    s->q.done = done_select;
    s->call = call;
    s->change = c;
    s->filter = (struct er_filter){
        .states = states ? states : states_of_action(c->kind),
        .queue =
            er_arena_strdup(&s->q.arena, json_string_value(json_object_get(o, "queue"))),
        .tag = er_arena_strdup(&s->q.arena, json_string_value(json_object_get(o, "tag"))),
        .limit = 1000,
    };
    er_engine_query(call->server->engine, &s->q);
}

/* Whether the body says which tasks an action is about. A member of the wrong kind must not
 * pass for one that is absent: the action would be about all tasks. */
static bool
check_targets(struct er_call *call, const json_t *o, bool *out_by_filter)
{
    static const char *const known[] = {"ids",   "all",  "queue", "tag",
                                        "state", "hold", "reason"};
    const json_t *ids = json_object_get(o, "ids");
    size_t n = json_array_size(ids);
    if (!er_call_known(call, o, known, 7) || !check_flag(call, o, "all") ||
        !check_text(call, o, "queue") || !check_text(call, o, "tag") ||
        !check_text(call, o, "state")) {
        return false;
    }
    *out_by_filter = json_is_true(json_object_get(o, "all")) ||
                     json_object_get(o, "queue") || json_object_get(o, "tag");
    if (*out_by_filter == (ids != NULL) || (ids && !json_is_array(ids)) || n > IDS_MAX ||
        (ids && json_object_get(o, "state"))) {
        er_call_problem(call, ER_EINVALID, "ids",
                        "give either ids (an array of at most %zu) or "
                        "one of all, queue, tag, and state with those",
                        IDS_MAX);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) <= 0) {
            er_call_problem(call, ER_EINVALID, "ids", "ids[%zu] is not the id of a task",
                            i);
            return false;
        }
    }
    return true;
}

void
er_api_actions(struct er_call *call)
{
    bool by_filter = false;
    int a = find_action(call);
    json_t *o = a < 0 ? NULL : er_call_object(call);
    if (!o || !check_targets(call, o, &by_filter)) {
        json_decref(o);
        return;
    }
    const json_t *ids = json_object_get(o, "ids");
    size_t n = json_array_size(ids);
    struct er_change_request *c = new_change(call, actions[a].kind, n);
    for (size_t i = 0; i < n; i++) {
        c->rows[i].id = json_integer_value(json_array_get(ids, i));
    }
    if (!read_action_body(call, c, o)) {
        drop_change(c);
    } else if (by_filter) {
        act_by_filter(call, c, o);
    } else {
        er_engine_change(call->server->engine, c);
    }
    json_decref(o);
}

/* ---- edit ---- */

static bool
edit_text(struct er_call *call, struct er_change_request *c, const json_t *o,
          const char *name, const char **out)
{
    const char *text = json_string_value(json_object_get(o, name));
    if (!check_text(call, o, name)) {
        return false;
    }
    *out = text ? er_arena_strdup(&c->arena, text) : NULL;
    return true;
}

static bool
edit_int(struct er_call *call, const json_t *o, const char *name, int lo, int hi,
         bool *has, int *out)
{
    const json_t *v = json_object_get(o, name);
    json_int_t n = json_integer_value(v);
    if (v && (!json_is_integer(v) || n < lo || n > hi)) {
        er_call_problem(call, ER_EINVALID, name, "%s is not a number from %d to %d", name,
                        lo, hi);
        return false;
    }
    *has = v != NULL;
    *out = (int)n;
    return true;
}

static bool
edit_number(struct er_call *call, const json_t *o, const char *name, double lo, double hi,
            bool *has, double *out)
{
    const json_t *v = json_object_get(o, name);
    if (!v) {
        return true;
    }
    *out = json_number_value(v);
    *has = true;
    if (!json_is_number(v) || !(*out >= lo && *out <= hi)) {
        er_call_problem(call, ER_EINVALID, name, "%s is not a number from %.0f to %.0f",
                        name, lo, hi);
        return false;
    }
    return true;
}

void
er_api_edit(struct er_call *call)
{
    static const char *const known[] = {"name",    "queue",     "limit_key", "priority",
                                        "retries", "timeout_s", "run_at",    "delay_s"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, known, 8)) {
        json_decref(o);
        return;
    }
    struct er_change_request *c = new_change(call, ER_CHANGE_EDIT, 1);
    struct er_edit *e = &c->edit;
    double timeout = 0, delay = 0;
    bool has_delay = false;
    c->rows[0].id = call->id;
    bool ok =
        edit_text(call, c, o, "name", &e->name) &&
        edit_text(call, c, o, "queue", &e->queue) &&
        edit_text(call, c, o, "limit_key", &e->limit_key) &&
        edit_int(call, o, "priority", -1000, 1000, &e->has_priority, &e->priority) &&
        edit_int(call, o, "retries", 0, 1000, &e->has_retries, &e->retries) &&
        edit_number(call, o, "timeout_s", 0, 1e9, &e->has_timeout, &timeout) &&
        edit_number(call, o, "delay_s", 0, 1e9, &has_delay, &delay);
    const json_t *at = json_object_get(o, "run_at");
    if (ok && at &&
        (!json_is_string(at) || er_time_parse(json_string_value(at), &e->run_at) ||
         has_delay)) {
        er_call_problem(call, ER_EINVALID, "run_at",
                        "run_at is not a time such as "
                        "2026-01-31T09:30:00Z, or delay_s is given too");
        ok = false;
    }
    if (ok) {
        e->timeout_for = (er_usec)(timeout * 1e6);
        e->has_run_at = at || has_delay;
        if (has_delay) {
            e->run_at = er_clock_wall(er_clock_system()) + (er_usec)(delay * 1e6);
        }
        er_engine_change(call->server->engine, c);
    } else {
        drop_change(c);
    }
    json_decref(o);
}

/* ---- to a running task ---- */

/* The bytes of an input request wait here while the task is looked at. */
struct input {
    struct er_buf bytes;
    bool eof;
};

static void
free_input(struct er_call *call)
{
    struct input *in = call->state;
    er_buf_fini(&in->bytes);
    er_free(in);
}

/* Whether its standard input was asked to stay open. */
static bool
takes_input(const struct er_task *t)
{
    json_error_t je;
    json_t *args = json_loads(t->args_json, 0, &je);
    bool takes = json_is_true(json_object_get(args, "input"));
    json_decref(args);
    return takes;
}

static void
on_input_task(struct show_query *sq)
{
    struct er_call *call = sq->call;
    struct input *in = call->state;
    char extra[40];
    if (sq->q.rc) {
        answer_missing(sq);
        return;
    }
    (void)snprintf(extra, sizeof extra, "\"state\":\"%s\"",
                   er_task_state_word(er_task_shown_state(&sq->task)));
    if (!takes_input(&sq->task)) {
        er_call_problem_extra(call, ER_ESTATE, NULL, extra,
                              "cannot send to %lld: its standard "
                              "input is not open (errand add --input keeps it open)",
                              (long long)call->id);
        return;
    }
    if (er_engine_input(call->server->engine, call->id,
                        in->bytes.data ? in->bytes.data : "", in->bytes.len, in->eof)) {
        er_call_problem_extra(call, ER_ESTATE, NULL, extra,
                              "cannot send to %lld: it is %s, not "
                              "running",
                              (long long)call->id,
                              er_task_state_word(er_task_shown_state(&sq->task)));
        return;
    }
    answer_show(sq);
}

void
er_api_input(struct er_call *call)
{
    static const char *const known[] = {"data", "base64", "eof"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, known, 3)) {
        json_decref(o);
        return;
    }
    if (!check_flag(call, o, "eof")) {
        json_decref(o);
        return;
    }
    const json_t *data = json_object_get(o, "data"), *b64 = json_object_get(o, "base64");
    struct input *in = er_xzalloc(sizeof *in);
    call->state = in;
    call->free_state = free_input;
    in->eof = json_is_true(json_object_get(o, "eof"));
    int rc = 0;
    if (json_is_string(data)) {
        er_buf_add(&in->bytes, json_string_value(data), json_string_length(data));
    } else if (json_is_string(b64)) {
        rc =
            er_base64_decode(&in->bytes, json_string_value(b64), json_string_length(b64));
    }
    if (rc || (data && !json_is_string(data)) || (b64 && !json_is_string(b64)) ||
        (data && b64)) {
        er_call_problem(call, ER_EINVALID, b64 ? "base64" : "data",
                        "give data (a string) or base64");
    } else {
        query_show(call, call->id, 200, false, on_input_task);
    }
    json_decref(o);
}

void
er_api_progress(struct er_call *call)
{
    json_t *o = er_call_object(call);
    if (!o) {
        return;
    }
    char *text = json_dumps(o, JSON_COMPACT);
    int rc = er_engine_tell(call->server->engine, call->id, text ? text : "{}");
    free(text);
    json_decref(o);
    if (rc) {
        er_call_problem(call, ER_ESTATE, NULL,
                        "cannot report progress of %lld: it is not running",
                        (long long)call->id);
    } else {
        er_call_task(call, call->id, 200, false);
    }
}

/* ---- clean ---- */

static void
on_cleaned(void *ctx, int rc, int64_t removed)
{
    struct er_call *call = ctx;
    if (rc) {
        er_call_problem(call, rc, NULL, "cannot clean: %s", er_error_meaning(rc));
    } else {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_addf(&b, "{\"removed\":%lld}", (long long)removed);
        er_call_json(call, 200, &b);
    }
    er_call_release(call);
}

void
er_api_clean(struct er_call *call)
{
    static const char *const known[] = {"state", "older_than_s", "keep"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, known, 3)) {
        json_decref(o);
        return;
    }
    struct er_retention keep = call->server->config.retention;
    const json_t *state = json_object_get(o, "state"),
                 *older = json_object_get(o, "older_than_s"),
                 *newest = json_object_get(o, "keep");
    const char *word = json_string_value(state);
    int only = word ? er_task_state_find(word) : -1;
    double age = json_number_value(older);
    /* of the wrong kind is not absent: that would remove all that is finished */
    const char *wrong =
        state && (only < 0 || !er_task_state_is_final((enum er_task_state)only)) ? "state"
        : older && (!json_is_number(older) || age < 0 || age > 1e9) ? "older_than_s"
        : newest && (!json_is_integer(newest) || json_integer_value(newest) < 0) ? "keep"
                                                                                 : NULL;
    keep.keep = json_integer_value(newest);
    json_decref(o);
    if (wrong) {
        er_call_problem(
            call, ER_EINVALID, wrong,
            "state is one of completed, failed, cancelled; older_than_s is a number "
            "from 0 to 1e9, keep a whole one from 0");
        return;
    }
    keep.keep_for = (er_usec)(age * 1e6);
    keep.only_state = only;
    er_call_hold(call);
    er_engine_clean(call->server->engine, &keep, on_cleaned, call);
}
