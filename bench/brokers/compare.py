#!/usr/bin/env python3
"""Kohort's broker beside Apache Kafka, one after the other in every round: the whole table of RESULTS.md in one command.

    compare.py --kafka DIR [--kohort target/release/kohort] [--rounds 3] [--only startup,load,latency,groups] [--results RESULTS.md] [--readme]

DIR is the folder of `tests/peers/kafka install`. Needs Python with confluent-kafka and psutil, and takes under ten minutes on a
quiet two-core machine. One JSON line a measurement goes to --out, the table to stdout. Read the ratios: server and clients share
the machine's cores, and only what was measured in one run is comparable.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from common import cpu_s, create_topic, rss_mib

HERE = pathlib.Path(__file__).resolve().parent
KAFKA = HERE.parents[1] / "tests/peers/kafka"
SETTINGS = ["group.initial.rebalance.delay.ms=0"]
SIZES = (100, 1000)
#: Steps of `group.py` by mode, and what they are called in the table.
STEPS = {
    "dynamic": [("join_m1_s", "first member has its partitions"), ("join_m2_s", "second member joins"),
                ("join_m3_s", "third member joins"), ("kill9_failover_s", "a member is killed (-9), session 6 s"),
                ("clean_leave_s", "a member leaves")],
    "cooperative": [("join_m2_s", "second member joins, cooperative"), ("join_m3_s", "third member joins, cooperative"),
                    ("kill9_failover_s", "a member is killed (-9), cooperative"), ("clean_leave_s", "a member leaves, cooperative")],
    "simultaneous": [("join_together_s", "three members start together")],
}


def free_ports():
    """Two neighbours: Kafka's controller takes the second."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            port = a.getsockname()[1]
            try:
                b.bind(("127.0.0.1", port + 1))
                return port
            except (OSError, OverflowError):
                pass


