//! The progress that a handler reports.

use serde::{Deserialize, Serialize};

/// The progress that a handler has reported.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
/// # let (go, gone) = tokio::sync::watch::channel(());
/// # pond.worker("billing").handle(move |_: Job<Charge>, ctx: Context| { let (started, mut gone) = (started.clone(), gone.clone()); async move {
/// #     ctx.progress(3, Some(10), "line items");
/// #     let _ = started.send(());
/// #     gone.changed().await?;
/// #     Ok(())
/// # } }).start()?;
/// # let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// # starts.recv().await;
/// let Progress { done, total, message, .. } = pond.job(id)?.progress.unwrap_or_default();
/// assert_eq!((done, total, message.as_str()), (3, Some(10), "line items"));
/// # go.send(())?;
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, if known.
    pub total: Option<u64>,
    /// What the handler is doing; at most 1 KiB.
    pub message: String,
}

impl Progress {
    pub(crate) fn new(done: u64, total: Option<u64>, message: impl Into<String>) -> Self {
        Self { done, total, message: message.into() }
    }

    /// The share that is done, from 0 to 1; `None` if it is not known how much there is in all.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// async fn charge(_: Job<Charge>, ctx: Context) -> Handled {
    ///     ctx.progress(1, Some(4), "asking the bank");
    ///     Err("declined".into())
    /// }
    /// # pond.worker("billing").handle(charge).start()?;
    /// # let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// assert_eq!(pond.job(id)?.progress.and_then(|progress| progress.fraction()), Some(0.25));
    /// # Ok(()) });
    /// ```
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some(self.done.min(total) as f64 / total as f64)
    }
}
