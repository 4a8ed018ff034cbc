/* SPDX-License-Identifier: MIT */
/* The workers' two requests. Claim: a hello, then a stream of lines that the engine adds
 * to the link. Report: lines in, one answer when all of them are on disk. */
#include <stdlib.h>
#include <string.h>

#include "api/hint.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/param.h"

#define HELD_MAX  ((size_t)100000)
#define TYPES_MAX ((size_t)10000)
#define SLOTS_MAX 100000 /* of a session of handlers */

/* ---- claim ---- */

struct claim {
    struct er_link link; /* first: the engine hands it back */
    struct er_call *call;
    struct er_stream *stream;
    struct er_hello hello;
    struct er_arena arena;
    const char *version; /* NULL = not told */
    bool attached;
};

static void
on_wake(struct er_link *link)
{
    struct claim *c = (struct claim *)(void *)link;
    if (c->stream) {
        er_stream_wake(c->stream);
    }
}

static bool
pull(void *ctx, struct er_buf *out, size_t room)
{
    struct claim *c = ctx;
    if (c->link.out.failed) { /* lines were lost: the next hello sorts it out */
        er_log(ER_LOG_ERROR, "claim",
               "the stream of session %lld is broken off, with %zu bytes that were not "
               "sent: %s",
               (long long)c->hello.session, c->link.out.len - c->link.sent,
               er_error_meaning(c->link.out.failed));
        return false;
    }
    er_engine_link_take(c->call->api->engine, &c->link, out, room);
    return true;
}

static void
gone(struct er_call *call)
{
    struct claim *c = call->state;
    if (c->attached) {
        c->attached = false;
        if (er_engine_session_detach(call->api->engine, &c->link)) {
            call->api->keeper->detached(call->api->keeper, c->hello.session);
        }
    }
}

static void
free_claim(struct er_call *call)
{
    struct claim *c = call->state;
    er_buf_fini(&c->link.out);
    er_arena_free(&c->arena);
    er_free(c);
}

/* NULL: no memory. */
static const struct er_held *
read_held(struct claim *c, const json_t *array, size_t *out_n)
{
    size_t n = json_array_size(array);
    struct er_held *held = er_arena_alloc(&c->arena, (n + 1) * sizeof *held);
    for (size_t i = 0; held && i < n; i++) {
        const json_t *o = json_array_get(array, i);
        const char *at = json_string_value(json_object_get(o, "started_at"));
        held[i].task = json_integer_value(json_object_get(o, "task"));
        held[i].attempt = (int)json_integer_value(json_object_get(o, "attempt"));
        held[i].pid = (int)json_integer_value(json_object_get(o, "pid"));
        held[i].paused = json_is_true(json_object_get(o, "paused"));
        if (!at || er_time_parse(at, &held[i].started_at)) {
            held[i].started_at = ER_NEVER;
        }
    }
    *out_n = held ? n : 0;
    return held;
}

/* An array of names of types; the call is answered when it is none. False then. The texts
 * are borrowed from the array. */
static const char *const *
read_types(struct er_call *call, const json_t *array, struct er_arena *arena,
           size_t *out_n)
{
    size_t n = json_array_size(array);
    const char **types = er_arena_alloc(arena, (n + 1) * sizeof(const char *));
    bool ok = json_is_array(array) && n <= TYPES_MAX, lacks_memory = !types;
    for (size_t i = 0; ok && !lacks_memory && i < n; i++) {
        const char *name = json_string_value(json_array_get(array, i));
        types[i] = er_arena_strdup(arena, name);
        ok = name && er_type_is_name(name);
        lacks_memory = name && !types[i];
    }
    if (ok && lacks_memory) { /* it comes again */
        er_call_problem(call, ER_ENOMEM, "types", "out of memory");
        return NULL;
    }
    if (!ok) {
        er_call_problem(
            call, ER_EINVALID, "types",
            "types is an array of at most %zu names of types: " ER_TYPE_NAME_RULE,
            TYPES_MAX);
        return NULL;
    }
    *out_n = n;
    return types;
}

/* What a session of handlers says of itself. */
static bool
read_handlers(struct claim *c, const json_t *o)
{
    const json_t *types = json_object_get(o, "types");
    json_int_t slots = json_integer_value(json_object_get(o, "slots"));
    if (!types || json_is_null(types)) {
        return true;
    }
    if (slots < 1 || slots > SLOTS_MAX) {
        er_call_problem(c->call, ER_EINVALID, "slots",
                        "a worker with types says how many slots it has: 1 to %d",
                        SLOTS_MAX);
        return false;
    }
    c->hello.slots = (int)slots;
    c->hello.types = read_types(c->call, types, &c->arena, &c->hello.n_types);
    return c->hello.types != NULL;
}

