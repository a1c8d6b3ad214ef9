//! Verification of a file. Every row is read once, and the rows that it refers to are looked up in their tables. So the
//! time is linear in the number of rows. The memory is about two bytes for each job, and some more for each that expires.

mod groups;
mod id_set;
mod jobs;
mod keys;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use redb::{ReadOnlyTable, ReadableTable};
use serde::Serialize;

use crate::error::Error;
use crate::job::{BucketState, JobId, KindId, QueueId};
use crate::storage::life::started::StartMark;
use crate::storage::rows::batch::{Batch, COUNTERS, Counters};
use crate::storage::rows::catalog::QueueRow;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::keys::Numbers;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::{DelayedKey, HeadKey, MemberKey, ReadyKey, UniqueEndedKey};
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::tally::Tally;
use crate::storage::rows::untrusted::HeadValue;
use crate::time::Due;
use id_set::IdSet;

/// How many problems are listed at most. A file that is damaged everywhere has one for each row.
pub const PROBLEMS_MAX: usize = 1_000;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Jobs looked at.
    pub jobs: u64,
    /// What does not agree, a sentence each. Empty is good. At most 1,000 are listed.
    pub problems: Vec<String>,
    /// How many more there are than are listed.
    pub problems_left_out: u64,
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
    batch.mend_expiries()?;
    batch.tidy_buckets()
}

/// Goes through the whole file as it was after one commit, and checks the invariants of `docs/storage-format.md`.
pub(crate) fn verify(reader: &Reader) -> Result<Verification, Fault> {
    Ok(verify_counted(reader)?.0)
}

/// Does the same, and returns the work that it took.
fn verify_counted(reader: &Reader) -> Result<(Verification, Work), Fault> {
    let mut verifier = Verifier::new(reader)?;
    verifier.queues()?;
    verifier.jobs()?;
    verifier.index()?;
    verifier.groups()?;
    verifier.marks()?;
    verifier.keys()?;
    verifier.buckets()?;
    let expiries = std::mem::take(&mut verifier.expiries);
    let expiry_problems = reader.expiry_problems(expiries, &verifier.unread)?;
    for problem in expiry_problems.into_iter().chain(reader.plugin_problems()?) {
        verifier.problem(problem);
    }
    verifier.counts();
    Ok((verifier.found, verifier.work))
}

/// The work of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    /// Rows that were read one after the other.
    rows: u64,
    /// Rows that were looked up.
    lookups: u64,
}

