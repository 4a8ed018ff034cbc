#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Starts of the daemon that cannot succeed, and what comes of a store, a socket or a lock that
somebody changes under it."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys

from house import ERRANDD, WORKER, Wire, alive, has, main, same

NOBODY = "/bin/false"
ERRAND = os.environ.get("ERRAND")


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


def test_without_descriptors_the_log_says_so_and_it_goes_on_when_there_are(h):
    h.start(worker=silent(h))
    pid, words = h.daemon.pid, "no connection can be accepted: Too many open files"
    open_before = Wire(h.socket)
    open_before.send("GET", "/healthz")
    same(open_before.answer().status, 200)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))  # all that are open stay
    waits = Wire(h.socket)
    h.until(lambda: words in h.log(), "the warning")
    assert h.log().count(words) < 10, "a line for each try"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    open_before.close()
    waits.send("GET", "/healthz")
    same(waits.answer().status, 200)
    waits.close()


def test_the_daemon_has_all_descriptors_and_commands_those_of_the_user(h):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = (min(500, hard - 1), hard)
    h.start(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits))
    same(resource.prlimit(h.daemon.pid, resource.RLIMIT_NOFILE), (hard, hard))
    task = h.sh("ulimit -Sn > limits; ulimit -Hn >> limits")
    h.wait(task, state="completed")
    with open(h.path("limits"), encoding="ascii") as f:
        same(f.read().split(), ["unlimited" if n < 0 else str(n) for n in limits])


