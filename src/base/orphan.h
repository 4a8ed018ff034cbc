/* SPDX-License-Identifier: MIT */
/* Starting a program that is nobody's child: for a library, whose host may wait for any
 * child of its own (waitpid(-1)) or handle SIGCHLD. The program gets a session of its
 * own, no signal blocked or ignored, and its parent is init (or the nearest subreaper: a
 * host that has made itself one sees it all the same). Any thread; blocks until the
 * exec. */
#ifndef ER_BASE_ORPHAN_H
#define ER_BASE_ORPHAN_H

#include <sys/types.h>

#include "base/error.h"

struct er_orphan {
    const char *path;
    char *const *argv;
    char *const *envp; /* NULL = this process's */
    int fds[4]; /* what becomes its descriptors 0 to 3; -1 = none, but 0 to 2 are then
                        * /dev/null. All others are closed */
};
/* 0, its pid and (unless NULL) a pidfd, which is the caller's; or a code with words. */
int er_orphan_start(const struct er_orphan *o, pid_t *out_pid, int *out_pidfd,
                    struct er_err *err) ER_MUSTCHECK;

#endif
