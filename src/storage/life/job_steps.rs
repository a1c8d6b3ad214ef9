//! Facet: the steps of jobs: what a handler has done before it has ended.
//!
//! A job that has steps says so in its record, or has a start mark: while a handler has the job, its record is not written. So
//! other jobs cost nothing. The steps are removed with the job: they stay with a dead letter, whose handler goes on behind them
//! after a redrive, and with a job that is kept.

use std::collections::BTreeSet;
use std::ops::Range;

use redb::ReadableTable;

use super::moved::Moved;
use super::steering::Target;
use super::verifier::Verifier;
use crate::error::Error;
use crate::events::Event;
use crate::job::{
    AttemptNumber, JobId, Patch, QueueId, ReadyJob, Record, STEP_BYTES_MAX, STEPS_MAX, StepRow, StepWhat, Transition,
    UndoneEnd, life,
};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::start_mark::StartMark;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::version::{FLOW_VERSION, raise_to};
use crate::time::Timestamp;

/// The keys of the steps of a job.
fn steps_of(id: JobId) -> Range<(u64, &'static str)> {
    (id.get(), "")..(id.get() + 1, "")
}

/// Removes the steps with the job, or when another one takes its place.
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    let is_gone = match moved.transition {
        Transition::MoveOut | Transition::Quarantine | Transition::HandOut => false,
        Transition::Replace => true,
        _ => moved.to.is_none(),
    };
    let had = || moved.from.and_then(|side| side.record).is_some_and(Record::has_steps);
    if is_gone && (had() || batch.is_marked(moved.id)) { batch.remove_steps(moved.id) } else { Ok(()) }
}