class Kohort:
    name = "kohort"
    extra = []

    def __init__(self, args, folder):
        self.port = free_ports()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.cmd = [args.kohort, "broker", "--data", f"{folder}/data", "--listen", self.bootstrap]
        for setting in SETTINGS + self.extra:
            self.cmd += ["--set", setting]

    def start(self):
        self.process = subprocess.Popen(self.cmd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout.readline().startswith("broker listening"), "the broker did not start"
        self.pid = self.process.pid

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class Unparked(Kohort):
    """Kafka's timing: what parked heartbeats and lost connections bring is the difference."""
    name = "unparked"
    extra = ["kohort.park.heartbeats=false", "kohort.lost.connection.grace.ms=0"]


class Kafka:
    name = "kafka"

    def __init__(self, args, folder):
        self.dir = pathlib.Path(folder)
        os.symlink(pathlib.Path(args.kafka).resolve() / "libs", self.dir / "libs")
        self.port = free_ports()
        self.bootstrap = f"127.0.0.1:{self.port}"

    def start(self):
        subprocess.run(["bash", KAFKA, "start", self.dir, str(self.port), *SETTINGS], check=True, stdout=subprocess.DEVNULL)
        self.pid = int((self.dir / "pid").read_text())

    def stop(self):
        subprocess.run(["bash", KAFKA, "stop", self.dir], check=True)


def script(server, name, *args):
    done = subprocess.run([sys.executable, HERE / f"{name}.py", "--bootstrap", server.bootstrap, "--pid", str(server.pid),
                           "--label", server.name, *map(str, args)], capture_output=True, text=True, timeout=500)
    if done.returncode:
        raise SystemExit(f"{name} against {server.name} failed:\n{done.stderr[-2000:]}")
    return next(r for r in map(json.loads, done.stdout.splitlines()) if r["kind"] == name)


class Table:
    """What was measured: measure -> server -> values, in the order in which it was first seen."""

    def __init__(self, out, quiet=False):
        self.cells, self.out, self.quiet = {}, out, quiet

    def note(self, measure, server, value):
        self.cells.setdefault(measure, {}).setdefault(server.name, []).append(value)
        if self.quiet:
            return
        print(f"{server.name:8} {measure}: {'none' if value is None else format(value, '.4g')}", file=sys.stderr, flush=True)
        if self.out:
            with open(self.out, "a") as f:
                f.write(json.dumps({"measure": measure, "server": server.name, "value": value}) + "\n")

    def rows(self):
        def show(values):
            known = [v for v in values if v is not None]
            if not known:
                return "never"
            text = f"{statistics.median(known):.3g}"
            return text if len(known) == 1 else f"{text} [{min(known):.3g}-{max(known):.3g}]"

        def median(values):
            known = [v for v in values if v is not None]
            return statistics.median(known) if known else None

        for measure, by in self.cells.items():
            ours, theirs = median(by.get("kohort", [])), median(by.get("kafka", []))
            # A leave that settles in the moment it is asked for takes 0.00 s.
            ratio = f"{ours / theirs:.2g}" if ours is not None and theirs else ""
            yield f"| {measure} | {show(by.get('kohort', []))} | {show(by.get('kafka', []))} | {ratio} |" + (
                f" parking off: {show(by['unparked'])} |" if "unparked" in by else " |")

    def markdown(self):
        return "\n".join(["| measure | Kohort | Kafka 4.3.1 | Kohort / Kafka | |", "|---|---|---|---|---|", *self.rows()])


def measure_start(server, table):
    """From the start of the process to the first acknowledged record, and the memory then. Not the first start: in that one Kafka's
    folder is formatted."""
    from confluent_kafka import Producer
    server.start()
    server.stop()
    began = time.monotonic()
    server.start()
    p = Producer({"bootstrap.servers": server.bootstrap, "linger.ms": 0, "reconnect.backoff.ms": 2, "reconnect.backoff.max.ms": 10})
    p.produce("first-record", b"x")
    assert p.flush(60) == 0
    table.note("process start to first acknowledged record, s", server, time.monotonic() - began)
    table.note("memory after it, MiB", server, rss_mib(server.pid))


def measure_load(server, table, count, turn):
    for size in SIZES:
        n = count if size == SIZES[0] else count // 2
        topic = f"load-{size}-{turn}"
        create_topic(server.bootstrap, topic, 4)
        r = script(server, "produce", "--topic", topic, "--no-create", "--size", size, "--count", n, "--keep")
        assert r["stored"] == r["count"] == n and not r["errors"], r
        table.note(f"produce {size} B, acks=all, k records/s", server, r["msg_s"] / 1e3)
        table.note(f"produce {size} B: broker's CPU, s per million", server, r["broker_cpu_s"] / n * 1e6)
        r = script(server, "consume", "--topic", topic, "--count", n, "--tuned", "--lean")
        assert r["count"] == n and not r["gaps"] and not r["dups"], r
        table.note(f"consume {size} B, k records/s", server, r["msg_s"] / 1e3)
        table.note(f"consume {size} B: broker's CPU, s per million", server, r["broker_cpu_s"] / n * 1e6)


def run_load(servers, args, table):
    """Both servers are up at once and take turns, so that what else happens on the machine happens to both, and Kafka's JIT is warm. The
    first turn is not counted."""
    with contextlib.ExitStack() as stack:
        running = []
        for cls in servers:
            server = cls(args, stack.enter_context(tempfile.TemporaryDirectory(prefix="kohort-compare-", ignore_cleanup_errors=True)))
            server.start()
            stack.callback(server.stop)
            running.append(server)
        for server in running:
            measure_load(server, Table("", quiet=True), args.count // 4, "warm")
        for turn in range(args.rounds):
            for server in running if turn % 2 == 0 else reversed(running):
                measure_load(server, table, args.count, turn)
        for server in running:
            table.note("memory after this load, MiB", server, rss_mib(server.pid))


def measure_latency(server, table, seconds):
    before = cpu_s(server.pid)
    r = script(server, "latency", "--rate", 1000, "--seconds", seconds, "--warm", 2)
    assert r["received"] == r["sent"], r
    for q in ("p50", "p99"):
        table.note(f"end to end at 1,000 records/s, {q}, ms", server, r["e2e_ms"][q])
    table.note("broker's CPU at 1,000 records/s, ms per second", server, (cpu_s(server.pid) - before) * 1e3 / seconds)


def measure_groups(server, table, modes):
    for mode in modes:
        r = script(server, "group", "--mode", mode, "--session-timeout", 6000, "--without-process-start")
        for key, name in STEPS[mode]:
            table.note(f"{name}, s", server, r.get(key))


#: The short table of README.md and README.zh-CN.md. What only a quiet machine can tell is left out of it on a busy one.
SHORT = [
    ("process start to first acknowledged record, s", "process start to first acknowledged record, s", "从进程启动到第一条被确认的记录，秒", False),
    ("memory after it, MiB", "memory after it, MiB", "此后的内存，MiB", False),
    ("memory after this load, MiB", "memory after millions of records, MiB", "数百万条记录之后的内存，MiB", False),
    *[(f"{verb} {size} B{what}", f"{verb} {size} B{what}", f"{zh} {size} B{zh_what}", quiet)
      for verb, zh in (("produce", "写入"), ("consume", "读取")) for size in SIZES
      for what, zh_what, quiet in ((", k records/s", "，千条/秒", True), (": broker's CPU, s per million", "：broker 的 CPU，秒/百万条", False))],
    ("end to end at 1,000 records/s, p99, ms", "end to end at 1,000 records/s, p99, ms", "每秒 1,000 条时端到端 p99，毫秒", False),
    ("second member joins, s", "a second member joins a group, s", "第二个成员加入组，秒", False),
    ("third member joins, cooperative, s", "a third member joins, cooperative, s", "第三个成员加入（cooperative），秒", False),
    ("a member is killed (-9), session 6 s, s", "a member is killed (-9), session 6 s, s", "一个成员被 kill -9（会话 6 秒），秒", False),
    ("a member leaves, s", "a member leaves, s", "一个成员离开，秒", False),
]
BEGIN, END = "<!-- figures: bench/brokers/compare.py --readme -->\n", "<!-- /figures -->"


def write_short(table, busy):
    for file, column, head in (("README.md", 1, "| same machine, same run | Kohort | Apache Kafka 4.3.1 | Kohort / Kafka |"),
                               ("README.zh-CN.md", 2, "| 同一台机器，同一次测量 | Kohort | Apache Kafka 4.3.1 | Kohort / Kafka |")):
        rows = [head, "|---|---|---|---|"]
        for row in SHORT:
            by = table.cells.get(row[0]) or table.cells.get(row[0].replace(" B,", " B, acks=all,"))
            if by and not (busy and row[3]):
                ours, theirs = (statistics.median(v for v in by[s] if v is not None) for s in ("kohort", "kafka"))
                shown, ratio = (f"{ours:.2g}", f"{ours / theirs:.2g}") if ours else ("< 0.01", f"< {0.01 / theirs:.1g}")
                rows.append(f"| {row[column]} | {shown} | {theirs:.3g} | {ratio} |")
        path = HERE.parents[1] / file
        before, _, rest = path.read_text().partition(BEGIN)
        path.write_text(before + BEGIN + "\n".join(rows) + "\n" + END + rest.partition(END)[2])


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = int(next(x for x in open("/proc/meminfo")).split()[1]) / 2**20
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"


RESULTS = """# Kohort's broker beside Apache Kafka

Measured {date} on {machine}; load average {before} before, {after} after. Made by

    python bench/brokers/compare.py --kafka DIR --results bench/brokers/RESULTS.md --readme

{rounds} rounds; in each, both servers one after the other (the order turns), each with a fresh folder, default settings and
`group.initial.rebalance.delay.ms=0`, Kafka 4.3.1 as one KRaft node with 1 GiB of heap. For throughput both are up and take turns, after one
that warms them and is not counted. The client is librdkafka {librdkafka}
(confluent-kafka), 4 partitions; client and server share the cores, so the ratio is what counts. Median [least-most]. Rebalances:
`group.py`, 6 partitions, session 6 s, heartbeat 2 s; a join begins when the member's process is ready to subscribe. "Parking off" is
`kohort.park.heartbeats=false` and `kohort.lost.connection.grace.ms=0`.
{busy}
{table}
"""
BUSY = """
**The machine was busy with other work.** Broker's CPU and rebalances hold all the same; throughput, latency and start are then mostly a
question of who was given the processor, and are to be measured again on a quiet machine.
"""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kohort", default="target/release/kohort")
    p.add_argument("--kafka", required=True)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--group-rounds", type=int, default=2, help="in how many of them groups are measured, all modes in the first: they take the most time")
    p.add_argument("--count", type=int, default=1_000_000, help="records of 100 B; half as many of 1 KB")
    p.add_argument("--seconds", type=float, default=8, help="how long latency is measured")
    p.add_argument("--only", default="startup,load,latency,groups")
    p.add_argument("--out", default="")
    p.add_argument("--readme", action="store_true", help="write the short table into README.md and README.zh-CN.md too")
    p.add_argument("--results", default="", help="write the table with its circumstances to this file")
    a = p.parse_args()
    # Asked to end, it ends its servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    only, table, before = set(a.only.split(",")), Table(a.out), os.getloadavg()[0]
    for n in range(a.rounds if only - {"load"} else 0):
        servers = [Kohort, Kafka] if n % 2 == 0 else [Kafka, Kohort]
        groups = "groups" in only and n < a.group_rounds
        if groups and n == 0:
            servers.append(Unparked)
        for cls in servers:
            with tempfile.TemporaryDirectory(prefix="kohort-compare-", ignore_cleanup_errors=True) as folder:
                server = cls(a, folder)
                if "startup" in only and cls is not Unparked:
                    measure_start(server, table)
                else:
                    server.start()
                try:
                    if "latency" in only and cls is not Unparked:
                        measure_latency(server, table, a.seconds)
                    if groups:
                        measure_groups(server, table, STEPS if n == 0 and cls is not Unparked else ["dynamic"])
                finally:
                    server.stop()
    if "load" in only:
        run_load([Kohort, Kafka], a, table)
    print(table.markdown())
    busy = before > os.cpu_count() / 2
    if a.readme:
        write_short(table, busy)
    if a.results:
        import confluent_kafka
        load = [f"{x:.1f}" for x in (before, os.getloadavg()[0])]
        pathlib.Path(a.results).write_text(RESULTS.format(
            date=datetime.date.today(), machine=machine(), before=load[0], after=load[1], rounds=a.rounds,
            busy=BUSY if busy else "", librdkafka=confluent_kafka.libversion()[0], table=table.markdown()))


if __name__ == "__main__":
    main()
