//! Verification of groups: their members, their rows, and the entries of their heads.

use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;

use super::row::{GroupRow, Head, HeadAt, HeldBy};
use crate::job::{JobId, Order, QueueId, Record};
use crate::storage::life::facets::check_job;
use crate::storage::life::index;
use crate::storage::life::verifier::Verifier;
use crate::storage::rows::aside::Damage;
use crate::storage::rows::codec::{self, decode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Member, Place, is_pointer};
use crate::storage::rows::reader::Reader;
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
    /// The heads that were not found among the members yet.
    heads_left: Vec<Head>,
}

/// Checks the members, the groups' rows and the rows of heads.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    check_members(verifier)?;
    check_rows(verifier)?;
    check_heads(verifier)
}

fn look_up(verifier: &mut Verifier<'_>, queue: QueueId, group: &str) -> Result<Result<GroupRow, Fault>, Fault> {
    verifier.work.lookups += 1;
    let row = verifier.groups.get((queue, group))?;
    let row = row.map(|row| codec::decode(TableName::Groups, u64::from(queue), row.value()));
    Ok(row.unwrap_or_else(|| Ok(GroupRow::default())))
}

/// Whether this job is a head of its group and waits for this time. Also true if the group's row cannot be read, which
/// is reported with the rows.
fn head_waits_until(
    verifier: &mut Verifier<'_>,
    queue: QueueId,
    group: &str,
    id: u64,
    due: Due,
) -> Result<bool, Fault> {
    let row = look_up(verifier, queue, group)?;
    let waits = |head: Head| head.at == HeadAt::Due(due);
    Ok(row.map_or(true, |row| row.head(JobId::new(id)).is_some_and(waits)))
}

fn has_pointer(verifier: &mut Verifier<'_>, queue: QueueId, id: JobId, due: Due) -> Result<bool, Fault> {
    verifier.work.lookups += 1;
    let row = verifier.delayed.get((queue, due.line as u8, due.at.as_millis(), id.get()))?;
    Ok(row.is_some_and(|row| is_pointer(row.value())))
}

/// Checks the members, which are ordered by group.
fn check_members(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let mut line: Option<Line> = None;
    for row in verifier.members.range::<(u32, &str, u8, u64, u64)>(..)? {
        let (key, row) = row?;
        let (queue, group, parked, seq, id) = key.value();
        if line.as_ref().is_none_or(|line| (line.queue, &*line.group) != (queue, group)) {
            if let Some(line) = line.take() {
                end_of(verifier, &line);
            }
            let row = look_up(verifier, queue, group)?.ok();
            let heads_left = row.as_ref().map(|row| row.heads.clone()).unwrap_or_default();
            line = Some(Line { queue, group: group.into(), row, has_members: false, heads_left });
        }
        let line = line.as_mut().expect("made above");
        let member = Member { group: line.group.clone(), parked: parked == 1, seq };
        if seq >= verifier.counters.next_id {
            let next = verifier.counters.next_id;
            verifier.problem(format!("job {id} has place {seq} in its group, but the next place would be {next}"));
        }
        let record = check_job(verifier, queue, id, Place::Member(member.clone()), row.value())?;
        if member.parked {
            if let Some(record) = record {
                check_parked(verifier, queue, JobId::new(id), &record)?;
            }
            continue;
        }
        line.has_members = true;
        let head = line.heads_left.iter().position(|head| (head.id.get(), head.seq) == (id, seq));
        let head = head.map(|at| line.heads_left.swap_remove(at));
        if let (Some(Head { at: HeadAt::Ready { priority, .. }, .. }), Some(record)) = (head, record)
            && priority != record.priority.get()
        {
            verifier.problem(format!("the entry of job {id} in \"heads\" has another priority than its record"));
        }
    }
    if let Some(line) = line {
        end_of(verifier, &line);
    }
    Ok(())
}

fn end_of(verifier: &mut Verifier<'_>, line: &Line) {
    // A row that cannot be read is reported with the rows.
    let Some(row) = &line.row else { return };
    let (group, queue) = (&*line.group, verifier.name(line.queue));
    if line.has_members && row.heads.is_empty() && row.held_by().is_none() {
        verifier.problem(format!("group {group:?} of {queue} has members, but no head"));
    }
    for Head { id, .. } in &line.heads_left {
        verifier.problem(format!("job {id} is a head of group {group:?} of {queue}, and it is parked or not a member"));
    }
}

