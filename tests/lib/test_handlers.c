/* SPDX-License-Identifier: MIT */
/* Handlers that are not as they should be: what they say, return and do to their
 * handle. */
#include "lib_fixture.h"

#include <math.h>
#include <sys/wait.h>

static errand_error error;

static errand *
open_one_thread(int threading)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    errand *e = NULL;
    o.threading = threading;
    o.handler_threads = 1;
    OK(errand_open("memory:", &o, &e, &error));
    return e;
}

static void
serve(errand *e, const char *name, errand_handler_fn *fn, void *ctx)
{
    struct errand_type type = ERRAND_INIT(errand_type);
    type.name = name;
    type.description = "of a test";
    type.handler = fn;
    type.ctx = ctx;
    type.has_retries = 1;
    OK(errand_register(e, &type, &error));
}

static int64_t
submit(errand *e, const char *name)
{
    int64_t id = 0;
    OK(errand_submit(e, name, NULL, NULL, &id, &error));
    return id;
}

/* The task as JSON when it is final, in that state. */
static char *
finish(errand *e, int64_t id, int state)
{
    char *json = NULL;
    assert_int_equal(errand_wait(e, id, -1, &error), state);
    OK(errand_get(e, id, &json, &error));
    return json;
}

/* ---- what it says ---- */

struct bytes {
    char *p;
    size_t len;
    int rc;
};

static int
give_bytes(errand_attempt *a, void *ctx)
{
    struct bytes *b = ctx;
    b->rc = errand_result_set(a, b->p, b->len);
    return 0;
}

static void
handlers__results_are_bytes(void **state)
{
    static const struct {
        const char *bytes;
        size_t len, times;
        int rc;
    } cases[] = {{"a\0b", 4, 1, 0},
                 {"\xff\xfe\0\x80", 4, 1, 0},
                 {"0123456789abcdef", 16, 640 << 10, 0}, /* 10 MiB */
                 {"\0\xff\x01\x80", 4, 4 << 20, 0},      /* the bound */
                 {"", 0, 1, 0},
                 {"x", 1, (16 << 20) + 1, ERRAND_ETOOBIG}};
    errand *e = open_one_thread(ERRAND_THREAD);
    struct bytes b = {NULL, 0, 0};
    (void)state;
    serve(e, "t.bytes", give_bytes, &b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct errand_reply reply;
        char *out = NULL;
        size_t len = 7;
        b.len = cases[i].len * cases[i].times;
        b.p = malloc(b.len + 1);
        assert_non_null(b.p);
        for (size_t n = 0; n < cases[i].times; n++) {
            memcpy(b.p + n * cases[i].len, cases[i].bytes, cases[i].len);
        }
        int64_t id = submit(e, "t.bytes");
        errand_free(finish(e, id, cases[i].rc ? ERRAND_FAILED : ERRAND_COMPLETED));
        assert_int_equal(b.rc, cases[i].rc);
        int rc = errand_result(e, id, &out, &len, &error);
        if (cases[i].rc) {
            assert_int_equal(rc, ERRAND_ENOTFOUND);
        } else {
            OK(rc);
            assert_int_equal(len, b.len);
            assert_memory_equal(out, b.p, b.len);
            errand_free(out);
            struct errand_call_options o = ERRAND_INIT(errand_call_options);
            o.budget_ms = 3600000;
            assert_int_equal(errand_call(e, "t.bytes", NULL, &o, &reply, &error),
                             ERRAND_COMPLETED);
            assert_int_equal(reply.len, b.len);
            assert_memory_equal(reply.result ? reply.result : "", b.p, b.len);
            errand_reply_free(&reply);
        }
        free(b.p);
    }
    errand_close(e);
}

