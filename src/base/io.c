/* SPDX-License-Identifier: MIT */
/* Interrupted calls (EINTR) are made again; short writes go on. Errors carry the path
 * and what the system said. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int
er_mkdirs(const char *path, mode_t mode, struct er_err *err)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        return er_fail(err, ER_EINVALID, "cannot make folder '%.100s': the name is %s",
                       path, n ? "too long" : "empty");
    }
    memcpy(part, path, n + 1);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0') {
            continue;
        }
        char was = *p;
        *p = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST) {
            int code = errno;
            return er_fail(err, er_error_from_errno(code), "cannot make folder '%s': %s",
                           part, strerror(code));
        }
        *p = was;
        if (was == '\0') {
            return 0;
        }
    }
}

int
er_write_all(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return er_error_from_errno(errno);
        }
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

int
er_read_file(const char *path, struct er_buf *b, struct er_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int code = errno;
        return er_fail(err, er_error_from_errno(code), "cannot open '%s': %s", path,
                       strerror(code));
    }
    int rc = 0;
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            int code = errno;
            rc = er_fail(err, er_error_from_errno(code), "cannot read '%s': %s", path,
                         strerror(code));
            break;
        }
        if (n == 0) {
            break;
        }
        er_buf_add(b, chunk, (size_t)n);
        if (b->failed) {
            rc = er_fail(err, b->failed, "cannot read '%s': %s", path,
                         er_error_meaning(b->failed));
            break;
        }
    }
    er_close(&fd);
    return rc;
}

void
er_close(int *fd)
{
    if (*fd >= 0) {
        int keep = errno;
        (void)close(*fd);
        errno = keep;
        *fd = -1;
    }
}

/* `ours`: which of the two ends. */
static int
open_pipe(int ours, int *out_ours, int *out_theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return er_error_from_errno(errno);
    }
    if (fcntl(ends[ours], F_SETFL, O_NONBLOCK) != 0) {
        er_close(&ends[0]);
        er_close(&ends[1]);
        return ER_EIO;
    }
    *out_ours = ends[ours];
    *out_theirs = ends[1 - ours];
    return 0;
}

int
er_pipe_read(int *out_ours, int *out_theirs)
{
    return open_pipe(0, out_ours, out_theirs);
}

int
er_pipe_write(int *out_ours, int *out_theirs)
{
    return open_pipe(1, out_ours, out_theirs);
}

static int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

void
er_remove_tree(const char *folder)
{
    (void)nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
