/* SPDX-License-Identifier: MIT */
/* The daemon's own: its workers. All on the loop's thread. */
#ifndef ER_SERVE_SERVER_H
#define ER_SERVE_SERVER_H

#include "api/api.h"
#include "serve/http.h"

struct er_supervisor;

/* local_worker.c: starts one for that socket: its pid, or 0 after having logged why not. */
int er_local_worker_start(const char *socket);

/* supervise.c: the local worker. */
int er_supervisor_start(struct er_api *api, struct er_supervisor **out,
                        struct er_err *err) ER_MUSTCHECK;
/* The setting `concurrency` has changed, or what runs under workers that drain has. */
void er_supervisor_set_slots(struct er_supervisor *v);
/* Ends the local workers: those that have nothing to do (KEEP); all, when what they run has
 * ended (DRAIN, without a bound: say NOW when it is over); all, after they have put back
 * what runs (NOW; what has not ended after `patience` is killed). `done` is called when that
 * is so. More haste may be asked for later. */
void er_supervisor_stop(struct er_supervisor *v, enum er_end how, er_usec patience,
                        void (*done)(void *ctx), void *ctx);
void er_supervisor_free(struct er_supervisor *v);

#endif
