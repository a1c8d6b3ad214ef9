//! Names the workers and handlers that exist, for a message about a queue or kind that has none.

use std::sync::Arc;

use super::engine::Engine;
use crate::job::QueueId;
use crate::text::nearest;

/// What could run the jobs of a queue, for a message about jobs that nothing runs.
pub(crate) struct Handlers {
    /// The kinds that its worker handles, sorted; none if it has no worker.
    pub kinds: Vec<String>,
    /// The name that the caller probably meant: one of these kinds, or, if the queue has no worker, a queue that has one.
    pub nearest: Option<String>,
}

impl Engine {
    /// What could run jobs of this kind in this queue.
    pub fn handlers_like(&self, queue: QueueId, kind: &str) -> Handlers {
        match self.binding(queue) {
            Some(binding) => {
                let mut kinds: Vec<_> = binding.handlers.values().map(|handling| handling.kind.to_string()).collect();
                kinds.sort_unstable();
                let nearest = nearest(kind, kinds.iter().map(String::as_str)).map(str::to_owned);
                Handlers { kinds, nearest }
            }
            None => {
                let name = self.store.catalog.queue_name(queue);
                let mut queues: Vec<Arc<str>> =
                    self.workers().into_iter().map(|(_, binding)| binding.queue.clone()).collect();
                queues.sort_unstable();
                let nearest = nearest(&name, queues.iter().map(|queue| &**queue)).map(str::to_owned);
                Handlers { kinds: Vec::new(), nearest }
            }
        }
    }
}
