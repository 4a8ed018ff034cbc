/* SPDX-License-Identifier: MIT */
/* What the engine asks of the machine, answered by the simulated world: time, chance, the
 * processes and logs that a dead worker left, space on the disk. Linked in place of the
 * real functions (ld --wrap), so the sources of the engine are the ones that ship. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/proctree.h"
#include "base/rand.h"
#include "sim.h"
#include "wire/outlog.h"

struct sim sim;
int er_mutant;

/* ---- chance and time ---- */

uint64_t
rnd(uint64_t n)
{
    return n > 1 ? er_rand_next(&sim.rand) % n : 0;
}

bool
chance(int percent)
{
    return rnd(100) < (uint64_t)percent;
}

bool
one_in(uint64_t n)
{
    return rnd(n) == 0;
}

/* Exponential by halving: how many fair coins fall heads in a row, and a rest. */
er_usec
rnd_span(er_usec mean)
{
    er_usec span = 0, half = mean * 7 / 10;
    for (int i = 0; i < 20 && chance(50); i++) {
        span += half;
    }
    return span + (er_usec)rnd((uint64_t)half + 1) + 1;
}

er_usec
wall(void)
{
    return sim.boot + sim.offset;
}

static er_usec
read_wall(void *ctx)
{
    (void)ctx;
    return wall();
}

static er_usec
read_mono(void *ctx)
{
    (void)ctx;
    return sim.mono;
}

static er_usec
read_boot(void *ctx)
{
    (void)ctx;
    return sim.boot;
}

void __wrap_er_rand_bytes(void *p, size_t n);
void
__wrap_er_rand_bytes(void *p, size_t n)
{
    unsigned char *at = p;
    for (size_t i = 0; i < n; i++) {
        at[i] = (unsigned char)rnd(256);
    }
}

void
world_init(void)
{
    sim.clock = (struct er_clock){read_wall, read_mono, read_boot, NULL};
    sim.boot = sim.mono = 1000 * SEC;
    sim.offset = INT64_C(1767225600) * SEC;
}

/* ---- history ---- */

#define LAST 48 /* lines of the history that a failure shows */
static char last[LAST][200];
static int64_t n_last;

static void
keep_line(const char *text)
{
    (void)snprintf(last[n_last++ % LAST], sizeof last[0], "%s", text);
}

void
sim_note(const char *fmt, ...)
{
    char text[200];
    va_list args;
    int n = snprintf(text, sizeof text, "%lld %.3f ", (long long)sim.n.steps,
                     (double)sim.mono / 1e6);
    va_start(args, fmt);
    (void)vsnprintf(text + n, sizeof text - (size_t)n, fmt, args);
    va_end(args);
    for (const char *p = text; *p; p++) { /* FNV-1a */
        sim.hash = (sim.hash ^ (unsigned char)*p) * 0x100000001b3u;
    }
    keep_line(text);
    if (sim.trace) {
        (void)fprintf(stderr, "%s\n", text);
    }
}

void
sim_fail(const char *fmt, ...)
{
    va_list args;
    for (int64_t i = n_last > LAST ? n_last - LAST : 0; i < n_last; i++) {
        printf("#   %s\n", last[i % LAST]);
    }
    printf("# seed %llu, step %lld, virtual hour %.3f: ", (unsigned long long)sim.seed,
           (long long)sim.n.steps, (double)(sim.mono - 1000 * SEC) / (double)HOUR);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n# again: ./dev sim %llu (ERRAND_SIM_TRACE=1 shows every step)\n",
           (unsigned long long)sim.seed);
    (void)fflush(stdout);
    exit(1);
}

void __wrap_er_log(enum er_log_level level, const char *src, const char *fmt, ...);
void
__wrap_er_log(enum er_log_level level, const char *src, const char *fmt, ...)
{
    (void)level;
    if (sim.trace) {
        va_list args;
        (void)fprintf(stderr, "        log %s: ", src);
        va_start(args, fmt);
        (void)vfprintf(stderr, fmt, args);
        va_end(args);
        (void)fputc('\n', stderr);
    }
}

/* ---- attempts ---- */

struct try *
try_find(er_task_id task, int attempt, int64_t session)
{
    for (int i = 0; i < sim.n_tries; i++) {
        struct try *t = &sim.tries[i];
        if (t->phase != TRY_FREE && t->task == task && t->attempt == attempt &&
            t->session == session) {
            return t;
        }
    }
    return NULL;
}

struct try *
try_new(void)
{
    int i = 0;
    while (i < sim.n_tries && sim.tries[i].phase != TRY_FREE) {
        i++;
    }
    if (i == MAX_TRIES) {
        sim_fail("more than %d attempts at once", MAX_TRIES);
    }
    sim.n_tries = i == sim.n_tries ? i + 1 : sim.n_tries;
    sim.tries[i] =
        (struct try){.at = ER_NEVER, .told_at = ER_NEVER, .told_last = ER_NEVER};
    return &sim.tries[i];
}

void
try_free(struct try *t)
{
    t->phase = TRY_FREE;
    while (sim.n_tries > 0 && sim.tries[sim.n_tries - 1].phase == TRY_FREE) {
        sim.n_tries--;
    }
}

bool
world_tree_lives(er_task_id task)
{
    for (int i = 0; i < sim.n_tries; i++) {
        if (sim.tries[i].phase != TRY_FREE && sim.tries[i].task == task &&
            sim.tries[i].tree) {
            return true;
        }
    }
    return false;
}

