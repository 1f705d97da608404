#!/usr/bin/env python3
"""Kohort beside straightforward Go, in turns in every round, on the same topics, servers and clocks: the tables of README.md in one command.

    compare.py --peers PROGRAM --kafka HOST:PORT --redis HOST:PORT --maria HOST:PORT --pids redis=PID,maria=PID,kafka=PID
               [--kohort target/release/kohort] [--rounds 3] [--only TEXT] [--out runs.jsonl] [--table FILE]
    compare.py --summarize runs.jsonl [--table FILE]

PROGRAM is the Go side: it takes `-mode kq-redis|kq-memory|kafkago-memory -consumers N -processors N -decoder sonic|goccy -broker -redis -db
-topic -trades N -pids NAME=PID,... -reset` and prints one line of JSON: `trades_s`, `seconds`, `difference` (the stored days' count against the
trades) and `cpu_s_per_m_NAME` of its process and the servers. Its MariaDB database is its own matter; ours is `kohort_bench`, made anew for each
run by `--maria-user`. Redis is emptied before each run: it must be nobody else's.

Kafka has the topics `uni` and `bin` with a million trades each, and `uni20k` and `bin20k` with the first 20,000, for what is slow. Both sides
are new groups with an empty store each time, and read with one process; whoever measures takes no part. A run begins when the servers are at
rest again. Process: from its start to the last candle stored. Read processor time, and the ratios: the clock is shared with the servers.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import time

MILLION, FIRST = 1_000_000, 20_000
DATABASE = "kohort_bench"
#: Label, trades, arguments of the Go side.
PEERS = [
    ("Go kq-redis 1/1", FIRST, "-mode kq-redis"),
    ("Go kq-redis 8/8", FIRST, "-mode kq-redis -consumers 8 -processors 8"),
    ("Go kq-memory 1/1", MILLION, "-mode kq-memory"),
    ("Go kq-memory 8/8", MILLION, "-mode kq-memory -consumers 8 -processors 8"),
    ("Go kafka-go, sonic", MILLION, "-mode kafkago-memory -processors 2"),
    ("Go kafka-go, goccy", MILLION, "-mode kafkago-memory -processors 2 -decoder goccy"),
]
#: Label, store, arguments of ours.
OURS = [
    ("Kohort Market, Redis", "redis", "--service market"),
    ("Kohort Market, Redis, old candles dropped", "redis", "--service market --retention"),
    ("Kohort Market, memory and its file", None, "--service market"),
    ("Kohort Market, memory and its file, old candles dropped", None, "--service market --retention"),
    ("Kohort Market, memory alone", "memory", "--service market"),
    ("Kohort Dataflow, SQLite", None, ""),
    ("Kohort Dataflow, MariaDB", "maria", ""),
]
#: What is to be beaten, by what, how often; which servers count beside the process.
AIMS = [
    (["Go kq-redis 1/1", "Go kq-redis 8/8"], "Kohort Market, Redis", 100, ["redis", "maria"]),
    (["Go kq-memory 1/1", "Go kq-memory 8/8"], "Kohort Market, memory and its file", 10, ["maria"]),
    (["Go kq-memory 1/1", "Go kq-memory 8/8"], "Kohort Market, memory alone", 10, []),
    (["Go kafka-go, sonic", "Go kafka-go, goccy"], "Kohort Dataflow, SQLite", 2, ["maria"]),
    (["Go kafka-go, sonic", "Go kafka-go, goccy"], "Kohort Dataflow, MariaDB", 2, ["maria"]),
]
SERVERS = ["redis", "maria", "kafka"]


def topic(of, trades):
    return of if trades == MILLION else f"{of}{trades // 1000}k"


def ticks(pids):
    """Processor seconds of the servers."""
    spent = 0.0
    for pid in pids.values():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def settle(pids):
    """Waits until the servers are at rest: what one run left them to do is not the next one's."""
    rests = 0
    for _ in range(120):
        before = ticks(pids)
        time.sleep(0.5)
        rests = rests + 1 if ticks(pids) - before < 0.03 else 0
        if rests == 2:
            return


