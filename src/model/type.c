/* SPDX-License-Identifier: MIT */
#include "model/type.h"

#include <string.h>

static const char *const words[] = {
    "default", "completed", "retryable", "fatal", "user-actionable", "rate-limit",
};

const char *
er_exit_means_word(enum er_exit_means v)
{
    return (size_t)v < sizeof words / sizeof *words ? words[v] : "default";
}

int
er_exit_means_find(const char *word)
{
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i], word) == 0) {
            return (int)i;
        }
    }
    return -1;
}

void
er_type_init(struct er_type *t, const char *name)
{
    *t = (struct er_type){.name = name,
                          .retries = -1,
                          .backoff_for = -1,
                          .success_percent = ER_SUCCESS_PERCENT,
                          .rate_limit_for = ER_RATE_LIMIT_FOR};
    t->exits[ER_EX_TEMPFAIL] = ER_EXIT_RETRYABLE;
}

enum er_exit_means
er_type_exit(const struct er_type *t, int exit_code)
{
    enum er_exit_means m = ER_EXIT_DEFAULT;
    if (exit_code >= 0 && exit_code < 256) {
        m = (enum er_exit_means)t->exits[exit_code];
    }
    if (m != ER_EXIT_DEFAULT) {
        return m;
    }
    return exit_code == 0 ? ER_EXIT_COMPLETED : ER_EXIT_RETRYABLE;
}
