# SPDX-License-Identifier: MIT
"""A daemon that only speaks the workers' half of docs/PROTOCOL.md, for tests of
errand-worker: it hands out what the test says and keeps what the worker reports.

Nothing here sleeps for a fixed time: every wait is for an event, with a generous limit that
only a failing test reaches."""

import base64
import errno
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

LIMIT = 200.0  # seconds until a wait has failed
TOKEN = secrets.token_hex(16)  # cases run side by side must not end each other's processes
HEAD, TAIL = 8 << 20, 8 << 20


class Connection:
    """One accepted connection: reads requests, writes answers."""

    def __init__(self, sock):
        self.sock = sock
        self.rest = b""

    def _more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError
        self.rest += data

    def request(self):
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        while len(self.rest) < length:
            self._more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return lines[0].split(" ")[1], headers, body

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.sock.sendall(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(text), text)
        )


class FakeDaemon:
    """Listens on `home`/errand.sock."""

    def __init__(self, home, session=7, slots=2, knows=True, welcome=None):
        self.home = home
        self.path = os.path.join(home, "errand.sock")
        self.session = session
        self.slots = slots
        self.knows = knows  # False: a hello with a session is answered 409
        self.more_welcome = welcome or {}
        self.change = threading.Condition()
        self.hellos = []
        self.lines = []  # all lines of reports, in order
        self.reports = []  # (headers, [lines]) of each report
        self.statuses = []  # what the next reports are answered with; 200 when empty
        self.refuses = lambda line: False  # a report with such a line is answered 400
        self.held = None  # an Event: no report is answered before it is set
        self.lost = []  # what the next answer says
        self.stream = None  # the claim connection
        self.closed = False
        os.makedirs(home, exist_ok=True)
        self.server = socket.socket(socket.AF_UNIX)
        beside = self.path + ".new"
        self.server.bind(beside)
        self.server.listen(16)
        os.rename(beside, self.path)
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    # ---- the server

    def _accept(self):
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            self.connections.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        conn = Connection(sock)
        try:
            while True:
                target, headers, body = conn.request()
                if target == "/v1/work/claim":
                    self._claim(conn, json.loads(body))
                elif target == "/v1/work/report":
                    self._report(conn, headers, body)
                else:
                    conn.answer(404, {"code": "not-found"})
        except (EOFError, OSError):
            pass
        with self.change:
            if self.stream is conn:
                self.stream = None
            self.change.notify_all()

    def _claim(self, conn, hello):
        if hello["session"] is not None and not self.knows:
            with self.change:
                self.hellos.append(hello)
                self.change.notify_all()
            conn.answer(409, {"code": "lost"})
            return
        conn.sock.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        welcome = {
            "session": hello["session"] or self.session,
            "token": hello["token"] or TOKEN,
            "worker": "w1",
            "slots": self.slots,
            "logs": os.path.join(self.home, "logs"),
            "lock": os.path.join(self.home, "w1.lock"),
            "output_head": HEAD,
            "output_tail": TAIL,
            "progress_interval_ms": 100,
        }
        welcome.update(self.more_welcome)
        with self.change:
            self.hellos.append(hello)
            self.stream = conn
            self._send({"welcome": welcome})
            self.change.notify_all()

    def _report(self, conn, headers, body):
        lines = [json.loads(line) for line in body.decode().splitlines()]
        with self.change:
            status = self.statuses.pop(0) if self.statuses else 200
            if status == 200 and any(self.refuses(line) for line in lines):
                status = 400
            self.reports.append((headers, lines, status))
            if status == 200:
                self.lines += lines
            lost, self.lost = (self.lost, []) if status == 200 else ([], self.lost)
            self.change.notify_all()
        if self.held:
            self.held.wait(LIMIT)
        if status == "hang up":
            conn.sock.shutdown(socket.SHUT_RDWR)
            raise EOFError
        conn.answer(status, {"lost": lost})

    # ---- what tests say

    def _send(self, order):
        text = json.dumps(order).encode() + b"\n"
        self.stream.sock.sendall(b"%x\r\n%s\r\n" % (len(text), text))

    def send(self, *orders):
        with self.change:
            self.wait(lambda: self.stream, "a worker's hello")
            for order in orders:
                self._send(order)

    def wait(self, test, what):
        """Waits until test() is true, and returns what it gave."""
        with self.change:
            end = time.monotonic() + LIMIT
            while True:
                got = test()
                if got:
                    return got
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"waited {LIMIT:.0f} s for {what}")
                self.change.wait(left)

    def line(self, kind, task, attempt=1, test=lambda line: True):
        """The first reported line of that kind about the task (that passes the test)."""

        def find():
            for line in self.lines:
                about = line.get(kind)
                if about and (about["task"], about["attempt"]) == (task, attempt) and test(about):
                    return about
            return None

        return self.wait(find, f"{kind} of {task}-{attempt}")

    def finished(self, task, attempt=1):
        return self.line("finished", task, attempt)

    def all(self, kind, task):
        with self.change:
            return [line[kind] for line in self.lines if kind in line and line[kind]["task"] == task]

    def close(self, keep_socket=True):
        """Goes away as a daemon that was killed does: the socket's file stays."""
        self.closed = True
        try:
            self.server.shutdown(socket.SHUT_RDWR)  # wakes accept, which holds the socket open
        except OSError:
            pass
        self.server.close()
        for sock in self.connections:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        if not keep_socket:
            os.unlink(self.path)


