"""ListOffsets, OffsetForLeaderEpoch, FindCoordinator, DescribeCluster, DescribeConfigs and its changes."""
import time

import pytest
from batches import batch
from data import append, list_offset, make_topic
from wire import INVALID_REQUEST, NONE, UNKNOWN_TOPIC, UNSUPPORTED_VERSION

LATEST, EARLIEST, MAX_TIME, EARLIEST_LOCAL, TIERED = -1, -2, -3, -4, -5
FENCED_EPOCH, UNKNOWN_EPOCH, BAD_CONFIG, INVALID_TOPIC = 74, 75, 40, 17


def look(c, topic, at, **options):
    r = list_offset(c, topic, at, **options)
    return r["error_code"], r["offset"], r["timestamp"]


@pytest.mark.parametrize("version", range(1, 11))
def test_every_version_of_list_offsets(connect, topic, version):
    c = connect()
    for t in (1000, 3000, 2000):
        append(c, topic, batch(b"a", b"b", at=t))
    assert look(c, topic, LATEST, version=version) == (NONE, 6, -1)
    assert look(c, topic, EARLIEST, version=version) == (NONE, 0, -1)
    assert look(c, topic, 0, version=version) == (NONE, 0, 1000)
    assert look(c, topic, 1000, version=version) == (NONE, 0, 1000)
    assert look(c, topic, 1001, version=version) == (NONE, 2, 3000)
    assert look(c, topic, 2500, version=version) == (NONE, 2, 3000)
    assert look(c, topic, 3001, version=version) == (NONE, -1, -1)
    for since, at, answer in ((7, MAX_TIME, (NONE, 2, 3000)), (8, EARLIEST_LOCAL, (NONE, 0, -1)), (9, TIERED, (NONE, -1, -1))):
        wanted = answer if version >= since else (UNSUPPORTED_VERSION, -1, -1)
        assert look(c, topic, at, version=version) == wanted, at
    assert look(c, topic, -7, version=version) == (UNSUPPORTED_VERSION, -1, -1)
    if version >= 4:
        assert list_offset(c, topic, LATEST, version=version)["leader_epoch"] == 0
        assert list_offset(c, topic, 1000, version=version)["leader_epoch"] == 0
        assert list_offset(c, topic, 3001, version=version)["leader_epoch"] == -1


def test_times_inside_a_batch(connect, topic):
    c = connect()
    append(c, topic, batch(b"a", b"b", b"c", at=1000, times=[0, 100, 50]))
    assert look(c, topic, 1001) == (NONE, 1, 1100)
    assert look(c, topic, 1100) == (NONE, 1, 1100)
    assert look(c, topic, MAX_TIME, version=7) == (NONE, 1, 1100)


def test_an_empty_partition_has_an_end_and_no_times(connect, topic):
    c = connect()
    assert look(c, topic, LATEST) == look(c, topic, EARLIEST) == (NONE, 0, -1)
    assert look(c, topic, 5) == (NONE, -1, -1)
    assert look(c, topic, MAX_TIME, version=7) == (NONE, -1, -1)


def test_deleted_records_are_not_found_by_time(connect, topic):
    c = connect()
    for t in (1000, 2000, 3000):
        append(c, topic, batch(b"a", at=t))
    c.call("DeleteRecords", 1, timeout_ms=5000, topics=[dict(name=topic, partitions=[dict(partition_index=0, offset=2)])])
    assert look(c, topic, EARLIEST) == (NONE, 2, -1)
    assert look(c, topic, 500) == (NONE, 2, 3000)


def test_list_offsets_of_what_is_not_there(connect, topic):
    c = connect()
    assert look(c, "no-such-topic", LATEST) == look(c, topic, LATEST, partition=99) == (UNKNOWN_TOPIC, -1, -1)
    assert look(c, topic, LATEST, epoch=0)[0] == NONE
    assert look(c, topic, LATEST, epoch=5)[0] == UNKNOWN_EPOCH


