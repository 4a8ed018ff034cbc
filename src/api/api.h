/* SPDX-License-Identifier: MIT */
/* What can be asked: the routes of the protocol, whoever asks. A request comes from a
 * door (request.h): the daemon's sockets (src/serve), or a program that has the engine
 * inside (src/lib). All on the loop's thread. */
#ifndef ER_API_API_H
#define ER_API_API_H

#include <jansson.h>
#include <sys/types.h>

#include "api/request.h"
#include "api/serial.h"
#include "engine/engine.h"
#include "model/env_rules.h"
#include "wire/places.h"

/* What the configuration says, as far as the daemon itself needs it. */
struct er_api_config {
    int concurrency;
    int retries;         /* where a task says nothing */
    er_usec backoff_for; /* base of the backoff, likewise */
    er_usec backoff_cap; /* and its ceiling */
    er_usec grace_for;
    er_usec drain_for; /* how long what runs may go on after SIGTERM */
    er_usec ageing;    /* what a priority is worth */
    int64_t output_head, output_tail;
    int max_losses;
    struct er_retention retention;
    unsigned socket_mode;
    bool group_may_ask; /* a system instance: peers of other uids, by the socket's mode */
};

/* How the daemon ends: docs/SEMANTICS.md, "Shutdown". In the order of their haste. */
enum er_shutdown {
    ER_SHUTDOWN_KEEP,  /* what runs goes on under its worker */
    ER_SHUTDOWN_DRAIN, /* it has some time to end by itself, and is then put back */
    ER_SHUTDOWN_NOW,   /* it is put back at once */
};

/* Who looks after the workers that are on this machine. */
struct er_keeper {
    /* A worker with that pid has attached to a session, or has lost its link. inside: it
     * came by no connection (api/request.h). */
    void (*attached)(struct er_keeper *k, int64_t session, int pid, const char *version,
                     bool inside);
    void (*detached)(struct er_keeper *k, int64_t session);
    /* The version of a session's worker; NULL = unknown. Borrowed for the turn. */
    const char *(*version)(const struct er_keeper *k, int64_t session);
    /* How many slots a worker that comes now gets. */
    int (*slots)(struct er_keeper *k);
    /* Restarts since the start, and whether it has given up for now. */
    void (*stats)(const struct er_keeper *k, int64_t *out_restarts, bool *out_waiting);
    /* Why the worker that was tried last could not be started, or what became of it; NULL
     * = nothing is wrong. Borrowed for the turn. */
    const char *(*trouble)(const struct er_keeper *k);
    /* How long until the worker is started again; -1 = that is not planned. */
    er_usec (*starts_after)(const struct er_keeper *k);
};

/* What the last reading of the folder types.d found. */
struct er_types_files {
    size_t types, wrong; /* files: good ones, each a type; those that are not */
    char *fault; /* of the first that is wrong: file, line and member; NULL = none */
};

struct er_api {
    struct er_loop *loop;
    struct er_engine *engine;
    struct er_keeper *keeper;
    const struct er_places *places;
    struct er_api_config config;
    struct er_env_rules env_rules;
    char *default_env;    /* JSON object: for tasks that bring none */
    er_usec started_at;   /* wall */
    er_usec clock_offset; /* at the start: wall minus boot */
    bool stopping;
    const char *closed_words; /* why, for who submits then; NULL = it is shutting down */
    dev_t store_dev; /* of the file that is open; ino 0 = unknown (or in memory) */
    ino_t store_ino;
    struct er_types_files types_files;
    struct er_serial settings; /* changes of queues, limits, types, pauses */
    struct er_serial edits;    /* PATCH */
    /* a client asked for it; NULL: the engine ends with the program that has it inside */
    void (*on_shutdown)(struct er_api *api, enum er_shutdown how);
};

/* Whether the store's file, where it should be, is the one that is open. */
bool er_api_has_store(const struct er_api *api);
/* The engine's wall clock: what is said in spans counts from then. */
er_usec er_api_now(const struct er_api *api);

/* One request on its way through a route. Lives until its connection is done with it and
 * nothing asynchronous refers to it any more. */
