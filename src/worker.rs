use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::error::Error;
#[cfg(feature = "wasm")]
use crate::executor::{self, Plugin};
use crate::executor::{Binding, Handling};
use crate::handler::{
    BlockingHandler, DataMap, Handler, Runnable, erase, erase_blocking, erase_blocking_raw, erase_raw,
};
use crate::job::{IdMap, Kind, QueueId, Rate, Retry};
use crate::runtime::{Engine, Stopping, WorkerConfig};
use crate::scheduler::WorkerLimits;
use crate::storage::NamesInUse;

/// Slots of a worker unless set.
const CONCURRENCY_DEFAULT: usize = 10;

/// Longest attempt unless set.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// A worker in the making: which kinds of a queue's jobs it handles, and its limits.
///
/// ```no_run
/// use millpond::{Context, Data, Job, Kind, Millpond, Rate, Retry};
/// # use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Serialize, Deserialize)]
/// struct Welcome { email: String }
/// impl Kind for Welcome { const KIND: &'static str = "welcome"; }
///
/// struct Mailer;
/// impl Mailer {
///     async fn send(&self, to: &str) -> std::io::Result<()> { Ok(()) }
/// }
///
/// # fn example(pond: Millpond) -> Result<(), millpond::Error> {
/// pond.worker("emails")
///     .concurrency(5)
///     .rate_limit(Rate::per_minute(600).burst(50))
///     .retry(Retry::exponential(Duration::from_secs(2)).max_attempts(5))
///     .timeout(Duration::from_secs(30))
///     .data(Mailer)
///     .handle(|job: Job<Welcome>, mailer: Data<Mailer>| async move {
///         mailer.send(&job.email).await?;
///         Ok(())
///     })
///     .start()?;
/// # Ok(()) }
/// ```
#[must_use = "a worker does nothing until it is started"]
pub struct WorkerBuilder {
    engine: Arc<Engine>,
    queue: String,
    concurrency: usize,
    rate: Option<Rate>,
    group_rate: Option<Rate>,
    retry: Retry,
    timeout: Option<Duration>,
    at_most_once: bool,
    data: DataMap,
    handlers: Vec<(String, Runnable)>,
    #[cfg(feature = "wasm")]
    plugins: Vec<(String, Plugin)>,
}

impl WorkerBuilder {
    pub(crate) fn new(engine: Arc<Engine>, queue: &str) -> Self {
        Self {
            engine,
            queue: queue.to_owned(),
            concurrency: CONCURRENCY_DEFAULT,
            rate: None,
            group_rate: None,
            retry: Retry::default(),
            timeout: Some(TIMEOUT_DEFAULT),
            at_most_once: false,
            data: DataMap::default(),
            handlers: Vec::new(),
            #[cfg(feature = "wasm")]
            plugins: Vec::new(),
        }
    }

