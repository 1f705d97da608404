"""One server for all clients' tests: ours by default, any other by KOHORT_TEST_BOOTSTRAP.

The same tests run against Apache Kafka, so that a test that only we pass, or only Kafka passes, shows.
"""
import os
import pathlib
import subprocess
import tempfile
import time
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def kohort():
    """The binary under test. A missing one fails: it never skips."""
    path = pathlib.Path(os.environ.get("KOHORT_BIN", ROOT / "target/release/kohort"))
    assert path.exists(), f"`{path}` does not exist: build it with `cargo build --release` or set KOHORT_BIN"
    return str(path)


class Server:
    """`kohort broker` as a process, on a port of its own choice."""

    def __init__(self, data, *settings, listen="127.0.0.1:0"):
        self.data, self.settings, self.listen = data, settings, listen
        self.process = None

    def start(self):
        args = [kohort(), "broker", "--data", str(self.data), "--listen", self.listen]
        for s in self.settings:
            args += ["--set", s]
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("broker listening on "), f"the broker did not start: {line!r}"
        self.address = line.split()[-1]
        self.listen = self.address  # a restart takes the same port
        return self

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0, "a broker that is asked to end exits with 0"

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def bootstrap():
    """The server that most tests share."""
    if given := os.environ.get("KOHORT_TEST_BOOTSTRAP"):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="kohort-clients-") as data:
        server = Server(data, "group.initial.rebalance.delay.ms=0").start()
        yield server.address
        server.stop()


@pytest.fixture
def own_server(tmp_path):
    """For tests that kill or restart: always ours."""
    made = []

    def make(*settings):
        server = Server(tmp_path / f"data-{len(made)}", *settings).start()
        made.append(server)
        return server

    yield make
    for server in made:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def name():
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:8]}"


def until(condition, seconds=20, what="the condition"):
    """Waits for a condition, not for a time. `what` is a text, or says it when the wait was in vain."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what() if callable(what) else what} did not hold within {seconds} s")
