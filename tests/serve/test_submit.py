#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""POST /v1/tasks: every member, every refusal, defaults of types, circles of names."""

import json
import time

from house import has, main, same

NOBODY = "/bin/false"  # no worker: what is submitted waits


def test_members_are_taken_and_shown(h):
    h.start(worker=NOBODY)
    first = h.submit()
    t = h.expect(201, "POST", "/v1/tasks", {
        "args": {"command": "make -j8"}, "name": "Build", "queue": "q", "limit_key": "k",
        "priority": 5, "cost": 7, "retries": 2, "backoff_s": 0.5, "on_lost": "hold",
        "timeout_s": 60, "grace_s": 1.5, "heartbeat_s": 30, "expires_s": 100, "key": "one",
        "correlation_id": "c-1", "parent": first, "tags": ["a"], "meta": {"k": "v"},
        "held": True, "after": [{"id": first, "when": "any"}], "delay_s": 50}).json
    for name, value in {
            "name": "Build", "queue": "q", "limit_key": "k", "priority": 5, "cost": 7,
            "retries": 2, "backoff_s": 0.5, "on_lost": "hold", "timeout_s": 60, "grace_s": 1.5,
            "heartbeat_s": 30, "key": "one", "correlation_id": "c-1", "parent": first,
            "tags": ["a"], "meta": {"k": "v"}, "held": True, "state": "paused",
            "pause_requested": False, "items_completed": 0, "items_failed": 0,
            "checkpoint": None,
            "after": [{"id": first, "when": "any", "state": "queued"}]}.items():
        same(t[name], value, name)
    assert t["expires_at"] > t["created_at"] and t["run_at"] > t["created_at"], t
    same(h.task(first)["timeout_s"], None)
    same(h.task(first)["cost"], 1)


def test_a_key_that_was_used(h):
    h.start(worker=NOBODY)
    body = {"args": {"argv": ["true"]}, "key": "k1"}
    first = h.expect(201, "POST", "/v1/tasks", body).json["id"]
    same(h.expect(200, "POST", "/v1/tasks", body).json["id"], first)
    same(h.expect(200, "POST", "/v1/tasks", {"args": body["args"]},
                  {"Idempotency-Key": "k1"}).json["id"], first)
    h.refused(409, "key", "was used for task", "POST", "/v1/tasks",
              {"args": {"argv": ["false"]}, "key": "k1"})
    h.refused(400, "key", "differ", "POST", "/v1/tasks", body, {"Idempotency-Key": "k2"})


def test_refusals_name_the_member(h):
    h.start(worker=NOBODY)
    argv = {"args": {"argv": ["true"]}}
    long = "x" * 1001
    for field, words, members in [
            ("delay_s", "delay_s and run_at are both given",
             {"delay_s": 1, "run_at": "2030-01-01T00:00:00Z"}),
            ("delay_s", "delay_s is not a number of seconds", {"delay_s": -1}),
            ("run_at", "run_at is not a time", {"run_at": "tomorrow"}),
            ("retries", "retries is not a number from 0 to 1000", {"retries": -1}),
            ("retries", "retries is not a number", {"retries": 1.5}),
            ("cost", "cost is not a number from 1", {"cost": 0}),
            ("cost", "cost is not a number from 1", {"cost": 1000000001}),
            ("heartbeat_s", "heartbeat_s is not a number of seconds", {"heartbeat_s": "1s"}),
            ("timeout_s", "timeout_s is not a number of seconds", {"timeout_s": -5}),
            ("expires_s", "expires_s is not a number of seconds", {"expires_s": -1}),
            ("backoff_s", "backoff_s is not a number", {"backoff_s": 1e12}),
            ("priority", "priority is not a number", {"priority": 1001}),
            ("limit_key", "1001 bytes long (at most 1000)", {"limit_key": long}),
            ("key", "1001 bytes long", {"key": long}),
            ("queue", "queue is empty", {"queue": ""}),
            ("queue", "control character", {"queue": "a\nb"}),
            ("on_lost", "run, fail, hold", {"on_lost": "retry"}),
            ("after", "after is not an array", {"after": 1}),
            ("after", "after is not an array", {"after": [{"id": 0}]}),
            ("after", "after is not an array", {"after": [-1]}),
            ("after", "when is not one of", {"after": [{"id": 1, "when": "done"}]}),
            ("after", "there is no task 77", {"after": [{"id": 77}]}),
            ("parent", "there is no task 78", {"parent": 78}),
            ("tags", "tags is not an array", {"tags": "a"}),
            ("meta", "'k' is not a string", {"meta": {"k": 1}}),
            ("held", "held is not true or false", {"held": 1}),
            ("retrys", "did you mean retries", {"retrys": 1}),
            ("type", "unknown type 'shel'", {"type": "shel"})]:
        code = 404 if "there is no" in words or field == "type" else 400
        h.refused(code, field, words, "POST", "/v1/tasks", {**argv, **members})
    h.refused(400, "args", "args is missing", "POST", "/v1/tasks", {})
    h.refused(400, "args.arg", "did you mean argv", "POST", "/v1/tasks", {"args": {"arg": []}})
    same(h.get("/v1/tasks")["tasks"], [])


