/* SPDX-License-Identifier: MIT */
/* Requests for which memory is out at any one allocation: the answer is a refusal or what
 * was asked for, and never something else. Of a text that is not there nothing must be
 * concluded: a filter that is missing means all tasks, a key that is missing a second
 * task, a token that is missing a session that is lost.
 *
 * The routes on an engine without threads, behind a door of the test's own. Each try is a
 * child: one in which the process ends has not answered wrongly. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/api.h"
#include "api/builtin.h"
#include "api/target.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "serve/defaults.h"
#include "wire/json.h"

#define TURNS      50
#define ASKS       16
#define TRIES_MAX  2000
#define WRONG      17 /* exit codes of a try */
#define NOT_STRUCK 18

/* ---- the door ---- */

struct ask {
    struct er_request base; /* first */
    const char *key, *text;
    struct er_buf body, answer;
    int status;
    er_pull_fn *pull;
    void *pull_ctx;
    struct er_stream stream;
};

static struct ask *
ask_of(const struct er_request *base)
{
    return (struct ask *)(uintptr_t)base;
}

static const char *
door_header(const struct er_request *base, const char *name)
{
    return strcmp(name, "Idempotency-Key") == 0 ? ask_of(base)->key : NULL;
}

static const struct er_buf *
door_body(const struct er_request *base)
{
    return &ask_of(base)->body;
}

static void
door_add_header(struct er_request *base, const char *name, const char *value)
{
    (void)base;
    (void)name;
    (void)value;
}

static void
door_reply(struct er_request *base, int status, const char *type, struct er_buf *body)
{
    struct ask *a = ask_of(base);
    (void)type;
    a->status = status;
    if (body) {
        a->answer = *body;
        *body = (struct er_buf){0};
    }
}

static struct er_stream *
door_stream(struct er_request *base, int status, const char *type, er_pull_fn *pull,
            void *ctx)
{
    struct ask *a = ask_of(base);
    (void)type;
    a->status = status;
    a->pull = pull;
    a->pull_ctx = ctx;
    a->stream.door = base->door;
    return &a->stream;
}

static void
door_wake(struct er_stream *s)
{
    (void)s; /* it is pulled when the test wants to know */
}

static const struct er_door door = {
    .header = door_header,
    .body = door_body,
    .add_header = door_add_header,
    .reply = door_reply,
    .stream = door_stream,
    .wake = door_wake,
};

/* ---- who looks after workers ---- */

static void
keep_attached(struct er_keeper *k, int64_t session, int pid, const char *version,
              bool inside)
{
    (void)k;
    (void)session;
    (void)pid;
    (void)version;
    (void)inside;
}

static void
keep_detached(struct er_keeper *k, int64_t session)
{
    (void)k;
    (void)session;
}

static int
keep_slots(struct er_keeper *k)
{
    (void)k;
    return 4;
}

static const char *
keep_version(const struct er_keeper *k, int64_t session)
{
    (void)k;
    (void)session;
    return NULL;
}

static void
keep_stats(const struct er_keeper *k, int64_t *out_restarts, bool *out_waiting)
{
    (void)k;
    *out_restarts = 0;
    *out_waiting = false;
}

static const char *
keep_trouble(const struct er_keeper *k)
{
    (void)k;
    return NULL;
}

static er_usec
keep_starts_after(const struct er_keeper *k)
{
    (void)k;
    return -1;
}

static const struct er_keeper keeper = {
    .attached = keep_attached,
    .detached = keep_detached,
    .version = keep_version,
    .slots = keep_slots,
    .stats = keep_stats,
    .trouble = keep_trouble,
    .starts_after = keep_starts_after,
};

/* ---- the house ---- */

struct house {
    char folder[64];
    struct er_places places;
    struct er_keeper keeper;
    struct er_api api;
};

/* The last ones; each is there until so many others were asked. */
static struct ask asks[ASKS];
static size_t n_asks;

static void
free_ask(struct ask *a)
{
    er_buf_fini(&a->base.target);
    er_buf_fini(&a->body);
    er_buf_fini(&a->answer);
}

