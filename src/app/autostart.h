/* SPDX-License-Identifier: MIT */
/* Starting the daemon in the background when none answers, and finding the programs
 * beside the command. Blocking. */
#ifndef ER_APP_AUTOSTART_H
#define ER_APP_AUTOSTART_H

#include "base/error.h"
#include "wire/places.h"

/* The path of errandd or errand-worker: beside the command, in ../libexec/errand,
 * ../libexec, or in a build folder. ER_ENOTFOUND with words. The caller frees it. */
int er_autostart_find(const char *program, char **out, struct er_err *err) ER_MUSTCHECK;
/* Starts errandd and waits until it accepts. ER_EBUSY when the store has an owner
 * already, ER_ENODAEMON else, with what the daemon said. */
int er_autostart_run(const struct er_places *places, struct er_err *err) ER_MUSTCHECK;
/* Reads the owner's pid and socket from the lock file: ER_ENOTFOUND when there is none.
 * *out_socket is the caller's, and NULL when the file does not say. */
int er_autostart_owner(const struct er_places *places, int *out_pid,
                       char **out_socket) ER_MUSTCHECK;

#endif
