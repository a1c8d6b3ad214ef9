//! The names of queues and kinds with their numbers, and each queue's row as of the last commit. It refuses more than
//! [`NAMES_MAX`] queues, and more than [`NAMES_MAX`] kinds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
// Not the ones of `crate::sync`: only the writer changes them, under the lock.
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::error::Error;
use crate::job::{KindId, QueueId, Retention, check_name};
use crate::storage::rows::former_queues::{FormerQueue, FormerQueues};
use crate::storage::rows::queue_row::QueueRow;
use crate::storage::rows::ready::Recent;
use crate::storage::rows::tally::Tally;
use crate::storage::rows::topics::SharedTopics;
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The most queues, and the most kinds, of a file. The limit exists because each takes a row and some memory for ever.
pub(crate) const NAMES_MAX: usize = 65_536;

/// Why a queue with a worker is not removed or renamed.
pub(in crate::storage) const IN_USE: &str =
    "a worker serves it, or an attempt of a worker that was stopped has not ended: stop the worker and wait for that";

/// Maps names to numbers, and has each queue's row as of the last commit.
///
/// A name is in the file from the first commit that stores something under it. Until then it has a number only while a
/// worker uses it, or while the batch that will store it is made. So reading about a queue or a refused enqueue uses up
/// no number. Only the writer reserves numbers for a batch, so no other thread knows a number that a refused command
/// frees.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    inner: RwLock<Inner>,
    /// The retention of queues that have none of their own, if it is another one than [`Retention::default`].
    default_retention: OnceLock<Retention>,
    pub recent: Recent,
    pub topics: SharedTopics,
    /// How many queues were removed since the file was opened: the number of a removed queue can be another one's. It changes
    /// under the lock.
    removals: AtomicU32,
    /// There are consumers of streams, or were.
    has_consumers: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    queues: Names,
    kinds: Names,
    rows: HashMap<QueueId, QueueRow>,
    /// Queues that keep ended jobs. There may be many thousand others.
    with_ended: BTreeSet<QueueId>,
    /// The queues that were removed last.
    former: FormerQueues,
    /// The old and the new name of a queue that the present batch renames. No worker may begin to use either.
    renaming: Option<[Arc<str>; 2]>,
}

#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, u32>,
    names: Vec<Name>,
    /// The numbers in `names` that no name has.
    free: BTreeSet<u32>,
    saved: usize,
}

/// The name of a number, and the reasons why the number is in use. Without a reason it can be assigned again.
#[derive(Clone, Debug, Default)]
struct Name {
    text: Arc<str>,
    /// The name is in the file.
    is_saved: bool,
    /// A batch will store it. This stays true if it is unknown whether the commit has stored it.
    is_reserved: bool,
    /// How many workers of this process use it.
    uses: u32,
}

impl Name {
    /// Whether its number can be known outside of the batch that has reserved it.
    fn is_known(&self) -> bool {
        self.is_saved || self.uses > 0
    }

    fn is_free(&self) -> bool {
        !self.is_known() && !self.is_reserved
    }
}

impl Names {
    fn find(&self, name: &str) -> Option<(u32, &Name)> {
        let id = *self.ids.get(name)?;
        Some((id, &self.names[id as usize]))
    }

    fn name(&self, id: u32) -> Option<&Arc<str>> {
        self.names.get(id as usize).map(|name| &name.text)
    }

