/* SPDX-License-Identifier: MIT */
/* Changes by request, what time brings, sessions and queues. */
#include <stdio.h>
#include <string.h>

#include "store_fixture.h"

typedef int change_fn(struct er_store *s, er_usec now, struct er_change *rows, size_t n);

static int
cancel_by_ann(struct er_store *s, er_usec now, struct er_change *rows, size_t n)
{
    return er_store_cancel(s, now, rows, n, "user", "ann");
}

static int
hold(struct er_store *s, er_usec now, struct er_change *rows, size_t n)
{
    return er_store_hold(s, now, rows, n, true);
}

static int
resume(struct er_store *s, er_usec now, struct er_change *rows, size_t n)
{
    return er_store_hold(s, now, rows, n, false);
}

static struct er_change
change(struct fixture *f, change_fn *fn, er_task_id id)
{
    struct er_change row = f_change(id);
    f_begin(f);
    assert_int_equal(fn(f->s, f->now, &row, 1), 0);
    f_commit(f);
    return row;
}

static int
edit(struct fixture *f, er_task_id id, struct er_edit e)
{
    struct er_change row = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, &e), 0);
    f_commit(f);
    return row.status;
}

static er_usec
due(struct fixture *f, size_t limit)
{
    er_usec next = 0;
    f_begin(f);
    assert_int_equal(er_store_due(f->s, f->now, limit, &next), 0);
    f_commit(f);
    return next;
}

/* A task in each state that can be reached, by state. */
static void
one_of_each(struct fixture *f, er_task_id ids[ER_TASK_STATES])
{
    struct er_new_task row = f_new();
    ids[ER_TASK_RUNNING] = f_add(f, row);
    ids[ER_TASK_BLOCKED] = f_add_after(f, ids[ER_TASK_RUNNING], ER_AFTER_OK);
    ids[ER_TASK_QUEUED] = f_add(f, row);
    (void)f_claim(f, ids[ER_TASK_RUNNING]);
    ids[ER_TASK_PAUSED] = f_add(f, row);
    f_run(f, ids[ER_TASK_PAUSED], ER_TASK_PAUSED);
    for (int s = ER_TASK_COMPLETED; s <= ER_TASK_CANCELLED; s++) {
        ids[s] = f_add(f, row);
        f_run(f, ids[s], (enum er_task_state)s);
    }
    row.run_at = T0 + 3600 * SEC;
    ids[ER_TASK_SCHEDULED] = f_add(f, row);
}

static void
changes__are_refused_by_the_states_that_do_not_allow_them(void **state)
{
    struct fixture *f = *state;
    static const struct {
        change_fn *fn;
        int status[ER_TASK_STATES];
    } table[] = {
        {hold, {0, 0, 0, 0, 0, ER_ESTATE, ER_ESTATE, ER_ESTATE}},
        {resume, {0, 0, 0, ER_ESTATE, 0, ER_ESTATE, ER_ESTATE, ER_ESTATE}},
        {cancel_by_ann, {0, 0, 0, 0, 0, ER_ESTATE, ER_ESTATE, ER_ESTATE}},
        {er_store_retry,
         {ER_ESTATE, ER_ESTATE, ER_ESTATE, ER_ESTATE, ER_ESTATE, 0, 0, 0}},
        {er_store_remove,
         {ER_ESTATE, ER_ESTATE, ER_ESTATE, ER_ESTATE, ER_ESTATE, 0, 0, 0}},
    };
    for (size_t v = 0; v < sizeof table / sizeof table[0]; v++) {
        er_task_id ids[ER_TASK_STATES];
        one_of_each(f, ids);
        for (int s = 0; s < ER_TASK_STATES; s++) {
            struct er_change row = change(f, table[v].fn, ids[s]);
            assert_int_equal(row.status, table[v].status[s]);
            assert_int_equal(row.state, s);
            assert_int_equal(row.session, s == ER_TASK_RUNNING ? f->session : 0);
            if (row.status) {
                assert_int_equal(f->fx.n_facts, 0);
            }
        }
        assert_int_equal(change(f, table[v].fn, 9999).status, ER_ENOTFOUND);
    }
}

static void
cancel__of_what_waits_takes_its_dependents_along(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    er_task_id second = f_add_after(f, id, ER_AFTER_OK);
    er_task_id third = f_add_after(f, second, ER_AFTER_OK);
    er_task_id any = f_add_after(f, second, ER_AFTER_ANY);
    (void)change(f, cancel_by_ann, id);
    assert_string_equal(f_facts(f),
                        "task-cancelled 1, task-cancelled 2, task-cancelled 3, "
                        "task-queued 4");
    assert_string_equal(f_data(f, 0), "{\"reason\":\"user\",\"by\":\"ann\"}");
    assert_string_equal(f_data(f, 2), "{\"reason\":\"dependency\",\"by\":2}");
    assert_true(f_get(f, third).finished_at == f->now);
    assert_int_equal(f_get(f, any).state, ER_TASK_QUEUED);
}

