//! Takes jobs from a shared queue: several machines run the jobs of one queue.

use std::time::Duration;

use millpond::{LinkDirection, Millpond};
use tokio::sync::watch;

use crate::error::Error;
use crate::link::{self, Link, Told};
use crate::taker::Taker;
use crate::{Lease, SharedQueue};

/// Takes jobs from a [`SharedQueue`] into a queue of this file, where a worker handles them as ever. See the [crate](crate).
///
/// The engine keeps each job until its end is durable in the file of some machine. Until then the machine has a lease for it, which
/// is extended all the time. A machine that dies or is cut off lets its leases end, and other machines take its jobs. So each job is
/// handled **at least once**: a machine that is cut off can still complete a job that another one has taken over.
///
/// - A machine that starts again within the lease goes on with its own jobs.
/// - A job is retried where it was taken, as often and as late as it and the worker say. If it dies, its dead letter is there too.
/// - A job whose lease was lost is cancelled here, also while it runs. If the engine does not answer, jobs that have not
///   started are cancelled when their leases end, since the engine gives them to others. Those that run go on.
/// - When the link is stopped, jobs that have not started are cancelled here, and given back at once.
/// - A job that was taken more often than [`deliveries_max`](Self::deliveries_max) without an end may be what kills the machines: it goes to the
///   queue whose name has `.undelivered` behind it. One that can never be a job goes to `.unreadable`, as in [`Receive`](crate::Receive).
#[must_use = "nothing is taken before it is started"]
pub struct Take<L> {
    pub(crate) pond: Millpond,
    pub(crate) queue: String,
    pub(crate) engine: L,
    pub(crate) shared: SharedQueue,
    pub(crate) lease: Duration,
    pub(crate) held_max: usize,
    pub(crate) deliveries_max: u32,
}

impl<L: Lease> Take<L> {
    /// How long a lease lasts, if nothing else is said.
    pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);

    /// The shortest lease.
    pub const LEASE_MIN: Duration = Duration::from_secs(1);

    /// The longest lease.
    pub const LEASE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// How many jobs the machine has at once, at most, if nothing else is said.
    pub const HELD_MAX_DEFAULT: usize = 100;

    /// The largest value of [`held_max`](Self::held_max).
    pub const HELD_MAX_MAX: usize = 10_000;

    /// How often a job is taken without an end, at most, if nothing else is said.
    pub const DELIVERIES_MAX_DEFAULT: u32 = 10;

    /// Takes jobs of `shared` into `queue`. That is another queue than the one that is [forwarded](crate::Forward::to_shared) to it from
    /// this machine, if there is one.
    pub fn new(pond: &Millpond, queue: impl Into<String>, engine: &L, shared: SharedQueue) -> Self {
        Self {
            pond: pond.clone(),
            queue: queue.into(),
            engine: engine.clone(),
            shared,
            lease: Self::LEASE_DEFAULT,
            held_max: Self::HELD_MAX_DEFAULT,
            deliveries_max: Self::DELIVERIES_MAX_DEFAULT,
        }
    }

    /// How long a lease lasts: 1 second to 1 day. It is extended three times in this time. After so long the jobs of a machine that has
    /// died run elsewhere. All machines that share a queue give the same.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How many jobs this machine has at once, waiting or running: 1 to 10,000. About twice the concurrency of the worker keeps it busy;
    /// much more keeps jobs from other machines that could run them.
    pub fn held_max(mut self, jobs: usize) -> Self {
        self.held_max = jobs;
        self
    }

    /// How often a job is taken, by any machines, before it is put aside: at least 1. A job that was given back counts too.
    pub fn deliveries_max(mut self, times: u32) -> Self {
        self.deliveries_max = times;
        self
    }

    /// Starts to take. The engine need not answer yet.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`]; [`Error::Queue`] if the name of the queue is not valid, or too long with `.undelivered` behind it, or the file is closed.
    pub async fn start(self) -> Result<Link, Error> {
        if !(Self::LEASE_MIN..=Self::LEASE_MAX).contains(&self.lease) {
            return Err(Error::InvalidSetting { setting: "lease", allowed: "1 second to 1 day" });
        }
        if !(1..=Self::HELD_MAX_MAX).contains(&self.held_max) {
            return Err(Error::InvalidSetting { setting: "held_max", allowed: "1 to 10,000 jobs" });
        }
        if self.deliveries_max == 0 {
            return Err(Error::InvalidSetting { setting: "deliveries_max", allowed: "at least 1" });
        }
        // The longest name of the three that are used.
        self.pond.queue(&format!("{}.undelivered", self.queue))?;
        let owner = self.pond.identity().await?.to_string();
        let (remote, engine) = (self.shared.name().to_owned(), self.engine.name());
        let guard = link::register(&self.pond, &self.queue, LinkDirection::Take, remote, engine)?;
        let (stop, stopped) = watch::channel(false);
        let taker = Taker::new(self, owner, Told::of(&guard)).await?;
        let task = tokio::spawn(taker.run(stopped));
        Ok(Link::new(guard, stop, task))
    }
}
