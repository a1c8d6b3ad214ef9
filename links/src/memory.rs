//! An engine in memory that can fail, for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::memory_leases::LeaseRow;
use crate::{Append, Batch, Cursor, Destination, Envelope, InDoubt, Limits, Log, Mailbox, Origin, Read, Unavailable};

/// In which way the next call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call is not carried out, and says so if it can: an append is in doubt.
    Unavailable,
    /// A call that changes something is carried out, and its answer is lost.
    AnswerLost,
    /// An append is in doubt, and is carried out just before the next one, if its cursor is the expected one then. Any other call is not
    /// carried out.
    Late,
}

/// An append that is on its way.
#[derive(Debug)]
struct OnItsWay {
    to: String,
    of: String,
    expected: u64,
    /// What the cursor is then. Its revision is not known yet.
    cursor: Cursor,
    envelopes: Vec<Envelope>,
}

/// A [`Log`] and a [`Lease`](crate::Lease) in memory. Clones are the same engine. Calls fail as a test says.
///
/// ```
/// # use millpond_links::{Fault, Mailbox, MemoryLog, conformance};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let log = MemoryLog::new();
/// conformance::check(&log).await;
/// log.fail_next([Fault::Unavailable, Fault::AnswerLost]);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    inner: Arc<Mutex<Inner>>,
    pub(crate) grown: Arc<Notify>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    /// By their positions, with their destinations.
    pub envelopes: BTreeMap<u64, (String, Envelope)>,
    /// By destination and origin.
    cursors: BTreeMap<(String, String), Cursor>,
    /// By the positions of jobs in shared queues.
    pub leases: BTreeMap<u64, LeaseRow>,
    end: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub stored: Stored,
    faults: VecDeque<Fault>,
    /// One of so many calls fails.
    one_in: Option<(u32, fastrand::Rng)>,
    is_down: bool,
    /// How many more jobs it takes.
    room: Option<usize>,
    /// Calls of `append`.
    appends: u64,
    late: Option<OnItsWay>,
}

/// What a [`MemoryLog`] has at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot(Stored);

impl Inner {
    pub fn fault(&mut self) -> Option<Fault> {
        if self.is_down {
            return Some(Fault::Unavailable);
        }
        if let Some(fault) = self.faults.pop_front() {
            return Some(fault);
        }
        let (one_in, rng) = self.one_in.as_mut()?;
        (rng.u32(0..*one_in) == 0).then(|| if rng.bool() { Fault::Unavailable } else { Fault::AnswerLost })
    }
}

impl Inner {
    fn store(&mut self, append: OnItsWay) -> Result<Append, InDoubt> {
        let OnItsWay { to, of, expected, mut cursor, envelopes } = append;
        let key = (to.clone(), of);
        let stored = &mut self.stored;
        if stored.cursors.get(&key).map_or(0, |cursor| cursor.revision) != expected {
            return Ok(Append::Stale);
        }
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(envelopes.len()).ok_or_else(|| InDoubt("it is full".into()))?;
        }
        for envelope in envelopes {
            stored.end += 1;
            stored.envelopes.insert(stored.end, (to.clone(), envelope));
        }
        // The cursor has a position too, as in an engine that keeps both in one stream.
        stored.end += 1;
        cursor.revision = stored.end;
        stored.cursors.insert(key, cursor);
        Ok(Append::Stored(stored.end))
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The next calls fail in these ways.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// From now on one of `calls` calls fails, chosen by this seed. 0: none.
    pub fn fail_one_in(&self, calls: u32, seed: u64) {
        self.lock().one_in = (calls > 0).then(|| (calls, fastrand::Rng::with_seed(seed)));
    }

    /// While it is down, every call fails.
    pub fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// How many more jobs it takes before it is full and refuses others. `None`, as at first: any number.
    pub fn set_room(&self, jobs: Option<usize>) {
        self.lock().room = jobs;
    }

    /// How often a batch was to be appended, whatever became of it.
    pub fn appends(&self) -> u64 {
        self.lock().appends
    }

    /// What it has now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().stored.clone())
    }

    /// Goes back to what it had: what was acknowledged since then is lost.
    pub fn go_back(&self, to: &Snapshot) {
        self.lock().stored = to.0.clone();
        self.grown.notify_waiters();
    }

    /// Puts an envelope into the log that no sender has sent.
    pub fn inject(&self, to: impl Into<Destination>, envelope: Envelope) {
        let to = to.into();
        let mut inner = self.lock();
        inner.stored.end += 1;
        let end = inner.stored.end;
        inner.stored.envelopes.insert(end, (to.to_string(), envelope));
        drop(inner);
        self.grown.notify_waiters();
    }

    /// All envelopes that it has, in order.
    pub fn envelopes(&self) -> Vec<Envelope> {
        self.lock().stored.envelopes.values().map(|(_, envelope)| envelope.clone()).collect()
    }
}

impl Log for MemoryLog {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn limits(&self) -> Limits {
        Limits::new(1 << 20, 1_000)
    }

    async fn cursor(&self, to: &Destination, of: &Origin) -> Result<Option<Cursor>, Unavailable> {
        let mut inner = self.lock();
        match inner.fault() {
            Some(_) => Err(Unavailable("a fault of the test".into())),
            None => Ok(inner.stored.cursors.get(&(to.to_string(), of.to_string())).cloned()),
        }
    }

    async fn append(&self, to: &Destination, of: &Origin, expected: u64, batch: Batch<'_>) -> Result<Append, InDoubt> {
        let mut inner = self.lock();
        inner.appends += 1;
        if let Some(late) = inner.late.take() {
            let _ = inner.store(late);
        }
        let fault = inner.fault();
        let Batch { number, ids, hash, envelopes } = batch;
        let cursor = Cursor { batch: number, ids: ids.to_vec(), hash, revision: 0 };
        let append =
            OnItsWay { to: to.to_string(), of: of.to_string(), expected, cursor, envelopes: envelopes.to_vec() };
        match fault {
            Some(Fault::Unavailable) => {
                return Err(InDoubt("a fault of the test, and it was not carried out".into()));
            }
            Some(Fault::Late) => {
                inner.late = Some(append);
                return Err(InDoubt("a fault of the test, and it is carried out later".into()));
            }
            Some(Fault::AnswerLost) | None => {}
        }
        let stored = inner.store(append)?;
        drop(inner);
        self.grown.notify_waiters();
        match (fault, stored) {
            (Some(_), Append::Stored(_)) => Err(InDoubt("a fault of the test, and it was carried out".into())),
            (_, stored) => Ok(stored),
        }
    }

    async fn read(&self, mailbox: &Mailbox, after: u64, max: usize) -> Result<Read, Unavailable> {
        let mut waits = true;
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            {
                let mut inner = self.lock();
                if inner.fault().is_some() {
                    return Err(Unavailable("a fault of the test".into()));
                }
                let from = Destination::Mailbox(mailbox.clone()).to_string();
                let mut of_mailbox = inner
                    .stored
                    .envelopes
                    .range(after + 1..)
                    .filter(|(_, (name, envelope))| *name == from && mailbox.read().contains(&envelope.partition));
                let envelopes: Vec<_> =
                    of_mailbox.by_ref().take(max).map(|(at, (_, envelope))| (*at, envelope.clone())).collect();
                let behind = Some(of_mailbox.count() as u64);
                if !envelopes.is_empty() || !waits || inner.stored.end < after {
                    return Ok(Read { envelopes, end: inner.stored.end, behind });
                }
            }
            waits = tokio::time::timeout(Duration::from_millis(500), grown).await.is_ok();
        }
    }
}
