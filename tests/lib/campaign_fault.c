/* SPDX-License-Identifier: MIT */
/* usage: campaign_fault STEP [SEED [URL...]]: the n-th allocation of the whole process
 * fails, of whatever thread and library (malloc, calloc and realloc are those of this
 * program), each STEP-th of them until none is hit; SEED says with which it begins. Each
 * life is a process of its own: it opens, registers, submits, waits, calls in both ways,
 * subscribes, publishes and closes. Speaks TAP. With -N instead of STEP only the N-th
 * fails, and in this very process.
 *
 * What a life must be, wherever memory was not to be had once:
 *   - every function does its work, or returns a code that says why; asked again, it does
 *     it
 *   - the handler has run once for each task; the asynchronous call is answered once
 *   - it ends, by itself and within 20 s */
#include <dlfcn.h>
#include <errno.h>
#include <sys/wait.h>

#include "campaign_base.h"

#define TRIES     3
#define WRONG_MAX 20 /* enough to see what is the matter */

/* ---- memory ---- */

#define SEEN __attribute__((visibility("default"))) /* by all libraries */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static _Atomic long countdown; /* 0 = off */
static _Atomic int struck;

/* jansson writes behind its buffer when that of a token cannot grow (2.14 passes over it
 * in its lexer), which no program can help: buffers grow to powers of two from 32 on. */
static bool
is_token_of_jansson(size_t size, const void *caller)
{
    Dl_info from;
    return size >= 32 && (size & (size - 1)) == 0 && dladdr(caller, &from) &&
           from.dli_fname && strstr(from.dli_fname, "libjansson");
}

static bool
fails(size_t size, const void *caller)
{
    if (atomic_load_explicit(&countdown, memory_order_relaxed) <= 0 ||
        atomic_fetch_sub(&countdown, 1) != 1) {
        return false;
    }
    if (is_token_of_jansson(size, caller)) {
        atomic_store(&countdown, 1); /* the next one */
        return false;
    }
    atomic_store(&struck, 1);
    errno = ENOMEM;
    return true;
}

