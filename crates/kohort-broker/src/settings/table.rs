//! Every setting there is, by name: one line each.

use super::Kind::{self, Bool, Choice, Double, Int, List, Replicas, Text, Texts};
use super::Setting;

const I32: i64 = i32::MAX as i64;
const I64: i64 = i64::MAX;
const MIN: i64 = i64::MIN;
const POLICY: Kind = List(&["compact", "delete"]);
const CODECS: Kind = Choice(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);
const TIMESTAMPS: Kind = Choice(&["CreateTime", "LogAppendTime"]);
const FOREVER: &str = "9223372036854775807";

/// A setting that is given at the start.
const fn s(name: &'static str, kind: Kind, default: &'static str) -> Setting {
    Setting { name, kind, default, broker: &[], dynamic: false }
}

/// One that may be changed while the broker runs, as in Kafka.
const fn d(name: &'static str, kind: Kind, default: &'static str) -> Setting {
    Setting { name, kind, default, broker: &[], dynamic: true }
}

const fn t(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    broker: &'static [&'static str],
) -> Setting {
    Setting { name, kind, default, broker, dynamic: false }
}

/// The broker's settings.
#[rustfmt::skip]
pub static BROKER: &[Setting] = &[
    s("advertised.listeners", Text, ""),
    s("auto.create.topics.enable", Bool, "true"),
    d("compression.gzip.level", Int(-1, 9), "-1"),
    d("compression.lz4.level", Int(1, 17), "9"),
    d("compression.type", CODECS, "producer"),
    d("compression.zstd.level", Int(-131_072, 22), "3"),
    s("connections.max.idle.ms", Int(-1, I64), "600000"),
    s("default.replication.factor", Int(1, 1), "1"),
    s("delete.topic.enable", Bool, "true"),
    s("fetch.max.bytes", Int(1024, I32), "57671680"),
    s("group.consumer.heartbeat.interval.ms", Int(1, I32), "5000"),
    s("group.consumer.max.size", Int(1, I32), "2147483647"),
    s("group.consumer.session.timeout.ms", Int(1, I32), "45000"),
    s("group.initial.rebalance.delay.ms", Int(0, I32), "3000"),
    s("group.max.session.timeout.ms", Int(1, I32), "1800000"),
    s("group.max.size", Int(1, I32), "2147483647"),
    s("group.min.session.timeout.ms", Int(1, I32), "6000"),
    s("kohort.lost.connection.grace.ms", Int(0, I32), "500"),
    s("kohort.park.heartbeats", Bool, "true"),
    d("log.cleaner.backoff.ms", Int(0, I64), "15000"),
    d("log.cleaner.delete.retention.ms", Int(0, I64), "86400000"),
    d("log.cleaner.max.compaction.lag.ms", Int(1, I64), FOREVER),
    d("log.cleaner.min.cleanable.ratio", Double, "0.5"),
    d("log.cleaner.min.compaction.lag.ms", Int(0, I64), "0"),
    d("log.cleanup.policy", POLICY, "delete"),
    d("log.flush.interval.messages", Int(1, I64), FOREVER),
    d("log.flush.interval.ms", Int(0, I64), FOREVER),
    d("log.index.interval.bytes", Int(0, I32), "4096"),
    d("log.index.size.max.bytes", Int(4, I32), "10485760"),
    d("log.local.retention.bytes", Int(-2, I64), "-2"),
    d("log.local.retention.ms", Int(-2, I64), "-2"),
    d("log.message.timestamp.after.max.ms", Int(0, I64), "3600000"),
    d("log.message.timestamp.before.max.ms", Int(0, I64), FOREVER),
    d("log.message.timestamp.type", TIMESTAMPS, "CreateTime"),
    d("log.preallocate", Bool, "false"),
    d("log.retention.bytes", Int(MIN, I64), "-1"),
    s("log.retention.check.interval.ms", Int(1, I64), "300000"),
    s("log.retention.hours", Int(-1, I32), "168"),
    s("log.retention.minutes", Int(-1, I32), "10080"),
    Setting { broker: &["log.retention.minutes", "log.retention.hours"], ..d("log.retention.ms", Int(-1, I64), "604800000") },
    s("log.roll.hours", Int(1, I32), "168"),
    Setting { broker: &["log.roll.hours"], ..d("log.roll.ms", Int(1, I64), "604800000") },
    d("log.segment.bytes", Int(1_048_576, I32), "1073741824"),
    d("log.segment.delete.delay.ms", Int(0, I64), "60000"),
    s("max.incremental.fetch.session.cache.slots", Int(0, I32), "1000"),
    d("message.max.bytes", Int(0, I32), "1048588"),
    d("min.insync.replicas", Int(1, I32), "1"),
    s("node.id", Int(0, I32), "1"),
    s("num.partitions", Int(1, I32), "1"),
    s("offset.metadata.max.bytes", Int(0, I32), "4096"),
    s("offsets.retention.check.interval.ms", Int(1, I64), "600000"),
    s("offsets.retention.minutes", Int(1, I32), "10080"),
    s("offsets.topic.num.partitions", Int(1, 100_000), "50"),
    s("offsets.topic.segment.bytes", Int(1, I32), "104857600"),
    d("producer.id.expiration.ms", Int(1, I32), "86400000"),
    s("socket.request.max.bytes", Int(1, I32), "104857600"),
    d("unclean.leader.election.enable", Bool, "false"),
];

