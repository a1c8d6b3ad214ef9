//! What plugins need of the queue that they run in.

use std::sync::Arc;

use super::random::Randoms;
use crate::events::Event;
use crate::storage::Store;
use crate::transaction::Prepare;

/// When a guest that computes yields to other tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// At each tick of the ticker, which follows real time.
    Tick,
    /// At each iteration of a loop and each call of a function. The guest yields at the same places in every run, so a
    /// simulation with guests can be replayed.
    EveryStep,
}

impl Turn {
    /// How many ticks a guest can compute before it yields. With 0 it yields wherever it checks.
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
    /// The source of the guests' random numbers.
    pub(super) randoms: Randoms,
    tell: Box<dyn Fn(Event) + Send + Sync>,
}

impl Host {
    /// `seed`, if the queue has one, makes the random numbers of its guests repeatable. `tell` publishes an event.
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
