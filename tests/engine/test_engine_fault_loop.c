/* SPDX-License-Identifier: MIT */
/* Every verb of the engine with every write, sync and allocation beneath it failing: the
 * n-th, for n = 1, 2, 3 ... until none is hit. After each the verb was answered with
 * success or with what the fault is called; asked again when all is well it succeeds;
 * then the tasks are exactly where they would be without the fault, with the same facts.
 * The store is verified at the end of each test.
 *
 * A disk that fails goes on failing until it is mended. Allocations fail on the store's
 * thread and, for orders, on the reader's; the loop's own end the process by design
 * (base/mem.h: er_x*). */
#include "engine_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../store/fault_vfs.h"
#include "base/mem.h"
#include "wire/outlog.h"

enum fault { DISK_FULL, DISK_IO, DISK_SYNC, MEMORY, FAULTS };

/* One round. */
struct life {
    struct fixture *f;
    struct worker *w; /* takes nothing but in `runs` */
    enum fault fault;
    er_task_id id, other;
    struct er_held h;
    struct worker *dying;
    er_usec at;
    long round;
};
struct step {
    const char *name;
    void (*prepare)(struct life *l);
    int (*act)(struct life *l); /* may be done again after an error */
    void (*check)(struct life *l);
};

static long injected;

/* ---- faults ---- */

struct arm_op {
    struct er_op op;
    long n;
    bool *hit;
};

static int
run_arm(struct er_op *op, struct er_store *s, er_usec now)
{
    (void)s;
    (void)now;
    struct arm_op *a = (struct arm_op *)(void *)op;
    if (a->hit) {
        *a->hit = er_mem_fault_hit() != 0;
    }
    er_mem_fault_set(a->n, 0);
    return 0;
}

static void
done_arm(struct er_op *op, int rc)
{
    (void)rc; /* the crossing may fail, the fault is set all the same */
    free(op);
}

/* The n-th allocation of the store's thread from here on fails; 0 = none. */
static void
arm_memory(struct fixture *f, long n, bool *hit)
{
    struct arm_op *a = calloc(1, sizeof *a);
    assert_non_null(a);
    a->op.run = run_arm;
    a->op.done = done_arm;
    a->n = n;
    a->hit = hit;
    er_engine_post(f->e, &a->op);
}

static void
arm(struct life *l, long n)
{
    static const enum fault_vfs_kind kinds[] = {FAULT_VFS_FULL, FAULT_VFS_IO,
                                                FAULT_VFS_SYNC};
    if (l->fault == MEMORY) {
        arm_memory(l->f, n, NULL);
    } else {
        fault_vfs_break(kinds[l->fault], n);
    }
}

static bool
is_well(struct fixture *f)
{
    struct er_engine_stats st;
    er_engine_stats(f->e, &st);
    return !st.sick;
}

/* The fault is over; whether it struck. Turns time until the engine is well. */
static bool
disarm(struct life *l)
{
    static bool hit;
    if (l->fault == MEMORY) {
        arm_memory(l->f, 0, &hit);
        f_settle(l->f);
    } else {
        hit = fault_vfs_hit();
        fault_vfs_mend();
    }
    for (int i = 0; i < 10 && !is_well(l->f); i++) {
        f_pass(l->f, 2 * SEC);
    }
    assert_true(is_well(l->f));
    f_settle(l->f);
    return hit;
}

static bool
is_fault(const struct life *l, int rc)
{
    static const int codes[] = {ER_EDISKFULL, ER_EIO, ER_EIO, ER_ENOMEM};
    return rc == codes[l->fault];
}

static bool
one_round(struct life *l, const struct step *step, long n)
{
    l->round++;
    step->prepare(l);
    f_settle(l->f);
    arm(l, n);
    int rc = step->act(l);
    bool struck = disarm(l);
    if (rc) {
        if (!struck || !is_fault(l, rc)) {
            fail_msg("%s, fault %d, n = %ld: code %d", step->name, l->fault, n, rc);
        }
        assert_int_equal(step->act(l), 0);
        f_settle(l->f);
    }
    step->check(l);
    injected += struck;
    return struck;
}

static void
play(void **state, const struct step *step)
{
    struct life l = {.f = *state};
    l.w = w_new(l.f, 0);
    for (l.fault = DISK_FULL; l.fault < FAULTS; l.fault++) {
        long n = 1;
        while (one_round(&l, step, n)) {
            assert_true(++n < 1000);
        }
        assert_true(n > 1); /* it has written, synced, and asked for memory */
    }
}

