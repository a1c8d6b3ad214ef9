//! What the scheduler keeps of one queue: its ready jobs, and what prevents them from starting.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::aged::AgedRows;
use super::buckets::{Buckets, Gate, Reservation, is_exact};
use super::circuits::{CircuitWait, Circuits};
use super::feed::{FedPage, Feed, FeedRefill};
use super::handed_out::RunId;
use super::limited::{Limited, LimitedJob};
use super::limits::{WindowLimits, WorkerLimits};
use super::parked::Parked;
use super::shared_limits::{LimitKey, SharedLimits};
use super::window::Window;
use crate::job::{
    AgedPage, AgedRefill, AgedRow, IdMap, IdSet, JobId, KindId, OTHER_KINDS, Order, Priority, QueueId, Rate, ReadyJob,
    Record, Refill, Steered, WorkerSettings,
};
use crate::time::{Due, Now, TimeLine, Timestamp};

/// The maximum number of kinds without a handler that are remembered for each queue. They are used for a warning only.
const PASSED_OVER_KINDS_MAX: usize = 64;

/// Waiting jobs that must not start, because an operator's call is about to change them. The value is the queue and the
/// job if dispatch has reached the job meanwhile.
pub(crate) type Withdrawn = IdMap<Option<(QueueId, Arc<ReadyJob>)>>;

/// What all queues share.
pub(crate) struct Shared<'a> {
    pub buckets: &'a mut Buckets,
    pub limits: &'a mut SharedLimits,
    pub withdrawn: &'a mut Withdrawn,
    pub reserve: &'a mut Vec<Reservation>,
}

#[derive(Debug)]
pub(crate) enum Pick {
    Start {
        job: Arc<ReadyJob>,
        /// Its handler needs a thread.
        blocking: bool,
        /// The limits that it shares.
        shared: Option<Arc<[LimitKey]>>,
        /// A circuit is half open, and this is its probe.
        is_probe: bool,
    },
    Expired(Arc<ReadyJob>),
    /// The next job needs a thread, and none is free.
    NoThread,
    Nothing,
}

/// A job that was popped to be started.
#[derive(Debug)]
struct Popped {
    job: Arc<ReadyJob>,
    /// As which priority it counts.
    priority: u8,
    /// Since when it waits, if it was popped because of that.
    aged_since: Option<Timestamp>,
}

/// One queue: its ready jobs, and what prevents them from starting.
#[derive(Debug)]
pub(crate) struct QueueState {
    pub settings: Option<WorkerLimits>,
    pub paused: bool,
    /// What an operator has set in place of the worker's settings.
    steered: Option<Arc<Steered>>,
    /// The circuits of the queue and of its groups. `None` if its worker has no circuit breaker and none is open.
    pub circuits: Option<Box<Circuits>>,
    /// Ready jobs without a group.
    plain: Window<Arc<ReadyJob>>,
    /// Ready heads of groups.
    heads: Window<Arc<ReadyJob>>,
    /// Entries of a stream, if the queue is or was that of a consumer.
    feed: Option<Box<Feed>>,
    /// Of two jobs of the same priority the head goes first. It changes with each job, so that jobs with and without a
    /// group alternate.
    heads_first: bool,
    /// Rows that count as more urgent than their priority says. `None` if the worker has no ageing.
    aged: Option<AgedRows>,
    /// How many workers the queue has had.
    workers: u64,
    /// Heads that cannot start because the bucket of their group is closed, or its circuit is not.
    parked: Parked,
    /// Jobs that cannot start because a shared limit is used up.
    limited: Limited,
    /// The limits for which the queue waits.
    waits_for: BTreeSet<LimitKey>,
    /// How many jobs have started since the tables were last read from their start.
    started: usize,
    /// How many heads have started since the window of heads was last filled from the start of its table.
    heads_started: usize,
    /// The queue's own bucket is closed, or its circuit is open, until then.
    closed_until: Option<Duration>,
    /// When the next delayed job is due on either time line, or an earlier time.
    due: [Option<Due>; 2],
    /// A promotion is under way.
    promoting: bool,
    /// The kinds of jobs that were passed over because the worker has no handler for them.
    passed_over: IdSet<KindId>,
    /// How often the queue or one of its jobs had to wait for a rate, a circuit or a shared limit.
    pub limiter_waits: u64,
    limits: WindowLimits,
}

