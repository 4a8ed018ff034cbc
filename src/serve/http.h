/* SPDX-License-Identifier: MIT */
/* The HTTP server of the daemon: libmicrohttpd inside a libuv loop, made into four things:
 * requests with their whole body, requests whose body comes in lines, replies that may come
 * later, and streams. It knows no route and no task. All on the loop's thread.
 *
 * A request lives from its handler's call until it has been answered and sent, or its
 * connection broke. A handler answers at once or later, exactly once. */
#ifndef ER_SERVE_HTTP_H
#define ER_SERVE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

struct uv_loop_s;
struct er_http; /* a server: one listening socket */
struct er_http_request;
struct er_http_stream;

/* How the body of a request is wanted; asked when its head is there. */
enum er_http_body {
    ER_HTTP_BODY_WHOLE, /* collected; on_request is called when it is complete */
    ER_HTTP_BODY_LINES, /* on_line for each line as it comes, then on_request */
};
struct er_http_ops {
    /* The head is there: choose how the body comes and how many bytes it may have (WHOLE:
     * all of it, LINES: one line; a line or body that is longer is answered 413 by the
     * server). Return 0, or answer the request with er_http_reply and return -1. */
    int (*on_head)(void *ctx, struct er_http_request *req, enum er_http_body *out_body,
                   size_t *out_max);
    /* One line of a LINES body, without its end; empty lines are left out. May answer
     * (an error): then no more lines come and on_request is not called. */
    void (*on_line)(void *ctx, struct er_http_request *req, const char *line, size_t len);
    /* The request is complete. Must lead to exactly one reply or stream, now or later. */
    void (*on_request)(void *ctx, struct er_http_request *req);
    /* The request is over: answered and sent, or its connection broke before or while it
     * was answered. Called once for each request for which on_head was called; the user
     * pointer is the handler's to free here; req is gone afterwards. */
    void (*on_end)(void *ctx, struct er_http_request *req);
};

/* Serves on a listening descriptor, which it takes over. When `uid_check` is true the peer
 * of each connection must run as our own uid or as root (SO_PEERCRED), or else is answered
 * 403. At most `max_connections` (further ones wait in the kernel's backlog).
 * Hardening: see the file's head. Returns 0 or ER_EIO / ER_ENOMEM. */
int er_http_start(struct uv_loop_s *loop, int listen_fd, bool uid_check,
                  unsigned max_connections, const struct er_http_ops *ops, void *ctx,
                  struct er_http **out, struct er_err *err) ER_MUSTCHECK;
/* Stops listening, ends the streams (after what they have to say now), waits for nothing:
 * closes all connections; on_end is called for what was open. Frees the server, once the
 * loop has closed its handles. Not from inside a handler's call. */
void er_http_stop(struct er_http *h);

/* ---- the request ----------------------------------------------------------------------- */

const char *er_http_method(const struct er_http_request *req);
const char *
er_http_path(const struct er_http_request *req); /* decoded, without the query */
/* A decoded parameter of the query, or NULL. "" when it has no value. */
const char *er_http_query(const struct er_http_request *req, const char *name);
/* Calls fn for each parameter of the query until it returns false. */
void er_http_queries(const struct er_http_request *req,
                     bool (*fn)(void *ctx, const char *name, const char *value),
                     void *ctx);
const char *er_http_header(const struct er_http_request *req,
                           const char *name); /* or NULL */
/* The whole body (WHOLE), terminated; "" when there is none. */
const struct er_buf *er_http_body(const struct er_http_request *req);
pid_t er_http_peer_pid(const struct er_http_request *req); /* 0 = unknown */
void er_http_set_user(struct er_http_request *req, void *user);
void *er_http_user(const struct er_http_request *req);
/* False once the connection has broken: no answer can arrive any more. */
bool er_http_is_alive(const struct er_http_request *req);

/* ---- the answer ------------------------------------------------------------------------ */

/* Adds a header to the answer to come. */
void er_http_add_header(struct er_http_request *req, const char *name, const char *value);
/* Answers. The bytes of *body are taken over (it is empty afterwards); body may be NULL.
 * On a broken connection nothing is sent, which is no error. */
void er_http_reply(struct er_http_request *req, int status, const char *content_type,
                   struct er_buf *body);

/* Fills `out` with what there is to send, up to about `room` bytes (a little more is fine).
 * Nothing added and returning true = nothing now: the stream sleeps until
 * er_http_stream_wake. Returning false = the stream ends after what was added. */
typedef bool er_http_pull_fn(void *ctx, struct er_buf *out, size_t room);
/* Answers with a stream. pull is called whenever the connection takes more, never from
 * inside this call. The stream's end shows in the request's on_end. */
struct er_http_stream *er_http_stream_start(struct er_http_request *req, int status,
                                            const char *content_type,
                                            er_http_pull_fn *pull, void *ctx);
/* There is something to pull. Cheap; also fine when it is not asleep. */
void er_http_stream_wake(struct er_http_stream *s);

#endif
