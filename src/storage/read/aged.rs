//! Pages of ready jobs that have waited for so long that they count as more urgent than their priority says.

use std::iter::Peekable;

use bytes::Bytes;

use crate::job::{AgedFrom, AgedPage, AgedRefill, AgedRow, JobId, Mark, Marks, Priority, ReadyJob};
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::untrusted::HeadValue;
use crate::time::{Now, Timestamp};
use std::sync::Arc;

/// How many rows of one priority a page looks at in each table, at most: rows of jobs that were due only a short time ago, or
/// of other kinds, can stand before the aged ones.
const SEEN_MAX: usize = 500;

/// How many bytes of records of one priority a page copies in each table, at most, but at least one record.
const COPIED_MAX: usize = 256 << 10;

/// So many bytes of records count as one row that was looked at.
const BYTES_PER_ROW: usize = 4 << 10;

/// A row of `ready` or `heads`. Its id and the bytes of its record are left out if it is certainly too young, or cannot be read.
struct Row {
    position: u64,
    job: Option<(u64, Bytes)>,
}

type Rows<'r> = Peekable<Box<dyn Iterator<Item = Result<Row, Fault>> + 'r>>;

/// The rows of one table and one priority, and the first of them that has aged.
struct Level<'r> {
    priority: u8,
    grouped: bool,
    rows: Rows<'r>,
    seen: usize,
    /// The bytes of the records that were copied.
    copied: usize,
    /// The first aged row that is not in the page, and as which priority it counts.
    first: Option<(u8, AgedRow)>,
}

/// What decides whether a row has aged.
struct Rule<'r> {
    refill: &'r AgedRefill,
    marks: &'r Marks,
    age: Timestamp,
}

impl Rule<'_> {
    fn are_younger_from(&self, id: u64) -> bool {
        self.marks.are_younger_from(JobId::new(id), self.age, self.refill.aging.period())
    }

    /// The job of this row, and as which priority it counts, if it has aged and can start.
    fn aged(&self, level: (u8, bool), row: Row) -> Option<(u8, AgedRow)> {
        let (priority, grouped) = level;
        let (id, bytes) = row.job?;
        let table = if grouped { TableName::Members } else { TableName::Ready };
        // A row that cannot be read is repaired when the row itself is reached.
        let record = decode_record(table, id, &bytes).ok().filter(|record| self.refill.kinds.contains(record.kind))?;
        let id = JobId::new(id);
        let since = self.marks.waits_since(id, &record)?;
        let counts_as = self.refill.aging.raised(priority, self.age.since(since));
        let job = Arc::new(ReadyJob::new(id, row.position, record, bytes.len()));
        (counts_as < priority).then_some((counts_as, AgedRow { since, job }))
    }
}

impl Level<'_> {
    /// Finds the next row that has aged.
    fn advance(&mut self, rule: &Rule<'_>) -> Result<(), Fault> {
        while self.seen < SEEN_MAX && self.copied < COPIED_MAX {
            let Some(row) = self.rows.next().transpose()? else { return Ok(()) };
            self.seen += 1;
            self.copied += row.job.as_ref().map_or(0, |(_, bytes)| bytes.len());
            self.first = rule.aged((self.priority, self.grouped), row);
            if self.first.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The position of the first row that is not in the page.
    fn next_position(&mut self) -> Result<Option<u64>, Fault> {
        if let Some((_, row)) = &self.first {
            return Ok(Some(row.job.order.position));
        }
        self.rows.next().transpose().map(|row| row.map(|row| row.position))
    }
}

impl Reader {
    /// The next rows whose jobs have waited for a period of ageing: the most urgent first, and of equally urgent ones those that
    /// have waited longest.
    pub fn aged_page(&self, refill: &AgedRefill, now: Now) -> Result<AgedPage, Fault> {
        let mark = refill.takes_mark.then(|| Ok::<_, Fault>(Mark { now, next_id: self.next_id()? })).transpose()?;
        let mut marks = Marks::clone(&refill.marks);
        mark.into_iter().for_each(|mark| marks.add(mark));
        let rule = Rule { refill, marks: &marks, age: now.age };
        let mut levels = Vec::new();
        for (table, from) in refill.from.0.iter().enumerate() {
            for (priority, from) in (0..Priority::COUNT).zip(from) {
                let (Some(from), grouped) = (*from, table == 1) else { continue };
                let rows = self.rows_of_level(&rule, (priority, grouped), from)?.peekable();
                let mut level = Level { priority, grouped, rows, seen: 0, copied: 0, first: None };
                level.advance(&rule)?;
                levels.push(level);
            }
        }
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < refill.jobs_max && (bytes < refill.bytes_max || rows.is_empty()) {
            let urgent = |level: &&mut Level<'_>| {
                let first = level.first.as_ref();
                first.map(|(counts_as, row)| (*counts_as, row.since, row.job.id))
            };
            let next = levels.iter_mut().filter(|level| level.first.is_some()).min_by_key(urgent);
            let Some(level) = next else { break };
            let Some((_, row)) = level.first.take() else { break };
            bytes += row.job.bytes as usize;
            rows.push(row);
            level.advance(&rule)?;
        }
        let mut next = AgedFrom([[None; Priority::COUNT as usize]; 2]);
        let mut seen = 0;
        for level in &mut levels {
            seen += level.seen + level.copied / BYTES_PER_ROW;
            next.0[usize::from(level.grouped)][usize::from(level.priority)] = level.next_position()?;
        }
        Ok(AgedPage { rows, next, mark, seen, now })
    }

    /// The rows of one table and one priority from a position on. Rows without a group are in the order of their ids, so they
    /// end where the jobs are younger.
    fn rows_of_level<'r>(
        &'r self,
        rule: &'r Rule<'_>,
        (priority, grouped): (u8, bool),
        from: u64,
    ) -> Result<Box<dyn Iterator<Item = Result<Row, Fault>> + 'r>, Fault> {
        let queue = rule.refill.queue;
        let range = (queue, priority, from)..=(queue, priority, u64::MAX);
        if !grouped {
            let rows = self.tables().ready_rows()?.range(range)?.map(|row| {
                let (key, row) = row?;
                let id = key.value().2;
                let job = (!rule.are_younger_from(id)).then(|| (id, Bytes::copy_from_slice(row.value())));
                Ok(Row { position: id, job })
            });
            let is_old = |row: &Result<Row, Fault>| row.as_ref().is_ok_and(|row| row.job.is_some()) || row.is_err();
            return Ok(Box::new(rows.take_while(is_old)));
        }
        let members = self.tables().members()?;
        let rows = self.tables().heads()?.range(range)?.map(move |row| {
            let (key, value) = row?;
            let position = key.value().2;
            let head = HeadValue::decode(value.value()).filter(|(id, ..)| !rule.are_younger_from(*id));
            let Some((id, seq, group)) = head else { return Ok(Row { position, job: None }) };
            Ok(Row { position, job: members.get_row((queue, group, 0, seq, id))?.map(|bytes| (id, bytes)) })
        });
        Ok(Box::new(rows))
    }
}
