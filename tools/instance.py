# SPDX-License-Identifier: MIT
"""A private instance of errand in a temporary folder, for the tools that need one.

The daemon is started by the staged command; everything is ended by pid, and only what
carries this instance's folder in its environment.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time


class Connection:
    """One keep-alive HTTP connection to the daemon's unix socket."""

    def __init__(self, path, timeout=60.0):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.rest = b""

    def close(self):
        self.sock.close()

    def _fill(self):
        piece = self.sock.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        self.rest += piece

    def _line(self):
        while b"\r\n" not in self.rest:
            self._fill()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def _take(self, count):
        while len(self.rest) < count:
            self._fill()
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def request(self, method, target, body=None, headers=()):
        """The status and the whole body of the answer."""
        data = b"" if body is None else body.encode()
        head = [f"{method} {target} HTTP/1.1", "Host: errand"]
        if body is not None:
            head.append(f"Content-Length: {len(data)}")
        head += [f"{name}: {value}" for name, value in headers]
        self.sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        status = int(self._line().split()[1])
        length, chunked = 0, False
        while True:
            name, _, value = self._line().decode("latin-1").partition(":")
            if not name:
                break
            if name.lower() == "content-length":
                length = int(value)
            elif name.lower() == "transfer-encoding" and "chunked" in value.lower():
                chunked = True
        if not chunked:
            return status, self._take(length)
        parts = []
        while True:
            size = int(self._line().split(b";")[0], 16)
            parts.append(self._take(size))
            self._line()
            if size == 0:
                return status, b"".join(parts)


class Instance:
    """A home folder of its own, the programs of a stage, and the processes that came of it."""

    def __init__(self, stage, config="", where=None):
        self.stage = os.path.abspath(stage)
        self.errand = f"{self.stage}/bin/errand"
        if not os.access(self.errand, os.X_OK):
            raise SystemExit(f"no program {self.errand}: ./dev build makes it")
        self.home = tempfile.mkdtemp(prefix="errand-", dir=where)
        self.socket = f"{self.home}/errand.sock"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("ERRAND_")}
        self.env["ERRAND_HOME"] = self.home
        self.env["PATH"] = f"{self.stage}/bin:{self.env.get('PATH', '/usr/bin:/bin')}"
        if config:
            with open(f"{self.home}/config.yml", "w", encoding="utf-8") as out:
                out.write(config)

    def run(self, *args, check=True, **options):
        """Runs `errand ARGS` and gives its stdout."""
        done = subprocess.run(
            [self.errand, *args], env=self.env, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"errand {' '.join(args)}: {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip() if check else done

    def serve(self):
        """Starts the daemon in the foreground; the process is the caller's."""
        log = open(f"{self.home}/serve.log", "ab")
        try:
            return subprocess.Popen(
                [self.errand, "serve", "--foreground"], env=self.env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True
            )
        finally:
            log.close()

    def connect(self, timeout=60.0):
        return Connection(self.socket, timeout)

    def get(self, target, timeout=60.0):
        """One GET on a connection of its own, the JSON of the answer."""
        connection = self.connect(timeout)
        try:
            status, body = connection.request("GET", target)
        finally:
            connection.close()
        if status != 200:
            raise RuntimeError(f"GET {target}: {status} {body[:200]!r}")
        return json.loads(body)

    def wait_ready(self, seconds=120):
        end = time.monotonic() + seconds
        while True:
            try:
                connection = self.connect(2.0)
                status, _ = connection.request("GET", "/healthz")
                connection.close()
                if status == 200:
                    return
            except (OSError, ConnectionError):
                pass
            if time.monotonic() > end:
                raise RuntimeError(f"no daemon within {seconds} s (see {self.home}/serve.log)")
            time.sleep(0.005)

    def processes(self, name=None):
        """Pids of living processes with this instance's folder in their environment."""
        found = []
        marks = (f"ERRAND_HOME={self.home}\0".encode(), f"ERRAND_SOCKET={self.socket}\0".encode())
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as text:
                    comm = text.read().strip()
                if name and comm != name:
                    continue
                with open(f"/proc/{entry}/environ", "rb") as data:
                    environ = data.read() + b"\0"
            except OSError:
                continue
            if any(mark in environ for mark in marks):
                found.append(int(entry))
        return found

    def workers(self):
        return self.processes("errand-worker")

    def close(self, keep=False):
        """Shuts down, ends what is left, removes the folder. Returns what had to be killed."""
        self.run("--no-autostart", "shutdown", "--now", check=False, timeout=300)
        end = time.monotonic() + 60
        while self.processes() and time.monotonic() < end:
            time.sleep(0.02)
        left = self.processes()
        for pid in left:
            kill(pid)
        if not keep:
            shutil.rmtree(self.home, ignore_errors=True)
        return left


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
        return True
    except ProcessLookupError:
        return False
