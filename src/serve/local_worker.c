/* SPDX-License-Identifier: MIT */
/* Where the local worker is, and how it is started: in a session of its own, with the log of
 * the daemon, and no signal blocked. */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/server.h"

static char *
find_worker(void)
{
    static const char *const places[] = {"errand-worker", "../libexec/errand-worker",
                                         "../libexec/errand/errand-worker",
                                         "../work/errand-worker"};
    char self[PATH_MAX];
    const char *named = getenv("ERRAND_WORKER");
    if (named && *named) {
        return er_xstrdup(named);
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return NULL;
    }
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *path = er_xasprintf("%s/%s", self, places[i]);
        if (access(path, X_OK) == 0) {
            return path;
        }
        er_free(path);
    }
    return NULL;
}

static int
spawn_worker(const char *path, const char *socket)
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
        er_log(ER_LOG_ERROR, "supervise", "cannot start %s: %s", path, strerror(rc));
        return 0;
    }
    return pid;
}

int
er_local_worker_start(const char *socket)
{
    char *path = find_worker();
    int pid = path ? spawn_worker(path, socket) : 0;
    if (!path) {
        er_log(ER_LOG_ERROR, "supervise",
               "errand-worker is not beside errandd nor in "
               "../libexec: install it, or name it in ERRAND_WORKER");
    }
    er_free(path);
    return pid;
}
