//! Jobs that something other than a handler takes by leases: a worker in another process, or a link to another machine.
//!
//! A taker is a worker whose handler waits until it is told how the job has ended. It has as many slots as jobs are held and asked
//! for, so that no job starts that nobody has asked for.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::error::Error;
use crate::events::Event;
use crate::handler::{Job, erase_any};
use crate::inspect;
use crate::job::{Handled, JobId, Outcome, Payload, State};
use crate::sync::{Mutex, MutexGuard, timeout};
use crate::worker::{Worker, WorkerBuilder};

/// How long a call waits for an event before it looks at the job, or at the worker.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The lease of a job that was [taken](Taker::take). As text it is `JOB-NUMBER`, such as `17-9f3a60c2d81b4e05`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TakenId {
    job: JobId,
    /// Random, so that the lease of an earlier process is not taken for one of this process.
    nonce: u64,
}

impl TakenId {
    /// The job.
    pub fn job(self) -> JobId {
        self.job
    }
}

impl fmt::Display for TakenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.job, self.nonce)
    }
}

/// A text that is no [`TakenId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the lease of a job: it is the number of the job, a hyphen and 16 hexadecimal digits")]
pub struct InvalidTakenId {
    text: String,
}

impl FromStr for TakenId {
    type Err = InvalidTakenId;

    fn from_str(text: &str) -> Result<Self, InvalidTakenId> {
        let read = || {
            let (job, nonce) = text.split_once('-')?;
            let is_valid = nonce.len() == 16 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
            let nonce = is_valid.then(|| u64::from_str_radix(nonce, 16).ok()).flatten()?;
            Some(Self { job: job.parse().ok()?, nonce })
        };
        read().ok_or_else(|| InvalidTakenId { text: text.chars().take(100).collect() })
    }
}

/// A job that was taken, with its lease.
pub struct Taken {
    /// The lease.
    pub id: TakenId,
    /// The job. Its [context](Job::context) tells whether it was cancelled, and takes logs and progress.
    pub job: Job<Payload>,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the holder of a lease says.
enum Said {
    Extend(Duration),
    End(Outcome),
}

/// Takes jobs of a queue by leases, in place of handlers. [`WorkerBuilder::start_taker`] starts one. Clones are the same taker.
///
/// While a job is taken, it is running: it counts as that, and all limits of the worker hold. If its lease ends before the
/// [end](Self::end), the attempt has failed and is retried, so a job whose holders die again and again becomes a dead letter. Leases are not kept
/// over a restart of the process: a job that was taken then waits again, and the old lease is [ended](Error::LeaseEnded). When the last
/// clone of the taker is dropped, its jobs are given back, and no others start.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # use millpond::Outcome;
/// let taker = pond.worker("billing").concurrency(100).start_taker(Duration::from_secs(30))?;
/// pond.enqueue("billing", Charge { order: 7 }).await?;
///
/// let taken = taker.take(10).await?;
/// let charge: Charge = taken[0].job.decode()?;
/// assert_eq!(charge.order, 7);
/// taker.extend(taken[0].id, Duration::from_secs(60))?;
/// taker.end(taken[0].id, Outcome::done()).await?;
/// assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Taker {
    shared: Arc<Shared>,
    worker: Worker,
    offers: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Offer>>>,
}

/// For a call of [`Taker::take`].
enum Offer {
    Job(Taken),
    /// A job is not held any more, so that another one can be asked for.
    Room,
}

struct Shared {
    slots: Mutex<Slots>,
    offers: mpsc::UnboundedSender<Offer>,
}

#[derive(Default)]
struct Slots {
    held: HashMap<TakenId, mpsc::UnboundedSender<Said>>,
    /// How many jobs are asked for.
    asked: usize,
    /// The most that are held.
    most: usize,
    /// A call waits until less jobs are held.
    waits_for_room: bool,
    /// `None` while the worker starts.
    worker: Option<Worker>,
}

impl Slots {
    /// Returns false if the worker was stopped.
    fn apply(&self) -> bool {
        self.worker.as_ref().is_none_or(|worker| worker.set_slots(self.held.len() + self.asked))
    }
}

