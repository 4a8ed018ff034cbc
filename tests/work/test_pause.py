#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pausing attempts where they are and letting them go on: the whole tree, the clocks, what is
told, and what comes in between."""

import os
import random
import signal

from fake_daemon import LIMIT, TOKEN, FakeDaemon, alive, check, daemon, equal, in_time, main, until


def order(c, kind, task, attempt=1):
    c.daemon.send({kind: {"task": task, "attempt": attempt}})


def cancel(c, task, grace=5, why="cancel"):
    c.daemon.send({"cancel": {"task": task, "attempt": 1, "grace_s": grace, "why": why}})


def state(pid):
    """The state letter of a process; '' when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def stop_waits(pid):
    """Whether a SIGSTOP waits for one that sleeps in the kernel (a vfork whose child is stopped):
    it stops before it comes back from there."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
            pending = [int(line.split()[1], 16) for line in f if line.startswith("ShdPnd:")]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return bool(pending[0] >> (signal.SIGSTOP - 1) & 1)


def is_stopped(pid):
    now = state(pid)
    return now in ("T", "t", "Z", "") or (now == "D" and stop_waits(pid))


def stopped(*pids):
    for pid in pids:
        check(is_stopped(pid), f"pid {pid} is in state {state(pid)}")


def members(task, attempt=1):
    """The living processes that carry the attempt's cookie."""
    found = []
    word = f".{task}.{attempt}".encode()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as f:
                variables = f.read().split(b"\0")
        except OSError:
            continue
        if any(v.startswith(b"ERRAND_COOKIE=" + TOKEN.encode()) and v.endswith(word) for v in variables):
            found.append(int(name))
    return [pid for pid in found if state(pid) not in ("Z", "X", "")]


def settle(c, task=90):
    """A task that comes and goes: what was ordered before it has been done, if it needs no look
    at the processes."""
    settle.n = getattr(settle, "n", 0) + 1
    c.run(task * 1000 + settle.n, "true")
    c.daemon.finished(task * 1000 + settle.n)


def count(c, kind, task):
    return len(c.daemon.all(kind, task))


def test_pause_stops_the_whole_tree_and_resume_lets_it_go_on(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(
        1,
        "setsid sh -c 'echo $$ > runaway; while :; do sleep 0.01; done' & "
        "sh -c 'echo $$ > child; while :; do sleep 0.01; done' & "
        "echo $$ > leader; read x < fifo; exit 3",
    )
    pids = [int(c.file(name)) for name in ("runaway", "child", "leader")]
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    stopped(*pids, *members(1))
    check(len(members(1)) >= 3, "the tree")
    order(c, "resume", 1)
    c.daemon.line("resumed", 1)
    for pid in pids:
        check(state(pid) not in ("T", ""), f"pid {pid} is still stopped, or gone")
    c.go()
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["why"]), (3, None))
    equal((count(c, "paused", 1), count(c, "resumed", 1)), (1, 1))
    for pid in pids:
        check(not alive(pid), f"pid {pid} is alive")


def test_a_tree_that_keeps_forking_is_stopped(c):
    """Each link of a chain leaves its session and ends once it has made the next."""
    c.start()
    with open(c.path("hop"), "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\necho x >> hops\nsleep 0.01\nsetsid ./hop &\n"
                "i=0; while [ $i -lt 3 ]; do i=$((i+1)); (sleep 0.02) & done; sleep 0.05\n")
    os.chmod(c.path("hop"), 0o755)
    c.sh(1, "./hop & while :; do sleep 0.01; done")
    c.daemon.line("started", 1)
    until(lambda: os.path.exists(c.path("hops")) and os.path.getsize(c.path("hops")) > 10, "some hops")
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    found = members(1)
    check(len(found) >= 2, f"the tree: {found}")
    stopped(*found)
    size = os.path.getsize(c.path("hops"))
    for _ in range(3):
        settle(c)
        equal(sorted(members(1)), sorted(found), "the stopped tree")
    equal(os.path.getsize(c.path("hops")), size, "hops while it is paused")
    order(c, "resume", 1)
    c.daemon.line("resumed", 1)
    until(lambda: os.path.getsize(c.path("hops")) > size, "further hops")
    cancel(c, 1, grace=0)
    equal(c.daemon.finished(1)["warnings"], [])
    equal(members(1), [])


