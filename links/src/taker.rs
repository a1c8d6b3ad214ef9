//! Takes jobs, keeps their leases, and tells the engine when they have ended.
//!
//! A job that is taken is stored together with its lease, in one commit. When it has ended in this file, the engine is told, and then
//! the lease is forgotten. After a crash the rows of leases say what is still to be told.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use millpond::{BoxError, JobId, State, Transaction};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arrived::Arrived;
use crate::forward::{Pause, has_stopped};
use crate::held::{self, Row};
use crate::link::Told;
use crate::take::Take;
use crate::{Ended, Envelope, Held, Lease, LeaseId, Leased, Unavailable};

/// How many jobs that have ended are remembered, in case the engine has lost what it was told and hands them out again.
const RECENT: usize = 10_000;

/// How often a full queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// For how many jobs the engine is asked at once.
const CALL: usize = 500;

/// A job that this machine has.
#[derive(Clone)]
struct Job {
    /// The job in this file. `None` if there is nothing to wait for.
    local: Option<JobId>,
    lease: LeaseId,
    until: Instant,
    has_ended: bool,
    /// The lease has ended while the job ran: it is not extended any more.
    has_lapsed: bool,
}

impl Job {
    fn held(local: Option<JobId>, lease: LeaseId, until: Instant) -> Self {
        Self { local, lease, until, has_ended: false, has_lapsed: false }
    }
}

/// For the keeper: look after this job, and then tell that it has ended.
struct Look {
    name: String,
    local: Option<JobId>,
}

#[derive(Default)]
struct Known {
    /// By the name of each job: where it comes from.
    jobs: BTreeMap<String, Job>,
    recent: Recent,
}

/// Names of jobs that have ended, the latest ones.
#[derive(Default)]
struct Recent {
    names: HashSet<String>,
    order: VecDeque<String>,
}

impl Recent {
    fn add(&mut self, name: String) {
        if self.names.insert(name.clone()) {
            self.order.push_back(name);
        }
        if self.order.len() > RECENT {
            self.order.pop_front().map(|oldest| self.names.remove(&oldest));
        }
    }
}

pub(crate) struct Taker<L> {
    of: Take<L>,
    owner: String,
    told: Told,
    known: Mutex<Known>,
    /// Notified when a job has ended, so that there is room for another one.
    room: Notify,
    /// The names of jobs whose rows are to be removed. It is locked while rows change and until it is known which jobs are held then, so
    /// that a job that is let go is neither taken for one that has ended nor for one that is held.
    rows: tokio::sync::Mutex<Vec<String>>,
}

/// Why nothing was taken.
enum Failed {
    /// The file is closed.
    Closed,
    /// A job has headers of this version, which is newer.
    Newer(String),
    Engine(Unavailable),
    File(millpond::Error),
}

impl From<millpond::Error> for Failed {
    fn from(error: millpond::Error) -> Self {
        match error {
            millpond::Error::Closed => Self::Closed,
            other => Self::File(other),
        }
    }
}

/// A job that was taken, as it is stored.
#[derive(Clone)]
struct Arrival {
    name: String,
    lease: LeaseId,
    delivery: u32,
    arrived: Arrived,
}

impl<L: Lease> Taker<L> {
    /// Reads which jobs this machine has.
    pub async fn new(of: Take<L>, owner: String, told: Told) -> Result<Self, millpond::Error> {
        let rows = held::all(&of.pond, of.shared.name()).await?;
        let (now, wall) = (Instant::now(), of.pond.now().as_millis());
        let job = |(name, row): (String, Row)| {
            let left = Duration::from_millis(row.until.saturating_sub(wall)).min(of.lease);
            let local = row.local.map(JobId::new);
            (name, Job::held(local, row.lease(), now + left))
        };
        let known = Known { jobs: rows.into_iter().map(job).collect(), recent: Recent::default() };
        let taker = Self { of, owner, told, known: Mutex::new(known), room: Notify::new(), rows: Default::default() };
        taker.tell_held();
        Ok(taker)
    }

