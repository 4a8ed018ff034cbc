/* SPDX-License-Identifier: MIT */
/* The rules of lib/bus.h for threads and callbacks: who may do what inside a callback,
 * how a subscription ends, and that one that misbehaves stops nobody. Threads meet in
 * counters (struct meeting); nothing here waits for a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "bus_fixture.h"

struct test {
    struct fixture f;
    struct er_bus *bus;
};

static int
setup(void **state)
{
    struct test *t = calloc(1, sizeof *t);
    t->f.first = 1;
    t->f.cursor_seq = -1;
    struct er_bus_options o = fixture_options(&t->f);
    *state = t;
    int rc = er_bus_new(&o, &t->f.bus);
    t->bus = t->f.bus;
    return rc;
}

static int
teardown(void **state)
{
    struct test *t = *state;
    er_bus_free(t->bus);
    free(t);
    return 0;
}

/* One subscriber that does something in its callback. */
struct actor {
    struct er_bus *bus;
    struct er_bus_sub *_Atomic sub;
    struct er_bus_sub *other;
    void (*act)(struct actor *a, const struct er_bus_event *ev);
    struct meeting meeting; /* comes to it at the end of each call */
    struct meeting *begun;  /* and to this at its beginning */
    struct meeting *until;  /* then waits here for `until_n` */
    int until_n;
    int64_t seen[64];
    _Atomic int calls, done;
    _Atomic int ended;
    int rc;
};

static void
on_act(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct actor *a = ctx;
    int n = atomic_fetch_add(&a->calls, 1);
    a->sub = sub;
    if (a->begun) {
        meeting_come(a->begun);
    }
    if (a->until) {
        meeting_wait(a->until, a->until_n);
    }
    if (n < 64 && ev->len == sizeof(int64_t)) {
        memcpy(&a->seen[n], ev->data, sizeof(int64_t));
    }
    if (a->act) {
        a->act(a, ev);
    }
    atomic_fetch_add(&a->done, 1);
    meeting_come(&a->meeting);
}

static void
on_end(void *ctx)
{
    struct actor *a = ctx;
    atomic_fetch_add(&a->ended, 1);
}

static struct er_bus_sub *
act(struct test *t, struct actor *a, enum er_bus_way way, struct er_bus_filter filter)
{
    struct er_bus_subscription s = {
        .way = way, .fn = on_act, .ctx = a, .ended = on_end, .filter = filter};
    struct er_err err;
    struct er_bus_sub *sub = NULL;
    meeting_init(&a->meeting);
    a->bus = t->bus;
    assert_int_equal(er_bus_subscribe(t->bus, &s, &sub, &err), 0);
    return sub;
}

static void
publish(struct test *t, int64_t value)
{
    assert_int_equal(fixture_sample(&t->f, "n", value + 1, value), 0);
}

/* At the end of a case whose actors are its own variables. */
static void
end(struct test *t)
{
    er_bus_free(t->bus);
    t->bus = NULL;
}

/* ---- on a thread of its own ---- */

static void
bus_life__a_thread_of_its_own_gets_all_in_order(void **state)
{
    struct test *t = *state;
    struct actor a = {0};
    struct er_bus_sub *sub = act(t, &a, ER_BUS_THREAD, (struct er_bus_filter){0});
    for (int i = 0; i < 60; i++) {
        publish(t, i);
        if (i % 20 == 0) {
            meeting_wait(&a.meeting, i + 1); /* it may sleep now */
        }
    }
    meeting_wait(&a.meeting, 60);
    assert_int_equal(er_bus_unsubscribe(sub), 0);
    assert_int_equal(a.ended, 1);
    assert_int_equal(a.calls, 60);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(a.seen[i], i);
    }
    end(t);
}

static void
bus_life__a_thread_resumes_and_retries_a_failing_source(void **state)
{
    struct test *t = *state;
    struct actor a = {0};
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
    }
    t->f.fail_reads = 1;
    meeting_init(&a.meeting);
    struct er_bus_subscription s = {
        .way = ER_BUS_THREAD, .fn = on_act, .ctx = &a, .cursor = "mine", .resume = true};
    struct er_bus_sub *sub;
    assert_int_equal(er_bus_subscribe(t->bus, &s, &sub, NULL), 0);
    meeting_wait(&a.meeting, 10);
    assert_int_equal(er_bus_unsubscribe(sub), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(a.seen[i], i + 1);
    }
    assert_int_equal(t->f.cursor_seq, 10);
    end(t);
}