static void
cancel__of_what_runs_only_asks(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    for (int i = 0; i < 2; i++) {
        struct er_change row = change(f, cancel_by_ann, id);
        assert_true(row.status == 0 && row.attempt == 1 && row.session == f->session);
        assert_int_equal(f->fx.n_facts, 0);
        assert_true(f_get(f, id).cancel_requested);
    }
    f_finish(f, f_ends(f, id, ER_TASK_CANCELLED));
    assert_false(f_get(f, id).cancel_requested);
}

static void
hold__is_a_flag_beside_the_state(void **state)
{
    struct fixture *f = *state;
    er_task_id on = f_add(f, f_new());
    er_task_id id = f_add_after(f, on, ER_AFTER_OK);
    (void)change(f, hold, id);
    assert_string_equal(f_facts(f), "task-paused 2");
    assert_string_equal(f_data(f, 0), "{\"reason\":\"user\",\"resumes_at\":null}");
    (void)change(f, hold, id);
    assert_string_equal(f_facts(f), "");
    f_run(f, on, ER_TASK_COMPLETED);
    assert_string_equal(f_ready(f), "");
    assert_true(f_get(f, id).held && f_get(f, id).state == ER_TASK_QUEUED);
    (void)change(f, resume, id);
    assert_string_equal(f_facts(f), "task-resumed 2");
    assert_string_equal(f_ready(f), "2");
    (void)change(f, resume, id);
    assert_string_equal(f_facts(f), "");
}

static void
hold__of_what_is_cancelled_is_gone(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)change(f, hold, id);
    (void)change(f, cancel_by_ann, id);
    assert_false(f_get(f, id).held);
}

static void
retry__opens_a_new_run(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.priority = 1;
    row.expires_at = T0 + SEC;
    er_task_id id = f_add(f, row);
    (void)f_claim(f, id);
    struct er_finish end = f_ends(f, id, ER_TASK_FAILED);
    end.add_failures = end.add_losses = 1;
    end.error_json = "{}";
    end.progress_json = "{}";
    end.checkpoint_json = "{\"at\":1}";
    end.result = "r";
    end.result_len = 1;
    f_finish(f, end);
    f->now += 10 * SEC;
    struct er_change c = change(f, er_store_retry, id);
    assert_true(c.status == 0 && c.state == ER_TASK_FAILED && c.attempt == 1);
    assert_string_equal(f_facts(f), "task-queued 1/1");
    assert_int_equal(f->fx.facts[0].run, 2);
    assert_string_equal(f_ready(f), "1");
    assert_true(f->fx.ready[0].rank == f->now - 60 * SEC);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.run, 2);
    assert_int_equal(t.state, ER_TASK_QUEUED);
    assert_int_equal(t.attempt, 1);
    assert_int_equal(t.failures + t.losses, 0);
    assert_true(!t.error_json && !t.progress_json && !t.result && !t.has_exit_code);
    assert_string_equal(t.checkpoint_json, "{\"at\":1}"); /* it may go on from there */
    assert_true(t.finished_at == ER_NEVER && t.started_at == ER_NEVER &&
                t.expires_at == ER_NEVER);
    f_run(f, id, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, id).attempt, 2);
    struct er_attempt *a;
    size_t n;
    assert_int_equal(er_store_attempts(f->r, id, &f->arena, &a, &n), 0);
    assert_true(n == 2 && a[0].run == 1 && a[1].run == 2);
}

static void
retry__does_not_wait_for_dependencies_again(void **state)
{
    struct fixture *f = *state;
    er_task_id a = f_add(f, f_new()), b = f_add(f, f_new());
    struct er_new_after after[] = {{.id = a, .ref = -1}, {.id = b, .ref = -1}};
    struct er_new_task row = f_new();
    row.after = after;
    row.n_after = 2;
    er_task_id id = f_add(f, row);
    f_run(f, a, ER_TASK_FAILED);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    (void)change(f, er_store_retry, id);
    assert_string_equal(f_ready(f), "3");
    f_run(f, b, ER_TASK_COMPLETED);
    assert_int_equal(f->fx.n_facts, 1);
    f_run(f, id, ER_TASK_COMPLETED);
}

