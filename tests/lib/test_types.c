/* SPDX-License-Identifier: MIT */
/* The registry as applications have it, and their handlers, on a store in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errand_outbox.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>

#include "base/count.h"

static errand *e;
static errand_error error;

static int
setup(void **state)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    (void)state;
    o.handler_threads = 2;
    o.no_commands = 1;
    return errand_open("memory:", &o, &e, &error);
}

static int
teardown(void **state)
{
    (void)state;
    errand_close(e);
    return 0;
}

static int
echo(errand_attempt *a, void *ctx)
{
    (void)ctx;
    const char *args = errand_attempt_args(a);
    return errand_result_set(a, args, strlen(args));
}

static struct errand_type
make_type(const char *name)
{
    struct errand_type t = ERRAND_INIT(errand_type);
    t.name = name;
    t.description = "says what it was told";
    t.handler = echo;
    return t;
}

static void
register_it(const struct errand_type *t)
{
    if (errand_register(e, t, &error) != 0) {
        fail_msg("%s: %s", error.field, error.message);
    }
    assert_int_equal(error.code, 0);
}

/* Runs one and gives its result. */
static char *
run(const char *type, const char *args)
{
    int64_t id;
    char *out = NULL;
    size_t len;
    if (errand_submit(e, type, args, NULL, &id, &error) != 0) {
        fail_msg("%s: %s", error.field, error.message);
    }
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_COMPLETED);
    assert_int_equal(errand_result(e, id, &out, &len, &error), 0);
    return out;
}

static void
types__are_registered_and_run(void **state)
{
    static const char *const modes[] = {"fast", "good", NULL};
    static const struct errand_param params[] = {
        {.name = "path", .kind = ERRAND_PARAM_PATH, .required = 1, .help = "a file"},
        {.name = "depth",
         .kind = ERRAND_PARAM_INTEGER,
         .def = "3",
         .has_min = 1,
         .min = 1},
        {.name = "mode", .kind = ERRAND_PARAM_STRING, .choices = modes},
        {.name = "token",
         .kind = ERRAND_PARAM_STRING,
         .secret = 1,
         .pattern = "^[a-z]+$"},
    };
    struct errand_type t = make_type("test.echo");
    int64_t id;
    char *json;
    (void)state;
    t.params = params;
    t.n_params = 4;
    t.timeout_ms = -1;
    t.has_retries = 1;
    t.backoff_ms = 250;
    t.expected_ms = 1500;
    t.idempotent = 1;
    t.on_lost = "hold";
    t.more = "{\"success_percent\": 50}";
    register_it(&t);
    register_it(&t);
    char *result = run("test.echo", "{\"path\": \"/a\"}");
    assert_string_equal(result, "{\"path\":\"/a\",\"depth\":3}");
    errand_free(result);
    assert_int_equal(errand_types(e, "test.echo", &json, &error), 0);
    assert_non_null(strstr(json, "\"help\":\"says what it was told\""));
    assert_non_null(strstr(json, "\"retries\":0"));
    assert_non_null(strstr(json, "\"backoff_s\":0.25"));
    assert_non_null(strstr(json, "\"on_lost\":\"hold\""));
    assert_non_null(strstr(json, "\"success_percent\":50"));
    assert_non_null(strstr(json, "\"served\":true"));
    assert_non_null(strstr(json, "\"schema\":{"));
    errand_free(json);
    assert_int_equal(errand_types(e, NULL, &json, &error), 0);
    assert_non_null(strstr(json, "\"test.echo\""));
    errand_free(json);
    assert_int_equal(
        errand_submit(e, "test.echo", "{\"path\":\"/a\",\"depth\":0}", NULL, &id, &error),
        ERRAND_EINVALID);
    assert_string_equal(error.field, "depth");
    assert_int_equal(errand_types(e, "no.such", &json, &error), ERRAND_ENOTFOUND);
    assert_int_equal(errand_types(e, "no such", &json, &error), ERRAND_ENOTFOUND);
}

