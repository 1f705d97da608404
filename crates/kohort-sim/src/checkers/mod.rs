//! The named invariants ([`kohort_group::invariants`]), one file each. They look at what passes the wire, the log and the
//! applications, and share no code with what they check.

pub(crate) mod commits;
pub(crate) mod no_orphan;
pub(crate) mod one_owner;
pub(crate) mod progress;
pub(crate) mod replay;
pub(crate) mod sticky;

use kohort_group::coordinator::{ConnectionId, Coordinator, GroupView, Record};
use kohort_group::member::{Request, RequestId, Response};

pub(crate) use kohort_group::invariants::Violation;

/// What was seen of a broken invariant.
pub(crate) fn broken(invariant: &'static str, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

/// The checkers that remember something.
#[derive(Debug, Default)]
pub(crate) struct Checkers {
    commits: commits::Commits,
    replay: replay::Replay,
}

impl Checkers {
    /// A request reaches the broker, and its group is in this state.
    pub(crate) fn arrives(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        request: &Request,
        group: Option<&GroupView<'_>>,
    ) {
        self.commits.arrives(connection, id, request, group);
    }

    /// The coordinator appends a record.
    pub(crate) fn appended(&mut self, record: &Record) -> Result<(), Violation> {
        one_owner::check_record(record)?;
        sticky::check_record(record)?;
        self.commits.appended(record)?;
        self.replay.appended(record);
        Ok(())
    }

    /// The coordinator's step is over; it appended records of these groups.
    pub(crate) fn stepped(&mut self, coordinator: &Coordinator, touched: &[String]) -> Result<(), Violation> {
        self.commits.stepped();
        self.replay.stepped(coordinator, touched)
    }

    /// An answer leaves the broker.
    pub(crate) fn answered(&mut self, connection: ConnectionId, id: RequestId, response: &Response) {
        self.commits.answered(connection, id, response);
    }

    /// The broker crashed, and this is what is left of its log.
    pub(crate) fn truncated(&mut self, log: &[Record]) {
        self.replay.rebuild(log);
        self.commits.rebuild(&self.replay);
    }

    /// The broker is up again.
    pub(crate) fn recovered(&mut self, coordinator: &Coordinator) -> Result<(), Violation> {
        self.commits.recovered()?;
        self.replay.recovered(coordinator)
    }

    /// An append failed, and the coordinator was made anew from the log as it stands.
    pub(crate) fn restarted(&mut self, coordinator: &Coordinator) -> Result<(), Violation> {
        self.commits.stepped();
        self.recovered(coordinator)
    }

    /// The run is over: one last restart.
    pub(crate) fn finish(
        &mut self,
        coordinator: Option<&Coordinator>,
        log: &[Record],
    ) -> Result<(), Violation> {
        self.replay.rebuild(log);
        coordinator.map_or(Ok(()), |it| self.replay.recovered(it))
    }
}
