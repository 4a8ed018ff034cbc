/* SPDX-License-Identifier: MIT */
/* Tasks, attempts and facts as the JSON that users see (docs/PROTOCOL.md). Written
 * straight into a buffer; texts that are JSON already (arguments, progress, errors) go in
 * as they are. Unknown is null, times are RFC 3339, spans are seconds. Any thread.
 *
 * Every function adds one value without a line end; whether it fitted shows in b->failed.
 */
#ifndef ER_WIRE_TASK_JSON_H
#define ER_WIRE_TASK_JSON_H

#include "base/buf.h"
#include "model/param.h"
#include "model/task.h"

/* One dependency of a task. */
struct er_task_json_after {
    er_task_id id;
    enum er_after_when when;
    int state; /* enum er_task_state; -1 = unknown */
};
/* What the task's row does not say. A zeroed struct (or NULL) knows nothing. */
struct er_task_json_more {
    const char *progress_json; /* newer than the row's; NULL = the row's */
    int64_t pid;               /* of the running attempt; 0 = unknown */
    bool pause_requested;      /* it runs, and its worker is to stop it where it is */
    const char *waiting_for;   /* a sentence; NULL = none */
    bool has_after;            /* the following are known; otherwise `after` is null */
    const struct er_task_json_after *after;
    size_t n_after;
    bool after_more;      /* there are more than these */
    bool with_checkpoint; /* up to 64 KiB: for one task, not for lists */
    /* Of its type: arguments of secret ones are shown as "***". hide_args: all of them,
     * since nobody knows any more which are secret. */
    const struct er_param *params;
    size_t n_params;
    bool hide_args;
};
/* Adds a task as docs/PROTOCOL.md describes it, and cwd, attempts, cancel_requested and
 * pause_requested, what was asked for it (cost, backoff_s, timeout_s, ...) and how many
 * of its items are stored. */
void er_task_json(struct er_buf *b, const struct er_task *t,
                  const struct er_task_json_more *more);

/* An attempt's progress counts the items that it has told itself; those that attempts
 * before it have stored count, too. Sets the counts where more are stored; `progress` may
 * be any value, or NULL. */
struct json_t;
void er_task_json_raise_items(struct json_t *progress, int64_t completed, int64_t failed);

/* Adds the bytes of a result: as the JSON that they are (on one line), as a string when
 * they are UTF-8 text, else as {"base64": "..."}; NULL adds null. JSON that readers may
 * stumble over (integers beyond 64 bits, lone surrogates, repeated names, nested deeper
 * than 32) goes as a string. */
void er_result_json(struct er_buf *b, const void *p, size_t n);
/* The same when that takes at most about `max` bytes of JSON; else adds null: false. */
bool er_result_json_max(struct er_buf *b, const void *p, size_t n, size_t max);

/* One attempt, with ER_NEVER, NULL and 0 for what is unknown, as in the store. */
struct er_attempt_json {
    int number, run;
    const char *worker;
    er_usec started_at, finished_at;
    const char *outcome;
    bool has_exit_code;
    int exit_code, signal;
    const char *error_json;
    er_usec cpu_for;
    int64_t peak_rss, output_bytes;
};
void er_attempt_json(struct er_buf *b, const struct er_attempt_json *a);

/* Adds a fact, or a sample (seq 0: null), as events show it. */
void er_fact_json(struct er_buf *b, const struct er_fact *f);

#endif
