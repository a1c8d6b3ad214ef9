//! What the scheduler holds of one queue, and its limits.

use std::sync::Arc;
use std::time::Duration;

use super::Withdrawn;
use super::bucket::{Buckets, Gate, Reservation, is_exact};
use super::parked::Parked;
use super::window::Window;
use crate::job::{IdSet, JobId, KindId, Order, QueueId, Rate, ReadyJob, Refill};
use crate::time::{Due, Now, TimeLine};

/// How much of a queue's ready jobs is held in memory, for jobs with and without a group each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLimits {
    pub jobs_max: usize,
    pub bytes_max: usize,
    /// A run that lasts this long gets its start written.
    pub mark_after: Duration,
}

/// Kinds without a handler that are remembered for each queue: those are for a warning only.
const PASSED_OVER_KINDS_MAX: usize = 64;

/// A worker's limits.
#[derive(Clone, Debug)]
pub(crate) struct WorkerLimits {
    pub kinds: IdSet<KindId>,
    /// Those of them whose handlers need a thread.
    pub blocking: IdSet<KindId>,
    pub concurrency: usize,
    pub rate: Option<Rate>,
    pub group_rate: Option<Rate>,
}

#[derive(Debug)]
pub(crate) enum Pick {
    Start {
        job: Arc<ReadyJob>,
        /// Its handler needs a thread.
        blocking: bool,
    },
    Expired(Arc<ReadyJob>),
    /// The next job needs a thread, and none is free.
    NoThread,
    Nothing,
}

/// One queue: its ready jobs, and what keeps them from starting.
#[derive(Debug)]
pub(crate) struct QueueState {
    pub settings: Option<WorkerLimits>,
    pub paused: bool,
    /// Ready jobs without a group.
    plain: Window<Arc<ReadyJob>>,
    /// Ready heads of groups.
    heads: Window<Arc<ReadyJob>>,
    /// After a job without a group it is a head's turn, and the other way round.
    heads_turn: bool,
    /// Heads whose group's bucket is closed.
    parked: Parked,
    /// Heads that have started since the window of heads began to be filled from the start of its table.
    heads_started: usize,
    /// The queue's own bucket is closed until then.
    closed_until: Option<Duration>,
    /// When something is due on either time line; never later than the truth.
    due: [Option<Due>; 2],
    /// A promotion is under way.
    promoting: bool,
    /// Kinds of jobs that were passed over, because the worker has no handler for them.
    passed_over: IdSet<KindId>,
    limits: WindowLimits,
}

impl QueueState {
    pub fn new(limits: WindowLimits) -> Self {
        Self {
            settings: None,
            paused: false,
            plain: Window::new(limits),
            heads: Window::new(limits),
            heads_turn: false,
            parked: Parked::new(limits),
            heads_started: 0,
            closed_until: None,
            due: [None; 2],
            promoting: false,
            passed_over: IdSet::default(),
            limits,
        }
    }

    pub fn is_open(&self) -> bool {
        self.settings.is_some() && !self.paused
    }

    /// Whether a worker of this queue handles the kind and nobody has paused it.
    pub fn takes(&self, kind: KindId) -> bool {
        !self.paused && self.settings.as_ref().is_some_and(|settings| settings.kinds.contains(&kind))
    }

    pub fn slots(&self) -> usize {
        self.settings.as_ref().map_or(0, |settings| settings.concurrency)
    }

    /// Whether its starts are to be made at their exact time: a rate would fall short otherwise.
    pub fn is_exact(&self) -> bool {
        let rates = self.settings.iter().flat_map(|settings| [settings.rate, settings.group_rate]);
        rates.flatten().any(is_exact)
    }

    // --- rows ---------------------------------------------------------------------------------

    fn window(&mut self, grouped: bool) -> &mut Window<Arc<ReadyJob>> {
        if grouped { &mut self.heads } else { &mut self.plain }
    }