def test_pause_twice_is_once_and_resume_of_what_runs_is_answered(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "read x < fifo")
    c.daemon.line("started", 1)
    order(c, "pause", 1)
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    order(c, "pause", 1)
    settle(c)
    order(c, "resume", 1)
    c.daemon.line("resumed", 1)
    equal(count(c, "paused", 1), 1)
    order(c, "resume", 1)
    c.daemon.wait(lambda: count(c, "resumed", 1) == 2, "a second answer")
    c.go()
    equal(c.daemon.finished(1)["exit_code"], 0)


def test_the_last_order_wins(c):
    c.start()
    c.sh(1, "echo $$ > pid; while :; do sleep 0.01; done")
    pid = int(c.file("pid"))
    # in one piece, so that each comes while the one before is being done
    # (or some of them after it was done and told: then each is told)
    def last(word):
        words = [k for line in c.daemon.lines for k in line if k in ("paused", "resumed")]
        return words[-1:] == [word]

    for kinds, word, so in ((("pause", "resume"), "paused", is_stopped),
                            (("resume", "pause"), "resumed", lambda pid: state(pid) in ("R", "S"))):
        c.daemon.send(*[{k: {"task": 1, "attempt": 1}} for k in kinds * 5 + kinds[:1]])
        settle(c)
        until(lambda: last(word) and so(pid), f"the command to be {word}")
    cancel(c, 1, grace=0)
    c.daemon.finished(1)


@daemon(slots=5)
def test_the_clocks_stand_still(c):
    """Of some with the same clocks those that were started first, and paused, are there when
    the others have run out of time."""
    c.start()
    os.mkfifo(c.path("fifo"))
    clocks = {"timeout": "timeout_s", "heartbeat": "heartbeat_s"}
    kept = []

    def either(kind, task):
        c.daemon.wait(lambda: c.daemon.all(kind, task) or c.daemon.all("finished", task),
                      f"{kind} of {task}")

    def stand_still(n, seconds):
        first = dict(zip(range(10 * n, 10 * n + 2), clocks))
        last = dict(zip(range(10 * n + 2, 10 * n + 4), clocks))
        for task, why in first.items():
            c.sh(task, "read x < fifo", **{clocks[why]: seconds})
        for task in first:
            either("started", task)
            order(c, "pause", task)
        for task in first:
            either("paused", task)
        for task, why in last.items():
            c.sh(task, "read x < fifo", **{clocks[why]: seconds})
        for task, why in last.items():
            equal(c.daemon.finished(task)["why"], why)
        kept[:] = [not c.daemon.all("finished", task) for task in first]
        for task, why in first.items():
            order(c, "resume", task)
            equal(c.daemon.finished(task)["why"], why)

    in_time(stand_still, lambda: all(kept))


def test_the_time_left_stands_still(c):
    """An estimate by a former duration does not grow while it is paused."""
    c.start()
    c.sh(1, "exec sleep 1000", expected_s=40)
    c.daemon.line("progress", 1)
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    told = count(c, "progress", 1)

    def percent(task):
        return c.daemon.all("progress", task)[-1]["progress"]["percent"]

    so_far = percent(1)
    c.sh(2, "exec sleep 1000", expected_s=40)
    c.daemon.wait(lambda: count(c, "progress", 2) > 0 and percent(2) > so_far + 10, "progress of another")
    check(count(c, "progress", 1) <= told + 1, "progress while it is paused")
    order(c, "resume", 1)
    c.daemon.wait(lambda: count(c, "progress", 1) >= told + 2, "progress again")
    first, last = (c.daemon.all("progress", 1)[i]["progress"]["percent"] for i in (0, -1))
    other = c.daemon.all("progress", 2)[-1]["progress"]["percent"]
    check(last > first, "it goes on")
    check(last < other, f"{last} % though it was paused; the other has {other} %")
    for task in (1, 2):
        cancel(c, task, grace=0)
        c.daemon.finished(task)


def test_its_output_is_read_while_it_is_paused(c):
    """What was in the pipe arrives; what is written by a process that is not its own too."""
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "echo one; read x < fifo; echo two")
    pid = c.daemon.line("started", 1)["pid"]
    c.daemon.line("output", 1)
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    with open(f"/proc/{pid}/fd/1", "wb", buffering=0) as f:
        f.write(b"between\n")
    c.daemon.line("output", 1, test=lambda o: o["bytes"] == 12)
    order(c, "resume", 1)
    c.daemon.line("resumed", 1)
    c.go()
    c.daemon.finished(1)
    equal(c.out(1), b"one\nbetween\ntwo\n")


