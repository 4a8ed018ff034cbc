/* SPDX-License-Identifier: MIT */
/* The handlers of a handle: its session with the engine (a daemon's, or the one inside:
 * the same lines either way, docs/PROTOCOL.md, "Workers"), the threads they run on, and
 * what they report.
 *
 *     handlers = er_handlers_get(e);                      // nothing is asked yet
 *     er_handlers_serve(handlers, "image.resize", &h);    // the session begins
 *     ...
 *     e->hands_stop(e, done);                     // handlers stop, reports are answered
 *     e->hands_free(e);                           // after done
 *
 * Stopping: what waits for a thread is given back, handlers that run are asked to stop
 * (ERRAND_STOP_SHUTDOWN) and waited for as long as they take; reports, 5 s.
 *
 * A handler in this process cannot be killed. One that goes on after its grace
 * (cancelled, too late) is complained of in the log, keeps its thread and its slot, and
 * its report has a warning.
 *
 * Loop thread, but for what says otherwise. */
#ifndef ER_LIB_HANDLERS_H
#define ER_LIB_HANDLERS_H

#include "lib/attempt.h"

struct errand;
struct er_handlers;

/* Those of the handle; made when there are none. NULL: no memory. */
struct er_handlers *er_handlers_get(struct errand *e);
/* Tasks of that type run here from now on; a handler there was is replaced (attempts that
 * run go on with the old one). ER_ENOMEM; ER_ECLOSED while it stops. */
int er_handlers_serve(struct er_handlers *h, const char *type,
                      const struct er_handler *handler) ER_MUSTCHECK;
/* No more tasks of it are taken; those that run go on. ER_ENOTFOUND. */
int er_handlers_withdraw(struct er_handlers *h, const char *type) ER_MUSTCHECK;
/* Whether it is served here. */
bool er_handlers_serves(const struct er_handlers *h, const char *type);
/* The number of its session; 0 = none. */
int64_t er_handlers_session(const struct er_handlers *h);

/* For tests of applications. Before anything is served: no threads are made, handlers run
 * only in er_handlers_work; and another clock is used for timeouts and errand_sleep. */
void er_handlers_set_inline(struct er_handlers *h);
void er_handlers_set_clock(struct er_handlers *h, const struct er_clock *clock);
/* A handler that sleeps on the thread of er_handlers_work moves the other clock itself:
 * `move` moves it to the mono `till`, or less far when the attempt is to stop. */
void er_handlers_set_mover(struct er_handlers *h,
                           void (*move)(void *ctx, const struct errand_attempt *a,
                                        er_usec till),
                           void *ctx);
/* Runs one handler that is due on this thread (any thread); false when there is none. */
bool er_handlers_work(struct er_handlers *h);
/* The clock has been moved: timeouts that are over take effect, sleepers look. */
void er_handlers_clock_moved(struct er_handlers *h);
/* How many attempts are here: waiting for a thread, running, or not yet reported. How
 * many of them sleep (errand_sleep, with another clock). And when the next of its clocks
 * or sleepers is due (ER_NEVER = none): the clock's mono. */
size_t er_handlers_busy(const struct er_handlers *h);
size_t er_handlers_asleep(struct er_handlers *h);
er_usec er_handlers_due(struct er_handlers *h);

#endif
