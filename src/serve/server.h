/* SPDX-License-Identifier: MIT */
/* The daemon's own: its workers. All on the loop's thread. */
#ifndef ER_SERVE_SERVER_H
#define ER_SERVE_SERVER_H

#include "api/api.h"
#include "serve/http.h"

struct er_supervisor;

/* local_worker.c: starts one for that socket: its pid, or 0 and why not, which is logged
 * as well. */
int er_local_worker_start(const char *socket, struct er_err *err);
/* Lets this process have all the descriptors that it may; the workers that it starts, and
 * so the commands, keep the limit that there was. Before there are threads. */
void er_local_worker_raise_fds(void);
/* The same as nobody's child (base/orphan.h), without a log. program NULL = to be looked
 * for, also from the folder `beside` (wire/autostart.h). folder (may be NULL): when this
 * process is gone it ends what it runs, takes the folder away, and ends. *out_pidfd is
 * the caller's. */
int er_local_worker_start_hidden(const char *program, const char *beside,
                                 const char *socket, const char *folder, int *out_pidfd,
                                 struct er_err *err);

/* default_env.c: the environment of tasks that bring none, as a JSON object; the
 * caller's. */
char *er_server_default_env(void);

/* supervise.c and its files (supervise_priv.h): the local worker. */
int er_supervisor_start(struct er_api *api, struct er_supervisor **out,
                        struct er_err *err) ER_MUSTCHECK;
/* Reaps every child that has ended: workers, and the orphans of dead ones. To be called
 * after SIGCHLD; never inside somebody else's program, whose children are its own. */
void er_supervisor_reap(struct er_supervisor *v);
/* For the engine inside somebody else's program: it is no subreaper and handles no
 * signal; the worker (`program`; NULL = to be looked for) is started when
 * er_supervisor_want has said that there is something to do, and is nobody's child.
 * folder (may be NULL): of a store that nobody can open after this process: then the
 * worker ends, and takes it away. */
void er_supervisor_start_hidden(struct er_api *api, const char *program,
                                const char *beside, const char *folder,
                                struct er_supervisor **out);
void er_supervisor_want(struct er_supervisor *v);
/* The setting `concurrency` has changed, or what runs under workers that drain has. */
void er_supervisor_set_slots(struct er_supervisor *v);
/* Ends the local workers: those that have nothing to do (KEEP); all, when what they run
 * has ended (DRAIN, without a bound: say NOW when it is over); all, after they have put
 * back what runs (NOW; what has not ended after `patience` is killed). `done` is called
 * when that is so. More haste may be asked for later. */
void er_supervisor_stop(struct er_supervisor *v, enum er_shutdown how, er_usec patience,
                        void (*done)(void *ctx), void *ctx);
/* NULL is fine. Its memory goes when the loop has closed its handles. */
void er_supervisor_free(struct er_supervisor *v);

#endif
