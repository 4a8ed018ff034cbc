/* SPDX-License-Identifier: MIT */
/* Dependencies beyond the plain ones of test_store_submit.c and test_store_run.c: other
 * ones by edit, circles, what can be read of them, what stays cancelled, and 100,000 of
 * them. Also what a child takes from its parent. */
#include <stdio.h>
#include <string.h>

#include "store_fixture.h"

#define MANY ER_MAX_AFTER

/* Gives a task other dependencies: the status; the edit tells the rest. */
static int
edit_after(struct fixture *f, er_task_id id, const struct er_new_after *after, size_t n,
           struct er_edit *e)
{
    struct er_change row = f_change(id);
    *e = (struct er_edit){.has_after = true, .after = after, .n_after = n};
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, e), 0);
    f_commit(f);
    return row.status;
}

static int
edit_on(struct fixture *f, er_task_id id, er_task_id on, struct er_edit *e)
{
    struct er_new_after after = {.id = on, .ref = -1};
    return edit_after(f, id, &after, 1, e);
}

/* The dependencies as "1 2! 3": those that a task still waits for marked. */
static const char *
after(struct fixture *f, er_task_id id, bool open, size_t offset, size_t limit)
{
    struct er_after *list;
    size_t n, at = 0;
    assert_int_equal(er_store_after(f->r, id, open, offset, limit, &f->arena, &list, &n),
                     0);
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        bool ended = list[i].state < 0 ||
                     er_task_state_is_final((enum er_task_state)list[i].state);
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%lld%s",
                               i ? " " : "", (long long)list[i].id, ended ? "" : "!");
    }
    return f->text;
}

static void
edit__gives_other_dependencies(void **state)
{
    struct fixture *f = *state;
    struct er_edit e;
    er_task_id a = f_add(f, f_new()), b = f_add(f, f_new());
    er_task_id id = f_add_after(f, a, ER_AFTER_OK);
    assert_int_equal(edit_on(f, id, b, &e), 0);
    assert_string_equal(f_facts(f), "task-changed 3");
    assert_non_null(strstr(f_data(f, 0), "\"state\":\"blocked\""));
    assert_string_equal(after(f, id, false, 0, 10), "2!");
    f_run(f, a, ER_TASK_FAILED); /* is none of its business any more */
    assert_int_equal(f_get(f, id).state, ER_TASK_BLOCKED);
    f_run(f, b, ER_TASK_COMPLETED);
    assert_string_equal(f_ready(f), "3");
    assert_true(f_claim(f, id)->has_after);
}

