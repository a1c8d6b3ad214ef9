use crate::error::Error;
use crate::job::{JobId, QueueId};
use crate::storage::{Batch, Prepared, WhenFull};
use crate::transaction::Prepare;
use crate::writer::step::{Refusal, Reply, Step};

/// Stores new jobs, all or none. The answer is the first one's id; the others follow it.
pub(crate) struct Enqueue {
    jobs: Vec<Prepared>,
    first: Option<JobId>,
    reply: Reply<JobId>,
}

impl Enqueue {
    pub fn new(jobs: Vec<Prepared>, reply: Reply<JobId>) -> Box<Self> {
        Box::new(Self { jobs, first: None, reply })
    }
}

impl Step for Enqueue {
    fn apply(&mut self, batch: &mut Batch<'_>, _: &dyn Prepare) -> Result<(), Refusal> {
        if let Err(full) = check_room(batch, &self.jobs) {
            return Err(waits_for(batch, &self.jobs).map_or_else(|| full.into(), Refusal::Later));
        }
        self.first = Some(JobId::new(batch.counters.next_id));
        insert_all(batch, &mut self.jobs)?;
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let first = self.first;
        let _ = self.reply.send(result.map(|()| first.expect("applied before it is answered")));
    }

    fn fills(&self, queue: QueueId) -> bool {
        self.jobs.iter().any(|job| job.queue == queue)
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Stores jobs whose queues have been seen to have room.
pub(crate) fn insert_all(batch: &mut Batch<'_>, jobs: &mut [Prepared]) -> Result<(), Error> {
    for job in jobs {
        batch.insert(job)?;
    }
    Ok(())
}

/// Whether every queue has room for its share.
pub(crate) fn check_room(batch: &mut Batch<'_>, jobs: &[Prepared]) -> Result<(), Error> {
    for share in shares(jobs) {
        batch.room_for(share.queue, share.jobs, share.bytes)?;
    }
    Ok(())
}

/// The full queue that the caller is to wait for: every queue that is full says so, and could ever
/// hold its share.
fn waits_for(batch: &mut Batch<'_>, jobs: &[Prepared]) -> Option<QueueId> {
    let mut waits_for = None;
    for share in shares(jobs) {
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

struct Share {
    queue: QueueId,
    jobs: u64,
    bytes: u64,
}

fn shares(jobs: &[Prepared]) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for job in jobs {
        let bytes = job.bytes.len() as u64;
        match shares.iter_mut().find(|share| share.queue == job.queue) {
            Some(share) => {
                share.jobs += 1;
                share.bytes += bytes;
            }
            None => shares.push(Share { queue: job.queue, jobs: 1, bytes }),
        }
    }
    shares
}
