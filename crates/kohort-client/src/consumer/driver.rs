//! Where partitions begin, and everything that is tried again: committed offsets, resets, leaders that moved.
//!
//! One task looks at what each partition needs and starts it; it holds no state of its own, so that a wake-up too many
//! does no harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use kohort_group::member::{CommitError, FetchOffsetsError};
use kohort_group::messages::{
    ErrorCode as GroupError, Offset, OffsetFetchRequest, OffsetFetchResponse, OffsetToCommit, TopicPartition,
};
use kohort_protocol::ErrorCode;

use super::core::{Core, Mode};
use super::fetch::Lanes;
use super::group::{Command, find};
use super::group_wire;
use super::partitions::Phase;
use super::{HaltError, Isolation, SeekTo};
use crate::net::cluster::{Cluster, Purpose, RouteError};
use crate::net::metadata::Metadata;
use crate::net::wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::net::wire::messages::{self as wire, ListOffsetsRequest};
use crate::net::wire::{BrokerId, topic_name};

/// A partition that is being started: which, and of which time.
type Starting = (usize, u64, TopicPartition);

/// Runs until the consumer is closed.
pub(crate) async fn drive(core: Arc<Core>) {
    let mut metadata = core.cluster.watch_metadata();
    loop {
        if core.lock().closed {
            return;
        }
        #[cfg(test)]
        core.rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let known = metadata.borrow_and_update().clone();
        core.follow(&known);
        let retry = core.start_partitions();
        // One that lies ahead stays, or asking for it again would wake this loop at once, and again, until an answer comes.
        core.lock().look_at.take_if(|at| *at <= Instant::now());
        core.fetch(Lanes::Urgent);
        let again = [retry, core.lock().look_at].into_iter().flatten().min();
        let sleep = async {
            match again {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = core.work.notified() => {}
            changed = metadata.changed() => if changed.is_err() { return },
            () = sleep => {}
        }
    }
}

impl Core {
    /// Takes leaders from the metadata. A topic that was deleted and made again has other records at the old offsets: it is read
    /// as one whose offset is out of range.
    fn follow(&self, known: &Metadata) {
        let mut state = self.lock();
        for id in state.parts.follow(known) {
            let Some(part) = state.parts.get(id).filter(|part| part.phase == Phase::Fetching) else {
                continue;
            };
            tracing::warn!(topic = %part.topic, partition = part.partition, offset = part.position,
                "the topic was made anew; `auto.offset.reset` decides");
            match self.settings.reset_to() {
                Some(to) => state.parts.restart(id, Phase::Reset(to)),
                None => state.halt(id, HaltError::NoOffset),
            }
        }
    }

    /// Starts what can be; returns when to look again.
    fn start_partitions(self: &Arc<Self>) -> Option<Instant> {
        let now = Instant::now();
        let mut again: Option<Instant> = None;
        let mut committed: Vec<Starting> = vec![];
        let mut resets: BTreeMap<(i32, i64), Vec<Starting>> = BTreeMap::new();
        {
            let mut state = self.lock();
            for (id, part) in state.parts.iter_mut() {
                if let Some(at) = part.retry_at.filter(|at| *at > now) {
                    again = Some(again.map_or(at, |earliest| earliest.min(at)));
                    continue;
                }
                if part.resolving {
                    continue;
                }
                let starting = (id, part.incarnation, part.name());
                match part.phase {
                    Phase::Committed => committed.push(starting),
                    Phase::Reset(SeekTo::Offset(_))
                    | Phase::Waiting
                    | Phase::Fetching
                    | Phase::Revoking
                    | Phase::Halted => {
                        continue;
                    }
                    Phase::Reset(to) if part.leader >= 0 => {
                        resets.entry((part.leader, timestamp(to))).or_default().push(starting);
                    }
                    // Nobody leads it: the metadata will tell.
                    Phase::Reset(_) => {
                        self.cluster.refresh();
                        continue;
                    }
                }
                part.resolving = true;
            }
        }
        if !committed.is_empty() {
            tokio::spawn(self.clone().start_at_committed(committed));
        }
        for ((leader, at), starting) in resets {
            tokio::spawn(self.clone().reset(leader, at, starting));
        }
        again
    }

    /// Reads the committed offsets, and starts there; where nothing is committed, as `auto.offset.reset` says.
    async fn start_at_committed(self: Arc<Self>, starting: Vec<Starting>) {
        let names: Vec<TopicPartition> = starting.iter().map(|(_, _, name)| name.clone()).collect();
        let offsets = match self.settings.group {
            Some(_) => self.offsets(names).await,
            None => Ok(vec![]),
        };
        {
            let mut state = self.lock();
            for (id, incarnation, name) in starting {
                let Some(part) = state.parts.same(id, incarnation) else { continue };
                part.resolving = false;
                let found = match &offsets {
                    Ok(offsets) => {
                        offsets.iter().find(|(of, _)| *of == name).map_or(-1, |(_, offset)| *offset)
                    }
                    Err(error) => {
                        tracing::warn!(%error, topic = name.topic, partition = name.partition, "no committed offset yet");
                        part.retry(
                            Instant::now()
                                + self.cluster.config.backoff.after(part.failures + 1, self.cluster.roll()),
                        );
                        continue;
                    }
                };
                if found >= 0 {
                    state.parts.start_at(id, found);
                } else {
                    match self.settings.reset_to() {
                        Some(to) => state.parts.restart(id, Phase::Reset(to)),
                        None => state.halt(id, HaltError::NoOffset),
                    }
                }
            }
        }
        self.work.notify_one();
        self.news.notify_one();
    }

    async fn offsets(
        &self,
        names: Vec<TopicPartition>,
    ) -> Result<Vec<(TopicPartition, Offset)>, FetchOffsetsError> {
        let answer = self.fetch_offsets(names).await?;
        if answer.error != GroupError::None {
            return Err(FetchOffsetsError::Refused(answer.error));
        }
        let failed = answer.partitions.iter().find(|(_, fetched)| fetched.error != GroupError::None);
        if let Some((_, fetched)) = failed {
            return Err(FetchOffsetsError::Refused(fetched.error));
        }
        Ok(answer.partitions.into_iter().map(|(name, fetched)| (name, fetched.offset)).collect())
    }

    /// The committed offsets, by way of the member or, for a consumer that assigns by hand, at once.
    pub(crate) async fn fetch_offsets(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Result<OffsetFetchResponse, FetchOffsetsError> {
        let retry = self.cluster.config.api_timeout;
        if self.lock().mode == Mode::Subscribed {
            let (reply, told) = tokio::sync::oneshot::channel();
            if self.command(Command::FetchOffsets { partitions: partitions.clone(), retry, reply }) {
                return told.await.unwrap_or(Err(FetchOffsetsError::Closed));
            }
        }
        let Some(group) = &self.settings.group else { return Err(FetchOffsetsError::NoAnswer) };
        fetch_offsets(&self.cluster, group, Some(partitions)).await
    }

    /// Commits without a membership, as a consumer does that assigns by hand.
    pub(crate) async fn commit_alone(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, OffsetToCommit)>,
    ) -> Result<(), CommitError> {
        commit_offsets(&self.cluster, group, offsets).await
    }

    /// Asks the leader for the offset at a timestamp, and starts there.
    async fn reset(self: Arc<Self>, leader: i32, at: i64, starting: Vec<Starting>) {
        let names: Vec<TopicPartition> = starting.iter().map(|(_, _, name)| name.clone()).collect();
        let told = list_offsets(&self.cluster, leader, at, &names, self.settings.isolation).await;
        if let Err(error) = &told {
            tracing::debug!(
                error = error as &dyn std::error::Error,
                leader,
                "no answer to where the log begins or ends"
            );
            self.cluster.refresh();
        }
        {
            let mut state = self.lock();
            for (id, incarnation, name) in starting {
                let Some(part) = state.parts.same(id, incarnation) else { continue };
                part.resolving = false;
                let told = told.as_ref().ok().and_then(|told| told.iter().find(|(of, _, _)| *of == name));
                match told {
                    Some((_, 0, offset)) if *offset >= 0 => state.parts.start_at(id, *offset),
                    // Nothing is that young: the end.
                    Some((_, 0, _)) => state.parts.restart(id, Phase::Reset(SeekTo::Latest)),
                    Some((_, 29, _)) => {
                        let topic = part.topic.clone();
                        state.halt(id, HaltError::Unauthorized { topic });
                    }
                    Some((_, code, _)) if !ErrorCode(*code).is_retriable() && *code != -1 => {
                        let offset = part.position;
                        state.halt(id, HaltError::Refused { offset, code: *code });
                    }
                    _ => {
                        self.cluster.refresh();
                        let wait = self.cluster.config.backoff.after(part.failures + 1, self.cluster.roll());
                        part.retry(Instant::now() + wait);
                    }
                }
            }
        }
        self.work.notify_one();
        self.news.notify_one();
    }
}

/// The timestamp that ListOffsets takes for a place.
pub(crate) fn timestamp(to: SeekTo) -> i64 {
    match to {
        SeekTo::Latest => -1,
        SeekTo::Earliest => -2,
        SeekTo::Timestamp(at) | SeekTo::Offset(at) => at.max(0),
    }
}

/// Asks `leader` for offsets: error code and offset of each partition.
pub(crate) async fn list_offsets(
    cluster: &Arc<Cluster>,
    leader: i32,
    at: i64,
    names: &[TopicPartition],
    isolation: Isolation,
) -> Result<Vec<(TopicPartition, i16, Offset)>, RouteError> {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for name in names {
        let entry = ListOffsetsPartition::default().with_partition_index(name.partition).with_timestamp(at);
        topics.entry(&name.topic).or_default().push(entry);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
    });
    let link = cluster.broker(leader, Purpose::General).await?;
    let mut request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
    if link.version::<ListOffsetsRequest>()? >= 2 {
        request = request.with_isolation_level(i8::from(isolation == Isolation::ReadCommitted));
    }
    let answer = link.ask(&request, cluster.config.request_timeout).await?;
    let told = answer.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|told| {
            let name = TopicPartition::new(topic.name.0.as_str(), told.partition_index);
            (name, told.error_code, told.offset)
        })
    });
    Ok(told.collect())
}

