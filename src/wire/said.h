/* SPDX-License-Identifier: MIT */
/* What a progress line in JSON says (docs/PROTOCOL.md, "Progress lines"), whichever way
 * it came: down the pipe of a command, or by HTTP to whoever runs the task.
 *
 * Happy path: position and words come back as an update; all else is told to a sink,
 * member by member. Failure modes: a member that makes no sense, is too large, or is
 * none, is told to the sink as a warning; the others count. One thread at a time. */
#ifndef ER_WIRE_SAID_H
#define ER_WIRE_SAID_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "model/progress.h"

/* Texts are borrowed. */
struct er_said_sink {
    void (*item)(void *ctx, const char *name, bool is_failed); /* one has ended */
    void (*checkpoint)(void *ctx, const char *json, size_t n); /* compact, not too long */
    void (*retry_after)(void *ctx, double s);                  /* 0 to 1e9 */
    void (*error)(void *ctx, const char *json);                /* compact */
    void (*result)(void *ctx, const char *p, size_t n);        /* not too long */
    void (*result_lost)(void *ctx);                            /* one was too long */
    void (*warn)(void *ctx, const char *text);
};

/* A text that comes in parts. */
struct er_said_part {
    char id[64]; /* "" = none is on its way */
    int64_t next;
    struct er_buf text;
};
/* Of one attempt; zero at its beginning. */
struct er_said_parts {
    struct er_said_part result, checkpoint;
};
void er_said_parts_fini(struct er_said_parts *p);

/* Takes an object. The update borrows its texts. */
struct er_progress_update er_said_take(const json_t *line, struct er_said_parts *parts,
                                       const struct er_said_sink *sink, void *ctx);

#endif
