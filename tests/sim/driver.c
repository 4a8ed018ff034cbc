/* SPDX-License-Identifier: MIT */
/* The daemon, bad luck, and the steps in which all of it happens. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../store/fault_vfs.h"
#include "base/mem.h"
#include "check.h"

/* ---- the daemon ---- */

static void
break_disk(void)
{
    static const enum fault_vfs_kind kinds[] = {FAULT_VFS_FULL, FAULT_VFS_IO,
                                                FAULT_VFS_SYNC};
    enum fault_vfs_kind kind = kinds[rnd(3)];
    sim.broken = true;
    sim.disk_full = kind == FAULT_VFS_FULL;
    sim.fault_seen = false;
    sim.mend_at = sim.mono + rnd_span(20 * MIN);
    sim.n.faults++;
    sim_note("the disk breaks (%d)", (int)kind);
    fault_vfs_break(kind, 1 + (long)rnd(12));
}

static void
mend_disk(void)
{
    sim.broken = sim.disk_full = false;
    sim.mend_at = ER_NEVER;
    fault_vfs_mend();
    sim_note("the disk is whole");
}

void
daemon_start(void)
{
    struct er_engine_options options = {
        .clock = &sim.clock,
        .store_path = sim.path,
        .logs = sim.folder,
        .retention = {.keep = 200,
                      .keep_for = 10 * MIN,
                      .tombstone_for = HOUR,
                      .facts = 2000,
                      .facts_for = 24 * HOUR,
                      .only_state = -1},
        .max_losses = ER_MAX_LOSSES,
        .backoff_cap = 30 * SEC,
    };
    struct er_err err = {""};
    if (er_loop_new(&sim.loop, &err)) {
        sim_fail("%s", err.text);
    }
    options.loop = sim.loop;
    sim.life++;
    sim.start_at = ER_NEVER;
    if (er_engine_open(&options, &sim.e, &err)) {
        if (!sim.broken) {
            sim_fail("the daemon cannot start: %s", err.text);
        }
        sim_note("the daemon does not start");
        sim.e = NULL;
        er_loop_free(sim.loop);
        sim.loop = NULL;
        sim.start_at = sim.mono + SEC;
        return;
    }
    sim_note("the daemon is there");
    check_opened();
    workers_daemon_there();
    users_define();
}

/* Lets the engine go. `hard`: as SIGKILL does, nothing more reaches the disk. */
void
daemon_end(bool hard)
{
    sim_note("the daemon %s", hard ? "is killed" : "ends");
    sim.n.restarts++;
    if (sim.shift_pending) {
        m_spans_unknown();
        sim.shift_pending = false;
    }
    if (hard) {
        sim.tearing = true;
        fault_vfs_break(FAULT_VFS_IO, 1);
    }
    workers_daemon_gone();
    er_engine_stop(sim.e);
    while (sim_loop_letters(sim.loop) > 0) {
        sim_loop_deliver(sim.loop);
    }
    er_engine_free(sim.e);
    er_loop_free(sim.loop);
    sim.e = NULL;
    sim.loop = NULL;
    sim.tearing = false;
    mend_disk();
    sim.start_at = sim.mono + (one_in(3) ? rnd_span(5 * SEC) : (er_usec)rnd(SEC));
}

/* ---- luck ---- */

static void
set_clock(void)
{
    er_usec by = rnd_span(one_in(3) ? 2 * HOUR : MIN);
    by = one_in(2) ? by : -by;
    sim.offset += by;
    sim.n.jumps++;
    judge_clock_was_set();
    sim.shift_pending = sim.e != NULL;
    if (!sim.e) {
        m_spans_unknown(); /* nobody could see it */
    }
    sim_note("the clock is set by %.3f s", (double)by / 1e6);
    if (sim.e) {
        sim_loop_clock_set(sim.loop);
    }
}

static void
suspend(void)
{
    er_usec span = rnd_span(HOUR);
    sim.boot += span;
    sim.n.suspends++;
    sim_note("suspended for %.3f s", (double)span / 1e6);
}

static void
freeze(struct vworker *w)
{
    if (w->alive && !w->frozen) {
        w->frozen = true;
        w->thaw_at = sim.mono + rnd_span(3 * SEC);
        sim.n.freezes++;
        sim_note("worker %d freezes", (int)(w - sim.workers));
    }
}

