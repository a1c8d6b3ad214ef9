//! The host of a handler that is not in a sandbox: the attempt of [`testing::Host`](crate::testing::Host) that runs on this
//! thread, or one that belongs to the thread where none does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::attempt::Entry;
use crate::enqueue::{self, NewJob};
use crate::flow;
#[cfg(feature = "outbound-http")]
use crate::http;
use crate::log::Level;
use crate::state;
use crate::steps::{Begun, Refusal};
use crate::testing::Attempt;
use crate::{streams, topics};

thread_local! {
    static RUNNING: RefCell<Attempt> = RefCell::new(Attempt::default());
}

/// Lets `attempt` be the one that runs on this thread, and gives back the one before.
pub(crate) fn replace(attempt: Attempt) -> Attempt {
    RUNNING.replace(attempt)
}

fn ask<T>(question: impl FnOnce(&mut Attempt) -> T) -> T {
    RUNNING.with_borrow_mut(question)
}

pub(crate) fn job_id() -> String {
    ask(|attempt| attempt.facts.job_id.clone())
}

pub(crate) fn kind() -> String {
    ask(|attempt| attempt.facts.kind.clone())
}

pub(crate) fn queue() -> String {
    ask(|attempt| attempt.facts.queue.clone())
}

pub(crate) fn number() -> u32 {
    ask(|attempt| attempt.facts.number)
}

pub(crate) fn max_number() -> u32 {
    ask(|attempt| attempt.facts.max_number)
}

pub(crate) fn enqueued_at() -> SystemTime {
    ask(|attempt| attempt.facts.enqueued_at)
}

pub(crate) fn time_left() -> Duration {
    ask(|attempt| attempt.facts.time_left)
}

pub(crate) fn is_cancelled() -> bool {
    ask(|attempt| attempt.facts.cancelled)
}

pub(crate) fn group() -> Option<String> {
    ask(|attempt| attempt.facts.group.clone())
}

pub(crate) fn priority() -> u8 {
    ask(|attempt| attempt.facts.priority)
}

pub(crate) fn tags() -> Vec<String> {
    ask(|attempt| attempt.facts.tags.clone())
}

pub(crate) fn header(name: &str) -> Option<String> {
    ask(|attempt| attempt.facts.headers.get(name).cloned())
}

pub(crate) fn headers() -> BTreeMap<String, String> {
    ask(|attempt| attempt.facts.headers.clone())
}

pub(crate) fn run_id() -> String {
    ask(|attempt| attempt.facts.run_id.clone())
}

pub(crate) fn schedule() -> Option<String> {
    ask(|attempt| attempt.facts.schedule.as_ref().map(|(name, _)| name.clone()))
}

pub(crate) fn scheduled_for() -> Option<SystemTime> {
    ask(|attempt| attempt.facts.schedule.as_ref().map(|(_, at)| *at))
}

pub(crate) fn entry() -> Option<Entry> {
    ask(|attempt| {
        let (stream, offset) = attempt.facts.entry.clone()?;
        Some(Entry { stream, offset, key: attempt.facts.group.clone() })
    })
}

/// Nothing: the verdict itself says it here.
pub(crate) fn set_rate_limited() -> Result<(), String> {
    Ok(())
}

/// Nothing: the verdict itself says it here.
pub(crate) fn set_rate_limited_queue() -> Result<(), String> {
    Ok(())
}

pub(crate) fn log(level: Level, line: &str) {
    ask(|attempt| attempt.log(level, line));
}

pub(crate) fn config(key: &str) -> Option<String> {
    ask(|attempt| attempt.config.get(key).cloned())
}

pub(crate) fn state_get(key: &str) -> Result<Option<Vec<u8>>, state::Error> {
    ask(|attempt| attempt.state.get(key))
}

pub(crate) fn state_set(key: &str, value: &[u8]) -> Result<(), state::Error> {
    ask(|attempt| attempt.state.set(key, value))
}

pub(crate) fn state_delete(key: &str) -> Result<(), state::Error> {
    ask(|attempt| attempt.state.delete(key))
}

pub(crate) fn state_increment(key: &str, delta: i64) -> Result<(), state::Error> {
    ask(|attempt| attempt.state.increment(key, delta))
}

#[cfg(feature = "state-scan")]
pub(crate) fn state_list_keys(
    prefix: &str,
    cursor: Option<&str>,
) -> Result<(Vec<String>, Option<String>), state::Error> {
    ask(|attempt| attempt.state.list_keys(prefix, cursor))
}

pub(crate) fn enqueue(job: NewJob) -> Result<String, enqueue::Error> {
    ask(|attempt| attempt.enqueue(job))
}

pub(crate) fn enqueue_many(jobs: Vec<NewJob>) -> Result<Vec<String>, enqueue::RefusedJob> {
    ask(|attempt| attempt.enqueue_many(jobs))
}

pub(crate) fn step_begin(name: &str) -> Result<Begun, Refusal> {
    ask(|attempt| attempt.steps.begin(name))
}

pub(crate) fn step_finish(name: &str, result: &[u8]) -> Result<Vec<u8>, Refusal> {
    ask(|attempt| attempt.steps.finish(name, result))
}

pub(crate) fn step_sleep(name: &str, time: Duration) -> Result<(), Refusal> {
    ask(|attempt| attempt.steps.sleep(name, time, attempt.facts.now()))
}

pub(crate) fn step_wait_for(name: &str, timeout: Option<Duration>) -> Result<Option<Vec<u8>>, Refusal> {
    ask(|attempt| attempt.steps.wait_for(name, timeout, attempt.facts.now()))
}

pub(crate) fn flow_result(name: &str) -> Result<Option<Vec<u8>>, flow::Error> {
    ask(|attempt| match &attempt.flow {
        None => Err(flow::Error::NoFlow),
        Some(results) => results.get(name).cloned().map(Some).ok_or(flow::Error::NoSuchName),
    })
}

pub(crate) fn append(stream: &str, entry: NewJob) -> Result<(), streams::Error> {
    ask(|attempt| attempt.append(stream, entry))
}

pub(crate) fn publish(topic: &str, key: &str, message: NewJob) -> Result<(), topics::Error> {
    ask(|attempt| attempt.publish(topic, key, message))
}

pub(crate) fn progress(done: u64, total: Option<u64>, message: Option<&str>) {
    ask(|attempt| attempt.progress = Some((done, total, message.map(str::to_owned))));
}

pub(crate) fn now() -> SystemTime {
    ask(|attempt| attempt.facts.now())
}

pub(crate) fn random_u64() -> u64 {
    ask(Attempt::random)
}

pub(crate) fn random_bytes(max_len: u64) -> Vec<u8> {
    let words = std::iter::repeat_with(random_u64).take((max_len.min(64 * 1024) as usize).div_ceil(8));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(max_len.min(64 * 1024) as usize);
    bytes
}

#[cfg(feature = "outbound-http")]
pub(crate) fn http_send(request: http::Request) -> Result<http::Response, http::Error> {
    // Outside of the borrow: what answers may itself log.
    let web = ask(|attempt| attempt.web.clone());
    match web {
        Some(web) => web(&request),
        None => Err(http::Error::AccessDenied),
    }
}
