//! The circuits of the queue and of its groups, as an operator sees them and closes them.

use std::sync::Arc;

use super::Queue;
use crate::error::Error;
use crate::job::{BucketKey, Circuit, check_key};
use crate::runtime::Commit;
use crate::writer::control;

/// The circuit of a queue without a circuit breaker.
const NONE: Circuit = Circuit::Closed { failures: 0, ends: 0 };

impl Queue {
    /// The state of the queue's circuit. Without a [circuit breaker](crate::WorkerBuilder::circuit_breaker) it is closed, unless
    /// an earlier worker's breaker has opened it and the queue has had no worker since. This does not wait.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .circuit_breaker(CircuitBreaker::failures(0.5).of(4).open_for(Duration::from_secs(60)))
    ///     .retry(Retry::none())
    ///     .handle(|_: Job<Charge>| async { Err::<(), _>("the bank is down".into()) })
    ///     .start()?;
    /// let billing = pond.queue("billing")?;
    /// billing.enqueue(Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(matches!(billing.circuit(), Circuit::Closed { failures: 1, ends: 1, .. }));
    ///
    /// billing.enqueue(Charge { order: 8 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(billing.circuit().to_string(), "open for another 60s");
    /// # Ok(()) });
    /// ```
    pub fn circuit(&self) -> Circuit {
        self.circuit_of(None)
    }

    /// The state of a group's circuit, as [`circuit`](Self::circuit) for the queue. A group of which nothing failed lately has a
    /// circuit that is closed and an empty window.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    pub fn group_circuit(&self, group: &str) -> Result<Circuit, Error> {
        check_key("group", group)?;
        Ok(self.circuit_of(Some(group.into())))
    }

    fn circuit_of(&self, group: Option<Arc<str>>) -> Circuit {
        match self.id() {
            Some(queue) if !self.engine.is_forked() => self.engine.circuit(&BucketKey { queue, group }),
            _ => NONE,
        }
    }

    /// Closes the queue's circuit by hand, whether it is open or half open: jobs start at once, and the window is empty. Those
    /// of its groups are not changed. Returns false if it was closed.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let billing = pond.queue("billing")?;
    /// pond.worker("billing")
    ///     .circuit_breaker(CircuitBreaker::failures(1.0).of(1))
    ///     .retry(Retry::none())
    ///     .handle(|_: Job<Charge>| async { Err::<(), _>("the bank is down".into()) })
    ///     .start()?;
    /// billing.enqueue(Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(billing.close_circuit().await?);
    /// assert!(!billing.close_circuit().await?);
    /// # Ok(()) });
    /// ```
    pub fn close_circuit(&self) -> Commit<bool> {
        self.close_circuit_of(None)
    }

    /// Closes a group's circuit by hand, as [`close_circuit`](Self::close_circuit) does that of the queue. Returns false if it
    /// was closed.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    pub fn close_group_circuit(&self, group: &str) -> Commit<bool> {
        self.close_circuit_of(Some(group.into()))
    }

    fn close_circuit_of(&self, group: Option<Arc<str>>) -> Commit<bool> {
        let (engine, queue) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            group.iter().try_for_each(|group| check_key("group", group))?;
            let (name, of_name) = (queue.clone(), group.clone());
            let is_changed = engine.change(move |batch| control::close_circuit(batch, &queue, group.as_ref())).await?;
            if is_changed {
                tracing::info!(queue = &*name, group = of_name.as_deref(), "circuit closed by hand");
            }
            Ok(is_changed)
        })
    }
}
