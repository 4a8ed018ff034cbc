/* SPDX-License-Identifier: MIT */
/* All in whole microseconds; the doubling stops at the ceiling before it could overflow.
 * The class comes from the report; one that is unknown counts as retryable. */
#include "model/retry.h"

#include <string.h>

#include "base/mutant.h"

static const char *const class_words[] = {"retryable", "fatal", "user-actionable"};
#define CLASSES ((int)(sizeof class_words / sizeof class_words[0]))

const char *
er_retry_class_word(enum er_retry_class c)
{
    return (unsigned)c < (unsigned)CLASSES ? class_words[c] : "unknown";
}

int
er_retry_class_find(const char *word)
{
    for (int i = 0; i < CLASSES; i++) {
        if (strcmp(class_words[i], word) == 0) {
            return i;
        }
    }
    return -1;
}

er_usec
er_retry_backoff(er_usec base_for, er_usec cap_for, int failures, uint64_t random)
{
    er_usec wait_for = base_for > 0 ? base_for : 0;
    cap_for = cap_for > 0 ? cap_for : ER_RETRY_CAP;
    cap_for = wait_for > cap_for ? wait_for : cap_for;
    failures += ER_MUTANT(5);
    for (int i = 1; i < failures && wait_for > 0 && wait_for < cap_for; i++) {
        wait_for = wait_for > cap_for / 2 ? cap_for : wait_for * 2;
    }
    if (random == ER_RETRY_STEADY) {
        return wait_for;
    }
    er_usec low_for = wait_for - wait_for / 4;
    uint64_t spread = (uint64_t)(wait_for / 4) * 2;
    return low_for + (er_usec)(random % (spread + 1));
}

static bool
class_runs_again(const char *word)
{
    int c = word ? er_retry_class_find(word) : ER_RETRY_RETRYABLE;
    return c != ER_RETRY_FATAL && c != ER_RETRY_USER_ACTIONABLE;
}

bool
er_retry_decide(const struct er_retry_failure *f, er_usec now, er_usec *out_at)
{
    if (f->failures > f->retries || !class_runs_again(f->error_class)) {
        return false;
    }
    er_usec wait_for =
        er_retry_backoff(f->backoff_for, f->cap_for, f->failures, f->random);
    if (wait_for < f->retry_after_for) {
        wait_for = f->retry_after_for;
    }
    *out_at = now < ER_NEVER - 1 - wait_for ? now + wait_for : ER_NEVER - 1;
    return true;
}

enum er_on_lost
er_retry_decide_lost(enum er_on_lost policy, int losses, int max_losses)
{
    return losses >= max_losses ? ER_ON_LOST_FAIL : policy;
}
