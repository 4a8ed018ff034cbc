/* SPDX-License-Identifier: MIT */
/* usage: campaign_calls CALLS [SEED [URL...]]: calls from eight threads whose budgets lie
 * around what their handlers take, in all ways a call can be made; on memory:, on sqlite:
 * and on a daemon (or on the URLs given). Speaks TAP; ends with 1 at the first breach.
 *
 * Each call has a number, which its handler gets. Checked for each:
 *   - its handler ran to its end exactly once, for one task
 *   - its caller got exactly one answer
 *   - the answer is true: completed with the very bytes that its handler gave, failed
 *     with its error, or in the background; that task is then found in the end with those
 *     bytes
 * Then rounds in which the callers' handle is closed while calls are under way: each
 * caller is still answered once, no handler ends twice, and what was stored comes to its
 * end at the next opening.
 *
 * The seed says what is called and how; the machine's scheduling it does not say. */
#include "campaign_base.h"

#define THREADS   8
#define PENDING   64  /* background tasks of a thread that are still to be looked at */
#define FLIGHT    4   /* asynchronous calls of one thread at a time */
#define ROUND     24  /* calls under way when a handle is closed */
#define BYTES_MAX 300 /* of a result */

enum way { SYNC, ASYNC };

/* What became of one call. */
struct fate {
    _Atomic int begun, ended, answers;
    _Atomic int64_t task;
};

static struct fate *fates;
static int64_t n_fates;
static int part; /* of the campaign: keys are new in each */

/* ---- what handlers do ---- */

/* The bytes of call n: of any length, with NULs in some. */
static size_t
bytes_of(int64_t n, char *out)
{
    uint64_t state = campaign_seed ^ (uint64_t)n;
    int head = snprintf(out, BYTES_MAX, "call %lld;", (long long)n);
    size_t len = (size_t)head + rnd(&state) % 200;
    for (size_t i = (size_t)head; i < len; i++) {
        out[i] = n % 7 == 0 ? (char)(rnd(&state) & 0xff) : (char)('a' + rnd(&state) % 26);
    }
    return len;
}

static bool
is_failing(int64_t n)
{
    return n % 11 == 5;
}

static int
work(errand_attempt *a, void *ctx)
{
    int64_t n = errand_arg_integer(a, "n", -1), us = errand_arg_integer(a, "us", 0);
    int64_t none = 0, task = errand_attempt_task(a);
    char bytes[BYTES_MAX];
    (void)ctx;
    if (n < 0 || n >= n_fates) {
        BREACH("a handler got number %lld", (long long)n);
    }
    struct fate *f = &fates[n];
    if (!atomic_compare_exchange_strong(&f->task, &none, task) && none != task) {
        BREACH("call %lld is task %lld and task %lld", (long long)n, (long long)none,
               (long long)task);
    }
    atomic_fetch_add(&f->begun, 1);
    if (us >= 1000 && n % 3 == 0) {
        if (errand_sleep(a, us / 1000)) {
            return ERRAND_STOPPED;
        }
    } else if (us > 0) {
        nap_us(us);
    }
    atomic_fetch_add(&f->ended, 1);
    if (is_failing(n)) {
        return errand_fail(a, ERRAND_FATAL, "as-told", "this call was to fail", NULL);
    }
    return errand_result_set(a, bytes, bytes_of(n, bytes));
}

static const char *const types[] = {"call.short", "call.long", "call.any"};

static errand *
open_at(const char *url, int threading, bool is_serving)
{
    static const struct errand_param params[] = {
        {.name = "n", .kind = ERRAND_PARAM_INTEGER, .required = 1},
        {.name = "us", .kind = ERRAND_PARAM_INTEGER, .def = "0"},
    };
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_type t = ERRAND_INIT(errand_type);
    errand_error error;
    errand *e;
    o.threading = threading;
    o.handler_threads = ROUND;
    OK(errand_open(url, &o, &e, &error));
    t.description = "takes its time";
    t.params = params;
    t.n_params = 2;
    t.handler = work;
    for (int i = 0; is_serving && i < 3; i++) {
        t.name = types[i];
        OK(errand_register(e, &t, &error));
    }
    return e;
}

