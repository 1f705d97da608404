"""Raw requests over a socket, encoded by somebody else's codec: the message schemas in kafka-python.

A `Conn` is one connection. `call` sends one request and waits for its answer, `send` and `receive` part the two, so that a
parked JoinGroup can be left waiting. An answer is a nested dict in Kafka's field names, in snake case.
"""
import socket
import struct
import time
import uuid

import kafka.protocol.admin as _admin
import kafka.protocol.consumer as _consumer
import kafka.protocol.metadata as _metadata
import kafka.protocol.producer as _producer

MESSAGES = {}
for _module in (_admin, _consumer, _metadata, _producer):
    for _name in dir(_module):
        if _name.endswith(("Request", "Response")):
            MESSAGES[_name] = getattr(_module, _name)

#: kafka-python names ListGroups' and others' classes as Kafka does; the error numbers are Kafka's.
NONE, COORDINATOR_LOADING, ILLEGAL_GENERATION, INCONSISTENT_PROTOCOL, INVALID_GROUP_ID = 0, 14, 22, 23, 24
UNKNOWN_MEMBER, INVALID_SESSION_TIMEOUT, REBALANCE, UNSUPPORTED_VERSION, INVALID_REQUEST = 25, 26, 27, 35, 42
NON_EMPTY_GROUP, GROUP_NOT_FOUND, MEMBER_ID_REQUIRED, MAX_SIZE, FENCED, SUBSCRIBED = 68, 69, 79, 81, 82, 86
UNKNOWN_TOPIC, METADATA_TOO_LARGE, UNKNOWN_TOPIC_ID = 3, 12, 100
#: A topic's id where there is none.
NO_ID = uuid.UUID(int=0)


class Closed(Exception):
    """The server ended the connection."""


def _fill(cls, version, values):
    """Nested dicts to the codec's own containers; fields that the version does not have are left out."""
    made = {}
    for key, value in values.items():
        field = cls._struct.fields[key]
        if not field.for_version_q(version):
            continue
        if value is not None and (field.is_struct() or field.is_struct_array()):
            inner = getattr(cls, field.type_str)
            value = [_fill(inner, version, v) for v in value] if field.is_struct_array() else _fill(inner, version, value)
        made[key] = value
    return cls(version=version, **made)


def _plain(x):
    if hasattr(x, "_struct"):
        return {f.name: _plain(getattr(x, f.name)) for f in x._struct._fields if x._version is None or f.for_version_q(x._version)}
    return [_plain(v) for v in x] if isinstance(x, list) else x


class Conn:
    def __init__(self, bootstrap, client_id="wire"):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client_id, self.correlation, self.waiting, self.buffer = client_id, 0, {}, b""

    def send(self, api, version, **values):
        """Sends a request; what it returns names the answer for `receive`."""
        message = _fill(MESSAGES[api + "Request"], version, values)
        self.correlation += 1
        message.with_header(self.correlation, self.client_id)
        self.socket.sendall(message.encode(header=True, framed=True))
        self.waiting[self.correlation] = (api, version)
        return self.correlation

    def frame(self, seconds=10.0):
        """The next frame's bytes without its length; None when nothing came in time."""
        end = time.monotonic() + seconds
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack(">i", self.buffer[:4])[0]:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return None
            except ConnectionError as e:
                raise Closed from e
            if not more:
                raise Closed
            self.buffer += more
        n = struct.unpack(">i", self.buffer[:4])[0]
        frame, self.buffer = self.buffer[4:4 + n], self.buffer[4 + n:]
        return frame

    def receive(self, seconds=10.0):
        """The next answer, or None when none came in time: answers come in the order of requests."""
        frame = self.frame(seconds)
        if frame is None:
            return None
        correlation = struct.unpack(">i", frame[:4])[0]
        api, version = self.waiting.pop(correlation)
        cls = MESSAGES[api + "Response"]
        flexible = cls.flexible_version_q(version) and api != "ApiVersions"
        return _plain(cls.decode(frame[5 if flexible else 4:], version=version))

    def call(self, api, version, **values):
        self.send(api, version, **values)
        answer = self.receive()
        assert answer is not None, f"{api} v{version} was not answered"
        return answer

    def closes(self, seconds=5.0):
        """Whether the server ends the connection, without another answer."""
        try:
            return self.frame(seconds) is None and False
        except Closed:
            return True

    def raw(self, payload):
        self.socket.sendall(payload)

    def close(self):
        self.socket.close()


def subscription(*topics, version=1, owned=(), user_data=None):
    """ConsumerProtocolSubscription."""
    def text(s):
        return struct.pack(">h", len(s)) + s.encode()
    b = struct.pack(">hi", version, len(topics)) + b"".join(text(t) for t in topics)
    b += struct.pack(">i", -1) if user_data is None else struct.pack(">i", len(user_data)) + user_data
    if version >= 1:
        b += struct.pack(">i", len(owned))
        for topic, partitions in owned:
            b += text(topic) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
    return b
