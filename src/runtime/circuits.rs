//! The circuits of queues and groups: what an operator sees of them, and the removal of those that nothing uses.

use std::sync::Arc;

use super::engine::Engine;
use crate::job::{BucketKey, Circuit};
use crate::storage::Batch;
use crate::writer::control;

impl Engine {
    /// The circuit of a queue or group.
    pub fn circuit(&self, key: &BucketKey) -> Circuit {
        let now = self.now();
        self.scheduler().circuit(key, now)
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
