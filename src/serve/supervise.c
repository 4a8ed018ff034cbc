/* SPDX-License-Identifier: MIT */
/* The local worker: started with the daemon, noticed at once when it dies, started again.
 *
 * Alive or dead is a fact of the kernel: a worker holds a flock on workers/NAME.lock. Each
 * session is watched by a pidfd of its worker; when that fires and the lock is free (see
 * on_gone), the session is dead and the engine clears up after it (er_engine_session_dead).
 *   link lost, process alive   10 s for a new hello, then it is killed
 *   found at the start         lock free: dead; held: 10 s for its hello, then killed
 * A program with handlers of its own (a host) is watched likewise, but never killed nor counted
 * as a worker: while it lives, what it has is its own.
 * A worker of another version that comes back after an upgrade takes no more work and ends
 * with its last task, beside a new one; the slots that it still uses are not given to the
 * new one, so that `concurrency` holds.
 * A new worker is started when no session is left that may come back. The first restart
 * after a healthy time is at once, then 1 s, 2 s ... 60 s; from the fifth in a row the
 * pause is 60 s: never given up, never a storm.
 *
 * The daemon is a subreaper: what a dead worker leaves behind becomes its child and is
 * found by the engine's autopsy; SIGCHLD reaps all of it.
 *
 * Hidden (the engine inside somebody else's program) it is none, and takes no signal: the
 * worker is nobody's child, is started when it is first wanted, and is watched by a pidfd
 * from its start on. What a dead worker leaves behind is found by its cookie. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/heap.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/server.h"

#define HELLO_MS    10000 /* how long a living worker has to come back */
#define LOOK_MS     5     /* between two looks at the lock of a worker that is dead */
#define LOOKS_MAX   1000
#define HEALTHY_FOR (60 * ER_USEC_PER_SEC)
#define PAUSE_MAX_S 60
#define KEEP_MS     2000 /* for idle workers to go, when the others go on without us */
#define BURY_MS     2500 /* from the kill of a worker until its tasks are put back */

/* One session of a local worker. */
struct guard {
    struct er_supervisor *v;
    int64_t session;
    char *lock; /* path */
    int pid;
    int pidfd; /* -1 = not watched */
    bool connected, ending;
    bool old;  /* of another version: it drains */
    bool host; /* a program with handlers: nobody's worker, it is never killed */
    char version[32];
    bool gone; /* its process is dead; `looks` at its lock since */
    int looks;
    uv_poll_t poll;
    uv_timer_t patience; /* runs while it is not connected */
    int open_handles;
    struct guard *next;
};
struct er_supervisor {
    struct er_keeper keeper; /* first: what the routes know of us */
    struct er_api *api;
    struct guard *guards;
    int child;             /* pid of the worker that was started last; 0 = none lives */
    bool child_hello;      /* it has opened a session */
    struct er_err trouble; /* why the last one could not be started; "" = it could */
    er_usec child_at;      /* mono */
    int in_a_row;          /* restarts without a healthy time between them */
    int64_t restarts;
    uv_timer_t again; /* the pause before a restart */
    bool waiting;
    bool hidden, wanted;
    char *folder;        /* hidden: of what workers do not outlive; NULL = they do */
    char *program;       /* hidden: the worker's path; NULL = to be looked for */
    char *beside;        /* hidden: where to look, too */
    struct birth *birth; /* hidden: of the child that was started last; NULL = none */
    int open_handles;    /* in er_supervisor_free */
    bool stopping;
    enum er_shutdown how;
    bool killed; /* what did not end in time */
    uv_timer_t stop_timer;
    struct er_sub *sub; /* facts, while an old worker drains: its slots become free */
    uv_timer_t later;
    int slots, old_load; /* see slots_left */
    uv_timer_t look;     /* while stopping: whether what is dead is buried */
    int n_buried;
    void (*stop_done)(void *ctx);
    void *stop_ctx;
};

static void consider(struct er_supervisor *v);

/* ---- guards ---- */

static void
on_guard_closed(uv_handle_t *h)
{
    struct guard *g = h->data;
    if (--g->open_handles == 0) {
        er_close(&g->pidfd);
        er_free(g->lock);
        er_free(g);
    }
}