/* ---- inside callbacks ---- */

static void
publish_two(struct actor *a, const struct er_bus_event *ev)
{
    int64_t value;
    memcpy(&value, ev->data, sizeof value);
    if (value < 10) {
        for (int64_t more = value * 10; more < value * 10 + 2; more++) {
            struct er_bus_event e = {
                .name = "n", .kind = ER_BUS_SAMPLE, .data = &more, .len = sizeof more};
            a->rc |= er_bus_publish(a->bus, &e);
        }
    }
}

static void
bus_life__what_an_inline_callback_publishes_comes_behind_for_all(void **state)
{
    struct test *t = *state;
    struct actor before = {0}, maker = {.act = publish_two}, behind = {0}, turner = {0};
    act(t, &before, ER_BUS_INLINE, (struct er_bus_filter){0});
    act(t, &maker, ER_BUS_INLINE, (struct er_bus_filter){0});
    act(t, &behind, ER_BUS_INLINE, (struct er_bus_filter){0});
    struct er_bus_sub *turn = act(t, &turner, ER_BUS_TURN, (struct er_bus_filter){0});
    int64_t data[2] = {1, 2};
    struct er_bus_event evs[2] = {
        {.name = "n", .kind = ER_BUS_SAMPLE, .data = &data[0], .len = 8},
        {.name = "n", .kind = ER_BUS_SAMPLE, .data = &data[1], .len = 8}};
    assert_int_equal(er_bus_publish_many(t->bus, evs, 2), 0);
    assert_int_equal(er_bus_turn(turn, 0), 6);
    const int64_t all[] = {1, 10, 11, 2, 20, 21};
    const struct actor *each[] = {&before, &maker, &behind, &turner};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(each[i]->calls, 6);
        assert_memory_equal(each[i]->seen, all, sizeof all);
    }
    assert_int_equal(maker.rc, 0);
    end(t);
}

static void
bus_life__a_turn_may_publish_to_itself(void **state)
{
    struct test *t = *state;
    struct actor a = {.act = publish_two};
    struct er_bus_sub *sub = act(t, &a, ER_BUS_TURN, (struct er_bus_filter){0});
    publish(t, 1);
    assert_int_equal(er_bus_turn(sub, 0), 3);
    assert_int_equal(a.seen[2], 11);
    end(t);
}

static void
turn_again(struct actor *a, const struct er_bus_event *ev)
{
    (void)ev;
    a->rc = er_bus_turn(a->sub, 0);
}

static void
bus_life__a_turn_inside_itself_is_busy(void **state)
{
    struct test *t = *state;
    struct actor a = {.act = turn_again};
    struct er_bus_sub *sub = act(t, &a, ER_BUS_TURN, (struct er_bus_filter){0});
    publish(t, 1);
    assert_int_equal(er_bus_turn(sub, 0), 1);
    assert_int_equal(a.rc, ER_EBUSY);
    end(t);
}

static void
end_itself(struct actor *a, const struct er_bus_event *ev)
{
    (void)ev;
    a->rc = er_bus_unsubscribe(a->sub);
    if (er_bus_unsubscribe(a->sub) != ER_EINVALID) {
        a->rc = 1;
    }
    assert_int_equal(a->ended, 0); /* not before it has returned */
}

static void
bus_life__a_subscriber_may_end_itself_in_its_callback(void **state)
{
    struct test *t = *state;
    struct actor in = {.act = end_itself}, turn = in, thread = in;
    act(t, &in, ER_BUS_INLINE, (struct er_bus_filter){0});
    struct er_bus_sub *sub = act(t, &turn, ER_BUS_TURN, (struct er_bus_filter){0});
    act(t, &thread, ER_BUS_THREAD, (struct er_bus_filter){0});
    for (int i = 0; i < 3; i++) {
        publish(t, i);
    }
    assert_int_equal(er_bus_turn(sub, 0), 1); /* the handle is gone now */
    meeting_wait(&thread.meeting, 1);
    publish(t, 4);
    end(t);
    const struct actor *each[] = {&in, &turn, &thread};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(each[i]->rc, 0);
        assert_int_equal(each[i]->calls, 1);
        assert_int_equal(each[i]->ended, 1);
    }
}

