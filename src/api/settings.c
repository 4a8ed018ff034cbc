/* SPDX-License-Identifier: MIT */
/* PUT: read what is there (reader's thread), merge the body into it, write (store's
 * thread), tell the engine, answer with what holds now. DELETE: write, tell, 204. A
 * failure at any step is answered with its problem and ends the job: the next in the
 * lane is started in every case. When the client is gone the change happens all the
 * same. */
#include "api/settings.h"
#include "api/hint.h"

#include <string.h>

#include "api/why.h"
#include "base/heap.h"
#include "base/mem.h"
#include "model/name.h"
#include "wire/type_json.h"

/* ---- the way of a change ---- */

static void
end_setting(struct er_setting *s)
{
    struct er_call *call = s->call;
    er_serial_next(&call->api->settings);
    er_arena_free(&s->q.arena);
    json_decref(s->body);
    er_free(s);
    er_call_release(call);
}

static int
run_write(struct er_op *op, struct er_store *store, er_usec now)
{
    struct er_setting *s = ER_CONTAINER(op, struct er_setting, op);
    return s->body ? s->ops->put(s, store, now) : s->ops->remove(s, store, now);
}

static void
done_write(struct er_op *op, int rc)
{
    struct er_setting *s = ER_CONTAINER(op, struct er_setting, op);
    struct er_call *call = s->call;
    const char *kind = s->ops->kind;
    if (rc == ER_ESTATE) {
        struct er_buf hint;
        er_buf_init(&hint, 0);
        er_hint_add(call, ER_HINT_CANCEL_QUEUE, call->name, &hint);
        er_call_problem(call, rc, NULL,
                        "cannot remove %s '%.200s': it has tasks that are not finished "
                        "(%.300s ends them)",
                        kind, call->name, hint.data ? hint.data : "");
        er_buf_fini(&hint);
    } else if (rc == ER_ENOTFOUND) {
        er_call_problem(call, rc, NULL, "%s '%.200s' has no settings", kind, call->name);
    } else if (rc) {
        er_call_problem(call, rc, NULL, "%s '%.200s': %s", kind, call->name,
                        er_error_meaning(rc));
    } else {
        s->ops->changed(s, !s->body);
    }
    if (rc == 0 && s->body) {
        if (call->req && !call->answered) {
            s->ops->answer(call);
        }
    } else if (rc == 0) {
        struct er_buf none;
        er_buf_init(&none, 0);
        er_call_json(call, 204, &none);
    }
    end_setting(s);
}

static void
run_read(struct er_query *q, struct er_store_reader *r)
{
    struct er_setting *s = ER_CONTAINER(q, struct er_setting, q);
    q->rc = s->ops->read(s, r);
}

static void
done_read(struct er_query *q)
{
    struct er_setting *s = ER_CONTAINER(q, struct er_setting, q);
    if (q->rc) {
        er_call_problem(s->call, q->rc, NULL, "cannot read the settings: %s",
                        er_error_meaning(q->rc));
        end_setting(s);
    } else if (s->body && !s->ops->merge(s, s->body)) {
        end_setting(s);
    } else {
        er_engine_post(s->call->api->engine, &s->op);
    }
}

static void
start_setting(struct er_serial_job *job)
{
    struct er_setting *s = ER_CONTAINER(job, struct er_setting, job);
    er_engine_query(s->call->api->engine, &s->q);
}

static void
post(struct er_call *call, const struct er_setting_ops *ops, json_t *body)
{
    struct er_setting *s = er_xzalloc(sizeof *s);
    s->job.start = start_setting;
    s->q.run = run_read;
    s->q.done = done_read;
    s->op.run = run_write;
    s->op.done = done_write;
    s->call = call;
    s->ops = ops;
    s->body = body;
    er_call_hold(call);
    er_serial_post(&call->api->settings, &s->job);
}

/* What is made here can be named by tasks. */
static bool
check_name(struct er_call *call, const char *kind)
{
    const char *why = er_name_refusal(call->name);
    if (why) {
        er_call_problem(call, ER_EINVALID, "name", "the name of a %s %s", kind, why);
    }
    return !why;
}

void
er_setting_put(struct er_call *call, const struct er_setting_ops *ops,
               const char *const *members, size_t n_members)
{
    json_t *o = er_call_object(call);
    if (o && er_call_known(call, o, members, n_members) && check_name(call, ops->kind)) {
        post(call, ops, o);
    } else {
        json_decref(o);
    }
}

