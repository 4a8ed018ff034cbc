/* SPDX-License-Identifier: MIT */
/* Stopping what runs where it is: asked for, told, reported, written; what overtakes
 * what; what a worker that comes back, a new engine, a dead worker make of it; the
 * switches. */
#include "engine_fixture.h"

#include <string.h>

#include "base/mem.h"
#include "wire/outlog.h"

static struct er_live
live(struct fixture *f, er_task_id id)
{
    struct er_live l;
    assert_true(er_engine_live(f->e, id, &l));
    return l;
}

static int
say(struct worker *w, const char *what, struct er_held h)
{
    return w_report(w, "{\"%s\":{\"task\":%lld,\"attempt\":%d}}", what, (long long)h.task,
                    h.attempt);
}

static void
done_change(struct er_change_request *c, int rc)
{
    *(int *)c->ctx = rc ? rc : c->rows[0].status;
    er_arena_free(&c->arena);
    er_free(c);
}

static int
free_slot(struct fixture *f, er_task_id id)
{
    int rc = 1;
    struct er_change_request *c = er_xzalloc(sizeof *c);
    c->kind = ER_CHANGE_PAUSE;
    c->rows = er_arena_alloc(&c->arena, sizeof *c->rows);
    assert_non_null(c->rows);
    c->rows[0].id = id;
    c->n = 1;
    c->free_slot = true;
    c->done = done_change;
    c->ctx = &rc;
    er_engine_change(f->e, c);
    f_until(f, rc <= 0);
    return rc;
}

struct pausing {
    struct er_pause_request p;
    int rc;
    size_t n_told;
    bool done;
};

static void
done_pause(struct er_pause_request *p, int rc)
{
    struct pausing *ctx = (struct pausing *)(void *)p;
    ctx->rc = rc;
    ctx->done = true;
}

/* The switch of a queue (NULL = everything); how many were told. */
static size_t
turn(struct fixture *f, const char *queue, bool paused, bool slot)
{
    struct pausing p = {
        .p = {.queue = queue, .paused = paused, .free_slot = slot, .done = done_pause}};
    er_engine_pause(f->e, &p.p);
    f_until(f, p.done);
    assert_int_equal(p.rc, 0);
    return p.p.n_told;
}

static struct er_held
paused(struct fixture *f, struct worker *w, er_task_id id)
{
    struct er_held h = w_run(w);
    assert_int_equal(h.task, id);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    (void)w_take(w, "pause");
    assert_int_equal(say(w, "paused", h), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_PAUSED);
    return h;
}

/* ---- one task ---- */

static void
pause_of_a_running_task__is_paused_when_its_worker_says_so(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "one", 1, false);
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    row.queue = "one";
    er_task_id id = f_add(f, row), next = f_add(f, row);
    struct er_held h = w_run(w);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    const json_t *line = w_take(w, "pause");
    assert_int_equal(json_integer_value(json_object_get(line, "task")), id);
    assert_int_equal(json_integer_value(json_object_get(line, "attempt")), 1);
    assert_true(live(f, id).pausing);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0); /* once more: no other line */
    assert_int_equal(w_count(w, "pause"), 0);
    assert_int_equal(say(w, "paused", h), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_PAUSED);
    assert_true(live(f, id).paused && !live(f, id).pausing);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0); /* it keeps its permit */
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    (void)w_take(w, "resume");
    assert_true(live(f, id).resuming);
    assert_int_equal(say(w, "resumed", h), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), ER_ESTATE); /* it runs */
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).attempt, 1);
    assert_string_equal(f_facts(f, id), "task-queued, task-started/1, task-paused/1, "
                                        "task-resumed/1, task-completed/1");
    assert_int_equal(w_run(w).task, next);
}

static void
pause_before_the_worker_knows_the_run__follows_the_run_line(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.env_json = "{\"A\":\"1\"}";
    struct worker *w = w_new(f, 1);
    int add, pause = 1;
    er_task_id id = 0;
    f_block(f);
    f_post_submit(f, &row, 1, &add, &id);
    f_unblock(f);
    f_post_change(f, ER_CHANGE_PAUSE, id, false, &pause);
    f_until(f, pause <= 0 && w_count(w, "run") + w_count(w, "pause") == 2);
    assert_int_equal(pause, 0);
    json_t *line;
    size_t i, run_at = 0, pause_at = 0;
    json_array_foreach(w->lines, i, line)
    {
        run_at = json_object_get(line, "run") ? i : run_at;
        pause_at = json_object_get(line, "pause") ? i : pause_at;
    }
    assert_true(run_at < pause_at);
}

