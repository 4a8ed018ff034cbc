/* SPDX-License-Identifier: MIT */
/* How it works: a request is put together in one buffer and sent with one call; the
 * answer is read into one piece of memory and parsed as it comes. A small request that is
 * answered at once is one send and one recv.
 *
 * Failure modes: the connection may have been closed while it was idle, or the daemon may
 * be gone: what breaks before the first byte of an answer is tried once more on a new
 * connection, anything later is ER_ENODAEMON. An answer that comes while the body is
 * still being sent (413, say) is read, and the rest of the body is not sent. */
#include "wire/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/io.h"
#include "base/mem.h"
#include "wire/places.h"

#define READ_SIZE ((size_t)64 << 10)

struct er_client {
    char *path;
    int fd;               /* -1 = not connected */
    struct er_http1 http; /* the answer that is being read */
    bool got_byte;        /* of that answer */
    er_usec slow_after;   /* without a byte of it: somebody is told; 0 = nobody is */
    er_usec slow_at;      /* mono; ER_NEVER = not in this request (any more) */
    er_client_slow_fn *tell_slow;
    void *slow_ctx;
    struct er_buf pending; /* body bytes of a stream that nobody took yet */
    char data[READ_SIZE];
};

int
er_client_open(const char *socket_path, struct er_client **out, struct er_err *err)
{
    struct er_client *c = er_alloc(sizeof *c);
    char *path = c ? er_strdup(socket_path) : NULL;
    if (!path) {
        er_free(c);
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    c->path = path;
    c->got_byte = false;
    c->slow_after = 0;
    c->slow_at = ER_NEVER;
    er_http1_init(&c->http, NULL, NULL);
    er_buf_init(&c->pending, 0);
    c->fd = er_places_connect(path, err);
    if (c->fd < 0) {
        int rc = c->fd;
        er_client_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void
er_client_close(struct er_client *c)
{
    if (!c) {
        return;
    }
    er_close(&c->fd);
    er_http1_fini(&c->http);
    er_buf_fini(&c->pending);
    er_free(c->path);
    er_free(c);
}

int
er_client_peer(const struct er_client *c)
{
    struct ucred who;
    socklen_t size = sizeof who;
    if (c->fd < 0 || getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) {
        return 0;
    }
    return who.pid;
}

void
er_client_tell_slow(struct er_client *c, er_usec after, er_client_slow_fn *tell,
                    void *ctx)
{
    c->slow_after = after;
    c->tell_slow = tell;
    c->slow_ctx = ctx;
}

void
er_response_fini(struct er_response *r)
{
    er_buf_fini(&r->body);
}

static int
broken(struct er_client *c, struct er_err *err)
{
    er_close(&c->fd);
    return er_fail(err, ER_ENODAEMON, "the daemon at %.400s closed the connection",
                   c->path);
}

/* Milliseconds until a moment for poll: -1 = for ever, 0 = it has come. */
static int
wait_ms(er_usec until)
{
    if (until == ER_NEVER) {
        return -1;
    }
    er_usec left = until - er_clock_mono(er_clock_system());
    if (left <= 0) {
        return 0;
    }
    er_usec ms = (left + ER_USEC_PER_MS - 1) / ER_USEC_PER_MS;
    return ms > 1 << 30 ? 1 << 30 : (int)ms;
}

/* Waits until the socket is ready for one of `events`: those that are, or ER_ETIMEOUT. */
static int
wait_for(struct er_client *c, short events, er_usec until)
{
    for (;;) {
        struct pollfd p = {.fd = c->fd, .events = events};
        int n = poll(&p, 1, wait_ms(c->slow_at < until ? c->slow_at : until));
        if (n > 0) {
            return p.revents;
        }
        if (n == 0 && wait_ms(until) == 0) {
            return ER_ETIMEOUT;
        }
        if (n == 0 && wait_ms(c->slow_at) == 0) {
            c->slow_at = ER_NEVER;
            c->tell_slow(c->slow_ctx);
        }
        if (n < 0 && errno != EINTR) {
            return ER_EIO;
        }
    }
}

/* Reads once and feeds the parser: 1 = got bytes, 0 = the answer is complete,
 * ER_ETIMEOUT, ER_ENODAEMON, or what the parser or the buffer behind it says. */
static int
read_some(struct er_client *c, er_usec until, struct er_err *err)
{
    if (c->http.done) {
        return 0;
    }
    if (until != ER_NEVER || c->slow_at != ER_NEVER) {
        int ready = wait_for(c, POLLIN, until);
        if (ready < 0) {
            return er_fail(err, ready, "no answer from the daemon at %.400s in time",
                           c->path);
        }
    }
    ssize_t n;
    do {
        n = recv(c->fd, c->data, sizeof c->data, 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        if (n == 0 && er_http1_eof(&c->http) == 0) {
            return 0;
        }
        return broken(c, err);
    }
    c->got_byte = true;
    c->slow_at = ER_NEVER;
    int64_t used = er_http1_feed(&c->http, c->data, (size_t)n);
    if (used < 0) {
        er_close(&c->fd);
        return er_fail(err, (int)used, "the answer from %.400s is not HTTP: %s", c->path,
                       er_error_meaning((int)used));
    }
    return c->http.done ? 0 : 1;
}

/* Sends all of it, unless an answer or the end of the connection comes first. */
static int
send_all(struct er_client *c, const char *p, size_t n, er_usec until, struct er_err *err)
{
    while (n > 0) {
        ssize_t done = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done >= 0) {
            p += done;
            n -= (size_t)done;
            continue;
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno == EPIPE || errno == ECONNRESET) {
            return 0; /* an answer may be there all the same */
        }
        if (errno != EAGAIN) {
            return broken(c, err);
        }
        int ready = wait_for(c, POLLIN | POLLOUT, until);
        if (ready < 0) {
            return er_fail(err, ready, "the daemon at %.400s takes nothing", c->path);
        }
        if ((ready & POLLIN) && !(ready & POLLOUT)) {
            int rc = read_some(c, until, err);
            if (rc <= 0) {
                c->http.keep_alive = false;
                return rc;
            }
        }
    }
    return 0;
}

/* Sends a request and reads until the head of its answer is there: 0 or an error. */
static int
exchange(struct er_client *c, const struct er_buf *request, er_http1_body_fn *on_body,
         void *ctx, er_usec until, struct er_err *err)
{
    c->got_byte = false;
    er_http1_fini(&c->http);
    er_http1_init(&c->http, on_body, ctx);
    int rc = send_all(c, request->data, request->len, until, err);
    while (!rc && !c->http.head_done) {
        rc = read_some(c, until, err);
        if (rc == 0) {
            break;
        }
        rc = rc > 0 ? 0 : rc;
    }
    return rc;
}

/* The same; what fails before any byte of an answer came goes once more on a new
 * connection. */
static int
begin(struct er_client *c, const struct er_buf *request, er_http1_body_fn *on_body,
      void *ctx, er_usec until, struct er_err *err)
{
    c->slow_at =
        c->slow_after > 0 ? er_clock_mono(er_clock_system()) + c->slow_after : ER_NEVER;
    for (int tries = 0;; tries++) {
        if (c->fd < 0) {
            int fd = er_places_connect(c->path, err);
            if (fd < 0) {
                return fd;
            }
            c->fd = fd;
        }
        int rc = exchange(c, request, on_body, ctx, until, err);
        if (rc != ER_ENODAEMON || c->got_byte || tries > 0) {
            return rc;
        }
        er_close(&c->fd);
    }
}

/* Ends an exchange: the connection is kept only when the answer was read to its end. */
static void
end(struct er_client *c)
{
    if (!c->http.done || !c->http.keep_alive) {
        er_close(&c->fd);
    }
}

static void
add_body(void *ctx, const char *data, size_t len)
{
    er_buf_add(ctx, data, len);
}

static er_usec
deadline(er_usec timeout_for)
{
    return timeout_for > 0 ? er_clock_mono(er_clock_system()) + timeout_for : ER_NEVER;
}

/* Reads the rest of the body into b. */
static int
read_body(struct er_client *c, struct er_buf *b, er_usec until, struct er_err *err)
{
    int rc = 1;
    while (rc > 0 && !b->failed) {
        rc = read_some(c, until, err);
    }
    if (b->failed) {
        return er_fail(err, b->failed, "the answer of the daemon at %.400s is too large",
                       c->path);
    }
    return rc;
}

int
er_client_request(struct er_client *c, const char *method, const char *target,
                  const char *content_type, const void *body, size_t body_len,
                  const char *headers, er_usec timeout_for, struct er_response *out,
                  struct er_err *err)
{
    struct er_buf request, answer;
    er_usec until = deadline(timeout_for);
    er_buf_init(&request, (size_t)512 << 20);
    er_buf_init(&answer, 0);
    er_http1_request(&request, method, target, content_type,
                     body || strcmp(method, "GET") != 0 ? (int64_t)body_len : -1,
                     headers);
    if (body) {
        er_buf_add(&request, body, body_len);
    }
    int rc =
        request.failed ? er_fail(err, request.failed, "the request is too large") : 0;
    if (!rc) {
        rc = begin(c, &request, add_body, &answer, until, err);
    }
    if (!rc) {
        rc = read_body(c, &answer, until, err);
    }
    end(c);
    er_buf_fini(&request);
    if (rc) {
        er_buf_fini(&answer);
        return rc;
    }
    *out = (struct er_response){.status = c->http.status, .body = answer};
    (void)er_http1_header(&c->http, "Location", out->location, sizeof out->location);
    return 0;
}

int
er_client_stream_start(struct er_client *c, const char *target, const char *headers,
                       er_usec timeout_for, int *out_status, struct er_err *err)
{
    struct er_buf request;
    er_buf_init(&request, 0);
    er_buf_clear(&c->pending);
    er_http1_request(&request, "GET", target, NULL, -1, headers);
    int rc = request.failed
                 ? er_fail(err, request.failed, "the request is too large")
                 : begin(c, &request, add_body, &c->pending, deadline(timeout_for), err);
    er_buf_fini(&request);
    if (rc) {
        end(c);
    } else {
        *out_status = c->http.status;
    }
    return rc;
}

int
er_client_stream_read(struct er_client *c, struct er_buf *b, er_usec timeout_for,
                      struct er_err *err)
{
    int rc = 1;
    if (c->pending.len == 0) {
        rc = c->fd < 0 && !c->http.done ? broken(c, err)
                                        : read_some(c, deadline(timeout_for), err);
    }
    if (c->pending.len > 0) {
        er_buf_add(b, c->pending.data, c->pending.len);
        er_buf_clear(&c->pending);
        rc = rc < 0 ? rc : 1; /* the end is told by the next call */
    }
    if (rc == 0 || (rc < 0 && rc != ER_ETIMEOUT)) {
        end(c);
    }
    if (rc > 0 && b->failed) {
        return er_fail(err, b->failed, "the answer is too large");
    }
    return rc;
}
