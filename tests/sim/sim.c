/* SPDX-License-Identifier: MIT */
/* usage: sim SEED HOURS [MUTANT]
 * One campaign; prints what it did, and ends with 1 when something did not hold. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

static double
seconds(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
print_figures(int64_t hours, double took)
{
    const struct counters *n = &sim.n;
    printf("# seed %llu: %lld virtual hours in %.1f s: %lld tasks, %lld attempts, %lld "
           "changes; %lld completed, %lld failed, %lld cancelled by attempts, %lld tries "
           "again\n",
           (unsigned long long)sim.seed, (long long)hours, took, (long long)n->tasks,
           (long long)n->attempts, (long long)n->changes, (long long)n->completed,
           (long long)n->failed, (long long)n->cancelled, (long long)n->retries);
    printf("#   %lld restarts, %lld workers died, %lld links lost, %lld freezes, %lld "
           "clocks set, %lld suspends, %lld disk faults (%lld crossings refused), %lld "
           "late reports, %lld stops in place, %lld items\n",
           (long long)n->restarts, (long long)n->worker_deaths, (long long)n->links_lost,
           (long long)n->freezes, (long long)n->jumps, (long long)n->suspends,
           (long long)n->faults, (long long)n->failed_crossings,
           (long long)n->late_reports, (long long)n->stops, (long long)n->items);
    printf("#   %lld steps, %lld crossings, %lld checks when quiet, %lld of every task, "
           "%lld of the store's invariants, %lld times all came to its end; history "
           "%016llx\n",
           (long long)n->steps, (long long)n->crossings, (long long)n->checks,
           (long long)n->full_checks, (long long)n->verifies, (long long)n->calms,
           (unsigned long long)sim.hash);
}

int
main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: %s SEED HOURS [MUTANT]\n", argv[0]);
        return 2;
    }
    double began = seconds();
    int64_t hours = strtoll(argv[2], NULL, 10);
    const char *density = getenv("ERRAND_SIM_DENSITY");
    er_mutant = argc > 3 ? atoi(argv[3]) : 0;
    sim.seed = sim.rand = strtoull(argv[1], NULL, 10);
    sim.hash = 0xcbf29ce484222325u;
    sim.trace = getenv("ERRAND_SIM_TRACE") && *getenv("ERRAND_SIM_TRACE");
    sim.density = density ? atof(density) : 40.0;
    driver_begin();
    driver_run(hours);
    print_figures(hours, seconds() - began);
    return 0;
}
