/* SPDX-License-Identifier: MIT */
/* What cannot be meant is refused, by the name of the member, and not passed over. */
#include "lib_fixture.h"

static errand *e;
static errand_error error;

static int
setup(void **state)
{
    (void)setup_home(state);
    e = open_with("memory:", ERRAND_THREAD);
    return 0;
}

static int
teardown(void **state)
{
    errand_close(e);
    return teardown_home(state);
}

static int
say_class(errand_attempt *a, void *ctx)
{
    return errand_fail(a, *(enum errand_class *)ctx, "odd", "words", NULL);
}

static void
on_event(void *ctx, errand_subscription *sub, const errand_event *event)
{
    (void)ctx;
    (void)sub;
    (void)event;
}

static struct errand_type
make_type(const char *name)
{
    struct errand_type t = ERRAND_INIT(errand_type);
    t.name = name;
    t.description = "of a test";
    return t;
}

#define REFUSED(call, wanted, named)                                                     \
    do {                                                                                 \
        int rc_ = (call);                                                                \
        if (rc_ != (wanted) || strcmp(error.field, named) != 0) {                        \
            fail_msg("line %d: %s: %d, '%s': %s", __LINE__, #call, rc_, error.field,     \
                     error.message);                                                     \
        }                                                                                \
        assert_true(error.message[0] != '\0');                                           \
    } while (0)

static void
refusals__handles(void **state)
{
    static const char *const urls[] = {"sqlite://x", "sqlite:///tmp/x", "sqlite:", "x:"};
    struct errand_options o = ERRAND_INIT(errand_options);
    errand *other = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        REFUSED(errand_open(urls[i], &o, &other, &error), ERRAND_EINVALID, "url");
    }
    o.worker = "/nowhere/errand-worker";
    REFUSED(errand_open("memory:", &o, &other, &error), ERRAND_EINVALID, "worker");
    assert_null(other);
}

static void
refusals__submits(void **state)
{
    struct errand_type t = make_type("test.none");
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    const char *documents[] = {"{\"type\":\"test.none\"}"};
    int64_t id;
    (void)state;
    OK(errand_register(e, &t, &error));
    REFUSED(errand_submit(e, "test.none", "", NULL, &id, &error), ERRAND_EINVALID,
            "args");
    REFUSED(errand_submit(e, "test.none", "{\"a\":1,\"a\":2}", NULL, &id, &error),
            ERRAND_EINVALID, "args");
    assert_non_null(strstr(error.message, "duplicate"));
    REFUSED(
        errand_submit(e, "test.none", "{\"a\":99999999999999999999}", NULL, &id, &error),
        ERRAND_EINVALID, "args");
    assert_non_null(strstr(error.message, "integer"));
    REFUSED(errand_submit(e, "test.none", "{\"a\":\"\xff\"}", NULL, &id, &error),
            ERRAND_EINVALID, "args");
    assert_non_null(strstr(error.message, "0xff"));
    o.retries = 3;
    REFUSED(errand_submit(e, "test.none", NULL, &o, &id, &error), ERRAND_EINVALID,
            "retries");
    o = (struct errand_submit_options)ERRAND_INIT(errand_submit_options);
    o.timeout_ms = INT64_MAX;
    REFUSED(errand_submit(e, "test.none", NULL, &o, &id, &error), ERRAND_EINVALID,
            "timeout_ms");
    REFUSED(errand_submit_many(e, documents, 1, 0, &id, NULL, &error), ERRAND_EINVALID,
            "codes");
    assert_null(errand_args("a", "\xff", NULL));
}

static void
refusals__calls(void **state)
{
    struct errand_call_options o = ERRAND_INIT(errand_call_options);
    struct errand_reply reply;
    (void)state;
    o.immediate = o.always_wait = 1;
    REFUSED(errand_call(e, "test.none", NULL, &o, &reply, &error), ERRAND_EINVALID,
            "always_wait");
    o.always_wait = 0;
    for (int i = 0; i < 5; i++) {
        static const char *const fields[] = {"delay_ms", "held", "run_at", "ref",
                                             "after"};
        static const char *const more[] = {
            NULL, NULL, "{\"run_at\":\"2099-01-01T00:00:00Z\"}", "{\"ref\":\"a\"}",
            "{\"after\":[{\"ref\":\"a\"}]}"};
        struct errand_submit_options s = ERRAND_INIT(errand_submit_options);
        s.delay_ms = i == 0;
        s.held = i == 1;
        s.more = more[i];
        o.submit = &s;
        REFUSED(errand_call(e, "shell", "{\"command\":\"true\"}", &o, &reply, &error),
                ERRAND_EINVALID, fields[i]);
        assert_non_null(strstr(error.message, " a call"));
    }
}

