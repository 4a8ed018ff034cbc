/* SPDX-License-Identifier: MIT */
/* What happens to a task on its way: pauses in place and by rate limits, items, a clock
 * that is set, what a priority is worth. */
#include <stdio.h>
#include <string.h>

#include "store_fixture.h"

static int
suspend(struct fixture *f, er_task_id id, int attempt, bool paused)
{
    struct er_suspend row = {.id = id,
                             .attempt = attempt,
                             .session = f->session,
                             .paused = paused,
                             .status = 1};
    f_begin(f);
    assert_int_equal(er_store_suspend(f->s, f->now, &row, 1), 0);
    f_commit(f);
    return row.status;
}

static struct er_change
hold(struct fixture *f, er_task_id id, bool held)
{
    struct er_change row = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_hold(f->s, f->now, &row, 1, held), 0);
    f_commit(f);
    return row;
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

/* A task that a rate limit has paused until then. */
static er_task_id
add_limited(struct fixture *f, er_usec until)
{
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    struct er_finish row = f_ends(f, id, ER_TASK_PAUSED);
    row.run_at = until;
    row.outcome = ER_OUTCOME_LIMITED;
    row.error_json = "{\"code\":\"rate-limit\"}";
    f_finish(f, row);
    return id;
}

static void
rate_limit__pauses_until_its_moment(void **state)
{
    struct fixture *f = *state;
    er_task_id id = add_limited(f, T0 + 45 * SEC);
    assert_true(f->fx.next_due == T0 + 45 * SEC);
    struct er_task t = f_get(f, id);
    assert_true(t.state == ER_TASK_PAUSED && t.session == 0);
    assert_true(t.resumes_at == T0 + 45 * SEC);
    assert_string_equal(t.error_json, "{\"code\":\"rate-limit\"}");
    assert_true(t.failures == 0 && t.losses == 0 && t.attempt == 1);
    assert_true(f_load(f).next_due == T0 + 45 * SEC);
    assert_true(due(f, 10) == T0 + 45 * SEC);
    assert_int_equal(f->fx.n_facts, 0);
    f->now = T0 + 45 * SEC;
    assert_true(due(f, 10) == ER_NEVER);
    assert_string_equal(f_facts(f), "task-resumed 1/1");
    assert_string_equal(f_data(f, 0), "{\"reason\":\"rate-limit\",\"resumes_at\":null}");
    assert_string_equal(f_ready(f), "1");
    t = f_get(f, id);
    assert_true(t.state == ER_TASK_QUEUED && t.resumes_at == ER_NEVER);
    assert_int_equal(f_claim(f, id)->attempt, 2);
}

static void
rate_limit__of_what_is_held_ends_and_the_hold_stays(void **state)
{
    struct fixture *f = *state;
    er_task_id id = add_limited(f, T0 + SEC);
    assert_int_equal(hold(f, id, true).status, 0);
    assert_string_equal(f_facts(f), "task-paused 1/1");
    assert_true(f_get(f, id).resumes_at == T0 + SEC);
    assert_int_equal(hold(f, id, true).status, 0);
    assert_int_equal(f->fx.n_facts, 0);
    f->now = T0 + SEC;
    (void)due(f, 10);
    assert_string_equal(f_facts(f), "task-resumed 1/1");
    assert_string_equal(f_ready(f), "");
    assert_true(f_get(f, id).held && f_get(f, id).state == ER_TASK_QUEUED);
    assert_int_equal(hold(f, id, false).status, 0);
    assert_string_equal(f_ready(f), "1");
}

static void
rate_limit__ends_at_once_when_resumed(void **state)
{
    struct fixture *f = *state;
    er_task_id id = add_limited(f, T0 + 3600 * SEC);
    (void)hold(f, id, true);
    struct er_change row = hold(f, id, false);
    assert_true(row.status == 0 && row.state == ER_TASK_PAUSED && row.session == 0);
    assert_string_equal(f_facts(f), "task-resumed 1/1");
    assert_string_equal(f_data(f, 0), "{\"reason\":\"user\",\"resumes_at\":null}");
    assert_string_equal(f_ready(f), "1");
    struct er_task t = f_get(f, id);
    assert_true(t.state == ER_TASK_QUEUED && !t.held && t.resumes_at == ER_NEVER);
    assert_true(due(f, 10) == ER_NEVER);
}

