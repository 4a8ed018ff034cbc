/* SPDX-License-Identifier: MIT */
/* Rules broken on purpose: the simulator (tests/sim) must find every one of them. Where a
 * rule stands in the code, ER_MUTANT(n) breaks it when the simulator's build of the sources
 * asks for number n; in every other build it is false and nothing of it is compiled. */
#ifndef ER_BASE_MUTANT_H
#define ER_BASE_MUTANT_H

#ifdef ER_MUTATIONS
extern int er_mutant; /* 0 = none */
#define ER_MUTANT(n) (er_mutant == (n))
#else
#define ER_MUTANT(n) 0
#endif

#endif
