//! The encodings inside JoinGroup's metadata ([`Subscription`]) and SyncGroup's assignment ([`Assignment`]).
//!
//! Both are Kafka's `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`, versions 0 to 3: an int16
//! version, then fields that are never flexible. Other clients write them with small liberties, so reading is lenient:
//! a version above 3 is read as 3 and its tail ignored, fields missing at the end count as absent (kafka-go says
//! version 1 and writes version 0), a negative generation and an empty rack are none, and an assignment of zero bytes
//! (what a broker hands to a member that the leader left out) is an empty one. What is not lenient: a length that
//! points beyond the bytes, text that is not UTF-8, a negative version.
//!
//! The users' data inside is the assignor's business: [`crate::assignor`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thiserror::Error;

use crate::messages::{Partition, TopicPartition};
use crate::wire::{Reader, Writer};

/// The newest version of both encodings; the one that [`Subscription::encode`] and [`Assignment::encode`] write.
pub const VERSION: i16 = 3;

/// Why bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A version below 0.
    #[error("negative version `{0}`")]
    NegativeVersion(i16),
    /// The bytes end within a field that cannot be missing.
    #[error("the bytes end within `{field}`, at byte {at} of {len}")]
    Short {
        /// The field's Kafka name.
        field: &'static str,
        /// Where it starts.
        at: usize,
        /// How many bytes there are.
        len: usize,
    },
    /// A length below what the field allows, or one that the bytes left cannot hold.
    #[error("impossible length `{length}` of `{field}`")]
    Length {
        /// The field's Kafka name.
        field: &'static str,
        /// What the bytes say.
        length: i32,
    },
    /// Text that is not UTF-8.
    #[error("`{field}` is not UTF-8")]
    Text {
        /// The field's Kafka name.
        field: &'static str,
    },
}

/// What a member asks for in JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The topics it wants. Shared, because the members of a large group want the same ones ([`Subscriptions`]).
    pub topics: Arc<BTreeSet<String>>,
    /// What its assignor sends to the leader's assignor; empty and absent are told apart.
    pub user_data: Option<Vec<u8>>,
    /// What it owns (KIP-429, since version 1); empty where an eager member has given everything back.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it came to own that (KIP-792, since version 2).
    pub generation: Option<i32>,
    /// Where it runs (KIP-881, since version 3).
    pub rack: Option<String>,
}

impl Subscription {
    /// A subscription to `topics` and nothing else said.
    pub fn new<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> Self {
        Self { topics: Arc::new(topics.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// The bytes of version 3, topics and partitions sorted as Java does.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(VERSION)
    }

    /// The bytes of `version` (0 to 3; others are taken as the nearest): what it has no field for is left out.
    #[must_use]
    pub fn encode_as(&self, version: i16) -> Vec<u8> {
        let version = version.clamp(0, VERSION);
        let mut out = Writer::default();
        out.int16(version);
        out.length(self.topics.len());
        for topic in self.topics.iter() {
            out.string(topic);
        }
        out.nullable_bytes(self.user_data.as_deref());
        if version >= 1 {
            write_partitions(&mut out, &self.owned);
        }
        if version >= 2 {
            out.int32(self.generation.unwrap_or(-1));
        }
        if version >= 3 {
            out.nullable_string(self.rack.as_deref());
        }
        out.bytes()
    }

    /// Reads what any client may have written.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Subscriptions::default().decode(bytes)
    }
}

/// Reads the subscriptions of many members and lets equal topic lists share one set: ten thousand members on a
/// thousand topics are then ten thousand pointers, not ten million names.
#[derive(Debug, Default)]
pub struct Subscriptions<'a> {
    seen: BTreeMap<&'a [u8], Arc<BTreeSet<String>>>,
}

