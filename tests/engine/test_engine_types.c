/* SPDX-License-Identifier: MIT */
/* Sessions that serve certain types: who gets what, what waits, how handlers are stopped,
 * and what becomes of them when their process dies. */
#include "engine_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char *const hash[] = {"hash", NULL}, *const both[] = {"hash", "copy", NULL},
                         *const none[] = {NULL};

static struct er_new_task
of_type(const char *type)
{
    struct er_new_task row = f_new();
    row.type = type;
    return row;
}

static bool
why_is(struct fixture *f, er_task_id id, const char *want)
{
    struct er_task t = f_get(f, id);
    struct er_buf b;
    er_buf_init(&b, 0);
    er_engine_why_queued(f->e, &t, &b, &(er_usec){0});
    bool is = strcmp(b.data, want) == 0;
    if (!is) {
        print_message("# why: %s\n", b.data);
    }
    er_buf_fini(&b);
    return is;
}

static const char *
text_of(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));
    return text ? text : "(none)";
}

/* ---- who gets what ---- */

static void
each_session__gets_what_it_serves(void **state)
{
    struct fixture *f = *state;
    f_type(f, "make", 0);
    f_handled(f, "hash");
    f_handled(f, "copy");
    struct worker *p = w_new(f, 3), *a = w_handlers(f, 3, hash),
                  *b = w_handlers(f, 3, both);
    (void)f_add(f, of_type("shell"));
    (void)f_add(f, of_type("make"));
    (void)f_add_many(f, of_type("copy"), 2);
    (void)f_add_many(f, of_type("hash"), 4);
    f_settle(f);
    assert_int_equal(w_count(p, "run"), 2);
    assert_int_equal(w_count(a, "run"), 3);
    assert_int_equal(w_count(b, "run"), 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(text_of(w_peek(a, "run"), "type"), "hash");
    }
}

static void
type_without_a_session__waits_and_holds_up_nobody(void **state)
{
    struct fixture *f = *state;
    struct er_new_task first = of_type("hash");
    first.limit_key = "k";
    first.priority = 100;
    f_handled(f, "hash");
    er_engine_limit_changed(f->e, &(struct er_limit){.key = "k", .concurrency = 1});
    er_task_id id = f_add(f, first);
    struct worker *p = w_new(f, 1), *other = w_handlers(f, 1, none);
    struct er_new_task second = f_new();
    second.limit_key = "k";
    (void)f_add_many(f, second, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(w_end(p, w_run(p), 0), 0);
    }
    assert_true(why_is(f, id, "no worker serves type 'hash' now"));
    assert_false(er_engine_is_served(f->e, "hash"));
    er_engine_set_types(f->e, other->session, hash, 1);
    assert_true(er_engine_is_served(f->e, "hash"));
    assert_int_equal(w_run(other).task, id);
}

static void
slots_of_one_kind__are_not_those_of_another(void **state)
{
    struct fixture *f = *state;
    f_handled(f, "hash");
    struct worker *p = w_new(f, 1), *h = w_handlers(f, 1, hash);
    (void)f_add_many(f, of_type("hash"), 2);
    er_task_id last = f_add(f, of_type("hash"));
    (void)f_add_many(f, f_new(), 2);
    struct er_held first = w_run(h);
    assert_int_equal(w_end(p, w_run(p), 0), 0); /* behind tasks that wait for a handler */
    (void)w_run(p);
    assert_int_equal(w_count(h, "run"), 0);
    assert_true(
        why_is(f, last, "all slots of the workers that serve type 'hash' are taken"));
    assert_int_equal(w_end(h, first, 0), 0);
    (void)w_run(h);
    er_engine_set_slots(f->e, h->session, 2);
    assert_int_equal(w_run(h).task, last);
}

