/* SPDX-License-Identifier: MIT */
/* Named cursors: where somebody who reads facts has got to, kept for it in the store. */
#include <string.h>

#include "api/api.h"
#include "base/heap.h"
#include "base/mem.h"
#include "model/name.h"

struct cursor {
    struct er_query q;
    struct er_op op;
    struct er_call *call;
    bool remove;
    int64_t seq;
};

static void
answer(struct cursor *c, int rc, int status)
{
    struct er_call *call = c->call;
    struct er_buf b;
    er_buf_init(&b, 0);
    if (rc == ER_ENOTFOUND) {
        er_call_problem(call, rc, NULL, "there is no cursor '%.200s'", call->name);
    } else if (rc) {
        er_call_problem(call, rc, NULL, "cursor '%.200s': %s", call->name,
                        er_error_meaning(rc));
    } else {
        if (status != 204) {
            er_buf_addf(&b, "{\"seq\":%lld}", (long long)c->seq);
        }
        er_call_json(call, status, &b);
    }
    er_buf_fini(&b);
    er_arena_free(&c->q.arena);
    er_free(c);
    er_call_release(call);
}

static struct cursor *
begin(struct er_call *call)
{
    struct cursor *c = er_xzalloc(sizeof *c);
    c->call = call;
    er_call_hold(call);
    return c;
}

static void
run_get(struct er_query *q, struct er_store_reader *r)
{
    struct cursor *c = ER_CONTAINER(q, struct cursor, q);
    q->rc = er_store_cursor(r, c->call->name, &c->seq);
}

static void
done_get(struct er_query *q)
{
    answer(ER_CONTAINER(q, struct cursor, q), q->rc, 200);
}

void
er_api_cursor_get(struct er_call *call)
{
    struct cursor *c = begin(call);
    c->q.run = run_get;
    c->q.done = done_get;
    er_engine_query(call->api->engine, &c->q);
}

static int
run_write(struct er_op *op, struct er_store *s, er_usec now)
{
    struct cursor *c = ER_CONTAINER(op, struct cursor, op);
    return c->remove ? er_store_cursor_remove(s, c->call->name)
                     : er_store_cursor_put(s, now, c->call->name, c->seq);
}

static void
done_write(struct er_op *op, int rc)
{
    struct cursor *c = ER_CONTAINER(op, struct cursor, op);
    answer(c, rc, c->remove ? 204 : 200);
}

static void
post(struct er_call *call, bool remove, int64_t seq)
{
    struct cursor *c = begin(call);
    c->op.run = run_write;
    c->op.done = done_write;
    c->remove = remove;
    c->seq = seq;
    er_engine_post(call->api->engine, &c->op);
}

static bool
check_name(struct er_call *call)
{
    const char *why = er_name_refusal(call->name);
    if (why) {
        er_call_problem(call, ER_EINVALID, "name", "the name of a cursor %s", why);
    }
    return !why;
}

void
er_api_cursor_put(struct er_call *call)
{
    static const char *const members[] = {"seq"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, members, 1) || !check_name(call)) {
        json_decref(o);
        return;
    }
    const json_t *v = json_object_get(o, "seq");
    int64_t seq = json_integer_value(v);
    bool ok = json_is_integer(v) && seq >= 0;
    json_decref(o);
    if (ok) {
        post(call, false, seq);
    } else {
        er_call_problem(call, ER_EINVALID, "seq",
                        "seq is not the number of an event (from 0)");
    }
}

void
er_api_cursor_delete(struct er_call *call)
{
    post(call, true, 0);
}
