//! The entries of a stream that a consumer has in memory: which of them may start, and which wait for another one of their key.
//!
//! A consumer's queue is fed from two sources: the rows of its jobs, through the windows, and the entries of its stream, through
//! this. An entry starts when no earlier one of its group is here or is a job in the queue.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::limits::WindowLimits;
use crate::job::{EntryOf, Feeding, IdMap, IdSet, JobId, Kinds, QueueId, ReadyJob};

/// How many entries that wait for a job of their group become jobs themselves in one commit.
const JOBS_AT_ONCE: usize = 256;

/// A page of entries to be read for a consumer.
#[derive(Clone, Debug)]
pub(crate) struct FeedRefill {
    pub queue: QueueId,
    pub feeding: Feeding,
    /// From this offset on, at which the consumer had been moved so often. `None`: from the cursor that is in the file.
    pub from: Option<(u64, u32)>,
    /// Entries of other kinds are passed.
    pub kinds: Kinds,
    pub entries_max: usize,
    pub bytes_max: usize,
}

/// The page that was read.
#[derive(Debug, Default)]
pub(crate) struct FedPage {
    pub epoch: u32,
    /// In the order of their offsets.
    pub entries: Vec<Arc<ReadyJob>>,
    /// The offset at which the next page begins.
    pub next: u64,
    /// The offset of the stream's next entry.
    pub end: u64,
    /// Groups that have jobs in the queue.
    pub in_use: HashSet<Arc<str>>,
}

/// An entry that is not settled.
#[derive(Debug)]
struct Open {
    job: Arc<ReadyJob>,
    /// It was chosen to be started, or is to become a job.
    is_out: bool,
}

/// What is known of a group.
#[derive(Debug, Default)]
struct Group {
    /// Its entries that were chosen to be started, until the next one may start, or that are about to be jobs.
    busy: Vec<JobId>,
    /// It has jobs in the queue, which go first.
    has_jobs: bool,
    waiting: VecDeque<Arc<ReadyJob>>,
}

impl Group {
    fn is_idle(&self) -> bool {
        self.busy.is_empty() && !self.has_jobs
    }
}

/// How far the stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The cursor is to be read first.
    Cursor,
    Offset {
        next: u64,
        epoch: u32,
    },
}

#[derive(Debug, Default)]
struct Meanwhile {
    /// Entries that have been settled or are jobs.
    left: IdSet<u64>,
    /// Groups that have got a job.
    filled: HashSet<Arc<str>>,
    /// Groups whose last job has left.
    emptied: HashSet<Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Feed {
    pub feeding: Feeding,
    open: IdMap<Open>,
    /// Those that may start, by their positions.
    ready: BTreeMap<u64, Arc<ReadyJob>>,
    groups: HashMap<Arc<str>, Group>,
    bytes: usize,
    at: At,
    /// The offset of the stream's next entry, as far as it is known.
    end: u64,
    is_reading: bool,
    /// The page that is being read is not to be used.
    is_void: bool,
    /// What has changed while the cursor and a page were read: the page may not show it.
    meanwhile: Meanwhile,
    /// How many calls to the writer are on their way that make jobs of entries.
    converting: usize,
    /// Entries below this offset are removed, or about to be: none of them starts.
    floor: u64,
    /// The consumer was moved: nothing is read before its entries of earlier have ended.
    drains: bool,
    limits: WindowLimits,
}

impl Feed {
    pub fn new(feeding: Feeding, limits: WindowLimits) -> Self {
        Self {
            feeding,
            open: IdMap::default(),
            ready: BTreeMap::new(),
            groups: HashMap::new(),
            bytes: 0,
            at: At::Cursor,
            end: 0,
            is_reading: false,
            is_void: false,
            meanwhile: Meanwhile::default(),
            converting: 0,
            floor: 0,
            drains: false,
            limits,
        }
    }

    pub fn owns(&self, id: JobId) -> bool {
        self.open.contains_key(&id)
    }

    pub fn first(&self) -> Option<&Arc<ReadyJob>> {
        self.ready.first_key_value().map(|(_, job)| job)
    }

    pub fn is_reading(&self) -> bool {
        self.is_reading
    }

    /// Whether there are entries that were not read, as far as it is known.
    fn has_more_to_read(&self) -> bool {
        match self.at {
            At::Cursor => true,
            At::Offset { next, .. } => next < self.end,
        }
    }

    // --- starts -------------------------------------------------------------------------------

    /// Removes and returns the next entry that may start.
    pub fn pop(&mut self) -> Option<Arc<ReadyJob>> {
        let (_, job) = self.ready.pop_first()?;
        if let Some(open) = self.open.get_mut(&job.id) {
            open.is_out = true;
        }
        Some(job)
    }