@daemon(slots=1)
def test_it_keeps_its_slot_and_one_that_waits_is_given_back(c):
    c.start()
    c.sh(1, "echo $$ > pid; exec sleep 1000")
    pid = int(c.file("pid"))
    c.sh(2, "touch ran")
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    order(c, "pause", 2)
    f = c.daemon.finished(2)
    equal((f["spawned"], f["why"], f["started_at"]), (False, "requeue", None))
    c.sh(3, "touch ran")
    cancel(c, 3)
    equal(c.daemon.finished(3)["spawned"], False)
    check(not os.path.exists(c.path("ran")), "the slot was given away")
    stopped(pid)
    cancel(c, 1, grace=0)
    c.daemon.finished(1)


def test_cancel_of_what_is_paused(c):
    c.start()
    c.sh(1, "setsid sh -c 'trap \"echo bye > bye; exit\" TERM; echo $$ > runaway; "
            "while :; do sleep 0.01; done' & "
            "trap 'echo cleaned; exit 7' TERM; echo $$ > pid; while :; do sleep 0.01; done")
    pids = [int(c.file("runaway")), int(c.file("pid"))]
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    cancel(c, 1, grace=100)
    f = c.daemon.finished(1)
    equal((f["why"], f["exit_code"]), ("cancel", 7))
    equal(c.out(1, [1]), b"cleaned\n")
    equal(c.file("bye"), "bye")
    equal(count(c, "resumed", 1), 0)
    check(not any(alive(pid) for pid in pids), "alive")


def test_cancel_of_what_is_paused_and_ignores_term(c):
    c.start()
    c.sh(1, "trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done")
    pid = int(c.file("pid"))
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    cancel(c, 1, grace=0.2)
    f = c.daemon.finished(1)
    equal((f["why"], f["signal"]), ("cancel", 9))
    check(not alive(pid), "alive")


def test_drop_of_what_is_paused(c):
    c.start()
    c.sh(1, "setsid sleep 1000 & echo $! > child; echo $$ > pid; exec sleep 1000")
    pids = [int(c.file("child")), int(c.file("pid"))]
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    order(c, "drop", 1)
    until(lambda: not any(alive(pid) for pid in pids), "their end")
    settle(c)
    equal(c.daemon.all("finished", 1), [])


def test_stop_puts_back_what_is_paused(c):
    c.start()
    c.sh(1, "echo $$ > pid; exec sleep 1000")
    pid = int(c.file("pid"))
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    c.daemon.send({"stop": {}})
    f = c.daemon.finished(1)
    equal((f["why"], f["signal"]), ("requeue", 15))
    equal(c.ended(), 0)
    check(not alive(pid), "alive")


def test_sigterm_puts_back_what_is_paused_and_what_is_being_paused(c):
    c.start()
    for task in (1, 2):
        c.sh(task, f"setsid sleep 1000 & echo $! > child{task}; echo $$ > pid{task}; exec sleep 1000")
    pids = [int(c.file(n)) for n in ("child1", "pid1", "child2", "pid2")]
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    order(c, "pause", 2)
    c.worker.send_signal(signal.SIGTERM)
    for task in (1, 2):
        equal(c.daemon.finished(task)["why"], "requeue")
    equal(c.ended(), 0)
    check(not any(alive(pid) for pid in pids), "alive")


def test_one_that_is_killed_from_outside_reports_only_its_end(c):
    c.start()
    c.sh(1, "sleep 1000 & echo $! > child; echo $$ > pid; wait")
    child, pid = int(c.file("child")), int(c.file("pid"))
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    os.kill(pid, signal.SIGKILL)
    f = c.daemon.finished(1)
    equal((f["why"], f["signal"]), (None, 9))
    equal(count(c, "resumed", 1), 0)
    check(not alive(child), "its child is alive")
    order(c, "resume", 1)
    settle(c)
    equal(count(c, "resumed", 1), 0)


def test_a_worker_without_its_daemon_keeps_it_paused(c):
    c.start()
    for task in (1, 2):
        os.mkfifo(c.path(f"fifo{task}"))
        c.sh(task, f"read x < fifo{task}; exit 6", timeout_s=600)
    pid = c.daemon.line("started", 1)["pid"]
    c.daemon.line("started", 2)
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    c.daemon.close()
    c.daemon = FakeDaemon(c.home)
    hello = c.daemon.wait(lambda: c.daemon.hellos, "the second hello")[0]
    equal([(h["task"], h["paused"]) for h in hello["held"]], [(1, True), (2, False)])
    stopped(pid)
    order(c, "resume", 1)
    c.daemon.line("resumed", 1)
    c.daemon.close()
    c.daemon = FakeDaemon(c.home)
    hello = c.daemon.wait(lambda: c.daemon.hellos, "the third hello")[0]
    equal([(h["task"], h["paused"]) for h in hello["held"]], [(1, False), (2, False)])
    for task in (1, 2):
        c.go(f"fifo{task}")
        equal(c.daemon.finished(task)["exit_code"], 6)


