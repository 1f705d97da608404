//! The broker's settings under Kafka's own names, with Kafka's defaults; ours beside them begin with `kohort.`.
//!
//! One table says name, kind, default and meaning: parsing, errors with a hint, and DescribeConfigs all read it. A name or a value
//! that is not understood is an error, never ignored.

use std::collections::BTreeMap;

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within bounds.
    Int(i64, i64),
    /// A number.
    Double,
    /// `true` or `false`.
    Bool,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default, as text.
    pub default: &'static str,
    /// For a topic's configuration: the broker setting that it overrides, or "".
    pub broker: &'static str,
}

/// Why a setting is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No such name.
    #[error("unknown setting `{name}`{}", hint.map(|h| format!("; did you mean `{h}`?")).unwrap_or_default())]
    Unknown {
        /// What was given.
        name: String,
        /// The nearest name there is.
        hint: Option<&'static str>,
    },
    /// A value that the setting does not take.
    #[error("`{name}` cannot be `{value}`: {wanted}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        wanted: String,
    },
    /// Not of the form KEY=VALUE.
    #[error("`{0}` is not of the form KEY=VALUE")]
    Form(String),
}

const I32: i64 = i32::MAX as i64;
const POLICY: &[&str] = &["delete", "compact", "compact,delete", "delete,compact"];
const CODECS: &[&str] = &["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];
const TIMESTAMPS: &[&str] = &["CreateTime", "LogAppendTime"];

const fn s(name: &'static str, kind: Kind, default: &'static str) -> Setting {
    Setting { name, kind, default, broker: "" }
}

const fn t(name: &'static str, kind: Kind, default: &'static str, broker: &'static str) -> Setting {
    Setting { name, kind, default, broker }
}

/// The broker's settings.
pub static BROKER: &[Setting] = &[
    s("advertised.listeners", Kind::Text, ""),
    s("auto.create.topics.enable", Kind::Bool, "true"),
    s("compression.type", Kind::Choice(CODECS), "producer"),
    s("connections.max.idle.ms", Kind::Int(-1, i64::MAX), "600000"),
    s("default.replication.factor", Kind::Int(1, 1), "1"),
    s("delete.topic.enable", Kind::Bool, "true"),
    s("fetch.max.bytes", Kind::Int(1024, I32), "57671680"),
    s("group.consumer.heartbeat.interval.ms", Kind::Int(1, I32), "5000"),
    s("group.consumer.max.size", Kind::Int(1, I32), "2147483647"),
    s("group.consumer.session.timeout.ms", Kind::Int(1, I32), "45000"),
    s("group.initial.rebalance.delay.ms", Kind::Int(0, I32), "3000"),
    s("group.max.session.timeout.ms", Kind::Int(1, I32), "1800000"),
    s("group.max.size", Kind::Int(1, I32), "2147483647"),
    s("group.min.session.timeout.ms", Kind::Int(1, I32), "6000"),
    s("kohort.lost.connection.grace.ms", Kind::Int(0, I32), "500"),
    s("kohort.park.heartbeats", Kind::Bool, "true"),
    s("log.cleaner.backoff.ms", Kind::Int(0, i64::MAX), "15000"),
    s("log.cleaner.delete.retention.ms", Kind::Int(0, i64::MAX), "86400000"),
    s("log.cleaner.max.compaction.lag.ms", Kind::Int(1, i64::MAX), "9223372036854775807"),
    s("log.cleaner.min.cleanable.ratio", Kind::Double, "0.5"),
    s("log.cleaner.min.compaction.lag.ms", Kind::Int(0, i64::MAX), "0"),
    s("log.cleanup.policy", Kind::Choice(POLICY), "delete"),
    s("log.flush.interval.messages", Kind::Int(1, i64::MAX), "9223372036854775807"),
    s("log.flush.interval.ms", Kind::Int(0, i64::MAX), "9223372036854775807"),
    s("log.index.interval.bytes", Kind::Int(0, I32), "4096"),
    s("log.index.size.max.bytes", Kind::Int(4, I32), "10485760"),
    s("log.message.timestamp.after.max.ms", Kind::Int(0, i64::MAX), "3600000"),
    s("log.message.timestamp.before.max.ms", Kind::Int(0, i64::MAX), "9223372036854775807"),
    s("log.message.timestamp.type", Kind::Choice(TIMESTAMPS), "CreateTime"),
    s("log.retention.bytes", Kind::Int(-1, i64::MAX), "-1"),
    s("log.retention.check.interval.ms", Kind::Int(1, i64::MAX), "300000"),
    s("log.retention.hours", Kind::Int(-1, I32), "168"),
    s("log.retention.minutes", Kind::Int(-1, I32), "10080"),
    s("log.retention.ms", Kind::Int(-1, i64::MAX), "604800000"),
    s("log.roll.hours", Kind::Int(1, I32), "168"),
    s("log.roll.ms", Kind::Int(1, i64::MAX), "604800000"),
    s("log.segment.bytes", Kind::Int(1_048_576, I32), "1073741824"),
    s("max.incremental.fetch.session.cache.slots", Kind::Int(0, I32), "1000"),
    s("message.max.bytes", Kind::Int(0, I32), "1048588"),
    s("min.insync.replicas", Kind::Int(1, 1), "1"),
    s("node.id", Kind::Int(0, I32), "1"),
    s("num.partitions", Kind::Int(1, I32), "1"),
    s("offset.metadata.max.bytes", Kind::Int(0, I32), "4096"),
    s("offsets.retention.check.interval.ms", Kind::Int(1, i64::MAX), "600000"),
    s("offsets.retention.minutes", Kind::Int(1, I32), "10080"),
    s("offsets.topic.num.partitions", Kind::Int(1, 100_000), "50"),
    s("offsets.topic.segment.bytes", Kind::Int(1, I32), "104857600"),
    s("producer.id.expiration.ms", Kind::Int(1, I32), "86400000"),
    s("socket.request.max.bytes", Kind::Int(1, I32), "104857600"),
];

/// A topic's configuration.
pub static TOPIC: &[Setting] = &[
    t("cleanup.policy", Kind::Choice(POLICY), "delete", "log.cleanup.policy"),
    t("compression.type", Kind::Choice(CODECS), "producer", "compression.type"),
    t("delete.retention.ms", Kind::Int(0, i64::MAX), "86400000", "log.cleaner.delete.retention.ms"),
    t("file.delete.delay.ms", Kind::Int(0, i64::MAX), "60000", ""),
    t("flush.messages", Kind::Int(1, i64::MAX), "9223372036854775807", "log.flush.interval.messages"),
    t("flush.ms", Kind::Int(0, i64::MAX), "9223372036854775807", "log.flush.interval.ms"),
    t("follower.replication.throttled.replicas", Kind::Text, "", ""),
    t("index.interval.bytes", Kind::Int(0, I32), "4096", "log.index.interval.bytes"),
    t("leader.replication.throttled.replicas", Kind::Text, "", ""),
    t("local.retention.bytes", Kind::Int(-2, i64::MAX), "-2", ""),
    t("local.retention.ms", Kind::Int(-2, i64::MAX), "-2", ""),
    t(
        "max.compaction.lag.ms",
        Kind::Int(1, i64::MAX),
        "9223372036854775807",
        "log.cleaner.max.compaction.lag.ms",
    ),
    t("max.message.bytes", Kind::Int(0, I32), "1048588", "message.max.bytes"),
    t(
        "message.timestamp.after.max.ms",
        Kind::Int(0, i64::MAX),
        "3600000",
        "log.message.timestamp.after.max.ms",
    ),
    t(
        "message.timestamp.before.max.ms",
        Kind::Int(0, i64::MAX),
        "9223372036854775807",
        "log.message.timestamp.before.max.ms",
    ),
    t("message.timestamp.type", Kind::Choice(TIMESTAMPS), "CreateTime", "log.message.timestamp.type"),
    t("min.cleanable.dirty.ratio", Kind::Double, "0.5", "log.cleaner.min.cleanable.ratio"),
    t("min.compaction.lag.ms", Kind::Int(0, i64::MAX), "0", "log.cleaner.min.compaction.lag.ms"),
    t("min.insync.replicas", Kind::Int(1, I32), "1", "min.insync.replicas"),
    t("preallocate", Kind::Bool, "false", ""),
    t("remote.storage.enable", Kind::Choice(&["false"]), "false", ""),
    t("retention.bytes", Kind::Int(-1, i64::MAX), "-1", "log.retention.bytes"),
    t("retention.ms", Kind::Int(-1, i64::MAX), "604800000", "log.retention.ms"),
    t("segment.bytes", Kind::Int(1_048_576, I32), "1073741824", "log.segment.bytes"),
    t("segment.index.bytes", Kind::Int(4, I32), "10485760", "log.index.size.max.bytes"),
    t("segment.jitter.ms", Kind::Int(0, i64::MAX), "0", ""),
    t("segment.ms", Kind::Int(1, i64::MAX), "604800000", "log.roll.ms"),
    t("unclean.leader.election.enable", Kind::Bool, "false", ""),
];

impl Setting {
    /// The setting of that name in `table`.
    ///
    /// # Errors
    /// When there is none: with the nearest name as a hint.
    pub fn find(table: &'static [Self], name: &str) -> Result<&'static Self, SettingError> {
        table.iter().find(|s| s.name == name).ok_or_else(|| {
            let hint = table.iter().map(|s| (distance(name, s.name), s.name)).min();
            let hint = hint.filter(|(d, n)| *d <= 2.max(n.len() / 4)).map(|(_, n)| n);
            SettingError::Unknown { name: name.to_owned(), hint }
        })
    }

    /// Whether `value` is one that it takes; lists are normalised by removing spaces.
    ///
    /// # Errors
    /// When it is not: with what it takes.
    pub fn check(&self, value: &str) -> Result<String, SettingError> {
        let value: String = value.chars().filter(|c| !c.is_whitespace()).collect();
        let wanted = match self.kind {
            Kind::Int(low, high) => match value.parse::<i64>() {
                Ok(n) if (low..=high).contains(&n) => return Ok(value),
                _ => format!("it takes a whole number from {low} to {high}"),
            },
            Kind::Double => match value.parse::<f64>() {
                Ok(x) if (0.0..=1.0).contains(&x) => return Ok(value),
                _ => "it takes a number from 0 to 1".to_owned(),
            },
            Kind::Bool if matches!(value.as_str(), "true" | "false") => return Ok(value),
            Kind::Bool => "it takes `true` or `false`".to_owned(),
            Kind::Choice(of) if of.contains(&value.as_str()) => return Ok(value),
            Kind::Choice(of) => format!("it takes one of {}", of.join(", ")),
            Kind::Text => return Ok(value),
        };
        Err(SettingError::Value { name: self.name, value, wanted })
    }
}

/// The broker's settings as they are in force: the defaults and what was set over them.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    set: BTreeMap<&'static str, String>,
    /// What follows from a setting in another unit: `log.retention.hours` gives `log.retention.ms` its value.
    derived: BTreeMap<&'static str, String>,
}

/// The same setting in coarser units, and how many milliseconds a unit has. The finest that is set counts, as in Kafka.
static UNITS: &[(&str, &[(&str, i64)])] = &[
    ("log.retention.ms", &[("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]),
    ("log.roll.ms", &[("log.roll.hours", 3_600_000)]),
];

impl Settings {
    /// Takes `KEY=VALUE`.
    ///
    /// # Errors
    /// When the name or the value is not understood.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), SettingError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| SettingError::Form(pair.to_owned()))?;
        self.set(name.trim(), value.trim())
    }

    /// Sets one.
    ///
    /// # Errors
    /// When the name or the value is not understood.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let setting = Setting::find(BROKER, name)?;
        self.set.insert(setting.name, setting.check(value)?);
        for (finest, coarser) in UNITS {
            let given = coarser.iter().find_map(|(name, unit)| Some((self.set.get(name)?, unit)));
            if let Some((value, unit)) = given {
                let count: i64 = value.parse().unwrap_or(-1);
                self.derived
                    .insert(finest, if count < 0 { count } else { count.saturating_mul(*unit) }.to_string());
            }
        }
        Ok(())
    }

    /// Whether it was set, and is not the default.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name) || self.derived.contains_key(name)
    }

    /// The value in force.
    ///
    /// # Panics
    /// When no setting has that name: our own mistake.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.set.get(name).or_else(|| self.derived.get(name)) {
            Some(value) => value,
            None => BROKER
                .iter()
                .find(|s| s.name == name)
                .map_or_else(|| panic!("no setting `{name}`"), |s| s.default),
        }
    }

    /// The value in force of a setting that is a whole number.
    #[must_use]
    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_else(|_| panic!("`{name}` is no number"))
    }

    /// The same, within `i32`.
    #[must_use]
    pub fn int32(&self, name: &str) -> i32 {
        i32::try_from(self.int(name)).unwrap_or(i32::MAX)
    }

    /// The value in force of a setting that is a count or a size.
    #[must_use]
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(0)
    }

    /// The value in force of a setting that is a time in milliseconds.
    #[must_use]
    pub fn millis(&self, name: &str) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.int(name)).unwrap_or(0))
    }

    /// The value in force of a setting that is on or off.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// A topic configuration in force: the topic's own, else the broker's, else the default.
    #[must_use]
    pub fn topic<'a>(&'a self, own: &'a BTreeMap<String, String>, setting: &'static Setting) -> &'a str {
        match own.get(setting.name) {
            Some(value) => value,
            None if setting.broker.is_empty() => setting.default,
            None => self.text(setting.broker),
        }
    }
}

