/* SPDX-License-Identifier: MIT */
/* The orders set what is wanted; er_pause_advance, called whenever a look comes back,
 * takes the next step. A process that ends on the way ends the attempt; one that cannot
 * be stopped in 5 s is named in a warning and counts as stopped. */
#include "work/pause.h"

#include <signal.h>
#include <sys/wait.h>

#include "work/worker.h"

#define GIVE_UP_FOR (5 * ER_USEC_PER_SEC)

static er_usec
mono(const struct er_work_attempt *a)
{
    return er_clock_mono(a->worker->clock);
}

/* ---- the orders ---- */

void
er_pause_order(struct er_work_attempt *a)
{
    switch (a->state) {
    case ER_ATTEMPT_WAITING:
        er_attempt_end(a, ER_WHY_REQUEUE, 0);
        return;
    case ER_ATTEMPT_SPAWNING:
    case ER_ATTEMPT_RUNNING:
        a->pause.wanted = true;
        a->pause.answer = false;
        er_attempt_advance(a);
        return;
    case ER_ATTEMPT_ASKED:
    case ER_ATTEMPT_ENDING:
    case ER_ATTEMPT_KILLING:
    case ER_ATTEMPT_DONE:
        return; /* its end is all that will be told */
    }
}

void
er_pause_resume(struct er_work_attempt *a)
{
    if (a->state == ER_ATTEMPT_SPAWNING || a->state == ER_ATTEMPT_RUNNING) {
        a->pause.wanted = false;
        a->pause.answer = true;
        er_attempt_advance(a);
    }
}

bool
er_pause_is_held(const struct er_work_attempt *a)
{
    bool can = a->state == ER_ATTEMPT_SPAWNING || a->state == ER_ATTEMPT_RUNNING;
    return can ? a->pause.wanted : a->pause.told;
}

/* ---- stopping ---- */

static void
begin_stopping(struct er_work_attempt *a)
{
    a->pause.state = ER_PAUSE_STOPPING;
    a->pause.give_up_at = mono(a) + GIVE_UP_FOR;
    er_clocks_stop(a);
    er_sample_pause(a);
    (void)kill(-a->pid, SIGSTOP); /* most of it at once; the look finds the rest */
    er_kill_sweep(a, ER_SWEEP_STOP);
}

/* Whether the leader has ended, though we may not have been told of it yet. */
static bool
has_ended(const struct er_work_attempt *a)
{
    siginfo_t info = {0};
    return a->leader_gone ||
           (waitid(P_PID, (id_t)a->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == a->pid);
}

static void
warn_not_stopped(struct er_work_attempt *a)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_kill_encode_running(&a->sweep, &b);
    er_attempt_warn(a, "could not be stopped within %d s of SIGSTOP: pid %s",
                    (int)(GIVE_UP_FOR / ER_USEC_PER_SEC), b.data ? b.data : "?");
    er_buf_fini(&b);
}

/* A look has come back that was to stop it. */
static void
end_stopping(struct er_work_attempt *a)
{
    struct er_pause *p = &a->pause;
    if (has_ended(a)) {
        return; /* the end is being told to us, and nothing but the end is told on */
    }
    if (a->sweep.left != 0 && mono(a) < p->give_up_at) {
        er_kill_sweep(a, ER_SWEEP_STOP);
        return;
    }
    if (a->sweep.left != 0) {
        warn_not_stopped(a);
    }
    p->state = ER_PAUSE_STOPPED;
    p->told = true;
    er_report_add_word(&a->worker->report, a, "paused");
}

/* ---- going on ---- */

static void
begin_continuing(struct er_work_attempt *a)
{
    a->pause.state = ER_PAUSE_CONTINUING;
    er_kill_sweep(a, ER_SWEEP_CONT);
}

static void
tell_resumed(struct er_work_attempt *a)
{
    a->pause.told = false;
    a->pause.answer = false;
    er_report_add_word(&a->worker->report, a, "resumed");
}

static void
end_continuing(struct er_work_attempt *a)
{
    a->pause.state = ER_PAUSE_GOING;
    er_clocks_go(a);
    er_sample_resume(a);
    tell_resumed(a);
}

void
er_pause_advance(struct er_work_attempt *a)
{
    struct er_pause *p = &a->pause;
    if (a->sweep.busy) {
        return;
    }
    bool answered = a->sweep.answered;
    a->sweep.answered = false;
    if (p->state == ER_PAUSE_CONTINUING && answered) {
        end_continuing(a);
    }
    switch (p->state) {
    case ER_PAUSE_GOING:
        if (p->wanted) {
            begin_stopping(a);
        } else if (p->answer) {
            tell_resumed(a); /* it was not paused: so it is going on */
        }
        return;
    case ER_PAUSE_STOPPING:
        if (!p->wanted) {
            begin_continuing(a);
        } else if (answered) {
            end_stopping(a);
        }
        return;
    case ER_PAUSE_STOPPED:
        if (!p->wanted) {
            begin_continuing(a);
        }
        return;
    case ER_PAUSE_CONTINUING:
        return;
    }
}
