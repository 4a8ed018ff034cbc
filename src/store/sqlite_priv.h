/* SPDX-License-Identifier: MIT */
/* The inside of the store on SQLite, shared by sqlite*.c only. Who does what:
 *   sqlite.c            one connection: statements, errors (the only map of SQLite's
 *                       codes)
 *   sqlite_open.c       open, upgrade, refuse; the reader
 *   sqlite_wal.c        the log of the last commits, written in large pieces
 *   sqlite_tx.c         begin, commit, rollback, and what memory must forget with them
 *   sqlite_effects.c    facts, ready tasks, the next moment
 *   sqlite_lane.c       lanes, counters, environments: caches, and sums written at commit
 *   sqlite_duration.c   expected durations
 *   sqlite_task.c       reading tasks; the short form that changes need
 *   sqlite_plan.c       checks a batch of submits and decides every row's fate
 *   sqlite_submit.c     writes it
 *   sqlite_topic.c      a program's own facts, named cursors
 *   sqlite_tag.c        reads tags
 *   sqlite_claim.c, sqlite_finish.c, sqlite_item.c, sqlite_change.c, sqlite_edit.c,
 *   sqlite_due.c, sqlite_session.c, sqlite_settings.c, sqlite_retention.c, sqlite_load.c:
 *                       the verbs of those names
 *   sqlite_settle.c     what the end of a task means for those that wait for it
 *   sqlite_list.c, sqlite_read.c: the reader's verbs
 *   sqlite_verify.c     the invariants
 *
 * Inside a verb a negative return means that the verb as a whole has failed: the code is
 * kept in the connection, and the transaction can only be rolled back. What is wrong with
 * one row is found out before anything of it is written, and goes into its status. */
#ifndef ER_STORE_SQLITE_PRIV_H
#define ER_STORE_SQLITE_PRIV_H

#include <sqlite3.h>

#include "base/buf.h"
#include "base/mem.h"
/* A hash table that is out of memory leaves the new entry out (its hh.tbl is NULL). */
#define HASH_NONFATAL_OOM      1
#define uthash_malloc(size)    er_alloc(size)
#define uthash_free(ptr, size) er_free(ptr)
/* Its own function makes clang warn wherever it is expanded. */
unsigned er_sqlite_hash(const void *p, size_t n);
#define HASH_FUNCTION(key, len, hash) (hash) = er_sqlite_hash(key, len)
#include <uthash.h>

#include "store/store.h"

#define ER_SQLITE_APPLICATION 0x45525244 /* "ERRD" */

/* The columns of struct er_task that stand in the table, in the order read_task reads. */
#define ER_TASK_COLUMNS                                                                  \
    "t.id, t.run, t.state, t.held, t.cancel_requested, t.lane, t.rank, t.priority, "     \
    "t.attempt, t.failures, t.losses, t.retries, t.on_lost, t.waiting, t.session, "      \
    "t.env, t.parent, t.backoff_for, t.timeout_for, t.grace_for, t.signature, "          \
    "t.created_at, t.expires_at, t.run_at, t.started_at, t.finished_at, t.resumes_at, "  \
    "t.exit_code, t.signal, t.cpu_for, t.peak_rss, t.correlation, t.name, t.key, "       \
    "t.cwd, "                                                                            \
    "t.tags, t.meta, t.progress, t.checkpoint, t.error, t.warnings, t.args, "            \
    "t.cost, t.heartbeat_for, t.items_completed, t.items_failed"
#define ER_TASK_N_COLUMNS 46

enum er_sql {
#define ER_SQL(name, text) ER_SQL_##name,
#include "store/sqlite_statements.def"
#undef ER_SQL
    ER_SQL_COUNT
};

/* ---- sqlite.c: one connection ---------------------------------------------------- */

struct er_sqlite {
    sqlite3 *db;
    sqlite3_stmt *statements[ER_SQL_COUNT]; /* prepared when first used */
    int failed;                             /* the first failure since it was cleared */
    struct er_err err;                      /* its words */
};
/* A statement on its way: bind in order of the parameters, step, end. The first error is
 * kept and returned by er_stmt_step, so that binding needs no checks. */