static struct guard *
find_guard(struct er_supervisor *v, int64_t session)
{
    struct guard *g = v->guards;
    while (g && g->session != session) {
        g = g->next;
    }
    return g;
}

static void
remove_guard(struct guard *g)
{
    struct guard **at = &g->v->guards;
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

/* Whether the worker's lock is free: 1 dead, 0 alive. */
static bool
lock_is_free(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT;
    }
    bool is_free = flock(fd, LOCK_EX | LOCK_NB) == 0;
    er_close(&fd);
    return is_free;
}

struct load {
    int64_t session;
    size_t n_runs, n_running;
};

static void
on_load(void *ctx, const struct er_session_view *view)
{
    struct load *l = ctx;
    if (view->id == l->session) {
        l->n_runs = view->n_runs;
        l->n_running = view->n_running;
    }
}

static void
bury(struct guard *g)
{
    struct er_supervisor *v = g->v;
    struct load l = {.session = g->session};
    er_engine_sessions(v->api->engine, on_load, &l);
    bool lost = l.n_runs > 0 || (!g->ending && !g->host);
    er_engine_session_dead(v->api->engine, g->session, lost);
    (void)unlink(g->lock);
    if (g->pid == v->child) {
        v->child = 0;
    }
    remove_guard(g);
    if (!v->stopping) {
        er_supervisor_set_slots(v);
    }
    consider(v);
}

/* Its process is dead, but that is not all: a child that it was starting and that has not
 * come to its exec yet bears no cookie, would not be found, and would go on. Such a child
 * still holds a copy of the worker's lock, which its exec closes; so the lock is waited for
 * before anybody looks for what is left. */
