//! Writes the end of an attempt, with the handler's own writes if the job completes.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::on_dead::{DeadHook, cause_of, log_failed_hook};
use super::transact;
use crate::error::Error;
use crate::error::panics::drop_quietly;
use crate::events::Event;
use crate::handler::CompleteHook;
use crate::job::life;
use crate::job::{
    AttemptNumber, BucketKey, BucketState, Change, CircuitStep, Coder, EndTexts, JobId, Opened, QueueId, ReadyJob,
    Record, Retry, State, Transition,
};
use crate::storage::{Batch, Move, NewHome, OldHome};
use crate::text::told;
use crate::time::{Due, Now};
use crate::transaction::Prepare;
use crate::writer::step::Refusal;

/// The command that writes the end of one attempt.
pub(crate) struct Finish {
    pub queue: QueueId,
    /// The job as it was handed out.
    pub taken: Arc<ReadyJob>,
    pub transition: Transition,
    pub attempt: AttemptNumber,
    pub took: Duration,
    /// What an end has that is not a plain completion.
    pub more: Option<Box<More>>,
    /// Whether its row was in the table, if this try at the batch has removed it already.
    pub was_there: Option<bool>,
}

/// The parts of an end that a plain completion does not have.
pub(crate) struct More {
    /// The record as `job::life` has changed it.
    pub record: Record,
    /// The handler's own writes, for a job that completes.
    pub hooks: Vec<CompleteHook>,
    /// How the job continues if they fail. Set if there are any.
    pub retried: Option<Retried>,
    /// "Too many requests": the queue or group to hold back.
    pub hold: Option<HoldBack>,
    /// The circuits that it opens, or closes if it completes the job.
    pub circuits: Vec<CircuitStep>,
    /// The application's hook, if the job is dead or may be once its own writes have failed.
    pub on_dead: Option<DeadHook>,
    /// What the hook said when it failed: the job is dead without what the hook would have written.
    pub hook_error: Option<String>,
    /// Whether the record has what this attempt has reported.
    pub has_log: bool,
    /// The step that waits for a signal, if the handler has ended to wait for it.
    pub waits_at: Option<String>,
    /// The texts of the end, if the payload codec has coded those in the record.
    pub texts: Option<Box<EndTexts>>,
}

impl More {
    /// Only the record.
    pub fn of(record: Record) -> Self {
        Self {
            record,
            hooks: Vec::new(),
            retried: None,
            hold: None,
            circuits: Vec::new(),
            on_dead: None,
            hook_error: None,
            has_log: false,
            waits_at: None,
            texts: None,
        }
    }

    /// The last error of the job's attempts, as it was before it was coded.
    pub fn error(&self) -> Option<&str> {
        match &self.texts {
            Some(texts) => texts.error.as_deref(),
            None => self.record.extra.as_deref()?.errors.last().map(|error| error.message.as_str()),
        }
    }

    /// Why the job has ended, as it was before it was coded.
    pub fn reason(&self) -> Option<&str> {
        match &self.texts {
            Some(texts) => texts.reason.as_deref(),
            None => self.record.extra.as_deref()?.reason.as_deref(),
        }
    }
}

/// What decides how the job continues when the handler's own writes fail.
pub(crate) struct Retried {
    /// The names of its queue and kind, for the log.
    pub queue: Arc<str>,
    pub kind: Arc<str>,
    pub retry: Retry,
    pub now: Now,
    pub random: f64,
    pub coder: Coder,
    /// Counts that the attempt has failed after all, if its worker has a circuit breaker.
    pub count_failure: Option<CountFailure>,
}

/// Counts for the circuit breakers that the writes with a completion have failed. Returns what the end does to the circuits.
pub(crate) type CountFailure = Box<dyn FnOnce() -> Vec<CircuitStep> + Send + Sync>;

/// Returns the state of a bucket to store now.
type BucketNow = Arc<dyn Fn(&BucketKey) -> Option<BucketState> + Send + Sync>;

/// A bucket from which nothing starts for a while.
pub(crate) struct HoldBack {
    pub key: BucketKey,
    pub until: Now,
    /// Returns the state to store. Called while the commit is made: the bucket can have changed since the attempt ended, and
    /// an older state must not be written last.
    pub state: BucketNow,
    pub delay: Duration,
}

