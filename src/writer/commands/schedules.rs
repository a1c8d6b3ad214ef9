//! Enqueues the jobs of schedules that are due.

use crate::error::Error;
use crate::job::is_set_back;
use crate::storage::{Batch, FiringRoom};

/// How many jobs are enqueued for schedules in one commit: a thousand schedules of the same minute must not delay all other
/// commands.
const RUNS_AT_ONCE: usize = 1_000;

/// How many schedules are looked at in one commit.
const SCHEDULES_AT_ONCE: usize = 1_000;

/// How many rows are read at a time.
const ROWS_AT_ONCE: usize = 256;

/// Enqueues what the schedules owe that are due. If the wall clock was set back, also computes the next times of some
/// schedules again, after the one named `set_back_after`. Returns the name after which that continues, if it does.
pub(crate) fn fire(batch: &mut Batch<'_>, set_back_after: Option<&str>) -> Result<Option<String>, Error> {
    let mut room = FiringRoom { runs: RUNS_AT_ONCE, bytes: batch.limits.moved_at_once };
    let mut schedules = 0;
    'rows: loop {
        let due = batch.due_schedules(ROWS_AT_ONCE)?;
        if due.is_empty() {
            break;
        }
        for (due, name) in due {
            if room.is_used_up() || schedules == SCHEDULES_AT_ONCE {
                break 'rows;
            }
            batch.fire_schedule(due, &name, &mut room)?;
            schedules += 1;
        }
    }
    let is_set_back = is_set_back(batch.schedules_computed_at()?, batch.now);
    let left = match is_set_back {
        true => batch.set_schedules_back(set_back_after.unwrap_or_default(), SCHEDULES_AT_ONCE)?,
        false => None,
    };
    batch.looked_at_schedules()?;
    Ok(left)
}
