/* SPDX-License-Identifier: MIT */
/* usage: campaign_kill ROUNDS [SEED]: a program with the engine inside is killed
 * (SIGKILL) at ROUNDS random moments, while it opens, under submits and handlers; then
 * the store is opened once more, everything comes to its end, and it is proved from
 * outside what happened. Speaks TAP; ends with 1 at the first breach.
 *
 * Two files are written with O_APPEND, a line a write, so that they outlive the program:
 *   acks     "try N" before a submit under key N, "ack N TASK" when it has returned
 *   effects  "begin TASK ATTEMPT PID N", "end TASK ATTEMPT PID N", by the handlers
 * The proof:
 *   - what was acknowledged is there, a key has one task (G1), and has one end and one
 *     event that says so (G2)
 *   - no attempt begins twice; none begins while another one of its task goes on in a
 *     process that lives (G3)
 *   - each attempt that has begun is on record; completed is one attempt at most, and
 *     that one has done all its work; what died with its process is lost, and the third
 *     loss in a row fails (G4)
 *
 * The seed says what is submitted and when the kills come, as far as a clock can say
 * it. */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "campaign_base.h"

#define SUBMITTERS   2
#define BACKLOG      150 /* submits wait when so many tasks are open */
#define BATCH        4
#define AGAIN        20  /* the latest keys, which are submitted once more at a start */
#define EFFECT_BYTES 20  /* of a line, about */
#define ATTEMPTS     200 /* of one task, at most */
#define KEYS         INT64_C(1000000) /* of one round */

extern char **environ;

static char store_url[96], acks_path[96], effects_path[96];
static int acks_fd, effects_fd;
static _Atomic int64_t open_tasks;

static void
write_line(int fd, const char *fmt, ...)
{
    char line[128];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (write(fd, line, (size_t)n) != n) {
        BREACH("a line was not written");
    }
}

/* ---- the program that is killed ---- */

static int
work(errand_attempt *a, void *ctx)
{
    long long task = errand_attempt_task(a), n = errand_arg_integer(a, "n", -1);
    int attempt = errand_attempt_number(a);
    (void)ctx;
    write_line(effects_fd, "begin %lld %d %d %lld\n", task, attempt, (int)getpid(), n);
    nap_us(errand_arg_integer(a, "us", 0));
    write_line(effects_fd, "end %lld %d %d %lld\n", task, attempt, (int)getpid(), n);
    atomic_fetch_sub(&open_tasks, 1);
    if (errand_arg_boolean(a, "fails", 0)) {
        return attempt == 1 ? errand_fail(a, ERRAND_RETRYABLE, "once", "not yet", NULL)
                            : errand_fail(a, ERRAND_FATAL, "as-told", "never", NULL);
    }
    return 0;
}

static errand *
open_store(void)
{
    static const struct errand_param params[] = {
        {.name = "n", .kind = ERRAND_PARAM_INTEGER, .required = 1},
        {.name = "us", .kind = ERRAND_PARAM_INTEGER, .required = 1},
        {.name = "fails", .kind = ERRAND_PARAM_BOOLEAN, .def = "false"},
    };
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_type t = ERRAND_INIT(errand_type);
    errand_error error;
    errand *e;
    o.handler_threads = 8;
    o.no_commands = 1;
    OK(errand_open(store_url, &o, &e, &error));
    t.name = "kill.work";
    t.description = "leaves a trace";
    t.params = params;
    t.n_params = 3;
    t.handler = work;
    t.backoff_ms = 5;
    OK(errand_register(e, &t, &error));
    return e;
}

/* The same for the same key, in whatever round. */
static void
args_of(int64_t n, char *out, size_t size)
{
    uint64_t state = campaign_seed ^ ((uint64_t)n << 8);
    int kind = rnd_below(&state, 20);
    int us = rnd_below(&state, kind == 0 ? 60000 : kind < 10 ? 3000 : 1);
    (void)snprintf(out, size, "{\"n\":%lld,\"us\":%d,\"fails\":%s}", (long long)n, us,
                   kind == 1 ? "true" : "false");
}

