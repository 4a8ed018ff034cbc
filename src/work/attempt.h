/* SPDX-License-Identifier: MIT */
/* One attempt of a task, from the order to its outcome.
 *
 *               start               leader gone, nothing left
 *   waiting ──▶ spawning ──▶ running ───────────────────────▶ done
 *      │            │           │  cancel, timeout, or leader    ▲
 *      │ cancel     │ failed    │  gone and something left       │
 *      ▼            ▼           ▼          grace over            │ verified gone, or
 *     done         done       ending ─────────────▶ killing ─────┘ 5 s are over
 *                    (TERM to the tree)   (KILL to the tree)
 *
 * A program with the handlers' protocol is asked first when it is to end: running ──▶
 * asked (the word to stop, TERM to the leader alone), and when the grace is over or the
 * leader has left something behind ──▶ ending. It can report where it is meanwhile.
 *
 * While it runs it may be paused (pause.h): a state beside these, which any end ends.
 *
 * Callbacks store what happened in the attempt and call er_attempt_advance, the only
 * function that changes its state. Loop thread. */
#ifndef ER_WORK_ATTEMPT_H
#define ER_WORK_ATTEMPT_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/progress.h"
#include "model/task.h"
#include "wire/outlog.h"
#include "work/clocks.h"
#include "work/command.h"
#include "work/given.h"
#include "work/helper.h"
#include "work/kill.h"
#include "work/output.h"
#include "work/pause.h"
#include "work/probe.h"
#include "work/progress_fd.h"
#include "work/sample.h"
#include "work/spawn.h"
#include "work/stdin.h"
#include "work/timer.h"

struct er_worker;

enum er_attempt_state {
    ER_ATTEMPT_WAITING,
    ER_ATTEMPT_SPAWNING,
    ER_ATTEMPT_RUNNING,
    ER_ATTEMPT_ASKED,
    ER_ATTEMPT_ENDING,
    ER_ATTEMPT_KILLING,
    ER_ATTEMPT_DONE,
};

/* Why the worker ends an attempt; the words stand in the report. */
enum er_attempt_why {
    ER_WHY_NONE,
    ER_WHY_CANCEL,
    ER_WHY_REQUEUE,
    ER_WHY_TIMEOUT,
    ER_WHY_HEARTBEAT,
};

/* The error of an attempt that the worker itself found; static texts but the message. */
struct er_work_fault {
    const char *code, *error_class; /* NULL = none */
    const char *action;             /* what a person can do about it; NULL = nothing */
    int exit_code;                  /* -1 = none */
    char *message;
};

struct er_work_attempt {
    TAILQ_ENTRY(er_work_attempt) link; /* worker->attempts, in the order they came */
    struct er_worker *worker;
    enum er_attempt_state state;
    bool advancing;  /* er_attempt_advance is on the stack */
    bool is_program; /* it speaks the handlers' protocol */
    bool has_slot;   /* it was started: counts against the worker's slots */

    /* what was ordered */
    er_task_id task;
    int attempt;
    json_t *order;         /* the whole `run` object; NULL once it was spawned */
    er_usec timeout_for;   /* 0 = none */
    er_usec heartbeat_for; /* 0 = none */
    er_usec grace_for;
    er_usec expected_for; /* 0 = unknown */
    struct er_given *given;
    struct er_arena arena; /* memory of `command` */
    struct er_command command;

    /* the process */
    struct er_helper_job spawn_job;
    struct er_spawn_fds child_fds; /* open only while spawning */
    struct er_spawn_result spawned;
    bool spawn_answered;
    pid_t pid;        /* > 0 once it was started */
    bool leader_gone; /* and reaped: status and usage are set */
    int status;
    struct rusage usage;
    uint64_t spawn_no;  /* counts the worker's spawns; see reap.h */
    er_usec started_at; /* wall; 0 = never */
    struct er_work_fault fault;

    /* its end by us */
    enum er_attempt_why why;
    bool to_pause;    /* it is put back for a pause, as a program is told */
    bool dropped;     /* nobody wants to hear of it */
    bool end_wanted;  /* TERM, grace, KILL */
    bool kill_wanted; /* KILL at once */
    bool grace_over, rest_over;
    bool look_again;    /* something of the tree may have gone */
    er_usec give_up_at; /* when killing ends without success; monotonic */
    struct er_timer end_timer;
    struct er_sweep sweep;

    struct er_clocks clocks;
    struct er_pause pause;

    /* what it says */
    struct er_outlog log;
    struct er_output out, err;
    struct er_input input;
    struct er_progress_fd progress_fd;
    struct er_progress progress;
    struct er_usage_sampler sample;
    struct er_probe probe;
    struct er_report_fact *notes; /* items and checkpoint that wait; NULL = none */
    struct er_buf result;         /* bytes; has_result tells whether there is one */
    bool has_result;
    bool result_lost;                   /* the last one that was said is too large */
    char *error_json, *checkpoint_json; /* as it reported them; NULL = none */
    double retry_after_s;               /* < 0 = none */
    struct er_buf warnings;             /* JSON strings with commas between */
    int warnings_n;
};
TAILQ_HEAD(er_attempts, er_work_attempt);

/* Takes an order (a reference to the `run` object is kept): the attempt, waiting; NULL
 * when task or attempt number are missing. */
struct er_work_attempt *er_attempt_new(struct er_worker *w, json_t *run);
/* Lets a waiting one begin. It may be done (and freed) when this returns. */
void er_attempt_start(struct er_work_attempt *a);
/* Ends it: TERM to its whole tree, KILL after the grace. The first reason stays. */
void er_attempt_end(struct er_work_attempt *a, enum er_attempt_why why,
                    er_usec grace_for);
/* KILL at once, and no report. */
void er_attempt_drop(struct er_work_attempt *a);
/* Its leader was reaped: kept; er_attempt_advance must follow when all are reaped. */
void er_attempt_on_exit(struct er_work_attempt *a, int status,
                        const struct rusage *usage);
/* Looks at what happened; the attempt may be freed when this returns. */
void er_attempt_advance(struct er_work_attempt *a);

#define ER_ATTEMPT_WARNINGS 20
/* Adds a warning to its report; beyond ER_ATTEMPT_WARNINGS they are only counted. */
void er_attempt_warn(struct er_work_attempt *a, const char *fmt, ...) ER_PRINTF(2, 3);

#endif