void
er_setting_remove(struct er_call *call, const struct er_setting_ops *ops)
{
    post(call, ops, NULL);
}

/* ---- members ---- */

bool
er_setting_number(struct er_call *call, const json_t *o, const char *name, int64_t *out)
{
    const json_t *v = json_object_get(o, name);
    int64_t n = json_integer_value(v);
    if (v && !json_is_null(v) && (!json_is_integer(v) || n < 0 || n > INT32_MAX)) {
        er_call_problem(call, ER_EINVALID, name,
                        "%s is not a whole number from 0 to %d, nor null (no limit)",
                        name, INT32_MAX);
        return false;
    }
    *out = v ? n : *out;
    return true;
}

bool
er_setting_flag(struct er_call *call, const json_t *o, const char *name, bool *out)
{
    const json_t *v = json_object_get(o, name);
    if (v && !json_is_boolean(v)) {
        er_call_problem(call, ER_EINVALID, name, "%s is not true or false", name);
        return false;
    }
    *out = v ? json_is_true(v) : *out;
    return true;
}

bool
er_setting_rates(struct er_call *call, const json_t *o, struct er_rate out[ER_MAX_RATES],
                 size_t *out_n)
{
    const json_t *v = json_object_get(o, "rates");
    struct er_err err;
    if (!v) {
        return true;
    }
    if (json_is_null(v)) {
        *out_n = 0;
        return true;
    }
    int rc = er_rates_json_read(v, out, out_n, &err);
    if (rc) {
        er_call_problem(call, rc, "rates", "%s", err.text);
    }
    return rc == 0;
}

/* ---- the live view ---- */

void
er_setting_add_moment(struct er_buf *b, er_usec at)
{
    char text[ER_RFC3339_SIZE];
    if (at == ER_NEVER) {
        er_buf_add_str(b, "null");
        return;
    }
    er_time_format(at, text);
    er_buf_addf(b, "\"%s\"", text);
}

void
er_setting_add_gate(struct er_buf *b, struct er_engine *e, enum er_gate_kind kind,
                    const char *name, int concurrency, const struct er_rate *rates,
                    size_t n_rates)
{
    struct er_gate_view v = {.open_at = ER_NEVER};
    bool known = er_engine_gate(e, kind, name, &v);
    if (concurrency > 0) {
        er_buf_addf(b, ",\"concurrency\":%d,\"rates\":[", concurrency);
    } else {
        er_buf_add_str(b, ",\"concurrency\":null,\"rates\":[");
    }
    for (size_t i = 0; i < n_rates; i++) {
        struct er_buf one;
        er_buf_init(&one, 0);
        er_rates_json_add(&rates[i], 1, &one); /* [{...}] */
        er_buf_add_str(b, i ? "," : "");
        er_buf_add(b, one.data + 1, one.len - 3);
        er_buf_fini(&one);
        er_buf_init(&one, 0);
        er_rate_encode(&rates[i], &one);
        er_buf_addf(b, ",\"text\":\"%s\",\"level\":", one.data ? one.data : "");
        er_buf_fini(&one);
        if (known && i < v.n_rates) {
            er_buf_addf(b, "%.3f,\"open_at\":", v.level[i]);
        } else {
            er_buf_add_str(b, "null,\"open_at\":");
        }
        er_setting_add_moment(b, v.open_at);
        er_buf_add_char(b, '}');
    }
    er_buf_addf(b, "],\"running\":%d,\"open_at\":", v.running);
    er_setting_add_moment(b, v.open_at);
}

void
er_setting_add_waiters(struct er_buf *b, const struct er_call *call,
                       const struct er_waiters *w)
{
    er_buf_addf(b, ",\"waiting\":%lld,\"waiters\":[", (long long)w->n);
    for (size_t i = 0; i < w->n_first; i++) {
        const struct er_task *t = &w->first[i];
        struct er_buf why;
        er_buf_init(&why, 0);
        er_usec until = er_why(call, t, NULL, &why);
        er_buf_addf(b, "%s{\"id\":%lld,\"name\":", i ? "," : "", (long long)t->id);
        er_buf_add_json_str(b, t->name);
        er_buf_add_str(b, ",\"waiting_for\":");
        er_buf_add_json_str(b, why.data ? why.data : "");
        er_buf_add_str(b, ",\"until\":");
        er_setting_add_moment(b, until);
        er_buf_add_char(b, '}');
        er_buf_fini(&why);
    }
    er_buf_add_char(b, ']');
}
