/* SPDX-License-Identifier: MIT */
/* The local worker: started with the daemon, noticed at once when it dies, started again.
 * A new one is started (birth.c) when no session is left that may come back; each session
 * is watched (guard.c) from its hello, or from our start, to its end. A program with
 * handlers of its own (a host) is watched, too, but nobody's worker.
 *
 * A worker of another version that comes back after an upgrade takes no more work and
 * ends with its last task, beside a new one; the slots that it still uses are not given
 * to the new one (supervise_slots.c).
 *
 * The daemon is a subreaper: what a dead worker leaves behind becomes its child and is
 * found by the engine's autopsy; SIGCHLD reaps all of it.
 *
 * Hidden (the engine inside somebody else's program) it is none, and takes no signal: the
 * worker is nobody's child, is started when it is first wanted, and is watched by a pidfd
 * from its start on. What a dead worker leaves behind is found by its cookie. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <uv.h>

#include "base/heap.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/supervise_priv.h"

/* Whether a session is there, or may come back, that takes work. */
static bool
is_served(const struct er_supervisor *v)
{
    for (const struct er_guard *g = v->guards; g; g = g->next) {
        if (!g->old && !g->host) {
            return true;
        }
    }
    return false;
}

void
er_supervise_consider(struct er_supervisor *v)
{
    if (v->stopping) {
        er_supervise_stop_look(v);
    } else if ((!v->hidden || v->wanted) && !is_served(v) && !v->child && !v->waiting) {
        er_birth_plan(v);
    }
}

/* ---- what the routes know and tell ---- */

struct wanted {
    int64_t session;
    char worker[64];
    bool handlers;
};

static void
on_view(void *ctx, const struct er_session_view *view)
{
    struct wanted *w = ctx;
    if (view->id == w->session) {
        (void)snprintf(w->worker, sizeof w->worker, "%s", view->worker);
        w->handlers = view->handlers;
    }
}

static struct er_supervisor *
of_keeper(const struct er_keeper *k)
{
    return ER_CONTAINER((struct er_keeper *)(uintptr_t)k, struct er_supervisor, keeper);
}

static int
keeper_slots(struct er_keeper *k)
{
    return er_supervise_slots_left(of_keeper(k));
}

static const char *
keeper_version(const struct er_keeper *k, int64_t session)
{
    const struct er_guard *g = er_guard_find(of_keeper(k), session);
    return g && g->version[0] ? g->version : NULL;
}

static void
keeper_attached(struct er_keeper *k, int64_t session, int pid, const char *version,
                bool inside)
{
    (void)inside;
    struct er_supervisor *v = of_keeper(k);
    struct er_guard *g = er_guard_find(v, session);
    if (!g) {
        struct wanted w = {.session = session};
        er_engine_sessions(v->api->engine, on_view, &w);
        g = er_guard_add(v, session, w.worker, pid);
        g->host = w.handlers;
    }
    v->child_hello = v->child_hello || pid == v->child;
    if (!g->host) {
        v->trouble.text[0] = '\0';
    }
    g->connected = true;
    (void)snprintf(g->version, sizeof g->version, "%s", version ? version : "");
    er_guard_watch(g, pid);
    er_guard_trust(g);
    if (v->stopping && v->how != ER_SHUTDOWN_KEEP) {
        g->ending = true;
        er_engine_session_drain(v->api->engine, session, v->how == ER_SHUTDOWN_NOW);
    } else if (!v->stopping && !g->host && pid != v->child &&
               strcmp(g->version, ER_VERSION) != 0) {
        er_log(ER_LOG_INFO, "supervise",
               "worker pid %d is of version %s: it ends with its last task", pid,
               g->version[0] ? g->version : "?");
        g->old = g->ending = true;
        er_engine_session_drain(v->api->engine, session, false);
        er_supervisor_set_slots(v);
        er_supervise_consider(v);
    } else if (er_supervise_has_old(v)) {
        er_supervisor_set_slots(v);
    }
}

