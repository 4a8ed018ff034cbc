/* SPDX-License-Identifier: MIT */
/* Who subscribes gets each fact once, in order, from the store or from memory; samples
 * come before the facts that follow them; what is gone is said to be. */
#include "engine_fixture.h"

#include <string.h>

#include "base/mem.h"

/* Takes what is there; waits until the fact numbered `to` has come. Checks that numbers
 * follow each other when `step` is set. Returns how many facts came. */
static size_t
read_to(struct fixture *f, struct sub *s, int64_t from, int64_t to, bool step)
{
    size_t n = 0;
    int64_t last = from, seq;
    f_begin_wait(f);
    while (last < to) {
        json_t *o = s_take(s, &seq);
        if (!o) {
            f_turn(f, "the next fact");
            continue;
        }
        assert_true(seq == json_integer_value(json_object_get(o, "seq")));
        assert_true(step ? seq == last + 1 : seq > last);
        last = seq;
        n++;
        json_decref(o);
    }
    assert_null(s_take(s, &seq));
    return n;
}

static void
replay__comes_from_the_store_then_goes_on_live(void **state)
{
    struct fixture *f = *state;
    (void)f_add_many(f, f_new(), 450); /* several pages */
    struct sub s;
    s_open(f, &s, NULL, 0);
    assert_int_equal(read_to(f, &s, 0, 450, true), 450);
    (void)f_add_many(f, f_new(), 5);
    assert_int_equal(read_to(f, &s, 450, 455, true), 5);
    s_close(&s);
    s_open(f, &s, NULL, 453);
    assert_int_equal(read_to(f, &s, 453, 455, true), 2);
    s_close(&s);
    s_open(f, &s, NULL, -1);
    (void)f_add(f, f_new());
    assert_int_equal(read_to(f, &s, 455, 456, true), 1);
    s_close(&s);
}

static void
slow_one__goes_back_to_the_store_and_misses_nothing(void **state)
{
    struct fixture *f = *state;
    struct sub slow, fast;
    s_open(f, &slow, NULL, -1);
    s_open(f, &fast, NULL, -1);
    for (int i = 0; i < 5; i++) { /* more than memory holds, in several parts */
        (void)f_add_many(f, f_new(), 700);
        assert_int_equal(read_to(f, &fast, i * 700, (i + 1) * 700, true), 700);
    }
    assert_int_equal(read_to(f, &slow, 0, 3500, true), 3500);
    (void)f_add_many(f, f_new(), 2000); /* more than memory holds, in one part */
    assert_int_equal(read_to(f, &fast, 3500, 5500, true), 2000);
    (void)f_add(f, f_new());
    assert_int_equal(read_to(f, &slow, 3500, 5501, true), 2001);
    s_close(&slow);
    s_close(&fast);
}

static void
little_room__gives_little_at_a_time_and_all_in_the_end(void **state)
{
    struct fixture *f = *state;
    struct sub s;
    s_open(f, &s, NULL, -1);
    (void)f_add_many(f, f_new(), 100);
    size_t pulls = 0;
    int64_t seen = 0, seq;
    while (seen < 100) {
        er_sub_pull(s.sub, &s.got, 1);
        s.woken = false;
        pulls++;
        json_t *o = s_take(&s, &seq);
        assert_non_null(o);
        assert_int_equal(seq, ++seen);
        json_decref(o);
    }
    assert_int_equal(pulls, 100);
    s_close(&s);
}

static void
page_that_cannot_be_read__is_told(void **state)
{
    struct fixture *f = *state;
    struct sub s;
    int64_t seq;
    (void)f_add(f, f_new());
    f_settle(f);
    f_facts_fail(1);
    s_open(f, &s, NULL, 0);
    s_pull(&s);
    f_until(f, s.woken); /* the page did not come, and it is not left to sleep */
    assert_int_equal(er_sub_failed(s.sub), ER_EIO);
    s_close(&s);
    f_facts_fail(1);
    s_open(f, &s, NULL, 0); /* who pulls on has it read again */
    s_pull(&s);
    f_until(f, s.woken);
    s_pull(&s);
    f_until(f, s.woken);
    json_t *o = s_take(&s, &seq);
    assert_non_null(o);
    assert_int_equal(seq, 1);
    assert_int_equal(er_sub_failed(s.sub), 0);
    json_decref(o);
    s_close(&s);
}

