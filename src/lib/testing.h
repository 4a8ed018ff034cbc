/* SPDX-License-Identifier: MIT */
/* For tests of applications: a clock that is moved by hand, and handlers that run on the
 * caller's thread. */
#ifndef ER_LIB_TESTING_H
#define ER_LIB_TESTING_H

#include "base/clock.h"

struct errand;
struct er_testing;

/* NULL: no memory. */
struct er_testing *er_testing_new(struct errand *e);
void er_testing_free(struct er_testing *t);
/* Loop thread, when the engine is open: the handlers go by this clock, or run inline. */
int er_testing_start(struct er_testing *t) ER_MUSTCHECK;
/* Any thread reads it. */
const struct er_clock *er_testing_clock(const struct er_testing *t);
/* After a submit, on the caller's thread: with ERRAND_TEST_INLINE runs what can run now,
 * until nothing can. Otherwise (and for NULL) it does nothing. */
void er_testing_run(struct er_testing *t);

#endif
