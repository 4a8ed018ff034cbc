/* SPDX-License-Identifier: MIT */
/* Reaping: the worker is a subreaper, so it is told (SIGCHLD, by a signalfd) of the end
 * of the attempts' leaders and of every process whose parent in the tree has ended before
 * it. It reaps all with wait4(-1), and matches them by pid: a pidfd for each leader would
 * say the same news a second time, for four more system calls.
 *
 * The cheap test whether an ended attempt has left anything behind: what a process leaves
 * is re-parented to us before we are told of its end. So a tree of which anything lives
 * always has a member among our own children; and these stand in one small file,
 * /proc/self/task/TID/children (the main thread's: the kernel gives orphans to it). When
 * all in it are leaders of other attempts, or orphans that were there before this attempt
 * was spawned, then nothing of it is left. Otherwise kill.h looks at all of /proc. The
 * list is exact as only this thread takes children off it, by reaping. Where the kernel
 * has no such file (CONFIG_PROC_CHILDREN), kill.h looks each time. Loop thread. */
#ifndef ER_WORK_REAP_H
#define ER_WORK_REAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/error.h"
#include "work/watch.h"

struct er_worker;
struct er_work_attempt;

/* An adopted process that lives. */
struct er_adopted {
    pid_t pid;
    uint64_t seen_no; /* spawns until it was first seen */
};

/* One that was reaped while a spawn was under way on its thread: perhaps that one's. */
struct er_stray {
    pid_t pid;
    int status;
    struct rusage usage;
};

struct er_reap {
    struct er_worker *worker;
    struct er_fd_watch watch;
    int signal_fd;
    int children_fd; /* /proc/self/task/TID/children; -1 = there is none */
    bool pending;    /* SIGCHLD came */
    uint64_t spawns; /* counts them */
    struct er_adopted *orphans;
    size_t orphans_n, orphans_size;
    struct er_stray *strays;
    size_t strays_n, strays_size;
};

/* Blocks SIGCHLD and SIGTERM in this thread (and those it makes) and makes the worker a
 * subreaper. Before any thread is made. */
int er_reap_init(struct er_reap *r, struct er_worker *w, struct er_err *err) ER_MUSTCHECK;
void er_reap_fini(struct er_reap *r);
/* Reaps what has ended, when there was a signal. */
void er_reap_run(struct er_reap *r);
/* Gives an attempt its leader's status if that was reaped before it was known. */
void er_reap_claim(struct er_reap *r, struct er_work_attempt *a);
/* Whether certainly nothing lives of an attempt whose leader was reaped. */
bool er_reap_is_alone(struct er_reap *r, const struct er_work_attempt *a);

#endif
