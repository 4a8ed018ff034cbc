/* SPDX-License-Identifier: MIT */
/* Happy path: flush builds one body of all waiting facts (up to BATCH_MAX) and of the
 * news of the samples, and sends it on a connection that stays open; the answer's `lost`
 * are told to the worker, the facts are freed, and what came meanwhile is sent at once.
 *
 * Failure modes: the connection breaks, or the answer is 5xx: the facts wait again, in
 * their old place, and a retry timer (0.1 s, doubling to 5 s) runs until one goes well.
 * 409: the session is lost, the worker is told. Another 4xx: a line the daemon will not
 * have; they are then sent one fact, at last one line, in a report, and the line that is
 * refused alone is given up, with a message (its outcome stands in the attempt's log). */
#include "work/report.h"

#include <jansson.h>
#include <string.h>

#include "work/worker.h"

#define BATCH_MAX  (4 << 20) /* bytes; one fact may be larger */
#define HOLD_FOR   (5 * ER_USEC_PER_MS)
#define RETRY_MIN  (100 * ER_USEC_PER_MS)
#define RETRY_MAX  (5 * ER_USEC_PER_SEC)
#define ANSWER_MAX (4 << 20)
#define NOTES_SIZE (64 << 10) /* bytes after which notes begin a new fact */

/* ---- what is waiting ---- */

/* Nothing more is added to these notes. */
static void
complete(struct er_report_fact *f)
{
    if (f->writer) {
        f->writer->notes = NULL;
        f->writer = NULL;
    }
}

static size_t
size_of(const struct er_report_fact *f)
{
    return f->lines.len + f->checkpoint.len;
}

static void
free_fact(struct er_report *r, struct er_report_fact *f)
{
    complete(f);
    r->notes_bytes -= f->is_notes ? size_of(f) : 0;
    er_buf_fini(&f->lines);
    er_buf_fini(&f->checkpoint);
    er_free(f);
}

static void
free_facts(struct er_report *r, struct er_report_facts *list)
{
    while (!STAILQ_EMPTY(list)) {
        struct er_report_fact *f = STAILQ_FIRST(list);
        STAILQ_REMOVE_HEAD(list, link);
        free_fact(r, f);
    }
}

static struct er_report_fact *
add_fact(struct er_report *r, er_task_id task, int attempt)
{
    struct er_report_fact *f = er_xzalloc(sizeof *f);
    f->task = task;
    f->attempt = attempt;
    STAILQ_INSERT_TAIL(&r->waiting, f, link);
    return f;
}

static void
on_hold_over(struct er_timer *t)
{
    ER_CONTAINER(t, struct er_report, hold)->urgent = true;
}

/* What is not urgent waits for company, but not for long. */
static void
hold(struct er_report *r)
{
    struct er_worker *w = r->worker;
    if (!r->urgent && !er_timer_is_on(&r->hold)) {
        er_timer_start(&w->timers, &r->hold, er_clock_mono(w->clock) + HOLD_FOR,
                       on_hold_over);
    }
}

void
er_report_add_started(struct er_report *r, const struct er_work_attempt *a)
{
    char at[ER_RFC3339_SIZE];
    struct er_report_fact *f = add_fact(r, a->task, a->attempt);
    er_time_format(a->started_at, at);
    er_buf_addf(
        &f->lines,
        "{\"started\":{\"task\":%lld,\"attempt\":%d,\"pid\":%d,\"started_at\":\"%s\"}}\n",
        (long long)a->task, a->attempt, (int)a->pid, at);
    hold(r);
}

void
er_report_add_word(struct er_report *r, const struct er_work_attempt *a, const char *word)
{
    struct er_report_fact *f = add_fact(r, a->task, a->attempt);
    er_buf_addf(&f->lines, "{\"%s\":{\"task\":%lld,\"attempt\":%d}}\n", word,
                (long long)a->task, a->attempt);
    r->urgent = true;
}

/* ---- notes ---- */

/* Those of the attempt that more can be added to. */
static struct er_report_fact *
open_notes(struct er_report *r, struct er_work_attempt *a)
{
    if (a->notes && size_of(a->notes) >= NOTES_SIZE) {
        complete(a->notes);
    }
    if (!a->notes) {
        struct er_report_fact *f = add_fact(r, a->task, a->attempt);
        f->is_notes = true;
        f->writer = a;
        a->notes = f;
    }
    return a->notes;
}

