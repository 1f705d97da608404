"""The group protocol in every version: what each field becomes (spec: group-protocol 1.16, 1.17, 3.5)."""
import time

import pytest
from batches import batch
from data import append, topic_id
from members import Hand, stable
from wire import (FENCED, GROUP_NOT_FOUND, ILLEGAL_GENERATION, MEMBER_ID_REQUIRED, NON_EMPTY_GROUP, NONE, REBALANCE, UNKNOWN_MEMBER,
                  UNKNOWN_TOPIC, subscription)


@pytest.mark.parametrize("version", range(0, 10))
def test_every_version_joins(connect, group, version):
    m = Hand(connect, group)
    r = m.join(version)
    if version >= 4:
        assert r["error_code"] == MEMBER_ID_REQUIRED and r["generation_id"] == -1 and r["leader"] == "" and r["members"] == []
        r = m.join(version)
    assert (r["error_code"], r["generation_id"], r["protocol_name"], r["leader"], r["member_id"]) == (NONE, 1, "range", m.id, m.id)
    assert [(x["member_id"], x["metadata"]) for x in r["members"]] == [(m.id, m.protocols[0][1])]
    if version >= 5:
        assert r["members"][0]["group_instance_id"] is None
    if version >= 7:
        assert r["protocol_type"] == "consumer"
    if version >= 9:
        assert r["skip_assignment"] is False
    if version >= 2:
        assert r["throttle_time_ms"] == 0


@pytest.mark.parametrize("version", range(0, 10))
def test_every_version_of_a_refused_join(connect, group, version):
    m = Hand(connect, group)
    m.id = "ghost"
    r = m.join(version)
    assert (r["error_code"], r["generation_id"], r["leader"], r["member_id"], r["members"]) == (UNKNOWN_MEMBER, -1, "", "ghost", [])
    assert r["protocol_name"] == ("" if version < 7 else None)


@pytest.mark.parametrize("version", range(0, 6))
def test_every_version_syncs(connect, group, version):
    m = Hand(connect, group)
    m.enter()
    r = m.sync([(m.id, b"A")], version=version, protocol_type="consumer", protocol_name="range")
    assert (r["error_code"], r["assignment"]) == (NONE, b"A")
    if version >= 5:
        assert (r["protocol_type"], r["protocol_name"]) == ("consumer", "range")
    r = m.sync(version=version, generation_id=9, protocol_type="consumer", protocol_name="range")
    assert (r["error_code"], r["assignment"]) == (ILLEGAL_GENERATION, b"")
    if version >= 5:
        assert (r["protocol_type"], r["protocol_name"]) == (None, None)


@pytest.mark.parametrize("version", range(0, 5))
def test_every_version_beats(connect, group, version):
    m, = stable(connect, group)

    def beat(**other):
        return m.c.call("Heartbeat", version, **{**dict(group_id=group, generation_id=m.generation, member_id=m.id, group_instance_id=None), **other})["error_code"]

    assert beat() == NONE
    assert beat(member_id="ghost") == UNKNOWN_MEMBER and beat(generation_id=9) == ILLEGAL_GENERATION


@pytest.mark.parametrize("version", range(0, 6))
def test_every_version_leaves(connect, group, version):
    m, = stable(connect, group)
    who = dict(member_id=m.id, group_instance_id=None, reason="enough")

    def leave():
        r = m.c.call("LeaveGroup", version, group_id=group, member_id=m.id, members=[who])
        return r["error_code"], [(x["member_id"], x["group_instance_id"], x["error_code"]) for x in r.get("members") or []]

    assert leave() == ((NONE, [(m.id, None, NONE)]) if version >= 3 else (NONE, []))
    assert leave() == ((NONE, [(m.id, None, UNKNOWN_MEMBER)]) if version >= 3 else (UNKNOWN_MEMBER, []))


def commit(c, version, group, topic, offset, generation=-1, member="", instance=None, partition=0, **other):
    r = c.call("OffsetCommit", version, group_id=group, generation_id_or_member_epoch=generation, member_id=member, group_instance_id=instance,
               topics=[dict(name=topic, partitions=[dict(partition_index=partition, committed_offset=offset, committed_leader_epoch=3,
                                                         committed_metadata="note")])], **other)
    return r["topics"][0]["partitions"][0]["error_code"]


@pytest.mark.parametrize("version", range(2, 10))
def test_every_version_commits(connect, group, topic, version):
    m, = stable(connect, group)
    assert commit(m.c, version, group, topic, 7, m.generation, m.id) == NONE
    assert commit(m.c, version, group, topic, 8, 99, m.id) == ILLEGAL_GENERATION
    assert commit(m.c, version, group, topic, 8, m.generation, "ghost") == UNKNOWN_MEMBER
    assert commit(m.c, version, group, "no-such-topic", 8, m.generation, m.id) == UNKNOWN_TOPIC
    r = m.c.call("OffsetFetch", 5, group_id=group, topics=[dict(name=topic, partition_indexes=[0])])
    p = r["topics"][0]["partitions"][0]
    assert (p["committed_offset"], p["metadata"], p["committed_leader_epoch"]) == (7, "note", 3 if version >= 6 else -1)


