/* SPDX-License-Identifier: MIT */
/* Measures the store alone, without the engine: durable submits, claims, ends, lists. One
 * line a measurement, tab-separated: what, how many, rows a second, microseconds a row
 * (by the clock, of the CPU).
 *
 * usage: bench_store FOLDER [QUEUED...]     (QUEUED: tasks that wait during the claims)
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/rand.h"
#include "store/store.h"

#define BULK 1000

struct bench {
    struct er_store *store;
    struct er_store_reader *reader;
    er_usec now;
    er_usec began_at,
        cpu_at; /* when the measurement began, by the clock and of the CPU */
    int64_t session;
    int64_t lane;
    uint32_t made; /* correlation ids */
};

static void
check(int rc, const char *what)
{
    if (rc) {
        fprintf(stderr, "bench_store: %s: %s\n", what, er_error_meaning(rc));
        exit(1);
    }
}

static er_usec
cpu_now(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * ER_USEC_PER_SEC +
           u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void
start(struct bench *b)
{
    b->began_at = er_clock_mono(er_clock_system());
    b->cpu_at = cpu_now();
}

static void
report(const struct bench *b, const char *what, long n)
{
    double us = (double)(er_clock_mono(er_clock_system()) - b->began_at);
    double cpu = (double)(cpu_now() - b->cpu_at);
    printf("%s\t%ld\t%.0f\t%.2f\t%.2f\n", what, n, (double)n * 1e6 / us, us / (double)n,
           cpu / (double)n);
    fflush(stdout);
}

static void
commit(struct bench *b)
{
    struct er_effects fx;
    check(er_store_commit(b->store, &fx), "commit");
    er_arena_free(&fx.arena);
}

static void
submit(struct bench *b, size_t n)
{
    static struct er_new_task rows[BULK];
    static char correlation[BULK][ER_UUID_SIZE];
    static char args[201];
    memset(args, 'x', 200);
    args[0] = args[199] = '"';
    b->now++;
    for (size_t i = 0; i < n; i++) {
        if (correlation[i][0] == '\0') {
            er_uuid7(b->now, correlation[i]);
        }
        /* The next one in order, as if made in the same millisecond. */
        for (size_t k = 0; k < 8; k++) {
            correlation[i][k] = "0123456789abcdef"[(b->made >> (28 - 4 * k)) & 15];
        }
        b->made++;
        rows[i] = (struct er_new_task){
            .type = "shell",
            .queue = "default",
            .name = "make -j8",
            .args_json = args,
            .correlation = correlation[i],
            .cwd = "/home/user/src",
            .run_at = ER_NEVER,
            .expires_at = ER_NEVER,
            .env_json = "{\"PATH\":\"/usr/bin\"}",
            .signature = 17,
            .grace_for = 5 * ER_USEC_PER_SEC,
            .backoff_for = ER_USEC_PER_SEC,
        };
    }
    check(er_store_begin(b->store), "begin");
    check(er_store_submit(b->store, b->now, rows, n, false), "submit");
    b->lane = rows[0].lane;
    commit(b);
}

static void
submit_many(struct bench *b, long n)
{
    for (long left = n; left > 0; left -= BULK) {
        submit(b, (size_t)(left < BULK ? left : BULK));
    }
}

/* Claims the first n of the lane; the ids go into `ids`. */
static void
claim(struct bench *b, er_task_id *ids, size_t n)
{
    static struct er_claim rows[BULK];
    static struct er_ready ready[BULK];
    struct er_arena arena = {NULL, 0};
    size_t found;
    check(er_store_peek(b->store, b->lane, INT64_MIN, 0, ready, n, &found), "peek");
    for (size_t i = 0; i < found; i++) {
        rows[i] = (struct er_claim){.id = ready[i].id, .session = b->session};
        ids[i] = ready[i].id;
    }
    check(er_store_claim(b->store, b->now, rows, found, &arena), "claim");
    if (found < n || rows[0].status) {
        check(ER_ESTATE, "claim");
    }
    er_arena_free(&arena);
}

static void
finish(struct bench *b, const er_task_id *ids, size_t n)
{
    static struct er_finish rows[BULK];
    for (size_t i = 0; i < n; i++) {
        rows[i] = (struct er_finish){
            .id = ids[i],
            .attempt = 1,
            .session = b->session,
            .state = ER_TASK_COMPLETED,
            .run_at = ER_NEVER,
            .started_at = b->now,
            .finished_at = b->now + 1000,
            .outcome = ER_OUTCOME_COMPLETED,
            .has_exit_code = true,
            .event = ER_EVENT_TASK_COMPLETED,
            .event_data_json = "{\"duration_s\":0.001,\"result\":null,\"progress\":null}",
        };
    }
    check(er_store_finish(b->store, b->now, rows, n), "finish");
}

static void
claims(struct bench *b, long queued)
{
    er_task_id ids[2][BULK];
    char what[64];
    start(b);
    for (int i = 0; i < 200; i++) {
        check(er_store_begin(b->store), "begin");
        claim(b, ids[0], 1);
        commit(b);
        check(er_store_begin(b->store), "begin");
        finish(b, ids[0], 1);
        commit(b);
    }
    (void)snprintf(what, sizeof what, "claim, finish apart, of %ld", queued);
    report(b, what, 200);
    static const int sizes[] = {1, 100};
    for (int k = 0; k < 2; k++) {
        size_t n = (size_t)sizes[k];
        int turns = n == 1 ? 300 : 100;
        check(er_store_begin(b->store), "begin");
        claim(b, ids[0], n);
        start(b);
        for (int i = 0; i < turns; i++) {
            finish(b, ids[i % 2], n);
            claim(b, ids[1 - i % 2], n);
            commit(b);
            check(er_store_begin(b->store), "begin");
        }
        (void)snprintf(what, sizeof what, "finish + claim by %zu, of %ld", n, queued);
        report(b, what, turns * (long)n);
        finish(b, ids[turns % 2], n);
        commit(b);
    }
    /* The claim's own cost, without the commit. */
    check(er_store_begin(b->store), "begin");
    start(b);
    for (int i = 0; i < 500; i++) {
        claim(b, ids[0], 1);
        finish(b, ids[0], 1);
    }
    (void)snprintf(what, sizeof what, "claim + finish, no commit, of %ld", queued);
    report(b, what, 500);
    commit(b);
}

static void
lists(struct bench *b, const char *words, unsigned states, const char *queue)
{
    struct er_filter f = {.limit = 50, .states = states, .queue = queue};
    char what[64];
    start(b);
    for (int i = 0; i < 20; i++) {
        struct er_arena arena = {NULL, 0};
        struct er_task *tasks;
        size_t n;
        bool more;
        check(er_store_list(b->reader, &f, &arena, &tasks, &n, &more), "list");
        er_arena_free(&arena);
    }
    (void)snprintf(what, sizeof what, "page of 50: %s", words);
    report(b, what, 20);
}

static void
measure(const char *folder, long queued)
{
    struct bench b = {.now = 1700000000 * ER_USEC_PER_SEC};
    struct er_err err = {""};
    struct er_session session = {.worker = "w1", .token = "0", .pid = 1};
    char path[512], what[64];
    (void)snprintf(path, sizeof path, "%s/bench_store_%ld.db", folder, queued);
    if (er_store_open(path, &b.store, &err) ||
        er_store_reader_open(b.store, &b.reader, &err)) {
        fprintf(stderr, "bench_store: %s\n", err.text);
        exit(1);
    }
    check(er_store_begin(b.store), "begin");
    check(er_store_session_open(b.store, b.now, &session), "session");
    commit(&b);
    b.session = session.id;
    start(&b);
    for (int i = 0; i < 300; i++) {
        submit(&b, 1);
    }
    report(&b, "submit by 1", 300);
    start(&b);
    submit_many(&b, queued);
    (void)snprintf(what, sizeof what, "submit by %d, to %ld", BULK, queued);
    report(&b, what, queued);
    submit_many(&b, 12000); /* for the claims */
    claims(&b, queued);
    lists(&b, "all", 0, NULL);
    lists(&b, "failed (none)", 1u << ER_TASK_FAILED, NULL);
    lists(&b, "completed", 1u << ER_TASK_COMPLETED, NULL);
    lists(&b, "queue of none", 0, "other");
    lists(&b, "not cancelled", 0x7f, NULL);
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            printf("resident\t%ld\t%s", queued, line + 7);
        }
    }
    if (f) {
        (void)fclose(f);
    }
    er_store_reader_close(b.reader);
    er_store_close(b.store);
    (void)unlink(path);
}

static void
measure_disk(const char *folder)
{
    struct bench b = {.now = 0};
    char path[512], page[4096] = {0};
    (void)snprintf(path, sizeof path, "%s/bench_store_disk", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    start(&b);
    for (int i = 0; i < 200 && fd >= 0; i++) {
        if (write(fd, page, sizeof page) < 0 || fdatasync(fd)) {
            break;
        }
    }
    report(&b, "fdatasync after 4 KiB", 200);
    (void)close(fd);
    (void)unlink(path);
}

int
main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_store FOLDER [QUEUED...]\n");
        return 2;
    }
    printf("what\tn\tper_second\tmicroseconds\tcpu_microseconds\n");
    measure_disk(argv[1]);
    for (int i = 2; i < argc; i++) {
        measure(argv[1], strtol(argv[i], NULL, 10));
    }
    if (argc == 2) {
        measure(argv[1], 1000);
        measure(argv[1], 1000000);
    }
    return 0;
}
