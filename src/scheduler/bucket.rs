//! Token buckets: how many starts a rate allows.
//!
//! A bucket has two sides. Its *level* says how many starts the rate allows now: it gains tokens up to
//! the burst, and each start takes one. Its *reservation* says of how many starts the file knows ahead
//! of time: each start needs one, so that a crash cannot hide it. Only the level limits the rate. A
//! reservation may be made before its tokens are there, so that no start waits for the disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::job::{BucketKey, BucketState, IdMap, QueueId, Rate};
use crate::time::{Now, Timestamp};

/// Starts are reserved for so long a time of the rate, at least one. After a crash that many tokens
/// count as used.
const RESERVE_AHEAD: Duration = Duration::from_millis(50);

/// And for so long at most, where the disk is so slow that starts have waited for their reservation.
const RESERVE_AHEAD_MAX: Duration = Duration::from_secs(1);

/// A start is not reserved earlier than this before its token is there. A commit takes a small part of
/// it, so what a slow rate loses by not reserving earlier is a small part, too.
const RESERVE_BEFORE_MAX: Duration = Duration::from_secs(10);

/// A reservation that nobody has used for this long is void: after a crash it is then known that it was used
/// before, if at all. Much longer than a commit takes, or a slow disk would let nothing start.
const USE_WITHIN: Duration = Duration::from_secs(60);

/// The time line of the file counts in milliseconds: a difference may be too long by one.
const GRAIN: Duration = Duration::from_millis(1);

/// Less than this share of a token is none. What is started too early by it is paid back: levels go
/// below zero by as much.
const TOKEN_EPSILON: f64 = 1e-6;

/// A late wake-up costs a rate as much time as it is late if its burst is 1. At rates above this one, in
/// starts per second, the usual lateness of a thread's timer (0.1 ms) would be more than 0.5 %.
const EXACT_ABOVE: f64 = 50.0;

/// A bucket whose rate the queue's worker does not set is forgotten after this time: what it holds could matter
/// only to a rate that is set again. Long enough for a worker that is restarted with other settings for a while.
const UNSET_FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// The same for a bucket of a queue that no worker has been started for: its rate is not known.
const UNATTENDED_FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Buckets looked at whenever a new one is made, to forget those that say nothing: more than one, so that
/// their number goes down again.
const LOOKS_PER_BUCKET: usize = 2;

/// Starts to be made durable before they happen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reservation {
    pub key: BucketKey,
    pub tokens: u32,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Gate {
    Open,
    /// Closed until then at least.
    Wait(Duration),
    /// Closed until a reservation that is under way is durable.
    Reserving,
}

/// Whether starts have to be made at their exact time, or the rate would fall short of what was set.
pub(crate) fn is_exact(rate: Rate) -> bool {
    rate.burst_tokens() == 1 && rate.tokens_per_second() > EXACT_ABOVE
}

fn tokens_in(rate: Rate, time: Duration) -> f64 {
    time.as_secs_f64() * rate.tokens_per_second()
}

fn full(rate: Rate) -> f64 {
    f64::from(rate.burst_tokens())
}

/// Starts reserved at a time unless the disk is slow.
fn ahead_usually(rate: Rate) -> u32 {
    (tokens_in(rate, RESERVE_AHEAD) as u32).max(1)
}

/// Starts reserved at a time, at most.
fn ahead_most(rate: Rate) -> u32 {
    (tokens_in(rate, RESERVE_AHEAD_MAX).ceil() as u32).max(1)
}

/// When the file was opened, and whether the process that had it before died.
#[derive(Clone, Copy, Debug)]
struct Opened {
    /// Up to then the age line counts, which no restart ends; from then on the monotonic clock.
    at: Now,
    crashed: bool,
}

impl Opened {
    fn elapsed_before(&self, state: &BucketState) -> Duration {
        self.at.age.since(state.at).saturating_sub(GRAIN)
    }

    /// What a bucket held when the file was opened.
    ///
    /// After a crash nobody knows when the last reservation was used. A process that is dead has used
    /// nothing since the file was opened, nor later than [`USE_WITHIN`] after the reservation: the later
    /// its tokens were used, the less had been gained on top of them. So they count as used at the last
    /// moment. What was left by then is at least what the file says, which has them taken out; and at
    /// least a full bucket without the most that is ever reserved, if it had been gained by then.
    fn level(&self, state: &BucketState, rate: Rate) -> f64 {
        let (full, elapsed) = (full(rate), self.elapsed_before(state));
        if !self.crashed {
            return (state.tokens + tokens_in(rate, elapsed)).min(full);
        }
        let used_after = elapsed.min(USE_WITHIN);
        let gained = (state.tokens + tokens_in(rate, used_after)).min(full - f64::from(ahead_most(rate)));
        let when_used = gained.max(state.tokens).max(0.0);
        (when_used + tokens_in(rate, elapsed - used_after)).min(full)
    }

    /// The same for a file that is closed in order before anybody has asked for the bucket: the next
    /// opening will not know of the crash.
    fn at_rest(&self, state: &BucketState) -> BucketState {
        let used_after = self.elapsed_before(state).min(USE_WITHIN);
        BucketState { tokens: state.tokens.max(0.0), at: state.at + used_after, ..*state }
    }
}

/// What a bucket holds.
#[derive(Clone, Copy, Debug)]
enum Tokens {
    /// As the file says: no rate was known since it was opened, or nobody has asked.
    Stored(BucketState),
    /// All that the rate to come allows.
    Full,
    Counted(Counted),
}

/// A bucket in use.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// Tokens there at `at`, whether reserved or not.
    level: f64,
    at: Duration,
    /// Starts that the file knows of and that have not been made.
    granted: u32,
    /// Starts that are being reserved.
    reserving: u32,
    /// When the last reservation was made, and the level then.
    reserved_at: Duration,
    level_then: f64,
    /// It was made before its tokens were needed.
    made_early: bool,
    /// How many starts are reserved at a time.
    ahead: u32,
}

impl Counted {
    fn new(level: f64, now: Now) -> Self {
        let (granted, reserving, ahead, made_early) = (0, 0, 0, false);
        let (reserved_at, level_then) = (Duration::ZERO, f64::INFINITY);
        Self { level, at: now.mono, granted, reserving, reserved_at, level_then, made_early, ahead }
    }