/* ---- one call ---- */

struct call {
    int64_t n;
    const char *type;
    char args[64], key[48];
    struct errand_call_options options;
    struct errand_submit_options submit;
};

/* Durations up to 6 ms (12 ms for call.long), budgets within 2 ms of them, or
 * with some room for what is beside the handler; 0 would be 2 s. */
static void
choose(struct call *c, int64_t n, uint64_t *state)
{
    int kind = rnd_below(state, 3);
    int us = rnd_below(state, kind == 0 ? 1500 : kind == 1 ? 12000 : 6000);
    int ms = us / 1000 +
             (rnd_below(state, 2) ? rnd_below(state, 5) - 2 : rnd_below(state, 40));
    *c = (struct call){.n = n,
                       .type = types[kind],
                       .options = ERRAND_INIT(errand_call_options),
                       .submit = ERRAND_INIT(errand_submit_options)};
    (void)snprintf(c->args, sizeof c->args, "{\"n\":%lld,\"us\":%d}", (long long)n, us);
    c->options.budget_ms = ms < 1 ? 1 : ms;
    if (rnd_below(state, 16) == 0) {
        c->options.budget_ms = 0;
    }
    c->options.immediate = rnd_below(state, 10) == 0;
    c->options.always_wait = !c->options.immediate && rnd_below(state, 2);
    if (rnd_below(state, 4) == 0) {
        (void)snprintf(c->key, sizeof c->key, "key-%d-%lld", part, (long long)n);
        c->submit.key = c->key;
        c->submit.priority = rnd_below(state, 3) - 1;
        c->options.submit = &c->submit;
    }
}

static void
check_bytes(int64_t n, const char *bytes, size_t len)
{
    char want[BYTES_MAX];
    size_t wanted = bytes_of(n, want);
    if (!bytes || len != wanted || memcmp(bytes, want, len) != 0 || bytes[len] != '\0') {
        BREACH("call %lld got %zu bytes that are not its handler's %zu: %.60s",
               (long long)n, len, wanted, bytes ? bytes : "(none)");
    }
}

static void
check_reply(const struct call *c, int code, const struct errand_reply *r)
{
    struct fate *f = &fates[c->n];
    int64_t task = atomic_load(&f->task);
    if (code != r->state || r->task <= 0 || (task && task != r->task)) {
        BREACH("call %lld: code %d, state %d, task %lld, its handler's was %lld",
               (long long)c->n, code, r->state, (long long)r->task, (long long)task);
    }
    if (code == ERRAND_BACKGROUND) {
        if (r->result || r->error) {
            BREACH("call %lld: an end, and in the background", (long long)c->n);
        }
        return;
    }
    if (c->options.immediate && !c->submit.key) {
        BREACH("call %lld: %d, though it was to be immediate", (long long)c->n, code);
    }
    if (atomic_load(&f->ended) != 1) {
        BREACH("call %lld: answered with %d after %d ends of its handler",
               (long long)c->n, code, atomic_load(&f->ended));
    }
    if (is_failing(c->n)) {
        if (code != ERRAND_FAILED || !r->error || !strstr(r->error, "as-told")) {
            BREACH("call %lld: %d, %s instead of its error", (long long)c->n, code,
                   r->error ? r->error : "no error");
        }
    } else if (code != ERRAND_COMPLETED) {
        BREACH("call %lld: %d, %s", (long long)c->n, code, r->error ? r->error : "");
    } else {
        check_bytes(c->n, r->result, r->len);
    }
}

/* The task of call n comes to its end, with what its handler gave. */
static void
check_task(errand *e, int64_t task, int64_t n)
{
    errand_error error;
    char *bytes;
    size_t len;
    int want = is_failing(n) ? ERRAND_FAILED : ERRAND_COMPLETED;
    int state = errand_wait(e, task, -1, &error);
    if (state != want) {
        BREACH("call %lld, task %lld: %d instead of %d: %s", (long long)n,
               (long long)task, state, want, error.message);
    }
    if (want == ERRAND_COMPLETED) {
        OK(errand_result(e, task, &bytes, &len, &error));
        check_bytes(n, bytes, len);
        errand_free(bytes);
    }
}

