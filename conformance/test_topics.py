"""Metadata, CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords (spec: KafkaApis, ReplicationControlManager)."""
import time
import uuid

import pytest
from batches import batch
from data import append, await_topic, describe, list_offset, make_topic, topic_id
from wire import INVALID_REQUEST, NO_ID, NONE, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID

INVALID_TOPIC, EXISTS, BAD_PARTITIONS, BAD_FACTOR, BAD_ASSIGNMENT, BAD_CONFIG, OUT_OF_RANGE, LEADER_NOT_AVAILABLE = 17, 36, 37, 38, 39, 40, 1, 5


def name():
    return f"t-{uuid.uuid4().hex[:10]}"


def metadata(c, version, *names, ids=(), create=False):
    topics = [dict(name=n, topic_id=NO_ID) for n in names] + [dict(name=None, topic_id=i) for i in ids]
    return c.call("Metadata", version, topics=topics, allow_auto_topic_creation=create, include_cluster_authorized_operations=False,
                  include_topic_authorized_operations=False)


@pytest.mark.parametrize("version", range(0, 14))
def test_every_version_describes(connect, topic, version):
    c = connect()
    r = metadata(c, version, topic)
    t, = r["topics"]
    assert (t["error_code"], t["name"], sorted(p["partition_index"] for p in t["partitions"])) == (NONE, topic, [0, 1, 2, 3])
    broker, = r["brokers"]
    for p in t["partitions"]:
        assert (p["error_code"], p["leader_id"]) == (NONE, broker["node_id"])
        assert p["replica_nodes"] == p["isr_nodes"] == [broker["node_id"]]
        if version >= 5:
            assert p["offline_replicas"] == []
        if version >= 7:
            assert p["leader_epoch"] == 0
    if version >= 1:
        assert r["controller_id"] == broker["node_id"] and t["is_internal"] is False
    if version >= 2:
        assert r["cluster_id"]
    if version >= 10:
        assert t["topic_id"] != NO_ID


@pytest.mark.parametrize("version", [0, 1, 4, 9, 13])
def test_all_topics_and_none(connect, topic, version):
    c = connect()

    def names(topics):
        r = c.call("Metadata", version, topics=topics, allow_auto_topic_creation=True)
        return {t["name"] for t in r["topics"]}

    if version == 0:
        assert topic in names([])
    else:
        assert topic in names(None) and names([]) == set()


def test_internal_topics_are_marked(connect):
    t, = metadata(connect(), 9, "__consumer_offsets")["topics"]
    assert t["is_internal"] is True and len(t["partitions"]) == 50


@pytest.mark.parametrize("version", [1, 4, 9, 12])
def test_an_unknown_topic_is_an_error(connect, version):
    c, t = connect(), name()
    if version < 4:
        t = "bad name!"  # these versions always create
    r = metadata(c, version, t)["topics"][0]
    assert (r["error_code"], r["name"], r["partitions"]) == (UNKNOWN_TOPIC if version >= 4 else INVALID_TOPIC, t, [])
    if version >= 10:
        assert r["topic_id"] in (None, NO_ID)


@pytest.mark.parametrize("version", [1, 4, 9, 13])
def test_an_unknown_topic_is_made_and_the_question_repeated(connect, version):
    c, t = connect(), name()
    ask = lambda: metadata(c, version, t, create=True)["topics"][0]
    first = ask()
    assert first["error_code"] in (UNKNOWN_TOPIC, LEADER_NOT_AVAILABLE) and first["partitions"] == []
    until = time.monotonic() + 10
    while (later := ask())["error_code"] != 0:
        assert time.monotonic() < until, later
        time.sleep(0.02)
    assert later["name"] == t and later["partitions"]


@pytest.mark.parametrize("bad", ["", ".", "..", "a b", "ä", "x" * 250, "a/b"])
def test_names_that_cannot_be(connect, bad):
    for create in (True, False):
        assert metadata(connect(), 9, bad, create=create)["topics"][0]["error_code"] == INVALID_TOPIC, create


@pytest.mark.parametrize("version", [0, 3, 4, 8, 12, 13])
def test_a_topic_is_made_by_asking_for_it(connect, version):
    c, t = connect(), name()
    end = time.monotonic() + 10
    while (r := metadata(c, version, t, create=True)["topics"][0])["error_code"] != NONE:
        assert r["error_code"] in (UNKNOWN_TOPIC, 5) and time.monotonic() < end
        time.sleep(0.02)
    assert len(r["partitions"]) == 1
    await_topic(c, t, 1)


