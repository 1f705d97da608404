"""Apache Kafka's own command-line tools (Java): topics, console producer and consumer, consumer groups, offsets."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
KAFKA = os.environ.get("KOHORT_KAFKA_DIR")
TOOLS = "org.apache.kafka.tools."


def tool(cls, *args, stdin=None):
    assert KAFKA, "KOHORT_KAFKA_DIR must name the folder of `tests/peers/kafka install`"
    done = subprocess.run(["bash", str(ROOT / "tests/peers/kafka"), "tool", KAFKA, TOOLS + cls, *args],
                          input=stdin, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def topic(bootstrap):
    topic = "tools-" + os.urandom(4).hex()
    tool("TopicCommand", "--bootstrap-server", bootstrap, "--create", "--topic", topic, "--partitions", "3")
    tool("ConsoleProducer", "--bootstrap-server", bootstrap, "--topic", topic, stdin="".join(f"m{i}\n" for i in range(90)))
    return topic


def test_topics_are_described(bootstrap, topic):
    described = tool("TopicCommand", "--bootstrap-server", bootstrap, "--describe", "--topic", topic)
    assert "PartitionCount: 3" in described


def test_a_group_consumes_and_is_described_and_reset(bootstrap, topic, name):
    group = name("g")
    got = tool("consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic, "--group", group,
               "--from-beginning", "--max-messages", "90", "--timeout-ms", "60000")
    assert sorted(got.split()) == sorted(f"m{i}" for i in range(90))
    groups = "consumer.group.ConsumerGroupCommand"
    assert group in tool(groups, "--bootstrap-server", bootstrap, "--list").split()
    rows = [r.split() for r in tool(groups, "--bootstrap-server", bootstrap, "--describe", "--group", group).splitlines()
            if r.startswith(group)]
    assert len(rows) == 3 and all(r[5] == "0" for r in rows), rows
    assert sum(int(r[3]) for r in rows) == 90
    state = tool(groups, "--bootstrap-server", bootstrap, "--describe", "--group", group, "--state")
    assert "Empty" in state
    tool(groups, "--bootstrap-server", bootstrap, "--group", group, "--reset-offsets", "--to-earliest", "--topic", topic, "--execute")
    rows = [r.split() for r in tool(groups, "--bootstrap-server", bootstrap, "--describe", "--group", group).splitlines()
            if r.startswith(group)]
    assert sum(int(r[5]) for r in rows) == 90, "all is lag again"
    tool(groups, "--bootstrap-server", bootstrap, "--delete", "--group", group)
    assert group not in tool(groups, "--bootstrap-server", bootstrap, "--list").split()


def test_the_offset_shell_reads_the_ends(bootstrap, topic):
    ends = tool("GetOffsetShell", "--bootstrap-server", bootstrap, "--topic", topic)
    assert sum(int(line.rsplit(":", 1)[1]) for line in ends.split()) == 90


def test_the_perf_tools_run(bootstrap, name):
    topic = name("perf")
    tool("ProducerPerformance", "--topic", topic, "--num-records", "20000", "--record-size", "100", "--throughput", "-1",
         "--producer-props", f"bootstrap.servers={bootstrap}")
    out = tool("ConsumerPerformance", "--bootstrap-server", bootstrap, "--topic", topic, "--messages", "20000",
               "--group", name("g"), "--timeout", "30000")
    assert ", 20000, " in out, out
