//! An entry of a stream: what may be appended, and what its record says of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What the record of an entry has that the record of a job does not have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EntryTag {
    /// When it was appended, on the age line.
    pub age: Timestamp,
    /// Which entry of which stream it is. `None` in the stream itself, where its key says that.
    pub place: Option<Arc<EntryPlace>>,
}

impl EntryTag {
    /// Of a job that was this entry.
    pub fn of_job(age: Timestamp, of: EntryOf) -> Self {
        Self { age, place: Some(Arc::new(EntryPlace { of, passed: None })) }
    }
}

/// An entry that a consumer has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EntryPlace {
    pub of: EntryOf,
    /// What the cursor passes with it. Not stored: a job that was an entry moves no cursor, also not in the queue of another consumer.
    pub passed: Option<Passed>,
}

/// What a cursor passes with an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The first of the offsets: those before the entry have no entry for this consumer.
    pub from: u64,
    /// The consumer has been moved so often when the entry was read.
    pub epoch: u32,
}

/// Which entry of which stream a job is.
///
/// ```
/// # use doc_prelude::*;
/// async fn project(job: Job<Charge>) -> Handled {
///     if let Some(entry) = job.entry() {
///         println!("entry {} of {}: order {}", entry.offset, entry.stream, job.order);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EntryOf {
    /// The stream's name.
    pub stream: Arc<str>,
    /// The entry's offset in it.
    pub offset: u64,
}

impl EntryOf {
    pub(crate) fn new(stream: Arc<str>, offset: u64) -> Self {
        Self { stream, offset }
    }
}

/// The offsets of entries that were appended together: they follow one another without a gap.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.stream("orders")?;
/// orders.append(Charge { order: 6 }).await?;
/// let appended = orders.append_many((7..10).map(|order| Charge { order })).await?;
/// assert_eq!((appended.first, appended.next), (1, 4));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Appended {
    /// The offset of the first one.
    pub first: u64,
    /// The offset behind the last one.
    pub next: u64,
}

impl Appended {
    pub(crate) fn new(first: u64, next: u64) -> Self {
        Self { first, next }
    }
}
