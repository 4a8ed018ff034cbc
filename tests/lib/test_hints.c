/* SPDX-License-Identifier: MIT */
/* The way on that answers name: the functions of errand.h for the program that has the
 * engine inside, the command for who comes by its socket. */
#include "lib_fixture.h"

static errand *e, *client;
static errand_error error;

static int
setup(void **state)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    char path[128], url[140];
    (void)setup_home(state);
    const struct home *h = *state;
    (void)snprintf(path, sizeof path, "%s/app.sock", h->folder);
    (void)snprintf(url, sizeof url, "unix:%s", path);
    o.socket = path;
    OK(errand_open(h->sqlite, &o, &e, &error));
    client = open_with(url, ERRAND_THREAD);
    return 0;
}

static int
teardown(void **state)
{
    errand_close(client);
    errand_close(e);
    return teardown_home(state);
}

static int64_t
submit(const char *key, int held, const char *more)
{
    static const char *const argv[] = {"true", NULL};
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    int64_t id = 0;
    o.key = key;
    o.held = held;
    o.more = more;
    OK(errand_submit_command(e, argv, "/", &o, &id, &error));
    return id;
}

/* The id where '#' stands. */
static void
put_id(char *out, size_t size, const char *text, int64_t id)
{
    const char *mark = strchr(text, '#');
    int n = mark ? (int)(mark - text) : (int)strlen(text);
    if (mark) {
        (void)snprintf(out, size, "%.*s%lld%s", n, text, (long long)id, mark + 1);
    } else {
        (void)snprintf(out, size, "%s", text);
    }
}

/* Asks both; each is told what is its own, with the id where '#' stands. */
static void
assert_told(const char *method, const char *target, const char *body, int64_t id,
            const char *function, const char *command)
{
    errand *const who[] = {e, client};
    const char *const wanted[] = {function, command};
    for (int i = 0; i < 2; i++) {
        char path[100], want[200];
        char *out = NULL;
        put_id(path, sizeof path, target, id);
        put_id(want, sizeof want, wanted[i], id);
        int rc = errand_request(who[i], method, path, body, body ? strlen(body) : 0, &out,
                                NULL, &error);
        if (rc < 0 || !strstr(out, want)) {
            fail_msg("%s %s: %d, not '%s': %s", method, path, rc, want,
                     out ? out : error.message);
        }
        if (i == 0 && strstr(out, "errand r")) {
            fail_msg("%s %s: a command is named: %s", method, path, out);
        }
        errand_free(out);
    }
}

static void
hints__name_what_who_asks_has(void **state)
{
    (void)state;
    int64_t id = submit("k", 1, NULL);
    assert_told("GET", "/v1/tasks/#/why", NULL, id,
                "it is paused by request (errand_resume(e, #, ...) lets it go on)",
                "it is paused by request (errand resume # lets it go on)");
    assert_told("POST", "/v1/tasks/#/retry", NULL, id,
                "(errand_cancel(e, #, ...) ends it)", "(errand cancel # ends it)");
    assert_told("POST", "/v1/tasks/#/input", "{\"data\":\"x\"}", id,
                "among its args keeps it open", "errand add --input keeps it open");
    assert_told("POST", "/v1/tasks", "{\"key\":\"k\",\"args\":{\"argv\":[\"false\"]}}",
                id, "errand_get(e, #, ...) tells what that was",
                "errand show # tells what that was");
    OK(errand_cancel(e, id, &error));
    assert_told("POST", "/v1/tasks/#/cancel", NULL, id,
                "it is cancelled (errand_retry(e, #, ...) runs it again)",
                "it is cancelled (errand retry # runs it again)");
    assert_told("GET", "/v1/tasks/#/why", NULL, id,
                "; errand_retry(e, #, ...) runs it again",
                "; errand retry # runs it again");
}

static void
hints__of_what_is_paused_as_a_whole(void **state)
{
    (void)state;
    assert_true(errand_request(e, "POST", "/v1/pause", "{\"queue\":\"q\"}", 13, NULL,
                               NULL, &error) == 200);
    int64_t id = submit(NULL, 0, "{\"queue\":\"q\"}");
    assert_told("GET", "/v1/tasks/#", NULL, id,
                "queue 'q' is paused (errand_request: POST /v1/resume "
                "{\\\"queue\\\":\\\"q\\\"} lets it go on)",
                "queue 'q' is paused (errand queue q --resume lets it go on)");
    assert_true(errand_request(e, "POST", "/v1/pause", "{\"all\":true}", 12, NULL, NULL,
                               &error) == 200);
    assert_told("GET", "/v1/tasks?queue=q", NULL, id,
                "everything is paused (errand_request: POST /v1/resume "
                "{\\\"all\\\":true} lets it go on)",
                "everything is paused (errand resume --all lets it go on)");
}

/* Nothing is wrong where no command was wanted yet. */
static void
hints__an_engine_without_commands_is_well(void **state)
{
    char *out = NULL;
    errand *alone = open_with("memory:", ERRAND_THREAD);
    (void)state;
    OK(errand_request(alone, "GET", "/v1/doctor", NULL, 0, &out, NULL, &error));
    if (strstr(out, "\"ok\":false") || strstr(out, "daemon")) {
        fail_msg("%s", out);
    }
    errand_free(out);
    assert_int_equal(errand_request(alone, "GET", "/readyz", NULL, 0, NULL, NULL, &error),
                     200);
    errand_close(alone);
}

static void
hints__of_a_test_that_runs_nothing(void **state)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    static const char *const argv[] = {"true", NULL};
    char *why = NULL;
    errand *held;
    int64_t id = 0;
    (void)state;
    o.test = ERRAND_TEST_HOLD;
    OK(errand_open("memory:", &o, &held, &error));
    OK(errand_submit_command(held, argv, "/", NULL, &id, &error));
    OK(errand_why(held, id, &why, &error));
    assert_string_equal(why, "nothing is run here (ERRAND_TEST_HOLD)");
    errand_free(why);
    errand_close(held);
}

int
main(void)
{
#define HINTS(name) cmocka_unit_test_setup_teardown(hints__##name, setup, teardown)
#define ALONE(name)                                                                      \
    cmocka_unit_test_setup_teardown(hints__##name, setup_home, teardown_home)
    const struct CMUnitTest tests[] = {
        HINTS(name_what_who_asks_has),
        HINTS(of_what_is_paused_as_a_whole),
        ALONE(an_engine_without_commands_is_well),
        ALONE(of_a_test_that_runs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
