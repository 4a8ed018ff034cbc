/* SPDX-License-Identifier: MIT */
/* The way of a request. The library calls on_target when its first line is there,
 * on_access when its head is there, then with each piece of its body, then once more with
 * none; and on_completed when all is sent or the connection broke:
 *
 *   IDLE -> HEAD -> COLLECT -> PENDING -> SENDING -> IDLE
 *                      \-> DISCARD ---------/
 *
 * The library takes an answer only with the head (then the connection is closed behind
 * it) or after the whole body. An early answer (a refusal, a bad line) therefore waits
 * until the rest of the body was read and thrown away; only when the client waits for
 * "100 Continue", or the head cannot be trusted, or the body is very large, it goes out
 * at once.
 *
 * Failure modes: returning MHD_NO closes the connection; a broken one ends any phase by
 * on_completed. */
#include <stdio.h>
#include <string.h>

#include "serve/http_priv.h"

#define KEEP_MAX ((size_t)4 << 10) /* bytes a buffer may keep between two requests */

/* ---- the body ---- */

static enum MHD_Result
discard(struct er_http_request *req, size_t n)
{
    req->discarded += n;
    return req->discarded <= ER_HTTP_DISCARD_MAX ? MHD_YES : MHD_NO;
}

static void
refuse_size(struct er_http_request *req, const char *what)
{
    char detail[80];
    (void)snprintf(detail, sizeof detail, "%s is larger than %zu bytes", what, req->max);
    er_http_refuse(req, 413, ER_ETOOBIG, detail);
}

static void
collect_whole(struct er_http_request *req, const char *data, size_t n)
{
    if (n > req->max || req->body.len > req->max - n) {
        refuse_size(req, "the body");
        return;
    }
    er_buf_add(&req->body, data, n);
    if (req->body.failed) {
        er_http_refuse(req, 503, ER_ENOMEM, NULL);
    }
}

static void
give_line(struct er_http_request *req, const char *line, size_t n)
{
    if (n > 0 && line[n - 1] == '\r') {
        n--;
    }
    if (n > 0) {
        req->conn->h->ops->on_line(req->conn->h->ctx, &req->base, line, n);
    }
}

/* The line is longer than may be: it is named, and skipped up to its end. */
static void
give_long_line(struct er_http_request *req)
{
    er_buf_clear(&req->body);
    req->skipping = true;
    req->conn->h->ops->on_line(req->conn->h->ctx, &req->base, NULL, req->max);
}

/* Gives the line that was kept, whose end has come. */
static void
give_kept_line(struct er_http_request *req)
{
    if (req->body.len > 0) {
        give_line(req, req->body.data, req->body.len);
        er_buf_clear(&req->body);
    }
}

static void
collect_lines(struct er_http_request *req, const char *data, size_t n)
{
    while (n > 0 && !req->answered) {
        const char *end = memchr(data, '\n', n);
        size_t len = end ? (size_t)(end - data) : n;
        if (!req->skipping && (len > req->max || req->body.len > req->max - len)) {
            give_long_line(req);
        }
        if (req->skipping) {
            req->skipping = !end;
            data += end ? len + 1 : n;
            n -= end ? len + 1 : n;
            continue;
        }
        if (!end || req->body.len > 0) {
            er_buf_add(&req->body, data, len);
            if (req->body.failed) {
                er_http_refuse(req, 503, ER_ENOMEM, NULL);
                return;
            }
        }
        if (!end) {
            return;
        }
        if (req->body.len > 0) {
            give_kept_line(req);
        } else {
            give_line(req, data, len);
        }
        data += len + 1;
        n -= len + 1;
    }
}

static enum MHD_Result
on_body(struct er_http_request *req, const char *data, size_t n)
{
    er_http_conn_hurry(req->conn);
    if (req->phase == ER_HTTP_DISCARD) {
        return discard(req, n);
    }
    if (req->kind == ER_BODY_LINES) {
        collect_lines(req, data, n);
    } else {
        collect_whole(req, data, n);
    }
    if (req->answered) {
        req->phase = ER_HTTP_DISCARD;
        er_buf_fini(&req->body);
    }
    return MHD_YES;
}

/* ---- the steps ---- */

/* The head is there: we refuse it, or the handler says what it wants. */
static void
consider_head(struct er_http_request *req, const char *method, const char *version,
              struct er_http_framing *framing, bool *out_close)
{
    struct er_http *h = req->conn->h;
    const char *why = NULL;
    int status = er_http_head_check(req, method, version, framing, &why);
    if (status) {
        *out_close = status != 405;
        if (status == 405) {
            er_http_add_header(&req->base, "Allow",
                               "GET, HEAD, POST, PUT, PATCH, DELETE");
        } else {
            er_http_add_header(&req->base, "Connection", "close");
        }
        er_http_refuse(req, status, status == 431 ? ER_ETOOBIG : ER_EINVALID, why);
        return;
    }
    if (req->conn->forbidden) {
        er_http_refuse(req, 403, ER_EAUTH, "this socket serves its owner and root only");
        return;
    }
    req->kind = ER_BODY_WHOLE;
    req->max = 0;
    req->known = true;
    if (h->ops->on_head(h->ctx, &req->base, &req->kind, &req->max)) {
        ER_ASSERT(req->answered);
    }
    if (!req->answered && req->kind == ER_BODY_WHOLE && framing->length > req->max) {
        refuse_size(req, "the body");
    }
}

