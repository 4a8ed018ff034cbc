/* SPDX-License-Identifier: MIT */
/* usage: spawn N COMMAND [ARG...]: starts the command N times one after the other, its
 * output thrown away, and tells how long one took from start to end (ms_p50, ms_p99).
 * Ends with 1 when one of them fails. */
#include "bench.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static double
once(char **argv, const posix_spawn_file_actions_t *actions)
{
    pid_t pid;
    int status;
    double start = bench_now();
    int rc = posix_spawnp(&pid, argv[0], actions, NULL, argv, environ);
    if (rc != 0) {
        DIE("cannot start %s: %s", argv[0], strerror(rc));
    }
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        DIE("%s failed (status %d)", argv[0], status);
    }
    return bench_now() - start;
}

int
main(int argc, char **argv)
{
    if (argc < 3 || atoi(argv[1]) < 1) {
        DIE("usage: spawn N COMMAND [ARG...]");
    }
    size_t n = (size_t)atoi(argv[1]);
    double *took = calloc(n, sizeof *took);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    once(argv + 2, &actions); /* the first one reads it from the disk */
    for (size_t i = 0; i < n; i++) {
        took[i] = once(argv + 2, &actions);
    }
    bench_quantiles("ms", took, n, 1e3);
    free(took);
    return 0;
}
