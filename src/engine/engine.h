/* SPDX-License-Identifier: MIT */
/* What happens to tasks: the engine takes submits and requests, decides what runs when,
 * gives work to sessions, takes their reports, and tells observers what became true.
 *
 * It lives on one loop thread, never blocks, and opens no socket: who speaks with clients
 * and workers calls it and is called back. The store is reached through the ferry
 * (writes) and the reader's crew (reads). All functions: loop thread. Callbacks named
 * `done` are called exactly once, never from inside the call that was given them. */
#ifndef ER_ENGINE_ENGINE_H
#define ER_ENGINE_ENGINE_H

#include "base/buf.h"
#include "engine/ferry.h"
#include "engine/loop.h"
#include "model/task.h"
#include "model/type.h"
#include "store/store.h"

struct er_engine;

struct er_engine_options {
    struct er_loop *loop;
    const struct er_clock *clock;
    const char *store_path;
    const char *logs; /* folder of the attempts' logs */
    struct er_retention retention;
    int max_losses;      /* losses in a row after which a task fails */
    er_usec backoff_cap; /* longest wait between two attempts */
    er_usec ageing;      /* what a priority is worth; 0 = ER_AGEING */
    /* No threads: the store's operations run on the loop's thread at the end of each
     * turn, in one transaction as ever, and reads right after them. For stores in memory,
     * where no sync is waited for. */
    bool inline_store;
    /* Retries come after their backoff to the microsecond, not spread: for tests of
     * applications. */
    bool is_steady;
    /* Nothing is claimed: for tests of what was submitted. */
    bool is_idle;
    /* A task could run now whose type no connected session serves (NULL = nobody asks):
     * once for a type until a session that serves it has come and gone; also for types
     * that are executed by processes, while no worker is there. At the end of a turn; may
     * open a session. Loop thread. */
    void (*on_unserved)(void *ctx, const char *type);
    void *unserved_ctx;
};
/* Opens the store, loads what was going on, starts the threads. Sessions that were open
 * are waiting then: see er_engine_sessions. */
int er_engine_open(const struct er_engine_options *options, struct er_engine **out,
                   struct er_err *err) ER_MUSTCHECK;
/* Stops the threads; what was posted is written. Then run the loop until it is idle and
 * call er_engine_free. */
void er_engine_stop(struct er_engine *e);
/* After er_engine_stop, once the loop is idle. */
void er_engine_free(struct er_engine *e);

/* Takes retention, max_losses and backoff_cap of these options from now on. */
void er_engine_tune(struct er_engine *e, const struct er_engine_options *options);

/* ---- submit ------------------------------------------------------------------------ */

struct er_submit {
    struct er_op op;          /* private */
    struct er_engine *engine; /* private */
    struct er_arena arena;    /* for the rows and their texts */
    struct er_new_task *rows;
    size_t n;
    bool atomic;
    void (*done)(struct er_submit *s,
                 int rc); /* owns s; rc = fault of the store as a whole */
    void *ctx;
};
/* While there is hardly room for the store, rows get status ER_EDISKFULL here; all others
 * come from it (ER_EFULL: their queue is full). */
void er_engine_submit(struct er_engine *e, struct er_submit *s);
/* What was posted so far goes to the store now, not at the end of the loop's turn: it
 * works on the first part of a long request while the loop reads the next. */
void er_engine_flush(struct er_engine *e);

/* ---- changes by request ------------------------------------------------------------ */

