/* SPDX-License-Identifier: MIT */
/* Where an instance has its things: from ERRAND_HOME, or the XDG folders, or the system's
 * (errand(1), FILES). Also the two calls that make unix sockets with paths of any
 * length. Blocking; any thread. */
#ifndef ER_WIRE_PLACES_H
#define ER_WIRE_PLACES_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"

struct er_places {
    char *config;    /* config.yml */
    char *socket;    /* errand.sock */
    char *state_dir; /* folder of all below */
    char *store;     /* tasks.db */
    char *lock; /* tasks.db.lock: flock of the owner; holds pid and socket, a line each */
    char *logs; /* folder */
    char *workers;    /* folder */
    char *types;      /* types.d */
    char *daemon_log; /* errandd.log, where an automatically started daemon writes */
};
/* Works the places out from the environment; makes no folder. `system`: those of
 * `errandd --system`. ERRAND_SOCKET overrides the socket alone. ER_EINVALID: no home is
 * known, or a folder would be world-writable. */
int er_places_init(struct er_places *p, bool system, struct er_err *err) ER_MUSTCHECK;
/* The places of ERRAND_HOME=home, whatever the environment says. Makes and checks
 * nothing. */
void er_places_init_home(struct er_places *p, const char *home);
void er_places_fini(struct er_places *p);
/* Makes the folders (0700; that of the system's socket 0750: its group may use it),
 * checks owner and mode. */
int er_places_make(const struct er_places *p, struct er_err *err) ER_MUSTCHECK;

/* Whether one could listen there, before anything is made: ER_EINVALID for a path that is
 * too long, ER_EEXISTS for something else than a socket in its place. */
int er_places_check_socket(const char *path, struct er_err *err) ER_MUSTCHECK;
/* Connects to a unix socket; the path may be longer than sun_path (then through a
 * descriptor of its folder). Returns a blocking, close-on-exec descriptor, or
 * ER_ENODAEMON (nobody listens, or no such file), ER_EAUTH, ER_EIO, or ER_ETIMEOUT: so
 * many wait to be taken that there was no room in all that time (a daemon that is
 * frozen). */
#define ER_PLACES_CONNECT_FOR (5 * ER_USEC_PER_SEC)
int er_places_connect_within(const char *path, er_usec bound_for,
                             struct er_err *err) ER_MUSTCHECK;
int er_places_connect(const char *path, struct er_err *err) ER_MUSTCHECK;
/* Listens on a unix socket with that mode: binds beside it and renames, so that a stale
 * file is replaced at once and no half-made socket is ever seen. Only for the owner of
 * the store's lock. Non-blocking, close-on-exec descriptor or a negative code. *out_file
 * (NULL = not wanted) is what lies there now. */
struct er_places_file {
    dev_t dev;
    ino_t ino;          /* 0 = none */
    struct timespec at; /* it was made: the number may be given to another file */
};
int er_places_listen(const char *path, unsigned mode, struct er_places_file *out_file,
                     struct er_err *err) ER_MUSTCHECK;
/* Takes that file away again, unless another one lies at the path meanwhile: whoever
 * listens there now goes on. */
void er_places_unlisten(const char *path, const struct er_places_file *file);

#endif
