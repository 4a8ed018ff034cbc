/* SPDX-License-Identifier: MIT */
/* For tests of applications: a clock that is moved by hand, and who moves it. */
#ifndef ER_LIB_TESTING_H
#define ER_LIB_TESTING_H

#include "base/clock.h"

struct errand;
struct er_testing;

/* NULL: no memory. */
struct er_testing *er_testing_new(struct errand *e);
void er_testing_free(struct er_testing *t);
/* Any thread reads it. */
const struct er_clock *er_testing_clock(const struct er_testing *t);
#endif