static void
refuses(const struct errand_type *t, const char *field, const char *words)
{
    assert_int_equal(errand_register(e, t, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, field);
    if (!strstr(error.message, words)) {
        fail_msg("'%s' lacks '%s'", error.message, words);
    }
}

static void
types__are_refused_by_the_member(void **state)
{
    struct errand_param p = {.name = "depth", .kind = ERRAND_PARAM_INTEGER};
    struct errand_type t = make_type(NULL);
    char *json;
    (void)state;
    refuses(&t, "name", "letters");
    t.name = "a type";
    refuses(&t, "name", "letters");
    t = make_type("test.bad");
    t.description = NULL;
    refuses(&t, "description", "one line");
    t.description = "two\nlines";
    refuses(&t, "description", "one line");
    t = make_type("test.bad");
    t.backoff_ms = -1;
    refuses(&t, "backoff_ms", "negative");
    t = make_type("test.bad");
    t.on_lost = "shrug";
    refuses(&t, "on_lost", "hold");
    t = make_type("test.bad");
    t.more = "{\"help\": \"again\"}";
    refuses(&t, "more", "help");
    t.more = "[]";
    refuses(&t, "more", "object");
    t.more = "{\"frob\": 1}";
    refuses(&t, "frob", "frob");
    t = make_type("test.bad");
    t.n_params = 1;
    refuses(&t, "params", "n_params");
    t.params = &p;
    p.def = "nonsense";
    refuses(&t, "params.depth.def", "JSON");
    p.def = " null ";
    refuses(&t, "params.depth.def", "null is of no kind");
    p.def = "3 4";
    refuses(&t, "params.depth.def", "JSON");
    p.has_max = 1;
    p.max = 2;
    p.def = "3";
    refuses(&t, "params.depth.def", "at most 2");
    p.required = 1;
    p.def = "1";
    refuses(&t, "params.depth.def", "required has no default");
    p.required = p.has_max = 0;
    p.max = 0;
    p.def = "\"text\"";
    refuses(&t, "params.depth.def", "depth");
    p.def = NULL;
    p.kind = (enum errand_param_kind)99;
    refuses(&t, "params.depth.kind", "enum");
    p.kind = ERRAND_PARAM_INTEGER;
    p.name = "9";
    refuses(&t, "params[0].name", "letter");
    p.name = "depth";
    p.has_max = 1;
    p.max = HUGE_VAL;
    refuses(&t, "params.depth.max", "finite");
    p.has_max = 0;
    p.help = "two\nlines";
    refuses(&t, "params.depth.help", "one line");
    p.help = "\xff";
    refuses(&t, "params.depth.help", "UTF-8");
    p.help = NULL;
    p.max = 0;
    p.reserved[3] = "x";
    refuses(&t, "params.depth.reserved", "zero");
    t = make_type("test.bad");
    t.description = "\xff";
    refuses(&t, "description", "UTF-8");
    /* commands would all go to the handler */
    t = make_type("shell");
    assert_int_equal(errand_register(e, &t, &error), ERRAND_EEXISTS);
    assert_string_equal(error.field, "name");
    t.size = 4;
    assert_int_equal(errand_register(e, &t, &error), ERRAND_EINVALID);
    assert_int_equal(errand_register(e, NULL, &error), ERRAND_EINVALID);
    assert_int_equal(errand_types(e, "test.bad", &json, &error), ERRAND_ENOTFOUND);
}

static void
types__are_replaced_by_who_serves_them(void **state)
{
    struct errand_type t = make_type("test.echo");
    char *json;
    (void)state;
    register_it(&t);
    t.description = "says it another way";
    register_it(&t);
    assert_int_equal(errand_types(e, "test.echo", &json, &error), 0);
    assert_non_null(strstr(json, "says it another way"));
    errand_free(json);
}

static void
types__may_be_definitions_only(void **state)
{
    struct errand_type t = make_type("test.later");
    int64_t id;
    (void)state;
    t.handler = NULL;
    register_it(&t);
    assert_int_equal(errand_submit(e, "test.later", NULL, NULL, &id, &error), 0);
    assert_int_equal(errand_state(e, id, &error), ERRAND_QUEUED);
    t.handler = echo;
    register_it(&t);
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_COMPLETED);
}

static void
types__are_served_until_they_are_withdrawn(void **state)
{
    struct errand_type t = make_type("test.echo");
    int64_t id;
    (void)state;
    assert_int_equal(errand_unregister(e, "test.echo", &error), ERRAND_ENOTFOUND);
    register_it(&t);
    errand_free(run("test.echo", NULL));
    assert_int_equal(errand_unregister(e, "test.echo", &error), 0);
    assert_int_equal(errand_unregister(e, "test.echo", &error), ERRAND_ENOTFOUND);
    assert_int_equal(errand_submit(e, "test.echo", NULL, NULL, &id, &error), 0);
    assert_int_equal(errand_wait(e, id, 50, &error), ERRAND_ETIMEOUT);
    register_it(&t);
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_COMPLETED);
}