def test_a_partition_asked_for_twice_is_a_mistake(connect, topic):
    ask = [dict(partition_index=p, current_leader_epoch=-1, timestamp=-1) for p in (0, 1, 0)]
    r = connect().call("ListOffsets", 6, replica_id=-1, isolation_level=0, topics=[dict(name=topic, partitions=ask)])
    assert {(p["partition_index"], p["error_code"]) for p in r["topics"][0]["partitions"]} >= {(0, INVALID_REQUEST), (1, NONE)}


@pytest.mark.parametrize("version", [2, 3, 4])
def test_ends_of_leader_epochs(connect, topic, version):
    c = connect()
    append(c, topic, batch(b"a", b"b"))

    def end(epoch, current=-1, t=topic, partition=0):
        r = c.call("OffsetForLeaderEpoch", version, replica_id=-1, topics=[dict(topic=t, partitions=[
            dict(partition=partition, current_leader_epoch=current, leader_epoch=epoch)])])
        p = r["topics"][0]["partitions"][0]
        return p["error_code"], p["leader_epoch"], p["end_offset"]

    assert end(0) == end(0, current=0) == (NONE, 0, 2)
    assert end(7) == (NONE, -1, -1)
    assert end(-1) == (NONE, -1, -1)
    assert end(0, current=3) == (UNKNOWN_EPOCH, -1, -1)
    assert end(0, partition=99) == end(0, t="no-such-topic") == (UNKNOWN_TOPIC, -1, -1)


@pytest.mark.parametrize("version", range(0, 7))
def test_every_version_finds_the_coordinator(connect, version):
    c = connect()
    broker, = c.call("Metadata", 1, topics=[])["brokers"]
    where = (NONE, broker["node_id"], broker["host"], broker["port"])
    for key in ("some-group", ""):
        r = c.call("FindCoordinator", version, key=key, key_type=0, coordinator_keys=[key])
        if version >= 4:
            r, = r["coordinators"]
            assert r["key"] == key
        assert (r["error_code"], r["node_id"], r["host"], r["port"]) == where
        if version >= 1:
            assert r["error_message"] in (None, "", "NONE")


def test_several_coordinators_at_once(connect):
    r = connect().call("FindCoordinator", 4, key_type=0, coordinator_keys=["a", "b", "c"])
    assert [(x["key"], x["error_code"]) for x in r["coordinators"]] == [("a", NONE), ("b", NONE), ("c", NONE)]


@pytest.mark.parametrize("version,kind", [(1, 2), (4, 2), (5, 2), (4, 9), (1, -1), (6, 77)])
def test_other_kinds_of_keys(connect, version, kind):
    r = connect().call("FindCoordinator", version, key="k", key_type=kind, coordinator_keys=["k"])
    if version >= 4:
        r, = r["coordinators"]
    assert (r["error_code"], r["node_id"], r["host"], r["port"]) == (INVALID_REQUEST, -1, "", -1)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_cluster_is_described(connect, version):
    c = connect()
    r = c.call("DescribeCluster", version, include_cluster_authorized_operations=False, endpoint_type=1, include_fenced_brokers=False)
    m = c.call("Metadata", 9, topics=[])
    assert (r["error_code"], r["error_message"], r["cluster_id"], r["controller_id"]) == (NONE, None, m["cluster_id"], m["controller_id"])
    assert [(b["broker_id"], b["host"], b["port"], b["rack"]) for b in r["brokers"]] == [
        (b["node_id"], b["host"], b["port"], b["rack"]) for b in m["brokers"]]


@pytest.mark.parametrize("kind,error", [(2, 115), (3, 115)])
def test_other_endpoints_are_not_here(connect, kind, error):
    r = connect().call("DescribeCluster", 1, include_cluster_authorized_operations=False, endpoint_type=kind)
    assert r["error_code"] in (114, error)


