/* SPDX-License-Identifier: MIT */
/* The store while memory or the disk fails: for n = 1, 2, ... the n-th allocation or
 * write fails somewhere in a scenario that uses every verb. A transaction that fails has
 * changed nothing (the invariants hold), works when tried again, and the end is always
 * the same. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "fault_vfs.h"
#include "store_fixture.h"

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
run(struct scene *c, er_task_id id, enum er_task_state state)
{
    int attempt = 0;
    int rc = claim(c, id, &attempt);
    struct er_finish row = {
        .id = id,
        .attempt = attempt,
        .session = c->session,
        .state = state,
        .run_at = ER_NEVER,
        .started_at = c->now,
        .finished_at = c->now + SEC,
        .outcome = ER_OUTCOME_COMPLETED,
        .result = "r",
        .result_len = 1,
        .error_json = "{}",
        .event = er_event_of_state(state),
        .event_data_json = "{\"duration_s\":1}",
    };
    if (rc == 0) {
        rc = er_store_finish(c->s, c->now, &row, 1);
        assert_true(rc != 0 || row.status == 0);
    }
    return rc;
}

static int
complete(struct scene *c)
{
    return run(c, 5, ER_TASK_COMPLETED);
}

static int
fail_with_dependents(struct scene *c)
{
    return run(c, 1, ER_TASK_FAILED);
}

static int
change(struct scene *c)
{
    struct er_change rows[] = {f_change(3), f_change(6), f_change(1), f_change(5)};
    struct er_edit edit = {
        .name = "n", .queue = "third", .has_priority = true, .priority = 1};
    int rc = er_store_hold(c->s, c->now, &rows[0], 1, true);
    if (rc == 0) {
        rc = er_store_hold(c->s, c->now, &rows[0], 1, false);
    }
    if (rc == 0) {
        rc = er_store_edit(c->s, c->now, &rows[1], &edit);
    }
    if (rc == 0) {
        rc = er_store_retry(c->s, c->now, &rows[2], 1);
    }
    if (rc == 0) {
        rc = er_store_remove(c->s, c->now, &rows[3], 1);
    }
    for (size_t i = 0; i < 4 && rc == 0; i++) {
        assert_int_equal(rows[i].status, 0);
    }
    return rc;
}

static int
come_due(struct scene *c)
{
    er_usec next;
    return er_store_due(c->s, c->now + 2 * SEC, 10, &next);
}

static int
cancel(struct scene *c)
{
    struct er_change row = f_change(1);
    struct er_queue q = {.name = "other", .concurrency = 1};
    int rc = er_store_cancel(c->s, c->now, &row, 1, "user", NULL);
    if (rc == 0) {
        rc = er_store_queue_put(c->s, c->now, &q);
    }
    if (rc == 0) {
        rc = er_store_queue_remove(c->s, c->now, "other");
    }
    return rc;
}

static int
prune(struct scene *c)
{
    struct er_retention keep = {.only_state = -1, .facts = 3, .facts_for = 100 * SEC};
    struct er_removed *removed;
    size_t n;
    bool more;
    return er_store_prune(c->s, c->now + 10 * SEC, &keep, 10, &c->arena, &removed, &n,
                          &more);
}

static int
close_session(struct scene *c)
{
    return er_store_session_close(c->s, c->now, c->session, true);
}

static step_fn *const steps[] = {open_session, submit,   complete, fail_with_dependents,
                                 change,       come_due, cancel,   prune,
                                 close_session};
#define STEPS (sizeof steps / sizeof steps[0])
#define FACTS 26 /* that it records in all */

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

