//! What a crash leaves: jobs that a handler had. One process owns the file, so at open they are
//! all orphaned; each goes back to its place with the attempt on its record, or to the dead letters.
//! O(running), whatever the backlog.

use std::sync::Arc;

use super::batch::Batch;
use super::codec::decode_record;
use super::fault::Fault;
use super::marks::Mark;
use super::place::{Location, Place};
use super::tables_ext::RowTable;
use crate::events::Event;
use crate::job::{Attempt, Entry, JobId, Next, QueueId, after_crash};

/// What recovery found and did.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The file was not closed in order.
    pub crashed: bool,
    /// Jobs that a handler had, back at their places, in the order they are to be tried.
    pub suspects: Vec<(QueueId, Arc<Entry>)>,
    /// Jobs whose last attempt it was.
    pub dead: usize,
}

/// Puts the orphans back. To be committed before anything is dispatched.
pub(crate) fn recover(batch: &mut Batch<'_>) -> Result<Recovered, Fault> {
    let mut recovered = Recovered { crashed: !batch.counters.clean, ..Recovered::default() };
    batch.counters.clean = false;
    batch.touch();
    let marks = batch.marks()?;
    if marks.is_empty() {
        return Ok(recovered);
    }
    let culprit = culprit(&marks);
    let mut order = Vec::new();
    for (id, mark) in &marks {
        let blamed = culprit == Some(*id);
        if let Some((crashes, entry)) = orphan(batch, *id, mark, blamed, &mut recovered)? {
            order.push((mark.alone, crashes, mark.queue, entry));
        }
    }
    // Whoever is least suspected goes first: it will most likely end, and leave the field to the
    // others before the process dies again. Who has had the field to himself goes last, or one that
    // runs for long would have it every time, and who dies beside it never.
    order.sort_by_key(|(was_alone, crashes, _, entry)| (*was_alone, *crashes, entry.id));
    recovered.suspects = order.into_iter().map(|(_, _, queue, entry)| (queue, entry)).collect();
    batch.clear_marks()?;
    Ok(recovered)
}

/// Who is held responsible: the one that was started with nothing beside it, if nothing has started
/// beside it since. Without such a one, nobody is.
fn culprit(marks: &[(JobId, Mark)]) -> Option<JobId> {
    match marks {
        [(id, mark)] if mark.alone => Some(*id),
        _ => None,
    }
}

fn orphan(
    batch: &mut Batch<'_>,
    id: JobId,
    mark: &Mark,
    blamed: bool,
    recovered: &mut Recovered,
) -> Result<Option<(u32, Arc<Entry>)>, Fault> {
    let Some(taken) = taken_entry(batch, id, mark)? else { return Ok(None) };
    let mut record = taken.record.clone();
    let attempt = Attempt { number: mark.attempt, max: mark.max_attempts.max(1), started_at: mark.started_at };
    let next = after_crash(&mut record, attempt, blamed, batch.now);
    let queue = mark.queue;
    batch.queue_mut(queue).tally.failures_total += 1;
    match next {
        Next::Die => {
            batch.take_out(queue, &taken)?;
            batch.keep_ended(queue, id, &record)?;
            batch.queue_mut(queue).tally.dead_total += 1;
            recovered.dead += 1;
            let first = batch.queue(queue).tally.dead == 1;
            let event =
                Event::dead(id, batch.queue(queue).name, batch.catalog().kind_name(record.kind), &record, first);
            batch.event(|| event);
            Ok(None)
        }
        _ => {
            let crashes = record.crashes();
            let back = batch.put_back(queue, taken, Some(record))?;
            Ok(back.map(|back| (crashes, back)))
        }
    }
}

/// The job's row as it was handed out, or nothing if it has ended after all.
fn taken_entry(batch: &mut Batch<'_>, id: JobId, mark: &Mark) -> Result<Option<Arc<Entry>>, Fault> {
    let Some(Location { queue, place }) = batch.locate(id)? else { return Ok(None) };
    let row = match &place {
        Place::Ready { priority } => batch.tables.ready()?.get_row((queue, *priority, id.get()))?,
        Place::Member(member) if !member.parked => batch.tables.members()?.get_row(member.key(queue, id))?,
        _ => None,
    };
    let Some(row) = row else { return Ok(None) };
    let record = decode_record(place.table(), id.get(), &row)?;
    Ok(Some(Arc::new(Entry::new(id, mark.turn, record, row.len()))))
}
