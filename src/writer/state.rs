//! The writer's state between two commits: what the file contains, which commands wait, and what a failed commit has left.

use std::sync::Arc;

use super::command::Command;
use super::committed::{Committed, append};
use super::jobs::Jobs;
use super::occupied::{Occupant, Occupied};
use super::waiting_room::WaitingRoom;
use crate::error::Error;
use crate::metrics::{CommitCost, Metrics};
use crate::storage::{Batch, BatchLimits, Counters, RawTransaction, Sealed, Store};
use crate::time::TimeReader;
use crate::transaction::Prepare;

/// The only part of the crate that writes to the file.
pub(crate) struct Writer {
    pub(super) store: Arc<Store>,
    pub(super) prepare: Arc<dyn Prepare>,
    pub(super) limits: BatchLimits,
    pub(super) counters: Counters,
    /// The counters that the last commit wrote.
    pub(super) in_file: Counters,
    /// The attached database went back to an earlier state, so nothing in memory fits it any more.
    pub(super) went_back: bool,
    pub(super) jobs: Jobs,
    /// Callers that wait for room in a full queue.
    pub(super) waiting: WaitingRoom,
    /// The last commit changed queues while callers wait: there may be room now. The waiting callers were tried before the
    /// commands that made the room, so that no other caller overtakes them.
    pub(super) room_made: bool,
    /// Commands for which the last batch had no room, in order: the next batch begins with them.
    pub(super) put_off: Vec<Command>,
    /// Commands that run code of the application and failed, or were not called, in a batch that was undone because of
    /// another command. They are tried again one commit later, so that other commands do not wait for them.
    pub(super) to_retry: Vec<Command>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) occupied: Occupied,
    /// The stream that keeps the events of commits.
    pub(super) events_to: Option<Arc<str>>,
    /// Measures how long commits take.
    pub(super) time: TimeReader,
}

impl Writer {
    pub fn new(
        store: Arc<Store>,
        prepare: Arc<dyn Prepare>,
        limits: BatchLimits,
        counters: Counters,
        metrics: Arc<Metrics>,
        occupied: Occupied,
        time: TimeReader,
    ) -> Self {
        Self {
            store,
            prepare,
            limits,
            counters,
            in_file: counters,
            went_back: false,
            jobs: Jobs::default(),
            waiting: WaitingRoom::default(),
            room_made: false,
            put_off: Vec::new(),
            to_retry: Vec::new(),
            metrics,
            occupied,
            events_to: None,
            time,
        }
    }

    /// Whether ends or commands wait for the next commit.
    pub fn has_unfinished(&self) -> bool {
        !self.jobs.unfinished.is_empty() || self.has_put_off()
    }

    /// Whether commands that the last commit has put off wait for the next one.
    pub fn has_put_off(&self) -> bool {
        !self.put_off.is_empty() || !self.to_retry.is_empty()
    }

    /// Whether no command waits for a later commit.
    pub fn is_free(&self) -> bool {
        !self.has_unfinished() && self.waiting.is_empty()
    }

    /// Whether callers that wait for room must be tried again, even if there is nothing else to write.
    pub fn has_made_room(&self) -> bool {
        self.room_made
    }

    /// Begins the transaction. In an attached database it can have to wait for a transaction of the application.
    pub(super) fn begin_write(&self) -> Result<RawTransaction, Error> {
        let _occupation = self.occupied.begin(Occupant::Transaction);
        self.store.begin_write()
    }

    /// Checks that an attached database is in the state of the last commit. Its application can restore a savepoint, which
    /// also restores the queue's tables. Then ids would be given out twice and counts would be wrong. Every commit changes
    /// the counters, so it is enough to compare them.
    pub(super) fn check_attached(&mut self, store: &Store, batch: &mut Batch<'_>) -> Result<(), Error> {
        if !store.is_attached() || batch.counters_in_file()? == Some(self.in_file) {
            return Ok(());
        }
        self.went_back = true;
        let reason = "the attached database went back to an earlier state, because the application restored a savepoint: \
                      shut this queue down and attach the database again";
        Err(Error::Degraded { reason: reason.into() })
    }

    /// Whether the attached database went back to an earlier state.
    pub fn went_back(&self) -> bool {
        self.went_back
    }

    pub(super) fn take_over(&mut self, sealed: Sealed, cost: CommitCost, committed: &mut Committed) {
        // The metrics come first: a caller that sees a committed change also finds it counted.
        if sealed.writes {
            self.metrics.committed(cost);
        }
        self.metrics.deduplicated(sealed.deduplicated);
        self.metrics.quarantined(sealed.quarantined_rows);
        self.metrics.pruned(sealed.pruned);
        self.counters = sealed.counters;
        if sealed.writes {
            self.in_file = sealed.counters;
        }
        let changes_queues = !sealed.rows.is_empty() || !sealed.removed.is_empty();
        self.room_made |= changes_queues && !self.waiting.is_empty();
        self.metrics.published(sealed.publishes.published, sealed.publishes.unrouted);
        if let Some(topics) = sealed.topics {
            self.store.catalog.topics.set(topics);
        }
        self.jobs.note_marks(sealed.marked, sealed.unmarked);
        self.store.catalog.committed(sealed.rows, &sealed.kinds, &sealed.removed);
        self.store.catalog.recent.note(&sealed.changes);
        committed.jobs.expiries = committed.jobs.expiries.and_then(sealed.expiries);
        committed.jobs.schedules = committed.jobs.schedules.and_then(sealed.schedules);
        committed.jobs.flows = committed.jobs.flows.and_then(sealed.flows);
        append(&mut committed.streams.grown, sealed.streams.grown);
        append(&mut committed.jobs.callers, sealed.callers);
        append(&mut committed.jobs.cancels, sealed.cancels);
        append(&mut committed.jobs.ends, sealed.ends);
        append(&mut committed.jobs.changes, sealed.changes);
        append(&mut committed.events, sealed.events);
    }

    /// Nothing can be written for now: no caller may wait for a later commit. Ends of attempts are kept.
    pub(super) fn fail(&mut self, commands: Vec<Command>, error: &Error, committed: &mut Committed) {
        let left = std::mem::take(&mut self.put_off).into_iter().chain(std::mem::take(&mut self.to_retry));
        for command in commands.into_iter().chain(left) {
            match command {
                Command::Finish(finish) => self.jobs.unfinished.push(finish),
                other => committed.answers.push((other, Err(error.share()))),
            }
        }
        self.room_made = false;
        committed.failure = Some(error.share());
    }

    /// The queue closes: answers [`Error::Closed`] to all callers that wait.
    pub fn close(&mut self) {
        let left = std::mem::take(&mut self.put_off).into_iter().chain(std::mem::take(&mut self.to_retry));
        let left = left.filter_map(|command| match command {
            Command::Step(step) => Some(step),
            Command::Finish(_) | Command::StartMark(_) => None,
        });
        for step in self.waiting.remove_all().into_iter().chain(left) {
            step.answer(Err(Error::Closed));
        }
    }
}
