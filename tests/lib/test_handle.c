/* SPDX-License-Identifier: MIT */
/* Opening, closing, waiting: with a store in memory, one in a file, and a daemon; with a
 * thread of the library and in turns. */
#include "lib_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static const int both[] = {ERRAND_THREAD, ERRAND_TURN};

static const char *
url_of(const struct home *h, int which)
{
    return which == 0 ? "memory:" : which == 1 ? h->sqlite : h->daemon;
}

static int64_t
submit_held(errand *e, const char *key)
{
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    const char *const argv[] = {"true", NULL};
    errand_error error;
    int64_t id = 0;
    o.held = 1;
    o.key = key;
    OK(errand_submit_command(e, argv, "/", &o, &id, &error));
    return id;
}

/* ---- each way ---- */

static void
look_and_act(errand *e)
{
    errand_error error;
    char *text = NULL;
    size_t len;
    int64_t id = submit_held(e, NULL);
    assert_true(id > 0);
    assert_int_equal(errand_state(e, id, &error), ERRAND_PAUSED);
    int64_t keyed = submit_held(e, "a key & more=%41/\xc3\xbc+"), found = 0;
    OK(errand_find_key(e, "a key & more=%41/\xc3\xbc+", &found, &error));
    assert_int_equal(found, keyed);
    OK(errand_get(e, id, &text, &error));
    assert_non_null(strstr(text, "\"argv\":[\"true\"]"));
    errand_free(text);
    OK(errand_why(e, id, &text, &error));
    assert_true(text[0] != '\0');
    errand_free(text);
    assert_int_equal(errand_result(e, id, &text, &len, &error), ERRAND_ENOTFOUND);
    assert_int_equal(errand_wait(e, id, 1, &error), ERRAND_ETIMEOUT);
    assert_int_equal(errand_retry(e, id, &error), ERRAND_ESTATE);
    assert_int_equal(errand_remove(e, id, &error), ERRAND_ESTATE);
    OK(errand_cancel(e, id, &error));
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_CANCELLED);
    OK(errand_remove(e, id, &error));
    assert_int_equal(errand_state(e, id, &error), ERRAND_ENOTFOUND);
    assert_int_equal(error.code, ERRAND_ENOTFOUND);
    assert_non_null(strstr(error.message, "removed"));
}

static void
run_a_command(errand *e)
{
    const char *const argv[] = {"sh", "-c", "exit 3", NULL};
    errand_error error;
    int64_t id;
    char *text;
    OK(errand_submit_command(e, argv, NULL, NULL, &id, &error));
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_FAILED);
    OK(errand_get(e, id, &text, &error));
    assert_non_null(strstr(text, "\"exit_code\":3"));
    errand_free(text);
}

static void
ask_anything(errand *e)
{
    errand_error error;
    char *text;
    size_t len;
    assert_int_equal(errand_request(e, "GET", "/v1/queues", NULL, 0, &text, &len, &error),
                     200);
    assert_int_equal(strlen(text), len);
    errand_free(text);
    assert_int_equal(errand_request(e, "PUT", "/v1/queues/q", "{\"size\":-1}", 11, &text,
                                    &len, &error),
                     400);
    assert_int_equal(error.code, ERRAND_EINVALID);
    assert_string_equal(error.field, "size");
    errand_free(text);
    assert_int_equal(errand_request(e, "GET", "/v1/nothing", NULL, 0, NULL, NULL, &error),
                     404);
    assert_int_equal(errand_request(e, "LOOK", "/v1", NULL, 0, NULL, NULL, &error),
                     ERRAND_EINVALID);
}

static void
handle__the_same_calls_work_everywhere(void **state)
{
    for (int which = 0; which < 3; which++) {
        for (size_t i = 0; i < 2; i++) {
            errand *e = open_with(url_of(*state, which), both[i]);
            look_and_act(e);
            ask_anything(e);
            run_a_command(e);
            errand_close(e);
        }
    }
}

static void
handle__many_are_submitted_at_once(void **state)
{
    static const char *const documents[] = {
        "{\"args\":{\"command\":\"true\"}, \"held\": true}",
        "{\"args\":{\"command\":\"true\"},\n \"held\": true, \"no-such\": 1}",
        "{\"args\":{\"command\":\"true\"},\"held\":true,\"priority\":2}"};
    for (int which = 0; which < 3; which++) {
        errand *e = open_with(url_of(*state, which), ERRAND_THREAD);
        errand_error error;
        int64_t ids[3] = {0};
        int codes[3];
        assert_int_equal(errand_submit_many(e, documents, 3, 0, ids, codes, &error),
                         ERRAND_EINVALID);
        assert_non_null(strstr(error.message, "entry 1"));
        assert_int_equal(codes[0], 0);
        assert_int_equal(codes[1], ERRAND_EINVALID);
        assert_int_equal(codes[2], 0);
        assert_true(ids[0] > 0 && ids[1] == 0 && ids[2] > ids[0]);
        assert_true(errand_submit_many(e, documents, 3, 1, ids, NULL, &error) < 0);
        errand_close(e);
    }
}

/* ---- calls ---- */

