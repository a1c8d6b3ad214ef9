//! Turns new jobs into rows, on the caller's thread.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::flows::FlowNumbers;
use super::waits::Waits;
use super::withdrawals::Withdrawals;
use crate::error::Error;
use crate::job::life;
use crate::job::{
    AT_MOST_ONCE, CallSize, Caller, Coder, ENQUEUE_JOBS_MAX, EnqueueHooks, EntryTag, Expires, Expiry, JobId,
    KeyOptions, NewEntry, NewJob, Options, QueueId, Record, StartTime, StoredPayload, StreamId, Withdraw, Withdrawn,
    check_replacement,
};
use crate::storage::{Catalog, KeyTimes, NO_NUMBER, NewJobNames, Number, Prepared, PreparedEntry, Store};
use crate::time::{Due, Now, TimeSource};
use crate::transaction::Prepare;

/// Turns jobs as callers write them into rows, on the caller's thread.
pub(super) struct Preparer {
    pub store: Arc<Store>,
    pub time: Arc<TimeSource>,
    pub payload_bytes_max: usize,
    /// Whether each typed payload is read back and compared.
    pub verify_payloads: bool,
    pub coder: Coder,
    pub hooks: EnqueueHooks,
    pub withdrawals: Withdrawals,
    pub waits: Arc<Waits>,
    pub flow_numbers: FlowNumbers,
}

impl Withdraw for Preparer {
    fn withdraw(&self, id: JobId) -> Withdrawn {
        self.withdrawals.withdraw(id)
    }

    fn withdraw_entries(&self, stream: StreamId, below: u64) -> u64 {
        self.withdrawals.withdraw_entries(stream, below)
    }

    fn reinstate_all(&self) {
        self.withdrawals.reinstate_all();
    }
}

impl Prepare for Preparer {
    fn check_process(&self) -> Result<(), Error> {
        self.store.check_process()
    }

    fn coder(&self) -> &Coder {
        &self.coder
    }

    fn ends_are_awaited(&self) -> bool {
        self.waits.has_any()
    }

    fn next_flow(&self) -> u64 {
        self.flow_numbers.next()
    }

    fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }

    fn prepare(&self, queue: &str, job: NewJob) -> Result<Prepared, Error> {
        self.check_process()?;
        let job = self.hooks.apply(queue, job)?;
        Preparing::new(self).prepare(queue, job, 1)
    }

    fn prepare_message(&self, job: NewJob) -> Result<Prepared, Error> {
        self.check_process()?;
        Preparing::without_queue(self).prepare("", job, 1)
    }

    fn has_enqueue_hooks(&self) -> bool {
        !self.hooks.is_empty()
    }

    fn queue_name(&self, queue: QueueId) -> Arc<str> {
        self.store.catalog.queue_name(queue)
    }

    fn queue_removals(&self) -> u32 {
        self.store.catalog.removals()
    }

    fn prepare_many(&self, queue: &str, jobs: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<Prepared>, Error> {
        let bytes = |job: &Prepared| job.bytes.len();
        self.prepare_each(jobs, bytes, |call, job, left| {
            // Without hooks, the job is not moved into a result and out of it.
            let job = if self.hooks.is_empty() { job } else { self.hooks.apply(queue, job)? };
            call.prepare(queue, job, left)
        })
    }

    fn prepare_entries(&self, entries: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<PreparedEntry>, Error> {
        self.prepare_each(entries, |entry| entry.bytes.len(), Preparing::prepare_entry)
    }

    fn prepare_entry_of(&self, message: &Prepared) -> PreparedEntry {
        let of = message.record();
        let mut entry = NewEntry::new(of.kind, of.payload.clone(), self.time.now());
        entry.at = of.enqueued_at;
        if let Some(of) = &of.extra {
            // A group that is a key of the queue is no key of the entry.
            entry.key = of.group.clone().filter(|_| !of.unique.is_in_turn());
            entry.labels.clone_from(&of.labels);
            entry.generation = of.lineage.as_ref().map_or(0, |lineage| lineage.generation);
        }
        PreparedEntry::new(entry, message.new_kind().cloned())
    }

    fn prepare_payload(&self, queue: &str, kind: &str, payload: NewJob) -> Result<StoredPayload, Error> {
        check_replacement(kind, &payload)?;
        self.check_process()?;
        Ok(Preparing::new(self).prepare(queue, payload, 1)?.record().payload.clone())
    }
}

impl Preparer {
    /// Prepares all jobs or entries of one call. `prepare` is told how many are left, with the one that it prepares.
    #[inline]
    fn prepare_each<'p, P>(
        &'p self,
        each: &mut dyn Iterator<Item = NewJob>,
        bytes: impl Fn(&P) -> usize,
        prepare: impl Fn(&mut Preparing<'p>, NewJob, usize) -> Result<P, Error>,
    ) -> Result<Vec<P>, Error> {
        self.check_process()?;
        let (mut call, mut size) = (Preparing::new(self), CallSize::default());
        let mut left = each.size_hint().0.min(ENQUEUE_JOBS_MAX);
        let mut prepared = Vec::with_capacity(left);
        for job in each {
            let job = prepare(&mut call, job, left.max(1))?;
            let bytes = bytes(&job);
            prepared.push(job);
            size.add(bytes)?;
            left = left.saturating_sub(1);
        }
        Ok(prepared)
    }
}

/// Prepares the jobs of one call for one queue. Names are looked up for the first job and kept for the others.
struct Preparing<'p> {
    preparer: &'p Preparer,
    now: Now,
    caller: Option<Caller>,
    /// Also how many queues were removed when it was looked up.
    queue: Option<(Named, u32)>,
    kind: Option<(Cow<'static, str>, Named)>,
    chunk: BytesMut,
}

/// The kind of this name, as it was looked up for this call.
fn named_kind<'k>(
    known: &'k mut Option<(Cow<'static, str>, Named)>,
    catalog: &Catalog,
    kind: Cow<'static, str>,
) -> Result<&'k (Cow<'static, str>, Named), Error> {
    if known.as_ref().is_none_or(|(name, _)| *name != kind) {
        let named = Named::of(&kind, catalog.kind(&kind)?);
        *known = Some((kind, named));
    }
    Ok(known.as_ref().expect("it was set above"))
}

/// A name's number, and the name itself if the file does not have it.
#[derive(Clone)]
struct Named {
    id: u32,
    new: Option<Arc<str>>,
}

impl Named {
    fn of(name: &str, number: Option<Number>) -> Self {
        match number {
            Some(Number { id, is_saved: true }) => Self { id, new: None },
            number => Self { id: number.map_or(NO_NUMBER, |number| number.id), new: Some(name.into()) },
        }
    }
}

impl<'p> Preparing<'p> {
    fn new(preparer: &'p Preparer) -> Self {
        let caller = Caller::here();
        Self { preparer, now: preparer.time.now(), caller, queue: None, kind: None, chunk: BytesMut::new() }
    }

    /// For a job whose queue is not known yet.
    fn without_queue(preparer: &'p Preparer) -> Self {
        let no_queue = Named { id: NO_NUMBER, new: None };
        Self { queue: Some((no_queue, 0)), ..Self::new(preparer) }
    }

    /// Prepares the first of `left` jobs.
    fn prepare(&mut self, queue: &str, job: NewJob, left: usize) -> Result<Prepared, Error> {
        let (kind, payload, options) = job.check(self.preparer.payload_bytes_max, self.preparer.verify_payloads)?;
        let catalog = &self.preparer.store.catalog;
        let queue = match &self.queue {
            Some(queue) => queue,
            None => {
                let (number, removals) = catalog.queue(queue)?;
                self.queue.insert((Named::of(queue, number), removals))
            }
        };
        let (queue, removals) = (&queue.0, queue.1);
        let (name, kind) = named_kind(&mut self.kind, catalog, kind)?;
        let payload = self.preparer.coder.stored(name, payload, self.preparer.payload_bytes_max)?;
        let priority = options.as_ref().and_then(|options| options.priority).unwrap_or_default();
        let mut record = Record::new(kind.id, priority, self.now.wall, payload);
        let times = options.and_then(|options| set_options(&mut record, *options, self.now));
        let mut prepared = Prepared::first_of(left, &mut self.chunk, queue.id, record, self.caller);
        prepared.set_removals(removals);
        if let Some(times) = times {
            prepared.claim_keys_for(times);
        }
        if queue.new.is_some() || kind.new.is_some() {
            prepared.set_names(NewJobNames { queue: queue.new.clone(), kind: kind.new.clone() });
        }
        Ok(prepared)
    }

