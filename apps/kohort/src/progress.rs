//! A progress bar on stderr for what takes longer than a second.

use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

/// What is shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a bar is drawn.
const REDRAW: Duration = Duration::from_millis(125);
/// The bar itself, in characters: with the numbers it fits a terminal of 80.
const BAR: usize = 24;
const CLEAR_LINE: &str = "\r\x1b[2K";

/// Counts, towards a total where there is one; a bar appears when it has taken a second, on a terminal only.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: Option<u64>,
    unit: Unit,
    position: u64,
    began: Instant,
    drawn: Option<Instant>,
    terminal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Things,
    Bytes,
}

impl Progress {
    /// A bar that says `what` towards `total`.
    pub(crate) fn new(what: &'static str, total: u64) -> Progress {
        Progress::start(what, Some(total), Unit::Things)
    }

    /// A bar that says `what` towards `total` bytes.
    pub(crate) fn bytes(what: &'static str, total: u64) -> Progress {
        Progress::start(what, Some(total), Unit::Bytes)
    }

    /// A count that says `what`; where it ends is not known.
    pub(crate) fn counter(what: &'static str) -> Progress {
        Progress::start(what, None, Unit::Things)
    }

    fn start(what: &'static str, total: Option<u64>, unit: Unit) -> Progress {
        let terminal = io::stderr().is_terminal();
        Progress { what, total, unit, position: 0, began: Instant::now(), drawn: None, terminal }
    }

    /// `n` more are done.
    pub(crate) fn advance(&mut self, n: u64) {
        self.at(self.position + n);
    }

    /// So many are done.
    pub(crate) fn at(&mut self, position: u64) {
        self.position = position;
        if !self.terminal {
            return;
        }
        let now = Instant::now();
        let due = self.drawn.map_or(self.began + PATIENCE, |drawn| drawn + REDRAW);
        if now >= due {
            self.drawn = Some(now);
            let line = self.line(now - self.began);
            // A terminal that went away needs no bar.
            let _ = write!(io::stderr().lock(), "{CLEAR_LINE}{line}");
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a bar is not read to the last digit"
    )]
    fn line(&self, spent: Duration) -> String {
        let each_second = self.position as f64 / spent.as_secs_f64().max(0.001);
        let Some(total) = self.total else {
            return format!(
                "{} {}, {}/s",
                self.what,
                self.count(self.position),
                self.count(each_second as u64)
            );
        };
        let share = (self.position as f64 / total.max(1) as f64).clamp(0.0, 1.0);
        let full = (share * BAR as f64) as usize;
        let left = match self.position {
            0 => String::new(),
            _ => format!(", {:.0} s left", spent.as_secs_f64() * (1.0 - share) / share),
        };
        format!(
            "{} {}{} {:.0} %, {} of {}{left}",
            self.what,
            "━".repeat(full),
            "─".repeat(BAR - full),
            share * 100.0,
            self.count(self.position),
            self.count(total),
        )
    }

    fn count(&self, number: u64) -> String {
        match self.unit {
            Unit::Things => grouped(number),
            Unit::Bytes => format!("{} MiB", grouped(number >> 20)),
        }
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Drop for Progress {
    /// Removes the bar, also where what it counted came to nothing: the message that follows must stand on a line of its own.
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr().lock(), "{CLEAR_LINE}");
        }
    }
}

/// A reader whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Counted<R> {
    inner: R,
    progress: Progress,
}

impl<R> Counted<R> {
    /// Counts what is read of `inner`.
    pub(crate) fn new(inner: R, progress: Progress) -> Counted<R> {
        Counted { inner, progress }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mut progress: Progress, position: u64) -> String {
        progress.position = position;
        progress.line(Duration::from_secs(2))
    }

    #[test]
    fn a_bar_says_how_far_it_is_and_how_long_it_will_take() {
        let half = "━".repeat(12) + &"─".repeat(12);
        let things = || Progress::new("sending", 2_000_000);
        assert_eq!(
            line(things(), 1_000_000),
            format!("sending {half} 50 %, 1,000,000 of 2,000,000, 2 s left")
        );
        assert_eq!(line(things(), 0), format!("sending {} 0 %, 0 of 2,000,000", "─".repeat(24)));
        assert!(line(things(), 3_000_000).contains("━ 100 %"), "more than was thought is all of it");
        assert_eq!(line(Progress::counter("sending"), 3000), "sending 3,000, 1,500/s");
        assert!(line(Progress::bytes("reading", 4 << 20), 2 << 20).contains("2 MiB of 4 MiB, 2 s left"));
        assert!(line(Progress::new("nothing", 0), 0).contains("0 of 0"));
    }
}
