//! What an attempt has written: state and follow-up jobs. Nothing else sees it until it commits with the job's
//! completion. If the job does not complete, it is dropped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::BoxError;
use crate::job::{Codec, NewJob, Priority};
use crate::storage::{StateWrite, Usage};
use crate::transaction::{StateWrites, Transaction};

/// A follow-up job that the guest has created and not enqueued yet.
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
    /// The error of a setter, which `enqueue` returns.
    pub wrong: Option<String>,
    /// The payload was over the quota and was not kept. `enqueue` returns an error.
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
        job = job.priority(self.priority).with_generation(self.generation);
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

/// The codec of a payload: JSON if the bytes are JSON, so that typed handlers can read them.
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
    /// The bytes of all keys and values that were set, counted each time.
    pub put_bytes: u64,
    /// The plugin's usage in the file, once it was read.
    pub usage: Option<Usage>,
    pub follow_ups: Vec<FollowUp>,
    /// The payload bytes of `follow_ups`.
    pub bytes: usize,
}

impl Overlay {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.follow_ups.is_empty()
    }

    /// Writes everything, in the transaction that completes the job. `quota` is the state that the plugin can keep. This can
    /// be called again if that transaction is retried.
    pub fn commit(&self, plugin: &str, quota: Usage, tx: &Transaction<'_>) -> Result<(), BoxError> {
        if !self.writes.is_empty() {
            tx.keep(plugin, &self.writes, quota)?;
        }
        for FollowUp { queue, draft } in &self.follow_ups {
            tx.enqueue(queue, draft.job())?;
        }
        Ok(())
    }

    /// Adds `delta` to a counter. If this attempt has not set the key, the sum is computed at the commit.
    ///
    /// # Errors
    /// This attempt has set the key to a value that is not a counter.
    pub fn add(&mut self, key: String, delta: i64) -> Result<(), String> {
        let put = |value: Option<&[u8]>| {
            let wrong = || format!("the value of {key:?} is not a number that could be added to");
            StateWrite::added(value, delta).map(StateWrite::Put).ok_or_else(wrong)
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
