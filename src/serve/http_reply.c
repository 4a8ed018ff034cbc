/* SPDX-License-Identifier: MIT */
/* Answers. One is made of what the handler gives and kept in the request until the
 * library takes it (er_http_send); a suspended connection is resumed for that.
 *
 * A stream is an answer whose bytes the library asks for. When there are none the
 * connection is suspended in the asking (an answer of 0 bytes without that would be asked
 * again at once, for ever), until a wake, or a hang-up, resumes it. */
#include <string.h>
#include <sys/socket.h>

#include "base/heap.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/http_priv.h"
#include "wire/problem.h"

#define ROOM        ((size_t)16 << 10) /* bytes asked of pull at a time */
#define BLOCK       1024               /* the library's own, for HTTP/1.0 only */
#define SLEEPER_MAX ((size_t)4096)     /* bytes a sleeping stream's buffer may keep */

void
er_http_add_header(struct er_request *base, const char *name, const char *value)
{
    struct er_http_request *req = (struct er_http_request *)(void *)base;
    er_buf_add(&req->headers, name, strlen(name) + 1);
    er_buf_add(&req->headers, value, strlen(value) + 1);
}

/* Puts the headers on the answer and lets it go out, now or with the rest of the request.
 */
static void
finish(struct er_http_request *req, int status, const char *content_type,
       struct MHD_Response *response)
{
    req->answered = true;
    req->status = status;
    req->response = response;
    if (!response) {
        req->base.gone = true; /* memory is out: the connection will be closed */
    }
    if (response && content_type) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                                      content_type);
    }
    for (size_t at = 0; response && at < req->headers.len;) {
        const char *name = req->headers.data + at, *value = name + strlen(name) + 1;
        (void)MHD_add_response_header(response, name, value);
        at = (size_t)(value + strlen(value) + 1 - req->headers.data);
    }
    er_http_conn_resume(req->conn);
}

void
er_http_reply(struct er_request *base, int status, const char *content_type,
              struct er_buf *body)
{
    struct er_http_request *req = (struct er_http_request *)(void *)base;
    struct MHD_Response *response = NULL;
    if (req->answered || req->base.gone) {
        if (body) {
            er_buf_fini(body);
        }
        return;
    }
    size_t len = body ? body->len : 0;
    if (body && body->failed) {
        er_buf_fini(body);
        er_http_refuse(req, 503, ER_ENOMEM, NULL);
        return;
    }
    if (len == 0) {
        if (body) {
            er_buf_fini(body);
        }
        response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    } else {
        char *data = er_buf_take(body);
        response = MHD_create_response_from_buffer_with_free_callback(len, data, er_free);
        if (!response) {
            er_free(data);
        }
    }
    finish(req, status, content_type, response);
}

void
er_http_refuse(struct er_http_request *req, int status, int code, const char *detail)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    (void)er_problem_json_status(&b, status, code, detail, NULL, NULL);
    if (b.failed) {
        er_buf_fini(&b); /* then the status must do */
    }
    er_http_reply(&req->base, status, ER_PROBLEM_TYPE, &b);
}

enum MHD_Result
er_http_send(struct er_http_request *req)
{
    if (req->base.gone || !req->response) {
        return MHD_NO;
    }
    struct MHD_Response *response = req->response;
    req->response = NULL;
    req->phase = ER_HTTP_SENDING;
    enum MHD_Result ok =
        MHD_queue_response(req->conn->mhd, (unsigned)req->status, response);
    MHD_destroy_response(response); /* the library keeps its own reference */
    return ok;
}

/* ---- streams ---- */

/* Asks the stream's owner for more: true when there are bytes now. */
static bool
pull(struct er_http_request *req)
{
    struct er_http_stream *s = &req->stream;
    er_buf_clear(&s->out);
    s->sent = 0;
    s->woken = false;
    if (!s->ended) {
        s->ended = !s->pull(s->ctx, &s->out, ROOM) || req->conn->h->stopping;
    }
    return s->out.len > 0;
}

/* Ends an answer whose end must not look like one. The library (0.9.75) forgets a resumed
 * connection whose body ends with an error, until all that are older have moved: so the
 * connection is shut down, and the sending of the last chunk fails. */
static ssize_t
break_off(struct er_http_request *req)
{
    (void)shutdown(req->conn->fd, SHUT_RDWR);
    return MHD_CONTENT_READER_END_OF_STREAM;
}

static ssize_t
on_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct er_http_request *req = cls;
    struct er_http_stream *s = &req->stream;
    (void)pos;
    if (req->base.gone) {
        return break_off(req);
    }
    bool more = s->sent < s->out.len || pull(req);
    if (s->out.failed) { /* what came is not whole */
        er_log(ER_LOG_ERROR, "http", "the stream of %s is broken off: %s", req->base.path,
               er_error_meaning(s->out.failed));
        return break_off(req);
    }
    if (!more) {
        if (s->ended) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (s->out.size > SLEEPER_MAX) {
            er_buf_fini(&s->out);
        }
        s->asleep = true;
        er_http_conn_suspend(req->conn);
        if (s->woken) {
            er_http_stream_wake(&s->base);
        }
        return 0;
    }
    size_t n = s->out.len - s->sent;
    n = n < max ? n : max;
    memcpy(buf, s->out.data + s->sent, n);
    s->sent += n;
    return (ssize_t)n;
}

struct er_stream *
er_http_stream_start(struct er_request *base, int status, const char *content_type,
                     er_pull_fn *fn, void *ctx)
{
    struct er_http_request *req = (struct er_http_request *)(void *)base;
    struct er_http_stream *s = &req->stream;
    if (!req->answered && !req->base.gone) {
        s->base.door = base->door;
        s->pull = fn;
        s->ctx = ctx;
        struct MHD_Response *response = MHD_create_response_from_callback(
            MHD_SIZE_UNKNOWN, BLOCK, on_read, req, NULL);
        if (response && req->is_head) {
            /* else the library (0.9.75) sends the end of a chunked body */
            (void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT,
                                           MHD_RO_END);
        }
        finish(req, status, content_type, response);
    }
    return &s->base;
}

void
er_http_stream_wake(struct er_stream *base)
{
    struct er_http_stream *s = (struct er_http_stream *)(void *)base;
    struct er_http_request *req = ER_CONTAINER(s, struct er_http_request, stream);
    if (!s->asleep) {
        s->woken = true;
        return;
    }
    s->asleep = false;
    er_http_conn_resume(req->conn);
}
