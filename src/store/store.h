/* SPDX-License-Identifier: MIT */
/* Where tasks live. A store is a durable table of tasks with their attempts,
 * dependencies, facts, environments, lanes, queues and sessions.
 *
 * Verbs take arrays and answer per row: each row has a `status` (0 or an ER_E* code) that
 * the verb sets. They are called between er_store_begin and er_store_commit, all on one
 * thread (the store's thread). A verb that fails as a whole (its return value) has
 * changed nothing: its transaction can then only be rolled back (er_store_commit does
 * that and returns the same code). A row that fails has changed nothing either and does
 * not disturb its neighbours. Nothing is true before er_store_commit has returned 0;
 * after a failed commit or er_store_rollback the store is as it was before
 * er_store_begin.
 *
 * What the verbs of a transaction have caused (facts, tasks that may run now, new lanes)
 * is collected as its effects, to be published after the commit and never before.
 *
 * Every change of a task is a compare-and-set on its state and, while it runs, on attempt
 * and session. `now` is handed in by the caller (wall clock). No verb calls back.
 *
 * Errors of a whole verb: ER_EDISKFULL, ER_EIO, ER_ECORRUPT, ER_ENOMEM, ER_EBUSY. */
#ifndef ER_STORE_STORE_H
#define ER_STORE_STORE_H

#include "base/mem.h"
#include "model/task.h"

struct er_store;        /* the writing side: one connection, one thread */
struct er_store_reader; /* the reading side: another connection, its own thread */

/* ---- opening -------------------------------------------------------------------- */

/* The process is ours alone: SQLite, which may be a host program's as well, need not
 * count its memory under a lock. Before anything is opened. */
void er_store_own_process(void);
/* Opens (and creates or upgrades, in one transaction) the store in the file `path`, or
 * one in memory for ":memory:". The caller must own the store first: one process at a
 * time (the daemon's claim of its folder, serve/claim.c).
 * ER_ESCHEMA: made by a newer version, left untouched; ER_ECORRUPT: not a store, or
 * damaged. Durable: every commit is synced to disk before it returns. */
int er_store_open(const char *path, struct er_store **out,
                  struct er_err *err) ER_MUSTCHECK;
void er_store_close(struct er_store *s); /* NULL is fine; checkpoints */

/* Checks the invariants of the store against each other and the file's structure: for
 * tests and the kill campaign, outside transactions. Reads everything. ER_ECORRUPT says
 * which. */
int er_store_verify(struct er_store *s, struct er_err *err) ER_MUSTCHECK;

/* Opens the reading side of a store that is open for writing in this process. For one in
 * memory it shares the writer's connection and must be used on the same thread, outside
 * transactions or with care: it sees what is not committed yet. */
int er_store_reader_open(struct er_store *s, struct er_store_reader **out,
                         struct er_err *err) ER_MUSTCHECK;
void er_store_reader_close(struct er_store_reader *r);
/* Whether the file is sound in itself (SQLite's quick_check; seconds for a large one).
 * ER_ECORRUPT with what was found. */
int er_store_check(struct er_store_reader *r, struct er_err *err) ER_MUSTCHECK;

/* ---- transactions ---------------------------------------------------------------- */

/* A task that may run now: queued and not held. */
struct er_ready {
    er_task_id id;
    int64_t lane, rank;
    int64_t cost; /* of its start; see struct er_rate */
    bool again;   /* of er_store_fresh: it has had an attempt already */
};
struct er_lane {
    int64_t id;
    const char *queue, *type, *limit_key; /* limit_key "" when none */
};
struct er_effects {
    struct er_fact *facts;
    size_t n_facts;
    struct er_ready *ready; /* became able to run in this transaction */
    size_t n_ready;
    struct er_lane
        *lanes; /* made in this transaction; before any ready that names them */
    size_t n_lanes;
    er_usec
        next_due; /* earliest run_at or expires_at that this transaction set; ER_NEVER */
    bool written; /* it wrote something: the disk has taken it */
    int64_t ready_total;   /* as er_store_fresh tells it: with all of these */
    struct er_arena arena; /* holds all of the above; the taker frees it */
};