static void
rate_limit__can_be_cancelled_and_edited(void **state)
{
    struct fixture *f = *state;
    er_task_id id = add_limited(f, T0 + 60 * SEC);
    er_task_id other = add_limited(f, T0 + 60 * SEC);
    struct er_change row = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_cancel(f->s, f->now, &row, 1, "user", NULL), 0);
    f_commit(f);
    assert_true(row.status == 0 && f_get(f, id).state == ER_TASK_CANCELLED);
    assert_true(f_get(f, id).resumes_at == ER_NEVER);
    struct er_edit e = {.has_priority = true, .priority = 2};
    row = f_change(other);
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, &e), 0);
    f_commit(f);
    assert_true(row.status == 0 && f_get(f, other).state == ER_TASK_PAUSED);
    assert_true(f_get(f, other).resumes_at == T0 + 60 * SEC);
    e = (struct er_edit){.has_run_at = true, .run_at = T0 + 5 * SEC};
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, &e), 0);
    f_commit(f);
    assert_int_equal(f_get(f, other).state, ER_TASK_SCHEDULED);
    assert_true(due(f, 10) == T0 + 5 * SEC);
}

static void
rate_limit__many_at_once_come_in_parts(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        (void)add_limited(f, T0 + (5 - i) * SEC);
    }
    f->now = T0 + 4 * SEC;
    assert_true(due(f, 3) == T0 + 4 * SEC);
    assert_string_equal(f_ready(f), "5 4 3");
    assert_true(due(f, 3) == T0 + 5 * SEC);
    assert_string_equal(f_ready(f), "2");
}

static void
suspend__keeps_attempt_and_session(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    assert_int_equal(suspend(f, id, 1, true), 0);
    assert_string_equal(f_facts(f), "task-paused 1/1");
    assert_string_equal(f_data(f, 0), "{\"reason\":\"user\",\"resumes_at\":null}");
    struct er_task t = f_get(f, id);
    assert_true(t.state == ER_TASK_PAUSED && t.session == f->session && t.attempt == 1);
    assert_true(t.resumes_at == ER_NEVER && t.started_at == T0);
    assert_int_equal(f_count(f, "default", ER_TASK_PAUSED), 1);
    assert_int_equal(suspend(f, id, 1, true), 0);
    assert_int_equal(f->fx.n_facts, 0);
    struct er_store_state st = f_load(f);
    assert_int_equal(st.n_running, 1);
    assert_true(st.running[0].id == id && st.running[0].state == ER_TASK_PAUSED);
    assert_string_equal(st.running[0].worker, "w1");
    assert_true(due(f, 10) == ER_NEVER); /* nothing resumes it by itself */
    assert_int_equal(suspend(f, id, 1, false), 0);
    assert_string_equal(f_facts(f), "task-resumed 1/1");
    assert_string_equal(f_ready(f), "");
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_int_equal(f_count(f, "default", ER_TASK_RUNNING), 1);
}

static void
suspend__of_another_attempt_is_refused(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    assert_int_equal(suspend(f, id, 0, true), ER_ELOST);
    (void)f_claim(f, id);
    assert_int_equal(suspend(f, id, 2, true), ER_ELOST);
    assert_int_equal(suspend(f, 99, 1, true), ER_ELOST);
    f_finish(f, f_ends(f, id, ER_TASK_COMPLETED));
    assert_int_equal(suspend(f, id, 1, true), ER_ELOST);
    assert_int_equal(suspend(f, id, 1, false), ER_ELOST);
    er_task_id limited = add_limited(f, T0 + SEC);
    assert_int_equal(suspend(f, limited, 1, false), ER_ELOST);
}

