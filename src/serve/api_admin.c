/* SPDX-License-Identifier: MIT */
/* Queues, types, stats, health, metrics, checks, and the end. */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/suggest.h"
#include "serve/server.h"

/* ---- counters, as stats and metrics and queues need them ---- */

struct count_query {
    struct er_query q;
    struct er_call *call;
    struct er_counter *counters;
    size_t n;
    struct er_queue *queues;
    size_t n_queues;
    void (*answer)(struct count_query *cq, struct er_buf *b);
    const char *type; /* of the answer */
};

static void
run_count(struct er_query *q, struct er_store_reader *r)
{
    struct count_query *cq = (struct count_query *)(void *)q;
    q->rc = er_store_counters(r, &q->arena, &cq->counters, &cq->n);
    if (q->rc == 0) {
        q->rc = er_store_queues(r, &q->arena, &cq->queues, &cq->n_queues);
    }
}

static void
done_count(struct er_query *q)
{
    struct count_query *cq = (struct count_query *)(void *)q;
    struct er_buf b;
    er_buf_init(&b, 0);
    if (q->rc) {
        er_call_problem(cq->call, q->rc, NULL, "cannot read the counters: %s",
                        er_error_meaning(q->rc));
    } else if (cq->call->req && !cq->call->answered) {
        cq->answer(cq, &b);
        if (!cq->call->answered) {
            cq->call->answered = true;
            er_http_reply(cq->call->req, 200, cq->type, &b);
        }
    }
    er_buf_fini(&b);
    er_call_release(cq->call);
    er_arena_free(&q->arena);
    er_free(cq);
}

static void
query_counts(struct er_call *call, const char *type,
             void (*answer)(struct count_query *cq, struct er_buf *b))
{
    struct count_query *cq = er_xzalloc(sizeof *cq);
    cq->q.run = run_count;
    cq->q.done = done_count;
    cq->call = call;
    cq->answer = answer;
    cq->type = type;
    er_call_hold(call);
    er_engine_query(call->server->engine, &cq->q);
}

static void
add_states(struct er_buf *b, const int64_t *n)
{
    for (int st = 0; st < ER_TASK_STATES; st++) {
        er_buf_addf(b, "%s\"%s\":%lld", st ? "," : "{",
                    er_task_state_word((enum er_task_state)st), (long long)n[st]);
    }
    er_buf_add_char(b, '}');
}

static void
add_sum(struct er_buf *b, const struct count_query *cq)
{
    int64_t sum[ER_TASK_STATES] = {0};
    for (size_t i = 0; i < cq->n; i++) {
        for (int st = 0; st < ER_TASK_STATES; st++) {
            sum[st] += cq->counters[i].n[st];
        }
    }
    add_states(b, sum);
}

/* ---- queues ---- */

static const struct er_queue *
find_settings(const struct count_query *cq, const char *name)
{
    for (size_t i = 0; i < cq->n_queues; i++) {
        if (strcmp(cq->queues[i].name, name) == 0) {
            return &cq->queues[i];
        }
    }
    return NULL;
}

static const struct er_counter *
find_counter(const struct count_query *cq, const char *name)
{
    for (size_t i = 0; i < cq->n; i++) {
        if (strcmp(cq->counters[i].queue, name) == 0) {
            return &cq->counters[i];
        }
    }
    return NULL;
}

static void
add_queue(struct er_buf *b, const struct count_query *cq, const char *name)
{
    static const int64_t none[ER_TASK_STATES];
    const struct er_queue *q = find_settings(cq, name);
    const struct er_counter *c = find_counter(cq, name);
    er_buf_add_str(b, "{\"name\":");
    er_buf_add_json_str(b, name);
    if (q && q->concurrency > 0) {
        er_buf_addf(b, ",\"concurrency\":%d", q->concurrency);
    } else {
        er_buf_add_str(b, ",\"concurrency\":null");
    }
    if (q && q->size > 0) {
        er_buf_addf(b, ",\"size\":%lld", (long long)q->size);
    } else {
        er_buf_add_str(b, ",\"size\":null");
    }
    er_buf_addf(b, ",\"paused\":%s,\"counts\":", q && q->paused ? "true" : "false");
    add_states(b, c ? c->n : none);
    er_buf_add_char(b, '}');
}