/// Checks that a parked member has its pointer.
fn check_parked(verifier: &mut Verifier<'_>, queue: QueueId, id: JobId, record: &Record) -> Result<(), Fault> {
    let is_looked_at = match record.due() {
        Some(due) => has_pointer(verifier, queue, id, due)?,
        None => false,
    };
    if !is_looked_at {
        let queue = verifier.name(queue);
        verifier.problem(format!(
            "job {id} of {queue} waits until it is due, but has no entry in \"delayed\" that ends its wait"
        ));
    }
    Ok(())
}

/// Checks each group's row, whether or not the group has members.
fn check_rows(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.groups.range::<(u32, &str)>(..)? {
        verifier.work.rows += 1;
        let (key, row) = row?;
        let (queue, group) = key.value();
        let of = format!("group {group:?} of {}", verifier.name(queue));
        if !verifier.queues.contains_key(&queue) {
            verifier.problem(format!("there is a row of {of}, which has no row"));
        }
        let Ok(row) = codec::decode::<GroupRow>(TableName::Groups, u64::from(queue), row.value()) else {
            verifier.problem(format!("the row of {of} cannot be read"));
            continue;
        };
        if let Some(by) = row.held_by() {
            check_hold(verifier, queue, group, by)?;
        }
        if row == GroupRow::default() {
            verifier.problem(format!("{of} has a row without a head, a pause or a hold"));
        }
        if !row.heads.is_sorted_by(|a, b| (a.seq, a.id) < (b.seq, b.id)) {
            verifier.problem(format!("the heads of {of} are not in the order of their places"));
        }
        for head in &row.heads {
            check_head(verifier, (queue, group), &row, *head)?;
        }
    }
    Ok(())
}

/// Checks that a head is a member, and that its entry is where the group's row says.
fn check_head(
    verifier: &mut Verifier<'_>,
    (queue, group): (QueueId, &str),
    row: &GroupRow,
    head: Head,
) -> Result<(), Fault> {
    let (id, of) = (head.id, format!("group {group:?} of {}", verifier.name(queue)));
    verifier.work.lookups += 1;
    if !verifier.members.has((queue, group, 0, head.seq, id.get()))? {
        verifier.problem(format!("a head of {of} is job {id}, which is not a member"));
    }
    if row.is_paused() != (head.at == HeadAt::Held) {
        let is = if row.is_paused() { "is paused" } else { "is not paused" };
        verifier.problem(format!("{of} {is}, but its head, job {id}, is recorded as {:?}", head.at));
    }
    let is_found = match head.at {
        HeadAt::Ready { priority, position } => {
            verifier.work.lookups += 1;
            let stands = verifier.heads.get((queue, priority, position))?;
            stands.is_some_and(|row| HeadValue::decode(row.value()) == Some((id.get(), head.seq, group)))
        }
        HeadAt::Due(due) => has_pointer(verifier, queue, id, due)?,
        HeadAt::Held => true,
    };
    if !is_found {
        verifier
            .problem(format!("a head of {of} is job {id}, recorded as {:?}, but that entry does not exist", head.at));
    }
    Ok(())
}

/// Checks that the dead letter that holds a group is one of the group.
fn check_hold(verifier: &mut Verifier<'_>, queue: QueueId, group: &str, by: HeldBy) -> Result<(), Fault> {
    let (id, of) = (by.id.get(), format!("group {group:?} of {}", verifier.name(queue)));
    verifier.work.lookups += 1;
    let is_dead = match index::look_up(verifier, id)? {
        Ok(Some(Location { queue: in_queue, place: Place::Dead { at } })) if in_queue == queue => {
            verifier.work.lookups += 1;
            let row = verifier.dead_letters.get((queue, at.as_millis(), id))?;
            let row = row.map(|row| Bytes::copy_from_slice(row.value()));
            // A record that cannot be read is reported with the dead letters.
            let record = row.and_then(|row| decode_record(TableName::DeadLetters, id, &row).ok());
            record.is_none_or(|record| record.group().is_some_and(|of| &**of == group))
        }
        Ok(_) => false,
        // A location that cannot be read is reported with the index.
        Err(_) => true,
    };
    if !is_dead {
        verifier.problem(format!("{of} is held by job {id}, which is not a dead letter of the group"));
    }
    if by.seq >= verifier.counters.next_id {
        let next = verifier.counters.next_id;
        verifier.problem(format!("{of} is held by job {id} at place {}, but the next place would be {next}", by.seq));
    }
    Ok(())
}

