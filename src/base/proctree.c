/* SPDX-License-Identifier: MIT */
/* How it works: one pass over /proc reads the stat line of every process and, of those
 * that are not kernel threads, the environment up to the cookie. What carries the cookie
 * is marked; then everything whose parent, session or group is marked is marked too,
 * until nothing changes.
 *
 * Races, and what is done about them:
 * - A process that is just between fork and exec has its parent's environment; one within
 *   exec has for a moment none (and on a loaded machine that moment may be long): it is
 *   told from one that was started without any by the kernel's pointers to it, and looked
 *   at until it has one.
 * - A process that appears behind the reader's back is found by the next pass: killing
 *   goes on until a pass finds nothing, and, after anything was killed, a second one too.
 * - Stopping is the same with SIGSTOP. A process that forks while it is signalled has its
 *   child stopped by the next look; one that sleeps in the kernel (a vfork whose child is
 *   stopped, a dead mount) counts as stopped when the signal waits for it: it comes to
 *   the stop before it comes to its program.
 * - A chain of processes each of which makes the next and ends is faster than a pass with
 *   signals after it, and one that lives for less than the reading of a list of pids
 *   takes is gone when its turn comes, its heirs not in the list. So /proc is read a few
 *   entries at a time: it gives them in the order of pids, with those that were born
 *   meanwhile, so that the living end of the chain is ahead until it is met. And it is
 *   signalled when it is met. (Where pids begin anew just then, it is the next pass that
 *   meets it.)
 * - A pid that was used again between the finding and the signal: the signal goes to a
 *   pidfd, after the start time was compared through it.
 * Failure modes: /proc cannot be read (ER_EIO), memory (ER_ENOMEM). A process that
 * vanishes or that we may not look at is passed over. */
#include "base/proctree.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define COOKIE_NAME "ERRAND_COOKIE="
/* of a struct linux_dirent64: where its length and its name are, and room for a few */
#define ENTRY_LEN    16
#define ENTRY_NAME   19
#define ENTRIES_SIZE 128
#define PF_KTHREAD   0x00200000u
#define PF_EXITING   0x00000004u
#define ENV_RETRIES  3
#define EXEC_TRIES   200 /* looks at one that is within exec, a millisecond apart */
#define WAIT_MS      100 /* for the killed to vanish, in each round */
#define WAIT_AT_ONCE 64  /* pidfds polled together */
#define NAP_MOST_MS  16  /* for the signalled to stop, in each round */

struct proc {
    pid_t pid, ppid, pgrp, session;
    uint64_t start;
    int threads;
    char state;   /* of its first thread */
    bool in_exec; /* it has no environment yet */
    bool dead, kernel, marked;
};

struct scan {
    struct proc *procs; /* sorted by pid once complete */
    size_t n, size;
    int proc_fd;        /* /proc */
    pid_t self, parent; /* are never found */
    int at_once; /* signal to send to what bears the cookie as soon as it is seen; 0 = none */
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
    const char *last =
        strrchr(p, ' '); /* the exit code; before it the environment's end */
    *out = (struct proc){.pid = pid,
                         .in_exec = last - p > 2 && strncmp(last - 2, " 0", 2) == 0 &&
                                    (flags & (PF_EXITING | PF_KTHREAD)) == 0,
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
    int without = 0;
    for (int i = 0; i < EXEC_TRIES; i++) {
        int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return false;
        }
        bool empty;
        bool found = scan_environ(fd, prefix, &empty);
        er_close(&fd);
        struct proc now;
        if (found || !empty || read_stat(proc_fd, pid, &now) != 0 || now.dead) {
            return found;
        }
        if (now.in_exec) {
            (void)poll(NULL, 0, 1);
        } else if (without++ == ENV_RETRIES) { /* not one that has just left its exec */
            return false;
        }
    }
    return false;
}

/* ---- signals ---- */

/* A pidfd of the very process that was seen, or -1 when that is gone. */
static int
open_seen(int proc_fd, pid_t pid, uint64_t start)
{
    int fd = pidfd_open_of(pid);
    struct proc now;
    if (fd >= 0 && (read_stat(proc_fd, pid, &now) != 0 || now.start != start)) {
        er_close(&fd);
    }
    return fd;
}

static void
signal_one(int proc_fd, pid_t pid, uint64_t start, int sig)
{
    int fd = open_seen(proc_fd, pid, start);
    if (fd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
        er_close(&fd);
    }
}

/* ---- the processes ---- */

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

