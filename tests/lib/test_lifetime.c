/* SPDX-License-Identifier: MIT */
/* The beginning and the end of what a program holds: who owns a store, whatever it is
 * called; what a refused open leaves behind; what is left of subscriptions when their
 * handle is closed. */
#include "lib_fixture.h"

#include <fcntl.h>
#include <pthread.h>

static errand *
open_at(const char *folder, const char *name, errand_error *error)
{
    char url[160];
    errand *e = NULL;
    (void)snprintf(url, sizeof url, "sqlite:%s/%s", folder, name);
    return errand_open(url, NULL, &e, error) == 0 ? e : NULL;
}

static void
path_of(char out[160], const struct home *h, const char *name)
{
    (void)snprintf(out, 160, "%s/%s", h->folder, name);
}

static bool
is_there(const struct home *h, const char *name)
{
    char path[160];
    struct stat st;
    path_of(path, h, name);
    return lstat(path, &st) == 0;
}

/* ---- one owner ---- */

static void
check_refused(const struct home *h, const char *name)
{
    errand_error error;
    char pid[32];
    (void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_null(open_at(h->folder, name, &error));
    assert_int_equal(error.code, ERRAND_EBUSY);
    assert_non_null(strstr(error.message, pid));
}

static void
lifetime__a_store_has_one_owner_by_any_name(void **state)
{
    const struct home *h = *state;
    char store[160], soft[160], hard[160], folder[160];
    errand_error error;
    path_of(store, h, "a.db");
    path_of(soft, h, "soft.db");
    path_of(hard, h, "hard.db");
    path_of(folder, h, "folder");
    assert_int_equal(symlink("a.db", soft), 0); /* to what does not exist yet */
    assert_int_equal(symlink(h->folder, folder), 0);
    errand *e = open_at(h->folder, "soft.db", &error);
    assert_non_null(e);
    assert_true(is_there(h, "a.db.lock"));
    assert_false(is_there(h, "soft.db.lock"));
    assert_int_equal(link(store, hard), 0);
    check_refused(h, "a.db");
    check_refused(h, "soft.db");
    check_refused(h, "folder/a.db");
    check_refused(h, "folder/soft.db");
    check_refused(h, "hard.db");
    assert_false(is_there(h, "hard.db.lock"));
    errand_close(e);
    e = open_at(h->folder, "hard.db", &error); /* it has none any more */
    assert_non_null(e);
    check_refused(h, "a.db");
    errand_close(e);
}

/* Neither may a daemon have it that a program has, nor the other way round. */
static void
lifetime__a_daemon_is_an_owner_too(void **state)
{
    const struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    char store[160], hard[160];
    errand_error error;
    errand *e, *daemon = NULL;
    path_of(store, h, "tasks.db");
    path_of(hard, h, "hard.db");
    e = open_at(h->folder, "hard.db", &error);
    assert_non_null(e);
    assert_int_equal(link(hard, store), 0);
    o.connect_ms = 3000;
    assert_true(errand_open(h->daemon, &o, &daemon, &error) < 0);
    assert_null(daemon);
    errand_close(e);
    daemon = open_with(h->daemon, ERRAND_THREAD);
    assert_null(open_at(h->folder, "hard.db", &error));
    assert_int_equal(error.code, ERRAND_EBUSY);
    assert_null(open_at(h->folder, "tasks.db", &error));
    assert_int_equal(error.code, ERRAND_EBUSY);
    errand_close(daemon);
}

/* ---- what a refused open leaves ---- */

static void
write_file(const struct home *h, const char *name, const char *text)
{
    char path[160];
    path_of(path, h, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int
count_entries(const struct home *h)
{
    int n = 0;
    DIR *d = opendir(h->folder);
    assert_non_null(d);
    while (readdir(d)) {
        n++;
    }
    (void)closedir(d);
    return n;
}

static void
lifetime__a_refused_open_leaves_nothing(void **state)
{
    const struct home *h = *state;
    errand_error error;
    char words[2000];
    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    write_file(h, "foreign", words);
    int before = count_entries(h);
    assert_null(open_at(h->folder, "foreign", &error));
    assert_int_equal(error.code, ERRAND_ECORRUPT);
    assert_null(open_at(h->folder, "none/a.db", &error));
    assert_int_equal(error.code, ERRAND_ENOTFOUND);
    assert_null(open_at(h->folder, ".", &error));
    assert_int_equal(error.code, ERRAND_EINVALID);
    struct errand_options o = ERRAND_INIT(errand_options);
    errand *e;
    o.socket = "/nowhere/at/all";
    assert_int_equal(errand_open(h->sqlite, &o, &e, &error), ERRAND_ENOTFOUND);
    o.socket = "/dev/null";
    assert_int_equal(errand_open(h->sqlite, &o, &e, &error), ERRAND_EBUSY);
    assert_int_equal(count_entries(h), before);
}

/* Whoever starts a program twice is told whose the store is, not that its socket is in
 * use. */
static void
lifetime__the_owner_is_named_before_its_socket(void **state)
{
    const struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    char path[160];
    errand_error error;
    errand *e, *second;
    path_of(path, h, "app.sock");
    o.socket = path;
    OK(errand_open(h->sqlite, &o, &e, &error));
    assert_int_equal(errand_open(h->sqlite, &o, &second, &error), ERRAND_EBUSY);
    assert_non_null(strstr(error.message, "belongs to test_lifetime"));
    errand_close(e);
}

static void
lifetime__a_store_is_its_owners_alone(void **state)
{
    static const char *const names[] = {"a.db", "a.db-wal", "a.db-shm", "a.db.lock"};
    const struct home *h = *state;
    errand_error error;
    mode_t was = umask(0);
    errand *e = open_at(h->folder, "a.db", &error);
    (void)umask(was);
    assert_non_null(e);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[160];
        struct stat st;
        path_of(path, h, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    errand_close(e);
}

static void
lifetime__what_fails_gives_nothing(void **state)
{
    int here = 0;
    errand *e = (errand *)(void *)&here;
    errand_error error;
    (void)state;
    assert_int_equal(errand_open("bogus:", NULL, &e, &error), ERRAND_EINVALID);
    assert_null(e);
    OK(errand_open("memory:", NULL, &e, &error));
    char *text = (char *)(void *)&here;
    assert_int_equal(errand_get(e, 7, &text, &error), ERRAND_ENOTFOUND);
    assert_null(text);
    text = (char *)(void *)&here;
    assert_int_equal(errand_why(e, 7, &text, &error), ERRAND_ENOTFOUND);
    assert_null(text);
    text = (char *)(void *)&here;
    assert_int_equal(errand_result(e, 7, &text, NULL, &error), ERRAND_ENOTFOUND);
    assert_null(text);
    errand_subscription *sub = (errand_subscription *)(void *)&here;
    assert_int_equal(errand_subscribe(e, NULL, NULL, NULL, &sub, &error),
                     ERRAND_EINVALID);
    assert_null(sub);
    errand_close(e);
}

/* ---- subscriptions that pull ---- */

static errand_subscription *
subscribe_pull(errand *e)
{
    struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
    errand_subscription *sub = NULL;
    errand_error error;
    o.delivery = ERRAND_PULL;
    OK(errand_subscribe(e, &o, NULL, NULL, &sub, &error));
    return sub;
}

static bool
is_readable(const errand_subscription *sub)
{
    struct pollfd p = {.fd = errand_subscription_fd(sub), .events = POLLIN};
    return poll(&p, 1, 0) == 1 && p.revents == POLLIN;
}

static void
publish(errand *e, const char *name, const char *words)
{
    errand_error error;
    errand_event event = {
        .name = name, .kind = ERRAND_SAMPLE, .data = words, .len = strlen(words)};
    OK(errand_publish(e, &event, &error));
}

static void
end_pulling(int threading)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    const errand_event *event, *none = NULL;
    errand_error error;
    errand *e;
    o.threading = threading;
    OK(errand_open("memory:", &o, &e, &error));
    errand_subscription *a = subscribe_pull(e), *b = subscribe_pull(e);
    errand_subscription *before = subscribe_pull(e);
    errand_unsubscribe(before);
    publish(e, "a.first", "one");
    publish(e, "a.second", "two");
    int rc;
    while ((rc = errand_pull(a, &event)) == 0) {
    }
    assert_int_equal(rc, 1);
    errand_close(e);
    assert_string_equal(event->name, "a.first"); /* it stays */
    assert_memory_equal(event->data, "one", 3);
    for (int i = 0; i < 2; i++) {
        assert_true(is_readable(a));
        assert_true(is_readable(b));
        assert_int_equal(errand_pull(b, &none), ERRAND_ECLOSED);
        assert_null(none);
        assert_int_equal(errand_pull(a, &none), ERRAND_ECLOSED);
    }
    struct errand_bus_stats stats = ERRAND_INIT(errand_bus_stats);
    errand_bus_metrics(NULL, a, &stats);
    assert_int_equal(stats.lag, 0);
    errand_unsubscribe(a);
    errand_unsubscribe(b);
}

static void
lifetime__closing_ends_those_that_pull(void **state)
{
    (void)state;
    end_pulling(ERRAND_THREAD);
    end_pulling(ERRAND_TURN);
}

struct puller {
    errand_subscription *sub;
    bool unsubscribes;
    int last;
};

static void *
pull_until_closed(void *arg)
{
    struct puller *p = arg;
    const errand_event *event;
    struct pollfd fd = {.fd = errand_subscription_fd(p->sub), .events = POLLIN};
    do {
        (void)poll(&fd, 1, -1);
        p->last = errand_pull(p->sub, &event);
    } while (p->last >= 0);
    if (p->unsubscribes) {
        errand_unsubscribe(p->sub);
    }
    return NULL;
}

/* While it sleeps, or while there is much to pull. */
static void
lifetime__a_thread_that_pulls_wakes_up(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct puller p[2] = {{.unsubscribes = true}, {.unsubscribes = false}};
        pthread_t threads[2];
        errand_error error;
        errand *e;
        OK(errand_open("memory:", NULL, &e, &error));
        for (int i = 0; i < 2; i++) {
            p[i].sub = subscribe_pull(e);
            assert_int_equal(pthread_create(&threads[i], NULL, pull_until_closed, &p[i]),
                             0);
        }
        for (int i = 0; i < round * 50; i++) {
            publish(e, "a.topic", "something that is longer than nothing");
        }
        errand_close(e);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(p[i].last, ERRAND_ECLOSED);
        }
        errand_unsubscribe(p[1].sub);
    }
}

struct leaving {
    errand_subscription *sub; /* NULL = left */
};

static void
leave_that(void *ctx, errand_subscription *sub, const errand_event *event)
{
    struct leaving *l = ctx;
    (void)sub;
    (void)event;
    errand_unsubscribe(l->sub);
    l->sub = NULL;
}

/* A pull that reads facts again turns the loop, and so a callback comes in the midst of
 * it. */
static void
lifetime__a_callback_may_end_what_is_being_pulled(void **state)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_submit_options held = ERRAND_INIT(errand_submit_options);
    struct errand_subscribe_options past = ERRAND_INIT(errand_subscribe_options);
    struct errand_subscribe_options loop = ERRAND_INIT(errand_subscribe_options);
    const char *const argv[] = {"true", NULL};
    const errand_event *event;
    struct leaving l = {NULL};
    errand_subscription *other;
    errand_error error;
    errand *e;
    int64_t id;
    (void)state;
    o.threading = ERRAND_TURN;
    OK(errand_open("memory:", &o, &e, &error));
    held.held = 1;
    OK(errand_submit_command(e, argv, "/", &held, &id, &error));
    past.delivery = ERRAND_PULL;
    past.resume = 1;
    OK(errand_subscribe(e, &past, NULL, NULL, &l.sub, &error));
    loop.delivery = ERRAND_ON_LOOP;
    loop.prefix = "a.";
    OK(errand_subscribe(e, &loop, leave_that, &l, &other, &error));
    publish(e, "a.topic", "");
    int rc = errand_pull(l.sub, &event);
    assert_int_equal(rc, l.sub ? 1 : ERRAND_ECLOSED);
    while (l.sub) {
        assert_int_equal(errand_turn(e), 0);
    }
    errand_close(e);
}

