"""Produce: what a batch must be, idempotence, acks, time (spec: ProduceRequest, LogValidator, ProducerStateManager)."""
import gzip
import struct
import uuid

import pytest
from batches import batch, now_ms, parse, record
from data import append, fetch, list_offset, make_topic, parts, produce, send_produce, topic_id, wanted
from wire import NONE, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID

CORRUPT, TOO_LARGE, INVALID_TOPIC, INVALID_ACKS, INVALID_TIMESTAMP, OUT_OF_ORDER, BAD_EPOCH, NO_ZSTD, INVALID_RECORD = (
    2, 10, 17, 21, 32, 45, 47, 76, 87)


@pytest.mark.parametrize("version", range(3, 14))
def test_every_version_appends(connect, topic, version):
    c = connect()
    r = produce(c, topic, batch(b"a", b"b"), version=version, id=topic_id(c, topic))
    assert (r["error_code"], r["base_offset"], r["log_append_time_ms"]) == (NONE, 0, -1)
    if version >= 5:
        assert r["log_start_offset"] == 0
    assert append(c, topic, batch(b"c"), version=version, id=topic_id(c, topic)) == 2
    found, _ = parse(parts(fetch(c, wanted(topic, 0)))[topic, 0]["records"])
    assert [f[0] for f in found] == [0, 2]
    assert [f[1] for f in found] == [0, 0], "the leader epoch is the broker's"


@pytest.mark.parametrize("version", [0, 1, 2])
def test_versions_before_magic_2_are_hung_up_on(connect, topic, version):
    c = connect()
    body = struct.pack(">hii", 1, 1000, 0)
    frame = struct.pack(">hhih", 0, version, 9, 1) + b"x" + body
    c.raw(struct.pack(">i", len(frame)) + frame)
    assert c.closes()


def flip(b, at):
    return b[:at] + bytes([b[at] ^ 0xFF]) + b[at + 1:]


GOOD = [("bad crc", dict(crc=1), CORRUPT), ("magic 3", dict(magic=3), CORRUPT), ("control", dict(attributes=32), INVALID_RECORD),
        ("count too high", dict(count=5), INVALID_RECORD), ("no records", dict(count=0, records=b""), INVALID_RECORD),
        ("last delta", dict(last_delta=7), INVALID_RECORD), ("codec 5", dict(attributes=5), None),
        ("garbage records", dict(records=b"\xff" * 20), None), ("compressed garbage", dict(attributes=1, records=b"\x01" * 20), None)]


@pytest.mark.parametrize("fields,wanted_error", [g[1:] for g in GOOD], ids=[g[0] for g in GOOD])
def test_a_batch_is_validated(connect, topic, fields, wanted_error):
    c = connect()
    r = produce(c, topic, batch(b"a", **fields))
    assert r["error_code"] == wanted_error if wanted_error is not None else r["error_code"] != 0
    assert r["base_offset"] == -1
    assert append(c, topic, batch(b"good")) == 0, "and leaves no trace"


def test_the_base_offset_of_a_client_is_not_believed(connect, topic):
    c = connect()
    append(c, topic, batch(b"a"))
    assert produce(c, topic, batch(b"a", base_offset=77))["error_code"] == INVALID_RECORD


@pytest.mark.parametrize("records", [batch(b"a") + batch(b"b"), b""], ids=["two", "empty"])
def test_a_partition_gets_exactly_one_batch(connect, topic, records):
    assert produce(connect(), topic, records)["error_code"] == INVALID_RECORD


def test_a_torn_batch_is_none(connect, topic):
    c = connect()
    whole = batch(b"abcdef" * 10)
    for cut in (5, 10, 14, 30, 60, len(whole) - 1):
        assert produce(c, topic, whole[:cut])["error_code"] == INVALID_RECORD, cut
    assert append(c, topic, whole + b"\x00" * 5) == 0, "and what is torn behind a whole one is passed over"
    data = parts(fetch(c, wanted(topic, 0)))[topic, 0]["records"]
    assert len(data) == len(whole) and parse(data)[1] == b""


