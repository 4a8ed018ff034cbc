/* SPDX-License-Identifier: MIT */
/* Happy path: send (the API's on_head, on_line, on_request) -> the API replies, now or
 * later: the request stands in the list of what is ready -> the end of the turn: on_end,
 * done. Nothing is called back from inside send, nor from inside the API: who replies is
 * in the middle of something.
 *
 * A stream stands in the list whenever it was woken, and is pulled then.
 *
 * Failure modes: a target that is none, a body that is too large: refused as a daemon
 * would. Who asked may go at any time (er_inside_drop): the API is told by on_end, from
 * the turn. */
#include "lib/inside.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "api/target.h"
#include "base/heap.h"
#include "base/mem.h"
#include "lib/embedded.h"
#include "lib/handle.h"
#include "wire/problem.h"

#define ROOM   ((size_t)64 << 10) /* bytes asked of a stream at a time */
#define ROUNDS 16                 /* pieces of one stream in one turn */

struct inside_request {
    struct er_request base;
    struct er_inside *in;
    struct er_ask *ask; /* NULL: gone */
    struct er_buf headers, reply;
    int status;
    bool known;     /* on_end is owed */
    bool answered;  /* replied, or a stream */
    bool is_ready;  /* it stands in the list */
    bool has_begun; /* a stream: who asks was told of its head */
    struct er_stream stream;
    er_pull_fn *pull; /* NULL: no stream */
    void *pull_ctx;
    TAILQ_ENTRY(inside_request) in_ready;
};
TAILQ_HEAD(ready_list, inside_request);
struct er_inside {
    struct errand *e;
    pid_t pid;
    struct ready_list ready;
    struct er_buf out; /* of streams that are handed on */
};

static struct inside_request *
mine(const struct er_request *base)
{
    return (struct inside_request *)(uintptr_t)base;
}

static void
make_ready(struct inside_request *req)
{
    if (!req->is_ready) {
        req->is_ready = true;
        TAILQ_INSERT_TAIL(&req->in->ready, req, in_ready);
        er_handle_stir(req->in->e);
    }
}

/* ---- what the API asks of its door ---- */

static const char *
header(const struct er_request *base, const char *name)
{
    const struct er_ask *ask = mine(base)->ask;
    if (!ask) {
        return NULL;
    }
    const char *given = er_ask_find(&ask->headers, name);
    if (!given && ask->body.len > 0 && strcmp(name, "Content-Type") == 0) {
        return ask->type ? ask->type : "application/json";
    }
    return given;
}

static const struct er_buf *
body(const struct er_request *base)
{
    static const struct er_buf none = {.data = (char *)(uintptr_t) ""};
    const struct inside_request *req = mine(base);
    return req->ask && req->ask->body.data ? &req->ask->body : &none;
}

static void
add_header(struct er_request *base, const char *name, const char *value)
{
    struct inside_request *req = mine(base);
    er_buf_add(&req->headers, name, strlen(name) + 1);
    er_buf_add(&req->headers, value, strlen(value) + 1);
}

static void
reply(struct er_request *base, int status, const char *content_type, struct er_buf *text)
{
    struct inside_request *req = mine(base);
    if (req->answered || base->gone) {
        if (text) {
            er_buf_fini(text);
        }
        return;
    }
    req->answered = true;
    req->status = status;
    if (content_type) {
        add_header(base, "Content-Type", content_type);
    }
    if (text) {
        req->reply = *text;
        *text = (struct er_buf){0};
    }
    make_ready(req);
}

static struct er_stream *
stream(struct er_request *base, int status, const char *content_type, er_pull_fn *pull,
       void *ctx)
{
    struct inside_request *req = mine(base);
    if (!req->answered && !base->gone) {
        req->answered = true;
        req->status = status;
        req->stream.door = base->door;
        req->pull = pull;
        req->pull_ctx = ctx;
        add_header(base, "Content-Type", content_type);
        make_ready(req);
    }
    return &req->stream;
}

static void
wake(struct er_stream *s)
{
    make_ready(ER_CONTAINER(s, struct inside_request, stream));
}

static const struct er_door door = {
    .header = header,
    .body = body,
    .add_header = add_header,
    .reply = reply,
    .stream = stream,
    .wake = wake,
};

/* ---- sending ---- */

static void
refuse(struct inside_request *req, int status, int code, const char *detail)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    (void)er_problem_json_status(&b, status, code, detail, NULL, NULL);
    reply(&req->base, status, ER_PROBLEM_TYPE, &b);
}

static void
refuse_size(struct inside_request *req, const char *what, size_t max)
{
    char detail[80];
    (void)snprintf(detail, sizeof detail, "%s is larger than %zu bytes", what, max);
    refuse(req, 413, ER_ETOOBIG, detail);
}

static void
give_lines(struct inside_request *req, const struct er_request_ops *ops, void *api,
           size_t max)
{
    const struct er_buf *b = body(&req->base);
    const char *at = b->data, *end = b->data + b->len;
    while (at < end && !req->answered) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((nl ? nl : end) - at);
        size_t used = nl ? len + 1 : len;
        len -= len > 0 && at[len - 1] == '\r';
        if (len > max) {
            ops->on_line(api, &req->base, NULL, max);
        } else if (len > 0) {
            ops->on_line(api, &req->base, at, len);
        }
        at += used;
    }
}