int er_store_begin(struct er_store *s) ER_MUSTCHECK;
/* Commits and syncs. On success the effects are moved to *out (which the caller frees
 * with er_arena_free(&out->arena)); on failure all is rolled back and *out is
 * untouched. */
int er_store_commit(struct er_store *s, struct er_effects *out) ER_MUSTCHECK;
void er_store_rollback(struct er_store *s);
/* Writes something that means nothing: whether its commit works tells how the disk is. */
int er_store_probe(struct er_store *s, er_usec now) ER_MUSTCHECK;
/* The words of the first failure since er_store_begin, "" when there was none. Borrowed
 * until the next call. For tests, which tell by it what a code leaves open. */
const char *er_store_failure(const struct er_store *s);

/* How long a priority is worth: rank = created_at - priority x step, or the end of the
 * numbers where that is beyond them. Set once, before the first verb; ER_AGEING when
 * never set. Tasks keep the rank that they were given, until their priority is edited. */
void er_store_set_ageing(struct er_store *s, er_usec step);

/* ---- submit ---------------------------------------------------------------------- */

struct er_new_after {
    er_task_id id; /* an existing task; 0 = use ref */
    int ref;       /* index of an earlier or later row of the same call; -1 = none */
    enum er_after_when when;
};
struct er_new_task {
    /* in; texts are borrowed for the call; NULL = none unless said otherwise */
    const char *type, *queue; /* never NULL */
    const char *limit_key;
    const char *name;      /* never NULL */
    const char *args_json; /* never NULL */
    const char *cwd;
    const char *env_json;     /* an object, stored once by content; NULL = none */
    const char *correlation;  /* never NULL */
    bool inherit_correlation; /* the parent's is taken instead, when there is a parent */
    const char *key;
    uint64_t body_hash; /* of what was submitted: tells a repeated key from a clash */
    const char *tags_json, *meta_json;
    uint64_t signature; /* of type and command, for the expected duration; 0 = none */
    int priority, retries;
    er_usec backoff_for, timeout_for, grace_for, heartbeat_for;
    int64_t cost;       /* from 1; 0 = 1 */
    er_usec run_at;     /* ER_NEVER or past = at once */
    bool run_at_fixed;  /* a moment of the wall clock (--at); else so long from now, and
                           moved with the clock when that is set: er_store_shift */
    er_usec expires_at; /* longest wait for the first start; ER_NEVER = none */
    enum er_on_lost on_lost;
    er_task_id parent;
    bool held;
    const struct er_new_after *after;
    size_t n_after;
    bool ask_takes; /* type_takes is wanted */
    /* out */
    int status;    /* 0; EXISTS: key used with another body (id = its task); NOTFOUND: a
                   dependency that never was (bad_after; one of which nothing is left has
                   ended as asked for), or an unknown parent (bad_after = -1); INVALID: a
                   cycle among refs (bad_after), or tags that are not an array of strings
                   (bad_after = -1); CANCELLED: a row of an atomic batch whose neighbour
                   failed; FULL: the queue's size is reached (waiting, queue_size) */
    int bad_after; /* index in `after`, or -1 */
    int64_t waiting,
        queue_size; /* with FULL: tasks that wait in the queue, and its size */
    bool existing;  /* the key was there with the same body: id is that task */
    er_task_id id;
    int64_t lane, rank;
    enum er_task_state state; /* queued, scheduled, blocked; cancelled when a dependency
                                 can no longer be met */
    er_usec type_takes;       /* with ask_takes, as er_store_type_takes tells it */
};
/* Adds n tasks, in order. `atomic`: all or none (then every row has a status other than 0
 * when one failed). Facts: task-queued, -scheduled or -blocked for each; then -paused
 * when it is held, or -cancelled when a dependency can no longer be met. A row whose
 * `existing` is set has no effects; a key that stands twice in one call is one task, too.
 * The rank is a constant (linear ageing, see er_store_set_ageing): nothing is ever ranked
 * anew. */