struct er_stmt {
    struct er_sqlite *c;
    sqlite3_stmt *st;
    int n;  /* parameters bound */
    int rc; /* SQLite's code of the first bind that failed */
};

/* Maps a code of SQLite, keeps it with its words as the connection's failure (if it is
 * the first) and returns it. */
int er_sqlite_failed(struct er_sqlite *c, int sqlite_rc);
/* The same for a failure of our own (ER_ENOMEM, ER_ECORRUPT). */
int er_sqlite_fail(struct er_sqlite *c, int code, const char *words);
int er_sqlite_no_memory(struct er_sqlite *c);
/* Room for one more element behind the first n in an array of *size places in an arena:
 * the array, which may be another one now; NULL when memory is out (the old one stays).
 */
void *er_sqlite_grow(struct er_arena *arena, void *array, size_t n, size_t *size,
                     size_t element) ER_MUSTCHECK;
int er_sqlite_exec(struct er_sqlite *c, const char *sql) ER_MUSTCHECK;
/* The integer that a query of one value gives; `none` when it gives no row or NULL. */
int er_sqlite_number(struct er_sqlite *c, const char *sql, int64_t none,
                     int64_t *out) ER_MUSTCHECK;
/* Runs a check of the whole file: 0; ER_ECORRUPT with what was found; or why it could not
 * be checked. */
int er_sqlite_check_file(struct er_sqlite *c, const char *pragma,
                         struct er_err *err) ER_MUSTCHECK;
void er_sqlite_close(struct er_sqlite *c); /* statements, then the connection */

void er_stmt_begin(struct er_stmt *q, struct er_sqlite *c, enum er_sql which);
void er_stmt_i64(struct er_stmt *q, int64_t v);
void er_stmt_i64_or_null(struct er_stmt *q, int64_t v, int64_t null);
void er_stmt_null(struct er_stmt *q);
void er_stmt_text(struct er_stmt *q, const char *s); /* NULL binds NULL; borrowed */
void er_stmt_blob(struct er_stmt *q, const void *p,
                  size_t n);                      /* NULL binds NULL; borrowed */
int er_stmt_step(struct er_stmt *q) ER_MUSTCHECK; /* 1: a row; 0: no more; or an error */
void er_stmt_end(struct er_stmt *q);
/* Steps once, where no row is expected, and ends: 0 or an error. */
int er_stmt_run(struct er_stmt *q) ER_MUSTCHECK;
/* The same for a change of exactly one row; ER_ECORRUPT when it was none or more. */
int er_stmt_run_one(struct er_stmt *q) ER_MUSTCHECK;

int64_t er_col_i64(struct er_stmt *q, int col);
int64_t er_col_i64_or(struct er_stmt *q, int col, int64_t null);
int er_col_int(struct er_stmt *q, int col);
/* A text copied into the arena; NULL for NULL. Sets *failed when memory is out. */
const char *er_col_text(struct er_stmt *q, int col, struct er_arena *arena, bool *failed);

/* ---- sqlite_wal.c ---- */

/* The name of a VFS as the default one is, which writes the log in larger pieces; NULL
 * (the default one) when memory is out. Any thread. */
const char *er_sqlite_vfs(void);

/* ---- sqlite_lane.c: what is known of lanes, queues and environments -----------------
 */

struct er_queue_sum {
    char *name;
    int64_t delta[ER_TASK_STATES]; /* not yet in the table */
    bool dirty;
    uint64_t boundless; /* known to have no size, as of these settings; 0 = not known */
    struct er_queue_sum *next_dirty;
    UT_hash_handle hh;
};
struct er_lane_entry {
    int64_t id;
    char *queue, *type, *limit_key;
    char *key; /* "queue\0type\0limit key", the hash's key */
    size_t key_len;
    struct er_queue_sum *sum;
    struct er_lane_entry *next_new; /* made in this transaction */
    int64_t type_signature;         /* of its type alone, for the expected duration */
    const char *fx_queue, *fx_type; /* copies in the effects of transaction fx_turn */
    uint64_t fx_turn;
    UT_hash_handle by_key, by_id;
};
struct er_env_entry {
    unsigned char hash[16]; /* XXH3, 128 bits */
    int64_t id;
    UT_hash_handle hh;
};
struct er_duration {
    int64_t signature;
    int64_t n; /* attempts it was learnt from */
    er_usec mean_for;
    er_usec used_at;
    er_usec stored_for, stored_at; /* mean_for and used_at as the table has them */
    bool dirty;                    /* to be written at the next commit */
    UT_hash_handle hh;
};
struct er_env_use {
    int64_t id;
    int64_t delta; /* not yet in the table */
    UT_hash_handle hh;
};

