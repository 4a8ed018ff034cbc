/* SPDX-License-Identifier: MIT */
/* What the campaigns share: chance that can be replayed, a folder, a look at the process,
 * and an end at the first breach, which is named with the seed. */
#ifndef CAMPAIGN_BASE_H
#define CAMPAIGN_BASE_H

#include <dirent.h>
#include <errand.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t campaign_seed;
static const char *campaign_where = "";
static char campaign_folder[64];

#define BREACH(...)                                                                      \
    do {                                                                                 \
        (void)printf("Bail out! seed %llu, %s, line %d: ",                               \
                     (unsigned long long)campaign_seed, campaign_where, __LINE__);       \
        (void)printf(__VA_ARGS__);                                                       \
        (void)printf(" (kept: %s)\n", campaign_folder);                                  \
        (void)fflush(stdout);                                                            \
        _exit(1);                                                                        \
    } while (0)

#define OK(call)                                                                         \
    do {                                                                                 \
        int rc_ = (call);                                                                \
        if (rc_ < 0) {                                                                   \
            BREACH("%s: %d, %s: %s", #call, rc_, error.field, error.message);            \
        }                                                                                \
    } while (0)

/* splitmix64: a stream of its own for each state. */
static inline uint64_t
rnd(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0 to n - 1 */
static inline int
rnd_below(uint64_t *state, int n)
{
    return (int)(rnd(state) % (unsigned)n);
}

static inline void
nap_us(int64_t us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    (void)nanosleep(&t, NULL);
}

static inline void
begin_campaign(const char *seed)
{
    campaign_seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    (void)snprintf(campaign_folder, sizeof campaign_folder, "/tmp/errand-camp-XXXXXX");
    if (!mkdtemp(campaign_folder) || setenv("ERRAND_HOME", campaign_folder, 1) != 0) {
        BREACH("no folder");
    }
    (void)unsetenv("ERRAND_SOCKET");
    (void)unsetenv("ERRAND_TASK_ID");
}

static inline int
campaign_remove(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

/* A zombie is not: nobody may come to take it away. */
static inline bool
is_alive(pid_t pid)
{
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f) {
        return false;
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    (void)fclose(f);
    const char *end = strrchr(text, ')');
    return end && end[1] && end[2] != 'Z' && end[2] != 'X';
}

/* Ends the daemon that the folder may have, and removes it. */
static inline void
end_campaign(void)
{
    char path[96], text[32] = "";
    (void)snprintf(path, sizeof path, "%s/tasks.db.lock", campaign_folder);
    FILE *f = fopen(path, "re");
    if (f) {
        pid_t pid = fgets(text, sizeof text, f) ? atoi(text) : 0;
        (void)fclose(f);
        if (pid > 0 && pid != getpid()) {
            (void)kill(pid, SIGQUIT);
            while (is_alive(pid)) {
                nap_us(10000);
            }
        }
    }
    (void)nftw(campaign_folder, campaign_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int
count_entries(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;
    while (d && readdir(d)) {
        n++;
    }
    if (d) {
        (void)closedir(d);
    }
    return n;
}

static inline int64_t
resident_kib(void)
{
    long long all = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%lld %lld", &all, &pages) != 2) {
        BREACH("no /proc/self/statm");
    }
    (void)fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

#endif
