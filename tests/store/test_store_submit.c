/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "store_fixture.h"

static void
submit__keeps_all_that_was_given(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = {
        .type = "http.request",
        .queue = "net",
        .limit_key = "host:a",
        .name = "fetch \"it\"",
        .args_json = "{\"url\":\"http://a/\"}",
        .cwd = "/srv",
        .env_json = "{\"PATH\":\"/bin\"}",
        .correlation = "corr-1",
        .key = "key-1",
        .body_hash = UINT64_MAX,
        .tags_json = "[\"ci\",\"x\",\"ci\"]",
        .meta_json = "{\"k\":\"v\"}",
        .signature = UINT64_MAX - 1,
        .priority = -3,
        .retries = 4,
        .backoff_for = 5,
        .timeout_for = 6,
        .grace_for = 7,
        .run_at = T0 + 8 * SEC,
        .expires_at = T0 + 9 * SEC,
        .on_lost = ER_ON_LOST_HOLD,
    };
    row.parent = f_add(f, f_new());
    er_task_id id = f_add(f, row);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.id, id);
    assert_int_equal(t.run, 1);
    assert_int_equal(t.state, ER_TASK_SCHEDULED);
    assert_int_equal(t.priority, -3);
    assert_true(t.rank == T0 + 180 * SEC);
    assert_string_equal(t.type, "http.request");
    assert_string_equal(t.queue, "net");
    assert_string_equal(t.limit_key, "host:a");
    assert_string_equal(t.name, "fetch \"it\"");
    assert_string_equal(t.args_json, "{\"url\":\"http://a/\"}");
    assert_string_equal(t.cwd, "/srv");
    assert_string_equal(t.correlation, "corr-1");
    assert_string_equal(t.key, "key-1");
    assert_string_equal(t.tags_json, "[\"ci\",\"x\",\"ci\"]");
    assert_string_equal(t.meta_json, "{\"k\":\"v\"}");
    assert_int_equal(t.retries, 4);
    assert_int_equal(t.backoff_for, 5);
    assert_int_equal(t.timeout_for, 6);
    assert_int_equal(t.grace_for, 7);
    assert_true(t.run_at == T0 + 8 * SEC && t.expires_at == T0 + 9 * SEC);
    assert_true(t.created_at == T0 && t.finished_at == ER_NEVER &&
                t.started_at == ER_NEVER);
    assert_int_equal(t.on_lost, ER_ON_LOST_HOLD);
    assert_int_equal(t.parent, row.parent);
    assert_int_equal(t.attempt + t.failures + t.losses + t.waiting + t.signal, 0);
    assert_false(t.held || t.cancel_requested || t.has_exit_code);
    assert_null(t.result);
    assert_null(t.worker);
    const char *env;
    assert_int_equal(er_store_env(f->r, t.env, &f->arena, &env), 0);
    assert_string_equal(env, "{\"PATH\":\"/bin\"}");
    assert_int_equal(er_store_env(f->r, 99, &f->arena, &env), ER_ENOTFOUND);
}

static void
submit__leaves_out_what_was_not_given(void **state)
{
    struct fixture *f = *state;
    struct er_task t = f_get(f, f_add(f, f_new()));
    assert_null(t.limit_key);
    assert_null(t.key);
    assert_null(t.cwd);
    assert_null(t.tags_json);
    assert_null(t.meta_json);
    assert_int_equal(t.env, 0);
    assert_int_equal(t.parent, 0);
    assert_true(t.run_at == ER_NEVER && t.expires_at == ER_NEVER);
}

