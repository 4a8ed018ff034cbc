/* SPDX-License-Identifier: MIT */
/* Sessions: who may report what, what a worker that comes back has and has not, and what
 * a dead one leaves. */
#include "engine_fixture.h"

#include <string.h>

#include "base/mem.h"
#include "wire/outlog.h"

/* ---- fencing ---- */

static void
report_on_what_is_not_its_own__is_lost_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *a = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(a), wrong = h;
    struct worker *b = w_new(f, 1);
    assert_int_equal(w_end(b, h, 0), 0); /* another session's */
    assert_int_equal(b->n_lost, 1);
    assert_int_equal(b->lost[0].task, id);
    wrong.attempt = 2;
    assert_int_equal(w_end(a, wrong, 0), 0);
    assert_int_equal(a->n_lost, 1);
    assert_int_equal(a->lost[0].attempt, 2);
    wrong = (struct er_held){.task = 99, .attempt = 1};
    assert_int_equal(w_end(a, wrong, 0), 0);
    assert_int_equal(a->n_lost, 1);
    assert_int_equal(w_start(b, h), 0); /* no word about it is heard from others */
    struct er_live live;
    assert_true(er_engine_live(f->e, id, &live));
    assert_int_equal(live.pid, 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_int_equal(w_end(a, h, 0), 0);
    assert_int_equal(a->n_lost, 0);
    assert_int_equal(w_end(a, h, 0), 0); /* said again after it was answered */
    assert_int_equal(a->n_lost, 1);
    assert_string_equal(f_facts(f, id), "task-queued, task-started/1, task-completed/1");
}

static void
wrong_token__is_not_that_session(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    (void)f_add(f, f_new());
    struct er_held h = w_run(w);
    w->token[0] = w->token[0] == '0' ? '1' : '0';
    assert_int_equal(w_end(w, h, 0), ER_ELOST);
    w_detach(w);
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), ER_ELOST);
    w->session = 99;
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), ER_ELOST);
}

static void
line_that_is_not_one__is_refused_and_takes_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    char *end = w_finished(f, h, 0, "");
    assert_int_equal(w_report(w, "%s{\"finished\":", end), ER_EINVALID);
    assert_int_equal(
        w_report(w, "%s{\"ended\":{\"task\":%lld,\"attempt\":1}}", end, (long long)id),
        0); /* of what ends in this report nothing more is heard */
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(w_report(w, "[]"), ER_EINVALID);
    (void)f_add(f, f_new());
    h = w_run(w);
    assert_int_equal(
        w_report(w, "{\"ended\":{\"task\":%lld,\"attempt\":1}}", (long long)h.task),
        ER_EINVALID);
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 0, ",\"result\":\"%%\"")),
                     ER_EINVALID);
    assert_int_equal(f_get(f, h.task).state, ER_TASK_RUNNING);
    assert_int_equal(w_end(w, h, 0), 0);
}

/* ---- coming back ---- */

static void
worker_that_comes_back__goes_on_with_what_it_holds(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 4);
    er_task_id first = f_add_many(f, f_new(), 3);
    struct er_held held = w_run(w), owed = w_run(w), unknown = w_run(w);
    w_detach(w);
    (void)f_add(f, f_new());
    f_settle(f); /* nothing goes to who is away */
    struct er_held hold[] = {held, {.task = 77, .attempt = 3}};
    assert_int_equal(w_attach(w, hold, 2, &owed, 1), 0);
    const json_t *drop = w_take(w, "drop"); /* a stranger */
    assert_int_equal(json_integer_value(json_object_get(drop, "task")), 77);
    assert_int_equal(json_integer_value(json_object_get(drop, "attempt")), 3);
    struct er_live live;
    assert_true(er_engine_live(f->e, held.task, &live));
    assert_int_equal(live.pid, 4242); /* as the hello says */
    /* the one it never had runs again, and is no attempt more */
    struct er_held again = w_run(w), other = w_run(w);
    if (again.task != unknown.task) {
        struct er_held swap = again;
        again = other;
        other = swap;
    }
    assert_int_equal(again.task, first + 2);
    assert_int_equal(again.attempt, 1);
    f_settle(f);
    assert_int_equal(w_count(w, "drop"), 0);
    struct er_held all[] = {held, owed, again, other};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(w_end(w, all[i], 0), 0);
        assert_int_equal(w->n_lost, 0);
        assert_int_equal(f_get(f, all[i].task).state, ER_TASK_COMPLETED);
    }
}

