/* SPDX-License-Identifier: MIT */
/* Compares the store with the model, verb by verb, and what must hold. */
#ifndef ER_TESTS_SIM_CHECK_H
#define ER_TESTS_SIM_CHECK_H

#include "model.h"

/* What the engine has been told of a queue, and what it may still act by. */
struct told {
    int concurrency, loose_concurrency; /* 0 = no limit */
    bool paused, loose_paused;          /* loose: only when it was so all the time */
};
extern struct told told[N_QUEUES];

void check_begin(void);
void check_told_queue(int q, int concurrency, bool paused);
void check_quiet(void);  /* nothing is under way: all that could happen has */
void check_opened(void); /* a daemon has started: its store is the model's */
void check_full(void);   /* every task in the store against the array */
void check_verify(void); /* er_store_verify */
void check_asked_requeue(er_task_id id, int attempt, bool hold);
void check_life_ends(void);
void check_clock_was_set(void);
void check_submitted(const struct er_new_task *row); /* acknowledged */

#endif
