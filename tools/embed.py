#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a C file that holds the contents of files as NUL-terminated arrays of bytes.

usage: embed.py OUT.c NAME FILE...

The C file defines `const char *const NAME[]`, one entry a file in the order given, and
`const int NAME_count`.
"""

import sys


def array(name, data):
    lines = [f"static const char {name}[] = {{"]
    for i in range(0, len(data), 16):
        lines.append("    " + " ".join(f"{byte - 256 if byte > 127 else byte}," for byte in data[i : i + 16]))
    lines.append("    0,\n};")
    return "\n".join(lines)


def main(args):
    if len(args) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    out, name, files = args[0], args[1], args[2:]
    parts = ["/* Made by tools/embed.py; do not edit. */"]
    for number, path in enumerate(files):
        with open(path, "rb") as source:
            parts.append(array(f"file_{number}", source.read()))
    entries = ", ".join(f"file_{number}" for number in range(len(files)))
    parts.append(f"extern const char *const {name}[];\nextern const int {name}_count;")
    parts.append(f"const char *const {name}[] = {{{entries}}};\nconst int {name}_count = {len(files)};")
    with open(out, "w", encoding="ascii") as target:
        target.write("\n".join(parts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