static void
submit__tells_what_it_caused(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.meta_json = "{\"a\":\"b\"}";
    row.priority = 2;
    er_task_id id = f_add(f, row);
    assert_string_equal(f_facts(f), "task-queued 1");
    assert_string_equal(f_data(f, 0),
                        "{\"priority\":2,\"estimated_s\":null,\"run_at\":null,"
                        "\"waiting_for\":0,\"meta\":{\"a\":\"b\"}}");
    const struct er_fact *fact = &f->fx.facts[0];
    assert_string_equal(fact->type, "shell");
    assert_string_equal(fact->queue, "default");
    assert_string_equal(fact->correlation, "c");
    assert_true(fact->at == T0 && fact->run == 1 && fact->seq == 2);
    assert_string_equal(f_ready(f), "1");
    assert_true(f->fx.ready[0].rank == T0 - 120 * SEC);
    assert_int_equal(f->fx.n_lanes, 1);
    assert_string_equal(f->fx.lanes[0].limit_key, "");
    assert_int_equal(f->fx.lanes[0].id, f->fx.ready[0].lane);
    assert_true(f->fx.next_due == ER_NEVER);
    assert_int_equal(f_count(f, "default", ER_TASK_QUEUED), 1);
    assert_int_equal(f_add(f, row), id + 1);
    assert_int_equal(f->fx.n_lanes, 0);
}

static void
submit__scheduled_and_expiring_tasks_say_their_moment(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.run_at = T0 + 60 * SEC;
    row.expires_at = T0 + 50 * SEC;
    (void)f_add(f, row);
    assert_string_equal(f_facts(f), "task-scheduled 1");
    assert_non_null(strstr(f_data(f, 0), "\"run_at\":\"2023-11-14T22:14:20.000Z\""));
    assert_string_equal(f_ready(f), "");
    assert_true(f->fx.next_due == T0 + 50 * SEC);
    row.run_at = T0 - 1;
    row.expires_at = ER_NEVER;
    er_task_id id = f_add(f, row);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_string_equal(f_ready(f), "2");
}

static void
submit__held_tasks_are_not_ready(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.held = true;
    struct er_task t = f_get(f, f_add(f, row));
    assert_string_equal(f_facts(f), "task-queued 1, task-paused 1");
    assert_string_equal(f_ready(f), "");
    assert_int_equal(t.state, ER_TASK_QUEUED);
    assert_int_equal(er_task_shown_state(&t), ER_TASK_PAUSED);
}

static void
submit__a_key_with_the_same_body_gives_the_first_task(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.key = "k";
    row.body_hash = 5;
    er_task_id id = f_add(f, row);
    struct er_new_task again[3] = {row, row, f_new()};
    again[1].body_hash = 6;
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, again, 3, false), 0);
    f_commit(f);
    assert_int_equal(again[0].status, 0);
    assert_true(again[0].existing);
    assert_int_equal(again[0].id, id);
    assert_int_equal(again[0].state, ER_TASK_QUEUED);
    assert_int_equal(again[1].status, ER_EEXISTS);
    assert_int_equal(again[1].id, id);
    assert_int_equal(again[2].status, 0);
    assert_string_equal(f_facts(f), "task-queued 2");
}

static void
submit__a_key_is_held_by_a_tombstone(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.key = "k";
    er_task_id id = f_add(f, row);
    f_run(f, id, ER_TASK_COMPLETED);
    struct er_change change = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_remove(f->s, f->now, &change, 1), 0);
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
    f_commit(f);
    assert_int_equal(row.status, 0);
    assert_true(row.existing);
    assert_int_equal(row.id, id);
    assert_int_equal(row.state, ER_TASK_COMPLETED);
}

static void
submit__a_key_twice_in_one_batch_is_one_task(void **state)
{
    struct fixture *f = *state;
    struct er_new_after on_second = {.ref = 1, .when = ER_AFTER_OK};
    struct er_new_task rows[4] = {f_new(), f_new(), f_new(), f_new()};
    rows[0].key = rows[1].key = rows[2].key = "k";
    rows[2].body_hash = 1;
    rows[3].after = &on_second;
    rows[3].n_after = 1;
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 4, false), 0);
    f_commit(f);
    assert_false(rows[0].existing);
    assert_true(rows[1].status == 0 && rows[1].existing && rows[1].id == rows[0].id);
    assert_true(rows[1].lane == rows[0].lane && rows[1].rank == rows[0].rank);
    assert_true(rows[2].status == ER_EEXISTS && rows[2].id == rows[0].id);
    assert_int_equal(rows[3].state, ER_TASK_BLOCKED);
    assert_string_equal(f_facts(f), "task-queued 1, task-blocked 2");
}

