//! What a consumer's tasks share: one lock around partitions, lanes and events, and who is woken when they change.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kohort_group::member::CallbackId;
use tokio::sync::{Notify, mpsc};

use super::fetch::Lane;
use super::group::Command;
use super::partitions::Parts;
use super::{ConsumerBuilder, ConsumerEvent, FatalError, HaltError};
use crate::net::cluster::{Cluster, Purpose, Wanted};

/// Numbers consumers of this process, so that each has connections of its own.
static CONSUMERS: AtomicU64 = AtomicU64::new(0);

/// What a consumer's tasks share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: ConsumerBuilder,
    pub(crate) number: u64,
    state: Mutex<State>,
    /// `next` may find something.
    pub(crate) news: Notify,
    /// The driver has something to do.
    pub(crate) work: Notify,
    /// The way to the group's member; `None` without a group.
    pub(crate) group: Option<mpsc::UnboundedSender<Command>>,
    /// `next` was called since the member last looked.
    pub(crate) polled: AtomicBool,
    /// The member is out because `next` was not called: its next call must tell it.
    pub(crate) awaits_poll: AtomicBool,
    /// How often the driver went round.
    #[cfg(test)]
    pub(crate) rounds: AtomicU64,
}

/// An event that waits for the caller.
#[derive(Debug)]
struct Told {
    event: ConsumerEvent,
    /// Dropped when the caller has the event, or never will.
    _heard: Option<Heard>,
}

/// Ends a callback when it is dropped.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) id: CallbackId,
    pub(crate) itself: mpsc::WeakUnboundedSender<Command>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        super::group::tell(&self.itself, Command::Done(self.id));
    }
}

/// What the lock is around.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) parts: Parts,
    pub(crate) lanes: HashMap<i32, [Lane; 2]>,
    events: VecDeque<Told>,
    /// Nobody takes events any more: the consumer was dropped.
    abandoned: bool,
    pub(crate) fatal: Option<FatalError>,
    pub(crate) mode: Mode,
    /// Member id and generation.
    pub(crate) membership: Option<(String, i32)>,
    pub(crate) requests: u64,
    /// When to look again whether a fetch is held up while others wait.
    pub(crate) look_at: Option<Instant>,
    /// Keeps the assigned topics in the metadata.
    pub(crate) wanted: Option<Wanted>,
    pub(crate) closed: bool,
}

/// Who decides what is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nobody yet.
    #[default]
    Idle,
    /// The group.
    Subscribed,
    /// The caller.
    Assigned,
}

impl Core {
    pub(crate) fn new(settings: ConsumerBuilder, group: Option<mpsc::UnboundedSender<Command>>) -> Arc<Self> {
        Arc::new(Self {
            cluster: settings.client.cluster.clone(),
            settings,
            number: CONSUMERS.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
            news: Notify::new(),
            work: Notify::new(),
            group,
            polled: AtomicBool::new(false),
            awaits_poll: AtomicBool::new(false),
            #[cfg(test)]
            rounds: AtomicU64::new(0),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event for `next`.
    pub(crate) fn tell(&self, event: ConsumerEvent) {
        self.lock().tell(event);
        self.news.notify_one();
    }

    /// Ends the consumer for the caller.
    pub(crate) fn fail(&self, error: FatalError) {
        self.lock().fatal.get_or_insert(error);
        self.news.notify_one();
    }

    /// Sends the member a word; `false` without a member.
    pub(crate) fn command(&self, command: Command) -> bool {
        self.group.as_ref().is_some_and(|group| group.send(command).is_ok())
    }

    /// Ends all tasks, and lets connections go.
    pub(crate) fn shut(&self) {
        {
            let mut state = self.lock();
            state.closed = true;
            state.fatal.get_or_insert(FatalError::Closed);
            state.lanes.clear();
            for name in state.parts.names() {
                state.parts.remove(&name);
            }
            // Nobody will start them: who waits for it must not wait for ever.
            state.events.retain(|told| !matches!(told.event, ConsumerEvent::Assigned { .. }));
        }
        let number = self.number;
        self.cluster.forget(|purpose| match purpose {
            Purpose::Fetch(of, _) | Purpose::Group(of) | Purpose::Offsets(of) => of == number,
            Purpose::General | Purpose::Produce => false,
        });
        self.work.notify_one();
        self.news.notify_one();
    }
}

impl State {
    /// Queues an event for `next`. If nobody will call it again, the event ends here: what it asks for is granted, and nothing
    /// waits for an answer that cannot come.
    pub(crate) fn tell(&mut self, event: ConsumerEvent) {
        if !self.abandoned {
            self.events.push_back(Told { event, _heard: None });
        }
    }

    /// The same; the callback ends when the caller has it.
    pub(crate) fn tell_and_wait(&mut self, event: ConsumerEvent, heard: Heard) {
        if !self.abandoned {
            self.events.push_back(Told { event, _heard: Some(heard) });
        }
    }

    /// The first event, for the caller.
    pub(crate) fn next_event(&mut self) -> Option<ConsumerEvent> {
        Some(self.events.pop_front()?.event)
    }

    /// Nobody takes events any more: gives those that wait, to be dropped where the lock is not held.
    pub(crate) fn abandon(&mut self) -> impl Sized + use<> {
        self.abandoned = true;
        std::mem::take(&mut self.events)
    }

    /// Stops a partition, and says why.
    pub(crate) fn halt(&mut self, id: usize, error: HaltError) {
        self.parts.restart(id, super::partitions::Phase::Halted);
        if let Some(part) = self.parts.get(id) {
            let partition = part.name();
            tracing::warn!(topic = %part.topic, partition = part.partition, %error, "partition is not read on");
            self.tell(ConsumerEvent::Halted { partition, error });
        }
    }
}
