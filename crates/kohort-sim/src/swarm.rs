//! What a seed draws: sizes, timings, and which faults happen at all. Leaving most faults out of most runs finds more
//! than a little of everything in each (swarm testing).

use core::fmt;

use crate::random::Random;

/// The drawn options of one run. All times are milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// Consumer processes.
    pub(crate) hosts: usize,
    /// Groups, over which the hosts are dealt.
    pub(crate) groups: usize,
    /// Partitions by topic at the start.
    pub(crate) topics: Vec<i32>,
    /// How many of a hundred hosts are static members.
    pub(crate) static_percent: u64,
    /// Assignors of each group, as every host of it names them.
    pub(crate) assignors: Vec<&'static [&'static str]>,
    /// Whether hosts subscribe to different topics.
    pub(crate) mixed_subscriptions: bool,
    pub(crate) session: u64,
    pub(crate) heartbeat: u64,
    pub(crate) rebalance: u64,
    pub(crate) poll: u64,
    pub(crate) initial_delay: u64,
    pub(crate) park: bool,
    pub(crate) grace: u64,
    pub(crate) new_member: u64,
    /// One way through the network.
    pub(crate) delay: (u64, u64),
    /// A flush of the log.
    pub(crate) flush: (u64, u64),
    /// How long callbacks take.
    pub(crate) callback: (u64, u64),
    /// The application polls, works and perhaps commits.
    pub(crate) tick: u64,
    /// Faults go on for so long; then everything heals.
    pub(crate) fault_time: u64,
    /// How far two faults of a kind are apart, on average; 0: none of the kind.
    pub(crate) faults: Faults,
}

/// Mean time between two faults of each kind; 0: never.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) broker_crash: u64,
    pub(crate) host_crash: u64,
    pub(crate) freeze: u64,
    pub(crate) cut: u64,
    pub(crate) reset: u64,
    pub(crate) growth: u64,
    pub(crate) resubscribe: u64,
    pub(crate) close: u64,
    pub(crate) full_disk: u64,
}

/// The assignor lists that groups use: each alone, and the ones people run while they change over.
const STRATEGIES: [&[&str]; 6] = [
    &["range"],
    &["roundrobin"],
    &["sticky"],
    &["cooperative-sticky"],
    &["cooperative-sticky"],
    &["range", "cooperative-sticky"],
];

impl Drawn {
    /// The options of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let r = &mut Random::stream(seed, "swarm");
        let hosts = match r.below(100) {
            0..70 => r.between(1, 8),
            70..96 => r.between(9, 30),
            _ => r.between(100, 250),
        };
        let large = hosts > 50;
        let groups = if hosts > 2 { r.between(1, 3) } else { 1 };
        let topics = r.between(1, 4);
        let most = if large { 60 } else { 9 };
        let topics = (0..topics).map(|_| i32::try_from(r.between(1, most)).unwrap_or(1)).collect();
        let assignors = (0..groups).map(|_| r.pick(&STRATEGIES)).collect();
        let session = r.pick(&[2_000, 4_000, 6_000, 10_000]);
        let rebalance = r.pick(&[3_000, 8_000, 15_000]);
        // Who beats more slowly than a rebalance waits is thrown out of every one.
        let heartbeat = (session / r.pick(&[3, 4, 6])).min(rebalance / 3);
        let delay = r.pick(&[(0, 1), (0, 5), (1, 40), (1, 200)]);
        let fault_time = if large { 12_000 } else { r.pick(&[20_000, 40_000, 60_000]) };
        Self {
            hosts: usize::try_from(hosts).unwrap_or(1),
            groups: usize::try_from(groups).unwrap_or(1),
            topics,
            static_percent: r.pick(&[0, 0, 30, 100]),
            assignors,
            mixed_subscriptions: r.chance(30),
            session,
            heartbeat,
            rebalance,
            poll: r.pick(&[5_000, 15_000, 60_000]),
            initial_delay: r.pick(&[0, 0, 100, 3_000]),
            park: r.chance(70),
            grace: r.pick(&[0, 500, 500, 2_000]),
            new_member: r.pick(&[15_000, 30_000]),
            delay,
            flush: r.pick(&[(0, 0), (0, 3), (1, 30)]),
            callback: r.pick(&[(0, 0), (0, 20), (0, 500), (0, 4_000)]),
            tick: if large { 2_000 } else { r.pick(&[200, 500, 1_000]) },
            fault_time,
            faults: Faults::draw(r, fault_time),
        }
    }
}

impl Faults {
    fn draw(r: &mut Random, fault_time: u64) -> Self {
        // Each kind is off in half of the runs, else rare or frequent.
        let mut one = |often: u64| match r.below(4) {
            0 | 1 => 0,
            2 => fault_time / 3,
            _ => often,
        };
        Self {
            broker_crash: one(6_000),
            host_crash: one(2_000),
            freeze: one(2_500),
            cut: one(2_500),
            reset: one(1_500),
            growth: one(5_000),
            resubscribe: one(4_000),
            close: one(3_000),
            full_disk: one(3_000),
        }
    }
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hosts={} groups={} topics={:?}", self.hosts, self.groups, self.topics)?;
        let assignors: Vec<String> = self.assignors.iter().map(|names| names.join("+")).collect();
        write!(f, " assignors={} static={}%", assignors.join(","), self.static_percent)?;
        write!(
            f,
            " mixed={} session={} heartbeat={}",
            self.mixed_subscriptions, self.session, self.heartbeat
        )?;
        write!(f, " rebalance={} poll={} initial-delay={}", self.rebalance, self.poll, self.initial_delay)?;
        write!(f, " park={} grace={} new-member={}", self.park, self.grace, self.new_member)?;
        write!(f, " delay={}..{} flush={}..{}", self.delay.0, self.delay.1, self.flush.0, self.flush.1)?;
        write!(f, " callback={}..{} tick={}", self.callback.0, self.callback.1, self.tick)?;
        write!(f, " fault-time={}", self.fault_time)?;
        let Faults { broker_crash, host_crash, freeze, cut, reset, growth, resubscribe, close, full_disk } =
            &self.faults;
        write!(f, " broker-crash={broker_crash} host-crash={host_crash} freeze={freeze} cut={cut}")?;
        write!(
            f,
            " reset={reset} growth={growth} resubscribe={resubscribe} close={close} full-disk={full_disk}"
        )
    }
}