static void
edit__of_dependencies_lets_the_state_follow(void **state)
{
    struct fixture *f = *state;
    struct er_edit e;
    er_task_id a = f_add(f, f_new()), done = f_add(f, f_new());
    f_run(f, done, ER_TASK_COMPLETED);
    er_task_id id = f_add(f, f_new());
    assert_int_equal(edit_on(f, id, a, &e), 0);
    assert_true(f_get(f, id).state == ER_TASK_BLOCKED && f_get(f, id).waiting == 1);
    assert_int_equal(f_count(f, "default", ER_TASK_BLOCKED), 1);
    assert_int_equal(edit_on(f, id, done, &e), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_string_equal(f_ready(f), "3");
    assert_int_equal(edit_on(f, id, a, &e), 0);
    assert_int_equal(edit_after(f, id, NULL, 0, &e), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_string_equal(after(f, id, false, 0, 10), "");
    /* Behind its dependencies it still waits for its moment, and held it stays. */
    struct er_new_task row = f_new();
    row.run_at = T0 + SEC;
    row.held = true;
    er_task_id later = f_add(f, row);
    assert_int_equal(edit_on(f, later, a, &e), 0);
    assert_int_equal(edit_on(f, later, done, &e), 0);
    assert_true(f_get(f, later).state == ER_TASK_SCHEDULED && f_get(f, later).held);
    assert_true(f->fx.next_due == T0 + SEC && f->fx.n_ready == 0);
}

static void
edit__to_what_can_not_be_met_cancels(void **state)
{
    struct fixture *f = *state;
    struct er_edit e;
    er_task_id bad = f_add(f, f_new()), other = f_add(f, f_new());
    f_run(f, bad, ER_TASK_FAILED);
    er_task_id id = f_add(f, f_new());
    er_task_id behind = f_add_after(f, id, ER_AFTER_OK);
    struct er_new_after two[] = {{.id = other, .ref = -1}, {.id = bad, .ref = -1}};
    assert_int_equal(edit_after(f, id, two, 2, &e), 0);
    assert_string_equal(f_facts(f), "task-changed 3, task-cancelled 3, task-cancelled 4");
    assert_string_equal(f_data(f, 1), "{\"reason\":\"dependency\",\"by\":1}");
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    assert_int_equal(f_get(f, behind).state, ER_TASK_CANCELLED);
    two[1].when = ER_AFTER_FAIL;
    id = f_add(f, f_new());
    assert_int_equal(edit_after(f, id, two, 2, &e), 0);
    assert_true(f_get(f, id).state == ER_TASK_BLOCKED && f_get(f, id).waiting == 1);
}

static void
edit__refuses_what_never_was_and_what_does_not_wait(void **state)
{
    struct fixture *f = *state;
    struct er_edit e;
    er_task_id a = f_add(f, f_new()), id = f_add(f, f_new());
    struct er_new_after two[] = {{.id = a, .ref = -1}, {.id = 99, .ref = -1}};
    assert_int_equal(edit_after(f, id, two, 2, &e), ER_ENOTFOUND);
    assert_true(e.bad_after == 1 && e.n_chain == 0);
    assert_int_equal(f->fx.n_facts, 0);
    two[0].id = 0;
    assert_int_equal(edit_after(f, id, two, 1, &e), ER_ENOTFOUND);
    assert_int_equal(e.bad_after, 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    (void)f_claim(f, id);
    assert_int_equal(edit_on(f, id, a, &e), ER_ESTATE);
    struct er_finish end = f_ends(f, id, ER_TASK_PAUSED);
    end.run_at = T0 + SEC;
    f_finish(f, end);
    assert_int_equal(edit_on(f, id, a, &e), ER_ESTATE);
}

static void
edit__refuses_circles_and_shows_them(void **state)
{
    struct fixture *f = *state;
    struct er_edit e;
    er_task_id a = f_add(f, f_new()), done = f_add(f, f_new());
    f_run(f, done, ER_TASK_COMPLETED);
    assert_int_equal(edit_on(f, a, a, &e), ER_EINVALID);
    assert_true(e.bad_after == 0 && e.n_chain == 2 && e.chain[0] == a && e.chain[1] == a);
    er_task_id b = f_add_after(f, a, ER_AFTER_ANY);
    er_task_id c = f_add_after(f, b, ER_AFTER_OK);
    struct er_new_after two[] = {{.id = done, .ref = -1}, {.id = c, .ref = -1}};
    assert_int_equal(edit_after(f, a, two, 2, &e), ER_EINVALID);
    assert_int_equal(e.bad_after, 1);
    assert_int_equal(e.n_chain, 4);
    assert_true(e.chain[0] == a && e.chain[1] == c && e.chain[2] == b && e.chain[3] == a);
    assert_int_equal(f_get(f, a).state, ER_TASK_QUEUED);
    assert_int_equal(f->fx.n_facts, 0);
    /* Side by side is none. */
    er_task_id d = f_add(f, f_new());
    assert_int_equal(edit_on(f, d, c, &e), 0);
    assert_int_equal(edit_on(f, c, a, &e), 0);
    /* What has ended holds nothing up, so that nothing is a circle through it. */
    f_run(f, a, ER_TASK_COMPLETED);
    assert_int_equal(edit_on(f, b, done, &e), 0);
}

/* A chain of n tasks, each after the one before: the first id. */
static er_task_id
add_chain(struct fixture *f, size_t n)
{
    struct er_new_task *rows = er_arena_alloc(&f->arena, n * sizeof *rows);
    struct er_new_after *on = er_arena_alloc(&f->arena, n * sizeof *on);
    for (size_t i = 0; i < n; i++) {
        rows[i] = f_new();
        on[i] = (struct er_new_after){.ref = (int)i - 1};
        rows[i].after = &on[i];
        rows[i].n_after = i > 0;
    }
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, n, true), 0);
    assert_int_equal(rows[0].status, 0);
    f_commit(f);
    return rows[0].id;
}

static void
edit__finds_a_circle_100000_deep(void **state)
{
    struct fixture *f = *state;
    f->large = true;
    struct er_edit e;
    er_task_id first = add_chain(f, MANY);
    er_task_id last = first + MANY - 1;
    assert_int_equal(edit_on(f, first, last, &e), ER_EINVALID);
    assert_int_equal(e.n_chain, 16);
    assert_true(e.chain[0] == first && e.chain[1] == last && e.chain[15] == last - 14);
    /* And that there is none, from the other end. */
    er_task_id id = f_add(f, f_new());
    er_task_id behind = f_add_after(f, id, ER_AFTER_OK);
    assert_int_equal(edit_on(f, id, last, &e), 0);
    assert_int_equal(f_get(f, behind).state, ER_TASK_BLOCKED);
    f_verify(f);
}

static void
cancel__takes_100000_behind_each_other_along(void **state)
{
    struct fixture *f = *state;
    f->large = true;
    er_task_id first = add_chain(f, MANY);
    struct er_change row = f_change(first);
    f_begin(f);
    assert_int_equal(er_store_cancel(f->s, f->now, &row, 1, "user", NULL), 0);
    f_commit(f);
    assert_int_equal(f->fx.n_facts, MANY);
    assert_int_equal(f_count(f, "default", ER_TASK_CANCELLED), MANY);
    f_begin(f);
    assert_int_equal(er_store_retry(f->s, f->now, &row, 1), 0);
    f_commit(f);
    assert_int_equal(row.dependents, MANY - 1);
    f_verify(f);
}

static void
fan_in__of_100000_is_released_by_the_last(void **state)
{
    struct fixture *f = *state;
    f->large = true;
    struct er_new_task *rows = er_arena_alloc(&f->arena, MANY * sizeof *rows);
    struct er_new_after *on = er_arena_alloc(&f->arena, MANY * sizeof *on);
    struct er_change *ends = er_arena_alloc(&f->arena, MANY * sizeof *ends);
    for (size_t i = 0; i < MANY; i++) {
        rows[i] = f_new();
    }
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, MANY, true), 0);
    for (size_t i = 0; i < MANY; i++) {
        on[i] = (struct er_new_after){.id = rows[i].id, .ref = -1, .when = ER_AFTER_ANY};
        ends[i] = f_change(rows[i].id);
    }
    struct er_new_task row = f_new();
    row.after = on;
    row.n_after = MANY;
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, true), 0);
    assert_int_equal(row.status, 0);
    f_commit(f);
    assert_int_equal(f_get(f, row.id).waiting, MANY);
    f_begin(f);
    assert_int_equal(er_store_cancel(f->s, f->now, ends, MANY - 1, "user", NULL), 0);
    f_commit(f);
    assert_int_equal(f_get(f, row.id).waiting, 1);
    (void)snprintf(f->text, sizeof f->text, "%lld!", (long long)rows[MANY - 1].id);
    char *last = er_arena_strdup(&f->arena, f->text);
    assert_string_equal(after(f, row.id, true, 0, 10), last);
    assert_string_equal(after(f, row.id, false, MANY - 1, 10), last);
    f_begin(f);
    assert_int_equal(er_store_cancel(f->s, f->now, &ends[MANY - 1], 1, "user", NULL), 0);
    f_commit(f);
    assert_int_equal(f->fx.n_ready, 1);
    assert_int_equal(f->fx.ready[0].id, row.id);
    f_verify(f);
}

