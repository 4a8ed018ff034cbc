/* SPDX-License-Identifier: MIT */
/* GET /v1/events: a subscription of the engine, pulled by the connection, or
 * (format=ndjson) one page of facts. Where it begins may be named by a cursor, which is
 * looked up first. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/heap.h"
#include "base/mem.h"
#include "model/suggest.h"
#include "model/topic.h"
#include "wire/task_json.h"

#define PAGE_MAX   10000
#define PAGE_BYTES ((size_t)4 << 20) /* of data in one page, but for the last fact */

struct events {
    struct er_query q; /* a cursor, or a page */
    struct er_call *call;
    struct er_sub_filter filter;
    char *correlation;  /* the filter's, our own: read on another thread */
    char *words;        /* of `event`, one behind the other */
    const char **names; /* in words */
    int64_t since;      /* -1 = from now on */
    int64_t now;        /* the latest fact when the request came */
    char *cursor;       /* NULL = none */
    int64_t cursor_at;  /* where it stands; -1 = there is none such */
    bool page;
    int64_t until, limit, first, last, reached;
    struct er_fact *facts;
    size_t n;
    struct er_sub *sub;
    struct er_stream *stream;
};

static void
on_wake(void *ctx)
{
    struct events *ev = ctx;
    if (ev->stream) {
        er_stream_wake(ev->stream);
    }
}

static bool
pull(void *ctx, struct er_buf *out, size_t room)
{
    struct events *ev = ctx;
    if (!ev->sub || er_sub_failed(ev->sub)) {
        return false; /* the client goes on behind the last event that it has */
    }
    er_sub_pull(ev->sub, out, room);
    return true;
}

static void
gone(struct er_call *call)
{
    struct events *ev = call->state;
    if (ev && ev->sub) {
        er_engine_unsubscribe(ev->sub);
        ev->sub = NULL;
    }
}

static void
free_events(struct er_call *call)
{
    struct events *ev = call->state;
    er_arena_free(&ev->q.arena);
    er_free(ev->words);
    er_free(ev->cursor);
    er_free(ev->correlation);
    er_free(ev->names);
    er_free(ev);
}

/* ---- what is wanted ---- */

static const char *const our_names[] = {
#define ER_EVENT(name, number, word, kind, meaning) word,
#include "model/events.def"
#undef ER_EVENT
};
static const enum er_event our_events[] = {
#define ER_EVENT(name, number, word, kind, meaning) ER_EVENT_##name,
#include "model/events.def"
#undef ER_EVENT
};
#define N_OURS (sizeof our_names / sizeof our_names[0])

static void
want_ours(struct er_sub_filter *f, enum er_event event)
{
    f->progress = f->progress || event == ER_EVENT_TASK_PROGRESS;
    f->output = f->output || event == ER_EVENT_TASK_OUTPUT;
    if (er_event_is_fact(event)) {
        f->facts |= 1ull << event;
    }
}

/* A program's own, by a pattern for their names. */
static void
want_topics(struct events *ev, const char *pattern)
{
    want_ours(&ev->filter, ER_EVENT_TOPIC);
    ev->filter.topics = true;
    ev->names[ev->filter.n_names++] = pattern;
}

/* One word of `event`; answers and returns false when it is none. */
static bool
want(struct events *ev, const char *word)
{
    struct er_err err;
    size_t len = strlen(word);
    const char *why = er_topic_refusal(word);
    int event = er_event_find(word);
    if (len > 0 && word[len - 1] == '*') {
        want_topics(ev, word);
        for (size_t i = 0; i < N_OURS; i++) {
            if (our_events[i] != ER_EVENT_TOPIC && er_topic_fits(word, our_names[i])) {
                want_ours(&ev->filter, our_events[i]);
            }
        }
    } else if (event == ER_EVENT_TOPIC) {
        want_topics(ev, "*");
    } else if (event >= 0) {
        want_ours(&ev->filter, (enum er_event)event);
    } else if (!why) {
        want_topics(ev, word);
    } else if (len == 0) {
        er_call_problem(ev->call, ER_EINVALID, "event",
                        "event is empty, or has an empty part (names, with commas)");
        return false;
    } else if (strchr(word, '.')) {
        er_call_problem(ev->call, ER_EINVALID, "event", "event '%.100s' %s", word, why);
        return false;
    } else {
        int rc =
            er_suggest_fail_list(&err, ER_EINVALID, "event", word, our_names, N_OURS);
        er_call_problem(ev->call, rc, "event", "%s", err.text);
        return false;
    }
    return true;
}