def configs(c, kind, name, *keys, version=4, synonyms=False, documentation=False):
    r = c.call("DescribeConfigs", version, include_synonyms=synonyms, include_documentation=documentation, resources=[
        dict(resource_type=kind, resource_name=name, configuration_keys=list(keys) or None)])
    r, = r["results"]
    return r["error_code"], {x["name"]: x for x in r["configs"]}


@pytest.mark.parametrize("version", range(1, 5))
def test_every_version_describes_configurations(connect, version):
    c = connect()
    t = make_topic(c, retention_ms="12345")
    error, r = configs(c, 2, t, version=version, synonyms=True)
    assert error == NONE and len(r) > 20
    x = r["retention.ms"]
    assert (x["value"], x["config_source"], x["read_only"], x["is_sensitive"]) == ("12345", 1, False, False)
    assert [s["value"] for s in x["synonyms"]][0] == "12345" and x["synonyms"][0]["source"] == 1
    assert r["cleanup.policy"]["value"] == "delete" and r["cleanup.policy"]["config_source"] == 5
    if version >= 3:
        kinds = {n: r[n]["config_type"] for n in ("retention.ms", "cleanup.policy", "preallocate", "segment.bytes", "min.cleanable.dirty.ratio",
                                                  "message.timestamp.type")}
        assert kinds == {"retention.ms": 5, "cleanup.policy": 7, "preallocate": 1, "segment.bytes": 3, "min.cleanable.dirty.ratio": 6,
                         "message.timestamp.type": 2}


def test_some_configurations(connect, topic):
    c = connect()
    error, r = configs(c, 2, topic, "retention.ms", "no.such.config", "segment.bytes")
    assert error == NONE and set(r) == {"retention.ms", "segment.bytes"}
    assert (r["retention.ms"]["value"], r["segment.bytes"]["value"]) == ("604800000", "1073741824")
    r = c.call("DescribeConfigs", 4, include_synonyms=False, include_documentation=False,
               resources=[dict(resource_type=2, resource_name=topic, configuration_keys=[])])["results"][0]
    assert r["configs"] == [] or len(r["configs"]) > 20


def test_the_broker_is_described(connect):
    c = connect()
    node = c.call("Metadata", 1, topics=[])["brokers"][0]["node_id"]
    error, r = configs(c, 4, str(node))
    assert error == NONE
    assert r["group.max.size"]["value"] == "5" and r["group.max.size"]["config_source"] == 4
    for name in ("node.id", "num.partitions", "log.retention.ms", "offsets.topic.num.partitions", "message.max.bytes", "auto.create.topics.enable",
                 "log.segment.bytes", "log.cleanup.policy", "compression.type", "default.replication.factor", "min.insync.replicas"):
        assert name in r, name
    assert r["node.id"]["read_only"] is True


@pytest.mark.parametrize("kind,name,error", [(2, "no-such-topic", UNKNOWN_TOPIC), (2, "bad name!", INVALID_TOPIC), (2, "", INVALID_TOPIC),
                                             (4, "77", INVALID_REQUEST), (4, "x", INVALID_REQUEST), (99, "x", INVALID_REQUEST), (0, "x", INVALID_REQUEST)])
def test_what_cannot_be_described(connect, kind, name, error):
    assert configs(connect(), kind, name) == (error, {})


def alter(c, topic, version=1, validate_only=False, kind=2, **values):
    r = c.call("AlterConfigs", version, validate_only=validate_only, resources=[dict(
        resource_type=kind, resource_name=topic, configs=[dict(name=k.replace("_", "."), value=v) for k, v in values.items()])])
    return r["responses"][0]["error_code"]


def incremental(c, topic, *changes, version=1, validate_only=False, kind=2):
    r = c.call("IncrementalAlterConfigs", version, validate_only=validate_only, resources=[dict(
        resource_type=kind, resource_name=topic, configs=[dict(name=n, config_operation=o, value=v) for n, o, v in changes])])
    return r["responses"][0]["error_code"]