static void
fan_out__of_100000_goes_on_in_one_finish(void **state)
{
    struct fixture *f = *state;
    f->large = true;
    struct er_new_task *rows = er_arena_alloc(&f->arena, MANY * sizeof *rows);
    er_task_id id = f_add(f, f_new());
    struct er_new_after on = {.id = id, .ref = -1};
    for (size_t i = 0; i < MANY; i++) {
        rows[i] = f_new();
        rows[i].after = &on;
        rows[i].n_after = 1;
    }
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, MANY, true), 0);
    f_commit(f);
    f_run(f, id, ER_TASK_COMPLETED);
    assert_int_equal(f->fx.n_ready, MANY);
    assert_int_equal(f_count(f, "default", ER_TASK_QUEUED), MANY);
    f_verify(f);
}

static void
after__can_be_read_in_pages_and_only_what_is_open(void **state)
{
    struct fixture *f = *state;
    struct er_new_after on[5];
    for (size_t i = 0; i < 5; i++) {
        on[i] = (struct er_new_after){
            .id = f_add(f, f_new()), .ref = -1, .when = ER_AFTER_ANY};
    }
    struct er_new_task row = f_new();
    row.after = on;
    row.n_after = 5;
    er_task_id id = f_add(f, row);
    f_run(f, 2, ER_TASK_COMPLETED);
    f_run(f, 4, ER_TASK_FAILED);
    assert_string_equal(after(f, id, false, 0, 10), "1! 2 3! 4 5!");
    assert_string_equal(after(f, id, false, 1, 2), "2 3!");
    assert_string_equal(after(f, id, true, 0, 10), "1! 3! 5!");
    assert_string_equal(after(f, id, true, 1, 1), "3!");
    assert_string_equal(after(f, id, true, 3, 10), "");
}