/* ---- threads that call ---- */

struct caller {
    pthread_t thread;
    errand *e;
    int64_t from, until; /* its numbers */
    uint64_t state;
    enum way way;
    pthread_mutex_t lock;
    pthread_cond_t fewer;
    int flying;
    int n_pending;
    struct {
        int64_t task, n;
    } pending[PENDING + FLIGHT];
    int64_t background, within;
};

struct flight {
    struct caller *of;
    struct call call;
};

/* With the caller's lock. */
static void
note(struct caller *k, const struct call *c, int code, const struct errand_reply *r)
{
    if (atomic_fetch_add(&fates[c->n].answers, 1) != 0) {
        BREACH("call %lld was answered twice", (long long)c->n);
    }
    check_reply(c, code, r);
    if (code == ERRAND_BACKGROUND) {
        k->pending[k->n_pending].task = r->task;
        k->pending[k->n_pending++].n = c->n;
        k->background++;
    } else {
        k->within++;
    }
}

static void
on_reply(void *ctx, int code, const struct errand_reply *r, const errand_error *error)
{
    struct flight *f = ctx;
    struct caller *k = f->of;
    if (code < 0) {
        BREACH("call %lld: %d, %s", (long long)f->call.n, code, error->message);
    }
    (void)pthread_mutex_lock(&k->lock);
    note(k, &f->call, code, r);
    k->flying--;
    (void)pthread_cond_signal(&k->fewer);
    (void)pthread_mutex_unlock(&k->lock);
    free(f);
}

/* Looks at what went to the background, when that is much. */
static void
look_back(struct caller *k, int more_than)
{
    while (k->n_pending > more_than) {
        int64_t task = k->pending[--k->n_pending].task, n = k->pending[k->n_pending].n;
        (void)pthread_mutex_unlock(&k->lock);
        check_task(k->e, task, n);
        (void)pthread_mutex_lock(&k->lock);
    }
}

static void
call_async(struct caller *k, int64_t n)
{
    errand_error error;
    struct flight *f = calloc(1, sizeof *f);
    f->of = k;
    choose(&f->call, n, &k->state);
    if (f->call.options.submit) {
        f->call.options.submit = &f->call.submit;
    }
    (void)pthread_mutex_lock(&k->lock);
    while (k->flying == FLIGHT) {
        (void)pthread_cond_wait(&k->fewer, &k->lock);
    }
    k->flying++;
    look_back(k, PENDING - 1);
    (void)pthread_mutex_unlock(&k->lock);
    OK(errand_call_async(k->e, f->call.type, f->call.args, &f->call.options, on_reply, f,
                         &error));
}

static void
call_sync(struct caller *k, int64_t n)
{
    errand_error error;
    struct errand_reply r;
    struct call c;
    choose(&c, n, &k->state);
    int code = errand_call(k->e, c.type, c.args, &c.options, &r, &error);
    if (code < 0) {
        BREACH("call %lld: %d, %s", (long long)n, code, error.message);
    }
    (void)pthread_mutex_lock(&k->lock);
    note(k, &c, code, &r);
    look_back(k, PENDING - 1);
    (void)pthread_mutex_unlock(&k->lock);
    errand_reply_free(&r);
}

