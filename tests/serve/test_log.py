#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Output that cannot be read says so; it never looks like output that is whole."""

import os

from house import Wire, has, main, same


def log_of(h, task, attempt=1):
    return h.path(f"logs/{task // 1000}/{task}-{attempt}.log")


def ended(h, line, **members):
    task = h.sh(line, **members)
    h.end(task)
    return task


def test_a_log_that_is_gone_is_a_problem(h):
    h.start()
    task, silent = ended(h, "echo hello"), ended(h, ":")
    same(h.call("GET", f"/v1/tasks/{task}/log").body, b"hello\n")
    for t in (task, silent):
        os.unlink(log_of(h, t))
    h.refused(404, None, "attempt 1 (6 bytes) is not there any more", "GET", f"/v1/tasks/{task}/log")
    h.refused(404, None, "not there any more", "GET", f"/v1/tasks/{task}/log?attempt=1&tail=3")
    same(h.call("GET", f"/v1/tasks/{silent}/log").body, b"")


def damage(h, task, word):
    """Makes the head of the frame behind that word none."""
    with open(log_of(h, task), "r+b") as log:
        data = log.read()
        log.seek(data.index(word) + len(word))
        log.write(b"\xff" * 24)


def test_a_log_that_is_damaged_says_so_where_it_is(h):
    h.start()
    task = ended(h, "echo hello; printf qzbe")
    damage(h, task, b"qzbe")
    answer = h.expect(200, "GET", f"/v1/tasks/{task}/log")
    same(answer.body[:11], b"hello\nqzbe\n")
    has(answer.body.decode(), "\n[... output cannot be read: ")
    last = h.expect(200, "GET", f"/v1/tasks/{task}/log?format=ndjson").lines[-1]
    assert last["error"]["code"] and last["error"]["message"], last
    with open(log_of(h, task), "r+b") as log:
        log.write(b"\xff" * 64)
    h.refused(500, None, "cannot be read", "GET", f"/v1/tasks/{task}/log")


def frames(h, task):
    """The frames of its log as they are: kind, bytes."""
    with open(log_of(h, task), "rb") as log:
        data = log.read()
    at, found = 0, []
    while at < len(data):
        size = 24 + int.from_bytes(data[at + 4 : at + 8], "little")
        found.append((data[at], data[at : at + size]))
        at += size
    return found


def test_output_that_could_not_be_written_is_missed(h):
    # What a full disk leaves: frames up to some point, and an exit frame if it had room.
    h.start()
    for line, keep, want in (
            ("echo one; exec 1>&2; printf two", (1, 3, 4), b"one\n[... 3 bytes could not be written ...]\n"),
            ("echo one; exec 1>&2; printf two", (1, 3), b"one\n[... 3 bytes could not be written ...]\n"),
            ("printf one; exec 1>&2; echo two", (1, 3, 4), b"one\n[... 4 bytes could not be written ...]\n"),
            ("echo one", (3,), b"[... 4 bytes could not be written ...]\n"),
            ("echo one", (1, 3), b"one\n")):
        task = ended(h, line)
        with open(log_of(h, task) + ".new", "wb") as log:
            log.write(b"".join(data for kind, data in frames(h, task) if kind in keep))
        os.rename(log_of(h, task) + ".new", log_of(h, task))
        same(h.expect(200, "GET", f"/v1/tasks/{task}/log").body, want, line)
        same(h.expect(200, "GET", f"/v1/tasks/{task}/log?follow=1").body, want, line)
        notes = [v for v in h.expect(200, "GET", f"/v1/tasks/{task}/log?format=ndjson").lines if "data" not in v]
        words = want.split()
        same(notes, [{"lost": int(words[-7])}] if b"[..." in words else [], line)


def test_output_whose_middle_was_not_kept_says_so(h):
    h.start("output_head: 1MiB\noutput_tail: 1MiB\n")
    task = ended(h, "head -c 5000000 /dev/zero; echo; echo end")
    body = h.expect(200, "GET", f"/v1/tasks/{task}/log").body
    (omitted,) = [v["omitted"] for v in h.expect(200, "GET", f"/v1/tasks/{task}/log?format=ndjson").lines
                  if "omitted" in v]
    assert b"\n[... %d bytes omitted ...]\n" % omitted in body
    same(body.count(b"\0") + omitted, 5000000)


def test_the_end_of_output_that_grows_all_the_time_is_given(h):
    h.start("output_head: 1MiB\noutput_tail: 1MiB\n")
    task = h.sh("yes")
    tail = log_of(h, task).replace(".log", ".tail1")
    h.until(lambda: os.path.exists(tail), "output that fills two files")
    for query in ("tail=1", "tail=1&stream=stdout", "tail=1&timestamps=1", "tail=1000000", "stream=stdout"):
        has(h.expect(200, "GET", f"/v1/tasks/{task}/log?{query}").body, b"y")
    h.act(task, "cancel")
    h.end(task)


def test_output_ends_where_it_ended_when_it_was_asked_for(h):
    h.start("output_head: 1MiB\noutput_tail: 1MiB\n")
    # 12 bytes a line: the head, a tail and most of another
    task = h.sh("seq -f %011.0f 240000; until [ -e go ]; do sleep 0.1; done; "
                "seq -f %011.0f 300000 900000; echo end")
    want = b"".join(b"%011d\n" % n for n in range(1, 240001))
    path = f"/v1/tasks/{task}/log"
    h.until(lambda: h.call("GET", path + "?tail=1").body == want[-12:], "its output")
    # Three that ask now, and read when the tails were taken away for what came later.
    wires = []
    for query, lines in (("", 240000), ("?tail=200000", 200000), ("?tail=100000", 100000)):
        wire = Wire(h.socket)
        wire.send("GET", path + query)
        same(wire.head()[0], 200)
        wires.append((wire, wire.chunk(), want[-12 * lines:]))
    h.touch("go")
    h.end(task)
    for wire, body, all_of_it in wires:
        while piece := wire.chunk():
            body += piece
        wire.close()
        assert body == all_of_it, (len(body), len(all_of_it), body[:40], body[-40:])
    same(h.call("GET", path + "?tail=1").body, b"end\n")


def test_output_that_was_removed_with_its_task_says_so(h):
    h.start()
    task = ended(h, "echo hello")
    h.expect(204, "DELETE", f"/v1/tasks/{task}")
    problem = h.refused(404, None, "was removed", "GET", f"/v1/tasks/{task}/log")
    same(problem["tombstone"]["state"], "completed")
    h.refused(404, None, "there is no task 99", "GET", "/v1/tasks/99/log")


if __name__ == "__main__":
    main(globals())