static void
after__of_which_nothing_is_left_has_ended_as_asked_for(void **state)
{
    struct fixture *f = *state;
    er_task_id gone = f_add(f, f_new());
    f_run(f, gone, ER_TASK_FAILED);
    struct er_change row = f_change(gone);
    f_begin(f);
    assert_int_equal(er_store_remove(f->s, f->now, &row, 1), 0);
    f_commit(f);
    /* Its tombstone still tells. */
    assert_int_equal(f_get(f, f_add_after(f, gone, ER_AFTER_OK)).state,
                     ER_TASK_CANCELLED);
    struct er_retention keep = {.keep = 100,
                                .keep_for = 100 * SEC,
                                .facts = 100,
                                .facts_for = 100 * SEC,
                                .only_state = -1};
    struct er_removed *removed;
    size_t n;
    bool more;
    f_begin(f);
    assert_int_equal(
        er_store_prune(f->s, f->now + SEC, &keep, 10, &f->arena, &removed, &n, &more), 0);
    f_commit(f);
    struct er_edit e;
    for (enum er_after_when when = ER_AFTER_OK; when <= ER_AFTER_FAIL; when++) {
        er_task_id id = f_add_after(f, gone, when);
        assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
        assert_int_equal(edit_on(f, id, gone, &e), 0);
        assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    }
}

