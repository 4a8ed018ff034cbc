/* SPDX-License-Identifier: MIT */
/* What a task is: its states and their moves, the events about it, and the record of one
 * task as every room above knows it. Pure: no I/O, no clock. Any thread. */
#ifndef ER_MODEL_TASK_H
#define ER_MODEL_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/rate.h"

typedef int64_t er_task_id; /* from 1; never used again */

enum er_task_state {
#define ER_STATE(name, number, word, icon, ascii, final, moves, meaning)                 \
    ER_TASK_##name = (number),
#include "model/task_states.def"
#undef ER_STATE
};
#define ER_TASK_STATES 8

const char *er_task_state_word(enum er_task_state s);
const char *er_task_state_icon(enum er_task_state s, bool utf8);
/* The state of that word, or -1. */
int er_task_state_find(const char *word);
bool er_task_state_is_final(enum er_task_state s);
/* Whether the table lets a task go from one state to the other. */
bool er_task_state_can_move(enum er_task_state from, enum er_task_state to);

enum er_event {
#define ER_EVENT(name, number, word, kind, meaning) ER_EVENT_##name = (number),
#include "model/events.def"
#undef ER_EVENT
};
const char *er_event_word(enum er_event e); /* "task-queued"; "unknown" for others */
int er_event_find(const char *word);        /* the event of that word, or -1 */
bool er_event_is_fact(enum er_event e);
/* The fact that tells that a task has come to this state. */
enum er_event er_event_of_state(enum er_task_state s);

/* What is done with a task whose worker died under it. Stored by number. */
enum er_on_lost { ER_ON_LOST_RUN = 0, ER_ON_LOST_FAIL = 1, ER_ON_LOST_HOLD = 2 };
const char *er_on_lost_word(enum er_on_lost v); /* "run", "fail", "hold" */
int er_on_lost_find(const char *word);          /* -1 when unknown */

/* How a dependency must end. Stored by number. */
enum er_after_when { ER_AFTER_OK = 0, ER_AFTER_ANY = 1, ER_AFTER_FAIL = 2 };
const char *er_after_when_word(enum er_after_when v); /* "ok", "any", "fail" */
int er_after_when_find(const char *word);             /* -1 when unknown */
/* Whether a dependency that ended in `state` (a final one) satisfies `when`. Cancelled
 * counts as not ok; `fail` takes failed only. */
bool er_after_is_met(enum er_after_when when, enum er_task_state state);

/* How one attempt ended. Stored by word. */
#define ER_OUTCOME_COMPLETED "completed"
#define ER_OUTCOME_FAILED    "failed"
#define ER_OUTCOME_CANCELLED "cancelled"
#define ER_OUTCOME_LOST      "lost"         /* the worker died under it */
#define ER_OUTCOME_REQUEUED  "requeued"     /* stopped by request and put back */
#define ER_OUTCOME_LIMITED   "rate-limited" /* asked to go on later; costs nothing */
#define ER_OUTCOME_REFUNDED  "refunded"     /* was never spawned; does not count */

/* Bounds on what a submitter may give; docs/SEMANTICS.md lists them too. */
#define ER_MAX_NAME       1000 /* bytes of a name, queue, type, key, tag, correlation id */
#define ER_MAX_ARGS       (1 << 20)  /* bytes of the arguments as JSON */
#define ER_MAX_ENV        (1 << 20)  /* bytes of the environment as JSON */
#define ER_MAX_META       (64 << 10) /* bytes of meta as JSON */
#define ER_MAX_TAGS       64
#define ER_MAX_AFTER      100000     /* dependencies of one task */
#define ER_MAX_COST       1000000000 /* what one start may cost of a rate */
#define ER_MAX_RATES      4 /* rates of one queue or limit key that hold at once */
#define ER_MAX_CHECKPOINT (64 << 10) /* bytes of a checkpoint as JSON */
#define ER_MAX_RESULT     (16 << 20) /* bytes of a result */
/* An attempt that has said a larger one and none after it has lost it: it fails, class
 * fatal. */
#define ER_RESULT_LOST_CODE    "too-big"
#define ER_RESULT_LOST_MESSAGE "the result is larger than 16 MiB"
#define ER_RESULT_LOST_ACTION  "write it to a file, and give the path as the result"
#define ER_MAX_PARAMS          100 /* parameters of one type */
#define ER_MAX_LOSSES          3   /* losses in a row after which a task fails */

