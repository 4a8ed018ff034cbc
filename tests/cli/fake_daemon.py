# SPDX-License-Identifier: MIT
"""A daemon that only pretends: it answers the command's requests from Python functions, so
that a test can see what was asked and decide what comes back, bad luck included."""

import json
import os
import socket
import threading
from urllib.parse import parse_qs, urlsplit


class Request:
    def __init__(self, method, target, headers, body):
        url = urlsplit(target)
        self.method, self.target, self.path = method, target, url.path
        self.query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        self.headers, self.body = headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Break(Exception):
    """Raised by a handler: the connection is closed without (the rest of) an answer."""


class FakeDaemon:
    """Listens on a unix socket. `handle(request)` gives (status, body) or (status, body,
    headers); a dict is sent as JSON; an iterator is sent piece by piece, in chunks."""

    def __init__(self, path, handle):
        self.path, self.handle, self.requests = path, handle, []
        self.lock = threading.Lock()
        self.open()

    def open(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path + ".new")
        self.listener.listen(64)
        os.rename(self.path + ".new", self.path)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        stream = connection.makefile("rb")
        try:
            while self.one(connection, stream):
                pass
        except (Break, OSError):
            pass
        finally:
            stream.close()
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def one(self, connection, stream):
        line = stream.readline()
        if not line:
            return False
        method, target, _ = line.decode().split(" ", 2)
        headers = {}
        while (line := stream.readline().decode().rstrip("\r\n")) != "":
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        request = Request(method, target, headers, body)
        with self.lock:
            self.requests.append(request)
        status, content, *more = self.handle(request)
        extra = "".join(f"{k}: {v}\r\n" for k, v in (more[0] if more else {}).items())
        if isinstance(content, (dict, list)):
            content = json.dumps(content).encode()
        if isinstance(content, str):
            content = content.encode()
        if isinstance(content, bytes):
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n{extra}\r\n"
            connection.sendall(head.encode() + content)
            return True
        connection.sendall(
            f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n{extra}\r\n".encode())
        for piece in content:
            piece = piece.encode() if isinstance(piece, str) else piece
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        return True


def problem(status, code, detail, **more):
    return status, {"type": "about:blank", "title": code, "status": status, "code": code,
                    "detail": detail, "field": None, **more}


def task(id, state="queued", **more):
    """A task as the daemon shows it."""
    return {"id": id, "run": 1, "type": "shell", "name": f"task {id}", "queue": "default",
            "state": state, "held": False, "priority": 0, "args": {"argv": ["true"]},
            "attempt": 0, "failures": 0, "losses": 0, "retries": 0, "correlation_id": "c",
            "parent": None, "key": None, "limit_key": None, "tags": [], "meta": {}, "after": [],
            "waiting_for": None, "created_at": "2026-01-31T09:30:00.123Z", "run_at": None,
            "started_at": None, "finished_at": None, "resumes_at": None, "progress": None,
            "result": None, "exit_code": None, "signal": None, "error": None, "warnings": [],
            "worker": None, "pid": None, "cpu_s": None, "peak_rss_bytes": None, **more}