    /// Puts back an entry that was chosen and did not start.
    pub fn put_back(&mut self, job: Arc<ReadyJob>) {
        if self.drains || self.at == At::Cursor {
            // It is read again.
            self.open.remove(&job.id);
            return;
        }
        if let Some(open) = self.open.get_mut(&job.id) {
            open.is_out = false;
            self.ready.insert(job.order.position, job);
        }
    }

    /// The handler of an entry has returned, and has nothing to write but that the entry is passed: the next one of its group may
    /// start. Both are passed in order, so a crash can only forget both, or the later one.
    pub fn passed(&mut self, id: JobId) {
        if let Some(group) = self.open.get(&id).and_then(|open| open.job.group().cloned()) {
            self.release(&group, id);
        }
    }

    /// The entry's end is durable.
    pub fn settled(&mut self, id: JobId) {
        let Some(open) = self.open.remove(&id) else { return };
        self.left(&open.job);
        if let Some(group) = open.job.group() {
            self.release(group, id);
        }
    }

    fn left(&mut self, job: &ReadyJob) {
        self.bytes = self.bytes.saturating_sub(job.bytes as usize);
        if self.is_reading {
            self.meanwhile.left.extend(offset_of(job));
        }
    }

    /// An entry is a job from now on. Its group waits until that has ended.
    pub fn is_job(&mut self, id: JobId) {
        let Some(open) = self.open.remove(&id) else { return };
        self.left(&open.job);
        if let Some(name) = open.job.group() {
            let group = self.groups.entry(name.clone()).or_default();
            group.busy.retain(|busy| *busy != id);
            group.has_jobs = true;
            if self.is_reading {
                self.meanwhile.emptied.remove(name);
                self.meanwhile.filled.insert(name.clone());
            }
        }
    }

    /// The writer has made jobs of the entries of a call of [`Self::held_up`], or could not. Then they are read again.
    pub fn converted(&mut self, done: bool) {
        self.converting -= 1;
        if !done {
            self.restart();
        }
    }

    /// A group is paused: none of its entries starts before it is empty, which it is not while it is paused.
    pub fn group_paused(&mut self, name: &Arc<str>) {
        if self.is_reading {
            self.meanwhile.emptied.remove(name);
            self.meanwhile.filled.insert(name.clone());
        }
        let group = self.groups.entry(name.clone()).or_default();
        group.has_jobs = true;
        // The next one may be ready, and was not chosen yet.
        let next = group.busy.iter().find_map(|id| self.open.get(id).filter(|open| !open.is_out));
        if let Some(job) = next.map(|open| open.job.clone()) {
            self.ready.remove(&job.order.position);
            group.busy.retain(|id| *id != job.id);
            group.waiting.push_front(job);
        }
    }

    /// Nothing of this group is in the queue any more.
    pub fn group_empty(&mut self, name: &Arc<str>) {
        if self.is_reading {
            self.meanwhile.filled.remove(name);
            self.meanwhile.emptied.insert(name.clone());
        }
        if let Some(group) = self.groups.get_mut(name) {
            group.has_jobs = false;
            self.next_of(name);
        }
    }

    fn release(&mut self, name: &Arc<str>, id: JobId) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let before = group.busy.len();
        group.busy.retain(|busy| *busy != id);
        if group.busy.len() < before {
            self.next_of(name);
        }
    }

    /// Lets the next entry of a group start, if nothing of it is on its way. A group of which nothing is left is forgotten.
    fn next_of(&mut self, name: &Arc<str>) {
        let Some(group) = self.groups.get_mut(name).filter(|group| group.is_idle()) else { return };
        match group.waiting.pop_front() {
            Some(job) => {
                group.busy.push(job.id);
                self.ready.insert(job.order.position, job);
            }
            None => drop(self.groups.remove(name)),
        }
    }

    // --- reading ------------------------------------------------------------------------------

    /// The stream has entries up to this offset.
    pub fn grown(&mut self, end: u64) -> bool {
        let has_grown = end > self.end;
        self.end = self.end.max(end);
        has_grown
    }

    /// The page that is to be read now.
    pub fn wants_page(&mut self, queue: QueueId, kinds: impl FnOnce() -> Kinds) -> Option<FeedRefill> {
        let limits = self.limits;
        // Before the cursor is read, nothing counts: all that does not run is read again.
        let (entries, bytes) = if self.at == At::Cursor { (0, 0) } else { (self.open.len(), self.bytes) };
        let is_low = entries <= limits.jobs_max / 2 && bytes <= limits.bytes_max / 2;
        let waits = (self.drains && !self.open.is_empty()) || (self.at == At::Cursor && self.converting > 0);
        if self.is_reading || waits || !is_low || !self.has_more_to_read() {
            return None;
        }
        (self.is_reading, self.is_void, self.drains) = (true, false, false);
        self.meanwhile = Meanwhile::default();
        let from = match self.at {
            At::Cursor => None,
            At::Offset { next, epoch } => Some((next, epoch)),
        };
        Some(FeedRefill {
            queue,
            feeding: self.feeding.clone(),
            from,
            kinds: kinds(),
            entries_max: limits.jobs_max - entries,
            bytes_max: limits.bytes_max - bytes,
        })
    }