static void
resume_while_the_pause_is_on_its_way__wins(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id id = f_add_many(f, f_new(), 2);
    struct er_held h = w_run(w), other = w_run(w);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id + i), 0);
        assert_int_equal(f_change(f, ER_CHANGE_RESUME, id + i), 0);
        (void)w_take(w, "pause");
        (void)w_take(w, "resume");
    }
    /* one had stopped when the resume came, the other had not */
    assert_int_equal(say(w, "paused", h), 0);
    assert_true(live(f, id).resuming);
    assert_int_equal(say(w, "resumed", h), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_false(live(f, other.task).pausing);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(w_end(w, other, 1), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, id + 1).state, ER_TASK_FAILED);
}

static void
end_that_comes_before_the_pause__counts_and_what_follows_is_held(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 3);
    struct er_new_task row = f_new();
    row.retries = 1;
    er_task_id id = f_add_many(f, row, 3);
    struct er_held h[3] = {w_run(w), w_run(w), w_run(w)};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id + i), 0);
    }
    assert_int_equal(w_end(w, h[0], 0), 0);
    assert_int_equal(w_end(w, h[1], 1), 0);
    assert_int_equal(w_report(w, "%s", w_finished(f, h[2], 1, ",\"retry_after_s\":5")),
                     0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, id + 1).state, ER_TASK_SCHEDULED);
    assert_true(f_get(f, id + 1).held);
    assert_true(f_get(f, id + 2).held);
    f_pass(f, 60 * SEC);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id + 1), 0);
    assert_int_equal(w_run(w).task, id + 1);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id + 2), 0);
    assert_int_equal(w_run(w).task, id + 2);
}

static void
pause_that_crosses_a_failure__holds_the_next_attempt(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 3;
    er_task_id id = f_add(f, row);
    for (int pause_first = 0; pause_first < 2; pause_first++) {
        struct er_held h = w_run(w);
        char *end = w_finished(f, h, 1, "");
        int pause, report;
        f_block(f);
        if (pause_first) {
            f_post_change(f, ER_CHANGE_PAUSE, id, false, &pause);
            w_post(w, &report, end);
        } else {
            w_post(w, &report, end);
            f_post_change(f, ER_CHANGE_PAUSE, id, false, &pause);
        }
        f_unblock(f);
        f_until(f, pause <= 0 && report <= 0);
        f_settle(f);
        assert_int_equal(pause, 0);
        assert_int_equal(f_get(f, id).state, ER_TASK_SCHEDULED);
        assert_true(f_get(f, id).held);
        f_pass(f, 60 * SEC);
        assert_int_equal(w_count(w, "run"), 0);
        assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    }
}

static void
pause_with_free_slot__puts_it_back_held_with_its_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new()), next = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(w_report(w,
                              "{\"progress\":{\"task\":%lld,\"attempt\":1,\"progress\":"
                              "null,\"checkpoint\":{\"at\":7}}}",
                              (long long)id),
                     0);
    assert_int_equal(free_slot(f, id), 0);
    const json_t *line = w_take(w, "cancel");
    assert_string_equal(json_string_value(json_object_get(line, "why")), "requeue");
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"requeue\"")), 0);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_QUEUED);
    assert_true(t.held);
    assert_int_equal(t.failures, 0);
    h = w_run(w);
    assert_int_equal(h.task, next);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    const json_t *run = w_take(w, "run");
    assert_int_equal(json_integer_value(json_object_get(run, "attempt")), 2);
    const json_t *checkpoint = json_object_get(run, "checkpoint");
    assert_int_equal(json_integer_value(json_object_get(checkpoint, "at")), 7);
}

static void
pause_of_one_that_has_not_started__gives_it_back_held(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    assert_int_equal(
        w_report(w, "%s", w_finished(f, h, 0, ",\"spawned\":false,\"why\":\"requeue\"")),
        0);
    struct er_task t = f_get(f, id);
    assert_true(t.held && t.state == ER_TASK_QUEUED);
    assert_int_equal(t.attempt, 0);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    assert_int_equal(w_run(w).attempt, 1);
}

