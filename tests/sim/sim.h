/* SPDX-License-Identifier: MIT */
/* The simulator: the real engine on the real store, in one thread, on virtual time.
 *
 *   sim_loop.c  what the engine calls its loop and its threads: queues, nothing else
 *   world.c     time, chance, the disk, what dead workers left (linked in place of the
 *               real ones)
 *   worker.c    workers that are played: they run attempts, report, vanish, freeze and
 *               die; one of them has handlers for a type, and executes nothing else
 *   users.c     submits and changes
 *   driver.c    restarts, disk faults, clocks that jump; what happens when
 *   model.c     the naive model: an array of tasks, and what each verb has to do to it
 *   check.c     the store's verbs, each played by the model too and compared
 *   judge.c     what attempts come to; limits.c: permits and rates
 *   quiet.c     what must hold when nothing is under way, and after a start
 *   sim.c       the main function: a campaign, the same seed twice, the mutants
 *
 * A step does one thing: a crew works off its box, or the loop turns once (it delivers
 * some letters and lets some of the world happen, in an order that the seed chooses).
 * When nothing can be done, all is quiet: what must hold then is checked, and time goes
 * on to the next moment at which something happens. */
#ifndef ER_TESTS_SIM_H
#define ER_TESTS_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/mutant.h"
#include "engine/engine.h"
#include "engine/engine_priv.h"

#define MS   ER_USEC_PER_MS
#define SEC  ER_USEC_PER_SEC
#define MIN  (60 * SEC)
#define HOUR (60 * MIN)

/* ---- the world ---- */

#define MAX_WORKERS 4
#define MAX_TRIES   512
#define N_QUEUES    5
#define N_TYPES     3 /* the last one is executed by handlers */
#define N_KEYS      4 /* the first is "no key" */
#define HANDLED     (N_TYPES - 1)

/* One attempt as the world knows it: what really runs, ran, and was written down. */
enum try_phase { TRY_FREE, TRY_TOLD, TRY_RUNS, TRY_ENDED };
enum try_end {
    END_NONE,
    END_EXIT,      /* with `code` */
    END_SIGNAL,    /* killed by somebody */
    END_ERROR,     /* it reported an error of class `code` */
    END_TIMEOUT,   /* the worker ended it */
    END_CANCEL,    /* ... because it was told to */
    END_REQUEUE,   /* likewise */
    END_LIMITED,   /* it reported a rate limit */
    END_UNSPAWNED, /* never started */
    END_NOT_FOUND, /* could not be started */
};
struct
try {
    enum try_phase phase;
    er_task_id task;
    int attempt;
    int worker;     /* place in sim.workers; -1 = of one that is dead */
    char token[33]; /* of its session: in the cookie of every process */
    int64_t session;
    bool handler;    /* in its worker's own process; it writes no log */
    bool tree;       /* processes of it live */
    bool log;        /* its log exists */
    bool exit_frame; /* ... with its end */
    bool said_start; /* "started" was reported */
    bool given_back; /* dropped by the worker: nothing to report */
    bool under_way;  /* its end is in the report that is under way */
    bool cancel_told, requeue_told, pause_told;
    bool stopped, stopped_said,
        stopped_sent;          /* paused: it is; the daemon knows; is told */
    er_usec left;              /* while stopped */
    unsigned items, items_bad; /* ended, and not taken by the daemon yet */
    unsigned items_sent;
    int checkpoint, checkpoint_sent; /* 0 = none */
    int steps;                       /* items that are left to do */
    enum try_end end, will;
    int code;
    er_usec retry_after;
    er_usec at; /* mono: when the next thing happens to it; ER_NEVER = nothing */
    er_usec started_at, ended_at; /* wall */
    er_usec told_at; /* wall: when its end was told to the engine first; ER_NEVER */
    er_usec told_last;
};

struct vworker {
    bool handlers; /* it has handlers, and executes no processes */
    bool serves;   /* ... at the moment */
    bool alive, opening, attached, frozen, report_open;
    int64_t session;
    char token[33];
    int slots;
    struct er_link link;
    bool woken;
    er_usec connect_at, read_at, report_at, thaw_at, silent_until; /* mono; ER_NEVER */
    er_task_id foreign; /* another one's task that its report says to have ended */
    int64_t report_no;  /* of the report under way; 0 = none */
    struct er_report_batch *batch; /* told in part */
    bool told_dead;                /* the daemon knows that it is dead */
    er_usec dead_at;               /* mono: when the daemon will know */
    int64_t dead_session;
};

