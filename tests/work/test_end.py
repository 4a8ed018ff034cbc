#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ending attempts: cancel, timeout, requeue, drop, and what a command leaves behind."""

import os

from fake_daemon import alive, check, daemon, equal, in_time, main, until


def cancel(c, task, grace=5, why="cancel", attempt=1):
    c.daemon.send({"cancel": {"task": task, "attempt": attempt, "grace_s": grace, "why": why}})


def pids_of(c, *names):
    return [int(c.file(name)) for name in names]


def gone(pids):
    for pid in pids:
        check(not alive(pid), f"pid {pid} is alive")


def test_cancel_ends_the_group(c):
    c.start()
    c.sh(1, "sleep 1000 & echo $! > child; sleep 1000")
    child = pids_of(c, "child")
    cancel(c, 1)
    f = c.daemon.finished(1)
    equal((f["why"], f["spawned"], f["exit_code"], f["signal"]), ("cancel", True, None, 15))
    equal(f["warnings"], [])
    gone(child)


def test_cancel_ends_what_left_the_session_and_what_ignores_term(c):
    c.start()
    c.sh(
        1,
        "setsid sh -c 'trap \"\" TERM; echo $$ > runaway; while :; do sleep 1; done' & "
        "trap '' TERM; echo $$ > leader; while :; do sleep 1; done",
    )
    pids = pids_of(c, "runaway", "leader")
    cancel(c, 1, grace=0.3)
    f = c.daemon.finished(1)
    equal((f["why"], f["signal"]), ("cancel", 9))
    gone(pids)


def test_cancel_of_what_ends_itself_within_the_grace(c):
    c.start()
    c.sh(1, "trap 'echo cleaned; exit 7' TERM; echo $$ > pid; while :; do sleep 0.01; done")
    pids_of(c, "pid")
    cancel(c, 1, grace=100)
    f = c.daemon.finished(1)
    equal((f["why"], f["exit_code"]), ("cancel", 7))
    equal(c.out(1, [1]), b"cleaned\n")


def test_cancel_reaches_what_is_stopped(c):
    c.start()
    c.sh(1, "trap 'exit 9' TERM; echo $$ > pid; kill -STOP $$; exit 1")
    pids_of(c, "pid")
    cancel(c, 1, grace=100)
    equal(c.daemon.finished(1)["exit_code"], 9)


@daemon(slots=1)
def test_cancel_of_what_waits_is_reported_as_not_spawned(c):
    c.start()
    c.sh(1, "sleep 1000")
    c.sh(2, "touch ran")
    c.daemon.line("started", 1)
    cancel(c, 2)
    f = c.daemon.finished(2)
    equal((f["why"], f["spawned"], f["exit_code"], f["error"]), ("cancel", False, None, None))
    check(not os.path.exists(c.path("logs", "0", "2-1.log")), "a log was made")
    cancel(c, 1, grace=0)
    c.daemon.finished(1)
    check(not os.path.exists(c.path("ran")), "it ran")


def test_requeue_comes_back_in_the_report(c):
    c.start()
    c.sh(1, "echo x; sleep 1000")
    c.daemon.line("output", 1)
    cancel(c, 1, why="requeue")
    f = c.daemon.finished(1)
    equal((f["why"], f["signal"], f["error"]), ("requeue", 15, None))


def test_timeout_ends_the_tree(c):
    c.start()

    def long(task, seconds):
        c.sh(task, "setsid sleep 1000 & echo $! > child; sleep 1000", timeout_s=seconds, grace_s=60)
        return seconds, c.daemon.finished(task)

    seconds, f = in_time(long, lambda: c.is_written("child"))
    child = pids_of(c, "child")
    equal((f["why"], f["signal"]), ("timeout", 15))
    words = "ran longer than " + ("200ms" if seconds < 1 else f"{seconds}s")
    equal(f["error"], {"class": "retryable", "code": "timeout", "message": words})
    gone(child)


def test_timeout_does_not_touch_what_is_in_time(c):
    c.start()
    c.sh(1, "exit 0", timeout_s=600)
    f = c.daemon.finished(1)
    equal((f["why"], f["exit_code"]), (None, 0))


