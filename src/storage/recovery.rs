//! What a crash leaves: jobs that a handler had. One process owns the file, so at open they are
//! all orphaned; each goes back to its place with the attempt on its record, or to the dead letters.
//! O(running), whatever the backlog.

use std::sync::Arc;

use super::batch::Batch;
use super::codec::decode_record;
use super::fault::Fault;
use super::marks::Mark;
use super::place::{Location, Place};
use crate::events::Event;
use crate::job::{AT_MOST_ONCE, Attempt, Entry, JobId, Next, QueueId, after_crash};

/// What recovery found and did.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The file was not closed in order.
    pub crashed: bool,
    /// Jobs that a handler had, back at their places, in the order they are to be tried.
    pub suspects: Vec<(QueueId, Arc<Entry>)>,
    /// Jobs whose last attempt it was.
    pub dead: usize,
    /// The number of this opening of the file: greater than those before it, and durable before anything starts.
    pub opening: u64,
}

/// Puts the orphans back. To be committed before anything is dispatched.
pub(crate) fn recover(batch: &mut Batch<'_>) -> Result<Recovered, Fault> {
    let opening = batch.next_opening();
    let mut recovered = Recovered { crashed: !batch.counters.clean, opening, ..Recovered::default() };
    batch.counters.clean = false;
    batch.touch();
    batch.empty_damaged_buckets()?;
    let marks = batch.marks()?;
    if marks.is_empty() {
        return Ok(recovered);
    }
    let mut orphans = Vec::new();
    for (id, mark) in marks {
        if let Some(taken) = taken_entry(batch, id, &mark)? {
            orphans.push(Orphan { mark, taken });
        }
    }
    let culprit = culprit(&orphans);
    let mut order = Vec::new();
    for orphan in orphans {
        let blamed = culprit == Some(orphan.taken.id);
        let (was_alone, queue) = (orphan.mark.alone, orphan.mark.queue);
        if let Some((crashes, entry)) = bring_back(batch, orphan, blamed, &mut recovered)? {
            order.push((was_alone, crashes, queue, entry));
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

/// A job that a handler had.
struct Orphan {
    mark: Mark,
    taken: Arc<Entry>,
}

/// A job that was there at this many deaths more than anybody else who was there at this one is
/// held responsible, also if it never was alone: it kills late, when others run beside it again.
const DEATHS_AHEAD: u32 = 2;

/// Who is held responsible: the one that was started with nothing beside it, if nothing has started
/// beside it since; or the one that has been there at every death. Without such a one, nobody is.
fn culprit(orphans: &[Orphan]) -> Option<JobId> {
    if let [Orphan { mark, taken }] = orphans
        && mark.alone
    {
        return Some(taken.id);
    }
    let of = |orphan: &Orphan| (orphan.taken.record.crashes(), orphan.taken.id, orphan.mark.alone);
    let mut deaths: Vec<_> = orphans.iter().map(of).collect();
    deaths.sort_unstable();
    let (most, id, was_tried) = deaths.pop()?;
    let next = deaths.last().map_or(0, |(deaths, ..)| *deaths);
    // Who kills late was tried alone first, and lived. One that never was tried has been beside the first
    // deaths of several others.
    (was_tried && most >= next + DEATHS_AHEAD).then_some(id)
}

fn bring_back(
    batch: &mut Batch<'_>,
    orphan: Orphan,
    blamed: bool,
    recovered: &mut Recovered,
) -> Result<Option<(u32, Arc<Entry>)>, Fault> {
    let Orphan { mark, taken } = orphan;
    let id = taken.id;
    let mut record = taken.record.clone();
    let (once, max) = (mark.max_attempts == AT_MOST_ONCE, mark.max_attempts.max(1));
    let attempt = Attempt { number: mark.attempt, max, once, started_at: mark.started_at };
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
    let could_run = match &place {
        Place::Ready { .. } => true,
        Place::Member(member) => !member.parked,
        _ => false,
    };
    let row = if could_run { batch.row_at(queue, id, &place)? } else { None };
    let Some(row) = row else { return Ok(None) };
    match decode_record(place.table(), id.get(), &row) {
        Ok(record) => Ok(Some(Arc::new(Entry::new(id, mark.turn, record, row.len())))),
        Err(_) => {
            batch.quarantine_job(id)?;
            Ok(None)
        }
    }
}
