/* SPDX-License-Identifier: MIT */
/* Where the local worker is, and how it is started: in a session of its own, with the log
 * of the daemon, no signal blocked, and the limit of descriptors that the daemon was
 * started with: a command may use select. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/orphan.h"
#include "serve/server.h"
#include "wire/autostart.h"

static char *
find_worker(const char *beside, struct er_err *err)
{
    const char *named = getenv("ERRAND_WORKER");
    char *path = NULL;
    struct er_err why = {""};
    if (named && *named) {
        return er_xstrdup(named);
    }
    if (er_autostart_find("errand-worker", beside, &path, &why)) {
        (void)er_fail(err, ER_ENOTFOUND, "%s: install it, or name it in ERRAND_WORKER",
                      why.text);
        return NULL;
    }
    return path;
}

/* What there was before er_local_worker_raise_fds; rlim_max 0 = it was not called. */
static struct rlimit fds_given;

void
er_local_worker_raise_fds(void)
{
    struct rlimit all;
    if (getrlimit(RLIMIT_NOFILE, &all) == 0 && all.rlim_cur < all.rlim_max) {
        fds_given = all;
        all.rlim_cur = all.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &all);
    }
}

/* A worker has no commands before we welcome it, so none of them sees our limit. */
static void
give_limit_back(pid_t pid)
{
    if (fds_given.rlim_max > 0 && prlimit(pid, RLIMIT_NOFILE, &fds_given, NULL) != 0) {
        er_log(ER_LOG_WARN, "supervise", "cannot set the limit of worker pid %d: %s", pid,
               strerror(errno));
    }
}

static int
spawn_worker(const char *path, const char *socket, struct er_err *err)
{
    extern char **environ;
    char *const argv[] = {(char *)(uintptr_t) "errand-worker",
                          (char *)(uintptr_t) "--socket", (char *)(uintptr_t)socket,
                          NULL};
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t fa;
    sigset_t none, all;
    pid_t pid = 0;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawn_file_actions_init(&fa);
    (void)posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&fa, 2, 1);
    int rc = posix_spawn(&pid, path, &fa, &attr, argv, environ);
    (void)posix_spawn_file_actions_destroy(&fa);
    (void)posix_spawnattr_destroy(&attr);
    if (rc) {
        (void)er_fail(err, ER_ENOTFOUND, "cannot start %.300s: %s", path, strerror(rc));
        return 0;
    }
    give_limit_back(pid);
    return pid;
}

int
er_local_worker_start(const char *socket, struct er_err *err)
{
    char *path = find_worker(NULL, err);
    int pid = path ? spawn_worker(path, socket, err) : 0;
    if (pid == 0) {
        er_log(ER_LOG_ERROR, "supervise", "%s", err->text);
    }
    er_free(path);
    return pid;
}

int
er_local_worker_start_hidden(const char *program, const char *beside, const char *socket,
                             const char *folder, int *out_pidfd, struct er_err *err)
{
    char *path = program ? er_xstrdup(program) : find_worker(beside, err);
    pid_t pid = 0;
    char *argv[] = {(char *)(uintptr_t) "errand-worker",
                    (char *)(uintptr_t) "--socket",
                    (char *)(uintptr_t)socket,
                    (char *)(uintptr_t) "--owner-fd",
                    (char *)(uintptr_t) "3",
                    (char *)(uintptr_t) "--owner-folder",
                    (char *)(uintptr_t)folder,
                    NULL};
    /* of this process: that it is gone can be read there, and no other can be taken for
     * it */
    int self = folder ? (int)syscall(SYS_pidfd_open, getpid(), 0) : -1;
    struct er_orphan o = {path, argv, NULL, {-1, -1, -1, self}};
    if (self < 0) {
        argv[3] = NULL;
    }
    if (path && er_orphan_start(&o, &pid, out_pidfd, err)) {
        pid = 0;
    }
    if (pid == 0) {
        er_log(ER_LOG_ERROR, "supervise", "%s", err->text);
    }
    er_close(&self);
    er_free(path);
    return pid;
}
