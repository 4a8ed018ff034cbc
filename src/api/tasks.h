/* SPDX-License-Identifier: MIT */
/* What the routes about tasks share: one task read and shown, and waiting for one. All on
 * the loop's thread. */
#ifndef ER_API_TASKS_H
#define ER_API_TASKS_H

#include "api/api.h"
#include "api/why.h"

#define ER_AFTER_SHOWN ((size_t)100) /* dependencies in a task's own JSON */

/* One task as it was read. */
struct er_show {
    struct er_query q; /* q.rc: 0, ER_ENOTFOUND, or a fault of the store */
    struct er_call *call;
    er_task_id id;
    int status;     /* of the answer */
    bool location;  /* with a Location header */
    bool brief;     /* answered with id and state only */
    bool no_result; /* read and shown without its result */
    const char
        *extra; /* further members of the answer, as raw JSON; in q.arena or static */
    struct er_task task;
    struct er_after *after; /* up to ER_AFTER_SHOWN + 1 */
    size_t n_after;
    struct er_after *open; /* the first that it still waits for */
    size_t n_open;
    /* Data of the fact that cancelled or held it, where it is that now; NULL = not
     * known. */
    const char *cause_json;
    bool has_tombstone;
    struct er_tombstone tombstone;
    void (*then)(struct er_show *show); /* instead of answering; owns nothing */
    void *ctx;
};
/* Reads a task, then calls `then` (NULL: er_show_answer) and frees it. */
struct er_show *er_show_new(struct er_call *call, er_task_id id,
                            void (*then)(struct er_show *show));
void er_show_start(struct er_show *show);
/* Answers with the task, with its ETag; or with 404, with the tombstone when there is
 * one. */
void er_show_answer(struct er_show *show);
/* Answers why a task could not be read: `code`; where that is ER_ENOTFOUND and there is a
 * tombstone (else NULL), that it was removed, and with what. */
void er_call_missing(struct er_call *call, er_task_id id, int code,
                     const struct er_tombstone *t);
/* Names the task as far as an edit can change it; in quotes, as the header has it. */
#define ER_ETAG_SIZE 20
void er_show_etag(const struct er_show *show, char out[ER_ETAG_SIZE]);

/* Adds a task with what only memory knows of it. `show` NULL: as a list shows it. */
void er_task_view(struct er_call *call, const struct er_task *t,
                  const struct er_show *show, struct er_buf *out);

enum er_wait_until {
    ER_WAIT_FINAL,
    ER_WAIT_STARTED, /* or paused, or final */
    ER_WAIT_PAUSED,  /* runs no more */
    ER_WAIT_RESUMED, /* not paused any more */
};
/* Answers with the task when it is so, or when the time is over. */
void er_wait_start(struct er_call *call, er_task_id id, uint64_t ms,
                   enum er_wait_until until);

/* The states that a text with commas names, as bits. */
bool er_call_states(struct er_call *call, const char *text, unsigned *out);

/* ---- changes (change.c), for those about many tasks ---- */

/* A change of n tasks that answers the call when it is done. Freed by the engine's
 * `done`, or by er_change_drop when it was not sent. NULL: no memory, and the call is
 * answered. */
struct er_change_request *er_change_new(struct er_call *call, enum er_change_kind kind,
                                        size_t n);
void er_change_drop(struct er_change_request *c);
/* The kind of the action that the call's path names; false after having answered. */
bool er_change_kind_of(struct er_call *call, enum er_change_kind *out);
/* What the body says about the action; false after having answered. */
bool er_change_read_body(struct er_call *call, struct er_change_request *c,
                         const json_t *o);
/* Why a row was refused, in words. */
void er_change_refusal(const struct er_call *call, const struct er_change_request *c,
                       const struct er_change *row, char *out, size_t size);
/* The state that people see: what is held and waits is paused. */
enum er_task_state er_change_shown_state(const struct er_change *row);

#endif
