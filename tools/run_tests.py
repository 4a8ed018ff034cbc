#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs test suites of build folders and ends with one line 'N passed, N failed[, N skipped]'.

usage: run_tests.py [--second-look] LABEL=BUILD:SUITE[,SUITE...]...

Each argument is one `meson test` run. What a test program says in TAP is counted case by
case, from meson's JUnit file; a program that died, timed out or broke its plan counts as
one failure more. On a sanitized build the reports of *all* processes are collected, also
of daemons that no test reads: each report is a failure.

--second-look: a program with failures is run twice more, alone. When both runs pass, its
cases count as passed, and it is listed as UNSTABLE, which is a defect to be mended. There is
no second look at a sanitizer's report (but a test that breaks off leaves its memory behind: a
leak in such a program is forgiven with it), nor at a suite of SEEDED (they fail by their seed).
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as xml


SEEDED = ("lint", "sim", "simshort", "crash")

# A test's timeout is there for one that hangs; a sanitizer and a slow machine are no hang.
PATIENCE = {"plain": "2", "asan": "3", "tsan": "4"}


class Sum:
    """What was counted, and the names of what failed."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.names = []
        self.programs = {}  # program -> the names of its failures, in the run at hand
        self.unstable = []

    def fail(self, name, of=None):
        self.failed += 1
        self.names.append(name)
        if of:
            self.programs.setdefault(of, []).append(name)

    def forgive(self, label, of):
        """Its failures were not there when it was run again."""
        for name in self.programs.pop(of):
            self.names.remove(name)
            self.failed -= 1
            self.passed += 1
            self.unstable.append(name if name.startswith(label) else f"{label}: {name}")


def program(name):
    """A test program's own name, from 'project:suite / name' and the like."""
    return name.rpartition(" / ")[2].removeprefix("errand:")


def count_junit(path, label, total):
    """Adds the cases of a JUnit file; returns the names of the programs with failures."""
    bad = set()
    for suite in xml.parse(path).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            name = f"{label}: {program(suite.get('name'))}: {case.get('name')}"
            if case.find("skipped") is not None:
                total.skipped += 1
            elif case.find("failure") is not None or case.find("error") is not None:
                suite_name = program(suite.get("name"))
                total.fail(name, program(case.get("name")) if suite_name == "errand" else suite_name)
                bad.add(program(suite.get("name")))
                bad.add(program(case.get("name")))
            else:
                total.passed += 1
    return bad


def show_failures(name, text):
    """Prints the failed cases of a TAP program with what it says about them, before and behind."""
    shown = False
    said = []
    for line in text.splitlines():
        if line.startswith(("ok ", "not ok ")):
            shown = line.startswith("not ok ") and "# SKIP" not in line
            if shown:
                print("\n".join([f"---- {name}: {line}"] + said[-20:]))
            said = []
        elif shown:
            print(line[:400])
        else:
            said.append(line[:400])
    sys.stdout.flush()


