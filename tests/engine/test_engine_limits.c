/* SPDX-License-Identifier: MIT */
/* Limits in an engine with a store: of types, limit keys, queues and rates; the switch
 * over everything; what is told of them. */
#include "engine_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MANY ((size_t)10000)
#else
#define MANY ((size_t)100000)
#endif

static struct er_new_task
task(const char *queue, const char *type, const char *key, int priority)
{
    struct er_new_task row = f_new();
    row.queue = queue;
    row.type = type;
    row.limit_key = key;
    row.priority = priority;
    return row;
}

static struct er_new_task
costing(const char *key, int64_t cost, int priority)
{
    struct er_new_task row = task("default", "shell", key, priority);
    row.cost = cost;
    return row;
}

/* Settings of a limit key: concurrency, then rates as texts up to a NULL. */
static void
limit(struct fixture *f, const char *key, int concurrency, const char *rate,
      const char *rate2)
{
    struct er_limit l = {.key = key, .concurrency = concurrency};
    const char *texts[] = {rate, rate2};
    for (size_t i = 0; i < 2 && texts[i]; i++) {
        assert_int_equal(er_rate_parse(texts[i], &l.rates[l.n_rates++], NULL), 0);
    }
    er_engine_limit_changed(f->e, &l);
}

/* How long a rate takes to fill by one token. */
static er_usec
token(const char *rate)
{
    struct er_rate r;
    assert_int_equal(er_rate_parse(rate, &r, NULL), 0);
    return (er_bucket_span(&r) + r.n - 1) / r.n;
}

/* How many runs come; they are ended at once. */
static size_t
runs_that_come(struct worker *w)
{
    struct er_held h;
    size_t n = 0;
    f_settle(w->f);
    while (w_has_run(w, &h)) {
        assert_int_equal(w_end(w, h, 0), 0);
        n++;
        f_settle(w->f);
    }
    return n;
}

/* ---- permits ---- */

static void
saturated_or_paused__of_a_hundred_thousand__hold_up_nobody(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "paused", 0, true);
    f_queue(f, "narrow", 1, false);
    f_type(f, "rare", 1);
    limit(f, "one", 1, NULL, NULL);
    limit(f, "slow", 0, "1/1h", NULL);
    (void)f_add_many(f, task("paused", "shell", NULL, 100), MANY);
    er_task_id narrow = f_add_many(f, task("narrow", "shell", NULL, 90), MANY);
    er_task_id rare = f_add_many(f, task("default", "rare", NULL, 80), MANY);
    er_task_id one = f_add_many(f, task("default", "shell", "one", 70), MANY);
    (void)f_add_many(f, task("default", "shell", "slow", 60), MANY);
    struct worker *w = w_new(f, 8);
    assert_int_equal(w_run(w).task, narrow);
    assert_int_equal(w_run(w).task, rare);
    assert_int_equal(w_run(w).task, one);
    for (int i = 0; i < 50; i++) {
        er_task_id id = f_add(f, task("default", "shell", NULL, -100));
        struct er_held h = w_run(w);
        assert_int_equal(h.task, id);
        assert_int_equal(w_end(w, h, 0), 0);
    }
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
}

static void
type_limit_over_a_thousand_lanes__is_kept_in_order(void **state)
{
    struct fixture *f = *state;
    struct er_new_task rows[1000];
    char keys[1000][8];
    er_task_id ids[1000];
    int rc;
    f_type(f, "rare", 2);
    for (size_t i = 0; i < 1000; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%zu", i);
        rows[i] = task("default", "rare", keys[i], 0);
    }
    f_post_submit(f, rows, 1000, &rc, ids);
    f_until(f, rc <= 0);
    assert_int_equal(rc, 0);
    struct worker *w = w_new(f, 10);
    struct er_held a = w_run(w);
    for (size_t i = 1; i < 200; i++) {
        struct er_held b = w_run(w);
        assert_int_equal(a.task, ids[i - 1]);
        f_settle(f);
        assert_int_equal(w_count(w, "run"), 0); /* two at a time */
        assert_int_equal(w_end(w, a, 0), 0);
        a = b;
    }
    er_task_id other = f_add(f, task("default", "shell", "k7", -100));
    f_settle(f);
    assert_int_equal(w_run(w).task, ids[200]);
    assert_int_equal(w_run(w).task, other);
}