    /// A page could not be read, or there are no ids for it: it is wanted again.
    pub fn page_failed(&mut self) {
        self.is_reading = false;
    }

    /// Takes the entries of a page. `is_handed_out` says which are running, or have run and are not settled.
    pub fn fed(&mut self, page: FedPage, is_handed_out: impl Fn(JobId) -> bool) {
        self.is_reading = false;
        self.end = self.end.max(page.end);
        if self.is_void {
            return;
        }
        let Meanwhile { mut left, filled, emptied } = std::mem::take(&mut self.meanwhile);
        if self.at == At::Cursor {
            self.begin_anew(is_handed_out);
            left.extend(self.open.values().filter_map(|open| offset_of(&open.job)));
        }
        self.at = At::Offset { next: page.next, epoch: page.epoch };
        for name in page.in_use.into_iter().filter(|name| !emptied.contains(name)).chain(filled) {
            self.groups.entry(name).or_default().has_jobs = true;
        }
        for job in page.entries {
            if offset_of(&job).is_none_or(|offset| offset < self.floor || left.contains(&offset)) {
                continue;
            }
            self.bytes += job.bytes as usize;
            self.open.insert(job.id, Open { job: job.clone(), is_out: false });
            match job.group().cloned() {
                None => drop(self.ready.insert(job.order.position, job)),
                Some(name) => {
                    self.groups.entry(name.clone()).or_default().waiting.push_back(job);
                    self.next_of(&name);
                }
            }
        }
        self.groups.retain(|_, group| !group.is_idle() || !group.waiting.is_empty());
    }

    /// Only those entries are left that are running, or have run and are not settled: the others are read again.
    fn begin_anew(&mut self, is_handed_out: impl Fn(JobId) -> bool) {
        self.open.retain(|id, open| open.is_out && is_handed_out(*id));
        self.bytes = self.open.values().map(|open| open.job.bytes as usize).sum();
        self.ready.clear();
        self.groups.clear();
        for (id, open) in &self.open {
            if let Some(group) = open.job.group() {
                self.groups.entry(group.clone()).or_default().busy.push(*id);
            }
        }
    }

    /// Reads the cursor and the entries again.
    pub fn restart(&mut self) {
        self.at = At::Cursor;
        self.is_void = true;
        self.ready.clear();
    }

    /// The offset of the first entry that is running, or has run and is not settled.
    pub fn first_of(&self, is_handed_out: impl Fn(JobId) -> bool) -> Option<u64> {
        let taken = self.open.iter().filter(|(id, open)| open.is_out && is_handed_out(**id));
        taken.filter_map(|(_, open)| offset_of(&open.job)).min()
    }

    /// Lets no entry below this offset start. Returns whether one could have.
    pub fn begin_at(&mut self, floor: u64) -> bool {
        if floor <= self.floor {
            return false;
        }
        self.floor = floor;
        self.open.values().any(|open| offset_of(&open.job).is_some_and(|offset| offset < floor))
    }

    /// The consumer was moved. Its entries that are running end first.
    pub fn moved(&mut self, is_handed_out: impl Fn(JobId) -> bool) {
        self.begin_anew(is_handed_out);
        self.restart();
        // A removal that was announced has been made by now, or was not made.
        self.floor = 0;
        self.drains = true;
    }

    /// Entries that are to become jobs, because they wait for jobs of their groups, and there is no room for others beside them.
    pub fn held_up(&mut self) -> Option<Vec<Arc<ReadyJob>>> {
        let limits = self.limits;
        let is_full = self.open.len() > limits.jobs_max / 2 || self.bytes > limits.bytes_max / 2;
        if !is_full || !self.ready.is_empty() || self.at == At::Cursor {
            return None;
        }
        let mut jobs = Vec::new();
        let mut held: Vec<&mut Group> = self.groups.values_mut().filter(|group| group.has_jobs).collect();
        held.sort_by_key(|group| group.waiting.front().map(|job| job.order.position));
        for group in held {
            let room = JOBS_AT_ONCE - jobs.len();
            let most = group.waiting.len().min(room);
            // The jobs for which they wait can end before they are jobs themselves: those behind them wait for them, too.
            group.busy.extend(group.waiting.iter().take(most).map(|job| job.id));
            jobs.extend(group.waiting.drain(..most));
        }
        for job in &jobs {
            if let Some(open) = self.open.get_mut(&job.id) {
                open.is_out = true;
            }
        }
        if jobs.is_empty() {
            return None;
        }
        self.converting += 1;
        Some(jobs)
    }
}

fn offset_of(job: &ReadyJob) -> Option<u64> {
    job.record.entry().map(|EntryOf { offset, .. }| *offset)
}
