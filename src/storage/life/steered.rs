//! What an operator has set in place of the limits of a queue's worker, and which kinds are paused.
//!
//! A row for each queue of which something is set. It is read when the file is opened, and kept with the queue's row in
//! memory. A row that cannot be read sets nothing: the limits that the code says hold.

use std::collections::HashMap;
use std::sync::Arc;

use redb::ReadableTable;

use super::verifier::Verifier;
use crate::error::Error;
use crate::job::{Change, Overrides, QueueId, Steered};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::ReadTables;
use crate::storage::rows::tables_ext::RowTable;

/// The row in `meta` that says that all queues are paused.
const ALL_PAUSED: &str = "all_paused";

/// Reads what is set, by queue. Most queues have nothing.
pub(in crate::storage) fn read(tables: &ReadTables<'_>) -> Result<HashMap<QueueId, Arc<Steered>>, Fault> {
    let mut found = HashMap::new();
    for row in tables.overrides()?.iter()? {
        let (queue, row) = row?;
        let queue = queue.value();
        match codec::decode::<Steered>(TableName::Overrides, u64::from(queue), row.value()) {
            Ok(steered) => drop(found.insert(queue, Arc::new(steered))),
            Err(_) => {
                tracing::error!(queue, "it cannot be read what an operator has set for a queue: nothing is set");
            }
        }
    }
    Ok(found)
}

/// Checks that each row is that of a queue and can be read.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.tables().overrides()?.iter()? {
        verifier.work.rows += 1;
        let (queue, row) = row?;
        let queue = queue.value();
        if !verifier.queues.contains_key(&queue) {
            verifier.problem(format!("there are overrides of queue number {queue}, which has no row"));
        }
        if codec::decode::<Steered>(TableName::Overrides, u64::from(queue), row.value()).is_err() {
            let queue = verifier.name(queue);
            verifier.problem(format!("the overrides of {queue} cannot be read"));
        }
    }
    Ok(())
}

impl Reader {
    /// Whether all queues are paused.
    pub fn are_all_paused(&self) -> Result<bool, Fault> {
        self.tables().meta()?.has(ALL_PAUSED)
    }
}

impl Batch<'_> {
    /// Sets limits of a queue. Returns false if they were set already.
    pub fn set_overrides(&mut self, queue: QueueId, overrides: Overrides) -> Result<bool, Fault> {
        self.steer(queue, |steered| steered.overrides = overrides)
    }

    /// Pauses or resumes a kind in a queue. Returns false if it was paused or resumed already.
    pub fn pause_kind(&mut self, queue: QueueId, kind: &str, paused: bool) -> Result<bool, Error> {
        let kind = self.kind_named(kind)?;
        let is_changed = self.steer(queue, |steered| match paused {
            true => drop(steered.paused_kinds.insert(kind)),
            false => drop(steered.paused_kinds.remove(&kind)),
        })?;
        if is_changed && paused {
            self.stored_kind(kind);
        }
        Ok(is_changed)
    }

    fn steer(&mut self, queue: QueueId, change: impl FnOnce(&mut Steered)) -> Result<bool, Fault> {
        let before = self.queue_ref(queue).steered.clone().unwrap_or_default();
        let mut steered = (*before).clone();
        change(&mut steered);
        if steered == *before {
            return Ok(false);
        }
        match steered.is_empty() {
            true => drop(self.tables.overrides()?.remove(queue)?),
            false => drop(self.tables.overrides()?.insert(queue, codec::encode(&steered).as_slice())?),
        }
        let steered = Arc::new(steered);
        self.queue_mut(queue).steered = Some(steered.clone()).filter(|steered| !steered.is_empty());
        self.changes.push(Change::Steered { queue, steered, now: self.now });
        Ok(true)
    }

    /// The queue is removed, and what was set for it goes with it.
    pub(super) fn forget_overrides(&mut self, queue: QueueId) -> Result<(), Fault> {
        self.tables.overrides()?.remove(queue)?;
        Ok(())
    }

    /// Pauses or resumes all queues. Returns false if they were paused or resumed already.
    pub fn pause_all(&mut self, paused: bool) -> Result<bool, Fault> {
        if self.tables.meta()?.has(ALL_PAUSED)? == paused {
            return Ok(false);
        }
        self.touch();
        match paused {
            true => drop(self.tables.meta()?.insert(ALL_PAUSED, [].as_slice())?),
            false => drop(self.tables.meta()?.remove(ALL_PAUSED)?),
        }
        self.changes.push(Change::AllPaused { paused });
        Ok(true)
    }
}
