//! The faults: each kind a process of its own, with the mean distance that the seed drew, until the world heals.

use crate::checkers::{Violation, progress};
use crate::world::{Happening, Local, World};

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    BrokerCrash,
    HostCrash,
    Freeze,
    Cut,
    Reset,
    Growth,
    Resubscribe,
    Close,
    FullDisk,
}

impl World {
    pub(crate) fn schedule_faults(&mut self) {
        for fault in [
            Fault::BrokerCrash,
            Fault::HostCrash,
            Fault::Freeze,
            Fault::Cut,
            Fault::Reset,
            Fault::Growth,
            Fault::Resubscribe,
            Fault::Close,
            Fault::FullDisk,
        ] {
            self.schedule_next(fault);
        }
    }

    fn schedule_next(&mut self, fault: Fault) {
        let faults = &self.drawn.faults;
        let mean = match fault {
            Fault::BrokerCrash => faults.broker_crash,
            Fault::HostCrash => faults.host_crash,
            Fault::Freeze => faults.freeze,
            Fault::Cut => faults.cut,
            Fault::Reset => faults.reset,
            Fault::Growth => faults.growth,
            Fault::Resubscribe => faults.resubscribe,
            Fault::Close => faults.close,
            Fault::FullDisk => faults.full_disk,
        };
        if mean > 0 {
            let at = self.random.faults.between(1, 2 * mean);
            self.after(at, Happening::Fault(fault));
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        if self.healed.is_some() {
            return Ok(());
        }
        self.schedule_next(fault);
        let place = self.random.faults.index(self.hosts.len());
        match fault {
            Fault::BrokerCrash => {
                if self.random.faults.chance(50) {
                    self.crash_for_a_while();
                } else {
                    // The worst moment: records are written and not durable.
                    self.broker.doomed = Some(self.random.faults.between(1, 5));
                }
            }
            Fault::HostCrash => {
                let silently = self.random.faults.chance(40);
                self.crash_host(place, silently);
                let down = self.random.faults.pick(&[10, 500, 3_000, 20_000]);
                self.after(down, Happening::HostStarts(place));
            }
            Fault::Freeze => {
                if self.random.faults.chance(30) {
                    // Not the process: a handler hangs, heartbeats go on.
                    let long = self.random.faults.between(0, 2 * self.drawn.poll);
                    self.hosts[place].app.stalled_until = self.now + long;
                } else {
                    self.freeze(place);
                    let long = self.random.faults.between(100, 2 * self.drawn.session);
                    self.after(long, Happening::Thaws(place));
                }
            }
            Fault::Cut => {
                let long = self.random.faults.between(100, 2 * self.drawn.session);
                self.trace.tell(self.now, format_args!("h{place} is cut off for {long} ms"));
                self.hosts[place].cut_until = self.now + long;
                if self.random.faults.chance(50)
                    && let Some(connection) = self.hosts[place].connection()
                {
                    self.break_connection(connection, true);
                }
            }
            Fault::Reset => {
                if let Some(connection) = self.hosts[place].connection() {
                    self.trace.tell(self.now, format_args!("h{place}'s connection is reset"));
                    self.break_connection(connection, true);
                }
            }
            Fault::Growth => self.grow(),
            Fault::Resubscribe => self.resubscribe(place)?,
            Fault::Close => self.close_host(place)?,
            // The next appends fail, each of its own.
            Fault::FullDisk => self.broker.full = self.random.faults.between(1, 3),
        }
        Ok(())
    }

    pub(crate) fn crash_for_a_while(&mut self) {
        if self.healed.is_none() {
            self.crash_broker();
            let down = self.random.faults.pick(&[10, 300, 2_000, 12_000]);
            self.after(down, Happening::BrokerStarts);
        }
    }

    /// A topic gets another partition; everybody who watches it hears so in his own time.
    fn grow(&mut self) {
        let nth = self.random.faults.index(self.topics.len());
        if let Some((topic, count)) = self.topics.iter_mut().nth(nth) {
            *count += 1;
            self.trace.tell(self.now, format_args!("{topic} has {count} partitions"));
        }
        for place in 0..self.hosts.len() {
            let at = self.random.network.between(1, 2_000);
            let process = self.hosts[place].process;
            self.after(at, Happening::At(place, process, Local::Metadata));
        }
    }

    /// No faults any more: messages flow, who is down starts or stays away for good, who is frozen goes on.
    pub(crate) fn heal(&mut self) -> Result<(), Violation> {
        self.trace.tell(self.now, format_args!("everything heals"));
        self.healed = Some(self.now);
        self.broker.full = 0;
        self.start_broker()?;
        for place in 0..self.hosts.len() {
            self.hosts[place].cut_until = self.now;
            self.hosts[place].app.stalled_until = self.now;
            if self.hosts[place].frozen {
                let at = self.random.faults.between(0, 2_000);
                self.after(at, Happening::Thaws(place));
            }
            if self.hosts[place].member.is_none() && self.random.faults.chance(70) {
                let at = self.random.faults.between(0, 2_000);
                self.after(at, Happening::HostStarts(place));
            }
        }
        self.after(progress::LOOK_EVERY, Happening::Judge);
        Ok(())
    }
}