static void
filters__let_through_what_was_asked_for(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.correlation = "other";
    er_task_id a = f_add(f, f_new()), b = f_add(f, row);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(w_end(w, w_run(w), 0), 0);
    }
    f_settle(f);
    struct sub live[3], old[3];
    struct er_sub_filter filters[3] = {{.task = b},
                                       {.correlation = "other"},
                                       {.facts = 1ull << ER_EVENT_TASK_COMPLETED}};
    for (int i = 0; i < 3; i++) {
        s_open(f, &old[i], &filters[i], 0);
        s_open(f, &live[i], &filters[i], -1);
    }
    int64_t last = er_engine_last_seq(f->e); /* the end of b */
    assert_int_equal(read_to(f, &old[0], 0, last, false), 3);
    assert_int_equal(read_to(f, &old[1], 0, last, false), 3);
    assert_int_equal(read_to(f, &old[2], 0, last, false), 2);
    assert_int_equal(f_change(f, ER_CHANGE_RETRY, a), 0);
    assert_int_equal(w_end(w, w_run(w), 0), 0);
    assert_int_equal(f_change(f, ER_CHANGE_RETRY, b), 0);
    assert_int_equal(w_end(w, w_run(w), 0), 0);
    f_settle(f);
    int64_t now = er_engine_last_seq(f->e);
    assert_int_equal(read_to(f, &live[0], last, now, false), 3);
    assert_int_equal(read_to(f, &live[1], last, now, false), 3);
    assert_int_equal(read_to(f, &live[2], last, now, false), 2);
    assert_int_equal(read_to(f, &old[0], last, now, false), 3);
    for (int i = 0; i < 3; i++) {
        s_close(&old[i]);
        s_close(&live[i]);
    }
}

static const char *
event_of(const json_t *o)
{
    return json_string_value(json_object_get(o, "event"));
}

static void
samples__are_the_latest_and_come_before_the_final_fact(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct sub s, deaf;
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    s_open(f, &s, &(struct er_sub_filter){.task = id, .progress = true, .output = true},
           -1);
    s_open(f, &deaf, &(struct er_sub_filter){.task = id + 1, .progress = true}, -1);
    for (int i = 1; i <= 20; i++) {
        assert_int_equal(
            w_report(w,
                     "{\"progress\":{\"task\":%lld,\"attempt\":1,\"progress\":"
                     "{\"percent\":%d}}}\n"
                     "{\"output\":{\"task\":%lld,\"attempt\":1,\"bytes\":%d}}",
                     (long long)id, i, (long long)id, i * 100),
            0);
    }
    assert_int_equal(w_end(w, h, 0), 0);
    int64_t seq;
    json_t *o = s_take(&s, &seq);
    assert_string_equal(event_of(o), "task-progress");
    assert_int_equal(seq, 0);
    assert_true(json_is_null(json_object_get(o, "seq")));
    const json_t *data = json_object_get(o, "data");
    assert_int_equal(json_integer_value(json_object_get(data, "percent")), 20);
    char at[ER_RFC3339_SIZE]; /* by the engine's clock, as facts are */
    er_time_format(f->wall, at);
    assert_string_equal(json_string_value(json_object_get(o, "time")), at);
    json_decref(o);
    o = s_take(&s, &seq);
    assert_string_equal(event_of(o), "task-output");
    data = json_object_get(o, "data");
    assert_int_equal(json_integer_value(json_object_get(data, "bytes")), 2000);
    json_decref(o);
    o = s_take(&s, &seq);
    assert_string_equal(event_of(o), "task-completed");
    json_decref(o);
    assert_null(s_take(&s, &seq));
    assert_null(s_take(&deaf, &seq));
    s_close(&s);
    s_close(&deaf);
}

struct clean {
    int rc;
    int64_t removed;
};

static void
on_clean(void *ctx, int rc, int64_t removed)
{
    struct clean *c = ctx;
    c->removed = removed;
    c->rc = rc;
}

/* Leaves the newest `facts` facts. */
static void
prune(struct fixture *f, int64_t facts)
{
    struct clean c = {.rc = 1};
    struct er_retention keep = f->options.retention;
    keep.facts = facts;
    er_engine_clean(f->e, &keep, on_clean, &c);
    f_until(f, c.rc <= 0);
    assert_int_equal(c.rc, 0);
}

static void
take_gap(struct fixture *f, struct sub *s, int64_t from, int64_t to)
{
    int64_t seq;
    json_t *o;
    f_begin_wait(f);
    while (!(o = s_take(s, &seq))) {
        f_turn(f, "a gap");
    }
    assert_string_equal(event_of(o), "gap");
    const json_t *data = json_object_get(o, "data");
    assert_int_equal(json_integer_value(json_object_get(data, "from")), from);
    assert_int_equal(json_integer_value(json_object_get(data, "to")), to);
    json_decref(o);
}