/* ---- helpers of the steps ---- */

static void
nothing(struct life *l)
{
    (void)l;
}

static void
waits(struct life *l)
{
    l->id = f_add(l->f, f_new());
}

static struct er_held
start(struct life *l, er_task_id id)
{
    er_engine_set_slots(l->f->e, l->w->session, 1);
    struct er_held h = w_run(l->w);
    er_engine_set_slots(l->f->e, l->w->session, 0);
    assert_int_equal(h.task, id);
    return h;
}

static void
runs(struct life *l)
{
    struct er_new_task row = f_new();
    row.retries = 1;
    l->id = f_add(l->f, row);
    l->h = start(l, l->id);
}

static int
report_end(struct life *l, int exit_code, const char *more)
{
    int rc = w_report(l->w, "%s", w_finished(l->f, l->h, exit_code, more));
    assert_int_equal(l->w->n_lost, 0);
    return rc;
}

static int
say(struct life *l, const char *what)
{
    return w_report(l->w, "{\"%s\":{\"task\":%lld,\"attempt\":%d}}", what,
                    (long long)l->h.task, l->h.attempt);
}

static struct er_task
expect(struct life *l, enum er_task_state state, const char *facts)
{
    struct er_task t = f_get(l->f, l->id);
    if (t.state != state) {
        fail_msg("round %ld: %s", l->round, er_task_state_word(t.state));
    }
    assert_string_equal(f_facts(l->f, l->id), facts);
    return t;
}

/* Nothing of it is left for the next round. */
static void
cancel(struct life *l, er_task_id id)
{
    assert_int_equal(f_change(l->f, ER_CHANGE_CANCEL, id), 0);
    if (er_live_attempt_find(l->f->e, id)) {
        assert_int_equal(report_end(l, 143, ",\"why\":\"cancel\""), 0);
    }
    assert_int_equal(f_get(l->f, id).state, ER_TASK_CANCELLED);
}

/* ---- the steps: submit, claim, ends ---- */

static int
act_submit(struct life *l)
{
    struct er_new_task row = f_new();
    int rc;
    f_post_submit(l->f, &row, 1, &rc, &l->id);
    f_until(l->f, rc <= 0);
    return rc;
}

static void
check_submit(struct life *l)
{
    (void)expect(l, ER_TASK_QUEUED, "task-queued");
    assert_int_equal(l->id, l->round); /* one that was refused is not there */
    cancel(l, l->id);
}

static int
act_claim(struct life *l)
{
    er_engine_set_slots(l->f->e, l->w->session, 1);
    f_settle(l->f);
    return 0;
}

static void
check_claim(struct life *l)
{
    l->h = w_run(l->w);
    er_engine_set_slots(l->f->e, l->w->session, 0);
    assert_int_equal(l->h.attempt, 1);
    (void)expect(l, ER_TASK_RUNNING, "task-queued, task-started/1");
    assert_int_equal(report_end(l, 0, ""), 0);
}

static int
act_report_end(struct life *l)
{
    return w_report(
        l->w,
        "{\"item\":{\"task\":%lld,\"attempt\":1,\"name\":\"a\","
        "\"failed\":false}}\n"
        "{\"item\":{\"task\":%lld,\"attempt\":1,\"name\":\"b\","
        "\"failed\":true}}\n"
        "{\"progress\":{\"task\":%lld,\"attempt\":1,\"progress\":{\"percent\":"
        "5},\"checkpoint\":{\"n\":1}}}\n"
        "{\"paused\":{\"task\":%lld,\"attempt\":1}}\n"
        "{\"resumed\":{\"task\":%lld,\"attempt\":1}}\n%s",
        (long long)l->id, (long long)l->id, (long long)l->id, (long long)l->id,
        (long long)l->id, w_finished(l->f, l->h, 0, ",\"result\":\"MQ==\""));
}

static void
check_report_end(struct life *l)
{
    struct er_task t =
        expect(l, ER_TASK_SCHEDULED,
               "task-queued, task-started/1, task-paused/1, task-resumed/1, "
               "task-retrying/1");
    assert_int_equal(t.items_completed, 1);
    assert_int_equal(t.items_failed, 1);
    assert_int_equal(t.failures, 1);
    assert_string_equal(t.checkpoint_json, "{\"n\":1}");
    cancel(l, l->id);
}

