/* SPDX-License-Identifier: MIT */
/* A disk that refuses: what was acknowledged stays, what cannot be written is refused or
 * waits, and all goes on when the disk does. */
#include "engine_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../store/fault_vfs.h"
#include "base/mem.h"
#include "wire/outlog.h"

static bool
is_sick(struct fixture *f, int *out_code)
{
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    *out_code = st.sick ? st.sick_code : 0;
    return st.sick;
}

static void
wait_until_well(struct fixture *f)
{
    int code;
    fault_vfs_mend();
    for (int i = 0; i < 10 && is_sick(f, &code); i++) {
        f_pass(f, 2 * SEC);
    }
    assert_false(is_sick(f, &code));
}

static void
submit__is_refused_and_taken_again_when_the_disk_is_well(void **state)
{
    struct fixture *f = *state;
    static const enum fault_vfs_kind kinds[] = {FAULT_VFS_IO, FAULT_VFS_SYNC};
    for (int i = 0; i < 2; i++) {
        struct er_new_task row = f_new();
        int rc, code;
        er_task_id before = f_add(f, f_new()), id;
        fault_vfs_break(kinds[i], 1);
        f_post_submit(f, &row, 1, &rc, &id);
        f_until(f, rc <= 0);
        assert_int_equal(rc, ER_EIO);
        assert_true(is_sick(f, &code));
        assert_int_equal(code, ER_EIO);
        assert_int_equal(f_get(f, before).state, ER_TASK_QUEUED);
        wait_until_well(f);
        assert_int_equal(f_add(f, f_new()),
                         before + 1); /* the refused one is not there */
    }
}

/* A request that only reads commits on a broken disk, too, and says nothing of it. */
static void
look__does_not_pass_for_a_write(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    int rc, code;
    er_task_id id = f_add(f, f_new()), refused;
    fault_vfs_break(FAULT_VFS_IO, 1);
    f_post_submit(f, &row, 1, &rc, &refused);
    f_until(f, rc <= 0);
    assert_int_equal(rc, ER_EIO);
    assert_int_equal(f_change(f, ER_CHANGE_REQUEUE, id), ER_ESTATE);
    assert_true(is_sick(f, &code));
    wait_until_well(f);
}

static void
nothing_is_claimed__while_the_disk_refuses(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 0);
    er_task_id id = f_add_many(f, f_new(), 3);
    fault_vfs_break(FAULT_VFS_IO, 1);
    er_engine_set_slots(f->e, w->session, 2);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_QUEUED);
    wait_until_well(f);
    /* what was about to be claimed stands where it stood */
    assert_int_equal(w_run(w).task, id);
    assert_int_equal(w_run(w).task, id + 1);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
}

static void
report__is_not_taken_and_is_accepted_later(void **state)
{
    struct fixture *f = *state;
    f_queue(f, "narrow", 1, false);
    struct worker *w = w_new(f, 2);
    struct er_new_task row = f_new();
    row.queue = "narrow";
    er_task_id id = f_add(f, row), next = f_add(f, row);
    struct er_held h = w_run(w);
    fault_vfs_break(FAULT_VFS_SYNC, 1);
    assert_int_equal(w_end(w, h, 0), ER_EIO);
    struct er_live live;
    assert_true(er_engine_live(f->e, id, &live));
    assert_false(live.ending);
    assert_int_equal(w_end(w, h, 0), ER_EIO);
    wait_until_well(f);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0); /* its permit is still taken */
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(w->n_lost, 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(w_run(w).task, next);
}

static void
checkpoint_that_could_not_be_kept__comes_with_the_end(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.retries = 1;
    er_task_id id = f_add(f, row);
    struct er_held h = w_run(w);
    fault_vfs_break(FAULT_VFS_IO, 1);
    assert_int_equal(
        w_report(w,
                 "{\"progress\":{\"task\":%lld,\"attempt\":1,\"progress\":null,"
                 "\"checkpoint\":{\"n\":1}}}",
                 (long long)id),
        ER_EIO); /* to be said again: but it may end first */
    f_settle(f);
    wait_until_well(f);
    assert_null(f_get(f, id).checkpoint_json);
    assert_int_equal(w_end(w, h, 1), 0);
    assert_string_equal(f_get(f, id).checkpoint_json, "{\"n\":1}");
}

