/* SPDX-License-Identifier: MIT */
/* The task of the kill campaign: leaves a trace of (task, attempt) that does not depend
 * on errand, so that tools/crash.py can prove from outside what really ran, and when.
 *
 * usage: probe FOLDER MILLISECONDS plain|tree|fail
 *
 * Writes lines `KIND TASK ATTEMPT PID NANOSECONDS` (wall clock) to FOLDER/side.log, each
 * with one write: S started, D another attempt of the task is alive now, E ended.
 *
 * A task's lock file is held by every process of an attempt (the descriptor is
 * inherited), also by one that left its session: as long as any of them lives, the lock
 * is taken. So a lock that is not free at the start means two attempts at the same time,
 * whatever clocks say.
 *
 * plain: sleeps and ends. tree: leaves a grandchild in a session of its own behind, which
 * would sleep for ever. fail: exits 1 on its first attempt. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *task, *attempt;
static int side;

static void
note(char kind)
{
    struct timespec now;
    char line[128];
    clock_gettime(CLOCK_REALTIME, &now);
    int n = snprintf(line, sizeof line, "%c %s %s %d %lld%09ld\n", kind, task, attempt,
                     (int)getpid(), (long long)now.tv_sec, now.tv_nsec);
    if (write(side, line, (size_t)n) != n) {
        _exit(98);
    }
}

static int
open_in(const char *folder, const char *name, int flags)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, flags | O_CREAT, 0600);
    if (fd < 0) {
        fprintf(stderr, "probe: cannot open %s: %s\n", path, strerror(errno));
        exit(97);
    }
    return fd;
}

/* A grandchild in its own session, with the task's lock and the output still open. */
static void
leave_runaway(void)
{
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0) {
            for (;;) {
                pause();
            }
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

int
main(int argc, char **argv)
{
    task = getenv("ERRAND_TASK_ID");
    attempt = getenv("ERRAND_ATTEMPT");
    if (argc != 4 || task == NULL || attempt == NULL) {
        fprintf(stderr, "probe: only as a task: probe FOLDER MILLISECONDS KIND\n");
        return 99;
    }
    char name[64];
    snprintf(name, sizeof name, "locks/%.40s", task);
    side = open_in(argv[1], "side.log", O_WRONLY | O_APPEND | O_CLOEXEC);
    int lock = open_in(argv[1], name, O_RDWR);
    bool doubled = flock(lock, LOCK_EX | LOCK_NB) != 0;
    note('S');
    if (doubled) {
        note('D');
    }
    printf("begin %s %s\n", task, attempt);
    fflush(stdout);
    if (strcmp(argv[3], "tree") == 0) {
        leave_runaway();
    }
    long ms = atol(argv[2]);
    struct timespec span = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&span, &span) != 0) {
    }
    bool fails = strcmp(argv[3], "fail") == 0 && strcmp(attempt, "1") == 0;
    printf("end %s %s\n", task, attempt);
    fflush(stdout);
    note('E');
    return fails ? 1 : 0;
}
