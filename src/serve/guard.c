/* SPDX-License-Identifier: MIT */
/* One session of a local worker: whether its process lives. That is a fact of the kernel:
 * a worker holds a flock on workers/NAME.lock. A pidfd fires when the process has ended
 * -> its lock is free -> the session is dead, and the engine clears up after it
 * (er_engine_session_dead).
 *   link lost, process alive   10 s for a new hello, then it is killed
 *   found at the start         lock free: dead; held: 10 s for its hello, then killed
 * A program with handlers of its own (a host) is watched likewise, but never killed:
 * while it lives, what it has is its own.
 *
 * Where there is no pidfd, the link and the lock tell, later; that is logged. A lock that
 * stays held though its worker is dead is waited for for some seconds, then logged. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/supervise_priv.h"

#define LOOKS_MAX 1000 /* at the lock of a worker that is dead */

struct er_guard *
er_guard_add(struct er_supervisor *v, int64_t session, const char *worker, int pid)
{
    struct er_guard *g = er_xzalloc(sizeof *g);
    g->v = v;
    g->session = session;
    g->lock = er_xasprintf("%s/%s.lock", v->api->places->workers, worker);
    g->pid = pid;
    g->pidfd = -1;
    g->next = v->guards;
    v->guards = g;
    (void)uv_timer_init(er_loop_uv(v->api->loop), &g->patience);
    g->patience.data = g;
    return g;
}

struct er_guard *
er_guard_find(const struct er_supervisor *v, int64_t session)
{
    struct er_guard *g = v->guards;
    while (g && g->session != session) {
        g = g->next;
    }
    return g;
}

static void
on_guard_closed(uv_handle_t *h)
{
    struct er_guard *g = h->data;
    if (--g->open_handles == 0) {
        er_close(&g->pidfd);
        er_free(g->lock);
        er_free(g);
    }
}

void
er_guard_remove(struct er_guard *g)
{
    struct er_guard **at = &g->v->guards;
    while (*at != g) {
        at = &(*at)->next;
    }
    *at = g->next;
    g->open_handles = g->pidfd >= 0 ? 2 : 1;
    if (g->pidfd >= 0) {
        uv_close((uv_handle_t *)&g->poll, on_guard_closed);
    }
    uv_close((uv_handle_t *)&g->patience, on_guard_closed);
}

bool
er_guard_is_free(const struct er_guard *g)
{
    int fd = open(g->lock, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT;
    }
    bool is_free = flock(fd, LOCK_EX | LOCK_NB) == 0;
    er_close(&fd);
    return is_free;
}

struct load {
    int64_t session;
    size_t n_runs;
};

static void
on_load(void *ctx, const struct er_session_view *view)
{
    struct load *l = ctx;
    if (view->id == l->session) {
        l->n_runs = view->n_runs;
    }
}

size_t
er_guard_runs(const struct er_guard *g)
{
    struct load l = {.session = g->session};
    er_engine_sessions(g->v->api->engine, on_load, &l);
    return l.n_runs;
}

/* ---- its end ---- */

static void
bury(struct er_guard *g)
{
    struct er_supervisor *v = g->v;
    struct load l = {.session = g->session};
    er_engine_sessions(v->api->engine, on_load, &l);
    bool lost = l.n_runs > 0 || (!g->ending && !g->host);
    er_engine_session_dead(v->api->engine, g->session, lost);
    (void)unlink(g->lock);
    if (lost && !g->host && !g->ending) {
        (void)er_fail(&v->trouble, ER_EIO, "errand-worker pid %d died", g->pid);
    }
    if (g->pid == v->child) {
        v->child = 0;
    }
    er_guard_remove(g);
    if (!v->stopping) {
        er_supervisor_set_slots(v);
    }
    er_supervise_consider(v);
}

/* Its process is dead, but that is not all: a child that it was starting and that has not
 * come to its exec yet bears no cookie, would not be found, and would go on. Such a child
 * still holds a copy of the worker's lock, which its exec closes; so the lock is waited
 * for before anybody looks for what is left. */
static void
on_gone(uv_timer_t *t)
{
    struct er_guard *g = t->data;
    g->gone = true;
    bool is_free = er_guard_is_free(g);
    if (!is_free && g->looks++ < LOOKS_MAX) {
        (void)uv_timer_start(t, on_gone, ER_SUPERVISE_LOOK_MS, 0);
        return;
    }
    if (!is_free) {
        er_log(ER_LOG_WARN, "supervise",
               "worker pid %d is dead, but something still holds %s: "
               "a command that hangs in its exec may begin late",
               g->pid, g->lock);
    }
    bury(g);
}

static void
on_pidfd(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    struct er_guard *g = h->data;
    (void)uv_poll_stop(h);
    on_gone(&g->patience);
}

static void
warn_unwatched(const struct er_guard *g, const char *why)
{
    er_log(ER_LOG_WARN, "supervise",
           "worker pid %d cannot be watched (%s): its death shows when its link is lost",
           g->pid, why);
}

void
er_guard_watch(struct er_guard *g, int pid)
{
    if (g->pidfd >= 0 || pid <= 0) {
        return;
    }
    g->pid = pid;
    g->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (g->pidfd < 0) {
        g->gone = errno == ESRCH;
        if (!g->gone) {
            warn_unwatched(g, strerror(errno));
        }
        return;
    }
    int rc = uv_poll_init(er_loop_uv(g->v->api->loop), &g->poll, g->pidfd);
    if (rc) {
        warn_unwatched(g, uv_strerror(rc));
        er_close(&g->pidfd);
        return;
    }
    g->poll.data = g;
    rc = uv_poll_start(&g->poll, UV_READABLE, on_pidfd);
    if (rc) {
        warn_unwatched(g, uv_strerror(rc));
    }
}

void
er_guard_kill(struct er_guard *g)
{
    if (g->gone) {
        return;
    }
    er_guard_watch(g, g->pid);
    if (g->pidfd < 0) {
        return; /* it is dead, or that has been said */
    }
    if (syscall(SYS_pidfd_send_signal, g->pidfd, SIGKILL, NULL, 0) != 0 &&
        errno != ESRCH) {
        er_log(ER_LOG_ERROR, "supervise", "cannot kill worker pid %d: %s", g->pid,
               strerror(errno));
    }
}

/* ---- without a link ---- */

static void
on_patience(uv_timer_t *t)
{
    struct er_guard *g = t->data;
    if (er_guard_is_free(g)) {
        bury(g);
        return;
    }
    if (g->host) { /* it may still run what it has: nobody else begins that before it ends */
        (void)uv_timer_start(t, on_patience, ER_SUPERVISE_HELLO_MS, 0);
        return;
    }
    er_log(ER_LOG_WARN, "supervise", "worker pid %d does not come back: killing it",
           g->pid);
    er_guard_kill(g);
    (void)uv_timer_start(t, on_patience, 200, 0); /* until its lock is free */
}

void
er_guard_trust(struct er_guard *g)
{
    if (g->gone) { /* these were its last words */
        (void)uv_timer_start(&g->patience, on_gone, ER_SUPERVISE_LOOK_MS, 0);
    } else {
        (void)uv_timer_stop(&g->patience);
    }
}

void
er_guard_doubt(struct er_guard *g, uint64_t ms)
{
    (void)uv_timer_start(&g->patience, g->gone ? on_gone : on_patience,
                         g->gone ? ER_SUPERVISE_LOOK_MS : ms, 0);
}