    /// The number of a name. If the name has none, it is assigned one. The caller must record why it is in use.
    fn number(&mut self, name: &str) -> (u32, &mut Name) {
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None => self.free.first().copied().unwrap_or(self.names.len() as u32),
        };
        (id, self.put(id, name.into()))
    }

    fn put(&mut self, id: u32, name: Arc<str>) -> &mut Name {
        while self.names.len() <= id as usize {
            self.free.insert(self.names.len() as u32);
            self.names.push(Name::default());
        }
        self.free.remove(&id);
        let place = &mut self.names[id as usize];
        // A queue can have another name now.
        let before = std::mem::replace(&mut place.text, name.clone());
        if before != name && self.ids.get(&before) == Some(&id) {
            self.ids.remove(&before);
        }
        self.ids.insert(name, id);
        place
    }

    /// Records that a commit has stored the name.
    fn save(&mut self, id: u32) {
        let Some(name) = self.names.get_mut(id as usize).filter(|name| !name.is_free()) else { return };
        self.saved += usize::from(!std::mem::replace(&mut name.is_saved, true));
        name.is_reserved = false;
    }

    /// Adds a name that is found in the file when it is opened.
    fn restore(&mut self, id: u32, name: Arc<str>) {
        let was_saved = std::mem::replace(&mut self.put(id, name).is_saved, true);
        self.saved += usize::from(!was_saved);
    }

    /// Records that the name is not in the file any more.
    fn forget(&mut self, id: u32) {
        self.change(id, |name| (name.is_saved, name.is_reserved) = (false, false));
        self.saved -= 1;
    }

    /// Records that a batch does not store the name after all.
    fn release(&mut self, id: u32) {
        self.change(id, |name| name.is_reserved = false);
    }

    /// Records that no batch is about to store a name.
    fn release_all(&mut self) {
        let reserved = self.names.iter().enumerate().filter(|(_, name)| name.is_reserved);
        let reserved: Vec<_> = reserved.map(|(id, _)| id as u32).collect();
        reserved.into_iter().for_each(|id| self.release(id));
    }

    /// Records that one worker no longer uses the name.
    fn end_use(&mut self, id: u32) {
        self.change(id, |name| name.uses -= 1);
    }

    /// Changes the reasons of a number, and frees the number if none is left.
    fn change(&mut self, id: u32, change: impl FnOnce(&mut Name)) {
        let Some(name) = self.names.get_mut(id as usize).filter(|name| !name.is_free()) else { return };
        change(name);
        if name.is_free() {
            self.ids.remove(&*std::mem::take(&mut name.text));
            self.free.insert(id);
        }
    }

    /// How many numbers are in use.
    fn in_use(&self) -> usize {
        self.names.len() - self.free.len()
    }
}

impl Inner {
    /// The queue is not in the file any more. Its number is free, unless a worker uses it.
    fn remove(&mut self, id: QueueId) {
        if let Some(row) = self.rows.remove(&id) {
            self.with_ended.remove(&id);
            self.former.add(id, row.name, row.tally.dead_total);
            self.queues.forget(id);
        }
    }

    fn set_row(&mut self, id: QueueId, row: QueueRow) {
        let Tally { completed, cancelled, dead, .. } = row.tally;
        match completed + cancelled + dead > 0 {
            true => self.with_ended.insert(id),
            false => self.with_ended.remove(&id),
        };
        self.rows.insert(id, row);
    }
}

impl Catalog {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Runs `while_held` under the lock, for tests.
    pub fn with_lock_held(&self, while_held: impl FnOnce()) {
        let _inner = self.write();
        while_held();
    }

    /// Sets the retention of the queues that have none of their own. Only the first call has an effect.
    pub fn set_default_retention(&self, retention: Retention) {
        let _ = self.default_retention.set(retention);
    }

    /// How long ended jobs are kept in a queue with this setting. A setting that equals [`Retention::default`] counts
    /// as none.
    pub fn retention(&self, stored: Retention) -> Retention {
        match self.default_retention.get() {
            Some(default) if stored == Retention::default() => *default,
            _ => stored,
        }
    }

    pub fn restore_queue(&self, id: QueueId, row: QueueRow) {
        let mut inner = self.write();
        inner.queues.restore(id, row.name.clone());
        inner.set_row(id, row);
    }

    pub fn restore_kind(&self, id: KindId, name: &str) {
        self.write().kinds.restore(id, name.into());
    }

    /// Whether there are consumers of streams, as far as is known: a batch can have been undone that would have made the first.
    pub fn has_consumers(&self) -> bool {
        self.has_consumers.load(Ordering::Relaxed)
    }

    /// There is a consumer, or a batch is about to make one.
    pub(in crate::storage) fn note_consumers(&self) {
        self.has_consumers.store(true, Ordering::Relaxed);
    }

    /// How many numbers of queues and of kinds are in use.
    pub fn in_use(&self) -> (usize, usize) {
        let inner = self.read();
        (inner.queues.in_use(), inner.kinds.in_use())
    }

    /// The queue's number, if something of it is stored or a worker uses it.
    pub fn find_queue(&self, name: &str) -> Option<QueueId> {
        known(self.read().queues.find(name)).map(|number| number.id)
    }

