//! What happened in a run: always as a digest, which two runs of a seed must agree in; as text where someone looks.

use core::fmt::Arguments;
use std::collections::VecDeque;

/// How many of the last lines a failed run shows.
const LINES_MAX: usize = 2_000;

/// The run's story.
#[derive(Debug)]
pub(crate) struct Trace {
    digest: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// With `text`, the last lines are kept; else only the digest.
    pub(crate) fn new(text: bool) -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, lines: text.then(VecDeque::new) }
    }

    /// Folds a number into the digest.
    pub(crate) fn fold(&mut self, number: u64) {
        self.digest = (self.digest ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }

    /// Tells something that happened at `now`; the text is made only where someone looks.
    pub(crate) fn tell(&mut self, now: u64, what: Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{:>4}.{:03} {what}", now / 1000, now % 1000));
        }
    }

    pub(crate) fn finish(self) -> (u64, Vec<String>) {
        (self.digest, self.lines.unwrap_or_default().into())
    }
}
