/* SPDX-License-Identifier: MIT */
/* The rules of lib/bus.h for what comes to a subscriber: kinds, filters, order, full
 * buffers, facts that are read again, gaps, resuming, cursors. One thread, so that all is
 * exact; test_bus_life.c has the threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus_fixture.h"

struct test {
    struct fixture f;
    struct got got;
};

static int
setup(void **state)
{
    struct test *t = calloc(1, sizeof *t);
    t->f.first = 1;
    t->f.cursor_seq = -1;
    struct er_bus_options o = fixture_options(&t->f);
    *state = t;
    return er_bus_new(&o, &t->f.bus);
}

static int
teardown(void **state)
{
    struct test *t = *state;
    er_bus_free(t->f.bus);
    free(t);
    return 0;
}

/* A bus that begins where the fixture's store is. */
static void
new_bus(struct test *t)
{
    er_bus_free(t->f.bus);
    struct er_bus_options o = fixture_options(&t->f);
    assert_int_equal(er_bus_new(&o, &t->f.bus), 0);
}

static struct er_bus_sub *
subscribe(struct test *t, struct er_bus_subscription s)
{
    struct er_bus_sub *sub = NULL;
    struct er_err err = {.text = ""};
    int rc = er_bus_subscribe(t->f.bus, &s, &sub, &err);
    if (rc) {
        fail_msg("subscribe: %d %s", rc, err.text);
    }
    return sub;
}

static struct er_bus_sub *
puller(struct test *t, size_t buffer)
{
    return subscribe(t,
                     (struct er_bus_subscription){.way = ER_BUS_PULL, .buffer = buffer});
}

static void
on_event(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    (void)sub;
    got_add(ctx, ev);
}

static void
on_end(void *ctx)
{
    ((struct got *)ctx)->ended++;
}

/* Facts from..to are there, in order, from position `at` on. */
static void
expect_facts(const struct got *g, int at, int64_t from, int64_t to)
{
    for (int64_t seq = from; seq <= to; seq++, at++) {
        assert_true(at < g->n);
        assert_int_equal(g->ev[at].kind, ER_BUS_FACT);
        assert_int_equal(g->ev[at].seq, seq);
        assert_int_equal(g->ev[at].value, seq);
    }
}

/* ---- kinds and fields ---- */

static void
check_fields(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    (void)sub;
    assert_string_equal(ev->name, "build.log");
    assert_int_equal(ev->kind, ER_BUS_SAMPLE);
    assert_int_equal(ev->seq, 0);
    assert_int_equal(ev->task, 42);
    assert_string_equal(ev->correlation, "c-1");
    assert_int_equal(ev->len, 5);
    assert_memory_equal(ev->data, "a\0b\0c", 5);
    ++*(int *)ctx;
}

static void
bus__an_event_arrives_whole_in_every_way(void **state)
{
    struct test *t = *state;
    int calls = 0;
    subscribe(t, (struct er_bus_subscription){
                     .way = ER_BUS_INLINE, .fn = check_fields, .ctx = &calls});
    struct er_bus_sub *turner =
        subscribe(t, (struct er_bus_subscription){
                         .way = ER_BUS_TURN, .fn = check_fields, .ctx = &calls});
    struct er_bus_sub *pull = puller(t, 0);
    struct er_bus_event ev = {.name = "build.log",
                              .kind = ER_BUS_SAMPLE,
                              .task = 42,
                              .correlation = "c-1",
                              .data = "a\0b\0c",
                              .len = 5};
    assert_int_equal(er_bus_publish(t->f.bus, &ev), 0);
    assert_int_equal(calls, 1);
    assert_int_equal(er_bus_turn(turner, 0), 1);
    assert_int_equal(calls, 2);
    const struct er_bus_event *out;
    assert_int_equal(er_bus_pull(pull, &out), 1);
    check_fields(&calls, pull, out);
    assert_int_equal(er_bus_pull(pull, &out), 0);
}

static void
bus__an_event_without_payload_and_correlation_has_none(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, 0);
    struct er_bus_event ev = {.name = "x", .kind = ER_BUS_SAMPLE};
    const struct er_bus_event *out;
    assert_int_equal(er_bus_publish(t->f.bus, &ev), 0);
    assert_int_equal(er_bus_pull(sub, &out), 1);
    assert_null(out->correlation);
    assert_int_equal(out->len, 0);
    assert_int_equal(out->task, 0);
}

static void
bus__publish_refuses_what_is_no_event(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, 0);
    char *big = calloc(1, ER_BUS_DATA_MAX + 1);
    char name[ER_BUS_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    const struct {
        struct er_bus_event ev;
        int rc;
    } bad[] = {
        {{.kind = ER_BUS_SAMPLE}, ER_EINVALID},
        {{.name = "", .kind = ER_BUS_SAMPLE}, ER_EINVALID},
        {{.name = "x"}, ER_EINVALID},
        {{.name = "x", .kind = ER_BUS_GAP}, ER_EINVALID},
        {{.name = "x", .kind = ER_BUS_FACT}, ER_EINVALID},
        {{.name = "x", .kind = ER_BUS_FACT, .seq = -1}, ER_EINVALID},
        {{.name = "x", .kind = ER_BUS_SAMPLE, .seq = 1}, ER_EINVALID},
        {{.name = "x", .kind = ER_BUS_SAMPLE, .len = 1}, ER_EINVALID},
        {{.name = name, .kind = ER_BUS_SAMPLE}, ER_ETOOBIG},
        {{.name = "x", .kind = ER_BUS_SAMPLE, .correlation = name}, ER_ETOOBIG},
        {{.name = "x", .kind = ER_BUS_SAMPLE, .data = big, .len = ER_BUS_DATA_MAX + 1},
         ER_ETOOBIG},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(er_bus_publish(t->f.bus, &bad[i].ev), bad[i].rc);
        struct er_bus_event two[2] = {{.name = "good", .kind = ER_BUS_SAMPLE}, bad[i].ev};
        assert_int_equal(er_bus_publish_many(t->f.bus, two, 2), bad[i].rc);
    }
    assert_int_equal(er_bus_publish_many(t->f.bus, NULL, 0), 0);
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n, 0);
    free(big);
}

