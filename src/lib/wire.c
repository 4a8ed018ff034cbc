/* SPDX-License-Identifier: MIT */
/* Happy path: send -> a connection that is free, or a new one (made on a thread of its
 * own, since connecting may start a daemon and take seconds) -> the request is written,
 * the answer parsed as it comes -> the connection is free again.
 *
 *   conn:  FREE (watched for its end) -> BUSY -> FREE, or closed
 *   wire:  idle -> reaching (a job connects) -> idle
 *
 * Asks that find no connection wait in a queue; what was reached takes the first of them.
 *
 * Failure modes: a connection breaks: its ask is sent again if that does no harm and
 * nothing of its answer was handed on, TRIES times at most; else it ends with
 * ER_ENODAEMON. Nobody can be reached for PATIENCE: all that wait end so. */
#include "lib/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/heap.h"
#include "base/io.h"
#include "base/mem.h"
#include "engine/loop.h"
#include "lib/handle.h"
#include "wire/autostart.h"
#include "wire/http1.h"

#define CONNS_MAX 32 /* for asks that are not `alone` */
#define FREE_MAX  4  /* kept when they have nothing to do */
#define TRIES     5
#define PATIENCE                                                                         \
    (10 * ER_USEC_PER_SEC) /* how long a daemon that was there is looked for */
#define AGAIN_MS   20      /* between two looks */
#define READ_BYTES ((size_t)64 << 10)

struct conn {
    uv_poll_t poll;
    struct er_wire *wire;
    int fd;
    struct er_ask *ask; /* NULL = free, or closing */
    bool counts;        /* among those that are not `alone` */
    bool is_closing;
    bool is_writing;   /* watched for that, too */
    struct er_buf out; /* head and body */
    size_t sent;
    struct er_http1 http;
    bool is_parsing; /* http is set up */
    bool has_begun;  /* who asks was told of the head */
    bool is_refused; /* not a byte of the request has gone */
    bool is_kept;    /* it has answered before: may be a dead daemon's */
    TAILQ_ENTRY(conn) in_list;
};
TAILQ_HEAD(conn_list, conn);

struct sent {          /* ask->way */
    struct conn *conn; /* NULL = waits in the queue */
    int tries;
};

struct reach_job {
    struct er_job job;
    struct er_wire *wire; /* NULL: closed meanwhile */
    struct er_reach reach;
    char *path, *beside;
    int fd;
    struct er_err err;
};

struct er_wire {
    struct errand *e;
    struct er_crew *crew;
    int quit_fd; /* of the crew: readable once the handle closes */
    struct conn_list free, busy;
    size_t n_free, n_counted;
    struct er_asks waiting;
    struct reach_job *job; /* under way */
    er_usec lost_at;       /* mono; since when nobody is reached; 0 = somebody is */
    uv_timer_t again;
    bool is_closing;
    er_wire_open_fn *opened; /* NULL once it was told */
    void *opened_ctx;
};

static void reach(struct er_wire *w);
static void serve_waiting(struct er_wire *w);

/* ---- connections ---- */

static void
on_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    er_close(&c->fd);
    er_buf_fini(&c->out);
    if (c->is_parsing) {
        er_http1_fini(&c->http);
    }
    er_free(c);
}

static void
close_conn(struct conn *c)
{
    struct er_wire *w = c->wire;
    if (c->is_closing) {
        return;
    }
    c->is_closing = true;
    if (c->ask) {
        TAILQ_REMOVE(&w->busy, c, in_list);
    } else {
        TAILQ_REMOVE(&w->free, c, in_list);
        w->n_free--;
    }
    w->n_counted -= c->counts;
    c->ask = NULL;
    uv_close((uv_handle_t *)&c->poll, on_closed);
}

static void on_poll(uv_poll_t *h, int status, int events);

static void
watch(struct conn *c, bool writing)
{
    c->is_writing = writing;
    (void)uv_poll_start(&c->poll, UV_READABLE | (writing ? UV_WRITABLE : 0), on_poll);
}

static struct conn *
add_conn(struct er_wire *w, int fd)
{
    struct conn *c = er_xzalloc(sizeof *c);
    c->wire = w;
    c->fd = fd;
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    ER_ASSERT(uv_poll_init(er_loop_uv(w->e->loop), &c->poll, fd) == 0);
    c->poll.data = c;
    TAILQ_INSERT_HEAD(&w->free, c, in_list);
    w->n_free++;
    watch(c, false);
    return c;
}

