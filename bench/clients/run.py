#!/usr/bin/env python3
"""Runs the clients against one Kafka, in interleaved rounds, and makes the tables.

    run.py --bin DIR --kafka DIR --port N [--rounds 3] [--scale 1.0] [--only consume,produce,join,latency] --out FILE.jsonl
    run.py --table FILE.jsonl

DIR of --kafka is a folder whose file `pid` tells the broker's process.
A client is one entry in CLIENTS below (`--clients 'a;b'` takes some of them); what it lacks is not listed among its modes.
"""
import argparse, json, os, statistics as st, subprocess, sys, time

# glibc gives big blocks back to the system at every free; these two settings keep them, as any other allocator would.
KEPT = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}

# name in the tables: binary, modes, further options, environment, rounds at most
def client(binary, modes, *opts, env=None, most=99):
    return {"binary": binary, "modes": set(modes.split()), "opts": list(opts), "env": env or {}, "most": most}


CLIENTS = {
    "kohort": client("bench-kohort", "consume produce join latency"),
    "rdkafka, batches": client("bench-rdkafka", "consume", "--api", "batch"),
    "rdkafka, batches, crc": client("bench-rdkafka", "consume", "--api", "batch", "--crc", "on", most=2),
    "rdkafka, poll": client("bench-rdkafka", "consume", "--api", "poll", most=2),
    "rdkafka": client("bench-rdkafka", "produce join latency"),
    "rdkafka, 1 MB batches": client("bench-rdkafka", "produce", "--batch", 1000000, most=2),
    "rdkafka, 1 MB batches, no idempotence": client("bench-rdkafka", "produce", "--batch", 1000000, "--idempotence", "off", most=2),
    # Its defaults (500 records a poll, 1 MiB a partition) were its best: with more, glibc gives the buffers back at each fetch.
    "kacrab": client("bench-kacrab", "consume produce join latency", "--profile", "default"),
    "kacrab, malloc kept": client("bench-kacrab", "consume", "--poll-records", 5000, "--partition-fetch", 1048576, env=KEPT),
    "krafka": client("bench-krafka", "consume produce join latency"),
    "krafka, malloc kept": client("bench-krafka", "consume", "--poll-records", 20000, "--buffered", 200000, env=KEPT),
    "krafka, malloc kept, 2 threads": client("bench-krafka", "consume", "--poll-records", 20000, "--buffered", 200000, "--threads", 2,
                                             env=KEPT, most=2),
    "krafka, defaults": client("bench-krafka", "consume", "--profile", "default", "--records", 500000, most=1),
    "rskafka (no group)": client("bench-rskafka", "consume produce latency"),
    "floor (no client)": client("bench-floor", "consume", most=2),
}
NO_IDEMPOTENCE = {"rskafka (no group)"}
SLOW = {"rskafka (no group)"}  # compressed requests take 40 ms each (it leaves Nagle's algorithm on): a twentieth of the records
SIZES = [(100, 5_000_000), (1000, 1_000_000)]
CODECS = ["none", "lz4"]


class Bench:
    def __init__(self, a):
        self.a = a
        self.boot = f"127.0.0.1:{a.port}"
        self.pid = open(os.path.join(a.kafka, "pid")).read().strip()
        self.out = open(a.out, "a")

    def call(self, binary, mode, *opts, timeout=200, env=None):
        cmd = [os.path.join(self.a.bin, binary), mode, "--bootstrap", self.boot, "--broker-pid", self.pid, *map(str, opts)]
        try:
            p = subprocess.run(cmd, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})
            line = p.stdout.strip().splitlines()[-1] if p.stdout.strip() else ""
            return json.loads(line) if line else {"ok": False, "error": (p.stderr or "no output")[-300:]}
        except subprocess.TimeoutExpired:
            return {"ok": False, "error": "killed after the time limit"}

    def topic(self, mode, name):
        r = self.call("bench-rdkafka", mode, "--topic", name)
        if not r.get("ok"):
            print("  topic", mode, name, r.get("error"), file=sys.stderr)

    def keep(self, cell, who, r):
        r.update(cell=cell, who=who)
        self.out.write(json.dumps(r) + "\n")
        self.out.flush()
        brief = {k: r.get(k) for k in ("records_per_s", "cpu_s_per_million", "broker_cpu_s_per_million", "rss_peak_mib", "p50_us", "p99_us",
                                        "assigned_ms_p50", "first_record_ms_p50", "error") if r.get(k) is not None}
        print(f"{cell:18} {who:24}", brief, flush=True)

    def clients(self, mode, turn, codec="none"):
        """The clients of a mode that take part in this round, turned by one each round."""
        want = self.a.clients.split(";") if self.a.clients else list(CLIENTS)
        all = [(w, CLIENTS[w]) for w in want if mode in CLIENTS[w]["modes"] and turn < CLIENTS[w]["most"] and not (codec != "none" and "floor" in w)]
        turn %= len(all) or 1
        return all[turn:] + all[:turn]

    def sized(self):
        want = self.a.sizes.split(",")
        return [(s, int(n * self.a.scale), c) for s, n in SIZES for c in CODECS if str(s) in want]

    def fill(self):
        for size, n, codec in self.sized():
            name = f"read-{size}-{codec}-{n}"
            if self.call("bench-rdkafka", "consume", "--topic", name, "--records", n, "--limit", 20).get("ok"):
                continue
            self.topic("delete", name)
            time.sleep(1)
            self.topic("create", name)
            r = self.call("bench-rdkafka", "produce", "--topic", name, "--records", n, "--size", size, "--compression", codec)
            print("filled", name, r.get("ok"), r.get("error", ""), flush=True)

    def consume(self):
        self.fill()
        for size, n, codec in self.sized():
            for i in range(self.a.rounds):
                for who, c in self.clients("consume", i, codec):
                    r = self.call(c["binary"], "consume", "--topic", f"read-{size}-{codec}-{n}", "--records", n, *c["opts"], env=c["env"])
                    self.keep(f"consume {size} {codec}", who, r)

    def produce(self):
        for size, all_of_them, codec in self.sized():
            for i in range(self.a.rounds):
                for who, c in self.clients("produce", i):
                    name = f"write-{size}-{codec}-{i}-{int(time.time() * 1000)}"
                    self.topic("create", name)
                    idem = "off" if who in NO_IDEMPOTENCE else "on"
                    n = all_of_them
                    if who in SLOW and codec != "none":
                        n //= 20
                    r = self.call(c["binary"], "produce", "--topic", name, "--records", n, "--size", size, "--compression", codec,
                                  "--acks", "all", "--idempotence", idem, *c["opts"], env=c["env"])
                    self.keep(f"produce {size} {codec}", who, r)
                    if i == 0 and self.a.verify:
                        v = self.call("bench-rdkafka", "consume", "--topic", name, "--records", n)
                        print("   read back:", v.get("ok"), v.get("error", ""), flush=True)
                    self.topic("delete", name)

    def join(self):
        self.fill()
        size, n, codec = self.sized()[0]
        for protocol in self.a.protocols.split(","):
            for i in range(min(self.a.rounds, 2)):
                for who, c in self.clients("join", i):
                    r = self.call(c["binary"], "join", "--topic", f"read-{size}-{codec}-{n}", "--rounds", 20, "--protocol", protocol, *c["opts"])
                    self.keep(f"join {protocol}", who, r)

    def latency(self):
        for i in range(min(self.a.rounds, 3)):
            for who, c in self.clients("latency", i):
                name = f"lat-{i}-{int(time.time() * 1000)}"
                self.topic("create", name)
                r = self.call(c["binary"], "latency", "--topic", name, "--rate", 1000, "--seconds", self.a.seconds, "--size", 100, *c["opts"])
                self.keep("latency 1000/s", who, r)
                self.topic("delete", name)


