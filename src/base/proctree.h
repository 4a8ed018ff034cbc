/* SPDX-License-Identifier: MIT */
/* Finding and ending all processes of an attempt, also those that called setsid: by a
 * cookie in their environment (ERRAND_COOKIE=..., read from /proc), by session, process
 * group and parent, to a fixed point. Blocking (reads all of /proc); not on a loop
 * thread.
 *
 * A prefix ends at a border: "T.4" finds "T.4" and "T.4.1" but not "T.42".
 *
 * What is not found: a process that has dropped its environment AND left session and
 * group AND whose parent is gone; one of another user, when we are not root. */
#ifndef ER_BASE_PROCTREE_H
#define ER_BASE_PROCTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct er_proctree {
    pid_t *pids; /* found, sorted; without zombies */
    uint64_t
        *starts;   /* start time of each (clock ticks since boot): tells a re-used pid */
    bool *stopped; /* of each: none of its threads can run until a SIGCONT */
    size_t n, size;
};
void er_proctree_fini(struct er_proctree *t);
/* Finds the living processes whose ERRAND_COOKIE begins with `cookie_prefix` (NULL = do
 * not look for one), and all that belong to them by session (of a leader that is one of
 * them), group or parent, and, when root_pid > 0, that process, its session and
 * descendants. With root_pid < 0 the leader -root_pid is known to be reaped: its session,
 * group and their descendants are found, but not a process that has that pid now. Never
 * finds `self` (the calling process), its parent nor pid 1. 0 or an error. */
int er_proctree_find(struct er_proctree *t, const char *cookie_prefix,
                     pid_t root_pid) ER_MUSTCHECK;
/* Sends a signal to each of them (by pidfd, so that a pid that was used again is not
 * hit), in the order of their pids; SIGCONT the other way round, so that a shell with job
 * control finds its children running when it looks at them. */
void er_proctree_signal(const struct er_proctree *t, int sig);
/* SIGKILLs until none is found any more, or for at most `tries` rounds with short waits
 * on the pidfds in between: how many are left (0 = verified gone), or an error
 * (negative): /proc could not be read, nothing is known, so whoever must not go on before
 * the tree is gone looks again later. When some are left and `left` is not NULL, it gets
 * them. */
int er_proctree_kill(const char *cookie_prefix, pid_t root_pid, int tries,
                     struct er_proctree *left) ER_MUSTCHECK;
/* SIGSTOPs until two looks in a row find none that runs, or for at most `tries` looks
 * with short waits in between: 0 = verified, all that are left (in `tree`) are stopped;
 * else how many still ran at the last look (at least 1), or an error. */
int er_proctree_stop(const char *cookie_prefix, pid_t root_pid, int tries,
                     struct er_proctree *tree) ER_MUSTCHECK;

#endif
