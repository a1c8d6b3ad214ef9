//! Limits which jobs start, and when, after a crash.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::job::{IdMap, IdSet, JobId, KindId, QueueId, ReadyJob, Suspect, Trial};
use crate::time::Now;

/// For so long after a crash jobs that are not suspected are started one at a time, each durable first: a job
/// that kills at its start, of which no mark was found, is then the last one that started.
const ONE_AT_A_TIME: Duration = Duration::from_secs(1);

/// The next of those starts when the one before has ended, or has run for so long. A job that runs for longer
/// has a mark after any crash.
const NEXT_AFTER: Duration = Duration::from_millis(20);

/// The same after one that has been there at a death before.
const NEXT_AFTER_SUSPECT: Duration = Duration::from_millis(250);

/// All suspects have started after so long: this is divided among them.
const ALL_TRIED_AFTER: Duration = Duration::from_secs(5);

/// But no suspect keeps the next one waiting for longer.
const STEP_MAX: Duration = Duration::from_secs(1);

/// A suspect that may lose its last attempt runs with nothing beside it for so long. It keeps everybody else
/// waiting: this is the longest that a crash may hold up a job which had nothing to do with it, together with
/// [`FIELD_CLEAR_AFTER`].
const ALONE: Duration = Duration::from_secs(1);

/// How long such a suspect waits for jobs that run already, before it starts beside them.
const FIELD_CLEAR_AFTER: Duration = Duration::from_millis(500);

/// A job that was there at so many deaths may be held responsible for the next one without having been alone:
/// while it runs, each start beside it is made durable first.
const WATCHED_FROM: u32 = 2;

/// But for no longer than this after its own start, which is as long as half of the suspects may be held back: a job
/// that runs for days must not make each start beside it wait for the disk. A job of which a mark was found at a
/// death is started durably first at any time.
const WATCHED_FOR: Duration = Duration::from_secs(20 * 60);

/// A suspect, and its place in the order of suspicion.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    suspect: Suspect,
    rank: u32,
}

/// Suspects that wait, in the order of suspicion, by queue.
type Waiting = BTreeMap<QueueId, BTreeMap<u32, Ranked>>;

/// What a look for the next suspect has to know of one, or of a queue.
pub(crate) enum MayStart {
    Now,
    /// Its queue's or its group's rate lets it start after so long.
    After(Duration),
    /// It waits for something else: a worker, a slot, an operator.
    No,
}

/// The time after a crash. The jobs that ran when the process died are suspects, and are started one after
/// another in the order of suspicion; everybody else starts beside them. Only a suspect whose next attempt is
/// its last one is tried alone: only such a job can be lost by being blamed.
#[derive(Debug, Default)]
pub(crate) struct Probation {
    /// Starts of others that must still be durable before they run.
    careful: usize,
    /// Until when they are made one at a time, once the first one was made.
    one_at_a_time_until: Option<Duration>,
    /// The last one of those, and when the next may follow if it has not ended by then.
    last_start: Option<(JobId, Duration)>,

    /// Those that a worker takes.
    waiting: Waiting,
    /// Those of queues that are paused or have no worker for their kind: nobody looks at them until that changes.
    unattended: Waiting,
    /// Where each of them is.
    ranks: IdMap<(QueueId, u32)>,
    /// Suspects that were started and have not ended.
    running: IdMap<Ranked>,
    /// How long after the start of a suspect the next one starts.
    step: Duration,
    next_step: Duration,
    /// The suspect that was started last.
    last_suspect: Option<JobId>,
    /// When it was first looked for a suspect to start, and how many are not held back.
    first_look: Option<Duration>,
    hold: Duration,
    /// Those that are not held back, and have not ended.
    in_front: IdSet,
    /// How many those were.
    in_front_first: u32,
    /// The suspect that runs with nothing beside it, and until when.
    exclusive: Option<(JobId, Duration)>,
    /// Until when nothing starts, so that the first suspect finds the field clear.
    field_clears_at: Option<Duration>,
    /// No suspect is given the field for itself after this.
    exclusive_ends_at: Option<Duration>,

