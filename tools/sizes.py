#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the sizes of functions and files, with the long tails by name: these fail nobody.
Fails where a line of a comment is wider than WIDEST (docs/STYLE.md asks for 90, which
clang-format does not see to in comments), and where a .c file under src has no head: a
comment that begins on its second line.

A function begins where a name stands at the start of a line with '(' behind it (the return
type has its own line) and ends with '}' at the start of a line.
"""

import os
import re
import sys

WIDEST = 90
COMMENT = re.compile(r"^\s*(/\*|\*)(\s|$)")
HEAD = re.compile(r"^([a-z_][a-z0-9_]*)\(")


def c_files():
    for folder, _, names in os.walk("src"):
        for name in names:
            if name.endswith((".c", ".h")):
                yield os.path.join(folder, name)


def wide_comments():
    """Lines of comments that are too wide, in all C of the tree, as FILE:LINE."""
    for root in ("bench", "examples", "include", "src", "tests"):
        for folder, _, names in os.walk(root):
            for name in names:
                if not name.endswith((".c", ".h", ".def", ".cc")):
                    continue
                with open(os.path.join(folder, name), encoding="utf-8") as lines:
                    for number, line in enumerate(lines, 1):
                        width = len(line.rstrip("\n"))
                        if width > WIDEST and COMMENT.match(line):
                            yield f"{os.path.join(folder, name)}:{number}: {width} columns"


def headless():
    for path in c_files():
        if path.endswith(".c"):
            with open(path, encoding="utf-8") as lines:
                if not lines.read().split("\n", 1)[1].startswith("/*"):
                    yield path


def functions(path, lines):
    name, start = None, 0
    for number, line in enumerate(lines, 1):
        match = HEAD.match(line)
        if match and path.endswith(".c"):
            name, start = match.group(1), number
        elif line.startswith("}") and name:
            yield number - start + 1, name, f"{path}:{start}"
            name = None


def row(what, sizes):
    sizes = sorted(sizes)
    at = lambda part: sizes[min(len(sizes) - 1, int(part * len(sizes)))]
    print(f"{what}: {len(sizes)}, median {at(0.5)}, p90 {at(0.9)}, p99 {at(0.99)}, most {sizes[-1]}")


def main():
    funcs, files = [], []
    for path in c_files():
        with open(path, encoding="utf-8") as text:
            lines = text.read().splitlines()
        files.append((len(lines), path))
        funcs += functions(path, lines)
    if not funcs:
        print("sizes: no functions found; run it from the root of the tree")
        return 1
    row("files", [size for size, _ in files])
    row("functions", [size for size, _, _ in funcs])
    for size, path in sorted(files, reverse=True):
        if size > 700:
            print(f"  long file: {size} {path}")
    for size, name, where in sorted(funcs, reverse=True):
        if size > 60:
            print(f"  long function: {size} {name} {where}")
    wide, bare = sorted(wide_comments()), sorted(headless())
    for where in wide:
        print(f"comment wider than {WIDEST}: {where}")
    for path in bare:
        print(f"no head that says how it goes, and how it fails: {path}:2")
    return 1 if wide or bare else 0


if __name__ == "__main__":
    sys.exit(main())
