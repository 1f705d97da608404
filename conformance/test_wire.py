"""Frames, versions, garbage: what ends a connection and what does not."""
import struct

import pytest
from wire import INVALID_REQUEST, NONE, UNSUPPORTED_VERSION, Closed, Conn


def alive(connect):
    return connect().call("ApiVersions", 0)["error_code"] == NONE


def header(key, version, correlation=7, client=b"raw"):
    return struct.pack(">hhih", key, version, correlation, len(client)) + client


def framed(b):
    return struct.pack(">i", len(b)) + b


def test_api_versions_of_the_future_are_answered_in_version_0(connect):
    c = connect()
    c.raw(framed(header(18, 99) + b"\x00whatever"))
    frame = c.frame()
    assert frame[:4] == struct.pack(">i", 7)
    error, n, key, low, high = struct.unpack(">hihhh", frame[4:16])
    assert (error, n, key, low) == (UNSUPPORTED_VERSION, 1, 18, 0) and high >= 3 and len(frame) == 16
    assert c.call("ApiVersions", 3, client_software_name="a-b", client_software_version="1.0")["error_code"] == NONE


def test_a_clients_software_name_is_checked(connect):
    c = connect()
    c.send("ApiVersions", 3, client_software_name="a b", client_software_version="1")
    assert c.frame()[4:6] == struct.pack(">h", INVALID_REQUEST)


def test_what_is_advertised_is_whole(connect):
    keys = {k["api_key"]: (k["min_version"], k["max_version"]) for k in connect().call("ApiVersions", 3, client_software_name="t",
                                                                                      client_software_version="1")["api_keys"]}
    for key in (0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 32, 37, 42, 60):
        assert key in keys, key
    assert keys[0][0] == 0, "librdkafka wants to see the old ones"


@pytest.mark.parametrize("payload", [
    struct.pack(">i", -1), struct.pack(">i", 2**31 - 1), struct.pack(">i", 2_000_000_000) + b"x" * 100, b"GET / HTTP/1.1\r\n\r\n",
    framed(b""), framed(b"\x00"), framed(header(11, 99) + b"\x00" * 40), framed(header(999, 0)), framed(header(3, 99)), framed(header(11, 5) + b"\xff" * 3),
    framed(header(3, 1) + struct.pack(">i", 2_000_000_000)), framed(header(1, 4) + b"\x7f" * 64), framed(header(11, 5) + b"\x00\x01g" + b"\x7f\xff\xff\xff" * 8),
], ids=["-1", "2 GB", "2 GB and some", "http", "empty", "short", "future version", "unknown api", "future metadata", "short body", "2 billion topics",
        "garbage fetch", "garbage join"])
def test_garbage_ends_its_own_connection_only(connect, payload):
    other, c = connect(), connect()
    c.raw(payload)
    with pytest.raises(Closed):
        while c.frame(5) is not None:
            pass
        raise AssertionError("the connection stayed open")
    assert other.call("ApiVersions", 0)["error_code"] == NONE and alive(connect)


def test_half_a_frame_and_then_nothing_disturbs_nobody(connect):
    c = connect()
    c.raw(framed(header(3, 1) + b"\xff\xff\xff\xff")[:9])
    assert alive(connect)
    c.close()
    assert alive(connect)


def test_a_frame_may_come_byte_by_byte(connect):
    c = connect()
    for b in framed(header(18, 0)):
        c.raw(bytes([b]))
    assert c.frame()[:6] == struct.pack(">ih", 7, 0)


def test_answers_keep_the_order_of_requests(connect):
    c = connect()
    sent = [c.send("ApiVersions", 0) for _ in range(50)]
    assert [struct.unpack(">i", c.frame()[:4])[0] for _ in sent] == sent
