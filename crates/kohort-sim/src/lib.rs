//! The simulation: members and a coordinator in one thread under seeded faults.
//!
//! A seed draws a world ([`Outcome::options`]): how many consumers in how many groups, their assignors and timeouts,
//! how the network delays, and which faults happen: the broker crashes and loses what was not durable, its disk is full, processes crash,
//! freeze and wake up as zombies, machines vanish without a word, connections break, hosts are cut off, topics
//! grow, applications hang, close, and change their minds. Through all of it the named invariants hold; then everything
//! heals, and the groups must become stable in bounded time and stay so.
//!
//! What it refuses to know: how the core decides. It hosts [`kohort_group::coordinator`] and [`kohort_group::member`]
//! as the broker's and the client's shells do, and its checkers look at what passes between them.
//!
//! Where is what: `world` the clock and the queue; `swarm` what a seed draws; `faults` when they strike; `network`,
//! `broker`, `host` the three shells; `checkers/` an invariant a file; `bugs` the deliberate ones; `cli` the command.
//!
//! A run is a function of its seed: the same bytes, the same digest, every time and everywhere.

mod broker;
mod bugs;
mod checkers;
mod cli;
mod faults;
mod host;
mod network;
mod random;
mod swarm;
mod tale;
mod trace;
mod world;

pub use bugs::bugs;
pub use cli::cli;
pub use kohort_group::invariants::Violation;

use thiserror::Error;
use world::World;

/// Which protocol the groups speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// JoinGroup, SyncGroup, Heartbeat.
    #[default]
    Classic,
}

/// What a caller chooses; the rest is drawn from the seed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Which protocol the groups speak.
    pub protocol: Protocol,
    /// A deliberate bug, by name ([`bugs`]).
    pub bug: Option<String>,
    /// Keep the last lines of what happened.
    pub trace: bool,
}

/// Why a run cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// No deliberate bug has this name.
    #[error("unknown bug `{0}`: `--bug help` lists them")]
    UnknownBug(String),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What the seed drew, in one line.
    pub options: String,
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// How many things happened.
    pub steps: u64,
    /// Of everything that happened: two runs of a seed agree in it.
    pub digest: u64,
    /// The last lines of what happened, if asked for.
    pub trace: Vec<String>,
}

/// Runs one seed to its end.
///
/// # Errors
///
/// When the options name what there is not.
pub fn run(seed: u64, options: &Options) -> Result<Outcome, RunError> {
    let Protocol::Classic = options.protocol;
    let by_name = |name: &String| bugs::Bug::by_name(name).ok_or_else(|| RunError::UnknownBug(name.clone()));
    let bug = options.bug.as_ref().map(by_name).transpose()?;
    let mut world = World::new(seed, bug, options.trace);
    let violation = world.run().err();
    let World { drawn, steps, trace, .. } = world;
    let (digest, trace) = trace.finish();
    Ok(Outcome { seed, options: drawn.to_string(), violation, steps, digest, trace })
}
