#!/usr/bin/env python3
"""Kohort's broker beside Apache Kafka in interleaved rounds: throughput, processor time, latency, start, memory.

    compare.py --kohort target/release/kohort --kafka DIR [--rounds 3] [--only produce,consume,latency,startup] [--out FILE]

DIR is the folder of `tests/peers/kafka install`. One JSON line a measurement goes to --out, the tables to stdout. Read the
ratios: both servers and the clients share this machine's cores.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
KAFKA = HERE.parents[1] / "tests/peers/kafka"


class Kohort:
    name = "kohort"

    def __init__(self, args, folder):
        self.cmd = [args.kohort, "broker", "--data", f"{folder}/kohort", "--listen", f"127.0.0.1:{args.port}",
                    "--set", "group.initial.rebalance.delay.ms=0"]
        self.bootstrap = f"127.0.0.1:{args.port}"

    def start(self):
        self.p = subprocess.Popen(self.cmd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.p.stdout.readline().startswith("broker listening")
        self.pid = self.p.pid

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(20)


class Kafka:
    name = "kafka"

    def __init__(self, args, folder):
        self.dir = pathlib.Path(folder) / "kafka"
        self.dir.mkdir(exist_ok=True)
        os.symlink(pathlib.Path(args.kafka).resolve() / "libs", self.dir / "libs")
        self.port = args.port + 100
        self.bootstrap = f"127.0.0.1:{self.port}"

    def start(self):
        subprocess.run(["bash", KAFKA, "start", self.dir, str(self.port), "group.initial.rebalance.delay.ms=0"], check=True,
                       stdout=subprocess.DEVNULL)
        self.pid = int((self.dir / "pid").read_text())

    def stop(self):
        subprocess.run(["bash", KAFKA, "stop", self.dir], check=True)


def script(server, name, *args):
    done = subprocess.run([sys.executable, HERE / f"{name}.py", "--bootstrap", server.bootstrap, "--pid", str(server.pid),
                           "--label", server.name, *map(str, args)], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"{name} against {server.name} failed:\n{done.stderr[-2000:]}")
    return next(r for r in map(json.loads, done.stdout.splitlines()) if r["kind"] == name)


def first_record(server):
    """From the start of the process to the first acknowledged record, and the memory then."""
    from confluent_kafka import Producer
    began = time.monotonic()
    server.start()
    p = Producer({"bootstrap.servers": server.bootstrap, "linger.ms": 0, "reconnect.backoff.ms": 2, "reconnect.backoff.max.ms": 10})
    p.produce("first-record", b"x")
    assert p.flush(60) == 0
    took = time.monotonic() - began
    rss = int(next(x for x in open(f"/proc/{server.pid}/status") if x.startswith("VmRSS")).split()[1]) / 1024
    server.stop()
    return took, rss


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--kohort", default="target/release/kohort")
    a.add_argument("--kafka", required=True)
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--port", type=int, default=27092)
    a.add_argument("--count", type=int, default=1_000_000)
    a.add_argument("--only", default="startup,produce,consume,latency")
    a.add_argument("--out", default="")
    a = a.parse_args()
    only, cells = set(a.only.split(",")), {}

    def note(measure, server, value):
        cells.setdefault(measure, {}).setdefault(server.name, []).append(value)
        print(f"{server.name:7} {measure}: {value:.4g}", file=sys.stderr)
        if a.out:
            with open(a.out, "a") as f:
                f.write(json.dumps({"measure": measure, "server": server.name, "value": value}) + "\n")

    for _ in range(a.rounds):
        for cls in (Kohort, Kafka):
            folder = tempfile.mkdtemp(prefix="kohort-compare-")
            server = cls(a, folder)
            if "startup" in only:
                took, rss = first_record(server)
                note("start to first acknowledged record, s", server, took)
                note("memory after it, MiB", server, rss)
            server.start()
            try:
                for size in (100, 1000):
                    n = a.count if size == 100 else a.count // 2
                    topic = f"load-{size}"
                    if "produce" in only or "consume" in only:
                        subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HERE)!r}); from common import *; create_topic('{server.bootstrap}', '{topic}', 4)"], check=True)
                        r = script(server, "produce", "--topic", topic, "--size", size, "--count", n, "--keep")
                        assert r["stored"] == r["count"] == n and not r["errors"], r
                        if "produce" in only:
                            note(f"produce {size} B, k records/s", server, r["msg_s"] / 1e3)
                            note(f"produce {size} B, broker CPU s per million", server, r["broker_cpu_s"] / n * 1e6)
                    if "consume" in only:
                        r = script(server, "consume", "--topic", topic, "--count", n, "--tuned")
                        note(f"consume {size} B, k records/s", server, r["msg_s"] / 1e3)
                        note(f"consume {size} B, broker CPU s per million", server, r["broker_cpu_s"] / n * 1e6)
                if "latency" in only:
                    r = script(server, "latency", "--rate", 1000, "--seconds", 15)
                    for q in ("p50", "p99"):
                        note(f"end to end at 1,000/s, {q}, ms", server, r["e2e_ms"][q])
                rss = int(next(x for x in open(f"/proc/{server.pid}/status") if x.startswith("VmRSS")).split()[1]) / 1024
                note("memory after the load, MiB", server, rss)
            finally:
                server.stop()
                shutil.rmtree(folder, ignore_errors=True)
    print(f"| measure | Kohort | Kafka 4.3.1 | ratio |\n|---|---|---|---|")
    for measure, by in cells.items():
        show = {s: f"{statistics.median(v):.3g} [{min(v):.3g}-{max(v):.3g}]" for s, v in by.items()}
        ratio = statistics.median(by["kohort"]) / statistics.median(by["kafka"])
        print(f"| {measure} | {show['kohort']} | {show['kafka']} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