    /// Prepares the first of `left` entries of a stream.
    fn prepare_entry(&mut self, entry: NewJob, left: usize) -> Result<PreparedEntry, Error> {
        let entry = entry.into_entry()?;
        let (kind, payload, options) = entry.check(self.preparer.payload_bytes_max, self.preparer.verify_payloads)?;
        let kind = named_kind(&mut self.kind, &self.preparer.store.catalog, kind)?;
        let payload = self.preparer.coder.stored(&kind.0, payload, self.preparer.payload_bytes_max)?;
        let mut new = NewEntry::new(kind.1.id, payload, self.now);
        if let Some(options) = options {
            let Options { group, labels, generation, .. } = *options;
            (new.key, new.generation) = (group, generation);
            new.labels = labels.filter(|labels| !labels.is_empty()).map(|labels| Arc::new(*labels));
        }
        Ok(PreparedEntry::first_of(left, &mut self.chunk, new, kind.1.new.clone()))
    }
}

/// Returns for how long the job holds its keys, if it has any.
fn set_options(record: &mut Record, options: Options, now: Now) -> Option<KeyTimes> {
    if options.generation > 0 {
        record.lineage_mut().generation = options.generation;
    }
    let max_attempts = if options.at_most_once { Some(AT_MOST_ONCE) } else { options.max_attempts };
    let Options { group, start, expires, backoff, timeout, weight, keys, labels, entry, flow, .. } = options;
    let times = keys
        .as_deref()
        .map(|keys| KeyTimes { unique: keys.holds_unique_key_for(), idempotency: keys.holds_call_for() });
    let labels = labels.filter(|labels| !labels.is_empty()).map(|labels| Arc::new(*labels));
    let debounces = keys.as_deref().and_then(|keys| keys.unique.debounces());
    let start = debounces.map_or(start, |(quiet, _)| Some(StartTime::After(quiet)));
    let due = match start {
        None => None,
        Some(StartTime::After(Duration::ZERO)) => None,
        Some(StartTime::After(delay)) => Some(Due::after(now, delay)),
        Some(StartTime::At(at)) => Some(Due::wall(at)).filter(|due| !due.is_due(now)),
    };
    let is_blocked = flow.is_some_and(|flow| flow.is_blocked);
    if is_blocked {
        life::enter_blocked(record, due)
    } else {
        life::enter(record, due)
    }
    let expiry = expires.map(|expires| match expires {
        Expires::After(after) => Expiry::after(now, after),
        Expires::At(at) => Expiry::at(at),
    });
    let plain = group.is_none()
        && expiry.is_none()
        && max_attempts.is_none()
        && backoff.is_none()
        && timeout.is_none()
        && weight.is_none()
        && keys.is_none()
        && labels.is_none()
        && entry.is_none()
        && flow.is_none();
    if !plain {
        let extra = record.extra_mut();
        extra.group = group;
        if let Some(keys) = keys {
            let KeyOptions { unique_key, unique, idempotency_key, .. } = *keys;
            if unique.is_in_turn() {
                extra.group = unique_key.as_deref().map(Into::into);
            }
            (extra.unique_key, extra.unique, extra.idempotency_key) = (unique_key, unique, idempotency_key);
            extra.debounced_until = debounces.map(|(_, at_most)| Due::after(now, at_most));
        }
        extra.expiry = expiry;
        extra.max_attempts = max_attempts;
        extra.backoff = backoff;
        extra.timeout = timeout;
        extra.weight = weight;
        extra.labels = labels;
        extra.entry = entry.map(|of| EntryTag::of_job(now.age, *of));
        extra.flow = flow.map(|place| place.flow);
    }
    times
}