/* How the task has it; a time that is not known before is left out. */
static const char *const asked[] = {"\"name\":\"a call\"",
                                    "\"queue\":\"q\"",
                                    "\"key\":\"k\"",
                                    "\"limit_key\":\"l\"",
                                    "\"correlation_id\":\"c\"",
                                    "\"priority\":5",
                                    "\"retries\":7",
                                    "\"timeout_s\":600",
                                    "\"cost\":4",
                                    "\"tags\":[\"a\",\"b\"]",
                                    "\"meta\":{\"m\":\"n\"}",
                                    "\"backoff_s\":3",
                                    "\"heartbeat_s\":60",
                                    "\"grace_s\":2",
                                    "\"on_lost\":\"hold\"",
                                    "\"expires_at\":\"2"};

static void
handle__a_call_takes_what_a_submit_takes(void **state)
{
    static const char *const tags[] = {"a", "b", NULL};
    for (int which = 0; which < 3; which++) {
        errand *e = open_with(url_of(*state, which), ERRAND_THREAD);
        struct errand_submit_options s = ERRAND_INIT(errand_submit_options);
        struct errand_call_options o = ERRAND_INIT(errand_call_options);
        struct errand_reply reply;
        errand_error error;
        char *text;
        int64_t first = submit_held(e, NULL);
        s.name = "a call", s.queue = "q", s.key = "k", s.limit_key = "l";
        s.correlation = "c", s.priority = 5, s.has_retries = 1, s.retries = 7;
        s.timeout_ms = 600000, s.expires_ms = 900000, s.cost = 4, s.tags = tags;
        s.backoff_ms = 3000, s.heartbeat_ms = 60000, s.grace_ms = 2000;
        s.on_lost = "hold", s.more = "{\"meta\":{\"m\":\"n\"}}";
        s.after = &first, s.n_after = 1;
        o.budget_ms = 1;
        o.submit = &s;
        OK(errand_call(e, "shell", "{\"command\":\"true\"}", &o, &reply, &error));
        assert_int_equal(reply.state, ERRAND_BACKGROUND);
        OK(errand_get(e, reply.task, &text, &error));
        for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
            if (!strstr(text, asked[i])) {
                fail_msg("%s is not in %s", asked[i], text);
            }
        }
        errand_free(text);
        errand_reply_free(&reply);
        assert_int_equal(
            errand_call(e, "shell", "{\"command\":\"true\"}", &o, &reply, &error),
            ERRAND_BACKGROUND); /* the key: the same task */
        errand_reply_free(&reply);
        s.more = "{\"backoff_s\":-1}";
        assert_int_equal(
            errand_call(e, "shell", "{\"command\":\"true\"}", &o, &reply, &error),
            ERRAND_EINVALID);
        assert_string_equal(error.field, "backoff_ms");
        errand_close(e);
    }
}

/* ---- types of files ---- */

struct told {
    pthread_mutex_t lock;
    char text[8192];
};

static void
on_log(void *ctx, int level, const char *text)
{
    struct told *t = ctx;
    (void)level;
    (void)pthread_mutex_lock(&t->lock);
    size_t n = strlen(t->text);
    (void)snprintf(t->text + n, sizeof t->text - n, "%s\n", text);
    (void)pthread_mutex_unlock(&t->lock);
}

static bool
has_told(struct told *t, const char *words)
{
    (void)pthread_mutex_lock(&t->lock);
    bool is_so = strstr(t->text, words) != NULL;
    (void)pthread_mutex_unlock(&t->lock);
    return is_so;
}

static void
write_type(const struct home *h, const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/types/%s", h->folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    (void)fclose(f);
}

static void
handle__an_embedded_store_reads_types_of_files(void **state)
{
    const struct home *h = *state;
    char types[80], path[128];
    (void)snprintf(types, sizeof types, "%s/types", h->folder);
    (void)snprintf(path, sizeof path, "%s/greet.yml", types);
    assert_int_equal(mkdir(types, 0700), 0);
    write_type(h, "odd.yml", "help: is wrong\ncommand: [\"true\"]\nparametres: []\n");
    for (int which = 0; which < 2; which++) {
        struct errand_options o = ERRAND_INIT(errand_options);
        struct errand_call_options wait = ERRAND_INIT(errand_call_options);
        struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER};
        struct errand_reply reply;
        errand_error error;
        char *text;
        errand *e;
        write_type(h, "greet.yml",
                   "help: says hello\ncommand: [test, \"{name}\", \"=\", ann]\n"
                   "parameters:\n  - {name: name, kind: string, required: true}\n");
        o.types_dir = types;
        o.log = on_log;
        o.log_ctx = &told;
        OK(errand_open(url_of(h, which), &o, &e, &error));
        assert_true(has_told(&told, "odd.yml:3: "));
        assert_int_equal(errand_types(e, "odd", &text, &error), ERRAND_ENOTFOUND);
        assert_int_equal(errand_call(e, "greet", NULL, NULL, &reply, &error),
                         ERRAND_EINVALID);
        assert_string_equal(error.field, "name");
        wait.budget_ms = 600000;
        assert_int_equal(
            errand_call(e, "greet", "{\"name\":\"ann\"}", &wait, &reply, &error),
            ERRAND_COMPLETED);
        errand_reply_free(&reply);
        errand_close(e);
        /* where nobody asks for the folder it stays; with its file it goes */
        if (which == 1) {
            e = open_with(url_of(h, which), ERRAND_TURN);
            OK(errand_types(e, "greet", &text, &error));
            errand_free(text);
            errand_close(e);
            assert_int_equal(unlink(path), 0);
            OK(errand_open(url_of(h, which), &o, &e, &error));
            assert_int_equal(errand_types(e, "greet", &text, &error), ERRAND_ENOTFOUND);
            errand_close(e);
        }
    }
}