static void
thousand_keys__run_one_task_each(void **state)
{
    struct fixture *f = *state;
    size_t n = MANY / 20, ended = 0;
    struct er_new_task *rows = calloc(n, sizeof *rows);
    char(*keys)[8] = calloc(1000, sizeof *keys);
    er_task_id *ids = calloc(n, sizeof *ids);
    bool running[1000] = {0};
    int rc;
    assert_true(rows && keys && ids);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(keys[i % 1000], sizeof keys[0], "k%zu", i % 1000);
        rows[i] = task("default", "shell", keys[i % 1000], 0);
    }
    for (size_t i = 0; i < 1000; i++) {
        limit(f, keys[i], 1, NULL, NULL);
    }
    f_post_submit(f, rows, n, &rc, ids);
    f_until(f, rc <= 0);
    assert_int_equal(rc, 0);
    struct worker *w = w_new(f, 1500); /* more than may run */
    struct er_held held[1000];
    while (ended < n) {
        size_t k = 0;
        f_settle(f);
        while (k < 1000 && w_has_run(w, &held[k])) {
            size_t key = (size_t)(held[k].task - ids[0]) % 1000;
            assert_false(running[key]);
            running[key] = true;
            k++;
        }
        assert_true(k > 0);
        for (size_t i = 0; i < k; i++) {
            int *code = er_arena_alloc(&f->arena, sizeof *code);
            running[(size_t)(held[i].task - ids[0]) % 1000] = false;
            w_post(w, code, w_finished(f, held[i], 0, ""));
            ended++;
        }
    }
    f_settle(f);
    free(rows);
    free(keys);
    free(ids);
}

static void
limit_lowered_below_what_runs__ends_nothing(void **state)
{
    struct fixture *f = *state;
    limit(f, "k", 4, NULL, NULL);
    (void)f_add_many(f, task("default", "shell", "k", 0), 10);
    struct worker *w = w_new(f, 10);
    struct er_held h[4];
    for (size_t i = 0; i < 4; i++) {
        h[i] = w_run(w);
    }
    limit(f, "k", 2, NULL, NULL);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(w_end(w, h[i], 0), 0);
        f_settle(f);
        assert_int_equal(w_count(w, "run"), 0);
    }
    assert_int_equal(w_count(w, "cancel"), 0);
    assert_int_equal(w_end(w, h[2], 0), 0);
    (void)w_run(w);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    er_engine_limit_removed(f->e, "k");
    for (size_t i = 0; i < 5; i++) {
        (void)w_run(w);
    }
}

/* ---- rates ---- */

static void
rate__is_kept_and_never_idles(void **state)
{
    struct fixture *f = *state;
    limit(f, "api", 0, "10/1s", NULL);
    (void)f_add_many(f, task("default", "shell", "api", 0), 30);
    struct worker *w = w_new(f, 40);
    assert_int_equal(runs_that_come(w), 0); /* a bucket begins empty */
    for (int i = 0; i < 30; i++) {
        f_pass(f, token("10/1s") - 1);
        assert_int_equal(runs_that_come(w), 0);
        f_pass(f, 1);
        assert_int_equal(runs_that_come(w), 1);
    }
    assert_true(er_gates_due_at(f->e) == ER_NEVER); /* nobody waits: no alarm */
}

static void
rate__of_a_queue_holds_up_no_other(void **state)
{
    struct fixture *f = *state;
    struct er_queue q = {.name = "slow", .n_rates = 1};
    assert_int_equal(er_rate_parse("1/1m", &q.rates[0], NULL), 0);
    er_engine_queue_changed(f->e, &q);
    (void)f_add_many(f, task("slow", "shell", NULL, 100), 100);
    struct worker *w = w_new(f, 4);
    er_task_id id = f_add(f, task("default", "shell", NULL, -100));
    assert_int_equal(w_run(w).task, id);
    f_pass(f, token("1/1m"));
    assert_int_equal(runs_that_come(w), 1);
}

