//! Workers: the handlers of a queue, with their limits.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::error::Error;
use crate::executor::{Binding, Handling};
use crate::handler::{
    BlockingHandler, Context, DataMap, Handler, Middleware, Next, NextBlocking, Runnable, Shared, erase, erase_any,
    erase_blocking, erase_blocking_raw, erase_raw,
};
use crate::job::{Aging, CircuitBreaker, Feeding, IdMap, Kind, OTHER_KINDS, Outcome, Payload, QueueId, Rate, Retry};
use crate::metrics::WorkerMeters;
use crate::runtime::{Engine, FlowsOf, StepsOf, Stopping, WorkerConfig};
use crate::scheduler::WorkerLimits;
use crate::sync::atomic::AtomicBool;

#[path = "worker/batches.rs"]
mod batches;
mod limits;
#[cfg(feature = "wasm")]
#[path = "worker/plugins.rs"]
mod plugins;

use limits::{KindLimits, NumberedLimits};

/// Loads a handler that is no Rust function when its worker starts: its kind is given by name.
type LoadForeign = Box<dyn FnOnce(&Arc<Engine>, Arc<str>) -> Result<Handling, Error> + Send + Sync>;

/// Default number of a worker's slots.
const CONCURRENCY_DEFAULT: usize = 10;

/// In place of a kind's name: all kinds without a handler of their own. It is no valid name.
const ANY_KIND: &str = "*";

/// Default timeout of an attempt.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// Builds a worker: the handlers for the kinds of jobs in a queue, and the worker's limits.
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
    /// `None` until it was set.
    concurrency: Option<usize>,
    rate: Option<Rate>,
    group_rate: Option<Rate>,
    circuit_breaker: Option<CircuitBreaker>,
    group_circuit_breaker: Option<CircuitBreaker>,
    aging: Option<Aging>,
    newest_first: bool,
    retry: Retry,
    retry_of: Vec<(String, Retry)>,
    timeout: Option<Duration>,
    at_most_once: bool,
    data: DataMap,
    handlers: Vec<(String, Runnable)>,
    middleware: Middleware,
    foreign: Vec<(String, LoadForeign)>,
    kind_limits: KindLimits,
    feeding: Option<Feeding>,
}

impl WorkerBuilder {
    pub(crate) fn new(engine: Arc<Engine>, queue: &str) -> Self {
        Self {
            engine,
            queue: queue.to_owned(),
            concurrency: None,
            rate: None,
            group_rate: None,
            circuit_breaker: None,
            group_circuit_breaker: None,
            aging: None,
            newest_first: false,
            retry: Retry::default(),
            retry_of: Vec::new(),
            timeout: Some(TIMEOUT_DEFAULT),
            at_most_once: false,
            data: DataMap::default(),
            handlers: Vec::new(),
            middleware: Middleware::default(),
            foreign: Vec::new(),
            kind_limits: KindLimits::default(),
            feeding: None,
        }
    }

    /// The worker is that of a consumer, and handles the entries of a stream.
    pub(crate) fn fed_by(mut self, feeding: Feeding) -> Self {
        self.feeding = Some(feeding);
        self
    }

