//! Whether the queues of a call have room for its new jobs.

use std::collections::{HashMap, HashSet};

use super::claims::Claim;
use crate::error::Error;
use crate::job::{JobId, QueueId, Withdraw};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::prepared::Prepared;

/// How much of one call a queue must store.
pub(crate) struct Share {
    pub queue: QueueId,
    pub jobs: u64,
    pub bytes: u64,
}

/// What one call needs.
pub(crate) struct Shares {
    pub shares: Vec<Share>,
    /// The jobs that are there already and answer for some of the call's jobs: they must stay.
    pub answers: HashSet<JobId>,
}

impl Batch<'_> {
    /// Checks that every queue has room for its share of the jobs, or makes room if it is to. `claim` says what the keys of
    /// the job at this place say.
    pub fn room_for_all(
        &mut self,
        jobs: &[Prepared],
        dispatch: &dyn Withdraw,
        claim: impl FnMut(&mut Self, usize) -> Result<Claim, Fault>,
    ) -> Result<(), Error> {
        let Shares { shares, answers } = self.shares(jobs, claim)?;
        self.make_room(&shares, &answers, dispatch)
    }

    /// What each queue must store. Jobs that are stored already need no room: a call that repeats or replaces them succeeds
    /// even if the queue is full. `claim` says what the keys of the job at this place say.
    pub fn shares(
        &mut self,
        jobs: &[Prepared],
        mut claim: impl FnMut(&mut Self, usize) -> Result<Claim, Fault>,
    ) -> Result<Shares, Fault> {
        let (mut shares, mut answers): (Vec<Share>, HashSet<JobId>) = Default::default();
        // The index of a queue's share, once there are several.
        let mut places: HashMap<QueueId, usize> = HashMap::new();
        let mut claimed = HashSet::new();
        for (n, job) in jobs.iter().enumerate() {
            if job.has_keys() {
                // Of equal keys within one call the first is stored.
                let keys = [job.idempotency_key(), job.claims()].into_iter().enumerate();
                let keys = keys.filter_map(|(kind, key)| Some((job.queue, kind, key?.0)));
                let claim = claim(self, n)?;
                if let Claim::Repeated(id) | Claim::Held(id) | Claim::Replaces(id) = claim {
                    answers.insert(id);
                }
                if claim != Claim::Free || keys.clone().any(|key| claimed.contains(&key)) {
                    continue;
                }
                claimed.extend(keys);
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
        Ok(Shares { shares, answers })
    }
}