def until_config(c, topic, name, value):
    """Kafka shows a change a moment after it is acknowledged."""
    end = time.monotonic() + 5
    while (got := configs(c, 2, topic, name)[1][name]["value"]) != value:
        assert time.monotonic() < end, got


@pytest.mark.parametrize("version", [0, 1, 2])
def test_an_alteration_replaces_everything(connect, version):
    c = connect()
    t = make_topic(c, retention_ms="1000000", flush_ms="77777")
    assert alter(c, t, version, retention_ms="2000000") == NONE
    until_config(c, t, "retention.ms", "2000000")
    until_config(c, t, "flush.ms", "9223372036854775807")


@pytest.mark.parametrize("version", [0, 1])
def test_an_increment_changes_what_it_names(connect, version):
    c = connect()
    t = make_topic(c, retention_ms="1000000", flush_ms="77777")
    assert incremental(c, t, ("retention.ms", 0, "2000000"), ("cleanup.policy", 2, "compact"), version=version) == NONE
    until_config(c, t, "retention.ms", "2000000")
    until_config(c, t, "cleanup.policy", "delete,compact")
    until_config(c, t, "flush.ms", "77777")
    assert incremental(c, t, ("flush.ms", 1, None), ("cleanup.policy", 3, "delete"), version=version) == NONE
    until_config(c, t, "flush.ms", "9223372036854775807")
    until_config(c, t, "cleanup.policy", "compact")


@pytest.mark.parametrize("changes,error", [
    ([("no.such.config", 0, "1")], BAD_CONFIG), ([("retention.ms", 0, "x")], BAD_CONFIG), ([("retention.ms", 0, None)], INVALID_REQUEST),
    ([("retention.ms", 2, "1")], BAD_CONFIG), ([("retention.ms", 3, "1")], BAD_CONFIG),
    ([("retention.ms", 0, "1000000"), ("retention.ms", 0, "2000000")], INVALID_REQUEST),
    ([("retention.ms", 0, "1000000"), ("flush.ms", 0, "x")], BAD_CONFIG),
    ([("cleanup.policy", 2, "shred")], BAD_CONFIG),
])
def test_changes_that_are_refused(connect, topic, changes, error):
    c = connect()
    assert incremental(c, topic, *changes) == error
    assert configs(c, 2, topic, "retention.ms")[1]["retention.ms"]["value"] == "604800000", "nothing of it is done"


def test_a_change_may_only_be_tried(connect, topic):
    c = connect()
    assert incremental(c, topic, ("retention.ms", 0, "1000000"), validate_only=True) == NONE
    assert alter(c, topic, validate_only=True, retention_ms="1000000") == NONE
    assert configs(c, 2, topic, "retention.ms")[1]["retention.ms"]["value"] == "604800000"


def test_changes_of_what_is_not_there(connect):
    c = connect()
    assert incremental(c, "no-such-topic", ("retention.ms", 0, "1")) == UNKNOWN_TOPIC
    assert alter(c, "no-such-topic", retention_ms="1") == UNKNOWN_TOPIC
    assert incremental(c, "x", ("retention.ms", 0, "1"), kind=99) == INVALID_REQUEST


def test_a_resource_twice_is_a_mistake(connect, topic):
    one = dict(resource_type=2, resource_name=topic, configs=[dict(name="retention.ms", config_operation=0, value="1000000")])
    r = connect().call("IncrementalAlterConfigs", 1, validate_only=False, resources=[one, one])
    assert {x["error_code"] for x in r["responses"]} == {INVALID_REQUEST}


def test_a_smaller_limit_counts_at_once(connect, topic):
    from data import produce
    c = connect()
    assert incremental(c, topic, ("max.message.bytes", 0, "500")) == NONE
    end = time.monotonic() + 5
    while produce(c, topic, batch(b"x" * 1000))["error_code"] != 10:
        assert time.monotonic() < end
