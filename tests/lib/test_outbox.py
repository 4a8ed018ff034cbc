#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An order and its task are both there or neither, wherever the program is killed.

usage: test_outbox.py PROGRAM      (examples/outbox.c, built)

strace ends the program with SIGKILL at its n-th write to a file, for n = 1, 2, 3 ... until none
is hit; a run without orders afterwards is the next start of the program. Then each order must
have exactly one task. Needs strace that may trace (else the test says that it was skipped).
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile

ORDERS = 4
CALLS = "pwrite64,fdatasync,ftruncate,unlink"


def run(program, folder, orders, *before):
    urls = [f"{folder}/shop.db", f"sqlite:{folder}/tasks.db", str(orders)]
    return subprocess.run([*before, program, *urls], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=300, check=False)


def look(folder):
    """Orders that are committed, and the orders that tasks name."""
    shop = sqlite3.connect(f"{folder}/shop.db")
    tables = [row[0] for row in shop.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    orders = [row[0] for row in shop.execute("SELECT id FROM orders")] if "orders" in tables else []
    left = shop.execute("SELECT count(*) FROM errand_outbox").fetchone()[0] if "errand_outbox" in tables else 0
    shop.close()
    tasks = sqlite3.connect(f"file:{folder}/tasks.db?mode=ro", uri=True)
    named = [row[0] for row in tasks.execute(
        "SELECT json_extract(args, '$.order') FROM task WHERE lane IN"
        " (SELECT id FROM lane WHERE type = 'order.ship')")]
    tasks.close()
    return sorted(orders), sorted(named), left


def killed_at(program, n):
    """None when the n-th write never came; else what was wrong, or ''."""
    folder = tempfile.mkdtemp(prefix="errand-outbox-")
    try:
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e",
                  f"inject={CALLS}:signal=SIGKILL:when={n}"]
        first = run(program, folder, ORDERS, *strace)
        if first.returncode == 0:
            return None
        again = run(program, folder, 0)
        if again.returncode != 0:
            return f"the next start failed: {again.stderr.strip()}"
        orders, named, left = look(folder)
        if orders != named or left:
            return f"orders {orders}, tasks {named}, {left} left in the outbox"
        return ""
    finally:
        shutil.rmtree(folder)


def can_trace():
    try:
        return subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", "inject=pwrite64:signal=SIGKILL:when=999",
                               "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


def main():
    program = os.path.abspath(sys.argv[1])
    print("1..2")
    if not can_trace():
        print("ok 1 # SKIP strace may not trace here\nok 2 # SKIP strace may not trace here")
        return 0
    folder = tempfile.mkdtemp(prefix="errand-outbox-")
    calm = run(program, folder, ORDERS)
    orders, named, left = look(folder)
    shutil.rmtree(folder)
    good = calm.returncode == 0 and orders == named and len(orders) == ORDERS and not left
    print(f"{'ok' if good else 'not ok'} 1 - without a kill every order has its task")
    n, bad = 1, []
    while True:
        wrong = killed_at(program, n)
        if wrong is None:
            break
        if wrong:
            bad.append(f"# killed at write {n}: {wrong}")
        n += 1
    for line in bad:
        print(line)
    print(f"# {n - 1} places to be killed at")
    print(f"{'ok' if not bad and n > 20 else 'not ok'} 2 - killed at any write, each order has exactly one task")
    return 0


sys.exit(main())