#define MANY 300 /* more than are looked at together */

/* Samples of seven tasks, and each tenth event a fact, from number 1. */
static void
fill_many(struct test *t, struct er_bus_event *evs, int64_t *values)
{
    for (int i = 0; i < MANY; i++) {
        int64_t seq = i % 10 == 9 ? ++t->f.last : 0;
        values[i] = seq ? seq : i;
        evs[i] = (struct er_bus_event){.name = seq ? "fact" : "progress",
                                       .kind = seq ? ER_BUS_FACT : ER_BUS_SAMPLE,
                                       .seq = seq,
                                       .task = i % 7 + 1,
                                       .data = &values[i],
                                       .len = sizeof values[i]};
        t->f.task_of[t->f.last] = seq ? evs[i].task : t->f.task_of[t->f.last];
    }
}

/* What came is in the order of `evs`; the place of each in them, and how many facts. */
static int
check_many(const struct got *got, int *facts, int last_of_task[8])
{
    int before = -1;
    *facts = 0;
    for (int i = 0; i < got->n; i++) {
        bool fact = got->ev[i].kind == ER_BUS_FACT;
        int at = (int)(fact ? got->ev[i].value * 10 - 1 : got->ev[i].value);
        assert_true(at > before && at < MANY);
        assert_int_equal(got->ev[i].task, at % 7 + 1);
        *facts += fact;
        last_of_task[fact ? 0 : at % 7 + 1] = at;
        before = at;
    }
    return got->n;
}

static void
bus__many_in_one_call_come_as_if_one_by_one(void **state)
{
    struct test *t = *state;
    struct er_bus_event evs[MANY];
    int64_t values[MANY];
    int facts, last[8] = {0};
    struct er_bus_sub *all = puller(t, 0), *full = puller(t, 4096);
    struct er_bus_sub *one = subscribe(
        t, (struct er_bus_subscription){.way = ER_BUS_PULL, .filter = {.task = 3}});
    fill_many(t, evs, values);
    evs[MANY - 2].name = NULL; /* all or nothing */
    assert_int_equal(er_bus_publish_many(t->f.bus, evs, MANY), ER_EINVALID);
    evs[MANY - 2].name = "progress";
    assert_int_equal(er_bus_publish_many(t->f.bus, evs, MANY), 0);
    assert_int_equal(er_bus_publish_many(t->f.bus, evs, MANY), ER_ESTATE);
    assert_int_equal(pull_all(all, &t->got), 0);
    assert_int_equal(check_many(&t->got, &facts, last), MANY);
    t->got.n = 0;
    assert_int_equal(pull_all(one, &t->got), 0);
    assert_int_equal(check_many(&t->got, &facts, last), (MANY - 3) / 7 + 1);
    t->got.n = 0;
    memset(last, 0, sizeof last);
    assert_int_equal(pull_all(full, &t->got), 0);
    assert_true(check_many(&t->got, &facts, last) < MANY);
    assert_int_equal(facts, MANY / 10);
    for (int i = 0; i < MANY; i++) { /* of each task the latest has come */
        assert_true(evs[i].seq || last[i % 7 + 1] >= i);
    }
}

static void
bus__a_fact_that_does_not_rise_is_refused(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, 0);
    struct er_bus_event ev[3] = {{.name = "x", .kind = ER_BUS_FACT, .seq = 5},
                                 {.name = "s", .kind = ER_BUS_SAMPLE},
                                 {.name = "x", .kind = ER_BUS_FACT, .seq = 5}};
    assert_int_equal(er_bus_publish_many(t->f.bus, ev, 3), ER_ESTATE);
    assert_int_equal(er_bus_publish_many(t->f.bus, ev, 2), 0);
    assert_int_equal(er_bus_publish(t->f.bus, ev), ER_ESTATE);
    ev[0].seq = 4;
    assert_int_equal(er_bus_publish(t->f.bus, ev), ER_ESTATE);
    ev[0].seq = 9; /* holes mean nothing */
    assert_int_equal(er_bus_publish(t->f.bus, ev), 0);
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n, 3);
    assert_int_equal(t->got.ev[0].seq, 5);
    assert_int_equal(t->got.ev[2].seq, 9);
}

/* ---- filters ---- */