    /// A row was committed. `taken` says that somebody has it already.
    pub fn arrive(&mut self, job: Arc<ReadyJob>, taken: bool) {
        let unmanned = self.settings.is_none();
        let parked = self.parked.holds(job.id);
        let window = self.window(job.is_grouped());
        if unmanned {
            // Nobody would take it: the table keeps it, memory need not.
            window.restart();
        } else {
            window.arrive(job, taken || parked);
        }
    }

    pub fn gone(&mut self, grouped: bool, order: Order, id: JobId) {
        self.window(grouped).gone(order, id);
        if grouped {
            self.parked.remove(id);
        }
    }

    /// A job that was handed out is not in the table any more.
    pub fn settled(&mut self, grouped: bool, id: JobId) {
        self.window(grouped).settled(id);
    }

    pub fn put_back(&mut self, job: Arc<ReadyJob>) {
        self.window(job.is_grouped()).put_back(job);
    }

    pub fn wants_refills(&mut self, queue: QueueId, into: &mut Vec<Refill>) {
        if self.settings.is_none() {
            // Nobody would take what a page shows.
            return;
        }
        let limits = self.limits;
        for grouped in [false, true] {
            if let Some(refill) = self.window(grouped).wants_refill(limits) {
                into.push(Refill { queue, grouped, ..refill });
            }
        }
    }

    /// A page was read. `taken` says which of its rows somebody has.
    pub fn refilled(
        &mut self,
        refill: Refill,
        rows: Vec<Arc<ReadyJob>>,
        end: bool,
        taken: impl Fn(&Arc<ReadyJob>) -> bool,
    ) {
        let Self { plain, heads, parked, .. } = self;
        let window = if refill.grouped { heads } else { plain };
        window.refilled(rows, end, |row| taken(row) || parked.holds(row.id));
    }

    /// A page could not be read: it is asked for again at the next look.
    pub fn page_failed(&mut self, grouped: bool) {
        self.window(grouped).page_failed();
    }

    /// Accounts for the tables anew.
    pub fn restart(&mut self) {
        self.plain.restart();
        self.restart_heads();
    }

    fn restart_heads(&mut self) {
        self.heads.restart();
        self.parked.clear();
        self.heads_started = 0;
    }

    /// Whether the table may be read again for heads that were passed over. Not before the window has come to the
    /// table's end, or has let as many heads start as it may hold: those that stand behind many others that cannot
    /// start would not be reached otherwise.
    fn may_read_again(&self) -> bool {
        self.heads.is_whole() || self.heads_started >= self.limits.jobs_max
    }

    /// Rows in memory, for tests.
    #[cfg(test)]
    pub fn rows_held(&self) -> usize {
        self.plain.len() + self.heads.len()
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

    /// When something is due, unless a promotion is under way already.
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
        buckets: &mut Buckets,
        (withdrawn, reserve): (&mut Withdrawn, &mut Vec<Reservation>),
    ) -> Pick {
        let closed_before = self.closed_until.take().filter(|until| *until > now.mono);
        loop {
            let Some(settings) = &self.settings else { return Pick::Nothing };
            if self.paused || running >= settings.concurrency || !self.has_rows() {
                return Pick::Nothing;
            }
            match buckets.gate(queue, None, now, reserve) {
                Gate::Open => {}
                Gate::Reserving => return Pick::Nothing,
                Gate::Wait(wait) => {
                    // The earlier one if this is asked twice: a dispatcher that is told a new time each time would
                    // never sleep.
                    let until = now.mono.saturating_add(wait);
                    self.closed_until = Some(closed_before.map_or(until, |before| until.min(before)));
                    return Pick::Nothing;
                }
            }
            let heads_turn = self.heads_turn;
            let job = self.pop();
            if let Some(held) = withdrawn.get_mut(&job.id) {
                *held = Some((queue, job));
                continue;
            }
            if !self.settings.as_ref().is_some_and(|settings| settings.kinds.contains(&job.kind())) {
                // Passed over: the table keeps it, and a new worker looks at the table anew.
                if self.passed_over.len() < PASSED_OVER_KINDS_MAX {
                    self.passed_over.insert(job.kind());
                }
                continue;
            }
            if job.record.has_expired(now) {
                return Pick::Expired(job);
            }
            let closed = match job.group().map(|group| buckets.gate(queue, Some(group), now, reserve)) {
                None | Some(Gate::Open) => None,
                Some(Gate::Wait(wait)) => Some(Some(now.mono.saturating_add(wait))),
                Some(Gate::Reserving) => Some(None),
            };
            if let Some(until) = closed {
                match self.parked.park(job, until, now.mono) {
                    Ok(()) => continue,
                    Err(job) => {
                        self.heads.put_back(job);
                        return Pick::Nothing;
                    }
                }
            }
            let blocking = self.blocks(job.kind());
            if blocking && !thread_is_free {
                self.put_back(job);
                self.heads_turn = heads_turn;
                return Pick::NoThread;
            }
            if let Some(group) = job.group() {
                buckets.spend(queue, Some(group));
                self.heads_started += 1;
            }
            buckets.spend(queue, None);
            return Pick::Start { job, blocking };
        }
    }

