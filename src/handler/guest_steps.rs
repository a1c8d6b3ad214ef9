//! The steps of a handler that is a plugin: [`Context`] as the sandbox calls it, with results as bytes.

use bytes::Bytes;

use super::attempt_facts::AttemptFacts;
use super::attempt_steps::StepsOfAttempt;
use super::context::Context;
use super::step_store::NewStep;
use super::steps::result_of;
use crate::error::{BoxError, Error};
use crate::job::STEPS_MAX;

impl Context {
    /// Checks that the attempt can use another name of a step. A plugin could otherwise fill memory with names of steps that it
    /// never stores. Called before each call that begins a step.
    ///
    /// # Errors
    /// [`Error::TooManySteps`] if the attempt has used as many names as a job can have steps.
    pub(crate) fn check_step_room(&self, name: &str) -> Result<(), BoxError> {
        let steps = self.facts().steps();
        let is_full = |steps: &StepsOfAttempt| steps.used.len() >= STEPS_MAX && !steps.used.contains_key(name);
        if steps.as_deref().is_some_and(is_full) {
            return Err(Error::too_many_steps(self.job_id()).into());
        }
        Ok(())
    }

    /// Begins the next step of this name. Returns its name with its number, and its result if it is stored.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub(crate) fn begin_step(&self, name: &str) -> Result<(String, Option<Bytes>), BoxError> {
        let (name, found) = self.find_step(self.step_store()?, name)?;
        let stored = found.map(|what| result_of(&name, what)).transpose()?;
        Ok((name, stored))
    }

    /// Stores the result of a step that has [begun](Self::begin_step). Returns the result that counts.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if no step of this name has begun in this attempt; those of [`step`](Self::step).
    pub(crate) async fn finish_step(&self, name: String, result: Bytes) -> Result<Bytes, BoxError> {
        if !self.has_begun(&name) {
            let reason = "no step of this name has begun in this attempt".to_owned();
            return Err(Error::config("step", reason).into());
        }
        let step = NewStep::Done { result, is_undoable: false };
        self.store_result(self.step_store()?, &name, step).await
    }

    /// Whether this is a name that [`begin_step`](Self::begin_step) has returned in this attempt.
    fn has_begun(&self, name: &str) -> bool {
        let named = match name.split_once('#') {
            None => Some((name, 1)),
            Some((plain, number)) => number
                .parse::<u32>()
                .ok()
                .filter(|parsed| *parsed > 1 && parsed.to_string() == number)
                .map(|number| (plain, number)),
        };
        let steps = self.facts().steps();
        let used = |plain| steps.as_ref().and_then(|steps| steps.used.get(plain)).copied().unwrap_or(0);
        named.is_some_and(|(plain, number)| number <= used(plain))
    }
}

impl AttemptFacts {
    /// Whether the guest was told that its job sleeps or waits, and must return.
    pub fn is_suspended(&self) -> bool {
        self.steps().as_ref().is_some_and(|steps| steps.suspension.is_some())
    }
}
