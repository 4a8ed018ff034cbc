/* SPDX-License-Identifier: MIT */
/* What handlers of this process say: items, checkpoints, progress, output. */
#include "handlers_fixture.h"

static int
work_on_items(errand_attempt *a, void *ctx)
{
    struct gate *g = ctx;
    (void)errand_item(a, "one", 0);
    (void)errand_item(a, "t\"wo", 1);
    (void)errand_checkpoint(a, "{\"at\": 2}");
    er_count_set(&g->seen, errand_item_is_done(a, "b") ? 1 : 0);
    return 0;
}

static void
handlers__keep_items_before_the_end(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", work_on_items, &g);
    order("{\"given\":{\"task\":1,\"attempt\":1,\"env\":\"ERRAND_ITEMS_DONE\","
          "\"text\":\"a\\nb\\n\"}}\n");
    run(1, "");
    answer_all();
    assert_int_equal(er_count_get(&g.seen), 1);
    const char *one = strstr(w.reports.data, "{\"item\":{\"task\":1,\"attempt\":1,"
                                             "\"name\":\"one\",\"failed\":false}}\n");
    const char *two = strstr(w.reports.data, "\"name\":\"t\\\"wo\",\"failed\":true}}\n");
    const char *checkpoint = strstr(w.reports.data, "\"checkpoint\":{\"at\":2}}}\n");
    const char *end = strstr(w.reports.data, "{\"finished\"");
    assert_true(one && two && checkpoint && end);
    assert_true(one < two && two < checkpoint && checkpoint < end);
    assert_true(said("\"items_completed\":1,\"items_failed\":1"));
}

static int
keep_results(errand_attempt *a, void *ctx)
{
    char *text = ctx;
    (void)snprintf(text, 200, "%s", errand_after_results(a));
    return strcmp(text, errand_after_results(a)) == 0 ? 0 : 1;
}

/* It comes in parts, between others. */
static void
handlers__have_the_results_of_what_they_waited_for(void **state)
{
    static const char given[] =
        "{\"given\":{\"task\":%d,\"attempt\":1,\"env\":\"%s\",\"text\":\"%s\"}}\n";
    char text[200] = "", none[200] = "";
    (void)state;
    begin("t", keep_results, text);
    order(given, 1, "ERRAND_AFTER_RESULTS", "{\\\"9\\\":{\\\"state\\\":");
    order(given, 2, "ERRAND_AFTER_RESULTS", "of another");
    order(given, 1, "ERRAND_ITEMS_DONE", "a\\n");
    order(given, 1, "ERRAND_AFTER_RESULTS", "\\\"failed\\\"}}");
    run(1, "");
    answer_all();
    assert_string_equal(text, "{\"9\":{\"state\":\"failed\"}}");
    serve("t", keep_results, none);
    run(3, "");
    answer_all();
    assert_string_equal(none, "{}");
}

#define MANY 40000 /* of 1000 bytes: more than the bound */

static int
make_many_items(errand_attempt *a, void *ctx)
{
    struct gate *g = ctx;
    char name[ER_MAX_NAME + 1];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (int i = 0; i < MANY; i++) {
        if (errand_item(a, name, 0) != 0) {
            return 1;
        }
        er_count_add(&g->seen, 1);
    }
    return 0;
}

static void
handlers__make_items_wait_for_answers(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", make_many_items, &g);
    run(1, "");
    (void)await_report(); /* and it is not answered */
    int64_t before = -1;
    while (er_count_get(&g.seen) * ER_MAX_NAME <
               (int64_t)ER_HANDLERS_NOTES_MAX / 11 * 10 ||
           er_count_get(&g.seen) != before) {
        before = er_count_get(&g.seen);
        (void)poll(NULL, 0, 20);
    }
    assert_true(er_count_get(&g.seen) < MANY);
    while (er_handlers_busy(w.e.handlers) > 0) {
        (void)await_report();
        er_buf_fini(&w.reports); /* not all of it is kept */
        answer(200, "{\"lost\":[]}");
    }
    assert_int_equal(er_count_get(&g.seen), MANY);
    assert_int_equal(w.e.handlers->notes_bytes, 0);
}

static int
make_progress(errand_attempt *a, void *ctx)
{
    (void)ctx;
    for (int i = 1; i <= 20000; i++) {
        errand_progress_to(a, i, 20000, "x");
    }
    return 0;
}

static void
handlers__tell_progress_now_and_then_and_the_last(void **state)
{
    (void)state;
    begin("t", make_progress, NULL);
    run(1, "");
    answer_all();
    assert_in_range(count(w.reports.data, "{\"progress\":{\"task\":1,"), 1, 100);
    const char *end = strstr(w.reports.data, "{\"finished\"");
    assert_non_null(end);
    assert_non_null(strstr(end, "\"percent\":100"));
    assert_non_null(strstr(end, "\"current\":20000,\"total\":20000"));
}

static int
say_then_wait(errand_attempt *a, void *ctx)
{
    errand_progress_to(a, 1, 4, "first");
    errand_progress_to(a, 2, 4, "second");
    return until_open(a, ctx);
}

/* What was said last is told although the handler says nothing more. */
static void
handlers__tell_the_last_progress_of_a_silent_one(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", say_then_wait, &g);
    run(1, "");
    await_answering("\"item\":\"second\"");
    er_count_set(&g.open, 1);
    answer_all();
}

static int
write_output(errand_attempt *a, void *ctx)
{
    (void)ctx;
    return errand_output(a, "hello\n", 6) || errand_outputf(a, "%d", 42);
}

