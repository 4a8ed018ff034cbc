/* SPDX-License-Identifier: MIT */
/* A small server on src/serve/http.h for its tests and for measuring:
 *   http_server unix:PATH|tcp [CONNECTIONS] [uid]
 * prints the port (tcp) or "ready" when it listens, and ends after POST /stop.
 *
 * GET /hello, /echo (what arrived), /later (answered by POST /release), /stream (lines
 * that POST /publish sends; ended by POST /finish), /flood?n= (n bytes), /nap (wakes
 * itself), /counts; POST /whole (back again), /lines, /reject. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"
#include "serve/http.h"

#define BODY_MAX     ((size_t)1 << 20)
#define LINE_MAX_LEN 1000

struct visit {
    struct er_request *req;
    struct er_stream *stream;
    bool is_later;
    size_t lines, bytes;
    struct er_buf text; /* of the lines; of a stream: to be sent */
    size_t flood;       /* bytes left */
    int naps;
    bool finished, stops;
    TAILQ_ENTRY(visit) in_list;
};
TAILQ_HEAD(visits, visit);

struct app {
    uv_loop_t loop;
    uv_timer_t stopper;
    struct er_http *http;
    struct visits visits;
    int heads, requests, ends, broken;
};

static void
reply_text(struct er_request *req, int status, const char *text)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, text);
    er_request_reply(req, status, "text/plain", &b);
}

static int
on_head(void *ctx, struct er_request *req, enum er_body_kind *out_body, size_t *out_max)
{
    struct app *app = ctx;
    struct visit *v = er_xzalloc(sizeof *v);
    v->req = req;
    req->user = v;
    TAILQ_INSERT_TAIL(&app->visits, v, in_list);
    app->heads++;
    if (strcmp(req->path, "/reject") == 0) {
        reply_text(req, 404, "no\n");
        return -1;
    }
    bool is_lines = strcmp(req->path, "/lines") == 0;
    *out_body = is_lines ? ER_BODY_LINES : ER_BODY_WHOLE;
    *out_max = is_lines ? LINE_MAX_LEN : BODY_MAX;
    return 0;
}

static void
on_line(void *ctx, struct er_request *req, const char *line, size_t len)
{
    (void)ctx;
    struct visit *v = req->user;
    if (!line) {
        reply_text(req, 413, "long line\n");
        return;
    }
    if (len == 3 && memcmp(line, "bad", 3) == 0) {
        reply_text(req, 400, "bad line\n");
        return;
    }
    v->lines++;
    v->bytes += len;
    if (v->text.len < 4096) {
        er_buf_add(&v->text, line, len);
        er_buf_add_char(&v->text, '|');
    }
}

static bool
pull_lines(void *ctx, struct er_buf *out, size_t room)
{
    struct visit *v = ctx;
    size_t n = v->text.len < room ? v->text.len : room;
    if (n > 0) {
        er_buf_add(out, v->text.data, n);
        er_buf_drop(&v->text, n);
    }
    return !v->finished || v->text.len > 0;
}

static bool
pull_flood(void *ctx, struct er_buf *out, size_t room)
{
    struct visit *v = ctx;
    size_t n = v->flood < room ? v->flood : room;
    for (size_t i = 0; i < n; i++) {
        er_buf_add_char(out, (char)('a' + (v->flood - i) % 26));
    }
    v->flood -= n;
    return v->flood > 0;
}

static bool
pull_nap(void *ctx, struct er_buf *out, size_t room)
{
    struct visit *v = ctx;
    (void)room;
    if (v->naps++ < 3) {
        er_stream_wake(v->stream);
        return true;
    }
    er_buf_add_str(out, "awake\n");
    return false;
}

static void
on_stopper(uv_timer_t *timer)
{
    struct app *app = timer->data;
    er_http_stop(app->http);
    uv_close((uv_handle_t *)timer, NULL);
}

static bool
echo_query(void *ctx, const char *name, const char *value)
{
    er_buf_addf(ctx, "query %s=%s\n", name, value);
    return true;
}

static void
on_echo(struct er_request *req)
{
    struct er_buf b;
    const char *header = er_request_header(req, "x-test");
    const char *a = er_request_query(req, "a");
    er_buf_init(&b, 0);
    er_buf_addf(&b, "method %s\npath %s\n", req->method, req->path);
    er_request_queries(req, echo_query, &b);
    er_buf_addf(&b, "a %s\nheader %s\npid %d\nbody %zu\n", a ? a : "-",
                header ? header : "-", (int)req->peer_pid,
                strlen(er_request_body(req)->data));
    er_request_add_header(req, "X-Answer", "yes");
    er_request_reply(req, 200, "text/plain", &b);
}

