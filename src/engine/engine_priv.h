/* SPDX-License-Identifier: MIT */
/* The engine's inside, shared by its files only. Who changes what:
 *   lanes.c     lanes, queues and their heaps (what may run next)
 *   gates.c     what holds lanes back: permits and tokens of queues, types, limit keys
 *   pools.c     which sessions serve which types
 *   limits.c    the settings of those, the switch over everything
 *   schedule.c  runs in phase CLAIMING, claims, due tasks, the alarm
 *   offers.c    seats: runs in phase CLAIMING that have no task yet
 *   dispatch.c  sessions and their links; runs in phase HELD
 *   report.c    what workers say; runs in phase ENDING; removes them
 *   ends.c      a run's end in memory
 *   outcome.c   what an end comes to, and the row that says so
 *   orders.c    what goes out before a run line, and the line
 *   pause.c     stopping in place and going on
 *   recover.c   what a dead worker left
 *   silence.c   workers that do not answer
 *   ballast.c   a full disk
 *   change.c    submits and requests of users become operations
 *   engine.c    opening, closing, reading; the inline turn
 *   ferry.c     group commit on the store's thread (ferry.h)
 *   loop.c      the loop, its alarm and its threads (loop.h)
 *   samples.c   samples that wait for one subscriber (samples.h)
 *   tune.c      options that change while it runs
 *   observe.c   the ring of facts, subscribers, watches
 */
#ifndef ER_ENGINE_ENGINE_PRIV_H
#define ER_ENGINE_ENGINE_PRIV_H

#include <sys/queue.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/heap.h"
#include "engine/engine.h"
#include "model/verdict.h"

struct json_t;
#include "model/bucket.h"

/* The types that the same sessions serve: those that execute processes, sessions of
 * handlers, both, or nobody. See pools.c. */
struct er_pool {
    bool processes;                    /* sessions that execute processes */
    struct er_session_live **sessions; /* sessions of handlers, by id */
    size_t n_sessions;
    size_t n_types;
    bool served; /* one of them is connected */
    bool room;   /* one of them may have room: else its bays are closed */
    TAILQ_HEAD(er_bay_list, er_bay) bays;
    TAILQ_ENTRY(er_pool) in_engine;
};
/* The lanes of one queue and one pool. */
struct er_bay {
    struct er_queue_live *queue;
    struct er_pool *pool;
    bool open;            /* its queue is, and its pool has room */
    bool unasked;         /* some types were not asked for, since the queue was closed */
    struct er_heap lanes; /* lanes that wait at no gate, best head first */
    struct er_heap_node node; /* in engine.open while it may give work */
    TAILQ_HEAD(er_group_list, er_gate_group) aside;
    struct er_group_list savers;                    /* at gates with several bays */
    TAILQ_HEAD(er_envoy_list, er_lane_live) envoys; /* of gates with several bays */
    TAILQ_HEAD(er_gate_list, er_gate) holds; /* gates that hold tokens for its lanes */
    TAILQ_ENTRY(er_bay) in_queue, in_pool;
};

