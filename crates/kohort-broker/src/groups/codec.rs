//! The records of `__consumer_offsets` in Kafka's own bytes, so that tools that read that topic work.
//!
//! `OffsetCommitKey` versions 0 and 1, `OffsetCommitValue` versions 0 to 4, `GroupMetadataKey` version 2, `GroupMetadataValue` versions
//! 0 to 4 (Kafka's `group-coordinator/src/main/resources/common/message`). We write what Kafka 4 writes: offset values of version 3, or
//! 1 where a commit has a lifetime of its own, and group values of version 3.

use std::time::Duration;

use kohort_group::Time;
use kohort_group::coordinator::{GroupMetadata, MemberMetadata, OffsetAndMetadata, Record, TopicId};
use kohort_group::messages::TopicPartition;

/// The partition that keeps a group: the absolute value of Java's `String.hashCode` (`Utils.abs`: that of the smallest is 0).
pub(super) fn partition_of(group_id: &str, partitions: usize) -> usize {
    let hash = group_id.encode_utf16().fold(0i32, |h, c| h.wrapping_mul(31).wrapping_add(i32::from(c)));
    usize::try_from(hash.checked_abs().unwrap_or(0)).unwrap_or(0) % partitions.max(1)
}

/// Key and value; no value is a tombstone.
pub(super) fn encode(record: &Record) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut key = Vec::new();
    match record {
        Record::OffsetCommit { group_id, partition, value } => {
            key.extend(1i16.to_be_bytes());
            put_text(&mut key, group_id);
            put_text(&mut key, &partition.topic);
            key.extend(partition.partition.to_be_bytes());
            (key, value.as_ref().map(encode_offset))
        }
        Record::GroupMetadata { group_id, value } => {
            key.extend(2i16.to_be_bytes());
            put_text(&mut key, group_id);
            (key, value.as_ref().map(encode_group))
        }
    }
}

fn encode_offset(value: &OffsetAndMetadata) -> Vec<u8> {
    let mut out = Vec::new();
    let lifetime = value.expire_timestamp;
    out.extend((if lifetime.is_some() { 1i16 } else { 3 }).to_be_bytes());
    out.extend(value.offset.to_be_bytes());
    if lifetime.is_none() {
        out.extend(value.leader_epoch.to_be_bytes());
    }
    put_text(&mut out, &value.metadata);
    out.extend(millis(value.commit_timestamp).to_be_bytes());
    if let Some(expire) = lifetime {
        out.extend(millis(expire).to_be_bytes());
    }
    out
}

fn encode_group(value: &GroupMetadata) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(3i16.to_be_bytes());
    put_text(&mut out, &value.protocol_type);
    out.extend(value.generation.to_be_bytes());
    put_nullable(&mut out, value.protocol.as_deref());
    put_nullable(&mut out, value.leader.as_deref());
    out.extend(value.state_since.map_or(-1, millis).to_be_bytes());
    out.extend(count(value.members.len()).to_be_bytes());
    for m in &value.members {
        put_text(&mut out, &m.member_id);
        put_nullable(&mut out, m.group_instance_id.as_deref());
        put_text(&mut out, &m.client_id);
        put_text(&mut out, &m.client_host);
        out.extend(span(m.rebalance_timeout).to_be_bytes());
        out.extend(span(m.session_timeout).to_be_bytes());
        put_bytes(&mut out, &m.subscription);
        put_bytes(&mut out, &m.assignment);
    }
    out
}

fn millis(time: Time) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn span(d: Duration) -> i32 {
    i32::try_from(d.as_millis()).unwrap_or(i32::MAX)
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn put_text(out: &mut Vec<u8>, s: &str) {
    out.extend(i16::try_from(s.len()).unwrap_or(i16::MAX).to_be_bytes());
    out.extend(s.as_bytes());
}

fn put_nullable(out: &mut Vec<u8>, s: Option<&str>) {
    match s {
        Some(s) => put_text(out, s),
        None => out.extend((-1i16).to_be_bytes()),
    }
}

fn put_bytes(out: &mut Vec<u8>, b: &[u8]) {
    out.extend(count(b.len()).to_be_bytes());
    out.extend(b);
}

/// Why a record is not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("it ends too early")]
    Short,
    #[error("a text in it is not UTF-8")]
    Text,
    #[error("its value has version {0}, which is not known")]
    ValueVersion(i16),
}

/// The record; `None` for one of a kind that is not ours to understand (a newer Kafka's), which is left alone.
pub(super) fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Record>, DecodeError> {
    let mut key = At(key.unwrap_or_default());
    match key.i16()? {
        0 | 1 => {
            let (group_id, topic) = (key.text()?, key.text()?);
            let partition = TopicPartition::new(topic, key.i32()?);
            let value = value.map(|v| decode_offset(At(v))).transpose()?;
            Ok(Some(Record::OffsetCommit { group_id, partition, value }))
        }
        2 => {
            let group_id = key.text()?;
            let value = value.map(|v| decode_group(At(v))).transpose()?;
            Ok(Some(Record::GroupMetadata { group_id, value }))
        }
        _ => Ok(None),
    }
}

