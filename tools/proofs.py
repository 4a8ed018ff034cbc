#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that the tests which docs/SEMANTICS.md names as proofs are there.

A proof is `FILE: NAME` in backquotes; the file has to contain the name. A file that is named
alone has to exist. usage: proofs.py [ROOT]
"""

import os
import re
import sys


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    with open(os.path.join(root, "docs/SEMANTICS.md"), encoding="utf-8") as text:
        table = text.read().split("## Which test proves it", 1)[1].split("\n## ", 1)[0]
    wrong = []
    proofs = re.findall(r"`((?:tests|tools)/[^`:]+)(?:: ([^`]+))?`", table)
    for path, name in proofs:
        full = os.path.join(root, path)
        if not os.path.exists(full):
            wrong.append(f"{path} is not there")
            continue
        if not name:
            continue
        with open(full, encoding="utf-8") as source:
            if name not in source.read():
                wrong.append(f"{path} has no test '{name}'")
    for line in table.splitlines():
        if line.startswith("|") and "tests/" not in line and "tools/" not in line and "---" not in line \
                and not line.startswith("| rule "):
            wrong.append(f"a rule without a proof: {line}")
    if len(proofs) < 50:
        wrong.append(f"only {len(proofs)} proofs were found: is the table still read right?")
    for words in wrong:
        print(f"docs/SEMANTICS.md: {words}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