    /// How many of the worker's jobs run at the same time; at least 1. Default 10, or as many as the largest
    /// [batch](crate::Batch) of the worker has. [`Worker::set_concurrency`] changes it later.
    ///
    /// Each job of a batch counts. A number below that of the largest batch is refused when the worker starts.
    ///
    /// The process has limits for all workers together: [`max_running`](crate::Builder::max_running), 256 by default,
    /// and for blocking handlers [`blocking_threads`](crate::Builder::blocking_threads), 64 by default. A worker whose
    /// concurrency is above one of them logs a warning with both numbers when it starts.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = Some(jobs);
        self
    }

    /// How many of the queue's jobs start per period of time. Default: no limit. The bucket is durable: a restart does
    /// not refill it. If the queue's worker had no rate for an hour, or the queue had no worker for 30 days, the next
    /// rate begins with a full bucket.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("crm")
    ///     .rate_limit(Rate::per_minute(60).burst(2))
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .start()?;
    /// pond.enqueue_many("crm", (0..3).map(|order| Charge { order })).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("crm")?.counts().completed_total, 2);
    /// # Ok(()) });
    /// ```
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// How many jobs of each group start per period of time. Default: no limit. It is durable like
    /// [`rate_limit`](Self::rate_limit). A limited group never delays other groups.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("webhooks")
    ///     .group_rate_limit(Rate::per_second(1))
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .start()?;
    /// for customer in ["a", "a", "b"] {
    ///     pond.enqueue("webhooks", NewJob::new(Charge { order: 7 }).group(customer)).await?;
    /// }
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("webhooks")?.counts().completed_total, 2); // the second "a" waits
    /// # Ok(()) });
    /// ```
    pub fn group_rate_limit(mut self, rate: Rate) -> Self {
        self.group_rate = Some(rate);
        self
    }

    /// Holds the queue after too many failures: no job starts for a time, then one that is tried first. Default: no circuit
    /// breaker. [`CircuitBreaker`] says what counts, and what is durable.
    ///
    /// It counts the attempts of all jobs of the queue, with and without a group. Jobs that wait for a retry do so beside it.
    /// A circuit that is open stays open for the next worker of the queue, with the time that was left. If that worker has no
    /// circuit breaker, the circuit is closed. [`Queue::circuit`](crate::Queue::circuit) shows it, and
    /// [`Queue::close_circuit`](crate::Queue::close_circuit) closes it by hand.
    ///
    /// Settings that cannot work are [`Error::InvalidConfig`] when the worker [starts](Self::start).
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .circuit_breaker(CircuitBreaker::failures(1.0).of(3).open_for(Duration::from_secs(30)))
    ///     .retry(Retry::none())
    ///     .handle(|job: Job<Charge>| async move {
    ///         if job.order < 3 { Err("the bank is down".into()) } else { Ok(()) }
    ///     })
    ///     .start()?;
    /// pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
    /// drain(&pond).await;
    /// let next = pond.enqueue("billing", Charge { order: 3 }).await?;
    /// drain(&pond).await;
    /// let why = pond.explain(next)?;
    /// assert!(matches!(why, Explanation::CircuitOpen { wait, .. } if wait == Duration::from_secs(30)));
    ///
    /// clock.advance(Duration::from_secs(30)); // the next job is the probe
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// assert!(matches!(pond.queue("billing")?.circuit(), Circuit::Closed { .. }));
    /// # Ok(()) });
    /// ```
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.circuit_breaker = Some(breaker);
        self
    }

    /// Holds each group after too many failures of its own, as [`circuit_breaker`](Self::circuit_breaker) does the queue.
    /// Default: no circuit breaker. A group that is held never delays other groups. A worker can have both: a failure then
    /// counts for both.
    ///
    /// The retries of a job count like other attempts, and a group has fewer of them than its queue, so its window can be shorter.
    /// The windows of 10,000 groups of a queue are kept in memory. Above that the window is forgotten of the group whose last
    /// end was the longest ago, and while 10,000 groups are open, further ones do not open.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("webhooks")
    ///     .group_circuit_breaker(CircuitBreaker::failures(1.0).of(2))
    ///     .retry(Retry::none())
    ///     .handle(|job: Job<Charge>| async move {
    ///         if job.group() == Some("a") { Err("its server is down".into()) } else { Ok(()) }
    ///     })
    ///     .start()?;
    /// for customer in ["a", "b", "a", "b", "a", "b"] {
    ///     pond.enqueue("webhooks", NewJob::new(Charge { order: 7 }).group(customer)).await?;
    /// }
    /// drain(&pond).await;
    /// let webhooks = pond.queue("webhooks")?;
    /// assert_eq!((webhooks.counts().completed_total, webhooks.counts().pending), (3, 1));
    /// assert!(matches!(webhooks.group_circuit("a")?, Circuit::Open { .. }));
    /// # Ok(()) });
    /// ```
    pub fn group_circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.group_circuit_breaker = Some(breaker);
        self
    }

    /// Makes jobs more urgent while they wait, by one [priority](crate::Priority) for each period of [`Aging`]. Default: no,
    /// priorities are strict.
    ///
    /// A job that has aged goes first among the jobs of the priority as which it counts; then they take turns, so that many jobs
    /// that have waited for long do not hold back those that are urgent by themselves. Of several that have aged, the one
    /// that has waited longest goes first. The job's own priority does not change, and nothing is written. That a job has
    /// aged is noticed up to a quarter of a period later, or a quarter of a second if that is more; after many rows of jobs that
    /// cannot start, or that were due only lately, later than that (25 µs for each).
    ///
    /// A job waits since its enqueue, or since it was due if that is later: since its retry was due, after a failed attempt. A
    /// dead letter that was put back counts from its enqueue. The time is that of the age line: a wall clock that is set
    /// while the worker runs makes an error of a quarter of a period at most. The time before the worker's start is
    /// measured by the wall clock, as it stands when the worker starts. A job with a time of its own
    /// ([`run_at`](crate::NewJob::run_at)) that is due because the clock was set forward waits since then.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// # use std::sync::{Arc, Mutex};
    /// # let started = Arc::new(Mutex::new(Vec::new()));
    /// # let starts = started.clone();
    /// let billing = pond.queue("billing")?;
    /// billing.enqueue(NewJob::new(Charge { order: 1 }).priority(Priority::LAST)).await?;
    /// clock.advance(Duration::from_secs(5 * 60));
    /// billing.enqueue(NewJob::new(Charge { order: 2 })).await?;
    ///
    /// pond.worker("billing")
    ///     .concurrency(1)
    ///     .aging(Aging::every(Duration::from_secs(60)))
    ///     .handle(move |job: Job<Charge>| {
    /// #         starts.lock().unwrap().push(job.order);
    ///         async { Ok(()) }
    ///     })
    ///     .start()?;
    /// drain(&pond).await; // order 1 first: it counts as priority 4
    /// # let _ = started;
    /// # Ok(()) });
    /// ```
    ///
    /// [`start`](Self::start) fails with [`Error::InvalidConfig`] if the period is shorter than [`Aging::PERIOD_MIN`].
    pub fn aging(mut self, aging: Aging) -> Self {
        self.aging = Some(aging);
        self
    }

    /// Starts the newest of equally urgent jobs first, the last in, first out (*LIFO*). Default: no, the oldest one starts first.
    ///
    /// Use it where old jobs lose their worth, such as readings of a sensor: after a time without work the latest ones are handled at
    /// once, and the backlog behind them. Old jobs wait for as long as new ones keep coming, so let them
    /// [expire](crate::NewJob::expires_in), or give them an urgent [priority](crate::Priority). Jobs of a group keep their order; of several
    /// groups, the one that became ready last goes first. Nothing in the file changes: the worker decides.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # use std::sync::{Arc, Mutex};
    /// # let started = Arc::new(Mutex::new(Vec::new()));
    /// # let starts = started.clone();
    /// for order in 1..=3 {
    ///     pond.enqueue("billing", Charge { order }).await?;
    /// }
    /// pond.worker("billing")
    ///     .concurrency(1)
    ///     .newest_first()
    ///     .handle(move |job: Job<Charge>| {
    /// #         starts.lock().unwrap().push(job.order);
    ///         async { Ok(()) }
    ///     })
    ///     .start()?;
    /// drain(&pond).await; // order 3, then 2, then 1
    /// # assert_eq!(*started.lock().unwrap(), [3, 2, 1]);
    /// # Ok(()) });
    /// ```
    ///
    /// [`start`](Self::start) fails with [`Error::InvalidConfig`] beside [`aging`](Self::aging), and for the consumer of a stream.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// How many times a job is tried, and how long it waits between attempts. Default: [`Retry::default`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .retry(Retry::none())
    ///     .handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) })
    ///     .start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("billing")?.counts().dead, 1);
    /// # Ok(()) });
    /// ```
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How many times a job of this kind is tried, and how long it waits between attempts, instead of what
    /// [`retry`](Self::retry) says. Options of the job itself come first.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .retry_of("charge", Retry::none())
    ///     .handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!((pond.job(id)?.state, pond.job(id)?.attempts), (State::Dead, 1));
    /// # Ok(()) });
    /// ```
    pub fn retry_of(mut self, kind: impl Into<String>, retry: Retry) -> Self {
        self.retry_of.push((kind.into(), retry));
        self
    }

    /// How long one attempt may run; not zero. Default 5 minutes.
    ///
    /// An attempt's time begins when its handler is called; waiting for a slot, for a thread or for the async runtime
    /// does not count. When the time has passed, the handler's [`Context`](crate::Context) is cancelled. An async
    /// handler is dropped at its next await. A blocking handler cannot be stopped from outside: it keeps its slot and
    /// its thread until it returns.
    ///
    /// An attempt whose time has passed fails with [`FailureKind::Timeout`](crate::FailureKind::Timeout), whatever its
    /// handler returns afterwards: a result, an error or any [`Outcome`](crate::Outcome). The queue's monotonic clock
    /// at the moment of the return decides, in the same way for async handlers, blocking handlers and plugins. What the
    /// attempt registered with [`on_complete`](crate::Context::on_complete) is not written.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
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
    /// # Ok(()) });
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets attempts run without a time limit.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Calls the handler of each job at most once, rather than at least once:
    /// [`NewJob::at_most_once`](crate::NewJob::at_most_once) for all jobs of this worker, whatever number of attempts
    /// they or [`retry`](Self::retry) allow. Default: no. A job that was tried earlier, by a worker without this
    /// setting, is tried once more.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("sirens").at_most_once().handle(|_: Job<Charge>| async { Err::<(), _>("no power".into()) }).start()?;
    /// let id = pond.enqueue("sirens", NewJob::new(Charge { order: 7 }).max_attempts(9)).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Dead);
    /// # Ok(()) });
    /// ```
    pub fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    /// Shared state for the handlers, which take it as an argument of type [`Data<T>`](crate::Data). There is one value
    /// per type; a second value of the same type replaces the first.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// struct Bank { name: &'static str }
    ///
    /// pond.worker("billing")
    ///     .data(Bank { name: "Ladybird & Co" })
    ///     .handle(|job: Job<Charge>, bank: Data<Bank>| async move {
    ///         println!("{} charges order {}", bank.name, job.order);
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// # Ok(()) });
    /// ```
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.data.insert(value);
        self
    }

    /// Handles jobs of kind `T` with an async function. See [`Handler`].
    ///
    /// ```
    /// # use doc_prelude::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Refund { order: u64 }
    /// # impl Kind for Refund { const KIND: &'static str = "refund"; }
    /// # with_pond(async |pond| {
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
    /// # Ok(()) });
    /// ```
    pub fn handle<T: Kind, Args>(self, handler: impl Handler<T, Args>) -> Self {
        self.with(T::KIND, erase(handler))
    }

    /// Handles jobs of the kind named `kind` with an async function that takes the payload as unchanged bytes.
    ///
    /// ```
    /// use bytes::Bytes;
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("thumbnails")
    ///     .handle_raw("png", |job: Job<Bytes>| async move {
    ///         assert_eq!(&job[..], [0x89, b'P', b'N', b'G']);
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// pond.enqueue("thumbnails", NewJob::raw("png", &b"\x89PNG"[..])).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("thumbnails")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn handle_raw<Args>(self, kind: &str, handler: impl Handler<Bytes, Args>) -> Self {
        self.with(kind, erase_raw(handler))
    }

    /// Handles the jobs of all kinds that have no handler of their own, with an async function that takes the payload as it was
    /// enqueued: [`Payload`](crate::Payload) has its bytes and the name of its codec. [`Job::kind`](crate::Job::kind) says which kind it
    /// is. In [`retry_of`](Self::retry_of), [`concurrency_of`](Self::concurrency_of) and [`limit_of`](Self::limit_of), `*` stands for
    /// these kinds.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use millpond::Payload;
    ///
    /// pond.worker("billing")
    ///     .handle(|job: Job<Charge>| async move { Ok(println!("charge order {}", job.order)) })
    ///     .handle_any(|job: Job<Payload>| async move {
    ///         println!("{} bytes of kind {}", job.bytes.len(), job.kind());
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// pond.enqueue("billing", NewJob::raw("refund", "7")).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn handle_any<Args>(self, handler: impl Handler<Payload, Args>) -> Self {
        self.with_any(erase_any(handler))
    }

    /// Handles jobs of kind `T` with a function that may block. It runs on a separate pool of threads, not on those of
    /// the async runtime.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
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
    /// # Ok(()) });
    /// ```
    pub fn handle_blocking<T: Kind, Args>(self, handler: impl BlockingHandler<T, Args>) -> Self {
        self.with(T::KIND, erase_blocking(handler))
    }

    /// Like [`handle_blocking`](Self::handle_blocking), with the payload as unchanged bytes.
    pub fn handle_blocking_raw<Args>(self, kind: &str, handler: impl BlockingHandler<Bytes, Args>) -> Self {
        self.with(kind, erase_blocking_raw(handler))
    }

    /// Puts middleware around every attempt of the worker's async handlers: an async function that takes the attempt's
    /// [`Context`] and the rest of the attempt, and returns the outcome of the attempt. It can look at the job before, replace
    /// the outcome after, or not run the handler at all. Middleware that was added first is the outermost, and it does not
    /// matter whether it is added before or after the handlers.
    ///
    /// It runs within the attempt: it is dropped at the attempt's timeout, and a panic in it fails the attempt. A payload that
    /// cannot be decoded does not reach it. It is not put around plugins and [batch handlers](Self::handle_batch), nor around
    /// handlers that may block: for those there is [`wrap_blocking`](Self::wrap_blocking).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use millpond::{Context, Next};
    ///
    /// async fn timed(context: Context, next: Next) -> Outcome {
    ///     let start = std::time::Instant::now();
    ///     let outcome = next.run().await;
    ///     println!("{} {} took {:?}", context.kind(), context.job_id(), start.elapsed());
    ///     outcome
    /// }
    ///
    /// pond.worker("billing").wrap(timed).handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// # pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// # assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn wrap<F, Fut>(mut self, middleware: F) -> Self
    where
        F: Fn(Context, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.middleware.add(middleware);
        self
    }

    /// Puts middleware around every attempt of the worker's handlers that may block. It runs on the handler's thread, and
    /// is called before the payload is decoded: a payload that cannot be decoded fails the attempt, whatever the middleware
    /// returns. See [`wrap`](Self::wrap).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use millpond::{Context, NextBlocking};
    ///
    /// # fn is_night() -> bool { false }
    /// fn in_office_hours(context: &Context, next: NextBlocking<'_>) -> Outcome {
    ///     if context.queue() == "calls" && is_night() {
    ///         return Outcome::snooze(Duration::from_secs(3600));
    ///     }
    ///     next.run()
    /// }
    ///
    /// pond.worker("calls").wrap_blocking(in_office_hours).handle_blocking(|_: Job<Charge>| Ok(())).start()?;
    /// # pond.enqueue("calls", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// # assert_eq!(pond.queue("calls")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn wrap_blocking<F>(mut self, middleware: F) -> Self
    where
        F: Fn(&Context, NextBlocking<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.middleware.add_blocking(middleware);
        self
    }

    pub(crate) fn with_any(self, runnable: Runnable) -> Self {
        self.with(ANY_KIND, runnable)
    }

    fn with(mut self, kind: &str, runnable: Runnable) -> Self {
        self.handlers.push((kind.to_owned(), runnable));
        self
    }

    /// Starts the worker: from now on it runs the queue's jobs of its kinds.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] and [`Error::InvalidName`] for settings and names that are not valid,
    /// [`Error::MissingData`] if a handler takes [`Data`](crate::Data) that was not passed to the worker,
    /// [`Error::WorkerExists`] if the queue has a worker, [`Error::RuntimeEnded`] if a handler is async and the queue's
    /// runtime has ended, [`Error::Closed`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # struct Bank;
    /// let charge = |_: Job<Charge>, _: Data<Bank>| async { Ok(()) };
    ///
    /// let refused = pond.worker("billing").handle(charge).start();
    /// assert!(matches!(refused, Err(Error::MissingData { .. })));
    ///
    /// pond.worker("billing").data(Bank).handle(charge).start()?;
    /// let second = pond.worker("billing").data(Bank).handle(charge).start();
    /// assert!(matches!(second, Err(Error::WorkerExists { .. })));
    /// # Ok(()) });
    /// ```
    pub fn start(self) -> Result<Worker, Error> {
        let slots = self.slots();
        self.start_with_slots(slots)
    }

    /// A worker with no slots starts no job until it has some.
    pub(crate) fn start_with_slots(self, concurrency: usize) -> Result<Worker, Error> {
        self.engine.check_process()?;
        self.check()?;
        let Self { engine, queue, rate, group_rate, aging, retry, timeout, at_most_once, data, .. } = self;
        let Self { circuit_breaker, group_circuit_breaker, .. } = self;
        let mut names = engine.use_names(&queue)?;
        let id = names.queue();
        let mut by_kind = IdMap::default();
        for (kind, runnable) in self.handlers {
            if let Some(data) = runnable.missing(&data) {
                return Err(Error::MissingData { kind, data });
            }
            let (id, name) = match kind == ANY_KIND {
                true => (OTHER_KINDS, ANY_KIND.into()),
                false => {
                    let id = names.add_kind(&kind)?;
                    (id, engine.kind_name(id))
                }
            };
            let runnable = engine.middleware().wrap(self.middleware.wrap(runnable));
            if by_kind.insert(id, Handling::native(name, runnable)).is_some() {
                return Err(Error::config("handle", format!("kind {kind:?} has two handlers")));
            }
        }
        for (kind, load) in self.foreign {
            let id = names.add_kind(&kind)?;
            let handling = load(&engine, engine.kind_name(id))?;
            if by_kind.insert(id, handling).is_some() {
                return Err(Error::config("handle_wasm", format!("kind {kind:?} has two handlers")));
            }
        }
        for (kind, retry) in self.retry_of {
            let handling = by_kind.values_mut().find(|handling| *handling.kind == *kind);
            let reason = || format!("the worker has no handler for kind {kind:?}");
            handling.ok_or_else(|| Error::config("retry_of", reason()))?.retry = Some(retry);
        }
        let name = engine.queue_name(id);
        let (coder, tasks, closed) = (engine.coder().clone(), engine.tasks().clone(), AtomicBool::new(false));
        let of_handlers = {
            let (flows, steps) = (FlowsOf(Arc::downgrade(&engine)), StepsOf(Arc::downgrade(&engine)));
            Shared::new(data, engine.bus(), Box::new(flows), Box::new(steps), tasks.clone())
        };
        let meters = WorkerMeters::of(&name, by_kind.iter().map(|(kind, handling)| (*kind, &*handling.kind)));
        let binding = Binding {
            queue: name.clone(),
            handlers: by_kind,
            shared: of_handlers,
            retry,
            timeout,
            at_most_once,
            has_breaker: circuit_breaker.is_some() || group_circuit_breaker.is_some(),
            closed,
            coder,
            names,
            tasks,
            meters,
        };
        let kinds = binding.handlers.keys().copied().collect();
        let NumberedLimits { shared, concurrency_of } = self.kind_limits.numbered(&engine, id, &binding.handlers)?;
        let blocking = binding.blocking_kinds();
        let limits = WorkerLimits {
            kinds,
            blocking,
            concurrency,
            rate,
            group_rate,
            circuit_breaker,
            group_circuit_breaker,
            shared,
            concurrency_of,
            aging,
            newest_first: self.newest_first,
            feeding: self.feeding,
        };
        let binding = engine.bind(id, WorkerConfig { binding, limits })?;
        let worker = Worker { engine, queue: id, name, binding };
        worker.log_start(concurrency);
        worker.warn_of_lower_limits(concurrency);
        Ok(worker)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.concurrency == Some(0) {
            let reason = "0 slots would never run a job: pause the queue instead".to_owned();
            return Err(Error::config("concurrency", reason));
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(Error::config("timeout", "a timeout of zero would fail every attempt".into()));
        }
        if self.handlers.is_empty() && self.foreign.is_empty() {
            return Err(Error::config("handle", "the worker has no handler: add one with `.handle(...)`".into()));
        }
        self.kind_limits.check()?;
        self.check_batches()?;
        self.aging.iter().try_for_each(Aging::check)?;
        if self.newest_first && self.aging.is_some() {
            let reason = "jobs that age start in the order in which they wait: use one or the other".to_owned();
            return Err(Error::config("newest_first", reason));
        }
        if self.newest_first && self.feeding.is_some() {
            return Err(Error::config("newest_first", "the entries of a stream are handled in their order".into()));
        }
        self.rate.iter().chain(&self.group_rate).try_for_each(Rate::check)?;
        self.circuit_breaker.iter().try_for_each(|breaker| breaker.check("circuit_breaker"))?;
        self.group_circuit_breaker.iter().try_for_each(|breaker| breaker.check("group_circuit_breaker"))?;
        self.retry_of.iter().map(|(_, retry)| retry).chain([&self.retry]).try_for_each(Retry::check)
    }
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<_> = self.handlers.iter().map(|(kind, _)| kind).collect();
        f.debug_struct("WorkerBuilder").field("queue", &self.queue).field("kinds", &kinds).finish_non_exhaustive()
    }
}

