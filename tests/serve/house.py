# SPDX-License-Identifier: MIT
"""errandd itself, with the real worker or with one that the test plays, for the tests of the
protocol. Each case has a home folder of its own; whatever carries it in its environment is
ended by pid when the case is over. Prints TAP; nothing waits for a fixed time.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ERRANDD = os.environ.get("ERRANDD")
WORKER = os.environ.get("ERRAND_WORKER")
LIMIT = 200.0


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def lines(self):
        return [json.loads(line) for line in self.body.splitlines()]


class Wire:
    """One connection to the daemon's socket; answers may be streams."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(path)
        self.rest = b""

    def close(self):
        self.sock.close()

    def line(self):
        while b"\r\n" not in self.rest:
            self._fill()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def _fill(self):
        piece = self.sock.recv(1 << 16)
        if not piece:
            raise ConnectionError("closed")
        self.rest += piece

    def take(self, count):
        while len(self.rest) < count:
            self._fill()
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def send(self, method, target, body=None, headers=None):
        data = b"" if body is None else body if isinstance(body, bytes) else \
            (body if isinstance(body, str) else json.dumps(body)).encode()
        head = [f"{method} {target} HTTP/1.1", "Host: errand", f"Content-Length: {len(data)}"]
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + data)

    def head(self):
        status = int(self.line().split()[1])
        headers = {}
        while True:
            name, _, value = self.line().decode("latin-1").partition(":")
            if not name:
                return status, headers
            headers[name.lower()] = value.strip()

    def chunk(self):
        size = int(self.line().split(b";")[0], 16)
        data = self.take(size)
        self.line()
        return data

    def answer(self):
        status, headers = self.head()
        if headers.get("transfer-encoding") != "chunked":
            return Answer(status, headers, self.take(int(headers.get("content-length", 0))))
        parts = []
        while True:
            parts.append(self.chunk())
            if not parts[-1]:
                return Answer(status, headers, b"".join(parts))


