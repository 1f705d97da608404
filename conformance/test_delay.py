"""The initial rebalance delay (KIP-134), at 300 ms: a new group waits for more members before its first generation."""
import time

from members import Hand
from wire import NONE, REBALANCE


def test_the_first_generation_waits_for_the_delay(connect_delaying, group):
    m = Hand(connect_delaying, group).learn_id()
    start = time.monotonic()
    r = m.join()
    assert r["error_code"] == NONE and 0.29 <= time.monotonic() - start < 1.5


def test_who_joins_within_the_delay_extends_it_and_is_in(connect_delaying, group):
    a, b = Hand(connect_delaying, group).learn_id(), Hand(connect_delaying, group).learn_id()
    start = time.monotonic()
    a.send_join()
    assert a.c.receive(0.15) is None
    b.send_join()
    assert a.take_join()["generation_id"] == b.take_join()["generation_id"] == 1
    assert 0.59 <= time.monotonic() - start < 2
    assert sorted(len(m.joined["members"]) for m in (a, b)) == [0, 2]


def test_the_delay_is_no_longer_than_the_rebalance_timeout(connect_delaying, group):
    a = Hand(connect_delaying, group, rebalance=400).learn_id()
    others = [Hand(connect_delaying, group, rebalance=400).learn_id() for _ in range(3)]
    start = time.monotonic()
    a.send_join()
    for m in others:
        assert a.c.receive(0.08) is None
        m.send_join()
    assert a.take_join()["error_code"] == NONE
    assert 0.39 <= time.monotonic() - start < 0.58


def test_heartbeats_during_the_delay_say_rebalance(connect_delaying, group):
    m = Hand(connect_delaying, group).learn_id()
    m.send_join()
    assert m.c.receive(0.1) is None
    r = connect_delaying().call("Heartbeat", 3, group_id=group, generation_id=0, member_id=m.id, group_instance_id=None)
    assert r["error_code"] == REBALANCE
    assert m.take_join()["error_code"] == NONE


def test_later_generations_do_not_wait(connect_delaying, group):
    m = Hand(connect_delaying, group).learn_id()
    m.join()
    m.sync([(m.id, b"A")])
    start = time.monotonic()
    assert m.join()["generation_id"] == 2
    assert time.monotonic() - start < 0.25


def test_a_group_that_emptied_waits_again(connect_delaying, group):
    m = Hand(connect_delaying, group).learn_id()
    m.join()
    m.leave()
    again = Hand(connect_delaying, group).learn_id()
    start = time.monotonic()
    again.join()
    assert time.monotonic() - start >= 0.29