def test_the_socket_of_another_daemon_stays(h):
    # It is moved away while nothing of this one's is looked at: as it ends.
    h.start(worker=silent(h))
    os.kill(h.daemon.pid, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(h.socket + ".other")
        other.listen()
        os.rename(h.socket + ".other", h.socket)
        h.daemon.terminate()
        os.kill(h.daemon.pid, signal.SIGCONT)
        same(h.daemon.wait(200), 0)
        assert answers(h), "another daemon's socket is gone"


def answers(h):
    try:
        wire = Wire(h.socket)
    except OSError:
        return False
    wire.close()
    return True


def command(h, *args, env=None):
    """errand: exit code, output, words."""
    ran = subprocess.run([ERRAND, *args], env={**h.env, **(env or {})}, cwd=h.home,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=300, check=False, text=True)
    return ran.returncode, ran.stdout, ran.stderr


def remove_store(h, *but):
    for name in os.listdir(h.home):
        if name in ("tasks.db", "tasks.db-wal", "tasks.db-shm") and name not in but:
            os.unlink(h.path(name))


def test_a_store_that_is_deleted_ends_its_daemon(h):
    h.start(worker=silent(h))
    h.submit()
    remove_store(h)
    same(h.gone(), 0)
    has(h.log(), "the store's file was deleted, moved or replaced under the daemon: ending")
    assert not os.path.exists(h.path("tasks.db")), "somebody made it again"


def test_a_home_that_is_deleted_ends_its_daemon(h):
    h.env["ERRAND_SOCKET"] = h.socket
    h.env["ERRAND_HOME"] = h.path("inner")
    os.mkdir(h.path("inner"))
    h.start(worker=silent(h), config=None)
    shutil.rmtree(h.path("inner"))
    same(h.gone(), 0)
    has(h.log(), "the store's file was deleted")


def test_a_store_that_is_replaced_is_not_taken_for_its_own(h):
    h.start(worker=silent(h))
    h.touch("other")
    os.rename(h.path("other"), h.path("tasks.db"))
    same(h.gone(), 0)
    has(h.log(), "moved or replaced")
    same(os.path.getsize(h.path("tasks.db")), 0)


def aside(h, start):
    return [name for name in made(h) if name.startswith(start + ".old-")]


def test_a_new_store_does_not_find_the_output_of_an_old_one(h):
    h.start()
    h.end(h.sh("echo secret"))
    h.kill(signal.SIGTERM)
    same(h.gone(), 0)
    remove_store(h)
    h.start(None)
    task = h.sh("echo new")
    same((task, h.end(task)["state"]), (1, "completed"))
    same(h.expect(200, "GET", "/v1/tasks/1/log").body, b"new\n")
    has(h.log(), "there is no store")
    same(len(aside(h, "logs")), 1)


def test_a_journal_without_its_store_is_moved_aside(h):
    h.start(worker=silent(h))
    h.submit()
    os.kill(h.daemon.pid, signal.SIGKILL)
    h.gone()
    remove_store(h, "tasks.db-wal")
    size = os.path.getsize(h.path("tasks.db-wal"))
    assert size > 0
    h.start(None, worker=silent(h))
    has(h.log(), "but the journal (the newest of its tasks) of an earlier one: moved aside")
    same([os.path.getsize(h.path(name)) for name in aside(h, "tasks.db-wal")], [size])


def test_what_a_store_left_stays_when_it_is_away_for_a_while(h):
    h.start(worker=NOBODY)
    h.kill(signal.SIGTERM)
    same(h.gone(), 0)
    disk = h.path("disk")
    os.mkdir(disk)
    os.rename(h.path("tasks.db"), os.path.join(disk, "tasks.db"))
    os.symlink(os.path.join(disk, "tasks.db"), h.path("tasks.db"))
    h.touch("logs/1-1.log")
    os.rename(disk, h.path("unmounted"))
    code, words = start(h)
    same(code == 0, False)
    has(words, "tasks.db' cannot be made")
    same(aside(h, "logs"), [])
    os.rename(h.path("unmounted"), disk)
    h.start(worker=NOBODY)
    same(aside(h, "logs"), [])
    same(os.path.exists(h.path("logs/1-1.log")), True)


def test_a_clean_end_leaves_all_in_the_stores_file(h):
    h.start(worker=silent(h))
    for _ in range(20):
        h.submit("x" * 2000)
    h.kill(signal.SIGTERM)
    same(h.gone(), 0)
    assert os.path.getsize(h.path("tasks.db")) > 40000
    assert not os.path.exists(h.path("tasks.db-wal")) or \
        os.path.getsize(h.path("tasks.db-wal")) == 0


def test_a_start_that_cannot_succeed_is_tried_once(h):
    with open(h.path("tasks.db"), "wb") as f:
        f.write(b"this is no store at all" * 1000)
    code, _, words = command(h, "tasks")
    same(code, 4)
    has(words, "errand: cannot start the daemon: cannot open the store")
    with open(h.path("errandd.log"), encoding="utf-8") as f:
        same(f.read().count("cannot open the store"), 1)


def test_a_second_daemon_in_the_foreground_says_so(h):
    h.start(worker=silent(h))
    code, words = start(h)
    same(code, 5)
    has(words, "\nerrand: the store")


def test_a_worker_that_ends_at_its_start_is_told_in_words(h):
    h.start(worker="/bin/false")
    h.until(lambda: "the worker ended at its start (exit code 1)" in h.log(), "the words")
    killed = h.path("killed")
    with open(killed, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\nkill -9 $$\n")
    os.chmod(killed, 0o755)
    h.kill(signal.SIGQUIT)
    h.gone()
    h.start(None, worker=killed)
    h.until(lambda: "the worker ended at its start (signal KILL)" in h.log(), "the words")


def test_numbers_are_numbers(h):
    for value in ("x", "3x", "", "-1", "99999999999"):
        code, words = start(h, "--ready-fd", value)
        same(code, 2)
        has(words, "--ready-fd must be the number of a descriptor")
    for value in ("4x", "0", "", "-2", "99999999999"):
        ran = subprocess.run([WORKER, "--slots", value], env=h.env, stderr=subprocess.PIPE,
                             timeout=200, check=False, text=True)
        same(ran.returncode, 2)
        has(ran.stderr, "--slots must be a number from 1 to 10000")


def holds_a_pidfd(pid):
    try:
        return any("[pidfd]" in os.readlink(f"/proc/{pid}/fd/{n}")
                   for n in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def test_what_a_daemon_that_ends_refuses_goes_to_the_next(h):
    h.start("drain: 600s\n")
    h.sh("echo >up; until [ -e go ]; do sleep 0.02; done")
    h.until(lambda: os.path.exists(h.path("up")), "the start")
    h.kill(signal.SIGTERM)
    h.until(lambda: h.call("GET", "/readyz").status == 503, "readyz to be 503")
    with subprocess.Popen([ERRAND, "add", "--", "true"], env=h.env, cwd=h.home,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as add:
        h.until(lambda: add.poll() is not None or holds_a_pidfd(add.pid), "the wait")
        h.touch("go")
        out, words = add.communicate(timeout=200)
    same((add.returncode, out), (0, "2\n"), words)
    same(h.end(2)["state"], "completed")
    same(command(h, "shutdown")[0], 0)


def test_a_task_does_not_end_its_own_daemon(h):
    h.start()
    task = h.sh(f"{ERRAND} shutdown --now 2>words; echo $? >code")
    same(h.file("code"), "5")
    has(h.file("words"), f"this is task {task} of the daemon that it would end")
    same(h.end(task)["attempt"], 1)


def test_something_in_the_sockets_place_is_no_missing_daemon(h):
    h.start(worker=silent(h))
    other = h.path("other")
    os.mkdir(other)
    code, _, words = command(h, "shutdown", env={"ERRAND_SOCKET": other})
    same(code, 4)
    has(words, f"the daemon with pid {h.daemon.pid} has the store")
    has(words, "it starts or ends just now, or hangs")
    has(words, "where ERRAND_SOCKET points")


# Has a store's lock, or its claim, and is half dead: its first thread is over, its last one
# goes, and lets go, when somebody looks.
HALF_DEAD = """
import ctypes, fcntl, os, socket, sys, threading
kind, lock_path, store = sys.argv[1:]
libc = ctypes.CDLL(None)
if kind == "lock":
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, b"%d\\n\\nerrandd\\n" % os.getpid())
    news = libc.inotify_init()
    libc.inotify_add_watch(news, lock_path.encode(), 0x20) # IN_OPEN
    look = lambda: os.read(news, 4096)
else:
    at = os.stat(store)
    claim = socket.socket(socket.AF_UNIX)
    claim.bind("\\0errand-store-%x-%x" % (at.st_dev, at.st_ino))
    claim.listen()
    look = claim.accept
def last():
    print("there", flush=True)
    look()
    os._exit(0)
threading.Thread(target=last).start()
libc.pthread_exit(None)
"""


def test_an_owner_that_is_half_dead_is_waited_for(h):
    h.start()
    for kind in ("lock", "claim"):
        h.kill(signal.SIGQUIT)
        same(h.gone(), 0)
        with subprocess.Popen([sys.executable, "-c", HALF_DEAD, kind, h.path("tasks.db.lock"),
                               h.path("tasks.db")], stdout=subprocess.PIPE, text=True) as owner:
            same(owner.stdout.readline(), "there\n")
            h.until(lambda: not alive(owner.pid), "its first thread's end")
            h.start(None)
            same(owner.wait(200), 0)


def test_a_relative_home_is_absolute(h):
    h.env["ERRAND_HOME"] = "inner"
    os.mkdir(h.path("inner"))
    code, out, words = command(h, "add", "--", "true")
    same((code, out), (0, "1\n"), words)
    assert os.path.exists(h.path("inner/tasks.db"))
    same(command(h, "shutdown")[0], 0)


main(globals())