void
er_report_add_item(struct er_report *r, struct er_work_attempt *a, const char *name,
                   bool failed)
{
    struct er_report_fact *f = open_notes(r, a);
    size_t before = f->lines.len;
    er_buf_addf(&f->lines,
                "{\"item\":{\"task\":%lld,\"attempt\":%d,\"name\":", (long long)a->task,
                a->attempt);
    er_buf_add_json_str(&f->lines, name);
    er_buf_addf(&f->lines, ",\"failed\":%s}}\n", failed ? "true" : "false");
    r->notes_bytes += f->lines.len - before;
    hold(r);
}

/* It comes after the items that were added before it, and perhaps after some that were
 * added later: that is no harm, as an item that it does not know of is stored. */
void
er_report_add_checkpoint(struct er_report *r, struct er_work_attempt *a)
{
    struct er_report_fact *f = open_notes(r, a);
    r->notes_bytes -= f->checkpoint.len;
    er_buf_clear(&f->checkpoint);
    er_sample_encode_progress(a, a->checkpoint_json, &f->checkpoint);
    r->notes_bytes += f->checkpoint.len;
    hold(r);
}

void
er_report_forget_notes(struct er_work_attempt *a)
{
    if (a->notes) {
        complete(a->notes);
    }
}

bool
er_report_is_full(struct er_report *r)
{
    r->full = r->notes_bytes >= ER_REPORT_NOTES_MAX;
    return r->full;
}

/* The daemon has taken some: what was not read any more is read again. */
static void
go_on_reading(struct er_report *r)
{
    struct er_work_attempt *a;
    if (!r->full || er_report_is_full(r)) {
        return;
    }
    TAILQ_FOREACH (a, &r->worker->attempts, link) {
        er_progress_fd_go_on(&a->progress_fd);
    }
}

/* ---- ends, samples ---- */

void
er_report_add_finished(struct er_report *r, er_task_id task, int attempt,
                       struct er_buf *lines)
{
    struct er_report_fact *f = add_fact(r, task, attempt);
    f->finished = true;
    f->lines = *lines;
    *lines = (struct er_buf){0};
    /* with work at hand several ends share one report, and so one sync of the store */
    r->urgent = r->urgent || !er_worker_has_backlog(r->worker);
    hold(r);
}

void
er_report_add_sample(struct er_report *r, struct er_usage_sampler *s)
{
    if (!s->listed) {
        s->listed = true;
        TAILQ_INSERT_TAIL(&r->samples, s, link);
    }
    r->urgent = true;
}

void
er_report_forget_sample(struct er_report *r, struct er_usage_sampler *s)
{
    if (s->listed) {
        s->listed = false;
        TAILQ_REMOVE(&r->samples, s, link);
    }
}

void
er_report_add_pong(struct er_report *r)
{
    r->pong = true;
    r->urgent = true;
}

bool
er_report_is_empty(const struct er_report *r)
{
    return STAILQ_EMPTY(&r->waiting) && STAILQ_EMPTY(&r->sent);
}

static bool
owes_in(const struct er_report_facts *list, er_task_id task, int attempt)
{
    const struct er_report_fact *f;
    STAILQ_FOREACH (f, list, link) {
        if (f->finished && f->task == task && f->attempt == attempt) {
            return true;
        }
    }
    return false;
}

bool
er_report_owes(const struct er_report *r, er_task_id task, int attempt)
{
    return owes_in(&r->sent, task, attempt) || owes_in(&r->waiting, task, attempt);
}

void
er_report_encode_owed(const struct er_report *r, struct er_buf *b)
{
    const struct er_report_facts *const lists[] = {&r->sent, &r->waiting};
    bool any = false;
    for (int i = 0; i < 2; i++) {
        const struct er_report_fact *f;
        STAILQ_FOREACH (f, lists[i], link) {
            if (f->finished) {
                er_buf_addf(b, "%s{\"task\":%lld,\"attempt\":%d}", any ? "," : "",
                            (long long)f->task, f->attempt);
                any = true;
            }
        }
    }
}

/* ---- failing ---- */

static void
on_retry(struct er_timer *t)
{
    ER_CONTAINER(t, struct er_report, retry)->urgent = true;
}

/* What was sent waits again, before what came since. */
static void
take_back(struct er_report *r)
{
    STAILQ_CONCAT(&r->sent, &r->waiting);
    STAILQ_CONCAT(&r->waiting, &r->sent);
    r->under_way = false;
    r->pong = r->pong || r->pong_sent;
    r->pong_sent = false;
    r->urgent = r->pong || !STAILQ_EMPTY(&r->waiting);
}