SEEN void *
malloc(size_t size)
{
    return fails(size, __builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

SEEN void *
calloc(size_t n, size_t size)
{
    return fails(size, __builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

SEEN void *
realloc(void *old, size_t size)
{
    return fails(size, __builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

/* ---- one life ---- */

struct life {
    errand *e;
    _Atomic int runs, answers, facts;
    int refusals; /* codes that functions returned */
};

static int
work(errand_attempt *a, void *ctx)
{
    struct life *l = ctx;
    char bytes[32];
    int n = snprintf(bytes, sizeof bytes, "n=%d", (int)errand_arg_integer(a, "n", -1));
    atomic_fetch_add(&l->runs, 1);
    errand_progress_to(a, 1, 2, "half");
    for (int i = 0; i < TRIES && errand_result_set(a, bytes, (size_t)n) != 0; i++) {
    }
    return 0;
}

static void
on_event(void *ctx, errand_subscription *sub, const errand_event *event)
{
    struct life *l = ctx;
    (void)sub;
    atomic_fetch_add(&l->facts,
                     event->kind == ERRAND_FACT && strcmp(event->name, "a.fact") == 0);
}

static void
on_reply(void *ctx, int code, const struct errand_reply *r, const errand_error *error)
{
    struct life *l = ctx;
    (void)error;
    if (code >= 0 && code != ERRAND_COMPLETED && code != ERRAND_BACKGROUND) {
        BREACH("the asynchronous call is %d: %s", code, r->error ? r->error : "");
    }
    l->refusals += code < 0;
    atomic_fetch_add(&l->answers, 1);
}

/* Does it, again when it was refused. Yields what it returned at last. */
#define AGAIN(l, call)                                                                   \
    __extension__({                                                                      \
        int rc_ = -1;                                                                    \
        for (int i_ = 0; i_ < TRIES && rc_ < 0; i_++) {                                  \
            rc_ = (call);                                                                \
            (l)->refusals += rc_ < 0;                                                    \
        }                                                                                \
        if (rc_ < 0) {                                                                   \
            BREACH("%s: %d, %s: %s", #call, rc_, error.field, error.message);            \
        }                                                                                \
        rc_;                                                                             \
    })

static void
open_life(struct life *l, const char *url)
{
    static const struct errand_param params[] = {
        {.name = "n",
         .kind = ERRAND_PARAM_INTEGER,
         .required = 1,
         .has_min = 1,
         .min = 1},
        {.name = "text", .kind = ERRAND_PARAM_STRING, .def = "\"a\"", .pattern = "^a"},
    };
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_type t = ERRAND_INIT(errand_type);
    errand_error error;
    o.handler_threads = 2;
    o.no_commands = 1;
    (void)AGAIN(l, errand_open(url, &o, &l->e, &error));
    t.name = "fault.work";
    t.description = "works without memory";
    t.params = params;
    t.n_params = 2;
    t.handler = work;
    t.ctx = l;
    (void)AGAIN(l, errand_register(l->e, &t, &error));
}

static void
submit(struct life *l)
{
    struct errand_submit_options so = ERRAND_INIT(errand_submit_options);
    errand_error error;
    int64_t id;
    char *text;
    so.key = "once";
    (void)AGAIN(l, errand_submit(l->e, "fault.work", "{\"n\":1}", &so, &id, &error));
    if (AGAIN(l, errand_wait(l->e, id, -1, &error)) != ERRAND_COMPLETED) {
        BREACH("the task did not complete");
    }
    (void)AGAIN(l, errand_result(l->e, id, &text, NULL, &error));
    if (strcmp(text, "n=1") != 0) {
        BREACH("the result is '%s'", text);
    }
    errand_free(text);
    (void)AGAIN(l, errand_get(l->e, id, &text, &error));
    errand_free(text);
    (void)AGAIN(l, errand_types(l->e, "fault.work", &text, &error));
    errand_free(text);
    if (errand_submit(l->e, "fault.work", "{\"n\":0}", NULL, &id, &error) >= 0) {
        BREACH("an argument that does not fit was taken");
    }
}

static void
call(struct life *l)
{
    struct errand_submit_options so = ERRAND_INIT(errand_submit_options);
    struct errand_call_options co = ERRAND_INIT(errand_call_options);
    struct errand_reply reply;
    errand_error error;
    so.key = "called";
    co.submit = &so;
    co.always_wait = 1;
    co.budget_ms = 20000;
    if (AGAIN(l, errand_call(l->e, "fault.work", "{\"n\":2}", &co, &reply, &error)) !=
            ERRAND_COMPLETED ||
        !reply.result || strcmp(reply.result, "n=2") != 0) {
        BREACH("the call is %d: %s", reply.state, reply.result ? reply.result : "none");
    }
    errand_reply_free(&reply);
    so.key = "called later";
    (void)AGAIN(
        l, errand_call_async(l->e, "fault.work", "{\"n\":3}", &co, on_reply, l, &error));
    while (!atomic_load(&l->answers)) {
        nap_us(100);
    }
}

static void
listen_and_publish(struct life *l)
{
    struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
    const errand_event fact = {
        .name = "a.fact", .kind = ERRAND_FACT, .data = "1", .len = 1};
    const errand_event sample = {
        .name = "a.sample", .kind = ERRAND_SAMPLE, .data = "2", .len = 1};
    errand_subscription *sub;
    errand_error error;
    o.prefix = "a.";
    (void)AGAIN(l, errand_subscribe(l->e, &o, on_event, l, &sub, &error));
    (void)AGAIN(l, errand_publish(l->e, &sample, &error));
    (void)AGAIN(l, errand_publish(l->e, &fact, &error));
    while (!atomic_load(&l->facts)) {
        nap_us(100);
    }
    errand_unsubscribe(sub);
}

/* Ends with 0 when memory was there all the time, 3 when it was missing once, 4 when a
 * function has said so; with 1 at a breach. */
static int
live(const char *url, long n)
{
    struct life l = {0};
    (void)alarm(200); /* a life that hangs */
    atomic_store(&countdown, n);
    open_life(&l, url);
    submit(&l);
    call(&l);
    listen_and_publish(&l);
    errand_close(l.e);
    atomic_store(&countdown, 0);
    int answered = atomic_load(&l.answers);
    if (atomic_load(&l.runs) > 3 || atomic_load(&l.runs) < 2 || answered != 1) {
        BREACH("%d runs of 3 tasks, %d answers", atomic_load(&l.runs), answered);
    }
    return !atomic_load(&struck) ? 0 : l.refusals == 0 ? 3 : 4;
}

/* A process for each n. Returns how many did not go as they must. */
static int
try_all(const char *url, long step, long *n_out, int *refused)
{
    int wrong = 0, status = -1;
    long n = 1 + (long)(campaign_seed % (unsigned long)step);
    for (*refused = 0; status != 0 && n < 100000 && wrong < WRONG_MAX; n += step) {
        char full[128], where[64];
        (void)snprintf(full, sizeof full, "%s", url);
        if (strcmp(url, "sqlite:") == 0) {
            (void)snprintf(full, sizeof full, "sqlite:%s/%ld.db", campaign_folder, n);
        }
        (void)snprintf(where, sizeof where, "%s, allocation %ld", url, n);
        campaign_where = where;
        (void)fflush(stdout);
        pid_t pid = fork(); /* this process has no threads */
        if (pid == 0) {
            _exit(live(full, n));
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            BREACH("no process");
        }
        bool is_fine = WIFEXITED(status) && (status == 0 || WEXITSTATUS(status) == 3 ||
                                             WEXITSTATUS(status) == 4);
        *refused += WIFEXITED(status) && WEXITSTATUS(status) == 4;
        wrong += !is_fine;
        if (!is_fine) {
            (void)printf("# %s: ended with status %#x\n", where, (unsigned)status);
        }
    }
    campaign_where = url;
    *n_out = n;
    return wrong;
}

int
main(int argc, char **argv)
{
    static const char *const all[] = {"memory:", "sqlite:"};
    long step = argc > 1 ? atol(argv[1]) : 0;
    int bad = 0;
    if (step < 0 && argc > 3) { /* for a debugger: this one life, in this process */
        begin_campaign(argv[2]);
        int code = live(argv[3], -step);
        end_campaign();
        return code;
    }
    if (step < 1) {
        (void)fprintf(stderr, "usage: campaign_fault STEP [SEED [URL...]]\n");
        return 2;
    }
    begin_campaign(argc > 2 ? argv[2] : "1");
    const char *const *urls = argc > 3 ? (const char *const *)&argv[3] : all;
    int n_urls = argc > 3 ? argc - 3 : 2;
    (void)printf("1..%d\n", n_urls);
    for (int i = 0; i < n_urls; i++) {
        long n;
        int refused, wrong = try_all(urls[i], step, &n, &refused);
        bad += wrong > 0;
        (void)printf(
            "%s %d - %s one allocation in %ld of %ld failed, each in a life of its own: "
            "%d went wrong, %d were told by a code\n",
            wrong || n < 200 ? "not ok" : "ok", i + 1, urls[i], step, n, wrong, refused);
    }
    end_campaign();
    return bad ? 1 : 0;
}
