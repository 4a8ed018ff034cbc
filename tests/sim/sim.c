/* SPDX-License-Identifier: MIT */
/* sim SEED HOURS [MUTANT]      one campaign
 * sim --seeds FROM TO HOURS    as a test (TAP): one campaign a seed
 * sim --twice SEED HOURS       as a test: the same seed has the same history
 * sim --mutants HOURS          as a test: every rule that is broken on purpose is found
 *
 * Each campaign is a process of its own, since engine and model are its globals. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static double
seconds(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
print_figures(const struct counters *n, double hours, double took)
{
    printf("# %.0f virtual hours in %.1f s: %lld tasks, %lld attempts, %lld changes; "
           "%lld completed, %lld failed, %lld cancelled by their end, %lld tries again\n",
           hours, took, (long long)n->tasks, (long long)n->attempts,
           (long long)n->changes, (long long)n->completed, (long long)n->failed,
           (long long)n->cancelled, (long long)n->retries);
    printf("# %lld restarts, %lld workers died, %lld links lost, %lld workers frozen, "
           "%lld clocks set, %lld suspends, %lld disk faults (%lld crossings refused)\n",
           (long long)n->restarts, (long long)n->worker_deaths, (long long)n->links_lost,
           (long long)n->freezes, (long long)n->jumps, (long long)n->suspends,
           (long long)n->faults, (long long)n->failed_crossings);
    printf("# %lld late reports, %lld stops in place, %lld items; %lld steps, %lld "
           "crossings\n",
           (long long)n->late_reports, (long long)n->stops, (long long)n->items,
           (long long)n->steps, (long long)n->crossings);
    printf("# %lld checks when all was quiet, %lld of every task, %lld of the store's "
           "invariants, %lld times all came to its end\n",
           (long long)n->checks, (long long)n->full_checks, (long long)n->verifies,
           (long long)n->calms);
}

static void
campaign(uint64_t seed, int64_t hours, int mutant)
{
    const char *density = getenv("ERRAND_SIM_DENSITY");
    const char *trace = getenv("ERRAND_SIM_TRACE");
    er_mutant = mutant;
    sim.seed = sim.rand = seed;
    sim.hash = 0xcbf29ce484222325u;
    sim.trace = trace && *trace;
    sim.density = density ? atof(density) : 20.0;
    driver_begin();
    driver_run(hours);
}

/* ---- campaigns as processes ---- */

struct outcome {
    bool ended; /* it came to its end: nothing was found */
    uint64_t hash;
    double hours;
    struct counters n;
    char found[600]; /* what was found: the line with the seed */
};

static void
run_child(int fd, uint64_t seed, int64_t hours, int mutant)
{
    (void)dup2(fd, 1);
    campaign(seed, hours, mutant);
    struct outcome o = {.ended = true,
                        .hash = sim.hash,
                        .hours = (double)(sim.mono - 1000 * SEC) / (double)HOUR,
                        .n = sim.n};
    (void)fflush(stdout);
    exit(write(fd, &o, sizeof o) == (ssize_t)sizeof o ? 0 : 2);
}

/* Reads all that a child writes: its outcome, or the words of what it found. */
static void
take_words(int fd, struct outcome *o, bool show)
{
    static char text[200000];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0) {
        n += (size_t)got;
    }
    text[n] = '\0';
    memset(o, 0, sizeof *o);
    if (n == sizeof *o) {
        memcpy(o, text, sizeof *o);
        return;
    }
    const char *line = strstr(text, "# seed ");
    (void)snprintf(o->found, sizeof o->found, "%.*s",
                   line ? (int)strcspn(line, "\n") : 20, line ? line : "it died");
    if (show) {
        printf("%s", text);
    }
}

static struct outcome
run(uint64_t seed, int64_t hours, int mutant, bool show)
{
    struct outcome o;
    int fds[2], status = 0;
    (void)fflush(stdout);
    if (pipe(fds) != 0) {
        abort();
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[0]);
        run_child(fds[1], seed, hours, mutant);
    }
    (void)close(fds[1]);
    take_words(fds[0], &o, show);
    (void)close(fds[0]);
    (void)waitpid(pid, &status, 0);
    o.ended = o.ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return o;
}