static int
say_odd_progress(errand_attempt *a, void *ctx)
{
    static const double percents[] = {NAN, INFINITY, -INFINITY, -5, 1e308, 140, 20};
    struct errand_progress p = ERRAND_INIT(errand_progress);
    char text[5000];
    (void)ctx;
    memset(text, '\xff', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    p.has_percent = 1;
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        p.percent = percents[i];
        errand_progress_report(a, &p);
    }
    p.has_percent = 0;
    p.unit = p.item = p.message = text;
    p.current = INT64_MIN;
    p.total = INT64_MAX;
    errand_progress_report(a, &p);
    errand_progress_report(a, NULL);
    errand_progress_to(a, INT64_MAX, INT64_MIN, NULL);
    errand_progress_to(a, INT64_MIN, -1, text);
    for (int i = 0; i < 1000000; i++) {
        errand_progress_to(a, i, 1000000, "x");
    }
    errand_progress_to(a, 5, 4, "more than all");
    return errand_should_stop(a) ? 1 : errand_fail(a, ERRAND_FATAL, "so", "", NULL);
}

static void
handlers__progress_is_between_nothing_and_all(void **state)
{
    errand *e = open_one_thread(ERRAND_THREAD);
    (void)state;
    serve(e, "t.progress", say_odd_progress, NULL);
    char *json = finish(e, submit(e, "t.progress"), ERRAND_FAILED);
    assert_non_null(strstr(json, "\"percent\":100"));
    assert_non_null(strstr(json, "\"message\":\""));
    assert_non_null(strstr(json, "more than all"));
    errand_free(json);
    errand_close(e);
}

static int
say_what_is_refused(errand_attempt *a, void *ctx)
{
    static const char *const names[] = {NULL, "", "\xff"};
    static const char *const checkpoints[] = {
        NULL, "", "{", "nan", "{} x", "1e999", "\"\xff\"", "{\"a\":1,\"a\":2}"};
    char name[1002];
    int *wrong = ctx;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *wrong += errand_item(a, names[i], 0) != ERRAND_EINVALID;
    }
    *wrong += errand_item(a, name, 0) != ERRAND_EINVALID;
    for (size_t i = 0; i < sizeof checkpoints / sizeof *checkpoints; i++) {
        int rc = errand_checkpoint(a, checkpoints[i]);
        if (rc != ERRAND_EINVALID) {
            print_message("# checkpoint %zu: %d\n", i, rc);
            ++*wrong;
        }
    }
    *wrong += errand_output(a, NULL, 3) != ERRAND_EINVALID;
    *wrong += errand_result_set(a, NULL, 3) != ERRAND_EINVALID;
    *wrong += errand_arg_text(a, NULL) != NULL;
    *wrong += errand_arg_item(a, "none", SIZE_MAX) != NULL;
    *wrong += errand_item_is_done(a, NULL);
    *wrong += errand_sleep(a, -5) || errand_sleep(a, INT64_MIN);
    return 0;
}

static void
handlers__what_makes_no_sense_is_refused(void **state)
{
    errand *e = open_one_thread(ERRAND_THREAD);
    int wrong = 0;
    (void)state;
    serve(e, "t.refused", say_what_is_refused, &wrong);
    errand_free(finish(e, submit(e, "t.refused"), ERRAND_COMPLETED));
    assert_int_equal(wrong, 0);
    errand_close(e);
}

/* ---- what it returns ---- */

