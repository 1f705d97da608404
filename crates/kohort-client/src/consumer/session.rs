//! Fetch sessions (KIP-227): the broker remembers what a lane fetches, and only changes travel.
//!
//! Pure: what to put into the next request, from what is wanted and what the broker knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_group::messages::{Offset, Partition};

/// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR.
pub(crate) const SESSION_ERRORS: [i16; 3] = [70, 71, 106];

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) max_bytes: i32,
}

type Name = (Arc<str>, Partition);

/// A lane's session. Its requests are answered one at a time.
#[derive(Debug, Default)]
pub(crate) struct FetchSession {
    /// 0: none.
    id: i32,
    /// Of the next request; 0 asks for a new session.
    epoch: i32,
    known: BTreeMap<Name, Ask>,
}

/// What the next request says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    /// New or changed; in a full request, all.
    pub(crate) changed: Vec<(Name, Ask)>,
    pub(crate) forgotten: Vec<Name>,
}

impl FetchSession {
    /// The request that makes the broker fetch exactly `wanted`.
    pub(crate) fn plan(&mut self, wanted: Vec<(Name, Ask)>) -> Plan {
        let (session_id, session_epoch) = (self.id, self.epoch);
        if session_epoch == 0 {
            self.known = wanted.iter().cloned().collect();
            return Plan { session_id, session_epoch, changed: wanted, forgotten: vec![] };
        }
        let wanted: BTreeMap<Name, Ask> = wanted.into_iter().collect();
        let changed = wanted
            .iter()
            .filter(|(name, ask)| self.known.get(*name) != Some(ask))
            .map(|(name, ask)| (name.clone(), *ask))
            .collect();
        let forgotten = self.known.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        self.known = wanted;
        Plan { session_id, session_epoch, changed, forgotten }
    }

    /// Takes an answer without a top-level error.
    pub(crate) fn answered(&mut self, session_id: i32) {
        if session_id == 0 {
            // The broker keeps no session for us: every request is full.
            self.reset();
        } else {
            self.id = session_id;
            self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        }
    }

    /// Forgets it: the connection ended, or the broker has forgotten it.
    pub(crate) fn reset(&mut self) {
        (self.id, self.epoch) = (0, 0);
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(partition: i32, offset: i64) -> (Name, Ask) {
        let ask = Ask { offset, leader_epoch: 0, last_fetched_epoch: -1, max_bytes: 1 };
        (("t".into(), partition), ask)
    }

    #[test]
    fn the_first_request_is_full_and_later_ones_tell_changes() {
        let mut session = FetchSession::default();
        let first = session.plan(vec![want(0, 5), want(1, 5)]);
        assert_eq!((first.session_id, first.session_epoch, first.changed.len()), (0, 0, 2));
        session.answered(77);
        let second = session.plan(vec![want(0, 9), want(1, 5), want(2, 0)]);
        assert_eq!((second.session_id, second.session_epoch), (77, 1));
        assert_eq!(second.changed, [want(0, 9), want(2, 0)]);
        session.answered(77);
        let third = session.plan(vec![want(2, 0)]);
        assert_eq!((third.session_epoch, third.changed.len()), (2, 0));
        assert_eq!(third.forgotten, [want(0, 0).0, want(1, 0).0]);
    }

    #[test]
    fn without_a_session_every_request_is_full() {
        let mut session = FetchSession::default();
        session.plan(vec![want(0, 5)]);
        session.answered(0);
        assert_eq!(session.plan(vec![want(0, 5)]).changed.len(), 1);
    }

    #[test]
    fn epochs_wrap_to_one_and_a_reset_starts_anew() {
        let mut session = FetchSession { id: 7, epoch: i32::MAX, known: BTreeMap::new() };
        session.answered(7);
        assert_eq!(session.plan(vec![]).session_epoch, 1);
        session.reset();
        assert_eq!(session.plan(vec![]).session_epoch, 0);
    }
}
