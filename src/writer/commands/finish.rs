//! Writes the end of an attempt, with the handler's own writes if the job completes.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::transact;
use crate::error::Error;
use crate::error::panics::{drop_quietly, text_of};
use crate::events::Event;
use crate::handler::CompleteHook;
use crate::job::life;
use crate::job::{
    AttemptNumber, BucketKey, BucketState, Change, JobId, QueueId, ReadyJob, Record, Retry, State, Transition,
};
use crate::storage::{Batch, Move, NewHome, OldHome};
use crate::text::told;
use crate::time::Now;
use crate::transaction::Prepare;
use crate::writer::step::Refusal;

/// The end of one attempt: what is to be written of it.
pub(crate) struct Finish {
    pub queue: QueueId,
    /// The job as it was handed out.
    pub taken: Arc<ReadyJob>,
    pub transition: Transition,
    pub attempt: AttemptNumber,
    pub took: Duration,
    /// What most jobs that simply complete do without.
    pub more: Option<Box<More>>,
    /// Whether its row was there, if this try at the batch has taken it out already.
    pub was_there: Option<bool>,
}

/// What an end may bring along.
pub(crate) struct More {
    /// Its record as `job::life` left it.
    pub record: Record,
    /// The handler's own writes, for a job that completes.
    pub hooks: Vec<CompleteHook>,
    /// What to do if they fail. Present if there are any.
    pub retried: Option<Retried>,
    /// "Too many requests": the queue or group to hold back.
    pub hold: Option<HoldBack>,
}

/// What decides how it goes on when the handler's own writes fail.
pub(crate) struct Retried {
    /// The names of its queue and kind, for the log.
    pub queue: Arc<str>,
    pub kind: Arc<str>,
    pub retry: Retry,
    pub now: Now,
    pub random: f64,
}

/// What the file is to have of a bucket now.
type BucketNow = Arc<dyn Fn(&BucketKey) -> Option<BucketState> + Send + Sync>;

/// A bucket from which nothing starts for a while.
pub(crate) struct HoldBack {
    pub key: BucketKey,
    pub until: Now,
    /// What the file is to have of it. Asked while the commit is made: somebody else may have changed the bucket
    /// since, and the older state must not be written last.
    pub state: BucketNow,
    pub delay: Duration,
}

/// Takes the rows of all jobs that simply complete out at once. That it happens before what else is in the batch is no
/// change that anybody could tell: a batch has no order but that of one caller's commands, and whoever sent
/// something about a job before it ended has not been answered yet.
pub(crate) fn take_rows_out(ends: &mut [&mut Finish], batch: &mut Batch<'_>) -> Result<(), Error> {
    let taken: Vec<_> = ends.iter().filter(|end| end.is_plain()).map(|end| (end.queue, &*end.taken)).collect();
    let was_there = batch.take_rows_out(&taken)?;
    let mut was_there = was_there.into_iter();
    for end in ends {
        end.was_there = if end.is_plain() { was_there.next() } else { None };
    }
    Ok(())
}

impl Finish {
    pub fn id(&self) -> JobId {
        self.taken.id
    }

    /// The handler wants to write with its completion.
    pub fn has_hooks(&self) -> bool {
        self.more.as_ref().is_some_and(|more| !more.hooks.is_empty())
    }

    /// It has [failed](Self::fail) without a way to say so in the file.
    pub fn is_given_up(&self) -> bool {
        self.more.is_none() && matches!(self.transition, Transition::GiveBack { .. })
    }

