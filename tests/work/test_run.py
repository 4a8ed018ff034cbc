#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Running a command: what it gets, what is kept of it, what is reported."""

import base64
import json
import os

from fake_daemon import TOKEN, check, daemon, decoded, equal, main


def test_reports_exit_code_times_and_usage(c):
    c.start()
    c.sh(42, "exit 3")
    f = c.daemon.finished(42)
    equal((f["spawned"], f["why"], f["exit_code"], f["signal"]), (True, None, 3, 0))
    equal((f["result"], f["error"], f["progress"], f["warnings"]), (None, None, None, []))
    check(f["started_at"] <= f["finished_at"], "times")
    check(f["cpu_s"] >= 0 and f["peak_rss_bytes"] > 0, "usage")
    started = c.daemon.line("started", 42)
    equal(started["started_at"], f["started_at"])
    headers = c.daemon.reports[0][0]
    equal(headers["x-errand-session"], "7")
    equal(headers["content-type"], "application/x-ndjson")
    kinds = [next(iter(line)) for line in c.daemon.lines]
    equal([k for k in kinds if k in ("started", "finished")], ["started", "finished"])


def test_exit_frame_is_the_finished_object(c):
    c.start()
    c.sh(1042, "echo out; exit 1")
    f = c.daemon.finished(1042)
    frames = c.log(1042)
    equal([x.kind for x in frames], [3, 1, 4])
    equal(json.loads(frames[-1].data), f)
    start = json.loads(frames[0].data)
    equal(start, {"pid": c.daemon.line("started", 1042)["pid"], "started_at": f["started_at"]})
    check(os.path.exists(c.path("logs", "1", "1042-1.log")), "the log's folder")


def test_a_signal_is_no_exit_code(c):
    c.start()
    c.sh(1, "kill -SEGV $$")
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["signal"]), (None, 11))


def test_both_streams_are_kept_apart_and_in_order(c):
    c.start()
    c.sh(1, "for i in 1 2 3; do echo out$i; echo err$i >&2; done")
    f = c.daemon.finished(1)
    equal(c.out(1, [1]), b"out1\nout2\nout3\n")
    equal(c.out(1, [2]), b"err1\nerr2\nerr3\n")
    equal(f["output_bytes"], 30)
    offset = 0
    for frame in c.log(1):
        equal(frame.offset, offset, "offset")
        if frame.kind in (1, 2):
            offset += len(frame.data)


def test_binary_output_is_kept_byte_for_byte(c):
    c.start()
    data = os.urandom(300000)
    with open(c.path("data"), "wb") as f:
        f.write(data)
    c.run(1, "cat", "data")
    c.daemon.finished(1)
    equal(c.out(1) == data, True, "bytes")


def test_a_line_of_ten_megabytes_without_a_newline(c):
    c.start()
    c.sh(1, "head -c 10485760 /dev/zero | tr '\\0' x; printf end")
    f = c.daemon.finished(1)
    equal(f["output_bytes"], 10485763)
    out = c.out(1)
    equal(len(out), 10485763)
    equal(out[-5:], b"xxend")


def test_a_gigabyte_keeps_head_and_tail_and_little_memory(c):
    c.start()
    c.sh(1, "printf begin; head -c 1073741824 /dev/zero; printf end")
    c.daemon.line("output", 1)
    f = c.daemon.finished(1)
    equal(f["output_bytes"], 1073741824 + 8)
    frames = [x for x in c.log(1) if x.kind == 1]
    kept = sum(len(x.data) for x in frames)
    check(16 << 20 <= kept <= 24 << 20, f"kept {kept}")
    equal(frames[0].data[:5], b"begin")
    equal(c.out(1)[-3:], b"end")
    equal(frames[-1].offset + len(frames[-1].data), f["output_bytes"])
    if os.environ.get("ERRAND_BUILD", "none") == "none":
        with open(f"/proc/{c.worker.pid}/status", encoding="utf-8") as s:
            status = dict(line.split(":", 1) for line in s)
        peak = int(status["VmHWM"].split()[0])
        check(peak < 10 << 10, f"the worker's memory was {peak} KiB")


def test_output_grows_in_samples_while_it_runs(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "echo one; read x < fifo; echo two")
    equal(c.daemon.line("output", 1)["bytes"], 4)
    c.go()
    c.daemon.finished(1)


