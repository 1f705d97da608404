"""JoinGroup: ids, protocols, sizes, the vote, who leads (spec: GroupMetadataManager, ClassicGroup; KIP-389, 394)."""
import pytest
from members import Hand, rejoin_all, stable
from wire import (FENCED, ILLEGAL_GENERATION, INCONSISTENT_PROTOCOL, INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT, MAX_SIZE,
                  MEMBER_ID_REQUIRED, NONE, REBALANCE, UNKNOWN_MEMBER, subscription)


def listed(c, group):
    return next((g for g in c.call("ListGroups", 4, states_filter=[])["groups"] if g["group_id"] == group), None)


def test_a_first_join_is_sent_away_with_an_id(connect, group):
    # Kafka lists what its last committed record shows: while a record of another group is on its way, a group that has none yet is
    # left out. So another group may have to be asked about.
    for attempt in range(5):
        asked = f"{group}-{attempt}"
        m = Hand(connect, asked, client_id="my-client").learn_id()
        assert m.id.startswith("my-client-") and len(m.id) == len("my-client-") + 36
        if found := listed(m.c, asked):
            break
    assert found["group_state"] == "Empty"


def test_an_old_version_joins_at_once(connect, group):
    m = Hand(connect, group)
    r = m.join(version=3)
    assert (r["error_code"], r["generation_id"], r["leader"]) == (NONE, 1, m.id)
    assert [x["member_id"] for x in r["members"]] == [m.id]


def test_a_known_id_in_a_missing_group_is_unknown(connect, group):
    m = Hand(connect, group)
    m.id = "m"
    r = m.join()
    assert (r["error_code"], r["member_id"], r["generation_id"]) == (UNKNOWN_MEMBER, "m", -1)
    assert listed(m.c, group) is None


def test_a_ghost_is_unknown_in_a_group_that_exists(connect, group):
    stable(connect, group)
    m = Hand(connect, group)
    m.id = "ghost"
    assert m.join()["error_code"] == UNKNOWN_MEMBER


@pytest.mark.parametrize("session,wanted", [(99, INVALID_SESSION_TIMEOUT), (100, MEMBER_ID_REQUIRED),
                                            (1800000, MEMBER_ID_REQUIRED), (1800001, INVALID_SESSION_TIMEOUT)])
def test_session_timeouts_have_bounds(connect, group, session, wanted):
    assert Hand(connect, group, session=session).join()["error_code"] == wanted


def test_an_empty_group_id_is_invalid(connect):
    m = Hand(connect, "")
    m.id = "echoed"
    r = m.join()
    assert (r["error_code"], r["member_id"]) == (INVALID_GROUP_ID, "echoed")


def test_another_protocol_type_is_inconsistent(connect, group):
    stable(connect, group)
    r = Hand(connect, group, kind="connect").join()
    assert (r["error_code"], r["member_id"]) == (INCONSISTENT_PROTOCOL, "")


@pytest.mark.parametrize("kind,protocols", [("", [("range", b"x")]), ("consumer", [])])
def test_a_first_join_needs_a_type_and_a_protocol(connect, group, kind, protocols):
    m = Hand(connect, group, kind=kind)
    m.protocols = protocols
    assert m.join()["error_code"] == INCONSISTENT_PROTOCOL


def test_no_common_protocol_is_inconsistent(connect, group):
    stable(connect, group)
    assert Hand(connect, group, protocols=[("sticky", b"")]).join()["error_code"] == INCONSISTENT_PROTOCOL


@pytest.mark.parametrize("offers,winner", [
    ([["range", "roundrobin"], ["roundrobin", "range"], ["roundrobin", "range"]], "roundrobin"),
    ([["range", "roundrobin"], ["roundrobin", "foo"]], "roundrobin"),
])
def test_members_vote_for_the_protocol(connect, group, offers, winner):
    members = [Hand(connect, group, protocols=[(p, subscription("t")) for p in o]) for o in offers]
    for m in members:
        m.enter() if m is members[0] else m.learn_id()
    for m in members[1:]:
        m.send_join()
    # Before the others are there its join would only be answered with the generation that it has. Who has an id and has not joined
    # yet holds the rebalance up, so all of them are in the next one.
    members[0].until(REBALANCE)
    members[0].send_join()
    answers = [m.take_join() for m in members]
    assert {a["generation_id"] for a in answers} == {2}
    assert {a["protocol_name"] for a in answers} == {winner}


def test_only_the_leader_learns_the_members(connect, group):
    a, b, c = stable(connect, group, 3)
    assert sorted(x["member_id"] for x in a.joined["members"]) == sorted(m.id for m in (a, b, c))
    assert b.joined["members"] == [] and c.joined["members"] == []
    assert {m.joined["leader"] for m in (a, b, c)} == {a.id}


def test_an_unchanged_follower_gets_its_generation_again(connect, group):
    _, b = stable(connect, group, 2)
    before = b.generation
    r = b.join()
    assert (r["error_code"], r["generation_id"], r["members"]) == (NONE, before, [])


def test_a_leader_that_joins_again_starts_a_rebalance(connect, group):
    a, b = stable(connect, group, 2)
    before = a.generation
    a.send_join()
    assert a.c.receive(0.3) is None, "it waits for the other"
    b.until(REBALANCE)
    b.send_join()
    assert a.take_join()["generation_id"] == b.take_join()["generation_id"] == before + 1