/* Whether there was memory for all that the hello says: a token that is missing would
 * lose the session, attempts that are missing would be given to somebody else. */
static bool
is_whole(const struct claim *c, const json_t *o)
{
    bool has_token = json_is_string(json_object_get(o, "token"));
    bool has_version = json_is_string(json_object_get(o, "version"));
    return c->hello.held && c->hello.owed && (c->hello.token || !has_token) &&
           (c->version || !has_version);
}

static void
refuse_hello(struct claim *c)
{
    er_call_problem(c->call, ER_ENOMEM, NULL, "out of memory: say hello again");
}

static bool
read_hello(struct claim *c, const json_t *o)
{
    struct er_call *call = c->call;
    const json_t *session = json_object_get(o, "session"),
                 *slots = json_object_get(o, "slots");
    json_int_t protocol = json_integer_value(json_object_get(o, "protocol"));
    if (!json_is_integer(json_object_get(o, "protocol"))) {
        er_call_problem(
            call, ER_EINVALID, "protocol",
            "a hello names its protocol, a number: {\"protocol\": 1, ...}, see "
            "docs/PROTOCOL.md");
        return false;
    }
    if (protocol != 1) {
        er_call_problem(call, ER_ESCHEMA, "protocol",
                        "this daemon speaks protocol 1, the worker "
                        "%lld",
                        (long long)protocol);
        return false;
    }
    if ((slots && !json_is_integer(slots)) ||
        (session && !json_is_null(session) && !json_is_integer(session)) ||
        json_array_size(json_object_get(o, "held")) > HELD_MAX ||
        json_array_size(json_object_get(o, "owed")) > HELD_MAX) {
        er_call_problem(call, ER_EINVALID, "session",
                        "not a hello: see docs/PROTOCOL.md");
        return false;
    }
    int pid = (int)call->req->peer_pid;
    c->hello.session = json_integer_value(session);
    c->hello.token =
        er_arena_strdup(&c->arena, json_string_value(json_object_get(o, "token")));
    c->hello.pid = pid ? pid : (int)json_integer_value(json_object_get(o, "pid"));
    c->hello.slots = call->api->keeper->slots(call->api->keeper);
    c->hello.pings = json_is_true(json_object_get(o, "pings"));
    c->version =
        er_arena_strdup(&c->arena, json_string_value(json_object_get(o, "version")));
    c->hello.held = read_held(c, json_object_get(o, "held"), &c->hello.n_held);
    c->hello.owed = read_held(c, json_object_get(o, "owed"), &c->hello.n_owed);
    if (!is_whole(c, o)) {
        refuse_hello(c);
        return false;
    }
    return read_handlers(c, o);
}

struct find_session {
    int64_t id;
    const char *worker, *token;
};

static void
on_view(void *ctx, const struct er_session_view *v)
{
    struct find_session *f = ctx;
    if (v->id == f->id) {
        f->worker = v->worker;
        f->token = v->token;
    }
}

static void
add_welcome(struct claim *c, struct er_buf *b)
{
    struct er_api *s = c->call->api;
    struct find_session f = {.id = c->hello.session};
    er_engine_sessions(s->engine, on_view, &f);
    er_buf_addf(b, "{\"welcome\":{\"session\":%lld,\"token\":", (long long)f.id);
    er_buf_add_json_str(b, f.token);
    er_buf_add_str(b, ",\"worker\":");
    er_buf_add_json_str(b, f.worker);
    er_buf_addf(b, ",\"slots\":%d,\"logs\":", c->hello.slots);
    er_buf_add_json_str(b, er_engine_logs(s->engine));
    char *lock = er_xasprintf("%s/%s.lock", s->places->workers, f.worker ? f.worker : "");
    er_buf_add_str(b, ",\"lock\":");
    er_buf_add_json_str(b, lock);
    er_free(lock);
    er_buf_addf(
        b, ",\"output_head\":%lld,\"output_tail\":%lld,\"progress_interval_ms\":100}}\n",
        (long long)s->config.output_head, (long long)s->config.output_tail);
}

static void
attach(struct claim *c)
{
    struct er_call *call = c->call;
    struct er_buf welcome;
    er_buf_init(&welcome, 0);
    add_welcome(c, &welcome);
    int rc = er_engine_session_attach(call->api->engine, &c->hello, &c->link,
                                      welcome.data ? welcome.data : "");
    er_buf_fini(&welcome);
    if (rc) {
        er_call_problem(call, rc, "session",
                        "session %lld is not known or is over: kill what "
                        "you run and begin anew",
                        (long long)c->hello.session);
        return;
    }
    c->attached = true;
    call->answered = true;
    c->stream = er_request_stream(call->req, 200, "application/x-ndjson", pull, c);
    er_stream_wake(c->stream);
    call->api->keeper->attached(call->api->keeper, c->hello.session, c->hello.pid,
                                c->version, call->req->inside);
}

