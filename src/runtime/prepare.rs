use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::error::Error;
use crate::job::{
    AT_MOST_ONCE, Caller, Expiry, KindId, NewJob, Options, QueueId, Record, Start, State, UNIQUE_FOR_DEFAULT,
};
use crate::storage::{Prepared, Store};
use crate::time::{Due, Now, TimeSource};
use crate::transaction::Prepare;
use crate::writer::ENQUEUE_JOBS_MAX;

/// Turns jobs as callers write them into rows, on the caller's thread.
pub(super) struct Preparer {
    pub store: Arc<Store>,
    pub time: Arc<TimeSource>,
    pub payload_bytes_max: usize,
}

impl Prepare for Preparer {
    fn prepare(&self, queue: &str, job: NewJob) -> Result<Prepared, Error> {
        Call::new(self).prepare(queue, job, 1)
    }

    fn prepare_many(&self, queue: &str, jobs: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<Prepared>, Error> {
        let mut call = Call::new(self);
        let mut left = jobs.size_hint().0.min(ENQUEUE_JOBS_MAX);
        let mut prepared = Vec::with_capacity(left);
        for job in jobs {
            prepared.push(call.prepare(queue, job, left.max(1))?);
            left = left.saturating_sub(1);
        }
        Ok(prepared)
    }
}

/// One caller's jobs for one queue, and what is known of them since the first.
struct Call<'p> {
    preparer: &'p Preparer,
    now: Now,
    caller: Option<Caller>,
    queue: Option<QueueId>,
    kind: Option<(Cow<'static, str>, KindId)>,
    chunk: BytesMut,
}

impl<'p> Call<'p> {
    fn new(preparer: &'p Preparer) -> Self {
        let caller = Caller::here();
        Self { preparer, now: preparer.time.now(), caller, queue: None, kind: None, chunk: BytesMut::new() }
    }

    /// The first of `left` jobs.
    fn prepare(&mut self, queue: &str, job: NewJob, left: usize) -> Result<Prepared, Error> {
        let (kind, payload, options) = job.check(self.preparer.payload_bytes_max)?;
        let catalog = &self.preparer.store.catalog;
        let queue = match self.queue {
            Some(queue) => queue,
            None => *self.queue.insert(catalog.queue(queue)?),
        };
        let kind = match &self.kind {
            Some((name, id)) if *name == kind => *id,
            _ => {
                let id = catalog.kind(&kind)?;
                self.kind.insert((kind, id)).1
            }
        };
        let mut record = Record {
            state: State::Pending,
            kind,
            priority: options.priority,
            enqueued_at: self.now.wall,
            attempts: 0,
            extra: None,
            payload,
        };
        let unique_for = options.unique_key.as_ref().map(|_| options.unique_for.unwrap_or(UNIQUE_FOR_DEFAULT));
        set_options(&mut record, options, self.now);
        let prepared = Prepared::first_of(left, &mut self.chunk, queue, record, self.caller);
        Ok(prepared.claiming_key_for(unique_for))
    }
}

fn set_options(record: &mut Record, options: Options, now: Now) {
    if options.generation > 0 {
        record.lineage_mut().generation = options.generation;
    }
    let max_attempts = if options.at_most_once { Some(AT_MOST_ONCE) } else { options.max_attempts };
    let Options { group, start, expires, backoff, timeout, unique_key, .. } = options;
    let due = match start {
        None => None,
        Some(Start::After(Duration::ZERO)) => None,
        Some(Start::After(delay)) => Some(Due::after(now, delay)),
        Some(Start::At(at)) => Some(Due::wall(at)).filter(|due| !due.is_due(now)),
    };
    if due.is_some() {
        record.state = State::Scheduled;
    }
    let expires_at = expires.map(|expires| match expires {
        Expiry::After(after) => now.wall + after,
        Expiry::At(at) => at,
    });
    let plain = group.is_none()
        && due.is_none()
        && expires_at.is_none()
        && max_attempts.is_none()
        && backoff.is_none()
        && timeout.is_none()
        && unique_key.is_none();
    if !plain {
        let extra = record.extra_mut();
        extra.group = group;
        extra.due = due;
        extra.expires_at = expires_at;
        extra.max_attempts = max_attempts;
        extra.backoff = backoff;
        extra.timeout = timeout;
        extra.unique_key = unique_key;
    }
}