static void
bus__a_filter_lets_through_what_fits_all_of_it(void **state)
{
    struct test *t = *state;
    const char *const names[] = {"build.log", "test.log"};
    const struct {
        struct er_bus_filter filter;
        const char *fits; /* of the events below, in order: 1 or 0 */
    } rows[] = {
        {{0}, "11111"},
        {{.kinds = ER_BUS_FACT}, "00001"},
        {{.kinds = ER_BUS_SAMPLE}, "11110"},
        {{.names = names, .n_names = 2}, "10100"},
        {{.prefix = "build."}, "11000"},
        {{.prefix = "build.log.more"}, "00000"},
        {{.names = names, .n_names = 2, .prefix = "build.l"}, "11100"},
        {{.task = 2}, "01011"},
        {{.correlation = "c"}, "10001"},
        {{.correlation = "cc"}, "00010"},
        {{.prefix = "build", .task = 1, .correlation = "c"}, "10000"},
    };
    struct er_bus_event evs[] = {
        {.name = "build.log", .kind = ER_BUS_SAMPLE, .task = 1, .correlation = "c"},
        {.name = "build.lo", .kind = ER_BUS_SAMPLE, .task = 2},
        {.name = "test.log", .kind = ER_BUS_SAMPLE, .task = 1, .correlation = "d"},
        {.name = "test.logs", .kind = ER_BUS_SAMPLE, .task = 2, .correlation = "cc"},
        {.name = "x", .kind = ER_BUS_FACT, .seq = 1, .task = 2, .correlation = "c"},
    };
    evs[1].name = "build.log2";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        new_bus(t);
        struct er_bus_sub *sub =
            subscribe(t, (struct er_bus_subscription){.way = ER_BUS_PULL,
                                                      .filter = rows[i].filter});
        assert_int_equal(er_bus_publish_many(t->f.bus, evs, 5), 0);
        t->got.n = 0;
        assert_int_equal(pull_all(sub, &t->got), 0);
        int at = 0;
        for (int k = 0; k < 5; k++) {
            bool fits = rows[i].fits[k] == '1';
            if (fits) {
                assert_string_equal(t->got.ev[at++].name, evs[k].name);
            }
        }
        assert_int_equal(t->got.n, at);
    }
}

static void
bus__a_bad_subscription_is_refused_by_its_member(void **state)
{
    struct test *t = *state;
    const char *const nothing[] = {NULL};
    const struct {
        struct er_bus_subscription s;
        const char *member;
    } rows[] = {
        {{.way = (enum er_bus_way)7, .fn = on_event}, "way"},
        {{.way = ER_BUS_THREAD}, "fn"},
        {{.way = ER_BUS_PULL, .fn = on_event}, "fn"},
        {{.way = ER_BUS_PULL, .buffer = 1}, "buffer"},
        {{.way = ER_BUS_PULL, .buffer = ER_BUS_BUFFER_MAX + 1}, "buffer"},
        {{.way = ER_BUS_PULL, .resume = true, .since = -1}, "since"},
        {{.way = ER_BUS_INLINE, .fn = on_event, .resume = true}, "resume"},
        {{.way = ER_BUS_INLINE, .fn = on_event, .cursor = "c"}, "cursor"},
        {{.way = ER_BUS_PULL, .cursor = ""}, "cursor"},
        {{.way = ER_BUS_PULL, .filter = {.kinds = 16}}, "filter.kinds"},
        {{.way = ER_BUS_PULL, .filter = {.n_names = 1}}, "filter.names"},
        {{.way = ER_BUS_PULL, .filter = {.names = nothing, .n_names = 1}},
         "filter.names"},
        {{.way = ER_BUS_PULL, .filter = {.prefix = ""}}, "filter.prefix"},
        {{.way = ER_BUS_PULL, .filter = {.correlation = ""}}, "filter.correlation"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct er_bus_sub *sub = NULL;
        struct er_err err = {.text = ""};
        assert_int_equal(er_bus_subscribe(t->f.bus, &rows[i].s, &sub, &err), ER_EINVALID);
        assert_null(sub);
        assert_memory_equal(err.text, rows[i].member, strlen(rows[i].member));
    }
}

/* ---- the descriptor ---- */

static void
bus__the_descriptor_is_readable_while_there_is_something(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, 0);
    const struct er_bus_event *ev;
    assert_false(is_readable(sub));
    for (int round = 0; round < 3; round++) {
        assert_int_equal(fixture_sample(&t->f, "a", 1, 1), 0);
        assert_int_equal(fixture_sample(&t->f, "b", 1, 2), 0);
        assert_true(is_readable(sub));
        assert_int_equal(er_bus_pull(sub, &ev), 1);
        assert_true(is_readable(sub));
        assert_int_equal(er_bus_pull(sub, &ev), 1);
        assert_int_equal(er_bus_pull(sub, &ev), 0);
        assert_false(is_readable(sub));
        assert_int_equal(er_bus_pull(sub, &ev), 0);
        assert_false(is_readable(sub));
    }
}

static void
bus__a_turn_calls_at_most_as_many_as_asked_for(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = subscribe(
        t,
        (struct er_bus_subscription){.way = ER_BUS_TURN, .fn = on_event, .ctx = &t->got});
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fixture_sample(&t->f, "a", i, i), 0);
    }
    assert_int_equal(er_bus_turn(sub, 2), 2);
    assert_int_equal(t->got.n, 2);
    assert_true(is_readable(sub));
    assert_int_equal(er_bus_turn(sub, 0), 3);
    assert_false(is_readable(sub));
    assert_int_equal(er_bus_turn(sub, 0), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(t->got.ev[i].value, i);
    }
}

