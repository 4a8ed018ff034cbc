/* SPDX-License-Identifier: MIT */
/* Retention, what an engine loads, and the reader's lists and facts. */
#include <stdio.h>
#include <string.h>

#include "store_fixture.h"

static const struct er_retention keep_all = {
    .keep = 1000000,
    .keep_for = 1000000 * SEC,
    .tombstone_for = 1000000 * SEC,
    .facts = 1000000,
    .facts_for = 1000000 * SEC,
    .only_state = -1,
};

/* The ids that went: "1 2"; a + behind when there was more. */
static const char *
prune(struct fixture *f, const struct er_retention *keep, size_t limit)
{
    struct er_removed *removed;
    size_t n, at = 0;
    bool more;
    f_begin(f);
    assert_int_equal(
        er_store_prune(f->s, f->now, keep, limit, &f->arena, &removed, &n, &more), 0);
    f_commit(f);
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%lld", i ? " " : "",
                               (long long)removed[i].id);
    }
    (void)snprintf(f->text + at, sizeof f->text - at, "%s", more ? "+" : "");
    return f->text;
}

static er_task_id
add_finished(struct fixture *f, enum er_task_state state, er_usec finished_at)
{
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, state);
    row.finished_at = finished_at;
    f_finish(f, row);
    return id;
}

static void
prune__removes_the_oldest_beyond_both_bounds(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = keep_all;
    /* Finished in another order than they came. */
    (void)add_finished(f, ER_TASK_FAILED, T0 + 3 * SEC);
    (void)add_finished(f, ER_TASK_COMPLETED, T0 + 1 * SEC);
    (void)add_finished(f, ER_TASK_CANCELLED, T0 + 2 * SEC);
    (void)add_finished(f, ER_TASK_COMPLETED, T0 + 4 * SEC);
    (void)f_add(f, f_new());
    f->now = T0 + 10 * SEC;
    keep.keep = 0;
    assert_string_equal(prune(f, &keep, 10), "");
    keep.keep_for = 7 * SEC;
    keep.keep = 4;
    assert_string_equal(prune(f, &keep, 10), "");
    keep.keep = 3;
    assert_string_equal(prune(f, &keep, 10), "2");
    keep.keep = 0;
    assert_string_equal(prune(f, &keep, 1), "3+");
    assert_string_equal(prune(f, &keep, 1), "1");
    assert_string_equal(prune(f, &keep, 1), "");
    struct er_tombstone stone;
    assert_int_equal(er_store_get_tombstone(f->r, 3, &stone), 0);
    assert_int_equal(f_get(f, 5).state, ER_TASK_QUEUED);
}

static void
prune__of_one_state_leaves_the_others(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = {.only_state = ER_TASK_FAILED};
    for (int i = 0; i < 2; i++) {
        (void)add_finished(f, ER_TASK_FAILED, T0);
        (void)add_finished(f, ER_TASK_COMPLETED, T0);
    }
    keep.keep = 1;
    assert_string_equal(prune(f, &keep, 10), "1");
    keep.keep = 0;
    assert_string_equal(prune(f, &keep, 10), "3");
    int64_t first, last;
    assert_int_equal(er_store_fact_bounds(f->r, &first, &last), 0);
    assert_int_equal(first, 1); /* `clean` removes tasks, not history */
}

static void
prune__keeps_what_unfinished_tasks_depend_on(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = keep_all;
    keep.keep = keep.keep_for = 0;
    er_task_id done = f_add(f, f_new());
    er_task_id waits = f_add_after(f, done, ER_AFTER_OK);
    f_run(f, done, ER_TASK_COMPLETED);
    f->now += 10 * SEC;
    assert_string_equal(prune(f, &keep, 10), "");
    f_run(f, waits, ER_TASK_COMPLETED);
    f->now += 10 * SEC;
    assert_string_equal(prune(f, &keep, 10), "1 2");
}

