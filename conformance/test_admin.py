"""What administrators ask of one node without an authorizer, and what it answers."""
import time
import uuid

import pytest
from batches import batch
from data import append, list_offset, make_topic, topic_id
from test_topics import create, delete, metadata, name
from wire import INVALID_REQUEST, NO_ID, NONE, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID

TIMED_OUT, INVALID_TOPIC, BAD_ASSIGNMENT, NO_AUTHORIZER = 7, 17, 39, 54
#: Everything that may be done with a topic, the cluster, a group, as bits (KIP-430).
OF_TOPIC, OF_CLUSTER, OF_GROUP = {3, 4, 5, 6, 7, 8, 10, 11}, {5, 7, 8, 9, 10, 11, 12}, {3, 6, 8, 10, 11}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_there_is_no_authorizer(connect, version):
    c = connect()
    r = c.call("DescribeAcls", version, resource_type_filter=1, resource_name_filter=None, pattern_type_filter=1, principal_filter=None,
               host_filter=None, operation=1, permission_type=1)
    assert (r["error_code"], r["error_message"], r["resources"]) == (NO_AUTHORIZER, "No Authorizer is configured on the broker", [])
    one = dict(resource_type=2, resource_name="t", resource_pattern_type=3, principal="User:a", host="*", operation=3, permission_type=3)
    r = c.call("CreateAcls", version, creations=[one, one])
    assert [(x["error_code"], x["error_message"]) for x in r["results"]] == [(NO_AUTHORIZER, "No Authorizer is configured.")] * 2
    one = dict(resource_type_filter=2, resource_name_filter="t", pattern_type_filter=3, principal_filter=None, host_filter=None, operation=3,
               permission_type=3)
    r = c.call("DeleteAcls", version, filters=[one])
    assert [(x["error_code"], x["matching_acls"]) for x in r["filter_results"]] == [(NO_AUTHORIZER, [])]


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_the_folder_of_the_logs(connect, version):
    c = connect()
    t = make_topic(c, 2)
    append(c, t, batch(b"x"))
    asked = [dict(topic=t, partitions=[0, 1, 9]), dict(topic="no-such-topic", partitions=[0])]
    r, = c.call("DescribeLogDirs", version, topics=asked)["results"]
    assert r["error_code"] == NONE and r["log_dir"].startswith("/")
    (found,) = r["topics"]
    sizes = {p["partition_index"]: (p["partition_size"], p["offset_lag"], p["is_future_key"]) for p in found["partitions"]}
    assert found["name"] == t and sizes == {0: (69, 0, False), 1: (0, 0, False)}
    r, = c.call("DescribeLogDirs", version, topics=None)["results"]
    assert t in [x["name"] for x in r["topics"]]
    r, = c.call("DescribeLogDirs", version, topics=[])["results"]
    assert r["topics"] == []


@pytest.mark.parametrize("version", [1, 2])
def test_nothing_moves_to_another_folder(connect, topic, version):
    r = connect().call("AlterReplicaLogDirs", version, dirs=[dict(path="/no/such/folder", topics=[dict(name=topic, partitions=[0, 9])])])
    assert {p["partition_index"]: p["error_code"] for p in r["results"][0]["partitions"]} == {0: 57, 9: 57}


