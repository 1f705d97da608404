"""kafka-python, aiokafka and kcat: produce, consume in a group, commit, describe."""
import asyncio
import subprocess
import time

import aiokafka
import kafka
from kafka.admin import KafkaAdminClient, NewTopic


def test_kafka_python_consumes_in_a_group_and_commits(bootstrap, name):
    topic, group = name("kpy"), name("g")
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, 3, 1)])
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    for i in range(3000):
        producer.send(topic, b"%d" % i, partition=i % 3)
    producer.flush(30)
    producer.close()
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                                   session_timeout_ms=6000, heartbeat_interval_ms=2000, enable_auto_commit=False)
    got, end = [], time.monotonic() + 30
    while len(got) < 3000 and time.monotonic() < end:
        for records in consumer.poll(200).values():
            got += [r.value for r in records]
    assert sorted(got) == sorted(b"%d" % i for i in range(3000))
    consumer.commit()
    assert [consumer.committed(kafka.TopicPartition(topic, p)) for p in range(3)] == [1000] * 3
    consumer.close()
    admin.close()


def test_aiokafka_consumes_in_a_group(bootstrap, name):
    topic, group = name("aio"), name("g")

    async def go():
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
        await producer.start()
        for i in range(500):
            await producer.send(topic, b"%d" % i)
        await producer.stop()
        consumer = aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
        await consumer.start()
        got = []
        while len(got) < 500:
            got.append((await asyncio.wait_for(consumer.getone(), 20)).value)
        await consumer.commit()
        await consumer.stop()
        assert sorted(got) == sorted(b"%d" % i for i in range(500))

    asyncio.run(go())


def kcat(*args, stdin=None):
    done = subprocess.run(["kcat", *args], input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kcat_produces_consumes_and_lists(bootstrap, name):
    topic, group = name("kcat"), name("g")
    lines = "".join(f"line {i}\n" for i in range(200))
    kcat("-b", bootstrap, "-P", "-t", topic, "-z", "lz4", stdin=lines)
    assert f'topic "{topic}"' in kcat("-b", bootstrap, "-L", "-t", topic)
    assert kcat("-b", bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q") == lines
    in_group = kcat("-b", bootstrap, "-G", group, "-X", "auto.offset.reset=earliest", "-c", "200", "-q", topic)
    assert sorted(in_group.splitlines()) == sorted(lines.splitlines())
