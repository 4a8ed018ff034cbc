/* SPDX-License-Identifier: MIT */
/* Settings: rates of queues and limit keys, types, the switch for everything. (What a
 * queue's size and removal do is in test_store_change.c.) */
#include <string.h>

#include "store_fixture.h"

static const struct er_rate per_minute = {
    .n = 60, .per_for = 60 * SEC, .burst = 1, .starts = false};
static const struct er_rate tokens = {
    .n = 90000, .per_for = 3600 * SEC + 1, .burst = 500, .starts = true};

static bool
same(const struct er_rate *a, const struct er_rate *b)
{
    return a->n == b->n && a->per_for == b->per_for && a->burst == b->burst &&
           a->starts == b->starts;
}

static void
rates__of_a_queue_come_back_as_they_were(void **state)
{
    struct fixture *f = *state;
    struct er_queue q = {.name = "api", .rates = {per_minute, tokens}, .n_rates = 2};
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    f_commit(f);
    assert_string_equal(f_facts(f), "queue-changed 0");
    assert_non_null(strstr(f_data(f, 0), "\"rates\":[\"60/1m\",\"90000/"));
    if (!f->in_memory) {
        f_reopen(f);
    }
    struct er_store_state st = f_load(f);
    assert_int_equal(st.n_queues, 1);
    assert_int_equal(st.queues[0].n_rates, 2);
    assert_true(same(&st.queues[0].rates[0], &per_minute));
    assert_true(same(&st.queues[0].rates[1], &tokens));
    struct er_queue *queues;
    size_t n;
    assert_int_equal(er_store_queues(f->r, &f->arena, &queues, &n), 0);
    assert_true(n == 1 && queues[0].n_rates == 2);
    q.n_rates = 0;
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    f_commit(f);
    assert_int_equal(f_load(f).queues[0].n_rates, 0);
}

static void
rates__out_of_bounds_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct er_rate bad[] = {
        {.n = 0, .per_for = SEC, .burst = 1},
        {.n = -1, .per_for = SEC, .burst = 1},
        {.n = 2, .per_for = 0, .burst = 1},
        {.n = 2, .per_for = SEC, .burst = 0},
        {.n = 2, .per_for = SEC, .burst = 3},
        {.n = 1000000001, .per_for = SEC, .burst = 1},
        {.n = 1, .per_for = 366 * 86400 * SEC, .burst = 1},
    };
    f_begin(f);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct er_queue q = {.name = "q", .rates = {per_minute, bad[i]}, .n_rates = 2};
        struct er_limit l = {.key = "k", .rates = {bad[i]}, .n_rates = 1};
        assert_int_equal(er_store_queue_put(f->s, f->now, &q), ER_EINVALID);
        assert_int_equal(er_store_limit_put(f->s, f->now, &l), ER_EINVALID);
    }
    struct er_queue many = {.name = "q", .n_rates = ER_MAX_RATES + 1};
    assert_int_equal(er_store_queue_put(f->s, f->now, &many), ER_EINVALID);
    struct er_limit negative = {.key = "k", .concurrency = -1};
    assert_int_equal(er_store_limit_put(f->s, f->now, &negative), ER_EINVALID);
    f_commit(f); /* what was refused has left the transaction good */
    assert_int_equal(f->fx.n_facts, 0);
    assert_true(f_load(f).n_queues == 0 && f_load(f).n_limits == 0);
}

static void
limits__hold_until_they_are_removed(void **state)
{
    struct fixture *f = *state;
    struct er_limit l = {
        .key = "a key", .concurrency = 2, .rates = {per_minute}, .n_rates = 1};
    struct er_new_task row = f_new();
    row.limit_key = "a key";
    (void)f_add(f, row);
    f_begin(f);
    assert_int_equal(er_store_limit_put(f->s, f->now, &l), 0);
    f_commit(f);
    assert_string_equal(f_facts(f), "limit-changed 0");
    assert_string_equal(f_data(f, 0),
                        "{\"key\":\"a key\",\"concurrency\":2,\"rates\":[\"60/1m\"]}");
    struct er_store_state st = f_load(f);
    assert_int_equal(st.n_limits, 1);
    assert_string_equal(st.limits[0].key, "a key");
    assert_true(st.limits[0].concurrency == 2 &&
                same(&st.limits[0].rates[0], &per_minute));
    struct er_limit *limits;
    size_t n;
    assert_int_equal(er_store_limits(f->r, &f->arena, &limits, &n), 0);
    assert_true(n == 1 && limits[0].n_rates == 1);
    f_begin(f);
    /* Tasks that carry it do not keep it. */
    assert_int_equal(er_store_limit_remove(f->s, f->now, "a key"), 0);
    assert_int_equal(er_store_limit_remove(f->s, f->now, "a key"), ER_ENOTFOUND);
    f_commit(f);
    assert_string_equal(f_data(f, 0), "{\"key\":\"a key\",\"removed\":true}");
    assert_int_equal(f_load(f).n_limits, 0);
}