def test_a_hello_says_what_was_ordered_last(c):
    """The daemon goes right after its order, done or not: the next one hears of it, and gets the
    answer."""
    c.start()
    c.sh(1, "while :; do sleep 0.01; done")
    c.daemon.line("started", 1)
    settle(c)
    for kind, answer, held in (("pause", "paused", True), ("resume", "resumed", False)) * 5:
        order(c, kind, 1)
        c.daemon.close()
        before = c.daemon
        c.daemon = FakeDaemon(c.home)
        hello = c.daemon.wait(lambda: c.daemon.hellos, "a hello")[0]
        equal([h["paused"] for h in hello["held"]], [held], kind)
        if not before.all(answer, 1):
            c.daemon.line(answer, 1)
    cancel(c, 1, grace=0)
    c.daemon.finished(1)


def test_a_report_of_a_pause_that_fails_is_sent_again(c):
    c.start()
    c.sh(1, "exec sleep 1000")
    c.daemon.line("started", 1)
    settle(c)
    with c.daemon.change:
        c.daemon.statuses = [503, "hang up", 503]
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    order(c, "resume", 1)
    c.daemon.line("resumed", 1)
    equal(c.daemon.statuses, [])
    equal((count(c, "paused", 1), count(c, "resumed", 1)), (1, 1))
    cancel(c, 1, grace=0)
    c.daemon.finished(1)


def test_a_killed_worker_leaves_a_stopped_tree_that_can_be_killed(c):
    """What is left is the daemon's to end; here only that SIGKILL reaches all of it."""
    c.start()
    c.sh(1, "setsid sleep 1000 & echo $! > child; echo $$ > pid; exec sleep 1000")
    pids = [int(c.file("child")), int(c.file("pid"))]
    order(c, "pause", 1)
    c.daemon.line("paused", 1)
    c.worker.kill()
    c.worker.wait(LIMIT)
    stopped(*pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids), "their end")


def test_a_frozen_worker_can_be_killed(c):
    c.start()
    c.sh(1, "echo $$ > pid; exec sleep 1000")
    pid = int(c.file("pid"))
    c.worker.send_signal(signal.SIGSTOP)
    until(lambda: state(c.worker.pid) == "T", "the worker to freeze")
    c.worker.kill()
    equal(c.worker.wait(LIMIT), -signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "its end")


@daemon(slots=8)
def test_pause_and_finish_meet_some_hundred_times(c):
    """Each ends exactly once, is not paused afterwards, and its story makes sense. The command
    ends some time around the orders."""
    c.start()
    rounds = 300
    chance = random.Random(5)
    for start in range(0, rounds, 6):
        tasks = range(1000 + start, 1000 + min(start + 6, rounds))
        for task in tasks:
            loops = chance.choice((0, 0, 50, 500, 3000))
            c.sh(task, f"i=0; while [ $i -lt {loops} ]; do i=$((i+1)); done; exit 4", timeout_s=60)
        for task in tasks:
            if chance.random() < 0.7:
                c.daemon.line("started", task)
            for _ in range(chance.choice((1, 1, 2))):
                order(c, "pause", task)
                if chance.random() < 0.7:
                    order(c, "resume", task)
        for task in tasks:
            # whether it was paused or not: it is let go until it has ended
            def ended(task=task):
                if not c.daemon.all("finished", task):
                    order(c, "resume", task)
                    return False
                return True

            until(ended, f"the end of {task}")
    for task in range(1000, 1000 + rounds):
        f = c.daemon.all("finished", task)
        equal(len(f), 1, f"ends of {task}")
        f = f[0]
        check((f["exit_code"], f["why"]) == (4, None) or
              (f["spawned"], f["why"]) == (False, "requeue"), f)
        words = [k for line in c.daemon.lines for k in line if line[k]["task"] == task
                 and k in ("started", "paused", "resumed", "finished")]
        equal(words[-1], "finished", f"{task}: {words}")
        check(words[0] == ("started" if f["spawned"] else "finished"), words)
        for before, after in zip(words, words[1:]):
            check((before, after) != ("paused", "paused"), words)
        check(members(task) == [], "it lives") if task % 50 == 0 else None


if __name__ == "__main__":
    main(globals())