static int
set_up(void **state)
{
    static struct house h;
    struct er_err err = {""};
    memset(&h, 0, sizeof h);
    (void)strcpy(h.folder, "/tmp/errand-api-XXXXXX");
    assert_non_null(mkdtemp(h.folder));
    h.places.workers = h.folder;
    h.places.logs = h.folder;
    h.keeper = keeper;
    assert_int_equal(er_loop_new(&h.api.loop, &err), 0);
    struct er_engine_options o = {.loop = h.api.loop,
                                  .clock = er_clock_system(),
                                  .store_path = ":memory:",
                                  .logs = h.folder,
                                  .inline_store = true};
    er_defaults_set(&h.api.config);
    o.retention = h.api.config.retention;
    o.max_losses = h.api.config.max_losses;
    assert_int_equal(er_engine_open(&o, &h.api.engine, &err), 0);
    er_builtin_load(h.api.engine);
    er_env_rules_init(&h.api.env_rules);
    h.api.places = &h.places;
    h.api.keeper = &h.keeper;
    h.api.default_env = er_xstrdup("{}");
    er_serial_init(&h.api.settings);
    er_serial_init(&h.api.edits);
    *state = &h;
    return 0;
}

static int
tear_down(void **state)
{
    struct house *h = *state;
    er_engine_stop(h->api.engine);
    er_engine_free(h->api.engine);
    er_loop_free(h->api.loop);
    er_env_rules_fini(&h->api.env_rules);
    er_free(h->api.default_env);
    (void)rmdir(h->folder);
    for (size_t i = 0; i < ASKS; i++) {
        free_ask(&asks[i]);
    }
    memset(asks, 0, sizeof asks);
    return 0;
}

/* Asks, and turns until it is answered. A stream stays open. */
static struct ask *
ask(struct house *h, const char *method, const char *target, const char *key,
    const char *body)
{
    const struct er_request_ops *ops = er_routes_ops();
    struct ask *a = &asks[n_asks++ % ASKS];
    enum er_body_kind kind = ER_BODY_WHOLE;
    size_t max = 0;
    free_ask(a);
    *a = (struct ask){.base = {.door = &door, .method = method}, .key = key};
    er_buf_init(&a->body, 0);
    er_buf_add_str(&a->body, body);
    if (er_target_parse(&a->base.target, target) != 0 || a->body.failed) {
        a->status = 503; /* a door refuses it */
        return a;
    }
    a->base.path = a->base.target.data;
    if (ops->on_head(&h->api, &a->base, &kind, &max) == 0) {
        ops->on_request(&h->api, &a->base);
    }
    for (int i = 0; i < TURNS && a->status == 0; i++) {
        er_schedule_turn(h->api.engine);
    }
    return a;
}

/* It is over: so is what it held. */
static void
end(struct house *h, struct ask *a)
{
    er_routes_ops()->on_end(&h->api, &a->base);
    er_schedule_turn(h->api.engine);
}

static int
ask_and_end(struct house *h, const char *method, const char *target, const char *body)
{
    struct ask *a = ask(h, method, target, NULL, body);
    end(h, a);
    return a->status;
}

static void
submit(struct house *h, const char *json)
{
    assert_int_equal(ask_and_end(h, "POST", "/v1/tasks", json), 201);
}

/* How many tasks a list has; -1: it is none. */
static int
count(const struct ask *a)
{
    json_error_t why;
    json_t *o = json_loadb(a->answer.data ? a->answer.data : "", a->answer.len, 0, &why);
    const json_t *tasks = json_object_get(o, "tasks");
    int n = json_is_array(tasks) ? (int)json_array_size(tasks) : -1;
    json_decref(o);
    return n;
}

static int
count_all(struct house *h, const char *target)
{
    struct ask *a = ask(h, "GET", target, NULL, "");
    int n = count(a);
    end(h, a);
    return n;
}

/* ---- tries ---- */

/* Does what is tried, while the n-th allocation fails, and says whether all is right. */
typedef bool try_fn(struct house *h, int n, void *ctx);

static bool struck;

static void
begin_fault(int n)
{
    er_mem_fault_set(n, 0);
}

static void
end_fault(void)
{
    struck = er_mem_fault_hit();
    er_mem_fault_set(0, 0);
}