/// A topic's configuration.
#[rustfmt::skip]
pub static TOPIC: &[Setting] = &[
    t("cleanup.policy", POLICY, "delete", &["log.cleanup.policy"]),
    t("compression.gzip.level", Int(-1, 9), "-1", &["compression.gzip.level"]),
    t("compression.lz4.level", Int(1, 17), "9", &["compression.lz4.level"]),
    t("compression.type", CODECS, "producer", &["compression.type"]),
    t("compression.zstd.level", Int(-131_072, 22), "3", &["compression.zstd.level"]),
    t("delete.retention.ms", Int(0, I64), "86400000", &["log.cleaner.delete.retention.ms"]),
    t("file.delete.delay.ms", Int(0, I64), "60000", &["log.segment.delete.delay.ms"]),
    t("flush.messages", Int(1, I64), FOREVER, &["log.flush.interval.messages"]),
    t("flush.ms", Int(0, I64), FOREVER, &["log.flush.interval.ms"]),
    t("follower.replication.throttled.replicas", Replicas, "", &[]),
    t("index.interval.bytes", Int(0, I32), "4096", &["log.index.interval.bytes"]),
    t("leader.replication.throttled.replicas", Replicas, "", &[]),
    t("local.retention.bytes", Int(-2, I64), "-2", &["log.local.retention.bytes"]),
    t("local.retention.ms", Int(-2, I64), "-2", &["log.local.retention.ms"]),
    t("max.compaction.lag.ms", Int(1, I64), FOREVER, &["log.cleaner.max.compaction.lag.ms"]),
    t("max.message.bytes", Int(0, I32), "1048588", &["message.max.bytes"]),
    t("message.timestamp.after.max.ms", Int(0, I64), "3600000", &["log.message.timestamp.after.max.ms"]),
    t("message.timestamp.before.max.ms", Int(0, I64), FOREVER, &["log.message.timestamp.before.max.ms"]),
    t("message.timestamp.type", TIMESTAMPS, "CreateTime", &["log.message.timestamp.type"]),
    t("min.cleanable.dirty.ratio", Double, "0.5", &["log.cleaner.min.cleanable.ratio"]),
    t("min.compaction.lag.ms", Int(0, I64), "0", &["log.cleaner.min.compaction.lag.ms"]),
    t("min.insync.replicas", Int(1, I32), "1", &["min.insync.replicas"]),
    t("preallocate", Bool, "false", &["log.preallocate"]),
    t("remote.log.copy.disable", Bool, "false", &[]),
    t("remote.log.delete.on.disable", Bool, "false", &[]),
    t("remote.storage.enable", Bool, "false", &[]),
    t("retention.bytes", Int(MIN, I64), "-1", &["log.retention.bytes"]),
    t("retention.ms", Int(-1, I64), "604800000", &["log.retention.ms", "log.retention.minutes", "log.retention.hours"]),
    t("segment.bytes", Int(1_048_576, I32), "1073741824", &["log.segment.bytes"]),
    t("segment.index.bytes", Int(4, I32), "10485760", &["log.index.size.max.bytes"]),
    t("segment.jitter.ms", Int(0, I64), "0", &[]),
    t("segment.ms", Int(1, I64), "604800000", &["log.roll.ms", "log.roll.hours"]),
    t("unclean.leader.election.enable", Bool, "false", &["unclean.leader.election.enable"]),
];

/// A group's configuration (KIP-848): kept and told, and without effect on groups of the classic protocol, as in Kafka.
#[rustfmt::skip]
pub static GROUP: &[Setting] = &[
    t("consumer.assignment.interval.ms", Int(0, 15_000), "1000", &[]),
    t("consumer.heartbeat.interval.ms", Int(5000, 15_000), "5000", &["group.consumer.heartbeat.interval.ms"]),
    t("consumer.session.timeout.ms", Int(45_000, 60_000), "45000", &["group.consumer.session.timeout.ms"]),
];

/// A subscription to clients' metrics (KIP-714): kept and told; clients are asked for none.
#[rustfmt::skip]
pub static CLIENT_METRICS: &[Setting] = &[
    t("interval.ms", Int(100, 3_600_000), "300000", &[]),
    t("match", Texts, "", &[]),
    t("metrics", Texts, "", &[]),
];
