/* SPDX-License-Identifier: MIT */
/* Samples that wait for a subscriber: in order, bounded, the latest win; and a program's
 * own, as they come out of the engine. */
#include "engine_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/samples.h"

static void
put(struct er_samples *s, er_task_id task, const char *topic, const char *text)
{
    struct er_frame *frame = er_frame_new(text, strlen(text));
    er_samples_put(s, task, topic ? ER_EVENT_TOPIC : ER_EVENT_TASK_PROGRESS, topic,
                   frame);
    er_frame_drop(frame);
}

/* Takes what waits; it must be this. */
static void
must_hold(struct er_samples *s, const char *want)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_samples_pull(s, &b);
    assert_string_equal(b.data ? b.data : "", want);
    assert_true(s->n == 0 && s->bytes == 0 && s->latest == NULL);
    er_buf_fini(&b);
}

static void
progress__of_a_task_is_replaced_where_it_waits(void **state)
{
    (void)state;
    struct er_samples s;
    er_samples_init(&s);
    put(&s, 1, NULL, "a");
    put(&s, 2, NULL, "b");
    put(&s, 1, NULL, "cc");
    assert_true(s.n == 2 && s.bytes == 3);
    must_hold(&s, "ccb");
    must_hold(&s, "");
    put(&s, 1, NULL, "d");
    er_samples_fini(&s);
}

static void
own_ones__all_wait_in_order_until_there_are_many(void **state)
{
    (void)state;
    struct er_samples s;
    struct er_buf want;
    char text[16];
    er_samples_init(&s);
    er_buf_init(&want, 0);
    for (int i = 0; i < 256; i++) {
        (void)snprintf(text, sizeof text, "%d ", i);
        put(&s, 0, i % 2 ? "a.b" : "a.c", text);
        er_buf_add_str(&want, text);
    }
    put(&s, 7, "a.b", "of a task "); /* another task: another one */
    er_buf_add_str(&want, "of a task ");
    assert_int_equal(s.n, 257);
    for (int i = 256; i < 400; i++) { /* from here on the latest of each are replaced */
        (void)snprintf(text, sizeof text, "%d ", i);
        put(&s, 0, i % 2 ? "a.b" : "a.c", text);
    }
    assert_int_equal(s.n, 257);
    char *end = strstr(want.data, "254 255 ");
    assert_non_null(end);
    memcpy(end, "398 399 ", 8);
    must_hold(&s, want.data);
    put(&s, 0, "a.b", "x");
    put(&s, 0, "a.b", "y"); /* it has caught up */
    must_hold(&s, "xy");
    er_buf_fini(&want);
    er_samples_fini(&s);
}

static void
bounds__let_the_oldest_go(void **state)
{
    (void)state;
    struct er_samples s;
    char name[24];
    er_samples_init(&s);
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(name, sizeof name, "n.%d", i);
        put(&s, 0, name, "x");
    }
    assert_true(s.n == 1024 && s.bytes == 1024);
    er_samples_fini(&s);
    er_samples_init(&s);
    char *large = er_xzalloc(600001);
    memset(large, 'l', 600000);
    put(&s, 0, "a.first", large);
    put(&s, 0, "a.second", large);
    assert_true(s.n == 1 && s.bytes == 600000);
    put(&s, 0, "a.third", "3");
    assert_int_equal(s.n, 2);
    large[600000 - 1] = '\0';
    put(&s, 0, "a.third", large); /* slow: replaced, and then the oldest is too much */
    assert_true(s.n == 1 && s.bytes == 599999);
    must_hold(&s, large);
    er_free(large);
    er_samples_fini(&s);
}

/* The next frame of a subscriber, a sample or a fact. */
static json_t *
next(struct sub *s)
{
    int64_t seq;
    return s_take(s, &seq);
}

static const char *
text_of(const json_t *o, const char *member)
{
    const char *text = json_string_value(json_object_get(o, member));
    return text ? text : "-";
}