    /// The job whose mark says that nothing has run beside it.
    alone: Option<JobId>,
    /// Running jobs that were there at several deaths, and until when each start beside them is made durable first.
    watched: IdMap<Duration>,

    /// A suspect may be startable that was not at the last look.
    look: bool,
    look_at: Option<Duration>,
    /// How many waiting suspects were looked at, for tests.
    walked: Cell<u64>,
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

impl Probation {
    pub fn begin(&mut self, careful: usize, trial: Trial) {
        let Trial { suspects, hold } = trial;
        let count = u32::try_from(suspects.len()).unwrap_or(u32::MAX);
        *self = Self { careful, hold, look: true, ..Self::default() };
        self.step = (ALL_TRIED_AFTER / count.max(1)).min(STEP_MAX);
        for (rank, suspect) in (0..).zip(suspects) {
            if !suspect.is_held_back {
                self.in_front.insert(suspect.job.id);
            }
            self.ranks.insert(suspect.job.id, (suspect.queue, rank));
            insert(&mut self.unattended, Ranked { suspect, rank });
        }
        self.in_front_first = u32::try_from(self.in_front.len()).unwrap_or(u32::MAX);
    }

    /// Whether anything is different from other times. A plain start asks no more than this.
    pub fn is_active(&self) -> bool {
        let has_suspects = !self.waiting.is_empty() || !self.running.is_empty() || !self.watched.is_empty();
        self.careful > 0 || has_suspects || self.alone.is_some()
    }

