//! Calls the steps of the contract as the SDK never does: it stores results of steps that it has not begun, and returns something
//! else when it has to leave.

use millpond_guest::Result;
use millpond_guest::bindings::millpond::jobs::steps::{self, Error};

const HOUR: u64 = 3_600_000_000_000;

fn refusal(error: Error) -> String {
    match error {
        Error::InvalidName(_) => "invalid-name",
        Error::TooManySteps => "too-many-steps",
        Error::Changed(_) => "changed",
        Error::Suspended => "suspended",
        Error::StoreUnavailable => "store-unavailable",
        Error::Other(_) => "other",
    }
    .to_owned()
}

fn finished(name: &str) -> String {
    steps::finish(name, b"1").map_or_else(refusal, |result| String::from_utf8_lossy(&result).into_owned())
}

fn begun(name: &str) -> String {
    steps::begin(name).map_or_else(refusal, |begun| begun.name)
}

/// Completes with what it was told.
#[millpond_guest::handler]
fn raw_steps() -> Result<Vec<String>> {
    let mut told = vec![finished("never begun"), begun("a"), finished("a#2"), finished("a"), finished("a"), begun("a")];
    told.extend(["a#2", "a#1", "a#02", "a#+2", "a#", "#", ""].map(finished));
    told.extend(["", "a#2", &"n".repeat(2_000)].map(begun));
    told.push(steps::sleep("a sleep", HOUR).map_or_else(refusal, |()| "slept".to_owned()));
    told.push(steps::sleep("for ever", u64::MAX).map_or_else(refusal, |()| "slept".to_owned()));
    told.push(steps::wait_for("for ever too", Some(u64::MAX)).map_or_else(refusal, |_| "timeout".to_owned()));
    told.push(begun("b"));
    told.push(finished("a sleep"));
    told.push(steps::sleep("b", 0).map_or_else(refusal, |()| "slept".to_owned()));
    told.push(steps::wait_for("a signal", Some(0)).map_or_else(refusal, |_| "timeout".to_owned()));
    Ok(told)
}