class Case:
    """A folder, a daemon and a worker; everything is gone afterwards."""

    def __init__(self, **daemon):
        self.home = tempfile.mkdtemp(prefix="errand-work.")
        self.daemon = FakeDaemon(self.home, **daemon)
        self.worker = None
        self.words = ""
        self.envs = 0

    def start(self, *options, **popen):
        program = os.environ["ERRAND_WORKER"]
        self.stderr = open(os.path.join(self.home, "worker.log"), "ab")
        self.worker = subprocess.Popen(
            [program, "--socket", os.path.join(self.home, "errand.sock"), "--give-back", "1h", *options],
            stderr=self.stderr, stdin=subprocess.DEVNULL, start_new_session=True, **popen,
        )
        return self

    def run(self, task, *argv, env=None, attempt=1, **more):
        """Sends an order to run argv; `args` and others may be given instead."""
        args = more.pop("args", {"argv": list(argv)})
        self.envs += 1
        variables = {"PATH": os.environ["PATH"]} if env is None else env
        order = {
            "task": task, "attempt": attempt, "run": 1, "type": "shell", "name": "x",
            "args": args, "cwd": self.home, "env": self.envs, "timeout_s": None, "grace_s": 5,
            "correlation_id": "c-1", "expected_s": None, "checkpoint": None,
        }
        order.update(more)
        self.daemon.send({"env": {"id": self.envs, "vars": variables}}, {"run": order})

    def sh(self, task, line, **more):
        self.run(task, "/bin/sh", "-c", line, **more)

    def path(self, *names):
        return os.path.join(self.home, *names)

    def log(self, task, attempt=1):
        return read_log(self.path("logs"), task, attempt)

    def out(self, task, kinds=(1, 2), attempt=1):
        return b"".join(f.data for f in self.log(task, attempt) if f.kind in kinds)

    def go(self, name="fifo"):
        """Lets a command go on that reads a line of a FIFO; waits until it does."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                fd = os.open(self.path(name), os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError as error:
                if error.errno != errno.ENXIO or time.monotonic() > end:
                    raise
                time.sleep(0.002)
        os.write(fd, b"go\n")
        os.close(fd)

    def file(self, name):
        """Waits until a command has made a file, and gives its text."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            try:
                with open(self.path(name), encoding="utf-8") as f:
                    text = f.read()
                if text.endswith("\n"):
                    return text.strip()
            except FileNotFoundError:
                pass
            time.sleep(0.005)
        raise AssertionError(f"waited {LIMIT:.0f} s for the file {name}")

    def is_written(self, name):
        """Whether a command has got as far as to write a file."""
        return os.path.exists(self.path(name)) and os.path.getsize(self.path(name)) > 0

    def ended(self):
        """Waits for the worker's end: its exit code."""
        return self.worker.wait(LIMIT)

    def close(self):
        if self.worker and self.worker.poll() is None:
            self.worker.send_signal(signal.SIGTERM)
            try:
                self.worker.wait(LIMIT)
            except subprocess.TimeoutExpired:
                self.worker.kill()
                self.worker.wait()
        if self.worker:
            with open(self.path("worker.log"), encoding="utf-8", errors="replace") as f:
                self.words = f.read()
            self.stderr.close()
        if not self.daemon.closed:
            self.daemon.close()
        shutil.rmtree(self.home)


