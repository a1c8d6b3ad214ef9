//! The attempts of a job: its errors and what its handlers have reported, in one list.

use std::collections::BTreeMap;

use crate::{AttemptError, AttemptLog};

use super::super::api::{Attempt, LogLine};
use super::{progress, time};

/// The attempts, the oldest first.
pub(super) fn timeline(errors: &[AttemptError], logs: &[AttemptLog]) -> Vec<Attempt> {
    // A redriven job begins anew with attempt 1: the time of the start tells its attempts apart.
    let mut attempts = BTreeMap::new();
    for log in logs {
        let attempt = Attempt {
            number: log.attempt,
            started_at: time(log.started_at),
            ended_at: log.ended_at.map(time),
            lines: log.lines.iter().map(|line| LogLine { at: time(line.at), text: line.text.clone() }).collect(),
            dropped_lines: log.dropped,
            progress: log.progress.as_ref().map(progress),
            ..Attempt::default()
        };
        attempts.insert((attempt.started_at, attempt.number), attempt);
    }
    for error in errors {
        let (number, started_at) = (error.attempt, time(error.started_at));
        let new = || Attempt { number, started_at, ..Attempt::default() };
        let attempt = attempts.entry((started_at, number)).or_insert_with(new);
        attempt.ended_at = Some(time(error.ended_at));
        attempt.failure = Some(format!("{:?}", error.kind));
        attempt.error = Some(error.message.clone());
    }
    attempts.into_values().collect()
}