    pub async fn run(self, stopped: watch::Receiver<bool>) {
        let (look, looks) = mpsc::unbounded_channel();
        for (name, job) in &self.known().jobs {
            let _ = look.send(Look { name: name.clone(), local: job.local });
        }
        // The keeper ends when nothing is taken any more.
        let kept = async {
            tokio::select! {
                () = self.keep(looks) => {}
                () = self.beat_all() => {}
            }
        };
        tokio::join!(self.take_all(look, stopped), kept);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The jobs of the queue that have not ended.
    fn unended(&self) -> Vec<(String, Job)> {
        let known = self.known();
        let unended = known.jobs.iter().filter(|(_, job)| !job.has_ended && job.local.is_some());
        unended.map(|(name, job)| (name.clone(), job.clone())).collect()
    }

    /// Until when a lease lasts that begins now, in milliseconds since the Unix epoch.
    fn lease_from_now(&self) -> u64 {
        self.of.pond.now().as_millis().saturating_add(self.of.lease.as_millis() as u64)
    }

    fn tell_held(&self) {
        let held = self.known().jobs.len() as u64;
        self.told.change(|state| state.held = held);
    }

    // --- taking ------------------------------------------------------------------------------

    async fn take_all(&self, look: mpsc::UnboundedSender<Look>, mut stopped: watch::Receiver<bool>) {
        let mut pause = Pause::default();
        while !*stopped.borrow() {
            if matches!(self.of.pond.begin_read(), Err(millpond::Error::Closed)) {
                return;
            }
            let room = self.room();
            if room == 0 {
                tokio::select! {
                    () = self.room.notified() => {}
                    // Others can have filled the queue, and their jobs end without a word.
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = has_stopped(&mut stopped) => {}
                }
                continue;
            }
            let failed = match self.take(room, &look).await {
                Ok(()) => {
                    pause = Pause::default();
                    continue;
                }
                Err(failed) => failed,
            };
            let is_of_file = matches!(failed, Failed::File(_));
            match failed {
                Failed::Closed => return,
                Failed::Newer(version) => {
                    let queue = self.of.shared.name();
                    tracing::error!(queue, version, "the link has stopped: update this machine first");
                    self.told.failed(&format!("a job has headers of version {version}: update this machine first"));
                    // What was taken before is still looked after.
                    return has_stopped(&mut stopped).await;
                }
                Failed::Engine(error) => self.told.failed(&error),
                Failed::File(error) => self.told.failed(&error),
            }
            // Nothing is taken that cannot be stored, since the engine counts how often a job is taken.
            let is_full = is_of_file && self.can_write().await;
            loop {
                tokio::select! {
                    () = self.room.notified(), if is_full => {}
                    () = tokio::time::sleep(if is_full { self.of.lease } else { pause.next() }) => {}
                    () = has_stopped(&mut stopped) => break,
                }
                if !is_of_file || self.can_write().await {
                    break;
                }
            }
        }
    }

    /// How many jobs can be taken now: as many as may be held, and as fit into the queue.
    fn room(&self) -> usize {
        let room = self.of.held_max.saturating_sub(self.known().jobs.len());
        let Ok(queue) = self.of.pond.queue(&self.of.queue) else { return room };
        let Some(capacity) = queue.settings().capacity.jobs else { return room };
        room.min(usize::try_from(capacity.saturating_sub(queue.counts().unfinished())).unwrap_or(usize::MAX))
    }

    async fn can_write(&self) -> bool {
        self.change_rows(&mut *self.rows.lock().await, held::touch).await.is_ok()
    }

    /// Takes jobs once, and stores them.
    async fn take(&self, room: usize, look: &mpsc::UnboundedSender<Look>) -> Result<(), Failed> {
        let Take { engine, shared, lease, .. } = &self.of;
        let (until, until_wall) = (Instant::now() + *lease, self.lease_from_now());
        let max = room.min(engine.limits().batch);
        let taken = engine.take(shared, &self.owner, max, *lease).await.map_err(Failed::Engine)?;
        self.told.change(|state| state.connected = true);
        if taken.is_empty() {
            return Ok(());
        }
        let ids: Vec<LeaseId> = taken.iter().map(|leased| leased.id.clone()).collect();
        let stored = self.store(taken, until, until_wall, look).await;
        if stored.is_err() {
            // Without this they would wait for the end of their leases.
            let _ = engine.give_back(shared, &ids, Duration::ZERO).await;
        }
        self.tell_held();
        stored
    }

    async fn store(
        &self,
        taken: Vec<Leased>,
        until: Instant,
        until_wall: u64,
        look: &mpsc::UnboundedSender<Look>,
    ) -> Result<(), Failed> {
        let mut rows = self.rows.lock().await;
        let (mut new, mut again) = (Vec::new(), Vec::new());
        for Leased { id: lease, delivery, envelope } in taken {
            let name = name_of(&envelope, &lease);
            let is_known = {
                let known = self.known();
                known.jobs.contains_key(&name) || known.recent.names.contains(&name)
            };
            match is_known {
                true => again.push((name, lease)),
                false => {
                    let arrived = Arrived::of(&envelope).map_err(Failed::Newer)?;
                    new.push(Arrival { name, lease, delivery, arrived });
                }
            }
        }
        self.told.change(|state| state.known += again.len() as u64);
        let known_again: Vec<(String, Row)> = {
            let mut known = self.known();
            let rows = again.iter().filter_map(|(name, lease)| {
                let job = known.jobs.get_mut(name)?;
                (job.lease, job.until, job.has_lapsed) = (lease.clone(), until, false);
                Some((name.clone(), Row::new(job.local, lease, until_wall)))
            });
            rows.collect()
        };
        let stored = self.commit(&mut rows, &new, &known_again, until_wall).await?;
        let (jobs, aside) = (stored.iter().flatten().count() as u64, stored.iter().filter(|id| id.is_none()).count());
        self.told.change(|state| {
            state.jobs += jobs;
            state.unreadable += aside as u64;
        });
        let mut known = self.known();
        for (Arrival { name, lease, .. }, local) in new.into_iter().zip(stored) {
            known.jobs.insert(name.clone(), Job::held(local, lease, until));
            let _ = look.send(Look { name, local });
        }
        for (name, lease) in again {
            // The engine has lost that it has ended.
            if !known.jobs.contains_key(&name) {
                known.jobs.insert(name.clone(), Job::held(None, lease, until));
                let _ = look.send(Look { name, local: None });
            }
        }
        Ok(())
    }

    /// Stores jobs and leases. Returns the job that each has become here, in their order; `None` if it was put aside.
    async fn commit(
        &self,
        rows: &mut Vec<String>,
        new: &[Arrival],
        again: &[(String, Row)],
        until: u64,
    ) -> Result<Vec<Option<JobId>>, Failed> {
        let (queue, most) = (self.of.queue.clone(), self.of.deliveries_max);
        let (new, again) = (new.to_vec(), again.to_vec());
        let stored = self.change_rows(rows, move |tx, shared| {
            for (name, row) in &again {
                held::put(tx, shared, name, row)?;
            }
            let mut stored = Vec::with_capacity(new.len());
            for Arrival { name, lease, delivery, arrived } in &new {
                let local = if *delivery > most {
                    let reason = format!("it was taken {delivery} times, and no machine has ended it");
                    arrived.store_undelivered(tx, &queue, reason)?;
                    None
                } else {
                    arrived.store(tx, &queue)?
                };
                held::put(tx, shared, name, &Row::new(local, lease, until))?;
                stored.push(local);
            }
            Ok(stored)
        });
        Ok(stored.await?)
    }

    /// Changes rows in one commit, which also removes those of the jobs that the engine has forgotten.
    async fn change_rows<T: Send + 'static>(
        &self,
        forgotten: &mut Vec<String>,
        change: impl Fn(&Transaction<'_>, &str) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, millpond::Error> {
        let (shared, names) = (self.of.shared.name().to_owned(), forgotten.clone());
        let changed = self.of.pond.transaction(move |tx| {
            held::remove(tx, &shared, &names)?;
            change(tx, &shared)
        });
        let changed = changed.await?;
        forgotten.clear();
        Ok(changed)
    }

    // --- keeping -----------------------------------------------------------------------------

    async fn keep(&self, mut looks: mpsc::UnboundedReceiver<Look>) {
        // Each waits for the end of one job.
        let mut ends: JoinSet<Option<Look>> = JoinSet::new();
        let (mut ended, mut pause, mut not_before) = (Vec::new(), Pause::default(), Instant::now());
        loop {
            tokio::select! {
                look = looks.recv() => match look {
                    Some(Look { name, local: Some(local) }) => drop(ends.spawn(wait(self.of.pond.clone(), name, local))),
                    Some(look) => ended.push(look),
                    None => break,
                },
                Some(end) = ends.join_next() => ended.extend(end.ok().flatten()),
                () = tokio::time::sleep_until(not_before), if !ended.is_empty() && not_before > Instant::now() => {}
            }
            while let Some(end) = ends.try_join_next() {
                ended.extend(end.ok().flatten());
            }
            if !ended.is_empty() && not_before <= Instant::now() {
                match self.end(&mut ended).await {
                    true => pause = Pause::default(),
                    false => not_before = Instant::now() + pause.next(),
                }
            }
        }
        self.end(&mut ended).await;
        let _ = self.give_back().await;
        let _ = self.remove_rows().await;
        self.tell_held();
    }

    /// Tells the engine which jobs have ended. Returns whether it has answered.
    async fn end(&self, ended: &mut Vec<Look>) -> bool {
        while !ended.is_empty() {
            let some: Vec<(String, LeaseId)> = {
                let _rows = self.rows.lock().await;
                let mut known = self.known();
                // A name can stand for another job now: its lease was lost, and it was taken again.
                ended.retain(|Look { name, local }| known.jobs.get(name).is_some_and(|job| job.local == *local));
                let some = ended.iter().take(CALL);
                let lease = |Look { name, .. }: &Look| {
                    let job = known.jobs.get_mut(name)?;
                    job.has_ended = true;
                    Some((name.clone(), job.lease.clone()))
                };
                some.filter_map(lease).collect()
            };
            if some.is_empty() {
                return true;
            }
            let ids: Vec<LeaseId> = some.iter().map(|(_, lease)| lease.clone()).collect();
            match self.of.engine.end(&self.of.shared, &ids).await {
                Ok(answers) => {
                    let lost = answers.iter().filter(|answer| **answer == Ended::Lost).count() as u64;
                    self.told.change(|state| (state.connected, state.lost_leases) = (true, state.lost_leases + lost));
                    ended.drain(..some.len());
                    let mut rows = self.rows.lock().await;
                    {
                        let mut known = self.known();
                        for (name, _) in some {
                            known.jobs.remove(&name);
                            known.recent.add(name.clone());
                            rows.push(name);
                        }
                    }
                    drop(rows);
                    self.room.notify_one();
                    self.tell_held();
                }
                Err(error) => {
                    self.told.failed(&error);
                    return false;
                }
            }
        }
        true
    }

    /// Extends all leases, three times in the time of a lease. Does not wait for other calls of the engine.
    async fn beat_all(&self) {
        let mut beat = tokio::time::interval(self.of.lease / 3);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            if self.beat().await.is_err() {
                // The file is closed.
                return std::future::pending().await;
            }
        }
    }

