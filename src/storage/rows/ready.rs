//! Finds ready jobs without a group. They have no index entry, which keeps them cheap.

use redb::ReadableTable;

use crate::job::{Change, JobId, Priority, QueueId};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::keys::Numbers;
use crate::storage::rows::tables::ReadyKey;

// Not the ones of `crate::sync`: only the writer stores them, and a reader that misses a store searches instead.
use std::sync::atomic::{AtomicU64, Ordering};

/// For how many of the latest jobs the queue is kept in memory, at 8 bytes each.
const RECENT_MAX: usize = 1 << 15;

/// How many rows the search steps over before it looks up the next possible place. That many steps cost about as much
/// as one lookup.
const STEPS_MAX: u64 = 16;

/// The queues in which the latest jobs are ready, as of the last commit. An operator can move a job to another queue; its id is never
/// used again.
#[derive(Debug)]
pub(crate) struct Recent(Box<[AtomicU64]>);

impl Default for Recent {
    fn default() -> Self {
        Self(std::iter::repeat_with(AtomicU64::default).take(RECENT_MAX).collect())
    }
}

impl Recent {
    /// The slot of an id, and the upper half of the slot's value if the slot belongs to this id.
    fn slot(&self, id: JobId) -> (&AtomicU64, u64) {
        let id = id.get();
        (&self.0[id as usize % RECENT_MAX], (id / RECENT_MAX as u64) << 32)
    }

    /// Notes the jobs that a commit has made ready and durable.
    pub fn note(&self, changes: &[Change]) {
        for change in changes {
            if let Change::Ready { queue, job: entry } = change
                && !entry.is_grouped()
            {
                let (slot, upper) = self.slot(entry.id);
                // A job that was promoted or redriven can be older than the job that has the slot.
                if slot.load(Ordering::Relaxed) >> 32 <= upper >> 32 {
                    slot.store(upper | (u64::from(*queue) + 1), Ordering::Relaxed);
                }
            }
        }
    }

    /// The only queue in which this job can be ready, if it is known.
    pub fn queue_of(&self, id: JobId) -> Option<QueueId> {
        let (slot, upper) = self.slot(id);
        let queue = slot.load(Ordering::Relaxed).checked_sub(upper + 1)?;
        QueueId::try_from(queue).ok()
    }
}

/// The work of one search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Effort {
    /// Lookups of a place in the table.
    pub lookups: u64,
    /// Rows that were read one after the other from there.
    pub steps: u64,
}

type Found = Option<(QueueId, u8)>;

/// Finds the queue and the priority under which a job is ready. In a known queue the job is looked up under each
/// priority. Otherwise the search goes through the queues and priorities that have ready jobs, at two lookups for each
/// at most. Empty queues cost nothing.
pub(in crate::storage) fn find(
    table: &impl ReadableTable<Numbers<ReadyKey>, &'static [u8]>,
    id: JobId,
    queue: Option<QueueId>,
) -> Result<(Found, Effort), Fault> {
    match queue {
        Some(queue) => find_in(table, id, queue),
        None => find_anywhere(table, id.get()),
    }
}

fn find_in(
    table: &impl ReadableTable<Numbers<ReadyKey>, &'static [u8]>,
    id: JobId,
    queue: QueueId,
) -> Result<(Found, Effort), Fault> {
    let mut effort = Effort::default();
    let usual = Priority::default().get();
    let others = (0..Priority::COUNT).filter(|priority| *priority != usual);
    for priority in std::iter::once(usual).chain(others) {
        effort.lookups += 1;
        if table.get((queue, priority, id.get()))?.is_some() {
            return Ok((Some((queue, priority)), effort));
        }
    }
    Ok((None, effort))
}

