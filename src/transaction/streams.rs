//! Appending to streams within a transaction.

use super::{Transaction, WriteGuard, with_all};
use crate::error::Error;
use crate::job::{Appended, NewJob, check_name};
use crate::storage::PreparedEntry;

impl Transaction<'_> {
    /// Appends an entry to a stream, as [`Stream::append`](crate::Stream::append) does, if and only if this transaction is committed.
    /// Returns its offset. It counts for the limits of the transaction, as a job does.
    ///
    /// # Errors
    /// Those of [`Stream::append`](crate::Stream::append); [`Error::BatchTooLarge`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");
    ///
    /// pond.transaction(|tx| {
    ///     tx.open_table(ORDERS)?.insert(7, "a kettle")?;
    ///     tx.append("orders", Charge { order: 7 })?;
    ///     Ok(())
    /// })
    /// .await?;
    /// assert_eq!(pond.stream("orders")?.info()?.entries, 1);
    /// # Ok(()) });
    /// ```
    pub fn append(&self, stream: &str, entry: impl Into<NewJob>) -> Result<u64, Error> {
        Ok(self.append_all(stream, &mut std::iter::once(entry.into()))?.first)
    }

    /// Appends entries to a stream in this order, all or none.
    ///
    /// # Errors
    /// Those of [`append`](Self::append). None of the entries is appended then, and the transaction can continue.
    pub fn append_many<E: Into<NewJob>>(
        &self,
        stream: &str,
        entries: impl IntoIterator<Item = E>,
    ) -> Result<Appended, Error> {
        self.append_all(stream, &mut entries.into_iter().map(Into::into))
    }

    fn append_all(&self, stream: &str, entries: &mut dyn Iterator<Item = NewJob>) -> Result<Appended, Error> {
        check_name("stream", stream)?;
        self.append_prepared(stream, self.prepare.prepare_entries(entries)?)
    }

    fn append_prepared(&self, stream: &str, mut entries: Vec<PreparedEntry>) -> Result<Appended, Error> {
        let size = with_all(self.size.get(), entries.iter().map(|entry| &entry.bytes))?;
        let appended = self.batch.borrow_mut().append(&stream.into(), &mut entries)?;
        self.size.set(size);
        Ok(appended)
    }
}

impl WriteGuard {
    /// Appends an entry to a stream when this transaction is committed. Its offset is known only then: [`Transaction::append`]
    /// returns it.
    ///
    /// # Errors
    /// Those of [`Stream::append`](crate::Stream::append).
    ///
    /// ```
    /// # use doc_prelude::*;
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let mut tx = pond.begin_write()?;
    /// tx.append("orders", Charge { order: 7 })?;
    /// tx.commit()?;
    /// assert_eq!(pond.stream("orders")?.info()?.entries, 1);
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn append(&mut self, stream: &str, entry: impl Into<NewJob>) -> Result<(), Error> {
        check_name("stream", stream)?;
        let entries = self.prepare.prepare_entries(&mut std::iter::once(entry.into()))?;
        let stream = stream.to_owned();
        self.staged.changes.push(Box::new(move |tx| tx.append_prepared(&stream, entries).map(drop)));
        Ok(())
    }
}
