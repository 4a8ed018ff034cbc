#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The programs of the built-in types under errand-worker: what they report, where they go on,
and what an answer means. ERRAND_TYPES and ERRAND_HTTP name them."""

import email.utils
import hashlib
import http.server
import json
import os
import threading
import time

from fake_daemon import check, decoded, equal, main

TYPES, HTTP = os.environ["ERRAND_TYPES"], os.environ["ERRAND_HTTP"]


def program(c, task, type, args, **more):
    path = HTTP if type == "http.request" else TYPES
    c.run(task, type=type, args=args, how={"program": [path]}, **more)


def end(c, task, attempt=1, **more):
    line = {"task": task, "attempt": attempt, "grace_s": 20, "why": "requeue", "stop": "pause"}
    c.daemon.send({"cancel": {**line, **more}})


# ---- wait


def test_wait_tells_each_step(c):
    c.start()
    program(c, 1, "wait", {"for": 0.2, "steps": 4})
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["error"], f["warnings"]), (0, None, []))
    equal((f["progress"]["current"], f["progress"]["total"]), (4, 4))
    equal(f["checkpoint"], {"waited_ms": 200})


def test_wait_goes_on_where_it_was(c):
    c.start()
    program(c, 1, "wait", {"for": 3600, "steps": 3600})
    c.daemon.line("progress", 1)
    end(c, 1)
    f = c.daemon.finished(1)
    equal((f["why"], f["error"]), ("requeue", None))
    ms = f["checkpoint"]["waited_ms"]
    check(0 <= ms < 30000, f"waited {ms}")  # the stop may come in the first millisecond
    begin = time.monotonic()
    program(c, 1, "wait", {"for": 3600, "steps": 3600}, attempt=2, checkpoint={"waited_ms": 3599800})
    equal(c.daemon.finished(1, 2)["exit_code"], 0)
    check(0.2 <= time.monotonic() - begin, "it has not waited for what was left")


# ---- file.hash


def sha(data):
    return hashlib.sha256(data).digest()


def tree_hash(files):
    """By the definition: files = {path as bytes: content}."""
    h = bytes(32)
    for path in sorted(files):
        h = sha(h + sha(files[path]) + path + b"\0")
    return h.hex()


def make_tree(c, files):
    for path, data in files.items():
        whole = os.path.join(c.home.encode(), b"tree", path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "wb") as f:
            f.write(data)


FILES = {
    b"a-b": b"1", b"a/c": b"22", b"a/z/deep": b"", b"ab": b"4444", b".hidden": b"5" * 100,
    b"\xc3\xbc \n x": b"6", b"z": os.urandom(700000),
}


def result_of(f):
    return json.loads(decoded(f["result"]))


def test_hash_of_a_file(c):
    c.start()
    make_tree(c, {b"one": b"hello"})
    program(c, 1, "file.hash", {"path": "tree/one", "follow": False, "hidden": True})
    f = c.daemon.finished(1)
    hexed = hashlib.sha256(b"hello").hexdigest()
    equal(result_of(f), {"files": 1, "bytes": 5, "failed": 0, "sha256": hexed})
    equal(c.out(1), f"{hexed}  one\n".encode())


def test_hash_of_a_tree(c):
    c.start()
    make_tree(c, FILES)
    os.symlink("z", c.path("tree", "link"))
    os.mkfifo(c.path("tree", "fifo"))
    program(c, 1, "file.hash", {"path": c.path("tree"), "follow": False, "hidden": True})
    f = c.daemon.finished(1)
    size = sum(len(d) for d in FILES.values())
    equal(result_of(f), {"files": 7, "bytes": size, "failed": 0, "sha256": tree_hash(FILES)})
    items = [i["name"] for i in c.daemon.all("item", 1)]
    equal(items, [p.decode() for p in sorted(FILES)])
    equal((f["progress"]["current"], f["progress"]["total"], f["progress"]["unit"]), (size, size, "bytes"))
    seen = {p: d for p, d in FILES.items() if p != b".hidden"}
    program(c, 2, "file.hash", {"path": "tree", "follow": False, "hidden": False})
    equal(result_of(c.daemon.finished(2))["sha256"], tree_hash(seen))


def test_hash_follows_links_but_not_in_circles(c):
    c.start()
    make_tree(c, {b"a/x": b"1", b"b": b"2"})
    os.symlink("../..", c.path("tree", "a", "up"))
    os.symlink("a", c.path("tree", "c"))
    program(c, 1, "file.hash", {"path": "tree", "follow": True, "hidden": True})
    got = result_of(c.daemon.finished(1))
    check(got["failed"] >= 1, got)
    check(b"Too many levels of symbolic links" in c.out(1), c.out(1))
    check(b"  a/x\n" in c.out(1) and b"  c/x\n" in c.out(1), c.out(1))


def test_hash_names_what_it_cannot_read(c):
    c.start()
    make_tree(c, {b"a": b"1", b"b/x": b"2", b"z": b"3"})
    os.symlink("nowhere", c.path("tree", "gone"))
    program(c, 1, "file.hash", {"path": "tree", "follow": True, "hidden": True})
    f = c.daemon.finished(1)
    equal(result_of(f), {
        "files": 3, "bytes": 3, "failed": 1, "sha256": tree_hash({b"a": b"1", b"b/x": b"2", b"z": b"3"}),
    })
    equal([(i["name"], i["failed"]) for i in c.daemon.all("item", 1)],
          [("a", False), ("b/x", False), ("gone", True), ("z", False)])
    check(b"cannot read gone: No such file" in c.out(1), c.out(1))
    equal(f["checkpoint"], None)


def test_hash_of_nothing_is_for_a_person(c):
    c.start()
    program(c, 1, "file.hash", {"path": "missing", "follow": False, "hidden": True})
    error = c.daemon.finished(1)["error"]
    equal((error["class"], error["code"]), ("user-actionable", "not-found"))
    check("missing" in error["message"] and error["suggested_action"], error)


def test_hash_goes_on_behind_its_checkpoint(c):
    """Each place where an attempt may have ended gives the same hash, and no item twice."""
    c.start()
    names = sorted(FILES)
    make_tree(c, FILES)
    for n, last in enumerate(names, 1):
        done = {p: FILES[p] for p in names[:n]}
        left = {"after": last.decode(), "files": n, "bytes": sum(len(d) for d in done.values()),
                "failed": 0, "hash": tree_hash(done)}
        more = names[n][:] if n < len(names) else b""
        if b"\n" not in more:  # one more item was done than the checkpoint knows of
            c.daemon.send({"given": {"task": n, "attempt": 1, "env": "ERRAND_ITEMS_DONE",
                                     "text": more.decode() + "\n"}})
        program(c, n, "file.hash", {"path": "tree", "follow": False, "hidden": True}, checkpoint=left)
        got = result_of(c.daemon.finished(n))
        size = sum(len(d) for d in FILES.values())
        equal(got, {"files": len(names), "bytes": size, "failed": 0, "sha256": tree_hash(FILES)}, last)
        items = [i["name"].encode() for i in c.daemon.all("item", n)]
        equal(items, names[n:] if b"\n" in more else names[n + 1 :], f"items behind {last}")


def test_hash_that_is_stopped_says_where(c):
    c.start()
    make_tree(c, {b"%06d" % i: b"x" for i in range(200)})
    os.truncate(c.path("tree", "000100"), 1 << 40)  # a hole that takes hours
    program(c, 1, "file.hash", {"path": "tree", "follow": False, "hidden": True})
    c.daemon.line("item", 1, test=lambda i: i["name"] == "000099")
    end(c, 1)
    f = c.daemon.finished(1)
    equal((f["why"], f["error"], f["result"]), ("requeue", None, None))
    done = {b"%06d" % i: b"x" for i in range(100)}
    equal(f["checkpoint"], {"after": "000099", "files": 100, "bytes": 100, "failed": 0, "hash": tree_hash(done)})
    os.truncate(c.path("tree", "000100"), 0)
    program(c, 1, "file.hash", {"path": "tree", "follow": False, "hidden": True}, attempt=2,
            checkpoint=f["checkpoint"])
    got = result_of(c.daemon.finished(1, 2))
    all_of = {b"%06d" % i: b"" if i == 100 else b"x" for i in range(200)}
    equal(got, {"files": 200, "bytes": 199, "failed": 0, "sha256": tree_hash(all_of)})


def test_hash_of_names_that_are_not_utf8(c):
    c.start()
    files = {b"a": b"1", b"b\xff": b"2", b"c\xfe/x": b"3"}
    make_tree(c, files)
    program(c, 1, "file.hash", {"path": "tree", "follow": False, "hidden": True})
    f = c.daemon.finished(1)
    equal(result_of(f)["sha256"], tree_hash(files))
    equal([i["name"] for i in c.daemon.all("item", 1)],
          ["a", "sha256:" + sha(b"b\xff").hex(), "sha256:" + sha(b"c\xfe/x").hex()])
    equal(f["warnings"], [])


# ---- http.request


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        name, _, rest = self.path[1:].partition("/")
        if name == "status":
            self.send_response(int(rest.split("/")[0]))
            for header in rest.split("/")[1:]:
                self.send_header(*header.replace("+", " ").split("=", 1))
            out = b"an answer"
        elif name == "to":
            self.send_response(302)
            self.send_header("Location", rest.replace("+", "/"))
            out = b"moved"
        elif name == "slow":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            self.wfile.flush()
            self.server.open.wait(600)
            return
        else:
            self.send_response(200)
            self.send_header("Set-Cookie", "secret=1")
            out = b"x" * int(rest) if name == "bytes" else b"got:" + body
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(out)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = reply


class Server:
    def __enter__(self):
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.seen = self.seen = []
        self.httpd.open = self.open = threading.Event()
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.open.set()
        self.httpd.shutdown()
        self.httpd.server_close()


def ask(c, task, url, **args):
    program(c, task, "http.request", {
        "url": url, "method": "GET", "max_bytes": 1 << 20, "follow": True, **args,
    }, env={"PATH": os.environ["PATH"], "no_proxy": "*"})


def test_http_gives_the_body(c):
    c.start()
    with Server() as s:
        ask(c, 1, s.url + "/bytes/100000")
        f = c.daemon.finished(1)
        equal((f["exit_code"], f["error"], f["warnings"]), (0, None, []))
        equal(decoded(f["result"]), b"x" * 100000)
        equal((f["progress"]["current"], f["progress"]["total"]), (100000, 100000))
        out = c.out(1).decode()
        check(out.startswith("HTTP/1.0 200") and "Content-Length: 100000" in out, out)
        check("secret" not in out and "Set-Cookie: ***" in out, out)


def test_http_sends_what_it_is_given(c):
    c.start()
    with Server() as s:
        headers = ["Authorization: Bearer abc", "X-Empty:", "content-type: application/json"]
        ask(c, 1, s.url + "/echo", method="PUT", body='{"a":"ü"}', headers=headers)
        ask(c, 2, s.url + "/echo", method="POST")
        ask(c, 3, s.url + "/echo", method="HEAD")
        ask(c, 4, s.url + "/echo", method="DELETE")
        ask(c, 5, s.url + "/echo", method="POST", body="plain")
        results = [decoded(c.daemon.finished(t)["result"]) for t in range(1, 6)]
        equal(results, ['got:{"a":"ü"}'.encode(), b"got:", b"", b"got:", b"got:plain"])
        seen = {m + str(len(b)): (h, b) for m, _, h, b in s.seen}
        equal(set(seen), {"PUT10", "POST0", "HEAD0", "DELETE0", "POST5"})
        h = {k.lower(): v for k, v in seen["PUT10"][0].items()}
        equal((h["authorization"], h["x-empty"], h["content-type"]), ("Bearer abc", "", "application/json"))
        h = {k.lower() for k in seen["POST5"][0]}
        check("content-type" not in h and "expect" not in h, h)


def test_http_by_status(c):
    want = {
        200: None, 204: None, 304: None,
        400: ("fatal", "http-400"), 404: ("fatal", "http-404"), 410: ("fatal", "http-410"),
        401: ("user-actionable", "http-401"), 403: ("user-actionable", "http-403"),
        408: ("retryable", "http-408"), 425: ("retryable", "http-425"),
        500: ("retryable", "http-500"), 503: ("retryable", "http-503"),
    }
    c.start()
    with Server() as s:
        for status in want:
            ask(c, status, f"{s.url}/status/{status}")
        for status, error in want.items():
            f = c.daemon.finished(status)
            got = f["error"] and (f["error"]["class"], f["error"]["code"])
            equal((got, f["retry_after_s"]), (error, None), status)
            check((f["exit_code"] == 0) == (error is None), f)
            check(error is None or b"an answer" in c.out(status), c.out(status))


def test_http_rate_limits(c):
    c.start()
    with Server() as s:
        at = email.utils.formatdate(time.time() + 3000, usegmt=True).replace(" ", "+")
        ask(c, 1, f"{s.url}/status/429/Retry-After=7")
        ask(c, 2, f"{s.url}/status/429")
        ask(c, 3, f"{s.url}/status/503/Retry-After=120")
        ask(c, 4, f"{s.url}/status/429/Retry-After={at}")
        got = [c.daemon.finished(t)["retry_after_s"] for t in range(1, 5)]
        equal(got[:3], [7, 60, 120])
        check(2900 < got[3] <= 3001, got)


def test_http_redirections(c):
    c.start()
    with Server() as s:
        ask(c, 1, s.url + "/to/+to++echo")
        ask(c, 2, s.url + "/to/+echo", follow=False)
        ask(c, 3, s.url + "/to/file:+++etc+passwd")
        ask(c, 4, s.url + "/to/ftp:++127.0.0.1+x")
        equal(decoded(c.daemon.finished(1)["result"]), b"got:")
        equal(decoded(c.daemon.finished(2)["result"]), b"moved")
        for task in (3, 4):
            f = c.daemon.finished(task)
            equal((f["error"]["class"], f["error"]["code"], f["result"]), ("fatal", "bad-url", None), task)
    ask(c, 5, "file:///etc/passwd")
    equal(c.daemon.finished(5)["error"]["code"], "bad-url")


def test_http_bounds(c):
    c.start()
    with Server() as s:
        ask(c, 1, s.url + "/bytes/1000", max_bytes=1000)
        ask(c, 2, s.url + "/bytes/1001", max_bytes=1000)
        ask(c, 3, s.url + "/status/404", max_bytes=0)
        ask(c, 4, s.url + "/to/" + "+to+" * 12 + "echo")
        equal(len(decoded(c.daemon.finished(1)["result"])), 1000)
        f = c.daemon.finished(2)
        equal((f["error"]["class"], f["error"]["code"], f["result"]), ("fatal", "too-big", None))
        equal(c.daemon.finished(3)["error"]["code"], "http-404")
        error = c.daemon.finished(4)["error"]
        equal((error["class"], error["code"]), ("fatal", "redirects"))


def test_http_nobody_there(c):
    c.start()
    with Server() as s:
        url = s.url
    ask(c, 1, url + "/")
    error = c.daemon.finished(1)["error"]
    equal((error["class"], error["code"]), ("retryable", "no-connection"))
    ask(c, 2, "http://no-such-name.invalid/")
    error = c.daemon.finished(2)["error"]
    equal((error["class"], error["code"]), ("retryable", "unknown-host"))


def test_http_stops_in_the_middle(c):
    c.start()
    with Server() as s:
        ask(c, 1, s.url + "/slow")
        c.daemon.line("progress", 1, test=lambda p: (p["progress"] or {}).get("current") == 1000)
        end(c, 1, why="cancel", grace_s=3600)
        f = c.daemon.finished(1)
        equal((f["why"], f["error"], f["result"]), ("cancel", None, None))


if __name__ == "__main__":
    main(globals())