int er_store_submit(struct er_store *s, er_usec now, struct er_new_task *rows, size_t n,
                    bool atomic) ER_MUSTCHECK;

/* ---- claim and finish -------------------------------------------------------------- */

struct er_after_result;
struct er_claim {
    er_task_id id;      /* in */
    int64_t session;    /* in */
    int64_t lane, rank; /* in: where it must stand; lane 0 = wherever it is */
    bool fresh; /* in: it is one of er_store_fresh, and is not to be told as ready */
    int status; /* out: 0; ER_ESTATE: no longer queued, or held, or moved elsewhere;
                          ER_ELOST: the session is not open */
    struct er_task *task; /* out: as it now is (running, attempt counted), in `arena` */
    er_usec expected_for; /* out: how long the same signature took before; 0 = unknown */
    /* out, with task->has_after: as er_store_after_results tells, when they are few and
     * small; else NULL */
    struct er_after_result *after;
    size_t n_after;
};
/* Gives queued tasks to sessions: queued -> running, attempt + 1, fact task-started with
 * data {"worker","attempt"}. Tasks are read into `arena`. */
int er_store_claim(struct er_store *s, er_usec now, struct er_claim *rows, size_t n,
                   struct er_arena *arena) ER_MUSTCHECK;
/* The tasks that have become able to run in this transaction so far, in no order: they
 * may have ceased to be since. Borrowed until the next verb. *out_total: how many there
 * were in all transactions since the store was opened, these included, those that were
 * claimed as fresh not: who knows what the effects had told up to some number knows by it
 * how many there are that he has not heard of. */
size_t er_store_fresh(const struct er_store *s, const struct er_ready **out,
                      int64_t *out_total);

struct er_finish {
    /* in */
    er_task_id id;
    int attempt;
    int64_t session;
    enum er_task_state state; /* where it goes: completed, failed, cancelled; queued,
                                 scheduled (with run_at) or paused: another attempt follows */
    bool held;                /* with queued: put back held */
    bool refund; /* never spawned: the attempt does not count (attempt - 1, its
                                 row removed) */
    int add_failures, add_losses; /* losses: set to 0 when add_losses is 0 and the attempt
                                     ran to its own end and another follows (scheduled) */
    er_usec run_at; /* scheduled: when (ER_NEVER: at once); paused: when it resumes by
                       itself (resumes_at; a rate limit), ER_NEVER = by request only */
    er_usec started_at, finished_at; /* when the process really ran; ER_NEVER = unknown */
    const char *outcome;             /* ER_OUTCOME_* of the attempt */
    bool has_exit_code;
    int exit_code, signal;
    const void *result; /* NULL = none */
    size_t result_len;
    const char *error_json; /* NULL: keep; completed: none */
    const char *progress_json, *checkpoint_json, *warnings_json; /* NULL: keep */
    er_usec cpu_for;
    int64_t peak_rss, output_bytes;
    enum er_event event; /* the fact to record */
    const char *event_data_json;
    /* out */
    int status; /* 0; ER_ELOST: not this attempt's task any more; ER_EINVALID: a state to
                   which what runs cannot go */
};
/* Ends attempts that run or are paused in place. A task that became final releases or
 * cancels its dependents in the same transaction (transitively), each with its own facts;
 * the expected duration of its signature is learnt from completed attempts. What one
 * costs does not depend on how many a dependent waits for. */
int er_store_finish(struct er_store *s, er_usec now, struct er_finish *rows,
                    size_t n) ER_MUSTCHECK;

struct er_progress_row {
    er_task_id id;
    int attempt;
    int64_t session;
    const char *progress_json, *checkpoint_json; /* NULL: keep */
    int status;                                  /* out: 0 or ER_ELOST */
};
/* Keeps the latest progress of running tasks. No facts. */
int er_store_progress(struct er_store *s, struct er_progress_row *rows,
                      size_t n) ER_MUSTCHECK;