static void
own_ones__carry_what_is_known_of_their_task(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.correlation = "c1";
    const char *names[] = {"a.*"};
    struct er_sub_filter all = {.facts = 1ull << 63, .topics = true};
    struct er_sub_filter of_a = {.facts = 1ull << 63, .topics = true, .n_names = 1};
    struct er_sub_filter of_c1 = {
        .facts = 1ull << 63, .topics = true, .correlation = "c1"};
    struct sub any, a, c1;
    of_a.names = names;
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    s_open(f, &any, &all, -1);
    s_open(f, &a, &of_a, -1);
    s_open(f, &c1, &of_c1, -1);
    er_engine_topic(f->e,
                    &(struct er_topic){.name = "a.b", .task = id, .data_json = "[1]"});
    er_engine_topic(f->e, &(struct er_topic){.name = "b.c", .correlation = "c2"});
    json_t *o = next(&any);
    assert_string_equal(text_of(o, "event"), "a.b");
    assert_string_equal(text_of(o, "type"), "shell");
    assert_string_equal(text_of(o, "correlation_id"), "c1");
    assert_int_equal(json_integer_value(json_object_get(o, "task")), id);
    assert_int_equal(json_integer_value(json_object_get(o, "attempt")), 1);
    assert_true(json_is_null(json_object_get(o, "seq")));
    assert_int_equal(json_array_size(json_object_get(o, "data")), 1);
    json_decref(o);
    o = next(&any);
    assert_string_equal(text_of(o, "event"), "b.c");
    assert_string_equal(text_of(o, "correlation_id"), "c2");
    assert_true(json_is_null(json_object_get(o, "task")));
    assert_true(json_is_null(json_object_get(o, "data")));
    json_decref(o);
    o = next(&a);
    assert_string_equal(text_of(o, "event"), "a.b");
    json_decref(o);
    o = next(&c1);
    assert_string_equal(text_of(o, "event"), "a.b");
    json_decref(o);
    assert_true(!next(&any) && !next(&a) && !next(&c1));
    s_close(&any);
    s_close(&a);
    s_close(&c1);
    assert_int_equal(w_end(w, h, 0), 0);
}

/* What a watch was told of. */
struct told {
    struct er_engine *e;
    int facts, samples;
    char result[16];
};

static void
on_told(void *ctx, enum er_event event)
{
    struct told *t = ctx;
    const struct er_fact *fact = er_engine_told(t->e);
    if (!fact) {
        t->samples++;
        return;
    }
    t->facts++;
    assert_int_equal(fact->event, event);
    if (event == ER_EVENT_TASK_COMPLETED && fact->result) {
        (void)snprintf(t->result, sizeof t->result, "%.*s", (int)fact->result_len,
                       (const char *)fact->result);
    }
}

static void
watch__is_told_the_fact_with_the_results_own_bytes(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct told told = {.e = f->e};
    er_task_id id = f_add(f, f_new());
    struct er_watch *watch = er_engine_watch(f->e, id, on_told, &told);
    struct er_held h = w_run(w);
    assert_int_equal(w_report(w,
                              "{\"output\":{\"task\":%lld,\"attempt\":%d,\"bytes\":1}}",
                              (long long)id, h.attempt),
                     0);
    assert_int_equal(
        w_report(w,
                 "{\"finished\":{\"task\":%lld,\"attempt\":%d,\"spawned\":true,"
                 "\"exit_code\":0,\"result\":\"eyJhIjogMX0=\"}}",
                 (long long)id, h.attempt),
        0);
    assert_true(told.facts == 2 && told.samples == 1);
    assert_string_equal(told.result, "{\"a\": 1}");
    assert_null(er_engine_told(f->e));
    er_engine_unwatch(watch);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress__of_a_task_is_replaced_where_it_waits),
        cmocka_unit_test(own_ones__all_wait_in_order_until_there_are_many),
        cmocka_unit_test(bounds__let_the_oldest_go),
        TEST(own_ones__carry_what_is_known_of_their_task),
        TEST(watch__is_told_the_fact_with_the_results_own_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