static void
resume_after_requeue_with_hold__lets_it_run_again(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    int rc;
    f_post_change(f, ER_CHANGE_REQUEUE, id, true, &rc);
    f_until(f, rc <= 0);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"requeue\"")), 0);
    assert_int_equal(w_run(w).attempt, 2);
}

static void
cancel_of_a_paused_task__is_told_and_final_with_its_report(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = paused(f, w, id);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    (void)w_take(w, "cancel");
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), ER_ESTATE);
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"cancel\"")), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    assert_string_equal(f_facts(f, id),
                        "task-queued, task-started/1, task-paused/1, task-cancelled/1");
}

static void
shutdown_of_a_paused_task__keeps_it_paused(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = paused(f, w, id);
    er_engine_session_drain(f->e, w->session, true);
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"requeue\"")), 0);
    assert_true(f_get(f, id).held);
    assert_int_equal(f_get(f, id).failures, 0);
}

/* ---- coming back ---- */

static void
worker_that_comes_back__is_told_what_it_has_missed(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 3);
    er_task_id stop = f_add(f, f_new());
    struct er_held a = w_run(w);
    er_task_id go = f_add(f, f_new());
    struct er_held b = paused(f, w, go);
    er_task_id same = f_add(f, f_new());
    struct er_held c = paused(f, w, same);
    w_detach(w);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, stop), 0);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, go), 0);
    b.paused = c.paused = true;
    struct er_held held[] = {a, b, c};
    assert_int_equal(w_attach(w, held, 3, NULL, 0), 0);
    const json_t *line = w_take(w, "pause");
    assert_int_equal(json_integer_value(json_object_get(line, "task")), stop);
    line = w_take(w, "resume");
    assert_int_equal(json_integer_value(json_object_get(line, "task")), go);
    f_settle(f);
    assert_int_equal(w_count(w, "pause") + w_count(w, "resume"), 0);
    assert_int_equal(f_get(f, same).state, ER_TASK_PAUSED);
}

static void
report_whose_answer_was_lost__comes_again_and_is_one(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id id = f_add(f, f_new());
    struct er_held h = paused(f, w, id);
    w_detach(w);
    h.paused = true;
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    assert_int_equal(say(w, "paused", h), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "pause") + w_count(w, "resume"), 0);
    assert_string_equal(f_facts(f, id), "task-queued, task-started/1, task-paused/1");
}

static void
paused_task__stays_paused_over_a_new_engine(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "one", 1, false);
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    row.queue = "one";
    er_task_id id = f_add(f, row);
    (void)f_add(f, row);
    struct er_held h = paused(f, w, id);
    f_close(f);
    f_open(f);
    assert_true(live(f, id).paused);
    h.paused = true;
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "pause") + w_count(w, "resume") + w_count(w, "run"), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_PAUSED);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    (void)w_take(w, "resume");
    assert_int_equal(say(w, "resumed", h), 0);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
}

static void
new_engine__takes_over_what_the_worker_was_told_last(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id stop = f_add(f, f_new());
    struct er_held a = w_run(w);
    er_task_id go = f_add(f, f_new());
    struct er_held b = paused(f, w, go);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, stop), 0);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, go), 0);
    f_close(f); /* the worker has heard both, and could say so to nobody */
    f_open(f);
    a.paused = true;
    struct er_held held[] = {a, b};
    assert_int_equal(w_attach(w, held, 2, NULL, 0), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "pause") + w_count(w, "resume"), 0);
    assert_true(live(f, stop).pausing);
    assert_true(live(f, go).resuming);
    assert_int_equal(say(w, "paused", a), 0);
    assert_int_equal(say(w, "resumed", b), 0);
    assert_int_equal(f_get(f, stop).state, ER_TASK_PAUSED);
    assert_int_equal(f_get(f, go).state, ER_TASK_RUNNING);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, stop), 0);
    (void)w_take(w, "resume");
}

static void
worker_that_dies_with_a_paused_task__is_a_loss_and_it_runs_again(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    (void)paused(f, w, id);
    struct er_outlog log;
    assert_int_equal(er_outlog_create(&log, f->logs, id, 1, 1000, 1000, NULL), 0);
    er_outlog_close(&log);
    w_die(w);
    f_until(f, !f->e->sessions);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_QUEUED);
    assert_false(t.held);
    assert_int_equal(t.losses, 1);
    struct worker *next = w_new(f, 1);
    assert_int_equal(w_run(next).attempt, 2);
    assert_int_equal(w_count(next, "pause"), 0);
}