def test_a_child_that_closes_its_output_and_lives_on(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "echo before; exec >&- 2>&-; read x < fifo; exit 5")
    c.daemon.line("output", 1)
    c.go()
    equal(c.daemon.finished(1)["exit_code"], 5)
    equal(c.out(1), b"before\n")


def test_a_missing_command_is_127_with_its_reason(c):
    c.start()
    c.run(1, "no-such-command", "x", env={"PATH": "/nowhere:/usr/bin"})
    f = c.daemon.finished(1)
    equal((f["spawned"], f["exit_code"], f["started_at"]), (False, 127, None))
    equal(f["error"], {
        "class": "user-actionable", "code": "not-found",
        "message": "command not found: 'no-such-command' (searched PATH=/nowhere:/usr/bin)",
        "suggested_action": "check the name, or the PATH that the task was submitted with",
    })
    equal([x.kind for x in c.log(1)], [4], "the log has the exit frame only")
    c.run(2, "./no-such-file")
    f = c.daemon.finished(2)
    equal((f["exit_code"], f["error"]["code"]), (127, "not-found"))
    check("check the path" in f["error"]["suggested_action"], f["error"])


def test_a_working_directory_that_is_gone_is_not_a_missing_command(c):
    c.start()
    c.run(1, "true", cwd="/no/such/folder")
    f = c.daemon.finished(1)
    equal((f["spawned"], f["exit_code"]), (False, 126))
    equal((f["error"]["code"], f["error"]["class"]), ("no-cwd", "user-actionable"))
    check("--cwd" in f["error"]["suggested_action"], f["error"])
    equal(f["error"]["message"], "working directory '/no/such/folder' is gone")
    c.run(2, "true", cwd="/etc/passwd")
    equal(
        c.daemon.finished(2)["error"]["message"],
        "working directory '/etc/passwd' is not a directory",
    )


def test_what_is_not_executable_is_126(c):
    with open(c.path("plain"), "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n")
    os.mkdir(c.path("bin"))
    os.chmod(c.path("plain"), 0o644)
    os.link(c.path("plain"), c.path("bin", "plain"))
    c.start()
    c.run(1, "./plain")
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["error"]["code"]), (126, "not-executable"))
    equal(f["error"]["class"], "user-actionable")
    check("chmod +x" in f["error"]["suggested_action"], f["error"])
    c.run(2, "plain", env={"PATH": "bin"})
    f = c.daemon.finished(2)
    equal((f["exit_code"], f["error"]["code"]), (126, "not-executable"))
    c.run(3, "/tmp")
    f = c.daemon.finished(3)
    equal((f["exit_code"], f["error"]["message"]), (126, "permission denied: '/tmp' is a directory"))


def test_a_script_without_an_interpreter_line_runs_as_in_a_shell(c):
    with open(c.path("script"), "w", encoding="utf-8") as f:
        f.write("echo ran with $1\n")
    os.chmod(c.path("script"), 0o755)
    c.start()
    c.run(1, "./script", "word")
    equal(c.daemon.finished(1)["exit_code"], 0)
    equal(c.out(1), b"ran with word\n")


def test_a_missing_interpreter_is_named_as_such(c):
    with open(c.path("script"), "w", encoding="utf-8") as f:
        f.write("#!/no/such/interpreter\n")
    os.chmod(c.path("script"), 0o755)
    c.start()
    c.run(1, "./script")
    f = c.daemon.finished(1)
    equal(f["exit_code"], 127)
    check("interpreter" in f["error"]["message"], f["error"]["message"])
    check("interpreter" in f["error"]["suggested_action"], f["error"])


def test_the_command_is_searched_in_the_submitters_path(c):
    os.mkdir(c.path("bin"))
    with open(c.path("bin", "greet"), "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\necho hello from $0\n")
    os.chmod(c.path("bin", "greet"), 0o755)
    c.start()
    c.run(1, "greet", env={"PATH": "bin:/usr/bin"})
    equal(c.daemon.finished(1)["exit_code"], 0)
    equal(c.out(1), b"hello from bin/greet\n")


def test_a_shell_line_is_run_by_sh(c):
    c.start()
    c.run(1, args={"command": "echo a | tr a b; exit 4"})
    equal(c.daemon.finished(1)["exit_code"], 4)
    equal(c.out(1), b"b\n")


