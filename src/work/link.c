/* SPDX-License-Identifier: MIT */
/* Happy path: connect, POST /v1/work/claim with the hello, 200, and lines until the
 * daemon goes. Then the folder of the socket is watched (inotify); a new daemon renames
 * its socket into it, and that very event makes us connect.
 *
 * Failure modes: the folder itself is gone: the nearest one above that exists is watched
 * for the next part of the path. The socket is there and refuses (a daemon was killed, or
 * has too much to do) or answers 5xx: a timer, from 0.1 s doubling to 5 s, tries again,
 * only as long as that is so. A line that is lost (no memory for it): the link is broken
 * and made again, since the hello tells what is not here. 409: the session is lost.
 * Watching begins before the last try, so that no event falls between. */
#include "work/link.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "wire/json.h"
#include "work/orders.h"
#include "work/worker.h"

#define LINE_MAX_BYTES (16 << 20) /* an order: 1 MiB of arguments, each byte escaped */
#define RETRY_MIN      (100 * ER_USEC_PER_MS)
#define RETRY_MAX      (5 * ER_USEC_PER_SEC)
#define PROTOCOL       1

/* ---- waiting for the socket ---- */

static void
on_socket_changed(struct er_path_watch *p)
{
    ER_CONTAINER(p, struct er_daemon_link, watcher)->try_wanted = true;
}

static void
watch(struct er_daemon_link *l)
{
    if (!er_path_watch_start(&l->watcher, l->worker->socket_path, on_socket_changed)) {
        er_log(ER_LOG_ERROR, "link",
               "cannot watch for the socket %s: inotify is exhausted?",
               l->worker->socket_path);
    }
}

static void
on_retry(struct er_timer *t)
{
    ER_CONTAINER(t, struct er_daemon_link, retry)->try_wanted = true;
}

static void
retry_later(struct er_daemon_link *l)
{
    struct er_worker *w = l->worker;
    l->retry_for = l->retry_for == 0              ? RETRY_MIN
                   : l->retry_for * 2 < RETRY_MAX ? l->retry_for * 2
                                                  : RETRY_MAX;
    er_timer_start(&w->timers, &l->retry, er_clock_mono(w->clock) + l->retry_for,
                   on_retry);
}

/* No connection: waits until there is reason to try again. */
static void
go_down(struct er_daemon_link *l, const char *why)
{
    struct er_worker *w = l->worker;
    l->state = ER_LINK_DOWN;
    er_conn_close(&l->conn);
    er_buf_fini(&l->line);
    er_report_disconnect(&w->report);
    er_given_drop_waiting(&w->given);
    if (!l->said) {
        er_log(ER_LOG_INFO, "link", "no daemon: %s; waiting for %s", why, w->socket_path);
        l->said = true;
    }
}

/* ---- connecting ---- */

static void
encode_held(const struct er_worker *w, struct er_buf *b)
{
    const struct er_work_attempt *a;
    bool any = false;
    TAILQ_FOREACH (a, &w->attempts, link) {
        char at[ER_RFC3339_SIZE];
        if (a->dropped) {
            continue;
        }
        er_buf_addf(b, "%s{\"task\":%lld,\"attempt\":%d", any ? "," : "",
                    (long long)a->task, a->attempt);
        if (a->pid > 0) {
            er_time_format(a->started_at, at);
            er_buf_addf(b, ",\"pid\":%d,\"started_at\":\"%s\",\"paused\":%s}",
                        (int)a->pid, at, er_pause_is_held(a) ? "true" : "false");
        } else {
            er_buf_addf(b, ",\"pid\":null,\"started_at\":null,\"paused\":%s}",
                        er_pause_is_held(a) ? "true" : "false");
        }
        any = true;
    }
}

static void
say_hello(struct er_daemon_link *l)
{
    const struct er_worker *w = l->worker;
    struct er_buf body, request;
    er_buf_init(&body, 0);
    er_buf_init(&request, 0);
    er_buf_addf(
        &body,
        "{\"protocol\":%d,\"version\":\"%s\",\"pid\":%d,\"slots\":%d,\"pings\":true,",
        PROTOCOL, ER_VERSION, (int)getpid(), w->slots);
    if (w->session > 0) {
        er_buf_addf(&body, "\"session\":%lld,\"token\":\"%s\"", (long long)w->session,
                    w->token);
    } else {
        er_buf_add_str(&body, "\"session\":null,\"token\":null");
    }
    er_buf_add_str(&body, ",\"held\":[");
    encode_held(w, &body);
    er_buf_add_str(&body, "],\"owed\":[");
    er_report_encode_owed(&w->report, &body);
    er_buf_add_str(&body, "]}");
    er_http1_request(&request, "POST", "/v1/work/claim", "application/json",
                     (int64_t)body.len, NULL);
    er_buf_add(&request, body.data, body.len);
    er_conn_send(&l->conn, &request);
    er_buf_fini(&body);
    er_buf_fini(&request);
}