struct er_suspend {
    er_task_id id;
    int attempt;
    int64_t session;
    bool paused; /* true: running -> paused in place; false: paused in place -> running */
    int status;  /* out: 0 (also when it is so already); ER_ELOST */
};
/* Pauses attempts in place (their processes are stopped, the attempt and its session
 * stay) and lets them go on. Facts task-paused and task-resumed, reason "user". */
int er_store_suspend(struct er_store *s, er_usec now, struct er_suspend *rows,
                     size_t n) ER_MUSTCHECK;

struct er_item_row {
    er_task_id id;
    int attempt;
    int64_t session;
    const char *name; /* 1 to ER_MAX_NAME bytes */
    bool failed;
    int status; /* out: 0 or ER_ELOST */
};
/* Stores items one by one; one that is there already gets the new outcome. The cost of
 * one does not depend on how many there are. The task's items_completed and items_failed
 * follow. No facts. */
int er_store_items_put(struct er_store *s, er_usec now, struct er_item_row *rows,
                       size_t n) ER_MUSTCHECK;

/* ---- changes by request ------------------------------------------------------------ */

struct er_change {
    er_task_id id;            /* in */
    int status;               /* out: 0; ER_ENOTFOUND; ER_ESTATE */
    enum er_task_state state; /* out: before the change (also with ER_ESTATE) */
    bool held;                /* out, likewise */
    int attempt;              /* out, with running */
    int64_t session;          /* out, with running or paused in place; else 0 */
    int64_t dependents;    /* out of er_store_retry: how many tasks were cancelled because
                                 of this one, and stay so */
    bool cancel_requested; /* out: running or paused in place, and to be cancelled */
    unsigned asked;        /* out: ER_ASKED_* before the change, likewise */
    int64_t items_completed, items_failed; /* out of er_store_look: stored for it */
};
/* Changes nothing: fills the outputs of each row, as they are within the transaction. */
int er_store_look(struct er_store *s, struct er_change *rows, size_t n) ER_MUSTCHECK;
/* waiting -> cancelled at once (dependents too); running or paused in place:
 * cancel_requested is set, the worker must be told; final: ER_ESTATE. `reason` and `by`
 * go into the fact's data. */
int er_store_cancel(struct er_store *s, er_usec now, struct er_change *rows, size_t n,
                    const char *reason, const char *by) ER_MUSTCHECK;
/* Sets or clears the hold flag of what waits (facts task-paused/-resumed with reason);
 * `paused` without a session (a rate limit) goes back to queued when cleared, before it
 * is due. A flag that is already so is a success without a fact. Of what runs or is
 * paused in place only what is asked is kept (ER_ASKED_PAUSE and _HOLD, or _HOLD alone of
 * what is to be put back), the worker must be told, and no fact tells it. ER_ESTATE:
 * final; to be cancelled; and, when cleared: it runs, and nothing of the kind was
 * asked. */
int er_store_hold(struct er_store *s, er_usec now, struct er_change *rows, size_t n,
                  bool held) ER_MUSTCHECK;
/* Changes what is asked of attempts that run or are paused in place; their workers must
 * be told. ER_ESTATE, and nothing is changed: there is no such attempt, or one of
 * `unless` was asked of it. Bits: ER_ASKED_*. No facts. */
int er_store_ask(struct er_store *s, struct er_change *rows, size_t n, unsigned unless,
                 unsigned clear, unsigned set) ER_MUSTCHECK;
/* final -> queued as a new run: run + 1, failures, losses, progress, result and error
 * cleared (checkpoint and items too if it had completed; else only failed items), no
 * expiry; attempts keep counting; its rank is that of a task made now. Dependencies are
 * not waited for again. */
int er_store_retry(struct er_store *s, er_usec now, struct er_change *rows,
                   size_t n) ER_MUSTCHECK;
/* Deletes finished tasks, leaving tombstones; fact task-removed. The log files are the
 * caller's to delete (attempts 1 .. rows[i].attempt). */
int er_store_remove(struct er_store *s, er_usec now, struct er_change *rows,
                    size_t n) ER_MUSTCHECK;