static void
fail(struct er_report *r, const char *why)
{
    struct er_worker *w = r->worker;
    if (r->retry_for == 0) {
        er_log(ER_LOG_WARN, "report",
               "the daemon did not take a report: %s; trying again", why);
    }
    take_back(r);
    r->retry_for = r->retry_for == 0              ? RETRY_MIN
                   : r->retry_for * 2 < RETRY_MAX ? r->retry_for * 2
                                                  : RETRY_MAX;
    er_timer_start(&w->timers, &r->retry, er_clock_mono(w->clock) + r->retry_for,
                   on_retry);
}

static void
on_gone(struct er_conn *c, const char *why)
{
    struct er_report *r = ER_CONTAINER(c, struct er_report, conn);
    er_buf_clear(&r->answer);
    if (r->under_way) {
        fail(r, why);
    }
}

/* ---- answers ---- */

static void
on_body(struct er_conn *c, const char *data, size_t len)
{
    er_buf_add(&ER_CONTAINER(c, struct er_report, conn)->answer, data, len);
}

static void
take_lost(struct er_worker *w, const json_t *answer)
{
    const json_t *lost = json_object_get(answer, "lost");
    for (size_t i = 0; i < json_array_size(lost); i++) {
        const json_t *o = json_array_get(lost, i);
        er_worker_drop(w, json_integer_value(json_object_get(o, "task")),
                       (int)json_integer_value(json_object_get(o, "attempt")));
    }
}

/* Makes a fact of each line of one that the daemon refused. */
static void
split(struct er_report *r, struct er_report_fact *f)
{
    er_buf_add(&f->lines, f->checkpoint.data ? f->checkpoint.data : "",
               f->checkpoint.len);
    er_buf_clear(&f->checkpoint);
    const char *at = f->lines.data, *end = at + f->lines.len;
    for (const char *nl; at < end && (nl = memchr(at, '\n', (size_t)(end - at)));
         at = nl + 1) {
        struct er_report_fact *one = er_xzalloc(sizeof *one);
        one->task = f->task;
        one->attempt = f->attempt;
        one->is_notes = f->is_notes;
        one->finished = f->finished && nl + 1 == end;
        er_buf_add(&one->lines, at, (size_t)(nl + 1 - at));
        r->notes_bytes += one->is_notes ? one->lines.len : 0;
        STAILQ_INSERT_TAIL(&r->sent, one, link);
    }
}

/* Gives up a line that the daemon refuses for itself. */
static void
refuse(struct er_report *r)
{
    struct er_report_fact *f = STAILQ_FIRST(&r->sent);
    bool alone = f && !STAILQ_NEXT(f, link);
    er_log(ER_LOG_ERROR, "report", "the daemon refused a report (status %d): %.600s",
           r->conn.http.status, r->answer.data ? r->answer.data : "");
    if (alone) {
        STAILQ_REMOVE_HEAD(&r->sent, link);
        const char *nl = f->lines.data ? strchr(f->lines.data, '\n') : NULL;
        if (f->checkpoint.len > 0 || (nl && nl[1] != '\0')) {
            split(r, f);
        }
        free_fact(r, f);
        go_on_reading(r);
    }
    r->one_by_one = true;
    r->pong_sent = false;
    take_back(r);
}

static void
on_answer(struct er_conn *c)
{
    struct er_report *r = ER_CONTAINER(c, struct er_report, conn);
    struct er_worker *w = r->worker;
    int status = c->http.status;
    if (!c->http.keep_alive) {
        er_conn_close(c);
    }
    if (!r->under_way) {
        er_buf_clear(&r->answer);
        return;
    }
    if (status == 200) {
        json_t *answer =
            json_loadb(r->answer.data ? r->answer.data : "", r->answer.len, 0, NULL);
        r->under_way = false;
        r->pong_sent = false;
        r->retry_for = 0;
        free_facts(r, &r->sent);
        go_on_reading(r);
        take_lost(w, answer);
        json_decref(answer);
        r->one_by_one = r->one_by_one && !STAILQ_EMPTY(&r->waiting);
        r->urgent = r->urgent || r->one_by_one;
    } else if (status == 409) {
        take_back(r);
        er_worker_on_lost(w, "a report was answered 409");
    } else if (status >= 500) {
        fail(r, r->answer.data ? r->answer.data : "no words");
    } else {
        refuse(r);
    }
    er_buf_clear(&r->answer);
}

