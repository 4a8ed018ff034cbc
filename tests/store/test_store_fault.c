/* SPDX-License-Identifier: MIT */
/* The store while memory or the disk fails: for n = 1, 2, 3, ... until none is hit, the
 * n-th allocation or write fails in a scenario that uses every verb of store.h. A
 * transaction that fails has changed nothing (the invariants hold), works when tried
 * again, and the end is always the same.
 *
 * Faults of our own allocations and of the disk replay the whole scenario. Those of
 * SQLite, of which there are thousands, replay the step in which they strike, from a copy
 * of the file as it was before. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault_vfs.h"
#include "store/sqlite_priv.h"
#include "store_fixture.h"

static struct {
    long memory, sqlite, disk, reading;
} injected; /* faults that have struck, for the figure at the end */

struct scene {
    struct er_store *s;
    int64_t session;
    struct er_arena arena;
    er_usec now;
};
typedef int step_fn(struct scene *c);

static int
open_session(struct scene *c)
{
    struct er_session session = {.worker = "w1", .token = "00", .pid = 1};
    er_store_set_ageing(c->s, 2 * ER_AGEING);
    int rc = er_store_session_open(c->s, c->now, &session);
    c->session = session.id;
    return rc;
}

static int
submit(struct scene *c)
{
    /* 1 <- 2 (ok), 3 (any), 4 (by reference to 2); 5 with everything; 6 later */
    struct er_new_after after[] = {{.ref = 0, .when = ER_AFTER_OK},
                                   {.ref = 0, .when = ER_AFTER_ANY},
                                   {.ref = 1, .when = ER_AFTER_OK}};
    struct er_new_task rows[6];
    for (size_t i = 0; i < 6; i++) {
        rows[i] = f_new();
        rows[i].after = i >= 1 && i <= 3 ? &after[i - 1] : NULL;
        rows[i].n_after = i >= 1 && i <= 3 ? 1 : 0;
        rows[i].signature = 7;
        rows[i].ask_takes = true;
    }
    rows[4].env_json = "{\"A\":\"1\"}";
    rows[4].tags_json = "[\"a\",\"b\"]";
    rows[4].key = "key";
    rows[4].queue = "other";
    rows[4].meta_json = "{}";
    rows[4].limit_key = "l";
    rows[4].parent = 0;
    rows[5].run_at = c->now + SEC;
    int rc = er_store_submit(c->s, c->now, rows, 6, true);
    assert_true(rc != 0 || rows[5].status == 0);
    return rc;
}

/* 7, a child of 1 that waits for 6. */
static int
submit_child(struct scene *c)
{
    struct er_new_after after = {.id = 6, .ref = -1};
    struct er_new_task row = f_new();
    row.parent = 1;
    row.inherit_correlation = true;
    row.after = &after;
    row.n_after = 1;
    row.expires_at = c->now + 3600 * SEC;
    int rc = er_store_submit(c->s, c->now, &row, 1, false);
    assert_true(rc != 0 || row.status == 0);
    return rc;
}

static int
put_settings(struct scene *c)
{
    struct er_rate rate = {.n = 60, .per_for = 60 * SEC, .burst = 1};
    struct er_queue q = {
        .name = "third", .concurrency = 1, .rates = {rate, rate}, .n_rates = 2};
    struct er_limit limit = {.key = "l", .rates = {rate}, .n_rates = 1};
    struct er_type_row type = {.name = "shell", .definition_json = "{}"};
    int rc = er_store_queue_put(c->s, c->now, &q);
    rc = rc ? rc : er_store_limit_put(c->s, c->now, &limit);
    rc = rc ? rc : er_store_type_put(c->s, c->now, &type);
    rc = rc ? rc : er_store_type_put(c->s, c->now, &type);
    return rc ? rc : er_store_pause_all(c->s, c->now, true);
}

static int
remove_settings(struct scene *c)
{
    int rc = er_store_pause_all(c->s, c->now, false);
    rc = rc ? rc : er_store_type_remove(c->s, c->now, "shell");
    rc = rc ? rc : er_store_limit_remove(c->s, c->now, "l");
    return rc ? rc : er_store_queue_remove(c->s, c->now, "third");
}

static int
claim(struct scene *c, er_task_id id, int *out_attempt)
{
    struct er_claim row = {.id = id, .session = c->session};
    int rc = er_store_claim(c->s, c->now, &row, 1, &c->arena);
    if (rc == 0) {
        assert_int_equal(row.status, 0);
        *out_attempt = row.task->attempt;
    }
    return rc;
}

static int
finish(struct scene *c, er_task_id id, int attempt, enum er_task_state state)
{
    struct er_finish row = {
        .id = id,
        .attempt = attempt,
        .session = c->session,
        .state = state,
        .run_at = state == ER_TASK_PAUSED ? c->now + SEC : ER_NEVER,
        .started_at = c->now,
        .finished_at = c->now + SEC,
        .outcome = ER_OUTCOME_COMPLETED,
        .result = "r",
        .result_len = 1,
        .error_json = "{}",
        .output_bytes = 100,
        .event = er_event_of_state(state),
        .event_data_json = "{\"duration_s\":1}",
    };
    int rc = er_store_finish(c->s, c->now, &row, 1);
    assert_true(rc != 0 || row.status == 0);
    return rc;
}