/* One task as far as changes need it. */
struct er_brief {
    er_task_id id;
    int run;
    enum er_task_state state;
    bool held;
    unsigned asked; /* ER_ASKED_* */
    struct er_lane_entry *lane;
    int64_t rank;
    int priority, attempt, failures, waiting;
    int64_t cost;
    int64_t session; /* of an attempt that runs or is paused in place; 0 = none */
    int64_t env, signature;
    int64_t items_completed, items_failed, output_bytes;
    er_usec created_at, expires_at, run_at, started_at, finished_at; /* ER_NEVER = none */
    bool has_tags;
    const char *correlation, *meta; /* in the effects' arena; meta NULL = none */
};

/* A task that has ended, whose dependents are still to be looked at. */
struct er_ended {
    er_task_id id;
    enum er_task_state state;
};

struct er_store {
    struct er_sqlite c;
    char *path;
    bool in_memory, in_tx;
    int64_t changes; /* rows changed by this connection before the transaction */

    struct er_lane_entry *lanes_by_key, *lanes_by_id;
    struct er_lane_entry *last_lane; /* the one used last: batches are of one kind */
    struct er_lane_entry *new_lanes;
    struct er_queue_sum *sums, *dirty_sums;
    uint64_t
        settings; /* number of the queues' settings: another one whenever they change */
    struct er_env_entry *envs; /* some that were used lately */
    struct er_env_use *env_uses;
    int64_t log_bytes; /* output of tasks that became final; not yet in the table */
    er_usec ageing;    /* what one of priority is worth */

    er_task_id last_task,
        committed_task;              /* greatest id given away; as of the last commit */
    int64_t last_seq, committed_seq; /* the same for facts */
    int64_t ready_total; /* told as ready by the transactions that were committed */
    int64_t session;     /* an open session that was looked up, or 0 */
    char worker[64];     /* its worker's name */
    struct er_duration *durations; /* some that were used lately */
    bool durations_dirty;          /* one of them is */

    struct er_effects fx;
    size_t facts_size, ready_size, lanes_size; /* places in the arrays of fx */
    uint64_t turn;                             /* number of the transaction */
    struct er_buf buf;                         /* for texts under construction */
    struct er_arena tmp;                       /* freed at the end of a verb */
    struct er_ended *ended;                    /* work list of er_sqlite_settle */
    size_t n_ended, ended_size;
};
struct er_store_reader {
    struct er_sqlite own;
    struct er_sqlite *c; /* own, or the writer's for a store in memory */
};

/* The lane of those names, made when it is new (then it stands in the effects). */
int er_sqlite_lane(struct er_store *s, const char *queue, const char *type,
                   const char *limit_key, struct er_lane_entry **out) ER_MUSTCHECK;
struct er_lane_entry *er_sqlite_lane_find(struct er_store *s, int64_t id);
int er_sqlite_lanes_load(struct er_store *s) ER_MUSTCHECK;
/* Counts a task in (n = 1) or out (n = -1) of a state. */
void er_sqlite_count(struct er_store *s, struct er_lane_entry *lane,
                     enum er_task_state state, int n);
/* A task moves within its lane; the table of moves must allow it. */
void er_sqlite_count_move(struct er_store *s, struct er_lane_entry *lane,
                          enum er_task_state from, enum er_task_state to);
/* Whether a queue is known to have no size; er_sqlite_queue_boundless says so, until the
 * next er_sqlite_queues_changed. */
