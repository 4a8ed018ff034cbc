#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Types: built in, defined by PUT and by files; arguments, their defaults, what is secret."""

import json
import os
import signal
import sqlite3
import subprocess
from urllib.parse import quote, unquote

from house import ERRANDD, Player, has, main, same

NOBODY = "/bin/false"
BUILT_IN = ["shell", "sh", "bash", "sleep", "wait", "file.hash", "http.request"]
COPY = {"help": "copies", "parameters": [
    {"name": "from", "kind": "path", "required": True},
    {"name": "to", "kind": "path", "required": True},
    {"name": "depth", "kind": "integer", "default": 3, "min": 0, "max": 10},
    {"name": "wait", "kind": "duration", "default": "1m"},
    {"name": "mode", "kind": "string", "choices": ["fast", "good"]},
    {"name": "only", "kind": "strings"},
    {"name": "force", "kind": "boolean", "default": False}],
    "command": ["printf", "%s|", "{from}", "to={to}", "{mode}", "{only}", "{wait}", "{force}"]}


def define(h, name, definition, status=200, query=""):
    return h.expect(status, "PUT", f"/v1/types/{name}{query}", definition).json


def submit(h, kind, args=None, **members):
    body = {"type": kind, **members}
    if args is not None:
        body["args"] = args
    return h.expect(201, "POST", "/v1/tasks", body).json


def log(h, task):
    return h.call("GET", f"/v1/tasks/{task}/log").body.decode()


def write(h, name, text):
    os.makedirs(h.path("types.d"), exist_ok=True)
    with open(h.path(f"types.d/{name}"), "w", encoding="utf-8") as f:
        f.write(text)


def of_files(h):
    """What doctor says of them."""
    return [c for c in h.get("/v1/doctor")["checks"] if c["name"] == "types.d"][0]


def logged(h, words):
    h.until(lambda: words in h.log(), f"the log to say {words!r}: {h.log()}")