struct er_edit {
    const char *name, *queue, *limit_key; /* NULL: keep; limit_key "": none */
    bool has_priority, has_retries, has_timeout, has_run_at, has_backoff, has_grace,
        has_heartbeat, has_expires, has_on_lost, has_cost, has_after;
    int priority, retries;
    er_usec timeout_for, run_at, backoff_for, grace_for, heartbeat_for, expires_at;
    bool run_at_fixed;
    enum er_on_lost on_lost;
    int64_t cost;
    const struct er_new_after *after; /* has_after: instead of those it had; ids only */
    size_t n_after;
    int bad_after; /* out: ER_ENOTFOUND, ER_EINVALID: which of them; -1 = none */
    /* out, with ER_EINVALID: the cycle that it would make, from the task to itself; cut
     * when it is longer */
    er_task_id chain[16];
    size_t n_chain;
};
/* Changes one task that waits; fact task-changed, and task-cancelled when it has
 * dependencies now that can no longer be met. ER_ESTATE: running, paused in place or
 * final, or other dependencies for what a rate limit has paused; ER_EINVALID: a cycle
 * (chain), or a dependency on itself; ER_ENOTFOUND with bad_after: one that never was. A
 * new run_at ends a rate limit's pause. When it may run and stands elsewhere now (lane,
 * rank), or costs something else, it is among the ready ones again. */
int er_store_edit(struct er_store *s, er_usec now, struct er_change *row,
                  struct er_edit *edit) ER_MUSTCHECK;

/* ---- the scheduler's views --------------------------------------------------------- */

/* scheduled tasks whose run_at has come -> queued (fact task-queued), paused ones whose
 * resumes_at has come -> queued (fact task-resumed, reason "rate-limit"), and waiting
 * tasks whose expires_at has passed -> failed (code "expired"): at most `limit` tasks.
 * *out_next = the earliest moment that is left (may be <= now when the limit cut). */
int er_store_due(struct er_store *s, er_usec now, size_t limit,
                 er_usec *out_next) ER_MUSTCHECK;
/* The wall clock was set by `by`: spans that are being waited for (delays, backoffs, rate
 * limits, expiries) move with it; moments that were named (run_at_fixed) stay. No facts;
 * next_due of the effects is the earliest moment there is now. */
int er_store_shift(struct er_store *s, er_usec by) ER_MUSTCHECK;
/* The first n tasks of a lane that may run, in order of (rank, id), behind the given
 * (rank, id); INT64_MIN, 0 = from the start. Returns how many in *out_n. */
int er_store_peek(struct er_store *s, int64_t lane, int64_t after_rank,
                  er_task_id after_id, struct er_ready *out, size_t n,
                  size_t *out_n) ER_MUSTCHECK;

/* ---- sessions ---------------------------------------------------------------------- */

struct er_session {
    int64_t id;
    const char *worker; /* "w1" */
    const char *token;  /* 32 hex digits; part of every ERRAND_COOKIE of the session */
    int pid;
    er_usec started_at;
};
/* Opens a session (id is set; token and worker must be); fact worker-started. */
int er_store_session_open(struct er_store *s, er_usec now,
                          struct er_session *session) ER_MUSTCHECK;
/* Ends one; `lost` records worker-lost. ER_ENOTFOUND: no such open session. ER_ESTATE: it
 * has running tasks, which must be finished before. These two leave the transaction
 * good. */
int er_store_session_close(struct er_store *s, er_usec now, int64_t id,
                           bool lost) ER_MUSTCHECK;

/* ---- queues ------------------------------------------------------------------------ */

struct er_queue {
    const char *name;
    int concurrency; /* 0 = no limit of its own */
    int64_t size;    /* most waiting tasks; 0 = no limit */
    bool paused;
    struct er_rate rates[ER_MAX_RATES];
    size_t n_rates;
};
/* ER_EINVALID: a negative number, or a rate out of bounds; leaves the transaction good.
 * Fact queue-changed with {"queue","concurrency","size","paused","rates":["60/1m"]}. */
int er_store_queue_put(struct er_store *s, er_usec now,
                       const struct er_queue *q) ER_MUSTCHECK;