static void
submit__unknown_dependencies_parents_and_bad_tags_are_refused(void **state)
{
    struct fixture *f = *state;
    struct er_new_after after[] = {{.id = 1, .ref = -1}, {.id = 99, .ref = -1}};
    struct er_new_after far[] = {{.ref = 7}};
    struct er_new_task rows[7];
    for (size_t i = 0; i < 7; i++) {
        rows[i] = f_new();
    }
    rows[1].after = after;
    rows[1].n_after = 2;
    rows[2].after = far;
    rows[2].n_after = 1;
    rows[3].parent = 99;
    rows[4].tags_json = "{\"a\":1}";
    rows[5].tags_json = "[1";
    rows[6].tags_json = "[\"a\",2]";
    (void)f_add(f, f_new());
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 7, false), 0);
    f_commit(f);
    assert_true(rows[0].status == 0 && rows[0].id == 2);
    assert_true(rows[1].status == ER_ENOTFOUND && rows[1].bad_after == 1);
    assert_true(rows[2].status == ER_ENOTFOUND && rows[2].bad_after == 0);
    assert_true(rows[3].status == ER_ENOTFOUND && rows[3].bad_after == -1);
    for (size_t i = 4; i < 7; i++) {
        assert_int_equal(rows[i].status, ER_EINVALID);
    }
    assert_string_equal(f_facts(f), "task-queued 2");
}

static bool
is_listed(struct fixture *f, const char *tag, er_task_id id)
{
    struct er_filter filter = {.tag = tag, .limit = 10};
    struct er_task *tasks;
    size_t n;
    bool more;
    assert_int_equal(er_store_list(f->r, &filter, &f->arena, &tasks, &n, &more), 0);
    return n == 1 && tasks[0].id == id;
}

static void
submit__tags_are_what_their_json_means(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "",
        "[",
        "[\"a\"",
        "[\"a\",]",
        "[\"a\"]x",
        "[1]",
        "[\"a]",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "[\"a\nb\"]",
        "{}",
        "[\"\\u0000\"]",
        "[a, \"b\"]",
        "[\"a\" \"b\"]",
    };
    struct er_new_task row = f_new();
    row.tags_json = " [ \"plain\" ,\"plain\",\"q\\\"b\\\\s\\/\\n\","
                    "\"\\u00e4\\u20AC\\ud83d\\ude00\",\"\\ud83dx\",\"ö\"] ";
    er_task_id id = f_add(f, row);
    assert_true(is_listed(f, "plain", id));
    assert_true(is_listed(f, "q\"b\\s/\n", id));
    assert_true(is_listed(f, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", id));
    assert_true(is_listed(f, "\xef\xbf\xbdx", id)); /* half a character */
    assert_true(is_listed(f, "ö", id));
    row.tags_json = "[]";
    (void)f_add(f, row);
    f_begin(f);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        row.tags_json = bad[i];
        assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
        assert_true(row.status == ER_EINVALID && row.bad_after == -1);
    }
    f_commit(f);
}

static void
submit__references_may_point_forward_and_back(void **state)
{
    struct fixture *f = *state;
    struct er_new_after forward = {.ref = 2, .when = ER_AFTER_OK};
    struct er_new_after back[] = {{.ref = 0, .when = ER_AFTER_ANY}, {.id = 1, .ref = -1}};
    struct er_new_task rows[3] = {f_new(), f_new(), f_new()};
    rows[0].after = &forward;
    rows[0].n_after = 1;
    rows[1].after = back;
    rows[1].n_after = 2;
    er_task_id first = f_add(f, f_new());
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 3, true), 0);
    f_commit(f);
    assert_string_equal(f_facts(f), "task-blocked 2, task-blocked 3, task-queued 4");
    assert_non_null(strstr(f_data(f, 1), "\"waiting_for\":2"));
    struct er_after *after;
    size_t n;
    assert_int_equal(er_store_after(f->r, 3, false, 0, 10, &f->arena, &after, &n), 0);
    assert_int_equal(n, 2);
    assert_true(after[0].id == 2 && after[0].when == ER_AFTER_ANY &&
                after[0].state == ER_TASK_BLOCKED);
    assert_true(after[1].id == first && after[1].state == ER_TASK_QUEUED);
    assert_int_equal(er_store_after(f->r, 3, false, 1, 10, &f->arena, &after, &n), 0);
    assert_true(n == 1 && after[0].id == first);
    f_run(f, 4, ER_TASK_COMPLETED);
    assert_string_equal(f_ready(f), "2");
    f_run(f, 2, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, 3).waiting, 1);
    f_run(f, first, ER_TASK_COMPLETED);
    assert_string_equal(f_ready(f), "3");
}

