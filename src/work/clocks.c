/* SPDX-License-Identifier: MIT */
/* Both timers are set to what is left when the attempt starts or goes on, and are taken
 * off when it is paused or ends. One that fires looks again (signs of life move no
 * timer) and ends the attempt only when the time is really over. */
#include "work/clocks.h"

#include <poll.h>

#include "work/worker.h"

static er_usec
mono(const struct er_work_attempt *a)
{
    return er_clock_mono(a->worker->clock);
}

static void
on_timeout(struct er_timer *t)
{
    struct er_work_attempt *a = ER_CONTAINER(t, struct er_work_attempt, clocks.timeout);
    er_attempt_end(a, ER_WHY_TIMEOUT, a->grace_for);
}

/* Whether the command has written something that was not read yet. */
static bool
has_unread(const struct er_work_attempt *a)
{
    struct pollfd fds[] = {
        {a->out.fd, POLLIN, 0}, {a->err.fd, POLLIN, 0}, {a->progress_fd.fd, POLLIN, 0}};
    bool any = poll(fds, sizeof fds / sizeof *fds, 0) > 0;
    for (size_t i = 0; any && i < sizeof fds / sizeof *fds; i++) {
        if ((fds[i].revents & POLLIN) != 0) {
            return true;
        }
    }
    return false;
}

static void
on_heartbeat(struct er_timer *t)
{
    struct er_work_attempt *a = ER_CONTAINER(t, struct er_work_attempt, clocks.heartbeat);
    struct er_clocks *c = &a->clocks;
    if (has_unread(a)) {
        c->alive_at = mono(a);
    }
    if (mono(a) - c->alive_at < a->heartbeat_for) {
        er_timer_start(&a->worker->timers, t, c->alive_at + a->heartbeat_for,
                       on_heartbeat);
        return;
    }
    er_attempt_end(a, ER_WHY_HEARTBEAT, a->grace_for);
}

/* Sets the timers to what is left. */
static void
set_timers(struct er_work_attempt *a)
{
    struct er_clocks *c = &a->clocks;
    if (a->timeout_for > 0) {
        er_timer_start(&a->worker->timers, &c->timeout,
                       c->begin_at + c->stopped_for + a->timeout_for, on_timeout);
    }
    if (a->heartbeat_for > 0) {
        er_timer_start(&a->worker->timers, &c->heartbeat, c->alive_at + a->heartbeat_for,
                       on_heartbeat);
    }
}

void
er_clocks_start(struct er_work_attempt *a)
{
    a->clocks.begin_at = mono(a);
    a->clocks.alive_at = a->clocks.begin_at;
    set_timers(a);
}

void
er_clocks_end(struct er_work_attempt *a)
{
    er_timer_stop(&a->worker->timers, &a->clocks.timeout);
    er_timer_stop(&a->worker->timers, &a->clocks.heartbeat);
}

void
er_clocks_stop(struct er_work_attempt *a)
{
    if (a->clocks.stopped_at == 0) {
        a->clocks.stopped_at = mono(a);
        er_clocks_end(a);
    }
}

void
er_clocks_go(struct er_work_attempt *a)
{
    struct er_clocks *c = &a->clocks;
    if (c->stopped_at == 0) {
        return;
    }
    er_usec now = mono(a);
    er_usec pause_for = now - c->stopped_at;
    c->stopped_for += pause_for;
    /* what it wrote before the stop may have been read after it */
    c->alive_at = c->alive_at + pause_for < now ? c->alive_at + pause_for : now;
    c->stopped_at = 0;
    set_timers(a);
}

void
er_clocks_alive(struct er_work_attempt *a)
{
    a->clocks.alive_at = mono(a);
}

er_usec
er_clocks_active_for(const struct er_work_attempt *a)
{
    const struct er_clocks *c = &a->clocks;
    er_usec end = c->stopped_at ? c->stopped_at : mono(a);
    return end - c->begin_at - c->stopped_for;
}
