#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Types other than shell: commands of the daemon's making, and programs that speak the
handlers' protocol: their order, and how they are asked to stop."""

import json
import os
import shutil
import time

from fake_daemon import alive, check, decoded, equal, in_time, main

# A handler: keeps its order and its words in files, reports a checkpoint when it is told to
# stop by both line and signal, and ends as its arguments say. `soon`: the line alone, and the
# signal may come before it can be caught; `deaf`: goes on in spite of all.
HANDLER = r"""
import json, os, signal, subprocess, sys, time
def keep(name, value):
    with open(name + ".new", "w") as f:
        f.write(json.dumps(value) + "\n")
    os.rename(name + ".new", name)
def say(**members):
    os.write(int(os.environ["ERRAND_PROGRESS_FD"]), json.dumps(members).encode() + b"\n")
got = []
signal.signal(signal.SIGTERM, lambda *_: got.append(time.monotonic()))
order = json.loads(sys.stdin.readline())["run"]
args = order["args"]
child = subprocess.Popen(["sleep", "1000"]) if args.get("child") else None
keep("order", {"argv": sys.argv[1:], "order": order, "child": child and child.pid, "pid": os.getpid()})
line = json.loads(sys.stdin.readline())
while not got and not args.get("soon"):
    time.sleep(0.005)
keep("stop", {"stop": line["stop"], "child": child and child.poll()})
say(checkpoint={"at": 7})
while args.get("deaf"):
    time.sleep(0.01)
if child and not args.get("leave"):
    child.kill()
    child.wait()
sys.exit(args.get("exit", 75))
"""


def handler(c, task, type="t.one", **more):
    how = {"program": ["python3", "-c", HANDLER]}
    c.run(task, type=type, how=more.pop("how", how), args=more.pop("args", {}), **more)


def order_of(c):
    return json.loads(c.file("order"))


def end(c, task, why="cancel", grace=100, **more):
    line = {"task": task, "attempt": 1, "grace_s": grace, "why": why}
    c.daemon.send({"cancel": {**line, **more}})


# ---- commands


def test_a_command_with_its_words_and_standard_input(c):
    c.start()
    words = ["/bin/sh", "-c", 'printf "%s|" "$@"; cat', "sh", "a b", "", "$HOME", "ü\n"]
    c.run(1, type="t.words", args={"argv": ["false"]}, how={"argv": words, "stdin": "the\nrest"})
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["error"], f["warnings"]), (0, None, []))
    equal(c.out(1), "a b||$HOME|ü\n|the\nrest".encode())


def test_a_command_without_standard_input_reads_nothing(c):
    c.start()
    c.run(1, type="t.words", args={"input": True}, how={"argv": ["wc", "-c"], "stdin": None})
    c.daemon.line("started", 1)
    equal(c.daemon.finished(1)["exit_code"], 0)
    equal(c.out(1).strip(), b"0")


def test_a_definition_that_the_arguments_no_longer_fit(c):
    c.start()
    c.run(1, type="t.words", how={"error": "there is no argument 'depth'"})
    f = c.daemon.finished(1)
    equal((f["spawned"], f["exit_code"]), (False, None))
    equal((f["error"]["class"], f["error"]["message"]), ("fatal", "there is no argument 'depth'"))


def test_a_type_that_nobody_says_how_to_execute(c):
    c.start()
    c.run(1, type="t.none", args={"argv": ["true"]})
    c.run(2, type="t.new", how={"by-magic": 1})
    equal(c.daemon.finished(1)["error"]["code"], "unknown-type")
    f = c.daemon.finished(2)
    equal((f["spawned"], f["error"]["class"]), (False, "fatal"))
    check("t.new" in f["error"]["message"], f["error"])


# ---- the order of a program


def test_a_program_gets_its_order(c):
    c.start()
    args = {"path": "/ä", "n": 3, "deep": {"x": [1, 2.5, None]}, "exit": 0}
    handler(c, 5, attempt=3, args=args, timeout_s=60, checkpoint={"at": 1}, run=2)
    got = order_of(c)
    equal(got["argv"], ["run", "t.one"])
    equal(got["order"], {
        "task": 5, "attempt": 3, "run": 2, "type": "t.one", "args": args, "correlation_id": "c-1",
        "timeout_s": 60, "checkpoint": {"at": 1},
    })
    c.daemon.send({"cancel": {"task": 5, "attempt": 3, "grace_s": 100, "why": "cancel"}})
    c.daemon.finished(5, 3)


