//! Times that recur by the calendar: a cron expression in a time zone.
//!
//! The expression is about civil times, as clocks on a wall show them. Which instants those are, also where clocks are set
//! forward and back, is decided here.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::error::Error;
use crate::time::Timestamp;

/// Longest expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 256;

/// A cron expression in a time zone: the times at which a schedule fires.
///
/// The expression has five fields: minute, hour, day of the month, month and day of the week. A sixth field in front is
/// seconds. The dialect is the [Open Cron Pattern Specification](https://github.com/open-source-cron/ocps) as the crate
/// [`croner`](https://docs.rs/croner) reads it: `*`, lists, ranges, steps, names of months and days, `L`, `W`, `#` and
/// nicknames such as `@daily`. If both the day of the month and the day of the week are restricted, a day that
/// matches either of them counts, as in Vixie cron. The time zone is UTC unless [`zone`](Self::zone) sets another one.
///
/// # When clocks are set forward or back
///
/// A time that does not exist, because clocks are set forward over it, counts once, at the first moment after the gap. A time
/// that exists twice, because clocks are set back, counts at its first occurrence only. Expressions whose minutes or hours
/// begin with `*` are an exception, as in Vixie cron: they recur by elapsed time, so `*/15 * * * *` goes on every
/// 15 minutes.
///
/// ```
/// use millpond::{Cron, Timestamp};
///
/// let nightly = Cron::parse("0 3 * * *")?.zone("Europe/Berlin")?;
/// let noon = Timestamp::from_millis(1_774_864_800_000); // 2026-03-30 10:00 UTC
/// let next = nightly.next_after(noon).unwrap();
/// assert_eq!(next.as_millis(), 1_774_918_800_000); // 2026-03-31 01:00 UTC, which is 03:00 in Berlin
/// assert_eq!(nightly.to_string(), "0 3 * * * (Europe/Berlin)");
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cron {
    expression: Box<str>,
    zone_name: Box<str>,
    pattern: croner::Cron,
    zone: TimeZone,
    /// It recurs by elapsed time when clocks are set.
    by_elapsed_time: bool,
}

impl Cron {
    /// Reads a cron expression. Its time zone is UTC.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if it is not a valid expression, if no date can ever match it, or if it is longer than 256
    /// bytes.
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::config("cron", format!("{expression:?}: {reason}"));
        if expression.len() > EXPRESSION_BYTES_MAX {
            let len = expression.len();
            return Err(Error::config("cron", format!("{len} bytes are more than {EXPRESSION_BYTES_MAX}, the most")));
        }
        let pattern = croner::Cron::from_str(expression).map_err(|error| refused(error.to_string()))?;
        let by_elapsed_time = recurs_by_elapsed_time(expression);
        let cron = Self {
            expression: expression.trim().into(),
            zone_name: "UTC".into(),
            pattern,
            zone: TimeZone::UTC,
            by_elapsed_time,
        };
        match cron.next_after(Timestamp::EPOCH) {
            Some(_) => Ok(cron),
            None => Err(refused("no date matches it".to_owned())),
        }
    }

    /// Sets the time zone, by its name in the [IANA database](https://www.iana.org/time-zones), such as `Europe/Berlin`. The
    /// database is that of the system; where it has none, a built-in one is used.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if there is no such time zone.
    pub fn zone(mut self, name: &str) -> Result<Self, Error> {
        self.zone = TimeZone::get(name).map_err(|error| Error::config("zone", error.to_string()))?;
        self.zone_name = self.zone.iana_name().unwrap_or(name).into();
        Ok(self)
    }

    /// The expression, as it was given.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of the time zone.
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }

    /// The first time after `after` at which it fires. `None` if there is none until the year 5000.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(i64::try_from(after.as_millis()).ok()?).ok()?;
        let next = if self.by_elapsed_time { self.next_by_elapsed_time(after) } else { self.next_by_the_clock(after) };
        next.and_then(|next| u64::try_from(next.as_millisecond()).ok()).map(Timestamp::from_millis)
    }

    /// Each civil time once.
    fn next_by_the_clock(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut civil = self.zone.to_datetime(after);
        loop {
            civil = self.civil_after(civil, false)?;
            let at = first_instant(&self.zone, civil)?;
            // The second pass through a repeated hour, or more than one civil time in a gap.
            if at > after {
                return Some(at);
            }
        }
    }

    /// Each civil time as often as clocks show it.
    fn next_by_elapsed_time(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let (mut from, mut inclusive) = (after, false);
        loop {
            // Until the next change of clocks the offset is the same.
            let offset = self.zone.to_offset(from);
            let change = self.zone.following(from).next().map(|change| change.timestamp());
            let at = offset.to_timestamp(self.civil_after(offset.to_datetime(from), inclusive)?).ok()?;
            match change {
                Some(change) if at >= change => (from, inclusive) = (change, true),
                _ => return Some(at),
            }
        }
    }

    fn civil_after(&self, civil: DateTime, inclusive: bool) -> Option<DateTime> {
        self.pattern.find_next_occurrence(&civil, inclusive).ok()
    }
}

