//! Which job may start now.
//!
//! In memory and deterministic: fed with committed changes and `now`, asked for the next starts.
//! Refuses to do I/O, to read a clock, to know tokio or redb. It decides *which*; when to ask and
//! what to do with the answer is the dispatcher's business.

mod bucket;
mod flight;
mod lane;
mod probation;
mod threads;
mod window;

pub(crate) use bucket::Reservation;
pub(crate) use flight::{Flight, RunId};
pub(crate) use lane::{LaneSettings, WindowLimits};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::job::{BucketKey, BucketState, Change, Entry, IdMap, IdSet, JobId, KindId, Order, QueueId, Refill};
use crate::time::Now;
use bucket::Buckets;
use flight::Flights;
use lane::{Lane, Pick};
use probation::Probation;
use threads::Threads;
use window::Source;

/// Jobs that have ended but whose end is not durable yet, at most: past this nothing new starts
/// until the writer has caught up. It bounds the outcomes that wait in the writer's inbox.
pub(crate) const UNSETTLED_MAX: usize = 8_192;

/// And their records and results, at most, in bytes: the job that passes it has ended already.
pub(crate) const UNSETTLED_BYTES_MAX: usize = 64 << 20;

/// A job that may start now.
#[derive(Debug)]
pub(crate) struct Start {
    pub run: RunId,
    pub queue: QueueId,
    pub entry: Arc<Entry>,
    /// The start must be durable before the handler runs.
    pub commit_first: bool,
    /// Nothing runs beside it: if the process dies now, it did it.
    pub alone: bool,
}

/// What there is to do besides starting jobs.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    /// Ready jobs whose expiry has passed: they end instead of starting.
    pub expired: Vec<Start>,
    /// Windows to fill from the table.
    pub refills: Vec<Refill>,
    /// Queues with delayed jobs that are due.
    pub promote: Vec<QueueId>,
    /// Tokens to be made durable before they are used.
    pub reserve: Vec<Reservation>,
    /// How long nothing will change by itself; `None` if only a change from outside can.
    pub wait: Option<Duration>,
}

impl Chores {
    fn has_some(&self) -> bool {
        !self.expired.is_empty() || !self.refills.is_empty() || !self.reserve.is_empty()
    }
}

/// Waiting jobs that are out of reach, with their entries if the dispatcher came across them.
pub(crate) type Withdrawn = IdMap<Option<(QueueId, Arc<Entry>)>>;

/// Why a waiting job does not start, as far as the scheduler knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Blocked {
    QueuePaused,
    NoHandler,
    RateLimited(Duration),
    NoFreeSlot,
    NoThread,
    ProcessBudget(usize),
    Draining,
    /// Starts as soon as the dispatcher gets to it.
    Next,
}

pub(crate) struct Scheduler {
    lanes: IdMap<Lane, QueueId>,
    /// Queues that may have something to start, in the order they take turns.
    turns: VecDeque<QueueId>,
    /// Queues that stand in `turns`.
    waiting: IdSet<QueueId>,
    flights: Flights,
    threads: Threads,
    buckets: Buckets,
    probation: Probation,
    /// Waiting jobs that an operator's call is about to change, and those of them whose turn came
    /// meanwhile.
    withdrawn: Withdrawn,
    /// When to look for jobs whose start is to be written, if any of that age can be running.
    mark_at: Option<Duration>,
    /// Found while choosing; the dispatcher fetches them with [`Self::chores`].
    found: Chores,
    /// Something that [`Self::chores`] reports has changed since it was last asked.
    restless: bool,
    running_max: usize,
    limits: WindowLimits,
    /// The file cannot be written: what starts now could not be acknowledged.
    suspended: bool,
    stopped: bool,
}

