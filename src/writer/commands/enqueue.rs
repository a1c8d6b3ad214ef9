//! Stores the new jobs of one call, or finds that the call must wait for room in a full queue.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::job::{Enqueued, JobId, QueueId, WhenFull, Withdraw};
use crate::storage::{Batch, Prepared, Share, Shares};
use crate::transaction::Prepare;
use crate::writer::step::{Refusal, Reply, Step, WaitingHandler};

/// Stores new jobs, all or none. A job whose key is held is not stored, or takes the place of the one that holds it, and gets
/// the id of that job.
pub(crate) struct Enqueue {
    jobs: Vec<Prepared>,
    answers: Option<Answers>,
    reply: Reply<Answers>,
    handler: Option<WaitingHandler>,
    note: Option<NoteId>,
}

/// Called with the id of each job, before the commit. It is called again if the batch is made again.
pub(crate) type NoteId = Box<dyn FnMut(JobId) + Send>;

/// The answer for each job, in the order of the call.
#[derive(Debug)]
pub(crate) enum Answers {
    /// All were stored: the id of the first, the others follow it without a gap.
    StoredFrom(JobId),
    Each(Vec<Enqueued>),
}

impl Answers {
    /// The answers as a list; `count` is their number.
    pub fn list(self, count: u64) -> Vec<Enqueued> {
        match self {
            Self::StoredFrom(_) => self.ids(count).map(Enqueued::stored).collect(),
            Self::Each(answers) => answers,
        }
    }

    fn ids(&self, count: u64) -> impl Iterator<Item = JobId> {
        (0..count).map(move |n| match self {
            Self::StoredFrom(first) => JobId::new(first.get() + n),
            Self::Each(answers) => answers[n as usize].id,
        })
    }
}

impl Enqueue {
    pub fn new(jobs: Vec<Prepared>, reply: Reply<Answers>) -> Box<Self> {
        Box::new(Self { jobs, answers: None, reply, handler: None, note: None })
    }

    /// Sets what learns the ids before anything can become of the jobs.
    pub fn noting_ids(mut self: Box<Self>, note: Option<NoteId>) -> Box<Self> {
        self.note = note;
        self
    }

    /// Sets the handler that waits for the answer, if the caller is one.
    pub fn for_handler(mut self: Box<Self>, handler: Option<WaitingHandler>) -> Box<Self> {
        self.handler = handler;
        self
    }
}

impl Step for Enqueue {
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        self.jobs.iter_mut().try_for_each(|job| batch.resolve(job))?;
        let needed = batch.shares(&self.jobs, |batch, n| batch.claim(&self.jobs[n], prepare))?;
        make_room(batch, &needed, prepare)?;
        let answers = insert_all(batch, &mut self.jobs, prepare)?;
        if let Some(note) = &mut self.note {
            answers.ids(self.jobs.len() as u64).for_each(note);
        }
        self.answers = Some(answers);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let answers = self.answers;
        let _ = self.reply.send(result.map(|()| answers.expect("applied before it is answered")));
    }

    fn fills(&self, full: &BTreeSet<QueueId>) -> Option<QueueId> {
        if full.is_empty() {
            return None;
        }
        self.jobs.iter().filter_map(Prepared::known_queue).find(|queue| full.contains(queue))
    }

    fn needs_room(&self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> bool {
        let is_new = |job: &Prepared| job.known_queue().is_none();
        let mut shares = || batch.shares(&self.jobs, |batch, n| batch.claim(&self.jobs[n], prepare));
        self.jobs.iter().any(is_new) || shares().is_ok_and(|needed| !needed.shares.is_empty())
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

/// Stores jobs. Their queues must have room.
pub(super) fn insert_all(
    batch: &mut Batch<'_>,
    jobs: &mut [Prepared],
    dispatch: &dyn Withdraw,
) -> Result<Answers, Error> {
    let first = JobId::new(batch.counters.next_id);
    batch.expect(jobs.len());
    if !jobs.iter().any(Prepared::has_keys) {
        for job in jobs {
            batch.insert(job)?;
        }
        return Ok(Answers::StoredFrom(first));
    }
    let answers = jobs.iter_mut().map(|job| batch.insert_or_find(job, dispatch)).collect::<Result<_, _>>();
    Ok(Answers::Each(answers?))
}

/// Makes sure that every queue has room. A caller may have to wait for that.
pub(super) fn make_room(batch: &mut Batch<'_>, needed: &Shares, dispatch: &dyn Withdraw) -> Result<(), Refusal> {
    let Shares { shares, answers } = needed;
    batch.make_room(shares, answers, dispatch).map_err(|error| match error {
        Error::QueueFull { .. } => waits_for(batch, shares).map_or_else(|| error.into(), Refusal::Later),
        error => error.into(),
    })
}

/// The full queue for which the caller waits. `None` if one of the full queues does not let callers wait, or can never hold
/// its share.
fn waits_for(batch: &mut Batch<'_>, shares: &[Share]) -> Option<QueueId> {
    let mut waits_for = None;
    for share in shares {
        if batch.room_for(share.queue, share.jobs, share.bytes).is_err() && !batch.drops_for(share) {
            let settings = &batch.queue_ref(share.queue).settings;
            if settings.when_full != WhenFull::Wait || !settings.capacity.admits(share.jobs, share.bytes) {
                return None;
            }
            waits_for = waits_for.or(Some(share.queue));
        }
    }
    waits_for
}