static int
return_that(errand_attempt *a, void *ctx)
{
    char text[9000];
    const int *that = ctx;
    memset(text, '\xff', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    if (*that == -77) {
        return errand_fail(a, ERRAND_FATAL, text, text, text);
    }
    if (*that == -78) {
        return errand_fail(a, (enum errand_class)99, NULL, NULL, NULL);
    }
    return *that;
}

static void
handlers__any_return_has_words(void **state)
{
    static const struct {
        int returned;
        const char *says;
    } cases[] = {
        {-1, "the handler returned -1"},
        {ERRAND_EINVALID, "the handler returned -2 (ERRAND_EINVALID)"},
        {ERRAND_ETOOBIG, "the handler returned -13 (ERRAND_ETOOBIG)"},
        {ERRAND_ETASKFAILED, "the handler returned -19 (ERRAND_ETASKFAILED)"},
        {ERRAND_ETASKFAILED - 1, "the handler returned -20"},
        {INT32_MIN, "the handler returned -2147483648"},
        {1001, "the handler returned 1001"},
        {1002, "the handler returned 1002"},
        {ERRAND_STOPPED, "but nobody had asked it to stop"},
        {-77, "\"class\":\"fatal\""},
        {-78, "\"code\":\"bad-class\""},
    };
    errand *e = open_one_thread(ERRAND_THREAD);
    int that = 0;
    (void)state;
    serve(e, "t.returns", return_that, &that);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        that = cases[i].returned;
        char *json = finish(e, submit(e, "t.returns"), ERRAND_FAILED);
        if (!strstr(json, cases[i].says)) {
            fail_msg("%d: %s", that, json);
        }
        errand_free(json);
    }
    errand_close(e);
}

/* ---- what it publishes ---- */

struct heard {
    int64_t other; /* a task */
    char said[4][40];
    int n;
};

static int
publish_some(errand_attempt *a, void *ctx)
{
    struct heard *h = ctx;
    errand *e = errand_attempt_handle(a);
    errand_event ev = {.name = "t.said", .kind = ERRAND_SAMPLE};
    int rc = errand_publish(e, &ev, NULL);
    ev.task = errand_attempt_task(a);
    rc = rc ? rc : errand_publish(e, &ev, NULL);
    ev.correlation = "another";
    rc = rc ? rc : errand_publish(e, &ev, NULL);
    ev.correlation = NULL;
    ev.task = h->other;
    return rc ? rc : errand_publish(e, &ev, NULL);
}

static void
on_said(void *ctx, errand_subscription *sub, const errand_event *event)
{
    struct heard *h = ctx;
    (void)sub;
    if (h->n < 4) {
        (void)snprintf(h->said[h->n++], sizeof h->said[0], "%s",
                       event->correlation ? event->correlation : "");
    }
}

static void
handlers__publish_with_their_correlation(void **state)
{
    static const char *const wanted[] = {"mine", "mine", "another", ""};
    static const char *const names[] = {"t.said", NULL};
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    struct errand_subscribe_options s = ERRAND_INIT(errand_subscribe_options);
    struct heard heard = {.other = 4711};
    errand_subscription *sub = NULL;
    int64_t id = 0;
    errand *e = open_one_thread(ERRAND_THREAD);
    (void)state;
    s.names = names;
    s.delivery = ERRAND_INLINE;
    OK(errand_subscribe(e, &s, on_said, &heard, &sub, &error));
    serve(e, "t.publish", publish_some, &heard);
    o.correlation = "mine";
    OK(errand_submit(e, "t.publish", NULL, &o, &id, &error));
    errand_free(finish(e, id, ERRAND_COMPLETED));
    assert_int_equal(heard.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(heard.said[i], wanted[i]);
    }
    errand_unsubscribe(sub);
    errand_close(e);
}

/* ---- what it does to its handle ---- */

struct nested {
    int rc[6];
    int64_t child;
};

static int
return_0(errand_attempt *a, void *ctx)
{
    (void)ctx;
    return errand_result_set(a, "1", 1);
}

/* On the only thread: its child can only run when it has returned. */
static int
ask_the_handle(errand_attempt *a, void *ctx)
{
    struct nested *n = ctx;
    errand *e = errand_attempt_handle(a);
    struct errand_call_options o = ERRAND_INIT(errand_call_options);
    struct errand_reply reply;
    errand_error why;
    o.budget_ms = 300;
    n->rc[0] = errand_submit(e, "t.child", NULL, NULL, &n->child, &why);
    n->rc[1] = errand_wait(e, n->child, 300, &why);
    n->rc[2] = errand_call(e, "t.child", NULL, &o, &reply, &why);
    if (n->rc[2] >= 0) {
        errand_reply_free(&reply);
    }
    n->rc[3] = errand_unregister(e, "t.parent", &why);
    n->rc[4] = errand_unregister(e, "t.parent", &why);
    errand_close(e); /* does nothing but say so */
    n->rc[5] = errand_state(e, n->child, &why);
    return 0;
}