static void
clock_that_is_set__changes_no_rate(void **state)
{
    struct fixture *f = *state;
    limit(f, "api", 0, "1/1m", NULL);
    (void)f_add_many(f, task("default", "shell", "api", 0), 5);
    struct worker *w = w_new(f, 10);
    assert_int_equal(runs_that_come(w), 0);
    f->wall += 3600 * SEC;
    er_schedule_alarm(f->e); /* as the loop does when it hears of it */
    assert_int_equal(runs_that_come(w), 0);
    assert_true(er_gates_due_at(f->e) == f->wall + token("1/1m"));
    f->wall -= 2 * 3600 * SEC;
    er_schedule_alarm(f->e);
    f_pass(f, token("1/1m"));
    assert_int_equal(runs_that_come(w), 1);
}

static void
several_rates__hold_at_once(void **state)
{
    struct fixture *f = *state;
    limit(f, "llm", 0, "10/1s:starts", "60/1m:burst=60");
    for (int i = 0; i < 30; i++) {
        (void)f_add(f, costing("llm", 2, 0));
    }
    struct worker *w = w_new(f, 40);
    f_pass(
        f,
        60 * token(
                 "60/1m")); /* 60 tokens are worth 30 starts, a tenth of a second apart */
    size_t n = runs_that_come(w);
    assert_int_equal(n, 1);
    for (int i = 0; i < 29; i++) {
        f_pass(f, token("10/1s"));
        n += runs_that_come(w);
    }
    assert_int_equal(n, 30);
    (void)f_add(f, costing("llm", 60, 0)); /* what came meanwhile is not enough */
    assert_int_equal(runs_that_come(w), 0);
    f_pass(f, 60 * token("60/1m"));
    assert_int_equal(runs_that_come(w), 1);
}

static void
first_in_line_that_goes__frees_those_behind_it(void **state)
{
    struct fixture *f = *state;
    limit(f, "api", 0, "1/1s", NULL);
    er_task_id dear = f_add(f, costing("api", 1000, 30)),
               held = f_add(f, costing("api", 1000, 20)),
               edited = f_add(f, costing("api", 1000, 10));
    er_task_id cheap = f_add(f, costing("api", 1, 0));
    struct worker *w = w_new(f, 4);
    f_pass(f, 5 * SEC);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, dear), 0);
    assert_int_equal(f_change(f, ER_CHANGE_PAUSE, held), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    f_edit(f, edited, (struct er_edit){.has_cost = true, .cost = 1});
    f_pass(f, token("1/1s"));
    assert_int_equal(w_run(w).task, edited);
    f_pass(f, token("1/1s"));
    assert_int_equal(w_run(w).task, cheap);
}

static void
claim_that_misses__gives_its_token_back(void **state)
{
    struct fixture *f = *state;
    int rc;
    limit(f, "api", 0, "1/1h", NULL);
    struct worker *w = w_new(f, 0);
    er_task_id a = f_add(f, costing("api", 1, 10)), b = f_add(f, costing("api", 1, 0));
    f_pass(f, token("1/1h"));
    f_block(f);
    f_post_change(f, ER_CHANGE_CANCEL, a, false, &rc);
    er_engine_set_slots(f->e, w->session, 1);
    f_flush(f); /* the claim comes behind the cancel */
    f_unblock(f);
    assert_int_equal(rc, 0);
    assert_int_equal(w_run(w).task, b);
}

static void
attempt_given_back__gives_its_token_back(void **state)
{
    struct fixture *f = *state;
    limit(f, "api", 0, "1/1h", NULL);
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, costing("api", 1, 0));
    f_pass(f, token("1/1h"));
    assert_int_equal(w_run(w).task, id);
    w_detach(w);
    assert_int_equal(w_attach(w, NULL, 0, NULL, 0), 0); /* it has never had it */
    struct er_held h = w_run(w);
    assert_int_equal(h.task, id);
    assert_int_equal(h.attempt, 1);
}

