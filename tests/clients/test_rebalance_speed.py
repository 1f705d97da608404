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

import pytest

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


@pytest.mark.parametrize("mode", ["dynamic", "cooperative"])
def test_parked_heartbeats_settle_a_group_at_once(own_server, mode):
    address = own_server(*SETTINGS).address
    first = group(address, mode)
    if not slow(first):
        return
    # Somebody else may have had the processor; who needs heartbeats is as slow the second time.
    again = group(address, mode)
    assert not slow(again), (first, again)


def test_without_parking_the_timing_is_kafkas(own_server):
    server = own_server(*SETTINGS, "kohort.park.heartbeats=false", "kohort.lost.connection.grace.ms=0")
    result = group(server.address, "dynamic")
    assert result["join_m2_s"] > JOIN and result["kill9_failover_s"] > KILL, result