struct counters {
    int64_t steps, crossings, tasks, submits, attempts, changes, restarts, worker_deaths,
        links_lost, freezes, jumps, suspends, faults, failed_crossings, checks,
        full_checks, verifies, late_reports, stops, items, calms, completed, failed,
        cancelled, retries, refused;
};

struct sim {
    uint64_t seed, rand;
    bool trace;
    uint64_t hash; /* of all that happened */

    /* time: mono stands in a suspend, boot does not, wall = boot + offset */
    er_usec mono, boot, offset, end;

    struct er_clock clock;
    char folder[64], path[96];
    struct er_loop *loop;
    struct er_engine *e; /* NULL: the daemon is down */
    int64_t life;        /* of the daemon: counts its starts */
    bool tearing;        /* it is being torn down: nothing that happens now is true */
    er_usec start_at;    /* mono: when it is started again */
    er_usec break_at, mend_at;
    bool broken; /* the disk refuses */
    bool calm;   /* no bad luck, no requests: all that is there must end */
    er_usec next_calm, calm_since;
    bool shift_pending; /* the clock was set, and the store does not know */
    int64_t stuck;      /* steps in which no time has passed */
    bool disk_full;
    bool fault_seen;

    struct vworker workers[MAX_WORKERS];
    int n_workers;
    struct try tries[MAX_TRIES];
    int n_tries; /* places in use, some of them free */
    int64_t reports;

    er_usec next_submit, next_change, next_luck, phase_until;
    double busy; /* submits an hour now */
    double density;

    struct counters n;
};
extern struct sim sim;

/* chance */
uint64_t rnd(uint64_t n); /* 0 .. n-1 */
bool chance(int percent);
bool one_in(uint64_t n);
er_usec rnd_span(er_usec mean); /* exponential, bounded by 20 x mean */
er_usec wall(void);

/* Something does not hold: says what, where, and the seed; ends the process with 1. */
void sim_fail(const char *fmt, ...) ER_PRINTF(1, 2) __attribute__((noreturn));
/* Writes into the history: its hash, and the trace. */
void sim_note(const char *fmt, ...) ER_PRINTF(1, 2);

/* sim_loop.c */
size_t sim_loop_letters(const struct er_loop *loop);
void sim_loop_deliver(struct er_loop *loop); /* one letter; which crew's is chance */
void sim_loop_end_turn(struct er_loop *loop);
er_usec sim_loop_alarm(const struct er_loop *loop);
void sim_loop_ring(struct er_loop *loop);
void sim_loop_clock_set(struct er_loop *loop); /* as TFD_TIMER_CANCEL_ON_SET tells */
size_t sim_loop_busy_crews(const struct er_loop *loop);
void sim_loop_run_crew(struct er_loop *loop); /* one that has mail; which is chance */

/* world.c */
void world_init(void);
struct try *try_find(er_task_id task, int attempt, int64_t session);
struct try *try_new(void);
void try_free(struct try *t);
bool world_tree_lives(er_task_id task); /* some attempt of it */
char *try_report(const struct try *t);  /* its end as JSON, without the newline */

/* worker.c */
void workers_begin(void);
er_usec workers_next(void); /* mono: when something happens in a worker next */
void workers_happen(void);  /* one thing that is due */
void workers_daemon_gone(void);
void workers_daemon_there(void);
void worker_die(struct vworker *w);
void worker_unlink(struct vworker *w);
int workers_alive(void);
void workers_heal(void); /* all types are served */

/* users.c */
#define USERS_MAX_COST 3 /* of a start */
void users_submit(void);
void users_change(void);
void users_heal(void);   /* resumes all that is paused or held */
void users_define(void); /* the types that are not defined */

/* driver.c */
void driver_begin(void);
void driver_run(int64_t hours);
void daemon_start(void);
void daemon_end(bool hard);

#endif