/// The first instant at which clocks show `civil`, or the first one after the gap that it is in.
fn first_instant(zone: &TimeZone, civil: DateTime) -> Option<jiff::Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { before, .. } => {
            // As if clocks had not been set, it is at or behind the moment at which they are.
            let behind = before.to_timestamp(civil).ok()?;
            let change = zone.preceding(behind.checked_add(jiff::Span::new().nanoseconds(1)).ok()?).next()?;
            Some(change.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
    }
}

/// Whether the minutes or the hours begin with `*`.
fn recurs_by_elapsed_time(expression: &str) -> bool {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    match fields.as_slice() {
        [nickname] => nickname.eq_ignore_ascii_case("@hourly"),
        [minute, hour, _, _, _] => [minute, hour].iter().any(|field| field.starts_with('*')),
        // With seconds in front, and perhaps a year at the end.
        [second, minute, hour, ..] => [second, minute, hour].iter().any(|field| field.starts_with('*')),
        _ => false,
    }
}

impl FromStr for Cron {
    type Err = Error;

    /// As [`Cron::parse`].
    fn from_str(expression: &str) -> Result<Self, Error> {
        Self::parse(expression)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.expression, self.zone_name)
    }
}

/// The same expression in the same time zone.
impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.expression, &self.zone_name) == (&other.expression, &other.zone_name)
    }
}