static void
type_that_is_taken_away__is_given_no_more_and_what_runs_goes_on(void **state)
{
    struct fixture *f = *state;
    f_handled(f, "hash");
    struct worker *h = w_handlers(f, 2, both);
    er_task_id id = f_add(f, of_type("hash"));
    struct er_held run = w_run(h);
    er_engine_set_types(f->e, h->session, both + 1, 1);
    er_task_id next = f_add(f, of_type("hash"));
    f_settle(f);
    assert_int_equal(w_count(h, "run"), 0);
    assert_int_equal(w_end(h, run, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    struct worker *p = w_new(f, 1); /* a session of processes does not serve it either */
    f_settle(f);
    assert_int_equal(w_count(p, "run"), 0);
    f_type(f, "hash", 0); /* but a command it executes */
    assert_int_equal(w_run(p).task, next);
}

static void
session_that_is_gone__serves_no_more_and_serves_again(void **state)
{
    struct fixture *f = *state;
    f_handled(f, "hash");
    struct worker *h = w_handlers(f, 2, hash);
    er_task_id id = f_add(f, of_type("hash"));
    struct er_held run = w_run(h);
    w_detach(h);
    assert_false(er_engine_is_served(f->e, "hash"));
    er_task_id next = f_add(f, of_type("hash"));
    f_settle(f);
    assert_true(why_is(f, next, "no worker serves type 'hash' now"));
    assert_int_equal(w_attach(h, &run, 1, NULL, 0), 0);
    assert_int_equal(w_run(h).task, next);
    assert_int_equal(w_end(h, run, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
}

/* Sessions come and go for ever: nothing is left of them. */
static void
many_sessions__leave_no_pools_behind(void **state)
{
    struct fixture *f = *state;
    f_handled(f, "hash");
    er_task_id id = f_add(f, of_type("hash"));
    size_t n = 0;
    for (int i = 0; i < 30; i++) {
        struct worker *h = w_handlers(f, 1, i % 2 ? hash : both);
        struct er_held run = w_run(h);
        assert_int_equal(run.task, id);
        er_engine_set_types(f->e, h->session, none, 0); /* the next one is to have it */
        assert_int_equal(w_report(h, "%s", w_finished(f, run, 0, ",\"why\":\"requeue\"")),
                         0);
        w_die(h);
        f_settle(f);
    }
    struct er_pool *pool;
    TAILQ_FOREACH (pool, &f->e->pools, in_engine) {
        n++;
    }
    assert_true(n <= 2);
    struct er_queue_live *q = er_lanes_queue(f->e, "default");
    struct er_bay *bay;
    n = 0;
    TAILQ_FOREACH (bay, &q->bays, in_queue) {
        n++;
    }
    assert_true(n <= 2);
}

/* ---- what nobody serves ---- */

struct asked {
    char text[200];
    int n;
};

static void
on_unserved(void *ctx, const char *type)
{
    struct asked *a = ctx;
    size_t len = strlen(a->text);
    (void)snprintf(a->text + len, sizeof a->text - len, "%s ", type);
    a->n++;
}

static void
unserved_types__are_told_once_until_they_were_served(void **state)
{
    struct fixture *f = *state;
    struct asked a = {.n = 0};
    f_close(f);
    f->options.on_unserved = on_unserved;
    f->options.unserved_ctx = &a;
    f_open(f);
    f_handled(f, "hash");
    (void)f_add_many(f, of_type("hash"), 3);
    f_settle(f);
    assert_string_equal(a.text, "hash ");
    (void)f_add(f, f_new());
    (void)f_add(f, of_type("hash"));
    f_settle(f);
    assert_string_equal(a.text, "hash shell ");
    struct worker *h = w_handlers(f, 1, hash);
    (void)w_run(h);
    f_settle(f);
    assert_string_equal(a.text, "hash shell ");
    w_detach(h);
    f_settle(f);
    assert_string_equal(a.text, "hash shell hash ");
    struct worker *p = w_new(f, 1);
    assert_int_equal(w_end(p, w_run(p), 0), 0);
    w_detach(p);
    f_settle(f);
    assert_int_equal(a.n, 3); /* nothing waits for it */
    (void)f_add(f, f_new());
    f_settle(f);
    assert_string_equal(a.text, "hash shell hash shell ");
}

static void
unserved_type_in_a_paused_queue__is_told_when_it_could_run(void **state)
{
    struct fixture *f = *state;
    struct asked a = {.n = 0};
    f_close(f);
    f->options.on_unserved = on_unserved;
    f->options.unserved_ctx = &a;
    f_open(f);
    f_queue(f, "default", 0, true);
    (void)f_add(f, f_new());
    f_settle(f);
    assert_int_equal(a.n, 0);
    er_limits_pause_all(f->e, true);
    f_queue(f, "default", 0, false);
    f_settle(f);
    assert_int_equal(a.n, 0);
    er_limits_pause_all(f->e, false);
    f_settle(f);
    assert_string_equal(a.text, "shell ");
}

/* ---- stopping ---- */

/* A handler that runs. */
static struct worker *
running(struct fixture *f, er_task_id *id, struct er_held *run)
{
    f_handled(f, "hash");
    struct worker *h = w_handlers(f, 1, hash);
    *id = f_add(f, of_type("hash"));
    *run = w_run(h);
    assert_int_equal(w_start(h, *run), 0);
    return h;
}

static void
pause_of_a_handler__asks_it_to_stop_and_puts_it_back_held(void **state)
{
    struct fixture *f = *state;
    struct er_held run;
    struct er_live live;
    er_task_id id;
    struct worker *h = running(f, &id, &run);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    json_t *stop = w_take(h, "stop_task");
    assert_string_equal(text_of(stop, "why"), "pause");
    assert_true(json_number_value(json_object_get(stop, "grace_s")) > 0);
    assert_int_equal(w_count(h, "pause"), 0);
    assert_true(er_engine_live(f->e, id, &live) && live.pausing && live.asked);
    assert_int_equal(
        w_report(h, "%s",
                 w_finished(f, run, 0, ",\"why\":\"pause\",\"checkpoint\":{\"at\":3}")),
        0);
    struct er_task t = f_get(f, id);
    assert_true(t.held && t.state == ER_TASK_QUEUED && t.failures == 0);
    assert_string_equal(t.checkpoint_json, "{\"at\":3}");
    f_settle(f);
    assert_int_equal(w_count(h, "run"), 0);
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    assert_int_equal(w_run(h).attempt, 2);
}

static void
resume_before_it_has_stopped__puts_it_back_and_it_goes_on(void **state)
{
    struct fixture *f = *state;
    struct er_held run;
    er_task_id id;
    struct worker *h = running(f, &id, &run);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    (void)w_take(h, "stop_task");
    assert_int_equal(f_change(f, ER_CHANGE_RESUME, id), 0);
    assert_int_equal(w_count(h, "resume"), 0);
    assert_int_equal(w_report(h, "%s", w_finished(f, run, 0, ",\"why\":\"pause\"")), 0);
    assert_int_equal(w_run(h).attempt, 2);
}

static void
handler_that_ends_first__has_ended(void **state)
{
    struct fixture *f = *state;
    struct er_held run;
    er_task_id id;
    struct worker *h = running(f, &id, &run);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    assert_int_equal(w_end(h, run, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
}

static void
cancel_and_requeue_of_a_handler__ask_it_to_stop(void **state)
{
    struct fixture *f = *state;
    struct er_held run;
    er_task_id id;
    struct worker *h = running(f, &id, &run);
    assert_int_equal(f_change(f, ER_CHANGE_REQUEUE, id), 0);
    assert_string_equal(text_of(w_take(h, "stop_task"), "why"), "requeue");
    assert_int_equal(w_report(h, "%s", w_finished(f, run, 0, ",\"why\":\"requeue\"")), 0);
    run = w_run(h);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
    assert_string_equal(text_of(w_take(h, "stop_task"), "why"), "cancel");
    assert_int_equal(w_report(h, "%s", w_finished(f, run, 0, ",\"why\":\"cancel\"")), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_CANCELLED);
    assert_int_equal(w_count(h, "cancel"), 0);
}

static void
stop_that_was_asked_for__is_said_again_over_a_new_link(void **state)
{
    struct fixture *f = *state;
    struct er_held run;
    er_task_id id;
    struct worker *h = running(f, &id, &run);
    w_detach(h);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    assert_int_equal(w_attach(h, &run, 1, NULL, 0), 0);
    assert_string_equal(text_of(w_take(h, "stop_task"), "why"), "pause");
}

static void
on_paused(struct er_pause_request *p, int rc)
{
    *(int *)p->ctx = rc;
}

static void
switch_a_queue(struct fixture *f, bool paused)
{
    int rc = 1;
    struct er_pause_request p = {
        .queue = "default", .paused = paused, .done = on_paused, .ctx = &rc};
    er_engine_pause(f->e, &p);
    f_until(f, rc <= 0);
    assert_int_equal(rc, 0);
}

static void
switch_of_a_queue__puts_its_handlers_back(void **state)
{
    struct fixture *f = *state;
    struct er_held run;
    er_task_id id;
    struct worker *h = running(f, &id, &run);
    switch_a_queue(f, true);
    assert_string_equal(text_of(w_take(h, "stop_task"), "why"), "pause");
    assert_int_equal(w_report(h, "%s", w_finished(f, run, 0, ",\"why\":\"pause\"")), 0);
    f_settle(f);
    assert_false(f_get(f, id).held); /* it is the switch that holds it */
    assert_int_equal(w_count(h, "run"), 0);
    switch_a_queue(f, false);
    assert_int_equal(w_run(h).attempt, 2);
}

static void
program__is_told_that_its_end_is_for_a_pause(void **state)
{
    struct fixture *f = *state;
    const char *program[] = {"/bin/x"};
    struct er_type t;
    er_type_init(&t, "prog");
    t.program = program;
    t.n_program = 1;
    er_engine_type_changed(f->e, &t);
    struct worker *p = w_new(f, 1);
    er_task_id id = f_add(f, of_type("prog"));
    struct er_held run = w_run(p);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, id), 0);
    json_t *cancel = w_take(p, "cancel");
    assert_string_equal(text_of(cancel, "why"), "requeue");
    assert_string_equal(text_of(cancel, "stop"), "pause");
    assert_int_equal(w_report(p, "%s", w_finished(f, run, 143, ",\"why\":\"requeue\"")),
                     0);
    assert_true(f_get(f, id).held);
    (void)f_add(f, f_new());
    run = w_run(p); /* its slot is free */
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, run.task), 0);
    (void)w_take(p, "pause"); /* a command is stopped where it is */
}

static void
input__is_for_processes_only(void **state)
{
    struct fixture *f = *state;
    struct er_held run;
    er_task_id id;
    (void)running(f, &id, &run);
    assert_int_equal(er_engine_input(f->e, id, "x", 1, false), ER_ESTATE);
}

/* ---- a process that dies ---- */

/* What it had is written, and its session is closed. */
static void
until_gone(struct fixture *f, const struct worker *w)
{
    f_until(f, er_dispatch_find(f->e, w->session, w->token) == NULL);
}

static void
handlers_of_a_dead_process__are_lost(void **state)
{
    struct fixture *f = *state;
    f_handled(f, "hash");
    struct worker *h = w_handlers(f, 3, hash);
    struct er_new_task row = of_type("hash");
    er_task_id again = f_add(f, row);
    row.on_lost = ER_ON_LOST_FAIL;
    er_task_id fails = f_add(f, row);
    row.on_lost = ER_ON_LOST_HOLD;
    er_task_id holds = f_add(f, row);
    for (int i = 0; i < 3; i++) {
        (void)w_run(h);
    }
    w_die(h);
    until_gone(f, h);
    assert_int_equal(f_get(f, fails).state, ER_TASK_FAILED);
    struct er_task t = f_get(f, again);
    assert_true(t.state == ER_TASK_QUEUED && t.losses == 1 && !t.held);
    t = f_get(f, holds);
    assert_true(t.state == ER_TASK_QUEUED && t.losses == 1 && t.held);
    assert_string_equal(
        json_string_value(json_object_get(
            json_object_get(f_data(f, fails, ER_EVENT_TASK_FAILED), "error"), "code")),
        "worker-lost");
}

/* The host was killed, and is started again. */
static void
handlers_of_the_life_before__are_lost(void **state)
{
    struct fixture *f = *state;
    struct er_held run;
    er_task_id id;
    struct worker *h = running(f, &id, &run);
    f_close(f);
    f_open(f);
    w_die(h);
    until_gone(f, h);
    assert_int_equal(f_get(f, id).losses, 1);
    f_handled(f, "hash");
    assert_int_equal(w_run(w_handlers(f, 1, hash)).attempt, 2);
}

static void
handler_that_was_never_told__is_not_lost(void **state)
{
    struct fixture *f = *state;
    f_handled(f, "hash");
    struct worker *h = w_handlers(f, 1, hash);
    struct er_new_task row = of_type("hash");
    row.on_lost = ER_ON_LOST_FAIL;
    er_task_id id = f_add(f, row);
    (void)w_run(h);
    struct er_live_attempt *r = er_live_attempt_find(f->e, id);
    r->told = false; /* as if its line had not gone out */
    w_die(h);
    until_gone(f, h);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    assert_int_equal(f_get(f, id).losses, 0);
}

static void
handler_that_never_began__is_given_back(void **state)
{
    struct fixture *f = *state;
    f_handled(f, "hash");
    struct worker *h = w_handlers(f, 1, hash);
    er_task_id id = f_add(f, of_type("hash"));
    struct er_held run = w_run(h);
    assert_int_equal(
        w_report(h,
                 "{\"finished\":{\"task\":%lld,\"attempt\":1,\"spawned\":false,"
                 "\"why\":\"requeue\"}}",
                 (long long)run.task),
        0);
    run = w_run(h);
    struct er_task t = f_get(f, id);
    assert_true(t.failures == 0 && t.losses == 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_session__gets_what_it_serves),
        TEST(type_without_a_session__waits_and_holds_up_nobody),
        TEST(slots_of_one_kind__are_not_those_of_another),
        TEST(type_that_is_taken_away__is_given_no_more_and_what_runs_goes_on),
        TEST(session_that_is_gone__serves_no_more_and_serves_again),
        TEST(many_sessions__leave_no_pools_behind),
        TEST(unserved_types__are_told_once_until_they_were_served),
        TEST(unserved_type_in_a_paused_queue__is_told_when_it_could_run),
        TEST(pause_of_a_handler__asks_it_to_stop_and_puts_it_back_held),
        TEST(resume_before_it_has_stopped__puts_it_back_and_it_goes_on),
        TEST(handler_that_ends_first__has_ended),
        TEST(cancel_and_requeue_of_a_handler__ask_it_to_stop),
        TEST(stop_that_was_asked_for__is_said_again_over_a_new_link),
        TEST(switch_of_a_queue__puts_its_handlers_back),
        TEST(program__is_told_that_its_end_is_for_a_pause),
        TEST(input__is_for_processes_only),
        TEST(handlers_of_a_dead_process__are_lost),
        TEST(handlers_of_the_life_before__are_lost),
        TEST(handler_that_was_never_told__is_not_lost),
        TEST(handler_that_never_began__is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
