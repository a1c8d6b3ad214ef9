//! Takes in what has changed: committed changes, a reopened file, and what the file says when it is opened.

use std::sync::Arc;
use std::time::Duration;

use super::{HandedOut, Scheduler};
use crate::job::{BucketKey, BucketState, Change, JobId, QueueId, ReadyJob, Refill, Trial};
use crate::time::Now;

impl Scheduler {
    /// Takes in what a commit has changed. Must be called in commit order. Returns whether the dispatcher has something
    /// to do.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> bool {
        for change in changes {
            self.apply_one(change);
        }
        self.restless || !self.turns.is_empty() || self.threads.is_waited_for(self.handed_out.blocking())
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
                self.queues.get_or_make(queue).gone(grouped, order, id);
                self.note(queue);
                if self.probation.holds(id) {
                    // Its slot is free for others.
                    self.probation.gone(id);
                    self.wake(queue);
                }
                self.withdrawn.entry(id).and_modify(|held| *held = None);
            }
            Change::Settled { id } => {
                if let Some(handed) = self.settle(id) {
                    self.queues.get_or_make(handed.queue).settled(handed.grouped, id);
                }
            }
            Change::Returned { job } => {
                if let Some(handed) = self.settle(job.id) {
                    self.queues.get_or_make(handed.queue).arrive(job, false);
                    self.wake(handed.queue);
                }
            }
            Change::Due { queue, due } => {
                self.restless |= self.queues.get_or_make(queue).due_at(due);
                self.note(queue);
            }
            Change::Promoted { queue, next_due } => {
                self.queues.get_or_make(queue).promoted(next_due);
                self.note(queue);
                self.restless = true;
            }
            Change::Paused { queue, paused } => {
                self.queues.get_or_make(queue).paused = paused;
                self.attend_suspects(queue);
                self.wake(queue);
            }
            Change::Reserved { key, tokens } => {
                self.buckets.granted(&key, tokens);
                self.reservation_answered(&key);
            }
            Change::Limited { key, until } => {
                self.buckets.hold(&key, until);
                self.wake(key.queue);
                self.restless = true;
            }
        }
    }

    /// Whether the job was handed out or is a suspect: then it must not be started from its table.
    fn is_taken(&self, id: JobId) -> bool {
        self.handed_out.contains(id) || self.probation.holds(id)
    }

    pub(super) fn settle(&mut self, id: JobId) -> Option<HandedOut> {
        let handed = self.handed_out.settle(id)?;
        if !handed.finished {
            self.wake(handed.queue);
        }
        if self.probation.is_active() {
            self.probation.ended(id);
            self.restless = true;
        }
        Some(handed)
    }

    /// A commit that was to change the queue has failed: its tables are to be read again.
    pub fn look_again(&mut self, queue: QueueId) {
        let state = self.queues.get_or_make(queue);
        state.restart();
        state.promotion_failed();
        self.note(queue);
        self.wake(queue);
        self.restless = true;
    }

    /// Nothing starts until [`Self::resume`].
    pub fn suspend(&mut self) {
        self.suspended = true;
    }

    /// The file was opened again, and only the file knows whether its last commit was made: what is in memory of its rows
    /// is read anew. `queues` are the queues that it has, and whether they are paused; `gone` are suspects that are no
    /// longer where they were.
    pub fn resume(&mut self, queues: impl IntoIterator<Item = (QueueId, bool)>, gone: &[JobId]) {
        self.suspended = false;
        for id in gone {
            self.probation.gone(*id);
        }
        for queue in self.queues.ids() {
            self.look_again(queue);
        }
        for (queue, paused) in queues {
            self.restore(queue, paused);
        }
        // Whether the start marks were written is not known either: they are written again.
        for handed in self.handed_out.iter_mut() {
            handed.marked = false;
        }
        self.probation.marks_are_lost();
        self.mark_at = Some(Duration::ZERO);
    }

    /// A page could not be read.
    pub fn look_again_later(&mut self, refill: Refill) {
        self.queues.get_or_make(refill.queue).page_failed(refill.grouped);
        self.note(refill.queue);
        self.wake(refill.queue);
    }

    pub fn refuse_reservation(&mut self, key: &BucketKey) {
        self.buckets.refused(key);
        self.reservation_answered(key);
    }

    /// A queue that has rows when the file is opened.
    pub fn restore(&mut self, queue: QueueId, paused: bool) {
        let state = self.queues.get_or_make(queue);
        state.paused = paused;
        state.restart();
        state.unknown_due();
        self.attend_suspects(queue);
        self.note(queue);
    }

    /// Jobs that were running when the process died are tried as probation says. The next `careful` starts are made
    /// durable before their handlers are called.
    pub fn restore_crashed(&mut self, trial: Trial, careful: usize) {
        self.probation.begin(careful, trial);
        for queue in self.queues.ids() {
            self.attend_suspects(queue);
        }
    }

    /// The kinds that this queue's worker handles have changed: probation learns which suspects can be tried.
    pub(super) fn attend_suspects(&mut self, queue: QueueId) {
        let Self { probation, queues, .. } = self;
        probation.attend(queue, |kind| queues.get(queue).is_some_and(|state| state.takes(kind)));
    }

    /// What the file says of a bucket, and whether the process that wrote it died.
    pub fn restore_bucket(&mut self, key: BucketKey, state: BucketState, crashed: bool, now: Now) {
        self.buckets.restore(key, state, crashed, now);
    }

    /// Jobs that ran when the process died and have not been tried since.
    pub fn suspects(&self) -> Vec<(QueueId, Arc<ReadyJob>)> {
        self.probation.suspects().map(|(queue, job)| (queue, job.clone())).collect()
    }
}
