//! What a handler may ask and say while it runs: [`Context`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::attempt_facts::AttemptFacts;
use super::read_flow::ReadFlow;
use crate::error::panics::Quiet;
use crate::error::{BoxError, Error};
use crate::job::{EntryOf, FlowNode, JobId, Priority, Progress, RunNumber, ScheduledFor};
use crate::time::Timestamp;
use crate::transaction::Transaction;

/// What a handler can read and report while it runs. Cheap to clone.
///
/// ```
/// use millpond::{Context, Handled, Job};
/// # use doc_prelude::*;
///
/// async fn import(job: Job<Import>, ctx: Context) -> Handled {
///     let total = job.files.len() as u64;
///     for (done, file) in (0..).zip(&job.files) {
///         ctx.progress(done, Some(total), file.as_str());
///         ctx.log(format!("read {file}"));
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    facts: Arc<AttemptFacts>,
}

impl Context {
    pub(crate) fn new(facts: Arc<AttemptFacts>) -> Self {
        Self { facts }
    }

    /// The facts of the attempt, and what its handler reports.
    pub(crate) fn facts(&self) -> &Arc<AttemptFacts> {
        &self.facts
    }

    /// The id of the job: the same in every run of the job.
    pub fn job_id(&self) -> JobId {
        self.facts.id()
    }

    /// The name of the job's queue.
    pub fn queue(&self) -> &str {
        &self.facts.queue
    }

    /// The name of the job's kind.
    pub fn kind(&self) -> &str {
        &self.facts.kind
    }

    /// The job's group, if it has one.
    pub fn group(&self) -> Option<&str> {
        self.facts.group()
    }

    /// The job's priority.
    pub fn priority(&self) -> Priority {
        self.facts.priority()
    }

    /// Which attempt this is, as [`Job::attempt`](crate::Job::attempt).
    pub fn attempt(&self) -> u32 {
        self.facts.attempt
    }

    /// How many attempts the job has in all.
    pub fn max_attempts(&self) -> u32 {
        self.facts.max_attempts
    }

    /// The number of this run, as [`Job::run`](crate::Job::run).
    pub fn run(&self) -> RunNumber {
        self.facts.run
    }

    /// Whether the handler is called to [undo](crate::Step::undo) the steps of its job: then it need not do what it does beside its
    /// steps, and what it returns does not count.
    pub fn is_undoing(&self) -> bool {
        self.facts.is_undoing()
    }

    /// The job's [tags](crate::NewJob::tag).
    pub fn tags(&self) -> &[String] {
        self.facts.tags()
    }

