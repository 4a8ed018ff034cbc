#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Items and checkpoints: each is told until the daemon has it, in order, before the end."""

import json
import os

from fake_daemon import FakeDaemon, check, equal, main, until


def item(name, failed=False):
    return json.dumps({"item_failed" if failed else "item_completed": name})


def say(c, *lines):
    """Writes a file with these progress lines: the shell words that say them."""
    say.n = getattr(say, "n", 0) + 1
    with open(c.path(f"lines{say.n}"), "w", encoding="utf-8") as f:
        f.write("".join(line + "\n" for line in lines))
    return f"cat lines{say.n} >&3"


def told(c, task):
    return [(i["name"], i["failed"]) for i in c.daemon.all("item", task)]


def story(c, task):
    """The kinds of its lines, each once in a row."""
    kinds = []
    for line in c.daemon.lines:
        kind = next(iter(line))
        if line[kind]["task"] == task and kind != "output" and kinds[-1:] != [kind]:
            kinds.append(kind)
    return kinds


def test_each_item_is_a_line_in_order_and_before_the_end(c):
    c.start()
    names = [f"repo-{n} ü \"x\"" for n in range(20)]
    c.sh(1, say(c, *[item(name, n % 7 == 3) for n, name in enumerate(names)]) + "; exit 1")
    f = c.daemon.finished(1)
    equal(told(c, 1), [(name, n % 7 == 3) for n, name in enumerate(names)])
    equal((f["progress"]["items_completed"], f["progress"]["items_failed"]), (17, 3))
    kinds = story(c, 1)
    check(kinds[0] == "started" and kinds[-1] == "finished" and "item" in kinds, kinds)


def test_an_item_that_the_daemon_was_told_of(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, "read x < fifo")
    c.daemon.line("started", 1)
    c.daemon.send({"tell": {"task": 1, "attempt": 1, "line": {"item_completed": "by HTTP"}}})
    equal(c.daemon.line("item", 1)["name"], "by HTTP")
    c.go()
    c.daemon.finished(1)