/* ---- closing from inside ---- */

struct closing {
    errand *e;
    int refused;
};

static void
count_refusals(void *ctx, int level, const char *text)
{
    struct closing *c = ctx;
    if (level == ERRAND_LOG_ERROR && strstr(text, "errand_close from inside")) {
        c->refused++;
    }
}

static int
close_in_handler(errand_attempt *a, void *ctx)
{
    const struct closing *c = ctx;
    (void)a;
    errand_close(c->e);
    return 0;
}

static void
close_in_callback(void *ctx, errand_subscription *sub, const errand_event *event)
{
    const struct closing *c = ctx;
    (void)sub;
    (void)event;
    errand_close(c->e);
}

static void
lifetime__closing_from_inside_does_nothing(void **state)
{
    static const int ways[] = {ERRAND_INLINE, ERRAND_ON_THREAD, ERRAND_ON_LOOP};
    struct closing c = {0};
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_type t = ERRAND_INIT(errand_type);
    errand_error error;
    int64_t id;
    (void)state;
    o.log = count_refusals;
    o.log_ctx = &c;
    OK(errand_open("memory:", &o, &c.e, &error));
    t.name = "closer";
    t.description = "closes";
    t.handler = close_in_handler;
    t.ctx = &c;
    OK(errand_register(c.e, &t, &error));
    OK(errand_submit(c.e, "closer", NULL, NULL, &id, &error));
    assert_int_equal(errand_wait(c.e, id, -1, &error), ERRAND_COMPLETED);
    for (size_t i = 0; i < 3; i++) {
        struct errand_subscribe_options s = ERRAND_INIT(errand_subscribe_options);
        struct errand_bus_stats stats = ERRAND_INIT(errand_bus_stats);
        errand_subscription *sub;
        s.delivery = ways[i];
        s.prefix = "a.";
        OK(errand_subscribe(c.e, &s, close_in_callback, &c, &sub, &error));
        publish(c.e, "a.topic", "");
        do {
            errand_bus_metrics(c.e, sub, &stats);
        } while (stats.delivered == 0);
        errand_unsubscribe(sub);
    }
    OK(errand_submit(c.e, "closer", NULL, NULL, &id, &error));
    assert_int_equal(errand_wait(c.e, id, -1, &error), ERRAND_COMPLETED);
    errand_close(c.e);
    assert_int_equal(c.refused, 5);
}

