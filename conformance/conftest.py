"""The scenarios run against any server: KOHORT_TEST_BOOTSTRAP, or our broker, started here. Those of the initial rebalance
delay want another one, with the settings in DELAYING: KOHORT_TEST_BOOTSTRAP_DELAYING, or our broker again.

A server must have group.initial.rebalance.delay.ms=0 and group.min.session.timeout.ms=100, so that a session is short
enough to be waited for, and group.max.size=5.
"""
import os
import pathlib
import subprocess
import tempfile
import time
import uuid

import pytest
from data import make_topic
from wire import Conn

ROOT = pathlib.Path(__file__).resolve().parents[1]
SETTINGS = ["log.cleaner.backoff.ms=300", "group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=100", "group.max.size=5"]
DELAYING = ["group.initial.rebalance.delay.ms=300", "group.min.session.timeout.ms=100"]


def server(given, settings):
    """The server at the address in the variable `given`, or our broker with `settings` until the tests are done."""
    if address := os.environ.get(given):
        yield address
        return
    binary = pathlib.Path(os.environ.get("KOHORT_BIN", ROOT / "target/release/kohort"))
    assert binary.exists(), f"`{binary}` does not exist: build it with `cargo build --release` or set KOHORT_BIN"
    with tempfile.TemporaryDirectory(prefix="kohort-conformance-") as data:
        args = [str(binary), "broker", "--data", data, "--listen", "127.0.0.1:0"]
        for s in settings + os.environ.get("KOHORT_SET", "").split():
            args += ["--set", s]
        process = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        assert line.startswith("broker listening on "), line
        yield line.split()[-1]
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture(scope="session")
def bootstrap():
    yield from server("KOHORT_TEST_BOOTSTRAP", SETTINGS)


@pytest.fixture(scope="session")
def delaying():
    """A server with an initial rebalance delay."""
    yield from server("KOHORT_TEST_BOOTSTRAP_DELAYING", DELAYING)


@pytest.fixture
def connect_delaying(delaying):
    made = []

    def make(client_id="wire"):
        made.append(Conn(delaying, client_id))
        return made[-1]

    warm(make())
    yield make
    for c in made:
        c.close()


def warm(c):
    """Kafka makes __consumer_offsets at the first look-up and says 15 until it is there."""
    end = time.monotonic() + 30
    while c.call("FindCoordinator", 1, key="warm", key_type=0)["error_code"] != 0:
        assert time.monotonic() < end
        time.sleep(0.1)
    while c.call("OffsetFetch", 6, group_id="warm", topics=[])["error_code"] != 0:
        assert time.monotonic() < end
        time.sleep(0.1)
    while c.call("InitProducerId", 0, transactional_id=None, transaction_timeout_ms=1000)["error_code"] != 0:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="session", autouse=True)
def ready(bootstrap):
    c = Conn(bootstrap)
    warm(c)
    c.close()


@pytest.fixture
def connect(bootstrap):
    made = []

    def make(client_id="wire"):
        made.append(Conn(bootstrap, client_id))
        return made[-1]

    yield make
    for c in made:
        c.close()


@pytest.fixture
def group():
    return f"g-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def topic(connect):
    """A topic with four partitions."""
    return make_topic(connect(), 4)
