//! The record of a job: everything that is kept of it, except its id and its queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::attempt::{ATTEMPT_ERRORS_MAX, AttemptError};
use super::attempt_log::{ATTEMPT_LOGS_MAX, StoredLog};
use super::labels::Labels;
use super::lineage::Lineage;
use super::priority::Priority;
use super::retry::Backoff;
use super::scheduled_for::ScheduledFor;
use super::state::State;
use super::stored_payload::StoredPayload;
use super::stream::{EntryOf, EntryPlace, EntryTag};
use super::undo::Undo;
use super::unique::Unique;
use crate::time::{Due, Now, Timestamp};

/// A queue's number in keys and records. Its name is stored only in its row.
pub(crate) type QueueId = u32;

/// A kind's number in records. Its name is stored only in its row.
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
    pub payload: StoredPayload,
}

/// What a plain job does without. Each part of it is a section of the stored record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Extra {
    pub group: Option<Arc<str>>,
    /// Not before this time. Kept after it has passed, so that it can be read.
    pub due: Option<Due>,
    /// Kept after the job has started, so that it can be read.
    pub expiry: Option<Expiry>,
    pub max_attempts: Option<u32>,
    pub backoff: Option<Backoff>,
    pub timeout: Option<Duration>,
    pub unique_key: Option<String>,
    /// It had ended or was in the quarantine, and is back: another job may have its unique key. Only of a job with such a key.
    pub is_back: bool,
    /// How many units it uses of a limit that it shares with other jobs, if not one.
    pub weight: Option<u32>,
    /// How it holds its unique key.
    pub unique: Unique,
    /// If it is debounced: when it starts at the latest, counted from the first enqueue.
    pub debounced_until: Option<Due>,
    pub idempotency_key: Option<String>,
    pub snoozes: u32,
    /// Times the process died while this job ran. Above 0 it is a suspect: it starts alone.
    pub crashes: u32,
    pub errors: Vec<AttemptError>,
    /// Why it ended, where it did not simply complete.
    pub reason: Option<String>,
    pub result: Option<Bytes>,
    /// Whether the payload codec has made the result's bytes.
    pub is_result_coded: bool,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub lineage: Option<Box<Lineage>>,
    /// If a schedule has made it: which one, and for which time.
    pub scheduled_for: Option<Box<ScheduledFor>>,
    /// Its tags and headers.
    pub labels: Option<Arc<Labels>>,
    /// What the handlers of its latest attempts have reported, oldest first.
    pub logs: Option<Arc<Vec<Arc<StoredLog>>>>,
    /// The number of the flow that it belongs to.
    pub flow: Option<u64>,
    /// Its handler has stored steps. Not set while its first handler to do so has it.
    pub has_steps: bool,
    /// It undoes its steps, and ends then.
    pub undo: Option<Undo>,
    /// It is an entry of a stream, or a job that was one.
    pub entry: Option<EntryTag>,
    /// Sections that this build does not know, by their tags: they are kept as they are.
    pub unknown: Vec<(u8, Bytes)>,
}

/// When a job ends as cancelled unless it has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expiry {
    pub due: Due,
    /// As it is shown: by the wall clock, as that stood when the job was enqueued.
    pub shown: Timestamp,
}

impl Expiry {
    /// At a time of the wall clock.
    pub fn at(time: Timestamp) -> Self {
        Self { due: Due::wall(time), shown: time }
    }

    /// Once `time` has passed.
    pub fn after(now: Now, time: Duration) -> Self {
        Self { due: Due::once_passed(now, time), shown: now.wall + time }
    }
}

impl Extra {
    /// Keeps the first error and the latest ones.
    pub fn push_error(&mut self, error: AttemptError) {
        if self.errors.len() == ATTEMPT_ERRORS_MAX {
            self.errors.remove(1);
        }
        self.errors.push(error);
    }

    /// Keeps what an attempt has reported, beside that of the latest attempts before it.
    pub fn push_log(&mut self, log: StoredLog) {
        let logs = Arc::make_mut(self.logs.get_or_insert_default());
        if logs.len() >= ATTEMPT_LOGS_MAX {
            logs.drain(..=logs.len() - ATTEMPT_LOGS_MAX);
        }
        logs.push(Arc::new(log));
    }
}

#[cfg(test)]
impl Record {
    /// A plain job of kind 1 for unit tests, enqueued at the start of time.
    pub fn plain() -> Self {
        Self::new(1, Priority::default(), Timestamp::EPOCH, super::payload::Payload::raw("x"))
    }
}

