//! The limits that a worker's kinds have, beside its slots.

use std::sync::Arc;

use super::WorkerBuilder;
use crate::error::Error;
use crate::executor::Handling;
use crate::job::{IdMap, KindId, QueueId};
use crate::runtime::Engine;
use crate::scheduler::LimitKey;

/// The limits that were given for kinds.
#[derive(Default)]
pub(super) struct KindLimits {
    /// A kind, and how many of its jobs run at a time.
    concurrency_of: Vec<(String, u32)>,
    /// A kind, or all of them, and the name of a limit.
    limits: Vec<(Option<String>, String)>,
}

/// The same, with numbers in place of names.
pub(super) struct NumberedLimits {
    pub shared: IdMap<Arc<[LimitKey]>, KindId>,
    pub concurrency_of: Vec<(KindId, u32)>,
}

impl WorkerBuilder {
    /// How many of the worker's jobs of this kind run at the same time; at least 1. Default: as many as the worker has
    /// [slots](Self::concurrency). While that many run, jobs of other kinds go on, and further jobs of this kind use no
    /// slots.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    /// pond.worker("billing")
    ///     .concurrency_of("charge", 1)
    ///     .handle(move |_: Job<Charge>| {
    /// #         let _ = started.send(());
    ///         std::future::pending::<Handled>() // hangs
    ///     })
    ///     .start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # starts.recv().await;
    /// let second = pond.enqueue("billing", Charge { order: 8 }).await?;
    /// assert!(matches!(pond.explain(second)?, Explanation::KindBusy { concurrency: 1, .. }));
    /// # Ok(()) });
    /// ```
    pub fn concurrency_of(mut self, kind: impl Into<String>, jobs: u32) -> Self {
        self.kind_limits.concurrency_of.push((kind.into(), jobs));
        self
    }

    /// All jobs of this worker use this limit of the open file, which [`Builder::limit`](crate::Builder::limit) defines. A
    /// job uses as many units as it [weighs](crate::NewJob::weight), from its start until its handler has returned.
    ///
    /// While a job waits for units, jobs that do not use the limit go on. Jobs that use the limit start in the order of
    /// their queue, and queues take turns; a job that needs many units is not overtaken by those that need few. A job that
    /// weighs more than the whole limit runs when no other job uses the limit.
    ///
    /// [`start`](Self::start) fails with [`Error::InvalidConfig`] if there is no such limit.
    pub fn limit(mut self, name: impl Into<String>) -> Self {
        self.kind_limits.limits.push((None, name.into()));
        self
    }

    /// The worker's jobs of this kind use a limit of the open file, as [`limit`](Self::limit) says for all its jobs.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().limit("bank", 2).open_backend(memory)?;
    /// pond.worker("billing")
    ///     .limit_of("charge", "bank")
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .handle_raw("remind", |_: Job<bytes::Bytes>| async { Ok(()) })
    ///     .start()?;
    ///
    /// let unknown = pond.worker("crm").limit("bnak").handle(|_: Job<Charge>| async { Ok(()) }).start();
    /// assert!(matches!(unknown, Err(Error::InvalidConfig { field: "limit", .. })));
    /// # Ok(()) });
    /// ```
    pub fn limit_of(mut self, kind: impl Into<String>, name: impl Into<String>) -> Self {
        self.kind_limits.limits.push((Some(kind.into()), name.into()));
        self
    }
}

impl KindLimits {
    pub fn check(&self) -> Result<(), Error> {
        if self.concurrency_of.iter().any(|(_, jobs)| *jobs == 0) {
            let reason = "0 jobs at a time would never run a job: leave out the kind's handler instead".to_owned();
            return Err(Error::config("concurrency_of", reason));
        }
        Ok(())
    }

    /// How many jobs of this kind run at the same time, if that is limited.
    pub fn concurrency_of(&self, kind: &str) -> Option<u32> {
        self.concurrency_of.iter().find(|(of, _)| of == kind).map(|(_, jobs)| *jobs)
    }

    /// Puts numbers in place of the names. `handlers` are those of the worker of `queue`.
    pub fn numbered(
        self,
        engine: &Engine,
        queue: QueueId,
        handlers: &IdMap<Handling, KindId>,
    ) -> Result<NumberedLimits, Error> {
        let number = |field, kind: &str| {
            let found = handlers.iter().find(|(_, handling)| &*handling.kind == kind);
            let reason = || format!("the worker has no handler for kind {kind:?}");
            found.map(|(number, _)| *number).ok_or_else(|| Error::config(field, reason()))
        };
        let mut keys: IdMap<Vec<LimitKey>, KindId> = IdMap::default();
        let mut add = |kind: KindId, key: LimitKey| {
            let keys = keys.entry(kind).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        };
        let mut concurrency_of = Vec::new();
        for (kind, jobs) in &self.concurrency_of {
            let kind = number("concurrency_of", kind)?;
            add(kind, LimitKey::Kind(queue, kind));
            concurrency_of.push((kind, *jobs));
        }
        for (kind, name) in &self.limits {
            let unknown = || {
                let known: Vec<_> = engine.limit_names().collect();
                format!("the open file has no limit {name:?}; it has {known:?} (`Builder::limit`)")
            };
            let limit = engine.find_limit(name).ok_or_else(|| Error::config("limit", unknown()))?;
            match kind {
                Some(kind) => add(number("limit_of", kind)?, LimitKey::Named(limit)),
                None => handlers.keys().for_each(|kind| add(*kind, LimitKey::Named(limit))),
            }
        }
        Ok(NumberedLimits {
            shared: keys.into_iter().map(|(kind, keys)| (kind, keys.into())).collect(),
            concurrency_of,
        })
    }
}
