/* SPDX-License-Identifier: MIT */
/* What a handler sees of its attempt, against operations that only writes down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>

#include "base/mem.h"
#include "lib/attempt.h"
#include "model/task.h"

/* ---- the operations ---- */

static struct {
    int news;
    char said[4096];
} heard;

static int
hear(const char *what, const char *text)
{
    size_t n = strlen(heard.said);
    (void)snprintf(heard.said + n, sizeof heard.said - n, "%s %s;", what, text);
    return 0;
}

static int
hear_item(struct errand_attempt *a, const char *name, bool failed)
{
    (void)a;
    return hear(failed ? "failed" : "done", name);
}

static int
hear_checkpoint(struct errand_attempt *a, const char *json)
{
    (void)a;
    return hear("checkpoint", json);
}

static int
hear_output(struct errand_attempt *a, const void *p, size_t n)
{
    char text[1024];
    (void)a;
    assert_true(n < sizeof text);
    memcpy(text, p, n);
    text[n] = '\0';
    return hear("output", text);
}

static void
hear_news(struct errand_attempt *a)
{
    (void)a;
    heard.news++;
}

static const struct er_attempt_ops ops = {.item = hear_item,
                                          .checkpoint = hear_checkpoint,
                                          .output = hear_output,
                                          .news = hear_news};

static const char order_json[] =
    "{\"task\":42,\"attempt\":2,\"type\":\"image.resize\",\"correlation_id\":\"c-1\","
    "\"args\":{\"path\":\"/a\",\"n\":7,\"x\":1.5,\"yes\":true,\"list\":[\"a\",\"b\"]},"
    "\"checkpoint\":{\"at\":3}}";

static void
open_attempt(struct errand_attempt *a, const char *json, const char *done)
{
    json_t *order = json_loads(json, 0, NULL);
    memset(&heard, 0, sizeof heard);
    assert_int_equal(er_attempt_open(a, order, done ? er_xstrdup(done) : NULL, &ops,
                                     er_clock_system()),
                     0);
    json_decref(order);
}

/* ---- tests ---- */

static void
attempt__knows_its_order(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_int_equal(errand_attempt_task(&a), 42);
    assert_int_equal(errand_attempt_number(&a), 2);
    assert_string_equal(errand_attempt_type(&a), "image.resize");
    assert_string_equal(errand_attempt_correlation(&a), "c-1");
    assert_string_equal(errand_checkpoint_get(&a), "{\"at\":3}");
    assert_null(errand_attempt_handle(&a));
    er_attempt_close(&a);
}

static void
attempt__refuses_what_is_no_order(void **state)
{
    struct errand_attempt a;
    (void)state;
    static const char *const orders[] = {"{}", "{\"task\":1,\"attempt\":1}",
                                         "{\"task\":0,\"attempt\":1,\"type\":\"a\"}",
                                         "{\"task\":1,\"type\":\"a\"}"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        json_t *o = json_loads(orders[i], 0, NULL);
        assert_int_equal(er_attempt_open(&a, o, NULL, &ops, er_clock_system()),
                         ER_EINVALID);
        json_decref(o);
    }
    assert_int_equal(er_attempt_open(&a, NULL, NULL, &ops, er_clock_system()),
                     ER_EINVALID);
}

static void
attempt__gives_arguments_by_kind(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_string_equal(errand_arg_text(&a, "path"), "/a");
    assert_null(errand_arg_text(&a, "none"));
    assert_null(errand_arg_text(&a, "n"));
    assert_null(errand_arg_text(&a, NULL));
    assert_int_equal(errand_arg_integer(&a, "n", -1), 7);
    assert_int_equal(errand_arg_integer(&a, "x", -1), 1);
    assert_int_equal(errand_arg_integer(&a, "none", -1), -1);
    assert_true(fabs(errand_arg_number(&a, "x", 0) - 1.5) < 1e-9);
    assert_true(fabs(errand_arg_number(&a, "n", 0) - 7) < 1e-9);
    assert_int_equal(errand_arg_boolean(&a, "yes", 0), 1);
    assert_int_equal(errand_arg_boolean(&a, "path", 5), 5);
    assert_string_equal(errand_arg_item(&a, "list", 1), "b");
    assert_null(errand_arg_item(&a, "list", 2));
    const char *all = errand_attempt_args(&a);
    assert_non_null(strstr(all, "\"path\":\"/a\""));
    assert_ptr_equal(all, errand_attempt_args(&a));
    er_attempt_close(&a);
}

