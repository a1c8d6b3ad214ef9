use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::attempt::{ATTEMPT_ERRORS_MAX, AttemptError};
use super::lineage::Lineage;
use super::payload::{Codec, Payload};
use super::priority::Priority;
use super::retry::Backoff;
use super::state::State;
use crate::time::{Due, Timestamp};

/// A queue's number in keys and records; its name stands once, in its row.
pub(crate) type QueueId = u32;

/// A kind's number in records; its name stands once, in its row.
pub(crate) type KindId = u32;

/// All that is kept of a job, less its id and queue, which are its key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub state: State,
    pub kind: KindId,
    pub priority: Priority,
    pub enqueued_at: Timestamp,
    /// Attempts used up so far.
    pub attempts: u32,
    /// What most jobs do not have: one byte in their record.
    pub extra: Option<Box<Extra>>,
    pub payload: Payload,
}

/// What a plain job does without.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extra {
    pub group: Option<Arc<str>>,
    /// Not before this time. Kept after it has passed, for whoever looks.
    pub due: Option<Due>,
    pub expires_at: Option<Timestamp>,
    pub max_attempts: Option<u32>,
    pub backoff: Option<Backoff>,
    pub timeout: Option<Duration>,
    pub unique_key: Option<String>,
    pub snoozes: u32,
    /// Times the process died while this job ran. Above 0 it is a suspect: it starts alone.
    pub crashes: u32,
    pub errors: Vec<AttemptError>,
    /// Why it ended, where it did not simply complete.
    pub reason: Option<String>,
    pub result: Option<Bytes>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Behind the header, in rows that have it.
    #[serde(skip)]
    pub lineage: Option<Box<Lineage>>,
}

impl Extra {
    /// Keeps the first error and the latest ones.
    pub fn push_error(&mut self, error: AttemptError) {
        if self.errors.len() == ATTEMPT_ERRORS_MAX {
            self.errors.remove(1);
        }
        self.errors.push(error);
    }
}

impl Record {
    pub fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub fn group(&self) -> Option<&Arc<str>> {
        self.extra.as_ref()?.group.as_ref()
    }

    pub fn due(&self) -> Option<Due> {
        self.extra.as_ref()?.due
    }

    pub fn expires_at(&self) -> Option<Timestamp> {
        self.extra.as_ref()?.expires_at
    }

    pub fn unique_key(&self) -> Option<&str> {
        self.extra.as_ref()?.unique_key.as_deref()
    }

    pub fn lineage(&self) -> Option<&Lineage> {
        self.extra.as_ref()?.lineage.as_deref()
    }

    pub fn lineage_mut(&mut self) -> &mut Lineage {
        self.extra_mut().lineage.get_or_insert_default()
    }

    /// How many plugins' follow-up jobs it descends from.
    #[cfg(feature = "wasm")]
    pub fn generation(&self) -> u32 {
        self.lineage().map_or(0, |lineage| lineage.generation)
    }

    pub fn crashes(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.crashes)
    }
}

/// The header as it stands in the file, before the payload's bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct RecordRef<E> {
    pub state: State,
    pub kind: KindId,
    pub priority: Priority,
    pub codec: Codec,
    pub enqueued_at: Timestamp,
    pub attempts: u32,
    pub extra: Option<E>,
}