static void
answer_queues(struct count_query *cq, struct er_buf *b)
{
    const char *sep = "";
    er_buf_add_str(b, "{\"queues\":[");
    if (!find_counter(cq, "default") && !find_settings(cq, "default")) {
        add_queue(b, cq, "default");
        sep = ",";
    }
    for (size_t i = 0; i < cq->n; i++) {
        er_buf_add_str(b, sep);
        add_queue(b, cq, cq->counters[i].queue);
        sep = ",";
    }
    for (size_t i = 0; i < cq->n_queues; i++) {
        if (!find_counter(cq, cq->queues[i].name)) {
            er_buf_add_str(b, sep);
            add_queue(b, cq, cq->queues[i].name);
            sep = ",";
        }
    }
    er_buf_add_str(b, "]}");
}

void
er_api_queues(struct er_call *call)
{
    query_counts(call, "application/json", answer_queues);
}

static void
answer_queue(struct count_query *cq, struct er_buf *b)
{
    const char *name = cq->call->name;
    if (!find_settings(cq, name) && !find_counter(cq, name) &&
        strcmp(name, "default") != 0) {
        er_call_problem(cq->call, ER_ENOTFOUND, NULL, "there is no queue '%.200s'", name);
        return;
    }
    add_queue(b, cq, name);
}

void
er_api_queue_get(struct er_call *call)
{
    query_counts(call, "application/json", answer_queue);
}

struct queue_op {
    struct er_op op;
    struct er_call *call;
    struct er_queue queue;
    bool remove;
};

static int
run_queue(struct er_op *op, struct er_store *s, er_usec now)
{
    struct queue_op *q = (struct queue_op *)(void *)op;
    return q->remove ? er_store_queue_remove(s, now, q->queue.name)
                     : er_store_queue_put(s, now, &q->queue);
}

static void
done_queue(struct er_op *op, int rc)
{
    struct queue_op *q = (struct queue_op *)(void *)op;
    struct er_call *call = q->call;
    struct er_engine *e = call->server->engine;
    if (rc == ER_ESTATE) {
        er_call_problem(call, rc, NULL, "queue '%.200s' has tasks that are not finished",
                        q->queue.name);
    } else if (rc) {
        er_call_problem(call, rc, NULL, "queue '%.200s': %s", q->queue.name,
                        er_error_meaning(rc));
    } else if (q->remove) {
        er_engine_queue_removed(e, q->queue.name);
        struct er_buf none;
        er_buf_init(&none, 0);
        er_call_json(call, 204, &none);
    } else {
        er_engine_queue_changed(e, &q->queue);
        if (call->req) {
            query_counts(call, "application/json", answer_queue);
        }
    }
    er_call_release(call);
    er_free(q);
}

static void
post_queue(struct er_call *call, const struct er_queue *queue, bool remove)
{
    struct queue_op *q = er_xzalloc(sizeof *q);
    q->op.run = run_queue;
    q->op.done = done_queue;
    q->call = call;
    q->queue = *queue;
    q->queue.name = call->name;
    q->remove = remove;
    er_call_hold(call);
    er_engine_post(call->server->engine, &q->op);
}

/* What a PUT leaves out stays as it is: the settings are read first. */
struct put_state {
    bool has_concurrency, has_size, has_paused;
    struct er_queue queue;
};

static void
merge_queue(struct count_query *cq, struct er_buf *b)
{
    (void)b;
    struct put_state *p = cq->call->state;
    const struct er_queue *was = find_settings(cq, cq->call->name);
    struct er_queue q = p->queue;
    if (was && !p->has_concurrency) {
        q.concurrency = was->concurrency;
    }
    if (was && !p->has_size) {
        q.size = was->size;
    }
    if (was && !p->has_paused) {
        q.paused = was->paused;
    }
    post_queue(cq->call, &q, false);
}

static void
done_merge(struct er_query *query)
{
    struct count_query *cq = (struct count_query *)(void *)query;
    struct er_buf none;
    er_buf_init(&none, 0);
    if (query->rc) {
        er_call_problem(cq->call, query->rc, NULL, "cannot read the queues: %s",
                        er_error_meaning(query->rc));
    } else {
        merge_queue(cq, &none);
    }
    er_call_release(cq->call);
    er_arena_free(&query->arena);
    er_free(cq);
}

static void
free_put(struct er_call *call)
{
    er_free(call->state);
}

static bool
put_number(struct er_call *call, const json_t *o, const char *name, bool *has,
           int64_t *out)
{
    const json_t *v = json_object_get(o, name);
    *has = v != NULL;
    *out = json_integer_value(v);
    if (v && !json_is_null(v) && (!json_is_integer(v) || *out < 0 || *out > INT32_MAX)) {
        er_call_problem(call, ER_EINVALID, name,
                        "%s is not a number from 0, nor null (no limit)", name);
        return false;
    }
    return true;
}

