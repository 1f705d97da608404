"""A compacted topic keeps the latest record of each key (spec: Kafka's LogCleaner, which looks every log.cleaner.backoff.ms, 15 s)."""
import time

from batches import batch, parse
from data import append, fetch, make_topic, parts, wanted


def test_the_latest_of_each_key_stays_at_its_offset(connect):
    c = connect()
    t = make_topic(c, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01", delete_retention_ms="0")
    for i in range(5):
        append(c, t, batch(b"value %d" % i, key=b"k"))
        append(c, t, batch(b"other %d" % i, key=b"k2"))
        time.sleep(0.15)
    append(c, t, batch(b"last", key=b"end"))
    end = time.monotonic() + 45
    while (kept := read_all(c, t))[0][0] < 8:
        assert time.monotonic() < end, kept
        time.sleep(0.3)
    offsets, data = zip(*kept)
    assert offsets == (8, 9, 10)
    for wanted_value, d in zip((b"value 4", b"other 4", b"last"), data):
        assert wanted_value in d
    assert append(c, t, batch(b"next", key=b"k")) == 11


def read_all(c, topic):
    """Every batch with its base offset; an answer may end where a segment does."""
    found, at = [], 0
    while True:
        data = parts(fetch(c, wanted(topic, at)))[topic, 0]["records"]
        if not data:
            return found
        place = 0
        for base, _, _, _, count in parse(data)[0]:
            size = 12 + int.from_bytes(data[place + 8:place + 12], "big")
            at = base + 1 + int.from_bytes(data[place + 23:place + 27], "big")
            if count:
                found.append((base, data[place:place + size]))
            place += size
