/* SPDX-License-Identifier: MIT */
/* Threads for what may block: each takes jobs in order and hands them back to the loop.
 * A thread starts with its first job. The worker has three, so that what hangs in one (an
 * exec on a dead mount) does not hold up the others (ending a tree). */
#ifndef ER_WORK_HELPER_H
#define ER_WORK_HELPER_H

#include <pthread.h>
#include <stdbool.h>
#include <uv.h>

#include "base/mailbox.h"

struct er_helper_job;
typedef void er_helper_fn(struct er_helper_job *job);

/* Embedded by its owner, who must not touch what the job uses, nor free it, between the
 * posting and `done`. */
struct er_helper_job {
    struct er_mail mail;
    er_helper_fn *run;  /* on the helper's thread; may block */
    er_helper_fn *done; /* on the loop; may free the job */
    struct er_helper *helper;
};

struct er_helper {
    struct er_mailbox *in;
    struct er_helpers *all;
    pthread_t thread;
    bool started;
    int under_way; /* jobs posted and not done */
};

enum er_helper_kind { ER_HELPER_SPAWN, ER_HELPER_SWEEP, ER_HELPER_PROBE, ER_HELPERS };

struct er_helpers {
    struct er_helper each[ER_HELPERS];
    struct er_mailbox *back;
    uv_async_t wake;
};

int er_helpers_init(struct er_helpers *hs, uv_loop_t *loop) ER_MUSTCHECK;
/* Ends the threads; false (and nothing is freed) when one is still busy: then the process
 * can only _exit. The loop must run once more for the handle. */
bool er_helpers_fini(struct er_helpers *hs);
/* Hands a job over. Loop thread. `done` is always called, later, from the loop. */
void er_helper_post(struct er_helpers *hs, enum er_helper_kind kind,
                    struct er_helper_job *job);

#endif