def table(path):
    rows = [json.loads(l) for l in open(path)]
    cells = {}
    for r in rows:
        cells.setdefault(r["cell"], {}).setdefault(r["who"], []).append(r)

    def spread(rs, key, scale=1.0, digits=2):
        v = sorted(r[key] * scale for r in rs if r.get("ok") and key in r)
        if not v:
            return "-"
        f = lambda x: f"{x:.{digits}f}"
        return f"{f(st.median(v))} [{f(v[0])}-{f(v[-1])}]" if len(v) > 1 else f(v[0])

    def times(rs, whos):
        """Its processor time as a multiple of Kohort's."""
        of = [[r["cpu_s_per_million"] for r in some if r.get("ok")] for some in (rs, whos.get("kohort", []))]
        return f"{st.median(of[0]) / st.median(of[1]):.1f}" if all(of) and st.median(of[1]) else "-"

    for cell, whos in cells.items():
        print(f"\n### {cell}\n")
        kind = cell.split()[0]
        if kind in ("consume", "produce"):
            cols = [("M records/s", "records_per_s", 1e-6, 2), ("MB/s", "mb_per_s", 1, 0), ("client CPU s/M", "cpu_s_per_million", 1, 3),
                    ("broker CPU s/M", "broker_cpu_s_per_million", 1, 3), ("peak RSS MiB", "rss_peak_mib", 1, 0)]
            if kind == "consume":
                cols.insert(1, ("M/s after the first record", "steady_records_per_s", 1e-6, 2))
        elif kind == "join":
            cols = [("assigned ms", "assigned_ms_p50", 1, 1), ("worst", "assigned_ms_max", 1, 1),
                    ("first record ms", "first_record_ms_p50", 1, 1), ("worst", "first_record_ms_max", 1, 1)]
        else:
            cols = [("p50 us", "p50_us", 1, 0), ("p90 us", "p90_us", 1, 0), ("p99 us", "p99_us", 1, 0), ("p99.9 us", "p999_us", 1, 0),
                    ("client CPU s", "cpu_s", 1, 2), ("broker CPU s", "broker_cpu_s", 1, 2), ("peak RSS MiB", "rss_peak_mib", 1, 0)]
        measured = kind in ("consume", "produce")
        print("| client | n | " + " | ".join(c[0] for c in cols) + (" | CPU, Kohort = 1" if measured else "") + " |")
        print("|---|---|" + "---|" * (len(cols) + measured))
        for who, rs in whos.items():
            good = [r for r in rs if r.get("ok")]
            line = " | ".join(spread(rs, k, s, d) for _, k, s, d in cols)
            print(f"| {who} | {len(good)} | {line} |" + (f" {times(rs, whos)} |" if measured else ""))
            for r in rs:
                if not r.get("ok"):
                    print(f"| {who} | failed | {r.get('error', '')[:160]} |")
                    break


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin"), p.add_argument("--kafka"), p.add_argument("--port", type=int)
    p.add_argument("--rounds", type=int, default=3), p.add_argument("--scale", type=float, default=1.0)
    p.add_argument("--only", default="consume,produce,join,latency"), p.add_argument("--clients", default="")
    p.add_argument("--sizes", default="100,1000"), p.add_argument("--protocols", default="classic,consumer")
    p.add_argument("--seconds", type=int, default=20), p.add_argument("--verify", action="store_true")
    p.add_argument("--out", default="results.jsonl"), p.add_argument("--table")
    a = p.parse_args()
    if a.table:
        return table(a.table)
    b = Bench(a)
    for mode in a.only.split(","):
        getattr(b, mode)()


main()
