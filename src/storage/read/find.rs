//! Finds one job, and counts what stands before it.

use std::collections::BTreeSet;

use redb::ReadableTable;

use crate::job::{BucketKey, BucketState, JobId, Order, QueueId};
use crate::storage::life::groups::row::GroupRow;
use crate::storage::read::found::Found;
use crate::storage::read::listing::{ScanFrom, ScanMost, Source};
use crate::storage::rows::batch::{COUNTERS, Counters};
use crate::storage::rows::by_group;
use crate::storage::rows::catalog::Catalog;
use crate::storage::rows::codec;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{KnownQueue, Location, Place};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::ready;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::untrusted::HeadValue;

impl Reader {
    /// The id that the next job gets. All jobs of this snapshot have lower ones.
    pub fn next_id(&self) -> Result<JobId, Fault> {
        let row = self.tables().meta()?.get_row(COUNTERS)?;
        let counters = row.map(|row| codec::decode::<Counters>(TableName::Meta, 1, &row)).transpose()?;
        Ok(JobId::new(counters.map_or(1, |counters| counters.next_id)))
    }

    /// One job, wherever it lies.
    pub fn find(&self, catalog: &Catalog, id: JobId) -> Result<Option<Found>, Fault> {
        if let Some(row) = self.tables().index()?.get_row(id.get())? {
            return match codec::decode(TableName::Index, id.get(), &row) {
                Ok(location) => self.load(id, location),
                Err(_) => self.search(catalog, id),
            };
        }
        let (found, _) = ready::find(&self.tables().ready_rows()?, id, catalog.recent.queue_of(id))?;
        if let Some((queue, priority)) = found {
            return self.load(id, Location { queue, place: Place::Ready { priority } });
        }
        self.missing(id)?;
        Ok(None)
    }

    /// In which queue a job is. If nothing else tells it, this searches through all queues that have ready jobs.
    pub fn queue_of(&self, catalog: &Catalog, id: JobId) -> Result<KnownQueue, Fault> {
        if let Some(row) = self.tables().index()?.get_row(id.get())? {
            let location = codec::decode::<Location>(TableName::Index, id.get(), &row);
            return Ok(location.map_or(KnownQueue::NotSearched, |location| KnownQueue::Found(location.queue)));
        }
        if let Some(queue) = catalog.recent.queue_of(id) {
            return Ok(KnownQueue::Found(queue));
        }
        let (found, _) = ready::find(&self.tables().ready_rows()?, id, None)?;
        Ok(found.map_or(KnownQueue::Nowhere, |(queue, _)| KnownQueue::Found(queue)))
    }

    /// Goes through every job for one whose index entry cannot be read.
    fn search(&self, catalog: &Catalog, id: JobId) -> Result<Option<Found>, Fault> {
        let mut result = None;
        self.scan(&catalog.stored_queues(), Source::ALL, ScanFrom::default(), ScanMost::ALL, |found| {
            match found {
                Ok(found) if found.id == id => result = Some(Ok(Found { unindexed: true, ..found.kept() })),
                Err(Fault::Corrupt { id: damaged, table, detail }) if damaged == id.get() => {
                    result = Some(Err(Fault::Corrupt { id: damaged, table, detail }));
                }
                _ => {}
            }
            result.is_none()
        })?;
        result.transpose()
    }

    pub(super) fn load(&self, id: JobId, location: Location) -> Result<Option<Found>, Fault> {
        let Location { queue, place } = location;
        let number = id.get();
        let tables = self.tables();
        let row = match &place {
            Place::Ready { priority } => tables.ready_rows()?.get_row((queue, *priority, number))?,
            Place::Delayed { due } => tables.delayed()?.get_row((queue, due.line as u8, due.at.as_millis(), number))?,
            Place::Member(member) => tables.members()?.get_row(member.key(queue, id))?,
            Place::Dead { at } => tables.dead_letters()?.get_row((queue, at.as_millis(), number))?,
            Place::Finished { state, at } => {
                tables.finished()?.get_row((queue, *state as u8, at.as_millis(), number))?
            }
            Place::Blocked => tables.blocked()?.get_row((queue, number))?,
        };
        let Some(row) = row else { return Ok(None) };
        let record = decode_record(place.table(), number, &row)?;
        Ok(Some(Found { id, queue, place, record, unindexed: false }))
    }

    pub fn group(&self, queue: QueueId, group: &str) -> Result<GroupRow, Fault> {
        match self.tables().groups()?.get_row((queue, group))? {
            Some(row) => codec::decode(TableName::Groups, u64::from(queue), &row),
            None => Ok(GroupRow::default()),
        }
    }

    /// How many ready jobs, with a group or without, stand before this place, as far as `most` allows counting. The rows
    /// of jobs that a handler has are still there: `taken` says which these are. A job that `counts_as` a more urgent priority
    /// than its own stands before the rows between the two.
    pub fn ahead(
        &self,
        queue: QueueId,
        (order, counts_as): (Order, u8),
        grouped: bool,
        most: ScanMost,
        taken: impl Fn(JobId) -> bool,
    ) -> Result<u64, Fault> {
        let Order { priority, position } = order;
        let (more_urgent, earlier) =
            ((queue, 0, 0)..(queue, counts_as, 0), (queue, priority, 0)..(queue, priority, position));
        let mut count = 0;
        if grouped {
            let heads = self.tables().heads()?;
            for row in heads.range(more_urgent)?.chain(heads.range(earlier)?) {
                let head = HeadValue::decode(row?.1.value()).map(|(id, ..)| JobId::new(id));
                count += u64::from(head.is_none_or(|head| !taken(head)));
                if count >= most.rows as u64 {
                    break;
                }
            }
        } else {
            let mut bytes = 0;
            let ready = self.tables().ready_rows()?;
            for row in ready.range(more_urgent)?.chain(ready.range(earlier)?) {
                let (key, value) = row?;
                count += u64::from(!taken(JobId::new(key.value().2)));
                bytes += value.value().len();
                if count >= most.rows as u64 || bytes >= most.bytes {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// How many of a group's members stand before this one, as far as `most` allows counting.
    pub fn ahead_in_group(&self, queue: QueueId, group: &str, seq: u64, most: ScanMost) -> Result<u64, Fault> {
        let range = (queue, group, 0, 0, 0)..(queue, group, 0, seq, 0);
        let (mut count, mut bytes) = (0, 0);
        for row in self.tables().members()?.range(range)?.take(most.rows) {
            count += 1;
            bytes += row?.1.value().len();
            if bytes >= most.bytes {
                break;
            }
        }
        Ok(count)
    }

    /// The jobs that have a mark.
    pub fn marked(&self) -> Result<BTreeSet<JobId>, Fault> {
        let mut marked = BTreeSet::new();
        for row in self.tables().running()?.iter()? {
            marked.insert(JobId::new(row?.0.value()));
        }
        Ok(marked)
    }

    pub fn buckets(&self) -> Result<Vec<(BucketKey, BucketState)>, Fault> {
        by_group::read_all(TableName::Rates, &self.tables().rates()?)
    }
}
