/* SPDX-License-Identifier: MIT */
/* The server: libmicrohttpd on its own epoll, which stands in the loop as one descriptor.
 *
 * Happy path: the epoll is readable -> the library runs, again and again while it says
 * that there is more to do -> its callbacks (http_request.c) call the handler. What is
 * answered later resumes its connection and marks the server `pending`; then the library
 * runs once for all that was resumed in this turn of the loop, behind the poll (check) or
 * instead of waiting (idle). The library never runs from inside a call of the handler's.
 *
 * An idle server makes no system call: the library has no timeouts. A peer that owes us
 * the rest of a request has HURRY_MS from its last bytes (a new one: from its coming), by
 * one timer that runs only then; over that its connection is shut down, which the library
 * notices. A kept connection between two requests may wait as long as it likes.
 *
 * The library does not look at a suspended connection, so its hang-up is watched by the
 * loop (EPOLLRDHUP). On a unix socket a peer that only ends its sending still gets its
 * answer; over TCP the two cannot be told apart, and it counts as gone.
 *
 * Out of descriptors, the library takes no connection until one of its own is closed;
 * the log is told once a minute.
 *
 * Limits: a head of 8 KiB (431), the connections (further ones wait in the backlog),
 * bodies as the handler says (413). See http_head.c for what is refused with 400. */
#include "serve/http_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

/* Memory of a connection for a head, its parsed headers and the answer's head, or for
 * pieces of a body: room for a head of 8 KiB with about a hundred headers. */
#define POOL     ((size_t)20 << 10)
#define SHORT_MS 60000 /* between two warnings that there are no descriptors */
#define ROUNDS   32    /* runs of the library before the loop has its turn */
#ifndef HURRY_MS
#define HURRY_MS 30000 /* a test makes it shorter */
#endif

/* ---- running the library ---- */

static void run(struct er_http *h);

static void
on_check(uv_check_t *check)
{
    struct er_http *h = check->data;
    if (h->pending) {
        run(h);
    }
}

static void
on_idle(uv_idle_t *idle)
{
    struct er_http *h = idle->data;
    if (h->pending) {
        run(h);
    }
}

static void
run_soon(struct er_http *h)
{
    if (!h->pending) {
        h->pending = true;
        (void)uv_idle_start(&h->idle, on_idle);
    }
}

static bool
has_more(struct er_http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    return h->pending || (MHD_get_timeout(h->mhd, &ms) == MHD_YES && ms == 0);
}

static void
run(struct er_http *h)
{
    int round = 0;
    h->running = true;
    do {
        h->pending = false;
        errno = 0; /* on_library_words looks at it */
        (void)MHD_run(h->mhd);
    } while (has_more(h) && ++round < ROUNDS);
    h->running = false;
    bool more = round == ROUNDS;
    h->pending = false;
    if (more) {
        run_soon(h);
    } else {
        (void)uv_idle_stop(&h->idle);
    }
}

static void
on_readable(uv_poll_t *poll_handle, int status, int events)
{
    (void)status;
    (void)events;
    run(poll_handle->data);
}

/* ---- who owes us bytes ---- */

static void
on_deadline(uv_timer_t *timer)
{
    struct er_http *h = timer->data;
    uint64_t now = uv_now(timer->loop);
    struct er_http_conn *c;
    while ((c = TAILQ_FIRST(&h->hurried)) && c->deadline <= now) {
        er_http_conn_calm(c);
        (void)shutdown(c->fd, SHUT_RDWR);
    }
    if (c) {
        (void)uv_timer_start(timer, on_deadline, c->deadline - now, 0);
    }
}

void
er_http_conn_hurry(struct er_http_conn *c)
{
    struct er_http *h = c->h;
    if (h->stopping) {
        return;
    }
    if (c->hurried) {
        TAILQ_REMOVE(&h->hurried, c, in_hurried);
    } else if (TAILQ_EMPTY(&h->hurried)) {
        (void)uv_timer_start(&h->deadline, on_deadline, HURRY_MS, 0);
    }
    c->hurried = true;
    c->deadline = uv_now(h->deadline.loop) + HURRY_MS;
    TAILQ_INSERT_TAIL(&h->hurried, c, in_hurried);
}

