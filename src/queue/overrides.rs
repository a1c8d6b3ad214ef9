//! What an operator sets in place of the limits of a queue's worker.

use super::Queue;
use crate::error::Error;
use crate::job::{Overrides, WorkerSettings, check_name};
use crate::runtime::Commit;
use crate::writer::control;

impl Queue {
    /// Sets limits that hold in place of those of the queue's worker, also of its next worker and after a restart. They replace
    /// all that were set before; [`Overrides::new`] resets them. To change one, start from [`overrides`](Self::overrides).
    ///
    /// The queue need not have a worker. The worker's own limits are not changed, and hold again once the overrides are
    /// reset. Running jobs are not stopped.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for limits that cannot work.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let crm = pond.queue("crm")?;
    /// crm.set_overrides(Overrides::new().rate(Rate::per_minute(60).burst(2))).await?;
    ///
    /// pond.worker("crm").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// pond.enqueue_many("crm", (0..3).map(|order| Charge { order })).await?;
    /// drain(&pond).await;
    /// assert_eq!(crm.counts().completed_total, 2);
    ///
    /// crm.set_overrides(Overrides::new()).await?;
    /// drain(&pond).await;
    /// assert_eq!(crm.counts().completed_total, 3);
    /// # Ok(()) });
    /// ```
    pub fn set_overrides(&self, overrides: Overrides) -> Commit<()> {
        let (engine, queue) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            overrides.check()?;
            let text = format!("{overrides:?}");
            let name = queue.clone();
            let is_changed = engine.change(move |batch| control::set_overrides(batch, &queue, &overrides)).await?;
            if is_changed {
                tracing::info!(queue = &*name, overrides = text, "the limits of a queue were overridden");
            }
            Ok(())
        })
    }

    /// The limits that hold in place of those of the queue's worker, as of the last commit.
    pub fn overrides(&self) -> Overrides {
        self.id().map(|id| self.engine.steered(id).overrides).unwrap_or_default()
    }

    /// The limits that the code of the queue's worker says, without [overrides](Self::overrides). `None` if the queue has no
    /// worker in this process. [`WorkerSettings::with`] has an example.
    pub fn worker_settings(&self) -> Option<WorkerSettings> {
        self.engine.worker_settings(self.id()?)
    }

    /// Pauses a kind in this queue: none of its jobs starts until the kind is resumed; running jobs finish, and jobs of other
    /// kinds go on. A pause is durable, also that of a kind that has no jobs yet. Returns false if the kind was already
    /// paused in this queue.
    ///
    /// A job of a paused kind that is the first of its group holds the group up.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// let billing = pond.queue("billing")?;
    /// assert!(billing.pause_kind("charge").await?);
    ///
    /// let held = billing.enqueue(Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.explain(held)?, Explanation::KindPaused);
    ///
    /// assert!(billing.resume_kind("charge").await?);
    /// drain(&pond).await;
    /// assert_eq!(billing.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn pause_kind(&self, kind: &str) -> Commit<bool> {
        self.set_kind_paused(kind, true)
    }

    /// Resumes a paused kind. Returns false if it was not paused in this queue.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn resume_kind(&self, kind: &str) -> Commit<bool> {
        self.set_kind_paused(kind, false)
    }

    fn set_kind_paused(&self, kind: &str, paused: bool) -> Commit<bool> {
        let (engine, queue, kind) = (self.engine.clone(), self.name.clone(), kind.to_owned());
        Commit::new(async move {
            check_name("kind", &kind)?;
            let (name, of_kind) = (queue.clone(), kind.clone());
            let is_changed: Result<bool, Error> =
                engine.change(move |batch| control::pause_kind(batch, &queue, &kind, paused)).await;
            if is_changed.as_ref().is_ok_and(|is_changed| *is_changed) {
                let what = if paused { "kind paused" } else { "kind resumed" };
                tracing::info!(queue = &*name, kind = of_kind, "{what}");
            }
            is_changed
        })
    }

    /// The kinds that are paused in this queue, sorted.
    pub fn paused_kinds(&self) -> Vec<String> {
        let Some(id) = self.id() else { return Vec::new() };
        let paused = self.engine.steered(id).paused_kinds;
        let mut names: Vec<_> = paused.into_iter().map(|kind| self.engine.kind_name(kind).to_string()).collect();
        names.sort_unstable();
        names
    }
}