def test_no_topic_is_made_that_collides(connect):
    c = connect()
    t = make_topic(c, name=name().replace("-", ".") + ".x")
    for _ in range(3):
        r = metadata(c, 9, t.replace(".", "_"), create=True)["topics"][0]
        assert r["error_code"] == UNKNOWN_TOPIC


def test_topics_by_id(connect, topic):
    c, ghost = connect(), uuid.uuid4()
    id = topic_id(c, topic)
    for version in (12, 13):
        r = metadata(c, version, ids=[id, ghost])["topics"]
        by_id = {t["topic_id"]: (t["error_code"], t["name"], len(t["partitions"])) for t in r}
        assert by_id == {id: (NONE, topic, 4), ghost: (UNKNOWN_TOPIC_ID, None, 0)}


@pytest.mark.parametrize("version", [10, 11])
def test_ids_before_version_12_spoil_the_request(connect, topic, version):
    c = connect()
    r = c.call("Metadata", version, topics=[dict(name=topic, topic_id=NO_ID), dict(name=topic, topic_id=topic_id(c, topic))],
               allow_auto_topic_creation=False)
    assert {t["error_code"] for t in r["topics"]} == {INVALID_REQUEST}


def test_a_topic_named_twice_is_told_once(connect, topic):
    assert [t["name"] for t in metadata(connect(), 9, topic, topic)["topics"]] == [topic]


def create(c, *topics, version=5, validate_only=False):
    made = [dict(dict(num_partitions=1, replication_factor=1, assignments=[], configs=[]), **t) for t in topics]
    return c.call("CreateTopics", version, topics=made, timeout_ms=10000, validate_only=validate_only)["topics"]


@pytest.mark.parametrize("version", range(2, 8))
def test_every_version_creates(connect, version):
    c, t = connect(), name()
    r, = create(c, dict(name=t, num_partitions=3, configs=[dict(name="retention.ms", value="1234567")]), version=version)
    assert (r["name"], r["error_code"], r["error_message"]) == (t, NONE, None)
    if version >= 5:
        assert (r["num_partitions"], r["replication_factor"]) == (3, 1)
        kept = {x["name"]: (x["value"], x["config_source"], x["read_only"], x["is_sensitive"]) for x in r["configs"]}
        assert kept["retention.ms"] == ("1234567", 1, False, False)
        assert kept["cleanup.policy"] == ("delete", 5, False, False)
    await_topic(c, t, 3)
    if version >= 7:
        assert r["topic_id"] == topic_id(c, t) != NO_ID


def test_the_broker_chooses_where_asked(connect):
    c, t = connect(), name()
    r, = create(c, dict(name=t, num_partitions=-1, replication_factor=-1))
    assert (r["error_code"], r["num_partitions"], r["replication_factor"]) == (NONE, 1, 1)


@pytest.mark.parametrize("fields,error", [
    (dict(num_partitions=0), BAD_PARTITIONS), (dict(num_partitions=-2), BAD_PARTITIONS),
    (dict(replication_factor=0), BAD_FACTOR), (dict(replication_factor=2), BAD_FACTOR), (dict(replication_factor=-2), BAD_FACTOR),
    (dict(configs=[dict(name="no.such.config", value="1")]), BAD_CONFIG),
    (dict(configs=[dict(name="retention.ms", value="abc")]), BAD_CONFIG),
    (dict(configs=[dict(name="retention.ms", value=None)]), BAD_CONFIG),
    (dict(configs=[dict(name="retention.ms", value="-2")]), BAD_CONFIG),
    (dict(configs=[dict(name="segment.bytes", value="1000")]), BAD_CONFIG),
    (dict(configs=[dict(name="cleanup.policy", value="shred")]), BAD_CONFIG),
    (dict(configs=[dict(name="min.insync.replicas", value="0")]), BAD_CONFIG),
    (dict(configs=[dict(name="message.timestamp.type", value="Never")]), BAD_CONFIG),
    (dict(configs=[dict(name="compression.type", value="rar")]), BAD_CONFIG),
    (dict(name="bad name!"), INVALID_TOPIC), (dict(name=""), INVALID_TOPIC), (dict(name=".."), INVALID_TOPIC), (dict(name="x" * 250), INVALID_TOPIC),
    (dict(assignments=[dict(partition_index=0, broker_ids=[1])]), INVALID_REQUEST),
    (dict(num_partitions=-1, replication_factor=-1, assignments=[dict(partition_index=0, broker_ids=[77])]), BAD_ASSIGNMENT),
    (dict(num_partitions=-1, replication_factor=-1, assignments=[dict(partition_index=1, broker_ids=[1])]), BAD_ASSIGNMENT),
    (dict(num_partitions=-1, replication_factor=-1, assignments=[dict(partition_index=0, broker_ids=[])]), BAD_ASSIGNMENT),
    (dict(num_partitions=-1, replication_factor=-1, assignments=[dict(partition_index=0, broker_ids=[1, 1])]), BAD_ASSIGNMENT),
    (dict(num_partitions=-1, replication_factor=-1, assignments=[dict(partition_index=0, broker_ids=[1])] * 2), BAD_ASSIGNMENT),
])
def test_topics_that_are_not_made(connect, fields, error):
    c, t = connect(), name()
    for validate_only in (True, False):
        r, = create(c, dict(dict(name=t), **fields), validate_only=validate_only)
        assert r["error_code"] == error and r["error_message"], r
        assert r["num_partitions"] == r["replication_factor"] == -1
        assert not r["configs"]
    assert describe(c, t)["error_code"] == UNKNOWN_TOPIC


