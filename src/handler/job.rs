//! The job as its handler receives it: the payload, and what is known about the job.

use std::ops::Deref;
use std::sync::Arc;

use super::attempt_facts::AttemptFacts;
use crate::job::{JobId, Priority, RunNumber};
use crate::time::Timestamp;

/// The job a handler is to do: its payload, which it derefs to, and what is known about it.
///
/// ```
/// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// pond.worker("billing")
///     .handle(|job: Job<Charge>| async move {
///         let key = format!("charge-{}", job.id());
///         println!("{key}: order {}, attempt {} of {}", job.order, job.attempt(), job.max_attempts());
///         Ok(())
///     })
///     .start()?;
/// # pond.enqueue("billing", Charge { order: 7 }).await?;
/// # drain(&pond).await;
/// # assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Job<T> {
    payload: T,
    facts: Arc<AttemptFacts>,
}

impl<T> Job<T> {
    pub(crate) fn new(payload: T, facts: Arc<AttemptFacts>) -> Self {
        Self { payload, facts }
    }

    /// Its id: the same in every run of the job, and so the key for effects outside the file that must not be there twice.
    pub fn id(&self) -> JobId {
        self.facts.id
    }

    /// Which attempt this is, counted from 1. Several runs may be the same attempt, because not every run uses one up: a
    /// snooze does not, nor a stop, nor a crash for which another job may be to blame. [`run`](Self::run)
    /// tells them apart.
    pub fn attempt(&self) -> u32 {
        self.facts.attempt
    }

    /// Which run of the job this is: a number that no other run has, and that rises from run to run.
    pub fn run(&self) -> RunNumber {
        self.facts.run
    }

    /// How many attempts there are in all.
    pub fn max_attempts(&self) -> u32 {
        self.facts.max_attempts
    }

    /// Its queue's name.
    pub fn queue(&self) -> &str {
        &self.facts.queue
    }

    /// Its kind's name.
    pub fn kind(&self) -> &str {
        &self.facts.kind
    }

    /// Its group, if it has one.
    pub fn group(&self) -> Option<&str> {
        self.facts.group.as_deref()
    }

    /// Its priority.
    pub fn priority(&self) -> Priority {
        self.facts.priority
    }

    /// When it was enqueued.
    pub fn enqueued_at(&self) -> Timestamp {
        self.facts.enqueued_at
    }

    /// The payload.
    pub fn into_inner(self) -> T {
        self.payload
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id())
            .field("attempt", &self.attempt())
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

impl<T> Deref for Job<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.payload
    }
}