/* ---- switches ---- */

static void
everything_paused__nothing_is_claimed(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 4);
    er_limits_pause_all(f->e, true);
    er_task_id id = f_add(f, f_new());
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_true(er_engine_all_paused(f->e));
    er_limits_pause_all(f->e, false);
    assert_int_equal(w_run(w).task, id);
}

static void
draining__nothing_is_claimed(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 4);
    er_engine_set_draining(f->e);
    er_task_id id = f_add(f, f_new());
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
}

struct put {
    struct er_op op;
    struct er_limit limit;
    struct er_type_row type;
    int rc;
};

static int
run_put(struct er_op *op, struct er_store *s, er_usec now)
{
    struct put *p = (struct put *)(void *)op;
    int rc = er_store_limit_put(s, now, &p->limit);
    return rc ? rc : er_store_type_put(s, now, &p->type);
}

static void
done_put(struct er_op *op, int rc)
{
    ((struct put *)(void *)op)->rc = rc;
}

static void
restart__keeps_limits_and_counts_what_runs(void **state)
{
    struct fixture *f = *state;
    struct put p = {.op = {.run = run_put, .done = done_put},
                    .limit = {.key = "k", .concurrency = 2, .n_rates = 1},
                    .type = {"rare", "{\"concurrency\":1,\"retries\":3}"},
                    .rc = 1};
    assert_int_equal(er_rate_parse("1/1s", &p.limit.rates[0], NULL), 0);
    er_engine_post(f->e, &p.op);
    f_until(f, p.rc <= 0);
    assert_int_equal(p.rc, 0);
    er_engine_limit_changed(f->e, &p.limit);
    (void)f_add_many(f, task("default", "shell", "k", 0), 5);
    struct worker *w = w_new(f, 10);
    f_pass(f, token("1/1s"));
    struct er_held h = w_run(w);
    assert_int_equal(w_start(w, h), 0);
    f_close(f);
    f->wall += 3600 * SEC;
    f->mono += 3600 * SEC;
    f_open(f);
    struct er_gate_view v;
    assert_true(er_engine_gate(f->e, ER_GATE_KEY, "k", &v));
    assert_int_equal(v.running, 1);
    assert_int_equal(v.concurrency, 2);
    assert_true(v.n_rates == 1 && v.level[0] == 0); /* empty after a start */
    assert_int_equal(er_engine_type(f->e, "rare")->retries, 3);
    assert_true(er_engine_gate(f->e, ER_GATE_TYPE, "rare", &v));
    assert_int_equal(v.concurrency, 1);
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    f_pass(f, token("1/1s"));
    (void)w_run(w);
    f_pass(f, token("1/1s"));
    assert_int_equal(w_count(w, "run"), 0); /* both permits are taken */
}

/* ---- what is told ---- */

static enum er_held_by
assert_why(struct fixture *f, er_task_id id, const char *want)
{
    struct er_task t = f_get(f, id);
    struct er_buf b;
    er_buf_init(&b, 0);
    enum er_held_by by = er_engine_why_queued(f->e, &t, &b, &(er_usec){0});
    if (!strstr(b.data, want)) {
        fail_msg("'%s' instead of '%s'", b.data, want);
    }
    er_buf_fini(&b);
    return by;
}