def test_wrong_arguments_are_named(c):
    c.start()
    c.run(1, args={})
    f = c.daemon.finished(1)
    equal((f["spawned"], f["exit_code"], f["error"]["code"]), (False, None, "invalid"))
    c.run(2, args={"argv": ["echo", 5]})
    equal(c.daemon.finished(2)["error"]["message"], "args.argv[1] is not a string")
    c.run(3, "true", type="file.hash")
    f = c.daemon.finished(3)
    equal(f["error"]["code"], "unknown-type")
    check("file.hash" in f["error"]["message"], f["error"]["message"])
    c.run(4, args={"argv": ["cat"], "stdin_base64": "?"})
    equal(c.daemon.finished(4)["error"]["message"], "args.stdin_base64 is not base64")


def test_the_environment_is_the_given_one_and_ours(c):
    c.start()
    c.run(5, "/usr/bin/env", env={"A": "1", "ERRAND_ATTEMPT": "99", "X": "y z"}, attempt=3)
    c.daemon.finished(5, 3)
    got = dict(line.split("=", 1) for line in c.out(5, attempt=3).decode().splitlines())
    equal(
        got,
        {
            "A": "1", "X": "y z", "ERRAND_TASK_ID": "5", "ERRAND_ATTEMPT": "3",
            "ERRAND_SOCKET": c.daemon.path, "ERRAND_PROGRESS_FD": "3",
            "ERRAND_CORRELATION_ID": "c-1",
            "ERRAND_COOKIE": TOKEN + ".5.3",
        },
    )


def test_a_command_sees_four_descriptors_and_nothing_else(c):
    c.start(close_fds=False)
    c.run(1, "ls", "/proc/self/fd")
    c.daemon.finished(1)
    # ls itself opens the folder: 4
    equal(c.out(1), b"0\n1\n2\n3\n4\n")


def test_descriptors_the_worker_inherited_do_not_reach_commands(c):
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    c.start(pass_fds=[fd])
    os.close(fd)
    c.run(1, "ls", "/proc/self/fd")
    c.daemon.finished(1)
    equal(c.out(1), b"0\n1\n2\n3\n4\n")


def test_a_command_has_its_own_session_and_default_signals(c):
    c.start()
    c.sh(1, "ps -o sid= -p $$ | tr -d ' '; echo $$; grep -E 'Sig(Ign|Blk)' /proc/self/status")
    c.daemon.finished(1)
    lines = c.out(1).decode().split("\n")
    equal(lines[0], lines[1])
    equal(lines[2].split()[1], "0" * 16)
    glibcs_own = 1 << 31 | 1 << 32  # signals 32 and 33, which no program can set
    equal(int(lines[3].split()[1], 16) & ~glibcs_own, 0)


def test_standard_input_of_each_kind(c):
    c.start()
    c.run(1, "cat")
    c.run(2, args={"argv": ["cat"], "stdin": "text ü\n"})
    c.run(3, args={"argv": ["cat"], "stdin_base64": base64.b64encode(b"\0\xff").decode()})
    with open(c.path("in"), "w", encoding="utf-8") as f:
        f.write("from a file")
    c.run(4, args={"argv": ["cat"], "stdin_file": "in"})
    c.run(5, args={"argv": ["cat"], "stdin_file": "/no/file"})
    want = {1: b"", 2: "text ü\n".encode(), 3: b"\0\xff", 4: b"from a file"}
    for task, bytes_ in want.items():
        equal(c.daemon.finished(task)["exit_code"], 0)
        equal(c.out(task), bytes_)
    f = c.daemon.finished(5)
    equal((f["spawned"], f["exit_code"], f["error"]["code"]), (False, 126, "stdin-missing"))
    check("/no/file" in f["error"]["message"], f["error"]["message"])


def test_a_megabyte_of_standard_input(c):
    c.start()
    text = "0123456789abcde\n" * 60000
    c.run(1, args={"argv": ["cat"], "stdin": text})
    c.daemon.finished(1)
    equal(c.out(1) == text.encode(), True, "what cat gave back")


def send_input(c, task, data, eof=False):
    text = base64.b64encode(data).decode()
    c.daemon.send({"input": {"task": task, "attempt": 1, "base64": text, "eof": eof}})


