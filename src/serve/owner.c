/* SPDX-License-Identifier: MIT */
/* Failure modes: the file cannot be made or written (a read-only folder, a full disk); it
 * is held by a process that lives; it is removed by one whose own start was refused,
 * between our open and our lock (then it is made again). */
#include "serve/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"

#define TRIES     2000 /* looks at a lock whose owner is dead or dying */
#define PAUSE_US  5000
#define TEXT_SIZE 4600 /* of what is read of another's file */

static const char *
own_name(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    const char *slash = strrchr(out, '/');
    return slash ? slash + 1 : out;
}

struct owner {
    int pid;
    char text[TEXT_SIZE];
    const char *socket, *program; /* in text; "" = not said */
};

/* Cuts the line that *at is at off, and goes to the next one. */
static const char *
next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    if (end) {
        *end = '\0';
    }
    *at = end ? end + 1 : line + strlen(line);
    return line;
}

static void
read_owner(int fd, struct owner *o)
{
    ssize_t n = pread(fd, o->text, sizeof o->text - 1, 0);
    o->text[n > 0 ? n : 0] = '\0';
    char *at = o->text;
    o->pid = atoi(next_line(&at));
    o->socket = next_line(&at);
    o->program = next_line(&at);
}

/* The name of a process, when it did not write it down itself. */
static const char *
find_program(const struct owner *o, char *name, size_t size)
{
    char path[64];
    if (o->program[0]) {
        return o->program;
    }
    (void)snprintf(path, sizeof path, "/proc/%d/comm", o->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, name, size - 1) : -1;
    er_close(&fd);
    name[n > 0 ? n : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
    return name[0] ? name : "a process";
}

static int
refuse(const struct er_places *places, const struct owner *o, struct er_err *err)
{
    char name[64];
    const char *program = find_program(o, name, sizeof name);
    const char *hint =
        strcmp(program, "errandd") == 0 ? " (errand shutdown ends it)" : "";
    if (o->socket[0]) {
        return er_fail(err, ER_EBUSY,
                       "the store '%.150s' belongs to %.60s, pid %d, which answers at "
                       "unix:%.150s%s",
                       places->store, program, o->pid, o->socket, hint);
    }
    return er_fail(err, ER_EBUSY, "the store '%.200s' belongs to %.60s, pid %d%s",
                   places->store, program, o->pid, hint);
}

int
er_owner_refuse(const struct er_places *places, int pid, struct er_err *err)
{
    struct owner o = {.pid = pid, .socket = "", .program = ""};
    return refuse(places, &o, err);
}

/* Why the first file that is opened, the store's lock, could not be. */
static int
explain_lock(const struct er_places *places, int code, struct er_err *err)
{
    char here[PATH_MAX] = "";
    struct stat st;
    const char *store = places->store, *folder = places->state_dir;
    bool is_there = access(places->lock, F_OK) == 0;
    if (store[0] != '/' && !getcwd(here, sizeof here)) {
        here[0] = '\0';
    }
    if (stat(folder, &st) != 0 && errno == ENOENT) {
        return er_fail(
            err, ER_ENOTFOUND,
            "the store '%.150s' cannot be made: there is no folder '%.150s'%s%.100s "
            "(make it first)",
            store, folder, here[0] ? " in " : "", here);
    }
    if (code == ENOTDIR) {
        return er_fail(err, ER_ENOTFOUND,
                       "the store '%.150s' cannot be made: '%.200s' is not a folder",
                       store, folder);
    }
    return er_fail(err, er_error_from_errno(code),
                   "the store '%.150s' cannot be %s: cannot %s '%.200s': %s", store,
                   is_there ? "opened" : "made", is_there ? "open" : "make a file in",
                   is_there ? places->lock : folder, strerror(code));
}

static int
open_lock(const struct er_places *places, int *out_fd, bool *out_is_new,
          struct er_err *err)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC;
    int fd = open(places->lock, flags | O_EXCL, 0600);
    *out_is_new = fd >= 0;
    if (fd < 0 && errno == EEXIST) {
        fd = open(places->lock, flags, 0600);
    }
    *out_fd = fd;
    return fd >= 0 ? 0 : explain_lock(places, errno, err);
}

/* Whether the file that is locked is the one that lies there. */
static bool
is_there(const struct er_places *places, int fd)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(places->lock, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

bool
er_owner_lives(int pid)
{
    char path[64], line[512];
    if (pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH)) {
        return false;
    }
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : -1;
    er_close(&fd);
    line[n > 0 ? n : 0] = '\0';
    const char *end = strrchr(line, ')'); /* the name before it may hold anything */
    return !end || strncmp(end, ") Z", 3) != 0;
}

/* Free as soon as its owner is dead to the last thread, but that a child of it which has
 * not come to its exec yet may hold a copy for a moment. */
static int
await_lock(const struct er_places *places, int fd, struct er_err *err)
{
    struct owner o;
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return er_fail(err, er_error_from_errno(errno), "cannot lock '%.300s': %s",
                           places->lock, strerror(errno));
        }
        read_owner(fd, &o);
        if (o.pid <= 0 || er_owner_lives(o.pid) || i == TRIES) {
            return refuse(places, &o, err);
        }
        (void)usleep(PAUSE_US);
    }
    return 0;
}

/* First over what is there, then cut: so a full disk does not take what the file has. */
static int
write_owner(const struct er_places *places, int fd, const char *socket,
            struct er_err *err)
{
    char self[PATH_MAX];
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_i64(&b, getpid());
    er_buf_add_char(&b, '\n');
    er_buf_add_str(&b, socket ? socket : "");
    er_buf_add_char(&b, '\n');
    er_buf_add_str(&b, own_name(self, sizeof self));
    er_buf_add_char(&b, '\n');
    int rc = b.failed ? er_fail(err, b.failed, "out of memory") : 0;
    if (rc == 0 && (pwrite(fd, b.data, b.len, 0) != (ssize_t)b.len ||
                    ftruncate(fd, (off_t)b.len) != 0)) {
        rc = er_fail(err, er_error_from_errno(errno), "cannot write '%.300s': %s",
                     places->lock, strerror(errno));
    }
    er_buf_fini(&b);
    return rc;
}

void
er_owner_leave(const struct er_places *places)
{
    (void)unlink(places->lock);
}

int
er_owner_take(const struct er_places *places, const char *socket, int *out_fd,
              bool *out_is_new, struct er_err *err)
{
    int rc;
    *out_fd = -1;
    do {
        er_close(out_fd);
        rc = open_lock(places, out_fd, out_is_new, err);
        rc = rc ? rc : await_lock(places, *out_fd, err);
    } while (rc == 0 && !is_there(places, *out_fd));
    bool is_ours = rc == 0;
    rc = rc ? rc : write_owner(places, *out_fd, socket, err);
    if (rc && is_ours && *out_is_new) {
        er_owner_leave(places);
    }
    if (rc) {
        er_close(out_fd);
    }
    return rc;
}