static void
keeper_detached(struct er_keeper *k, int64_t session)
{
    struct er_supervisor *v = of_keeper(k);
    struct er_guard *g = er_guard_find(v, session);
    if (g && !g->gone) {
        bool left = g->host && er_guard_is_free(g); /* it has closed its handle */
        g->connected = false;
        er_guard_doubt(g, left ? 0 : ER_SUPERVISE_HELLO_MS);
    }
}

static void
keeper_stats(const struct er_keeper *k, int64_t *out_restarts, bool *out_waiting)
{
    *out_restarts = of_keeper(k)->restarts;
    *out_waiting = of_keeper(k)->waiting;
}

static const char *
keeper_trouble(const struct er_keeper *k)
{
    const struct er_supervisor *v = of_keeper(k);
    return v->trouble.text[0] ? v->trouble.text : NULL;
}

static er_usec
keeper_starts_after(const struct er_keeper *k)
{
    const struct er_supervisor *v = of_keeper(k);
    return v->waiting ? (er_usec)uv_timer_get_due_in(&v->again) * 1000 : -1;
}

static const struct er_keeper keeper = {
    .attached = keeper_attached,
    .detached = keeper_detached,
    .version = keeper_version,
    .slots = keeper_slots,
    .stats = keeper_stats,
    .trouble = keeper_trouble,
    .starts_after = keeper_starts_after,
};

/* ---- start and end ---- */

static void
adopt(void *ctx, const struct er_session_view *view)
{
    struct er_supervisor *v = ctx;
    struct er_guard *g = er_guard_add(v, view->id, view->worker, view->pid);
    g->host = view->handlers;
    if (er_guard_is_free(g)) {
        er_guard_doubt(g, 0);
        return;
    }
    er_guard_watch(g, view->pid);
    er_guard_doubt(g, ER_SUPERVISE_HELLO_MS);
}

static struct er_supervisor *
make(struct er_api *api)
{
    struct er_supervisor *v = er_xzalloc(sizeof *v);
    uv_loop_t *loop = er_loop_uv(api->loop);
    v->api = api;
    v->keeper = keeper;
    api->keeper = &v->keeper;
    (void)uv_timer_init(loop, &v->again);
    (void)uv_timer_init(loop, &v->stop_timer);
    (void)uv_timer_init(loop, &v->later);
    (void)uv_timer_init(loop, &v->look);
    v->look.data = v;
    v->again.data = v->stop_timer.data = v->later.data = v;
    return v;
}

int
er_supervisor_start(struct er_api *api, struct er_supervisor **out, struct er_err *err)
{
    struct er_supervisor *v = make(api);
    *out = v;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        return er_fail(err, ER_EIO, "cannot become a subreaper: %s", strerror(errno));
    }
    er_engine_sessions(api->engine, adopt, v);
    er_supervise_consider(v);
    return 0;
}

void
er_supervisor_start_hidden(struct er_api *api, const char *program, const char *beside,
                           const char *folder, struct er_supervisor **out)
{
    struct er_supervisor *v = make(api);
    *out = v;
    v->hidden = true;
    v->folder = er_xstrdup(folder);
    v->program = er_xstrdup(program);
    v->beside = er_xstrdup(beside);
    er_engine_sessions(api->engine, adopt, v);
}

void
er_supervisor_want(struct er_supervisor *v)
{
    v->wanted = true;
    er_supervise_consider(v);
}

static void
on_closed(uv_handle_t *h)
{
    struct er_supervisor *v = h->data;
    if (--v->open_handles == 0) {
        er_free(v->program);
        er_free(v->beside);
        er_free(v->folder);
        er_free(v);
    }
}

void
er_supervisor_free(struct er_supervisor *v)
{
    if (!v) {
        return;
    }
    while (v->guards) {
        er_guard_remove(v->guards);
    }
    er_birth_forget(v);
    if (v->sub) {
        er_engine_unsubscribe(v->sub);
    }
    uv_handle_t *const all[] = {(uv_handle_t *)&v->again, (uv_handle_t *)&v->stop_timer,
                                (uv_handle_t *)&v->later, (uv_handle_t *)&v->look};
    v->open_handles = (int)(sizeof all / sizeof all[0]);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        uv_close(all[i], on_closed);
    }
}