/* Looks at one entry of /proc: 0 or ER_ENOMEM. */
static int
scan_entry(struct scan *s, const char *name, const char *prefix)
{
    char *end;
    long pid = strtol(name, &end, 10);
    struct proc p;
    if (*end != '\0' || pid <= 1 || pid == s->self || pid == s->parent ||
        read_stat(s->proc_fd, (pid_t)pid, &p) != 0) {
        return 0;
    }
    if (prefix && !p.kernel && !p.dead) {
        p.marked = has_cookie(s->proc_fd, p.pid, prefix);
    }
    if (p.marked && s->at_once && (s->at_once != SIGSTOP || p.state != 'T')) {
        signal_one(s->proc_fd, p.pid, p.start, s->at_once);
    }
    return scan_add(s, &p);
}

/* Reads all processes, and marks those that carry the cookie. */
static int
scan_read(struct scan *s, const char *prefix)
{
    struct {
        _Alignas(8) char bytes[ENTRIES_SIZE];
    } some;
    long n;
    int rc = 0;
    while (rc == 0 && (n = syscall(SYS_getdents64, s->proc_fd, some.bytes,
                                   sizeof some.bytes)) != 0) {
        if (n < 0) {
            return ER_EIO;
        }
        for (long at = 0; rc == 0 && at < n;) {
            uint16_t len;
            memcpy(&len, some.bytes + at + ENTRY_LEN, sizeof len);
            rc = scan_entry(s, some.bytes + at + ENTRY_NAME, prefix);
            at += len;
        }
    }
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

/* Whether nothing of it can run before a SIGCONT: all threads are stopped, or sleep in
 * the kernel and will stop before they leave it. */
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

static int
find(struct er_proctree *t, const char *cookie_prefix, pid_t root_pid, int at_once)
{
    t->n = 0;
    struct scan s = {.proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                     .self = getpid(),
                     .parent = getppid(),
                     .at_once = at_once};
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

int
er_proctree_find(struct er_proctree *t, const char *cookie_prefix, pid_t root_pid)
{
    return find(t, cookie_prefix, root_pid, 0);
}

void
er_proctree_fini(struct er_proctree *t)
{
    er_free(t->pids);
    er_free(t->starts);
    er_free(t->stopped);
    *t = (struct er_proctree){0};
}

void
er_proctree_signal(const struct er_proctree *t, int sig)
{
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; proc_fd >= 0 && i < t->n; i++) {
        size_t at = sig == SIGCONT ? t->n - 1 - i : i;
        signal_one(proc_fd, t->pids[at], t->starts[at], sig);
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
        int fd = open_seen(proc_fd, t->pids[i], t->starts[i]);
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
        rc = find(&found, cookie_prefix, root_pid, SIGKILL);
        if (rc == 0 && found.n == 0 && killed) {
            rc = find(&found, cookie_prefix, root_pid, SIGKILL);
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

/* SIGSTOP to each thread. A signal to the process is not taken by its other threads when
 * its first one sleeps in the kernel (vfork), and a second one is not even queued. */
static void
stop_threads(int proc_fd, pid_t pid, uint64_t start)
{
    char path[32];
    (void)snprintf(path, sizeof path, "%d/task", (int)pid);
    int pidfd = open_seen(proc_fd, pid, start);
    int fd = pidfd < 0 ? -1 : openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        er_close(&fd);
    }
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        long tid = strtol(e->d_name, NULL, 10);
        if (tid > 0) {
            (void)syscall(SYS_tgkill, pid, tid, SIGSTOP);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    er_close(&pidfd);
}

/* SIGSTOP to those that run: how many. */
static int
stop_running(const struct er_proctree *t, bool each_thread)
{
    int n = 0;
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < t->n; i++) {
        if (!t->stopped[i]) {
            n++;
            signal_one(proc_fd, t->pids[i], t->starts[i], SIGSTOP);
            if (each_thread) {
                stop_threads(proc_fd, t->pids[i], t->starts[i]);
            }
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
    size_t before = 0;
    for (int i = 0; i < tries; i++) {
        int rc = find(tree, cookie_prefix, root_pid, SIGSTOP);
        int running = rc ? rc : stop_running(tree, i >= 2);
        if (running == 0 && (quiet || tree->n == 0)) {
            return 0;
        }
        quiet = running == 0;
        if (!quiet) {
            left = running;
            if (tree->n == before) { /* else it still grows: on its heels */
                (void)poll(NULL, 0, nap_ms);
                nap_ms = nap_ms * 2 < NAP_MOST_MS ? nap_ms * 2 : NAP_MOST_MS;
            }
        }
        before = tree->n;
    }
    return left;
}