def test_built_in_types_need_no_definition(h):
    h.start(worker=NOBODY)
    types = {t["name"]: t for t in h.get("/v1/types")["types"]}
    same(list(types), BUILT_IN)
    for name, t in types.items():
        same((t["origin"], t["running"], t["takes_s"], t["served"]),
             ("built-in", 0, None, False), name)
        same((t["schema"]["type"], t["schema"]["$schema"]),
             ("object", "https://json-schema.org/draft/2020-12/schema"), name)
        task = submit(h, name, t["example"])  # an example is one
        same((task["state"], task["type"]), ("queued", name))
    http = types["http.request"]
    same(http["program"], ["errand-http"])
    same(http["schema"]["required"], ["url"])
    same(http["schema"]["properties"]["method"]["enum"],
         ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    same([p["name"] for p in types["file.hash"]["parameters"]], ["path", "follow", "hidden"])


def test_an_unknown_type_is_refused_and_leaves_no_trace(h):
    h.start(worker=NOBODY)
    for kind, near in (("slep", "sleep"), ("htp.request", "http.request"), ("Shell", "shell"),
                       ("xyzzy", None)):
        problem = h.refused(404, "type", f"unknown type '{kind}'", "POST", "/v1/tasks",
                            {"type": kind, "args": {}})
        same(problem["code"], "not-found")
        has(problem["detail"], f"did you mean {near}?" if near else "xyzzy")
    answer = h.lines({"type": "nope"}, {}, {"type": "sleep", "args": {"for": 1}})
    text = answer.body.decode().splitlines()
    same(len(text), 3)
    has(text[0], "unknown type 'nope'")
    has(text[0], '"status":404')
    has(text[1], '"state":"queued"')
    has(text[2], '"state":"queued"')
    same(h.lines({}, {"type": "nope"}, atomic=True).status, 404)
    same(len(h.get("/v1/tasks")["tasks"]), 2)
    define(h, "nope", {"help": "now it is known"})
    same(submit(h, "nope", {"any": ["thing"]})["state"], "queued")
    h.expect(204, "DELETE", "/v1/types/nope")
    h.refused(404, "type", "unknown type 'nope'", "POST", "/v1/tasks", {"type": "nope"})


def test_arguments_are_checked_and_stored_as_they_mean(h):
    h.start(worker=NOBODY)
    define(h, "copy", COPY)
    task = submit(h, "copy", {"to": "/b", "from": "/a", "wait": "1h30m", "depth": 4.0})
    same(task["args"], {"from": "/a", "to": "/b", "depth": 4, "wait": 5400, "force": False})
    text = {"from": "/a", "to": "/b", "depth": "4", "wait": "1h30m", "force": "no"}
    again = submit(h, "copy", args_text=text)
    same(again["args"], task["args"])
    same(submit(h, "copy", args_text={**text, "only": "x,y z"})["args"]["only"], ["x", "y z"])
    for field, words, args in [
            ("from", "from is missing: a path", {"to": "/b"}),
            ("form", "unknown parameter 'form' (did you mean from?)",
             {"form": "/a", "to": "/b"}),
            ("depth", "depth is 11 (0 to 10)", {"from": "/a", "to": "/b", "depth": 11}),
            ("depth", "must be an integer, not a string",
             {"from": "/a", "to": "/b", "depth": "4"}),
            ("wait", "invalid duration '5 parsecs'",
             {"from": "/a", "to": "/b", "wait": "5 parsecs"}),
            ("mode", "did you mean fast?", {"from": "/a", "to": "/b", "mode": "fats"}),
            ("only", "only[0] must be a string", {"from": "/a", "to": "/b", "only": [1]}),
            ("args", "args is not an object", ["x"])]:
        h.refused(400, field, words, "POST", "/v1/tasks", {"type": "copy", "args": args})
    for field, words, body in [
            ("depth", "must be an integer, not 'four'", {"args_text": {**text, "depth": "four"}}),
            ("args_text", "'depth' is not a text", {"args_text": {"depth": 4}}),
            ("args_text", "choose one", {"args": {}, "args_text": {}}),
            ("from", "from is missing", {})]:
        h.refused(400, field, words, "POST", "/v1/tasks", {"type": "copy", **body})
    same(len(h.get("/v1/tasks")["tasks"]), 3)
    same(submit(h, "shell", args_text={"argv": "ls,-l"})["args"], {"argv": ["ls", "-l"]})
    h.refused(400, "args_text", "command", "POST", "/v1/tasks", {"args_text": {}})
    h.refused(400, "args_text.argv[0]", "is empty", "POST", "/v1/tasks", {"args_text": {"argv": ",-l"}})
    # the same work under one key, however it was said
    first = submit(h, "copy", {"from": "/a", "to": "/b", "wait": "60s"}, key="k")["id"]
    same(h.expect(200, "POST", "/v1/tasks",
                  {"type": "copy", "args": {"to": "/b", "from": "/a", "wait": 60}, "key": "k"}
                  ).json["id"], first)


def test_commands_get_their_words(h):
    h.start()
    define(h, "copy", COPY)
    task = submit(h, "copy", {"from": "a b", "to": "$(x)", "only": ["-1", "c d"]})["id"]
    same(h.end(task)["state"], "completed")
    same(log(h, task), "a b|to=$(x)|-1|c d|60|false|")
    define(h, "cat", {"parameters": [{"name": "text", "kind": "string", "default": "none"}],
                      "command": ["cat"], "stdin": "<{text}>"})
    task = submit(h, "cat", {"text": "a\n'b'"})["id"]
    same((h.end(task)["state"], log(h, task)), ("completed", "<a\n'b'>"))
    task = submit(h, "sh", {"script": "echo $# \"$2\"; exit 3", "args": ["x", "y z"]})["id"]
    t = h.end(task)
    same((t["state"], t["exit_code"], log(h, task)), ("failed", 3, "2 y z\n"))
    same(h.end(submit(h, "sleep", {"for": 0.01})["id"])["state"], "completed")
    h.until(lambda: h.get("/v1/types/sleep")["takes_s"], "what it has learnt")
    same(h.get("/v1/types/sleep")["served"], True)
    same((define(h, "far", {"handler": True})["served"], h.get("/v1/types/cat")["served"]),
         (False, True))


def test_names_say_what_is_done(h):
    h.start(worker=NOBODY)
    define(h, "copy", COPY)
    define(h, "free", {})
    for kind, args, name in [
            ("copy", {"from": "/a", "to": "/b"}, "copy /a /b"),
            ("copy", {"from": "/a b", "to": "/b", "mode": "good", "wait": "60s"},
             "copy '/a b' /b mode=good"),
            ("copy", {"from": "/a", "to": "/b", "wait": 90, "force": True},
             "copy /a /b wait=1m30s force=yes"),
            ("sleep", {"for": 90}, "sleep 1m30s"),
            ("sh", {"script": "first\nsecond"}, "sh first"),
            ("http.request", {"url": "https://me:pw@host/x?token=abc"},
             "http.request 'https://me:***@host/x?token=***'"),
            ("free", {"k": "v", "n": 5, "l": [1, 2]}, "free k=v n=5 'l=[2]'"),
            ("free", {}, "free")]:
        same(submit(h, kind, args)["name"], name)
    same(submit(h, "sleep", {"for": 1}, name="Mine")["name"], "Mine")
    assert len(submit(h, "sh", {"script": "é" * 100})["name"]) <= 60


def test_a_type_gives_its_tasks_defaults(h):
    h.start("retries: 7\n", worker=NOBODY)
    kinds = ("retries", "timeout_s", "on_lost", "backoff_s", "heartbeat_s")
    for definition, wanted in [
            ({}, [7, None, "run", 1, None]),
            ({"command": ["true"]}, [2, 1800, "run", 1, None]),
            ({"handler": True, "timeout_s": 0, "retries": 0}, [0, None, "run", 1, None]),
            ({"program": ["x"], "on_lost": "hold", "timeout_s": 5, "backoff_s": 9,
              "heartbeat_s": 4}, [2, 5, "hold", 9, 4])]:
        define(h, "t", definition, query="?merge=0")
        task = submit(h, "t", {})
        same([task[k] for k in kinds], wanted, definition)
    task = submit(h, "t", {}, on_lost="run", retries=1, timeout_s=0)
    same([task[k] for k in kinds], [1, None, "run", 9, 4])


def test_what_is_secret_is_not_shown(h):
    h.start()
    define(h, "login", {"parameters": [
        {"name": "user", "kind": "string", "required": True},
        {"name": "password", "kind": "string", "required": True, "secret": True,
         "pattern": "^[A-Z0-9-]+$"}],
        "command": ["sh", "-c", "printf %s \"$1\" >got; echo end >>got", "sh", "{password}"]})
    answer = h.call("POST", "/v1/tasks", {"type": "login", "cwd": h.home, "args": {
        "user": "me", "password": "TOP-SECRET"}})
    same(answer.status, 201)
    task = answer.json
    same(task["args"], {"user": "me", "password": "***"})
    same(task["name"], "login me '***'")
    same(h.file("got"), "TOP-SECRETend")  # the command has the real one
    h.end(task["id"])
    bad = h.call("POST", "/v1/tasks", {"type": "login", "args": {
        "user": "me", "password": "not TOP-SECRET"}})
    same((bad.status, bad.json["field"]), (400, "password"))
    waits = h.call("POST", "/v1/tasks", {"type": "login", "held": True, "args_text": {
        "user": "me", "password": "TOP-SECRET"}})
    facts = h.call("GET", "/v1/events?since=0&format=ndjson")
    same(facts.status, 200)
    shown = [answer, bad, waits, facts, h.call("GET", f"/v1/tasks/{task['id']}"),
             h.call("GET", "/v1/tasks"), h.call("GET", f"/v1/tasks/{task['id']}/attempts"),
             h.call("GET", f"/v1/tasks/{waits.json['id']}/why"),
             h.call("PATCH", f"/v1/tasks/{waits.json['id']}", {"priority": 5}),
             h.call("POST", f"/v1/tasks/{waits.json['id']}/cancel", {})]
    # nobody knows any more what is secret: nothing is shown
    h.expect(204, "DELETE", "/v1/types/login")
    gone = h.call("GET", f"/v1/tasks/{task['id']}")
    same(gone.json["args"], {"user": "***", "password": "***"})
    for one in shown + [gone]:
        assert b"TOP-SECRET" not in one.body, one.body
    assert "TOP-SECRET" not in h.log(), h.log()


def test_definitions_merge_or_stand_alone(h):
    h.start(worker=NOBODY)
    t = define(h, "t", {"help": "x", "command": ["true"], "concurrency": 2, "idempotent": True,
                        "expected_s": 2.5, "on_lost": "fail"})
    same([t[k] for k in ("name", "origin", "idempotent", "expected_s", "on_lost")],
         ["t", "program", True, 2.5, "fail"])
    t = define(h, "t", {"concurrency": None, "retries": 5})
    same((t["help"], t["command"], t["retries"], "concurrency" in t), ("x", ["true"], 5, False))
    t = define(h, "t", {"program": ["p"], "command": None})
    same((t["program"], "command" in t), (["p"], False))
    t = define(h, "t", {"help": "alone"}, query="?merge=0")
    same([m in t for m in ("program", "retries", "idempotent", "on_lost")], [False] * 4)
    same(t["schema"], {"$schema": "https://json-schema.org/draft/2020-12/schema",
                       "type": "object"})
    same(define(h, "t", {"parameters": []})["schema"]["additionalProperties"], False)
    h.refused(400, "x", "unknown parameter 'x'", "POST", "/v1/tasks",
              {"type": "t", "args": {"x": 1}})


def test_definitions_are_refused_by_member(h):
    h.start(worker=NOBODY)
    for field, words, body in [
            ("handler", "there is command already", {"command": ["a"], "handler": True}),
            ("program", "there is command already", {"command": ["a"], "program": ["b"]}),
            ("command", "{x} in '{x}' is no parameter", {"command": ["a", "{x}"]}),
            ("stdin", "with command only", {"stdin": "x"}),
            ("parameters", "must be an array", {"parameters": {}}),
            ("params.a.min", "above max",
             {"parameters": [{"name": "a", "kind": "integer", "min": 2, "max": 1}]}),
            ("params.a.default", "a is 11",
             {"parameters": [{"name": "a", "kind": "integer", "default": 11, "max": 10}]}),
            ("params.a.pattern", "not a regular expression",
             {"parameters": [{"name": "a", "kind": "string", "pattern": "("}]}),
            ("params[0].name", "cannot be the name",
             {"parameters": [{"name": "a b", "kind": "string"}]}),
            ("on_lost", "run, fail or hold", {"on_lost": "x"}),
            ("origin", "unknown member", {"origin": "file"}),
            ("paramters", "did you mean parameters", {"paramters": []})]:
        h.refused(400, field, words, "PUT", "/v1/types/t", body)
    for name in ("a b", "é", "x" * 101, "%7bx%7d", ".", "..", "%2e%2e", ".x", "-x", "a/b"):
        answer = h.call("PUT", f"/v1/types/{quote(name, safe='%')}", {})
        same((answer.status, answer.json["field"]), (400, "name"), name)
        has(answer.json["detail"], "letters, digits, '.', '_' and '-'")
        hello = {"protocol": 1, "version": "1", "pid": 1, "slots": 1, "types": ["ok", unquote(name)]}
        h.refused(400, "types", "names of types", "POST", "/v1/work/claim", hello)
    same([t["name"] for t in h.get("/v1/types")["types"]], BUILT_IN)


def test_if_match_guards_a_definition(h):
    h.start(worker=NOBODY)
    h.expect(412, "PUT", "/v1/types/t", {"help": "x"}, {"If-Match": "*"})
    define(h, "t", {"help": "x"})
    tag = h.expect(200, "GET", "/v1/types/t").headers["etag"]
    answer = h.expect(200, "PUT", "/v1/types/t", {"help": "y"}, {"If-Match": tag})
    assert answer.headers["etag"] != tag, tag
    h.refused(412, "If-Match", "has changed since", "PUT", "/v1/types/t", {"help": "z"},
              {"If-Match": tag})
    same(h.get("/v1/types/t")["help"], "y")
    h.expect(200, "PUT", "/v1/types/t", {"help": "z"}, {"If-Match": "*"})
    shell = h.expect(200, "GET", "/v1/types/shell").headers["etag"]
    h.expect(200, "PUT", "/v1/types/shell", {"concurrency": 3}, {"If-Match": shell})


def test_a_definition_that_others_serve_is_left_alone_where_that_is_asked(h):
    h.start(worker=NOBODY)
    define(h, "t", {"help": "one", "handler": True})
    define(h, "t", {"help": "two", "handler": True}, query="?merge=0&besides=0")  # nobody serves it
    w = Player(h, h.get("/healthz")["version"], types=["t"])
    other = {"help": "three", "handler": True, "parameters": []}
    for besides in (0, w.session + 1):
        problem = h.refused(409, "help", "is served by another program now, with a different `help`",
                            "PUT", f"/v1/types/t?merge=0&besides={besides}", other)
        same(problem["code"], "exists")
    h.refused(409, "parameters", "different `parameters`", "PUT", "/v1/types/t?merge=0&besides=0",
              {**other, "help": "two"})
    define(h, "t", {"help": "two", "handler": True}, query="?merge=0&besides=0")  # the same is fine
    same(define(h, "t", other, query=f"?merge=0&besides={w.session}")["help"], "three")
    same(define(h, "t", {"help": "four"})["help"], "four")  # a person may
    h.refused(400, "besides", "the number of a session", "PUT", "/v1/types/t?besides=x", other)


def test_built_in_types_can_be_overridden_and_come_back(h):
    h.start(worker=NOBODY)

    def definition():
        t = h.get("/v1/types/sleep")
        return {name: t[name] for name in t if name not in ("waiting", "waiters")}

    before = definition()
    t = define(h, "sleep", {"concurrency": 1})
    same((t["origin"], t["concurrency"], t["command"]), ("program", 1, ["sleep", "{for}"]))
    t = define(h, "sleep", {"command": ["true"]}, query="?merge=0")
    same(submit(h, "sleep", {"any": 1})["timeout_s"], 1800)
    h.kill(signal.SIGKILL)
    h.gone()
    h.start(worker=NOBODY)
    same(h.get("/v1/types/sleep")["command"], ["true"])
    h.expect(204, "DELETE", "/v1/types/sleep")
    same(definition(), before)
    h.refused(400, "for", "for is missing", "POST", "/v1/tasks", {"type": "sleep"})
    h.refused(404, None, "has no settings", "DELETE", "/v1/types/sleep")


def test_files_define_types(h):
    write(h, "greet.yml", "help: no\nparameters:\n  - name: who\n    kind: string\n"
          "    required: yes\ncommand: [echo, 'Hello {who}']\n")
    write(h, "wrong.yml", "help: x\n\nretrys: 5\n")
    write(h, "bad name.yml", "help: x\n")
    write(h, "notes.txt", "not a type")
    h.start()
    has(h.log(), "types.d/wrong.yml:3: unknown member 'retrys' (did you mean retries?)")
    has(h.log(), "bad name.yml is left out")
    same([t["name"] for t in h.get("/v1/types")["types"]], BUILT_IN + ["greet"])
    t = h.get("/v1/types/greet")
    same((t["origin"], t["help"]), ("file", "no"))
    task = submit(h, "greet", {"who": "you"})["id"]
    same((h.end(task)["state"], log(h, task)), ("completed", "Hello you\n"))
    check = of_files(h)
    same(check["ok"], False)
    has(check["detail"], f"1 type from {h.path('types.d')}; ")
    has(check["detail"], " files are wrong, such as ")
    has(check["advice"], f"kill -HUP {h.daemon.pid} ")
    # what was made of files changes with them
    write(h, "greet.yml", "command: [echo, changed]\nparameters: []\n")
    write(h, "wrong.yml", "help: right now\n")
    write(h, "sleep.yml", "help: ours\ncommand: ['true']\n")
    h.kill(signal.SIGHUP)
    h.until(lambda: h.get("/v1/types/greet")["command"] == ["echo", "changed"], "the reload")
    h.until(lambda: h.call("GET", "/v1/types/wrong").status == 200, "the one that was wrong")
    same(h.get("/v1/types/wrong")["help"], "right now")
    h.until(lambda: h.get("/v1/types/sleep")["origin"] == "file", "the built-in to give way")
    same(h.get("/v1/types/sleep")["help"], "ours")
    # one that is wrong stays as it was
    write(h, "greet.yml", "command: [echo\n")
    h.kill(signal.SIGHUP)
    logged(h, "the type stays as it was")
    same(h.get("/v1/types/greet")["command"], ["echo", "changed"])
    # a program's definition holds until the file is read again
    same(define(h, "wrong", {"help": "by a program"})["origin"], "program")
    write(h, "greet.yml", "command: [echo, whole]\n")
    for name in os.listdir(h.path("types.d")):
        if name not in ("greet.yml", "wrong.yml"):
            os.unlink(h.path("types.d/" + name))
    h.kill(signal.SIGHUP)
    h.until(lambda: h.get("/v1/types/sleep")["origin"] == "built-in", "the built-in")
    h.until(lambda: h.get("/v1/types/wrong")["origin"] == "file", "the file's")
    h.until(lambda: of_files(h)["ok"], "all files to be right")
    same(of_files(h)["detail"], f"2 types from {h.path('types.d')}")


def test_the_configuration_shows_what_comes_from_files(h):
    def config(*more):
        return subprocess.run([ERRANDD, "--print-config", *more], check=True, env=h.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    folder = h.path("types.d")
    same(config().stdout.splitlines()[-1], f"# 0 types from {folder}")
    write(h, "good.yml", "help: x\n")
    write(h, "bad.yml", "help: x\nretries: many\n")
    got = config()
    same(got.stdout.splitlines()[-1], f"# 1 type from {folder}; 1 file is left out")
    same(got.stderr, f"errand: {folder}/bad.yml:2: retries must be an integer, not a string\n")
    with open(h.path("config.yml"), "w", encoding="utf-8") as f:
        f.write(got.stdout)
    same(config("--check", h.path("config.yml")).stdout, f"{h.path('config.yml')}: ok\n")
    json.loads(config("--json").stdout)


def test_files_that_are_gone_take_their_types_along(h):
    write(h, "one.yml", "help: one\n")
    write(h, "two.yml", "help: two\n")
    h.start(worker=NOBODY)
    define(h, "three", {"help": "by a program"})
    h.until(lambda: "type-changed" in h.call("GET", "/v1/events?since=0&format=ndjson"
                                             "&event=type-changed").body.decode(),
            "the definitions to be on disk")
    h.kill(signal.SIGQUIT)
    h.gone()
    os.unlink(h.path("types.d/one.yml"))
    h.start(worker=NOBODY)
    same([t["name"] for t in h.get("/v1/types")["types"]], BUILT_IN + ["three", "two"])
    os.unlink(h.path("types.d/two.yml"))
    os.rmdir(h.path("types.d"))
    h.kill(signal.SIGHUP)
    h.until(lambda: len(h.get("/v1/types")["types"]) == len(BUILT_IN) + 1, "two to go")


def test_check_takes_a_file_of_a_type(h):
    write(h, "good.yml", "help: x\n")
    write(h, "bad.yml", "help: x\nretries: many\n")

    def check(name):
        got = subprocess.run([ERRANDD, "--check", h.path(f"types.d/{name}")], check=False,
                             env=h.env, capture_output=True, text=True)
        return got.returncode, got.stdout, got.stderr
    same(check("good.yml"), (0, f"{h.path('types.d/good.yml')}: ok\n", ""))
    same(check("bad.yml"), (2, "", f"{h.path('types.d/bad.yml')}:2: retries must be an integer, "
                                   "not a string\n"))


def test_a_stored_definition_that_is_refused_now_is_named(h):
    """As an older version may have left it: the daemon starts, says so, and takes a better one."""
    h.start(worker=NOBODY)
    for name in ("old", "damaged", "good"):
        define(h, name, COPY)
    waiting = submit(h, "old", {"from": "a", "to": "b"})
    h.kill(signal.SIGTERM)
    h.gone()
    with sqlite3.connect(h.path("tasks.db")) as db:
        old = db.execute("UPDATE type SET definition = replace(definition, ?, ?) WHERE name = 'old'",
                         ('"choices":["fast","good"]', '"choices":["fast","good"],"min":50'))
        same(old.rowcount, 1)
        db.execute("UPDATE type SET definition = '{\"help' WHERE name = 'damaged'")
    db.close()
    h.start(worker=NOBODY)
    logged(h, "the definition of type 'old' cannot be read: ")
    logged(h, "the definition of type 'damaged' cannot be read: ")
    names = [t["name"] for t in h.get("/v1/types")["types"]]
    same([n for n in ("old", "damaged", "good") if n in names], ["good"])
    same(h.state(waiting["id"]), "queued")
    h.expect(404, "POST", "/v1/tasks", {"type": "old", "args": {"from": "a", "to": "b"}})
    for name in ("old", "damaged"):
        define(h, name, COPY)
        submit(h, name, {"from": "a", "to": "b"})


if __name__ == "__main__":
    main(globals())