static void
handle__a_folder_of_types_is_there(void **state)
{
    const struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    errand *e;
    o.types_dir = "/nowhere/types.d";
    assert_int_equal(errand_open("memory:", &o, &e, &error), ERRAND_ENOTFOUND);
    assert_string_equal(error.field, "types_dir");
    o.types_dir = "/dev/null";
    assert_int_equal(errand_open("memory:", &o, &e, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "types_dir");
    o.types_dir = h->folder;
    assert_int_equal(errand_open(h->daemon, &o, &e, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "types_dir");
}

/* ---- refusals ---- */

static void
handle__what_is_wrong_is_refused_by_name(void **state)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    struct {
        struct errand_options o;
        char later[8];
    } newer = {.o = ERRAND_INIT(errand_options)};
    errand_error error;
    errand *e;
    (void)state;
    assert_int_equal(errand_open("http://x", &o, &e, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "url");
    o.threading = 7;
    assert_int_equal(errand_open("memory:", &o, &e, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "threading");
    o.threading = 0;
    o.size = 3;
    assert_int_equal(errand_open("memory:", &o, &e, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "size");
    newer.o.size = sizeof newer;
    assert_int_equal(errand_open("memory:", &newer.o, &e, &error), 0);
    errand_close(e);
    newer.later[0] = 1;
    assert_int_equal(errand_open("memory:", &newer.o, &e, &error), ERRAND_EINVALID);
    assert_int_equal(errand_open("sqlite:/nowhere/at/all.db", NULL, &e, &error),
                     ERRAND_EINVALID - 1); /* its folder does not exist */
    errand_close(NULL);
}

static void
handle__an_older_program_knows_fewer_options(void **state)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    errand *e;
    (void)state;
    o.size = offsetof(struct errand_options, concurrency);
    o.concurrency = -1; /* beyond what it knows: not read */
    OK(errand_open("memory:", &o, &e, &error));
    errand_close(e);
}

static void
handle__a_store_has_one_owner_who_is_named(void **state)
{
    struct home *h = *state;
    errand *first = open_with(h->sqlite, ERRAND_THREAD), *second = NULL;
    errand_error error;
    char pid[32];
    (void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_int_equal(errand_open(h->sqlite, NULL, &second, &error), ERRAND_EBUSY);
    assert_non_null(strstr(error.message, pid));
    assert_non_null(strstr(error.message, "test_handle"));
    int64_t id = submit_held(first, "k");
    errand_close(first);
    second = open_with(h->sqlite, ERRAND_TURN);
    assert_int_equal(errand_state(second, id, &error), ERRAND_PAUSED);
    assert_int_equal(submit_held(second, "k"), id);
    errand_close(second);
}

static void
handle__a_socket_lets_clients_in(void **state)
{
    struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    char path[128], url[140];
    errand *e, *client, *other;
    (void)snprintf(path, sizeof path, "%s/app.sock", h->folder);
    (void)snprintf(url, sizeof url, "unix:%s", path);
    o.socket = path;
    OK(errand_open(h->sqlite, &o, &e, &error));
    client = open_with(url, ERRAND_TURN);
    int64_t id = submit_held(client, NULL);
    assert_int_equal(errand_state(e, id, &error), ERRAND_PAUSED);
    assert_int_equal(errand_open(h->sqlite, NULL, &other, &error), ERRAND_EBUSY);
    assert_non_null(strstr(error.message, path));
    /* it is not taken away from who answers there */
    assert_int_equal(errand_open("memory:", &o, &other, &error), ERRAND_EBUSY);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(errand_state(client, id, &error), ERRAND_PAUSED);
    assert_int_equal(access(path, F_OK), 0);
    errand_close(client);
    errand_close(e);
    assert_int_equal(access(path, F_OK), -1);
    /* nor is a file that is none */
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    (void)fclose(f);
    assert_int_equal(errand_open("memory:", &o, &other, &error), ERRAND_EBUSY);
    assert_int_equal(access(path, F_OK), 0);
}

static void
handle__a_socket_of_another_stays(void **state)
{
    struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    char path[128], old[140], url[140];
    errand *first, *second, *client;
    (void)snprintf(path, sizeof path, "%s/app.sock", h->folder);
    (void)snprintf(old, sizeof old, "%s.old", path);
    (void)snprintf(url, sizeof url, "unix:%s", path);
    o.socket = path;
    OK(errand_open("memory:", &o, &first, &error));
    assert_int_equal(rename(path, old), 0); /* by somebody who tidied up */
    OK(errand_open("memory:", &o, &second, &error));
    errand_close(first);
    client = open_with(url, ERRAND_TURN);
    assert_true(submit_held(client, NULL) > 0);
    errand_close(client);
    errand_close(second);
    assert_int_equal(access(path, F_OK), -1);
}

static void
handle__nobody_answers_and_nobody_is_started(void **state)
{
    struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    errand *e;
    o.no_autostart = 1;
    assert_int_equal(errand_open(h->daemon, &o, &e, &error), ERRAND_ENODAEMON);
    assert_int_equal(daemon_pid(h), 0);
}

/* ---- closing, and callbacks ---- */

struct waiter {
    errand *e;
    int64_t id;
    int rc;
    int tid; /* 0 = it has not begun */
};

static void *
wait_for_it(void *arg)
{
    struct waiter *w = arg;
    __atomic_store_n(&w->tid, gettid(), __ATOMIC_SEQ_CST);
    w->rc = errand_wait(w->e, w->id, -1, NULL);
    return NULL;
}

static void
handle__closing_ends_what_others_wait_for(void **state)
{
    for (int which = 0; which < 3; which++) {
        for (size_t i = 0; i < 2; i++) {
            errand *e = open_with(url_of(*state, which), both[i]);
            struct waiter w = {.e = e, .id = submit_held(e, NULL)};
            pthread_t t;
            assert_int_equal(pthread_create(&t, NULL, wait_for_it, &w), 0);
            for (int k = 0; k < 20; k++) { /* it may wait by then, or not yet */
                submit_held(e, NULL);
            }
            await_asleep(&w.tid); /* it must have called before the handle goes */
            if (both[i] == ERRAND_TURN) {
                assert_int_equal(errand_turn(e), 0);
            }
            errand_close(e);
            assert_int_equal(pthread_join(t, NULL), 0);
            assert_int_equal(w.rc, ERRAND_ECLOSED);
        }
    }
}

struct answers {
    errand *e;
    int n, status, refused, turned;
    int64_t id;
    pthread_mutex_t lock;
};

static void
on_answer(void *ctx, int status, const char *body, size_t len, const errand_error *error)
{
    struct answers *a = ctx;
    errand_error inner;
    assert_int_equal(strlen(body), len);
    (void)error;
    (void)pthread_mutex_lock(&a->lock);
    a->refused = errand_state(a->e, 1, &inner);
    a->turned = errand_turn(a->e);
    a->status = status;
    a->n++;
    (void)pthread_mutex_unlock(&a->lock);
}

static void
on_submitted(void *ctx, int code, int64_t id, const errand_error *error)
{
    struct answers *a = ctx;
    (void)pthread_mutex_lock(&a->lock);
    a->id = code == 0 ? id : code;
    assert_true((code == 0) == (error == NULL));
    a->n++;
    (void)pthread_mutex_unlock(&a->lock);
}

static int
n_of(struct answers *a)
{
    (void)pthread_mutex_lock(&a->lock);
    int n = a->n;
    (void)pthread_mutex_unlock(&a->lock);
    return n;
}

static void
handle__answers_come_by_callback(void **state)
{
    for (int which = 0; which < 3; which++) {
        for (size_t i = 0; i < 2; i++) {
            struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
            struct answers a = {.e = open_with(url_of(*state, which), both[i]),
                                .lock = PTHREAD_MUTEX_INITIALIZER};
            errand_error error;
            OK(errand_request_async(a.e, "GET", "/v1/stats", NULL, 0, on_answer, &a,
                                    &error));
            AWAIT(a.e, n_of(&a) == 1);
            assert_int_equal(a.status, 200);
            assert_int_equal(a.refused, ERRAND_EBUSY);
            assert_int_equal(a.turned,
                             both[i] == ERRAND_TURN ? ERRAND_EBUSY : ERRAND_EINVALID);
            o.held = 1;
            OK(errand_submit_async(a.e, "shell", "{\"command\":\"true\"}", &o,
                                   on_submitted, &a, &error));
            AWAIT(a.e, n_of(&a) == 2);
            assert_true(a.id > 0);
            OK(errand_submit_async(a.e, "no.such", NULL, NULL, on_submitted, &a, &error));
            AWAIT(a.e, n_of(&a) == 3);
            assert_int_equal(a.id, ERRAND_ENOTFOUND);
            errand_close(a.e);
        }
    }
}

/* The descriptor is readable also when a timer of the loop is due. */
/* ---- one thread at a time ---- */

struct crowd {
    errand *e;
    int64_t id;
    sem_t is_inside, has_tried;
    atomic_int left, rc;
    atomic_bool is_over;
};

static int
turn_in_callback(struct crowd *c)
{
    int rc = errand_turn(c->e);
    assert_int_equal(sem_post(&c->is_inside), 0);
    while (sem_wait(&c->has_tried) != 0) {
    }
    return rc;
}

static void
on_answer_in_crowd(void *ctx, int status, const char *body, size_t len,
                   const errand_error *error)
{
    struct crowd *c = ctx;
    (void)body;
    (void)len;
    (void)error;
    assert_int_equal(status, 200);
    c->rc = turn_in_callback(c);
    c->left--;
}

static void *
turn_elsewhere(void *arg)
{
    struct crowd *c = arg;
    while (sem_wait(&c->is_inside) != 0) {
    }
    int rc = errand_turn(c->e);
    assert_int_equal(sem_post(&c->has_tried), 0);
    return (void *)(intptr_t)rc;
}

/* From inside a callback, and from elsewhere while that is on the stack. */
static void
handle__who_turns_is_alone(void **state)
{
    for (int which = 0; which < 3; which++) {
        struct crowd c = {.e = open_with(url_of(*state, which), ERRAND_TURN), .left = 1};
        errand_error error;
        pthread_t t;
        void *elsewhere;
        assert_int_equal(sem_init(&c.is_inside, 0, 0), 0);
        assert_int_equal(sem_init(&c.has_tried, 0, 0), 0);
        assert_int_equal(pthread_create(&t, NULL, turn_elsewhere, &c), 0);
        OK(errand_request_async(c.e, "GET", "/v1/stats", NULL, 0, on_answer_in_crowd, &c,
                                &error));
        AWAIT(c.e, c.left == 0);
        assert_int_equal(pthread_join(t, &elsewhere), 0);
        assert_int_equal((intptr_t)elsewhere, ERRAND_EBUSY);
        assert_int_equal(c.rc, ERRAND_EBUSY);
        assert_int_equal(errand_turn(c.e), 0);
        errand_close(c.e);
    }
}

static void
on_fact(void *ctx, errand_subscription *sub, const errand_event *event)
{
    struct crowd *c = ctx;
    (void)sub;
    if (strcmp(event->name, "task-cancelled") == 0) {
        c->rc = errand_turn(c->e);
        assert_int_equal(sem_post(&c->is_inside), 0);
    }
}

/* On whatever thread the callback is. */
static void
handle__a_callback_on_a_thread_turns_nothing(void **state)
{
    struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
    struct crowd c = {.e = open_with("memory:", ERRAND_TURN)};
    errand_subscription *sub;
    errand_error error;
    (void)state;
    assert_int_equal(sem_init(&c.is_inside, 0, 0), 0);
    o.delivery = ERRAND_ON_THREAD;
    OK(errand_subscribe(c.e, &o, on_fact, &c, &sub, &error));
    OK(errand_cancel(c.e, submit_held(c.e, NULL), &error));
    AWAIT(c.e, sem_trywait(&c.is_inside) == 0);
    assert_int_equal(c.rc, ERRAND_EBUSY);
    errand_unsubscribe(sub);
    errand_close(c.e);
}

static void
on_counted(void *ctx, int status, const char *body, size_t len, const errand_error *error)
{
    struct crowd *c = ctx;
    (void)body;
    (void)len;
    (void)error;
    assert_int_equal(status, 200);
    c->left--;
}

static void *
turn_often(void *arg)
{
    struct crowd *c = arg;
    while (!c->is_over) {
        int rc = errand_turn(c->e);
        assert_true(rc == 0 || rc == ERRAND_EBUSY);
    }
    return NULL;
}

static void
handle__a_crowd_turns_in_turns(void **state)
{
    for (int which = 0; which < 3; which++) {
        struct crowd c = {.e = open_with(url_of(*state, which), ERRAND_TURN), .left = 50};
        pthread_t t[3];
        errand_error error;
        for (int i = 0; i < 3; i++) {
            assert_int_equal(pthread_create(&t[i], NULL, turn_often, &c), 0);
        }
        for (int i = 0; i < 50; i++) {
            OK(errand_request_async(c.e, "GET", "/v1/stats", NULL, 0, on_counted, &c,
                                    &error));
            assert_true(errand_state(c.e, 1, &error) == ERRAND_ENOTFOUND);
        }
        for (int tries = 0; c.left > 0; tries++) {
            assert_true(tries < 60000);
            (void)usleep(1000);
        }
        c.is_over = true;
        for (int i = 0; i < 3; i++) {
            assert_int_equal(pthread_join(t[i], NULL), 0);
        }
        errand_close(c.e);
    }
}

static void
on_inside(void *ctx, int status, const char *body, size_t len, const errand_error *error)
{
    struct crowd *c = ctx;
    (void)status;
    (void)body;
    (void)len;
    (void)error;
    assert_int_equal(sem_post(&c->is_inside), 0);
}

static void *
wait_inside(void *arg)
{
    struct crowd *c = arg;
    errand_error error;
    assert_int_equal(errand_turn(c->e), 0); /* the loop is this thread's now */
    OK(errand_request_async(c->e, "GET", "/v1/stats", NULL, 0, on_inside, c, &error));
    return (void *)(intptr_t)errand_wait(c->e, c->id, -1, &error);
}

static void
handle__closing_ends_who_turns_elsewhere(void **state)
{
    for (int which = 0; which < 3; which++) {
        struct crowd c = {.e = open_with(url_of(*state, which), ERRAND_TURN)};
        pthread_t t;
        void *rc;
        assert_int_equal(sem_init(&c.is_inside, 0, 0), 0);
        c.id = submit_held(c.e, NULL);
        assert_int_equal(pthread_create(&t, NULL, wait_inside, &c), 0);
        while (sem_wait(&c.is_inside) != 0) {
        }
        errand_close(c.e);
        assert_int_equal(pthread_join(t, &rc), 0);
        assert_int_equal((intptr_t)rc, ERRAND_ECLOSED);
    }
}

static void
handle__the_descriptor_tells_of_timers(void **state)
{
    struct answers a = {.e = open_with("memory:", ERRAND_TURN),
                        .lock = PTHREAD_MUTEX_INITIALIZER};
    errand_error error;
    char target[64];
    (void)state;
    (void)snprintf(target, sizeof target, "/v1/tasks/%lld?wait=0.05&until=final",
                   (long long)submit_held(a.e, NULL));
    OK(errand_request_async(a.e, "GET", target, NULL, 0, on_answer, &a, &error));
    while (a.n == 0) {
        struct pollfd fd = {.fd = errand_fd(a.e), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 30000), 1); /* never by time alone */
        assert_int_equal(errand_turn(a.e), 0);
    }
    assert_int_equal(a.status, 200);
    errand_close(a.e);
}

/* ---- the host's processes ---- */

static size_t
count_fds_of_a_child(void)
{
    FILE *p = popen("ls /proc/self/fd | wc -l", "re");
    size_t n = 0;
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%zu", &n), 1);
    assert_int_equal(pclose(p), 0);
    return n;
}

static void
handle__the_host_sees_no_child_and_its_children_no_descriptor(void **state)
{
    for (int which = 0; which < 3; which++) {
        size_t before = count_fds_of_a_child();
        errand *e = open_with(url_of(*state, which), ERRAND_THREAD);
        struct sigaction chld;
        run_a_command(e);
        assert_int_equal(count_fds_of_a_child(), before);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
        assert_int_equal(sigaction(SIGCHLD, NULL, &chld), 0);
        assert_true(chld.sa_handler == SIG_DFL);
        errand_close(e);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
}

/* ---- a program without standard descriptors ---- */

static int
run_bare(const char *url, int threading)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    const char *const argv[] = {"true", NULL};
    errand *e;
    int64_t id;
    o.threading = threading;
    if (errand_open(url, &o, &e, NULL) != 0) {
        return 10;
    }
    if (errand_submit_command(e, argv, "/", NULL, &id, NULL) != 0 ||
        errand_wait(e, id, -1, NULL) != ERRAND_COMPLETED) {
        return 11;
    }
    for (int fd = 0; fd < 3; fd++) {
        char c = 0;
        if (write(fd, &c, 1) != -1 || errno != EBADF) {
            return 12; /* it went to somebody */
        }
    }
    errand_close(e);
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) != -1) {
            return 13;
        }
    }
    return 0;
}

