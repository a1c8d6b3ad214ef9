use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Withdrawn;
use super::bucket::{Buckets, Gate, Reservation};
use super::flight::Flights;
use super::window::Window;
use crate::job::{BucketKey, Entry, IdSet, JobId, KindId, Order, QueueId, Rate, Refill};
use crate::time::{Due, Now, TimeLine};

/// How much of a queue's ready jobs is held in memory, for jobs with and without a group each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLimits {
    pub jobs_max: usize,
    pub bytes_max: usize,
    /// A run that lasts this long gets its start written.
    pub mark_after: Duration,
}

/// A worker's limits.
#[derive(Clone, Debug)]
pub(crate) struct LaneSettings {
    pub kinds: IdSet<KindId>,
    pub concurrency: usize,
    pub rate: Option<Rate>,
    pub group_rate: Option<Rate>,
}

#[derive(Debug)]
pub(crate) enum Pick {
    Start(Arc<Entry>),
    Expired(Arc<Entry>),
    /// The next job needs a thread, and none is free.
    NoThread,
    Nothing,
}

/// One queue: its ready jobs, and what keeps them from starting.
#[derive(Debug)]
pub(crate) struct Lane {
    pub settings: Option<LaneSettings>,
    /// Kinds whose handlers need a thread.
    pub blocking: IdSet<KindId>,
    pub paused: bool,
    /// Ready jobs without a group.
    plain: Window<Arc<Entry>>,
    /// Ready heads of groups.
    heads: Window<Arc<Entry>>,
    /// After a job without a group it is a head's turn, and the other way round.
    heads_turn: bool,
    /// Heads whose group's bucket is closed.
    parked: Parked,
    /// Jobs that ran when the process died.
    suspects: VecDeque<Arc<Entry>>,
    /// The queue's own bucket is closed until then.
    closed_until: Option<Duration>,
    /// When something is due on either time line; never later than the truth.
    due: [Option<Due>; 2],
    /// A promotion is under way.
    promoting: bool,
    /// A time was noted at which something happens by itself.
    new_timer: bool,
    limits: WindowLimits,
}

#[derive(Debug, Default)]
struct Parked {
    heads: HashMap<Arc<str>, Arc<Entry>>,
    wakes: BTreeSet<(Duration, Arc<str>)>,
    /// More heads than may be parked were passed over; look at them again then.
    again: Option<Duration>,
}

impl Lane {
    pub fn new(limits: WindowLimits) -> Self {
        Self {
            settings: None,
            blocking: IdSet::default(),
            paused: false,
            plain: Window::new(limits),
            heads: Window::new(limits),
            heads_turn: false,
            parked: Parked::default(),
            suspects: VecDeque::new(),
            closed_until: None,
            due: [None; 2],
            promoting: false,
            new_timer: false,
            limits,
        }
    }

    pub fn is_open(&self) -> bool {
        self.settings.is_some() && !self.paused
    }

    pub fn may_have_work(&self) -> bool {
        self.is_open() && !(self.plain.is_idle() && self.heads.is_idle() && self.suspects.is_empty())
    }

    // --- rows ---------------------------------------------------------------------------------

    fn window(&mut self, grouped: bool) -> &mut Window<Arc<Entry>> {
        if grouped { &mut self.heads } else { &mut self.plain }
    }

    pub fn arrive(&mut self, entry: Arc<Entry>, taken: bool) {
        let unmanned = self.settings.is_none();
        let held = self.is_held(&entry);
        let window = self.window(entry.is_grouped());
        if unmanned {
            // Nobody would take it: the table keeps it, memory need not.
            window.restart();
        } else {
            window.arrive(entry, taken || held);
        }
    }

    pub fn gone(&mut self, grouped: bool, order: Order, id: JobId) {
        self.window(grouped).gone(order, id);
        self.suspects.retain(|entry| entry.id != id);
        if grouped {
            self.parked.remove(id);
        }
    }

    /// A job that was handed out is not in the table any more.
    pub fn settled(&mut self, grouped: bool, id: JobId) {
        self.window(grouped).settled(id);
    }