void
er_http_conn_calm(struct er_http_conn *c)
{
    if (!c->hurried) {
        return;
    }
    c->hurried = false;
    TAILQ_REMOVE(&c->h->hurried, c, in_hurried);
    if (TAILQ_EMPTY(&c->h->hurried)) {
        (void)uv_timer_stop(&c->h->deadline);
    }
}

/* ---- suspended connections ---- */

/* Whether the peer has only ended its sending. */
static bool
is_half_closed(const struct er_http_conn *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
    return c->h->is_unix && poll(&p, 1, 0) == 1 && !(p.revents & (POLLHUP | POLLERR));
}

static void
on_hangup(uv_poll_t *watch, int status, int events)
{
    struct er_http_conn *c = watch->data;
    (void)status;
    (void)events;
    (void)uv_poll_stop(watch);
    c->watching = false;
    if (!c->suspended) {
        return; /* the library looks at it and will notice */
    }
    if (!c->req.stream.pull && is_half_closed(c)) {
        c->half_closed = true;
        return;
    }
    c->req.base.gone = true;
    er_http_conn_resume(c);
}

/* Watches for a hang-up from now on (until it came, or the connection is closed: to stop
 * with each answer would cost two system calls a request). Without memory for it a
 * hang-up shows only when the answer is sent. */
static void
watch_hangup(struct er_http_conn *c)
{
    if (c->watching || c->half_closed) {
        return;
    }
    if (!c->watch_made) {
        if (uv_poll_init(c->h->poll.loop, &c->watch, c->fd)) {
            return;
        }
        c->watch.data = c;
        c->watch_made = true;
    }
    c->watching = uv_poll_start(&c->watch, UV_DISCONNECT, on_hangup) == 0;
}

void
er_http_conn_suspend(struct er_http_conn *c)
{
    c->suspended = true;
    MHD_suspend_connection(c->mhd);
    watch_hangup(c);
}

void
er_http_conn_resume(struct er_http_conn *c)
{
    if (c->suspended) {
        c->suspended = false;
        MHD_resume_connection(c->mhd);
        run_soon(c->h);
    }
}

/* ---- connections come and go ---- */

static void
look_at_peer(struct er_http_conn *c)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (!c->h->is_unix) {
        c->forbidden = c->h->uid_check;
        return;
    }
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len)) {
        c->forbidden = c->h->uid_check;
        return;
    }
    c->pid = peer.pid;
    c->forbidden = c->h->uid_check && peer.uid != geteuid() && peer.uid != 0;
}

static void
on_connected(struct er_http *h, struct MHD_Connection *mhd, void **socket_context)
{
    struct er_http_conn *c = er_zalloc(sizeof *c);
    if (!c) {
        return; /* its first request closes it */
    }
    c->h = h;
    c->mhd = mhd;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->req.conn = c;
    look_at_peer(c);
    TAILQ_INSERT_TAIL(&h->conns, c, in_server);
    er_http_conn_hurry(c);
    *socket_context = c;
}

static void
on_watch_closed(uv_handle_t *watch)
{
    er_free(watch->data);
}

static void
on_disconnected(struct er_http_conn *c)
{
    struct er_http *h = c->h;
    er_http_request_end(&c->req);
    er_http_request_fini(&c->req);
    er_http_conn_calm(c);
    TAILQ_REMOVE(&h->conns, c, in_server);
    if (c->watch_made) {
        (void)uv_poll_stop(&c->watch); /* before the descriptor is closed */
        uv_close((uv_handle_t *)&c->watch, on_watch_closed);
    } else {
        er_free(c);
    }
    if (!h->stopping) {
        run_soon(h); /* at its limit the library listens again only when it runs */
    }
}

static void
on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
              enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        on_connected(cls, mhd, socket_context);
    } else if (*socket_context) {
        on_disconnected(*socket_context);
    }
}

/* ---- what the library has to say ---- */

/* Only that there are no descriptors is worth a line: it is said right behind the accept
 * that failed. What its words are is not looked at. */