def test_items_are_told_while_it_runs(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.sh(1, say(c, item("one")) + "; read x < fifo; " + say(c, item("two")))
    equal(c.daemon.line("item", 1)["name"], "one")
    c.go()
    c.daemon.finished(1)
    equal(told(c, 1), [("one", False), ("two", False)])


def test_what_was_not_answered_is_sent_again(c):
    c.start()
    c.run(9, "true")
    c.daemon.finished(9)
    with c.daemon.change:
        c.daemon.statuses = ["hang up", 503, 507, "hang up"]
    c.sh(1, say(c, *[item(f"i{n}") for n in range(50)]))
    c.daemon.finished(1)
    equal(c.daemon.statuses, [])
    equal(told(c, 1), [(f"i{n}", False) for n in range(50)])


def test_tens_of_thousands_while_the_daemon_is_away(c):
    c.start()
    many = 40000
    c.sh(1, "while ! [ -e away ]; do sleep 0.01; done; " +
         say(c, *[item(f"item-{n}") for n in range(many)]) + "; echo > said; "
         "while ! [ -e back ]; do sleep 0.01; done; exit 3")
    c.daemon.line("started", 1)
    c.daemon.close()
    with open(c.path("away"), "wb"):
        pass
    until(lambda: os.path.exists(c.path("said")), "all to be said")
    c.daemon = FakeDaemon(c.home)
    seen = 0
    while seen < many:
        before = seen
        seen = c.daemon.wait(lambda: (n := len(c.daemon.all("item", 1))) > before and n, "more items")
    with open(c.path("back"), "wb"):
        pass
    equal(c.daemon.finished(1)["exit_code"], 3)
    equal(told(c, 1) == [(f"item-{n}", False) for n in range(many)], True, "each once, in order")
    check(len(c.daemon.reports) < 100, f"{len(c.daemon.reports)} reports")
    if os.environ.get("ERRAND_BUILD", "none") == "none":
        with open(f"/proc/{c.worker.pid}/status", encoding="utf-8") as s:
            peak = int(dict(line.split(":", 1) for line in s)["VmHWM"].split()[0])
        check(peak < 40 << 10, f"the worker's memory was {peak} KiB")


def test_beyond_the_bound_the_command_waits_and_nothing_is_lost(c):
    """More than the 32 MiB that a worker keeps; long names make it go faster."""
    c.start()
    name = "x" * 980
    with open(c.path("say"), "w", encoding="utf-8") as f:
        f.write("import os\nfor n in range(45000):\n"
                "    os.write(3, b'{\"item_completed\":\"%06d " + name + "\"}\\n' % n)\n"
                "open('said', 'w')\n")
    # with a heartbeat: to wait for its worker is no silence of the command
    c.sh(1, "while ! [ -e away ]; do sleep 0.01; done; exec python3 say",
         env={"PATH": os.environ["PATH"]}, heartbeat_s=20)
    c.daemon.line("started", 1)
    pid = c.daemon.line("started", 1)["pid"]
    c.daemon.close()
    with open(c.path("away"), "wb"):
        pass

    def is_blocked():
        with open(f"/proc/{pid}/wchan", encoding="utf-8") as f:
            where = f.read()
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return "pipe_write" in where and "python" in f.read()

    def work_of_the_worker():
        with open(f"/proc/{c.worker.pid}/stat", encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return fields[0], fields[11], fields[12]  # its state and the time it has used

    looks = []

    def is_at_rest():
        """The command waits in its write, and the worker has not done anything for some looks."""
        looks.append((is_blocked(), *work_of_the_worker()))
        return len(looks) > 40 and looks[-1][:2] == (True, "S") and len(set(looks[-40:])) == 1

    until(is_at_rest, "the command to wait for the worker")
    check(not os.path.exists(c.path("said")), "all was taken")
    c.daemon = FakeDaemon(c.home)
    seen = 0
    while seen < 45000:  # as long as it goes on, however slowly
        before = seen
        seen = c.daemon.wait(lambda: (n := len(c.daemon.all("item", 1))) > before and n, "more items")
    equal(c.daemon.finished(1)["exit_code"], 0)
    items = c.daemon.all("item", 1)
    equal([i["name"][:6] for i in items] == [f"{n:06d}" for n in range(45000)], True, "all items")


def test_names_that_are_none_are_warnings(c):
    c.start()
    c.sh(1, say(c, item(""), item("x" * 1001), json.dumps({"item_failed": 5}), item("y" * 1000)))
    f = c.daemon.finished(1)
    equal(len(f["warnings"]), 3)
    equal(told(c, 1), [("y" * 1000, False)])


def test_a_refused_item_does_not_take_others_with_it(c):
    """The daemon refuses one line; alone, and only that one, it is given up."""
    c.start()
    c.run(9, "true")
    c.daemon.finished(9)
    c.daemon.refuses = lambda line: line.get("item", {}).get("name") == "bad"
    c.sh(1, say(c, item("a"), item("bad"), item("b"), json.dumps({"checkpoint": 1})) + "; exit 2")
    equal(c.daemon.finished(1)["exit_code"], 2)
    equal(told(c, 1), [("a", False), ("b", False)])
    equal([p["checkpoint"] for p in c.daemon.all("progress", 1) if p["checkpoint"]], [1])


def checkpoints(c, task):
    return [p["checkpoint"] for p in c.daemon.all("progress", task) if p["checkpoint"] is not None]


def test_a_checkpoint_is_told_until_it_is_answered(c):
    c.start()
    os.mkfifo(c.path("fifo"))
    c.run(9, "true")
    c.daemon.finished(9)
    with c.daemon.change:
        c.daemon.statuses = [503, "hang up", 503]
    c.sh(1, say(c, *[json.dumps({"checkpoint": {"at": n}}) for n in range(100)]) + "; read x < fifo")
    c.daemon.line("progress", 1, test=lambda p: p["checkpoint"] == {"at": 99})
    check(len(checkpoints(c, 1)) < 100, "the latest is enough")
    c.go()
    equal(c.daemon.finished(1)["checkpoint"], {"at": 99})


def test_a_checkpoint_comes_after_the_items_before_it(c):
    c.start()
    lines = []
    for n in range(500):
        lines += [item(f"i{n}"), json.dumps({"checkpoint": n})]
    c.sh(1, say(c, *lines))
    c.daemon.finished(1)
    seen = 0
    for line in c.daemon.lines:
        if line.get("item"):
            seen += 1
        elif line.get("progress") and line["progress"]["checkpoint"] is not None:
            check(line["progress"]["checkpoint"] < seen, f"checkpoint {line} after {seen} items")
    equal((seen, checkpoints(c, 1)[-1]), (500, 499))


def test_a_checkpoint_that_is_too_large_is_refused_with_a_warning(c):
    c.start()
    c.sh(1, say(c, json.dumps({"checkpoint": "x" * 65534}), json.dumps({"checkpoint": "y" * 65535})))
    f = c.daemon.finished(1)
    equal(f["checkpoint"], "x" * 65534)
    equal(checkpoints(c, 1), ["x" * 65534])
    check("larger than 65536" in f["warnings"][0] and len(f["warnings"]) == 1, f["warnings"])


def test_the_command_says_it(c):
    """`errand progress`, through the descriptor, without a daemon that would answer it."""
    c.start()
    errand = os.environ["ERRAND"]
    c.sh(1, f"{errand} progress --item a && {errand} progress --item b --failed && "
            f"{errand} progress --checkpoint '{{\"at\": [1]}}' && {errand} progress 2/4 half && "
            f"{errand} progress --retry-after 90s; exit $?")
    f = c.daemon.finished(1)
    equal((f["exit_code"], f["retry_after_s"], f["checkpoint"]), (0, 90.0, {"at": [1]}), c.out(1))
    equal(told(c, 1), [("a", False), ("b", True)])
    equal((f["progress"]["current"], f["progress"]["message"]), (2, "half"))
    equal(f["warnings"], [])


def test_what_is_said_last_is_not_lost(c):
    """Items in the pipe when the command ends; the last line without its newline."""
    c.start()
    for task in range(1, 21):
        c.sh(task, say(c, item("a"), item("b")) + f"; printf %s '{item('c')}' >&3; exit 1")
    for task in range(1, 21):
        c.daemon.finished(task)
        equal([name for name, _ in told(c, task)], ["a", "b", "c"])


if __name__ == "__main__":
    main(globals())