static void
give(struct inside_request *req)
{
    const struct er_request_ops *ops = er_routes_ops();
    struct er_api *api = er_embedded_api(req->in->e->embedded);
    enum er_body_kind kind = ER_BODY_WHOLE;
    size_t max = 0;
    req->known = true;
    if (ops->on_head(api, &req->base, &kind, &max)) {
        ER_ASSERT(req->answered);
        return;
    }
    if (kind == ER_BODY_LINES) {
        give_lines(req, ops, api, max);
    } else if (req->ask->body.len > max) {
        refuse_size(req, "the body", max);
    }
    if (!req->answered) {
        ops->on_request(api, &req->base);
    }
}

void
er_inside_send(struct er_ask *ask)
{
    struct er_inside *in = er_embedded_inside(ask->e->embedded);
    er_mem_reserve(ER_HANDLE_RESERVE);
    struct inside_request *req = er_xzalloc(sizeof *req);
    req->in = in;
    req->ask = ask;
    ask->way = req;
    req->base.door = &door;
    req->base.peer_pid = in->pid;
    req->base.inside = true;
    int rc = er_target_parse(&req->base.target, ask->target);
    if (rc || ask->body.failed || ask->headers.failed) {
        refuse(req, rc == ER_EINVALID ? 400 : 503, rc == ER_EINVALID ? rc : ER_ENOMEM,
               rc == ER_EINVALID ? "the target cannot be decoded" : NULL);
        return;
    }
    req->base.method = ask->method;
    req->base.path = req->base.target.data;
    give(req);
}

void
er_inside_drop(struct er_ask *ask)
{
    struct inside_request *req = ask->way;
    if (req) {
        ask->way = NULL;
        req->ask = NULL;
        req->base.gone = true;
        make_ready(req);
    }
}

bool
er_inside_got(const struct er_ask *ask, const char *name, char *out, size_t size)
{
    const struct inside_request *req = ask->way;
    const char *value = req ? er_ask_find(&req->headers, name) : NULL;
    if (value) {
        (void)snprintf(out, size, "%s", value);
    }
    return value != NULL;
}

/* ---- the turn ---- */

struct er_inside *
er_inside_new(struct errand *e)
{
    struct er_inside *in = er_zalloc(sizeof *in);
    if (in) {
        in->e = e;
        in->pid = getpid();
        TAILQ_INIT(&in->ready);
    }
    return in;
}

void
er_inside_free(struct er_inside *in)
{
    if (in) {
        er_buf_fini(&in->out);
        er_free(in);
    }
}

/* It is over: the API is told first, then who asked. */
static void
end(struct inside_request *req)
{
    struct er_ask *ask = req->ask;
    if (req->is_ready) {
        TAILQ_REMOVE(&req->in->ready, req, in_ready);
    }
    req->is_ready = true; /* it comes into no list any more */
    if (req->known) {
        er_routes_ops()->on_end(er_embedded_api(req->in->e->embedded), &req->base);
    }
    if (ask) {
        ask->status = req->status;
        if (ask->data && !req->pull && req->status < 300 && req->reply.len > 0) {
            ask->data(ask, req->reply.data, req->reply.len);
            ask = req->ask; /* it may have been cancelled in there */
            er_buf_fini(&req->reply);
        } else if (!req->pull) {
            ask->answer = req->reply;
            req->reply = (struct er_buf){0};
        }
    }
    if (ask) {
        er_ask_finish(ask, req->status);
    }
    er_buf_fini(&req->base.target);
    er_buf_fini(&req->headers);
    er_buf_fini(&req->reply);
    er_free(req);
}

/* Hands on what a stream has to say. False: it has ended. */
static bool
pull(struct inside_request *req)
{
    struct er_inside *in = req->in;
    if (!req->has_begun) {
        req->has_begun = true;
        req->ask->status = req->status;
        if (req->ask->began) {
            req->ask->began(req->ask);
        }
        if (!req->ask) {
            return true;
        }
    }
    for (int i = 0; i < ROUNDS; i++) {
        struct er_buf *out = &in->out;
        er_buf_clear(out);
        bool more = req->pull(req->pull_ctx, out, ROOM);
        if (!req->ask) {
            return true; /* the list has it once more */
        }
        req->ask->status = req->status;
        if (out->failed) { /* a part of it is missing: no more of this one */
            req->status = ER_ENOMEM;
            return false;
        }
        if (out->len > 0 && req->ask->data) {
            req->ask->data(req->ask, out->data, out->len);
        } else if (out->len > 0) {
            er_buf_add(&req->ask->answer, out->data, out->len);
        }
        if (!more || !req->ask) {
            return more;
        }
        if (out->len == 0) {
            return true;
        }
    }
    make_ready(req); /* more may be there: after the others */
    return true;
}

bool
er_inside_turn(struct er_inside *in)
{
    struct ready_list now = TAILQ_HEAD_INITIALIZER(now);
    TAILQ_CONCAT(&now, &in->ready, in_ready);
    struct inside_request *req;
    while ((req = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, req, in_ready);
        req->is_ready = false;
        if (!req->ask || !req->pull || !pull(req)) {
            end(req);
        }
    }
    return !TAILQ_EMPTY(&in->ready);
}

bool
er_inside_is_quiet(const struct er_inside *in)
{
    return TAILQ_EMPTY(&in->ready);
}
