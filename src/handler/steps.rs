//! The steps of a handler: parts of its work whose results are durable before it ends.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attempt_facts::AttemptFacts;
use super::attempt_steps::{StepsOfAttempt, UndoFn, UndoFuture, UndoStep};
use super::context::Context;
use super::step::{Step, StepFuture, Work};
use super::step_store::{NewStep, StepAnswer, StepOf, StepStore, StepWrite};
use crate::error::{BoxError, Error};
use crate::job::{ClassedError, FailureKind, StepWhat, Suspended, Suspension, Undoing, check_key};
use crate::sync::block_on;
use crate::time::Due;
use crate::transaction::Transaction;

impl Context {
    /// Runs a part of the handler's work once. Its result is stored before the handler goes on; in the next attempt of the job it
    /// is returned, and `run` is not called. If `run` fails, nothing is stored, and the error is returned.
    ///
    /// The name says which step it is: from 1 to 1,020 bytes without `#`. A name that is used again in the same attempt gets a
    /// number: the second `charge` is `charge#2`. So a handler must ask for its steps in the same order in each attempt, and a new
    /// version of it must not give an old name to other work. A job has at most 1,000 steps, with results of 1 MiB together, as
    /// JSON.
    ///
    /// `run` is called again if the process dies before its result is durable: what it does outside of the file should be
    /// idempotent. A step takes a commit, which it shares with others. [`step_tx`](Self::step_tx) writes the application's rows
    /// exactly once. [`Step::undo`] says how to undo the step if the job ends as dead or cancelled.
    ///
    /// # Errors
    /// That of `run`; a failure of the kind [`Undecodable`](crate::FailureKind::Undecodable) if the stored result is not a `T`;
    /// [`Error::TooManySteps`]; [`Error::NoSuchJob`] if the attempt is over; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # async fn charge(order: u64) -> Result<String, BoxError> { Ok(format!("receipt {order}")) }
    /// # async fn mail(receipt: &str) -> Result<(), BoxError> { println!("{receipt}"); Ok(()) }
    /// pond.worker("billing")
    ///     .handle(|job: Job<Charge>, ctx: Context| async move {
    ///         let receipt: String = ctx.step("charge", || charge(job.order)).await?; // runs once
    ///         ctx.step("mail", || mail(&receipt)).await?; // if this fails, the next attempt begins here
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// # assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn step<'a, T, E, F>(&'a self, name: &'a str, run: impl FnOnce() -> F + Send + 'a) -> Step<'a, T>
    where
        T: Serialize + DeserializeOwned + 'a,
        E: Into<BoxError> + 'a,
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        let run = || -> StepFuture<'a> {
            Box::pin(async move {
                let value = run().await.map_err(Into::into)?;
                Ok(serde_json::to_vec(&value)?.into())
            })
        };
        Step::new(self, name, Work::Run(Box::new(run)))
    }

    /// [`step`](Self::step) for handlers that block.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub fn step_blocking<T, E>(&self, name: &str, run: impl FnOnce() -> Result<T, E>) -> Result<T, BoxError>
    where
        T: Serialize + DeserializeOwned,
        E: Into<BoxError>,
    {
        self.run_blocking_step(name, run, None)
    }

    /// [`step_blocking`](Self::step_blocking) that says how to undo the step, as [`Step::undo`] does.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # fn charge(order: u64) -> Result<String, BoxError> { Ok(format!("receipt {order}")) }
    /// # fn refund(receipt: String) -> Result<(), BoxError> { println!("refunded {receipt}"); Ok(()) }
    /// pond.worker("billing")
    ///     .handle_blocking(|job: Job<Charge>, ctx: Context| {
    ///         ctx.step_blocking_with_undo("charge", || charge(job.order), refund)?;
    ///         Ok(Outcome::dead_letter("nothing is left of it"))
    ///     })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.steps(id)?[0].state, StepState::Undone { .. }));
    /// # Ok(()) });
    /// ```
    pub fn step_blocking_with_undo<T, E, U>(
        &self,
        name: &str,
        run: impl FnOnce() -> Result<T, E>,
        undo: impl FnOnce(T) -> Result<(), U> + Send + 'static,
    ) -> Result<T, BoxError>
    where
        T: Serialize + DeserializeOwned + 'static,
        E: Into<BoxError>,
        U: Into<BoxError>,
    {
        let undo = move |result: &Bytes| -> Result<UndoFuture, BoxError> {
            let undone = undo(serde_json::from_slice(result)?).map_err(Into::into);
            Ok(Box::pin(std::future::ready(undone)))
        };
        self.run_blocking_step(name, run, Some(Box::new(undo)))
    }

    fn run_blocking_step<T, E>(
        &self,
        name: &str,
        run: impl FnOnce() -> Result<T, E>,
        undo: Option<UndoFn>,
    ) -> Result<T, BoxError>
    where
        T: Serialize + DeserializeOwned,
        E: Into<BoxError>,
    {
        let steps = self.step_store()?;
        let (name, found) = self.find_step(steps, name)?;
        if let Some(what) = found {
            return self.found(&name, what, undo);
        }
        let result = serde_json::to_vec(&run().map_err(Into::into)?)?.into();
        let step = NewStep::Done { result, is_undoable: undo.is_some() };
        block_on(self.store_step(steps, &name, step))
    }

    /// A [`step`](Self::step) that writes the application's rows and jobs: they are committed with the step's result, exactly once.
    /// `write` can be called more than once before that, and must have no effect outside its transaction.
    ///
    /// # Errors
    /// Those of [`step`](Self::step) and of [`Millpond::transaction`](crate::Millpond::transaction).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// const SHIPMENTS: TableDefinition<u64, &str> = TableDefinition::new("shipments");
    ///
    /// pond.worker("billing")
    ///     .handle(|job: Job<Charge>, ctx: Context| async move {
    ///         let order = job.order;
    ///         ctx.step_tx("ship", move |tx| {
    ///             tx.open_table(SHIPMENTS)?.insert(order, "packed")?;
    ///             Ok(())
    ///         })
    ///         .await?;
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// # assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn step_tx<'a, T: Serialize + DeserializeOwned>(
        &'a self,
        name: &'a str,
        write: impl Fn(&Transaction<'_>) -> Result<T, BoxError> + Send + 'static,
    ) -> Step<'a, T> {
        let write: StepWrite = Box::new(move |tx| Ok(serde_json::to_vec(&write(tx)?)?.into()));
        Step::new(self, name, Work::Write(write))
    }

    /// Lets the job sleep: the handler returns the error that it gets, and the job leaves memory and comes back when the time is
    /// over. Then its handler is called again, and this returns at once. It uses no attempt.
    ///
    /// # Errors
    /// An error to return from the handler, which is not a failure; those of [`step`](Self::step).
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// # let reminded = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    /// # let count = reminded.clone();
    /// pond.worker("billing")
    ///     .handle(move |_: Job<Charge>, ctx: Context| {
    /// #       let count = count.clone();
    ///         async move {
    ///             ctx.sleep("a week", Duration::from_secs(7 * 24 * 3600)).await?;
    ///             println!("please pay");
    /// #           count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    ///             Ok(())
    ///         }
    ///     })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Scheduled);
    /// clock.advance(Duration::from_secs(7 * 24 * 3600));
    /// drain(&pond).await;
    /// # assert_eq!(reminded.load(std::sync::atomic::Ordering::SeqCst), 1);
    /// # Ok(()) });
    /// ```
    pub async fn sleep(&self, name: &str, time: Duration) -> Result<(), BoxError> {
        let steps = self.step_store()?;
        let (name, found) = self.find_step(steps, name)?;
        let what = match found {
            Some(what) => what,
            None => self.put_step(steps, &name, NewStep::Sleep(time)).await?,
        };
        match what {
            StepWhat::Sleeps(until) if steps.is_due(until) => Ok(()),
            StepWhat::Sleeps(_) if self.facts().is_undoing() => Err(Undoing.into()),
            StepWhat::Sleeps(until) => Err(self.suspend(until, None)),
            _ => Err(changed(&name, "it was not a sleep when it was stored")),
        }
    }

    /// Waits for a signal, which [`Millpond::signal_job`](crate::Millpond::signal_job) sends: the handler returns the error that
    /// it gets, and the job leaves memory and comes back when the signal comes. Then its handler is called again, and this returns
    /// what came with the signal. A signal that came before is returned at once. With a `timeout`, it returns `None` if the signal
    /// has not come in this time.
    ///
    /// # Errors
    /// An error to return from the handler, which is not a failure; those of [`step`](Self::step).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>, ctx: Context| async move {
    ///         let by: Option<String> = ctx.wait_for("approved", Some(Duration::from_secs(3600))).await?;
    ///         Outcome::done_json(&by)
    ///     })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// pond.signal_job(id, "approved", "ada").await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.result_json::<String>()?.unwrap(), "ada");
    /// # Ok(()) });
    /// ```
    pub async fn wait_for<T: DeserializeOwned>(
        &self,
        name: &str,
        timeout: Option<Duration>,
    ) -> Result<Option<T>, BoxError> {
        let (name, signal) = self.wait_for_bytes(name, timeout).await?;
        signal.map(|bytes| decoded(&name, &bytes)).transpose()
    }

    /// [`wait_for`](Self::wait_for) that does not read what came with the signal. Returns the name of the step with its number, too.
    pub(crate) async fn wait_for_bytes(
        &self,
        name: &str,
        timeout: Option<Duration>,
    ) -> Result<(String, Option<Bytes>), BoxError> {
        let steps = self.step_store()?;
        let (name, found) = self.find_step(steps, name)?;
        let what = match found {
            Some(StepWhat::Waits(Some(deadline))) if steps.is_due(deadline) => StepWhat::Waits(Some(deadline)),
            Some(StepWhat::Waits(_)) if self.facts().is_undoing() => return Err(Undoing.into()),
            // The signal can have come since the steps were read.
            Some(StepWhat::Waits(deadline)) => self.put_step(steps, &name, NewStep::WaitAgain(deadline)).await?,
            Some(what) => what,
            None => self.put_step(steps, &name, NewStep::Wait(timeout)).await?,
        };
        match what {
            StepWhat::Signalled(bytes) => Ok((name, Some(bytes))),
            StepWhat::Waits(Some(deadline)) if steps.is_due(deadline) => Ok((name, None)),
            StepWhat::Waits(deadline) => Err(self.suspend(deadline.unwrap_or(Due::NEVER), Some(name))),
            _ => Err(changed(&name, "it was not a signal when it was stored")),
        }
    }

    pub(super) fn step_store(&self) -> Result<&dyn StepStore, Error> {
        self.facts().shared.steps.as_deref().ok_or(Error::Closed)
    }

    /// The name with its number, and the step of this name if it is stored and was not undone.
    ///
    /// A handler that is called to undo its steps finds those that are undone, too, and leaves with the error that it gets if it asks
    /// for one that was never done.
    pub(super) fn find_step(&self, steps: &dyn StepStore, name: &str) -> Result<(String, Option<StepWhat>), BoxError> {
        check_key("step", name)?;
        if name.contains('#') {
            let reason = format!("the name {name:?} has a `#`, which is for the numbers of repeated steps");
            return Err(Error::config("step", reason).into());
        }
        let facts = self.facts();
        let mut known = facts.steps();
        let known = StepsOfAttempt::known(&mut known, steps, facts.id())?;
        let used = known.used.entry(name.to_owned()).or_default();
        *used += 1;
        let name = if *used == 1 { name.to_owned() } else { format!("{name}#{used}") };
        let found = known.rows.get(&name).map(|row| row.what.clone());
        match found {
            None if facts.is_undoing() => Err(Undoing.into()),
            Some(StepWhat::Undone(..)) if !facts.is_undoing() => Ok((name, None)),
            found => Ok((name, found)),
        }
    }

    /// The result of a step that is stored. If the handler is called to undo its steps, it is noted how to undo this one.
    pub(super) fn found<T: DeserializeOwned>(
        &self,
        name: &str,
        what: StepWhat,
        undo: Option<UndoFn>,
    ) -> Result<T, BoxError> {
        if let (StepWhat::Undoable(result), Some(undo), true) = (&what, undo, self.facts().is_undoing())
            && let Some(steps) = &mut *self.facts().steps()
        {
            steps.undos.push(UndoStep { name: name.to_owned(), result: result.clone(), undo });
        }
        done(name, what)
    }

    /// Stores the result of a step that has run, and reads the one that counts.
    pub(super) async fn store_step<T: DeserializeOwned>(
        &self,
        steps: &dyn StepStore,
        name: &str,
        step: NewStep,
    ) -> Result<T, BoxError> {
        decoded(name, &self.store_result(steps, name, step).await?)
    }

    /// Stores the result of a step that has run. Returns the one that counts.
    pub(super) async fn store_result(
        &self,
        steps: &dyn StepStore,
        name: &str,
        step: NewStep,
    ) -> Result<Bytes, BoxError> {
        let what = self.put_step(steps, name, step).await?;
        if let Some(steps) = &mut *self.facts().steps() {
            steps.has_stored = true;
            steps.has_stored_undoable |= matches!(what, StepWhat::Undoable(_));
        }
        result_of(name, what)
    }

    fn put_step(&self, steps: &dyn StepStore, name: &str, step: NewStep) -> StepAnswer {
        let facts = self.facts();
        steps.put(StepOf { job: facts.job.clone(), run: facts.run }, name.to_owned(), step)
    }

    fn suspend(&self, until: Due, waits_at: Option<String>) -> BoxError {
        if let Some(steps) = &mut *self.facts().steps() {
            steps.suspension = Some(Suspension { until, waits_at });
        }
        Box::new(Suspended)
    }
}

