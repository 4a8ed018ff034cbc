/* SPDX-License-Identifier: MIT */
/* A type that two programs would have differently, with a daemon between them. */
#include "lib_fixture.h"

static errand_error error;

static int
do_nothing(errand_attempt *a, void *ctx)
{
    (void)a;
    (void)ctx;
    return 0;
}

static struct errand_type
make_type(const char *description)
{
    struct errand_type t = ERRAND_INIT(errand_type);
    t.name = "test.echo";
    t.description = description;
    t.handler = do_nothing;
    return t;
}

/* Waits until it is, or is not, served by anybody. */
static void
await_served(errand *e, const char *name, bool served)
{
    for (bool now = !served; now != served;) {
        char *json;
        OK(errand_types(e, name, &json, &error));
        now = strstr(json, "\"served\":true") != NULL;
        errand_free(json);
    }
}

static void
refused(errand *e, const struct errand_type *t, const char *field)
{
    assert_int_equal(errand_register(e, t, &error), ERRAND_EEXISTS);
    assert_string_equal(error.field, field);
    assert_non_null(strstr(error.message, "another program"));
}

static void
types__that_others_serve_are_left_as_they_are(void **state)
{
    static const struct errand_param params[] = {
        {.name = "n", .kind = ERRAND_PARAM_INTEGER}};
    const struct home *h = *state;
    struct errand_type t = make_type("one"), other = make_type("another"),
                       typed = make_type("one"), mark = make_type("one");
    errand *e = open_with(h->daemon, ERRAND_THREAD);
    errand *second = open_with(h->daemon, ERRAND_THREAD);
    int64_t id;
    char *json;
    OK(errand_register(e, &t, &error));
    await_served(e, t.name, true);
    OK(errand_register(second, &t, &error)); /* the same is fine */
    mark.name = "test.mark";
    OK(errand_register(second, &mark, &error));
    await_served(e, mark.name, true); /* then the daemon knows of both */
    refused(second, &other, "description");
    typed.params = params;
    typed.n_params = 1;
    /* of the two that serve it neither may change it */
    refused(second, &typed, "params");
    refused(e, &typed, "params");
    OK(errand_types(e, "test.echo", &json, &error));
    assert_null(strstr(json, "\"parameters\""));
    errand_free(json);
    OK(errand_submit(e, "test.echo", "{\"any\":1}", NULL, &id, &error));
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_COMPLETED);
    /* who is alone may, at once and again and again; and anybody when nobody serves it */
    OK(errand_unregister(e, "test.echo", &error));
    while (errand_register(second, &typed, &error) != 0) {
        assert_int_equal(error.code, ERRAND_EEXISTS); /* it has not been told yet */
    }
    OK(errand_register(second, &t, &error));
    OK(errand_register(second, &other, &error));
    errand_close(second);
    await_served(e, t.name, false);
    OK(errand_register(e, &t, &error));
    errand_close(e);
}

/* Before its session has a number, too. */
static void
types__are_changed_at_once_by_who_has_made_them(void **state)
{
    const struct home *h = *state;
    struct errand_type t = make_type("one"), other = make_type("another");
    char *json;
    for (int i = 0; i < 6; i++) {
        errand *e = open_with(h->daemon, i % 2 ? ERRAND_TURN : ERRAND_THREAD);
        OK(errand_register(e, &t, &error));
        OK(errand_register(e, &other, &error));
        OK(errand_types(e, "test.echo", &json, &error));
        assert_non_null(strstr(json, "another"));
        errand_free(json);
        OK(errand_unregister(e, "test.echo", &error));
        errand_close(e);
        e = open_with(h->daemon, ERRAND_THREAD);
        await_served(e, t.name, false);
        errand_close(e);
    }
}

/* Embedded: commands wait, and it is said for what. */
static void
types__that_need_a_worker_say_when_there_is_none(void **state)
{
    static const char *const argv[] = {"true", NULL};
    struct errand_options o = ERRAND_INIT(errand_options);
    errand *e;
    int64_t id;
    char *why = NULL;
    (void)state;
    o.worker = "/bin/false";
    OK(errand_open("memory:", &o, &e, &error));
    OK(errand_submit_command(e, argv, NULL, NULL, &id, &error));
    for (bool said = false; !said;) {
        errand_free(why);
        (void)poll(NULL, 0, 10);
        OK(errand_why(e, id, &why, &error));
        said = strstr(why, "no worker: errand-worker ended at its start") != NULL;
    }
    errand_free(why);
    errand_close(e);
}

static int
count_sessions(errand *e)
{
    char *json;
    int n = 0;
    assert_int_equal(errand_request(e, "GET", "/v1/stats", NULL, 0, &json, NULL, &error),
                     200);
    for (const char *at = json; (at = strstr(at, "\"session\":")) != NULL; at++) {
        n++;
    }
    errand_free(json);
    return n;
}

/* Two handles of one process, one of which has the store: they are two sessions,
 * whichever of them came first, and each ends with its handle. */
static void
types__are_served_by_two_handles_of_one_process(void **state)
{
    const struct home *h = *state;
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_type own = make_type("own"), theirs = make_type("theirs");
    char path[160], url[170];
    errand *e;
    (void)snprintf(path, sizeof path, "%s/app.sock", h->folder);
    (void)snprintf(url, sizeof url, "unix:%s", path);
    own.name = "test.own";
    o.socket = path;
    for (int own_first = 0; own_first < 2; own_first++) {
        OK(errand_open(h->sqlite, &o, &e, &error));
        errand *other = open_with(url, ERRAND_THREAD);
        for (int i = 0; i < 2; i++) {
            bool mine = i == (own_first ? 0 : 1);
            const struct errand_type *t = mine ? &own : &theirs;
            OK(errand_register(mine ? e : other, t, &error));
            await_served(e, t->name, true);
        }
        AWAIT(e, count_sessions(e) == 2);
        errand_close(other);
        AWAIT(e, count_sessions(e) == 1);
        await_served(e, own.name, true);
        errand_close(e);
    }
}

int
main(void)
{
#define TYPES(name)                                                                      \
    cmocka_unit_test_setup_teardown(types__##name, setup_home, teardown_home)
    const struct CMUnitTest tests[] = {
        TYPES(that_others_serve_are_left_as_they_are),
        TYPES(are_changed_at_once_by_who_has_made_them),
        TYPES(that_need_a_worker_say_when_there_is_none),
        TYPES(are_served_by_two_handles_of_one_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
