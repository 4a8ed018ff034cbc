/* SPDX-License-Identifier: MIT */
/* The ferry carries operations to the store's thread and back: group commit. What is
 * posted in one turn of the loop goes together; what arrives while the operations of a
 * crossing run joins it, what arrives while it commits takes the next, all in one
 * transaction and one sync. No timer is involved.
 *
 * An operation's `run` is called on the store's thread inside the transaction, its `done`
 * on the loop's thread after the commit, with the code of the transaction or its own. A
 * verb that fails as a whole with a fault of the disk or of memory fails its crossing:
 * nothing of it is true, and all its operations are told so.
 *
 * A ferry without a thread (er_ferry_start_inline) keeps all of these promises on the
 * loop's thread: er_ferry_cross, called at the end of a turn, takes what is on the pier
 * through one transaction and delivers it. */
#ifndef ER_ENGINE_FERRY_H
#define ER_ENGINE_FERRY_H

#include "engine/loop.h"
#include "store/store.h"

struct er_ferry;
struct er_op {
    struct er_op *next; /* private while under way */
    int (*run)(struct er_op *op, struct er_store *s, er_usec now);
    void (*done)(struct er_op *op, int rc); /* owns op */
    int rc;                                 /* private */
};
/* Called on the loop's thread for each crossing that was committed, before the `done` of
 * its operations. It takes over the effects' arena. */
typedef void er_ferry_effects_fn(void *ctx, struct er_effects *effects);

/* `store` is used on the ferry's thread only, from now until er_ferry_stop. */
int er_ferry_start(struct er_loop *loop, struct er_store *store,
                   const struct er_clock *clock, er_ferry_effects_fn *on_effects,
                   void *ctx, struct er_ferry **out) ER_MUSTCHECK;
/* Without a thread: for a store in memory, which waits for nothing. */
int er_ferry_start_inline(struct er_store *store, const struct er_clock *clock,
                          er_ferry_effects_fn *on_effects, void *ctx,
                          struct er_ferry **out) ER_MUSTCHECK;
/* One crossing of all that is on the pier, its effects and its `done`s; false when there
 * was nothing. What the `done`s post waits for the next call. Only without a thread, and
 * never from inside a `run` or `done`. */
bool er_ferry_cross(struct er_ferry *f);
/* Lets what was flushed cross, then ends the thread. The `done`s arrive as letters, also
 * after this (without a thread: from inside this); when the loop has delivered them,
 * er_ferry_free may be called. */
void er_ferry_stop(struct er_ferry *f);
void er_ferry_free(struct er_ferry *f);
/* Puts an operation on the pier; it leaves with the next er_ferry_flush. */
void er_ferry_post(struct er_ferry *f, struct er_op *op);
/* The same, before all that is on the pier. */
void er_ferry_post_first(struct er_ferry *f, struct er_op *op);
/* Sends off all that is on the pier (end of a turn). Without a thread it waits there for
 * er_ferry_cross. */
void er_ferry_flush(struct er_ferry *f);

#endif
