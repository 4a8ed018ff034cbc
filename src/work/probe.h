/* SPDX-License-Identifier: MIT */
/* Progress from file offsets: when the processes of an attempt together have exactly one
 * regular file of at least a megabyte open for reading only, and its offset moves, then
 * the offset says how far they are. Read from /proc on a thread of its own, since a look
 * at a file of a dead mount hangs. */
#ifndef ER_WORK_PROBE_H
#define ER_WORK_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "work/helper.h"

#define ER_PROBE_SIZE (1 << 20) /* bytes; smaller files are not looked at */

/* What was found in /proc. */
struct er_probe_found {
    int files; /* different ones */
    dev_t dev;
    ino_t ino;
    int64_t pos, size; /* of the last one; several offsets in it: the greatest */
};

struct er_work_attempt;

/* Embedded in the attempt. */
struct er_probe {
    struct er_helper_job job;
    struct er_work_attempt *attempt;
    bool busy;
    pid_t pid;
    struct er_probe_found now, before;
};

/* Starts one for an attempt that runs, unless one is under way; what it finds goes to
 * er_sample_update. */
void er_probe_start(struct er_work_attempt *a);

#endif
