# SPDX-License-Identifier: MIT
"""What the tests of the command share: a folder and a pretended daemon for each case, and
checks that say what they got. A test file ends with `sys.exit(main())`; it is called with
the path of errand, and maybe the names of cases. Prints TAP."""

import os
import shutil
import subprocess
import sys
import tempfile
import traceback

from fake_daemon import FakeDaemon

ERRAND = os.path.abspath(sys.argv[1])
NO_COUNTS = dict.fromkeys(
    ["queued", "scheduled", "blocked", "running", "paused", "completed", "failed", "cancelled"], 0)
tests = []


def test(f):
    tests.append(f)
    return f


class Case:
    """One test's instance: a folder, maybe a daemon, and the command."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="errand-cli.")
        self.daemons = []
        self.env = {"PATH": os.environ["PATH"], "ERRAND_HOME": self.home, "LC_ALL": "C.UTF-8",
                    "HOME": self.home, "ERRAND_NO_AUTOSTART": "1"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def daemon(self, handle):
        d = FakeDaemon(os.path.join(self.home, "errand.sock"), handle)
        self.daemons.append(d)
        return d

    def run(self, *args, input=b"", env=None, cwd=None, **more):
        return subprocess.run([ERRAND, *args], input=input, capture_output=True, timeout=300,
                              env={**self.env, **(env or {})}, cwd=cwd or self.home, **more)

    def start(self, *args, **more):
        return subprocess.Popen([ERRAND, *args], stdin=subprocess.DEVNULL, env=self.env,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.home, **more)

    def close(self):
        shutil.rmtree(self.home, ignore_errors=True)


def same(got, want):
    assert got == want, f"got {got!r}, wanted {want!r}"


def has(text, part):
    text = text.decode() if isinstance(text, bytes) else text
    assert part in text, f"{part!r} is not in {text!r}"


def expect(result, code, out=None, err=None):
    assert result.returncode == code, \
        f"exit code {result.returncode}, wanted {code}: {result.stderr.decode()!r}"
    if out is not None:
        same(result.stdout.decode(), out)
    if err is not None:
        same(result.stderr.decode(), err)
    return result


def accept_all(request):
    """A daemon that takes each submit as task 7."""
    same((request.method, request.path), ("POST", "/v1/tasks"))
    return 201, {"id": 7, "state": "queued"}, {"Location": "/v1/tasks/7"}


def main():
    wanted = sys.argv[2:]
    chosen = [t for t in tests if not wanted or t.__name__ in wanted]
    print(f"1..{len(chosen)}")
    failed = 0
    for n, t in enumerate(chosen, 1):
        case = Case()
        try:
            t(case)
            print(f"ok {n} - {t.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {n} - {t.__name__}")
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
        finally:
            case.close()
    return 1 if failed else 0
