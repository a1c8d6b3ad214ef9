use crate::text::printable;

/// What would move a terminal's cursor, colour it, end the line or turn it round is shown instead of done.
pub(super) fn plain(text: String) -> String {
    printable(&text).into_owned()
}