    /// Extends all leases, and lets go of the jobs whose leases are lost.
    async fn beat(&self) -> Result<(), millpond::Error> {
        let (now, until) = (Instant::now(), self.lease_from_now());
        let held = self.unended().into_iter().filter(|(_, job)| !job.has_lapsed);
        let (current, lapsed): (Vec<_>, Vec<_>) = held.partition(|(_, job)| job.until > now);
        let (mut lost, mut all_are_extended) = (self.waiting(lapsed.into_iter()), true);
        for some in current.chunks(CALL) {
            let (asked, ids) = (Instant::now(), some.iter().map(|(_, job)| job.lease.clone()).collect::<Vec<_>>());
            match self.of.engine.extend(&self.of.shared, &ids, self.of.lease).await {
                Ok(answers) => {
                    let mut known = self.known();
                    for ((name, job), answer) in some.iter().zip(answers) {
                        match (answer, known.jobs.get_mut(name)) {
                            (Held::Yours, Some(now)) if now.lease == job.lease => now.until = asked + self.of.lease,
                            (Held::Lost, Some(now)) if now.lease == job.lease => lost.push((name.clone(), job.clone())),
                            _ => {}
                        }
                    }
                }
                Err(error) => {
                    self.told.failed(&error);
                    all_are_extended = false;
                    break;
                }
            }
        }
        if !all_are_extended {
            // Those that end before the next call are let go now: the engine gives them to other machines.
            let soon = Instant::now() + self.of.lease / 3;
            lost.extend(self.waiting(current.into_iter().filter(|(_, job)| job.until <= soon)));
        }
        let has_all = {
            let known = self.known();
            all_are_extended && !known.jobs.is_empty() && !known.jobs.values().any(|job| job.has_lapsed)
        };
        self.let_go(&mut lost, "its lease was lost: another machine has it", has_all.then_some(until)).await
    }