enum er_change_kind {
    ER_CHANGE_CANCEL,
    ER_CHANGE_PAUSE, /* waits: held; runs: its processes are stopped where they are, and the
                         task is paused when the worker has said so (a watch tells); with
                         free_slot it is put back held instead, at its checkpoint */
    ER_CHANGE_RESUME, /* undoes it; a rate limit's pause ends before it is due */
    ER_CHANGE_RETRY,
    ER_CHANGE_REMOVE,
    ER_CHANGE_EDIT,    /* one row */
    ER_CHANGE_REQUEUE, /* running only; with `hold`: put back held */
};
struct er_change_request {
    struct er_op op;          /* private */
    struct er_engine *engine; /* private */
    enum er_change_kind kind;
    struct er_arena arena;
    struct er_change *rows;
    size_t n;
    const char *reason, *by; /* cancel */
    struct er_edit edit;
    bool hold;                                         /* requeue */
    bool free_slot;                                    /* pause */
    void (*done)(struct er_change_request *c, int rc); /* owns c */
    void *ctx;
};
/* Each row gets its status (0, ER_ENOTFOUND, ER_ESTATE ...); the code of `done` is that
 * of the store as a whole. One commit for all rows. */
void er_engine_change(struct er_engine *e, struct er_change_request *c);

/* Pauses a queue, or everything, and lets it go on: what waits there is not claimed, also
 * what comes later; what runs there is stopped in place (or with free_slot put back: the
 * switch is what holds it). What a switch that stays on stops as well does not go on.
 * `done` comes when the switch, and what it asks of what runs, are on disk and the
 * workers are told; when it fails, the switch alone may be there: ask again. */
struct er_pause_request {
    struct er_op op;          /* private */
    struct er_engine *engine; /* private */
    struct er_queue settings; /* private */
    struct er_change *rows;   /* private: what runs there, n_rows */
    size_t n_rows;            /* private */
    const char *queue;        /* borrowed until done; NULL = everything */
    bool paused, free_slot;
    size_t n_told; /* out: running tasks that are being paused or go on */
    void (*done)(struct er_pause_request *p, int rc); /* owns p */
    void *ctx;
};
void er_engine_pause(struct er_engine *e, struct er_pause_request *p);
/* Whether the switch over everything is on. */
bool er_engine_all_paused(const struct er_engine *e);

/* Any other write: runs as an operation of the ferry. */
void er_engine_post(struct er_engine *e, struct er_op *op);
/* The engine's own copy of a queue's, a limit key's or a type's settings follows the
 * store's: called in the `done` of the operation that wrote them. */
void er_engine_queue_changed(struct er_engine *e, const struct er_queue *q);
void er_engine_queue_removed(struct er_engine *e, const char *name);
void er_engine_limit_changed(struct er_engine *e, const struct er_limit *limit);
void er_engine_limit_removed(struct er_engine *e, const char *key);
void er_engine_type_changed(struct er_engine *e, const struct er_type *type);
void er_engine_type_removed(struct er_engine *e, const char *name);
/* The definition of a type; the built-in defaults for one that has none (`shell`, too,
 * until it is given one). Borrowed until the next change. */
const struct er_type *er_engine_type(const struct er_engine *e, const char *name);
/* Whether it has a definition; fn gets each that there is, in no order. */
bool er_engine_has_type(const struct er_engine *e, const char *name);
void er_engine_each_type(const struct er_engine *e,
                         void (*fn)(void *ctx, const struct er_type *type), void *ctx);

/* What holds a queue, type or limit key back, as it is now. */
enum er_gate_kind { ER_GATE_QUEUE, ER_GATE_TYPE, ER_GATE_KEY };
struct er_gate_view {
    int running;     /* permits taken */
    int concurrency; /* 0 = no limit */
    bool paused;     /* queues */
    size_t n_rates;
    struct er_rate rates[ER_MAX_RATES];
    double level[ER_MAX_RATES]; /* what each bucket holds */
    er_usec open_at; /* wall: when its rates let the next one through that waits for
                        them; ER_NEVER = nothing waits for a rate */
};
/* False: nothing is known by that name (no settings, no task since the start). */
bool er_engine_gate(const struct er_engine *e, enum er_gate_kind kind, const char *name,
                    struct er_gate_view *out);
