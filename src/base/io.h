/* SPDX-License-Identifier: MIT */
/* Small helpers over files and descriptors. All blocking; any thread but a loop's. */
#ifndef ER_BASE_IO_H
#define ER_BASE_IO_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* Makes a folder and its parents, each with `mode`; those that exist are left as they
 * are. */
int er_mkdirs(const char *path, mode_t mode, struct er_err *err) ER_MUSTCHECK;
/* Writes all n bytes, over EINTR and short writes: 0, or a code with errno kept. */
int er_write_all(int fd, const void *p, size_t n) ER_MUSTCHECK;
/* Reads a whole file of at most b's ceiling into b. */
int er_read_file(const char *path, struct er_buf *b, struct er_err *err) ER_MUSTCHECK;
/* Closes a descriptor if it is >= 0 and sets it to -1; errno is kept. */
void er_close(int *fd);
/* Makes a pipe that no child inherits, of which our end does not block (the other one may
 * go to a program, which a standard stream that does not block may confuse). */
int er_pipe_read(int *out_ours, int *out_theirs) ER_MUSTCHECK;
int er_pipe_write(int *out_ours, int *out_theirs) ER_MUSTCHECK;
/* Removes a folder with all that is in it, on its own file system, links themselves and
 * not what they lead to. What cannot be removed stays; nothing is told. Any thread. */
void er_remove_tree(const char *folder);

#endif