impl Drop for Shared {
    /// The last handle of the taker is gone: nothing is asked for any more. What is held goes back.
    fn drop(&mut self) {
        if let Some(worker) = &self.slots().worker {
            let _ = worker.set_slots(0);
        }
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Asks for so many jobs more. Returns false if the worker was stopped.
    fn ask(&self, jobs: usize) -> bool {
        let mut slots = self.slots();
        slots.asked = jobs.min(slots.most.saturating_sub(slots.held.len()));
        slots.waits_for_room = jobs > 0 && slots.asked == 0;
        slots.apply()
    }

    /// A lease is not held any more. Returns what its attempt listens to, if it was.
    fn forget(&self, id: TakenId) -> Option<mpsc::UnboundedSender<Said>> {
        let mut slots = self.slots();
        let say = slots.held.remove(&id)?;
        let _ = slots.apply();
        if std::mem::take(&mut slots.waits_for_room) {
            let _ = self.offers.send(Offer::Room);
        }
        Some(say)
    }
}

/// Forgets a lease when the attempt ends in any way.
struct Lease {
    id: TakenId,
    of: Weak<Shared>,
}

impl Lease {
    fn forget(&self) {
        if let Some(shared) = self.of.upgrade() {
            let _ = shared.forget(self.id);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The attempt of a job that is offered: it ends when its holder says so, or when the lease ends.
async fn attempt(job: Job<Payload>, of: Weak<Shared>, lease: Duration) -> Handled<Outcome> {
    let gone = || Ok(Outcome::snooze(Outcome::SNOOZE_MIN));
    let id = TakenId { job: job.id(), nonce: fastrand::u64(..) };
    let (say, mut said) = mpsc::unbounded_channel();
    {
        let Some(shared) = of.upgrade() else { return gone() };
        let mut slots = shared.slots();
        slots.held.insert(id, say);
        slots.asked = slots.asked.saturating_sub(1);
        let _ = slots.apply();
        let _ = shared.offers.send(Offer::Job(Taken { id, job }));
    }
    let held = Lease { id, of };
    let mut length = lease;
    loop {
        match timeout(length, said.recv()).await {
            Ok(Some(Said::Extend(next))) => length = next,
            Ok(Some(Said::End(outcome))) => return Ok(outcome),
            Ok(None) => return gone(),
            Err(_) => {
                held.forget();
                return Err(format!("its lease of {length:?} has ended without a word of its holder"))?;
            }
        }
    }
}

impl WorkerBuilder {
    /// Starts the worker as a [`Taker`]: jobs of kinds without a handler of their own are not handled here, but taken by
    /// [`Taker::take`], each for this time at first. At most [`concurrency`](Self::concurrency) jobs are held at once. There is no
    /// timeout for them but the lease.
    ///
    /// # Errors
    /// Those of [`start`](Self::start); [`Error::InvalidConfig`] if the lease is zero.
    pub fn start_taker(self, lease: Duration) -> Result<Taker, Error> {
        if lease.is_zero() {
            return Err(Error::config("lease", "a lease of zero would end at once".into()));
        }
        let most = self.slots();
        let (offer, offers) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { slots: Mutex::new(Slots { most, ..Slots::default() }), offers: offer });
        let of = Arc::downgrade(&shared);
        let handler = move |job: Job<Payload>| attempt(job, of.clone(), lease);
        let worker = self.no_timeout().with_any(erase_any(handler)).start_with_slots(0)?;
        shared.slots().worker = Some(worker.clone());
        Ok(Taker { shared, worker, offers: Arc::new(tokio::sync::Mutex::new(offers)) })
    }
}

/// Asks for nothing more when the call of [`Taker::take`] ends, also if its caller gives up.
struct Asked<'t>(&'t Shared);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let _ = self.0.ask(0);
    }
}

