/* SPDX-License-Identifier: MIT */
/* The event bus: who does the work does not know who listens.
 *
 * One subscriber has a thread of its own and hears how tasks of one correlation fare; one
 * is asked (pull), and takes the program's own topic; a third remembers in the store how
 * far it has got (a cursor), and so misses nothing while it is away.
 *
 *   subscribe [URL]      memory: by default */
#include <errand.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
import_pages(errand_attempt *a, void *ctx)
{
    errand *e = ctx;
    errand_error error;
    int64_t pages = errand_arg_integer(a, "pages", 1);
    for (int64_t i = 1; i <= pages; i++) {
        char page[40];
        int n = snprintf(page, sizeof page, "{\"page\":%d}", (int)i);
        errand_event topic = {.name = "import.page",
                              .kind = ERRAND_SAMPLE,
                              .task = errand_attempt_task(a),
                              .data = page,
                              .len = (size_t)n};
        (void)errand_publish(e, &topic, &error);
        errand_progress_to(a, i, pages, NULL);
    }
    return 0;
}

/* On a thread of its own. */
static void
on_event(void *ctx, errand_subscription *sub, const errand_event *event)
{
    sem_t *final = ctx;
    (void)sub;
    if (event->kind == ERRAND_FACT) {
        printf("fact %s\n", event->name);
        fflush(stdout);
        if (strcmp(event->name, "task-completed") == 0) {
            sem_post(final);
        }
    }
}

static void
die(const char *what, const errand_error *error)
{
    fprintf(stderr, "subscribe: %s: %s\n", what, error->message);
    exit(1);
}

int
main(int argc, char **argv)
{
    errand *e;
    errand_error error;
    errand_subscription *thread, *pull, *durable;
    const errand_event *event;
    int64_t id;
    int pages = 0;
    sem_t final; /* the thread's subscriber has heard of the task's end */
    struct errand_type type = ERRAND_INIT(errand_type);
    struct errand_submit_options submit = ERRAND_INIT(errand_submit_options);
    struct errand_subscribe_options by_thread = ERRAND_INIT(errand_subscribe_options);
    struct errand_subscribe_options by_pull = ERRAND_INIT(errand_subscribe_options);
    struct errand_subscribe_options by_cursor = ERRAND_INIT(errand_subscribe_options);

    if (errand_open(argc > 1 ? argv[1] : "memory:", NULL, &e, &error) != 0) {
        die("open", &error);
    }
    type.name = "import.run";
    type.description = "imports some pages";
    type.handler = import_pages;
    type.ctx = e;
    if (errand_register(e, &type, &error) != 0) {
        die("register", &error);
    }

    sem_init(&final, 0, 0);
    by_thread.correlation = "night-run";
    by_thread.kinds = ERRAND_FACT;
    by_pull.prefix = "import.";
    by_pull.delivery = ERRAND_PULL;
    if (errand_subscribe(e, &by_thread, on_event, &final, &thread, &error) != 0 ||
        errand_subscribe(e, &by_pull, NULL, NULL, &pull, &error) != 0) {
        die("subscribe", &error);
    }

    submit.correlation = "night-run";
    if (errand_submit(e, "import.run", "{\"pages\":3}", &submit, &id, &error) != 0 ||
        errand_wait(e, id, -1, &error) != ERRAND_COMPLETED) {
        die("submit", &error);
    }

    /* The pages: a descriptor for poll, then one event at a time. A slow reader may find
     * several of them coalesced into the latest. */
    struct pollfd p = {.fd = errand_subscription_fd(pull), .events = POLLIN};
    char last[64] = "";
    while (strcmp(last, "{\"page\":3}") != 0 && poll(&p, 1, 60000) == 1) {
        while (errand_pull(pull, &event) == 1) {
            (void)snprintf(last, sizeof last, "%.*s", (int)event->len,
                           (const char *)event->data);
            pages++;
        }
    }
    printf("last page %s\n", last);

    /* A fact of our own: durable, numbered, there for those who come later. */
    errand_event done = {.name = "import.done",
                         .kind = ERRAND_FACT,
                         .task = id,
                         .data = "{\"ok\":true}",
                         .len = 11};
    if (errand_publish(e, &done, &error) != 0) {
        die("publish", &error);
    }
    by_cursor.names = (const char *const[]){"import.done", NULL};
    by_cursor.delivery = ERRAND_PULL;
    by_cursor.cursor = "reporting";
    by_cursor.resume = 1; /* a new cursor begins with the oldest fact */
    if (errand_subscribe(e, &by_cursor, NULL, NULL, &durable, &error) != 0) {
        die("subscribe with a cursor", &error);
    }
    p.fd = errand_subscription_fd(durable);
    while (poll(&p, 1, 60000) == 1 && errand_pull(durable, &event) != 1) {
    }
    printf("durable %s %.*s\n", event->name, (int)event->len, (const char *)event->data);

    /* Whoever leaves hears no more, also of what has happened already: events come to a
     * subscriber on its own thread, in its own time. */
    while (sem_wait(&final) != 0) { /* a signal came */
    }
    errand_unsubscribe(durable);
    errand_unsubscribe(pull);
    errand_unsubscribe(thread); /* its callback is not running any more */
    errand_close(e);
    return pages > 0 ? 0 : 1;
}
