"""One member of a group with kafka-python or aiokafka (child of test_parked_clients.py): a JSON line whenever its partitions change."""
import asyncio
import json
import logging
import signal
import sys
import time

client, address, group, topic, heartbeat_ms = sys.argv[1:]
SESSION_MS = 12_000
COMMON = dict(bootstrap_servers=address, group_id=group, auto_offset_reset="earliest", session_timeout_ms=SESSION_MS,
              heartbeat_interval_ms=int(heartbeat_ms), enable_auto_commit=False)  # each commit frees a parked heartbeat
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
signal.signal(signal.SIGINT, signal.SIG_IGN)


def say(**what):
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)


class Complaints(logging.Handler):
    """What a client finds wrong with its group or its connections is what the test is about."""

    def emit(self, record):
        say(complaint=record.getMessage())


logging.getLogger().addHandler(Complaints(level=logging.WARNING))
own = None


def look(partitions):
    global own
    now = sorted(p.partition for p in partitions)
    if now != own:
        own = now
        say(own=now)


def kafka_python():
    import kafka
    consumer = kafka.KafkaConsumer(topic, **COMMON)
    while not stop:
        consumer.poll(50)
        look(consumer.assignment())
    consumer.close()


async def aio():
    import aiokafka
    consumer = aiokafka.AIOKafkaConsumer(topic, **COMMON)
    await consumer.start()
    while not stop:
        await consumer.getmany(timeout_ms=50)
        look(consumer.assignment())
    await consumer.stop()


kafka_python() if client == "kafka-python" else asyncio.run(aio())
