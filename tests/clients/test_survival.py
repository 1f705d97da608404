"""What the broker does when the disk is full, and when it is killed again and again: nothing acknowledged is lost."""
import pathlib
import random
import resource
import signal
import subprocess
import threading
import time

from confluent_kafka import Producer
from conftest import Server, kohort, until
from test_librdkafka import consumer, create, produce, read

LIMIT = 1 << 20


class NarrowServer(Server):
    """None of its files may grow beyond LIMIT: a write fails as on a full disk, without the right to mount one."""

    def start(self):
        def narrow():
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        args = [kohort(), "broker", "--data", str(self.data), "--listen", self.listen]
        for s in self.settings:
            args += ["--set", s]
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=narrow, restore_signals=False)
        line = self.process.stdout.readline()
        assert line.startswith("broker listening on "), line
        self.address = self.listen = line.split()[-1]
        return self

    def widen(self):
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def produce_until_refused(address, topic):
    """What was acknowledged before the first error, and the errors."""
    acknowledged, refused = [], []
    p = Producer({"bootstrap.servers": address, "linger.ms": 1, "message.timeout.ms": 3000, "retries": 0})
    for i in range(20_000):
        value = b"%06d" % i + b"x" * 500
        p.produce(topic, value, partition=0, on_delivery=lambda e, m: refused.append(e.name()) if e else acknowledged.append(m.value()))
        p.poll(0)
        if refused:
            break
    p.purge()
    p.flush(10)
    return acknowledged, refused


def test_a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing(tmp_path, name):
    server = NarrowServer(tmp_path / "data", "group.initial.rebalance.delay.ms=0").start()
    topic, other = name("full"), name("other")
    create(server.address, topic, 1)
    create(server.address, other, 1)
    acknowledged, refused = produce_until_refused(server.address, topic)
    assert acknowledged and refused, (len(acknowledged), refused)
    # The others notice nothing: another topic takes records, a group forms, commits and reads what was acknowledged.
    produce(server.address, other, [b"small"])
    c = consumer(server.address, name("g"))
    c.subscribe([topic])
    assert [m.value() for m in read(c, len(acknowledged))] == acknowledged
    c.commit(asynchronous=False)
    c.close()
    # A crash in this state: the batch that did not fit is no torn tail.
    server.kill()
    assert server.process.stderr.read().count("is the disk full") == 1, "the log says why and what to look at, once"
    server.start()
    c = consumer(server.address, name("g"))
    c.subscribe([topic])
    assert [m.value() for m in read(c, len(acknowledged))] == acknowledged
    # With room again the same process goes on.
    server.widen()
    produce(server.address, topic, [b"after"] * 3000)
    assert [m.value() for m in read(c, 3000)] == [b"after"] * 3000
    c.close()
    server.stop()
    server.process.stderr.close()


def test_a_broker_whose_log_nobody_reads_any_more_goes_on_and_ends(tmp_path, name):
    server = NarrowServer(tmp_path / "data").start()
    server.process.stderr.close()
    topic = name("unread")
    create(server.address, topic, 1)
    acknowledged, refused = produce_until_refused(server.address, topic)
    assert acknowledged and refused, "each refusal writes to the log"
    server.stop()


class Stream:
    """An idempotent producer that goes on through everything, and what it was told is kept."""

    def __init__(self, address, topic):
        self.acknowledged, self.failed, self.ended = [], [], False
        self.p = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 2, "retry.backoff.ms": 20,
                           "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50})
        self.thread = threading.Thread(target=self.run, args=(topic,))
        self.thread.start()

    def told(self, error, message):
        self.failed.append(str(error)) if error else self.acknowledged.append(message.value())

    def run(self, topic):
        i = 0
        while not self.ended:
            self.p.produce(topic, b"%d" % i, partition=i % 2, on_delivery=self.told)
            self.p.poll(0)
            i += 1
            time.sleep(0.0005)
        self.left = self.p.flush(60)

    def end(self):
        self.ended = True
        self.thread.join()
        assert self.left == 0 and not self.failed, (self.left, self.failed[:3])
        return self.acknowledged


def tear(server, topic):
    """The last write of a process that dies with the machine may be half there: the beginning of one more batch at the end."""
    for folder in pathlib.Path(server.data).glob(f"**/{topic}-*"):
        last = max(folder.glob("*.log"))
        bytes_ = last.read_bytes()
        if len(bytes_) > 100:
            with open(last, "ab") as log:
                log.write(bytes_[:random.randrange(1, 90)])


def test_kill_9_again_and_again_loses_nothing_and_doubles_nothing(own_server, name):
    server = own_server("group.initial.rebalance.delay.ms=0")
    topic = name("killed")
    create(server.address, topic, 2)
    stream = Stream(server.address, topic)
    for _ in range(8):
        before = len(stream.acknowledged)
        until(lambda: len(stream.acknowledged) > before + 100, 30, "a hundred more acknowledgements")
        server.kill()
        tear(server, topic)
        server.start()
    acknowledged = stream.end()
    c = consumer(server.address, name("g"), **{"check.crcs": True})
    c.subscribe([topic])
    got = [(m.partition(), int(m.value())) for m in read(c, len(acknowledged))]
    c.close()
    assert sorted(n for _, n in got) == sorted(int(v) for v in acknowledged)
    for partition in range(2):
        mine = [n for p, n in got if p == partition]
        assert mine == sorted(mine), "each partition in the order of its producer"
