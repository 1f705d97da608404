"""Group members by hand, one connection each."""
import time

from wire import MEMBER_ID_REQUIRED, NONE, REBALANCE, subscription


class Hand:
    """A member whose every request is sent by hand."""

    def __init__(self, connect, group, topics=("t",), client_id="wire", instance=None, protocols=None, session=10000,
                 rebalance=10000, kind="consumer"):
        self.c, self.group, self.instance, self.kind = connect(client_id), group, instance, kind
        self.session, self.rebalance = session, rebalance
        self.protocols = protocols or [("range", subscription(*topics))]
        self.id, self.generation, self.joined = "", -1, None

    def send_join(self, version=5, **other):
        fields = dict(group_id=self.group, session_timeout_ms=self.session, member_id=self.id, protocol_type=self.kind,
                      protocols=[dict(name=n, metadata=m) for n, m in self.protocols])
        if version >= 1:
            fields["rebalance_timeout_ms"] = self.rebalance
        if version >= 5:
            fields["group_instance_id"] = self.instance
        return self.c.send("JoinGroup", version, **{**fields, **other})

    def take_join(self, seconds=10):
        r = self.c.receive(seconds)
        if r is not None and r["error_code"] in (NONE, MEMBER_ID_REQUIRED):
            self.id = r["member_id"]
        if r is not None and r["error_code"] == NONE:
            self.generation, self.joined = r["generation_id"], r
        return r

    def join(self, version=5, **other):
        """One JoinGroup and its answer."""
        self.send_join(version, **other)
        return self.take_join()

    def learn_id(self, version=5):
        """The first half of KIP-394."""
        r = self.join(version)
        assert r["error_code"] == MEMBER_ID_REQUIRED and r["member_id"], r
        return self

    def enter(self, version=5):
        """Both halves: joined as soon as the group lets it."""
        if not self.id and self.instance is None and version >= 4:
            self.learn_id(version)
        return self.join(version)

    def leads(self):
        return self.joined["leader"] == self.id

    def send_sync(self, assignments=(), version=3, **other):
        fields = dict(group_id=self.group, generation_id=self.generation, member_id=self.id,
                      assignments=[dict(member_id=m, assignment=a) for m, a in assignments])
        if version >= 3:
            fields["group_instance_id"] = self.instance
        return self.c.send("SyncGroup", version, **{**fields, **other})

    def sync(self, assignments=(), version=3, **other):
        self.send_sync(assignments, version, **other)
        return self.c.receive()

    def heartbeat(self, **other):
        fields = dict(group_id=self.group, generation_id=self.generation, member_id=self.id, group_instance_id=self.instance)
        return self.c.call("Heartbeat", 3, **{**fields, **other})["error_code"]

    def until(self, error, seconds=5):
        """Heartbeats until one is answered so: requests on other connections take effect in their own time."""
        end = time.monotonic() + seconds
        while (got := self.heartbeat()) != error:
            assert time.monotonic() < end, f"heartbeats say {got}, not {error}"
            time.sleep(0.005)

    def leave(self):
        return self.c.call("LeaveGroup", 3, group_id=self.group, members=[dict(member_id=self.id, group_instance_id=self.instance)])

    def commit(self, topic, offset=1, version=7, metadata="", partition=0, **other):
        fields = dict(group_id=self.group, generation_id_or_member_epoch=self.generation, member_id=self.id, group_instance_id=self.instance,
                      topics=[dict(name=topic, partitions=[dict(partition_index=partition, committed_offset=offset, committed_leader_epoch=-1,
                                                                committed_metadata=metadata)])])
        r = self.c.call("OffsetCommit", version, **{**fields, **other})
        return r["topics"][0]["partitions"][0]["error_code"]


def stable(connect, group, n=1, **options):
    """`n` members in a stable group, each assigned its own bytes; the leader first."""
    members = []
    for _ in range(n):
        new = Hand(connect, group, **options).learn_id()
        new.send_join()
        for m in members:
            m.until(REBALANCE)
            m.send_join()
        members.append(new)
        for m in members:
            r = m.take_join()
            assert r["error_code"] == NONE, r
    members.sort(key=lambda m: not m.leads())
    leader, *followers = members
    r = leader.sync([(m.id, b"assignment %d" % i) for i, m in enumerate(members)])
    assert r["error_code"] == NONE and r["assignment"] == b"assignment 0", r
    for i, m in enumerate(followers, 1):
        r = m.sync()
        assert r["error_code"] == NONE and r["assignment"] == b"assignment %d" % i, r
    return members


def rejoin_all(members):
    """One rebalance in which everybody takes part: the leader's join starts it."""
    first, *others = sorted(members, key=lambda m: not m.leads())
    first.send_join()
    for m in others:
        m.until(REBALANCE)
        m.send_join()
    return [m.take_join() for m in members]
