/* SPDX-License-Identifier: MIT */
/* usage: campaign_flat TASKS [URL...]: so many tasks that do nothing, on memory: and
 * sqlite: (or on the URLs given); memory, descriptors and threads of the process are
 * looked at twenty times on the way, when nothing is under way. Speaks TAP; the curve is
 * printed.
 *
 * A store in memory keeps its newest 10,000 finished tasks and the outcome of those of
 * the last minute. So its clock is moved by hand, two minutes at each look: what is there
 * then does not depend on how fast the machine is. Of the file what has ended is removed
 * at each look.
 *
 * Flat: from a quarter of the way on (warm by then) no more than BOUND_KIB is added, and
 * no descriptor and no thread but the handlers'. */
#include "campaign_base.h"

#define LOOKS     20
#define BATCH     500
#define BOUND_KIB 8192
#define HANDLERS  4 /* their threads come one by one, when there is work for more */

struct look {
    int64_t kib;
    int fds, threads;
};

struct flat {
    errand *e;
    bool has_clock;
    pthread_mutex_t lock;
    pthread_cond_t less;
    int64_t ended, waited_for;
};

static int
count(errand_attempt *a, void *ctx)
{
    struct flat *f = ctx;
    (void)a;
    (void)pthread_mutex_lock(&f->lock);
    if (++f->ended >= f->waited_for) {
        (void)pthread_cond_signal(&f->less);
    }
    (void)pthread_mutex_unlock(&f->lock);
    return 0;
}

static void
await(struct flat *f, int64_t ended)
{
    (void)pthread_mutex_lock(&f->lock);
    f->waited_for = ended;
    while (f->ended < ended) {
        (void)pthread_cond_wait(&f->less, &f->lock);
    }
    (void)pthread_mutex_unlock(&f->lock);
}

/* One batch; returns the id of its last task. */
static int64_t
submit(struct flat *f, int64_t n)
{
    static const char *documents[BATCH];
    static int64_t ids[BATCH];
    errand_error error;
    for (int i = 0; i < BATCH; i++) {
        documents[i] = "{\"type\":\"flat.nothing\"}";
    }
    OK(errand_submit_many(f->e, documents, (size_t)n, 1, ids, NULL, &error));
    return ids[n - 1];
}

/* Nothing is under way; what has ended goes. */
static void
settle(struct flat *f, int64_t last)
{
    static const char all[] = "{\"older_than_s\":0}";
    errand_error error;
    char *answer;
    int state = errand_wait(f->e, last, -1, &error);
    if (state != ERRAND_COMPLETED) {
        BREACH("task %lld: %d", (long long)last, state);
    }
    if (f->has_clock) {
        OK(errand_test_advance(f->e, 120000, &error));
        return;
    }
    int status = errand_request(f->e, "POST", "/v1/clean", all, sizeof all - 1, &answer,
                                NULL, &error);
    if (status != 200) {
        BREACH("clean: %d %s", status, error.message);
    }
    errand_free(answer);
}

static int64_t
run(struct flat *f, int64_t from, int64_t until)
{
    int64_t last = 0;
    for (int64_t n = from; n < until;) {
        int64_t some = until - n < BATCH ? until - n : BATCH;
        last = submit(f, some);
        n += some;
        await(f, n - 2 * BATCH);
    }
    await(f, until);
    return last;
}

static struct look
look(void)
{
    return (struct look){resident_kib(), count_entries("/proc/self/fd"),
                         count_entries("/proc/self/task")};
}

static void
open_flat(struct flat *f, const char *url)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_type t = ERRAND_INIT(errand_type);
    errand_error error;
    *f = (struct flat){.has_clock = strcmp(url, "memory:") == 0};
    o.handler_threads = HANDLERS;
    o.test = f->has_clock ? ERRAND_TEST_CLOCK : 0;
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_cond_init(&f->less, NULL);
    OK(errand_open(url, &o, &f->e, &error));
    t.name = "flat.nothing";
    t.description = "nothing";
    t.handler = count;
    t.ctx = f;
    OK(errand_register(f->e, &t, &error));
}

static bool
judge(const char *url, const struct look *at, int64_t tasks, int number)
{
    const struct look *warm = &at[LOOKS / 4 - 1];
    struct look most = *warm;
    (void)printf("# after so many tasks of %lld: KiB resident, descriptors, threads\n",
                 (long long)tasks);
    for (int i = 0; i < LOOKS; i++) {
        (void)printf("# %9lld %8lld %4d %4d\n", (long long)(tasks * (i + 1) / LOOKS),
                     (long long)at[i].kib, at[i].fds, at[i].threads);
        if (&at[i] > warm) {
            most.kib = at[i].kib > most.kib ? at[i].kib : most.kib;
            most.fds = at[i].fds > most.fds ? at[i].fds : most.fds;
            most.threads = at[i].threads > most.threads ? at[i].threads : most.threads;
        }
    }
    bool is_flat = most.fds <= warm->fds && most.threads <= warm->threads + HANDLERS;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    is_flat = is_flat && most.kib <= warm->kib + BOUND_KIB; /* they keep what was freed */
#endif
    (void)printf("%s %d - %s: %lld tasks: %lld KiB when warm, at most %lld; %d and %d "
                 "descriptors; %d and %d threads\n",
                 is_flat ? "ok" : "not ok", number, url, (long long)tasks,
                 (long long)warm->kib, (long long)most.kib, warm->fds, most.fds,
                 warm->threads, most.threads);
    (void)fflush(stdout);
    return is_flat;
}

int
main(int argc, char **argv)
{
    int64_t tasks = argc > 1 ? atoll(argv[1]) : 0;
    bool is_flat = true;
    if (tasks < LOOKS) {
        (void)fprintf(stderr, "usage: campaign_flat TASKS [URL...]\n");
        return 2;
    }
    begin_campaign("0"); /* nothing here is by chance */
    char sqlite[96];
    (void)snprintf(sqlite, sizeof sqlite, "sqlite:%s/flat.db", campaign_folder);
    const char *all[] = {"memory:", sqlite};
    const char *const *urls = argc > 2 ? (const char *const *)&argv[2] : all;
    int n = argc > 2 ? argc - 2 : 2;
    (void)printf("1..%d\n", n);
    for (int i = 0; i < n; i++) {
        struct flat f;
        struct look at[LOOKS];
        campaign_where = urls[i];
        open_flat(&f, urls[i]);
        for (int k = 0; k < LOOKS; k++) {
            settle(&f, run(&f, tasks * k / LOOKS, tasks * (k + 1) / LOOKS));
            at[k] = look();
        }
        errand_close(f.e);
        (void)pthread_mutex_destroy(&f.lock);
        (void)pthread_cond_destroy(&f.less);
        is_flat = judge(urls[i], at, tasks, i + 1) && is_flat;
    }
    end_campaign();
    return is_flat ? 0 : 1;
}
