#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The main job on real input, crashes included: what `./dev demo` runs.

usage: demo.py --programs STAGE

On a fresh store in a temporary folder: clones this repository with git, builds the clone,
archives and hashes a folder tree, retries what fails twice, cancels a tree of processes,
and kills the daemon with SIGKILL while tasks run. Shows the table as it goes, then what
came of each task beside what should have; exits 0 only if these agree. Nothing stays
behind.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import Instance, kill  # noqa: E402

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
TREE = "/usr/include"
STEPS = 40

BUILD = "cd clone && meson setup build -Dtests=disabled && ninja -C build"
HASH = """
find TREE -type f | sort >files && total=$(wc -l <files) && : >sums
xargs -d '\\n' -n 100 sh -c 'sha256sum "$@" >>sums
    echo "$(wc -l <sums)/$0 hashing" >&$ERRAND_PROGRESS_FD' "$total" <files
sha256sum -c --quiet sums && errand progress --result "$total files hashed"
""".replace("TREE", TREE)
FLAKY = 'echo "attempt $ERRAND_ATTEMPT"; [ "$ERRAND_ATTEMPT" -ge 3 ]'
STEADY = f'i=0; while [ $i -lt {STEPS} ]; do i=$((i+1)); echo "[$i/{STEPS}] step"; sleep 0.2; done'
TREE_OF_PROCESSES = """
sleep 1000 & echo $! >>pids
setsid sh -c 'echo $$ >>pids; sleep 1000 & echo $! >>pids; wait' &
trap '' TERM; echo $$ >>pids; touch started; while :; do sleep 1; done
"""


class Screen:
    """Redraws the table on a terminal; elsewhere prints it when it says something new."""

    def __init__(self):
        self.live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.height = 0
        self.shown = 0.0

    def say(self, text):
        self.height = 0
        print(f"\n== {text}", flush=True)

    def table(self, text, force=False):
        now = time.monotonic()
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            lines = [line[:width] for line in text.splitlines()]
            up = f"\x1b[{self.height}A\x1b[J" if self.height else ""
            print(up + "\n".join(lines), flush=True)
            self.height = len(lines)
        elif force or now - self.shown >= 3:
            print(text + "\n", flush=True)
            self.shown = now


class Demo:
    def __init__(self, stage):
        self.instance = Instance(stage, config="concurrency: 6\n")
        self.work = f"{self.instance.home}/work"
        os.mkdir(self.work)
        self.screen = Screen()
        self.tasks = {}

    def add(self, name, *args):
        self.tasks[name] = self.instance.run("add", "-n", name, "--cwd", self.work, *args)
        return self.tasks[name]

    def show(self, name):
        return json.loads(self.instance.run("show", self.tasks[name], "--json"))

    def until(self, what, condition, seconds=600):
        """Shows the table until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"gave up waiting: {what}")
            self.screen.table(self.instance.run("tasks", "--all"))
            time.sleep(0.25)

    def daemon(self):
        return json.loads(self.instance.run("stats", "--json"))["daemon"]["pid"]

    def submit(self):
        clone = self.add("clone", "--", "git", "clone", "--progress", f"file://{ROOT}", "clone")
        self.add("build the clone", "--after", clone, "--", "sh", "-c", BUILD)
        self.add("archive", "--", "tar", "-cf", "tree.tar", "-C", os.path.dirname(TREE), os.path.basename(TREE))
        self.add("hash", "--", "sh", "-ec", HASH)
        self.add("fails twice", "--retries", "3", "--backoff", "300ms", "--", "sh", "-c", FLAKY)
        self.add("steady", "--", "sh", "-c", STEADY)
        self.add("never ends", "--grace", "1s", "--", "sh", "-c", TREE_OF_PROCESSES)

    def is_final(self, name):
        return self.show(name)["state"] in ("completed", "failed", "cancelled")

    def run(self):
        screen = self.screen
        screen.say(f"a fresh store in {self.instance.home}; seven tasks, with what they wait for")
        self.submit()
        self.until("the tree of processes", lambda: os.path.exists(f"{self.work}/started"))
        screen.say("cancel 'never ends', with its grandchildren that left the session and ignore TERM")
        self.instance.run("cancel", self.tasks["never ends"])
        self.until("the build", lambda: self.show("build the clone")["state"] in ("running", "completed", "failed"))
        pid = self.daemon()
        screen.say(f"kill -9 of the daemon ({pid}) while tasks run")
        kill(pid)
        began = time.monotonic()
        again = self.daemon()
        screen.say(f"started again as {again}, {time.monotonic() - began:.2f} s later; what ran goes on")
        self.until("all tasks", lambda: all(self.is_final(name) for name in self.tasks))
        screen.table(self.instance.run("tasks", "--all"), force=True)

    # ---- what should have come of it --------------------------------------------------

    def left_of_tree(self):
        with open(f"{self.work}/pids", encoding="utf-8") as pids:
            return [pid for pid in pids.read().split() if self.is_alive(pid)]

    @staticmethod
    def is_alive(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                return stat.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def checks(self):
        """(task, what should be, whether it is)"""
        def ended(name, state, attempt):
            task = self.show(name)
            return task["state"] == state and task["attempt"] == attempt and task["losses"] == 0

        steps = [f"[{n}/{STEPS}] step" for n in range(1, STEPS + 1)]
        built = f"{self.work}/clone/build"
        yield "clone", "completed, the repository is there", ended("clone", "completed", 1) and os.path.exists(
            f"{self.work}/clone/meson.build")
        yield "build the clone", "completed, with its programs, in one attempt", (
            ended("build the clone", "completed", 1)
            and any(name == "errand" for _, _, files in os.walk(built) for name in files))
        yield "archive", "completed, the archive lists well", ended("archive", "completed", 1) and subprocess.run(
            ["tar", "-tf", f"{self.work}/tree.tar"], stdout=subprocess.DEVNULL, check=False).returncode == 0
        yield "hash", "completed, every sum checked", ended("hash", "completed", 1) and (
            "files hashed" in str(self.show("hash")["result"]))
        yield "fails twice", "completed in its third attempt", ended("fails twice", "completed", 3)
        yield "steady", f"completed in one attempt across the crash, {STEPS} lines once each", (
            ended("steady", "completed", 1)
            and self.instance.run("log", self.tasks["steady"]).splitlines() == steps)
        yield "never ends", "cancelled, none of its processes left", (
            ended("never ends", "cancelled", 1) and not self.left_of_tree())

    def summary(self):
        self.screen.say("what should have come of it, and what did")
        well = True
        for name, wanted, is_so in self.checks():
            task = self.show(name)
            print(f"  {'ok  ' if is_so else 'FAIL'} {name}: {task['state']}, attempt {task['attempt']} ({wanted})")
            if not is_so:
                well = False
                print(self.instance.run("show", self.tasks[name]))
        return well


def main():
    parser = argparse.ArgumentParser(description="the main job on real input")
    parser.add_argument("--programs", required=True)
    demo = Demo(parser.parse_args().programs)
    began = time.monotonic()
    well = False
    try:
        demo.run()
        well = demo.summary()
    finally:
        left = demo.instance.close()
        if left:
            print(f"  FAIL processes had to be killed at the end: {left}")
            well = False
    print(f"\n{'all as it should be' if well else 'NOT as it should be'}, {time.monotonic() - began:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