static void
submit_one(errand *e, int64_t n)
{
    char args[96], key[32];
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    errand_error error;
    int64_t id;
    args_of(n, args, sizeof args);
    (void)snprintf(key, sizeof key, "%lld", (long long)n);
    o.key = key;
    write_line(acks_fd, "try %lld\n", (long long)n);
    OK(errand_submit(e, "kill.work", args, &o, &id, &error));
    write_line(acks_fd, "ack %lld %lld\n", (long long)n, (long long)id);
}

static void
submit_batch(errand *e, int64_t n)
{
    char text[BATCH][160], args[96];
    const char *documents[BATCH];
    errand_error error;
    int64_t ids[BATCH];
    for (int i = 0; i < BATCH; i++) {
        args_of(n + i, args, sizeof args);
        (void)snprintf(text[i], sizeof text[i],
                       "{\"type\":\"kill.work\",\"key\":\"%lld\",\"args\":%s}",
                       (long long)n + i, args);
        documents[i] = text[i];
        write_line(acks_fd, "try %lld\n", (long long)n + i);
    }
    OK(errand_submit_many(e, documents, BATCH, 1, ids, NULL, &error));
    for (int i = 0; i < BATCH; i++) {
        write_line(acks_fd, "ack %lld %lld\n", (long long)n + i, (long long)ids[i]);
    }
}

struct submitter {
    errand *e;
    int64_t from;
};

static void *
submit_on(void *ctx)
{
    struct submitter *s = ctx;
    for (int64_t n = s->from;; n += BATCH) {
        while (atomic_load(&open_tasks) > BACKLOG) {
            nap_us(500);
        }
        if (n / BATCH % 4 == 0) {
            submit_batch(s->e, n);
            atomic_fetch_add(&open_tasks, BATCH);
        } else {
            submit_one(s->e, n);
            atomic_fetch_add(&open_tasks, 1);
        }
    }
    return NULL;
}

/* The keys that were tried last: their answers may have been lost. */
static void
submit_again(errand *e)
{
    long long n, latest[AGAIN];
    int count = 0;
    char line[128];
    FILE *f = fopen(acks_path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "try %lld", &n) == 1) {
            latest[count++ % AGAIN] = n;
        }
    }
    if (f) {
        (void)fclose(f);
    }
    for (int i = 0; i < count && i < AGAIN; i++) {
        submit_one(e, latest[i]);
    }
}

