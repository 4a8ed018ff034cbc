/* SPDX-License-Identifier: MIT */
/* A command's standard input: /dev/null, bytes that came with the task (a memory file, so
 * that nothing has to be fed), a pipe for `errand send`, or the pipe by which a program
 * with the handlers' protocol gets its order, and later the word to stop. A program that
 * does not read, or has closed it, holds nobody up.
 *
 * What is sent before the command runs, or faster than it reads, is queued: at most
 * ER_INPUT_MAX bytes. What would go beyond that is dropped as a whole piece, and the
 * report has a warning that says how much. */
#ifndef ER_WORK_STDIN_H
#define ER_WORK_STDIN_H

#include <stdbool.h>

#include "base/buf.h"
#include "work/watch.h"

#define ER_INPUT_MAX (1 << 20)

struct er_work_attempt;

/* Embedded in the attempt. */
struct er_input {
    struct er_fd_watch watch; /* on only while the pipe is full */
    struct er_work_attempt *attempt;
    int fd;      /* our end of the pipe; -1 = none, or closed */
    bool wanted; /* the command has such a pipe, or will */
    bool eof;    /* close when the queue is empty */
    struct er_buf queue;
    size_t dropped; /* bytes */
    bool refused;   /* data came for a command without such a pipe */
};

/* Opens the child's end of its standard input; -1 for a file, that the spawn opens.
 * 0 or an error with errno kept. */
int er_stdin_open(struct er_work_attempt *a, int *out_child_fd) ER_MUSTCHECK;
/* Closes the child's end, unless it is the shared /dev/null. */
void er_stdin_close_child(struct er_work_attempt *a, int *fd);
/* Queues n bytes, and after them the end of file if `eof`. */
void er_stdin_send(struct er_work_attempt *a, const void *p, size_t n, bool eof);
/* A line for a program that got its order so; nothing for others. n without the
 * newline. */
void er_stdin_tell(struct er_work_attempt *a, const char *line, size_t n);
/* Closes, frees, and adds the warnings. */
void er_stdin_close(struct er_work_attempt *a);

#endif