/* Finished then, with so many bytes of output. */
static er_task_id
add_logged(struct fixture *f, er_usec finished_at, int64_t bytes)
{
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_COMPLETED);
    row.finished_at = finished_at;
    row.output_bytes = bytes;
    f_finish(f, row);
    return id;
}

static void
prune__bounds_the_bytes_of_logs(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = keep_all;
    (void)add_logged(f, T0 + 3 * SEC, 300);
    (void)add_logged(f, T0 + 2 * SEC, 200);
    (void)add_logged(f, T0 + 1 * SEC, 0);
    (void)add_logged(f, T0 + 4 * SEC, 400);
    assert_string_equal(prune(f, &keep, 10), ""); /* 0 = no bound */
    keep.log_bytes = 900;
    assert_string_equal(prune(f, &keep, 10), "");
    keep.log_bytes = 899;
    assert_string_equal(prune(f, &keep, 10), "2");
    assert_string_equal(prune(f, &keep, 10), "");
    keep.log_bytes = 1;
    assert_string_equal(prune(f, &keep, 1), "1+");
    assert_string_equal(prune(f, &keep, 1), "4");
    /* What has no output would make no room. */
    assert_int_equal(f_get(f, 3).state, ER_TASK_COMPLETED);
}

static void
prune__of_logs_counts_all_attempts_of_what_has_ended(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = keep_all;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_QUEUED);
    row.output_bytes = 100;
    f_finish(f, row);
    keep.log_bytes = 50;
    assert_string_equal(prune(f, &keep, 10), ""); /* it has not ended */
    (void)f_claim(f, id);
    row = f_ends(f, id, ER_TASK_FAILED);
    row.output_bytes = 10;
    f_finish(f, row);
    keep.log_bytes = 110;
    assert_string_equal(prune(f, &keep, 10), "");
    struct er_change change = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_retry(f->s, f->now, &change, 1), 0);
    f_commit(f);
    keep.log_bytes = 1;
    assert_string_equal(prune(f, &keep, 10), ""); /* nor has it now */
    f_begin(f);
    assert_int_equal(er_store_cancel(f->s, f->now, &change, 1, "user", NULL), 0);
    f_commit(f);
    keep.only_state = ER_TASK_FAILED;
    assert_string_equal(prune(f, &keep, 10), "");
    keep.only_state = -1;
    assert_string_equal(prune(f, &keep, 10), "1");
}

static void
prune__of_logs_leaves_what_unfinished_tasks_wait_for(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = keep_all;
    er_task_id needed = add_logged(f, T0 + SEC, 100);
    (void)f_add_after(f, needed, ER_AFTER_OK);
    (void)add_logged(f, T0 + 2 * SEC, 100);
    (void)add_logged(f, T0 + 3 * SEC, 100);
    keep.log_bytes = 1;
    keep.keep = 2;
    keep.keep_for = 0;
    f->now = T0 + 10 * SEC;
    assert_string_equal(prune(f, &keep, 1), "3+"); /* the limit is one for both bounds */
    assert_string_equal(prune(f, &keep, 1), "4");
    assert_string_equal(prune(f, &keep, 1), "");
}

static void
prune__removes_facts_from_the_front(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = keep_all;
    int64_t first, last;
    for (int i = 0; i < 9; i++) {
        (void)f_add(f, f_new());
        f->now += SEC;
    }
    keep.facts = 4;
    (void)prune(f, &keep, 10);
    assert_int_equal(er_store_fact_bounds(f->r, &first, &last), 0);
    assert_true(first == 7 && last == 10);
    keep.facts_for = 2 * SEC;
    (void)prune(f, &keep, 10);
    assert_int_equal(er_store_fact_bounds(f->r, &first, &last), 0);
    assert_true(first == 9 && last == 10);
    keep.facts = 0;
    (void)prune(f, &keep, 10);
    assert_int_equal(er_store_fact_bounds(f->r, &first, &last), 0);
    assert_true(first == 10 && last == 10); /* one stays to say which number is next */
    if (!f->in_memory) {
        f_reopen(f);
    }
    (void)f_add(f, f_new());
    assert_true(f->fx.facts[0].seq == 11);
    struct er_store_state st = f_load(f);
    assert_true(st.first_seq == 10 && st.last_seq == 11);
}