/* ---- the end of an ask ---- */

static void
finish(struct er_ask *ask, int status)
{
    er_free(ask->way);
    ask->way = NULL;
    er_ask_finish(ask, status);
}

static void
enqueue(struct er_wire *w, struct er_ask *ask)
{
    struct sent *s = ask->way;
    s->conn = NULL;
    TAILQ_INSERT_TAIL(&w->waiting, ask, in_wire);
}

static void
lose(struct er_ask *ask, const char *why)
{
    er_buf_fini(&ask->answer);
    er_buf_add_str(&ask->answer, why);
    finish(ask, ER_ENODAEMON);
}

/* The connection is of no more use. */
static void
broken(struct conn *c)
{
    struct er_wire *w = c->wire;
    struct er_ask *ask = c->ask;
    struct sent *s = ask ? ask->way : NULL;
    bool was_seen = ask && ask->data && c->http.head_done;
    bool is_kept = c->is_kept;
    close_conn(c);
    if (!ask) {
        return;
    }
    s->tries += is_kept ? 0 : 1; /* a dead daemon's connections are all found out so */
    if (!was_seen && (er_ask_is_safe(ask) || c->is_refused) && s->tries < TRIES) {
        er_buf_clear(&ask->answer);
        enqueue(w, ask);
        serve_waiting(w);
        return;
    }
    lose(ask, "the connection to the daemon broke before the answer was there: what was "
              "asked may have been done");
}

/* ---- sending ---- */

static void
flush(struct conn *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            if (!c->is_writing) {
                watch(c, true);
            }
            return;
        }
        if (n < 0) {
            c->is_refused = c->sent == 0;
            return; /* what there is to read tells: an answer, or the end */
        }
        c->sent += (size_t)n;
    }
    if (c->is_writing) {
        watch(c, false);
    }
}

static void
on_body(void *ctx, const char *data, size_t len)
{
    struct conn *c = ctx;
    struct er_ask *ask = c->ask;
    if (!ask) {
        return; /* cancelled in the middle of a piece */
    }
    ask->status = c->http.status;
    if (ask->data && ask->status < 300) {
        ask->data(ask, data, len);
    } else {
        er_buf_add(&ask->answer, data, len);
    }
}

static void
add_headers(struct er_buf *b, const struct er_ask *ask)
{
    for (size_t at = 0; at < ask->headers.len;) {
        const char *name = ask->headers.data + at, *value = name + strlen(name) + 1;
        er_buf_add_str(b, name);
        er_buf_add_str(b, ": ");
        er_buf_add_str(b, value);
        er_buf_add_str(b, "\r\n");
        at = (size_t)(value - ask->headers.data) + strlen(value) + 1;
    }
}

static void
begin(struct conn *c, struct er_ask *ask)
{
    struct er_wire *w = c->wire;
    struct er_buf headers;
    bool has_body = strcmp(ask->method, "GET") != 0 && strcmp(ask->method, "DELETE") != 0;
    TAILQ_REMOVE(&w->free, c, in_list);
    w->n_free--;
    TAILQ_INSERT_TAIL(&w->busy, c, in_list);
    c->ask = ask;
    c->counts = !ask->alone;
    w->n_counted += c->counts;
    ((struct sent *)ask->way)->conn = c;
    er_buf_init(&headers, 0);
    add_headers(&headers, ask);
    er_buf_clear(&c->out);
    c->out.max = (size_t)1 << 30;
    c->sent = 0;
    er_http1_request(&c->out, ask->method, ask->target,
                     ask->body.len > 0 ? ask->type ? ask->type : "application/json"
                                       : NULL,
                     has_body ? (int64_t)ask->body.len : -1, headers.data);
    er_buf_add(&c->out, ask->body.data ? ask->body.data : "", ask->body.len);
    er_buf_fini(&headers);
    er_http1_init(&c->http, on_body, c);
    c->is_parsing = true;
    c->has_begun = c->is_refused = false;
    flush(c);
}

static void
give(struct er_wire *w, struct er_ask *ask)
{
    struct conn *c = TAILQ_FIRST(&w->free);
    if (c && (ask->alone || w->n_counted < CONNS_MAX)) {
        begin(c, ask);
    } else {
        enqueue(w, ask);
        if (!c) {
            reach(w);
        }
    }
}