def count_programs(path, label, bad, total):
    """A program that failed without a failed case is a failure of its own."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            test = json.loads(line)
            name = program(test["name"])
            show_failures(name, test.get("stdout") or "")
            well = test["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
            if test["result"] == "SKIP" and "1..0" not in (test.get("stdout") or ""):
                total.skipped -= 1  # meson's word for a program that ran no case at all
                total.fail(f"{label}: {name}: ran nothing")
            if not well and name not in bad:
                total.fail(f"{label}: {name}: {test['result']}", name)


def signature(text):
    """The functions a report names: the same mistake has the same ones in each process."""
    return tuple(re.findall(r"^ +#\d+ 0x[0-9a-f]+ in (\S+)", text, re.MULTILINE)[:12])


def count_reports(folder, label, total):
    """Every file that a sanitizer left is a failure; each kind of it is shown once."""
    kinds = {}
    for path in sorted(glob.glob(f"{folder}/*")):
        with open(path, encoding="utf-8", errors="replace") as report:
            text = report.read()
        if text.strip():
            kinds.setdefault(signature(text), []).append((path, text))
    for reports in kinds.values():
        path, text = reports[0]
        print(f"---- {path} (and {len(reports) - 1} like it)\n{text[:4000]}", flush=True)
        total.fail(f"{label}: a sanitizer's report: {path}, {len(reports)} of this kind")
        total.failed += len(reports) - 1


def forget_leaks(folder, executable):
    """What a test that broke off had in its hands is no leak of the code under test."""
    for path in glob.glob(f"{folder}/report.{executable}.*"):
        with open(path, encoding="utf-8", errors="replace") as report:
            kinds = set(re.findall(r"ERROR: (\w+): ", report.read()))
        if kinds == {"LeakSanitizer"}:
            os.unlink(path)


def environment(build, folder):
    env = dict(os.environ)
    env["ERRAND_STAGE"] = f"{build}/stage"
    env["MALLOC_PERTURB_"] = "0"
    where = f"log_path={folder}/report"
    env["ASAN_OPTIONS"] = f"detect_leaks=1:abort_on_error=0:exitcode=99:log_exe_name=1:{where}"
    env["UBSAN_OPTIONS"] = f"halt_on_error=1:print_stacktrace=1:{where}"
    env["TSAN_OPTIONS"] = (
        f"halt_on_error=0:exitcode=66:second_deadlock_stack=1:{where}:"
        f"suppressions={os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tsan.supp')}"
    )
    for name in [n for n in env if n.startswith("ERRAND_") and n != "ERRAND_STAGE"]:
        del env[name]
    return env


def again(label, build, suites, total):
    """Runs each program with failures twice more, alone."""
    listed = subprocess.run(["meson", "introspect", "--tests", build], stdout=subprocess.PIPE, check=True)
    tests = {test["name"]: test for test in json.loads(listed.stdout)}
    folder = f"{build}/reports"
    for name in list(total.programs):
        kinds = [suite.rpartition(":")[2] for suite in tests[name]["suite"]] if name in tests else []
        mine = [suite for suite in kinds if suite in suites]
        if not mine or any(suite in SEEDED for suite in mine):
            continue
        print(f"---- {name}: a second look", flush=True)
        command = meson_test(label, build, mine[:1]) + ["--repeat", "2", name]
        if subprocess.run(command, env=environment(build, folder), check=False).returncode == 0:
            total.forgive(label, name)
            forget_leaks(folder, os.path.basename(tests[name]["cmd"][0]))


def meson_test(label, build, suites):
    command = ["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs"]
    command += ["--timeout-multiplier", PATIENCE.get(label, "1")]
    for suite in suites:
        command += ["--suite", suite]
    if label == "tsan" and shutil.which("setarch"):
        # The shadow memory of this libtsan does not fit every layout of the address space.
        command = ["setarch", "-R"] + command
    return command


def run(label, build, suites, total, second_look):
    folder = f"{build}/reports"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    logs = f"{build}/meson-logs"
    for old in glob.glob(f"{logs}/testlog*"):
        os.unlink(old)
    print(f"==== {label}: {', '.join(suites)}", flush=True)
    began = time.monotonic()
    done = subprocess.run(meson_test(label, build, suites), env=environment(build, folder), check=False)
    before = total.failed
    total.programs = {}
    if os.path.exists(f"{logs}/testlog.json"):
        bad = count_junit(f"{logs}/testlog.junit.xml", label, total)
        count_programs(f"{logs}/testlog.json", label, bad, total)
    if done.returncode != 0 and total.failed == before:
        total.fail(f"{label}: meson test ended with {done.returncode}")
    if second_look and total.programs:
        again(label, build, suites, total)
    count_reports(folder, label, total)
    print(f"==== {label}: {time.monotonic() - began:.0f} s", flush=True)


def main(args):
    if not args:
        print(__doc__, file=sys.stderr)
        return 2
    total = Sum()
    second_look = args[0] == "--second-look"
    for arg in args[1 if second_look else 0:]:
        label, _, rest = arg.partition("=")
        build, _, suites = rest.rpartition(":")
        run(label, os.path.abspath(build), suites.split(","), total, second_look)
    if total.passed + total.failed == 0:
        total.fail("no test was run")
    for name in total.unstable:
        print(f"UNSTABLE {name}")
    for name in total.names:
        print(f"FAILED {name}")
    skipped = f", {total.skipped} skipped" if total.skipped else ""
    print(f"{total.passed} passed, {total.failed} failed{skipped}")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