static void
end_other(struct actor *a, const struct er_bus_event *ev)
{
    (void)ev;
    if (a->other) {
        a->rc = er_bus_unsubscribe(a->other);
        a->other = NULL;
    }
}

static void
bus_life__a_callback_may_end_others(void **state)
{
    struct test *t = *state;
    struct actor first = {.act = end_other}, in = {0}, turn = {0}, thread = {0};
    struct actor last = {.act = end_other};
    act(t, &first, ER_BUS_INLINE, (struct er_bus_filter){0});
    first.other = act(t, &in, ER_BUS_INLINE, (struct er_bus_filter){0});
    struct er_bus_sub *gone = act(t, &turn, ER_BUS_TURN, (struct er_bus_filter){0});
    last.other = act(t, &thread, ER_BUS_THREAD, (struct er_bus_filter){.task = 99});
    act(t, &last, ER_BUS_INLINE, (struct er_bus_filter){0});
    publish(t, 1);
    assert_int_equal(first.rc + last.rc, 0);
    assert_int_equal(in.calls, 0); /* it stood behind who has ended it */
    assert_int_equal(in.ended, 1);
    assert_int_equal(thread.calls, 0);
    assert_int_equal(thread.ended, 1);
    assert_int_equal(er_bus_unsubscribe(gone), 0);
    assert_int_equal(turn.ended, 1);
    end(t);
}

static void
subscribe_more(struct actor *a, const struct er_bus_event *ev)
{
    if (a->other) {
        struct actor *more = (struct actor *)(void *)a->other;
        a->other = NULL;
        struct er_bus_subscription s = {.way = ER_BUS_INLINE, .fn = on_act, .ctx = more};
        struct er_bus_sub *sub;
        a->rc = er_bus_subscribe(a->bus, &s, &sub, NULL);
        publish_two(a, ev);
    }
}

static void
bus_life__one_that_subscribes_in_a_callback_gets_what_comes_after(void **state)
{
    struct test *t = *state;
    struct actor more = {0}, first = {.act = subscribe_more};
    meeting_init(&more.meeting);
    first.other = (struct er_bus_sub *)(void *)&more;
    act(t, &first, ER_BUS_INLINE, (struct er_bus_filter){0});
    publish(t, 1);
    assert_int_equal(first.rc, 0);
    assert_int_equal(more.calls, 2);
    assert_int_equal(more.seen[0], 10);
    assert_int_equal(more.seen[1], 11);
    end(t);
}

/* ---- ends and threads ---- */

struct publisher {
    struct test *t;
    int64_t value;
    pthread_t thread;
};

static void *
publish_one(void *ctx)
{
    struct publisher *p = ctx;
    publish(p->t, p->value);
    return NULL;
}

struct ender {
    struct er_bus_sub *sub;
    struct actor *actor;
    int done_then;
    int rc;
};

static void *
end_one(void *ctx)
{
    struct ender *e = ctx;
    e->rc = er_bus_unsubscribe(e->sub);
    e->done_then = e->actor->done;
    return NULL;
}

/* The callback is running, somebody ends it meanwhile, and is not done before it is. */
static void
ends_after(struct test *t, enum er_bus_way way)
{
    struct meeting begun, go;
    meeting_init(&begun);
    meeting_init(&go);
    struct actor a = {.begun = &begun, .until = &go, .until_n = 1};
    struct publisher p = {.t = t, .value = 1};
    struct ender e = {.actor = &a};
    pthread_t thread;
    e.sub = act(t, &a, way, (struct er_bus_filter){0});
    assert_int_equal(pthread_create(&p.thread, NULL, publish_one, &p), 0);
    meeting_wait(&begun, 1);
    assert_int_equal(pthread_create(&thread, NULL, end_one, &e), 0);
    struct er_bus_stats s;
    er_bus_stats(t->bus, &s); /* others go on */
    assert_int_equal(a.ended, 0);
    meeting_come(&go);
    pthread_join(thread, NULL);
    pthread_join(p.thread, NULL);
    assert_int_equal(e.rc, 0);
    assert_int_equal(e.done_then, 1);
    assert_int_equal(a.ended, 1);
    publish(t, 2);
    assert_int_equal(a.calls, 1);
}

