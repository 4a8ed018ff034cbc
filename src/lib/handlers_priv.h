/* SPDX-License-Identifier: MIT */
/* The inside of handlers:
 *   handlers.c         the session: hello, types, life
 *   handlers_orders.c  what comes
 *   handlers_run.c     one attempt (a *hand*): its clocks, its samples, its end
 *   handlers_send.c   what its handler says
 *   handlers_pool.c    the threads
 *   handlers_report.c  what goes back
 *   handlers_told.c    what others say of an attempt, by HTTP
 *
 * A hand on its way:
 *
 *   run line ─▶ QUEUED ─▶ RUNNING ─▶ ENDED ─▶ reported ─▶ answered: freed
 *                  │ 100 ms, or asked to stop
 *                  └──▶ given back ("spawned": false)
 *
 * Two locks, never both at once but `pool` inside nothing: h->pool has the states, the
 * queue, the list of those that ended and of those that have something to say (stirred),
 * and is held for a few instructions; h->room makes threads wait whose items are too
 * many. The loop is woken when there is something new and it is not going to look by
 * itself: while a report is under way (hush) it will, when the answer comes. */
#ifndef ER_LIB_HANDLERS_PRIV_H
#define ER_LIB_HANDLERS_PRIV_H

#include <pthread.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/hash.h"
#include "base/heap.h"
#include "lib/handle.h"
#include "lib/handlers.h"
#include "wire/begun.h"
#include "wire/outlog.h"
#include "wire/said.h"

#define ER_HANDLERS_NOTES_MAX ((size_t)32 << 20)
#define ER_HANDLERS_INTERVAL_FOR                                                         \
    (100 * ER_USEC_PER_MS) /* where the welcome says nothing */

enum er_handler_attempt_state {
    ER_HANDLERS_QUEUED,
    ER_HANDLERS_RUNNING,
    ER_HANDLERS_ENDED
};

/* What was said of an attempt from outside, and counts at its end. Zero = nothing. */
struct er_handlers_told {
    struct er_said_parts parts;
    bool has_result, has_retry_after;
    bool result_lost; /* the last one was too large */
    struct er_buf result;
    double retry_after_s;
    char *error;            /* as JSON; NULL = none */
    struct er_buf warnings; /* JSON strings, with commas */
    int n_warnings;
};

struct er_handler_attempt {
    struct errand_attempt base; /* first: mouths get it */
    struct er_handlers *handlers;
    struct er_handler handler;
    char *after;     /* what it waited for, as JSON; NULL = nothing */
    bool after_lost; /* there was no memory for it */

    /* h->pool */
    enum er_handler_attempt_state state;
    TAILQ_ENTRY(er_handler_attempt)
    in_pool; /* the queue, then the list of those that ended */
    TAILQ_ENTRY(er_handler_attempt) in_stirred; /* while is_stirred */
    bool is_stirred;
    int begun;          /* its place in the table; -1 = none */
    er_usec begin_at;   /* mono */
    er_usec started_at; /* wall; 0 = never */

    /* h->room */
    er_usec sleeping_till; /* 0 = it does not sleep by the other clock */

    /* base.lock */
    struct er_buf notes;      /* lines of items that were not collected yet */
    size_t notes_cost;        /* of room */
    struct er_buf checkpoint; /* the latest, as JSON */
    int64_t items_completed, items_failed; /* of these */
    char last_item[ER_MAX_NAME + 1];

    /* the handler's threads, one at a time by `writing` (files take long: not under a
     * lock that others need) */
    struct er_lock writing;
    struct er_outlog log;
    bool log_tried;
    int log_rc; /* output is lost since; 0 = it is not */
    struct er_count output_bytes;

    /* set by the thread before ENDED */
    enum er_attempt_end end;
    struct er_buf tail;  /* of the finished line: result, times ... */
    struct er_buf error; /* its error as JSON; empty = none */
    er_usec finished_at;

    /* loop */
    UT_hash_handle hh; /* in by_task, while is_known */
    bool is_known;
    TAILQ_ENTRY(er_handler_attempt) in_all; /* until it is freed */
    TAILQ_ENTRY(er_handler_attempt)
    in_looked;                               /* those stirred that are being looked at */
    TAILQ_ENTRY(er_handler_attempt) in_said; /* samples that go with the next report */
    TAILQ_ENTRY(er_handler_attempt)
    in_incoming; /* parsed, not yet queued; then: of a chunk */
    struct er_heap_node due_node;
    er_usec due_at;
    er_usec given_at;                                            /* mono */
    er_usec timeout_for, heartbeat_for, grace_for, expected_for; /* 0 = none */
    const char *why;     /* a static word: why it was asked to stop; NULL = it was not */
    er_usec complain_at; /* when its grace is over; 0 = no */
    bool has_complained;
    bool told_started, is_over, dropped;
    struct er_handlers_told told;
    struct er_progress progress;
    bool has_progress; /* initialised */
    bool has_pending;  /* something was said that is not taken yet */
    bool news_progress, news_output, is_said;
    int64_t told_bytes;
    er_usec told_at;
};
TAILQ_HEAD(er_handler_attempt_list, er_handler_attempt);

