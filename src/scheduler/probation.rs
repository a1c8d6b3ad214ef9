//! Limits which jobs start after a crash, and when, so that a job that kills the process is found.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::job::{IdMap, IdSet, JobId, KindId, QueueId, ReadyJob, Suspect, Trial};
use crate::time::Now;

/// How long after a crash jobs that are not suspects start one at a time, each only once its start mark is durable. If a
/// job without a mark kills the process at its start, it is then the last job that started.
const ONE_AT_A_TIME: Duration = Duration::from_secs(1);

/// How many starts after a crash are made durable before their handlers run, at the least. There must be as many as jobs
/// could have been running. With a small limit that is too few: if that many other jobs start first in each process, a
/// job that kills the process at its start has no mark at any of its deaths, and is never found.
const CAREFUL_STARTS_MIN: usize = 256;

/// During that time the next job starts when the previous one has ended or has run for this long. A job that runs for
/// longer has a mark after any crash.
const NEXT_AFTER: Duration = Duration::from_millis(20);

/// The same after a job that was running at an earlier crash.
const NEXT_AFTER_SUSPECT: Duration = Duration::from_millis(250);

/// The time within which all suspects start. It is divided among them.
const ALL_TRIED_AFTER: Duration = Duration::from_secs(5);

/// The longest that one suspect delays the next.
const STEP_MAX: Duration = Duration::from_secs(1);

/// How long a suspect that can lose its last attempt runs with no other job beside it. All other jobs wait meanwhile:
/// together with [`IDLE_WAIT_MAX`] this is the longest that a crash delays a job that did not cause it.
const ALONE: Duration = Duration::from_secs(1);

/// How long such a suspect waits for running jobs to end, before it starts beside them.
const IDLE_WAIT_MAX: Duration = Duration::from_millis(500);

/// A job that was running at this many crashes can be blamed for the next one even if it did not run alone: while it runs,
/// the start mark of each other job is made durable before that job starts.
const WATCHED_FROM: u32 = 2;

/// How long after such a job's own start this applies. It is the longest time for which half of the suspects can be held
/// back. A job that runs for days must not make each start beside it wait for the disk. A job of which a mark was found
/// at a crash always starts with a durable mark.
const WATCHED_FOR: Duration = Duration::from_secs(20 * 60);

/// A suspect, and its rank in the order of suspicion.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    suspect: Suspect,
    rank: u32,
}

/// Suspects that wait, in the order of suspicion, by queue.
type Waiting = BTreeMap<QueueId, BTreeMap<u32, Ranked>>;

/// Whether a suspect, or any job of a queue, may start.
pub(crate) enum MayStart {
    Now,
    /// The rate of its queue or group lets it start after this time.
    After(Duration),
    /// It waits for something else: a worker, a slot, an operator.
    No,
}

/// The rules for the time after a crash. The jobs that were running when the process died are suspects, and start one
/// after another in the order of suspicion; all other jobs start beside them. Only a suspect whose next attempt is its
/// last one runs alone, because only such a job is lost if it is blamed.
#[derive(Debug, Default)]
pub(crate) struct Probation {
    /// How many more starts of other jobs must be durable before their handlers run.
    careful: usize,
    /// Until then the starts of other jobs must be durable first, however many they are, and the careful ones are made one
    /// at a time. Set by the first of these starts. Without it, a job that kills the process at its start would never be
    /// known if more jobs than slots start before it each time.
    careful_until: Option<Duration>,
    /// The last of those starts, and when the next may follow if that job has not ended by then.
    last_start: Option<(JobId, Duration)>,

    /// Waiting suspects that a worker handles.
    waiting: Waiting,
    /// Waiting suspects whose queue is paused or has no worker for their kind. They are not checked until that changes.
    unattended: Waiting,
    /// The queue and the rank of each waiting suspect.
    ranks: IdMap<(QueueId, u32)>,
    /// Suspects that were started and have not ended.
    running: IdMap<Ranked>,
    /// How long after the start of a suspect the next one starts.
    step: Duration,
    next_step: Duration,
    /// The suspect that started last.
    last_suspect: Option<JobId>,
    /// When suspects were first checked.
    first_check: Option<Duration>,
    /// How long the held back suspects wait after the others were due to start.
    hold: Duration,
    /// Suspects that are not held back and have not ended.
    not_held: IdSet,
    /// How many suspects were not held back when the probation began.
    not_held_first: u32,
    /// The suspect that runs with no other job beside it, and until when.
    exclusive: Option<(JobId, Duration)>,
    /// Until when nothing starts, so that running jobs can end before the first suspect starts.
    idle_wait_ends_at: Option<Duration>,
    /// After this time no suspect runs alone.
    exclusive_ends_at: Option<Duration>,

