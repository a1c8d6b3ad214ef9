//! One write transaction while it is built: the rows that it changes, the counters, and what the rest of the queue is
//! told after the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redb::WriteTransaction;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::events::Event;
use crate::job::{BucketKey, BucketState, Caller, Change, EndedJob, JobId, KindId, QueueId, Record, Topics};
use crate::storage::rows::catalog::{Catalog, NewNames};
use crate::storage::rows::codec;
use crate::storage::rows::expiry::NotedExpiries;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::flow_rows::FlowRows;
use crate::storage::rows::flow_times::NotedFlows;
use crate::storage::rows::queue_row::QueueRow;
use crate::storage::rows::schedule_times::NotedSchedules;
use crate::storage::rows::stream_rows::{StreamNews, StreamRows};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;
use crate::storage::rows::tables_ext::{RowTable, group_row_key};
use crate::storage::rows::tally::Tally;
use crate::storage::rows::topics::Publishes;
use crate::storage::rows::unreadable::Unreadable;
use crate::time::{Now, SavedTime};

/// What concerns the whole file and changes with nearly every commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// The next job's id. Only ever grows: ids are never used again.
    pub next_id: u64,
    /// The next group head's position, or the number of the next opening. Only ever grows.
    pub next_position: u64,
    /// Where the time lines stood at the last commit.
    pub time: SavedTime,
    /// The file was closed with nothing running.
    pub clean: bool,
}

impl Default for Counters {
    fn default() -> Self {
        Self { next_id: 1, next_position: 1, time: SavedTime::default(), clean: true }
    }
}

pub(in crate::storage) const COUNTERS: &str = "counters";

/// About how many bytes of records one commit moves. They are in memory until the commit, and all other callers wait
/// for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// One command of many jobs ends with the row that reaches this.
    pub moved_at_once: u64,
    /// A command that removes many rows ends with the row that reaches this. The rows are not held in memory, but each
    /// one is read.
    pub removed_at_once: u64,
    /// Commands share a batch until it has moved this: the others wait for the next batch, in order. A closure can
    /// enqueue as much again, which is not known before it has run.
    pub shared: u64,
    /// Commands of many jobs share it only until it has moved this: neither memory nor others' waiting grows with their
    /// number.
    pub shared_in_bulk: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { moved_at_once: 8 << 20, removed_at_once: 32 << 20, shared: 32 << 20, shared_in_bulk: 16 << 20 }
    }
}

impl BatchLimits {
    /// The limits of a simulation, whose disk has no room for large jobs.
    pub fn small(bytes: u64) -> Self {
        Self { moved_at_once: bytes, removed_at_once: bytes, shared: 4 * bytes, shared_in_bulk: 2 * bytes }
    }
}

