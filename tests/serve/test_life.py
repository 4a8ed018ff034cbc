#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Changes of a task by request: pauses, edits, retries, many at once; items, dependencies and
`why` in every state."""

import os
import re
import shutil
import signal
import stat
import threading

from house import Player, has, main, same

NOBODY = "/bin/false"
FOREVER = "echo $$ >pid; exec sleep 1000"


def stopped(h, name="pid"):
    with open(f"/proc/{h.file(name)}/stat", encoding="utf-8") as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "T"


def test_pause_in_place_and_resume(h):
    h.start()
    task = h.sh(FOREVER)
    h.file("pid")
    t = h.act(task, "pause", wait=190)
    same((t["state"], t["held"], t["pause_requested"], t["attempt"]), ("paused", True, False, 1))
    same(t["pid"], int(h.file("pid")))
    assert stopped(h)
    has(h.why(task), "processes stopped")
    has(t["waiting_for"], f"errand resume {task}")
    same(h.act(task, "pause")["state"], "paused")  # so already
    h.refused(409, None, "it is paused", "PATCH", f"/v1/tasks/{task}", {"priority": 1})
    t = h.act(task, "resume", wait=190)
    same((t["state"], t["attempt"], t["failures"]), ("running", 1, 0))
    assert not stopped(h)
    h.act(task, "pause", wait=190)
    same(h.act(task, "cancel", wait=190)["state"], "cancelled")


def test_pause_is_on_its_way_until_the_worker_says_so(h):
    h.start(worker=NOBODY)
    w = Player(h, h.get("/healthz")["version"])
    task = h.submit()
    run = w.order("run", task=task)
    w.started(run)
    t = h.act(task, "pause")
    same((t["state"], t["pause_requested"]), ("running", True))
    has(h.why(task), "its processes are being stopped")
    t = h.act(task, "pause", wait=0.1)  # the time is over: as it is then
    same((t["state"], t["pause_requested"]), ("running", True))
    w.order("pause", task=task)
    w.report({"paused": {"task": task, "attempt": 1}})
    t = h.wait(task, state="paused")
    same(t["pause_requested"], False)
    h.act(task, "resume")
    w.order("resume", task=task)
    has(h.why(task), "being let go on")
    w.report({"resumed": {"task": task, "attempt": 1}})
    h.wait(task, state="running")
    w.finished(run)
    same(h.end(task)["state"], "completed")


def test_pause_with_free_slot(h):
    h.start("concurrency: 1\n")
    task = h.sh(FOREVER)
    h.file("pid")
    h.act(task, "pause", {"free_slot": True})
    t = h.wait(task, state="paused", pid=None)
    same((t["held"], t["failures"], t["losses"]), (True, 0, 0))
    has(h.why(task), f"errand resume {task}")
    same(h.end(h.submit())["state"], "completed")  # the slot is free
    os.unlink(h.path("pid"))
    h.act(task, "resume")
    h.file("pid")
    same(h.wait(task, state="running")["attempt"], 2)
    h.act(task, "cancel", wait=190)


def test_bodies_of_actions_are_checked(h):
    h.start(worker=NOBODY)
    task = h.submit()
    post = ("POST", f"/v1/tasks/{task}/")
    h.refused(400, "free_slot", "goes with pause only", "POST", post[1] + "cancel",
              {"free_slot": True})
    h.refused(400, "hold", "goes with requeue only", "POST", post[1] + "pause", {"hold": True})
    h.refused(400, "free_slot", "not true or false", "POST", post[1] + "pause", {"free_slot": 1})
    h.refused(400, "freeslot", "did you mean free_slot", "POST", post[1] + "pause",
              {"freeslot": True})
    h.refused(400, "wait", "seconds", "POST", post[1] + "pause?wait=soon")
    h.refused(404, None, "did you mean pause", "POST", post[1] + "pouse")
    h.refused(404, None, "there is no task 99", "POST", "/v1/tasks/99/pause")
    same(h.act(task, "pause")["state"], "paused")
    same(h.act(task, "resume")["state"], "queued")
    h.act(task, "cancel")
    for action in ("pause", "resume", "cancel"):
        problem = h.refused(409, None, f"errand retry {task}", "POST", post[1] + action)
        same(problem["state"], "cancelled")
    h.refused(409, None, "not running", "POST", post[1] + "requeue")


def test_retry_says_how_many_dependents_stay_cancelled(h):
    h.start()
    first = h.sh("exit 3")
    second = h.submit(after=[first])
    h.submit(after=[second])
    t = h.end(first)
    same((t["state"], t["exit_code"]), ("failed", 3))
    h.wait(second, state="cancelled")
    h.refused(409, None, "it is failed", "POST", f"/v1/tasks/{first}/pause")
    t = h.act(first, "retry")
    same((t["run"], t["dependents_cancelled"] >= 1), (2, True))
    same(h.end(first)["attempt"], 2)
    line = h.expect(200, "POST", "/v1/actions/retry", {"ids": [first]}).lines[0]
    assert line["dependents_cancelled"] >= 1, line
    h.refused(409, None, "errand cancel", "POST", f"/v1/tasks/{h.submit(held=True)}/retry")


def test_many_at_once(h):
    h.start()
    running = h.sh(FOREVER, tags=["t"])
    h.file("pid")
    waiting = h.submit(tags=["t"], delay_s=1000)
    lines = h.expect(200, "POST", "/v1/actions/pause", {"tag": "t"}).lines
    same({line["id"]: line["state"] for line in lines}, {running: "running", waiting: "paused"})
    same([line.get("pause_requested") for line in lines if line["id"] == running], [True])
    h.wait(running, state="paused")
    lines = h.expect(200, "POST", "/v1/actions/resume", {"tag": "t"}).lines
    same(sorted(line["id"] for line in lines), [running, waiting])
    h.wait(running, state="running")
    lines = h.expect(200, "POST", "/v1/actions/pause", {"ids": [running, 99], "free_slot": True}).lines
    same((lines[1]["status"], lines[1]["id"]), (404, 99))
    h.wait(running, held=True, pid=None)
    h.expect(200, "POST", "/v1/actions/cancel", {"all": True})
    for body, field in (({}, "ids"), ({"ids": [1], "all": True}, "ids"), ({"ids": [0]}, "ids"),
                        ({"all": 1}, "all"), ({"tag": ""}, "tag"), ({"tags": "t"}, "tags"),
                        ({"all": True, "state": "done"}, "state")):
        same(h.expect(400, "POST", "/v1/actions/cancel", body).json["field"], field)


def test_edit_every_member(h):
    h.start(worker=NOBODY)
    first, task = h.submit(), h.submit(held=True, timeout_s=5, limit_key="k")
    t = h.expect(200, "PATCH", f"/v1/tasks/{task}", {
        "name": "n", "queue": "q", "limit_key": "l", "priority": 3, "cost": 4, "retries": 5,
        "backoff_s": 6, "timeout_s": 7, "grace_s": 8, "heartbeat_s": 9, "expires_s": 100,
        "on_lost": "fail", "delay_s": 50, "after": [{"id": first, "when": "any"}]}).json
    same([t[k] for k in ("name", "queue", "limit_key", "priority", "cost", "retries",
                         "backoff_s", "timeout_s", "grace_s", "heartbeat_s", "on_lost")],
         ["n", "q", "l", 3, 4, 5, 6, 7, 8, 9, "fail"])
    same(t["after"], [{"id": first, "when": "any", "state": "queued"}])
    assert t["expires_at"] and t["run_at"], t
    t = h.expect(200, "PATCH", f"/v1/tasks/{task}", {
        "limit_key": None, "timeout_s": None, "heartbeat_s": None, "expires_s": None,
        "after": None, "run_at": "2099-01-01T00:00:00Z"}).json
    same([t[k] for k in ("limit_key", "timeout_s", "heartbeat_s", "expires_at", "after", "run_at")],
         [None, None, None, None, [], "2099-01-01T00:00:00.000Z"])


def test_edit_refuses(h):
    h.start(worker=NOBODY)
    a, b, c = h.submit(held=True), h.submit(held=True), h.submit(held=True)
    h.expect(200, "PATCH", f"/v1/tasks/{b}", {"after": [a]})
    h.expect(200, "PATCH", f"/v1/tasks/{c}", {"after": [b]})
    target = f"/v1/tasks/{a}"
    same(h.refused(400, "after", "would wait for itself", "PATCH", target, {"after": [c]})["chain"],
         [a, c, b, a])
    same(h.refused(400, "after", "would wait for itself", "PATCH", target, {"after": [a]})["chain"],
         [a, a])
    h.refused(404, "after", "there is no task 99", "PATCH", target, {"after": [b + 1, 99]})
    h.refused(404, None, "there is no task 99", "PATCH", "/v1/tasks/99", {"priority": 1})
    for field, words, body in [
            ("after", "ref names a task of a batch", {"after": [{"ref": "x"}]}),
            ("delay_s", "both given", {"delay_s": 1, "run_at": "2030-01-01T00:00:00Z"}),
            ("priority", "priority is not a number", {"priority": "high"}),
            ("priority", "cannot be null", {"priority": None}),
            ("queue", "queue is empty", {"queue": ""}),
            ("name", "name is empty", {"name": ""}),
            ("cost", "cost is not a number", {"cost": 0}),
            ("type", "unknown member 'type'", {"type": "shell"}),
            ("prio", "unknown member 'prio'", {"prio": 1})]:
        h.refused(400, field, words, "PATCH", target, body)
    same(h.task(a)["after"], [])
    h.act(a, "cancel")
    same(h.refused(409, None, "errand retry", "PATCH", target, {"priority": 1})["state"],
         "cancelled")


def test_edit_of_what_runs_is_refused(h):
    h.start()
    task = h.sh(FOREVER)
    h.file("pid")
    problem = h.refused(409, None, f"errand requeue --hold {task}", "PATCH", f"/v1/tasks/{task}",
                        {"priority": 1})
    same(problem["state"], "running")
    h.act(task, "cancel", wait=190)


def test_etag_and_if_match(h):
    h.start(worker=NOBODY)
    task = h.submit(held=True)
    target = f"/v1/tasks/{task}"
    tag = h.expect(200, "GET", target).headers["etag"]
    same(h.expect(200, "GET", target).headers["etag"], tag)
    new = h.expect(200, "PATCH", target, {"priority": 1}, {"If-Match": tag}).headers["etag"]
    assert new != tag
    h.refused(412, "If-Match", "has changed since", "PATCH", target, {"priority": 2},
              {"If-Match": tag})
    same(h.task(task)["priority"], 1)
    h.expect(200, "PATCH", target, {"priority": 3}, {"If-Match": f'"zz", {new}'})
    h.expect(200, "PATCH", target, {"priority": 4}, {"If-Match": "*"})
    h.refused(404, None, "there is no task 99", "PATCH", "/v1/tasks/99", {"priority": 2},
              {"If-Match": "*"})


def test_items_are_paged(h):
    h.start()
    line = "; ".join(f'echo \'{{"item_{"failed" if i % 10 == 0 else "completed"}": "i{i:03}"}}\' '
                     ">&$ERRAND_PROGRESS_FD" for i in range(25))
    task = h.sh(line)
    h.end(task)
    page = h.get(f"/v1/tasks/{task}/items?limit=10")
    same(([i["name"] for i in page["items"]], page["next"]),
         ([f"i{i:03}" for i in range(10)], "i009"))
    same((page["items_completed"], page["items_failed"]), (22, 3))
    same((page["items"][0]["failed"], page["items"][1]["failed"], page["items"][0]["attempt"]),
         (True, False, 1))
    page = h.get(f"/v1/tasks/{task}/items?limit=100&cursor=i009")
    same((len(page["items"]), page["next"]), (15, None))
    same(len(h.get(f"/v1/tasks/{task}/items?state=failed")["items"]), 3)
    same(len(h.get(f"/v1/tasks/{task}/items?state=completed")["items"]), 22)
    h.refused(400, "state", "completed or failed", "GET", f"/v1/tasks/{task}/items?state=x")
    h.refused(400, "limit", "1 to 1000", "GET", f"/v1/tasks/{task}/items?limit=0")
    h.refused(404, None, "there is no task 99", "GET", "/v1/tasks/99/items")
    t = h.task(task)
    same((t["items_completed"], t["items_failed"]), (22, 3))


def test_results_of_what_was_waited_for(h):
    h.start()
    one = h.sh('echo \'{"result": {"n": 1}}\' >&$ERRAND_PROGRESS_FD')
    two = h.sh("exit 4")
    three = h.submit(delay_s=1000)
    task = h.submit(after=[one, {"id": two, "when": "any"}, {"id": three, "when": "fail"}])
    h.end(one), h.end(two)
    got = h.get(f"/v1/tasks/{task}/after?results=1")["after"]
    same([(a["id"], a["when"], a["state"], a["exit_code"], a["result"]) for a in got],
         [(one, "ok", "completed", 0, {"n": 1}), (two, "any", "failed", 4, None),
          (three, "fail", "scheduled", None, None)])
    assert got[0]["result_bytes"] > 0 and got[1]["result_bytes"] is None, got
    same([a["id"] for a in h.get(f"/v1/tasks/{task}/after?open=1")["after"]], [three])
    page = h.get(f"/v1/tasks/{task}/after?limit=1&cursor=1&results=1")
    same((page["after"][0]["id"], page["after"][0]["exit_code"], page["next"]), (two, 4, "2"))
    h.refused(400, "results", "no result", "GET", f"/v1/tasks/{task}/after?results=1&open=1")


def test_a_brief_wait_tells_the_state_alone(h):
    h.start(worker=NOBODY)
    w = Player(h, h.get("/healthz")["version"])
    for code, state in ((0, "completed"), (1, "failed")):
        task = h.submit()
        run = w.order("run", task=task)
        same(h.get(f"/v1/tasks/{task}?brief=1"), {"id": task, "state": "running"})
        same(h.get(f"/v1/tasks/{task}?brief=1&wait=0.1"), {"id": task, "state": "running"})
        answers = []
        waiter = threading.Thread(
            target=lambda t=task: answers.append(h.get(f"/v1/tasks/{t}?brief=1&wait=60")))
        waiter.start()
        w.started(run)
        w.finished(run, exit_code=code)
        waiter.join()
        same(answers, [{"id": task, "state": state}])
        same(h.get(f"/v1/tasks/{task}?brief=1&wait=60"), {"id": task, "state": state})
    h.expect(204, "DELETE", f"/v1/tasks/{task}")
    same(h.expect(404, "GET", f"/v1/tasks/{task}?brief=1&wait=60").json["tombstone"]["state"], "failed")
    same(h.get(f"/v1/tasks/{h.submit(held=True)}?brief=1"), {"id": task + 1, "state": "paused"})


def test_a_task_is_shown_without_its_result(h):
    h.start()
    task = h.sh('echo \'{"result": {"n": 1}}\' >&$ERRAND_PROGRESS_FD')
    h.end(task)
    for query, result, size in (("", {"n": 1}, 7), ("?result=0", None, None),
                                ("?result=0&wait=200", None, None), ("?wait=200", {"n": 1}, 7)):
        got = h.get(f"/v1/tasks/{task}{query}")
        same((got["state"], got["result"], got["result_bytes"]), ("completed", result, size), query)


def test_why_and_doctor_name_what_keeps_the_worker_from_starting(h):
    for worker, words in (("/no/such/errand-worker", "cannot start /no/such/errand-worker: No such file or directory"),
                          (NOBODY, "errand-worker ended at its start (exit code 1)")):
        h.start(worker=worker)
        task = h.submit()
        h.until(lambda: h.why(task).startswith(f"no worker: {words}"), f"the reason: {h.why(task)}")
        has(h.get(f"/v1/tasks/{task}")["waiting_for"], f"no worker: {words}")
        check = {c["name"]: c for c in h.get("/v1/doctor")["checks"]}["worker"]
        same(check["ok"], False)
        has(check["detail"], f"none is connected: {words}")
        again = h.until(lambda: re.fullmatch(f"no worker: {re.escape(words)}; it is started again in \\d+s",
                                             h.why(task)), "the moment of the next start")
        assert again, again
        h.kill(signal.SIGKILL)
        h.gone()
    h.start()
    h.until(lambda: h.get(f"/v1/tasks/{task}")["state"] == "completed", "a worker to take it")


def test_why_has_a_sentence_for_every_state(h):
    h.start(worker=NOBODY)
    has(h.why(h.submit()), "worker")
    task = h.submit(delay_s=100)
    has(h.why(task), "not to start before")
    h.act(task, "pause")
    has(h.why(task), "paused by request")
    has(h.why(task), "not to start before")
    ids = [h.submit() for _ in range(7)]
    task = h.submit(after=[{"id": i, "when": w} for i, w in zip(ids, ["ok", "any", "fail"] * 3)])
    why = h.why(task)
    has(why, f"task {ids[0]} (queued) to complete, {ids[1]} (queued) to end, ")
    has(why, f"{ids[2]} (queued) to fail")
    has(why, "and for 2 more")
    h.act(task, "pause")
    has(h.why(task), f"and waits for task {ids[0]} (queued) to complete, {ids[1]} (queued) to end, ")
    has(h.why(task), "and for 2 more")
    has(h.get(f"/v1/tasks/{task}")["waiting_for"], f"and waits for task {ids[0]} (queued)")
    h.act(ids[0], "cancel")
    has(h.why(task), "was cancelled")
    h.expect(200, "POST", "/v1/pause", {"queue": "q"})
    has(h.why(h.submit(queue="q")), "queue 'q' is paused")
    h.expect(200, "POST", "/v1/pause", {"all": True})
    has(h.why(h.submit()), "everything is paused")
    h.refused(404, None, "there is no task 99", "GET", "/v1/tasks/99/why")


def test_time_left_counts_down_between_two_reports(h):
    h.start(worker=NOBODY)
    w = Player(h, h.get("/healthz")["version"])
    task = h.submit()
    run = w.order("run", task=task)
    w.started(run)
    w.report({"progress": {"task": task, "attempt": run["attempt"], "progress": {
        "percent": 10.0, "item": '"eta_s":7', "eta_s": 90000.0}}})

    def left():
        return h.task(task)["progress"]["eta_s"]
    h.until(lambda: h.task(task)["progress"], "the progress")
    first = left()
    assert 0 < first <= 90000, first
    h.until(lambda: left() < first, "less time left")
    same(h.task(task)["progress"]["item"], '"eta_s":7')
    same(h.get("/v1/tasks")["tasks"][0]["progress"]["eta_s"] < first, True)


def test_what_a_shell_line_does_not_find_is_its_exit_code(h):
    h.start()
    ends = []
    for args in ({"command": "no-such-command-here"}, {"argv": ["no-such-command-here"]}):
        task = h.expect(201, "POST", "/v1/tasks", {"args": args, "cwd": h.home}).json["id"]
        t = h.end(task)
        ends.append((t["state"], t["exit_code"], t["error"]["code"], t["error"]["class"]))
    same(ends, [("failed", 127, "exit", "retryable"), ("failed", 127, "not-found", "user-actionable")])


def test_a_hello_without_a_protocol_is_the_callers_mistake(h):
    h.start(worker=NOBODY)
    for body in ({}, {"protocol": "1"}):
        h.refused(400, "protocol", "a hello names its protocol", "POST", "/v1/work/claim", body)


def test_why_tells_when_a_task_expires_before_it_starts(h):
    h.start(worker=NOBODY)
    soon, late = h.submit(delay_s=3000, expires_s=1000), h.submit(delay_s=1000, expires_s=3000)
    has(h.why(soon), "not to start before")
    has(h.why(soon), "; it fails (expired) at " + h.task(soon)["expires_at"])
    assert "expired" not in h.why(late), h.why(late)
    has(h.why(h.submit(held=True, expires_s=1000)), "it fails (expired) at")


def test_why_and_doctor_tell_of_a_worker_that_died(h):
    h.start()
    words = r"errand-worker pid \d+ died; it is started again in \d+s"

    def told():
        for worker in h.workers():
            os.kill(worker["pid"], signal.SIGKILL)
        check = {c["name"]: c for c in h.get("/v1/doctor")["checks"]}["worker"]
        return (not check["ok"] and re.fullmatch("none is connected: " + words, check["detail"])
                and re.fullmatch("no worker: " + words, h.why(h.submit())))
    h.until(told, "a worker that died, and the moment of the next start")


def test_a_worker_starts_when_the_folder_of_the_locks_was_removed(h):
    h.start()
    h.end(h.submit())
    old = h.workers()[0]["pid"]
    shutil.rmtree(h.path("workers"))
    os.kill(old, signal.SIGKILL)
    h.until(lambda: [w for w in h.workers() if w["pid"] != old], "another worker")
    same(h.end(h.submit())["state"], "completed")
    same(stat.S_IMODE(os.stat(h.path("workers")).st_mode), 0o700)
    has(h.log(), f"the folder '{h.path('workers')}' was gone: made again")


def test_why_and_show_tell_who_cancelled_and_held(h):
    h.start()
    failed, task = h.submit("false"), h.sh(FOREVER)
    same(h.end(failed)["cancelled"], None)
    waits = h.submit(after=[{"id": failed}])
    has(h.why(waits), f"it waited for task {failed}, which failed; ")
    same(h.task(waits)["cancelled"], {"reason": "dependency", "by": failed})
    h.file("pid")
    t = h.act(task, "cancel", {"reason": "too slow"}, wait=190)
    same((t["state"], t["cancelled"]["reason"]), ("cancelled", "too slow"))
    has(h.why(task), ": too slow; ")
    h.expect(204, "DELETE", f"/v1/tasks/{waits}")
    h.refused(404, None, f"task {waits} was removed; it was cancelled", "GET", f"/v1/tasks/{waits}")
    task = h.sh("echo >held; exec sleep 1000", on_lost="hold")
    h.file("held")
    os.kill(h.workers()[0]["pid"], signal.SIGKILL)
    h.wait(task, state="paused")
    has(h.why(task), "its worker was lost")


def test_why_while_and_after_it_runs(h):
    h.start("concurrency: 1\n")
    task = h.sh(FOREVER)
    h.file("pid")
    h.wait(task, pid=int(h.file("pid")))
    has(h.why(task), f"it runs: attempt 1, for ")
    has(h.why(task), f"pid {h.file('pid')}")
    assert h.why(h.submit()), "nothing said of what waits for a slot"
    h.act(task, "cancel", wait=190)
    has(h.why(task), "it was cancelled at ")
    task = h.sh("exit 3", retries=1, backoff_s=1000)
    t = h.wait(task, state="scheduled")
    has(h.why(task), "it has failed 1 time")
    has(h.why(task), "(retry 1 of 1)")
    has(t["waiting_for"], "the next attempt is at")
    task = h.sh("exit 3")
    h.end(task)
    has(h.why(task), "it failed at ")
    has(h.why(task), f"errand retry {task}")
    task = h.submit()
    h.end(task)
    has(h.why(task), "it completed at ")


def test_why_there_is_no_result(h):
    h.start()
    for task, words in [(h.submit(held=True), "has no result yet: it is paused"),
                        (h.submit(), "has no result: it completed"),
                        (h.submit("false"), "has no result: it failed")]:
        if "yet" not in words:
            h.end(task)
        h.refused(404, None, words, "GET", f"/v1/tasks/{task}/result")
        if "yet" in words:
            h.act(task, "cancel")
            h.refused(404, None, "it was cancelled", "GET", f"/v1/tasks/{task}/result")


def test_progress_of_what_does_not_run_is_refused_with_the_state(h):
    h.start()
    task = h.submit(held=True)
    problem = h.refused(409, None, "(it is paused)", "POST", f"/v1/tasks/{task}/progress", {"percent": 1})
    same((problem["code"], problem["state"]), ("state", "paused"))
    h.refused(404, None, "no task 99", "POST", "/v1/tasks/99/progress", {"percent": 1})


def test_rate_limited_until(h):
    h.start()
    task = h.sh('[ $ERRAND_ATTEMPT -gt 1 ] || echo \'{"retry_after_s": 1000}\' >&$ERRAND_PROGRESS_FD')
    t = h.wait(task, state="paused")
    same((t["failures"], t["held"], t["pid"]), (0, False, None))
    assert t["resumes_at"], t
    same(t["error"]["code"], "rate-limit")
    has(t["waiting_for"], "rate limit")
    has(h.why(task), t["resumes_at"])
    h.act(task, "resume")
    same(h.end(task)["state"], "completed")


main(globals())