impl QueueState {
    pub fn new(limits: WindowLimits) -> Self {
        Self {
            settings: None,
            paused: false,
            steered: None,
            circuits: None,
            plain: Window::new(limits),
            heads: Window::new(limits),
            feed: None,
            heads_first: false,
            aged: None,
            workers: 0,
            parked: Parked::new(limits),
            limited: Limited::new(limits),
            waits_for: BTreeSet::new(),
            started: 0,
            heads_started: 0,
            closed_until: None,
            due: [None; 2],
            promoting: false,
            passed_over: IdSet::default(),
            limiter_waits: 0,
            limits,
        }
    }

    pub fn is_open(&self) -> bool {
        self.settings.is_some() && !self.paused
    }

    /// Whether the queue has a worker that handles the kind, and is not paused.
    pub fn handles(&self, kind: KindId) -> bool {
        !self.paused
            && self.settings.as_ref().is_some_and(|settings| settings.kinds.contains(kind))
            && !self.is_kind_paused(kind)
    }

    pub fn is_kind_paused(&self, kind: KindId) -> bool {
        self.steered.as_ref().is_some_and(|steered| steered.paused_kinds.contains(&kind))
    }

    /// An operator has set limits, or has paused or resumed a kind. If other kinds are paused, or groups have another rate now,
    /// the tables are read again: for the jobs that were passed over or parked, and without those that are paused now.
    pub fn steer(&mut self, steered: Option<Arc<Steered>>) {
        let (_, group_rate) = self.rates();
        let before = std::mem::replace(&mut self.steered, steered.filter(|steered| !steered.is_empty()));
        let same_kinds = paused_kinds(before.as_deref()).eq(paused_kinds(self.steered.as_deref()));
        if !same_kinds || self.rates().1 != group_rate {
            self.restart();
        }
    }

    pub fn slots(&self) -> usize {
        let Some(settings) = &self.settings else { return 0 };
        let own = settings.concurrency;
        self.steered.as_ref().map_or(own, |steered| steered.overrides.slots(own))
    }

    /// The rate of the queue and that of each of its groups.
    pub fn rates(&self) -> (Option<Rate>, Option<Rate>) {
        let Some(settings) = &self.settings else { return (None, None) };
        let Some(steered) = &self.steered else { return (settings.rate, settings.group_rate) };
        let WorkerSettings { rate, group_rate, .. } = settings.own().with(&steered.overrides);
        (rate, group_rate)
    }

    /// Whether its starts must happen at their exact times, because a rate would not be reached otherwise.
    pub fn is_exact(&self) -> bool {
        let (rate, group_rate) = self.rates();
        [rate, group_rate].into_iter().flatten().any(is_exact)
    }

    // --- rows ---------------------------------------------------------------------------------

    fn window(&mut self, grouped: bool) -> &mut Window<Arc<ReadyJob>> {
        if grouped { &mut self.heads } else { &mut self.plain }
    }

    /// A row was committed. `taken` says that the job was handed out or is a suspect, so it must not be started from here.
    pub fn arrive(&mut self, job: Arc<ReadyJob>, taken: bool) {
        if let Some(feed) = self.feed.as_mut().filter(|feed| feed.owns(job.id)) {
            feed.put_back(job);
            return;
        }
        let has_no_worker = self.settings.is_none();
        let parked = self.parked.holds(job.id) || self.limited.holds(job.id);
        if let Some(aged) = &mut self.aged {
            aged.changed(job.id);
        }
        let window = self.window(job.is_grouped());
        if has_no_worker {
            // No job starts without a worker: the row stays in the table only.
            window.restart();
        } else {
            window.arrive(job, taken || parked);
        }
    }

    /// A waiting job left its table. Returns true if it waited for a shared limit: the queue must be asked for its next job.
    pub fn gone(&mut self, grouped: bool, order: Order, id: JobId) -> bool {
        self.window(grouped).gone(order, id);
        if grouped {
            self.parked.remove(id, Duration::ZERO);
        }
        if let Some(aged) = &mut self.aged {
            aged.changed(id);
        }
        self.limited.remove(id)
    }