static void
lose_link(struct vworker *w)
{
    if (sim.e && w->attached && w->alive) {
        sim.n.links_lost++;
        sim_note("worker %d loses its link", (int)(w - sim.workers));
        worker_unlink(w);
    }
}

static void
bad_luck(void)
{
    struct vworker *w = &sim.workers[rnd((uint64_t)sim.n_workers)];
    uint64_t dice = rnd(100);
    if (dice < 30) {
        worker_die(w);
    } else if (dice < 55) {
        lose_link(w);
    } else if (dice < 63) {
        freeze(w);
    } else if (dice < 77) {
        if (sim.e) {
            daemon_end(!one_in(4));
        }
    } else if (dice < 88) {
        if (!sim.broken) {
            break_disk();
        }
    } else if (dice < 95) {
        set_clock();
    } else {
        suspend();
    }
}

/* ---- time ---- */

static er_usec
next_moment(void)
{
    er_usec at = workers_next();
    if (sim.e) {
        at = sim.next_submit < at ? sim.next_submit : at;
        at = sim.next_change < at ? sim.next_change : at;
        er_usec alarm = sim_loop_alarm(sim.loop);
        if (alarm != ER_NEVER) {
            er_usec in = alarm > wall() ? alarm - wall() : 0;
            at = sim.mono + in < at ? sim.mono + in : at;
        }
    }
    at = sim.next_luck < at ? sim.next_luck : at;
    at = sim.start_at < at ? sim.start_at : at;
    at = sim.mend_at < at ? sim.mend_at : at;
    at = sim.next_calm < at ? sim.next_calm : at;
    return sim.phase_until < at ? sim.phase_until : at;
}

static void
pass_time(er_usec until)
{
    if (until > sim.mono) {
        sim.stuck = 0;
        sim.boot += until - sim.mono;
        sim.mono = until;
    }
}

static er_usec
gap(double an_hour)
{
    return rnd_span((er_usec)((double)HOUR / an_hour));
}

#define CALM_EVERY (120 * HOUR)
#define CALM_MAX   (3000 * HOUR)

static bool
any_open(void)
{
    for (int i = 0; i < model.now.n; i++) {
        const struct mtask *t = &model.tasks[i];
        if (!t->removed && !er_task_state_is_final(t->state)) {
            return true;
        }
    }
    return false;
}

/* G2: when nothing bad happens any more and nothing is held, all comes to an end. */
static void
calm(void)
{
    sim.next_calm = sim.mono + MIN;
    if (!sim.calm) {
        sim_note("calm");
        sim.calm = true;
        sim.calm_since = sim.mono;
        sim.n.calms++;
        sim.next_luck = sim.next_submit = sim.next_change = sim.phase_until = ER_NEVER;
    }
    if (!any_open()) {
        sim.calm = false;
        sim.next_calm = sim.mono + CALM_EVERY;
        sim.phase_until = sim.next_submit = sim.next_change = sim.next_luck = sim.mono;
        return;
    }
    if (sim.mono - sim.calm_since > CALM_MAX) {
        for (int i = 0; i < model.now.n; i++) {
            const struct mtask *t = &model.tasks[i];
            if (!t->removed && !er_task_state_is_final(t->state)) {
                sim_fail("G2: task %lld is still %s after all was calm for %lld hours",
                         (long long)t->id, er_task_state_word(t->state),
                         (long long)(CALM_MAX / HOUR));
            }
        }
    }
    if (sim.e) {
        users_heal();
    }
}

/* Quiet hours and busy minutes. */
static void
new_phase(void)
{
    bool rush = one_in(5);
    sim.phase_until = sim.mono + rnd_span(rush ? 4 * MIN : HOUR);
    sim.busy = sim.density * (rush ? 20.0 : one_in(3) ? 0.05 : 0.7);
    sim.next_submit = sim.mono + 1;
    sim.next_luck = sim.mono + gap(sim.busy / 10);
}