static void
prepare_report_final(struct life *l)
{
    runs(l);
    struct er_new_after after = {.id = l->id, .ref = -1, .when = ER_AFTER_OK};
    struct er_new_task row = f_new();
    row.after = &after;
    row.n_after = 1;
    l->other = f_add(l->f, row);
}

static int
act_report_final(struct life *l)
{
    return report_end(l, 0, "");
}

static void
check_report_final(struct life *l)
{
    (void)expect(l, ER_TASK_COMPLETED, "task-queued, task-started/1, task-completed/1");
    assert_int_equal(f_get(l->f, l->other).state, ER_TASK_QUEUED);
    cancel(l, l->other);
}

static int
act_report_limited(struct life *l)
{
    return report_end(l, 1, ",\"retry_after_s\":1000000");
}

static void
check_report_limited(struct life *l)
{
    struct er_task t =
        expect(l, ER_TASK_PAUSED, "task-queued, task-started/1, task-paused/1");
    assert_int_equal(t.failures, 0);
    cancel(l, l->id);
}

/* ---- pause and resume of what runs ---- */

static int
act_pause(struct life *l)
{
    int rc = f_change(l->f, ER_CHANGE_PAUSE, l->id);
    return rc ? rc : say(l, "paused");
}

static void
check_pause(struct life *l)
{
    (void)expect(l, ER_TASK_PAUSED, "task-queued, task-started/1, task-paused/1");
    cancel(l, l->id);
}

static void
prepare_resume(struct life *l)
{
    runs(l);
    assert_int_equal(act_pause(l), 0);
}

static int
act_resume(struct life *l)
{
    int rc = f_change(l->f, ER_CHANGE_RESUME, l->id);
    /* once it is taken, another one finds nothing to resume */
    return rc && rc != ER_ESTATE ? rc : say(l, "resumed");
}

static void
check_resume(struct life *l)
{
    (void)expect(l, ER_TASK_RUNNING,
                 "task-queued, task-started/1, task-paused/1, task-resumed/1");
    assert_int_equal(report_end(l, 0, ""), 0);
}

/* ---- changes ---- */

static int
act_cancel_waiting(struct life *l)
{
    return f_change(l->f, ER_CHANGE_CANCEL, l->id);
}

static void
check_cancel_waiting(struct life *l)
{
    (void)expect(l, ER_TASK_CANCELLED, "task-queued, task-cancelled");
}

static int
act_cancel_running(struct life *l)
{
    int rc = f_change(l->f, ER_CHANGE_CANCEL, l->id);
    return rc ? rc : report_end(l, 1, ""); /* it fails before it hears of it */
}

static void
check_cancel_running(struct life *l)
{
    (void)expect(l, ER_TASK_CANCELLED, "task-queued, task-started/1, task-cancelled/1");
}

static int
act_hold(struct life *l)
{
    int rc = f_change(l->f, ER_CHANGE_PAUSE, l->id);
    return rc ? rc : f_change(l->f, ER_CHANGE_RESUME, l->id);
}

static void
check_hold(struct life *l)
{
    /* a pause that was taken and a resume that was not are both asked for again */
    struct er_task t = f_get(l->f, l->id);
    assert_true(t.state == ER_TASK_QUEUED && !t.held);
    assert_string_equal(f_facts(l->f, l->id), "task-queued, task-paused, task-resumed");
    cancel(l, l->id);
}

static void
finished(struct life *l)
{
    runs(l);
    assert_int_equal(report_end(l, 0, ""), 0);
}

static int
act_retry(struct life *l)
{
    return f_change(l->f, ER_CHANGE_RETRY, l->id);
}

static void
check_retry(struct life *l)
{
    struct er_task t =
        expect(l, ER_TASK_QUEUED,
               "task-queued, task-started/1, task-completed/1, task-queued/1");
    assert_int_equal(t.run, 2);
    cancel(l, l->id);
}

static int
act_remove(struct life *l)
{
    return f_change(l->f, ER_CHANGE_REMOVE, l->id);
}

static void
check_remove(struct life *l)
{
    assert_int_equal(f_change(l->f, ER_CHANGE_CANCEL, l->id), ER_ENOTFOUND);
}

static void
done_edit(struct er_change_request *c, int rc)
{
    *(int *)c->ctx = rc ? rc : c->rows[0].status;
    er_arena_free(&c->arena);
    free(c);
}