static void
attempt__without_arguments_has_an_empty_object(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, "{\"task\":1,\"attempt\":1,\"type\":\"t\",\"checkpoint\":null}",
                 NULL);
    assert_string_equal(errand_attempt_args(&a), "{}");
    assert_null(errand_checkpoint_get(&a));
    assert_string_equal(errand_attempt_correlation(&a), "");
    er_attempt_close(&a);
}

static bool
is_readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static void
attempt__is_asked_to_stop_once(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, order_json, NULL);
    int fd = errand_stop_fd(&a);
    assert_true(fd >= 0);
    assert_int_equal(fd, errand_stop_fd(&a));
    assert_int_equal(errand_should_stop(&a), 0);
    assert_false(is_readable(fd));
    er_attempt_ask_stop(&a, ERRAND_STOP_PAUSE);
    er_attempt_ask_stop(&a, ERRAND_STOP_CANCEL);
    assert_int_equal(errand_should_stop(&a), ERRAND_STOP_PAUSE);
    assert_true(is_readable(fd));
    er_attempt_ask_stop(&a, ERRAND_STOP_LOST);
    assert_int_equal(errand_should_stop(&a), ERRAND_STOP_LOST);
    er_attempt_close(&a);
}

static void
attempt__has_a_readable_descriptor_after_the_stop_too(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, order_json, NULL);
    er_attempt_ask_stop(&a, ERRAND_STOP_CANCEL);
    assert_true(is_readable(errand_stop_fd(&a)));
    er_attempt_close(&a);
}

static void *
stop_it(void *ctx)
{
    er_attempt_ask_stop(ctx, ERRAND_STOP_CANCEL);
    return NULL;
}

static void
attempt__sleeps_until_it_is_to_stop(void **state)
{
    struct errand_attempt a;
    pthread_t t;
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_int_equal(errand_sleep(&a, 0), 0);
    assert_int_equal(errand_sleep(&a, 1), 0);
    assert_int_equal(pthread_create(&t, NULL, stop_it, &a), 0);
    assert_int_equal(errand_sleep(&a, INT64_MAX), ERRAND_STOP_CANCEL);
    (void)pthread_join(t, NULL);
    assert_int_equal(errand_sleep(&a, INT64_MAX), ERRAND_STOP_CANCEL);
    er_attempt_close(&a);
}

static void
attempt__merges_progress_until_it_is_taken(void **state)
{
    struct errand_attempt a;
    struct er_attempt_news n;
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_false(er_attempt_take_news(&a, &n));
    for (int i = 1; i <= 1000; i++) {
        errand_progress_to(&a, i, 1000, i == 500 ? "half" : NULL);
    }
    struct errand_progress p = ERRAND_INIT(errand_progress);
    p.message = "at it";
    errand_progress_report(&a, &p);
    assert_int_equal(heard.news, 1);
    assert_true(er_attempt_take_news(&a, &n));
    struct er_progress_update u = er_attempt_update(&n);
    assert_int_equal(u.current, 1000);
    assert_int_equal(u.total, 1000);
    assert_true(u.has_current && u.has_total && !u.has_percent);
    assert_string_equal(u.item, "half");
    assert_string_equal(u.message, "at it");
    assert_null(u.unit);
    assert_false(er_attempt_take_news(&a, &n));
    errand_progress_to(&a, 1, 0, NULL);
    assert_int_equal(heard.news, 2);
    assert_true(er_attempt_take_news(&a, &n));
    u = er_attempt_update(&n);
    assert_null(u.item);
    assert_int_equal(u.total, 0);
    er_attempt_close(&a);
}

static void
attempt__takes_progress_of_other_versions(void **state)
{
    struct errand_attempt a;
    struct er_attempt_news n;
    (void)state;
    open_attempt(&a, order_json, NULL);
    struct errand_progress p = ERRAND_INIT(errand_progress);
    p.has_percent = 1;
    p.percent = 30;
    p.current = 3;
    p.item = "unseen";
    p.size = offsetof(struct errand_progress, unit);
    errand_progress_report(&a, &p);
    assert_true(er_attempt_take_news(&a, &n));
    assert_true(n.has_percent && n.has_current && !n.has_item);
    p.size = 0;
    errand_progress_report(&a, &p);
    errand_progress_report(&a, NULL);
    assert_false(er_attempt_take_news(&a, &n));
    p.size = sizeof p;
    p.percent = (double)NAN;
    errand_progress_report(&a, &p);
    assert_true(er_attempt_take_news(&a, &n));
    assert_false(n.has_percent);
    er_attempt_close(&a);
}

