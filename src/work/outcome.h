/* SPDX-License-Identifier: MIT */
/* The outcome of an attempt as JSON: the `finished` object of the report, and, before
 * that is sent, the exit frame of its log. Loop thread. */
#ifndef ER_WORK_OUTCOME_H
#define ER_WORK_OUTCOME_H

struct er_work_attempt;

/* Writes the exit frame and hands the outcome to the report. */
void er_outcome_finish(struct er_work_attempt *a);

#endif
