#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kill campaign: SIGKILLs daemon, worker or both at random moments under load, then
proves from the store, the logs and traces left by the tasks themselves that nothing was
lost, nothing ran twice at a time, and nothing is stuck.

usage: crash.py --programs STAGE --rounds N [--seed SEED] [--tap] [--keep]

Threads submit tasks over the socket, each with an idempotency key, and send again on every
broken connection until they have an acknowledgement. The tasks are tests/crash/probe.c;
some leave a runaway in a session of its own, some fail at first. A round is one kill (and a
new daemon, when it was the daemon) after a random moment. Then everything may finish.

lost     an acknowledged task without a final state, or without exactly one final event for
         its run; a key that became two tasks; a completed task that never ran to its end,
         or whose log is not whole; a fact that a subscriber missed or got twice
doubled  two attempts of a task alive at once (a lock that the kernel keeps tells), an
         attempt executed twice, or one that still acted after it had been declared over
stuck    not final when everything else is, or a process left at the end
"""

import argparse
import json
import os
import random
import sqlite3
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import Instance, kill  # noqa: E402

SUBMITTERS = 3
SLOTS = 4
BACKLOG = 40  # tasks under way that submitters wait at
PATIENCE = 300  # seconds that anything may take before it is called stuck
FINAL = {5: "completed", 6: "failed", 7: "cancelled"}
FINAL_EVENTS = {8: 5, 9: 6, 10: 7}


class Trace:
    """What the tasks wrote about themselves, read as it grows."""

    def __init__(self, folder):
        self.path = f"{folder}/side.log"
        open(self.path, "ab").close()
        self.file = open(self.path, "rb")
        self.part = b""
        self.lines = []

    def read(self):
        data = self.part + self.file.read()
        whole, _, self.part = data.rpartition(b"\n")
        for line in whole.decode().splitlines():
            kind, task, attempt, pid, at = line.split()
            self.lines.append((kind, int(task), int(attempt), int(pid), int(at) // 1000))


class Campaign:
    """One instance, its load, and the kills."""

    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.instance = Instance(options.programs, config=f"concurrency: {SLOTS}\n")
        self.folder = f"{self.instance.home}/probe"
        os.makedirs(f"{self.folder}/locks")
        self.probe = f"{self.folder}/probe"
        source = os.path.join(os.path.dirname(__file__), "../tests/crash/probe.c")
        subprocess.run(["cc", "-O1", "-o", self.probe, source], check=True)
        self.trace = Trace(self.folder)
        self.acknowledged = {}  # key -> id
        self.problems = {"lost": [], "doubled": [], "stuck": []}
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.draining = threading.Event()
        self.seen = []  # numbers of the facts that the subscriber got
        self.over = 0  # tasks that it saw end
        self.kills = {"daemon": 0, "worker": 0, "both": 0}
        self.daemon = None

    def problem(self, kind, text):
        with self.lock:
            self.problems[kind].append(text)

    # ---- load ------------------------------------------------------------------------

    def task(self, rng):
        kind = rng.choices(["plain", "tree", "fail"], [6, 2, 2])[0]
        length = rng.choice([1, 1, 5, 20, 60, 150])
        return {
            "args": {"argv": [self.probe, self.folder, str(length), kind]},
            "cwd": self.folder, "grace_s": 0.2,
            "retries": 4, "backoff_s": 0.02,
        }

    def submitter(self, number):
        rng = random.Random(f"{self.options.seed}-{number}")
        connection, count = None, 0
        while not self.stopping.is_set():
            if len(self.acknowledged) - self.over > BACKLOG:
                time.sleep(0.005)
                continue
            count += 1
            key = f"c{number}-{count}"
            body = json.dumps(self.task(rng))
            connection = self.submit(connection, key, body)
            if rng.random() < 0.05:  # ask again, as one does whose answer was lost
                connection = self.submit(connection, key, body)
        if connection:
            connection.close()

    def submit(self, connection, key, body):
        """Sends until it is acknowledged; returns the connection for the next."""
        while True:
            try:
                connection = connection or self.instance.connect()
                status, answer = connection.request(
                    "POST", "/v1/tasks?brief=1", body, [("Idempotency-Key", key)]
                )
            except (OSError, ConnectionError, ValueError, IndexError):
                if connection:
                    connection.close()
                connection = None
                time.sleep(0.002)
                continue
            if status in (200, 201):
                number = json.loads(answer)["id"]
                if self.acknowledged.setdefault(key, number) != number:
                    self.problem("doubled", f"key {key} is task {self.acknowledged[key]} and {number}")
                return connection
            if status < 500:
                raise SystemExit(f"a submit was refused: {status} {answer!r}")
            time.sleep(0.01)

    def subscriber(self):
        """Follows all facts across every crash; each number must come once, in order."""
        while not self.draining.is_set():
            try:
                connection = self.instance.connect(1.0)
                last = self.seen[-1] if self.seen else 0
                connection.sock.sendall(
                    f"GET /v1/events?since=0 HTTP/1.1\r\nHost: errand\r\nLast-Event-ID: {last}\r\n\r\n".encode()
                )
                self.listen(connection)
            except (OSError, ConnectionError):
                time.sleep(0.005)

    def listen(self, connection):
        number, final, data = None, False, b""
        while not self.draining.is_set():
            try:
                piece = connection.sock.recv(65536)
            except TimeoutError:
                continue
            if not piece:
                break
            data += piece
            *lines, data = data.split(b"\n")
            for line in lines:
                line = line.strip()
                if line.startswith(b"id: "):
                    number = int(line[4:])
                elif line.startswith(b"event: gap"):
                    self.problem("lost", f"a gap in the facts after {self.seen[-1:]}")
                elif line.startswith(b"event: "):
                    final = line[7:] in (b"task-completed", b"task-failed", b"task-cancelled")
                elif not line and number is not None:
                    self.seen.append(number)
                    self.over += final
                    number = None
        connection.close()

    # ---- kills -----------------------------------------------------------------------

    def start_daemon(self):
        self.daemon = self.instance.serve()

    def end_daemon(self):
        kill(self.daemon.pid)
        self.daemon.wait()

    def round(self):
        time.sleep(self.random.choice([0.0, 0.02, 0.1, 0.3, 0.5]) * self.random.random())
        self.trace.read()
        what = self.random.choices(["daemon", "worker", "both"], [4, 4, 2])[0]
        workers = self.instance.workers() if what != "daemon" else []
        if what == "worker" and not workers:
            what = "daemon"
        if what == "both" and self.random.random() < 0.5:
            self.end_daemon()
        for pid in workers:
            kill(pid)
        if what in ("daemon", "both"):
            self.end_daemon()
            time.sleep(self.random.choice([0.0, 0.0, 0.03]) * self.random.random())
            self.start_daemon()
        elif self.daemon.poll() is not None:
            self.problem("stuck", f"the daemon ended by itself: {self.daemon.returncode}")
            self.start_daemon()
        self.kills[what] += 1

    def drain(self):
        """Waits until no task is left that is not final; gives up after a long standstill."""
        states, still, since = "queued,scheduled,blocked,running,paused", None, time.monotonic()
        while True:
            self.trace.read()
            try:
                page = self.instance.get(f"/v1/tasks?state={states}&limit=1000")
            except (OSError, ConnectionError):
                page = None
            if page is not None and not page["tasks"]:
                return
            now = page and [(t["id"], t["state"], t["attempt"]) for t in page["tasks"]]
            if now != still:
                still, since = now, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                for task in still or ["the daemon does not answer"]:
                    self.problem("stuck", f"not final: {task}")
                return
            time.sleep(0.05)

    def run(self):
        self.start_daemon()
        self.instance.wait_ready()
        threads = [threading.Thread(target=self.submitter, args=(n,)) for n in range(SUBMITTERS)]
        events = threading.Thread(target=self.subscriber)
        for thread in [*threads, events]:
            thread.start()
        try:
            for number in range(1, self.options.rounds + 1):
                self.round()
                if number % 100 == 0:
                    print(f"# {number} rounds, {len(self.acknowledged)} tasks", file=sys.stderr, flush=True)
        finally:
            self.stopping.set()
        for thread in threads:
            thread.join()
        self.drain()
        self.last_facts(events)
        self.finish()

    def last_facts(self, events):
        """Lets the subscriber come to the last fact there is, then ends it."""
        last = self.instance.get("/v1/events?format=ndjson&since=999999999999")["last"]
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and (not self.seen or self.seen[-1] < last):
            time.sleep(0.05)
        self.draining.set()
        events.join()

    def finish(self):
        done = self.instance.run("--no-autostart", "shutdown", "--now", check=False, timeout=PATIENCE)
        if done.returncode != 0:
            self.problem("stuck", f"shutdown: {done.stderr.strip()}")
        try:
            self.daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.problem("stuck", "the daemon does not end")
            self.end_daemon()
        end = time.monotonic() + PATIENCE
        while self.instance.processes() and time.monotonic() < end:
            time.sleep(0.02)
        for pid in self.instance.processes():
            self.problem("stuck", f"process {pid} is left")
        self.trace.read()

    # ---- proof -----------------------------------------------------------------------

    def prove(self):
        db = sqlite3.connect(f"file:{self.instance.home}/tasks.db?mode=ro", uri=True)
        if db.execute("pragma integrity_check").fetchone() != ("ok",):
            self.problem("lost", "the store is damaged")
        tasks = {row[0]: row for row in db.execute("select id, run, state, attempt, key, losses from task")}
        graves = {row[0]: row for row in db.execute("select id, run, state from tombstone")}
        attempts = {
            (row[0], row[1]): row
            for row in db.execute("select task, number, outcome, started_at, finished_at from attempt")
        }
        events = list(db.execute("select seq, event, task, run from event order by seq"))
        db.close()
        self.prove_acknowledged(tasks, graves)
        self.prove_facts(events, tasks)
        self.prove_attempts(tasks, attempts)
        return tasks

    def prove_acknowledged(self, tasks, graves):
        for key, number in self.acknowledged.items():
            row = tasks.get(number) or graves.get(number)
            if row is None:
                self.problem("lost", f"task {number} (key {key}) is not in the store")
            elif row[2] not in FINAL:
                self.problem("lost", f"task {number} is not final: state {row[2]}")
        keys = {}
        for number, _, _, _, key, _ in tasks.values():
            if key in keys:
                self.problem("doubled", f"key {key}: tasks {keys[key]} and {number}")
            keys[key] = number
            if self.acknowledged.get(key, number) != number:
                self.problem("lost", f"key {key}: acknowledged {self.acknowledged[key]}, stored {number}")

    def prove_facts(self, events, tasks):
        finals = {}
        for _, event, task, run in events:
            if event in FINAL_EVENTS:
                finals.setdefault((task, run), []).append(FINAL_EVENTS[event])
        for number, run, state, *_ in tasks.values():
            got = finals.get((number, run), [])
            if state in FINAL and got != [state]:
                self.problem("lost", f"task {number}: final events {got}, state {state}")
        numbers = [row[0] for row in events]
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            self.problem("lost", "the numbers of the facts have holes")
        if self.seen != list(range(1, len(self.seen) + 1)):
            wrong = next(i for i, n in enumerate(self.seen) if n != i + 1)
            self.problem("lost", f"the subscriber got {self.seen[max(0, wrong - 2):wrong + 3]} at {wrong + 1}")
        last_final = max((row[0] for row in events if row[1] in FINAL_EVENTS), default=0)
        if not self.seen or self.seen[-1] < last_final:
            self.problem("lost", f"the subscriber got facts up to {self.seen[-1:]}, there are {last_final}")

    def prove_attempts(self, tasks, attempts):
        started, ended = {}, {}
        for kind, task, attempt, pid, at in self.trace.lines:
            if kind == "D":
                self.problem("doubled", f"task {task}: attempt {attempt} began while another was alive")
            elif kind == "S":
                if (task, attempt) in started:
                    self.problem("doubled", f"task {task}: attempt {attempt} was executed twice")
                started[task, attempt] = at
                if task in tasks and (task, attempt) not in attempts:
                    self.problem("doubled", f"task {task}: attempt {attempt} ran, and is not in the store")
            else:
                ended[task, attempt] = at
        for (task, attempt), row in attempts.items():
            last = ended.get((task, attempt), started.get((task, attempt)))
            # reports tell times in whole milliseconds, rounded down
            if last is not None and row[4] is not None and last >= row[4] + 1000:
                self.problem("doubled", f"task {task}: attempt {attempt} acted {last - row[4]} us after its end")
            if row[2] is None and task in tasks and tasks[task][2] in FINAL:
                self.problem("lost", f"task {task}: attempt {attempt} has no outcome")
            if row[2] == "completed":
                if (task, attempt) not in ended:
                    self.problem("lost", f"task {task}: attempt {attempt} completed without having run")
                self.prove_log(task, attempt)

    def prove_log(self, task, attempt):
        path = f"{self.instance.home}/logs/{task // 1000}/{task}-{attempt}.log"
        try:
            with open(path, "rb") as log:
                data = log.read()
        except OSError as error:
            self.problem("lost", f"task {task}: no log of attempt {attempt}: {error}")
            return
        text, at, exits = b"", 0, 0
        while at + 24 <= len(data):
            kind, magic, _, length = struct.unpack_from("<BBHI", data, at)
            if magic != 0xE7 or at + 24 + length > len(data):
                break
            if kind == 1:
                text += data[at + 24 : at + 24 + length]
            exits += kind == 4
            at += 24 + length
        if text.decode() != f"begin {task} {attempt}\nend {task} {attempt}\n" or exits != 1:
            self.problem("lost", f"task {task}: the log of attempt {attempt} has {exits} exit frames and {text!r}")


def report(campaign, tasks, seconds):
    losses = sum(row[5] for row in tasks.values())
    states = {}
    for row in tasks.values():
        word = FINAL.get(row[2], str(row[2]))
        states[word] = states.get(word, 0) + 1
    counts = {kind: len(texts) for kind, texts in campaign.problems.items()}
    kills = ", ".join(f"{count} {what}" for what, count in campaign.kills.items())
    for kind, texts in campaign.problems.items():
        for text in texts[:10]:
            print(f"# {kind}: {text}")
    print(
        f"# seed {campaign.options.seed}: {campaign.options.rounds} rounds ({kills}) in {seconds:.0f} s, "
        f"{len(campaign.acknowledged)} tasks acknowledged, {len(campaign.trace.lines)} traces, "
        f"{len(campaign.seen)} facts followed, {losses} last-run losses; "
        + ", ".join(f"{count} {word}" for word, count in sorted(states.items()))
    )
    if campaign.options.tap:
        print(f"1..{len(counts)}")
        for number, (kind, count) in enumerate(counts.items(), 1):
            print(f"{'not ok' if count else 'ok'} {number} - {count} {kind}")
    else:
        print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return 1 if sum(counts.values()) or not campaign.acknowledged else 0


def main():
    parser = argparse.ArgumentParser(description="the kill campaign")
    parser.add_argument("--programs", default=os.environ.get("ERRAND_STAGE"))
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", default=None)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    if not options.programs:
        parser.error("--programs STAGE (or ERRAND_STAGE) is needed")
    options.seed = options.seed or str(random.SystemRandom().randrange(10**9))
    print(f"# seed {options.seed}", flush=True)
    began = time.monotonic()
    campaign = Campaign(options)
    try:
        campaign.run()
        tasks = campaign.prove()
        code = report(campaign, tasks, time.monotonic() - began)
    except BaseException:
        campaign.stopping.set()
        campaign.draining.set()
        if campaign.daemon:
            kill(campaign.daemon.pid)
            campaign.daemon.wait()
        raise
    finally:
        for pid in campaign.instance.processes():
            kill(pid)
    if options.keep or code:
        print(f"# kept: {campaign.instance.home}")
    else:
        campaign.instance.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
