"""Clients that mean no good, or know no better: theirs is the connection that ends; the others notice nothing."""
import os
import socket
import struct
import time

import pytest
from batches import batch
from data import append, make_topic, send_fetch, wanted
from wire import Closed

#: Bodies whose lengths promise what does not come: of arrays, texts and tags, in the old layout and the compact one.
LIES = {
    "nothing": b"", "one byte": b"\x01", "int arrays of two billion": b"\x7f\xff\xff\xff" * 16, "negative lengths": b"\xff\xff\xff\xfe" * 16,
    "compact arrays of four billion": b"\xff\xff\xff\xff\x0f" * 16, "a varint without end": b"\x80" * 64, "compact arrays of 127": b"\x80\x01" * 32,
    "long texts": b"\x7f\xff" * 32, "zeros": b"\0" * 64, "ones": b"\x01" * 64, "a deep tag": b"\x01\x01\x01" + b"\xff\xff\xff\xff\x07" * 8,
}


def lives(c):
    """Another connection is answered, and soon."""
    began = time.monotonic()
    assert c.call("Metadata", 9, topics=[])["brokers"]
    return time.monotonic() - began < 5


def header(key, version, flexible):
    return struct.pack(">hhih", key, version, 1, 1) + b"x" + (b"\0" if flexible else b"")


@pytest.mark.parametrize("body", LIES.values(), ids=LIES)
def test_a_body_that_lies_ends_its_connection_or_is_answered(connect, body):
    others = connect()
    for api in connect().call("ApiVersions", 0)["api_keys"]:
        if api["api_key"] in (57, 64, 80, 81):  # a body of zeros could change the cluster itself
            continue
        for version in {api["min_version"], api["max_version"]}:
            for flexible in (False, True):
                c = connect()
                request = header(api["api_key"], version, flexible) + body
                c.raw(struct.pack(">i", len(request)) + request)
                try:
                    c.frame(0.001)
                except Closed:
                    pass
                c.close()
        assert lives(others), api


def test_many_idle_connections_disturb_nobody(connect, bootstrap):
    host, port = bootstrap.rsplit(":", 1)
    idle = []
    try:
        for i in range(1000):
            idle.append(socket.create_connection((host, int(port)), 10))
            if i % 2:
                idle[-1].sendall(struct.pack(">i", 1000) + b"half a frame")
        assert lives(connect())
    finally:
        for s in idle:
            s.close()
    assert lives(connect())


def test_who_does_not_read_holds_up_nobody_else(connect):
    c = connect()
    t = make_topic(c)
    for _ in range(20):
        append(c, t, batch(os.urandom(500_000)))
    slow = [connect() for _ in range(10)]
    for s in slow:
        for _ in range(20):
            send_fetch(s, wanted(t, 0, max_bytes=10 << 20), max_bytes=10 << 20)
    time.sleep(0.5)
    assert lives(c)
    # One of them reads after all, and has everything that it asked for.
    for _ in range(20):
        r = slow[0].receive(20)
        assert len(bytes(r["responses"][0]["partitions"][0]["records"])) > 5_000_000
    for s in slow:
        s.close()
    assert lives(c)


def test_a_thousand_requests_before_the_first_answer_is_read(connect):
    c = connect()
    for _ in range(1000):
        c.send("Metadata", 9, topics=[])
    for _ in range(1000):
        assert c.receive()["brokers"]


def test_a_body_of_a_million_empty_elements_is_no_harm(connect):
    others = connect()
    for n in (100_000, 1_000_000):
        c = connect()
        length, k = b"", n + 1
        while k >= 0x80:
            length, k = length + bytes([k & 0x7F | 0x80]), k >> 7
        # ListGroups 4: so many empty names of states.
        request = header(16, 4, True) + length + bytes([k]) + b"\x01" * n + b"\0"
        c.raw(struct.pack(">i", len(request)) + request)
        try:
            assert c.frame(20)
        except Closed:
            assert n > 500_000
        assert lives(others)
