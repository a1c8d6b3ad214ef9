//! The host that a test holds in its hands.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "outbound-http")]
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use millpond_rules::attempt::OUTPUT_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "outbound-http")]
use super::attempt::Web;
use super::attempt::{Attempt, Facts, Grant, Grants};
use super::outcome::Outcome;
use super::overlay::Overlay;
use super::steps::{Step, Steps};
use crate::enqueue::NewJob;
use crate::handler::Handler;
use crate::host;
use crate::log::Level;
use crate::topics;

/// A line that a handler has logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much the operator should care.
    pub level: Level,
    /// What it says.
    pub text: String,
}

/// Runs handlers as the queue does, and shows what they have done. See [the module](crate::testing).
#[derive(Default)]
pub struct Host {
    facts: Facts,
    config: BTreeMap<String, String>,
    grants: Grants,
    refusing_topics: BTreeMap<String, topics::Error>,
    flow: Option<BTreeMap<String, Vec<u8>>>,
    committed: BTreeMap<String, Vec<u8>>,
    /// Of the job at hand, or of the one that has ended last.
    steps: BTreeMap<String, Step>,
    /// The job at hand has ended: the next run is one of another job.
    has_ended: bool,
    enqueued: Vec<NewJob>,
    appended: Vec<(String, NewJob)>,
    published: Vec<(String, String, NewJob)>,
    logs: Vec<Line>,
    progress: Option<(u64, Option<u64>, Option<String>)>,
    #[cfg(feature = "outbound-http")]
    web: Option<Web>,
}

impl Host {
    /// A host without settings and state; each job is in its first attempt of 5.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a setting of the operator.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Into<String>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// With a committed value, written as JSON.
    ///
    /// # Panics
    /// If the value has no JSON.
    #[must_use]
    pub fn state<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Self {
        self.committed.insert(key.to_owned(), serde_json::to_vec(value).expect("a value with JSON"));
        self
    }

    /// With the grant to enqueue jobs of these kinds and no others: `KIND` into the queue of the job at hand, `KIND@QUEUE` into
    /// another, as `millpond plugin run --grant` has it. A host without this lets enqueue everything.
    #[must_use]
    pub fn grant(mut self, kinds: &[&str]) -> Self {
        self.grants.enqueue = Some(Grant::all(kinds));
        self
    }

    /// With the grant to append these entries and no others, each as `KIND@STREAM`, as `millpond plugin run --append` has it. A host
    /// without this lets append everything.
    #[must_use]
    pub fn grant_append(mut self, entries: &[&str]) -> Self {
        self.grants.append = Some(Grant::all(entries));
        self
    }

    /// With the grant to publish these messages and no others, each as `KIND@TOPIC`, as `millpond plugin run --publish` has it. A host
    /// without this lets publish everything.
    #[must_use]
    pub fn grant_publish(mut self, messages: &[&str]) -> Self {
        self.grants.publish = Some(Grant::all(messages));
        self
    }

    /// With a topic that refuses each message with this error. Every other topic exists, and accepts each message.
    #[must_use]
    pub fn refusing_topic(mut self, topic: &str, error: topics::Error) -> Self {
        self.refusing_topics.insert(topic.to_owned(), error);
        self
    }

    /// With a job or signal of this name in the job's flow, and its result, which is written as JSON. Without this the job belongs to
    /// no flow.
    ///
    /// # Panics
    /// If the result has no JSON.
    #[must_use]
    pub fn flow_result<T: Serialize + ?Sized>(mut self, name: &str, result: &T) -> Self {
        let result = serde_json::to_vec(result).expect("a result with JSON");
        self.flow.get_or_insert_default().insert(name.to_owned(), result);
        self
    }

    /// The job's id from now on.
    #[must_use]
    pub fn job_id(mut self, id: &str) -> Self {
        self.facts.job_id = id.to_owned();
        self
    }

    /// The job's kind and queue from now on.
    #[must_use]
    pub fn job_of(mut self, kind: &str, queue: &str) -> Self {
        (self.facts.kind, self.facts.queue) = (kind.to_owned(), queue.to_owned());
        self
    }

    /// Which attempt the next runs are, of how many.
    #[must_use]
    pub fn attempt(mut self, number: u32, of: u32) -> Self {
        (self.facts.number, self.facts.max_number) = (number, of);
        self
    }

