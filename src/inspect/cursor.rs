//! The position where a listing continues, and its text form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::storage::ScanCursor;

/// The position where a listing continues. Its text form is opaque and can be part of a URL, for example in links to
/// the next page. The text of one version of Millpond need not be valid in the next version.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// let first = pond.jobs(&JobFilter::new(), None, 2)?;
/// let link = first.next.expect("there are three jobs").to_string();
///
/// let cursor: Cursor = link.parse()?;
/// assert_eq!(pond.jobs(&JobFilter::new(), Some(cursor), 2)?.jobs.len(), 1);
/// assert!("page 2".parse::<Cursor>().is_err());
/// # Ok(()) });
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(pub(super) ScanCursor);

/// The first letter of each cursor's text: another format of cursors gets another letter.
const CURSOR_FORM: char = 'b';

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = postcard::to_stdvec(&self.0).map_err(|_| fmt::Error)?;
        write!(f, "{CURSOR_FORM}")?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(CURSOR_FORM).ok_or(ParseCursorError)?.as_bytes();
        let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or(ParseCursorError);
        let pair = |pair: &[u8]| match pair {
            [high, low] => Ok((nibble(*high)? << 4 | nibble(*low)?) as u8),
            _ => Err(ParseCursorError),
        };
        let bytes = digits.chunks(2).map(pair).collect::<Result<Vec<u8>, _>>()?;
        match postcard::take_from_bytes(&bytes) {
            Ok((cursor, [])) => Ok(Self(cursor)),
            _ => Err(ParseCursorError),
        }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a [`Cursor`] of this version.
///
/// ```
/// use millpond::{Cursor, ParseCursorError};
///
/// assert_eq!("page 2".parse::<Cursor>(), Err(ParseCursorError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this version: start again without one")]
pub struct ParseCursorError;
