"""Fetch: limits, errors, waiting, every version (spec: KafkaApis.handleFetchRequest, ReplicaManager, KIP-74, 320, 516)."""
import time
import uuid

import pytest
from batches import batch, parse
from data import OUT_OF_RANGE, append, fetch, make_topic, parts, send_fetch, topic_id, wanted
from wire import NONE, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID

FENCED_EPOCH, UNKNOWN_EPOCH = 74, 75


def offsets(partition):
    return [b[0] for b in parse(partition["records"] or b"")[0]]


@pytest.mark.parametrize("version", range(4, 19))
def test_every_version_reads(connect, topic, version):
    c = connect()
    append(c, topic, batch(b"a", b"b"))
    append(c, topic, batch(b"c"))
    r = fetch(c, wanted(topic, 0, 0, id=topic_id(c, topic)), version=version)
    t, = r["responses"]
    assert (t["topic_id"] == topic_id(c, topic)) if version >= 13 else t["topic"] == topic
    p, q = sorted(t["partitions"], key=lambda p: p["partition_index"])
    assert (p["error_code"], p["high_watermark"], p["last_stable_offset"], offsets(p)) == (NONE, 3, 3, [0, 2])
    assert (q["error_code"], q["high_watermark"], q["records"]) == (NONE, 0, b""), "nothing is no bytes, and not null"
    if version >= 5:
        assert p["log_start_offset"] == 0
    if version >= 11:
        assert p["preferred_read_replica"] == -1
    assert not p["aborted_transactions"]
    if version >= 7:
        assert (r["error_code"], r["session_id"]) == (NONE, 0)


def test_a_read_from_the_middle_gets_the_whole_batch(connect, topic):
    c = connect()
    append(c, topic, batch(b"a", b"b", b"c"))
    append(c, topic, batch(b"d"))
    assert offsets(parts(fetch(c, wanted(topic, 2)))[topic, 0]) == [0, 3]
    assert offsets(parts(fetch(c, wanted(topic, 3)))[topic, 0]) == [3]


def test_the_end_is_not_out_of_range_and_one_more_is(connect, topic):
    c = connect()
    append(c, topic, batch(b"a"))
    p = parts(fetch(c, wanted(topic, 1)))[topic, 0]
    assert (p["error_code"], p["high_watermark"], p["records"]) == (NONE, 1, b"")
    for offset in (2, -1, 10**12):
        p = parts(fetch(c, wanted(topic, offset)))[topic, 0]
        assert (p["error_code"], p["high_watermark"], p["log_start_offset"], p["records"]) == (OUT_OF_RANGE, -1, -1, b"")


def test_before_the_start_is_out_of_range(connect, topic):
    c = connect()
    for v in (b"a", b"b", b"c"):
        append(c, topic, batch(v))
    r = c.call("DeleteRecords", 1, timeout_ms=5000, topics=[dict(name=topic, partitions=[dict(partition_index=0, offset=2)])])
    assert r["topics"][0]["partitions"][0]["low_watermark"] == 2
    assert parts(fetch(c, wanted(topic, 1)))[topic, 0]["error_code"] == OUT_OF_RANGE
    p = parts(fetch(c, wanted(topic, 2)))[topic, 0]
    assert (offsets(p), p["log_start_offset"]) == ([2], 2)


def test_limits_cut_between_batches(connect, topic):
    c = connect()
    one = batch(b"x" * 1000)
    for _ in range(5):
        append(c, topic, one)
    assert offsets(parts(fetch(c, wanted(topic, 0, max_bytes=len(one) * 3)))[topic, 0]) == [0, 1, 2]
    p = parts(fetch(c, wanted(topic, 0), max_bytes=len(one) * 2))[topic, 0]
    assert offsets(p) == [0, 1]
    assert len(offsets(parts(fetch(c, wanted(topic, 0, max_bytes=len(one) * 3 - 1)))[topic, 0])) == 2


def test_the_first_batch_comes_whole_however_large(connect, topic):
    c = connect()
    big = batch(b"x" * 5000)
    append(c, topic, big), append(c, topic, big), append(c, topic, big, partition=1)
    for limits in (dict(max_bytes=10), dict()):
        r = parts(fetch(c, wanted(topic, 0, 0, max_bytes=10), **limits))
        assert offsets(r[topic, 0]) == [0] and len(r[topic, 0]["records"]) >= len(big)
        assert r[topic, 1]["records"] == b"", "only the first"
    r = parts(fetch(c, wanted(topic, 2, 0, max_bytes=10)))
    assert r[topic, 0]["records"] == b"" and offsets(r[topic, 1]) == [0], "the first that has any"