static void
remove__leaves_a_tombstone(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    struct er_tombstone stone;
    row.tags_json = "[\"a\"]";
    row.env_json = "{}";
    er_task_id id = f_add(f, row);
    f_run(f, id, ER_TASK_FAILED);
    assert_int_equal(er_store_get_tombstone(f->r, id, &stone), ER_ENOTFOUND);
    f->now += SEC;
    struct er_change c = change(f, er_store_remove, id);
    assert_true(c.status == 0 && c.attempt == 1);
    assert_string_equal(f_facts(f), "task-removed 1/1");
    assert_string_equal(f_data(f, 0), "{\"state\":\"failed\"}");
    struct er_task t;
    assert_int_equal(er_store_get(f->r, id, false, &f->arena, &t), ER_ENOTFOUND);
    assert_int_equal(er_store_get_tombstone(f->r, id, &stone), 0);
    assert_true(stone.id == id && stone.run == 1 && stone.state == ER_TASK_FAILED);
    assert_true(stone.has_exit_code && stone.exit_code == 3);
    assert_true(stone.finished_at == T0 + SEC && stone.removed_at == f->now);
    assert_int_equal(f_count(f, "default", ER_TASK_FAILED), 0);
    assert_int_equal(change(f, er_store_remove, id).status, ER_ENOTFOUND);
}

static void
edit__changes_what_waits(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    struct er_edit e = {.name = "new",
                        .has_retries = true,
                        .retries = 3,
                        .has_timeout = true,
                        .timeout_for = 9};
    assert_int_equal(edit(f, id, e), 0);
    assert_string_equal(f_facts(f), "task-changed 1");
    assert_string_equal(f_ready(f), "");
    e = (struct er_edit){.has_priority = true, .priority = 2};
    assert_int_equal(edit(f, id, e), 0);
    assert_string_equal(f_ready(f), "1");
    struct er_task t = f_get(f, id);
    assert_string_equal(t.name, "new");
    assert_true(t.retries == 3 && t.timeout_for == 9 && t.priority == 2);
    assert_true(t.rank == T0 - 120 * SEC);
    e = (struct er_edit){.queue = "other", .limit_key = "l"};
    assert_int_equal(edit(f, id, e), 0);
    assert_int_equal(f->fx.n_lanes, 1);
    assert_string_equal(f_ready(f), "1");
    assert_string_equal(f_get(f, id).queue, "other");
    assert_string_equal(f_get(f, id).limit_key, "l");
    assert_int_equal(f_count(f, "default", ER_TASK_QUEUED), 0);
    assert_int_equal(f_count(f, "other", ER_TASK_QUEUED), 1);
    e = (struct er_edit){.limit_key = ""};
    assert_int_equal(edit(f, id, e), 0);
    assert_null(f_get(f, id).limit_key);
}

static void
edit__moves_between_queued_and_scheduled(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    struct er_edit e = {.has_run_at = true, .run_at = T0 + SEC};
    assert_int_equal(edit(f, id, e), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_SCHEDULED);
    assert_true(f->fx.next_due == T0 + SEC);
    e.run_at = ER_NEVER;
    assert_int_equal(edit(f, id, e), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_string_equal(f_ready(f), "1");
    er_task_id blocked = f_add_after(f, id, ER_AFTER_OK);
    e.run_at = T0 + 2 * SEC;
    assert_int_equal(edit(f, blocked, e), 0);
    assert_int_equal(f_get(f, blocked).state, ER_TASK_BLOCKED);
    f_run(f, id, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, blocked).state, ER_TASK_SCHEDULED);
    assert_int_equal(edit(f, id, e), ER_ESTATE);
    assert_int_equal(edit(f, 99, e), ER_ENOTFOUND);
}

static void
due__queues_what_has_come(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    for (int i = 1; i <= 4; i++) {
        row.run_at = T0 + i * SEC;
        row.held = i == 2;
        (void)f_add(f, row);
    }
    f->now = T0 + 3 * SEC;
    assert_true(due(f, 2) == T0 + 3 * SEC);
    assert_string_equal(f_facts(f), "task-queued 1, task-queued 2");
    assert_string_equal(f_ready(f), "1");
    assert_true(due(f, 2) == T0 + 4 * SEC);
    assert_string_equal(f_ready(f), "3");
    assert_true(due(f, 2) == T0 + 4 * SEC);
    f->now = T0 + 4 * SEC;
    assert_true(due(f, 2) == ER_NEVER);
}