static void
on_gone(uv_timer_t *t)
{
    struct guard *g = t->data;
    g->gone = true;
    bool is_free = lock_is_free(g->lock);
    if (!is_free && g->looks++ < LOOKS_MAX) {
        (void)uv_timer_start(t, on_gone, LOOK_MS, 0);
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
    struct guard *g = h->data;
    (void)uv_poll_stop(h);
    on_gone(&g->patience);
}

static void
warn_unwatched(const struct guard *g, const char *why)
{
    er_log(ER_LOG_WARN, "supervise",
           "worker pid %d cannot be watched (%s): its death shows when its link is lost",
           g->pid, why);
}

/* Without a descriptor of its process a session is known by its link and its lock only. */
static void
watch_pid(struct guard *g, int pid)
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

/* By its descriptor: its number may be another's by now. One that cannot be watched is looked
 * for once more. */
static void
kill_worker(struct guard *g)
{
    if (g->gone) {
        return;
    }
    watch_pid(g, g->pid);
    if (g->pidfd < 0) {
        return; /* it is dead, or that has been said */
    }
    if (syscall(SYS_pidfd_send_signal, g->pidfd, SIGKILL, NULL, 0) != 0 &&
        errno != ESRCH) {
        er_log(ER_LOG_ERROR, "supervise", "cannot kill worker pid %d: %s", g->pid,
               strerror(errno));
    }
}

static void
on_patience(uv_timer_t *t)
{
    struct guard *g = t->data;
    if (lock_is_free(g->lock)) {
        bury(g);
        return;
    }
    if (g->host) { /* it may still run what it has: nobody else begins that before it ends */
        (void)uv_timer_start(t, on_patience, HELLO_MS, 0);
        return;
    }
    er_log(ER_LOG_WARN, "supervise", "worker pid %d does not come back: killing it",
           g->pid);
    kill_worker(g);
    (void)uv_timer_start(t, on_patience, 200, 0); /* until its lock is free */
}

static struct guard *
add_guard(struct er_supervisor *v, int64_t session, const char *worker, int pid)
{
    struct guard *g = er_xzalloc(sizeof *g);
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

/* ---- starting a worker ---- */

/* A hidden child, from its start to its death, or until another one is started. */
struct birth {
    uv_poll_t poll;
    struct er_supervisor *v;
    int pidfd;
};

static void
on_birth_closed(uv_handle_t *h)
{
    struct birth *b = h->data;
    er_close(&b->pidfd);
    er_free(b);
}

static void
end_birth(struct er_supervisor *v)
{
    if (v->birth) {
        uv_close((uv_handle_t *)&v->birth->poll, on_birth_closed);
        v->birth = NULL;
    }
}

static void
on_birth_gone(uv_poll_t *h, int status, int events)
{
    struct birth *b = h->data;
    struct er_supervisor *v = b->v;
    (void)status;
    (void)events;
    end_birth(v);
    if (v->child && !v->child_hello) {
        /* it never came as far as a session: no guard tells */
        er_log(v->stopping ? ER_LOG_INFO : ER_LOG_ERROR, "supervise",
               "the worker ended at its start");
        (void)er_fail(&v->trouble, ER_EIO, "errand-worker ended at its start");
        v->child = 0;
        consider(v);
    }
}

static int
start_hidden(struct er_supervisor *v, struct er_err *err)
{
    struct birth *b = er_xzalloc(sizeof *b);
    end_birth(v);
    int pid = er_local_worker_start_hidden(v->program, v->beside, v->api->places->socket,
                                           v->folder, &b->pidfd, err);
    if (pid == 0) {
        er_free(b);
        return 0;
    }
    int rc = uv_poll_init(er_loop_uv(v->api->loop), &b->poll, b->pidfd);
    if (rc) {
        er_log(ER_LOG_WARN, "supervise", "worker pid %d cannot be watched: %s", pid,
               uv_strerror(rc));
        er_close(&b->pidfd);
        er_free(b);
        return pid;
    }
    b->v = v;
    b->poll.data = b;
    v->birth = b;
    (void)uv_poll_start(&b->poll, UV_READABLE, on_birth_gone);
    return pid;
}

/* To a child that has no session yet. Our own is not reaped yet, so its number is its; one
 * that is nobody's child has a descriptor. */
static void
signal_child(const struct er_supervisor *v, int signum)
{
    if (!v->child || v->child_hello) {
        return;
    }
    if (!v->hidden) {
        (void)kill(v->child, signum);
    } else if (v->birth) {
        (void)syscall(SYS_pidfd_send_signal, v->birth->pidfd, signum, NULL, 0);
    }
}

static void
start_now(struct er_supervisor *v)
{
    v->waiting = false;
    v->child_hello = false;
    v->child_at = er_clock_mono(er_clock_system());
    struct er_err err = {""};
    v->child = v->hidden ? start_hidden(v, &err)
                         : er_local_worker_start(v->api->places->socket, &err);
    if (v->child == 0) {
        v->trouble = err;
        consider(v);
    }
}

static void
on_again(uv_timer_t *t)
{
    start_now(t->data);
}

/* The pause before the next start. */
static uint64_t
pause_ms(struct er_supervisor *v)
{
    if (v->child_at == 0) {
        return 0; /* the very first */
    }
    v->restarts++;
    if (er_clock_mono(er_clock_system()) - v->child_at >= HEALTHY_FOR) {
        v->in_a_row = 0;
    }
    int n = v->in_a_row++;
    if (n == 0) {
        return 0;
    }
    int s = n < 5 ? 1 << (n - 1) : PAUSE_MAX_S;
    if (n >= 5) {
        er_log(ER_LOG_ERROR, "supervise",
               "the worker has died %d times in a row: trying again "
               "in %d s",
               n, PAUSE_MAX_S);
    }
    return (uint64_t)s * 1000;
}

static void
stopped(struct er_supervisor *v)
{
    void (*done)(void *ctx) = v->stop_done;
    v->stop_done = NULL;
    if (done) {
        done(v->stop_ctx);
    }
}

/* Whether a session is there, or may come back, that takes work. */
static bool
is_served(const struct er_supervisor *v)
{
    for (const struct guard *g = v->guards; g; g = g->next) {
        if (!g->old && !g->host) {
            return true;
        }
    }
    return false;
}

/* A host lives on; only what it runs is waited for. */
static bool
is_busy_host(const struct guard *g)
{
    struct load l = {.session = g->session};
    if (g->host && g->connected && g->v->how != ER_SHUTDOWN_KEEP) {
        er_engine_sessions(g->v->api->engine, on_load, &l);
    }
    return l.n_runs > 0;
}

static bool
any_busy_host(const struct er_supervisor *v)
{
    for (const struct guard *g = v->guards; g; g = g->next) {
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
    for (const struct guard *g = v->guards; g; g = g->next) {
        if (!g->host && (g->ending || v->how != ER_SHUTDOWN_KEEP)) {
            return true;
        }
    }
    return v->child != 0 && !v->child_hello;
}

static void
count_buried(void *ctx, const struct er_session_view *view)
{
    struct er_supervisor *v = ctx;
    v->n_buried += find_guard(v, view->id) == NULL;
}

/* Sessions of dead workers that the engine still clears up after. */
static int
buried(struct er_supervisor *v)
{
    v->n_buried = 0;
    er_engine_sessions(v->api->engine, count_buried, v);
    return v->n_buried;
}

static void
on_look(uv_timer_t *t)
{
    consider(t->data);
}

/* Starts a worker if none is there nor may come back. */
static void
consider(struct er_supervisor *v)
{
    if (v->stopping && !is_awaited(v)) {
        if (buried(v) > 0 || any_busy_host(v)) {
            (void)uv_timer_start(&v->look, on_look, LOOK_MS, 0);
        } else {
            stopped(v);
        }
    }
    if (v->stopping || (v->hidden && !v->wanted)) {
        return;
    }
    if (is_served(v) || v->child || v->waiting) {
        return;
    }
    v->waiting = true;
    (void)uv_timer_start(&v->again, on_again, pause_ms(v), 0);
}

static const char *
end_words(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        (void)snprintf(out, size, "signal %s", name ? name : "unknown");
    } else {
        (void)snprintf(out, size, "exit code %d", WEXITSTATUS(status));
    }
    return out;
}

void
er_supervisor_reap(struct er_supervisor *v)
{
    int pid, status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == v->child && !v->child_hello) {
            /* it never came as far as a session: no guard tells */
            char how[64];
            er_log(v->stopping ? ER_LOG_INFO : ER_LOG_ERROR, "supervise",
                   "the worker ended at its start (%s)",
                   end_words(status, how, sizeof how));
            (void)er_fail(&v->trouble, ER_EIO, "errand-worker ended at its start (%s)",
                          how);
            v->child = 0;
            consider(v);
        }
    }
}

