/* SPDX-License-Identifier: MIT */
/* Happy path: make the folders, open the daemon's log, spawn errandd in a session of its
 * own with one end of a pipe, read one byte from the other: it accepts.
 *
 * Failure modes: the program is not there; the daemon ends before it accepts, and has
 * written '!' and its reason into the pipe, or nothing at all (then its log may tell). */
#include "app/autostart.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define READY_FD 3

/* The folder of the running program, without a slash at the end; NULL when unknown. */
static char *
own_folder(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) {
        return NULL;
    }
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    return slash ? er_xstrndup(path, (size_t)(slash - path)) : NULL;
}

int
er_autostart_find(const char *program, char **out, struct er_err *err)
{
    /* installed: bin beside libexec; else the build folder: src/app beside src/serve */
    static const char *const folders[] = {
        ".",       "../libexec/errand", "../libexec", "../serve",
        "../work", "../src/serve",      "../src/work"};
    char *own = own_folder();
    for (size_t i = 0; own && i < sizeof folders / sizeof folders[0]; i++) {
        char *path = er_xasprintf("%s/%s/%s", own, folders[i], program);
        if (access(path, X_OK) == 0) {
            *out = path;
            er_free(own);
            return 0;
        }
        er_free(path);
    }
    int rc = er_fail(err, ER_ENOTFOUND,
                     "cannot find the program %s (looked in %s, ../libexec/errand and "
                     "../libexec)",
                     program, own ? own : "/proc/self/exe");
    er_free(own);
    return rc;
}

int
er_autostart_owner(const struct er_places *places, int *out_pid, char **out_socket)
{
    struct er_buf b;
    er_buf_init(&b, 16384);
    int rc = er_read_file(places->lock, &b, NULL);
    if (rc || b.len == 0) {
        er_buf_fini(&b);
        return ER_ENOTFOUND;
    }
    char *second = strchr(b.data, '\n');
    *out_pid = atoi(b.data);
    *out_socket = NULL;
    if (second && second[1] == '/') {
        *out_socket = er_xstrndup(second + 1, strcspn(second + 1, "\n"));
    }
    er_buf_fini(&b);
    return 0;
}

/* Sets up what the daemon's descriptors and signals are to be, and starts it. */
static int
spawn(const char *program, int log_fd, int ready_fd, pid_t *out_pid)
{
    static const int defaults[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGCHLD};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    char number[] = {'0' + READY_FD, '\0'};
    char *path = er_xstrdup(program);
    char ready[] = "--ready-fd";
    char *argv[] = {path, ready, number, NULL};
    int rc = posix_spawn_file_actions_init(&files);
    if (rc) {
        er_free(path);
        return rc;
    }
    rc = posix_spawnattr_init(&attr);
    if (!rc) {
        (void)sigemptyset(&none);
        (void)sigemptyset(&all);
        for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
            (void)sigaddset(&all, defaults[i]);
        }
        /* both are above 2 and not 3, see er_autostart_run */
        rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
        rc = rc ? rc : posix_spawn_file_actions_adddup2(&files, log_fd, 1);
        rc = rc ? rc : posix_spawn_file_actions_adddup2(&files, log_fd, 2);
        rc = rc ? rc : posix_spawn_file_actions_adddup2(&files, ready_fd, READY_FD);
        rc = rc ? rc : posix_spawn_file_actions_addclosefrom_np(&files, READY_FD + 1);
        rc = rc ? rc : posix_spawnattr_setsigmask(&attr, &none);
        rc = rc ? rc : posix_spawnattr_setsigdefault(&attr, &all);
        rc = rc ? rc
                : posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID |
                                                      POSIX_SPAWN_SETSIGMASK |
                                                      POSIX_SPAWN_SETSIGDEF);
        rc = rc ? rc : posix_spawn(out_pid, path, &files, &attr, argv, environ);
        (void)posix_spawnattr_destroy(&attr);
    }
    (void)posix_spawn_file_actions_destroy(&files);
    er_free(path);
    return rc;
}

/* Waits for the daemon's word: a byte, or '!' and its reason, or the end. */
static int
await_ready(int fd, const char *log, struct er_err *err)
{
    struct er_buf b;
    char chunk[512];
    ssize_t n;
    er_buf_init(&b, 4096);
    while ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0) {
            er_buf_add(&b, chunk, (size_t)n);
            if (b.len > 0 && b.data[0] != '!') {
                break;
            }
        }
    }
    int rc = 0;
    if (b.len == 0) {
        rc = er_fail(err, ER_ENODAEMON,
                     "the daemon ended before it was ready: see %.300s", log);
    } else if (b.data[0] == '!') {
        size_t len = strlen(b.data);
        while (len > 0 && (b.data[len - 1] == '\n' || b.data[len - 1] == ' ')) {
            b.data[--len] = '\0';
        }
        rc = er_fail(err, ER_ENODAEMON, "cannot start the daemon: %.400s",
                     len > 1 ? b.data + 1 : "it gave no reason");
    }
    er_buf_fini(&b);
    return rc;
}

/* Moves a descriptor out of the way of those that the daemon is given. */
static int
move_up(int fd)
{
    int up = fcntl(fd, F_DUPFD_CLOEXEC, READY_FD + 1);
    int code = errno;
    er_close(&fd);
    errno = code;
    return up;
}

/* The code of a daemon that ended at its start, by its exit code. */
static int
code_of_end(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == er_error_exit(ER_EBUSY)
               ? ER_EBUSY
               : ER_ENODAEMON;
}

int
er_autostart_run(const struct er_places *places, struct er_err *err)
{
    char *program;
    int ends[2] = {-1, -1};
    int rc = er_places_make(places, err);
    if (rc) {
        return rc;
    }
    rc = er_autostart_find("errandd", &program, err);
    if (rc) {
        return rc == ER_ENOTFOUND ? ER_ENODAEMON : rc;
    }
    int log_fd =
        open(places->daemon_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    log_fd = log_fd < 0 ? log_fd : move_up(log_fd);
    if (log_fd < 0) {
        int code = errno;
        rc = er_fail(err, er_error_from_errno(code), "cannot open %.400s: %s",
                     places->daemon_log, strerror(code));
    } else if (pipe2(ends, O_CLOEXEC) != 0 || (ends[1] = move_up(ends[1])) < 0) {
        rc = er_fail(err, ER_EIO, "cannot make a pipe: %s", strerror(errno));
    } else {
        pid_t pid;
        int code = spawn(program, log_fd, ends[1], &pid);
        er_close(&ends[1]);
        if (code) {
            rc = er_fail(err, ER_ENODAEMON, "cannot start %.400s: %s", program,
                         strerror(code));
        } else if (await_ready(ends[0], places->daemon_log, err)) {
            rc = code_of_end(pid);
        }
    }
    er_close(&ends[0]);
    er_close(&ends[1]);
    er_close(&log_fd);
    er_free(program);
    return rc;
}