static int
run(struct scene *c, er_task_id id, enum er_task_state state)
{
    int attempt = 0;
    int rc = claim(c, id, &attempt);
    return rc ? rc : finish(c, id, attempt, state);
}

/* What an attempt may report before its end. */
static int
report(struct scene *c, er_task_id id)
{
    struct er_progress_row progress = {.id = id,
                                       .attempt = 1,
                                       .session = c->session,
                                       .progress_json = "1",
                                       .checkpoint_json = "2"};
    struct er_item_row items[] = {
        {.id = id, .attempt = 1, .session = c->session, .name = "a"},
        {.id = id, .attempt = 1, .session = c->session, .name = "b", .failed = true},
        {.id = id, .attempt = 1, .session = c->session, .name = "a", .failed = true},
    };
    struct er_suspend stop = {
        .id = id, .attempt = 1, .session = c->session, .paused = true};
    int rc = er_store_progress(c->s, &progress, 1);
    rc = rc ? rc : er_store_items_put(c->s, c->now, items, 3);
    rc = rc ? rc : er_store_suspend(c->s, c->now, &stop, 1);
    stop.paused = false;
    rc = rc ? rc : er_store_suspend(c->s, c->now, &stop, 1);
    bool ok = progress.status == 0 && items[2].status == 0 && stop.status == 0;
    assert_true(rc != 0 || ok);
    return rc;
}

static int
complete(struct scene *c)
{
    int attempt = 0;
    int rc = claim(c, 5, &attempt);
    rc = rc ? rc : report(c, 5);
    return rc ? rc : finish(c, 5, attempt, ER_TASK_COMPLETED);
}

static int
fail_with_dependents(struct scene *c)
{
    return run(c, 1, ER_TASK_FAILED);
}

static int
be_limited(struct scene *c)
{
    return run(c, 3, ER_TASK_PAUSED);
}

static int
change(struct scene *c)
{
    struct er_change rows[] = {f_change(3), f_change(6), f_change(1), f_change(5)};
    struct er_edit edit = {
        .name = "n", .queue = "fourth", .has_priority = true, .priority = 1};
    int rc = er_store_look(c->s, rows, 4);
    rc = rc ? rc : er_store_hold(c->s, c->now, &rows[0], 1, true);
    rc = rc ? rc : er_store_edit(c->s, c->now, &rows[1], &edit);
    rc = rc ? rc : er_store_retry(c->s, c->now, &rows[2], 1);
    rc = rc ? rc : er_store_remove(c->s, c->now, &rows[3], 1);
    for (size_t i = 0; i < 4 && rc == 0; i++) {
        assert_int_equal(rows[i].status, 0);
    }
    assert_true(rc != 0 || rows[2].dependents == 2);
    return rc;
}

/* Other dependencies for 6: a circle, one that is none, none at all. */
static int
edit_after(struct scene *c)
{
    struct er_new_after after = {.id = 7, .ref = -1};
    struct er_edit edit = {.has_after = true, .after = &after, .n_after = 1};
    struct er_change row = f_change(6);
    int rc = er_store_edit(c->s, c->now, &row, &edit);
    assert_true(rc != 0 || (row.status == ER_EINVALID && edit.n_chain == 3));
    after.id = 3;
    rc = rc ? rc : er_store_edit(c->s, c->now, &row, &edit);
    assert_true(rc != 0 || row.status == 0);
    edit.n_after = 0;
    rc = rc ? rc : er_store_edit(c->s, c->now, &row, &edit);
    assert_true(rc != 0 || row.status == 0);
    return rc;
}

static int
come_due(struct scene *c)
{
    er_usec next;
    struct er_ready ready[4];
    size_t n;
    int rc = er_store_shift(c->s, SEC);
    rc = rc ? rc : er_store_due(c->s, c->now + 3 * SEC, 10, &next);
    return rc ? rc : er_store_peek(c->s, 1, INT64_MIN, 0, ready, 4, &n);
}

static int
cancel(struct scene *c)
{
    struct er_change rows[] = {f_change(1), f_change(3), f_change(6)};
    int rc = er_store_hold(c->s, c->now, &rows[1], 1, false);
    rc = rc ? rc : er_store_cancel(c->s, c->now, rows, 3, "user", NULL);
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        assert_int_equal(rows[i].status, 0);
    }
    return rc;
}

/* A program's own facts, and a cursor. */
static int
publish(struct scene *c)
{
    struct er_topic rows[] = {
        {.name = "a.b", .task = 6, .data_json = "[1]"},
        {.name = "a.c", .correlation = "c"},
        {.name = "a.d", .task = 99},
    };
    int rc = er_store_topic_put(c->s, c->now, rows, 3);
    assert_true(rc != 0 || (rows[1].seq == rows[0].seq + 1 && rows[2].status != 0));
    rc = rc ? rc : er_store_cursor_put(c->s, c->now, "c", rows[0].seq);
    rc = rc ? rc : er_store_cursor_put(c->s, c->now, "c", rows[1].seq);
    return rc ? rc : er_store_cursor_remove(c->s, "c");
}