fn decode_offset(mut v: At<'_>) -> Result<OffsetAndMetadata, DecodeError> {
    let version = v.i16()?;
    if !(0..=4).contains(&version) {
        return Err(DecodeError::ValueVersion(version));
    }
    let flexible = version >= 4;
    let offset = v.i64()?;
    let leader_epoch = if version >= 3 { v.i32()? } else { -1 };
    let metadata = if flexible { v.compact_text()? } else { v.text()? };
    let commit_timestamp = time(v.i64()?);
    let expire = if version == 1 { v.i64()? } else { -1 };
    Ok(OffsetAndMetadata {
        offset,
        leader_epoch,
        metadata,
        commit_timestamp,
        expire_timestamp: (expire >= 0).then(|| time(expire)),
        topic_id: TopicId::ZERO,
    })
}

fn decode_group(mut v: At<'_>) -> Result<GroupMetadata, DecodeError> {
    let version = v.i16()?;
    if !(0..=3).contains(&version) {
        return Err(DecodeError::ValueVersion(version));
    }
    let protocol_type = v.text()?;
    let generation = v.i32()?;
    let protocol = v.nullable()?;
    let leader = v.nullable()?;
    let since = if version >= 2 { v.i64()? } else { -1 };
    let mut members = Vec::new();
    for _ in 0..v.i32()?.max(0) {
        let member_id = v.text()?;
        let group_instance_id = if version >= 3 { v.nullable()? } else { None };
        let (client_id, client_host) = (v.text()?, v.text()?);
        let first = v.duration()?;
        let session_timeout = if version >= 1 { v.duration()? } else { first };
        members.push(MemberMetadata {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            rebalance_timeout: first,
            session_timeout,
            subscription: v.bytes()?.to_vec(),
            assignment: v.bytes()?.to_vec(),
        });
    }
    Ok(GroupMetadata {
        protocol_type,
        generation,
        protocol,
        leader,
        state_since: (since >= 0).then(|| time(since)),
        members,
    })
}

fn time(ms: i64) -> Time {
    Time::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Reads fields one after the other.
struct At<'a>(&'a [u8]);

impl<'a> At<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Short)
    }

    fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    fn duration(&mut self) -> Result<Duration, DecodeError> {
        Ok(Duration::from_millis(u64::try_from(self.i32()?).unwrap_or(0)))
    }

    fn utf8(bytes: &[u8]) -> Result<String, DecodeError> {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Text)
    }

    fn nullable(&mut self) -> Result<Option<String>, DecodeError> {
        match usize::try_from(self.i16()?) {
            Ok(n) => Self::utf8(self.take(n)?).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        Ok(self.nullable()?.unwrap_or_default())
    }

    fn compact_text(&mut self) -> Result<String, DecodeError> {
        let mut n = 0usize;
        for shift in (0..35).step_by(7) {
            let [b] = self.array()?;
            n |= usize::from(b & 0x7f) << shift;
            if b < 0x80 {
                break;
            }
        }
        Self::utf8(self.take(n.saturating_sub(1))?)
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = usize::try_from(self.i32()?).unwrap_or(0);
        self.take(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_live_where_kafka_puts_them() {
        // "data-flow-default-group-1888".hashCode() and friends, from a JVM.
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("polygenelubricants", 50), 0, "its hash is the smallest integer");
        // As Apache Kafka 4.3.1 placed them; the hash of the first two is negative.
        for (group, partition) in [("g-f84ea2ff1e", 18), ("g-5ab3652c84", 1), ("g-5147bf5e2a", 22)] {
            assert_eq!(partition_of(group, 50), partition);
        }
    }

    #[test]
    fn records_come_back_as_they_were() {
        let offset = Record::OffsetCommit {
            group_id: "g".into(),
            partition: TopicPartition::new("t", 3),
            value: Some(OffsetAndMetadata {
                offset: -5,
                leader_epoch: 7,
                metadata: "ä".into(),
                commit_timestamp: Time::from_millis(12),
                expire_timestamp: None,
                topic_id: TopicId::ZERO,
            }),
        };
        let group = Record::GroupMetadata {
            group_id: "g".into(),
            value: Some(GroupMetadata {
                protocol_type: "consumer".into(),
                generation: 4,
                protocol: Some("range".into()),
                leader: Some("m".into()),
                state_since: Some(Time::from_millis(99)),
                members: vec![MemberMetadata {
                    member_id: "m".into(),
                    group_instance_id: None,
                    client_id: "c".into(),
                    client_host: "/127.0.0.1".into(),
                    rebalance_timeout: Duration::from_secs(60),
                    session_timeout: Duration::from_secs(6),
                    subscription: vec![1, 2],
                    assignment: vec![],
                }],
            }),
        };
        let end = Record::GroupMetadata { group_id: "g".into(), value: None };
        for record in [offset, group, end] {
            let (key, value) = encode(&record);
            assert_eq!(decode(Some(&key), value.as_deref()), Ok(Some(record.clone())));
            if let Some(value) = value {
                for n in 0..value.len() {
                    assert!(decode(Some(&key), Some(&value[..n])).is_err(), "cut at {n}");
                }
            }
        }
    }
}