/* Removes finished tasks beyond the bounds now; done gets how many went. */
typedef void er_clean_done_fn(void *ctx, int rc, int64_t removed);
void er_engine_clean(struct er_engine *e, const struct er_retention *keep,
                     er_clean_done_fn *done, void *ctx);

/* ---- reading ----------------------------------------------------------------------- */

struct er_query {
    struct er_job job; /* private */
    struct er_arena arena;
    int rc;
    /* On the reader's thread; sets rc. */
    void (*run)(struct er_query *q, struct er_store_reader *r);
    void (*done)(struct er_query *q); /* loop; owns q */
    void *ctx;
};
void er_engine_query(struct er_engine *e, struct er_query *q);
/* The same on the thread for files (logs). */
void er_engine_files(struct er_engine *e, struct er_job *job);
/* The folder of the logs, from its options. Borrowed. */
const char *er_engine_logs(const struct er_engine *e);

/* What only memory knows of a running task; NULL when none runs. Borrowed for the
 * turn. */
struct er_live {
    int attempt;
    int pid;                   /* 0 = not started yet */
    er_usec started_at;        /* ER_NEVER = not started yet */
    const char *progress_json; /* NULL = none */
    er_usec progress_for;      /* how old that is; a pause in place does not count */
    uint64_t output_bytes;
    bool ending; /* its end is being written */
    bool paused; /* its processes are stopped */
    bool pausing,
        resuming; /* ... or are to be, or to go on; the worker has not said so yet */
    bool asked;   /* pausing: not where it is, but it was asked to stop, and goes back */
    bool handler; /* not a process, but a handler in that of its worker */
    bool late;    /* that was asked to stop, and has not within its grace */
    const char *worker;
};
bool er_engine_live(const struct er_engine *e, er_task_id id, struct er_live *out);
/* The clock of its options. */
const struct er_clock *er_engine_clock(const struct er_engine *e);
/* The number of the newest fact that was published; 0 = none yet. */
int64_t er_engine_last_seq(const struct er_engine *e);

struct er_engine_stats {
    int64_t facts_published, commits, commit_failures, claims, claim_misses;
    size_t subscribers, running, lanes, sessions;
    int64_t
        disk_wanted; /* bytes that must be free before submits are taken after a full disk */
    bool sick;       /* the store refuses submits now */
    int sick_code;    /* why */
    bool has_worker;  /* some session that executes processes is connected */
    int64_t finished; /* attempts ended since the start */
};
void er_engine_stats(const struct er_engine *e, struct er_engine_stats *out);
/* Calls fn for each session: id, worker, pid, slots, connected, ids of the tasks whose
 * processes it has started. */
struct er_session_view {
    int64_t id;
    const char *worker, *token;
    int pid, slots;
    bool connected;
    bool handlers; /* it executes what its hello named; else processes */
    const er_task_id *running;
    size_t n_running;
    size_t n_runs;      /* all that it has or will get, started or not */
    er_usec silent_for; /* er_engine_silent; 0 = it is not */
};
void er_engine_sessions(struct er_engine *e,
                        void (*fn)(void *ctx, const struct er_session_view *view),
                        void *ctx);
/* Adds a sentence, without a full stop, about a worker that has not answered for ten
 * seconds or more to what it was ordered to do, and returns true: the one that has the
 * task (0 = any). It is told, not killed. */
bool er_engine_silent(const struct er_engine *e, er_task_id id, struct er_buf *b);
/* One true sentence, without a full stop, on why a task that is queued and not held does
 * not run: what stands before it (store, pause, limit, rate, slots, workers, order), and
 * until when if known. For t's queue, type, limit key and cost. *out_until: that moment
 * (wall), or ER_NEVER. Returns what is more than itself a reason: who asks adds what is
 * to be done about it. */
