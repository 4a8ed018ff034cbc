#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Examples and a short campaign under valgrind: no error, nothing lost, in the library too.

usage: test_valgrind.py PROGRAM [ARG...] [-- PROGRAM [ARG...]]...

Memory that is lost (definitely or indirectly) when a program ends counts as an error. @ in an
argument is a folder for it alone. The first case is a program that does lose memory, which must be found.
"""

import os
import shutil
import subprocess
import sys
import tempfile

VALGRIND = ["valgrind", "-q", "--fair-sched=yes", "--leak-check=full", "--num-callers=30",
            "--show-leak-kinds=definite,indirect", "--errors-for-leak-kinds=definite,indirect",
            "--error-exitcode=9"]


def split(words):
    programs = [[]]
    for word in words:
        if word == "--":
            programs.append([])
        else:
            programs[-1].append(word)
    return programs


def run(program):
    """Exit code and reports."""
    folder = tempfile.mkdtemp(prefix="errand-valgrind-")
    try:
        words = [word.replace("@", folder) for word in program]
        done = subprocess.run([*VALGRIND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=600, check=False, env={**os.environ, "ERRAND_HOME": folder})
        return done.returncode, done.stdout[-500:] + done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say(good, number, what, text=""):
    print(f"{'ok' if good else 'not ok'} {number} - {what}")
    for line in [] if good else text.splitlines()[:80]:
        print(f"# {line}")
    sys.stdout.flush()


def main():
    if not shutil.which("valgrind"):
        print("1..0 # SKIP valgrind is not installed")
        return 0
    programs = split(sys.argv[1:])
    print(f"1..{len(programs)}")
    for number, program in enumerate(programs, 1):
        name = " ".join([os.path.basename(program[0]), *program[1:]])
        code, text = run(program)
        if number == 1:
            say(code == 9, number, f"{name}: what it loses is found", f"it ended with {code}")
        else:
            say(code == 0, number, f"{name}: clean", f"it ended with {code}\n{text}")
    return 0


sys.exit(main())
