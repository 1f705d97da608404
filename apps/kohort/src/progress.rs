//! A progress bar on stderr for what takes longer than a second.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Counts, towards a total where there is one; a bar appears when it has taken a second, on a terminal only.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    shown: bool,
}

impl Progress {
    /// A bar that says `what` towards `total`.
    pub(crate) fn new(what: &'static str, total: u64) -> Progress {
        Progress::styled(
            what,
            Some(total),
            "{msg} {wide_bar:.cyan/dim} {human_pos}/{human_len} {per_sec} {eta} left",
        )
    }

    /// A bar that says `what` towards `total` bytes.
    pub(crate) fn bytes(what: &'static str, total: u64) -> Progress {
        Progress::styled(what, Some(total), "{msg} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {eta} left")
    }

    /// A count that says `what`; where it ends is not known.
    pub(crate) fn counter(what: &'static str) -> Progress {
        Progress::styled(what, None, "{msg} {spinner} {human_pos} {per_sec}")
    }

    fn styled(what: &'static str, total: Option<u64>, template: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_message(what);
        Progress { bar, began: Instant::now(), shown: false }
    }

    /// `n` more are done.
    pub(crate) fn advance(&mut self, n: u64) {
        self.bar.inc(n);
        self.show();
    }

    /// So many are done.
    pub(crate) fn at(&mut self, position: u64) {
        self.bar.set_position(position);
        self.show();
    }

    fn show(&mut self) {
        if !self.shown && self.began.elapsed() > PATIENCE {
            self.shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        }
    }
}

impl Drop for Progress {
    /// Removes the bar, also where what it counted came to nothing: the message that follows must stand on a line of its own.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
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
