//! A job that is becoming a dead letter, as the application's hook sees it.

use std::fmt;

use super::attempt::AttemptError;
use super::id::JobId;
use super::payload::Payload;
use super::record::{Extra, Record};

/// A job that becomes a dead letter in this commit: what [`Builder::on_dead`](crate::Builder::on_dead) gets.
///
/// ```
/// use millpond::{BoxError, DeadJob, NewJob, Transaction};
///
/// fn tell_support(tx: &Transaction<'_>, dead: &DeadJob<'_>) -> Result<(), BoxError> {
///     let text = format!("{} job {} failed for good: {}", dead.kind(), dead.id(), dead.reason());
///     tx.enqueue("mail", NewJob::json("alert", &text))?;
///     Ok(())
/// }
/// ```
pub struct DeadJob<'j> {
    id: JobId,
    queue: &'j str,
    kind: &'j str,
    record: &'j Record,
    payload: &'j Payload,
}

impl<'j> DeadJob<'j> {
    /// The texts of the record and the payload are as they were before they passed the payload codec.
    pub(crate) fn new(id: JobId, queue: &'j str, kind: &'j str, record: &'j Record, payload: &'j Payload) -> Self {
        Self { id, queue, kind, record, payload }
    }

    fn extra(&self) -> Option<&'j Extra> {
        self.record.extra.as_deref()
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The name of its queue.
    pub fn queue(&self) -> &'j str {
        self.queue
    }

    /// Its kind.
    pub fn kind(&self) -> &'j str {
        self.kind
    }

    /// Its payload, to be [decoded](Payload::decode) by the hook if it needs it. If the
    /// [payload codec](crate::PayloadCodec) cannot read it, these are the bytes that are stored, as
    /// [`Codec::Raw`](crate::Codec::Raw).
    pub fn payload(&self) -> &'j Payload {
        self.payload
    }

    /// Its group, if it has one.
    pub fn group(&self) -> Option<&'j str> {
        self.extra()?.group.as_deref()
    }

    /// Its unique key, if it has one.
    pub fn unique_key(&self) -> Option<&'j str> {
        self.record.unique_key()
    }

    /// How many attempts were used up.
    pub fn attempts(&self) -> u32 {
        self.record.attempts
    }

    /// Why it is dead, such as `no attempts left`, or what its handler gave as the reason.
    pub fn reason(&self) -> &'j str {
        self.extra().and_then(|extra| extra.reason.as_deref()).unwrap_or_default()
    }

    /// The errors of its attempts, as they are kept: the first one and the latest ones. Empty if no attempt has failed.
    pub fn errors(&self) -> &'j [AttemptError] {
        self.extra().map_or(&[], |extra| &extra.errors)
    }
}

impl fmt::Debug for DeadJob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, queue, kind, .. } = self;
        let reason = self.reason();
        f.debug_struct("DeadJob")
            .field("id", id)
            .field("queue", queue)
            .field("kind", kind)
            .field("reason", &reason)
            .finish_non_exhaustive()
    }
}