/* Facts for one report, or a part of one. */
struct er_handlers_chunk {
    TAILQ_ENTRY(er_handlers_chunk) link;
    struct er_buf lines;
    int n_ends;
    size_t notes_bytes;
    struct er_handler_attempt_list ended; /* by in_incoming: freed with it */
};
TAILQ_HEAD(er_handlers_chunks, er_handlers_chunk);

/* A type that is served. */
struct er_handlers_type {
    char *name;
    struct er_handler handler;
    UT_hash_handle hh;
};

/* Text that came before the run line it is for. */
enum er_handlers_given_kind {
    ER_HANDLERS_ITEMS,
    ER_HANDLERS_RESULTS,
    ER_HANDLERS_GIVEN_KINDS
};
struct er_handlers_given {
    STAILQ_ENTRY(er_handlers_given) link;
    er_task_id task;
    int attempt;
    enum er_handlers_given_kind kind;
    struct er_buf text;
};

/* A thread that waits for work. */
struct er_handlers_idler {
    struct er_bell bell;
    SLIST_ENTRY(er_handlers_idler) link;
};

enum er_handlers_link { ER_HANDLERS_OFF, ER_HANDLERS_HELLO, ER_HANDLERS_UP };

struct er_handlers {
    struct errand *e;
    const struct er_clock *clock;
    struct er_handlers_type *types;
    bool is_inline;
    void (*move)(void *ctx, const struct errand_attempt *a,
                 er_usec till); /* NULL = others */
    void *move_ctx;

    /* the session */
    enum er_handlers_link link;
    struct er_ask *claim; /* the stream; NULL = none */
    struct er_buf line;   /* the beginning of one */
    int64_t session;      /* 0 = none */
    char token[64];
    char *logs;
    int lock_fd;
    uint64_t output_head, output_tail;
    er_usec interval_for; /* between two samples of an attempt */
    er_usec connect_at, connect_for;
    bool is_complained; /* that there is no daemon was said */
    STAILQ_HEAD(, er_handlers_given) given;
    struct er_handler_attempt_list incoming;

    /* reports */
    struct er_ask *report; /* under way */
    struct er_handlers_chunks waiting, sent;
    struct er_handler_attempt_list said;
    er_usec retry_at, retry_for;
    bool one_by_one;

    /* attempts */
    struct er_handler_attempt_list all;
    struct er_handler_attempt *by_task; /* those that are queued or run */
    size_t n_all;
    struct er_heap due;
    uv_timer_t *timer; /* the uv loop's until it is closed */
    er_usec armed_at;  /* ER_NEVER = off */

    /* threads */
    struct er_lock pool;
    struct er_begun *begun; /* by pool; NULL = none could be made */
    struct er_handler_attempt_list queue, ended, stirred;
    pthread_t *threads;
    int n_threads, max_threads;
    SLIST_HEAD(, er_handlers_idler) idle;
    bool is_called; /* one that was idle is on its way */
    bool quit;
    bool is_woken; /* the letter is on its way */
    bool hush;
    struct er_letter wake;

    struct er_lock room; /* of the next */
    size_t notes_bytes;  /* items not yet answered */

    /* the end */
    bool is_stopping, is_done;
    er_usec give_up_at; /* on reports; 0 = not yet */
    void (*on_done)(struct errand *e);
};

static inline er_usec
er_handlers_now(const struct er_handlers *h)
{
    return er_clock_mono(h->clock);
}

/* handlers.c */
void
er_handlers_look(struct er_handlers *h); /* takes what is there, sends, arms the timer */
void er_handlers_lost(struct er_handlers *h); /* the session is over: begins anew */

/* handlers_orders.c */
/* ER_ENOMEM: the line is lost. */
int er_handlers_orders_take(struct er_handlers *h, const char *line,
                            size_t n) ER_MUSTCHECK;
void er_handlers_orders_stop_all(struct er_handlers *h);
void er_handlers_orders_drop_given(struct er_handlers *h);

