/* SPDX-License-Identifier: MIT */
/* What a command writes to its progress pipe (docs/PROTOCOL.md, "Progress lines"): plain
 * lines and JSON, results and checkpoints also in parts. Lines that make no sense become
 * warnings of the attempt; nothing in them can end it. Items and checkpoints go into the
 * report's notes; while those are full nothing is read. Loop thread. */
#ifndef ER_WORK_PROGRESS_FD_H
#define ER_WORK_PROGRESS_FD_H

#include <stdbool.h>

#include "base/buf.h"
#include "wire/said.h"
#include "work/watch.h"

struct er_work_attempt;

/* Embedded in the attempt. */
struct er_progress_fd {
    struct er_fd_watch watch;
    struct er_work_attempt *attempt;
    int fd;             /* our end; -1 = closed */
    struct er_buf line; /* of a line that is not whole yet */
    bool skipping;      /* the rest of a line that is too long */
    struct er_said_parts parts;
};

int er_progress_fd_open(struct er_progress_fd *p, struct er_work_attempt *a,
                        int *out_child_fd) ER_MUSTCHECK;
/* Begins to read. */
int er_progress_fd_start(struct er_progress_fd *p) ER_MUSTCHECK;
/* Reads to the end, or to what is there now, and closes. */
void er_progress_fd_finish(struct er_progress_fd *p);
/* Reads again what was held back because too much waited for the daemon. */
void er_progress_fd_go_on(struct er_progress_fd *p);

/* One line, without its newline; also what `errand progress` would send. */
void er_progress_fd_line(struct er_work_attempt *a, const char *line, size_t n);

#endif
