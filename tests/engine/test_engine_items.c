/* SPDX-License-Identifier: MIT */
/* What an attempt leaves to the next, and what it is given: items, checkpoints, results
 * of what it waited for. */
#include "engine_fixture.h"

#include <string.h>

#include "../store/fault_vfs.h"
#include "base/mem.h"

static char *
item(struct fixture *f, struct er_held h, const char *name, bool failed)
{
    char *text = er_xasprintf(
        "{\"item\":{\"task\":%lld,\"attempt\":%d,\"name\":\"%s\",\"failed\":%s}}\n",
        (long long)h.task, h.attempt, name, failed ? "true" : "false");
    char *copy = er_arena_strdup(&f->arena, text);
    er_free(text);
    assert_non_null(copy);
    return copy;
}

static int
say_item(struct worker *w, struct er_held h, const char *name, bool failed)
{
    return w_report(w, "%s", item(w->f, h, name, failed));
}

/* All text that was given for a variable before the run line, which it takes. */
static char *
given(struct worker *w, const char *env)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    const json_t *run = w_take(w, "run"), *o;
    while ((o = w_peek(w, "given")) != NULL) {
        const json_t *text = json_object_get(o, "text");
        assert_int_equal(json_integer_value(json_object_get(o, "task")),
                         json_integer_value(json_object_get(run, "task")));
        assert_int_equal(json_integer_value(json_object_get(o, "attempt")),
                         json_integer_value(json_object_get(run, "attempt")));
        char *line = json_dumps(o, JSON_ENSURE_ASCII);
        assert_true(strlen(line) < 256 << 10);
        free(line);
        if (strcmp(json_string_value(json_object_get(o, "env")), env) == 0) {
            er_buf_add(&b, json_string_value(text), json_string_length(text));
        }
    }
    char *copy = b.len ? er_arena_memdup(&w->f->arena, b.data, b.len) : NULL;
    er_buf_fini(&b);
    return copy;
}

/* ---- items ---- */

static void
item__is_on_disk_when_it_is_answered(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(say_item(w, h, "a", false), 0);
    assert_int_equal(say_item(w, h, "b", true), 0);
    assert_int_equal(f_get(f, id).items_completed, 1);
    assert_int_equal(f_get(f, id).items_failed, 1);
    assert_int_equal(say_item(w, h, "b", false), 0); /* it has come right */
    assert_int_equal(f_get(f, id).items_completed, 2);
    assert_int_equal(f_get(f, id).items_failed, 0);
    fault_vfs_break(FAULT_VFS_SYNC, 1);
    assert_int_equal(say_item(w, h, "c", false), ER_EIO); /* the worker keeps it */
    fault_vfs_mend();
    f_pass(f, 2 * SEC);
    assert_int_equal(f_get(f, id).items_completed, 2);
    assert_int_equal(say_item(w, h, "c", false), 0);
    assert_int_equal(f_get(f, id).items_completed, 3);
}

static void
item__that_is_not_its_own_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1), *other = w_new(f, 0);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w), wrong = h;
    wrong.attempt = 2;
    assert_int_equal(say_item(other, h, "a", false), 0);
    assert_int_equal(say_item(w, wrong, "a", false), 0);
    assert_int_equal(f_get(f, id).items_completed, 0);
}

static void
progress__counts_the_items_of_earlier_attempts(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(say_item(w, h, "a", false), 0);
    assert_int_equal(say_item(w, h, "b", true), 0);
    w_report(w,
             "{\"finished\":{\"task\":%lld,\"attempt\":1,\"spawned\":true,"
             "\"why\":\"requeue\",\"exit_code\":null,\"signal\":15}}\n",
             (long long)id);
    h = w_run(w);
    assert_int_equal(h.attempt, 2);
    assert_int_equal(
        w_report(w,
                 "%s{\"progress\":{\"task\":%lld,\"attempt\":2,"
                 "\"progress\":{\"items_completed\":1,\"items_failed\":0}}}\n",
                 item(f, h, "b", false), (long long)id),
        0);
    struct er_live live;
    assert_int_equal(say_item(w, h, "c", false), 0);
    assert_int_equal(
        w_report(w,
                 "{\"progress\":{\"task\":%lld,\"attempt\":2,"
                 "\"progress\":{\"items_completed\":2,\"items_failed\":0}}}\n",
                 (long long)id),
        0);
    assert_true(er_engine_live(f->e, id, &live));
    assert_non_null(strstr(live.progress_json, "\"items_completed\":3"));
    char *end =
        w_finished(f, h, 0, ",\"progress\":{\"items_completed\":2,\"items_failed\":0}");
    assert_int_equal(w_report(w, "%s", end), 0);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_COMPLETED);
    assert_non_null(strstr(t.progress_json, "\"items_completed\":3"));
    assert_non_null(strstr(t.progress_json, "\"items_failed\":0"));
}