/// One write transaction that is being built: its tables, opened when they are needed, and what it will have changed
/// once it is durable.
pub(crate) struct Batch<'t> {
    pub(in crate::storage) tables: Tables<'t>,
    txn: &'t WriteTransaction,
    catalog: &'t Catalog,
    pub now: Now,
    pub counters: Counters,
    rows: BTreeMap<QueueId, Touched>,
    /// Queues that have no row after this batch.
    removed: Vec<QueueId>,
    /// No command that looks up a name may join the batch any more, because it has changed which queue has which name.
    is_closed: bool,
    names: NewNames<'t>,
    /// What dispatch must hear of, in order.
    pub changes: Vec<Change>,
    /// What listeners must hear of, in order.
    pub events: Vec<Event>,
    /// The callers that enqueued the jobs that it has stored, as far as they are known.
    pub(in crate::storage) callers: Vec<(JobId, Caller)>,
    /// The running jobs whose cancel it has made durable, with the reasons.
    pub(in crate::storage) cancels: Vec<(JobId, Arc<str>)>,
    /// Whether callers wait for the ends of jobs: without one, no ends are noted.
    pub awaited: bool,
    /// The jobs that it has ended, if they are noted.
    ends: Vec<EndedJob>,
    /// Whether there are listeners: without one, no events are made.
    pub listening: bool,
    /// Jobs that were not stored, because one with their key was there.
    pub deduplicated: u64,
    marks: &'t BTreeSet<JobId>,
    pub(in crate::storage) marked: Vec<JobId>,
    pub(in crate::storage) unmarked: Vec<JobId>,
    /// How many rows were moved to the quarantine.
    pub(in crate::storage) quarantined_rows: u64,
    /// Rows that the present verb could not read.
    pub(in crate::storage) unreadable: Vec<Unreadable>,
    pub(in crate::storage) expiries: NotedExpiries,
    pub(in crate::storage) schedules: NotedSchedules,
    /// The flows and nodes that it has read, and the ends that dependents are told of before its commit.
    pub(in crate::storage) flow_rows: FlowRows,
    pub(in crate::storage) flow_times: NotedFlows,
    /// The streams and consumers that it has read, and its new entries.
    pub(in crate::storage) stream_rows: StreamRows,
    /// All topics as this batch leaves them, if it has changed one.
    pub(in crate::storage) topics: Option<Arc<Topics>>,
    pub publishes: Publishes,
    /// Ended jobs that retention has removed.
    pub pruned: u64,
    writes: u64,
    /// Bytes of the records that it has stored or moved.
    moved_bytes: u64,
    pub limits: BatchLimits,
}

/// A queue's row as a batch leaves it.
struct Touched {
    row: QueueRow,
    /// It was changed, and is to be written.
    is_changed: bool,
}

