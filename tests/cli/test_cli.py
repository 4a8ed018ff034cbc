# SPDX-License-Identifier: MIT
"""The errand command against a daemon that only pretends (fake_daemon.py): what it asks
for, what it makes of the answers, and what it does when a connection breaks. Prints TAP.

usage: test_cli.py PATH-OF-ERRAND [NAME...]"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time

from fake_daemon import Break, FakeDaemon, problem, task
from harness import ERRAND, NO_COUNTS, accept_all, expect, has, main, same, test

# ---- add ------------------------------------------------------------------------------------


@test
def add__prints_the_id_alone(c):
    d = c.daemon(accept_all)
    expect(c.run("add", "--", "echo", "a b", "$HOME"), 0, "7\n", "")
    (r,) = d.requests
    same(r.query, {"brief": "1"})
    same(r.headers["content-type"], "application/json")
    same(len(r.headers["idempotency-key"]), 36)
    body = r.json
    same(body["args"], {"argv": ["echo", "a b", "$HOME"]})
    same(body["cwd"], os.path.realpath(c.home))
    same(body["env"]["LC_ALL"], "C.UTF-8")
    assert not any(k.startswith("ERRAND_") for k in body["env"]), body["env"]
    same(sorted(body), ["args", "cwd", "env", "type"])


@test
def add__takes_one_argument_as_a_shell_line(c):
    d = c.daemon(accept_all)
    expect(c.run("add", "echo one; echo two"), 0, "7\n")
    same(d.requests[0].json["args"], {"command": "echo one; echo two"})


@test
def add__sends_all_options(c):
    d = c.daemon(accept_all)
    with open(os.path.join(c.home, "in"), "w") as f:
        f.write("x")
    expect(c.run("add", "-n", "My name", "--queue=q", "-p5", "--after", "1,3-4:any", "--after",
                 "9:fail", "--delay", "1m30s", "--retries", "2", "--backoff", "500ms", "--on-lost",
                 "hold", "--timeout", "1h", "--heartbeat", "15s", "--grace", "2s", "--expires", "1d", "--key", "k",
                 "--limit-key", "l", "--cost", "3", "--correlation", "x", "--parent", "12", "--tag",
                 "a", "--tag", "b", "--meta", "k=v=w", "--env", "X=1", "--env", "X=2", "--cwd",
                 "/tmp", "--stdin", "in", "--hold", "--", "true"), 0, "7\n", "")
    body = d.requests[0].json
    assert "X" not in body.pop("env")
    same(body.pop("env_set"), {"X": "2"})
    same(body, {
        "type": "shell", "args": {"command": "true",
                                  "stdin_file": os.path.join(os.path.realpath(c.home), "in")},
        "name": "My name", "queue": "q", "on_lost": "hold", "key": "k", "limit_key": "l",
        "priority": 5, "retries": 2, "cost": 3, "delay_s": 90.0, "backoff_s": 0.5,
        "timeout_s": 3600.0, "heartbeat_s": 15.0, "grace_s": 2.0, "expires_s": 86400.0, "held": True, "parent": 12,
        "correlation_id": "x", "tags": ["a", "b"], "meta": {"k": "v=w"}, "cwd": "/tmp",
        "after": [{"id": 1}, {"id": 3, "when": "any"}, {"id": 4, "when": "any"},
                  {"id": 9, "when": "fail"}]})
    assert "idempotency-key" not in d.requests[0].headers


@test
def add__inside_a_task_makes_a_child(c):
    d = c.daemon(accept_all)
    env = {"ERRAND_TASK_ID": "41", "ERRAND_SOCKET": os.path.join(c.home, "errand.sock"),
           "ERRAND_CORRELATION_ID": "chain"}
    expect(c.run("add", "true", env=env), 0)
    same((d.requests[0].json["parent"], d.requests[0].json["correlation_id"]), (41, "chain"))


@test
def add__sends_piped_input_whatever_it_is(c):
    d = c.daemon(accept_all)
    expect(c.run("add", "--stdin", "-", "--", "cat", "-", input=b"a\nb"), 0)
    same(d.requests[0].json["args"], {"argv": ["cat", "-"], "stdin": "a\nb"})
    expect(c.run("add", "--stdin", "-", "--", "cat", "-", input=b"\xff\x00\xfe\x01"), 0)
    same(d.requests[1].json["args"]["stdin_base64"], "/wD+AQ==")
    expect(c.run("add", "--stdin", "-", "cat", input=b"x" * (1 << 20) + b"y"), 2)
    expect(c.run("add", "--input", "cat"), 0)
    same(d.requests[2].json["args"], {"command": "cat", "input": True})


@test
def add__refuses_what_cannot_be_told(c):
    expect(c.run("add", b"\xff"), 2)
    has(c.run("add", "x", b"\xff").stderr, "argument 2 is not UTF-8")
    d = c.daemon(accept_all)
    r = expect(c.run("add", "x", env={"BAD": b"\xff", "GOOD": "1"}), 0, "7\n")
    has(r.stderr, "variable BAD is not UTF-8")
    assert "BAD" not in d.requests[0].json["env"]


@test
def add__names_bad_options(c):
    for args, text in [
            (["--delay", "5 parsecs", "x"],
             "--delay: invalid duration '5 parsecs' (try 250ms, 2s, 5m, 1h30m)"),
            (["--prioity", "5", "x"], "unknown option '--prioity' (did you mean --priority?)"),
            (["-p", "high", "x"], "invalid value 'high' for --priority: it takes a whole number "
                                  "from -1000 to 1000"),
            (["-p"], "--priority needs a value: --priority N"),
            (["--on-lost", "cry", "x"],
             "invalid value 'cry' for --on-lost: it is one of run fail hold"),
            (["--hold=1", "x"], "--hold takes no value"),
            (["--name=", "x"], "--name needs a value (TEXT), not an empty one"),
            (["--env", "X", "x"], "invalid value 'X' for --env: it takes K=V"),
            (["--after", "x", "x"], "--after: invalid id 'x' (try 42, 3-7 or @last)"),
            (["--after", "1:maybe", "x"], "--after: invalid condition 'maybe' in --after: it is "
                                          "ok, any or fail, as in 41:any"),
            (["-Z", "x"], "unknown option '-Z' (errand add --help lists them)"),
            ([], "something is missing: errand add [--] COMMAND [ARG...]"),
            (["--delay", "1s", "--at", "09:30", "x"], "--delay and --at are two ways to say one "
                                                      "thing: give one of them"),
    ]:
        expect(c.run("add", *args), 2, "", f"errand: {text}\n")


@test
def add__asks_again_with_the_same_key_when_the_answer_is_lost(c):
    def handle(request):
        if len(d.requests) < 3:
            raise Break
        return accept_all(request)
    d = c.daemon(handle)
    expect(c.run("add", "true"), 0, "7\n", "")
    same(len({r.headers["idempotency-key"] for r in d.requests}), 1)
    same(len({r.body for r in d.requests}), 1)


@test
def add__gives_up_on_a_request_that_ends_the_daemon(c):
    def handle(request):
        raise Break
    c.daemon(handle)
    has(expect(c.run("add", "true"), 4, "").stderr, "closed the connection")


@test
def add__shows_the_daemons_words_and_exits_by_its_code(c):
    for code, exit_code in [("full", 5), ("exists", 5), ("invalid", 2), ("too-big", 2),
                            ("not-found", 3), ("disk-full", 1), ("closed", 4)]:
        d = c.daemon(lambda request: problem(400, code, "queue 'build' is full: 10 queued tasks (max: 10)"))
        expect(c.run("add", "x"), exit_code, "",
               "errand: queue 'build' is full: 10 queued tasks (max: 10)\n")
        d.close()


@test
def add__without_a_daemon_says_where_it_looked(c):
    expect(c.run("--no-autostart", "add", "x", env={"ERRAND_NO_AUTOSTART": ""}), 4, "",
           f"errand: no daemon answers at {c.home}/errand.sock (errand serve starts one)\n")
    r = expect(c.run("add", "x", env={"ERRAND_NO_AUTOSTART": "", "ERRAND_TASK_ID": "1"}), 4)
    has(r.stderr, "none is started from inside a task")


@test
def socket__is_asked_before_and_after_the_command(c):
    there = os.path.join(c.home, "elsewhere.sock")
    d = FakeDaemon(there, accept_all)
    for args in (["--socket", there, "add", "x"], ["--socket=" + there, "add", "x"],
                 ["add", "--socket", there, "x"], ["--no-autostart", "--socket", there, "add", "x"]):
        expect(c.run(*args), 0, "7\n")
    # what is a task's is not that of another daemon's
    expect(c.run("--socket", there, "add", "x",
                 env={"ERRAND_TASK_ID": "3", "ERRAND_SOCKET": c.home + "/own.sock"}), 0, "7\n")
    same(len(d.requests), 5)
    assert not any(b'"parent"' in str(request).encode() for request in d.requests), d.requests
    d.close()


@test
def socket__starts_no_daemon_and_wants_a_path(c):
    free = {"ERRAND_NO_AUTOSTART": ""}
    r = expect(c.run("--socket", c.home + "/nobody.sock", "add", "x", env=free), 4, "")
    same(r.stderr.decode(), f"errand: no daemon answers at {c.home}/nobody.sock, and none is started there\n")
    assert not os.path.exists(c.home + "/tasks.db")
    expect(c.run("--socket"), 2, "", "errand: --socket needs a path\n")
    expect(c.run("--socket=", "tasks"), 2, "", "errand: --socket needs a path\n")


@test
def add__finds_the_socket_in_the_lock_file(c):
    d = FakeDaemon(os.path.join(c.home, "other.sock"), accept_all)
    with open(os.path.join(c.home, "tasks.db.lock"), "w") as f:
        f.write(f"1234\n{c.home}/other.sock\n")
    expect(c.run("add", "x"), 0, "7\n")
    same(len(d.requests), 1)


@test
def add__wait_exits_as_the_command_did(c):
    final = {}

    def handle(request):
        if request.method == "POST":
            return accept_all(request)
        same(request.query["until"], "final")
        return 200, task(7, **final)
    c.daemon(handle)
    for more, code in [({"state": "completed", "exit_code": 0}, 0),
                       ({"state": "failed", "exit_code": 3}, 3),
                       ({"state": "failed", "signal": 15}, 143),
                       ({"state": "cancelled"}, 1),
                       ({"state": "failed", "exit_code": 127,
                         "error": {"message": "no such command 'x'"}}, 127)]:
        final.clear()
        final.update(more)
        r = expect(c.run("add", "--wait", "x"), code, "7\n")
        if code == 127:
            has(r.stderr, "no such command 'x'")
    same(json.loads(c.run("add", "--wait", "--json", "x").stdout)["exit_code"], 127)


@test
def add__follow_keeps_the_streams_apart(c):
    def handle(request):
        if request.method == "POST":
            return accept_all(request)
        if request.path.endswith("/log"):
            same((request.query["follow"], request.query["format"]), ("1", "ndjson"))
            return 200, (json.dumps(o) + "\n" for o in [
                {"stream": "stdout", "data": "out\n"}, {"stream": "stderr", "data": "err\n"},
                {"stream": "stdout", "base64": "/wA="}])
        return 200, task(7, "failed", attempt=1, exit_code=9)
    c.daemon(handle)
    r = c.run("add", "--follow", "x")
    same((r.returncode, r.stdout, r.stderr), (9, b"out\n\xff\x00", b"errand: task 7\nerr\n"))


# ---- submit -----------------------------------------------------------------------------------


PARAMETERS = {
    "sleep": [{"name": "for", "kind": "duration", "required": True}],
    "two": [{"name": "a", "kind": "string", "required": True},
            {"name": "b", "kind": "integer", "required": True}],
    "some": [{"name": "list", "kind": "strings"}, {"name": "n", "kind": "integer"}],
    "none": [],
}


def know_types(request):
    """A daemon that knows these types, and one named `any` that takes anything."""
    name = request.path.removeprefix("/v1/types/")
    if request.method == "GET" and name in [*PARAMETERS, "any"]:
        return 200, {"name": name, "parameters": PARAMETERS.get(name)}
    if request.method == "GET":
        return problem(404, "not-found", f"unknown type '{name}' (did you mean none?)")
    return accept_all(request)


@test
def submit__pairs_are_texts_and_json_is_json(c):
    d = c.daemon(know_types)
    expect(c.run("submit", "some", "n=3", "list=a,b=c", "e=", "--tag", "x"), 0, "7\n")
    same(d.requests[-1].json["args_text"], {"n": "3", "list": "a,b=c", "e": ""})
    same(("args" in d.requests[-1].json, d.requests[-1].json["tags"]), (False, ["x"]))
    expect(c.run("submit", "file.hash", '{"path": "/x"}'), 0, "7\n")
    same((d.requests[-1].json["type"], d.requests[-1].json["args"]), ("file.hash", {"path": "/x"}))
    expect(c.run("submit", "some", "n:=5", "list:=[1, 2]"), 0, "7\n")
    same(d.requests[-1].json["args"], {"n": 5, "list": [1, 2]})
    expect(c.run("submit", "none"), 0, "7\n")
    same((d.requests[-1].json["args"], len(d.requests)), ({}, 4))  # nothing was asked before
    # mixed: texts for a type with parameters, values for one that takes anything
    expect(c.run("submit", "some", "n=5", 'list:=["a,b", "c"]', "x:=null", "y:=true"), 0, "7\n")
    same(d.requests[-1].json["args_text"], {"n": "5", "list": '["a,b","c"]', "y": "true"})
    expect(c.run("submit", "any", "n=5", "m:=5"), 0, "7\n")
    same(d.requests[-1].json["args"], {"n": "5", "m": 5})


@test
def submit__one_word_is_the_required_parameter(c):
    d = c.daemon(know_types)
    expect(c.run("submit", "sleep", "3s", "-n", "nap"), 0, "7\n")
    same(d.requests[-1].json["args_text"], {"for": "3s"})
    expect(c.run("submit", "sleep", "https://x.org/?a=b"), 0, "7\n")  # no name before the =
    same(d.requests[-1].json["args_text"], {"for": "https://x.org/?a=b"})
    asked = len([r for r in d.requests if r.method == "POST"])
    for args, words in [
            (["sleep", "3s", "4s"], "'3s' and '4s': only one argument can be without its name"),
            (["sleep", "for=1s", "3s"], "the argument 'for' is given twice"),
            (["two", "x"], "'x' is no argument: write KEY=TEXT or KEY:=JSON (type 'two' requires a, b)"),
            (["some", "x"], "'x' is no argument: write KEY=TEXT or KEY:=JSON (type 'some' takes list, n)"),
            (["none", "x"], "'x' is too much: type 'none' takes no arguments"),
            (["any", "x"], "'x' is no argument: write KEY=TEXT, KEY:=JSON, or one JSON object")]:
        expect(c.run("submit", *args), 2, "", f"errand: {words}\n")
    expect(c.run("submit", "non", "x"), 3, "", "errand: unknown type 'non' (did you mean none?)\n")
    same(len([r for r in d.requests if r.method == "POST"]), asked)


@test
def submit__values_come_from_files(c):
    d = c.daemon(know_types)
    for name, data in {"text": b"a\n=b\n", "json": b'{"a": [1]}', "bad": b"\xff", "big": b"x" * (1 << 20)}.items():
        with open(os.path.join(c.home, name), "wb") as f:
            f.write(data)
    expect(c.run("submit", "any", "a=@text", "b=@@x", "c=x@y", "d=@-", input="ü".encode()), 0, "7\n")
    same(d.requests[-1].json["args_text"], {"a": "a\n=b\n", "b": "@x", "c": "x@y", "d": "ü"})
    expect(c.run("submit", "any", "a:=@json"), 0, "7\n")
    same(d.requests[-1].json["args"], {"a": {"a": [1]}})
    expect(c.run("submit", "sleep", "@text"), 0, "7\n")
    same(d.requests[-1].json["args_text"], {"for": "a\n=b\n"})
    expect(c.run("submit", "any", "a=@none"), 3, "",
           "errand: cannot open 'none': No such file or directory\n")
    expect(c.run("submit", "any", "a=@bad"), 2, "", "errand: the value of 'a' is not UTF-8\n")
    has(expect(c.run("submit", "any", "a=@"), 2, "").stderr, "'@' names no file: write @FILE, or @@")
    with open(os.path.join(c.home, "big"), "ab") as f:
        f.write(b"x")
    expect(c.run("submit", "any", "a=@big"), 2, "", "errand: 'big' is larger than 1 MiB\n")
    expect(c.run("submit", "any", "n:=[1"), 2, "", "errand: the value of 'n' is not JSON\n")
    expect(c.run("submit", "any", "n=1", "n:=1"), 2, "", "errand: the argument 'n' is given twice\n")
    has(expect(c.run("submit", "any", '{"a":1,"a":2}'), 2).stderr, "not a JSON object: duplicate")


@test
def submit__says_what_the_daemon_refused(c):
    c.daemon(lambda request: problem(404, "not-found", "unknown type 'htp.request' (did you mean http.request?)",
                                     field="type"))
    expect(c.run("submit", "htp.request", "url=x"), 3, "",
           "errand: unknown type 'htp.request' (did you mean http.request?)\n")


@test
def submit__many_from_standard_input(c):
    def handle(request):
        same(request.headers["content-type"], "application/x-ndjson")
        lines = [json.loads(line) for line in request.body.splitlines()]
        seen.extend(lines)
        out = []
        for i, line in enumerate(lines):
            bad = line["args"].get("bad")
            out.append(problem(400, "invalid", "it is bad", line=i + 1)[1] if bad
                       else {"id": 10 + i, "state": "queued"})
        return 200, "".join(json.dumps(o) + "\n" for o in out)
    seen = []
    d = c.daemon(handle)
    r = expect(c.run("submit", "t", "-", input=b'{"a":1}\n\n{"bad":1}\nnonsense\n[1]\n{"a":2}'), 2,
               "10\n12\n")
    has(r.stderr, "line 3: it is bad")
    has(r.stderr, "line 4: ")
    has(r.stderr, "line 5: this is not a JSON object")
    same([line["args"] for line in seen], [{"a": 1}, {"bad": 1}, {"a": 2}])
    same({line["type"] for line in seen}, {"t"})
    same(len({line["key"] for line in seen}), 3)
    seen.clear()
    expect(c.run("submit", "--atomic", "-q", "mine", "-", input=b'{"args":{"x":1},"queue":"own"}\n'
                 b'{"args":{},"env":{}, "ref":"r"}\n'), 0, "10\n11\n")
    same(d.requests[-1].query, {"atomic": "1"})
    same([(line["queue"], line["args"]) for line in seen], [("own", {"x": 1}), ("mine", {})])
    same((seen[1]["env"], seen[1]["ref"]), ({}, "r"))
    same(seen[0]["cwd"], os.path.realpath(c.home))


# ---- call -------------------------------------------------------------------------------------


def callable_daemon(c, end, result=None, log=(), **known):
    """A daemon whose task 7 is `end` at once, or (None) runs until the budget is used up."""
    def handle(request):
        if request.path.startswith("/v1/types/"):
            return 200, {"name": "t", "takes_s": None, **known}
        if request.method == "POST":
            return accept_all(request)
        if request.path == "/v1/tasks/7/result":
            return (200, result) if result is not None else problem(404, "not-found", "it has no result")
        if request.path == "/v1/tasks/7/log":
            same(request.query.get("format"), "ndjson")
            return 200, (json.dumps(o) + "\n" for o in log)
        same((request.path, request.query["until"]), ("/v1/tasks/7", "final"))
        waits.append(float(request.query["wait"]))
        if end:
            return 200, task(7, **end)
        time.sleep(waits[-1])
        return 200, task(7, "running", attempt=1)
    waits = []
    d = c.daemon(handle)
    d.waits = waits
    return d


@test
def call__gives_the_result_of_a_type(c):
    d = callable_daemon(c, {"state": "completed", "exit_code": 0}, result=b"\0the bytes\n")
    expect(c.run("call", "t", "url=x", "-q", "fast", "--budget", "90s"), 0, "\0the bytes\n", "")
    same([(r.method, r.path) for r in d.requests],
         [("GET", "/v1/types/t"), ("POST", "/v1/tasks"), ("GET", "/v1/tasks/7"), ("GET", "/v1/tasks/7/result")])
    sent = d.requests[1].json
    same((sent["type"], sent["args_text"], sent["queue"]), ("t", {"url": "x"}, "fast"))
    same(sent["cwd"], os.path.realpath(c.home))
    assert "idempotency-key" in d.requests[1].headers
    assert 60 < d.waits[0] <= 90, d.waits
    r = expect(c.run("call", "t", "--json", "--budget", "5m"), 0, None, "")
    same((json.loads(r.stdout)["id"], json.loads(r.stdout)["state"]), (7, "completed"))
    expect(c.run("call", "t", "--wait"), 0, "\0the bytes\n", "")
    assert d.waits[-1] > 1000, d.waits


@test
def call__without_a_result_prints_nothing(c):
    callable_daemon(c, {"state": "completed"})
    expect(c.run("call", "t", "--budget", "5m"), 0, "", "")


@test
def call__that_fails_says_why_and_what_to_do(c):
    error = {"class": "user-actionable", "code": "auth", "message": "the token is old",
             "suggested_action": "get a new one"}
    callable_daemon(c, {"state": "failed", "exit_code": 3, "error": error}, program=["x"])
    r = expect(c.run("call", "t", "--budget", "5m"), 1, "")
    has(r.stderr, "errand: task 7 ")
    has(r.stderr, "the token is old (get a new one)")


@test
def call__over_the_budget_prints_the_id(c):
    d = callable_daemon(c, None)
    r = expect(c.run("call", "t", "--budget", "10ms"), 6, "7\n",
               "errand: task 7 goes on in the background (errand wait 7 && errand result 7)\n")
    r = expect(c.run("call", "t", "--budget", "10ms", "--json"), 6)
    same(json.loads(r.stdout)["state"], "running")
    waited = len(d.waits)
    expect(c.run("call", "--background", "t", "a=b"), 6, "7\n")
    same((len(d.waits), d.requests[-1].json["args_text"]), (waited, {"a": "b"}))
    r = expect(c.run("call", "--budget", "10ms", "--", "make", "--json"), 6, "7\n",
               "errand: task 7 goes on in the background (errand wait 7 && errand log 7)\n")
    same([r for r in d.requests if r.method == "POST"][-1].json["args"], {"argv": ["make", "--json"]})


@test
def call__known_to_take_longer_is_not_waited_for(c):
    d = callable_daemon(c, {"state": "completed"}, result=b"r", takes_s=12.0)
    expect(c.run("call", "t"), 6, "7\n", "errand: task 7 goes on in the background: t takes about 12.0s "
           "(errand wait 7; --wait-anyway uses the budget all the same)\n")
    same(d.waits, [])
    expect(c.run("call", "t", "--wait-anyway", "--budget", "11s"), 0, "r", "")
    expect(c.run("call", "t", "--budget", "1m"), 0, "r", "")
    expect(c.run("call", "t", "--wait"), 0, "r", "")
    for args in (["sh", "x=y"], ["--", "x"]):  # no two scripts are alike
        expect(c.run("call", "--budget", "11s", *args), 0)


@test
def call__of_a_command_is_its_output_and_code(c):
    out = [{"stream": "stdout", "data": "out\n"}, {"stream": "stderr", "data": "err\n"},
           {"stream": "stdout", "base64": "/wA="}]
    d = callable_daemon(c, {"state": "failed", "exit_code": 9, "attempt": 1,
                            "error": {"code": "exit", "message": "exit code 9"}}, log=out, command=["x"])
    for args in (["--", "make -j8"], ["t", "a=b"]):  # a type that is a command is the same
        r = c.run("call", "--budget", "5m", *args)
        same((r.returncode, r.stdout, r.stderr), (9, b"out\n\xff\x00", b"err\n"))
    same([r.path for r in d.requests[:3]], ["/v1/tasks", "/v1/tasks/7", "/v1/tasks/7/log"])
    same((d.requests[0].json["type"], d.requests[0].json["args"]), ("shell", {"command": "make -j8"}))
    same(d.requests[0].query, {"brief": "1"})


@test
def call__says_when_output_was_not_kept(c):
    def handle(request):
        if request.method == "POST":
            return accept_all(request)
        if request.path.endswith("/log"):
            return 200, iter([json.dumps({"stream": "stdout", "data": "x" * 9000}) + "\n"])
        if request.path.endswith("/attempts"):
            return 200, {"attempts": [{"attempt": 1, "output_bytes": 0}, {"attempt": 2, "output_bytes": 9123}]}
        return 200, task(7, "completed", attempt=2, exit_code=0)
    c.daemon(handle)
    expect(c.run("call", "--budget", "5m", "--", "x"), 0, "x" * 9000, "errand: 123 bytes in the middle of its output were "
           "not kept (errand config: output_head, output_tail)\n")


@test
def call__of_a_command_ended_by_a_signal_or_not_found(c):
    d = callable_daemon(c, {"state": "failed", "signal": 11, "attempt": 1,
                            "error": {"code": "signal", "message": "SIGSEGV"}})
    expect(c.run("call", "--budget", "5m", "--", "x"), 139, "", "")
    d.close()
    callable_daemon(c, {"state": "failed", "exit_code": 127, "attempt": 1,
                        "error": {"code": "not-found", "message": "there is no program 'x'"}})
    r = expect(c.run("call", "--budget", "5m", "--", "x"), 127, "")
    has(r.stderr, "there is no program 'x'")


@test
def call__that_is_interrupted_prints_the_id(c):
    for args, out in [(["t"], b"7\n"), (["--json", "--", "x"], b'{"id":7}\n')]:
        for number in (signal.SIGINT, signal.SIGTERM):
            waiting, go_on = threading.Event(), threading.Event()

            def handle(request):
                if request.method == "POST":
                    return accept_all(request)
                if request.path == "/v1/types/t":
                    return 200, {"name": "t"}
                waiting.set()
                go_on.wait(600)
                raise Break
            d = c.daemon(handle)
            p = c.start("call", "--budget", "1h", *args)
            assert waiting.wait(600)
            p.send_signal(number)
            got = p.communicate(timeout=300)
            same((p.returncode, got[0]), (6, out))
            has(got[1], "errand: task 7 goes on in the background (errand wait 7; errand cancel 7)")
            go_on.set()
            d.close()


@test
def call__that_is_interrupted_while_it_submits_prints_the_id(c):
    asked, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def handle(request):
        if request.method == "POST":
            asked.set()
            go_on.wait(600)
            return accept_all(request)
        ended.wait(600)
        raise Break
    c.daemon(handle)
    p = c.start("call", "--budget", "1h", "--", "x")
    assert asked.wait(600)
    p.send_signal(signal.SIGINT)
    go_on.set()
    same((p.communicate(timeout=300)[0], p.returncode), (b"7\n", 6))
    go_on.clear()
    asked.clear()
    p = c.start("call", "--budget", "1h", "--", "x")  # where no answer comes, two will do
    assert asked.wait(600)
    while p.poll() is None:
        p.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    same((p.communicate()[0], p.returncode), (b"", -signal.SIGTERM))
    go_on.set()
    ended.set()


@test
def call__refuses_what_makes_no_sense(c):
    d = c.daemon(know_types)
    for args, words in [
            (["--background", "--budget", "1s", "t"], "--background waits for nothing"),
            (["--background", "--wait", "t"], "--wait waits for the end however long it takes"),
            (["--follow", "--budget", "1s", "t"], "--follow waits for the end however long it takes"),
            (["--stdin", "x", "t"], "--stdin and --input are for commands: here they are arguments (errand types t)"),
            (["--budget", "soon", "t"], "--budget: invalid duration"),
            ([], "something is missing: errand call TYPE")]:
        has(expect(c.run("call", *args), 2, "").stderr, words)
    expect(c.run("call", "non"), 3, "", "errand: unknown type 'non' (did you mean none?)\n")
    d.close()
    c.daemon(lambda request: problem(404, "not-found", "unknown type 'ls'"))
    expect(c.run("call", "ls"), 3, "", "errand: unknown type 'ls' (errand types lists them; a command: "
           "errand call -- ls)\n")
    same([r.method for r in d.requests if r.method != "GET"], [])


# ---- lists ---------------------------------------------------------------------------------------


@test
def tasks__without_any_says_how_to_begin(c):
    d = c.daemon(lambda request: (200, {"tasks": [], "next": None, "counts": NO_COUNTS}))
    expect(c.run(), 0, "No tasks yet. Try: errand add -- sleep 3\n", "")
    same(d.requests[0].query, {"view": "default", "limit": "50"})
    expect(c.run("tasks", "--failed", "--json"), 0, "", "")
    same(d.requests[1].query, {"state": "failed", "limit": "50"})


@test
def tasks__filters_are_passed_on(c):
    d = c.daemon(lambda request: (200, {"tasks": [], "next": None,
                                        "counts": {**NO_COUNTS, "running": 1}}))
    r = expect(c.run("tasks", "--state", "running,failed", "--queue", "a b", "--type", "t", "--tag",
                     "x&y", "--correlation", "c", "--limit", "7"), 0)
    same(d.requests[0].query, {"state": "running,failed", "queue": "a b", "type": "t", "tag": "x&y",
                               "correlation": "c", "limit": "7"})
    has(r.stdout, "No tasks match.")
    expect(c.run("tasks", "--state", "runing"), 2, "",
           "errand: unknown state 'runing' (did you mean running?)\n")


def some_tasks():
    return [
        task(12, "failed", name="Tests", exit_code=3, started_at="2026-01-31T09:30:00.000Z",
             finished_at="2026-01-31T09:32:05.000Z"),
        task(11, "running", name="Build", started_at="2026-01-31T09:30:00.000Z",
             progress={"percent": 60.0, "current": 6, "total": 10, "unit": "files", "item": "a.c",
                       "message": None, "rate": 2.0, "eta_s": 3.25, "items_completed": None,
                       "items_failed": None, "source": "reported"}),
        task(9, "blocked", name="Deploy", after=[{"id": 11, "when": "ok", "state": "running"}]),
        task(8, "paused", name="Held", resumes_at=None),
        task(7, "queued", name="evil \x1b[2Jname\r\nhttp://me:secret@host/"),
    ]


@test
def tasks__table_is_newest_last_with_bars_and_footer(c):
    counts = {**NO_COUNTS, "running": 2, "queued": 5, "completed": 31, "failed": 1, "blocked": 1}
    c.daemon(lambda request: (200, {"tasks": some_tasks(), "next": None, "counts": counts}))
    r = expect(c.run("tasks"), 0)
    lines = r.stdout.decode().splitlines()
    same(lines[0], "○   7  evil name http://me:***@host/")
    same(lines[1].split(), ["‖", "8", "Held", "paused"])
    same(lines[2].split(), ["⧗", "9", "Deploy", "after", "11", "(running)"])
    same(lines[3].split(), ["▶", "11", "Build", "██████░░░░", "60%", "6/10", "files", "a.c", "2",
                            "files/s", "3.2s", "left"])
    same(lines[4].split()[:6], ["✗", "12", "Tests", "exit", "code", "3,"])
    same(lines[4].split()[-1], "2m05s")
    same(lines[5], "Running 2 · Queued 5 · Blocked 1 · Completed 31 · Failed 1")
    ascii_lines = c.run("tasks", env={"LC_ALL": "C"}).stdout
    assert ascii_lines.isascii(), ascii_lines
    has(ascii_lines, "[>]  11  Build")
    has(ascii_lines, "[######----]  60%")
    narrow = c.run("tasks", env={"COLUMNS": "60"}).stdout.decode().splitlines()
    assert all(len(line) <= 60 for line in narrow), narrow


@test
def tasks__nothing_is_left_at_a_hundred_percent(c):
    progress = {**some_tasks()[1]["progress"], "eta_s": None}
    full, half = ({**some_tasks()[1], "id": n, "progress": {**progress, "percent": p}}
                  for n, p in ((3, 100.0), (2, 50.0)))
    c.daemon(lambda request: (200, {"tasks": [full, half], "next": None, "counts": NO_COUNTS}))
    lines = expect(c.run("tasks"), 0).stdout.decode().splitlines()
    has(lines[0], "calculating")
    assert "100%" in lines[1] and "calculating" not in lines[1] and "left" not in lines[1], lines


@test
def tasks__json_is_one_object_a_line(c):
    pages = {None: [task(3), task(2)], "2": [task(1)]}

    def handle(request):
        cursor = request.query.get("cursor")
        return 200, {"tasks": pages[cursor], "next": None if cursor else "2", "counts": NO_COUNTS}
    c.daemon(handle)
    r = expect(c.run("tasks", "--all", "--json"), 0)
    same([json.loads(line)["id"] for line in r.stdout.splitlines()], [1, 2, 3])


@test
def tasks__watch_draws_again_when_an_event_comes(c):
    counts = {**NO_COUNTS, "queued": 1}
    go = queue.Queue()
    state = ["queued"]

    def handle(request):
        if request.path == "/v1/events":
            return 200, iter(go.get, None)
        return 200, {"tasks": [task(1, state[0])], "next": None, "counts": counts}
    c.daemon(handle)
    p = c.start("tasks", "-w")
    same(p.stdout.readline().decode().split()[0], "○")
    p.stdout.readline(), p.stdout.readline()
    state[0] = "completed"
    go.put("id: 1\nevent: task-completed\ndata: {}\n\n")
    same(p.stdout.readline().decode().split()[0], "✓")
    p.kill()
    p.communicate()


@test
def show__says_all_of_it_and_the_end_of_the_output(c):
    t = task(5, "failed", name="Build", args={"argv": ["make", "-j8", "a b"]}, attempt=2, failures=2,
             exit_code=2, error={"class": "retryable", "code": "reported", "message": "make failed",
                                 "suggested_action": "look at the log"}, tags=["ci"],
             meta={"k": "v"}, started_at="2026-01-31T09:30:00.000Z",
             finished_at="2026-01-31T09:30:03.200Z", cpu_s=0.8, peak_rss_bytes=1048576)

    def handle(request):
        if request.path.endswith("/log"):
            return 200, "".join(f"line {i}\n" for i in range(30 - int(request.query["tail"]), 30))
        if request.path.endswith("/attempts"):
            return 200, {"attempts": [{"attempt": 1, "outcome": "failed", "exit_code": 1},
                                      {"attempt": 2, "outcome": "failed", "exit_code": 2}]}
        return 200, t
    c.daemon(handle)
    out = expect(c.run("show", "5"), 0).stdout
    for part in ["5 Build\n", "✗ failed, exit code 2 (3.2s)", "Error:       make failed",
                 "What to do:  look at the log", "Command:     make -j8 'a b'", "Tags:        ci",
                 "Meta:        k=v", "1.0 MB of memory", "… (truncated)\n  line 10\n", "  line 29\n"]:
        has(out, part)
    assert b"line 9\n" not in out
    same(json.loads(c.run("show", "5", "--json").stdout), t)


@test
def show__keeps_the_lines_of_a_command(c):
    c.daemon(lambda request: (200, task(5, args=arguments[0])))
    for args, text in (({"argv": ["sh", "-c", "echo 1\n\techo 2\n"]}, "sh -c 'echo 1\n             echo 2\n             '\n"),
                       ({"command": "echo 1\necho 2"}, "echo 1\n             echo 2\n"),
                       ({"argv": ["true"]}, "true\n")):
        arguments = [args]
        has(c.run("show", "5").stdout, "Command:     " + text + "Queue:")


@test
def show__of_what_is_unknown(c):
    c.daemon(lambda request: problem(404, "not-found", "there is no task 99"))
    expect(c.run("show", "99"), 3, "", "errand: there is no task 99\n")
    expect(c.run("show", "x"), 2, "", "errand: invalid id 'x' (try 42, 3-7 or @last)\n")


@test
def show__last_is_the_newest(c):
    def handle(request):
        if request.path == "/v1/tasks":
            same(request.query, {"limit": "1"})
            return 200, {"tasks": [task(33)], "next": "33", "counts": NO_COUNTS}
        return 200, task(int(request.path.split("/")[-1]))
    c.daemon(handle)
    same(json.loads(c.run("show", "--json", "@last").stdout)["id"], 33)


@test
def why__is_the_daemons_sentence(c):
    d = c.daemon(lambda request: (200, {"id": 4, "state": "queued", "why": "queue 'q' is paused"}))
    expect(c.run("why", "4"), 0, "4: queue 'q' is paused\n")
    same(d.requests[0].path, "/v1/tasks/4/why")
    same(json.loads(c.run("why", "4", "--json").stdout)["state"], "queued")
    expect(c.run("why", "4", "5"), 0, "4: queue 'q' is paused\n5: queue 'q' is paused\n")


# ---- output ------------------------------------------------------------------------------------


@test
def result__is_the_bytes(c):
    c.daemon(lambda request: (200, b"\x00\x01") if request.path == "/v1/tasks/3/result"
             else problem(404, "not-found", "task 4 has no result"))
    same(c.run("result", "3").stdout, b"\x00\x01")
    expect(c.run("result", "4"), 3, "", "errand: task 4 has no result\n")


# ---- events, wait ---------------------------------------------------------------------------------


def fact(seq, event, id, **more):
    o = {"seq": seq, "event": event, "time": "2026-01-31T09:30:00.123Z", "task": id, "run": 1,
         "type": "shell", "queue": "default", "correlation_id": "c", "attempt": 1, "data": {}, **more}
    return f"id: {seq}\nevent: {event}\ndata: {json.dumps(o)}\n\n"


@test
def events__end_at_the_newest(c):
    forever = threading.Event()

    def stream():
        yield fact(1, "task-queued", 1) + fact(2, "task-queued", 2)
        yield "event: task-progress\ndata: {\"seq\": null, \"event\": \"task-progress\", \"task\": 1}\n\n"
        yield fact(3, "task-completed", 1)
        forever.wait(30)
    c.daemon(lambda request: (200, {"events": {"last": 3}}) if request.path == "/v1/stats"
             else (200, task(1)) if request.path == "/v1/tasks/1"
             else problem(404, "not-found", "there is no task 9") if request.path == "/v1/tasks/9"
             else (200, stream()))
    expect(c.run("events", "--task", "9"), 3, "", "errand: there is no task 9\n")
    r = expect(c.run("events", "--json"), 0)
    same([json.loads(line)["seq"] for line in r.stdout.splitlines()], [1, 2, 3])
    r = expect(c.run("events", "--json", "--task", "1", "--event", "task-completed"), 0)
    same([json.loads(line)["seq"] for line in r.stdout.splitlines()], [3])
    expect(c.run("events", "--since", "3"), 0, "")
    has(c.run("events").stdout, "2026-01-31T09:30:00.123Z       3  task-completed   1")
    expect(c.run("events", "--event", "task-exploded"), 2)
    forever.set()


@test
def events__follow_from_the_last_number_after_a_restart(c):
    def handle(request):
        if request.path != "/v1/events":
            return 404, {}
        asked.append(request.query.get("since"))
        if len(asked) == 1:
            def broken():
                yield fact(5, "task-queued", 1) + "id: 6\nevent: task-st"
                raise Break
            return 200, broken()
        return 200, iter([fact(6, "task-started", 1), *iter(done.get, None)])
    asked, done = [], queue.Queue()
    c.daemon(handle)
    done.put(fact(7, "task-completed", 1))
    done.put(None)
    p = c.start("events", "-f", "--since", "4", "--json")
    same([json.loads(p.stdout.readline())["seq"] for _ in range(3)], [5, 6, 7])
    p.kill()
    p.communicate()
    same(asked[:2], ["4", "5"])


@test
def wait__tells_by_its_exit_code(c):
    def handle(request):
        id = int(request.path.split("/")[3])
        if id == 9:
            return problem(404, "not-found", "there is no task 9")
        if id == 8:
            return problem(404, "not-found", "it was removed",
                           tombstone={"id": 8, "run": 1, "state": "completed", "exit_code": 0})
        states = {1: "completed", 2: "failed", 3: "running"}
        return 200, task(id, states[id], exit_code=3 if id == 2 else None)
    c.daemon(handle)
    expect(c.run("wait", "1", "8"), 0, "", "")
    expect(c.run("wait", "1", "2"), 1, "", "errand: task 2 failed with exit code 3\n")
    expect(c.run("wait", "3", "--timeout", "50ms"), 124, "", "errand: task 3 is still running\n")
    expect(c.run("wait", "3", "9"), 3, "", "errand: there is no task 9\n")
    expect(c.run("wait"), 2)
    expect(c.run("wait", "1", "--all"), 2)


@test
def wait__asks_for_results_only_to_print_them(c):
    d = c.daemon(lambda request: (200, task(3, "completed")))
    expect(c.run("wait", "3"), 0, "", "")
    expect(c.run("wait", "--any", "3"), 0, "3\n", "")
    expect(c.run("cancel", "3"), 0)
    same({r.query.get("result") for r in d.requests if r.path == "/v1/tasks/3"}, {"0"})
    d.requests.clear()
    expect(c.run("wait", "3", "--json"), 0, None, "")
    same("result" in d.requests[-1].query, False)


@test
def wait__goes_on_over_a_restart(c):
    def handle(request):
        asked.append(request)
        if len(asked) == 1:
            return 200, task(3, "running")
        if len(asked) == 2:
            d.close()
            threading.Timer(0.1, d.open).start()
            raise Break
        return 200, task(3, "completed")
    asked = []
    d = c.daemon(handle)
    expect(c.run("wait", "3"), 0, "", "")
    same(asked[1].query["until"], "final")


@test
def wait__any_misses_nothing_between_looking_and_listening(c):
    states = {1: "running", 2: "running"}
    events = queue.Queue()

    def handle(request):
        if request.path == "/v1/events":
            asked.append("events")
            return 200, iter(events.get, None)
        id = int(request.path.split("/")[3])
        asked.append(id)
        if "events" in asked and asked.count(2) == 2:  # it ends while the states are looked at
            states[2] = "completed"
            events.put(fact(8, "task-completed", 2))
            return 200, task(2, "running")
        return 200, task(id, states[id])
    asked = []
    c.daemon(handle)
    expect(c.run("wait", "--any", "1", "2", "--timeout", "20s"), 0, "2\n", "")


@test
def wait__all_pages_through_what_is_open(c):
    def handle(request):
        if request.path == "/v1/tasks":
            cursor = request.query.get("cursor")
            return 200, {"tasks": [task(1)] if cursor else [task(2)],
                         "next": None if cursor else "2", "counts": NO_COUNTS}
        asked.append(int(request.path.split("/")[3]))
        return 200, task(asked[-1], "completed")
    asked = []
    c.daemon(handle)
    expect(c.run("wait", "--all"), 0, "", "")
    same(asked, [2, 1])


# ---- actions -----------------------------------------------------------------------------------------


@test
def cancel__waits_until_it_is_over(c):
    def handle(request):
        if request.method == "POST":
            same((request.path, request.query), ("/v1/tasks/4/cancel", {"wait": "3600.000", "silent": "1"}))
            return 200, task(4, "running", cancel_requested=True)
        return 200, task(4, "cancelled")
    d = c.daemon(handle)
    expect(c.run("cancel", "4", "--reason", "too slow"), 0, "", "errand: 4 was cancelled\n")
    same(d.requests[0].json, {"reason": "too slow"})


SILENT = "worker w1 (pid 77) has not answered for 12s (kill -CONT 77 lets it go on)"


def slow_to_end(id, action, *answers):
    """A daemon that acts on a task which is silent, or is not, at each answer; then it is done."""
    def handle(request):
        if request.path.startswith("/v1/actions/"):
            return 200, f'{{"id":{id},"state":"running","{action}_requested":true}}\n'
        asked.append((request.query.get("silent"), float(request.query["wait"])))
        silent = answers[min(len(asked), len(answers)) - 1]
        if silent == "done":
            return 200, task(id, "cancelled" if action == "cancel" else "paused", worker_silent=None)
        return 200, task(id, "running", worker_silent=silent, **{f"{action}_requested": True})
    asked = []
    return handle, asked


@test
def cancel__tells_of_a_worker_that_does_not_answer(c):
    for action, end in (("cancel", "was cancelled"), ("pause", "is paused")):
        handle, asked = slow_to_end(4, action, SILENT, SILENT, None, SILENT, "done")
        d = c.daemon(handle)
        expect(c.run(action, "4"), 0, "", f"errand: {SILENT}\nerrand: 4 {end}\n")
        same([silent for silent, _ in asked], ["1", None, None, "1", None])
        # a minute for what is silent, any time for what answers again
        same([seconds > 60 for _, seconds in asked], [True, False, False, True, False])
        d.close()


@test
def cancel__of_many_tells_it_once(c):
    handle, asked = slow_to_end(4, "cancel", SILENT, SILENT, "done")
    c.daemon(handle)
    expect(c.run("cancel", "--tag", "x"), 0, "", f"errand: {SILENT}\nerrand: 4 was cancelled\n")


@test
def cancel__waits_as_long_as_it_is_told(c):
    for action, words in (("cancel", "cancelled"), ("pause", "paused")):
        handle, asked = slow_to_end(4, action, SILENT)
        d = c.daemon(handle)
        r = expect(c.run(action, "4", "--timeout", "50ms"), 124, "")
        if b"in time" not in r.stderr:  # the machine had the time to answer
            has(r.stderr, f"errand: 4 is still running, being {words}\n")
        same([seconds <= 0.05 for _, seconds in asked], [True] * len(asked))
        d.close()
    handle, asked = slow_to_end(4, "cancel", SILENT)
    c.daemon(lambda request: (200, task(4, "running", cancel_requested=True, worker_silent=SILENT)))
    expect(c.run("cancel", "4", "--no-wait"), 0, "",
           f"errand: {SILENT}\nerrand: 4 is running, being cancelled\n")


@test
def wait__tells_of_a_worker_that_does_not_answer(c):
    handle, asked = slow_to_end(4, "cancel", None, SILENT, SILENT, "done")
    c.daemon(handle)
    expect(c.run("wait", "4"), 1, "", f"errand: {SILENT}\nerrand: task 4 was cancelled\n")
    same([seconds > 60 for _, seconds in asked], [False, True, True, True])


@test
def wait__does_not_tell_an_old_error_as_the_reason_of_a_cancel(c):
    end = task(4, "cancelled", error={"class": "rate-limit", "code": "rate-limit", "suggested_action": "wait",
                                      "message": "rate limit exceeded (retry after 1s)"})
    c.daemon(lambda request: (200, end))
    expect(c.run("wait", "4"), 1, "", "errand: task 4 was cancelled\n")
    end["cancelled"] = {"reason": "cancelled by request"}
    expect(c.run("wait", "4"), 1, "", "errand: task 4 was cancelled\n")
    end["cancelled"] = {"reason": "too slow"}
    expect(c.run("wait", "4"), 1, "", "errand: task 4 was cancelled: too slow\n")


@test
def actions__refused_name_the_way_on(c):
    state = [""]
    c.daemon(lambda request: problem(409, "state", "no", state=state[0]))
    for args, now, text in [
            (["cancel", "42"], "completed",
             "cannot cancel 42: it is completed (errand retry 42 runs it again)"),
            (["retry", "42"], "running",
             "cannot retry 42: it is running (errand requeue 42 stops it and runs it again)"),
            (["remove", "42"], "running", "cannot remove 42: it is running (errand cancel 42 ends it)"),
            (["pause", "42"], "failed",
             "cannot pause 42: it is failed (errand retry 42 runs it again)"),
            (["resume", "42"], "running",
             "cannot resume 42: it is running (only what is paused can be resumed)"),
            (["requeue", "42"], "queued", "cannot requeue 42: it is queued (only what runs can be put back)"),
    ]:
        state[0] = now
        expect(c.run(*args), 5, "", f"errand: {text}\n")


@test
def actions__on_many_are_one_request(c):
    def handle(request):
        if request.method == "GET":
            return 200, task(2, "cancelled")
        same(request.path, "/v1/actions/cancel")
        return 200, "".join(json.dumps(o) + "\n" for o in [
            {"id": 1, "state": "cancelled"}, {"id": 2, "state": "running", "cancel_requested": True},
            problem(409, "state", "no", id=3, state="completed")[1]])
    d = c.daemon(handle)
    expect(c.run("cancel", "1-3"), 5, "", "errand: 1 was cancelled\nerrand: 2 was cancelled\n"
           "errand: cannot cancel 3: it is completed (errand retry 3 runs it again)\n")
    same(d.requests[0].json, {"ids": [1, 2, 3]})
    d.close()
    d = c.daemon(lambda request: (200, '{"id":1,"state":"cancelled"}\n' * 5000))
    expect(c.run("cancel", "--all"), 0, "", "errand: cancel: 5000 tasks done, 0 refused\n")
    d.close()
    d = c.daemon(lambda request: (200, ""))
    expect(c.run("pause", "--tag", "x", "--queue", "q"), 0, "", "errand: No tasks match.\n")
    same((d.requests[0].path, d.requests[0].json),
         ("/v1/actions/pause", {"all": True, "queue": "q", "tag": "x"}))
    expect(c.run("retry"), 2)
    expect(c.run("retry", "1", "--all"), 2)


@test
def remove_requeue_send_edit_clean__ask_for_the_right_thing(c):
    d = c.daemon(lambda request: (204, b"") if request.method == "DELETE" else
                 (200, {"removed": 3}) if request.path == "/v1/clean" else (200, task(4)))
    expect(c.run("remove", "4"), 0, "", "")
    expect(c.run("requeue", "4", "--hold"), 0)
    expect(c.run("send", "4", "hello", "--eof"), 0, "", "")
    expect(c.run("send", "4", "-", input=b"raw"), 0, "", "")
    expect(c.run("send", "4", "--eof"), 0, "", "")
    expect(c.run("edit", "4", "-p", "7", "--timeout", "2s", "--at", "2030-01-31T09:30:00Z"), 0, "", "")
    expect(c.run("clean", "--state", "failed", "--older-than", "1h", "--keep", "5"), 0, "",
           "errand: removed 3 tasks\n")
    same([(r.method, r.path, r.json if r.body else None) for r in d.requests], [
        ("DELETE", "/v1/tasks/4", None),
        ("POST", "/v1/tasks/4/requeue", {"hold": True}),
        ("POST", "/v1/tasks/4/input", {"data": "hello\n", "eof": True}),
        ("POST", "/v1/tasks/4/input", {"data": "raw"}),
        ("POST", "/v1/tasks/4/input", {"eof": True}),
        ("PATCH", "/v1/tasks/4", {"priority": 7, "timeout_s": 2.0, "run_at": "2030-01-31T09:30:00.000Z"}),
        ("POST", "/v1/clean", {"state": "failed", "older_than_s": 3600.0, "keep": 5}),
    ])
    expect(c.run("edit", "4"), 2)
    expect(c.run("send", "4"), 2)


@test
def queue__changes_only_what_is_said(c):
    settings = {"name": "a/b", "concurrency": 2, "size": None, "paused": False}

    def handle(request):
        if request.method == "PUT":
            settings.update(request.json)
        return 200, {"queues": [settings]} if request.path == "/v1/queues" else settings
    d = c.daemon(handle)
    expect(c.run("queue", "a/b", "--pause", "--size", "10"), 0, "", "")
    same(d.requests[-1].target, "/v1/queues/a%2Fb")
    same(d.requests[-1].json, {"size": 10, "paused": True})
    expect(c.run("queue", "a/b", "--concurrency", "none", "--resume"), 0)
    same(d.requests[-1].json, {"concurrency": None, "paused": False})
    same([r.method for r in d.requests], ["PUT", "PUT"])
    same(c.run("queue").stdout.decode().split()[:2], ["a/b", "open"])
    expect(c.run("queue", "x", "--size", "many"), 2)
    for word in ("queue", "limit"):
        expect(c.run(word, "a/"), 2, "", f"errand: the name of a {word} ends with a '/'\n")


# ---- progress ------------------------------------------------------------------------------------------


def progress_lines(c, *args, input=b""):
    r, w = os.pipe()
    try:
        result = c.run("progress", *args, input=input, pass_fds=[w],
                       env={"ERRAND_PROGRESS_FD": str(w)})
    finally:
        os.close(w)
    with os.fdopen(r, "rb") as f:
        return result, f.read()


@test
def progress__writes_one_line_to_the_pipe(c):
    for args, want in [(["40", "linking"], {"percent": 40, "message": "linking"}),
                       (["40%"], {"percent": 40}),
                       (["2/4", "clon\ning"], {"current": 2, "total": 4, "message": "clon\ning"}),
                       (["--item", "a", "--failed"], {"item_failed": "a"}),
                       (["--item", "a"], {"item_completed": "a"}),
                       (["--checkpoint", '{"at": [1]}'], {"checkpoint": {"at": [1]}}),
                       (["--retry-after", "1m"], {"retry_after_s": 60.0})]:
        result, out = progress_lines(c, *args)
        expect(result, 0, "", "")
        assert out.endswith(b"\n") and out.count(b"\n") == 1, out
        same(json.loads(out), want)
    for bad in [["x"], ["1/x"], [], ["--failed"], ["--checkpoint", "{"], ["nan"], ["-5"]]:
        expect(progress_lines(c, *bad)[0], 2)


@test
def progress__result_goes_in_parts_that_fit_a_pipe(c):
    import base64
    import threading as t
    data = bytes(range(256)) * 100
    r, w = os.pipe()
    got = []
    reader = t.Thread(target=lambda: got.append(os.fdopen(r, "rb").read()))
    reader.start()
    expect(c.run("progress", "--result", "-", input=data, pass_fds=[w],
                 env={"ERRAND_PROGRESS_FD": str(w)}), 0)
    os.close(w)
    reader.join()
    lines = got[0].splitlines(keepends=True)
    assert all(len(line) <= 4096 for line in lines), max(map(len, lines))
    parts = [json.loads(line)["result_part"] for line in lines]
    same([p["n"] for p in parts], list(range(len(parts))))
    same([p["last"] for p in parts], [False] * (len(parts) - 1) + [True])
    same(len({p["id"] for p in parts}), 1)
    same(b"".join(base64.b64decode(p["base64"]) for p in parts), data)


@test
def progress__long_checkpoint_goes_in_parts_that_fit_a_pipe(c):
    import base64
    import threading as t
    value = {"at": "x" * 60000}
    r, w = os.pipe()
    got = []
    reader = t.Thread(target=lambda: got.append(os.fdopen(r, "rb").read()))
    reader.start()
    expect(c.run("progress", "40", "--checkpoint", json.dumps(value), pass_fds=[w],
                 env={"ERRAND_PROGRESS_FD": str(w)}), 0)
    os.close(w)
    reader.join()
    lines = got[0].splitlines(keepends=True)
    assert all(len(line) <= 4096 for line in lines), max(map(len, lines))
    same(json.loads(lines[0]), {"percent": 40})
    parts = [json.loads(line)["checkpoint_part"] for line in lines[1:]]
    same([p["n"] for p in parts], list(range(len(parts))))
    same([p["last"] for p in parts], [False] * (len(parts) - 1) + [True])
    same(json.loads(b"".join(base64.b64decode(p["base64"]) for p in parts)), value)
    many = json.dumps([0.1] * 20000)  # 80 KB
    has(expect(c.run("progress", "--checkpoint", many), 2).stderr, "too long")


@test
def progress__without_the_pipe_asks_the_daemon(c):
    d = c.daemon(lambda request: (200, {}))
    expect(c.run("progress", "40", env={"ERRAND_TASK_ID": "6"}), 0)
    expect(c.run("progress", "50", env={"ERRAND_TASK_ID": "6", "ERRAND_PROGRESS_FD": "0"}), 0)
    same([(r.path, r.json) for r in d.requests],
         [("/v1/tasks/6/progress", {"percent": 40}), ("/v1/tasks/6/progress", {"percent": 50})])
    r = expect(c.run("progress", "40"), 2)
    has(r.stderr, "works inside a task only")
    d.close()
    expect(c.run("progress", "40", env={"ERRAND_TASK_ID": "6", "ERRAND_NO_AUTOSTART": ""}), 4)


# ---- starting the daemon --------------------------------------------------------------------------------


def install(c, errandd=None):
    """The command in a folder of its own, with that script as errandd; its path."""
    folder = os.path.join(c.home, "bin")
    os.mkdir(folder)
    shutil.copy(ERRAND, folder)
    if errandd:
        with open(os.path.join(folder, "errandd"), "w") as f:
            f.write(errandd)
        os.chmod(os.path.join(folder, "errandd"), 0o755)
    c.env["ERRAND_NO_AUTOSTART"] = "0"
    return os.path.join(folder, "errand")


def run_installed(c, program, *args):
    return subprocess.run([program, *args], capture_output=True, env=c.env, cwd=c.home, timeout=300)


@test
def autostart__starts_one_and_uses_it(c):
    here = os.path.dirname(os.path.abspath(__file__))
    program = install(c, f"""#!{sys.executable}
