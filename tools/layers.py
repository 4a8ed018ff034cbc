#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that rooms include only what lies below them, and foreign headers only at home.

The tables below are the architecture (docs/ARCHITECTURE.md shows the same). Run from the
root of the source tree; prints each breach as FILE:LINE and exits 1 when there is one.
"""

import os
import re
import sys

# Room: the rooms whose headers it may include, beside its own.
MAY_INCLUDE = {
    "base": [],
    "model": ["base"],
    "store": ["base", "model"],
    "wire": ["base", "model"],
    "engine": ["base", "model", "store", "wire"],
    "api": ["base", "model", "store", "wire", "engine"],
    "serve": ["base", "model", "store", "wire", "engine", "api"],
    "lib": ["base", "model", "store", "wire", "engine", "api", "serve"],
    "work": ["base", "model", "wire"],
    "app": ["base", "model", "wire"],
    "types": [],
}

# Foreign header: the places (folders or beginnings of file names) where it may be included.
AT_HOME = {
    "sqlite3.h": ["src/store/"],
    "uv.h": ["src/engine/", "src/api/", "src/serve/", "src/work/", "src/lib/"],
    "microhttpd.h": ["src/serve/"],
    "yaml.h": ["src/wire/config"],
    "pcre2.h": ["src/wire/params"],
    "jansson.h": ["src/wire/", "src/engine/", "src/api/", "src/serve/", "src/work/", "src/app/", "src/lib/", "src/types/"],
    "openssl/evp.h": ["src/types/"],
    "curl/curl.h": ["src/types/"],
    "utf8proc.h": ["src/base/utf8.c", "src/app/"],
    "xxhash.h": ["src/base/", "src/store/", "src/engine/", "src/wire/", "src/api/", "src/lib/"],
    "uthash.h": ["src/"],
}

# Headers of the C library and the kernel need no list: they have none of these names.
SYSTEM = re.compile(
    r"^(sys|linux|netinet|arpa|net|bits|asm)/|^(aio|alloca|arpa|assert|ctype|dirent|dlfcn|endian"
    r"|err|errno|fcntl|ftw|float|fnmatch|getopt|glob|grp|inttypes|langinfo|libgen|limits|locale"
    r"|malloc|math|netdb|poll|pthread|pwd|sched|semaphore|setjmp|signal|spawn|stdalign|stdarg"
    r"|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|sysexits|syslog"
    r"|termios|time|ucontext|unistd|wchar|wctype)\.h$"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')


def sources():
    for folder, _, names in os.walk("src"):
        for name in sorted(names):
            if name.endswith((".c", ".h", ".def")):
                yield os.path.join(folder, name)


def breach(path, room, style, header):
    """The reason why this file must not include that header, or None."""
    if style == '"':
        target = header.split("/")[0]
        if header == "errand.h":
            return None if room in ("lib", "app", "types") else "errand.h is for the library's users"
        if "/" not in header or not os.path.exists(f"src/{header}"):
            return f'"{header}" does not stand under src/ (includes are rooted there)'
        if target != room and target not in MAY_INCLUDE[room]:
            return f'{room} may not include {target} ("{header}")'
        return None
    if header == "errand.h" and room in ("lib", "app", "types"):
        return None
    homes = AT_HOME.get(header)
    if homes is None:
        return None if SYSTEM.match(header) else f"<{header}> is not in the table of tools/layers.py"
    if not any(path.startswith(home) for home in homes):
        return f"<{header}> belongs into {', '.join(homes)} only"
    return None


def check(path):
    room = path.split("/")[1]
    if room not in MAY_INCLUDE:
        return [f"{path}: the room '{room}' is not in the table of tools/layers.py"]
    found = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            reason = match and breach(path, room, *match.groups())
            if reason:
                found.append(f"{path}:{number}: {reason}")
    return found


def main():
    files = list(sources())
    if not files:
        print("layers: no sources here; run it from the root of the tree")
        return 1
    found = [text for path in files for text in check(path)]
    for text in found:
        print(text)
    print(f"layers: {len(files)} files, {len(found)} breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