static void
due__fails_what_has_waited_too_long(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.expires_at = T0 + 5 * SEC;
    er_task_id id = f_add(f, row);
    er_task_id waits = f_add_after(f, id, ER_AFTER_OK);
    row.run_at = T0 + 5 * SEC; /* due and expired at the same time: it must not start */
    er_task_id late = f_add(f, row);
    row.run_at = ER_NEVER;
    er_task_id started = f_add(f, row);
    (void)f_claim(f, started);
    f_finish(f, f_ends(f, started, ER_TASK_QUEUED));
    f->now = T0 + 5 * SEC;
    assert_true(due(f, 10) == ER_NEVER);
    assert_string_equal(f_facts(f), "task-failed 1, task-cancelled 2, task-failed 3");
    assert_non_null(strstr(f_data(f, 0), "\"code\":\"expired\""));
    assert_non_null(strstr(f_get(f, id).error_json, "\"code\":\"expired\""));
    assert_int_equal(f_get(f, waits).state, ER_TASK_CANCELLED);
    assert_int_equal(f_get(f, late).state, ER_TASK_FAILED);
    /* The wait is that for the first start. */
    assert_int_equal(f_get(f, started).state, ER_TASK_QUEUED);
}

static void
peek__shows_a_lane_in_order(void **state)
{
    struct fixture *f = *state;
    struct er_ready out[4];
    struct er_new_task row = f_new();
    size_t n;
    static const int priorities[] = {0, 1, 0, 2, 1};
    for (int i = 0; i < 5; i++) {
        row.priority = priorities[i];
        (void)f_add(f, row);
    }
    int64_t lane = f->fx.ready[0].lane;
    row.queue = "other";
    (void)f_add(f, row);
    (void)change(f, hold, 5);
    assert_int_equal(er_store_peek(f->s, lane, INT64_MIN, 0, out, 3, &n), 0);
    assert_true(n == 3 && out[0].id == 4 && out[1].id == 2 && out[2].id == 1);
    assert_int_equal(er_store_peek(f->s, lane, out[2].rank, out[2].id, out, 3, &n), 0);
    assert_true(n == 1 && out[0].id == 3 && out[0].lane == lane);
    assert_int_equal(er_store_peek(f->s, lane, out[0].rank, out[0].id, out, 3, &n), 0);
    assert_int_equal(n, 0);
}

static void
sessions__open_and_close(void **state)
{
    struct fixture *f = *state;
    int64_t id = f_open_session(f, "w2");
    assert_string_equal(f_facts(f), "worker-started 0");
    char data[128];
    (void)snprintf(data, sizeof data, "{\"worker\":\"w2\",\"session\":%lld,\"pid\":77}",
                   (long long)id);
    assert_string_equal(f_data(f, 0), data);
    assert_null(f->fx.facts[0].type);
    struct er_store_state st = f_load(f);
    assert_int_equal(st.n_sessions, 2);
    assert_string_equal(st.sessions[1].worker, "w2");
    assert_string_equal(st.sessions[1].token, "00ff");
    assert_true(st.sessions[1].pid == 77 && st.sessions[1].started_at == T0);
    f_begin(f);
    assert_int_equal(er_store_session_close(f->s, f->now, id, true), 0);
    assert_int_equal(er_store_session_close(f->s, f->now, id, true), ER_ENOTFOUND);
    f_commit(f);
    assert_string_equal(f_facts(f), "worker-lost 0");
    assert_string_equal(f_data(f, 0), data);
    er_task_id task = f_add(f, f_new());
    (void)f_claim(f, task);
    f_begin(f);
    assert_int_equal(er_store_session_close(f->s, f->now, f->session, false), ER_ESTATE);
    f_commit(f);
    f_finish(f, f_ends(f, task, ER_TASK_COMPLETED));
    f_begin(f);
    assert_int_equal(er_store_session_close(f->s, f->now, f->session, false), 0);
    f_commit(f);
    assert_int_equal(f->fx.n_facts, 0);
    assert_int_equal(f_load(f).n_sessions, 0);
}

static void
queues__take_as_many_as_their_size(void **state)
{
    struct fixture *f = *state;
    struct er_queue q = {.name = "net", .size = 3};
    struct er_new_task rows[5] = {f_new(), f_new(), f_new(), f_new(), f_new()};
    struct er_new_after after = {.ref = 3};
    for (int i = 0; i < 4; i++) {
        rows[i].queue = "net";
    }
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 2, false), 0);
    /* What this very transaction has put into it counts. The last waits for the one that
     * finds no room, so it can't be stored either. */
    rows[4].after = &after;
    rows[4].n_after = 1;
    after.ref = 1;
    assert_int_equal(er_store_submit(f->s, f->now, rows + 2, 3, false), 0);
    f_commit(f);
    assert_int_equal(rows[2].status, 0);
    assert_int_equal(rows[3].status, ER_EFULL);
    assert_int_equal(rows[3].waiting, 3);
    assert_int_equal(rows[3].queue_size, 3);
    assert_true(rows[4].status != 0);
    /* Once one of them runs there is room for one more. */
    (void)f_claim(f, rows[0].id);
    rows[4] = rows[3] = f_new();
    rows[3].queue = rows[4].queue = "net";
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows + 3, 2, true), 0);
    f_commit(f);
    assert_int_equal(rows[3].status, ER_ECANCELLED);
    assert_int_equal(rows[4].status, ER_EFULL);
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows + 3, 2, false), 0);
    f_commit(f);
    assert_int_equal(rows[3].status, 0);
    assert_int_equal(rows[4].status, ER_EFULL);
}