static int
shout(const char *request, char **reply)
{
    bool bad = strstr(request, "bad") != NULL;
    *reply = strdup(bad ? "it is bad" : "\"HELLO\"");
    return bad;
}

static void
types__may_be_blocking_functions(void **state)
{
    struct errand_type t = make_type("test.shout");
    int64_t id;
    char *json;
    (void)state;
    assert_int_equal(errand_register_blocking(e, &t, NULL, &error), ERRAND_EINVALID);
    assert_int_equal(errand_register_blocking(e, &t, shout, &error), 0);
    char *result = run("test.shout", NULL);
    assert_string_equal(result, "\"HELLO\"");
    errand_free(result);
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    static const struct errand_param params[] = {
        {.name = "how", .kind = ERRAND_PARAM_STRING, .def = "\"bad\""}};
    t.params = params;
    t.n_params = 1;
    assert_int_equal(errand_register_blocking(e, &t, shout, &error), 0);
    assert_int_equal(errand_submit(e, "test.shout", NULL, &o, &id, &error), 0);
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_FAILED); /* at once: fatal */
    assert_int_equal(errand_get(e, id, &json, &error), 0);
    assert_non_null(strstr(json, "it is bad"));
    errand_free(json);
}

static struct er_count inside, why;

static int
linger(errand_attempt *a, void *ctx)
{
    (void)ctx;
    er_count_add(&inside, 1);
    er_count_set(&why, errand_sleep(a, INT64_MAX));
    return ERRAND_STOPPED;
}

static void
await_inside(void)
{
    while (er_count_get(&inside) == 0) {
        (void)poll(NULL, 0, 1);
    }
}

static void
types__handlers_are_cancelled(void **state)
{
    struct errand_type t = make_type("test.linger");
    int64_t id;
    (void)state;
    er_count_set(&inside, 0);
    t.handler = linger;
    register_it(&t);
    assert_int_equal(errand_submit(e, "test.linger", NULL, NULL, &id, &error), 0);
    await_inside();
    assert_int_equal(errand_cancel(e, id, &error), 0);
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_CANCELLED);
    assert_int_equal(er_count_get(&why), ERRAND_STOP_CANCEL);
}

static void
types__handlers_stop_when_the_handle_closes(void **state)
{
    struct errand_type t = make_type("test.linger");
    int64_t id;
    assert_int_equal(setup(state), 0);
    er_count_set(&inside, 0);
    t.handler = linger;
    register_it(&t);
    assert_int_equal(errand_submit(e, "test.linger", NULL, NULL, &id, &error), 0);
    await_inside();
    errand_close(e);
    assert_int_equal(er_count_get(&why), ERRAND_STOP_SHUTDOWN);
}

static int
submit_more(errand_attempt *a, void *ctx)
{
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    int64_t id;
    (void)ctx;
    o.parent = errand_attempt_task(a);
    return errand_submit(errand_attempt_handle(a), "test.echo", NULL, &o, &id, NULL);
}

static void
types__handlers_submit_tasks(void **state)
{
    struct errand_type t = make_type("test.echo"), more = make_type("test.more");
    int64_t id;
    (void)state;
    register_it(&t);
    more.handler = submit_more;
    register_it(&more);
    assert_int_equal(errand_submit(e, "test.more", NULL, NULL, &id, &error), 0);
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_COMPLETED);
    assert_int_equal(errand_wait(e, id + 1, -1, &error), ERRAND_COMPLETED);
}

static int
give_results(errand_attempt *a, void *ctx)
{
    (void)ctx;
    const char *text = errand_after_results(a);
    return text ? errand_result_set(a, text, strlen(text)) : 1;
}