    fn refresh(&mut self, rate: Rate, now: Now) {
        if now.mono > self.reserved_at.saturating_add(USE_WITHIN) {
            self.granted = 0;
        }
        let gained = tokens_in(rate, now.mono.saturating_sub(self.at));
        self.level = (self.level + gained).min(full(rate));
        self.at = self.at.max(now.mono);
    }

    /// How long until there are `tokens`, if they are not there now.
    fn shortage(&self, rate: Rate, tokens: f64) -> Option<Duration> {
        let missing = tokens - self.level;
        // Rounding must not leave a bucket for ever a hair's breadth below one token, nor make who
        // waited to the nanosecond wait once more.
        (missing > TOKEN_EPSILON)
            .then(|| Duration::try_from_secs_f64(missing / rate.tokens_per_second()).unwrap_or(Duration::MAX))
    }

    /// Somebody wants to start. How many starts are to be reserved now, if any.
    fn reserve_ahead(&mut self, rate: Rate, wait: Option<Duration>, now: Now) -> Option<u32> {
        let (usually, most) = (ahead_usually(rate), ahead_most(rate));
        let needed_now = self.granted == 0 && wait.is_none();
        self.ahead = self.ahead.clamp(usually, most);
        if self.reserving > 0 {
            if needed_now && self.made_early {
                self.made_early = false;
                self.ahead = self.ahead.saturating_mul(2).min(most);
            }
            return None;
        }
        if self.granted > 0 {
            // As long as plenty is left in the bucket, waiting for a reservation costs nothing: what is
            // gained meanwhile has room there.
            let is_scarce = self.level - f64::from(self.granted) < f64::from(usually) || self.ahead > usually;
            if !is_scarce || self.granted > self.ahead / 2 {
                return None;
            }
        } else if wait.is_some_and(|wait| wait > RESERVE_BEFORE_MAX) {
            return None;
        }
        let lately = now.mono.saturating_sub(self.reserved_at) < RESERVE_AHEAD_MAX;
        if needed_now && lately && self.level >= self.level_then {
            // The bucket does not get emptier though somebody waits: it is the reservations that are short.
            self.ahead = self.ahead.saturating_mul(2).min(most);
        }
        self.made_early = !needed_now;
        self.reserving = self.ahead - self.granted;
        (self.reserved_at, self.level_then) = (now.mono, self.level);
        Some(self.reserving)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: Tokens,
    /// Nothing starts before, on the monotonic clock.
    held_until: Option<Duration>,
    /// The file has a row of it, or is about to.
    is_stored: bool,
}

impl Bucket {
    fn full() -> Self {
        Self { tokens: Tokens::Full, held_until: None, is_stored: false }
    }

    fn hold(&self, now: Now) -> Option<Duration> {
        self.held_until.and_then(|until| until.checked_sub(now.mono)).filter(|wait| !wait.is_zero())
    }

    /// What it holds now by this rate.
    fn count(&mut self, rate: Rate, opened: &Opened, now: Now) -> &mut Counted {
        match self.tokens {
            Tokens::Counted(_) => {}
            Tokens::Full => self.tokens = Tokens::Counted(Counted::new(full(rate), now)),
            Tokens::Stored(state) => {
                let counted = Counted::new(opened.level(&state, rate), opened.at);
                self.tokens = Tokens::Counted(counted);
            }
        }
        let Tokens::Counted(counted) = &mut self.tokens else { unreachable!("it was made a line ago") };
        counted.refresh(rate, now);
        counted
    }

    /// The bucket as the file is to have it: without what is reserved, which may be used at any time.
    fn state(&self, opened: &Opened, now: Now) -> BucketState {
        let held_until = self.hold(now).map(|wait| now.age + wait);
        match self.tokens {
            Tokens::Full => BucketState { tokens: f64::MAX, at: now.age, held_until },
            Tokens::Stored(state) => {
                let state = if opened.crashed { opened.at_rest(&state) } else { state };
                BucketState { held_until, ..state }
            }
            Tokens::Counted(counted) => {
                let reserved = f64::from(counted.granted) + f64::from(counted.reserving);
                let ahead = counted.at.saturating_sub(now.mono);
                BucketState { tokens: counted.level - reserved, at: now.age + ahead, held_until }
            }
        }
    }

    /// A bucket that is full by its rate, has nothing reserved and is not held says what a fresh one would. Without
    /// a rate it counts as full once nobody has used it for `unset_for`.
    fn says_nothing(&self, rate: Option<Rate>, unset_for: Duration, opened: &Opened, now: Now) -> bool {
        let mut seen = *self;
        if self.hold(now).is_some() {
            return false;
        }
        match (rate, seen.tokens) {
            (_, Tokens::Full) => true,
            (Some(rate), _) => {
                let counted = seen.count(rate, opened, now);
                counted.level >= full(rate) && counted.granted == 0 && counted.reserving == 0
            }
            (None, Tokens::Stored(state)) => state.tokens == f64::MAX || now.age.since(state.at) >= unset_for,
            (None, Tokens::Counted(counted)) => {
                counted.reserving == 0 && now.mono.saturating_sub(counted.at) >= unset_for
            }
        }
    }
}

#[derive(Debug, Default)]
struct OfQueue {
    rate: Option<Rate>,
    group_rate: Option<Rate>,
    /// A worker has said which rates there are.
    is_attended: bool,
    own: Option<Bucket>,
    groups: HashMap<Arc<str>, Bucket>,
}

impl OfQueue {
    fn rate_of(&self, group: Option<&Arc<str>>) -> Option<Rate> {
        if group.is_some() { self.group_rate } else { self.rate }
    }

    /// After how long a bucket without a rate is forgotten.
    fn forgets_after(&self) -> Duration {
        if self.is_attended { UNSET_FORGOTTEN_AFTER } else { UNATTENDED_FORGOTTEN_AFTER }
    }

    fn get(&self, group: Option<&Arc<str>>) -> Option<&Bucket> {
        match group {
            None => self.own.as_ref(),
            Some(group) => self.groups.get(group),
        }
    }

    fn get_mut(&mut self, group: Option<&Arc<str>>) -> Option<&mut Bucket> {
        match group {
            None => self.own.as_mut(),
            Some(group) => self.groups.get_mut(group),
        }
    }