static void
open_files(void)
{
    (void)snprintf(store_url, sizeof store_url, "sqlite:%s/store.db", campaign_folder);
    (void)snprintf(acks_path, sizeof acks_path, "%s/acks", campaign_folder);
    (void)snprintf(effects_path, sizeof effects_path, "%s/effects", campaign_folder);
    acks_fd = open(acks_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    effects_fd = open(effects_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (acks_fd < 0 || effects_fd < 0) {
        BREACH("no files");
    }
}

/* campaign_kill live FOLDER SEED ROUND: until it is killed. Says on its standard output
 * that it is open. */
static int
live(char **argv)
{
    static struct submitter submitters[SUBMITTERS];
    pthread_t threads[SUBMITTERS];
    campaign_seed = strtoull(argv[3], NULL, 10);
    campaign_where = argv[4];
    (void)snprintf(campaign_folder, sizeof campaign_folder, "%s", argv[2]);
    open_files();
    errand *e = open_store();
    (void)puts("open");
    (void)fflush(stdout);
    submit_again(e);
    for (int i = 0; i < SUBMITTERS; i++) {
        submitters[i] =
            (struct submitter){e, KEYS * atoi(argv[4]) + i * (KEYS / SUBMITTERS)};
        (void)pthread_create(&threads[i], NULL, submit_on, &submitters[i]);
    }
    (void)pthread_join(threads[0], NULL);
    return 1;
}

/* ---- who kills ---- */

static int64_t
effects_size(void)
{
    struct stat st;
    if (fstat(effects_fd, &st) != 0) {
        BREACH("no effects");
    }
    return st.st_size;
}

/* Waits until its handlers have written so much more. */
static void
await_effects(int round, int64_t size)
{
    for (int i = 0; effects_size() < size; i++) {
        if (i == 600000) {
            BREACH("round %d: its handlers do nothing", round);
        }
        nap_us(200);
    }
}

/* One life. Some of them may end before the store is open; the others when handlers have
 * begun their work, as fast as the machine lets them, and a random while later. */
static void
kill_one(int round, bool is_early, uint64_t *state)
{
    char seed[32], number[16], said[64];
    int out[2], status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)campaign_seed);
    (void)snprintf(number, sizeof number, "%d", round);
    char self[] = "/proc/self/exe", mode[] = "live";
    char *argv[] = {self, mode, campaign_folder, seed, number, NULL};
    if (pipe2(out, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, out[1], 1) != 0 ||
        posix_spawn(&pid, self, &actions, NULL, argv, environ) != 0) {
        BREACH("no process");
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(out[1]);
    int after_us = rnd_below(state, 60000);
    int64_t size = effects_size() + (20 + rnd_below(state, 200)) * EFFECT_BYTES;
    ssize_t n = is_early ? 0 : read(out[0], said, sizeof said - 1);
    if (!is_early && (n < 4 || memcmp(said, "open", 4) != 0)) {
        said[n > 0 ? n : 0] = '\0';
        BREACH("round %d: the store was not opened: %s", round, said);
    }
    if (!is_early) {
        await_effects(round, size);
    }
    nap_us(after_us);
    if (kill(pid, SIGKILL) != 0 || waitpid(pid, &status, 0) != pid) {
        BREACH("round %d: it can't be killed", round);
    }
    if (!WIFSIGNALED(status)) {
        n = read(out[0], said, sizeof said - 1);
        said[n > 0 ? n : 0] = '\0';
        BREACH("round %d: it ended by itself: %s", round, said);
    }
    (void)close(out[0]);
}

/* ---- the proof ---- */

struct seen {
    int64_t n; /* its key, from an effect or an ack; -1 = none seen */
    bool is_acked;
    int finals;   /* events that say that it has ended */
    pid_t holder; /* the process of the attempt that has begun last */
    bool is_on;   /* and it has not ended */
    uint8_t begun[ATTEMPTS + 1], ended[ATTEMPTS + 1];
};

struct proof {
    struct seen *tasks;
    int64_t last; /* the highest id */
    int64_t acks, effects, attempts, lost, completed, failed;
    int64_t given_up,
        unbegun; /* after three losses; of these never begun in the last three */
};

static struct seen *
of_task(struct proof *p, long long task, long long n)
{
    if (task <= 0 || task > p->last) {
        BREACH("task %lld was acknowledged or has run, and is not there", task);
    }
    struct seen *s = &p->tasks[task];
    if (s->n >= 0 && s->n != n) {
        BREACH("task %lld is of key %lld and of key %lld", task, (long long)s->n, n);
    }
    s->n = n;
    return s;
}

static void
read_acks(struct proof *p)
{
    char line[128];
    long long n, task;
    FILE *f = fopen(acks_path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "ack %lld %lld", &n, &task) == 2) {
            of_task(p, task, n)->is_acked = true;
            p->acks++;
        }
    }
    (void)fclose(f);
}

