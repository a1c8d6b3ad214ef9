//! Verification of groups: their members, their rows, and the entries of their heads.

use std::sync::Arc;

use super::Verifier;
use crate::job::{JobId, QueueId, Record};
use crate::storage::life::groups::{GroupRow, Head, HeadAt};
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Member, Place, is_pointer};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::untrusted::HeadValue;
use crate::time::Due;

/// The group whose members are read at the moment.
struct Line {
    queue: QueueId,
    group: Arc<str>,
    /// `None` if the group's row cannot be read.
    row: Option<GroupRow>,
    /// Whether the group has members that are not parked.
    has_members: bool,
    has_its_head: bool,
}

impl Verifier {
    pub(in crate::storage) fn groups(&mut self) -> Result<(), Fault> {
        self.members()?;
        self.rows()?;
        self.heads()
    }

    fn group(&mut self, queue: QueueId, group: &str) -> Result<Result<GroupRow, Fault>, Fault> {
        self.work.lookups += 1;
        let row = self.groups.get((queue, group))?;
        let row = row.map(|row| codec::decode(TableName::Groups, u64::from(queue), row.value()));
        Ok(row.unwrap_or_else(|| Ok(GroupRow::default())))
    }

    /// Whether this job is its group's head and waits for this time. Also true if the group's row cannot be read, which
    /// is reported with the rows.
    pub(in crate::storage) fn head_waits_until(
        &mut self,
        queue: QueueId,
        group: &str,
        id: u64,
        due: Due,
    ) -> Result<bool, Fault> {
        let row = self.group(queue, group)?;
        let waits = |head: Head| head.id.get() == id && head.at == HeadAt::Due(due);
        Ok(row.map_or(true, |row| row.head.is_some_and(waits)))
    }

    fn has_pointer(&mut self, queue: QueueId, id: JobId, due: Due) -> Result<bool, Fault> {
        self.work.lookups += 1;
        let row = self.delayed.get((queue, due.line as u8, due.at.as_millis(), id.get()))?;
        Ok(row.is_some_and(|row| is_pointer(row.value())))
    }

    /// Checks the members, which are ordered by group.
    fn members(&mut self) -> Result<(), Fault> {
        let mut line: Option<Line> = None;
        for row in self.members.range::<(u32, &str, u8, u64, u64)>(..)? {
            let (key, row) = row?;
            let (queue, group, parked, seq, id) = key.value();
            if line.as_ref().is_none_or(|line| (line.queue, &*line.group) != (queue, group)) {
                if let Some(line) = line.take() {
                    self.end_of(&line);
                }
                let row = self.group(queue, group)?.ok();
                line = Some(Line { queue, group: group.into(), row, has_members: false, has_its_head: false });
            }
            let line = line.as_mut().expect("made above");
            let member = Member { group: line.group.clone(), parked: parked == 1, seq };
            if seq >= self.counters.next_id {
                let next = self.counters.next_id;
                self.problem(format!("job {id} has place {seq} in line, but the next place would be {next}"));
            }
            let record = self.job(queue, id, Place::Member(member.clone()), row.value())?;
            if member.parked {
                if let Some(record) = record {
                    self.parked(queue, JobId::new(id), &record)?;
                }
                continue;
            }
            line.has_members = true;
            let head = line.row.and_then(|row| row.head);
            if let Some(head) = head.filter(|head| (head.id.get(), head.seq) == (id, seq)) {
                line.has_its_head = true;
                if let (Some(record), HeadAt::Ready { priority, .. }) = (record, head.at)
                    && priority != record.priority.get()
                {
                    self.problem(format!("the entry of job {id} in \"heads\" has another priority than its record"));
                }
            }
        }
        if let Some(line) = line {
            self.end_of(&line);
        }
        Ok(())
    }

    fn end_of(&mut self, line: &Line) {
        // A row that cannot be read is reported with the rows.
        let Some(row) = line.row else { return };
        let (group, queue) = (&*line.group, self.name(line.queue));
        match (line.has_members, row.head) {
            (true, None) => self.problem(format!("group {group:?} of {queue} has members, but no head")),
            (_, Some(Head { id, .. })) if !line.has_its_head => {
                self.problem(format!("the head of group {group:?} of {queue} is job {id}, which is not in line"));
            }
            _ => {}
        }
    }

    /// Checks that a parked member has its pointer.
    fn parked(&mut self, queue: QueueId, id: JobId, record: &Record) -> Result<(), Fault> {
        let is_looked_at = match record.due() {
            Some(due) => self.has_pointer(queue, id, due)?,
            None => false,
        };
        if !is_looked_at {
            let queue = self.name(queue);
            self.problem(format!(
                "job {id} of {queue} waits until it is due, but has no entry in \"delayed\" that ends its wait"
            ));
        }
        Ok(())
    }

    /// Checks each group's row, whether or not the group has members.
    fn rows(&mut self) -> Result<(), Fault> {
        for row in self.groups.range::<(u32, &str)>(..)? {
            self.work.rows += 1;
            let (key, row) = row?;
            let (queue, group) = key.value();
            let of = format!("group {group:?} of {}", self.name(queue));
            let Ok(row) = codec::decode::<GroupRow>(TableName::Groups, u64::from(queue), row.value()) else {
                self.problem(format!("the row of {of} cannot be read"));
                continue;
            };
            let Some(head) = row.head else {
                if !row.paused {
                    self.problem(format!("{of} has a row without a head or a pause"));
                }
                continue;
            };
            let id = head.id;
            self.work.lookups += 1;
            if !self.members.has((queue, group, 0, head.seq, id.get()))? {
                self.problem(format!("the head of {of} is job {id}, which is not a member"));
            }
            if row.paused != (head.at == HeadAt::Held) {
                let is = if row.paused { "is paused" } else { "is not paused" };
                self.problem(format!("{of} {is}, but its head is recorded as {:?}", head.at));
            }
            let is_found = match head.at {
                HeadAt::Ready { priority, position } => {
                    self.work.lookups += 1;
                    let stands = self.heads.get((queue, priority, position))?;
                    stands.is_some_and(|row| HeadValue::decode(row.value()) == Some((id.get(), head.seq, group)))
                }
                HeadAt::Due(due) => self.has_pointer(queue, id, due)?,
                HeadAt::Held => true,
            };
            if !is_found {
                self.problem(format!(
                    "the head of {of} is job {id}, recorded as {:?}, but that entry is not there",
                    head.at
                ));
            }
        }
        Ok(())
    }

    /// Checks that each row of `heads` is the one of its group's head.
    fn heads(&mut self) -> Result<(), Fault> {
        for row in self.heads.range((0, 0, 0)..=(u32::MAX, u8::MAX, u64::MAX))? {
            self.work.rows += 1;
            let (key, row) = row?;
            let (queue, priority, position) = key.value();
            if position >= self.counters.next_position {
                let next = self.counters.next_position;
                self.problem(format!("a head has position {position}, but the next position would be {next}"));
            }
            let Some((id, seq, group)) = HeadValue::decode(row.value()) else {
                let queue = self.name(queue);
                self.problem(format!("a head of {queue} cannot be read"));
                continue;
            };
            let head = Head { id: JobId::new(id), seq, at: HeadAt::Ready { priority, position } };
            // A row that cannot be read is reported with the rows.
            if self.group(queue, group)?.is_ok_and(|row| row.head != Some(head)) {
                let queue = self.name(queue);
                self.problem(format!(
                    "\"heads\" has job {id} for group {group:?} of {queue}, whose row says otherwise"
                ));
            }
        }
        Ok(())
    }
}