@pytest.mark.parametrize("version", [0, 1, 2])
def test_no_election_is_needed(connect, topic, version):
    c = connect()

    def elect(kind=0, timeout=5000, asked=((topic, [0, 9]), ("no-such-topic", [0]))):
        r = c.call("ElectLeaders", version, election_type=kind, timeout_ms=timeout,
                   topic_partitions=asked and [dict(topic=t, partitions=ps) for t, ps in asked])
        parts = {(t["topic"], p["partition_id"]): (p["error_code"], p["error_message"]) for t in r["replica_election_results"]
                 for p in t["partition_result"]}
        return r.get("error_code", 0), parts, {t["topic"] for t in r["replica_election_results"]}

    assert elect()[:2] == (NONE, {(topic, 0): (84, "Leader election not needed for topic partition."),
                                  (topic, 9): (UNKNOWN_TOPIC, f"No such partition as {topic}-9"),
                                  ("no-such-topic", 0): (UNKNOWN_TOPIC, "No such topic as no-such-topic")})
    assert elect(asked=None)[1] == {} and topic in elect(asked=None)[2], "all: only what was elected"
    error = TIMED_OUT if version else NONE
    assert elect(timeout=0, asked=[(topic, [0])])[:2] == (error, {(topic, 0): (TIMED_OUT, None)})
    if version:
        assert elect(kind=5, asked=[(topic, [0])])[:2] == (INVALID_REQUEST, {(topic, 0): (INVALID_REQUEST, "Unknown election type 5")})


@pytest.mark.parametrize("replicas,error,told", [
    ("own", NONE, None), (None, 85, None), ([77], BAD_ASSIGNMENT, "The manual partition assignment includes broker 77, but no such broker is registered."),
    ([], BAD_ASSIGNMENT, "The manual partition assignment includes an empty replica list."),
])
def test_partitions_stay_where_they_are(connect, topic, replicas, error, told):
    c = connect()
    if replicas == "own":
        replicas = [metadata(c, 9)["brokers"][0]["node_id"]]
    r = c.call("AlterPartitionReassignments", 0, timeout_ms=5000, topics=[dict(name=topic, partitions=[
        dict(partition_index=p, replicas=replicas) for p in (0, 9)])])
    assert r["error_code"] == NONE
    assert [(p["partition_index"], p["error_code"], p["error_message"]) for p in r["responses"][0]["partitions"]] == [
        (0, error, told), (9, UNKNOWN_TOPIC, f"Unable to find partition {topic}:9.")]
    r = c.call("ListPartitionReassignments", 0, timeout_ms=5000, topics=None)
    assert (r["error_code"], r["topics"]) == (NONE, [])


def test_producers_are_described(connect):
    c = connect()
    t = make_topic(c)

    def producers(*indexes):
        r = c.call("DescribeProducers", 0, topics=[dict(name=t, partition_indexes=list(indexes))])
        return r["topics"][0]["partitions"]

    nobody, missing = producers(0, 9)
    assert (nobody["error_code"], nobody["active_producers"], missing["error_code"]) == (NONE, [], UNKNOWN_TOPIC)
    append(c, t, batch(b"x", producer=(77, 3, 0)))
    append(c, t, batch(b"x", b"y", producer=(77, 3, 1)))
    (one,), = [p["active_producers"] for p in producers(0)]
    assert (one["producer_id"], one["producer_epoch"], one["last_sequence"]) == (77, 3, 2)
    assert (one["coordinator_epoch"], one["current_txn_start_offset"]) == (-1, -1) and one["last_timestamp"] > 0
    r = c.call("DescribeProducers", 0, topics=[dict(name=n, partition_indexes=[0]) for n in ("no-such-topic", "a/b")])
    assert [p["error_code"] for x in r["topics"] for p in x["partitions"]] == [UNKNOWN_TOPIC, INVALID_TOPIC]


