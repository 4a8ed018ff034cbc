/* SPDX-License-Identifier: MIT */
/* Happy path: sleep to the end of the step, checkpoint, progress, the next one.
 *
 * Failure modes: asked to stop, it leaves what it has waited so far, to the millisecond.
 * A checkpoint that is not one of ours (another definition had the name before) counts as
 * none. */
#include "types/wait.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

#define FOR_MAX 1e10 /* seconds: three hundred years */

static int64_t
now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What an earlier attempt has waited, at most `total`. */
static int64_t
waited_before(const errand_attempt *a, int64_t total)
{
    const char *text = errand_checkpoint_get(a);
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    int64_t ms = json_integer_value(json_object_get(o, "waited_ms"));
    json_decref(o);
    return ms < 0 ? 0 : ms < total ? ms : total;
}

static void
keep(errand_attempt *a, int64_t ms)
{
    char text[48];
    (void)snprintf(text, sizeof text, "{\"waited_ms\":%lld}", (long long)ms);
    (void)errand_checkpoint(a, text);
}

/* Sleeps from `done` to `until`: how far it has come. */
static int64_t
sleep_until(errand_attempt *a, int64_t done, int64_t until)
{
    int64_t begin = now_ms();
    if (errand_sleep(a, until - done) == 0) {
        return until;
    }
    int64_t slept = now_ms() - begin;
    return slept < until - done ? done + slept : until;
}

static int
run(errand_attempt *a, void *ctx)
{
    (void)ctx;
    double s = errand_arg_number(a, "for", 0.0);
    int64_t total = (int64_t)((s < FOR_MAX ? s : FOR_MAX) * 1000.0 + 0.5);
    int64_t steps = errand_arg_integer(a, "steps", 1);
    int64_t done = waited_before(a, total);
    int64_t step = total > 0 ? (int64_t)((double)done / (double)total * (double)steps)
                             : steps; /* those that are over */
    errand_progress_to(a, step, steps, NULL);
    while (step < steps) {
        int64_t end = step + 1 == steps ? total : total * (step + 1) / steps;
        if (end > done) {
            done = sleep_until(a, done, end);
        }
        if (errand_should_stop(a)) {
            keep(a, done);
            return ERRAND_STOPPED;
        }
        step++;
        keep(a, done);
        errand_progress_to(a, step, steps, NULL);
    }
    return 0;
}

void
er_wait_type(struct errand_type *t)
{
    static const struct errand_param params[] = {
        {.name = "for", .kind = ERRAND_PARAM_DURATION, .required = 1, .help = "how long"},
        {.name = "steps",
         .kind = ERRAND_PARAM_INTEGER,
         .def = "10",
         .has_min = 1,
         .min = 1,
         .has_max = 1,
         .max = 10000,
         .help = "how often it tells its progress"},
    };
    t->name = "wait";
    t->description = "waits, and tells how far it is";
    t->params = params;
    t->n_params = sizeof params / sizeof *params;
    t->handler = run;
    t->timeout_ms = -1;
    t->idempotent = 1;
}
