/* SPDX-License-Identifier: MIT */
/* Settings of queues, limit keys and types: PUT merges what it is given into what is
 * there and writes it, DELETE takes it away. All of them go through one lane, so that
 * none overwrites what another one has just written. Loop thread, but for `read` and
 * `write`. */
#ifndef ER_API_SETTINGS_H
#define ER_API_SETTINGS_H

#include "api/api.h"

struct er_setting;
struct er_setting_ops {
    const char *kind; /* "queue", for words */
    /* The reader's thread: finds what is there, in q.arena. */
    int (*read)(struct er_setting *s, struct er_store_reader *r);
    /* Puts the body's members over it; false after having answered. */
    bool (*merge)(struct er_setting *s, const json_t *body);
    /* The store's thread. */
    int (*put)(struct er_setting *s, struct er_store *store, er_usec now);
    int (*remove)(struct er_setting *s, struct er_store *store, er_usec now);
    /* It is on disk: the engine's copy follows. */
    void (*changed)(struct er_setting *s, bool removed);
    er_route_fn *answer; /* of a PUT: as GET */
};
struct er_setting {
    struct er_serial_job job;
    struct er_query q;
    struct er_op op;
    struct er_call *call;
    const struct er_setting_ops *ops;
    json_t *body; /* NULL = remove */
    struct er_queue queue;
    struct er_limit limit;
    struct er_type type;
    struct er_type_row row;
};
/* Starts a PUT (reads the body) or a DELETE of the name in the call's path. */
void er_setting_put(struct er_call *call, const struct er_setting_ops *ops,
                    const char *const *members, size_t n_members);
void er_setting_remove(struct er_call *call, const struct er_setting_ops *ops);

/* Members of such bodies; each leaves *out alone when it is absent, and answers and
 * returns false when it is wrong. A number from 0, or null = 0 = no limit; true or false;
 * an array of rates, or null = none. */
bool er_setting_number(struct er_call *call, const json_t *o, const char *name,
                       int64_t *out);
bool er_setting_flag(struct er_call *call, const json_t *o, const char *name, bool *out);
bool er_setting_rates(struct er_call *call, const json_t *o,
                      struct er_rate out[ER_MAX_RATES], size_t *out_n);

/* Adds ,"concurrency":,"rates":,"running":,"open_at": of a gate, with what its buckets
 * hold now. */
void er_setting_add_gate(struct er_buf *b, struct er_engine *e, enum er_gate_kind kind,
                         const char *name, int concurrency, const struct er_rate *rates,
                         size_t n_rates);
/* Adds ,"waiting":,"waiters": of who waits there, each with what for and until when. */
#define ER_WAITERS_SHOWN ((size_t)10)
void er_setting_add_waiters(struct er_buf *b, const struct er_call *call,
                            const struct er_waiters *w);
/* A moment as JSON, or null for ER_NEVER. */
void er_setting_add_moment(struct er_buf *b, er_usec at);

#endif