static void
suspend__lets_the_attempt_report_and_end(void **state)
{
    struct fixture *f = *state;
    static const enum er_task_state ends[] = {ER_TASK_COMPLETED, ER_TASK_FAILED,
                                              ER_TASK_CANCELLED, ER_TASK_QUEUED,
                                              ER_TASK_SCHEDULED, ER_TASK_PAUSED};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        er_task_id id = f_add(f, f_new());
        (void)f_claim(f, id);
        assert_int_equal(suspend(f, id, 1, true), 0);
        struct er_progress_row p = {
            .id = id, .attempt = 1, .session = f->session, .progress_json = "7"};
        f_begin(f);
        assert_int_equal(er_store_progress(f->s, &p, 1), 0);
        f_commit(f);
        assert_int_equal(p.status, 0);
        f_finish(f, f_ends(f, id, ends[i]));
        struct er_task t = f_get(f, id);
        assert_true(t.state == ends[i] && t.session == 0);
        assert_string_equal(t.progress_json, "7");
    }
    assert_int_equal(f_count(f, "default", ER_TASK_RUNNING), 0);
    assert_int_equal(f_count(f, "default", ER_TASK_PAUSED), 1);
}

static void
suspend__leaves_changes_to_the_worker(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    (void)suspend(f, id, 1, true);
    struct er_edit e = {.name = "n"};
    struct er_change row = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, &e), 0);
    assert_int_equal(row.status, ER_ESTATE);
    assert_int_equal(er_store_retry(f->s, f->now, &row, 1), 0);
    assert_int_equal(row.status, ER_ESTATE);
    assert_int_equal(er_store_remove(f->s, f->now, &row, 1), 0);
    assert_int_equal(row.status, ER_ESTATE);
    assert_int_equal(er_store_session_close(f->s, f->now, f->session, true), ER_ESTATE);
    assert_int_equal(er_store_cancel(f->s, f->now, &row, 1, "user", NULL), 0);
    f_commit(f);
    assert_true(row.status == 0 && row.session == f->session && row.attempt == 1);
    struct er_task t = f_get(f, id);
    assert_true(t.state == ER_TASK_PAUSED && t.cancel_requested);
    f_begin(f);
    assert_int_equal(er_store_look(f->s, &row, 1), 0);
    f_commit(f);
    assert_true(row.cancel_requested && row.state == ER_TASK_PAUSED);
    f_finish(f, f_ends(f, id, ER_TASK_CANCELLED));
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
}

static unsigned
asked(struct fixture *f, er_task_id id)
{
    return f_get(f, id).asked;
}

static int
ask(struct fixture *f, er_task_id id, unsigned unless, unsigned clear, unsigned set)
{
    struct er_change row = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_ask(f->s, &row, 1, unless, clear, set), 0);
    f_commit(f);
    return row.status;
}

static void
what_is_asked__of_an_open_attempt_is_kept_until_it_ends(void **state)
{
    struct fixture *f = *state;
    const unsigned pause = ER_ASKED_PAUSE | ER_ASKED_HOLD;
    er_task_id id = f_add(f, f_new());
    assert_int_equal(ask(f, id, 0, 0, ER_ASKED_REQUEUE), ER_ESTATE); /* it waits */
    (void)f_claim(f, id);
    assert_int_equal(hold(f, id, false).status, ER_ESTATE); /* nothing to undo */
    for (int i = 0; i < 2; i++) {
        struct er_change row = hold(f, id, true);
        assert_true(row.status == 0 && row.session == f->session && row.attempt == 1);
        assert_int_equal(f->fx.n_facts, 0);
        assert_int_equal(asked(f, id), pause);
    }
    struct er_task t = f_get(f, id);
    assert_true(t.state == ER_TASK_RUNNING && t.held && !t.cancel_requested);
    (void)suspend(f, id, 1, true);
    assert_int_equal(asked(f, id), pause);
    assert_int_equal(hold(f, id, false).status, 0);
    assert_int_equal(hold(f, id, false).status, 0); /* it is still on its way */
    assert_int_equal(asked(f, id), 0);
    assert_int_equal(ask(f, id, ER_ASKED_CANCEL, pause, ER_ASKED_REQUEUE), 0);
    assert_int_equal(hold(f, id, true).status, 0); /* put back, held; not stopped */
    assert_int_equal(asked(f, id), ER_ASKED_REQUEUE | ER_ASKED_HOLD);
    assert_int_equal(ask(f, id, ER_ASKED_REQUEUE, 0, ER_ASKED_PAUSE), ER_ESTATE);
    f_finish(f, f_ends(f, id, ER_TASK_QUEUED));
    assert_int_equal(asked(f, id), 0);
    assert_false(f_get(f, id).held);
    assert_int_equal(ask(f, 9999, 0, 0, ER_ASKED_PAUSE), ER_ENOTFOUND);
}

