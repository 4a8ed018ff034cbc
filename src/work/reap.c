/* SPDX-License-Identifier: MIT */
/* SIGCHLD comes by a signalfd; then all that have ended are reaped, and leaders end
 * their attempts. A status that comes before its attempt knows its pid is kept (`stray`)
 * until it does. When memory is out an orphan is looked at again the next time. */
#include "work/reap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "work/worker.h"

static void
on_signal(struct er_fd_watch *watch, uint32_t events)
{
    (void)events;
    struct er_reap *r = ER_CONTAINER(watch, struct er_reap, watch);
    struct signalfd_siginfo info[8];
    ssize_t n = read(r->signal_fd, info, sizeof info);
    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof *info; i++) {
        if (info[i].ssi_signo == SIGTERM) {
            er_worker_stop(r->worker);
        } else {
            r->pending = true;
        }
    }
}

/* Signals the daemon had ignored are not ignored for the worker's children. */
static void
reset_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL}, ign = {.sa_handler = SIG_IGN};
    for (int sig = 1; sig < NSIG; sig++) {
        (void)sigaction(sig, &dfl, NULL);
    }
    (void)sigaction(SIGINT, &ign, NULL);
    (void)sigaction(SIGHUP, &ign, NULL);
    (void)sigaction(SIGPIPE, &ign, NULL);
}

int
er_reap_init(struct er_reap *r, struct er_worker *w, struct er_err *err)
{
    *r = (struct er_reap){.worker = w, .signal_fd = -1, .children_fd = -1};
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    reset_signals();
    r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (r->signal_fd < 0 || sigprocmask(SIG_SETMASK, &set, NULL) != 0 ||
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 ||
        er_watch_start(&w->watches, &r->watch, r->signal_fd, EPOLLIN, on_signal) != 0) {
        int code = errno;
        er_reap_fini(r);
        return er_fail(err, er_error_from_errno(code), "cannot watch for signals: %s",
                       strerror(code));
    }
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%ld/children",
                   syscall(SYS_gettid));
    r->children_fd = open(path, O_RDONLY | O_CLOEXEC);
    return 0;
}

void
er_reap_fini(struct er_reap *r)
{
    er_watch_stop(&r->worker->watches, &r->watch);
    er_close(&r->signal_fd);
    er_close(&r->children_fd);
    er_free(r->orphans);
    er_free(r->strays);
    r->orphans = NULL;
    r->strays = NULL;
}

/* ---- orphans ---- */

static struct er_adopted *
find_orphan(const struct er_reap *r, pid_t pid)
{
    for (size_t i = 0; i < r->orphans_n; i++) {
        if (r->orphans[i].pid == pid) {
            return &r->orphans[i];
        }
    }
    return NULL;
}

/* Remembers an orphan; without memory it is just looked at again the next time. */
static void
add_orphan(struct er_reap *r, pid_t pid)
{
    if (r->orphans_n == r->orphans_size) {
        size_t size = r->orphans_size ? r->orphans_size * 2 : 8;
        struct er_adopted *list = er_realloc_array(r->orphans, size, sizeof *list);
        if (!list) {
            return;
        }
        r->orphans = list;
        r->orphans_size = size;
    }
    r->orphans[r->orphans_n++] = (struct er_adopted){.pid = pid, .seen_no = r->spawns};
}

static void
remove_orphan(struct er_reap *r, pid_t pid)
{
    struct er_adopted *o = find_orphan(r, pid);
    if (o) {
        *o = r->orphans[--r->orphans_n];
    }
}

/* Whether a child of ours has nothing to do with the attempt. */
static bool
is_foreign(struct er_reap *r, const struct er_work_attempt *a, pid_t pid)
{
    const struct er_work_attempt *other;
    TAILQ_FOREACH (other, &r->worker->attempts, link) {
        if (other->pid == pid && !other->leader_gone) {
            return true;
        }
    }
    const struct er_adopted *o = find_orphan(r, pid);
    if (!o) {
        add_orphan(r, pid);
    }
    return o && o->seen_no < a->spawn_no;
}

bool
er_reap_is_alone(struct er_reap *r, const struct er_work_attempt *a)
{
    char text[4096];
    ssize_t n = r->children_fd < 0 ? -1 : pread(r->children_fd, text, sizeof text - 1, 0);
    if (n < 0 || n == sizeof text - 1) { /* no such file, or too many to tell */
        return false;
    }
    text[n] = '\0';
    char *at = text, *end;
    bool alone = true;
    for (long pid; (pid = strtol(at, &end, 10)) > 0; at = end) {
        if (!is_foreign(r, a, (pid_t)pid)) {
            alone = false; /* go on: all that are there are to be seen */
        }
    }
    return alone;
}

/* ---- reaping ---- */

/* A spawn on the other thread may just have made a process that we do not know yet. */
static bool
is_spawning(const struct er_reap *r)
{
    return r->worker->helpers.each[ER_HELPER_SPAWN].under_way > 0;
}

static void
add_stray(struct er_reap *r, pid_t pid, int status, const struct rusage *usage)
{
    if (r->strays_n == r->strays_size) {
        size_t size = r->strays_size ? r->strays_size * 2 : 4;
        r->strays = er_xrealloc_array(r->strays, size, sizeof *r->strays);
        r->strays_size = size;
    }
    r->strays[r->strays_n++] =
        (struct er_stray){.pid = pid, .status = status, .usage = *usage};
}

void
er_reap_claim(struct er_reap *r, struct er_work_attempt *a)
{
    for (size_t i = 0; i < r->strays_n; i++) {
        if (r->strays[i].pid == a->pid) {
            struct er_stray s = r->strays[i];
            r->strays[i] = r->strays[--r->strays_n];
            er_attempt_on_exit(a, s.status, &s.usage);
            break;
        }
    }
    if (!is_spawning(r)) {
        r->strays_n = 0;
    }
}

/* The attempt whose leader has that pid. */
static struct er_work_attempt *
find_leader(const struct er_worker *w, pid_t pid)
{
    struct er_work_attempt *a;
    TAILQ_FOREACH (a, &w->attempts, link) {
        if (a->pid == pid && !a->leader_gone) {
            return a;
        }
    }
    return NULL;
}

void
er_reap_run(struct er_reap *r)
{
    if (!r->pending) {
        return;
    }
    r->pending = false;
    struct er_worker *w = r->worker;
    bool orphans = false;
    int status;
    struct rusage usage;
    pid_t pid;
    if (!is_spawning(r)) {
        r->strays_n = 0;
    }
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
        struct er_work_attempt *a = find_leader(w, pid);
        if (a) {
            er_attempt_on_exit(a, status, &usage);
            continue;
        }
        orphans = true;
        remove_orphan(r, pid);
        if (is_spawning(r)) {
            add_stray(r, pid, status, &usage);
        }
    }
    struct er_work_attempt *a, *next;
    for (a = TAILQ_FIRST(&w->attempts); a; a = next) {
        next = TAILQ_NEXT(a, link);
        if (a->leader_gone) {
            a->look_again = a->look_again || orphans;
            er_attempt_advance(a);
        }
    }
}