    /// The row of a job that was handed out has left the table.
    pub fn settled(&mut self, grouped: bool, id: JobId) {
        self.window(grouped).settled(id);
        if let Some(feed) = &mut self.feed {
            feed.settled(id);
        }
        if let Some(aged) = &mut self.aged {
            aged.settled(id);
        }
    }

    /// A run is over. Returns its group, if it was the probe of a circuit: another job may be the next probe.
    pub fn probe_over(&mut self, run: RunId) -> Option<Option<Arc<str>>> {
        self.circuits.as_mut()?.probe_over(run)
    }

    pub fn put_back(&mut self, job: Arc<ReadyJob>) {
        match self.feed.as_mut().filter(|feed| feed.owns(job.id)) {
            Some(feed) => feed.put_back(job),
            None => self.window(job.is_grouped()).put_back(job),
        }
    }

    fn put_back_popped(&mut self, popped: Popped) {
        let Popped { job, aged_since, .. } = popped;
        if let (Some(aged), Some(since)) = (&mut self.aged, aged_since) {
            aged.insert(AgedRow { since, job: job.clone() });
        }
        // An aged row is in its window too: the rows that have aged can be forgotten at any time.
        self.put_back(job);
    }

    pub fn wants_refills(&mut self, queue: QueueId, into: &mut Vec<Refill>) {
        if self.settings.is_none() {
            // No job starts without a worker, so no page is needed.
            return;
        }
        let limits = self.limits;
        for grouped in [false, true] {
            if let Some(refill) = self.window(grouped).wants_refill(limits) {
                into.push(Refill { queue, grouped, ..refill });
            }
        }
    }

    // --- entries of a stream ------------------------------------------------------------------

    /// The page of entries that is to be read now.
    pub fn wants_entries(&mut self, queue: QueueId) -> Option<FeedRefill> {
        let Self { feed, settings, .. } = self;
        let settings = settings.as_ref().filter(|settings| settings.feeding.is_some())?;
        feed.as_mut()?.wants_page(queue, || settings.kinds.clone())
    }

    /// Entries that are to become jobs.
    pub fn held_up_entries(&mut self) -> Option<Vec<Arc<ReadyJob>>> {
        self.settings.as_ref().filter(|settings| settings.feeding.is_some())?;
        self.feed.as_mut()?.held_up()
    }

    /// The entries that are in memory. `None` if the queue is not that of a consumer.
    pub fn feed(&mut self) -> Option<&mut Feed> {
        self.feed.as_deref_mut()
    }

    pub fn fed(&mut self, page: FedPage, is_handed_out: impl Fn(JobId) -> bool) {
        if let Some(feed) = &mut self.feed {
            feed.fed(page, is_handed_out);
        }
    }

    // --- ageing -------------------------------------------------------------------------------

    /// Whether there may be jobs that become more urgent while they wait.
    fn may_have_aged(&self) -> bool {
        let first = Priority::FIRST.get();
        let has_less_urgent = self.plain.may_have_behind(first) || self.heads.may_have_behind(first);
        let is_held = self.circuits.as_ref().is_some_and(|circuits| circuits.is_held(None));
        self.is_open() && !is_held && (has_less_urgent || !self.limited.is_empty())
    }

    /// The page of aged rows that must be read now.
    pub fn wants_aged(&mut self, queue: QueueId) -> Option<AgedRefill> {
        if self.aged.is_none() || !self.may_have_aged() {
            return None;
        }
        let Self { aged, settings, steered, .. } = self;
        let kinds = || {
            let kinds = settings.as_ref().map(|settings| settings.kinds.clone()).unwrap_or_default();
            kinds.without(paused_kinds(steered.as_deref()))
        };
        aged.as_mut()?.wants_page(queue, kinds)
    }

