//! What the scheduler returns: the jobs that may start now, and what there is to do besides.

use std::sync::Arc;
use std::time::Duration;

use super::buckets::Reservation;
use super::feed::FeedRefill;
use super::handed_out::RunId;
use crate::job::{AgedRefill, BucketKey, QueueId, ReadyJob, Refill};

/// A job that may start now.
#[derive(Debug)]
pub(crate) struct Start {
    pub run: RunId,
    pub queue: QueueId,
    pub job: Arc<ReadyJob>,
    /// The start must be durable before the handler runs.
    pub commit_first: bool,
    /// No other job runs beside it: if the process dies now, this job is to blame.
    pub alone: bool,
}

/// Jobs that may start now. The end of a job usually lets one other job start, so the first one costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    first: Option<Start>,
    others: Vec<Start>,
}

impl Starts {
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub fn push(&mut self, start: Start) {
        match self.first {
            None => self.first = Some(start),
            Some(_) => self.others.push(start),
        }
    }
}

impl IntoIterator for Starts {
    type Item = Start;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Start>, std::vec::IntoIter<Start>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.others)
    }
}

/// What there is to do besides starting jobs.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    /// Ready jobs whose expiry has passed: they end instead of starting.
    pub expired: Vec<Start>,
    /// Windows to fill from the table.
    pub refills: Vec<Refill>,
    /// Pages of jobs that have waited for long.
    pub aged: Vec<AgedRefill>,
    /// Queues with delayed jobs that are due.
    pub promote: Vec<QueueId>,
    /// Tokens that must be made durable before they are used.
    pub reserve: Vec<Reservation>,
    /// Pages of entries of streams to be read.
    pub entries: Vec<FeedRefill>,
    /// Entries that are to become jobs.
    pub held_up: Vec<(QueueId, Vec<Arc<ReadyJob>>)>,
    /// Open circuits that hold nothing any more: their rows are to be removed.
    pub forget_circuits: Vec<BucketKey>,
    /// How long until something changes without a call from outside; `None` if nothing does.
    pub wait: Option<Duration>,
    /// The wait must end exactly on time, because a rate would not be reached otherwise.
    pub is_exact: bool,
}

impl Chores {
    pub(super) fn has_some(&self) -> bool {
        !self.expired.is_empty()
            || !self.refills.is_empty()
            || !self.aged.is_empty()
            || !self.entries.is_empty()
            || !self.held_up.is_empty()
            || !self.reserve.is_empty()
            || !self.forget_circuits.is_empty()
    }
}