static void
gap__tells_what_is_gone(void **state)
{
    struct fixture *f = *state;
    (void)f_add_many(f, f_new(), 300);
    prune(f, 100);
    struct sub s;
    s_open(f, &s, NULL, 0);
    take_gap(f, &s, 1, 200);
    assert_int_equal(read_to(f, &s, 200, 300, true), 100);
    s_close(&s);
    s_open(f, &s, NULL, 200); /* nothing of what it asks for is gone */
    assert_int_equal(read_to(f, &s, 200, 300, true), 100);
    s_close(&s);
}

/* It read from the start and was still on its way when facts went. */
static void
gap__is_told_also_to_one_that_fell_behind(void **state)
{
    struct fixture *f = *state;
    (void)f_add_many(f, f_new(), 1000);
    struct sub s;
    int64_t seq;
    s_open(f, &s, NULL, 0);
    json_t *o;
    f_until(f, (o = s_take(&s, &seq)) != NULL);
    json_decref(o);
    (void)f_add_many(f, f_new(), 2000);
    prune(f, 500);
    /* what it has pulled comes, then the gap, then the rest */
    int64_t last = 1, gap_to = 0;
    f_begin_wait(f);
    while (last < 3000) {
        if (!(o = s_take(&s, &seq))) {
            f_turn(f, "the next fact");
            continue;
        }
        if (seq == 0) {
            const json_t *data = json_object_get(o, "data");
            assert_int_equal(json_integer_value(json_object_get(data, "from")), last + 1);
            gap_to = json_integer_value(json_object_get(data, "to"));
            last = gap_to;
        } else {
            assert_int_equal(seq, last + 1);
            last = seq;
        }
        json_decref(o);
    }
    assert_int_equal(gap_to, 2500);
    s_close(&s);
}

static void
closing_while_a_page_is_read__is_fine(void **state)
{
    struct fixture *f = *state;
    (void)f_add_many(f, f_new(), 300);
    struct sub s;
    s_open(f, &s, NULL, 0);
    s_pull(&s); /* a page is on its way */
    s_close(&s);
    f_settle(f);
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    assert_int_equal(st.subscribers, 0);
}

/* ---- watches ---- */

struct seen_events {
    enum er_event events[16];
    size_t n;
    struct er_watch *self, *other;
    bool leaves;
};

static void
on_event(void *ctx, enum er_event event)
{
    struct seen_events *s = ctx;
    assert_true(s->n < 16);
    s->events[s->n++] = event;
    if (s->leaves) {
        er_engine_unwatch(s->other);
        er_engine_unwatch(s->self);
    }
}

static void
watch__is_called_at_facts_and_output_until_removed(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    struct seen_events a = {.n = 0}, b = {.leaves = true}, c = {.n = 0};
    struct er_watch *watch = er_engine_watch(f->e, id, on_event, &a);
    b.self = er_engine_watch(f->e, id, on_event, &b);
    b.other = er_engine_watch(f->e, id, on_event, &c);
    struct worker *w = w_new(f, 1);
    struct er_held h = w_run(w);
    assert_int_equal(w_report(w, "{\"output\":{\"task\":%lld,\"attempt\":1,\"bytes\":1}}",
                              (long long)id),
                     0);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(a.n, 3);
    assert_int_equal(a.events[0], ER_EVENT_TASK_STARTED);
    assert_int_equal(a.events[1], ER_EVENT_TASK_OUTPUT);
    assert_int_equal(a.events[2], ER_EVENT_TASK_COMPLETED);
    assert_int_equal(b.n, 1); /* it removed itself, and the one behind it */
    assert_int_equal(c.n, 0);
    er_engine_unwatch(watch);
    assert_null(f->e->watches);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replay__comes_from_the_store_then_goes_on_live),
        TEST(slow_one__goes_back_to_the_store_and_misses_nothing),
        TEST(little_room__gives_little_at_a_time_and_all_in_the_end),
        TEST(page_that_cannot_be_read__is_told),
        TEST(filters__let_through_what_was_asked_for),
        TEST(samples__are_the_latest_and_come_before_the_final_fact),
        TEST(gap__tells_what_is_gone),
        TEST(gap__is_told_also_to_one_that_fell_behind),
        TEST(closing_while_a_page_is_read__is_fine),
        TEST(watch__is_called_at_facts_and_output_until_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