static void
what_is_asked__is_nothing_more_once_it_is_to_be_cancelled(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    struct er_change row = f_change(id);
    (void)f_claim(f, id);
    assert_int_equal(hold(f, id, true).status, 0);
    f_begin(f);
    assert_int_equal(er_store_cancel(f->s, f->now, &row, 1, "user", NULL), 0);
    f_commit(f);
    assert_int_equal(asked(f, id), ER_ASKED_CANCEL | ER_ASKED_PAUSE | ER_ASKED_HOLD);
    assert_int_equal(hold(f, id, true).status, ER_ESTATE);
    assert_int_equal(ask(f, id, ER_ASKED_CANCEL, 0, ER_ASKED_REQUEUE), ER_ESTATE);
    f_finish(f, f_ends(f, id, ER_TASK_CANCELLED));
    assert_int_equal(asked(f, id), 0);
    assert_false(f_get(f, id).held);
}

/* Stores items "a" to the given one, the later ones failed from `bad` on: the status. */
static int
put(struct fixture *f, er_task_id id, const char *name, bool failed)
{
    struct er_item_row row = {.id = id,
                              .attempt = f_get(f, id).attempt,
                              .session = f->session,
                              .name = name,
                              .failed = failed,
                              .status = 1};
    f_begin(f);
    assert_int_equal(er_store_items_put(f->s, f->now, &row, 1), 0);
    f_commit(f);
    assert_int_equal(f->fx.n_facts, 0);
    return row.status;
}

/* The items as "a b! c": name by name, failed ones marked. */
static const char *
items(struct fixture *f, er_task_id id, int failed, const char *after, size_t limit)
{
    struct er_item *list;
    size_t n, at = 0;
    assert_int_equal(er_store_items(f->r, id, failed, after, limit, &f->arena, &list, &n),
                     0);
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%s%s", i ? " " : "",
                               list[i].name, list[i].failed ? "!" : "");
    }
    return f->text;
}

static void
items__are_kept_by_name(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    assert_int_equal(put(f, id, "c", false), 0);
    assert_int_equal(put(f, id, "a", true), 0);
    assert_int_equal(put(f, id, "b", false), 0);
    struct er_task t = f_get(f, id);
    assert_true(t.items_completed == 2 && t.items_failed == 1);
    assert_string_equal(items(f, id, -1, NULL, 10), "a! b c");
    assert_string_equal(items(f, id, 0, NULL, 10), "b c");
    assert_string_equal(items(f, id, 1, NULL, 10), "a!");
    assert_string_equal(items(f, id, -1, NULL, 2), "a! b");
    assert_string_equal(items(f, id, -1, "b", 2), "c");
    assert_string_equal(items(f, id, 1, "a", 2), "");
    /* The latest outcome of one counts. */
    assert_int_equal(put(f, id, "a", false), 0);
    assert_int_equal(put(f, id, "b", true), 0);
    assert_int_equal(put(f, id, "c", false), 0);
    t = f_get(f, id);
    assert_true(t.items_completed == 2 && t.items_failed == 1);
    assert_string_equal(items(f, id, -1, NULL, 10), "a b! c");
    struct er_item *list;
    size_t n;
    assert_int_equal(er_store_items(f->r, id, 1, NULL, 10, &f->arena, &list, &n), 0);
    assert_true(n == 1 && list[0].attempt == 1 && list[0].at == f->now);
}