/* Removes the settings. ER_ESTATE: tasks that are not final are in it, settings or not.
 * ER_ENOTFOUND: it has none. Fact queue-changed with "removed". These codes leave the
 * transaction good. */
int er_store_queue_remove(struct er_store *s, er_usec now, const char *name) ER_MUSTCHECK;
/* Nothing is claimed any more, of any queue, until it is cleared. Fact queue-changed with
 * {"all": true, "paused": ...}, none when it is so already. */
int er_store_pause_all(struct er_store *s, er_usec now, bool paused) ER_MUSTCHECK;

/* ---- limit keys and types ---------------------------------------------------------- */

/* What holds for all tasks with one limit key, of whatever queue and type. */
struct er_limit {
    const char *key;
    int concurrency; /* 0 = no limit */
    struct er_rate rates[ER_MAX_RATES];
    size_t n_rates;
};
/* As er_store_queue_put and _remove; fact limit-changed with
 * {"key","concurrency","rates"} or {"key","removed":true}. Removing settings is never
 * refused for tasks that carry the key: they are then without a limit. */
int er_store_limit_put(struct er_store *s, er_usec now,
                       const struct er_limit *limit) ER_MUSTCHECK;
int er_store_limit_remove(struct er_store *s, er_usec now, const char *key) ER_MUSTCHECK;

struct er_type_row {
    const char *name;
    const char *definition_json; /* an object: src/wire/type_json.h reads it */
};
/* Keeps a type's definition; the same one again is a success without a fact. Fact
 * type-changed with {"type","definition"} or {"type","removed":true}. Remove:
 * ER_ENOTFOUND, which leaves the transaction good. */
int er_store_type_put(struct er_store *s, er_usec now,
                      const struct er_type_row *type) ER_MUSTCHECK;
int er_store_type_remove(struct er_store *s, er_usec now, const char *name) ER_MUSTCHECK;

/* ---- a program's own facts, and named cursors -------------------------------------- */

/* Writes facts with names of their own (event ER_EVENT_TOPIC, its `topic` is the name).
 * Each row gets its `seq`. ER_EINVALID: not such a name (model/topic.h); ER_ETOOBIG: data
 * of more than ER_MAX_TOPIC_DATA; ER_ENOTFOUND: no such task. */
int er_store_topic_put(struct er_store *s, er_usec now, struct er_topic *rows,
                       size_t n) ER_MUSTCHECK;
/* Keeps, under a name, up to which fact somebody has seen all; no fact. Remove:
 * ER_ENOTFOUND, which leaves the transaction good. */
int er_store_cursor_put(struct er_store *s, er_usec now, const char *name,
                        int64_t seq) ER_MUSTCHECK;
int er_store_cursor_remove(struct er_store *s, const char *name) ER_MUSTCHECK;

/* ---- retention --------------------------------------------------------------------- */

struct er_retention {
    int64_t keep;          /* newest finished tasks that stay */
    er_usec keep_for;      /* and all that finished less than this ago */
    er_usec tombstone_for; /* how long tombstones stay */
    int64_t facts;         /* most facts that stay */
    er_usec facts_for;     /* and none older than this */
    int64_t log_bytes; /* most bytes of logs of finished tasks; 0 = no bound. Beyond it
                              the oldest go first, whatever keep and keep_for say, but
                              those without output, which would make no room */
    int only_state;    /* -1, or remove tasks of this final state only (`clean`) */
};
struct er_removed {
    er_task_id id;
    int attempts;
};
/* Removes what is beyond the bounds, at most `limit` tasks (fact task-removed for each)
 * and 10 x limit facts a call, never what an unfinished task depends on, nor the latest
 * fact. With only_state nothing but tasks. *out (in arena) names the removed tasks, whose
 * logs are the caller's to delete; *out_more tells that the limit cut. */
int er_store_prune(struct er_store *s, er_usec now, const struct er_retention *keep,
                   size_t limit, struct er_arena *arena, struct er_removed **out,
                   size_t *out_n, bool *out_more) ER_MUSTCHECK;

