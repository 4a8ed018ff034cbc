#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that man/errand.1.scd has every command and option of the table in the command
itself, each option in the part about its command, and none that does not exist.

usage: options_check.py PATH-OF-ERRAND [MAN-PAGE]"""

import json
import re
import subprocess
import sys

COMMON = {"help", "no-autostart", "socket"}


def read_sections(text):
    """The part of the page about each command; the shared options under 'add', 'submit' and
    'call'; several commands may share one part."""
    parts, names, shared = {}, [], False
    for line in text.splitlines():
        if line.startswith("#"):
            shared = line == "# OPTIONS OF A TASK"
            names = ["add", "submit", "call"] if shared else []
        elif found := re.findall(r"\*errand ([a-z]+)\*", line) if re.match(r"\*errand [a-z]", line) else []:
            names = found
        for name in names:
            parts.setdefault(name, []).append(line)
    return {name: "\n".join(lines) for name, lines in parts.items()}


def options_of(part):
    return set(re.findall(r"\*--([a-z-]+)\*", part)), set(re.findall(r"\*-([a-zA-Z])\*", part))


def main():
    page = sys.argv[2] if len(sys.argv) > 2 else "man/errand.1.scd"
    with open(page, encoding="utf-8") as f:
        parts = read_sections(f.read())
    out = subprocess.run([sys.argv[1], "help", "--json"], check=True, capture_output=True).stdout
    table = [json.loads(line) for line in out.splitlines()]
    many = "".join(parts.get(n, "") for n in ("cancel", "pause", "resume", "retry", "remove"))
    problems = []
    for command in table:
        name = command["command"]
        if name not in parts:
            problems.append(f"{page}: errand {name} is not described")
            continue
        # what cancel, pause, resume, retry and remove share is said once
        part = many if name in ("cancel", "pause", "resume", "retry", "remove") else parts[name]
        names, letters = options_of(part)
        own = {o["name"] for o in command["options"]} - COMMON
        problems += [f"{page}: --{o} of errand {name} is not described" for o in sorted(own - names)]
        problems += [f"{page}: -{o['letter']} of errand {name} is not described"
                     for o in command["options"]
                     if o["letter"] and o["name"] not in COMMON and o["letter"] not in letters]
        if part is not many:
            problems += [f"{page}: errand {name} has no option --{o}"
                         for o in sorted(names - own - COMMON)]
    known = {c["command"] for c in table}
    problems += [f"{page}: there is no command errand {n}" for n in sorted(set(parts) - known)]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


sys.exit(main())
