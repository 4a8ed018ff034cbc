#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the tables of docs/SEMANTICS.md from the tables of the code.

usage: tables.py --print | --write | --check

The states come from src/model/task_states.def, the settings from src/model/options.def.
Each table stands between its two marks in the document; --check fails when one is not what
the code has.
"""

import re
import sys

DOCUMENT = "docs/SEMANTICS.md"
STATE = re.compile(
    r'ER_STATE\((\w+), (\d+), "([^"]+)", "([^"]+)", "([^"]+)", (true|false),\s*'
    r'((?:S\(\w+\)[\s|]*)+),\s*"([^"]+)"\)'
)
OPTION = re.compile(
    r'^OPTION\(\w+, "(\w+)", (\w+), "([^"]*)",.*?"(ERRAND_\w+)",\s*"((?:[^"]|"\s*")+)"\)',
    re.MULTILINE | re.DOTALL,
)


def read(path):
    with open(path, encoding="utf-8") as text:
        return text.read()


def states():
    found = STATE.findall(read("src/model/task_states.def"))
    if len(found) != 8:
        raise SystemExit(f"tables: {len(found)} states found, not eight")
    words = {name: word for name, _, word, *_ in found}
    lines = ["| number | state | | meaning | may go to |", "|---|---|---|---|---|"]
    for _, number, word, icon, _ascii, final, moves, meaning in found:
        to = ", ".join(words[move] for move in re.findall(r"S\((\w+)\)", moves))
        note = " (by `retry` only)" if final == "true" else ""
        shown = f"**{word}**" if final == "true" else word
        lines.append(f"| {number} | {shown} | {icon} | {meaning} | {to}{note} |")
    return "\n".join(lines)


def settings():
    text = read("src/model/options.def")
    found = OPTION.findall(text)
    if len(found) != len(re.findall(r"^OPTION\(", text, re.MULTILINE)):
        raise SystemExit("tables: cannot read all of src/model/options.def")
    lines = ["| setting | default | variable | meaning |", "|---|---|---|---|"]
    for key, _kind, default, variable, meaning in found:
        meaning = re.sub(r'"\s*"', "", meaning)
        lines.append(f"| {key} | {default or '-'} | {variable} | {meaning} |")
    return "\n".join(lines)


TABLES = {"states": states, "settings": settings}


def parts(document, name):
    """What stands before, in and behind the marks of a table."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = document.partition(begin)
    old, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise SystemExit(f"tables: the marks of '{name}' are missing in {DOCUMENT}")
    return before + begin, old, end + after


def main(args):
    if args == ["--print"]:
        for make in TABLES.values():
            print(make())
        return 0
    if args not in (["--check"], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 2
    document, code = read(DOCUMENT), 0
    for name, make in TABLES.items():
        before, old, after = parts(document, name)
        if args == ["--check"] and old.strip() != make():
            print(f"tables: '{name}' in {DOCUMENT} is not what the code has: tools/tables.py --write")
            code = 1
        document = f"{before}{make()}\n{after}"
    if args == ["--write"]:
        with open(DOCUMENT, "w", encoding="utf-8") as out:
            out.write(document)
    elif code == 0:
        print("tables: the document has the tables of the code")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
