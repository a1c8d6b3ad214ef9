//! The order in which a queue's jobs are dispatched, and the changes that a commit makes to jobs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Caller, JobId, KindId, QueueId, Record, Steered};
use crate::time::{Due, Now, Timestamp};

/// A place in a queue's dispatch order: priority, then `position`.
///
/// For a job without a group `position` is its id, so the order is that of enqueueing. For a group's
/// head it is a number drawn when it became the head, so groups take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Order {
    pub priority: u8,
    pub position: u64,
}

impl Order {
    /// Its place in dispatch order, in which the newest of equally urgent rows come first or the oldest. The place of a place is the
    /// order again.
    pub fn place(self, newest_first: bool) -> Self {
        if newest_first { Self { position: !self.position, ..self } } else { self }
    }

    /// The last place before this one, if there is any.
    pub fn before(self) -> Option<Self> {
        let Self { priority, position } = self;
        match (position.checked_sub(1), priority.checked_sub(1)) {
            (Some(position), _) => Some(Self { priority, position }),
            (None, Some(priority)) => Some(Self { priority, position: u64::MAX }),
            (None, None) => None,
        }
    }
}

/// A ready job: what the windows choose by, what the executor runs, what the writer takes out again.
/// Made once and shared from there on.
#[derive(Debug)]
pub(crate) struct ReadyJob {
    pub id: JobId,
    pub order: Order,
    /// Its record as in the file.
    pub record: Record,
    /// How many bytes the record takes there.
    pub bytes: u32,
    /// The span in which it was enqueued, if it has not left memory since.
    pub caller: Option<Caller>,
}

impl ReadyJob {
    pub fn new(id: JobId, position: u64, record: Record, bytes: usize) -> Self {
        let order = Order { priority: record.priority.get(), position };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { id, order, record, bytes, caller: None }
    }

    pub fn kind(&self) -> KindId {
        self.record.kind
    }

    pub fn group(&self) -> Option<&Arc<str>> {
        self.record.group()
    }

    pub fn is_grouped(&self) -> bool {
        self.group().is_some()
    }

    /// It was running when the process died: its start is made durable before it runs.
    pub fn is_suspect(&self) -> bool {
        self.record.crashes() > 0
    }
}

/// What a commit has changed, as far as dispatch is concerned.
#[derive(Debug)]
pub(crate) enum Change {
    /// A job may start: enqueued, promoted, or a head of its group now.
    Ready {
        queue: QueueId,
        job: Arc<ReadyJob>,
    },
    /// A waiting job left the ready rows: cancelled, changed, or put off.
    Gone {
        queue: QueueId,
        grouped: bool,
        order: Order,
        id: JobId,
    },
    /// An entry of a stream that the consumer of this queue had in memory is a job from now on, and its cursor has passed it.
    EntryIsJob {
        queue: QueueId,
        id: JobId,
    },
    /// This group is paused. Only told if there are consumers of streams.
    GroupPaused {
        queue: QueueId,
        group: Arc<str>,
    },
    /// Nothing of this group is left. Only told if there are consumers of streams.
    GroupEmpty {
        queue: QueueId,
        group: Arc<str>,
    },
    /// The consumer of this queue was moved: it reads its cursor again.
    ConsumerMoved {
        queue: QueueId,
    },
    /// A taken job's end is durable, and its old place is empty.
    Settled {
        id: JobId,
    },
    /// A taken job is back at its old place.
    Returned {
        job: Arc<ReadyJob>,
    },
    /// Something of this queue is due then.
    Due {
        queue: QueueId,
        due: Due,
    },
    /// Due jobs were made ready. `next_due` is the earliest left on either time line.
    Promoted {
        queue: QueueId,
        next_due: [Option<Due>; 2],
    },
    Paused {
        queue: QueueId,
        paused: bool,
    },
    /// An operator has set limits of the queue, or has paused or resumed a kind.
    Steered {
        queue: QueueId,
        steered: Arc<Steered>,
        now: Now,
    },
    /// All queues are paused or resumed.
    AllPaused {
        paused: bool,
    },
    /// Nothing of this queue is left in the file. Its number can be given to another queue.
    QueueRemoved {
        queue: QueueId,
        now: Now,
    },
    /// These tokens may be used: that they are taken is durable.
    Reserved {
        key: BucketKey,
        tokens: u32,
    },
    /// Nothing of this bucket starts before `until`.
    Limited {
        key: BucketKey,
        until: Now,
    },
    /// The circuit of this queue or group is open, and half open after `until`.
    CircuitOpened {
        key: BucketKey,
        until: Now,
    },
    /// The circuit of this queue or group is closed.
    CircuitClosed {
        key: BucketKey,
    },
}

/// A job that has ended, for the callers that wait for that.
#[derive(Clone, Debug)]
pub(crate) struct EndedJob {
    pub id: JobId,
    pub queue: QueueId,
    /// As it is kept, or would be. `None` if nothing of it is left: it was deleted, or its end was not noted.
    pub record: Option<Record>,
}

/// A page of rows to be read for dispatch: rows of `queue` behind `after`, in dispatch order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refill {
    pub queue: QueueId,
    pub grouped: bool,
    /// Of equally urgent rows, the one with the highest position comes first.
    pub newest_first: bool,
    pub after: Option<Order>,
    pub jobs_max: usize,
    pub bytes_max: usize,
}

/// A queue's token bucket or circuit, or that of one of its groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BucketKey {
    pub queue: QueueId,
    pub group: Option<Arc<str>>,
}

/// A bucket as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BucketState {
    pub tokens: f64,
    /// When it held that many, on the age line.
    pub at: Timestamp,
    pub held_until: Option<Timestamp>,
}
