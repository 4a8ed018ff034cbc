/* SPDX-License-Identifier: MIT */
/* A sweep is a job for the sweeper's thread: find the tree, signal it, count what is
 * left; its answer moves the attempt on (er_attempt_advance). A count below 0 means that
 * /proc could not be read: the tree is then not known to be gone, and is looked for
 * again. */
#include "work/kill.h"

#include <signal.h>

#include "work/worker.h"

#define KILL_TRIES 3  /* rounds of one sweep, 100 ms each at most */
#define STOP_TRIES 12 /* looks of one sweep, some 150 ms in all */
#define PIDS_SHOWN 20

static void
on_run(struct er_helper_job *job)
{
    struct er_sweep *s = ER_CONTAINER(job, struct er_sweep, job);
    if (s->kind == ER_SWEEP_KILL) {
        s->found.n = 0;
        s->left = er_proctree_kill(s->cookie, s->root_pid, KILL_TRIES, &s->found);
        return;
    }
    if (s->kind == ER_SWEEP_STOP) {
        s->left = er_proctree_stop(s->cookie, s->root_pid, STOP_TRIES, &s->found);
        return;
    }
    if (s->kind == ER_SWEEP_CONT) { /* also one that can't be found any more */
        er_proctree_signal(&s->found, SIGCONT);
    }
    int rc = er_proctree_find(&s->found, s->cookie, s->root_pid);
    s->left = rc ? rc : (int)s->found.n;
    if (rc == 0 && s->kind == ER_SWEEP_TERM) {
        er_proctree_signal(&s->found, SIGTERM);
    }
    if (rc == 0 && s->kind != ER_SWEEP_LOOK) {
        er_proctree_signal(&s->found, SIGCONT); /* what is stopped must get to see it */
    }
}

static void
on_done(struct er_helper_job *job)
{
    struct er_sweep *s = ER_CONTAINER(job, struct er_sweep, job);
    struct er_work_attempt *a = ER_CONTAINER(s, struct er_work_attempt, sweep);
    s->busy = false;
    s->answered = true;
    er_attempt_advance(a);
}

/* The leader while it lives; afterwards its session, as long as its group holds the
 * number (it cannot be anybody else's then). */
static pid_t
root_of(const struct er_work_attempt *a)
{
    if (!a->leader_gone) {
        return a->pid;
    }
    return kill(-a->pid, 0) == 0 ? -a->pid : 0;
}

void
er_kill_sweep(struct er_work_attempt *a, enum er_sweep_kind kind)
{
    struct er_sweep *s = &a->sweep;
    ER_ASSERT(!s->busy);
    s->busy = true;
    s->answered = false;
    s->kind = kind;
    er_cookie_format(s->cookie, a->worker->token, a->task, a->attempt);
    s->root_pid = root_of(a);
    s->job.run = on_run;
    s->job.done = on_done;
    er_helper_post(&a->worker->helpers, ER_HELPER_SWEEP, &s->job);
}

void
er_kill_fini(struct er_work_attempt *a)
{
    er_proctree_fini(&a->sweep.found);
}

static void
encode(const struct er_proctree *t, bool running_only, struct er_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (running_only && t->stopped[i]) {
            continue;
        }
        if (n++ < PIDS_SHOWN) {
            er_buf_addf(b, "%s%d", n > 1 ? ", " : "", (int)t->pids[i]);
        }
    }
    if (n > PIDS_SHOWN) {
        er_buf_addf(b, " and %zu more", n - PIDS_SHOWN);
    }
}

void
er_kill_encode_pids(const struct er_sweep *s, struct er_buf *b)
{
    encode(&s->found, false, b);
}

void
er_kill_encode_running(const struct er_sweep *s, struct er_buf *b)
{
    encode(&s->found, true, b);
}
