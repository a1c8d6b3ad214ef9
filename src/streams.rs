//! Streams: append to one, read it, say what it keeps, and see and move its consumers.

mod consumer;
mod entry;
mod tail;

use std::sync::Arc;

pub use consumer::{Consumer, ConsumerBuilder};
pub use entry::Entry;
pub use tail::Tail;

use crate::error::Error;
use crate::job::{Appended, ConsumerInfo, NewJob, Start, StreamInfo, StreamSettings, check_name};
use crate::runtime::{Commit, Engine};

/// Entries that [`Stream::read`] returns at once, at most.
const ENTRIES_PER_PAGE_MAX: usize = 10_000;

/// Bytes in one page, approximately: a page ends with the entry that reaches this.
const BYTES_PER_PAGE: usize = 8 << 20;

/// A stream: a log of entries in the file, each with an offset. Several consumers can read it, each at its own pace, and again
/// from an earlier offset. [`Millpond::stream`](crate::Millpond::stream) returns it.
///
/// An entry is described as a job is: it has a kind, a payload, tags and headers, and its [group](NewJob::group) is its key.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.stream("orders")?;
/// orders.append(NewJob::new(Charge { order: 7 }).group("customer-1")).await?;
///
/// let entries = orders.read(0, 100)?;
/// assert_eq!((entries[0].offset, entries[0].key.as_deref()), (0, Some("customer-1")));
/// assert_eq!(entries[0].payload.decode::<Charge>()?.order, 7);
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Stream {
    engine: Arc<Engine>,
    name: Arc<str>,
}