def test_a_type_gives_defaults(h):
    h.start("retries: 1\nbackoff: 7s\n", worker=NOBODY)
    same(h.task(h.submit())["retries"], 1)
    same(h.task(h.submit())["backoff_s"], 7)
    h.expect(200, "PUT", "/v1/types/shell",
             {"retries": 4, "backoff_s": 2, "timeout_s": 90, "heartbeat_s": 9})
    t = h.task(h.submit())
    same([t[k] for k in ("retries", "backoff_s", "timeout_s", "heartbeat_s")], [4, 2, 90, 9])
    t = h.task(h.submit(retries=0, backoff_s=0, timeout_s=0, heartbeat_s=0))
    same([t[k] for k in ("retries", "backoff_s", "timeout_s", "heartbeat_s")], [0, 0, None, None])
    h.expect(200, "PUT", "/v1/types/shell", {"retries": None, "timeout_s": None})
    t = h.task(h.submit())
    same([t[k] for k in ("retries", "backoff_s", "timeout_s", "heartbeat_s")], [1, 2, None, 9])


def test_correlation_is_inherited(h):
    h.start(worker=NOBODY)
    parent = h.submit(correlation_id="c-9")
    same(h.task(h.submit(parent=parent))["correlation_id"], "c-9")
    same(h.task(h.submit(parent=parent, correlation_id="own"))["correlation_id"], "own")
    one, two = (h.task(h.submit())["correlation_id"] for _ in range(2))
    assert one != two and len(one) == 36, (one, two)


def test_circles_of_names_are_refused_with_their_chain(h):
    h.start(worker=NOBODY)
    rows = [{"ref": "a", "after": [{"ref": "b"}]}, {"ref": "b", "after": [{"ref": "c"}]},
            {"ref": "c", "after": [{"ref": "a"}]}, {"ref": "d", "after": [{"ref": "a"}]},
            {"ref": "e"}]
    answers = h.lines(*rows).lines
    for i in range(3):
        same(answers[i]["status"], 400)
        same(answers[i]["field"], "after")
        chain = answers[i]["chain"]
        same((chain[0], len(chain), sorted(chain[1:])), (chain[-1], 4, ["a", "b", "c"]))
        same(answers[i]["line"], i + 1)
    has(answers[0]["detail"], "waits for")
    same((answers[3]["status"], answers[3]["code"]), (409, "cancelled"))
    same(answers[4]["state"], "queued")
    problem = h.lines(*rows, atomic=True)
    same((problem.status, problem.json["line"], len(problem.json["chain"])), (400, 1, 4))
    same(len(h.get("/v1/tasks")["tasks"]), 1)
    same(h.lines({"ref": "x", "after": [{"ref": "x"}]}).lines[0]["chain"], ["x", "x"])
    alone = h.expect(400, "POST", "/v1/tasks",
                     {"args": {"argv": ["true"]}, "ref": "x", "after": [{"ref": "x"}]})
    same(alone.json["chain"], ["x", "x"])
    ring = [{"ref": f"r{i}", "after": [{"ref": f"r{(i + 1) % 5000}"}]} for i in range(5000)]
    answers = h.lines(*ring).lines
    same({a["status"] for a in answers}, {400})
    has(json.dumps(answers[0]["chain"]), '"..."')
    # two ways to one place are no circle
    diamond = [{"ref": "t"}, {"ref": "l", "after": [{"ref": "t"}]},
               {"ref": "r", "after": [{"ref": "t"}]},
               {"ref": "b", "after": [{"ref": "l"}, {"ref": "r"}]}]
    same([a["state"] for a in h.lines(*diamond).lines],
         ["queued", "blocked", "blocked", "blocked"])


def test_100000_dependencies_fit(h):
    h.start(worker=NOBODY)
    ids = [a["id"] for a in h.lines(*[{}] * 50000).lines] + \
          [a["id"] for a in h.lines(*[{}] * 50000).lines]
    task = h.submit(after=ids)
    t = h.task(task)
    same((t["state"], len(t["after"]), t["after_more"]), ("blocked", 100, True))
    has(h.why(task), "and for 99995 more")
    page = h.get(f"/v1/tasks/{task}/after?limit=1000&cursor=99500")
    same((len(page["after"]), page["next"], page["waiting"]), (500, None, 100000))
    same(page["after"][-1]["id"], ids[-1])
    problem = h.call("POST", "/v1/tasks", {"args": {"argv": ["true"]}, "after": ids + [1]})
    same((problem.status, problem.json["field"]), (400, "after"))