/// Removes the rows of all jobs that simply complete, in one pass. No caller can observe that this happens before the other
/// commands of the batch: a batch keeps only the order of one caller's commands, and a caller that sent a command about a
/// job before it ended was not answered yet.
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

    /// Whether the handler writes with its completion.
    pub fn has_hooks(&self) -> bool {
        self.more.as_ref().is_some_and(|more| !more.hooks.is_empty())
    }

    /// Whether it makes the job dead and the application has a hook for that.
    fn calls_on_dead(&self) -> bool {
        self.transition == Transition::End(State::Dead) && self.more.as_ref().is_some_and(|more| more.on_dead.is_some())
    }

    /// Whether it runs code of the application in the batch.
    pub fn runs_application_code(&self) -> bool {
        self.has_hooks() || self.calls_on_dead()
    }

    /// Whether it has [failed](Self::fail) and the failure cannot be written either.
    pub fn is_given_up(&self) -> bool {
        self.more.is_none() && matches!(self.transition, Transition::GiveBack { .. })
    }

    /// The application's code in it failed. If that was the hook for dead jobs, the job is dead without it; otherwise it was
    /// the handler's own writes, and the attempt has failed.
    pub fn fail(&mut self, error: Error) {
        if self.calls_on_dead() {
            return self.go_on_without_hook(error);
        }
        let (hooks, retried, on_dead, logs) = match self.more.take().map(|more| *more) {
            Some(More { hooks, retried, on_dead, record, .. }) => {
                (hooks, retried, on_dead, record.extra.and_then(|extra| extra.logs))
            }
            None => (Vec::new(), None, None, None),
        };
        drop_quietly(hooks);
        let Some(Retried { queue, kind, retry, now, random, coder, count_failure }) = retried else {
            // The end itself cannot be written, although the disk works: the job stays as it is in the file.
            tracing::error!(job = %self.id(), %error, "the end of an attempt could not be written");
            self.transition = Transition::GiveBack { failed: false };
            return;
        };
        let mut record = self.taken.record.clone();
        let cause = cause_of(error);
        self.transition = life::after_failed_writes(&mut record, self.attempt, &cause, &retry, now, random);
        if logs.is_some() {
            record.extra_mut().logs = logs;
        }
        let texts = coder.code_end(&mut record, &self.taken.record);
        let circuits = count_failure.map(|count| count()).unwrap_or_default();
        let more = More { on_dead, texts, circuits, ..More::of(record) };
        let shown = told(more.error().unwrap_or_default()).into_owned();
        let attempt = self.attempt.number;
        let (id, queue, kind, took) = (self.id().get(), &*queue, &*kind, self.took);
        match self.transition {
            Transition::PutOff { due, .. } => {
                tracing::info!(id, queue, kind, attempt, ?took, delay = ?due.wait(now), error = shown, "failed, runs again");
            }
            _ => tracing::warn!(id, queue, kind, attempt, ?took, reason = "no attempts left", error = shown, "dead"),
        }
        self.more = Some(Box::new(more));
    }

    fn go_on_without_hook(&mut self, error: Error) {
        let error = cause_of(error);
        log_failed_hook(self.id(), &error);
        if let Some(more) = &mut self.more {
            more.on_dead = None;
            more.hook_error = Some(error);
        }
    }

    /// Writes what becomes of an entry of a stream that is not a job. Returns false if it becomes a job: then what follows is what
    /// follows for any job.
    fn apply_to_entry(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<bool, Refusal> {
        match self.transition {
            Transition::End(State::Completed) => {
                let has_result = self.more.as_ref().is_some_and(|more| {
                    more.has_log || more.record.extra.as_ref().is_some_and(|extra| extra.result.is_some())
                });
                if !batch.keeps(self.queue, State::Completed, has_result) {
                    batch.pass_entry(self.queue, &self.taken)?;
                    batch.count_entry(self.queue);
                    self.settle(batch);
                    self.run_hooks(batch, prepare)?;
                    return Ok(true);
                }
            }
            Transition::GiveBack { .. } if self.more.as_ref().is_none_or(|more| !more.has_log) => {
                batch.changes.push(Change::Returned { job: self.taken.clone() });
                return Ok(true);
            }
            _ => {}
        }
        batch.entry_becomes_job(self.queue, &self.taken)?;
        Ok(false)
    }

    pub fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        let queue = self.queue;
        if let Some(hold) = self.more.as_ref().and_then(|more| more.hold.as_ref()) {
            batch.put_rate(&hold.key, (hold.state)(&hold.key).as_ref())?;
            batch.changes.push(Change::Limited { key: hold.key.clone(), until: hold.until });
        }
        self.move_circuits(batch)?;
        if batch.is_in_hand(queue, &self.taken)? && self.apply_to_entry(batch, prepare)? {
            if batch.listening {
                self.tell(batch);
            }
            return Ok(());
        }
        self.note_steps(batch)?;
        if !matches!(self.transition, Transition::End(State::Completed))
            && let Some(reason) = batch.cancel_reason(self.id())?
        {
            return self.cancel(batch, reason);
        }
        self.undo_before_end(batch)?;
        match self.transition {
            Transition::End(State::Completed) => self.complete(batch, prepare)?,
            Transition::PutOff { due, failed } => {
                let due = self.wake_if_signalled(batch)?.unwrap_or(due);
                batch.put_off(queue, &self.taken, self.record(), due, failed)?;
            }
            Transition::End(_) | Transition::Cancel => {
                self.end(batch, self.transition, self.record())?;
                if let Some(hook) = self.more.as_ref().and_then(|more| more.on_dead.as_ref())
                    && self.transition == Transition::End(State::Dead)
                {
                    hook.run(batch, prepare, self.id(), queue, self.record())?;
                }
            }
            _ => {
                let (taken, more) = (&self.taken.record, self.more.as_deref());
                let changed = more.filter(|more| more.has_log || more.record.has_steps() != taken.has_steps());
                let changed = changed.map(|more| more.record.clone());
                batch.give_back(queue, self.taken.clone(), changed, false)?;
            }
        }
        if batch.listening {
            self.tell(batch);
        }
        Ok(())
    }

    /// Notes in the record that the job has steps, if the attempt has stored the first ones.
    fn note_steps(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        if batch.has_new_steps(self.id(), &self.taken.record)? {
            let taken = &self.taken.record;
            let more = self.more.get_or_insert_with(|| Box::new(More::of(taken.clone())));
            more.record.extra_mut().has_steps = true;
        }
        Ok(())
    }

    /// If the job ends as dead or cancelled and has steps to undo, its handler is called again for that, and the job ends after it.
    fn undo_before_end(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let id = self.id();
        let Some(more) = &mut self.more else { return Ok(()) };
        if let Some(ends) = batch.end_to_undo_before(id, &more.record, self.transition, self.attempt)? {
            self.transition = life::undo_after_attempt(&mut more.record, ends, batch.now);
        }
        Ok(())
    }

    /// When the job is due, if the signal has come for which its handler has ended to wait.
    fn wake_if_signalled(&mut self, batch: &mut Batch<'_>) -> Result<Option<Due>, Error> {
        let id = self.id();
        let Some(more) = &mut self.more else { return Ok(None) };
        let Some(name) = &more.waits_at else { return Ok(None) };
        if !batch.is_signalled(id, name)? {
            return Ok(None);
        }
        let now = Due::after(batch.now, Duration::ZERO);
        more.record.extra_mut().due = Some(now);
        Ok(Some(now))
    }

    /// Writes what the end does to circuits.
    fn move_circuits(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        for step in self.more.iter().flat_map(|more| &more.circuits) {
            match step {
                CircuitStep::Open(opened) => {
                    batch.open_circuit(opened)?;
                    tell_opened(batch, opened);
                }
                CircuitStep::Close { key, probe } => {
                    batch.close_circuit(key)?;
                    let queue = batch.catalog().queue_name(key.queue);
                    let group = key.group.clone();
                    tracing::info!(queue = &*queue, group = group.as_deref(), probe = probe.get(), "circuit closed");
                    batch.event(|| Event::CircuitClosed { queue, group, probe: Some(*probe) });
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        let extra = self.record().extra.as_deref();
        let has_result = extra.is_some_and(|extra| extra.result.is_some());
        // The jobs that wait for it get its result.
        let is_in_flow = extra.is_some_and(|extra| extra.flow.is_some());
        if is_in_flow || batch.awaited || batch.keeps(self.queue, State::Completed, has_result) {
            let mut record = self.record().clone();
            life::completed(&mut record, self.attempt, batch.now);
            self.end(batch, self.transition, &record)?;
        } else {
            self.settle(batch);
            let (id, queue, transition) = (self.id(), self.queue, self.transition);
            batch.apply(Move { id, queue, transition, from: self.from(), to: NewHome::Nowhere })?;
        }
        self.run_hooks(batch, prepare)
    }

    fn run_hooks(&self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        // All hooks together may enqueue as much as one transaction.
        let size = Cell::default();
        for hook in self.more.iter().flat_map(|more| &more.hooks) {
            transact::run(&***hook, batch, &size, prepare)?;
        }
        Ok(())
    }

    /// Ends a job whose cancel was requested before its attempt ended without completing it.
    fn cancel(&self, batch: &mut Batch<'_>, reason: String) -> Result<(), Refusal> {
        let (id, queue) = (self.id(), self.queue);
        let mut record = self.record().clone();
        let transition = life::cancel_requested(&mut record, self.attempt, &reason, batch.now);
        if let Some(ends) = batch.end_to_undo_before(id, &record, transition, self.attempt)?
            && let Transition::PutOff { due, failed } = life::undo_after_attempt(&mut record, ends, batch.now)
        {
            batch.put_off(queue, &self.taken, &record, due, failed)?;
            batch.tell_undoing(id, queue, &record);
            return Ok(());
        }
        self.end(batch, transition, &record)?;
        let (queue, kind) = (batch.catalog().queue_name(queue), batch.catalog().kind_name(record.kind));
        tracing::info!(
            id = id.get(),
            queue = &*queue,
            kind = &*kind,
            reason = &*told(&reason),
            "cancelled as requested"
        );
        batch.event(|| Event::Cancelled { id, queue, kind, reason });
        Ok(())
    }

    fn from(&self) -> OldHome<'_> {
        OldHome::Handler { taken: &self.taken, row_was_there: self.was_there }
    }

    /// Ends the job with this record.
    fn end(&self, batch: &mut Batch<'_>, transition: Transition, record: &Record) -> Result<(), Error> {
        self.settle(batch);
        Ok(batch.end_job(self.id(), self.queue, transition, self.from(), record)?)
    }

    /// Frees the slot. This comes before the end, so that the slot is free for a job that becomes ready by it.
    fn settle(&self, batch: &mut Batch<'_>) {
        batch.changes.push(Change::Settled { id: self.id() });
    }

    fn record(&self) -> &Record {
        self.more.as_ref().map_or(&self.taken.record, |more| &more.record)
    }

    /// Whether the job was to end, and undoes its steps first.
    fn begins_to_undo(&self) -> bool {
        self.record().undo().is_some() && self.taken.record.undo().is_none()
    }

    /// Whether the job completes without writes of its handler and is in no group.
    fn is_plain(&self) -> bool {
        let is_entry = self.taken.record.entry().is_some();
        matches!(self.transition, Transition::End(State::Completed))
            && !self.has_hooks()
            && !self.taken.is_grouped()
            && !is_entry
    }

    fn tell(&self, batch: &mut Batch<'_>) {
        let id = self.id();
        let queue = batch.catalog().queue_name(self.queue);
        let kind = batch.catalog().kind_name(self.taken.kind());
        let text = |of: fn(&More) -> Option<&str>| self.more.as_deref().and_then(of).map(str::to_owned);
        let event = match self.transition {
            Transition::End(State::Completed) => {
                Event::Completed { id, queue, kind, attempt: self.attempt.number, took: self.took }
            }
            Transition::PutOff { .. } if self.begins_to_undo() => {
                Event::Undoing { id, queue, kind, reason: text(More::reason).unwrap_or_default() }
            }
            Transition::PutOff { due, failed: true } => {
                let (attempt, delay) = (self.attempt.number, due.wait(batch.now));
                Event::Retrying { id, queue, kind, attempt, error: text(More::error).unwrap_or_default(), delay }
            }
            Transition::PutOff { due, .. } => Event::Snoozed { id, queue, kind, delay: due.wait(batch.now) },
            Transition::End(State::Cancelled) | Transition::Cancel => {
                Event::Cancelled { id, queue, kind, reason: text(More::reason).unwrap_or_default() }
            }
            Transition::End(_) => {
                let first = batch.queue_ref(self.queue).tally.dead == 1;
                let (reason, error) = (text(More::reason).unwrap_or_default(), text(More::error));
                Event::Dead { id, queue, kind, reason, error, first }
            }
            _ => match self.more.as_ref().and_then(|more| more.hold.as_ref()) {
                Some(hold) => Event::RateLimited { queue, group: hold.key.group.clone(), delay: hold.delay },
                None => return,
            },
        };
        batch.event(|| event);
        if let Some(error) = self.more.as_ref().and_then(|more| more.hook_error.clone()) {
            batch.event(|| Event::OnDeadFailed { id, error });
        }
    }
}

fn tell_opened(batch: &mut Batch<'_>, opened: &Opened) {
    let Opened { key, open_for, failures, ends, probe, .. } = opened;
    let (queue, group) = (batch.catalog().queue_name(key.queue), key.group.clone());
    let (failures, ends, open_for, probe) = (*failures, *ends, *open_for, *probe);
    {
        let (group, probe) = (group.as_deref(), probe.map(JobId::get));
        tracing::warn!(queue = &*queue, group, failures, ends, ?open_for, probe, "circuit opened: no job starts");
    }
    batch.event(|| Event::CircuitOpened { queue, group, failures, ends, open_for, probe });
}