static void
after__results_come_in_order_and_within_a_bound(void **state)
{
    struct fixture *f = *state;
    static const char *const results[] = {"12345", NULL, "", "abc"};
    struct er_new_after on[5];
    for (size_t i = 0; i < 4; i++) {
        er_task_id id = f_add(f, f_new());
        (void)f_claim(f, id);
        struct er_finish end = f_ends(f, id, i == 1 ? ER_TASK_FAILED : ER_TASK_COMPLETED);
        end.result = results[i];
        end.result_len = results[i] ? strlen(results[i]) : 0;
        f_finish(f, end);
        on[i] = (struct er_new_after){.id = id, .ref = -1, .when = ER_AFTER_ANY};
    }
    on[4] = (struct er_new_after){.id = f_add(f, f_new()), .ref = -1};
    struct er_new_task row = f_new();
    row.after = on;
    row.n_after = 5;
    er_task_id id = f_add(f, row);
    struct er_after_result *r;
    size_t n;
    assert_int_equal(er_store_after_results(f->r, id, 100, &f->arena, &r, &n), 0);
    assert_int_equal(n, 5);
    assert_true(r[0].id == on[0].id && r[0].state == ER_TASK_COMPLETED);
    assert_true(r[0].has_exit_code && r[0].exit_code == 0 && r[0].result_len == 5);
    assert_memory_equal(r[0].result, "12345", 5);
    assert_true(r[1].state == ER_TASK_FAILED && r[1].exit_code == 3 && !r[1].result);
    assert_true(r[2].result && r[2].result_len == 0);
    assert_memory_equal(r[3].result, "abc", 3);
    assert_true(r[4].state == ER_TASK_QUEUED && !r[4].has_exit_code && !r[4].result);
    assert_int_equal(er_store_after_results(f->r, id, 4, &f->arena, &r, &n), 0);
    assert_true(!r[0].result && r[0].result_len == 5); /* does not fit */
    assert_true(r[3].result && r[3].result_len == 3);
    /* Of one that was removed the outcome stays. */
    struct er_edit e;
    assert_int_equal(edit_after(f, id, on, 2, &e), 0);
    struct er_change rows[] = {f_change(on[0].id), f_change(on[1].id)};
    f_begin(f);
    assert_int_equal(er_store_remove(f->s, f->now, rows, 2), 0);
    f_commit(f);
    assert_int_equal(er_store_after_results(f->r, id, 100, &f->arena, &r, &n), 0);
    assert_int_equal(n, 2);
    assert_true(r[1].state == ER_TASK_FAILED && r[1].exit_code == 3);
    assert_true(!r[0].result && r[0].result_len == 0);
}

/* n completed tasks with results of that many bytes. */
static void
complete_some(struct fixture *f, struct er_new_after *on, size_t n, size_t bytes)
{
    static char result[20000];
    memset(result, 'r', sizeof result);
    for (size_t i = 0; i < n; i++) {
        er_task_id id = f_add(f, f_new());
        (void)f_claim(f, id);
        struct er_finish end = f_ends(f, id, ER_TASK_COMPLETED);
        end.result = result;
        end.result_len = bytes;
        f_finish(f, end);
        on[i] = (struct er_new_after){.id = id, .ref = -1, .when = ER_AFTER_OK};
    }
}

/* How many results the claim of a task behind those brings. */
static size_t
claim_behind(struct fixture *f, const struct er_new_after *on, size_t n)
{
    struct er_new_task row = f_new();
    row.after = on;
    row.n_after = n;
    struct er_claim claim = {.id = f_add(f, row), .session = f->session};
    f_begin(f);
    assert_int_equal(er_store_claim(f->s, f->now, &claim, 1, &f->arena), 0);
    f_commit(f);
    assert_int_equal(claim.status, 0);
    assert_int_equal(claim.task->has_after, n > 0);
    assert_true(claim.n_after == 0 || claim.n_after == n);
    for (size_t i = 0; i < claim.n_after; i++) {
        assert_true(claim.after[i].id == on[i].id && claim.after[i].result);
    }
    return claim.n_after;
}

static void
claim__brings_results_that_are_few_and_small(void **state)
{
    struct fixture *f = *state;
    struct er_new_after on[17];
    complete_some(f, on, 17, 100);
    assert_int_equal(claim_behind(f, on, 0), 0);
    assert_int_equal(claim_behind(f, on, 1), 1);
    assert_int_equal(claim_behind(f, on, 16), 16);
    assert_int_equal(claim_behind(f, on, 17), 0);
    complete_some(f, on, 2, 10000);
    assert_int_equal(claim_behind(f, on, 1), 1);
    assert_int_equal(claim_behind(f, on, 2), 0);
}