    /// How many of its jobs run at a time; at least 1. Default 10; can be changed while it runs.
    ///
    /// The process has limits of its own, over all workers: [`max_running`](crate::Builder::max_running), 256 unless
    /// set, and [`blocking_threads`](crate::Builder::blocking_threads), 64 unless set, for handlers that block. A
    /// worker whose concurrency is above them starts with a warning in the log, which names both numbers.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs;
        self
    }

    /// How many of the queue's jobs start per time. Default: no limit. Durable: a restart does not
    /// refill the bucket. If the queue's worker has had no rate for an hour, or the queue has had no worker for 30
    /// days, a rate that is set then begins with a full bucket.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("crm")
    ///     .rate_limit(Rate::per_minute(60).burst(2))
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .start()?;
    /// pond.enqueue_many("crm", (0..3).map(|order| Charge { order })).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("crm")?.counts().completed_total, 2);
    /// # Ok(()) }
    /// ```
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// How many jobs of each group start per time. Default: no limit. Durable, as
    /// [`rate_limit`](Self::rate_limit). A limited group never holds up the others.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("webhooks")
    ///     .group_rate_limit(Rate::per_second(1))
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .start()?;
    /// for customer in ["a", "a", "b"] {
    ///     pond.enqueue("webhooks", NewJob::new(Charge { order: 7 }).group(customer)).await?;
    /// }
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("webhooks")?.counts().completed_total, 2); // the second "a" waits
    /// # Ok(()) }
    /// ```
    pub fn group_rate_limit(mut self, rate: Rate) -> Self {
        self.group_rate = Some(rate);
        self
    }

    /// How often a job is tried and how long it waits in between. Default: [`Retry::default`].
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .retry(Retry::none())
    ///     .handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) })
    ///     .start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("billing")?.counts().dead, 1);
    /// # Ok(()) }
    /// ```
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How long one attempt may run; not zero. Default 5 minutes.
    ///
    /// An attempt's time begins when its handler is called: time that the job spends waiting for a slot, for a
    /// thread or for the async runtime is not part of it. When it has passed, the handler's
    /// [`Context`](crate::Context) is cancelled. An async handler is dropped at its next await; a blocking one, which
    /// cannot be stopped from outside, keeps its slot and its thread until it returns.
    ///
    /// An attempt whose time has passed has failed with [`FailureKind::Timeout`](crate::FailureKind::Timeout),
    /// whatever its handler returns afterwards, be it a result, an error or any [`Outcome`](crate::Outcome): the
    /// same for async and blocking handlers and for plugins, by the queue's monotonic clock at the moment of the
    /// return. What the attempt has registered with [`on_complete`](crate::Context::on_complete) is not
    /// written.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let clock = ManualClock::new();
    /// # let pond = in_memory(&clock)?;
    /// # let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    /// pond.worker("billing")
    ///     .timeout(Duration::from_secs(30))
    ///     .retry(Retry::none())
    ///     .handle(move |_: Job<Charge>| {
    /// #         let _ = started.send(());
    ///         std::future::pending::<Handled>() // hangs
    ///     })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # starts.recv().await;
    ///
    /// clock.advance(Duration::from_secs(30));
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.errors[0].kind, FailureKind::Timeout);
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets attempts run for ever.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Calls the handler of each job at most once, rather than at least once: [`NewJob::at_most_once`](crate::NewJob::at_most_once)
    /// for all jobs of this worker, whatever attempts they or [`retry`](Self::retry) allow. Default: no. A job that was
    /// tried before, under a worker without this, is tried once more.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("sirens").at_most_once().handle(|_: Job<Charge>| async { Err::<(), _>("no power".into()) }).start()?;
    /// let id = pond.enqueue("sirens", NewJob::new(Charge { order: 7 }).max_attempts(9)).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Dead);
    /// # Ok(()) }
    /// ```
    pub fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    /// Shared state for the handlers, which take it as [`Data<T>`](crate::Data). One per type; a
    /// second of the same type replaces the first.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// struct Bank { name: &'static str }
    ///
    /// pond.worker("billing")
    ///     .data(Bank { name: "Ladybird & Co" })
    ///     .handle(|job: Job<Charge>, bank: Data<Bank>| async move {
    ///         println!("{} charges order {}", bank.name, job.order);
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// # Ok(()) }
    /// ```
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.data.insert(value);
        self
    }

    /// Handles jobs of kind `T` with an async function. See [`Handler`].
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Refund { order: u64 }
    /// # impl Kind for Refund { const KIND: &'static str = "refund"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// async fn charge(job: Job<Charge>, ctx: Context) -> Handled {
    ///     ctx.log(format!("charge order {}", job.order));
    ///     Ok(())
    /// }
    ///
    /// pond.worker("billing")
    ///     .handle(charge)
    ///     .handle(|_: Job<Refund>| async { Ok(Outcome::dead_letter("refunds need a person")) })
    ///     .start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// pond.enqueue("billing", Refund { order: 8 }).await?;
    ///
    /// drain(&pond).await;
    /// let counts = pond.queue("billing")?.counts();
    /// assert_eq!((counts.completed_total, counts.dead), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn handle<T: Kind, Args>(self, handler: impl Handler<T, Args>) -> Self {
        self.with(T::KIND, erase(handler))
    }

    /// Handles jobs of the kind named `kind` with an async function that takes the payload's bytes
    /// as they are.
    ///
    /// ```
    /// use bytes::Bytes;
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("thumbnails")
    ///     .handle_raw("png", |job: Job<Bytes>| async move {
    ///         assert_eq!(&job[..], [0x89, b'P', b'N', b'G']);
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// pond.enqueue("thumbnails", NewJob::raw("png", &b"\x89PNG"[..])).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("thumbnails")?.counts().completed_total, 1);
    /// # Ok(()) }
    /// ```
    pub fn handle_raw<Args>(self, kind: &str, handler: impl Handler<Bytes, Args>) -> Self {
        self.with(kind, erase_raw(handler))
    }

    /// Handles jobs of kind `T` with a function that may block. It runs on a pool of threads of its
    /// own, not on the async runtime's.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("reports")
    ///     .handle_blocking(|job: Job<Charge>| {
    ///         std::fs::read_dir(".")?; // may block
    ///         println!("report on order {}", job.order);
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// pond.enqueue("reports", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("reports")?.counts().completed_total, 1);
    /// # Ok(()) }
    /// ```
    pub fn handle_blocking<T: Kind, Args>(self, handler: impl BlockingHandler<T, Args>) -> Self {
        self.with(T::KIND, erase_blocking(handler))
    }

    /// [`handle_blocking`](Self::handle_blocking) for the payload's bytes as they are.
    pub fn handle_blocking_raw<Args>(self, kind: &str, handler: impl BlockingHandler<Bytes, Args>) -> Self {
        self.with(kind, erase_blocking_raw(handler))
    }

    /// Handles jobs of the kind named `kind` with a plugin: it gets the payload's bytes as they are. It is
    /// compiled by [`start`](Self::start), which takes milliseconds for most and seconds for an interpreter.
    ///
    /// ```no_run
    /// # use millpond::{Millpond, Plugin};
    /// # fn example(pond: Millpond) -> Result<(), millpond::Error> {
    /// let filter = Plugin::from_file("plugins/webhook_filter.wasm")?;
    /// pond.worker("webhooks").handle_wasm("webhook", filter).start()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "wasm")]
    pub fn handle_wasm(mut self, kind: &str, plugin: Plugin) -> Self {
        self.plugins.push((kind.to_owned(), plugin));
        self
    }

    fn with(mut self, kind: &str, runnable: Runnable) -> Self {
        self.handlers.push((kind.to_owned(), runnable));
        self
    }

    /// Starts it: from now on the queue's jobs of these kinds run.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] and [`Error::InvalidName`] for what cannot work,
    /// [`Error::MissingData`] if a handler takes [`Data`](crate::Data) that the worker was not
    /// given, [`Error::WorkerExists`] if the queue has a worker, [`Error::RuntimeEnded`] if a handler is async and the
    /// runtime has ended in which the queue was opened, [`Error::Closed`].
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// # struct Bank;
    /// let charge = |_: Job<Charge>, _: Data<Bank>| async { Ok(()) };
    ///
    /// let refused = pond.worker("billing").handle(charge).start();
    /// assert!(matches!(refused, Err(Error::MissingData { .. })));
    ///
    /// pond.worker("billing").data(Bank).handle(charge).start()?;
    /// let second = pond.worker("billing").data(Bank).handle(charge).start();
    /// assert!(matches!(second, Err(Error::WorkerExists { .. })));
    /// # Ok(()) }
    /// ```
    pub fn start(self) -> Result<Worker, Error> {
        self.engine.store.check_process()?;
        self.check()?;
        let Self { engine, queue, concurrency, rate, group_rate, retry, timeout, at_most_once, data, handlers, .. } =
            self;
        let mut names = NamesInUse::of_queue(&engine.store.catalog, &queue)?;
        let id = names.queue();
        let mut by_kind = IdMap::default();
        for (kind, runnable) in handlers {
            if let Some(data) = runnable.missing(&data) {
                return Err(Error::MissingData { kind, data });
            }
            let id = names.add_kind(&kind)?;
            let name = engine.store.catalog.kind_name(id);
            if by_kind.insert(id, Handling::native(name, runnable)).is_some() {
                return Err(Error::config("handle", format!("kind {kind:?} has two handlers")));
            }
        }
        #[cfg(feature = "wasm")]
        for (kind, plugin) in self.plugins {
            let id = names.add_kind(&kind)?;
            let handling = executor::load(engine.store.catalog.kind_name(id), plugin, engine.plugin_host())?;
            if by_kind.insert(id, handling).is_some() {
                return Err(Error::config("handle_wasm", format!("kind {kind:?} has two handlers")));
            }
        }
        let name = engine.store.catalog.queue_name(id);
        let data = Arc::new(data);
        let binding = Binding { queue: name.clone(), handlers: by_kind, data, retry, timeout, at_most_once, names };
        let kinds = binding.handlers.keys().copied().collect();
        let limits = WorkerLimits { kinds, blocking: binding.blocking_kinds(), concurrency, rate, group_rate };
        let binding = engine.bind(id, WorkerConfig { binding, limits })?;
        let worker = Worker { engine, queue: id, name, binding };
        worker.log_start(concurrency);
        worker.warn_of_lower_limits(concurrency);
        Ok(worker)
    }

    fn check(&self) -> Result<(), Error> {
        if self.concurrency == 0 {
            let reason = "0 slots would never run a job: pause the queue instead".to_owned();
            return Err(Error::config("concurrency", reason));
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(Error::config("timeout", "a timeout of zero would fail every attempt".into()));
        }
        #[cfg(feature = "wasm")]
        let has_plugins = !self.plugins.is_empty();
        #[cfg(not(feature = "wasm"))]
        let has_plugins = false;
        if self.handlers.is_empty() && !has_plugins {
            return Err(Error::config("handle", "the worker has no handler: add one with `.handle(...)`".into()));
        }
        self.rate.iter().chain(&self.group_rate).try_for_each(Rate::check)?;
        self.retry.check()
    }
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<_> = self.handlers.iter().map(|(kind, _)| kind).collect();
        f.debug_struct("WorkerBuilder").field("queue", &self.queue).field("kinds", &kinds).finish_non_exhaustive()
    }
}

