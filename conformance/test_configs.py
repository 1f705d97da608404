"""Configurations to the last word: values as they are kept, refusals as they are told, who says what is in force."""
import time

import pytest
from batches import batch
from data import make_topic, produce

from test_topics import create, name
from wire import INVALID_REQUEST, NONE

BAD_CONFIG, INVALID_TOPIC, UNKNOWN_SERVER = 40, 17, -1
SET, DELETE, APPEND, SUBTRACT = range(4)
TOPIC, BROKER, METRICS, GROUP = 2, 4, 16, 32


def describe(c, kind, what, *keys, version=4, synonyms=True):
    r, = c.call("DescribeConfigs", version, include_synonyms=synonyms, include_documentation=False,
                resources=[dict(resource_type=kind, resource_name=what, configuration_keys=list(keys) or None)])["results"]
    return r


def change(c, kind, what, *changes, validate_only=False):
    r, = c.call("IncrementalAlterConfigs", 1, validate_only=validate_only, resources=[dict(
        resource_type=kind, resource_name=what, configs=[dict(name=n, config_operation=o, value=v) for n, o, v in changes])])["responses"]
    return r["error_code"], r["error_message"]


def value(c, kind, what, key):
    found = {x["name"]: (x["value"], x["config_source"]) for x in describe(c, kind, what, key)["configs"]}
    return found.get(key)


def until(c, kind, what, key, expected):
    end = time.monotonic() + 5
    while (got := value(c, kind, what, key)) != expected:
        assert time.monotonic() < end, got
        time.sleep(0.02)


def node(c):
    return str(c.call("Metadata", 1, topics=[])["brokers"][0]["node_id"])


@pytest.mark.parametrize("key,given,kept", [
    ("retention.ms", " +7 ", "7"), ("min.cleanable.dirty.ratio", "1", "1.0"), ("preallocate", "TRUE", "true"),
    ("cleanup.policy", " compact , delete", "compact,delete"), ("cleanup.policy", "delete,delete", "delete"), ("cleanup.policy", "", ""),
    ("retention.bytes", "-100", "-100"), ("compression.type", " gzip", "gzip"), ("remote.log.copy.disable", "true", "true"),
    ("compression.zstd.level", "5", "5"), ("leader.replication.throttled.replicas", "0:1,1:1", "0:1,1:1"),
])
def test_a_value_is_shown_as_it_was_given_and_then_as_it_is_kept(connect, key, given, kept):
    c, t = connect(), name()
    r, = create(c, dict(name=t, configs=[dict(name=key, value=given)]))
    assert r["error_code"] == NONE, r
    assert [(x["value"], x["config_source"]) for x in r["configs"] if x["name"] == key] == [(given, 1)]
    until(c, TOPIC, t, key, (kept, 1))