static void
bus_life__unsubscribe_waits_for_the_callback_that_runs(void **state)
{
    ends_after(*state, ER_BUS_THREAD);
    ends_after(*state, ER_BUS_INLINE);
}

static void
bus_life__an_inline_one_is_over_when_all_its_publishers_have_left_it(void **state)
{
    struct test *t = *state;
    struct meeting begun, go;
    meeting_init(&begun);
    meeting_init(&go);
    struct actor a = {.begun = &begun, .until = &go, .until_n = 1};
    struct publisher p = {.t = t, .value = 1}, q = {.t = t, .value = 2};
    act(t, &a, ER_BUS_INLINE, (struct er_bus_filter){0});
    assert_int_equal(pthread_create(&p.thread, NULL, publish_one, &p), 0);
    assert_int_equal(pthread_create(&q.thread, NULL, publish_one, &q), 0);
    meeting_wait(&begun, 2); /* both are in the callback */
    struct ender e = {.sub = a.sub, .actor = &a};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, end_one, &e), 0);
    meeting_come(&go);
    pthread_join(thread, NULL);
    assert_int_equal(e.rc, 0);
    assert_int_equal(e.done_then, 2);
    assert_int_equal(a.ended, 1);
    pthread_join(p.thread, NULL);
    pthread_join(q.thread, NULL);
    end(t);
}

static void
bus_life__two_that_end_each_other_do_not_wait_for_ever(void **state)
{
    struct test *t = *state;
    for (int round = 0; round < 50; round++) {
        struct meeting both;
        meeting_init(&both);
        struct actor a = {.act = end_other, .begun = &both, .until = &both, .until_n = 2};
        struct actor b = a;
        b.other = act(t, &a, ER_BUS_THREAD, (struct er_bus_filter){0});
        struct er_bus_sub *sub = act(t, &b, ER_BUS_THREAD, (struct er_bus_filter){0});
        a.other = sub;
        publish(t, 1);
        meeting_wait(&a.meeting, 1);
        meeting_wait(&b.meeting, 1);
        assert_true((a.rc == ER_EBUSY) != (b.rc == ER_EBUSY));
        assert_true(a.rc == 0 || b.rc == 0);
        er_bus_free(t->bus);
        assert_int_equal(a.ended + b.ended, 2);
        struct er_bus_options o = fixture_options(&t->f);
        assert_int_equal(er_bus_new(&o, &t->f.bus), 0);
        t->bus = t->f.bus;
    }
    end(t);
}

static void
bus_life__a_stuck_subscriber_stops_nobody(void **state)
{
    struct test *t = *state;
    struct meeting begun, go;
    meeting_init(&begun);
    meeting_init(&go);
    struct actor stuck = {.begun = &begun, .until = &go, .until_n = 1}, well = {0},
                 turn = {0};
    struct er_bus_sub *bad = act(t, &stuck, ER_BUS_THREAD, (struct er_bus_filter){0});
    struct er_bus_sub *good = act(t, &well, ER_BUS_THREAD, (struct er_bus_filter){0});
    struct er_bus_sub *turner = act(t, &turn, ER_BUS_TURN, (struct er_bus_filter){0});
    publish(t, 0);
    meeting_wait(&begun, 1);
    for (int i = 1; i < 5000; i++) { /* more than its buffer holds */
        publish(t, i % 50);
        meeting_wait(&well.meeting, i + 1);
        assert_int_equal(er_bus_turn(turner, 0), i == 1 ? 2 : 1);
    }
    struct er_bus_stats s;
    er_bus_sub_stats(bad, &s);
    assert_true(s.coalesced > 1000);
    assert_int_equal(s.delivered, 0);
    assert_int_equal(er_bus_unsubscribe(good), 0);
    assert_int_equal(er_bus_unsubscribe(turner), 0);
    assert_int_equal(stuck.calls, 1);
    meeting_come(&go);
    assert_int_equal(er_bus_unsubscribe(bad), 0);
    end(t);
}