static void
add(struct counters *sum, const struct counters *n)
{
    int64_t *to = (int64_t *)sum;
    const int64_t *from = (const int64_t *)n;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) {
        to[i] += from[i];
    }
}

static int
test_seeds(uint64_t from, uint64_t to, int64_t hours)
{
    struct counters sum = {0};
    double began = seconds(), all = 0.0;
    int failed = 0;
    printf("1..%d\n", (int)(to - from + 1));
    for (uint64_t seed = from; seed <= to; seed++) {
        struct outcome o = run(seed, hours, 0, true);
        printf("%sok %d - seed %llu\n", o.ended ? "" : "not ", (int)(seed - from + 1),
               (unsigned long long)seed);
        failed += !o.ended;
        all += o.hours;
        add(&sum, &o.n);
    }
    print_figures(&sum, all, seconds() - began);
    return failed > 0;
}

static int
test_twice(uint64_t seed, int64_t hours)
{
    struct outcome one = run(seed, hours, 0, true), two = run(seed, hours, 0, true);
    bool same = one.ended && two.ended && one.hash == two.hash &&
                memcmp(&one.n, &two.n, sizeof one.n) == 0;
    printf("1..1\n%sok 1 - the same seed has the same history (%016llx, %016llx)\n",
           same ? "" : "not ", (unsigned long long)one.hash,
           (unsigned long long)two.hash);
    return !same;
}

static const char *const mutants[] = {
    "a loss counts as a failure",
    "a queue that was full stays closed",
    "any end releases a dependent",
    "anybody's report of an attempt counts",
    "a backoff is doubled once too often",
    "a paused queue gives work",
    "what is due is looked for on a clock that stands in a suspend",
    "a claim that the disk refused forgets its task",
    "a task's second place is forgotten",
    "a failed commit is answered like a good one",
    "a clock that was set is not noticed",
    "a rate limit's pause never ends",
    "what a dead worker left goes on running",
    "a handler that died has never begun",
    "a seat that nobody takes stays taken",
    "a pause that was asked for is forgotten with the daemon",
};
#define N_MUTANTS ((int)(sizeof mutants / sizeof mutants[0]))

/* Each within so many virtual hours, of one seed after the other. */
static int
test_mutants(int64_t most_hours)
{
    const int64_t each = 150;
    int missed = 0;
    printf("1..%d\n", N_MUTANTS);
    for (int m = 1; m <= N_MUTANTS; m++) {
        struct outcome o = {.ended = true};
        int64_t seed = 0;
        while (o.ended && seed * each < most_hours) {
            o = run((uint64_t)++seed, each, m, false);
        }
        printf("%sok %d - found: %s\n%s%s", o.ended ? "not " : "", m, mutants[m - 1],
               o.found, o.ended ? "" : "\n");
        missed += o.ended;
    }
    return missed > 0;
}

int
main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--seeds") == 0) {
        return test_seeds(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
                          strtoll(argv[4], NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "--twice") == 0) {
        return test_twice(strtoull(argv[2], NULL, 10), strtoll(argv[3], NULL, 10));
    }
    if (argc == 3 && strcmp(argv[1], "--mutants") == 0) {
        return test_mutants(strtoll(argv[2], NULL, 10));
    }
    if (argc < 3 || argc > 4 || argv[1][0] == '-') {
        (void)fprintf(stderr, "usage: %s SEED HOURS [MUTANT]\n", argv[0]);
        return 2;
    }
    double began = seconds();
    campaign(strtoull(argv[1], NULL, 10), strtoll(argv[2], NULL, 10),
             argc > 3 ? atoi(argv[3]) : 0);
    print_figures(&sim.n, (double)(sim.mono - 1000 * SEC) / (double)HOUR,
                  seconds() - began);
    printf("# history %016llx\n", (unsigned long long)sim.hash);
    return 0;
}
