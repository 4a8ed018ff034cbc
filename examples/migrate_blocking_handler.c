/* SPDX-License-Identifier: MIT */
/* A program had a function that took its time and blocked who called it:
 *
 *     int make_report(const char *request, char **reply);
 *
 * It is registered as it is, and its callers call errand_call instead of it: within two
 * seconds they get the same bytes as before; beyond, the very same run of it goes on in
 * the background, and they have an id to show.
 *
 *   migrate_blocking_handler [URL]      memory: by default */
#include <errand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- as it was: not a line changed ---- */

static int
make_report(const char *request, char **reply)
{
    struct timespec nap = {.tv_nsec = 1000000};
    char text[256];
    if (strstr(request, "\"pages\":0")) {
        *reply = strdup("a report has at least one page");
        return 22;
    }
    for (int i = strstr(request, "\"slow\":true") ? 300 : 1; i > 0; i--) {
        (void)nanosleep(&nap, NULL);
    }
    (void)snprintf(text, sizeof text, "report for %s", request);
    *reply = strdup(text);
    return 0;
}

/* ---- what is new ---- */

static void
ask(errand *e, const char *request, int64_t budget_ms)
{
    errand_error error;
    struct errand_reply reply;
    struct errand_call_options options = ERRAND_INIT(errand_call_options);
    options.budget_ms = budget_ms;
    switch (errand_call(e, "report.make", request, &options, &reply, &error)) {
    case ERRAND_COMPLETED:
        printf("answer: %s\n", reply.result);
        break;
    case ERRAND_BACKGROUND:
        printf("takes longer; ");
        printf("%s in the background\n",
               errand_wait(e, reply.task, -1, &error) == ERRAND_COMPLETED ? "completed"
                                                                          : "failed");
        break;
    case ERRAND_FAILED:
        printf("failed\n");
        break;
    default:
        printf("refused: %s\n", error.message);
        return;
    }
    errand_reply_free(&reply);
}

int
main(int argc, char **argv)
{
    errand *e;
    errand_error error;
    struct errand_type type = ERRAND_INIT(errand_type);
    type.name = "report.make";
    type.description = "makes a report";
    if (errand_open(argc > 1 ? argv[1] : "memory:", NULL, &e, &error) != 0 ||
        errand_register_blocking(e, &type, make_report, &error) != 0) {
        fprintf(stderr, "migrate_blocking_handler: %s\n", error.message);
        return 1;
    }
    ask(e, "{\"pages\":3}", 30000);
    ask(e, "{\"pages\":9,\"slow\":true}", 20);
    ask(e, "{\"pages\":0}", 30000);
    errand_close(e);
    return 0;
}
