/* SPDX-License-Identifier: MIT */
/* Pausing an attempt where it is, and letting it go on.
 *
 *            pause               verified: `paused` is told
 *   going ──────────▶ stopping ─────────────────────────────▶ stopped
 *     ▲                  │ resume: when the look is back         │ resume
 *     │                  ▼                                       │
 *     └───────────── continuing ◀────────────────────────────────┘
 *       SIGCONT is sent: `resumed` is told
 *
 * Stopping: SIGSTOP to the whole tree, looked for again until two looks find nothing that
 * runs. What can't be stopped within 5 s (a process of another user) is named in a
 * warning, and the attempt counts as paused. The last order wins: a resume that comes
 * while it is stopping lets it go on, and only `resumed` is told; a pause that comes
 * while it is continuing stops it again, and both are told.
 *
 * The clocks stand still from the order to the SIGCONT; output is still read. An end from
 * whatever reason wins: the TERM to the tree goes with a SIGCONT, and only the end is
 * told. Also what had stopped itself goes on with a resume. Loop thread. */
#ifndef ER_WORK_PAUSE_H
#define ER_WORK_PAUSE_H

#include <stdbool.h>

#include "base/clock.h"

enum er_pause_state {
    ER_PAUSE_GOING,
    ER_PAUSE_STOPPING,
    ER_PAUSE_STOPPED,
    ER_PAUSE_CONTINUING,
};

/* Embedded in the attempt. */
struct er_pause {
    enum er_pause_state state;
    bool wanted; /* the last order; stays false for one that ends */
    bool told;   /* the daemon has been told that it is paused, and not yet otherwise */
    bool answer; /* a resume was ordered: to be answered by `resumed` */
    er_usec give_up_at; /* when stopping ends without success; monotonic */
};

struct er_work_attempt;

/* The orders. One that was not started yet is given back by a pause. */
void er_pause_order(struct er_work_attempt *a);
void er_pause_resume(struct er_work_attempt *a);
/* Looks at what happened, while the attempt is running and shall not end. */
void er_pause_advance(struct er_work_attempt *a);
/* What a hello says of it: the last order while that may still be carried out (it is, or
 * is just being), so that a daemon that knows of no order takes over what will be; else
 * what was told. */
bool er_pause_is_held(const struct er_work_attempt *a);

#endif
