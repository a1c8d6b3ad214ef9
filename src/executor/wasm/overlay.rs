//! What an attempt has written and nobody else sees: it commits with the job's completion, or not at all.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::deployed::Deployed;
use crate::error::BoxError;
use crate::job::{Codec, NewJob, Priority};
use crate::storage::{StateWrite, Usage, added};
use crate::transaction::{StateWrites, Transaction};

/// A follow-up job in the making.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub struct Draft {
    pub kind: String,
    pub payload: Bytes,
    pub queue: Option<String>,
    pub delay: Duration,
    pub priority: Priority,
    pub max_attempts: Option<u32>,
    pub unique_key: Option<String>,
    pub group: Option<String>,
    pub generation: u32,
    /// What was wrong with a setter, told when it is enqueued.
    pub wrong: Option<String>,
    /// There was no room for its payload, which is not here.
    pub over_quota: bool,
}

impl Draft {
    pub fn new(kind: String, payload: Vec<u8>) -> Self {
        Self {
            kind,
            payload: payload.into(),
            queue: None,
            delay: Duration::ZERO,
            priority: Priority::default(),
            max_attempts: None,
            unique_key: None,
            group: None,
            generation: 0,
            wrong: None,
            over_quota: false,
        }
    }

    pub fn job(&self) -> NewJob {
        let mut job = NewJob::encoded(self.kind.clone(), codec(&self.payload), self.payload.clone());
        job = job.priority(self.priority).generation(self.generation);
        if !self.delay.is_zero() {
            job = job.delay(self.delay);
        }
        if let Some(attempts) = self.max_attempts {
            job = job.max_attempts(attempts);
        }
        if let Some(key) = &self.unique_key {
            job = job.unique_key(key.clone());
        }
        match &self.group {
            Some(group) => job.group(group.clone()),
            None => job,
        }
    }
}

/// A guest passes bytes. Those that are JSON can be read by typed handlers.
fn codec(payload: &[u8]) -> Codec {
    match serde_json::from_slice::<serde::de::IgnoredAny>(payload) {
        Ok(_) => Codec::Json,
        Err(_) => Codec::Raw,
    }
}

/// A follow-up job that was accepted.
#[derive(Debug)]
pub(super) struct FollowUp {
    pub queue: Arc<str>,
    pub draft: Draft,
}

#[derive(Default)]
pub(super) struct Overlay {
    pub writes: StateWrites,
    /// Of keys and values, each time one was set.
    pub put_bytes: u64,
    /// How much was kept before, once it was asked for.
    pub usage: Option<Usage>,
    pub follow_ups: Vec<FollowUp>,
    /// Payload bytes of those.
    pub bytes: usize,
}

impl Overlay {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.follow_ups.is_empty()
    }

    /// Writes it all, in the transaction that acknowledges the job. May be called again for another try.
    pub fn commit(&self, plugin: &Deployed, tx: &Transaction<'_>) -> Result<(), BoxError> {
        if !self.writes.is_empty() {
            let quota = Usage { keys: plugin.limits.state_keys, bytes: plugin.limits.state_bytes };
            tx.keep(&plugin.name, &self.writes, quota)?;
        }
        for FollowUp { queue, draft } in &self.follow_ups {
            tx.enqueue(queue, draft.job())?;
        }
        Ok(())
    }

    /// Adds to a number, as far as this attempt knows of it.
    pub fn add(&mut self, key: String, delta: i64) -> Result<(), String> {
        let put = |value: Option<&[u8]>| {
            let wrong = || format!("the value of {key:?} is not a number that could be added to");
            added(value, delta).map(StateWrite::Put).ok_or_else(wrong)
        };
        let write = match self.writes.get(&key) {
            None => StateWrite::Add(delta),
            Some(StateWrite::Add(before)) => StateWrite::Add(before.saturating_add(delta)),
            Some(StateWrite::Delete) => put(None)?,
            Some(StateWrite::Put(value)) => put(Some(value))?,
        };
        self.writes.insert(key, write);
        Ok(())
    }
}