static void
bus__turn_and_pull_are_for_their_own_kind(void **state)
{
    struct test *t = *state;
    const struct er_bus_event *ev;
    struct er_bus_sub *pull = puller(t, 0);
    struct er_bus_sub *in =
        subscribe(t, (struct er_bus_subscription){
                         .way = ER_BUS_INLINE, .fn = on_event, .ctx = &t->got});
    assert_int_equal(er_bus_turn(pull, 0), ER_EINVALID);
    assert_int_equal(er_bus_pull(in, &ev), ER_EINVALID);
    assert_int_equal(er_bus_fd(in), -1);
}

/* ---- full buffers ---- */

static void
bus__a_full_buffer_coalesces_samples_to_the_latest(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, 2048);
    const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(fixture_sample(&t->f, names[i % 3], i / 1500, i), 0);
    }
    assert_true(is_readable(sub));
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_false(is_readable(sub));
    assert_true(t->got.n < 60);
    for (int i = 1; i < t->got.n; i++) { /* none is older than the one before */
        assert_true(t->got.ev[i].value > t->got.ev[i - 1].value);
    }
    for (int i = 0; i < 6; i++) { /* the last six are the latest of each */
        int value = i < 3 ? 1497 + i : 2997 + i - 3;
        assert_int_equal(t->got.ev[t->got.n - 6 + i].value, value);
    }
    struct er_bus_stats s;
    er_bus_sub_stats(sub, &s);
    assert_int_equal(s.published, 3000);
    assert_int_equal(s.delivered, t->got.n);
    assert_int_equal(s.coalesced, 3000 - t->got.n);
    assert_int_equal(s.missed + s.lag, 0);
}

static void
bus__after_a_full_buffer_all_is_as_before(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    for (int round = 0; round < 50; round++) {
        t->got.n = 0;
        for (int i = 0; i < 100; i++) {
            assert_int_equal(fixture_sample(&t->f, "a", 1, i), 0);
        }
        assert_int_equal(pull_all(sub, &t->got), 0);
        assert_int_equal(t->got.ev[t->got.n - 1].value, 99);
        t->got.n = 0;
        for (int i = 0; i < 5; i++) {
            assert_int_equal(fixture_sample(&t->f, "a", 1, i), 0);
        }
        assert_int_equal(pull_all(sub, &t->got), 0);
        assert_int_equal(t->got.n, 5);
    }
}

static void
bus__samples_that_grow_are_coalesced_too(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, 8192);
    char data[2048];
    memset(data, 'd', sizeof data);
    struct er_bus_event ev = {.name = "grows", .kind = ER_BUS_SAMPLE, .data = data};
    for (size_t n = 1; n <= sizeof data; n++) {
        ev.len = n;
        assert_int_equal(er_bus_publish(t->f.bus, &ev), 0);
    }
    const struct er_bus_event *out;
    size_t last = 0;
    while (er_bus_pull(sub, &out) == 1) {
        assert_true(out->len > last);
        last = out->len;
        assert_memory_equal(out->data, data, last);
    }
    assert_int_equal(last, sizeof data);
}

static void
bus__what_does_not_even_fit_coalesced_is_told_as_missed(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    int64_t n = 500, missed = 0;
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(fixture_sample(&t->f, "a", i + 1, i), 0);
    }
    assert_int_equal(pull_all(sub, &t->got), 0);
    int64_t samples = 0, last = -1;
    for (int i = 0; i < t->got.n; i++) {
        if (t->got.ev[i].kind == ER_BUS_MISSED) {
            missed += t->got.ev[i].to;
        } else {
            assert_true(t->got.ev[i].value > last);
            last = t->got.ev[i].value;
            samples++;
        }
    }
    assert_int_equal(samples + missed, n);
    assert_true(missed > 0);
    assert_int_equal(last, n - 1); /* the newest is kept */
    struct er_bus_stats s;
    er_bus_sub_stats(sub, &s);
    assert_int_equal(s.missed, missed);
}

static void
bus__a_payload_larger_than_the_buffer_is_missed_or_read_again(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    char data[4096] = "";
    struct er_bus_event evs[2] = {
        {.name = "s", .kind = ER_BUS_SAMPLE, .data = data, .len = sizeof data},
        {.name = "f", .kind = ER_BUS_FACT, .seq = 1, .data = data, .len = sizeof data}};
    t->f.last = 1;
    assert_int_equal(er_bus_publish_many(t->f.bus, evs, 2), 0);
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n, 2);
    assert_int_equal(t->got.ev[0].kind, ER_BUS_MISSED);
    assert_int_equal(t->got.ev[0].to, 1);
    assert_int_equal(t->got.ev[1].seq, 1);
}

static void
bus__facts_that_found_no_place_are_read_again(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    for (int page = 0; page < 3; page++) {
        int64_t from = t->f.last + 1;
        t->f.page = page == 1 ? 7 : 0;
        t->got.n = 0;
        for (int i = 0; i < 3000; i++) {
            assert_int_equal(fixture_fact(&t->f, 1), 0);
        }
        struct er_bus_stats s;
        er_bus_sub_stats(sub, &s);
        assert_int_equal(s.lag, 3000);
        assert_int_equal(pull_all(sub, &t->got), 0);
        assert_int_equal(t->got.n, 3000);
        expect_facts(&t->got, 0, from, t->f.last);
        er_bus_sub_stats(sub, &s);
        assert_int_equal(s.lag + s.gaps, 0);
        assert_int_equal(s.delivered, s.published);
        assert_int_equal(s.left_out, s.reread);
        assert_true(s.reread > 2900 * (page + 1));
    }
    assert_true(t->f.reads > 400);
}