    pub fn put_back(&mut self, entry: Arc<Entry>) {
        self.window(entry.is_grouped()).put_back(entry);
    }

    pub fn wants_refills(&mut self, queue: QueueId, into: &mut Vec<Refill>) {
        let limits = self.limits;
        for grouped in [false, true] {
            if let Some(refill) = self.window(grouped).wants_refill(limits) {
                into.push(Refill { queue, grouped, ..refill });
            }
        }
    }

    pub fn refilled(&mut self, refill: Refill, rows: Vec<Arc<Entry>>, end: bool, flights: &Flights) {
        let parked = std::mem::take(&mut self.parked);
        let suspects = std::mem::take(&mut self.suspects);
        self.window(refill.grouped).refilled(rows, end, |row| {
            flights.contains(row.id) || parked.holds(row) || suspects.iter().any(|entry| entry.id == row.id)
        });
        (self.parked, self.suspects) = (parked, suspects);
    }

    /// A page could not be read: it is asked for again at the next look.
    pub fn page_failed(&mut self, grouped: bool) {
        self.window(grouped).page_failed();
    }

    /// Accounts for the tables anew.
    pub fn restart(&mut self) {
        self.plain.restart();
        self.heads.restart();
        self.parked = Parked::default();
    }

    fn is_held(&self, entry: &Arc<Entry>) -> bool {
        self.parked.holds(entry) || self.suspects.iter().any(|suspect| suspect.id == entry.id)
    }

    // --- suspects -----------------------------------------------------------------------------

    pub fn add_suspect(&mut self, entry: Arc<Entry>) {
        self.suspects.push_back(entry);
    }

    pub fn drop_suspects(&mut self, gone: &[JobId]) {
        self.suspects.retain(|entry| !gone.contains(&entry.id));
    }

    pub fn suspects(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.suspects.iter().cloned()
    }

