/* SPDX-License-Identifier: MIT */
/* What happens after an attempt that did not end well. Pure; any thread.
 *
 * A *failure* spends the budget of `retries`; a *loss* (the worker died under the
 * attempt) does not, but three in a row fail the task. The time to the next attempt
 * doubles with each failure up to a ceiling and is then spread by a quarter to either
 * side, so that tasks which failed together do not come back together. */
#ifndef ER_MODEL_RETRY_H
#define ER_MODEL_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "model/task.h"

/* The backoff's ceiling where none is given, before it is spread. */
#define ER_RETRY_CAP (30 * ER_USEC_PER_SEC)
/* The backoff's base where none is given. */
#define ER_RETRY_BASE (1 * ER_USEC_PER_SEC)

/* What kind an error is; the words are those of "error": {"class": ...}. */
enum er_retry_class { ER_RETRY_RETRYABLE, ER_RETRY_FATAL, ER_RETRY_USER_ACTIONABLE };
const char *er_retry_class_word(enum er_retry_class c);
int er_retry_class_find(const char *word); /* -1 when unknown */

/* The wait after the failures-th failure (1 = the first): base x 2^(failures - 1), at
 * most cap_for (0 = ER_RETRY_CAP; a larger base is its own ceiling), then between 75 %
 * and 125 % of that as `random` (any 64 bits) says. */
#define ER_RETRY_STEADY UINT64_MAX /* as random: not spread at all */
er_usec er_retry_backoff(er_usec base_for, er_usec cap_for, int failures,
                         uint64_t random);

/* One failed attempt. */
struct er_retry_failure {
    int failures;            /* of this run, this one included */
    int retries;             /* failures that are allowed before it fails for good */
    er_usec backoff_for;     /* base of the backoff */
    er_usec cap_for;         /* its ceiling; 0 = ER_RETRY_CAP */
    const char *error_class; /* as a word; NULL or unknown counts as retryable */
    er_usec retry_after_for; /* what the task asked for; 0 = nothing */
    uint64_t random;
};
/* Whether the task runs again. If so *out_at is when: after the backoff, or after what
 * the task asked for when that is longer. Errors of class fatal or user-actionable never
 * run again by themselves. */
bool er_retry_decide(const struct er_retry_failure *f, er_usec now, er_usec *out_at);

/* What is done after the losses-th loss in a row (this one included): the task's policy,
 * or ER_ON_LOST_FAIL from max_losses on. */
enum er_on_lost er_retry_decide_lost(enum er_on_lost policy, int losses, int max_losses);

#endif