impl Record {
    /// A new job without options. It is pending until [`life::enter`](super::life::enter) says otherwise.
    pub fn new(kind: KindId, priority: Priority, enqueued_at: Timestamp, payload: impl Into<StoredPayload>) -> Self {
        let payload = payload.into();
        Self { state: State::Pending, kind, priority, enqueued_at, attempts: 0, extra: None, payload }
    }

    pub fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Copies all bytes that may be slices of an allocation which others share, or of a page of the file.
    pub fn own_bytes(&mut self) {
        let own = |bytes: &mut Bytes| *bytes = Bytes::copy_from_slice(bytes);
        own(&mut self.payload.bytes);
        if let Some(extra) = &mut self.extra {
            extra.result.iter_mut().for_each(own);
            extra.unknown.iter_mut().for_each(|(_, bytes)| own(bytes));
        }
    }

    /// Whether it has steps, as far as its record says.
    pub fn has_steps(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.has_steps)
    }

    pub fn group(&self) -> Option<&Arc<str>> {
        self.extra.as_ref()?.group.as_ref()
    }

    pub fn due(&self) -> Option<Due> {
        self.extra.as_ref()?.due
    }

    /// An attempt has begun, as far as its record tells.
    pub fn has_started(&self) -> bool {
        let begun =
            |extra: &Extra| extra.snoozes > 0 || extra.crashes > 0 || !extra.errors.is_empty() || extra.undo.is_some();
        self.attempts > 0 || self.extra.as_deref().is_some_and(begun)
    }

    /// When it expires: never once it has started.
    pub fn expiry(&self) -> Option<Due> {
        let expiry = self.extra.as_ref()?.expiry?;
        (!self.has_started()).then_some(expiry.due)
    }

    pub fn has_expired(&self, now: Now) -> bool {
        self.expiry().is_some_and(|expiry| expiry.is_due(now))
    }

    pub fn unique_key(&self) -> Option<&str> {
        self.extra.as_ref()?.unique_key.as_deref()
    }

    /// Its tags; none for most jobs.
    pub fn tags(&self) -> &[String] {
        self.labels().map_or(&[], |labels| &labels.tags)
    }

    pub fn set_tags(&mut self, tags: Vec<String>) {
        if self.tags() == tags {
            return;
        }
        let labels = &mut self.extra_mut().labels;
        let new = Labels { tags, headers: labels.take().map(Arc::unwrap_or_clone).unwrap_or_default().headers };
        *labels = (!new.is_empty()).then(|| Arc::new(new));
    }

    pub fn labels(&self) -> Option<&Arc<Labels>> {
        self.extra.as_ref()?.labels.as_ref()
    }

    pub fn unique(&self) -> Unique {
        self.extra.as_ref().map_or_else(Unique::default, |extra| extra.unique)
    }

    /// How many units it uses of a limit that it shares with other jobs.
    pub fn weight(&self) -> u32 {
        self.extra.as_ref().and_then(|extra| extra.weight).unwrap_or(1)
    }

    pub fn idempotency_key(&self) -> Option<&str> {
        self.extra.as_ref()?.idempotency_key.as_deref()
    }

    pub fn lineage_mut(&mut self) -> &mut Lineage {
        self.extra_mut().lineage.get_or_insert_default()
    }

    /// How many plugins' follow-up jobs it descends from.
    pub fn generation(&self) -> u32 {
        self.extra.as_ref().and_then(|extra| extra.lineage.as_ref()).map_or(0, |lineage| lineage.generation)
    }

    /// Makes the record of an entry, as it is in its stream, one that a consumer hands to its handler.
    pub fn for_consumer(&mut self, place: EntryPlace, group: Option<Arc<str>>) {
        let extra = self.extra_mut();
        let age = extra.entry.as_ref().map_or(Timestamp::EPOCH, |entry| entry.age);
        extra.entry = Some(EntryTag { age, place: Some(Arc::new(place)) });
        extra.group = group;
    }

    /// Which entry of a stream it is or was, if a consumer has it.
    pub fn entry(&self) -> Option<&EntryOf> {
        Some(&self.entry_place()?.of)
    }

    /// The same, with what its consumer's cursor passes with it.
    pub fn entry_place(&self) -> Option<&EntryPlace> {
        self.extra.as_ref()?.entry.as_ref()?.place.as_deref()
    }

    /// How it ends once its steps are undone, if it undoes them.
    pub fn undo(&self) -> Option<Undo> {
        self.extra.as_ref()?.undo
    }

    pub fn crashes(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.crashes)
    }
}
