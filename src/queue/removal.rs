//! The verbs that empty, remove and rename a queue.

use std::sync::Arc;

use serde::Serialize;

use super::Queue;
use crate::error::Error;
use crate::inspect::JobFilter;
use crate::job::{State, check_name};
use crate::runtime::{Commit, Engine};
use crate::selection::Selection;
use crate::storage::{Batch, Removal};
use crate::writer::queues::{self, Dispatch};

/// What [`Queue::obliterate`] has removed.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// let Obliterated { jobs, schedules, .. } = pond.queue("billing")?.obliterate().await?;
/// assert_eq!((jobs, schedules), (3, 0));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Obliterated {
    /// Jobs in every state, with dead letters and other ended jobs that were kept.
    pub jobs: u64,
    /// Schedules that enqueued in the queue.
    pub schedules: u64,
    /// Bindings of topics that led to the queue. An [alternate queue](crate::TopicSettings::alternate) counts as one.
    pub bindings: u64,
}

impl Queue {
    /// Removes all jobs that wait, for good: those that are pending, scheduled or retrying. Returns how many.
    ///
    /// Jobs whose handlers run finish. Dead letters and other ended jobs that are kept stay, as do the queue's settings, and
    /// the schedules that enqueue in it. [`obliterate`](Self::obliterate) removes all of these too. It covers the jobs that
    /// exist when it begins, in chunks of at most 1,000 jobs, each a commit that it shares with other calls. It can be called
    /// again after a crash.
    ///
    /// It does to each job what [`Millpond::delete`](crate::Millpond::delete) does: unique keys are free at once, and who
    /// waits for the end of a job gets [`Error::NoSuchJob`]. To keep a note of the jobs,
    /// [cancel](crate::Selection::cancel) them instead.
    ///
    /// # Errors
    /// Storage errors. The chunks that were committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// billing.enqueue(Charge { order: 7 }).await?;
    /// billing.enqueue(NewJob::new(Charge { order: 8 }).delay(Duration::from_secs(60))).await?;
    /// assert_eq!(billing.drain().await?, 2);
    /// assert_eq!(billing.counts().unfinished(), 0);
    /// # Ok(()) });
    /// ```
    pub fn drain(&self) -> Commit<u64> {
        self.drain_matching(JobFilter::new())
    }

    /// [`drain`](Self::drain) for the jobs that could run now: pending ones. Those that are scheduled or retrying stay.
    ///
    /// # Errors
    /// Storage errors. The chunks that were committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// billing.enqueue(Charge { order: 7 }).await?;
    /// billing.enqueue(NewJob::new(Charge { order: 8 }).delay(Duration::from_secs(60))).await?;
    /// assert_eq!(billing.drain_pending().await?, 1);
    /// assert_eq!(billing.counts().scheduled, 1);
    /// # Ok(()) });
    /// ```
    pub fn drain_pending(&self) -> Commit<u64> {
        self.drain_matching(JobFilter::new().state(State::Pending))
    }

    fn drain_matching(&self, filter: JobFilter) -> Commit<u64> {
        let drained = Selection::new(self.engine.clone(), filter.queue(&*self.name)).drain();
        Commit::new(async move { Ok(drained.await?.changed) })
    }

