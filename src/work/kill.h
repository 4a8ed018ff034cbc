/* SPDX-License-Identifier: MIT */
/* Looking for, signalling and killing the tree of an attempt, on the sweeper's thread
 * (all of /proc is read). One sweep of an attempt is under way at a time. */
#ifndef ER_WORK_KILL_H
#define ER_WORK_KILL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/proctree.h"
#include "work/command.h"
#include "work/helper.h"

enum er_sweep_kind {
    ER_SWEEP_LOOK, /* only count */
    ER_SWEEP_TERM, /* SIGTERM and SIGCONT to each */
    ER_SWEEP_KILL, /* SIGKILL, and wait a little for them to go */
    ER_SWEEP_STOP, /* SIGSTOP, and wait a little for them to stop */
    ER_SWEEP_CONT, /* SIGCONT to each, and to what the last STOP had found */
};

/* Embedded in the attempt. */
struct er_sweep {
    struct er_helper_job job;
    bool busy;
    bool answered; /* `left` is news; cleared by who reads it */
    enum er_sweep_kind kind;
    char cookie[ER_COOKIE_SIZE];
    pid_t root_pid; /* as in er_proctree_find */
    int left;       /* how many there are (KILL: are left; STOP: may run), or a negative
                       error */
    struct er_proctree found;
};

struct er_work_attempt;
/* Starts one; er_attempt_advance is called when it is answered. */
void er_kill_sweep(struct er_work_attempt *a, enum er_sweep_kind kind);
void er_kill_fini(struct er_work_attempt *a);
/* Adds the pids that were found, ", " between, at most 20 of them. */
void er_kill_encode_pids(const struct er_sweep *s, struct er_buf *b);
/* The same for those that are not stopped. */
void er_kill_encode_running(const struct er_sweep *s, struct er_buf *b);

#endif
