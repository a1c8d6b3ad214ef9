//! App rows and jobs in one commit.
//!
//! With `storage/` the only place that names redb: what it hands out are redb's own tables.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use redb::{
    Key, MultimapTable, MultimapTableDefinition, MultimapTableHandle, Table, TableDefinition, TableError, TableHandle,
    UntypedTableHandle, Value, WriteTransaction,
};

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

/// What a transaction and a guard do with the application's tables. `$lifetime` is that of an open table.
macro_rules! application_tables {
    ($lifetime:lifetime) => {
        /// Opens one of the application's tables, creating it if need be.
        ///
        /// # Errors
        /// [`Error::ReservedTable`] for the queue's own tables; [`Error::Table`] with redb's error: another type under this
        /// name, the table is open already, I/O.
        #[track_caller]
        pub fn open_table<K: Key + 'static, V: Value + 'static>(
            &self,
            table: TableDefinition<'_, K, V>,
        ) -> Result<Table<$lifetime, K, V>, Error> {
            own(table.name())?;
            self.tables().open_table(table).map_err(failed("open", table.name()))
        }

        /// Opens one of the application's multimap tables, creating it if need be.
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
            table: MultimapTableDefinition<'_, K, V>,
        ) -> Result<MultimapTable<$lifetime, K, V>, Error> {
            own(table.name())?;
            self.tables().open_multimap_table(table).map_err(failed("open", table.name()))
        }

        /// Deletes one of the application's tables. False if there is none of this name.
        ///
        /// # Errors
        /// As [`open_table`](Self::open_table).
        ///
        /// ```
        /// # use millpond::{*, testing::{in_memory, ManualClock}};
        /// use millpond::redb::TableDefinition;
        ///
        /// const DRAFTS: TableDefinition<u64, &str> = TableDefinition::new("drafts");
        /// const INDEX: TableDefinition<u64, &[u8]> = TableDefinition::new("millpond/index");
        ///
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
        /// # let pond = in_memory(&ManualClock::new())?;
        /// let existed = pond.transaction(|tx| Ok(tx.delete_table(DRAFTS)?)).await?;
        /// assert!(!existed);
        ///
        /// let refused = pond.transaction(|tx| Ok(tx.delete_table(INDEX)?)).await;
        /// assert!(matches!(refused, Err(Error::Aborted { .. })));
        /// # Ok(()) }
        /// ```
        #[track_caller]
        pub fn delete_table(&self, table: impl TableHandle) -> Result<bool, Error> {
            let name = table.name().to_owned();
            own(&name)?;
            self.tables().delete_table(table).map_err(failed("delete", &name))
        }

        /// Deletes one of the application's multimap tables. False if there is none of this name.
        ///
        /// # Errors
        /// As [`open_table`](Self::open_table).
        #[track_caller]
        pub fn delete_multimap_table(&self, table: impl MultimapTableHandle) -> Result<bool, Error> {
            let name = table.name().to_owned();
            own(&name)?;
            self.tables().delete_multimap_table(table).map_err(failed("delete", &name))
        }

        /// Gives one of the application's tables another name.
        ///
        /// # Errors
        /// As [`open_table`](Self::open_table), for either name; there is no such table, or there is one of the new name.
        #[track_caller]
        pub fn rename_table(&self, table: impl TableHandle, to: impl TableHandle) -> Result<(), Error> {
            let name = table.name().to_owned();
            own(&name)?;
            own(to.name())?;
            self.tables().rename_table(table, to).map_err(failed("rename", &name))
        }

        /// Gives one of the application's multimap tables another name.
        ///
        /// # Errors
        /// As [`rename_table`](Self::rename_table).
        pub fn rename_multimap_table(
            &self,
            table: impl MultimapTableHandle,
            to: impl MultimapTableHandle,
        ) -> Result<(), Error> {
            let name = table.name().to_owned();
            own(&name)?;
            own(to.name())?;
            self.tables().rename_multimap_table(table, to).map_err(failed("rename", &name))
        }

        /// The application's tables, without multimap tables.
        ///
        /// # Errors
        /// [`Error::Storage`].
        pub fn list_tables(&self) -> Result<Vec<UntypedTableHandle>, Error> {
            let failed = |source| Error::Storage { operation: "list the tables", source: Box::new(source) };
            let tables = self.tables().list_tables().map_err(failed)?;
            Ok(tables.filter(|table| own(table.name()).is_ok()).collect())
        }
    };
}

impl<'t> Transaction<'t> {
    pub(crate) fn new<'b>(batch: &'t mut Batch<'b>, size: &'t Cell<CallSize>, prepare: &'t dyn Prepare) -> Self
    where
        'b: 't,
    {
        let txn = batch.txn();
        Self { batch: RefCell::new(batch), size, txn, prepare, _must_not_wait: MustNotWait::begin() }
    }

    /// The tables of the file, about to be written.
    fn tables(&self) -> &'t WriteTransaction {
        self.batch.borrow_mut().touch();
        self.txn
    }

    application_tables!('t);

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

/// A write transaction with a commit of its own: the application's tables and [`enqueue`](Self::enqueue), as in a
/// [`Transaction`]. Dropped without [`commit`](Self::commit), it is undone.
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
            None => Ok(key_holder(self.tables(), self.now, job.queue, key)?),
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

impl WriteGuard {
    fn tables(&self) -> &WriteTransaction {
        self.txn.as_ref().expect("only commit and drop take it")
    }

    application_tables!('_);
}

/// All names that begin like this are tables of the queue.
const QUEUE_TABLES: &str = "millpond/";

/// # Errors
/// The table belongs to the queue.
fn own(table: &str) -> Result<(), Error> {
    match table.starts_with(QUEUE_TABLES) {
        true => Err(Error::ReservedTable { table: table.to_owned() }),
        false => Ok(()),
    }
}

fn failed(operation: &'static str, table: &str) -> impl FnOnce(TableError) -> Error {
    let table = table.to_owned();
    move |source| Error::Table { operation, table, source: Box::new(source) }
}

/// redb's write transaction itself, with the queue's own tables: for tests that damage a file on purpose. Changing those
/// tables loses jobs.
pub trait Unguarded {
    /// redb's transaction. Savepoints, durability and its commit are the queue's: leave them alone.
    fn unguarded(&self) -> &WriteTransaction;
}

impl Unguarded for Transaction<'_> {
    fn unguarded(&self) -> &WriteTransaction {
        self.tables()
    }
}

impl Unguarded for WriteGuard {
    fn unguarded(&self) -> &WriteTransaction {
        self.tables()
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
