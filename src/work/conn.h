/* SPDX-License-Identifier: MIT */
/* One non-blocking connection to the daemon that carries a request at a time and hands on
 * the answer as it comes. The claim stream is one, the reports go over another. Loop
 * thread. */
#ifndef ER_WORK_CONN_H
#define ER_WORK_CONN_H

#include <stdbool.h>

#include "base/buf.h"
#include "wire/http1.h"
#include "work/watch.h"

struct er_conn;

struct er_conn_events {
    /* A piece of the answer's body; the status is in c->http.status. */
    void (*on_body)(struct er_conn *c, const char *data, size_t len);
    /* The answer is complete; another request may be sent. */
    void (*on_answer)(struct er_conn *c);
    /* The connection is gone (already closed): not called after er_conn_close. */
    void (*on_gone)(struct er_conn *c, const char *why);
};

/* Embedded by its owner. */
struct er_conn {
    struct er_watches *watches;
    const struct er_conn_events *events;
    struct er_fd_watch watch;
    int fd;       /* -1 = closed */
    bool writing; /* EPOLLOUT is watched for */
    bool feeding; /* within er_http1_feed: closing waits */
    bool closing;
    struct er_buf out; /* what is still to be sent */
    size_t out_at;
    struct er_http1 http;
};

void er_conn_init(struct er_conn *c, struct er_watches *watches,
                  const struct er_conn_events *events);
/* Connects to the socket: 0, ER_ENODAEMON or another error. */
int er_conn_open(struct er_conn *c, const char *socket_path,
                 struct er_err *err) ER_MUSTCHECK;
/* Sends the request in `request` (taken over and left empty); the answer to the one
 * before must be complete. What goes wrong comes as on_gone, later. */
void er_conn_send(struct er_conn *c, struct er_buf *request);
void er_conn_close(struct er_conn *c); /* fine when it is closed */
static inline bool
er_conn_is_open(const struct er_conn *c)
{
    return c->fd >= 0 && !c->closing;
}

#endif