def test_partitions_page_by_page(connect):
    c = connect()
    first, second = sorted(make_topic(c, 3) for _ in range(2))

    def page(limit, cursor=None, names=(second, first)):
        r = c.call("DescribeTopicPartitions", 0, topics=[dict(name=n) for n in names], response_partition_limit=limit,
                   cursor=cursor and dict(topic_name=cursor[0], partition_index=cursor[1]))
        following = r["next_cursor"] and (r["next_cursor"]["topic_name"], r["next_cursor"]["partition_index"])
        return [(t["name"], t["error_code"], [p["partition_index"] for p in t["partitions"]]) for t in r["topics"]], following

    assert page(2000) == ([(first, NONE, [0, 1, 2]), (second, NONE, [0, 1, 2])], None)
    assert page(4) == ([(first, NONE, [0, 1, 2]), (second, NONE, [0])], (second, 1))
    assert page(3) == ([(first, NONE, [0, 1, 2])], (second, 0))
    assert page(0) == page(-5) == ([(first, NONE, [0])], (first, 1))
    assert page(4, (second, 1)) == ([(second, NONE, [1, 2])], None)
    assert page(2, (first, 2)) == ([(first, NONE, [2]), (second, NONE, [0])], (second, 1))
    assert {(n, e) for n, e, _ in page(4, (first, -1))[0]} == {(first, INVALID_REQUEST), (second, INVALID_REQUEST)}
    assert page(9, names=("no-such-topic",)) == ([("no-such-topic", UNKNOWN_TOPIC, [])], None)
    r = c.call("DescribeTopicPartitions", 0, topics=[dict(name=first)], response_partition_limit=9, cursor=None)["topics"][0]
    assert r["topic_id"] == topic_id(c, first) and r["topic_authorized_operations"] == sum(1 << n for n in OF_TOPIC)


def test_what_may_have_a_configuration(connect, topic):
    c = connect()
    node = str(metadata(c, 9)["brokers"][0]["node_id"])

    def listed(*kinds):
        r = c.call("ListConfigResources", 1, resource_types=list(kinds))
        return r["error_code"], [(x["resource_type"], x["resource_name"]) for x in r["config_resources"]]

    assert (2, topic) in listed(2)[1] and (2, topic) in listed()[1]
    assert listed(4) == (NONE, [(4, node)]) and listed(8) == (NONE, [(8, node)])
    assert listed(9) == (35, [])
    r = c.call("ListConfigResources", 0)
    assert (r["error_code"], r["config_resources"]) == (NONE, [])


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_feature_that_nobody_has(connect, version):
    c = connect()
    update = dict(feature="no.such.feature", max_version_level=1, allow_downgrade=False, upgrade_type=1)
    r = c.call("UpdateFeatures", version, timeout_ms=5000, feature_updates=[update], validate_only=True)
    assert r["error_code"] == 95 and "no.such.feature" in r["error_message"]
    assert c.call("UpdateFeatures", version, timeout_ms=5000, feature_updates=[], validate_only=False)["error_code"] == NONE


def test_everything_is_allowed(connect, topic, group):
    c = connect()
    r = c.call("Metadata", 8, topics=[dict(name=topic)], allow_auto_topic_creation=False, include_topic_authorized_operations=True,
               include_cluster_authorized_operations=True)
    assert r["topics"][0]["authorized_operations"] == OF_TOPIC and r["authorized_operations"] == OF_CLUSTER
    r = c.call("Metadata", 8, topics=[dict(name=topic)], allow_auto_topic_creation=False)
    assert r["topics"][0]["authorized_operations"] != OF_TOPIC and r["authorized_operations"] != OF_CLUSTER
    r = c.call("DescribeCluster", 0, include_cluster_authorized_operations=True)
    assert r["authorized_operations"] == OF_CLUSTER
    c.call("JoinGroup", 4, group_id=group, session_timeout_ms=10000, rebalance_timeout_ms=10000, member_id="", protocol_type="consumer",
           protocols=[dict(name="range", metadata=b"")])
    for version in (3, 5):
        g, = c.call("DescribeGroups", version, groups=[group], include_authorized_operations=True)["groups"]
        assert g["authorized_operations"] == OF_GROUP


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_time_that_is_over_before_it_begins(connect, topic, timeout):
    c, t = connect(), name()
    r = c.call("CreateTopics", 7, timeout_ms=timeout, validate_only=False, topics=[
        dict(name=n, num_partitions=1, replication_factor=1, assignments=[], configs=[]) for n in (t, "a/b")])
    assert [(x["error_code"], x["error_message"]) for x in r["topics"]] == [(TIMED_OUT, None)] * 2
    r = c.call("CreatePartitions", 3, timeout_ms=timeout, validate_only=False, topics=[dict(name=topic, count=9, assignments=None)])
    assert [(x["error_code"], x["error_message"]) for x in r["results"]] == [(TIMED_OUT, None)]
    r = c.call("DeleteTopics", 6, timeout_ms=timeout, topics=[dict(name=topic, topic_id=NO_ID)])
    assert [(x["error_code"], x["error_message"]) for x in r["responses"]] == [(TIMED_OUT, None)]
    found = {x["name"]: x["error_code"] for x in metadata(c, 9, topic, t)["topics"]}
    assert found == {topic: NONE, t: UNKNOWN_TOPIC}


