#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Calls: an answer within the budget, or the same attempt going on; with a worker that the
test plays, so that it decides what ends when."""

import base64
import heapq
import json
import os
import random
import signal
import threading
import time

from house import Player, Wire, has, main, same

NOBODY = "/bin/false"
TRUE = {"argv": ["true"]}


def stamp(at):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"


def text(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def begin(h, config="concurrency: 4\n"):
    h.start(config, worker=NOBODY)
    return Player(h, h.get("/healthz")["version"])


def call(h, prefer=None, query="", body=None, headers=None):
    """Asks, and gives the connection on which the answer will come."""
    wire = Wire(h.socket)
    headers = dict(headers or {})
    if prefer is not None:
        headers["Prefer"] = prefer
    wire.send("POST", "/v1/call/shell" + query, TRUE if body is None else body, headers)
    return wire


def answer(wire, status):
    got = wire.answer()
    wire.close()
    assert got.status == status, f"{got.status} {got.headers} {got.body[:500]!r}, wanted {status}"
    return got


def run(w, result=None, took=0.0, **members):
    """Takes the next run and ends it."""
    order = w.order("run")
    end(w, order, result, took, **members)
    return order["task"]


def end(w, order, result=None, took=0.0, **members):
    w.started(order)
    now = time.time()
    members = {"result": None if result is None else text(result), "started_at": stamp(now - took),
               "finished_at": stamp(now), **members}
    same(w.finished(order, **members), [])


def test_the_results_own_bytes_are_the_answer(h):
    w = begin(h)
    for result, kind in [('{"a":  [1,\n 2]}', "application/json"),
                         ("7", "application/json"),
                         ("just text\n", "text/plain; charset=utf-8"),
                         ("", "text/plain; charset=utf-8"),
                         (b"\x00\xff\xfe", "application/octet-stream"),
                         ('["' + "x" * 5000 + '"]', "application/json"),  # read again: not small
                         (b"\xff" * 300000, "application/octet-stream")]:
        wire = call(h, "wait=60")
        task = run(w, result)
        got = answer(wire, 200)
        same(got.body, result if isinstance(result, bytes) else result.encode())
        same((got.headers["content-type"], got.headers["x-errand-task"]), (kind, str(task)))
    wire = call(h, "wait=60")
    task = run(w)
    got = answer(wire, 204)
    same((got.body, got.headers["x-errand-task"]), (b"", str(task)))


def test_a_real_worker_answers(h):
    h.start()
    same(h.expect(204, "POST", "/v1/call/shell", TRUE, {"Prefer": "wait=60"}).body, b"")
    problem = h.expect(500, "POST", "/v1/call/shell", {"argv": ["false"]},
                       {"Prefer": "wait=60"}).json
    same((problem["code"], problem["error"]["code"]), ("task-failed", "exit"))
    h.expect(202, "POST", "/v1/call/shell", {"argv": ["sleep", "1000"]}, {"Prefer": "wait=0.05"})


def test_past_the_budget_the_same_attempt_goes_on(h):
    w = begin(h)
    wire = call(h, "wait=0.05")
    order = w.order("run")
    w.started(order)
    got = answer(wire, 202)
    task = order["task"]
    same((got.headers["location"], got.headers["preference-applied"]),
         (f"/v1/tasks/{task}", "respond-async"))
    assert "x-errand-expected" not in got.headers
    same(got.json["id"], task)
    assert got.json["state"] in ("queued", "running"), got.json  # as it was when the time was over
    end(w, order, '"done"')
    t = h.end(task)
    same((t["state"], t["attempt"], t["result"]), ("completed", 1, "done"))
    same([o for o in w.orders if "cancel" in o or "run" in o], [])


def test_the_wait_in_the_queue_counts(h):
    w = begin(h)
    h.expect(200, "POST", "/v1/pause", {"queue": "q"})
    got = answer(call(h, "wait=0.05", "?queue=q&priority=3&correlation=c&text=0"), 202)
    same((got.json["state"], got.json["queue"], got.json["priority"], got.json["correlation_id"]),
         ("queued", "q", 3, "c"))
    h.expect(200, "POST", "/v1/resume", {"queue": "q"})
    same(run(w), got.json["id"])
    same(h.end(got.json["id"])["attempt"], 1)


def test_what_fails_or_is_cancelled_is_a_problem(h):
    w = begin(h)
    wire = call(h, "wait=60")
    task = run(w, exit_code=3)
    problem = answer(wire, 500).json
    same((problem["code"], problem["id"], problem["status"]), ("task-failed", task, 500))
    same((problem["error"]["class"], problem["error"]["message"]),
         ("retryable", "exited with code 3"))
    has(problem["detail"], f"task {task} failed: exited with code 3")
    wire = call(h, "wait=60")
    order = w.order("run")
    w.started(order)
    h.act(order["task"], "cancel")
    w.order("cancel", task=order["task"])
    w.finished(order, why="cancel", exit_code=None, signal=15)
    problem = answer(wire, 409).json
    same((problem["code"], problem["id"]), ("cancelled", order["task"]))
    h.expect(200, "POST", "/v1/pause", {"queue": "q"})
    wire = call(h, "wait=60", "?queue=q")
    task = h.until(lambda: h.get("/v1/tasks?queue=q")["tasks"], "the task")[0]["id"]
    h.act(task, "cancel")  # it never ran
    same(answer(wire, 409).json["id"], task)


def test_an_attempt_that_fails_is_not_the_end_of_a_call(h):
    w = begin(h)
    h.expect(200, "PUT", "/v1/types/shell", {"retries": 1, "backoff_s": 0})
    wire = call(h, "wait=60")
    first = run(w, exit_code=1)
    second = run(w, '"at last"')
    same(second, first)
    same(answer(wire, 200).json, "at last")
    same(h.task(first)["attempt"], 2)


def test_prefer_is_read_as_it_is_written(h):
    w = begin(h)
    h.expect(200, "POST", "/v1/pause", {"queue": "q"})  # nothing ends there
    for prefer in ("respond-async", "wait=0", "foo, Respond-Async;x=\"a,b\" , bar=1",
                   "handling=lenient; wait=60, wait=0, wait=60", "wait=\"0.0\"", "wait=.01",
                   None):  # nothing said: two seconds
        answer(call(h, prefer, "?queue=q"), 202)
    for prefer in ("wait=60", "respond-async, wait=60", "x=\"wait=0\", Wait = 60",
                   ",, y=\"\\\", wait=0, \" ;z ,wait=60.5;w=1", "return=minimal,\twait=\"60\","):
        wire = call(h, prefer)
        run(w, "1")
        same(answer(wire, 200).json, 1, prefer)
    for prefer in ("wait", "wait=", "wait=-1", "wait=3601", "wait=1e3", "wait=0x1",
                   "wait=99999999999999999999", "wait=.", "wait=1.0.0", "wait=\"a\""):
        h.refused(400, "Prefer", "seconds, 0 to 3600", "POST", "/v1/call/shell", TRUE,
                  {"Prefer": prefer})


def test_what_is_known_to_take_longer_goes_to_the_background_at_once(h):
    w = begin(h)
    wire = call(h, "wait=60")
    run(w, "1", took=7200)
    got = answer(wire, 200)
    same(h.get("/v1/tasks/" + got.headers["x-errand-task"])["state"], "completed")
    got = answer(call(h, "wait=3600"), 202)  # it would wait for an hour
    assert 7199 < float(got.headers["x-errand-expected"]) < 7201, got.headers
    run(w, "2", took=7200)
    wire = call(h, "wait=3600, errand-always")
    run(w, "3", took=7200)
    same(answer(wire, 200).json, 3)
    got = answer(call(h, "respond-async"), 202)
    assert "x-errand-expected" in got.headers
    run(w, "4", took=7200)
    h.kill(signal.SIGKILL)
    h.gone()
    h.start(None, worker=NOBODY)  # it is remembered
    answer(call(h, "wait=3600"), 202)


def test_the_definition_says_how_long_until_it_is_known(h):
    w = begin(h)
    h.expect(200, "PUT", "/v1/types/shell", {"expected_s": 7200})
    got = answer(call(h, "wait=3600"), 202)
    same(float(got.headers["x-errand-expected"]), 7200.0)
    run(w, "1", took=1)
    h.end(got.json["id"])
    wire = call(h, "wait=3600")  # what it really took counts from now on
    run(w, "2", took=1)
    same(answer(wire, 200).json, 2)


def test_arguments_are_those_of_the_type(h):
    w = begin(h)
    h.expect(200, "PUT", "/v1/types/add", {"command": ["add", "{n}", "{to}"], "parameters": [
        {"name": "n", "kind": "integer", "required": True, "min": 1},
        {"name": "to", "kind": "integer", "default": 7}]})
    for query, body in (("", {"n": 3}), ("?text=1", {"n": "3"})):
        wire = Wire(h.socket)
        wire.send("POST", "/v1/call/add" + query, body, {"Prefer": "wait=60"})
        order = w.order("run")
        same((order["type"], order["args"]["n"], order["args"]["to"]), ("add", 3, 7))
        end(w, order, "10")
        same(answer(wire, 200).json, 10)
    same(h.expect(400, "POST", "/v1/call/add", {"n": "3"}).json["field"], "n")
    same(h.expect(400, "POST", "/v1/call/add", {}).json["field"], "n")
    same(h.expect(400, "POST", "/v1/call/add?text=1", {"n": "x"}).json["field"], "n")
    h.refused(404, "type", "did you mean add", "POST", "/v1/call/ad", {"n": 3})
    same(len(h.get("/v1/tasks")["tasks"]), 2, "what is refused leaves nothing")


def test_a_key_asks_for_the_same_task_again(h):
    w = begin(h)
    task = answer(call(h, "wait=0.05", "?key=k"), 202).json["id"]
    first, second = call(h, "wait=60", "?key=k"), call(h, "wait=60", headers={"Idempotency-Key": "k"})
    order = w.order("run")
    same(order["task"], task)
    same(answer(call(h, "wait=0.05", "?key=k"), 202).json["id"], task)
    end(w, order, '"once"')
    for wire in (first, second, call(h, "wait=60", "?key=k")):
        got = answer(wire, 200)
        same((got.json, got.headers["x-errand-task"]), ("once", str(task)))
    same(answer(call(h, "respond-async", "?key=k"), 202).json["state"], "completed")
    same([o for o in w.orders if "run" in o], [])
    h.refused(409, "key", "another body", "POST", "/v1/call/shell?key=k", {"argv": ["false"]})


def test_who_hangs_up_loses_nothing(h):
    w = begin(h)
    wire = call(h, "wait=60", "?key=gone")
    order = w.order("run")
    w.started(order)
    wire.close()
    again = call(h, "wait=60", "?key=gone")
    end(w, order, '"kept"')
    same(answer(again, 200).json, "kept")
    same(h.task(order["task"])["attempt"], 1)


def test_refusals_are_those_of_a_submit(h):
    h.start(worker=NOBODY)
    h.refused(400, None, "not a JSON object", "POST", "/v1/call/shell", "[1]")
    h.refused(400, None, "JSON", "POST", "/v1/call/shell", '{"argv":["true"]},"queue":"q"')
    h.refused(400, "priority", "-1000 to 1000", "POST", "/v1/call/shell?priority=1001", TRUE)
    h.refused(400, "budget", "unknown parameter", "POST", "/v1/call/shell?budget=1", TRUE)
    h.refused(400, "queue", "empty", "POST", "/v1/call/shell?queue=", TRUE)
    h.refused(400, "correlation", "empty", "POST", "/v1/call/shell?correlation=", TRUE)
    h.refused(404, "parent", "no task 99", "POST", "/v1/call/shell?parent=99", TRUE)
    same(h.call("POST", "/v1/call/shell", {}).status, 400)
    h.expect(200, "PUT", "/v1/queues/q", {"size": 1})
    h.submit(queue="q")
    full = h.expect(429, "POST", "/v1/call/shell?queue=q", TRUE)
    same((full.json["code"], full.headers["retry-after"]), ("full", "1"))
    same(len(h.get("/v1/tasks")["tasks"]), 1, "what is refused leaves nothing")


class Robot(threading.Thread):
    """Plays the worker's part for many: ends each task after the time that it asks for, with
    its own token as the result."""

    def __init__(self, w):
        super().__init__(daemon=True)
        self.w, self.runs, self.ends, self.over = w, [], [], False

    def run(self):
        while not self.over or self.ends:
            with self.w.news:
                self.w.news.wait_for(lambda: any("run" in o for o in self.w.orders), 0.002)
                orders = [o["run"] for o in self.w.orders if "run" in o]
                self.w.orders = [o for o in self.w.orders if "run" not in o]
            now = time.time()
            for order in orders:
                self.runs.append(order["task"])
                _, token, ms = order["args"]["argv"]
                heapq.heappush(self.ends, (now + float(ms) / 1000, order["task"], order, token))
                self.w.started(order)
            while self.ends and self.ends[0][0] <= time.time():
                _, _, order, token = heapq.heappop(self.ends)
                same(self.w.finished(order, result=text(json.dumps(token)),
                                     started_at=stamp(now), finished_at=stamp(time.time())), [])


def test_a_document_has_all_members_of_a_submit(h):
    w = begin(h)
    doc = {"args": TRUE, "queue": "q", "tags": ["a", "b"], "meta": {"k": "v"}, "name": "a call",
           "retries": 7, "backoff_s": 3, "timeout_s": 600, "heartbeat_s": 60, "grace_s": 2,
           "expires_s": 900, "on_lost": "hold", "limit_key": "l", "cost": 4, "priority": 5,
           "correlation_id": "c", "cwd": "/", "env_set": {"V": "1"}}
    headers = {"Prefer": "wait=60", "Idempotency-Key": "k"}
    wire = Wire(h.socket)
    wire.send("POST", "/v1/call", doc, headers)
    task = run(w, '"done"')
    same(answer(wire, 200).json, "done")
    t = h.task(task)
    for name in doc:
        if name not in ("args", "expires_s", "env_set"):
            same((name, t[name]), (name, doc[name]))
    same((t["key"], t["type"], bool(t["expires_at"])), ("k", "shell", True))
    # the same again is the same task, whose answer is there; with another header it is a clash
    wire = Wire(h.socket)
    wire.send("POST", "/v1/call", doc, headers)
    same(answer(wire, 200).headers["x-errand-task"], str(task))
    h.refused(400, "key", "differ", "POST", "/v1/call", {**doc, "key": "l"}, headers)
    # what it waits for is part of the wait
    first = h.expect(201, "POST", "/v1/tasks", {"args": TRUE, "held": True}).json["id"]
    got = h.expect(202, "POST", "/v1/call", {"args": TRUE, "after": [first]},
                   {"Prefer": "wait=0.05"}).json
    same(got["state"], "blocked")
    wire = Wire(h.socket)
    wire.send("POST", "/v1/call", {"args": TRUE, "after": [{"id": first, "when": "any"}]},
              {"Prefer": "wait=60"})
    h.until(lambda: len(h.get("/v1/tasks?state=blocked")["tasks"]) == 2, "both wait")
    h.act(first, "cancel")
    run(w)
    answer(wire, 204)


def test_what_contradicts_a_call_is_refused_by_name(h):
    begin(h)
    for member, value in [("delay_s", 1), ("run_at", "2099-01-01T00:00:00Z"), ("held", True),
                          ("ref", "a"), ("after", [{"ref": "a"}])]:
        h.refused(400, member, " a call", "POST", "/v1/call", {"args": TRUE, member: value})
    h.refused(400, "delay", "unknown parameter", "POST", "/v1/call/shell?delay=1", TRUE)
    h.refused(400, "queue", "unknown parameter", "POST", "/v1/call?queue=q", {"args": TRUE})
    h.refused(400, "tag", "did you mean tags", "POST", "/v1/call", {"args": TRUE, "tag": ["a"]})
    same(h.get("/v1/tasks")["tasks"], [])


def test_at_the_edge_of_the_budget_there_is_one_answer_and_one_attempt(h):
    seed = int(os.environ.get("TEST_SEED", "1"))
    print(f"# seed {seed}", flush=True)
    w = begin(h, "concurrency: 16\n")
    robot = Robot(w)
    robot.start()
    calls, lock = [], threading.Lock()

    def caller(number):
        r = random.Random(seed + number)
        way = 5  # what the way to the worker and back takes: the edge is found by and by
        for turn in range(60):
            token = f"{number}.{turn}"
            ms = r.uniform(0, 30)
            budget = max(ms + way + r.uniform(-2, 2), 1)
            prefer = f"wait={budget / 1000:.4f}" + r.choice([", errand-always"] * 4 + [""])
            body = {"argv": ["x", token, f"{ms:.3f}"]}
            if r.random() < 0.1:
                call(h, prefer, body=body).close()  # may have been stored, or not
                continue
            wire = call(h, prefer, body=body)
            got = wire.answer()
            # nothing more comes on this connection: it still answers in turn
            wire.send("GET", "/healthz")
            same(wire.answer().status, 200)
            wire.close()
            way += 1 if got.status == 202 else -1
            with lock:
                calls.append((token, got))

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    h.until(lambda: not h.get("/v1/tasks?state=running,queued")["tasks"], "all to end")
    robot.over = True
    robot.join()
    tasks = {}
    for token, got in calls:
        assert got.status in (200, 202), f"{token}: {got.status} {got.body!r}"
        task = int(got.headers["x-errand-task"]) if got.status == 200 else got.json["id"]
        assert task not in tasks, f"task {task} answered two calls"
        tasks[task] = token
        if got.status == 200:
            same(got.json, token)
    same(len(robot.runs), len(set(robot.runs)), "each ran once")
    assert set(tasks) <= set(robot.runs)
    for task, token in tasks.items():
        t = h.task(task)
        same((t["state"], t["attempt"], t["result"]), ("completed", 1, token))
    kinds = [got.status for _, got in calls]
    print(f"# {kinds.count(200)} answered, {kinds.count(202)} in the background", flush=True)
    same([o for o in w.orders if "cancel" in o or "drop" in o], [])


if __name__ == "__main__":
    main(globals())