static void
prune__has_a_limit_for_facts_too(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = keep_all;
    int64_t first, last;
    for (int i = 0; i < 24; i++) {
        (void)f_add(f, f_new());
    }
    keep.facts = 1;
    assert_string_equal(prune(f, &keep, 2), "+");
    assert_int_equal(er_store_fact_bounds(f->r, &first, &last), 0);
    assert_int_equal(first, 21);
    assert_string_equal(prune(f, &keep, 2), "");
}

static void
prune__forgets_tombstones_sessions_and_environments(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = keep_all;
    struct er_tombstone stone;
    struct er_new_task row = f_new();
    const char *json;
    row.env_json = "{\"A\":\"1\"}";
    er_task_id id = f_add(f, row);
    int64_t env = f_get(f, id).env;
    f_run(f, id, ER_TASK_COMPLETED);
    keep.keep = keep.keep_for = 0;
    f->now += 10 * SEC;
    assert_string_equal(prune(f, &keep, 10), "1");
    assert_int_equal(er_store_env(f->r, env, &f->arena, &json), ER_ENOTFOUND);
    assert_int_equal(er_store_get_tombstone(f->r, id, &stone), 0);
    f_begin(f);
    assert_int_equal(er_store_session_close(f->s, f->now, f->session, false), 0);
    f_commit(f);
    keep.tombstone_for = SEC;
    f->now += 2 * SEC;
    (void)prune(f, &keep, 10);
    assert_int_equal(er_store_get_tombstone(f->r, id, &stone), ER_ENOTFOUND);
    /* The same environment again is a new one, and a number is not used twice. */
    f->session = f_open_session(f, "w3");
    assert_int_equal(f_add(f, row), id + 1);
    assert_int_equal(er_store_env(f->r, f_get(f, id + 1).env, &f->arena, &json), 0);
    assert_string_equal(json, "{\"A\":\"1\"}");
}

static void
load__tells_what_an_engine_needs(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.run_at = T0 + 7 * SEC;
    (void)f_add(f, row);
    row.run_at = ER_NEVER;
    row.queue = "b";
    row.limit_key = "l";
    er_task_id running = f_add(f, row);
    (void)f_claim(f, running);
    row.queue = "c";
    (void)f_add(f, row);
    if (!f->in_memory) {
        f_reopen(f);
    }
    struct er_store_state st = f_load(f);
    assert_int_equal(st.n_lanes, 3);
    assert_string_equal(st.lanes[0].limit_key, "");
    assert_string_equal(st.lanes[1].limit_key, "l");
    assert_int_equal(st.n_open_lanes, 1);
    assert_int_equal(st.open_lanes[0], st.lanes[2].id);
    assert_int_equal(st.n_counters, 3);
    assert_string_equal(st.counters[0].queue, "b");
    assert_int_equal(st.counters[0].n[ER_TASK_RUNNING], 1);
    assert_int_equal(st.counters[0].n[ER_TASK_QUEUED], 0);
    assert_int_equal(st.n_sessions, 1);
    assert_int_equal(st.n_running, 1);
    assert_int_equal(st.running[0].id, running);
    assert_int_equal(st.running[0].session, f->session);
    assert_string_equal(st.running[0].queue, "b");
    assert_string_equal(st.running[0].limit_key, "l");
    assert_string_equal(st.running[0].worker, "w1");
    assert_true(st.next_due == T0 + 7 * SEC);
    assert_true(st.first_seq == 1 && st.last_seq == 5);
}

/* The ids of a list: "5 4"; a + behind when there are more. */
static const char *
list(struct fixture *f, struct er_filter filter)
{
    struct er_task *tasks;
    size_t n, at = 0;
    bool more;
    filter.limit = filter.limit ? filter.limit : 100;
    assert_int_equal(er_store_list(f->r, &filter, &f->arena, &tasks, &n, &more), 0);
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%lld", i ? " " : "",
                               (long long)tasks[i].id);
        assert_null(tasks[i].result);
        assert_non_null(tasks[i].queue);
        assert_non_null(tasks[i].args_json);
    }
    (void)snprintf(f->text + at, sizeof f->text - at, "%s", more ? "+" : "");
    return f->text;
}