static int
act_edit(struct life *l)
{
    int rc = 1;
    struct er_change_request *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->kind = ER_CHANGE_EDIT;
    c->rows = er_arena_alloc(&c->arena, sizeof *c->rows);
    assert_non_null(c->rows);
    c->rows[0].id = l->id;
    c->n = 1;
    c->edit = (struct er_edit){.queue = "elsewhere", .has_priority = true, .priority = 7};
    c->done = done_edit;
    c->ctx = &rc;
    er_engine_change(l->f->e, c);
    f_until(l->f, rc <= 0);
    return rc;
}

static void
check_edit(struct life *l)
{
    struct er_task t = expect(l, ER_TASK_QUEUED, "task-queued, task-changed");
    assert_int_equal(t.priority, 7);
    assert_string_equal(t.queue, "elsewhere");
    cancel(l, l->id);
}

static int
act_requeue(struct life *l)
{
    int rc;
    f_post_change(l->f, ER_CHANGE_REQUEUE, l->id, true, &rc);
    f_until(l->f, rc <= 0);
    return rc ? rc : report_end(l, 143, ",\"why\":\"requeue\"");
}

static void
check_requeue(struct life *l)
{
    struct er_task t =
        expect(l, ER_TASK_QUEUED, "task-queued, task-started/1, task-paused/1");
    assert_true(t.held);
    cancel(l, l->id);
}

/* ---- switches and limits ---- */

struct pausing {
    struct er_pause_request p;
    int rc;
};

static void
done_pause(struct er_pause_request *p, int rc)
{
    ((struct pausing *)(void *)p)->rc = rc;
}

static int
turn(struct life *l, const char *queue, bool paused)
{
    struct pausing p = {.p = {.queue = queue, .paused = paused, .done = done_pause},
                        .rc = 1};
    er_engine_pause(l->f->e, &p.p);
    f_until(l->f, p.rc <= 0);
    return p.rc;
}

static int
act_switch(struct life *l)
{
    int rc = turn(l, "default", true);
    rc = rc ? rc : turn(l, NULL, true);
    rc = rc ? rc : turn(l, "default", false);
    return rc ? rc : turn(l, NULL, false);
}

static void
check_switch(struct life *l)
{
    struct er_gate_view v;
    assert_false(er_engine_all_paused(l->f->e));
    assert_true(er_engine_gate(l->f->e, ER_GATE_QUEUE, "default", &v));
    assert_false(v.paused);
    struct er_live live;
    assert_true(er_engine_live(l->f->e, l->id, &live));
    assert_false(live.pausing || live.paused);
    assert_int_equal(report_end(l, 0, ""), 0);
}

struct put_op {
    struct er_op op;
    struct er_limit limit;
    struct er_type_row type;
    int rc;
};

static int
run_put(struct er_op *op, struct er_store *s, er_usec now)
{
    struct put_op *p = (struct put_op *)(void *)op;
    int rc = er_store_limit_put(s, now, &p->limit);
    return rc ? rc : er_store_type_put(s, now, &p->type);
}

static void
done_put(struct er_op *op, int rc)
{
    ((struct put_op *)(void *)op)->rc = rc;
}

static int
act_limits(struct life *l)
{
    char key[32], json[64];
    (void)snprintf(key, sizeof key, "key%ld", l->round);
    (void)snprintf(json, sizeof json, "{\"concurrency\":%ld}", l->round);
    struct put_op p = {.op = {.run = run_put, .done = done_put},
                       .limit = {.key = key, .concurrency = 1},
                       .type = {.name = "t", .definition_json = json},
                       .rc = 1};
    er_engine_post(l->f->e, &p.op);
    f_until(l->f, p.rc <= 0);
    if (p.rc == 0) {
        er_engine_limit_changed(l->f->e, &p.limit);
    } else {
        er_schedule_sick(l->f->e, p.rc); /* as all who post such operations do not */
    }
    return p.rc;
}

static void
check_limits(struct life *l)
{
    char key[32];
    struct er_gate_view v;
    (void)snprintf(key, sizeof key, "key%ld", l->round);
    assert_true(er_engine_gate(l->f->e, ER_GATE_KEY, key, &v));
    assert_int_equal(v.concurrency, 1);
}

/* ---- sessions ---- */

