//! Pausing all queues at once.

use super::Millpond;
use crate::runtime::Commit;
use crate::writer::control;

impl Millpond {
    /// Pauses all queues: no job starts until they are resumed; running jobs finish. The pause is durable, and also holds for
    /// queues that are made later. It is independent of the pauses of queues, groups and kinds. Returns false if all queues
    /// were already paused.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// assert!(pond.pause().await?);
    ///
    /// let held = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.explain(held)?, Explanation::AllPaused);
    ///
    /// assert!(pond.resume().await?);
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn pause(&self) -> Commit<bool> {
        self.set_paused(true)
    }

    /// Resumes all queues after [`pause`](Self::pause). Queues, groups and kinds that were paused themselves stay paused.
    /// Returns false if not all queues were paused.
    pub fn resume(&self) -> Commit<bool> {
        self.set_paused(false)
    }

    fn set_paused(&self, paused: bool) -> Commit<bool> {
        let change = self.engine().change(move |batch| control::pause_all(batch, paused));
        Commit::new(async move {
            let is_changed = change.await?;
            if is_changed {
                tracing::info!("{}", if paused { "all queues paused" } else { "all queues resumed" });
            }
            Ok(is_changed)
        })
    }

    /// Whether all queues are paused by [`pause`](Self::pause).
    pub fn is_paused(&self) -> bool {
        !self.engine().is_forked() && self.engine().scheduler().are_all_paused()
    }
}
