#!/usr/bin/env python3
"""The store's server is killed (kill -9) at random moments while `kohort verify` runs, and started again: every candle must equal
the reference all the same.

    server_kills.py KOHORT DIR PORT ROUNDS TRADES REFERENCE [SEED]

DIR was prepared by `tests/peers/mariadb install` or `tests/peers/mysql install`; the server is started and stopped here. A round is one kill. The service
itself is killed as well, four times in each run: that makes the run long enough for several kills of the server.
"""

import os
import pathlib
import random
import subprocess
import sys
import time

PEERS = pathlib.Path(__file__).resolve().parent.parent / "peers"


def script(folder):
    # MySQL's programs are in a folder beside its data, MariaDB's are installed.
    return str(PEERS / ("mysql" if (pathlib.Path(folder) / "server").exists() else "mariadb"))


def peer(what, folder, *arguments):
    command = ["bash", script(folder), what, folder, *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def claimed(folder, database):
    question = f"SELECT 1 FROM {database}.candle_groups LIMIT 1"
    said = subprocess.run(["bash", script(folder), "sql", folder, "-N", "-e", question], capture_output=True, text=True)
    return said.stdout.strip() == "1"


def main():
    kohort, folder, port, rounds, trades, reference = sys.argv[1:7]
    seed = int(sys.argv[7]) if len(sys.argv) > 7 else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    draw = random.Random(seed)
    killed, runs, down = 0, 0, 0.0
    peer("start", folder, port)
    try:
        while killed < int(rounds):
            database = f"kills_{os.getpid()}_{runs}"
            peer("sql", folder, "-e", f"CREATE DATABASE {database}")
            shape = [("--partitions", 1), ("--partitions", 3, "--consumers", 2), ("--partitions", 12, "--consumers", 3, "--processors", 4)]
            command = [kohort, "--log", "error", "verify", trades, "--candles", reference, "--kill", "4", "--store",
                       f"kohort:kohort@tcp(127.0.0.1:{port})/{database}", *map(str, shape[runs % len(shape)])]
            run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            of_run = 0
            # `verify` refuses to begin without a server, so the first kill waits for the first claim. Then it goes on to the end.
            while run.poll() is None and not claimed(folder, database):
                time.sleep(0.02)
            while of_run < 4 and killed < int(rounds):
                try:
                    run.wait(draw.uniform(0.02, 1.2))
                    break
                except subprocess.TimeoutExpired:
                    pass
                peer("kill", folder)
                since = time.monotonic()
                time.sleep(draw.choice([0, 0, 0.3, 1.5]))
                peer("start", folder, port)
                down += time.monotonic() - since
                of_run, killed = of_run + 1, killed + 1
            said, _ = run.communicate(timeout=400)
            last = said.strip().splitlines()[-1] if said.strip() else ""
            if run.returncode != 0 or not last.endswith(" candles compared, 0 differ"):
                print(said)
                sys.exit(f"run {runs} with {of_run} kills of the server: exit {run.returncode}")
            print(f"run {runs}: {of_run} kills of the server, 4 of the service: {last}", flush=True)
            peer("sql", folder, "-e", f"DROP DATABASE {database}")
            runs += 1
    finally:
        peer("stop", folder)
    print(f"{killed} kills of the server in {runs} runs, away for {down:.1f} s in all: every candle equals the reference")


if __name__ == "__main__":
    main()
