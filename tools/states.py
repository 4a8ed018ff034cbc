#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the state table of docs/SEMANTICS.md from src/model/task_states.def.

usage: states.py --print | --write | --check

The table stands between the two marks in the document; --check fails when it is not the
one that the code has.
"""

import re
import sys

TABLE = "src/model/task_states.def"
DOCUMENT = "docs/SEMANTICS.md"
BEGIN, END = "<!-- states: begin -->", "<!-- states: end -->"
ENTRY = re.compile(
    r'ER_STATE\((\w+), (\d+), "([^"]+)", "([^"]+)", "([^"]+)", (true|false),\s*'
    r'((?:S\(\w+\)[\s|]*)+),\s*"([^"]+)"\)'
)


def states():
    with open(TABLE, encoding="utf-8") as text:
        found = ENTRY.findall(text.read())
    words = {name: word for name, _, word, *_ in found}
    for name, number, word, icon, _ascii, final, moves, meaning in found:
        to = [words[move] for move in re.findall(r"S\((\w+)\)", moves)]
        yield number, word, icon, final == "true", to, meaning


def table():
    lines = ["| number | state | | meaning | may go to |", "|---|---|---|---|---|"]
    for number, word, icon, final, to, meaning in states():
        note = " (by `retry` only)" if final else ""
        shown = f"**{word}**" if final else word
        lines.append(f"| {number} | {shown} | {icon} | {meaning} | {', '.join(to)}{note} |")
    return "\n".join(lines)


def main(args):
    if len(list(states())) < 8:
        print(f"states: cannot read {TABLE}: fewer than eight states found")
        return 1
    if args == ["--print"]:
        print(table())
        return 0
    with open(DOCUMENT, encoding="utf-8") as text:
        document = text.read()
    before, begin, rest = document.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        print(f"states: the marks are missing in {DOCUMENT}")
        return 1
    if args == ["--check"]:
        if old.strip() != table():
            print(f"states: the table in {DOCUMENT} is not that of {TABLE}: tools/states.py --write")
            return 1
        print("states: the document has the table of the code")
        return 0
    if args == ["--write"]:
        with open(DOCUMENT, "w", encoding="utf-8") as text:
            text.write(f"{before}{BEGIN}\n{table()}\n{END}{after}")
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
