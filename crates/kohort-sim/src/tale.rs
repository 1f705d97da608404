//! Requests, answers and records in one line each, for people who read a trace.

use core::fmt;

use kohort_group::consumer_protocol::{Assignment, Subscription};
use kohort_group::coordinator::Record;
use kohort_group::member::{Request, Response};
use kohort_group::messages::TopicPartition;

/// Something in one line.
pub(crate) struct Tale<'a, T>(pub(crate) &'a T);

/// `t0-1 t0-2`
struct Partitions<'a>(Vec<&'a TopicPartition>);

impl fmt::Display for Partitions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (nth, partition) in self.0.iter().enumerate() {
            let space = if nth == 0 { "" } else { " " };
            write!(f, "{space}{}-{}", partition.topic, partition.partition)?;
        }
        f.write_str("]")
    }
}

/// Partitions in one line.
pub(crate) fn partitions<'a>(of: impl IntoIterator<Item = &'a TopicPartition>) -> impl fmt::Display {
    Partitions(of.into_iter().collect()).to_string()
}

/// The first characters of an id tell it from the others.
fn short(id: &str) -> &str {
    let end = id.char_indices().nth(12).map_or(id.len(), |(at, _)| at);
    &id[..end]
}

fn claims(bytes: &[u8]) -> String {
    let read = Subscription::decode(bytes).unwrap_or_default();
    let generation = read.generation.unwrap_or(-1);
    format!("{:?} claims {} of {generation}", read.topics, partitions(&read.owned))
}

impl fmt::Display for Tale<'_, Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Request::JoinGroup(it) => {
                write!(f, "JoinGroup v{} {} as `{}`", it.api_version, it.group_id, short(&it.member_id))?;
                for (name, bytes) in &it.protocols {
                    write!(f, " {name} {}", claims(bytes))?;
                }
                write!(f, " ({})", it.reason.as_deref().unwrap_or("-"))
            }
            Request::SyncGroup(it) => {
                write!(f, "SyncGroup {} as `{}` in {}", it.group_id, short(&it.member_id), it.generation)?;
                for (member, bytes) in &it.assignments {
                    let assigned = Assignment::decode(bytes).unwrap_or_default();
                    write!(f, " {}={}", short(member), partitions(&assigned.partitions))?;
                }
                Ok(())
            }
            Request::Heartbeat(it) => {
                write!(f, "Heartbeat {} as `{}` in {}", it.group_id, short(&it.member_id), it.generation)
            }
            Request::LeaveGroup(it) => {
                let ids: Vec<_> = it.members.iter().map(|member| short(&member.member_id)).collect();
                write!(f, "LeaveGroup {} {ids:?}", it.group_id)
            }
            Request::OffsetCommit(it) => {
                write!(f, "OffsetCommit {} as `{}` in {}", it.group_id, short(&it.member_id), it.generation)?;
                for (partition, offset) in &it.offsets {
                    write!(f, " {}-{}:{}", partition.topic, partition.partition, offset.offset)?;
                }
                Ok(())
            }
            Request::OffsetFetch(it) => {
                write!(f, "OffsetFetch {} {}", it.group_id, partitions(it.partitions.iter().flatten()))
            }
        }
    }
}

impl fmt::Display for Tale<'_, Response> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Response::JoinGroup(it) => {
                write!(
                    f,
                    "JoinGroup {:?} generation {} id `{}`",
                    it.error,
                    it.generation,
                    short(&it.member_id)
                )?;
                write!(f, " leader `{}` of {}", short(&it.leader), it.members.len())
            }
            Response::SyncGroup(it) => {
                let assigned = Assignment::decode(&it.assignment).unwrap_or_default();
                write!(f, "SyncGroup {:?} {}", it.error, partitions(&assigned.partitions))
            }
            Response::Heartbeat(error) => write!(f, "Heartbeat {error:?}"),
            Response::LeaveGroup(it) => write!(f, "LeaveGroup {:?}", it.error),
            Response::OffsetCommit(it) => {
                let worst = it.partitions.iter().map(|(_, error)| *error).max();
                write!(f, "OffsetCommit {worst:?}")
            }
            Response::OffsetFetch(it) => {
                write!(f, "OffsetFetch {:?}", it.error)?;
                for (partition, offset) in &it.partitions {
                    write!(f, " {}-{}:{}", partition.topic, partition.partition, offset.offset)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Tale<'_, Record> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Record::GroupMetadata { group_id, value: None } => write!(f, "group {group_id} ends"),
            Record::GroupMetadata { group_id, value: Some(it) } => {
                write!(f, "group {group_id} generation {} {:?}", it.generation, it.protocol)?;
                for member in &it.members {
                    let assigned = Assignment::decode(&member.assignment).unwrap_or_default();
                    write!(f, " {}={}", short(&member.member_id), partitions(&assigned.partitions))?;
                }
                Ok(())
            }
            Record::OffsetCommit { group_id, partition, value } => {
                let offset = value.as_ref().map(|it| it.offset);
                write!(f, "offset {group_id} {}-{} {offset:?}", partition.topic, partition.partition)
            }
        }
    }
}