static void
cancelled_one_that_never_arrived__is_cancelled_with_its_reason(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    (void)w_run(w);
    w_detach(w);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    assert_int_equal(w_attach(w, NULL, 0, NULL, 0), 0);
    f_settle(f);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    const json_t *data = f_data(f, id, ER_EVENT_TASK_CANCELLED);
    assert_string_equal(json_string_value(json_object_get(data, "reason")),
                        "a test asked");
    assert_string_equal(json_string_value(json_object_get(data, "by")), "tester");
}

static void
link_that_breaks_while_a_claim_is_under_way__loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 0);
    er_task_id id = f_add(f, f_new());
    f_block(f);
    er_engine_set_slots(f->e, w->session, 1);
    f_flush(f);
    w_detach(w);
    f_unblock(f);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    w->slots = 1;
    assert_int_equal(w_attach(w, NULL, 0, NULL, 0), 0);
    struct er_held h = w_run(w);
    assert_int_equal(h.task, id);
    assert_int_equal(h.attempt, 1);
    assert_int_equal(w_end(w, h, 0), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
}

/* ---- a new engine ---- */

static void
new_engine__finds_sessions_that_go_on(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 1, false);
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    row.queue = "narrow";
    er_task_id a = f_add(f, row), b = f_add(f, row);
    struct er_held h = w_run(w);
    assert_int_equal(h.task, a);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, a), 0);
    f_close(f);
    f_open(f);
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    assert_int_equal(st.sessions, 1);
    assert_int_equal(st.running, 1);
    assert_false(st.has_worker);
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    assert_non_null(w_take(w, "cancel")); /* said again */
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0); /* its permit is taken */
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"cancel\"")), 0);
    assert_int_equal(f_get(f, a).state, ER_TASK_CANCELLED);
    assert_int_equal(w_run(w).task, b);
}

static void
new_engine__takes_up_what_waits_for_a_moment(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.run_at = f->wall + 60 * SEC;
    er_task_id id = f_add(f, row);
    f_close(f);
    f_open(f);
    struct worker *w = w_new(f, 1);
    f_pass(f, 30 * SEC);
    assert_int_equal(w_count(w, "run"), 0);
    f_pass(f, 31 * SEC);
    assert_int_equal(w_run(w).task, id);
}

/* ---- death ---- */

/* The log that a worker makes before it spawns; with an exit frame when `exit` is given.
 */
static void
make_log(struct fixture *f, struct er_held h, const char *exit)
{
    struct er_outlog log;
    assert_int_equal(er_outlog_create(&log, f->logs, h.task, h.attempt, 1000, 1000, NULL),
                     0);
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_START, f->wall, "{\"pid\":4242}"), 0);
    er_outlog_write(&log, ER_OUTLOG_STDOUT, f->wall, "hi\n", 3);
    if (exit) {
        assert_int_equal(er_outlog_note(&log, ER_OUTLOG_EXIT, f->wall, exit), 0);
    }
    er_outlog_close(&log);
}

static struct er_new_task
when_lost(enum er_on_lost on_lost)
{
    struct er_new_task row = f_new();
    row.on_lost = on_lost;
    return row;
}

static void
wait_until_gone(struct fixture *f, struct worker *w)
{
    struct er_session_live *s;
    do {
        f_settle(f);
        HASH_FIND(hh, f->e->sessions, &w->session, sizeof w->session, s);
    } while (s);
}

