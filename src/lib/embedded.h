/* SPDX-License-Identifier: MIT */
/* The engine inside: a store that belongs to this process alone, the engine, the API over
 * it, and (when a command is to run) an errand-worker of the library's own. Loop thread,
 * but for what says otherwise.
 *
 * Beside a store PATH lie
 *   PATH.lock      flock of the owner; its pid, its socket (or an empty line) and its
 *                  program, a line each
 *   PATH.logs/     the attempts' output
 *   PATH.workers/  locks of workers, and the private socket (door.sock) that they speak
 *                  to, unless options.socket says another
 * A store in memory has logs and workers in $TMPDIR/errand-XXXXXX, which is made when the
 * first command or the first output needs it and is removed at the end. */
#ifndef ER_LIB_EMBEDDED_H
#define ER_LIB_EMBEDDED_H

#include <stdbool.h>

#include "base/error.h"

struct errand;
struct er_api;
struct er_embedded;
struct er_inside;

/* path NULL = in memory. Blocks for the disk. ER_EBUSY: the store has an owner, who is
 * named. *out_field: what was wrong ("url", or an option). */
int er_embedded_open(struct errand *e, const char *path, struct er_embedded **out,
                     const char **out_field, struct er_err *err) ER_MUSTCHECK;
/* Ends the worker (what it runs goes back to the queue) and closes the doors; `done` is
 * called, never from inside, when that is so. */
void er_embedded_stop(struct er_embedded *h, void (*done)(void *ctx), void *ctx);
/* The loop does not run any more (er_loop_uv may be turned by this): stops the engine,
 * writes what was posted, closes the store, gives the lock back, frees it. */
void er_embedded_free(struct er_embedded *h);

struct er_api *er_embedded_api(struct er_embedded *h);
struct er_inside *er_embedded_inside(struct er_embedded *h);
/* Whether no worker is about to come for what it was started for. */
bool er_embedded_is_quiet(struct er_embedded *h);
/* Makes the folder of the attempts' output if it is not there yet, and returns its path
 * (borrowed); NULL: it cannot be made. For handlers that write output. */
const char *er_embedded_logs(struct er_embedded *h);

#endif