/// Levenshtein's distance, for hints.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_its_setting_takes() {
        for setting in BROKER.iter().chain(TOPIC) {
            assert!(setting.check(setting.default).is_ok(), "{}", setting.name);
        }
        for setting in TOPIC.iter().filter(|s| !s.broker.is_empty()) {
            assert_eq!(
                Setting::find(BROKER, setting.broker).unwrap().default,
                setting.default,
                "{}",
                setting.name
            );
        }
        assert!(BROKER.is_sorted_by_key(|s| s.name) && TOPIC.is_sorted_by_key(|s| s.name));
    }

    #[test]
    fn a_misspelt_name_is_refused_with_a_hint() {
        let e = Settings::default().set_pair("num.partition=3").unwrap_err();
        assert_eq!(e.to_string(), "unknown setting `num.partition`; did you mean `num.partitions`?");
    }

    #[test]
    fn the_finest_unit_that_is_set_counts() {
        let mut settings = Settings::default();
        settings.set_pair("log.retention.hours=2").unwrap();
        assert_eq!(settings.int("log.retention.ms"), 7_200_000);
        settings.set_pair("log.retention.ms=5").unwrap();
        settings.set_pair("log.retention.minutes=-1").unwrap();
        assert_eq!(settings.int("log.retention.ms"), 5);
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_with_the_bounds() {
        let e = Settings::default().set_pair("num.partitions=0").unwrap_err();
        assert_eq!(
            e.to_string(),
            "`num.partitions` cannot be `0`: it takes a whole number from 1 to 2147483647"
        );
    }
}
