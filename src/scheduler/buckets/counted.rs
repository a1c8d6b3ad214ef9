//! A bucket in use: its level, and its reservation.

use std::time::Duration;

use super::amounts::{RESERVE_AHEAD_MAX, ahead_most, ahead_usually, full, tokens_in};
use crate::job::Rate;
use crate::time::Now;

/// How long before its token is there a start may be reserved. A commit takes a small part of this time, so a slow rate
/// loses only a small part by not reserving earlier.
const RESERVE_BEFORE_MAX: Duration = Duration::from_secs(10);

/// A reservation that was not used for this long is void: after a crash it is then known that its tokens were used before
/// that, if at all. It is much longer than a commit takes, because otherwise nothing could start on a slow disk.
pub(super) const USE_WITHIN: Duration = Duration::from_secs(60);

/// A start needs a whole token, less this much for rounding. The level goes below zero by the same amount, so the rate is
/// not exceeded in the long run.
const TOKEN_EPSILON: f64 = 1e-6;

/// The tokens of a bucket in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// How many tokens there were at `at`, whether reserved or not.
    pub(super) level: f64,
    pub(super) at: Duration,
    /// Starts that the file counts and that have not happened.
    pub(super) granted: u32,
    /// Starts whose reservation is being written.
    pub(super) reserving: u32,
    /// When the last reservation was made, and the level then.
    pub(super) reserved_at: Duration,
    pub(super) level_then: f64,
    /// The last reservation was made before its tokens were needed.
    pub(super) made_early: bool,
    /// How many starts are reserved at a time.
    pub(super) ahead: u32,
}

impl Counted {
    pub(super) fn new(level: f64, now: Now) -> Self {
        let (granted, reserving, ahead, made_early) = (0, 0, 0, false);
        let (reserved_at, level_then) = (Duration::ZERO, f64::INFINITY);
        Self { level, at: now.mono, granted, reserving, reserved_at, level_then, made_early, ahead }
    }

    pub(super) fn refresh(&mut self, rate: Rate, now: Now) {
        if now.mono > self.reserved_at.saturating_add(USE_WITHIN) {
            self.granted = 0;
        }
        let gained = tokens_in(rate, now.mono.saturating_sub(self.at));
        self.level = (self.level + gained).min(full(rate));
        self.at = self.at.max(now.mono);
    }

    /// How long until there are `tokens`, if they are not there now.
    pub(super) fn shortage(&self, rate: Rate, tokens: f64) -> Option<Duration> {
        let missing = tokens - self.level;
        // Rounding must neither keep a bucket just below one token for ever, nor make a queue wait again that has waited
        // exactly until its time.
        (missing > TOKEN_EPSILON)
            .then(|| Duration::try_from_secs_f64(missing / rate.tokens_per_second()).unwrap_or(Duration::MAX))
    }

    /// A job could start, apart from the rate: returns how many starts to reserve now, if any.
    pub(super) fn reserve_ahead(&mut self, rate: Rate, wait: Option<Duration>, now: Now) -> Option<u32> {
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
            // While the bucket is far from empty, waiting for a reservation costs nothing: the tokens that are gained
            // meanwhile stay in the bucket.
            let is_scarce = self.level - f64::from(self.granted) < f64::from(usually) || self.ahead > usually;
            if !is_scarce || self.granted > self.ahead / 2 {
                return None;
            }
        } else if wait.is_some_and(|wait| wait > RESERVE_BEFORE_MAX) {
            return None;
        }
        let lately = now.mono.saturating_sub(self.reserved_at) < RESERVE_AHEAD_MAX;
        if needed_now && lately && self.level >= self.level_then {
            // A job waits and the level has not fallen: reservations are too small.
            self.ahead = self.ahead.saturating_mul(2).min(most);
        }
        self.made_early = !needed_now;
        self.reserving = self.ahead - self.granted;
        (self.reserved_at, self.level_then) = (now.mono, self.level);
        Some(self.reserving)
    }
}