def entries(r, version):
    """Group error, and partitions by (topic, index): offset, metadata, epoch, error."""
    if version >= 8:
        r, = r["groups"]
    found = {(t["name"], p["partition_index"]): (p["committed_offset"], p["metadata"], p.get("committed_leader_epoch"), p["error_code"])
             for t in r["topics"] for p in t["partitions"]}
    return r.get("error_code", NONE), found


@pytest.mark.parametrize("version", range(1, 10))
def test_every_version_fetches_offsets(connect, group, topic, version):
    c = connect()
    assert commit(c, 8, group, topic, 7) == NONE

    def ask(topics, g=group):
        asked = [dict(group_id=g, topics=topics, member_id=None, member_epoch=-1)]
        return entries(c.call("OffsetFetch", version, group_id=g, topics=topics, groups=asked, require_stable=True), version)

    epoch = 3 if version >= 5 else None
    none = (-1, "", -1 if version >= 5 else None, NONE)
    some = [dict(name=topic, partition_indexes=[0, 1]), dict(name="no-such-topic", partition_indexes=[0])]
    assert ask(some) == (NONE, {(topic, 0): (7, "note", epoch, NONE), (topic, 1): none, ("no-such-topic", 0): none})
    assert ask(some[:1], g="no-such-group") == (NONE, {(topic, 0): none, (topic, 1): none})
    if version >= 2:
        assert ask(None) == (NONE, {(topic, 0): (7, "note", epoch, NONE)})
        assert ask(None, g="no-such-group") == (NONE, {})
    assert ask([]) == (NONE, {})


@pytest.mark.parametrize("version", range(0, 7))
def test_every_version_describes_groups(connect, group, version):
    a, = stable(connect, group)
    r = a.c.call("DescribeGroups", version, groups=[group, "no-such-group"], include_authorized_operations=False)
    unknown, known = sorted(r["groups"], key=lambda g: g["group_id"] == group)
    assert (known["error_code"], known["group_state"], known["protocol_type"], known["protocol_data"]) == (NONE, "Stable", "consumer", "range")
    m, = known["members"]
    assert (m["member_id"], m["client_id"], m["client_host"], m["member_metadata"], m["member_assignment"]) == (
        a.id, "wire", "/127.0.0.1", a.protocols[0][1], b"assignment 0")
    assert (unknown["group_state"], unknown["members"], unknown["protocol_type"]) == ("Dead", [], "")
    assert unknown["error_code"] == (GROUP_NOT_FOUND if version >= 6 else NONE)
    if version >= 6:
        assert unknown["error_message"] and not known["error_message"]


@pytest.mark.parametrize("version", range(0, 6))
def test_every_version_lists_groups(connect, group, version):
    a, = stable(connect, group)

    def listed(**filters):
        r = a.c.call("ListGroups", version, **{**dict(states_filter=[], types_filter=[]), **filters})
        assert r["error_code"] == NONE
        return {g["group_id"]: g for g in r["groups"]}

    g = listed()[group]
    assert g["protocol_type"] == "consumer"
    if version >= 4:
        assert g["group_state"] == "Stable"
        assert group in listed(states_filter=["stable"]) and group in listed(states_filter=[" STABLE "])
        assert group in listed(states_filter=["Empty", "Stable"]) and group not in listed(states_filter=["Empty"])
        assert group not in listed(states_filter=["nonsense"])
    if version >= 5:
        assert g["group_type"] == "classic"
        assert group in listed(types_filter=["CLASSIC"]) and group not in listed(types_filter=["consumer"])
        assert group not in listed(types_filter=["nonsense"]) and group in listed(types_filter=["classic", "nonsense"])


@pytest.mark.parametrize("version", range(0, 3))
def test_every_version_deletes_groups(connect, group, topic, version):
    a, = stable(connect, group)
    empty = group + "-empty"
    commit(a.c, 8, empty, topic, 5)

    def delete(*names):
        r = a.c.call("DeleteGroups", version, groups_names=list(names))
        return sorted((x["group_id"], x["error_code"]) for x in r["results"])

    assert delete(group, empty, "no-such-group") == sorted([(group, NON_EMPTY_GROUP), (empty, NONE), ("no-such-group", GROUP_NOT_FOUND)])
    assert delete(empty, empty) == [(empty, GROUP_NOT_FOUND)]
    assert entries(a.c.call("OffsetFetch", 5, group_id=empty, topics=None), 5) == (NONE, {})


