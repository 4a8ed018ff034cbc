/* SPDX-License-Identifier: MIT */
/* Limit keys: what holds for all tasks that carry one, of whatever queue and type. */
#include <string.h>

#include "api/settings.h"
#include "base/heap.h"
#include "base/mem.h"

struct list {
    struct er_query q;
    struct er_call *call;
    struct er_limit *limits;
    size_t n;
    int64_t *waiting;          /* of each, in a list */
    struct er_waiters waiters; /* of the one that is asked for */
};

static void
add_limit(struct er_buf *b, const struct list *of, const struct er_limit *l)
{
    struct er_engine *e = of->call->api->engine;
    er_buf_add_str(b, "{\"key\":");
    er_buf_add_json_str(b, l->key);
    er_setting_add_gate(b, e, ER_GATE_KEY, l->key, l->concurrency, l->rates, l->n_rates);
    if (of->call->name) {
        er_setting_add_waiters(b, of->call, &of->waiters);
    } else {
        er_buf_addf(b, ",\"waiting\":%lld", (long long)of->waiting[l - of->limits]);
    }
    er_buf_add_char(b, '}');
}

static void
run_list(struct er_query *q, struct er_store_reader *r)
{
    struct list *l = ER_CONTAINER(q, struct list, q);
    q->rc = er_store_limits(r, &q->arena, &l->limits, &l->n);
    if (q->rc == 0 && l->call->name) {
        struct er_waiters_of of = {.limit_key = l->call->name};
        q->rc = er_store_waiters(r, &of, ER_WAITERS_SHOWN, &q->arena, &l->waiters);
    } else if (q->rc == 0) {
        l->waiting = er_arena_alloc(&q->arena, (l->n + 1) * sizeof *l->waiting);
        q->rc =
            l->waiting ? er_store_key_waiters(r, l->limits, l->n, l->waiting) : ER_ENOMEM;
    }
}

/* The settings of the key in the path; a key that tasks carry has none, which is all. */
static bool
answer_one(struct list *l, struct er_buf *b)
{
    struct er_engine *e = l->call->api->engine;
    const char *key = l->call->name;
    struct er_gate_view view;
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->limits[i].key, key) == 0) {
            add_limit(b, l, &l->limits[i]);
            return true;
        }
    }
    if (er_engine_gate(e, ER_GATE_KEY, key, &view)) {
        add_limit(b, l, &(struct er_limit){.key = key});
        return true;
    }
    er_call_problem(l->call, ER_ENOTFOUND, NULL, "there is no limit '%.200s'", key);
    return false;
}

static void
done_list(struct er_query *q)
{
    struct list *l = ER_CONTAINER(q, struct list, q);
    struct er_call *call = l->call;
    struct er_buf b;
    er_buf_init(&b, 0);
    if (q->rc) {
        er_call_problem(call, q->rc, NULL, "cannot read the limits: %s",
                        er_error_meaning(q->rc));
    } else if (call->name) {
        if (answer_one(l, &b)) {
            er_call_json(call, 200, &b);
        }
    } else {
        er_buf_add_str(&b, "{\"limits\":[");
        for (size_t i = 0; i < l->n; i++) {
            er_buf_add_str(&b, i ? "," : "");
            add_limit(&b, l, &l->limits[i]);
        }
        er_buf_add_str(&b, "]}");
        er_call_json(call, 200, &b);
    }
    er_buf_fini(&b);
    er_call_release(call);
    er_arena_free(&q->arena);
    er_free(l);
}

void
er_api_limits(struct er_call *call)
{
    struct list *l = er_xzalloc(sizeof *l);
    l->q.run = run_list;
    l->q.done = done_list;
    l->call = call;
    er_call_hold(call);
    er_engine_query(call->api->engine, &l->q);
}

/* ---- changing ---- */

static int
read_limit(struct er_setting *s, struct er_store_reader *r)
{
    struct er_limit *all;
    size_t n;
    int rc = er_store_limits(r, &s->q.arena, &all, &n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (strcmp(all[i].key, s->call->name) == 0) {
            s->limit = all[i];
        }
    }
    s->limit.key = s->call->name;
    return rc;
}

static bool
merge_limit(struct er_setting *s, const json_t *o)
{
    struct er_limit *l = &s->limit;
    int64_t concurrency = l->concurrency;
    bool ok = er_setting_number(s->call, o, "concurrency", &concurrency) &&
              er_setting_rates(s->call, o, l->rates, &l->n_rates);
    l->concurrency = (int)concurrency;
    return ok;
}

static int
put_limit(struct er_setting *s, struct er_store *store, er_usec now)
{
    return er_store_limit_put(store, now, &s->limit);
}

static int
remove_limit(struct er_setting *s, struct er_store *store, er_usec now)
{
    return er_store_limit_remove(store, now, s->limit.key);
}

static void
limit_changed(struct er_setting *s, bool removed)
{
    struct er_engine *e = s->call->api->engine;
    if (removed) {
        er_engine_limit_removed(e, s->limit.key);
    } else {
        er_engine_limit_changed(e, &s->limit);
    }
}

static const struct er_setting_ops limit_ops = {
    "limit",      read_limit,    merge_limit,   put_limit,
    remove_limit, limit_changed, er_api_limits,
};

void
er_api_limit_put(struct er_call *call)
{
    static const char *const members[] = {"concurrency", "rates"};
    er_setting_put(call, &limit_ops, members, 2);
}

void
er_api_limit_delete(struct er_call *call)
{
    er_setting_remove(call, &limit_ops);
}