/* ---- start ------------------------------------------------------------------------- */

struct er_counter {
    const char *queue;
    int64_t n[ER_TASK_STATES]; /* tasks by state; held ones count where they are */
};
struct er_store_state {
    struct er_lane *lanes;
    size_t n_lanes;
    int64_t *open_lanes; /* ids of lanes in which something may run */
    size_t n_open_lanes;
    struct er_queue *queues;
    size_t n_queues;
    struct er_counter *counters;
    size_t n_counters;
    struct er_session *sessions; /* not ended */
    size_t n_sessions;
    struct er_task
        *running; /* tasks that run or are paused in place, with their sessions */
    size_t n_running;
    struct er_limit *limits;
    size_t n_limits;
    struct er_type_row *types;
    size_t n_types;
    bool all_paused;
    er_usec next_due;
    int64_t last_seq, first_seq; /* facts that are kept; 0 when none */
};
/* What an engine needs to go on after a start, read into `arena`. Outside
 * transactions. */
int er_store_load(struct er_store *s, struct er_arena *arena,
                  struct er_store_state *out) ER_MUSTCHECK;

/* ---- reading (the reader's thread) ------------------------------------------------- */

struct er_filter {
    unsigned states; /* bits 1 << state; 0 = all. Compared with the shown state */
    const char *queue, *type, *tag, *correlation, *key; /* NULL = any; key: at most one */
    er_task_id before; /* only ids below; 0 = from the newest */
    size_t limit;      /* at most this many (1 to 1000) */
};
/* A list ends with the task that brings its texts to so many bytes. */
#define ER_LIST_BYTES ((size_t)8 << 20)
/* Newest first. A few milliseconds at 100,000 tasks: reads along ids or partial indexes,
 * never counts. *out_more: there are older ones. Results of tasks are not read. */
int er_store_list(struct er_store_reader *r, const struct er_filter *f,
                  struct er_arena *arena, struct er_task **out, size_t *out_n,
                  bool *out_more) ER_MUSTCHECK;
/* One task. ER_ENOTFOUND: unknown, or removed (see er_store_get_tombstone). */
int er_store_get(struct er_store_reader *r, er_task_id id, bool with_result,
                 struct er_arena *arena, struct er_task *out) ER_MUSTCHECK;

struct er_tombstone {
    er_task_id id;
    int run;
    enum er_task_state state;
    bool has_exit_code;
    int exit_code;
    er_usec finished_at, removed_at;
};
int er_store_get_tombstone(struct er_store_reader *r, er_task_id id,
                           struct er_tombstone *out) ER_MUSTCHECK;

struct er_attempt {
    int number, run;
    int64_t session;
    const char *worker;
    er_usec started_at, finished_at; /* ER_NEVER = unknown */
    const char *outcome;             /* NULL while it runs */
    bool has_exit_code;
    int exit_code, signal;
    const char *error_json;
    er_usec cpu_for;
    int64_t peak_rss, output_bytes;
};
int er_store_attempts(struct er_store_reader *r, er_task_id id, struct er_arena *arena,
                      struct er_attempt **out, size_t *out_n) ER_MUSTCHECK;

struct er_after {
    er_task_id id;
    enum er_after_when when;
    int state; /* enum er_task_state; -1 = removed and forgotten */
};
/* The dependencies of a task, in the order given (with `open`: only those that it still
 * waits for); at most `limit` from the `offset`-th. */
int er_store_after(struct er_store_reader *r, er_task_id id, bool open, size_t offset,
                   size_t limit, struct er_arena *arena, struct er_after **out,
                   size_t *out_n) ER_MUSTCHECK;

struct er_after_result {
    er_task_id id;
    int state; /* as in struct er_after */
    bool has_exit_code;
    int exit_code;
    const void *result; /* NULL = none, or left out */
    size_t result_len;  /* its whole length, also when it was left out */
};
/* The results of a task's dependencies, in order. Of the results at most max_bytes in all
 * are read; those that do not fit are left out. */
