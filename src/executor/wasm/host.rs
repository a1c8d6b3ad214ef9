use std::sync::Arc;

use super::random::Randoms;
use crate::events::Event;
use crate::storage::Store;
use crate::transaction::Prepare;

/// What plugins need of the queue that they run in.
pub(crate) struct Host {
    pub(super) store: Arc<Store>,
    pub(super) prepare: Arc<dyn Prepare>,
    /// What its guests draw theirs from.
    pub(super) randoms: Randoms,
    tell: Box<dyn Fn(Event) + Send + Sync>,
}

impl Host {
    /// `seed`, if the queue was given one, begins the random numbers of its guests; `tell` hears what is to be
    /// published.
    pub fn new(
        store: Arc<Store>,
        prepare: Arc<dyn Prepare>,
        seed: Option<u64>,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self { store, prepare, randoms: Randoms::new(seed), tell: Box::new(tell) }
    }

    pub(super) fn tell(&self, event: Event) {
        (self.tell)(event);
    }
}