static void
types__are_kept_as_they_are(void **state)
{
    struct fixture *f = *state;
    struct er_type_row type = {.name = "fetch", .definition_json = "{\"retries\":2}"};
    f_begin(f);
    assert_int_equal(er_store_type_put(f->s, f->now, &type), 0);
    assert_int_equal(er_store_type_put(f->s, f->now, &type), 0);
    f_commit(f);
    assert_string_equal(f_facts(f), "type-changed 0");
    assert_string_equal(f_data(f, 0),
                        "{\"type\":\"fetch\",\"definition\":{\"retries\":2}}");
    type.definition_json = "{}";
    f_begin(f);
    assert_int_equal(er_store_type_put(f->s, f->now, &type), 0);
    f_commit(f);
    struct er_store_state st = f_load(f);
    assert_int_equal(st.n_types, 1);
    assert_string_equal(st.types[0].name, "fetch");
    assert_string_equal(st.types[0].definition_json, "{}");
    f_begin(f);
    assert_int_equal(er_store_type_remove(f->s, f->now, "fetch"), 0);
    assert_int_equal(er_store_type_remove(f->s, f->now, "fetch"), ER_ENOTFOUND);
    f_commit(f);
    assert_string_equal(f_data(f, 0), "{\"type\":\"fetch\",\"removed\":true}");
    assert_int_equal(f_load(f).n_types, 0);
}

static void
pause_all__is_a_switch_that_is_kept(void **state)
{
    struct fixture *f = *state;
    assert_false(f_load(f).all_paused);
    f_begin(f);
    assert_int_equal(er_store_pause_all(f->s, f->now, false), 0);
    assert_int_equal(er_store_pause_all(f->s, f->now, true), 0);
    assert_int_equal(er_store_pause_all(f->s, f->now, true), 0);
    f_commit(f);
    assert_string_equal(f_facts(f), "queue-changed 0");
    assert_string_equal(f_data(f, 0), "{\"all\":true,\"paused\":true}");
    if (!f->in_memory) {
        f_reopen(f);
    }
    assert_true(f_load(f).all_paused);
    f_begin(f);
    assert_int_equal(er_store_pause_all(f->s, f->now, false), 0);
    f_commit(f);
    assert_string_equal(f_data(f, 0), "{\"all\":true,\"paused\":false}");
    assert_false(f_load(f).all_paused);
}

/* Two queues and two types make three lanes for the key; priorities lie across them. */
static void
waiters__are_the_first_of_all_lanes_and_counted(void **state)
{
    struct fixture *f = *state;
    static const char *const queues[] = {"a", "b", "a"}, *const types[] = {"t", "t", "u"};
    struct er_waiters w;
    er_task_id ids[12];
    for (int i = 0; i < 12; i++) {
        struct er_new_task row = f_new();
        row.queue = queues[i % 3];
        row.type = types[i % 3];
        row.limit_key = "k";
        row.priority = i == 11 ? 5 : 0;
        row.held = i == 4;
        ids[i] = f_add(f, row);
    }
    er_task_id other = f_add(f, f_new());
    struct er_waiters_of key = {.limit_key = "k"}, queue = {.queue = "a"}, all = {0};
    assert_int_equal(er_store_waiters(f->r, &key, 4, &f->arena, &w), 0);
    assert_int_equal(w.n, 11);
    assert_int_equal(w.n_first, 4);
    const er_task_id want[] = {ids[11], ids[0], ids[1], ids[2]};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(w.first[i].id, want[i]);
        assert_string_equal(w.first[i].limit_key, "k");
    }
    assert_int_equal(er_store_waiters(f->r, &queue, 4, &f->arena, &w), 0);
    assert_int_equal(w.n, 8);
    assert_int_equal(er_store_waiters(f->r, &all, 20, &f->arena, &w), 0);
    assert_int_equal(w.n, 12);
    assert_int_equal(w.n_first, 12);
    assert_int_equal(w.first[11].id, other);
    struct er_limit limits[] = {{.key = "j"}, {.key = "k"}, {.key = "z"}};
    int64_t n[3];
    assert_int_equal(er_store_key_waiters(f->r, limits, 3, n), 0);
    assert_true(n[0] == 0 && n[1] == 11 && n[2] == 0);
    (void)f_claim(f, ids[11]);
    assert_int_equal(er_store_waiters(f->r, &key, 4, &f->arena, &w), 0);
    assert_true(w.n == 10 && w.first[0].id == ids[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(rates__of_a_queue_come_back_as_they_were),
        BOTH(rates__out_of_bounds_are_refused),
        BOTH(limits__hold_until_they_are_removed),
        BOTH(types__are_kept_as_they_are),
        BOTH(pause_all__is_a_switch_that_is_kept),
        BOTH(waiters__are_the_first_of_all_lanes_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
