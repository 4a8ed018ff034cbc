/* SPDX-License-Identifier: MIT */
/* Asking: a request to the API, of a daemon (over its socket) or of the engine inside;
 * who asks need not know which. Loop thread.
 *
 *     ask = er_ask_new(e, "GET", "/v1/tasks/42");
 *     ask->done = on_answer;
 *     er_ask_send(ask);
 *
 * A daemon that is gone is connected to again (and started, when the handle may) before
 * an ask is sent; an ask whose answer was lost is sent again when that does no harm: GET,
 * PUT, DELETE, and a POST with a key (er_ask_header "Idempotency-Key", or has_key).
 * Otherwise it ends with ER_ENODAEMON. */
#ifndef ER_LIB_ASK_H
#define ER_LIB_ASK_H

#include <stdbool.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/clock.h"

struct errand;
struct er_ask;

/* The end: status is that of the answer (200 ...), or a negative code and `body` has
 * words for people. body: borrowed (er_ask_take takes it). The ask is freed
 * afterwards. */
typedef void er_ask_done_fn(struct er_ask *ask, int status, const struct er_buf *body);
/* A piece of a streamed answer; the status is known by then (ask->status, always 2xx: the
 * body of a refusal is collected for `done`). Lines are not kept together. Makes `done`'s
 * body empty. */
typedef void er_ask_data_fn(struct er_ask *ask, const char *data, size_t len);

struct er_ask {
    /* the asker's */
    er_ask_done_fn *done; /* never NULL; called once, never from inside er_ask_send */
    er_ask_data_fn *data; /* NULL: the answer is collected, at most 64 MiB */
    void (*began)(struct er_ask *ask); /* NULL, or: the head of a 2xx answer has come; may
                                        * be cancelled in there */
    void *ctx;
    struct er_buf body; /* to be sent */
    const char *type;   /* of the body; NULL = application/json */
    er_usec bound;      /* longest wait for the whole answer; 0 = none */
    bool has_key;       /* body or target bear an idempotency key: it may be sent again */
    bool alone;         /* a connection of its own: for what stays open or waits long */
    bool
        caller; /* somebody outside waits for it: it is the first to end, with ER_ECLOSED,
                  * when the handle begins to close; others go on while handlers end */
    /* for reading */
    int status;
    /* the rest is ask.c's and the transports' */
    struct errand *e;
    const char *method;
    char *target;
    struct er_buf headers; /* {name NUL value NUL}... */
    struct er_buf answer;
    er_usec due; /* mono; ER_NEVER = no bound */
    bool is_sent;
    TAILQ_ENTRY(er_ask) in_all, in_wire;
    void *way; /* the transport's own, while it is under way */
};
TAILQ_HEAD(er_asks, er_ask);

/* NULL never: no memory ends the process (er_x...). */
struct er_ask *er_ask_new(struct errand *e, const char *method, const char *target_fmt,
                          ...) ER_PRINTF(3, 4);
void er_ask_header(struct er_ask *ask, const char *name, const char *value);
void er_ask_send(struct er_ask *ask);
/* Ends it early: done is not called any more, the ask is freed. A request that was sent
 * may have been done. Fine from inside `data`, not from inside `done`. */
void er_ask_cancel(struct er_ask *ask);

/* In `done` and `data`: a header of the answer, cut at size; false = there is none. */
bool er_ask_got(const struct er_ask *ask, const char *name, char *out, size_t size);
/* In `done`: moves the body into *out (which is overwritten); at least "". */
void er_ask_take(struct er_ask *ask, struct er_buf *out);

/* ---- for the transports and handle.c ---- */

/* The value of a header of the request, or NULL. */
const char *er_ask_find(const struct er_buf *headers, const char *name);
/* The end: takes it off the list, calls done, frees it. */
void er_ask_finish(struct er_ask *ask, int status);
/* Whether it may be sent again when its answer was lost. */
bool er_ask_is_safe(const struct er_ask *ask);
/* Ends those that are beyond their bound. Returns how many with a bound are left. */
size_t er_ask_look(struct errand *e);
/* Ends all (or only those of callers) with ER_ECLOSED. */
void er_ask_end_all(struct errand *e, bool callers_only);

#endif