static enum MHD_Result
on_head(struct er_http_request *req, const char *method, const char *version)
{
    struct er_http_framing framing;
    bool close = false;
    consider_head(req, method, version, &framing, &close);
    req->body.max = req->max + 1; /* the ceiling itself is ours to check */
    if (!req->answered) {
        req->phase = ER_HTTP_COLLECT;
    } else if (close || (framing.has_body && framing.expects_continue) ||
               framing.length > ER_HTTP_DISCARD_MAX) {
        return er_http_send(req);
    } else {
        req->phase = ER_HTTP_DISCARD;
    }
    if (framing.has_body) {
        er_http_conn_hurry(req->conn);
    }
    return MHD_YES;
}

static enum MHD_Result
on_complete(struct er_http_request *req)
{
    struct er_http *h = req->conn->h;
    er_http_conn_calm(req->conn);
    if (h->stopping && !req->answered) {
        return MHD_NO;
    }
    if (!req->answered && req->kind == ER_BODY_LINES) {
        give_kept_line(req);
    }
    if (!req->answered) {
        er_buf_add(&req->body, "", 0); /* terminated, also when there is none */
        h->ops->on_request(h->ctx, &req->base);
    }
    if (req->answered) {
        return er_http_send(req);
    }
    /* Not suspended yet: the library comes once more, knowing by then that it need not
     * read. Otherwise it would read first when resumed, and close the connection of a
     * peer that has ended its sending. */
    req->phase = ER_HTTP_PENDING;
    return MHD_YES;
}

static enum MHD_Result
on_pending(struct er_http_request *req)
{
    if (req->conn->h->stopping) {
        return MHD_NO;
    }
    er_http_conn_suspend(req->conn);
    return MHD_YES;
}

void *
er_http_request_on_target(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    (void)cls;
    struct er_http_conn *c =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (!c) {
        return NULL;
    }
    c->req.phase = ER_HTTP_HEAD;
    c->req.base.door = &er_http_door;
    c->req.base.peer_pid = c->pid;
    er_http_head_target(&c->req, uri ? uri : "");
    if (!c->hurried) {
        er_http_conn_hurry(c);
    }
    return &c->req;
}

enum MHD_Result
er_http_request_on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                          const char *method, const char *version, const char *data,
                          size_t *size, void **req_cls)
{
    struct er_http_request *req = *req_cls;
    size_t n = *size;
    (void)cls;
    (void)mhd;
    (void)url;
    if (!req) {
        return MHD_NO; /* memory was out when the connection came */
    }
    switch (req->phase) {
    case ER_HTTP_HEAD:
        return on_head(req, method, version);
    case ER_HTTP_COLLECT:
    case ER_HTTP_DISCARD:
        *size = 0;
        return n > 0 ? on_body(req, data, n) : on_complete(req);
    case ER_HTTP_PENDING:
        return req->answered || req->base.gone ? er_http_send(req) : on_pending(req);
    case ER_HTTP_IDLE:
    case ER_HTTP_SENDING:
        break;
    }
    return MHD_NO;
}

void
er_http_request_on_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
                             enum MHD_RequestTerminationCode code)
{
    struct er_http_request *req = *req_cls;
    (void)cls;
    (void)mhd;
    if (req) {
        req->base.gone = req->base.gone || code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
        er_http_request_end(req);
    }
}

/* Empties a buffer that the next request may use again. */
static void
recycle(struct er_buf *b)
{
    b->max = 0;
    if (b->size > KEEP_MAX) {
        er_buf_fini(b);
    } else {
        er_buf_clear(b);
    }
}

void
er_http_request_end(struct er_http_request *req)
{
    struct er_http_conn *c = req->conn;
    if (req->phase == ER_HTTP_IDLE) {
        return;
    }
    er_http_conn_calm(c);
    if (req->known) {
        c->h->ops->on_end(c->h->ctx, &req->base);
    }
    if (req->response) {
        MHD_destroy_response(req->response);
    }
    recycle(&req->base.target);
    recycle(&req->headers);
    recycle(&req->body);
    er_buf_fini(&req->stream.out);
    *req = (struct er_http_request){
        .base = {.target = req->base.target},
        .conn = c,
        .headers = req->headers,
        .body = req->body,
    };
}

void
er_http_request_fini(struct er_http_request *req)
{
    er_buf_fini(&req->base.target);
    er_buf_fini(&req->headers);
    er_buf_fini(&req->body);
}

/* ---- what the handler asks ---- */

static const struct er_http_request *
mine(const struct er_request *base)
{
    return (const struct er_http_request *)(const void *)base;
}

static const char *
header(const struct er_request *base, const char *name)
{
    return MHD_lookup_connection_value(mine(base)->conn->mhd, MHD_HEADER_KIND, name);
}

static const struct er_buf *
body(const struct er_request *base)
{
    return &mine(base)->body;
}

const struct er_door er_http_door = {
    .header = header,
    .body = body,
    .add_header = er_http_add_header,
    .reply = er_http_reply,
    .stream = er_http_stream_start,
    .wake = er_http_stream_wake,
};