/* ---- sending ---- */

/* Moves facts into the report, at most BATCH_MAX bytes of them, and adds the samples. */
static void
build_body(struct er_report *r, struct er_buf *body)
{
    r->pong_sent = r->pong && (!r->one_by_one || STAILQ_EMPTY(&r->waiting));
    if (r->pong_sent) {
        r->pong = false;
        er_buf_add_str(body, "{\"pong\":{}}\n");
    }
    while (!STAILQ_EMPTY(&r->waiting)) {
        struct er_report_fact *f = STAILQ_FIRST(&r->waiting);
        bool full =
            body->len > 0 && (r->one_by_one || body->len + size_of(f) > BATCH_MAX);
        if (full) {
            r->urgent = true;
            return;
        }
        STAILQ_REMOVE_HEAD(&r->waiting, link);
        STAILQ_INSERT_TAIL(&r->sent, f, link);
        complete(f);
        er_buf_add(body, f->lines.data, f->lines.len);
        er_buf_add(body, f->checkpoint.data, f->checkpoint.len);
    }
    while (!r->one_by_one && !TAILQ_EMPTY(&r->samples)) {
        struct er_usage_sampler *s = TAILQ_FIRST(&r->samples);
        er_report_forget_sample(r, s);
        er_sample_encode(s, body);
    }
}

static void
send_report(struct er_report *r)
{
    struct er_worker *w = r->worker;
    char headers[256];
    struct er_buf body, request;
    er_buf_init(&body, (size_t)128 << 20);
    er_buf_init(&request, (size_t)128 << 20);
    r->urgent = false;
    er_timer_stop(&w->timers, &r->hold);
    build_body(r, &body);
    if (body.len > 0 && !body.failed) {
        (void)snprintf(headers, sizeof headers,
                       "X-Errand-Session: %lld\r\nX-Errand-Token: %s\r\n",
                       (long long)w->session, w->token);
        er_http1_request(&request, "POST", "/v1/work/report", "application/x-ndjson",
                         (int64_t)body.len, headers);
        er_buf_add(&request, body.data, body.len);
        r->under_way = true;
        er_conn_send(&r->conn, &request);
    } else if (body.failed) {
        fail(r, er_error_meaning(body.failed));
    }
    er_buf_fini(&body);
    er_buf_fini(&request);
}

void
er_report_flush(struct er_report *r)
{
    struct er_worker *w = r->worker;
    bool can = !r->under_way && !er_timer_is_on(&r->retry) && er_link_is_up(&w->link);
    bool any = r->pong || !STAILQ_EMPTY(&r->waiting) || !TAILQ_EMPTY(&r->samples);
    if (!r->urgent || !any || !can) {
        return;
    }
    if (!er_conn_is_open(&r->conn)) {
        struct er_err err = {0};
        if (er_conn_open(&r->conn, w->socket_path, &err) != 0) {
            fail(r, err.text);
            return;
        }
    }
    send_report(r);
}

void
er_report_disconnect(struct er_report *r)
{
    er_conn_close(&r->conn);
    er_buf_clear(&r->answer);
    er_timer_stop(&r->worker->timers, &r->retry);
    r->retry_for = 0;
    take_back(r);
    r->pong = false; /* the next link has pings of its own */
}

void
er_report_clear(struct er_report *r)
{
    er_report_disconnect(r);
    free_facts(r, &r->waiting);
    while (!TAILQ_EMPTY(&r->samples)) {
        er_report_forget_sample(r, TAILQ_FIRST(&r->samples));
    }
    er_timer_stop(&r->worker->timers, &r->hold);
    r->urgent = false;
    r->one_by_one = false;
}

void
er_report_init(struct er_report *r, struct er_worker *w)
{
    static const struct er_conn_events events = {on_body, on_answer, on_gone};
    *r = (struct er_report){.worker = w};
    STAILQ_INIT(&r->waiting);
    STAILQ_INIT(&r->sent);
    TAILQ_INIT(&r->samples);
    er_conn_init(&r->conn, &w->watches, &events);
    er_buf_init(&r->answer, ANSWER_MAX);
}

void
er_report_fini(struct er_report *r)
{
    er_report_clear(r);
    er_buf_fini(&r->answer);
}
