//! Forwards a queue: its jobs go to a mailbox or to a shared queue instead of a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::{Jobs, LinkDirection, Millpond, Payload, Worker};
use tokio::sync::{Mutex, Notify, watch};

use crate::bandwidth::Bandwidth;
use crate::error::Error;
use crate::forwarder::{Forwarder, Known};
use crate::link::{self, Link, Told};
use crate::rows::{self, Sent};
use crate::{Destination, Lease, Log, Mailbox, Origin, SharedQueue};

/// Forwards the jobs of a queue to a mailbox, or to a shared queue. See the [crate](crate).
///
/// It is the worker of the queue, so the queue has no other one. Jobs are taken in the order in which a worker would start them: by
/// priority, the oldest first ([or the newest](Self::newest_first)), and those of a group one after another. While the engine does not answer, nothing is taken and nothing is written: the
/// queue fills up to its [capacity](millpond::QueueSettings::capacity), and does then what its settings say: it refuses jobs, lets
/// callers wait, or [drops its oldest jobs](millpond::WhenFull::DropOldest). An engine that answers and stores nothing, such as one that
/// is full, is asked again after 0.1 s, and then after longer and longer pauses, up to 10 s.
///
/// A job that [expires](millpond::NewJob::expires_in) while it waits is not sent. Of jobs with a unique key that
/// [replaces](millpond::Unique::keep_latest) a waiting job, only the latest one waits and is sent.
///
/// A job that is sent counts as completed here. A job that is larger than the engine takes, and one with a group whose queue goes
/// to a shared queue, is a dead letter here.
#[must_use = "nothing is forwarded before it is started"]
pub struct Forward<L> {
    pond: Millpond,
    queue: String,
    log: L,
    to: Destination,
    batch: usize,
    linger: Duration,
    bytes_per_second: Option<u64>,
    newest_first: bool,
}

impl<L: Log> Forward<L> {
    /// The most jobs that are sent at once, if nothing else is said.
    pub const BATCH_DEFAULT: usize = 500;

    /// How long the first job of a batch waits for others, if nothing else is said.
    pub const LINGER_DEFAULT: Duration = Duration::from_millis(5);

    /// Forwards the jobs of this queue to a mailbox.
    pub fn new(pond: &Millpond, queue: impl Into<String>, log: &L, mailbox: Mailbox) -> Self {
        Self::to(pond, queue.into(), log, mailbox.into())
    }

    /// Forwards the jobs of this queue to a shared queue, from which machines [take](crate::Take) them. A job with a group is refused:
    /// it becomes a dead letter, whose reason says so.
    pub fn to_shared(pond: &Millpond, queue: impl Into<String>, engine: &L, shared: SharedQueue) -> Self
    where
        L: Lease,
    {
        Self::to(pond, queue.into(), engine, shared.into())
    }

    fn to(pond: &Millpond, queue: String, log: &L, to: Destination) -> Self {
        let (pond, log) = (pond.clone(), log.clone());
        let (batch, linger) = (Self::BATCH_DEFAULT, Self::LINGER_DEFAULT);
        Self { pond, queue, log, to, batch, linger, bytes_per_second: None, newest_first: false }
    }

    /// The most jobs that are sent at once: 1 to [`millpond::Batch::JOBS_MAX`], and at most what the engine takes. Default:
    /// [`BATCH_DEFAULT`](Self::BATCH_DEFAULT). They have 8 MiB at most, unless one job alone has more.
    pub fn batch(mut self, jobs: usize) -> Self {
        self.batch = jobs;
        self
    }