static void
types__handlers_have_the_results_of_what_they_waited_for(void **state)
{
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    struct errand_type t = make_type("test.echo"), sum = make_type("test.sum");
    int64_t ids[2], id;
    char *out, want[300];
    (void)state;
    register_it(&t);
    sum.handler = give_results;
    register_it(&sum);
    assert_int_equal(errand_submit(e, "test.echo", "{\"n\":1}", NULL, &ids[0], &error),
                     0);
    assert_int_equal(errand_submit(e, "test.echo", NULL, NULL, &ids[1], &error), 0);
    o.after = ids;
    o.n_after = 2;
    assert_int_equal(errand_submit(e, "test.sum", NULL, &o, &id, &error), 0);
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_COMPLETED);
    assert_int_equal(errand_result(e, id, &out, NULL, &error), 0);
    (void)snprintf(
        want, sizeof want,
        "{\"%lld\":{\"state\":\"completed\",\"exit_code\":0,\"result\":{\"n\":1},"
        "\"result_bytes\":7},\"%lld\":{\"state\":\"completed\",\"exit_code\":0,"
        "\"result\":{},\"result_bytes\":2}}",
        (long long)ids[0], (long long)ids[1]);
    assert_string_equal(out, want);
    errand_free(out);
    out = run("test.sum", NULL); /* it waited for nothing */
    assert_string_equal(out, "{}");
    errand_free(out);
}

static void
expect_texts(int64_t id)
{
    char *out;
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_COMPLETED);
    assert_int_equal(errand_result(e, id, &out, NULL, &error), 0);
    assert_non_null(strstr(out, "\"n\":3"));
    assert_non_null(strstr(out, "\"sure\":true"));
    errand_free(out);
}

static void
on_handed_on(void *ctx, const char *key, int64_t id)
{
    (void)key;
    *(int64_t *)ctx = id;
}

static void
types__texts_are_read_wherever_they_come_in(void **state)
{
    static const struct errand_param params[] = {
        {.name = "n", .kind = ERRAND_PARAM_INTEGER, .required = 1},
        {.name = "sure", .kind = ERRAND_PARAM_BOOLEAN},
    };
    struct errand_type t = make_type("test.texts");
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    static const char with_blanks[] =
        " {\t\"$text\" : { \"n\": \"3\", \"sure\": \"yes\" } }\n";
    char document[200];
    const char *documents[] = {document, "{\"type\":\"test.unknown\"}"};
    int codes[2];
    int64_t ids[2];
    char *args = errand_args("n", "3", "sure", "yes", NULL);
    sqlite3 *db;
    (void)state;
    t.params = params;
    t.n_params = 2;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(errand_outbox_create(db), 0);
    assert_int_equal(errand_outbox_add(db, "test.texts", args, NULL, NULL), 0);
    /* nobody knows the type yet: another time */
    ids[0] = 0;
    assert_int_equal(errand_outbox_relay(db, e, on_handed_on, ids, &error),
                     ERRAND_ENOTFOUND);
    assert_string_equal(error.field, "type");
    assert_int_equal(ids[0], 0);
    register_it(&t);
    assert_int_equal(errand_outbox_relay(db, e, on_handed_on, ids, &error), 0);
    expect_texts(ids[0]);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);

    assert_int_equal(errand_submit(e, t.name, with_blanks, NULL, ids, &error), 0);
    expect_texts(ids[0]);
    (void)snprintf(document, sizeof document, "{\"args\":%s,\"type\":\"test.texts\"}",
                   args);
    assert_int_equal(errand_submit_many(e, documents, 2, 0, ids, codes, &error),
                     ERRAND_ENOTFOUND);
    assert_non_null(strstr(error.message, "entry 1: "));
    assert_int_equal(codes[0], 0);
    expect_texts(ids[0]);
    (void)snprintf(document, sizeof document, "{\"args\":%s}", args);
    o.more = document;
    assert_int_equal(errand_submit(e, t.name, "{\"n\":1}", &o, ids, &error), 0);
    expect_texts(ids[0]);
    errand_free(args);
}

int
main(void)
{
#define TYPES(name) cmocka_unit_test_setup_teardown(types__##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TYPES(are_registered_and_run),
        TYPES(are_refused_by_the_member),
        TYPES(are_replaced_by_who_serves_them),
        TYPES(may_be_definitions_only),
        TYPES(are_served_until_they_are_withdrawn),
        TYPES(may_be_blocking_functions),
        TYPES(handlers_are_cancelled),
        TYPES(handlers_submit_tasks),
        TYPES(handlers_have_the_results_of_what_they_waited_for),
        TYPES(texts_are_read_wherever_they_come_in),
        cmocka_unit_test(types__handlers_stop_when_the_handle_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
