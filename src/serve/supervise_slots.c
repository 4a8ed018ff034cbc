/* SPDX-License-Identifier: MIT */
/* What a worker of another version, which ends with its last task, leaves to the new one:
 * its tasks keep their slots, so that `concurrency` holds over both. A fact may be the
 * end of such a task -> the slots are counted again, until no old worker is left.
 *
 * When old ones hold all slots, the new one has none, and waits. */
#include "base/buf.h"
#include "serve/supervise_priv.h"

struct slots {
    const struct er_supervisor *v;
    int n;
};

bool
er_supervise_has_old(const struct er_supervisor *v)
{
    for (const struct er_guard *g = v->guards; g; g = g->next) {
        if (g->old) {
            return true;
        }
    }
    return false;
}

static void
add_old_load(void *ctx, const struct er_session_view *view)
{
    struct slots *old = ctx;
    const struct er_guard *g = er_guard_find(old->v, view->id);
    if (g && g->old) {
        old->n += (int)view->n_runs;
    }
}

int
er_supervise_slots_left(const struct er_supervisor *v)
{
    struct slots old = {.v = v};
    er_engine_sessions(v->api->engine, add_old_load, &old);
    int left = v->api->config.concurrency - old.n;
    return left > 0 ? left : 0;
}

static void
set_slots(void *ctx, const struct er_session_view *view)
{
    const struct slots *left = ctx;
    const struct er_guard *g = er_guard_find(left->v, view->id);
    if (g && !g->old && !g->host) {
        er_engine_set_slots(left->v->api->engine, view->id, left->n);
    }
}

static void
on_later(uv_timer_t *t)
{
    struct er_supervisor *v = t->data;
    struct er_buf b;
    if (!v->sub) {
        return;
    }
    er_buf_init(&b, 0);
    er_sub_pull(v->sub, &b, (size_t)64 << 10);
    er_buf_fini(&b);
    if (er_supervise_has_old(v)) {
        er_supervisor_set_slots(v);
    } else {
        er_engine_unsubscribe(v->sub);
        v->sub = NULL;
    }
}

/* Some fact: perhaps an old worker's task has ended. What follows from it in the engine
 * comes first. */
static void
on_fact(void *ctx)
{
    struct er_supervisor *v = ctx;
    (void)uv_timer_start(&v->later, on_later, 0, 0);
}

void
er_supervisor_set_slots(struct er_supervisor *v)
{
    struct slots left = {.v = v, .n = er_supervise_slots_left(v)};
    er_engine_sessions(v->api->engine, set_slots, &left);
    if (er_supervise_has_old(v) && !v->sub) {
        v->sub = er_engine_subscribe(v->api->engine, &(struct er_sub_filter){0}, -1,
                                     on_fact, v);
    } else if (!er_supervise_has_old(v) && v->sub) {
        on_fact(v);
    }
}
