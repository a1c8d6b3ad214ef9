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