impl Batch<'_> {
    /// Stores a step of a job that a handler has, and that has this mark. There is none yet
    /// [that counts](Self::step_that_counts).
    ///
    /// # Errors
    /// [`Error::NoSuchJob`] if the attempt is over, and the job has ended or waits; [`Error::TooManySteps`].
    pub fn put_step(&mut self, taken: &ReadyJob, mark: &StartMark, name: &str, row: &StepRow) -> Result<(), Error> {
        let id = taken.id;
        if !self.is_taken_from(mark.queue, taken)? {
            return Err(Error::NoSuchJob { id });
        }
        self.check_steps(id, row)?;
        if !taken.record.has_steps() && !self.is_marked(id) {
            self.hand_out(id, mark)?;
            raise_to(&mut self.tables, FLOW_VERSION)?;
        }
        Ok(self.insert_step(id, name, row)?)
    }

    /// The step of this name, if it is stored, does not wait, and was not undone.
    pub fn step_that_counts(&mut self, id: JobId, name: &str) -> Result<Option<StepRow>, Fault> {
        Ok(self.step(id, name)?.filter(|row| !matches!(row.what, StepWhat::Waits(_) | StepWhat::Undone(..))))
    }

    /// A step of a job that a handler has is undone. Returns its row as it is then.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`] if the attempt is over, or there is no such step.
    pub fn undo_step(&mut self, taken: &ReadyJob, mark: &StartMark, name: &str) -> Result<StepRow, Error> {
        let id = taken.id;
        let Some(row) = self.step(id, name)? else { return Err(Error::NoSuchJob { id }) };
        let StepWhat::Undoable(result) = row.what else { return Ok(row) };
        if !self.is_taken_from(mark.queue, taken)? {
            return Err(Error::NoSuchJob { id });
        }
        let row = StepRow { what: StepWhat::Undone(result, self.now.wall), ..row };
        self.insert_step(id, name, &row)?;
        Ok(row)
    }

    /// How a job with this record ends by this transition, if it has steps to undo before.
    pub fn end_to_undo_before(
        &mut self,
        id: JobId,
        record: &Record,
        transition: Transition,
        attempt: AttemptNumber,
    ) -> Result<Option<UndoneEnd>, Fault> {
        match life::end_to_undo_before(transition, attempt) {
            Some(ends) if self.has_steps_to_undo(id, record)? => Ok(Some(ends)),
            _ => Ok(None),
        }
    }

    /// Tells listeners that a job undoes its steps before it ends.
    pub fn tell_undoing(&mut self, id: JobId, queue: QueueId, record: &Record) {
        let (queue, kind) = (self.catalog().queue_name(queue), self.catalog().kind_name(record.kind));
        let reason = record.extra.as_ref().and_then(|extra| extra.reason.clone()).unwrap_or_default();
        self.event(|| Event::Undoing { id, queue, kind, reason });
    }

    /// Whether a job with this record has steps that are to be undone before it ends: not if it undoes them already.
    pub fn has_steps_to_undo(&mut self, id: JobId, record: &Record) -> Result<bool, Fault> {
        if !record.has_steps() || record.undo().is_some() {
            return Ok(false);
        }
        for row in self.tables.steps()?.range(steps_of(id))? {
            let row: StepRow = codec::decode(TableName::Steps, id.get(), row?.1.value())?;
            if matches!(row.what, StepWhat::Undoable(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the signal has come for which a step waits.
    pub fn is_signalled(&mut self, id: JobId, name: &str) -> Result<bool, Fault> {
        Ok(self.step(id, name)?.is_some_and(|row| matches!(row.what, StepWhat::Signalled(_))))
    }

    /// Whether a job that a handler has got steps, which its record does not say yet. A job without a start mark costs no read.
    pub fn has_new_steps(&mut self, id: JobId, record: &Record) -> Result<bool, Fault> {
        Ok(!record.has_steps() && self.is_marked(id) && self.had_steps(id)?)
    }

    /// The same of a job whose handler did not survive the process.
    pub(in crate::storage) fn had_steps(&mut self, id: JobId) -> Result<bool, Fault> {
        Ok(self.tables.steps()?.range(steps_of(id))?.next().is_some())
    }

    fn step(&mut self, id: JobId, name: &str) -> Result<Option<StepRow>, Fault> {
        let Some(row) = self.tables.steps()?.get_row((id.get(), name))? else { return Ok(None) };
        codec::decode(TableName::Steps, id.get(), &row).map(Some)
    }

    fn insert_step(&mut self, id: JobId, name: &str, row: &StepRow) -> Result<(), Fault> {
        self.touch();
        let bytes = codec::encode(row);
        self.moved(bytes.len());
        self.tables.steps()?.insert((id.get(), name), bytes.as_slice())?;
        Ok(())
    }

    fn check_steps(&mut self, id: JobId, more: &StepRow) -> Result<(), Error> {
        let (mut count, mut bytes) = (1, more.what.bytes());
        for row in self.tables.steps()?.range(steps_of(id)).map_err(Fault::from)? {
            count += 1;
            bytes += row.map_err(Fault::from)?.1.value().len();
        }
        if count > STEPS_MAX || bytes > STEP_BYTES_MAX {
            return Err(Error::too_many_steps(id));
        }
        Ok(())
    }

    /// Whether the row of a job that was handed out is where it was then.
    fn is_taken_from(&mut self, queue: QueueId, taken: &ReadyJob) -> Result<bool, Fault> {
        match taken.is_grouped() {
            true => Ok(self.member(taken.id)?.is_some_and(|member| !member.parked)),
            false => self.tables.ready()?.has((queue, taken.order.priority, taken.id.get())),
        }
    }

    /// A signal has come for a job that has not ended. If the job waits for it, it is due now. Returns false if the signal had come
    /// before.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], also if the job has ended; [`Error::TooManySteps`].
    pub fn signal_job(&mut self, target: Target, name: &str, row: &StepRow) -> Result<bool, Error> {
        let id = target.id;
        let Some(Location { queue, place }) = self.locate_known(id, target.queue)? else {
            return Err(self.missing(id));
        };
        if place.has_ended() {
            return Err(Error::NoSuchJob { id });
        }
        let was = self.step(id, name)?.map(|row| row.what);
        if was.as_ref().is_some_and(|was| was.result().is_some()) {
            return Ok(false);
        }
        self.check_steps(id, row)?;
        raise_to(&mut self.tables, FLOW_VERSION)?;
        match target.taken.filter(|_| !self.has_returned(id)) {
            // Its handler finds the signal when it waits for it, or when it has ended to wait for it.
            Some(order) if !self.is_marked(id) => {
                let started_at = self.now.wall;
                let (priority, position) = (order.priority, order.position);
                let mark =
                    StartMark { queue, priority, position, attempt: 1, max_attempts: 1, started_at, alone: false };
                self.hand_out(id, &mark)?;
            }
            Some(_) => {}
            None => self.wake(queue, id, place, matches!(was, Some(StepWhat::Waits(_))))?,
        }
        self.insert_step(id, name, row)?;
        Ok(true)
    }

    /// Notes in the record of a waiting job that it has steps. If it `waits` for what has come, it is due now.
    fn wake(&mut self, queue: QueueId, id: JobId, place: Place, waits: bool) -> Result<(), Error> {
        let stored = self.stored(queue, id, place)?.ok_or(Error::NoSuchJob { id })?;
        let mut record = stored.record.clone();
        record.extra_mut().has_steps = true;
        let patch = Patch { run_at: waits.then_some(Timestamp::EPOCH), ..Patch::default() };
        let transition = life::steer(&mut record, &patch, self.now);
        Ok(self.rewrite_waiting(id, queue, &stored, record, transition)?)
    }

    fn remove_steps(&mut self, id: JobId) -> Result<(), Fault> {
        Ok(self.tables.steps()?.retain_in(steps_of(id), |_, _| false)?)
    }
}

/// Removes the steps of jobs that are not there.
pub(super) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let mut ids = BTreeSet::new();
    for row in batch.tables.steps()?.iter()? {
        ids.insert(JobId::new(row?.0.value().0));
    }
    for id in ids {
        if batch.locate(id)?.is_none() && matches!(batch.missing(id), Error::NoSuchJob { .. }) {
            batch.touch();
            batch.remove_steps(id)?;
        }
    }
    Ok(())
}

impl Reader {
    /// The steps of a job, in the order of their names.
    pub fn steps(&self, id: JobId) -> Result<Vec<(String, StepRow)>, Fault> {
        let mut steps = Vec::new();
        for row in self.tables().steps()?.range(steps_of(id))? {
            let (key, row) = row?;
            steps.push((key.value().1.to_owned(), codec::decode(TableName::Steps, id.get(), row.value())?));
        }
        Ok(steps)
    }
}

// --- verification ---

/// Notes that a job that was read can have steps.
pub(super) fn check_job(verifier: &mut Verifier<'_>, id: u64, record: &Record) {
    if record.has_steps() {
        verifier.with_steps.insert(JobId::new(id));
    }
}

/// Checks that each step belongs to a job that says that it has steps, or has a start mark. Those of jobs in the quarantine stay.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let running = verifier.tables().running()?;
    for row in verifier.tables().steps()?.iter()? {
        verifier.work.rows += 1;
        let (key, row) = row?;
        let (id, name) = key.value();
        if let Err(fault) = codec::decode::<StepRow>(TableName::Steps, id, row.value()) {
            verifier.unreadable(fault);
        }
        let job = JobId::new(id);
        if !verifier.with_steps.contains(&job) && !verifier.unread.contains(&job) && !running.has(id)? {
            verifier.problem(format!("there is a step {name:?} of job {id}, which is not there or has no steps"));
        }
    }
    Ok(())
}
