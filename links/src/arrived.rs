//! A job that has arrived from an engine, as it is stored in this file.

use bytes::Bytes;
use millpond::{JobId, NewJob, Transaction};

use crate::Envelope;
use crate::envelope::Unreadable;

/// An envelope as it is stored here.
#[derive(Clone)]
pub(crate) struct Arrived {
    /// The origin, the number of the batch, and the place in that.
    pub source: Option<(String, u64, u64)>,
    job: NewJob,
    payload: Bytes,
    is_readable: bool,
}

impl Arrived {
    /// What is stored of an envelope. An error is the version of headers that are newer.
    pub fn of(envelope: &Envelope) -> Result<Self, String> {
        let source = envelope.source().map(|(origin, batch, index)| (origin.to_owned(), batch, index));
        let payload = envelope.payload.clone();
        let (job, is_readable) = match envelope.job() {
            Ok(job) if source.is_some() => (job, true),
            Ok(_) => (unreadable(&payload, &"it does not say where it comes from"), false),
            Err(Unreadable::Newer(version)) => return Err(version),
            Err(Unreadable::Never(error)) => (unreadable(&payload, &error), false),
        };
        Ok(Self { source, job, payload, is_readable })
    }

    /// Stores the job in the queue. If it can never be a job there, it is put aside in the queue with `.unreadable` behind its name.
    /// Returns the job in the queue, if it is one.
    pub fn store(&self, tx: &Transaction<'_>, queue: &str) -> Result<Option<JobId>, millpond::Error> {
        let stored = match self.is_readable {
            true => tx.enqueue(queue, self.job.clone()).map(|enqueued| Some(enqueued.id)),
            false => put_aside(tx, queue, self.job.clone()).map(|()| None),
        };
        self.or_aside(tx, queue, stored)
    }

    /// Stores the job in the queue with `.undelivered` behind its name, where no worker runs it.
    pub fn store_undelivered(&self, tx: &Transaction<'_>, queue: &str, why: String) -> Result<(), millpond::Error> {
        let stored = tx.enqueue(&format!("{queue}.undelivered"), self.job.clone().header("reason", why));
        self.or_aside(tx, queue, stored.map(|_| None)).map(drop)
    }

    /// If the job was refused for what it is, such as a name that is not valid here, or a payload that is too large here, it is put
    /// aside.
    fn or_aside(
        &self,
        tx: &Transaction<'_>,
        queue: &str,
        stored: Result<Option<JobId>, millpond::Error>,
    ) -> Result<Option<JobId>, millpond::Error> {
        match stored {
            Err(error) if is_of_job(&error) => put_aside(tx, queue, unreadable(&self.payload, &error)).map(|()| None),
            stored => stored,
        }
    }
}

/// Whether the error is one of the job, and comes again whenever it is enqueued.
fn is_of_job(error: &millpond::Error) -> bool {
    use millpond::Error as E;
    let is_refused = matches!(error, E::EnqueueRefused { .. } | E::InvalidConfig { .. } | E::Unencodable { .. });
    let is_invalid =
        matches!(error, E::InvalidName { .. } | E::InvalidKey { .. } | E::InvalidTag { .. } | E::InvalidHeader { .. });
    let is_too_much = matches!(error, E::PayloadTooLarge { .. } | E::TooManyTags { .. } | E::HeadersTooLarge { .. });
    is_refused || is_invalid || is_too_much
}

fn unreadable(payload: &Bytes, why: &dyn std::fmt::Display) -> NewJob {
    let reason: String = why.to_string().chars().take(500).collect();
    NewJob::raw("unreadable", payload.clone()).header("reason", reason)
}

/// Stores an unreadable job. If its bytes are too many for this file, they stay in the log.
fn put_aside(tx: &Transaction<'_>, queue: &str, job: NewJob) -> Result<(), millpond::Error> {
    let aside = format!("{queue}.unreadable");
    match tx.enqueue(&aside, job) {
        Err(millpond::Error::PayloadTooLarge { len, max, .. }) => {
            let reason = format!("{len} bytes, and this file takes {max}: they are in the log");
            tx.enqueue(&aside, unreadable(&Bytes::new(), &reason)).map(drop)
        }
        stored => stored.map(drop),
    }
}
