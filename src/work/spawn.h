/* SPDX-License-Identifier: MIT */
/* Starting one command: opens its working directory and input file, finds the program in
 * the submitter's PATH, and spawns it in a session of its own. May block (a dead mount):
 * local_fs.h says when it does not. Any thread. */
#ifndef ER_WORK_SPAWN_H
#define ER_WORK_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "work/command.h"

/* The child's ends; they stay the caller's. in is -1 when the command names a file. */
struct er_spawn_fds {
    int in, out, err, progress;
};

struct er_spawn_result {
    pid_t pid;  /* > 0: it was started, and what follows `local` is not set */
    bool local; /* looked for: all folders are on file systems of this machine */
    const char *code, *error_class; /* as in a task's error; static texts */
    const char *action;             /* what a person can do; NULL = nothing */
    int exit_code; /* 126 or 127 as in a shell; -1 = none: the fault is not the command's
                    */
    char message[600];
};

/* `look` = also find out whether it is local. */
void er_spawn_start(const struct er_command *c, const struct er_spawn_fds *fds, bool look,
                    struct er_spawn_result *out);

#endif
