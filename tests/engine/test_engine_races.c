/* SPDX-License-Identifier: MIT */
/* Races by the thousand: two things happen to one task, a few turns of the loop apart, in
 * either order. Whatever comes first, one rule decides, and each promise that was
 * answered is kept. TEST_SEED: another run. */
#include "engine_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "wire/outlog.h"

#define ROUNDS 500

static uint64_t seed;

static unsigned
below(unsigned n)
{
    return (unsigned)(er_rand_next(&seed) % n);
}

/* A few turns, or none: what was posted may be anywhere on its way. */
static void
some_turns(struct fixture *f)
{
    if (below(8) == 0) {
        f_settle(f); /* it has come back */
    }
    for (unsigned i = below(4); i > 0; i--) {
        f_flush(f);
    }
}

/* Final events of a task since the round began. */
struct count_query {
    struct er_query q;
    struct er_fact_filter filter;
    size_t n;
    bool done;
};

static void
run_count(struct er_query *q, struct er_store_reader *r)
{
    struct count_query *c = (struct count_query *)(void *)q;
    struct er_fact *facts;
    int64_t last;
    q->rc = er_store_facts(r, &c->filter, &q->arena, &facts, &c->n, &last);
}

static void
done_count(struct er_query *q)
{
    ((struct count_query *)(void *)q)->done = true;
}

static int64_t round_began;

static size_t
finals(struct fixture *f, er_task_id id)
{
    struct count_query c = {.filter = {.since = round_began,
                                       .task = id,
                                       .events = 1ull << ER_EVENT_TASK_COMPLETED |
                                                 1ull << ER_EVENT_TASK_FAILED |
                                                 1ull << ER_EVENT_TASK_CANCELLED,
                                       .limit = 10}};
    c.q.run = run_count;
    c.q.done = done_count;
    er_engine_query(f->e, &c.q);
    f_until(f, c.done);
    assert_int_equal(c.q.rc, 0);
    er_arena_free(&c.q.arena);
    return c.n;
}

/* The worker does as it is told about what it holds. */
static void
obey_cancel(struct worker *w, struct er_held h, int *rc)
{
    const json_t *line = w_peek(w, "cancel");
    if (line && json_integer_value(json_object_get(line, "task")) == h.task) {
        w_post(w, rc, w_finished(w->f, h, 143, ",\"why\":\"cancel\""));
    }
}

/* ---- cancel ---- */

static void
cancel_against_an_end__is_final_once_and_never_tried_again(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    unsigned completed = 0, cancelled = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        round_began = er_engine_last_seq(f->e);
        struct er_new_task row = f_new();
        row.retries = (int)below(2);
        er_task_id id = f_add(f, row);
        struct er_held h = w_run(w);
        int exit_code = (int)below(2), cancel = 1, end = 1;
        char *line = w_finished(f, h, exit_code, "");
        if (below(2)) {
            f_post_change(f, ER_CHANGE_CANCEL, id, false, &cancel);
            some_turns(f);
            w_post(w, &end, line);
        } else {
            w_post(w, &end, line);
            some_turns(f);
            f_post_change(f, ER_CHANGE_CANCEL, id, false, &cancel);
        }
        f_until(f, cancel <= 0 && end <= 0);
        f_settle(f);
        while (w_peek(w, "cancel")) {
        }
        struct er_task t = f_get(f, id);
        assert_int_equal(end, 0);
        assert_int_equal(w->n_lost, 0);
        assert_true(er_task_state_is_final(t.state));
        assert_int_equal(finals(f, id), 1);
        if (cancel == 0) { /* promised */
            assert_true(t.state == ER_TASK_CANCELLED ||
                        (t.state == ER_TASK_COMPLETED && exit_code == 0));
        } else {
            assert_int_equal(cancel, ER_ESTATE);
            assert_int_equal(t.state, exit_code ? ER_TASK_FAILED : ER_TASK_COMPLETED);
        }
        completed += t.state == ER_TASK_COMPLETED;
        cancelled += t.state == ER_TASK_CANCELLED;
    }
    assert_true(completed > 0 && cancelled > 0);
}

static void
cancel_of_one_that_waits_for_a_slot__leaves_the_slot_to_the_next(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    unsigned before = 0, after = 0;
    struct er_new_task row = f_new();
    row.queue = "one";
    f_queue(f, "one", 1, false);
    for (unsigned i = 0; i < ROUNDS; i++) {
        round_began = er_engine_last_seq(f->e);
        er_task_id id = f_add_many(f, row, 3);
        struct er_held h = w_run(w), late;
        int cancel = 1, end = 1, gone = 0;
        char *line = w_finished(f, h, 0, "");
        bool first = below(2);
        if (first) {
            f_post_change(f, ER_CHANGE_CANCEL, id + 1, false, &cancel);
            some_turns(f);
        }
        w_post(w, &end, line);
        some_turns(f);
        if (!first) {
            f_post_change(f, ER_CHANGE_CANCEL, id + 1, false, &cancel);
        }
        f_until(f, cancel <= 0 && end <= 0);
        f_settle(f);
        assert_int_equal(cancel, 0);
        assert_true(w_has_run(w, &late));
        if (late.task == id + 1) {
            assert_int_equal(w_count(w, "cancel"), 1);
            obey_cancel(w, late, &gone);
            f_until(f, gone <= 0);
            late = w_run(w);
            after++;
        } else {
            before++;
        }
        assert_int_equal(late.task, id + 2);
        assert_int_equal(w_end(w, late, 0), 0);
        assert_int_equal(f_get(f, id + 1).state, ER_TASK_CANCELLED);
        assert_int_equal(finals(f, id + 1), 1);
        assert_int_equal(w_count(w, "run"), 0);
    }
    assert_true(before > 0 && after > 0);
}