    /// A page of aged rows was read. `taken` says which of its jobs were handed out or are suspects.
    pub fn aged_read(&mut self, page: AgedPage, worker: u64, taken: impl Fn(&Arc<ReadyJob>) -> bool) {
        let now = page.now;
        let Some(aged) = &mut self.aged else { return };
        for row in aged.page_read(page, worker) {
            if taken(&row.job) || self.parked.holds(row.job.id) {
                continue;
            }
            let Some(aged) = &self.aged else { return };
            let priority = aged.counts_as(row.job.order.priority, row.since, now);
            if self.limited.holds(row.job.id) {
                if self.limited.raise(&row, priority) {
                    self.put_back_popped(Popped { priority, aged_since: Some(row.since), job: row.job });
                }
            } else if let Some(aged) = &mut self.aged {
                aged.insert(row);
            }
        }
    }

    /// A page of aged rows could not be read: it is requested again with the next call of [`Self::wants_aged`].
    pub fn aged_failed(&mut self, worker: u64) {
        if let Some(aged) = &mut self.aged {
            aged.page_failed(worker);
        }
    }

    /// As which priority a job counts that waits for longer than a period of ageing, and how many jobs of other priorities go
    /// before it because they have aged.
    pub fn age_of(&self, job: (JobId, &Record), now: Now) -> Option<(u8, u64)> {
        self.aged.as_ref().map(|aged| (aged.priority_of(job, now), aged.ahead_of(job, now)))
    }

    /// A page was read. `taken` says which of its jobs were handed out or are suspects.
    pub fn refilled(
        &mut self,
        refill: Refill,
        rows: Vec<Arc<ReadyJob>>,
        end: bool,
        taken: impl Fn(&Arc<ReadyJob>) -> bool,
    ) {
        let Self { plain, heads, parked, limited, .. } = self;
        let window = if refill.grouped { heads } else { plain };
        window.refilled(rows, end, |row| taken(row) || parked.holds(row.id) || limited.holds(row.id));
    }

    /// A page could not be read: it is requested again with the next call of [`Self::wants_refills`].
    pub fn page_failed(&mut self, grouped: bool) {
        self.window(grouped).page_failed();
    }

    /// Forgets all rows: the tables are read again from the start.
    pub fn restart(&mut self) {
        self.plain.restart();
        self.restart_heads();
        self.limited.clear();
        self.started = 0;
        if let Some(aged) = &mut self.aged {
            aged.restart();
        }
    }

    /// Nothing of the queue is in the file any more. A page that is being read is ignored.
    pub fn removed(&mut self) {
        self.restart();
        self.feed = None;
        self.promoted([None; 2]);
        self.paused = false;
        self.steered = None;
        self.circuits = None;
        self.closed_until = None;
        self.passed_over.clear();
    }

    fn restart_heads(&mut self) {
        self.heads.restart();
        self.parked.clear();
        if let Some(feed) = &mut self.feed {
            feed.restart();
        }
        self.heads_started = 0;
    }

    /// Whether the table may be read again for heads that were passed over. It may once the window has reached the end of
    /// the table, or has let as many heads start as it can hold. Otherwise heads that stand behind many others that cannot
    /// start would never be reached.
    fn may_read_again(&self) -> bool {
        self.heads.is_whole() || self.heads_started >= self.limits.jobs_max
    }

    /// Rows in memory, for tests.
    #[cfg(test)]
    pub fn rows_held(&self) -> usize {
        self.plain.len() + self.heads.len() + self.limited.len() + self.aged.as_ref().map_or(0, AgedRows::len)
    }

    // --- delayed jobs -------------------------------------------------------------------------

    /// Notes when a delayed job is due. Returns true if no other is due earlier.
    pub fn due_at(&mut self, due: Due) -> bool {
        let slot = &mut self.due[due.line as usize];
        let first = slot.is_none_or(|earlier| due < earlier);
        if first {
            *slot = Some(due);
        }
        first
    }

    /// There are delayed jobs, and it is not known when they are due: they are checked at once.
    pub fn unknown_due(&mut self) {
        for line in [TimeLine::Wall, TimeLine::Engine] {
            self.due_at(Due { line, at: crate::time::Timestamp::EPOCH });
        }
    }

    pub fn promoted(&mut self, next_due: [Option<Due>; 2]) {
        self.promoting = false;
        self.due = next_due;
    }