/* Submits one task into the queue "net", in a transaction that is open; its status. */
static int
submit_into_net(struct fixture *f)
{
    struct er_new_task row = f_new();
    row.queue = "net";
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
    return row.status;
}

/* That a queue has no size is remembered: until it gets one, and until that it has none
 * is taken back. */
static void
queues__have_the_size_of_now(void **state)
{
    struct fixture *f = *state;
    struct er_queue q = {.name = "net", .size = 2};
    for (int i = 0; i < 2; i++) {
        f_begin(f);
        assert_int_equal(submit_into_net(f), 0);
        f_commit(f);
    }
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    assert_int_equal(submit_into_net(f), ER_EFULL);
    f_commit(f);
    q.size = 0;
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    assert_int_equal(submit_into_net(f), 0);
    er_store_rollback(f->s);
    f_begin(f);
    assert_int_equal(submit_into_net(f), ER_EFULL);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    assert_int_equal(submit_into_net(f), 0);
    f_commit(f);
}

static void
queues__have_settings_until_they_are_removed(void **state)
{
    struct fixture *f = *state;
    struct er_queue q = {.name = "net", .concurrency = 3, .size = 10, .paused = true};
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    f_commit(f);
    assert_string_equal(f_facts(f), "queue-changed 0");
    assert_string_equal(
        f_data(f, 0),
        "{\"queue\":\"net\",\"concurrency\":3,\"size\":10,\"paused\":true,\"rates\":[]}");
    q = (struct er_queue){.name = "net"};
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    q.size = -1;
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), ER_EINVALID);
    f_commit(f);
    assert_string_equal(
        f_data(f, 0),
        "{\"queue\":\"net\",\"concurrency\":null,\"size\":null,\"paused\":false,"
        "\"rates\":[]}");
    struct er_store_state st = f_load(f);
    assert_int_equal(st.n_queues, 1);
    assert_true(st.queues[0].concurrency == 0 && st.queues[0].size == 0 &&
                !st.queues[0].paused);
    struct er_new_task row = f_new();
    row.queue = "net";
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
    /* Also what this very transaction has put into it counts. */
    assert_int_equal(er_store_queue_remove(f->s, f->now, "net"), ER_ESTATE);
    f_commit(f);
    f_run(f, row.id, ER_TASK_COMPLETED);
    f_begin(f);
    assert_int_equal(er_store_queue_remove(f->s, f->now, "net"), 0);
    assert_int_equal(er_store_queue_remove(f->s, f->now, "net"), ER_ENOTFOUND);
    f_commit(f);
    assert_string_equal(f_data(f, 0), "{\"queue\":\"net\",\"removed\":true}");
    assert_int_equal(f_load(f).n_queues, 0);
    row.key = NULL;
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
    /* It has tasks, whether it has settings or not. */
    assert_int_equal(er_store_queue_remove(f->s, f->now, "net"), ER_ESTATE);
    f_commit(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(changes__are_refused_by_the_states_that_do_not_allow_them),
        BOTH(cancel__of_what_waits_takes_its_dependents_along),
        BOTH(cancel__of_what_runs_only_asks),
        BOTH(hold__is_a_flag_beside_the_state),
        BOTH(hold__of_what_is_cancelled_is_gone),
        BOTH(retry__opens_a_new_run),
        BOTH(retry__does_not_wait_for_dependencies_again),
        BOTH(remove__leaves_a_tombstone),
        BOTH(edit__changes_what_waits),
        BOTH(edit__moves_between_queued_and_scheduled),
        BOTH(due__queues_what_has_come),
        BOTH(due__fails_what_has_waited_too_long),
        BOTH(peek__shows_a_lane_in_order),
        BOTH(sessions__open_and_close),
        BOTH(queues__have_the_size_of_now),
        BOTH(queues__have_settings_until_they_are_removed),
        BOTH(queues__take_as_many_as_their_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