    /// Removes the queue with all that belongs to it: jobs in every state with their tags, dead letters, schedules that
    /// enqueue in it, bindings of [topics](crate::Topic) that lead to it, unique and idempotency keys, settings, pauses, token buckets, counts, and its rows in the
    /// [quarantine](crate::Quarantine). Its name is free, and its number is used again. A queue of which nothing is stored is
    /// gone already.
    ///
    /// Nothing may use the queue: stop its worker first, and wait until its jobs have ended. Stop what enqueues in it, too. A
    /// job that is enqueued meanwhile is removed if it comes before the last commit; one that comes later is the first job of a
    /// new queue of the name.
    ///
    /// It works in chunks of at most 1,000 rows, each a commit that it shares with other calls, and with jobs that run in other
    /// queues. The last one removes the name. If the process ends in the middle, a part of the queue is left and in order: call
    /// it again. Who waits for the end of a job gets [`Error::NoSuchJob`].
    ///
    /// # Errors
    /// [`Error::QueueInUse`] if the queue has a worker in this process, or if one of its jobs runs; if a worker is started in the
    /// middle, a part of the queue is gone then. Storage errors. The chunks that were committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// let worker = pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// billing.pause().await?;
    /// billing.enqueue(Charge { order: 7 }).await?;
    /// assert!(matches!(billing.obliterate().await, Err(Error::QueueInUse { .. })));
    ///
    /// worker.stop();
    /// assert_eq!(billing.obliterate().await?.jobs, 1);
    /// assert!(pond.queues().is_empty());
    /// # Ok(()) });
    /// ```
    pub fn obliterate(&self) -> Commit<Obliterated> {
        let (engine, queue) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            let mut done = Obliterated::default();
            let mut after = Some(String::new());
            while let Some(from) = after {
                let (of, name) = (engine.clone(), queue.clone());
                let chunk = move |batch: &mut Batch<'_>| {
                    queues::remove_schedules(batch, &name, &from, |queue| of.has_handed_out(queue))
                };
                let (schedules, next) = engine.change_in_bulk(chunk).await?;
                done.schedules += schedules;
                after = next;
            }
            loop {
                let Removal { jobs, schedules, bindings, is_gone, .. } =
                    chunk(&engine, &queue, queues::obliterate).await?;
                done.jobs += jobs;
                done.schedules += schedules;
                done.bindings += bindings;
                if is_gone {
                    break;
                }
            }
            tracing::info!(queue = &*queue, jobs = done.jobs, schedules = done.schedules, "a queue was obliterated");
            Ok(done)
        })
    }

    /// Removes the queue if it is empty: it has no job in any state, none in the [quarantine](crate::Quarantine), no schedule
    /// enqueues in it, and no binding of a [topic](crate::Topic) leads to it. Its settings, pauses, keys and token buckets go with it. Returns false if nothing of the queue is stored.
    ///
    /// # Errors
    /// [`Error::QueueNotEmpty`]; those of [`obliterate`](Self::obliterate). More than 1,000 keys and buckets are removed in
    /// several commits: if a job is enqueued between them, it stays, and the keys that were removed before are gone.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// billing.enqueue(Charge { order: 7 }).await?;
    /// assert!(matches!(billing.remove().await, Err(Error::QueueNotEmpty { jobs: 1, .. })));
    ///
    /// billing.drain().await?;
    /// assert!(billing.remove().await?);
    /// assert!(!billing.remove().await?);
    /// # Ok(()) });
    /// ```
    pub fn remove(&self) -> Commit<bool> {
        let (engine, queue) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            let removal = loop {
                let removal = chunk(&engine, &queue, queues::remove).await?;
                if removal.is_gone {
                    break removal;
                }
            };
            if removal.was_there {
                tracing::info!(queue = &*queue, "a queue was removed");
            }
            Ok(removal.was_there)
        })
    }

    /// Gives the queue another name, in one commit. All that belongs to it follows: jobs in every state, keys, settings, pauses,
    /// counts, the schedules that enqueue in it, and the bindings of topics that lead to it. Returns the queue of the new name.
    ///
    /// This handle, and all code that names the queue, still mean the old name: an enqueue under it begins a new queue. An
    /// enqueue that was under way can still follow the queue. All schedules of the file are read in that commit, so with 100,000 of
    /// them it takes some tenths of a second.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::NoSuchQueue`] if nothing is stored under the old name; [`Error::QueueExists`] if
    /// there is a queue of the new name, or a worker for one; [`Error::QueueInUse`] if the queue has a worker in this process or
    /// one of its jobs runs; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("mail", Charge { order: 7 }).await?;
    /// let emails = pond.queue("mail")?.rename("emails").await?;
    /// assert_eq!((pond.job(id)?.queue.as_str(), emails.counts().pending), ("emails", 1));
    /// # Ok(()) });
    /// ```
    pub fn rename(&self, to: &str) -> Commit<Self> {
        let (engine, from, to): (_, _, Arc<str>) = (self.engine.clone(), self.name.clone(), to.into());
        Commit::new(async move {
            check_name("queue", &to)?;
            let (of, name) = (engine.clone(), to.clone());
            let rename = move |batch: &mut Batch<'_>| {
                queues::rename(batch, &from, &name, |queue| of.has_handed_out(queue))?;
                Ok(from.clone())
            };
            let from = engine.change(rename).await?;
            tracing::info!(from = &*from, to = &*to, "a queue was renamed");
            Ok(Self::new(engine, to))
        })
    }
}

/// Has as much of a queue removed as one commit may remove.
fn chunk<V>(engine: &Arc<Engine>, queue: &Arc<str>, verb: V) -> Commit<Removal>
where
    V: Fn(&mut Batch<'_>, &str, Dispatch<'_>) -> Result<Removal, Error> + Send + 'static,
{
    let (of, queue, withdraw) = (engine.clone(), queue.clone(), engine.preparer());
    engine.change_in_bulk(move |batch| {
        verb(batch, &queue, Dispatch { withdraw: &*withdraw, runs: &|queue| of.has_handed_out(queue) })
    })
}
