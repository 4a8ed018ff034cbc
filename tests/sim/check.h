/* SPDX-License-Identifier: MIT */
/* Compares the store with the model, verb by verb, and what must hold. */
#ifndef ER_TESTS_SIM_CHECK_H
#define ER_TESTS_SIM_CHECK_H

#include "model.h"

/* check.c: the verbs */
void check_begin(void);
void check_submitted(const struct er_new_task *row); /* acknowledged */
void check_forget_known(void); /* a new engine knows nothing of what may run */

/* judge.c: what an attempt comes to */
void judge_begin(void);
void judge_asked(er_task_id id, int attempt, bool requeue); /* acknowledged */
void judge_clock_was_set(void);
bool judge_clock_unsure(void); /* it was set within the last seconds */
void judge_end(const struct mtask *t, const struct er_finish *row, er_usec now);

/* limits.c: who is let through */
void limits_begin(void);
void limits_opened(void);
void limits_told(int gate, int concurrency, bool paused); /* the engine was */
void limits_told_rates(int gate, const struct er_rate *rates, size_t n);
void limits_told_all_paused(bool paused);
void limits_crossed(void);
void limits_claimed(er_task_id id); /* in this transaction */
void limits_committed(void);
void limits_rolled_back(void);
void limits_refunded(er_task_id id);
void limits_check_claimed(const struct mtask *t);
void limits_survey(void);                 /* before the next */
bool limits_admit(const struct mtask *t); /* nothing holds it back */

/* quiet.c */
void check_quiet(void);  /* nothing is under way: all that could happen has */
void check_opened(void); /* a daemon has started: its store is the model's */
void check_full(void);   /* every task in the store against the array */
void check_verify(void); /* er_store_verify */

#endif
