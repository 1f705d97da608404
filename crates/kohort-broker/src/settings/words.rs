//! What each setting is for, in a sentence or two: DescribeConfigs tells it to those who ask for documentation.

use super::TOPIC;

/// What `name` is for; nothing, if there is no such setting.
pub fn documentation(name: &str) -> Option<String> {
    if let Some((_, words)) = OWN.iter().find(|(n, _)| *n == name) {
        return Some((*words).to_owned());
    }
    // The broker's setting behind a topic's, in the finest unit or a coarser one.
    let topic = TOPIC.iter().find(|s| s.broker.contains(&name))?;
    let unit = if name.ends_with(".hours") {
        ", in hours"
    } else if name.ends_with(".minutes") {
        ", in minutes"
    } else {
        ""
    };
    let words = documentation(topic.name)?;
    Some(format!("For topics that do not set `{}` themselves{unit}: {words}", topic.name))
}

/// Of topics, groups and subscriptions, and of the broker where no topic has the same.
#[rustfmt::skip]
static OWN: &[(&str, &str)] = &[
    ("advertised.listeners", "The address that clients are told to connect to; by default the one that the broker listens on."),
    ("auto.create.topics.enable", "Whether a topic that does not exist is made when a client asks for its metadata and allows it."),
    ("cleanup.policy", "What happens to old segments: `delete` drops them by age and size, `compact` keeps the newest record of each key. Both may be set."),
    ("compression.gzip.level", "The level for batches that the broker compresses with gzip; -1 is gzip's own default."),
    ("compression.lz4.level", "The level for batches that the broker compresses with lz4."),
    ("compression.type", "How batches are compressed on disk: `producer` keeps what the producer chose; a codec or `uncompressed` rewrites what comes otherwise."),
    ("compression.zstd.level", "The level for batches that the broker compresses with zstd."),
    ("connections.max.idle.ms", "A connection on which nothing was said for so many milliseconds is closed; a negative number keeps it for ever."),
    ("consumer.assignment.interval.ms", "The least time between two assignments of a group of the consumer protocol, in milliseconds. Without effect on classic groups."),
    ("consumer.heartbeat.interval.ms", "How often members of the consumer protocol are to send heartbeats, in milliseconds. Without effect on classic groups."),
    ("consumer.session.timeout.ms", "After so many milliseconds without a heartbeat a member of the consumer protocol is taken for dead. Without effect on classic groups."),
    ("default.replication.factor", "The replicas of topics that are made without saying how many. This is one node: always 1."),
    ("delete.retention.ms", "How long a compacted topic keeps a tombstone, in milliseconds: who reads it from the start must be done within that time to see every deletion."),
    ("delete.topic.enable", "Whether topics may be deleted."),
    ("fetch.max.bytes", "The most bytes that one answer to a fetch holds, whatever the client allows; a larger first batch is sent all the same."),
    ("file.delete.delay.ms", "How long a deleted segment's file stays on disk, in milliseconds. Kept and told: here it goes at once."),
    ("flush.messages", "After how many records a partition is written through to disk. Left alone, the operating system decides."),
    ("flush.ms", "After how many milliseconds what was written to a partition is written through to disk. Left alone, the operating system decides."),
    ("follower.replication.throttled.replicas", "The replicas whose copying is slowed on the follower's side, as PARTITION:BROKER, or `*`. Kept and told: one node copies nothing."),
    ("group.consumer.heartbeat.interval.ms", "For groups that do not set `consumer.heartbeat.interval.ms` themselves. Without effect on classic groups."),
    ("group.consumer.max.size", "The most members of a group of the consumer protocol. Without effect on classic groups."),
    ("group.consumer.session.timeout.ms", "For groups that do not set `consumer.session.timeout.ms` themselves. Without effect on classic groups."),
    ("group.initial.rebalance.delay.ms", "How long a new group waits for more members before its first rebalance, in milliseconds."),
    ("group.max.session.timeout.ms", "The longest session timeout that a member may ask for, in milliseconds."),
    ("group.max.size", "The most members that a group takes."),
    ("group.min.session.timeout.ms", "The shortest session timeout that a member may ask for, in milliseconds."),
    ("index.interval.bytes", "A partition's index has an entry for about so many bytes of records."),
    ("interval.ms", "How often a client is to push its metrics, in milliseconds. Kept and told: this broker asks for none."),
    ("kohort.lost.connection.grace.ms", "How long a member whose connection is lost has to come back before it leaves its group, in milliseconds; 0 waits for its session's end, as Kafka does."),
    ("kohort.park.heartbeats", "Whether a heartbeat without news waits for some, so that members learn of a rebalance at once; `false` answers each at once, as Kafka does."),
    ("leader.replication.throttled.replicas", "The replicas whose copying is slowed on the leader's side, as PARTITION:BROKER, or `*`. Kept and told: one node copies nothing."),
    ("local.retention.bytes", "With tiered storage, the bytes of a partition that stay on local disk; -2 is `retention.bytes`. Kept and told: there is no tiered storage here."),
    ("local.retention.ms", "With tiered storage, the milliseconds that records stay on local disk; -2 is `retention.ms`. Kept and told: there is no tiered storage here."),
    ("log.cleaner.backoff.ms", "How long the compaction of logs rests between two rounds, in milliseconds."),
    ("log.retention.check.interval.ms", "How often it is looked for segments that retention lets go, in milliseconds."),
    ("match", "Which clients a subscription is for, as NAME=PATTERN between commas. Kept and told: this broker asks for no metrics."),
    ("max.compaction.lag.ms", "A record of a compacted topic waits for compaction no longer than so many milliseconds."),
    ("max.incremental.fetch.session.cache.slots", "The most fetch sessions that are remembered; 0 remembers none, and each fetch names all its partitions."),
    ("max.message.bytes", "The largest batch of records that is taken, compressed, in bytes."),
    ("message.timestamp.after.max.ms", "How far ahead of the broker's clock a record's timestamp may be, in milliseconds. Not looked at with LogAppendTime."),
    ("message.timestamp.before.max.ms", "How far behind the broker's clock a record's timestamp may be, in milliseconds. Not looked at with LogAppendTime."),
    ("message.timestamp.type", "Whose time a record carries: `CreateTime` is the producer's, `LogAppendTime` the broker's."),
    ("metrics", "The prefixes of the metrics that clients are to push, between commas. Kept and told: this broker asks for none."),
    ("min.cleanable.dirty.ratio", "A log is compacted when this share of it has not been compacted yet."),
    ("min.compaction.lag.ms", "A record of a compacted topic is left alone for at least so many milliseconds."),
    ("min.insync.replicas", "How many replicas must have a record before `acks=all` is answered, and never more than there are. This is one node: without effect."),
    ("node.id", "This node's number."),
    ("num.partitions", "The partitions of topics that are made without saying how many."),
    ("offset.metadata.max.bytes", "The most bytes of metadata that a committed offset may carry."),
    ("offsets.retention.check.interval.ms", "How often it is looked for committed offsets that are too old, in milliseconds."),
    ("offsets.retention.minutes", "How long the offsets of a group without members are kept, in minutes."),
    ("offsets.topic.num.partitions", "The partitions of `__consumer_offsets`. Only looked at when it is made."),
    ("offsets.topic.segment.bytes", "The size of a segment of `__consumer_offsets`, in bytes."),
    ("preallocate", "Whether a segment's file has its full size from the start. Kept and told: here files grow as they are written."),
    ("producer.id.expiration.ms", "An idempotent producer that was silent for so many milliseconds is forgotten."),
    ("remote.log.copy.disable", "With tiered storage, whether copying to it has ended. Kept and told: there is no tiered storage here."),
    ("remote.log.delete.on.disable", "With tiered storage, whether turning it off deletes what is there. Kept and told: there is no tiered storage here."),
    ("remote.storage.enable", "Whether old segments go to tiered storage. There is none here."),
    ("retention.bytes", "The oldest segments of a partition are deleted while it is larger than so many bytes, where `cleanup.policy` has `delete`; -1 is no limit."),
    ("retention.ms", "Segments whose records are all older than so many milliseconds are deleted, where `cleanup.policy` has `delete`; -1 is no limit."),
    ("segment.bytes", "A segment that reaches so many bytes is closed and the next one begun. Retention and compaction work on closed segments."),
    ("segment.index.bytes", "The largest index of a segment, in bytes; a segment whose index is full is closed."),
    ("segment.jitter.ms", "The most milliseconds by which `segment.ms` is shortened at random. Kept and told: here it is not shortened."),
    ("segment.ms", "A segment is closed after so many milliseconds, even if it is small."),
    ("socket.request.max.bytes", "A request that is larger, in bytes, is not read, and its connection is closed."),
    ("unclean.leader.election.enable", "Whether a replica that lags may lead when no other is left. This is one node: without effect."),
];

#[cfg(test)]
mod tests {
    use super::super::{BROKER, CLIENT_METRICS, GROUP};
    use super::*;

    #[test]
    fn every_setting_says_what_it_is_for() {
        let all = [BROKER, TOPIC, GROUP, CLIENT_METRICS].into_iter().flatten();
        let silent: Vec<_> = all.map(|s| s.name).filter(|name| documentation(name).is_none()).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn words_are_of_settings_there_are() {
        let known =
            |name: &str| [BROKER, TOPIC, GROUP, CLIENT_METRICS].into_iter().flatten().any(|s| s.name == name);
        let strange: Vec<_> = OWN.iter().map(|(name, _)| *name).filter(|name| !known(name)).collect();
        assert!(strange.is_empty(), "{strange:?}");
    }

    #[test]
    fn the_settings_behind_a_topics_refer_to_it() {
        let hours = documentation("log.retention.hours").unwrap();
        assert!(
            hours.starts_with("For topics that do not set `retention.ms` themselves, in hours: "),
            "{hours}"
        );
    }
}
