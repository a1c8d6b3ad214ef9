//! Confirmation of what cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::{Arg, ArgAction, ArgMatches};

use crate::Result;
use crate::exit::{Exit, Failed};
use crate::shown::shown;

/// The argument that confirms beforehand.
pub fn yes() -> Arg {
    Arg::new("yes").long("yes").short('y').action(ArgAction::SetTrue).help("Does not ask for a confirmation")
}

/// Asks on a terminal whether to do this. Without a terminal and without `--yes` it is refused.
pub fn confirm(matches: &ArgMatches, what: &str) -> Result<()> {
    if matches.get_flag("yes") {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let text = format!("{what}: this cannot be undone; confirm it with `--yes`");
        return Err(Failed::new(Exit::Refused, text).into());
    }
    let mut terminal = io::stderr().lock();
    write!(terminal, "{}? [y/N] ", shown(what))?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failed::new(Exit::Refused, "nothing was changed").into()),
    }
}