def empty_redis(address):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as s:
        s.settimeout(60)
        s.sendall(b"FLUSHALL\r\n")
        answer = s.recv(64)
    if not answer.startswith(b"+OK"):
        sys.exit(f"Redis at {address} is not emptied: {answer!r}")


def empty_database(args):
    host, port = args.maria.rsplit(":", 1)
    user, password = args.maria_user.split(":", 1)
    subprocess.run(
        ["mariadb", "--no-defaults", f"-h{host}", f"-P{port}", f"-u{user}", "-e", f"DROP DATABASE IF EXISTS {DATABASE}; CREATE DATABASE {DATABASE}"],
        check=True, env={**os.environ, "MYSQL_PWD": password})


def peer(args, of, trades, flags):
    command = [args.peers, *flags.split(), "-broker", args.kafka, "-redis", args.redis, "-db", args.maria, "-topic", topic(of, trades),
               "-trades", str(trades), "-pids", args.pids, "-reset"]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        return {"failed": ran.stderr[-500:]}
    said = json.loads(ran.stdout)
    cpu = {name: said[f"cpu_s_per_m_{name}"] for name in ["process", *args.servers]}
    return {"trades": said["trades"], "seconds": said["seconds"], "trades_s": said["trades_s"], "cpu": cpu, "off_by": said["difference"],
            "peak_mib": said["peak_rss_mib"], "writes": said["rows_upserted"]}


def ours(args, of, store, flags):
    url = {"redis": f"redis://{args.redis}", "memory": "memory:", "maria": f"mysql://{args.maria_user}@{args.maria}/{DATABASE}", None: None}[store]
    command = [args.kohort, "bench", "pipeline", *flags.split(), "--bootstrap-server", args.kafka, "--topic", of, "--count", str(MILLION),
               "--pids", args.pids, "--json"] + (["--store", url] if url else [])
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode not in (0, 1) or not ran.stdout:
        return {"failed": ran.stderr[-500:]}
    said = json.loads(ran.stdout)
    service = said["processes"]["service"]
    return {"trades": said["trades"], "seconds": said["seconds"], "trades_s": said["trades_per_s"],
            "cpu": {"process": service["cpu_s_per_million"], **said["servers_cpu_s_per_million"]}, "stages": said["cpu_s_per_million"],
            "off_by": said["count_off_by"], "peak_mib": service["peak_rss_mib"], "writes": said["candles_written"]}


def measure(args):
    args.servers = dict(pair.split("=", 1) for pair in args.pids.split(","))
    out = open(args.out, "a", encoding="utf-8")
    for number in range(args.rounds):
        for of in ["uni", "bin"]:
            runs = [(label, lambda a=trades, b=flags: peer(args, of, a, b)) for label, trades, flags in PEERS]
            runs += [(label, lambda a=store, b=flags: ours(args, of, a, b)) for label, store, flags in OURS]
            # Another one is the first in each round.
            turn = number * 5 % len(runs)
            for label, run in runs[turn:] + runs[:turn]:
                if args.only not in f"{of} {label}":
                    continue
                empty_redis(args.redis)
                empty_database(args)
                settle(args.servers)
                said = {"set": of, "label": label, "round": number, "load": round(os.getloadavg()[0], 1), **run()}
                print(json.dumps(said), file=out, flush=True)
                spent = said.get("failed") or f"{said['cpu']['process']:.3f} s per million, off by {said['off_by']}"
                print(f"{datetime.datetime.now():%H:%M:%S} round {number + 1}, {of}, {label}: {spent}", file=sys.stderr, flush=True)


def middle(values, digits):
    values = sorted(values)
    shown = [f"{value:,.{digits}f}" for value in (statistics.median(values), values[0], values[-1])]
    return shown[0] if shown[1] == shown[2] else f"{shown[0]} [{shown[1]}-{shown[2]}]"


def digits(values):
    return 0 if min(values) >= 100 else 2 if max(values) >= 1 else 3


