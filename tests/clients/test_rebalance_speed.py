"""Rebalances at the speed of the network: librdkafka as it is, heartbeats parked.

How long a rebalance takes depends on the machine only where nothing waits for a heartbeat. So the heartbeats here are slow, 4.6 s
with a session of 15 s: with Kafka's timing a join then takes seconds and a kill more than ten, whatever the machine, and the limits
lie in the middle between that and a fraction of a second. The figures themselves, with usual heartbeats, are in `bench/brokers`.

Each step begins 5.2 s after the last, so that the members' second heartbeats are parked: the first one after an assignment is freed
by the fetch of the committed offsets.
"""
import json
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Server

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench/brokers"
SETTINGS = ["group.initial.rebalance.delay.ms=0"]
JOIN, LEAVE, KILL = 2.0, 2.0, 6.5
LIMITS = {"join_m1_s": JOIN, "join_m2_s": JOIN, "join_m3_s": JOIN, "kill9_failover_s": KILL, "clean_leave_s": LEAVE}


def group(address, mode):
    args = ["--bootstrap", address, "--mode", mode, "--session-timeout", "15000", "--heartbeat", "4600", "--hold", "5.2", "--without-process-start"]
    done = subprocess.run([sys.executable, str(BENCH / "group.py"), *args], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def slow(result):
    return {step: result[step] for step, limit in LIMITS.items() if result[step] is None or result[step] > limit}


def measured(server, mode):
    """Twice if need be: somebody else may have had the processor, but who needs heartbeats is as slow the second time."""
    first = group(server.address, mode)
    parked = not any("park" in setting for setting in server.settings)
    return group(server.address, mode) if parked and slow(first) else first


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """All groups side by side: they do little but wait."""
    unparked = ["kohort.park.heartbeats=false", "kohort.lost.connection.grace.ms=0"]
    runs = {"dynamic": [], "cooperative": [], "unparked": unparked}
    servers = {name: Server(tmp_path_factory.mktemp(name) / "data", *SETTINGS, *more).start() for name, more in runs.items()}
    with ThreadPoolExecutor() as pool:
        running = {name: pool.submit(measured, server, "dynamic" if name == "unparked" else name) for name, server in servers.items()}
    for server in servers.values():
        server.stop()
    return {name: run.result() for name, run in running.items()}


@pytest.mark.parametrize("mode", ["dynamic", "cooperative"])
def test_parked_heartbeats_settle_a_group_at_once(results, mode):
    assert not slow(results[mode]), results[mode]


def test_without_parking_the_timing_is_kafkas(results):
    result = results["unparked"]
    assert result["join_m2_s"] > JOIN and result["kill9_failover_s"] > KILL, result