static void *
call_all(void *ctx)
{
    struct caller *k = ctx;
    for (int64_t n = k->from; n < k->until; n++) {
        if (k->way == SYNC) {
            call_sync(k, n);
        } else {
            call_async(k, n);
        }
    }
    (void)pthread_mutex_lock(&k->lock);
    while (k->flying > 0) {
        (void)pthread_cond_wait(&k->fewer, &k->lock);
    }
    look_back(k, 0);
    (void)pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* What a submit behind all calls gets as its number: whether there are others than
 * theirs. */
static int64_t
last_task(errand *e)
{
    errand_error error;
    int64_t id;
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    o.held = 1;
    OK(errand_submit(e, types[0], "{\"n\":0}", &o, &id, &error));
    OK(errand_cancel(e, id, &error));
    return id;
}

static void
begin_fates(int64_t n)
{
    free(fates);
    fates = calloc((size_t)n, sizeof *fates);
    n_fates = n;
    part++;
}

static void
run_calls(const char *url, int64_t calls, int number)
{
    static struct caller callers[THREADS];
    int64_t within = 0, background = 0;
    begin_fates(calls);
    errand *e = open_at(url, ERRAND_THREAD, true);
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.e = e,
                                     .from = calls * i / THREADS,
                                     .until = calls * (i + 1) / THREADS,
                                     .state = campaign_seed * THREADS + (uint64_t)i,
                                     .way = i % 2 ? ASYNC : SYNC};
        (void)pthread_mutex_init(&callers[i].lock, NULL);
        (void)pthread_cond_init(&callers[i].fewer, NULL);
        (void)pthread_create(&callers[i].thread, NULL, call_all, &callers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        within += callers[i].within;
        background += callers[i].background;
        (void)pthread_mutex_destroy(&callers[i].lock);
        (void)pthread_cond_destroy(&callers[i].fewer);
    }
    for (int64_t n = 0; n < calls; n++) {
        const struct fate *f = &fates[n];
        if (f->begun != 1 || f->ended != 1 || f->answers != 1) {
            BREACH("call %lld: begun %d, ended %d, answered %d times", (long long)n,
                   f->begun, f->ended, f->answers);
        }
    }
    int64_t last = last_task(e);
    if (last != calls + 1) {
        BREACH("%lld calls have left %lld tasks", (long long)calls, (long long)last - 1);
    }
    errand_close(e);
    (void)printf("ok %d - %s: %lld calls, %lld within their budget, %lld in the "
                 "background: each ran once, each was answered once\n",
                 number, campaign_where, (long long)calls, (long long)within,
                 (long long)background);
    (void)fflush(stdout);
}

/* ---- callers that go ---- */

struct leaver {
    struct call call;
    int code; /* of its answer */
    int64_t task;
    pthread_t thread;
    errand *e;
};

static void
hear(struct leaver *l, int code, const struct errand_reply *r)
{
    if (atomic_fetch_add(&fates[l->call.n].answers, 1) != 0) {
        BREACH("call %lld was answered twice", (long long)l->call.n);
    }
    l->code = code;
    if (code >= 0) {
        check_reply(&l->call, code, r);
        l->task = r->task;
    } else if (code != ERRAND_ECLOSED) {
        BREACH("call %lld: %d though its handle was closed", (long long)l->call.n, code);
    }
}

static void
on_leave(void *ctx, int code, const struct errand_reply *r, const errand_error *error)
{
    (void)error;
    hear(ctx, code, r);
}

static void *
call_and_leave(void *ctx)
{
    struct leaver *l = ctx;
    errand_error error;
    struct errand_reply r;
    int code =
        errand_call(l->e, l->call.type, l->call.args, &l->call.options, &r, &error);
    hear(l, code, &r);
    if (code >= 0) {
        errand_reply_free(&r);
    }
    return NULL;
}

/* A third calls from threads; the handle is closed when their handlers have begun, so
 * that nobody calls a handle that is gone. The others are asynchronous. */
static void
leave(const char *url, struct leaver *ls, int64_t from, uint64_t *state)
{
    bool is_apart = strncmp(url, "unix:", 5) == 0;
    errand *e =
        open_at(url, rnd_below(state, 2) ? ERRAND_TURN : ERRAND_THREAD, !is_apart);
    errand_error error;
    int n_sync = errand_fd(e) < 0 ? ROUND / 3 : 0;
    for (int i = 0; i < ROUND; i++) {
        struct leaver *l = &ls[i];
        choose(&l->call, from + i, state);
        if (l->call.options.submit) {
            l->call.options.submit = &l->call.submit;
        }
        l->call.options.budget_ms = 1 + rnd_below(state, 40);
        l->e = e;
        l->code = ERRAND_EINVALID;
        l->task = 0;
        if (i < n_sync) {
            (void)pthread_create(&l->thread, NULL, call_and_leave, l);
        } else {
            OK(errand_call_async(e, l->call.type, l->call.args, &l->call.options,
                                 on_leave, l, &error));
        }
    }
    for (int i = 0; i < n_sync; i++) {
        while (!atomic_load(&fates[from + i].begun)) {
            nap_us(200);
        }
    }
    int naps = rnd_below(state, 20);
    for (int i = 0; i < naps; i++) {
        if (errand_fd(e) >= 0) {
            OK(errand_turn(e));
        }
        nap_us(500);
    }
    errand_close(e);
    for (int i = 0; i < n_sync; i++) {
        (void)pthread_join(ls[i].thread, NULL);
    }
}

