/* SPDX-License-Identifier: MIT */
/* GET /v1/events: a subscription of the engine, pulled by the connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/mem.h"
#include "model/suggest.h"

struct events {
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
    if (ev->sub) {
        er_sub_pull(ev->sub, out, room);
    }
    return ev->sub != NULL;
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
    er_free(call->state);
}

/* Reads `event=a,b` into the filter; answers and returns false on an unknown one. */
static bool
read_events(struct er_call *call, struct er_sub_filter *f)
{
    static const char *const names[] = {
#define ER_EVENT(name, number, word, kind, meaning) word,
#include "model/events.def"
#undef ER_EVENT
    };
    const char *text = er_request_query(call->req, "event");
    f->progress = f->output = !text;
    if (text && !*text) {
        er_call_problem(call, ER_EINVALID, "event",
                        "event is empty (names, with commas)");
        return false;
    }
    while (text && *text) {
        char word[40];
        size_t len = strcspn(text, ",");
        (void)snprintf(word, sizeof word, "%.*s", (int)(len < 39 ? len : 39), text);
        int event = er_event_find(word);
        if (event < 0) {
            struct er_err err;
            int rc = er_suggest_fail(&err, ER_EINVALID, "event", word, names,
                                     sizeof names / sizeof names[0]);
            er_call_problem(call, rc, "event", "%s", err.text);
            return false;
        }
        f->progress = f->progress || event == ER_EVENT_TASK_PROGRESS;
        f->output = f->output || event == ER_EVENT_TASK_OUTPUT;
        if (er_event_is_fact((enum er_event)event)) {
            f->facts |= 1ull << event;
        }
        text += len + (text[len] == ',');
    }
    if (er_request_query(call->req, "event") && f->facts == 0) {
        f->facts = 1ull << 63; /* samples only: a bit that no fact has */
    }
    return true;
}

/* The number to go on from: the header wins, since that is what a reconnect sends. */
static bool
read_since(struct er_call *call, int64_t *out)
{
    const char *last = er_request_header(call->req, "Last-Event-ID");
    if (last && *last) {
        char *end;
        *out = strtoll(last, &end, 10);
        if (*end != '\0' || *out < 0) {
            er_call_problem(call, ER_EINVALID, "Last-Event-ID",
                            "'%.50s' is not the id of an event", last);
            return false;
        }
        return true;
    }
    return er_call_number(call, "since", 0, INT64_MAX - 1, -1, out);
}

void
er_api_events(struct er_call *call)
{
    struct er_sub_filter f = {.correlation = er_request_query(call->req, "correlation")};
    int64_t since;
    if (!er_call_number(call, "task", 1, INT64_MAX, 0, &f.task) ||
        !read_since(call, &since) || !read_events(call, &f)) {
        return;
    }
    struct events *ev = er_xzalloc(sizeof *ev);
    call->state = ev;
    call->free_state = free_events;
    call->gone = gone;
    call->answered = true;
    ev->sub = er_engine_subscribe(call->api->engine, &f, since, on_wake, ev);
    er_request_add_header(call->req, "Cache-Control", "no-store");
    ev->stream = er_request_stream(call->req, 200, "text/event-stream", pull, ev);
}
