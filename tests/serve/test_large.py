#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is large: results, arguments, environments. It takes its time, is bounded, and stands in
nobody's way."""

import json

from house import Player, has, main, same

NOBODY = "/bin/false"
# Says a result of that many bytes, in parts: bytes that JSON escapes to six times their number.
RESULT = """
import base64, json, os, sys
left = int(sys.argv[1])
with os.fdopen(int(os.environ["ERRAND_PROGRESS_FD"]), "w") as out:
    n = 0
    while left > 0:
        part = min(left, 600000)
        left -= part
        out.write(json.dumps({"result_part": {
            "id": "r", "n": n, "last": left == 0,
            "base64": base64.b64encode(b"\\1" * part).decode()}}) + "\\n")
        n += 1
"""


def say_result(h, size):
    """The id of a task that has completed with such a result."""
    with open(h.path("result.py"), "w", encoding="utf-8") as out:
        out.write(RESULT)
    task = h.submit("python3", h.path("result.py"), str(size))
    same(h.get(f"/v1/tasks/{task}?wait=190&brief=1"), {"id": task, "state": "completed"})
    return task


def results_of(h, task):
    """What the attempt of a task finds of what it waited for."""
    after = h.sh('cp "$ERRAND_AFTER_RESULTS" got.json', after=[task])
    other = h.submit("true")
    same(h.end(other)["state"], "completed")
    same(h.end(after)["state"], "completed")
    with open(h.path("got.json"), encoding="utf-8") as got:
        return json.load(got)[str(task)]


def test_a_result_that_grows_stops_nobody(h):
    h.start()
    size = 15000000
    got = results_of(h, say_result(h, size))
    same((got["state"], got["result"], got["result_bytes"]), ("completed", None, size))


def test_a_result_as_large_as_is_given(h):
    h.start()
    size = 5000000
    got = results_of(h, say_result(h, size))
    same((got["result_bytes"], got["result"] == "\1" * size), (size, True))


def test_a_burst_of_large_orders(h):
    h.start("concurrency: 100\n")
    h.expect(200, "PUT", "/v1/queues/q", {"paused": True})
    argv = ["true"] + ["x" * 100000] * 9
    tasks = [h.submit(*argv, queue="q") for _ in range(100)]
    h.expect(200, "PUT", "/v1/queues/q", {"paused": False})
    for task in tasks:
        same(h.get(f"/v1/tasks/{task}?wait=190&brief=1")["state"], "completed")
    assert "broken off" not in h.log(), h.log()


def play_one(h, w, letter):
    """One task with an environment of its own of 1 MB, as its worker sees it."""
    task = h.submit(env={"X": letter * 1000000})
    run = w.order("run", task=task)
    w.started(run)
    w.finished(run)
    return run["env"]


def test_environments_are_forgotten_beyond_a_bound(h):
    h.start(worker=NOBODY)
    w = Player(h, h.get("/healthz")["version"])
    letters = "abcdefghijklmnopqrst"  # 20 MB, of which 16 MiB are kept
    ids = []
    for letter in letters:
        ids.append(play_one(h, w, letter))
        w.order("env", id=ids[-1])
        play_one(h, w, letters[0])  # is never the one that was named longest ago
    same(len(set(ids)), len(letters))
    gone = sorted(order["forget_env"]["id"] for order in w.orders if "forget_env" in order)
    same(gone, sorted(ids[1:5]))
    same(play_one(h, w, letters[1]), ids[1])  # it is told again
    w.order("env", id=ids[1])
    same(play_one(h, w, letters[-1]), ids[-1])
    same([order for order in w.orders if "env" in order], [])


def pages(h, query, limit=1000):
    """All ids that the pages of a list have, and how many pages there were."""
    ids, cursor, n = [], "", 0
    while cursor is not None:
        page = h.get(f"/v1/tasks?limit={limit}{query}{cursor and '&cursor=' + cursor}")
        ids += [t["id"] for t in page["tasks"]]
        cursor, n = page["next"], n + 1
    return ids, n


def test_lists_of_large_tasks_go_on(h):
    h.start(worker=NOBODY, config="concurrency: 40\n")
    argv = ["true"] + ["x" * 100000] * 9
    tasks = [h.submit(*argv) for _ in range(80)]
    ids, n = pages(h, "")
    same(ids, tasks[::-1])
    assert n > 5, n
    w = Player(h, h.get("/healthz")["version"])
    h.wait(tasks[39], state="running")  # more than a page of those that run
    ids, n = pages(h, "&view=default")
    same(sorted(ids), tasks)
    ids, n = pages(h, "&view=default", limit=5)
    same(sorted(ids), tasks)
    assert w.order("run", task=tasks[39])
    for cursor in ("0", "-5", "x"):
        h.refused(400, "cursor", "", "GET", f"/v1/tasks?cursor={cursor}")


def test_a_task_with_a_large_result_is_shown(h):
    h.start()
    large, small = say_result(h, 15000000), say_result(h, 1000000)
    t = h.end(large)
    same((t["state"], t["result"], t["result_bytes"]), ("completed", None, 15000000))
    same(len(h.expect(200, "GET", f"/v1/tasks/{large}/result").body), 15000000)
    t = h.task(small)
    same((t["result_bytes"], t["result"] == "\1" * 1000000), (1000000, True))
    after = h.submit(after=[large, small])
    got = h.get(f"/v1/tasks/{after}/after?results=1")["after"]
    same([(a["result"] is None, a["result_bytes"]) for a in got],
         [(True, 15000000), (False, 1000000)])
    same(h.task(after)["result_bytes"], None)


def test_a_command_that_grows_is_an_error_of_its_task(h):
    h.start()
    h.expect(200, "PUT", "/v1/types/grow", {
        "command": ["true"] + ["{a}"] * 9, "parameters": [{"name": "a", "kind": "string"}]})
    h.expect(200, "PUT", "/v1/types/escape", {
        "command": ["true"] + ["{a}"] * 20, "parameters": [{"name": "a", "kind": "string"}]})
    grow = h.expect(201, "POST", "/v1/tasks", {"type": "grow", "args": {"a": "x" * 600000}}).json
    escape = h.expect(201, "POST", "/v1/tasks",
                      {"type": "escape", "args": {"a": "\1" * 170000}}).json
    for task, words in ((grow, "longer than 4 MiB"), (escape, "larger than 8 MiB as JSON")):
        h.get(f"/v1/tasks/{task['id']}?wait=190&brief=1")
        attempt = h.get(f"/v1/tasks/{task['id']}/attempts")["attempts"][0]
        has(attempt["error"]["message"], words)
    same(h.end(h.submit("true"))["state"], "completed")


if __name__ == "__main__":
    main(globals())