/* ---- what was asked outlives the engine ---- */

static void
begin_anew(struct fixture *f)
{
    f_close(f);
    f_open(f);
}

static void
requeue(struct fixture *f, er_task_id id, bool hold)
{
    int rc;
    f_post_change(f, ER_CHANGE_REQUEUE, id, hold, &rc);
    f_until(f, rc <= 0);
    assert_int_equal(rc, 0);
}

static void
pause_that_no_worker_has_heard__is_asked_again_by_a_new_engine(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id id = f_add(f, f_new()), other = f_add(f, f_new());
    struct er_held h[] = {w_run(w), w_run(w)};
    w_detach(w);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    begin_anew(f);
    assert_true(live(f, id).pausing);
    assert_true(f_get(f, id).held);
    assert_false(live(f, other).pausing);
    assert_int_equal(w_attach(w, h, 2, NULL, 0), 0);
    const json_t *line = w_take(w, "pause");
    assert_int_equal(json_integer_value(json_object_get(line, "task")), id);
    f_settle(f);
    assert_int_equal(w_count(w, "pause") + w_count(w, "resume") + w_count(w, "cancel"),
                     0);
    assert_int_equal(say(w, "paused", h[0]), 0);
    assert_string_equal(f_facts(f, id), "task-queued, task-started/1, task-paused/1");
}

static void
resume_that_no_worker_has_heard__is_asked_again_by_a_new_engine(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = paused(f, w, id);
    w_detach(w);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    begin_anew(f);
    assert_true(live(f, id).resuming);
    h.paused = true;
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    (void)w_take(w, "resume");
    assert_int_equal(say(w, "resumed", h), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_false(f_get(f, id).held);
}

static void
requeue_that_no_worker_has_heard__is_asked_again_and_holds(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id id = f_add_many(f, f_new(), 2);
    struct er_held h[] = {w_run(w), w_run(w)};
    w_detach(w);
    requeue(f, id, true);
    requeue(f, id + 1, false);
    begin_anew(f);
    assert_int_equal(w_attach(w, h, 2, NULL, 0), 0);
    for (int i = 0; i < 2; i++) {
        const json_t *line = w_take(w, "cancel");
        assert_string_equal(json_string_value(json_object_get(line, "why")), "requeue");
        assert_int_equal(
            w_report(w, "%s", w_finished(f, h[i], 143, ",\"why\":\"requeue\"")), 0);
        assert_int_equal(f_get(f, id + i).failures, 0);
    }
    assert_true(f_get(f, id).held);
    assert_int_equal(w_run(w).task, id + 1); /* the other one is not held */
}

static void
end_that_a_new_engine_is_told__is_held_as_the_old_one_was_asked(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    row.retries = 1;
    er_task_id id = f_add_many(f, row, 2);
    struct er_held h[] = {w_run(w), w_run(w)};
    requeue(f, id, true); /* heard */
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id + 1), 0);
    begin_anew(f);
    assert_int_equal(w_attach(w, NULL, 0, h, 2), 0); /* both have ended meanwhile */
    assert_int_equal(w_report(w, "%s", w_finished(f, h[0], 143, ",\"why\":\"requeue\"")),
                     0);
    assert_int_equal(w_end(w, h[1], 1), 0);
    assert_true(f_get(f, id).held && f_get(f, id).state == ER_TASK_QUEUED);
    assert_true(f_get(f, id + 1).held && f_get(f, id + 1).state == ER_TASK_SCHEDULED);
}

static void
requeue_whose_worker_dies_with_the_engine__is_no_loss(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_outlog log;
    (void)w_run(w);
    assert_int_equal(er_outlog_create(&log, f->logs, id, 1, 1000, 1000, NULL), 0);
    er_outlog_close(&log);
    requeue(f, id, true);
    begin_anew(f);
    w_die(w);
    f_until(f, !f->e->sessions);
    struct er_task t = f_get(f, id);
    assert_true(t.state == ER_TASK_QUEUED && t.held);
    assert_int_equal(t.losses, 0);
}