    /// The queue's number as an enqueue needs it, and how many queues were removed by then.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn queue(&self, name: &str) -> Result<(Option<Number>, u32), Error> {
        let inner = self.read();
        let number = known(inner.queues.find(name));
        if number.is_none() {
            check_name("queue", name)?;
        }
        Ok((number, inner.former.removals()))
    }

    /// How many queues were removed since the file was opened.
    #[inline]
    pub fn removals(&self) -> u32 {
        self.removals.load(Ordering::Relaxed)
    }

    /// How many jobs of the removed queues had become dead letters.
    pub fn dead_of_removed_queues(&self) -> u64 {
        self.read().former.dead_total()
    }

    /// Which queue had this number after so many `removals`.
    pub(in crate::storage) fn former_queue(&self, id: QueueId, removals: u32) -> FormerQueue {
        self.read().former.of(id, removals)
    }

    /// Whether a worker of this process uses the queue's name, or an attempt of a worker that was stopped.
    pub(in crate::storage) fn is_in_use(&self, id: QueueId) -> bool {
        self.read().queues.names.get(id as usize).is_some_and(|name| name.uses > 0)
    }

    /// The kind's number as an enqueue needs it.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn kind(&self, name: &str) -> Result<Option<Number>, Error> {
        match known(self.read().kinds.find(name)) {
            None => check_name("kind", name).map(|()| None),
            number => Ok(number),
        }
    }

    pub fn queue_name(&self, id: QueueId) -> Arc<str> {
        self.read().queues.name(id).cloned().unwrap_or_else(|| "?".into())
    }

    pub fn kind_name(&self, id: KindId) -> Arc<str> {
        self.read().kinds.name(id).cloned().unwrap_or_else(|| "?".into())
    }

    /// The queue's row as of the last commit, or a new row if nothing was stored under its name.
    pub fn row(&self, id: QueueId) -> QueueRow {
        let inner = self.read();
        let fresh = || QueueRow::new(inner.queues.name(id).cloned().unwrap_or_default());
        inner.rows.get(&id).cloned().unwrap_or_else(fresh)
    }

    /// Whether the queue has a row. If so, its number does not change until the queue is removed.
    pub fn is_stored(&self, id: QueueId) -> bool {
        self.read().rows.contains_key(&id)
    }

    /// The queues that have a row, in the order of their names.
    pub fn stored_queues(&self) -> Vec<QueueId> {
        let inner = self.read();
        let mut ids: Vec<_> = inner.rows.keys().copied().collect();
        // In a damaged file a queue can have a row without a name.
        ids.sort_by(|a, b| inner.queues.name(*a).cmp(&inner.queues.name(*b)));
        ids
    }

    /// The first queue from this number on that has ended jobs, some of which retention can remove.
    pub fn next_with_ended(&self, from: QueueId) -> Option<QueueId> {
        self.read().with_ended.range(from..).next().copied()
    }

    /// Scans `most` numbers from this one on. Returns the queues among them that have jobs that could start, and the number
    /// at which to continue, which is 0 after the last one.
    pub fn waiting_from(&self, from: QueueId, most: usize) -> (Vec<QueueId>, QueueId) {
        let inner = self.read();
        let end = inner.queues.names.len().min(from as usize + most);
        let has_waiting = |id: &QueueId| inner.rows.get(id).is_some_and(|row| row.tally.pending > 0 && !row.paused);
        let waiting = (from..end as QueueId).filter(has_waiting).collect();
        let next = if end < inner.queues.names.len() { end as QueueId } else { 0 };
        (waiting, next)
    }

    /// Applies what a commit has made durable.
    pub fn committed(
        &self,
        rows: impl IntoIterator<Item = (QueueId, QueueRow)>,
        kinds: &[KindId],
        removed: &[QueueId],
    ) {
        let mut inner = self.write();
        inner.renaming = None;
        for (id, row) in rows {
            inner.queues.save(id);
            if inner.queues.name(id).is_some_and(|name| *name != row.name) {
                inner.queues.put(id, row.name.clone());
            }
            inner.set_row(id, row);
        }
        removed.iter().for_each(|id| inner.remove(*id));
        self.removals.store(inner.former.removals(), Ordering::Relaxed);
        for &id in kinds {
            inner.kinds.save(id);
        }
    }

    /// Applies what the file says after it was opened again: a failed commit can have removed a queue, or can have stored
    /// none of its new names. `stored` are the queues in the file, which were restored. No batch may be under way.
    pub(in crate::storage) fn reloaded(&self, stored: &HashSet<QueueId>) {
        let mut inner = self.write();
        inner.renaming = None;
        let gone: Vec<_> = inner.rows.keys().filter(|id| !stored.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| inner.remove(id));
        inner.queues.release_all();
        inner.kinds.release_all();
        self.removals.store(inner.former.removals(), Ordering::Relaxed);
    }
}