static void
items__several_tasks_in_one_call(void **state)
{
    struct fixture *f = *state;
    er_task_id a = f_add(f, f_new()), b = f_add(f, f_new());
    (void)f_claim(f, a);
    (void)f_claim(f, b);
    struct er_item_row rows[] = {
        {.id = a, .attempt = 1, .session = f->session, .name = "x"},
        {.id = a, .attempt = 1, .session = f->session, .name = "x", .failed = true},
        {.id = b, .attempt = 1, .session = f->session, .name = "x"},
        {.id = b, .attempt = 2, .session = f->session, .name = "lost"},
        {.id = 99, .attempt = 1, .session = f->session, .name = "lost"},
        {.id = a, .attempt = 1, .session = f->session, .name = "y"},
    };
    f_begin(f);
    assert_int_equal(er_store_items_put(f->s, f->now, rows, 6), 0);
    f_commit(f);
    assert_int_equal(rows[3].status, ER_ELOST);
    assert_int_equal(rows[4].status, ER_ELOST);
    assert_string_equal(items(f, a, -1, NULL, 10), "x! y");
    assert_string_equal(items(f, b, -1, NULL, 10), "x");
    assert_true(f_get(f, a).items_completed == 1 && f_get(f, a).items_failed == 1);
}

static void
items__are_taken_while_paused_in_place_only(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    assert_int_equal(put(f, id, "early", false), ER_ELOST);
    (void)f_claim(f, id);
    (void)suspend(f, id, 1, true);
    assert_int_equal(put(f, id, "a", false), 0);
    f_finish(f, f_ends(f, id, ER_TASK_FAILED));
    assert_int_equal(put(f, id, "late", false), ER_ELOST);
    assert_string_equal(items(f, id, -1, NULL, 10), "a");
}

static void
items__of_what_did_not_complete_are_there_for_the_next_run(void **state)
{
    struct fixture *f = *state;
    static const enum er_task_state ends[] = {ER_TASK_FAILED, ER_TASK_CANCELLED,
                                              ER_TASK_COMPLETED};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        er_task_id id = f_add(f, f_new());
        (void)f_claim(f, id);
        (void)put(f, id, "bad", true);
        (void)put(f, id, "good", false);
        f_finish(f, f_ends(f, id, ends[i]));
        struct er_change row = f_change(id);
        f_begin(f);
        assert_int_equal(er_store_look(f->s, &row, 1), 0);
        assert_true(row.items_completed == 1 && row.items_failed == 1);
        assert_int_equal(er_store_retry(f->s, f->now, &row, 1), 0);
        f_commit(f);
        bool anew = ends[i] == ER_TASK_COMPLETED;
        assert_string_equal(items(f, id, -1, NULL, 10), anew ? "" : "good");
        assert_int_equal(f_get(f, id).items_completed, anew ? 0 : 1);
        assert_int_equal(f_get(f, id).items_failed, 0);
    }
}

static void
items__stay_from_attempt_to_attempt_and_go_with_the_task(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    (void)f_claim(f, id);
    (void)put(f, id, "a", false);
    f_finish(f, f_ends(f, id, ER_TASK_QUEUED));
    assert_int_equal(f_claim(f, id)->items_completed, 1);
    (void)put(f, id, "b", true);
    assert_string_equal(items(f, id, -1, NULL, 10), "a b!");
    f_finish(f, f_ends(f, id, ER_TASK_FAILED));
    struct er_change row = f_change(id);
    f_begin(f);
    assert_int_equal(er_store_remove(f->s, f->now, &row, 1), 0);
    f_commit(f);
    assert_string_equal(items(f, id, -1, NULL, 10), "");
}

static void
shift(struct fixture *f, er_usec by)
{
    f_begin(f);
    assert_int_equal(er_store_shift(f->s, by), 0);
    f_commit(f);
    assert_int_equal(f->fx.n_facts, 0);
    f->now += by;
}