def test_how_a_delete_can_be_wrong(connect, topic):
    c = connect()
    id, ghost = topic_id(c, topic), uuid.uuid4()
    by_id, by_name = dict(name=None, topic_id=id), dict(name=topic, topic_id=NO_ID)

    def told(*topics):
        return sorted((x["error_code"], x["error_message"], x["name"] or "", x["topic_id"] or NO_ID) for x in delete(c, topics=topics))

    assert told(dict(name=topic, topic_id=id)) == [(INVALID_REQUEST, "You may not specify both topic name and topic id.", topic, id)]
    nothing = dict(name=None, topic_id=NO_ID)
    assert told(nothing, nothing) == [(INVALID_REQUEST, "Neither topic name nor id were specified.", "", NO_ID)] * 2
    assert told(by_id, by_id) == [(INVALID_REQUEST, "Duplicate topic id.", "", id)]
    assert told(by_name, by_name) == [(INVALID_REQUEST, "Duplicate topic name.", topic, NO_ID)]
    assert told(by_name, by_id) == [(INVALID_REQUEST, "The provided topic name maps to an ID that was already supplied.", topic, id)]
    assert told(dict(name=None, topic_id=ghost)) == [(UNKNOWN_TOPIC_ID, "This server does not host this topic ID.", "", ghost)]
    assert metadata(c, 9, topic)["topics"][0]["error_code"] == NONE


def test_how_a_topic_is_refused(connect, topic):
    c = connect()
    for fields, error, why in [
        (dict(name="."), INVALID_TOPIC, "Topic name is invalid: '.' is not allowed"),
        (dict(name="__cluster_metadata"), INVALID_REQUEST, "Creation of internal topic __cluster_metadata is prohibited."),
        (dict(replication_factor=-2, num_partitions=0), 38, "Replication factor must be larger than 0, or -1 to use the default value."),
        (dict(num_partitions=10_001), 44, "Excessively large number of partitions per request."),
    ]:
        r, = create(c, dict(dict(name=name()), **fields), validate_only=True)
        assert (r["error_code"], r["error_message"], r["configs"]) == (error, why, [])
    r = c.call("CreatePartitions", 3, timeout_ms=5000, validate_only=True, topics=[dict(name=n, count=99, assignments=None) for n in ("no-such-topic", topic)])
    assert {x["name"]: (x["error_code"], x["error_message"]) for x in r["results"]} == {"no-such-topic": (UNKNOWN_TOPIC, None), topic: (NONE, None)}


def test_the_epoch_before_the_first(connect, topic):
    c = connect()
    append(c, topic, batch(b"x"))
    assert list_offset(c, topic, -1, epoch=-2)["error_code"] == 74
    r = c.call("OffsetForLeaderEpoch", 4, replica_id=-1, topics=[dict(topic=topic, partitions=[
        dict(partition=0, current_leader_epoch=-1, leader_epoch=-2)])])
    p, = r["topics"][0]["partitions"]
    assert (p["error_code"], p["leader_epoch"], p["end_offset"]) == (NONE, -2, 0)


