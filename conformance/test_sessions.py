"""Fetch sessions (KIP-227): what is remembered, what is left out, what is refused (spec: FetchSession, FetchMetadata)."""
import time
import uuid

import pytest
from batches import batch, parse
from data import append, fetch, make_topic, parts, send_fetch, topic_id, wanted
from wire import NONE, NO_ID, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID

NO_SESSION, BAD_EPOCH, ID_CHANGED = 70, 71, 106


def opened(c, *topics, version=11):
    r = fetch(c, *topics, version=version, session=(0, 0))
    assert r["error_code"] == NONE and r["session_id"] > 0, r
    return r["session_id"], r


def refused(r, error):
    return (r["error_code"], r["session_id"], r["responses"]) == (error, 0, [])


def test_a_session_tells_everything_once_and_then_news(connect, topic):
    c = connect()
    append(c, topic, batch(b"a"))
    s, r = opened(c, wanted(topic, 0, 0, 0))
    assert len(parts(r)) == 3, "the first answer is whole"
    r = fetch(c, session=(s, 1))
    assert list(parts(r)) == [(topic, 0)] and r["session_id"] == s, "what was not read is told again"
    r = fetch(c, wanted(topic, 1), session=(s, 2))
    assert r["responses"] == [] and r["session_id"] == s
    append(c, topic, batch(b"b"), partition=2)
    r = fetch(c, session=(s, 3))
    assert list(parts(r)) == [(topic, 2)]


def test_a_session_waits_for_news(connect, topic):
    c, producer = connect(), connect()
    s, _ = opened(c, wanted(topic, 0, 0, 0))
    start = time.monotonic()
    assert fetch(c, session=(s, 1), wait=300)["responses"] == []
    assert time.monotonic() - start >= 0.29
    send_fetch(c, session=(s, 2), wait=5000)
    assert c.receive(0.1) is None
    append(producer, topic, batch(b"a"), partition=1)
    r = c.receive(1)
    assert list(parts(r)) == [(topic, 1)]


def test_a_new_high_watermark_is_news_without_records(connect, topic):
    c = connect()
    s, _ = opened(c, wanted(topic, 0, 0))
    append(c, topic, batch(b"x" * 3000))
    append(c, topic, batch(b"x" * 3000), partition=1)
    r = parts(fetch(c, session=(s, 1), max_bytes=100))
    assert {k: (p["high_watermark"], bool(p["records"])) for k, p in r.items()} == {(topic, 0): (1, True), (topic, 1): (1, False)}


def test_partitions_join_and_leave_a_session(connect, topic):
    c = connect()
    for p in range(3):
        append(c, topic, batch(b"a"), partition=p)
    s, _ = opened(c, wanted(topic, 1, 1))
    r = fetch(c, wanted(topic, 0, partitions=[2]), session=(s, 1))
    assert list(parts(r)) == [(topic, 2)]
    r = fetch(c, wanted(topic, 0), forget=[dict(topic=topic, topic_id=NO_ID, partitions=[2])], session=(s, 2))
    assert list(parts(r)) == [(topic, 0)], "the offset moved back"
    r = fetch(c, session=(s, 3), forget=[dict(topic=topic, topic_id=NO_ID, partitions=[0, 77])])
    assert r["error_code"] == NONE and r["responses"] == []


def test_an_emptied_session_ends(connect, topic):
    c = connect()
    s, _ = opened(c, wanted(topic, 0))
    r = fetch(c, session=(s, 1), forget=[dict(topic=topic, topic_id=NO_ID, partitions=[0])])
    assert (r["error_code"], r["session_id"], r["responses"]) == (NONE, 0, [])
    assert refused(fetch(c, session=(s, 2)), NO_SESSION)


def test_an_unknown_session_is_refused(connect, topic):
    assert refused(fetch(connect(), wanted(topic, 0), session=(123456789, 1)), NO_SESSION)


@pytest.mark.parametrize("epoch", [2, 5, 2**31 - 1])
def test_a_wrong_epoch_is_refused(connect, topic, epoch):
    c = connect()
    s, _ = opened(c, wanted(topic, 0))
    assert refused(fetch(c, session=(s, epoch)), BAD_EPOCH)
    assert fetch(c, session=(s, 1))["error_code"] == NONE, "and the session lives on"
    assert refused(fetch(c, session=(s, 1)), BAD_EPOCH)


