//! What the callers and handlers of a run have observed, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use millpond::{Error, JobId};
use millpond_testkit::SimDisk;

/// The number of a call, in the order in which they were made.
pub type Call = usize;

/// Something that was visible outside of the engine: it can have had effects elsewhere, so it must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The queue is open.
    Opened,
    Answer(Call),
    /// A handler was called for this job.
    Started(u64),
    /// A reader read the file, and its rows had this sum.
    Saw(u64),
}

/// What a call asks for, and its answer.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    #[expect(dead_code, reason = "shown when the call is answered wrongly")]
    pub what: String,
    /// The tags in the payloads of its jobs.
    pub tags: Vec<u64>,
    /// The application's rows that it writes.
    pub rows: Vec<u64>,
    /// The call cannot succeed.
    pub fails: bool,
    /// The job that it cancels.
    pub cancels: Option<u64>,
    pub answer: Option<Result<Vec<u64>, Refusal>>,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The call may have been carried out.
    OutcomeUnknown,
    /// The call was not carried out.
    No(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::OutcomeUnknown { .. } => Self::OutcomeUnknown,
            other => Self::No(format!("{other:?}")),
        }
    }
}

impl From<redb::TableError> for Refusal {
    fn from(error: redb::TableError) -> Self {
        Self::No(format!("{error:?}"))
    }
}

/// One call of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub id: u64,
    pub tag: u64,
    pub attempt: u32,
}

#[derive(Debug, Default)]
struct Contents {
    asked: Vec<Asked>,
    /// Each observation with the length of the disk's log at that time.
    observed: Vec<(usize, Observation)>,
    runs: Vec<Run>,
    /// The jobs that the file no longer has to hold, each with the reason.
    released: BTreeMap<u64, &'static str>,
    /// The tags of the jobs that are allowed to expire without having run.
    may_expire: BTreeSet<u64>,
    /// The running jobs that are asked to stop, as callers were told.
    asked_to_stop: BTreeSet<u64>,
    /// The jobs that ran again after their handlers were done.
    again: Vec<u64>,
}

/// The reason of a job that has made room for a new one.
pub const DROPPED: &str = "dropped";

/// The reason of a job whose handler is done.
pub const COMPLETED: &str = "completed";

/// Clones share their contents.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    contents: Arc<Mutex<Contents>>,
}

impl Observations {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn ask(&self, asked: Asked) -> Call {
        let mut contents = self.lock();
        contents.asked.push(asked);
        contents.asked.len() - 1
    }

    pub fn asked(&self, call: Call) -> Asked {
        self.lock().asked[call].clone()
    }

    pub fn all(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    pub fn observe(&self, disk: &SimDisk, observed: Observation) {
        let at = disk.logged();
        self.lock().observed.push((at, observed));
    }

    pub fn started(&self, disk: &SimDisk, run: Run) {
        self.observe(disk, Observation::Started(run.id));
        let mut contents = self.lock();
        if contents.released.get(&run.id) == Some(&COMPLETED) {
            contents.again.push(run.id);
        }
        contents.runs.push(run);
    }

    pub fn runs(&self) -> Vec<Run> {
        self.lock().runs.clone()
    }

    /// Takes the observations made on this disk's log, in order. The next log starts with none.
    pub fn take_observed(&self) -> Vec<(usize, Observation)> {
        let mut observed = std::mem::take(&mut self.lock().observed);
        observed.sort_by_key(|(at, _)| *at);
        observed
    }

    /// From now on the file does not have to hold this job.
    pub fn release(&self, id: u64, why: &'static str) {
        self.lock().released.insert(id, why);
    }

    /// A caller was told that this running job is asked to stop.
    pub fn is_to_stop(&self, id: u64) {
        self.lock().asked_to_stop.insert(id);
    }

    pub fn asked_to_stop(&self) -> BTreeSet<u64> {
        self.lock().asked_to_stop.clone()
    }

    /// The job with this tag is allowed to expire.
    pub fn may_expire(&self, tag: u64) {
        self.lock().may_expire.insert(tag);
    }

    pub fn expiring(&self) -> BTreeSet<u64> {
        self.lock().may_expire.clone()
    }

    pub fn again(&self) -> Vec<u64> {
        self.lock().again.clone()
    }

    /// Whether this job has made room for a new one.
    pub fn is_dropped(&self, id: u64) -> bool {
        self.lock().released.get(&id) == Some(&DROPPED)
    }

    pub fn released(&self) -> BTreeSet<u64> {
        self.lock().released.keys().copied().collect()
    }

    /// Every id with which a call was answered.
    pub fn ids(&self) -> Vec<u64> {
        let contents = self.lock();
        contents.asked.iter().filter_map(|asked| asked.answer.as_ref()?.as_ref().ok()).flatten().copied().collect()
    }

    pub fn answer(&self, call: Call, at: usize, answer: Result<Vec<u64>, Refusal>) {
        let mut contents = self.lock();
        contents.observed.push((at, Observation::Answer(call)));
        contents.asked[call].answer = Some(answer);
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Vec<JobId>, Error>> + Send>>;

/// A call that waits for its answer. It notes how long the disk's log was when the answer was given, not
/// when the answer was read.
pub struct Waiting {
    call: Call,
    answer: Answer,
    observations: Observations,
    disk: SimDisk,
    woken: Arc<Woken>,
}

struct Woken {
    disk: SimDisk,
    at: Mutex<Option<usize>>,
    outer: Mutex<Waker>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.at.lock().unwrap() = Some(self.disk.logged());
        self.outer.lock().unwrap().wake_by_ref();
    }
}

impl Waiting {
    pub fn new(call: Call, observations: &Observations, disk: &SimDisk, answer: Answer) -> Self {
        let woken = Woken { disk: disk.clone(), at: Mutex::default(), outer: Mutex::new(Waker::noop().clone()) };
        Self { call, answer, observations: observations.clone(), disk: disk.clone(), woken: Arc::new(woken) }
    }
}

impl Waiting {
    pub fn call(&self) -> Call {
        self.call
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.woken.outer.lock().unwrap() = cx.waker().clone();
        let waker = Waker::from(self.woken.clone());
        let Poll::Ready(answer) = self.answer.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return Poll::Pending;
        };
        let at = self.woken.at.lock().unwrap().unwrap_or_else(|| self.disk.logged());
        let answer = answer.map(|ids| ids.into_iter().map(JobId::get).collect());
        self.observations.answer(self.call, at, answer.map_err(Refusal::from));
        Poll::Ready(())
    }
}
