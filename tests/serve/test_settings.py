#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Queues, limit keys, types, switches; stats, metrics, readiness, checks."""

import re
import resource
import threading

from house import has, main, same

NOBODY = "/bin/false"
FOREVER = "echo $$ >pid; exec sleep 1000"


def test_queue_settings_merge(h):
    h.start(worker=NOBODY)
    q = h.expect(200, "PUT", "/v1/queues/q", {"concurrency": 2, "size": 5, "rates": [
        "60/1m", {"n": 90000, "per_s": 60, "counts": "starts", "burst": 10}]}).json
    same((q["concurrency"], q["size"], q["paused"], q["running"]), (2, 5, False, 0))
    same([(r["n"], r["per_s"], r["burst"], r["counts"], r["text"]) for r in q["rates"]],
         [(60, 60, 1, "cost", "60/1m"), (90000, 60, 10, "starts", "90000/1m:burst=10:starts")])
    assert all("level" in r and "open_at" in r for r in q["rates"]), q
    q = h.expect(200, "PUT", "/v1/queues/q", {"paused": True}).json
    same((q["concurrency"], q["size"], q["paused"], len(q["rates"])), (2, 5, True, 2))
    q = h.expect(200, "PUT", "/v1/queues/q", {"rates": None, "size": None, "concurrency": 0}).json
    same((q["concurrency"], q["size"], q["paused"], q["rates"]), (None, None, True, []))
    same(h.get("/v1/queues/q")["paused"], True)
    same([q["name"] for q in h.get("/v1/queues")["queues"]], ["default", "q"])


def test_names_are_those_that_addresses_can_hold(h):
    h.start(worker=NOBODY)
    for place in ("queues", "limits", "cursors"):
        body = {"seq": 1} if place == "cursors" else {"concurrency": 2}
        for name in (".", "..", "%2e%2e", "a%0ab", "x" * 1001):
            h.refused(400, "name", "the name of a", "PUT", f"/v1/{place}/{name}", body)
        h.expect(404, "PUT", f"/v1/{place}/x/", body)
        for name in ("https:%2F%2Fx%2Fy", "a/b", "...", "a%2F..%2Fb"):
            made = h.expect(200, "PUT", f"/v1/{place}/{name}", body).json
            same(h.get(f"/v1/{place}/{name}"), made, name)
            h.expect(204, "DELETE", f"/v1/{place}/{name}")
    for member in ("queue", "limit_key"):
        for name, words in (("..", "'.' or '..'"), (".", "'.' or '..'"), ("a/", "ends with"), ("", "is empty")):
            h.refused(400, member, words, "POST", "/v1/tasks", {"args": {"argv": ["true"]}, member: name})
    task = h.expect(201, "POST", "/v1/tasks", {"args": {"argv": ["true"]}, "queue": "a/b", "held": True}).json
    h.refused(400, "queue", "'.' or '..'", "PATCH", f"/v1/tasks/{task['id']}", {"queue": ".."})
    h.expect(404, "POST", f"/v1/tasks/{task['id']}/cancel/x")
    same([q["name"] for q in h.get("/v1/queues")["queues"]], ["default", "a/b"])