bool er_sqlite_queue_is_boundless(struct er_store *s, const char *queue);
void er_sqlite_queue_boundless(struct er_store *s, const char *queue);
void er_sqlite_queues_changed(struct er_store *s); /* or were, and are rolled back */
/* The number of an environment, stored when it is new, counted as used once more. */
int er_sqlite_env(struct er_store *s, const char *json, int64_t *out) ER_MUSTCHECK;
int er_sqlite_env_use(struct er_store *s, int64_t id, int n) ER_MUSTCHECK;
/* So many bytes more (or fewer) are the output of finished tasks. */
void er_sqlite_count_log(struct er_store *s, int64_t bytes);
int
er_sqlite_sums_flush(struct er_store *s) ER_MUSTCHECK; /* writes all that was summed */
void er_sqlite_envs_forget(struct er_store *s);        /* some were removed */
void er_sqlite_sums_keep(struct er_store *s);          /* after a commit */
void er_sqlite_sums_forget(struct er_store *s);        /* after a rollback */
void er_sqlite_lanes_free(struct er_store *s);

/* ---- sqlite_tx.c --------------------------------------------------------------------
 */

/* Begins a verb that writes: 0, or the failure that the transaction already has. */
int er_sqlite_enter(struct er_store *s) ER_MUSTCHECK;
/* Ends it: frees what is temporary; rc < 0 marks the transaction as failed. */
int er_sqlite_leave(struct er_store *s, int rc) ER_MUSTCHECK;

/* Rolls back what is open on a connection. The statement is made when it is opened: it
 * needs no memory, which may be what has run out. */
void er_sqlite_end_transaction(struct er_sqlite *c);
int er_sqlite_prepare_end(struct er_sqlite *c) ER_MUSTCHECK;

/* ---- sqlite_effects.c ---- */

/* Records a fact about a task (t may be NULL: about none). data: JSON object that lives
 * as long as the effects (er_sqlite_data). */
int er_sqlite_fact(struct er_store *s, er_usec now, enum er_event event,
                   const struct er_brief *t, int attempt, const char *data) ER_MUSTCHECK;
/* A program's own, about a task or (t NULL) none. `correlation` NULL: the task's. */
int er_sqlite_fact_topic(struct er_store *s, er_usec now, const struct er_topic *topic,
                         const struct er_brief *t) ER_MUSTCHECK;
/* The latest fact is about the end of an attempt with this result. */
int er_sqlite_fact_result(struct er_store *s, const void *result,
                          size_t len) ER_MUSTCHECK;
/* What stands in s->buf, copied into the effects; NULL when memory is out. */
const char *er_sqlite_data(struct er_store *s);
int er_sqlite_ready(struct er_store *s, const struct er_brief *t) ER_MUSTCHECK;
/* It was, and is not to be told: it has been claimed already. */
void er_sqlite_not_ready(struct er_store *s, er_task_id id, int64_t lane);
int er_sqlite_new_lane(struct er_store *s, struct er_lane_entry *lane) ER_MUSTCHECK;
void er_sqlite_next_due(struct er_store *s, er_usec at); /* ER_NEVER: nothing */
/* What the facts task-queued, -scheduled and -blocked say. */
int er_sqlite_fact_waits(struct er_store *s, er_usec now,
                         const struct er_brief *t) ER_MUSTCHECK;
/* {"reason":reason,"by":by}; `by` is the id, when it is not 0, else the text or null. */
int er_sqlite_fact_cancelled(struct er_store *s, er_usec now, const struct er_brief *t,
                             const char *reason, er_task_id by_id,
                             const char *by) ER_MUSTCHECK;
/* task-paused and task-resumed by request. */
int er_sqlite_fact_held(struct er_store *s, er_usec now, const struct er_brief *t,
                        bool held) ER_MUSTCHECK;
/* task-resumed or -paused with another reason than "user". */
int er_sqlite_fact_pause(struct er_store *s, er_usec now, const struct er_brief *t,
                         bool paused, const char *reason) ER_MUSTCHECK;
void er_sqlite_add_moment(struct er_buf *b, er_usec at); /* null for ER_NEVER */

/* ---- sqlite_task.c ---- */

/* Reads ER_TASK_COLUMNS from column 0 on. type, queue, limit_key, worker stay NULL. */
int er_sqlite_read_task(struct er_stmt *q, struct er_arena *arena, struct er_task *out,
                        int64_t *out_signature) ER_MUSTCHECK;
