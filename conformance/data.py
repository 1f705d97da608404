"""Produce, Fetch and topics in one line each."""
import time
import uuid

from wire import NO_ID, NONE

TIMED_OUT, OUT_OF_RANGE, CORRUPT, TOO_LARGE = 7, 1, 2, 10


def make_topic(c, partitions=1, name=None, **configs):
    """A topic that everybody knows of; Kafka tells of it a moment after it is made."""
    name = name or f"t-{uuid.uuid4().hex[:10]}"
    r = c.call("CreateTopics", 4, timeout_ms=10000, validate_only=False, topics=[dict(
        name=name, num_partitions=partitions, replication_factor=1, assignments=[],
        configs=[dict(name=k.replace("_", "."), value=v) for k, v in configs.items()])])
    assert r["topics"][0]["error_code"] == NONE, r
    await_topic(c, name, partitions)
    return name


def await_topic(c, name, partitions):
    """Kafka names a topic in Metadata before its partitions are led: waits until they answer."""
    end = time.monotonic() + 10
    while any(list_offset(c, name, -1, partition=p)["error_code"] != NONE for p in range(partitions)):
        assert time.monotonic() < end
        time.sleep(0.02)


def list_offset(c, topic, at, partition=0, version=6, epoch=-1):
    """ListOffsets' answer of one partition."""
    r = c.call("ListOffsets", version, replica_id=-1, isolation_level=0, timeout_ms=1000, topics=[dict(
        name=topic, partitions=[dict(partition_index=partition, current_leader_epoch=epoch, timestamp=at)])])
    return r["topics"][0]["partitions"][0]


def describe(c, name, version=10):
    return c.call("Metadata", version, topics=[dict(name=name, topic_id=NO_ID)], allow_auto_topic_creation=False)["topics"][0]


def topic_id(c, name):
    return describe(c, name)["topic_id"]


def send_produce(c, topic, records, partition=0, version=8, acks=-1, transactional_id=None, id=NO_ID):
    c.send("Produce", version, transactional_id=transactional_id, acks=acks, timeout_ms=10000,
           topic_data=[dict(name=topic, topic_id=id, partition_data=[dict(index=partition, records=records)])])


def produce(c, topic, records, **options):
    """The answer of the one partition."""
    send_produce(c, topic, records, **options)
    r = c.receive()
    assert r is not None
    return r["responses"][0]["partition_responses"][0]


def append(c, topic, records, **options):
    """Where it was appended."""
    r = produce(c, topic, records, **options)
    assert r["error_code"] == NONE, r
    return r["base_offset"]


def wanted(topic, *offsets, id=NO_ID, max_bytes=1 << 20, partitions=None, epoch=-1):
    """What to fetch of a topic: offsets of its partitions 0, 1, ..."""
    partitions = range(len(offsets)) if partitions is None else partitions
    return dict(topic=topic, topic_id=id, partitions=[
        dict(partition=p, fetch_offset=o, partition_max_bytes=max_bytes, current_leader_epoch=epoch, last_fetched_epoch=-1, log_start_offset=-1)
        for p, o in zip(partitions, offsets)])


def send_fetch(c, *topics, version=11, wait=0, min_bytes=1, max_bytes=50 << 20, session=(0, -1), forget=()):
    c.send("Fetch", version, max_wait_ms=wait, min_bytes=min_bytes, max_bytes=max_bytes, isolation_level=0, session_id=session[0],
           session_epoch=session[1], topics=list(topics), forgotten_topics_data=list(forget), rack_id="", replica_id=-1)


def fetch(c, *topics, **options):
    send_fetch(c, *topics, **options)
    r = c.receive(15)
    assert r is not None
    return r


def parts(answer):
    """The answer's partitions by (topic or id, index)."""
    return {(str(t.get("topic") or t.get("topic_id")), p["partition_index"]): p for t in answer["responses"] for p in t["partitions"]}