class House:
    """A home folder and the daemon in it."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="errand-serve.")
        self.socket = os.path.join(self.home, "errand.sock")
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home, "LC_ALL": "C.UTF-8",
                    "ERRAND_HOME": self.home, "ERRAND_WORKER": WORKER}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self.daemon = None
        self.players = []
        self.words = ""

    # the daemon

    def configure(self, text):
        with open(os.path.join(self.home, "config.yml"), "w", encoding="utf-8") as out:
            out.write(text)

    def start(self, config="concurrency: 2\n", worker=None, flags=(), preexec=None):
        """Starts it; `worker`: another program in the worker's place."""
        if config is not None:
            self.configure(config)
        env = dict(self.env)
        if worker:
            env["ERRAND_WORKER"] = worker
        with open(os.path.join(self.home, "log"), "ab") as log:
            self.daemon = subprocess.Popen(
                [ERRANDD, "--foreground", *flags], env=env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, preexec_fn=preexec)
        self.until(self._answers, "the daemon")
        if not worker:
            self.until(self.workers, "a worker")

    def _answers(self):
        if self.daemon.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.daemon.returncode}: {self.log()}")
        try:
            wire = Wire(self.socket)
        except OSError:
            return False
        try:
            wire.send("GET", "/healthz")
            wire.answer()
        except ConnectionError:
            # a daemon that was killed while it started a worker listens until that one runs
            return False
        finally:
            wire.close()
        return True

    def log(self):
        with open(os.path.join(self.home, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def kill(self, sig):
        self.daemon.send_signal(sig)

    def gone(self):
        """Waits until the daemon has ended: its exit code."""
        return self.daemon.wait(LIMIT)

    def workers(self):
        return [w for w in self.get("/v1/stats")["workers"] if w["connected"]]

    # requests

    def call(self, method, target, body=None, headers=None):
        wire = Wire(self.socket)
        try:
            wire.send(method, target, body, headers)
            return wire.answer()
        finally:
            wire.close()

    def get(self, target):
        return self.expect(200, "GET", target).json

    def expect(self, status, method, target, body=None, headers=None):
        answer = self.call(method, target, body, headers)
        assert answer.status == status, \
            f"{method} {target} {body!r}: {answer.status} {answer.body[:600]!r}, wanted {status}"
        return answer

    def refused(self, status, field, words, method, target, body=None, headers=None):
        """A problem of that status, which names the field and says the words."""
        problem = self.expect(status, method, target, body, headers).json
        assert problem["field"] == field, f"{method} {target} {body!r}: {problem}"
        assert words in problem["detail"], f"{words!r} is not in {problem['detail']!r}"
        return problem

    def submit(self, *argv, **members):
        """The id of a new task."""
        argv = list(argv) or ["true"]
        body = {"args": {"argv": argv}, "cwd": self.home, **members}
        return self.expect(201, "POST", "/v1/tasks", body).json["id"]

    def sh(self, line, **members):
        return self.submit("sh", "-c", line, **members)

    def lines(self, *rows, **parameters):
        """Submits rows as NDJSON."""
        target = "/v1/tasks" + ("?atomic=1" if parameters.get("atomic") else "")
        rows = [{"args": {"argv": ["true"]}, **row} for row in rows]
        return self.call("POST", target, "\n".join(json.dumps(r) for r in rows) + "\n",
                         {"Content-Type": "application/x-ndjson"})

    def task(self, task):
        return self.get(f"/v1/tasks/{task}")

    def state(self, task):
        return self.task(task)["state"]

    def why(self, task):
        return self.get(f"/v1/tasks/{task}/why")["why"]

    def wait(self, task, **members):
        """Waits until the task's members are so; gives the task."""
        def come():
            t = self.task(task)
            return t if all(t[k] == v for k, v in members.items()) else None
        return self.until(come, f"task {task} to be {members}, now {self.task(task)}")

    def end(self, task):
        return self.get(f"/v1/tasks/{task}?wait=190")

    def act(self, task, action, body=None, status=200, wait=None):
        target = f"/v1/tasks/{task}/{action}" + (f"?wait={wait}" if wait else "")
        return self.expect(status, "POST", target, body).json

    # files

    def path(self, name):
        return os.path.join(self.home, name)

    def touch(self, name):
        with open(self.path(name), "w", encoding="utf-8"):
            pass

    def file(self, name):
        """Waits for a file with a whole line, and gives its text."""
        def look():
            try:
                with open(self.path(name), encoding="utf-8") as f:
                    text = f.read()
                return text if text.endswith("\n") else None
            except FileNotFoundError:
                return None
        return self.until(look, f"the file {name}").strip()

    @staticmethod
    def until(look, what):
        end = time.monotonic() + LIMIT
        while True:
            got = look()
            if got:
                return got
            assert time.monotonic() < end, f"waited {LIMIT:.0f} s for {what}"
            time.sleep(0.01)

    # the end

    def processes(self):
        found = []
        marks = (f"ERRAND_HOME={self.home}\0".encode(), f"ERRAND_SOCKET={self.socket}\0".encode())
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                try:
                    with open(f"/proc/{entry}/environ", "rb") as data:
                        environ = data.read() + b"\0"
                except OSError:
                    continue
                if any(mark in environ for mark in marks):
                    found.append(int(entry))
        return found

    def close(self):
        for player in self.players:
            player.close()
        if self.daemon and self.daemon.poll() is None:
            self.kill(signal.SIGQUIT)
            try:
                self.gone()
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.gone()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if os.path.exists(self.path("log")):
            self.words = self.log()
        shutil.rmtree(self.home, ignore_errors=True)


class Player:
    """A worker that the test plays. What makes it one for the daemon (a process of its own,
    the connection, the lock) is a small helper that hands the orders on; the test answers."""

    def __init__(self, house, version, types=None):
        self.house, self.types = house, types
        self.orders, self.news = [], threading.Condition()
        self.session = self.token = None
        self.helper = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--play", house.socket],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=house.env, text=True)
        house.players.append(self)
        threading.Thread(target=self._hear, daemon=True).start()
        self.hello(version)

    @property
    def pid(self):
        return self.helper.pid

    def hello(self, version, held=()):
        """Connects, again with the session that it had."""
        self.helper.stdin.write(json.dumps({
            "protocol": 1, "version": version, "pid": self.pid, "slots": 2,
            "session": self.session, "token": self.token, "held": list(held), "owed": [],
            **({} if self.types is None else {"types": self.types})}) + "\n")
        self.helper.stdin.flush()
        welcome = self.order("welcome")
        self.session, self.token = welcome["session"], welcome["token"]
        self.slots = welcome["slots"]

    def _hear(self):
        for line in self.helper.stdout:
            with self.news:
                self.orders.append(json.loads(line))
                self.news.notify_all()

    def order(self, kind, **members):
        """Waits for an order of that kind (with such members), takes it off, gives it."""
        def find():
            for i, order in enumerate(self.orders):
                value = order.get(kind)
                if value is not None and all(value.get(k) == v for k, v in members.items()):
                    return i + 1
            return None
        with self.news:
            assert self.news.wait_for(find, LIMIT), f"no order {kind} {members}: {self.orders}"
            return self.orders.pop(find() - 1)[kind]

    def report(self, *lines):
        answer = self.house.call(
            "POST", "/v1/work/report", "\n".join(json.dumps(line) for line in lines) + "\n",
            {"X-Errand-Session": self.session, "X-Errand-Token": self.token,
             "Content-Type": "application/x-ndjson"})
        assert answer.status == 200, f"report: {answer.status} {answer.body!r}"
        return answer.json["lost"]

    def started(self, run):
        self.report({"started": {"task": run["task"], "attempt": run["attempt"],
                                 "pid": self.pid, "started_at": now()}})

    def finished(self, run, **members):
        report = {"task": run["task"], "attempt": run["attempt"], "spawned": True, "why": None,
                  "started_at": now(), "finished_at": now(), "exit_code": 0, "signal": 0,
                  "result": None, "error": None, "retry_after_s": None, "progress": None,
                  "checkpoint": None, "warnings": [], "cpu_s": 0, "peak_rss_bytes": 0,
                  "output_bytes": 0, **members}
        return self.report({"finished": report})

    def close(self):
        self.helper.kill()
        self.helper.wait()
        self.helper.stdin.close()


def play(path):
    """The helper: a hello a line on stdin, orders on stdout; ends with its stdin."""
    wire, lock = None, None

    def hear(wire, rest):
        try:
            while True:
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    sys.stdout.write(line.decode() + "\n")
                sys.stdout.flush()
                rest += wire.chunk()
        except (OSError, ConnectionError, ValueError):
            pass

    for hello in sys.stdin:
        if wire:
            wire.sock.shutdown(socket.SHUT_RDWR)
        wire = Wire(path)
        wire.sock.settimeout(None)
        wire.send("POST", "/v1/work/claim", hello)
        status, _ = wire.head()
        rest = b""
        while b"\n" not in rest:
            rest += wire.chunk()
        first, rest = rest.split(b"\n", 1)
        if lock is None:
            path_of_lock = json.loads(first)["welcome"]["lock"]
            lock = os.open(path_of_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
        sys.stdout.write(first.decode() + "\n")
        sys.stdout.flush()
        threading.Thread(target=hear, args=(wire, rest), daemon=True).start()


def alive(pid):
    """Whether a process is there and no zombie (whose parent may take its time)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def same(got, want, what=""):
    assert got == want, f"{what}: got {got!r}, wanted {want!r}"


def has(text, part):
    assert part in text, f"{part!r} is not in {text!r}"


def main(tests):
    """Runs all functions named test_..., or those that are named; prints TAP."""
    only = sys.argv[1:]
    names = [n for n in tests if n.startswith("test_") and (not only or n[5:] in only)]
    print(f"1..{len(names)}", flush=True)
    failed = 0
    for number, name in enumerate(names, 1):
        house = House()
        try:
            try:
                tests[name](house)
            finally:
                house.close()
            assert "Sanitizer" not in house.words and "runtime error" not in house.words, \
                "a sanitizer's report"
            print(f"ok {number} - {name[5:]}", flush=True)
        except Exception:  # a case may fail in any way; the others still run
            failed += 1
            print(f"not ok {number} - {name[5:]}", flush=True)
            for line in (traceback.format_exc() + house.words[-3000:]).splitlines():
                print(f"# {line}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__" and sys.argv[1:2] == ["--play"]:
    play(sys.argv[2])