/* This program once more, see main: the library is new in there. */
static void
handle__descriptors_0_to_2_are_never_its_own(void **state)
{
    struct home *h = *state;
    for (int which = 0; which < 3; which++) {
        for (int i = 0; i < 2; i++) {
            int status;
            pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid == 0) {
                (void)close(0);
                (void)close(1);
                (void)close(2);
                (void)execl("/proc/self/exe", "test_handle", "--bare", url_of(h, which),
                            both[i] == ERRAND_TURN ? "turn" : "thread", (char *)NULL);
                _exit(99);
            }
            assert_int_equal(waitpid(pid, &status, 0), pid);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                fail_msg("%s: status %#x", url_of(h, which), status);
            }
        }
    }
}

/* What the program has opened there since is not touched. */
static void
handle__a_descriptor_that_the_host_takes_stays_the_hosts(void **state)
{
    int kept = fcntl(0, F_DUPFD_CLOEXEC, 3), ends[2];
    (void)state;
    assert_true(kept > 2);
    (void)close(0);
    errand *e = open_with("memory:", ERRAND_THREAD);
    assert_int_equal(pipe(ends), 0);
    assert_true(ends[0] > 2);
    assert_int_equal(dup2(ends[0], 0), 0);
    errand_close(e);
    assert_true(fcntl(0, F_GETFD) >= 0);
    assert_int_equal(dup2(kept, 0), 0);
    (void)close(kept);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void
handle__no_descriptor_is_left(void **state)
{
    for (int which = 0; which < 3; which++) {
        errand_close(open_with(url_of(*state, which), ERRAND_TURN));
        size_t before = count_fds();
        for (int i = 0; i < 6; i++) {
            errand *e = open_with(url_of(*state, which), both[i % 2]);
            submit_held(e, NULL);
            if (i == 0) {
                run_a_command(e);
            }
            errand_close(e);
        }
        assert_int_equal(count_fds(), before);
    }
}

static void
handle__a_daemon_that_went_is_started_again(void **state)
{
    struct home *h = *state;
    errand *e = open_with(h->daemon, ERRAND_THREAD);
    errand_error error;
    int64_t id = submit_held(e, NULL);
    int pid = daemon_pid(h);
    kill_wholly(pid);
    assert_int_equal(errand_state(e, id, &error), ERRAND_PAUSED);
    assert_true(daemon_pid(h) != pid);
    struct waiter w = {.e = e, .id = id};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, wait_for_it, &w), 0);
    kill_wholly(daemon_pid(h));
    while (errand_state(e, id, &error) < 0) { /* its children may hold its socket */
        assert_int_equal(error.code, ERRAND_ENODAEMON);
    }
    OK(errand_cancel(e, id, &error));
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_int_equal(w.rc, ERRAND_CANCELLED);
    errand_close(e);
}