@pytest.mark.parametrize("changed", ["bytes", "order"])
def test_new_metadata_starts_a_rebalance(connect, group, changed):
    both = [("range", subscription("t")), ("roundrobin", subscription("t"))]
    a, b = stable(connect, group, 2, protocols=both)
    b.protocols = both[::-1] if changed == "order" else [(n, subscription("t", "u")) for n, _ in both]
    b.send_join()
    assert b.c.receive(0.3) is None
    a.until(REBALANCE)
    a.send_join()
    assert a.take_join()["error_code"] == b.take_join()["error_code"] == NONE


def test_an_identical_join_is_answered_again_before_the_sync(connect, group):
    m = Hand(connect, group).learn_id()
    first = m.join()
    again = m.join()
    assert again["generation_id"] == first["generation_id"] and len(again["members"]) == 1


def test_a_new_member_cancels_waiting_syncs(connect, group):
    a, b = stable(connect, group, 2)
    rejoin_all([a, b])
    follower = b if a.leads() else a
    follower.send_sync()
    Hand(connect, group).learn_id().send_join()
    r = follower.c.receive()
    assert (r["error_code"], r["assignment"]) == (REBALANCE, b"")


def test_a_full_group_refuses_one_more(connect, group):
    stable(connect, group, 5)
    r = Hand(connect, group).join(version=3)
    assert (r["error_code"], r["member_id"]) == (MAX_SIZE, "")


def test_a_second_join_replaces_a_waiting_one(connect, group):
    a, b = stable(connect, group, 2)
    a.send_join()
    b.until(REBALANCE)
    other = connect()
    other.send("JoinGroup", 5, group_id=group, session_timeout_ms=10000, rebalance_timeout_ms=10000, member_id=a.id, group_instance_id=None,
               protocol_type="consumer", protocols=[dict(name=n, metadata=m) for n, m in a.protocols])
    assert other.receive(0.3) is None
    b.join()
    assert other.receive()["error_code"] == NONE
    assert a.c.receive(0.3) is None, "the first is never answered"


def test_a_member_that_never_returned_with_its_id_holds_up_the_rebalance(connect, group):
    a, = stable(connect, group)
    Hand(connect, group, session=600).learn_id()
    a.send_join()
    assert a.c.receive(0.2) is None, "a pending id is waited for"
    assert a.take_join(3)["error_code"] == NONE, "until its session would have ended"


def test_who_does_not_join_again_is_left_behind(connect, group):
    a, b = stable(connect, group, 2, rebalance=700)
    a.send_join()
    b.until(REBALANCE)
    assert a.take_join(3)["error_code"] == NONE and len(a.joined["members"]) == 1
    assert b.heartbeat() == UNKNOWN_MEMBER


def test_protocol_names_are_normalised_by_version(connect, group):
    m = Hand(connect, group)
    m.id = "ghost"
    assert m.join(version=6)["protocol_name"] == ""
    r = m.join(version=7)
    assert (r["protocol_name"], r["protocol_type"]) == (None, None)


def test_static_members(connect, group):
    a, b = stable(connect, group, 1)[0], Hand(connect, group, instance="i1")
    b.send_join()
    a.until(REBALANCE)
    a.send_join()
    assert b.take_join()["error_code"] == NONE and b.id.startswith("i1-")
    a.take_join()
    b.send_sync()
    assert a.sync([(a.id, b"A"), (b.id, b"B")])["assignment"] == b"A"
    assert b.c.receive()["assignment"] == b"B"
    old, generation = b.id, b.generation
    back = Hand(connect, group, instance="i1")
    r = back.join()
    assert (r["error_code"], r["generation_id"], r["leader"]) == (NONE, generation, a.id)
    assert back.id != old and a.heartbeat() == NONE, "the other is not disturbed"
    assert back.sync()["assignment"] == b"B", "the old assignment"
    assert b.heartbeat() == FENCED
    assert b.heartbeat(group_instance_id=None) == UNKNOWN_MEMBER
    assert b.sync()["error_code"] == FENCED and b.commit("t", partition=0) in (FENCED, 3)
    b.id = "wrong"
    assert b.join()["error_code"] == FENCED
    b.instance = "unknown"
    assert b.join()["error_code"] == UNKNOWN_MEMBER


def test_a_returning_static_leader_skips_the_assignment_from_version_9(connect, group):
    a = Hand(connect, group, instance="i1")
    assert a.join()["error_code"] == NONE
    a.sync([(a.id, b"A")])
    old = a.id
    back = Hand(connect, group, instance="i1")
    r = back.join(version=9)
    assert (r["leader"], r["skip_assignment"], len(r["members"])) == (back.id, True, 1)
    again = Hand(connect, group, instance="i1")
    r = again.join(version=8)
    assert (r["leader"], r["members"]) == (back.id, []), "an older version is told the leader it replaced"
    assert old != back.id != again.id


def test_a_waiting_join_of_a_replaced_instance_is_fenced(connect, group):
    a = stable(connect, group)[0]
    b = Hand(connect, group, instance="i1")
    b.send_join()
    assert b.c.receive(0.2) is None
    # The first has no id to be fenced by yet; its connection still waits. A second of the same name takes its place.
    c = Hand(connect, group, instance="i1")
    c.send_join()
    r = b.c.receive()
    assert (r["error_code"], r["leader"], r["generation_id"]) == (FENCED, "", -1)
    a.send_join()
    assert c.take_join()["error_code"] == NONE
