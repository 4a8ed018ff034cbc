/* SPDX-License-Identifier: MIT */
/* The clocks of a running attempt: its timeout, and its heartbeat, the longest time it
 * may give no sign of life (output, or a progress line). Both count active time: they
 * stand still while the attempt is paused, and, being monotonic, while the machine
 * sleeps.
 *
 * A sign of life costs a store to memory: the timer is moved only when it fires. What the
 * command has written and the worker has not read yet is a sign of life too; so a worker
 * that was itself held up does not end a command that is well. Loop thread. */
#ifndef ER_WORK_CLOCKS_H
#define ER_WORK_CLOCKS_H

#include "base/clock.h"
#include "work/timer.h"

struct er_work_attempt;

/* Embedded in the attempt. */
struct er_clocks {
    struct er_timer timeout, heartbeat;
    er_usec begin_at;    /* all monotonic */
    er_usec alive_at;    /* the last sign of life */
    er_usec stopped_at;  /* since when they stand still; 0 = they run */
    er_usec stopped_for; /* the times before that they stood still */
};

/* The process exists: they run from now on. */
void er_clocks_start(struct er_work_attempt *a);
/* For good: the command has ended. */
void er_clocks_end(struct er_work_attempt *a);
/* They stand still, and go on. Twice is as once. */
void er_clocks_stop(struct er_work_attempt *a);
void er_clocks_go(struct er_work_attempt *a);
/* It gave a sign of life. */
void er_clocks_alive(struct er_work_attempt *a);
/* How long it has been active. */
er_usec er_clocks_active_for(const struct er_work_attempt *a);

#endif