@pytest.mark.parametrize("configs", [
    {"compression.type": "gzip"}, {"compression.type": "zstd"}, {"compression.type": "uncompressed"}, {"cleanup.policy": "compact, delete"},
    {"cleanup.policy": "delete,compact"}, {"min.insync.replicas": "2"}, {"retention.ms": "-1"}, {"retention.bytes": "-1"},
    {"segment.ms": "100"}, {"max.compaction.lag.ms": "100"}, {"min.cleanable.dirty.ratio": "0.01"}, {"remote.storage.enable": "false"},
    {"local.retention.ms": "-2"}, {"local.retention.bytes": "-2"}, {"message.timestamp.type": "CreateTime"},
    {"leader.replication.throttled.replicas": "*"}, {"follower.replication.throttled.replicas": ""}, {"file.delete.delay.ms": "0"},
    {"unclean.leader.election.enable": "true"}, {"index.interval.bytes": "0"}, {"preallocate": "true"}, {"flush.messages": "1"},
], ids=str)
def test_configurations_that_are_taken(connect, configs):
    c, t = connect(), name()
    r, = create(c, dict(name=t, configs=[dict(name=k, value=v) for k, v in configs.items()]), validate_only=True)
    assert r["error_code"] == NONE, r


def test_topics_by_assignment(connect):
    c, t = connect(), name()
    node = metadata(c, 9)["brokers"][0]["node_id"]
    r, = create(c, dict(name=t, num_partitions=-1, replication_factor=-1,
                        assignments=[dict(partition_index=p, broker_ids=[node]) for p in (1, 0)]))
    assert (r["error_code"], r["num_partitions"]) == (NONE, 2)
    await_topic(c, t, 2)


def test_a_topic_exists_once(connect, topic):
    r, = create(connect(), dict(name=topic))
    assert (r["error_code"], r["error_message"]) == (EXISTS, f"Topic '{topic}' already exists.")


def test_names_that_differ_in_dots_only_collide(connect):
    c = connect()
    t = make_topic(c, name=name().replace("-", ".") + ".x")
    r, = create(c, dict(name=t.replace(".", "_")))
    assert r["error_code"] == INVALID_TOPIC and "collides" in r["error_message"]


def test_a_topic_twice_in_one_request_is_not_made(connect):
    c, t, other = connect(), name(), name()
    r = create(c, dict(name=t), dict(name=other), dict(name=t))
    assert sorted((x["name"], x["error_code"]) for x in r) == sorted([(t, INVALID_REQUEST), (other, NONE)])


def test_validation_makes_nothing(connect):
    c, t = connect(), name()
    r, = create(c, dict(name=t, num_partitions=2), version=7, validate_only=True)
    assert (r["error_code"], r["num_partitions"]) == (NONE, 2)
    assert describe(c, t)["error_code"] == UNKNOWN_TOPIC


def delete(c, version=6, names=(), topics=()):
    asked = [dict(name=n, topic_id=NO_ID) for n in names] + list(topics)
    return c.call("DeleteTopics", version, topics=asked, topic_names=list(names), timeout_ms=10000)["responses"]


@pytest.mark.parametrize("version", range(1, 7))
def test_every_version_deletes(connect, topic, version):
    c = connect()
    r = {x["name"]: x["error_code"] for x in delete(c, version, [topic, "no-such-topic"])}
    assert r == {topic: NONE, "no-such-topic": UNKNOWN_TOPIC}
    end = time.monotonic() + 5
    while describe(c, topic)["error_code"] != UNKNOWN_TOPIC:
        assert time.monotonic() < end