/* ---- what an engine inside does not do ---- */

static void
lifetime__an_engine_inside_ends_with_its_program(void **state)
{
    const struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    char path[160], url[180];
    errand_error error;
    errand *e, *client;
    char *text = NULL;
    path_of(path, h, "app.sock");
    (void)snprintf(url, sizeof url, "unix:%s", path);
    o.socket = path;
    OK(errand_open("memory:", &o, &e, &error));
    OK(errand_open(url, NULL, &client, &error));
    assert_int_equal(
        errand_request(client, "POST", "/v1/shutdown", "{}", 2, &text, NULL, &error),
        409);
    assert_int_equal(error.code, ERRAND_ESTATE);
    assert_non_null(strstr(error.message, "ends with its program"));
    errand_free(text);
    errand_close(client);
    errand_close(e);
}

static void
lifetime__streams_are_refused_at_once(void **state)
{
    static const char *const bad[] = {"/v1/events", "/v1/events?since=0",
                                      "/v1/tasks/1/log?follow=1"};
    static const char *const good[] = {"/v1/events?format=ndjson", "/v1/tasks"};
    errand_error error;
    errand *e;
    (void)state;
    OK(errand_open("memory:", NULL, &e, &error));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int here;
        char *text = (char *)(void *)&here;
        assert_int_equal(errand_request(e, "GET", bad[i], NULL, 0, &text, NULL, &error),
                         ERRAND_EINVALID);
        assert_string_equal(error.field, "target");
        assert_null(text);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(errand_request(e, "GET", good[i], NULL, 0, NULL, NULL, &error),
                         200);
    }
    errand_close(e);
}

