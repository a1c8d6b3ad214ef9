//! The steps of a job.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use millpond_rules::{STEP_BYTES_MAX, STEPS_MAX, is_key};

use crate::steps::{Begun, Refusal};

/// What is stored of a step.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Done(Vec<u8>),
    Sleeps(SystemTime),
    /// It waits for a signal, until then if there is a timeout.
    Waits(Option<SystemTime>),
    Signalled(Vec<u8>),
}

impl Step {
    pub fn result(&self) -> Option<&[u8]> {
        match self {
            Self::Done(bytes) | Self::Signalled(bytes) => Some(bytes),
            Self::Sleeps(_) | Self::Waits(_) => None,
        }
    }
}

/// The steps of a job, and what one attempt has used of their names.
#[derive(Default)]
pub(crate) struct Steps {
    pub stored: BTreeMap<String, Step>,
    used: BTreeMap<String, u32>,
}

impl Steps {
    pub fn new(stored: BTreeMap<String, Step>) -> Self {
        Self { stored, ..Self::default() }
    }

    pub fn begin(&mut self, name: &str) -> Result<Begun, Refusal> {
        let name = self.numbered(name)?;
        let stored = match self.stored.get(&name) {
            None => None,
            Some(Step::Done(result)) => Some(result.clone()),
            Some(_) => return Err(changed(&name, "it was a sleep or a signal when it was stored")),
        };
        Ok(Begun { name, stored })
    }

    pub fn finish(&mut self, name: &str, result: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.put(name, Step::Done(result.to_owned()))?;
        Ok(result.to_owned())
    }

    pub fn sleep(&mut self, name: &str, time: Duration, now: SystemTime) -> Result<(), Refusal> {
        let name = self.numbered(name)?;
        if !self.stored.contains_key(&name) {
            self.put(&name, Step::Sleeps(after(now, time)))?;
        }
        match self.stored.get(&name) {
            Some(Step::Sleeps(until)) if *until <= now => Ok(()),
            Some(Step::Sleeps(_)) => Err(Refusal::Suspended),
            _ => Err(changed(&name, "it was not a sleep when it was stored")),
        }
    }

    pub fn wait_for(
        &mut self,
        name: &str,
        timeout: Option<Duration>,
        now: SystemTime,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let name = self.numbered(name)?;
        if !self.stored.contains_key(&name) {
            self.put(&name, Step::Waits(timeout.map(|timeout| after(now, timeout))))?;
        }
        match self.stored.get(&name) {
            Some(Step::Signalled(signal)) => Ok(Some(signal.clone())),
            Some(Step::Waits(Some(deadline))) if *deadline <= now => Ok(None),
            Some(Step::Waits(_)) => Err(Refusal::Suspended),
            _ => Err(changed(&name, "it was not a signal when it was stored")),
        }
    }

    /// The name with its number.
    fn numbered(&mut self, name: &str) -> Result<String, Refusal> {
        if !is_key(name) || name.contains('#') {
            return Err(Refusal::InvalidName(format!("invalid name of a step: {name:?}")));
        }
        if self.used.len() >= STEPS_MAX && !self.used.contains_key(name) {
            return Err(Refusal::TooManySteps);
        }
        let used = self.used.entry(name.to_owned()).or_default();
        *used += 1;
        Ok(if *used == 1 { name.to_owned() } else { format!("{name}#{used}") })
    }

    fn put(&mut self, name: &str, step: Step) -> Result<(), Refusal> {
        let bytes: usize = self.stored.values().chain([&step]).filter_map(Step::result).map(<[u8]>::len).sum();
        if self.stored.len() >= STEPS_MAX || bytes > STEP_BYTES_MAX {
            return Err(Refusal::TooManySteps);
        }
        self.stored.insert(name.to_owned(), step);
        Ok(())
    }
}

/// The contract has durations of 64 bits in nanoseconds.
fn after(now: SystemTime, time: Duration) -> SystemTime {
    now + time.min(Duration::from_nanos(u64::MAX))
}

fn changed(name: &str, why: &str) -> Refusal {
    Refusal::Changed(format!("the step {name:?} is not what it was: {why}; give other work another name"))
}