static void
shift__moves_spans_and_not_moments(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.run_at = T0 + 10 * SEC;
    er_task_id span = f_add(f, row);
    row.run_at_fixed = true;
    er_task_id moment = f_add(f, row);
    row = f_new();
    row.expires_at = T0 + 20 * SEC;
    er_task_id expires = f_add(f, row);
    er_task_id limited = add_limited(f, T0 + 30 * SEC);
    struct er_new_after after = {.id = span, .ref = -1};
    row = f_new();
    row.run_at = T0 + 40 * SEC;
    row.after = &after;
    row.n_after = 1;
    er_task_id blocked = f_add(f, row);
    shift(f, 3600 * SEC);
    assert_true(f_get(f, span).run_at == f->now + 10 * SEC);
    assert_true(f_get(f, moment).run_at == T0 + 10 * SEC);
    assert_true(f_get(f, expires).expires_at == f->now + 20 * SEC);
    assert_true(f_get(f, limited).resumes_at == f->now + 30 * SEC);
    assert_true(f_get(f, blocked).run_at == f->now + 40 * SEC);
    assert_true(f->fx.next_due == T0 + 10 * SEC); /* the moment has passed now */
    shift(f, -7200 * SEC);
    assert_true(f_get(f, span).run_at == f->now + 10 * SEC);
    assert_true(f_get(f, limited).resumes_at == f->now + 30 * SEC);
    assert_true(f->fx.next_due == f->now + 10 * SEC);
    assert_true(due(f, 10) == f->now + 10 * SEC);
    assert_int_equal(f->fx.n_ready, 0);
}

static void
shift__moves_an_edited_moment_by_what_it_is_now(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    struct er_change row = f_change(id);
    struct er_edit e = {
        .has_run_at = true, .run_at = T0 + 60 * SEC, .run_at_fixed = true};
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, &e), 0);
    f_commit(f);
    shift(f, 5 * SEC);
    assert_true(f_get(f, id).run_at == T0 + 60 * SEC);
    e = (struct er_edit){.has_run_at = true, .run_at = f->now + 60 * SEC};
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, &e), 0);
    f_commit(f);
    shift(f, 5 * SEC);
    assert_true(f_get(f, id).run_at == f->now + 60 * SEC);
}

static void
shift__moves_the_backoff_of_what_began_at_a_moment(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.run_at = T0 + 10 * SEC;
    row.run_at_fixed = true;
    er_task_id id = f_add(f, row);
    f->now += 10 * SEC;
    (void)due(f, 10);
    (void)f_claim(f, id);
    struct er_finish end = f_ends(f, id, ER_TASK_SCHEDULED);
    end.run_at = f->now + 30 * SEC;
    f_finish(f, end);
    shift(f, 1000 * SEC);
    assert_true(f_get(f, id).run_at == f->now + 30 * SEC);
}

static void
shift__keeps_the_wait_of_a_first_attempt_that_is_given_back(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.expires_at = T0 + 20 * SEC;
    er_task_id id = f_add(f, row);
    (void)f_claim(f, id);
    shift(f, 1000 * SEC);
    struct er_finish end = f_ends(f, id, ER_TASK_QUEUED);
    end.refund = true;
    f_finish(f, end);
    assert_true(f_get(f, id).expires_at == f->now + 20 * SEC);
    assert_true(f->fx.next_due == f->now + 20 * SEC);
}

static void
shift__by_too_much_stays_within_the_numbers(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.run_at = INT64_MAX - 1;
    er_task_id far = f_add(f, row);
    row.run_at = T0 + SEC;
    er_task_id near = f_add(f, row);
    f_begin(f);
    assert_int_equal(er_store_shift(f->s, INT64_MAX), 0);
    f_commit(f);
    assert_true(f_get(f, far).run_at == INT64_MAX - 1);
    assert_true(f_get(f, near).run_at == T0 + SEC + (INT64_C(1) << 61));
}

static int64_t
rank_of(struct fixture *f, int priority)
{
    struct er_new_task row = f_new();
    row.priority = priority;
    return f_get(f, f_add(f, row)).rank;
}

static void
ageing__is_what_a_priority_is_worth(void **state)
{
    struct fixture *f = *state;
    assert_true(rank_of(f, 3) == T0 - 180 * SEC);
    er_store_set_ageing(f->s, 10 * SEC);
    assert_true(rank_of(f, 3) == T0 - 30 * SEC);
    assert_true(rank_of(f, -2) == T0 + 20 * SEC);
    er_task_id id = f_add(f, f_new());
    struct er_change row = f_change(id);
    struct er_edit e = {.has_priority = true, .priority = 5};
    f->now = T0 + 100 * SEC;
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, &e), 0);
    f_commit(f);
    assert_true(f_get(f, id).rank == T0 - 50 * SEC);
    f_run(f, id, ER_TASK_FAILED);
    f_begin(f);
    assert_int_equal(er_store_retry(f->s, f->now, &row, 1), 0);
    f_commit(f);
    assert_true(f_get(f, id).rank == T0 + 50 * SEC);
    e.priority = 1;
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &row, &e), 0);
    f_commit(f);
    assert_true(f_get(f, id).rank == T0 + 90 * SEC);
}