static void
on_open(void *ctx, int64_t session, int rc)
{
    struct claim *c = ctx;
    struct er_call *call = c->call;
    struct find_session f = {.id = session};
    er_engine_sessions(call->api->engine, on_view, &f);
    c->hello.session = session;
    c->hello.token = er_arena_strdup(&c->arena, f.token);
    if (rc) {
        er_call_problem(call, rc, NULL, "cannot open a session: %s",
                        er_error_meaning(rc));
    } else if (!call->req) {
        /* the worker did not wait: the session is over before it began */
        er_engine_session_dead(call->api->engine, session, false);
    } else if (!c->hello.token) {
        refuse_hello(c);
        er_engine_session_dead(call->api->engine, session, false);
    } else {
        attach(c);
    }
    er_call_release(call);
}

static void
open_session(struct claim *c)
{
    struct er_engine *e = c->call->api->engine;
    if (c->hello.types) {
        er_engine_session_open_handlers(e, c->hello.pid, on_open, c);
    } else {
        er_engine_session_open(e, c->hello.pid, on_open, c);
    }
}

void
er_api_claim(struct er_call *call)
{
    json_t *o = er_call_object(call);
    if (!o) {
        return;
    }
    struct claim *c = er_xzalloc(sizeof *c);
    c->call = call;
    c->link.wake = on_wake;
    er_buf_init(&c->link.out, ER_LINK_MAX);
    call->state = c;
    call->free_state = free_claim;
    call->gone = gone;
    if (read_hello(c, o)) {
        if (c->hello.session) {
            attach(c);
        } else if (call->api->stopping) {
            er_call_problem(call, ER_ECLOSED, NULL, "%s is shutting down",
                            er_hint_host(call->api));
        } else {
            er_call_hold(call);
            open_session(c);
        }
    }
    json_decref(o);
}

/* ---- report ---- */

static void
free_report(struct er_call *call)
{
    if (call->state) {
        er_engine_report_drop(call->state);
    }
}

static struct er_report_batch *
get_batch(struct er_call *call)
{
    if (!call->state && !call->answered) {
        const char *session = er_request_header(call->req, "X-Errand-Session");
        call->state = er_engine_report_new(
            call->api->engine, session ? strtoll(session, NULL, 10) : 0,
            er_request_header(call->req, "X-Errand-Token"));
        call->free_state = free_report;
        if (!call->state) {
            er_call_problem(call, ER_ELOST, "X-Errand-Session",
                            "session %.20s is not known or "
                            "is over",
                            session ? session : "(none)");
        }
    }
    return call->state;
}

/* A line {"types": [...]}: it is nothing that is reported, and counts at once. True: it
 * was one. */
static bool
take_types(struct er_call *call, const char *line, size_t len)
{
    static const char begin[] = "{\"types\"";
    const char *session = er_request_header(call->req, "X-Errand-Session");
    struct er_arena arena = {0};
    size_t n;
    if (len < sizeof begin || memcmp(line, begin, sizeof begin - 1) != 0) {
        return false;
    }
    json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    const char *const *types = read_types(call, json_object_get(o, "types"), &arena, &n);
    if (types) {
        er_engine_set_types(call->api->engine, session ? strtoll(session, NULL, 10) : 0,
                            types, n);
    }
    json_decref(o);
    er_arena_free(&arena);
    return true;
}

void
er_api_report_line(struct er_call *call, const char *line, size_t len)
{
    struct er_err err = {""};
    struct er_report_batch *b = get_batch(call);
    if (b && !call->answered && !take_types(call, line, len)) {
        int rc = er_engine_report_line(b, line, len, &err);
        if (rc) {
            er_call_problem(call, rc, NULL, "%s", err.text);
        }
    }
}

static void
on_reported(void *ctx, int rc, const struct er_held *lost, size_t n_lost)
{
    struct er_call *call = ctx;
    if (rc) {
        er_call_problem(call, rc, NULL, "nothing was taken: %s", er_error_meaning(rc));
    } else {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_add_str(&b, "{\"lost\":[");
        for (size_t i = 0; i < n_lost; i++) {
            er_buf_addf(&b, "%s{\"task\":%lld,\"attempt\":%d}", i ? "," : "",
                        (long long)lost[i].task, lost[i].attempt);
        }
        er_buf_add_str(&b, "]}");
        er_call_json(call, 200, &b);
    }
    er_call_release(call);
}

void
er_api_report(struct er_call *call)
{
    struct er_report_batch *b = get_batch(call);
    if (!b || call->answered) {
        return;
    }
    call->state = NULL;
    er_call_hold(call);
    er_engine_report_send(b, on_reported, call);
}