def test_states_as_they_are_described(connect, group):
    def state():
        g, = probe.call("DescribeGroups", 5, groups=[group], include_authorized_operations=False)["groups"]
        return g["group_state"], g["protocol_data"], [(bool(m["member_metadata"]), m["member_assignment"]) for m in g["members"]]

    probe = connect()
    a, b = stable(connect, group, 2)
    a.send_join()
    b.until(REBALANCE)
    s, protocol, members = state()
    assert (s, protocol) == ("PreparingRebalance", "") and {m[0] for m in members} == {False}
    assert {m[1] for m in members} == {b"assignment 0", b"assignment 1"}, "the last assignment is still there"
    b.send_join()
    a.take_join(), b.take_join()
    s, protocol, members = state()
    assert (s, protocol) == ("CompletingRebalance", "") and {m[0] for m in members} == {False}
    for m in (a, b):
        m.leave()
    assert state() == ("Empty", "", [])


def test_retention_of_an_old_commit_is_its_own(connect, group, topic):
    c = connect()
    assert commit(c, 2, group, topic, 5, retention_time_ms=3_600_000) == NONE
    assert entries(c.call("OffsetFetch", 5, group_id=group, topics=None), 5)[1]


def test_static_members_are_described_with_their_names(connect, group):
    m = Hand(connect, group, instance="i1")
    m.join()
    m.sync([(m.id, b"A")])
    for version in (4, 5, 6):
        g, = m.c.call("DescribeGroups", version, groups=[group], include_authorized_operations=False)["groups"]
        assert g["members"][0]["group_instance_id"] == "i1"


def test_a_static_member_that_is_silent_keeps_its_place_until_its_session_ends(connect, group):
    a, = stable(connect, group, rebalance=1000)
    b = Hand(connect, group, instance="i1", session=3000, rebalance=1000)
    b.send_join()
    a.until(REBALANCE)
    a.send_join()
    b.take_join(), a.take_join()
    assert a.sync([(a.id, b"A"), (b.id, b"B")])["error_code"] == NONE
    b.sync()
    a.protocols = [("range", subscription("t", "u"))]
    r = a.join()
    assert len(r["members"]) == 2, "the silent static member is still one of them"


def test_a_client_id_may_be_missing(connect, group):
    m = Hand(connect, group, client_id=None).learn_id()
    assert m.id.startswith("-") and len(m.id) == 37


def test_a_refused_first_join_leaves_an_empty_group(connect, group):
    m = Hand(connect, group, protocols=[])
    m.protocols = []
    m.join()
    groups = {g["group_id"]: g["group_state"] for g in m.c.call("ListGroups", 4, states_filter=[])["groups"]}
    assert groups[group] == "Empty"


def test_a_fenced_commit(connect, group, topic):
    a = Hand(connect, group, instance="i1")
    a.join()
    a.sync([(a.id, b"A")])
    assert commit(a.c, 7, group, topic, 1, a.generation, "wrong", "i1") == FENCED
    assert commit(a.c, 7, group, topic, 1, a.generation, a.id, "i1") == NONE


def test_commits_keep_a_session_alive(connect, group, topic):
    a, = stable(connect, group, session=600)
    for _ in range(6):
        time.sleep(0.3)
        assert commit(a.c, 7, group, topic, 1, a.generation, a.id) == NONE
    assert a.heartbeat() == NONE


def test_a_waiting_join_outlives_its_session(connect, group):
    a, b = stable(connect, group, 2, session=1000, rebalance=6000)
    a.send_join()
    b.until(REBALANCE)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert b.heartbeat() == REBALANCE
        time.sleep(0.1)
    b.send_join()
    assert a.take_join()["error_code"] == b.take_join()["error_code"] == NONE


def test_a_rebalance_timeout_of_0_expels(connect, group):
    m = Hand(connect, group, rebalance=0).learn_id()
    r = m.join()
    if r["error_code"] == NONE:
        time.sleep(0.1)
        assert m.sync([(m.id, b"A")])["error_code"] == UNKNOWN_MEMBER


def test_group_records_are_where_a_reader_looks_for_them(connect, group, topic):
    from data import fetch, parts, wanted
    c = connect()
    assert commit(c, 8, group, topic, 5) == NONE

    def java_hash(s):
        h = 0
        for ch in s:
            h = (31 * h + ord(ch)) & 0xFFFFFFFF
        return h

    p = min(java_hash(group), 2**32 - java_hash(group)) % 50
    found = parts(fetch(c, wanted("__consumer_offsets", 0, partitions=[p])))["__consumer_offsets", p]
    assert group.encode() in found["records"] and topic.encode() in found["records"]


def test_a_second_generation_by_growing_a_topic_is_the_leaders_business(connect, group, topic):
    a, = stable(connect, group, topics=(topic,))
    append(a.c, topic, batch(b"a"))
    a.c.call("CreatePartitions", 1, timeout_ms=5000, validate_only=False, topics=[dict(name=topic, count=6, assignments=None)])
    assert a.heartbeat() == NONE, "the classic protocol leaves it to the leader to notice"
    assert topic_id(a.c, topic)
