use std::collections::{BTreeMap, BTreeSet};

use redb::WriteTransaction;
use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, QueueRow};
use super::codec;
use super::fault::Fault;
use super::settings::Tally;
use super::tables::Tables;
use crate::events::Event;
use crate::job::{BucketKey, BucketState, Change, JobId, QueueId};
use crate::time::{Now, Timestamp};

/// What concerns the whole file and changes with nearly every commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// The next job's id. Only ever grows: ids are never used again.
    pub next_id: u64,
    /// The next group head's turn.
    pub next_turn: u64,
    /// The latest time the file has seen, on the engine's time line.
    pub engine: Timestamp,
    /// The file was closed with nothing running.
    pub clean: bool,
}

impl Default for Counters {
    fn default() -> Self {
        Self { next_id: 1, next_turn: 1, engine: Timestamp::EPOCH, clean: true }
    }
}

pub(super) const COUNTERS: &str = "counters";

/// One write transaction in the making: its tables, opened as they are needed, and what it will
/// have changed once it is durable.
pub(crate) struct Batch<'t> {
    pub(super) tables: Tables<'t>,
    txn: &'t WriteTransaction,
    catalog: &'t Catalog,
    pub now: Now,
    pub counters: Counters,
    rows: BTreeMap<QueueId, QueueRow>,
    /// What dispatch must hear of, in order.
    pub changes: Vec<Change>,
    /// What listeners must hear of, in order.
    pub events: Vec<Event>,
    /// Whether anybody listens: events nobody hears are not made.
    pub listening: bool,
    /// Jobs that were not stored, because one with their key was there.
    pub deduplicated: u64,
    marks: &'t BTreeSet<JobId>,
    pub(super) marked: Vec<JobId>,
    pub(super) unmarked: Vec<JobId>,
    /// Rows set aside.
    pub(super) set_aside: u64,
    writes: u64,
}

/// What a batch leaves behind for after its commit.
pub(crate) struct Sealed {
    /// It wrote something: there is a commit to be made.
    pub writes: bool,
    pub counters: Counters,
    pub rows: BTreeMap<QueueId, QueueRow>,
    pub kinds: usize,
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
    pub deduplicated: u64,
    pub marked: Vec<JobId>,
    pub unmarked: Vec<JobId>,
    pub set_aside: u64,
}

impl<'t> Batch<'t> {
    pub fn new(
        txn: &'t WriteTransaction,
        catalog: &'t Catalog,
        counters: Counters,
        marks: &'t BTreeSet<JobId>,
        now: Now,
        listening: bool,
    ) -> Self {
        Self {
            tables: Tables::new(txn),
            txn,
            catalog,
            now,
            counters,
            rows: BTreeMap::new(),
            changes: Vec::new(),
            events: Vec::new(),
            listening,
            deduplicated: 0,
            marks,
            marked: Vec::new(),
            unmarked: Vec::new(),
            set_aside: 0,
            writes: 0,
        }
    }

    /// The transaction itself, for the app's own tables.
    pub fn txn(&self) -> &'t WriteTransaction {
        self.txn
    }

    pub fn catalog(&self) -> &'t Catalog {
        self.catalog
    }

    /// How many writes were made. A command that fails without having made one need not undo the
    /// batch.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    pub fn touch(&mut self) {
        self.writes += 1;
    }

    /// The queue's row as this batch leaves it, to be read.
    pub fn queue(&self, queue: QueueId) -> QueueRow {
        self.rows.get(&queue).cloned().unwrap_or_else(|| self.catalog.row(queue))
    }

    /// The queue's row as this batch leaves it, without a copy.
    pub fn queue_ref(&mut self, queue: QueueId) -> &QueueRow {
        let catalog = self.catalog;
        self.rows.entry(queue).or_insert_with(|| catalog.row(queue))
    }

    /// The queue's row, to be changed.
    pub fn queue_mut(&mut self, queue: QueueId) -> &mut QueueRow {
        self.writes += 1;
        let catalog = self.catalog;
        self.rows.entry(queue).or_insert_with(|| catalog.row(queue))
    }

    pub(super) fn tally(&mut self, queue: QueueId) -> &mut Tally {
        &mut self.queue_mut(queue).tally
    }

    pub(super) fn queues_with_pending(&self) -> Vec<QueueId> {
        let mut queues = self.catalog.stored_queues();
        queues.extend(self.rows.keys().filter(|id| !queues.contains(id)).copied().collect::<Vec<_>>());
        queues.retain(|&queue| self.queue(queue).tally.pending > 0);
        queues
    }

    pub(super) fn is_marked(&self, id: JobId) -> bool {
        self.marks.contains(&id) || self.marked.contains(&id)
    }

    pub fn event(&mut self, event: impl FnOnce() -> Event) {
        if self.listening {
            self.events.push(event());
        }
    }

    /// Stores a bucket: tokens taken out of it may be used once this is durable. Without a state its row is
    /// removed.
    pub fn put_rate(&mut self, key: &BucketKey, state: Option<&BucketState>) -> Result<(), Fault> {
        self.touch();
        let row = (key.queue, key.group.as_deref().unwrap_or(""));
        let Some(state) = state else {
            self.tables.rates()?.remove(row)?;
            return Ok(());
        };
        self.tables.rates()?.insert(row, codec::encode(state).as_slice())?;
        // A number in the file without its name would be another queue's after a restart.
        if !self.catalog.is_stored(key.queue) {
            self.queue_mut(key.queue);
        }
        Ok(())
    }

    pub fn create_tables(&mut self) -> Result<(), Fault> {
        self.touch();
        self.tables.create_all()
    }

    /// What is left of a batch that wrote nothing: its events and changes still count.
    pub fn discard(self) -> Sealed {
        Sealed {
            writes: false,
            counters: self.counters,
            rows: BTreeMap::new(),
            kinds: 0,
            changes: self.changes,
            events: self.events,
            deduplicated: self.deduplicated,
            marked: Vec::new(),
            unmarked: Vec::new(),
            set_aside: 0,
        }
    }

    /// Writes what was gathered along the way. The transaction is ready to be committed then.
    pub fn seal(mut self) -> Result<Sealed, Fault> {
        self.tables.write_arrivals()?;
        self.counters.engine = self.counters.engine.max(self.now.engine);
        for (id, row) in &self.rows {
            self.tables.queues()?.insert(id, codec::encode(row).as_slice())?;
        }
        let kinds = self.catalog.unsaved_kinds();
        for (id, name) in &kinds {
            self.tables.kinds()?.insert(id, name.as_bytes())?;
        }
        let counters = codec::encode(&self.counters);
        self.tables.meta()?.insert(COUNTERS, counters.as_slice())?;
        Ok(Sealed {
            writes: true,
            counters: self.counters,
            rows: self.rows,
            kinds: kinds.len(),
            changes: self.changes,
            events: self.events,
            deduplicated: self.deduplicated,
            marked: self.marked,
            unmarked: self.unmarked,
            set_aside: self.set_aside,
        })
    }
}
