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
    AT_MOST_ONCE, CallSize, Caller, Coder, ENQUEUE_JOBS_MAX, EnqueueHooks, Expires, Expiry, JobId, KeyOptions, NewJob,
    Options, Record, StartTime, StoredPayload, Withdraw, Withdrawn, check_replacement,
};
use crate::storage::{KeyTimes, NO_NUMBER, NewJobNames, Number, Prepared, Store};
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

    fn prepare_many(&self, queue: &str, jobs: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<Prepared>, Error> {
        self.check_process()?;
        let (mut call, mut size) = (Preparing::new(self), CallSize::default());
        let mut left = jobs.size_hint().0.min(ENQUEUE_JOBS_MAX);
        let mut prepared = Vec::with_capacity(left);
        for job in jobs {
            // Without hooks, the job is not moved into a result and out of it.
            let job = if self.hooks.is_empty() { job } else { self.hooks.apply(queue, job)? };
            let job = call.prepare(queue, job, left.max(1))?;
            let bytes = job.bytes.len();
            prepared.push(job);
            size.add(bytes)?;
            left = left.saturating_sub(1);
        }
        Ok(prepared)
    }

    fn prepare_payload(&self, queue: &str, kind: &str, payload: NewJob) -> Result<StoredPayload, Error> {
        check_replacement(kind, &payload)?;
        self.check_process()?;
        Ok(Preparing::new(self).prepare(queue, payload, 1)?.record().payload.clone())
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
        if self.kind.as_ref().is_none_or(|(name, _)| *name != kind) {
            let named = Named::of(&kind, catalog.kind(&kind)?);
            self.kind = Some((kind, named));
        }
        let (name, kind) = self.kind.as_ref().expect("it was set above");
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
}

/// Returns for how long the job holds its keys, if it has any.
fn set_options(record: &mut Record, options: Options, now: Now) -> Option<KeyTimes> {
    if options.generation > 0 {
        record.lineage_mut().generation = options.generation;
    }
    let max_attempts = if options.at_most_once { Some(AT_MOST_ONCE) } else { options.max_attempts };
    let Options { group, start, expires, backoff, timeout, weight, keys, labels, flow, .. } = options;
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
        extra.flow = flow.map(|place| place.flow);
    }
    times
}