/// The names that a worker uses. Its drop frees the numbers that are not in the file.
pub(crate) struct NamesInUse {
    catalog: Arc<Catalog>,
    queue: QueueId,
    kinds: Vec<KindId>,
}

impl NamesInUse {
    /// The number of the worker's queue. It is assigned if the name has none.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::QueueInUse`] while a queue gets another name.
    pub fn of_queue(catalog: &Arc<Catalog>, name: &str) -> Result<Self, Error> {
        check_name("queue", name)?;
        let mut inner = catalog.write();
        if inner.renaming.iter().flatten().any(|renamed| **renamed == *name) {
            return Err(Error::QueueInUse { queue: name.to_owned(), reason: "it is being renamed" });
        }
        let (queue, name) = inner.queues.number(name);
        name.uses += 1;
        drop(inner);
        Ok(Self { catalog: catalog.clone(), queue, kinds: Vec::new() })
    }

    pub fn queue(&self) -> QueueId {
        self.queue
    }

    /// The number of a kind that the worker handles. It is assigned if the name has none.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn add_kind(&mut self, name: &str) -> Result<KindId, Error> {
        check_name("kind", name)?;
        let mut inner = self.catalog.write();
        let (kind, name) = inner.kinds.number(name);
        name.uses += 1;
        self.kinds.push(kind);
        Ok(kind)
    }
}

impl Drop for NamesInUse {
    fn drop(&mut self) {
        let mut inner = self.catalog.write();
        inner.queues.end_use(self.queue);
        self.kinds.iter().for_each(|kind| inner.kinds.end_use(*kind));
    }
}

/// A name's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub id: u32,
    /// The name is in the file.
    pub is_saved: bool,
}

/// A number that is only reserved does not count, because it can be freed again.
fn known(found: Option<(u32, &Name)>) -> Option<Number> {
    let (id, name) = found?;
    name.is_known().then_some(Number { id, is_saved: name.is_saved })
}

/// The new names that one batch stores. Its drop frees the numbers that were reserved for them.
pub(in crate::storage) struct NewNames<'c> {
    catalog: &'c Catalog,
    queues: New,
    kinds: New,
    /// Kinds of which the batch has stored a job.
    stored_kinds: BTreeSet<KindId>,
    /// The batch renames a queue.
    renames: bool,
}

/// Numbers in the order in which they were reserved.
#[derive(Debug, Default)]
pub(in crate::storage) struct New {
    ids: Vec<u32>,
    set: HashSet<u32>,
}

impl New {
    fn add(&mut self, id: u32) {
        if self.set.insert(id) {
            self.ids.push(id);
        }
    }

    fn since(&mut self, mark: usize) -> Vec<u32> {
        let since = self.ids.split_off(mark.min(self.ids.len()));
        since.iter().for_each(|id| {
            self.set.remove(id);
        });
        since
    }
}

impl<'c> NewNames<'c> {
    pub fn new(catalog: &'c Catalog) -> Self {
        let (queues, kinds) = Default::default();
        Self { catalog, queues, kinds, stored_kinds: BTreeSet::new(), renames: false }
    }

    /// The queue's number, to store something under it.
    ///
    /// # Errors
    /// The file already has the most queues that are allowed.
    pub fn queue(&mut self, name: &str) -> Result<QueueId, Error> {
        number(&mut self.catalog.write().queues, "queue", name, &mut self.queues)
    }

    /// The kind's number, to store a job of it.
    ///
    /// # Errors
    /// The file already has the most kinds that are allowed.
    pub fn kind(&mut self, name: &str) -> Result<KindId, Error> {
        number(&mut self.catalog.write().kinds, "kind", name, &mut self.kinds)
    }

