/* SPDX-License-Identifier: MIT */
/* Happy path: open connects (a unix socket connects at once), send writes what the socket
 * takes and waits for the rest, the readable socket is read once a wake-up and fed to the
 * parser. Failure modes: end of file, a socket error and an answer that is not HTTP close
 * the connection and are told by on_gone, never from inside the call of the owner. */
#include "work/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/heap.h"
#include "base/io.h"
#include "wire/places.h"

static void
on_body(void *ctx, const char *data, size_t len)
{
    struct er_conn *c = ctx;
    if (!c->closing) {
        c->events->on_body(c, data, len);
    }
}

void
er_conn_init(struct er_conn *c, struct er_watches *watches,
             const struct er_conn_events *events)
{
    *c = (struct er_conn){.watches = watches, .events = events, .fd = -1};
}

void
er_conn_close(struct er_conn *c)
{
    if (c->feeding) {
        c->closing = true;
        return;
    }
    if (c->fd >= 0) {
        er_watch_stop(c->watches, &c->watch);
        er_close(&c->fd);
        er_http1_fini(&c->http);
        er_buf_fini(&c->out);
    }
    c->closing = false;
}

static void
gone(struct er_conn *c, const char *why)
{
    er_conn_close(c);
    c->events->on_gone(c, why);
}

/* Feeds what was read; goes on with the next answer's bytes when one is complete. */
static void
feed(struct er_conn *c, const char *p, size_t n)
{
    while (n > 0) {
        c->feeding = true;
        int64_t used = er_http1_feed(&c->http, p, n);
        c->feeding = false;
        if (c->closing) {
            er_conn_close(c);
            return;
        }
        if (used < 0) {
            gone(c, "the answer is not HTTP");
            return;
        }
        if (!c->http.done) {
            return;
        }
        p += used;
        n -= (size_t)used;
        c->events->on_answer(c);
        if (!er_conn_is_open(c) || !c->http.done) {
            return;
        }
        if (n > 0) {
            gone(c, "more came than was asked for");
            return;
        }
    }
}

static void
on_readable(struct er_conn *c)
{
    char chunk[32768];
    ssize_t n = read(c->fd, chunk, sizeof chunk);
    if (n > 0) {
        feed(c, chunk, (size_t)n);
    } else if (n == 0) {
        gone(c, "the daemon closed the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
        gone(c, strerror(errno));
    }
}

/* Writes what the socket takes. A failure is left to the reading side, which sees it too.
 */
static void
flush(struct er_conn *c)
{
    while (c->out_at < c->out.len) {
        ssize_t n =
            send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            break;
        }
        c->out_at += (size_t)n;
    }
    bool more = c->out_at < c->out.len;
    if (!more) {
        er_buf_fini(&c->out);
        c->out_at = 0;
    }
    if (more != c->writing) {
        c->writing = more;
        er_watch_change(c->watches, &c->watch, more ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void
on_event(struct er_fd_watch *w, uint32_t events)
{
    struct er_conn *c = ER_CONTAINER(w, struct er_conn, watch);
    if (events & EPOLLOUT) {
        flush(c);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        on_readable(c);
    }
}

int
er_conn_open(struct er_conn *c, const char *socket_path, struct er_err *err)
{
    ER_ASSERT(c->fd < 0);
    int fd = er_places_connect_within(socket_path, 0, err);
    if (fd < 0) {
        return fd;
    }
    int flags = fcntl(fd, F_GETFL);
    int rc = flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0
                 ? ER_EIO
                 : er_watch_start(c->watches, &c->watch, fd, EPOLLIN, on_event);
    if (rc) {
        er_close(&fd);
        return er_fail(err, rc, "cannot watch the connection to %.300s: %s", socket_path,
                       strerror(errno));
    }
    c->fd = fd;
    c->writing = false;
    c->out_at = 0;
    er_buf_init(&c->out, (size_t)256 << 20);
    er_http1_init(&c->http, on_body, c);
    return 0;
}

void
er_conn_send(struct er_conn *c, struct er_buf *request)
{
    ER_ASSERT(er_conn_is_open(c) && c->out.len == 0);
    er_http1_fini(&c->http);
    er_http1_init(&c->http, on_body, c);
    er_buf_fini(&c->out);
    c->out = *request;
    c->out_at = 0;
    *request = (struct er_buf){.max = request->max};
    flush(c);
}