/* Every verb of the reader, one after the other, until one fails. */
static int
read_all(struct fixture *f, struct er_arena *a)
{
    struct er_task t, *tasks;
    struct er_attempt *attempts;
    struct er_after *after;
    struct er_fact *facts;
    struct er_counter *counters;
    struct er_queue *queues;
    struct er_store_state st;
    struct er_filter by_tag = {.tag = "a", .limit = 10};
    struct er_filter by_queue = {.queue = "default", .states = 0xff, .limit = 10};
    struct er_fact_filter all = {.limit = 100};
    const char *env;
    size_t n;
    bool more;
    int64_t last;
    int rc = er_store_get(f->r, 1, true, a, &t);
    rc = rc ? rc : er_store_list(f->r, &by_tag, a, &tasks, &n, &more);
    rc = rc ? rc : er_store_list(f->r, &by_queue, a, &tasks, &n, &more);
    rc = rc ? rc : er_store_attempts(f->r, 1, a, &attempts, &n);
    rc = rc ? rc : er_store_after(f->r, 2, false, 0, 10, a, &after, &n);
    rc = rc ? rc : er_store_facts(f->r, &all, a, &facts, &n, &last);
    rc = rc ? rc : er_store_env(f->r, t.env, a, &env);
    rc = rc ? rc : er_store_counters(f->r, a, &counters, &n);
    rc = rc ? rc : er_store_queues(f->r, a, &queues, &n);
    return rc ? rc : er_store_load(f->s, a, &st);
}

static void
reading__fails_as_a_whole_and_works_again(void **state)
{
    struct fixture *f = *state;
    struct er_queue q = {.name = "default", .concurrency = 1};
    struct er_new_task row = f_new();
    row.tags_json = "[\"a\"]";
    row.env_json = "{}";
    row.limit_key = "l";
    er_task_id id = f_add(f, row);
    (void)f_claim(f, id);
    struct er_finish end = f_ends(f, id, ER_TASK_COMPLETED);
    end.result = "r";
    end.result_len = 1;
    f_finish(f, end);
    (void)f_claim(f, f_add_after(f, id, ER_AFTER_OK));
    f_begin(f);
    assert_int_equal(er_store_queue_put(f->s, f->now, &q), 0);
    f_commit(f);
    bool struck = true;
    for (long n = 1; struck; n++) {
        struct er_arena arena = {NULL, 0};
        er_mem_fault_set(n, 0);
        int rc = read_all(f, &arena);
        struck = er_mem_fault_hit();
        er_mem_fault_set(0, 0);
        assert_int_equal(rc, struck ? ER_ENOMEM : 0);
        er_arena_free(&arena);
        assert_int_equal(read_all(f, &arena), 0);
        er_arena_free(&arena);
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

static void
sqlites_allocations__may_fail_anywhere(void **state)
{
    (void)state;
    long n = 1, runs = 0;
    static sqlite3_mem_methods methods = {sqlite_alloc, sqlite_free,  sqlite_realloc,
                                          sqlite_size,  sqlite_round, sqlite_init,
                                          sqlite_end,   NULL};
    sqlite3_mem_methods old;
    assert_int_equal(sqlite3_shutdown(), SQLITE_OK);
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &old), SQLITE_OK);
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
    assert_int_equal(sqlite3_initialize(), SQLITE_OK);
    while (play_with_memory_fault(":memory:", n)) {
        n += 1 + n / 64; /* there are thousands, and the later ones are much alike */
        runs++;
    }
    assert_int_equal(sqlite3_shutdown(), SQLITE_OK);
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &old), SQLITE_OK);
    assert_int_equal(sqlite3_initialize(), SQLITE_OK);
    fault_vfs_install();
    assert_true(runs > 100);
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
        assert_true(n > (kind == FAULT_VFS_SYNC ? 5 : 20));
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

int
main(void)
{
    fault_vfs_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_allocations__may_fail_anywhere),
        cmocka_unit_test(sqlites_allocations__may_fail_anywhere),
        BOTH(reading__fails_as_a_whole_and_works_again),
        ON_FILE(disk__may_fail_at_any_write),
        ON_FILE(disk__that_fails_while_a_store_is_made_leaves_none_or_all),
        ON_FILE(disk__that_stays_full_refuses_each_time_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
