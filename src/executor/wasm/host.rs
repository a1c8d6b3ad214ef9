use std::sync::Arc;

use super::random::Randoms;
use crate::events::Event;
use crate::storage::Store;
use crate::transaction::Prepare;

/// When a guest that computes gives way to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// At each tick of the ticker, which goes by real time.
    Tick,
    /// At each turn of a loop and each call of a function: the same guest does so at the same places every time, so a
    /// simulation that contains it can be run again.
    EveryStep,
}

impl Turn {
    /// Ticks that it may compute in one go. With none it is late wherever it looks.
    pub(super) fn ticks(self) -> u64 {
        match self {
            Self::Tick => 1,
            Self::EveryStep => 0,
        }
    }
}

/// What plugins need of the queue that they run in.
pub(crate) struct Host {
    pub(super) store: Arc<Store>,
    pub(super) prepare: Arc<dyn Prepare>,
    pub(super) turn: Turn,
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
        turn: Turn,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self { store, prepare, turn, randoms: Randoms::new(seed), tell: Box::new(tell) }
    }

    pub(super) fn tell(&self, event: Event) {
        (self.tell)(event);
    }
}
