//! A member against a coordinator that is a script: every answer is said by the test.

mod commit;
mod heartbeat;
mod join;
mod leave;
mod link;
mod revoke;
mod sync;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::assignor::{Assignments, Subscriber, Topics};
use crate::consumer_protocol::{Assignment, Subscription};
use crate::messages::{
    ErrorCode, JoinGroupRequest, JoinGroupResponse, JoinedMember, OffsetCommitRequest, OffsetToCommit,
    SyncGroupResponse,
};

/// A member, its clock, and the requests it has in flight.
struct Rig {
    member: Member,
    now: u64,
    sent: Vec<(RequestId, Request)>,
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn set(partitions: &[(&str, i32)]) -> BTreeSet<TopicPartition> {
    partitions.iter().map(|(topic, partition)| tp(topic, *partition)).collect()
}

fn topics(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn offsets(partitions: &[(&str, i32, i64)]) -> Vec<(TopicPartition, OffsetToCommit)> {
    let one = |offset| OffsetToCommit { offset, leader_epoch: -1, metadata: None };
    partitions.iter().map(|(topic, partition, offset)| (tp(topic, *partition), one(*offset))).collect()
}

fn config(assignor: &str) -> Config {
    Config { assignors: vec![assignor.to_owned()], ..Config::new("g") }
}

/// JoinGroup's answer to a follower.
fn follower(generation: i32, assignor: &str) -> JoinGroupResponse {
    JoinGroupResponse {
        error: ErrorCode::None,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some(assignor.to_owned()),
        leader: "another".to_owned(),
        skip_assignment: false,
        member_id: "m".to_owned(),
        members: Vec::new(),
    }
}

/// JoinGroup's answer to the leader of `members`, each with its topics.
fn leader(generation: i32, assignor: &str, members: &[(&str, &[&str])]) -> JoinGroupResponse {
    let member = |(id, topics): &(&str, &[&str])| JoinedMember {
        member_id: (*id).to_owned(),
        group_instance_id: None,
        metadata: Subscription::new(topics.iter().copied()).encode(),
    };
    JoinGroupResponse {
        leader: "m".to_owned(),
        members: members.iter().map(member).collect(),
        ..follower(generation, assignor)
    }
}

fn refused(error: ErrorCode, member_id: &str) -> JoinGroupResponse {
    JoinGroupResponse {
        error,
        generation: -1,
        protocol_type: None,
        protocol_name: None,
        leader: String::new(),
        skip_assignment: false,
        member_id: member_id.to_owned(),
        members: Vec::new(),
    }
}

fn assignment(partitions: &[(&str, i32)]) -> SyncGroupResponse {
    SyncGroupResponse {
        error: ErrorCode::None,
        protocol_type: None,
        protocol_name: None,
        assignment: Assignment::new(set(partitions).into_iter().collect()).encode(),
    }
}

fn unsynced(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error, protocol_type: None, protocol_name: None, assignment: Vec::new() }
}

/// An assignor that is a name and a protocol: who assigns what is the script's business, except that a leader gives
/// every partition of a topic to the first who subscribes to it.
#[derive(Debug)]
struct Named(&'static str);

impl Assignor for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn rebalance_protocols(&self) -> &'static [RebalanceProtocol] {
        match self.0 {
            "cooperative-sticky" => &[RebalanceProtocol::Cooperative, RebalanceProtocol::Eager],
            _ => &[RebalanceProtocol::Eager],
        }
    }

    fn assign(&self, topics: &Topics, members: &[Subscriber]) -> Assignments {
        let mut all: Assignments = members.iter().map(|it| (it.id.clone(), Vec::new())).collect();
        for (name, topic) in topics {
            let first = members.iter().find(|it| it.subscription.topics.contains(name)).unwrap();
            let partitions = (0..topic.partitions).map(|partition| tp(name, partition));
            all.get_mut(&first.id).unwrap().extend(partitions);
        }
        all
    }
}

impl Rig {
    fn new(config: Config) -> Self {
        let named = |name: &String| -> Box<dyn Assignor> {
            Box::new(Named(if name == "range" { "range" } else { "cooperative-sticky" }))
        };
        let assignors = config.assignors.iter().map(named).collect();
        let member = Member::with_assignors(config, assignors, 1).unwrap();
        Self { member, now: 1_000_000, sent: Vec::new() }
    }

    /// A member of `g` with one assignor.
    fn with(assignor: &str) -> Self {
        Self::new(config(assignor))
    }

    fn time(&self) -> Time {
        Time::from_millis(self.now)
    }

    /// Hands the event in; requests are kept aside, everything else is the answer.
    fn say(&mut self, event: Event) -> Vec<Effect> {
        let mut others = Vec::new();
        for effect in self.member.handle(self.time(), event) {
            match effect {
                Effect::Send { id, request } => self.sent.push((id, request)),
                Effect::WatchTopics(_) | Effect::Joined { .. } => {}
                Effect::Disconnect => {
                    self.sent.clear();
                    others.push(Effect::Disconnect);
                }
                other => others.push(other),
            }
        }
        others
    }

