# SPDX-License-Identifier: MIT
"""`errand log` against a daemon that only pretends: one task or several, bytes or pieces,
what is missing or cannot be read, and a connection that breaks. Prints TAP.

usage: test_log.py PATH-OF-ERRAND [NAME...]"""

import json
import os
import pty
import subprocess
import sys
import threading

from fake_daemon import Break, problem, task
from harness import ERRAND, expect, has, main, same, test


def on_terminal(c, *args):
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([ERRAND, *args], env={**c.env, "TERM": "xterm"}, stdout=theirs,
                          stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=c.home):
        os.close(theirs)
        got = b""
        try:
            while piece := os.read(ours, 65536):
                got += piece
        except OSError:  # its other end is closed
            pass
        os.close(ours)
    return got.decode()


@test
def log__passes_bytes_as_they_are(c):
    d = c.daemon(lambda request: (200, b"a\x00\xff\x1b[1m\n"))
    same(c.run("log", "3").stdout, b"a\x00\xff\x1b[1m\n")
    same(d.requests[0].query, {})
    c.run("log", "3", "-n", "5", "--attempt", "2", "--stderr", "--timestamps")
    same(d.requests[1].query, {"tail": "5", "attempt": "2", "stream": "stderr", "timestamps": "1"})


@test
def log__follow_goes_on_over_a_restart(c):
    def handle(request):
        if not request.path.endswith("/log"):
            return 200, task(3, "completed" if len(logs) > 2 else "running", attempt=2)
        logs.append(request)
        if len(logs) == 1:
            def broken():
                yield "one\ntw"
                raise Break
            return 200, broken()
        if len(logs) == 2:  # ends in good order, but not the task
            return 200, iter(["one\n"])
        return 200, iter(["one\n", "two\nthree\n"])
    logs = []
    c.daemon(handle)
    expect(c.run("log", "3", "-f"), 0, "one\ntwo\nthree\n", "")
    same([r.query for r in logs], [{"follow": "1", "attempt": "2"}] * 3)


@test
def log__follow_goes_on_with_the_next_attempt(c):
    def handle(request):
        if not request.path.endswith("/log"):
            return 200, task(3, "completed" if logs else "running", attempt=1 + len(logs))
        logs.append(request.query)
        return 200, f"attempt {len(logs)}\n"
    logs = []
    c.daemon(handle)
    expect(c.run("log", "3", "-f", "-n", "1"), 0, "attempt 1\nattempt 2\n", "")
    same(logs, [{"follow": "1", "attempt": "1", "tail": "1"}, {"follow": "1", "attempt": "2"}])


@test
def log__of_several_has_headings(c):
    c.daemon(lambda request: (200, f"of {request.path}\n"))
    expect(c.run("log", "3", "4"), 0, "==> 3 <==\nof /v1/tasks/3/log\n==> 4 <==\n"
                                      "of /v1/tasks/4/log\n", "")


def logs_of(pieces):
    """A daemon whose tasks are completed, with these logs: {id: {format: text}}."""
    def handle(request):
        id = int(request.path.split("/")[3])
        if id not in pieces:
            return problem(404, "not-found", f"there is no task {id}")
        if not request.path.endswith("/log"):
            return 200, task(id, "completed", attempt=1)
        return 200, pieces[id][request.query.get("format", "text")]
    return handle


UNREADABLE = "[... output cannot be read: the data is damaged ...]\n"
DAMAGED = {"text": "one\n" + UNREADABLE,
           "ndjson": '{"t":"T","stream":"stdout","data":"one\\n"}\n'
                     '{"error":{"code":"corrupt","message":"the data is damaged"}}\n'}