def test_partitions_are_filled_in_the_order_of_the_request(connect, topic):
    c = connect()
    one = batch(b"x" * 1000)
    for p in range(3):
        append(c, topic, one, partition=p)
    r = parts(fetch(c, wanted(topic, 0, 0, 0, partitions=[2, 0, 1]), max_bytes=len(one) * 2))
    assert [offsets(r[topic, p]) for p in (2, 0, 1)] == [[0], [0], []]


def test_unknown_topics_and_partitions(connect, topic):
    c = connect()
    r = parts(fetch(c, wanted("no-such-topic", 0), wanted(topic, 0, partitions=[99])))
    assert r["no-such-topic", 0]["error_code"] == r[topic, 99]["error_code"] == UNKNOWN_TOPIC
    ghost = uuid.uuid4()
    r = parts(fetch(c, wanted("", 0, id=ghost), wanted("", 0, partitions=[99], id=topic_id(c, topic)), version=13))
    assert r[str(ghost), 0]["error_code"] == UNKNOWN_TOPIC_ID
    assert r[str(topic_id(c, topic)), 99]["error_code"] == UNKNOWN_TOPIC


@pytest.mark.parametrize("epoch,error", [(-1, NONE), (0, NONE), (1, UNKNOWN_EPOCH)])
def test_leader_epochs_are_compared(connect, topic, epoch, error):
    c = connect()
    append(c, topic, batch(b"a"))
    assert parts(fetch(c, wanted(topic, 0, epoch=epoch)))[topic, 0]["error_code"] == error


def test_a_fetch_waits_no_longer_than_it_may(connect, topic):
    c = connect()
    start = time.monotonic()
    p = parts(fetch(c, wanted(topic, 0), wait=300))[topic, 0]
    assert 0.29 <= time.monotonic() - start < 1.5
    assert (p["error_code"], p["records"]) == (NONE, b"")


def test_a_waiting_fetch_is_woken_by_a_produce(connect, topic):
    c, producer = connect(), connect()
    for i in range(10):
        send_fetch(c, wanted(topic, i, 0, 0), wait=8000)
        assert c.receive(0.05) is None
        append(producer, topic, batch(b"a"), partition=0)
        start = time.monotonic()
        r = c.receive(5)
        assert time.monotonic() - start < 0.25
        assert offsets(parts(r)[topic, 0]) == [i]


def test_a_fetch_waits_for_min_bytes(connect, topic):
    c, producer = connect(), connect()
    one = batch(b"x" * 1000)
    send_fetch(c, wanted(topic, 0, 0), wait=8000, min_bytes=len(one) * 3)
    for i in range(3):
        assert c.receive(0.15) is None, i
        append(producer, topic, one, partition=i % 2)
    r = parts(c.receive(5))
    assert offsets(r[topic, 0]) == [0, 1] and offsets(r[topic, 1]) == [0]


def test_min_bytes_is_capped_by_what_may_be_sent(connect, topic):
    c = connect()
    append(c, topic, batch(b"x" * 3000))
    start = time.monotonic()
    fetch(c, wanted(topic, 0), wait=300, min_bytes=1 << 20)
    assert time.monotonic() - start >= 0.29, "it waits in vain and then gives what there is"


def test_no_wait_and_min_bytes_0_answer_at_once(connect, topic):
    c = connect()
    for options in (dict(wait=0, min_bytes=100), dict(wait=5000, min_bytes=0)):
        start = time.monotonic()
        fetch(c, wanted(topic, 0), **options)
        assert time.monotonic() - start < 1


def test_an_offset_out_of_range_does_not_wait(connect, topic):
    c = connect()
    start = time.monotonic()
    fetch(c, wanted(topic, 0, 99), wait=5000)
    assert time.monotonic() - start < 1


def test_what_is_not_there_does_not_end_the_wait_for_the_others(connect, topic):
    c = connect()
    for bad in (wanted("no-such-topic", 0), wanted(topic, 0, partitions=[99])):
        start = time.monotonic()
        fetch(c, bad, wait=5000)
        assert time.monotonic() - start < 1, "alone it is told at once"
        start = time.monotonic()
        r = parts(fetch(c, wanted(topic, 0), bad, wait=400))
        assert time.monotonic() - start >= 0.39 and len(r) == 2
    send_fetch(c, wanted(topic, 0), wanted("no-such-topic", 0), wait=5000)
    assert c.receive(0.1) is None
    append(connect(), topic, batch(b"a"))
    assert parts(c.receive(1))["no-such-topic", 0]["error_code"] == UNKNOWN_TOPIC


