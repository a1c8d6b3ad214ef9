//! One bucket: what it holds now, and the state of it that is stored.

use std::time::Duration;

use super::amounts::{ahead_most, full, tokens_in};
use super::counted::{Counted, USE_WITHIN};
use crate::job::{BucketState, Rate};
use crate::time::Now;

/// The times in the file are in milliseconds: a difference of two can be too long by one.
pub(super) const GRAIN: Duration = Duration::from_millis(1);

/// When the file was opened, and whether the process that had it before died.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    /// Times before this are measured on the age line, which continues over restarts; later ones on the monotonic clock.
    pub(super) at: Now,
    pub(super) crashed: bool,
}

impl Opened {
    fn elapsed_before(&self, state: &BucketState) -> Duration {
        self.at.age.since(state.at).saturating_sub(GRAIN)
    }

    /// How many tokens a bucket held when the file was opened.
    ///
    /// After a crash it is not known when the tokens of the last reservation were used. They were used before the file was
    /// opened, and at most [`USE_WITHIN`] after the reservation. The later they were used, the fewer tokens can have been
    /// gained since, so they count as used at the last possible moment. At that moment the bucket held at least as many
    /// tokens as the file says, which excludes the reserved ones. It also held at least a full bucket less the largest
    /// reservation, if the rate had gained that many by then.
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

    /// The state to store if the file is closed in order before the bucket was used: the next opening cannot know of the
    /// crash.
    fn at_rest(&self, state: &BucketState) -> BucketState {
        let used_after = self.elapsed_before(state).min(USE_WITHIN);
        BucketState { tokens: state.tokens.max(0.0), at: state.at + used_after, ..*state }
    }
}

/// The tokens of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tokens {
    /// As they are in the file: since it was opened, no rate was set or the bucket was not used.
    Stored(BucketState),
    /// As many as the rate allows, once one is set.
    Full,
    Counted(Counted),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) tokens: Tokens,
    /// No job starts before this time, on the monotonic clock.
    pub(super) held_until: Option<Duration>,
    /// The file has a row of this bucket, or one is being written.
    pub(super) is_stored: bool,
}

impl Bucket {
    pub(super) fn full() -> Self {
        Self { tokens: Tokens::Full, held_until: None, is_stored: false }
    }

    pub(super) fn hold(&self, now: Now) -> Option<Duration> {
        self.held_until.and_then(|until| until.checked_sub(now.mono)).filter(|wait| !wait.is_zero())
    }

    /// The tokens that it holds now at this rate.
    pub(super) fn count(&mut self, rate: Rate, opened: &Opened, now: Now) -> &mut Counted {
        match self.tokens {
            Tokens::Counted(_) => {}
            Tokens::Full => self.tokens = Tokens::Counted(Counted::new(full(rate), now)),
            Tokens::Stored(state) => {
                let counted = Counted::new(opened.level(&state, rate), opened.at);
                self.tokens = Tokens::Counted(counted);
            }
        }
        let Tokens::Counted(counted) = &mut self.tokens else { unreachable!("the tokens are counted above") };
        counted.refresh(rate, now);
        counted
    }

    /// The state to store: without the reserved tokens, which can be used at any time.
    pub(super) fn state(&self, opened: &Opened, now: Now) -> BucketState {
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

    /// Whether the bucket equals a new one: it is full at its rate, and neither reserved nor held. Without a rate it counts
    /// as full once it was not used for `unset_for`.
    pub(super) fn is_as_new(&self, rate: Option<Rate>, unset_for: Duration, opened: &Opened, now: Now) -> bool {
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