static void
on_library_words(void *cls, const char *fmt, va_list ap)
{
    struct er_http *h = cls;
    int code = errno;
    (void)fmt;
    (void)ap;
    if ((code != EMFILE && code != ENFILE) || !h->running) {
        return;
    }
    uint64_t now = uv_now(h->poll.loop);
    if (h->short_at == 0 || now - h->short_at >= SHORT_MS) {
        h->short_at = now > 0 ? now : 1;
        er_log(ER_LOG_WARN, "http",
               "no connection can be accepted: %s; it goes on when connections are "
               "closed, or raise the limit (ulimit -n, LimitNOFILE=)",
               strerror(code));
    }
}

/* ---- start and stop ---- */

static void
on_handle_closed(uv_handle_t *handle)
{
    struct er_http *h = handle->data;
    if (--h->handles == 0) {
        er_free(h);
    }
}

static void
close_handles(struct er_http *h)
{
    uv_handle_t *const all[] = {(uv_handle_t *)&h->poll, (uv_handle_t *)&h->check,
                                (uv_handle_t *)&h->idle, (uv_handle_t *)&h->deadline};
    h->handles = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        h->handles++;
        all[i]->data = h;
        uv_close(all[i], on_handle_closed);
    }
}

static int
start_library(struct er_http *h, int listen_fd, unsigned max_connections)
{
    h->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        er_http_request_on_access, h, MHD_OPTION_EXTERNAL_LOGGER, on_library_words, h,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL,
        MHD_OPTION_CONNECTION_LIMIT, max_connections, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, er_http_request_on_completed, h,
        MHD_OPTION_URI_LOG_CALLBACK, er_http_request_on_target, h, MHD_OPTION_END);
    return h->mhd ? 0 : ER_EIO;
}

/* The handles are made before the library starts, so that only they need undoing. */
static int
start_handles(struct er_http *h, struct uv_loop_s *loop)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || uv_poll_init(loop, &h->poll, info->epoll_fd)) {
        return ER_EIO;
    }
    (void)uv_check_init(loop, &h->check);
    (void)uv_idle_init(loop, &h->idle);
    (void)uv_timer_init(loop, &h->deadline);
    h->poll.data = h->check.data = h->idle.data = h->deadline.data = h;
    (void)uv_check_start(&h->check, on_check);
    if (uv_poll_start(&h->poll, UV_READABLE, on_readable)) {
        close_handles(h);
        return ER_EIO;
    }
    return 0;
}

int
er_http_start(struct uv_loop_s *loop, int listen_fd, bool uid_check,
              unsigned max_connections, const struct er_request_ops *ops, void *ctx,
              struct er_http **out, struct er_err *err)
{
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    struct er_http *h = er_zalloc(sizeof *h);
    if (!h || getsockname(listen_fd, (struct sockaddr *)&name, &len)) {
        er_free(h);
        return er_fail(err, h ? ER_EIO : ER_ENOMEM, "cannot serve on descriptor %d",
                       listen_fd);
    }
    h->ops = ops;
    h->ctx = ctx;
    h->uid_check = uid_check;
    h->is_unix = name.ss_family == AF_UNIX;
    TAILQ_INIT(&h->conns);
    TAILQ_INIT(&h->hurried);
    if (start_library(h, listen_fd, max_connections)) {
        int rc =
            er_fail(err, ER_EIO, "cannot start the HTTP server: %s", strerror(errno));
        er_free(h);
        return rc;
    }
    if (start_handles(h, loop)) {
        (void)MHD_quiesce_daemon(h->mhd); /* the descriptor stays the caller's */
        MHD_stop_daemon(h->mhd);
        if (h->handles == 0) {
            er_free(h);
        }
        return er_fail(err, ER_EIO, "cannot watch the HTTP server's descriptor");
    }
    run_soon(h); /* the library begins to listen when it first runs */
    *out = h;
    return 0;
}

void
er_http_stop(struct er_http *h)
{
    struct er_http_conn *c;
    ER_ASSERT(!h->running);
    h->stopping = true;
    int listen_fd = MHD_quiesce_daemon(h->mhd);
    er_close(&listen_fd);
    TAILQ_FOREACH (c, &h->conns, in_server) {
        if (c->suspended && !c->req.stream.asleep) {
            c->req.base.gone = true;
        }
        er_http_conn_resume(c);
    }
    run(h);
    (void)uv_poll_stop(&h->poll);
    MHD_stop_daemon(h->mhd);
    close_handles(h);
}