impl Eq for Cron {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(at.as_millisecond().try_into().unwrap())
    }

    fn next(cron: &Cron, after: &str, count: usize) -> Vec<String> {
        let mut after = at(after);
        let mut times = Vec::new();
        for _ in 0..count {
            after = cron.next_after(after).unwrap();
            times.push(jiff::Timestamp::from_millisecond(after.as_millis() as i64).unwrap().to_string());
        }
        times
    }

    fn berlin(expression: &str) -> Cron {
        Cron::parse(expression).unwrap().zone("Europe/Berlin").unwrap()
    }

    // In Berlin clocks go from 02:00 to 03:00 on 2026-03-29 (01:00 UTC), and from 03:00 to 02:00 on 2026-10-25 (01:00 UTC).

    #[test]
    fn a_time_that_does_not_exist_fires_once_at_the_first_moment_after_the_gap() {
        let daily = berlin("30 2 * * *");
        let expected = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
        assert_eq!(next(&daily, "2026-03-27T12:00:00Z", 3), expected);
        let several = berlin("0,20,40 2,3 29 3 *");
        let expected = ["2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z", "2027-03-29T00:00:00Z"];
        assert_eq!(next(&several, "2026-03-27T12:00:00Z", 4), expected);
    }

    #[test]
    fn a_time_that_exists_twice_fires_at_the_first_one() {
        let daily = berlin("30 2 * * *");
        let expected = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        assert_eq!(next(&daily, "2026-10-23T12:00:00Z", 3), expected);
        // Also when it is asked within the second pass.
        assert_eq!(next(&daily, "2026-10-25T01:10:00Z", 1), ["2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn an_expression_with_a_star_goes_on_by_elapsed_time() {
        let often = berlin("*/30 * * * *");
        let expected = ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"];
        assert_eq!(next(&often, "2026-10-25T00:00:00Z", 4), expected);
        let expected = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
        assert_eq!(next(&often, "2026-03-29T00:00:00Z", 3), expected);
        let hourly = berlin("15 * * * *");
        let expected = ["2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z", "2026-10-25T02:15:00Z"];
        assert_eq!(next(&hourly, "2026-10-25T00:00:00Z", 3), expected);
    }

    #[test]
    fn clocks_that_change_by_half_an_hour_or_a_whole_day_are_followed() {
        // Lord Howe Island goes from 02:00 to 02:30 on 2026-10-04 (15:30 UTC the day before).
        let island = Cron::parse("15 2 * * *").unwrap().zone("Australia/Lord_Howe").unwrap();
        assert_eq!(next(&island, "2026-10-03T00:00:00Z", 1), ["2026-10-03T15:30:00Z"]);
        // Samoa left out 2011-12-30 altogether: clocks went from 24:00 of the day before to 00:00 of the day after.
        let samoa = Cron::parse("0 12 * * *").unwrap().zone("Pacific/Apia").unwrap();
        let expected = ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"];
        assert_eq!(next(&samoa, "2011-12-29T00:00:00Z", 3), expected);
    }

    #[test]
    fn seconds_days_and_nicknames_are_understood() {
        let utc = |expression| Cron::parse(expression).unwrap();
        assert_eq!(
            next(&utc("*/20 * * * * *"), "2026-01-01T00:00:00Z", 2),
            ["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z"]
        );
        assert_eq!(next(&utc("0 9 L * *"), "2026-02-01T00:00:00Z", 1), ["2026-02-28T09:00:00Z"]);
        assert_eq!(next(&utc("0 9 * * FRI#2"), "2026-02-01T00:00:00Z", 1), ["2026-02-13T09:00:00Z"]);
        assert_eq!(next(&utc("@daily"), "2026-02-01T00:00:00Z", 1), ["2026-02-02T00:00:00Z"]);
        // A day that matches either the day of the month or that of the week.
        let either = utc("0 0 13 * FRI");
        assert_eq!(next(&either, "2026-03-08T00:00:00Z", 2), ["2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"]);
    }

    #[test]
    fn what_is_not_an_expression_is_refused_by_name() {
        for wrong in ["", "* * *", "61 * * * *", "0 0 30 2 *", "a b c d e", "0 0 * * * * * *", &"*".repeat(300)] {
            let error = Cron::parse(wrong).unwrap_err();
            assert!(matches!(error, Error::InvalidConfig { field: "cron", .. }), "{wrong:?}: {error}");
        }
        let error = Cron::parse("@daily").unwrap().zone("Europe/Berlln").unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { field: "zone", .. }), "{error}");
    }

    #[test]
    fn each_time_is_after_the_one_before_it_in_every_zone() {
        let mut rng = fastrand::Rng::with_seed(7);
        let expressions =
            ["30 2 * * *", "*/17 1-3 * * *", "0 0 * * *", "59 23 * * 0", "5 */2 * * *", "0,30 0,1,2,3 * * *"];
        let zones: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        assert!(zones.len() > 300);
        for _ in 0..400 {
            let zone = &zones[rng.usize(..zones.len())];
            let Ok(cron) = Cron::parse(expressions[rng.usize(..expressions.len())]).unwrap().zone(zone) else {
                continue;
            };
            let mut after = Timestamp::from_millis(rng.u64(..2_000_000_000_000));
            for _ in 0..50 {
                let next = cron.next_after(after).unwrap();
                assert!(next > after, "{cron}: {next:?} after {after:?}");
                after = next;
            }
        }
    }
}