static void
attempt__cuts_long_texts_between_characters(void **state)
{
    struct errand_attempt a;
    struct er_attempt_news n;
    char text[3000] = "";
    (void)state;
    for (size_t i = 0; i + 2 < sizeof text; i += 2) {
        memcpy(text + i, "\xc3\xa4", 3);
    }
    open_attempt(&a, order_json, NULL);
    errand_progress_to(&a, 1, 2, text);
    assert_true(er_attempt_take_news(&a, &n));
    assert_true(strlen(n.item) > ER_PROGRESS_TEXT);
    assert_int_equal(strlen(n.item) % 2, 0);
    er_attempt_close(&a);
}

static void
attempt__checks_items_and_knows_those_that_are_done(void **state)
{
    struct errand_attempt a;
    char long_name[ER_MAX_NAME + 2];
    (void)state;
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    open_attempt(&a, order_json, "zeta\nalpha\n\nbeta");
    assert_int_equal(errand_item(&a, "one", 0), 0);
    assert_int_equal(errand_item(&a, "two", 1), 0);
    assert_string_equal(heard.said, "done one;failed two;");
    assert_int_equal(errand_item(&a, "", 0), ERRAND_EINVALID);
    assert_int_equal(errand_item(&a, NULL, 0), ERRAND_EINVALID);
    assert_int_equal(errand_item(&a, "\xff", 0), ERRAND_EINVALID);
    assert_int_equal(errand_item(&a, long_name, 0), ERRAND_EINVALID);
    assert_true(errand_item_is_done(&a, "alpha"));
    assert_true(errand_item_is_done(&a, "beta"));
    assert_true(errand_item_is_done(&a, "zeta"));
    assert_false(errand_item_is_done(&a, ""));
    assert_false(errand_item_is_done(&a, "one"));
    assert_false(errand_item_is_done(&a, NULL));
    er_attempt_close(&a);
}

static void
attempt__takes_checkpoints_that_are_json(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_int_equal(errand_checkpoint(&a, " { \"at\" : 4 } "), 0);
    assert_string_equal(heard.said, "checkpoint {\"at\":4};");
    assert_int_equal(errand_checkpoint(&a, "{"), ERRAND_EINVALID);
    assert_int_equal(errand_checkpoint(&a, NULL), ERRAND_EINVALID);
    char *large = er_xalloc(ER_MAX_CHECKPOINT + 4);
    memset(large, '1', ER_MAX_CHECKPOINT + 3);
    large[0] = '"';
    large[ER_MAX_CHECKPOINT + 2] = '"';
    large[ER_MAX_CHECKPOINT + 3] = '\0';
    assert_int_equal(errand_checkpoint(&a, large), ERRAND_ETOOBIG);
    er_free(large);
    assert_string_equal(errand_checkpoint_get(&a), "{\"at\":3}");
    er_attempt_close(&a);
}

static void
attempt__formats_output(void **state)
{
    struct errand_attempt a;
    char wide[601];
    (void)state;
    memset(wide, 'w', 600);
    wide[600] = '\0';
    open_attempt(&a, order_json, NULL);
    assert_int_equal(errand_outputf(&a, "%d of %s", 3, "four"), 0);
    assert_string_equal(heard.said, "output 3 of four;");
    heard.said[0] = '\0';
    assert_int_equal(errand_outputf(&a, "%s!", wide), 0);
    assert_int_equal(strlen(heard.said), strlen("output ;") + 601);
    heard.said[0] = '\0';
    int (*plain)(errand_attempt *, const char *, ...) = errand_outputf;
    assert_int_equal(plain(&a, NULL), ERRAND_EINVALID);
    assert_int_equal(errand_output(&a, "", 0), 0);
    assert_string_equal(heard.said, "");
    assert_int_equal(errand_output(&a, NULL, 1), ERRAND_EINVALID);
    er_attempt_close(&a);
}

static void
attempt__keeps_the_last_result(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_int_equal(errand_result_set(&a, "one", 3), 0);
    assert_int_equal(errand_result_set(&a, "\0\1", 2), 0);
    assert_int_equal(a.result_len, 2);
    assert_memory_equal(a.result, "\0\1", 2);
    assert_int_equal(errand_result_set(&a, "", ER_MAX_RESULT + 1), ERRAND_ETOOBIG);
    assert_int_equal(errand_result_set(&a, NULL, 1), ERRAND_EINVALID);
    assert_int_equal(a.result_len, 2);
    assert_int_equal(errand_result_set(&a, NULL, 0), 0);
    assert_int_equal(a.result_len, 0);
    assert_non_null(a.result);
    er_attempt_close(&a);
}