def test_input_is_fed_while_it_runs(c):
    c.start()
    c.run(1, args={"command": "read a; echo got $a; cat", "input": True})
    send_input(c, 1, b"first\n")
    c.daemon.line("output", 1, test=lambda o: o["bytes"] >= 10)
    send_input(c, 1, b"second\n")
    send_input(c, 1, b"", eof=True)
    equal(c.daemon.finished(1)["exit_code"], 0)
    equal(c.out(1), b"got first\nsecond\n")


@daemon(slots=1)
def test_input_sent_before_the_start_waits_for_it(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "read x < fifo")
    c.run(2, args={"argv": ["cat"], "input": True})
    send_input(c, 2, b"early", eof=True)
    c.go()
    c.daemon.finished(2)
    equal(c.out(2), b"early")


def test_input_beyond_the_bound_is_dropped_with_a_warning(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.run(1, args={"command": "read x < fifo; cat | wc -c", "input": True})
    for _ in range(5):
        send_input(c, 1, b"x" * 400000)
    send_input(c, 1, b"", eof=True)
    c.sh(2, "exit 0")
    c.daemon.finished(2)  # so the input has arrived
    c.go()
    f = c.daemon.finished(1)
    kept = int(c.out(1))
    check(800000 <= kept <= 1200000, f"kept {kept}")
    check(f"{2000000 - kept} bytes for standard input" in f["warnings"][0], f["warnings"])


def test_input_for_a_command_without_it_is_a_warning(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "echo x; read x < fifo")
    c.daemon.line("output", 1)
    send_input(c, 1, b"hello")
    c.sh(2, "exit 0")
    c.daemon.finished(2)
    c.go()
    check("not open" in c.daemon.finished(1)["warnings"][0], "warning")


@daemon(slots=2)
def test_what_waits_starts_in_order_as_slots_become_free(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    for task in range(1, 7):
        c.sh(task, f"[ {task} -gt 2 ] || read x < fifo")
    c.daemon.line("started", 1)
    c.daemon.line("started", 2)
    equal(c.daemon.all("started", 3), [])
    c.go()
    for task in range(3, 7):
        c.daemon.finished(task)
    order = [line["started"]["task"] for line in c.daemon.lines if "started" in line]
    equal(order, [1, 2, 3, 4, 5, 6])


@daemon(slots=1)
def test_more_slots_take_effect_at_once(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "read x < fifo")
    c.sh(2, "exit 0")
    c.daemon.line("started", 1)
    c.daemon.send({"slots": 2})
    c.daemon.finished(2)
    equal(c.daemon.all("finished", 1), [])
    c.go()
    c.daemon.finished(1)


@daemon(slots=100)
def test_a_hundred_at_once(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    for task in range(1, 101):
        c.sh(task, "echo hello; read x < fifo")
    for task in range(1, 101):
        c.daemon.line("output", task)
    with open(f"/proc/{c.worker.pid}/status", encoding="utf-8") as s:
        status = dict(line.split(":", 1) for line in s)
    rss = int(status["VmRSS"].split()[0])
    if os.environ.get("ERRAND_BUILD", "none") == "none":
        check(rss < 10 << 10, f"the worker's memory is {rss} KiB")
    for task in range(1, 101):
        c.daemon.send({"cancel": {"task": task, "attempt": 1, "grace_s": 5, "why": "cancel"}})
    for task in range(1, 101):
        equal(c.daemon.finished(task)["why"], "cancel")


def test_many_short_ones(c):
    c.start()
    for task in range(1, 301):
        c.run(task, "true")
    for task in range(1, 301):
        equal(c.daemon.finished(task)["exit_code"], 0)
        equal(len(c.daemon.all("finished", task)), 1)


def test_a_log_that_is_there_already_is_refused(c):
    os.makedirs(c.path("logs", "0"))
    with open(c.path("logs", "0", "1-1.log"), "wb"):
        pass
    c.start()
    c.run(1, "touch", "ran")
    f = c.daemon.finished(1)
    equal((f["spawned"], f["error"]["code"]), (False, "exists"))
    check(not os.path.exists(c.path("ran")), "it ran")


def test_a_result_that_is_not_utf8(c):
    c.start()
    part = base64.b64encode(b"\xff\0\n").decode()
    line = json.dumps({"result_part": {"id": "r", "n": 0, "last": True, "base64": part}})
    c.sh(1, f"echo '{line}' >&3")
    equal(decoded(c.daemon.finished(1)["result"]), b"\xff\0\n")


if __name__ == "__main__":
    main(globals())
