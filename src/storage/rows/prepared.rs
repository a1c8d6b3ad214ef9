//! A new job as it is stored, encoded on its caller's thread.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::job::{Caller, JobId, KindId, QueueId, ReadyJob, Record};
use crate::storage::rows::catalog::Catalog;
use crate::storage::rows::codec::{encode_record, encode_record_into};

/// A job ready to be stored: encoded on its caller's thread, so that the writer only copies bytes.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub queue: QueueId,
    pub bytes: Bytes,
    job: Form,
    /// How many queues were removed when its queue's number was looked up: see [`Catalog::removals`].
    pub(in crate::storage) removals: u32,
    /// Names that the file does not have yet: they get their numbers when the job is stored.
    pub(in crate::storage) names: Option<Box<NewJobNames>>,
    /// What it does with its keys, if it is new and has any.
    claims: Option<Box<KeyTimes>>,
}

/// For how long a new job holds its keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyTimes {
    /// The unique key: at least, even if the job ends earlier.
    pub unique: Option<Duration>,
    /// The idempotency key.
    pub idempotency: Option<Duration>,
}

/// The number of a queue or a kind that has none.
pub(crate) const NO_NUMBER: u32 = u32::MAX;

/// Of a job's queue and kind those names that are not in the file.
#[derive(Clone, Debug)]
pub(crate) struct NewJobNames {
    pub queue: Option<Arc<str>>,
    pub kind: Option<Arc<str>>,
}

/// What dispatch will hold of a job. The writer's thread makes it, because that thread also frees most of it: memory
/// that one thread allocates and another one frees is slow.
#[derive(Debug)]
enum Form {
    /// Without an id yet.
    Unstored(Option<(Record, Option<Caller>)>),
    /// As a batch has stored it. That batch can have been undone.
    Stored(Arc<ReadyJob>),
}

impl Prepared {
    pub fn new(queue: QueueId, record: Record, caller: Option<Caller>) -> Self {
        Self::first_of(1, &mut BytesMut::new(), queue, record, caller)
    }

    /// The first of `left` jobs that are prepared together, and have `chunk` for their rows.
    pub fn first_of(left: usize, chunk: &mut BytesMut, queue: QueueId, record: Record, caller: Option<Caller>) -> Self {
        let bytes = encode_record_into(chunk, &record, left);
        Self { queue, bytes, job: Form::Unstored(Some((record, caller))), removals: 0, names: None, claims: None }
    }

    /// From now on the job claims its keys when it is stored, and holds them for these times.
    pub fn claim_keys_for(&mut self, times: KeyTimes) {
        let any = times.unique.is_some() || times.idempotency.is_some();
        self.claims = any.then(|| Box::new(times));
    }

    /// Its queue's and its kind's numbers are [`NO_NUMBER`], or a worker's, where these names are given.
    pub fn set_names(&mut self, names: NewJobNames) {
        self.names = Some(Box::new(names));
    }

    /// Its queue's number was looked up after so many removals of queues.
    pub fn set_removals(&mut self, removals: u32) {
        self.removals = removals;
    }

    /// Its queue has this name, whatever number was looked up for it.
    pub(in crate::storage) fn set_queue_name(&mut self, name: Arc<str>) {
        let kind = self.names.take().and_then(|names| names.kind);
        self.set_names(NewJobNames { queue: Some(name), kind });
    }

    /// The same job in another queue, whose number was looked up after so many removals of queues. It shares the row's bytes. Only
    /// for a job that no batch has stored.
    pub fn in_queue(&self, queue: QueueId, removals: u32) -> Self {
        let caller = self.caller();
        let job = Form::Unstored(Some((self.record().clone(), caller)));
        let (bytes, names, claims) = (self.bytes.clone(), self.names.clone(), self.claims.clone());
        Self { queue, bytes, job, removals, names, claims }
    }

    /// Its queue's number, unless the file has none for it: then it has one only within a batch.
    pub fn known_queue(&self) -> Option<QueueId> {
        let is_new = self.names.as_ref().is_some_and(|names| names.queue.is_some());
        (!is_new).then_some(self.queue)
    }

    /// Its kind's name, if the file does not have it.
    pub fn new_kind(&self) -> Option<&Arc<str>> {
        self.names.as_deref()?.kind.as_ref()
    }

    /// The names of its queue and its kind.
    pub fn queue_and_kind(&self, catalog: &Catalog) -> (Arc<str>, Arc<str>) {
        let new = self.names.as_deref();
        let queue = new.and_then(|new| new.queue.clone()).unwrap_or_else(|| catalog.queue_name(self.queue));
        let kind = new.and_then(|new| new.kind.clone()).unwrap_or_else(|| catalog.kind_name(self.record().kind));
        (queue, kind)
    }

    /// Writes its row again, with this kind.
    pub(in crate::storage) fn set_kind(&mut self, kind: KindId) {
        if self.record().kind == kind {
            return;
        }
        let (record, caller) = match &mut self.job {
            Form::Unstored(job) => job.take().expect("it is taken where it is stored"),
            Form::Stored(entry) => (entry.record.clone(), entry.caller),
        };
        let record = Record { kind, ..record };
        self.bytes = encode_record(&record);
        self.job = Form::Unstored(Some((record, caller)));
    }

    /// Whether it claims any key.
    #[inline]
    pub fn has_keys(&self) -> bool {
        self.claims.is_some()
    }

    /// For how long it holds its unique key at least, if it is new and claims one that is held until its end or its start.
    pub(in crate::storage) fn held_until_ended_for(&self) -> Option<Duration> {
        let claims = self.claims.as_deref()?;
        claims.unique.filter(|_| self.record().unique().window().is_none())
    }

    /// The unique key that it claims, and for how long at least.
    pub fn claims(&self) -> Option<(&str, Duration)> {
        Some((self.record().unique_key()?, self.claims.as_deref()?.unique?))
    }

    /// The idempotency key that it claims, and for how long.
    pub fn idempotency_key(&self) -> Option<(&str, Duration)> {
        Some((self.record().idempotency_key()?, self.claims.as_deref()?.idempotency?))
    }

    /// The caller that enqueues it, if that is known.
    pub(in crate::storage) fn caller(&self) -> Option<Caller> {
        match &self.job {
            Form::Unstored(job) => job.as_ref()?.1,
            Form::Stored(entry) => entry.caller,
        }
    }

    pub fn record(&self) -> &Record {
        match &self.job {
            Form::Unstored(job) => &job.as_ref().expect("it is taken where it is stored").0,
            Form::Stored(entry) => &entry.record,
        }
    }

    /// The entry, with the id it got.
    pub(in crate::storage) fn entry(&mut self, id: JobId) -> Arc<ReadyJob> {
        let (record, caller) = match &mut self.job {
            Form::Unstored(job) => job.take().expect("it is taken once"),
            Form::Stored(entry) => (entry.record.clone(), entry.caller),
        };
        let entry = Arc::new(ReadyJob { caller, ..ReadyJob::new(id, id.get(), record, self.bytes.len()) });
        self.job = Form::Stored(entry.clone());
        entry
    }
}
