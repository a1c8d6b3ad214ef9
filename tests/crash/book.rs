//! What callers and handlers have been told, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use millpond::{Error, JobId};
use millpond_testkit::SimDisk;

/// The number of a call, in the order they were made.
pub type Call = usize;

/// Something that left the engine: whoever heard it may have told the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The queue is open.
    Opened,
    Answer(Call),
    /// A handler was called for this job.
    Started(u64),
    /// A reader saw the file with this sum.
    Saw(u64),
}

/// What a call asks for, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    #[expect(dead_code, reason = "shown when something is wrong with it")]
    pub what: String,
    /// What its jobs carry.
    pub tags: Vec<u64>,
    /// The application's rows it writes.
    pub rows: Vec<u64>,
    /// It cannot succeed.
    pub fails: bool,
    pub answer: Option<Result<Vec<u64>, Refusal>>,
}

/// How a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It may have been done.
    OutcomeUnknown,
    /// It was not.
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

/// One run of one handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub id: u64,
    pub tag: u64,
    pub attempt: u32,
}

#[derive(Debug, Default)]
struct Pages {
    asked: Vec<Asked>,
    /// Where in the disk's record each was heard.
    heard: Vec<(usize, Heard)>,
    runs: Vec<Run>,
    /// Jobs that may be gone without a trace, and by whose word.
    released: BTreeMap<u64, &'static str>,
    /// What jobs carry that may expire without having run.
    may_expire: BTreeSet<u64>,
    /// Jobs that were run again after their handlers were done.
    again: Vec<u64>,
}

/// The word of a handler that is done.
pub const COMPLETED: &str = "completed";

/// Clones are the same book.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pages: Arc<Mutex<Pages>>,
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn ask(&self, asked: Asked) -> Call {
        let mut pages = self.pages();
        pages.asked.push(asked);
        pages.asked.len() - 1
    }

    pub fn asked(&self, call: Call) -> Asked {
        self.pages().asked[call].clone()
    }

    pub fn all(&self) -> Vec<Asked> {
        self.pages().asked.clone()
    }

    pub fn hear(&self, disk: &SimDisk, heard: Heard) {
        let at = disk.logged();
        self.pages().heard.push((at, heard));
    }

    pub fn started(&self, disk: &SimDisk, run: Run) {
        self.hear(disk, Heard::Started(run.id));
        let mut pages = self.pages();
        if pages.released.get(&run.id) == Some(&COMPLETED) {
            pages.again.push(run.id);
        }
        pages.runs.push(run);
    }

    pub fn runs(&self) -> Vec<Run> {
        self.pages().runs.clone()
    }

    /// What was heard on this disk's record. The next one starts anew.
    pub fn take_heard(&self) -> Vec<(usize, Heard)> {
        let mut heard = std::mem::take(&mut self.pages().heard);
        heard.sort_by_key(|(at, _)| *at);
        heard
    }

    /// From now on this job need not be in the file any more.
    pub fn release(&self, id: u64, why: &'static str) {
        self.pages().released.insert(id, why);
    }

    /// The job that carries this may expire.
    pub fn may_expire(&self, tag: u64) {
        self.pages().may_expire.insert(tag);
    }

    pub fn expiring(&self) -> BTreeSet<u64> {
        self.pages().may_expire.clone()
    }

    pub fn again(&self) -> Vec<u64> {
        self.pages().again.clone()
    }

    pub fn released(&self) -> BTreeSet<u64> {
        self.pages().released.keys().copied().collect()
    }

    /// Every id that was ever answered.
    pub fn ids(&self) -> Vec<u64> {
        let pages = self.pages();
        pages.asked.iter().filter_map(|asked| asked.answer.as_ref()?.as_ref().ok()).flatten().copied().collect()
    }

    pub fn answer(&self, call: Call, at: usize, answer: Result<Vec<u64>, Refusal>) {
        let mut pages = self.pages();
        pages.heard.push((at, Heard::Answer(call)));
        pages.asked[call].answer = Some(answer);
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Vec<JobId>, Error>> + Send>>;

/// A call that waits for its answer. It notes where the disk's record stood when that was given, not
/// when it was looked at.
pub struct Waiting {
    call: Call,
    answer: Answer,
    book: Book,
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
    pub fn new(call: Call, book: &Book, disk: &SimDisk, answer: Answer) -> Self {
        let woken = Woken { disk: disk.clone(), at: Mutex::default(), outer: Mutex::new(Waker::noop().clone()) };
        Self { call, answer, book: book.clone(), disk: disk.clone(), woken: Arc::new(woken) }
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
        self.book.answer(self.call, at, answer.map_err(Refusal::from));
        Poll::Ready(())
    }
}