fn find_anywhere(
    table: &impl ReadableTable<Numbers<ReadyKey>, &'static [u8]>,
    id: u64,
) -> Result<(Found, Effort), Fault> {
    let (mut effort, mut from) = (Effort::default(), (0, 0, 0));
    loop {
        effort.lookups += 1;
        let (mut steps, mut last) = (0, None);
        for row in table.range(from..=(QueueId::MAX, u8::MAX, u64::MAX))? {
            let (queue, priority, found) = row?.0.value();
            if found == id {
                return Ok((Some((queue, priority)), effort));
            }
            steps += 1;
            if steps == STEPS_MAX {
                last = Some((queue, priority, found));
                break;
            }
        }
        effort.steps += steps;
        from = match last {
            None => return Ok((None, effort)),
            Some((queue, priority, found)) if found < id => (queue, priority, id),
            // Ids are in order, so the job cannot be in the rest of this priority.
            Some((queue, priority, _)) => (queue, priority, u64::MAX),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redb::{Database, TableDefinition, WriteTransaction};

    use super::*;
    use crate::job::{ReadyJob, Record};

    const READY: TableDefinition<'_, Numbers<ReadyKey>, &'static [u8]> = TableDefinition::new("ready");

    fn with_rows<T>(rows: impl IntoIterator<Item = ReadyKey>, look: impl FnOnce(&WriteTransaction) -> T) -> T {
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let txn = db.begin_write().unwrap();
        let mut table = txn.open_table(READY).unwrap();
        for key in rows {
            table.insert(key, &[0][..]).unwrap();
        }
        drop(table);
        look(&txn)
    }

    fn search(txn: &WriteTransaction, id: u64, queue: Option<QueueId>) -> (Found, Effort) {
        find(&txn.open_table(READY).unwrap(), JobId::new(id), queue).unwrap()
    }

    #[test]
    fn a_job_is_found_wherever_it_is_and_nowhere_else() {
        let mut rng = fastrand::Rng::with_seed(5);
        for round in 0..45 {
            // Few and many rows for each queue and priority.
            let (queues, priorities) = ([1, 3, 50][round % 3], [1, 2, 10][round / 3 % 3]);
            let ids = (0..rng.u64(0..400)).map(|n| n * 2 + 1);
            let rows: Vec<ReadyKey> = ids.map(|id| (rng.u32(0..queues), rng.u8(0..priorities), id)).collect();
            with_rows(rows.clone(), |txn| {
                for (queue, priority, id) in &rows {
                    for known in [None, Some(*queue)] {
                        assert_eq!(search(txn, *id, known).0, Some((*queue, *priority)), "{round}: {id}");
                    }
                    assert_eq!(search(txn, *id, Some(queue + 1)).0, None);
                    assert_eq!(search(txn, id + 1, None).0, None);
                }
                assert_eq!(search(txn, 0, None).0, None);
            });
        }
    }

    #[test]
    fn ten_thousand_queues_without_ready_jobs_cost_nothing() {
        let few = (0..10).flat_map(|queue| (0..1_000).map(move |n| (queue * 1_000, 5, n * 10 + u64::from(queue) + 1)));
        with_rows(few, |txn| {
            // An id in the middle, an id that is missing there, one behind and one before all others.
            for (id, is_there) in [(5_010, true), (5_011, true), (20_000, false), (0, false)] {
                let (found, Effort { lookups, steps }) = search(txn, id, None);
                assert_eq!(found.is_some(), is_there, "{id}");
                assert!(lookups <= 2 * 10 + 1 && steps <= 2 * 10 * STEPS_MAX, "{id}: {lookups} and {steps}");
            }
        });
    }

    #[test]
    fn ten_thousand_queues_with_a_job_each_are_gone_through_row_by_row() {
        let one_each = (0..10_000).map(|queue| (queue, (queue % 10) as u8, u64::from(queue) + 1));
        with_rows(one_each, |txn| {
            let (found, Effort { lookups, steps }) = search(txn, 20_000, None);
            assert_eq!(found, None);
            assert!(lookups <= 10_000 / STEPS_MAX + 1 && steps <= 10_000, "{lookups} and {steps}");
            // In a known queue there is nothing to step over.
            let (found, Effort { lookups, steps }) = search(txn, 7_006, Some(7_005));
            assert_eq!((found, steps), (Some((7_005, 5)), 0));
            assert!(lookups <= u64::from(Priority::COUNT), "{lookups}");
        });
    }

    fn ready(queue: QueueId, id: u64) -> Change {
        Change::Ready { queue, job: Arc::new(ReadyJob::new(JobId::new(id), id, Record::plain(), 0)) }
    }

    #[test]
    fn the_queues_of_the_latest_jobs_are_known_and_no_others() {
        let recent = Recent::default();
        let queue_of = |id| recent.queue_of(JobId::new(id));
        assert_eq!(queue_of(1), None);
        let max = RECENT_MAX as u64;
        recent.note(&[ready(0, 1), ready(u32::MAX - 1, 2), ready(7, max + 1)]);
        assert_eq!([1, 2, 3, max + 1].map(queue_of), [None, Some(u32::MAX - 1), None, Some(7)]);
        // An old job that is ready again does not replace a later one.
        recent.note(&[ready(0, 1), ready(3, 3)]);
        assert_eq!([1, 3, max + 1, 3 * max + 1].map(queue_of), [None, Some(3), Some(7), None]);
    }
}