/* Lanes that wait for the same, a permit or tokens of a limit: see gates.c. */
struct er_gate {
    struct er_limit_live *limit;
    bool tokens;                /* else permits */
    struct er_heap groups;      /* those with somebody in them, best first */
    size_t n_groups;            /* empty ones, too: bays that have waited here */
    struct er_lane_live *envoy; /* came back from here, and stands in its bay's heap */
    struct er_lane_live
        *hold; /* tokens: had enough here, and waits at another such gate */
    TAILQ_ENTRY(er_gate) in_holds; /* of the bay of that */
};
/* The lanes of one bay that wait at one gate. */
struct er_gate_group {
    struct er_gate *gate; /* with bay: the key */
    struct er_bay *bay;
    struct er_heap lanes;     /* best head first */
    struct er_heap_node node; /* in gate.groups while there are lanes, unless set aside */
    bool aside;               /* in bay.aside: its turn came while the bay was closed */
    bool saves; /* in bay.savers: it waits for tokens that others could take */
    TAILQ_ENTRY(er_gate_group) in_bay, in_savers;
    UT_hash_handle hh;
};
/* What is counted of a queue, a type or a limit key. */
struct er_limit_live {
    enum er_gate_kind kind;
    char *name;
    int concurrency; /* 0 = no limit */
    int running;     /* permits taken */
    size_t n_rates;
    struct er_rate rates[ER_MAX_RATES];
    struct er_bucket buckets[ER_MAX_RATES]; /* in time of er_clock_boot */
    int64_t wanted; /* cost of the first in line: the buckets hold that much at least */
    struct er_gate permits, tokens;
    er_usec opens_at; /* boot: when the buckets have enough for the first in line */
    struct er_heap_node toll; /* in engine.tolls while it waits for that */
    struct er_pool *pool;     /* types: who serves it */
    bool asked, to_ask; /* types: on_unserved was called; is to be: in engine.unserved */
    TAILQ_ENTRY(er_limit_live) in_unserved;
    UT_hash_handle hh; /* of types and keys */
};
struct er_queue_live {
    struct er_limit_live limit;
    int64_t size; /* 0 = no limit */
    bool paused;
    bool open; /* not paused, and with a permit left */
    TAILQ_HEAD(er_queue_bays, er_bay) bays;
    UT_hash_handle hh;
};

/* The window holds the first few tasks of a lane in order of (rank, id). */
struct er_lane_live {
    int64_t id;
    /* these three, together: the key of hh_names */
    struct er_queue_live *queue;
    struct er_limit_live *type, *key; /* key: NULL = none */
    struct er_bay *bay;               /* of that queue and the type's pool */
    struct er_ready *win;
    size_t first, n, size; /* win[first .. first+n) is in use */
    bool more;             /* the store may have tasks behind the window */
    bool peeking, missed;  /* a peek is under way; something was left out meanwhile: */
    struct er_ready first_missed; /* ... the first of it */
    bool checking, check_again;   /* its head is looked up, and is to be once more */
    bool confirmed;               /* ... but has come anew meanwhile */
    struct er_heap_node node;     /* while n > 0: in waits->lanes, or else in bay.lanes */
    struct er_gate_group *waits;  /* NULL = at no gate */
    struct er_gate *envoy_of;     /* NULL = of none */
    bool listed;                  /* in bay.envoys */
    TAILQ_ENTRY(er_lane_live) in_envoys;
    er_task_id watched;      /* its head, while it waits for tokens */
    UT_hash_handle hh_watch; /* of engine.watched */
    UT_hash_handle hh_names; /* of engine.lanes_by_names */
    UT_hash_handle hh;
};

enum er_live_attempt_phase {
    ER_LIVE_CLAIMING, /* the claim is on its way to the store */
    ER_LIVE_HELD,     /* a session has it, or will get it with its next link */
    ER_LIVE_ENDING,   /* its end is on its way to the store */
};
struct er_live_attempt {
    er_task_id id;          /* < 0: a seat, see offers.c */
    struct er_ready ready;  /* as it stood in its lane */
    struct er_ready *twins; /* claiming: other places at which it stood meanwhile */
    size_t n_twins;
    int attempt, run;
    enum er_live_attempt_phase phase;
    struct er_session_live *session;
    struct er_lane_live *lane;
    int failures, losses, retries;
    er_usec backoff_for, grace_for;
    enum er_on_lost on_lost;
    bool cancel;       /* cancel was asked for, and that is on disk */
    bool change_asked; /* that, or something of the next five, may be on its way there */
    bool requeue;      /* requeue was asked for */
    bool stop_pause;   /* ... by a pause of what cannot be stopped where it is */
    bool hold;         /* what follows this attempt is to be held */
    bool paused;       /* its processes are stopped, and that is on disk */
    bool want_pause;   /* they are to be; when not: to go on */
    int n_switching;   /* switches whose asks about it are on their way to the store */
    bool has_items;    /* items are stored for the task, or on their way there */
    int64_t items_completed, items_failed; /* that are stored */
    unsigned warn;                         /* ER_WARN_*: for its warnings */
    char *cancel_reason, *cancel_by, *correlation;
    int pid;
    er_usec started_at;          /* ER_NEVER = not yet */
    bool late;                   /* a handler that did not stop within its grace */
    er_usec saved_at;            /* mono: when progress was last kept */
    char *progress, *checkpoint; /* JSON, or NULL */
    er_usec
        progress_at; /* mono: when it was so; while it is paused: how old it was then */
    bool told;       /* its line went out: the worker knows it */
    bool loaded;     /* claimed before this start: it may know it */
    uint64_t output_bytes;
    TAILQ_ENTRY(er_live_attempt) in_session;
    UT_hash_handle hh;
};