    pub fn is_suspected(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whether a suspect of this queue could start beside so many others of it. One that waits for a
    /// slot, or for its queue's or its group's rate, must not hold up other queues.
    pub fn could_start_suspect(
        &self,
        queue: QueueId,
        running: usize,
        thread_is_free: bool,
        now: Now,
        buckets: &Buckets,
    ) -> bool {
        let Some(settings) = &self.settings else { return false };
        let could_start = |entry: &Arc<Entry>| {
            settings.kinds.contains(&entry.kind())
                && (thread_is_free || !self.blocking.contains(&entry.kind()))
                && group_wait(queue, entry, now, buckets).is_none()
        };
        let is_open = || buckets.wait(&BucketKey { queue, group: None }, now).is_none();
        !self.paused && running < settings.concurrency && self.suspects.iter().any(could_start) && is_open()
    }

    /// Whether a suspect of this queue has a handler.
    pub fn has_suspect(&self) -> bool {
        let kinds = self.settings.as_ref().map(|settings| &settings.kinds);
        !self.paused && self.suspects.iter().any(|entry| kinds.is_some_and(|kinds| kinds.contains(&entry.kind())))
    }

    /// The first suspect that nothing of its own holds back.
    fn take_suspect(
        &mut self,
        queue: QueueId,
        now: Now,
        buckets: &Buckets,
        withdrawn: &Withdrawn,
    ) -> Option<Arc<Entry>> {
        let kinds = &self.settings.as_ref()?.kinds;
        let is_free = |entry: &Arc<Entry>| {
            kinds.contains(&entry.kind())
                && !withdrawn.contains_key(&entry.id)
                && group_wait(queue, entry, now, buckets).is_none()
        };
        let at = self.suspects.iter().position(is_free)?;
        self.suspects.remove(at)
    }

    /// How long until its queue's and its group's rates let a suspect start, if that is what it waits for.
    pub fn suspects_wait(&self, queue: QueueId, now: Now, buckets: &Buckets) -> Option<Duration> {
        let own = buckets.wait(&BucketKey { queue, group: None }, now);
        self.suspects.iter().filter_map(|entry| group_wait(queue, entry, now, buckets).max(own)).min()
    }

    // --- delayed jobs -------------------------------------------------------------------------

    /// Something is due then. True if nothing was due earlier.
    pub fn due_at(&mut self, due: Due) -> bool {
        let slot = &mut self.due[due.line as usize];
        let first = slot.is_none_or(|earlier| due < earlier);
        if first {
            *slot = Some(due);
        }
        first
    }

    /// There are delayed jobs, nobody has looked when they are due.
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

    /// Whether due jobs are to be made ready now. Says so once per promotion.
    pub fn promotion_due(&mut self, now: Now) -> bool {
        let due = self.due.iter().flatten().any(|due| due.is_due(now));
        let begin = due && !self.promoting;
        self.promoting |= begin;
        begin
    }

    // --- choosing -----------------------------------------------------------------------------

    pub fn pick(
        &mut self,
        queue: QueueId,
        running: usize,
        (suspects_only, thread_is_free): (bool, bool),
        now: Now,
        buckets: &mut Buckets,
        (withdrawn, reserve): (&mut Withdrawn, &mut Vec<Reservation>),
    ) -> Pick {
        let closed_before = self.closed_until.take().filter(|until| *until > now.mono);
        let key = BucketKey { queue, group: None };
        loop {
            let Some(settings) = &self.settings else { return Pick::Nothing };
            let rows = if suspects_only { self.has_suspect() } else { self.has_rows() };
            if self.paused || running >= settings.concurrency || !rows {
                return Pick::Nothing;
            }
            match buckets.gate(&key, now) {
                Gate::Open => {}
                Gate::Reserving => return Pick::Nothing,
                Gate::Reserve(reservation) => {
                    reserve.push(reservation);
                    return Pick::Nothing;
                }
                Gate::Wait(wait) => {
                    // While a suspect waits, every look asks again: who is told each time would never sleep.
                    let until = now.mono.saturating_add(wait);
                    self.new_timer |= closed_before.is_none_or(|before| until < before);
                    self.closed_until = Some(closed_before.map_or(until, |before| until.min(before)));
                    return Pick::Nothing;
                }
            }
            let heads_turn = self.heads_turn;
            let entry = match suspects_only {
                false => self.pop(),
                true => match self.take_suspect(queue, now, buckets, withdrawn) {
                    Some(suspect) => suspect,
                    None => return Pick::Nothing,
                },
            };
            if let Some(held) = withdrawn.get_mut(&entry.id) {
                *held = Some((queue, entry));
                continue;
            }
            if !self.settings.as_ref().is_some_and(|settings| settings.kinds.contains(&entry.kind())) {
                // Passed over: the table keeps it, and a new worker looks at the table anew.
                continue;
            }
            if entry.record.has_expired(now) {
                return Pick::Expired(entry);
            }
            let group_key = entry.group().map(|group| BucketKey { queue, group: Some(group.clone()) });
            if let Some(group_key) = &group_key {
                match buckets.gate(group_key, now) {
                    Gate::Open => {}
                    // A suspect stays one until it has been tried.
                    closed if suspects_only => {
                        if let Gate::Reserve(reservation) = closed {
                            reserve.push(reservation);
                        }
                        self.suspects.push_front(entry);
                        return Pick::Nothing;
                    }
                    closed => {
                        self.park(entry, closed, now, reserve);
                        continue;
                    }
                }
            }
            if !thread_is_free && self.blocking.contains(&entry.kind()) {
                if suspects_only {
                    self.suspects.push_front(entry);
                } else {
                    self.put_back(entry);
                    self.heads_turn = heads_turn;
                }
                return Pick::NoThread;
            }
            group_key.iter().for_each(|group_key| buckets.spend(group_key));
            buckets.spend(&key);
            return Pick::Start(entry);
        }
    }

    /// Whether the next row is known. While a window has run empty and the table may have more, a row
    /// of the other kind must not go first: the page may bring a more urgent one.
    fn has_rows(&self) -> bool {
        let rows = self.plain.first().is_some() || self.heads.first().is_some();
        rows && !self.plain.is_in_the_dark() && !self.heads.is_in_the_dark()
    }

    /// The next row: the more urgent one; of equals, a head after a plain job and the reverse.
    fn pop(&mut self) -> Arc<Entry> {
        let plain = self.plain.first().map(|entry| entry.order.priority);
        let head = self.heads.first().map(|entry| entry.order.priority);
        let from_heads = match (plain, head) {
            (None, _) => true,
            (_, None) => false,
            (Some(plain), Some(head)) if plain == head => self.heads_turn,
            (Some(plain), Some(head)) => head < plain,
        };
        self.heads_turn = !from_heads;
        self.window(from_heads).pop().expect("the caller has seen a row")
    }

    fn park(&mut self, entry: Arc<Entry>, closed: Gate, now: Now, reserve: &mut Vec<Reservation>) {
        self.new_timer = true;
        let until = match closed {
            Gate::Wait(wait) => Some(now.mono.saturating_add(wait)),
            Gate::Reserve(reservation) => {
                reserve.push(reservation);
                None
            }
            Gate::Open | Gate::Reserving => None,
        };
        if let Some(at) = until
            && self.parked.heads.len() >= self.limits.jobs_max
        {
            self.parked.again = Some(self.parked.again.map_or(at, |again| again.min(at)));
            return;
        }
        let group = entry.group().expect("only heads are parked").clone();
        if let Some(at) = until {
            self.parked.wakes.insert((at, group.clone()));
        }
        self.parked.heads.insert(group, entry);
    }

    pub fn unpark_group(&mut self, group: &Arc<str>) {
        if let Some(entry) = self.parked.heads.remove(group) {
            self.parked.wakes.retain(|(_, parked)| parked != group);
            self.heads.put_back(entry);
        }
    }

    /// Lets heads back in whose bucket may be open. True if there is something to look at.
    pub fn wake_parked(&mut self, now: Now) -> bool {
        let mut woken = false;
        while let Some((at, group)) = self.parked.wakes.first().cloned() {
            if at > now.mono {
                break;
            }
            self.parked.wakes.pop_first();
            if let Some(entry) = self.parked.heads.remove(&group) {
                self.heads.put_back(entry);
            }
            woken = true;
        }
        if self.parked.again.is_some_and(|again| again <= now.mono) {
            self.heads.restart();
            self.parked = Parked::default();
            woken = true;
        }
        if self.closed_until.is_some_and(|until| until <= now.mono) {
            self.closed_until = None;
            woken = true;
        }
        woken
    }

    /// Whether a time was noted since the last call.
    pub fn has_new_timer(&mut self) -> bool {
        std::mem::take(&mut self.new_timer)
    }

    /// A page is being read, a promotion is under way or due.
    pub fn is_busy(&self, now: Now) -> bool {
        let due = self.due.iter().flatten().any(|due| due.is_due(now));
        self.promoting || due || self.plain.is_reading() || self.heads.is_reading()
    }

    /// How long until something here happens by itself.
    pub fn next_event(&self, now: Now) -> Option<Duration> {
        let due = self.due.iter().flatten().filter(|_| !self.promoting).map(|due| due.wait(now)).min();
        let parked = self.parked.wakes.first().map(|(at, _)| *at);
        let times = [self.closed_until, parked, self.parked.again].into_iter().flatten();
        times.map(|at| at.saturating_sub(now.mono)).chain(due).min()
    }
}

/// How long the rate of this job's group lets nothing start, if it does not now.
fn group_wait(queue: QueueId, entry: &Arc<Entry>, now: Now, buckets: &Buckets) -> Option<Duration> {
    let group = entry.group()?.clone();
    buckets.wait(&BucketKey { queue, group: Some(group) }, now)
}

impl Parked {
    fn holds(&self, row: &Arc<Entry>) -> bool {
        let head = row.group().and_then(|group| self.heads.get(group));
        head.is_some_and(|head| head.id == row.id)
    }

    fn remove(&mut self, id: JobId) {
        let group = self.heads.iter().find(|(_, entry)| entry.id == id).map(|(group, _)| group.clone());
        if let Some(group) = group {
            self.heads.remove(&group);
            self.wakes.retain(|(_, parked)| *parked != group);
        }
    }
}
