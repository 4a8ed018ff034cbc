/* SPDX-License-Identifier: MIT */
/* Signals by a descriptor: blocked, and read by the loop like any other news. No handler
 * ever runs in the middle of something, and none can meet a lock that its own thread
 * holds. */
#ifndef ER_SERVE_SIGNALS_H
#define ER_SERVE_SIGNALS_H

#include <stddef.h>
#include <uv.h>

#include "base/error.h"

/* Called in a turn of the loop, once for each kind that has come since. */
typedef void er_signals_fn(void *ctx, int signum);

struct er_signals {
    uv_poll_t poll;
    int fd;
    er_signals_fn *fn;
    void *ctx;
};

/* Blocks these in the calling thread and in those that it starts from now on (so: before
 * there are others), and has fn told of them. What the process starts must unblock them
 * again. *s stays where it is as long as the loop runs. 0, or ER_EIO with words. */
int er_signals_watch(struct er_signals *s, uv_loop_t *loop, const int *signums, size_t n,
                     er_signals_fn *fn, void *ctx, struct er_err *err) ER_MUSTCHECK;
/* Nobody is told any more; they stay blocked. The loop is still there. */
void er_signals_end(struct er_signals *s);

#endif