static void
list__filters_and_pages(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    (void)f_add(f, row);                     /* 1 queued */
    f_run(f, f_add(f, row), ER_TASK_FAILED); /* 2 failed */
    row.held = true;
    row.tags_json = "[\"x\",\"y\"]";
    (void)f_add(f, row); /* 3 shown as paused */
    row.held = false;
    row.queue = "q";
    row.correlation = "k";
    (void)f_add(f, row); /* 4 */
    row.type = "other";
    row.tags_json = "[\"y\"]";
    row.run_at = T0 + SEC;
    row.key = "once";
    (void)f_add(f, row); /* 5 scheduled */
    (void)f_claim(f, 4);
    assert_string_equal(list(f, (struct er_filter){0}), "5 4 3 2 1");
    assert_string_equal(list(f, (struct er_filter){.limit = 2}), "5 4+");
    assert_string_equal(list(f, (struct er_filter){.limit = 2, .before = 4}), "3 2+");
    assert_string_equal(list(f, (struct er_filter){.limit = 3, .before = 4}), "3 2 1");
    assert_string_equal(list(f, (struct er_filter){.states = 1u << ER_TASK_QUEUED}), "1");
    assert_string_equal(list(f, (struct er_filter){.states = 1u << ER_TASK_PAUSED}), "3");
    assert_string_equal(list(f, (struct er_filter){.states = 1u << ER_TASK_RUNNING}),
                        "4");
    assert_string_equal(
        list(f, (struct er_filter){.states = 1u << ER_TASK_FAILED | 1u << ER_TASK_QUEUED |
                                             1u << ER_TASK_SCHEDULED}),
        "5 2 1");
    assert_string_equal(list(f, (struct er_filter){.states = 0xff, .limit = 3}),
                        "5 4 3+");
    assert_string_equal(list(f, (struct er_filter){.states = 0xff, .before = 3}), "2 1");
    assert_string_equal(list(f, (struct er_filter){.queue = "q"}), "5 4");
    assert_string_equal(list(f, (struct er_filter){.queue = "q", .type = "shell"}), "4");
    assert_string_equal(list(f, (struct er_filter){.type = "other"}), "5");
    assert_string_equal(list(f, (struct er_filter){.type = "none"}), "");
    assert_string_equal(list(f, (struct er_filter){.tag = "y"}), "5 4 3");
    assert_string_equal(list(f, (struct er_filter){.tag = "y", .before = 5, .limit = 1}),
                        "4+");
    assert_string_equal(list(f, (struct er_filter){.tag = "y", .queue = "default"}), "3");
    assert_string_equal(list(f, (struct er_filter){.tag = "x", .correlation = "k"}), "4");
    assert_string_equal(list(f, (struct er_filter){.key = "once"}), "5");
    assert_string_equal(list(f, (struct er_filter){.key = "onc"}), "");
    assert_string_equal(list(f, (struct er_filter){.key = "once", .before = 5}), "");
    assert_string_equal(list(f, (struct er_filter){.key = "once", .tag = "x"}), "");
    assert_string_equal(list(f, (struct er_filter){.key = "once", .queue = "default"}),
                        "");
    assert_string_equal(list(f, (struct er_filter){.key = "once",
                                                   .tag = "y",
                                                   .correlation = "k",
                                                   .states = 1u << ER_TASK_SCHEDULED}),
                        "5");
    assert_string_equal(list(f, (struct er_filter){.correlation = "k"}), "5 4");
    assert_string_equal(list(f, (struct er_filter){.correlation = "k",
                                                   .states = 1u << ER_TASK_SCHEDULED}),
                        "5");
    assert_string_equal(
        list(f, (struct er_filter){.queue = "q", .states = 1u << ER_TASK_RUNNING}), "4");
}