    /// How long the first job of a batch waits for others: at most [`millpond::Batch::WAIT_MAX`], by default
    /// [`LINGER_DEFAULT`](Self::LINGER_DEFAULT). Longer is fewer messages and fewer writes to the file.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How fast jobs are sent, in bytes of payloads and headers per second, at least 1. Default: no limit. It holds over any time that is
    /// longer than a second, and than the time that one job takes: what was not used before is not saved up. What the engine's client adds
    /// on the wire, such as TLS, is not counted.
    ///
    /// The jobs of a batch are taken from the queue together, and urgent ones that come meanwhile go with the next one. So with a low
    /// rate make the [batch](Self::batch) small.
    pub fn bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    /// Sends the newest of equally urgent jobs first, for queues whose old jobs lose their worth, such as the readings of a sensor: after
    /// a time without the engine the latest ones arrive at once, and the backlog behind them. Default: no, the oldest one is sent first. Jobs
    /// of a group keep their order. See [`WorkerBuilder::newest_first`](millpond::WorkerBuilder::newest_first).
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// Starts to forward. The engine need not answer yet.
    ///
    /// # Errors
    /// [`Error::Queue`] if the queue has a worker, or the batch or linger is not valid; [`Error::InvalidSetting`]; [`Error::Damaged`] if what
    /// the link keeps in the file cannot be read.
    pub async fn start(self) -> Result<Link, Error> {
        let Self { pond, queue, log, to, .. } = self;
        if self.bytes_per_second == Some(0) {
            return Err(Error::InvalidSetting { setting: "bytes_per_second", allowed: "at least 1" });
        }
        let link = format!("{queue} -> {to}");
        let identity = pond.identity().await?;
        let sent = rows::sent(&pond, &link).await?.unwrap_or_else(|| Sent::nothing(identity, Default::default()));
        let origin = Origin { file: sent.file, incarnation: sent.incarnation, queue: queue.clone() };
        let guard = link::register(&pond, &queue, LinkDirection::Forward, to.name().to_owned(), log.name())?;
        let told = Told::of(&guard);
        told.change(|state| {
            state.position = Some(sent.batch);
            state.in_doubt = sent.sending.last().map_or(0, |sending| sending.jobs.len() as u64);
        });
        let jobs = self.batch.min(log.limits().batch);
        let (stop, stopped) = watch::channel(false);
        let bandwidth = self.bytes_per_second.map(Bandwidth::new);
        let forwarder = Arc::new(Forwarder {
            pond,
            log,
            to,
            link,
            told,
            offline: Notify::new(),
            has_sent: AtomicBool::new(true),
            stopped: stopped.clone(),
            known: Mutex::new(Known { identity, origin, sent, revision: None, bandwidth }),
        });
        let batch = millpond::Batch::up_to(jobs).wait(self.linger);
        let taker = Taker { forwarder, queue, batch, jobs, newest_first: self.newest_first };
        let worker = taker.take()?;
        let task = tokio::spawn(async move { taker.run(worker, stopped).await });
        Ok(Link::new(guard, stop, task))
    }
}

/// Takes jobs while the engine answers.
struct Taker<L> {
    forwarder: Arc<Forwarder<L>>,
    queue: String,
    batch: millpond::Batch,
    jobs: usize,
    newest_first: bool,
}

impl<L: Log> Taker<L> {
    fn take(&self) -> Result<Worker, millpond::Error> {
        let forwarder = self.forwarder.clone();
        let handler = move |jobs: Jobs<Payload>| {
            let forwarder = forwarder.clone();
            async move { Ok(forwarder.handle(jobs).await) }
        };
        let worker = self.forwarder.pond.worker(&self.queue).concurrency(self.jobs).no_timeout();
        let worker = if self.newest_first { worker.newest_first() } else { worker };
        worker.handle_batch_any(self.batch, handler).start()
    }

    async fn run(self, first: Worker, mut stopped: watch::Receiver<bool>) {
        let mut worker = Some(first);
        let mut pause = Pause::default();
        if let Err(failed) = self.forwarder.connect().await {
            self.forwarder.told.failed(&failed);
            self.forwarder.offline.notify_one();
        }
        loop {
            if let Some(worker) = worker.take() {
                tokio::select! {
                    () = self.forwarder.offline.notified() => {}
                    () = has_stopped(&mut stopped) => {
                        let _ = worker.stop().await;
                        return;
                    }
                }
                if worker.stop().await.is_err() {
                    // The queue is closed.
                    return;
                }
            }
            // An engine that is full answers, and stores nothing: it gets longer and longer pauses, too.
            if self.forwarder.has_sent.swap(false, Ordering::Relaxed) {
                pause = Pause::default();
            } else {
                tokio::select! {
                    () = tokio::time::sleep(pause.next()) => {}
                    () = has_stopped(&mut stopped) => return,
                }
            }
            match self.forwarder.connect().await {
                Ok(()) => match self.take() {
                    Ok(started) => worker = Some(started),
                    Err(millpond::Error::Closed) => return,
                    Err(error) => self.forwarder.told.failed(&error),
                },
                Err(failed) => self.forwarder.told.failed(&failed),
            }
        }
    }
}

/// Ready when the link is to stop.
pub(crate) async fn has_stopped(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// How long to wait between two calls of an engine that does not answer: longer each time.
#[derive(Default)]
pub(crate) struct Pause(u32);

impl Pause {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);

    /// Up to a fifth is random, so that machines do not call at the same time.
    pub fn next(&mut self) -> Duration {
        let pause = Self::FIRST.saturating_mul(1 << self.0.min(10)).min(Self::LONGEST);
        self.0 += 1;
        pause.mul_f64(0.8 + fastrand::f64() * 0.2)
    }
}
