/* SPDX-License-Identifier: MIT */
/* Samples that wait for one subscriber: bounded, the latest ones win. Loop thread. */
#ifndef ER_ENGINE_SAMPLES_H
#define ER_ENGINE_SAMPLES_H

#include <sys/queue.h>

#include "base/buf.h"
#include "model/task.h"

/* A sample as it is sent; shared by all subscribers that get it. */
struct er_frame {
    size_t refs, len;
    char text[];
};
/* A copy of the bytes, with one reference, which is the caller's. */
struct er_frame *er_frame_new(const char *text, size_t len);
void er_frame_drop(struct er_frame *frame);

struct er_sample;
struct er_samples {
    TAILQ_HEAD(, er_sample) list; /* in the order in which they go out */
    struct er_sample *latest;     /* hash: the latest one of each key */
    size_t n, bytes;
};
void er_samples_init(struct er_samples *s);
void er_samples_fini(struct er_samples *s);
/* One more. Progress and output (topic NULL) of a task replace what waits there of the
 * same. A program's own (topic is its name) all wait in order, until there are many: then
 * a new one replaces the latest of the same name and task. Beyond the bounds the oldest
 * go. */
void er_samples_put(struct er_samples *s, er_task_id task, enum er_event event,
                    const char *topic, struct er_frame *frame);
/* Adds them all to out; none waits any more. */
void er_samples_pull(struct er_samples *s, struct er_buf *out);

#endif