/* Reads `event=a,b.*` into the filter; answers and returns false on a bad one. */
static bool
read_events(struct events *ev)
{
    struct er_sub_filter *f = &ev->filter;
    const char *text = er_request_query(ev->call->req, "event");
    if (!text) {
        f->progress = f->output = f->topics = true;
        return true;
    }
    size_t n = 1;
    for (const char *p = text; *p; p++) {
        n += *p == ',';
    }
    ev->words = er_xstrdup(text);
    ev->names = er_xrealloc_array(NULL, n, sizeof *ev->names);
    f->names = ev->names;
    char *word = ev->words;
    for (char *p = word;; p++) {
        bool end = *p == '\0';
        if (end || *p == ',') {
            *p = '\0';
            if (!want(ev, word)) {
                return false;
            }
            word = p + 1;
        }
        if (end) {
            break;
        }
    }
    if (f->facts == 0) {
        f->facts = 1ull << 63; /* samples only: a bit that no fact has */
    }
    return true;
}

/* The number to go on from: the header wins, since that is what a reconnect sends. */
static bool
read_since(struct events *ev)
{
    struct er_call *call = ev->call;
    const char *last = er_request_header(call->req, "Last-Event-ID");
    const char *cursor = er_request_query(call->req, "cursor");
    if (cursor && *cursor == '\0') {
        er_call_problem(call, ER_EINVALID, "cursor", "cursor is empty (a name)");
        return false;
    }
    if (last && *last) {
        char *end;
        ev->since = strtoll(last, &end, 10);
        if (*end != '\0' || ev->since < 0) {
            er_call_problem(call, ER_EINVALID, "Last-Event-ID",
                            "'%.50s' is not the id of an event", last);
            return false;
        }
        return true;
    }
    ev->cursor = er_xstrdup(cursor);
    return er_call_number(call, "since", 0, INT64_MAX - 1, -1, &ev->since);
}

static bool
read_format(struct events *ev)
{
    struct er_call *call = ev->call;
    const char *format = er_request_query(call->req, "format");
    ev->page = format && strcmp(format, "ndjson") == 0;
    if (format && !ev->page) {
        er_call_problem(call, ER_EINVALID, "format",
                        "format is ndjson (or not given), not '%.50s'", format);
        return false;
    }
    const char *only = er_request_query(call->req, "until")   ? "until"
                       : er_request_query(call->req, "limit") ? "limit"
                                                              : NULL;
    if (only && !ev->page) {
        er_call_problem(call, ER_EINVALID, only, "%s goes with format=ndjson", only);
        return false;
    }
    return er_call_number(call, "until", 1, INT64_MAX - 1, 0, &ev->until) &&
           er_call_number(call, "limit", 1, PAGE_MAX, 1000, &ev->limit);
}

static void
run_cursor(struct events *ev, struct er_store_reader *r)
{
    ev->q.rc = ev->cursor ? er_store_cursor(r, ev->cursor, &ev->cursor_at) : 0;
    if (ev->q.rc == ER_ENOTFOUND) { /* not there yet: as if it had not been named */
        ev->q.rc = 0;
    } else if (ev->q.rc == 0 && ev->cursor) {
        ev->since = ev->cursor_at;
    }
}

static void
answer_fault(struct events *ev)
{
    er_call_problem(ev->call, ev->q.rc, NULL, "cannot read the events: %s",
                    er_error_meaning(ev->q.rc));
}