struct er_env_sent {
    int64_t id;
    size_t bytes;
    UT_hash_handle hh;
};
struct er_session_live {
    int64_t id;
    char *worker;
    char token[33];
    struct er_engine *engine;
    int pid, slots;
    struct er_link *link; /* NULL = not connected */
    bool draining;
    bool dying;    /* its autopsy is under way */
    bool handlers; /* it executes `types`; else processes */
    struct er_limit_live **types;
    size_t n_types;
    int load; /* runs that it has or gets */
    er_usec
        mean_for; /* smoothed length of its attempts, for the lookahead; 0 = unknown */
    struct er_env_sent *envs; /* that it has, the one that was named last at the end */
    size_t env_bytes;
    TAILQ_HEAD(er_order_list, er_order) orders; /* that wait to be read */
    int n_reading;                              /* orders that are being read */
    bool pings;                                 /* it answers pings */
    int n_waits; /* reports of it that wait for the store */
    bool silent; /* it has not: see silence.c */
    /* mono: since when an order may be unread, the last one, a ping; ER_NEVER = none
     * is */
    er_usec asked_at, ordered_at, pinged_at;
    TAILQ_HEAD(er_live_attempt_list, er_live_attempt) runs;
    UT_hash_handle hh;
};

struct er_ring_fact {
    int64_t seq;
    enum er_event event;
    er_task_id task;
    char *correlation;
    char *topic; /* ER_EVENT_TOPIC: its name */
    char *frame; /* the whole server-sent event */
    size_t len;
};
#define ER_RING     1024
#define ER_ENVS_MAX ((size_t)16 << 20) /* JSON of the environments that a worker keeps */

#define ER_OFFERS_MAX 256

struct er_engine {
    struct er_engine_options options;
    char *logs;
    struct er_store *store;
    struct er_store_reader *reader;
    struct er_ferry *ferry;
    struct er_crew *read_crew, *file_crew; /* NULL without threads: */
    struct er_mail *jobs, **jobs_end;      /* ... theirs, until the end of the turn */
    struct er_letter again;                /* so that there is another turn at once */
    bool again_posted;
    bool stopping;

    struct er_queue_live *queues;       /* by name */
    struct er_limit_live *types, *keys; /* by name; types of tasks, limit keys */
    struct er_gate_group *groups;       /* by gate and queue */
    struct er_lane_live *lanes;         /* by id */
    struct er_lane_live *lanes_by_names;
    int n_peeks;                  /* under way */
    struct er_lane_live *watched; /* lanes that wait for tokens, by their head */
    struct er_heap open;          /* bays that may give work, best head first */
    TAILQ_HEAD(er_pool_list, er_pool) pools;
    struct er_pool *by_processes; /* of types that are executed by processes only */
    bool mixed;                   /* some session of handlers is connected */
    TAILQ_HEAD(er_unserved_list, er_limit_live) unserved; /* types: on_unserved is due */
    struct er_heap tolls;          /* limits that will have tokens, the next first */
    er_usec toll_at, toll_wall;    /* boot and wall: what the alarm was set to */
    struct er_type_def *type_defs; /* by name */
    struct er_type *type_asked;    /* what er_engine_type gave for one without */
    bool all_paused;
    bool draining; /* nothing is claimed any more */