/* ---- what the routes tell ---- */

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

/* ---- slots ---- */

static void
add_old_load(void *ctx, const struct er_session_view *view)
{
    struct er_supervisor *v = ctx;
    const struct guard *g = find_guard(v, view->id);
    if (g && g->old) {
        v->old_load += (int)view->n_runs;
    }
}

/* What is left of `concurrency` beside what old workers still run. */
static int
slots_left(struct er_supervisor *v)
{
    v->old_load = 0;
    er_engine_sessions(v->api->engine, add_old_load, v);
    int left = v->api->config.concurrency - v->old_load;
    return left > 0 ? left : 0;
}

static void
set_slots(void *ctx, const struct er_session_view *view)
{
    struct er_supervisor *v = ctx;
    const struct guard *g = find_guard(v, view->id);
    if (g && !g->old && !g->host) {
        er_engine_set_slots(v->api->engine, view->id, v->slots);
    }
}

static bool
has_old(const struct er_supervisor *v)
{
    for (const struct guard *g = v->guards; g; g = g->next) {
        if (g->old) {
            return true;
        }
    }
    return false;
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
    if (has_old(v)) {
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
    v->slots = slots_left(v);
    er_engine_sessions(v->api->engine, set_slots, v);
    if (has_old(v) && !v->sub) {
        v->sub = er_engine_subscribe(v->api->engine, &(struct er_sub_filter){0}, -1,
                                     on_fact, v);
    } else if (!has_old(v) && v->sub) {
        on_fact(v);
    }
}

/* ---- what the routes know and tell ---- */

static struct er_supervisor *
of_keeper(const struct er_keeper *k)
{
    return ER_CONTAINER((struct er_keeper *)(uintptr_t)k, struct er_supervisor, keeper);
}

static int
keeper_slots(struct er_keeper *k)
{
    return slots_left(of_keeper(k));
}

static const char *
keeper_version(const struct er_keeper *k, int64_t session)
{
    const struct guard *g = find_guard(of_keeper(k), session);
    return g && g->version[0] ? g->version : NULL;
}

static void
keeper_attached(struct er_keeper *k, int64_t session, int pid, const char *version,
                bool inside)
{
    (void)inside;
    struct er_supervisor *v = of_keeper(k);
    struct guard *g = find_guard(v, session);
    if (!g) {
        struct wanted w = {.session = session};
        er_engine_sessions(v->api->engine, on_view, &w);
        g = add_guard(v, session, w.worker, pid);
        g->host = w.handlers;
    }
    v->child_hello = v->child_hello || pid == v->child;
    if (!g->host) {
        v->trouble.text[0] = '\0';
    }
    g->connected = true;
    (void)snprintf(g->version, sizeof g->version, "%s", version ? version : "");
    watch_pid(g, pid);
    if (g->gone) { /* these were its last words */
        (void)uv_timer_start(&g->patience, on_gone, LOOK_MS, 0);
    } else {
        (void)uv_timer_stop(&g->patience);
    }
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
        consider(v);
    } else if (has_old(v)) {
        er_supervisor_set_slots(v);
    }
}