@pytest.mark.parametrize("length", [-5, 0, 13])
def test_an_impossible_length_is_corrupt(connect, topic, length):
    b = batch(b"abcdef")
    assert produce(connect(), topic, b[:8] + struct.pack(">i", length) + b[12:])["error_code"] == CORRUPT


def test_compressed_records_are_counted(connect, topic):
    c = connect()
    whole = gzip.compress(record(0, None, b"a"))
    assert produce(c, topic, batch(b"a", attributes=1, count=2, records=whole))["error_code"] == INVALID_RECORD
    assert produce(c, topic, batch(b"a", attributes=1, records=gzip.compress(record(0, None, b"a") + b"zzz")))["error_code"] == INVALID_RECORD
    assert append(c, topic, batch(b"a", attributes=1, records=whole)) == 0


def test_a_transactional_batch_needs_a_transactional_id(connect, topic):
    c = connect()
    assert produce(c, topic, batch(b"a", attributes=16, producer=(5, 0, 0)))["error_code"] == 53
    assert append(c, topic, batch(b"a"), transactional_id="unused") == 0


def test_a_transactional_batch_refuses_its_whole_request(connect, topic):
    c = connect()
    c.send("Produce", 8, transactional_id=None, acks=-1, timeout_ms=1000, topic_data=[
        dict(name=topic, partition_data=[dict(index=0, records=batch(b"a")),
                                         dict(index=1, records=batch(b"b", attributes=16, producer=(5, 0, 0)))]),
        dict(name="no-such-topic", partition_data=[dict(index=0, records=batch(b"c"))])])
    r = [p for t in c.receive()["responses"] for p in t["partition_responses"]]
    assert [(p["error_code"], p["base_offset"], p["log_start_offset"]) for p in r] == [(53, -1, -1)] * 3
    assert append(c, topic, batch(b"a")) == 0, "nothing of it was written"


def test_old_magics_are_refused(connect, topic):
    c = connect()
    body = struct.pack(">bbqii", 1, 0, now_ms(), -1, 1) + b"v"
    import zlib
    message = struct.pack(">I", zlib.crc32(body)) + body
    assert produce(c, topic, struct.pack(">qi", 0, len(message)) + message)["error_code"] == INVALID_RECORD


def test_zstd_needs_version_7(connect, topic):
    c = connect()
    zstd = batch(b"x", attributes=4, records=bytes.fromhex("28b52ffd0001") + b"\x00" * 3)
    assert produce(c, topic, zstd, version=6)["error_code"] == NO_ZSTD


def test_too_large_a_batch_is_refused(connect):
    c = connect()
    t = make_topic(c, max_message_bytes="1000")
    fits = batch(b"x" * (1000 - len(batch(b"")) - 4))
    assert len(fits) <= 1000
    assert produce(c, t, fits)["error_code"] == NONE
    assert produce(c, t, batch(b"x" * 1001))["error_code"] == TOO_LARGE
    assert produce(c, t, batch(b"x" * (1000 - len(batch(b"")) + 3)))["error_code"] == TOO_LARGE


@pytest.mark.parametrize("acks", [2, -2, 100])
def test_other_acks_are_invalid(connect, topic, acks):
    r = produce(connect(), topic, batch(b"a"), acks=acks)
    assert (r["error_code"], r["base_offset"]) == (INVALID_ACKS, -1)
    assert produce(connect(), "no-such-topic", batch(b"a"), acks=acks)["error_code"] == UNKNOWN_TOPIC


def test_acks_0_is_not_answered(connect, topic):
    c = connect()
    send_produce(c, topic, batch(b"a"), acks=0)
    assert c.call("ApiVersions", 0)["error_code"] == NONE, "the next answer is the next request's"
    assert append(c, topic, batch(b"b"), acks=1) == 1


def test_an_error_with_acks_0_ends_the_connection(connect, topic):
    for t, b in ((topic, batch(b"a", crc=1)), ("no-such-topic", batch(b"a"))):
        c = connect()
        send_produce(c, t, b, acks=0)
        assert c.closes()


