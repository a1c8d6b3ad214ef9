//! A follow-up job, an entry or a message that a guest has created and not enqueued, appended or published yet.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millpond_rules::attempt::LABEL_BYTES;
use millpond_rules::{HEADERS_BYTES_MAX, TAGS_MAX};

use crate::error::Error;
use crate::job::{Codec, Labels, NewJob, Payload, Priority, Unique};

/// A follow-up job that the guest has created and not enqueued yet, or an entry or a message. Its options are checked when it is
/// enqueued, appended or published.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub struct Draft {
    pub kind: String,
    pub payload: Bytes,
    pub queue: Option<String>,
    pub delay: Duration,
    pub expiry: Option<Duration>,
    pub priority: Option<Priority>,
    pub max_attempts: Option<u32>,
    pub timeout: Option<Duration>,
    pub weight: Option<u32>,
    pub unique: UniqueOptions,
    pub group: Option<String>,
    tags: Vec<String>,
    headers: BTreeMap<String, String>,
    /// The bytes of the headers' names and values.
    header_bytes: usize,
    /// What the tags and headers count toward the quota.
    label_bytes: usize,
    pub generation: u32,
    /// The first error of a setter, which `enqueue` returns.
    pub wrong: Option<String>,
    /// The payload, a tag or a header was over the quota and was not kept. `enqueue` returns an error.
    pub over_quota: bool,
}

/// The unique key of a follow-up job, and how it is held.
#[derive(Clone, Debug, Default)]
#[doc(hidden)]
pub struct UniqueOptions {
    pub key: Option<String>,
    pub at_least: Option<Duration>,
    pub hold: Option<Hold>,
    pub conflict: Option<Conflict>,
}

/// For how long the key is held, instead of until its job has ended.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub enum Hold {
    UntilStarted,
    Throttle(Duration),
    KeepLatest,
}

/// What happens if the key is held, instead of keeping the job that is there.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub enum Conflict {
    Replace,
    Debounce { quiet: Duration, at_most: Duration },
}

impl UniqueOptions {
    /// The mode that was set, if one was.
    fn mode(&self) -> Option<Unique> {
        if self.hold.is_none() && self.conflict.is_none() {
            return None;
        }
        let mode = match self.hold {
            None => Unique::until_ended(),
            Some(Hold::UntilStarted) => Unique::until_started(),
            Some(Hold::Throttle(window)) => Unique::throttle(window),
            Some(Hold::KeepLatest) => Unique::keep_latest(),
        };
        Some(match self.conflict {
            None => mode,
            Some(Conflict::Replace) => mode.replace(),
            Some(Conflict::Debounce { quiet, at_most }) => mode.debounce(quiet, at_most),
        })
    }

    fn set(&self, mut job: NewJob) -> NewJob {
        if let Some(key) = &self.key {
            job = match self.mode() {
                Some(mode) => job.unique(key.clone(), mode),
                None => job.unique_key(key.clone()),
            };
        }
        match self.at_least {
            Some(at_least) => job.unique_for(at_least),
            None => job,
        }
    }
}

impl Draft {
    pub fn new(kind: String, payload: Vec<u8>) -> Self {
        Self {
            kind,
            payload: payload.into(),
            queue: None,
            delay: Duration::ZERO,
            expiry: None,
            priority: None,
            max_attempts: None,
            timeout: None,
            weight: None,
            unique: UniqueOptions::default(),
            group: None,
            tags: Vec::new(),
            headers: BTreeMap::new(),
            header_bytes: 0,
            label_bytes: 0,
            generation: 0,
            wrong: None,
            over_quota: false,
        }
    }

    /// What it counts toward the quota of bytes: its payload, tags and headers.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.label_bytes
    }

    fn is_wrong(&mut self, error: &Error) {
        self.wrong.get_or_insert_with(|| error.to_string());
    }

    /// Adds a tag, if it is valid and counts at most `room` bytes. Otherwise the job is refused when it is enqueued.
    pub fn add_tag(&mut self, tag: String, room: usize) {
        if self.tags.contains(&tag) {
            return;
        }
        let mut labels = Labels { tags: vec![tag], ..Labels::default() };
        if let Err(error) = labels.check() {
            return self.is_wrong(&error);
        }
        if self.tags.len() == TAGS_MAX {
            return self.is_wrong(&Error::TooManyTags { max: TAGS_MAX });
        }
        let bytes = labels.tags.iter().map(String::len).sum::<usize>() + LABEL_BYTES;
        if bytes > room {
            self.over_quota = true;
            return;
        }
        self.label_bytes += bytes;
        self.tags.append(&mut labels.tags);
    }

    /// Sets a header, if it is valid and counts at most `room` bytes more. Otherwise the job is refused when it is enqueued.
    pub fn set_header(&mut self, name: String, value: String, room: usize) {
        let had = self.headers.get(&name).map(|value| name.len() + value.len());
        let has = name.len() + value.len();
        let mut labels = Labels { headers: BTreeMap::from([(name, value)]), ..Labels::default() };
        if let Err(error) = labels.check() {
            return self.is_wrong(&error);
        }
        let header_bytes = self.header_bytes - had.unwrap_or(0) + has;
        if header_bytes > HEADERS_BYTES_MAX {
            return self.is_wrong(&Error::HeadersTooLarge { len: header_bytes, max: HEADERS_BYTES_MAX });
        }
        let label_bytes = self.label_bytes - had.map_or(0, |had| had + LABEL_BYTES) + has + LABEL_BYTES;
        if label_bytes > self.label_bytes.saturating_add(room) {
            self.over_quota = true;
            return;
        }
        (self.header_bytes, self.label_bytes) = (header_bytes, label_bytes);
        self.headers.append(&mut labels.headers);
    }

    /// # Errors
    /// Its setters were called with something that no job can have.
    pub fn check(&self) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        if self.unique.key.is_none() && self.unique.mode().is_some() {
            return Err(
                "an option of the unique key is set without a unique key: call set-unique-key, or leave the option out"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// # Errors
    /// It has a queue, and is an entry or a message.
    pub fn check_without_queue(&self) -> Result<(), String> {
        match self.queue {
            None => Ok(()),
            Some(_) => Err("a queue is set, and it does not go into one: leave out set-queue".to_owned()),
        }
    }

    pub fn job(&self) -> NewJob {
        let payload = Payload { codec: codec(&self.payload), bytes: self.payload.clone() };
        let mut job = NewJob::encoded(self.kind.clone(), payload);
        job = job.with_generation(self.generation);
        if let Some(priority) = self.priority {
            job = job.priority(priority);
        }
        if !self.delay.is_zero() {
            job = job.delay(self.delay);
        }
        if let Some(after) = self.expiry {
            job = job.expires_in(after);
        }
        if let Some(attempts) = self.max_attempts {
            job = job.max_attempts(attempts);
        }
        if let Some(timeout) = self.timeout {
            job = job.timeout(timeout);
        }
        if let Some(units) = self.weight {
            job = job.weight(units);
        }
        if let Some(group) = &self.group {
            job = job.group(group.clone());
        }
        if !self.tags.is_empty() {
            job = job.tags(self.tags.iter().cloned());
        }
        if !self.headers.is_empty() {
            job = job.headers(self.headers.clone());
        }
        self.unique.set(job)
    }
}

/// The codec of a payload: JSON if the bytes are JSON, so that typed handlers can read them.
fn codec(payload: &[u8]) -> Codec {
    match serde_json::from_slice::<serde::de::IgnoredAny>(payload) {
        Ok(_) => Codec::Json,
        Err(_) => Codec::Raw,
    }
}