static void
on_opened(void *ctx, int64_t session, int rc)
{
    *(int64_t *)ctx = rc ? rc : session;
}

static int
act_session_open(struct life *l)
{
    int64_t session = 0;
    er_engine_session_open(l->f->e, 1, on_opened, &session);
    f_until(l->f, session != 0);
    l->at = session;
    return session < 0 ? (int)session : 0;
}

static void
check_session_open(struct life *l)
{
    assert_int_equal(HASH_COUNT(l->f->e->sessions), 2);
    er_engine_session_dead(l->f->e, l->at, false);
    f_until(l->f, HASH_COUNT(l->f->e->sessions) == 1);
}

static int
act_attach(struct life *l)
{
    w_detach(l->w);
    assert_int_equal(w_attach(l->w, NULL, 0, NULL, 0), 0); /* it never had the run */
    f_settle(l->f);
    return 0;
}

static void
check_attach(struct life *l)
{
    struct er_task t =
        expect(l, ER_TASK_QUEUED, "task-queued, task-started/1, task-queued/1");
    assert_int_equal(t.attempt, 0);
    cancel(l, l->id);
}

static void
prepare_dead(struct life *l)
{
    struct er_outlog log;
    l->id = f_add(l->f, f_new());
    l->dying = w_new(l->f, 1);
    (void)w_run(l->dying);
    assert_int_equal(er_outlog_create(&log, l->f->logs, l->id, 1, 1000, 1000, NULL), 0);
    er_outlog_close(&log);
}

static int
act_dead(struct life *l)
{
    w_die(l->dying);
    f_settle(l->f);
    return 0;
}

static void
check_dead(struct life *l)
{
    f_until(l->f, HASH_COUNT(l->f->e->sessions) == 1);
    struct er_task t =
        expect(l, ER_TASK_QUEUED, "task-queued, task-started/1, task-queued/1");
    assert_int_equal(t.losses, 1);
    cancel(l, l->id);
}

/* ---- time ---- */

static void
prepare_delay(struct life *l)
{
    struct er_new_task row = f_new();
    row.run_at = l->f->wall + 600 * SEC;
    l->id = f_add(l->f, row);
    l->at = f_get(l->f, l->id).run_at;
}

static int
act_due(struct life *l)
{
    f_pass(l->f, 601 * SEC);
    return 0;
}

static void
check_due(struct life *l)
{
    (void)expect(l, ER_TASK_QUEUED, "task-scheduled, task-queued");
    cancel(l, l->id);
}

static int
act_clock(struct life *l)
{
    f_flush(
        l->f); /* a set clock goes before what waits to cross, and so before what arms */
    l->f->wall += 7200 * SEC;
    er_loop_set_alarm(l->f->loop, ++l->f->kicks);
    f_settle(l->f);
    return 0;
}

static void
check_clock(struct life *l)
{
    struct er_task t = expect(l, ER_TASK_SCHEDULED, "task-scheduled");
    assert_int_equal(t.run_at, l->at + 7200 * SEC); /* once */
    cancel(l, l->id);
}

static void
on_cleaned(void *ctx, int rc, int64_t removed)
{
    (void)removed;
    *(int *)ctx = rc;
}

static int
act_prune(struct life *l)
{
    int rc = 1;
    struct er_retention keep = {.tombstone_for = 3600 * SEC,
                                .facts = 1000000,
                                .facts_for = 360000 * SEC,
                                .only_state = -1};
    er_engine_clean(l->f->e, &keep, on_cleaned, &rc);
    f_until(l->f, rc <= 0);
    if (rc) {
        er_schedule_sick(l->f->e, rc);
    }
    return rc;
}