int er_store_after_results(struct er_store_reader *r, er_task_id id, size_t max_bytes,
                           struct er_arena *arena, struct er_after_result **out,
                           size_t *out_n) ER_MUSTCHECK;

struct er_item {
    const char *name;
    bool failed;
    int attempt; /* in which it was stored */
    er_usec at;
};
/* The stored items of a task by name, behind the name `after` (NULL = from the first);
 * `failed`: -1 = all, 0 = completed ones, 1 = failed ones. */
int er_store_items(struct er_store_reader *r, er_task_id id, int failed,
                   const char *after, size_t limit, struct er_arena *arena,
                   struct er_item **out, size_t *out_n) ER_MUSTCHECK;
/* All settings of limit keys. */
int er_store_limits(struct er_store_reader *r, struct er_arena *arena,
                    struct er_limit **out, size_t *out_n) ER_MUSTCHECK;

struct er_fact_filter {
    int64_t since;           /* facts with a greater number */
    int64_t until;           /* and none greater than this; 0 = no end */
    er_task_id task;         /* 0 = any */
    const char *correlation; /* NULL = any */
    uint64_t events;         /* bits 1 << event; 0 = any */
    /* Of a program's own (ER_EVENT_TOPIC) only those that fit one of these patterns
     * (model/topic.h); none = all of them. */
    const char *const *names;
    size_t n_names;
    size_t limit;
    size_t max_bytes; /* ends behind the fact whose data reaches this; 0 = no bound */
};
/* Facts in order of number. One call looks at 50,000 at most. *out_last = the greatest
 * number looked at, from which to go on; all has been read when it comes back as the
 * greatest that is kept, as `until`, or as `since`. */
int er_store_facts(struct er_store_reader *r, const struct er_fact_filter *f,
                   struct er_arena *arena, struct er_fact **out, size_t *out_n,
                   int64_t *out_last) ER_MUSTCHECK;
/* ER_ENOTFOUND: no such cursor. */
int er_store_cursor(struct er_store_reader *r, const char *name,
                    int64_t *out_seq) ER_MUSTCHECK;
/* How long completed attempts of a type take, whatever their arguments: a mean in which
 * the latest weigh most; 0 = unknown. */
int er_store_type_takes(struct er_store_reader *r, const char *type,
                        er_usec *out_for) ER_MUSTCHECK;
/* The smallest and greatest number that are kept (0, 0 in a new store). */
int er_store_fact_bounds(struct er_store_reader *r, int64_t *out_first,
                         int64_t *out_last) ER_MUSTCHECK;
/* The queues that have settings. */
int er_store_queues(struct er_store_reader *r, struct er_arena *arena,
                    struct er_queue **out, size_t *out_n) ER_MUSTCHECK;
/* How many tasks each queue has in each state that is shown: what is held is paused. */
int er_store_counters(struct er_store_reader *r, struct er_arena *arena,
                      struct er_counter **out, size_t *out_n) ER_MUSTCHECK;
/* Who is queued, and not held, in a queue, of a type, with a limit key: NULL = any. */
#define ER_WAITERS_COUNTED ((int64_t)10000)
struct er_waiters_of {
    const char *queue, *type, *limit_key;
};
struct er_waiters {
    int64_t n;             /* ER_WAITERS_COUNTED: that many, or more */
    struct er_task *first; /* in the order in which they would start */
    size_t n_first;
};
/* At most `limit` of them are read. What it costs does not grow with how many wait. */
int er_store_waiters(struct er_store_reader *r, const struct er_waiters_of *of,
                     size_t limit, struct er_arena *arena,
                     struct er_waiters *out) ER_MUSTCHECK;
/* How many wait with each of those limit keys, which er_store_limits gave: likewise. */
int er_store_key_waiters(struct er_store_reader *r, const struct er_limit *limits,
                         size_t n, int64_t *out) ER_MUSTCHECK;
/* The JSON object of a stored environment. */
int er_store_env(struct er_store_reader *r, int64_t env, struct er_arena *arena,
                 const char **out_json) ER_MUSTCHECK;

#endif