/// A handle of a running worker. Dropping it changes nothing: the worker runs until it is stopped or the queue is shut
/// down.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let worker = pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
/// worker.set_concurrency(2)?;
/// assert_eq!(worker.running(), 0);
/// worker.stop();
///
/// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// assert!(matches!(pond.explain(id)?, Explanation::NoHandler { .. }));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Worker {
    engine: Arc<Engine>,
    queue: QueueId,
    name: Arc<str>,
    /// Identifies this worker: after it was stopped, the queue can have another one.
    binding: Weak<Binding>,
}

impl Worker {
    /// Sets how many of the worker's jobs run at the same time. If more jobs are running, they finish. A number above
    /// the limits of the process is accepted with a warning, as by [`WorkerBuilder::concurrency`].
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for 0; [`Error::WorkerStopped`] if the worker was stopped; [`Error::Forked`].
    pub fn set_concurrency(&self, jobs: usize) -> Result<(), Error> {
        if jobs == 0 {
            return Err(Error::config("concurrency", "0 slots would never run a job: pause the queue instead".into()));
        }
        self.engine.check_process()?;
        match self.engine.set_concurrency(self.queue, &self.binding, jobs) {
            true => {
                self.warn_of_lower_limits(jobs);
                Ok(())
            }
            false => Err(self.stopped()),
        }
    }