impl<'a> Subscriptions<'a> {
    /// As [`Subscription::decode`].
    ///
    /// # Errors
    ///
    /// [`DecodeError`], with the field.
    pub fn decode(&mut self, bytes: &'a [u8]) -> Result<Subscription, DecodeError> {
        let mut from = Reader::new(bytes);
        let version = read_version(&mut from)?;
        let begin = from.position();
        let count = from.length("topics", 2)?;
        for _ in 0..count {
            from.raw_string("topics")?;
        }
        let list = &bytes[begin..from.position()];
        let topics = match self.seen.get(list) {
            Some(topics) => Arc::clone(topics),
            None => {
                let mut again = Reader::new(list);
                let count = again.length("topics", 2)?;
                let names = (0..count).map(|_| again.string("topics")).collect::<Result<_, _>>()?;
                let topics: Arc<BTreeSet<String>> = Arc::new(names);
                self.seen.insert(list, Arc::clone(&topics));
                topics
            }
        };
        let mut read = Subscription { topics, ..Subscription::default() };
        if !from.is_empty() {
            read.user_data = from.nullable_bytes("user_data")?.map(<[u8]>::to_vec);
        }
        if version >= 1 && !from.is_empty() {
            read.owned = read_partitions(&mut from, "owned_partitions")?;
        }
        if version >= 2 && !from.is_empty() {
            read.generation = Some(from.int32("generation_id")?).filter(|generation| *generation >= 0);
        }
        if version >= 3 && !from.is_empty() {
            read.rack = from.nullable_string("rack_id")?.filter(|rack| !rack.is_empty());
        }
        Ok(read)
    }
}

/// What the leader gives to a member in SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Its partitions, in the assignor's order.
    pub partitions: Vec<TopicPartition>,
    /// What the leader's assignor says to the member's.
    pub user_data: Option<Vec<u8>>,
}

impl Assignment {
    /// An assignment of `partitions` without user data.
    #[must_use]
    pub fn new(partitions: Vec<TopicPartition>) -> Self {
        Self { partitions, user_data: None }
    }

    /// The bytes, at version 3 (all versions share one layout). Never empty, also for no partitions.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(VERSION)
    }

    /// The bytes, with `version` (0 to 3; others are taken as the nearest) in front: a coordinator that assigns for a
    /// classic member answers in the version of that member's subscription.
    #[must_use]
    pub fn encode_as(&self, version: i16) -> Vec<u8> {
        let mut out = Writer::default();
        out.int16(version.clamp(0, VERSION));
        write_partitions(&mut out, &self.partitions);
        out.nullable_bytes(self.user_data.as_deref());
        out.bytes()
    }

    /// Reads an assignment; zero bytes are an empty one.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut from = Reader::new(bytes);
        read_version(&mut from)?;
        let partitions = match from.is_empty() {
            true => Vec::new(),
            false => read_partitions(&mut from, "assigned_partitions")?,
        };
        let user_data = match from.is_empty() {
            true => None,
            false => from.nullable_bytes("user_data")?.map(<[u8]>::to_vec),
        };
        Ok(Self { partitions, user_data })
    }
}

/// The version of the bytes, as the coordinator must know it to answer a classic member.
///
/// # Errors
///
/// [`DecodeError`] where there is none, or a negative one.
pub fn version_of(bytes: &[u8]) -> Result<i16, DecodeError> {
    read_version(&mut Reader::new(bytes))
}

fn read_version(from: &mut Reader<'_>) -> Result<i16, DecodeError> {
    match from.int16("version")? {
        version @ 0.. => Ok(version),
        version => Err(DecodeError::NegativeVersion(version)),
    }
}

/// Partitions grouped by topic and sorted, as Java writes them.
pub(crate) fn write_partitions(out: &mut Writer, partitions: &[TopicPartition]) {
    let mut by_topic: BTreeMap<&str, Vec<Partition>> = BTreeMap::new();
    for of in partitions {
        by_topic.entry(&of.topic).or_default().push(of.partition);
    }
    out.length(by_topic.len());
    for (topic, mut partitions) in by_topic {
        partitions.sort_unstable();
        out.string(topic);
        out.length(partitions.len());
        for partition in partitions {
            out.int32(partition);
        }
    }
}