/* How much longer waiting one more of priority is worth, where nothing else is set;
 * strict order by priority is a step that nothing outwaits. */
#define ER_AGEING        (60 * ER_USEC_PER_SEC)
#define ER_AGEING_STRICT (INT64_C(10) * 365 * 86400 * ER_USEC_PER_SEC)

/* What has been asked of an open attempt: bits, stored with the task until it ends. */
#define ER_ASKED_CANCEL  1u /* that it is ended for good: wins over all */
#define ER_ASKED_REQUEUE 2u /* that it is put back */
#define ER_ASKED_PAUSE                                                                   \
    4u                   /* that it is stopped where it is; put back where it cannot be */
#define ER_ASKED_HOLD 8u /* that what follows it is held */

/* One task as the store gives it. Texts are borrowed from the arena they were read into;
 * NULL = unknown or not given. `*_json` holds JSON text. */
struct er_task {
    er_task_id id;
    int run;
    enum er_task_state state;
    bool held;             /* the hold flag; shown as paused while not running or final;
                              of what runs: what follows the attempt will be */
    bool cancel_requested; /* running, and on its way to cancelled */
    unsigned asked;        /* ER_ASKED_* of what runs or is paused in place */
    int priority;
    int64_t cost; /* of its start, where a rate counts costs; from 1 */
    int64_t rank; /* order in its lane: lower first */
    int64_t lane;
    const char *type, *queue, *limit_key; /* limit_key NULL when none */
    const char *name;
    const char *args_json;
    const char *cwd;
    int64_t env; /* number of the stored environment; 0 = none */
    int attempt; /* number of the latest attempt; 0 before the first */
    int failures, losses;
    int retries; /* failures that may happen before it fails for good */
    er_usec backoff_for;
    enum er_on_lost on_lost;
    er_usec timeout_for;   /* 0 = none; longest run of an attempt, pauses not counted */
    er_usec heartbeat_for; /* 0 = none; longest silence of an attempt */
    er_usec grace_for;
    er_usec expires_at; /* ER_NEVER = none */
    const char *correlation;
    er_task_id parent; /* 0 = none */
    const char *key;
    const char *tags_json, *meta_json;
    int waiting;    /* dependencies it still waits for */
    bool has_after; /* it was given dependencies; told by a claim */
    er_usec created_at;
    er_usec run_at, started_at, finished_at, resumes_at; /* ER_NEVER = unknown */
    const char *progress_json;
    const char *checkpoint_json;
    int64_t items_completed, items_failed; /* of the items that are stored for it */
    const void *result;                    /* NULL = none; not read by lists */
    size_t result_len;
    bool has_exit_code;
    int exit_code;
    int signal; /* 0 = none */
    const char *error_json, *warnings_json;
    const char *worker;
    int64_t session; /* of the attempt that runs, or is paused in place; 0 = none */
    er_usec cpu_for;
    int64_t peak_rss; /* bytes; 0 = unknown */
};

/* The state a person sees: a held task that waits is `paused`. */
enum er_task_state er_task_shown_state(const struct er_task *t);

/* One fact. Texts as in struct er_task. */
struct er_fact {
    int64_t seq; /* from 1, in commit order */
    enum er_event event;
    er_usec at;
    er_task_id task; /* 0 = about no task */
    int run, attempt;
    const char *type, *queue, *correlation; /* NULL when about no task */
    const char *data_json;                  /* an object; "{}" at least */
    const char *topic;                      /* ER_EVENT_TOPIC: its name; else NULL */
    /* task-completed, among the effects of its transaction only: the result's own bytes;
     * NULL = it has none, or one of more than ER_FACT_RESULT bytes. Its length in any
     * case. */
    const void *result;
    size_t result_len;
};
#define ER_FACT_RESULT 4096

/* A program's own event, on its way. Texts are borrowed for the call. */
#define ER_MAX_TOPIC_DATA (1 << 20) /* bytes of its payload */
struct er_topic {
    const char *name;        /* with a dot in it: "import.page" */
    er_task_id task;         /* 0 = of no task */
    const char *correlation; /* NULL = the task's, or none */
    const char *data_json;   /* any JSON value; NULL = null */
    int64_t seq;             /* out, when it was stored */
    int status;              /* out */
};

#endif
