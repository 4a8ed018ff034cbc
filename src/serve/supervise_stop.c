/* SPDX-License-Identifier: MIT */
/* The end of the local workers, in as much haste as is asked for (er_supervisor_stop):
 * they are told to drain -> their processes end (guard.c) -> the engine has put back what
 * they ran -> `done`.
 *
 * What has not ended in time is killed, and there is a little time to bury it; after that
 * `done` comes whatever is left, which the next start finds. With KEEP and NOW the time
 * is bounded, with DRAIN it is not. A host lives on; what it runs is waited for. */
#include <signal.h>

#include "base/log.h"
#include "serve/supervise_priv.h"

#define KEEP_MS 2000 /* for idle workers to go, when the others go on without us */
#define BURY_MS 2500 /* from the kill of a worker until its tasks are put back */

static void
stopped(struct er_supervisor *v)
{
    void (*done)(void *ctx) = v->stop_done;
    v->stop_done = NULL;
    if (done) {
        done(v->stop_ctx);
    }
}

/* ---- whether it has come ---- */

static bool
is_busy_host(const struct er_guard *g)
{
    return g->host && g->connected && g->v->how != ER_SHUTDOWN_KEEP &&
           er_guard_runs(g) > 0;
}

static bool
any_busy_host(const struct er_supervisor *v)
{
    for (const struct er_guard *g = v->guards; g; g = g->next) {
        if (is_busy_host(g)) {
            return true;
        }
    }
    return false;
}

/* Whether the end of somebody is waited for. */
static bool
is_awaited(const struct er_supervisor *v)
{
    for (const struct er_guard *g = v->guards; g; g = g->next) {
        if (!g->host && (g->ending || v->how != ER_SHUTDOWN_KEEP)) {
            return true;
        }
    }
    return v->child != 0 && !v->child_hello;
}

struct buried {
    const struct er_supervisor *v;
    int n;
};

static void
count_buried(void *ctx, const struct er_session_view *view)
{
    struct buried *b = ctx;
    b->n += er_guard_find(b->v, view->id) == NULL;
}

/* Sessions of dead workers that the engine still clears up after. */
static int
buried(const struct er_supervisor *v)
{
    struct buried b = {.v = v};
    er_engine_sessions(v->api->engine, count_buried, &b);
    return b.n;
}

static void
on_look(uv_timer_t *t)
{
    er_supervise_consider(t->data);
}

void
er_supervise_stop_look(struct er_supervisor *v)
{
    if (is_awaited(v)) {
        return;
    }
    if (buried(v) > 0 || any_busy_host(v)) {
        (void)uv_timer_start(&v->look, on_look, ER_SUPERVISE_LOOK_MS, 0);
    } else {
        stopped(v);
    }
}

/* ---- bringing it about ---- */

/* What has not ended in time is killed; then there is a little time to put back what it
 * ran. */
static void
on_stop_bound(uv_timer_t *t)
{
    struct er_supervisor *v = t->data;
    if (v->how != ER_SHUTDOWN_NOW || v->killed) {
        stopped(v);
        return;
    }
    v->killed = true;
    for (struct er_guard *g = v->guards; g; g = g->next) {
        if (g->host) {
            continue;
        }
        er_log(ER_LOG_WARN, "supervise", "worker pid %d does not end: killing it",
               g->pid);
        er_guard_kill(g);
    }
    er_birth_signal(v, SIGKILL);
    (void)uv_timer_start(t, on_stop_bound, BURY_MS, 0);
}

static void
mark_idle(void *ctx, const struct er_session_view *view)
{
    struct er_supervisor *v = ctx;
    struct er_guard *g = er_guard_find(v, view->id);
    if (g && g->connected && !g->host && view->n_runs == 0) {
        g->ending = true;
    }
}

void
er_supervisor_stop(struct er_supervisor *v, enum er_shutdown how, er_usec patience,
                   void (*done)(void *ctx), void *ctx)
{
    if (v->stopping && how <= v->how) {
        return;
    }
    v->stopping = true;
    v->how = how;
    v->stop_done = done;
    v->stop_ctx = ctx;
    (void)uv_timer_stop(&v->again);
    if (how == ER_SHUTDOWN_KEEP) {
        er_engine_sessions(v->api->engine, mark_idle, v);
    }
    for (struct er_guard *g = v->guards; g; g = g->next) {
        g->ending = g->ending || how != ER_SHUTDOWN_KEEP;
        if (g->ending) {
            er_engine_session_drain(v->api->engine, g->session, how != ER_SHUTDOWN_DRAIN);
        }
    }
    er_birth_signal(v, SIGTERM); /* it has nothing yet */
    if (how != ER_SHUTDOWN_DRAIN) {
        (void)uv_timer_start(
            &v->stop_timer, on_stop_bound,
            how == ER_SHUTDOWN_KEEP ? KEEP_MS : (uint64_t)(patience / ER_USEC_PER_MS), 0);
    }
    /* done is not called from in here: the loop goes round once */
    (void)uv_timer_start(&v->look, on_look, 0, 0);
}