void
er_wire_send(struct er_wire *w, struct er_ask *ask)
{
    ask->way = er_xzalloc(sizeof(struct sent));
    give(w, ask);
}

/* Those that wait get what is free. */
static void
serve_waiting(struct er_wire *w)
{
    struct er_ask *ask, *next;
    for (ask = TAILQ_FIRST(&w->waiting); ask; ask = next) {
        next = TAILQ_NEXT(ask, in_wire);
        if (!TAILQ_FIRST(&w->free)) {
            reach(w);
            return;
        }
        if (ask->alone || w->n_counted < CONNS_MAX) {
            TAILQ_REMOVE(&w->waiting, ask, in_wire);
            begin(TAILQ_FIRST(&w->free), ask);
        }
    }
}

void
er_wire_drop(struct er_wire *w, struct er_ask *ask)
{
    struct sent *s = ask->way;
    if (!s) {
        return;
    }
    if (s->conn) {
        struct conn *c = s->conn;
        close_conn(c); /* its answer would come */
    } else {
        TAILQ_REMOVE(&w->waiting, ask, in_wire);
    }
    er_free(s);
    ask->way = NULL;
}

bool
er_wire_got(const struct er_ask *ask, const char *name, char *out, size_t size)
{
    const struct sent *s = ask->way;
    return s && s->conn && er_http1_header(&s->conn->http, name, out, size);
}

/* ---- reading ---- */

/* The answer is complete. `done` may read its headers, so the parser is emptied after
 * it. */
static void
complete(struct conn *c)
{
    struct er_wire *w = c->wire;
    struct er_ask *ask = c->ask;
    int status = c->http.status;
    bool keep = c->http.keep_alive && c->sent == c->out.len && w->n_free < FREE_MAX;
    struct sent *s = ask->way;
    er_ask_finish(ask, status); /* c stays ours: its ask is not free yet */
    er_free(s);
    if (c->is_closing) {
        return;
    }
    TAILQ_REMOVE(&w->busy, c, in_list);
    TAILQ_INSERT_HEAD(&w->free, c, in_list);
    w->n_free++;
    w->n_counted -= c->counts;
    c->counts = false;
    c->ask = NULL;
    c->is_kept = true;
    er_http1_fini(&c->http);
    c->is_parsing = false;
    if (!keep) {
        close_conn(c);
    }
    serve_waiting(w);
}

/* Takes what came. False: the connection is gone, or was given up. */
static bool
feed(struct conn *c, const char *data, size_t n)
{
    if (!c->ask) {
        broken(c); /* bytes that nobody has asked for */
        return false;
    }
    int64_t used = er_http1_feed(&c->http, data, n);
    if (c->is_closing) {
        return false;
    }
    if (used < 0) {
        broken(c);
        return false;
    }
    if (c->http.head_done && !c->has_begun) {
        c->has_begun = true;
        c->ask->status = c->http.status;
        if (c->ask->began && c->http.status < 300) {
            c->ask->began(c->ask);
        }
        if (c->is_closing) {
            return false;
        }
    }
    if (c->http.done) {
        complete(c);
        return false; /* once round the loop: it may have another ask by now */
    }
    return true;
}

static void
on_poll(uv_poll_t *h, int status, int events)
{
    struct conn *c = h->data;
    char data[16384];
    size_t total = 0;
    if (status < 0) {
        broken(c);
        return;
    }
    if (events & UV_WRITABLE) {
        flush(c);
    }
    while ((events & UV_READABLE) && total < READ_BYTES) {
        ssize_t n = recv(c->fd, data, sizeof data, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            if (c->ask && c->is_parsing && c->http.head_done &&
                er_http1_eof(&c->http) == 0) {
                complete(c);
            } else {
                broken(c);
            }
            return;
        }
        total += (size_t)n;
        if (!feed(c, data, (size_t)n)) {
            return;
        }
    }
}

/* ---- reaching the daemon ---- */

static void
run_reach(struct er_job *job, void *thread_ctx)
{
    struct reach_job *j = (struct reach_job *)(void *)job;
    (void)thread_ctx;
    j->fd = er_autostart_reach(&j->reach, &j->err);
}