static void
read_effects(struct proof *p)
{
    char line[128], what[8];
    long long n, task;
    int attempt, pid;
    FILE *f = fopen(effects_path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%7s %lld %d %d %lld", what, &task, &attempt, &pid, &n) != 5 ||
            attempt < 1 || attempt > ATTEMPTS) {
            BREACH("effect: %s", line);
        }
        struct seen *s = of_task(p, task, n);
        bool begins = strcmp(what, "begin") == 0;
        if ((begins ? s->begun : s->ended)[attempt]++) {
            BREACH("attempt %d of task %lld has its %s twice", attempt, task, what);
        }
        if (begins && s->is_on && s->holder == pid) {
            BREACH("attempt %d of task %lld begins while another goes on", attempt, task);
        }
        s->is_on = begins;
        s->holder = pid;
        p->effects++;
    }
    (void)fclose(f);
}

static int
by_key(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void
check_keys(const struct proof *p)
{
    int64_t *keys = calloc((size_t)p->last + 1, sizeof *keys);
    size_t n = 0;
    for (int64_t id = 1; id <= p->last; id++) {
        if (p->tasks[id].n >= 0) {
            keys[n++] = p->tasks[id].n;
        }
    }
    qsort(keys, n, sizeof *keys, by_key);
    for (size_t i = 1; i < n; i++) {
        if (keys[i] == keys[i - 1]) {
            BREACH("key %lld has two tasks", (long long)keys[i]);
        }
    }
    free(keys);
}

/* What is on record of the attempts, in their order; how the last ones went. */
static void
check_attempts(errand *e, struct proof *p, int64_t id, int state)
{
    const struct seen *s = &p->tasks[id];
    char target[64], outcome[24] = "", *json;
    errand_error error;
    int number = 0, completed = 0, lost_in_a_row = 0;
    (void)snprintf(target, sizeof target, "/v1/tasks/%lld/attempts", (long long)id);
    int status = errand_request(e, "GET", target, NULL, 0, &json, NULL, &error);
    if (status != 200) {
        BREACH("%s: %d", target, status);
    }
    bool is_known[ATTEMPTS + 1] = {false};
    for (const char *at = json; (at = strstr(at, "{\"attempt\":"));) {
        at += strlen("{\"attempt\":");
        number = atoi(at);
        const char *o = strstr(at, "\"outcome\":");
        if (number < 1 || number > ATTEMPTS || is_known[number] || !o ||
            sscanf(o, "\"outcome\":\"%23[a-z-]", outcome) != 1) {
            BREACH("task %lld: %s", (long long)id, json);
        }
        is_known[number] = true;
        completed += strcmp(outcome, "completed") == 0;
        lost_in_a_row = strcmp(outcome, "lost") == 0 ? lost_in_a_row + 1 : 0;
        p->lost += strcmp(outcome, "lost") == 0;
        if (strcmp(outcome, "lost") != 0 && (!s->begun[number] || !s->ended[number])) {
            BREACH("task %lld, attempt %d is %s and has not done its work", (long long)id,
                   number, outcome);
        }
        p->attempts++;
    }
    for (int a = 1; a <= ATTEMPTS; a++) {
        if (s->begun[a] && !is_known[a]) {
            BREACH("task %lld: attempt %d has begun and is not on record: %s",
                   (long long)id, a, json);
        }
    }
    bool is_told = strcmp(outcome, "failed") == 0;
    if (state == ERRAND_FAILED && lost_in_a_row == 3 && number >= 3) {
        p->given_up++;
        p->unbegun += !s->begun[number] && !s->begun[number - 1] && !s->begun[number - 2];
    }
    if (completed != (state == ERRAND_COMPLETED) ||
        (completed && strcmp(outcome, "completed") != 0) ||
        (state == ERRAND_FAILED && !is_told && lost_in_a_row != 3)) {
        BREACH("task %lld, state %s: %s", (long long)id, errand_state_word(state), json);
    }
    errand_free(json);
}

static void
read_events(errand *e, struct proof *p)
{
    static const char *const names[] = {"task-completed", "task-failed", "task-cancelled",
                                        NULL};
    struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
    errand_error error;
    errand_subscription *sub;
    const errand_event *ev;
    o.kinds = ERRAND_FACT;
    o.names = names;
    o.resume = 1;
    o.delivery = ERRAND_PULL;
    OK(errand_subscribe(e, &o, NULL, NULL, &sub, &error));
    int64_t at = 0;
    while (at < p->last) { /* the last one was cancelled last: its event comes last */
        struct pollfd fd = {.fd = errand_subscription_fd(sub), .events = POLLIN};
        int rc = errand_pull(sub, &ev);
        if (rc == 0 && poll(&fd, 1, 60000) != 1) {
            BREACH("the events end after that of task %lld", (long long)at);
        }
        if (rc < 0 || (rc == 1 && ev->kind != ERRAND_FACT)) {
            BREACH("no fact: %d", rc);
        }
        if (rc == 1) {
            at = ev->task;
            p->tasks[at].finals++;
        }
    }
    errand_unsubscribe(sub);
}

static void
prove(struct proof *p)
{
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    errand_error error;
    errand *e = open_store();
    o.held = 1;
    OK(errand_submit(e, "kill.work", "{\"n\":0,\"us\":0}", &o, &p->last, &error));
    p->tasks = calloc((size_t)p->last + 1, sizeof *p->tasks);
    for (int64_t id = 1; id < p->last; id++) {
        p->tasks[id].n = -1;
        int state = errand_wait(e, id, -1, &error);
        if (state != ERRAND_COMPLETED && state != ERRAND_FAILED) {
            BREACH("task %lld: %d", (long long)id, state);
        }
        p->completed += state == ERRAND_COMPLETED;
        p->failed += state == ERRAND_FAILED;
    }
    p->tasks[p->last].n = -1;
    OK(errand_cancel(e, p->last, &error));
    read_acks(p);
    read_effects(p);
    check_keys(p);
    read_events(e, p);
    for (int64_t id = 1; id < p->last; id++) {
        if (p->tasks[id].finals != 1) {
            BREACH("task %lld has %d events of its end", (long long)id,
                   p->tasks[id].finals);
        }
        int state = errand_state(e, id, &error);
        check_attempts(e, p, id, state);
    }
    errand_close(e);
}

int
main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "live") == 0) {
        return live(argv);
    }
    int rounds = argc > 1 ? atoi(argv[1]) : 0;
    if (rounds < 1) {
        (void)fprintf(stderr, "usage: campaign_kill ROUNDS [SEED]\n");
        return 2;
    }
    begin_campaign(argc > 2 ? argv[2] : NULL);
    (void)printf("1..1\n# seed %llu\n", (unsigned long long)campaign_seed);
    (void)fflush(stdout);
    campaign_where = "sqlite:";
    open_files();
    uint64_t state = campaign_seed;
    for (int i = 1, early = 0; i <= rounds; i++) {
        /* three in a row could give up a task that never had a chance */
        early = early < 2 && rnd_below(&state, 4) == 0 ? early + 1 : 0;
        kill_one(i, early > 0, &state);
    }
    struct proof p = {0};
    prove(&p);
    /* between its place in the table and its first word a handler may be killed, but
     * hardly the same task's three times in a row */
    bool is_proof = p.lost > 0 && p.acks > rounds && p.unbegun <= 1;
    (void)printf("%s 1 - killed %d times: %lld acknowledged, %lld tasks, each with one "
                 "end\n# %lld completed, %lld failed; %lld attempts, %lld of them lost; "
                 "%lld effects\n# %lld were given up after three losses, %lld of them "
                 "without having begun\n",
                 is_proof ? "ok" : "not ok", rounds, (long long)p.acks,
                 (long long)p.last - 1, (long long)p.completed, (long long)p.failed,
                 (long long)p.attempts, (long long)p.lost, (long long)p.effects,
                 (long long)p.given_up, (long long)p.unbegun);
    free(p.tasks);
    (void)close(acks_fd);
    (void)close(effects_fd);
    end_campaign();
    return is_proof ? 0 : 1;
}