    /// Kinds of jobs that were passed over since the lane was made, and that its worker still does not handle.
    pub fn passed_over(&self) -> impl Iterator<Item = KindId> {
        let is_handled = |kind: &KindId| self.settings.as_ref().is_none_or(|settings| settings.kinds.contains(kind));
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

    /// Whether the next row is known. While a window has run empty and the table may have more, a row
    /// of the other kind must not go first: the page may bring a more urgent one.
    fn has_rows(&self) -> bool {
        let rows = self.plain.first().is_some() || self.heads.first().is_some();
        rows && !self.plain.is_in_the_dark() && !self.heads.is_in_the_dark()
    }

    /// The next row: the more urgent one; of equals, a head after a plain job and the reverse.
    fn pop(&mut self) -> Arc<ReadyJob> {
        let plain = self.plain.first().map(|job| job.order.priority);
        let head = self.heads.first().map(|job| job.order.priority);
        let from_heads = match (plain, head) {
            (None, _) => true,
            (_, None) => false,
            (Some(plain), Some(head)) if plain == head => self.heads_turn,
            (Some(plain), Some(head)) => head < plain,
        };
        self.heads_turn = !from_heads;
        self.window(from_heads).pop().expect("the caller has seen a row")
    }

    /// A reservation of this group was answered.
    pub fn reservation_answered(&mut self, group: &Arc<str>) {
        if let Some(job) = self.parked.answered(group) {
            self.heads.put_back(job);
        }
    }

    /// This group's bucket may be open earlier than was known.
    pub fn group_opened(&mut self, group: &Arc<str>) {
        if let Some(job) = self.parked.opened(group) {
            self.heads.put_back(job);
        }
    }

    /// How long until this head is read again, if it was passed over because too many others wait for their buckets.
    pub fn read_again_in(&self, id: JobId, order: Order, now: Now) -> Option<Duration> {
        let is_passed_over = self.heads.has_let_go_of(order) && !self.parked.holds(id);
        if is_passed_over { self.parked.read_again_in(now.mono) } else { None }
    }

    /// Lets heads back in whose bucket may be open. True if there is something to look at.
    pub fn wake_parked(&mut self, now: Now) -> bool {
        let mut woken = false;
        while let Some(job) = self.parked.woken(now.mono) {
            self.heads.put_back(job);
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
        woken
    }

    /// When something here happens by itself, on the monotonic clock.
    pub fn next_timer(&self) -> Option<Duration> {
        [self.closed_until, self.parked.next_event(self.may_read_again())].into_iter().flatten().min()
    }

    /// A page is being read, or a promotion is under way.
    pub fn is_working(&self) -> bool {
        self.promoting || self.plain.is_reading() || self.heads.is_reading()
    }
}