def test_unknown_topics_and_partitions(connect, topic):
    c = connect()
    assert produce(c, "no-such-topic", batch(b"a"))["error_code"] == UNKNOWN_TOPIC
    assert produce(c, topic, batch(b"a"), partition=99)["error_code"] == UNKNOWN_TOPIC
    assert produce(c, topic, batch(b"a"), partition=-1)["error_code"] == UNKNOWN_TOPIC
    assert produce(c, "", batch(b"a"), version=13, id=uuid.uuid4())["error_code"] == UNKNOWN_TOPIC_ID
    assert produce(c, "", batch(b"a"), version=13, id=topic_id(c, topic), partition=99)["error_code"] == UNKNOWN_TOPIC


def test_an_internal_topic_is_not_for_clients(connect):
    assert produce(connect(), "__consumer_offsets", batch(b"a"))["error_code"] == INVALID_TOPIC


def test_partitions_of_one_request_stand_or_fall_alone(connect, topic):
    c = connect()
    c.send("Produce", 8, transactional_id=None, acks=-1, timeout_ms=1000, topic_data=[
        dict(name=topic, partition_data=[dict(index=0, records=batch(b"a")), dict(index=1, records=batch(b"b", crc=3)), dict(index=9, records=batch(b"c"))]),
        dict(name="no-such-topic", partition_data=[dict(index=0, records=batch(b"d"))])])
    r = {(t["name"], p["index"]): p["error_code"] for t in c.receive()["responses"] for p in t["partition_responses"]}
    assert r == {(topic, 0): NONE, (topic, 1): CORRUPT, (topic, 9): UNKNOWN_TOPIC, ("no-such-topic", 0): UNKNOWN_TOPIC}


def test_log_append_time_is_the_brokers(connect):
    c = connect()
    t = make_topic(c, message_timestamp_type="LogAppendTime")
    before = now_ms()
    r = produce(c, t, batch(b"a", at=1000))
    assert before - 5 <= r["log_append_time_ms"] <= now_ms() + 5
    data = parts(fetch(c, wanted(t, 0)))[t, 0]["records"]
    (_, _, attributes, latest, _), = parse(data)[0]
    assert attributes & 8 and latest == r["log_append_time_ms"]
    from kafka.record.util import calc_crc32c
    assert struct.unpack(">I", data[17:21])[0] == calc_crc32c(data[21:]), "the checksum is of what is kept"


def test_times_too_far_ahead_are_refused(connect, topic):
    c = connect()
    assert produce(c, topic, batch(b"a", at=now_ms() + 3_600_000 + 60_000))["error_code"] == INVALID_TIMESTAMP
    assert produce(c, topic, batch(b"a", at=now_ms() + 3_600_000 - 60_000))["error_code"] == NONE
    assert produce(c, topic, batch(b"a", at=1))["error_code"] == NONE, "long ago is no mistake"
    assert produce(c, topic, batch(b"a", at=-1))["error_code"] == NONE, "nor is no time at all"


def test_a_compacted_topic_wants_keys(connect):
    c = connect()
    t = make_topic(c, cleanup_policy="compact")
    r = produce(c, t, batch(b"a", b"b"))
    assert r["error_code"] == INVALID_RECORD
    assert [e["batch_index"] for e in r["record_errors"]] == [0, 1] and r["error_message"]
    assert append(c, t, batch(b"a", key=b"k")) == 0


def test_the_records_at_fault_are_named(connect, topic):
    c = connect()
    far = 3_700_000
    r = produce(c, topic, batch(b"a", b"b", b"c", times=[0, far, 0]))
    assert r["error_code"] == INVALID_TIMESTAMP and r["base_offset"] == -1
    assert [e["batch_index"] for e in r["record_errors"]] == [1]


