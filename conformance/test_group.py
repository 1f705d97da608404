"""SyncGroup, Heartbeat, LeaveGroup, sessions, descriptions."""
import pytest
from members import Hand, rejoin_all, stable
from wire import (FENCED, GROUP_NOT_FOUND, ILLEGAL_GENERATION, INCONSISTENT_PROTOCOL, INVALID_GROUP_ID, NON_EMPTY_GROUP, NONE, REBALANCE,
                  UNKNOWN_MEMBER)


def state(c, group):
    return c.call("DescribeGroups", 4, groups=[group], include_authorized_operations=False)["groups"][0]


def test_a_follower_waits_for_the_leaders_assignment(connect, group):
    a, b = stable(connect, group, 2)
    rejoin_all([a, b])
    leader, follower = (a, b) if a.leads() else (b, a)
    follower.send_sync()
    assert follower.c.receive(0.2) is None
    leader.sync([(follower.id, b"F")])
    assert follower.c.receive()["assignment"] == b"F"


def test_a_late_follower_is_answered_at_once_and_an_omitted_one_gets_nothing(connect, group):
    a, b = stable(connect, group, 2)
    rejoin_all([a, b])
    leader, follower = (a, b) if a.leads() else (b, a)
    assert leader.sync([(leader.id, b"L"), ("ghost", b"ignored")])["assignment"] == b"L"
    r = follower.sync()
    assert (r["error_code"], r["assignment"]) == (NONE, b"")
    assert leader.sync([(leader.id, b"other")])["assignment"] == b"L", "a second assignment is ignored"


def test_sync_is_validated(connect, group):
    a, = stable(connect, group)
    assert a.sync(generation_id=a.generation + 1)["error_code"] == ILLEGAL_GENERATION
    assert a.sync(member_id="ghost")["error_code"] == UNKNOWN_MEMBER
    assert a.sync(group_id="no-such-group")["error_code"] == UNKNOWN_MEMBER
    assert a.sync(version=5, protocol_type="consumer", protocol_name="wrong")["error_code"] == INCONSISTENT_PROTOCOL
    assert a.sync(version=5, protocol_type=None, protocol_name=None)["error_code"] == INCONSISTENT_PROTOCOL
    assert a.sync(group_id="")["error_code"] == INVALID_GROUP_ID
    good = a.sync(version=5, protocol_type="consumer", protocol_name="range")
    assert (good["error_code"], good["protocol_type"], good["protocol_name"]) == (NONE, "consumer", "range")


def test_a_sync_during_the_join_phase_is_told_to_rebalance(connect, group):
    a, b = stable(connect, group, 2)
    a.send_join()
    b.until(REBALANCE)
    assert b.sync()["error_code"] == REBALANCE


def test_heartbeats_by_state(connect, group):
    a, b = stable(connect, group, 2)
    assert a.heartbeat() == NONE
    assert a.heartbeat(member_id="ghost") == UNKNOWN_MEMBER
    assert a.heartbeat(generation_id=a.generation + 1) == ILLEGAL_GENERATION
    assert a.heartbeat(group_id="no-such-group") == UNKNOWN_MEMBER
    assert a.heartbeat(group_id="") == INVALID_GROUP_ID
    a.send_join()
    b.until(REBALANCE)
    b.send_join()
    a.take_join(), b.take_join()
    assert a.heartbeat() == NONE, "completing"


def test_a_silent_member_leaves_when_its_session_ends(connect, group):
    a, b = stable(connect, group, 2)
    a.session = b.session = 600
    a.protocols = b.protocols = [("range", b.protocols[0][1] + b"")]
    rejoin_all([a, b])
    leader, follower = (a, b) if a.leads() else (b, a)
    follower.send_sync()
    leader.sync([])
    follower.c.receive()
    a.until(REBALANCE)
    assert b.heartbeat() == UNKNOWN_MEMBER


def test_the_last_member_leaves_an_empty_group_behind(connect, group):
    a, = stable(connect, group)
    r = a.leave()
    assert (r["error_code"], r["members"][0]["error_code"]) == (NONE, NONE)
    assert state(a.c, group)["group_state"] == "Empty"
    again = Hand(connect, group)
    again.enter()
    assert again.generation == a.generation + 2, "emptying was a generation of its own"


