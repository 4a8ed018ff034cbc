/* SPDX-License-Identifier: MIT */
/* What is told of a running attempt: its progress and how far its output grew. Changes
 * are coalesced: at most one report each `progress_interval` (100 ms), by a timer that is
 * on only while there is news. A tick, first after a second, then ever rarer while it
 * finds nothing (1, 1, 2, 4, 8, 10 s), fills in progress for commands that say nothing
 * themselves: from a file they read (probe.h), else from how long the same work took
 * before. It ends as soon as the command or its output says more. */
#ifndef ER_WORK_SAMPLE_H
#define ER_WORK_SAMPLE_H

#include <stdbool.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "model/progress.h"
#include "work/timer.h"

struct er_work_attempt;

/* Embedded in the attempt. */
struct er_usage_sampler {
    TAILQ_ENTRY(er_usage_sampler) link; /* report's list of those with news */
    struct er_work_attempt *attempt;
    bool listed;                   /* in that list */
    bool has_progress, has_output; /* the news */
    er_usec told_at;               /* when it was last put into a report; monotonic */
    er_usec tick_for;              /* to the next tick */
    struct er_timer timer, tick;
};
TAILQ_HEAD(er_samples, er_usage_sampler);

/* The attempt's process has begun. */
void er_sample_start(struct er_work_attempt *a);
/* A source has spoken. */
void er_sample_update(struct er_work_attempt *a, const struct er_progress_update *u);
/* Its progress has changed in another way (an item, a checkpoint). */
void er_sample_progress(struct er_work_attempt *a);
/* Its output grew. */
void er_sample_output(struct er_work_attempt *a);
/* Adds the line of its progress as it is now; `checkpoint` is JSON, NULL = none. */
void er_sample_encode_progress(const struct er_work_attempt *a, const char *checkpoint,
                               struct er_buf *b);
/* Adds the report's lines for what is news, which it then is no more. */
void er_sample_encode(struct er_usage_sampler *s, struct er_buf *b);
/* The attempt is paused: its time does not go on, nor is it looked at; and goes on. */
void er_sample_pause(struct er_work_attempt *a);
void er_sample_resume(struct er_work_attempt *a);
/* Timers off. What is news stays so until er_report_forget. */
void er_sample_stop(struct er_work_attempt *a);
/* Whether anything at all is known of its progress. */
bool er_sample_is_known(const struct er_progress *p);

#endif