static void
what_was_asked_last__wins_over_a_new_engine(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 4);
    er_task_id id = f_add_many(f, f_new(), 4);
    struct er_held h[4];
    for (int i = 0; i < 4; i++) {
        h[i] = w_run(w);
    }
    w_detach(w);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0); /* undone */
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id + 1), 0); /* then put back, free */
    requeue(f, id + 1, false);
    requeue(f, id + 2, false); /* then held */
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id + 2), 0);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id + 3), 0); /* then cancelled */
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id + 3), 0);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id + 3), ER_ESTATE);
    begin_anew(f);
    assert_int_equal(w_attach(w, h, 4, NULL, 0), 0);
    static const char *const why[] = {"requeue", "requeue", "cancel"};
    for (int i = 1; i < 4; i++) {
        const json_t *line = w_take(w, "cancel");
        assert_string_equal(json_string_value(json_object_get(line, "why")), why[i - 1]);
    }
    f_settle(f);
    assert_int_equal(w_count(w, "pause") + w_count(w, "resume"), 0);
    er_engine_set_slots(f->e, w->session, 0);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(
            w_report(w, "%s", w_finished(f, h[i], 143, ",\"why\":\"requeue\"")), 0);
    }
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_false(f_get(f, id).held || f_get(f, id + 1).held);
    assert_true(f_get(f, id + 2).held);
}

static void
switch_that_no_worker_has_heard__is_asked_again(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id id = f_add_many(f, f_new(), 2);
    struct er_held h[] = {w_run(w), paused(f, w, id + 1)};
    w_detach(w);
    assert_int_equal(turn(f, NULL, true, false), 2);
    begin_anew(f);
    h[1].paused = true;
    assert_int_equal(w_attach(w, h, 2, NULL, 0), 0);
    (void)w_take(w, "pause");
    assert_int_equal(say(w, "paused", h[0]), 0);
    w_detach(w);
    assert_int_equal(turn(f, NULL, false, false), 2); /* what was paused alone, too */
    begin_anew(f);
    h[0].paused = true;
    assert_int_equal(w_attach(w, h, 2, NULL, 0), 0);
    assert_int_equal(w_count(w, "resume"), 2);
}

/* ---- switches ---- */

static void
queue_that_is_paused__stops_what_runs_there_and_starts_nothing(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "q", 3, false);
    struct worker *w = w_new(f, 8);
    struct er_new_task row = f_new();
    row.queue = "q";
    er_task_id id = f_add_many(f, row, 2), other = f_add(f, f_new());
    struct er_held h[3];
    for (int i = 0; i < 3; i++) {
        struct er_held r = w_run(w);
        h[r.task - id] = r;
    }
    assert_int_equal(turn(f, "q", true, false), 2);
    assert_int_equal(w_count(w, "pause"), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(say(w, "paused", h[i]), 0);
        assert_int_equal(f_get(f, id + i).state, ER_TASK_PAUSED);
    }
    assert_int_equal(f_get(f, other).state, ER_TASK_RUNNING);
    er_task_id later = f_add(f, row);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    f_close(f);
    f_open(f);
    h[0].paused = h[1].paused = true;
    assert_int_equal(w_attach(w, h, 3, NULL, 0), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0); /* the switch is stored */
    assert_int_equal(turn(f, "q", false, false), 2);
    assert_int_equal(w_count(w, "resume"), 2);
    assert_int_equal(w_run(w).task, later);
    struct er_gate_view v;
    assert_true(er_engine_gate(f->e, ER_GATE_QUEUE, "q", &v));
    assert_int_equal(v.concurrency, 3); /* its other settings are as they were */
}

static void
everything__is_paused_and_goes_on_but_for_queues_that_are(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 4);
    struct er_new_task row = f_new();
    row.queue = "q";
    er_task_id in_q = f_add(f, row), id = f_add(f, f_new());
    struct er_held a = w_run(w), b = w_run(w);
    assert_int_equal(turn(f, NULL, true, false), 2);
    assert_true(er_engine_all_paused(f->e));
    assert_int_equal(say(w, "paused", a), 0);
    assert_int_equal(say(w, "paused", b), 0);
    (void)f_add(f, f_new());
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(turn(f, "q", true, false), 1);
    assert_int_equal(turn(f, NULL, false, false), 1);
    const json_t *line = w_take(w, "resume");
    assert_int_equal(json_integer_value(json_object_get(line, "task")), id);
    f_settle(f);
    assert_int_equal(w_count(w, "resume"), 0);
    assert_int_equal(w_count(w, "run"), 1);
    assert_int_equal(turn(f, "q", false, false), 1);
    line = w_take(w, "resume");
    assert_int_equal(json_integer_value(json_object_get(line, "task")), in_q);
}

