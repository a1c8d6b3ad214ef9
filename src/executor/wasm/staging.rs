//! Accepts what a guest enqueues, appends and publishes. It is checked now, and written when the job completes.

use crate::error::Error as QueueError;
use crate::executor::wasm::draft::Draft;
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::overlay::{FollowUp, To};
use crate::job::CallSize;
use crate::transaction::Publication;

/// Why a follow-up was not accepted. The interfaces of the contract have errors of their own for it.
#[derive(Debug)]
pub(super) enum Refused {
    AccessDenied,
    NoSuchTopic,
    Unroutable,
    PayloadTooLarge,
    QuotaExceeded,
    Other(String),
}

impl Refused {
    /// For an interface that has no case for it: a queue refuses no job because of a topic, and neither does a stream.
    pub fn into_text(self) -> String {
        match self {
            Self::Other(what) => what,
            other => format!("{other:?}"),
        }
    }
}

impl From<QueueError> for Refused {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::PayloadTooLarge { .. } => Self::PayloadTooLarge,
            QueueError::NoSuchTopic { .. } => Self::NoSuchTopic,
            QueueError::Unroutable { .. } => Self::Unroutable,
            error => Self::Other(error.to_string()),
        }
    }
}

impl Guest {
    /// Accepts a follow-up job, an entry or a message, which is stored with the completion of the running job.
    ///
    /// # Errors
    /// It is not granted, exceeds a limit, or could not be stored.
    pub fn stage(&mut self, mut draft: Draft, to: To) -> Result<(), Refused> {
        let facts = self.context.facts();
        draft.generation = facts.guest.generation().saturating_add(1);
        if !self.plugin.may_send(&draft.kind, &to, &facts.queue) {
            return Err(Refused::AccessDenied);
        }
        draft.check().map_err(Refused::Other)?;
        let limits = &self.plugin.limits;
        if draft.over_quota || draft.generation > limits.generations {
            return Err(Refused::QuotaExceeded);
        }
        let bytes = self.overlay.bytes.saturating_add(draft.bytes());
        if self.overlay.follow_ups.len() >= limits.follow_ups as usize || bytes > limits.follow_up_bytes {
            return Err(Refused::QuotaExceeded);
        }
        self.check_storable(&draft, &to)?;
        self.overlay.bytes = bytes;
        self.overlay.follow_ups.push(FollowUp { to, draft });
        Ok(())
    }

    /// # Errors
    /// The queue would refuse it if the job completed now.
    fn check_storable(&self, draft: &Draft, to: &To) -> Result<(), Refused> {
        let (prepare, store) = (&*self.plugin.host.prepare, &self.plugin.host.store);
        match to {
            To::Queue(queue) => drop(prepare.prepare(queue, draft.job())?),
            To::Stream(_) => {
                draft.check_without_queue().map_err(Refused::Other)?;
                drop(prepare.prepare_entries(&mut std::iter::once(draft.job()))?);
            }
            To::Topic { topic, key } => {
                draft.check_without_queue().map_err(Refused::Other)?;
                let message = Publication::new(prepare, topic, key, draft.job())?;
                let topics = store.catalog.topics.get();
                let routes = topics.get(topic).ok_or(Refused::NoSuchTopic)?;
                let routed = message.routed(routes);
                message.check_routed(routes, &routed)?;
                if message.has_hooks() {
                    drop(message.deliveries(prepare, &routed, &mut CallSize::default())?);
                }
            }
        }
        Ok(())
    }
}