    pub fn promotion_failed(&mut self) {
        self.promoting = false;
    }

    /// Whether due jobs must be made ready now. Returns true once per promotion.
    pub fn promotion_due(&mut self, now: Now) -> bool {
        let due = self.due.iter().flatten().any(|due| due.is_due(now));
        let begin = due && !self.promoting;
        self.promoting |= begin;
        begin
    }

    /// When the next delayed job is due. `None` while a promotion is under way.
    pub fn next_due(&self) -> [Option<Due>; 2] {
        if self.promoting { [None; 2] } else { self.due }
    }

    // --- choosing -----------------------------------------------------------------------------

    /// The next job to start, beside `running` others of this queue.
    pub fn pick(
        &mut self,
        queue: QueueId,
        running: usize,
        thread_is_free: bool,
        now: Now,
        shared: &mut Shared<'_>,
    ) -> Pick {
        let pick = if self.limited.is_empty() {
            self.pick_one(queue, running, thread_is_free, now, shared)
        } else {
            self.pick_after_offers(queue, running, thread_is_free, now, shared)
        };
        if matches!(pick, Pick::Nothing | Pick::NoThread) && !self.waits_for.is_empty() {
            let can_start = matches!(pick, Pick::Nothing) && self.has_slot(running, now);
            self.give_up_turns(queue, can_start, shared.limits);
        }
        pick
    }

    /// [`pick`](Self::pick) where jobs wait for units of shared limits.
    fn pick_after_offers(
        &mut self,
        queue: QueueId,
        running: usize,
        thread_is_free: bool,
        now: Now,
        shared: &mut Shared<'_>,
    ) -> Pick {
        // Bounds the loop: no job has to be offered its units twice.
        let mut offers_left = self.limited.len();
        loop {
            let waiting = self.limited.len();
            let offered = self.offer_units(queue, shared.limits);
            let pick = self.pick_one(queue, running, thread_is_free, now, shared);
            // The jobs that were offered their units may have to wait for something else, such as another limit or the rate of
            // their group: then the next ones are offered theirs.
            let waits_for_another =
                |(key, id): &(LimitKey, JobId)| self.limited.limit_of(*id).is_none_or(|now| now != *key);
            let has_moved = self.limited.len() < waiting || offered.iter().any(waits_for_another);
            if !matches!(pick, Pick::Nothing) || !has_moved || offers_left == 0 || !self.has_slot(running, now) {
                return pick;
            }
            offers_left -= 1;
        }
    }

    /// Whether a job could start beside so many others, if there is one.
    fn has_slot(&self, running: usize, now: Now) -> bool {
        let is_held = self.circuits.as_ref().is_some_and(|circuits| circuits.wait(None, now).is_some());
        !self.paused && !is_held && running < self.slots() && self.closed_until.is_none()
    }

    /// Whether the queue must be asked for another job if so many run. It must also be asked if it has no slot and waits for a limit,
    /// whose turn it then gives up.
    pub fn may_start_beside(&self, running: usize) -> bool {
        running < self.slots() || !self.waits_for.is_empty()
    }

    /// Puts the jobs that may have their units now back into their windows, one for each limit. Returns these jobs.
    fn offer_units(&mut self, queue: QueueId, limits: &mut SharedLimits) -> Vec<(LimitKey, JobId)> {
        let mut offered = Vec::new();
        if self.limited.is_empty() {
            return offered;
        }
        for key in self.limited.keys().collect::<Vec<_>>() {
            if self.limited.is_offering(key) {
                continue;
            }
            let weight = self.limited.first(key).map_or(1, |job| job.record.weight());
            if !limits.may_start(key, weight, queue) {
                self.wait_for(key, queue, limits);
            } else if let Some(LimitedJob { job, aged_since }) = self.limited.offer(key) {
                offered.push((key, job.id));
                self.put_back_popped(Popped { priority: job.order.priority, job, aged_since });
            } else if self.may_read_all_again() {
                self.restart();
                return Vec::new();
            }
        }
        offered
    }

