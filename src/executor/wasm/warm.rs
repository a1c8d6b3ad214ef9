//! Keeps instances for further attempts, for plugins with [`reuse`](crate::Plugin::reuse). A call costs 0.3 us then,
//! instead of 7. The next job of the same plugin and version can see what a guest left in its memory, and no other job
//! can.

use wasmtime::Store;

use super::contract::JobHandler;
use super::guest::Guest;
use super::places::Place;
use crate::job::PluginHash;
use crate::sync::Mutex;

/// An instance, during an attempt or between two.
pub(super) struct Warm {
    pub store: Store<Guest>,
    pub handler: JobHandler,
    pub hash: PluginHash,
    pub calls: u32,
    /// Its place among the kept instances, once it has been kept.
    pub place: Option<Place>,
}

/// The idle instances of one plugin.
pub(super) struct IdleInstances {
    calls_max: u32,
    #[expect(clippy::vec_box, reason = "every attempt moves one out and in, which is cheaper if it is boxed")]
    idle: Mutex<Vec<Box<Warm>>>,
}

impl IdleInstances {
    /// Each instance is used for at most `calls_max` calls. 0 means a fresh instance for each call.
    pub fn new(calls_max: u32) -> Self {
        Self { calls_max, idle: Mutex::default() }
    }

    /// Takes an idle instance of this version, if there is one. Instances of other versions are dropped.
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

    /// Whether an instance that was used for `calls` calls can be used for another.
    pub fn wants(&self, calls: u32) -> bool {
        calls < self.calls_max
    }

    pub fn put_back(&self, warm: Box<Warm>) {
        self.idle.lock().unwrap_or_else(|e| e.into_inner()).push(warm);
    }
}
