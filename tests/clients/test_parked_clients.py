"""Heartbeats that are answered late, with clients that never heard of it: nobody times out, nobody loses its membership, and
everybody learns of a rebalance sooner than its heartbeats would tell."""
import json
import pathlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from conftest import until
from test_librdkafka import create, produce

HERE = pathlib.Path(__file__).resolve().parent
PARTITIONS = [0, 1, 2, 3]
#: Heartbeats are slow and the session is 12 s: who waits for them is told from who does not on any machine.
HEARTBEAT_MS, TOLD, NOTICED = 4000, 2.5, 7
LOST = ("timed out", "session timeout", "expired", "unknown member", "not a member", "fenced", "illegal generation")


class Member:
    def __init__(self, client, address, group, topic):
        self.process = subprocess.Popen([sys.executable, str(HERE / "member_python.py"), client, address, group, topic, str(HEARTBEAT_MS)],
                                        stdout=subprocess.PIPE, text=True)
        self.client = client
        self.own, self.changes, self.complaints = None, [], []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            what = json.loads(line)
            if "own" in what:
                self.own = what["own"]
                self.changes.append((what["at"], what["own"]))
            else:
                self.complaints.append(what["complaint"])

    def lost(self):
        """Complaints of a client that missed an answer, or is no member any more."""
        return [c for c in self.complaints if any(word in c.lower() for word in LOST)]


def settled(*members):
    return sorted(p for m in members for p in m.own or []) == PARTITIONS and all(m.own for m in members)


def settles(members, since, within, what):
    until(lambda: settled(*members), 30, what)
    took = max(m.changes[-1][0] for m in members) - since
    assert took < within, f"{what} of {members[0].client}: {took:.2f} s, {[m.changes for m in members]}"


def test_clients_that_never_heard_of_parked_heartbeats_are_quick_and_lose_nothing(own_server, name):
    address = own_server("group.initial.rebalance.delay.ms=0").address
    with ThreadPoolExecutor() as pool:  # side by side: they do little but wait
        for outcome in [pool.submit(comes_and_goes, client, address, name("parked"), name("g")) for client in ("kafka-python", "aiokafka")]:
            outcome.result()


def comes_and_goes(client, address, topic, group):
    members = []
    try:
        go(client, address, topic, group, members)
    finally:
        for member in members:
            member.process.kill()
            member.process.wait()


def go(client, address, topic, group, members):
    def member():
        members.append(Member(client, address, group, topic))
        return members[-1]

    create(address, topic, len(PARTITIONS))
    produce(address, topic, [b"x"] * 100)
    one = member()
    until(lambda: settled(one) or one.process.poll() is not None, 60, lambda: f"the first partitions of {client} ({one.changes}, {one.complaints})")
    # A heartbeat is parked: for two sessions nothing happens.
    quiet, before = time.monotonic(), len(one.changes)
    until(lambda: time.monotonic() - quiet > 24 or len(one.changes) > before or one.lost(), 40, "the end of two sessions")
    assert len(one.changes) == before and not one.lost(), (client, one.changes, one.complaints)
    two = member()
    until(lambda: two.own is not None, 30, "the second member's start")
    settles([one, two], two.changes[0][0], TOLD, "the second join")
    time.sleep(1.2 * HEARTBEAT_MS / 1000)  # until the heartbeats after the rebalance are under way
    began = time.monotonic()
    two.process.terminate()
    settles([one], began, TOLD + 1, "a leave")
    three = member()
    until(lambda: settled(one, three), 30, "the third member's partitions")
    time.sleep(1.2 * HEARTBEAT_MS / 1000)
    began = time.monotonic()
    three.process.kill()
    settles([one], began, NOTICED, "a kill")
    assert not one.lost(), one.lost()
