//! Tests of how much work the writer does for calls that wait for room.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::Error;
use crate::job::{Coder, JobId, NewJob, QueueId, StoredPayload, Withdraw, Withdrawn};
use crate::metrics::Metrics;
use crate::storage::{Batch, BatchLimits, Store};
use crate::storage::{Opening, Prepared, PreparedEntry};
use crate::time::{Now, SystemClock, TimeReader};
use crate::transaction::Prepare;

/// A step that finds its queue full.
struct FindsNoRoom {
    queue: QueueId,
    asked: Arc<AtomicUsize>,
}

impl Step for FindsNoRoom {
    fn apply(&mut self, _: &mut Batch<'_>, _: &dyn Prepare) -> Result<(), Refusal> {
        Err(Refusal::Later(self.queue))
    }

    fn answer(self: Box<Self>, _: Result<(), Error>) {}

    fn fills(&self, full: &BTreeSet<QueueId>) -> Option<QueueId> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        full.contains(&self.queue).then_some(self.queue)
    }
}

/// Prepares no jobs.
struct NoPrepare(Coder);

impl Withdraw for NoPrepare {
    fn withdraw(&self, _: JobId) -> Withdrawn {
        Withdrawn::NoDispatch
    }

    fn reinstate_all(&self) {}
}

impl Prepare for NoPrepare {
    fn next_flow(&self) -> u64 {
        unreachable!("no test makes a flow")
    }

    fn prepare_message(&self, _: NewJob) -> Result<Prepared, Error> {
        Err(Error::Closed)
    }

    fn has_enqueue_hooks(&self) -> bool {
        false
    }

    fn queue_name(&self, _: QueueId) -> Arc<str> {
        unreachable!("no test publishes")
    }

    fn queue_removals(&self) -> u32 {
        0
    }

    fn payload_bytes_max(&self) -> usize {
        unreachable!("no test prepares a payload")
    }

    fn check_process(&self) -> Result<(), Error> {
        Ok(())
    }

    fn coder(&self) -> &Coder {
        &self.0
    }

    fn ends_are_awaited(&self) -> bool {
        false
    }

    fn prepare(&self, _: &str, _: NewJob) -> Result<Prepared, Error> {
        Err(Error::Closed)
    }

    fn prepare_entries(&self, _: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<PreparedEntry>, Error> {
        unreachable!("no entries in these tests")
    }

    fn prepare_entry_of(&self, _: &Prepared) -> PreparedEntry {
        unreachable!("no entries in these tests")
    }

    fn prepare_many(&self, _: &str, _: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<Prepared>, Error> {
        Err(Error::Closed)
    }

    fn prepare_payload(&self, _: &str, _: &str, _: NewJob) -> Result<StoredPayload, Error> {
        Err(Error::Closed)
    }
}

#[test]
fn each_waiting_call_is_asked_once_in_a_batch_however_many_queues_are_full() {
    const QUEUES: u32 = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let opening = Opening { cache_bytes: 1 << 20, adopt: true, check: false };
    let store = Store::open(&dir.path().join("jobs.redb"), opening).unwrap();
    let counters = store.load().unwrap();
    let metrics = Arc::new(Metrics::default());
    let limits = BatchLimits::default();
    let occupied = Occupied::default();
    let time = TimeReader::new(Arc::new(SystemClock::new()));
    let prepare = Arc::new(NoPrepare(Coder::default()));
    let mut writer = Writer::new(Arc::new(store), prepare, limits, counters, metrics, occupied, time);
    let asked = Arc::new(AtomicUsize::new(0));
    let calls = (0..QUEUES).map(|queue| Command::Step(Box::new(FindsNoRoom { queue, asked: asked.clone() })));
    for batch in [calls.collect(), Vec::new(), Vec::new()] {
        assert!(writer.commit(batch, Now::default(), false).failure.is_none());
        assert_eq!(asked.swap(0, Ordering::SeqCst), QUEUES as usize);
    }
}
