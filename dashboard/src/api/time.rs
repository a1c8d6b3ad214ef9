//! A point in time, to the millisecond.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{PartialSchema, ToSchema, openapi};

/// Milliseconds since the Unix epoch. It is an RFC 3339 text in JSON: `2026-11-28T16:29:08.250Z`.
///
/// ```
/// use millpond_dashboard::api::Time;
///
/// let time: Time = "2026-11-28T16:29:08.250Z".parse().unwrap();
/// assert_eq!(time.to_string(), "2026-11-28T16:29:08.250Z");
/// assert_eq!("2026-11-28".parse::<Time>().unwrap().to_string(), "2026-11-28T00:00:00.000Z");
/// assert_eq!("2026-11-28T16:29".parse::<Time>().unwrap().to_string(), "2026-11-28T16:29:00.000Z");
/// assert!("yesterday".parse::<Time>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// The text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseTimeError;

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time in UTC: write it as 2026-11-28, 2026-11-28T16:29 or 2026-11-28T16:29:08.250Z")
    }
}

impl std::error::Error for ParseTimeError {}

impl Time {
    /// The system's time.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
    }

    /// Seconds from `earlier` to this; negative if this is the earlier one.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 as f64 - earlier.0 as f64) / 1_000.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

impl FromStr for Time {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = text.parse::<jiff::Timestamp>().or_else(|_| {
            let civil = text.parse::<jiff::civil::DateTime>()?;
            Ok::<_, jiff::Error>(civil.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
        });
        let millis = time.map_err(|_| ParseTimeError)?.as_millisecond();
        u64::try_from(millis).map(Self).map_err(|_| ParseTimeError)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Time {
    fn schema() -> openapi::RefOr<openapi::Schema> {
        let format = openapi::SchemaFormat::KnownFormat(openapi::KnownFormat::DateTime);
        openapi::ObjectBuilder::new().schema_type(openapi::Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Time {}
