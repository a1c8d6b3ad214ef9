//! How far long work is, on the standard error of a terminal only.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// A bar or a spinner. It is removed when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Work of so many parts; without a number, work whose length is not known.
    pub fn of(what: &'static str, parts: Option<u64>) -> Self {
        let is_shown = std::io::stderr().is_terminal();
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(parts, target).with_message(what);
        let template = match parts {
            Some(_) => "{msg} {bar:32} {human_pos}/{human_len}, {per_sec}, {eta} left",
            None => "{spinner} {msg} {human_pos} in {elapsed}",
        };
        // The templates are constants that can be read; else the bar has its usual look.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        if is_shown {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    /// So many parts more are done.
    pub fn add(&self, parts: u64) {
        self.0.inc(parts);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