class Skip(Exception):
    """What a case needs is not there: it says what."""


class Frame:
    def __init__(self, kind, at, offset, data):
        self.kind, self.at, self.offset, self.data = kind, at, offset, data


def read_frames(path):
    frames = []
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at + 24 <= len(data):
        kind, magic, zero, length, wall, offset = struct.unpack_from("<BBHIqQ", data, at)
        assert magic == 0xE7 and zero == 0, f"bad frame at {at} of {path}"
        if at + 24 + length > len(data):
            break
        frames.append(Frame(kind, wall, offset, data[at + 24 : at + 24 + length]))
        at += 24 + length
    return frames


def read_log(logs, task, attempt=1):
    """All frames of an attempt: head, then the tails by age."""
    base = os.path.join(logs, str(task // 1000), f"{task}-{attempt}")
    frames = read_frames(base + ".log")
    tails = [read_frames(base + end) for end in (".tail0", ".tail1") if os.path.exists(base + end)]
    for tail in sorted(tails, key=lambda t: t[0].offset):
        frames += tail
    return frames


def decoded(text):
    return None if text is None else base64.b64decode(text)


def alive(pid):
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(test, what):
    """Waits for something outside of the protocol (a file, a process): what test() gave."""
    end = time.monotonic() + LIMIT
    while True:
        got = test()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"waited {LIMIT:.0f} s for {what}")
        time.sleep(0.005)


def in_time(what, reached):
    """For what must be reached before a clock is over, however slow the machine is: does `what`
    with longer and longer clocks until `reached` says that it was; gives that one's return."""
    for n, seconds in enumerate((0.2, 1, 5, 25), 1):
        got = what(n, seconds)
        if reached():
            return got
    raise AssertionError("it was not reached within 25 s")


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def main(tests):
    """Runs all functions named test_...: prints TAP, and what the worker said on failure."""
    only = sys.argv[1:]
    names = [n for n in tests if n.startswith("test_") and (not only or n[5:] in only)]
    print(f"1..{len(names)}", flush=True)
    failed = 0
    for number, name in enumerate(names, 1):
        options = getattr(tests[name], "daemon", {})
        case = Case(**options)
        words = ""
        try:
            try:
                tests[name](case)
            finally:
                case.close()
                words = case.words
            check("Sanitizer" not in words and "runtime error" not in words, "a sanitizer's report")
            print(f"ok {number} - {name[5:]}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name[5:]} # SKIP {why}", flush=True)
        except Exception:  # a case may fail in any way; the others still run
            failed += 1
            print(f"not ok {number} - {name[5:]}")
            for line in (traceback.format_exc() + words).splitlines():
                print(f"# {line}")
            sys.stdout.flush()
    sys.exit(1 if failed else 0)


def daemon(**options):
    """Decorator: how the case's daemon is set up."""

    def mark(test):
        test.daemon = options
        return test

    return mark
