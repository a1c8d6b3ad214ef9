//! Verb: a new job is stored.

use crate::error::Error;
use crate::events::Event;
use crate::job::{JobId, QueueId, ReadyJob, State, Transition};
use crate::storage::life::moved::{Moved, Side, WithHandler};
use crate::storage::life::ready::ready_key;
use crate::storage::life::{Move, NewHome, OldHome};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::encode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::former_queues::FormerQueue;
use crate::storage::rows::place::{Member, Place};
use crate::storage::rows::prepared::{NewJobNames, Prepared};

impl Batch<'_> {
    /// Gives numbers to the names that the file does not have. Call this before anything else with a new job. A batch
    /// that is undone gives the numbers back, so call it again in the next batch.
    ///
    /// # Errors
    /// The file has as many queues or kinds as it may have.
    #[inline]
    pub fn resolve(&mut self, job: &mut Prepared) -> Result<(), Error> {
        if job.removals != self.catalog().removals() {
            self.find_queue_again(job)?;
        }
        match job.names.as_deref().cloned() {
            None => Ok(()),
            Some(names) => self.give_numbers(job, &names),
        }
    }

    /// A queue was removed since the number of the job's queue was looked up. If it was that queue, the job is stored in a new
    /// one of its name.
    fn find_queue_again(&mut self, job: &mut Prepared) -> Result<(), Error> {
        if let Some(queue) = job.known_queue() {
            match self.catalog().former_queue(queue, job.removals) {
                FormerQueue::Same => {}
                FormerQueue::Removed(name) => job.set_queue_name(name),
                FormerQueue::Unknown => return Err(Error::NoSuchQueue { queue: "of this call".into() }),
            }
        }
        job.removals = self.catalog().removals();
        Ok(())
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

    /// Stores a new job, whose key is free if it has one, and gives it its id.
    pub fn insert(&mut self, job: &mut Prepared) -> Result<JobId, Fault> {
        let id = JobId::new(self.next_number());
        self.enter_with_id(id, job)?;
        Ok(id)
    }

    /// Stores a new job under an id that was reserved for it.
    pub(in crate::storage) fn enter_with_id(&mut self, id: JobId, job: &mut Prepared) -> Result<(), Fault> {
        let queue = job.queue;
        let transition = Transition::Enter { unique_for: job.held_until_ended_for() };
        self.apply(Move {
            id,
            queue,
            transition,
            from: OldHome::Nowhere,
            to: NewHome::Waiting { job, seq: id.get() },
        })?;
        if job.names.is_some() {
            self.stored_kind(job.record().kind);
        }
        if self.listening {
            let (queue, kind) = (self.catalog().queue_name(queue), self.catalog().kind_name(job.record().kind));
            self.event(|| Event::Enqueued { id, queue, kind });
        }
        Ok(())
    }

    /// Stores a job that was handed out before it was in the file, where it was handed out from. Dispatch knows it already.
    pub(in crate::storage) fn place_handed_out(&mut self, queue: QueueId, taken: &ReadyJob) -> Result<(), Fault> {
        self.touch();
        let (id, record, bytes) = (taken.id, &taken.record, encode_record(&taken.record));
        let member = record.group().map(|group| Member { group: group.clone(), parked: false, seq: id.get() });
        let place = member.clone().map(Place::Member);
        self.tell_facets(&Moved {
            id,
            queue,
            transition: Transition::Enter { unique_for: None },
            from: None,
            to: Some(Side { state: State::Pending, bytes: bytes.len() as u64, record: Some(record) }),
            was_indexed: false,
            indexed: place.as_ref(),
            ended: None,
            handler: WithHandler::No,
        })?;
        match &member {
            Some(member) => self.put_handed_out_head(queue, taken, member, &bytes)?,
            None => {
                self.moved(bytes.len());
                self.tables.ready()?.insert(ready_key(queue, taken), &*bytes)?;
            }
        }
        if self.listening {
            let (queue, kind) = (self.catalog().queue_name(queue), self.catalog().kind_name(record.kind));
            self.event(|| Event::Enqueued { id, queue, kind });
        }
        Ok(())
    }
}
