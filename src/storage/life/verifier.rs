//! What a verification has seen and found so far. Each home and each facet checks its own rows with it (`problems` in
//! its file), and `repair/verify.rs` runs these checks one after another.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use redb::{ReadOnlyTable, ReadableTable};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::id_set::IdSet;
use crate::error::Error;
use crate::job::{JobId, KindId, QueueId};
use crate::storage::rows::batch::{COUNTERS, Counters};
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::keys::Numbers;
use crate::storage::rows::queue_row::QueueRow;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::{
    DeadKey, DelayedKey, FinishedKey, HeadKey, MemberKey, ReadTables, TagKey, UniqueEndedKey,
};
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::tally::Tally;
use crate::storage::rows::untrusted::HeadValue;
use crate::time::Due;

/// How many problems are listed at most. A file that is damaged everywhere has one for each row.
pub const PROBLEMS_MAX: usize = 1_000;

/// What [`Millpond::verify`](crate::Millpond::verify) found.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let Verification { jobs, problems, .. } = pond.verify().await?;
/// assert_eq!((jobs, problems.len()), (0, 0));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// How many jobs were read.
    pub jobs: u64,
    /// What does not agree, a sentence each. Empty if everything agrees. At most 1,000 are listed.
    pub problems: Vec<String>,
    /// How many more problems there are than are listed.
    pub problems_left_out: u64,
}

impl Verification {
    /// Whether records, indexes and counts agree.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// The work of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Work {
    /// Rows that were read one after the other.
    pub rows: u64,
    /// Rows that were looked up.
    pub lookups: u64,
}

/// A verification that is under way.
pub(in crate::storage) struct Verifier<'r> {
    reader: &'r Reader,
    /// The tables in which rows are looked up. They stay open, because opening one is a lookup of its own.
    pub delayed: ReadOnlyTable<Numbers<DelayedKey>, &'static [u8]>,
    pub members: ReadOnlyTable<MemberKey<'static>, &'static [u8]>,
    pub heads: ReadOnlyTable<Numbers<HeadKey>, HeadValue>,
    pub groups: ReadOnlyTable<(u32, &'static str), &'static [u8]>,
    pub index: ReadOnlyTable<u64, &'static [u8]>,
    pub dead_letters: ReadOnlyTable<Numbers<DeadKey>, &'static [u8]>,
    pub finished: ReadOnlyTable<Numbers<FinishedKey>, &'static [u8]>,
    pub blocked: ReadOnlyTable<Numbers<(u32, u64)>, &'static [u8]>,
    pub unique: ReadOnlyTable<(u32, &'static str), &'static [u8]>,
    pub unique_ended: ReadOnlyTable<UniqueEndedKey, ()>,
    /// `None` if no job ever had a tag.
    pub tags: Option<ReadOnlyTable<TagKey, ()>>,
    pub counters: Counters,
    pub kinds: BTreeSet<KindId>,
    /// The rows of the queues by their numbers.
    pub queues: BTreeMap<QueueId, QueueRow>,
    /// The counts of the rows that were found, by queue.
    pub tallies: BTreeMap<QueueId, Tally>,
    /// Every job whose row was found.
    pub seen: IdSet,
    /// Jobs whose records cannot be read, or are in quarantine.
    pub unread: HashSet<JobId>,
    /// Jobs that have not ended and hold their unique keys.
    pub holders: IdSet,
    /// Jobs whose records say that they have steps.
    pub with_steps: HashSet<JobId>,
    /// When each job expires that waits and has not started.
    pub expiries: HashMap<JobId, (QueueId, Due)>,
    /// How many rows of the index of tags belong to jobs that were read.
    pub tags_found: u64,
    pub work: Work,
    pub found: Verification,
}

impl<'r> Verifier<'r> {
    pub fn new(reader: &'r Reader) -> Result<Self, Fault> {
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
            reader,
            delayed: tables.delayed()?,
            members: tables.members()?,
            heads: tables.heads()?,
            groups: tables.groups()?,
            index: tables.index()?,
            dead_letters: tables.dead_letters()?,
            finished: tables.finished()?,
            blocked: tables.blocked()?,
            unique: tables.unique()?,
            unique_ended: tables.unique_ended()?,
            tags: tables.tags()?.into_table(),
            counters,
            kinds,
            queues: BTreeMap::new(),
            tallies: BTreeMap::new(),
            seen: IdSet::default(),
            unread: reader.quarantined_jobs()?,
            holders: IdSet::default(),
            with_steps: HashSet::new(),
            expiries: HashMap::new(),
            tags_found: 0,
            work: Work::default(),
            found: Verification::default(),
        })
    }

    /// The tables of the snapshot, for checks that only read them through.
    pub fn tables(&self) -> ReadTables<'r> {
        self.reader.tables()
    }

    /// Checks that each row of a table with a row for a queue or a group is that of a queue and can be read. `what` is such a row.
    pub fn check_rows_by_group<T: DeserializeOwned>(
        &mut self,
        name: TableName,
        table: &ReadOnlyTable<(QueueId, &'static str), &'static [u8]>,
        what: &str,
    ) -> Result<(), Fault> {
        for row in table.iter()? {
            self.work.rows += 1;
            let (key, row) = row?;
            let (queue, group) = key.value();
            if !self.queues.contains_key(&queue) {
                self.problem(format!("there is a {what} of queue number {queue}, group {group:?}, which has no row"));
            }
            if codec::decode::<T>(name, u64::from(queue), row.value()).is_err() {
                let queue = self.name(queue);
                self.problem(format!("the {what} of {queue}, group {group:?}, cannot be read"));
            }
        }
        Ok(())
    }

    /// Adds a problem to the list, if there is room.
    pub fn problem(&mut self, problem: String) {
        if self.found.problems.len() < PROBLEMS_MAX {
            self.found.problems.push(problem);
        } else {
            self.found.problems_left_out += 1;
        }
    }

    /// Adds the problem that a row cannot be read.
    pub fn unreadable(&mut self, fault: Fault) {
        self.problem(Error::from(fault).to_string());
    }

    /// The queue's name for a problem.
    pub fn name(&self, queue: QueueId) -> String {
        match self.queues.get(&queue) {
            Some(row) => format!("queue {:?}", &*row.name),
            None => format!("queue number {queue}"),
        }
    }
}