def test_a_program_beside_the_worker_comes_before_path(c):
    ours, theirs = c.path("libexec"), c.path("bin")
    for folder in (ours, theirs):
        os.mkdir(folder)
        for name in ("both",) if folder == ours else ("both", "one"):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\necho {os.path.basename(folder)} $0 $*\n")
            os.chmod(os.path.join(folder, name), 0o755)
    shutil.copy(os.environ["ERRAND_WORKER"], ours)
    os.environ["ERRAND_WORKER"], before = os.path.join(ours, "errand-worker"), os.environ["ERRAND_WORKER"]
    try:
        c.start()
    finally:
        os.environ["ERRAND_WORKER"] = before
    env = {"PATH": theirs + ":" + os.environ["PATH"]}
    handler(c, 1, how={"program": ["both"]}, env=env)
    handler(c, 2, how={"program": ["one", "-v"]}, env=env)
    c.run(3, type="t.words", how={"argv": ["both"], "stdin": None}, env=env)
    handler(c, 4, how={"program": ["none"]}, env=env)
    for task in (1, 2, 3):
        equal(c.daemon.finished(task)["exit_code"], 0)
    check(c.out(1).startswith(b"libexec ") and c.out(1).endswith(b" run t.one\n"), c.out(1))
    check(c.out(2).startswith(b"bin ") and c.out(2).endswith(b" -v run t.one\n"), c.out(2))
    check(c.out(3).startswith(b"bin "), c.out(3))
    f = c.daemon.finished(4)
    equal((f["exit_code"], f["error"]["code"]), (127, "not-found"))
    check(ours in f["error"]["message"], f["error"])


def test_big_arguments_hold_nobody_up(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    script = "import sys\nopen('fifo').readline()\nprint(len(sys.stdin.readline()))"
    text = "x" * (1 << 20)
    handler(c, 1, args={"text": text}, how={"program": ["python3", "-c", script]})
    c.daemon.line("started", 1)
    c.sh(2, "exit 3")  # while the first does not read
    equal(c.daemon.finished(2)["exit_code"], 3)
    c.go()
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["warnings"]), (0, []))
    check(int(c.out(1)) > len(text), c.out(1))


def test_a_program_that_does_not_read_its_order(c):
    c.start()
    script = "import os\nos.close(0)\nos.write(3, b'{\"result\": 5}\\n')"
    handler(c, 1, args={"text": "x" * (1 << 20)}, how={"program": ["python3", "-c", script]})
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["error"], f["warnings"]), (0, None, []))
    equal(decoded(f["result"]), b"5")


def test_input_is_not_for_a_program(c):
    c.start()
    handler(c, 1, args={"input": True})
    order_of(c)
    c.daemon.send({"input": {"task": 1, "attempt": 1, "base64": "eA==", "eof": True}})
    end(c, 1)
    f = c.daemon.finished(1)
    equal(json.loads(c.file("stop"))["stop"]["why"], "cancel")
    check("standard input is not for it" in f["warnings"][0], f["warnings"])


# ---- how it is asked to stop


def test_it_is_asked_alone_and_its_last_checkpoint_counts(c):
    c.start()
    handler(c, 1, args={"child": True})
    child = order_of(c)["child"]
    end(c, 1, grace=100)
    f = c.daemon.finished(1)
    stop = json.loads(c.file("stop"))
    equal(stop, {"stop": {"why": "cancel", "grace_s": 100}, "child": None})
    equal((f["why"], f["exit_code"], f["checkpoint"], f["warnings"]), ("cancel", 75, {"at": 7}, []))
    check(not alive(child), "its child is alive")