static int
prune_by(struct scene *c, const struct er_retention *keep)
{
    struct er_removed *removed;
    size_t n;
    bool more;
    return er_store_prune(c->s, c->now + 10 * SEC, keep, 10, &c->arena, &removed, &n,
                          &more);
}

static int
prune_logs(struct scene *c)
{
    struct er_retention keep = {.only_state = -1,
                                .keep = 100,
                                .tombstone_for = 100 * SEC,
                                .facts = 100,
                                .facts_for = 100 * SEC,
                                .log_bytes = 1};
    return prune_by(c, &keep);
}

static int
prune(struct scene *c)
{
    struct er_retention keep = {.only_state = -1, .facts = 3, .facts_for = 100 * SEC};
    return prune_by(c, &keep);
}

static int
close_session(struct scene *c)
{
    return er_store_session_close(c->s, c->now, c->session, true);
}

static step_fn *const steps[] = {
    open_session, submit, submit_child,    put_settings,  complete, fail_with_dependents,
    be_limited,   change, edit_after,      come_due,      cancel,   publish,
    prune_logs,   prune,  remove_settings, close_session,
};
#define STEPS (sizeof steps / sizeof steps[0])
#define FACTS 49 /* that it records in all */

static int
transact(struct scene *c, step_fn *step)
{
    struct er_effects fx;
    int rc = er_store_begin(c->s);
    if (rc) {
        return rc;
    }
    int step_rc = step(c);
    rc = er_store_commit(c->s, &fx);
    if (rc == 0) {
        assert_int_equal(step_rc, 0); /* a verb that failed fails its transaction */
        er_arena_free(&fx.arena);
    }
    return rc;
}

static void
verify(struct er_store *s)
{
    struct er_err err = {""};
    if (er_store_verify(s, &err)) {
        fail_msg("%s", err.text);
    }
}

/* The end of the scenario, whatever has failed on the way. */
static void
check_end(struct scene *c)
{
    struct er_store_state st;
    struct er_store_reader *r;
    struct er_err err = {""};
    int64_t first, last;
    assert_int_equal(er_store_load(c->s, &c->arena, &st), 0);
    assert_int_equal(st.n_sessions, 0);
    assert_int_equal(st.n_running, 0);
    assert_int_equal(st.last_seq, FACTS);
    assert_int_equal(er_store_reader_open(c->s, &r, &err), 0);
    assert_int_equal(er_store_fact_bounds(r, &first, &last), 0);
    assert_int_equal(last, FACTS);
    er_store_reader_close(r);
}

/* Runs the scenario; `mend` ends the fault when a step has failed. */
static void
play(struct scene *c, void (*mend)(void), const int *allowed, size_t n_allowed)
{
    for (size_t i = 0; i < STEPS; i++) {
        int rc = transact(c, steps[i]);
        if (rc == 0) {
            continue;
        }
        mend();
        bool ok = false;
        for (size_t k = 0; k < n_allowed; k++) {
            ok = ok || rc == allowed[k];
        }
        assert_true(ok);
        assert_true(er_store_failure(c->s)[0] != '\0');
        verify(c->s);
        rc = transact(c, steps[i]);
        if (rc) {
            fail_msg("step %zu again: %s", i, er_store_failure(c->s));
        }
    }
}

static bool memory_struck; /* since the scenario began */

static void
no_fault(void)
{
    memory_struck = memory_struck || er_mem_fault_hit();
    er_mem_fault_set(0, 0);
}

static const int only_memory[] = {ER_ENOMEM};

static bool
play_with_memory_fault(const char *path, long n)
{
    struct scene c = {.now = T0};
    struct er_err err = {""};
    memory_struck = false;
    er_mem_fault_set(n, 0);
    int rc = er_store_open(path, &c.s, &err);
    if (rc) {
        no_fault();
        assert_int_equal(rc, ER_ENOMEM);
        assert_true(err.text[0] != '\0');
        assert_int_equal(er_store_open(path, &c.s, &err), 0);
    }
    play(&c, no_fault, only_memory, 1);
    no_fault();
    verify(c.s);
    check_end(&c);
    er_store_close(c.s);
    er_arena_free(&c.arena);
    injected.memory += memory_struck;
    return memory_struck;
}

static void
our_allocations__may_fail_anywhere(void **state)
{
    (void)state;
    long n = 1;
    while (play_with_memory_fault(":memory:", n)) {
        n++;
    }
    assert_true(n > 50);
}

/* SQLite makes tens of thousands of allocations: all of them fail once on the plain
 * build, each 13th where a sanitizer makes everything many times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SQLITE_STEP 13
#else
#define SQLITE_STEP 1
#endif

/* Every verb that reads. */
typedef int read_fn(struct fixture *f, struct er_arena *a);