static void
change__is_refused_whole(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id runs = f_add(f, f_new()), waits = f_add(f, f_new());
    struct er_held h = w_run(w);
    fault_vfs_break(FAULT_VFS_IO, 1);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, waits), ER_EIO);
    assert_int_equal(f_change(f, ER_CHANGE_CANCEL, runs), ER_EIO);
    assert_int_equal(w_count(w, "cancel"), 0);
    wait_until_well(f);
    assert_int_equal(f_get(f, waits).state, ER_TASK_QUEUED);
    assert_int_equal(w_end(w, h, 1), 0);
    assert_int_equal(f_get(f, runs).state, ER_TASK_FAILED);
}

static void
what_a_dead_worker_left__waits_for_the_disk(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id id = f_add(f, f_new()), unknown = f_add(f, f_new());
    struct er_held h = w_run(w);
    (void)w_run(w);
    struct er_outlog log;
    assert_int_equal(er_outlog_create(&log, f->logs, id, 1, 1000, 1000, NULL), 0);
    er_outlog_close(&log);
    w_detach(w);
    fault_vfs_break(FAULT_VFS_IO, 1);
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0); /* one is unknown to it */
    w_die(w);
    f_settle(f);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    assert_int_equal(f_get(f, unknown).state, ER_TASK_RUNNING);
    fault_vfs_mend();
    f_pass(f, 2 * SEC);
    f_until(f, !f->e->sessions);
    assert_int_equal(f_get(f, id).losses, 1);
    assert_int_equal(f_get(f, unknown).losses, 0);
    assert_int_equal(f_get(f, unknown).attempt, 0);
    struct worker *next = w_new(f, 2);
    assert_int_equal(w_run(next).attempt, 2);
    assert_int_equal(w_run(next).attempt, 1);
}

/* An attempt has ended, and its worker could not say so any more. While its log cannot be
 * opened nobody knows: it is neither lost nor begun again. */
static void
an_end_that_cannot_be_read__is_not_a_loss(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    (void)w_run(w);
    struct er_outlog log;
    char json[160];
    (void)snprintf(json, sizeof json,
                   "{\"task\":%lld,\"attempt\":1,\"spawned\":true,\"exit_code\":0,"
                   "\"started_at\":null,\"finished_at\":null}",
                   (long long)id);
    assert_int_equal(er_outlog_create(&log, f->logs, id, 1, 1000, 1000, NULL), 0);
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_EXIT, 1, json), 0);
    er_outlog_close(&log);
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    f_kills(1, 0); /* nothing is left of it: not what this is about */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    w_die(w);
    f_until(f, !TAILQ_EMPTY(&f->e->autopsies) || !f->e->sessions);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_RUNNING);
    f_pass(f, 2 * SEC);
    f_until(f, !f->e->sessions);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(f_get(f, id).losses, 0);
}

/* The engine ends while ends wait for a disk that never came back: a new one finds all.
 */
static void
stop_while_the_disk_refuses__loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    er_task_id id = f_add_many(f, f_new(), 2);
    struct er_held h = w_run(w);
    (void)w_run(w);
    w_detach(w);
    fault_vfs_break(FAULT_VFS_IO, 1);
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    w_die(w);
    f_settle(f);
    assert_int_equal(HASH_COUNT(f->e->runs), 2); /* neither end is written */
    f_close(f);
    fault_vfs_mend();
    f_open(f);
    assert_int_equal(w_attach(w, &h, 1, NULL, 0), 0);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(w_run(w).task, id + 1); /* refunded, and sent again */
}