static void
retry__tells_how_many_stay_cancelled(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    er_task_id a = f_add_after(f, id, ER_AFTER_OK);
    er_task_id b = f_add_after(f, a, ER_AFTER_OK);
    er_task_id by_hand = f_add_after(f, id, ER_AFTER_OK);
    (void)f_add_after(f, id, ER_AFTER_ANY);
    struct er_change rows[] = {f_change(by_hand), f_change(id), f_change(a)};
    f_begin(f);
    assert_int_equal(er_store_cancel(f->s, f->now, &rows[0], 1, "user", NULL), 0);
    f_commit(f);
    f_run(f, id, ER_TASK_FAILED);
    /* One more that begins cancelled, and names it twice. */
    struct er_new_after twice[] = {{.id = id, .ref = -1}, {.id = id, .ref = -1}};
    struct er_new_task row = f_new();
    row.after = twice;
    row.n_after = 2;
    (void)f_add(f, row);
    f_begin(f);
    assert_int_equal(er_store_retry(f->s, f->now, &rows[1], 1), 0);
    f_commit(f);
    assert_int_equal(rows[1].dependents, 3);
    assert_int_equal(f_get(f, b).state, ER_TASK_CANCELLED);
    f_run(f, id, ER_TASK_FAILED);
    f_begin(f);
    /* Those that are retried together with it do not stay. */
    assert_int_equal(er_store_retry(f->s, f->now, &rows[1], 2), 0);
    f_commit(f);
    assert_int_equal(rows[1].dependents, 1);
    assert_int_equal(rows[2].dependents, 1);
}

static void
correlation__is_the_parents_where_that_is_wanted(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.correlation = "parents";
    er_task_id parent = f_add(f, row);
    row = f_new();
    row.correlation = "own";
    row.parent = parent;
    assert_string_equal(f_get(f, f_add(f, row)).correlation, "own");
    row.inherit_correlation = true;
    struct er_new_task rows[] = {row, row, row};
    rows[1].parent = 0;
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, rows, 3, true), 0);
    f_commit(f);
    assert_string_equal(f_get(f, rows[0].id).correlation, "parents");
    assert_string_equal(f->fx.facts[0].correlation, "parents");
    assert_string_equal(f_get(f, rows[1].id).correlation, "own");
    assert_string_equal(f_get(f, rows[2].id).correlation, "parents");
    f_run(f, parent, ER_TASK_COMPLETED);
    struct er_change change = f_change(parent);
    f_begin(f);
    assert_int_equal(er_store_remove(f->s, f->now, &change, 1), 0);
    f_commit(f);
    assert_string_equal(f_get(f, f_add(f, row)).correlation, "own");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(edit__gives_other_dependencies),
        BOTH(edit__of_dependencies_lets_the_state_follow),
        BOTH(edit__to_what_can_not_be_met_cancels),
        BOTH(edit__refuses_what_never_was_and_what_does_not_wait),
        BOTH(edit__refuses_circles_and_shows_them),
        IN_MEMORY(edit__finds_a_circle_100000_deep),
        IN_MEMORY(cancel__takes_100000_behind_each_other_along),
        IN_MEMORY(fan_in__of_100000_is_released_by_the_last),
        IN_MEMORY(fan_out__of_100000_goes_on_in_one_finish),
        BOTH(after__can_be_read_in_pages_and_only_what_is_open),
        BOTH(after__of_which_nothing_is_left_has_ended_as_asked_for),
        BOTH(after__results_come_in_order_and_within_a_bound),
        BOTH(claim__brings_results_that_are_few_and_small),
        BOTH(retry__tells_how_many_stay_cancelled),
        BOTH(correlation__is_the_parents_where_that_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