    /// When the job was enqueued.
    #[must_use]
    pub fn enqueued_at(mut self, at: SystemTime) -> Self {
        self.facts.enqueued_at = at;
        self
    }

    /// What [`attempt::time_left`](crate::attempt::time_left) says; 30 s if not set.
    #[must_use]
    pub fn time_left(mut self, left: Duration) -> Self {
        self.facts.time_left = left;
        self
    }

    /// A job of this group.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.facts.group = Some(group.to_owned());
        self
    }

    /// A job with this priority; 5 if not set.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.facts.priority = priority;
        self
    }

    /// A job with these tags.
    #[must_use]
    pub fn tags(mut self, tags: &[&str]) -> Self {
        self.facts.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self
    }

    /// A job with this header, beside those that were set before.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.facts.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What [`attempt::run_id`](crate::attempt::run_id) says.
    #[must_use]
    pub fn run_id(mut self, id: &str) -> Self {
        self.facts.run_id = id.to_owned();
        self
    }

    /// A job that this schedule has enqueued for this time.
    #[must_use]
    pub fn scheduled(mut self, schedule: &str, at: SystemTime) -> Self {
        self.facts.schedule = Some((schedule.to_owned(), at));
        self
    }

    /// An entry that the consumer of a stream has handed out. Its key is the [group](Self::group).
    #[must_use]
    pub fn entry(mut self, stream: &str, offset: u64) -> Self {
        self.facts.entry = Some((stream.to_owned(), offset));
        self
    }

    /// As if the cancel of the job was requested, or the host were about to stop.
    #[must_use]
    pub fn cancelled(mut self) -> Self {
        self.facts.cancelled = true;
        self
    }

    /// A clock that stands still at this moment.
    #[must_use]
    pub fn now(mut self, now: SystemTime) -> Self {
        self.facts.now = Some(now);
        self
    }

    /// Moves the clock that handlers see, for a [sleep](crate::steps::sleep) or a timeout.
    pub fn advance(&mut self, time: Duration) {
        self.facts.advanced += time;
    }

    /// Sends a signal to the job at hand, as the application does, with a value that is written as JSON. A signal that was sent
    /// before its handler waits for it is kept; one that has come already is not replaced.
    ///
    /// # Panics
    /// If the value has no JSON.
    pub fn signal<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.forget_ended();
        let signal = Step::Signalled(serde_json::to_vec(value).expect("a value with JSON"));
        match self.steps.get(name) {
            None | Some(Step::Waits(_)) => self.steps.insert(name.to_owned(), signal),
            Some(_) => None,
        };
    }

    /// The same random numbers in each attempt.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.facts.seed = Some(seed);
        self
    }

    /// What answers HTTP requests. Without it each one is refused.
    #[cfg(feature = "outbound-http")]
    #[must_use]
    pub fn web(
        mut self,
        web: impl Fn(&crate::http::Request) -> Result<crate::http::Response, crate::http::Error> + 'static,
    ) -> Self {
        self.web = Some(Rc::new(web));
        self
    }

    /// Runs one attempt with a payload that is written as JSON.
    ///
    /// # Panics
    /// If the payload has no JSON. A panic of the handler is an [`Outcome`].
    pub fn run<Shape, T: Serialize + ?Sized>(&mut self, handler: impl Handler<Shape>, payload: &T) -> Outcome {
        self.run_raw(handler, serde_json::to_vec(payload).expect("a payload with JSON"))
    }

    /// Runs one attempt with a payload of these bytes.
    pub fn run_raw<Shape>(&mut self, handler: impl Handler<Shape>, payload: impl Into<Vec<u8>>) -> Outcome {
        self.forget_ended();
        let outside = host::replace(self.begin());
        let result = catch_unwind(AssertUnwindSafe(|| handler.call(payload.into())));
        let attempt = host::replace(outside);
        let outcome = match result {
            Ok(Ok(result)) if result.len() > OUTPUT_BYTES => Outcome::Retry {
                reason: format!("the result has {} bytes, the limit is {OUTPUT_BYTES}", result.len()),
                delay: None,
            },
            Ok(result) => Outcome::from(result),
            Err(panic) => Outcome::Panicked(message(panic.as_ref())),
        };
        self.end(attempt, &outcome);
        outcome
    }

    fn begin(&self) -> Attempt {
        Attempt {
            facts: self.facts.clone(),
            config: self.config.clone(),
            state: Overlay::new(self.committed.clone()),
            steps: Steps::new(self.steps.clone()),
            grants: self.grants.clone(),
            refusing_topics: self.refusing_topics.clone(),
            flow: self.flow.clone(),
            random: self.facts.seed,
            #[cfg(feature = "outbound-http")]
            web: self.web.clone(),
            ..Attempt::default()
        }
    }

    fn end(&mut self, attempt: Attempt, outcome: &Outcome) {
        self.logs.extend(attempt.logs);
        self.steps = attempt.steps.stored;
        self.has_ended = outcome.is_done() || outcome.is_cancelled() || outcome.is_dead_letter();
        self.progress = attempt.progress.or(self.progress.take());
        if outcome.is_done() {
            self.committed = attempt.state.values;
            for job in attempt.enqueued {
                self.store(job);
            }
            self.appended.extend(attempt.appended);
            self.published.extend(attempt.published);
        }
    }

    /// Forgets the steps of a job that has ended.
    fn forget_ended(&mut self) {
        if std::mem::take(&mut self.has_ended) {
            self.steps.clear();
        }
    }

    /// A job whose unique key is there already is not stored, or replaces the one that is there.
    fn store(&mut self, job: NewJob) {
        let queue = |job: &NewJob| job.queue.clone().unwrap_or_else(|| self.facts.queue.clone());
        let is_there = |other: &NewJob| other.unique_key == job.unique_key && queue(other) == queue(&job);
        let there = self.enqueued.iter().position(is_there).filter(|_| job.unique_key.is_some());
        match there {
            None => self.enqueued.push(job),
            Some(there) if job.unique.replaces() && self.enqueued[there].kind == job.kind => self.enqueued[there] = job,
            Some(_) => {}
        }
    }

    /// The committed value under `key`, read from JSON; none if it is not there, or not a `T`.
    pub fn value<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(self.value_raw(key)?).ok()
    }

    /// The committed bytes under `key`.
    pub fn value_raw(&self, key: &str) -> Option<&[u8]> {
        self.committed.get(key).map(Vec::as_slice)
    }

    /// The committed counter under `key`; 0 if there is none.
    pub fn counter(&self, key: &str) -> i64 {
        self.value_raw(key).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_le_bytes)
    }

    /// The result of the [step](crate::steps) of this name, or what came with its signal, read from JSON; none if it has none, or is
    /// not a `T`. Of the job at hand; once that has ended, until the next run.
    pub fn step<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(self.steps.get(name)?.result()?).ok()
    }

    /// The names of all stored [steps](crate::steps), with their numbers, in order of their names.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.keys().map(String::as_str)
    }

    /// The keys of all committed values, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.committed.keys().map(String::as_str)
    }

    /// The follow-up jobs of all completed jobs, in order. As if each still waited when the next one came: with one unique key, the
    /// first is stored and the others are not, unless they [replace](crate::enqueue::Unique::replace) it.
    pub fn enqueued(&self) -> &[NewJob] {
        &self.enqueued
    }

    /// The entries that all completed jobs have appended to this stream, in order.
    pub fn appended(&self, stream: &str) -> Vec<&NewJob> {
        self.appended.iter().filter(|(to, _)| to == stream).map(|(_, entry)| entry).collect()
    }

    /// The messages that all completed jobs have published to this topic, each with its routing key, in order.
    pub fn published(&self, topic: &str) -> Vec<(&str, &NewJob)> {
        let messages = self.published.iter().filter(|(to, ..)| to == topic);
        messages.map(|(_, key, message)| (key.as_str(), message)).collect()
    }

    /// The lines of all attempts, in order.
    pub fn logs(&self) -> &[Line] {
        &self.logs
    }

    /// The last report of progress: done, of how many, message.
    pub fn progress(&self) -> Option<(u64, Option<u64>, Option<&str>)> {
        self.progress.as_ref().map(|(done, total, message)| (*done, *total, message.as_deref()))
    }
}

/// What a test asks of a job that was enqueued, an entry that was appended or a message that was published.
impl NewJob {
    /// Its group, which is the key of an entry.
    pub fn key(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its payload, read from JSON; none if it is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.payload).ok()
    }

    /// Its payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a value that is no text".into())
}