def new_producer(c):
    r = c.call("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=1000, producer_id=-1, producer_epoch=-1)
    assert (r["error_code"], r["producer_epoch"]) == (NONE, 0)
    return r["producer_id"]


def test_a_repeat_is_answered_with_the_old_offset(connect, topic):
    c = connect()
    p = new_producer(c)
    batches = [batch(b"a%d" % i, b"b", producer=(p, 0, i * 2)) for i in range(6)]
    assert [append(c, topic, b) for b in batches] == [0, 2, 4, 6, 8, 10]
    for i in (5, 3, 1):
        r = produce(c, topic, batches[i])
        assert (r["error_code"], r["base_offset"]) == (NONE, i * 2)
    assert produce(c, topic, batches[0])["error_code"] == OUT_OF_ORDER, "five are remembered"
    assert append(c, topic, batch(b"next", producer=(p, 0, 12))) == 12


def test_gaps_and_epochs(connect, topic):
    c = connect()
    p = new_producer(c)
    append(c, topic, batch(b"a", b"b", producer=(p, 1, 0)))
    assert produce(c, topic, batch(b"gap", producer=(p, 1, 3)))["error_code"] == OUT_OF_ORDER
    assert produce(c, topic, batch(b"part", producer=(p, 1, 1)))["error_code"] == OUT_OF_ORDER
    assert produce(c, topic, batch(b"old", producer=(p, 0, 2)))["error_code"] == BAD_EPOCH
    assert produce(c, topic, batch(b"new", producer=(p, 2, 2)))["error_code"] == OUT_OF_ORDER
    assert append(c, topic, batch(b"new", producer=(p, 2, 0))) == 2
    assert produce(c, topic, batch(b"c", producer=(p, 1, 2)))["error_code"] == BAD_EPOCH


def test_an_unknown_producer_starts_anywhere(connect, topic):
    c = connect()
    assert append(c, topic, batch(b"a", producer=(new_producer(c), 0, 17))) == 0


def test_sequences_belong_to_a_partition(connect, topic):
    c = connect()
    p = new_producer(c)
    assert append(c, topic, batch(b"a", producer=(p, 0, 0)), partition=0) == 0
    assert append(c, topic, batch(b"a", producer=(p, 0, 0)), partition=1) == 0


def test_sequences_wrap(connect, topic):
    c = connect()
    p = new_producer(c)
    append(c, topic, batch(b"a", b"b", producer=(p, 0, 2**31 - 2)))
    assert append(c, topic, batch(b"c", producer=(p, 0, 0))) == 2


def test_a_producer_without_a_sequence_is_invalid(connect, topic):
    c = connect()
    assert produce(c, topic, batch(b"a", producer=(new_producer(c), 0, -1)))["error_code"] == INVALID_RECORD


@pytest.mark.parametrize("version", range(0, 6))
def test_producer_ids_are_new_each_time(connect, version):
    c = connect()
    ids = [c.call("InitProducerId", version, transactional_id=None, transaction_timeout_ms=1000, producer_id=-1, producer_epoch=-1) for _ in range(3)]
    assert len({r["producer_id"] for r in ids}) == 3 and {(r["error_code"], r["producer_epoch"]) for r in ids} == {(NONE, 0)}


@pytest.mark.parametrize("named", [(5, -1), (-1, 5)])
def test_half_a_name_is_invalid(connect, named):
    r = connect().call("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=1000, producer_id=named[0], producer_epoch=named[1])
    assert (r["error_code"], r["producer_id"]) == (42, -1)


def test_a_named_producer_without_transactions_gets_a_new_id(connect):
    c = connect()
    p = new_producer(c)
    r = c.call("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=1000, producer_id=p, producer_epoch=0)
    assert (r["error_code"], r["producer_epoch"]) == (NONE, 0) and r["producer_id"] != p


def test_an_empty_transactional_id_is_invalid(connect):
    r = connect().call("InitProducerId", 4, transactional_id="", transaction_timeout_ms=1000, producer_id=-1, producer_epoch=-1)
    assert r["error_code"] == 42


@pytest.mark.parametrize("codec,number", [("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4), ("uncompressed", 0), ("producer", 1)])
def test_a_topic_may_have_a_codec_of_its_own(connect, codec, number):
    c = connect()
    t = make_topic(c, compression_type=codec)
    p = new_producer(c)
    whole = batch(b"a" * 500, key=b"k", attributes=1, records=gzip.compress(record(0, b"k", b"a" * 500, headers=[(b"h", b"v")])), producer=(p, 0, 0))
    assert append(c, t, whole) == 0
    assert append(c, t, batch(b"b", producer=(p, 0, 1))) == 1
    assert produce(c, t, whole)["base_offset"] == 0, "a repeat is known by its number, whatever its bytes"
    kept, _ = parse(parts(fetch(c, wanted(t, 0)))[t, 0]["records"])
    assert [(k[0], k[2] & 7, k[4]) for k in kept] == [(0, number, 1), (1, number if codec != "producer" else 0, 1)]


def test_a_partition_named_twice_counts_once(connect):
    c = connect()
    t = make_topic(c, 2)
    r = c.call("Produce", 8, transactional_id=None, acks=-1, timeout_ms=1000, topic_data=[
        dict(name=t, partition_data=[dict(index=0, records=batch(b"first")), dict(index=0, records=batch(b"second", b"third"))]),
        dict(name=t, partition_data=[dict(index=1, records=batch(b"x"))]), dict(name="no-partitions", partition_data=[])])
    answers = [(x["name"], p["index"], p["error_code"], p["base_offset"]) for x in r["responses"] for p in x["partition_responses"]]
    assert sorted(answers) == [(t, 0, NONE, 0), (t, 1, NONE, 0)]
    assert {x["name"] for x in r["responses"]} == {t}
    assert list_offset(c, t, -1)["offset"] == 2, "what is said last counts"


@pytest.mark.parametrize("fields,error", [
    (dict(attributes=5), -1), (dict(attributes=7), -1), (dict(attributes=1), -1), (dict(attributes=2), -1), (dict(attributes=4), -1),
])
def test_a_codec_that_cannot_be_read_fails_inside(connect, topic, fields, error):
    assert produce(connect(), topic, batch(b"x", **fields))["error_code"] == error


@pytest.mark.parametrize("tail,error", [(b"zz", NONE), (b"z" * 60, CORRUPT), (b"\0" * 61, CORRUPT), (batch(b"y"), 87)])
def test_what_follows_a_batch(connect, topic, tail, error):
    assert produce(connect(), topic, batch(b"x") + tail)["error_code"] == error


def test_a_refusal_tells_the_log_start_where_the_log_looked(connect, topic):
    c = connect()
    for fields, error, start in [(dict(base_offset=7), 87, 0), (dict(attributes=32), 87, 0), (dict(count=0, last_delta=-1), 87, 0),
                                 (dict(crc=1), CORRUPT, -1), (dict(magic=1), 87, -1), (dict(magic=3), CORRUPT, -1)]:
        r = produce(c, topic, batch(b"x", **fields))
        assert (r["error_code"], r["base_offset"], r["log_start_offset"]) == (error, -1, start), fields


def test_a_topic_cannot_want_more_replicas_in_sync_than_it_has(connect):
    c = connect()
    t = make_topic(c, min_insync_replicas="2")
    assert [produce(c, t, batch(b"x"), acks=acks)["error_code"] for acks in (-1, 1)] == [NONE, NONE]


def test_a_repeat_is_answered_with_the_time_of_the_first(connect, topic):
    c = connect()
    once = batch(b"x", at=1000, producer=(4711, 0, 0))
    assert produce(c, topic, once)["log_append_time_ms"] == -1
    assert produce(c, topic, once)["log_append_time_ms"] == 1000


def test_why_records_are_refused(connect, topic):
    c = connect()
    r = produce(c, topic, batch(b"x", b"y", times=[0, 2 * 3600 * 1000]))
    assert (r["error_code"], r["error_message"]) == (32, "One or more records have been rejected due to invalid timestamp")
    assert [x["batch_index"] for x in r["record_errors"]] == [1] and r["record_errors"][0]["batch_index_error_message"]
    t = make_topic(c, cleanup_policy="compact")
    r = produce(c, t, batch(b"x"))
    assert [(x["batch_index"], x["batch_index_error_message"]) for x in r["record_errors"]] == [
        (0, f"Compacted topic cannot accept message without key in topic partition {t}-0")]
