use std::time::Duration;

use crate::job::JobId;
use crate::time::Now;

/// How long a suspect runs with nothing beside it after its first death; twice as long after each
/// further one. Who kills the process mostly does so early, and a long job that merely ran beside
/// the crash must not hold everybody up; but who kills late must be found out, too.
const ALONE: Duration = Duration::from_secs(5);

/// It is doubled this often at most: to 85 minutes.
const ALONE_DOUBLED_MAX: u32 = 10;

/// How long a suspect waits for the jobs that already run, before it starts beside them.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time after a crash: who ran when the process died is a suspect and starts first, one at a
/// time, with nothing beside it, so that the next crash names its culprit.
#[derive(Debug, Default)]
pub(crate) struct Probation {
    /// Starts that must still be durable before they run.
    careful: usize,
    /// Suspects may still be waiting. They are few; whether one is left is looked up.
    active: bool,
    /// The suspect that runs, and until when it runs alone.
    on_trial: Option<(JobId, Duration)>,
    /// Since when a suspect waits for running jobs to end.
    waiting_since: Option<Duration>,
}

impl Probation {
    pub fn begin(&mut self, careful: usize, suspects: bool) {
        self.careful = careful;
        self.active = suspects;
    }

    pub fn is_on_trial(&self, id: JobId) -> bool {
        self.on_trial.is_some_and(|(suspect, _)| suspect == id)
    }

    /// A suspect waits again.
    pub fn try_again(&mut self) {
        self.active = true;
    }

    pub fn is_active(&self) -> bool {
        self.active
    }

    /// No suspect is left waiting.
    pub fn all_tried(&mut self) {
        self.active = self.on_trial.is_some();
    }

    /// Whether nothing at all may start now.
    pub fn holds_all(&self, now: Now) -> bool {
        self.on_trial.is_some_and(|(_, until)| now.mono < until)
    }

    /// May a suspect start beside `running` others?
    pub fn admits_suspect(&mut self, running: usize, now: Now) -> bool {
        let since = *self.waiting_since.get_or_insert(now.mono);
        running == 0 || now.mono >= since.saturating_add(PATIENCE)
    }

    /// A job that was there at so many deaths starts.
    pub fn suspect_started(&mut self, id: JobId, deaths: u32, now: Now) {
        let alone = ALONE * (1 << deaths.saturating_sub(1).min(ALONE_DOUBLED_MAX));
        self.on_trial = Some((id, now.mono.saturating_add(alone)));
        self.waiting_since = None;
    }

    /// Whether this start must be durable before it runs: also beside a suspect that still runs, or
    /// that one would look as if it had been alone.
    pub fn is_careful(&mut self) -> bool {
        let careful = self.careful > 0 || self.on_trial.is_some();
        self.careful = self.careful.saturating_sub(1);
        careful
    }

    pub fn ended(&mut self, id: JobId) {
        if self.on_trial.is_some_and(|(suspect, _)| suspect == id) {
            self.on_trial = None;
        }
    }

    pub fn next_event(&self, now: Now) -> Option<Duration> {
        let alone = self.on_trial.map(|(_, until)| until);
        let patience = self.waiting_since.map(|since| since.saturating_add(PATIENCE));
        let ahead = |at: Duration| at.checked_sub(now.mono).filter(|wait| !wait.is_zero());
        [alone, patience].into_iter().flatten().filter_map(ahead).min()
    }
}