    /// The handler's own writes failed: the attempt has.
    pub fn fail(&mut self, error: Error) {
        let (hooks, retried) = match self.more.take() {
            Some(more) => (more.hooks, more.retried),
            None => (Vec::new(), None),
        };
        drop_quietly(hooks);
        let Some(Retried { queue, kind, retry, now, random }) = retried else {
            // Something of ours cannot be written, and not for want of a disk: the job stays as it is
            // in the file.
            tracing::error!(job = %self.id(), %error, "the end of an attempt could not be written");
            self.transition = Transition::GiveBack { failed: false };
            return;
        };
        let mut record = self.taken.record.clone();
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), text_of);
        drop_quietly(error);
        self.transition = life::after_failed_writes(&mut record, self.attempt, &cause, &retry, now, random);
        let errors = record.extra.as_deref().map(|extra| &*extra.errors).unwrap_or_default();
        let shown = errors.last().map_or_else(String::new, |error| told(&error.message).into_owned());
        let attempt = self.attempt.number;
        let (id, queue, kind, took) = (self.id().get(), &*queue, &*kind, self.took);
        match self.transition {
            Transition::PutOff { due, .. } => {
                tracing::info!(id, queue, kind, attempt, ?took, delay = ?due.wait(now), error = shown, "failed, runs again");
            }
            _ => tracing::warn!(id, queue, kind, attempt, ?took, reason = "no attempts left", error = shown, "dead"),
        }
        self.more = Some(Box::new(More { record, hooks: Vec::new(), retried: None, hold: None }));
    }

    pub fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        let queue = self.queue;
        if let Some(hold) = self.more.as_ref().and_then(|more| more.hold.as_ref()) {
            batch.put_rate(&hold.key, (hold.state)(&hold.key).as_ref())?;
            batch.changes.push(Change::Limited { key: hold.key.clone(), until: hold.until });
        }
        match self.transition {
            Transition::End(State::Completed) => self.complete(batch, prepare)?,
            Transition::PutOff { due, failed } => batch.put_off(queue, &self.taken, self.record(), due, failed)?,
            Transition::End(state) => {
                let kept = batch.keeps(queue, state, false);
                self.end(batch, kept.then(|| self.record()))?;
            }
            _ => {
                batch.give_back(queue, self.taken.clone(), None)?;
            }
        }
        if batch.listening {
            self.tell(batch);
        }
        Ok(())
    }

    fn complete(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        let has_result = self.record().extra.as_ref().is_some_and(|extra| extra.result.is_some());
        let kept = batch.keeps(self.queue, State::Completed, has_result).then(|| {
            let mut record = self.record().clone();
            life::completed(&mut record, self.attempt, batch.now);
            record
        });
        self.end(batch, kept.as_ref())?;
        // All of them together may enqueue as much as one transaction.
        let size = Cell::default();
        for hook in self.more.iter().flat_map(|more| &more.hooks) {
            transact::run(&***hook, batch, &size, prepare)?;
        }
        Ok(())
    }

    /// The job leaves its place, and is kept as this record if it is kept.
    fn end(&self, batch: &mut Batch<'_>, kept: Option<&Record>) -> Result<(), Error> {
        // Before what leaving sets free, so that the slot is free for it.
        batch.changes.push(Change::Settled { id: self.id() });
        let from = OldHome::Handler { taken: &self.taken, row_was_there: self.was_there };
        let to = kept.map_or(NewHome::Nowhere, |record| NewHome::Ended { record });
        batch.apply(Move { id: self.id(), queue: self.queue, transition: self.transition, from, to })?;
        Ok(())
    }

    fn record(&self) -> &Record {
        self.more.as_ref().map_or(&self.taken.record, |more| &more.record)
    }

    /// Its job simply completes, and is in no group.
    fn is_plain(&self) -> bool {
        self.more.is_none() && self.transition == Transition::End(State::Completed) && !self.taken.is_grouped()
    }

    fn tell(&self, batch: &mut Batch<'_>) {
        let id = self.id();
        let queue = batch.catalog().queue_name(self.queue);
        let kind = batch.catalog().kind_name(self.taken.kind());
        let extra = self.record().extra.as_deref();
        let event = match self.transition {
            Transition::End(State::Completed) => {
                Event::Completed { id, queue, kind, attempt: self.attempt.number, took: self.took }
            }
            Transition::PutOff { due, failed: true } => {
                let error = extra.and_then(|extra| extra.errors.last()).map(|error| error.message.clone());
                let (attempt, delay) = (self.attempt.number, due.wait(batch.now));
                Event::Retrying { id, queue, kind, attempt, error: error.unwrap_or_default(), delay }
            }
            Transition::PutOff { due, .. } => Event::Snoozed { id, queue, kind, delay: due.wait(batch.now) },
            Transition::End(State::Cancelled) => {
                let reason = extra.and_then(|extra| extra.reason.clone()).unwrap_or_default();
                Event::Cancelled { id, queue, kind, reason }
            }
            Transition::End(_) => {
                let first = batch.queue_ref(self.queue).tally.dead == 1;
                Event::dead(id, queue, kind, self.record(), first)
            }
            _ => match self.more.as_ref().and_then(|more| more.hold.as_ref()) {
                Some(hold) => Event::RateLimited { queue, group: hold.key.group.clone(), delay: hold.delay },
                None => return,
            },
        };
        batch.event(|| event);
    }
}