static void
try_connect(struct er_daemon_link *l)
{
    struct er_worker *w = l->worker;
    struct er_err err = {0};
    er_timer_stop(&w->timers, &l->retry);
    watch(l);
    if (er_conn_open(&l->conn, w->socket_path, &err) == 0) {
        er_path_watch_stop(&l->watcher);
        l->state = ER_LINK_HELLO;
        er_buf_init(&l->line, LINE_MAX_BYTES);
        say_hello(l);
        return;
    }
    go_down(l, err.text);
    if (access(w->socket_path, F_OK) == 0) {
        retry_later(l);
    }
}

void
er_link_run(struct er_daemon_link *l)
{
    if (l->try_wanted && l->state == ER_LINK_DOWN) {
        l->try_wanted = false;
        try_connect(l);
    }
}

/* ---- the stream ---- */

/* A line that is lost: the daemon takes it for heard. The next hello says what we have
 * not got, and it is told again; not at once, as that may happen again. */
static void
lose_line(struct er_daemon_link *l, const char *why)
{
    er_log(ER_LOG_ERROR, "link", "an order is lost (%s): connecting again", why);
    go_down(l, why);
    watch(l);
    retry_later(l);
}

static void
take_line(struct er_daemon_link *l, const char *line, size_t n)
{
    json_error_t why;
    json_t *o = er_json_load(line, n, JSON_REJECT_DUPLICATES, &why);
    if (!o && er_json_lacks_memory(&why)) {
        lose_line(l, "no memory for it");
        return;
    }
    if (!o) {
        er_log(ER_LOG_ERROR, "link", "an order is not JSON: %s", why.text);
        return;
    }
    er_orders_take(l->worker, o);
    json_decref(o);
}

static void
on_body(struct er_conn *c, const char *data, size_t len)
{
    struct er_daemon_link *l = ER_CONTAINER(c, struct er_daemon_link, conn);
    if (c->http.status != 200) {
        er_buf_add(&l->line, data, len);
        return;
    }
    while (len > 0 && l->state >= ER_LINK_HELLO) {
        const char *nl = memchr(data, '\n', len);
        size_t part = nl ? (size_t)(nl - data) + 1 : len;
        if (nl && l->line.len == 0) {
            take_line(l, data, part - 1);
        } else {
            er_buf_add(&l->line, data, part);
            if (l->line.failed) {
                lose_line(l, l->line.failed == ER_ENOMEM ? "no memory for it"
                                                         : "it is too long");
                return;
            }
            if (nl) {
                take_line(l, l->line.data, l->line.len);
                er_buf_fini(&l->line);
            }
        }
        data += part;
        len -= part;
    }
}

static void
on_gone(struct er_conn *c, const char *why)
{
    struct er_daemon_link *l = ER_CONTAINER(c, struct er_daemon_link, conn);
    bool was_up = l->state == ER_LINK_UP;
    go_down(l, why);
    if (was_up) {
        l->try_wanted = true; /* perhaps the next daemon is there already */
    } else {
        watch(l);
        retry_later(l);
    }
}

static void
on_answer(struct er_conn *c)
{
    struct er_daemon_link *l = ER_CONTAINER(c, struct er_daemon_link, conn);
    int status = c->http.status;
    if (status == 200) {
        on_gone(c, "the daemon ended the stream");
    } else if (status == 409) {
        er_worker_on_lost(l->worker, l->line.data ? l->line.data : "");
    } else {
        er_log(ER_LOG_ERROR, "link", "the daemon refused us (status %d): %.600s", status,
               l->line.data ? l->line.data : "");
        l->state = ER_LINK_HELLO;
        on_gone(c, "refused");
    }
}

void
er_link_on_welcome(struct er_daemon_link *l)
{
    struct er_worker *w = l->worker;
    l->state = ER_LINK_UP;
    l->retry_for = 0;
    l->said = false;
    w->report.urgent = true;
}

/* ---- life ---- */

void
er_link_start(struct er_daemon_link *l)
{
    if (l->state == ER_LINK_OFF) {
        l->state = ER_LINK_DOWN;
        l->try_wanted = true;
        l->said = false;
    }
}

void
er_link_stop(struct er_daemon_link *l)
{
    er_timer_stop(&l->worker->timers, &l->retry);
    er_path_watch_stop(&l->watcher);
    er_conn_close(&l->conn);
    er_buf_fini(&l->line);
    l->state = ER_LINK_OFF;
    l->retry_for = 0;
}

void
er_link_init(struct er_daemon_link *l, struct er_worker *w)
{
    static const struct er_conn_events events = {on_body, on_answer, on_gone};
    *l = (struct er_daemon_link){.worker = w};
    er_conn_init(&l->conn, &w->watches, &events);
    er_path_watch_init(&l->watcher, &w->watches);
}
