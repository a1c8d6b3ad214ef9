//! One circuit: closed, open or half open.

use std::time::Duration;

use super::window::Window;
use crate::job::{Circuit as Shown, CircuitBreaker, JobId, Verdict};
use crate::scheduler::handed_out::RunId;
use crate::time::Now;

/// Why no job starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CircuitWait {
    /// The circuit is open for this time.
    Open(Duration),
    /// The circuit is half open, and this job is the probe.
    HalfOpen(JobId),
}

#[derive(Clone, Debug)]
pub(super) struct Circuit {
    window: Window,
    /// `None` while the circuit is closed.
    held: Option<Held>,
    /// Runs up to this serial do not count: they started before the circuit was last open.
    ignored: u64,
}

/// The circuit is open until a time on the monotonic clock, and half open after it.
#[derive(Clone, Copy, Debug)]
struct Held {
    until: Duration,
    probe: Option<RunId>,
}

impl Held {
    fn wait(&self, now: Now) -> Option<Duration> {
        self.until.checked_sub(now.mono).filter(|wait| !wait.is_zero())
    }
}

/// What an end does to the circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    Nothing,
    /// It is open from now on: so many of so many ends were failures.
    Opens {
        failures: u32,
        ends: u32,
        was_probe: bool,
    },
    /// The probe has completed. The circuit is closed once that is durable.
    Closes,
}

impl Circuit {
    pub fn closed(breaker: CircuitBreaker) -> Self {
        Self { window: Window::new(breaker.of), held: None, ignored: 0 }
    }

    /// A circuit that is open until then, whose breaker is not known yet.
    pub fn open_until(until: Duration) -> Self {
        Self { window: Window::new(1), held: Some(Held { until, probe: None }), ignored: 0 }
    }

    /// The breaker of another worker. The circuit stays open, and the window is empty.
    pub fn set_breaker(&mut self, breaker: CircuitBreaker) {
        self.window = Window::new(breaker.of);
    }

    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether it is like a new one. One that was open is not: runs that began before do not count, and some of them may not have
    /// ended.
    pub fn is_as_new(&self) -> bool {
        self.held.is_none() && self.window.failures() == 0 && self.ignored == 0
    }

    pub fn has_failures(&self) -> bool {
        self.window.failures() > 0
    }

    /// Why no job starts, if none does.
    pub fn wait(&self, now: Now) -> Option<CircuitWait> {
        let held = self.held.as_ref()?;
        match (held.wait(now), held.probe) {
            (Some(wait), _) => Some(CircuitWait::Open(wait)),
            (None, Some(probe)) => Some(CircuitWait::HalfOpen(probe.job)),
            (None, None) => None,
        }
    }

    /// A job starts. Returns whether it is the probe.
    pub fn starts(&mut self, run: RunId) -> bool {
        match &mut self.held {
            Some(held) if held.probe.is_none() => {
                held.probe = Some(run);
                true
            }
            _ => false,
        }
    }

    /// An attempt has ended. `serial` is the latest run.
    pub fn ended(&mut self, run: RunId, verdict: Verdict, breaker: &CircuitBreaker, serial: u64, now: Now) -> Effect {
        let failed = verdict != Verdict::Success;
        match &self.held {
            Some(held) if held.probe == Some(run) && failed => {
                self.open(now.mono.saturating_add(breaker.open_for), serial);
                return Effect::Opens { failures: 1, ends: 1, was_probe: true };
            }
            Some(held) if held.probe == Some(run) => return Effect::Closes,
            Some(_) => return Effect::Nothing,
            None if run.serial() <= self.ignored => return Effect::Nothing,
            None => {}
        }
        match verdict {
            Verdict::FailureAfterAll => self.window.latest_success_failed(),
            Verdict::Success | Verdict::Failure => self.window.push(failed),
        }
        let (failures, ends) = (self.window.failures(), self.window.len());
        if !failed || failures < breaker.opens_at() {
            return Effect::Nothing;
        }
        self.open(now.mono.saturating_add(breaker.open_for), serial);
        Effect::Opens { failures, ends, was_probe: false }
    }

    fn open(&mut self, until: Duration, serial: u64) {
        self.held = Some(Held { until, probe: None });
        self.window.clear();
        self.ignored = serial;
    }

    /// It is durable that the circuit is open until then.
    pub fn opened(&mut self, until: Duration, serial: u64) {
        match &mut self.held {
            // It was opened when the attempt ended, and a probe may run by now.
            Some(held) => held.until = held.until.max(until),
            None => self.open(until, serial),
        }
    }

    /// It is durable that the circuit is closed.
    pub fn close(&mut self, serial: u64) {
        self.held = None;
        self.window.clear();
        self.ignored = serial;
    }

    /// A run is over, with a verdict or without. If it was the probe, the next job that starts is.
    pub fn probe_over(&mut self, run: RunId) {
        if let Some(held) = self.held.as_mut().filter(|held| held.probe == Some(run)) {
            held.probe = None;
        }
    }

    /// Whether it has been half open for so long and no probe has started.
    pub fn is_unused_for(&self, time: Duration, now: Now) -> bool {
        self.held.is_some_and(|held| held.probe.is_none() && held.until.saturating_add(time) <= now.mono)
    }

    pub fn shown(&self, now: Now) -> Shown {
        let Some(held) = &self.held else {
            return Shown::Closed { failures: self.window.failures(), ends: self.window.len() };
        };
        match held.wait(now) {
            Some(wait) => Shown::Open { wait },
            None => Shown::HalfOpen { probe: held.probe.map(|run| run.job) },
        }
    }
}
