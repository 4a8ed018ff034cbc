/* SPDX-License-Identifier: MIT */
/* Rules broken on purpose: the simulator (tests/sim) must find every one of them. Where a
 * rule stands in the code, ER_MUTANT(n) breaks it when the simulator's build of the
 * sources asks for number n; in every other build it is false and nothing of it is
 * compiled.
 *
 *  1 a loss counts as a failure             8 a claim the disk refused forgets its task
 *  2 a queue that was full stays closed     9 a task's second place is forgotten
 *  3 any end releases a dependent          10 a failed commit is answered like a good one
 *  4 anybody's report of an attempt counts 11 a clock that was set is not noticed
 *  5 a backoff is doubled once too often   12 a rate limit's pause never ends
 *  6 a paused queue gives work             13 what a dead worker left goes on running
 *  7 what is due is looked for on a clock that stands while the machine sleeps
 * 14 a handler that died has never begun  15 a seat that nobody takes stays taken
 * 16 a pause that was asked for is forgotten with the daemon */
#ifndef ER_BASE_MUTANT_H
#define ER_BASE_MUTANT_H

#ifdef ER_MUTATIONS
extern int er_mutant; /* 0 = none */
#define ER_MUTANT(n) (er_mutant == (n))
#else
#define ER_MUTANT(n) 0
#endif

#endif