static void
fail_waiting(struct er_wire *w, int code, const char *words)
{
    struct er_ask *ask;
    size_t n = 0;
    TAILQ_FOREACH (ask, &w->waiting, in_wire) {
        n++;
    }
    while (n-- > 0 && (ask = TAILQ_FIRST(&w->waiting)) != NULL) {
        TAILQ_REMOVE(&w->waiting, ask,
                     in_wire); /* done may cancel others, and send more */
        er_buf_fini(&ask->answer);
        er_buf_add_str(&ask->answer, words);
        finish(ask, code);
    }
}

static void
on_again(uv_timer_t *t)
{
    reach(t->data);
}

static void
not_reached(struct er_wire *w, int code, const char *words)
{
    er_usec now = er_clock_mono(er_clock_system());
    if (w->opened) {
        er_wire_open_fn *opened = w->opened;
        w->opened = NULL;
        opened(w->opened_ctx, code, words);
        return;
    }
    if (w->lost_at == 0) {
        w->lost_at = now;
        er_handle_log(w->e, ERRAND_LOG_WARN, "the daemon is gone: %s", words);
    }
    if (now - w->lost_at >= PATIENCE || code != ER_ENODAEMON) {
        w->lost_at = now - PATIENCE; /* the next ask tries once */
        fail_waiting(w, code, words);
    } else if (!TAILQ_EMPTY(&w->waiting)) {
        (void)uv_timer_start(&w->again, on_again, AGAIN_MS, 0);
    }
}

static void
done_reach(struct er_job *job)
{
    struct reach_job *j = (struct reach_job *)(void *)job;
    struct er_wire *w = j->wire;
    int fd = j->fd;
    struct er_err err = j->err;
    er_free(j->path);
    er_free(j->beside);
    er_free(j);
    if (!w || w->is_closing) {
        er_close(&fd);
        return;
    }
    w->job = NULL;
    if (fd < 0) {
        not_reached(w, fd, err.text[0] ? err.text : er_error_meaning(fd));
        return;
    }
    w->lost_at = 0;
    (void)add_conn(w, fd);
    if (w->opened) {
        er_wire_open_fn *opened = w->opened;
        w->opened = NULL;
        opened(w->opened_ctx, 0, NULL);
    }
    serve_waiting(w);
}

static void
reach(struct er_wire *w)
{
    char folder[4096];
    if (w->job || w->is_closing || uv_is_active((const uv_handle_t *)&w->again)) {
        return;
    }
    struct reach_job *j = er_xzalloc(sizeof *j);
    const struct errand_options *o = &w->e->options;
    j->job.run = run_reach;
    j->job.done = done_reach;
    j->wire = w;
    j->path = er_xstrdup(w->e->socket);
    j->beside = er_xstrdup(er_handle_folder(folder, sizeof folder));
    j->reach = (struct er_reach){.socket_path = j->path,
                                 .beside = j->beside,
                                 .may_start = !o->no_autostart,
                                 .patience = o->connect_ms * ER_USEC_PER_MS,
                                 .quit_fd = w->quit_fd};
    w->job = j;
    er_crew_post(w->crew, &j->job);
}

/* ---- life ---- */

int
er_wire_open(struct errand *e, er_wire_open_fn *done, void *ctx, struct er_wire **out,
             struct er_err *err)
{
    struct er_wire *w = er_zalloc(sizeof *w);
    if (!w) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    w->e = e;
    TAILQ_INIT(&w->free);
    TAILQ_INIT(&w->busy);
    TAILQ_INIT(&w->waiting);
    w->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = w->quit_fd < 0 ? ER_EIO : er_crew_start(e->loop, NULL, &w->crew);
    if (rc) {
        er_close(&w->quit_fd);
        er_free(w);
        return er_fail(err, rc, "cannot start a thread");
    }
    (void)uv_timer_init(er_loop_uv(e->loop), &w->again);
    w->again.data = w;
    w->opened = done;
    w->opened_ctx = ctx;
    *out = w;
    reach(w);
    return 0;
}

void
er_wire_close(struct er_wire *w)
{
    struct conn *c;
    w->is_closing = true;
    (void)uv_timer_stop(&w->again);
    while ((c = TAILQ_FIRST(&w->busy)) != NULL || (c = TAILQ_FIRST(&w->free)) != NULL) {
        close_conn(c);
    }
    (void)eventfd_write(w->quit_fd, 1); /* a daemon's start is not waited for */
    er_crew_stop(w->crew);
    w->crew = NULL;
    er_close(&w->quit_fd);
}

void
er_wire_free(struct er_wire *w)
{
    er_free(w);
}
