//! App rows and jobs in one commit.
//!
//! With `storage/` the only place that names redb: what it hands out are redb's own tables.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;

use redb::{Key, MultimapTable, MultimapTableDefinition, Table, TableDefinition, TableError, Value, WriteTransaction};

#[cfg(feature = "wasm")]
use crate::error::BoxError;
use crate::error::Error;
use crate::job::{CallSize, JobId, NewJob};
use crate::storage::{Batch, Prepared, key_holder};
#[cfg(feature = "wasm")]
use crate::storage::{StateWrite, Usage};
use crate::sync::{MustNotWait, may_wait};
use crate::time::Now;

/// Refuses a call that waits for the queue where the queue waits for the caller: inside a transaction, or in a callback.
pub(crate) fn check_may_wait() -> Result<(), Error> {
    if may_wait() { Ok(()) } else { Err(Error::WouldDeadlock) }
}

/// Turns a job as the caller wrote it into one that can be stored.
pub(crate) trait Prepare: Send + Sync {
    /// Refuses a process that was forked from the one that has opened the queue.
    fn check_process(&self) -> Result<(), Error>;

    fn prepare(&self, queue: &str, job: NewJob) -> Result<Prepared, Error>;

    /// Many for one queue: what they have in common is looked up once.
    fn prepare_many(&self, queue: &str, jobs: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<Prepared>, Error>;
}

/// What the closure of [`Millpond::transaction`](crate::Millpond::transaction), and of
/// [`Context::on_complete`](crate::Context::on_complete), works on: the app's own tables, and the
/// queue, in one commit.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// use redb::TableDefinition;
///
/// const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let id = pond
///     .transaction(|tx| {
///         let mut orders = tx.open_table(ORDERS)?;
///         if orders.insert(7, "a kettle")?.is_some() {
///             return Err("order 7 is there already".into());
///         }
///         Ok(tx.enqueue("billing", NewJob::json("charge", &7))?)
///     })
///     .await?;
/// assert_eq!(pond.job(id)?.kind, "charge");
/// # Ok(()) }
/// ```
pub struct Transaction<'t> {
    batch: RefCell<&'t mut dyn Staging>,
    /// Of the jobs that it enqueues, together with those of what shares its limits.
    size: &'t Cell<CallSize>,
    txn: &'t WriteTransaction,
    prepare: &'t dyn Prepare,
    _must_not_wait: MustNotWait,
}

/// The part of a batch that a transaction's closure reaches.
trait Staging {
    fn insert(&mut self, job: Prepared) -> Result<JobId, Error>;
    fn touch(&mut self);
    #[cfg(feature = "wasm")]
    fn keep(&mut self, plugin: &str, writes: &StateWrites, quota: Usage) -> Result<(), BoxError>;
}

/// What an attempt of a plugin changes of its state, by key.
#[cfg(feature = "wasm")]
pub(crate) type StateWrites = std::collections::BTreeMap<String, StateWrite>;

impl Staging for Batch<'_> {
    fn insert(&mut self, mut job: Prepared) -> Result<JobId, Error> {
        let names = self.new_names();
        let inserted = insert(self, &mut job);
        if inserted.is_err() {
            self.forget_names_since(names);
        }
        inserted
    }

    fn touch(&mut self) {
        Batch::touch(self);
    }

    #[cfg(feature = "wasm")]
    fn keep(&mut self, plugin: &str, writes: &StateWrites, quota: Usage) -> Result<(), BoxError> {
        let writes = writes.iter().map(|(key, write)| (key.as_str(), write));
        let kept = self.keep_plugin_state(plugin, writes, quota).map_err(Error::from)?;
        Ok(kept?)
    }
}

fn insert(batch: &mut Batch<'_>, job: &mut Prepared) -> Result<JobId, Error> {
    batch.resolve(job)?;
    if let Some(there) = batch.there_already(job)? {
        batch.deduplicated(job, there);
        return Ok(there);
    }
    batch.admit(job)?;
    Ok(batch.insert(job)?)
}