/* ---- a program that gets orphans ---- */

struct reaper {
    int flags;
    atomic_int n, bad; /* children that have ended; otherwise than well */
    atomic_bool is_over;
};

static void *
reap_all(void *arg)
{
    struct reaper *r = arg;
    while (!r->is_over) {
        int status;
        pid_t pid = waitpid(-1, &status, r->flags);
        if (pid > 0) {
            r->bad += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
            r->n++;
        } else {
            (void)usleep(1000); /* none is there now */
        }
    }
    return NULL;
}

static bool
has_run(const char *url)
{
    const char *const argv[] = {"true", NULL};
    errand *e;
    int64_t id;
    bool is_fine = errand_open(url, NULL, &e, NULL) == 0;
    for (int i = 0; is_fine && i < 3; i++) {
        is_fine = errand_submit_command(e, argv, "/", NULL, &id, NULL) == 0 &&
                  errand_wait(e, id, -1, NULL) == ERRAND_COMPLETED;
    }
    if (is_fine) {
        errand_close(e);
    }
    return is_fine;
}

/* The embedded worker is its child: seen by waitpid when the handle is closed, once, and
 * whether anybody waits for it meanwhile or not. */
static int
run_as_reaper(const char *url)
{
    struct reaper r = {.n = 0};
    pthread_t t;
    int status;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        return 10;
    }
    for (int i = 0; i < 2; i++) { /* nobody waits: it stays a zombie */
        if (!has_run(url)) {
            return 11;
        }
        pid_t pid = waitpid(-1, &status, 0);
        if (pid <= 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0 ||
            waitpid(-1, &status, 0) != -1) {
            return 12;
        }
    }
    /* somebody takes all there is, at once: with __WALL also what stood between for a
     * moment */
    for (int all = 0; all < 2; all++) {
        r.flags = all ? (int)__WALL : 0;
        r.n = r.is_over = 0;
        if (pthread_create(&t, NULL, reap_all, &r) != 0) {
            return 13;
        }
        for (int i = 1; i <= 4; i++) {
            if (!has_run(url)) {
                return 14;
            }
            for (int k = 0; r.n < i; k++) {
                if (k == 60000) {
                    return 15;
                }
                (void)usleep(1000);
            }
        }
        r.is_over = true;
        (void)pthread_join(t, NULL);
        if (r.bad != 0 || (!all && r.n != 4)) {
            return 16;
        }
    }
    return 0;
}

