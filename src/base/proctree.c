/* SPDX-License-Identifier: MIT */
/* How it works: one pass over /proc reads the stat line of every process and, of those
 * that are not kernel threads, the environment up to the cookie. What carries the cookie
 * is marked; then everything whose parent, session or group is marked is marked too,
 * until nothing changes.
 *
 * Races, and what is done about them:
 * - A process that is just between fork and exec has its parent's environment; one within
 *   exec has for a moment none: an empty environment is read again a few times.
 * - A process that appears behind the reader's back is found by the next pass: killing
 *   goes on until a pass finds nothing, and, after anything was killed, a second one too.
 * - Stopping is the same with SIGSTOP. A process that forks while it is signalled has its
 *   child stopped by the next look; one that sleeps in the kernel (a vfork whose child is
 *   stopped, a dead mount) counts as stopped when the signal waits for it: it comes to the
 *   stop before it comes to its program.
 * - A pid that was used again between the finding and the signal: the signal goes to a
 *   pidfd, after the start time was compared through it.
 * Failure modes: /proc cannot be read (ER_EIO), memory (ER_ENOMEM). A process that
 * vanishes or that we may not look at is passed over. */
#include "base/proctree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define COOKIE_NAME  "ERRAND_COOKIE="
#define PF_KTHREAD   0x00200000u
#define ENV_RETRIES  3
#define WAIT_MS      100 /* for the killed to vanish, in each round */
#define WAIT_AT_ONCE 64  /* pidfds polled together */
#define NAP_MOST_MS  16  /* for the signalled to stop, in each round */

struct proc {
    pid_t pid, ppid, pgrp, session;
    uint64_t start;
    int threads;
    char state; /* of its first thread */
    bool dead, kernel, marked;
};

struct scan {
    struct proc *procs; /* sorted by pid once complete */
    size_t n, size;
    int proc_fd; /* /proc */
};

static int
pidfd_open_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Reads the start of a file below /proc: false when it is gone. */
static bool
read_text(int proc_fd, const char *path, char *text, size_t size)
{
    int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    er_close(&fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Reads /proc/PID/stat: 0, or -1 when it is gone. */
static int
read_stat(int proc_fd, pid_t pid, struct proc *out)
{
    char path[32], line[1024];
    (void)snprintf(path, sizeof path, "%d/stat", (int)pid);
    if (!read_text(proc_fd, path, line, sizeof line)) {
        return -1;
    }
    const char *p = strrchr(line, ')'); /* the name before it may hold anything */
    char state;
    int ppid, pgrp, session, threads;
    unsigned flags;
    unsigned long long start;
    if (!p || sscanf(p + 1,
                     " %c %d %d %d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                     "%d %*d %llu",
                     &state, &ppid, &pgrp, &session, &flags, &threads, &start) != 7) {
        return -1;
    }
    *out = (struct proc){.pid = pid,
                         .ppid = ppid,
                         .pgrp = pgrp,
                         .session = session,
                         .start = start,
                         .threads = threads,
                         .state = state,
                         /* not while others live of whom only the first thread ended */
                         .dead = (state == 'Z' || state == 'X') && threads <= 1,
                         .kernel = (flags & PF_KTHREAD) != 0};
    return 0;
}

/* Whether a value begins with the prefix, and the prefix ends at a border. */
static bool
matches(const char *value, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);
    if (len < n || memcmp(value, prefix, n) != 0) {
        return false;
    }
    return len == n || (n > 0 && prefix[n - 1] == '.') || value[n] == '.';
}

/* Looks through an environment that is read in pieces. Only the start of each variable is
 * kept: a cookie is short. */
static bool
scan_environ(int fd, const char *prefix, bool *out_empty)
{
    char var[256], chunk[8192];
    const size_t name = sizeof COOKIE_NAME - 1;
    size_t len = 0;
    *out_empty = true;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n <= 0) {
            return len >= name && memcmp(var, COOKIE_NAME, name) == 0 &&
                   matches(var + name, len - name, prefix);
        }
        *out_empty = false;
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] != '\0') {
                if (len < sizeof var) {
                    var[len++] = chunk[i];
                }
                continue;
            }
            if (len >= name && memcmp(var, COOKIE_NAME, name) == 0) {
                return matches(var + name, len - name, prefix);
            }
            len = 0;
        }
    }
}

static bool
has_cookie(int proc_fd, pid_t pid, const char *prefix)
{
    char path[32];
    (void)snprintf(path, sizeof path, "%d/environ", (int)pid);
    for (int i = 0; i < ENV_RETRIES; i++) {
        int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return false;
        }
        bool empty;
        bool found = scan_environ(fd, prefix, &empty);
        er_close(&fd);
        if (found || !empty) {
            return found;
        }
        (void)sched_yield();
    }
    return false;
}

static int
scan_add(struct scan *s, const struct proc *p)
{
    if (s->n == s->size) {
        size_t size = s->size ? s->size * 2 : 256;
        struct proc *procs = er_realloc_array(s->procs, size, sizeof *procs);
        if (!procs) {
            return ER_ENOMEM;
        }
        s->procs = procs;
        s->size = size;
    }
    s->procs[s->n++] = *p;
    return 0;
}

