//! A worker's handlers and the worker's settings.

use std::sync::Arc;
use std::time::Duration;

use super::foreign::ForeignHandler;
use super::slow_poll::SlowPolls;
use crate::handler::{DataMap, Run, Runnable};
use crate::job::{Coder, IdMap, IdSet, KindId, Retry};
use crate::storage::NamesInUse;

/// A worker's handlers and how it runs them.
pub(crate) struct Binding {
    pub queue: Arc<str>,
    pub handlers: IdMap<Handling, KindId>,
    pub data: Arc<DataMap>,
    pub retry: Retry,
    pub timeout: Option<Duration>,
    /// The worker's jobs run at most once, whatever the jobs themselves ask for.
    pub at_most_once: bool,
    /// Reads the payloads as they are stored.
    pub coder: Coder,
    /// While this exists, the numbers of the queue and its kinds are not given to other names.
    #[expect(dead_code, reason = "held, not read")]
    pub names: NamesInUse,
}

/// One kind's handler.
pub(crate) struct Handling {
    pub kind: Arc<str>,
    pub runnable: Runnable,
    /// The longest attempt, even if the worker and the job allow more.
    pub timeout_max: Option<Duration>,
    pub slow_polls: SlowPolls,
    /// The foreign handler that it is, if it is no Rust function.
    pub foreign: Option<Arc<dyn ForeignHandler>>,
}

impl Handling {
    /// Handles a kind with a Rust function.
    pub fn native(kind: Arc<str>, runnable: Runnable) -> Self {
        Self { kind, runnable, timeout_max: None, slow_polls: SlowPolls::default(), foreign: None }
    }

    /// Whether the handler needs a thread of its own while it runs.
    pub fn blocks(&self) -> bool {
        matches!(self.runnable.run, Run::Blocking(_))
    }
}

impl Binding {
    /// Whether any of its handlers runs on the async runtime.
    pub fn needs_runtime(&self) -> bool {
        self.handlers.values().any(|handling| matches!(handling.runnable.run, Run::Async(_)))
    }

    /// The kinds whose handlers need a thread of their own.
    pub fn blocking_kinds(&self) -> IdSet<KindId> {
        let blocking = self.handlers.iter().filter(|(_, handling)| handling.blocks());
        blocking.map(|(kind, _)| *kind).collect()
    }

    /// How long an attempt of this kind may run. `own` is the job's own timeout.
    pub fn timeout(&self, kind: KindId, own: Option<Duration>) -> Option<Duration> {
        let allowed = own.or(self.timeout);
        let most = self.handlers.get(&kind).and_then(|handling| handling.timeout_max);
        [allowed, most].into_iter().flatten().min()
    }
}
