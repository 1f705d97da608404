//! What tests stand on that run `kohort` as processes: the processes, a broker, real trades with what must come of them, a receiver of
//! webhooks, numbers from a seed.

#![allow(dead_code, unused_imports, reason = "no test uses all of it")]

mod broker;
mod process;
mod receiver;
mod set;

use std::time::Duration;

pub(crate) use broker::{Broker, free_port};
pub(crate) use process::{Process, kohort};
pub(crate) use receiver::Receiver;
pub(crate) use set::{Set, block, candles, file, parts};

/// Numbers from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number from 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// One of these.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("an index")]
    }

    /// Sleeps for a time between these.
    pub(crate) fn pause(&mut self, from_ms: u64, to_ms: u64) {
        std::thread::sleep(Duration::from_millis(from_ms + self.below(to_ms - from_ms)));
    }
}

/// A number out of the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}
