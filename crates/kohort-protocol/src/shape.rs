//! What each request looks like: enough of Kafka's schemas to walk a body without decoding it.
//!
//! The message codec trusts the lengths that it reads: an array that claims two billion elements would be allocated before its
//! first element is missed. So a body from outside is walked first: every length must fit into the bytes that are there. The
//! walk also is the table of what we speak: an API or a version that is not here is not spoken.
//!
//! Source: Apache Kafka's message schemas (`clients/src/main/resources/common/message/*.json`), the facts of layout only.

/// One API's request.
#[derive(Debug)]
pub struct Shape {
    /// Kafka's API key.
    pub key: i16,
    /// Kafka's name.
    pub name: &'static str,
    /// The oldest version that is spoken here.
    pub min: i16,
    /// The newest version that is spoken here.
    pub max: i16,
    /// The newest version that the message codec decodes. What is newer differs only in [`TopicId`]s instead of names.
    pub codec: i16,
    /// The first flexible version (KIP-482).
    pub flexible: i16,
    fields: &'static [Field],
}

/// First version, last version, what it is. Tagged fields are skipped as a whole and stand nowhere.
#[derive(Debug)]
struct Field(i16, i16, Kind);

#[derive(Debug)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, nullable or not.
    Text,
    /// Bytes or records, nullable or not.
    Bytes,
    /// A topic's id in the place of its name.
    TopicId,
    /// A struct, or null.
    Optional(&'static [Field]),
    /// An array, nullable or not; of structs (which end with tags in flexible versions) or not.
    Array(&'static [Field], bool),
}

use Kind::{Array, Bytes, Fixed, Optional, Text, TopicId};

/// Compact texts could be longer than classic ones; Kafka refuses them, and what is kept in classic records (group
/// ids, member ids) has no room for them.
const TEXT_MAX: usize = 0x7fff;
/// All arrays and tags of a body together have no more elements: each is a few bytes on the wire and many more in memory.
const ELEMENTS_MAX: usize = 500_000;
/// No last version.
const ALL: i16 = i16::MAX;
/// A topic's id as text, in bytes.
const ID_TEXT: usize = 36;
/// Never flexible.
const NEVER: i16 = i16::MAX;

/// Why a body cannot be a request of its API and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// It ends before its fields do, or a length points beyond its end.
    #[error("the body ends before the fields of `{api}` version {version} do")]
    Short {
        /// Kafka's name of the API.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A text longer than any Kafka reads or can store.
    #[error("a text in the body of `{api}` version {version} is longer than {TEXT_MAX} bytes")]
    LongText {
        /// Kafka's name of the API.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// More elements than any client has use for.
    #[error("the body of `{api}` version {version} has more than {ELEMENTS_MAX} elements")]
    TooMany {
        /// Kafka's name of the API.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A length that no length can be.
    #[error("a length in the body of `{api}` version {version} is negative")]
    NegativeLength {
        /// Kafka's name of the API.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
}

impl Shape {
    /// The API with this key.
    #[must_use]
    pub fn of(key: i16) -> Option<&'static Self> {
        SHAPES.iter().find(|s| s.key == key)
    }

    /// Every API in the table, by key.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        SHAPES.iter()
    }

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }

    /// Walks `body`; bytes after the last field are allowed, as in Kafka.
    ///
    /// # Errors
    /// When a length does not fit into what is there.
    pub fn check(&self, version: i16, body: &[u8]) -> Result<(), ShapeError> {
        self.walk(version, body).map(drop)
    }

    /// The body in the newest version that the codec decodes, for a version above it: each topic's id is written as text in the
    /// place of the name.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn with_ids_as_names(&self, version: i16, body: &[u8]) -> Result<Vec<u8>, ShapeError> {
        let ids = self.walk(version, body)?;
        let mut out = Vec::with_capacity(body.len() + ids.len() * (ID_TEXT + 1));
        let mut at = 0;
        for left in ids {
            let id = body.len() - left;
            out.extend_from_slice(&body[at..id]);
            at = id + 16;
            let text = uuid::Uuid::from_slice(&body[id..at]).unwrap_or_default().to_string();
            // A compact text's length is one more than it has bytes.
            out.push(ID_TEXT as u8 + 1);
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&body[at..]);
        Ok(out)
    }

    /// Walks a body; returns how many bytes were left at each topic id.
    fn walk(&self, version: i16, body: &[u8]) -> Result<Vec<usize>, ShapeError> {
        let flexible = self.is_flexible(version);
        let mut walk = Walk { left: body, version, flexible, elements_left: ELEMENTS_MAX, ids: Vec::new() };
        let walked = walk.fields(self.fields, true);
        walked.map(|()| walk.ids).map_err(|e| match e {
            Bad::Short => ShapeError::Short { api: self.name, version },
            Bad::Long => ShapeError::LongText { api: self.name, version },
            Bad::Many => ShapeError::TooMany { api: self.name, version },
            Bad::Negative => ShapeError::NegativeLength { api: self.name, version },
        })
    }
}