def test_list_offsets_in_its_newest_version(connect, topic):
    c = connect()
    append(c, topic, batch(b"x", at=1000))
    for at, expected in ((-1, (1, -1)), (-2, (0, -1)), (-3, (0, 1000)), (-4, (0, -1)), (-5, (-1, -1)), (-6, (-1, -1)), (1000, (0, 1000)), (1001, (-1, -1))):
        p = list_offset(c, topic, at, version=11)
        assert (p["error_code"], p["offset"], p["timestamp"]) == (NONE, *expected), at
    assert list_offset(c, topic, -6, version=10)["error_code"] == 35


def test_an_unknown_isolation_level_is_nobodys(connect, topic):
    r = connect().call("ListOffsets", 6, replica_id=-1, isolation_level=2, topics=[dict(name=topic, partitions=[
        dict(partition_index=0, current_leader_epoch=-1, timestamp=-1)])])
    assert r["topics"][0]["partitions"][0]["error_code"] == -1


def test_offsets_by_topic_id(connect, group, topic):
    c = connect()
    id, ghost = topic_id(c, topic), uuid.uuid4()

    def commit(*topics):
        r = c.call("OffsetCommit", 10, group_id=group, generation_id_or_member_epoch=-1, member_id="", group_instance_id=None, topics=[
            dict(topic_id=t, partitions=[dict(partition_index=p, committed_offset=o, committed_leader_epoch=-1, committed_metadata="m") for p, o in parts])
            for t, parts in topics])
        return {t["topic_id"]: {p["partition_index"]: p["error_code"] for p in t["partitions"]} for t in r["topics"]}

    assert commit((id, [(0, 5), (99, 1)]), (ghost, [(0, 1)])) == {id: {0: NONE, 99: UNKNOWN_TOPIC}, ghost: {0: UNKNOWN_TOPIC_ID}}

    def fetch(topics, version=10):
        r = c.call("OffsetFetch", version, require_stable=False, groups=[dict(group_id=group, member_id=None, member_epoch=-1, topics=topics)])
        g, = r["groups"]
        assert g["error_code"] == NONE
        return {(t.get("topic_id") if version >= 10 else t["name"]): [
            (p["partition_index"], p["committed_offset"], p["metadata"], p["error_code"]) for p in t["partitions"]] for t in g["topics"]}

    assert fetch([dict(topic_id=id, partition_indexes=[0, 1]), dict(topic_id=ghost, partition_indexes=[0])]) == {
        id: [(0, 5, "m", NONE), (1, -1, "", NONE)], ghost: [(0, -1, "", UNKNOWN_TOPIC_ID)]}
    assert fetch(None) == {id: [(0, 5, "m", NONE)]}
    assert fetch([dict(name=topic, partition_indexes=[0])], version=9) == {topic: [(0, 5, "m", NONE)]}
    # A topic that is made anew has another id: what was committed to the old one is not its.
    assert delete(c, names=[topic])[0]["error_code"] == NONE
    end = time.monotonic() + 5
    while metadata(c, 9, topic)["topics"][0]["error_code"] == NONE:
        assert time.monotonic() < end
    make_topic(c, 4, name=topic)
    assert fetch([dict(topic_id=topic_id(c, topic), partition_indexes=[0])]) == {topic_id(c, topic): [(0, -1, "", NONE)]}


def test_one_id_and_names_do_not_count(connect, topic):
    c = connect()
    id, other = topic_id(c, topic), make_topic(c)
    r = c.call("Metadata", 12, allow_auto_topic_creation=False, topics=[dict(name=None, topic_id=id), dict(name=other, topic_id=NO_ID)])
    assert [(t["name"], t["topic_id"]) for t in r["topics"]] == [(topic, id)]
    r = c.call("Metadata", 12, allow_auto_topic_creation=False, topics=[dict(name="no-such-topic", topic_id=id)])
    assert [(t["name"], t["error_code"]) for t in r["topics"]] == [(topic, NONE)]