    struct er_lane_live *coming[ER_OFFERS_MAX]; /* lanes of what this turn submits */
    size_t n_coming; /* more than there is room for: too many */
    int64_t heard;   /* how many have become able to run, as the store counts them */
    int64_t last_seat;
    int64_t n_dependents; /* submitted and not started; some never will be */
    int n_changes;        /* of what may run, that are on their way to the store */

    struct er_live_attempt *runs;     /* by task */
    struct er_session_live *sessions; /* by id */
    er_usec next_due;                 /* wall */
    bool due_under_way;
    er_usec clock_base; /* wall - boot, as the waiting tasks' moments know it */
    er_usec shift;      /* what the wall clock was set by, not in the store yet */
    bool sick;          /* the last commit failed: no claims until one works */
    int sick_code;
    er_usec sick_until;                 /* wall: when to try again */
    TAILQ_HEAD(, er_autopsy) autopsies; /* of dead workers: that look again later */
    er_usec autopsies_at;               /* wall: when; ER_NEVER = there are none */
    er_usec silence_at; /* wall: when workers are looked at that may hang; ER_NEVER */
    struct er_op *later, **later_end; /* operations to post again when it is well */
    bool tight;    /* the disk was full: only ends and cancels, see ballast.c */
    char *ballast; /* path; NULL = none */
    uint64_t rand;
    int64_t finished_since_prune;
    bool pruning;

    int64_t last_seq, first_seq;
    struct er_ring_fact *ring; /* ER_RING places, seq % ER_RING */
    int64_t ring_first;        /* smallest number in it; > last_seq when empty */
    TAILQ_HEAD(er_batch_list, er_report_batch) batches; /* being read */
    TAILQ_HEAD(er_sub_list, er_sub) subs;
    size_t n_subs;
    struct er_watch_list *watches; /* by task */
    const struct er_fact *told;    /* to watches, at this moment; NULL = none */
    struct er_engine_stats stats;
};

/* lanes.c */
void er_lanes_init(struct er_engine *e);
void er_lanes_fini(struct er_engine *e);
struct er_queue_live *er_lanes_queue(struct er_engine *e,
                                     const char *name); /* made if new */
struct er_lane_live *er_lanes_add(struct er_engine *e, const struct er_lane *lane);
/* By id; by names. NULL: memory has no such lane. */
struct er_lane_live *er_lanes_find(struct er_engine *e, int64_t id);
struct er_lane_live *er_lanes_find_names(struct er_engine *e, const char *queue,
                                         const char *type, const char *limit_key);
/* What a commit brought: new lanes, tasks that may run, heads that no longer do. */
void er_lanes_news(struct er_engine *e, const struct er_effects *fx);
/* A task became able to run. */
void er_lanes_ready(struct er_engine *e, const struct er_ready *ready);
/* The store has tasks of that lane that the window does not show. */
void er_lanes_mark_more(struct er_engine *e, struct er_lane_live *lane);
/* Takes the best task that may run now, its permits and its tokens; false when there is
 * none. */
bool er_lanes_take(struct er_engine *e, struct er_ready *out,
                   struct er_lane_live **out_lane);
/* Gives the permits of a task back; its tokens are spent. */
void er_lanes_release(struct er_engine *e, struct er_lane_live *lane);
void er_lanes_retake(struct er_engine *e,
                     struct er_lane_live *lane); /* undoes a release */