/// Whether a group's error goes away: the coordinator moves or loads.
fn passes(error: GroupError) -> bool {
    matches!(
        error,
        GroupError::CoordinatorLoadInProgress
            | GroupError::CoordinatorNotAvailable
            | GroupError::NotCoordinator
            | GroupError::UnstableOffsetCommit
            | GroupError::UnknownTopicOrPartition
    )
}

/// Committed offsets of a group, asked by somebody who is no member.
pub(crate) async fn fetch_offsets(
    cluster: &Arc<Cluster>,
    group: &str,
    partitions: Option<Vec<TopicPartition>>,
) -> Result<OffsetFetchResponse, FetchOffsetsError> {
    let fetch = OffsetFetchRequest {
        group_id: group.to_owned(),
        member_id: None,
        member_epoch: -1,
        partitions,
        require_stable: true,
    };
    let until = tokio::time::Instant::now() + cluster.config.api_timeout;
    let mut failures = 0;
    while tokio::time::Instant::now() < until {
        if let (Ok(link), _) = find(cluster, group, Purpose::General).await
            && let Ok(version) = link.version::<wire::OffsetFetchRequest>()
            && let Ok(answer) =
                link.ask(&group_wire::fetch_message(&fetch, version), cluster.config.request_timeout).await
        {
            let answer = group_wire::fetched(answer, version);
            let codes = answer.partitions.iter().map(|(_, fetched)| fetched.error);
            let first = std::iter::once(answer.error).chain(codes).find(|error| *error != GroupError::None);
            match first {
                None => return Ok(answer),
                Some(error) if passes(error) => {}
                Some(error) => return Err(FetchOffsetsError::Refused(error)),
            }
        }
        failures += 1;
        tokio::time::sleep(cluster.config.backoff.after(failures, cluster.roll())).await;
    }
    Err(FetchOffsetsError::NoAnswer)
}

