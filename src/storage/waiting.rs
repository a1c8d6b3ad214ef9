//! Jobs that could run: into `ready`, out of it, and in between.

use bytes::Bytes;

use super::batch::Batch;
use super::codec::{decode_record, encode_record};
use super::fault::Fault;
use super::place::Place;
use super::settings::Tally;
use super::tables_ext::RowTable;
use crate::error::Error;
use crate::job::{Change, Entry, JobId, Order, QueueId, Record, State};

/// A job ready to be stored: encoded on its caller's thread, so that the writer only copies bytes.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub queue: QueueId,
    pub record: Record,
    pub bytes: Bytes,
    pub span: Option<tracing::Span>,
}

impl Prepared {
    pub fn new(queue: QueueId, record: Record, span: Option<tracing::Span>) -> Self {
        let bytes = encode_record(&record);
        Self { queue, record, bytes, span }
    }
}

/// The entry by which a stored job is dispatched.
pub(crate) fn entry(id: JobId, turn: u64, record: &Record, bytes: Bytes) -> Entry {
    Entry {
        id,
        order: Order { priority: record.priority.get(), turn },
        kind: record.kind,
        group: record.group().cloned(),
        expires_at: record.expires_at(),
        suspect: record.crashes() > 0,
        record: bytes,
        span: None,
    }
}