static void
bus__facts_read_again_are_filtered(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = subscribe(
        t, (struct er_bus_subscription){
               .way = ER_BUS_PULL, .buffer = ER_BUS_BUFFER_MIN, .filter = {.task = 3}});
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(fixture_fact(&t->f, i % 10), 0);
    }
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n, 300);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(t->got.ev[i].seq, i * 10 + 4);
    }
}

static void
bus__samples_and_facts_keep_their_order_through_a_full_buffer(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, 32768);
    for (int i = 1; i <= 5000; i++) { /* the sample of a number comes before its fact */
        int64_t key = i % 100 + 1;
        assert_int_equal(fixture_sample(&t->f, "progress", key, i), 0);
        assert_int_equal(fixture_fact(&t->f, key), 0);
    }
    assert_int_equal(pull_all(sub, &t->got), 0);
    int64_t last = 0, facts = 0, samples = 0;
    for (int i = 0; i < t->got.n; i++) {
        int64_t at = t->got.ev[i].value * 2 + (t->got.ev[i].kind == ER_BUS_FACT);
        assert_true(at > last);
        last = at;
        facts += t->got.ev[i].kind == ER_BUS_FACT;
        samples += t->got.ev[i].kind == ER_BUS_SAMPLE;
    }
    assert_int_equal(facts, 5000);
    assert_true(samples >= 100 && samples < 2000);
}

/* The same, published together, and for one that does not want all facts between. */
static void
bus__samples_keep_their_place_also_between_facts_of_others(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub =
        subscribe(t, (struct er_bus_subscription){
                         .way = ER_BUS_PULL, .buffer = 32768, .filter = {.task = 1}});
    struct er_bus_sub *all = puller(t, ER_BUS_BUFFER_MIN);
    for (int64_t i = 1; i <= 5000; i++) {
        int64_t seq = t->f.last + 1, other = seq + 1;
        char name[16];
        snprintf(name, sizeof name, "s%d", (int)(i % 50));
        struct er_bus_event evs[4] = {
            {.name = name, .kind = ER_BUS_SAMPLE, .task = 1, .data = &seq, .len = 8},
            {.name = "fact", .kind = ER_BUS_FACT, .seq = seq, .task = 2},
            {.name = "after", .kind = ER_BUS_SAMPLE, .task = 1, .data = &other, .len = 8},
            {.name = "fact",
             .kind = ER_BUS_FACT,
             .seq = other,
             .task = 1,
             .data = &other,
             .len = 8}};
        t->f.last = other;
        t->f.task_of[seq] = 2;
        t->f.task_of[other] = 1;
        assert_int_equal(er_bus_publish_many(t->f.bus, evs, 4), 0);
    }
    assert_int_equal(pull_all(sub, &t->got), 0);
    int64_t last = 0, facts = 0;
    for (int i = 0; i < t->got.n; i++) {
        int64_t at = t->got.ev[i].value * 2 + (t->got.ev[i].kind == ER_BUS_FACT);
        assert_true(at > last);
        last = at;
        facts += t->got.ev[i].kind == ER_BUS_FACT;
    }
    assert_int_equal(facts, 5000);
    t->got.n =
        0; /* "after" comes behind the fact before it, and before the one behind it */
    assert_int_equal(pull_all(all, &t->got), 0);
    for (int i = 0; i < t->got.n; i++) {
        if (strcmp(t->got.ev[i].name, "after") == 0 && i > 20) {
            assert_int_equal(t->got.ev[i - 1].seq, t->got.ev[i].value - 1);
            assert_int_equal(t->got.ev[i + 1].seq, t->got.ev[i].value);
        }
    }
}

static void
bus__facts_that_are_gone_are_told_as_a_gap(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
    }
    t->f.first = 501;
    assert_int_equal(pull_all(sub, &t->got), 0);
    int kept = 0;
    while (t->got.ev[kept].kind == ER_BUS_FACT) {
        kept++;
    }
    expect_facts(&t->got, 0, 1, kept);
    assert_int_equal(t->got.ev[kept].kind, ER_BUS_GAP);
    assert_string_equal(t->got.ev[kept].name, "gap");
    assert_int_equal(t->got.ev[kept].from, kept + 1);
    assert_int_equal(t->got.ev[kept].to, 500);
    expect_facts(&t->got, kept + 1, 501, 1000);
    assert_int_equal(t->got.n, kept + 1 + 500);
    struct er_bus_stats s;
    er_bus_sub_stats(sub, &s);
    assert_int_equal(s.gaps, 1);
}

static void
bus__facts_that_go_while_they_are_read_are_a_gap_too(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
    }
    int64_t last = 0;
    const struct er_bus_event *ev;
    while (er_bus_pull(sub, &ev) == 1) {
        if (ev->kind == ER_BUS_GAP) {
            assert_int_equal(ev->from, last + 1);
            last = ev->to;
        } else {
            assert_int_equal(ev->seq, last + 1);
            last = ev->seq;
        }
        t->f.first = last + 300; /* of the next page, too, something is always gone */
    }
    assert_int_equal(last, 1000);
    struct er_bus_stats s;
    er_bus_sub_stats(sub, &s);
    assert_true(s.gaps >= 2);
}

static void
bus__without_a_source_what_was_left_out_is_a_gap(void **state)
{
    struct test *t = *state;
    er_bus_free(t->f.bus);
    assert_int_equal(er_bus_new(&(struct er_bus_options){0}, &t->f.bus), 0);
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
    }
    assert_int_equal(pull_all(sub, &t->got), 0);
    int kept = t->got.n - 1;
    expect_facts(&t->got, 0, 1, kept);
    assert_int_equal(t->got.ev[kept].kind, ER_BUS_GAP);
    assert_int_equal(t->got.ev[kept].from, kept + 1);
    assert_int_equal(t->got.ev[kept].to, 100);
}