/* ---- pause ---- */

static void
pause_against_an_end__ends_or_holds_what_follows(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    unsigned refused = 0, held = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        round_began = er_engine_last_seq(f->e);
        struct er_new_task row = f_new();
        row.retries = 1;
        er_task_id id = f_add(f, row);
        struct er_held h = w_run(w);
        int exit_code = (int)below(2), pause = 1, end = 1;
        char *line = w_finished(f, h, exit_code, "");
        bool first = below(2);
        if (first) {
            f_post_change(f, ER_CHANGE_PAUSE, id, false, &pause);
            some_turns(f);
        }
        w_post(w, &end, line);
        some_turns(f);
        if (!first) {
            f_post_change(f, ER_CHANGE_PAUSE, id, false, &pause);
        }
        f_until(f, pause <= 0 && end <= 0);
        f_settle(f);
        while (w_peek(w, "pause")) {
        }
        struct er_task t = f_get(f, id);
        assert_int_equal(end, 0);
        assert_int_equal(t.state, exit_code ? ER_TASK_SCHEDULED : ER_TASK_COMPLETED);
        if (exit_code) {
            assert_int_equal(pause, 0); /* it runs, or it waits: both can be paused */
            assert_true(t.held);
            assert_int_equal(f_change(f, ER_CHANGE_CANCEL, id), 0);
        } else {
            assert_false(t.held);
        }
        refused += pause == ER_ESTATE;
        held += t.held;
        assert_int_equal(finals(f, id), 1);
    }
    assert_true(refused > 0 && held > 0);
}

/* A worker that works off its orders one by one, when it gets to it, as the protocol
 * says: the last order wins; what it has done it says. */
struct slow {
    struct worker *w;
    struct er_held h;
    bool stopped;
    int rc; /* of its report */
};

static void
work_on(struct slow *s)
{
    json_t *line;
    size_t i;
    if (s->rc > 0) {
        return; /* one report at a time */
    }
    (void)w_count(s->w, "pause"); /* reads the link */
    json_array_foreach(s->w->lines, i, line)
    {
        bool pause = json_object_get(line, "pause") != NULL;
        if (!pause && !json_object_get(line, "resume")) {
            continue;
        }
        (void)json_array_remove(s->w->lines, i);
        s->stopped = pause;
        char *text = er_xasprintf("{\"%s\":{\"task\":%lld,\"attempt\":%d}}\n",
                                  pause ? "paused" : "resumed", (long long)s->h.task,
                                  s->h.attempt);
        w_post(s->w, &s->rc, text);
        er_free(text);
        return;
    }
}

static void
pauses_and_resumes__end_as_the_last_one_said(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    unsigned ended_paused = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        round_began = er_engine_last_seq(f->e);
        er_task_id id = f_add(f, f_new());
        struct slow s = {.w = w, .h = w_run(w)};
        int rc[8];
        bool last = false;
        unsigned n = 1 + below(8);
        for (unsigned k = 0; k < n; k++) {
            last = below(2);
            f_post_change(f, last ? ER_CHANGE_PAUSE : ER_CHANGE_RESUME, id, false,
                          &rc[k]);
            some_turns(f);
            if (below(2)) {
                work_on(&s);
            }
        }
        f_until(f, rc[n - 1] <= 0);
        do {
            work_on(&s);
            f_until(f, s.rc <= 0);
            f_settle(f);
        } while (w_count(w, "pause") + w_count(w, "resume") > 0);
        struct er_live live;
        assert_true(er_engine_live(f->e, id, &live));
        assert_false(live.pausing || live.resuming);
        assert_true(live.paused == last);
        assert_true(s.stopped == last);
        assert_int_equal(f_get(f, id).state, last ? ER_TASK_PAUSED : ER_TASK_RUNNING);
        ended_paused += last;
        assert_int_equal(w_end(w, s.h, 0), 0);
        assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    }
    assert_true(ended_paused > 0 && ended_paused < ROUNDS);
}

/* ---- claims ---- */

struct edit {
    struct er_change_request c;
    struct er_change row;
    int *out;
};