enum Bad {
    Short,
    Long,
    Many,
    Negative,
}

struct Walk<'a> {
    left: &'a [u8],
    version: i16,
    flexible: bool,
    elements_left: usize,
    /// How much was left at each topic id.
    ids: Vec<usize>,
}

impl Walk<'_> {
    fn skip(&mut self, n: usize) -> Result<(), Bad> {
        self.left = self.left.get(n..).ok_or(Bad::Short)?;
        Ok(())
    }

    fn count(&mut self, n: usize) -> Result<(), Bad> {
        self.elements_left = self.elements_left.checked_sub(n).ok_or(Bad::Many)?;
        Ok(())
    }

    fn uvarint(&mut self) -> Result<usize, Bad> {
        let mut v = 0u32;
        for shift in (0..35).step_by(7) {
            let b = *self.left.first().ok_or(Bad::Short)?;
            self.skip(1)?;
            v |= u32::from(b & 0x7f).checked_shl(shift).unwrap_or(0);
            if b < 0x80 {
                return usize::try_from(v).map_err(|_| Bad::Short);
            }
        }
        Err(Bad::Negative)
    }

    /// A length; null counts as none.
    fn length(&mut self, bytes: usize) -> Result<usize, Bad> {
        if self.flexible {
            return Ok(self.uvarint()?.saturating_sub(1));
        }
        let head = self.left.get(..bytes).ok_or(Bad::Short)?;
        let n = head.iter().fold(if head[0] & 0x80 == 0 { 0i64 } else { -1 }, |n, b| n << 8 | i64::from(*b));
        self.skip(bytes)?;
        match n {
            -1 => Ok(0),
            n => usize::try_from(n).map_err(|_| Bad::Negative),
        }
    }

    fn fields(&mut self, fields: &[Field], tagged: bool) -> Result<(), Bad> {
        for Field(first, last, kind) in fields {
            if !(*first..=*last).contains(&self.version) {
                continue;
            }
            match kind {
                Fixed(n) => self.skip(*n)?,
                Text => {
                    let n = self.length(2)?;
                    self.skip(n)?;
                    if n > TEXT_MAX {
                        return Err(Bad::Long);
                    }
                }
                Bytes => {
                    let n = self.length(4)?;
                    self.skip(n)?;
                }
                TopicId => {
                    self.ids.push(self.left.len());
                    self.skip(16)?;
                }
                Optional(inner) => {
                    let there = *self.left.first().ok_or(Bad::Short)?;
                    self.skip(1)?;
                    if there as i8 >= 0 {
                        self.fields(inner, true)?;
                    }
                }
                Array(inner, structs) => {
                    let n = self.length(4)?;
                    // An element is at least one byte, so this is what bounds the loop and every allocation after it.
                    if n > self.left.len() {
                        return Err(Bad::Short);
                    }
                    self.count(n)?;
                    for _ in 0..n {
                        self.fields(inner, *structs)?;
                    }
                }
            }
        }
        if tagged && self.flexible { self.tags() } else { Ok(()) }
    }

    fn tags(&mut self) -> Result<(), Bad> {
        let n = self.uvarint()?;
        if n > self.left.len() {
            return Err(Bad::Short);
        }
        self.count(n)?;
        for _ in 0..n {
            self.uvarint()?;
            let n = self.uvarint()?;
            self.skip(n)?;
        }
        Ok(())
    }
}