static void
handle__a_host_that_is_a_subreaper_may_wait_for_all(void **state)
{
    struct home *h = *state;
    for (int which = 0; which < 2; which++) {
        int status;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)execl("/proc/self/exe", "test_handle", "--reaper", url_of(h, which), "",
                        (char *)NULL);
            _exit(99);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fail_msg("%s: status %#x", url_of(h, which), status);
        }
    }
}

/* ---- a program that is killed ---- */

/* One that runs a command which notes that it runs, and does not end by itself, nor at
 * TERM. */
static int
run_for_ever(const char *url, const char *mark)
{
    char line[256];
    errand *e;
    int64_t id;
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    o.grace_ms = 100;
    (void)snprintf(line, sizeof line,
                   "trap '' TERM; echo $$ > %s.part; mv %s.part %s; "
                   "while :; do sleep 1; done",
                   mark, mark, mark);
    const char *const argv[] = {"sh", "-c", line, NULL};
    if (errand_open(url, NULL, &e, NULL) != 0 ||
        errand_submit_command(e, argv, "/", &o, &id, NULL) != 0) {
        return 10;
    }
    return errand_wait(e, id, -1, NULL);
}

static int
read_pid(const char *mark)
{
    char text[32] = "";
    FILE *f;
    for (int i = 0; !(f = fopen(mark, "re")); i++) {
        assert_true(i < 60000);
        (void)usleep(1000);
    }
    assert_non_null(fgets(text, sizeof text, f));
    (void)fclose(f);
    assert_int_equal(unlink(mark), 0);
    return atoi(text);
}