static int
by_pid(const void *a, const void *b)
{
    const struct proc *x = a, *y = b;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Reads all processes, and marks those that carry the cookie. */
static int
scan_read(struct scan *s, const char *prefix)
{
    int dup_fd = fcntl(s->proc_fd, F_DUPFD_CLOEXEC, 0);
    DIR *dir = dup_fd < 0 ? NULL : fdopendir(dup_fd);
    if (!dir) {
        er_close(&dup_fd);
        return ER_EIO;
    }
    pid_t self = getpid(), parent = getppid();
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(dir)) != NULL;) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        struct proc p;
        if (*end != '\0' || pid <= 1 || pid == self || pid == parent ||
            read_stat(s->proc_fd, (pid_t)pid, &p) != 0) {
            continue;
        }
        if (prefix && !p.kernel && !p.dead) {
            p.marked = has_cookie(s->proc_fd, p.pid, prefix);
        }
        rc = scan_add(s, &p);
    }
    (void)closedir(dir);
    if (s->n > 1) {
        qsort(s->procs, s->n, sizeof *s->procs, by_pid);
    }
    return rc;
}

static bool
is_marked(const struct scan *s, pid_t pid)
{
    if (s->n == 0 || pid <= 0) {
        return false;
    }
    struct proc key = {.pid = pid};
    const struct proc *p = bsearch(&key, s->procs, s->n, sizeof *s->procs, by_pid);
    return p && p->marked;
}

/* Marks what belongs to what is marked, to a fixed point. The dead are marked too: their
 * children and sessions may live on. */
static void
scan_spread(struct scan *s, pid_t root_pid)
{
    pid_t leader = root_pid < 0 ? -root_pid : root_pid;
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < s->n; i++) {
            struct proc *p = &s->procs[i];
            if (p->marked || p->kernel || p->pid == -root_pid) {
                continue;
            }
            bool of_root = leader > 0 && (p->pid == leader || p->session == leader ||
                                          p->pgrp == leader);
            if (of_root || is_marked(s, p->ppid) || is_marked(s, p->session) ||
                is_marked(s, p->pgrp)) {
                p->marked = true;
                again = true;
            }
        }
    }
}

/* ---- whether one is stopped ---- */

/* Whether a SIGSTOP waits for the process. */
static bool
has_stop_pending(int proc_fd, pid_t pid)
{
    char path[32], text[4096];
    (void)snprintf(path, sizeof path, "%d/status", (int)pid);
    if (!read_text(proc_fd, path, text, sizeof text)) {
        return false;
    }
    const char *line = strstr(text, "\nShdPnd:");
    return line && (strtoull(line + 8, NULL, 16) >> (SIGSTOP - 1) & 1) != 0;
}