/* Answers or wakes all that wait. */
static void
for_waiting(struct app *app, struct er_request *req, const char *path)
{
    const struct er_buf *body = er_request_body(req);
    struct visit *v, *next;
    for (v = TAILQ_FIRST(&app->visits); v; v = next) {
        next = TAILQ_NEXT(v, in_list);
        if (strcmp(path, "/release") == 0 && v->is_later) {
            v->is_later = false;
            reply_text(v->req, 200, "released\n");
        } else if (strcmp(path, "/release") != 0 && v->stream) {
            er_buf_add(&v->text, body->data, body->len);
            v->finished = strcmp(path, "/finish") == 0;
            er_stream_wake(v->stream);
        }
    }
    reply_text(req, 200, "done\n");
}

static void
on_post(struct app *app, struct er_request *req, const char *path)
{
    struct visit *v = req->user;
    char text[5000];
    if (strcmp(path, "/whole") == 0) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_add(&b, er_request_body(req)->data, er_request_body(req)->len);
        er_request_reply(req, 200, "application/octet-stream", &b);
    } else if (strcmp(path, "/lines") == 0) {
        (void)snprintf(text, sizeof text, "%zu %zu %.4096s\n", v->lines, v->bytes,
                       v->text.data ? v->text.data : "");
        reply_text(req, 200, text);
    } else if (strcmp(path, "/stop") == 0) {
        v->stops = true;
        er_request_reply(req, 204, NULL, NULL);
    } else {
        for_waiting(app, req, path);
    }
}

static void
on_request(void *ctx, struct er_request *req)
{
    struct app *app = ctx;
    struct visit *v = req->user;
    const char *path = req->path, *n = er_request_query(req, "n");
    char text[200];
    app->requests += strcmp(path, "/counts") != 0;
    if (strcmp(req->method, "POST") == 0) {
        on_post(app, req, path);
    } else if (strcmp(path, "/hello") == 0) {
        reply_text(req, 200, "hello\n");
    } else if (strcmp(path, "/later") == 0) {
        v->is_later = true;
    } else if (strcmp(path, "/stream") == 0) {
        v->stream = er_request_stream(req, 200, "text/plain", pull_lines, v);
    } else if (strcmp(path, "/flood") == 0) {
        v->flood = n ? strtoul(n, NULL, 10) : 0;
        (void)er_request_stream(req, 200, "text/plain", pull_flood, v);
    } else if (strcmp(path, "/nap") == 0) {
        v->stream = er_request_stream(req, 200, "text/plain", pull_nap, v);
    } else if (strcmp(path, "/counts") == 0) {
        /* but for those for the counts themselves */
        (void)snprintf(text, sizeof text, "open %d requests %d broken %d\n",
                       app->heads - app->ends - 1, app->requests, app->broken);
        reply_text(req, 200, text);
    } else {
        on_echo(req);
    }
}

static void
on_end(void *ctx, struct er_request *req)
{
    struct app *app = ctx;
    struct visit *v = req->user;
    app->ends++;
    app->broken += req->gone;
    if (v->stops) {
        (void)uv_timer_start(&app->stopper, on_stopper, 0, 0);
    }
    TAILQ_REMOVE(&app->visits, v, in_list);
    er_buf_fini(&v->text);
    er_free(v);
}

static int
listen_on(const char *where)
{
    bool is_tcp = strcmp(where, "tcp") == 0;
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(is_tcp ? AF_INET : AF_UNIX, type, 0);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    (void)snprintf(un.sun_path, sizeof un.sun_path, "%s", where + strlen("unix:"));
    int rc = is_tcp ? bind(fd, (struct sockaddr *)&in, sizeof in)
                    : bind(fd, (struct sockaddr *)&un, sizeof un);
    if (rc || listen(fd, 1024)) {
        return -1;
    }
    socklen_t len = sizeof in;
    if (is_tcp) {
        (void)getsockname(fd, (struct sockaddr *)&in, &len);
        (void)printf("%d\n", ntohs(in.sin_port));
    } else {
        (void)chmod(un.sun_path, 0666);
        (void)printf("ready\n");
    }
    (void)fflush(stdout);
    return fd;
}

int
main(int argc, char **argv)
{
    static const struct er_request_ops ops = {on_head, on_line, on_request, on_end};
    static struct app app;
    struct er_err err = {{0}};
    unsigned connections = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 4096;
    int fd = argc > 1 ? listen_on(argv[1]) : -1;
    TAILQ_INIT(&app.visits);
    if (fd < 0 || uv_loop_init(&app.loop)) {
        (void)fprintf(stderr, "http_server: cannot listen: %s\n", strerror(errno));
        return 1;
    }
    (void)uv_timer_init(&app.loop, &app.stopper);
    app.stopper.data = &app;
    if (er_http_start(&app.loop, fd, argc > 3, connections, &ops, &app, &app.http,
                      &err)) {
        (void)fprintf(stderr, "http_server: %s\n", err.text);
        return 1;
    }
    (void)uv_run(&app.loop, UV_RUN_DEFAULT);
    int rc =
        uv_loop_close(&app.loop) || app.heads != app.ends || !TAILQ_EMPTY(&app.visits);
    return rc ? 2 : 0;
}