def test_topics_are_deleted_by_id(connect, topic):
    c, ghost = connect(), uuid.uuid4()
    id = topic_id(c, topic)
    r = {x["topic_id"]: (x["error_code"], x["name"]) for x in delete(c, topics=[dict(name=None, topic_id=id), dict(name=None, topic_id=ghost)])}
    assert r == {id: (NONE, topic), ghost: (UNKNOWN_TOPIC_ID, None)}


def test_a_delete_says_one_thing_once(connect, topic):
    c = connect()
    id = topic_id(c, topic)
    r = delete(c, topics=[dict(name=topic, topic_id=id)])
    assert [x["error_code"] for x in r] == [INVALID_REQUEST]
    r = delete(c, topics=[dict(name=None, topic_id=NO_ID)])
    assert [x["error_code"] for x in r] == [INVALID_REQUEST]
    r = delete(c, names=[topic, topic])
    assert [(x["name"], x["error_code"]) for x in r] == [(topic, INVALID_REQUEST)]
    r = delete(c, topics=[dict(name=topic, topic_id=NO_ID), dict(name=None, topic_id=id)])
    assert {x["error_code"] for x in r} == {INVALID_REQUEST}
    assert describe(c, topic)["error_code"] == NONE


def grow(c, *topics, version=2, validate_only=False):
    r = c.call("CreatePartitions", version, timeout_ms=10000, validate_only=validate_only,
               topics=[dict(name=t, count=n, assignments=a) for t, n, a in topics])
    return {x["name"]: (x["error_code"], x["error_message"]) for x in r["results"]}


@pytest.mark.parametrize("version", range(0, 4))
def test_topics_grow(connect, topic, version):
    c = connect()
    append(c, topic, batch(b"a"))
    assert grow(c, (topic, 6, None), version=version) == {topic: (NONE, None)}
    await_topic(c, topic, 6)
    assert len(describe(c, topic)["partitions"]) == 6 and list_offset(c, topic, -1)["offset"] == 1


def test_topics_do_not_shrink(connect, topic):
    c = connect()
    for n in (4, 3, 0, -1):
        assert grow(c, (topic, n, None))[topic][0] == BAD_PARTITIONS, n
    assert grow(c, ("no-such-topic", 4, None))["no-such-topic"][0] == UNKNOWN_TOPIC
    assert {k: v[0] for k, v in grow(c, (topic, 5, None), (topic, 6, None)).items()} == {topic: INVALID_REQUEST}


def test_new_partitions_by_assignment(connect, topic):
    c = connect()
    node = metadata(c, 9)["brokers"][0]["node_id"]
    assert grow(c, (topic, 6, [dict(broker_ids=[node])]))[topic][0] == BAD_ASSIGNMENT
    assert grow(c, (topic, 5, [dict(broker_ids=[77])]))[topic][0] == BAD_ASSIGNMENT
    assert grow(c, (topic, 5, [dict(broker_ids=[])]))[topic][0] == BAD_ASSIGNMENT
    assert grow(c, (topic, 5, [dict(broker_ids=[node])]), validate_only=True)[topic][0] == NONE
    assert len(describe(c, topic)["partitions"]) == 4
    assert grow(c, (topic, 5, [dict(broker_ids=[node])]))[topic][0] == NONE
    await_topic(c, topic, 5)


@pytest.mark.parametrize("version", range(0, 3))
def test_records_are_deleted(connect, topic, version):
    c = connect()
    for _ in range(5):
        append(c, topic, batch(b"a"))

    def delete_records(offset, t=topic, partition=0):
        r = c.call("DeleteRecords", version, timeout_ms=5000, topics=[dict(name=t, partitions=[dict(partition_index=partition, offset=offset)])])
        p = r["topics"][0]["partitions"][0]
        return p["error_code"], p["low_watermark"]

    assert delete_records(2) == (NONE, 2)
    assert delete_records(1) == (NONE, 2), "it does not go back"
    assert delete_records(6) == (OUT_OF_RANGE, -1)
    assert delete_records(-2) == (OUT_OF_RANGE, -1)
    assert list_offset(c, topic, -2)["offset"] == 2
    assert delete_records(-1) == (NONE, 5)
    assert (list_offset(c, topic, -2)["offset"], list_offset(c, topic, -1)["offset"]) == (5, 5)
    assert delete_records(0, partition=99) == (UNKNOWN_TOPIC, -1)
    assert delete_records(0, t="no-such-topic") == (UNKNOWN_TOPIC, -1)
    assert append(c, topic, batch(b"a")) == 5
