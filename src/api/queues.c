/* SPDX-License-Identifier: MIT */
/* Queues: settings, counts and the live view; pause and resume of one or of
 * everything. */
#include <string.h>

#include "api/counts.h"
#include "api/settings.h"
#include "api/tasks.h"
#include "base/heap.h"
#include "base/mem.h"

/* ---- reading ---- */

static const struct er_queue *
find_settings(const struct er_counts *c, const char *name)
{
    for (size_t i = 0; i < c->n_queues; i++) {
        if (strcmp(c->queues[i].name, name) == 0) {
            return &c->queues[i];
        }
    }
    return NULL;
}

static const struct er_counter *
find_counter(const struct er_counts *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->counters[i].queue, name) == 0) {
            return &c->counters[i];
        }
    }
    return NULL;
}

static void
add_queue(struct er_buf *b, const struct er_counts *c, const char *name)
{
    static const int64_t none[ER_TASK_STATES];
    static const struct er_queue plain;
    const struct er_queue *q = find_settings(c, name);
    const struct er_counter *n = find_counter(c, name);
    q = q ? q : &plain;
    er_buf_add_str(b, "{\"name\":");
    er_buf_add_json_str(b, name);
    if (q->size > 0) {
        er_buf_addf(b, ",\"size\":%lld", (long long)q->size);
    } else {
        er_buf_add_str(b, ",\"size\":null");
    }
    er_buf_addf(b, ",\"paused\":%s", q->paused ? "true" : "false");
    er_setting_add_gate(b, c->call->api->engine, ER_GATE_QUEUE, name, q->concurrency,
                        q->rates, q->n_rates);
    er_buf_add_str(b, ",\"counts\":");
    er_counts_add_states(b, n ? n->n : none);
    if (c->call->name) {
        er_setting_add_waiters(b, c->call, &c->waiters);
    }
    er_buf_add_char(b, '}');
}

static void
answer_queues(struct er_counts *c, struct er_buf *b)
{
    const char *sep = "";
    er_buf_add_str(b, "{\"queues\":[");
    if (!find_counter(c, "default") && !find_settings(c, "default")) {
        add_queue(b, c, "default");
        sep = ",";
    }
    for (size_t i = 0; i < c->n; i++) {
        er_buf_add_str(b, sep);
        add_queue(b, c, c->counters[i].queue);
        sep = ",";
    }
    for (size_t i = 0; i < c->n_queues; i++) {
        if (!find_counter(c, c->queues[i].name)) {
            er_buf_add_str(b, sep);
            add_queue(b, c, c->queues[i].name);
            sep = ",";
        }
    }
    er_buf_addf(b, "],\"all_paused\":%s}",
                er_engine_all_paused(c->call->api->engine) ? "true" : "false");
}

void
er_api_queues(struct er_call *call)
{
    er_counts_query(call, "application/json", answer_queues);
}

static void
answer_queue(struct er_counts *c, struct er_buf *b)
{
    const char *name = c->call->name;
    if (!find_settings(c, name) && !find_counter(c, name) &&
        strcmp(name, "default") != 0) {
        er_call_problem(c->call, ER_ENOTFOUND, NULL, "there is no queue '%.200s'", name);
        return;
    }
    add_queue(b, c, name);
}

void
er_api_queue_get(struct er_call *call)
{
    er_counts_query(call, "application/json", answer_queue);
}

/* ---- changing ---- */

static int
read_queue(struct er_setting *s, struct er_store_reader *r)
{
    struct er_queue *all;
    size_t n;
    int rc = er_store_queues(r, &s->q.arena, &all, &n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (strcmp(all[i].name, s->call->name) == 0) {
            s->queue = all[i];
        }
    }
    s->queue.name = s->call->name;
    return rc;
}

