//! The ids of entries that consumers read.

use crate::job::JobId;
use crate::sync::Mutex;

/// Ids and positions that are reserved in the file, and that entries get when they are read.
#[derive(Default)]
pub(super) struct EntryIds(Mutex<Reserved>);

#[derive(Clone, Copy, Default)]
struct Reserved {
    left: u64,
    id: u64,
    position: u64,
}

impl EntryIds {
    /// Whether so many are reserved.
    pub fn have(&self, count: u64) -> bool {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).left >= count
    }

    /// The first of `count` ids and positions. `None` if not so many are reserved.
    pub fn take(&self, count: u64) -> Option<(u64, u64)> {
        let mut reserved = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if reserved.left < count {
            return None;
        }
        let first = (reserved.id, reserved.position);
        reserved.left -= count;
        reserved.id += count;
        reserved.position += count;
        Some(first)
    }

    pub fn add(&self, (id, position): (JobId, u64), count: u64) {
        let mut reserved = self.0.lock().unwrap_or_else(|e| e.into_inner());
        *reserved = Reserved { left: count, id: id.get(), position };
    }
}