static void
switch_with_free_slot__puts_back_what_runs_and_holds_it_itself(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 4);
    struct er_new_task row = f_new();
    row.queue = "q";
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    assert_int_equal(turn(f, "q", true, true), 1);
    (void)w_take(w, "cancel");
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"requeue\"")), 0);
    assert_false(f_get(f, id).held);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(turn(f, "q", false, false), 0);
    assert_int_equal(w_run(w).task, id);
}

static void
shutdown_of_what_a_switch_has_paused__is_not_held(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 4);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    assert_int_equal(turn(f, NULL, true, false), 1);
    assert_int_equal(say(w, "paused", h), 0);
    f_close(f);
    f_open(f);
    h.paused = true;
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    assert_int_equal(w_report(w, "%s", w_finished(f, h, 143, ",\"why\":\"requeue\"")), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_false(f_get(f, id).held);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    (void)turn(f, NULL, false, false);
    assert_int_equal(w_run(w).task, id);
}

static void
claim_that_crosses_the_switch__is_paused_behind_its_run_line(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    int add;
    er_task_id id = 0;
    struct er_new_task row = f_new();
    struct pausing p = {.p = {.paused = true, .done = done_pause}};
    f_block(f);
    f_post_submit(f, &row, 1, &add, &id);
    f_unblock(f); /* the claim is posted, or on its way, or back */
    er_engine_pause(f->e, &p.p);
    f_until(f, p.done);
    f_settle(f);
    if (w_count(w, "run") == 1) {
        assert_int_equal(w_count(w, "pause"), 1);
    } else {
        assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pause_of_a_running_task__is_paused_when_its_worker_says_so),
        TEST_HELD(pause_before_the_worker_knows_the_run__follows_the_run_line),
        TEST(resume_while_the_pause_is_on_its_way__wins),
        TEST(end_that_comes_before_the_pause__counts_and_what_follows_is_held),
        TEST_HELD(pause_that_crosses_a_failure__holds_the_next_attempt),
        TEST(pause_with_free_slot__puts_it_back_held_with_its_checkpoint),
        TEST(pause_of_one_that_has_not_started__gives_it_back_held),
        TEST(resume_after_requeue_with_hold__lets_it_run_again),
        TEST(cancel_of_a_paused_task__is_told_and_final_with_its_report),
        TEST(shutdown_of_a_paused_task__keeps_it_paused),
        TEST(worker_that_comes_back__is_told_what_it_has_missed),
        TEST(report_whose_answer_was_lost__comes_again_and_is_one),
        TEST(paused_task__stays_paused_over_a_new_engine),
        TEST(new_engine__takes_over_what_the_worker_was_told_last),
        TEST(worker_that_dies_with_a_paused_task__is_a_loss_and_it_runs_again),
        TEST(pause_that_no_worker_has_heard__is_asked_again_by_a_new_engine),
        TEST(resume_that_no_worker_has_heard__is_asked_again_by_a_new_engine),
        TEST(requeue_that_no_worker_has_heard__is_asked_again_and_holds),
        TEST(end_that_a_new_engine_is_told__is_held_as_the_old_one_was_asked),
        TEST(requeue_whose_worker_dies_with_the_engine__is_no_loss),
        TEST(what_was_asked_last__wins_over_a_new_engine),
        TEST(switch_that_no_worker_has_heard__is_asked_again),
        TEST(queue_that_is_paused__stops_what_runs_there_and_starts_nothing),
        TEST(everything__is_paused_and_goes_on_but_for_queues_that_are),
        TEST(switch_with_free_slot__puts_back_what_runs_and_holds_it_itself),
        TEST(shutdown_of_what_a_switch_has_paused__is_not_held),
        TEST_HELD(claim_that_crosses_the_switch__is_paused_behind_its_run_line),
    };
    return RUN(tests, NULL, NULL);
}