    fn wait_for(&mut self, key: LimitKey, queue: QueueId, limits: &mut SharedLimits) {
        self.waits_for.insert(key);
        limits.wait(key, queue);
    }

    /// Gives up the queue's turn at the limits for which no job waits, or at all if none `can_start`.
    fn give_up_turns(&mut self, queue: QueueId, can_start: bool, limits: &mut SharedLimits) {
        if self.waits_for.is_empty() {
            return;
        }
        let limited = &self.limited;
        self.waits_for.retain(|key| {
            let waits = can_start && limited.waits_for(*key);
            if !waits {
                limits.leave(*key, queue);
            }
            waits
        });
    }

    /// Binds a worker's settings to the queue.
    pub fn open(&mut self, settings: WorkerLimits) {
        self.limited.set_shares(settings.shared_limits());
        self.workers += 1;
        self.aged = settings.aging.map(|aging| AgedRows::new(aging, self.workers, self.limits));
        self.plain.set_newest_first(settings.newest_first);
        self.heads.set_newest_first(settings.newest_first);
        match (&settings.feeding, &mut self.feed) {
            // Entries of an earlier worker can still be running.
            (Some(feeding), Some(feed)) if feed.feeding.number == feeding.number => feed.feeding = feeding.clone(),
            (Some(feeding), feed) => *feed = Some(Box::new(Feed::new(feeding.clone(), self.limits))),
            (None, _) => {}
        }
        self.settings = Some(settings);
        self.restart();
    }

    /// The queue has no worker any more. Its rows stay in the table, and the next worker reads it from its start.
    pub fn close(&mut self, queue: QueueId, limits: &mut SharedLimits) {
        self.settings = None;
        self.aged = None;
        self.restart();
        self.give_up_turns(queue, false, limits);
    }

    /// Whether the tables may be read again for jobs that were passed over, as [`Self::may_read_again`] says for heads.
    fn may_read_all_again(&self) -> bool {
        (self.plain.is_whole() && self.heads.is_whole()) || self.started >= self.limits.jobs_max
    }

    /// The limit that prevents a job from starting that counts as `priority`.
    pub fn full_limit(
        &self,
        queue: QueueId,
        (id, record): (JobId, &Record),
        priority: u8,
        limits: &SharedLimits,
    ) -> Option<LimitKey> {
        let keys = self.shared_by(record.kind)?;
        let weight = record.weight();
        let is_full =
            |key: &&LimitKey| !limits.may_start(**key, weight, queue) || self.limited.comes_behind(**key, id, priority);
        keys.iter().find(is_full).copied()
    }

    /// The limits that the jobs of this kind share.
    pub fn shared_by(&self, kind: KindId) -> Option<&Arc<[LimitKey]>> {
        let settings = self.settings.as_ref()?;
        if settings.shared.is_empty() {
            return None;
        }
        let kind = if settings.kinds.is_other(kind) { OTHER_KINDS } else { kind };
        settings.shared.get(&kind)
    }

