//! Verb: a new job claims its keys. What they say: it is stored, or another job is there already, or it replaces that one.

use super::timed_keys::{self, KeyKind};
use super::{Move, NewHome, unique};
use crate::error::Error;
use crate::events::Event;
use crate::job::{Enqueued, JobId, QueueId, Withdraw, Withdrawn, life};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;
use crate::storage::rows::prepared::Prepared;
use crate::storage::rows::tables::Tables;
use crate::time::Now;

/// What the keys of a new job say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is stored.
    Free,
    /// The same call was made before, and this job was its answer.
    Repeated(JobId),
    /// Another job holds its unique key.
    Held(JobId),
    /// This waiting job holds its unique key, and is replaced.
    Replaces(JobId),
}

/// What the keys of this job say, in a transaction that is not a [`Batch`].
pub(crate) fn claim_in(
    txn: &redb::WriteTransaction,
    now: Now,
    job: &Prepared,
    dispatch: &dyn Withdraw,
) -> Result<Claim, Fault> {
    claim(&mut Tables::new(txn), now, job, dispatch)
}

/// The answer of the same call, if it was made before, in a transaction that is not a [`Batch`].
pub(crate) fn repeated_in(txn: &redb::WriteTransaction, now: Now, job: &Prepared) -> Result<Option<JobId>, Fault> {
    repeated(&mut Tables::new(txn), now, job)
}

fn repeated(tables: &mut Tables<'_>, now: Now, job: &Prepared) -> Result<Option<JobId>, Fault> {
    match job.idempotency_key() {
        Some((key, _)) => timed_keys::holder(tables, now, job.queue, KeyKind::Idempotency, key),
        None => Ok(None),
    }
}

/// A job that could be replaced, or whose start would free the key, is withdrawn. So the answer is the same for the whole
/// batch.
fn claim(tables: &mut Tables<'_>, now: Now, job: &Prepared, dispatch: &dyn Withdraw) -> Result<Claim, Fault> {
    if let Some(first) = repeated(tables, now, job)? {
        return Ok(Claim::Repeated(first));
    }
    let Some((key, _)) = job.claims() else { return Ok(Claim::Free) };
    if let Some(id) = timed_keys::holder(tables, now, job.queue, KeyKind::Window, key)? {
        return Ok(Claim::Held(id));
    }
    let Some(held) = unique::held(tables, now, job.queue, key)? else { return Ok(Claim::Free) };
    let replaces = held.is_open && job.record().unique().replaces();
    if !replaces && !held.is_until_started {
        return Ok(Claim::Held(held.id));
    }
    Ok(match dispatch.withdraw(held.id) {
        Withdrawn::Waits if replaces => Claim::Replaces(held.id),
        Withdrawn::IsTaken(_) if held.is_until_started => Claim::Free,
        _ => Claim::Held(held.id),
    })
}

impl Batch<'_> {
    /// What the keys of this job say.
    pub fn claim(&mut self, job: &Prepared, dispatch: &dyn Withdraw) -> Result<Claim, Fault> {
        if !job.has_keys() {
            return Ok(Claim::Free);
        }
        claim(&mut self.tables, self.now, job, dispatch)
    }

    /// Stores a new job, unless its keys say otherwise.
    pub fn insert_or_find(&mut self, job: &mut Prepared, dispatch: &dyn Withdraw) -> Result<Enqueued, Error> {
        let claim = self.claim(job, dispatch)?;
        self.insert_as(job, claim)
    }

    /// Does with a new job what its keys say.
    pub fn insert_as(&mut self, job: &mut Prepared, claim: Claim) -> Result<Enqueued, Error> {
        let answer = match claim {
            Claim::Free => {
                let id = self.insert(job)?;
                self.hold_window(job, id)?;
                Enqueued::stored(id)
            }
            Claim::Replaces(id) if self.replace(id, job)? => Enqueued::replaced(id),
            Claim::Repeated(id) | Claim::Held(id) | Claim::Replaces(id) => {
                self.deduplicated(job, id, claim);
                Enqueued::duplicate_of(id)
            }
        };
        // The same call gets the same answer, also if it has stored nothing.
        if let Some((key, time)) = job.idempotency_key()
            && !matches!(claim, Claim::Repeated(_))
        {
            self.hold_key_for(job.queue, KeyKind::Idempotency, key, answer.id, time)?;
        }
        Ok(answer)
    }

    /// Holds the unique key of a throttled job.
    fn hold_window(&mut self, job: &Prepared, id: JobId) -> Result<(), Fault> {
        match (job.claims(), job.record().unique().window()) {
            (Some((key, _)), Some(window)) => self.hold_key_for(job.queue, KeyKind::Window, key, id, window),
            _ => Ok(()),
        }
    }

    /// Notes that this job was not stored, because `there` holds its key.
    fn deduplicated(&mut self, job: &Prepared, there: JobId, claim: Claim) {
        self.deduplicated += 1;
        if self.listening {
            let (queue, kind) = (self.catalog().queue_name(job.queue), self.catalog().kind_name(job.record().kind));
            let key = match claim {
                Claim::Repeated(_) => job.record().idempotency_key(),
                _ => job.record().unique_key(),
            };
            let key = key.unwrap_or_default().into();
            self.event(|| Event::Deduplicated { id: there, queue, kind, key });
        }
    }

    /// Makes a new job of one that waits and was withdrawn. Returns false if it does not wait there or cannot be read, or if
    /// a plugin's follow-up job would replace a job of another kind: a plugin is granted kinds, one by one.
    fn replace(&mut self, id: JobId, job: &Prepared) -> Result<bool, Fault> {
        let queue = job.queue;
        let Some(place) = self.waits_at(queue, id)? else { return Ok(false) };
        let stored = match self.stored(queue, id, place) {
            Ok(Some(stored)) => stored,
            Ok(None) | Err(Fault::Corrupt { .. }) => return Ok(false),
            Err(fault) => return Err(fault),
        };
        if job.record().generation() > 0 && stored.record.kind != job.record().kind {
            return Ok(false);
        }
        let (record, transition) = life::replace(&stored.record, job.record(), self.now);
        let seq = match &stored.place {
            Place::Member(member) if record.group() == Some(&member.group) => member.seq,
            _ => id.get(),
        };
        let kind = record.kind;
        let new = &mut Prepared::new(queue, record, job.caller());
        self.apply(Move { id, queue, transition, from: stored.from(), to: NewHome::Waiting { job: new, seq } })?;
        if job.names.is_some() {
            self.stored_kind(kind);
        }
        if self.listening {
            let (queue, kind) = (self.catalog().queue_name(queue), self.catalog().kind_name(kind));
            let key = job.record().unique_key().unwrap_or_default().into();
            self.event(|| Event::Replaced { id, queue, kind, key });
        }
        Ok(true)
    }

    /// Frees a unique key by hand, whoever holds it. Returns false if it was free.
    pub fn release_unique_key(&mut self, queue: QueueId, key: &str) -> Result<bool, Fault> {
        let was_held = self.key_is_held(queue, key)?;
        self.release_timed_key(queue, KeyKind::Window, key)?;
        self.release_holder(queue, key)?;
        Ok(was_held)
    }
}