static int
read_tasks(struct fixture *f, struct er_arena *a)
{
    struct er_task t, *tasks;
    struct er_tombstone stone;
    struct er_filter by_tag = {.tag = "a", .limit = 10};
    struct er_filter by_queue = {.queue = "default", .states = 0xff, .limit = 10};
    const char *env;
    size_t n;
    bool more;
    int rc = er_store_get(f->r, 1, true, a, &t);
    rc = rc ? rc : er_store_env(f->r, t.env, a, &env);
    rc = rc ? rc : er_store_list(f->r, &by_tag, a, &tasks, &n, &more);
    assert_true(rc != 0 || n == 1);
    rc = rc ? rc : er_store_list(f->r, &by_queue, a, &tasks, &n, &more);
    assert_true(rc != 0 || n == 2);
    return rc ? rc : er_store_get_tombstone(f->r, 3, &stone);
}

static int
read_parts(struct fixture *f, struct er_arena *a)
{
    struct er_attempt *attempts;
    struct er_after *after;
    struct er_after_result *results;
    struct er_item *items;
    size_t n;
    int rc = er_store_attempts(f->r, 1, a, &attempts, &n);
    assert_true(rc != 0 || n == 1);
    rc = rc ? rc : er_store_after(f->r, 2, false, 0, 10, a, &after, &n);
    assert_true(rc != 0 || n == 1);
    rc = rc ? rc : er_store_after(f->r, 2, true, 0, 10, a, &after, &n);
    assert_true(rc != 0 || n == 0);
    rc = rc ? rc : er_store_after_results(f->r, 2, 100, a, &results, &n);
    assert_true(rc != 0 || (n == 1 && results[0].result_len == 1));
    rc = rc ? rc : er_store_items(f->r, 1, -1, NULL, 10, a, &items, &n);
    assert_true(rc != 0 || n == 1);
    rc = rc ? rc : er_store_items(f->r, 1, 1, NULL, 10, a, &items, &n);
    assert_true(rc != 0 || n == 1);
    return rc;
}

static int
read_facts(struct fixture *f, struct er_arena *a)
{
    struct er_fact *facts;
    struct er_fact_filter all = {.limit = 100};
    struct er_fact_filter of_one = {.limit = 100, .task = 1};
    const char *names[] = {"a.*"};
    struct er_fact_filter of_names = {
        .limit = 100, .events = 1ull << ER_EVENT_TOPIC, .names = names, .n_names = 1};
    size_t n;
    int64_t first, last, seq;
    er_usec takes;
    int rc = er_store_facts(f->r, &all, a, &facts, &n, &last);
    assert_true(rc != 0 || (n == 13 && last == 13));
    rc = rc ? rc : er_store_facts(f->r, &of_one, a, &facts, &n, &last);
    assert_true(rc != 0 || n == 4);
    rc = rc ? rc : er_store_facts(f->r, &of_names, a, &facts, &n, &last);
    assert_true(rc != 0 || (n == 1 && strcmp(facts[0].topic, "a.b") == 0));
    rc = rc ? rc : er_store_fact_bounds(f->r, &first, &last);
    assert_true(rc != 0 || last == 13);
    rc = rc ? rc : er_store_cursor(f->r, "c", &seq);
    assert_true(rc != 0 || seq == 5);
    rc = rc ? rc : er_store_type_takes(f->r, "shell", &takes);
    assert_true(rc != 0 || takes > 0);
    return rc;
}

static int
read_settings(struct fixture *f, struct er_arena *a)
{
    struct er_limit *limits;
    struct er_counter *counters;
    struct er_queue *queues;
    size_t n;
    int rc = er_store_counters(f->r, a, &counters, &n);
    assert_true(rc != 0 || n == 1);
    rc = rc ? rc : er_store_queues(f->r, a, &queues, &n);
    assert_true(rc != 0 || queues[0].n_rates == 1);
    rc = rc ? rc : er_store_limits(f->r, a, &limits, &n);
    assert_true(rc != 0 || limits[0].n_rates == 1);
    return rc;
}

static int
read_state(struct fixture *f, struct er_arena *a)
{
    struct er_store_state st;
    int rc = er_store_load(f->s, a, &st);
    assert_true(rc != 0 || (st.n_running == 1 && st.n_limits == 1 && st.last_seq == 13));
    return rc;
}

static int
check(struct fixture *f, struct er_arena *a)
{
    (void)a;
    struct er_err err = {""};
    int rc = er_store_check(f->r, &err);
    assert_true(rc == 0 || err.text[0] != '\0');
    return rc;
}

static int
check_rules(struct fixture *f, struct er_arena *a)
{
    (void)a;
    struct er_err err = {""};
    int rc = er_store_verify(f->s, &err);
    assert_true(rc == 0 || err.text[0] != '\0');
    return rc;
}

static read_fn *const reads[] = {read_tasks, read_parts, read_facts, read_settings,
                                 read_state, check,      check_rules};
#define READS (sizeof reads / sizeof reads[0])