static void
note_warnings(void *ctx, int level, const char *text)
{
    (void)text;
    *(int *)ctx += level <= ERRAND_LOG_WARN;
}

static int
tell_why(errand_attempt *a, void *ctx)
{
    char **out = ctx;
    int rc;
    do { /* that it has begun is told a little later */
        errand_free(*out);
        rc = errand_why(errand_attempt_handle(a), errand_attempt_task(a), out, NULL);
    } while (rc == 0 && !strstr(*out, "it runs") && !errand_should_stop(a));
    return rc;
}

static void
lifetime__a_handler_is_no_process_and_no_worker(void **state)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_type t = ERRAND_INIT(errand_type);
    int warnings = 0;
    char *why = NULL;
    errand_error error;
    errand *e;
    int64_t id;
    (void)state;
    o.log = note_warnings;
    o.log_ctx = &warnings;
    OK(errand_open("memory:", &o, &e, &error));
    t.name = "teller";
    t.description = "says why it runs";
    t.handler = tell_why;
    t.ctx = &why;
    OK(errand_register(e, &t, &error));
    OK(errand_submit(e, "teller", NULL, NULL, &id, &error));
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_COMPLETED);
    errand_close(e);
    assert_non_null(why);
    assert_non_null(strstr(why, "it runs: attempt 1"));
    assert_null(strstr(why, "pid"));
    assert_int_equal(warnings, 0);
    errand_free(why);
}

