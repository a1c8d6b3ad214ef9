//! What only some kinds have: a queue of their own, a type of their results.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::payload::Kind;

/// A kind whose jobs have a queue of their own: [`Millpond::send`](crate::Millpond::send) and
/// [`Transaction::send`](crate::Transaction::send) enqueue into it, so that no call names the queue.
///
/// `#[kind(queue = "...")]` implements it together with [`Kind`].
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # #[derive(Serialize, Deserialize)]
/// # struct Receipt { order: u64 }
/// # impl Kind for Receipt { const KIND: &'static str = "receipt"; }
/// impl HasQueue for Receipt {
///     const QUEUE: &'static str = "emails";
/// }
///
/// let id = pond.send(Receipt { order: 7 }).await?;
/// assert_eq!(pond.job(id)?.queue, "emails");
///
/// // With options, and in `worker`, the constant has the name.
/// let later = NewJob::new(Receipt { order: 8 }).delay(Duration::from_secs(60));
/// pond.enqueue(Receipt::QUEUE, later).await?;
/// # Ok(()) });
/// ```
///
/// A kind without a queue cannot be sent:
///
/// ```compile_fail,E0277
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.send(Charge { order: 7 }).await?; // `Charge` implements only `Kind`
/// # Ok(()) });
/// ```
#[diagnostic::on_unimplemented(
    message = "the kind `{Self}` has no queue of its own",
    label = "a kind without a queue",
    note = "give it one: `#[kind(queue = \"...\")]` with `#[derive(Kind)]`, or `impl millpond::HasQueue for {Self} {{ const QUEUE: &'static str = \"...\"; }}`",
    note = "or name the queue in the call: `enqueue(\"...\", ...)`"
)]
pub trait HasQueue: Kind {
    /// The name of the queue. Letters, digits and `. _ : -`, at most 128 bytes; a call with another name returns
    /// [`Error::InvalidName`](crate::Error::InvalidName).
    const QUEUE: &'static str;
}

/// A kind whose handler returns a result of one type: [`Outcome::done_as`](crate::Outcome::done_as) writes it, and
/// [`JobInfo::output`](crate::JobInfo::output) reads it. The result is stored as JSON.
///
/// `#[kind(output = Receipt)]` implements it together with [`Kind`].
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// struct Receipt { number: u32 }
/// # #[derive(Serialize, Deserialize)]
/// # struct Purchase { order: u64 }
/// # impl Kind for Purchase { const KIND: &'static str = "purchase"; }
///
/// impl HasOutput for Purchase {
///     type Output = Receipt;
/// }
///
/// pond.worker("billing")
///     .handle(|_: Job<Purchase>| async { Outcome::done_as::<Purchase>(&Receipt { number: 12 }) })
///     .start()?;
/// let id = pond.enqueue("billing", Purchase { order: 7 }).await?;
/// drain(&pond).await;
/// assert_eq!(pond.job(id)?.output::<Purchase>()?, Some(Receipt { number: 12 }));
/// # Ok(()) });
/// ```
#[diagnostic::on_unimplemented(
    message = "the kind `{Self}` has no type of its results",
    label = "a kind without an output",
    note = "give it one: `#[kind(output = ...)]` with `#[derive(Kind)]`, or `impl millpond::HasOutput for {Self} {{ type Output = ...; }}`",
    note = "a result without a type of its own is written with `Outcome::done_json` and read with `JobInfo::result_json`"
)]
pub trait HasOutput: Kind {
    /// The type of the result.
    type Output: Serialize + DeserializeOwned + Send + 'static;
}
