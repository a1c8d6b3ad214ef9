//! Applies changes to the scheduler: committed changes, a reopened file, and what the file contains when it is opened.

use std::sync::Arc;
use std::time::Duration;

use super::feed::FedPage;
use super::handed_out::HandedOut;
use super::state::Scheduler;
use crate::job::{AgedPage, Change, IdMap, JobId, QueueId, ReadyJob, Refill, Steered, StreamId, Trial};
use crate::time::Now;

impl Scheduler {
    /// Applies the changes of a commit. Must be called in commit order. Returns whether the dispatcher has something to
    /// do.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> bool {
        for change in changes {
            self.apply_one(change);
        }
        self.chores_changed || !self.rotation.is_empty() || self.threads.is_waited_for(self.handed_out.blocking())
    }

    fn apply_one(&mut self, change: Change) {
        match change {
            Change::Ready { queue, job } => {
                let taken = self.is_taken(job.id);
                let state = self.queues.get_or_make(queue);
                state.arrive(job, taken);
                if state.is_open() {
                    self.wake(queue);
                }
            }
            Change::Gone { queue, grouped, order, id } => {
                if self.queues.get_or_make(queue).gone(grouped, order, id) {
                    // Another queue's turn may have come.
                    self.wake(queue);
                }
                self.note(queue);
                if self.probation.holds(id) {
                    // The slot that was kept for the suspect is free for other jobs.
                    self.probation.gone(id);
                    // It may have had the turn at a limit.
                    self.probation.check_again();
                    self.wake(queue);
                }
                self.withdrawn.entry(id).and_modify(|held| *held = None);
            }
            Change::EntryIsJob { queue, id } => {
                if let Some(feed) = self.queues.get_or_make(queue).feed() {
                    feed.is_job(id);
                    self.wake(queue);
                }
            }
            Change::GroupPaused { queue, group } => {
                if let Some(feed) = self.queues.get_or_make(queue).feed() {
                    feed.group_paused(&group);
                }
            }
            Change::GroupEmpty { queue, group } => {
                if let Some(feed) = self.queues.get_or_make(queue).feed() {
                    feed.group_empty(&group);
                    self.wake(queue);
                }
            }
            Change::ConsumerMoved { queue } => {
                let Self { queues, handed_out, .. } = self;
                if let Some(feed) = queues.get_or_make(queue).feed() {
                    feed.moved(|id| handed_out.contains(id));
                    self.wake(queue);
                }
            }
            Change::Settled { id } => {
                if let Some(handed) = self.settle(id) {
                    let state = self.queues.get_or_make(handed.queue);
                    state.settled(handed.grouped, id);
                    let is_fed = state.feed().is_some();
                    if let Some(group) = state.probe_over(handed.run) {
                        self.circuit_lets_start(handed.queue, group.as_ref());
                    }
                    if is_fed {
                        self.wake(handed.queue);
                    }
                }
            }
            Change::Returned { job } => {
                if let Some(handed) = self.settle(job.id) {
                    let state = self.queues.get_or_make(handed.queue);
                    state.arrive(job, false);
                    if let Some(group) = state.probe_over(handed.run) {
                        self.circuit_lets_start(handed.queue, group.as_ref());
                    }
                    self.wake(handed.queue);
                }
            }
            Change::Due { queue, due } => {
                self.chores_changed |= self.queues.get_or_make(queue).due_at(due);
                self.note(queue);
            }
            Change::Promoted { queue, next_due } => {
                self.queues.get_or_make(queue).promoted(next_due);
                self.note(queue);
                self.chores_changed = true;
            }
            Change::Paused { queue, paused } => {
                self.queues.get_or_make(queue).paused = paused;
                self.attend_suspects(queue);
                self.wake(queue);
            }
            Change::Steered { queue, steered, now } => self.steer(queue, Some(steered), now),
            Change::AllPaused { paused } => self.pause_all(paused),
            Change::QueueRemoved { queue, now } => {
                self.removed(queue);
                self.set_rates(queue, now);
                self.chores_changed = true;
            }
            Change::Reserved { key, tokens } => {
                self.buckets.granted(&key, tokens);
                self.reservation_answered(&key);
            }
            Change::Limited { key, until } => {
                self.buckets.hold(&key, until);
                self.wake(key.queue);
                self.chores_changed = true;
            }
            Change::CircuitOpened { key, until } => self.circuit_opened(key, until),
            Change::CircuitClosed { key } => self.circuit_closed(&key),
        }
    }

    /// Streams have entries up to these offsets. Returns whether a consumer has something to read.
    pub fn streams_have_grown(&mut self, grown: &[(StreamId, u64)]) -> bool {
        let mut any = false;
        for n in 0..self.feeds.len() {
            let (queue, of) = self.feeds[n];
            let Some((_, end)) = grown.iter().find(|(stream, _)| *stream == of) else { continue };
            if self.queues.get_or_make(queue).feed().is_some_and(|feed| feed.grown(*end)) {
                self.wake(queue);
                any = true;
            }
        }
        any
    }

    /// Keeps entries of a stream from starting that are removed: those below this offset that no handler has, up to the first one
    /// that a handler has. Returns the offset up to which entries can be removed.
    pub fn withdraw_entries(&mut self, stream: StreamId, below: u64) -> u64 {
        let Self { queues, handed_out, feeds, .. } = self;
        let of: Vec<QueueId> = feeds.iter().filter(|(_, of)| *of == stream).map(|(queue, _)| *queue).collect();
        let mut below = below;
        for queue in &of {
            let first = queues.get_or_make(*queue).feed().and_then(|feed| feed.first_of(|id| handed_out.contains(id)));
            below = first.map_or(below, |first| below.min(first));
        }
        for queue in of {
            let state = self.queues.get_or_make(queue);
            if state.feed().is_some_and(|feed| feed.begin_at(below)) {
                // What waits for a limit or a rate can be among them.
                state.restart();
                self.wake(queue);
            }
        }
        below
    }

    /// The entries that a [`FeedRefill`](super::feed::FeedRefill) requested.
    pub fn fed(&mut self, queue: QueueId, page: FedPage) {
        let Self { queues, handed_out, .. } = self;
        if let Some(state) = queues.get_mut(queue) {
            state.fed(page, |id| handed_out.contains(id));
            self.note(queue);
            self.wake(queue);
        }
    }

    /// Requests a page of entries again that could not be read.
    pub fn request_entries_again(&mut self, queue: QueueId) {
        if let Some(feed) = self.queues.get_or_make(queue).feed() {
            feed.page_failed();
        }
        self.note(queue);
        self.wake(queue);
    }

    /// The writer has made jobs of entries of a consumer that were held up, or could not.
    pub fn entries_converted(&mut self, queue: QueueId, done: bool) {
        if let Some(feed) = self.queues.get_or_make(queue).feed() {
            feed.converted(done);
        }
        self.note(queue);
        self.wake(queue);
        self.chores_changed = true;
    }

    /// The handler of an entry has returned, and has nothing to write: the next entry of its group may start.
    pub fn entry_passed(&mut self, queue: QueueId, id: JobId) {
        if let Some(feed) = self.queues.get_mut(queue).and_then(|state| state.feed()) {
            feed.passed(id);
        }
    }

    /// Nothing of this queue is stored, so no overrides either. A worker that has begun to use its name keeps its own slots
    /// and rates.
    fn removed(&mut self, queue: QueueId) {
        let state = self.queues.get_or_make(queue);
        state.removed();
        if state.settings.is_none() {
            self.buckets.forget_queue(queue);
        }
        self.set_breakers(queue);
        self.attend_suspects(queue);
        self.note(queue);
        self.wake(queue);
    }

    /// Whether the job was handed out or is a suspect: then it must not be started from its table.
    fn is_taken(&self, id: JobId) -> bool {
        self.handed_out.contains(id) || self.probation.holds(id)
    }

    pub(super) fn settle(&mut self, id: JobId) -> Option<HandedOut> {
        let handed = self.handed_out.settle(id)?;
        if !handed.finished {
            self.wake(handed.queue);
            self.wake_queues_for_limits();
        }
        if self.probation.is_active() {
            self.probation.ended(id);
            self.chores_changed = true;
        }
        Some(handed)
    }

    /// Reads the queue's tables again, because a commit that would have changed the queue has failed.
    pub fn read_again(&mut self, queue: QueueId) {
        let state = self.queues.get_or_make(queue);
        state.restart();
        state.promotion_failed();
        self.note(queue);
        self.wake(queue);
        self.chores_changed = true;
    }

    /// Nothing starts until [`Self::resume`].
    pub fn suspend(&mut self) {
        self.suspended = true;
    }

    /// Starts again after the file was reopened. Only the file says whether the last commit was made, so everything in
    /// memory about its rows is read again. `queues` are the queues in the file, whether they are paused, and what is set for
    /// them; `gone` are suspects that are no longer at their places.
    pub fn resume(
        &mut self,
        queues: impl IntoIterator<Item = (QueueId, bool, Option<Arc<Steered>>)>,
        gone: &[JobId],
        now: Now,
    ) {
        self.suspended = false;
        for id in gone {
            self.probation.gone(*id);
        }
        let queues = queues.into_iter().map(|(queue, paused, steered)| (queue, (paused, steered)));
        let stored: IdMap<(bool, Option<Arc<Steered>>), QueueId> = queues.collect();
        for queue in self.queues.ids() {
            self.read_again(queue);
            // The failed commit can have removed the queue.
            if !stored.contains_key(&queue) {
                self.removed(queue);
            }
        }
        for (queue, (paused, steered)) in stored {
            self.restore(queue, paused, steered, now);
        }
        // It is not known either whether the start marks were written: they are written again.
        for handed in self.handed_out.iter_mut() {
            handed.marked = false;
        }
        self.probation.marks_are_lost();
        self.mark_at = Some(Duration::ZERO);
    }

    /// The rows that a [`Refill`] requested. `end` says that the table has no rows behind them.
    pub fn refilled(&mut self, refill: Refill, rows: Vec<Arc<ReadyJob>>, end: bool) {
        let Self { queues, handed_out, probation, .. } = self;
        if let Some(state) = queues.get_mut(refill.queue) {
            state.refilled(refill, rows, end, |row| handed_out.contains(row.id) || probation.holds(row.id));
            self.note(refill.queue);
            self.wake(refill.queue);
        }
    }

    /// The aged rows that an [`AgedRefill`](crate::job::AgedRefill) of this queue and worker requested.
    pub fn aged_read(&mut self, (queue, worker): (QueueId, u64), page: AgedPage) {
        let Self { queues, handed_out, probation, .. } = self;
        if let Some(state) = queues.get_mut(queue) {
            state.aged_read(page, worker, |row| handed_out.contains(row.id) || probation.holds(row.id));
            self.note(queue);
            self.wake(queue);
        }
    }

    /// Requests a page of aged rows again that could not be read.
    pub fn request_aged_again(&mut self, (queue, worker): (QueueId, u64)) {
        self.queues.get_or_make(queue).aged_failed(worker);
        self.note(queue);
        self.wake(queue);
    }

    /// Requests a page again that could not be read.
    pub fn request_again(&mut self, refill: Refill) {
        self.queues.get_or_make(refill.queue).page_failed(refill.grouped);
        self.note(refill.queue);
        self.wake(refill.queue);
    }

    /// Adds a queue that has rows when the file is opened.
    pub fn restore(&mut self, queue: QueueId, paused: bool, steered: Option<Arc<Steered>>, now: Now) {
        let state = self.queues.get_or_make(queue);
        state.paused = paused;
        state.steer(steered);
        state.restart();
        state.unknown_due();
        self.set_rates(queue, now);
        self.attend_suspects(queue);
        self.note(queue);
    }

    /// Starts the probation after a crash, for the jobs that were running when the process died. The next `careful` starts
    /// of other jobs are made durable before their handlers are called.
    pub fn restore_crashed(&mut self, trial: Trial, careful: usize) {
        self.probation.begin(careful, trial);
        for queue in self.queues.ids() {
            self.attend_suspects(queue);
        }
    }

    /// Tells probation which suspects of this queue can be started, after its worker or its pause has changed.
    pub(super) fn attend_suspects(&mut self, queue: QueueId) {
        let Self { probation, queues, .. } = self;
        probation.check_again();
        probation.attend(queue, |kind| queues.get(queue).is_some_and(|state| state.handles(kind)));
    }

    /// Jobs that were running when the process died and have not been started since.
    pub fn suspects(&self) -> Vec<(QueueId, Arc<ReadyJob>)> {
        self.probation.suspects().map(|(queue, job)| (queue, job.clone())).collect()
    }
}
