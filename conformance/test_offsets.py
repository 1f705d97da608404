"""OffsetCommit, OffsetFetch, OffsetDelete: who may, what is kept, how each version says it."""
import time

import pytest
from members import Hand, rejoin_all, stable
from wire import (FENCED, GROUP_NOT_FOUND, ILLEGAL_GENERATION, METADATA_TOO_LARGE, NON_EMPTY_GROUP, NONE, REBALANCE, SUBSCRIBED,
                  UNKNOWN_MEMBER, UNKNOWN_TOPIC)


def simple(connect, group):
    """A committer without a membership."""
    m = Hand(connect, group)
    m.generation = -1
    return m


def fetch(c, group, topic, *partitions, version=5):
    r = c.call("OffsetFetch", version, group_id=group, topics=[dict(name=topic, partition_indexes=list(partitions))])
    return [(p["committed_offset"], p["metadata"], p["error_code"]) for p in r["topics"][0]["partitions"]]


def test_a_simple_commit_makes_a_group(connect, group, topic):
    m = simple(connect, group)
    assert m.commit(topic, 7, metadata="note") == NONE
    g = next(g for g in m.c.call("ListGroups", 4, states_filter=[])["groups"] if g["group_id"] == group)
    assert (g["protocol_type"], g["group_state"]) == ("", "Empty")
    assert fetch(m.c, group, topic, 0, 1) == [(7, "note", NONE), (-1, "", NONE)]


def test_a_simple_commit_is_refused_by_an_active_group(connect, group, topic):
    stable(connect, group)
    assert simple(connect, group).commit(topic) == UNKNOWN_MEMBER


@pytest.mark.parametrize("version,wanted", [(2, ILLEGAL_GENERATION), (8, ILLEGAL_GENERATION), (9, GROUP_NOT_FOUND)])
def test_a_commit_to_a_group_that_is_not_there(connect, group, topic, version, wanted):
    m = simple(connect, group)
    fields = dict(generation_id_or_member_epoch=5, member_id="m")
    topics = [dict(name=topic, partitions=[dict(partition_index=0, committed_offset=1, committed_metadata="")])]
    if version >= 6:
        topics[0]["partitions"][0]["committed_leader_epoch"] = -1
    if version >= 7:
        fields["group_instance_id"] = None
    r = m.c.call("OffsetCommit", version, group_id=group, topics=topics, **fields)
    assert r["topics"][0]["partitions"][0]["error_code"] == wanted


def test_commits_are_validated(connect, group, topic):
    a, = stable(connect, group)
    assert a.commit(topic) == NONE
    assert a.commit(topic, generation_id_or_member_epoch=a.generation - 1) == ILLEGAL_GENERATION
    assert a.commit(topic, member_id="ghost") == UNKNOWN_MEMBER
    assert a.commit(topic, group_instance_id="unknown") == UNKNOWN_MEMBER


def test_a_commit_during_the_join_phase_counts_with_the_old_generation(connect, group, topic):
    a, b = stable(connect, group, 2)
    a.send_join()
    b.until(REBALANCE)
    assert b.commit(topic, 9) == NONE
    b.send_join()
    a.take_join(), b.take_join()
    assert b.commit(topic, 10) == REBALANCE, "but not between join and sync"


def test_partitions_that_are_not_there_are_answered_before_the_group_is_asked(connect, group, topic):
    a, = stable(connect, group)
    r = a.c.call("OffsetCommit", 7, group_id=group, generation_id_or_member_epoch=99, member_id="ghost", group_instance_id=None, topics=[
        dict(name="no-such-topic", partitions=[dict(partition_index=0, committed_offset=1, committed_leader_epoch=-1, committed_metadata="")]),
        dict(name=topic, partitions=[dict(partition_index=99, committed_offset=1, committed_leader_epoch=-1, committed_metadata="")])])
    assert [t["partitions"][0]["error_code"] for t in r["topics"]] == [UNKNOWN_TOPIC, UNKNOWN_TOPIC]