/* The numbers of facts: "3 4". */
static const char *
facts(struct fixture *f, struct er_fact_filter filter, int64_t *out_last)
{
    struct er_fact *list;
    size_t n, at = 0;
    filter.limit = filter.limit ? filter.limit : 100;
    assert_int_equal(er_store_facts(f->r, &filter, &f->arena, &list, &n, out_last), 0);
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%lld", i ? " " : "",
                               (long long)list[i].seq);
    }
    return f->text;
}

static void
facts__can_be_read_from_any_number(void **state)
{
    struct fixture *f = *state;
    int64_t last;
    struct er_new_task row = f_new();
    row.correlation = "other";
    (void)f_add(f, f_new());     /* 2 */
    (void)f_add(f, row);         /* 3 */
    f_run(f, 1, ER_TASK_FAILED); /* 4, 5 */
    assert_string_equal(facts(f, (struct er_fact_filter){0}, &last), "1 2 3 4 5");
    assert_int_equal(last, 5);
    assert_string_equal(facts(f, (struct er_fact_filter){.since = 3}, &last), "4 5");
    assert_string_equal(facts(f, (struct er_fact_filter){.limit = 2}, &last), "1 2");
    assert_int_equal(last, 2);
    assert_string_equal(facts(f, (struct er_fact_filter){.since = 9}, &last), "");
    assert_int_equal(last, 9);
    assert_string_equal(facts(f, (struct er_fact_filter){.task = 1}, &last), "2 4 5");
    assert_int_equal(last, 5);
    assert_string_equal(facts(f, (struct er_fact_filter){.task = 2}, &last), "3");
    assert_int_equal(last, 5); /* all has been looked at */
    assert_string_equal(facts(f, (struct er_fact_filter){.correlation = "other"}, &last),
                        "3");
    assert_int_equal(last, 5);
    assert_string_equal(
        facts(f, (struct er_fact_filter){.events = 1u << ER_EVENT_TASK_FAILED}, &last),
        "5");
}

static void
facts__read_are_those_that_were_told(void **state)
{
    struct fixture *f = *state;
    struct er_fact *list;
    size_t n;
    int64_t last;
    f->now += 5;
    f_run(f, f_add(f, f_new()), ER_TASK_COMPLETED);
    struct er_fact_filter filter = {.since = 3, .limit = 10};
    assert_int_equal(er_store_facts(f->r, &filter, &f->arena, &list, &n, &last), 0);
    assert_int_equal(n, 1);
    const struct er_fact *told = &f->fx.facts[0];
    assert_true(list[0].seq == told->seq && list[0].event == told->event &&
                list[0].at == told->at && list[0].task == told->task &&
                list[0].run == told->run && list[0].attempt == told->attempt);
    assert_string_equal(list[0].type, told->type);
    assert_string_equal(list[0].queue, told->queue);
    assert_string_equal(list[0].correlation, told->correlation);
    assert_string_equal(list[0].data_json, told->data_json);
}

static void
facts__of_a_removed_task_stay(void **state)
{
    struct fixture *f = *state;
    int64_t last;
    er_task_id id = f_add(f, f_new());
    f_run(f, id, ER_TASK_COMPLETED);
    struct er_change row = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_remove(f->s, f->now, &row, 1), 0);
    f_commit(f);
    assert_string_equal(facts(f, (struct er_fact_filter){.task = id}, &last), "2 3 4 5");
}

static void
facts__one_call_looks_at_so_many_only(void **state)
{
    struct fixture *f = *state;
    enum { N = 60000 };
    struct er_new_task *rows = er_arena_alloc(&f->arena, N * sizeof *rows);
    int64_t last;
    for (int i = 0; i < N; i++) {
        rows[i] = f_new();
        rows[i].correlation = i == N - 1 ? "rare" : "c";
    }
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, N, true), 0);
    f_commit(f);
    struct er_fact_filter filter = {.correlation = "rare"};
    assert_string_equal(facts(f, filter, &last), "");
    assert_true(last > 0 && last < N);
    filter.since = last;
    (void)facts(f, filter, &last);
    assert_string_equal(f->text, "60001");
    assert_int_equal(last, N + 1);
    /* Those of one task begin where it was made. */
    filter = (struct er_fact_filter){.task = N};
    assert_string_equal(facts(f, filter, &last), "60001");
}