pub(crate) fn read_partitions(
    from: &mut Reader<'_>,
    field: &'static str,
) -> Result<Vec<TopicPartition>, DecodeError> {
    let mut read = Vec::new();
    for _ in 0..from.length(field, 6)? {
        let topic = from.string(field)?;
        let count = from.length(field, 4)?;
        read.reserve(count);
        for _ in 0..count {
            read.push(TopicPartition { topic: topic.clone(), partition: from.int32(field)? });
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Subscription {
        Subscription {
            user_data: Some(vec![7]),
            owned: vec![TopicPartition::new("a", 1), TopicPartition::new("b", 0)],
            generation: Some(5),
            rack: Some("r".into()),
            ..Subscription::new(["b", "a"])
        }
    }

    #[test]
    fn bytes_are_kafkas() {
        let bytes = full().encode();
        let expected: &[u8] = b"\0\x03\0\0\0\x02\0\x01a\0\x01b\0\0\0\x01\x07\
            \0\0\0\x02\0\x01a\0\0\0\x01\0\0\0\x01\0\x01b\0\0\0\x01\0\0\0\0\0\0\0\x05\0\x01r";
        assert_eq!(bytes, expected);
        let assignment = Assignment::new(vec![TopicPartition::new("a", 2), TopicPartition::new("a", 1)]);
        let expected: &[u8] = b"\0\x03\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\x01\0\0\0\x02\xff\xff\xff\xff";
        assert_eq!(assignment.encode(), expected);
    }

    #[test]
    fn each_version_keeps_what_it_has_a_field_for() {
        let all = full();
        let none = Subscription { owned: vec![], generation: None, rack: None, ..all.clone() };
        let owned = Subscription { owned: all.owned.clone(), ..none.clone() };
        let generation = Subscription { generation: Some(5), ..owned.clone() };
        for (version, kept) in [(0, none), (1, owned), (2, generation), (3, all.clone())] {
            assert_eq!(Subscription::decode(&all.encode_as(version)), Ok(kept), "version {version}");
        }
    }

    #[test]
    fn version_1_without_owned_partitions_is_read_as_kafka_go_means_it() {
        let mut bytes = full().encode_as(0);
        bytes[1] = 1;
        assert_eq!(Subscription::decode(&bytes).unwrap().owned, vec![]);
    }

    #[test]
    fn a_newer_version_is_read_as_3_and_its_tail_ignored() {
        let mut bytes = full().encode();
        bytes[1] = 9;
        bytes.extend_from_slice(b"what comes later");
        assert_eq!(Subscription::decode(&bytes), Ok(full()));
    }

    #[test]
    fn negative_generation_and_empty_rack_are_none() {
        let said = Subscription { generation: Some(-1), rack: Some(String::new()), ..full() };
        let read = Subscription::decode(&said.encode()).unwrap();
        assert_eq!((read.generation, read.rack), (None, None));
    }

    #[test]
    fn zero_bytes_assign_nothing_and_nothing_has_bytes() {
        assert_eq!(Assignment::decode(&[]), Ok(Assignment::default()));
        assert!(Assignment::default().encode().len() >= 2);
        assert_eq!(Assignment::decode(&Assignment::default().encode()), Ok(Assignment::default()));
    }

    #[test]
    fn cut_bytes_and_giant_lengths_are_refused_and_never_allocate_for() {
        assert_eq!(Subscription::decode(&[0xff, 0xff]), Err(DecodeError::NegativeVersion(-1)));
        let giant = [0, 3, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(
            Subscription::decode(&giant),
            Err(DecodeError::Length { field: "topics", length: i32::MAX })
        );
        let bytes = full().encode();
        for cut in 0..bytes.len() {
            let _ = Subscription::decode(&bytes[..cut]);
            let _ = Assignment::decode(&bytes[..cut]);
        }
    }

    #[test]
    fn equal_topic_lists_share_one_set() {
        let (one, two) = (full().encode(), Subscription::new(["a", "b"]).encode());
        let mut reader = Subscriptions::default();
        let (one, two) = (reader.decode(&one).unwrap(), reader.decode(&two).unwrap());
        assert!(Arc::ptr_eq(&one.topics, &two.topics));
    }
}