def test_two_writers_of_one_queue_lose_nothing(h):
    h.start(worker=NOBODY)
    bodies = [{"concurrency": 3}, {"size": 7}, {"rates": ["5/1s"]}, {"paused": True}]
    for turn in range(20):
        h.expect(200, "PUT", "/v1/queues/q",
                 {"concurrency": None, "size": None, "rates": None, "paused": False})
        threads = [threading.Thread(target=h.expect, args=(200, "PUT", "/v1/queues/q", body))
                   for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        q = h.get("/v1/queues/q")
        same((q["concurrency"], q["size"], len(q["rates"]), q["paused"]), (3, 7, 1, True),
             f"turn {turn}")


def test_settings_are_checked(h):
    h.start(worker=NOBODY)
    for what in ("/v1/queues/q", "/v1/limits/k"):
        for field, words, body in [
                ("concurrency", "a whole number from 0", {"concurrency": -1}),
                ("concurrency", "a whole number from 0", {"concurrency": "2"}),
                ("concurrency", "a whole number from 0", {"concurrency": 1 << 40}),
                ("rates", "rates is not an array", {"rates": "1/1s"}),
                ("rates", "invalid rate 'fast'", {"rates": ["fast"]}),
                ("rates", "rates[1]: n is 0", {"rates": ["1/1s", {"n": 0, "per_s": 1}]}),
                ("rates", "at most 4", {"rates": ["1/1s"] * 5}),
                ("rate", "did you mean rates", {"rate": ["1/1s"]})]:
            h.refused(400, field, words, "PUT", what, body)
        h.refused(404, None, "there is no", "GET", what)
        h.refused(404, None, "has no settings", "DELETE", what)
        h.refused(400, "name", "at most 1000 bytes", "PUT", what[:-1] + "x" * 1001, {})
        h.refused(400, "name", "control character", "PUT", what[:-1] + "a%0ab", {})
    h.refused(400, "paused", "true or false", "PUT", "/v1/queues/q", {"paused": 1})
    h.refused(400, "size", "a whole number", "PUT", "/v1/queues/q", {"size": -1})
    h.refused(400, "size", "unknown member", "PUT", "/v1/limits/k", {"size": 1})
    h.refused(400, None, "invalid JSON", "PUT", "/v1/queues/q", "{")


def test_a_queue_with_unfinished_tasks_is_not_removed(h):
    h.start(worker=NOBODY)
    h.expect(200, "PUT", "/v1/queues/q", {"concurrency": 1})
    task = h.submit(queue="q")
    h.refused(409, None, "not finished (errand cancel --queue q ends them)", "DELETE", "/v1/queues/q")
    same(h.get("/v1/queues/q")["concurrency"], 1)
    h.act(task, "cancel")
    h.expect(204, "DELETE", "/v1/queues/q")
    same(h.get("/v1/queues/q")["concurrency"], None)  # known by what was in it


def test_a_full_queue_refuses(h):
    h.start(worker=NOBODY)
    h.expect(200, "PUT", "/v1/queues/q", {"size": 2})
    h.submit(queue="q"), h.submit(queue="q")
    answer = h.expect(429, "POST", "/v1/tasks", {"args": {"argv": ["true"]}, "queue": "q"})
    same((answer.json["code"], answer.headers["retry-after"]), ("full", "1"))
    has(answer.json["detail"], "queue 'q' is full: 2 queued tasks (max: 2)")


def test_limits_live_and_die_with_attempts(h):
    h.start("concurrency: 4\n")
    limit = h.expect(200, "PUT", "/v1/limits/k", {"concurrency": 1}).json
    same((limit["key"], limit["concurrency"], limit["running"]), ("k", 1, 0))
    first = h.sh(FOREVER, limit_key="k")
    h.file("pid")
    second = h.submit(limit_key="k")
    has(h.why(second), "'k'")
    same(h.get("/v1/limits/k")["running"], 1)
    same(h.get("/v1/stats")["limits"][0]["running"], 1)
    same(h.state(second), "queued")
    same(h.end(h.submit())["state"], "completed")  # others go past
    h.expect(200, "PUT", "/v1/limits/k", {"concurrency": 2})
    same(h.end(second)["state"], "completed")
    h.expect(200, "PUT", "/v1/limits/k", {"concurrency": 1})  # lowered: ends nothing
    same(h.state(first), "running")
    h.expect(204, "DELETE", "/v1/limits/k")
    same(h.end(h.submit(limit_key="k"))["state"], "completed")
    same(h.get("/v1/limits")["limits"], [])
    h.act(first, "cancel", wait=190)


def test_rates_say_until_when(h):
    h.start()
    h.expect(200, "PUT", "/v1/limits/k", {"rates": ["1/1000s:starts"]})
    task = h.submit(limit_key="k")
    limit = h.until(lambda: (lambda l: l if l["open_at"] else None)(h.get("/v1/limits/k")),
                    "a rate that holds something back")
    same(limit["rates"][0]["open_at"], limit["open_at"])
    same(limit["rates"][0]["level"] < 1, True)
    same(h.state(task), "queued")
    why = h.why(task)
    has(why, "'k'")
    has(why, limit["open_at"][:16])
    h.expect(200, "PUT", "/v1/limits/k", {"rates": None})
    same(h.end(task)["state"], "completed")


def test_limits_name_who_waits_for_what_and_until_when(h):
    h.start("concurrency: 4\n")
    h.expect(200, "PUT", "/v1/limits/k", {"concurrency": 1})
    h.expect(200, "PUT", "/v1/limits/idle", {"concurrency": 1})
    h.expect(200, "PUT", "/v1/limits/r", {"rates": ["1/1000s:starts"]})
    h.sh(FOREVER, limit_key="k")
    h.file("pid")
    ids = [h.submit(limit_key="k", queue="other" if i % 2 else "default", name=f"n{i}") for i in range(12)]
    held = h.submit(limit_key="k", held=True)
    limit = h.get("/v1/limits/k")
    same((limit["running"], limit["waiting"]), (1, 12))
    same([w["id"] for w in limit["waiters"]], ids[:10])
    same(limit["waiters"][0], {"id": ids[0], "name": "n0", "until": None,
                               "waiting_for": "limit key 'k' runs 1 of at most 1 task"})
    same([(o["key"], o["waiting"], "waiters" in o) for o in h.get("/v1/limits")["limits"]],
         [("idle", 0, False), ("k", 12, False), ("r", 0, False)])
    q = h.get("/v1/queues/other")
    same((q["waiting"], [w["id"] for w in q["waiters"]]), (6, ids[1::2]))
    task = h.submit(limit_key="r")
    r = h.until(lambda: (lambda l: l if l["open_at"] else None)(h.get("/v1/limits/r")), "a rate that holds back")
    same((r["waiting"], r["waiters"][0]["id"]), (1, task))
    same(r["waiters"][0]["until"][:16], r["open_at"][:16])
    same(h.get(f"/v1/tasks/{task}/why")["until"][:16], r["open_at"][:16])
    t = h.get("/v1/types/shell")
    same((t["waiting"], len(t["waiters"]), held in [w["id"] for w in t["waiters"]]), (13, 10, False))


def test_types(h):
    h.start(worker=NOBODY)
    built_in = ["shell", "sh", "bash", "sleep", "wait", "file.hash", "http.request"]
    same([t["name"] for t in h.get("/v1/types")["types"]], built_in)
    has(h.get("/v1/types/shell")["help"], "runs a command")
    t = h.expect(200, "PUT", "/v1/types/shell", {"concurrency": 2, "help": "a command",
                                                 "exit_codes": {"3": "fatal"}}).json
    same((t["concurrency"], t["help"], t["exit_codes"], t["running"]),
         (2, "a command", {"3": "fatal"}, 0))
    t = h.expect(200, "PUT", "/v1/types/shell", {"success_percent": 50, "help": None}).json
    same((t["concurrency"], t.get("help"), t["success_percent"]), (2, None, 50))
    h.expect(200, "PUT", "/v1/types/fetch", {"rate_limit_s": 5})
    same([t["name"] for t in h.get("/v1/types")["types"]], built_in + ["fetch"])
    same(h.get("/v1/types/fetch")["rate_limit_s"], 5)
    h.expect(204, "DELETE", "/v1/types/fetch")
    h.refused(404, None, "has no settings", "DELETE", "/v1/types/fetch")
    h.refused(404, None, "unknown type 'shel' (did you mean shell?)", "GET", "/v1/types/shel")
    h.expect(204, "DELETE", "/v1/types/shell")
    assert "concurrency" not in h.get("/v1/types/shell")
    for field, words, body in [
            ("retries", "retries is -1", {"retries": -1}),
            ("success_percent", "0 to 100", {"success_percent": 101}),
            ("exit_codes", "'256' is not an exit code", {"exit_codes": {"256": "fatal"}}),
            ("exit_codes", "completed, retryable", {"exit_codes": {"1": "ok"}}),
            ("timeout", "did you mean timeout_s", {"timeout": 1})]:
        h.refused(400, field, words, "PUT", "/v1/types/shell", body)


def test_exit_codes_of_a_type_decide(h):
    h.start()
    h.expect(200, "PUT", "/v1/types/shell", {"exit_codes": {"3": "fatal", "24": "completed"}})
    t = h.end(h.sh("exit 3", retries=5))
    same((t["state"], t["attempt"], t["error"]["class"]), ("failed", 1, "fatal"))
    same(h.end(h.sh("exit 24"))["state"], "completed")


def test_definitions_outlive_the_daemon(h):
    h.start(worker=NOBODY)
    h.expect(200, "PUT", "/v1/types/shell", {"retries": 9})
    h.expect(200, "PUT", "/v1/limits/k", {"concurrency": 3, "rates": ["7/1m"]})
    h.expect(200, "PUT", "/v1/queues/q", {"paused": True, "rates": ["8/1m"]})
    h.daemon.kill()
    h.gone()
    h.start(worker=NOBODY)
    same(h.task(h.submit())["retries"], 9)
    same(h.get("/v1/limits/k")["rates"][0]["n"], 7)
    same((h.get("/v1/queues/q")["paused"], h.get("/v1/queues/q")["rates"][0]["n"]), (True, 8))


def test_switches(h):
    h.start()
    running = h.sh(FOREVER, queue="q")
    h.file("pid")
    same(h.expect(200, "POST", "/v1/pause", {"queue": "q"}).json, {"paused": True, "told": 1})
    h.wait(running, state="paused")
    later = h.submit(queue="q")
    same(h.get("/v1/queues/q")["paused"], True)
    same(h.end(h.submit())["state"], "completed")
    same(h.state(later), "queued")
    same(h.expect(200, "POST", "/v1/resume", {"queue": "q"}).json, {"paused": False, "told": 1})
    h.wait(running, state="running")
    same(h.end(later)["state"], "completed")
    h.expect(200, "POST", "/v1/pause", {"all": True, "free_slot": True})
    h.wait(running, pid=None)
    same(h.get("/v1/stats")["daemon"]["all_paused"], True)
    same(h.get("/v1/queues")["all_paused"], True)
    problem = h.expect(503, "GET", "/readyz").json
    has(problem["detail"], "everything is paused")
    h.expect(200, "POST", "/v1/resume", {"all": True})
    h.wait(running, state="running")
    h.act(running, "cancel", wait=190)
    for body, field in (({}, "queue"), ({"queue": "q", "all": True}, "queue"),
                        ({"all": False}, "queue"), ({"queue": ""}, "queue"), ({"all": 1}, "all"),
                        ({"all": True, "free_slot": 1}, "free_slot"), ({"al": True}, "al")):
        same(h.expect(400, "POST", "/v1/pause", body).json["field"], field)
    same(h.expect(400, "POST", "/v1/resume", {"all": True, "free_slot": True}).json["field"],
         "free_slot")


def test_metrics_are_well_formed(h):
    h.start()
    h.end(h.submit(queue='q"uo\\te'))
    answer = h.expect(200, "GET", "/metrics")
    has(answer.headers["content-type"], "version=0.0.4")
    helped, values = set(), {}
    for line in answer.body.decode().splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif not line.startswith("#"):
            m = re.fullmatch(r'([a-z_]+)(\{([a-z]+="([^"\\]|\\.)*",?)+\})? (-?[0-9.]+)', line)
            assert m and m[1] in helped, line
            values.setdefault(m[1], []).append(float(m[5]))
    for name in ("errand_tasks", "errand_facts_published_total", "errand_store_commits_total",
                 "errand_store_failures_total", "errand_store_refuses", "errand_claims_total",
                 "errand_attempts_finished_total", "errand_attempts_running",
                 "errand_subscribers", "errand_sessions", "errand_worker_restarts_total",
                 "errand_all_paused", "errand_draining"):
        assert name in values, name
    same(values["errand_attempts_finished_total"], [1.0])
    assert len(helped) == len(values), helped ^ set(values)


def test_ready_when_there_is_progress(h):
    h.start(worker=NOBODY)
    same(h.expect(200, "GET", "/healthz").json["status"], "ok")
    has(h.expect(503, "GET", "/readyz").json["detail"], "no worker")
    h.daemon.kill()
    h.gone()
    h.start()
    same(h.expect(200, "GET", "/readyz").json["status"], "ready")


def test_doctor(h):
    h.start()
    h.end(h.sh("echo out"))
    checks = {c["name"]: c for c in h.get("/v1/doctor")["checks"]}
    for name in ("store", "store-writes", "disk-space", "logs", "worker", "clock", "open-files",
                 "processes", "socket"):
        assert name in checks and checks[name]["detail"], name
    assert checks["store"]["ok"] and checks["worker"]["ok"] and checks["socket"]["ok"], checks
    has(checks["worker"]["detail"], "version")
    has(checks["logs"]["detail"], "in 1 files")
    has(checks["clock"]["detail"], "not set since")
    import os
    os.chmod(h.socket, 0o666)
    check = {c["name"]: c for c in h.get("/v1/doctor")["checks"]}["socket"]
    same(check["ok"], False)
    has(check["advice"], "chmod 600")


def test_doctor_tells_of_a_small_limit_on_the_size_of_files(h):
    h.start(worker=NOBODY)
    pid = h.daemon.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    for limit, ok, detail in ((512 << 20, False, "524288 KiB at most"), ((1 << 30) - 1, False, "KiB at most"),
                              (1 << 30, True, "1048576 KiB at most")):
        if hard != resource.RLIM_INFINITY and hard < limit:
            continue
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
        check = {c["name"]: c for c in h.get("/v1/doctor")["checks"]}["file-size"]
        same(check["ok"], ok, limit)
        has(check["detail"], detail)
        if not ok:
            has(check["advice"], "LimitFSIZE=infinity")


def test_routes_refuse_what_they_do_not_know(h):
    h.start(worker=NOBODY)
    routes = h.get("/v1")["routes"]
    paths = {(r["method"], r["path"]) for r in routes}
    for route in (("POST", "/v1/pause"), ("POST", "/v1/resume"), ("GET", "/v1/limits"),
                  ("PUT", "/v1/types/{name}"), ("GET", "/v1/tasks/{id}/why")):
        assert route in paths, route
    for route in routes:
        target = route["path"].replace("{id}", "1").replace("{name}", "pause")
        problem = h.expect(400, route["method"], target + "?nonsense=1").json
        same(problem["field"], "nonsense", target)
    for target in ("/v1/pause", "/v1/limits"):
        same(h.call("DELETE", target).status, 405)
    same(h.call("GET", "/v1/nothing").status, 404)


main(globals())
