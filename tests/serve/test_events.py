#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A program's own events, pages of facts, cursors."""

import json
import signal

from house import Wire, has, main, same

NOBODY = "/bin/false"
NDJSON = {"Content-Type": "application/x-ndjson"}


class Ear:
    """A stream of events: its frames as dicts, with the data taken apart."""

    def __init__(self, h, query="", headers=None):
        self.wire = Wire(h.socket)
        self.wire.send("GET", "/v1/events" + query, headers=headers)
        status, head = self.wire.head()
        same((status, head["content-type"]), (200, "text/event-stream"), query)
        self.rest = b""

    def frame(self):
        while b"\n\n" not in self.rest:
            self.rest += self.wire.chunk()
        text, self.rest = self.rest.split(b"\n\n", 1)
        frame = dict(line.split(": ", 1) for line in text.decode().split("\n"))
        frame["data"] = json.loads(frame["data"])
        same(frame["event"], frame["data"]["event"])
        return frame

    def data(self):
        return self.frame()["data"]

    def close(self):
        self.wire.close()


def publish(h, name, data=None, status=201, **members):
    body = {"event": name, "durable": status == 201, "data": data, **members}
    return h.expect(status, "POST", "/v1/events", body).json["seq"]


def page(h, query=""):
    answer = h.expect(200, "GET", "/v1/events?format=ndjson" + query)
    same(answer.headers["content-type"], "application/x-ndjson")
    *facts, trailer = answer.lines
    same(sorted(trailer), ["first", "last", "reached"])
    return facts, trailer


def test_facts_of_a_program_are_numbered_like_all_others(h):
    h.start(worker=NOBODY)
    ear = Ear(h)
    task = h.submit(correlation_id="c1")
    seq = publish(h, "import.page", {"page": 7, "of": [1, 2.5, "x"]}, task=task)
    queued, topic = ear.frame(), ear.frame()
    same((queued["event"], topic["event"]), ("task-queued", "import.page"))
    same(int(topic["id"]), seq)
    same(seq, int(queued["id"]) + 1)
    d = topic["data"]
    same((d["seq"], d["task"], d["run"], d["type"], d["queue"], d["correlation_id"]),
         (seq, task, 1, "shell", "default", "c1"))
    same(d["data"], {"page": 7, "of": [1, 2.5, "x"]})
    seq = publish(h, "import.end", "done", correlation_id="c2")
    d = ear.data()
    same((d["seq"], d["task"], d["type"], d["correlation_id"], d["data"]),
         (seq, None, None, "c2", "done"))
    publish(h, "import.end", task=task, correlation_id="c3")
    d = ear.data()
    same((d["task"], d["correlation_id"], d["data"]), (task, "c3", None))
    ear.close()


def test_passing_ones_go_to_who_listens(h):
    h.start(worker=NOBODY)
    publish(h, "nobody.hears", 1, status=202)
    ear, deaf = Ear(h), Ear(h, "?event=task-queued,b.*")
    for i in range(300):
        publish(h, "a.b", i, status=202)
    got = [ear.frame() for _ in range(300)]
    same([f["data"]["data"] for f in got], list(range(300)), "in order, each once")
    assert all("id" not in f and f["data"]["seq"] is None for f in got)
    publish(h, "b.c", {"x": None}, status=202)
    same(deaf.data()["data"], {"x": None})
    ear.close(), deaf.close()


def test_names_choose(h):
    h.start(worker=NOBODY)
    ears = {q: Ear(h, q) for q in
            ("?event=a.b", "?event=a.*", "?event=topic", "?event=*", "?event=a.b,task-queued",
             "?event=task-*", "?correlation=k", "?event=a.*&correlation=k")}
    seqs = {"a.b": publish(h, "a.b", correlation_id="k"), "a.c": publish(h, "a.c"),
            "x.y": publish(h, "x.y", correlation_id="k")}
    task = h.submit()
    end = publish(h, "a.b.end", correlation_id="k")  # for those whom nothing else would end
    want = {"?event=a.b": ["a.b"],
            "?event=a.*": ["a.b", "a.c", "a.b.end"],
            "?event=topic": ["a.b", "a.c", "x.y", "a.b.end"],
            "?event=*": ["a.b", "a.c", "x.y", "task-queued", "a.b.end"],
            "?event=a.b,task-queued": ["a.b", "task-queued"],
            "?event=task-*": ["task-queued"],
            "?correlation=k": ["a.b", "x.y", "a.b.end"],
            "?event=a.*&correlation=k": ["a.b", "a.b.end"]}
    for query, ear in ears.items():
        same([ear.data()["event"] for _ in want[query]], want[query], query)
        again = Ear(h, query + "&since=0")  # the same from the store
        same([again.data()["event"] for _ in want[query]], want[query], query)
        facts, trailer = page(h, "&" + query[1:])
        same([f["event"] for f in facts], want[query], query)
        same(trailer["reached"], end, query)
        again.close(), ear.close()
    same(seqs["a.c"], seqs["a.b"] + 1)
    facts, _ = page(h, f"&task={task}")
    same([f["event"] for f in facts], ["task-queued"])


