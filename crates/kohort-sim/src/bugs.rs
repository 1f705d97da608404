//! Deliberate bugs, to show that the simulation finds what it is for.
//!
//! None touches the core: each falsifies what passes between the core and its shell, so that the rest of the world meets a
//! core that had the bug.

use std::collections::{BTreeMap, BTreeSet};

use kohort_group::consumer_protocol::{Assignment, Subscription};
use kohort_group::coordinator::GroupView;
use kohort_group::member::{Request, Response};
use kohort_group::messages::{OffsetCommitRequest, SyncGroupRequest, TopicPartition};

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    ZombieCommits,
    TwoOwners,
    ForgetfulReplay,
    DeafLeader,
    EarlyReply,
    LostWakeup,
    Orphan,
    Restless,
    Stubborn,
}

/// All of them: name, what it does, and the invariant it breaks.
const BUGS: [(Bug, &str, &str); 9] = [
    (Bug::ZombieCommits, "zombie-commits", "commits are stored whoever sends them (NoCommitFromThePast)"),
    (
        Bug::TwoOwners,
        "two-owners",
        "a cooperative leader hands over what its owner still works on (OneOwner)",
    ),
    (
        Bug::ForgetfulReplay,
        "forgetful-replay",
        "the last record is not applied at a restart (ReplayEqualsState)",
    ),
    (Bug::DeafLeader, "deaf-leader", "the leader is not told that it leads, so nobody assigns (NoOrphan)"),
    (Bug::EarlyReply, "early-reply", "replies leave before their records are durable (NoCommitFromThePast)"),
    (Bug::LostWakeup, "lost-wakeup", "the coordinator is not woken any more after a while (Progress)"),
    (Bug::Orphan, "orphan", "the leader forgets one partition (NoOrphan)"),
    (Bug::Restless, "restless", "a cooperative-sticky leader deals everything anew (Sticky or OneOwner)"),
    (
        Bug::Stubborn,
        "stubborn",
        "the coordinator keeps what it believed when an append failed (ReplayEqualsState)",
    ),
];

/// The deliberate bugs: name and what it does.
pub fn bugs() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUGS.iter().map(|(_, name, what)| (*name, *what))
}

impl Bug {
    /// The bug of this name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        BUGS.iter().find(|(_, known, _)| *known == name).map(|(bug, ..)| *bug)
    }

    /// What the coordinator gets in place of `request`.
    pub(crate) fn request(self, request: Request, group: Option<&GroupView<'_>>) -> Request {
        let Some(group) = group else { return request };
        match (self, request) {
            (Self::ZombieCommits, Request::OffsetCommit(commit)) => {
                Request::OffsetCommit(in_anybodys_name(commit, group))
            }
            (Self::TwoOwners, Request::SyncGroup(sync)) => Request::SyncGroup(hand_over_early(sync, group)),
            (Self::Orphan, Request::SyncGroup(mut sync)) => {
                for (_, bytes) in sync.assignments.iter_mut().rev() {
                    let mut assignment = Assignment::decode(bytes).unwrap_or_default();
                    if assignment.partitions.pop().is_some() {
                        *bytes = assignment.encode();
                        break;
                    }
                }
                Request::SyncGroup(sync)
            }
            (Self::Restless, Request::SyncGroup(mut sync)) => {
                if sync.protocol_name.as_deref() == Some("cooperative-sticky") && sync.assignments.len() > 1 {
                    let mut bytes: Vec<_> = sync.assignments.iter().map(|(_, bytes)| bytes.clone()).collect();
                    bytes.rotate_left(1);
                    for ((_, old), new) in sync.assignments.iter_mut().zip(bytes) {
                        *old = new;
                    }
                }
                Request::SyncGroup(sync)
            }
            (_, request) => request,
        }
    }

    /// What the member gets in place of `response`.
    pub(crate) fn response(self, response: Response) -> Response {
        match (self, response) {
            (Self::DeafLeader, Response::JoinGroup(mut join)) => {
                if join.leader == join.member_id {
                    join.leader = "nobody".to_owned();
                    join.members.clear();
                }
                Response::JoinGroup(join)
            }
            (_, response) => response,
        }
    }
}

/// The commit in the name of somebody who may.
fn in_anybodys_name(mut commit: OffsetCommitRequest, group: &GroupView<'_>) -> OffsetCommitRequest {
    if let Some(member) = group.members.first()
        && commit.generation >= 0
    {
        commit.generation = group.generation;
        commit.member_id = member.member_id.to_owned();
        commit.group_instance_id = member.group_instance_id.map(str::to_owned);
    }
    commit
}

/// Gives what is held back for its present owner to the next member at once.
fn hand_over_early(mut sync: SyncGroupRequest, group: &GroupView<'_>) -> SyncGroupRequest {
    if sync.protocol_name.as_deref() != Some("cooperative-sticky") || sync.assignments.is_empty() {
        return sync;
    }
    let mut assigned: BTreeMap<String, Assignment> = BTreeMap::new();
    for (member, bytes) in &sync.assignments {
        assigned.insert(member.clone(), Assignment::decode(bytes).unwrap_or_default());
    }
    let given: BTreeSet<TopicPartition> = assigned.values().flat_map(|it| it.partitions.clone()).collect();
    let wants = |member: &str| {
        let view = group.members.iter().find(|it| it.member_id == member);
        view.and_then(|it| Subscription::decode(it.subscription).ok()).unwrap_or_default()
    };
    for owner in &group.members {
        for partition in wants(owner.member_id).owned {
            let other = assigned
                .iter_mut()
                .find(|(id, _)| *id != owner.member_id && wants(id).topics.contains(&partition.topic));
            if let Some((_, assignment)) = other
                && !given.contains(&partition)
            {
                assignment.partitions.push(partition);
            }
        }
    }
    for (member, bytes) in &mut sync.assignments {
        *bytes = assigned.get(member).map(Assignment::encode).unwrap_or_default();
    }
    sync
}
