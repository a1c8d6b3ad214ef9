//! Amounts of tokens that follow from a rate: how many it gains, holds, and reserves at a time.

use std::time::Duration;

use crate::job::Rate;

/// The starts that the rate allows in this time are reserved at once, at least one. After a crash that many tokens count
/// as used.
pub(super) const RESERVE_AHEAD: Duration = Duration::from_millis(50);

/// The maximum of that time. It is used where the disk is so slow that starts have waited for their reservation.
pub(super) const RESERVE_AHEAD_MAX: Duration = Duration::from_secs(1);

/// The rate, in starts per second, above which starts must happen at their exact times if the burst is 1. With such a
/// burst each late wake-up delays all later starts, and above this rate the usual delay of a thread's timer (0.1 ms) is
/// more than 0.5 % of the interval.
const EXACT_ABOVE: f64 = 50.0;

/// Whether starts must happen at their exact times, because the rate would not be reached otherwise.
pub(crate) fn is_exact(rate: Rate) -> bool {
    rate.burst_tokens() == 1 && rate.tokens_per_second() > EXACT_ABOVE
}

pub(super) fn tokens_in(rate: Rate, time: Duration) -> f64 {
    time.as_secs_f64() * rate.tokens_per_second()
}

pub(super) fn full(rate: Rate) -> f64 {
    f64::from(rate.burst_tokens())
}

/// How many starts are reserved at a time, unless the disk is slow.
pub(super) fn ahead_usually(rate: Rate) -> u32 {
    (tokens_in(rate, RESERVE_AHEAD) as u32).max(1)
}

/// The maximum number of starts that are reserved at a time.
pub(super) fn ahead_most(rate: Rate) -> u32 {
    (tokens_in(rate, RESERVE_AHEAD_MAX).ceil() as u32).max(1)
}