/* Gives the tokens back, too: it was never started. */
void er_lanes_refund(struct er_engine *e, struct er_lane_live *lane, int64_t cost);
/* The settings of a queue, or its permits, have changed. */
void er_lanes_queue_update(struct er_engine *e, struct er_queue_live *q);
/* The same for one of its bays: its pool has room, or has none. */
void er_lanes_bay_update(struct er_engine *e, struct er_bay *bay);
/* The type of a lane has another pool now. */
void er_lanes_move(struct er_engine *e, struct er_lane_live *lane);
/* For gates.c: into its bay's heap and out of it; order by heads. */
void er_lanes_enter(struct er_engine *e, struct er_lane_live *lane);
/* The order of lanes in all heaps: by their heads. */
bool er_lanes_less(const struct er_heap_node *a, const struct er_heap_node *b);
/* The first of its window, which is not empty. */
const struct er_ready *er_lanes_head(const struct er_lane_live *lane);

/* gates.c */
void er_gates_init(struct er_engine *e);
void er_gates_fini(struct er_engine *e);
/* A limit without settings, in place, and its end. */
void er_gates_limit_init(struct er_limit_live *l, enum er_gate_kind kind,
                         const char *name);
void er_gates_limit_fini(struct er_limit_live *l);
/* The type or limit key of that name; made if new. */
struct er_limit_live *er_gates_limit(struct er_engine *e, enum er_gate_kind kind,
                                     const char *name);
/* The gate that does not let the lane's head through now; NULL = none. */
struct er_gate *er_gates_refuse(struct er_engine *e, struct er_lane_live *lane);
/* Lets a lane, which is in no heap, wait there. */
void er_gates_park(struct er_engine *e, struct er_lane_live *lane, struct er_gate *gate);
/* The head of a lane that waits has changed, or it has none any more. */
void er_gates_head_changed(struct er_engine *e, struct er_lane_live *lane);
/* The lane's head was taken with its permits and tokens; or only the permits. */
void er_gates_take(struct er_engine *e, struct er_lane_live *lane, int64_t cost);
/* As er_lanes_retake, _release, _refund. */
void er_gates_retake(struct er_engine *e, struct er_lane_live *lane);
void er_gates_release(struct er_engine *e, struct er_lane_live *lane);
void er_gates_refund(struct er_engine *e, struct er_lane_live *lane, int64_t cost);
/* How many more tasks of the lane all limits admit; 0 also where one asks for tokens. */
int er_gates_permits_left(const struct er_lane_live *lane);
/* The lane is empty: it speaks for no gate any more. */
void er_gates_dismiss(struct er_engine *e, struct er_lane_live *lane);
/* A bay may give work again: what was set aside meanwhile comes back; or it may not. */
void er_gates_bay_opened(struct er_engine *e, struct er_bay *bay);
void er_gates_bay_closed(struct er_engine *e, struct er_bay *bay);
/* The lane, which stands at a gate or speaks for one, does so no more; it is in no heap
 * then, and is that bay's from now on. */
void er_gates_move(struct er_engine *e, struct er_lane_live *lane, struct er_bay *bay);
/* Forgets the groups of a bay in which no lane is. */
void er_gates_forget_bay(struct er_engine *e, struct er_bay *bay);

/* pools.c */
void er_pools_init(struct er_engine *e);
void er_pools_fini(struct er_engine *e);
/* A type that is new; or whose definition has changed. */
void er_pools_type_added(struct er_engine *e, struct er_limit_live *type);
void er_pools_type_changed(struct er_engine *e, const char *name);
/* A session has come or gone, or serves other types. */
void er_pools_update(struct er_engine *e);
/* The bay of a queue for a pool; made if new. */
struct er_bay *er_pools_bay(struct er_queue_live *q, struct er_pool *pool);
/* Whether some session has room; if so, opens and closes bays by who has. */
bool er_pools_look(struct er_engine *e);
/* Whether the session is one of the pool's. */
bool er_pools_has(const struct er_pool *pool, const struct er_session_live *s);
/* What a session says that it serves; NULL = it executes processes. Then
 * er_pools_update. */
void er_pools_set_types(struct er_engine *e, struct er_session_live *s,
                        const char *const *types, size_t n);