def test_bad_ones_are_refused_by_name(h):
    h.start(worker=NOBODY)
    for name, words in [("import", "has no dot"), ("task-failed", "errand's own"),
                        ("topic", "errand's own"), ("gap", "errand's own"), ("a..b", "a dot"),
                        (".a", "a dot"), ("a.", "a dot"), ("a.b\n", "control"), (" a.b", "blank"),
                        ("a,b.c", "comma"), ("a.*", "'*'")]:
        h.refused(400, "event", words, "POST", "/v1/events", {"event": name})
        h.refused(400, "event", words, "POST", "/v1/events", {"event": name, "durable": True})
    h.refused(400, "event", "event", "POST", "/v1/events", {"data": 1})
    h.refused(400, "event", "1000", "POST", "/v1/events", {"event": "a." + "x" * 1000})
    h.refused(400, "task", "task", "POST", "/v1/events", {"event": "a.b", "task": "7"})
    h.refused(400, "durable", "durable", "POST", "/v1/events", {"event": "a.b", "durable": 1})
    h.refused(400, "dat", "data", "POST", "/v1/events", {"event": "a.b", "dat": 1})
    h.refused(400, None, "JSON", "POST", "/v1/events", "{")
    h.refused(404, "task", "no task 77", "POST", "/v1/events",
              {"event": "a.b", "durable": True, "task": 77})
    h.refused(413, "data", "1048576", "POST", "/v1/events",
              {"event": "a.b", "durable": True, "data": "x" * (1 << 20)})
    publish(h, "a.b", "x" * ((1 << 20) - 2))
    h.refused(400, "event", "did you mean task-failed", "GET", "/v1/events?event=task-faild")
    h.refused(400, "event", "a dot", "GET", "/v1/events?event=a..b")
    h.refused(400, "event", "empty", "GET", "/v1/events?event=a.b,")
    h.refused(400, "format", "ndjson", "GET", "/v1/events?format=sse")
    h.refused(400, "limit", "format=ndjson", "GET", "/v1/events?limit=5")
    h.refused(400, "until", "format=ndjson", "GET", "/v1/events?until=5")
    h.refused(400, "limit", "10000", "GET", "/v1/events?format=ndjson&limit=10001")
    h.refused(400, "cursor", "empty", "GET", "/v1/events?cursor=")


def test_many_in_one_request(h):
    h.start(worker=NOBODY)
    ear = Ear(h)
    rows = [{"event": "a.one", "durable": True, "data": 1}, {"event": "bad", "durable": True},
            {"event": "a.pass", "data": 2}, {"event": "a.two", "durable": True, "task": 9},
            {"event": "a.three", "durable": True, "data": {"k": "v"}}]
    answer = h.call("POST", "/v1/events", "\n".join(json.dumps(r) for r in rows) + "\n{\n", NDJSON)
    same(answer.status, 200)
    lines = answer.lines
    same([line.get("seq", "-") for line in lines],
         [lines[0]["seq"], "-", None, "-", lines[0]["seq"] + 1, "-"])
    same([(line["line"], line["code"], line["field"]) for line in lines if "code" in line],
         [(2, "invalid", "event"), (4, "not-found", "task"), (6, "invalid", None)])
    same([ear.data()["event"] for _ in range(3)], ["a.pass", "a.one", "a.three"])
    rows = [{"event": "n.n", "durable": True, "data": i} for i in range(5000)]
    answer = h.call("POST", "/v1/events", "\n".join(json.dumps(r) for r in rows) + "\n", NDJSON)
    same(len({line["seq"] for line in answer.lines}), 5000)
    same([ear.data()["data"] for _ in range(5000)], list(range(5000)))
    ear.close()