    /// Those of these jobs that have not started. The others are marked: their leases are not extended.
    fn waiting(&self, jobs: impl Iterator<Item = (String, Job)>) -> Vec<(String, Job)> {
        let mut waiting = Vec::new();
        for (name, job) in jobs {
            let state = job.local.and_then(|id| self.of.pond.job(id).ok()).map(|job| job.state);
            match state {
                Some(State::Running) => {
                    self.known().jobs.entry(name).and_modify(|job| job.has_lapsed = true);
                }
                // Its end is told.
                None | Some(State::Completed | State::Cancelled | State::Dead) => {}
                Some(_) => waiting.push((name, job)),
            }
        }
        waiting
    }

    /// Cancels jobs whose leases are lost, and forgets their leases.
    async fn let_go(
        &self,
        lost: &mut Vec<(String, Job)>,
        why: &'static str,
        until: Option<u64>,
    ) -> Result<(), millpond::Error> {
        let mut rows = self.rows.lock().await;
        {
            // Not those that have ended meanwhile, or were taken again.
            let known = self.known();
            let is_lost = |now: &Job, job: &Job| now.lease == job.lease && !now.has_ended;
            lost.retain(|(name, job)| known.jobs.get(name).is_some_and(|now| is_lost(now, job)));
        }
        if lost.is_empty() && until.is_none() {
            return Ok(());
        }
        let names: Vec<String> = lost.iter().map(|(name, _)| name.clone()).collect();
        let cancelled: Vec<JobId> = lost.iter().filter_map(|(_, job)| job.local).collect();
        let written = self.change_rows(&mut rows, move |tx, shared| {
            for id in &cancelled {
                match tx.cancel(*id, why) {
                    Ok(_) | Err(millpond::Error::NoSuchJob { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            held::remove(tx, shared, &names)?;
            if let Some(until) = until {
                held::set_until(tx, shared, until)?;
            }
            Ok(())
        });
        match written.await {
            Err(millpond::Error::Closed) => return Err(millpond::Error::Closed),
            Err(error) => {
                // The next call does it.
                self.told.failed(&error);
                return Ok(());
            }
            Ok(()) => {}
        }
        if !lost.is_empty() {
            {
                let mut known = self.known();
                lost.iter().for_each(|(name, _)| drop(known.jobs.remove(name)));
            }
            self.told.change(|state| state.lost_leases += lost.len() as u64);
            self.room.notify_one();
            self.tell_held();
        }
        Ok(())
    }

    /// The link stops: jobs that have not started are for other machines.
    async fn give_back(&self) -> Result<(), millpond::Error> {
        let mut waiting = self.waiting(self.unended().into_iter());
        self.let_go(&mut waiting, "it was given back: the link was stopped", None).await?;
        for some in waiting.chunks(CALL) {
            let ids: Vec<LeaseId> = some.iter().map(|(_, job)| job.lease.clone()).collect();
            if let Err(error) = self.of.engine.give_back(&self.of.shared, &ids, Duration::ZERO).await {
                self.told.failed(&error);
                break;
            }
        }
        Ok(())
    }

    /// Removes the rows of jobs that the engine has forgotten.
    async fn remove_rows(&self) -> Result<(), millpond::Error> {
        let mut rows = self.rows.lock().await;
        if rows.is_empty() { Ok(()) } else { self.change_rows(&mut rows, |_, _| Ok(())).await }
    }
}

/// Waits until a job has ended. `None` if the file is closed.
async fn wait(pond: millpond::Millpond, name: String, local: JobId) -> Option<Look> {
    let mut pause = Pause::default();
    loop {
        match pond.finished(local).await {
            // A job that is not there any more has ended too.
            Ok(_) | Err(millpond::Error::NoSuchJob { .. }) => return Some(Look { name, local: Some(local) }),
            Err(millpond::Error::Closed) => return None,
            Err(_) => tokio::time::sleep(pause.next()).await,
        }
    }
}

/// Where a job comes from, which is the same whenever it is taken.
fn name_of(envelope: &Envelope, lease: &LeaseId) -> String {
    match envelope.source() {
        Some((origin, batch, index)) => format!("{origin}/{batch}/{index}"),
        None => format!("job {} of the engine", lease.job),
    }
}