/* Whether there is anything of errand's in that folder. */
static bool
has_folders(const char *path)
{
    bool found = false;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        found = found || strncmp(entry->d_name, "errand-", 7) == 0;
    }
    (void)closedir(d);
    return found;
}

static void
handle__commands_of_a_store_in_memory_end_with_its_program(void **state)
{
    struct home *h = *state;
    char mark[128], temp[128];
    (void)snprintf(mark, sizeof mark, "%s/mark", h->folder);
    (void)snprintf(temp, sizeof temp, "%s/temp", h->folder);
    assert_int_equal(mkdir(temp, 0700), 0);
    for (int which = 0; which < 2; which++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)setenv("TMPDIR", temp, 1);
            (void)execl("/proc/self/exe", "test_handle", "--for-ever", url_of(h, which),
                        mark, (char *)NULL);
            _exit(99);
        }
        int command = read_pid(mark);
        assert_true(command > 1);
        assert_int_equal(has_folders(temp), which == 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        if (which == 1) { /* a file: it goes on, and the next one who opens it has it */
            errand_error error;
            errand *e = open_with(h->sqlite, ERRAND_THREAD);
            assert_int_equal(errand_state(e, 1, &error), ERRAND_RUNNING);
            assert_int_equal(kill(command, 0), 0);
            OK(errand_cancel(e, 1, &error));
            assert_int_equal(errand_wait(e, 1, -1, &error), ERRAND_CANCELLED);
            errand_close(e);
        }
        for (int i = 0; kill(command, 0) == 0; i++) {
            assert_true(i < 60000);
            (void)usleep(1000);
        }
        for (int i = 0; has_folders(temp); i++) { /* nor does anything stay behind */
            assert_true(i < 60000);
            (void)usleep(1000);
        }
    }
}

/* ---- a start that takes long ---- */

/* The next daemon waits for its configuration: until somebody writes it. */
static void
block_config(const struct home *h, char path[128])
{
    (void)snprintf(path, 128, "%s/config.yml", h->folder);
    assert_int_equal(mkfifo(path, 0600), 0);
}

/* While it is being read: what is written then, nothing here, is the configuration. */
static int
open_config(const char *path)
{
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0 || errno == ENXIO);
    return fd;
}

static void *
close_elsewhere(void *e)
{
    errand_close(e);
    return NULL;
}

static void
on_refused(void *ctx, int status, const char *body, size_t len, const errand_error *error)
{
    int *out = ctx;
    (void)body;
    (void)len;
    assert_non_null(error);
    *out = status;
}

