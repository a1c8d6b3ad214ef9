use std::sync::Arc;

use crate::events::Event;
use crate::storage::Store;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::transaction::Prepare;

/// What plugins need of the queue that they run in.
pub(crate) struct Host {
    pub(super) store: Arc<Store>,
    pub(super) prepare: Arc<dyn Prepare>,
    seeds: AtomicU64,
    tell: Box<dyn Fn(Event) + Send + Sync>,
}

impl Host {
    /// `seed` begins the random numbers of its guests; `tell` hears what is to be published.
    pub fn new(
        store: Arc<Store>,
        prepare: Arc<dyn Prepare>,
        seed: u64,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self { store, prepare, seeds: AtomicU64::new(seed), tell: Box::new(tell) }
    }

    pub(super) fn next_seed(&self) -> u64 {
        self.seeds.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn tell(&self, event: Event) {
        (self.tell)(event);
    }
}