def test_the_words_by_which_it_is_asked(c):
    c.start()
    handler(c, 1)
    order_of(c)
    end(c, 1, why="requeue", stop="pause")
    f = c.daemon.finished(1)
    equal((f["why"], f["checkpoint"]), ("requeue", {"at": 7}))
    equal(json.loads(c.file("stop"))["stop"]["why"], "pause")
    soon = ["sh", "-c", "trap '' TERM; exec python3 -c \"$0\" \"$@\"", HANDLER]
    os.unlink(c.path("stop"))

    def over(task, seconds):
        handler(c, 10 + task, timeout_s=seconds, grace_s=100, args={"soon": True}, how={"program": soon})
        return c.daemon.finished(10 + task)

    equal(in_time(over, lambda: os.path.exists(c.path("stop")))["why"], "timeout")
    equal(json.loads(c.file("stop"))["stop"], {"why": "timeout", "grace_s": 100})
    os.unlink(c.path("stop"))

    def silent(task, seconds):
        handler(c, 20 + task, heartbeat_s=seconds, grace_s=100, args={"soon": True}, how={"program": soon})
        return c.daemon.finished(20 + task)

    f = in_time(silent, lambda: os.path.exists(c.path("stop")))
    equal((f["why"], f["checkpoint"]), ("heartbeat", {"at": 7}))
    equal(json.loads(c.file("stop"))["stop"]["why"], "heartbeat")


def test_the_worker_stops(c):
    c.start()
    handler(c, 1, grace_s=100)
    order_of(c)
    c.daemon.send({"stop": {}})
    f = c.daemon.finished(1)
    equal((f["why"], f["exit_code"], f["checkpoint"]), ("requeue", 75, {"at": 7}))
    equal(json.loads(c.file("stop"))["stop"], {"why": "requeue", "grace_s": 100})
    equal(c.ended(), 0)


def test_one_that_completes_instead_of_stopping(c):
    c.start()
    handler(c, 1, args={"exit": 0})
    order_of(c)
    end(c, 1, why="requeue")
    f = c.daemon.finished(1)
    equal((f["why"], f["exit_code"]), (None, 0))
    os.unlink(c.path("order"))
    handler(c, 2, args={"exit": 0})
    order_of(c)
    end(c, 2, why="cancel")
    equal(c.daemon.finished(2)["why"], "cancel")


def test_one_that_does_not_stop_is_ended_with_its_tree(c):
    c.start()
    handler(c, 1, args={"deaf": True, "child": True})
    got = order_of(c)
    before = time.monotonic()
    end(c, 1, grace=2)
    f = c.daemon.finished(1)
    equal((f["why"], f["signal"], f["checkpoint"]), ("cancel", 9, {"at": 7}))
    check(not alive(got["child"]) and not alive(got["pid"]), "something is alive")
    check(time.monotonic() - before >= 2, "it did not have its grace")


def test_one_that_stops_and_leaves_a_child_behind(c):
    c.start()
    handler(c, 1, args={"child": True, "leave": True})
    got = order_of(c)
    end(c, 1)
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["warnings"]), (75, []))
    check(not alive(got["child"]), "its child is alive")


def test_one_that_is_paused_where_it_is_hears_it(c):
    c.start()
    handler(c, 1)
    order_of(c)
    c.daemon.send({"pause": {"task": 1, "attempt": 1}})
    c.daemon.line("paused", 1)
    end(c, 1, why="requeue")
    f = c.daemon.finished(1)
    equal((f["why"], f["exit_code"], f["checkpoint"]), ("requeue", 75, {"at": 7}))


def test_one_that_ends_by_itself_is_not_asked(c):
    c.start()
    script = "import sys\nsys.stdin.readline()\nsys.exit(4)"
    handler(c, 1, how={"program": ["python3", "-c", script]})
    f = c.daemon.finished(1)
    equal((f["why"], f["exit_code"], f["signal"], f["warnings"]), (None, 4, 0, []))


def test_its_input_ends_with_the_worker(c):
    c.start()
    script = (
        "import sys\nsys.stdin.readline()\nprint('up', file=open('up', 'w'))\n"
        "print(repr(sys.stdin.read()), file=open('rest', 'w'))"
    )
    handler(c, 1, how={"program": ["python3", "-c", script]})
    c.file("up")
    c.worker.kill()
    c.worker.wait()
    equal(c.file("rest"), "''")


if __name__ == "__main__":
    main(globals())
