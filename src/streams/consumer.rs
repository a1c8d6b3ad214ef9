//! Consumers of streams: start one, and see and move the one of a name.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::handler::{BlockingHandler, Handler};
use crate::job::{ConsumerInfo, EntryOrder, Feeding, Kind, Rate, Retry, Start, check_name, consumer_queue};
use crate::queue::Queue;
use crate::runtime::{Commit, Engine};
use crate::worker::{Worker, WorkerBuilder};

/// Builds a consumer of a stream: the handlers for the kinds of entries, where it begins, and in which order it handles them.
/// [`Millpond::consumer`](crate::Millpond::consumer) returns it.
///
/// A consumer has a cursor in the file, which says which entries it is done with. It goes on from there after a restart, so `from`
/// has an effect only when a consumer of this name starts for the first time. Entries of kinds for which it has no handler are
/// passed over.
///
/// A handler is called for an entry as for a job, and takes the same arguments. What it writes with
/// [`on_complete`](crate::Context::on_complete) is in the commit that moves the cursor, so it is written exactly once. An entry whose
/// handler takes longer than 10 milliseconds, or fails, becomes a job in the consumer's queue, which is named after the stream
/// and the consumer (`orders:billing`). From then on everything is as for jobs: retries and their
/// delays, dead letters, logs, steps, cancelling, and recovery after a crash. Further entries of its key wait for it; all others go on.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// const TOTALS: TableDefinition<&str, u64> = TableDefinition::new("totals");
///
/// pond.consumer("orders", "totals")
///     .handle(|order: Job<Charge>, ctx: Context| async move {
///         let order = order.order;
///         ctx.on_complete(move |tx| {
///             let mut totals = tx.open_table(TOTALS)?;
///             let sum = totals.get("orders")?.map_or(0, |sum| sum.value());
///             totals.insert("orders", sum + order)?;
///             Ok(())
///         });
///         Ok(())
///     })
///     .start()
///     .await?;
/// pond.stream("orders")?.append_many((1..=10).map(|order| Charge { order })).await?;
/// drain(&pond).await;
/// let sum = pond.begin_read()?.open_table(TOTALS)?.get("orders")?.unwrap().value();
/// assert_eq!(sum, 55);
/// # Ok(()) });
/// ```
#[must_use = "a consumer does nothing until it is started"]
pub struct ConsumerBuilder {
    engine: Arc<Engine>,
    stream: String,
    name: String,
    start: Start,
    order: EntryOrder,
    worker: WorkerBuilder,
}

impl ConsumerBuilder {
    pub(crate) fn new(engine: Arc<Engine>, stream: &str, name: &str) -> Self {
        let worker = WorkerBuilder::new(engine.clone(), &consumer_queue(stream, name));
        let (stream, name) = (stream.to_owned(), name.to_owned());
        Self { engine, stream, name, start: Start::Earliest, order: EntryOrder::default(), worker }
    }

    /// Where it begins, if there is no consumer of this name yet. Default: with the first entry that the stream has.
    pub fn from(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// In which order it handles entries. Default: [by key](EntryOrder::ByKey).
    pub fn order(mut self, order: EntryOrder) -> Self {
        self.order = order;
        self
    }

    /// How many entries it handles at a time. Default 10. See [`WorkerBuilder::concurrency`].
    pub fn concurrency(self, entries: usize) -> Self {
        self.worker(|worker| worker.concurrency(entries))
    }

    /// How many entries it begins to handle per period of time. See [`WorkerBuilder::rate_limit`].
    pub fn rate_limit(self, rate: Rate) -> Self {
        self.worker(|worker| worker.rate_limit(rate))
    }

    /// How often it tries an entry, and how long it waits in between. See [`WorkerBuilder::retry`].
    pub fn retry(self, retry: Retry) -> Self {
        self.worker(|worker| worker.retry(retry))
    }

    /// How long the handler may take for one entry. See [`WorkerBuilder::timeout`].
    pub fn timeout(self, timeout: Duration) -> Self {
        self.worker(|worker| worker.timeout(timeout))
    }

    /// Shared data for its handlers. See [`WorkerBuilder::data`].
    pub fn data<T: Send + Sync + 'static>(self, data: T) -> Self {
        self.worker(|worker| worker.data(data))
    }

    /// The handler for entries of a kind. See [`WorkerBuilder::handle`].
    pub fn handle<T: Kind, Args>(self, handler: impl Handler<T, Args>) -> Self {
        self.worker(|worker| worker.handle(handler))
    }

    /// A handler that blocks its thread, for entries of a kind. See [`WorkerBuilder::handle_blocking`].
    pub fn handle_blocking<T: Kind, Args>(self, handler: impl BlockingHandler<T, Args>) -> Self {
        self.worker(|worker| worker.handle_blocking(handler))
    }

    /// Everything else that a [worker](WorkerBuilder) can have: raw and batch handlers, plugins, circuit breakers, limits,
    /// middleware. A batch handler gets at most one entry of each key at a time, or as many as fit with [`EntryOrder::None`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.consumer("orders", "audit")
    ///     .worker(|worker| worker.handle_raw("charge", |_: Job<bytes::Bytes>| async { Ok(()) }))
    ///     .start()
    ///     .await?;
    /// # Ok(()) });
    /// ```
    pub fn worker(self, change: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        Self { worker: change(self.worker), ..self }
    }