    /// The job's [header](crate::NewJob::header) of this name, if it has one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.facts.header(name)
    }

    /// All [headers](crate::NewJob::header) of the job, by their names.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        self.facts.headers()
    }

    /// When the job was enqueued.
    pub fn enqueued_at(&self) -> Timestamp {
        self.facts.enqueued_at()
    }

    /// Which entry of a stream the job is, as [`Job::entry`](crate::Job::entry).
    pub fn entry(&self) -> Option<&EntryOf> {
        self.facts.entry()
    }

    /// The schedule that has enqueued the job, as [`Job::scheduled_for`](crate::Job::scheduled_for).
    pub fn scheduled_for(&self) -> Option<&ScheduledFor> {
        self.facts.scheduled_for()
    }

    /// Resolves when the handler should stop:
    ///
    /// - The cancel of the job was requested ([`Millpond::cancel`](crate::Millpond::cancel)). An async handler is dropped
    ///   [`Builder::cancel_grace`](crate::Builder::cancel_grace) later.
    /// - The queue is shutting down and its deadline has passed, which leaves half a second.
    /// - The attempt's timeout has passed. An async handler itself is dropped at its timeout, so only the tasks that it has
    ///   spawned see that it has passed.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    /// # let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    /// pond.worker("billing")
    ///     .handle(move |_: Job<Charge>, ctx: Context| {
    /// #         let (started, told) = (started.clone(), told.clone());
    ///         async move {
    /// #             let _ = started.send(());
    ///             ctx.cancelled().await;
    /// #             let _ = told.send(());
    ///             Ok(Outcome::snooze(Duration::from_secs(60))) // continues after the restart
    ///         }
    ///     })
    ///     .start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # starts.recv().await;
    /// pond.shutdown(Duration::ZERO).await?;
    /// # assert!(tells.recv().await.is_some());
    /// # Ok(()) });
    /// ```
    pub async fn cancelled(&self) {
        self.facts.token().cancelled().await;
    }

    /// Whether the handler should stop. Blocking handlers, which cannot be stopped from outside, should check it regularly.
    ///
    /// ```
    /// use millpond::{Context, Handled, Job};
    /// # use doc_prelude::*;
    ///
    /// fn import(job: Job<Import>, ctx: Context) -> Handled {
    ///     for file in &job.files {
    ///         if ctx.is_cancelled() {
    ///             return Err("stopped half-way".into());
    ///         }
    ///         println!("read {file}");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.facts.is_cancelled()
    }

    /// The token behind [`cancelled`](Self::cancelled), to pass on to other tasks.
    ///
    /// ```
    /// use millpond::{Context, Handled, Job};
    /// # use doc_prelude::*;
    ///
    /// async fn import(job: Job<Import>, ctx: Context) -> Handled {
    ///     let stop = ctx.cancellation();
    ///     let upload = tokio::spawn(async move {
    ///         stop.run_until_cancelled(async { println!("upload {:?}", job.files) }).await;
    ///     });
    ///     upload.await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn cancellation(&self) -> CancellationToken {
        self.facts.token().clone()
    }

    /// Time left until this attempt's deadline; `None` if it has none.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .timeout(Duration::from_secs(30))
    ///     .handle(|_: Job<Charge>, ctx: Context| async move {
    ///         assert_eq!(ctx.time_left(), Some(Duration::from_secs(30)));
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// # pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// # assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn time_left(&self) -> Option<Duration> {
        let now = self.facts.time.mono();
        self.facts.deadline(now).map(|deadline| deadline.saturating_sub(now))
    }

    /// Reports the progress of the handler. [`JobInfo::progress`](crate::JobInfo::progress) shows the latest report. It is kept in
    /// memory while the attempt runs, and is written to the file with the attempt's end, in the same commit. If the process dies before,
    /// it is lost. A message of more than 1 KiB is cut and ends in an ellipsis. What is reported after the end of the attempt is
    /// ignored.
    ///
    /// A report costs no write and takes little time, so a handler can report as often as it likes.
    /// [`Event::Progress`](crate::Event::Progress) says when a report becomes an event.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// async fn charge(job: Job<Charge>, ctx: Context) -> Handled {
    ///     ctx.progress(1, Some(2), "asking the bank");
    ///     println!("charge order {}", job.order);
    ///     ctx.progress(2, Some(2), "charged");
    ///     Ok(())
    /// }
    /// ```
    pub fn progress(&self, done: u64, total: Option<u64>, message: impl Into<String>) {
        self.facts.set_progress(Progress::new(done, total, message));
    }

    /// Logs a line with the job. [`JobInfo::logs`](crate::JobInfo::logs) shows the lines of the attempt that runs and of the latest
    /// ones before it. Lines are kept in memory while the attempt runs, and are written to the file with the attempt's end, in the
    /// same commit, however it ends. If the process dies before, they are lost.
    ///
    /// Of each attempt the latest lines are kept, at most 16 KiB, for which each line counts as its text and 16 bytes more; how many
    /// were dropped before them is kept as well. A line of more than 1 KiB is cut and ends in an ellipsis. Of a job the latest 5
    /// attempts that reported something are kept. What is logged after the end of the attempt is ignored.
    ///
    /// A line can contain anything, also what the payload codec is to hide: [`PayloadCodec`](crate::PayloadCodec) codes lines too.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// async fn charge(job: Job<Charge>, ctx: Context) -> Handled {
    ///     ctx.log(format!("charge order {}", job.order));
    ///     Ok(())
    /// }
    /// ```
    pub fn log(&self, line: impl Into<String>) {
        self.facts.add_line(line.into());
    }

    /// Runs `write` in the transaction that acknowledges the job: app rows and follow-up jobs are
    /// committed with the acknowledgement, exactly once, or not at all if this attempt does not
    /// complete. It can be called more than once; the closures run in that order. Each can run more
    /// than once, and must have no effect outside its transaction.
    ///
    /// If it returns an error or panics, nothing of it is stored and the attempt has failed. All closures that an
    /// attempt passes to `on_complete` share the limits of one transaction: 10,000 jobs and 32 MiB.
    ///
    /// ```
    /// use millpond::{Context, Handled, Job, Kind};
    /// # use doc_prelude::*;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Welcome { email: String }
    /// const WELCOMED: TableDefinition<&str, u64> = TableDefinition::new("welcomed");
    ///
    /// async fn welcome(job: Job<Welcome>, ctx: Context) -> Handled {
    ///     let (email, id) = (job.email.clone(), job.id().get());
    ///     ctx.on_complete(move |tx| {
    ///         tx.open_table(WELCOMED)?.insert(email.as_str(), id)?;
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// }
    /// ```
    pub fn on_complete(&self, write: impl Fn(&Transaction<'_>) -> Result<(), BoxError> + Send + Sync + 'static) {
        self.facts.add_hook(Quiet::new(Box::new(write)));
    }

    /// The name of the flow that the job belongs to, if it belongs to one.
    ///
    /// It reads the file.
    ///
    /// # Errors
    /// Storage errors.
    pub fn flow(&self) -> Result<Option<String>, Error> {
        match (self.facts.flow(), &self.facts.shared.flows) {
            (Some(flow), Some(flows)) => flows.name(flow),
            _ => Ok(None),
        }
    }

    /// The result of another job of the same flow, by its [name](crate::FlowJob::named), or what came with a signal; `None` if it
    /// has no result, or has not completed.
    ///
    /// It reads the file, which takes some microseconds.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`] if the job belongs to no flow, or to one that is kept no longer; [`Error::InvalidFlow`] if the flow
    /// has no such job; that of `serde_json` if the result is not JSON, or is not a `T`; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .handle(|job: Job<Charge>| async move { Outcome::done_json(&format!("receipt {}", job.order)) })
    ///     .handle_raw("mail", |_: Job<bytes::Bytes>, ctx: Context| async move {
    ///         let receipt: Option<String> = ctx.result("charge")?;
    ///         Outcome::done_json(&format!("sent {}", receipt.unwrap_or_default()))
    ///     })
    ///     .start()?;
    /// let flow = pond
    ///     .flow("order-7", |flow| {
    ///         let charge = flow.job("billing", Charge { order: 7 }).named("charge");
    ///         flow.job("billing", NewJob::json("mail", &7)).after(&charge);
    ///     })
    ///     .await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(flow.jobs[1])?.result_json::<String>()?.unwrap(), "sent receipt 7");
    /// # Ok(()) });
    /// ```
    pub fn result<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, BoxError> {
        self.flow_node(name)?.result_json()
    }

    /// The job or signal of this name in the job's flow.
    pub(crate) fn flow_node(&self, name: &str) -> Result<FlowNode, Error> {
        let (flow, flows) = self.own_flow()?;
        match flows.node_named(flow, name)? {
            Some(node) => Ok(node),
            None => {
                let reason = format!("it has no job or signal named {name:?}: `FlowJob::named` gives a job a name");
                Err(Error::InvalidFlow { flow: flows.name(flow)?.unwrap_or_default(), reason })
            }
        }
    }

    /// The jobs and signals of the job's flow behind `after`, with their results: up to `limit` (at most 1,000). A page ends early
    /// when it has reached 8 MiB of results: only an empty page means that there are no more.
    ///
    /// It reads the file.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`] if the job belongs to no flow, or to one that is kept no longer; storage errors.
    ///
    /// ```
    /// use millpond::{Context, Failure, Job, Outcome};
    /// # use doc_prelude::*;
    ///
    /// // Adds up what all rows of an import have returned.
    /// async fn sum(_: Job<Import>, ctx: Context) -> Result<Outcome, Failure> {
    ///     let (mut sum, mut after) = (0, None);
    ///     loop {
    ///         let nodes = ctx.flow_nodes(after, 1_000)?;
    ///         let Some(last) = nodes.last() else { break };
    ///         after = Some(last.id);
    ///         for node in &nodes {
    ///             sum += node.result_json::<u64>()?.unwrap_or(0);
    ///         }
    ///     }
    ///     Outcome::done_json(&sum)
    /// }
    /// ```
    pub fn flow_nodes(&self, after: Option<JobId>, limit: usize) -> Result<Vec<FlowNode>, Error> {
        let (flow, flows) = self.own_flow()?;
        flows.nodes(flow, after.map_or(0, JobId::get), limit.clamp(1, 1_000))
    }

    fn own_flow(&self) -> Result<(u64, &dyn ReadFlow), Error> {
        let flow = self.facts.flow().zip(self.facts.shared.flows.as_deref());
        flow.ok_or_else(|| Error::NoSuchFlow { name: format!("of job {}", self.job_id()) })
    }

    /// The value of this type that the worker was given with `.data(...)`, if there is one.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// struct Bank { name: &'static str }
    ///
    /// async fn charge(job: Job<Charge>, ctx: Context) -> Handled {
    ///     let name = ctx.data::<Bank>().map_or("any bank", |bank| bank.name);
    ///     println!("{name} charges order {}", job.order);
    ///     Ok(())
    /// }
    /// ```
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.facts.shared.data.find()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