static void
reader__tells_queues_and_counts(void **state)
{
    struct fixture *f = *state;
    struct er_queue q = {.name = "b", .concurrency = 2, .size = 5, .paused = true};
    struct er_new_task row = f_new();
    struct er_queue *queues;
    struct er_counter *counters;
    size_t n;
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    f_commit(f);
    (void)f_add(f, row);
    (void)f_add(f, row);
    row.queue = "a";
    f_run(f, f_add(f, row), ER_TASK_FAILED);
    assert_int_equal(er_store_queues(f->r, &f->arena, &queues, &n), 0);
    assert_int_equal(n, 1);
    assert_string_equal(queues[0].name, "b");
    assert_true(queues[0].concurrency == 2 && queues[0].size == 5 && queues[0].paused);
    assert_int_equal(er_store_counters(f->r, &f->arena, &counters, &n), 0);
    assert_int_equal(n, 2);
    assert_string_equal(counters[0].queue, "a");
    assert_int_equal(counters[0].n[ER_TASK_FAILED], 1);
    assert_string_equal(counters[1].queue, "default");
    assert_int_equal(counters[1].n[ER_TASK_QUEUED], 2);
    row.queue = "default";
    row.held = true;
    (void)f_add(f, row);
    assert_int_equal(er_store_counters(f->r, &f->arena, &counters, &n), 0);
    assert_int_equal(counters[1].n[ER_TASK_QUEUED], 2);
    assert_int_equal(counters[1].n[ER_TASK_PAUSED], 1);
}

static void
after__tells_states_of_what_is_gone(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = {.only_state = -1, .facts = 1000, .facts_for = 1000 * SEC};
    struct er_after *after;
    size_t n;
    er_task_id on = f_add(f, f_new());
    f_run(f, on, ER_TASK_FAILED);
    er_task_id id = f_add_after(f, on, ER_AFTER_FAIL);
    struct er_change row = f_change(on);
    f_begin(f);
    assert_int_equal(er_store_remove(f->s, f->now, &row, 1), 0);
    f_commit(f);
    assert_int_equal(er_store_after(f->r, id, false, 0, 10, &f->arena, &after, &n), 0);
    assert_true(n == 1 && after[0].id == on && after[0].when == ER_AFTER_FAIL);
    assert_int_equal(after[0].state, ER_TASK_FAILED);
    f->now += SEC;
    (void)prune(f, &keep, 10);
    assert_int_equal(er_store_after(f->r, id, false, 0, 10, &f->arena, &after, &n), 0);
    assert_true(n == 1 && after[0].state == -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(prune__removes_the_oldest_beyond_both_bounds),
        BOTH(prune__of_one_state_leaves_the_others),
        BOTH(prune__keeps_what_unfinished_tasks_depend_on),
        BOTH(prune__bounds_the_bytes_of_logs),
        BOTH(prune__of_logs_counts_all_attempts_of_what_has_ended),
        BOTH(prune__of_logs_leaves_what_unfinished_tasks_wait_for),
        BOTH(prune__removes_facts_from_the_front),
        BOTH(prune__has_a_limit_for_facts_too),
        BOTH(prune__forgets_tombstones_sessions_and_environments),
        BOTH(load__tells_what_an_engine_needs),
        BOTH(list__filters_and_pages),
        BOTH(facts__can_be_read_from_any_number),
        BOTH(facts__read_are_those_that_were_told),
        BOTH(facts__of_a_removed_task_stay),
        IN_MEMORY(facts__one_call_looks_at_so_many_only),
        BOTH(reader__tells_queues_and_counts),
        BOTH(after__tells_states_of_what_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