static void
keeper_detached(struct er_keeper *k, int64_t session)
{
    struct er_supervisor *v = of_keeper(k);
    struct guard *g = find_guard(v, session);
    if (g && !g->gone) {
        bool left = g->host && lock_is_free(g->lock); /* it has closed its handle */
        g->connected = false;
        (void)uv_timer_start(&g->patience, on_patience, left ? 0 : HELLO_MS, 0);
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

static const struct er_keeper keeper = {
    .attached = keeper_attached,
    .detached = keeper_detached,
    .version = keeper_version,
    .slots = keeper_slots,
    .stats = keeper_stats,
    .trouble = keeper_trouble,
};

/* ---- start and stop ---- */

static void
adopt(void *ctx, const struct er_session_view *view)
{
    struct er_supervisor *v = ctx;
    struct guard *g = add_guard(v, view->id, view->worker, view->pid);
    g->host = view->handlers;
    if (lock_is_free(g->lock)) {
        (void)uv_timer_start(&g->patience, on_patience, 0, 0);
        return;
    }
    watch_pid(g, view->pid);
    (void)uv_timer_start(&g->patience, g->gone ? on_gone : on_patience,
                         g->gone ? LOOK_MS : HELLO_MS, 0);
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
    consider(v);
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
    consider(v);
}

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
    for (struct guard *g = v->guards; g; g = g->next) {
        if (g->host) {
            continue;
        }
        er_log(ER_LOG_WARN, "supervise", "worker pid %d does not end: killing it",
               g->pid);
        kill_worker(g);
    }
    signal_child(v, SIGKILL);
    (void)uv_timer_start(t, on_stop_bound, BURY_MS, 0);
}

static void
mark_idle(void *ctx, const struct er_session_view *view)
{
    struct er_supervisor *v = ctx;
    struct guard *g = find_guard(v, view->id);
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
    for (struct guard *g = v->guards; g; g = g->next) {
        g->ending = g->ending || how != ER_SHUTDOWN_KEEP;
        if (g->ending) {
            er_engine_session_drain(v->api->engine, g->session, how != ER_SHUTDOWN_DRAIN);
        }
    }
    signal_child(v, SIGTERM); /* it has nothing yet */
    if (how != ER_SHUTDOWN_DRAIN) {
        (void)uv_timer_start(
            &v->stop_timer, on_stop_bound,
            how == ER_SHUTDOWN_KEEP ? KEEP_MS : (uint64_t)(patience / ER_USEC_PER_MS), 0);
    }
    /* done is not called from in here: the loop goes round once */
    (void)uv_timer_start(&v->look, on_look, 0, 0);
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
        remove_guard(v->guards);
    }
    end_birth(v);
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
