"""`kohort broker`, `kohort market` and `kohort dataflow` as processes, and a set's reference to hold the front ends against."""
import csv
import io
import json
import os
import pathlib
import subprocess
import time
import urllib.error
import urllib.request
from decimal import Decimal

import pytest
import zstandard

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "crates/market-data/tests/data"
# A busy machine is no failure; this long is one.
PATIENCE_S = 120
INTERVALS = ["1m", "5m", "15m", "1h", "4h", "12h", "1d"]


def kohort():
    """The binary under test. A missing one fails: it never skips."""
    path = pathlib.Path(os.environ.get("KOHORT_BIN", ROOT / "target/release/kohort")).resolve()
    assert path.exists(), f"`{path}` does not exist: build it with `cargo build --release` or set KOHORT_BIN"
    return str(path)


def until(condition, what):
    """Waits for a condition, not for a time."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not hold within {PATIENCE_S} s")


class Candle:
    """A row of the reference."""

    def __init__(self, row):
        self.time = int(row["candle_time"])
        self.prices = [Decimal(row[name]) for name in ("open", "high", "low", "close")]
        self.tokens, self.usd = Decimal(row["token_volume"]), Decimal(row["volume_usd"])
        self.trades = int(row["count"])


def lines(file):
    return io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader((DATA / file).open("rb")), "utf-8")


class Reference:
    """All candles of a set on the chain of its first trade: (pair, interval) -> time -> candle. The busiest pair is the first."""

    def __init__(self, name):
        with lines(f"{name}.jsonl.zst") as trades:
            first = json.loads(next(trades))
        self.chain_id, self.candles = first["chain_id"], {}
        for row in csv.DictReader(lines(f"{name}.candles.csv.zst")):
            if row["chain"] == first["chain"]:
                of = self.candles.setdefault((row["pair_addr"], row["interval"]), {})
                of[int(row["candle_time"])] = Candle(row)
        trades = lambda pair: sum(candle.trades for candle in self.candles[pair, "1d"].values())
        self.pairs = sorted({pair for pair, _ in self.candles}, key=trades, reverse=True)


class Platform:
    """The processes."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.broker = self.start("broker listening on ", "broker", "--data", str(folder / "broker"), "--listen", "127.0.0.1:0")
        for topic in ("history", "live"):
            self.run("topics", "create", topic, "--partitions", "3")
        self.market = self.service("market")
        self.dataflow = self.service("dataflow")

    def start(self, words, *args):
        log = (self.folder / f"{args[0]}.log").open("wb")
        process = subprocess.Popen([kohort(), *args], stdout=subprocess.PIPE, stderr=log, text=True)
        self.processes.append(process)
        line = process.stdout.readline()
        assert line.startswith(words), f"{args}: {line!r}\n" + (self.folder / f"{args[0]}.log").read_text()
        return line.split()[-1]

    def service(self, name):
        file = self.folder / f"{name}.yaml"
        block = "Kq{0}:\n  Group: {1}-{0}\n  Topic: {0}\n  Offset: first\n  Consumers: 1\n  Processors: 2\n"
        file.write_text(f"Brokers: [{self.broker}]\n" + "".join(block.format(topic, name) for topic in ("history", "live")))
        return self.start("http listening on ", name, "-f", str(file), "--data", str(self.folder / name), "--http", "127.0.0.1:0")

    def run(self, *args):
        done = subprocess.run([kohort(), *args, "--bootstrap-server", self.broker], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def replay(self, name, topic):
        self.run("replay", str(DATA / f"{name}.jsonl.zst"), "--topic", topic)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            assert process.wait(20) == 0, "a process that is asked to end exits with 0"


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    platform = Platform(tmp_path_factory.mktemp("platform"))
    yield platform
    platform.stop()


@pytest.fixture(scope="session")
def history(platform):
    """A whole day of three pools on Ethereum, all of it in the store of `kohort market`."""
    name = "dex_eth_univ3_20240105"
    reference = Reference(name)
    platform.replay(name, "history")

    def trades(pair):
        url = f"{platform.market}/api/candles?chain=1&pair={pair}&interval=1d"
        try:
            return sum(candle["count"] for candle in json.load(urllib.request.urlopen(url, timeout=30)))
        except urllib.error.HTTPError as error:
            assert error.code in (404, 503), error
            return 0

    for pair in reference.pairs:
        wanted = sum(candle.trades for candle in reference.candles[pair, "1d"].values())
        until(lambda: trades(pair) == wanted, f"{pair} has {wanted} trades")
    return reference


def assert_bars(bars, candles, exact=True):
    """`bars` of (time, [open, high, low, close], tokens, usd, trades) are the reference's, and between them are only such without trades.

    What a front end does not show is None. A front end that makes floats of texts gets the floats of the reference.
    """
    number = (lambda value: value) if exact else float
    seen = set()
    for time, prices, tokens, usd, trades in bars:
        assert time not in seen, f"{time} twice"
        seen.add(time)
        if (candle := candles.get(time)) is None:
            assert len(set(prices)) == 1 and not (tokens or usd or trades), (time, prices)
            continue
        assert prices == [number(price) for price in candle.prices], time
        for told, kept in ((tokens, candle.tokens), (usd, candle.usd)):
            assert told is None or told == number(kept), (time, told, kept)
        assert trades is None or trades == candle.trades, time
    assert seen >= candles.keys(), f"{len(candles.keys() - seen)} of {len(candles)} candles are missing"
    assert [bar[0] for bar in bars] == sorted(seen), "in order"