    /// The job whose start mark says that no other job has run beside it.
    alone: Option<JobId>,
    /// Running jobs that were running at several crashes, and until when each start beside them is made durable first.
    watched: IdMap<Duration>,

    /// A suspect that could not start at the last check may be able to start now.
    must_check: bool,
    check_at: Option<Duration>,
    /// How many waiting suspects were checked, for tests.
    checks: Cell<u64>,
}

fn insert(waiting: &mut Waiting, ranked: Ranked) {
    waiting.entry(ranked.suspect.queue).or_default().insert(ranked.rank, ranked);
}

fn remove(waiting: &mut Waiting, queue: QueueId, rank: u32) -> Option<Ranked> {
    let of_queue = waiting.get_mut(&queue)?;
    let ranked = of_queue.remove(&rank);
    if of_queue.is_empty() {
        waiting.remove(&queue);
    }
    ranked
}

/// How many starts after a crash are made durable before their handlers run, if so many jobs can run at a time.
pub(crate) fn careful_starts(running_max: usize) -> usize {
    running_max.max(CAREFUL_STARTS_MIN)
}

impl Probation {
    pub fn begin(&mut self, careful: usize, trial: Trial) {
        let Trial { suspects, hold } = trial;
        let count = u32::try_from(suspects.len()).unwrap_or(u32::MAX);
        *self = Self { careful, hold, must_check: true, ..Self::default() };
        self.step = (ALL_TRIED_AFTER / count.max(1)).min(STEP_MAX);
        for (rank, suspect) in (0..).zip(suspects) {
            if !suspect.is_held_back {
                self.not_held.insert(suspect.job.id);
            }
            self.ranks.insert(suspect.job.id, (suspect.queue, rank));
            insert(&mut self.unattended, Ranked { suspect, rank });
        }
        self.not_held_first = u32::try_from(self.not_held.len()).unwrap_or(u32::MAX);
    }

    /// Whether any of these rules apply now. A start without a crash before it calls only this.
    pub fn is_active(&self) -> bool {
        let has_suspects = !self.waiting.is_empty() || !self.running.is_empty() || !self.watched.is_empty();
        self.careful > 0 || self.careful_until.is_some() || has_suspects || self.alone.is_some()
    }