static void
due_task__comes_when_the_disk_is_back(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    struct er_new_task row = f_new();
    row.run_at = f->wall + 10 * SEC;
    er_task_id id = f_add(f, row);
    fault_vfs_break(FAULT_VFS_IO, 1);
    f_pass(f, 11 * SEC);
    assert_int_equal(f_get(f, id).state, ER_TASK_SCHEDULED);
    wait_until_well(f);
    assert_int_equal(w_run(w).task, id);
}

static bool
ballast_is_there(struct fixture *f)
{
    struct stat st;
    char path[128];
    (void)snprintf(path, sizeof path, "%s.ballast", f->path);
    return stat(path, &st) == 0 && st.st_size == 1 << 20;
}

static void
full_disk__gives_the_ballast_up_and_makes_it_again(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 1);
    er_task_id id = f_add(f, f_new());
    struct er_held h = w_run(w);
    f_settle(f);
    assert_true(ballast_is_there(f));
    struct er_new_task row = f_new();
    int rc, code;
    er_task_id refused;
    fault_vfs_break(FAULT_VFS_FULL, 1);
    f_post_submit(f, &row, 1, &rc, &refused);
    f_until(f, rc <= 0);
    assert_int_equal(rc, ER_EDISKFULL);
    f_settle(f);
    assert_false(ballast_is_there(f));
    assert_true(is_sick(f, &code));
    assert_int_equal(code, ER_EDISKFULL);
    fault_vfs_mend(); /* there is the ballast's room: what runs ends, nothing else begins
                       */
    f_post_submit(f, &row, 1, &rc, &refused);
    f_until(f, rc <= 0);
    assert_int_equal(rc, ER_EDISKFULL);
    assert_int_equal(w_end(w, h, 0), 0);
    assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
    assert_int_equal(f_change(f, ER_CHANGE_RETRY, id), 0);
    f_settle(f);
    assert_int_equal(w_count(w, "run"), 0);
    wait_until_well(f);
    assert_true(ballast_is_there(f));
    assert_int_equal(w_run(w).task, id);
    (void)f_add(f, f_new());
}

/* Every n-th write of a small life fails once: nothing that was answered with 0 is lost,
 * and everything ends when it is asked for again. */
static void
any_write__may_fail(void **state)
{
    struct fixture *f = *state;
    struct worker *w = w_new(f, 2);
    bool hit = true;
    for (long n = 1; hit && n < 200; n++) {
        struct er_new_task row = f_new();
        int rc = 1;
        er_task_id id = 0;
        fault_vfs_break(n % 2 ? FAULT_VFS_IO : FAULT_VFS_FULL, n);
        while (rc) {
            f_post_submit(f, &row, 1, &rc, &id);
            f_until(f, rc <= 0);
            if (rc) {
                wait_until_well(f);
            }
        }
        struct er_held h;
        while (!w_has_run(w, &h)) {
            f_settle(f);
            if (fault_vfs_hit()) {
                wait_until_well(f);
            }
        }
        assert_int_equal(h.task, id);
        assert_int_equal(h.attempt, 1);
        while (w_end(w, h, 0) != 0) {
            wait_until_well(f);
        }
        assert_int_equal(w->n_lost, 0);
        assert_int_equal(f_get(f, id).state, ER_TASK_COMPLETED);
        hit = fault_vfs_hit();
        wait_until_well(f);
        assert_string_equal(f_facts(f, id),
                            "task-queued, task-started/1, task-completed/1");
    }
    assert_false(hit);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(submit__is_refused_and_taken_again_when_the_disk_is_well),
        TEST(look__does_not_pass_for_a_write),
        TEST(nothing_is_claimed__while_the_disk_refuses),
        TEST(report__is_not_taken_and_is_accepted_later),
        TEST(checkpoint_that_could_not_be_kept__comes_with_the_end),
        TEST(change__is_refused_whole),
        TEST(what_a_dead_worker_left__waits_for_the_disk),
        TEST(an_end_that_cannot_be_read__is_not_a_loss),
        TEST(stop_while_the_disk_refuses__loses_nothing),
        TEST(due_task__comes_when_the_disk_is_back),
        TEST(full_disk__gives_the_ballast_up_and_makes_it_again),
        TEST(any_write__may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
