#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Progress: lines on the descriptor, output, file offsets, estimates; and what a command
says about its own end."""

import json
import os
import time

from fake_daemon import alive, check, decoded, equal, main


def percent(c, task, at_least):
    """Waits for a progress report of that percent or more."""

    def test(p):
        return (p["progress"] or {}).get("percent") is not None and p["progress"]["percent"] >= at_least

    return c.daemon.line("progress", task, test=test)["progress"]


def say(*lines):
    """A shell command that writes these lines to the progress descriptor."""
    return "; ".join(f"printf '%s\\n' '{line}' >&$ERRAND_PROGRESS_FD" for line in lines)


def fifo(c):
    os.mkfifo(c.path("fifo"))


def test_plain_lines(c):
    c.start()
    fifo(c)
    # A second one for the second wait: on one, the shell may come back to it while the first
    # word's writer is still there, and would find its end instead of waiting.
    os.mkfifo(c.path("last"))
    c.sh(1, say("40% linking") + "; read x < fifo; " + say("3/4 cloning") + "; read x < last")
    p = percent(c, 1, 40)
    equal((p["percent"], p["message"], p["source"]), (40.0, "linking", "reported"))
    c.go()
    p = percent(c, 1, 75)
    equal((p["current"], p["total"], p["message"]), (3, 4, "cloning"))
    c.go("last")
    f = c.daemon.finished(1)
    equal((f["progress"]["percent"], f["warnings"]), (100.0, []))


def test_json_lines_with_items_and_a_checkpoint(c):
    c.start()
    c.sh(1, say(
        json.dumps({"percent": 50, "current": 2, "total": 4, "unit": "repos", "item": "b"}),
        json.dumps({"item_completed": "a"}), json.dumps({"item_failed": "b"}),
        json.dumps({"checkpoint": {"at": 2}}),
    ) + "; exit 1")
    f = c.daemon.finished(1)
    p = f["progress"]
    equal((p["percent"], p["current"], p["total"], p["unit"]), (50.0, 2, 4, "repos"))
    equal((p["items_completed"], p["items_failed"], p["item"]), (1, 1, "b"))
    equal(f["checkpoint"], {"at": 2})
    told = c.daemon.all("progress", 1)
    equal([p["checkpoint"] for p in told if p["checkpoint"] is not None], [{"at": 2}])
    equal(told[-1]["progress"]["items_failed"], 1)


def test_a_line_that_the_daemon_was_told(c):
    c.start()
    fifo(c)
    c.sh(1, "echo $$ > pid; read x < fifo; exit 1")
    c.file("pid")
    c.daemon.send({"tell": {"task": 1, "attempt": 1, "line": {"percent": 30, "message": "by HTTP"}}})
    p = percent(c, 1, 30)
    equal((p["percent"], p["message"], p["source"]), (30.0, "by HTTP", "reported"))
    c.daemon.send({"tell": {"task": 1, "attempt": 1, "line": {"result": [1]}}})
    c.sh(2, "exit 0")
    c.daemon.finished(2)
    c.go()
    equal(json.loads(decoded(c.daemon.finished(1)["result"])), [1])


def test_a_line_that_comes_while_it_is_being_started(c):
    c.start()
    fifo(c)
    for task in range(1, 9):
        c.sh(task, "read x < fifo; exit 1")
        c.daemon.send({"tell": {"task": task, "attempt": 1,
                                "line": {"percent": 30, "item_completed": "a"}}})
        p = percent(c, task, 30)
        equal((p["percent"], p["items_completed"]), (30.0, 1))
        c.go()
        equal(c.daemon.finished(task)["progress"]["items_completed"], 1)


def test_the_last_progress_comes_before_the_end(c):
    c.start()
    c.sh(1, "; ".join(say(str(n)) for n in range(0, 100, 7)) + "; " + say("99 nearly"))
    c.daemon.finished(1)
    kinds = [next(iter(line)) for line in c.daemon.lines]
    check("progress" in kinds and kinds.index("finished") == len(kinds) - 1, kinds)
    equal(c.daemon.all("progress", 1)[-1]["progress"]["message"], "nearly")


def test_progress_is_told_at_most_ten_times_a_second(c):
    c.start()
    begin = time.monotonic()
    c.sh(1, "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo $i/1000 >&3; done; sleep 0.25")
    f = c.daemon.finished(1)
    span = time.monotonic() - begin
    equal(f["progress"]["current"], 1000)
    told = len(c.daemon.all("progress", 1))
    check(told <= 10 * span + 2, f"{told} progress lines in {span} s")


def test_a_result_of_any_kind(c):
    c.start()
    c.sh(1, say(json.dumps({"result": {"a": [1, None]}})))
    equal(json.loads(decoded(c.daemon.finished(1)["result"])), {"a": [1, None]})
    c.sh(2, say(json.dumps({"result": "text"})) + "; exit 4")
    f = c.daemon.finished(2)
    equal((f["exit_code"], decoded(f["result"])), (4, b'"text"'))


def test_a_result_in_parts(c):
    import base64

    c.start()
    data = os.urandom(100000)
    lines = []
    step = 3000
    for n, at in enumerate(range(0, len(data), step)):
        part = base64.b64encode(data[at : at + step]).decode()
        last = at + step >= len(data)
        lines.append(json.dumps({"result_part": {"id": "abc", "n": n, "last": last, "base64": part}}))
    with open(c.path("lines"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    c.sh(1, "cat lines >&3")
    f = c.daemon.finished(1)
    equal(decoded(f["result"]) == data, True, "the joined result")
    equal(f["warnings"], [])


def test_a_result_that_is_too_large_fails_its_attempt(c):
    c.start()
    parts = "\n".join(in_parts("result_part", bytes((16 << 20) + 1), step=300000)) + "\n"
    line = json.dumps({"result": "x" * (1 << 20)}) + "\n"
    small = json.dumps({"result": 1}) + "\n"
    for n, (said, code) in enumerate([(parts, 0), (line, 0), (small + line, 0), (line + small, 0), (line, 3)], 1):
        with open(c.path(f"lines{n}"), "w", encoding="utf-8") as f:
            f.write(said)
        c.sh(n, f"cat lines{n} >&3; exit {code}")
    for n in (1, 2, 3):
        f = c.daemon.finished(n)
        equal((f["exit_code"], f["result"], f["error"]["class"], f["error"]["code"]), (0, None, "fatal", "too-big"), n)
        equal(f["error"]["message"], "the result is larger than 16 MiB")
    f = c.daemon.finished(4)
    equal((decoded(f["result"]), f["error"]), (b"1", None))
    f = c.daemon.finished(5)  # it has a reason of its own
    equal((f["exit_code"], f["error"]), (3, None))


def in_parts(member, data, step=3000, mark="abc"):
    """A text in parts, as lines."""
    import base64

    return [
        json.dumps({member: {"id": mark, "n": n, "last": at + step >= len(data),
                             "base64": base64.b64encode(data[at : at + step]).decode()}})
        for n, at in enumerate(range(0, len(data), step))
    ]


def test_a_checkpoint_in_parts(c):
    """Up to the bound; what is larger, or none, is dropped with a warning, and the one before stays."""
    c.start()
    big = {"at": "x" * 65000}
    for task, data, kept, words in (
        (1, json.dumps(big).encode(), big, None),
        (2, json.dumps({"at": "x" * 66000}).encode(), {"at": 1}, "larger than 65536 bytes"),
        (3, b"{nonsense", {"at": 1}, "JSON in parts"),
    ):
        lines = ['{"checkpoint":{"at":1}}', "40"] + in_parts("checkpoint_part", data)
        lines.insert(4, "50 in between")
        with open(c.path("lines"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        c.sh(task, "cat lines >&3; exit 1")
        f = c.daemon.finished(task)
        check(f["checkpoint"] == kept, "the checkpoint that is kept")
        check((words in f["warnings"][0]) if words else not f["warnings"], f["warnings"])


def test_a_checkpoint_on_one_long_line(c):
    c.start()
    big = {"at": "x" * 65000}
    with open(c.path("lines"), "w", encoding="utf-8") as f:
        f.write(json.dumps({"checkpoint": big}) + "\n")
    c.sh(1, "cat lines >&3; exit 1")
    f = c.daemon.finished(1)
    check(f["checkpoint"] == big and not f["warnings"], f["warnings"])


def test_parts_out_of_order_are_no_result(c):
    c.start()
    lines = [{"result_part": {"id": "x", "n": n, "last": n == 2, "base64": "YQ=="}} for n in (0, 2)]
    c.sh(1, say(*map(json.dumps, lines)))
    f = c.daemon.finished(1)
    equal(f["result"], None)
    check("in order" in f["warnings"][0], f["warnings"])


def test_an_error_and_a_pause_that_it_reports_itself(c):
    c.start()
    error = {"class": "user-actionable", "code": "quota", "message": "no room", "suggested_action": "pay"}
    c.sh(1, say(json.dumps({"error": error}), json.dumps({"retry_after_s": 30})) + "; exit 0")
    f = c.daemon.finished(1)
    equal((f["error"], f["retry_after_s"], f["exit_code"]), (error, 30.0, 0))


def test_lines_that_make_no_sense_are_warnings(c):
    c.start()
    c.sh(1, say("forty", "{bad", '{"percent": "x"}', '{"colour": 1}', '{"error": 5}', "50") + "; exit 1")
    f = c.daemon.finished(1)
    equal(f["progress"]["percent"], 50.0)
    equal(len(f["warnings"]), 5)
    for warning, word in zip(f["warnings"], ["forty", "JSON", "percent", "colour", "error"]):
        check(word in warning, f"{word} in {warning}")


def test_a_flood_of_bad_lines_is_counted(c):
    c.start()
    c.sh(1, "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo bad >&3; done")
    f = c.daemon.finished(1)
    equal(len(f["warnings"]), 21)
    equal(f["warnings"][-1], "... and 80 more")


def test_the_last_line_needs_no_newline_and_is_read_after_the_exit(c):
    c.start()
    c.sh(1, "printf 70 >&3; exit 2")
    equal(c.daemon.finished(1)["progress"]["percent"], 70.0)


def test_a_line_that_is_too_long_is_skipped(c):
    c.start()
    c.sh(1, "head -c 3000000 /dev/zero | tr '\\0' 1 >&3; echo >&3; echo 30 >&3; exit 1")
    f = c.daemon.finished(1)
    equal(f["progress"]["percent"], 30.0)
    check("longer than" in f["warnings"][0], f["warnings"])


def test_progress_in_the_output(c):
    c.start()
    fifo(c)
    c.sh(1, "printf '[ 42%%] Building C object\\n' >&2; read x < fifo; exit 1")
    p = percent(c, 1, 42)
    equal((p["percent"], p["source"]), (42.0, "output"))
    c.go()
    c.daemon.finished(1)


def test_what_it_reports_wins_over_its_output(c):
    c.start()
    fifo(c)
    c.sh(1, say("10") + "; read x < fifo; echo '[90/100] x'; exit 1")
    percent(c, 1, 10)
    c.go()
    f = c.daemon.finished(1)
    equal((f["progress"]["percent"], f["progress"]["source"]), (10.0, "reported"))


def test_an_estimate_when_there_is_nothing_better(c):
    c.start()
    c.sh(1, "sleep 1000", expected_s=100)
    p = percent(c, 1, 1)
    equal(p["source"], "estimate")
    check(p["percent"] < 50, p)
    c.daemon.send({"cancel": {"task": 1, "attempt": 1, "grace_s": 5, "why": "cancel"}})
    c.daemon.finished(1)


def test_the_offset_in_a_file_that_it_reads(c):
    c.start()
    with open(c.path("big"), "wb") as f:
        f.truncate(64 << 20)
    # four megabytes at a time, with a pause: two looks a second apart find it further on
    c.sh(1, "exec < big; while :; do head -c 4194304 > /dev/null; sleep 0.4; done")
    p = percent(c, 1, 5)
    equal((p["source"], p["unit"], p["total"]), ("file", "bytes", 64 << 20))
    c.daemon.send({"cancel": {"task": 1, "attempt": 1, "grace_s": 0, "why": "cancel"}})
    c.daemon.finished(1)


def test_no_progress_is_null(c):
    c.start()
    c.sh(1, "echo nothing here; exit 0")
    equal(c.daemon.finished(1)["progress"], None)
    equal(c.daemon.all("progress", 1), [])


def test_a_leader_that_hands_its_progress_on(c):
    c.start()
    c.sh(1, "(echo 20 >&3; exec sleep 1000) & echo $! > pid; while [ ! -s pid ]; do :; done; exit 3")
    f = c.daemon.finished(1)
    equal(f["exit_code"], 3)
    check(not alive(int(c.file("pid"))), "it lives")


if __name__ == "__main__":
    main(globals())
