"""Record batches (magic 2) by hand, right and wrong in every field."""
import struct
import time

from kafka.record.util import calc_crc32c


def varint(n):
    n = (n << 1) ^ (n >> 63)
    out = b""
    while n & ~0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def record(delta, key, value, time_delta=0, headers=()):
    def sized(b):
        return varint(-1) if b is None else varint(len(b)) + b
    body = b"\x00" + varint(time_delta) + varint(delta) + sized(key) + sized(value) + varint(len(headers))
    for name, content in headers:
        body += sized(name) + sized(content)
    return varint(len(body)) + body


def now_ms():
    return int(time.time() * 1000)


def batch(*values, key=None, at=None, base_offset=0, magic=2, crc=None, attributes=0, producer=(-1, -1, -1), records=None, count=None,
          last_delta=None, epoch=-1, times=None):
    """A batch of `values`; `producer` is id, epoch, sequence; `records` replaces the encoded records; `times` are the records' deltas."""
    at = now_ms() if at is None else at
    times = times or [0] * len(values)
    if records is None:
        records = b"".join(record(i, key, v, t) for i, (v, t) in enumerate(zip(values, times)))
    count = len(values) if count is None else count
    last_delta = count - 1 if last_delta is None else last_delta
    checked = struct.pack(">hiqqqhii", attributes, last_delta, at, at + max(times, default=0), *producer, count) + records
    head = struct.pack(">ibI", epoch, magic, calc_crc32c(checked) if crc is None else crc)
    return struct.pack(">qi", base_offset, len(head) + len(checked)) + head + checked


def parse(data):
    """The batches in `data` as (base offset, leader epoch, attributes, max timestamp, count), and what is left over."""
    found, at = [], 0
    while len(data) - at >= 61:
        base, length, epoch = struct.unpack(">qii", data[at:at + 16])
        if len(data) - at < 12 + length:
            break
        attributes, _, _, latest = struct.unpack(">hiqq", data[at + 21:at + 43])
        count = struct.unpack(">i", data[at + 57:at + 61])[0]
        found.append((base, epoch, attributes, latest, count))
        at += 12 + length
    return found, data[at:]
