/* SPDX-License-Identifier: MIT */
/* usage: bench_lib embedded FOLDER N | call N
 *
 * The library with the engine inside, by its public header alone. Prints
 * `NAME<TAB>VALUE`.
 *
 * embedded: a store in FOLDER (on its disk, each commit synced), and handlers that do
 * nothing, up to 64 at once.
 *   drain_per_s     N tasks that are queued, from the moment on which they may run to the
 *                   moment at which all are completed
 *   flight_per_s    submitted and completed, by 8 threads that keep 50 in flight each
 *   blocking_per_s  the same by 8 threads that submit one and wait for it
 * call: short calls with `memory:`, one after the other, and beside them a round trip
 * over
 *   uv_async between two threads: call_us_p50, call_us_p99, uv_async_us_p50, _p99 */
#include <errand.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <uv.h>

#include "bench.h"

#define THREADS   8
#define IN_FLIGHT 50
#define BATCH     1000
#define HANDLERS  64 /* at once: what they do together costs one commit */

static void
must(int code, const errand_error *error, const char *what)
{
    if (code < 0) {
        DIE("%s: %s", what, error->message);
    }
}

static _Atomic long handled;

static int
do_nothing(errand_attempt *a, void *ctx)
{
    (void)a;
    (void)ctx;
    atomic_fetch_add(&handled, 1);
    return 0;
}

static errand *
open_store(const char *url, int handlers)
{
    struct errand_options options = ERRAND_INIT(errand_options);
    struct errand_type type = ERRAND_INIT(errand_type);
    errand *e;
    errand_error error;
    options.no_commands = 1;
    options.handler_threads = handlers;
    must(errand_open(url, &options, &e, &error), &error, "open");
    type.name = "nothing";
    type.description = "does nothing";
    type.handler = do_nothing;
    must(errand_register(e, &type, &error), &error, "register");
    return e;
}

static void
pause_queue(errand *e, int paused)
{
    const char *body = paused ? "{\"paused\":true}" : "{\"paused\":false}";
    errand_error error;
    char *answer;
    size_t n;
    int status = errand_request(e, "PUT", "/v1/queues/default", body, strlen(body),
                                &answer, &n, &error);
    must(status, &error, "queue");
    if (status >= 300) {
        DIE("queue: %d %s", status, answer);
    }
    errand_free(answer);
}

/* ---- drain ---- */

/* Returns the last id. */
static int64_t
submit_batches(errand *e, long n)
{
    static const char *documents[BATCH];
    static int64_t ids[BATCH];
    errand_error error;
    for (int i = 0; i < BATCH; i++) {
        documents[i] = "{\"type\":\"nothing\",\"args\":{}}";
    }
    for (long done = 0; done < n; done += BATCH) {
        must(errand_submit_many(e, documents, BATCH, 1, ids, NULL, &error), &error,
             "submit_many");
    }
    return ids[BATCH - 1];
}

static double
drain(errand *e, long n)
{
    errand_error error;
    long before = handled;
    pause_queue(e, 1);
    int64_t last = submit_batches(e, n);
    double began = bench_now();
    pause_queue(e, 0);
    while (handled - before < n) { /* what runs last need not be the last */
        struct timespec pause = {0, 200000};
        nanosleep(&pause, NULL);
    }
    for (int64_t id = last - 63; id <= last; id++) {
        must(errand_wait(e, id, -1, &error), &error, "wait");
    }
    return (double)n / (bench_now() - began);
}

/* ---- submit to completed ---- */

struct caller {
    pthread_t thread;
    errand *e;
    long n;
    sem_t room;
};

static void
on_reply(void *ctx, int code, const struct errand_reply *reply, const errand_error *error)
{
    struct caller *c = ctx;
    (void)reply;
    if (code != ERRAND_COMPLETED) {
        DIE("call: %d %s", code, error ? error->message : "");
    }
    sem_post(&c->room);
}

static void *
keep_in_flight(void *arg)
{
    struct caller *c = arg;
    struct errand_call_options options = ERRAND_INIT(errand_call_options);
    errand_error error;
    options.budget_ms = 60000;
    options.always_wait = 1;
    sem_init(&c->room, 0, IN_FLIGHT);
    for (long i = 0; i < c->n; i++) {
        sem_wait(&c->room);
        must(errand_call_async(c->e, "nothing", NULL, &options, on_reply, c, &error),
             &error, "call_async");
    }
    for (int i = 0; i < IN_FLIGHT; i++) {
        sem_wait(&c->room);
    }
    return NULL;
}

