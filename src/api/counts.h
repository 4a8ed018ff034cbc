/* SPDX-License-Identifier: MIT */
/* What several answers about the whole need: how many tasks each queue has in each state,
 * and the settings of queues and limit keys, read in one query. Loop thread. */
#ifndef ER_API_COUNTS_H
#define ER_API_COUNTS_H

#include "api/api.h"

struct er_counts {
    struct er_query q;
    struct er_call *call;
    struct er_counter *counters;
    size_t n;
    struct er_queue *queues;
    size_t n_queues;
    struct er_limit *limits;
    size_t n_limits;
    struct er_waiters waiters; /* of the queue that the call's path names */
    void (*answer)(struct er_counts *c, struct er_buf *b);
    const char *type; /* of the answer */
};
/* Reads, then lets `answer` fill the body (or answer the call otherwise). */
void er_counts_query(struct er_call *call, const char *type,
                     void (*answer)(struct er_counts *c, struct er_buf *b));
/* Adds {"queued":5,...} of one count a state; of the sum over all queues. */
void er_counts_add_states(struct er_buf *b, const int64_t *n);
void er_counts_add_sum(struct er_buf *b, const struct er_counter *counters, size_t n);

#endif
