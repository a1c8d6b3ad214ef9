//! What the queue refuses of a follow-up job, and what it counts of one.

use std::collections::BTreeSet;
use std::time::Duration;

use millpond_rules::attempt::LABEL_BYTES;
use millpond_rules::{
    HEADERS_BYTES_MAX, KEY_BYTES_MAX, KEY_SECONDS_MAX, PRIORITIES, TAGS_MAX, is_header_name, is_key, is_tag,
};

use crate::enqueue::{Conflict, Hold, NewJob, Unique};

type Checked = Result<(), String>;

fn tags(job: &NewJob) -> BTreeSet<&str> {
    job.tags.iter().map(String::as_str).collect()
}

/// The bytes of its names and values.
fn header_bytes(job: &NewJob) -> usize {
    job.headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// The bytes that it counts toward the quota of an attempt.
pub(super) fn bytes(job: &NewJob) -> usize {
    let tags = tags(job);
    let labels = tags.iter().map(|tag| tag.len()).sum::<usize>() + header_bytes(job);
    job.payload.len() + labels + (tags.len() + job.headers.len()) * LABEL_BYTES
}

/// What is refused because of a single option, before the attempt's quota is looked at.
pub(super) fn of_a_setter(job: &NewJob) -> Checked {
    if let Some(priority) = job.priority.filter(|priority| *priority >= PRIORITIES) {
        return Err(format!("priority {priority} is not from 0 to 9"));
    }
    let tags = tags(job);
    if let Some(tag) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(format!("invalid tag of {} bytes", tag.len()));
    }
    if tags.len() > TAGS_MAX {
        return Err(format!("more than {TAGS_MAX} tags"));
    }
    if let Some(name) = job.headers.keys().find(|name| !is_header_name(name)) {
        return Err(format!("invalid name of a header, of {} bytes", name.len()));
    }
    if header_bytes(job) > HEADERS_BYTES_MAX {
        return Err(format!("headers of {} bytes: the most is {HEADERS_BYTES_MAX}", header_bytes(job)));
    }
    if job.unique_key.is_none() && job.unique != Unique::until_ended() {
        return Err("an option of the unique key is set, and there is no unique key".into());
    }
    Ok(())
}

/// What is refused after that.
pub(super) fn of_the_queue(job: &NewJob) -> Checked {
    for (what, name) in [("group", &job.group), ("unique key", &job.unique_key)] {
        if let Some(len) = name.as_deref().filter(|name| !is_key(name)).map(str::len) {
            return Err(format!("invalid {what} of {len} bytes: use 1 to {KEY_BYTES_MAX} bytes"));
        }
    }
    of_unique(job)?;
    if job.max_attempts == Some(0) {
        return Err("0 attempts would never run the job: the least is 1".into());
    }
    if job.timeout == Some(Duration::ZERO) {
        return Err("a timeout of zero would fail every attempt".into());
    }
    if job.weight == Some(0) {
        return Err("a job uses at least 1 unit of its limits".into());
    }
    Ok(())
}

/// What is refused of a message after that.
pub(super) fn of_a_message(message: &NewJob) -> Checked {
    if message.queue.is_some() {
        return Err("a queue is set, and it does not go into one".into());
    }
    of_the_queue(message)
}

/// What is refused of an entry after that.
pub(super) fn of_an_entry(entry: &NewJob) -> Checked {
    let options = [
        ("queue", entry.queue.is_some()),
        ("delay", entry.delay.is_some_and(|delay| !delay.is_zero())),
        ("priority", entry.priority.is_some()),
        ("max_attempts", entry.max_attempts.is_some()),
        ("unique_key", entry.unique_key.is_some()),
        ("unique_for", entry.unique_for.is_some()),
        ("expires_in", entry.expires_in.is_some()),
        ("timeout", entry.timeout.is_some()),
        ("weight", entry.weight.is_some()),
    ];
    match options.into_iter().find(|(_, is_set)| *is_set) {
        Some((option, _)) => Err(format!("an entry of a stream cannot have the option `{option}`")),
        None => of_the_queue(entry),
    }
}

fn of_unique(job: &NewJob) -> Checked {
    let Unique { hold, conflict } = job.unique;
    let key_time_max = Duration::from_secs(KEY_SECONDS_MAX);
    match hold {
        Hold::Throttle(window) if window.is_zero() || window > key_time_max => {
            return Err(format!("a window of {window:?} is not between zero and 30 days"));
        }
        Hold::Throttle(_) if conflict != Conflict::Keep => {
            return Err("the first job of a window is kept: leave out `replace` or `debounce`".into());
        }
        Hold::KeepLatest if matches!(conflict, Conflict::Debounce { .. }) => {
            return Err("`keep_latest` does not wait: use `until_started().debounce(..)`".into());
        }
        Hold::KeepLatest if job.group.is_some() => {
            return Err("a job of `keep_latest` is in the group of its key and cannot have another one".into());
        }
        _ => {}
    }
    if let Conflict::Debounce { quiet, at_most } = conflict {
        if quiet.is_zero() || at_most < quiet {
            return Err(format!("a debounce of {quiet:?}, at most {at_most:?}, cannot work"));
        }
        if job.delay.is_some_and(|delay| !delay.is_zero()) {
            return Err("a debounce says when the job starts: leave out `delay`".into());
        }
    }
    match job.unique_for {
        Some(_) if job.unique_key.is_none() => Err("there is no unique key that `unique_for` could be for".into()),
        Some(_) if job.unique != Unique::until_ended() => Err("this way of holding a key has no `unique_for`".into()),
        Some(time) if time > key_time_max => Err(format!("{time:?} is more than 30 days, the most")),
        _ => Ok(()),
    }
}
