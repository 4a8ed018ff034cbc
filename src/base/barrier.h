/* SPDX-License-Identifier: MIT */
/* A full memory barrier in every thread of the process, made by one of them: for
 * protocols in which one side is in a hurry and the other is rare.
 *
 * Two threads that each store something and then load what the other stores need a full
 * barrier in between, both, so that at least one sees the other. Where the kernel has
 * membarrier(2), the rare side makes both: between its store and its load every thread of
 * the process that runs passes a full barrier, and those that do not run have passed one
 * when they were switched off. A store of the other side before that point is then seen
 * by the loads behind it; a load of the other side behind that point sees the store
 * before it; and since the other side's store and load are in this order in its program
 * (a fence for the compiler alone keeps them so), one of the two is the case.
 * So release and acquire are enough there, and no locked instruction. Without membarrier
 * all four have to be sequentially consistent. */
#ifndef ER_BASE_BARRIER_H
#define ER_BASE_BARRIER_H

#include <stdbool.h>

/* Whether this process has such barriers; to be asked before the first one. Any
 * thread. */
bool er_barrier_init(void);
/* The rare side, between its store and its load. Any thread; some microseconds. */
void er_barrier_all(void);

#endif