static int
try_once(struct house *h, try_fn *fn, int n, void *ctx)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr)) {
            _exit(WRONG);
        }
        bool right = fn(h, n, ctx);
        _exit(!right ? WRONG : struck ? 0 : NOT_STRUCK);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Each allocation of it fails in its turn. */
static void
try_all(struct house *h, try_fn *fn, void *ctx)
{
    for (int n = 1; n < TRIES_MAX; n++) {
        int code = try_once(h, fn, n, ctx);
        if (code == NOT_STRUCK) {
            return;
        }
        if (code == WRONG) {
            fail_msg("a wrong answer when allocation %d fails", n);
        }
        if (code < 0) { /* er_x... ends the process in order; that is no order */
            fail_msg("the process was killed when allocation %d failed", n);
        }
    }
    fail_msg("more than %d allocations", TRIES_MAX);
}

static const char a_task[] = "{\"type\":\"shell\",\"args\":{\"argv\":[\"true\"]},"
                             "\"cwd\":\"/\",\"queue\":\"a\"}";
static const char b_task[] = "{\"type\":\"shell\",\"args\":{\"argv\":[\"true\"]},"
                             "\"cwd\":\"/\",\"queue\":\"b\",\"tags\":[\"x\"]}";

static bool
cancel_queue(struct house *h, int n, void *ctx)
{
    begin_fault(n);
    int status = ask_and_end(h, "POST", "/v1/actions/cancel", ctx);
    end_fault();
    int a = count_all(h, "/v1/tasks?queue=a&state=queued");
    int b = count_all(h, "/v1/tasks?queue=b&state=queued");
    return status != 0 && b == 2 && (status >= 300 || a == 0);
}

/* Nothing but what the filter names is cancelled. */
static void
test_actions_by_filter(void **state)
{
    struct house *h = *state;
    char by_queue[] = "{\"queue\":\"a\"}";
    submit(h, a_task);
    submit(h, b_task);
    submit(h, b_task);
    try_all(h, cancel_queue, by_queue);
}

static bool
list_queue(struct house *h, int n, void *ctx)
{
    begin_fault(n);
    struct ask *a = ask(h, "GET", ctx, NULL, "");
    end_fault();
    return a->status >= 500 || (a->status == 200 && count(a) == 1);
}

/* A list has what the filter names, and nothing else. */
static void
test_lists_by_filter(void **state)
{
    struct house *h = *state;
    char by_queue[] = "/v1/tasks?queue=a", by_tag[] = "/v1/tasks?tag=y";
    submit(h, a_task);
    submit(h, b_task);
    submit(h, b_task);
    submit(h, "{\"type\":\"shell\",\"args\":{\"argv\":[\"true\"]},\"cwd\":\"/\","
              "\"queue\":\"b\",\"tags\":[\"y\"]}");
    try_all(h, list_queue, by_queue);
    try_all(h, list_queue, by_tag);
}

/* The types are all there, or it is refused. */
static bool
list_types(struct house *h, int n, void *ctx)
{
    begin_fault(n);
    struct ask *a = ask(h, "GET", ctx, NULL, "");
    end_fault();
    return a->status >= 500 || (a->status == 200 && strstr(a->answer.data, "\"shell\"") &&
                                (strcmp(ctx, "/v1/types") != 0 ||
                                 strstr(a->answer.data, "\"http.request\"")));
}

static void
test_types(void **state)
{
    char all[] = "/v1/types", one[] = "/v1/types/shell";
    try_all(*state, list_types, all);
    try_all(*state, list_types, one);
}

/* One that is about one task. */
static bool
change_one(struct house *h, int n, void *ctx)
{
    begin_fault(n);
    struct ask *a = ask(h, ctx, "/v1/tasks/1", NULL, "{\"priority\":7}");
    end_fault();
    return a->status != 0 && (a->status < 300 || a->status >= 500);
}

static void
test_changes_of_one(void **state)
{
    char edit[] = "PATCH", removal[] = "DELETE";
    submit(*state, "{\"type\":\"shell\",\"args\":{\"argv\":[\"true\"]},\"cwd\":\"/\","
                   "\"held\":true}");
    try_all(*state, change_one, edit);
    submit(*state, a_task);
    assert_int_equal(ask_and_end(*state, "POST", "/v1/tasks/1/cancel", "{}") / 100, 2);
    try_all(*state, change_one, removal);
}

