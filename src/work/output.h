/* SPDX-License-Identifier: MIT */
/* Reading one of a command's two output streams: into its log, and past the scanner that
 * finds progress in it. At most ER_OUTPUT_READ bytes a wake-up, so that one command that
 * floods does not starve the others; the command waits meanwhile (its pipe is full), no
 * byte is held in memory. */
#ifndef ER_WORK_OUTPUT_H
#define ER_WORK_OUTPUT_H

#include <stdbool.h>

#include "model/progress_scan.h"
#include "wire/outlog.h"
#include "work/watch.h"

#define ER_OUTPUT_READ (64 << 10)

struct er_work_attempt;

/* Embedded in the attempt. */
struct er_output {
    struct er_fd_watch watch;
    struct er_work_attempt *attempt;
    int fd; /* our end; -1 = closed */
    enum er_outlog_kind kind;
    struct er_progress_scan *scan; /* NULL until there was output, or without memory */
};

/* Makes the pipe; *out_child_fd is the child's end. 0 or an error with errno kept. */
int er_output_open(struct er_output *o, struct er_work_attempt *a,
                   enum er_outlog_kind kind, int *out_child_fd) ER_MUSTCHECK;
/* Begins to read: when the start frame is in the log. */
int er_output_start(struct er_output *o) ER_MUSTCHECK;
/* Reads what is there now, at most what a pipe can hold (its writers are gone, or do not
 * belong to the attempt), and closes. */
void er_output_finish(struct er_output *o);

#endif