static void
bus__a_failing_source_is_asked_again_and_nothing_is_lost(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
    }
    t->f.fail_reads = 2;
    assert_int_equal(pull_all(sub, &t->got), ER_EIO);
    int before = t->got.n;
    assert_true(is_readable(sub));
    assert_int_equal(pull_all(sub, &t->got), ER_EIO);
    assert_int_equal(t->got.n, before);
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n, 1000);
    expect_facts(&t->got, 0, 1, 1000);
    struct er_bus_stats s;
    er_bus_sub_stats(sub, &s);
    assert_int_equal(s.errors, 2);
}

/* ---- from before ---- */

static void
bus__resumes_behind_a_number(void **state)
{
    struct test *t = *state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
    }
    struct er_bus_sub *sub = subscribe(
        t,
        (struct er_bus_subscription){.way = ER_BUS_PULL, .resume = true, .since = 400});
    assert_true(is_readable(sub));
    assert_int_equal(fixture_fact(&t->f, 1), 0); /* while it reads what was before */
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n, 601);
    expect_facts(&t->got, 0, 401, 1001);
}

static void
bus__resumes_also_over_facts_of_another_process(void **state)
{
    struct test *t = *state;
    t->f.last = 50;
    new_bus(t);
    struct er_bus_sub *all = subscribe(
        t, (struct er_bus_subscription){.way = ER_BUS_PULL, .resume = true, .since = 0});
    struct er_bus_sub *now = puller(t, 0);
    struct er_bus_sub *other = subscribe(
        t, (struct er_bus_subscription){.way = ER_BUS_PULL, .resume = true, .since = 51});
    assert_int_equal(fixture_fact(&t->f, 1), 0);
    assert_int_equal(pull_all(all, &t->got), 0);
    assert_int_equal(t->got.n, 51);
    t->got.n = 0;
    assert_int_equal(pull_all(now, &t->got), 0);
    assert_int_equal(t->got.n, 1);
    t->got.n = 0; /* a number that no fact has had: from now on */
    assert_int_equal(pull_all(other, &t->got), 0);
    assert_int_equal(t->got.n, 1);
    assert_int_equal(t->got.ev[0].seq, 51);
}

static struct er_bus_sub *late;

/* Publishes a fact, which is delivered when this callback has returned, and
 * subscribes. */
static void
publish_and_subscribe(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct test *t = ctx;
    (void)sub;
    if (ev->seq == 1) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
        late = subscribe(
            t, (struct er_bus_subscription){.way = ER_BUS_PULL, .resume = true});
    }
}

static void
bus__a_fact_that_comes_on_both_ways_is_given_once(void **state)
{
    struct test *t = *state;
    subscribe(t, (struct er_bus_subscription){
                     .way = ER_BUS_INLINE, .fn = publish_and_subscribe, .ctx = t});
    assert_int_equal(fixture_fact(&t->f, 1), 0);
    assert_int_equal(fixture_fact(&t->f, 1), 0);
    struct er_bus_stats s;
    er_bus_sub_stats(late, &s);
    assert_int_equal(s.published, 2); /* the second is in its buffer, and in the store */
    assert_int_equal(pull_all(late, &t->got), 0);
    assert_int_equal(t->got.n, 3);
    expect_facts(&t->got, 0, 1, 3);
}

static void
bus__resuming_behind_what_is_gone_begins_with_a_gap(void **state)
{
    struct test *t = *state;
    t->f.first = 31;
    t->f.last = 50;
    new_bus(t);
    struct er_bus_sub *sub = subscribe(
        t, (struct er_bus_subscription){.way = ER_BUS_PULL, .resume = true, .since = 10});
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n, 21);
    assert_int_equal(t->got.ev[0].kind, ER_BUS_GAP);
    assert_int_equal(t->got.ev[0].from, 11);
    assert_int_equal(t->got.ev[0].to, 30);
    expect_facts(&t->got, 1, 31, 50);
}

static void
bus__a_subscriber_to_samples_resumes_nothing(void **state)
{
    struct test *t = *state;
    t->f.last = 50;
    new_bus(t);
    struct er_bus_sub *sub = subscribe(
        t, (struct er_bus_subscription){
               .way = ER_BUS_PULL, .filter = {.kinds = ER_BUS_SAMPLE}, .resume = true});
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n + t->f.reads, 0);
}

static void
bus__a_cursor_goes_on_where_its_subscriber_was(void **state)
{
    struct test *t = *state;
    struct er_bus_subscription s = {.way = ER_BUS_PULL, .cursor = "mine"};
    const struct er_bus_event *ev;
    t->f.last = 5;
    new_bus(t);
    struct er_bus_sub *sub = subscribe(t, s); /* a new one begins now, ... */
    assert_int_equal(t->f.cursor_seq, 5);     /* and is known from now on */
    assert_int_equal(er_bus_pull(sub, &ev), 0);
    assert_int_equal(t->f.saves, 1);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(er_bus_pull(sub, &ev), 1);
    }
    assert_int_equal(er_bus_unsubscribe(sub), 0); /* it is done with the fourth, too */
    assert_int_equal(t->f.cursor_seq, 9);
    assert_int_equal(fixture_fact(&t->f, 1), 0);
    sub = subscribe(t, s);
    assert_int_equal(pull_all(sub, &t->got), 0);
    assert_int_equal(t->got.n, 7);
    expect_facts(&t->got, 0, 10, 16);
    assert_int_equal(t->f.cursor_seq, 16);
    int saves = t->f.saves;
    assert_int_equal(er_bus_pull(sub, &ev), 0); /* nothing new: nothing is written */
    assert_int_equal(t->f.saves, saves);
}