/* Somebody waits whom no session serves: on_unserved at the end of the turn. */
void er_pools_want(struct er_engine *e, struct er_lane_live *lane);
/* The same for all that wait in a bay; and: says so now (the end of the turn). */
void er_pools_want_all(struct er_engine *e, struct er_bay *bay);
void er_pools_ask(struct er_engine *e);
/* New settings; a rate that was there already keeps what its bucket holds. */
void er_gates_set(struct er_engine *e, struct er_limit_live *l, int concurrency,
                  const struct er_rate *rates, size_t n);
/* Lets those through whose time has come; reads the clocks anew. */
void er_gates_tick(struct er_engine *e);
er_usec er_gates_due_at(struct er_engine *e); /* wall: the next such time; ER_NEVER */

/* limits.c */
/* Whether a type is executed by processes: `shell`, and what has a command or a
 * program. */
bool er_limits_is_process(const struct er_engine *e, const char *type);
/* What the store has at the start; frees all of it. */
void er_limits_load(struct er_engine *e, const struct er_store_state *st);
void er_limits_fini(struct er_engine *e);
/* The switch over everything, as it now is in the store. */
void er_limits_pause_all(struct er_engine *e, bool paused);

/* schedule.c */
void
er_schedule_turn(void *engine); /* end of a turn: claim what may run, flush the ferry */
void er_schedule_alarm(void *engine);
void er_schedule_due(struct er_engine *e, er_usec at); /* something is due at that time */
/* A write failed with that code: no claims until one works again. */
void er_schedule_sick(struct er_engine *e, int code);
/* The same, and that operation is posted again when the store is well. Not while the
 * engine stops: er_engine_stop has posted them for the last time. */
void er_schedule_later(struct er_engine *e, struct er_op *op, int code);
void er_schedule_post_later(struct er_engine *e); /* all that waits, now */
void er_schedule_well(struct er_engine *e);       /* a commit worked */
void er_schedule_rearm(struct er_engine *e); /* what the alarm depends on has changed */
void er_schedule_prune(struct er_engine *e);
/* The store has given the run's task to its session. */
void er_schedule_held(struct er_engine *e, struct er_live_attempt *run,
                      const struct er_claim *row);

/* recover.c */
void er_recover_tick(struct er_engine *e); /* looks again at what could not be killed */
void er_recover_fini(struct er_engine *e);

/* offers.c */
/* Rows that are posted in this turn. */
void er_offers_expect(struct er_engine *e, const struct er_new_task *rows, size_t n);
/* An end is posted of an attempt in that lane: others there may wait for it. */
void er_offers_expect_after(struct er_engine *e, struct er_lane_live *lane);
/* When all has been claimed that is known: seats for those. */
void er_offers_make(struct er_engine *e);

/* dispatch.c */
/* The session of a pool (NULL = any) that has most room; NULL = none has any. */
struct er_session_live *er_dispatch_pick(struct er_engine *e, const struct er_pool *pool);
/* Slots of its sessions in which nothing runs, without any lookahead. */
int er_dispatch_free_slots(const struct er_engine *e, const struct er_pool *pool);
bool er_dispatch_is_connected(const struct er_session_live *s); /* and takes work */
/* Says that the run is to be ended, as was asked for: cancel, requeue, pause. */
void er_dispatch_send_stop(struct er_live_attempt *run);
/* By id and token; NULL: there is none, or the token is another's. */
struct er_session_live *er_dispatch_find(struct er_engine *e, int64_t session,
                                         const char *token);
/* Into memory, from its row; out of it. */
struct er_session_live *er_dispatch_add(struct er_engine *e, const struct er_session *s);
void er_dispatch_remove(struct er_engine *e, struct er_session_live *s);
/* Runs: made, found and forgotten in one place. */
struct er_live_attempt *er_live_attempt_new(struct er_engine *e,
                                            struct er_session_live *s,
                                            struct er_lane_live *lane, er_task_id id);
