//! The heads of groups that cannot start because the bucket of their group is closed, or its circuit is not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::limits::WindowLimits;
use crate::job::{IdMap, JobId, Order, ReadyJob};

/// How often the table is read again from its start for heads that were passed over and whose time has come: at most once in
/// this time for each head that can be parked. That is ten times a second, unless a window was made smaller. There are at least
/// as many heads to read. It is also read again when the circuit or the bucket of a group opens earlier than was known.
const READ_AGAIN_EVERY: Duration = Duration::from_micros(25);

/// Heads that were popped and could not start, because the bucket of their group is closed. They are limited as a window
/// is, in jobs and in bytes; the heads with the longest waits, and of these the least urgent ones, are passed over, and read again
/// later.
#[derive(Debug)]
pub(crate) struct Parked {
    heads: IdMap<Head>,
    /// The parked heads of each group that has any.
    groups: HashMap<Arc<str>, Vec<JobId>>,
    /// When the bucket of a head's group may be open, in order of time, and then in the order in which the heads start.
    wakes: BTreeSet<(Duration, Order, JobId)>,
    bytes: usize,
    /// The groups of which a head was passed over that waits for the same reservation or probe as another one, which is parked.
    left_out: HashSet<Arc<str>>,
    /// When the heads that were passed over must be read again.
    read_again: Option<Duration>,
    limits: WindowLimits,
}

#[derive(Debug)]
struct Head {
    job: Arc<ReadyJob>,
    /// `None` while its reservation is under way, or the probe of its group runs.
    until: Option<Duration>,
}

impl Parked {
    pub fn new(limits: WindowLimits) -> Self {
        let (heads, groups, wakes, left_out) = Default::default();
        Self { heads, groups, wakes, bytes: 0, left_out, read_again: None, limits }
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    pub fn holds(&self, id: JobId) -> bool {
        self.heads.contains_key(&id)
    }

    /// Parks a head until its bucket may be open, or until its reservation is durable or the probe of its group has ended.
    ///
    /// # Errors
    ///
    /// Returns the head if there is no room because all parked heads wait for reservations, which are soon answered, or for probes,
    /// and none of them is of its group.
    pub fn park(&mut self, job: Arc<ReadyJob>, until: Option<Duration>, now: Duration) -> Result<(), Arc<ReadyJob>> {
        let group = job.group().expect("only heads are parked").clone();
        self.take_out(job.id);
        while self.is_full(&job) {
            let last = self
                .wakes
                .last()
                .filter(|(at, order, _)| until.is_none_or(|until| (*at, *order) > (until, job.order)))
                .copied();
            match (last, until) {
                (Some((at, _, id)), _) => {
                    self.remove(id, now);
                    self.pass_over(at, now);
                }
                (None, Some(until)) => {
                    self.pass_over(until, now);
                    return Ok(());
                }
                // It is read again when the other head can start.
                (None, None) if self.groups.contains_key(&group) => {
                    self.left_out.insert(group);
                    return Ok(());
                }
                (None, None) => return Err(job),
            }
        }
        if let Some(until) = until {
            self.wakes.insert((until, job.order, job.id));
        }
        self.bytes += job.bytes as usize;
        self.groups.entry(group).or_default().push(job.id);
        self.heads.insert(job.id, Head { job, until });
        Ok(())
    }

    fn is_full(&self, next: &ReadyJob) -> bool {
        let too_large = self.bytes + next.bytes as usize > self.limits.bytes_max;
        self.heads.len() >= self.limits.jobs_max || (too_large && !self.heads.is_empty())
    }

    fn pass_over(&mut self, until: Duration, now: Duration) {
        tracing::trace!("a head is passed over");
        let every = READ_AGAIN_EVERY * u32::try_from(self.limits.jobs_max).unwrap_or(u32::MAX);
        let at = until.max(now.saturating_add(every));
        self.read_again = Some(self.read_again.map_or(at, |again| again.min(at)));
    }

    /// Removes and returns a head. If it was the last one of its group, those of the group that were passed over are soon read again.
    pub fn remove(&mut self, id: JobId, now: Duration) -> Option<Arc<ReadyJob>> {
        let job = self.take_out(id)?;
        let group = job.group()?;
        if !self.groups.contains_key(group) && self.left_out.remove(group) {
            self.pass_over(now, now);
        }
        Some(job)
    }

    fn take_out(&mut self, id: JobId) -> Option<Arc<ReadyJob>> {
        let Head { job, until } = self.heads.remove(&id)?;
        if let Some(until) = until {
            self.wakes.remove(&(until, job.order, id));
        }
        if let Some(group) = job.group()
            && let Some(heads) = self.groups.get_mut(group)
        {
            heads.retain(|head| *head != id);
            if heads.is_empty() {
                self.groups.remove(group);
            }
        }
        self.bytes -= job.bytes as usize;
        Some(job)
    }

    /// A reservation of the group was answered: removes and returns the heads that waited for it.
    pub fn answered(&mut self, group: &Arc<str>) -> Vec<Arc<ReadyJob>> {
        let Some(heads) = self.groups.get(group) else { return Vec::new() };
        let waits_for_it = |id: &JobId| self.heads.get(id).is_some_and(|head| head.until.is_none());
        let heads: Vec<JobId> = heads.iter().copied().filter(waits_for_it).collect();
        self.take_out_all(heads, group)
    }

    /// The bucket of the group may be open earlier than was known: removes and returns its heads.
    pub fn opened(&mut self, group: &Arc<str>) -> Vec<Arc<ReadyJob>> {
        let heads = self.groups.get(group).cloned().unwrap_or_default();
        if self.read_again.is_some() {
            // Heads of the group may be among those that were passed over.
            self.read_again = Some(Duration::ZERO);
        }
        self.take_out_all(heads, group)
    }

    fn take_out_all(&mut self, heads: Vec<JobId>, group: &Arc<str>) -> Vec<Arc<ReadyJob>> {
        if !heads.is_empty() && self.left_out.remove(group) {
            self.read_again = Some(Duration::ZERO);
        }
        heads.into_iter().filter_map(|id| self.take_out(id)).collect()
    }

    /// Removes and returns the next head whose bucket may be open.
    pub fn woken(&mut self, now: Duration) -> Option<Arc<ReadyJob>> {
        let (_, _, id) = self.wakes.first().filter(|(at, ..)| *at <= now).copied()?;
        self.remove(id, now)
    }

    /// Whether the table must be read again now.
    pub fn is_to_be_read_again(&self, now: Duration) -> bool {
        self.read_again.is_some_and(|at| at <= now)
    }

    /// How long until the heads that were passed over are read again.
    pub fn read_again_in(&self, now: Duration) -> Option<Duration> {
        self.read_again?.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// When something happens here without a call from outside. `may_read_again` says whether the table may be read again now.
    pub fn next_event(&self, may_read_again: bool) -> Option<Duration> {
        let wake = self.wakes.first().map(|(at, ..)| *at);
        let read_again = self.read_again.filter(|_| may_read_again);
        [wake, read_again].into_iter().flatten().min()
    }
}