static void
done_edit(struct er_change_request *c, int rc)
{
    struct edit *e = (struct edit *)(void *)c;
    *e->out = rc ? rc : e->row.status;
    er_arena_free(&c->arena);
    er_free(e);
}

static void
post_edit(struct fixture *f, er_task_id id, const char *queue, int *out)
{
    struct edit *e = er_xzalloc(sizeof *e);
    e->row.id = id;
    e->c.kind = ER_CHANGE_EDIT;
    e->c.rows = &e->row;
    e->c.n = 1;
    e->c.edit.queue = queue;
    e->c.done = done_edit;
    e->out = out;
    *out = 1;
    er_engine_change(f->e, &e->c);
}

/* It moves between lanes while it is claimed, so that it stands in several windows. */
static void
two_claims_of_one_task__are_one_attempt(void **state)
{
    struct fixture *f = *state;
    struct worker *w[2] = {w_new(f, 1), w_new(f, 1)};
    static const char *const queues[] = {"a", "b", "c"};
    unsigned moved = 0, too_late = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        round_began = er_engine_last_seq(f->e);
        struct er_new_task row = f_new();
        row.held = true;
        er_task_id id = f_add(f, row);
        int edits[4], resume = 1;
        unsigned n = 1 + below(4), runs = 0;
        f_post_change(f, ER_CHANGE_RESUME, id, false, &resume);
        for (unsigned k = 0; k < n; k++) {
            some_turns(f);
            post_edit(f, id, queues[below(3)], &edits[k]);
        }
        f_until(f, edits[n - 1] <= 0);
        f_settle(f);
        struct er_held h, seen;
        struct worker *has = NULL;
        for (int k = 0; k < 2; k++) {
            while (w_has_run(w[k], &seen)) {
                has = w[k];
                h = seen;
                runs++;
            }
        }
        assert_int_equal(resume, 0);
        assert_int_equal(runs, 1);
        assert_int_equal(h.task, id);
        assert_int_equal(h.attempt, 1);
        assert_int_equal(w_end(has, h, 0), 0);
        assert_int_equal(has->n_lost, 0);
        assert_int_equal(finals(f, id), 1);
        for (unsigned k = 0; k < n; k++) {
            moved += edits[k] == 0;
            too_late += edits[k] == ER_ESTATE;
        }
    }
    assert_true(moved > 0 && too_late > 0);
}

/* ---- a session that was declared dead ---- */

static void
late_end_of_a_dead_session__is_refused(void **state)
{
    struct fixture *f = *state;
    unsigned taken = 0, refused = 0;
    struct worker *next = w_new(f, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        round_began = er_engine_last_seq(f->e);
        struct worker *w = w_new(f, 1);
        er_task_id id = f_add(f, f_new());
        struct er_held h = w_run(w), again;
        struct er_outlog log;
        if (below(2)) { /* its process was there; else the attempt is given back */
            assert_int_equal(er_outlog_create(&log, f->logs, id, 1, 1000, 1000, NULL), 0);
            er_outlog_close(&log);
        }
        char *line = w_finished(f, h, 0, "");
        int end = 1;
        bool early = below(2);
        if (early) {
            w_post(w, &end, line);
            some_turns(f);
        }
        w_die(w);
        if (!early) {
            some_turns(f);
            w_post(w, &end, line);
        }
        f_until(f, end <= 0 && HASH_COUNT(f->e->sessions) == 1);
        w_post(w, &end, line); /* frozen, and back when all is over */
        assert_int_equal(end, ER_ELOST);
        if (f_get(f, id).state == ER_TASK_COMPLETED) {
            assert_true(early);
            taken++;
        } else {
            refused++;
            er_engine_set_slots(f->e, next->session, 1);
            again = w_run(next);
            assert_int_equal(again.task, id);
            w_post(w, &end, line); /* and while the next attempt runs */
            assert_int_equal(end, ER_ELOST);
            assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
            assert_int_equal(w_end(next, again, 0), 0);
            assert_int_equal(next->n_lost, 0);
            er_engine_set_slots(f->e, next->session, 0);
            assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
        }
        assert_int_equal(finals(f, id), 1);
    }
    assert_true(taken > 0 && refused > 0);
}

static int
print_seed(void **state)
{
    (void)state;
    const char *given = getenv("TEST_SEED");
    seed = given ? strtoull(given, NULL, 10) : 1;
    printf("# seed %llu, %d rounds each\n", (unsigned long long)seed, ROUNDS);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cancel_against_an_end__is_final_once_and_never_tried_again),
        TEST(cancel_of_one_that_waits_for_a_slot__leaves_the_slot_to_the_next),
        TEST(pause_against_an_end__ends_or_holds_what_follows),
        TEST(pauses_and_resumes__end_as_the_last_one_said),
        TEST(two_claims_of_one_task__are_one_attempt),
        TEST(late_end_of_a_dead_session__is_refused),
    };
    return cmocka_run_group_tests(tests, print_seed, NULL);
}
