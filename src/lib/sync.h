/* SPDX-License-Identifier: MIT */
/* One request of the protocol on behalf of an application: while it waits, or with a
 * callback on the loop's thread. */
#ifndef ER_LIB_SYNC_H
#define ER_LIB_SYNC_H

#include <errand.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/clock.h"

#define ER_SYNC_BOUND (30 * ER_USEC_PER_SEC)

/* Texts are copied. */
struct er_sync_spec {
    const char *method; /* a literal */
    const char *target;
    struct er_buf body; /* taken, whatever comes back */
    const char *type;   /* of the body, a literal; NULL = JSON */
    const char *key;    /* header Idempotency-Key; NULL = none */
    bool has_key;       /* body or target bear one already */
    const char *prefer; /* header Prefer; NULL = none */
    er_usec bound;      /* 0 = ER_SYNC_BOUND */
    bool alone;         /* a connection of its own */
};
struct er_sync_answer {
    int status;         /* 100 to 599 */
    struct er_buf body; /* the caller's to free; terminated */
    int64_t task;       /* header X-Errand-Task, or that of Location; 0 = none */
    double expected_s;  /* header X-Errand-Expected; -1 = none */
};

/* Any thread. 0 and the answer, whatever its status; or a code (`error` tells) and
 * nothing to free. */
int er_sync_ask(struct errand *e, struct er_sync_spec *spec, struct er_sync_answer *out,
                errand_error *error) ER_MUSTCHECK;
/* The same, but a status of 300 and above is a code, too. The body is the caller's. */
int er_sync_run(struct errand *e, struct er_sync_spec *spec, struct er_buf *out,
                errand_error *error) ER_MUSTCHECK;

/* Without waiting: `done` is called once, on the loop's thread as an application's
 * function (in_callback), never from inside, unless a code comes back. answer: NULL when
 * `code`, which is then negative, is not 0; its body stays this file's unless it is
 * taken. */
typedef void er_sync_fn(void *ctx, int code, struct er_sync_answer *answer,
                        const errand_error *error);
int er_sync_start(struct errand *e, struct er_sync_spec *spec, er_sync_fn *done,
                  void *ctx, errand_error *error) ER_MUSTCHECK;

#endif