static void
why__names_what_stands_in_the_way(void **state)
{
    struct fixture *f = *state;
    f_type(f, "t", 0);
    er_task_id id = f_add(f, task("q", "t", "k", 0));
    assert_int_equal(assert_why(f, id, "no worker is there yet"), ER_HELD_BY_NO_WORKER);
    struct worker *w = w_new(f, 1);
    (void)w_run(w);
    id = f_add(f, task("q", "t", "k", 0));
    f_settle(f);
    assert_why(f, id, "all slots are taken: 1 task runs");
    er_engine_set_slots(f->e, w->session, 9);
    limit(f, "k", 1, NULL, NULL);
    assert_why(f, id, "limit key 'k' runs 1 of at most 1 task");
    f_type(f, "t", 1);
    assert_why(f, id, "type 't' runs 1 of at most 1 task");
    f_queue(f, "q", 1, false);
    assert_why(f, id, "queue 'q' runs 1 of at most 1 task");
    f_queue(f, "q", 1, true);
    assert_int_equal(assert_why(f, id, "queue 'q' is paused"), ER_HELD_BY_QUEUE);
    er_limits_pause_all(f->e, true);
    assert_int_equal(assert_why(f, id, "everything is paused"), ER_HELD_BY_ALL);
    er_engine_set_draining(f->e);
    assert_int_equal(assert_why(f, id, "nothing is started any more"), ER_HELD_BY_ENDING);
}

static void
why__names_the_rate_and_until_when(void **state)
{
    struct fixture *f = *state;
    f->wall = INT64_C(1769851800) * SEC;
    limit(f, "api", 0, "60/1m", "5000/1h:burst=100");
    er_task_id id = f_add(f, costing("api", 3, 0)), next = f_add(f, costing("api", 1, 0));
    struct worker *w = w_new(f, 4);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_why(f, id,
               "limit key 'api' lets 60/1m through, nobody until "
               "2026-01-31T09:30:03.002Z, in 3.0s");
    assert_why(f, next,
               "limit key 'api' lets 60/1m through, nobody until "
               "2026-01-31T09:30:03.002Z");
    struct er_gate_view v;
    assert_true(er_engine_gate(f->e, ER_GATE_KEY, "api", &v));
    assert_true(v.open_at > f->wall + 3 * SEC &&
                v.open_at <= f->wall + 3 * token("60/1m"));
    f_pass(f, token("60/1m"));
    assert_true(er_engine_gate(f->e, ER_GATE_KEY, "api", &v));
    assert_true(v.level[0] >= 1.0 && v.level[0] < 1.001 && v.n_rates == 2 &&
                v.rates[1].burst == 100);
    assert_false(er_engine_gate(f->e, ER_GATE_KEY, "nobody", &v));
}

static void
types__are_known_by_their_definition(void **state)
{
    struct fixture *f = *state;
    const struct er_type *t = er_engine_type(f->e, "hash");
    assert_string_equal(t->name, "hash");
    assert_int_equal(t->retries, -1);
    struct er_type mine = *t;
    mine.retries = 7;
    mine.help = "hashes a file";
    er_engine_type_changed(f->e, &mine);
    assert_int_equal(er_engine_type(f->e, "hash")->retries, 7);
    er_engine_type_changed(f->e, er_engine_type(f->e, "hash")); /* by its own copy */
    assert_string_equal(er_engine_type(f->e, "hash")->help, "hashes a file");
    er_engine_type_removed(f->e, "hash");
    assert_int_equal(er_engine_type(f->e, "hash")->retries, -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(saturated_or_paused__of_a_hundred_thousand__hold_up_nobody),
        TEST(type_limit_over_a_thousand_lanes__is_kept_in_order),
        TEST(thousand_keys__run_one_task_each),
        TEST(limit_lowered_below_what_runs__ends_nothing),
        TEST(rate__is_kept_and_never_idles),
        TEST(rate__of_a_queue_holds_up_no_other),
        TEST(clock_that_is_set__changes_no_rate),
        TEST(several_rates__hold_at_once),
        TEST(first_in_line_that_goes__frees_those_behind_it),
        TEST_HELD(claim_that_misses__gives_its_token_back),
        TEST(attempt_given_back__gives_its_token_back),
        TEST(everything_paused__nothing_is_claimed),
        TEST(draining__nothing_is_claimed),
        TEST(restart__keeps_limits_and_counts_what_runs),
        TEST(why__names_what_stands_in_the_way),
        TEST(why__names_the_rate_and_until_when),
        TEST(types__are_known_by_their_definition),
    };
    return RUN(tests, NULL, NULL);
}
