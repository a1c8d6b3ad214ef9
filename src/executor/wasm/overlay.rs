//! What an attempt has written: state, follow-up jobs, entries and messages. Nothing else sees it until it commits with the job's
//! completion. If the job does not complete, it is dropped.

use std::sync::Arc;

use super::draft::Draft;
use crate::error::BoxError;
use crate::storage::{StateWrite, Usage};
use crate::transaction::{StateWrites, Transaction};

/// A follow-up job, an entry or a message that was accepted.
#[derive(Debug)]
pub(super) struct FollowUp {
    pub to: To,
    pub draft: Draft,
}

/// Where a follow-up goes.
#[derive(Debug)]
pub(super) enum To {
    Queue(Arc<str>),
    Stream(String),
    Topic { topic: String, key: String },
}

#[derive(Default)]
pub(super) struct Overlay {
    pub writes: StateWrites,
    /// The bytes of all keys and values that were set, counted each time.
    pub put_bytes: u64,
    /// The plugin's usage in the file, once it was read.
    pub usage: Option<Usage>,
    /// In the order of the guest's calls.
    pub follow_ups: Vec<FollowUp>,
    /// The bytes of `follow_ups`, as their quota counts them.
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
        for FollowUp { to, draft } in &self.follow_ups {
            match to {
                To::Queue(queue) => drop(tx.enqueue(queue, draft.job())?),
                To::Stream(stream) => drop(tx.append(stream, draft.job())?),
                To::Topic { topic, key } => drop(tx.publish(topic, key, draft.job())?),
            }
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