static void
refusals__ids(void **state)
{
    char *text;
    (void)state;
    REFUSED(errand_state(e, 0, &error), ERRAND_ENOTFOUND, "id");
    REFUSED(errand_get(e, -1, &text, &error), ERRAND_ENOTFOUND, "id");
    REFUSED(errand_cancel(e, 0, &error), ERRAND_ENOTFOUND, "id");
    REFUSED(errand_wait(e, -5, 0, &error), ERRAND_ENOTFOUND, "id");
}

static void
refusals__types(void **state)
{
    static const char *const builtin[] = {"shell", "sh",        "bash",        "sleep",
                                          "wait",  "file.hash", "http.request"};
    enum errand_class cls = (enum errand_class)9;
    struct errand_param p = {.name = "n", .kind = ERRAND_PARAM_INTEGER, .max = 3};
    struct errand_type t = make_type("test.odd");
    (void)state;
    REFUSED(errand_register(e, NULL, &error), ERRAND_EINVALID, "type");
    REFUSED(errand_unregister(e, NULL, &error), ERRAND_EINVALID, "name");
    REFUSED(errand_unregister(e, "test.absent", &error), ERRAND_ENOTFOUND, "name");
    t.retries = 1;
    REFUSED(errand_register(e, &t, &error), ERRAND_EINVALID, "retries");
    t.retries = 0;
    t.params = &p;
    t.n_params = 1;
    REFUSED(errand_register(e, &t, &error), ERRAND_EINVALID, "params.n.max");
    p.max = 0;
    p.min = -1;
    REFUSED(errand_register(e, &t, &error), ERRAND_EINVALID, "params.n.min");
    for (size_t i = 0; i < sizeof builtin / sizeof *builtin; i++) {
        t = make_type(builtin[i]);
        t.handler = say_class;
        t.ctx = &cls;
        REFUSED(errand_register(e, &t, &error), ERRAND_EEXISTS, "name");
        assert_non_null(strstr(error.message, builtin[i]));
    }
}

static void
refusals__classes_of_failures(void **state)
{
    enum errand_class cls = (enum errand_class)9;
    struct errand_type t = make_type("test.fails");
    int64_t id;
    char *task;
    (void)state;
    t.handler = say_class;
    t.ctx = &cls;
    OK(errand_register(e, &t, &error));
    OK(errand_submit(e, "test.fails", NULL, NULL, &id, &error));
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_FAILED);
    OK(errand_get(e, id, &task, &error));
    assert_non_null(strstr(task, "\"bad-class\""));
    assert_non_null(strstr(task, "\"fatal\""));
    errand_free(task);
}

static void
refusals__subscriptions(void **state)
{
    struct errand_subscribe_options o;
    errand_subscription *sub;
    char *word = malloc(100001);
    (void)state;
    assert_non_null(word);
    memset(word, 'x', 100000);
    word[100000] = '\0';
#define SUBSCRIBE(member, value, named)                                                  \
    o = (struct errand_subscribe_options)ERRAND_INIT(errand_subscribe_options);          \
    o.member = value;                                                                    \
    REFUSED(errand_subscribe(e, &o, on_event, NULL, &sub, &error), ERRAND_EINVALID, named)
    SUBSCRIBE(task, -1, "task");
    SUBSCRIBE(since, -1, "since");
    SUBSCRIBE(since, 4, "since");
    SUBSCRIBE(correlation, "\xff", "correlation");
    SUBSCRIBE(prefix, word, "prefix");
    SUBSCRIBE(cursor, word, "cursor");
    SUBSCRIBE(cursor, "", "cursor");
    SUBSCRIBE(buffer, 1, "buffer");
    SUBSCRIBE(kinds, 64, "kinds");
    SUBSCRIBE(delivery, 9, "delivery");
    free(word);
}

int
main(void)
{
#define REFUSALS(name) cmocka_unit_test_setup_teardown(refusals__##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        REFUSALS(handles),       REFUSALS(submits), REFUSALS(calls),
        REFUSALS(ids),           REFUSALS(types),   REFUSALS(classes_of_failures),
        REFUSALS(subscriptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