static void assert_error(struct errand_attempt *a, int returned, const char *want);

static void
attempt__fails_when_its_result_is_lost(void **state)
{
    static const char want[] = "{\"class\":\"fatal\",\"code\":\"too-big\",\"message\":"
                               "\"the result is larger than 16 "
                               "MiB\",\"suggested_action\":\"write it to a file, and "
                               "give the path as the result\"}";
    struct errand_attempt a;
    struct er_buf b;
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_int_equal(errand_result_set(&a, "", ER_MAX_RESULT + 1), ERRAND_ETOOBIG);
    assert_error(&a, 0, want);
    assert_error(&a, ERRAND_ETOOBIG, want);
    er_buf_init(&b, 0);
    assert_int_equal(
        er_attempt_judge(&a, errand_fail(&a, ERRAND_FATAL, "own", "own", NULL), &b),
        ER_ATTEMPT_FAILED); /* it has a reason of its own */
    assert_non_null(strstr(b.data, "\"own\""));
    er_buf_fini(&b);
    assert_int_equal(errand_result_set(&a, "it is in a file", 15), 0);
    assert_int_equal(er_attempt_judge(&a, 0, NULL), ER_ATTEMPT_COMPLETED);
    er_attempt_close(&a);
}

static void
assert_error(struct errand_attempt *a, int returned, const char *want)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    assert_int_equal(er_attempt_judge(a, returned, &b), ER_ATTEMPT_FAILED);
    assert_string_equal(b.data, want);
    er_buf_fini(&b);
}

static void
attempt__judges_what_the_handler_returned(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_int_equal(er_attempt_judge(&a, 0, NULL), ER_ATTEMPT_COMPLETED);
    assert_error(
        &a, 7,
        "{\"class\":\"retryable\",\"code\":\"handler\",\"message\":\"the handler "
        "returned 7\"}");
    assert_error(
        &a, ERRAND_STOPPED,
        "{\"class\":\"retryable\",\"code\":\"stopped\",\"message\":\"the handler "
        "returned ERRAND_STOPPED (1000), but nobody had asked it to stop\"}");
    int failed =
        errand_fail(&a, ERRAND_USER_ACTIONABLE, "no-disk", "it \"is\" full", "make room");
    assert_error(&a, failed,
                 "{\"class\":\"user-actionable\",\"code\":\"no-disk\",\"message\":\"it "
                 "\\\"is\\\" full\",\"suggested_action\":\"make room\"}");
    assert_int_equal(er_attempt_judge(&a, 0, NULL), ER_ATTEMPT_COMPLETED);
    failed = errand_fail(&a, (enum errand_class)9, NULL, NULL, NULL);
    assert_error(
        &a, failed,
        "{\"class\":\"fatal\",\"code\":\"bad-class\",\"message\":\"errand_fail was "
        "given a class that is none of enum errand_class\"}");
    int limited = errand_rate_limited(&a, -1);
    assert_int_equal(er_attempt_judge(&a, limited, NULL), ER_ATTEMPT_LIMITED);
    assert_int_equal(a.fault.retry_after_ms, 60000);
    assert_int_equal(er_attempt_judge(&a, failed, NULL), ER_ATTEMPT_FAILED);
    (void)errand_rate_limited(&a, 0);
    assert_int_equal(a.fault.retry_after_ms, 1);
    er_attempt_ask_stop(&a, ERRAND_STOP_CANCEL);
    assert_int_equal(er_attempt_judge(&a, ERRAND_STOPPED, NULL), ER_ATTEMPT_STOPPED);
    er_attempt_close(&a);
}

static int
echo(const char *request, char **reply)
{
    bool bad = strstr(request, "/a") == NULL;
    *reply = strdup(bad ? "no path" : request);
    return bad ? 3 : 0;
}

static int
mute(const char *request, char **reply)
{
    (void)request;
    *reply = NULL;
    return 4;
}

static void
attempt__runs_blocking_functions(void **state)
{
    struct errand_attempt a;
    struct er_handler h = {.blocking = echo};
    (void)state;
    open_attempt(&a, order_json, NULL);
    assert_int_equal(er_attempt_run(&a, &h), 0);
    assert_string_equal(a.result, errand_attempt_args(&a));
    er_attempt_close(&a);
    open_attempt(&a, "{\"task\":1,\"attempt\":1,\"type\":\"t\"}", NULL);
    assert_error(&a, er_attempt_run(&a, &h),
                 "{\"class\":\"fatal\",\"code\":\"handler\",\"message\":\"no path\"}");
    h.blocking = mute;
    assert_error(&a, er_attempt_run(&a, &h),
                 "{\"class\":\"fatal\",\"code\":\"handler\",\"message\":\"the handler "
                 "returned 4\"}");
    er_attempt_close(&a);
}