/* 1: found; 0: there is no such task; or an error. */
int er_sqlite_brief(struct er_store *s, er_task_id id, struct er_brief *out) ER_MUSTCHECK;
/* The worker of an open session: 1, 0 when it is not open, or an error. The name is in
 * s->worker. */
int er_sqlite_session(struct er_store *s, int64_t session) ER_MUSTCHECK;

/* ---- sqlite_duration.c ---- */

/* The expected duration of a signature; 0 = unknown. */
int er_sqlite_expected(struct er_store *s, int64_t signature, er_usec *out) ER_MUSTCHECK;
/* The signature under which a type's own durations are kept, whatever the arguments. */
int64_t er_sqlite_type_signature(const char *type);
/* One more attempt took that long. */
int er_sqlite_learn(struct er_store *s, er_usec now, int64_t signature,
                    er_usec took) ER_MUSTCHECK;
int
er_sqlite_durations_flush(struct er_store *s) ER_MUSTCHECK; /* writes what was learnt */
void er_sqlite_durations_keep(struct er_store *s);          /* after a commit */
void
er_sqlite_durations_forget(struct er_store *s); /* after a rollback, or some are gone */

/* ---- sqlite_plan.c ---- */

struct er_plan_row {
    int alias;        /* an earlier row with the same key, or -1 */
    int pending;      /* references not yet looked at */
    size_t first_ref; /* where its dependents begin in the plan's list */
    size_t n_refs;
    enum er_task_state state; /* where it begins */
    int waiting;
    int cancel_after; /* index in `after` of what can no longer be met, or -1 */
    const char *correlation;
    int *after_state; /* a state for each of `after`: how it ended, or -1 = not yet */
    er_task_id *after_id;
};
struct er_plan {
    struct er_new_task *rows;
    struct er_plan_row *plan;
    size_t n;
    size_t *order; /* the rows, each behind those it refers to */
    size_t n_order;
    size_t *refs;      /* lists of dependents by reference */
    er_task_id parent; /* the one asked for last, and its correlation id */
    const char *parent_correlation;
};
/* How the tasks that one names have ended, as far as they have (-1 = not yet): into
 * out_states. *out_bad = the index of one that never was, or -1. `ref`s are skipped. */
int er_sqlite_after_states(struct er_store *s, const struct er_new_after *after, size_t n,
                           int *out_states, int *out_bad) ER_MUSTCHECK;
/* Sets the rows' outputs as far as they are known before writing (status, bad_after,
 * existing). Everything is in s->tmp. */
int er_sqlite_plan(struct er_store *s, er_usec now, struct er_new_task *rows, size_t n,
                   struct er_plan *out) ER_MUSTCHECK;
/* Gives ids to the rows that will be written; when `atomic` and one failed, all fail. */
void er_sqlite_plan_finish(struct er_store *s, struct er_plan *p, bool atomic);

/* ---- sqlite_submit.c ---- */

/* The rank of a task made at that moment: each of priority is worth s->ageing. */
int64_t er_sqlite_rank(const struct er_store *s, er_usec at, int priority);
/* Writes the dependencies of a task: ids and how they ended (-1 = not yet). */
int er_sqlite_add_after(struct er_store *s, er_task_id id,
                        const struct er_new_after *after, size_t n, const er_task_id *ids,
                        const int *states) ER_MUSTCHECK;

/* ---- sqlite_tag.c ---- */

/* The next of an array of texts, into b: 1; 0: that was all; ER_EINVALID: it is none;
 * ER_ENOMEM. *at: NULL before the first. */
int er_sqlite_tag_next(const char *json, const char **at, struct er_buf *b) ER_MUSTCHECK;

/* ---- sqlite_settle.c ---- */

/* A task has become final: remembers it for er_sqlite_settle. */
int er_sqlite_ended(struct er_store *s, er_task_id id,
                    enum er_task_state state) ER_MUSTCHECK;
/* Releases or cancels what waits for those that ended, and so on, until nothing is left.
 */
