/* SPDX-License-Identifier: MIT */
/* What the benchmark's programs share: a clock, quantiles, dying, reading and writing.
 * Each prints lines `NAME<TAB>VALUE` on stdout, which bench/run.py puts into its table.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DIE(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

/* Monotonic seconds; the same for all processes of the machine. */
static inline double
bench_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static inline int
bench_by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Prints NAME_p50 and NAME_p99 of n values in the given unit; sorts them. */
static inline void
bench_quantiles(const char *name, double *values, size_t n, double unit)
{
    qsort(values, n, sizeof *values, bench_by_value);
    printf("%s_p50\t%.4g\n%s_p99\t%.4g\n", name, values[n / 2] * unit, name,
           values[n * 99 / 100] * unit);
}

static inline void
bench_write(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k <= 0) {
            DIE("write: %s", strerror(errno));
        }
        p += k;
        n -= (size_t)k;
    }
}

#endif
