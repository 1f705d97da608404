"""Rebalances at the speed of the network: librdkafka as it is, heartbeats parked.

The limits lie between Kafka's timing (2 s a join, 6 to 8 s a kill) and the figures that `bench/` measures, so that they
tell one from the other on a busy machine; the figures themselves are in the README.
"""
import json
import pathlib
import subprocess
import sys

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench/brokers"


def group(address, *args):
    done = subprocess.run([sys.executable, str(BENCH / "group.py"), "--bootstrap", address, "--session-timeout", "6000", "--hold", "2", *args],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_parked_heartbeats_settle_a_group_at_once(own_server):
    r = group(own_server("group.initial.rebalance.delay.ms=0").address, "--mode", "dynamic")
    assert r["join_m1_s"] < 1 and r["join_m2_s"] < 1.5 and r["join_m3_s"] < 1.5, r
    assert r["clean_leave_s"] < 1.5 and r["kill9_failover_s"] < 3, r


def test_without_parking_the_timing_is_kafkas(own_server):
    server = own_server("group.initial.rebalance.delay.ms=0", "kohort.park.heartbeats=false", "kohort.lost.connection.grace.ms=0")
    r = group(server.address, "--mode", "dynamic")
    assert r["kill9_failover_s"] > 4, r