/* ---- a stream ---- */

static void
open_stream(struct events *ev)
{
    struct er_call *call = ev->call;
    call->gone = gone;
    call->answered = true;
    ev->sub = er_engine_subscribe(call->api->engine, &ev->filter, ev->since, on_wake, ev);
    er_request_add_header(call->req, "Cache-Control", "no-store");
    ev->stream = er_request_stream(call->req, 200, "text/event-stream", pull, ev);
}

static void
run_where(struct er_query *q, struct er_store_reader *r)
{
    run_cursor(ER_CONTAINER(q, struct events, q), r);
}

static void
done_where(struct er_query *q)
{
    struct events *ev = ER_CONTAINER(q, struct events, q);
    struct er_call *call = ev->call;
    if (q->rc) {
        answer_fault(ev);
    } else if (call->req) {
        ev->since = ev->since < 0 ? ev->now : ev->since;
        open_stream(ev);
    }
    er_call_release(call);
}

/* ---- a page ---- */

static void
run_page(struct er_query *q, struct er_store_reader *r)
{
    struct events *ev = ER_CONTAINER(q, struct events, q);
    run_cursor(ev, r);
    if (q->rc == 0) {
        q->rc = er_store_fact_bounds(r, &ev->first, &ev->last);
    }
    /* a number that no fact has had yet is one of another store: go on from here */
    int64_t since = ev->since < 0 ? 0 : ev->since < ev->last ? ev->since : ev->last;
    struct er_fact_filter f = {.since = since,
                               .until = ev->until,
                               .task = ev->filter.task,
                               .correlation = ev->filter.correlation,
                               .events = ev->filter.facts,
                               .names = ev->filter.names,
                               .n_names = ev->filter.n_names,
                               .limit = (size_t)ev->limit,
                               .max_bytes = PAGE_BYTES};
    if (q->rc == 0) {
        q->rc = er_store_facts(r, &f, &q->arena, &ev->facts, &ev->n, &ev->reached);
    }
}

static void
done_page(struct er_query *q)
{
    struct events *ev = ER_CONTAINER(q, struct events, q);
    struct er_call *call = ev->call;
    if (q->rc) {
        answer_fault(ev);
    } else if (call->req) {
        struct er_buf b;
        er_buf_init(&b, 0);
        for (size_t i = 0; i < ev->n; i++) {
            er_fact_json(&b, &ev->facts[i]);
            er_buf_add_char(&b, '\n');
        }
        /* facts may have come since the bounds were read */
        int64_t last = ev->reached > ev->last ? ev->reached : ev->last;
        er_buf_addf(&b, "{\"first\":%lld,\"last\":%lld,\"reached\":%lld}\n",
                    (long long)ev->first, (long long)last, (long long)ev->reached);
        er_call_ndjson(call, 200, &b);
    }
    er_call_release(call);
}

static void
query(struct events *ev, void (*run)(struct er_query *q, struct er_store_reader *r),
      void (*done)(struct er_query *q))
{
    ev->q.run = run;
    ev->q.done = done;
    er_call_hold(ev->call);
    er_engine_query(ev->call->api->engine, &ev->q);
}

void
er_api_events(struct er_call *call)
{
    struct events *ev = er_xzalloc(sizeof *ev);
    ev->call = call;
    ev->cursor_at = -1;
    ev->now = er_engine_last_seq(call->api->engine);
    ev->correlation = er_xstrdup(er_request_query(call->req, "correlation"));
    ev->filter.correlation = ev->correlation;
    call->state = ev;
    call->free_state = free_events;
    if (!er_call_number(call, "task", 1, INT64_MAX, 0, &ev->filter.task) ||
        !read_since(ev) || !read_format(ev) || !read_events(ev)) {
        return;
    }
    if (ev->page) {
        query(ev, run_page, done_page);
    } else if (ev->cursor) {
        query(ev, run_where, done_where);
    } else {
        open_stream(ev);
    }
}