/* The run of that task; NULL: it does not run. From its row; and its end. */
struct er_live_attempt *er_live_attempt_find(const struct er_engine *e, er_task_id id);
void er_live_attempt_fill(struct er_live_attempt *run, const struct er_task *task);
/* A seat's run gets its task. */
void er_live_attempt_set_task(struct er_engine *e, struct er_live_attempt *run,
                              const struct er_task *task);
void er_live_attempt_free(struct er_engine *e, struct er_live_attempt *run);

/* orders.c */
/* The run line, with what has to go before it, to the run's session: at once, or when it
 * has been read. */
void er_orders_send(struct er_engine *e, struct er_live_attempt *run,
                    const struct er_claim *row);
/* Environments are known to a worker for as long as its link, the latest of them. */
void er_orders_forget_envs(struct er_session_live *s);
/* Orders that were not read yet are not wanted any more: the link is gone. */
void er_orders_drop(struct er_session_live *s);
/* Reads on, if the link has room. */
void er_orders_next(struct er_engine *e, struct er_session_live *s);
/* Memory is out for what the session should be told, or for the end of one of its runs:
 * breaks its link. The next hello sorts it out. */
void er_orders_break(struct er_session_live *s);
/* Whether so much waits on the session's link that it gets nothing more now. */
bool er_orders_is_full(const struct er_session_live *s);

/* pause.c */
/* Whether a run can be stopped where it is: a handler cannot, it is asked to stop and put
 * back. */
bool er_pause_in_place(const struct er_engine *e, const struct er_live_attempt *run);
/* The processes of a run are to be stopped where they are, or to go on. `hold`: so is the
 * task held if its attempt ends first, or is put back. */
void er_pause_ask(struct er_live_attempt *run, bool pause, bool hold);
/* Says again what the worker has not said to have done. */
void er_pause_tell(struct er_live_attempt *run);
/* A worker that is back says whether it was told last to stop a run, or to let it go
 * on. */
void er_pause_held(struct er_live_attempt *run, bool paused);
/* It is on disk that a run was stopped, or goes on. */
void er_pause_done(struct er_live_attempt *run, bool paused);
/* A run that a worker has had since before the start of this engine: what the store says
 * was asked of it is asked again when that worker is back. */
void er_pause_load(struct er_engine *e, struct er_live_attempt *run,
                   const struct er_task *task);
/* A run that was just claimed: what a switch wants of it, turned while the claim was on
 * its way, is stored. */
void er_pause_claimed(struct er_engine *e, const struct er_live_attempt *run);

/* silence.c */
/* Something went out that the worker has to act upon. */
void er_silence_asked(struct er_session_live *s);
void er_silence_heard(struct er_session_live *s); /* a report comes from it */
/* A report of it waits for the store, and so does whatever it has to say; or not any
 * more. */
void er_silence_waits(struct er_engine *e, int64_t session, bool waits);
void er_silence_answered(struct er_engine *e, int64_t session);
void er_silence_forget(struct er_session_live *s); /* its link has come or gone */
void er_silence_tick(struct er_engine *e);
er_usec er_silence_for(const struct er_session_live *s); /* 0 = it is not silent */

/* outcome.c */
#define ER_WARN_CHECKPOINT 1u /* one was too large to be kept */
#define ER_WARN_ITEM       2u /* an item had no name, or one that was too long */
/* The end of an attempt on its way to the store. Texts are in an arena that goes with
 * it. */
struct er_outcome {
    struct er_end end;
    struct er_finish row; /* what is known; the rest by er_outcome_write */
    bool look;            /* the transaction may know more about it than we */
    const char *message, *action, *details; /* of the error; details as JSON */
    const char *warnings;                   /* JSON, not empty; NULL = none */
    unsigned warn;                          /* ER_WARN_* */
    const char *cancel_reason, *cancel_by;
};
/* Reads the report of an end; the same from text; an attempt that was lost with its
 * worker; one that was never spawned. ER_ENOMEM; reports: ER_EINVALID, ER_ETOOBIG with
 * words. */