static void
handlers__write_output_to_a_log(void **state)
{
    struct er_outlog_reader *r;
    struct er_outlog_frame f;
    struct er_buf text, end;
    (void)state;
    begin("t", write_output, NULL);
    run(1234, "");
    answer_all();
    assert_true(said("\"output_bytes\":8}}"));
    er_buf_init(&text, 0);
    er_buf_init(&end, 0);
    assert_int_equal(er_outlog_open(folder, 1234, 1, &r), 0);
    while (er_outlog_next(r, &f) == 1) {
        if (f.kind == ER_OUTLOG_STDOUT) {
            er_buf_add(&text, f.data, f.len);
        }
    }
    er_outlog_reader_close(r);
    assert_string_equal(text.data, "hello\n42");
    assert_int_equal(er_outlog_exit(folder, 1234, 1, &end, NULL), 1);
    assert_non_null(strstr(end.data, "{\"task\":1234,\"attempt\":1,\"spawned\":true,"));
    er_buf_fini(&text);
    er_buf_fini(&end);
}

static void
handlers__take_progress_that_came_by_http(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_open, &g);
    run(1, "");
    await_inside(&g, 1);
    order("{\"tell\":{\"task\":1,\"attempt\":1,\"line\":{\"percent\":40,\"message\":"
          "\"linking\"}}}\n");
    await_answering("\"message\":\"linking\"");
    assert_true(said("\"percent\":40"));
    er_count_set(&g.open, 1);
    answer_all();
}

#define TELL(line) order("{\"tell\":{\"task\":1,\"attempt\":1,\"line\":{" line "}}}\n")

static void
handlers__lose_nothing_that_came_by_http(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_open, &g);
    run(1, "");
    await_inside(&g, 1);
    TELL("\"item_completed\":\"one\"");
    TELL("\"item_failed\":\"two\",\"checkpoint\":{\"at\": 2}");
    TELL("\"result\":\"first\"");
    TELL("\"result_part\":{\"id\":\"i\",\"n\":0,\"base64\":\"YWI=\"}");
    TELL("\"result_part\":{\"id\":\"i\",\"n\":1,\"last\":true,\"base64\":\"Yw==\"}");
    TELL("\"percent\":\"many\",\"nonsense\":1");
    er_count_set(&g.open, 1);
    answer_all();
    const char *one = strstr(w.reports.data, "{\"item\":{\"task\":1,\"attempt\":1,"
                                             "\"name\":\"one\",\"failed\":false}}\n");
    const char *two = strstr(w.reports.data, "\"name\":\"two\",\"failed\":true}}\n");
    const char *checkpoint = strstr(w.reports.data, "\"checkpoint\":{\"at\":2}}}\n");
    const char *end = strstr(w.reports.data, "{\"finished\"");
    assert_true(one && two && checkpoint && end);
    assert_true(one < two && two < end && checkpoint < end);
    assert_non_null(strstr(end, "\"result\":\"YWJj\""));
    assert_non_null(strstr(end, "`percent` must be a number"));
    assert_non_null(strstr(end, "no member `nonsense`"));
    assert_int_equal(w.e.handlers->notes_bytes, 0);
}

/* As a command's would: it is stronger than an exit code of 0. */
static void
handlers__fail_by_an_error_that_came_by_http(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", until_open, &g);
    run(1, "");
    await_inside(&g, 1);
    TELL("\"error\":{\"class\":\"fatal\",\"message\":\"no such page\"}");
    TELL("\"retry_after_s\":7");
    er_count_set(&g.open, 1);
    answer_all();
    const char *end = strstr(w.reports.data, "{\"finished\"");
    assert_non_null(end);
    assert_non_null(
        strstr(end, "\"error\":{\"class\":\"fatal\",\"message\":\"no such page\"}"));
    assert_non_null(strstr(end, "\"retry_after_s\":7.000"));
}

static int
set_its_own(errand_attempt *a, void *ctx)
{
    (void)until_open(a, ctx);
    (void)errand_result_set(a, "abc", 3);
    return errand_fail(a, ERRAND_FATAL, "own", "its own words", NULL);
}

static void
handlers__say_what_does_not_count(void **state)
{
    struct gate g = {0};
    (void)state;
    begin("t", set_its_own, &g);
    run(1, "");
    await_inside(&g, 1);
    TELL("\"error\":{\"message\":\"theirs\"},\"result\":1");
    er_count_set(&g.open, 1);
    answer_all();
    const char *end = strstr(w.reports.data, "{\"finished\"");
    assert_non_null(end);
    assert_int_equal(count(end, "\"error\":{"), 1);
    assert_int_equal(count(end, "\"result\":"), 1);
    assert_non_null(strstr(end, "its own words"));
    assert_non_null(strstr(end, "\"result\":\"YWJj\""));
    assert_non_null(strstr(end, "`error` does not count: the handler has set its own"));
    assert_non_null(strstr(end, "`result` does not count: the handler has set its own"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HANDS(keep_items_before_the_end),
        HANDS(have_the_results_of_what_they_waited_for),
        HANDS(make_items_wait_for_answers),
        HANDS(tell_progress_now_and_then_and_the_last),
        HANDS(tell_the_last_progress_of_a_silent_one),
        HANDS(write_output_to_a_log),
        HANDS(take_progress_that_came_by_http),
        HANDS(lose_nothing_that_came_by_http),
        HANDS(fail_by_an_error_that_came_by_http),
        HANDS(say_what_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