static void *
submit_and_wait(void *arg)
{
    struct caller *c = arg;
    errand_error error;
    for (long i = 0; i < c->n; i++) {
        int64_t id;
        must(errand_submit(c->e, "nothing", NULL, NULL, &id, &error), &error, "submit");
        if (errand_wait(c->e, id, -1, &error) != ERRAND_COMPLETED) {
            DIE("wait: %s", error.message);
        }
    }
    return NULL;
}

static double
by_threads(errand *e, long n, void *(*run)(void *))
{
    static struct caller all[THREADS];
    double began = bench_now();
    for (int i = 0; i < THREADS; i++) {
        all[i] = (struct caller){.e = e, .n = n / THREADS};
        pthread_create(&all[i].thread, NULL, run, &all[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(all[i].thread, NULL);
    }
    return (double)(n / THREADS * THREADS) / (bench_now() - began);
}

static void
embedded(const char *folder, long n)
{
    char url[4096];
    snprintf(url, sizeof url, "sqlite:%s/tasks.db", folder);
    errand *e = open_store(url, HANDLERS);
    printf("drain_per_s\t%.4g\n", drain(e, (n + BATCH - 1) / BATCH * BATCH));
    printf("flight_per_s\t%.4g\n", by_threads(e, n, keep_in_flight));
    printf("blocking_per_s\t%.4g\n", by_threads(e, n / 4, submit_and_wait));
    errand_close(e);
}

/* ---- a short call ---- */

static void
calls(size_t n)
{
    errand *e = open_store("memory:", 0);
    double *took = calloc(n, sizeof *took);
    errand_error error;
    for (size_t i = 0; i < n; i++) {
        struct errand_reply reply;
        double began = bench_now();
        int code = errand_call(e, "nothing", NULL, NULL, &reply, &error);
        took[i] = bench_now() - began;
        if (code != ERRAND_COMPLETED) {
            DIE("call: %d %s", code, error.message);
        }
        errand_reply_free(&reply);
    }
    bench_quantiles("call_us", took, n, 1e6);
    free(took);
    errand_close(e);
}

/* Two loops on two threads; what one is told it tells the other. */
struct side {
    uv_loop_t loop;
    uv_async_t told;
    struct side *other;
    double *took; /* of the side that measures; NULL = the other one */
    double began;
    size_t at, n;
};

static void
send_over(struct side *s)
{
    s->began = bench_now();
    uv_async_send(&s->other->told);
}

static void
on_told(uv_async_t *told)
{
    struct side *s = told->data;
    if (!s->took) {
        if (++s->at == s->n) {
            uv_close((uv_handle_t *)told, NULL);
        }
        uv_async_send(&s->other->told);
        return;
    }
    s->took[s->at++] = bench_now() - s->began;
    if (s->at == s->n) {
        uv_close((uv_handle_t *)told, NULL);
    } else {
        send_over(s);
    }
}

static void
side_init(struct side *s, struct side *other, size_t n)
{
    *s = (struct side){.other = other, .n = n};
    if (uv_loop_init(&s->loop) || uv_async_init(&s->loop, &s->told, on_told)) {
        DIE("no loop");
    }
    s->told.data = s;
}

static void *
run_side(void *arg)
{
    struct side *s = arg;
    uv_run(&s->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void
round_trips(size_t n)
{
    static struct side here, there;
    pthread_t thread;
    side_init(&here, &there, n);
    side_init(&there, &here, n);
    here.took = calloc(n, sizeof *here.took);
    pthread_create(&thread, NULL, run_side, &there);
    send_over(&here);
    uv_run(&here.loop, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    uv_loop_close(&here.loop);
    uv_loop_close(&there.loop);
    bench_quantiles("uv_async_us", here.took, n, 1e6);
    free(here.took);
}

int
main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "embedded") == 0) {
        embedded(argv[2], atol(argv[3]));
    } else if (argc == 3 && strcmp(argv[1], "call") == 0) {
        round_trips((size_t)atol(argv[2]));
        calls((size_t)atol(argv[2]));
    } else {
        DIE("usage: bench_lib embedded FOLDER N | call N");
    }
    return 0;
}