def test_the_final_epoch_closes_a_session(connect, topic):
    c = connect()
    append(c, topic, batch(b"a"))
    s, _ = opened(c, wanted(topic, 0))
    r = fetch(c, wanted(topic, 0), session=(s, -1))
    assert (r["error_code"], r["session_id"]) == (NONE, 0) and parts(r)[topic, 0]["records"]
    assert refused(fetch(c, session=(s, 1)), NO_SESSION)


def test_a_new_session_replaces_the_one_it_names(connect, topic):
    c = connect()
    s, _ = opened(c, wanted(topic, 0))
    r = fetch(c, wanted(topic, 0), session=(s, 0))
    assert r["error_code"] == NONE and r["session_id"] not in (0, s)
    assert refused(fetch(c, session=(s, 1)), NO_SESSION)


def test_an_unknown_session_may_be_closed(connect, topic):
    r = fetch(connect(), wanted(topic, 0), session=(123456789, -1))
    assert (r["error_code"], r["session_id"]) == (NONE, 0)


def test_a_session_may_begin_with_nothing(connect):
    r = fetch(connect(), session=(0, 0))
    assert (r["error_code"], r["responses"]) == (NONE, [])


def test_a_session_by_name_is_not_continued_by_id(connect, topic):
    c = connect()
    s, _ = opened(c, wanted(topic, 0), version=12)
    assert refused(fetch(c, session=(s, 1), version=13), ID_CHANGED)
    s, _ = opened(c, wanted("", 0, id=topic_id(c, topic)), version=13)
    assert refused(fetch(c, session=(s, 1), version=12), ID_CHANGED)


@pytest.mark.parametrize("version", [11, 13])
def test_an_error_is_told_again_and_again(connect, topic, version):
    c, ghost = connect(), uuid.uuid4()
    error = UNKNOWN_TOPIC if version < 13 else UNKNOWN_TOPIC_ID
    s, r = opened(c, wanted(topic, 0, id=topic_id(c, topic)), wanted("no-such-topic", 0, id=ghost), version=version)
    name = "no-such-topic" if version < 13 else str(ghost)
    for epoch in (1, 2):
        r = parts(fetch(c, session=(s, epoch), version=version, wait=2000))
        assert {k: p["error_code"] for k, p in r.items()} == {(name, 0): error}


def test_a_session_by_id_follows_the_id(connect, topic):
    c = connect()
    id = topic_id(c, topic)
    append(c, topic, batch(b"a"))
    s, r = opened(c, wanted("", 0, 0, id=id), version=15)
    assert len(parts(r)) == 2
    r = fetch(c, wanted("", 1, id=id), session=(s, 1), version=15)
    assert r["responses"] == []
    append(c, topic, batch(b"b"))
    assert list(parts(fetch(c, session=(s, 2), version=15))) == [(str(id), 0)]


def test_who_was_answered_last_is_read_first_next_time(connect, topic):
    c = connect()
    big = batch(b"x" * 3000)
    for p in range(3):
        for _ in range(3):
            append(c, topic, big, partition=p)
    s, r = opened(c, wanted(topic, 0, 0, 0))
    first = [k[1] for k, p in parts(fetch(c, session=(s, 1), max_bytes=100)).items() if p["records"]]
    second = [k[1] for k, p in parts(fetch(c, session=(s, 2), max_bytes=100)).items() if p["records"]]
    third = [k[1] for k, p in parts(fetch(c, session=(s, 3), max_bytes=100)).items() if p["records"]]
    assert sorted(first + second + third) == [0, 1, 2], "nobody starves"


def test_the_log_start_is_news(connect, topic):
    c = connect()
    for _ in range(3):
        append(c, topic, batch(b"a"))
    s, _ = opened(c, wanted(topic, 3, 0))
    c.call("DeleteRecords", 1, timeout_ms=5000, topics=[dict(name=topic, partitions=[dict(partition_index=0, offset=2)])])
    r = parts(fetch(c, session=(s, 1)))
    assert [(k, p["log_start_offset"]) for k, p in r.items()] == [((topic, 0), 2)]


def test_what_is_named_and_forgotten_at_once_is_forgotten(connect, topic):
    c = connect()
    id = fetch(c, wanted(topic, 0), session=(0, 0))["session_id"]
    r = fetch(c, wanted(topic, 0, partitions=[2]), session=(id, 1), forget=[dict(topic=topic, topic_id=NO_ID, partitions=[2])])
    assert (r["error_code"], r["responses"]) == (NONE, [])