/* A daemon that is stopped holds nobody up for long beyond the budget. */
static void
lifetime__a_frozen_daemon_is_told_by_its_silence(void **state)
{
    const struct home *h = *state;
    struct errand_call_options o = ERRAND_INIT(errand_call_options);
    struct errand_reply reply;
    errand_error error;
    errand *e = open_with(h->daemon, ERRAND_THREAD);
    int pid = daemon_pid(h);
    assert_true(pid > 1);
    o.budget_ms = 1;
    freeze(pid);
    int rc = errand_call(e, "sleep", "{\"seconds\":0}", &o, &reply, &error);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(rc, ERRAND_ETIMEOUT);
    assert_non_null(strstr(error.message, "within 5 s"));
    errand_close(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_home, teardown_home)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lifetime__a_store_has_one_owner_by_any_name),
        TEST(lifetime__a_daemon_is_an_owner_too),
        TEST(lifetime__a_refused_open_leaves_nothing),
        TEST(lifetime__the_owner_is_named_before_its_socket),
        TEST(lifetime__a_store_is_its_owners_alone),
        TEST(lifetime__what_fails_gives_nothing),
        TEST(lifetime__closing_ends_those_that_pull),
        TEST(lifetime__a_thread_that_pulls_wakes_up),
        TEST(lifetime__a_callback_may_end_what_is_being_pulled),
        TEST(lifetime__closing_from_inside_does_nothing),
        TEST(lifetime__an_engine_inside_ends_with_its_program),
        TEST(lifetime__streams_are_refused_at_once),
        TEST(lifetime__a_handler_is_no_process_and_no_worker),
        TEST(lifetime__a_frozen_daemon_is_told_by_its_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
