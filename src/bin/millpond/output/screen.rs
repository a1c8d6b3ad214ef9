//! Lines on the standard output. All texts of the file pass [`printable`], so that none can control the terminal.

use std::io::{self, IsTerminal, Write};

use millpond::printable;
use serde::Serialize;

use crate::Result;
use crate::shown::shown_json;

/// Prints a line.
pub fn line(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Prints JSON with line breaks.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&shown_json(&serde_json::to_string_pretty(value)?))
}

/// Whether the standard output is a terminal that shows colours: <https://no-color.org>.
pub fn is_coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !refused && !is_dumb
}

/// A text in bold, where colours are shown.
pub(super) fn bold(text: &str, is_coloured: bool) -> String {
    if is_coloured { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// A text that is safe in one line.
pub(super) fn safe(text: &str) -> String {
    printable(text).into_owned()
}
