use std::collections::{BTreeMap, HashMap};

use super::batch::Batch;
use super::catalog::Catalog;
use super::fault::Fault;
use super::place::Place;
use super::queries::Reader;
use super::settings::Tally;
use crate::job::{JobId, QueueId, State};

/// What [`Millpond::verify`](crate::Millpond::verify) found.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let Verification { jobs, problems, .. } = pond.verify().await?;
/// assert_eq!((jobs, problems.len()), (0, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Jobs looked at.
    pub jobs: u64,
    /// What does not agree, a sentence each. Empty is good.
    pub problems: Vec<String>,
}

impl Verification {
    /// Whether records, indexes and counts agree.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Sets aside what cannot be read, and makes anew what follows from the rest.
pub(crate) fn put_right(batch: &mut Batch<'_>, reader: &Reader) -> Result<(), Fault> {
    for damage in reader.damages(batch.catalog())? {
        batch.quarantine(&damage)?;
    }
    batch.marks()?;
    batch.tidy_buckets()
}

/// Goes through the whole file: every record can be read, every job is in one place only and where
/// its index says, every count is right, every group with members has a head, every unique key is held
/// by a job that bears it, or is to be swept, what each plugin keeps is counted.
pub(crate) fn verify(reader: &Reader, catalog: &Catalog) -> Result<Verification, Fault> {
    let mut result = Verification::default();
    let mut seen: HashMap<JobId, QueueId> = HashMap::new();
    let mut tallies: BTreeMap<QueueId, Tally> = BTreeMap::new();
    let mut groups: BTreeMap<(QueueId, std::sync::Arc<str>), bool> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut keys: HashMap<JobId, (QueueId, String)> = HashMap::new();
    let mut unread = reader.quarantined_jobs()?;
    reader.scan(&catalog.stored_queues(), &Reader::all_sources(), None, usize::MAX, |found| {
        result.jobs += 1;
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                if let Fault::Corrupt { id, .. } = fault {
                    unread.insert(JobId::new(id));
                }
                problems.push(crate::error::Error::from(fault).to_string());
                return true;
            }
        };
        if seen.insert(found.id, found.queue).is_some() {
            problems.push(format!("job {} is in two places", found.id));
        }
        let tally = tallies.entry(found.queue).or_default();
        match found.state() {
            State::Scheduled => tally.scheduled += 1,
            State::Retrying => tally.retrying += 1,
            State::Completed => tally.completed += 1,
            State::Cancelled => tally.cancelled += 1,
            State::Dead => tally.dead += 1,
            State::Pending | State::Running | State::Blocked => tally.pending += 1,
        }
        if let Some(key) = found.record.unique_key().filter(|_| !found.state().is_final()) {
            keys.insert(found.id, (found.queue, key.to_owned()));
        }
        if let Place::Member(member) = &found.place {
            *groups.entry((found.queue, member.group.clone())).or_default() |= !member.parked;
        }
        if !matches!(found.place, Place::Ready { .. }) {
            match reader.find(catalog, found.id) {
                Ok(Some(again)) if again.place == found.place => {}
                _ => problems.push(format!("the index does not lead to job {}", found.id)),
            }
        }
        true
    })?;
    for queue in catalog.stored_queues() {
        let row = catalog.row(queue);
        let counted = tallies.remove(&queue).unwrap_or_default();
        let states = |t: &Tally| [t.pending, t.scheduled, t.retrying, t.completed, t.cancelled, t.dead];
        if states(&row.tally) != states(&counted) {
            problems.push(format!(
                "queue {:?} counts {:?}, but has {:?}",
                row.name,
                states(&row.tally),
                states(&counted)
            ));
        }
    }
    for ((queue, group), expects_head) in groups {
        let row = match reader.group(queue, &group) {
            Ok(row) => row,
            // Told of among the dangling.
            Err(Fault::Corrupt { .. }) => continue,
            Err(fault) => return Err(fault),
        };
        if expects_head != row.head.is_some() {
            problems.push(format!("group {group:?} of queue {queue} has members but head {:?}", row.head));
        }
    }
    problems.extend(reader.dangling()?);
    problems.extend(reader.key_problems(&keys, &unread)?);
    problems.extend(reader.plugin_problems()?);
    result.problems = problems;
    Ok(result)
}
