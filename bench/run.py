#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures what errand promises beside its peers, in one run on one machine.

usage: run.py --programs STAGE [--where FOLDER] [--quick] [ROW...]

Prints TSV: row, what, value, unit, the peer's value, ratio, what is to be reached, and yes
or no. Rows (all when none is named): disk drain add submit latency page claim chain fan keys
hundred idle bus embedded call.
A benchmark, not a test: it ends with 0 whatever the numbers are. Rates and costs are the best of
several turns, errand and its peers taking turns: what other programs take from a machine in
between is not the subject; latencies are medians and p99 of all. Peers come from Debian
(xargs, task-spooler, beanstalkd, redis-server) and, for `embedded`, from npm (BullMQ, plainjob;
installed into FOLDER/npm, where they stay); those that are missing leave a '-'.
Stores and binlogs lie in FOLDER (default: build/bench): it has to be on the disk that is
meant. Everything that is started is ended by its pid.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
from instance import Instance, kill  # noqa: E402

PROGRAMS = ["disk", "spawn", "stamp", "beanstalk", "client"]


def free_port():
    """A port of the loopback that nobody has now: two runs side by side do not meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PORT = free_port()
CLAIM_SLOTS = 16


def note(text):
    print(f"# {text}", file=sys.stderr, flush=True)


def row(name, what, value, unit, peer="", peer_value=None, ratio=None, reach="", well=None):
    def number(x):
        return "-" if x is None else f"{x:.4g}" if isinstance(x, float) else str(x)

    verdict = "" if well is None else ("yes" if well else "no")
    beside = f"{peer} {number(peer_value)}".strip() if peer else ""
    print("\t".join([name, what, number(value), unit, beside, number(ratio) if peer else "", reach, verdict]), flush=True)


def divide(a, b):
    return a / b if a is not None and b else None


class Bench:
    def __init__(self, options):
        self.options = options
        self.where = os.path.abspath(options.where)
        os.makedirs(self.where, exist_ok=True)
        self.bin = tempfile.mkdtemp(prefix="bin-", dir=self.where)
        for name in PROGRAMS:
            subprocess.run(
                ["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-o", f"{self.bin}/{name}",
                 f"{HERE}/{name}.c", "-lpthread"], check=True)

    def close(self):
        shutil.rmtree(self.bin)

    def scale(self, n):
        return max(10, n // 10) if self.options.quick else n

    def instance(self, concurrency=2, worker=None):
        """A running daemon with its worker (or another program as such); the caller closes it."""
        instance = Instance(self.options.programs, f"concurrency: {concurrency}\n", where=self.where)
        if worker:
            instance.env["ERRAND_WORKER"] = worker
        instance.run("stats")
        instance.wait_ready()
        return instance

    def measure(self, *command, env=None):
        """Runs one of our programs and gives its figures by name."""
        done = subprocess.run(
            [f"{self.bin}/{command[0]}", *map(str, command[1:])], stdout=subprocess.PIPE, text=True,
            check=False, env=env, timeout=900)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}")
        return {name: float(value) for name, value in (line.split("\t") for line in done.stdout.splitlines())}

    def client(self, instance, *args):
        return self.measure("client", instance.socket, *args)

    def put_queue(self, instance, name, settings):
        connection = instance.connect()
        status, body = connection.request("PUT", f"/v1/queues/{name}", json.dumps(settings))
        connection.close()
        if status >= 300:
            raise RuntimeError(f"queue {name}: {status} {body!r}")

    # ---- peers -----------------------------------------------------------------------

    def spooler(self):
        """The environment of a private task-spooler with two slots, or None."""
        if not shutil.which("tsp"):
            return None
        folder = tempfile.mkdtemp(prefix="tsp-", dir=self.where)
        env = dict(os.environ, TS_SOCKET=f"{folder}/socket", TS_SLOTS="2", TS_MAXFINISHED="30000", TMPDIR=folder)
        subprocess.run(["tsp", "-S", "2"], env=env, check=True, stdout=subprocess.DEVNULL)
        env["BENCH_FOLDER"] = folder
        return env

    def spooler_hold(self, env):
        """Takes both slots until the returned function is called."""
        gate = f"{env['BENCH_FOLDER']}/go"
        for _ in range(2):
            subprocess.run(["tsp", "-n", "sh", "-c", f"while [ -d '{env['BENCH_FOLDER']}' ] && ! [ -e '{gate}' ]; do sleep 0.01; done"],
                           env=env, check=True, stdout=subprocess.DEVNULL)
        return lambda: open(gate, "w").close()

    def spooler_end(self, env):
        subprocess.run(["tsp", "-K"], env=env, check=False)
        shutil.rmtree(env["BENCH_FOLDER"], ignore_errors=True)

    def start_peer(self, *command):
        """Starts a server of a peer; ready when its port answers."""
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", PORT), 1).close()
                return process
            except OSError:
                time.sleep(0.02)
        process.kill()
        raise RuntimeError(f"{command[0]} does not answer")

    def beanstalkd(self, *options):
        program = shutil.which("beanstalkd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
        return program and self.start_peer(program, "-l", "127.0.0.1", "-p", str(PORT), *options)

    # ---- rows ------------------------------------------------------------------------

    def disk(self):
        rate = self.measure("disk", self.where, 2)["fdatasync_per_s"]
        row("disk", "fdatasync of 4 KiB, overwriting", rate, "/s")

    def drain(self):
        n = self.scale(1000)
        ours, xargs, spooler = [], [], []
        for _ in range(3):
            instance = self.instance(2)
            self.put_queue(instance, "bench", {"paused": True})
            tasks = "".join('{"args":{"argv":["true"]},"queue":"bench"}\n' for _ in range(n))
            self.bulk_text(instance, tasks)
            ours.append(n / self.client(instance, "drain", n, "bench")["seconds"])
            instance.close()
            began = time.monotonic()
            subprocess.run(f"seq {n} | xargs -P2 -n1 true >/dev/null", shell=True, check=False)
            xargs.append(n / (time.monotonic() - began))
            env = self.spooler()
            if env:
                release = self.spooler_hold(env)
                count = min(n, 900)  # each waiting job is a process of its own
                for _ in range(count):
                    subprocess.run(["tsp", "-n", "true"], env=env, check=True, stdout=subprocess.DEVNULL)
                began = time.monotonic()
                release()
                subprocess.run(["tsp", "-w"], env=env, check=False)
                spooler.append(count / (time.monotonic() - began))
                self.spooler_end(env)
        mine, limit = max(ours), max(xargs)
        what = f"{n} x true, two at a time, queued first, captured, durable"
        row("drain", what, mine, "tasks/s", "xargs -P2", limit, mine / limit, ">= 0.8", mine / limit >= 0.8)
        peer = max(spooler, default=None)
        ratio = divide(mine, peer)
        row("drain", what, mine, "tasks/s", "task-spooler", peer, ratio, ">= 1.2", ratio and ratio >= 1.2)

    def bulk_text(self, instance, lines):
        connection = instance.connect(300)
        headers = [("Content-Type", "application/x-ndjson")]
        status, body = connection.request("POST", "/v1/tasks?brief=1", lines, headers)
        connection.close()
        if status != 200 or b'"code"' in body:
            raise RuntimeError(f"bulk: {status} {body[:300]!r}")

    def add(self):
        n = self.scale(300)
        nothing = self.measure("spawn", n, "/bin/true")
        env, peer = self.spooler(), None
        if env:
            release = self.spooler_hold(env)
            peer = self.measure("spawn", min(n, 300), "tsp", "-n", "true", env=env)["ms_p50"]
            release()
            self.spooler_end(env)
        instance = self.instance(2)
        gate = f"{instance.home}/go"
        for _ in range(2):
            instance.run("add", "--", "sh", "-c", f"until [ -e '{gate}' ]; do sleep 0.05; done")
        mine = self.measure("spawn", n, instance.errand, "add", "--", "true", env=instance.env)
        open(gate, "w").close()
        instance.close()
        ratio = divide(mine["ms_p50"], peer)
        row("add", "errand add -- true, whole process, synced", mine["ms_p50"], "ms", "task-spooler", peer, ratio,
            "<= 1.5", ratio and ratio <= 1.5)
        row("add", "the same, p99", mine["ms_p99"], "ms", "/bin/true", nothing["ms_p50"],
            mine["ms_p50"] / nothing["ms_p50"])

    def submit(self):
        binlog = tempfile.mkdtemp(prefix="binlog-", dir=self.where)
        server = self.beanstalkd("-b", binlog, "-f0")
        instance = self.instance(2)
        self.put_queue(instance, "bench", {"paused": True})
        best = {}

        def keep(name, rate):
            best[name] = max(best.get(name, 0), rate)

        for _ in range(3):
            for clients in (1, 8):
                n = self.scale(10000)
                if server:
                    keep(("peer", clients), self.measure("beanstalk", PORT, clients, n)["put_per_s"])
                keep(clients, self.client(instance, "submit", clients, n, "bench")["submits_per_s"])
            if server:
                keep(("peer", "100"), self.measure("beanstalk", PORT, 1, self.scale(30000), 100)["put_per_s"])
            keep("bulk", self.client(instance, "bulk", self.scale(100000), 1000, "bench")["submits_per_s"])
        instance.close()
        if server:
            server.kill()
            server.wait()
        shutil.rmtree(binlog)
        for clients, reach in ((1, 0.5), (8, 2.5)):
            peer = best.get(("peer", clients))
            ratio = divide(best[clients], peer)
            row("submit", f"200-byte tasks, synced, {clients} client{'s' if clients > 1 else ''}", best[clients], "/s",
                "beanstalkd -f0", peer, ratio, f">= {reach}", ratio and ratio >= reach)
        peer = max((rate for name, rate in best.items() if name in (("peer", 1), ("peer", 8))), default=None)
        ratio = divide(best["bulk"], peer)
        row("submit", "the same, NDJSON of 1,000", best["bulk"], "/s", "beanstalkd -f0, its better one", peer, ratio,
            ">= 12", ratio and ratio >= 12)
        peer = best.get(("peer", "100"))
        row("submit", "the same", best["bulk"], "/s", "beanstalkd -f0, 100 pipelined", peer, divide(best["bulk"], peer))

    def latency(self):
        n = self.scale(500)
        instance = self.instance(2)
        fifo = f"{instance.home}/fifo"
        os.mkfifo(fifo, 0o600)
        took = self.client(instance, "latency", n, f"{self.bin}/stamp", fifo)
        row("latency", "acknowledged submit to started process, median", took["ms_p50"], "ms", reach="<= 2",
            well=took["ms_p50"] <= 2)
        row("latency", "the same, p99", took["ms_p99"], "ms", reach="<= 10", well=took["ms_p99"] <= 10)
        took = self.client(instance, "follow", min(n, 200), f"{self.bin}/stamp")
        row("latency", "started to first output at a follower, median", took["ms_p50"], "ms", reach="< 50",
            well=took["ms_p50"] < 50)
        row("latency", "the same, p99", took["ms_p99"], "ms")
        instance.close()

    def fill(self, instance, n, queue):
        for done in range(0, n, 50000):
            self.client(instance, "bulk", min(50000, n - done), min(1000, n - done), queue)

    def page(self):
        n = self.scale(100000)
        instance = self.instance(2)
        self.put_queue(instance, "bench", {"paused": True})
        self.fill(instance, n, "bench")
        took = self.measure("spawn", 50, instance.errand, "tasks", env=instance.env)
        row("page", f"errand tasks at {n:,} tasks, whole process, median", took["ms_p50"], "ms", reach="< 50",
            well=took["ms_p50"] < 50)
        row("page", "the same, p99", took["ms_p99"], "ms")
        instance.close()

    def claim_instance(self, queued, before=""):
        """So many tasks, for a worker that does nothing."""
        instance = self.nobody(CLAIM_SLOTS)
        if before:
            settings = {"paused": True} if before == "paused" else {"concurrency": 1}
            self.put_queue(instance, "front", settings)
            if before == "saturated":
                # one that never ends (the client keeps what has this name) takes its only permit
                self.bulk_text(instance, '{"args":{"argv":["true"]},"queue":"front","priority":1000,"name":"KEEP"}\n')
            self.fill(instance, self.scale(100000), "front")
        self.fill(instance, queued, "bench")
        return instance

    def claim_cost(self, instance):
        """Microseconds a task from claim to reported."""
        batch = 900
        self.put_queue(instance, "bench", {"paused": False})
        cost = self.client(instance, "claim", batch, CLAIM_SLOTS)["us_per_task"]
        self.put_queue(instance, "bench", {"paused": True})
        self.fill(instance, batch, "bench")
        return cost

    def claim(self):
        """The two take turns: what else the machine does meanwhile falls on both."""
        big = self.scale(1000000)
        few = self.claim_instance(1000)
        for before in ("", "saturated", "paused"):
            many = self.claim_instance(big, before)
            pairs = [(self.claim_cost(few), self.claim_cost(many)) for _ in range(15)]
            many.close()
            ratio = statistics.median(cost / base for base, cost in pairs)
            what = f"claim and finish of one task, {big:,} queued" + (
                f", 100,000 of a {before} queue before them" if before else "")
            row("claim", what, min(cost for _, cost in pairs), "us", "1,000 queued (median of pairs)",
                min(base for base, _ in pairs), ratio, "< 1.2", ratio < 1.2)
        few.close()

    def nobody(self, slots):
        """An instance whose work is taken by our client: an executor that does nothing."""
        idle = f"{self.bin}/idle-worker"  # keeps the daemon from starting a real one
        with open(idle, "w", encoding="utf-8") as script:
            script.write("#!/bin/sh\nexec sleep 100000\n")
        os.chmod(idle, 0o755)
        instance = self.instance(slots, idle)
        self.put_queue(instance, "bench", {"paused": True})
        return instance

    def submit_chain(self, instance, n):
        """n tasks in the paused queue, each waiting for the one before it."""
        first = '{"args":{"argv":["true"]},"queue":"bench","ref":"0"}\n'
        rest = "".join('{"args":{"argv":["true"]},"queue":"bench","ref":"%d","after":[{"ref":"%d"}]}\n' % (i, i - 1)
                       for i in range(1, n))
        self.bulk_text(instance, first + rest)

    def chain(self):
        n = self.scale(10000)
        rates = {"nobody": [], "true": []}
        for _ in range(3):
            instance = self.nobody(2)
            self.submit_chain(instance, n)
            self.put_queue(instance, "bench", {"paused": False})
            rates["nobody"].append(1e6 / self.client(instance, "claim", n, 2)["us_per_task"])
            instance.close()
            instance = self.instance(2)
            self.put_queue(instance, "bench", {"paused": True})
            self.submit_chain(instance, n)
            began = time.monotonic()
            self.put_queue(instance, "bench", {"paused": False})
            instance.get(f"/v1/tasks/{n}?wait=600&until=final", timeout=620)
            rates["true"].append(n / (time.monotonic() - began))
            instance.close()
        for executor, reach in (("nobody", 1500), ("true", 400)):
            rate = max(rates[executor])
            what = "an executor that does nothing" if executor == "nobody" else "true"
            row("chain", f"{n:,} tasks, each after the one before, {what}", rate, "links/s", reach=f">= {reach}",
                well=rate >= reach)

    def fan(self):
        n, slots = self.scale(100000), 64
        task = '{"args":{"argv":["true"]},"queue":"bench"%s}\n'
        rates = {"out": [], "in": []}
        for _ in range(3):
            instance = self.nobody(slots)
            self.bulk_text(instance, task % "")
            for at in range(0, n, 50000):
                self.bulk_text(instance, task % ',"after":[{"id":1}]' * min(50000, n - at))
            self.put_queue(instance, "bench", {"paused": False})
            rates["out"].append(1e6 / self.client(instance, "claim", n + 1, slots)["us_per_task"])
            instance.close()
            instance = self.nobody(slots)
            for at in range(0, n, 50000):
                self.bulk_text(instance, task % "" * min(50000, n - at))
            after = ",".join('{"id":%d}' % i for i in range(1, n + 1))
            self.bulk_text(instance, task % f',"after":[{after}]')
            self.put_queue(instance, "bench", {"paused": False})
            rates["in"].append(1e6 / self.client(instance, "claim", n + 1, slots)["us_per_task"])
            instance.close()
        for way, words in (("out", f"{n:,} tasks after one"), ("in", f"one task after {n:,}")):
            rate = max(rates[way])
            row("fan", f"{words}, all run, {slots} at a time, by an executor that does nothing", rate, "tasks/s", reach=">= 20000",
                well=rate >= 20000)

    def keys(self):
        each, n = 100, self.scale(1000)
        costs = {False: [], True: []}
        for keyed in (False, True, False, True, False, True):
            instance = self.nobody(16)
            connection = instance.connect()
            for i in range(n if keyed else 0):
                connection.request("PUT", f"/v1/limits/key-{i}", '{"concurrency": 2}')
            connection.close()
            task = '{"args":{"argv":["true"]},"queue":"bench"%s}\n'
            for _ in range(each):
                self.bulk_text(instance, "".join(task % (',"limit_key":"key-%d"' % i if keyed else "") for i in range(n)))
            self.put_queue(instance, "bench", {"paused": False})
            costs[keyed].append(self.client(instance, "claim", n * each, 16)["us_per_task"])
            instance.close()
        plain, keyed = min(costs[False]), min(costs[True])
        row("keys", f"claim and finish of one of {n * each:,} tasks, {n:,} limit keys with a limit each", keyed, "us",
            "no keys", plain, keyed / plain, "<= 1.3", keyed / plain <= 1.3)

    def build_bus(self):
        """bench_bus is linked with the library's own objects and what it is measured beside."""
        libraries = subprocess.run(["pkg-config", "--cflags", "--libs", "gobject-2.0", "libevent", "libuv", "libutf8proc"],
                                   stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", f"-I{HERE}/../src", "-o", f"{self.bin}/bench_bus",
                        f"{HERE}/bench_bus.c", f"{self.options.programs}/lib/liberrand.a", *libraries, "-lpthread"],
                       check=True)

    def bus(self):
        self.build_bus()
        took = self.measure("bench_bus", 2 if self.options.quick else 7)
        if shutil.which("node"):
            done = subprocess.run(["node", f"{HERE}/emitter.js"], stdout=subprocess.PIPE, text=True, check=True)
            took["emitter_ns"] = float(done.stdout.split("\t")[1])
        peers = (("GAsyncQueue, events copied as ours", took["gasyncqueue_parcels_per_s"]),
                 ("GAsyncQueue, a pointer", took["gasyncqueue_per_s"]),
                 ("uv_queue_work, 64 in flight", took["uv_queue_work_per_s"]))
        for name, what in (("bus", "published to a subscriber on another thread"), ("bus_many", "the same, by 50")):
            rate = took[f"{name}_per_s"]
            row("bus", what, rate, "/s", reach=">= 1e7", well=rate >= 1e7)
            for peer, theirs in peers:
                row("bus", what, rate, "/s", peer, theirs, rate / theirs, ">= 3", rate / theirs >= 3)
        cost = took["bus_ns"]
        row("bus", "published to 64 inline subscribers", cost, "ns", "a bare loop over functions", took["bare_ns"],
            cost / took["bare_ns"], "<= 3", cost / took["bare_ns"] <= 3)
        for peer, key, reach in (("g_signal_emit", "g_signal_ns", 10), ("libevent, event_active", "libevent_ns", None),
                                 ("Node's EventEmitter", "emitter_ns", None)):
            if key in took:
                times = took[key] / cost
                row("bus", "the same (ratio: times faster)", cost, "ns", peer, took[key], times,
                    f">= {reach}" if reach else "", times >= reach if reach else None)
        left, alone = took["stalled_ratio"], took["nine_per_s"]
        row("bus", "to nine on threads and a stalled one (median of pairs)", alone * left, "/s", "without it", alone,
            left, "> 0.95", left > 0.95)

    def build_lib(self):
        """A program that uses the installed library by its header, as anybody's."""
        stage = self.options.programs
        uv = subprocess.run(["pkg-config", "--cflags", "--libs", "libuv"], stdout=subprocess.PIPE, text=True,
                            check=True).stdout.split()
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", f"-I{stage}/include", "-o",
                        f"{self.bin}/bench_lib", f"{HERE}/bench_lib.c", f"-L{stage}/lib", "-lerrand",
                        f"-Wl,-rpath,{os.path.abspath(stage)}/lib", *uv, "-lpthread"], check=True)

    def npm(self):
        """The folder in which BullMQ and plainjob are, or None."""
        folder = f"{self.where}/npm"
        if not os.path.isdir(f"{folder}/node_modules/plainjob"):
            if not shutil.which("npm"):
                return None
            note("npm install bullmq plainjob better-sqlite3 (some minutes, once) ...")
            os.makedirs(folder, exist_ok=True)
            with open(f"{folder}/package.json", "w", encoding="utf-8") as out:
                out.write('{"private": true}')
            try:
                subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "bullmq@5",
                                "better-sqlite3@12", "plainjob@0.0.14"], cwd=folder, stdout=subprocess.DEVNULL,
                               timeout=900, check=True)
            except (OSError, subprocess.SubprocessError) as error:
                note(f"without BullMQ and plainjob: {error}")
                return None
        return folder

    def peer_drain(self, modules, peer, where, n):
        done = subprocess.run(["node", f"{HERE}/peers.js", modules, peer, str(where), str(n)], stdout=subprocess.PIPE,
                              text=True, check=True, timeout=900)
        return float(done.stdout.split("\t")[1])

    def peers_drain(self, n):
        """Jobs a second of (BullMQ, plainjob); None for one that is not there."""
        modules, bullmq, plainjob = self.npm(), None, None
        if not modules:
            return None, None
        folder = tempfile.mkdtemp(prefix="peers-", dir=self.where)
        if shutil.which("redis-server"):
            server = self.start_peer("redis-server", "--port", str(PORT), "--bind", "127.0.0.1", "--dir", folder,
                                     "--save", "", "--appendonly", "yes", "--appendfsync", "always")
            bullmq = max(self.peer_drain(modules, "bullmq", PORT, n) for _ in range(2))
            server.kill()
            server.wait()
        plainjob = max(self.peer_drain(modules, "plainjob", f"{folder}/{i}.db", n // 5) for i in range(2))
        shutil.rmtree(folder)
        return bullmq, plainjob

    def embedded(self):
        self.build_lib()
        n = self.scale(100000)
        best = {}
        for _ in range(3):
            folder = tempfile.mkdtemp(prefix="lib-", dir=self.where)
            for name, rate in self.measure("bench_lib", "embedded", folder, n).items():
                best[name] = max(best.get(name, 0), rate)
            shutil.rmtree(folder)
        bullmq, plainjob = self.peers_drain(self.scale(20000))
        drained = best["drain_per_s"]
        for peer, theirs, reach in (("BullMQ, appendfsync always", bullmq, 2), ("plainjob, synchronous=FULL", plainjob, 10)):
            ratio = divide(drained, theirs)
            row("embedded", f"{n:,} queued tasks that do nothing, drained in-process by 64 handlers, durable", drained, "tasks/s", peer,
                theirs, ratio, f">= {reach}", ratio and ratio >= reach)
        for name, words, reach in (("flight", "8 threads of 50 in flight", 20000), ("blocking", "8 blocking threads", 8000)):
            rate = best[f"{name}_per_s"]
            row("embedded", f"submit to completed, {words}", rate, "tasks/s", reach=f">= {reach}", well=rate >= reach)

    def call(self):
        self.build_lib()
        turns = [self.measure("bench_lib", "call", self.scale(20000)) for _ in range(3)]
        took = {name: min(turn[name] for turn in turns) for name in turns[0]}
        for quantile, words in (("p50", "a short call, memory:, median"), ("p99", "the same, p99")):
            mine, peer = took[f"call_us_{quantile}"], took[f"uv_async_us_{quantile}"]
            limit = quantile == "p50"
            row("call", words, mine, "us", "a round trip over uv_async", peer, mine / peer, "<= 3.5" if limit else "",
                mine / peer <= 3.5 if limit else None)

    def resident(self, *pids):
        total = 0
        for pid in pids:
            with open(f"/proc/{pid}/status", encoding="utf-8") as text:
                total += next(int(line.split()[1]) for line in text if line.startswith("VmRSS:"))
        return total / 1024

    def pids(self, instance):
        doctor = json.loads(instance.run("doctor", "--json"))
        return doctor["daemon"]["pid"], doctor["workers"][0]["pid"]

    def hundred(self):
        instance = self.instance(100)
        self.bulk_text(instance, '{"args":{"argv":["sleep","1000"]}}\n' * 100)
        end = time.monotonic() + 30
        while len(instance.get("/v1/tasks?state=running&limit=1000")["tasks"]) < 100:
            if time.monotonic() > end:
                raise RuntimeError("100 commands do not run within 30 s")
            time.sleep(0.05)
        mib = self.resident(*self.pids(instance))
        row("hundred", "100 commands: daemon and worker together", mib, "MiB", reach="< 50", well=mib < 50)
        took = self.measure("spawn", 50, instance.errand, "tasks", env=instance.env)
        row("hundred", "errand tasks meanwhile, median", took["ms_p50"], "ms", reach="< 100", well=took["ms_p50"] < 100)
        instance.close()

    def calls(self, pids, seconds=10):
        """System calls of processes in some seconds, or None when they cannot be traced."""
        out = f"{self.bin}/trace"
        args = [part for pid in pids for part in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-f", "-o", out, *args], stderr=subprocess.DEVNULL)
        time.sleep(1)  # what it attached to shows as one line each
        if tracer.poll() is not None:
            return None
        with open(out, encoding="utf-8", errors="replace") as text:
            before = len(text.readlines())
        time.sleep(seconds)
        with open(out, encoding="utf-8", errors="replace") as text:
            after = len(text.readlines())
        tracer.terminate()
        tracer.wait()
        return after - before

    def idle(self):
        instance = self.instance(2)
        instance.run("add", "--wait", "--", "true")
        time.sleep(8)  # whether a worker does what it was told is looked at once, 5 s later
        daemon, worker = self.pids(instance)
        calls = self.calls([daemon, worker])
        row("idle", "system calls of daemon and worker in 10 s", calls, "", reach="0", well=calls == 0)
        peers = self.idle_peers()
        before = self.resident(daemon)
        for name, mib in (("daemon", before), ("worker", self.resident(worker))):
            for peer in peers:
                row("idle", f"resident memory of the {name}", mib, "MiB", peer, peers[peer][0],
                    divide(mib, peers[peer][0]), "< 10", mib < 10)
        self.put_queue(instance, "bench", {"paused": True})
        big = self.scale(1000000)
        self.fill(instance, big, "bench")
        time.sleep(1)
        grown = self.resident(daemon) - before
        for peer in peers:
            theirs = peers[peer][1] - peers[peer][0]
            row("idle", f"growth at {big:,} queued", grown, "MiB", peer, theirs, divide(grown, theirs), "< 16", grown < 16)
        instance.close()

    def idle_peers(self):
        """Name -> (MiB when empty, MiB with a million of 200 bytes)."""
        found = {}
        server = self.beanstalkd()
        if server:
            empty = self.resident(server.pid)
            self.measure("beanstalk", PORT, 1, self.scale(1000000), 1000)
            found["beanstalkd"] = (empty, self.resident(server.pid))
            server.kill()
            server.wait()
        if shutil.which("redis-server"):
            folder = tempfile.mkdtemp(prefix="redis-", dir=self.where)
            server = self.start_peer("redis-server", "--port", str(PORT), "--bind", "127.0.0.1", "--dir", folder,
                                     "--save", "")
            empty = self.resident(server.pid)
            subprocess.run(["redis-benchmark", "-p", str(PORT), "-t", "lpush", "-d", "200", "-P", "100", "-q",
                            "-n", str(self.scale(1000000))], stdout=subprocess.DEVNULL, check=True)
            found["redis-server"] = (empty, self.resident(server.pid))
            server.kill()
            server.wait()
            shutil.rmtree(folder)
        return found or {"-": (0.0, 0.0)}


ROWS = ["disk", "drain", "add", "submit", "latency", "page", "claim", "chain", "fan", "keys", "hundred", "idle", "bus", "embedded",
        "call"]


def main():
    parser = argparse.ArgumentParser(description="errand's numbers beside its peers'")
    parser.add_argument("--programs", required=True)
    parser.add_argument("--where", default=os.path.join(HERE, "..", "build", "bench"))
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, to try it")
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="ROW")
    options = parser.parse_args()
    bench = Bench(options)
    print("row\twhat\tvalue\tunit\tbeside\tratio\treach\treached")
    try:
        for name in options.rows or ROWS:
            note(f"{name} ...")
            try:
                getattr(bench, name)()
            except (RuntimeError, OSError, subprocess.SubprocessError, KeyError, IndexError) as error:
                row(name, f"could not be measured: {error}", None, "")
    finally:
        bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