def test_long_metadata_is_refused_for_its_partition_only(connect, group, topic):
    m = simple(connect, group)
    r = m.c.call("OffsetCommit", 7, group_id=group, generation_id_or_member_epoch=-1, member_id="", group_instance_id=None, topics=[
        dict(name=topic, partitions=[dict(partition_index=p, committed_offset=1, committed_leader_epoch=-1, committed_metadata=text)
                                     for p, text in enumerate(["ä" * 4096, "x" * 4097, None])])])
    assert [p["error_code"] for p in r["topics"][0]["partitions"]] == [NONE, METADATA_TOO_LARGE, NONE]
    assert fetch(m.c, group, topic, 0, 1, 2) == [(1, "ä" * 4096, NONE), (-1, "", NONE), (1, "", NONE)]


def test_offsets_are_not_checked(connect, group, topic):
    m = simple(connect, group)
    assert m.commit(topic, -5) == NONE
    assert fetch(m.c, group, topic, 0) == [(-5, "", NONE)]


def test_nothing_committed_is_minus_one(connect, group, topic):
    c = connect()
    for version in (1, 5, 7):
        assert fetch(c, group, topic, 0, 3, version=version) == [(-1, "", NONE)] * 2
    assert fetch(c, group, "no-such-topic", 0) == [(-1, "", NONE)]


def test_all_offsets_of_several_groups_at_once(connect, group, topic):
    m, other = simple(connect, group), simple(connect, group + "-b")
    m.commit(topic, 3, partition=1), other.commit(topic, 4, partition=2)
    r = m.c.call("OffsetFetch", 8, groups=[dict(group_id=g, topics=None) for g in (group, group + "-b", group + "-none")], require_stable=False)
    got = {g["group_id"]: (g["error_code"], [(p["partition_index"], p["committed_offset"]) for t in g["topics"] for p in t["partitions"]])
           for g in r["groups"]}
    assert got == {group: (NONE, [(1, 3)]), group + "-b": (NONE, [(2, 4)]), group + "-none": (NONE, [])}
    r = m.c.call("OffsetFetch", 5, group_id=group, topics=None)
    assert [(t["name"], [p["committed_offset"] for p in t["partitions"]]) for t in r["topics"]] == [(topic, [3])]


def test_offsets_of_a_subscribed_topic_are_not_deleted(connect, group, topic):
    a, = stable(connect, group, topics=(topic,))
    assert a.commit(topic, 5) == NONE

    def delete(g, *names):
        return a.c.call("OffsetDelete", 0, group_id=g, topics=[dict(name=n, partitions=[dict(partition_index=0)]) for n in names])

    r = delete(group, topic)
    assert (r["error_code"], r["topics"][0]["partitions"][0]["error_code"]) == (NONE, SUBSCRIBED)
    assert delete("no-such-group", topic)["error_code"] == GROUP_NOT_FOUND
    a.leave()
    r = delete(group, topic, "no-such-topic")
    assert {t["name"]: t["partitions"][0]["error_code"] for t in r["topics"]} == {topic: NONE, "no-such-topic": UNKNOWN_TOPIC}
    assert fetch(a.c, group, topic, 0) == [(-1, "", NONE)]


def test_another_kind_of_group_keeps_its_offsets_while_it_lives(connect, group, topic):
    a, = stable(connect, group, kind="connect")
    r = a.c.call("OffsetDelete", 0, group_id=group, topics=[dict(name=topic, partitions=[dict(partition_index=0)])])
    assert r["error_code"] == NON_EMPTY_GROUP


def test_a_deleted_topic_takes_its_offsets_along(connect, group, topic):
    m = simple(connect, group)
    m.commit(topic, 5)
    assert m.c.call("DeleteTopics", 4, topic_names=[topic], timeout_ms=10000)["responses"][0]["error_code"] == NONE
    # Kafka's coordinator hears of the deletion after it was answered, on a busy machine well after.
    until = time.monotonic() + 20
    while fetch(m.c, group, topic, 0) != [(-1, "", NONE)] and time.monotonic() < until:
        time.sleep(0.02)
    assert fetch(m.c, group, topic, 0) == [(-1, "", NONE)]