    /// Whether a suspect waits that a worker handles.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn note_check(&self) {
        if cfg!(test) {
            self.checks.set(self.checks.get() + 1);
        }
    }

    // --- suspects that wait -------------------------------------------------------------------

    pub fn holds(&self, id: JobId) -> bool {
        self.ranks.contains_key(&id)
    }

    pub fn suspects(&self) -> impl Iterator<Item = (QueueId, &Arc<ReadyJob>)> {
        let all = self.waiting.values().chain(self.unattended.values()).flat_map(BTreeMap::values);
        all.map(|waiting| (waiting.suspect.queue, &waiting.suspect.job))
    }

    /// Sorts the suspects of a queue that was opened, closed, paused or resumed. `handles` says which kinds its worker handles
    /// now.
    pub fn attend(&mut self, queue: QueueId, handles: impl Fn(KindId) -> bool) {
        let both = [self.waiting.remove(&queue), self.unattended.remove(&queue)];
        for ranked in both.into_iter().flatten().flat_map(BTreeMap::into_values) {
            let is_handled = handles(ranked.suspect.job.kind());
            self.must_check |= is_handled;
            insert(if is_handled { &mut self.waiting } else { &mut self.unattended }, ranked);
        }
    }

    /// Suspects of this queue that wait only for their position in the order.
    pub fn next_in(&self, queue: QueueId) -> impl Iterator<Item = &Arc<ReadyJob>> {
        let of_queue = self.waiting.get(&queue).into_iter().flat_map(BTreeMap::values);
        let next = of_queue.inspect(|_| self.note_check()).filter(|waiting| !self.is_held(waiting));
        next.map(|waiting| &waiting.suspect.job)
    }

    /// Removes a suspect that was cancelled, changed or put off.
    pub fn gone(&mut self, id: JobId) {
        if self.take_out(id).is_some() {
            self.remove_not_held(id);
        }
    }

    fn take_out(&mut self, id: JobId) -> Option<Ranked> {
        let (queue, rank) = self.ranks.remove(&id)?;
        remove(&mut self.waiting, queue, rank).or_else(|| remove(&mut self.unattended, queue, rank))
    }

    /// A suspect that could not start at the last check may be able to start now.
    pub fn check_again(&mut self) {
        self.must_check = true;
    }

    /// Something has changed that may let a suspect of this queue start.
    pub fn wake(&mut self, queue: QueueId) {
        self.must_check |= !self.waiting.is_empty() && self.waiting.contains_key(&queue);
    }

    /// Whether the waiting suspects must be checked now.
    pub fn is_check_due(&self, now: Now) -> bool {
        !self.waiting.is_empty() && (self.must_check || self.check_at.is_some_and(|at| at <= now.mono))
    }

    fn is_held(&self, waiting: &Ranked) -> bool {
        waiting.suspect.is_held_back && !self.not_held.is_empty()
    }

    fn held_until(&self) -> Duration {
        let tried = self.step.saturating_mul(self.not_held_first);
        self.first_check.unwrap_or_default().saturating_add(tried).saturating_add(self.hold)
    }

    fn remove_not_held(&mut self, id: JobId) {
        if self.not_held.remove(&id) && self.not_held.is_empty() {
            self.must_check = true;
        }
    }

    /// The next suspect to start now, if there is one. `may_start` and `may_start_in` say whether anything else prevents a
    /// suspect, or all jobs of a queue, from starting; `is_idle` says that no job is running.
    pub fn next(
        &mut self,
        now: Now,
        is_idle: bool,
        may_start_in: impl Fn(QueueId) -> MayStart,
        may_start: impl Fn(&Suspect) -> MayStart,
    ) -> Option<(QueueId, Arc<ReadyJob>)> {
        self.must_check = false;
        self.check_at = None;
        self.first_check.get_or_insert(now.mono);
        if let Some((_, until)) = self.exclusive.filter(|(_, until)| now.mono < *until) {
            self.check_at = Some(until);
            return None;
        }
        let idle_wait_end = self.idle_wait_ends_at.take();
        let mut check_at: Option<Duration> = None;
        let mut later = |at: Duration| check_at = Some(check_at.map_or(at, |before| before.min(at)));
        let mut chosen = None;
        let mut queues = Vec::new();
        for (&queue, of_queue) in &self.waiting {
            match may_start_in(queue) {
                MayStart::Now => queues.push(of_queue.values().peekable()),
                MayStart::After(wait) => later(now.mono.saturating_add(wait)),
                MayStart::No => {}
            }
        }
        // By rank, over all of these queues.
        let mut in_order = std::iter::from_fn(|| {
            let ranks = queues.iter_mut().enumerate();
            let (_, at) = ranks.filter_map(|(at, queue)| queue.peek().map(|ranked| (ranked.rank, at))).min()?;
            queues[at].next()
        });
        for waiting in &mut in_order {
            self.note_check();
            if self.is_held(waiting) && now.mono < self.held_until() {
                later(self.held_until());
                continue;
            }
            match may_start(&waiting.suspect) {
                MayStart::No => continue,
                MayStart::After(wait) => {
                    later(now.mono.saturating_add(wait));
                    continue;
                }
                MayStart::Now => {}
            }
            let may_be_alone =
                waiting.suspect.is_last_attempt && self.exclusive_ends_at.is_none_or(|end| now.mono < end);
            let is_first = self.exclusive_ends_at.is_none() || idle_wait_end.is_some();
            if may_be_alone && is_first && !is_idle {
                let until = idle_wait_end.unwrap_or_else(|| now.mono.saturating_add(IDLE_WAIT_MAX));
                if now.mono < until {
                    later(until);
                    self.idle_wait_ends_at = Some(until);
                    self.exclusive_ends_at.get_or_insert(until.saturating_add(ALONE));
                    break;
                }
            }
            let is_exclusive = may_be_alone && is_idle;
            if !is_exclusive && now.mono < self.next_step {
                later(self.next_step);
                break;
            }
            chosen = Some((waiting.suspect.queue, waiting.suspect.job.clone(), is_exclusive));
            break;
        }
        self.check_at = check_at;
        let (queue, job, is_exclusive) = chosen?;
        if is_exclusive {
            let most = now.mono.saturating_add(IDLE_WAIT_MAX + ALONE);
            let end = *self.exclusive_ends_at.get_or_insert(most);
            self.exclusive = Some((job.id, now.mono.saturating_add(ALONE).min(end)));
        }
        Some((queue, job))
    }

    /// The chosen suspect cannot start: the token for it is not reserved yet.
    pub fn not_now(&mut self, id: JobId) {
        self.exclusive.take_if(|(exclusive, _)| *exclusive == id);
    }

    /// The chosen suspect is handed out.
    pub fn tried(&mut self, id: JobId, now: Now) {
        let waiting = self.take_out(id);
        self.running.extend(waiting.map(|waiting| (id, waiting)));
        self.last_suspect = Some(id);
        self.next_step = now.mono.saturating_add(self.step);
        self.must_check = true;
    }

    /// Removes a suspect that was handed out and did not start from the running ones.
    pub fn take_back(&mut self, id: JobId) -> Option<Ranked> {
        self.running.remove(&id)
    }

    /// Adds what [`Self::take_back`] returned to the waiting suspects. `is_handled` says whether a worker handles it.
    pub fn wait_again(&mut self, waiting: Ranked, is_handled: bool) {
        let Ranked { suspect, rank } = &waiting;
        if !suspect.is_held_back {
            self.not_held.insert(suspect.job.id);
        }
        self.ranks.insert(suspect.job.id, (suspect.queue, *rank));
        insert(if is_handled { &mut self.waiting } else { &mut self.unattended }, waiting);
        self.must_check = true;
    }

    // --- other jobs ---------------------------------------------------------------------------

    /// How long jobs that are not suspects must wait, if they must.
    pub fn holds_others(&self, now: Now) -> Option<Duration> {
        let exclusive = self.exclusive.map(|(_, until)| until);
        let next = self.last_start.filter(|_| self.is_one_at_a_time(now)).map(|(_, at)| at);
        let until = [exclusive, self.idle_wait_ends_at, next].into_iter().flatten().max()?;
        until.checked_sub(now.mono).filter(|wait| !wait.is_zero())
    }

    fn is_one_at_a_time(&self, now: Now) -> bool {
        self.careful > 0 && self.careful_until.is_none_or(|until| now.mono < until)
    }

    /// How long until this suspect may start, as far as that depends on other jobs.
    pub fn wait_of(&self, id: JobId, now: Now) -> Option<Duration> {
        let (queue, rank) = self.ranks.get(&id)?;
        let of_queue = self.waiting.get(queue).and_then(|of_queue| of_queue.get(rank));
        let waiting = of_queue.or_else(|| self.unattended.get(queue)?.get(rank))?;
        let held = if self.is_held(waiting) { self.held_until() } else { Duration::ZERO };
        let exclusive = self.exclusive.map(|(_, until)| until);
        let until = [exclusive, self.idle_wait_ends_at, Some(self.next_step.max(held))].into_iter().flatten().max()?;
        Some(until.saturating_sub(now.mono))
    }

    // --- starts and ends ----------------------------------------------------------------------

    /// Notes that a job is handed out; `is_idle` says that no other job is running. Returns whether its start must be durable
    /// before it runs, and whether its start mark says that it runs alone.
    pub fn started(&mut self, job: &ReadyJob, is_tried: bool, is_idle: bool, now: Now) -> (bool, bool) {
        let id = job.id;
        self.watched.retain(|_, until| now.mono < *until);
        if self.careful == 0 {
            self.careful_until.take_if(|until| *until <= now.mono);
        }
        let is_early = self.careful > 0 || self.careful_until.is_some();
        let is_careful = is_early || self.alone.is_some() || !self.watched.is_empty() || job.is_suspect();
        if !is_tried && self.careful > 0 {
            self.careful_until.get_or_insert(now.mono.saturating_add(ONE_AT_A_TIME));
            let next_after = if job.is_suspect() { NEXT_AFTER_SUSPECT } else { NEXT_AFTER };
            self.last_start = Some((id, now.mono.saturating_add(next_after)));
            self.careful -= 1;
        }
        if job.record.crashes() >= WATCHED_FROM {
            self.watched.insert(id, now.mono.saturating_add(WATCHED_FOR));
        }
        let is_alone = job.is_suspect() && is_idle;
        if is_alone {
            self.alone = Some(id);
        }
        (is_careful, is_alone)
    }

    /// Notes that the start of this job is being made durable. Returns the job that therefore no longer runs alone.
    pub fn marked(&mut self, id: JobId) -> Option<JobId> {
        self.alone.take_if(|alone| *alone != id)
    }

    /// It is not known any more what the start marks in the file say: no job counts as alone.
    pub fn marks_are_lost(&mut self) {
        self.alone = None;
    }

    /// Notes that the end of a job is durable, or that it was handed out and did not start.
    pub fn ended(&mut self, id: JobId) {
        self.remove_not_held(id);
        self.running.remove(&id);
        self.watched.remove(&id);
        self.alone.take_if(|alone| *alone == id);
        self.last_start.take_if(|(last, _)| *last == id);
        self.exclusive.take_if(|(alone, _)| *alone == id);
        if self.last_suspect.take_if(|last| *last == id).is_some() {
            self.next_step = Duration::ZERO;
        }
        // No job may be running now.
        self.must_check = true;
    }

    pub fn next_event(&self, now: Now) -> Option<Duration> {
        let check_at = self.check_at.filter(|_| !self.waiting.is_empty());
        let suspects = check_at.and_then(|at| at.checked_sub(now.mono)).filter(|wait| !wait.is_zero());
        [suspects, self.holds_others(now)].into_iter().flatten().min()
    }
}

#[cfg(test)]
impl Probation {
    /// How many waiting suspects were checked.
    pub fn checks(&self) -> u64 {
        self.checks.get()
    }
}