impl Taker {
    /// Takes at most `max` jobs, in the order in which a worker would start them. Waits until there is one, and until less than
    /// [`concurrency`](WorkerBuilder::concurrency) jobs are held. Calls wait for one another.
    ///
    /// A caller that gives up loses no job: what was about to be taken goes to the next call, or waits again when its lease ends.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if `max` is 0; [`Error::WorkerStopped`] if the taker was stopped.
    pub async fn take(&self, max: usize) -> Result<Vec<Taken>, Error> {
        if max == 0 {
            return Err(Error::config("max", "ask for at least one job".into()));
        }
        let mut offers = self.offers.lock().await;
        let _asked = Asked(&self.shared);
        let mut taken = Vec::new();
        loop {
            // Those whose leases have ended meanwhile are not for anybody.
            while taken.len() < max {
                let Ok(offer) = offers.try_recv() else { break };
                taken.extend(self.held_now(offer));
            }
            if !taken.is_empty() {
                return Ok(taken);
            }
            if !self.shared.ask(max) {
                return Err(self.worker.stopped());
            }
            if let Ok(Some(offer)) = timeout(LOOK_EVERY, offers.recv()).await {
                taken.extend(self.held_now(offer));
            }
        }
    }
    /// The job that is offered, if its lease has not ended meanwhile.
    fn held_now(&self, offer: Offer) -> Option<Taken> {
        match offer {
            Offer::Job(taken) => self.shared.slots().held.contains_key(&taken.id).then_some(taken),
            Offer::Room => None,
        }
    }

    /// The lease lasts for this time from now on.
    ///
    /// # Errors
    /// [`Error::LeaseEnded`]; [`Error::InvalidConfig`] if the time is zero.
    pub fn extend(&self, id: TakenId, lease: Duration) -> Result<(), Error> {
        if lease.is_zero() {
            return Err(Error::config("lease", "a lease of zero would end at once".into()));
        }
        match self.shared.slots().held.get(&id) {
            Some(say) if say.send(Said::Extend(lease)).is_ok() => Ok(()),
            _ => Err(ended(id)),
        }
    }

    /// Ends the attempt, as if a handler had returned this outcome, and waits until that is durable.
    ///
    /// # Errors
    /// [`Error::LeaseEnded`]: the job waits again, is taken by another lease, or has ended. Storage errors.
    pub async fn end(&self, id: TakenId, outcome: Outcome) -> Result<(), Error> {
        let engine = self.worker.engine();
        let mut events = engine.bus().listen_where(Box::new(move |event| is_end_of(event, id.job)), false);
        // First the slot, and then the end: otherwise a job that nobody has asked for starts in its place.
        let say = self.shared.forget(id).ok_or_else(|| ended(id))?;
        say.send(Said::End(outcome)).map_err(|_| ended(id))?;
        loop {
            match timeout(LOOK_EVERY, events.next()).await {
                Ok(Some(Ok(_))) => return Ok(()),
                Ok(None) => return Err(Error::Closed),
                // An event was missed, or there is none: the job tells.
                Ok(Some(Err(_))) | Err(_) => match inspect::find(engine, id.job) {
                    Ok(job) if job.state == State::Running => {}
                    Ok(_) | Err(Error::NoSuchJob { .. }) => return Ok(()),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Gives a job back: it waits again, for this time at least ([`Outcome::SNOOZE_MIN`] or more), and no attempt is used up.
    ///
    /// # Errors
    /// Those of [`end`](Self::end).
    pub async fn give_back(&self, id: TakenId, after: Duration) -> Result<(), Error> {
        self.end(id, Outcome::snooze(after)).await
    }

    /// How many jobs are held.
    pub fn held(&self) -> usize {
        self.shared.slots().held.len()
    }

    /// The worker: its limits, and how to stop it. A stop waits for the jobs that are held.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }
}

impl fmt::Debug for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taker").field("worker", &self.worker).field("held", &self.held()).finish_non_exhaustive()
    }
}

fn ended(id: TakenId) -> Error {
    Error::LeaseEnded { id: id.to_string() }
}

/// Whether this event tells that an attempt of the job has ended.
fn is_end_of(event: &Event, job: JobId) -> bool {
    match event {
        Event::Completed { id, .. }
        | Event::Retrying { id, .. }
        | Event::Snoozed { id, .. }
        | Event::Dead { id, .. }
        | Event::Cancelled { id, .. }
        | Event::Undoing { id, .. }
        | Event::Deleted { id, .. } => *id == job,
        _ => false,
    }
}