    /// Sets the slots of a taker, which can be none. Returns false if the worker was stopped.
    pub(crate) fn set_slots(&self, slots: usize) -> bool {
        !self.engine.is_forked() && self.engine.set_concurrency(self.queue, &self.binding, slots)
    }

    pub(crate) fn stopped(&self) -> Error {
        Error::WorkerStopped { queue: self.name.to_string() }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    fn log_start(&self, concurrency: usize) {
        let Some(binding) = self.binding.upgrade() else { return };
        let mut kinds: Vec<&str> = binding.handlers.values().map(|handling| &*handling.kind).collect();
        kinds.sort_unstable();
        tracing::info!(queue = &*self.name, kinds = kinds.join(", "), concurrency, "worker started");
    }

    /// Warns if another limit allows fewer running jobs than the worker has slots. This is not an error, because that
    /// limit can be raised, and unused slots cost nothing. Without the warning, one would notice it only by measuring.
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

    /// How many of the worker's jobs are running now; 0 in a process that was forked from the one that started the
    /// worker.
    pub fn running(&self) -> usize {
        // After the worker was stopped, its queue's number can belong to another queue.
        if self.engine.is_forked() || self.binding.strong_count() == 0 {
            return 0;
        }
        self.engine.scheduler().running_in(self.queue)
    }

    /// Stops the worker at once: no more jobs of its queue start, and running jobs finish. The queue can then have
    /// another worker. To wait until the running jobs have ended, await the returned value, or call
    /// [`wait`](Stopping::wait) on it. Stopping a worker twice has no further effect. In a process that was forked from
    /// the one that started the worker, this does nothing.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let worker = pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// worker.stop().await?;
    /// assert_eq!(worker.running(), 0);
    /// # Ok(()) });
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
