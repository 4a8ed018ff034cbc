/* SPDX-License-Identifier: MIT */
/* What an attempt's end comes to: the table "What an attempt comes to" of
 * docs/SEMANTICS.md as one function. Pure; any thread.
 *
 * In goes what happened (a report, the exit frame of a log, or that the worker died),
 * what was asked for meanwhile, and what the task may still spend; out comes where the
 * task goes, when, and what it costs. The words around it are the caller's. */
#ifndef ER_MODEL_VERDICT_H
#define ER_MODEL_VERDICT_H

#include "model/task.h"
#include "model/type.h"

enum er_end_why {
    ER_END_ITSELF,    /* nobody ended it */
    ER_END_CANCEL,    /* its worker ended it: by a cancel */
    ER_END_REQUEUE,   /* ... to put it back: requeue, pause --free-slot, a shutdown */
    ER_END_TIMEOUT,   /* ... since it ran too long */
    ER_END_HEARTBEAT, /* ... since it gave no sign of life */
    ER_END_LOST,      /* its worker died */
};
/* Of the `why` of a report: "cancel", "requeue" (or "pause"), "timeout", "heartbeat";
 * else ITSELF. */
enum er_end_why er_end_why_find(const char *word);

struct er_end {
    /* what happened */
    enum er_end_why why;
    bool spawned; /* its process was there */
    bool has_exit_code;
    int exit_code, signal;
    bool has_error;                        /* it reported one (or its worker did), of: */
    const char *error_class, *error_code;  /* NULL = not said */
    er_usec retry_after_for;               /* it asked to go on after so long; 0 = not */
    int64_t items_completed, items_failed; /* stored for the task */
    /* what was asked for */
    bool cancel;  /* it is to be cancelled */
    bool requeue; /* it is to be put back */
    bool hold;    /* what follows is to be held: a pause, requeue --hold */
    /* what it may spend */
    const struct er_type *type;
    int failures, retries;  /* of this run before this end; how many there may be */
    int losses, max_losses; /* in a row before this end; how many are too many */
    enum er_on_lost on_lost;
    er_usec backoff_for, backoff_cap;
    uint64_t random; /* any 64 bits */
};

struct er_verdict {
    enum er_task_state
        state;   /* completed, failed, cancelled, queued, scheduled, paused */
    er_usec at;  /* scheduled, paused: when it goes on; else ER_NEVER */
    bool held;   /* not final: held from now on */
    bool refund; /* the attempt does not count */
    int add_failures, add_losses;
    const char *outcome; /* ER_OUTCOME_* of the attempt */
    enum er_event event; /* the fact that tells it */
    const char *reason;  /* queued, paused: for that fact; else NULL */
    const char *class;   /* of the error: "retryable", "fatal", "user-actionable"; NULL =
                             there is none */
    const char *code;    /* ... its code: a constant, or er_end.error_code */
    const char *action; /* ... what to do about it, unless the report says; NULL = none */
    er_usec wait_for;   /* a rate limit's */
    bool reported;      /* ... its words are those of the report */
    bool items_warning; /* completed, with failed items */
};
/* `now`: the wall clock. */
void er_verdict(const struct er_end *end, er_usec now, struct er_verdict *out);

#endif