    fn insert(&mut self, group: Option<&Arc<str>>, bucket: Bucket) {
        match group {
            None => self.own = Some(bucket),
            Some(group) => drop(self.groups.insert(group.clone(), bucket)),
        }
    }

    fn remove(&mut self, group: Option<&Arc<str>>) {
        match group {
            None => self.own = None,
            Some(group) => drop(self.groups.remove(group)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Buckets {
    queues: IdMap<OfQueue, QueueId>,
    opened: Opened,
    /// The key of each bucket, in the order in which they are looked at whether they can be forgotten.
    to_look_at: VecDeque<BucketKey>,
    /// Buckets that can be forgotten once their rows are gone.
    leaving: Vec<BucketKey>,
    /// Buckets with a reservation under way.
    reserving: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        let time = Timestamp::EPOCH;
        let at = Now { wall: time, engine: time, age: time, counted: time, mono: Duration::ZERO };
        let (queues, to_look_at, leaving) = Default::default();
        Self { queues, opened: Opened { at, crashed: false }, to_look_at, leaving, reserving: 0 }
    }
}

impl Buckets {
    /// What the file says of a bucket, read when the file was opened.
    pub fn restore(&mut self, key: BucketKey, state: BucketState, crashed: bool, read: Now) {
        self.opened = Opened { at: read, crashed };
        let wait = state.held_until.map(|until| until.since(read.age)).filter(|wait| !wait.is_zero());
        let held_until = wait.map(|wait| read.mono.saturating_add(wait));
        let bucket = Bucket { tokens: Tokens::Stored(state), held_until, is_stored: true };
        self.queues.entry(key.queue).or_default().insert(key.group.as_ref(), bucket);
        self.to_look_at.push_back(key);
    }

    pub fn set_rates(&mut self, queue: QueueId, rate: Option<Rate>, group_rate: Option<Rate>, now: Now) {
        let opened = self.opened;
        let of_queue = self.queues.entry(queue).or_default();
        let before = (of_queue.rate, of_queue.group_rate);
        (of_queue.rate, of_queue.group_rate) = (rate, group_rate);
        of_queue.is_attended = true;
        let changed = |bucket: &mut Bucket, before: Option<Rate>, rate: Option<Rate>| {
            let Tokens::Counted(counted) = &mut bucket.tokens else { return };
            match before {
                Some(before) => counted.refresh(before, now),
                None => counted.at = counted.at.max(now.mono),
            }
            if let Some(rate) = rate {
                counted.granted = counted.granted.min(ahead_most(rate));
                bucket.count(rate, &opened, now);
            }
        };
        if let Some(bucket) = &mut of_queue.own {
            changed(bucket, before.0, rate);
        }
        if before.1 != group_rate {
            of_queue.groups.values_mut().for_each(|bucket| changed(bucket, before.1, group_rate));
        }
    }

    /// Forgets a queue of which nothing is stored, with its rates: its number may be given to another one.
    pub fn forget_queue(&mut self, queue: QueueId) {
        let Some(of_queue) = self.queues.get(&queue) else { return };
        let mut buckets = of_queue.own.iter().chain(of_queue.groups.values());
        let is_reserving = |bucket: &Bucket| matches!(bucket.tokens, Tokens::Counted(counted) if counted.reserving > 0);
        if !buckets.any(is_reserving) {
            self.queues.remove(&queue);
        }
    }

    /// May one more start? Reserves ahead where little is left.
    pub fn gate(&mut self, queue: QueueId, group: Option<&Arc<str>>, now: Now, reserve: &mut Vec<Reservation>) -> Gate {
        let opened = self.opened;
        let Some(of_queue) = self.queues.get_mut(&queue) else { return Gate::Open };
        let rate = of_queue.rate_of(group);
        let is_new = rate.is_some() && of_queue.get(group).is_none();
        if is_new {
            of_queue.insert(group, Bucket::full());
        }
        let Some(bucket) = of_queue.get_mut(group) else { return Gate::Open };
        if let Some(wait) = bucket.hold(now) {
            return Gate::Wait(wait);
        }
        let Some(rate) = rate else { return Gate::Open };
        let counted = bucket.count(rate, &opened, now);
        let wait = counted.shortage(rate, 1.0);
        if let Some(tokens) = counted.reserve_ahead(rate, wait, now) {
            self.reserving += 1;
            reserve.push(Reservation { key: BucketKey { queue, group: group.cloned() }, tokens });
        }
        let gate = match wait {
            Some(wait) => Gate::Wait(wait),
            None if counted.granted > 0 => Gate::Open,
            None => Gate::Reserving,
        };
        if is_new {
            self.made(BucketKey { queue, group: group.cloned() }, now);
        }
        gate
    }

    /// One starts, through a gate that was open.
    pub fn spend(&mut self, queue: QueueId, group: Option<&Arc<str>>) {
        let of_queue = self.queues.get_mut(&queue).filter(|of_queue| of_queue.rate_of(group).is_some());
        if let Some(Bucket { tokens: Tokens::Counted(counted), .. }) = of_queue.and_then(|queue| queue.get_mut(group)) {
            counted.level -= 1.0;
            counted.granted = counted.granted.saturating_sub(1);
        }
    }

    fn counted(&mut self, key: &BucketKey) -> Option<&mut Counted> {
        match self.queues.get_mut(&key.queue)?.get_mut(key.group.as_ref()) {
            Some(Bucket { tokens: Tokens::Counted(counted), .. }) => Some(counted),
            _ => None,
        }
    }

    /// A reservation is durable.
    pub fn granted(&mut self, key: &BucketKey, tokens: u32) {
        self.answered(key, |counted| counted.granted += tokens.min(counted.reserving));
    }

    /// A reservation could not be made durable.
    pub fn refused(&mut self, key: &BucketKey) {
        self.answered(key, |_| {});
    }

    fn answered(&mut self, key: &BucketKey, take: impl FnOnce(&mut Counted)) {
        if let Some(counted) = self.counted(key).filter(|counted| counted.reserving > 0) {
            take(counted);
            counted.reserving = 0;
            self.reserving -= 1;
        }
    }

    pub fn hold(&mut self, key: &BucketKey, until: Now) {
        let of_queue = self.queues.entry(key.queue).or_default();
        let is_new = of_queue.get(key.group.as_ref()).is_none();
        if is_new {
            of_queue.insert(key.group.as_ref(), Bucket::full());
        }
        let bucket = of_queue.get_mut(key.group.as_ref()).expect("it was made a line ago");
        bucket.held_until = bucket.held_until.max(Some(until.mono));
        if is_new {
            self.to_look_at.push_back(key.clone());
        }
    }

    /// Whether there is something to be made durable of it: nothing if there is no limit.
    pub fn take_by_hand(&mut self, key: &BucketKey, tokens: u32, now: Now) -> Result<bool, Duration> {
        let (opened, group) = (self.opened, key.group.as_ref());
        let Some(of_queue) = self.queues.get_mut(&key.queue) else { return Ok(false) };
        if let Some(wait) = of_queue.get(group).and_then(|bucket| bucket.hold(now)) {
            return Err(wait);
        }
        let Some(rate) = of_queue.rate_of(group) else { return Ok(false) };
        if tokens > rate.burst_tokens() {
            // There never will be so many at once.
            return Err(Duration::MAX);
        }
        let is_new = of_queue.get(group).is_none();
        if is_new {
            of_queue.insert(group, Bucket::full());
        }
        let bucket = of_queue.get_mut(group).expect("it was made a line ago");
        let counted = bucket.count(rate, &opened, now);
        let taken = match counted.shortage(rate, f64::from(tokens)) {
            Some(wait) => Err(wait),
            None => {
                counted.level -= f64::from(tokens);
                Ok(true)
            }
        };
        if is_new {
            self.made(key.clone(), now);
        }
        taken
    }

    /// Tokens that were taken by hand go back: that they were taken could not be made durable.
    pub fn give_back(&mut self, key: &BucketKey, tokens: u32) {
        let rate = self.queues.get(&key.queue).and_then(|of_queue| of_queue.rate_of(key.group.as_ref()));
        if let (Some(rate), Some(counted)) = (rate, self.counted(key)) {
            counted.level = (counted.level + f64::from(tokens)).min(full(rate));
        }
    }

    /// Tokens there now; infinite without a rate.
    pub fn level(&self, key: &BucketKey, now: Now) -> f64 {
        let Some(of_queue) = self.queues.get(&key.queue) else { return f64::INFINITY };
        let Some(rate) = of_queue.rate_of(key.group.as_ref()) else { return f64::INFINITY };
        let Some(mut bucket) = of_queue.get(key.group.as_ref()).copied() else { return full(rate) };
        bucket.count(rate, &self.opened, now).level
    }

    pub fn fill(&mut self, key: &BucketKey, now: Now) {
        let opened = self.opened;
        let Some(of_queue) = self.queues.get_mut(&key.queue) else { return };
        let rate = of_queue.rate_of(key.group.as_ref());
        let Some(bucket) = of_queue.get_mut(key.group.as_ref()) else { return };
        bucket.held_until = None;
        match rate {
            // No rate yet: full by whatever rate comes.
            None => {
                if let Tokens::Counted(Counted { reserving: 1.., .. }) = bucket.tokens {
                    // Its answer finds nothing to add to.
                    self.reserving -= 1;
                }
                bucket.tokens = Tokens::Full;
            }
            Some(rate) => bucket.count(rate, &opened, now).level = full(rate),
        }
    }

    /// How long this bucket lets nothing start, if it does not now: by the same arithmetic as [`Self::gate`].
    pub fn wait(&self, queue: QueueId, group: Option<&Arc<str>>, now: Now) -> Option<Duration> {
        let of_queue = self.queues.get(&queue)?;
        let mut bucket = of_queue.get(group).copied()?;
        if let Some(wait) = bucket.hold(now) {
            return Some(wait);
        }
        let rate = of_queue.rate_of(group)?;
        bucket.count(rate, &self.opened, now).shortage(rate, 1.0)
    }

    pub fn is_reserving(&self) -> bool {
        self.reserving > 0
    }

    // --- the file -----------------------------------------------------------------------------

    /// What the file is to have of it from now on; nothing if a bucket that nobody knows says the same.
    /// To be asked while the commit is made, so that the states in the file follow each other as they did here.
    pub fn state_to_store(&mut self, key: &BucketKey, now: Now) -> Option<BucketState> {
        let opened = self.opened;
        let of_queue = self.queues.get_mut(&key.queue)?;
        let (rate, unset_for) = (of_queue.rate_of(key.group.as_ref()), of_queue.forgets_after());
        let bucket = of_queue.get_mut(key.group.as_ref())?;
        if let (Some(rate), Tokens::Counted(_)) = (rate, bucket.tokens) {
            bucket.count(rate, &opened, now);
        }
        bucket.is_stored = !bucket.says_nothing(rate, unset_for, &opened, now);
        bucket.is_stored.then(|| bucket.state(&opened, now))
    }

    /// What the file is to have of each bucket when it is closed in order: nothing is reserved any more.
    pub fn states(&self, now: Now) -> Vec<(BucketKey, Option<BucketState>)> {
        let mut states = Vec::new();
        for (&queue, of_queue) in &self.queues {
            let own = of_queue.own.iter().map(|bucket| (None, bucket));
            let groups = of_queue.groups.iter().map(|(group, bucket)| (Some(group), bucket));
            for (group, bucket) in own.chain(groups) {
                let mut bucket = *bucket;
                let rate = of_queue.rate_of(group);
                match (&mut bucket.tokens, rate) {
                    (Tokens::Counted(counted), _) => {
                        (counted.granted, counted.reserving) = (0, 0);
                        if let Some(rate) = rate {
                            counted.refresh(rate, now);
                        }
                    }
                    // As it is in the file already.
                    (Tokens::Stored(_), _) if !self.opened.crashed => continue,
                    (Tokens::Stored(_) | Tokens::Full, _) => {}
                }
                let says_something = !bucket.says_nothing(rate, of_queue.forgets_after(), &self.opened, now);
                let state = says_something.then(|| bucket.state(&self.opened, now));
                if state.is_some() || bucket.is_stored {
                    states.push((BucketKey { queue, group: group.cloned() }, state));
                }
            }
        }
        // The same rows in the same order give the same file.
        states.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        states
    }

    fn made(&mut self, key: BucketKey, now: Now) {
        self.to_look_at.push_back(key);
        self.look(LOOKS_PER_BUCKET, now);
    }

    /// How many buckets there are to look at, or to be forgotten.
    pub fn len(&self) -> usize {
        self.to_look_at.len() + self.leaving.len()
    }

    /// Looks at so many buckets. Those that say nothing are forgotten, at once if the file has no row of
    /// them.
    fn look(&mut self, looks: usize, now: Now) {
        for _ in 0..looks.min(self.to_look_at.len()) {
            let Some(key) = self.to_look_at.pop_front() else { return };
            let Some(of_queue) = self.queues.get_mut(&key.queue) else { continue };
            let (rate, unset_for) = (of_queue.rate_of(key.group.as_ref()), of_queue.forgets_after());
            match of_queue.get(key.group.as_ref()) {
                None => {}
                Some(bucket) if !bucket.says_nothing(rate, unset_for, &self.opened, now) => {
                    self.to_look_at.push_back(key);
                }
                Some(bucket) if bucket.is_stored => self.leaving.push(key),
                Some(_) => of_queue.remove(key.group.as_ref()),
            }
        }
    }

    /// Looks at so many buckets more, and names those that can be forgotten, at most `rows_max`. Each is
    /// named once: [`Self::forget`] it when its row is removed.
    pub fn forgettable(&mut self, looks: usize, rows_max: usize, now: Now) -> Vec<BucketKey> {
        self.look(looks, now);
        let at = self.leaving.len().saturating_sub(rows_max);
        self.leaving.split_off(at)
    }

    /// Forgets a bucket, unless it says something again. True if its row is to be removed.
    pub fn forget(&mut self, key: &BucketKey, now: Now) -> bool {
        let Some(of_queue) = self.queues.get_mut(&key.queue) else { return true };
        let (rate, unset_for) = (of_queue.rate_of(key.group.as_ref()), of_queue.forgets_after());
        let Some(bucket) = of_queue.get(key.group.as_ref()) else { return true };
        if bucket.says_nothing(rate, unset_for, &self.opened, now) {
            of_queue.remove(key.group.as_ref());
            return true;
        }
        self.to_look_at.push_back(key.clone());
        false
    }

    /// The rows of these buckets, which [`Self::forgettable`] has named, could not be removed: they are looked at again.
    pub fn not_forgotten(&mut self, keys: &[BucketKey]) {
        let again: HashSet<&BucketKey> = keys.iter().collect();
        self.to_look_at.retain(|key| !again.contains(key));
        for key in keys {
            let of_queue = self.queues.entry(key.queue).or_default();
            if of_queue.get(key.group.as_ref()).is_none() {
                of_queue.insert(key.group.as_ref(), Bucket::full());
            }
            let bucket = of_queue.get_mut(key.group.as_ref()).expect("it was made a line ago");
            bucket.is_stored = true;
        }
        self.to_look_at.extend(keys.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueId = 1;

    fn at(millis: u64) -> Now {
        at_micros(millis * 1_000)
    }

    fn at_micros(micros: u64) -> Now {
        let time = Timestamp::from_millis(1_000_000 + micros / 1_000);
        Now { wall: time, engine: time, age: time, counted: time, mono: Duration::from_micros(micros) }
    }

    fn key() -> BucketKey {
        BucketKey { queue: QUEUE, group: None }
    }

    fn group(name: &str) -> BucketKey {
        BucketKey { queue: QUEUE, group: Some(name.into()) }
    }

    fn with_rate(rate: Rate, now: Now) -> Buckets {
        let mut buckets = Buckets::default();
        buckets.set_rates(QUEUE, Some(rate), None, now);
        buckets
    }

    fn gate(buckets: &mut Buckets, now: Now) -> (Gate, Vec<Reservation>) {
        let mut reserve = Vec::new();
        let gate = buckets.gate(QUEUE, None, now, &mut reserve);
        (gate, reserve)
    }

    /// Starts as many as the gate lets through at `now`, with a disk that takes no time.
    fn starts(buckets: &mut Buckets, now: Now) -> u32 {
        let mut count = 0;
        loop {
            let (gate, reserve) = gate(buckets, now);
            reserve.iter().for_each(|r| buckets.granted(&r.key, r.tokens));
            match gate {
                Gate::Open => {
                    buckets.spend(QUEUE, None);
                    count += 1;
                }
                Gate::Reserving if !reserve.is_empty() => {}
                Gate::Wait(_) | Gate::Reserving => return count,
            }
        }
    }

    /// The same buckets after a crash or a stop, at `now`.
    fn reopened(stored: Option<BucketState>, crashed: bool, rate: Rate, now: Now) -> Buckets {
        let mut buckets = Buckets::default();
        if let Some(state) = stored {
            buckets.restore(key(), state, crashed, now);
        }
        buckets.set_rates(QUEUE, Some(rate), None, now);
        buckets
    }

    fn assert_within(log: &[u64], rate: Rate, what: &str) {
        for (n, from) in log.iter().enumerate() {
            for (count, to) in log[n..].iter().enumerate() {
                let most = full(rate) + tokens_in(rate, Duration::from_micros(to - from));
                assert!((count + 1) as f64 <= most + 1e-3, "{what}: {} starts from {from} to {to} us", count + 1);
            }
        }
    }

    /// A queue that always has a job, and a disk whose commits take some time. Says when its jobs started.
    struct Busy {
        buckets: Buckets,
        rate: Rate,
        now: u64,
        commit_takes: u64,
        /// When which reservation is durable, and what the file says then.
        commits: VecDeque<(u64, Reservation, Option<BucketState>)>,
        durable: Option<BucketState>,
        log: Vec<u64>,
    }

    impl Busy {
        fn new(rate: Rate, commit_takes: Duration) -> Self {
            let commit_takes = commit_takes.as_micros() as u64;
            let (commits, log) = Default::default();
            Self { buckets: with_rate(rate, at(0)), rate, now: 0, commit_takes, commits, durable: None, log }
        }

        fn run_until(&mut self, end: u64) {
            while self.now < end {
                while self.commits.front().is_some_and(|(due, ..)| *due <= self.now) {
                    let (_, reservation, state) = self.commits.pop_front().expect("it was there a line ago");
                    self.durable = state;
                    self.buckets.granted(&reservation.key, reservation.tokens);
                }
                let now = at_micros(self.now);
                let (gate, reserve) = gate(&mut self.buckets, now);
                for reservation in reserve {
                    let state = self.buckets.state_to_store(&reservation.key, now);
                    // One commit after the other.
                    let begun = self.commits.back().map_or(self.now, |(due, ..)| *due);
                    self.commits.push_back((begun + self.commit_takes, reservation, state));
                }
                let next_commit = self.commits.front().map(|(due, ..)| *due);
                match gate {
                    Gate::Open => {
                        self.buckets.spend(QUEUE, None);
                        self.log.push(self.now);
                    }
                    Gate::Wait(wait) => {
                        let until = self.now + wait.as_nanos().div_ceil(1_000) as u64;
                        self.now = next_commit.map_or(until, |commit| commit.min(until)).max(self.now + 1).min(end);
                    }
                    Gate::Reserving => {
                        self.now = next_commit.expect("a reservation is under way").max(self.now).min(end);
                    }
                }
            }
        }

        fn crash(&mut self, down_for: u64) {
            self.now += down_for;
            self.commits.clear();
            self.buckets = reopened(self.durable, true, self.rate, at_micros(self.now));
        }

        fn restart(&mut self, down_for: u64) {
            let states = self.buckets.states(at_micros(self.now));
            self.durable = states.into_iter().find(|(of, _)| *of == key()).and_then(|(_, state)| state);
            self.now += down_for;
            self.commits.clear();
            self.buckets = reopened(self.durable, false, self.rate, at_micros(self.now));
        }
    }

    #[test]
    fn no_window_sees_more_than_burst_plus_rate() {
        let rate = Rate::per_second(100).burst(7);
        let mut buckets = with_rate(rate, at(0));
        let log: Vec<(u64, u32)> = (0..3_000).map(|ms| (ms, starts(&mut buckets, at(ms)))).collect();
        for from in (0..3_000).step_by(37) {
            for len in [1, 10, 50, 333, 1_000] {
                let seen: u32 = log[from..].iter().take(len).map(|(_, n)| n).sum();
                assert!(f64::from(seen) <= 7.0 + 100.0 * len as f64 / 1_000.0, "{seen} in {len} ms");
            }
        }
        let all: u32 = log.iter().map(|(_, n)| n).sum();
        assert!(all >= 305, "it must not wedge or lag: {all} of 307");
    }

    #[test]
    fn the_rate_holds_at_every_burst_however_long_a_commit_takes() {
        const SECOND: u64 = 1_000_000;
        for per_second in [1, 5, 50, 200, 500, 5_000] {
            for burst in [1, 2, 7, 100] {
                for commit in [0, 1, 10, 100] {
                    let rate = Rate::per_second(per_second).burst(burst);
                    let mut busy = Busy::new(rate, Duration::from_millis(commit));
                    // The first reservations are late, and it is learned from them how far ahead they must be.
                    let begun = 5 * SECOND;
                    busy.run_until(begun + 10 * SECOND);
                    let what = format!("{per_second}/s, burst {burst}, commits of {commit} ms");
                    assert_within(&busy.log[..busy.log.len().min(500)], rate, &what);
                    let seen = busy.log.iter().filter(|start| **start >= begun).count() as f64;
                    let expected = 10.0 * f64::from(per_second);
                    assert!(seen >= expected * 0.99 - 1.0, "{what}: {seen} of {expected}");
                }
            }
        }
    }

    #[test]
    fn the_rate_holds_from_the_beginning_if_commits_take_ten_milliseconds() {
        for per_second in [50, 200, 500] {
            let mut busy = Busy::new(Rate::per_second(per_second), Duration::from_millis(10));
            busy.run_until(4_000_000);
            let expected = 4.0 * f64::from(per_second);
            assert!(busy.log.len() as f64 >= expected * 0.99, "{} of {expected}", busy.log.len());
        }
    }

    #[test]
    fn neither_a_crash_nor_a_restart_lets_more_start_than_the_rate() {
        for seed in 0..600 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let period = Duration::from_millis([10, 100, 1_000, 60_000][rng.usize(..4)]);
            let rate = Rate::new(rng.u32(1..40), period).burst([1, 1, 2, 5, 40][rng.usize(..5)]);
            let mut busy = Busy::new(rate, Duration::from_millis([0, 3, 20, 300][rng.usize(..4)]));
            let token = (1e6 / rate.tokens_per_second()) as u64 + 1;
            for _ in 0..rng.usize(1..12) {
                if rng.u8(..3) == 0 {
                    // Nobody wants to start.
                    busy.now += rng.u64(..token * 20);
                }
                let end = busy.now + rng.u64(..token * 20);
                busy.run_until(end);
                let down_for = rng.u64(..token * 3);
                match rng.u8(..3) {
                    0 => busy.crash(down_for),
                    1 => busy.restart(down_for),
                    _ => {
                        // A process that asks for nothing, between two others.
                        busy.crash(down_for);
                        let mut unasked = Buckets::default();
                        let now = at_micros(busy.now);
                        busy.durable.into_iter().for_each(|state| unasked.restore(key(), state, true, now));
                        let states = unasked.states(now);
                        let state = states.into_iter().find_map(|(_, state)| state);
                        busy.buckets = reopened(state, false, rate, now);
                        busy.durable = state;
                    }
                }
            }
            let end = busy.now + token * 20;
            busy.run_until(end);
            assert_within(&busy.log, rate, &format!("seed {seed}, {rate:?}"));
        }
    }

    #[test]
    fn a_crash_costs_a_second_of_the_rate_at_most() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let rate = Rate::per_second(rng.u32(1..500)).burst([1, 2, 5, 40, 700][rng.usize(..5)]);
            let mut busy = Busy::new(rate, Duration::from_millis(rng.u64(..20)));
            busy.run_until(rng.u64(..2_000_000));
            busy.now += rng.u64(..20_000_000);
            let before = busy.buckets.level(&key(), at_micros(busy.now));
            busy.crash(0);
            let after = busy.buckets.level(&key(), at_micros(busy.now));
            let lost_most = tokens_in(rate, RESERVE_AHEAD_MAX).max(1.0) + tokens_in(rate, GRAIN);
            assert!(after >= before - lost_most - 1e-6, "seed {seed}, {rate:?}: {before} before, {after} after");
        }
    }

    #[test]
    fn a_slow_rate_neither_wedges_nor_hurries() {
        let mut buckets = with_rate(Rate::per_minute(1), at(0));
        assert_eq!(starts(&mut buckets, at(0)), 1);
        assert_eq!(starts(&mut buckets, at(59_999)), 0);
        assert_eq!(starts(&mut buckets, at(60_001)), 1);
    }

    #[test]
    fn a_restart_does_not_refill() {
        let rate = Rate::per_minute(60).burst(10);
        let mut buckets = with_rate(rate, at(0));
        assert_eq!(starts(&mut buckets, at(0)), 10);
        let stored = buckets.states(at(0)).remove(0).1;
        let mut after = Buckets::default();
        after.restore(key(), stored.unwrap(), false, at(0));
        after.set_rates(QUEUE, Some(rate), None, at(2_000));
        assert_eq!(starts(&mut after, at(2_000)), 2);
    }

    #[test]
    fn after_a_crash_the_gate_opens_when_it_is_said_to() {
        // Ten a second: the token of the last start is back a tenth of a second after the file was opened.
        let rate = Rate::per_second(10);
        let mut buckets = with_rate(rate, at(0));
        assert_eq!(starts(&mut buckets, at(0)), 1);
        let stored = buckets.state_to_store(&key(), at(0));
        let mut after = reopened(stored, true, rate, at(1_000));
        for later in [1_000, 1_040, 1_099] {
            let wait = after.wait(QUEUE, None, at(later)).expect("the token may have been used just before");
            assert_eq!(wait, Duration::from_millis(1_100 - later));
            let (closed, reservations) = gate(&mut after, at(later));
            assert_eq!(closed, Gate::Wait(wait), "at {later}");
            reservations.iter().for_each(|r| after.granted(&r.key, r.tokens));
        }
        assert_eq!(after.wait(QUEUE, None, at(1_100)), None);
        assert_eq!(starts(&mut after, at(1_100)), 1);
    }

    #[test]
    fn a_crash_is_remembered_by_a_bucket_that_nobody_asks_before_the_next_stop() {
        let rate = Rate::per_second(1).burst(4);
        let mut buckets = with_rate(rate, at(0));
        let (_, reservations) = gate(&mut buckets, at(0));
        assert_eq!(reservations[0].tokens, 1);
        let stored = buckets.state_to_store(&key(), at(0)).unwrap();
        // Its token is used five seconds later, and the process dies. The next one has no worker for it.
        let mut unasked = Buckets::default();
        unasked.restore(key(), stored, true, at(5_000));
        let (_, state) = unasked.states(at(5_000)).remove(0);
        let mut after = reopened(state, false, rate, at(5_000));
        assert_eq!(starts(&mut after, at(5_000)), 3);
    }

    #[test]
    fn a_crash_long_after_the_last_start_costs_a_slow_rate_a_minute() {
        let hourly = Rate::per_hour(1);
        let mut buckets = with_rate(hourly, at(0));
        gate(&mut buckets, at(0));
        let stored = buckets.state_to_store(&key(), at(0));
        let mut after = reopened(stored, true, hourly, at(3_661_000));
        assert_eq!(starts(&mut after, at(3_661_000)), 1);
    }

    #[test]
    fn a_clock_set_forward_does_not_fill_a_bucket_that_nobody_has_asked_yet() {
        let mut buckets = Buckets::default();
        let empty = BucketState { tokens: 0.0, at: at(0).age, held_until: None };
        buckets.restore(key(), empty, false, at(0));
        let jumped = Now { engine: at(86_400_000).engine, ..at(40) };
        buckets.set_rates(QUEUE, Some(Rate::per_second(1).burst(3)), None, jumped);
        assert_eq!(starts(&mut buckets, jumped), 0);
    }

    #[test]
    fn a_reservation_that_nobody_uses_is_made_again() {
        let mut buckets = with_rate(Rate::per_second(40).burst(2), at(0));
        let (_, first) = gate(&mut buckets, at(0));
        buckets.granted(&first[0].key, first[0].tokens);
        assert_eq!(gate(&mut buckets, at(60_000)), (Gate::Open, Vec::new()));
        let (later, again) = gate(&mut buckets, at(60_001));
        assert_eq!((later, again.len()), (Gate::Reserving, 1));
    }

    #[test]
    fn a_hold_closes_a_bucket_that_has_no_rate() {
        let mut buckets = Buckets::default();
        assert_eq!(gate(&mut buckets, at(0)).0, Gate::Open);
        buckets.hold(&key(), at(500));
        assert_eq!(gate(&mut buckets, at(100)).0, Gate::Wait(Duration::from_millis(400)));
        assert_eq!(gate(&mut buckets, at(500)).0, Gate::Open);
    }

    #[test]
    fn a_refused_reservation_is_asked_for_again() {
        let mut buckets = with_rate(Rate::per_minute(1), at(0));
        assert_eq!(gate(&mut buckets, at(0)).1.len(), 1);
        assert_eq!(gate(&mut buckets, at(0)), (Gate::Reserving, Vec::new()));
        buckets.refused(&key());
        assert_eq!(gate(&mut buckets, at(0)).1.len(), 1);
    }

    #[test]
    fn the_state_that_is_stored_last_knows_of_all_that_was_taken() {
        let mut buckets = with_rate(Rate::per_hour(1).burst(10), at(0));
        let (_, reservations) = gate(&mut buckets, at(0));
        assert_eq!(buckets.take_by_hand(&key(), 6, at(0)), Ok(true));
        // Whichever of the two is written first, and whichever last.
        let stored = buckets.state_to_store(&key(), at(0)).unwrap();
        assert_eq!(stored.tokens, 10.0 - 6.0 - f64::from(reservations[0].tokens));
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten_and_others_are_not() {
        let rate = Rate::per_second(1).burst(2);
        let mut buckets = Buckets::default();
        for (name, tokens) in [("full", 2.0), ("filling", 0.0), ("slow", -100.0)] {
            let state = BucketState { tokens, at: at(0).age, held_until: None };
            buckets.restore(group(name), state, false, at(0));
        }
        let held = BucketState { tokens: f64::MAX, at: at(0).age, held_until: Some(at(9_000).age) };
        buckets.restore(group("held"), held, false, at(0));
        let forget = |buckets: &mut Buckets, now| {
            let mut forgotten = buckets.forgettable(100, 100, now);
            forgotten.retain(|key| buckets.forget(key, now));
            forgotten.sort();
            forgotten
        };
        assert_eq!(forget(&mut buckets, at(5_000)), [], "no rate is known: what they say is not known either");
        buckets.set_rates(QUEUE, None, Some(rate), at(5_000));
        assert_eq!(forget(&mut buckets, at(5_000)), [group("filling"), group("full")]);
        assert_eq!(forget(&mut buckets, at(9_000)), [group("held")]);
        assert_eq!(buckets.level(&group("full"), at(9_000)), 2.0);
        assert!(buckets.level(&group("slow"), at(9_000)) < -90.0);
    }

    #[test]
    fn a_bucket_that_is_used_again_before_its_row_is_removed_is_kept() {
        let rate = Rate::per_second(1);
        let mut buckets = Buckets::default();
        let state = BucketState { tokens: 1.0, at: at(0).age, held_until: None };
        buckets.restore(key(), state, false, at(0));
        buckets.set_rates(QUEUE, Some(rate), None, at(0));
        let leaving = buckets.forgettable(100, 100, at(0));
        assert_eq!(leaving, [key()]);
        assert_eq!(starts(&mut buckets, at(0)), 1);
        assert!(!buckets.forget(&leaving[0], at(0)));
        assert_eq!(starts(&mut buckets, at(0)), 0);
        assert_eq!(buckets.forgettable(100, 100, at(120_000)), [key()], "it is looked at again");
    }

    #[test]
    fn the_number_of_buckets_in_memory_follows_those_in_use() {
        let mut buckets = Buckets::default();
        buckets.set_rates(QUEUE, None, Some(Rate::per_second(10)), at(0));
        let mut rows = 0_usize;
        for n in 0..20_000 {
            let now = at(n * 10);
            let (name, mut reserve): (Arc<str>, _) = (format!("g{n}").into(), Vec::new());
            buckets.gate(QUEUE, Some(&name), now, &mut reserve);
            let Reservation { key, tokens } = reserve.remove(0);
            rows += usize::from(buckets.state_to_store(&key, now).is_some());
            buckets.granted(&key, tokens);
            buckets.spend(QUEUE, Some(&name));
            for key in buckets.forgettable(8, 100, now) {
                rows -= usize::from(buckets.forget(&key, now));
            }
            // Reservations that were not used are void after a minute.
            assert!(buckets.len() < 8_000 && rows < 8_000, "{} buckets, {rows} rows", buckets.len());
        }
    }

    #[test]
    fn buckets_that_were_found_and_not_removed_yet_are_counted_and_named_later() {
        let mut buckets = Buckets::default();
        for n in 0..100 {
            let state = BucketState { tokens: f64::MAX, at: at(0).age, held_until: None };
            buckets.restore(group(&format!("g{n}")), state, false, at(0));
        }
        let mut removed = 0;
        for _ in 0..10 {
            assert_eq!(buckets.len(), 100 - removed);
            let named = buckets.forgettable(50, 10, at(0));
            assert_eq!(named.len(), 10);
            removed += named.iter().filter(|key| buckets.forget(key, at(0))).count();
        }
        assert_eq!((buckets.len(), removed), (0, 100));
    }

    #[test]
    fn a_bucket_whose_row_could_not_be_removed_is_named_again() {
        let mut buckets = Buckets::default();
        for name in ["removed", "kept"] {
            let state = BucketState { tokens: f64::MAX, at: at(0).age, held_until: None };
            buckets.restore(group(name), state, false, at(0));
        }
        let mut named = buckets.forgettable(10, 10, at(0));
        named.sort();
        // The commit got no further than to one of them.
        assert!(buckets.forget(&named[1], at(0)));
        buckets.not_forgotten(&named);
        let mut again = buckets.forgettable(10, 10, at(0));
        again.sort();
        assert_eq!(again, named);
        assert_eq!(buckets.len(), 0, "each is there once");
    }

    #[test]
    fn a_bucket_without_a_rate_is_forgotten_after_a_time_that_depends_on_whether_there_is_a_worker() {
        let (hour, month) = (3_600_000, 30 * 24 * 3_600_000);
        let restored = || {
            let mut buckets = Buckets::default();
            let state = BucketState { tokens: -5.0, at: at(0).age, held_until: None };
            buckets.restore(group("g"), state, false, at(0));
            buckets
        };
        let mut unattended = restored();
        assert_eq!(unattended.forgettable(10, 10, at(month - 1)), []);
        assert_eq!(unattended.forgettable(10, 10, at(month)), [group("g")]);
        let mut attended = restored();
        attended.set_rates(QUEUE, Some(Rate::per_second(1)), None, at(0));
        assert_eq!(attended.forgettable(10, 10, at(hour - 1)), []);
        assert_eq!(attended.forgettable(10, 10, at(hour)), [group("g")]);

        // One that was in use when its rate was taken away.
        let mut buckets = with_rate(Rate::per_second(1), at(0));
        assert_eq!(starts(&mut buckets, at(0)), 1);
        assert!(buckets.state_to_store(&key(), at(0)).is_some());
        buckets.set_rates(QUEUE, None, None, at(1_000));
        assert_eq!(buckets.forgettable(10, 10, at(hour)), []);
        assert_eq!(buckets.forgettable(10, 10, at(hour + 1_000)), [key()]);
        assert!(buckets.forget(&key(), at(hour + 1_000)));
    }

    #[test]
    fn a_bucket_that_is_filled_without_a_rate_reserves_nothing_any_more() {
        let mut buckets = with_rate(Rate::per_second(1), at(0));
        let (_, reservations) = gate(&mut buckets, at(0));
        assert!(buckets.is_reserving());
        buckets.set_rates(QUEUE, None, None, at(0));
        buckets.fill(&key(), at(0));
        assert!(!buckets.is_reserving());
        buckets.granted(&key(), reservations[0].tokens);
        buckets.set_rates(QUEUE, Some(Rate::per_second(1)), None, at(0));
        assert_eq!(starts(&mut buckets, at(0)), 1);
        assert!(!buckets.is_reserving());
    }
}