/* The states of all its threads, at most `size` - 1 different ones. */
static void
read_thread_states(int proc_fd, pid_t pid, char *out, size_t size)
{
    char path[64], line[1024];
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%d/task", (int)pid);
    int fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        er_close(&fd);
    }
    for (struct dirent *e; dir && n + 1 < size && (e = readdir(dir)) != NULL;) {
        (void)snprintf(path, sizeof path, "%d/task/%.20s/stat", (int)pid, e->d_name);
        if (e->d_name[0] == '.' || !read_text(proc_fd, path, line, sizeof line)) {
            continue;
        }
        const char *p = strrchr(line, ')');
        if (p && p[1] == ' ' && !memchr(out, p[2], n)) {
            out[n++] = p[2];
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    out[n] = '\0';
}

/* Whether nothing of it can run before a SIGCONT: all threads are stopped, or sleep in the
 * kernel and will stop before they leave it. */
static bool
is_stopped(int proc_fd, const struct proc *p)
{
    char states[16] = {p->state, '\0'};
    if (p->state != 'D' && p->threads <= 1) {
        return p->state == 'T' || p->state == 't';
    }
    if (!strchr("TtDZX", p->state)) {
        return false;
    }
    if (p->threads > 1) {
        read_thread_states(proc_fd, p->pid, states, sizeof states);
    }
    if (states[strspn(states, "TtDZX")] != '\0') {
        return false;
    }
    return strpbrk(states, "Tt") != NULL || has_stop_pending(proc_fd, p->pid);
}

static int
tree_add(struct er_proctree *t, const struct proc *p, bool stopped)
{
    if (t->n == t->size) {
        size_t size = t->size ? t->size * 2 : 16;
        pid_t *pids = er_realloc_array(t->pids, size, sizeof *pids);
        if (!pids) {
            return ER_ENOMEM;
        }
        t->pids = pids;
        uint64_t *starts = er_realloc_array(t->starts, size, sizeof *starts);
        if (!starts) {
            return ER_ENOMEM;
        }
        t->starts = starts;
        bool *list = er_realloc_array(t->stopped, size, sizeof *list);
        if (!list) {
            return ER_ENOMEM;
        }
        t->stopped = list;
        t->size = size;
    }
    t->pids[t->n] = p->pid;
    t->stopped[t->n] = stopped;
    t->starts[t->n++] = p->start;
    return 0;
}

int
er_proctree_find(struct er_proctree *t, const char *cookie_prefix, pid_t root_pid)
{
    t->n = 0;
    struct scan s = {.proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (s.proc_fd < 0) {
        return ER_EIO;
    }
    int rc = scan_read(&s, cookie_prefix);
    if (rc == 0) {
        scan_spread(&s, root_pid);
    }
    for (size_t i = 0; rc == 0 && i < s.n; i++) {
        if (s.procs[i].marked && !s.procs[i].dead) {
            rc = tree_add(t, &s.procs[i], is_stopped(s.proc_fd, &s.procs[i]));
        }
    }
    er_free(s.procs);
    er_close(&s.proc_fd);
    return rc;
}

void
er_proctree_fini(struct er_proctree *t)
{
    er_free(t->pids);
    er_free(t->starts);
    er_free(t->stopped);
    *t = (struct er_proctree){0};
}

/* A pidfd of the very process that was found, or -1 when that is gone. */
static int
open_found(const struct er_proctree *t, size_t i, int proc_fd)
{
    int fd = pidfd_open_of(t->pids[i]);
    struct proc now;
    if (fd >= 0 &&
        (read_stat(proc_fd, t->pids[i], &now) != 0 || now.start != t->starts[i])) {
        er_close(&fd);
    }
    return fd;
}

static void
signal_one(const struct er_proctree *t, size_t i, int proc_fd, int sig)
{
    int fd = open_found(t, i, proc_fd);
    if (fd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
        er_close(&fd);
    }
}

void
er_proctree_signal(const struct er_proctree *t, int sig)
{
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; proc_fd >= 0 && i < t->n; i++) {
        signal_one(t, sig == SIGCONT ? t->n - 1 - i : i, proc_fd, sig);
    }
    er_close(&proc_fd);
}

/* Waits until the found are gone, or WAIT_MS are over. */
static void
wait_gone(const struct er_proctree *t)
{
    struct pollfd fds[WAIT_AT_ONCE];
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    nfds_t n = 0;
    for (size_t i = 0; proc_fd >= 0 && i < t->n && n < WAIT_AT_ONCE; i++) {
        int fd = open_found(t, i, proc_fd);
        if (fd >= 0) {
            fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
    nfds_t left = n;
    for (int rounds = 0; left > 0 && rounds < WAIT_AT_ONCE; rounds++) {
        if (poll(fds, n, WAIT_MS) <= 0) {
            break;
        }
        for (nfds_t i = 0; i < n; i++) {
            if (fds[i].fd >= 0 && fds[i].revents != 0) {
                er_close(&fds[i].fd);
                left--;
            }
        }
    }
    for (nfds_t i = 0; i < n; i++) {
        er_close(&fds[i].fd);
    }
    er_close(&proc_fd);
}

int
er_proctree_kill(const char *cookie_prefix, pid_t root_pid, int tries,
                 struct er_proctree *left)
{
    struct er_proctree found = {0};
    bool killed = false;
    int rc = 0;
    for (int i = 0; i < tries; i++) {
        rc = er_proctree_find(&found, cookie_prefix, root_pid);
        if (rc == 0 && found.n == 0 && killed) {
            rc = er_proctree_find(&found, cookie_prefix, root_pid);
        }
        if (rc != 0 || found.n == 0) {
            break;
        }
        killed = true;
        er_proctree_signal(&found, SIGKILL);
        wait_gone(&found);
    }
    if (rc == 0 && found.n > 0) {
        rc = er_proctree_find(&found, cookie_prefix, root_pid);
    }
    if (rc == 0) {
        rc = (int)found.n;
        if (left && found.n > 0) {
            er_proctree_fini(left);
            *left = found;
            return rc;
        }
    }
    er_proctree_fini(&found);
    return rc;
}

/* SIGSTOP to those that run: how many. */
static int
stop_running(const struct er_proctree *t)
{
    int n = 0;
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < t->n; i++) {
        if (!t->stopped[i]) {
            n++;
            signal_one(t, i, proc_fd, SIGSTOP);
        }
    }
    er_close(&proc_fd);
    return n;
}

int
er_proctree_stop(const char *cookie_prefix, pid_t root_pid, int tries,
                 struct er_proctree *tree)
{
    bool quiet = false; /* the last look found none that runs */
    int left = 1, nap_ms = 1;
    for (int i = 0; i < tries; i++) {
        int rc = er_proctree_find(tree, cookie_prefix, root_pid);
        int running = rc ? rc : stop_running(tree);
        if (running == 0 && (quiet || tree->n == 0)) {
            return 0;
        }
        quiet = running == 0;
        if (!quiet) {
            left = running;
            (void)poll(NULL, 0, nap_ms);
            nap_ms = nap_ms * 2 < NAP_MOST_MS ? nap_ms * 2 : NAP_MOST_MS;
        }
    }
    return left;
}