static bool
submit_twice(struct house *h, int n, void *ctx)
{
    char key[900];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    begin_fault(n);
    struct ask *a = ask(h, "POST", "/v1/tasks", key, ctx);
    end(h, a);
    end_fault();
    a = ask(h, "POST", "/v1/tasks", key, ctx); /* its answer was lost: once more */
    end(h, a);
    return a->status < 300 && count_all(h, "/v1/tasks") == 1;
}

/* What has a key is one task, however often it is sent. */
static void
test_submit_with_a_key(void **state)
{
    struct house *h = *state;
    char json[8192];
    for (int len = 100; len < 4500; len += 800) { /* where the arena has no more room */
        (void)snprintf(json, sizeof json,
                       "{\"type\":\"shell\",\"args\":{\"argv\":[\"true\",\"%0*d\"]},"
                       "\"cwd\":\"/\",\"held\":true}",
                       len, 7);
        try_all(h, submit_twice, json);
    }
}

/* ---- a worker's hello ---- */

struct worker {
    int64_t session, task;
    char token[64];
    char hello[16384];
};

static void
take_welcome(struct ask *a, struct worker *w)
{
    struct er_buf out;
    er_buf_init(&out, 0);
    assert_true(a->pull(a->pull_ctx, &out, 65536));
    json_error_t why;
    json_t *o = json_loadb(out.data, strcspn(out.data, "\n"), 0, &why);
    const json_t *v = json_object_get(o, "welcome");
    w->session = json_integer_value(json_object_get(v, "session"));
    (void)snprintf(w->token, sizeof w->token, "%s",
                   json_string_value(json_object_get(v, "token")));
    json_decref(o);
    er_buf_fini(&out);
}

/* It comes back with what it runs. */
static bool
come_back(struct house *h, int n, void *ctx)
{
    struct worker *w = ctx;
    begin_fault(n);
    struct ask *a = ask(h, "POST", "/v1/work/claim", NULL, w->hello);
    end_fault();
    struct er_live live = {0};
    bool is_held = er_engine_live(h->api.engine, w->task, &live) && live.attempt == 1;
    return is_held && (a->status == 200 || a->status >= 500);
}

/* A worker that comes back is neither told that its session is lost nor relieved of what
 * it runs. */
static void
test_hello(void **state)
{
    struct house *h = *state;
    struct worker w = {0};
    struct ask *a = ask(h, "POST", "/v1/work/claim", NULL,
                        "{\"protocol\":1,\"version\":\"" ER_VERSION "\",\"pid\":1,"
                        "\"session\":null,\"token\":null,\"held\":[],\"owed\":[]}");
    assert_int_equal(a->status, 200);
    take_welcome(a, &w);
    submit(h, a_task);
    w.task = 1;
    struct er_live live;
    for (int i = 0; i < TURNS && !er_engine_live(h->api.engine, w.task, &live); i++) {
        er_schedule_turn(h->api.engine);
    }
    assert_true(er_engine_live(h->api.engine, w.task, &live));
    end(h, a); /* the link is gone */
    for (int more = 0; more < 120; more += 40) {
        int at = snprintf(w.hello, sizeof w.hello,
                          "{\"protocol\":1,\"version\":\"" ER_VERSION "\",\"pid\":1,"
                          "\"session\":%lld,\"token\":\"%s\",\"owed\":[],\"held\":["
                          "{\"task\":1,\"attempt\":1,\"pid\":7,\"started_at\":null}",
                          (long long)w.session, w.token);
        for (int i = 0; i < more; i++) { /* what was taken from it */
            at += snprintf(w.hello + at, sizeof w.hello - (size_t)at,
                           ",{\"task\":%d,\"attempt\":1}", 1000 + i);
        }
        (void)snprintf(w.hello + at, sizeof w.hello - (size_t)at, "]}");
        try_all(h, come_back, &w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_actions_by_filter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lists_by_filter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_submit_with_a_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hello, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes_of_one, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