/* Something for each verb of the reader: 1 has run, 2 waits for it, 3 was removed. */
static void
fill(struct fixture *f)
{
    struct er_rate rate = {.n = 60, .per_for = 60 * SEC, .burst = 1};
    struct er_queue q = {.name = "default", .rates = {rate}, .n_rates = 1};
    struct er_limit limit = {.key = "l", .rates = {rate}, .n_rates = 1};
    struct er_type_row type = {.name = "shell", .definition_json = "{}"};
    struct er_new_task row = f_new();
    row.tags_json = "[\"a\"]";
    row.env_json = "{}";
    row.limit_key = "l";
    er_task_id id = f_add(f, row);
    (void)f_claim(f, id);
    struct er_item_row item = {
        .id = id, .attempt = 1, .session = f->session, .name = "i", .failed = true};
    struct er_finish end = f_ends(f, id, ER_TASK_COMPLETED);
    end.result = "r";
    end.result_len = 1;
    f_begin(f);
    assert_int_equal(er_store_items_put(f->s, f->now, &item, 1), 0);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    assert_int_equal(er_store_limit_put(f->s, f->now, &limit), 0);
    assert_int_equal(er_store_type_put(f->s, f->now, &type), 0);
    struct er_topic topic = {.name = "a.b", .task = id, .data_json = "1"};
    assert_int_equal(er_store_topic_put(f->s, f->now, &topic, 1), 0);
    assert_int_equal(topic.status, 0);
    assert_int_equal(er_store_cursor_put(f->s, f->now, "c", 5), 0);
    f_commit(f);
    f_finish(f, end);
    (void)f_claim(f, f_add_after(f, id, ER_AFTER_OK));
    struct er_change gone = f_change(f_add(f, f_new()));
    f_begin(f);
    assert_int_equal(er_store_cancel(f->s, f->now, &gone, 1, "user", NULL), 0);
    assert_int_equal(er_store_remove(f->s, f->now, &gone, 1), 0);
    f_commit(f);
}

/* Reads while the n-th allocation fails: whether it has struck. */
static bool
read_with_fault(struct fixture *f, read_fn *read, long n)
{
    struct er_arena arena = {NULL, 0};
    er_mem_fault_set(n, 0);
    int rc = read(f, &arena);
    bool struck = er_mem_fault_hit();
    er_mem_fault_set(0, 0);
    er_arena_free(&arena);
    /* SQLite can do without some of what it asks for. */
    if (rc != 0 && !(struck && rc == ER_ENOMEM)) {
        fail_msg("allocation %ld: %s", n, er_error_meaning(rc));
    }
    rc = read(f, &arena);
    er_arena_free(&arena);
    assert_int_equal(rc, 0);
    injected.reading += struck;
    return struck;
}

static void
reading__fails_as_a_whole_and_works_again(void **state)
{
    struct fixture *f = *state;
    fill(f);
    for (size_t i = 0; i < READS; i++) {
        long n = 1;
        while (read_with_fault(f, reads[i], n)) {
            n++;
        }
        assert_true(n > 1 || reads[i] == check || reads[i] == check_rules);
    }
}

/* SQLite's allocations through ours, each with its size before it. */
static void *
sqlite_alloc(int n)
{
    int64_t *p = er_alloc((size_t)n + 16);
    if (!p) {
        return NULL;
    }
    *p = n;
    return p + 2;
}

static void
sqlite_free(void *p)
{
    er_free(p ? (int64_t *)p - 2 : NULL);
}

static void *
sqlite_realloc(void *old, int n)
{
    int64_t *p = er_realloc((int64_t *)old - 2, (size_t)n + 16);
    if (!p) {
        return NULL;
    }
    *p = n;
    return p + 2;
}

static int
sqlite_size(void *p)
{
    return p ? (int)((int64_t *)p)[-2] : 0;
}

static int
sqlite_round(int n)
{
    return (n + 7) & ~7;
}

static int
sqlite_init(void *arg)
{
    (void)arg;
    return SQLITE_OK;
}

static void
sqlite_end(void *arg)
{
    (void)arg;
}

static const sqlite3_mem_methods failing_methods = {
    sqlite_alloc, sqlite_free, sqlite_realloc, sqlite_size,
    sqlite_round, sqlite_init, sqlite_end,     NULL};
static sqlite3_mem_methods usual_methods;

/* Makes SQLite ask for memory through ours, or as usual. No connection may be open. */
static void
set_sqlite_memory(bool failing)
{
    assert_int_equal(sqlite3_shutdown(), SQLITE_OK);
    if (failing) {
        assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &usual_methods),
                         SQLITE_OK);
    }
    assert_int_equal(
        sqlite3_config(SQLITE_CONFIG_MALLOC, failing ? &failing_methods : &usual_methods),
        SQLITE_OK);
    assert_int_equal(sqlite3_initialize(), SQLITE_OK);
    fault_vfs_install();
}

/* The bytes of a store's file; all is in it once the store is closed. */
struct copy {
    char *data;
    size_t n;
};

