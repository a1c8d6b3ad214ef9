//! Stores the new jobs of one call, or finds that the call must wait for room in a full queue.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::error::Error;
use crate::job::{JobId, QueueId, WhenFull};
use crate::storage::{Batch, Prepared};
use crate::transaction::Prepare;
use crate::writer::step::{Refusal, Reply, Step, WaitingHandler};

/// Stores new jobs, all or none, but for those whose unique key another job holds.
pub(crate) struct Enqueue {
    jobs: Vec<Prepared>,
    ids: Option<Ids>,
    reply: Reply<Ids>,
    handler: Option<WaitingHandler>,
}

/// The ids of jobs that are there now, in the order in which they were given.
#[derive(Debug)]
pub(crate) enum Ids {
    /// All were stored: this is the first, the others follow it.
    From(JobId),
    Each(Vec<JobId>),
}

impl Ids {
    /// As a list of so many.
    pub fn list(self, count: u64) -> Vec<JobId> {
        match self {
            Self::From(first) => (0..count).map(|n| JobId::new(first.get() + n)).collect(),
            Self::Each(ids) => ids,
        }
    }
}

impl Enqueue {
    pub fn new(jobs: Vec<Prepared>, reply: Reply<Ids>) -> Box<Self> {
        Box::new(Self { jobs, ids: None, reply, handler: None })
    }

    /// A handler waits for the answer.
    pub fn for_handler(mut self: Box<Self>, handler: Option<WaitingHandler>) -> Box<Self> {
        self.handler = handler;
        self
    }
}

impl Step for Enqueue {
    fn apply(&mut self, batch: &mut Batch<'_>, _: &dyn Prepare) -> Result<(), Refusal> {
        self.jobs.iter_mut().try_for_each(|job| batch.resolve(job))?;
        let shares = shares(batch, &self.jobs)?;
        if let Err(full) = has_room(batch, &shares) {
            return Err(waits_for(batch, &shares).map_or_else(|| full.into(), Refusal::Later));
        }
        self.ids = Some(insert_all(batch, &mut self.jobs)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let ids = self.ids;
        let _ = self.reply.send(result.map(|()| ids.expect("applied before it is answered")));
    }

    fn fills(&self, full: &BTreeSet<QueueId>) -> Option<QueueId> {
        if full.is_empty() {
            return None;
        }
        self.jobs.iter().filter_map(Prepared::known_queue).find(|queue| full.contains(queue))
    }

    fn needs_room(&self, batch: &mut Batch<'_>) -> bool {
        let is_new = |job: &Prepared| job.known_queue().is_none();
        self.jobs.iter().any(is_new) || shares(batch, &self.jobs).is_ok_and(|shares| !shares.is_empty())
    }

    fn bytes(&self) -> usize {
        self.jobs.iter().map(|job| job.bytes.len()).sum()
    }

    fn handler(&self) -> Option<WaitingHandler> {
        self.handler
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Stores jobs whose queues have been seen to have room.
pub(crate) fn insert_all(batch: &mut Batch<'_>, jobs: &mut [Prepared]) -> Result<Ids, Error> {
    let first = JobId::new(batch.counters.next_id);
    if jobs.iter().all(|job| job.claims().is_none()) {
        for job in jobs {
            batch.insert(job)?;
        }
        return Ok(Ids::From(first));
    }
    let ids = jobs.iter_mut().map(|job| insert_or_find(batch, job)).collect::<Result<_, _>>();
    Ok(Ids::Each(ids?))
}

fn insert_or_find(batch: &mut Batch<'_>, job: &mut Prepared) -> Result<JobId, Error> {
    match batch.there_already(job)? {
        Some(there) => {
            batch.deduplicated(job, there);
            Ok(there)
        }
        None => Ok(batch.insert(job)?),
    }
}

/// Whether every queue has room for its share.
pub(crate) fn check_room(batch: &mut Batch<'_>, jobs: &[Prepared]) -> Result<(), Error> {
    let shares = shares(batch, jobs)?;
    has_room(batch, &shares)
}

fn has_room(batch: &mut Batch<'_>, shares: &[Share]) -> Result<(), Error> {
    shares.iter().try_for_each(|share| batch.room_for(share.queue, share.jobs, share.bytes))
}

/// The full queue that the caller is to wait for: every queue that is full says so, and could ever
/// hold its share.
fn waits_for(batch: &mut Batch<'_>, shares: &[Share]) -> Option<QueueId> {
    let mut waits_for = None;
    for share in shares {
        if batch.room_for(share.queue, share.jobs, share.bytes).is_err() {
            let settings = &batch.queue_ref(share.queue).settings;
            if settings.when_full != WhenFull::Wait || !settings.capacity.admits(share.jobs, share.bytes) {
                return None;
            }
            waits_for = waits_for.or(Some(share.queue));
        }
    }
    waits_for
}

/// What a queue is to take of a call.
struct Share {
    queue: QueueId,
    jobs: u64,
    bytes: u64,
}

/// Only what will be stored needs room: a call that asks again for a job that is there is told so, even if the queue is
/// full.
fn shares(batch: &mut Batch<'_>, jobs: &[Prepared]) -> Result<Vec<Share>, Error> {
    let mut shares: Vec<Share> = Vec::new();
    // Where a queue's share is, once there are several.
    let mut places: HashMap<QueueId, usize> = HashMap::new();
    let mut claimed = HashSet::new();
    for job in jobs {
        if let Some((key, _)) = job.claims()
            && (batch.there_already(job)?.is_some() || !claimed.insert((job.queue, key)))
        {
            continue;
        }
        let bytes = job.bytes.len() as u64;
        let place = match &shares[..] {
            [] => 0,
            [.., last] if last.queue == job.queue => shares.len() - 1,
            [first, ..] => {
                if places.is_empty() {
                    places.insert(first.queue, 0);
                }
                *places.entry(job.queue).or_insert(shares.len())
            }
        };
        if place == shares.len() {
            shares.push(Share { queue: job.queue, jobs: 0, bytes: 0 });
        }
        shares[place].jobs += 1;
        shares[place].bytes += bytes;
    }
    Ok(shares)
}