static void
happen(void)
{
    if (sim.e && sim_loop_alarm(sim.loop) <= wall()) {
        sim_loop_ring(sim.loop);
    } else if (sim.start_at <= sim.mono) {
        daemon_start();
    } else if (sim.mend_at <= sim.mono) {
        mend_disk();
    } else if (sim.next_calm <= sim.mono) {
        calm();
    } else if (sim.phase_until <= sim.mono) {
        new_phase();
    } else if (sim.next_luck <= sim.mono) {
        sim.next_luck = sim.mono + gap(sim.busy / 10);
        bad_luck();
    } else if (sim.e && sim.next_submit <= sim.mono) {
        sim.next_submit = sim.mono + gap(sim.busy);
        users_submit();
    } else if (sim.e && sim.next_change <= sim.mono) {
        sim.next_change = sim.mono + gap(sim.busy / 2);
        users_change();
    } else if (workers_next() <= sim.mono) {
        workers_happen();
    }
}

/* ---- steps ---- */

static void
turn(void)
{
    int64_t life = sim.life;
    int n = 1 + (one_in(3) ? (int)rnd(6) : 0);
    for (int i = 0; i < n; i++) {
        bool letters = sim_loop_letters(sim.loop) > 0;
        if (letters && chance(70)) {
            sim_loop_deliver(sim.loop);
        } else if (next_moment() <= sim.mono) {
            happen();
        } else if (letters) {
            sim_loop_deliver(sim.loop);
        }
        if (sim.life != life || !sim.e) {
            return;
        }
    }
    sim_loop_end_turn(sim.loop);
}

/* The disk has refused for the first time: it will be mended soon, or the power is
 * cut. */
static bool
cut(void)
{
    if (!sim.broken || sim.fault_seen || !fault_vfs_hit()) {
        return false;
    }
    sim.fault_seen = true;
    sim.mend_at = sim.mono + (one_in(3) ? 0 : rnd_span(5 * SEC));
    if (sim.e && one_in(3)) {
        daemon_end(true);
        return true;
    }
    return false;
}

static void
quiet(void)
{
    if (sim.e && !sim.broken) {
        check_quiet();
        if (sim.n.checks % 400 == 0) {
            check_full();
            m_compact();
        }
    }
    pass_time(next_moment());
}

static void
step(void)
{
    sim.n.steps++;
    if (++sim.stuck > 100000) {
        sim_fail("it is busy and no time passes: the alarm is in %.3f s",
                 sim.e ? (double)(sim_loop_alarm(sim.loop) - wall()) / 1e6 : 0.0);
    }
    if (cut()) {
        return;
    }
    bool crews = sim.e && sim_loop_busy_crews(sim.loop) > 0;
    bool letters = sim.e && sim_loop_letters(sim.loop) > 0;
    bool moment = next_moment() <= sim.mono;
    if (crews && (chance(60) || !(letters || moment))) {
        sim_loop_run_crew(sim.loop);
    } else if ((letters || moment) && sim.e) {
        turn();
    } else if (moment) {
        happen();
    } else {
        quiet();
    }
    if ((crews || letters) && one_in(60)) { /* the store is slow */
        pass_time(sim.mono + (er_usec)rnd(one_in(5) ? SEC : 5 * MS));
    }
}

static void
clean_up(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".ballast"};
    char path[128];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        (void)snprintf(path, sizeof path, "%s%s", sim.path, ends[i]);
        (void)unlink(path);
    }
    (void)rmdir(sim.folder);
}

void
driver_begin(void)
{
    (void)snprintf(sim.folder, sizeof sim.folder, "%s/errand-sim-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(sim.folder)) {
        sim_fail("no folder for the store");
    }
    (void)snprintf(sim.path, sizeof sim.path, "%s/tasks.db", sim.folder);
    (void)atexit(clean_up);
    fault_vfs_install();
    fault_vfs_mend();
    world_init();
    check_begin();
    sim.mend_at = ER_NEVER;
    sim.next_calm = sim.mono + CALM_EVERY;
    sim.next_submit = sim.next_change = sim.mono;
    workers_begin();
    new_phase();
    daemon_start();
}

void
driver_run(int64_t hours)
{
    sim.end = sim.mono + hours * HOUR;
    while (sim.mono < sim.end) {
        step();
    }
    sim.next_calm = sim.calm ? sim.next_calm : sim.mono;
    do {
        step();
    } while (sim.calm || sim.next_calm <= sim.mono);
    if (sim.e) {
        daemon_end(false);
    }
    daemon_start();
    daemon_end(false);
}
