/* SPDX-License-Identifier: MIT */
/* Reaching the daemon: finding the programs beside this one, starting errandd in the
 * background when none answers. For the command and the library. Blocking; any thread. */
#ifndef ER_WIRE_AUTOSTART_H
#define ER_WIRE_AUTOSTART_H

#include "base/clock.h"
#include "base/error.h"
#include "wire/places.h"

/* The path of errandd or errand-worker: beside the running program, in ../libexec/errand,
 * ../libexec, or in a build folder; then the same from the folder `beside` (NULL = none;
 * that of the shared library); then where it was installed; then from the folder of the
 * `errand` in PATH (links followed). ER_ENOTFOUND with words that name all these. The
 * caller frees it. */
int er_autostart_find(const char *program, const char *beside, char **out,
                      struct er_err *err) ER_MUSTCHECK;
/* Starts the user's errandd, as nobody's child, and waits until it accepts. ER_EBUSY when
 * the store has an owner already, ER_ENODAEMON else, with what the daemon said. */
int er_autostart_run(const struct er_places *places, struct er_err *err) ER_MUSTCHECK;
/* Reads the owner's pid and socket from the lock file: ER_ENOTFOUND when there is none.
 * *out_socket is the caller's, and NULL when the file does not say. */
int er_autostart_owner(const struct er_places *places, int *out_pid,
                       char **out_socket) ER_MUSTCHECK;

/* Connects to a daemon: at `socket_path`, or (NULL) at the user's own socket, or at the
 * one that the owner of the user's store has written into the lock file. When nobody
 * answers one is started, if that may be: the user's own; for another path only if its
 * file's name is errand.sock, with that folder as its ERRAND_HOME. Two may start one at
 * the same time: the one that loses finds the store owned and takes the winner's. Never
 * from inside a task. Tries for `patience`. Returns a blocking descriptor, or a code with
 * words: ER_ENODAEMON and the like; ER_ETIMEOUT (the daemon that was started is not ready
 * by then) and ER_ECLOSED (quit_fd): it goes on all the same. */
struct er_reach {
    const char *socket_path;
    const char *beside; /* as of er_autostart_find */
    bool may_start;
    er_usec patience;
    int quit_fd; /* readable = not waited for any more; -1 = none */
};
int er_autostart_reach(const struct er_reach *r, struct er_err *err) ER_MUSTCHECK;

#endif