static void
failed_items__are_a_warning_or_below_the_threshold_a_failure(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_type type;
    er_type_init(&type, "shell");
    type.success_percent = 50;
    er_engine_type_changed(f->e, &type);
    for (int failed = 1; failed <= 2; failed++) {
        er_task_id id = f_add(f, f_new());
        struct er_held h = w_run(w);
        /* all of it in one report, also with an item behind the end */
        char *text =
            er_xasprintf("%s%s%s%s", item(f, h, "a", false), item(f, h, "b", true),
                         w_finished(f, h, 0, ",\"warnings\":[\"said\"]"),
                         failed == 2 ? item(f, h, "c", true) : "");
        assert_int_equal(w_report(w, "%s", text), 0);
        er_free(text);
        struct er_task t = f_get(f, id);
        assert_int_equal(t.items_failed, failed);
        if (failed == 1) {
            assert_int_equal(t.state, ER_TASK_COMPLETED);
            assert_string_equal(t.warnings_json, "[\"said\",\"1 of 2 items failed\"]");
        } else {
            assert_int_equal(t.state, ER_TASK_FAILED);
            assert_non_null(strstr(t.error_json, "\"code\":\"items-failed\""));
            assert_non_null(
                strstr(t.error_json, "2 of 3 items failed (50 % of them must complete)"));
        }
    }
}

static void
items_done__are_given_to_the_next_attempt(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 5;
    er_task_id id = f_add(f, row);
    assert_null(given(w, "ERRAND_ITEMS_DONE")); /* nothing yet: nothing is read */
    struct er_held h = {.task = id, .attempt = 1};
    assert_int_equal(say_item(w, h, "b", false), 0);
    assert_int_equal(say_item(w, h, "failed", true), 0);
    assert_int_equal(say_item(w, h, "a", false), 0);
    assert_int_equal(say_item(w, h, "two\\nlines", false), 0); /* on no line */
    assert_int_equal(w_end(w, h, 1), 0);
    f_pass(f, 60 * SEC);
    assert_string_equal(given(w, "ERRAND_ITEMS_DONE"), "a\nb\n");
    h.attempt = 2;
    assert_int_equal(say_item(w, h, "failed", false), 0);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(f_change(f, ER_CHANGE_RETRY, id), 0);
    assert_null(given(w, "ERRAND_ITEMS_DONE")); /* it had completed: from the start */
}

static void
many_items__are_given_in_parts(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 1;
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    struct er_buf text;
    er_buf_init(&text, 0);
    for (int i = 0; i < 2500; i++) {
        er_buf_addf(&text,
                    "{\"item\":{\"task\":%lld,\"attempt\":1,\"name\":\"\\u00fc%0*d\","
                    "\"failed\":false}}\n",
                    (long long)id, 40 + i % 100, i);
    }
    assert_int_equal(w_report(w, "%s", text.data), 0);
    er_buf_fini(&text);
    assert_int_equal(f_get(f, id).items_completed, 2500);
    assert_int_equal(w_end(w, h, 1), 0);
    f_pass(f, 60 * SEC);
    char *names = given(w, "ERRAND_ITEMS_DONE");
    int n = 0;
    for (char *at = names; (at = strchr(at, '\n')) != NULL; at++) {
        n++;
    }
    assert_int_equal(n, 2500);
    assert_null(strstr(names, "\xef\xbf\xbd")); /* no character was cut */
}

static void
item_without_a_name__is_left_out_with_a_warning(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    char longer[ER_MAX_NAME + 2] = "";
    memset(longer, 'x', ER_MAX_NAME + 1);
    assert_int_equal(say_item(w, h, "", false), 0);
    assert_int_equal(say_item(w, h, longer, false), 0);
    longer[ER_MAX_NAME] = '\0';
    assert_int_equal(say_item(w, h, longer, false), 0);
    assert_int_equal(w_end(w, h, 0), 0);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.items_completed, 1);
    assert_non_null(strstr(t.warnings_json, "longer than 1000 bytes"));
}

/* ---- checkpoints ---- */

static int
say_checkpoint(struct worker *w, struct er_held h, const char *json)
{
    return w_report(w,
                    "{\"progress\":{\"task\":%lld,\"attempt\":%d,\"progress\":null,"
                    "\"checkpoint\":%s}}",
                    (long long)h.task, h.attempt, json);
}

