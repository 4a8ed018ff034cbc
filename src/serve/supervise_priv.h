/* SPDX-License-Identifier: MIT */
/* What the files of the supervision share; server.h has what others call:
 *
 *   supervise.c        the supervisor: whether a worker is needed, and what the routes
 *                      tell
 *   guard.c            one session: whether its process lives, and its end
 *   birth.c            a worker from its start until it has a session
 *   supervise_slots.c  what a worker of another version leaves to the new one
 *   supervise_stop.c   the end
 *
 * All on the loop's thread. Whatever changes who is there calls er_supervise_consider,
 * which starts a worker, or finds that the end has come. */
#ifndef ER_SERVE_SUPERVISE_PRIV_H
#define ER_SERVE_SUPERVISE_PRIV_H

#include <uv.h>

#include "serve/server.h"

#define ER_SUPERVISE_HELLO_MS 10000 /* how long a living worker has to come back */
#define ER_SUPERVISE_LOOK_MS  5     /* between two looks at what is dead, or ends */

struct er_birth;

/* One session of a local worker. */
struct er_guard {
    struct er_supervisor *v;
    int64_t session;
    char *lock; /* path */
    int pid;
    int pidfd; /* -1 = not watched */
    bool connected, ending;
    bool old;  /* of another version: it drains */
    bool host; /* a program with handlers: nobody's worker, it is never killed */
    char version[32];
    bool gone; /* its process is dead; `looks` at its lock since */
    int looks;
    uv_poll_t poll;
    uv_timer_t patience; /* runs while it is not connected */
    int open_handles;
    struct er_guard *next;
};

struct er_supervisor {
    struct er_keeper keeper; /* first: what the routes know of us */
    struct er_api *api;
    struct er_guard *guards;
    bool hidden, wanted;
    int open_handles; /* in er_supervisor_free */
    /* birth.c */
    int child;             /* pid of the worker that was started last; 0 = none lives */
    bool child_hello;      /* it has opened a session */
    struct er_err trouble; /* why the last one could not be started, or died; "" = none */
    er_usec child_at;      /* mono */
    int in_a_row;          /* restarts without a healthy time between them */
    int64_t restarts;
    uv_timer_t again; /* the pause before a restart */
    bool waiting;
    char *folder;           /* hidden: of what workers do not outlive; NULL = they do */
    char *program;          /* hidden: the worker's path; NULL = to be looked for */
    char *beside;           /* hidden: where to look, too */
    struct er_birth *birth; /* hidden: of the child that was started last; NULL = none */
    /* supervise_slots.c */
    struct er_sub *sub; /* facts, while an old worker drains: its slots become free */
    uv_timer_t later;
    /* supervise_stop.c */
    bool stopping;
    enum er_shutdown how;
    bool killed; /* what did not end in time */
    uv_timer_t stop_timer;
    uv_timer_t look; /* whether what is dead is buried */
    void (*stop_done)(void *ctx);
    void *stop_ctx;
};

/* Starts a worker if none is there nor may come back; while stopping: whether all is
 * done. */
void er_supervise_consider(struct er_supervisor *v);

/* ---- guard.c ---- */

/* Of a session that has none; `worker` names its lock. It is not watched yet. */
struct er_guard *er_guard_add(struct er_supervisor *v, int64_t session,
                              const char *worker, int pid);
/* NULL: none. */
struct er_guard *er_guard_find(const struct er_supervisor *v, int64_t session);
/* Forgets the session; the process is left as it is. */
void er_guard_remove(struct er_guard *g);
/* Watches the process of that pid from now on; where that cannot be (which is logged) its
 * link and its lock tell. Sets `gone` when it is dead already. */
void er_guard_watch(struct er_guard *g, int pid);
/* It is connected, or is not: then it has `ms` to come back. One that is gone is
 * buried. */
void er_guard_trust(struct er_guard *g);
void er_guard_doubt(struct er_guard *g, uint64_t ms);
/* By its descriptor: its number may be another's by now. One that cannot be watched is
 * looked for once more. */
void er_guard_kill(struct er_guard *g);
/* Whether nobody holds the worker's lock any more. */
bool er_guard_is_free(const struct er_guard *g);
/* Attempts that the engine knows under it. */
size_t er_guard_runs(const struct er_guard *g);

/* ---- birth.c ---- */

/* A worker is started after the pause that is due. */
void er_birth_plan(struct er_supervisor *v);
/* To a child that has no session yet; else nothing. */
void er_birth_signal(const struct er_supervisor *v, int signum);
/* Lets the child be, whatever becomes of it. */
void er_birth_forget(struct er_supervisor *v);

/* ---- supervise_slots.c ---- */

/* What is left of `concurrency` beside what old workers still run. */
int er_supervise_slots_left(const struct er_supervisor *v);
/* A worker of another version drains. */
bool er_supervise_has_old(const struct er_supervisor *v);

/* ---- supervise_stop.c ---- */

/* While stopping: calls `done` when nobody's end is waited for any more; else looks
 * again. */
void er_supervise_stop_look(struct er_supervisor *v);

#endif
