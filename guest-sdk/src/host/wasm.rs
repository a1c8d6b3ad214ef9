//! The host of a sandboxed handler: the imports of the contract, in this crate's own types.

use std::collections::BTreeMap;
use std::panic;
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::attempt::Entry;
use crate::bindings::millpond::jobs::types::{HandleError, Instant, RetryRequest};
use crate::bindings::millpond::jobs::{self as contract};
use crate::enqueue::{self, Conflict, Hold, NewJob};
use crate::error::Verdict;
use crate::flow;
use crate::handler::Handler;
#[cfg(feature = "outbound-http")]
use crate::http;
use crate::log::Level;
use crate::state;
use crate::steps::{Begun, Refusal};
use crate::{streams, topics};

/// Runs the handler on a payload: what the component exports.
pub fn run<Shape>(payload: Vec<u8>, handler: impl Handler<Shape>) -> Result<Vec<u8>, HandleError> {
    // A panic ends in a trap that says nothing. Here it still can.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| panic::set_hook(Box::new(|panic| log(Level::Critical, &panic.to_string()))));
    handler.call(payload).map_err(|error| match error.0 {
        Verdict::Retry { reason, delay } => HandleError::Retry(RetryRequest { reason, delay: delay.map(nanoseconds) }),
        Verdict::Cancel(reason) => HandleError::Cancel(reason),
        Verdict::DeadLetter(reason) => HandleError::DeadLetter(reason),
        Verdict::Snooze(delay) => HandleError::Snooze(nanoseconds(delay)),
        Verdict::Suspended => HandleError::Snooze(0),
        Verdict::RateLimited { delay, say, .. } => {
            if let Err(refusal) = (say.0)() {
                log(Level::Warn, &refusal);
            }
            HandleError::Snooze(nanoseconds(delay))
        }
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn time(instant: Instant) -> SystemTime {
    let seconds = Duration::from_secs(instant.seconds.unsigned_abs());
    let whole = if instant.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    let exact = whole.and_then(|whole| whole.checked_add(Duration::from_nanos(instant.nanoseconds.into())));
    exact.unwrap_or(UNIX_EPOCH)
}

pub(crate) fn job_id() -> String {
    contract::attempt::get_job_id()
}

pub(crate) fn kind() -> String {
    contract::attempt::get_kind()
}

pub(crate) fn queue() -> String {
    contract::attempt::get_queue()
}

pub(crate) fn number() -> u32 {
    contract::attempt::get_number()
}

pub(crate) fn max_number() -> u32 {
    contract::attempt::get_max_number()
}

pub(crate) fn enqueued_at() -> SystemTime {
    time(contract::attempt::get_enqueued_at())
}

pub(crate) fn time_left() -> Duration {
    Duration::from_nanos(contract::attempt::get_time_left())
}

pub(crate) fn is_cancelled() -> bool {
    contract::attempt::is_cancelled()
}

pub(crate) fn group() -> Option<String> {
    contract::attempt::get_group()
}

pub(crate) fn priority() -> u8 {
    contract::attempt::get_priority().try_into().unwrap_or_default()
}

pub(crate) fn tags() -> Vec<String> {
    contract::attempt::get_tags()
}

pub(crate) fn header(name: &str) -> Option<String> {
    contract::attempt::get_header(name)
}

pub(crate) fn headers() -> BTreeMap<String, String> {
    contract::attempt::get_headers().into_iter().collect()
}

pub(crate) fn run_id() -> String {
    contract::attempt::get_run_id()
}

pub(crate) fn schedule() -> Option<String> {
    contract::attempt::get_schedule()
}

pub(crate) fn scheduled_for() -> Option<SystemTime> {
    contract::attempt::get_scheduled_for().map(time)
}

pub(crate) fn entry() -> Option<Entry> {
    let stream = contract::attempt::get_stream()?;
    Some(Entry { stream, offset: contract::attempt::get_offset()?, key: contract::attempt::get_key() })
}

pub(crate) fn set_rate_limited() -> Result<(), String> {
    contract::outcome::set_rate_limited().map_err(outcome_error)
}

pub(crate) fn set_rate_limited_queue() -> Result<(), String> {
    contract::outcome::set_rate_limited_queue().map_err(outcome_error)
}

fn outcome_error(error: contract::outcome::Error) -> String {
    match error {
        contract::outcome::Error::AccessDenied => "rate limits are not granted, so only this job waits".to_owned(),
        contract::outcome::Error::Other(what) => format!("the rate limit was refused, so only this job waits: {what}"),
    }
}

pub(crate) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Trace => contract::log::Level::Trace,
        Level::Debug => contract::log::Level::Debug,
        Level::Info => contract::log::Level::Info,
        Level::Warn => contract::log::Level::Warn,
        Level::Error => contract::log::Level::Error,
        Level::Critical => contract::log::Level::Critical,
    };
    contract::log::log(level, line);
}

pub(crate) fn config(key: &str) -> Option<String> {
    contract::config::get(key)
}

pub(crate) fn state_get(key: &str) -> Result<Option<Vec<u8>>, state::Error> {
    contract::state::get(key).map_err(state_error)
}

pub(crate) fn state_set(key: &str, value: &[u8]) -> Result<(), state::Error> {
    contract::state::set(key, value).map_err(state_error)
}

pub(crate) fn state_delete(key: &str) -> Result<(), state::Error> {
    contract::state::delete(key).map_err(state_error)
}

pub(crate) fn state_increment(key: &str, delta: i64) -> Result<(), state::Error> {
    contract::state::increment(key, delta).map_err(state_error)
}

#[cfg(feature = "state-scan")]
pub(crate) fn state_list_keys(
    prefix: &str,
    cursor: Option<&str>,
) -> Result<(Vec<String>, Option<String>), state::Error> {
    contract::state::list_keys(prefix, cursor).map_err(state_error)
}

fn state_error(error: contract::state::Error) -> state::Error {
    match error {
        contract::state::Error::KeyTooLarge => state::Error::KeyTooLarge,
        contract::state::Error::ValueTooLarge => state::Error::ValueTooLarge,
        contract::state::Error::QuotaExceeded => state::Error::QuotaExceeded,
        contract::state::Error::StoreUnavailable => state::Error::StoreUnavailable,
        contract::state::Error::Other(what) => state::Error::Other(what),
    }
}

/// Passes options on to a job of the contract.
pub(crate) type SetOptions = fn(&contract::enqueue::NewJob, &NewJob);

/// The options that version 0.1.1 of the contract has added. Only referred to where one of them is set, so that a plugin which sets
/// none runs on a host of 0.1.0.
pub(crate) fn set_options_of_0_1_1(job: &contract::enqueue::NewJob, new: &NewJob) {
    if let Some(after) = new.expires_in {
        job.set_expiry(nanoseconds(after));
    }
    if let Some(timeout) = new.timeout {
        job.set_timeout(nanoseconds(timeout));
    }
    if let Some(weight) = new.weight {
        job.set_weight(weight);
    }
    new.tags.iter().for_each(|tag| job.add_tag(tag));
    new.headers.iter().for_each(|(name, value)| job.set_header(name, value));
    if let Some(at_least) = new.unique_for {
        job.set_unique_for(nanoseconds(at_least));
    }
    match new.unique.hold {
        Hold::UntilEnded => {}
        Hold::UntilStarted => job.set_unique_until_started(),
        Hold::Throttle(window) => job.set_unique_throttle(nanoseconds(window)),
        Hold::KeepLatest => job.set_unique_keep_latest(),
    }
    match new.unique.conflict {
        Conflict::Keep => {}
        Conflict::Replace => job.set_unique_replace(),
        Conflict::Debounce { quiet, at_most } => job.set_unique_debounce(nanoseconds(quiet), nanoseconds(at_most)),
    }
}

/// Makes a job of the contract.
fn job_of(new: &NewJob) -> contract::enqueue::NewJob {
    let job = contract::enqueue::NewJob::new(&new.kind, &new.payload);
    if let Some(queue) = &new.queue {
        job.set_queue(queue);
    }
    if let Some(delay) = new.delay {
        job.set_delay(nanoseconds(delay));
    }
    if let Some(priority) = new.priority {
        job.set_priority(priority.into());
    }
    if let Some(max_attempts) = new.max_attempts {
        job.set_max_attempts(max_attempts);
    }
    if let Some(key) = &new.unique_key {
        job.set_unique_key(key);
    }
    if let Some(group) = &new.group {
        job.set_group(group);
    }
    if let Some(set_options) = new.newer {
        (set_options.0)(&job, new);
    }
    job
}

pub(crate) fn enqueue(new: NewJob) -> Result<String, enqueue::Error> {
    contract::enqueue::enqueue(job_of(&new)).map_err(enqueue_error)
}

pub(crate) fn enqueue_many(jobs: Vec<NewJob>) -> Result<Vec<String>, enqueue::RefusedJob> {
    let jobs: Vec<_> = jobs.iter().map(job_of).collect();
    contract::enqueue::enqueue_many(jobs)
        .map_err(|refused| enqueue::RefusedJob { index: refused.index as usize, error: enqueue_error(refused.error) })
}

fn enqueue_error(error: contract::enqueue::Error) -> enqueue::Error {
    match error {
        contract::enqueue::Error::AccessDenied => enqueue::Error::AccessDenied,
        contract::enqueue::Error::PayloadTooLarge => enqueue::Error::PayloadTooLarge,
        contract::enqueue::Error::QuotaExceeded => enqueue::Error::QuotaExceeded,
        contract::enqueue::Error::Other(what) => enqueue::Error::Other(what),
    }
}

pub(crate) fn step_begin(name: &str) -> Result<Begun, Refusal> {
    let begun = contract::steps::begin(name).map_err(step_refusal)?;
    Ok(Begun { name: begun.name, stored: begun.stored })
}

pub(crate) fn step_finish(name: &str, result: &[u8]) -> Result<Vec<u8>, Refusal> {
    contract::steps::finish(name, result).map_err(step_refusal)
}

pub(crate) fn step_sleep(name: &str, time: Duration) -> Result<(), Refusal> {
    contract::steps::sleep(name, nanoseconds(time)).map_err(step_refusal)
}

pub(crate) fn step_wait_for(name: &str, timeout: Option<Duration>) -> Result<Option<Vec<u8>>, Refusal> {
    contract::steps::wait_for(name, timeout.map(nanoseconds)).map_err(step_refusal)
}

fn step_refusal(error: contract::steps::Error) -> Refusal {
    match error {
        contract::steps::Error::InvalidName(why) => Refusal::InvalidName(why),
        contract::steps::Error::TooManySteps => Refusal::TooManySteps,
        contract::steps::Error::Changed(why) => Refusal::Changed(why),
        contract::steps::Error::Suspended => Refusal::Suspended,
        contract::steps::Error::StoreUnavailable => Refusal::StoreUnavailable,
        contract::steps::Error::Other(what) => Refusal::Other(what),
    }
}

pub(crate) fn flow_result(name: &str) -> Result<Option<Vec<u8>>, flow::Error> {
    contract::flow::get_result(name).map_err(|error| match error {
        contract::flow::Error::AccessDenied => flow::Error::AccessDenied,
        contract::flow::Error::NoFlow => flow::Error::NoFlow,
        contract::flow::Error::NoSuchName => flow::Error::NoSuchName,
        contract::flow::Error::StoreUnavailable => flow::Error::StoreUnavailable,
        contract::flow::Error::Other(what) => flow::Error::Other(what),
    })
}

pub(crate) fn append(stream: &str, entry: NewJob) -> Result<(), streams::Error> {
    contract::streams::append(stream, job_of(&entry)).map_err(|error| match error {
        contract::streams::Error::AccessDenied => streams::Error::AccessDenied,
        contract::streams::Error::PayloadTooLarge => streams::Error::PayloadTooLarge,
        contract::streams::Error::QuotaExceeded => streams::Error::QuotaExceeded,
        contract::streams::Error::Other(what) => streams::Error::Other(what),
    })
}

pub(crate) fn publish(topic: &str, key: &str, message: NewJob) -> Result<(), topics::Error> {
    contract::topics::publish(topic, key, job_of(&message)).map_err(|error| match error {
        contract::topics::Error::AccessDenied => topics::Error::AccessDenied,
        contract::topics::Error::NoSuchTopic => topics::Error::NoSuchTopic,
        contract::topics::Error::Unroutable => topics::Error::Unroutable,
        contract::topics::Error::PayloadTooLarge => topics::Error::PayloadTooLarge,
        contract::topics::Error::QuotaExceeded => topics::Error::QuotaExceeded,
        contract::topics::Error::Other(what) => topics::Error::Other(what),
    })
}

pub(crate) fn progress(done: u64, total: Option<u64>, message: Option<&str>) {
    contract::progress::report(done, total, message);
}

pub(crate) fn now() -> SystemTime {
    time(contract::clock::now())
}

pub(crate) fn random_u64() -> u64 {
    contract::random::get_random_u64()
}

pub(crate) fn random_bytes(max_len: u64) -> Vec<u8> {
    contract::random::get_random_bytes(max_len)
}

#[cfg(feature = "outbound-http")]
pub(crate) fn http_send(request: http::Request) -> Result<http::Response, http::Error> {
    let request = contract::outbound_http::Request {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: request.body,
        timeout: request.timeout.map(nanoseconds),
    };
    match contract::outbound_http::send(&request) {
        Ok(response) => Ok(http::Response { status: response.status, headers: response.headers, body: response.body }),
        Err(error) => Err(match error {
            contract::outbound_http::Error::AccessDenied => http::Error::AccessDenied,
            contract::outbound_http::Error::InvalidRequest(what) => http::Error::InvalidRequest(what),
            contract::outbound_http::Error::Timeout => http::Error::Timeout,
            contract::outbound_http::Error::Connection(what) => http::Error::Connection(what),
            contract::outbound_http::Error::ResponseTooLarge => http::Error::ResponseTooLarge,
            contract::outbound_http::Error::Other(what) => http::Error::Other(what),
        }),
    }
}