static void
checkpoint__is_on_disk_when_it_is_answered_and_given_to_the_next(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 1;
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    assert_int_equal(say_checkpoint(w, h, "{\"n\":1}"), 0);
    assert_string_equal(f_get(f, id).checkpoint_json, "{\"n\":1}");
    assert_int_equal(say_checkpoint(w, h, "7"), 0); /* any JSON */
    assert_string_equal(f_get(f, id).checkpoint_json, "7");
    fault_vfs_break(FAULT_VFS_SYNC, 1);
    assert_int_equal(say_checkpoint(w, h, "8"), ER_EIO);
    fault_vfs_mend();
    f_pass(f, 2 * SEC);
    assert_int_equal(say_checkpoint(w, h, "9"), 0);
    assert_int_equal(w_end(w, h, 1), 0);
    f_pass(f, 60 * SEC);
    const json_t *run = w_take(w, "run");
    assert_int_equal(json_integer_value(json_object_get(run, "checkpoint")), 9);
}

static void
checkpoint__that_is_too_large_is_left_out_with_a_warning(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    char *big = calloc(1, ER_MAX_CHECKPOINT + 2);
    assert_non_null(big);
    memset(big, 'x', ER_MAX_CHECKPOINT + 1);
    big[0] = big[ER_MAX_CHECKPOINT - 1] = '"';
    big[ER_MAX_CHECKPOINT] = '\0';
    assert_int_equal(say_checkpoint(w, h, big), 0); /* as large as can be */
    assert_int_equal(strlen(f_get(f, id).checkpoint_json), ER_MAX_CHECKPOINT);
    big[ER_MAX_CHECKPOINT - 1] = 'x';
    big[ER_MAX_CHECKPOINT] = '"';
    assert_int_equal(say_checkpoint(w, h, big), 0);
    free(big);
    assert_int_equal(strlen(f_get(f, id).checkpoint_json), ER_MAX_CHECKPOINT);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_non_null(strstr(f_get(f, id).warnings_json, "65536 bytes was not kept"));
}

/* ---- orders ---- */

static void
results_of_what_it_waited_for__are_given(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id a = f_add(f, f_new()), b = f_add(f, f_new());
    struct er_held ha = w_run(w);
    assert_int_equal(w_report(w, "%s", /* {"x": 1} */
                              w_finished(f, ha, 0, ",\"result\":\"eyJ4IjogMX0=\"")),
                     0);
    assert_int_equal(w_end(w, w_run(w), 3), 0);
    struct er_new_after after[] = {{.id = b, .ref = -1, .when = ER_AFTER_ANY},
                                   {.id = a, .ref = -1, .when = ER_AFTER_OK},
                                   {.id = a, .ref = -1, .when = ER_AFTER_ANY}};
    struct er_new_task row = f_new();
    row.after = after;
    row.n_after = 3;
    (void)f_add(f, row);
    char *text = given(w, "ERRAND_AFTER_RESULTS");
    assert_non_null(text);
    json_error_t je;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    assert_non_null(o);
    (void)json_array_append_new(f->kept, o);
    assert_int_equal(json_object_size(o), 2);
    char key[32];
    (void)snprintf(key, sizeof key, "%lld", (long long)a);
    const json_t *of_a = json_object_get(o, key);
    assert_string_equal(json_string_value(json_object_get(of_a, "state")), "completed");
    assert_int_equal(json_integer_value(json_object_get(of_a, "exit_code")), 0);
    assert_int_equal(json_integer_value(json_object_get(of_a, "result_bytes")), 8);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(of_a, "result"), "x")), 1);
    (void)snprintf(key, sizeof key, "%lld", (long long)b);
    const json_t *of_b = json_object_get(o, key);
    assert_string_equal(json_string_value(json_object_get(of_b, "state")), "failed");
    assert_int_equal(json_integer_value(json_object_get(of_b, "exit_code")), 3);
    assert_true(json_is_null(json_object_get(of_b, "result")));
}

static void
run_line__has_its_clocks_and_a_plain_task_is_given_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    row.heartbeat_for = 30 * SEC;
    row.timeout_for = 600 * SEC;
    (void)f_add(f, row);
    const json_t *run = w_take(w, "run");
    assert_true(json_number_value(json_object_get(run, "heartbeat_s")) == 30);
    assert_true(json_number_value(json_object_get(run, "timeout_s")) == 600);
    (void)f_add(f, f_new());
    run = w_take(w, "run");
    assert_true(json_is_null(json_object_get(run, "heartbeat_s")));
    assert_int_equal(w_count(w, "given"), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(item__is_on_disk_when_it_is_answered),
        TEST(item__that_is_not_its_own_changes_nothing),
        TEST(progress__counts_the_items_of_earlier_attempts),
        TEST(failed_items__are_a_warning_or_below_the_threshold_a_failure),
        TEST(items_done__are_given_to_the_next_attempt),
        TEST(many_items__are_given_in_parts),
        TEST(item_without_a_name__is_left_out_with_a_warning),
        TEST(checkpoint__is_on_disk_when_it_is_answered_and_given_to_the_next),
        TEST(checkpoint__that_is_too_large_is_left_out_with_a_warning),
        TEST(results_of_what_it_waited_for__are_given),
        TEST(run_line__has_its_clocks_and_a_plain_task_is_given_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
