//! What files say against a broker that answers.

use std::collections::BTreeSet;

use super::{Block, Finding, Live, and, blocks, by};
use crate::complaint::Complaint;
use crate::config::ServiceFile;

pub(super) fn findings(files: &[ServiceFile], broker: &Live) -> Vec<Finding> {
    let blocks = blocks(files);
    let mut findings = Vec::new();
    for (topic, readers) in by(&blocks, |block| block.kq.topic.clone()) {
        match broker.topics.get(&topic) {
            None => findings.push(missing(&topic, &readers)),
            Some(found) => {
                for (group, members) in by(&readers, |block| block.kq.group.clone()) {
                    findings.extend(too_many_members(&topic, &group, &members, found.partitions));
                }
                findings.extend(readers.iter().filter_map(|b| too_small(b, found.message_bytes_max?)));
            }
        }
    }
    findings.extend(blocks.iter().filter_map(|block| session(block, broker)));
    for (group, members) in by(&blocks, |block| block.kq.group.clone()) {
        findings.extend(strangers(&group, &members, broker));
    }
    findings
}

fn missing(topic: &str, readers: &[Block<'_>]) -> Finding {
    let complaint = Complaint::new(format!("topic `{topic}` is not there"))
        .at(readers[0].kq.at("Topic"))
        .why("its consumers wait for it and read nothing")
        .hint(format!("`kohort topics create {topic} --partitions N`, or mend the name"));
    Finding::error(complaint)
}

/// Members beyond the partitions stand idle.
fn too_many_members(topic: &str, group: &str, members: &[Block<'_>], partitions: usize) -> Option<Finding> {
    let consumers: usize = members.iter().map(|block| block.kq.consumers as usize).sum();
    if consumers <= partitions {
        return None;
    }
    let last = members[members.len() - 1].kq;
    let complaint = Complaint::new(format!(
        "group `{group}` has {consumers} consumers for the {partitions} partitions of `{topic}`: {} stand idle",
        consumers - partitions
    ))
    .at(members.iter().map(|block| block.kq.at("Consumers")).collect::<Vec<_>>().join(", "))
    .why("a partition has one owner in a group: a consumer beyond the partitions gets none")
    .hint(format!(
        "lower `Consumers` of `{}` or add partitions; for more hands on one partition raise `Processors`",
        last.name
    ));
    Some(Finding::warning(complaint))
}

/// A record that the topic takes and a fetch of this size does not hold.
fn too_small(block: &Block<'_>, message_bytes_max: u64) -> Option<Finding> {
    let kq = block.kq;
    if u64::from(kq.max_bytes) >= message_bytes_max {
        return None;
    }
    let complaint = Complaint::new(format!(
        "`MaxBytes` of `{}` is {}, and `{}` takes messages of {message_bytes_max} bytes",
        kq.name, kq.max_bytes, kq.topic
    ))
    .at(kq.at("MaxBytes"))
    .why("such a message comes alone and breaks the limit that `MaxBytes` was meant to set")
    .hint(format!("write `MaxBytes: {message_bytes_max}` or more"));
    Some(Finding::warning(complaint))
}

/// A session timeout that the broker refuses.
fn session(block: &Block<'_>, broker: &Live) -> Option<Finding> {
    let ms = u64::try_from(block.kq.session_timeout?.as_millis()).unwrap_or(u64::MAX);
    let (low, high) = (broker.session_min_ms.unwrap_or(0), broker.session_max_ms.unwrap_or(u64::MAX));
    if (low..=high).contains(&ms) {
        return None;
    }
    let complaint = Complaint::new(format!(
        "`SessionTimeout` of `{}` is {ms} ms, and the broker takes {low} to {high} ms",
        block.kq.name
    ))
    .at(block.kq.at("SessionTimeout"))
    .why("its members cannot join: INVALID_SESSION_TIMEOUT")
    .hint("write one within, or change `group.min.session.timeout.ms` or `group.max.session.timeout.ms` of the broker");
    Some(Finding::error(complaint))
}

/// Live members of a group that have partitions of a topic which none of the group's blocks reads.
fn strangers(group: &str, members: &[Block<'_>], broker: &Live) -> Option<Finding> {
    let ours: BTreeSet<&str> = members.iter().map(|block| block.kq.topic.as_str()).collect();
    let live = broker.groups.get(group)?;
    let foreign =
        |member: &&super::LiveMember| member.topics.iter().any(|topic| !ours.contains(topic.as_str()));
    let clients: BTreeSet<String> =
        live.iter().filter(foreign).map(|member| format!("`{}`", member.client_id)).collect();
    if clients.is_empty() {
        return None;
    }
    let complaint = Complaint::new(format!("live members of group `{group}` read other topics: {}", and(clients)))
        .at(members[0].kq.at("Group"))
        .why("a service that is not among these files is in the same group: each restart of one rebalances the other")
        .hint(format!("`kohort groups describe {group}` shows who it is; give one of the two another group"));
    Some(Finding::warning(complaint))
}