/* A queue that is made here can be named by tasks. */
static bool
check_name(struct er_call *call)
{
    bool ok = strlen(call->name) <= ER_MAX_NAME;
    for (const char *p = call->name; *p && ok; p++) {
        ok = (unsigned char)*p >= 0x20 && *p != 0x7f;
    }
    if (!ok) {
        er_call_problem(call, ER_EINVALID, NULL,
                        "the name of a queue has at most %d bytes and no "
                        "control characters",
                        ER_MAX_NAME);
    }
    return ok;
}

void
er_api_queue_put(struct er_call *call)
{
    static const char *const known[] = {"concurrency", "size", "paused"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, known, 3)) {
        json_decref(o);
        return;
    }
    const json_t *paused = json_object_get(o, "paused");
    struct put_state *p = er_xzalloc(sizeof *p);
    int64_t concurrency, size;
    call->state = p;
    call->free_state = free_put;
    bool ok = check_name(call) &&
              put_number(call, o, "concurrency", &p->has_concurrency, &concurrency) &&
              put_number(call, o, "size", &p->has_size, &size);
    if (ok && paused && !json_is_boolean(paused)) {
        er_call_problem(call, ER_EINVALID, "paused", "paused is true or false");
        ok = false;
    }
    if (ok) {
        p->has_paused = paused != NULL;
        p->queue = (struct er_queue){.concurrency = (int)concurrency,
                                     .size = size,
                                     .paused = json_is_true(paused)};
        struct count_query *cq = er_xzalloc(sizeof *cq);
        cq->q.run = run_count;
        cq->q.done = done_merge;
        cq->call = call;
        er_call_hold(call);
        er_engine_query(call->server->engine, &cq->q);
    }
    json_decref(o);
}

void
er_api_queue_delete(struct er_call *call)
{
    post_queue(call, &(struct er_queue){0}, true);
}

/* ---- types ---- */

static const char shell_type[] =
    "{\"name\":\"shell\",\"description\":\"runs a command\",\"parameters\":{\"$schema\":"
    "\"https://json-schema.org/draft/2020-12/"
    "schema\",\"type\":\"object\",\"properties\":{"
    "\"argv\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1},"
    "\"command\":{\"type\":\"string\",\"minLength\":1},\"stdin\":{\"type\":\"string\"},"
    "\"stdin_base64\":{\"type\":\"string\"},\"stdin_file\":{\"type\":\"string\"},"
    "\"input\":{\"type\":\"boolean\"}},\"oneOf\":[{\"required\":[\"argv\"]},"
    "{\"required\":[\"command\"]}],\"additionalProperties\":false},"
    "\"example\":{\"argv\":[\"make\",\"-j8\"]}}";

void
er_api_types(struct er_call *call)
{
    struct er_buf b;
    static const char *const names[] = {"shell"};
    if (call->name && strcmp(call->name, "shell") != 0) {
        struct er_err err;
        int rc = er_suggest_fail(&err, ER_ENOTFOUND, "type", call->name, names, 1);
        er_call_problem(call, rc, NULL, "%s", err.text);
        return;
    }
    er_buf_init(&b, 0);
    er_buf_addf(&b, call->name ? "%s" : "{\"types\":[%s]}", shell_type);
    er_call_json(call, 200, &b);
}

/* ---- stats ---- */

struct views {
    struct er_buf *b;
    int n;
};

static void
add_worker(void *ctx, const struct er_session_view *v)
{
    struct views *vs = ctx;
    er_buf_addf(vs->b, "%s{\"worker\":", vs->n++ ? "," : "");
    er_buf_add_json_str(vs->b, v->worker);
    er_buf_addf(
        vs->b, ",\"pid\":%d,\"session\":%lld,\"slots\":%d,\"connected\":%s,\"running\":[",
        v->pid, (long long)v->id, v->slots, v->connected ? "true" : "false");
    for (size_t i = 0; i < v->n_running; i++) {
        er_buf_addf(vs->b, "%s%lld", i ? "," : "", (long long)v->running[i]);
    }
    er_buf_add_str(vs->b, "]}");
}

