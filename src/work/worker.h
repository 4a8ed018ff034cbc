/* SPDX-License-Identifier: MIT */
/* The worker: what its parts share, and its life: slots, the queue of attempts that wait
 * for one, the session. Everything is on one loop thread; helper.h has the others.
 *
 * The loop sleeps until a descriptor, a timer or a thread has news; all of it only
 * changes records. Before the loop sleeps again, on_prepare draws the consequences
 * once: reap, report, start what waits, end. */
#ifndef ER_WORK_WORKER_H
#define ER_WORK_WORKER_H

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "work/attempt.h"
#include "work/given.h"
#include "work/helper.h"
#include "work/link.h"
#include "work/local_fs.h"
#include "work/reap.h"
#include "work/report.h"
#include "work/timer.h"
#include "work/watch.h"

enum er_worker_phase {
    ER_WORKER_WORKING,
    ER_WORKER_DRAINING, /* takes nothing more; ends when all is done and reported */
    ER_WORKER_STOPPING, /* puts back what it has, then ends */
    ER_WORKER_LOST,     /* its session is gone: kills everything, then starts anew */
};

struct er_worker_options {
    const char *socket_path; /* absolute */
    int slots;               /* what it offers; the daemon decides */
    er_usec linger_for;      /* without a daemon it ends so long after its last task */
    er_usec backlog_for;     /* what waits for a slot that long is given back */
    int owner_fd; /* readable once the process is gone that all is done for; -1 = none */
};

struct er_worker {
    uv_loop_t loop;
    uv_prepare_t prepare;
    const struct er_clock *clock;
    struct er_watches watches;
    struct er_timers timers;
    struct er_helpers helpers;
    struct er_reap reap;
    struct er_local_fs local_fs;
    struct er_daemon_link link;
    struct er_report report;

    char *socket_path;
    char *beside; /* where programs of types lie: our own folder; NULL = unknown */
    int null_fd;  /* /dev/null, read-only: standard input of most commands */
    enum er_worker_phase phase;
    bool stop_after_loss; /* lost while it was draining or stopping */
    er_usec linger_for, backlog_for;
    struct er_fd_watch owner; /* on while there is one */
    int owner_fd;
    struct er_timer linger;  /* on while there is neither daemon nor attempt */
    struct er_timer backlog; /* on while attempts wait and no slot is free */
    struct er_work_attempt
        *backlogged; /* the first that waited when it was set; not followed */
    int exit_code;

    /* the session */
    int64_t session; /* 0 = none yet */
    char token[65];
    char *logs; /* folder */
    int lock_fd;
    uint64_t output_head, output_tail;
    er_usec progress_interval;
    int slots;
    struct er_env *envs; /* list; the one used last is first */
    int n_forgotten;     /* of them: the daemon reckons with them no more */
    struct er_given_folder given;

    struct er_attempts attempts; /* all that are not done, in the order they came */
    int running;                 /* of them, those that take a slot */
    char chunk[ER_OUTPUT_READ];  /* what is just being read from a pipe */
};

/* Makes a worker: 0 or an error with words. Call it before any thread is made; it changes
 * the signals and makes the process a subreaper. */
int er_worker_init(struct er_worker *w, const struct er_worker_options *options,
                   struct er_err *err) ER_MUSTCHECK;
/* Runs until it has ended: the exit code of the process. */
int er_worker_run(struct er_worker *w);
/* Frees everything; false when a thread hangs and the process can only _exit. */
bool er_worker_fini(struct er_worker *w);

/* ---- for its parts ---- */

void er_worker_on_welcome(struct er_worker *w, const json_t *welcome);
/* The daemon does not know us any more: all is killed, then it begins anew. */
void er_worker_on_lost(struct er_worker *w, const char *why);
void er_worker_add(struct er_worker *w, json_t *run);
void er_worker_add_env(struct er_worker *w, const json_t *id, const json_t *vars);
/* The environment of that number; NULL for null and for one that was never sent. */
/* The daemon will tell that one anew before it names it again; what we have of it goes
 * when no attempt needs it any more. */
void er_worker_forget_env(struct er_worker *w, const json_t *id);
const struct er_env *er_worker_find_env(struct er_worker *w, const json_t *id);
struct er_work_attempt *er_worker_find(struct er_worker *w, er_task_id task, int attempt);
/* Not ours any more: killed without a report, if it is there. */
void er_worker_drop(struct er_worker *w, er_task_id task, int attempt);
void er_worker_set_slots(struct er_worker *w, int64_t slots);
void er_worker_drain(struct er_worker *w);
void er_worker_stop(struct er_worker *w);
/* Whether so many attempts wait that an end need not be told at once: there is work. */
bool er_worker_has_backlog(const struct er_worker *w);
/* An attempt is done: it leaves the list. */
void er_worker_on_done(struct er_worker *w, struct er_work_attempt *a);

#endif