#[rustfmt::skip]
static SHAPES: &[Shape] = &[
    Shape { key: 0, name: "Produce", min: 3, max: 13, codec: 13, flexible: 9, fields: &[Field(3, ALL, Text), Field(0, ALL, Fixed(2)), Field(0, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, 12, Text), Field(13, ALL, Fixed(16)), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4)), Field(0, ALL, Bytes)], true))], true))] },
    Shape { key: 1, name: "Fetch", min: 4, max: 18, codec: 18, flexible: 12, fields: &[Field(0, 14, Fixed(4)), Field(0, ALL, Fixed(4)), Field(0, ALL, Fixed(4)), Field(3, ALL, Fixed(4)), Field(4, ALL, Fixed(1)), Field(7, ALL, Fixed(4)), Field(7, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, 12, Text), Field(13, ALL, Fixed(16)), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4)), Field(9, ALL, Fixed(4)), Field(0, ALL, Fixed(8)), Field(12, ALL, Fixed(4)), Field(5, ALL, Fixed(8)), Field(0, ALL, Fixed(4))], true))], true)), Field(7, ALL, Array(&[Field(7, 12, Text), Field(13, ALL, Fixed(16)), Field(7, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true)), Field(11, ALL, Text)] },
    Shape { key: 2, name: "ListOffsets", min: 1, max: 11, codec: 10, flexible: 6, fields: &[Field(0, ALL, Fixed(4)), Field(2, ALL, Fixed(1)), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4)), Field(4, ALL, Fixed(4)), Field(0, ALL, Fixed(8)), Field(0, 0, Fixed(4))], true))], true)), Field(10, ALL, Fixed(4))] },
    Shape { key: 3, name: "Metadata", min: 0, max: 13, codec: 13, flexible: 9, fields: &[Field(0, ALL, Array(&[Field(10, ALL, Fixed(16)), Field(0, ALL, Text)], true)), Field(4, ALL, Fixed(1)), Field(8, 10, Fixed(1)), Field(8, ALL, Fixed(1))] },
    Shape { key: 8, name: "OffsetCommit", min: 2, max: 10, codec: 9, flexible: 8, fields: &[Field(0, ALL, Text), Field(1, ALL, Fixed(4)), Field(1, ALL, Text), Field(7, ALL, Text), Field(2, 4, Fixed(8)), Field(0, ALL, Array(&[Field(0, 9, Text), Field(10, ALL, TopicId), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4)), Field(0, ALL, Fixed(8)), Field(6, ALL, Fixed(4)), Field(1, 1, Fixed(8)), Field(0, ALL, Text)], true))], true))] },
    Shape { key: 9, name: "OffsetFetch", min: 1, max: 10, codec: 9, flexible: 6, fields: &[Field(0, 7, Text), Field(0, 7, Array(&[Field(0, 7, Text), Field(0, 7, Array(&[Field(0, ALL, Fixed(4))], false))], true)), Field(8, ALL, Array(&[Field(8, ALL, Text), Field(9, ALL, Text), Field(9, ALL, Fixed(4)), Field(8, ALL, Array(&[Field(8, 9, Text), Field(10, ALL, TopicId), Field(8, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true))], true)), Field(7, ALL, Fixed(1))] },
    Shape { key: 10, name: "FindCoordinator", min: 0, max: 6, codec: 6, flexible: 3, fields: &[Field(0, 3, Text), Field(1, ALL, Fixed(1)), Field(4, ALL, Array(&[Field(0, ALL, Text)], false))] },
    Shape { key: 11, name: "JoinGroup", min: 0, max: 9, codec: 9, flexible: 6, fields: &[Field(0, ALL, Text), Field(0, ALL, Fixed(4)), Field(1, ALL, Fixed(4)), Field(0, ALL, Text), Field(5, ALL, Text), Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Bytes)], true)), Field(8, ALL, Text)] },
    Shape { key: 12, name: "Heartbeat", min: 0, max: 4, codec: 4, flexible: 4, fields: &[Field(0, ALL, Text), Field(0, ALL, Fixed(4)), Field(0, ALL, Text), Field(3, ALL, Text)] },
    Shape { key: 13, name: "LeaveGroup", min: 0, max: 5, codec: 5, flexible: 4, fields: &[Field(0, ALL, Text), Field(0, 2, Text), Field(3, ALL, Array(&[Field(3, ALL, Text), Field(3, ALL, Text), Field(5, ALL, Text)], true))] },
    Shape { key: 14, name: "SyncGroup", min: 0, max: 5, codec: 5, flexible: 4, fields: &[Field(0, ALL, Text), Field(0, ALL, Fixed(4)), Field(0, ALL, Text), Field(3, ALL, Text), Field(5, ALL, Text), Field(5, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Bytes)], true))] },
    Shape { key: 15, name: "DescribeGroups", min: 0, max: 6, codec: 6, flexible: 5, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text)], false)), Field(3, ALL, Fixed(1))] },
    Shape { key: 16, name: "ListGroups", min: 0, max: 5, codec: 5, flexible: 3, fields: &[Field(4, ALL, Array(&[Field(0, ALL, Text)], false)), Field(5, ALL, Array(&[Field(0, ALL, Text)], false))] },
    Shape { key: 18, name: "ApiVersions", min: 0, max: 4, codec: 4, flexible: 3, fields: &[Field(3, ALL, Text), Field(3, ALL, Text)] },
    Shape { key: 19, name: "CreateTopics", min: 2, max: 7, codec: 7, flexible: 5, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Fixed(4)), Field(0, ALL, Fixed(2)), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true)), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Text)], true))], true)), Field(0, ALL, Fixed(4)), Field(1, ALL, Fixed(1))] },
    Shape { key: 20, name: "DeleteTopics", min: 1, max: 6, codec: 6, flexible: 4, fields: &[Field(6, ALL, Array(&[Field(6, ALL, Text), Field(6, ALL, Fixed(16))], true)), Field(0, 5, Array(&[Field(0, ALL, Text)], false)), Field(0, ALL, Fixed(4))] },
    Shape { key: 21, name: "DeleteRecords", min: 0, max: 2, codec: 2, flexible: 2, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4)), Field(0, ALL, Fixed(8))], true))], true)), Field(0, ALL, Fixed(4))] },
    Shape { key: 22, name: "InitProducerId", min: 0, max: 5, codec: 5, flexible: 2, fields: &[Field(0, ALL, Text), Field(0, ALL, Fixed(4)), Field(3, ALL, Fixed(8)), Field(3, ALL, Fixed(2))] },
    Shape { key: 23, name: "OffsetForLeaderEpoch", min: 2, max: 4, codec: 4, flexible: 4, fields: &[Field(3, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4)), Field(2, ALL, Fixed(4)), Field(0, ALL, Fixed(4))], true))], true))] },
    Shape { key: 29, name: "DescribeAcls", min: 1, max: 3, codec: 3, flexible: 2, fields: &[Field(0, ALL, Fixed(1)), Field(0, ALL, Text), Field(1, ALL, Fixed(1)), Field(0, ALL, Text), Field(0, ALL, Text), Field(0, ALL, Fixed(2))] },
    Shape { key: 30, name: "CreateAcls", min: 1, max: 3, codec: 3, flexible: 2, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Fixed(1)), Field(0, ALL, Text), Field(1, ALL, Fixed(1)), Field(0, ALL, Text), Field(0, ALL, Text), Field(0, ALL, Fixed(2))], true))] },
    Shape { key: 31, name: "DeleteAcls", min: 1, max: 3, codec: 3, flexible: 2, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Fixed(1)), Field(0, ALL, Text), Field(1, ALL, Fixed(1)), Field(0, ALL, Text), Field(0, ALL, Text), Field(0, ALL, Fixed(2))], true))] },
    Shape { key: 32, name: "DescribeConfigs", min: 1, max: 4, codec: 4, flexible: 4, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Fixed(1)), Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Text)], false))], true)), Field(1, ALL, Fixed(1)), Field(3, ALL, Fixed(1))] },
    Shape { key: 33, name: "AlterConfigs", min: 0, max: 2, codec: 2, flexible: 2, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Fixed(1)), Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Text)], true))], true)), Field(0, ALL, Fixed(1))] },
    Shape { key: 34, name: "AlterReplicaLogDirs", min: 1, max: 2, codec: 2, flexible: 2, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true))], true))] },
    Shape { key: 35, name: "DescribeLogDirs", min: 1, max: 4, codec: 4, flexible: 2, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true))] },
    Shape { key: 37, name: "CreatePartitions", min: 0, max: 3, codec: 3, flexible: 2, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true))], true)), Field(0, ALL, Fixed(4)), Field(0, ALL, Fixed(1))] },
    Shape { key: 42, name: "DeleteGroups", min: 0, max: 2, codec: 2, flexible: 2, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text)], false))] },
    Shape { key: 43, name: "ElectLeaders", min: 0, max: 2, codec: 2, flexible: 2, fields: &[Field(1, ALL, Fixed(1)), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true)), Field(0, ALL, Fixed(4))] },
    Shape { key: 44, name: "IncrementalAlterConfigs", min: 0, max: 1, codec: 1, flexible: 1, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Fixed(1)), Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Fixed(1)), Field(0, ALL, Text)], true))], true)), Field(0, ALL, Fixed(1))] },
    Shape { key: 45, name: "AlterPartitionReassignments", min: 0, max: 1, codec: 1, flexible: 0, fields: &[Field(0, ALL, Fixed(4)), Field(1, ALL, Fixed(1)), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true))], true))] },
    Shape { key: 46, name: "ListPartitionReassignments", min: 0, max: 0, codec: 0, flexible: 0, fields: &[Field(0, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true))] },
    Shape { key: 47, name: "OffsetDelete", min: 0, max: 0, codec: 0, flexible: NEVER, fields: &[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], true))], true))] },
    Shape { key: 57, name: "UpdateFeatures", min: 0, max: 2, codec: 2, flexible: 0, fields: &[Field(0, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Fixed(2)), Field(0, 0, Fixed(1)), Field(1, ALL, Fixed(1))], true)), Field(1, ALL, Fixed(1))] },
    Shape { key: 60, name: "DescribeCluster", min: 0, max: 2, codec: 2, flexible: 0, fields: &[Field(0, ALL, Fixed(1)), Field(1, ALL, Fixed(1)), Field(2, ALL, Fixed(1))] },
    Shape { key: 61, name: "DescribeProducers", min: 0, max: 0, codec: 0, flexible: 0, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true))] },
    Shape { key: 68, name: "ConsumerGroupHeartbeat", min: 0, max: 1, codec: 1, flexible: 0, fields: &[Field(0, ALL, Text), Field(0, ALL, Text), Field(0, ALL, Fixed(4)), Field(0, ALL, Text), Field(0, ALL, Text), Field(0, ALL, Fixed(4)), Field(0, ALL, Array(&[Field(0, ALL, Text)], false)), Field(1, ALL, Text), Field(0, ALL, Text), Field(0, ALL, Array(&[Field(0, ALL, Fixed(16)), Field(0, ALL, Array(&[Field(0, ALL, Fixed(4))], false))], true))] },
    Shape { key: 74, name: "ListConfigResources", min: 0, max: 1, codec: 1, flexible: 0, fields: &[Field(1, ALL, Array(&[Field(0, ALL, Fixed(1))], false))] },
    Shape { key: 75, name: "DescribeTopicPartitions", min: 0, max: 0, codec: 0, flexible: 0, fields: &[Field(0, ALL, Array(&[Field(0, ALL, Text)], true)), Field(0, ALL, Fixed(4)), Field(0, ALL, Optional(&[Field(0, ALL, Text), Field(0, ALL, Fixed(4))]))] },
    Shape { key: 76, name: "ShareGroupHeartbeat", min: 1, max: 1, codec: 1, flexible: 0, fields: &[Field(1, ALL, Text), Field(1, ALL, Text), Field(1, ALL, Fixed(4)), Field(1, ALL, Text), Field(1, ALL, Array(&[Field(1, ALL, Text)], false))] },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_billion_elements_are_refused_before_anything_is_allocated() {
        let metadata = Shape::of(3).unwrap();
        let body = 2_000_000_000i32.to_be_bytes();
        assert_eq!(metadata.check(1, &body), Err(ShapeError::Short { api: "Metadata", version: 1 }));
        assert_eq!(
            metadata.check(1, &(-2i32).to_be_bytes()),
            Err(ShapeError::NegativeLength { api: "Metadata", version: 1 })
        );
        assert_eq!(metadata.check(1, &(-1i32).to_be_bytes()), Ok(()), "null is all topics");
        assert!(metadata.check(9, &[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }

    #[test]
    fn a_body_has_only_so_many_elements() {
        // Empty texts: a byte each on the wire.
        let list_groups = Shape::of(16).unwrap();
        let body = |n: usize| {
            let mut body = Vec::new();
            let mut length = n + 1;
            while length >= 0x80 {
                body.push((length & 0x7f | 0x80) as u8);
                length >>= 7;
            }
            body.push(length as u8);
            body.resize(body.len() + n, 1);
            body.push(0);
            body
        };
        assert_eq!(list_groups.check(4, &body(ELEMENTS_MAX)), Ok(()));
        let too_many = ShapeError::TooMany { api: "ListGroups", version: 4 };
        assert_eq!(list_groups.check(4, &body(ELEMENTS_MAX + 1)), Err(too_many));
        let short = ShapeError::Short { api: "DescribeCluster", version: 0 };
        assert_eq!(
            Shape::of(60).unwrap().check(0, &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            Err(short),
            "tags too"
        );
    }

    #[test]
    fn topic_ids_become_names_that_the_codec_reads() {
        let id = uuid::Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        // Group "g", no member: one topic with one partition, 7.
        let mut body = vec![2, 2, b'g', 0, 0xff, 0xff, 0xff, 0xff, 2];
        body.extend_from_slice(id.as_bytes());
        body.extend([2, 0, 0, 0, 7, 0, 0, 1, 0]);
        let v9 = Shape::of(9).unwrap().with_ids_as_names(10, &body).unwrap();
        let mut expected = body[..9].to_vec();
        expected.push(37);
        expected.extend(id.to_string().bytes());
        expected.extend([2, 0, 0, 0, 7, 0, 0, 1, 0]);
        assert_eq!(v9, expected);
        assert_eq!(Shape::of(9).unwrap().check(9, &v9), Ok(()));
        assert!(Shape::of(9).unwrap().with_ids_as_names(10, &body[..20]).is_err());
    }

    #[test]
    fn a_compact_text_is_no_longer_than_a_classic_one() {
        let heartbeat = Shape::of(12).unwrap();
        let body = |n: u16| {
            let length = u32::from(n) + 1;
            let mut body =
                vec![(length & 0x7f | 0x80) as u8, (length >> 7 & 0x7f | 0x80) as u8, (length >> 14) as u8];
            body.resize(3 + usize::from(n), b'g');
            body.extend([0, 0, 0, 0, 1, 0, 0]);
            body
        };
        assert_eq!(heartbeat.check(4, &body(0x7fff)), Ok(()));
        assert_eq!(
            heartbeat.check(4, &body(0x8000)),
            Err(ShapeError::LongText { api: "Heartbeat", version: 4 })
        );
    }

    #[test]
    fn any_bytes_are_walked_without_a_panic() {
        let mut seed = 1u64;
        for round in 0..2000usize {
            let body: Vec<u8> = (0..round % 97)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    if seed >> 62 == 0 { 0 } else { (seed >> 33) as u8 }
                })
                .collect();
            for shape in Shape::all() {
                for version in shape.min..=shape.max {
                    let _ = shape.check(version, &body);
                }
            }
        }
    }
}