def test_a_grandchild_that_holds_the_pipe_does_not_hold_the_slot(c):
    c.start()
    c.sh(1, "echo before; sleep 1000 & echo $! > child; exit 6")
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["why"]), (6, None))
    equal(c.out(1), b"before\n")
    child = pids_of(c, "child")
    gone(child)
    check(str(child[0]) in f["warnings"][0], f["warnings"])


def test_what_left_the_session_is_stopped_when_the_leader_ends(c):
    c.start()
    c.sh(1, "setsid sh -c 'setsid sleep 1000 & echo $! > deep; wait' & echo $! > x; "
            "while ! [ -s deep ]; do :; done; exit 0")
    deep = pids_of(c, "deep")
    f = c.daemon.finished(1)
    equal(f["exit_code"], 0)
    gone(deep)


def test_leftovers_that_ignore_term_are_killed(c):
    c.start()
    c.sh(
        1,
        "(trap '' TERM; echo $$ > x; sh -c 'echo $$ > deep; while :; do sleep 1; done') & "
        "while ! [ -s deep ]; do :; done; exit 0",
        grace_s=0.2,
    )
    deep = pids_of(c, "deep")
    equal(c.daemon.finished(1)["exit_code"], 0)
    gone(deep)


def test_an_orphan_of_one_does_not_end_with_another(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "(setsid sh -c 'echo $$ > orphan; sleep 1000' &); read x < fifo")
    orphan = pids_of(c, "orphan")
    for task in range(2, 12):
        c.sh(task, "exit 0")
        f = c.daemon.finished(task)
        equal((f["exit_code"], f["warnings"]), (0, []))
    check(alive(orphan[0]), "the orphan of task 1 was ended with another")
    c.go()
    f = c.daemon.finished(1)
    check(str(orphan[0]) in f["warnings"][0], f["warnings"])
    gone(orphan)


def test_orphans_are_reaped_while_their_attempt_runs(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "for i in 1 2 3 4 5; do (sh -c 'sleep 0.01; echo $$ > orphan'$i &); done; read x < fifo")
    pids = pids_of(c, *[f"orphan{i}" for i in range(1, 6)])
    c.sh(2, "exit 0")
    c.daemon.finished(2)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "zombies to go")
    c.go()
    equal(c.daemon.finished(1)["warnings"], [])


def test_drop_kills_at_once_and_reports_nothing(c):
    c.start()
    c.sh(1, "trap '' TERM; setsid sleep 1000 & echo $! > child; echo $$ > pid; while :; do sleep 1; done")
    pids = pids_of(c, "child", "pid")
    c.daemon.send({"drop": {"task": 1, "attempt": 1}})
    until(lambda: not any(alive(pid) for pid in pids), "their end")
    c.sh(2, "exit 0")
    c.daemon.finished(2)
    equal(c.daemon.all("finished", 1), [])
    check(4 not in [f.kind for f in c.log(1)], "an exit frame was written")


def test_a_cancel_that_comes_late_does_not_change_the_outcome(c):
    c.start()
    c.sh(1, "trap '' TERM; (trap '' TERM; echo $$ > x; while :; do sleep 0.1; done) & "
            "while ! [ -s x ]; do :; done; exit 0", grace_s=1)
    c.file("x")
    # the leader has ended or is about to; its leftover holds the attempt for the grace
    pid = c.daemon.line("started", 1)["pid"]
    until(lambda: not alive(pid), "the leader's end")
    c.sh(2, "exit 0")
    c.daemon.finished(2)
    cancel(c, 1)
    f = c.daemon.finished(1)
    equal((f["why"], f["exit_code"]), (None, 0))


def test_many_are_cancelled_at_once(c):
    c.start()
    c.daemon.send({"slots": 40})
    for task in range(1, 41):
        c.sh(task, "setsid sleep 1000 & sleep 1000")
    pids = [c.daemon.line("started", task)["pid"] for task in range(1, 41)]
    for task in range(1, 41):
        cancel(c, task)
    for task in range(1, 41):
        equal(c.daemon.finished(task)["why"], "cancel")
    gone(pids)


if __name__ == "__main__":
    main(globals())
