"""confluent-kafka, which is librdkafka: produce, consume in groups, commit, describe."""
import time

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType
from conftest import until


def one(futures):
    return next(iter(futures.values())).result(20)


def create(bootstrap, topic, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept until the answer is there
    one(admin.create_topics([NewTopic(topic, partitions, 1)]))
    until(lambda: len(admin.list_topics(topic, 10).topics[topic].partitions) == partitions, 10, f"`{topic}` with its partitions")


def produce(bootstrap, topic, values, **conf):
    errors = []
    p = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, **conf})
    for i, v in enumerate(values):
        p.produce(topic, v, key=b"k%d" % (i % 7), on_delivery=lambda e, m: e and errors.append(str(e)))
        p.poll(0)
    assert p.flush(30) == 0 and not errors, errors[:3]


def consumer(bootstrap, group, **conf):
    return Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, "session.timeout.ms": 6000, "heartbeat.interval.ms": 1500, **conf})


def read(c, n, seconds=30):
    got, end = [], time.monotonic() + seconds
    while len(got) < n and time.monotonic() < end:
        for m in c.consume(1000, 0.2):
            assert not m.error(), m.error()
            got.append(m)
    assert len(got) == n, f"{len(got)} of {n} records came"
    return got


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_what_is_produced_is_consumed(bootstrap, name, codec, idempotent):
    topic = name("codec")
    create(bootstrap, topic, 3)
    values = [b"value %d " % i + b"x" * 100 for i in range(2000)]
    produce(bootstrap, topic, values, **{"compression.type": codec, "enable.idempotence": idempotent})
    c = consumer(bootstrap, name("g"), **{"check.crcs": True})
    c.subscribe([topic])
    assert sorted(m.value() for m in read(c, 2000)) == sorted(values)
    c.close()


def test_headers_keys_and_timestamps_survive(bootstrap, name):
    topic = name("headers")
    create(bootstrap, topic, 1)
    p = Producer({"bootstrap.servers": bootstrap})
    p.produce(topic, None, key=b"tombstone", headers=[("h", b"1"), ("h", None)], timestamp=1234567890123)
    assert p.flush(10) == 0
    c = consumer(bootstrap, name("g"))
    c.assign([TopicPartition(topic, 0, 0)])
    m = read(c, 1)[0]
    assert (m.value(), m.key(), m.headers(), m.timestamp()[1]) == (None, b"tombstone", [("h", b"1"), ("h", None)], 1234567890123)
    c.close()


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_of_a_group_share_the_partitions(bootstrap, name, strategy):
    topic, group = name("share"), name("g")
    create(bootstrap, topic, 6)
    members = [consumer(bootstrap, group, **{"partition.assignment.strategy": strategy}) for _ in range(3)]
    for m in members:
        m.subscribe([topic])

    def settled():
        for m in members:
            m.poll(0.02)
        owned = [sorted(p.partition for p in m.assignment()) for m in members]
        return all(owned) and sorted(sum(owned, [])) == list(range(6)) and owned

    assert [len(o) for o in until(settled, 30, "three members with two partitions each")] == [2, 2, 2]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    described = one(admin.describe_consumer_groups([group]))
    assert described.state == ConsumerGroupState.STABLE and described.partition_assignor == strategy
    assert sorted(len(m.assignment.topic_partitions) for m in described.members) == [2, 2, 2]
    for m in members:
        m.close()


def test_a_group_goes_on_where_it_committed(bootstrap, name):
    topic, group = name("commit"), name("g")
    create(bootstrap, topic, 1)
    produce(bootstrap, topic, [b"%d" % i for i in range(100)])
    c = consumer(bootstrap, group)
    c.subscribe([topic])
    read(c, 100)
    c.commit(offsets=[TopicPartition(topic, 0, 60, metadata="note")], asynchronous=False)
    c.close()
    c = consumer(bootstrap, group)
    c.subscribe([topic])
    assert read(c, 40)[0].offset() == 60
    kept = c.committed([TopicPartition(topic, 0)], 10)[0]
    assert (kept.offset, kept.metadata) == (60, "note")
    c.close()


