//! The circuits of queues and groups: what an operator sees of them, and the removal of those that nothing uses.

use std::sync::Arc;

use super::engine::Engine;
use crate::job::{BucketKey, Circuit, QueueId};
use crate::storage::Batch;
use crate::writer::control;

impl Engine {
    /// The circuit of a queue or group.
    pub fn circuit(&self, key: &BucketKey) -> Circuit {
        let now = self.now();
        self.scheduler().circuit(key, now)
    }

    /// Whether the circuit of a queue is open or half open, and how many of its groups' circuits are.
    pub fn circuits_held(&self, queue: QueueId) -> (bool, usize) {
        self.scheduler().circuits_held(queue)
    }

    /// Removes the rows of circuits that hold nothing any more.
    pub(super) fn forget_circuits(self: &Arc<Self>, keys: Vec<BucketKey>) {
        let engine = self.clone();
        let write = move |batch: &mut Batch<'_>| {
            let is_free = |key: &BucketKey| {
                let now = engine.now();
                engine.scheduler().forget_circuit(key, now)
            };
            control::forget_circuits(batch, &keys, is_free)
        };
        // The next opening of the file finds rows that could not be removed.
        self.internally(write, |_, result| {
            if let Err(error) = result {
                tracing::warn!(%error, "the rows of circuits could not be removed");
            }
        });
    }
}