static void
dead_worker__leaves_what_the_logs_tell(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 6);
    er_task_id unspawned = f_add(f, when_lost(ER_ON_LOST_FAIL)),
               ended = f_add(f, when_lost(ER_ON_LOST_FAIL)),
               failed = f_add(f, when_lost(ER_ON_LOST_RUN)),
               again = f_add(f, when_lost(ER_ON_LOST_RUN)),
               fails = f_add(f, when_lost(ER_ON_LOST_FAIL)),
               holds = f_add(f, when_lost(ER_ON_LOST_HOLD));
    f_until(f, w_count(w, "run") == 6);
    make_log(f, (struct er_held){.task = ended, .attempt = 1},
             "{\"exit_code\":0,\"signal\":0}");
    make_log(f, (struct er_held){.task = failed, .attempt = 1},
             "{\"exit_code\":7,\"signal\":0}");
    make_log(f, (struct er_held){.task = again, .attempt = 1}, NULL);
    make_log(f, (struct er_held){.task = fails, .attempt = 1}, NULL);
    make_log(f, (struct er_held){.task = holds, .attempt = 1}, NULL);
    w_die(w);
    w_die(w); /* twice is once */
    wait_until_gone(f, w);

    assert_int_equal(f_get(f, unspawned).state, ER_TASK_QUEUED);
    assert_int_equal(f_get(f, unspawned).attempt, 0);
    assert_int_equal(f_get(f, ended).state, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, failed).state, ER_TASK_FAILED);
    assert_int_equal(f_get(f, failed).exit_code, 7);
    assert_int_equal(f_get(f, again).state, ER_TASK_QUEUED);
    assert_int_equal(f_get(f, again).losses, 1);
    assert_int_equal(f_get(f, again).failures, 0);
    assert_int_equal(f_get(f, fails).state, ER_TASK_FAILED);
    assert_non_null(strstr(f_get(f, fails).error_json, "\"worker-lost\""));
    assert_int_equal(f_get(f, holds).state, ER_TASK_QUEUED);
    assert_true(f_get(f, holds).held);
    assert_non_null(strstr(f_facts(f, 0), "worker-lost"));

    assert_int_equal(w_attach(w, NULL, 0, NULL, 0), ER_ELOST);
    assert_int_equal(w_end(w, (struct er_held){.task = again, .attempt = 1}, 0),
                     ER_ELOST);
    struct worker *next = w_new(f, 6);
    struct er_held h = w_run(next);
    assert_int_equal(h.task, unspawned);
    assert_int_equal(h.attempt, 1);
    h = w_run(next);
    assert_int_equal(h.task, again);
    assert_int_equal(h.attempt, 2);
    f_settle(f);
    assert_int_equal(w_count(next, "run"), 0);
}

static void
third_loss_in_a_row__fails_the_task(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, when_lost(ER_ON_LOST_RUN));
    for (int i = 1; i <= 3; i++) {
        struct worker *w = w_new(f, 1);
        struct er_held h = w_run(w);
        assert_int_equal(h.attempt, i);
        make_log(f, h, NULL);
        w_die(w);
        wait_until_gone(f, w);
        assert_int_equal(f_get(f, id).losses, i);
    }
    assert_int_equal(f_get(f, id).state, ER_TASK_FAILED);
    assert_string_equal(f_facts(f, id), "task-queued, task-started/1, task-queued/1, "
                                        "task-started/2, task-queued/2, "
                                        "task-started/3, task-failed/3");
}

static void
lost_one_that_was_to_be_cancelled_or_requeued__is(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id cancelled = f_add(f, f_new()), requeued = f_add(f, f_new());
    make_log(f, w_run(w), NULL);
    make_log(f, w_run(w), NULL);
    int rc;
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, cancelled), 0);
    f_post_change(f, ER_CHANGE_REQUEUE, requeued, true, &rc);
    f_settle(f);
    w_die(w);
    wait_until_gone(f, w);
    assert_int_equal(f_get(f, cancelled).state, ER_TASK_CANCELLED);
    struct er_task t = f_get(f, requeued);
    assert_int_equal(t.state, ER_TASK_QUEUED);
    assert_true(t.held);
    assert_int_equal(t.losses, 0);
}

static void
death_while_claims_and_ends_are_under_way__loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id ends = f_add(f, f_new());
    struct er_held h = w_run(w);
    er_task_id claimed = f_add(f, f_new());
    int report;
    f_block(f);
    w_post(w, &report, w_finished(f, h, 0, ""));
    f_flush(f); /* the end, and the claim for the slot that it leaves */
    assert_non_null(er_live_attempt_find(f->e, claimed));
    w_die(w);
    f_unblock(f);
    wait_until_gone(f, w);
    assert_int_equal(report, 0);
    assert_int_equal(f_get(f, ends).state, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, claimed).state, ER_TASK_QUEUED);
    assert_int_equal(f_get(f, claimed).attempt, 0);
    struct worker *next = w_new(f, 1);
    assert_int_equal(w_run(next).task, claimed);
}

