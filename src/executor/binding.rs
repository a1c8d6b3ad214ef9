//! A worker's handlers and the worker's settings.

use std::sync::Arc;
use std::time::Duration;

use super::foreign::ForeignHandler;
use super::slow_poll::SlowPolls;
use crate::handler::{Run, Runnable, Shared};
use crate::job::{Coder, IdMap, IdSet, KindId, OTHER_KINDS, Retry};
use crate::metrics::WorkerMeters;
use crate::storage::NamesInUse;
use crate::sync::Tasks;
use crate::sync::atomic::AtomicBool;

/// A worker's handlers and how it runs them.
pub(crate) struct Binding {
    pub queue: Arc<str>,
    pub handlers: IdMap<Handling, KindId>,
    pub shared: Arc<Shared>,
    /// How often a job is tried whose kind has no policy of its own.
    pub retry: Retry,
    pub timeout: Option<Duration>,
    /// The worker's jobs run at most once, whatever the jobs themselves ask for.
    pub at_most_once: bool,
    /// The ends of attempts count for a circuit breaker.
    pub has_breaker: bool,
    /// The worker has stopped: no attempt joins a batch any more. Changed under the lock of the forming batches.
    pub closed: AtomicBool,
    /// Reads the payloads as they are stored.
    pub coder: Coder,
    /// While this exists, the numbers of the queue and its kinds are not given to other names.
    #[expect(dead_code, reason = "held, not read")]
    pub names: NamesInUse,
    /// The async runtime of the handlers.
    pub tasks: Tasks,
    /// What is told of its attempts.
    pub meters: WorkerMeters,
}

/// The handlers are dropped in the context of their runtime, whichever thread drops the last reference: a connection pool can
/// need the runtime to close itself.
impl Drop for Binding {
    fn drop(&mut self) {
        let handlers = std::mem::take(&mut self.handlers);
        self.tasks.in_context(|| drop(handlers));
    }
}

/// One kind's handler.
pub(crate) struct Handling {
    pub kind: Arc<str>,
    pub runnable: Runnable,
    /// The longest attempt, even if the worker and the job allow more.
    pub timeout_max: Option<Duration>,
    pub slow_polls: SlowPolls,
    /// How often a job of this kind is tried, if that is not what its worker says.
    pub retry: Option<Retry>,
    /// The foreign handler that it is, if it is no Rust function.
    pub foreign: Option<Arc<dyn ForeignHandler>>,
}

impl Handling {
    /// Handles a kind with a Rust function.
    pub fn native(kind: Arc<str>, runnable: Runnable) -> Self {
        Self { kind, runnable, timeout_max: None, slow_polls: SlowPolls::default(), retry: None, foreign: None }
    }

    /// Whether the handler needs a thread of its own while it runs.
    pub fn blocks(&self) -> bool {
        matches!(self.runnable.run, Run::Blocking(_))
    }
}

impl Binding {
    /// Whether any of its handlers runs on the async runtime.
    pub fn needs_runtime(&self) -> bool {
        self.handlers.values().any(|handling| !handling.blocks())
    }

    /// The kinds whose handlers need a thread of their own.
    pub fn blocking_kinds(&self) -> IdSet<KindId> {
        let blocking = self.handlers.iter().filter(|(_, handling)| handling.blocks());
        blocking.map(|(kind, _)| *kind).collect()
    }

    /// The handler for jobs of this kind.
    pub fn handling(&self, kind: KindId) -> Option<&Handling> {
        self.handlers.get(&kind).or_else(|| self.handlers.get(&OTHER_KINDS))
    }

    /// The kind whose handler is called for jobs of this kind.
    pub fn handled_as(&self, kind: KindId) -> KindId {
        if self.handlers.contains_key(&kind) { kind } else { OTHER_KINDS }
    }

    /// How often a job of this handler's kind is tried.
    pub fn retry<'b>(&'b self, handling: &'b Handling) -> &'b Retry {
        handling.retry.as_ref().unwrap_or(&self.retry)
    }

    /// How long an attempt of this handler may run. `own` is the job's own timeout.
    pub fn timeout(&self, handling: &Handling, own: Option<Duration>) -> Option<Duration> {
        let allowed = own.or(self.timeout);
        [allowed, handling.timeout_max].into_iter().flatten().min()
    }
}