impl Stream {
    pub(crate) fn new(engine: Arc<Engine>, name: &str) -> Result<Self, Error> {
        engine.check_process()?;
        check_name("stream", name)?;
        Ok(Self { engine, name: name.into() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends an entry. When this returns, the entry is on the disk. A stream that is not there is made.
    ///
    /// # Errors
    /// Those of [`Millpond::enqueue`](crate::Millpond::enqueue) for a payload, a key, a tag or a header that is not accepted;
    /// [`Error::InvalidConfig`] for an option that an entry cannot have, such as a delay; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.stream("orders")?;
    /// assert_eq!(orders.append(Charge { order: 7 }).await?, 0);
    /// assert_eq!(orders.append(Charge { order: 8 }).await?, 1);
    /// # Ok(()) });
    /// ```
    pub fn append(&self, entry: impl Into<NewJob>) -> Commit<u64> {
        let appended = self.append_all(&mut std::iter::once(entry.into()));
        Commit::new(async move { Ok(appended.await?.first) })
    }

    /// Appends entries in this order, all or none, in one commit: at most 10,000 entries and 32 MiB.
    ///
    /// # Errors
    /// Those of [`append`](Self::append); [`Error::BatchTooLarge`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let appended = pond.stream("orders")?.append_many((0..1_000).map(|order| Charge { order })).await?;
    /// assert_eq!((appended.first, appended.next), (0, 1_000));
    /// # Ok(()) });
    /// ```
    pub fn append_many<E: Into<NewJob>>(&self, entries: impl IntoIterator<Item = E>) -> Commit<Appended> {
        self.append_all(&mut entries.into_iter().map(Into::into))
    }

    fn append_all(&self, entries: &mut dyn Iterator<Item = NewJob>) -> Commit<Appended> {
        let entries = self.engine.prepare_entries(entries);
        let (engine, name) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            let mut entries = entries?;
            let bytes = entries.iter().map(|entry| entry.bytes.len()).sum();
            engine.change_with(bytes, move |batch| batch.append(&name, &mut entries)).await
        })
    }

    /// The entries from this offset on, up to `limit` (at most 10,000). A page ends early with the entry with which it reaches
    /// 8 MiB: only an empty page means that there are no more. An offset below the first entry means the first entry.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// [`Error::NoSuchStream`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.stream("orders")?;
    /// orders.append_many((0..10).map(|order| Charge { order })).await?;
    /// let mut from = 0;
    /// let mut sum = 0;
    /// loop {
    ///     let page = orders.read(from, 4)?;
    ///     let Some(last) = page.last() else { break };
    ///     from = last.offset + 1;
    ///     for entry in &page {
    ///         sum += entry.payload.decode::<Charge>()?.order;
    ///     }
    /// }
    /// assert_eq!(sum, 45);
    /// # Ok(()) });
    /// ```
    pub fn read(&self, from: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        let reader = self.engine.reader()?;
        let row = reader.stream(&self.name)?.ok_or_else(|| self.missing())?;
        let limit = limit.clamp(1, ENTRIES_PER_PAGE_MAX);
        let mut from = from.max(row.first);
        loop {
            let page = reader.entries(row.number, from, limit, BYTES_PER_PAGE)?;
            let is_damaged = !page.damaged.is_empty();
            self.engine.quarantine_entries(&self.name, page.damaged);
            let entries = page.entries.into_iter();
            let entries: Vec<_> = entries.map(|read| Entry::new(&self.engine, read.offset, read.record)).collect();
            if !entries.is_empty() || !is_damaged {
                return Ok(entries);
            }
            from = page.next;
        }
    }

    /// Reads entries as they are appended, beginning with this one. It ends when the queue is shut down.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.stream("orders")?;
    /// let mut tail = orders.tail(Start::Earliest);
    /// orders.append(Charge { order: 7 }).await?;
    /// let entry = tail.next().await.expect("it is open")?;
    /// assert_eq!(entry.payload.decode::<Charge>()?.order, 7);
    /// # Ok(()) });
    /// ```
    pub fn tail(&self, start: Start) -> Tail {
        Tail::new(self.clone(), start)
    }

    /// What it has, and what it keeps.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`]; storage errors.
    pub fn info(&self) -> Result<StreamInfo, Error> {
        let row = self.engine.reader()?.stream(&self.name)?.ok_or_else(|| self.missing())?;
        Ok(StreamInfo::new(self.name.to_string(), row))
    }

    fn missing(&self) -> Error {
        Error::NoSuchStream { stream: self.name.to_string() }
    }

    /// Sets what it keeps. A stream that is not there is made.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a limit of zero; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let week = Duration::from_secs(7 * 24 * 3600);
    /// pond.stream("orders")?.configure(StreamSettings::default().max_age(week)).await?;
    /// assert_eq!(pond.stream("orders")?.info()?.settings.max_age, Some(week));
    /// # Ok(()) });
    /// ```
    pub fn configure(&self, settings: StreamSettings) -> Commit<()> {
        let (engine, name) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            settings.check()?;
            engine.change(move |batch| batch.configure_stream(&name, &settings)).await?;
            Ok(())
        })
    }

    /// Removes the entries that are beyond its limits now. The queue does that by itself every few seconds. Returns how many
    /// entries are left.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`]; storage errors. The chunks that were committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.stream("orders")?;
    /// orders.append_many((0..10).map(|order| Charge { order })).await?;
    /// orders.configure(StreamSettings::default().max_entries(3)).await?;
    /// assert_eq!(orders.sweep().await?, 3);
    /// assert_eq!(orders.read(0, 10)?[0].offset, 7);
    /// # Ok(()) });
    /// ```
    pub fn sweep(&self) -> Commit<u64> {
        let stream = self.clone();
        Commit::new(async move {
            let (engine, name) = (stream.engine.clone(), stream.name.clone());
            while engine.sweep_stream(name.clone()).await? {}
            Ok(stream.info()?.entries)
        })
    }

    /// Removes the stream with all its entries. It must have no consumers, and no binding of a topic may lead to it. This takes several commits if it has many entries; if
    /// the process ends in the middle, a part of the entries is left: call it again.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`]; [`Error::StreamInUse`]; [`Error::StreamBound`]; storage errors.
    pub fn remove(&self) -> Commit<()> {
        let (engine, name) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            loop {
                let name = name.clone();
                if !engine.change_in_bulk(move |batch| batch.remove_stream(&name)).await? {
                    return Ok(());
                }
            }
        })
    }

    /// Its consumers, in the order of their names.
    ///
    /// # Errors
    /// Storage errors.
    pub fn consumers(&self) -> Result<Vec<ConsumerInfo>, Error> {
        self.engine.consumer_infos(Some(&self.name), usize::MAX)
    }

    /// The consumer of this name, to see and to move it. [`Millpond::consumer`](crate::Millpond::consumer) starts one.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn consumer(&self, name: &str) -> Result<Consumer, Error> {
        Consumer::new(self.engine.clone(), self.name.clone(), name)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).finish_non_exhaustive()
    }
}