/// Commits for a group, as somebody who is no member: only a group without members takes it.
pub(crate) async fn commit_offsets(
    cluster: &Arc<Cluster>,
    group: &str,
    offsets: Vec<(TopicPartition, OffsetToCommit)>,
) -> Result<(), CommitError> {
    let commit = kohort_group::messages::OffsetCommitRequest {
        api_version: 0,
        group_id: group.to_owned(),
        generation: -1,
        member_id: String::new(),
        group_instance_id: None,
        retention: None,
        offsets,
    };
    let until = tokio::time::Instant::now() + cluster.config.api_timeout;
    let mut failures = 0;
    while tokio::time::Instant::now() < until {
        if let (Ok(link), _) = find(cluster, group, Purpose::General).await
            && let Ok(version) = link.version::<wire::OffsetCommitRequest>()
            && let Ok(answer) =
                link.ask(&group_wire::commit_message(&commit, version), cluster.config.request_timeout).await
        {
            let mut refused = group_wire::committed(&answer).partitions;
            refused.retain(|(_, error)| *error != GroupError::None);
            match refused.first().map(|(_, error)| *error) {
                None => return Ok(()),
                Some(error) if passes(error) => {}
                Some(GroupError::UnknownMemberId | GroupError::IllegalGeneration) => {
                    return Err(CommitError::NotInGroup);
                }
                Some(_) => return Err(CommitError::Refused(refused)),
            }
        }
        failures += 1;
        tokio::time::sleep(cluster.config.backoff.after(failures, cluster.roll())).await;
    }
    Err(CommitError::NoAnswer)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::{Client, ClientConfig};

    /// A partition is free while both lanes to its leader are under way: it is looked at again when a fetch counts as held up, not at once
    /// and again, which kept a processor busy.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_driver_waits_for_fetches_that_are_under_way() {
        let client = Client::new(ClientConfig::new(["127.0.0.1:1"])).unwrap();
        let core = Core::new(client.consumer(), None);
        let leader = 7;
        {
            let mut state = core.lock();
            let id = state.parts.add(&TopicPartition::new("t", 0), Phase::Waiting, &Metadata::default());
            state.parts.start_at(id, 0);
            state.parts.get_mut(id).unwrap().leader = leader;
            for lane in state.lanes.entry(leader).or_default() {
                lane.under_way(1);
            }
        }
        let driver = tokio::spawn(drive(core.clone()));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let rounds = core.rounds.load(Ordering::Relaxed);
        driver.abort();
        assert!((1..100).contains(&rounds), "{rounds} rounds");
    }
}
