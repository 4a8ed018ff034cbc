#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Starts of the daemon that cannot succeed, and what comes of a store, a socket or a lock that
somebody changes under it."""

import os
import resource
import subprocess

from house import ERRANDD, Wire, has, main, same

NOBODY = "/bin/false"


def start(h, *options, env=None):
    """errandd alone, until it has ended: exit code and words."""
    ran = subprocess.run([ERRANDD, "--foreground", *options], env={**h.env, **(env or {})},
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=200, check=False)
    return ran.returncode, ran.stdout.decode(errors="replace")


def made(h):
    return sorted(os.listdir(h.home))


def lock(h):
    with open(h.path("tasks.db.lock"), "rb") as f:
        return f.read()


def test_the_lock_says_whose_the_store_is(h):
    h.start(worker=NOBODY)
    same(lock(h), f"{h.daemon.pid}\n{h.socket}\nerrandd\n".encode())
    code, words = start(h)
    same(code, 5)
    has(words, f"belongs to errandd, pid {h.daemon.pid}, which answers at unix:{h.socket}")
    has(words, "errand shutdown ends it")
    same(lock(h), f"{h.daemon.pid}\n{h.socket}\nerrandd\n".encode())


def test_a_longer_entry_of_the_last_owner_is_cut(h):
    with open(h.path("tasks.db.lock"), "wb") as f:
        f.write(b"x" * 10000)
    h.start(worker=NOBODY)
    same(lock(h), f"{h.daemon.pid}\n{h.socket}\nerrandd\n".encode())


def test_a_socket_that_cannot_be_is_refused_before_anything_is_made(h):
    long = os.path.join(h.home, "x" * 100)
    folder = h.path("folder")
    os.mkdir(folder)
    h.touch("file")
    before = made(h)
    for path, words in ((h.home + "/" * 6000 + "errand.sock", "the path of the socket has"),
                        (h.home + "/a" * 3000, "the path of the socket has"),
                        (long, "is too long: use one of at most 80 bytes"),
                        (folder, "it is a folder, not a socket"),
                        (h.path("file"), "it is a file, not a socket")):
        code, said = start(h, env={"ERRAND_SOCKET": path})
        assert code != 0, path
        has(said, words)
        same(made(h), before, words)


def silent(h):
    """A worker that is there and says nothing."""
    path = h.path("silent")
    with open(path, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\nexec sleep 1000\n")
    os.chmod(path, 0o755)
    return path


def ends(h):
    """The sockets of that name: the door, and the daemon's ends of connections."""
    with open("/proc/net/unix", encoding="utf-8") as f:
        return sum(line.rstrip("\n").endswith((h.socket, f"{h.socket}.{h.daemon.pid}"))
                   for line in f)


def test_a_door_that_cannot_be_opened_again_is_tried_until_it_can(h):
    h.start(worker=silent(h))
    pid = h.daemon.pid
    h.until(lambda: ends(h) == 1, "the connections to be closed")
    used = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
    free = next(n for n in range(1000) if n not in used)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # one descriptor is left, for the socket: none for what listens on it
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free + 1, limits[1]))
    os.unlink(h.socket)
    h.until(lambda: h.log().count("cannot start the HTTP server") >= 3, "three failures")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    h.until(lambda: answers(h), "the door")
    same(h.expect(200, "GET", "/healthz").status, 200)
    same(h.log().count("cannot listen"), 0)


def answers(h):
    try:
        wire = Wire(h.socket)
    except OSError:
        return False
    wire.close()
    return True


main(globals())