static void
take_copy(const char *path, struct copy *copy)
{
    free(copy->data);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    copy->n = (size_t)ftell(file);
    copy->data = malloc(copy->n + 1);
    assert_non_null(copy->data);
    rewind(file);
    assert_int_equal(fread(copy->data, 1, copy->n, file), copy->n);
    assert_int_equal(fclose(file), 0);
}

static void
put_back(const char *path, const struct copy *copy)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(copy->data, 1, copy->n, file), copy->n);
    assert_int_equal(fclose(file), 0);
}

/* Whether the file is what the copy is. */
static bool
is_copy(const char *path, const struct copy *copy)
{
    struct copy now = {NULL, 0};
    take_copy(path, &now);
    bool same = now.n == copy->n && memcmp(now.data, copy->data, now.n) == 0;
    free(now.data);
    return same;
}

/* One step from the copy, while the n-th allocation fails (0 = none); the store has done
 * the step afterwards. Whether it has struck. */
static bool
step_with_sqlite_fault(const char *path, const struct copy *copy, step_fn *step, long n)
{
    struct scene c = {.now = T0, .session = 1};
    struct er_err err = {""};
    put_back(path, copy);
    assert_int_equal(er_store_open(path, &c.s, &err), 0);
    er_mem_fault_set(n, 0);
    int rc = transact(&c, step);
    bool struck = er_mem_fault_hit();
    er_mem_fault_set(0, 0);
    if (rc) {
        assert_int_equal(rc, ER_ENOMEM);
        assert_true(er_store_failure(c.s)[0] != '\0');
        assert_int_equal(transact(&c, step), 0);
    }
    if (n % 32 == 0) {
        verify(c.s); /* it sees nothing that the bytes of the file do not tell */
    }
    er_store_close(c.s);
    er_arena_free(&c.arena);
    injected.sqlite += struck;
    return struck;
}

/* A step while each of its allocations fails once. Done without or with a fault on the
 * way, it leaves the same file, to the byte. */
static void
step_with_sqlite_faults(const char *path, step_fn *step)
{
    struct copy before = {NULL, 0}, after = {NULL, 0};
    long n = 1;
    take_copy(path, &before);
    (void)step_with_sqlite_fault(path, &before, step, 0);
    take_copy(path, &after);
    while (step_with_sqlite_fault(path, &before, step, n)) {
        if (!is_copy(path, &after)) {
            fail_msg("the store is another one after allocation %ld has failed", n);
        }
        n += SQLITE_STEP;
    }
    assert_true(is_copy(path, &after));
    assert_true(n > 10);
    free(before.data);
    free(after.data);
}

static bool
open_with_sqlite_fault(const char *path, long n)
{
    struct er_store *s;
    struct er_store_reader *r;
    struct er_err err = {""};
    (void)remove(path);
    er_mem_fault_set(n, 0);
    int rc = er_store_open(path, &s, &err);
    if (rc == 0) {
        rc = er_store_reader_open(s, &r, &err);
        bool struck = er_mem_fault_hit();
        er_mem_fault_set(0, 0);
        if (rc == 0) {
            er_store_reader_close(r);
        }
        verify(s);
        er_store_close(s);
        injected.sqlite += struck;
        assert_true(rc == 0 || (struck && rc == ER_ENOMEM));
        return struck;
    }
    assert_true(er_mem_fault_hit());
    er_mem_fault_set(0, 0);
    assert_int_equal(rc, ER_ENOMEM);
    assert_true(err.text[0] != '\0');
    injected.sqlite++;
    return true;
}

static void
sqlites_allocations__may_fail_anywhere(void **state)
{
    struct fixture *f = *state;
    f_close(f);
    set_sqlite_memory(true);
    for (long n = 1; open_with_sqlite_fault(f->path, n); n += SQLITE_STEP) {
    }
    for (size_t i = 0; i < STEPS; i++) {
        step_with_sqlite_faults(f->path, steps[i]);
    }
    struct scene c = {.now = T0};
    struct er_err err = {""};
    assert_int_equal(er_store_open(f->path, &c.s, &err), 0);
    check_end(&c);
    er_store_close(c.s);
    er_arena_free(&c.arena);
    set_sqlite_memory(false);
    f_open(f);
}

static void
sqlites_allocations__may_fail_while_reading(void **state)
{
    struct fixture *f = *state;
    fill(f);
    f_close(f);
    set_sqlite_memory(true);
    for (size_t i = 0; i < READS; i++) {
        bool struck = true;
        for (long n = 1; struck; n += SQLITE_STEP) {
            f_open(f); /* statements are made anew */
            struck = read_with_fault(f, reads[i], n);
            f_close(f);
        }
    }
    set_sqlite_memory(false);
    f_open(f);
}

static const int only_disk[] = {ER_EDISKFULL, ER_EIO};

