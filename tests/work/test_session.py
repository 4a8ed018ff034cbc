#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The worker and its daemon: hello, reports that fail, a daemon that goes and comes back,
sessions that are lost, and the worker's own end."""

import fcntl
import json
import os
import secrets
import shutil
import signal
import threading
import time

from fake_daemon import FakeDaemon, Skip, TOKEN, alive, check, daemon, equal, main, until


def back(c, **options):
    """Another daemon on the same socket."""
    c.daemon = FakeDaemon(c.home, **options)


def fifo(c):
    os.mkfifo(c.path("fifo"))


def is_locked(path):
    with open(path, "rb") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_hello_says_who_it_is(c):
    c.start("--slots", "3")
    hello = c.daemon.wait(lambda: c.daemon.hellos, "hello")[0]
    equal((hello["protocol"], hello["pid"], hello["slots"]), (1, c.worker.pid, 3))
    equal((hello["session"], hello["token"], hello["held"], hello["owed"]), (None, None, [], []))
    c.sh(1, "exit 0")
    c.daemon.finished(1)
    check(is_locked(c.path("w1.lock")), "the lock is free")
    with open(c.path("w1.lock"), encoding="utf-8") as f:
        equal(int(f.read()), c.worker.pid)


def test_a_lock_that_is_taken_ends_it(c):
    with open(c.path("w1.lock"), "wb") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        c.start()
        equal(c.ended(), 1)


def test_a_report_that_fails_is_sent_again_and_nothing_is_lost(c):
    c.daemon.statuses = [503, 507, "hang up", 503]
    c.start()
    for task in range(1, 6):
        c.sh(task, f"exit {task}")
    for task in range(1, 6):
        equal(c.daemon.finished(task)["exit_code"], task)
        equal(len(c.daemon.all("finished", task)), 1)
        equal(len(c.daemon.all("started", task)), 1)
    check(len([r for r in c.daemon.reports if r[2] != 200]) == 4, "the failures were used")


def test_one_report_is_under_way_at_a_time_and_what_comes_meanwhile_goes_with_the_next(c):
    c.daemon.held = threading.Event()
    c.start()
    c.daemon.send({"slots": 8})
    for task in range(1, 101):
        c.run(task, "true")
    for task in range(1, 101):
        log = c.path("logs", "0", f"{task}-1.log")
        until(lambda: os.path.exists(log) and any(f.kind == 4 for f in c.log(task)), f"the end of {task}")
    c.daemon.held.set()
    for task in range(1, 101):
        c.daemon.finished(task)
    check(len(c.daemon.reports) < 101, f"{len(c.daemon.reports)} reports for 100 tasks")


def test_a_refused_line_does_not_hold_up_the_others(c):
    c.daemon.statuses = [400, 400]
    c.start()
    c.daemon.send({"slots": 4})
    for task in range(1, 4):
        c.sh(task, "exit 0")
    check(c.daemon.wait(lambda: len([r for r in c.daemon.reports if r[2] == 200]) >= 1, "a report"), "")
    c.sh(9, "exit 0")
    c.daemon.finished(9)


def test_a_ping_is_answered_when_what_came_before_is_read(c):
    c.start()
    c.daemon.send({"ping": {}})
    c.daemon.wait(lambda: {"pong": {}} in c.daemon.lines, "the pong")
    c.daemon.statuses = [503]  # it is said again
    c.daemon.send({"ping": {}})
    c.daemon.wait(lambda: c.daemon.lines.count({"pong": {}}) == 2, "the second pong")
    check(c.daemon.reports[-2][1] == c.daemon.reports[-1][1] == [{"pong": {}}], c.daemon.reports)
    c.sh(1, "exit 0")
    c.daemon.finished(1)


def test_lost_attempts_are_killed_and_forgotten(c):
    c.start()
    c.sh(1, "echo $$ > pid; sleep 1000")
    pid = int(c.file("pid"))
    with c.daemon.change:
        c.daemon.lost = [{"task": 1, "attempt": 1}]
    c.sh(2, "exit 0")
    c.daemon.finished(2)
    until(lambda: not alive(pid), "its end")
    c.sh(3, "exit 0")
    c.daemon.finished(3)
    equal(c.daemon.all("finished", 1), [])


def test_a_line_that_it_cannot_take_breaks_the_link(c):
    c.start()
    c.sh(1, "sleep 1000")
    c.daemon.line("started", 1)
    try:
        c.daemon.send({"run": {"task": 2, "attempt": 1, "args": {"command": "x" * (17 << 20)}}})
    except OSError:
        pass  # it does not read to the end
    second = c.daemon.wait(lambda: c.daemon.hellos[1:], "a second hello")[0]
    equal([held["task"] for held in second["held"]], [1])
    c.sh(3, "exit 0")
    c.daemon.finished(3)