static void
ask_the_handle_by(int threading)
{
    errand *e = open_one_thread(threading);
    struct nested n = {.child = 0};
    serve(e, "t.child", return_0, NULL);
    serve(e, "t.parent", ask_the_handle, &n);
    int64_t id = submit(e, "t.parent");
    errand_free(finish(e, id, ERRAND_COMPLETED));
    assert_int_equal(n.rc[0], 0);
    assert_int_equal(n.rc[1], ERRAND_ETIMEOUT);
    assert_int_equal(n.rc[2], ERRAND_BACKGROUND);
    assert_int_equal(n.rc[3], 0);
    assert_int_equal(n.rc[4], ERRAND_ENOTFOUND);
    assert_true(n.rc[5] >= 0);
    errand_free(finish(e, n.child, ERRAND_COMPLETED));
    id = submit(e, "t.parent"); /* nobody serves it, but it is known */
    assert_int_equal(errand_wait(e, id, 1, &error), ERRAND_ETIMEOUT);
    errand_close(e);
}

static void
handlers__may_use_their_handle(void **state)
{
    (void)state;
    ask_the_handle_by(ERRAND_THREAD);
    ask_the_handle_by(ERRAND_TURN);
}

/* Waits for what cannot begin before it has returned. */
static int
wait_for_ever(errand_attempt *a, void *ctx)
{
    struct nested *n = ctx;
    errand_error why;
    int64_t id;
    int rc = errand_submit(errand_attempt_handle(a), "t.child", NULL, NULL, &id, &why);
    __atomic_store_n(&n->child, id, __ATOMIC_SEQ_CST);
    n->rc[0] = rc;
    n->rc[1] = errand_wait(errand_attempt_handle(a), id, -1, &why);
    return ERRAND_STOPPED;
}

static void
handlers__that_wait_for_ever_are_woken_by_the_close(void **state)
{
    (void)state;
    for (int threading = 0; threading < 2; threading++) {
        errand *e = open_one_thread(threading ? ERRAND_TURN : ERRAND_THREAD);
        struct nested n = {.child = 0};
        serve(e, "t.child", return_0, NULL);
        serve(e, "t.forever", wait_for_ever, &n);
        (void)submit(e, "t.forever");
        AWAIT(e, __atomic_load_n(&n.child, __ATOMIC_SEQ_CST) != 0);
        errand_close(e);
        assert_int_equal(n.rc[0], 0);
        assert_int_equal(n.rc[1], ERRAND_ECLOSED);
    }
}

static int
fork_here(errand_attempt *a, void *ctx)
{
    int status = -1;
    (void)ctx;
    errand_progress_to(a, 1, 2, "forks");
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(1);
    }
    (void)waitpid(pid, &status, 0);
    return errand_result_set(a, status == 7 << 8 ? "y" : "n", 1);
}

static void
handlers__may_fork_and_exec(void **state)
{
    errand *e = open_one_thread(ERRAND_THREAD);
    char *out;
    (void)state;
    serve(e, "t.fork", fork_here, NULL);
    int64_t id = submit(e, "t.fork");
    errand_free(finish(e, id, ERRAND_COMPLETED));
    OK(errand_result(e, id, &out, NULL, &error));
    assert_string_equal(out, "y");
    errand_free(out);
    errand_close(e);
}

/* ---- being asked to stop ---- */

struct stopping {
    int inside, why, readable, again;
};