/* handlers_send.c */
const struct er_attempt_ops *er_handlers_mouth(bool by_clock);
/* Thread: runs the handler. */
void er_handlers_mouth_run(struct er_handler_attempt *attempt);
/* Loop: as its handler would say it, but without waiting for room. */
int er_handlers_mouth_item(struct er_handler_attempt *attempt, const char *name,
                           bool failed) ER_MUSTCHECK;
int er_handlers_mouth_checkpoint(struct er_handler_attempt *attempt,
                                 const char *json) ER_MUSTCHECK;

/* handlers_told.c */
/* A line that came by HTTP. */
void er_handlers_told_take(struct er_handler_attempt *attempt, const json_t *line);
/* Whether what it was told makes another end of it than its handler's return. */
bool er_handlers_told_fails(const struct er_handler_attempt *attempt);
/* It has ended: what was told and does not count becomes a warning. */
void er_handlers_told_settle(struct er_handler_attempt *attempt);
/* Adds result, error and rest to the finished line. */
void er_handlers_told_add(const struct er_handler_attempt *attempt, struct er_buf *b);
void er_handlers_told_fini(struct er_handlers_told *t);

/* handlers_run.c */
struct er_handler_attempt *er_handlers_run_new(struct er_handlers *h, json_t *run,
                                               char *done,
                                               const struct er_handler *handler);
void er_handlers_run_free(struct er_handler_attempt *attempt);
/* The attempt at that task that is queued or runs. One of the same number may be beside
 * it which was given back, and whose report is not answered yet. */
struct er_handler_attempt *er_handlers_run_find(struct er_handlers *h, er_task_id task);
/* Asks it to stop: a word of the protocol; gives it back when it has not begun. */
void er_handlers_run_stop(struct er_handler_attempt *attempt, const char *why,
                          er_usec grace_for);
/* It is not ours any more: nothing of it is reported. */
void er_handlers_run_drop(struct er_handler_attempt *attempt);
/* It has news, it has ended, its clock is due. */
void er_handlers_run_stirred(struct er_handler_attempt *attempt);
void er_handlers_run_ended(struct er_handler_attempt *attempt);
void er_handlers_run_due(struct er_handler_attempt *attempt);
/* Takes what is said of its progress. */
void er_handlers_run_update(struct er_handler_attempt *attempt,
                            const struct er_progress_update *u);
/* Sets the heap to when it is due. */
void er_handlers_run_arm(struct er_handler_attempt *attempt);
/* Adds its samples to a report. */
void er_handlers_run_say(struct er_handler_attempt *attempt, struct er_buf *b);

/* handlers_pool.c */
void er_handlers_pool_init(struct er_handlers *h);
void er_handlers_pool_fini(struct er_handlers *h); /* ends the threads */
/* Queues all of h->incoming. */
void er_handlers_pool_add(struct er_handlers *h);
/* Takes one that has not begun out of the queue: false when it has. */
bool er_handlers_pool_take_out(struct er_handler_attempt *attempt);
enum er_handler_attempt_state er_handlers_pool_state(struct er_handler_attempt *attempt);
/* Any thread. */
void er_handlers_pool_stir(struct er_handler_attempt *attempt);
void er_handlers_pool_wake(struct er_handlers *h);
/* Moves what has ended and what is stirred out, and says whether a report is under
 * way. */
void er_handlers_pool_collect(struct er_handlers *h,
                              struct er_handler_attempt_list *ended,
                              struct er_handler_attempt_list *stirred);
void er_handlers_pool_hush(struct er_handlers *h, bool hush);
/* The session is another one: its table of what has begun, if one can be made. */
void er_handlers_pool_begin(struct er_handlers *h);
/* The end of a hand is on disk. */
void er_handlers_pool_forget(struct er_handler_attempt *attempt);

/* handlers_report.c */
/* The chunk that facts are added to now. */
struct er_handlers_chunk *er_handlers_report_chunk(struct er_handlers *h);
void er_handlers_report_flush(struct er_handlers *h);
/* The stream is gone: what is under way counts as not sent. */
void er_handlers_report_disconnect(struct er_handlers *h);
/* Forgets all. */
void er_handlers_report_clear(struct er_handlers *h);
bool er_handlers_report_is_empty(const struct er_handlers *h);
/* Any thread: room for an item, waited for while there are too many and the hand is not
 * to stop; and given back. */
void er_handlers_report_make_room(struct er_handler_attempt *attempt, size_t n);
void er_handlers_report_give_room(struct er_handlers *h, size_t n);
/* Loop: takes it although there may be none. */
void er_handlers_report_take_room(struct er_handlers *h, size_t n);

#endif