def test_the_daemon_goes_and_comes_back(c):
    c.start()
    fifo(c)
    c.daemon.send({"slots": 3})
    c.sh(1, "echo one; read x < fifo; echo two; exit 4")
    c.sh(2, "while ! [ -e daemon-gone ]; do sleep 0.01; done; exit 5")
    started = c.daemon.line("started", 1)
    c.daemon.line("started", 2)
    c.daemon.close()
    with open(c.path("daemon-gone"), "wb"):
        pass
    # task 2 ends without a daemon: its exit frame says so
    until(lambda: any(f.kind == 4 for f in c.log(2)), "an exit frame")
    back(c)
    hello = c.daemon.wait(lambda: c.daemon.hellos, "the second hello")[0]
    equal((hello["session"], hello["token"]), (7, TOKEN))
    equal(hello["held"], [
        {"task": 1, "attempt": 1, "pid": started["pid"], "started_at": started["started_at"],
         "paused": False}
    ])
    equal(hello["owed"], [{"task": 2, "attempt": 1}])
    owed = c.daemon.finished(2)
    equal(owed["exit_code"], 5)
    equal(json.loads([f for f in c.log(2) if f.kind == 4][0].data), owed)
    c.go()
    equal(c.daemon.finished(1)["exit_code"], 4)
    equal(c.out(1), b"one\ntwo\n")


def test_the_folder_of_the_socket_goes_and_comes_back(c):
    deep = c.path("a", "b")
    c.daemon.close()
    c.daemon = FakeDaemon(deep)
    home, c.home = c.home, deep
    try:
        c.start()
        c.sh(1, "exit 0")
        c.daemon.finished(1)
        c.daemon.close(keep_socket=False)
        c.daemon.wait(lambda: c.daemon.stream is None, "the end of the stream")
        shutil.rmtree(os.path.join(home, "a"))
        os.mkdir(os.path.join(home, "a"))
        back(c)
        c.daemon.wait(lambda: c.daemon.hellos, "the second hello")
        equal(c.daemon.hellos[0]["session"], 7)
    finally:
        c.home = home
        os.rename(os.path.join(deep, "worker.log"), c.path("worker.log")) if os.path.exists(
            os.path.join(deep, "worker.log")) else open(c.path("worker.log"), "wb").close()


def test_a_lost_session_kills_everything_and_begins_anew(c):
    c.start()
    c.sh(1, "trap '' TERM; setsid sleep 1000 & echo $! > child; echo $$ > pid; while :; do sleep 1; done")
    pids = [int(c.file("child")), int(c.file("pid"))]
    c.daemon.close()
    token = secrets.token_hex(16)
    back(c, session=8, knows=False, welcome={"token": token, "lock": c.path("w2.lock")})
    c.daemon.wait(lambda: len(c.daemon.hellos) >= 2, "two hellos")
    equal([h["session"] for h in c.daemon.hellos[:2]], [7, None])
    equal((c.daemon.hellos[1]["held"], c.daemon.hellos[1]["owed"]), ([], []))
    for pid in pids:
        check(not alive(pid), f"pid {pid} of the lost session is alive")
    c.run(1, "/usr/bin/env", attempt=2)
    c.daemon.finished(1, 2)
    check(f"ERRAND_COOKIE={token}.1.2\n".encode() in c.out(1, attempt=2), "the new token")
    check(is_locked(c.path("w2.lock")) and not is_locked(c.path("w1.lock")), "locks")


def test_a_report_answered_409_is_a_lost_session_too(c):
    c.start()
    c.daemon.statuses = [409]
    c.sh(1, "exit 0")
    c.daemon.wait(lambda: len(c.daemon.hellos) >= 2, "two hellos")
    equal([h["session"] for h in c.daemon.hellos[:2]], [None, None])


def test_without_a_daemon_it_lingers_and_ends(c):
    c.start("--linger", "200ms")
    fifo(c)
    c.sh(1, "read x < fifo; exit 3")
    c.daemon.line("started", 1)
    c.daemon.close(keep_socket=False)
    check(c.worker.poll() is None, "it has ended while a task runs")
    c.go()
    equal(c.ended(), 0)
    frames = c.log(1)
    equal(json.loads(frames[-1].data)["exit_code"], 3)
    check(not is_locked(c.path("w1.lock")), "the lock is held")


def test_a_socket_that_refuses_is_tried_again(c):
    c.start()
    c.daemon.wait(lambda: c.daemon.hellos, "hello")
    c.daemon.close()
    # the same name, listening later: no event in the folder says so, only the timer
    import socket

    server = socket.socket(socket.AF_UNIX)
    os.unlink(c.daemon.path)
    server.bind(c.daemon.path)
    server.listen(4)
    sock, _ = server.accept()
    got = sock.recv(1000)
    check(b"/v1/work/claim" in got, f"a hello, not {got!r}")
    sock.close()
    server.close()


