#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the daemon gives to an attempt besides its order: files, the checkpoint; and the clock
of its signs of life."""

import json
import os
import signal

from fake_daemon import LIMIT, FakeDaemon, alive, check, daemon, equal, in_time, main, until


def give(c, task, name, *texts, attempt=1):
    c.daemon.send(*[{"given": {"task": task, "attempt": attempt, "env": name, "text": text}}
                    for text in texts])


def given(c):
    """What lies in the worker's folder."""
    return sorted(os.listdir(c.path("w1.given"))) if os.path.exists(c.path("w1.given")) else []


def variables(c, task, attempt=1):
    lines = c.out(task, attempt=attempt).decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_a_given_text_is_a_file_that_is_gone_after_the_end(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    give(c, 1, "ERRAND_ITEMS_DONE", "a\n", "bü\n", "")
    give(c, 1, "ERRAND_AFTER_RESULTS", "{}")
    c.sh(1, "stat -c %a \"$ERRAND_ITEMS_DONE\" \"${ERRAND_ITEMS_DONE%/*}\"; cat \"$ERRAND_ITEMS_DONE\" "
            "\"$ERRAND_AFTER_RESULTS\"; echo > ready; read x < fifo; cat \"$ERRAND_ITEMS_DONE\"")
    until(lambda: os.path.exists(c.path("ready")), "the command")
    equal(given(c), ["1-1.ERRAND_AFTER_RESULTS", "1-1.ERRAND_ITEMS_DONE"])
    c.go()
    equal(c.daemon.finished(1)["exit_code"], 0)
    equal(c.out(1).decode(), "600\n700\na\nbü\n{}a\nbü\n")
    equal(given(c), [])


def test_each_attempt_finds_its_own(c):
    c.start()
    for task in (1, 2, 3):
        give(c, task, "ERRAND_ITEMS_DONE", f"of {task}\n")
    for task in (1, 2, 3):
        c.sh(task, "cat $ERRAND_ITEMS_DONE")
    c.sh(4, "echo ${ERRAND_ITEMS_DONE-none}",
         env={"PATH": os.environ["PATH"], "ERRAND_ITEMS_DONE": "/of/the/submitter"})
    for task in (1, 2, 3):
        c.daemon.finished(task)
        equal(c.out(task), f"of {task}\n".encode())
    c.daemon.finished(4)
    equal(c.out(4), b"none\n")
    equal(given(c), [])


def test_a_given_variable_wins_over_the_submitters(c):
    c.start()
    give(c, 1, "ERRAND_OTHER", "text")
    c.run(1, "/usr/bin/env", env={"ERRAND_OTHER": "/mine", "ERRAND_OTHERS": "kept"})
    c.daemon.finished(1)
    lines = [v for v in c.out(1).decode().splitlines() if v.startswith("ERRAND_OTHER")]
    equal(sorted(lines), [f"ERRAND_OTHER={c.path('w1.given')}/1-1.ERRAND_OTHER", "ERRAND_OTHERS=kept"])


def test_names_that_are_no_variables_are_dropped(c):
    c.start()
    for name in ("../x", "PATH", "ERRAND_", "ERRAND_a", "ERRAND_A/B", "ERRAND_COOKIE", "ERRAND_CHECKPOINT",
                 "ERRAND_A=B", "", "xERRAND_A", "ERRAND_" + "A" * 100, None, 5):
        give(c, 1, name, "text")
    c.daemon.send({"given": {"task": 1, "attempt": 1, "env": "ERRAND_A", "text": 5}}, {"given": {}})
    give(c, 1, "ERRAND_A_2", "text")
    c.run(1, "/usr/bin/env")
    c.daemon.finished(1)
    names = set(variables(c, 1))
    check("ERRAND_A_2" in names and "ERRAND_A" not in names and "ERRAND_CHECKPOINT" not in names, names)
    check(variables(c, 1)["ERRAND_COOKIE"].endswith(".1.1"), "the cookie")
    equal(sorted(os.listdir(c.path("w1.given"))), [])


def order(c, task, env, *argv):
    return {"run": {
        "task": task, "attempt": 1, "run": 1, "type": "shell", "name": "x",
        "args": {"argv": list(argv)}, "cwd": c.home, "env": env, "timeout_s": None, "grace_s": 5,
        "correlation_id": "c-1", "expected_s": None, "checkpoint": None}}


def test_an_environment_that_was_forgotten_serves_those_that_need_it(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.daemon.send({"slots": 1})
    c.sh(1, "read x < fifo")
    c.daemon.line("started", 1)
    forget = {"forget_env": {"id": 77}}
    c.daemon.send(forget, {"env": {"id": 77, "vars": {"A": "old"}}}, order(c, 2, 77, "/usr/bin/env"), forget,
                  {"env": {"id": 77, "vars": {"A": "new"}}}, order(c, 3, 77, "/usr/bin/env"), forget, forget)
    c.go()
    c.daemon.finished(2)
    c.daemon.finished(3)
    check(variables(c, 2)["A"] in ("old", "new"), variables(c, 2))
    equal(variables(c, 3)["A"], "new")
    c.daemon.send(order(c, 4, 77, "/usr/bin/env"))
    end = c.daemon.finished(4)
    equal((end["spawned"], end["error"]["code"]), (False, "env-missing"))
    c.run(5, "true")
    equal(c.daemon.finished(5)["exit_code"], 0)


def test_files_of_what_never_ran_are_gone_too(c):
    """Dropped while it waits, cancelled while it waits, told twice, and spawn failures."""
    c.start()
    c.daemon.send({"slots": 1})
    os.mkfifo(c.path("fifo"))
    give(c, 1, "ERRAND_ITEMS_DONE", "of one")
    c.sh(1, "read x < fifo; cat $ERRAND_ITEMS_DONE")
    c.daemon.line("started", 1)
    for task in (2, 3):
        give(c, task, "ERRAND_ITEMS_DONE", "x")
        c.sh(task, "exit 0")
    give(c, 1, "ERRAND_ITEMS_DONE", "told twice")
    c.sh(1, "exit 1")
    c.daemon.send({"drop": {"task": 2, "attempt": 1}},
                  {"cancel": {"task": 3, "attempt": 1, "grace_s": 0, "why": "cancel"}})
    equal(c.daemon.finished(3)["spawned"], False)
    equal(given(c), ["1-1.ERRAND_ITEMS_DONE"])
    c.go()
    equal(c.daemon.finished(1)["exit_code"], 0)
    equal(c.out(1), b"of one")
    give(c, 4, "ERRAND_ITEMS_DONE", "x")
    c.run(4, "no-such-command")
    equal(c.daemon.finished(4)["exit_code"], 127)
    equal(given(c), [])


def test_what_a_dead_worker_left_is_deleted_by_the_next(c):
    c.start()
    give(c, 1, "ERRAND_ITEMS_DONE", "x")
    c.sh(1, "echo $$ > pid; exec sleep 1000")
    pid = int(c.file("pid"))
    c.worker.kill()
    c.worker.wait(LIMIT)
    os.kill(pid, signal.SIGKILL)
    equal(given(c), ["1-1.ERRAND_ITEMS_DONE"])
    c.daemon.wait(lambda: c.daemon.stream is None, "the end of the stream")
    with open(c.path("w1.given", "1-2.ERRAND_ITEMS_DONE.old"), "wb"):
        pass
    c.stderr.close()
    c.start()
    c.run(2, "true")
    c.daemon.finished(2)
    equal(given(c), [])


def test_a_text_whose_order_never_came_is_given_anew(c):
    """The stream breaks between the text and its order; the next daemon says both again."""
    c.start()
    c.run(9, "true")
    c.daemon.finished(9)
    give(c, 1, "ERRAND_ITEMS_DONE", "half\n")
    until(lambda: given(c), "the file")
    c.daemon.close()
    c.daemon = FakeDaemon(c.home)
    c.daemon.wait(lambda: c.daemon.hellos, "the second hello")
    give(c, 1, "ERRAND_ITEMS_DONE", "whole\n")
    c.sh(1, "cat $ERRAND_ITEMS_DONE")
    c.daemon.finished(1)
    equal(c.out(1), b"whole\n")


def test_a_file_that_cannot_be_written_fails_by_name(c):
    with open(c.path("w1.given"), "wb"):
        pass  # a file where the folder should be
    c.start()
    give(c, 1, "ERRAND_ITEMS_DONE", "x")
    c.run(1, "touch", "ran")
    f = c.daemon.finished(1)
    equal((f["spawned"], f["exit_code"], f["error"]["class"]), (False, None, "retryable"))
    check("ERRAND_ITEMS_DONE" in f["error"]["message"], f["error"])
    check(not os.path.exists(c.path("ran")), "it ran")


def test_a_large_text_in_pieces(c):
    c.start()
    piece = "".join(f"item number {n}\n" for n in range(50000))
    give(c, 1, "ERRAND_ITEMS_DONE", *[piece] * 8)
    c.sh(1, "wc -c < $ERRAND_ITEMS_DONE; tail -n 1 $ERRAND_ITEMS_DONE")
    c.daemon.finished(1)
    equal(c.out(1).decode().split("\n")[:2], [str(len(piece) * 8), "item number 49999"])


def test_the_checkpoint_is_in_the_environment(c):
    c.start()
    checkpoint = {"at": [1, 2.5, None], "text": "ü\n\"x\"", "deep": {"a": {}}}
    c.sh(1, "printf %s \"$ERRAND_CHECKPOINT\"", checkpoint=checkpoint)
    c.sh(2, "echo ${ERRAND_CHECKPOINT-none}",
         env={"PATH": os.environ["PATH"], "ERRAND_CHECKPOINT": "of the submitter"})
    c.sh(3, "printf %s \"$ERRAND_CHECKPOINT\"", checkpoint="just text")
    for task in (1, 2, 3):
        equal(c.daemon.finished(task)["warnings"], [])
    equal(json.loads(c.out(1)), checkpoint)
    check(b": " not in c.out(1), "compact")
    equal(c.out(2), b"none\n")
    equal(c.out(3), b'"just text"')


def test_a_checkpoint_beyond_the_bound_is_left_out_with_a_warning(c):
    c.start()
    c.sh(1, "echo ${#ERRAND_CHECKPOINT}", checkpoint="x" * (65536 - 2))
    equal(c.daemon.finished(1)["warnings"], [])
    equal(c.out(1), b"65536\n")
    c.sh(2, "echo ${ERRAND_CHECKPOINT-none}", checkpoint="x" * (65536 - 1))
    check("ERRAND_CHECKPOINT" in c.daemon.finished(2)["warnings"][0], "warning")
    equal(c.out(2), b"none\n")


# ---- heartbeat


def test_silence_for_too_long_ends_the_tree(c):
    c.start()

    def silent(task, seconds):
        c.sh(task, "setsid sleep 1000 & echo $! > child; exec sleep 1000", heartbeat_s=seconds)
        return c.daemon.finished(task)

    f = in_time(silent, lambda: c.is_written("child"))
    child = int(c.file("child"))
    equal((f["why"], f["signal"], f["error"]), ("heartbeat", 15, None))
    check(not alive(child), "its child is alive")


def either(c, kind, task):
    """Waits for a line of that kind about the task, or for its end."""
    c.daemon.wait(lambda: c.daemon.all(kind, task) or c.daemon.all("finished", task), f"{kind} of {task}")


def is_kept(c, task):
    """Whether a task that is to live does; it is ended now."""
    lives = not c.daemon.all("finished", task)
    if lives:
        c.daemon.send({"cancel": {"task": task, "attempt": 1, "grace_s": 0, "why": "cancel"}})
    why = c.daemon.finished(task)["why"]
    check(why == "heartbeat" or (lives and why == "cancel"), why)
    return lives


@daemon(slots=4)
def test_each_sign_of_life_counts(c):
    """Three that make a sign by output, by standard error and by a progress line, for longer
    than one that makes none lives; that one has the same clock, and was started last."""
    c.start()
    signs = ["echo x", "echo x >&2", "echo 5 >&3"]
    kept = []

    def outlive(n, seconds):
        tasks = range(10 * n, 10 * n + 3)
        for task, sign in zip(tasks, signs):
            c.sh(task, f"while :; do {sign}; sleep 0.05; done", heartbeat_s=seconds)
        for task in tasks:
            either(c, "started", task)
        c.sh(10 * n + 3, "exec sleep 1000", heartbeat_s=seconds)
        equal(c.daemon.finished(10 * n + 3)["why"], "heartbeat")
        kept[:] = [is_kept(c, task) for task in tasks]

    in_time(outlive, lambda: all(kept))


def test_a_worker_that_was_held_up_sees_what_was_written_meanwhile(c):
    c.start()
    kept = []

    def hold_up(n, seconds):
        speaks, is_silent = 10 * n, 10 * n + 1
        c.sh(speaks, "while :; do echo x; sleep 0.05; done", heartbeat_s=seconds)
        c.sh(is_silent, "exec sleep 1000", heartbeat_s=seconds)
        either(c, "output", speaks)
        either(c, "started", is_silent)
        c.worker.send_signal(signal.SIGSTOP)
        end = os.times().elapsed + seconds + 0.5
        until(lambda: os.times().elapsed > end, "both clocks to be over")
        c.worker.send_signal(signal.SIGCONT)
        equal(c.daemon.finished(is_silent)["why"], "heartbeat")
        c.run(10 * n + 2, "true")
        c.daemon.finished(10 * n + 2)
        kept[:] = [is_kept(c, speaks)]

    in_time(hold_up, lambda: all(kept))


if __name__ == "__main__":
    main(globals())