static void
ageing__off_is_strict_and_ends_where_numbers_end(void **state)
{
    struct fixture *f = *state;
    er_store_set_ageing(f->s, ER_AGEING_STRICT);
    int64_t low = rank_of(f, 0);
    f->now += 365 * 86400 * SEC;
    assert_true(rank_of(f, 1) < low && rank_of(f, -1) > low);
    assert_true(rank_of(f, INT32_MAX) == INT64_MIN + 1);
    assert_true(rank_of(f, INT32_MIN) == INT64_MAX - 1);
    struct er_ready first;
    size_t n;
    assert_int_equal(er_store_peek(f->s, f_get(f, 1).lane, INT64_MIN, 0, &first, 1, &n),
                     0);
    assert_true(n == 1 && first.id == 4);
}

static void
cost__is_with_all_that_may_run(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.cost = 5;
    row.heartbeat_for = 7;
    er_task_id id = f_add(f, row);
    assert_int_equal(f->fx.ready[0].cost, 5);
    assert_int_equal(f_get(f, f_add(f, f_new())).cost, 1);
    assert_int_equal(f->fx.ready[0].cost, 1);
    struct er_ready ready[2];
    size_t n;
    int64_t lane = f_get(f, id).lane;
    assert_int_equal(er_store_peek(f->s, lane, INT64_MIN, 0, ready, 2, &n), 0);
    assert_true(n == 2 && ready[0].cost == 5 && ready[1].cost == 1);
    struct er_change change = f_change(id);
    struct er_edit e = {.has_cost = true, .cost = 9};
    f_begin(f);
    assert_int_equal(er_store_edit(f->s, f->now, &change, &e), 0);
    f_commit(f);
    assert_int_equal(f->fx.ready[0].cost, 9);
    struct er_task *t = f_claim(f, id);
    assert_true(t->cost == 9 && t->heartbeat_for == 7 && !t->has_after);
    f_finish(f, f_ends(f, id, ER_TASK_QUEUED));
    assert_int_equal(f->fx.ready[0].cost, 9);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(rate_limit__pauses_until_its_moment),
        BOTH(rate_limit__of_what_is_held_ends_and_the_hold_stays),
        BOTH(rate_limit__ends_at_once_when_resumed),
        BOTH(rate_limit__can_be_cancelled_and_edited),
        BOTH(rate_limit__many_at_once_come_in_parts),
        BOTH(suspend__keeps_attempt_and_session),
        BOTH(suspend__of_another_attempt_is_refused),
        BOTH(suspend__lets_the_attempt_report_and_end),
        BOTH(suspend__leaves_changes_to_the_worker),
        BOTH(what_is_asked__of_an_open_attempt_is_kept_until_it_ends),
        BOTH(what_is_asked__is_nothing_more_once_it_is_to_be_cancelled),
        BOTH(items__are_kept_by_name),
        BOTH(items__several_tasks_in_one_call),
        BOTH(items__are_taken_while_paused_in_place_only),
        BOTH(items__of_what_did_not_complete_are_there_for_the_next_run),
        BOTH(items__stay_from_attempt_to_attempt_and_go_with_the_task),
        BOTH(shift__moves_spans_and_not_moments),
        BOTH(shift__moves_an_edited_moment_by_what_it_is_now),
        BOTH(shift__moves_the_backoff_of_what_began_at_a_moment),
        BOTH(shift__keeps_the_wait_of_a_first_attempt_that_is_given_back),
        BOTH(shift__by_too_much_stays_within_the_numbers),
        BOTH(ageing__is_what_a_priority_is_worth),
        BOTH(ageing__off_is_strict_and_ends_where_numbers_end),
        BOTH(cost__is_with_all_that_may_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