/* Its tree is left, or cannot be looked for: it stays the dead worker's. */
static void
tree_that_is_not_gone(struct fixture *f, int answer)
{
    struct worker *w = w_new(f, 1), *other = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct worker *has = NULL;
    f_until(f, (has = w_count(w, "run") ? w : w_count(other, "run") ? other : NULL));
    make_log(f, (struct er_held){.task = id, .attempt = 1}, NULL);
    f_kills(2, answer);
    w_die(has);
    f_until(f, f_kills_left() == 1);
    f_settle(f);
    assert_int_equal(f_get(f, id).losses, 0);
    while (f_kills_left() > 0) { /* a second later it is the same */
        f_pass(f, SEC);
    }
    f_settle(f);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_int_equal(f_get(f, id).losses, 0);
    f_until(f, (f_pass(f, SEC), f_get(f, id).attempt == 2));
    wait_until_gone(f, has);
    assert_int_equal(f_get(f, id).losses, 1);
}

static void
tree_that_is_left__keeps_its_task(void **state)
{
    tree_that_is_not_gone(*state, 1);
}

static void
tree_that_cannot_be_looked_for__keeps_its_task(void **state)
{
    tree_that_is_not_gone(*state, ER_ENOMEM);
}

static void
tree_that_is_left__is_forgotten_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    (void)w_run(w);
    f_kills(1, 3);
    w_die(w);
    f_until(f, f_kills_left() == 0);
    f_settle(f);
    f_close(f);
    f_open(f); /* the next one does it */
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    w_die(w);
    wait_until_gone(f, w);
    assert_int_equal(f_get(f, id).attempt, 0);
}

static void
dead_workers_name__is_given_again(void **state)
{
    struct fixture *f = *state;
    struct worker *a = w_new(f, 1), *b = w_new(f, 1);
    w_die(a);
    wait_until_gone(f, a);
    struct worker *c = w_new(f, 1);
    assert_int_not_equal(c->session, a->session);
    struct er_session_live *s;
    HASH_FIND(hh, f->e->sessions, &c->session, sizeof c->session, s);
    assert_string_equal(s ? s->worker : "none", "w1");
    HASH_FIND(hh, f->e->sessions, &b->session, sizeof b->session, s);
    assert_string_equal(s ? s->worker : "none", "w2");
}

/* ---- workers that do not answer ---- */

static bool
is_silent(struct fixture *f, er_task_id id, const char *words)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    bool silent = er_engine_silent(f->e, id, &b);
    if (silent) {
        assert_non_null(strstr(b.data, words));
    } else {
        assert_int_equal(b.len, 0);
    }
    er_buf_fini(&b);
    return silent;
}

static struct worker *
new_pinged(struct fixture *f)
{
    struct worker *w = w_new(f, 1);
    w_detach(w);
    w->pings = true;
    assert_int_equal(w_attach(w, NULL, 0, NULL, 0), 0);
    return w;
}

static void
worker_that_does_nothing__is_told_of_until_it_answers(void **state)
{
    struct fixture *f = *state;
    struct worker *w = new_pinged(f);
    er_task_id id = f_add(f, f_new());
    (void)w_run(w);
    f_pass(f, 4 * SEC);
    assert_null(w_peek(w, "ping"));
    f_pass(f, 1 * SEC);
    assert_non_null(w_take(w, "ping"));
    f_pass(f, 4 * SEC);
    assert_false(is_silent(f, id, ""));
    f_pass(f, 1 * SEC);
    assert_true(is_silent(f, id, "worker w1 (pid 1) has not answered for 10"));
    f_pass(f, 15 * SEC);
    assert_true(is_silent(f, 0, "for 25"));
    assert_false(is_silent(f, id + 1, ""));
    assert_null(w_peek(w, "ping")); /* one is enough */
    assert_int_equal(f->e->silence_at, ER_NEVER);
    assert_int_equal(w_report(w, "{\"pong\":{}}"), 0);
    assert_false(is_silent(f, 0, ""));
    f_pass(f, 60 * SEC); /* it has the order, and may take its time */
    assert_null(w_peek(w, "ping"));
    assert_false(is_silent(f, 0, ""));
}