@pytest.mark.parametrize("key,given,why", [
    ("retention.ms", "x", "Not a number of type LONG"), ("retention.ms", "9223372036854775808", "Not a number of type LONG"),
    ("max.message.bytes", "2147483648", "Not a number of type INT"), ("retention.ms", "-2", "Value must be at least -1"),
    ("segment.bytes", "14", "Value must be at least 1048576"), ("min.cleanable.dirty.ratio", "1.1", "Value must be no more than 1"),
    ("min.cleanable.dirty.ratio", "x", "Not a number of type DOUBLE"), ("preallocate", "yes", "Expected value to be either true or false"),
    ("cleanup.policy", "shred", "String must be one of: compact, delete"),
    ("compression.type", "GZIP", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"),
])
def test_a_bad_value_is_refused_with_the_reason(connect, topic, key, given, why):
    c = connect()
    told = f"Invalid value {given} for configuration {key}: {why}"
    r, = create(c, dict(name=name(), configs=[dict(name=key, value=given)]), validate_only=True)
    assert (r["error_code"], r["error_message"]) == (BAD_CONFIG, told)
    assert change(c, TOPIC, topic, (key, SET, given)) == (BAD_CONFIG, told)


@pytest.mark.parametrize("configs,told", [
    ({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"},
     "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"),
    ({"remote.storage.enable": "true"},
     "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."),
    ({"no.such.config": "1"}, "Unknown topic config name: no.such.config"),
    ({"no.such.config": None}, "Null value not supported for topic configs: no.such.config"),
    ({"leader.replication.throttled.replicas": "x,y"},
     "Invalid value [x, y] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the literal "
     "'*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."),
], ids=str)
def test_what_a_topic_cannot_be_configured_to(connect, configs, told):
    r, = create(connect(), dict(name=name(), configs=[dict(name=k, value=v) for k, v in configs.items()]), validate_only=True)
    assert (r["error_code"], r["error_message"]) == (BAD_CONFIG, told)


def test_a_list_grows_and_shrinks(connect):
    c = connect()
    t = make_topic(c)
    for changes, kept in [
        ([("cleanup.policy", APPEND, "compact")], ("delete,compact", 1)),
        ([("cleanup.policy", APPEND, "compact")], ("delete,compact", 1)),
        ([("cleanup.policy", SUBTRACT, "delete")], ("compact", 1)),
        ([("cleanup.policy", SUBTRACT, "x")], ("compact", 1)),
        ([("cleanup.policy", SUBTRACT, "compact")], ("", 1)),
        ([("cleanup.policy", APPEND, "delete,compact")], ("delete,compact", 1)),
        ([("cleanup.policy", DELETE, None), ("no.such.config", DELETE, None)], ("delete", 5)),
        ([("leader.replication.throttled.replicas", APPEND, "0:1"), ("cleanup.policy", SET, "compact")], ("compact", 1)),
    ]:
        assert change(c, TOPIC, t, *changes) == (NONE, None)
        until(c, TOPIC, t, "cleanup.policy", kept)
    until(c, TOPIC, t, "leader.replication.throttled.replicas", ("0:1", 1))


@pytest.mark.parametrize("changes,error,told", [
    ([("retention.ms", APPEND, "1")], BAD_CONFIG, "Can't APPEND to key retention.ms because its type is not LIST."),
    ([("retention.ms", SUBTRACT, "1")], BAD_CONFIG, "Can't SUBTRACT to key retention.ms because its type is not LIST."),
    ([("retention.ms", 4, "1")], UNKNOWN_SERVER, None), ([("retention.ms", -1, "1")], UNKNOWN_SERVER, None),
    ([("retention.ms", SET, "1"), ("retention.ms", DELETE, None)], INVALID_REQUEST, "Error due to duplicate config keys"),
    ([("retention.ms", SET, None), ("x", SET, "1")], INVALID_REQUEST, "Null value not supported for : retention.ms"),
])
def test_changes_that_are_refused_with_their_reasons(connect, topic, changes, error, told):
    assert change(connect(), TOPIC, topic, *changes) == (error, told)


@pytest.mark.parametrize("kind,what,error,told", [
    (TOPIC, "", INVALID_REQUEST, "Default topic resources are not allowed."),
    (TOPIC, "no-such-topic", 3, "The topic 'no-such-topic' does not exist."),
    (TOPIC, "a/b", INVALID_TOPIC, "Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
    (BROKER, "x", INVALID_REQUEST, "Node id must be an integer, but it is: x"),
    (5, "x", INVALID_REQUEST, "Unknown resource type 5"), (-1, "x", INVALID_REQUEST, "Unknown resource type -1"),
    (METRICS, "", INVALID_REQUEST, "Subscription name can't be empty"), (GROUP, "", INVALID_REQUEST, "Default group resources are not allowed."),
])
def test_what_cannot_be_changed(connect, kind, what, error, told):
    assert change(connect(), kind, what, validate_only=True) == (error, told)


def test_another_broker_is_not_here(connect):
    c = connect()
    assert change(c, BROKER, "77", ("message.max.bytes", SET, "1"), validate_only=True) == (
        INVALID_REQUEST, f"Unexpected broker id, expected {node(c)}, but received 77")
    r = describe(c, BROKER, "77")
    assert (r["error_code"], r["error_message"]) == (
        INVALID_REQUEST, f"Unexpected broker id, expected {node(c)} or empty string, but received 77")
    assert describe(c, BROKER, "x")["error_message"] == "Broker id must be an integer, but it is: x"


@pytest.mark.parametrize("whose", ["this one", "all"])
@pytest.mark.parametrize("key,given,error,told", [
    ("node.id", "5", INVALID_REQUEST, "Cannot update these configs dynamically: [node.id]"),
    ("num.partitions", "5", INVALID_REQUEST, "Cannot update these configs dynamically: [num.partitions]"),
    ("log.retention.ms", "x", INVALID_REQUEST, "Invalid value x for configuration log.retention.ms: Not a number of type LONG"),
    ("message.max.bytes", "1048600", NONE, None), ("a.plugin.may.know.it", "5", NONE, None),
])
def test_what_of_a_broker_can_be_changed(connect, whose, key, given, error, told):
    c = connect()
    assert change(c, BROKER, "" if whose == "all" else node(c), (key, SET, given), validate_only=True) == (error, told)


def test_the_nearest_configuration_wins(connect):
    c = connect()
    t = make_topic(c)
    key, me = "message.timestamp.after.max.ms", node(c)
    of_broker = "log." + key

    def said():
        x, = describe(c, TOPIC, t, key)["configs"]
        return x["value"], x["config_source"], [(s["name"], s["value"], s["source"]) for s in x["synonyms"]]

    def until_said(*expected):
        end = time.monotonic() + 5
        while (got := said()) != expected:
            assert time.monotonic() < end, got
            time.sleep(0.02)

    default, cluster = (of_broker, "3600000", 5), (of_broker, "3600001", 3)
    until_said("3600000", 5, [default])
    try:
        assert change(c, BROKER, "", (of_broker, SET, "3600001")) == (NONE, None)
        until_said("3600001", 3, [cluster, default])
        assert change(c, BROKER, me, (of_broker, SET, "3600002")) == (NONE, None)
        until_said("3600002", 2, [(of_broker, "3600002", 2), cluster, default])
        assert value(c, BROKER, me, of_broker) == ("3600002", 2)
        assert value(c, BROKER, "", of_broker) == ("3600001", 3)
        assert change(c, TOPIC, t, (key, SET, "3600003")) == (NONE, None)
        until_said("3600003", 1, [(key, "3600003", 1), (of_broker, "3600002", 2), cluster, default])
    finally:
        assert change(c, BROKER, me, (of_broker, DELETE, None)) == (NONE, None)
        assert change(c, BROKER, "", (of_broker, DELETE, None)) == (NONE, None)
    until_said("3600003", 1, [(key, "3600003", 1), default])
    assert value(c, BROKER, "", of_broker) is None


def test_a_brokers_limit_counts_for_topics_that_have_none(connect, topic):
    c = connect()
    assert change(c, BROKER, node(c), ("message.max.bytes", SET, "600")) == (NONE, None)
    try:
        end = time.monotonic() + 5
        while produce(c, topic, batch(b"x" * 1000))["error_code"] != 10:
            assert time.monotonic() < end
    finally:
        assert change(c, BROKER, node(c), ("message.max.bytes", DELETE, None)) == (NONE, None)
    end = time.monotonic() + 5
    while produce(c, topic, batch(b"x" * 1000))["error_code"] != NONE:
        assert time.monotonic() < end


def test_what_has_no_default_has_no_value(connect):
    c = connect()
    found = {x["name"]: x for x in describe(c, BROKER, node(c), "log.retention.ms", "log.retention.hours", "log.roll.ms", "node.id")["configs"]}
    assert {n: (x["value"], x["read_only"]) for n, x in found.items()} == {
        "log.retention.ms": (None, False), "log.retention.hours": ("168", True), "log.roll.ms": (None, False), "node.id": (node(c), True)}
    x, = describe(c, TOPIC, make_topic(c), "retention.ms")["configs"]
    assert (x["value"], x["synonyms"]) == ("604800000", [])


def test_no_keys_are_all_keys(connect, topic):
    c = connect()
    r = c.call("DescribeConfigs", 4, include_synonyms=False, include_documentation=False,
               resources=[dict(resource_type=TOPIC, resource_name=topic, configuration_keys=[])])["results"][0]
    assert len(r["configs"]) == 33 and r["error_message"] == "" and {x["documentation"] for x in r["configs"]} == {None}


@pytest.mark.parametrize("version", (3, 4))
def test_who_asks_for_documentation_is_told_what_each_is_for(connect, topic, group, version):
    c = connect()
    for kind, what in ((TOPIC, topic), (BROKER, node(c)), (GROUP, group), (METRICS, "documented")):
        for asked in (True, False):
            r, = c.call("DescribeConfigs", version, include_synonyms=False, include_documentation=asked,
                        resources=[dict(resource_type=kind, resource_name=what, configuration_keys=None)])["results"]
            assert r["configs"]
            assert [x["name"] for x in r["configs"] if bool(x["documentation"]) != asked] == []


@pytest.mark.parametrize("setting, given", (("log.cleaner.backoff.ms", "301"), ("producer.id.expiration.ms", "86400001")))
def test_the_cleaner_and_forgotten_producers_are_set_while_it_runs(connect, setting, given):
    c = connect()
    (before, source), (x,) = value(c, BROKER, node(c), setting), describe(c, BROKER, node(c), setting)["configs"]
    assert not x["read_only"]
    try:
        assert change(c, BROKER, node(c), (setting, SET, given)) == (NONE, None)
        until(c, BROKER, node(c), setting, (given, 2))
    finally:
        assert change(c, BROKER, node(c), (setting, DELETE, None)) == (NONE, None)
    until(c, BROKER, node(c), setting, (before, source))


def test_groups_have_configurations(connect, group):
    c = connect()
    assert value(c, GROUP, group, "consumer.session.timeout.ms") == ("45000", 5)
    assert change(c, GROUP, group, ("consumer.session.timeout.ms", SET, "50000")) == (NONE, None)
    until(c, GROUP, group, "consumer.session.timeout.ms", ("50000", 8))
    r = c.call("ListConfigResources", 1, resource_types=[GROUP])
    assert dict(resource_name=group, resource_type=GROUP) in r["config_resources"]
    assert change(c, GROUP, group, ("consumer.session.timeout.ms", SET, "1")) == (
        BAD_CONFIG, "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms")
    assert change(c, GROUP, group, ("x", SET, "1")) == (BAD_CONFIG, "Unknown group config name: x")
    assert change(c, GROUP, group, ("consumer.session.timeout.ms", DELETE, None)) == (NONE, None)
    until(c, GROUP, group, "consumer.session.timeout.ms", ("45000", 5))


def test_records_of_a_compacted_topic_are_not_deleted(connect):
    c = connect()
    for policy, error in (("compact", 44), ("compact,delete", NONE)):
        t = make_topic(c, cleanup_policy=policy)
        r = c.call("DeleteRecords", 2, timeout_ms=1000, topics=[dict(name=t, partitions=[dict(partition_index=0, offset=0)])])
        assert r["topics"][0]["partitions"][0]["error_code"] == error
