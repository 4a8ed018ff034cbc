/* SPDX-License-Identifier: MIT */
/* A program that serves types, for test_worker_main.py. */
#include <errand.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A checkpoint of n bytes. */
static void
leave_long(errand_attempt *a, size_t n)
{
    char *json = malloc(n + 1);
    if (json) {
        memset(json, 'x', n);
        json[0] = json[n - 1] = '"';
        json[n] = '\0';
        (void)errand_outputf(a, "checkpoint: %d\n", errand_checkpoint(a, json));
    }
    free(json);
}

/* Says all there is to say. */
static int
talk(errand_attempt *a, void *ctx)
{
    (void)ctx;
    int64_t n = errand_arg_integer(a, "n", -1);
    (void)printf("printed\n");
    (void)errand_outputf(a, "n is %lld\n", (long long)n);
    (void)errand_item(a, "one", 0);
    (void)errand_item(a, "two", n != 6 && n != 60000);
    (void)errand_checkpoint(a, "{\"at\": 7}");
    if (n > 1000) {
        leave_long(a, (size_t)n);
    }
    for (int64_t i = 1; i <= 100000; i++) {
        errand_progress_to(a, i, 100000, "at \"it\"");
    }
    if (errand_checkpoint_get(a)) {
        (void)errand_outputf(a, "before: %s\n", errand_checkpoint_get(a));
    }
    if (errand_item_is_done(a, "zero")) {
        (void)errand_outputf(a, "zero is done\n");
    }
    return errand_result_set(a, errand_attempt_args(a), strlen(errand_attempt_args(a)));
}

/* A result that has any bytes. */
static int
large(errand_attempt *a, void *ctx)
{
    size_t n = (size_t)errand_arg_integer(a, "n", 0);
    char *bytes = malloc(n + 1);
    (void)ctx;
    if (!bytes) {
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (char)(i % 251);
    }
    int rc = errand_result_set(a, bytes, n);
    free(bytes);
    return rc;
}

static int
misbehave(errand_attempt *a, void *ctx)
{
    (void)ctx;
    if (errand_arg_integer(a, "n", 0) == 1) {
        return errand_fail(a, ERRAND_USER_ACTIONABLE, "no-disk", "it is full",
                           "make room");
    }
    if (errand_arg_integer(a, "n", 0) == 2) {
        return errand_rate_limited(a, 30000);
    }
    return 9;
}

/* Waits to be stopped, and says why it was. */
static int
linger(errand_attempt *a, void *ctx)
{
    (void)ctx;
    errand_progress_to(a, 1, 2, "waiting");
    int why = errand_sleep(a, 600000);
    (void)errand_outputf(a, "stop %d\n", why);
    return ERRAND_STOPPED;
}

static int
after(errand_attempt *a, void *ctx)
{
    (void)ctx;
    const char *text = errand_after_results(a);
    return text ? errand_result_set(a, text, strlen(text)) : 1;
}

/* Takes any object. */
static int
talk_freely(errand_attempt *a, void *ctx)
{
    (void)ctx;
    const char *args = errand_attempt_args(a);
    return errand_result_set(a, args, strlen(args));
}

int
main(int argc, char **argv)
{
    static const struct errand_param params[] = {
        {.name = "n", .kind = ERRAND_PARAM_INTEGER, .def = "3", .help = "a number"},
        {.name = "wait", .kind = ERRAND_PARAM_DURATION, .help = "a span"},
    };
    struct errand_type types[7];
    static const struct {
        const char *name;
        errand_handler_fn *handler;
    } all[] = {{"test.talk", talk},           {"test.large", large},
               {"test.misbehave", misbehave}, {"test.linger", linger},
               {"test.none", NULL},           {"test.free", talk_freely},
               {"test.after", after}};
    for (size_t i = 0; i < 7; i++) {
        types[i] = (struct errand_type)ERRAND_INIT(errand_type);
        types[i].name = all[i].name;
        types[i].description = "for a test";
        if (all[i].handler != talk_freely) {
            types[i].params = params;
            types[i].n_params = 2;
        }
        types[i].handler = all[i].handler;
    }
    if (argc > 1 && strcmp(argv[1], "bad") == 0) {
        static char word[] = "types";
        types[0].description = NULL;
        argv[1] = word;
    }
    return errand_worker_main(argc, argv, types, 7);
}