static void
answer_stats(struct count_query *cq, struct er_buf *b)
{
    struct er_server *s = cq->call->server;
    struct er_engine_stats st;
    struct views vs = {b, 0};
    int64_t restarts;
    bool waiting;
    er_engine_stats(s->engine, &st);
    er_supervisor_stats(s->supervisor, &restarts, &waiting);
    er_buf_addf(
        b, "{\"daemon\":{\"pid\":%d,\"version\":\"%s\",\"uptime_s\":%.3f,\"socket\":",
        (int)getpid(), ER_VERSION,
        (double)(er_clock_wall(er_clock_system()) - s->started_at) / 1e6);
    er_buf_add_json_str(b, s->places->socket);
    er_buf_add_str(b, ",\"store\":");
    er_buf_add_json_str(b, s->places->store);
    er_buf_addf(b, ",\"concurrency\":%d},\"workers\":[", s->config.concurrency);
    er_engine_sessions(s->engine, add_worker, &vs);
    er_buf_add_str(b, "],\"counts\":");
    add_sum(b, cq);
    er_buf_add_str(b, ",\"queues\":{");
    for (size_t i = 0; i < cq->n; i++) {
        er_buf_add_str(b, i ? "," : "");
        er_buf_add_json_str(b, cq->counters[i].queue);
        er_buf_add_char(b, ':');
        add_states(b, cq->counters[i].n);
    }
    er_buf_addf(b,
                "},\"events\":{\"last\":%lld,\"published\":%lld,\"subscribers\":%zu},"
                "\"store\":{\"commits\":%lld,\"commit_failures\":%lld,\"refuses\":%s},"
                "\"attempts_finished\":%lld,\"worker_restarts\":%lld}",
                (long long)er_engine_last_seq(s->engine), (long long)st.facts_published,
                st.subscribers, (long long)st.commits, (long long)st.commit_failures,
                st.sick ? "true" : "false", (long long)st.finished, (long long)restarts);
}

void
er_api_stats(struct er_call *call)
{
    query_counts(call, "application/json", answer_stats);
}

/* ---- metrics: the text exposition format of Prometheus, version 0.0.4 ---- */

static void
add_metric(struct er_buf *b, const char *name, const char *kind, const char *help,
           int64_t v)
{
    er_buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n%s %lld\n", name, help, name, kind, name,
                (long long)v);
}

static void
answer_metrics(struct count_query *cq, struct er_buf *b)
{
    struct er_server *s = cq->call->server;
    struct er_engine_stats st;
    int64_t restarts;
    bool waiting;
    er_engine_stats(s->engine, &st);
    er_supervisor_stats(s->supervisor, &restarts, &waiting);
    er_buf_add_str(
        b, "# HELP errand_tasks Tasks by queue and state.\n# TYPE errand_tasks gauge\n");
    for (size_t i = 0; i < cq->n; i++) {
        for (int k = 0; k < ER_TASK_STATES; k++) {
            er_buf_add_str(b, "errand_tasks{queue=");
            er_buf_add_json_str(b, cq->counters[i].queue); /* the same escapes */
            er_buf_addf(b, ",state=\"%s\"} %lld\n",
                        er_task_state_word((enum er_task_state)k),
                        (long long)cq->counters[i].n[k]);
        }
    }
    add_metric(b, "errand_facts_published_total", "counter",
               "Facts published since the start.", st.facts_published);
    add_metric(b, "errand_store_commits_total", "counter", "Transactions committed.",
               st.commits);
    add_metric(b, "errand_store_failures_total", "counter", "Transactions that failed.",
               st.commit_failures);
    add_metric(b, "errand_store_refuses", "gauge", "1 while the store refuses writes.",
               st.sick);
    add_metric(b, "errand_claims_total", "counter", "Tasks given to workers.", st.claims);
    add_metric(b, "errand_attempts_finished_total", "counter", "Attempts that ended.",
               st.finished);
    add_metric(b, "errand_attempts_running", "gauge", "Attempts under way.",
               (int64_t)st.running);
    add_metric(b, "errand_subscribers", "gauge", "Open event streams.",
               (int64_t)st.subscribers);
    add_metric(b, "errand_sessions", "gauge", "Sessions of workers.",
               (int64_t)st.sessions);
    add_metric(b, "errand_worker_restarts_total", "counter", "Workers started again.",
               restarts);
}

void
er_api_metrics(struct er_call *call)
{
    query_counts(call, "text/plain; version=0.0.4", answer_metrics);
}

/* ---- health ---- */

void
er_api_health(struct er_call *call)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"status\":\"ok\",\"version\":\"%s\"}", ER_VERSION);
    er_call_json(call, 200, &b);
}