impl<'t> Transaction<'t> {
    pub(crate) fn new<'b>(batch: &'t mut Batch<'b>, size: &'t Cell<CallSize>, prepare: &'t dyn Prepare) -> Self
    where
        'b: 't,
    {
        let txn = batch.txn();
        Self { batch: RefCell::new(batch), size, txn, prepare, _must_not_wait: MustNotWait::begin() }
    }

    /// Opens one of the app's tables, creating it if need be. Names that begin with `millpond/` are
    /// the queue's own.
    ///
    /// # Errors
    /// redb's: another type under this name, already open in this closure, I/O.
    #[track_caller]
    pub fn open_table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<Table<'t, K, V>, TableError> {
        self.batch.borrow_mut().touch();
        self.txn.open_table(definition)
    }

    /// Opens one of the app's multimap tables, creating it if need be.
    ///
    /// # Errors
    /// As [`open_table`](Self::open_table).
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// use redb::MultimapTableDefinition;
    ///
    /// const TAGS: MultimapTableDefinition<&str, u64> = MultimapTableDefinition::new("tags");
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.transaction(|tx| {
    ///     let mut tags = tx.open_multimap_table(TAGS)?;
    ///     tags.insert("gift", 7)?;
    ///     tags.insert("gift", 8)?;
    ///     Ok(())
    /// })
    /// .await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn open_multimap_table<K: Key + 'static, V: Key + 'static>(
        &self,
        definition: MultimapTableDefinition<'_, K, V>,
    ) -> Result<MultimapTable<'t, K, V>, TableError> {
        self.batch.borrow_mut().touch();
        self.txn.open_multimap_table(definition)
    }

    /// redb's transaction itself, for whatever has no method here.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// use redb::TableDefinition;
    ///
    /// const DRAFTS: TableDefinition<u64, &str> = TableDefinition::new("drafts");
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let existed = pond.transaction(|tx| Ok(tx.raw().delete_table(DRAFTS)?)).await?;
    /// assert!(!existed);
    /// # Ok(()) }
    /// ```
    pub fn raw(&self) -> &'t WriteTransaction {
        self.batch.borrow_mut().touch();
        self.txn
    }

    /// Enqueues a job. It exists if and only if this transaction is committed.
    ///
    /// # Errors
    /// What is wrong with the job or the queue's name; [`Error::QueueFull`] whatever the queue's
    /// setting, because waiting here would stop the writer; [`Error::BatchTooLarge`] for more than 10,000 jobs or
    /// 32 MiB in one transaction.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let (charge, receipt) = pond
    ///     .transaction(|tx| {
    ///         let charge = tx.enqueue("billing", NewJob::json("charge", &7))?;
    ///         let receipt = tx.enqueue("emails", NewJob::json("receipt", &charge))?;
    ///         Ok((charge, receipt))
    ///     })
    ///     .await?;
    /// assert_eq!(pond.job(receipt)?.payload.decode::<JobId>()?, charge);
    /// # Ok(()) }
    /// ```
    pub fn enqueue(&self, queue: &str, job: impl Into<NewJob>) -> Result<JobId, Error> {
        let job = self.prepare.prepare(queue, job.into())?;
        let mut size = self.size.get();
        size.add(job.bytes.len())?;
        self.size.set(size);
        self.batch.borrow_mut().insert(job)
    }

    /// Changes what a plugin keeps.
    #[cfg(feature = "wasm")]
    pub(crate) fn keep(&self, plugin: &str, writes: &StateWrites, quota: Usage) -> Result<(), BoxError> {
        self.batch.borrow_mut().keep(plugin, writes, quota)
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// A write transaction with a commit of its own: redb's [`WriteTransaction`], which it derefs to,
/// and [`enqueue`](Self::enqueue). Dropped without [`commit`](Self::commit), it is undone.
///
/// While it lives, nothing else is written to the file: keep it short. It stays on the thread that
/// began it.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let mut tx = pond.begin_write()?;
/// let id = tx.enqueue("billing", NewJob::json("charge", &7))?;
/// let waiting = pond.enqueue("billing", NewJob::json("charge", &8)).wait();
/// assert!(matches!(waiting, Err(Error::WouldDeadlock)));
/// drop(tx);
/// assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. })));
/// # Ok(()) }
/// ```
pub struct WriteGuard {
    txn: Option<WriteTransaction>,
    jobs: Vec<Prepared>,
    size: CallSize,
    /// Unique keys that these jobs take, by queue and key.
    keys: HashMap<(String, String), JobId>,
    now: Now,
    next_id: u64,
    prepare: std::sync::Arc<dyn Prepare>,
    give_back: Option<GiveBack>,
    _must_not_wait: MustNotWait,
}

/// Takes a leased transaction back, with the jobs staged in it; `None` undoes it.
pub(crate) type GiveBack = Box<dyn FnOnce(Option<(WriteTransaction, Vec<Prepared>)>) -> Result<(), Error>>;

impl WriteGuard {
    pub(crate) fn new(
        txn: WriteTransaction,
        now: Now,
        next_id: u64,
        prepare: std::sync::Arc<dyn Prepare>,
        give_back: GiveBack,
    ) -> Self {
        Self {
            txn: Some(txn),
            jobs: Vec::new(),
            size: CallSize::default(),
            keys: HashMap::new(),
            now,
            next_id,
            prepare,
            give_back: Some(give_back),
            _must_not_wait: MustNotWait::begin(),
        }
    }

    /// Enqueues a job. It exists if and only if this transaction is committed.
    ///
    /// # Errors
    /// What is wrong with the job or the queue's name; [`Error::BatchTooLarge`] for more than 10,000 jobs or 32 MiB in
    /// one transaction. A full queue is noticed by [`commit`](Self::commit).
    pub fn enqueue(&mut self, queue: &str, job: impl Into<NewJob>) -> Result<JobId, Error> {
        let job = self.prepare.prepare(queue, job.into())?;
        self.size.add(job.bytes.len())?;
        let there = self.there_already(queue, &job)?;
        let id = there.unwrap_or_else(|| JobId::new(self.next_id));
        if there.is_none() {
            self.next_id += 1;
            if let Some((key, _)) = job.claims() {
                self.keys.insert((queue.to_owned(), key.to_owned()), id);
            }
        }
        // Also one that will not be stored: the commit finds the same, and tells of it.
        self.jobs.push(job);
        Ok(id)
    }

    /// The job that is there, or will be with this transaction, instead of this one.
    fn there_already(&self, queue: &str, job: &Prepared) -> Result<Option<JobId>, Error> {
        let Some((key, _)) = job.claims() else { return Ok(None) };
        match self.keys.get(&(queue.to_owned(), key.to_owned())) {
            Some(&staged) => Ok(Some(staged)),
            None => Ok(key_holder(self, self.now, job.queue, key)?),
        }
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// [`Error::QueueFull`] and storage errors; nothing of the transaction is stored then, except
    /// with [`Error::OutcomeUnknown`], which says that it may be.
    pub fn commit(mut self) -> Result<(), Error> {
        // In another process the drop leaves all of it alone.
        self.prepare.check_process()?;
        let txn = self.txn.take().expect("only commit and drop take it");
        let jobs = std::mem::take(&mut self.jobs);
        let give_back = self.give_back.take().expect("only commit and drop take it");
        give_back(Some((txn, jobs)))
    }
}

impl Deref for WriteGuard {
    type Target = WriteTransaction;

    fn deref(&self) -> &WriteTransaction {
        self.txn.as_ref().expect("only commit and drop take it")
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if let (Some(txn), Some(give_back)) = (self.txn.take(), self.give_back.take()) {
            if self.prepare.check_process().is_err() {
                // It is another process's: undoing it may write too.
                return std::mem::forget((txn, give_back));
            }
            drop(txn);
            let _ = give_back(None);
        }
    }
}

impl std::fmt::Debug for WriteGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteGuard").field("jobs", &self.jobs.len()).finish_non_exhaustive()
    }
}