    /// The next job to start.
    fn pick_one(
        &mut self,
        queue: QueueId,
        running: usize,
        thread_is_free: bool,
        now: Now,
        Shared { buckets, limits, withdrawn, reserve }: &mut Shared<'_>,
    ) -> Pick {
        let closed_before = self.closed_until.take().filter(|until| *until > now.mono);
        loop {
            if self.paused || running >= self.slots() || !self.has_rows() {
                return Pick::Nothing;
            }
            let closed_for = match self.circuits.as_ref().and_then(|circuits| circuits.wait(None, now)) {
                // Nothing starts before the probe has ended.
                Some(CircuitWait::HalfOpen(_)) => return Pick::Nothing,
                Some(CircuitWait::Open(wait)) => Some(wait),
                None => match buckets.gate(queue, None, now, reserve) {
                    Gate::Open => None,
                    Gate::Reserving => return Pick::Nothing,
                    Gate::Wait(wait) => Some(wait),
                },
            };
            if let Some(wait) = closed_for {
                // A second call keeps the earlier time: a dispatcher that gets a new time with each call would never
                // sleep.
                let until = now.mono.saturating_add(wait);
                self.limiter_waits += u64::from(closed_before.is_none());
                self.closed_until = Some(closed_before.map_or(until, |before| until.min(before)));
                return Pick::Nothing;
            }
            let heads_first = self.heads_first;
            let popped = self.pop(now);
            self.limited.chosen(popped.job.id);
            let Popped { ref job, priority, aged_since } = popped;
            if let Some(held) = withdrawn.get_mut(&job.id) {
                *held = Some((queue, popped.job));
                continue;
            }
            if self.is_kind_paused(job.kind()) {
                // Passed over: the row stays in the table, which is read from its start when the kind is resumed.
                continue;
            }
            if !self.settings.as_ref().is_some_and(|settings| settings.kinds.contains(job.kind())) {
                // Passed over: the row stays in the table, and a new worker reads the table from its start.
                if self.passed_over.len() < PASSED_OVER_KINDS_MAX {
                    self.passed_over.insert(job.kind());
                }
                continue;
            }
            if job.record.has_expired(now) {
                self.limited.remove(job.id);
                return Pick::Expired(popped.job);
            }
            if let Some(key) = self.full_limit(queue, (job.id, &job.record), priority, limits) {
                self.wait_for(key, queue, limits);
                self.limiter_waits += 1;
                self.limited.keep(key, LimitedJob { job: popped.job, aged_since }, priority);
                continue;
            }
            let circuit = match (&self.circuits, job.group()) {
                (Some(circuits), Some(group)) => circuits.wait(Some(group), now),
                _ => None,
            };
            let closed = match (circuit, job.group()) {
                (Some(CircuitWait::Open(wait)), _) => Some(Some(now.mono.saturating_add(wait))),
                (Some(CircuitWait::HalfOpen(_)), _) => Some(None),
                (None, None) => None,
                (None, Some(group)) => match buckets.gate(queue, Some(group), now, reserve) {
                    Gate::Open => None,
                    Gate::Wait(wait) => Some(Some(now.mono.saturating_add(wait))),
                    Gate::Reserving => Some(None),
                },
            };
            if let Some(until) = closed {
                match self.parked.park(popped.job, until, now.mono) {
                    Ok(()) => {
                        self.limiter_waits += 1;
                        continue;
                    }
                    Err(job) => {
                        self.put_back_popped(Popped { job, priority, aged_since });
                        return Pick::Nothing;
                    }
                }
            }
            let blocking = self.blocks(job.kind());
            if blocking && !thread_is_free {
                self.put_back_popped(popped);
                self.heads_first = heads_first;
                return Pick::NoThread;
            }
            if let Some(group) = job.group() {
                buckets.spend(queue, Some(group));
                self.heads_started += 1;
            }
            buckets.spend(queue, None);
            self.started += 1;
            if let Some(aged) = &mut self.aged {
                aged.started(aged_since.is_some());
            }
            self.limited.remove(job.id);
            let shared = self.shared_by(job.kind()).cloned();
            let is_probe = self.circuits.as_ref().is_some_and(|circuits| circuits.is_probe(popped.job.group()));
            return Pick::Start { job: popped.job, blocking, shared, is_probe };
        }
    }

    /// The kinds of jobs that were passed over since this state was made, and that the worker still does not handle.
    pub fn passed_over(&self) -> impl Iterator<Item = KindId> {
        let is_handled = |kind: &KindId| self.settings.as_ref().is_none_or(|settings| settings.kinds.contains(*kind));
        self.passed_over.iter().copied().filter(move |kind| !is_handled(kind))
    }

    /// Nothing of this kind waits any more.
    pub fn forget_passed_over(&mut self, kind: KindId) {
        self.passed_over.remove(&kind);
    }