static int
until_readable(errand_attempt *a, void *ctx)
{
    struct stopping *s = ctx;
    struct pollfd p = {.fd = errand_stop_fd(a), .events = POLLIN};
    __atomic_store_n(&s->inside, 1, __ATOMIC_SEQ_CST);
    s->readable = poll(&p, 1, -1) == 1 && p.revents == POLLIN;
    s->why = errand_should_stop(a);
    s->again = errand_sleep(a, 3600000) == s->why && poll(&p, 1, 0) == 1 &&
               errand_stop_fd(a) == p.fd;
    return ERRAND_STOPPED;
}

static void
handlers__are_told_why_they_are_to_stop(void **state)
{
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    errand *e = open_one_thread(ERRAND_THREAD);
    (void)state;
    struct stopping s = {0};
    serve(e, "t.stop", until_readable, &s);
    for (int why = ERRAND_STOP_CANCEL; why <= ERRAND_STOP_SHUTDOWN; why++) {
        int64_t id;
        s = (struct stopping){0};
        o.timeout_ms = why == ERRAND_STOP_TIMEOUT ? 200 : 0;
        OK(errand_submit(e, "t.stop", NULL, &o, &id, &error));
        AWAIT(e, __atomic_load_n(&s.inside, __ATOMIC_SEQ_CST));
        switch (why) {
        case ERRAND_STOP_CANCEL:
            OK(errand_cancel(e, id, &error));
            assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_CANCELLED);
            break;
        case ERRAND_STOP_PAUSE:
            OK(errand_pause(e, id, &error));
            AWAIT(e, errand_state(e, id, &error) == ERRAND_PAUSED);
            break;
        case ERRAND_STOP_TIMEOUT:
            assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_FAILED);
            break;
        default:
            errand_close(e);
        }
        assert_int_equal(s.why, why);
        assert_true(s.readable);
        assert_true(s.again);
    }
}

static int
do_not_listen(errand_attempt *a, void *ctx)
{
    const int *may_end = ctx;
    const struct timespec moment = {.tv_nsec = 1000000};
    (void)a;
    while (!__atomic_load_n(may_end, __ATOMIC_SEQ_CST)) {
        (void)nanosleep(&moment, NULL);
    }
    return ERRAND_STOPPED;
}

static bool
why_has(errand *e, int64_t id, const char *words)
{
    char *why = NULL;
    OK(errand_why(e, id, &why, &error));
    bool is_there = strstr(why, words) != NULL;
    errand_free(why);
    return is_there;
}

/* While they still run, not only when they have returned. */
static void
handlers__that_do_not_listen_are_named(void **state)
{
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    int may_end = 0;
    int64_t id = 0;
    errand *e = open_one_thread(ERRAND_THREAD);
    (void)state;
    serve(e, "t.deaf", do_not_listen, &may_end);
    o.grace_ms = 1;
    OK(errand_submit(e, "t.deaf", NULL, &o, &id, &error));
    AWAIT(e, errand_state(e, id, &error) == ERRAND_RUNNING);
    assert_false(why_has(e, id, "within its grace"));
    AWAIT(e, why_has(e, id, "it runs"));
    OK(errand_cancel(e, id, &error));
    AWAIT(e, why_has(e, id, "has not stopped within its grace, and cannot be killed"));
    __atomic_store_n(&may_end, 1, __ATOMIC_SEQ_CST);
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_CANCELLED);
    errand_close(e);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test(handlers__##name)
    const struct CMUnitTest tests[] = {
        TEST(results_are_bytes),
        TEST(progress_is_between_nothing_and_all),
        TEST(what_makes_no_sense_is_refused),
        TEST(any_return_has_words),
        TEST(publish_with_their_correlation),
        TEST(may_use_their_handle),
        TEST(that_wait_for_ever_are_woken_by_the_close),
        TEST(may_fork_and_exec),
        TEST(that_do_not_listen_are_named),
        TEST(are_told_why_they_are_to_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
