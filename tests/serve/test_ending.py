#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shutdown table of docs/SEMANTICS.md as the protocol shows it, the reload of the
configuration, and workers of another version."""

import os
import signal
import subprocess

from house import ERRANDD, Player, alive, has, main, now, same

NOBODY = "/bin/false"
FOREVER = "echo $$ >pid.$ERRAND_ATTEMPT; exec sleep 1000"


def put_back(h, task, pid):
    """The daemon has gone; the next one finds the task put back at no cost."""
    h.until(lambda: not alive(pid), f"the end of pid {pid}")
    os.rename(h.path("log"), h.path("log.1"))
    h.start(None)
    h.file("pid.2")
    t = h.wait(task, state="running")
    same((t["attempt"], t["failures"], t["losses"]), (2, 0, 0))


def begin(h, config="drain: 60s\ngrace: 500ms\n"):
    h.start(config)
    task = h.sh(FOREVER)
    return task, int(h.file("pid.1"))


def test_drain_ends_with_the_last_task(h):
    h.start("drain: 600s\n")
    task = h.sh("echo >up; until [ -e go ]; do sleep 0.02; done")
    waits = h.submit(delay_s=1000)
    h.until(lambda: os.path.exists(h.path("up")), "the start")
    h.kill(signal.SIGTERM)
    h.until(lambda: h.call("GET", "/readyz").status == 503, "readyz to be 503")
    problem = h.expect(503, "GET", "/readyz").json
    same((problem["code"], problem["detail"]), ("closed", "the daemon is draining"))
    answer = h.expect(503, "POST", "/v1/tasks", {"args": {"argv": ["true"]}})
    same((answer.json["code"], answer.headers["retry-after"]), ("closed", "1"))
    same(h.get("/v1/stats")["daemon"]["draining"], True)
    same(h.state(task), "running")
    h.touch("go")
    same(h.gone(), 0)
    h.start(None)
    same((h.task(task)["state"], h.task(task)["attempt"]), ("completed", 1))
    same(h.state(waits), "scheduled")


def test_drain_is_bounded(h):
    task, pid = begin(h, "drain: 100ms\ngrace: 500ms\n")
    h.kill(signal.SIGTERM)
    same(h.gone(), 0)
    put_back(h, task, pid)


def test_now_by_request(h):
    task, pid = begin(h)
    same(h.expect(200, "POST", "/v1/shutdown", {"now": True}).json["pid"], h.daemon.pid)
    same(h.gone(), 0)
    put_back(h, task, pid)


def test_request_then_haste(h):
    task, pid = begin(h)
    h.expect(200, "POST", "/v1/shutdown")
    h.expect(200, "POST", "/v1/shutdown")  # the same again hurries nobody
    same(h.state(task), "running")
    h.kill(signal.SIGINT)
    same(h.gone(), 0)
    put_back(h, task, pid)


def test_shutdown_bodies_are_checked(h):
    h.start(worker=NOBODY)
    h.refused(400, "now", "true or false", "POST", "/v1/shutdown", {"now": 1})
    h.refused(400, "keep_running", "choose one", "POST", "/v1/shutdown",
              {"now": True, "keep_running": True})
    h.refused(400, "force", "unknown member", "POST", "/v1/shutdown", {"force": True})
    same(h.expect(200, "GET", "/healthz").status, 200)


def test_keep_running(h):
    task, pid = begin(h)
    worker = h.workers()[0]["pid"]
    h.kill(signal.SIGUSR2)
    same(h.gone(), 0)
    assert alive(pid), "it went with the daemon"
    h.start(None)
    same(h.workers()[0]["pid"], worker)
    same((h.state(task), h.task(task)["attempt"]), ("running", 1))
    h.act(task, "cancel", wait=190)


def test_a_task_that_is_paused_is_put_back_held(h):
    task, pid = begin(h)
    h.act(task, "pause", wait=190)
    h.kill(signal.SIGQUIT)
    same(h.gone(), 0)
    h.until(lambda: not alive(pid), f"the end of pid {pid}")
    h.start(None)
    t = h.task(task)
    same((t["state"], t["held"], t["failures"], t["losses"]), ("paused", True, 0, 0))


def test_a_worker_that_hangs_is_killed_within_the_bound(h):
    task, pid = begin(h, "grace: 500ms\n")
    worker = h.workers()[0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    h.kill(signal.SIGQUIT)
    same(h.gone(), 0)
    h.until(lambda: not alive(worker), "the worker's end")
    put_back(h, task, pid)


def test_who_cancels_is_told_of_a_worker_that_hangs(h):
    task, _ = begin(h)
    same(h.task(task)["worker_silent"], None)
    worker = h.workers()[0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    words = f"worker w1 (pid {worker}) has not answered for "
    t = h.expect(200, "POST", f"/v1/tasks/{task}/cancel?wait=3600&silent=1").json
    same((t["state"], t["cancel_requested"]), ("running", True))
    has(t["worker_silent"], words)
    # those who come later need not wait for it
    has(h.get(f"/v1/tasks/{task}?wait=3600&silent=1")["worker_silent"], words)
    line = h.expect(200, "POST", "/v1/actions/cancel", {"ids": [task]}).lines[0]
    has(line["worker_silent"], words)
    os.kill(worker, signal.SIGCONT)
    t = h.end(task)
    same((t["state"], t["worker_silent"]), ("cancelled", None))


def test_a_worker_that_hangs_is_told_of(h):
    h.start("grace: 500ms\n")
    worker = h.workers()[0]["pid"]
    same(h.expect(200, "GET", "/readyz").json, {"status": "ready"})
    os.kill(worker, signal.SIGSTOP)
    task = h.sh("exit 0")
    h.until(lambda: h.call("GET", "/readyz").status == 503, "readyz to be 503")
    words = f"worker w1 (pid {worker}) has not answered for "
    has(h.expect(503, "GET", "/readyz").json["detail"], words)
    has(h.why(task), "; " + words)
    check = [c for c in h.get("/v1/doctor")["checks"] if c["name"] == "worker"][0]
    same(check["ok"], False)
    has(check["detail"], words)
    has(check["advice"], "kill -CONT")
    same(h.log().count(words), 1)
    silent_s = h.workers()[0]["silent_s"]
    assert silent_s >= 10, silent_s
    os.kill(worker, signal.SIGCONT)
    h.wait(task, state="completed")
    h.until(lambda: h.call("GET", "/readyz").status == 200, "readyz to be 200")
    same(h.workers()[0]["silent_s"], None)
    has(h.log(), f"worker w1 (pid {worker}) answers again")


def test_a_worker_that_never_says_hello_does_not_keep_the_daemon(h):
    silent = h.path("silent")
    with open(silent, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n")
    os.chmod(silent, 0o755)
    h.start("grace: 300ms\n", worker=silent)
    h.kill(signal.SIGTERM)
    h.until(lambda: h.call("GET", "/readyz").status == 503, "draining")
    h.kill(signal.SIGTERM)
    same(h.gone(), 0)


def test_a_flag_wins_over_variable_and_file_at_a_reload_too(h):
    h.env.update(ERRAND_CONCURRENCY="4", ERRAND_BACKOFF="7s")
    h.start("concurrency: 1\nretries: 1\n", flags=["--concurrency", "9", "--concurrency=3"])
    same(h.workers()[0]["slots"], 3)
    h.configure("concurrency: 2\nretries: 2\n")
    h.kill(signal.SIGHUP)
    h.until(lambda: "retries has changed" in h.log(), "the reload")
    same(h.workers()[0]["slots"], 3)
    task = h.submit(held=True)
    same((h.task(task)["retries"], h.task(task)["backoff_s"]), (2, 7))
    for flags, words in ((["--concurrency", "many"], "--concurrency: invalid number 'many'"),
                         (["--concurency", "3"], "unrecognized option"), (["--grace"], "requires an argument")):
        r = subprocess.run([ERRANDD, *flags], env=h.env, capture_output=True, text=True, timeout=60)
        same(r.returncode, 2)
        has(r.stderr, words)
    r = subprocess.run([ERRANDD, "--print-config", "--grace", "3s"], env=h.env, capture_output=True, text=True,
                       timeout=60)
    has(r.stdout, "grace: 3s                    # --grace;")


def test_reload(h):
    h.start("concurrency: 1\nretries: 0\n")
    running = h.sh("echo $$ >pid.1; exec sleep 1000")
    h.file("pid.1")
    waits = h.sh("echo >second; exec sleep 1000")
    same(h.state(waits), "queued")
    h.configure("concurrency: 3\nretries: 4\nbackoff: 9s\nageing: 5m\nenv_deny: [FOO*]\n"
                "keep_finished: 5\nlogs_max: 1GiB\noutput_head: 1MiB\n")
    h.kill(signal.SIGHUP)
    h.until(lambda: h.workers()[0]["slots"] == 3, "three slots")
    h.until(lambda: os.path.exists(h.path("second")), "the second")
    h.until(lambda: "read again" in h.log(), "the log's word")
    task = h.submit(env={"FOO1": "x", "BAR": "y"}, held=True)
    same((h.task(task)["retries"], h.task(task)["backoff_s"]), (4, 9))
    log = h.log()
    for name in ("concurrency", "retries", "backoff", "keep_finished", "logs_max"):
        has(log, f"configuration: {name} has changed")
    has(log, "ageing has changed, which takes effect when the daemon starts again")
    has(log, "output_head has changed, which takes effect with the next worker")
    same((h.state(running), h.task(running)["attempt"]), ("running", 1))
    h.configure("concurrency: many\n")
    h.kill(signal.SIGHUP)
    h.until(lambda: "stays as it was" in h.log(), "the refusal")
    has(h.log(), "invalid number 'many'")
    same(h.workers()[0]["slots"], 3)
    h.configure("concurrency: 1\n")  # lowered below what runs: ends nothing
    h.kill(signal.SIGHUP)
    h.until(lambda: h.workers()[0]["slots"] == 1, "one slot")
    same((h.state(running), h.state(waits)), ("running", "running"))


def test_a_foreign_worker_of_another_version_drains(h):
    h.start()
    player = Player(h, "0.0.1")
    player.order("drain")
    task = h.submit()
    h.end(task)
    same(h.get(f"/v1/tasks/{task}/attempts")["attempts"][0]["worker"], "w1")
    versions = {w["pid"]: w["version"] for w in h.workers()}
    same(versions[player.pid], "0.0.1")
    has(h.log(), "it ends with its last task")


def test_an_old_worker_drains_beside_a_new_one(h):
    h.start("concurrency: 2\n", worker=NOBODY)
    version = h.get("/healthz")["version"]
    old = Player(h, version)  # not the daemon's child, but of its version: it works
    task = h.submit()
    run = old.order("run", task=task)
    old.started(run)
    h.wait(task, state="running")
    h.kill(signal.SIGUSR2)
    same(h.gone(), 0)
    h.start(None, worker=NOBODY)  # "upgraded": the worker is older than this one now
    old.hello("0.0.1", [{"task": task, "attempt": 1, "pid": old.pid, "started_at": now(),
                         "paused": False}])
    old.order("drain")
    same(h.state(task), "running")
    same([(w["version"], w["running"]) for w in h.workers()], [("0.0.1", [task])])
    new = Player(h, version)  # in the place of the new child
    same(new.slots, 1)  # the old one uses the other
    more = [h.submit(), h.submit()]
    first = new.order("run")
    new.started(first)
    same(sorted(h.state(t) for t in more), ["queued", "running"])
    old.finished(run)
    same(h.end(task)["state"], "completed")
    same(new.order("slots"), 2)
    second = new.order("run")
    same({first["task"], second["task"]}, set(more))
    same(h.task(task)["attempt"], 1)


def test_signals_come_by_a_descriptor(h):
    """A handler may run while its own thread holds libuv's lock for signals, and waits there."""
    h.start()
    with open(f"/proc/{h.daemon.pid}/status", encoding="ascii") as text:
        masks = {line[:6]: int(line.split()[1], 16) for line in text if line[:6] in ("SigBlk", "SigCgt")}
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2, signal.SIGHUP, signal.SIGCHLD):
        bit = 1 << (signum - 1)
        assert masks["SigBlk"] & bit and not masks["SigCgt"] & bit, signum


main(globals())