static void
worker_that_does_not_cancel__is_told_of(void **state)
{
    struct fixture *f = *state;
    struct worker *w = new_pinged(f);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(w_start(w, h), 0);
    f_pass(f, 60 * SEC);
    assert_null(w_peek(w, "ping")); /* it runs: nothing is waited for */
    assert_int_equal(f->e->silence_at, ER_NEVER);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    (void)w_take(w, "cancel");
    f_pass(f, 5 * SEC);
    assert_non_null(w_take(w, "ping"));
    f_pass(f, 5 * SEC);
    assert_true(is_silent(f, id, "for 10"));
    w_die(w);
    wait_until_gone(f, w);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    assert_false(is_silent(f, 0, ""));
}

static void
worker_that_does_what_it_is_told__is_never_asked(void **state)
{
    struct fixture *f = *state;
    struct worker *w = new_pinged(f);
    for (int i = 0; i < 5; i++) {
        (void)f_add(f, f_new());
        struct er_held h = w_run(w);
        f_pass(f, 3 * SEC);
        assert_int_equal(w_end(w, h, 0), 0);
        f_pass(f, 3 * SEC);
    }
    assert_null(w_peek(w, "ping"));
    assert_int_equal(f->e->silence_at, ER_NEVER);
    assert_false(is_silent(f, 0, ""));
}

/* We were stopped, or slept: its answer may be there, unread. */
static void
worker_whose_answer_was_not_read_yet__has_another_second(void **state)
{
    struct fixture *f = *state;
    struct worker *w = new_pinged(f);
    er_task_id id = f_add(f, f_new());
    (void)w_run(w);
    f_pass(f, 5 * SEC);
    assert_non_null(w_take(w, "ping"));
    f_pass(f, 600 * SEC);
    assert_false(is_silent(f, id, ""));
    f_pass(f, 1 * SEC);
    assert_true(is_silent(f, id, ""));
}

static void
worker_that_knows_no_pings__is_not_judged(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    (void)f_add(f, f_new());
    (void)w_run(w);
    f_pass(f, 60 * SEC);
    f_pass(f, 60 * SEC);
    assert_null(w_peek(w, "ping"));
    assert_false(is_silent(f, 0, ""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(report_on_what_is_not_its_own__is_lost_and_changes_nothing),
        TEST(wrong_token__is_not_that_session),
        TEST(line_that_is_not_one__is_refused_and_takes_nothing),
        TEST(worker_that_comes_back__goes_on_with_what_it_holds),
        TEST(cancelled_one_that_never_arrived__is_cancelled_with_its_reason),
        TEST_HELD(link_that_breaks_while_a_claim_is_under_way__loses_nothing),
        TEST(new_engine__finds_sessions_that_go_on),
        TEST(new_engine__takes_up_what_waits_for_a_moment),
        TEST(dead_worker__leaves_what_the_logs_tell),
        TEST(third_loss_in_a_row__fails_the_task),
        TEST(lost_one_that_was_to_be_cancelled_or_requeued__is),
        TEST_HELD(death_while_claims_and_ends_are_under_way__loses_nothing),
        TEST(dead_workers_name__is_given_again),
        TEST(tree_that_is_left__keeps_its_task),
        TEST(tree_that_cannot_be_looked_for__keeps_its_task),
        TEST(tree_that_is_left__is_forgotten_at_the_end),
        TEST(worker_that_does_nothing__is_told_of_until_it_answers),
        TEST(worker_that_does_not_cancel__is_told_of),
        TEST(worker_that_does_what_it_is_told__is_never_asked),
        TEST(worker_whose_answer_was_not_read_yet__has_another_second),
        TEST(worker_that_knows_no_pings__is_not_judged),
    };
    return RUN(tests, NULL, NULL);
}
