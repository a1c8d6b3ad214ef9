//! The job as its handler receives it: the payload, and what is known about the job.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use super::attempt_facts::AttemptFacts;
use super::context::Context;
use crate::job::{EntryOf, JobId, Priority, RunNumber, ScheduledFor};
use crate::time::Timestamp;

/// The job that a handler receives: its payload, to which it derefs, and what is known about the job.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
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
/// # Ok(()) });
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

    /// Its id: the same in every run of the job. Use it as the key for effects outside the file that must not happen twice.
    pub fn id(&self) -> JobId {
        self.facts.id()
    }

    /// Which attempt this is, counted from 1. Several runs can be the same attempt, because not every run uses one up: a
    /// snooze does not, and neither does a stop, or a crash that another job may have caused. [`run`](Self::run)
    /// tells them apart.
    pub fn attempt(&self) -> u32 {
        self.facts.attempt
    }

    /// The number of this run. No other run has it, and later runs have higher numbers.
    pub fn run(&self) -> RunNumber {
        self.facts.run
    }

    /// How many attempts the job has in all.
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
        self.facts.group()
    }

    /// Its priority.
    pub fn priority(&self) -> Priority {
        self.facts.priority()
    }

    /// When it was enqueued.
    pub fn enqueued_at(&self) -> Timestamp {
        self.facts.enqueued_at()
    }

    /// The schedule that has enqueued it, and for which time; `None` if it was enqueued otherwise.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// async fn report(job: Job<Charge>) -> Handled {
    ///     // The time of the run, and not the present time: a retry or a late run makes the same report.
    ///     let day = job.scheduled_for().map_or(job.enqueued_at(), |run| run.at);
    ///     println!("charges up to {day}");
    ///     Ok(())
    /// }
    /// ```
    pub fn scheduled_for(&self) -> Option<&ScheduledFor> {
        self.facts.scheduled_for()
    }

    /// Which entry of a stream it is, if a [consumer](crate::Millpond::consumer) has handed it to its handler. It is the same in
    /// every run, also after the entry has become a job.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// async fn project(order: Job<Charge>) -> Handled {
    ///     let offset = order.entry().map(|entry| entry.offset);
    ///     println!("order {} is entry {offset:?}", order.order);
    ///     Ok(())
    /// }
    /// ```
    pub fn entry(&self) -> Option<&EntryOf> {
        self.facts.entry()
    }

    /// Its tags, without duplicates.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// async fn charge(job: Job<Charge>) -> Handled {
    ///     println!("order {}: {}", job.order, job.tags().join(", "));
    ///     Ok(())
    /// }
    /// ```
    pub fn tags(&self) -> &[String] {
        self.facts.tags()
    }

    /// The [header](crate::NewJob::header) of this name, if it has one.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// async fn charge(job: Job<Charge>) -> Handled {
    ///     println!("for {}", job.header("tenant").unwrap_or("nobody"));
    ///     Ok(())
    /// }
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        self.facts.header(name)
    }

    /// All its headers, by their names.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// async fn charge(job: Job<Charge>) -> Handled {
    ///     for (name, value) in job.headers() {
    ///         println!("{name}: {value}");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn headers(&self) -> &BTreeMap<String, String> {
        self.facts.headers()
    }

    /// What the handler can read and report of this attempt of the job. A batch handler has one for each of its jobs; other
    /// handlers can also take it as an argument.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// use millpond::Jobs;
    ///
    /// const CHARGED: TableDefinition<u64, u64> = TableDefinition::new("charged");
    ///
    /// async fn charge(jobs: Jobs<Charge>) -> Handled {
    ///     for job in &jobs {
    ///         let (order, id) = (job.order, job.id().get());
    ///         job.context().on_complete(move |tx| {
    ///             tx.open_table(CHARGED)?.insert(order, id)?;
    ///             Ok(())
    ///         });
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = |pond: Millpond| pond.worker("billing").handle_batch(millpond::Batch::up_to(10), charge).start();
    /// ```
    pub fn context(&self) -> Context {
        Context::new(self.facts.clone())
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
