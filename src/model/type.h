/* SPDX-License-Identifier: MIT */
/* A type: what is the same for all tasks of one kind. Pure; any thread.
 *
 * The definition as JSON (read and written by wire/type_json.h) is what the store keeps
 * and the API shows. Whatever it leaves out is as for a type without a definition. */
#ifndef ER_MODEL_TYPE_H
#define ER_MODEL_TYPE_H

#include "base/clock.h"
#include "base/mem.h"
#include "model/param.h"
#include "model/task.h"

/* What an exit code says about an attempt that reported nothing itself. */
enum er_exit_means {
    ER_EXIT_DEFAULT,         /* 0: completed; any other: retryable */
    ER_EXIT_COMPLETED,       /* "completed": it did its work */
    ER_EXIT_RETRYABLE,       /* "retryable" */
    ER_EXIT_FATAL,           /* "fatal" */
    ER_EXIT_USER_ACTIONABLE, /* "user-actionable" */
    ER_EXIT_RATE_LIMIT,      /* "rate-limit": to go on after rate_limit_for */
};
const char *er_exit_means_word(enum er_exit_means v); /* "default" for the first */
int er_exit_means_find(const char *word);             /* -1 when unknown */

#define ER_SUCCESS_PERCENT 95
/* The wait after a rate limit where nobody says how long. */
#define ER_RATE_LIMIT_FOR (60 * ER_USEC_PER_SEC)
#define ER_EX_TEMPFAIL    75 /* sysexits.h: try again later */

struct er_type {
    const char *name;      /* never NULL */
    const char *help;      /* what it does, one line; NULL = none */
    int concurrency;       /* tasks of this type that run at once; 0 = no limit */
    int retries;           /* default of its tasks; -1 = that of the configuration */
    er_usec backoff_for;   /* likewise */
    er_usec timeout_for;   /* default of its tasks; 0 = none */
    er_usec heartbeat_for; /* likewise */
    int success_percent;   /* of its items that must complete; below it the task fails */
    er_usec rate_limit_for;
    unsigned char exits[256]; /* enum er_exit_means by exit code */
    bool has_on_lost;
    enum er_on_lost on_lost; /* default of its tasks */
    bool idempotent;         /* running it twice does no harm: told, not acted upon */
    er_usec expected_for; /* how long it takes, until it is known better; 0 = unknown */
    bool has_params;      /* its arguments are checked; else any object will do */
    struct er_param *params;
    size_t n_params;
    /* How it is executed: at most one of these three. None of them: by `shell`'s own
     * rules (that type alone), or not at all until a definition says how. */
    const char *
        *command; /* an argument vector; {NAME} in a word stands for an argument */
    size_t n_command;
    const char
        *command_stdin;   /* with command: its standard input, likewise; NULL = none */
    const char **program; /* speaks the handlers' protocol; `run TYPE` is added */
    size_t n_program;
    bool handler;   /* by sessions that say that they serve it */
    bool from_file; /* it stands in types.d: goes when the file goes */
};

/* What holds for a type that says how it is executed and nothing else about these. */
#define ER_TYPE_RETRIES     2
#define ER_TYPE_TIMEOUT_FOR (1800 * ER_USEC_PER_SEC)

/* A type without a definition: no limits, ER_EX_TEMPFAIL is retryable. `name` is
 * borrowed. */
void er_type_init(struct er_type *t, const char *name);
/* Whether it says how it is executed: by command, program or handler. */
bool er_type_is_executed(const struct er_type *t);
/* A copy of all that it points to, in the arena. ER_ENOMEM. */
int er_type_copy(const struct er_type *t, struct er_arena *arena,
                 struct er_type *out) ER_MUSTCHECK;
/* What an exit code means for that type; never ER_EXIT_DEFAULT. */
enum er_exit_means er_type_exit(const struct er_type *t, int exit_code);

#endif