void
er_api_ready(struct er_call *call)
{
    struct er_engine_stats st;
    struct er_buf b;
    er_engine_stats(call->server->engine, &st);
    if (call->server->stopping) {
        er_call_problem(call, ER_ECLOSED, NULL, "the daemon is shutting down");
    } else if (st.sick) {
        er_call_problem(call, ER_EIO, NULL, "the store refuses writes: %s",
                        er_error_meaning(st.sick_code));
    } else if (!st.has_worker) {
        er_call_problem(call, ER_EBUSY, NULL, "no worker is connected");
    } else {
        er_buf_init(&b, 0);
        er_buf_add_str(&b, "{\"status\":\"ready\"}");
        er_call_json(call, 200, &b);
    }
}

/* ---- doctor ---- */

struct doctor_query {
    struct er_query q;
    struct er_call *call;
    struct er_err store;
    int store_rc;
    struct statvfs disk;
    int disk_rc;
};

static void
run_doctor(struct er_query *q, struct er_store_reader *r)
{
    struct doctor_query *d = (struct doctor_query *)(void *)q;
    d->store_rc = er_store_check(r, &d->store);
    d->disk_rc = statvfs(d->call->server->places->state_dir, &d->disk);
}

static void
add_check(struct er_buf *b, const char *name, bool ok, const char *detail,
          const char *advice)
{
    er_buf_add_str(b, b->data[b->len - 1] == '[' ? "{\"name\":" : ",{\"name\":");
    er_buf_add_json_str(b, name);
    er_buf_addf(b, ",\"ok\":%s,\"detail\":", ok ? "true" : "false");
    er_buf_add_json_str(b, detail);
    er_buf_add_str(b, ",\"advice\":");
    er_buf_add_json_str(b, ok ? NULL : advice);
    er_buf_add_char(b, '}');
}

static void
done_doctor(struct er_query *q)
{
    struct doctor_query *d = (struct doctor_query *)(void *)q;
    struct er_server *s = d->call->server;
    struct er_engine_stats st;
    struct er_buf b;
    char text[600];
    er_engine_stats(s->engine, &st);
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"checks\":[");
    add_check(&b, "store", d->store_rc == 0, d->store_rc ? d->store.text : "whole",
              "stop the daemon, keep a copy of the store, restore the last backup");
    add_check(&b, "store-writes", !st.sick,
              st.sick ? er_error_meaning(st.sick_code) : "accepted",
              "free disk space or mend the disk; the daemon tries again every second");
    uint64_t left = d->disk_rc ? 0 : (uint64_t)d->disk.f_bavail * d->disk.f_frsize;
    (void)snprintf(text, sizeof text, "%llu MiB free for %s",
                   (unsigned long long)(left >> 20), s->places->state_dir);
    add_check(&b, "disk-space", left >= (64u << 20), text,
              "free disk space: errand clean removes "
              "finished tasks and their output");
    (void)snprintf(text, sizeof text, "%s",
                   st.has_worker ? "connected" : "none is connected");
    add_check(&b, "worker", st.has_worker, text,
              "look into the daemon's log for why the worker "
              "does not start");
    er_buf_add_str(&b, "]}");
    er_call_json(d->call, 200, &b);
    er_call_release(d->call);
    er_arena_free(&q->arena);
    er_free(d);
}

void
er_api_doctor(struct er_call *call)
{
    struct doctor_query *d = er_xzalloc(sizeof *d);
    d->q.run = run_doctor;
    d->q.done = done_doctor;
    d->call = call;
    er_call_hold(call);
    er_engine_query(call->server->engine, &d->q);
}

/* ---- index and end ---- */

void
er_api_index(struct er_call *call)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"routes\":[");
    for (size_t i = 0; i < er_routes_n; i++) {
        er_buf_addf(&b, "%s{\"method\":\"%s\",\"path\":\"%s\",\"summary\":", i ? "," : "",
                    er_routes[i].method, er_routes[i].pattern);
        er_buf_add_json_str(&b, er_routes[i].summary);
        er_buf_add_char(&b, '}');
    }
    er_buf_add_str(&b, "]}");
    er_call_json(call, 200, &b);
}

void
er_api_shutdown(struct er_call *call)
{
    static const char *const known[] = {"now"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, known, 1)) {
        json_decref(o);
        return;
    }
    const json_t *v = json_object_get(o, "now");
    bool now = json_is_true(v), bad = v && !json_is_boolean(v);
    json_decref(o);
    if (bad) {
        er_call_problem(call, ER_EINVALID, "now", "now is not true or false");
        return;
    }
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"pid\":%d}", (int)getpid());
    er_call_json(call, 200, &b);
    call->server->on_shutdown(call->server, now);
}
