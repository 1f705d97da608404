//! The world of one run: the clock, the queue of what happens next, and who it happens to.
//!
//! Everything runs in one thread on one clock of whole milliseconds. What happens at one time happens in the order in
//! which it was decided. So a run is a function of its seed.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use kohort_group::Time;
use kohort_group::coordinator::ConnectionId;
use kohort_group::member::{CallbackId, Request, RequestId, Response};
use kohort_group::messages::Partition;

use crate::broker::Broker;
use crate::bugs::Bug;
use crate::checkers::{Checkers, Violation};
use crate::faults::Fault;
use crate::host::Host;
use crate::network::Network;
use crate::random::Random;
use crate::swarm::Drawn;
use crate::trace::Trace;

/// A run that takes more steps than this is a loop, and a failure of `Progress`.
const STEPS_MAX: u64 = 3_000_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A request reaches the broker.
    Arrives(ConnectionId, RequestId, Box<Request>),
    /// The broker hears that a connection is gone.
    BrokerHearsClose(ConnectionId),
    /// A flush of the log is over.
    Flushed { boot: u64 },
    /// The coordinator's deadline may have come.
    BrokerTimer { boot: u64 },
    /// Something at a host.
    At(usize, u32, Local),
    /// A fault begins, and its successor is drawn.
    Fault(Fault),
    /// kill -9, in the middle of a flush.
    BrokerCrashes,
    /// It starts again.
    BrokerStarts,
    /// A frozen host goes on.
    Thaws(usize),
    /// A host that is down starts again.
    HostStarts(usize),
    /// No faults any more.
    Heal,
    /// Is everybody settled?
    Judge,
}

/// Something that happens at a host's process; lost if that process is no more, late if it is frozen.
#[derive(Debug)]
pub(crate) enum Local {
    /// An answer arrives.
    Answer(ConnectionId, RequestId, Box<Response>),
    /// The host hears that its connection is gone.
    HearsClose(ConnectionId),
    /// The lookup of the coordinator comes back.
    Looked,
    /// The metadata refresh comes back.
    Metadata,
    /// The member's deadline may have come.
    Timer,
    /// The application's next turn.
    Tick,
    /// A callback has been carried out.
    CallbackOver(CallbackId),
}

struct Entry {
    at: u64,
    order: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// One stream of randomness per concern.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) network: Random,
    pub(crate) disk: Random,
    pub(crate) faults: Random,
    pub(crate) application: Random,
    pub(crate) ids: Random,
}

/// One run.
pub(crate) struct World {
    pub(crate) drawn: Drawn,
    pub(crate) bug: Option<Bug>,
    pub(crate) now: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
    pub(crate) steps: u64,
    pub(crate) random: Streams,
    pub(crate) topics: BTreeMap<String, Partition>,
    pub(crate) broker: Broker,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) checkers: Checkers,
    pub(crate) trace: Trace,
    pub(crate) healed: Option<u64>,
    /// Since when all groups are settled, and in which generations.
    pub(crate) settled: Option<(u64, Vec<i32>)>,
    done: bool,
}

impl World {
    /// The world of `seed` before anything happened.
    pub(crate) fn new(seed: u64, bug: Option<Bug>, text: bool) -> Self {
        let drawn = Drawn::new(seed);
        let mut setup = Random::stream(seed, "hosts");
        let topics: BTreeMap<_, _> =
            drawn.topics.iter().enumerate().map(|(i, count)| (format!("t{i}"), *count)).collect();
        let hosts = (0..drawn.hosts).map(|place| Host::new(place, &drawn, &topics, &mut setup)).collect();
        let random = Streams {
            network: Random::stream(seed, "network"),
            disk: Random::stream(seed, "disk"),
            faults: Random::stream(seed, "faults"),
            application: Random::stream(seed, "application"),
            ids: Random::stream(seed, "ids"),
        };
        Self {
            bug,
            // Not zero: a time before the beginning must be sayable.
            now: 1_000,
            queue: BinaryHeap::new(),
            order: 0,
            steps: 0,
            random,
            topics,
            broker: Broker::new(),
            hosts,
            network: Network::default(),
            checkers: Checkers::default(),
            trace: Trace::new(text),
            healed: None,
            settled: None,
            done: false,
            drawn,
        }
    }

    /// Runs to the end: to the first broken invariant, or until all have settled.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        self.start_broker()?;
        for host in 0..self.hosts.len() {
            let at = self.random.application.between(0, 3_000);
            self.after(at, Happening::HostStarts(host));
        }
        self.schedule_faults();
        self.after(self.drawn.fault_time, Happening::Heal);
        while !self.done {
            let Some(Reverse(entry)) = self.queue.pop() else {
                return Err(self.stuck("nothing will ever happen again"));
            };
            self.now = entry.at;
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(self.stuck("too many steps"));
            }
            self.happen(entry.happening)?;
        }
        self.checkers.finish(self.broker.coordinator(), self.broker.log())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        self.trace.fold(self.now);
        match happening {
            Happening::Arrives(connection, id, request) => self.arrives(connection, id, *request),
            Happening::BrokerHearsClose(connection) => self.broker_hears_close(connection),
            Happening::Flushed { boot } => self.flushed(boot),
            Happening::BrokerTimer { boot } => self.broker_timer(boot),
            Happening::At(host, process, local) => self.at_host(host, process, local),
            Happening::Fault(fault) => self.fault(fault),
            Happening::BrokerCrashes => {
                self.crash_for_a_while();
                Ok(())
            }
            Happening::BrokerStarts => self.start_broker(),
            Happening::Thaws(host) => self.thaw(host),
            Happening::HostStarts(host) => self.start_host(host),
            Happening::Heal => self.heal(),
            Happening::Judge => self.judge(),
        }
    }

    /// Has `happening` happen `ms` from now.
    pub(crate) fn after(&mut self, ms: u64, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at: self.now + ms, order: self.order, happening }));
    }

    /// Has `happening` happen at `at`, or now if that is past.
    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.after(at.saturating_sub(self.now), happening);
    }

    pub(crate) fn time(&self) -> Time {
        Time::from_millis(self.now)
    }

    /// The run is over and nothing is broken.
    pub(crate) fn finish(&mut self) {
        self.done = true;
    }
}