/// Checks that each row of `heads` is the one of a head of its group.
fn check_heads(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.heads.range((0, 0, 0)..=(u32::MAX, u8::MAX, u64::MAX))? {
        verifier.work.rows += 1;
        let (key, row) = row?;
        let (queue, priority, position) = key.value();
        if position >= verifier.counters.next_position {
            let next = verifier.counters.next_position;
            verifier.problem(format!("a head has position {position}, but the next position would be {next}"));
        }
        let Some((id, seq, group)) = HeadValue::decode(row.value()) else {
            let queue = verifier.name(queue);
            verifier.problem(format!("a head of {queue} cannot be read"));
            continue;
        };
        let head = Head { id: JobId::new(id), seq, at: HeadAt::Ready { priority, position } };
        // A row that cannot be read is reported with the rows.
        if look_up(verifier, queue, group)?.is_ok_and(|row| row.head(head.id) != Some(head)) {
            let queue = verifier.name(queue);
            verifier
                .problem(format!("\"heads\" has job {id} for group {group:?} of {queue}, whose row says otherwise"));
        }
    }
    Ok(())
}

/// Checks that a pointer belongs to a member of a group that waits until this time.
pub(in crate::storage) fn check_pointer(
    verifier: &mut Verifier<'_>,
    queue: QueueId,
    id: u64,
    due: Due,
) -> Result<(), Fault> {
    verifier.work.rows += 1;
    let member = match index::look_up(verifier, id)? {
        Ok(Some(Location { queue: of, place: Place::Member(member) })) if of == queue => Some(member),
        Ok(_) => None,
        Err(_) => return Ok(()),
    };
    let waits = match member {
        Some(member) if member.parked => {
            verifier.work.lookups += 1;
            let row = verifier.members.get(member.key(queue, JobId::new(id)))?;
            let record = row.map(|row| decode_record(TableName::Members, id, &Bytes::copy_from_slice(row.value())));
            // A record that cannot be read is reported with the members.
            record.is_some_and(|record| record.map_or(true, |record| record.due() == Some(due)))
        }
        Some(member) => head_waits_until(verifier, queue, &member.group, id, due)?,
        None => false,
    };
    if !waits && !verifier.unread.contains(&JobId::new(id)) {
        let queue = verifier.name(queue);
        verifier
            .problem(format!("{queue} has a pointer to job {id} at {due:?}, but the job does not wait for that time"));
    }
    Ok(())
}

/// The rows of groups that cannot be read or are held by no dead letter, and the rows of heads that do not lead to a member.
pub(in crate::storage) fn damages(reader: &Reader) -> Result<Vec<Damage>, Fault> {
    let (tables, mut damages) = (reader.tables(), Vec::new());
    let index = tables.index()?;
    for row in tables.groups()?.iter()? {
        let (key, row) = row?;
        let (queue, group) = key.value();
        let is_damaged = match codec::decode::<GroupRow>(TableName::Groups, u64::from(queue), row.value()) {
            Ok(row) => match row.held_by() {
                None => false,
                Some(by) => {
                    let place = index.get_row(by.id.get())?;
                    // An index row that cannot be read is a damage of its own.
                    let place = place.map(|row| codec::decode::<Location>(TableName::Index, by.id.get(), &row));
                    match place {
                        Some(Ok(location)) => !location.is_dead_letter_of(queue),
                        Some(Err(_)) => false,
                        _ => true,
                    }
                }
            },
            Err(_) => true,
        };
        if is_damaged {
            damages.push(Damage::Group(queue, group.to_owned()));
        }
    }
    let members = tables.members()?;
    for row in tables.heads()?.iter()? {
        let (key, value) = row?;
        let (queue, priority, position) = key.value();
        let leads = match HeadValue::decode(value.value()) {
            Some((id, seq, group)) => members.has((queue, group, 0, seq, id))?,
            None => false,
        };
        if !leads {
            damages.push(Damage::Head(queue, Order { priority, position }));
        }
    }
    Ok(damages)
}