def test_a_fetch_of_nothing_answers_at_once(connect):
    start = time.monotonic()
    assert fetch(connect(), wait=3000)["responses"] == []
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("version", [11, 13])
def test_a_topic_deleted_while_a_fetch_waits(connect, topic, version):
    c, admin = connect(), connect()
    id = topic_id(c, topic)
    send_fetch(c, wanted(topic, 0, id=id), wait=3000, version=version)
    assert c.receive(0.1) is None
    admin.call("DeleteTopics", 4, topic_names=[topic], timeout_ms=5000)
    assert c.receive(5) is not None
    end = time.monotonic() + 5
    while True:
        p, = parts(fetch(c, wanted(topic, 0, id=id), version=version)).values()
        if p["error_code"] == (UNKNOWN_TOPIC_ID if version >= 13 else UNKNOWN_TOPIC):
            break
        assert time.monotonic() < end


def test_a_topic_made_anew_has_another_id(connect, topic):
    c = connect()
    old = topic_id(c, topic)
    append(c, topic, batch(b"old"))
    c.call("DeleteTopics", 4, topic_names=[topic], timeout_ms=5000)
    end = time.monotonic() + 5
    while True:
        try:
            make_topic(c, name=topic)
            break
        except AssertionError:
            assert time.monotonic() < end
    assert topic_id(c, topic) != old
    assert parts(fetch(c, wanted(topic, 0)))[topic, 0]["high_watermark"] == 0
    assert parts(fetch(c, wanted("", 0, id=old), version=13))[str(old), 0]["error_code"] == UNKNOWN_TOPIC_ID


def test_two_waiting_fetches_are_both_woken(connect, topic):
    a, b, producer = connect(), connect(), connect()
    for c in (a, b):
        send_fetch(c, wanted(topic, 0), wait=8000)
    assert a.receive(0.1) is None and b.receive(0.05) is None
    append(producer, topic, batch(b"a"))
    assert offsets(parts(a.receive(5))[topic, 0]) == offsets(parts(b.receive(5))[topic, 0]) == [0]


def test_the_same_partition_twice_counts_once(connect, topic):
    c = connect()
    append(c, topic, batch(b"a"))
    r = fetch(c, wanted(topic, 0, 0, partitions=[0, 0]))
    assert sum(len(t["partitions"]) for t in r["responses"]) >= 1


def test_diverging_epochs_are_told(connect, topic):
    c = connect()
    append(c, topic, batch(b"a"))
    w = wanted(topic, 1)
    w["partitions"][0]["last_fetched_epoch"] = 0
    p = parts(fetch(c, w, version=12))[topic, 0]
    assert p["error_code"] == NONE
    w["partitions"][0].update(last_fetched_epoch=7, fetch_offset=1)
    p = parts(fetch(c, w, version=12))[topic, 0]
    assert p["error_code"] in (NONE, OUT_OF_RANGE), p


@pytest.mark.parametrize("version", [4, 7, 12, 13, 18])
@pytest.mark.parametrize("level", [2, -1])
def test_an_unknown_isolation_level_is_nobodys(connect, topic, version, level):
    c = connect()
    c.send("Fetch", version, max_wait_ms=0, min_bytes=1, max_bytes=1 << 20, isolation_level=level, session_id=0, session_epoch=-1,
           topics=[wanted(topic, 0, id=topic_id(c, topic))], forgotten_topics_data=[], rack_id="", replica_id=-1)
    r = c.receive()
    assert version < 7 or r["error_code"] == -1
    assert [p["error_code"] for p in parts(r).values()] == ([-1] if version < 13 else [])


@pytest.mark.parametrize("fields,error", [
    (dict(replica_id=5), 6), (dict(max_bytes=-1), -1), (dict(), NONE),
])
def test_readers_that_cannot_be(connect, topic, fields, error):
    c = connect()
    append(c, topic, batch(b"x"))
    c.send("Fetch", 11, **dict(dict(max_wait_ms=0, min_bytes=1, max_bytes=1 << 20, isolation_level=0, session_id=0, session_epoch=-1,
                                    topics=[wanted(topic, 0)], forgotten_topics_data=[], rack_id="", replica_id=-1), **fields))
    p, = parts(c.receive()).values()
    assert (p["error_code"], p["high_watermark"]) == (error, 1 if error == NONE else -1)
    assert p["aborted_transactions"] is None


def test_an_epoch_that_never_was_is_out_of_range(connect, topic):
    c = connect()
    append(c, topic, batch(b"x"))
    for last, error in ((-2, NONE), (0, NONE), (1, 1), (5, 1)):
        asked = wanted(topic, 0)
        asked["partitions"][0]["last_fetched_epoch"] = last
        assert parts(fetch(c, asked, version=12))[topic, 0]["error_code"] == error, last


def test_what_was_not_asked_has_no_aborted_transactions(connect, topic):
    r = parts(fetch(connect(), wanted("no-such-topic", 0)))
    assert r["no-such-topic", 0]["aborted_transactions"] == []