def test_leaves_are_handled_one_after_the_other(connect, group):
    a = Hand(connect, group, instance="i1")
    a.join()
    a.sync([(a.id, b"A")])
    r = a.c.call("LeaveGroup", 3, group_id=group, members=[
        dict(member_id="", group_instance_id="i1"), dict(member_id="ghost", group_instance_id=None), dict(member_id="wrong", group_instance_id="i1")])
    assert [m["error_code"] for m in r["members"]] == [NONE, UNKNOWN_MEMBER, UNKNOWN_MEMBER]


def test_a_mismatched_instance_is_fenced_on_leave(connect, group):
    a = Hand(connect, group, instance="i1")
    a.join()
    r = a.c.call("LeaveGroup", 3, group_id=group, members=[dict(member_id="wrong", group_instance_id="i1")])
    assert r["members"][0]["error_code"] == FENCED


def test_leaving_a_group_that_is_not_there(connect, group):
    c = connect()
    r = c.call("LeaveGroup", 3, group_id=group, members=[dict(member_id="m", group_instance_id=None)])
    assert (r["error_code"], r["members"][0]["error_code"]) == (NONE, UNKNOWN_MEMBER)
    assert c.call("LeaveGroup", 2, group_id=group, member_id="m")["error_code"] == UNKNOWN_MEMBER
    assert c.call("LeaveGroup", 3, group_id="", members=[])["error_code"] == INVALID_GROUP_ID


def test_a_pending_id_can_leave(connect, group):
    m = Hand(connect, group).learn_id()
    assert m.leave()["members"][0]["error_code"] == NONE
    assert m.join()["error_code"] == UNKNOWN_MEMBER


def test_a_leave_rebalances_the_others(connect, group):
    a, b = stable(connect, group, 2)
    assert b.leave()["members"][0]["error_code"] == NONE
    a.until(REBALANCE)
    assert len(a.join()["members"]) == 1


def test_a_waiting_join_of_a_removed_member_is_unknown(connect, group):
    a, b = stable(connect, group, 2)
    a.send_join()
    b.until(REBALANCE)
    b.c.call("LeaveGroup", 3, group_id=group, members=[dict(member_id=a.id, group_instance_id=None)])
    r = a.c.receive()
    assert (r["error_code"], r["member_id"]) == (UNKNOWN_MEMBER, "")


def test_who_never_syncs_is_removed(connect, group):
    a, b = stable(connect, group, 2, rebalance=700)
    rejoin_all([a, b])
    leader, follower = (a, b) if a.leads() else (b, a)
    leader.sync([(leader.id, b"L")])
    leader.until(REBALANCE)
    assert follower.heartbeat() == UNKNOWN_MEMBER


def test_descriptions(connect, group):
    a, = stable(connect, group, client_id="me")
    d = state(a.c, group)
    assert (d["group_state"], d["protocol_type"], d["protocol_data"]) == ("Stable", "consumer", "range")
    m = d["members"][0]
    assert (m["member_id"], m["client_id"], m["client_host"], m["member_assignment"]) == (a.id, "me", "/127.0.0.1", b"assignment 0")
    assert m["member_metadata"] == a.protocols[0][1]
    b = Hand(connect, group).learn_id()
    b.send_join()
    a.until(REBALANCE)
    d = state(a.c, group)
    assert (d["group_state"], d["protocol_data"], [x["member_metadata"] for x in d["members"]]) == ("PreparingRebalance", "", [b""] * 2)


def test_a_group_that_is_not_there_is_dead(connect, group):
    d = state(connect(), group)
    assert (d["error_code"], d["group_state"], d["members"]) == (NONE, "Dead", [])


def test_groups_are_listed_by_state(connect, group):
    a, = stable(connect, group)

    def listed(*states):
        return group in [g["group_id"] for g in a.c.call("ListGroups", 4, states_filter=list(states))["groups"]]

    assert listed() and listed("Stable") and listed("stable") and not listed("Empty")


def test_groups_are_deleted_when_empty(connect, group, topic):
    a, = stable(connect, group, topics=(topic,))
    assert a.commit(topic, 5) == NONE

    def delete(*groups):
        return {r["group_id"]: r["error_code"] for r in a.c.call("DeleteGroups", 1, groups_names=list(groups))["results"]}

    assert delete(group, "no-such-group") == {group: NON_EMPTY_GROUP, "no-such-group": GROUP_NOT_FOUND}
    a.leave()
    assert delete(group) == {group: NONE}
    fetched = a.c.call("OffsetFetch", 5, group_id=group, topics=[dict(name=topic, partition_indexes=[0])])
    assert fetched["topics"][0]["partitions"][0]["committed_offset"] == -1