static void
add_end(const struct try *t, struct er_buf *b)
{
    static const char *const classes[] = {"retryable", "fatal", "user-actionable"};
    switch (t->end) {
    case END_NONE:
        break;
    case END_EXIT:
        er_buf_addf(b, ",\"exit_code\":%d", t->code);
        break;
    case END_SIGNAL:
        er_buf_addf(b, ",\"exit_code\":null,\"signal\":9");
        break;
    case END_ERROR:
        er_buf_addf(b,
                    ",\"exit_code\":%d,\"error\":{\"class\":\"%s\",\"code\":\"mine\","
                    "\"message\":\"it did not go well\"}",
                    t->attempt % 2, classes[t->code]);
        break;
    case END_TIMEOUT:
        er_buf_addf(b, ",\"exit_code\":null,\"signal\":15,\"why\":\"timeout\"");
        break;
    case END_CANCEL:
        er_buf_addf(b, ",\"exit_code\":null,\"signal\":15,\"why\":\"cancel\"");
        break;
    case END_REQUEUE:
        er_buf_addf(b, ",\"exit_code\":null,\"signal\":15,\"why\":\"%s\"",
                    t->pause_told ? "pause" : "requeue");
        break;
    case END_LIMITED:
        er_buf_addf(b, ",\"exit_code\":1,\"retry_after_s\":%.3f",
                    (double)t->retry_after / 1e6);
        break;
    case END_UNSPAWNED:
        er_buf_addf(b, ",\"spawned\":false,\"why\":\"%s\"",
                    t->cancel_told ? "cancel" : "requeue");
        break;
    case END_NOT_FOUND:
        er_buf_addf(b, ",\"spawned\":false,\"exit_code\":127,\"error\":{\"class\":"
                       "\"user-actionable\",\"code\":\"not-found\",\"message\":\"no "
                       "such command\"}");
        break;
    }
}

char *
try_report(const struct try *t)
{
    struct er_buf b;
    char began[ER_RFC3339_SIZE], ended[ER_RFC3339_SIZE];
    er_time_format(t->started_at, began);
    er_time_format(t->ended_at, ended);
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"task\":%lld,\"attempt\":%d", (long long)t->task, t->attempt);
    if (t->log) {
        er_buf_addf(&b, ",\"started_at\":\"%s\",\"finished_at\":\"%s\"", began, ended);
    }
    add_end(t, &b);
    er_buf_add_char(&b, '}');
    er_buf_add_char(&b, '\0');
    return b.data;
}

/* ---- what a dead worker left ---- */

int __wrap_er_proctree_kill(const char *prefix, pid_t root, int tries,
                            struct er_proctree *left);
int
__wrap_er_proctree_kill(const char *prefix, pid_t root, int tries,
                        struct er_proctree *left)
{
    (void)root;
    (void)tries;
    (void)left;
    if (!sim.tearing &&
        one_in(8)) { /* something sleeps in the kernel, or /proc is shut */
        return one_in(2) ? ER_EIO : 1;
    }
    for (int i = 0; i < sim.n_tries && !sim.tearing; i++) {
        struct try *t = &sim.tries[i];
        if (t->phase != TRY_FREE && strcmp(t->token, prefix) == 0) {
            t->tree = false;
            t->at = ER_NEVER;
        }
    }
    return 0;
}

int __wrap_er_outlog_exit(const char *logs, er_task_id task, int attempt,
                          struct er_buf *b, int *out_pid);
int
__wrap_er_outlog_exit(const char *logs, er_task_id task, int attempt, struct er_buf *b,
                      int *out_pid)
{
    (void)logs;
    if (out_pid) {
        *out_pid = 0;
    }
    for (int i = 0; i < sim.n_tries; i++) {
        struct try *t = &sim.tries[i];
        if (t->phase == TRY_FREE || t->task != task || t->attempt != attempt || !t->log ||
            t->handler) {
            continue;
        }
        if (t->exit_frame) {
            char *json = try_report(t);
            er_buf_add_str(b, json);
            er_free(json);
            t->told_last = wall();
        }
        return t->exit_frame;
    }
    return ER_ENOTFOUND;
}

void __wrap_er_outlog_delete(const char *logs, er_task_id task, int attempt);
void
__wrap_er_outlog_delete(const char *logs, er_task_id task, int attempt)
{
    (void)logs;
    for (int i = 0; i < sim.n_tries && !sim.tearing; i++) {
        const struct try *t = &sim.tries[i];
        if (t->phase != TRY_FREE && t->task == task && t->attempt == attempt && t->tree) {
            sim_fail("the log of task %lld, attempt %d is deleted while it runs",
                     (long long)task, attempt);
        }
    }
}

/* ---- the disk, where it is not the store's file ---- */

int __wrap_statvfs(const char *path, struct statvfs *out);
int
__wrap_statvfs(const char *path, struct statvfs *out)
{
    (void)path;
    *out = (struct statvfs){.f_frsize = 4096, .f_bavail = sim.disk_full ? 16 : 1 << 20};
    return 0;
}

int __wrap_posix_fallocate(int fd, off_t at, off_t n);
int
__wrap_posix_fallocate(int fd, off_t at, off_t n)
{
    (void)fd;
    (void)at;
    (void)n;
    return sim.disk_full ? 28 /* ENOSPC */ : 0;
}
