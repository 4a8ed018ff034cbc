/* SPDX-License-Identifier: MIT */
/* What the files of the HTTP server share: http.c (the server, its connections and the
 * loop), http_head.c (what a request's head must be), http_request.c (the way of a
 * request) and http_reply.c (answers and streams). The only files that include
 * microhttpd.h.
 *
 * A connection has one request at a time, so the request is a part of it. */
#ifndef ER_SERVE_HTTP_PRIV_H
#define ER_SERVE_HTTP_PRIV_H

#include <microhttpd.h>
#include <sys/queue.h>
#include <uv.h>

#include "serve/http.h"

#define ER_HTTP_HEAD_MAX ((size_t)8 << 10) /* bytes of a request's head */
/* Bytes of an answered request's body that are still read, so that a client which sends
 * all before it reads gets its answer; then the connection is closed. */
#define ER_HTTP_DISCARD_MAX ((uint64_t)64 << 20)

enum er_http_phase {
    ER_HTTP_IDLE,    /* between two requests */
    ER_HTTP_HEAD,    /* the first line is there */
    ER_HTTP_COLLECT, /* the body comes */
    ER_HTTP_DISCARD, /* answered already; the rest of the body is thrown away */
    ER_HTTP_PENDING, /* complete; the handler will answer */
    ER_HTTP_SENDING, /* the answer is the library's */
};

struct er_http_stream {
    struct er_stream base;
    er_pull_fn *pull; /* NULL: the answer is no stream */
    void *ctx;
    struct er_buf out; /* pulled */
    size_t sent;       /* bytes of it that were handed on */
    bool asleep;       /* suspended until a wake */
    bool woken;        /* a wake came while it was not asleep */
    bool ended;        /* pull has said so */
};

struct er_http_conn;
struct er_http_request {
    struct er_request base;
    struct er_http_conn *conn;
    enum er_http_phase phase;
    bool known;    /* the handler has it: on_end is owed */
    bool answered; /* an answer was given, by the handler or by us */
    bool bad;      /* the target cannot be decoded, or memory was out */
    int status;
    struct MHD_Response *response; /* until it is handed to the library */
    bool is_head;
    const char *uri, *uri_end; /* the raw target in the library's buffer, and its NUL */
    struct er_buf headers;     /* {name NUL value NUL}... of the answer to come */
    enum er_body_kind kind;
    size_t max;         /* of the body, or of one line */
    struct er_buf body; /* WHOLE: the body so far; LINES: a line so far */
    bool skipping;      /* within a line that is too long */
    uint64_t discarded;
    struct er_http_stream stream;
};

struct er_http_conn {
    struct er_http *h;
    struct MHD_Connection *mhd;
    int fd;
    pid_t pid;        /* of the peer; 0 = unknown */
    bool forbidden;   /* the peer is somebody else */
    bool suspended;   /* the library does not look at it */
    bool half_closed; /* the peer sends no more, but may still read */
    bool watch_made, watching;
    uv_poll_t watch;   /* tells of hang-ups while it is suspended */
    bool hurried;      /* in h->hurried: a request is under way */
    uint64_t deadline; /* of the loop's clock, ms */
    struct er_http_request req;
    TAILQ_ENTRY(er_http_conn) in_server, in_hurried;
};
TAILQ_HEAD(er_http_conns, er_http_conn);

struct er_http {
    const struct er_request_ops *ops;
    void *ctx;
    struct MHD_Daemon *mhd;
    bool uid_check, is_unix;
    bool running; /* inside the library */
    bool pending; /* it must run soon */
    bool stopping;
    uint64_t short_at; /* uv_now of the last warning about descriptors; 0 = none */
    struct er_http_conns conns;
    struct er_http_conns hurried; /* earliest deadline first */
    uv_poll_t poll;               /* the library's epoll */
    uv_check_t check;
    uv_idle_t idle;      /* while pending: the loop does not wait */
    uv_timer_t deadline; /* of the first in `hurried` */
    int handles;         /* open; the last one that closes frees the server */
};

/* ---- http.c: connections ---- */

/* The library does not look at the connection until er_http_conn_resume; a hang-up
 * resumes it too, with req.base.gone set. Only from the library's callbacks. */
void er_http_conn_suspend(struct er_http_conn *c);
void er_http_conn_resume(struct er_http_conn *c); /* fine when it is not suspended */
/* The peer owes us bytes: it has some seconds from now. */
void er_http_conn_hurry(struct er_http_conn *c);
void er_http_conn_calm(struct er_http_conn *c); /* it does not any more */

/* ---- http_head.c ---- */

struct er_http_framing {
    uint64_t length; /* of the body as it was announced; 0 when chunked */
    bool has_body, expects_continue;
};
/* Decodes the target into req->base.target (or sets req->bad). */
void er_http_head_target(struct er_http_request *req, const char *uri);
/* Checks the head and sets req->method: 0, or the status to refuse it with and why. */
int er_http_head_check(struct er_http_request *req, const char *method,
                       const char *version, struct er_http_framing *out,
                       const char **out_why);

/* ---- http_request.c: called by the library ---- */

void *er_http_request_on_target(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result er_http_request_on_access(void *cls, struct MHD_Connection *mhd,
                                          const char *url, const char *method,
                                          const char *version, const char *data,
                                          size_t *size, void **req_cls);
void er_http_request_on_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
                                  enum MHD_RequestTerminationCode code);
/* The request is over, if there is one: tells the handler and makes room for the next. */
void er_http_request_end(struct er_http_request *req);
void er_http_request_fini(struct er_http_request *req);

extern const struct er_door er_http_door;

/* ---- http_reply.c ---- */

void er_http_add_header(struct er_request *base, const char *name, const char *value);
void er_http_reply(struct er_request *base, int status, const char *content_type,
                   struct er_buf *body);
struct er_stream *er_http_stream_start(struct er_request *base, int status,
                                       const char *content_type, er_pull_fn *fn,
                                       void *ctx);
void er_http_stream_wake(struct er_stream *base);

/* Answers with a problem in our own name. */
void er_http_refuse(struct er_http_request *req, int status, int code,
                    const char *detail);
/* Hands the answer to the library; MHD_NO closes the connection. */
enum MHD_Result er_http_send(struct er_http_request *req);

#endif