/* Each allocation fails once: nothing ends, and what was there stays. */
static void
attempt__lives_without_memory(void **state)
{
    struct errand_attempt a;
    (void)state;
    open_attempt(&a, order_json, "one\ntwo\n");
    assert_int_equal(errand_result_set(&a, "kept", 4), 0);
    er_mem_fault_set(1, 1);
    assert_int_equal(errand_result_set(&a, "new", 3), ERRAND_ENOMEM);
    assert_null(errand_attempt_args(&a));
    assert_null(errand_checkpoint_get(&a));
    assert_int_equal(errand_checkpoint(&a, "{}"), ERRAND_ENOMEM);
    assert_int_equal(errand_outputf(&a, "%300d", 1), ERRAND_ENOMEM);
    assert_false(errand_item_is_done(&a, "one"));
    int failed = errand_fail(&a, ERRAND_FATAL, "code", "message", NULL);
    er_mem_fault_set(0, 0);
    assert_error(&a, failed,
                 "{\"class\":\"fatal\",\"code\":\"failed\",\"message\":\"\"}");
    assert_memory_equal(a.result, "kept", 4);
    assert_true(errand_item_is_done(&a, "one"));
    assert_non_null(errand_attempt_args(&a));
    er_attempt_close(&a);
}

struct crowd {
    struct errand_attempt *a;
    int n;
};

static void *
talk(void *ctx)
{
    struct crowd *c = ctx;
    for (int i = 0; i < 2000; i++) {
        errand_progress_to(c->a, i, 2000, "x");
        (void)errand_result_set(c->a, &i, sizeof i);
        (void)errand_arg_integer(c->a, "n", 0);
        (void)errand_attempt_args(c->a);
        (void)errand_stop_fd(c->a);
        (void)errand_item_is_done(c->a, "one");
        (void)errand_fail(c->a, ERRAND_FATAL, "c", "m", "a");
        if (errand_should_stop(c->a)) {
            c->n++;
        }
    }
    return NULL;
}

static void
no_news(struct errand_attempt *a)
{
    (void)a;
}

static void
attempt__may_be_used_by_several_threads(void **state)
{
    static const struct er_attempt_ops quiet = {.news = no_news};
    struct errand_attempt a;
    struct er_attempt_news n;
    struct crowd crowd[4];
    pthread_t threads[4];
    (void)state;
    open_attempt(&a, order_json, "one\n");
    a.ops = &quiet;
    for (int i = 0; i < 4; i++) {
        crowd[i] = (struct crowd){&a, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, talk, &crowd[i]), 0);
    }
    for (int i = 0; i < 1000; i++) {
        (void)er_attempt_take_news(&a, &n);
    }
    er_attempt_ask_stop(&a, ERRAND_STOP_TIMEOUT);
    for (int i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_int_equal(a.result_len, sizeof(int));
    assert_int_equal(errand_should_stop(&a), ERRAND_STOP_TIMEOUT);
    er_attempt_close(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempt__knows_its_order),
        cmocka_unit_test(attempt__refuses_what_is_no_order),
        cmocka_unit_test(attempt__gives_arguments_by_kind),
        cmocka_unit_test(attempt__without_arguments_has_an_empty_object),
        cmocka_unit_test(attempt__is_asked_to_stop_once),
        cmocka_unit_test(attempt__has_a_readable_descriptor_after_the_stop_too),
        cmocka_unit_test(attempt__sleeps_until_it_is_to_stop),
        cmocka_unit_test(attempt__merges_progress_until_it_is_taken),
        cmocka_unit_test(attempt__takes_progress_of_other_versions),
        cmocka_unit_test(attempt__cuts_long_texts_between_characters),
        cmocka_unit_test(attempt__checks_items_and_knows_those_that_are_done),
        cmocka_unit_test(attempt__takes_checkpoints_that_are_json),
        cmocka_unit_test(attempt__formats_output),
        cmocka_unit_test(attempt__keeps_the_last_result),
        cmocka_unit_test(attempt__fails_when_its_result_is_lost),
        cmocka_unit_test(attempt__judges_what_the_handler_returned),
        cmocka_unit_test(attempt__runs_blocking_functions),
        cmocka_unit_test(attempt__lives_without_memory),
        cmocka_unit_test(attempt__may_be_used_by_several_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
