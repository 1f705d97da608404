//! A progress bar on stderr for what takes longer than a second.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Counts towards a total; a bar appears when it has taken a second, on a terminal only.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    shown: bool,
}

impl Progress {
    /// A bar that says `what` towards `total`.
    pub(crate) fn new(what: &'static str, total: u64) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let template = "{msg} {wide_bar:.cyan/dim} {human_pos}/{human_len} {per_sec} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_message(what);
        Progress { bar, began: Instant::now(), shown: false }
    }

    /// `n` more are done.
    pub(crate) fn advance(&mut self, n: u64) {
        self.bar.inc(n);
        if !self.shown && self.began.elapsed() > PATIENCE {
            self.shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