/// What a batch leaves behind for after its commit.
#[derive(Default)]
pub(crate) struct Sealed {
    /// It wrote something: there is a commit to be made.
    pub writes: bool,
    pub counters: Counters,
    pub rows: BTreeMap<QueueId, QueueRow>,
    /// Queues that the file does not have any more.
    pub removed: Vec<QueueId>,
    /// Kinds that the file has from now on.
    pub kinds: Vec<KindId>,
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
    pub callers: Vec<(JobId, Caller)>,
    pub cancels: Vec<(JobId, Arc<str>)>,
    pub ends: Vec<EndedJob>,
    pub deduplicated: u64,
    pub marked: Vec<JobId>,
    pub unmarked: Vec<JobId>,
    pub quarantined_rows: u64,
    pub expiries: NotedExpiries,
    pub schedules: NotedSchedules,
    pub flows: NotedFlows,
    pub streams: StreamNews,
    /// All topics, if one was changed.
    pub topics: Option<Arc<Topics>>,
    pub publishes: Publishes,
    pub pruned: u64,
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
            removed: Vec::new(),
            is_closed: false,
            names: NewNames::new(catalog),
            changes: Vec::new(),
            events: Vec::new(),
            callers: Vec::new(),
            cancels: Vec::new(),
            awaited: false,
            ends: Vec::new(),
            listening,
            deduplicated: 0,
            marks,
            marked: Vec::new(),
            unmarked: Vec::new(),
            quarantined_rows: 0,
            unreadable: Vec::new(),
            expiries: NotedExpiries::default(),
            schedules: NotedSchedules::default(),
            flow_rows: FlowRows::default(),
            flow_times: NotedFlows::default(),
            stream_rows: StreamRows::default(),
            topics: None,
            publishes: Publishes::default(),
            pruned: 0,
            writes: 0,
            moved_bytes: 0,
            limits: BatchLimits::default(),
        }
    }

    /// The counters as they are in the file, before this batch is sealed.
    pub fn counters_in_file(&mut self) -> Result<Option<Counters>, Fault> {
        let row = self.tables.meta()?.get_row(COUNTERS)?;
        row.map(|row| codec::decode(TableName::Meta, 1, &row)).transpose()
    }

    pub fn with_limits(self, limits: BatchLimits) -> Self {
        Self { limits, ..self }
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

    /// A number for this opening of the file. It comes from the counter of positions of group heads, which are allowed
    /// to have gaps.
    pub fn next_opening(&mut self) -> u64 {
        let opening = self.counters.next_position;
        self.counters.next_position += 1;
        opening
    }

    /// The next id, or the next place in a group for a job that has an id already.
    pub fn next_number(&mut self) -> u64 {
        let number = self.counters.next_id;
        self.counters.next_id += 1;
        number
    }

    pub fn touch(&mut self) {
        self.writes += 1;
    }

    /// Whether this batch has written the end of the job's attempt, which dispatch is told after the commit.
    pub fn has_returned(&self, id: JobId) -> bool {
        self.changes.iter().any(|change| match change {
            Change::Settled { id: settled } => *settled == id,
            Change::Returned { job } => job.id == id,
            _ => false,
        })
    }

    /// How many bytes of records it has stored or moved: about as many are held until its commit.
    pub fn moved_bytes(&self) -> u64 {
        self.moved_bytes
    }

    pub(in crate::storage) fn moved(&mut self, bytes: usize) {
        self.moved_bytes += bytes as u64;
    }

    /// The queue's row as this batch leaves it, to be read.
    pub fn queue(&self, queue: QueueId) -> QueueRow {
        self.rows.get(&queue).map_or_else(|| self.catalog.row(queue), |touched| touched.row.clone())
    }

    /// The queue's row as this batch leaves it, without a copy.
    pub fn queue_ref(&mut self, queue: QueueId) -> &QueueRow {
        &self.touched(queue).row
    }

    fn touched(&mut self, queue: QueueId) -> &mut Touched {
        let catalog = self.catalog;
        self.rows.entry(queue).or_insert_with(|| Touched { row: catalog.row(queue), is_changed: false })
    }

    /// The queue's row, to be changed.
    pub fn queue_mut(&mut self, queue: QueueId) -> &mut QueueRow {
        self.writes += 1;
        let touched = self.touched(queue);
        touched.is_changed = true;
        &mut touched.row
    }

    /// Whether no command that looks up a name may join the batch any more.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether this batch has removed the queue's row.
    pub(in crate::storage) fn is_removed(&self, queue: QueueId) -> bool {
        self.removed.contains(&queue)
    }

    /// Removes a queue's row, of which nothing else is left in the file. The number is free after the commit.
    pub(in crate::storage) fn remove_queue_row(&mut self, queue: QueueId) {
        self.touch();
        self.rows.remove(&queue);
        self.removed.push(queue);
        self.is_closed = true;
        self.changes.push(Change::QueueRemoved { queue, now: self.now });
    }

    /// Gives a queue that is in the file another name.
    ///
    /// # Errors
    /// [`Error::QueueInUse`], [`Error::QueueExists`].
    pub(in crate::storage) fn rename_queue_row(&mut self, queue: QueueId, to: &Arc<str>) -> Result<(), Error> {
        self.names.rename(queue, to)?;
        self.queue_mut(queue).name = to.clone();
        self.is_closed = true;
        Ok(())
    }

    /// The number of the queue of this name, to store something in it.
    ///
    /// # Errors
    /// It is a new one, and the file has as many as it may have.
    pub fn queue_named(&mut self, name: &str) -> Result<QueueId, Error> {
        self.names.queue(name)
    }

    /// The number of the queue of this name, if it has one.
    pub fn find_queue(&self, name: &str) -> Option<QueueId> {
        self.names.find_queue(name)
    }

    pub(in crate::storage) fn kind_named(&mut self, name: &str) -> Result<KindId, Error> {
        self.names.kind(name)
    }

    /// How many new names it has, for [`Self::forget_names_since`].
    pub fn new_names(&self) -> (usize, usize) {
        self.names.mark()
    }

    /// Nothing is stored under the names that are newer than `mark`: their numbers can be given to other names, also in
    /// this batch.
    pub fn forget_names_since(&mut self, mark: (usize, usize)) {
        for queue in self.names.forget_since(mark) {
            self.rows.remove(&queue);
        }
    }

    /// Does this with new jobs, and forgets their new names if it fails.
    pub fn forgetting_names<T>(&mut self, write: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let names = self.new_names();
        let written = write(self);
        if written.is_err() {
            self.forget_names_since(names);
        }
        written
    }

    pub(in crate::storage) fn stored_kind(&mut self, kind: KindId) {
        self.names.stored(kind);
    }

    pub(in crate::storage) fn tally(&mut self, queue: QueueId) -> &mut Tally {
        &mut self.queue_mut(queue).tally
    }

    pub(in crate::storage) fn is_marked(&self, id: JobId) -> bool {
        self.marks.contains(&id) || self.marked.contains(&id)
    }

    pub fn event(&mut self, event: impl FnOnce() -> Event) {
        if self.listening {
            self.events.push(event());
        }
    }

    /// Notes that a job has ended with this record, for the callers that wait for it; without one if it was deleted.
    pub fn note_end(&mut self, queue: QueueId, id: JobId, record: impl FnOnce() -> Option<Record>) {
        if self.awaited {
            self.ends.push(EndedJob { id, queue, record: record() });
        }
    }

    /// Stores a bucket: tokens taken out of it may be used once this is durable. Without a state its row is
    /// removed.
    pub fn put_rate(&mut self, key: &BucketKey, state: Option<&BucketState>) -> Result<(), Fault> {
        self.touch();
        let row = group_row_key(key);
        let Some(state) = state else {
            self.tables.rates()?.remove(row)?;
            return Ok(());
        };
        // A number in the file without its name would be another queue's after a restart.
        if !self.catalog.is_stored(key.queue) {
            if !self.names.hold_queue(key.queue) {
                // The queue's worker was stopped, and nothing of the queue is stored.
                return Ok(());
            }
            self.queue_mut(key.queue);
        }
        self.tables.rates()?.insert(row, codec::encode(state).as_slice())?;
        Ok(())
    }

    pub fn create_tables(&mut self) -> Result<(), Fault> {
        self.touch();
        self.tables.create_all()
    }

    /// What is left of a batch that wrote nothing: its events and changes still count.
    pub fn discard(self) -> Sealed {
        Sealed {
            counters: self.counters,
            changes: self.changes,
            events: self.events,
            deduplicated: self.deduplicated,
            expiries: self.expiries,
            schedules: self.schedules,
            flows: self.flow_times,
            publishes: self.publishes,
            ..Sealed::default()
        }
    }

    /// Writes the rows that were kept in memory until now, but those of flows.
    pub(in crate::storage) fn seal(mut self) -> Result<Sealed, Fault> {
        self.tables.write_arrivals()?;
        let streams = self.write_stream_rows()?;
        self.counters.time = self.counters.time.and(self.now);
        self.rows.retain(|_, touched| touched.is_changed);
        for id in &self.removed {
            self.tables.queues()?.remove(id)?;
        }
        for (id, Touched { row, .. }) in &self.rows {
            self.tables.queues()?.insert(id, codec::encode(row).as_slice())?;
        }
        for id in self.names.stored_kinds() {
            self.tables.kinds()?.insert(id, self.catalog.kind_name(*id).as_bytes())?;
        }
        let counters = codec::encode(&self.counters);
        self.tables.meta()?.insert(COUNTERS, counters.as_slice())?;
        let kinds = self.names.keep(|queue| self.rows.contains_key(&queue));
        Ok(Sealed {
            writes: true,
            counters: self.counters,
            rows: self.rows.into_iter().map(|(id, touched)| (id, touched.row)).collect(),
            removed: self.removed,
            kinds,
            changes: self.changes,
            events: self.events,
            callers: self.callers,
            cancels: self.cancels,
            ends: self.ends,
            deduplicated: self.deduplicated,
            marked: self.marked,
            unmarked: self.unmarked,
            quarantined_rows: self.quarantined_rows,
            expiries: self.expiries,
            schedules: self.schedules,
            flows: self.flow_times,
            streams,
            topics: self.topics,
            publishes: self.publishes,
            pruned: self.pruned,
        })
    }
}
