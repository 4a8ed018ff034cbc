/* SPDX-License-Identifier: MIT */
/* For tests of the library as its users have it: a folder of their own, handles that must
 * open, and a daemon that ends with the test. */
#ifndef LIB_FIXTURE_H
#define LIB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these before it */
#include <cmocka.h>
#include <dirent.h>
#include <errand.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OK(call) check_ok(call, &error, #call, __LINE__)

struct home {
    char folder[64];
    char sqlite[96], daemon[96]; /* URLs */
};

static inline void
check_ok(int rc, const errand_error *error, const char *what, int line)
{
    if (rc < 0) {
        fail_msg("line %d: %s: %d, %s: %s", line, what, rc, error->field, error->message);
    }
}

static inline int
setup_home(void **state)
{
    struct home *h = calloc(1, sizeof *h);
    assert_non_null(h);
    (void)snprintf(h->folder, sizeof h->folder, "/tmp/errand-lib-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    (void)snprintf(h->sqlite, sizeof h->sqlite, "sqlite:%s/store.db", h->folder);
    (void)snprintf(h->daemon, sizeof h->daemon, "unix:%s/errand.sock", h->folder);
    assert_int_equal(setenv("ERRAND_HOME", h->folder, 1), 0);
    (void)unsetenv("ERRAND_SOCKET");
    (void)unsetenv("ERRAND_TASK_ID");
    *state = h;
    return 0;
}

static inline int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

/* The pid of the daemon that the folder has; 0 = none. */
static inline int
daemon_pid(const struct home *h)
{
    char path[128], text[32] = "";
    (void)snprintf(path, sizeof path, "%s/tasks.db.lock", h->folder);
    FILE *f = fopen(path, "re");
    if (f) {
        if (!fgets(text, sizeof text, f)) {
            text[0] = '\0';
        }
        (void)fclose(f);
    }
    return atoi(text);
}

/* The letter of a process's (or of an own thread's) state; '?' = it is not there. */
static inline char
state_of(int pid)
{
    char path[64], text[512];
    char state = '?';
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    if (f) {
        size_t n = fread(text, 1, sizeof text - 1, f);
        text[n] = '\0';
        const char *end = strrchr(text, ')');
        state = end && end[1] ? end[2] : '?';
        (void)fclose(f);
    }
    return state;
}

/* Whether no thread of a process of others is left: the first one may be a zombie while
 * others still hold its files. */
static inline bool
has_ended(int pid)
{
    char tasks[64];
    int n = 0;
    (void)snprintf(tasks, sizeof tasks, "/proc/%d/task", pid);
    DIR *d = opendir(tasks);
    while (d && readdir(d)) {
        n++;
    }
    if (d) {
        (void)closedir(d);
    }
    /* nobody may come to take its remains away */
    return n < 3 || (n == 3 && strchr("?ZX", state_of(pid)));
}

static inline void
await_ended(int pid)
{
    for (int tries = 0; !has_ended(pid); tries++) {
        assert_true(tries < 120000);
        (void)usleep(1000);
    }
}

static inline int
teardown_home(void **state)
{
    struct home *h = *state;
    int pid = daemon_pid(h);
    if (pid > 0) {
        (void)kill(pid, SIGQUIT);
        await_ended(pid);
    }
    (void)nftw(h->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(h);
    return 0;
}

static inline errand *
open_with(const char *url, int threading)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    errand *e = NULL;
    o.threading = threading;
    o.connect_ms = 120000;
    OK(errand_open(url, &o, &e, &error));
    return e;
}

/* Stops a process, and waits until it has: a signal is on its way for a moment. */
static inline void
freeze(int pid)
{
    assert_int_equal(kill(pid, SIGSTOP), 0);
    for (int tries = 0; state_of(pid) != 'T'; tries++) {
        assert_true(tries < 60000);
        (void)usleep(1000);
    }
}

/* Kills a process of others, and waits until no thread of it can answer anybody. */
static inline void
kill_wholly(int pid)
{
    assert_true(pid > 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    await_ended(pid);
}

/* Waits until an own thread, which has said its number, sleeps for good: until it has
 * done so at many looks in a row. */
static inline void
await_asleep(const int *tid)
{
    int asleep = 0;
    for (int tries = 0; asleep < 50; tries++) {
        int now = __atomic_load_n(tid, __ATOMIC_SEQ_CST);
        asleep = now && state_of(now) == 'S' ? asleep + 1 : 0;
        assert_true(tries < 60000);
        (void)usleep(1000);
    }
}

static inline size_t
count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;
    assert_non_null(d);
    while (readdir(d)) {
        n++;
    }
    (void)closedir(d);
    return n;
}

/* Waits for the condition; turns the handle meanwhile, when it is to be turned. */
#define AWAIT(e, condition)                                                              \
    do {                                                                                 \
        for (int tries_ = 0; !(condition); tries_++) {                                   \
            struct pollfd fd_ = {.fd = errand_fd(e), .events = POLLIN};                  \
            assert_true(tries_ < 60000);                                                 \
            (void)poll(&fd_, 1, fd_.fd >= 0 ? 10 : 1);                                   \
            if (fd_.fd >= 0) {                                                           \
                assert_int_equal(errand_turn(e), 0);                                     \
            }                                                                            \
        }                                                                                \
    } while (0)

#endif