/* One scenario on a disk whose n-th write fails; then the file is what it should be. */
static bool
play_with_disk_fault(struct fixture *f, enum fault_vfs_kind kind, long n)
{
    struct scene c = {.now = T0};
    struct er_err err = {""};
    f_close(f);
    (void)remove(f->path);
    assert_int_equal(er_store_open(f->path, &c.s, &err), 0);
    fault_vfs_break(kind, n);
    play(&c, fault_vfs_mend, only_disk, 2);
    bool struck = fault_vfs_hit();
    fault_vfs_mend();
    verify(c.s);
    check_end(&c);
    er_store_close(c.s);
    assert_int_equal(er_store_open(f->path, &c.s, &err), 0);
    verify(c.s);
    check_end(&c);
    er_store_close(c.s);
    er_arena_free(&c.arena);
    f_open(f);
    injected.disk += struck;
    return struck;
}

static void
disk__may_fail_at_any_write(void **state)
{
    for (enum fault_vfs_kind kind = FAULT_VFS_FULL; kind <= FAULT_VFS_SYNC; kind++) {
        long n = 1;
        while (play_with_disk_fault(*state, kind, n)) {
            n++;
        }
        assert_true(n > (kind == FAULT_VFS_SYNC ? 5 : 10));
    }
}

static void
disk__that_fails_while_a_store_is_made_leaves_none_or_all(void **state)
{
    struct fixture *f = *state;
    struct er_err err = {""};
    for (enum fault_vfs_kind kind = FAULT_VFS_FULL; kind <= FAULT_VFS_SYNC; kind++) {
        bool struck = true;
        for (long n = 1; struck; n++) {
            f_close(f);
            (void)remove(f->path);
            fault_vfs_break(kind, n);
            int rc = er_store_open(f->path, &f->s, &err);
            if (rc == 0) {
                er_store_close(f->s);
            } else {
                assert_true(rc == ER_EDISKFULL || rc == ER_EIO);
            }
            struck = fault_vfs_hit();
            injected.disk += struck;
            fault_vfs_mend();
            f_open(f);
            verify(f->s);
            assert_true(struck || n > 3);
        }
    }
}

static void
disk__that_stays_full_refuses_each_time_and_recovers(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    fault_vfs_break(FAULT_VFS_FULL, 1);
    for (int i = 0; i < 5; i++) {
        struct er_new_task row = f_new();
        struct er_effects fx;
        f_begin(f);
        assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
        assert_int_equal(er_store_commit(f->s, &fx), ER_EDISKFULL);
        assert_string_equal(er_store_failure(f->s), "database or disk is full");
        /* What is there can be read meanwhile. */
        assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    }
    fault_vfs_mend();
    assert_int_equal(f_add(f, f_new()), id + 1);
}

/* The version that a file of a store says it has. */
static int
version_of(const char *path)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int version = sqlite3_column_int(st, 0);
    (void)sqlite3_finalize(st);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return version;
}

static void
disk__that_fails_during_an_upgrade_leaves_the_old_or_the_new(void **state)
{
    struct fixture *f = *state;
    struct er_err err = {""};
    bool old = false;
    for (enum fault_vfs_kind kind = FAULT_VFS_FULL; kind <= FAULT_VFS_SYNC; kind++) {
        bool struck = true;
        for (long n = 1; struck; n++) {
            f_make_schema_1(f);
            fault_vfs_break(kind, n);
            int rc = er_store_open(f->path, &f->s, &err);
            if (rc == 0) {
                er_store_close(f->s);
            } else {
                assert_true(rc == ER_EDISKFULL || rc == ER_EIO);
            }
            struck = fault_vfs_hit();
            injected.disk += struck;
            fault_vfs_mend();
            int version = version_of(f->path);
            assert_true(version == 2 || (version == 1 && rc != 0));
            old = old || version == 1;
            f_open(f);
            verify(f->s);
            assert_int_equal(f_get(f, 1).state, ER_TASK_COMPLETED);
            assert_int_equal(f_get(f, 6).state, ER_TASK_BLOCKED);
            er_arena_free(&f->arena);
        }
    }
    assert_true(old);
}

/* A close writes what is in the log into the file: nothing is lost when it cannot. */
static void
disk__that_fails_at_the_close_loses_nothing(void **state)
{
    struct fixture *f = *state;
    for (enum fault_vfs_kind kind = FAULT_VFS_FULL; kind <= FAULT_VFS_SYNC; kind++) {
        bool struck = true;
        for (long n = 1; struck; n++) {
            er_task_id id = f_add(f, f_new());
            fault_vfs_break(kind, n);
            f_close(f);
            struck = fault_vfs_hit();
            injected.disk += struck;
            fault_vfs_mend();
            f_open(f);
            verify(f->s);
            assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
        }
    }
}

static void
log__of_a_commit_is_written_in_one_piece(void **state)
{
    struct fixture *f = *state;
    (void)f_add(f, f_new()); /* the log's own head is there */
    long before = fault_vfs_writes();
    er_task_id id = f_add(f, f_new());
    assert_int_equal(fault_vfs_writes(), before + 1);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED); /* by a reader */
}

/* A transaction that is larger than the cache: its pages go into the log, and are read
 * from there, before it is committed. */