    /// Starts the consumer. When this returns, it is in the file, and entries that are appended from now on are handled. The
    /// stream is made if it is not there.
    ///
    /// # Errors
    /// Those of [`WorkerBuilder::start`]; [`Error::InvalidName`]; [`Error::InvalidConfig`] if its queue has a
    /// [group concurrency](crate::QueueSettings::group_concurrency) above 1; [`Error::QueueInUse`] if a consumer of another stream has the same
    /// queue, because of a colon in a name; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let worker = pond.consumer("orders", "billing").handle(|_: Job<Charge>| async { Ok(()) }).start().await?;
    /// pond.stream("orders")?.append(Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.stream("orders")?.consumer("billing")?.info()?.next, 1);
    /// worker.stop().await?;
    /// # Ok(()) });
    /// ```
    pub fn start(self) -> Commit<Worker> {
        let Self { engine, stream, name, start, order, worker } = self;
        Commit::new(async move {
            check_name("stream", &stream)?;
            check_name("consumer", &name)?;
            worker.check()?;
            let (stream, name): (Arc<str>, Arc<str>) = (stream.into(), name.into());
            let opened = stream.clone();
            let (_, number) = engine.change(move |batch| batch.open_consumer(&opened, &name, start)).await?;
            worker.fed_by(Feeding { stream, number, order }).start()
        })
    }
}

impl std::fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("stream", &self.stream)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A consumer of a stream, to see and to move it. [`Stream::consumer`](crate::Stream::consumer) returns it.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.consumer("orders", "billing").handle(|_: Job<Charge>| async { Ok(()) }).start().await?;
/// pond.stream("orders")?.append_many((0..10).map(|order| Charge { order })).await?;
/// drain(&pond).await;
///
/// let billing = pond.stream("orders")?.consumer("billing")?;
/// assert_eq!(billing.info()?.behind, 0);
/// billing.seek(Start::Offset(4)).await?; // handles the entries from 4 on again
/// drain(&pond).await;
/// assert_eq!(pond.queue("orders:billing")?.counts().completed_total, 16);
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Consumer {
    engine: Arc<Engine>,
    stream: Arc<str>,
    name: Arc<str>,
}

impl Consumer {
    pub(super) fn new(engine: Arc<Engine>, stream: Arc<str>, name: &str) -> Result<Self, Error> {
        check_name("consumer", name)?;
        Ok(Self { engine, stream, name: name.into() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known of it.
    ///
    /// # Errors
    /// [`Error::NoSuchConsumer`]; storage errors.
    pub fn info(&self) -> Result<ConsumerInfo, Error> {
        self.engine.consumer_info(&self.stream, &self.name)?.ok_or_else(|| self.missing())
    }

    fn missing(&self) -> Error {
        Error::NoSuchConsumer { stream: self.stream.to_string(), consumer: self.name.to_string() }
    }

    /// The queue of the jobs that its entries become: to pause it, to change its limits, and for its dead letters.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn queue(&self) -> Result<Queue, Error> {
        let name = consumer_queue(&self.stream, &self.name);
        check_name("queue", &name)?;
        Ok(Queue::new(self.engine.clone(), name.into()))
    }

    /// Handles no further entries until it is resumed, also after a restart. Returns false if it was paused already.
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.consumer("orders", "billing").handle(|_: Job<Charge>| async { Ok(()) }).start().await?;
    /// let billing = pond.stream("orders")?.consumer("billing")?;
    /// billing.pause().await?;
    /// pond.stream("orders")?.append(Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(billing.info()?.behind, 1);
    /// billing.resume().await?;
    /// drain(&pond).await;
    /// assert_eq!(billing.info()?.behind, 0);
    /// # Ok(()) });
    /// ```
    pub fn pause(&self) -> Commit<bool> {
        let queue = self.queue();
        Commit::new(async move { queue?.pause().await })
    }

    /// Handles entries again. Returns false if it was not paused.
    ///
    /// # Errors
    /// Storage errors.
    pub fn resume(&self) -> Commit<bool> {
        let queue = self.queue();
        Commit::new(async move { queue?.resume().await })
    }

    /// Moves it to another entry, backwards or forwards. Returns the offset with which it goes on. Entries that are being handled
    /// end first. Entries that have become jobs, because they wait for a retry or are dead letters, stay jobs: a consumer that
    /// is moved back handles them again beside that.
    ///
    /// # Errors
    /// [`Error::NoSuchConsumer`]; storage errors.
    pub fn seek(&self, to: Start) -> Commit<u64> {
        let Self { engine, stream, name } = self.clone();
        Commit::new(async move { engine.change(move |batch| batch.move_consumer(&stream, &name, to)).await })
    }

    /// Removes it with its cursor and its queue, dead letters included. It must not be running.
    ///
    /// # Errors
    /// [`Error::NoSuchConsumer`]; [`Error::ConsumerRuns`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let worker = pond.consumer("orders", "billing").handle(|_: Job<Charge>| async { Ok(()) }).start().await?;
    /// let billing = pond.stream("orders")?.consumer("billing")?;
    /// assert!(matches!(billing.remove().await, Err(Error::ConsumerRuns { .. })));
    /// worker.stop().await?;
    /// billing.remove().await?;
    /// assert!(pond.stream("orders")?.consumers()?.is_empty());
    /// # Ok(()) });
    /// ```
    pub fn remove(&self) -> Commit<()> {
        let consumer = self.clone();
        Commit::new(async move {
            let queue = consumer.queue()?;
            let Self { engine, stream, name } = consumer;
            let runs = engine.find_queue(queue.name()).is_some_and(|queue| engine.has_worker(queue));
            if runs {
                return Err(Error::ConsumerRuns { stream: stream.to_string(), consumer: name.to_string() });
            }
            engine.change(move |batch| batch.remove_consumer(&stream, &name)).await?;
            queue.obliterate().await?;
            Ok(())
        })
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("stream", &self.stream).field("name", &self.name).finish_non_exhaustive()
    }
}
