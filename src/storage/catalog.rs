use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::settings::{QueueSettings, Tally};
use crate::error::Error;
use crate::job::{KindId, QueueId, check_name};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Queues and kinds a file may have: each costs a row and a little memory for good.
pub(crate) const NAMES_MAX: usize = 65_536;

/// All that is kept of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueueRow {
    pub name: Arc<str>,
    pub paused: bool,
    pub settings: QueueSettings,
    pub tally: Tally,
}

impl QueueRow {
    fn new(name: Arc<str>) -> Self {
        Self { name, paused: false, settings: QueueSettings::default(), tally: Tally::default() }
    }
}

/// Names to numbers, and each queue's row as of the last commit.
///
/// A name gets its number in memory when it is first spoken; it reaches the file with the first
/// commit that touches its queue or stores a job of its kind.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queues: Names,
    kinds: Names,
    rows: HashMap<QueueId, QueueRow>,
    /// Queues that keep ended jobs. There may be many thousand others.
    with_ended: BTreeSet<QueueId>,
    /// Kinds from this number on are not in the file yet.
    kinds_saved: u32,
}

#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    fn intern(&mut self, what: &'static str, name: &str) -> Result<u32, Error> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        if self.names.len() >= NAMES_MAX {
            return Err(Error::config(
                what,
                format!("there are {NAMES_MAX} of them already, the most a file can have"),
            ));
        }
        let id = self.names.len() as u32;
        self.restore(id, name.into());
        Ok(id)
    }

    fn restore(&mut self, id: u32, name: Arc<str>) {
        // Numbers are given in order, and a number that never reached the file leaves a gap.
        while self.names.len() <= id as usize {
            self.names.push("".into());
        }
        self.names[id as usize] = name.clone();
        self.ids.insert(name, id);
    }
}

impl Inner {
    fn set_row(&mut self, id: QueueId, row: QueueRow) {
        let Tally { completed, cancelled, dead, .. } = row.tally;
        match completed + cancelled + dead > 0 {
            true => self.with_ended.insert(id),
            false => self.with_ended.remove(&id),
        };
        self.rows.insert(id, row);
    }
}

impl Catalog {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(|e| e.into_inner())
    }

    pub fn restore_queue(&self, id: QueueId, row: QueueRow) {
        let mut inner = self.write();
        inner.queues.restore(id, row.name.clone());
        inner.set_row(id, row);
    }

    pub fn restore_kind(&self, id: KindId, name: &str) {
        let mut inner = self.write();
        inner.kinds.restore(id, name.into());
        inner.kinds_saved = inner.kinds_saved.max(id + 1);
    }

    /// The queue's number, a new one if need be.
    pub fn queue(&self, name: &str) -> Result<QueueId, Error> {
        if let Some(&id) = self.read().queues.ids.get(name) {
            return Ok(id);
        }
        check_name("queue", name)?;
        self.write().queues.intern("queue", name)
    }

    /// The kind's number, a new one if need be.
    pub fn kind(&self, name: &str) -> Result<KindId, Error> {
        if let Some(&id) = self.read().kinds.ids.get(name) {
            return Ok(id);
        }
        check_name("kind", name)?;
        self.write().kinds.intern("kind", name)
    }

    pub fn find_queue(&self, name: &str) -> Option<QueueId> {
        self.read().queues.ids.get(name).copied()
    }

    pub fn queue_name(&self, id: QueueId) -> Arc<str> {
        self.read().queues.names.get(id as usize).cloned().unwrap_or_else(|| "?".into())
    }

    pub fn kind_name(&self, id: KindId) -> Arc<str> {
        self.read().kinds.names.get(id as usize).cloned().unwrap_or_else(|| "?".into())
    }

    /// The queue's row as of the last commit; a fresh one if nothing of it was ever stored.
    pub fn row(&self, id: QueueId) -> QueueRow {
        let inner = self.read();
        let fresh = || QueueRow::new(inner.queues.names.get(id as usize).cloned().unwrap_or_default());
        inner.rows.get(&id).cloned().unwrap_or_else(fresh)
    }

    /// Whether the queue has a row, so that its number is its own for good.
    pub fn is_stored(&self, id: QueueId) -> bool {
        self.read().rows.contains_key(&id)
    }

    /// The queues that have a row, in the order of their names.
    pub fn stored_queues(&self) -> Vec<QueueId> {
        let inner = self.read();
        let mut ids: Vec<_> = inner.rows.keys().copied().collect();
        ids.sort_by(|a, b| inner.queues.names[*a as usize].cmp(&inner.queues.names[*b as usize]));
        ids
    }

    /// The queues that keep ended jobs, of which retention may remove some.
    pub fn queues_with_ended(&self) -> Vec<QueueId> {
        self.read().with_ended.iter().copied().collect()
    }

    pub fn unsaved_kinds(&self) -> Vec<(KindId, Arc<str>)> {
        let inner = self.read();
        let from = inner.kinds_saved;
        inner.kinds.names.iter().enumerate().skip(from as usize).map(|(id, name)| (id as u32, name.clone())).collect()
    }

    /// What a commit made durable.
    pub fn committed(&self, rows: impl IntoIterator<Item = (QueueId, QueueRow)>, kinds: usize) {
        let mut inner = self.write();
        rows.into_iter().for_each(|(id, row)| inner.set_row(id, row));
        inner.kinds_saved += kinds as u32;
    }
}