struct Verifier {
    ready: ReadOnlyTable<Numbers<ReadyKey>, &'static [u8]>,
    delayed: ReadOnlyTable<Numbers<DelayedKey>, &'static [u8]>,
    members: ReadOnlyTable<MemberKey<'static>, &'static [u8]>,
    heads: ReadOnlyTable<Numbers<HeadKey>, HeadValue>,
    groups: ReadOnlyTable<(u32, &'static str), &'static [u8]>,
    index: ReadOnlyTable<u64, &'static [u8]>,
    unique: ReadOnlyTable<(u32, &'static str), &'static [u8]>,
    unique_ended: ReadOnlyTable<UniqueEndedKey, ()>,
    other: OtherTables,
    counters: Counters,
    kinds: BTreeSet<KindId>,
    /// The rows of the queues by their numbers.
    queues: BTreeMap<QueueId, QueueRow>,
    /// The counts of the rows that were found, by queue.
    tallies: BTreeMap<QueueId, Tally>,
    /// Every job whose row was found.
    seen: IdSet,
    /// Jobs whose records cannot be read, or are in quarantine.
    unread: HashSet<JobId>,
    /// Jobs that have not ended and hold their unique keys.
    holders: IdSet,
    /// When each job expires that waits and has not started.
    expiries: HashMap<JobId, (QueueId, Due)>,
    work: Work,
    found: Verification,
}

/// Tables whose rows lead to no other row that has to lead back.
struct OtherTables {
    queues: ReadOnlyTable<u32, &'static [u8]>,
    running: ReadOnlyTable<u64, &'static [u8]>,
    rates: ReadOnlyTable<(u32, &'static str), &'static [u8]>,
    dead_letters: ReadOnlyTable<Numbers<crate::storage::rows::tables::DeadKey>, &'static [u8]>,
    finished: ReadOnlyTable<Numbers<crate::storage::rows::tables::FinishedKey>, &'static [u8]>,
}

impl Verifier {
    fn new(reader: &Reader) -> Result<Self, Fault> {
        let tables = reader.tables();
        let mut kinds = BTreeSet::new();
        for row in tables.kinds()?.iter()? {
            kinds.insert(row?.0.value());
        }
        let counters = match tables.meta()?.get_row(COUNTERS)? {
            Some(row) => codec::decode(TableName::Meta, 1, &row)?,
            None => return Err(Fault::corrupt(TableName::Meta, 1, "the counters are missing")),
        };
        Ok(Self {
            ready: tables.ready_rows()?,
            delayed: tables.delayed()?,
            members: tables.members()?,
            heads: tables.heads()?,
            groups: tables.groups()?,
            index: tables.index()?,
            unique: tables.unique()?,
            unique_ended: tables.unique_ended()?,
            other: OtherTables {
                queues: tables.queues()?,
                running: tables.running()?,
                rates: tables.rates()?,
                dead_letters: tables.dead_letters()?,
                finished: tables.finished()?,
            },
            counters,
            kinds,
            queues: BTreeMap::new(),
            tallies: BTreeMap::new(),
            seen: IdSet::default(),
            unread: reader.quarantined_jobs()?,
            holders: IdSet::default(),
            expiries: HashMap::new(),
            work: Work::default(),
            found: Verification::default(),
        })
    }

    fn problem(&mut self, problem: String) {
        if self.found.problems.len() < PROBLEMS_MAX {
            self.found.problems.push(problem);
        } else {
            self.found.problems_left_out += 1;
        }
    }

    fn unreadable(&mut self, fault: Fault) {
        self.problem(Error::from(fault).to_string());
    }

    /// The queue's name for a problem.
    fn name(&self, queue: QueueId) -> String {
        match self.queues.get(&queue) {
            Some(row) => format!("queue {:?}", &*row.name),
            None => format!("queue number {queue}"),
        }
    }

    /// The entry of a job in the index. The inner result is an error if the entry cannot be read.
    fn indexed(&mut self, id: u64) -> Result<Result<Option<Location>, Fault>, Fault> {
        self.work.lookups += 1;
        let row = self.index.get(id)?;
        Ok(row.map(|row| codec::decode(TableName::Index, id, row.value())).transpose())
    }

    fn queues(&mut self) -> Result<(), Fault> {
        let mut names: BTreeMap<_, QueueId> = BTreeMap::new();
        for row in self.other.queues.range::<u32>(..)? {
            self.work.rows += 1;
            let (queue, row) = row?;
            let queue = queue.value();
            match codec::decode::<QueueRow>(TableName::Queues, u64::from(queue), row.value()) {
                Ok(row) => {
                    if let Some(other) = names.insert(row.name.clone(), queue) {
                        self.problem(format!("the queues number {other} and {queue} are both named {:?}", &*row.name));
                    }
                    self.queues.insert(queue, row);
                }
                Err(fault) => self.unreadable(fault),
            }
        }
        Ok(())
    }

    /// Checks that each index entry leads to a job. [`Self::job`] checks that each job has an entry.
    fn index(&mut self) -> Result<(), Fault> {
        for row in self.index.range::<u64>(..)? {
            self.work.rows += 1;
            let (id, row) = row?;
            let id = id.value();
            match codec::decode::<Location>(TableName::Index, id, row.value()) {
                Err(fault) => self.unreadable(fault),
                Ok(location) if self.is_at(id, &location)? => {}
                Ok(Location { queue, place }) => {
                    let queue = self.name(queue);
                    self.problem(format!("the index has job {id} at {place:?} of {queue}, but it is not there"));
                }
            }
        }
        Ok(())
    }

    fn is_at(&mut self, id: u64, location: &Location) -> Result<bool, Fault> {
        self.work.lookups += 1;
        let queue = location.queue;
        match &location.place {
            // Ready jobs have no index entry.
            Place::Ready { .. } => Ok(false),
            Place::Delayed { due } => {
                let row = self.delayed.get((queue, due.line as u8, due.at.as_millis(), id))?;
                Ok(row.is_some_and(|row| !crate::storage::rows::place::is_pointer(row.value())))
            }
            Place::Member(member) => self.members.has(member.key(queue, JobId::new(id))),
            Place::Dead { at } => self.other.dead_letters.has((queue, at.as_millis(), id)),
            Place::Finished { state, at } => self.other.finished.has((queue, *state as u8, at.as_millis(), id)),
        }
    }

    /// Checks that each mark belongs to a job that can be running.
    fn marks(&mut self) -> Result<(), Fault> {
        for row in self.other.running.range::<u64>(..)? {
            self.work.rows += 1;
            let (id, row) = row?;
            let id = id.value();
            if let Err(fault) = codec::decode::<StartMark>(TableName::Running, id, row.value()) {
                self.unreadable(fault);
                continue;
            }
            if !self.seen.contains(id) {
                if !self.unread.contains(&JobId::new(id)) {
                    self.problem(format!("job {id} is marked as running, but there is no such job"));
                }
                continue;
            }
            let could_run = match self.indexed(id)? {
                // The job is ready. An entry that cannot be read is reported with the index.
                Ok(None) | Err(_) => true,
                Ok(Some(Location { place: Place::Member(member), .. })) => !member.parked,
                Ok(Some(_)) => false,
            };
            if !could_run {
                self.problem(format!("job {id} is marked as running, but it is neither ready nor in line"));
            }
        }
        Ok(())
    }

    fn buckets(&mut self) -> Result<(), Fault> {
        for row in self.other.rates.range::<(u32, &str)>(..)? {
            self.work.rows += 1;
            let (key, row) = row?;
            let (queue, group) = key.value();
            if codec::decode::<BucketState>(TableName::Rates, u64::from(queue), row.value()).is_err() {
                let queue = self.name(queue);
                self.problem(format!("the bucket of {queue}, group {group:?}, cannot be read"));
            }
        }
        Ok(())
    }

    fn counts(&mut self) {
        for (queue, row) in std::mem::take(&mut self.queues) {
            let counted = self.tallies.remove(&queue).unwrap_or_default();
            let of = |t: &Tally| [t.pending, t.scheduled, t.retrying, t.completed, t.cancelled, t.dead, t.bytes];
            let (says, has) = (of(&row.tally), of(&counted));
            if says != has {
                let what = "pending, scheduled, retrying, completed, cancelled, dead jobs and bytes";
                self.problem(format!("queue {:?} counts {says:?} {what}, but has {has:?}", &*row.name));
            }
        }
        for queue in std::mem::take(&mut self.tallies).into_keys() {
            self.problem(format!("there are jobs in queue number {queue}, but that queue has no row"));
        }
    }
}

#[cfg(test)]
mod tests;