enum er_held_by {
    ER_HELD_BY_OTHER,
    ER_HELD_BY_ENDING,    /* nothing is started any more (er_engine_set_draining) */
    ER_HELD_BY_ALL,       /* everything is paused */
    ER_HELD_BY_QUEUE,     /* its queue is paused */
    ER_HELD_BY_NO_WORKER, /* it is executed by processes, and no session executes those */
};
enum er_held_by er_engine_why_queued(struct er_engine *e, const struct er_task *t,
                                     struct er_buf *b, er_usec *out_until);
/* The engine ends: nothing is claimed from now on. */
void er_engine_set_draining(struct er_engine *e);

/* ---- sessions of workers ----------------------------------------------------------- */

struct er_held { /* an attempt that a worker says it has */
    er_task_id task;
    int attempt;
    int pid;
    er_usec started_at;
    bool paused; /* its processes are stopped */
};
struct er_hello {
    int64_t session; /* 0 = a new one */
    const char *token;
    int pid, slots;
    const struct er_held *held;
    size_t n_held;
    const struct er_held *owed;
    size_t n_owed;
    /* What it can execute: types by name, whose handlers are in that process (attempts of
     * a handler cannot be stopped in place: a pause puts them back held, at their
     * checkpoint). NULL = every type that is executed by a process: `shell`, and those
     * with `command` or `program` in their definition. Not NULL with n_types 0: none for
     * now. Copied. */
    const char *const *types;
    size_t n_types;
    bool pings; /* it answers {"ping":{}} */
};
/* How lines reach the worker: the engine adds them to `out` and calls wake; who has the
 * link takes them off with er_engine_link_take. A session whose lines are not taken is
 * given no further work from ER_LINK_FULL bytes on. When out.failed is set (memory is
 * out), lines are lost and the link must be broken: the next hello sorts it out. */
#define ER_LINK_FULL ((size_t)32 << 20)
#define ER_LINK_MAX  ((size_t)1 << 30) /* what `out` may hold: out.max */
struct er_link {
    struct er_buf out;
    size_t sent; /* bytes of it that were taken */
    void (*wake)(struct er_link *link);
};
/* Opens a session for a new worker (name and token are made here); `done` gets its id
 * once it is on disk, or 0 and the code. */
typedef void er_session_done_fn(void *ctx, int64_t session, int rc);
void er_engine_session_open(struct er_engine *e, int pid, er_session_done_fn *done,
                            void *ctx);
/* The same for a session of handlers. */
void er_engine_session_open_handlers(struct er_engine *e, int pid,
                                     er_session_done_fn *done, void *ctx);
/* A worker of a known session is there (again) with a link, which lives until
 * er_engine_session_detach. ER_ELOST: no such session, or the token is wrong. What the
 * worker does not have any more is put back or taken from the log; what it should not
 * have is dropped. `welcome` is the text of the first line. */
int er_engine_session_attach(struct er_engine *e, const struct er_hello *hello,
                             struct er_link *link, const char *welcome) ER_MUSTCHECK;
/* Takes at most `room` bytes of what waits on the link and adds them to `to`. */
void er_engine_link_take(struct er_engine *e, struct er_link *link, struct er_buf *to,
                         size_t room);
/* The link broke; the session waits. False: the session has another link by now. */
bool er_engine_session_detach(struct er_engine *e, struct er_link *link);
/* The worker process is dead: kills what is left of its trees, verifies, reads the logs,
 * then ends or requeues its attempts and closes the session. */
void er_engine_session_dead(struct er_engine *e, int64_t session, bool lost);
/* No further work for that session ("drain"), or put all back ("stop"). */
void er_engine_session_drain(struct er_engine *e, int64_t session, bool stop);
/* How many attempts that session may have at once from now on; what runs goes on. */
void er_engine_set_slots(struct er_engine *e, int64_t session, int slots);
/* A session of handlers serves these types from now on (what runs goes on). Does nothing
 * to a session that executes processes. */
void er_engine_set_types(struct er_engine *e, int64_t session, const char *const *types,
                         size_t n);