/* Each task of the store has ended as its handler did, which did so once. */
static void
check_left(errand *e, int64_t first, int64_t n_calls)
{
    int64_t last = last_task(e), stored = 0;
    errand_error error;
    for (int64_t id = first; id < last; id++) { /* no handler is still to come after it */
        OK(errand_wait(e, id, -1, &error));
    }
    for (int64_t n = 0; n < n_calls; n++) {
        struct fate *f = &fates[n];
        int64_t task = atomic_load(&f->task);
        if (task) {
            check_task(e, task, n);
            stored++;
        }
        if (f->answers != 1 || f->ended != (task ? 1 : 0)) {
            BREACH("call %lld, task %lld: %d answers, %d ends", (long long)n,
                   (long long)task, f->answers, f->ended);
        }
    }
    if (stored != last - first) {
        BREACH("%lld tasks are stored, of %lld calls a handler ran",
               (long long)(last - first), (long long)stored);
    }
}

static void
run_leaving(const char *url, int rounds, int number)
{
    static struct leaver leavers[ROUND];
    bool is_apart = strncmp(url, "unix:", 5) == 0;
    uint64_t state = campaign_seed ^ 0xabcdef;
    int64_t answered = 0, closed = 0;
    begin_fates((int64_t)rounds * ROUND);
    errand *e = open_at(url, ERRAND_THREAD, true);
    int64_t first = last_task(e) + 1;
    for (int r = 0; r < rounds; r++) {
        if (!is_apart) {
            errand_close(e);
        }
        leave(url, leavers, (int64_t)r * ROUND, &state);
        for (int i = 0; i < ROUND; i++) {
            answered += leavers[i].code >= 0;
            closed += leavers[i].code == ERRAND_ECLOSED;
            if (leavers[i].code == ERRAND_EINVALID) {
                BREACH("call %lld was never answered", (long long)leavers[i].call.n);
            }
        }
        e = is_apart ? e : open_at(url, ERRAND_THREAD, true);
    }
    check_left(e, first, (int64_t)rounds * ROUND);
    errand_close(e);
    (void)printf("ok %d - %s: %d handles closed under %d calls each: %lld answered, %lld "
                 "told that it is closed; none ran twice\n",
                 number, campaign_where, rounds, ROUND, (long long)answered,
                 (long long)closed);
    (void)fflush(stdout);
}

int
main(int argc, char **argv)
{
    int64_t calls = argc > 1 ? atoll(argv[1]) : 0;
    if (calls < THREADS) {
        (void)fprintf(stderr, "usage: campaign_calls CALLS [SEED [URL...]]\n");
        return 2;
    }
    begin_campaign(argc > 2 ? argv[2] : NULL);
    char sqlite[96], daemon[96];
    (void)snprintf(sqlite, sizeof sqlite, "sqlite:%s/calls.db", campaign_folder);
    (void)snprintf(daemon, sizeof daemon, "unix:%s/errand.sock", campaign_folder);
    const char *all[] = {"memory:", sqlite, daemon};
    const char *const *urls = argc > 3 ? (const char *const *)&argv[3] : all;
    int n = argc > 3 ? argc - 3 : 3, number = 1, planned = 0;
    for (int i = 0; i < n; i++) {
        planned += strcmp(urls[i], "memory:") == 0 ? 1 : 2;
    }
    (void)printf("1..%d\n# seed %llu\n", planned, (unsigned long long)campaign_seed);
    for (int i = 0; i < n; i++) {
        campaign_where = urls[i];
        run_calls(urls[i], calls, number++);
        if (strcmp(urls[i], "memory:") != 0) { /* which would be gone when it is closed */
            run_leaving(urls[i], 1 + (int)(calls / 200), number++);
        }
    }
    free(fates);
    end_campaign();
    return 0;
}
