#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""errand_worker_main: a program that serves types, started as errand-worker starts it (an
order on its standard input, progress lines on a descriptor) and as people do. With errandd
(ERRANDD) also the whole way: register, submit, result."""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PROGRAM = os.environ["WORKER_PROGRAM"]


class Run:
    """`PROGRAM run TYPE` with an order; `lines` are its progress lines as they come."""

    def __init__(self, kind, args=None, checkpoint=None, order=None, env=None):
        r, w = os.pipe()
        os.set_inheritable(w, True)
        self.p = subprocess.Popen(
            [PROGRAM, "run", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            pass_fds=[w], env={**os.environ, "ERRAND_PROGRESS_FD": str(w), **(env or {})},
        )
        os.close(w)
        self.lines, self.more = [], threading.Condition()
        self.reader = threading.Thread(target=self.read, args=[r])
        self.reader.start()
        run = {"task": 42, "attempt": 1, "run": 1, "type": kind, "args": args or {}, "correlation_id": "c",
               "timeout_s": 60, "checkpoint": checkpoint}
        self.say(order if order is not None else {"run": run})

    def read(self, fd):
        with os.fdopen(fd, "rb") as f:
            for line in f:
                with self.more:
                    self.lines.append(line)
                    self.more.notify_all()

    def say(self, o):
        self.p.stdin.write(o if isinstance(o, bytes) else json.dumps(o).encode() + b"\n")
        self.p.stdin.flush()

    def await_line(self):
        with self.more:
            assert self.more.wait_for(lambda: self.lines, 300), "no progress line came"

    def end(self):
        """Its exit code, output, progress lines as objects."""
        out, err = self.p.communicate(timeout=300)
        self.reader.join()
        return self.p.returncode, out.decode(), err.decode(), [json.loads(x) for x in self.lines]


def only(lines, member):
    return [x[member] for x in lines if member in x]


def result_of(lines):
    parts = only(lines, "result_part")
    assert [p["n"] for p in parts] == list(range(len(parts))), parts
    assert [p["last"] for p in parts] == [False] * (len(parts) - 1) + [True]
    assert len({p["id"] for p in parts}) == 1
    return b"".join(base64.b64decode(p["base64"]) for p in parts)


def cli(*words, code=0, program=PROGRAM):
    p = subprocess.run([program, *words], capture_output=True, text=True, timeout=300)
    assert p.returncode == code, (words, p.returncode, p.stdout, p.stderr)
    return p


def test_an_order_is_executed():
    r = Run("test.talk", {"n": 5})
    code, out, _, lines = r.end()
    assert code == 0, code
    assert out == "printed\nn is 5\n", out
    assert only(lines, "item_completed") == ["one"]
    assert only(lines, "item_failed") == ["two"]
    assert only(lines, "checkpoint") == [{"at": 7}]
    assert json.loads(result_of(lines)) == {"n": 5}
    progress = [x for x in lines if "current" in x]
    assert 1 <= len(progress) < 200, len(progress)
    assert progress[-1] == {"current": 100000, "total": 100000, "item": 'at "it"'}, progress[-1]
    assert all(len(x) <= 4096 for x in r.lines)


def test_it_goes_on_from_a_checkpoint():
    with tempfile.NamedTemporaryFile("w", suffix=".items") as f:
        f.write("zero\n")
        f.flush()
        r = Run("test.talk", checkpoint={"at": 3}, env={"ERRAND_ITEMS_DONE": f.name})
        _, out, _, _ = r.end()
    assert 'before: {"at":3}\n' in out, out
    assert "zero is done" in out, out


def test_a_large_result_comes_in_parts():
    for n in (0, 1, 2800, 2801, 1 << 20):
        r = Run("test.large", {"n": n})
        code, _, _, lines = r.end()
        assert code == 0
        assert result_of(lines) == bytes(i % 251 for i in range(n)), n
        assert all(len(x) <= 4096 for x in r.lines)


def test_a_result_that_is_too_large_fails_its_attempt():
    code, _, _, lines = Run("test.large", {"n": (16 << 20) + 1}).end()
    error = only(lines, "error")[0]
    assert (code, error["class"], error["code"]) == (1, "fatal", "too-big"), (code, error)
    assert error["message"] == "the result is larger than 16 MiB", error


def test_it_has_the_results_of_what_it_waited_for():
    text = '{"9":{"state":"completed","result":"' + "x" * 100000 + '"}}'
    with tempfile.NamedTemporaryFile("w", suffix=".results") as f:
        f.write(text + "\n")
        f.flush()
        _, _, _, lines = Run("test.after", env={"ERRAND_AFTER_RESULTS": f.name}).end()
        assert result_of(lines) == text.encode(), result_of(lines)[:100]
    _, _, _, lines = Run("test.after").end()
    assert result_of(lines) == b"{}"
    code, _, _, lines = Run("test.after", env={"ERRAND_AFTER_RESULTS": f.name}).end()  # it is gone
    assert code == 1 and "the handler returned 1" in only(lines, "error")[0]["message"], lines


def test_a_long_checkpoint_comes_in_parts():
    for n in (1001, 4080, 4081, 65536):
        _, out, _, lines = Run("test.talk", {"n": n}).end()
        parts = only(lines, "checkpoint_part")
        whole = b"".join(base64.b64decode(p["base64"]) for p in parts).decode()
        kept = json.loads(whole) if parts else only(lines, "checkpoint")[-1]
        assert kept == "x" * (n - 2), (n, len(kept))
        assert "checkpoint: 0\n" in out and bool(parts) == (n > 4080), (n, len(parts))
    r = Run("test.talk", {"n": 65537})
    _, out, _, lines = r.end()
    assert "checkpoint: -13\n" in out, out
    assert only(lines, "checkpoint") == [{"at": 7}] and not only(lines, "checkpoint_part")
    assert all(len(x) <= 4096 for x in r.lines)


def test_a_failure_is_told():
    code, _, _, lines = Run("test.misbehave", {"n": 1}).end()
    assert code == 1
    assert only(lines, "error") == [{"class": "user-actionable", "code": "no-disk", "message": "it is full",
                                     "suggested_action": "make room"}]
    code, _, _, lines = Run("test.misbehave", {"n": 2}).end()
    assert code == 75 and only(lines, "retry_after_s") == [30.0], lines
    code, _, _, lines = Run("test.misbehave", {"n": 3}).end()
    assert code == 1 and only(lines, "error")[0]["message"] == "the handler returned 9", lines


def test_the_word_to_stop_says_why():
    for why, number in (("cancel", 1), ("pause", 2), ("timeout", 3), ("heartbeat", 3), ("requeue", 4)):
        r = Run("test.linger")
        r.await_line()
        r.say({"stop": {"why": why, "grace_s": 5}})
        r.p.send_signal(signal.SIGTERM)
        code, out, _, _ = r.end()
        assert (code, out) == (143, f"stop {number}\n"), (why, code, out)


def test_a_signal_alone_stops_it():
    r = Run("test.linger")
    r.await_line()
    r.p.send_signal(signal.SIGTERM)
    code = r.p.wait(300)
    _, out, _, _ = r.end()
    assert (code, out) == (143, "stop 4\n"), (code, out)


def test_it_stops_when_the_worker_is_gone():
    r = Run("test.linger")
    r.await_line()
    r.p.stdin.close()
    r.p.stdin = None
    code, out, _, _ = r.end()
    assert (code, out) == (143, "stop 5\n"), (code, out)


def test_what_is_no_order_is_refused():
    for order in (b"nonsense\n", b"{}\n", b'{"run":{"task":1}}\n'):
        code, _, err, _ = Run("test.talk", order=order).end()
        assert code == 2 and "no order came" in err, (order, code, err)


def test_types_are_printed():
    lines = [json.loads(x) for x in cli("types").stdout.splitlines()]
    assert [x["name"] for x in lines] == ["test.talk", "test.large", "test.misbehave", "test.linger", "test.none",
                                          "test.free", "test.after"]
    assert lines[0]["program"] == [os.path.realpath(PROGRAM)], lines[0]
    assert lines[0]["parameters"][0] == {"name": "n", "kind": "integer", "default": 3, "help": "a number"}
    assert "program" not in lines[4]


def test_bad_words_are_refused():
    def says(words, text):
        err = cli(*words, code=2).stderr
        assert text in err, (words, err)

    says([], "what is to be done?")
    says(["frob"], "there is no 'frob'")
    says(["run"], "run takes one word")
    says(["run", "test.tlak"], "did you mean test.talk?")
    says(["run", "test.none"], "has no handler")
    says(["run", "test.talk"], "try test.talk")
    says(["try"], "try takes the type")
    says(["try", "test.talk", "n"], "KEY=VALUE")
    says(["try", "test.talk", "n=x"], "n")
    says(["try", "test.talk", "m=1"], "m")
    says(["try", "test.talk", '{"n": '], "")
    says(["register", "--frob"], "--frob")
    says(["bad"], "description")
    assert "usage:" in cli("--help").stdout


def test_a_handler_can_be_tried():
    p = cli("try", "test.talk", "n=8", "wait=2m")
    assert json.loads(p.stdout.split("printed\n")[1]) == {"n": 8, "wait": 120}, p.stdout
    for part in ("n is 8\n", "done: one\n", "failed: two\n", 'checkpoint: {"at":7}\n', "100% 100000/100000"):
        assert part in p.stderr, (part, p.stderr)
    assert json.loads(cli("try", "test.talk", '{"n": 9}').stdout.split("printed\n")[1]) == {"n": 9}
    for words, args in ([], {}), (["a=1"], {"a": "1"}), (['{"a": [1]}'], {"a": [1]}):
        assert json.loads(cli("try", "test.free", *words).stdout) == args
    p = cli("try", "test.misbehave", "n=1", code=1)
    assert "failed (user-actionable, no-disk): it is full" in p.stderr and "make room" in p.stderr
    assert "rate limited" in cli("try", "test.misbehave", "n=2", code=75).stderr


def test_a_trial_can_be_interrupted():
    p = subprocess.Popen([PROGRAM, "try", "test.linger"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "waiting" in p.stderr.readline()
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=300)
    assert p.returncode == 143 and "stop 1\n" in err, (p.returncode, err)


def errand(home, *words, code=0):
    p = subprocess.run([os.environ["ERRAND"], *words], capture_output=True, text=True, timeout=300,
                       env={**os.environ, "ERRAND_HOME": home})
    assert p.returncode == code, (words, p.returncode, p.stdout, p.stderr)
    return p.stdout


def test_the_whole_way_by_a_daemon():
    with tempfile.TemporaryDirectory(prefix="errand-main-") as home:
        env = {**os.environ, "ERRAND_HOME": home}
        socket = os.path.join(home, "errand.sock")
        daemon = subprocess.Popen([os.environ["ERRANDD"]], env=env, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 300
            while not os.path.exists(socket):
                assert time.monotonic() < until and daemon.poll() is None, "errandd did not come"
                time.sleep(0.01)
            cli("register", "--socket", socket)
            cli("register", "--socket", socket)
            task = errand(home, "submit", "test.talk", "n=6").strip()
            errand(home, "wait", task)
            assert json.loads(errand(home, "result", task)) == {"n": 6}
            assert "n is 6\n" in errand(home, "log", task)
            log = errand(home, "log", errand(home, "submit", "test.talk", "n=60000", "--wait").split()[0])
            assert "checkpoint: 0\n" in log, log
            after = errand(home, "submit", "test.after", "--after", task).strip()
            errand(home, "wait", after)
            assert json.loads(errand(home, "result", after))[task]["result"] == {"n": 6}
            task = json.loads(errand(home, "show", task, "--json"))
            assert task["progress"]["percent"] == 100 and task["items_completed"] == 2, task
        finally:
            daemon.terminate()
            daemon.wait(300)


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for i, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {i} - {name[5:]}", flush=True)
        except Exception:
            failed += 1
            print("".join(f"# {x}\n" for x in traceback.format_exc().splitlines()), end="")
            print(f"not ok {i} - {name[5:]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