static void
bus_life__a_stuck_inline_subscriber_keeps_only_its_publisher(void **state)
{
    struct test *t = *state;
    struct meeting begun, go;
    meeting_init(&begun);
    meeting_init(&go);
    struct actor stuck = {.begun = &begun, .until = &go, .until_n = 1}, next = {0};
    struct er_bus_sub *bad =
        act(t, &stuck, ER_BUS_INLINE, (struct er_bus_filter){.task = 1});
    struct er_bus_sub *good = act(t, &next, ER_BUS_INLINE, (struct er_bus_filter){0});
    struct publisher p = {.t = t, .value = 0};
    assert_int_equal(pthread_create(&p.thread, NULL, publish_one, &p), 0);
    meeting_wait(&begun, 1);
    publish(t, 5);
    assert_int_equal(next.calls, 1);
    assert_int_equal(er_bus_unsubscribe(good), 0); /* though that walk has it before it */
    meeting_come(&go);
    pthread_join(p.thread, NULL);
    assert_int_equal(next.calls, 1);
    assert_int_equal(er_bus_unsubscribe(bad), 0);
    end(t);
}

#define CROWD 70

static void
bus_life__more_publishers_than_there_are_places(void **state)
{
    struct test *t = *state;
    struct meeting begun, go;
    meeting_init(&begun);
    meeting_init(&go);
    struct actor a = {.begun = &begun, .until = &go, .until_n = 1};
    struct publisher p[CROWD];
    struct er_bus_sub *sub = act(t, &a, ER_BUS_INLINE, (struct er_bus_filter){0});
    for (int i = 0; i < CROWD; i++) {
        p[i] = (struct publisher){.t = t, .value = i};
        assert_int_equal(pthread_create(&p[i].thread, NULL, publish_one, &p[i]), 0);
    }
    meeting_wait(&begun, CROWD); /* all are in the callback at once */
    meeting_come(&go);
    for (int i = 0; i < CROWD; i++) {
        pthread_join(p[i].thread, NULL);
    }
    assert_int_equal(a.calls, CROWD);
    struct er_bus_stats s;
    er_bus_stats(t->bus, &s);
    assert_int_equal(s.published, CROWD);
    assert_int_equal(s.delivered, CROWD);
    assert_int_equal(er_bus_unsubscribe(sub), 0);
    end(t);
}

static void
bus_life__freeing_ends_all(void **state)
{
    struct test *t = *state;
    struct actor a[4] = {{0}};
    for (size_t i = 0; i < 3; i++) {
        act(t, &a[i], (enum er_bus_way)i, (struct er_bus_filter){0});
    }
    struct er_bus_subscription s = {.way = ER_BUS_PULL, .ctx = &a[3], .ended = on_end};
    struct er_bus_sub *sub;
    assert_int_equal(er_bus_subscribe(t->bus, &s, &sub, NULL), 0);
    publish(t, 1);
    end(t);
    er_bus_free(NULL);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(a[i].ended, 1);
    }
}

int
main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(bus_life__a_thread_of_its_own_gets_all_in_order),
        CASE(bus_life__a_thread_resumes_and_retries_a_failing_source),
        CASE(bus_life__what_an_inline_callback_publishes_comes_behind_for_all),
        CASE(bus_life__a_turn_may_publish_to_itself),
        CASE(bus_life__a_turn_inside_itself_is_busy),
        CASE(bus_life__a_subscriber_may_end_itself_in_its_callback),
        CASE(bus_life__a_callback_may_end_others),
        CASE(bus_life__one_that_subscribes_in_a_callback_gets_what_comes_after),
        CASE(bus_life__unsubscribe_waits_for_the_callback_that_runs),
        CASE(bus_life__an_inline_one_is_over_when_all_its_publishers_have_left_it),
        CASE(bus_life__two_that_end_each_other_do_not_wait_for_ever),
        CASE(bus_life__a_stuck_subscriber_stops_nobody),
        CASE(bus_life__a_stuck_inline_subscriber_keeps_only_its_publisher),
        CASE(bus_life__more_publishers_than_there_are_places),
        CASE(bus_life__freeing_ends_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