static void
end_at_three(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct test *t = ctx;
    got_add(&t->got, ev);
    if (ev->seq == 3) {
        assert_int_equal(er_bus_unsubscribe(sub), 0);
    }
}

static void
bus__a_cursor_is_saved_when_its_subscriber_ends_itself(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub = subscribe(
        t, (struct er_bus_subscription){
               .way = ER_BUS_TURN, .fn = end_at_three, .ctx = t, .cursor = "mine"});
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
    }
    assert_int_equal(er_bus_turn(sub, 0), 3);
    assert_int_equal(t->f.cursor_seq, 3);
}

static void
bus__a_new_cursor_may_begin_at_a_number(void **state)
{
    struct test *t = *state;
    t->f.last = 20;
    new_bus(t);
    struct er_bus_sub *sub = subscribe(
        t, (struct er_bus_subscription){
               .way = ER_BUS_PULL, .cursor = "mine", .resume = true, .since = 15});
    assert_int_equal(t->f.cursor_seq, 15);
    assert_int_equal(pull_all(sub, &t->got), 0);
    expect_facts(&t->got, 0, 16, 20);
    assert_int_equal(t->f.cursor_seq, 20);
}

static void
bus__a_cursor_has_one_subscriber(void **state)
{
    struct test *t = *state;
    struct er_bus_subscription s = {.way = ER_BUS_PULL, .cursor = "mine"};
    struct er_bus_sub *sub = subscribe(t, s), *second = NULL;
    struct er_err err;
    assert_int_equal(er_bus_subscribe(t->f.bus, &s, &second, &err), ER_EEXISTS);
    assert_non_null(strstr(err.text, "'mine'"));
    assert_int_equal(er_bus_unsubscribe(sub), 0);
    sub = subscribe(t, s);
    assert_int_equal(er_bus_unsubscribe(sub), 0);
    t->f.fail_cursor = 1;
    assert_int_equal(er_bus_subscribe(t->f.bus, &s, &second, &err), ER_EIO);
    assert_null(second);
    t->f.fail_cursor = 0;
    (void)subscribe(t, s); /* the one that failed does not hold it */
}

static void
bus__a_cursor_that_cannot_be_saved_is_saved_later(void **state)
{
    struct test *t = *state;
    struct er_bus_sub *sub =
        subscribe(t, (struct er_bus_subscription){.way = ER_BUS_PULL, .cursor = "mine"});
    assert_int_equal(fixture_fact(&t->f, 1), 0);
    t->f.fail_cursor = 1;
    assert_int_equal(pull_all(sub, &t->got), 0);
    const struct er_bus_event *ev;
    assert_int_equal(er_bus_pull(sub, &ev), 0); /* tried again, in vain */
    assert_int_equal(t->f.cursor_seq, 0);
    t->f.fail_cursor = 0;
    assert_int_equal(er_bus_pull(sub, &ev), 0);
    assert_int_equal(t->f.cursor_seq, 1);
    struct er_bus_stats s;
    er_bus_sub_stats(sub, &s);
    assert_int_equal(s.errors, 2);
}

/* ---- metrics, and memory that is out ---- */

static void
bus__metrics_stay_when_subscribers_go(void **state)
{
    struct test *t = *state;
    struct er_bus_stats before, after;
    struct er_bus_sub *sub = puller(t, ER_BUS_BUFFER_MIN);
    subscribe(t,
              (struct er_bus_subscription){
                  .way = ER_BUS_INLINE, .fn = on_event, .ctx = &t->got, .ended = on_end});
    for (int i = 0; i < 500; i++) {
        assert_int_equal(fixture_fact(&t->f, 1), 0);
        assert_int_equal(fixture_sample(&t->f, "a", 1, i), 0);
    }
    er_bus_stats(t->f.bus, &before);
    assert_int_equal(before.published, 1000);
    assert_int_equal(before.delivered, 1000);
    assert_true(before.lag > 490);
    assert_int_equal(t->got.n, 1000);
    assert_int_equal(pull_all(sub, &t->got), 0);
    er_bus_stats(t->f.bus, &before);
    assert_int_equal(before.delivered, t->got.n);
    assert_int_equal(before.delivered, 2000 - before.coalesced);
    assert_int_equal(before.lag, 0);
    assert_int_equal(er_bus_unsubscribe(sub), 0);
    er_bus_stats(t->f.bus, &after);
    assert_memory_equal(&before, &after, sizeof after);
}

/* All that a subscriber can see while the n-th allocation fails; what came anyway is
 * right. */