@test
def log__that_cannot_be_read_to_its_end_is_a_failure(c):
    c.daemon(logs_of({3: DAMAGED, 4: {"text": "fine\n"}}))
    why = "errand: the rest of the output cannot be read: the data is damaged\n"
    expect(c.run("log", "3"), 1, DAMAGED["text"], why)
    expect(c.run("log", "-f", "3"), 1, DAMAGED["text"], why)
    expect(c.run("log", "--timestamps", "3"), 1, DAMAGED["text"], why)
    r = expect(c.run("log", "--json", "3"), 1, None, why)
    same([json.loads(line) for line in r.stdout.splitlines()],
         [{"task": 3, "t": "T", "stream": "stdout", "data": "one\n"},
          {"task": 3, "error": {"code": "corrupt", "message": "the data is damaged"}}])
    expect(c.run("log", "3", "4"), 1, "==> 3 <==\n" + DAMAGED["text"] + "==> 4 <==\nfine\n", why)
    r = expect(c.run("log", "-f", "3", "4"), 1, None, why)
    same(sorted(r.stdout.decode().splitlines()),
         sorted(["3 | one", "3 | " + UNREADABLE[:-1], "4 | fine"]))


@test
def log__that_only_looks_as_if_it_could_not_be_read_is_none(c):
    c.daemon(logs_of({3: {"text": DAMAGED["text"], "ndjson": ""}}))
    expect(c.run("log", "3"), 0, DAMAGED["text"], "")


@test
def log__follows_several_side_by_side(c):
    def slow():
        yield "a"
        assert both.wait(240)
        yield "b\n\nend"
    def other():
        yield "x\n"
        both.set()
    both = threading.Event()
    handle = logs_of({3: {}, 14: {}})
    c.daemon(lambda request: (200, slow() if "/3/" in request.path else other())
             if request.path.endswith("/log") else handle(request))
    r = expect(c.run("log", "-f", "3", "14"), 0, None, "")
    same(sorted(r.stdout.decode().splitlines()), [" 3 | ", " 3 | ab", " 3 | end", "14 | x"])
    same([line for line in r.stdout.decode().splitlines() if "3" in line],
         [" 3 | ab", " 3 | ", " 3 | end"])


@test
def log__follows_the_others_when_one_is_unknown(c):
    c.daemon(logs_of({3: {"text": "here\n"}}))
    expect(c.run("log", "-f", "99", "3"), 3, " 3 | here\n", "errand: there is no task 99\n")
    expect(c.run("log", "-f", "1-101"), 2, "", "errand: -f follows at most 100 tasks at once, not 101\n")


@test
def log__json_names_the_task_of_each_piece(c):
    pieces = {n: {"ndjson": f'{{"t":"T","stream":"stderr","base64":"AAA{n}"}}\n{{"omitted":7}}\n'}
              for n in (3, 4)}
    c.daemon(logs_of(pieces))
    want = [{"task": n, **v} for n in (3, 4)
            for v in ({"t": "T", "stream": "stderr", "base64": f"AAA{n}"}, {"omitted": 7})]
    for args in (("3", "4"), ("-f", "3", "4"), ("--timestamps", "3", "4")):
        r = expect(c.run("log", "--json", *args), 0, None, "")
        got = [json.loads(line) for line in r.stdout.splitlines()]
        same(sorted(got, key=lambda o: o["task"]), want)


@test
def log__on_a_terminal_marks_lines_and_says_what_is_missing(c):
    c.daemon(logs_of({3: {"ndjson": '{"t":"T","stream":"stderr","data":"e1\\ne2\\n"}\n'
                                    '{"t":"T","stream":"stdout","data":"o"}\n'
                                    '{"omitted":12}\n{"t":"T","stream":"stdout","data":"p\\n"}\n'
                                    '{"lost":3}\n'}}))
    r = on_terminal(c, "log", "3")
    has(r, "\x1b[31me1\x1b[0m\r\n\x1b[31me2\x1b[0m\r\no\r\n[... 12 bytes omitted ...]\r\np\r\n"
           "[... 3 bytes could not be written ...]\r\n")


sys.exit(main())