impl Scheduler {
    pub fn new(running_max: usize, limits: WindowLimits) -> Self {
        Self {
            lanes: IdMap::default(),
            turns: VecDeque::new(),
            waiting: IdSet::default(),
            flights: Flights::default(),
            threads: Threads::new(usize::MAX),
            buckets: Buckets::default(),
            probation: Probation::default(),
            withdrawn: Withdrawn::default(),
            mark_at: None,
            found: Chores::default(),
            restless: true,
            running_max,
            limits,
            suspended: false,
            stopped: false,
        }
    }

    // --- what changed -------------------------------------------------------------------------

    /// Takes in what a commit has changed. Must be called in commit order. Says whether the
    /// dispatcher has something to look at.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> bool {
        for change in changes {
            self.apply_one(change);
        }
        self.restless || !self.turns.is_empty() || self.threads.is_waited_for(self.flights.blocking())
    }

    fn apply_one(&mut self, change: Change) {
        match change {
            Change::Ready { queue, entry } => {
                let taken = self.flights.contains(entry.id);
                let lane = self.lane(queue);
                lane.arrive(entry, taken);
                if lane.is_open() {
                    self.wake(queue);
                }
            }
            Change::Gone { queue, grouped, order, id } => {
                self.lane(queue).gone(grouped, order, id);
                self.withdrawn.entry(id).and_modify(|held| *held = None);
            }
            Change::Settled { id } => {
                if let Some(flight) = self.settle(id) {
                    self.lane(flight.queue).settled(flight.grouped, id);
                }
            }
            Change::Returned { entry } => {
                if let Some(flight) = self.settle(entry.id) {
                    self.lane(flight.queue).arrive(entry, false);
                    self.wake(flight.queue);
                }
            }
            Change::Due { queue, due } => {
                self.restless |= self.lane(queue).due_at(due);
            }
            Change::Promoted { queue, next_due } => {
                self.lane(queue).promoted(next_due);
                self.restless = true;
            }
            Change::Paused { queue, paused } => {
                self.lane(queue).paused = paused;
                self.wake(queue);
            }
            Change::Reserved { key, tokens } => {
                self.buckets.granted(&key, tokens);
                self.unpark(&key);
            }
            Change::Limited { key, until } => {
                self.buckets.hold(&key, until);
                self.wake(key.queue);
                self.restless = true;
            }
        }
    }

    fn settle(&mut self, id: JobId) -> Option<Flight> {
        let flight = self.flights.settle(id)?;
        if !flight.landed {
            self.wake(flight.queue);
        }
        self.probation.ended(id);
        Some(flight)
    }

    /// What a commit was to change did not happen: look at the queue's tables again.
    pub fn look_again(&mut self, queue: QueueId) {
        let lane = self.lane(queue);
        lane.restart();
        lane.promotion_failed();
        self.wake(queue);
        self.restless = true;
    }

    /// Nothing starts until [`Self::resume`].
    pub fn suspend(&mut self) {
        self.suspended = true;
    }

    /// The file was opened again, and what its last commit has done is known only to it: nothing in
    /// memory of its rows can be trusted. `queues` are those it has, and whether they are paused; `gone`
    /// are suspects that are not where they were.
    pub fn resume(&mut self, queues: impl IntoIterator<Item = (QueueId, bool)>, gone: &[JobId]) {
        self.suspended = false;
        for queue in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.lane(queue).drop_suspects(gone);
            self.look_again(queue);
        }
        for (queue, paused) in queues {
            self.restore(queue, paused);
        }
        // Whether the starts were written is not known either: they are written again.
        for flight in self.flights.iter_mut() {
            flight.marked = false;
        }
        self.mark_at = Some(Duration::ZERO);
        self.wake_all();
    }

    /// A page could not be read.
    pub fn look_again_later(&mut self, refill: Refill) {
        self.lane(refill.queue).page_failed(refill.grouped);
        self.wake(refill.queue);
    }

    pub fn refuse_reservation(&mut self, key: &BucketKey) {
        self.buckets.refused(key);
        self.unpark(key);
    }

    /// A queue that has rows when the file is opened.
    pub fn restore(&mut self, queue: QueueId, paused: bool) {
        let lane = self.lane(queue);
        lane.paused = paused;
        lane.restart();
        lane.unknown_due();
    }

    /// Jobs that were running when the process died: they start first, one at a time, alone. And
    /// the next `careful` starts are made durable before their handlers run.
    pub fn restore_crashed(&mut self, suspects: Vec<(QueueId, Arc<Entry>)>, careful: usize) {
        self.probation.begin(careful, !suspects.is_empty());
        for (queue, entry) in suspects {
            self.lane(queue).add_suspect(entry);
        }
    }

    /// What the file says of a bucket, and whether the process died that wrote it.
    pub fn restore_bucket(&mut self, key: BucketKey, state: BucketState, crashed: bool, now: Now) {
        self.buckets.restore(key, state, crashed, now);
    }

    /// Jobs that ran when the process died and have not been tried since.
    pub fn suspects(&self) -> Vec<(QueueId, Arc<Entry>)> {
        let in_lane =
            |(&queue, lane): (&QueueId, &Lane)| lane.suspects().map(move |entry| (queue, entry)).collect::<Vec<_>>();
        self.lanes.iter().flat_map(in_lane).collect()
    }

    // --- settings -----------------------------------------------------------------------------

    /// Binds a worker's settings to a queue.
    pub fn open_lane(&mut self, queue: QueueId, settings: LaneSettings, now: Now) {
        self.buckets.set_rates(queue, settings.rate, settings.group_rate, now);
        let lane = self.lane(queue);
        lane.settings = Some(settings);
        lane.restart();
        self.wake(queue);
        self.restless = true;
    }

    /// These kinds of a queue's worker have handlers that need a thread. To be said before the lane is opened.
    pub fn set_blocking_kinds(&mut self, queue: QueueId, kinds: IdSet<KindId>) {
        self.lane(queue).blocking = kinds;
    }

    /// So many jobs whose handlers need a thread run at a time, over all queues.
    pub fn set_threads_max(&mut self, threads: usize) {
        self.threads.max = threads;
    }

    /// The queue's worker is gone: nothing of it starts any more.
    pub fn close_lane(&mut self, queue: QueueId) {
        self.lane(queue).settings = None;
    }

    pub fn set_concurrency(&mut self, queue: QueueId, concurrency: usize) {
        if let Some(settings) = &mut self.lane(queue).settings {
            settings.concurrency = concurrency;
        }
        self.wake(queue);
    }

    pub fn set_running_max(&mut self, running_max: usize) {
        self.running_max = running_max;
    }

    /// No more starts, for good.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    // --- the question -------------------------------------------------------------------------

    /// The jobs that may start now, at most `starts_max`.
    pub fn starts(&mut self, now: Now, starts_max: usize, into: &mut Vec<Start>) {
        if self.probation.is_active() {
            if !self.lanes.values().any(Lane::is_suspected) {
                self.probation.all_tried();
            }
            self.wake_all();
        }
        // A queue that yields nothing leaves the round; whatever could make it yield wakes it.
        while into.len() < starts_max && self.has_room(now) {
            self.call_those_in_line();
            let Some(queue) = self.turns.pop_front() else { break };
            if self.start_one(queue, now, into) {
                self.turns.push_back(queue);
            } else {
                self.waiting.remove(&queue);
            }
        }
    }

    fn has_room(&self, now: Now) -> bool {
        !self.stopped
            && !self.suspended
            && self.flights.running() < self.running_max
            && self.flights.unsettled() < UNSETTLED_MAX
            && self.flights.unsettled_bytes() < UNSETTLED_BYTES_MAX
            && !self.probation.holds_all(now)
    }

    /// Queues that wait for a thread are asked when there is one.
    fn call_those_in_line(&mut self) {
        while let Some(queue) = self.threads.call(self.flights.blocking()) {
            self.wake(queue);
        }
    }

    /// Hands out one job of `queue`, or says that it has none to start now.
    fn start_one(&mut self, queue: QueueId, now: Now, into: &mut Vec<Start>) -> bool {
        let suspects_only = self.probation.is_active() && self.a_suspect_could_start(now);
        let running = self.flights.running();
        let running_here = self.flights.running_in(queue);
        let thread_is_free = self.threads.is_free_for(queue, self.flights.blocking());
        self.threads.asked(queue);
        let Some(lane) = self.lanes.get_mut(&queue) else { return false };
        if suspects_only && !(lane.has_suspect() && self.probation.admits_suspect(running, now)) {
            return false;
        }
        let held = (&mut self.withdrawn, &mut self.found.reserve);
        let pick = lane.pick(queue, running_here, (suspects_only, thread_is_free), now, &mut self.buckets, held);
        lane.wants_refills(queue, &mut self.found.refills);
        self.restless |= lane.has_new_timer() || self.found.has_some();
        match pick {
            Pick::Nothing => false,
            Pick::NoThread => {
                self.threads.line_up(queue);
                false
            }
            Pick::Expired(entry) => {
                let start = self.take_off(queue, entry, false, false, now);
                self.flights.land(start.run);
                self.found.expired.push(start);
                true
            }
            Pick::Start(entry) => {
                let blocking = self.lanes.get(&queue).is_some_and(|lane| lane.blocking.contains(&entry.kind()));
                let start = self.take_off(queue, entry, blocking, suspects_only, now);
                into.push(start);
                true
            }
        }
    }

    fn a_suspect_could_start(&self, now: Now) -> bool {
        let Self { lanes, flights, threads, buckets, .. } = self;
        lanes.iter().any(|(&queue, lane)| {
            let thread_is_free = threads.is_free_for(queue, flights.blocking());
            lane.could_start_suspect(queue, flights.running_in(queue), thread_is_free, now, buckets)
        })
    }

    fn take_off(&mut self, queue: QueueId, entry: Arc<Entry>, blocking: bool, on_trial: bool, now: Now) -> Start {
        let alone = on_trial && self.flights.running() == 0;
        let run = self.flights.take_off(queue, &entry, blocking, now);
        if self.mark_at.is_none() {
            self.mark_at = Some(now.mono.saturating_add(self.limits.mark_after));
            self.restless = true;
        }
        if on_trial {
            self.probation.suspect_started(entry.id, entry.record.crashes(), now);
        }
        let commit_first = self.probation.is_careful() || entry.is_suspect();
        Start { run, queue, entry, commit_first, alone }
    }

    /// Whether [`Self::chores`] has something new to say.
    pub fn is_restless(&self) -> bool {
        self.restless
    }

    /// What there is to do besides starting jobs, and when to ask again.
    pub fn chores(&mut self, now: Now) -> Chores {
        self.restless = false;
        let mut chores = std::mem::take(&mut self.found);
        if self.stopped {
            return chores;
        }
        let mut woken = Vec::new();
        for (&queue, lane) in &mut self.lanes {
            if lane.promotion_due(now) {
                chores.promote.push(queue);
            }
            if lane.wake_parked(now) {
                woken.push(queue);
            }
            let suspect = lane.suspects_wait(queue, now, &self.buckets);
            chores.wait = [chores.wait, lane.next_event(now), suspect].into_iter().flatten().min();
        }
        if !woken.is_empty() {
            // They are to be asked for their jobs, and nothing else may happen for long.
            chores.wait = Some(Duration::ZERO);
        }
        for queue in woken {
            self.wake(queue);
        }
        let mark = self.mark_at.map(|at| at.saturating_sub(now.mono));
        chores.wait = [chores.wait, self.probation.next_event(now), mark].into_iter().flatten().min();
        chores
    }

    // --- answers ------------------------------------------------------------------------------

    /// The rows that a [`Refill`] asked for. `end` says that there are none behind them.
    pub fn refilled(&mut self, refill: Refill, rows: Vec<Arc<Entry>>, end: bool) {
        if let Some(lane) = self.lanes.get_mut(&refill.queue) {
            lane.refilled(refill, rows, end, &self.flights);
            self.wake(refill.queue);
        }
    }

    /// The handler has returned and its slot is free; the job itself stays taken until the writer
    /// has settled it. False if this run is not the job's current one: its outcome is void.
    pub fn landed(&mut self, run: RunId) -> bool {
        let Some(queue) = self.flights.land(run) else { return false };
        self.wake(queue);
        true
    }

    /// The end of this run, which has landed, brings a result of so many bytes to the writer.
    pub fn ends_with(&mut self, run: RunId, bytes: usize) {
        self.flights.ends_with(run, bytes);
    }

    /// A job that was handed out and did not start is back at its place. One that was to be tried still is.
    pub fn given_back(&mut self, run: RunId, entry: Arc<Entry>) {
        if !self.landed(run) {
            return;
        }
        let was_on_trial = self.probation.is_on_trial(entry.id);
        let Some(flight) = self.settle(entry.id) else { return };
        let lane = self.lane(flight.queue);
        if was_on_trial {
            lane.add_suspect(entry);
            self.probation.try_again();
        } else {
            lane.arrive(entry, false);
        }
        self.wake(flight.queue);
    }

    /// Takes a waiting job out of the dispatcher's reach before the writer changes or removes it.
    /// False if a handler has it.
    pub fn withdraw(&mut self, id: JobId) -> bool {
        let free = !self.flights.contains(id);
        if free {
            self.withdrawn.entry(id).or_default();
        }
        free
    }

    /// The writer is done with it.
    pub fn reinstate(&mut self, id: JobId) {
        if let Some(Some((queue, entry))) = self.withdrawn.remove(&id) {
            tracing::trace!("a job's turn came while an operator's call had it");
            self.lane(queue).put_back(entry);
            self.wake(queue);
            self.restless = true;
        }
    }

    /// The start of this run is durable, or on its way to be.
    pub fn marked(&mut self, run: RunId) {
        if let Some(flight) = self.flights.get_mut(run) {
            flight.marked = true;
        }
    }

    /// It could not be marked yet: look again.
    pub fn not_marked(&mut self, run: RunId, now: Now) {
        if let Some(flight) = self.flights.get_mut(run) {
            flight.marked = false;
            self.mark_at = Some(now.mono.saturating_add(self.limits.mark_after));
        }
    }

    /// Runs that have lasted for `age` without their start being written. Says each once.
    pub fn long_running(&mut self, now: Now, age: Duration) -> Vec<RunId> {
        if self.mark_at.is_none_or(|at| at > now.mono) {
            return Vec::new();
        }
        self.mark_at = None;
        let mut due = Vec::new();
        for flight in self.flights.iter_mut().filter(|flight| !flight.landed && !flight.marked) {
            let at = flight.started.mono.saturating_add(age);
            if at <= now.mono {
                flight.marked = true;
                due.push(flight.run);
            } else {
                self.mark_at = Some(self.mark_at.map_or(at, |earlier| earlier.min(at)));
            }
        }
        due
    }

    pub fn is_flying(&self, id: JobId) -> bool {
        self.flights.contains(id)
    }

    /// Whether what stands at this place among the heads of groups was handed out.
    pub fn is_flying_at(&self, queue: QueueId, order: Order) -> bool {
        self.flights.iter().any(|flight| flight.grouped && flight.queue == queue && flight.order == order)
    }

    /// At which place it was handed out.
    pub fn order_in_flight(&self, id: JobId) -> Option<Order> {
        self.flights.get(id).map(|flight| flight.order)
    }

    pub fn running(&self) -> usize {
        self.flights.running()
    }

    /// How many jobs may run at a time, and how many of those with a blocking handler.
    pub fn limits(&self) -> (usize, usize) {
        (self.running_max, self.threads.max)
    }

    pub fn running_in(&self, queue: QueueId) -> usize {
        self.flights.running_in(queue)
    }

    /// Handed out and not settled.
    pub fn taken_in(&self, queue: QueueId) -> usize {
        self.flights.taken_in(queue)
    }

    pub fn limited_for(&self, key: &BucketKey, now: Now) -> Option<Duration> {
        self.buckets.wait(key, now)
    }

    /// Takes tokens by hand.
    ///
    /// # Errors
    /// How long until there are enough.
    pub fn take_tokens(&mut self, key: &BucketKey, tokens: u32, now: Now) -> Result<Option<Reservation>, Duration> {
        self.buckets.take_by_hand(key, tokens, now)
    }

    /// What is to be stored of a bucket: without the tokens that are reserved and not used yet, which
    /// are durably taken.
    pub fn bucket_state(&self, key: &BucketKey, now: Now) -> Option<BucketState> {
        self.buckets.state(key, now)
    }

    pub fn tokens(&mut self, key: &BucketKey, now: Now) -> f64 {
        self.buckets.level(key, now)
    }

    pub fn fill_bucket(&mut self, key: &BucketKey, now: Now) -> Reservation {
        let filled = self.buckets.fill(key, now);
        self.unpark(key);
        filled
    }

    /// What every bucket with a memory holds, for a clean stop: unused reservations go back in.
    pub fn bucket_states(&self, now: Now) -> Vec<(BucketKey, BucketState)> {
        self.buckets.states(now)
    }

    /// Nothing can start, and nothing is under way that would let it, before the clock moves or a
    /// running job lands.
    pub fn is_settled(&self, now: Now) -> bool {
        let blocked =
            !self.has_room(now) || (self.turns.is_empty() && !self.threads.is_waited_for(self.flights.blocking()));
        !self.found.has_some()
            && blocked
            && self.flights.unsettled() == 0
            && !self.lanes.values().any(|lane| lane.is_busy(now))
            && !self.buckets.is_reserving()
    }

    pub fn why(&self, queue: QueueId, kind: KindId, group: Option<&Arc<str>>, now: Now) -> Blocked {
        let Some(lane) = self.lanes.get(&queue) else { return Blocked::NoHandler };
        if self.stopped {
            return Blocked::Draining;
        }
        if lane.paused {
            return Blocked::QueuePaused;
        }
        let Some(settings) = &lane.settings else { return Blocked::NoHandler };
        if !settings.kinds.contains(&kind) {
            return Blocked::NoHandler;
        }
        let limited =
            [None, group.cloned()].into_iter().filter_map(|group| self.buckets.wait(&BucketKey { queue, group }, now));
        if let Some(wait) = limited.max() {
            return Blocked::RateLimited(wait);
        }
        if self.flights.running_in(queue) >= settings.concurrency {
            return Blocked::NoFreeSlot;
        }
        if !self.has_room(now) {
            return Blocked::ProcessBudget(self.running_max);
        }
        if lane.blocking.contains(&kind) && !self.threads.is_free_for(queue, self.flights.blocking()) {
            return Blocked::NoThread;
        }
        Blocked::Next
    }

    // --- waking -------------------------------------------------------------------------------

    fn lane(&mut self, queue: QueueId) -> &mut Lane {
        let limits = self.limits;
        self.lanes.entry(queue).or_insert_with(|| Lane::new(limits))
    }

    fn wake(&mut self, queue: QueueId) {
        if self.waiting.insert(queue) {
            self.turns.push_back(queue);
        }
    }

    fn wake_all(&mut self) {
        for (&queue, lane) in &self.lanes {
            if lane.may_have_work() && self.waiting.insert(queue) {
                self.turns.push_back(queue);
            }
        }
    }

    fn unpark(&mut self, key: &BucketKey) {
        if let Some(group) = &key.group {
            self.lane(key.queue).unpark_group(group);
        }
        self.wake(key.queue);
        self.restless = true;
    }
}

/// The windows' view of a row.
impl Source for Arc<Entry> {
    fn order(&self) -> Order {
        self.order
    }

    fn id(&self) -> JobId {
        self.id
    }

    fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

#[cfg(test)]
mod tests;