static void
try_all(struct test *t, int64_t *base)
{
    struct er_bus *bus;
    struct er_bus_sub *sub, *cursor, *in;
    struct er_bus_options o = fixture_options(&t->f);
    const char *const names[] = {"fact", "s1"};
    if (er_bus_new(&o, &bus) != 0) {
        return;
    }
    t->f.bus = bus;
    struct er_bus_subscription s = {
        .way = ER_BUS_PULL,
        .buffer = ER_BUS_BUFFER_MIN,
        .filter = {.names = names, .n_names = 2, .prefix = "s"}};
    struct er_bus_subscription c = {.way = ER_BUS_TURN,
                                    .fn = on_event,
                                    .ctx = &t->got,
                                    .cursor = "mine",
                                    .filter = {.correlation = "none"}};
    struct er_bus_subscription i = {
        .way = ER_BUS_INLINE, .fn = on_event, .ctx = &t->got, .filter = {.task = 9}};
    struct er_err err;
    int rc = er_bus_subscribe(bus, &s, &sub, &err);
    assert_true(rc == 0 || rc == ER_ENOMEM);
    int rc2 = er_bus_subscribe(bus, &c, &cursor, &err);
    assert_true(rc2 == 0 || rc2 == ER_ENOMEM);
    int rc3 = er_bus_subscribe(bus, &i, &in, &err);
    assert_true(rc3 == 0 || rc3 == ER_ENOMEM);
    *base = t->f.last;
    for (int k = 0; k < 100; k++) { /* publishing needs no memory to succeed */
        assert_int_equal(fixture_fact(&t->f, 1), 0);
        assert_int_equal(fixture_sample(&t->f, k % 2 ? "s1" : "s2", 1, k), 0);
    }
    if (rc2 == 0) {
        (void)er_bus_unsubscribe(cursor);
    }
    t->got.n = 0;
    if (rc == 0) {
        int end;
        while ((end = pull_all(sub, &t->got)) != 0) {
            assert_int_equal(end, ER_ENOMEM);
        }
        (void)er_bus_unsubscribe(sub);
    } else {
        t->got.n = -1;
    }
}

static void
bus__every_allocation_may_fail(void **state)
{
    struct test *t = *state;
    er_bus_free(t->f.bus);
    int whole = 0;
    for (long n = 1;; n++) {
        int64_t base = 0;
        t->f.bus = NULL;
        t->f.cursor_seq = -1;
        t->got.n = -1;
        er_mem_fault_set(n, 0);
        try_all(t, &base);
        int hit = er_mem_fault_hit();
        er_mem_fault_set(0, 0);
        int64_t last = base, samples = 0, value = -1;
        for (int i = 0; i < t->got.n; i++) {
            if (t->got.ev[i].kind == ER_BUS_FACT) {
                assert_int_equal(t->got.ev[i].seq, ++last);
            } else if (t->got.ev[i].kind == ER_BUS_MISSED) {
                samples += t->got.ev[i].to;
            } else {
                assert_true(t->got.ev[i].value > value);
                value = t->got.ev[i].value;
                samples++;
            }
        }
        if (t->got.n >= 0) {
            assert_int_equal(last, base + 100);
            assert_true(samples >= 2);
            whole++;
        }
        er_bus_free(t->f.bus);
        t->f.bus = NULL;
        if (!hit) {
            assert_true(n > 15);
            break;
        }
    }
    assert_true(whole > 5);
}

int
main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(bus__an_event_arrives_whole_in_every_way),
        CASE(bus__an_event_without_payload_and_correlation_has_none),
        CASE(bus__publish_refuses_what_is_no_event),
        CASE(bus__many_in_one_call_come_as_if_one_by_one),
        CASE(bus__a_fact_that_does_not_rise_is_refused),
        CASE(bus__a_filter_lets_through_what_fits_all_of_it),
        CASE(bus__a_bad_subscription_is_refused_by_its_member),
        CASE(bus__the_descriptor_is_readable_while_there_is_something),
        CASE(bus__a_turn_calls_at_most_as_many_as_asked_for),
        CASE(bus__turn_and_pull_are_for_their_own_kind),
        CASE(bus__a_full_buffer_coalesces_samples_to_the_latest),
        CASE(bus__after_a_full_buffer_all_is_as_before),
        CASE(bus__samples_that_grow_are_coalesced_too),
        CASE(bus__what_does_not_even_fit_coalesced_is_told_as_missed),
        CASE(bus__a_payload_larger_than_the_buffer_is_missed_or_read_again),
        CASE(bus__facts_that_found_no_place_are_read_again),
        CASE(bus__facts_read_again_are_filtered),
        CASE(bus__samples_and_facts_keep_their_order_through_a_full_buffer),
        CASE(bus__samples_keep_their_place_also_between_facts_of_others),
        CASE(bus__facts_that_are_gone_are_told_as_a_gap),
        CASE(bus__facts_that_go_while_they_are_read_are_a_gap_too),
        CASE(bus__without_a_source_what_was_left_out_is_a_gap),
        CASE(bus__a_failing_source_is_asked_again_and_nothing_is_lost),
        CASE(bus__resumes_behind_a_number),
        CASE(bus__resumes_also_over_facts_of_another_process),
        CASE(bus__a_fact_that_comes_on_both_ways_is_given_once),
        CASE(bus__resuming_behind_what_is_gone_begins_with_a_gap),
        CASE(bus__a_subscriber_to_samples_resumes_nothing),
        CASE(bus__a_cursor_goes_on_where_its_subscriber_was),
        CASE(bus__a_cursor_is_saved_when_its_subscriber_ends_itself),
        CASE(bus__a_new_cursor_may_begin_at_a_number),
        CASE(bus__a_cursor_has_one_subscriber),
        CASE(bus__a_cursor_that_cannot_be_saved_is_saved_later),
        CASE(bus__metrics_stay_when_subscribers_go),
        CASE(bus__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
