/* SPDX-License-Identifier: MIT */
/* A type of its own in a process of its own: finds the prime numbers below a bound, piece
 * by piece. It says how far it is, leaves a checkpoint after each piece, and when it is
 * paused, killed, or its machine goes down, the next attempt goes on behind the last
 * piece.
 *
 *   worker try math.primes below=100000      here and now, without a daemon
 *   worker register                          tells the daemon; from then on:
 *   errand submit math.primes below=50000000
 *
 * Build: cc worker.c $(pkg-config --cflags --libs errand) */
#include <errand.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 10000

static int
is_prime(int64_t n)
{
    for (int64_t d = 2; d * d <= n; d++) {
        if (n % d == 0) {
            return 0;
        }
    }
    return n >= 2;
}

static int
find_primes(errand_attempt *a, void *ctx)
{
    int64_t below = errand_arg_integer(a, "below", 0), from = 0, found = 0;
    const char *left = errand_checkpoint_get(a);
    char text[100];
    (void)ctx;
    if (left &&
        sscanf(left, "{\"from\":%" SCNd64 ",\"found\":%" SCNd64, &from, &found) != 2) {
        return errand_fail(a, ERRAND_FATAL, "bad-checkpoint",
                           "the checkpoint is not one of this program's", NULL);
    }
    if (left) {
        errand_outputf(a, "going on at %" PRId64 "\n", from);
    }
    while (from < below) {
        int64_t to = from + PIECE < below ? from + PIECE : below;
        for (int64_t n = from; n < to; n++) {
            found += is_prime(n);
        }
        from = to;
        (void)snprintf(text, sizeof text, "{\"from\":%" PRId64 ",\"found\":%" PRId64 "}",
                       from, found);
        errand_checkpoint(a, text);
        errand_progress_to(a, from, below, NULL);
        if (errand_should_stop(a)) {
            return ERRAND_STOPPED;
        }
    }
    int n = snprintf(text, sizeof text, "{\"primes\":%" PRId64 "}", found);
    return errand_result_set(a, text, (size_t)n);
}

int
main(int argc, char **argv)
{
    static const struct errand_param params[] = {
        {.name = "below",
         .kind = ERRAND_PARAM_INTEGER,
         .required = 1,
         .has_min = 1,
         .min = 0,
         .has_max = 1,
         .max = 1e12,
         .help = "count the primes below this"},
    };
    struct errand_type type = ERRAND_INIT(errand_type);
    type.name = "math.primes";
    type.description = "counts prime numbers";
    type.params = params;
    type.n_params = 1;
    type.handler = find_primes;
    type.idempotent = 1;
    type.heartbeat_ms = 60000;
    return errand_worker_main(argc, argv, &type, 1);
}
