//! Makes text from guests fit to be logged.

use std::borrow::Cow;

use crate::text::printable;

/// Replaces characters that would move a terminal's cursor, change its colours, end the line or reverse the direction
/// of the text by visible escapes.
pub(super) fn plain(text: String) -> String {
    let shown = match printable(&text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(shown) => Some(shown),
    };
    shown.unwrap_or(text)
}