import os, sys, threading
sys.path.insert(0, {here!r})
from fake_daemon import FakeDaemon, task
home = os.environ["ERRAND_HOME"]
with open(home + "/seen", "w") as f:
    f.write(" ".join(sys.argv[1:]) + "|" + " ".join(sorted(os.listdir("/proc/self/fd"))[:4]) + "|" +
            os.readlink("/proc/self/fd/0") + "|" + str(os.getsid(0) == os.getpid()))
print("hello log", flush=True)
FakeDaemon(home + "/errand.sock", lambda request: (200, task(7, "completed")))
os.write(int(sys.argv[2]), b"+")
os.close(int(sys.argv[2]))
threading.Timer(20, os._exit, [0]).start()
while os.path.exists(home + "/seen"):
    threading.Event().wait(0.05)
os._exit(0)
""")
    expect(run_installed(c, program, "wait", "7"), 0, "", "")
    with open(os.path.join(c.home, "seen")) as f:
        same(f.read(), "--ready-fd 3|0 1 2 3|/dev/null|True")
    with open(os.path.join(c.home, "errandd.log")) as f:
        same(f.read(), "hello log\n")
    same(os.stat(os.path.join(c.home, "errandd.log")).st_mode & 0o777, 0o600)
    os.unlink(os.path.join(c.home, "seen"))


@test
def autostart__that_fails_says_why(c):
    program = install(c)
    c.env["PATH"] = c.home  # where no other errand is
    has(expect(run_installed(c, program, "tasks"), 4).stderr, "cannot find the program errandd")
    os.rename(os.path.join(c.home, "bin"), os.path.join(c.home, "bin1"))
    program = install(c, "#!/bin/sh\nprintf '!the store is on the moon\\n' >&3; exit 1\n")
    expect(run_installed(c, program, "tasks"), 4, "",
           "errand: cannot start the daemon: the store is on the moon\n")
    os.rename(os.path.join(c.home, "bin"), os.path.join(c.home, "bin2"))
    program = install(c, "#!/bin/sh\nexit 1\n")
    expect(run_installed(c, program, "tasks"), 4, "",
           f"errand: the daemon ended before it was ready: see {c.home}/errandd.log\n")


@test
def autostart__when_another_one_was_faster_uses_that(c):
    program = install(c, f"""#!/bin/sh