struct er_call;
typedef void er_route_fn(struct er_call *call);
struct er_route {
    const char *method, *pattern; /* "{id}" takes a number, "{name}" any one part */
    bool lines;                   /* the body may be NDJSON */
    size_t max_body;              /* bytes; of one line with `lines` */
    er_route_fn *handle;          /* the request is complete */
    /* with `lines`: one line; may answer the call (then nothing follows). NULL (submits
     * only): a line of more than `len` bytes */
    void (*line)(struct er_call *call, const char *line, size_t len);
    const char *summary; /* one line for the index */
    const char *params;  /* names in the query that it knows, with blanks between them */
};
struct er_call {
    struct er_api *api;
    struct er_request *req; /* NULL once the connection is gone */
    const struct er_route *route;
    er_task_id id; /* from the path; 0 = none */
    char *name;    /* from the path; NULL = none */
    bool is_lines; /* the body came as NDJSON */
    bool answered;
    int holds;                                /* asynchronous things that refer to it */
    void *state;                              /* the route's own */
    void (*free_state)(struct er_call *call); /* called once when the call ends */
    void (*gone)(struct er_call *call); /* the connection is done, answered or not */
};
extern const struct er_route er_routes[];
extern const size_t er_routes_n;
/* The operations to give to a door, with the struct er_api as context. */
const struct er_request_ops *er_routes_ops(void);

/* Keeps a call while something asynchronous refers to it. release may free it. */
void er_call_hold(struct er_call *call);
void er_call_release(struct er_call *call);

/* Refuses what would be new while it is `stopping`. */
void er_api_refuse_closed(struct er_call *call);

/* Answers. Any of them on a call whose connection is gone does nothing. */
void er_call_json(struct er_call *call, int status, struct er_buf *body); /* takes body */
void er_call_ndjson(struct er_call *call, int status, struct er_buf *body);
void er_call_problem(struct er_call *call, int code, const char *field, const char *fmt,
                     ...) ER_PRINTF(4, 5);
/* The same with further members: raw JSON such as "\"state\":\"completed\"". */
void er_call_problem_extra(struct er_call *call, int code, const char *field,
                           const char *extra_json, const char *fmt, ...) ER_PRINTF(5, 6);
/* The same with a status other than the code's own. */
void er_call_problem_status(struct er_call *call, int status, int code, const char *field,
                            const char *fmt, ...) ER_PRINTF(5, 6);
/* A number in the query between lo and hi, or `otherwise` when it is absent. On a bad one
 * answers the call and returns false. */
bool er_call_number(struct er_call *call, const char *name, int64_t lo, int64_t hi,
                    int64_t otherwise, int64_t *out);
/* A number of seconds (with a fraction) in the query, from 0 to 3600, as milliseconds; 0
 * when it is absent. On a bad one answers the call and returns false. */
bool er_call_seconds(struct er_call *call, const char *name, uint64_t *out_ms);
/* The body as a JSON object (a new reference; {} for an empty body), or NULL after having
 * answered. */
json_t *er_call_object(struct er_call *call);
/* Refuses members that are not among the n names: answers and returns false. */
bool er_call_known(struct er_call *call, const json_t *o, const char *const *names,
                   size_t n);
/* Members of it. Each answers the call and returns false when it is not as it must be:
 * absent, or true or false; absent, or a string as names are. */
bool er_call_check_flag(struct er_call *call, const json_t *o, const char *name);
bool er_call_check_text(struct er_call *call, const json_t *o, const char *name);

/* Whether there is no If-Match, or it names what is so tagged ("" = there is no such
 * thing yet). Only while the call has its request. */
bool er_call_matches(const struct er_call *call, const char *etag);

/* Reads the task and answers with it, or with 404. With `location`: 201 and Location. */
void er_call_task(struct er_call *call, er_task_id id, int status, bool location);

/* The routes; each stands in the file of its name. */
er_route_fn er_api_submit;
void er_api_submit_line(struct er_call *call, const char *line, size_t len);
er_route_fn er_api_list, er_api_show, er_api_edit;
/* parts.c */
er_route_fn er_api_result, er_api_attempts, er_api_items, er_api_after, er_api_why;
/* change.c, many.c */
er_route_fn er_api_delete, er_api_action, er_api_actions, er_api_clean;
/* live.c */
er_route_fn er_api_input, er_api_progress;
er_route_fn er_api_log, er_api_events;
/* publish.c, cursors.c, call.c */
er_route_fn er_api_publish;
void er_api_publish_line(struct er_call *call, const char *line, size_t len);
er_route_fn er_api_cursor_get, er_api_cursor_put, er_api_cursor_delete;
er_route_fn er_api_call;
/* work.c */
er_route_fn er_api_claim, er_api_report;
void er_api_report_line(struct er_call *call, const char *line, size_t len);
/* queues.c, limits.c, types.c */
er_route_fn er_api_queues, er_api_queue_get, er_api_queue_put, er_api_queue_delete,
    er_api_pause, er_api_resume;
er_route_fn er_api_limits, er_api_limit_put, er_api_limit_delete;
er_route_fn er_api_types, er_api_type_put, er_api_type_delete;
/* stats.c, doctor.c, admin.c */
er_route_fn er_api_stats, er_api_health, er_api_ready, er_api_metrics, er_api_doctor,
    er_api_shutdown, er_api_index;

#endif