def summary(runs):
    """The tables, as Markdown."""
    by, failed = {}, [run for run in runs if "failed" in run]
    for run in runs:
        if "failed" not in run:
            by.setdefault((run["set"], run["label"]), []).append(run)
    order = [label for label, *_ in PEERS + OURS]
    rows = sorted(by, key=lambda key: (key[0] != "uni", order.index(key[1]) if key[1] in order else 99))
    loads = [run["load"] for run in runs]
    yield f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; {datetime.date.today()}; load while it ran {min(loads)} to {max(loads)}."
    yield "Median [least-most]. CPU s per million trades."
    yield ""
    yield "| set | who | runs | trades/s | trades per CPU s of the process | process | Redis | MariaDB | Kafka | peak RSS MiB | off by |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for key in rows:
        of_row = by[key]
        spent = [run["cpu"]["process"] for run in of_row]
        servers = []
        for server in SERVERS:
            values = [run["cpu"].get(server, 0.0) for run in of_row]
            servers.append(middle(values, digits(values)) if max(values) >= 0.005 else "0")
        rate = [1e6 / value for value in spent]
        yield (f"| `{key[0]}` | {key[1]} | {len(of_row)} x {of_row[0]['trades']:,} | {middle([run['trades_s'] for run in of_row], 0)} | {middle(rate, 0)} | "
               f"{middle(spent, digits(spent))} | {' | '.join(servers)} | {middle([run['peak_mib'] for run in of_row], 0)} | "
               f"{', '.join(str(off) for off in sorted({run['off_by'] for run in of_row}))} |")
    yield ""
    yield "How many times less processor time, of the medians [Go's least to our most]; with databases: process and the servers that hold its candles."
    yield ""
    yield "| set | ours | beside | aim | process | with databases |"
    yield "|---|---|---|---|---|---|"
    for of in ["uni", "bin"]:
        for beside, label, aim, servers in AIMS:
            for other in beside:
                if (of, other) not in by or (of, label) not in by:
                    continue
                cells = []
                for counted in [[], servers]:
                    cost = [[run["cpu"]["process"] + sum(run["cpu"].get(server, 0.0) for server in counted) for run in by[(of, who)]]
                            for who in (other, label)]
                    cells.append(f"**{statistics.median(cost[0]) / statistics.median(cost[1]):,.1f}** [{min(cost[0]) / max(cost[1]):,.1f}]")
                yield f"| `{of}` | {label} | {other} | {aim} | {' | '.join(cells)} |"
    for run in failed:
        yield f"\nFAILED: {run['set']} {run['label']}: {run['failed']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="the Go side's program")
    parser.add_argument("--kohort", default=str(pathlib.Path(__file__).resolve().parents[2] / "target/release/kohort"))
    parser.add_argument("--kafka", help="HOST:PORT")
    parser.add_argument("--redis", help="HOST:PORT of a Redis that is emptied for each run")
    parser.add_argument("--maria", help="HOST:PORT")
    parser.add_argument("--maria-user", default="kohort:kohort", help=f"USER:PASSWORD that may drop and make `{DATABASE}` [%(default)s]")
    parser.add_argument("--pids", help="redis=PID,maria=PID,kafka=PID")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="runs with this in `SET LABEL`")
    parser.add_argument("--out", default="runs.jsonl", help="one line a run is added [%(default)s]")
    parser.add_argument("--table", help="write the tables to this file too")
    parser.add_argument("--summarize", metavar="RUNS", help="only the tables of these runs")
    args = parser.parse_args()
    if not args.summarize:
        missing = [name for name in ["peers", "kafka", "redis", "maria", "pids"] if not getattr(args, name)]
        if missing:
            parser.error(f"missing: {', '.join('--' + name for name in missing)}")
        measure(args)
    runs = [json.loads(line) for line in open(args.summarize or args.out, encoding="utf-8")]
    text = "\n".join(summary(runs))
    print(text)
    if args.table:
        pathlib.Path(args.table).write_text(text + "\n", encoding="utf-8")
    sys.exit(any("failed" in run or run["off_by"] for run in runs))


main()