    /// Whether this kind's handler needs a thread.
    pub fn blocks(&self, kind: KindId) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.blocking.contains(&kind))
    }

    /// Whether the next row is known. While a window is empty and the table may have more rows, no row of the other window
    /// starts: the page may bring a more urgent one.
    fn has_rows(&self) -> bool {
        let has_aged = self.aged.as_ref().is_some_and(|aged| !aged.is_empty());
        let has_entry = self.feeds() && self.feed.as_ref().is_some_and(|feed| feed.first().is_some());
        let rows = self.plain.first().is_some() || self.heads.first().is_some() || has_aged || has_entry;
        rows && !self.plain.needs_page() && !self.heads.needs_page()
    }

    /// Whether its worker is that of a consumer.
    fn feeds(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.feeding.is_some())
    }

    /// Removes and returns the next row: the most urgent one. If several have the same priority, rows that have aged and those of
    /// the windows alternate, and then jobs with and without a group.
    fn pop(&mut self, now: Now) -> Popped {
        let plain = self.plain.first().map(|job| job.order.priority);
        let head = self.heads.first().map(|job| job.order.priority);
        if let Some(aged) = &mut self.aged {
            let window = [plain, head].into_iter().flatten().min();
            if let Some((priority, AgedRow { since, job })) = aged.pop_before(window, now) {
                self.window(job.is_grouped()).remove(job.order, job.id);
                return Popped { job, priority, aged_since: Some(since) };
            }
        }
        // The jobs of a consumer's queue were entries before these.
        if plain.is_none()
            && head.is_none()
            && self.feeds()
            && let Some(job) = self.feed.as_mut().and_then(|feed| feed.pop())
        {
            return Popped { priority: job.order.priority, job, aged_since: None };
        }
        let from_heads = match (plain, head) {
            (None, _) => true,
            (_, None) => false,
            (Some(plain), Some(head)) if plain == head => self.heads_first,
            (Some(plain), Some(head)) => head < plain,
        };
        self.heads_first = !from_heads;
        let job = self.window(from_heads).pop().expect("the caller has checked that there is a row");
        if let Some(aged) = &mut self.aged {
            aged.remove(job.id);
        }
        Popped { priority: job.order.priority, job, aged_since: None }
    }

    /// A reservation of this group was answered.
    pub fn reservation_answered(&mut self, group: &Arc<str>) {
        for job in self.parked.answered(group) {
            self.put_back(job);
        }
    }

    /// The bucket of this group may be open earlier than was known.
    pub fn group_opened(&mut self, group: &Arc<str>) {
        for job in self.parked.opened(group) {
            self.put_back(job);
        }
    }

    /// How long until this head is read again, if it was passed over because too many other heads wait for their buckets.
    pub fn read_again_in(&self, id: JobId, order: Order, now: Now) -> Option<Duration> {
        let is_passed_over = self.heads.has_passed(order) && !self.parked.holds(id);
        if is_passed_over { self.parked.read_again_in(now.mono) } else { None }
    }

    /// Puts heads whose bucket may be open back into the window. Returns true if the queue may have something to start.
    pub fn wake_parked(&mut self, now: Now) -> bool {
        let mut woken = false;
        while let Some(job) = self.parked.woken(now.mono) {
            self.put_back(job);
            woken = true;
        }
        if self.may_read_again() && self.parked.is_to_be_read_again(now.mono) {
            self.restart_heads();
            woken = true;
        }
        if self.closed_until.is_some_and(|until| until <= now.mono) {
            self.closed_until = None;
            woken = true;
        }
        if self.aged.is_some() && self.may_have_aged() {
            woken |= self.aged.as_mut().is_some_and(|aged| aged.wake(now.mono));
        }
        woken
    }

    /// When something happens in this queue without a call from outside, on the monotonic clock.
    pub fn next_timer(&self) -> Option<Duration> {
        let aged = self.aged.as_ref().filter(|_| self.may_have_aged()).and_then(AgedRows::next_timer);
        [self.closed_until, self.parked.next_event(self.may_read_again()), aged].into_iter().flatten().min()
    }

    /// A page is being read, or a promotion is under way.
    pub fn is_working(&self) -> bool {
        let reads_aged = self.aged.as_ref().is_some_and(AgedRows::is_reading);
        let reads_entries = self.feed.as_ref().is_some_and(|feed| feed.is_reading());
        self.promoting || self.plain.is_reading() || self.heads.is_reading() || reads_aged || reads_entries
    }
}

fn paused_kinds(steered: Option<&Steered>) -> impl Iterator<Item = &KindId> {
    steered.into_iter().flat_map(|steered| &steered.paused_kinds)
}