static bool
merge_queue(struct er_setting *s, const json_t *o)
{
    struct er_call *call = s->call;
    struct er_queue *q = &s->queue;
    int64_t concurrency = q->concurrency;
    bool ok = er_setting_number(call, o, "concurrency", &concurrency) &&
              er_setting_number(call, o, "size", &q->size) &&
              er_setting_flag(call, o, "paused", &q->paused) &&
              er_setting_rates(call, o, q->rates, &q->n_rates);
    q->concurrency = (int)concurrency;
    return ok;
}

static int
put_queue(struct er_setting *s, struct er_store *store, er_usec now)
{
    return er_store_queue_put(store, now, &s->queue);
}

static int
remove_queue(struct er_setting *s, struct er_store *store, er_usec now)
{
    return er_store_queue_remove(store, now, s->queue.name);
}

static void
queue_changed(struct er_setting *s, bool removed)
{
    struct er_engine *e = s->call->api->engine;
    if (removed) {
        er_engine_queue_removed(e, s->queue.name);
    } else {
        er_engine_queue_changed(e, &s->queue);
    }
}

static const struct er_setting_ops queue_ops = {
    "queue",      read_queue,    merge_queue,      put_queue,
    remove_queue, queue_changed, er_api_queue_get,
};

void
er_api_queue_put(struct er_call *call)
{
    static const char *const members[] = {"concurrency", "size", "paused", "rates"};
    er_setting_put(call, &queue_ops, members, 4);
}

void
er_api_queue_delete(struct er_call *call)
{
    er_setting_remove(call, &queue_ops);
}

/* ---- pause and resume ---- */

struct pause {
    struct er_serial_job job;
    struct er_pause_request request;
    struct er_call *call;
    char *queue;
};

static void
on_paused(struct er_pause_request *request, int rc)
{
    struct pause *p = request->ctx;
    struct er_call *call = p->call;
    if (rc) {
        er_call_problem(call, rc, NULL, "nothing was changed: %s", er_error_meaning(rc));
    } else {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_addf(&b, "{\"paused\":%s,\"told\":%zu}",
                    request->paused ? "true" : "false", request->n_told);
        er_call_json(call, 200, &b);
    }
    er_serial_next(&call->api->settings);
    er_free(p->queue);
    er_free(p);
    er_call_release(call);
}

static void
start_pause(struct er_serial_job *job)
{
    struct pause *p = ER_CONTAINER(job, struct pause, job);
    er_engine_pause(p->call->api->engine, &p->request);
}

/* Whether the body names a queue or all, and not both. */
static bool
check_body(struct er_call *call, const json_t *o, bool paused)
{
    static const char *const members[] = {"queue", "all", "free_slot"};
    bool all = false, free_slot = false;
    if (!er_call_known(call, o, members, paused ? 3 : 2) ||
        !er_call_check_text(call, o, "queue") || !er_setting_flag(call, o, "all", &all) ||
        !er_setting_flag(call, o, "free_slot", &free_slot)) {
        return false;
    }
    if (all == (json_object_get(o, "queue") != NULL)) {
        er_call_problem(call, ER_EINVALID, "queue",
                        "give either queue (a name) or all (true)");
        return false;
    }
    return true;
}

static void
pause_or_resume(struct er_call *call, bool paused)
{
    json_t *o = er_call_object(call);
    if (o && check_body(call, o, paused)) {
        const char *queue = json_string_value(json_object_get(o, "queue"));
        struct pause *p = er_xzalloc(sizeof *p);
        p->job.start = start_pause;
        p->call = call;
        p->queue = queue ? er_xstrdup(queue) : NULL;
        p->request.queue = p->queue;
        p->request.paused = paused;
        p->request.free_slot = json_is_true(json_object_get(o, "free_slot"));
        p->request.done = on_paused;
        p->request.ctx = p;
        er_call_hold(call);
        er_serial_post(&call->api->settings, &p->job);
    }
    json_decref(o);
}

void
er_api_pause(struct er_call *call)
{
    pause_or_resume(call, true);
}

void
er_api_resume(struct er_call *call)
{
    pause_or_resume(call, false);
}