    fn walked_one(&self) {
        if cfg!(test) {
            self.walked.set(self.walked.get() + 1);
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

    /// A queue was opened, closed, paused or resumed. `takes` says which kinds its worker takes now.
    pub fn attend(&mut self, queue: QueueId, takes: impl Fn(KindId) -> bool) {
        let both = [self.waiting.remove(&queue), self.unattended.remove(&queue)];
        for ranked in both.into_iter().flatten().flat_map(BTreeMap::into_values) {
            let is_taken = takes(ranked.suspect.job.kind());
            self.look |= is_taken;
            insert(if is_taken { &mut self.waiting } else { &mut self.unattended }, ranked);
        }
    }

    /// Suspects of this queue whose turn comes by itself.
    pub fn next_in(&self, queue: QueueId) -> impl Iterator<Item = &Arc<ReadyJob>> {
        let of_queue = self.waiting.get(&queue).into_iter().flat_map(BTreeMap::values);
        let next = of_queue.inspect(|_| self.walked_one()).filter(|waiting| !self.is_held(waiting));
        next.map(|waiting| &waiting.suspect.job)
    }

    /// It is not where it was: cancelled, changed or put off.
    pub fn gone(&mut self, id: JobId) {
        if self.take_out(id).is_some() {
            self.no_longer_in_front(id);
        }
    }

    fn take_out(&mut self, id: JobId) -> Option<Ranked> {
        let (queue, rank) = self.ranks.remove(&id)?;
        remove(&mut self.waiting, queue, rank).or_else(|| remove(&mut self.unattended, queue, rank))
    }

    /// A suspect may be startable that was not at the last look.
    pub fn look(&mut self) {
        self.look = true;
    }

    /// Something has changed that may let a suspect of this queue start.
    pub fn wake(&mut self, queue: QueueId) {
        self.look |= !self.waiting.is_empty() && self.waiting.contains_key(&queue);
    }

    /// Whether it is to be looked for a suspect to start.
    pub fn looks(&self, now: Now) -> bool {
        !self.waiting.is_empty() && (self.look || self.look_at.is_some_and(|at| at <= now.mono))
    }

    fn is_held(&self, waiting: &Ranked) -> bool {
        waiting.suspect.is_held_back && !self.in_front.is_empty()
    }

    fn held_until(&self) -> Duration {
        let tried = self.step.saturating_mul(self.in_front_first);
        self.first_look.unwrap_or_default().saturating_add(tried).saturating_add(self.hold)
    }

    fn no_longer_in_front(&mut self, id: JobId) {
        if self.in_front.remove(&id) && self.in_front.is_empty() {
            self.look = true;
        }
    }

    /// The next suspect to start now, if there is one. `may_start` says what else keeps one from starting, and
    /// `may_start_in` what keeps a whole queue from it; `is_clear` that nothing runs.
    pub fn next(
        &mut self,
        now: Now,
        is_clear: bool,
        may_start_in: impl Fn(QueueId) -> MayStart,
        may_start: impl Fn(&Suspect) -> MayStart,
    ) -> Option<(QueueId, Arc<ReadyJob>)> {
        self.look = false;
        self.look_at = None;
        self.first_look.get_or_insert(now.mono);
        if let Some((_, until)) = self.exclusive.filter(|(_, until)| now.mono < *until) {
            self.look_at = Some(until);
            return None;
        }
        let clears_at = self.field_clears_at.take();
        let mut look_at: Option<Duration> = None;
        let mut later = |at: Duration| look_at = Some(look_at.map_or(at, |before| before.min(at)));
        let mut chosen = None;
        let mut queues = Vec::new();
        for (&queue, of_queue) in &self.waiting {
            match may_start_in(queue) {
                MayStart::Now => queues.push(of_queue.values().peekable()),
                MayStart::After(wait) => later(now.mono.saturating_add(wait)),
                MayStart::No => {}
            }
        }
        // By rank, over all those queues.
        let mut in_order = std::iter::from_fn(|| {
            let ranks = queues.iter_mut().enumerate();
            let (_, at) = ranks.filter_map(|(at, queue)| queue.peek().map(|ranked| (ranked.rank, at))).min()?;
            queues[at].next()
        });
        for waiting in &mut in_order {
            self.walked_one();
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
            let is_first = self.exclusive_ends_at.is_none() || clears_at.is_some();
            if may_be_alone && is_first && !is_clear {
                let until = clears_at.unwrap_or_else(|| now.mono.saturating_add(FIELD_CLEAR_AFTER));
                if now.mono < until {
                    later(until);
                    self.field_clears_at = Some(until);
                    self.exclusive_ends_at.get_or_insert(until.saturating_add(ALONE));
                    break;
                }
            }
            let is_exclusive = may_be_alone && is_clear;
            if !is_exclusive && now.mono < self.next_step {
                later(self.next_step);
                break;
            }
            chosen = Some((waiting.suspect.queue, waiting.suspect.job.clone(), is_exclusive));
            break;
        }
        self.look_at = look_at;
        let (queue, job, is_exclusive) = chosen?;
        if is_exclusive {
            let most = now.mono.saturating_add(FIELD_CLEAR_AFTER + ALONE);
            let end = *self.exclusive_ends_at.get_or_insert(most);
            self.exclusive = Some((job.id, now.mono.saturating_add(ALONE).min(end)));
        }
        Some((queue, job))
    }

    /// The chosen suspect cannot start after all: a token for it is not reserved yet.
    pub fn not_now(&mut self, id: JobId) {
        self.exclusive.take_if(|(exclusive, _)| *exclusive == id);
    }

    /// The chosen suspect is handed out.
    pub fn tried(&mut self, id: JobId, now: Now) {
        let waiting = self.take_out(id);
        self.running.extend(waiting.map(|waiting| (id, waiting)));
        self.last_suspect = Some(id);
        self.next_step = now.mono.saturating_add(self.step);
        self.look = true;
    }

    /// The suspect was handed out, and does not start: it is to wait again.
    pub fn take_back(&mut self, id: JobId) -> Option<Ranked> {
        self.running.remove(&id)
    }

    /// See [`Self::take_back`]. `is_taken` says whether a worker takes it.
    pub fn wait_again(&mut self, waiting: Ranked, is_taken: bool) {
        let Ranked { suspect, rank } = &waiting;
        if !suspect.is_held_back {
            self.in_front.insert(suspect.job.id);
        }
        self.ranks.insert(suspect.job.id, (suspect.queue, *rank));
        insert(if is_taken { &mut self.waiting } else { &mut self.unattended }, waiting);
        self.look = true;
    }

    // --- everybody else -----------------------------------------------------------------------

    /// How long nobody may start who is not suspected, if nobody may now.
    pub fn holds_others(&self, now: Now) -> Option<Duration> {
        let exclusive = self.exclusive.map(|(_, until)| until);
        let next = self.last_start.filter(|_| self.is_one_at_a_time(now)).map(|(_, at)| at);
        let until = [exclusive, self.field_clears_at, next].into_iter().flatten().max()?;
        until.checked_sub(now.mono).filter(|wait| !wait.is_zero())
    }

    fn is_one_at_a_time(&self, now: Now) -> bool {
        self.careful > 0 && self.one_at_a_time_until.is_none_or(|until| now.mono < until)
    }

    /// How long until this suspect may start, as far as that depends on the others.
    pub fn wait_of(&self, id: JobId, now: Now) -> Option<Duration> {
        let (queue, rank) = self.ranks.get(&id)?;
        let of_queue = self.waiting.get(queue).and_then(|of_queue| of_queue.get(rank));
        let waiting = of_queue.or_else(|| self.unattended.get(queue)?.get(rank))?;
        let held = if self.is_held(waiting) { self.held_until() } else { Duration::ZERO };
        let exclusive = self.exclusive.map(|(_, until)| until);
        let until = [exclusive, self.field_clears_at, Some(self.next_step.max(held))].into_iter().flatten().max()?;
        Some(until.saturating_sub(now.mono))
    }

    // --- starts and ends ----------------------------------------------------------------------

    /// A job is handed out; `is_clear` says that nothing runs beside it. Returns whether its start must be durable
    /// before it runs, and whether its mark is to say that it is alone.
    pub fn started(&mut self, job: &ReadyJob, is_tried: bool, is_clear: bool, now: Now) -> (bool, bool) {
        let id = job.id;
        self.watched.retain(|_, until| now.mono < *until);
        let is_careful = self.careful > 0 || self.alone.is_some() || !self.watched.is_empty() || job.is_suspect();
        if !is_tried && self.careful > 0 {
            self.one_at_a_time_until.get_or_insert(now.mono.saturating_add(ONE_AT_A_TIME));
            let next_after = if job.is_suspect() { NEXT_AFTER_SUSPECT } else { NEXT_AFTER };
            self.last_start = Some((id, now.mono.saturating_add(next_after)));
            self.careful -= 1;
        }
        if job.record.crashes() >= WATCHED_FROM {
            self.watched.insert(id, now.mono.saturating_add(WATCHED_FOR));
        }
        let is_alone = job.is_suspect() && is_clear;
        if is_alone {
            self.alone = Some(id);
        }
        (is_careful, is_alone)
    }

    /// The start of this job is to be made durable. Returns the job that is no longer alone by it.
    pub fn marked(&mut self, id: JobId) -> Option<JobId> {
        self.alone.take_if(|alone| *alone != id)
    }

    /// What marks say is not known any more: no job counts as alone.
    pub fn marks_are_lost(&mut self) {
        self.alone = None;
    }

    /// Its end is durable, or it has not started after all.
    pub fn ended(&mut self, id: JobId) {
        self.no_longer_in_front(id);
        self.running.remove(&id);
        self.watched.remove(&id);
        self.alone.take_if(|alone| *alone == id);
        self.last_start.take_if(|(last, _)| *last == id);
        self.exclusive.take_if(|(alone, _)| *alone == id);
        if self.last_suspect.take_if(|last| *last == id).is_some() {
            self.next_step = Duration::ZERO;
        }
        // The field may be clear.
        self.look = true;
    }

    pub fn next_event(&self, now: Now) -> Option<Duration> {
        let look_at = self.look_at.filter(|_| !self.waiting.is_empty());
        let suspects = look_at.and_then(|at| at.checked_sub(now.mono)).filter(|wait| !wait.is_zero());
        [suspects, self.holds_others(now)].into_iter().flatten().min()
    }
}

#[cfg(test)]
impl Probation {
    /// How many waiting suspects were looked at.
    pub fn walked(&self) -> u64 {
        self.walked.get()
    }
}