def test_a_static_member_returns_without_a_rebalance(bootstrap, name):
    topic, group = name("static"), name("g")
    create(bootstrap, topic, 4)
    moved = []
    a = consumer(bootstrap, group, **{"group.instance.id": "a", "session.timeout.ms": 20000})
    a.subscribe([topic], on_revoke=lambda c, ps: moved.append(len(ps)))
    b = consumer(bootstrap, group, **{"group.instance.id": "b", "session.timeout.ms": 20000})
    b.subscribe([topic])

    def owned(*cs):
        for c in cs:
            c.poll(0.02)
        return [sorted(p.partition for p in c.assignment()) for c in cs]

    until(lambda: [len(o) for o in owned(a, b)] == [2, 2], 30, "two members with two partitions each")
    before, revoked = owned(a, b), len(moved)
    b.close()  # a static member does not leave
    b = consumer(bootstrap, group, **{"group.instance.id": "b", "session.timeout.ms": 20000})
    b.subscribe([topic])
    until(lambda: owned(a, b) == before, 15, "the old assignment")
    assert len(moved) == revoked, "the other member was not disturbed"
    a.close()
    b.close()


def test_administration(bootstrap, name):
    topic, group = name("admin"), name("g")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    create(bootstrap, topic, 2)
    with pytest.raises(KafkaException) as e:
        create(bootstrap, topic, 2)
    assert e.value.args[0].name() == "TOPIC_ALREADY_EXISTS"
    one(admin.create_partitions([NewPartitions(topic, 3)]))
    assert len(admin.list_topics(topic, 10).topics[topic].partitions) == 3
    assert "retention.ms" in one(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    produce(bootstrap, topic, [b"x"] * 30)
    ends = [one(admin.list_offsets({TopicPartition(topic, p): OffsetSpec.latest()})).offset for p in range(3)]
    assert sum(ends) == 30
    c = consumer(bootstrap, group)
    c.subscribe([topic])
    read(c, 30)
    c.commit(asynchronous=False)
    assert group in [g.group_id for g in admin.list_consumer_groups().result(10).valid]
    with pytest.raises(KafkaException) as e:
        one(admin.delete_consumer_groups([group]))
    assert e.value.args[0].name() == "NON_EMPTY_GROUP"
    c.close()
    until(lambda: one(admin.describe_consumer_groups([group])).state == ConsumerGroupState.EMPTY, 10, "an empty group")
    offsets = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])).topic_partitions
    assert sum(o.offset for o in offsets) == 30
    one(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 1)])]))
    one(admin.delete_consumer_groups([group]))
    one(admin.delete_topics([topic]))
    until(lambda: topic not in admin.list_topics(timeout=10).topics, 10, "a deleted topic to be gone")


def test_a_topic_is_made_when_it_is_first_written(bootstrap, name):
    produce(bootstrap, name("auto"), [b"first"])


def test_nothing_acknowledged_is_lost_by_kill_9(own_server, name):
    server = own_server("group.initial.rebalance.delay.ms=0")
    topic, group = name("killed"), name("g")
    create(server.address, topic, 3)
    values = [b"%d" % i for i in range(3000)]
    produce(server.address, topic, values, **{"enable.idempotence": True})
    c = consumer(server.address, group)
    c.subscribe([topic])
    read(c, 3000)
    c.commit(asynchronous=False)
    moved = []
    c.subscribe([topic], on_revoke=lambda c, ps: moved.append(ps))
    until(lambda: (c.poll(0.05), len(c.assignment()) == 3)[1], 15, "the assignment")
    moved.clear()
    server.kill()
    server.start()
    produce(server.address, topic, values)
    assert sorted(m.value() for m in read(c, 3000)) == sorted(values), "the group goes on where it was"
    assert not moved, "a restart of the broker is no rebalance"
    c.close()
    c = consumer(server.address, name("g"))
    c.subscribe([topic])
    assert len(read(c, 6000)) == 6000
    c.close()