impl AttemptFacts {
    /// Whether the attempt has stored the result of a step.
    pub fn has_stored_a_step(&self) -> bool {
        self.steps().as_ref().is_some_and(|steps| steps.has_stored)
    }

    /// Why the handler has left, if it sleeps or waits.
    pub fn take_suspension(&self) -> Option<Suspension> {
        self.steps().as_mut()?.suspension.take()
    }
}

fn done<T: DeserializeOwned>(name: &str, what: StepWhat) -> Result<T, BoxError> {
    decoded(name, &result_of(name, what)?)
}

/// The result of a step that is stored.
pub(super) fn result_of(name: &str, what: StepWhat) -> Result<Bytes, BoxError> {
    match what {
        StepWhat::Done(bytes) | StepWhat::Undoable(bytes) | StepWhat::Undone(bytes, _) => Ok(bytes),
        _ => Err(changed(name, "it was a sleep or a signal when it was stored")),
    }
}

fn decoded<T: DeserializeOwned>(name: &str, bytes: &Bytes) -> Result<T, BoxError> {
    serde_json::from_slice(bytes).map_err(|error| changed(name, &format!("its stored result cannot be read: {error}")))
}

/// The error for a step that is not what is stored under its name.
fn changed(name: &str, why: &str) -> BoxError {
    let message = format!("the step {name:?} is not what it was: {why}; give other work another name");
    Box::new(ClassedError { kind: FailureKind::Undecodable, message })
}