def test_run_at_is_a_moment_and_delay_a_span(h):
    h.start(worker=NOBODY)
    at = h.submit(run_at="2099-01-01T00:00:00Z")
    same((h.state(at), h.task(at)["run_at"]), ("scheduled", "2099-01-01T00:00:00.000Z"))
    same(h.state(h.submit(run_at="2001-01-01T00:00:00Z")), "queued")
    same(h.state(h.submit(delay_s=0)), "queued")
    before = time.time()
    t = h.task(h.submit(delay_s=100))
    same(t["state"], "scheduled")
    stamp = time.mktime(time.strptime(t["run_at"], "%Y-%m-%dT%H:%M:%S.%fZ")) - time.timezone
    assert before + 98 < stamp < time.time() + 102, t["run_at"]


def test_a_line_that_is_too_long_is_refused_and_the_others_told(h):
    h.start(worker="/bin/false")
    line = '{"args": {"argv": ["true"]}}\n'
    long = '{"args": {"argv": ["' + "x" * (3 << 20) + '"]}}\n'
    head = {"Content-Type": "application/x-ndjson"}
    for end in (line, "", long.rstrip("\n")):
        lines = h.expect(200, "POST", "/v1/tasks", line + long + long + end, head).lines
        same([a.get("state", a.get("code")) for a in lines],
             ["queued", "too-big", "too-big"] + ([] if not end else ["queued" if end == line else "too-big"]))
        same([(a["status"], a["line"]) for a in lines[1:3]], [(413, 2), (413, 3)])
        has(lines[1]["detail"], "larger than 2097152 bytes")
    before = h.get("/v1/tasks?limit=1")["counts"]["queued"]
    same(before, 4)
    h.refused(413, None, "line 2: the line is larger than", "POST", "/v1/tasks?atomic=1", line + long + line, head)
    same(h.get("/v1/tasks?limit=1")["counts"]["queued"], before)
    topic = '{"topic": "a"}\n'
    h.refused(413, None, "a line is larger than", "POST", "/v1/events", topic + long, head)


def test_lines_beyond_the_bound_are_refused_and_the_others_told(h):
    h.start(worker="/bin/false")
    line = '{"args": {"argv": ["true"]}}\n'
    head = {"Content-Type": "application/x-ndjson"}
    lines = h.expect(200, "POST", "/v1/tasks", line * 100002, head).lines
    same(len(lines), 100002)
    same(len({a["id"] for a in lines[:100000]}), 100000)
    same([(a["status"], a["code"], a["line"]) for a in lines[100000:]],
         [(413, "too-big", 100001), (413, "too-big", 100002)])
    before = h.get("/v1/tasks?limit=1")["counts"]["queued"]
    same(before, 100000)
    h.refused(413, None, "more than 100000 lines", "POST", "/v1/tasks?atomic=1", line * 100001, head)
    same(h.get("/v1/tasks?limit=1")["counts"]["queued"], before)


def test_what_is_too_large_is_called_as_it_was_given(h):
    h.start()
    large = "x" * 1100000
    for field, words, body in [
            ("args", "'command' has 1100002", {"args": {"command": large}}),
            ("args_text", "'command' has 1100002", {"args_text": {"command": large}}),
            ("env", "env_deny", {"args": {"argv": ["true"]}, "env": {"A": large}}),
            ("env_set", "env_set makes", {"args": {"argv": ["true"]}, "env_set": {"A": large}}),
            ("meta", "at most 65536", {"args": {"argv": ["true"]}, "meta": {"a": large}}),
            ("args.stdin", "not a string", {"args": {"argv": ["true"], "stdin": 7}}),
            ("args.argv[1]", "not a string", {"args": {"argv": ["true", 7]}})]:
        h.refused(400, field, words, "POST", "/v1/tasks", body)


def test_a_task_is_found_by_its_key(h):
    h.start()
    task = h.submit(key="nightly 2026/11&22+é", held=True)
    h.submit(key="nightly", held=True)
    page = h.get("/v1/tasks?key=nightly%202026/11%2622%2B%C3%A9")
    same(([t["id"] for t in page["tasks"]], page["next"]), ([task], None))
    same(h.get("/v1/tasks?key=night")["tasks"], [])
    same(h.get("/v1/tasks?key=nightly&queue=other")["tasks"], [])
    same(len(h.get("/v1/tasks?key=nightly&view=default")["tasks"]), 1)
    h.refused(400, "key", "empty", "GET", "/v1/tasks?key=")
    h.refused(400, "key", "longer than 1000", "GET", "/v1/tasks?key=" + "x" * 1001)


main(globals())
