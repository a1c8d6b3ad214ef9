//! The fixed list of the facets: all that depends on jobs beside the tables that have their rows. Each function here
//! calls the facets one after another: when a job has moved, when a verification has read a job, and when the rows of
//! the facets are made anew.

use bytes::Bytes;

use super::moved::Moved;
use super::verifier::Verifier;
use super::{counts, expiring, flows, index, job_steps, started, tags, unique};
use crate::job::{JobId, QueueId, Record, State};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;

impl Batch<'_> {
    /// Tells the facets of a move. Call this when the job has left its old home, and before it enters the new one: a
    /// member of a group can be promoted as it enters, and must be counted as waiting by then.
    #[inline]
    pub(super) fn tell_facets(&mut self, moved: &Moved<'_>) -> Result<(), Fault> {
        counts::moved(self, moved);
        index::moved(self, moved)?;
        if moved.has_options() {
            expiring::moved(self, moved)?;
            unique::moved(self, moved)?;
            tags::moved(self, moved)?;
            flows::moved(self, moved)?;
        }
        if moved.has_options() || self.is_marked(moved.id) {
            job_steps::moved(self, moved)?;
        }
        started::moved(self, moved)
    }

    /// Makes the facets' rows anew that do not agree with the jobs' records. The rows of the index are made anew
    /// where one is met that cannot be read. A unique key whose row cannot be read is free. Counts are not made anew.
    pub(in crate::storage) fn rebuild_facets(&mut self) -> Result<(), Fault> {
        started::rebuild(self)?;
        expiring::rebuild(self)?;
        tags::rebuild(self)?;
        flows::rebuild(self)?;
        job_steps::rebuild(self)
    }
}

/// Checks the row of one job at its place, and what the facets have of it. Returns the record if it can be read.
pub(super) fn check_job(
    verifier: &mut Verifier<'_>,
    queue: QueueId,
    id: u64,
    place: Place,
    row: &[u8],
) -> Result<Option<Record>, Fault> {
    verifier.work.rows += 1;
    verifier.found.jobs += 1;
    if !verifier.seen.insert(id) {
        verifier.problem(format!("job {id} is in two places"));
    }
    let next = verifier.counters.next_id;
    if id >= next {
        verifier.problem(format!("there is a job {id}, but the next id would be {next}"));
    }
    // The index has the job even if its record cannot be read.
    index::check_job(verifier, queue, id, &place)?;
    let table = place.table();
    let record = match decode_record(table, id, &Bytes::copy_from_slice(row)) {
        Ok(record) => record,
        Err(fault) => {
            verifier.unread.insert(JobId::new(id));
            verifier.unreadable(fault);
            return Ok(None);
        }
    };
    if let Some(wrong) = misplaced(verifier, &record, &place) {
        verifier.problem(format!("job {id} is in {:?}, but {wrong}", table.as_str()));
    }
    let state = match &place {
        Place::Ready { .. } => State::Pending,
        Place::Dead { .. } => State::Dead,
        Place::Finished { state, .. } => *state,
        Place::Blocked => State::Blocked,
        Place::Delayed { .. } | Place::Member(_) => record.state,
    };
    counts::check_job(verifier, queue, state, row.len());
    tags::check_job(verifier, queue, id, &record)?;
    job_steps::check_job(verifier, id, &record);
    flows::check_job(verifier, queue, id, &place, &record)?;
    if !state.is_final() {
        unique::check_job(verifier, queue, id, &record)?;
        expiring::check_job(verifier, queue, id, &record);
    }
    Ok(Some(record))
}

/// Says how the record contradicts its place, if it does.
fn misplaced(verifier: &Verifier<'_>, record: &Record, place: &Place) -> Option<String> {
    let fits = match place {
        // A ready job is pending, whatever its record says of an earlier wait.
        Place::Ready { .. } => !record.state.is_final(),
        Place::Delayed { .. } => matches!(record.state, State::Scheduled | State::Retrying),
        Place::Member(_) => matches!(record.state, State::Pending | State::Scheduled | State::Retrying),
        Place::Dead { .. } => record.state == State::Dead,
        Place::Finished { state, .. } => record.state == *state,
        Place::Blocked => record.state == State::Blocked,
    };
    if !fits {
        return Some(format!("its record says {:?}", record.state));
    }
    let group = record.group();
    match place {
        Place::Ready { priority } if *priority != record.priority.get() => {
            return Some(format!("has priority {priority} there and {} in its record", record.priority.get()));
        }
        Place::Ready { .. } | Place::Delayed { .. } if group.is_some() => {
            return Some(format!("its record has group {:?}", group.map(|group| &**group).unwrap_or_default()));
        }
        Place::Member(member) if group != Some(&member.group) => {
            return Some(format!("its record does not have group {:?}", &*member.group));
        }
        _ => {}
    }
    (!verifier.kinds.contains(&record.kind)).then(|| format!("its kind, number {}, has no name", record.kind))
}