int er_outcome_report(struct er_engine *e, struct er_live_attempt *run,
                      struct er_arena *arena, const struct json_t *o,
                      struct er_outcome *out, struct er_err *err) ER_MUSTCHECK;
int er_outcome_parse(struct er_engine *e, struct er_live_attempt *run,
                     struct er_arena *arena, const char *json, size_t len,
                     struct er_outcome *out, struct er_err *err) ER_MUSTCHECK;
int er_outcome_lost(struct er_engine *e, struct er_live_attempt *run,
                    struct er_arena *arena, struct er_outcome *out) ER_MUSTCHECK;
int er_outcome_unspawned(struct er_engine *e, struct er_live_attempt *run,
                         struct er_arena *arena, struct er_outcome *out) ER_MUSTCHECK;
/* Takes in what has been asked for about the run: right before it is posted. */
int er_outcome_ask(const struct er_live_attempt *run, struct er_arena *arena,
                   struct er_outcome *out) ER_MUSTCHECK;
/* On the store's thread: what each comes to is written. Sets the rows' status. */
int er_outcome_write(struct er_store *s, er_usec now, struct er_arena *arena,
                     struct er_outcome *rows, size_t n) ER_MUSTCHECK;
/* A moment in a report; ER_NEVER when there is none. */
er_usec er_outcome_moment(const struct json_t *o, const char *name);

/* report.c */
/* Takes back what reports of that session have told and not sent yet. */
void er_report_worker_died(struct er_engine *e, int64_t session);

/* ends.c */
/* Ends that the engine finds itself. When the store refuses them they wait until it is
 * well, and their runs stay as ending. Each row that _next gives must be filled. */
struct er_ends *er_ends_new(struct er_engine *e, size_t room);
/* The next row, empty. */
struct er_outcome *er_ends_next(struct er_ends *ends);
/* The row that was given last could not be filled: there is no such row. */
void er_ends_undo(struct er_ends *ends);
/* For the texts of the rows; then: hands them to the store, and owns `ends`. */
struct er_arena *er_ends_arena(struct er_ends *ends);
void er_ends_post(struct er_ends *ends);
/* Marks a run as ending and gives its permits back; _undo when the write failed. */
void er_live_attempt_end_begin(struct er_engine *e, struct er_live_attempt *run);
void er_live_attempt_end_undo(struct er_engine *e, struct er_live_attempt *run);
/* The end is on disk: the run is forgotten. Tokens of one that was never started go
 * back. */
void er_live_attempt_end_done(struct er_engine *e, struct er_live_attempt *run,
                              const struct er_outcome *o);

/* ballast.c */
void er_ballast_start(struct er_engine *e);
int64_t er_ballast_wanted(void);              /* bytes free, for it to be made again */
void er_ballast_give_up(struct er_engine *e); /* a write found the disk full */
void er_ballast_look(struct er_engine *e);    /* is there room again? */

/* engine.c: without threads: what was posted by now crosses, and the jobs are run; false
 * when there was nothing. */
bool er_engine_turn_inline(struct er_engine *e);
/* engine.c: deletes the logs of removed tasks on the file thread; takes the arena
 * over. */
void er_engine_delete_logs(struct er_engine *e, struct er_arena *arena,
                           const struct er_removed *removed, size_t n);

/* observe.c */
void er_observe_init(struct er_engine *e);
void er_observe_fini(struct er_engine *e);
/* The worker of a task is silent: who watches it for that is told. */
void er_observe_silence(struct er_engine *e, er_task_id id);
/* Facts of a commit, in order, after it; progress or output of a run. */
void er_observe_publish(struct er_engine *e, const struct er_fact *facts, size_t n);
void er_observe_sample(struct er_engine *e, struct er_live_attempt *run,
                       enum er_event event);

#endif
