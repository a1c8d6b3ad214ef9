//! Ends jobs that have not started before they expire.

use crate::error::Error;
use crate::events::Event;
use crate::job::{JobId, life};
use crate::storage::{Batch, Expiring};
use crate::time::TimeLine;

/// How many jobs expire in one commit: a million at once must not delay all other commands.
const EXPIRED_AT_ONCE: usize = 1_000;

/// How many bytes of records expire in one commit, except for a single record that is larger.
const EXPIRED_BYTES_AT_ONCE: usize = 4 << 20;

/// How many rows are read at a time.
const ROWS_AT_ONCE: usize = 256;

/// Ends waiting jobs whose expiry has passed. `is_taken` says which jobs were handed out: they are passed over, and expire
/// if they are given back without having started.
pub(crate) fn expire_passed(batch: &mut Batch<'_>, mut is_taken: impl FnMut(JobId) -> bool) -> Result<(), Error> {
    let (mut jobs, mut bytes) = (0, 0);
    for line in [TimeLine::Wall, TimeLine::Age] {
        let mut after = None;
        loop {
            let passed = batch.passed_expiries(line, after, ROWS_AT_ONCE)?;
            let Some(last) = passed.last().copied() else { break };
            for expiring in passed {
                if jobs >= EXPIRED_AT_ONCE || bytes >= EXPIRED_BYTES_AT_ONCE {
                    return Ok(batch.looked_at_expiries(Some(expiring))?);
                }
                if !is_taken(expiring.id) {
                    bytes += expire_one(batch, expiring)?;
                    jobs += 1;
                }
            }
            after = Some(last);
        }
    }
    Ok(batch.looked_at_expiries(None)?)
}

/// Returns how many bytes the record of the job had.
fn expire_one(batch: &mut Batch<'_>, expiring: Expiring) -> Result<usize, Error> {
    let Expiring { queue, id, .. } = expiring;
    let Some((record, bytes)) = batch.expire(expiring)? else { return Ok(0) };
    batch.note_end(queue, id, || Some(record.clone()));
    let (name, kind) = (batch.catalog().queue_name(queue), batch.catalog().kind_name(record.kind));
    batch.event(|| Event::Cancelled { id, queue: name, kind, reason: life::EXPIRED.to_owned() });
    Ok(bytes)
}