static void
submit_large(struct fixture *f, int expected)
{
    enum { N = 12000 };
    static struct er_new_task rows[N];
    struct er_effects fx;
    static char name[1000];
    memset(name, 'n', sizeof name - 1);
    for (int i = 0; i < N; i++) {
        rows[i] = f_new();
        rows[i].name = name;
    }
    f_begin(f);
    int rc = er_store_submit(f->s, f->now, rows, N, false);
    if (rc == 0) {
        rc = er_store_commit(f->s, &fx);
    } else {
        er_store_rollback(f->s);
    }
    assert_int_equal(rc, expected);
    if (rc == 0) {
        er_arena_free(&fx.arena);
        assert_int_equal(f_get(f, rows[0].id).state, ER_TASK_QUEUED);
        assert_int_equal(f_get(f, rows[N - 1].id).state, ER_TASK_QUEUED);
    }
}

static void
log__takes_a_transaction_larger_than_memory(void **state)
{
    struct fixture *f = *state;
    er_task_id id = f_add(f, f_new());
    fault_vfs_break(FAULT_VFS_FULL, 5); /* in the midst of it */
    submit_large(f, ER_EDISKFULL);
    assert_true(fault_vfs_hit());
    fault_vfs_mend();
    verify(f->s);
    submit_large(f, 0);
    verify(f->s);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    f_close(f);
    f_open(f);
    verify(f->s);
}

/* Nobody heeds what becomes of a file's control: it is the sync that must not say that
 * all is there when it is not. */
static void
log__keeps_what_could_not_be_written_at_a_control(void **state)
{
    (void)state;
    char folder[] = "/tmp/errand-wal-XXXXXX", name[64], got[8] = "";
    int flags = SQLITE_OPEN_WAL | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, value = -1;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(name, sizeof name, "%s/db-wal", folder);
    name[strlen(name) - 4] = '\0';
    FILE *db = fopen(name, "w");
    assert_non_null(db);
    (void)fclose(db);
    (void)snprintf(name, sizeof name, "%s/db-wal", folder);
    sqlite3_vfs *vfs = sqlite3_vfs_find(er_sqlite_vfs());
    sqlite3_file *file = calloc(1, (size_t)vfs->szOsFile);
    assert_int_equal(vfs->xOpen(vfs, name, file, flags, &flags), SQLITE_OK);
    assert_int_equal(file->pMethods->xWrite(file, "one", 3, 0), SQLITE_OK);
    fault_vfs_break(FAULT_VFS_IO, 1);
    assert_int_not_equal(
        file->pMethods->xFileControl(file, SQLITE_FCNTL_PERSIST_WAL, &value), SQLITE_OK);
    assert_int_not_equal(file->pMethods->xSync(file, SQLITE_SYNC_NORMAL), SQLITE_OK);
    assert_int_equal(file->pMethods->xWrite(file, "two", 3, 0), SQLITE_OK);
    assert_int_not_equal(
        file->pMethods->xFileControl(file, SQLITE_FCNTL_PERSIST_WAL, &value), SQLITE_OK);
    fault_vfs_mend();
    assert_int_equal(file->pMethods->xSync(file, SQLITE_SYNC_NORMAL), SQLITE_OK);
    assert_int_equal(file->pMethods->xRead(file, got, 3, 0), SQLITE_OK);
    assert_string_equal(got, "two");
    assert_int_equal(file->pMethods->xClose(file), SQLITE_OK);
    free(file);
    (void)unlink(name);
    name[strlen(name) - 4] = '\0';
    (void)unlink(name);
    assert_int_equal(rmdir(folder), 0);
}

static void
tell_how_many(void **state)
{
    (void)state;
    print_message("# faults injected: %ld in our allocations, %ld in SQLite's, "
                  "%ld in writes and syncs, %ld while reading; %ld in all\n",
                  injected.memory, injected.sqlite, injected.disk, injected.reading,
                  injected.memory + injected.sqlite + injected.disk + injected.reading);
    assert_true(injected.memory > 0 && injected.sqlite > 0 && injected.disk > 0);
}

int
main(void)
{
    fault_vfs_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_allocations__may_fail_anywhere),
        ON_FILE(sqlites_allocations__may_fail_anywhere),
        ON_FILE(sqlites_allocations__may_fail_while_reading),
        BOTH(reading__fails_as_a_whole_and_works_again),
        ON_FILE(disk__may_fail_at_any_write),
        ON_FILE(disk__that_fails_while_a_store_is_made_leaves_none_or_all),
        ON_FILE(disk__that_fails_during_an_upgrade_leaves_the_old_or_the_new),
        ON_FILE(disk__that_fails_at_the_close_loses_nothing),
        ON_FILE(disk__that_stays_full_refuses_each_time_and_recovers),
        ON_FILE(log__of_a_commit_is_written_in_one_piece),
        ON_FILE(log__takes_a_transaction_larger_than_memory),
        cmocka_unit_test(log__keeps_what_could_not_be_written_at_a_control),
        cmocka_unit_test(tell_how_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