def test_pages_go_on_where_they_ended(h):
    h.start(worker=NOBODY)
    seqs = [publish(h, "p.q", i) for i in range(25)]
    first, last = seqs[0], seqs[-1]
    since, got = 0, []
    while since < last:
        facts, trailer = page(h, f"&since={since}&limit=10")
        same((trailer["first"], trailer["last"]), (first, last))
        got += [f["data"] for f in facts]
        since = trailer["reached"]
    same(got, list(range(25)))
    same(page(h, f"&since={last}"), ([], {"first": first, "last": last, "reached": last}))
    same(page(h, f"&since={last + 100}"), ([], {"first": first, "last": last, "reached": last}))
    facts, trailer = page(h, f"&since={first}&until={first + 3}")
    same(([f["seq"] for f in facts], trailer["reached"]),
         ([first + 1, first + 2, first + 3], first + 3))
    facts, trailer = page(h, f"&since={first + 5}&until={first + 3}")
    same((facts, trailer["reached"]), ([], first + 5))
    same(page(h, "&event=task-progress")[0], [])
    large = "x" * ((1 << 20) - 2)
    for _ in range(6):  # a page is bounded in bytes as well
        publish(h, "p.large", large)
    facts, trailer = page(h, "&event=p.large")
    assert 0 < len(facts) < 6 and trailer["reached"] < trailer["last"], trailer
    more, trailer = page(h, f"&event=p.large&since={trailer['reached']}")
    same(len(facts) + len(more), 6)
    same(trailer["reached"], trailer["last"])


def test_cursors_are_kept(h):
    h.start(worker=NOBODY)
    h.refused(404, None, "no cursor 'c'", "GET", "/v1/cursors/c")
    h.refused(404, None, "no cursor 'c'", "DELETE", "/v1/cursors/c")
    for body in ({}, {"seq": -1}, {"seq": "5"}, {"seq": 1.5}, {"seq": None}):
        h.refused(400, "seq", "the number of an event", "PUT", "/v1/cursors/c", body)
    h.refused(400, "sek", "seq", "PUT", "/v1/cursors/c", {"sek": 5})
    h.refused(400, "name", "at most 1000 bytes", "PUT", "/v1/cursors/" + "x" * 1001, {"seq": 1})
    h.refused(400, "name", "control", "PUT", "/v1/cursors/a%0ab", {"seq": 1})
    same(h.expect(200, "PUT", "/v1/cursors/c", {"seq": 5}).json, {"seq": 5})
    same(h.expect(200, "PUT", "/v1/cursors/a%20b", {"seq": 0}).json, {"seq": 0})
    h.kill(signal.SIGKILL)
    h.gone()
    h.start(None, worker=NOBODY)
    same(h.get("/v1/cursors/c"), {"seq": 5})
    same(h.expect(200, "PUT", "/v1/cursors/c", {"seq": 3}).json, {"seq": 3})
    h.expect(204, "DELETE", "/v1/cursors/c")
    h.refused(404, None, "no cursor", "GET", "/v1/cursors/c")
    same(h.get("/v1/cursors/a%20b"), {"seq": 0})


def test_a_stream_begins_behind_its_cursor(h):
    h.start(worker=NOBODY)
    seqs = [publish(h, "c.d", i) for i in range(10)]
    h.expect(200, "PUT", "/v1/cursors/mine", {"seq": seqs[6]})
    ear = Ear(h, "?cursor=mine&event=c.d")
    same([ear.data()["data"] for _ in range(3)], [7, 8, 9])
    same(page(h, "&cursor=mine")[0][0]["seq"], seqs[7])
    ear.close()
    ear = Ear(h, "?cursor=mine", {"Last-Event-ID": str(seqs[8])})  # a reconnect
    same(ear.data()["seq"], seqs[9])
    ear.close()
    ear = Ear(h, f"?cursor=other&since={seqs[3]}")  # not there yet
    same(ear.data()["seq"], seqs[4])
    ear.close()
    ear = Ear(h, "?cursor=other")  # likewise, and nowhere else to begin: from now on
    seq = publish(h, "c.d", "new")
    same(ear.data()["seq"], seq)
    ear.close()


def test_acknowledged_ones_survive_a_kill(h):
    h.start(worker=NOBODY)
    seqs = [publish(h, "k.k", i) for i in range(20)]
    h.kill(signal.SIGKILL)
    h.gone()
    h.start(None, worker=NOBODY)
    facts, _ = page(h, "&event=k.*")
    same([(f["seq"], f["data"]) for f in facts], [(seq, i) for i, seq in enumerate(seqs)])
    assert publish(h, "k.k", 20) > seqs[-1]


def test_the_index_lists_them(h):
    h.start(worker=NOBODY)
    text = h.expect(200, "GET", "/v1").body.decode()
    for part in ("/v1/events", "/v1/cursors/{name}", "/v1/call/{name}"):
        has(text, part)


if __name__ == "__main__":
    main(globals())