/// A worker that runs. Dropping this handle changes nothing: the worker runs until it is stopped or
/// the queue is shut down.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let worker = pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
/// worker.set_concurrency(2)?;
/// assert_eq!(worker.running(), 0);
/// worker.stop();
///
/// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// assert!(matches!(pond.explain(id)?, Explanation::NoHandler { .. }));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Worker {
    engine: Arc<Engine>,
    queue: QueueId,
    name: Arc<str>,
    /// Which of the queue's workers this is: another may have followed it.
    binding: Weak<Binding>,
}

impl Worker {
    /// How many of its jobs run at a time, from now on. With fewer slots than running jobs, those
    /// finish. A number above the limits of the process is accepted with a warning, as by
    /// [`WorkerBuilder::concurrency`].
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for 0; [`Error::WorkerStopped`] if it was stopped; [`Error::Forked`].
    pub fn set_concurrency(&self, jobs: usize) -> Result<(), Error> {
        if jobs == 0 {
            return Err(Error::config("concurrency", "0 slots would never run a job: pause the queue instead".into()));
        }
        self.engine.store.check_process()?;
        match self.engine.set_concurrency(self.queue, &self.binding, jobs) {
            true => {
                self.warn_of_lower_limits(jobs);
                Ok(())
            }
            false => Err(Error::WorkerStopped { queue: self.name.to_string() }),
        }
    }