int er_sqlite_settle(struct er_store *s, er_usec now) ER_MUSTCHECK;
/* A task that waits becomes final with an error (NULL for cancelled); counts, no fact. */
int er_sqlite_end_waiting(struct er_store *s, er_usec now, const struct er_brief *t,
                          enum er_task_state state, const char *error_json) ER_MUSTCHECK;
/* A blocked task is cancelled since `by` has ended otherwise than it needs; with its
 * fact. */
int er_sqlite_cancel_dependent(struct er_store *s, er_usec now, const struct er_brief *t,
                               er_task_id by) ER_MUSTCHECK;

/* ---- sqlite_change.c ---- */

/* Reads the task of a row: 1 found (the row says its state); 0 not found; or an error. */
int er_sqlite_look(struct er_store *s, struct er_change *row,
                   struct er_brief *t) ER_MUSTCHECK;
/* No attempt of it is open, and it has not ended. */
bool er_sqlite_waits(const struct er_brief *t);

/* ---- sqlite_read.c ---- */

/* What the dependencies of a task came to, when they are few and small, else *out =
 * NULL. */
int er_sqlite_after_few(struct er_sqlite *c, er_task_id id, struct er_arena *arena,
                        struct er_after_result **out, size_t *out_n) ER_MUSTCHECK;

/* ---- sqlite_due.c ---- */

/* The earliest run_at, resumes_at or expires_at of what waits; ER_NEVER. */
int er_sqlite_next_moment(struct er_store *s, er_usec *out) ER_MUSTCHECK;

/* ---- sqlite_retention.c ---- */

/* Removes one finished task, leaving a tombstone; fact task-removed. */
int er_sqlite_remove(struct er_store *s, er_usec now,
                     const struct er_brief *t) ER_MUSTCHECK;

/* ---- sqlite_load.c ---- */

/* Reads one row into an element: 0 or an error. */
typedef int er_sqlite_read_fn(struct er_stmt *q, struct er_arena *arena, void *out);
struct er_sqlite_rows {
    void *data;
    size_t n;
};
/* All rows of a statement, begun and bound, as an array in the arena; ends it. */
int er_sqlite_load_rows(struct er_stmt *q, struct er_arena *arena,
                        er_sqlite_read_fn *read, size_t element,
                        struct er_sqlite_rows *out) ER_MUSTCHECK;

/* ---- sqlite_settings.c ---- */

/* Whether nothing is to be claimed, of any queue. */
int er_sqlite_all_paused(struct er_store *s, bool *out) ER_MUSTCHECK;
int er_sqlite_read_queue(struct er_stmt *q, struct er_arena *arena,
                         void *out) ER_MUSTCHECK; /* of QUEUES: struct er_queue */
int er_sqlite_read_limit(struct er_stmt *q, struct er_arena *arena,
                         void *out) ER_MUSTCHECK; /* of LIMITS: struct er_limit */
int er_sqlite_read_type(struct er_stmt *q, struct er_arena *arena,
                        void *out) ER_MUSTCHECK; /* of TYPES: struct er_type_row */

/* ---- sqlite_read.c ---- */

/* The reader's connection, with no failure kept from before. */
struct er_sqlite *er_sqlite_reader(struct er_store_reader *r);
/* Begins and ends what must see one state of the store. In memory there is nobody who
 * could write in between: nothing is done. */
int er_sqlite_snapshot(struct er_store_reader *r, bool begin) ER_MUSTCHECK;
/* Reads ER_TASK_COLUMNS and queue, type, limit_key, worker behind them. */
int er_sqlite_read_joined(struct er_stmt *q, struct er_arena *arena,
                          struct er_task *out) ER_MUSTCHECK;
int er_sqlite_fact_bounds(struct er_sqlite *c, int64_t *out_first,
                          int64_t *out_last) ER_MUSTCHECK;

/* ---- sqlite_open.c ---- */

/* Brings the schema from its version to `n` by migrations[version .. n), in one
 * transaction. Newer: ER_ESCHEMA. */
int er_sqlite_migrate(struct er_sqlite *c, const char *const *migrations, int n,
                      struct er_err *err) ER_MUSTCHECK;
extern const char *const er_sqlite_schema[];
extern const int er_sqlite_schema_count;

#endif