/* The daemon that was started answers once it can. */
static void
handle__closing_does_not_wait_for_a_start(void **state)
{
    struct home *h = *state;
    for (size_t i = 0; i < 2; i++) {
        errand *e = open_with(h->daemon, both[i]);
        struct timespec until;
        errand_error error;
        char path[128];
        pthread_t t;
        int status = 0;
        kill_wholly(daemon_pid(h));
        block_config(h, path);
        OK(errand_request_async(e, "GET", "/v1/stats", NULL, 0, on_refused, &status,
                                &error));
        int fd;
        AWAIT(e, (fd = open_config(path)) >= 0);
        assert_int_equal(pthread_create(&t, NULL, close_elsewhere, e), 0);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 60;
        int late = pthread_timedjoin_np(t, NULL, &until);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(close(fd), 0); /* now it may start */
        assert_int_equal(late, 0);
        assert_int_equal(status, ERRAND_ECLOSED);
        struct errand_options o = ERRAND_INIT(errand_options);
        o.no_autostart = 1;
        for (int k = 0; errand_open(h->daemon, &o, &e, &error) != 0; k++) {
            assert_int_equal(error.code, ERRAND_ENODAEMON);
            assert_true(k < 60000);
            (void)usleep(1000);
        }
        errand_close(e);
    }
}

static void
handle__opening_waits_for_a_start_within_its_bound(void **state)
{
    struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    char path[128];
    errand *e;
    block_config(h, path);
    o.connect_ms = 50;
    assert_int_equal(errand_open(h->daemon, &o, &e, &error), ERRAND_ETIMEOUT);
    assert_null(e);
    assert_non_null(strstr(error.message, "errandd.log"));
    int fd;
    for (int i = 0; (fd = open_config(path)) < 0; i++) {
        assert_true(i < 60000);
        (void)usleep(1000);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(close(fd), 0);
    errand_close(open_with(h->daemon, ERRAND_THREAD)); /* it is there, or another comes */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_home, teardown_home)

/* What has finished goes as the options say, at the next opening at the latest. */
static void
handle__what_is_kept_is_said_by_options(void **state)
{
    const struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_submit_options held = ERRAND_INIT(errand_submit_options);
    const char *const argv[] = {"/bin/true", NULL};
    errand_error error;
    int64_t ids[3];
    errand *e = open_with(h->sqlite, ERRAND_THREAD);
    held.held = 1;
    for (size_t i = 0; i < 3; i++) {
        OK(errand_submit_command(e, argv, "/", &held, &ids[i], &error));
        OK(errand_cancel(e, ids[i], &error));
    }
    errand_close(e);
    o.keep_finished = 1;
    o.keep_finished_for_ms = o.tombstones_for_ms = -1;
    OK(errand_open(h->sqlite, &o, &e, &error));
    AWAIT(e, errand_state(e, ids[0], &error) == ERRAND_ENOTFOUND &&
                 errand_state(e, ids[1], &error) == ERRAND_ENOTFOUND);
    assert_int_equal(errand_state(e, ids[2], &error), ERRAND_CANCELLED);
    errand_close(e);
}

int
main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--bare") == 0) {
        return run_bare(argv[2],
                        strcmp(argv[3], "turn") == 0 ? ERRAND_TURN : ERRAND_THREAD);
    }
    if (argc == 4 && strcmp(argv[1], "--reaper") == 0) {
        return run_as_reaper(argv[2]);
    }
    if (argc == 4 && strcmp(argv[1], "--for-ever") == 0) {
        return run_for_ever(argv[2], argv[3]);
    }
    const struct CMUnitTest tests[] = {
        TEST(handle__the_same_calls_work_everywhere),
        TEST(handle__many_are_submitted_at_once),
        TEST(handle__a_call_takes_what_a_submit_takes),
        TEST(handle__an_embedded_store_reads_types_of_files),
        TEST(handle__a_folder_of_types_is_there),
        TEST(handle__what_is_wrong_is_refused_by_name),
        TEST(handle__an_older_program_knows_fewer_options),
        TEST(handle__a_store_has_one_owner_who_is_named),
        TEST(handle__a_socket_lets_clients_in),
        TEST(handle__a_socket_of_another_stays),
        TEST(handle__nobody_answers_and_nobody_is_started),
        TEST(handle__closing_ends_what_others_wait_for),
        TEST(handle__answers_come_by_callback),
        TEST(handle__who_turns_is_alone),
        TEST(handle__a_callback_on_a_thread_turns_nothing),
        TEST(handle__a_crowd_turns_in_turns),
        TEST(handle__closing_ends_who_turns_elsewhere),
        TEST(handle__the_descriptor_tells_of_timers),
        TEST(handle__the_host_sees_no_child_and_its_children_no_descriptor),
        TEST(handle__descriptors_0_to_2_are_never_its_own),
        TEST(handle__a_descriptor_that_the_host_takes_stays_the_hosts),
        TEST(handle__no_descriptor_is_left),
        TEST(handle__a_daemon_that_went_is_started_again),
        TEST(handle__a_host_that_is_a_subreaper_may_wait_for_all),
        TEST(handle__commands_of_a_store_in_memory_end_with_its_program),
        TEST(handle__closing_does_not_wait_for_a_start),
        TEST(handle__what_is_kept_is_said_by_options),
        TEST(handle__opening_waits_for_a_start_within_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
