use std::borrow::Cow;

use crate::text::printable;

/// What would move a terminal's cursor, colour it, end the line or turn it round is shown instead of done.
pub(super) fn plain(text: String) -> String {
    let shown = match printable(&text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(shown) => Some(shown),
    };
    shown.unwrap_or(text)
}
