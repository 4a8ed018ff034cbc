/* SPDX-License-Identifier: MIT */
/* The naive model of the store: an array of tasks, walked from end to end for everything,
 * by the rules of docs/SEMANTICS.md. It is told what is asked of the store, in the order
 * in which it is asked; it says what has to come of it. */
#ifndef ER_TESTS_SIM_MODEL_H
#define ER_TESTS_SIM_MODEL_H

#include "sim.h"

#define N_GATES    (N_QUEUES + N_TYPES + N_KEYS)
#define MAX_MODEL  6000
#define MAX_AFTER  4
#define MAX_UNDO   MAX_MODEL
#define MAX_EXPECT (2 * MAX_MODEL)
#define MAX_MAYBE  6

struct mafter {
    er_task_id id;
    enum er_after_when when;
    bool settled;
};
struct mtask {
    er_task_id id;
    bool removed;   /* its tombstone is left */
    bool forgotten; /* ... was */
    er_usec removed_at;
    enum er_task_state state;
    bool held, cancel; /* held while it runs: what follows will be */
    bool back, stop;   /* asked of the open attempt: to put it back; to pause it */
    bool to_hold;      /* it has ended in this transaction, which is to hold it */
    bool promised;     /* a cancel, and the attempt ended otherwise */
    int run, attempt, failures, losses, retries, priority;
    enum er_on_lost on_lost;
    er_usec backoff_for, run_at, expires_at, resumes_at, created_at, finished_at;
    bool run_at_fixed;
    int64_t rank, session, cost;
    er_usec
        due_boot; /* when its delay ends, on the clock that is never set; -1 = unknown */
    unsigned items_done, items_failed; /* bits by number */
    int checkpoint;                    /* 0 = none */
    int queue, type, key;
    int name_key; /* its idempotency key; 0 = none */
    uint64_t body;
    struct mafter after[MAX_AFTER];
    int n_after;
    int finals; /* final facts of this run */
    /* beside the model: what the engine was asked and told, not undone with a
     * transaction */
    bool acked;
};
/* Settings of a queue, a type or a limit key. */
struct mgate {
    bool exists;
    int concurrency;
    int64_t size;
    bool paused;
    struct er_rate rates[ER_MAX_RATES];
    size_t n_rates;
};
struct mlane {
    int64_t id;
    int queue, type, key;
};
struct msession {
    int64_t id;
    bool open;
};
/* The part of the model that is copied as a whole when a transaction begins. */
struct msmall {
    int n;            /* tasks in the array */
    er_task_id last;  /* greatest id given */
    int64_t last_seq; /* greatest number of a fact */
    struct mgate gates[N_GATES];
    bool all_paused;
    struct msession sessions[64];
    int n_sessions;
};
struct mexpect { /* a fact that has to come */
    enum er_event event;
    er_task_id task; /* 0 = about no task */
    bool seen;
};
struct mundo {
    int place;
    struct mtask was;
};
/* A transaction whose commit failed: after a power cut it may be there all the same. */
struct mmaybe {
    struct msmall small;
    struct mundo *is;
    int n;
};

struct model {
    struct mtask tasks[MAX_MODEL];
    struct msmall now, before;
    struct mundo undo[MAX_UNDO];
    int n_undo;
    struct mexpect expect[MAX_EXPECT];
    int n_expect;
    bool in_tx;
    struct mmaybe maybe[MAX_MAYBE];
    int n_maybe;
    struct mlane lanes[N_QUEUES * N_TYPES * N_KEYS];
    int n_lanes;
};
extern struct model model;

/* Gates by number: queues, then types, then keys. */
static inline int
gate_queue(int q)
{
    return q;
}
static inline int
gate_type(int t)
{
    return N_QUEUES + t;
}
static inline int
gate_key(int k)
{
    return N_QUEUES + N_TYPES + k;
}
const char *queue_name(int q);
const char *type_name(int t);
const char *key_name(int k); /* NULL for 0 */

struct mtask *
m_find(er_task_id id); /* also removed ones; NULL = never was, or forgotten */
struct mtask *m_there(er_task_id id);   /* not removed ones */
struct mtask *m_touch(struct mtask *t); /* before it is changed */
bool m_waits(const struct mtask *t);    /* not final, and nobody has it */
bool m_in_line(const struct mtask *t);  /* the same, but not paused by a rate limit */
bool m_claimable(const struct mtask *t);
int m_has(int64_t session); /* tasks that it has */
int64_t m_waiting_in(int queue);
bool m_open_in(int queue); /* some task of it is not final */
void m_expect(enum er_event event, er_task_id task);
struct mgate *m_gate_put(int g, int concurrency, const struct er_rate *rates, size_t n);
int m_count(unsigned bits);
void m_spans_unknown(void); /* a clock was set and nobody has seen it */
bool m_session_open(int64_t id);
const struct mlane *m_lane(int64_t id);
int64_t m_rank(er_usec now, int priority);

void m_begin(void);
void m_rollback(bool may_be_there);
void m_commit(void);
void m_forget_maybe(void);
/* Takes a transaction that failed as one that is there after all. */
void m_take_maybe(int i);
void m_leave_maybe(int i); /* undoes it */
void m_compact(void);      /* drops what nobody remembers */

/* What the verbs do to the array. Each says the status that the row has to have. */
void m_new(struct mtask *t,
           er_usec now); /* appended; state and facts by its dependencies */
int m_claim(er_task_id id, int64_t session, int64_t lane, int64_t rank);
void m_end(struct mtask *t, enum er_task_state state, er_usec at); /* final; cascades */
int m_cancel(er_task_id id, er_usec now);
int m_hold(er_task_id id, bool held);
int m_ask(er_task_id id, unsigned unless, unsigned clear, unsigned set);
int m_retry(er_task_id id, er_usec now);
int m_remove(er_task_id id, er_usec now);
void m_due(er_usec now);
void m_shift(er_usec by);

#endif