def test_stop_puts_back_what_runs_and_what_waits(c):
    c.start()
    c.daemon.send({"slots": 1})
    c.sh(1, "echo $$ > pid; sleep 1000")
    c.sh(2, "exit 0")
    pid = int(c.file("pid"))
    c.daemon.send({"stop": {}})
    f = c.daemon.finished(1)
    equal((f["why"], f["spawned"]), ("requeue", True))
    f = c.daemon.finished(2)
    equal((f["why"], f["spawned"]), ("requeue", False))
    equal(c.ended(), 0)
    check(not alive(pid), "it lives")


def test_sigterm_is_as_stop(c):
    c.start()
    c.sh(1, "echo $$ > pid; sleep 1000")
    pid = int(c.file("pid"))
    c.worker.send_signal(signal.SIGHUP)
    c.worker.send_signal(signal.SIGINT)
    c.worker.send_signal(signal.SIGTERM)
    equal(c.daemon.finished(1)["why"], "requeue")
    equal(c.ended(), 0)
    check(not alive(pid), "it lives")


def test_sigterm_without_a_daemon_leaves_exit_frames(c):
    c.start()
    c.sh(1, "echo $$ > pid; sleep 1000")
    c.file("pid")
    c.daemon.close()
    c.worker.send_signal(signal.SIGTERM)
    equal(c.ended(), 0)
    equal(json.loads(c.log(1)[-1].data)["why"], "requeue")


def test_drain_ends_when_all_is_done_and_reported(c):
    c.start()
    fifo(c)
    c.daemon.send({"slots": 1})
    c.sh(1, "read x < fifo; exit 1")
    c.sh(2, "exit 2")
    c.daemon.line("started", 1)
    c.daemon.send({"drain": {}})
    c.go()
    equal(c.daemon.finished(1)["exit_code"], 1)
    equal(c.daemon.finished(2)["exit_code"], 2)
    equal(c.ended(), 0)


def test_what_could_not_start_in_time_is_given_back(c):
    c.start("--give-back", "50ms")
    c.daemon.send({"slots": 1})
    c.sh(1, "echo $$ > pid; sleep 1000")
    c.file("pid")
    c.sh(2, "touch ran")
    c.sh(3, "touch ran")
    for task in (2, 3):
        f = c.daemon.finished(task)
        equal((f["why"], f["spawned"], f["started_at"]), ("requeue", False, None))
    check(not os.path.exists(c.path("ran")), "it ran")
    equal(c.daemon.all("finished", 1), [])


def test_told_twice_runs_once(c):
    c.start()
    fifo(c)
    c.sh(1, "echo x >> ran; read x < fifo")
    c.daemon.line("started", 1)
    c.sh(1, "echo x >> ran; read x < fifo")
    c.sh(2, "exit 0")
    c.daemon.finished(2)
    c.go()
    equal(c.daemon.finished(1)["exit_code"], 0)
    with open(c.path("ran"), encoding="utf-8") as f:
        equal(f.read(), "x\n")


def test_orders_that_make_no_sense_are_passed_over(c):
    c.start()
    c.daemon.send({"nonsense": {}}, {"run": {}}, {"run": 5}, {"cancel": {"task": 99, "attempt": 1}},
                  {"env": {"id": "x", "vars": 5}}, {"slots": -3}, {"input": {}}, {}, [1, 2])
    c.sh(1, "exit 0")
    equal(c.daemon.finished(1)["exit_code"], 0)


def test_idle_it_makes_no_system_calls(c):
    """What it sleeps in is one epoll_wait (or futex of a helper): it makes no other call."""
    if "thread" in os.environ.get("ERRAND_BUILD", ""):
        return  # that sanitizer has a thread of its own, which never sleeps for long
    if shutil.which("strace") is None:
        raise Skip("strace is not installed")
    c.start()
    c.sh(1, "exit 0")
    c.daemon.finished(1)
    for _ in range(40):  # what follows the last report may be in the first of them
        calls = calls_of(c.worker.pid, c.path("trace"))
        if not calls:
            return
    equal(calls, [])


def calls_of(pid, trace):
    """What it calls in a while, but for what it sleeps in."""
    import subprocess

    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", trace, "-p", str(pid)], stderr=subprocess.PIPE
    )
    try:
        until(lambda: is_traced(pid) or strace.poll() is not None, "strace to begin")
        time.sleep(2.5)  # the span that is watched, not a wait for something
    finally:
        if strace.poll() is None:
            strace.send_signal(signal.SIGINT)
        words = strace.communicate()[1].decode()
    if "not permitted" in words:
        raise Skip("processes cannot be traced here: " + words.strip())
    with open(trace, encoding="utf-8") as f:
        return [line for line in f if "epoll_" not in line and "futex" not in line
                and "restart_syscall" not in line and "read(" not in line]


def is_traced(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return any(line.startswith("TracerPid:") and int(line.split()[1]) for line in f)


if __name__ == "__main__":
    main(globals())
