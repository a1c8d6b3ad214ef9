//! Jobs that could run: into `ready`, out of it, and in between.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::events::Event;
use crate::job::{Change, JobId, Order, QueueId, ReadyJob, Record, State};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{decode_record, encode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;
use crate::storage::rows::prepared::{NewJobNames, Prepared};
use crate::storage::rows::tables::ReadyKey;
use crate::storage::rows::tables_ext::RowTable;

fn ready_key(queue: QueueId, entry: &ReadyJob) -> ReadyKey {
    (queue, entry.order.priority, entry.id.get())
}

impl Batch<'_> {
    /// Gives names that the file does not have their numbers: to be done before anything else with a new job. What is
    /// undone gives them back, so it is done again in the next batch.
    ///
    /// # Errors
    /// The file has as many queues or kinds as it may have.
    pub fn resolve(&mut self, job: &mut Prepared) -> Result<(), Error> {
        match job.names.as_deref().cloned() {
            None => Ok(()),
            Some(names) => self.give_numbers(job, &names),
        }
    }

    fn give_numbers(&mut self, job: &mut Prepared, names: &NewJobNames) -> Result<(), Error> {
        if let Some(queue) = &names.queue {
            job.queue = self.queue_named(queue)?;
        }
        if let Some(kind) = &names.kind {
            job.set_kind(self.kind_named(kind)?);
        }
        Ok(())
    }

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
        Err(self.full(queue))
    }

    /// What a caller is told that finds no room in the queue.
    pub fn full(&mut self, queue: QueueId) -> Error {
        let row = self.queue_ref(queue);
        Error::QueueFull { queue: row.name.to_string(), jobs: row.tally.unfinished(), bytes: row.tally.bytes }
    }

    /// Stores a new job, whose key is free if it has one, and gives it its id.
    pub fn insert(&mut self, job: &mut Prepared) -> Result<JobId, Fault> {
        let id = JobId::new(self.next_number());
        self.tally(job.queue).enqueued_total += 1;
        self.insert_as(id, id.get(), job)?;
        if job.names.is_some() {
            self.stored_kind(job.record().kind);
        }
        self.claim_key(id, job)?;
        if self.listening {
            let (queue, kind) = (self.catalog().queue_name(job.queue), self.catalog().kind_name(job.record().kind));
            self.event(|| Event::Enqueued { id, queue, kind });
        }
        Ok(id)
    }

    /// The next id, or the next place in line of a job that has an id already.
    pub fn next_number(&mut self) -> u64 {
        let number = self.counters.next_id;
        self.counters.next_id += 1;
        number
    }

    /// Stores a job under an id that it has already; `seq` is its place in line, if it has a group.
    pub fn insert_as(&mut self, id: JobId, seq: u64, job: &mut Prepared) -> Result<(), Fault> {
        let (queue, bytes) = (job.queue, job.bytes.len() as u64);
        let record = job.record();
        let waits = record.due().filter(|due| !due.is_due(self.now));
        let grouped = record.group().is_some();
        // A member of a group is pending once it becomes the head, whatever the time.
        let counts_as = if waits.is_none() && !grouped { State::Pending } else { record.state };
        let tally = self.tally(queue);
        tally.bytes += bytes;
        *tally.count_mut(counts_as) += 1;
        self.index_expiry(queue, id, job.record())?;
        if let Some(caller) = job.caller() {
            self.callers.push((id, caller));
        }
        match waits {
            _ if grouped => self.join_group(queue, id, seq, job.record(), job.bytes.clone()),
            Some(due) => self.put_delayed(queue, id, due, &job.bytes),
            None => {
                let entry = job.entry(id);
                self.put_ready(queue, entry, &job.bytes);
                Ok(())
            }
        }
    }

    pub(in crate::storage) fn put_ready(&mut self, queue: QueueId, entry: Arc<ReadyJob>, bytes: &Bytes) {
        self.moved(bytes.len());
        self.tables.arriving.push(ready_key(queue, &entry), bytes.clone());
        self.changes.push(Change::Ready { queue, job: entry });
    }

    /// Takes a job that was handed out from its place for good. False if it was not there.
    pub fn take_out(&mut self, queue: QueueId, entry: &ReadyJob) -> Result<bool, Fault> {
        self.touch();
        let gone = match entry.group() {
            None => self.tables.ready()?.remove(ready_key(queue, entry))?.is_some(),
            Some(_) => {
                // Its head's row last: it tells which position it had, if the group's own cannot be read.
                let was_there = self.leave_group(queue, entry.id)?;
                let head = (queue, entry.order.priority, entry.order.position);
                self.tables.heads()?.remove(head)?;
                was_there
            }
        };
        self.taken_out(queue, entry, gone)?;
        Ok(gone)
    }

    /// Takes the rows of jobs that were handed out and have no group, all at once. Says of each whether
    /// it was there; [`Self::taken_out`] is what is left to do.
    pub fn take_rows_out(&mut self, taken: &[(QueueId, &ReadyJob)]) -> Result<Vec<bool>, Fault> {
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        self.touch();
        let keys: Vec<_> = taken.iter().map(|(queue, entry)| ready_key(*queue, entry)).collect();
        self.tables.remove_ready(&keys)
    }

    /// What goes with a taken job's row, if it was there.
    pub fn taken_out(&mut self, queue: QueueId, entry: &ReadyJob, was_there: bool) -> Result<(), Fault> {
        self.touch();
        if was_there {
            let bytes = u64::from(entry.bytes);
            let tally = self.tally(queue);
            tally.pending = tally.pending.saturating_sub(1);
            tally.bytes = tally.bytes.saturating_sub(bytes);
            self.end_key(queue, entry.id, &entry.record)?;
            self.unindex_expiry(queue, entry.id, &entry.record)?;
        }
        self.unmark(entry.id)
    }

    /// Gives a job that was handed out back to its place, rewritten if it has `changed`.
    /// Nothing if a paused group holds it there.
    pub fn put_back(
        &mut self,
        queue: QueueId,
        taken: Arc<ReadyJob>,
        changed: Option<Record>,
    ) -> Result<Option<Arc<ReadyJob>>, Fault> {
        self.touch();
        self.unmark(taken.id)?;
        let id = taken.id;
        let entry = match changed {
            None => taken,
            Some(record) => {
                let bytes = encode_record(&record);
                let tally = self.tally(queue);
                tally.bytes = (tally.bytes + bytes.len() as u64).saturating_sub(u64::from(taken.bytes));
                self.rewrite(queue, &taken, &bytes)?;
                if record.has_started() {
                    self.unindex_expiry(queue, id, &taken.record)?;
                }
                Arc::new(ReadyJob::new(id, taken.order.position, record, bytes.len()))
            }
        };
        self.expires_again(&entry.record);
        if entry.is_grouped() && !self.return_head(queue, &entry)? {
            self.changes.push(Change::Settled { id });
            return Ok(None);
        }
        self.changes.push(Change::Returned { job: entry.clone() });
        Ok(Some(entry))
    }

    /// Replaces the record of a job that was handed out, at its place.
    fn rewrite(&mut self, queue: QueueId, taken: &ReadyJob, bytes: &Bytes) -> Result<(), Fault> {
        self.moved(bytes.len());
        if taken.is_grouped() {
            if let Some(member) = self.member(taken.id)? {
                self.tables.members()?.insert(member.key(queue, taken.id), &**bytes)?;
            }
        } else {
            self.tables.ready()?.insert(ready_key(queue, taken), &**bytes)?;
        }
        Ok(())
    }

    /// Takes a waiting job out of wherever it waits, and returns its record. One that `comes_back` with
    /// [`Self::insert_as`] in the same commit does not lose its place in line meanwhile.
    pub fn take_waiting(
        &mut self,
        queue: QueueId,
        id: JobId,
        place: &Place,
        comes_back: bool,
    ) -> Result<Option<Record>, Fault> {
        self.touch();
        let row = match place {
            Place::Ready { priority } => {
                let key = (queue, *priority, id.get());
                let row = self.tables.ready()?.get_row(key)?;
                self.tables.ready()?.remove(key)?;
                let order = Order { priority: *priority, position: id.get() };
                self.changes.push(Change::Gone { queue, grouped: false, order, id });
                row
            }
            Place::Delayed { due } => self.take_delayed(queue, id, *due)?,
            Place::Member(member) => self.leave_waiting(queue, member, id, comes_back)?,
            Place::Dead { .. } | Place::Finished { .. } => None,
        };
        let Some(row) = row else { return Ok(None) };
        let record = decode_record(place.table(), id.get(), &row)?;
        self.unindex_expiry(queue, id, &record)?;
        let waits = self.state_of(place, &record);
        let tally = self.tally(queue);
        tally.bytes = tally.bytes.saturating_sub(row.len() as u64);
        let count = tally.count_mut(waits);
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