impl Batch<'_> {
    /// Whether the queue has room for one more job.
    pub fn admit(&mut self, job: &Prepared) -> Result<(), Error> {
        self.room_for(job.queue, 1, job.bytes.len() as u64)
    }

    /// Whether the queue has room for so much more.
    pub fn room_for(&mut self, queue: QueueId, jobs: u64, bytes: u64) -> Result<(), Error> {
        let row = self.queue_ref(queue);
        let tally = &row.tally;
        if row.settings.capacity.admits(tally.unfinished() + jobs, tally.bytes + bytes) {
            return Ok(());
        }
        Err(Error::QueueFull { queue: row.name.to_string(), jobs: tally.unfinished(), bytes: tally.bytes })
    }

    /// Stores a new job and gives it its id.
    pub fn insert(&mut self, job: &Prepared) -> Result<JobId, Fault> {
        let id = JobId::new(self.next_number());
        self.tally(job.queue).enqueued_total += 1;
        self.insert_as(id, id.get(), job)?;
        Ok(id)
    }

    /// The next id, or the next place in line of a job that has an id already.
    pub fn next_number(&mut self) -> u64 {
        let number = self.counters.next_id;
        self.counters.next_id += 1;
        number
    }

    /// Stores a job under an id that it has already; `seq` is its place in line, if it has a group.
    pub fn insert_as(&mut self, id: JobId, seq: u64, job: &Prepared) -> Result<(), Fault> {
        let Prepared { queue, record, bytes, span } = job;
        let queue = *queue;
        let waits = record.due().filter(|due| !due.is_due(self.now));
        // A member of a group is pending once it becomes the head, whatever the time.
        let counts_as = match (waits, record.group()) {
            (None, None) => State::Pending,
            _ => record.state,
        };
        let tally = self.tally(queue);
        tally.bytes += bytes.len() as u64;
        *waiting_count(tally, counts_as) += 1;
        match (record.group(), waits) {
            (Some(_), _) => self.join_group(queue, id, seq, record, bytes.clone()),
            (None, Some(due)) => self.put_delayed(queue, id, due, bytes),
            (None, None) => {
                let entry = Entry { span: span.clone(), ..entry(id, id.get(), record, bytes.clone()) };
                self.put_ready(queue, entry)
            }
        }
    }

    pub(super) fn put_ready(&mut self, queue: QueueId, entry: Entry) -> Result<(), Fault> {
        let key = (queue, entry.order.priority, entry.id.get());
        self.tables.ready()?.insert(key, &*entry.record)?;
        self.changes.push(Change::Ready { queue, entry });
        Ok(())
    }

    /// Takes a job that was handed out from its place for good. False if it was not there.
    pub fn take_out(&mut self, queue: QueueId, entry: &Entry) -> Result<bool, Fault> {
        self.touch();
        let gone = match &entry.group {
            None => {
                let key = (queue, entry.order.priority, entry.id.get());
                self.tables.ready()?.remove(key)?.is_some()
            }
            Some(_) => {
                let head = (queue, entry.order.priority, entry.order.turn);
                self.tables.heads()?.remove(head)?;
                self.leave_group(queue, entry.id)?
            }
        };
        if gone {
            let bytes = entry.record.len() as u64;
            let tally = self.tally(queue);
            tally.pending = tally.pending.saturating_sub(1);
            tally.bytes = tally.bytes.saturating_sub(bytes);
        }
        self.unmark(entry.id)?;
        Ok(gone)
    }

    /// Gives a job that was handed out back to its place, rewritten if it has `changed`.
    /// False if it is held there by a paused group.
    pub fn put_back(&mut self, queue: QueueId, taken: Entry, changed: Option<&Record>) -> Result<bool, Fault> {
        self.touch();
        self.unmark(taken.id)?;
        let id = taken.id;
        let back = match changed {
            None => taken,
            Some(record) => {
                let bytes = encode_record(record);
                let tally = self.tally(queue);
                tally.bytes = (tally.bytes + bytes.len() as u64).saturating_sub(taken.record.len() as u64);
                let order = taken.order;
                Entry { order, span: taken.span, ..entry(id, order.turn, record, bytes) }
            }
        };
        match &back.group {
            None => {
                let key = (queue, back.order.priority, id.get());
                self.tables.ready()?.insert(key, &*back.record)?;
            }
            Some(_) => {
                if !self.return_head(queue, &back)? {
                    self.changes.push(Change::Settled { id });
                    return Ok(false);
                }
            }
        }
        self.changes.push(Change::Returned { id, entry: back });
        Ok(true)
    }

    /// Takes a waiting job out of wherever it waits, and returns its record.
    pub fn take_waiting(&mut self, queue: QueueId, id: JobId, place: &Place) -> Result<Option<Record>, Fault> {
        self.touch();
        let row = match place {
            Place::Ready { priority } => {
                let key = (queue, *priority, id.get());
                let row = self.tables.ready()?.get_row(key)?;
                self.tables.ready()?.remove(key)?;
                let order = Order { priority: *priority, turn: id.get() };
                self.changes.push(Change::Gone { queue, grouped: false, order, id });
                row
            }
            Place::Delayed { due } => self.take_delayed(queue, id, *due)?,
            Place::Member(member) => self.leave_waiting(queue, member, id)?,
            Place::Dead { .. } | Place::Finished { .. } => None,
        };
        let Some(row) = row else { return Ok(None) };
        let record = decode_record(place.table(), id.get(), &row)?;
        let waits = self.state_of(place, &record);
        let tally = self.tally(queue);
        tally.bytes = tally.bytes.saturating_sub(row.len() as u64);
        let count = waiting_count(tally, waits);
        *count = count.saturating_sub(1);
        Ok(Some(record))
    }

    /// The state that goes with a place: a job in `ready` is pending whatever it once waited for.
    pub fn state_of(&self, place: &Place, record: &Record) -> State {
        match place {
            Place::Ready { .. } => State::Pending,
            _ => record.state,
        }
    }
}

fn waiting_count(tally: &mut Tally, state: State) -> &mut u64 {
    match state {
        State::Scheduled => &mut tally.scheduled,
        State::Retrying => &mut tally.retrying,
        _ => &mut tally.pending,
    }
}

impl Place {
    pub fn table(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Delayed { .. } => "delayed",
            Self::Member(_) => "members",
            Self::Dead { .. } => "dead_letters",
            Self::Finished { .. } => "finished",
        }
    }
}