    /// Lets time pass, with every wakeup that falls due; gives what that brought.
    fn pass(&mut self, ms: u64) -> Vec<Effect> {
        let end = self.now + ms;
        let mut effects = Vec::new();
        while let Some(at) = self.member.deadline().map(Time::as_millis)
            && at <= end
        {
            self.now = at;
            effects.extend(self.say(Event::Wakeup));
        }
        self.now = end;
        effects
    }

    /// Takes the one request in flight that `pick` knows.
    fn take<T>(&mut self, pick: impl Fn(&Request) -> Option<T>) -> (RequestId, T) {
        let found = self.sent.iter().enumerate().find_map(|(place, (_, it))| Some((place, pick(it)?)));
        let Some((place, picked)) = found else { panic!("not among {:?}", self.sent) };
        (self.sent.remove(place).0, picked)
    }

    fn take_join(&mut self) -> (RequestId, JoinGroupRequest) {
        self.take(|it| if let Request::JoinGroup(it) = it { Some(it.clone()) } else { None })
    }

    fn take_sync(&mut self) -> (RequestId, SyncGroupRequest) {
        self.take(|it| if let Request::SyncGroup(it) = it { Some(it.clone()) } else { None })
    }

    fn take_heartbeat(&mut self) -> RequestId {
        self.take(|it| matches!(it, Request::Heartbeat(_)).then_some(())).0
    }

    fn take_commit(&mut self) -> (RequestId, OffsetCommitRequest) {
        self.take(|it| if let Request::OffsetCommit(it) = it { Some(it.clone()) } else { None })
    }

    fn has_join(&self) -> bool {
        self.sent.iter().any(|(_, it)| matches!(it, Request::JoinGroup(_)))
    }

    fn has_leave(&self) -> bool {
        self.sent.iter().any(|(_, it)| matches!(it, Request::LeaveGroup(_)))
    }

    fn answer_join(&mut self, response: JoinGroupResponse) -> Vec<Effect> {
        let (id, _) = self.take_join();
        self.say(Event::Response(id, Response::JoinGroup(response)))
    }

    fn answer_sync(&mut self, response: SyncGroupResponse) -> Vec<Effect> {
        let (id, _) = self.take_sync();
        self.say(Event::Response(id, Response::SyncGroup(response)))
    }

    fn answer_heartbeat(&mut self, error: ErrorCode) -> Vec<Effect> {
        let id = self.take_heartbeat();
        self.say(Event::Response(id, Response::Heartbeat(error)))
    }

    /// Answers the commit in flight with one code for all its partitions.
    fn answer_commit(&mut self, error: ErrorCode) -> Vec<Effect> {
        let (id, request) = self.take_commit();
        let partitions = request.offsets.into_iter().map(|(tp, _)| (tp, error)).collect();
        let response = crate::messages::OffsetCommitResponse { partitions };
        self.say(Event::Response(id, Response::OffsetCommit(response)))
    }

    fn found(&mut self) -> Vec<Effect> {
        self.say(Event::CoordinatorFound(Versions::default()))
    }

    /// Says that every callback among `effects` is done; gives what that brings.
    fn done(&mut self, effects: &[Effect]) -> Vec<Effect> {
        let mut more = Vec::new();
        for effect in effects {
            if let Effect::Revoke { id, .. } | Effect::Assign { id, .. } | Effect::Lose { id, .. } = effect {
                more.extend(self.say(Event::CallbackDone(*id)));
            }
        }
        more
    }

    /// Subscribed to `names` and sent JoinGroup with the id `m`.
    fn joining(&mut self, names: &[&str]) {
        self.say(Event::Subscribe(topics(names)));
        self.found();
        self.answer_join(refused(ErrorCode::MemberIdRequired, "m"));
    }

    /// Sent away with another id, `m2`, after its membership was lost.
    fn joining_again(&mut self) {
        self.answer_join(refused(ErrorCode::MemberIdRequired, "m2"));
    }

    /// In `generation` as a follower, with these partitions assigned and told.
    fn settled(&mut self, assignor: &str, generation: i32, partitions: &[(&str, i32)]) {
        if !self.has_join() {
            self.joining(&["t"]);
        }
        self.answer_join(follower(generation, assignor));
        let mut effects = self.answer_sync(assignment(partitions));
        while !effects.is_empty() {
            effects = self.done(&effects);
        }
        assert!(self.member.is_stable());
    }
}

fn counts(counts: &[(&str, i32)]) -> Event {
    let one = |(topic, count): &(&str, i32)| ((*topic).to_owned(), TopicMetadata::of(*count));
    Event::Metadata(counts.iter().map(one).collect::<BTreeMap<_, _>>())
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn revoked(effects: &[Effect]) -> Option<BTreeSet<TopicPartition>> {
    effects.iter().find_map(|it| match it {
        Effect::Revoke { partitions, .. } => Some(partitions.clone()),
        _ => None,
    })
}

fn lost(effects: &[Effect]) -> Option<BTreeSet<TopicPartition>> {
    effects.iter().find_map(|it| match it {
        Effect::Lose { partitions, .. } => Some(partitions.clone()),
        _ => None,
    })
}

fn assigned(effects: &[Effect]) -> Option<(BTreeSet<TopicPartition>, BTreeSet<TopicPartition>)> {
    effects.iter().find_map(|it| match it {
        Effect::Assign { added, all, .. } => Some((added.clone(), all.clone())),
        _ => None,
    })
}
