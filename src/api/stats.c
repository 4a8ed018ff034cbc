/* SPDX-License-Identifier: MIT */
/* The daemon as a whole: stats, metrics, health. */
#include <string.h>
#include <unistd.h>

#include "api/counts.h"
#include "api/settings.h"

/* ---- stats ---- */

struct views {
    struct er_api *api;
    struct er_buf *b;
    int n;
};

static void
add_worker(void *ctx, const struct er_session_view *v)
{
    struct views *vs = ctx;
    er_buf_addf(vs->b, "%s{\"worker\":", vs->n++ ? "," : "");
    er_buf_add_json_str(vs->b, v->worker);
    er_buf_add_str(vs->b, ",\"version\":");
    er_buf_add_json_str(vs->b, vs->api->keeper->version(vs->api->keeper, v->id));
    er_buf_addf(
        vs->b, ",\"pid\":%d,\"session\":%lld,\"slots\":%d,\"connected\":%s,\"silent_s\":",
        v->pid, (long long)v->id, v->slots, v->connected ? "true" : "false");
    if (v->silent_for > 0) {
        er_buf_addf(vs->b, "%.3f", (double)v->silent_for / 1e6);
    } else {
        er_buf_add_str(vs->b, "null");
    }
    er_buf_add_str(vs->b, ",\"running\":[");
    for (size_t i = 0; i < v->n_running; i++) {
        er_buf_addf(vs->b, "%s%lld", i ? "," : "", (long long)v->running[i]);
    }
    er_buf_add_str(vs->b, "]}");
}

/* The limit keys that have settings, with what runs under them. */
static void
add_limits(const struct er_counts *cq, struct er_buf *b)
{
    for (size_t i = 0; i < cq->n_limits; i++) {
        const struct er_limit *l = &cq->limits[i];
        er_buf_add_str(b, i ? ",{\"key\":" : "{\"key\":");
        er_buf_add_json_str(b, l->key);
        er_setting_add_gate(b, cq->call->api->engine, ER_GATE_KEY, l->key, l->concurrency,
                            l->rates, l->n_rates);
        er_buf_add_char(b, '}');
    }
}

static void
answer_stats(struct er_counts *cq, struct er_buf *b)
{
    struct er_api *s = cq->call->api;
    struct er_engine_stats st;
    struct views vs = {s, b, 0};
    int64_t restarts;
    bool waiting;
    er_engine_stats(s->engine, &st);
    s->keeper->stats(s->keeper, &restarts, &waiting);
    er_buf_addf(
        b, "{\"daemon\":{\"pid\":%d,\"version\":\"%s\",\"uptime_s\":%.3f,\"socket\":",
        (int)getpid(), ER_VERSION, (double)(er_api_now(s) - s->started_at) / 1e6);
    er_buf_add_json_str(b, s->places->socket);
    er_buf_add_str(b, ",\"store\":");
    er_buf_add_json_str(b, s->places->store);
    er_buf_addf(b, ",\"concurrency\":%d,\"draining\":%s,\"all_paused\":%s},\"workers\":[",
                s->config.concurrency, s->stopping ? "true" : "false",
                er_engine_all_paused(s->engine) ? "true" : "false");
    er_engine_sessions(s->engine, add_worker, &vs);
    er_buf_add_str(b, "],\"counts\":");
    er_counts_add_sum(b, cq->counters, cq->n);
    er_buf_add_str(b, ",\"queues\":{");
    for (size_t i = 0; i < cq->n; i++) {
        er_buf_add_str(b, i ? "," : "");
        er_buf_add_json_str(b, cq->counters[i].queue);
        er_buf_add_char(b, ':');
        er_counts_add_states(b, cq->counters[i].n);
    }
    er_buf_add_str(b, "},\"limits\":[");
    add_limits(cq, b);
    er_buf_addf(b,
                "],\"events\":{\"last\":%lld,\"published\":%lld,\"subscribers\":%zu},"
                "\"store\":{\"commits\":%lld,\"commit_failures\":%lld,\"refuses\":%s},"
                "\"attempts_running\":%zu,\"attempts_finished\":%lld,"
                "\"claims\":%lld,\"worker_restarts\":%lld}",
                (long long)er_engine_last_seq(s->engine), (long long)st.facts_published,
                st.subscribers, (long long)st.commits, (long long)st.commit_failures,
                st.sick ? "true" : "false", st.running, (long long)st.finished,
                (long long)st.claims, (long long)restarts);
}

void
er_api_stats(struct er_call *call)
{
    er_counts_query(call, "application/json", answer_stats);
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
answer_metrics(struct er_counts *cq, struct er_buf *b)
{
    struct er_api *s = cq->call->api;
    struct er_engine_stats st;
    int64_t restarts;
    bool waiting;
    er_engine_stats(s->engine, &st);
    s->keeper->stats(s->keeper, &restarts, &waiting);
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
    add_metric(b, "errand_all_paused", "gauge", "1 while everything is paused.",
               er_engine_all_paused(s->engine));
    add_metric(b, "errand_draining", "gauge", "1 while the daemon is ending.",
               s->stopping);
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
    er_counts_query(call, "text/plain; version=0.0.4", answer_metrics);
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

/* Inside a program one is started with the first command, and handlers need none. */
static bool
lacks_worker(const struct er_api *api, const struct er_engine_stats *st)
{
    return !st->has_worker && (api->on_shutdown || api->keeper->trouble(api->keeper));
}

void
er_api_ready(struct er_call *call)
{
    struct er_engine_stats st;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_engine_stats(call->api->engine, &st);
    if (call->api->stopping) {
        const char *words = call->api->closed_words;
        er_call_problem(call, ER_ECLOSED, NULL, "%s",
                        words ? words : "the daemon is draining");
    } else if (st.sick) {
        er_call_problem(call, ER_EIO, NULL, "the store refuses writes: %s",
                        er_error_meaning(st.sick_code));
    } else if (lacks_worker(call->api, &st)) {
        er_call_problem(call, ER_EBUSY, NULL, "no worker is connected");
    } else if (er_engine_silent(call->api->engine, 0, &b)) {
        er_call_problem(call, ER_EBUSY, NULL, "%s", b.data);
    } else if (er_engine_all_paused(call->api->engine)) {
        er_call_problem(call, ER_EBUSY, NULL,
                        "everything is paused (POST /v1/resume lets it go on)");
    } else {
        er_buf_add_str(&b, "{\"status\":\"ready\"}");
        er_call_json(call, 200, &b);
        return;
    }
    er_buf_fini(&b);
}
