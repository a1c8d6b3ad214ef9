//! All buckets: whether one more job may start, and which tokens are taken, reserved, and returned.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::amounts::{ahead_most, full};
use super::bucket::{Bucket, Opened, Tokens};
use super::counted::Counted;
use super::of_queue::OfQueue;
use crate::job::{BucketKey, IdMap, QueueId, Rate};
use crate::time::{Now, Timestamp};

/// Starts that must be made durable before they happen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reservation {
    pub key: BucketKey,
    pub tokens: u32,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Gate {
    Open,
    /// Closed for at least this time.
    Wait(Duration),
    /// Closed until a reservation that is being written is durable.
    Reserving,
}

#[derive(Debug)]
pub(crate) struct Buckets {
    pub(super) queues: IdMap<OfQueue, QueueId>,
    pub(super) opened: Opened,
    /// The keys of all buckets, in the order in which they are checked whether they can be forgotten.
    pub(super) to_check: VecDeque<BucketKey>,
    /// Buckets that can be forgotten once their rows are removed.
    pub(super) to_forget: Vec<BucketKey>,
    /// How many buckets have a reservation that is being written.
    pub(super) reserving: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        let time = Timestamp::EPOCH;
        let at = Now { wall: time, engine: time, age: time, counted: time, mono: Duration::ZERO };
        let (queues, to_check, to_forget) = Default::default();
        Self { queues, opened: Opened { at, crashed: false }, to_check, to_forget, reserving: 0 }
    }
}

impl Buckets {
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

    /// Forgets a queue of which nothing is stored, with its rates: its number may be given to another queue.
    pub fn forget_queue(&mut self, queue: QueueId) {
        let Some(of_queue) = self.queues.get(&queue) else { return };
        let mut buckets = of_queue.own.iter().chain(of_queue.groups.values());
        let is_reserving = |bucket: &Bucket| matches!(bucket.tokens, Tokens::Counted(counted) if counted.reserving > 0);
        if !buckets.any(is_reserving) {
            self.queues.remove(&queue);
        }
    }

    /// Whether one more job may start. Adds to `reserve` what must be reserved now.
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
            self.note_new(BucketKey { queue, group: group.cloned() }, now);
        }
        gate
    }

    /// Uses a token for a job that starts; the gate must be open.
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
        let bucket = of_queue.get_mut(key.group.as_ref()).expect("it was inserted above");
        bucket.held_until = bucket.held_until.max(Some(until.mono));
        if is_new {
            self.to_check.push_back(key.clone());
        }
    }

    /// Takes tokens for the application. Returns whether that must be made durable, which it need not without a rate.
    ///
    /// # Errors
    ///
    /// Returns how long until there are enough tokens.
    pub fn take_by_hand(&mut self, key: &BucketKey, tokens: u32, now: Now) -> Result<bool, Duration> {
        let (opened, group) = (self.opened, key.group.as_ref());
        let Some(of_queue) = self.queues.get_mut(&key.queue) else { return Ok(false) };
        if let Some(wait) = of_queue.get(group).and_then(|bucket| bucket.hold(now)) {
            return Err(wait);
        }
        let Some(rate) = of_queue.rate_of(group) else { return Ok(false) };
        if tokens > rate.burst_tokens() {
            // The bucket never holds this many.
            return Err(Duration::MAX);
        }
        let is_new = of_queue.get(group).is_none();
        if is_new {
            of_queue.insert(group, Bucket::full());
        }
        let bucket = of_queue.get_mut(group).expect("it was inserted above");
        let counted = bucket.count(rate, &opened, now);
        let taken = match counted.shortage(rate, f64::from(tokens)) {
            Some(wait) => Err(wait),
            None => {
                counted.level -= f64::from(tokens);
                Ok(true)
            }
        };
        if is_new {
            self.note_new(key.clone(), now);
        }
        taken
    }

    /// Returns tokens that [`Self::take_by_hand`] took, because that could not be made durable.
    pub fn give_back(&mut self, key: &BucketKey, tokens: u32) {
        let rate = self.queues.get(&key.queue).and_then(|of_queue| of_queue.rate_of(key.group.as_ref()));
        if let (Some(rate), Some(counted)) = (rate, self.counted(key)) {
            counted.level = (counted.level + f64::from(tokens)).min(full(rate));
        }
    }

    /// How many tokens there are now; infinite without a rate.
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
            // Without a rate: full at the next rate that is set.
            None => {
                if let Tokens::Counted(Counted { reserving: 1.., .. }) = bucket.tokens {
                    // The answer to this reservation will be ignored.
                    self.reserving -= 1;
                }
                bucket.tokens = Tokens::Full;
            }
            Some(rate) => bucket.count(rate, &opened, now).level = full(rate),
        }
    }

    /// How long until this bucket lets a job start; `None` if it does now. It is computed as in [`Self::gate`].
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
}
