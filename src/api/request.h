/* SPDX-License-Identifier: MIT */
/* A request, whatever door it came through. A door makes it, tells the handler of its
 * head, its lines and its end (er_request_ops), and answers its questions (er_door). All
 * on the loop's thread.
 *
 * A request lives from its handler's call until it has been answered and the answer has
 * gone out, or who asked is gone. A handler answers at once or later, exactly once. */
#ifndef ER_API_REQUEST_H
#define ER_API_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/target.h"
#include "base/buf.h"

struct er_request;
struct er_stream;

/* ---- for handlers ------------------------------------------------------------------ */

/* How the body of a request is wanted; asked when its head is there. */
enum er_body_kind {
    ER_BODY_WHOLE, /* collected; on_request is called when it is complete */
    ER_BODY_LINES, /* on_line for each line as it comes, then on_request */
};
struct er_request_ops {
    /* The head is there: choose how the body comes and how many bytes it may have (WHOLE:
     * all of it, LINES: one line; a body that is longer is answered 413 by the door, a
     * longer line is skipped). Return 0, or answer the request with er_request_reply and
     * return -1. */
    int (*on_head)(void *ctx, struct er_request *req, enum er_body_kind *out_body,
                   size_t *out_max);
    /* One line of a LINES body, without its end; empty lines are left out. NULL: one that
     * is longer than may be, which is `len` bytes; it is not read. May answer (an error):
     * then no more lines come and on_request is not called. */
    void (*on_line)(void *ctx, struct er_request *req, const char *line, size_t len);
    /* The request is complete. Must lead to exactly one reply or stream, now or later. */
    void (*on_request)(void *ctx, struct er_request *req);
    /* The request is over: answered and sent, or who asked was gone before or while it
     * was answered. Called once for each request for which on_head was called; the user
     * pointer is the handler's to free here; req is gone afterwards. */
    void (*on_end)(void *ctx, struct er_request *req);
};

/* Fills `out` with what there is to send, up to about `room` bytes (a little more is
 * fine). Nothing added and returning true = nothing now: the stream sleeps until
 * er_stream_wake. Returning false = the stream ends after what was added. */
typedef bool er_pull_fn(void *ctx, struct er_buf *out, size_t room);

/* ---- for doors --------------------------------------------------------------------- */

/* Each does for its door what the function of the same name below says. */
struct er_door {
    const char *(*header)(const struct er_request *req, const char *name);
    const struct er_buf *(*body)(const struct er_request *req);
    void (*add_header)(struct er_request *req, const char *name, const char *value);
    void (*reply)(struct er_request *req, int status, const char *content_type,
                  struct er_buf *body);
    struct er_stream *(*stream)(struct er_request *req, int status,
                                const char *content_type, er_pull_fn *pull, void *ctx);
    void (*wake)(struct er_stream *s);
};
/* The beginning of a door's own request. method: a literal ("GET" for HEAD too); path:
 * that of the target; both NULL when there are none that make sense. */
struct er_request {
    const struct er_door *door;
    const char *method, *path;
    struct er_buf target; /* taken apart (api/target.h); made and freed by the door */
    pid_t peer_pid;       /* 0 = unknown */
    bool inside; /* by no connection: the handle asks that the engine is inside of */
    bool gone;   /* who asked is: no answer can arrive */
    void *user;  /* the handler's */
};
struct er_stream {
    const struct er_door *door;
};

/* ---- the request ------------------------------------------------------------------- */

/* A decoded parameter of the query, or NULL. "" when it has no value. */
static inline const char *
er_request_query(const struct er_request *req, const char *name)
{
    return er_target_query(&req->target, name);
}
/* Calls fn for each parameter of the query until it returns false. */
static inline void
er_request_queries(const struct er_request *req,
                   bool (*fn)(void *ctx, const char *name, const char *value), void *ctx)
{
    er_target_queries(&req->target, fn, ctx);
}
/* Or NULL. */
static inline const char *
er_request_header(const struct er_request *req, const char *name)
{
    return req->door->header(req, name);
}
/* The whole body (WHOLE), terminated; "" when there is none. */
static inline const struct er_buf *
er_request_body(const struct er_request *req)
{
    return req->door->body(req);
}

/* ---- the answer -------------------------------------------------------------------- */

/* Adds a header to the answer to come. */
static inline void
er_request_add_header(struct er_request *req, const char *name, const char *value)
{
    req->door->add_header(req, name, value);
}
/* Answers. The bytes of *body are taken over (it is empty afterwards); body may be NULL.
 * When who asked is gone nothing is sent, which is no error. */
static inline void
er_request_reply(struct er_request *req, int status, const char *content_type,
                 struct er_buf *body)
{
    req->door->reply(req, status, content_type, body);
}
/* Answers with a stream. pull is called whenever the door takes more, never from inside
 * this call. The stream's end shows in the request's on_end. */
static inline struct er_stream *
er_request_stream(struct er_request *req, int status, const char *content_type,
                  er_pull_fn *pull, void *ctx)
{
    return req->door->stream(req, status, content_type, pull, ctx);
}
/* There is something to pull. Cheap; also fine when it is not asleep. */
static inline void
er_stream_wake(struct er_stream *s)
{
    s->door->wake(s);
}

#endif
