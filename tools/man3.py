#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the man page errand(3) from the library's header, which is its only manual.

usage: man3.py include/errand.h > errand.3

The head comment becomes the description; each section (a comment with dashes) a section of the
page: declarations as they stand, each followed by the words of the comment above it.
"""

import re
import sys

BLOCK = re.compile(r" {4}|  +\S.*\S {2,}\S")
RULE = re.compile(r"/\* -{3,} (.*?) -{3,} \*/")


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def words(comment):
    """The text of a comment, without its stars; empty lines separate paragraphs."""
    inner = comment.strip()[2:-2]
    return [re.sub(r"^ ?\*? ?", "", line, count=1).rstrip() if i else line.strip()
            for i, line in enumerate(inner.split("\n"))]


def paragraphs(lines):
    """Filled text and blocks as they stand, as (kind, text). A block is indented by four, or is a
    table (with wide gaps); what is indented less begins a paragraph."""
    block, kind = [], None
    for line in [*lines, ""]:
        here = None if not line.strip() else "code" if BLOCK.match(line) else "text"
        if here == "text" and line.startswith("  ") and block and kind == "text":
            yield kind, "\n".join(block).rstrip()
            block = []
        if here != kind and block and not (kind == "code" and here is None):
            yield kind, "\n".join(block).rstrip()
            block = []
        if here is None and kind == "code":
            block.append("")
            continue
        kind = here
        if here:
            block.append(line)
    if block and kind:
        yield kind, "\n".join(block).rstrip()


def put(lines):
    for kind, text in paragraphs(lines):
        if kind == "code":
            cut = min(len(x) - len(x.lstrip()) for x in text.split("\n") if x.strip())
            body = "\n".join(x[cut:] for x in text.split("\n"))
            print(f".Bd -literal -offset indent\n{escape(body)}\n.Ed")
        else:
            text = "\n".join(line.lstrip() for line in text.split("\n"))
            print(".Pp\n" + escape(re.sub(r"([A-Za-z0-9)\"`'][.?!]\)?) +(?=\S)", r"\1\n", text)))


def declare(code):
    if code.strip().startswith("ERRAND_API "):
        code = re.sub(r"^ {11}", "", code, flags=re.M)
    code = re.sub(r"^ERRAND_API ", "", code, flags=re.M)
    code = re.sub(r"\n#if defined.*?#endif\n\s*;", ";", code, flags=re.S)
    print(f".Bd -literal\n{escape(code.strip())}\n.Ed")


def pieces(text):
    """Comments at the left edge and the code between them, in order."""
    at = 0
    for match in re.finditer(r"^/\*.*?\*/[^\S\n]*$", text, flags=re.S | re.M):
        if text[at:match.start()].strip():
            yield "code", text[at:match.start()]
        yield "comment", match.group()
        at = match.end()
    if text[at:].strip():
        yield "code", text[at:]


def keep(code):
    """Blocks of code without what is the preprocessor's own business."""
    lines = code.split("\n")
    out, depth = [], 0
    for line in lines:
        if re.match(r"#\s*if", line):
            depth += 1
        if depth == 0 and not re.match(r"#\s*(include|endif|else)|/\* clang-format o", line):
            out.append(line)
        elif depth and "format(printf" in line:
            out[-1] += ";"
        if re.match(r"#\s*endif", line):
            depth -= 1
    return [b for b in re.split(r"\n\s*\n", "\n".join(out)) if b.strip() not in ("", ";")]


def names(text):
    return sorted(set(re.findall(r"\b(errand_[a-z0-9_]+)\(", "\n".join(
        line for line in text.split("\n") if not line.startswith(" *")))))


def main(args):
    if len(args) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with open(args[0], encoding="utf-8") as source:
        text = source.read()
    text = text[text.index("\n") + 1:]  # without the licence
    head = text[:text.index("*/") + 2]
    body = text[len(head):]
    lines = words(head)
    print('.\\" Made from errand.h by tools/man3.py; do not edit.')
    print(".Dd $Mdocdate$\n.Dt ERRAND 3\n.Os\n.Sh NAME\n.Nm errand\n.Nd background tasks that are never lost, from a program")
    print(".Sh SYNOPSIS\n.In errand.h\n.Pp\ncc app.c $(pkg\\-config \\-\\-cflags \\-\\-libs errand)\n.Sh DESCRIPTION")
    put(lines[1:])
    pending = None
    for kind, piece in pieces(body):
        rule = RULE.fullmatch(piece.strip()) if kind == "comment" else None
        if kind == "comment" and re.match(r"/\* clang-format o", piece):
            continue
        if kind == "comment":
            if pending is not None:
                put(pending)
            pending = None
            if rule:
                print(f".Sh {escape(rule.group(1).upper())}")
            else:
                pending = words(piece)
            continue
        for block in keep(piece):
            declare(block)
            if pending is not None:
                put(pending)
                pending = None
    if pending is not None:
        put(pending)
    print(".Sh SEE ALSO\n.Xr errand 1")
    return 0


sys.exit(main(sys.argv[1:]))