static void
submit__cycles_are_refused_and_what_hangs_on_them(void **state)
{
    struct fixture *f = *state;
    /* 0 -> 1 -> 2 -> 0; 3 -> 0; 4 -> 3; 5 itself; 6 none */
    struct er_new_after to[6] = {{.ref = 1}, {.ref = 2}, {.ref = 0},
                                 {.ref = 0}, {.ref = 3}, {.ref = 5}};
    static const int expected[7] = {ER_EINVALID,
                                    ER_EINVALID,
                                    ER_EINVALID,
                                    ER_ENOTFOUND,
                                    ER_ENOTFOUND,
                                    ER_EINVALID,
                                    0};
    struct er_new_task rows[7];
    for (size_t i = 0; i < 7; i++) {
        rows[i] = f_new();
        rows[i].after = i < 6 ? &to[i] : NULL;
        rows[i].n_after = i < 6 ? 1 : 0;
    }
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 7, false), 0);
    f_commit(f);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(rows[i].status, expected[i]);
        assert_int_equal(rows[i].bad_after, expected[i] ? 0 : -1);
    }
    assert_string_equal(f_facts(f), "task-queued 1");
}

static void
submit__a_row_that_refers_to_a_bad_one_is_bad(void **state)
{
    struct fixture *f = *state;
    struct er_new_after unknown = {.id = 99, .ref = -1}, on_zero = {.ref = 0};
    struct er_new_task rows[2] = {f_new(), f_new()};
    rows[0].after = &unknown;
    rows[1].after = &on_zero;
    rows[0].n_after = rows[1].n_after = 1;
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 2, false), 0);
    f_commit(f);
    assert_int_equal(rows[0].status, ER_ENOTFOUND);
    assert_true(rows[1].status == ER_ENOTFOUND && rows[1].bad_after == 0);
    assert_int_equal(f->fx.n_facts, 0);
}

static void
submit__atomic_is_all_or_none(void **state)
{
    struct fixture *f = *state;
    struct er_new_task rows[3] = {f_new(), f_new(), f_new()};
    rows[1].parent = 99;
    rows[2].queue = "another";
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 3, true), 0);
    f_commit(f);
    assert_int_equal(rows[0].status, ER_ECANCELLED);
    assert_int_equal(rows[1].status, ER_ENOTFOUND);
    assert_int_equal(rows[2].status, ER_ECANCELLED);
    assert_int_equal(f->fx.n_facts + f->fx.n_ready + f->fx.n_lanes, 0);
    rows[1].parent = 0;
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 3, true), 0);
    f_commit(f);
    assert_string_equal(f_ready(f), "1 2 3");
}

static void
submit__dependencies_on_what_has_ended_count_at_once(void **state)
{
    struct fixture *f = *state;
    static const enum er_task_state ends[] = {ER_TASK_COMPLETED, ER_TASK_FAILED,
                                              ER_TASK_CANCELLED};
    for (size_t e = 0; e < 3; e++) {
        for (int removed = 0; removed < 2; removed++) {
            er_task_id on = f_add(f, f_new());
            f_run(f, on, ends[e]);
            if (removed) {
                struct er_change change = f_change(on);
                f_begin(f);
                assert_int_equal(er_store_remove(f->s, f->now, &change, 1), 0);
                f_commit(f);
            }
            for (enum er_after_when when = ER_AFTER_OK; when <= ER_AFTER_FAIL; when++) {
                struct er_task t = f_get(f, f_add_after(f, on, when));
                assert_int_equal(t.state, er_after_is_met(when, ends[e])
                                              ? ER_TASK_QUEUED
                                              : ER_TASK_CANCELLED);
            }
        }
    }
}

