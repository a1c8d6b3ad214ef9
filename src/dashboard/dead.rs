//! Dead letters by their errors.

mod fold;

use std::collections::{BTreeSet, HashMap};

use crate::{Cursor, JobFilter, JobId, JobInfo, Millpond};

use super::api::{DeadGroup, DeadSummary, Problem, Time};
use super::body::cut;
use super::jobs::time;
pub(super) use fold::fold;

/// Dead letters that are read for the groups, at most.
const READ_MAX: u64 = 10_000;

/// Dead letters on one page.
const PAGE: usize = 1_000;

/// Groups that are told, at most. Those with the fewest dead letters are left out.
const GROUPS_MAX: usize = 500;

/// Queues and kinds that are told of one group, at most.
const NAMES_MAX: usize = 20;

/// Bytes of an error that make its group, at most.
const FOLDED_BYTES_MAX: usize = 512;

/// Bytes of the sample of a group, at most.
const SAMPLE_BYTES_MAX: usize = 4 << 10;

/// The error of a dead letter: that of its latest attempt, or why it died without one.
fn error(job: &JobInfo) -> &str {
    let error = job.errors.last().map(|error| error.message.as_str());
    error.or(job.reason.as_deref()).unwrap_or_default()
}

/// The name of the group that a dead letter belongs to.
pub(super) fn group_of(job: &JobInfo) -> String {
    fold(&cut(error(job).to_owned(), FOLDED_BYTES_MAX).0)
}

/// Some dead letters, to be added to the summary.
pub(super) fn page(
    pond: &Millpond,
    filter: &JobFilter,
    cursor: Option<Cursor>,
) -> Result<(Vec<JobInfo>, Option<Cursor>), Problem> {
    let page = pond.dead_letters().list(filter, cursor, PAGE)?;
    Ok((page.jobs, page.next))
}

/// How many dead letters there are, in all queues or in one.
pub(super) fn total(pond: &Millpond, queue: Option<&str>) -> Result<u64, Problem> {
    match queue {
        Some(name) => Ok(pond.queue(name)?.counts().dead),
        None => Ok(pond.queues().iter().map(|queue| queue.counts().dead).sum()),
    }
}

/// The ids of the dead letters that match and belong to a group.
pub(super) fn ids_in_group(pond: &Millpond, filter: &JobFilter, group: &str) -> Result<Vec<JobId>, Problem> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let (jobs, next) = page(pond, filter, cursor)?;
        ids.extend(jobs.iter().filter(|job| group_of(job) == group).map(|job| job.id));
        cursor = next;
        if cursor.is_none() {
            return Ok(ids);
        }
    }
}

/// A summary that is being made.
#[derive(Default)]
pub(super) struct Summary {
    read: u64,
    groups: HashMap<String, Gathered>,
}

#[derive(Default)]
struct Gathered {
    count: u64,
    sample: String,
    job: Option<JobId>,
    queues: BTreeSet<String>,
    kinds: BTreeSet<String>,
    first_seen: Time,
    last_seen: Time,
}

impl Summary {
    /// Adds a page. Returns whether another one may be read.
    pub fn add(&mut self, jobs: &[JobInfo]) -> bool {
        for job in jobs.iter().take((READ_MAX - self.read) as usize) {
            self.read += 1;
            let group = self.groups.entry(group_of(job)).or_default();
            let at = time(job.ended_at.unwrap_or(job.enqueued_at));
            if group.count == 0 || at >= group.last_seen {
                group.last_seen = at;
                group.sample = cut(error(job).to_owned(), SAMPLE_BYTES_MAX).0;
                group.job = Some(job.id);
            }
            group.first_seen = if group.count == 0 { at } else { group.first_seen.min(at) };
            group.count += 1;
            insert(&mut group.queues, &job.queue);
            insert(&mut group.kinds, &job.kind);
        }
        self.read < READ_MAX
    }

    /// The summary of a queue that has `total` dead letters.
    pub fn finish(self, total: u64) -> DeadSummary {
        let groups = self.groups.into_iter().map(|(error, group)| DeadGroup {
            error,
            count: group.count,
            sample: group.sample,
            job: group.job.map(|id| id.to_string()).unwrap_or_default(),
            queues: group.queues.into_iter().collect(),
            kinds: group.kinds.into_iter().collect(),
            first_seen: group.first_seen,
            last_seen: group.last_seen,
        });
        let mut groups: Vec<_> = groups.collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.error.cmp(&b.error)));
        groups.truncate(GROUPS_MAX);
        DeadSummary { total: total.max(self.read), read: self.read, groups }
    }
}

fn insert(names: &mut BTreeSet<String>, name: &str) {
    if names.len() < NAMES_MAX && !names.contains(name) {
        names.insert(name.to_owned());
    }
}
