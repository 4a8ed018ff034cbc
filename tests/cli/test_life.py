# SPDX-License-Identifier: MIT
"""The commands about a task's life against a daemon that only pretends: limits, pauses,
dependencies, items, types, the end of the daemon, the doctor. Prints TAP.

usage: test_life.py PATH-OF-ERRAND [NAME...]"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading

from fake_daemon import Break, problem, task
from harness import ERRAND, NO_COUNTS, accept_all, expect, has, main, same, test


# ---- add ------------------------------------------------------------------------------------


@test
def add__contradictions_and_bounds_name_the_option(c):
    long = "k" * 1001
    for args, text in [
            (["--delay", "1s", "--at", "09:30", "x"], "--delay and --at are two ways to say one "
                                                      "thing: give one of them"),
            (["--cost", "0", "x"], "invalid value '0' for --cost: it takes a whole number from 1 "
                                   "to 1000000000"),
            (["--cost", "-5", "x"], "invalid value '-5' for --cost: it takes a whole number from 1 "
                                    "to 1000000000"),
            (["--delay", "-5s", "x"],
             "--delay: invalid duration '-5s' (try 250ms, 2s, 5m, 1h30m)"),
            (["--heartbeat", "soon", "x"],
             "--heartbeat: invalid duration 'soon' (try 250ms, 2s, 5m, 1h30m)"),
            (["--key", long, "x"], "the value of --key is too long: 1001 bytes (max: 1000)"),
            (["--limit-key", long, "x"],
             "the value of --limit-key is too long: 1001 bytes (max: 1000)"),
            (["--tag", "a", "--tag", long, "x"],
             "the value of --tag is too long: 1001 bytes (max: 1000)"),
            (["--parent", "mum", "x"],
             "invalid value 'mum' for --parent: it takes the id of a task, or none"),
            (["--parent", "0", "x"],
             "invalid value '0' for --parent: it takes the id of a task, or none"),
            (["--retries", "-1", "x"],
             "invalid value '-1' for --retries: it takes a whole number from 0 to 1000"),
            (["--after", "3:", "x"], "--after: invalid condition '' in --after: it is ok, any or "
                                     "fail, as in 41:any"),
    ]:
        expect(c.run("add", *args), 2, "", f"errand: {text}\n")
    for option in ["--delay", "--timeout", "--heartbeat", "--expires", "--grace", "--backoff"]:
        r = expect(c.run("add", option, "999999d", "x"), 2, "")
        has(r.stderr, f"errand: {option}: ")


@test
def add__after_takes_ids_ranges_and_the_last(c):
    def handle(request):
        if request.method == "GET":
            same(request.query, {"limit": "1"})
            return 200, {"tasks": [task(33)], "next": None, "counts": NO_COUNTS}
        return accept_all(request)
    d = c.daemon(handle)
    expect(c.run("add", "--after", "4,6-8:any", "--after", "@last:fail", "x"), 0, "7\n")
    same(d.requests[-1].json["after"],
         [{"id": 4}, {"id": 6, "when": "any"}, {"id": 7, "when": "any"}, {"id": 8, "when": "any"},
          {"id": 33, "when": "fail"}])
    expect(c.run("add", "--after", "1-100000", "x"), 0, "7\n")
    assert len(d.requests[-1].body) < 2 << 20, len(d.requests[-1].body)


@test
def add__inside_a_task_can_have_another_parent_or_none(c):
    d = c.daemon(accept_all)
    env = {"ERRAND_TASK_ID": "41", "ERRAND_SOCKET": os.path.join(c.home, "errand.sock"),
           "ERRAND_CORRELATION_ID": "chain"}
    family = lambda: {k: v for k, v in d.requests[-1].json.items()
                      if k in ("parent", "correlation_id")}
    expect(c.run("add", "x", env=env), 0)
    same(family(), {"parent": 41, "correlation_id": "chain"})
    expect(c.run("add", "--parent", "none", "x", env=env), 0)
    same(family(), {})
    expect(c.run("add", "--parent", "12", "x", env=env), 0)
    same(family(), {"parent": 12})
    expect(c.run("add", "--correlation", "mine", "x", env=env), 0)
    same(family(), {"parent": 41, "correlation_id": "mine"})
    expect(c.run("submit", "t", "a=b", env=env), 0)
    same(family(), {"parent": 41, "correlation_id": "chain"})
    expect(c.run("add", "x", env={"ERRAND_TASK_ID": "41"}), 0)  # of another daemon, maybe
    same(family(), {})


@test
def submit__circle_in_a_batch_is_shown(c):
    c.daemon(lambda request: problem(400, "invalid", "these wait for each other", line=1,
                                     chain=["a", "b", "a"]))
    r = expect(c.run("submit", "-", "--atomic", input=b'{"ref":"a"}\n{"ref":"b"}\n'), 2, "")
    same(r.stderr.decode(), "errand: line 1: these wait for each other (a -> b -> a)\n")


@test
def add__wait_tells_of_an_end_that_the_command_does_not(c):
    end = {}

    def handle(request):
        return accept_all(request) if request.method == "POST" else (200, task(7, "failed", **end))
    c.daemon(handle)
    error = lambda code, message, advice=None: {
        "class": "retryable", "code": code, "message": message, "suggested_action": advice}
    for end, code, text in [
            ({"exit_code": 0, "error": error("items-failed", "only 50 % of the items completed")}, 1,
             "task 7 failed with items-failed: only 50 % of the items completed"),
            ({"signal": 15, "error": error("timeout", "it ran longer than 2s")}, 143,
             "task 7 failed with timeout: it ran longer than 2s"),
            ({"exit_code": 3, "error": error("no-login", "not logged in", "log in")}, 3,
             "task 7 failed with exit code 3: not logged in (log in)"),
            ({"exit_code": 3, "error": error("exit", "exit code 3")}, 3, None),
            ({"signal": 9, "error": error("signal", "signal 9")}, 137, None)]:
        expect(c.run("add", "--wait", "x"), code, "7\n", f"errand: {text}\n" if text else "")


@test
def submit__of_many_does_not_lose_ids_that_cannot_be_written(c):
    c.daemon(lambda request: (200, b'{"id": 7}\n{"id": 8}\n'))
    with open("/dev/full", "wb") as full:
        r = subprocess.run([ERRAND, "submit", "t", "-"], input=b"{}\n{}\n", env=c.env, cwd=c.home,
                           stdout=full, stderr=subprocess.PIPE, timeout=300)
    same(r.returncode, 1)
    has(r.stderr, "errand: tasks 7 to 8 are queued, but their ids could not be written: ")


@test
def add__says_of_what_is_cancelled_at_once(c):
    def handle(request):
        if request.method == "POST":
            return 201, {"id": 7, "state": "cancelled"}
        return 200, task(7, "cancelled", after=[{"id": 1, "when": "ok", "state": "completed"},
                                                {"id": 2, "when": "ok", "state": "failed"}])
    c.daemon(handle)
    expect(c.run("add", "--after", "1,2", "x"), 0, "7\n", "errand: task 7 is cancelled already: it "
                                                          "waits for 2, which failed\n")


@test
def retry__says_what_it_does_not_wait_for(c):
    for state, words in [("failed", ", without waiting for 2, which failed"),
                         ("cancelled", ", without waiting for 2, which was cancelled"),
                         ("running", ", without waiting for 2, which is running"),
                         ("completed", "")]:
        d = c.daemon(lambda request: (200, task(
            7, "queued", after=[{"id": 2, "when": "ok", "state": state}], dependents_cancelled=0)))
        expect(c.run("retry", "7"), 0, "", f"errand: 7 is queued{words}\n")
        d.close()


@test
def add__does_not_lose_the_id_that_cannot_be_written(c):
    answer = b'{"id": 7, "state": "queued"}'
    c.daemon(lambda request: (201, answer))
    for args in [["add", "x"], ["add", "--json", "x"]]:
        for out in [">/dev/full", ">&-", "</dev/null >&-"]:
            r = subprocess.run(["sh", "-c", f'exec "$0" "$@" {out}', ERRAND, *args], env=c.env,
                               capture_output=True, cwd=c.home, timeout=300)
            expect(r, 1, "")
            has(r.stderr, "errand: task 7 is queued, but its id could not be written: ")
    same(c.run("add", "--json", "x").stdout, answer + b"\n")


@test
def pause__of_everything_waits_until_what_runs_is_stopped(c):
    left = [2, 1, 0]

    def handle(request):
        if request.method == "POST":
            same(request.path, "/v1/pause")
            return 200, {"paused": True, "told": 2}
        same(request.query.get("state"), "running")
        n = left.pop(0)
        return 200, {"tasks": [task(i, "running", pause_requested=i <= n) for i in (1, 2, 3)],
                     "next": None, "counts": NO_COUNTS}
    d = c.daemon(handle)
    for args, query in [(["--all"], None), (["--queue", "q"], "q")]:
        left = [2, 1, 0]
        expect(c.run("pause", *args), 0, "")
        same((left, d.requests[-1].query.get("queue")), ([], query))
    left = []
    expect(c.run("pause", "--all", "--no-wait"), 0, "")


@test
def tasks__says_that_all_is_paused_and_what_is_cut(c):
    counts = {**NO_COUNTS, "queued": 12, "cancelled": 5}
    c.daemon(lambda request: (200, {"queues": [], "all_paused": True}) if
             request.path == "/v1/queues" else
             (200, {"tasks": [task(9)], "next": "9", "counts": counts, "all_paused": True}))
    r = expect(c.run("tasks", "--limit", "1"), 0, err="errand: 11 more (--limit 12)\n")
    has(r.stdout, "Queued 12 · Completed 0 · Failed 0 · Cancelled 5\n"
                  "Paused: everything (errand resume --all)\n")
    expect(c.run("tasks", "--limit", "1", "--json"), 0, err="")
    has(c.run("tasks", "--limit", "1", "--tag", "t").stderr, "there are more than these 1 (--limit 2)")
    has(c.run("queue").stderr, "errand: everything is paused (errand resume --all)")


@test
def tasks__live_keep_what_runs_on_the_screen(c):
    import fcntl
    import pty
    import struct
    import termios
    rows = [task(i) for i in range(40, 1, -1)] + [
        task(1, "running", name="the one that runs", progress={"percent": 50.0, "eta_s": 50.0})]
    over = threading.Event()

    def events():
        over.wait()
        yield "\n"
    c.daemon(lambda request: (200, events()) if request.path == "/v1/events" else
             (200, {"tasks": rows, "next": None, "counts": {**NO_COUNTS, "running": 1}}))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 80, 0, 0))
    process = subprocess.Popen([ERRAND, "tasks", "-w"], env={**c.env, "TERM": "xterm"}, cwd=c.home,
                               stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE)
    got = b""
    while b"Running 1" not in got:
        got += os.read(ours, 65536)
    screen = got.decode().split("\033[H")[1]  # the first one drawn
    has(screen, "the one that runs")
    has(screen, "task 40")
    has(screen, "… 33 more")
    same(screen.count("\r\n"), 8)
    while len(set(re.findall(rb"(\d+\.?\d*m?s) left", got))) < 2:  # nobody has told anything since
        got += os.read(ours, 65536)
    process.terminate()
    process.wait()
    process.stderr.close()
    over.set()
    os.close(ours)
    os.close(theirs)


@test
def tasks__fit_a_narrow_terminal(c):
    rows = [task(101, "running", name="a name that is long", attempt=1,
                 started_at="2026-01-31T09:30:00.123Z",
                 progress={"percent": 50.0, "current": 2, "total": 4, "unit": "repos",
                           "item": "some-repository", "rate": 0.5, "eta_s": None}),
            task(100, "failed", name="a name that is long", exit_code=127, attempt=1,
                 started_at="2026-01-31T09:30:00.123Z", finished_at="2026-01-31T09:30:01.123Z",
                 error={"class": "fatal", "code": "exit", "message": "exit code 127"})]
    counts = {**NO_COUNTS, "running": 1, "queued": 20000, "failed": 1, "cancelled": 30000}
    c.daemon(lambda request: (200, {"tasks": rows, "next": None, "counts": counts}))
    for width in [20, 24, 30, 40, 60]:
        for locale in ["C.UTF-8", "C"]:
            lines = c.run("tasks", env={"COLUMNS": str(width), "LC_ALL": locale}).stdout.decode()
            assert all(len(line) <= width for line in lines.splitlines()), lines
            for part in ["100", "101", "Queued 20000", "Completed 0", "Cancelled 30000"]:
                has(lines, part)
    has(c.run("tasks", env={"COLUMNS": "40"}).stdout, "exit code 127")


@test
def tasks__names_the_states_and_events_that_there_are(c):
    expect(c.run("tasks", "--state", "bogus"), 2, "", "errand: unknown state 'bogus' (there are "
           "queued, scheduled, blocked, running, paused, completed, failed, cancelled)\n")
    has(expect(c.run("events", "--event", "bogus"), 2, "").stderr, "task-queued, ")


@test
def add__refuses_a_folder_that_is_not_there(c):
    d = c.daemon(accept_all)
    has(expect(c.run("add", "--cwd", "/nonexistent", "x"), 3, "").stderr,
        "errand: --cwd '/nonexistent': No such file or directory")
    has(expect(c.run("add", "--cwd", "/dev/null", "x"), 2, "").stderr, "that is not a folder")
    same(d.requests, [])
    expect(c.run("add", "--cwd", "made-later", "--after", "3", "x"), 0)


@test
def doctor__shows_what_is_wrong_with_the_configuration(c):
    with open(os.path.join(c.home, "config.yml"), "w") as f:
        f.write("concurency: 2\n")
    r = c.run("doctor")
    has(r.stdout, "✗ configuration: ")
    has(r.stdout, "config.yml:1")
    has(r.stdout, "did you mean concurrency?")
    same(r.stderr, b"")


# ---- edit -----------------------------------------------------------------------------------


@test
def edit__takes_all_that_can_change(c):
    d = c.daemon(lambda request: (200, task(4)))
    expect(c.run("edit", "4", "-n", "New", "-q", "q", "-p", "7", "--after", "2,3:any", "--delay", "1m",
                 "--retries", "3", "--backoff", "2s", "--on-lost", "fail", "--timeout", "1h",
                 "--heartbeat", "5s", "--grace", "1s", "--expires", "1d", "--limit-key", "k",
                 "--cost", "9"), 0, "", "")
    same((d.requests[0].method, d.requests[0].path), ("PATCH", "/v1/tasks/4"))
    same(d.requests[0].json, {
        "name": "New", "queue": "q", "priority": 7, "after": [{"id": 2}, {"id": 3, "when": "any"}],
        "delay_s": 60.0, "retries": 3, "backoff_s": 2.0, "on_lost": "fail", "timeout_s": 3600.0,
        "heartbeat_s": 5.0, "grace_s": 1.0, "expires_s": 86400.0, "limit_key": "k", "cost": 9})
    expect(c.run("edit", "4", "--after", "none"), 0, "", "")
    same(d.requests[1].json, {"after": []})
    same(json.loads(c.run("edit", "4", "-p", "1", "--json").stdout)["id"], 4)
    has(expect(c.run("edit", "4"), 2).stderr, "change what?")
    has(expect(c.run("edit", "4", "--delay", "1s", "--at", "09:30"), 2).stderr, "--delay and --at")
    has(expect(c.run("edit", "4", "--key", "k"), 2).stderr, "unknown option '--key'")


@test
def edit__refused_says_why(c):
    answer = []
    c.daemon(lambda request: answer[0])
    answer[:] = [problem(400, "invalid", "it would wait for itself", chain=[7, 9, 7])]
    expect(c.run("edit", "7", "--after", "9"), 2, "",
           "errand: cannot edit 7: it would wait for itself (7 -> 9 -> 7)\n")
    answer[:] = [problem(400, "invalid", "7 waits for 9 waits for 7", chain=[7, 9, 7])]
    expect(c.run("edit", "7", "--after", "9"), 2, "",
           "errand: cannot edit 7: 7 waits for 9 waits for 7\n")
    answer[:] = [problem(409, "state", "no", state="running")]
    expect(c.run("edit", "7", "-p", "1"), 5, "",
           "errand: cannot edit 7: it is running (only what waits can be edited)\n")


# ---- pause, resume, retry ---------------------------------------------------------------------


@test
def pause__waits_until_it_is_paused(c):
    def handle(request):
        same((request.path, request.query), ("/v1/tasks/4/pause", {"wait": "3600.000", "silent": "1"}))
        n = len(d.requests)  # the daemon waits for an hour at most
        return 200, task(4, "running", pause_requested=True) if n < 3 else task(4, "paused")
    d = c.daemon(handle)
    expect(c.run("pause", "4"), 0, "", "errand: 4 is paused\n")
    same([r.json for r in d.requests], [{}] * 3)


@test
def pause__free_slot_and_no_wait(c):
    d = c.daemon(lambda request: (200, task(4, "running", pause_requested=True)))
    expect(c.run("pause", "--free-slot", "--no-wait", "4"), 0, "",
           "errand: 4 is running, being paused\n")
    same((d.requests[0].json, d.requests[0].query), ({"free_slot": True}, {}))


@test
def pause__that_meets_the_end_of_the_task(c):
    def handle(request):
        if len(d.requests) == 1:
            return 200, task(4, "running", pause_requested=True)
        return problem(409, "state", "no", state="completed")
    d = c.daemon(handle)
    expect(c.run("pause", "4"), 5, "",
           "errand: cannot pause 4: it is completed (errand retry 4 runs it again)\n")


@test
def pause__of_a_queue_or_everything_is_a_switch(c):
    told = [2]
    d = c.daemon(lambda request: (200, {"paused": request.path == "/v1/pause", "told": told[0]}))
    expect(c.run("pause", "--queue", "build", "--free-slot"), 0, "",
           "errand: queue 'build' is paused, with 2 tasks that run\n")
    told[0] = 1
    expect(c.run("resume", "--queue", "build"), 0, "",
           "errand: queue 'build' goes on, with 1 task that runs\n")
    told[0] = 0
    expect(c.run("pause", "--all"), 0, "", "errand: everything is paused\n")
    same(json.loads(expect(c.run("resume", "--all", "--json"), 0).stdout),
         {"paused": False, "told": 0})
    same([(r.method, r.path, r.json) for r in d.requests if r.method == "POST"], [
        ("POST", "/v1/pause", {"queue": "build", "free_slot": True}),
        ("POST", "/v1/resume", {"queue": "build"}),
        ("POST", "/v1/pause", {"all": True}),
        ("POST", "/v1/resume", {"all": True})])
    expect(c.run("pause", "--all", "--queue", "q"), 2)
    expect(c.run("pause", "--all", "4"), 2)


@test
def resume__of_what_is_stopped_where_it_was(c):
    states = ["running", "paused"]
    d = c.daemon(lambda request: (200, task(4, states[len(d.requests) - 1])))
    expect(c.run("resume", "4"), 0, "", "errand: 4 is running\n")
    expect(c.run("resume", "4"), 0, "", "errand: 4 goes on as soon as its worker lets it\n")
    same([(r.path, r.query) for r in d.requests], [("/v1/tasks/4/resume", {"wait": "10"})] * 2)


@test
def pause__of_a_tag_is_an_action(c):
    def handle(request):
        if request.path == "/v1/actions/pause":
            return 200, ('{"id":1,"state":"paused"}\n'
                         '{"id":2,"state":"running","pause_requested":true}\n')
        same(request.path, "/v1/tasks/2/pause")
        return 200, task(2, "paused")
    d = c.daemon(handle)
    expect(c.run("pause", "--tag", "t", "--free-slot"), 0, "",
           "errand: 1 is paused\nerrand: 2 is paused\n")
    same(d.requests[0].json, {"all": True, "tag": "t", "free_slot": True})


@test
def retry__says_how_many_stay_cancelled(c):
    n = [3]
    c.daemon(lambda request: (200, task(4, dependents_cancelled=n[0])))
    expect(c.run("retry", "4"), 0, "", "errand: 4 is queued; 3 tasks that were cancelled because "
                                       "of it stay cancelled\n")
    n[0] = 1
    expect(c.run("retry", "4"), 0, "", "errand: 4 is queued; 1 task that was cancelled because of "
                                       "it stays cancelled\n")
    n[0] = 0
    expect(c.run("retry", "4"), 0, "", "errand: 4 is queued\n")


# ---- limits -----------------------------------------------------------------------------------


def in_seconds(s):
    import datetime
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=s)
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@test
def queue__shows_what_holds_it_back(c):
    queues = [
        {"name": "default", "concurrency": None, "size": None, "paused": False, "rates": [],
         "running": 2, "counts": {**NO_COUNTS, "queued": 5, "blocked": 1, "completed": 9}},
        {"name": "api", "concurrency": 4, "size": 10, "paused": False, "running": 1,
         "counts": {**NO_COUNTS, "queued": 3},
         "rates": [{"n": 60, "per_s": 60, "burst": 1, "counts": "cost", "level": 0.2,
                    "open_at": in_seconds(100)},
                   {"n": 5, "per_s": 0.25, "burst": 2, "counts": "starts", "level": 1,
                    "open_at": None}]},
        {"name": "old", "concurrency": 1, "size": None, "paused": True, "rates": [], "running": 0,
         "counts": NO_COUNTS}]
    c.daemon(lambda request: (200, {"queues": queues}) if request.path == "/v1/queues"
             else (200, queues[1]))
    lines = expect(c.run("queue"), 0).stdout.decode().splitlines()
    same(lines[0].split(), ["default", "open", "2", "running", "6", "waiting"])
    same(lines[1].split("rate limited")[0].split(),
         "api open 1 running 3 waiting at most 4 at once, 60/1m, 5/250ms:burst=2:starts, "
         "at most 10 waiting".split())
    has(lines[1], "rate limited, next in 1m")
    same(lines[2].split(), "old paused 0 running 0 waiting at most 1 at once".split())
    has(expect(c.run("queue", "api"), 0).stdout, "60/1m")
    queues[1].update(waiting=12, waiters=[
        {"id": 7, "name": "first", "waiting_for": "queue 'api' runs 4 of at most 4 tasks", "until": None},
        {"id": 11, "name": "second", "waiting_for": "others stand before it in its lane", "until": None}])
    lines = expect(c.run("queue", "api"), 0).stdout.decode().splitlines()[1:]
    same([line.split() for line in lines],
         ["7 first queue 'api' runs 4 of at most 4 tasks".split(),
          "11 second others stand before it in its lane".split(), "and 10 more".split()])
    queues[1].update(waiting=10000)
    has(expect(c.run("queue", "api"), 0).stdout, "and at least 9998 more")
    same([json.loads(line)["name"] for line in c.run("queue", "--json").stdout.splitlines()],
         ["default", "api", "old"])


@test
def queue__rates_are_several_or_none(c):
    d = c.daemon(lambda request: (200, {"name": "q"}))
    expect(c.run("queue", "q", "--rate", "60/1m", "--rate", "90000/1m:starts"), 0, "", "")
    same((d.requests[0].method, d.requests[0].json),
         ("PUT", {"rates": ["60/1m", "90000/1m:starts"]}))
    expect(c.run("queue", "q", "--rate", "none"), 0, "", "")
    same(d.requests[1].json, {"rates": []})
    expect(c.run("queue", "q", "--remove"), 0, "", "")
    same(d.requests[2].method, "DELETE")
    for args, text in [
            (["--rate", "10"], "--rate: invalid rate '10'"),
            (["--rate", "none", "--rate", "1/1s"], "--rate: invalid rate 'none'"),
            (["--rate", "-1/1s"], "--rate: invalid rate '-1/1s'"),
            (["--rate", "1/1s"] * 5, "--rate: at most 4 rates hold at once, not 5"),
            (["--concurrency", "-1"], "invalid value '-1' for --concurrency: it takes a whole "
                                      "number from 1 on, or none"),
            (["--concurrency", "0"], "invalid value '0' for --concurrency"),
            (["--size", "many"], "invalid value 'many' for --size"),
            (["--remove", "--size", "1"], "--remove goes with no other setting"),
            (["--pause", "--resume"], "--pause and --resume: give one of them")]:
        has(expect(c.run("queue", "q", *args), 2, "").stderr, text)
    same(len(d.requests), 3)
    has(expect(c.run("queue", "--rate", "1/1s"), 2).stderr, "which queue?")


@test
def queue__with_tasks_is_not_removed(c):
    c.daemon(lambda request: problem(409, "state", "queue 'q' has tasks that are not finished"))
    expect(c.run("queue", "q", "--remove"), 5, "",
           "errand: queue 'q' has tasks that are not finished\n")


@test
def limit__is_for_keys(c):
    keys = []

    def handle(request):
        if request.path == "/v1/limits":
            return 200, {"limits": keys}
        return 200, {"name": "a b"}
    d = c.daemon(handle)
    expect(c.run("limit"), 0, "", "errand: No limits. Try: errand limit NAME --concurrency 1\n")
    expect(c.run("limit", "a b", "--concurrency", "2", "--rate", "5/1s"), 0, "", "")
    same((d.requests[1].method, d.requests[1].target), ("PUT", "/v1/limits/a%20b"))
    same(d.requests[1].json, {"concurrency": 2, "rates": ["5/1s"]})
    keys.append({"name": "a b", "concurrency": 2, "running": 2, "waiting": 7,
                 "rates": [{"n": 5, "per_s": 1, "burst": 1, "counts": "cost", "level": 0.5,
                            "open_at": None}]})
    same(expect(c.run("limit"), 0).stdout.decode().split(),
         "a b 2 running 7 waiting at most 2 at once, 5/1s".split())
    keys[0].update(waiting=10000)
    has(expect(c.run("limit"), 0).stdout, "10000+ waiting")
    expect(c.run("limit", "k", "--size", "3"), 2)
    expect(c.run("limit", "k", "--remove"), 0, "", "")
    same((d.requests[-1].method, d.requests[-1].path), ("DELETE", "/v1/limits/k"))


FETCH = {
    "name": "fetch", "help": "fetches a page", "concurrency": 4, "retries": 2, "running": 1,
    "exit_codes": {"3": "fatal", "75": "retryable"}, "timeout_s": 60, "heartbeat_s": None,
    "command": ["curl", "-sS", "{url}"], "origin": "file", "served": True, "takes_s": 3.2,
    "on_lost": "fail", "idempotent": True, "parameters": [
        {"name": "url", "kind": "url", "required": True, "help": "the page"},
        {"name": "depth", "kind": "integer", "default": 3, "min": 0, "max": 10},
        {"name": "every", "kind": "duration", "default": 90, "min": 0.5},
        {"name": "mode", "kind": "string", "choices": ["fast", "good"], "default": "fast"},
        {"name": "token", "kind": "string", "secret": True, "pattern": "^[a-z]+$", "max": 9}],
    "schema": {"type": "object"},
    "example": {"url": "https://x.org/?a=b c", "depth": 2, "names": ["a", "b"], "more": ["a,b"],
                "at": "@x", "force": True, "o": {"k": 1}}}


@test
def types__are_changed_by_what_was_said(c):
    def handle(request):
        if request.path != "/v1/types/fetch" and request.method == "GET":
            return problem(404, "not-found", "unknown type 'new'")
        return 200, FETCH
    d = c.daemon(handle)
    expect(c.run("types", "fetch", "--concurrency", "none", "--exit-code", "24=completed",
                 "--exit-code", "3=default", "--heartbeat", "10s", "--success", "90",
                 "--rate-limit", "2m", "--retries", "5"), 0, "", "")
    same((d.requests[-1].method, d.requests[-1].target), ("PUT", "/v1/types/fetch"))
    same(d.requests[-1].json, {
        "concurrency": None, "retries": 5, "heartbeat_s": 10.0, "success_percent": 90,
        "rate_limit_s": 120.0, "exit_codes": {"24": "completed", "75": "retryable"}})
    expect(c.run("types", "new", "--timeout", "1m", "--describe", "it is new"), 0, "", "")
    same((len(d.requests), d.requests[-1].json), (3, {"timeout_s": 60.0, "help": "it is new"}))
    expect(c.run("types", "new", "--exit-code", "3=fatal"), 0, "", "")
    same(d.requests[-1].json, {"exit_codes": {"3": "fatal"}})
    expect(c.run("types", "new"), 3, "", "errand: unknown type 'new'\n")
    expect(c.run("types", "fetch", "--remove"), 0, "", "")
    same(d.requests[-1].method, "DELETE")
    for bad in ["3", "=fatal", "256=fatal", "3=bad", "-1=fatal", "1000000003=fatal"]:
        has(expect(c.run("types", "fetch", "--exit-code", bad), 2, "").stderr,
            f"invalid value '{bad}' for --exit-code: it takes CODE=WHAT")
    has(expect(c.run("types", "fetch", "--timeout", "soon"), 2).stderr, "--timeout: invalid duration")
    expect(c.run("types", "--retries", "1"), 2)


@test
def types__are_defined_from_a_file(c):
    d = c.daemon(lambda request: (200, FETCH))
    definition = {"help": "x", "command": ["x", "{a}"], "parameters": []}
    with open(os.path.join(c.home, "x.json"), "w", encoding="utf-8") as f:
        json.dump(definition, f)
    expect(c.run("types", "x", "--define", "x.json"), 0, "", "")
    same((d.requests[-1].method, d.requests[-1].target, d.requests[-1].json),
         ("PUT", "/v1/types/x?merge=0", definition))
    same(json.loads(expect(c.run("types", "x", "--define", "-", "--json", input=b"{}"), 0).stdout), FETCH)
    expect(c.run("types", "x", "--define", "-", input=b"[]"), 2, "",
           "errand: -, line 1: a definition is one JSON object\n")
    has(expect(c.run("types", "x", "--define", "-", input=b'{\n"a":}'), 2, "").stderr, "errand: -, line 2: ")
    has(expect(c.run("types", "x", "--define", "none"), 3, "").stderr, "cannot open 'none'")
    for other in (["--remove"], ["--retries", "1"]):
        expect(c.run("types", "x", "--define", "x.json", *other), 2, "")
    expect(c.run("types", "--define", "x.json"), 2, "")


@test
def types__one_in_full(c):
    c.daemon(lambda request: (200, FETCH))
    same(expect(c.run("types", "fetch"), 0).stdout.decode().splitlines(), [
        "fetch: fetches a page",
        "Executed by: command: curl -sS '{url}'",
        "Origin:      file",
        "At once:     4",
        "Running:     1",
        "Takes:       3.2s",
        "Retries:     2",
        "Timeout:     1m00s",
        "When lost:   fail",
        "Idempotent:  yes",
        "Exit codes:  3 = fatal, 75 = retryable",
        "Parameters:",
        "  url    url       required                                             the page",
        "  depth  integer   default 3      0 to 10",
        "  every  duration  default 1m30s  from 500ms",
        "  mode   string    default fast   fast|good",
        "  token  string                   up to 9 bytes, like ^[a-z]+$, secret",
        "Example:",
        "  errand submit fetch 'url=https://x.org/?a=b c' depth=2 names=a,b 'more:=[\"a,b\"]' at=@@x force=true"
        " 'o:={\"k\":1}'"])
    same(json.loads(expect(c.run("types", "fetch", "--json"), 0).stdout), FETCH)


@test
def types__of_every_kind(c):
    types = [{"name": "shell", "help": "runs a command", "running": 2, "takes_s": 0.0004},
             FETCH,
             {"name": "h", "handler": True, "served": False, "parameters": [], "example": {}},
             {"name": "p", "program": ["x", "y"], "parameters": [
                 {"name": "a", "kind": "path", "required": True, "min": 1}, {"name": "b", "kind": "string"}]},
             {"name": "later", "example": {"n": 5}}]

    def handle(request):
        name = request.path.removeprefix("/v1/types/")
        return (200, {"types": types}) if name == request.path else (200, next(t for t in types if t["name"] == name))
    c.daemon(handle)
    same([line.split() for line in expect(c.run("types"), 0).stdout.decode().splitlines()], [
        "shell runs a command command 2 running takes less than 1ms".split(),
        "fetch fetches a page command 1 running takes 3.2s".split(),
        "h handler, not connected".split(), "p program".split(), "later nothing yet".split()])
    same([json.loads(line) for line in expect(c.run("types", "--json"), 0).stdout.splitlines()], types)
    for name, parameters, example in [("h", "Parameters:  none\n", "h"), ("p", "  a  path    required  not empty\n", "p a=PATH"),
                                      ("later", "Parameters:  any\n", "later n:=5")]:
        out = expect(c.run("types", name), 0).stdout
        has(out, parameters)
        has(out, f"Example:\n  errand submit {example}\n")


@test
def stats__shows_limits(c):
    answers = {
        "/v1/stats": {"daemon": {"pid": 1, "version": "v", "uptime_s": 5, "store": "/s"},
                      "workers": [], "counts": NO_COUNTS},
        "/v1/queues": {"queues": [{"name": "default", "concurrency": None, "size": None,
                                   "paused": False, "rates": []},
                                  {"name": "slow", "concurrency": 1, "paused": False,
                                   "running": 1, "counts": {**NO_COUNTS, "queued": 4}}]}}
    answers["/v1/stats"]["limits"] = [{"key": "key", "concurrency": None, "rates": ["60/1m"]},
                                      {"key": "free", "concurrency": None, "rates": []}]
    answers["/v1/stats"]["daemon"]["all_paused"] = True
    c.daemon(lambda request: (200, answers[request.path]))
    out = expect(c.run("stats"), 0).stdout.decode()
    has(out, "Paused:      everything (errand resume --all)\n")
    same(out[out.index("Queues:"):].split(),
         "Queues: slow open 1 running 4 waiting at most 1 at once Limit keys: key 60/1m".split())


# ---- show -------------------------------------------------------------------------------------


@test
def show__names_what_is_waited_for(c):
    t = task(9, "blocked", after=[{"id": i, "when": "ok", "state": "queued"} for i in range(1, 101)],
             after_more=True)

    def handle(request):
        if request.path.endswith("/why"):
            return 200, {"id": 9, "state": "blocked", "why": "waits for 3,010 tasks"}
        if not request.path.endswith("/after"):
            return 200, t
        same(request.query["open"], "1")
        start, limit = int(request.query.get("cursor", 0)), int(request.query["limit"])
        ids = range(1, 3011)[start:start + limit]
        return 200, {"after": [{"id": i, "when": "ok", "state": "queued"} for i in ids],
                     "next": str(start + limit) if start + limit < 3010 else None}
    c.daemon(handle)
    out = expect(c.run("show", "9"), 0).stdout.decode()
    has(out, "Waits for:   1:ok (queued), 2:ok (queued), ")
    has(out, "10:ok (queued), … and 3,000 more\n")
    has(out, "Why:         waits for 3,010 tasks\n")
    assert "11:ok" not in out, out
    assert "After:" not in out, out


@test
def show__of_few_dependencies(c):
    t = task(9, "cancelled", dependents_cancelled=1200,
             after=[{"id": i, "when": "any", "state": "failed"} for i in range(1, 14)] +
             [{"id": 20, "when": "ok", "state": "cancelled"}])
    c.daemon(lambda request: (200, t))
    out = expect(c.run("show", "9"), 0).stdout
    has(out, "cancelled, since 20 was cancelled\n")
    has(out, "10:any (failed), … and 4 more\n")
    has(out, "Cancelled:   1,200 tasks that waited for it\n")


@test
def show__rate_limited_error_warnings_and_items(c):
    error = {"class": "retryable", "code": "rate-limit", "suggested_action": None,
             "message": "rate limit exceeded (retry after 45s)"}
    t = task(5, "paused", attempt=1, resumes_at=in_seconds(100), error=error,
             warnings=["3 of 500 items failed"],
             items_completed=497, items_failed=3, checkpoint={"at": 500}, timeout_s=90, cost=1200,
             progress={"percent": 50.0})

    def handle(request):
        if request.path == "/v1/tasks":
            return 200, {"tasks": [t], "next": None, "counts": NO_COUNTS}
        if request.path.endswith("/why"):
            return 200, {"id": 5, "state": "paused", "why": "is rate limited"}
        return 200, t if request.path == "/v1/tasks/5" else b""
    c.daemon(handle)
    out = expect(c.run("show", "5"), 0).stdout
    for part in ["State:       ‖ paused: rate limited, resumes in 1m", "Why:         is rate limited\n",
                 "Error:       rate limit exceeded (retry after 45s)\n",
                 "Warning:     3 of 500 items failed\n", "Items:       497 completed, 3 failed\n",
                 "Checkpoint:  {\"at\":500}\n", "Timeout:     1m30s\n", "Cost:        1200\n"]:
        has(out, part)
    has(expect(c.run("tasks"), 0).stdout, "rate limited, resumes in 1m")
    error.update(code="bad-token", suggested_action="log in again", message="not logged in")
    t.update(state="failed", resumes_at=None)
    has(expect(c.run("show", "5"), 0).stdout, "What to do:  log in again\n")


@test
def show__items_goes_through_all_pages(c):
    names = [f"item-{i:04}" for i in range(2500)]

    def handle(request):
        same((request.path, request.query["limit"]), ("/v1/tasks/5/items", "1000"))
        start = names.index(request.query["cursor"]) + 1 if "cursor" in request.query else 0
        part = names[start:start + 1000]
        return 200, {"items": [{"name": n, "failed": n.endswith("7"), "attempt": 1, "time": None}
                               for n in part],
                     "items_completed": 2250, "items_failed": 250,
                     "next": part[-1] if start + 1000 < 2500 else None}
    d = c.daemon(handle)
    lines = expect(c.run("show", "5", "--items"), 0).stdout.decode().splitlines()
    same(len(lines), 2500)
    same((lines[0], lines[7], lines[2499]), ("✓ item-0000", "✗ item-0007", "✓ item-2499"))
    same(len(d.requests), 3)
    same(c.run("show", "5", "--items", env={"LC_ALL": "C"}).stdout.splitlines()[7], b"[X] item-0007")
    lines = expect(c.run("show", "5", "--items", "--json"), 0).stdout.splitlines()
    same([json.loads(line)["name"] for line in lines], names)


# ---- progress -----------------------------------------------------------------------------------


@test
def progress__has_item_looks_into_the_file(c):
    path = os.path.join(c.home, "done")
    with open(path, "wb") as f:
        f.write("repo-a\nrépo b\nlast".encode())
    env = {"ERRAND_ITEMS_DONE": path}
    for name in ["repo-a", "répo b", "last"]:
        expect(c.run("progress", "--has-item", name, env=env), 0, "", "")
    for name in ["repo", "repo-a ", "b", "repo-aa"]:
        expect(c.run("progress", "--has-item", name, env=env), 1, "", "")
    expect(c.run("progress", "--has-item", "x"), 1, "", "")  # nothing was done before
    r = expect(c.run("progress", "--has-item", "x", env={"ERRAND_ITEMS_DONE": path + "x"}), 1, "")
    has(r.stderr, "cannot read ERRAND_ITEMS_DONE")
    expect(c.run("progress", "--has-item", "x", "--item", "x", env=env), 2)
    expect(c.run("progress", "--has-item", "x", "40", env=env), 2)


@test
def progress__items_are_one_line_of_text(c):
    c.daemon(lambda request: (200, {}))
    env = {"ERRAND_TASK_ID": "6"}
    for name in ["a\nb", b"\xff"]:
        has(expect(c.run("progress", "--item", name, env=env), 2, "").stderr,
            "invalid value for --item: the name of an item is one line of UTF-8")
    has(expect(c.run("progress", "--item", "x" * 1001, env=env), 2).stderr,
        "the value of --item is too long: 1001 bytes (max: 1000)")
    has(expect(c.run("progress", "--checkpoint", "1" * 65537, env=env), 2).stderr,
        "the value of --checkpoint is too long: 65537 bytes (max: 65536)")


@test
def progress__large_checkpoint_goes_to_the_daemon_when_there_is_no_pipe(c):
    d = c.daemon(lambda request: (200, {}))
    text = json.dumps({"at": "x" * 10000})
    expect(c.run("progress", "--checkpoint", text, env={"ERRAND_TASK_ID": "6"}), 0)
    same((d.requests[0].path, d.requests[0].json),
         ("/v1/tasks/6/progress", {"checkpoint": json.loads(text)}))


# ---- shutdown -----------------------------------------------------------------------------------


def hanging_daemon(c):
    """A daemon that takes requests, and answers when the event that is returned is set."""
    release = threading.Event()

    def handle(request):
        release.wait()
        return 200, task(3)
    c.daemon(handle)
    return release


def ending_daemon(c, running, ends=True):
    """A daemon with a process of its own, which ends when it is asked to; its pid is told."""
    process = subprocess.Popen(["sleep", "1000"])

    def handle(request):
        if request.path == "/v1/stats":
            return 200, {"daemon": {"pid": process.pid}, "workers": [],
                         "counts": {**NO_COUNTS, "running": running}}
        same((request.method, request.path), ("POST", "/v1/shutdown"))
        if ends:
            process.kill()
            process.wait()
        return 200, {"pid": process.pid}
    return c.daemon(handle), process


@test
def shutdown__waits_and_says_what_happened(c):
    for args, running, body, text in [
            ([], 0, {}, "has ended; nothing ran"),
            ([], 1, {}, "has ended; of 1 task that ran, what did not end in time is put back and "
                        "runs again later"),
            (["--now"], 2, {"now": True}, "has ended; of 2 tasks that ran, what was not done is "
                                          "put back and runs again later"),
            (["--keep-running"], 2, {"keep_running": True},
             "has ended; of 2 tasks that ran, all go on under their worker")]:
        d, process = ending_daemon(c, running)
        expect(c.run("shutdown", *args), 0, "", f"errand: the daemon (pid {process.pid}) {text}\n")
        same(d.requests[-1].json, body)
        d.close()


@test
def shutdown__is_bounded(c):
    d, process = ending_daemon(c, 1, ends=False)
    expect(c.run("shutdown", "--timeout", "50ms"), 124, "",
           f"errand: the daemon (pid {process.pid}) has not ended after 50ms: it gives tasks that "
           "run time to end (errand shutdown --now puts them back)\n")
    process.kill()
    process.wait()
    d.close()
    expect(c.run("shutdown"), 4)
    has(expect(c.run("shutdown", "--now", "--keep-running"), 2).stderr, "give one of them")


@test
def shutdown__of_a_daemon_that_goes_before_it_answers(c):
    process = subprocess.Popen(["sleep", "1000"])

    def handle(request):
        if request.path == "/v1/stats":
            return 200, {"daemon": {"pid": process.pid}, "counts": NO_COUNTS}
        process.kill()
        process.wait()
        raise Break
    c.daemon(handle)
    has(expect(c.run("shutdown"), 0, "").stderr, "has ended")


@test
def shutdown__and_wait_are_bounded_by_a_daemon_that_hangs_too(c):
    release = hanging_daemon(c)
    for args in [["shutdown", "--timeout", "50ms"], ["wait", "3", "--timeout", "50ms"],
                 ["wait", "--all", "--timeout", "50ms"],
                 ["wait", "3", "4", "--any", "--timeout", "50ms"]]:
        expect(c.run(*args), 124, "", f"errand: the daemon (pid {os.getpid()}) has not answered in "
                                      "time (errand doctor)\n")
    release.set()


@test
def any__tells_of_a_daemon_that_hangs_and_goes_on(c):
    release = hanging_daemon(c)
    process = c.start("show", "3", "--json")
    same(process.stderr.readline().decode(),
         f"errand: the daemon (pid {os.getpid()}) has not answered for 10 s (errand doctor)\n")
    release.set()
    out, err = process.communicate(timeout=300)
    same((process.returncode, json.loads(out)["id"], err), (0, 3, b""))


# ---- doctor -------------------------------------------------------------------------------------


def doctor(c, **more):
    """What it says: its exit code, and the checks by their names."""
    r = c.run("doctor", "--json", **more)
    o = json.loads(r.stdout)
    same(o["ok"], r.returncode == 0)
    return r.returncode, o, {k["name"]: k for k in o["checks"]}


@test
def doctor__tells_what_is_wrong(c):
    stats = {"daemon": {"pid": os.getpid(), "version": "0.0.1", "uptime_s": 5},
             "workers": [{"worker": "w1", "pid": 1240, "slots": 2, "running": [1]},
                         {"worker": "w2", "pid": 1241, "connected": False}],
             "counts": NO_COUNTS}
    c.daemon(lambda request: (200, stats) if request.path == "/v1/stats" else
             (200, {"checks": [{"name": "store", "ok": False, "detail": "slow", "advice": "wait"},
                              {"name": "clock", "ok": True, "detail": "never set", "advice": None}]})
             if request.path == "/v1/doctor" else (200, {"queues": []})
             if request.path == "/v1/queues" else problem(404, "not-found", "no"))
    code, o, checks = doctor(c)
    same((code, o["daemon"]["pid"], [w["pid"] for w in o["workers"]]), (1, os.getpid(), [1240]))
    same((checks["store"]["ok"], checks["daemon"]["ok"]), (False, False))
    has(checks["daemon"]["detail"], "version 0.0.1, which is not that of this command")
    has(checks["daemon"]["advice"], "errand shutdown --keep-running")
    has(checks["open-files"]["detail"], "the daemon has ")
    same([k["detail"] for k in o["checks"] if k["name"] == "clock"], ["never set"])
    has(c.run("doctor").stdout, "✗ store: slow (wait)")
    has(c.run("stats").stdout, "w1, pid 1240, 1 of 2 slots in use")


@test
def doctor__without_a_daemon_tells_what_the_files_say(c):
    code, o, checks = doctor(c)
    same((code, o["daemon"], o["workers"]), (1, None, []))
    same(checks["daemon"]["advice"], "errand serve starts one, and so does the next command")
    has(checks["store"]["detail"], "there is none yet")
    has(checks["lock of the store"]["detail"], "nobody holds it")
    for name in ["disk-space", "folder of the store", "folder of the socket", "socket", "clock",
                 "open-files", "processes", "inotify", "configuration", "daemon's log"]:
        assert name in checks, checks.keys()
    same(o["places"]["daemon_log"], os.path.join(c.home, "errandd.log"))


@test
def doctor__believes_a_daemon_that_answers_with_an_error(c):
    import fcntl
    with open(os.path.join(c.home, "tasks.db.lock"), "w") as held, \
            open(os.path.join(c.home, "tasks.db"), "w") as db:
        held.write(f"{os.getpid()}\n{c.home}/errand.sock\n")
        held.flush()
        db.write("SQLite format 3\0")
        db.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        c.daemon(lambda request: (200, {"checks": [
            {"name": "store", "ok": False, "detail": "the store is damaged", "advice": "restore"}]})
            if request.path == "/v1/doctor" else problem(500, "corrupt", "the data is damaged"))
        code, o, checks = doctor(c)
    same((code, [k["ok"] for k in o["checks"] if k["name"] == "store"]), (1, [False]))
    has(checks["daemon"]["detail"], f"pid {os.getpid()} answers with an error: the data is damaged")
    same((checks["lock of the store"]["ok"], checks["socket"]["ok"]), (True, True))
    assert "does not answer" not in checks["lock of the store"]["detail"], checks
    has(checks["socket"]["detail"], "answers")


@test
def doctor__finds_what_was_left_over(c):
    old = socket.socket(socket.AF_UNIX)
    old.bind(os.path.join(c.home, "errand.sock"))
    old.close()
    os.mkdir(os.path.join(c.home, "workers"))
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name, text in [("tasks.db.lock", f"{gone.pid}\n{c.home}/errand.sock\n"),
                       ("workers/w1.lock", ""), ("workers/w2.lock", ""),
                       ("errandd.log", "hello\n")]:
        with open(os.path.join(c.home, name), "w") as f:
            f.write(text)
    import fcntl
    held = open(os.path.join(c.home, "workers/w2.lock"))
    fcntl.flock(held, fcntl.LOCK_EX)
    _, _, checks = doctor(c)
    has(checks["socket"]["detail"], "is left over: nobody listens")
    has(checks["lock of the store"]["detail"], f"left by pid {gone.pid}, which has ended")
    has(checks["locks of workers"]["detail"], "1 held")
    has(checks["locks of workers"]["detail"], "1 left over")
    has(checks["daemon's log"]["detail"], "errandd.log, 0 KiB, last written to just now")
    assert all(checks[n]["ok"] for n in ["socket", "lock of the store", "locks of workers"]), checks
    held.close()


@test
def doctor__finds_a_daemon_that_hangs(c):
    import fcntl
    with open(os.path.join(c.home, "tasks.db.lock"), "w") as lock:
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, checks = doctor(c)
    same((code, checks["lock of the store"]["ok"]), (1, False))
    has(checks["lock of the store"]["detail"], f"held by pid {os.getpid()}, which does not answer")


@test
def doctor__is_not_kept_by_a_daemon_that_hangs(c):
    release = hanging_daemon(c)
    code, _, checks = doctor(c)
    release.set()
    same((code, checks["daemon"]["ok"]), (1, False))
    same(checks["daemon"]["detail"], f"pid {os.getpid()} has not answered for 10 s")
    has(checks["daemon"]["advice"], "kill -9 it if it stays so")
    has(checks["socket"]["detail"], "takes connections")
    assert "disk-space" in checks, checks.keys()


@test
def doctor__tells_how_the_last_start_ended(c):
    line = '2026-01-31T09:30:00.123Z level=%s src=%s msg="%s"\n'
    newer = r"cannot open the store '/x/\"tasks\".db': it has schema 9, made by a newer version"
    for words, advice in [
            (newer, "install that newer version"),
            ("cannot open the store 'x': the store is damaged: a b c", "keep a copy of it"),
            ("cannot open the store 'x': attempt to write a readonly database", "chown and chmod"),
            ("cannot open the store 'x': database or disk is full", "make room"),
            ("strange", "errand serve --foreground")]:
        with open(os.path.join(c.home, "errandd.log"), "w") as f:
            f.write(line % ("info", "errandd", "ended") + line % ("error", "errandd", words) +
                    line % ("info", "worker", "goes on"))
        code, _, checks = doctor(c, env={"ERRAND_NO_AUTOSTART": ""})
        same((code, checks["daemon"]["ok"]), (1, False))
        words = words.replace("\\", "")
        same(checks["daemon"]["detail"], f"none answers; the last one ended with: {words}")
        has(checks["daemon"]["advice"], advice)
    with open(os.path.join(c.home, "errandd.log"), "a") as f:
        f.write(line % ("info", "errandd", "version 1, pid 9"))
    has(doctor(c)[2]["daemon"]["detail"], "none answers at ")


@test
def doctor__names_what_is_of_the_wrong_kind(c):
    may_start = {"ERRAND_NO_AUTOSTART": ""}
    for name, is_folder, check, advice in [
            ("logs", False, "folder of the logs", "move it away"),
            ("workers", False, "folder of the workers", "move it away"),
            ("errandd.log", True, "daemon's log", "move it away: a daemon that a command starts"),
            ("errand.sock", True, "socket", "move it away, or set ERRAND_SOCKET"),
            ("errand.sock", False, "socket", "move it away, or set ERRAND_SOCKET"),
            ("tasks.db.lock", True, "lock of the store", "move it away"),
            ("tasks.db", True, "store", "move it away: the next command")]:
        path = os.path.join(c.home, name)
        if is_folder:
            os.mkdir(path)
        else:
            open(path, "w").close()
        code, _, checks = doctor(c, env=may_start)
        wanted = "socket" if check == "socket" else "file" if is_folder else "folder"
        same((code, checks[check]["ok"], checks[check]["detail"]),
             (1, False, f"{path} is {'a folder' if is_folder else 'a file'}, not a {wanted}"))
        has(checks[check]["advice"], advice)
        same(checks["daemon"]["detail"],
             f"none answers at {c.home}/errand.sock, and none can be started")
        has(checks["daemon"]["advice"], "of the wrong kind")
        (os.rmdir if is_folder else os.remove)(path)
    same(doctor(c, env=may_start)[2]["daemon"]["ok"], True)


@test
def doctor__starts_no_daemon(c):
    code, o, checks = doctor(c, env={"ERRAND_NO_AUTOSTART": ""})
    same((o["daemon"], checks["daemon"]["ok"]), (None, True))
    has(checks["daemon"]["detail"], "errand.sock; the next command starts one")
    assert not os.path.exists(os.path.join(c.home, "tasks.db"))


@test
def doctor__tells_what_may_not_be_looked_at(c):
    other = {"user": 65534, "group": 65534, "extra_groups": []}
    try:
        subprocess.run([ERRAND, "--version"], check=True, capture_output=True, cwd="/", **other)
    except (PermissionError, subprocess.CalledProcessError):
        return  # only root can be somebody else, where somebody else can run errand
    os.chmod(c.home, 0o700)
    _, _, checks = doctor(c, cwd="/", **other)
    for name in ["store", "lock of the store", "socket"]:
        same(checks[name]["ok"], False)
        has(checks[name]["detail"], "Permission denied")
    os.chmod(c.home, 0o755)
    for name in ["tasks.db", "tasks.db.lock"]:
        with open(os.path.join(c.home, name), "wb") as f:
            f.write(b"SQLite format 3\0")
    _, _, checks = doctor(c, cwd="/", **other)
    has(checks["store"]["detail"], "which you may not write")


@test
def doctor__looks_at_store_clock_folders_and_limits(c):
    path = os.path.join(c.home, "tasks.db")
    with open(path, "wb") as f:
        f.write(b"this is no database, is it?")
    ahead = os.stat(path).st_mtime + 7200
    os.utime(path, (ahead, ahead))
    os.chmod(c.home, 0o770)
    import resource
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code, _, checks = doctor(
        c, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard)))
    same(code, 1)
    for name, detail, advice in [
            ("store", "tasks.db, 0 KiB", "move it away"),
            ("clock", "it was set back: the store was written ", "see whether it is right"),
            ("folder of the store", "mode 770", "chmod 700 it"),
            ("open-files", "at most 100", "ulimit -n")]:
        same(checks[name]["ok"], False)
        has(checks[name]["detail"], detail)
        has(checks[name]["advice"], advice)


@test
def doctor__asks_the_programs_for_their_versions(c):
    folder = os.path.join(c.home, "bin")
    os.mkdir(folder)
    shutil.copy(ERRAND, folder)
    version = c.run("--version").stdout.decode().split()[1]
    for name, number in [("errandd", version), ("errand-worker", "0.0.1")]:
        with open(os.path.join(folder, name), "w") as f:
            f.write(f"#!/bin/sh\necho {name} {number}\n")
        os.chmod(os.path.join(folder, name), 0o755)
    r = subprocess.run([os.path.join(folder, "errand"), "doctor", "--json"], env=c.env,
                       capture_output=True, timeout=300)
    checks = {k["name"]: k for k in json.loads(r.stdout)["checks"]}
    same((checks["errandd"]["ok"], checks["errand-worker"]["ok"]), (True, False))
    has(checks["errand-worker"]["detail"], "version 0.0.1")
    has(checks["errand-worker"]["advice"], f"this command is of version {version}")


sys.exit(main())