echo $$ >>{c.home}/starts
printf '!busy\\nthe store belongs to somebody else' >&3
exit 5
""")
    with open(os.path.join(c.home, "tasks.db.lock"), "w") as f:  # its owner lives
        f.write(f"{os.getpid()}\n{c.home}/errand.sock\n")
    done = []
    threading.Timer(0.3, lambda: done.append(
        c.daemon(lambda request: (200, task(7, "completed"))))).start()
    expect(run_installed(c, program, "wait", "7"), 0, "", "")


# ---- the rest --------------------------------------------------------------------------------------------


@test
def help__is_there_for_every_command(c):
    table = [json.loads(line) for line in expect(c.run("help", "--json"), 0).stdout.splitlines()]
    for command in table:
        r = expect(c.run(command["command"], "--help"), 0)
        for option in command["options"]:
            has(r.stdout, f"--{option['name']}")
    text = expect(c.run("--help"), 0).stdout
    for part in ["usage: errand", "\nQueue work\n  add ", "\n\nLimits\n  queue ", "\n  limit "]:
        has(text, part)
    expect(c.run("--version"), 0)
    expect(c.run("frob"), 2, "", "errand: unknown command 'frob' (errand help lists them)\n")
    expect(c.run("tsks"), 2, "", "errand: unknown command 'tsks' (did you mean tasks?)\n")
    expect(c.run("--frob"), 2)


@test
def completions__are_right_for_their_shells(c):
    for shell in ["bash", "zsh", "fish"]:
        text = expect(c.run("completions", shell), 0).stdout
        has(text, "on-lost")
        if shutil.which(shell):
            same(subprocess.run([shell, "-n"], input=text, capture_output=True).stderr, b"")
    expect(c.run("completions", "csh"), 2)
    done = subprocess.run(
        ["bash", "-c", 'eval "$(errand completions bash)"; COMP_WORDS=(errand add --on-lost h); '
         'COMP_CWORD=3; _errand; echo "${COMPREPLY[@]}"; COMP_WORDS=(errand resum); COMP_CWORD=1; '
         '_errand; echo "${COMPREPLY[@]}"; COMP_WORDS=(errand wait --ti); COMP_CWORD=2; _errand; '
         'echo "${COMPREPLY[@]}"'],
        env={**c.env, "PATH": os.path.dirname(ERRAND) + ":" + c.env["PATH"]}, capture_output=True)
    same(done.stdout.decode().split(), ["hold", "resume", "--timeout"])
    c.daemon(lambda request: (200, {"types": [{"name": n} for n in ("shell", "sh", "http.request")]}))
    done = subprocess.run(
        ["bash", "-c", 'eval "$(errand completions bash)"; COMP_WORDS=(errand call s); COMP_CWORD=2; '
         '_errand; echo "${COMPREPLY[@]}"'],
        env={**c.env, "PATH": os.path.dirname(ERRAND) + ":" + c.env["PATH"]}, capture_output=True)
    same(done.stdout.decode().split(), ["shell", "sh"])


@test
def places__that_anybody_may_write_to_are_refused(c):
    os.chmod(c.home, 0o777)
    has(expect(c.run("tasks"), 2).stderr, "writable for everybody")


@test
def output__that_cannot_be_written_is_an_error(c):
    c.daemon(lambda request: (200, task(7)))
    with open("/dev/full", "wb") as full:
        r = subprocess.run([ERRAND, "show", "7"], stdout=full, stderr=subprocess.PIPE, env=c.env,
                           cwd=c.home)
    same(r.returncode, 1)
    has(r.stderr, "cannot write to standard output")


sys.exit(main())
