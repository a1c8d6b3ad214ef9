//! Instances that are used again, for plugins that have asked for it: a call costs 0.3 us then instead of 7. What a guest
//! leaves in its memory is seen by the next job of the same plugin and version, and by no other.

use wasmtime::Store;

use super::contract::JobHandler;
use super::guest::Guest;
use super::places::Place;
use crate::job::PluginHash;
use crate::sync::Mutex;

/// An instance between two attempts, or in one.
pub(super) struct Warm {
    pub store: Store<Guest>,
    pub handler: JobHandler,
    pub hash: PluginHash,
    pub calls: u32,
    /// It has a place in the pool beside those that run.
    pub place: Option<Place>,
}

/// One plugin's idle instances.
pub(super) struct WarmOnes {
    calls_max: u32,
    #[expect(clippy::vec_box, reason = "they go from hand to hand with every attempt")]
    idle: Mutex<Vec<Box<Warm>>>,
}

impl WarmOnes {
    /// Each is used for at most so many calls; 0 is a fresh one for each.
    pub fn new(calls_max: u32) -> Self {
        Self { calls_max, idle: Mutex::default() }
    }

    /// One of this version, if there is one.
    pub fn take(&self, hash: PluginHash) -> Option<Box<Warm>> {
        if self.calls_max == 0 {
            return None;
        }
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        while let Some(warm) = idle.pop() {
            if warm.hash == hash {
                return Some(warm);
            }
        }
        None
    }

    /// Whether an instance that has made so many calls may make another.
    pub fn wants(&self, calls: u32) -> bool {
        calls < self.calls_max
    }

    pub fn put_back(&self, warm: Box<Warm>) {
        self.idle.lock().unwrap_or_else(|e| e.into_inner()).push(warm);
    }
}