    fn log_start(&self, concurrency: usize) {
        let Some(binding) = self.binding.upgrade() else { return };
        let mut kinds: Vec<&str> = binding.handlers.values().map(|handling| &*handling.kind).collect();
        kinds.sort_unstable();
        tracing::info!(queue = &*self.name, kinds = kinds.join(", "), concurrency, "worker started");
    }

    /// Other limits that let fewer of its jobs run than it has slots are no error: they can be raised, and slots
    /// that are not used cost nothing. But nobody should have to find out by measuring.
    fn warn_of_lower_limits(&self, concurrency: usize) {
        let queue = &self.name;
        let (max_running, blocking_threads) = self.engine.scheduler().limits();
        if concurrency > max_running {
            tracing::warn!(
                queue = &**queue,
                concurrency,
                max_running,
                "fewer jobs run at a time than `concurrency` says: all workers together have `max_running` slots"
            );
        }
        let all_block = self.binding.upgrade().is_some_and(|binding| !binding.needs_runtime());
        if all_block && concurrency > blocking_threads {
            tracing::warn!(
                queue = &**queue,
                concurrency,
                blocking_threads,
                "fewer jobs run at a time than `concurrency` says: all its handlers block, and all workers together have \
                 `blocking_threads` threads for those"
            );
        }
    }

    /// How many of its jobs run now. None do in a process that was forked from the one that has started it.
    pub fn running(&self) -> usize {
        // Once it is gone, its queue's number may stand for another one.
        if self.engine.is_forked() || self.binding.strong_count() == 0 {
            return 0;
        }
        self.engine.scheduler().running_in(self.queue)
    }

    /// The plugin that handles jobs of this kind, if one does and the worker was not stopped.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let worker = pond.worker("q").handle_raw("png", |_: Job<bytes::Bytes>| async { Ok(()) }).start()?;
    /// assert!(worker.plugin("png").is_none());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "wasm")]
    pub fn plugin(&self, kind: &str) -> Option<executor::PluginHandle> {
        if self.engine.is_forked() {
            return None;
        }
        let binding = self.binding.upgrade()?;
        binding.handlers.values().find(|handling| *handling.kind == *kind)?.plugin.clone()
    }

    /// Stops it, at once: nothing more of its queue starts, and running jobs finish. The queue may be given another worker
    /// then. Await what this returns, or call [`wait`](Stopping::wait) on it, to wait until the running jobs have ended.
    /// Stopping a worker twice does no harm. In a process that was forked from the one that has started it this does nothing.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let worker = pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// worker.stop().await?;
    /// assert_eq!(worker.running(), 0);
    /// # Ok(()) }
    /// ```
    pub fn stop(&self) -> Stopping {
        if !self.engine.is_forked() && self.engine.unbind(self.queue, &self.binding) {
            tracing::info!(queue = &*self.name, "worker stopped");
        }
        Stopping::new(self.engine.clone(), self.queue, self.binding.clone())
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("queue", &self.name).finish_non_exhaustive()
    }
}
