//! Callbacks: what is handed back, given, and lost, in Kafka's order (6.5), one at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::join::Attempt;
use super::{CallbackId, Effect, Member, Phase};
use crate::Time;
use crate::assignor::RebalanceProtocol;
use crate::messages::TopicPartition;

/// The callback that the shell is carrying out.
#[derive(Debug)]
pub(super) struct Callback {
    id: CallbackId,
    /// What leaves `owned` when it is done.
    revoked: BTreeSet<TopicPartition>,
}

/// What the caller was to hand back and has not: it may commit it still, and must not. By the callback whose end is awaited.
pub(super) type Strays = BTreeMap<CallbackId, BTreeSet<TopicPartition>>;

impl Member {
    fn open(&mut self, revoked: BTreeSet<TopicPartition>) -> CallbackId {
        self.last_callback += 1;
        let id = CallbackId(self.last_callback);
        self.callback = Some(Callback { id, revoked });
        id
    }

    /// Others have it by now, or may have it, and the caller does not know.
    pub(super) fn is_stray(&self, partition: &TopicPartition) -> bool {
        self.strays.values().any(|partitions| partitions.contains(partition))
    }

    /// The shell waits no longer for the end of a callback, which it tells all the same when it comes.
    pub(super) fn callback_overdue(&mut self, id: CallbackId) {
        if let Some(callback) = self.callback.as_ref().filter(|callback| callback.id == id) {
            let revoked = callback.revoked.clone();
            self.callback_done(id);
            self.strays.insert(id, revoked);
        }
    }

    pub(super) fn callback_done(&mut self, id: CallbackId) {
        self.strays.remove(&id);
        if self.callback.as_ref().is_none_or(|callback| callback.id != id) {
            return;
        }
        for partition in self.callback.take().into_iter().flat_map(|callback| callback.revoked) {
            self.owned.remove(&partition);
        }
    }

    pub(super) fn revoke(&mut self, partitions: BTreeSet<TopicPartition>, out: &mut Vec<Effect>) {
        let id = self.open(partitions.clone());
        out.push(Effect::Revoke { id, partitions });
    }

    /// Everything that was owned may have another owner by now. Overtakes whatever callback is open.
    pub(super) fn lose_owned(&mut self, out: &mut Vec<Effect>) {
        self.target = None;
        if self.owned.is_empty() {
            return;
        }
        let partitions: BTreeSet<_> = core::mem::take(&mut self.owned).into_keys().collect();
        let id = self.open(BTreeSet::new());
        self.strays.insert(id, partitions.clone());
        out.push(Effect::Lose { id, partitions });
    }

    /// The complete step: carries out what SyncGroup assigned. First what goes, and only when that is handed back,
    /// what comes.
    ///
    /// What was claimed and not assigned is meant for others, who get it in another rebalance (KIP-429). That counts
    /// from the claims: what was claimed and lost since has no other owner either.
    pub(super) fn reconcile(&mut self, out: &mut Vec<Effect>) -> bool {
        if self.callback.is_some() {
            return false;
        }
        let Some(target) = self.target.take() else { return false };
        if self.joining.claims.iter().any(|claimed| !target.contains(claimed)) {
            self.rejoin_because("partitions were handed back");
        }
        let going: BTreeSet<_> = self.owned.keys().filter(|tp| !target.contains(*tp)).cloned().collect();
        if !going.is_empty() {
            self.revoke(going, out);
            self.target = Some(target);
            return false;
        }
        let added: BTreeSet<_> = target.iter().filter(|tp| !self.owned.contains_key(*tp)).cloned().collect();
        let generation = self.identity.generation;
        self.owned.extend(added.iter().map(|tp| (tp.clone(), generation)));
        let id = self.open(BTreeSet::new());
        out.push(Effect::Assign { id, added, all: target, generation });
        true
    }

    /// The prepare step, once per rebalance, before JoinGroup: an eager member hands everything back (and says so
    /// even if that is nothing), a cooperative one only what it does not subscribe to any more.
    ///
    /// Waits for a coordinator: without one there is nobody to join, and no reason to stop working.
    pub(super) fn prepare(&mut self, now: Time, out: &mut Vec<Effect>) -> bool {
        if !self.can_prepare() {
            return false;
        }
        if self.wish.topics.as_ref() != Some(&self.joining.topics) {
            self.rejoin_because("the subscription changed");
        }
        if self.leader.metadata_changed(self.config.rack_id.is_some()) {
            self.rejoin_because("the metadata of the group's topics changed");
        }
        if self.leader.overdue(now) {
            self.rejoin_because("partitions that were held back have no owner yet");
        }
        if self.rejoin.is_none() {
            return false;
        }
        self.phase = Phase::Preparing;
        let topics = self.wish.topics.as_ref();
        let unwanted = |tp: &&TopicPartition| !topics.is_some_and(|topics| topics.contains(&tp.topic));
        match self.protocol {
            RebalanceProtocol::Eager => {
                let all = self.owned.keys().cloned().collect();
                self.revoke(all, out);
            }
            RebalanceProtocol::Cooperative => {
                let unwanted: BTreeSet<_> = self.owned.keys().filter(unwanted).cloned().collect();
                if !unwanted.is_empty() {
                    self.revoke(unwanted, out);
                }
            }
        }
        true
    }

    /// Whether the present assignment is carried out, and there is a coordinator to join another generation with.
    pub(super) fn can_prepare(&self) -> bool {
        self.callback.is_none() && self.target.is_none() && self.link.versions().is_some()
    }

    /// Everything is handed back: join.
    pub(super) fn step_prepared(&mut self, now: Time) -> bool {
        if self.callback.is_some() {
            return false;
        }
        self.phase = Phase::Joining(Attempt::at(now));
        true
    }

    /// Notes that a rebalance must follow; the first reason counts.
    pub(super) fn rejoin_because(&mut self, reason: &str) {
        self.rejoin.get_or_insert_with(|| reason.to_owned());
    }
}