/* Whether a connected session serves the type now. */
bool er_engine_is_served(const struct er_engine *e, const char *type);
/* Whether a session of handlers other than that one (0 = any) has named the type; one
 * whose connection is broken counts while its process lives. */
bool er_engine_is_named_besides(const struct er_engine *e, const char *type,
                                int64_t session);

/* Reports of a session. Lines are added one by one, then sent; `done` gets the code and
 * the attempts that were not its own any more. Alone among the `done`s it may be called
 * from inside er_engine_report_send, when nothing has to be written. */
struct er_report_batch;
struct er_report_batch *
er_engine_report_new(struct er_engine *e, int64_t session,
                     const char *token); /* NULL: not this session */
/* One NDJSON line. ER_EINVALID with words when it is not one. */
int er_engine_report_line(struct er_report_batch *b, const char *line, size_t len,
                          struct er_err *err) ER_MUSTCHECK;
typedef void er_report_done_fn(void *ctx, int rc, const struct er_held *lost,
                               size_t n_lost);
void er_engine_report_send(struct er_report_batch *b, er_report_done_fn *done, void *ctx);
void er_engine_report_drop(struct er_report_batch *b); /* never sent */

/* A progress line (JSON) for a running task from somebody else than the task itself:
 * handed to its worker, which treats it as one from the task's own descriptor.
 * ER_ESTATE. */
int er_engine_tell(struct er_engine *e, er_task_id id, const char *json) ER_MUSTCHECK;
/* Bytes for a running task's standard input. ER_ESTATE: not running. */
int er_engine_input(struct er_engine *e, er_task_id id, const void *p, size_t n,
                    bool eof) ER_MUSTCHECK;

/* ---- a program's own events -------------------------------------------------------- */

/* Hands a sample with a topic of a program's to those who subscribe. Copied. */
void er_engine_topic(struct er_engine *e, const struct er_topic *topic);

/* ---- observing --------------------------------------------------------------------- */

struct er_sub_filter {
    er_task_id task;         /* 0 = any */
    const char *correlation; /* NULL = any; copied */
    uint64_t facts;          /* bits 1 << event for facts; 0 = all */
    bool progress, output;   /* samples wanted */
    /* Topics: these names, or all that begin so where one ends with '*'; none = every
     * topic (ER_EVENT_TOPIC among `facts` counts as well, and `topics` samples).
     * Copied. */
    const char *const *names;
    size_t n_names;
    bool topics; /* samples of topics wanted */
};
struct er_sub;
/* Subscribes. since >= 0: facts behind that number first; -1: only what comes. `wake` is
 * called when there is something to pull. */
struct er_sub *er_engine_subscribe(struct er_engine *e, const struct er_sub_filter *f,
                                   int64_t since, void (*wake)(void *ctx), void *ctx);
/* Adds server-sent event frames to out, about `room` bytes. */
void er_sub_pull(struct er_sub *s, struct er_buf *out, size_t room);
/* Why what it wants could not be read (logged), or 0. It was woken for that: who can
 * begin anew by number ends here; who pulls on has it read again. */
int er_sub_failed(const struct er_sub *s);
/* Ends it; `wake` is not called any more. */
void er_engine_unsubscribe(struct er_sub *s);

/* Calls fn at each fact about one task, and when its output grew, until removed. */
struct er_watch;
typedef void er_watch_fn(void *ctx, enum er_event event);
struct er_watch *er_engine_watch(struct er_engine *e, er_task_id id, er_watch_fn *fn,
                                 void *ctx);
/* Calls fn, with the watch's ctx, when the worker that has the task is found not to
 * answer (er_engine_silent). */
void er_engine_watch_silence(struct er_watch *w, void (*fn)(void *ctx));
/* From inside fn: the fact that it is called for, NULL for a sample. */
const struct er_fact *er_engine_told(const struct er_engine *e);
/* Also from inside fn. NULL is fine. */
void er_engine_unwatch(struct er_watch *w);

#endif