static void
submit__what_cannot_be_met_begins_cancelled_and_so_on(void **state)
{
    struct fixture *f = *state;
    er_task_id failed = f_add(f, f_new());
    f_run(f, failed, ER_TASK_FAILED);
    struct er_new_after on_failed = {.id = failed, .ref = -1, .when = ER_AFTER_OK};
    struct er_new_after on_zero = {.ref = 0, .when = ER_AFTER_OK};
    struct er_new_after on_zero_any = {.ref = 0, .when = ER_AFTER_ANY};
    struct er_new_task rows[3] = {f_new(), f_new(), f_new()};
    rows[0].after = &on_failed;
    rows[1].after = &on_zero;
    rows[2].after = &on_zero_any;
    for (size_t i = 0; i < 3; i++) {
        rows[i].n_after = 1;
        rows[i].held = i == 0;
    }
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 3, false), 0);
    f_commit(f);
    assert_int_equal(rows[0].state, ER_TASK_CANCELLED);
    assert_int_equal(rows[1].state, ER_TASK_CANCELLED);
    assert_int_equal(rows[2].state, ER_TASK_QUEUED);
    assert_string_equal(f_facts(f), "task-blocked 2, task-cancelled 2, task-blocked 3, "
                                    "task-cancelled 3, task-queued 4");
    assert_string_equal(f_data(f, 1), "{\"reason\":\"dependency\",\"by\":1}");
    assert_string_equal(f_data(f, 3), "{\"reason\":\"dependency\",\"by\":2}");
    assert_string_equal(f_ready(f), "4");
    assert_true(f_get(f, 2).finished_at == T0);
}

static void
submit__same_environments_are_stored_once(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.env_json = "{\"A\":\"1\"}";
    int64_t env = f_get(f, f_add(f, row)).env;
    assert_int_equal(f_get(f, f_add(f, row)).env, env);
    if (!f->in_memory) {
        f_reopen(f);
        assert_int_equal(f_get(f, f_add(f, row)).env, env);
    }
    row.env_json = "{\"A\":\"2\"}";
    assert_true(f_get(f, f_add(f, row)).env != env);
}

static void
rollback__forgets_everything(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.env_json = "{\"A\":\"1\"}";
    row.queue = "q";
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
    er_task_id id = row.id;
    er_store_rollback(f->s);
    struct er_err err = {""};
    if (er_store_verify(f->s, &err)) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(f_count(f, "q", ER_TASK_QUEUED), 0);
    assert_int_equal(f_add(f, row), id);
    assert_string_equal(f_facts(f), "task-queued 1");
    assert_int_equal(f->fx.n_lanes, 1);
    assert_int_equal(f_count(f, "q", ER_TASK_QUEUED), 1);
}

static void
submit__an_empty_batch_is_nothing(void **state)
{
    struct fixture *f = *state;
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, NULL, 0, true), 0);
    f_commit(f);
    assert_int_equal(f->fx.n_facts, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(submit__keeps_all_that_was_given),
        BOTH(submit__leaves_out_what_was_not_given),
        BOTH(submit__tells_what_it_caused),
        BOTH(submit__scheduled_and_expiring_tasks_say_their_moment),
        BOTH(submit__held_tasks_are_not_ready),
        BOTH(submit__a_key_with_the_same_body_gives_the_first_task),
        BOTH(submit__a_key_is_held_by_a_tombstone),
        BOTH(submit__a_key_twice_in_one_batch_is_one_task),
        BOTH(submit__unknown_dependencies_parents_and_bad_tags_are_refused),
        BOTH(submit__tags_are_what_their_json_means),
        BOTH(submit__references_may_point_forward_and_back),
        BOTH(submit__cycles_are_refused_and_what_hangs_on_them),
        BOTH(submit__a_row_that_refers_to_a_bad_one_is_bad),
        BOTH(submit__atomic_is_all_or_none),
        BOTH(submit__dependencies_on_what_has_ended_count_at_once),
        BOTH(submit__what_cannot_be_met_begins_cancelled_and_so_on),
        BOTH(submit__same_environments_are_stored_once),
        BOTH(rollback__forgets_everything),
        BOTH(submit__an_empty_batch_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