#define STEP(name, prepare, act, check)                                                  \
    static void name(void **state)                                                       \
    {                                                                                    \
        static const struct step step = {#name, prepare, act, check};                    \
        play(state, &step);                                                              \
    }
STEP(submit, nothing, act_submit, check_submit)
STEP(claim, waits, act_claim, check_claim)
STEP(report_with_items_a_stop_and_an_end, runs, act_report_end, check_report_end)
STEP(report_of_a_final_end_with_a_dependent, prepare_report_final, act_report_final,
     check_report_final)
STEP(report_of_a_rate_limit, runs, act_report_limited, check_report_limited)
STEP(pause_of_a_running_task, runs, act_pause, check_pause)
STEP(resume_of_a_paused_task, prepare_resume, act_resume, check_resume)
STEP(cancel_of_a_waiting_task, waits, act_cancel_waiting, check_cancel_waiting)
STEP(cancel_of_a_running_task, runs, act_cancel_running, check_cancel_running)
STEP(hold_and_resume_of_a_waiting_task, waits, act_hold, check_hold)
STEP(retry, finished, act_retry, check_retry)
STEP(remove_of_a_finished_task, finished, act_remove, check_remove)
STEP(edit, waits, act_edit, check_edit)
STEP(requeue_with_hold, runs, act_requeue, check_requeue)
STEP(switches, runs, act_switch, check_switch)
STEP(limits_and_types, nothing, act_limits, check_limits)
STEP(session_open, nothing, act_session_open, check_session_open)
STEP(attach_that_refunds, runs, act_attach, check_attach)
STEP(death_of_a_worker, prepare_dead, act_dead, check_dead)
STEP(due, prepare_delay, act_due, check_due)
STEP(clock_that_is_set, prepare_delay, act_clock, check_clock)
STEP(prune, finished, act_prune, check_remove)

/* ---- orders: the reader's thread ---- */

struct arm_query {
    struct er_query q;
    long n;
    bool hit, done;
};

static void
run_arm_query(struct er_query *q, struct er_store_reader *r)
{
    (void)r;
    struct arm_query *a = (struct arm_query *)(void *)q;
    a->hit = er_mem_fault_hit() != 0;
    er_mem_fault_set(a->n, 0);
}

static void
done_arm_query(struct er_query *q)
{
    ((struct arm_query *)(void *)q)->done = true;
}

static bool
arm_reader(struct fixture *f, long n)
{
    struct arm_query a = {.n = n};
    a.q.run = run_arm_query;
    a.q.done = done_arm_query;
    er_engine_query(f->e, &a.q);
    f_until(f, a.done);
    return a.hit;
}

static void
orders_that_cannot_be_read__fail_the_attempt_by_name(void **state)
{
    struct fixture *f = *state;
    struct life l = {.f = f, .w = w_new(f, 0)};
    bool hit = true;
    for (long n = 1; hit && n < 1000; n++) {
        prepare_report_final(&l); /* l.other waits for l.id, and will have items */
        assert_int_equal(act_report_final(&l), 0);
        l.id = l.other;
        l.h = start(&l, l.id);
        assert_int_equal(w_report(l.w,
                                  "{\"item\":{\"task\":%lld,\"attempt\":1,\"name\":\"a\","
                                  "\"failed\":false}}\n%s",
                                  (long long)l.id,
                                  w_finished(f, l.h, 143, ",\"why\":\"requeue\"")),
                         0);
        (void)arm_reader(f, n);
        er_engine_set_slots(f->e, l.w->session, 1);
        f_settle(f);
        hit = arm_reader(f, 0);
        f_settle(f);
        er_engine_set_slots(f->e, l.w->session, 0);
        if (hit) { /* without it it would do something else */
            struct er_task t = f_get(f, l.id);
            assert_int_equal(t.state, ER_TASK_FAILED);
            assert_non_null(strstr(t.error_json, "out-of-memory"));
            assert_int_equal(w_count(l.w, "run"), 0);
            injected++;
        } else {
            l.h = w_run(l.w);
            assert_int_equal(report_end(&l, 0, ""), 0);
        }
    }
    assert_false(hit);
}

static int
print_count(void **state)
{
    (void)state;
    printf("# %ld faults were injected\n", injected);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(submit),
        TEST(claim),
        TEST(report_with_items_a_stop_and_an_end),
        TEST(report_of_a_final_end_with_a_dependent),
        TEST(report_of_a_rate_limit),
        TEST(pause_of_a_running_task),
        TEST(resume_of_a_paused_task),
        TEST(cancel_of_a_waiting_task),
        TEST(cancel_of_a_running_task),
        TEST(hold_and_resume_of_a_waiting_task),
        TEST(retry),
        TEST(remove_of_a_finished_task),
        TEST(edit),
        TEST(requeue_with_hold),
        TEST(switches),
        TEST(limits_and_types),
        TEST(session_open),
        TEST(attach_that_refunds),
        TEST(death_of_a_worker),
        TEST(due),
        TEST(clock_that_is_set),
        TEST(prune),
        TEST(orders_that_cannot_be_read__fail_the_attempt_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, print_count);
}