    /// Keeps a queue's number from being assigned again while this batch stores something under it. Returns false if the
    /// number is no longer in use.
    pub fn hold_queue(&mut self, id: QueueId) -> bool {
        let mut inner = self.catalog.write();
        let Some(name) = inner.queues.names.get_mut(id as usize).filter(|name| !name.is_free()) else { return false };
        if !name.is_saved {
            name.is_reserved = true;
            self.queues.add(id);
        }
        true
    }

    /// Records that the batch gives a queue the name `to`. Until its commit no worker can begin to use the old name or the
    /// new one.
    ///
    /// # Errors
    /// [`Error::QueueInUse`] if a worker uses the queue; [`Error::QueueExists`] if the new name is in use.
    pub fn rename(&mut self, id: QueueId, to: &Arc<str>) -> Result<(), Error> {
        let mut inner = self.catalog.write();
        let Some(name) = inner.queues.names.get(id as usize) else { return Ok(()) };
        if name.uses > 0 {
            return Err(Error::QueueInUse { queue: name.text.to_string(), reason: IN_USE });
        }
        if inner.queues.find(to).is_some() {
            return Err(Error::QueueExists { queue: to.to_string() });
        }
        inner.renaming = Some([name.text.clone(), to.clone()]);
        self.renames = true;
        Ok(())
    }

    /// The queue's number, if it has one, also in this batch.
    pub fn find_queue(&self, name: &str) -> Option<QueueId> {
        self.catalog.read().queues.find(name).map(|(id, _)| id)
    }

    /// How many names there are, for [`Self::forget_since`].
    pub fn mark(&self) -> (usize, usize) {
        (self.queues.ids.len(), self.kinds.ids.len())
    }

    /// Frees the numbers that were reserved since then, because nothing is stored under them. Returns the numbers of
    /// queues.
    pub fn forget_since(&mut self, (queues, kinds): (usize, usize)) -> Vec<QueueId> {
        if self.mark() == (queues, kinds) {
            return Vec::new();
        }
        let mut inner = self.catalog.write();
        let (queues, kinds) = (self.queues.since(queues), self.kinds.since(kinds));
        queues.iter().for_each(|id| inner.queues.release(*id));
        for id in kinds {
            self.stored_kinds.remove(&id);
            inner.kinds.release(id);
        }
        queues
    }

    /// Records that a job of this kind is stored. The kind can be new.
    pub fn stored(&mut self, kind: KindId) {
        if self.kinds.set.contains(&kind) {
            self.stored_kinds.insert(kind);
        }
    }

    /// The new kinds that the batch adds to the file.
    pub fn stored_kinds(&self) -> &BTreeSet<KindId> {
        &self.stored_kinds
    }

    /// Records that the batch is about to be committed. Its names keep their numbers even if the commit fails, because it is
    /// unknown whether a failed commit has stored them.
    pub fn keep(mut self, is_stored: impl Fn(QueueId) -> bool) -> Vec<KindId> {
        let (queues, kinds) = (self.queues.since(0), self.kinds.since(0));
        self.renames = false;
        let mut inner = self.catalog.write();
        queues.into_iter().filter(|id| !is_stored(*id)).for_each(|id| inner.queues.release(id));
        kinds.into_iter().filter(|id| !self.stored_kinds.contains(id)).for_each(|id| inner.kinds.release(id));
        drop(inner);
        std::mem::take(&mut self.stored_kinds).into_iter().collect()
    }
}

impl Drop for NewNames<'_> {
    fn drop(&mut self) {
        let _ = self.forget_since((0, 0));
        if self.renames {
            self.catalog.write().renaming = None;
        }
    }
}

fn number(names: &mut Names, what: &'static str, name: &str, new: &mut New) -> Result<u32, Error> {
    if let Some((id, found)) = names.find(name)
        && (found.is_saved || new.set.contains(&id))
    {
        return Ok(id);
    }
    if names.saved + new.ids.len() >= NAMES_MAX {
        let reason = format!("there are {NAMES_MAX} of them already, the most a file can have");
        return Err(Error::config(what, reason));
    }
    let (id, name) = names.number(name);
    name.is_reserved = true;
    new.add(id);
    Ok(id)
}
