//! Transactions: the application's rows and jobs in one commit.
//!
//! Beside `storage/` this is the only file that names redb, because the tables that it returns are redb's own.

mod flows;
mod streams;
mod topics;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use redb::{
    Key, MultimapTable, MultimapTableDefinition, MultimapTableHandle, Table, TableDefinition, TableError, TableHandle,
    UntypedTableHandle, Value, WriteTransaction,
};

use crate::error::{BoxError, Error};
use crate::job::{
    Appended, Binding, CallSize, CancelOutcome, Coder, Definition, Enqueued, EntryOf, HasQueue, JobId, JobPatch,
    NewFlow, NewJob, Patch, QueueId, REASON_BYTES_MAX, Routed, Schedule, Scheduled, StoredPayload, TopicRoutes,
    Withdraw,
};
use crate::storage::{
    Batch, Claim, Created, KnownQueue, Prepared, PreparedEntry, Share, Signalled, StateWrite, Target, Usage, claim_in,
    define, repeated_in,
};
use crate::sync::{MustNotWait, may_wait};
use crate::text::cut;
use crate::time::Now;

pub(crate) use flows::{prepare_flow, signal_payload};
pub(crate) use topics::{Deliveries, Publication, published};

/// Refuses a call that waits for the queue where the queue waits for the caller: inside a transaction, or in a callback.
pub(crate) fn check_may_wait() -> Result<(), Error> {
    if may_wait() { Ok(()) } else { Err(Error::WouldDeadlock) }
}

/// Turns a job as the caller describes it into one that can be stored.
pub(crate) trait Prepare: Withdraw + Send + Sync {
    /// Refuses a process that was forked from the one that opened the file.
    fn check_process(&self) -> Result<(), Error>;

    /// The payload codec, which reads what is stored of jobs.
    fn coder(&self) -> &Coder;

    /// Whether callers wait for the ends of jobs.
    fn ends_are_awaited(&self) -> bool;

    fn prepare(&self, queue: &str, job: NewJob) -> Result<Prepared, Error>;

    /// Prepares a job whose queues are not known yet, without the application's hooks.
    fn prepare_message(&self, job: NewJob) -> Result<Prepared, Error>;

    /// Whether the application has hooks for new jobs: they see a job with its queue.
    fn has_enqueue_hooks(&self) -> bool;

    fn queue_name(&self, queue: QueueId) -> Arc<str>;

    /// How many queues were removed since the file was opened.
    fn queue_removals(&self) -> u32;

    /// The number of a new flow.
    fn next_flow(&self) -> u64;

    /// Bytes of a payload, at most.
    fn payload_bytes_max(&self) -> usize;

    /// Prepares many jobs for one queue; what they have in common is looked up once.
    fn prepare_many(&self, queue: &str, jobs: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<Prepared>, Error>;

    /// Prepares entries of a stream.
    fn prepare_entries(&self, entries: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<PreparedEntry>, Error>;

    /// A message as an entry of streams: without the options that only jobs have.
    fn prepare_entry_of(&self, message: &Prepared) -> PreparedEntry;

    /// Prepares a payload that replaces the one of a job of this queue and kind. Nothing but a payload is accepted.
    fn prepare_payload(&self, queue: &str, kind: &str, payload: NewJob) -> Result<StoredPayload, Error>;
}

/// What the closures of [`Millpond::transaction`](crate::Millpond::transaction) and
/// [`Context::on_complete`](crate::Context::on_complete) write in: the application's own tables and the queue, in one
/// commit.
///
/// ```
/// # use doc_prelude::*;
/// use redb::TableDefinition;
///
/// const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");
///
/// # with_pond(async |pond| {
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
/// # Ok(()) });
/// ```
pub struct Transaction<'t> {
    batch: RefCell<&'t mut dyn Staging>,
    /// The size of the jobs that it enqueues, together with those of all transactions that share its limits.
    size: &'t Cell<CallSize>,
    txn: &'t WriteTransaction,
    prepare: &'t dyn Prepare,
    _must_not_wait: MustNotWait,
}

/// The part of a batch that a transaction's closure can use.
trait Staging {
    fn insert(&mut self, job: Prepared, dispatch: &dyn Withdraw) -> Result<Enqueued, Error>;
    fn schedule(&mut self, name: &str, definition: &Definition, coder: &Coder) -> Result<Scheduled, Error>;
    fn unschedule(&mut self, name: &str) -> Result<bool, Error>;
    fn insert_many(&mut self, jobs: Vec<Prepared>, dispatch: &dyn Withdraw) -> Result<Vec<Enqueued>, Error>;
    fn cancel(&mut self, target: Target, reason: &str) -> Result<CancelOutcome, Error>;
    fn update(&mut self, target: Target, patch: &Patch) -> Result<(), Error>;
    fn names_of(&mut self, id: JobId) -> Result<(Arc<str>, Arc<str>), Error>;
    fn create_flow(&mut self, flow: &mut NewFlow<Prepared>) -> Result<Created, Error>;
    fn flow_number(&mut self, name: &str) -> Result<u64, Error>;
    fn add_to_flow(&mut self, flow: &mut NewFlow<Prepared>) -> Result<Vec<JobId>, Error>;
    fn signal_flow(&mut self, flow: &str, signal: &str, payload: &Signalled) -> Result<bool, Error>;
    fn cancel_flow(&mut self, name: &str, reason: &str, dispatch: &dyn Withdraw) -> Result<bool, Error>;
    fn append(&mut self, stream: &Arc<str>, entries: &mut [PreparedEntry]) -> Result<Appended, Error>;
    fn topic(&self, topic: &str) -> Result<Arc<TopicRoutes>, Error>;
    fn deliver(
        &mut self,
        deliveries: Deliveries,
        routed: &Routed,
        dispatch: &dyn Withdraw,
    ) -> Result<(Vec<Enqueued>, Vec<EntryOf>), Error>;
    fn published(&mut self, topic: &str, key: &str, is_routed: bool);
    fn bind(&mut self, topic: &str, binding: &Binding) -> Result<bool, Error>;
    fn unbind(&mut self, topic: &str, binding: &Binding) -> Result<bool, Error>;
    fn touch(&mut self);
    fn keep(&mut self, plugin: &str, writes: &StateWrites, quota: Usage) -> Result<(), BoxError>;
}

/// The changes that an attempt of a plugin makes to its state, by key.
pub(crate) type StateWrites = std::collections::BTreeMap<String, StateWrite>;

impl Staging for Batch<'_> {
    fn insert(&mut self, mut job: Prepared, dispatch: &dyn Withdraw) -> Result<Enqueued, Error> {
        self.forgetting_names(|batch| insert(batch, &mut job, dispatch))
    }

    fn schedule(&mut self, name: &str, definition: &Definition, coder: &Coder) -> Result<Scheduled, Error> {
        Batch::schedule(self, name, definition, coder)
    }

    fn unschedule(&mut self, name: &str) -> Result<bool, Error> {
        self.remove_schedule(name)
    }

    fn insert_many(&mut self, mut jobs: Vec<Prepared>, dispatch: &dyn Withdraw) -> Result<Vec<Enqueued>, Error> {
        self.forgetting_names(|batch| {
            jobs.iter_mut().try_for_each(|job| batch.resolve(job))?;
            batch.room_for_all(&jobs, dispatch, |batch, n| batch.claim(&jobs[n], dispatch))?;
            jobs.iter_mut().map(|job| batch.insert_or_find(job, dispatch)).collect()
        })
    }

    fn cancel(&mut self, target: Target, reason: &str) -> Result<CancelOutcome, Error> {
        self.cancel_job(target, reason)
    }

    fn update(&mut self, target: Target, patch: &Patch) -> Result<(), Error> {
        self.update_job(target, patch)
    }

    fn names_of(&mut self, id: JobId) -> Result<(Arc<str>, Arc<str>), Error> {
        self.queue_and_kind_of(id)
    }

    fn create_flow(&mut self, flow: &mut NewFlow<Prepared>) -> Result<Created, Error> {
        Batch::create_flow(self, flow)
    }

    fn flow_number(&mut self, name: &str) -> Result<u64, Error> {
        Batch::flow_number(self, name)
    }

    fn add_to_flow(&mut self, flow: &mut NewFlow<Prepared>) -> Result<Vec<JobId>, Error> {
        Batch::add_to_flow(self, flow)
    }

    fn signal_flow(&mut self, flow: &str, signal: &str, payload: &Signalled) -> Result<bool, Error> {
        Batch::signal_flow(self, flow, signal, payload)
    }

    fn cancel_flow(&mut self, name: &str, reason: &str, dispatch: &dyn Withdraw) -> Result<bool, Error> {
        Batch::cancel_flow(self, name, reason, dispatch)
    }

    fn append(&mut self, stream: &Arc<str>, entries: &mut [PreparedEntry]) -> Result<Appended, Error> {
        Batch::append(self, stream, entries)
    }

    fn topic(&self, topic: &str) -> Result<Arc<TopicRoutes>, Error> {
        Batch::topic(self, topic)
    }

    fn deliver(
        &mut self,
        deliveries: Deliveries,
        routed: &Routed,
        dispatch: &dyn Withdraw,
    ) -> Result<(Vec<Enqueued>, Vec<EntryOf>), Error> {
        let Deliveries { jobs, mut entry } = deliveries;
        self.forgetting_names(|batch| {
            // What can fail comes before anything is written.
            entry.iter_mut().try_for_each(|entry| batch.resolve_entry(entry))?;
            let answers = match jobs.is_empty() {
                true => Vec::new(),
                false => batch.insert_many(jobs, dispatch)?,
            };
            Ok((answers, batch.append_to_each(routed.streams(), entry.as_mut())?))
        })
    }

    fn published(&mut self, topic: &str, key: &str, is_routed: bool) {
        Batch::published(self, topic, key, is_routed);
    }

    fn bind(&mut self, topic: &str, binding: &Binding) -> Result<bool, Error> {
        Batch::bind(self, topic, binding)
    }

    fn unbind(&mut self, topic: &str, binding: &Binding) -> Result<bool, Error> {
        Batch::unbind(self, topic, binding)
    }

    fn touch(&mut self) {
        Batch::touch(self);
    }

    fn keep(&mut self, plugin: &str, writes: &StateWrites, quota: Usage) -> Result<(), BoxError> {
        let writes = writes.iter().map(|(key, write)| (key.as_str(), write));
        let kept = self.keep_plugin_state(plugin, writes, quota).map_err(Error::from)?;
        Ok(kept?)
    }
}

fn insert(batch: &mut Batch<'_>, job: &mut Prepared, dispatch: &dyn Withdraw) -> Result<Enqueued, Error> {
    batch.resolve(job)?;
    let claim = batch.claim(job, dispatch)?;
    if claim == Claim::Free && batch.admit(job).is_err() {
        let share = Share { queue: job.queue, jobs: 1, bytes: job.bytes.len() as u64 };
        batch.make_room(&[share], &HashSet::new(), dispatch)?;
    }
    batch.insert_as(job, claim)
}

/// The methods with which a transaction and a guard access the application's tables. `$lifetime` is that of an open
/// table.
macro_rules! application_tables {
    ($lifetime:lifetime) => {
        /// Opens one of the application's tables, and creates it if it does not exist.
        ///
        /// # Errors
        /// [`Error::ReservedTable`] for the queue's own tables; [`Error::Table`] with redb's error if the table has
        /// another type, if it is already open, or after an I/O error.
        #[track_caller]
        pub fn open_table<K: Key + 'static, V: Value + 'static>(
            &self,
            table: TableDefinition<'_, K, V>,
        ) -> Result<Table<$lifetime, K, V>, Error> {
            own(table.name())?;
            self.tables().open_table(table).map_err(failed("open", table.name()))
        }

        /// Opens one of the application's multimap tables, and creates it if it does not exist.
        ///
        /// # Errors
        /// As [`open_table`](Self::open_table).
        ///
        /// ```
        /// # use doc_prelude::*;
        /// use redb::MultimapTableDefinition;
        ///
        /// const TAGS: MultimapTableDefinition<&str, u64> = MultimapTableDefinition::new("tags");
        ///
        /// # with_pond(async |pond| {
        /// pond.transaction(|tx| {
        ///     let mut tags = tx.open_multimap_table(TAGS)?;
        ///     tags.insert("gift", 7)?;
        ///     tags.insert("gift", 8)?;
        ///     Ok(())
        /// })
        /// .await?;
        /// # Ok(()) });
        /// ```
        #[track_caller]
        pub fn open_multimap_table<K: Key + 'static, V: Key + 'static>(
            &self,
            table: MultimapTableDefinition<'_, K, V>,
        ) -> Result<MultimapTable<$lifetime, K, V>, Error> {
            own(table.name())?;
            self.tables().open_multimap_table(table).map_err(failed("open", table.name()))
        }

        /// Deletes one of the application's tables. Returns false if there is no such table.
        ///
        /// # Errors
        /// As [`open_table`](Self::open_table).
        ///
        /// ```
        /// # use doc_prelude::*;
        /// use millpond::redb::TableDefinition;
        ///
        /// const DRAFTS: TableDefinition<u64, &str> = TableDefinition::new("drafts");
        /// const INDEX: TableDefinition<u64, &[u8]> = TableDefinition::new("millpond/index");
        ///
        /// # with_pond(async |pond| {
        /// let existed = pond.transaction(|tx| Ok(tx.delete_table(DRAFTS)?)).await?;
        /// assert!(!existed);
        ///
        /// let refused = pond.transaction(|tx| Ok(tx.delete_table(INDEX)?)).await;
        /// assert!(matches!(refused, Err(Error::Aborted { .. })));
        /// # Ok(()) });
        /// ```
        #[track_caller]
        pub fn delete_table(&self, table: impl TableHandle) -> Result<bool, Error> {
            let name = table.name().to_owned();
            own(&name)?;
            self.tables().delete_table(table).map_err(failed("delete", &name))
        }

        /// Deletes one of the application's multimap tables. Returns false if there is no such table.
        ///
        /// # Errors
        /// As [`open_table`](Self::open_table).
        #[track_caller]
        pub fn delete_multimap_table(&self, table: impl MultimapTableHandle) -> Result<bool, Error> {
            let name = table.name().to_owned();
            own(&name)?;
            self.tables().delete_multimap_table(table).map_err(failed("delete", &name))
        }

        /// Renames one of the application's tables.
        ///
        /// # Errors
        /// As [`open_table`](Self::open_table), for both names; [`Error::Table`] also if there is no such table, or if
        /// the new name is in use.
        #[track_caller]
        pub fn rename_table(&self, table: impl TableHandle, to: impl TableHandle) -> Result<(), Error> {
            let name = table.name().to_owned();
            own(&name)?;
            own(to.name())?;
            self.tables().rename_table(table, to).map_err(failed("rename", &name))
        }

        /// Renames one of the application's multimap tables.
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

        /// Lists the application's tables, without multimap tables.
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

    /// The tables of the file, for writing.
    fn tables(&self) -> &'t WriteTransaction {
        self.batch.borrow_mut().touch();
        self.txn
    }

    application_tables!('t);

    /// Enqueues a job. It exists if and only if this transaction is committed.
    ///
    /// # Errors
    /// Those of [`Millpond::enqueue`](crate::Millpond::enqueue) for a job or a queue's name that is not accepted;
    /// [`Error::QueueFull`] even if the queue's setting is to wait, because a wait here would stop the writer;
    /// [`Error::BatchTooLarge`] for more than 10,000 jobs or 32 MiB in one transaction.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let (charge, receipt) = pond
    ///     .transaction(|tx| {
    ///         let charge = tx.enqueue("billing", NewJob::json("charge", &7))?;
    ///         let receipt = tx.enqueue("emails", NewJob::json("receipt", &charge.id))?;
    ///         Ok((charge, receipt))
    ///     })
    ///     .await?;
    /// assert_eq!(pond.job(receipt)?.payload.decode::<JobId>()?, charge);
    /// # Ok(()) });
    /// ```
    pub fn enqueue(&self, queue: &str, job: impl Into<NewJob>) -> Result<Enqueued, Error> {
        let job = self.prepare.prepare(queue, job.into())?;
        let mut size = self.size.get();
        size.add(job.bytes.len())?;
        self.size.set(size);
        self.batch.borrow_mut().insert(job, self.prepare)
    }

    /// Cancels a job, as [`Millpond::cancel`](crate::Millpond::cancel) does, if and only if this transaction is committed. The
    /// handler of a job that runs is told after the commit.
    ///
    /// # Errors
    /// Those of [`Millpond::cancel`](crate::Millpond::cancel).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// const ORDERS: TableDefinition<u64, u64> = TableDefinition::new("orders");
    ///
    /// let reminder = pond.enqueue("emails", NewJob::json("reminder", &7).delay(Duration::from_secs(3600))).await?;
    /// pond.transaction(move |tx| {
    ///     tx.open_table(ORDERS)?.remove(7)?;
    ///     tx.cancel(reminder, "the order was deleted")?;
    ///     Ok(())
    /// })
    /// .await?;
    /// assert_eq!(pond.job(reminder)?.state, State::Cancelled);
    /// # Ok(()) });
    /// ```
    pub fn cancel(&self, id: impl Into<JobId>, reason: impl Into<String>) -> Result<CancelOutcome, Error> {
        let reason = cut(reason.into(), REASON_BYTES_MAX);
        let target = self.withdrawn(id.into());
        self.batch.borrow_mut().cancel(target, &reason)
    }

    /// Changes a waiting job, as [`Millpond::update`](crate::Millpond::update) does, if and only if this transaction is
    /// committed.
    ///
    /// # Errors
    /// Those of [`Millpond::update`](crate::Millpond::update).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// pond.transaction(move |tx| Ok(tx.update(id, JobPatch::new().payload(Charge { order: 8 }))?)).await?;
    /// assert_eq!(pond.job(id)?.payload.decode::<Charge>()?.order, 8);
    /// # Ok(()) });
    /// ```
    pub fn update(&self, id: impl Into<JobId>, patch: JobPatch) -> Result<(), Error> {
        let id = id.into();
        let patch = patch.stored(|payload| {
            let (queue, kind) = self.batch.borrow_mut().names_of(id)?;
            self.prepare.prepare_payload(&queue, &kind, payload)
        })?;
        let target = self.withdrawn(id);
        self.batch.borrow_mut().update(target, &patch)
    }

    /// The job, which is not started until the commit was applied.
    fn withdrawn(&self, id: JobId) -> Target {
        Target { id, queue: KnownQueue::NotSearched, taken: self.prepare.withdraw(id).taken_from() }
    }

    /// Stores a schedule under this name, as [`Millpond::schedule`](crate::Millpond::schedule) does, if and only if this
    /// transaction is committed.
    ///
    /// # Errors
    /// Those of [`Millpond::schedule`](crate::Millpond::schedule).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// const CUSTOMERS: TableDefinition<u64, &str> = TableDefinition::new("customers");
    ///
    /// pond.transaction(|tx| {
    ///     tx.open_table(CUSTOMERS)?.insert(7, "ada@example.org")?;
    ///     let monthly = Cron::parse("0 6 1 * *")?;
    ///     tx.schedule("invoice-7", Schedule::new(monthly, "billing", Charge { order: 7 }))?;
    ///     Ok(())
    /// })
    /// .await?;
    /// assert_eq!(pond.schedules().count()?, 1);
    /// # Ok(()) });
    /// ```
    pub fn schedule(&self, name: &str, schedule: Schedule) -> Result<Scheduled, Error> {
        let definition = define(name, schedule, |queue, job| self.prepare.prepare(queue, job))?;
        self.batch.borrow_mut().schedule(name, &definition, self.prepare.coder())
    }

    /// Removes a schedule, as [`Schedules::remove`](crate::Schedules::remove) does. Returns false if there is none of this
    /// name.
    ///
    /// # Errors
    /// Storage errors.
    pub fn unschedule(&self, name: &str) -> Result<bool, Error> {
        self.batch.borrow_mut().unschedule(name)
    }

    /// Enqueues many jobs into one queue, all or none. They exist if and only if this transaction is committed. They count
    /// for the limits of the transaction, 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue). None of the jobs is enqueued then, and the transaction can continue.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let ids = pond
    ///     .transaction(|tx| Ok(tx.enqueue_many("billing", (0..100).map(|order| Charge { order }))?))
    ///     .await?;
    /// assert_eq!(ids.len(), 100);
    /// assert_eq!(pond.queue("billing")?.counts().pending, 100);
    /// # Ok(()) });
    /// ```
    pub fn enqueue_many<J: Into<NewJob>>(
        &self,
        queue: &str,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<Enqueued>, Error> {
        let jobs = self.prepare.prepare_many(queue, &mut jobs.into_iter().map(Into::into))?;
        let size = with_all(self.size.get(), jobs.iter().map(|job| &job.bytes))?;
        let answers = self.batch.borrow_mut().insert_many(jobs, self.prepare)?;
        self.size.set(size);
        Ok(answers)
    }

    /// Enqueues a job into the queue of its kind. See [`Millpond::send`](crate::Millpond::send).
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// #[derive(Serialize, Deserialize, Kind)]
    /// #[kind(queue = "emails")]
    /// struct Receipt { order: u64 }
    ///
    /// let id = pond.transaction(|tx| Ok(tx.send(Receipt { order: 7 })?)).await?;
    /// assert_eq!(pond.job(id)?.queue, "emails");
    /// # Ok(()) });
    /// ```
    pub fn send<K: HasQueue>(&self, job: K) -> Result<Enqueued, Error> {
        self.enqueue(K::QUEUE, job)
    }

    /// Enqueues many jobs of one kind into its queue, all or none.
    ///
    /// # Errors
    /// Those of [`enqueue_many`](Self::enqueue_many).
    pub fn send_many<K: HasQueue>(&self, jobs: impl IntoIterator<Item = K>) -> Result<Vec<Enqueued>, Error> {
        self.enqueue_many(K::QUEUE, jobs)
    }

    /// Changes the state that a plugin keeps.
    #[cfg_attr(not(feature = "wasm"), expect(dead_code, reason = "only plugins keep state"))]
    pub(crate) fn keep(&self, plugin: &str, writes: &StateWrites, quota: Usage) -> Result<(), BoxError> {
        self.batch.borrow_mut().keep(plugin, writes, quota)
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// A write transaction with a commit of its own, for the application's tables and [`enqueue`](Self::enqueue), as in a
/// [`Transaction`]. If it is dropped without [`commit`](Self::commit), nothing of it is stored.
///
/// While it exists, nothing else is written to the file: keep it short. It cannot be sent to another thread.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let mut tx = pond.begin_write()?;
/// let id = tx.enqueue("billing", NewJob::json("charge", &7))?;
/// let waiting = pond.enqueue("billing", NewJob::json("charge", &8)).wait();
/// assert!(matches!(waiting, Err(Error::WouldDeadlock)));
/// drop(tx);
/// assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. })));
/// # Ok(()) });
/// ```
pub struct WriteGuard {
    txn: Option<WriteTransaction>,
    staged: Staged,
    size: CallSize,
    /// The keys of these jobs, and the job that each stands for.
    keys: HashMap<StagedKey, JobId>,
    now: Now,
    next_id: u64,
    prepare: std::sync::Arc<dyn Prepare>,
    give_back: Option<GiveBack>,
    _must_not_wait: MustNotWait,
}

/// Gives a leased transaction back to the writer, with what is staged in it; `None` rolls it back.
pub(crate) type GiveBack = Box<dyn FnOnce(Option<(WriteTransaction, Staged)>) -> Result<(), Error>>;

/// What the writer does with the queue when a guard is committed.
#[derive(Default)]
pub(crate) struct Staged {
    /// The new jobs.
    pub jobs: Vec<StagedJob>,
    /// The changes to jobs, which follow.
    pub changes: Vec<StagedChange>,
}

/// A change to a job that a guard will make.
pub(crate) type StagedChange = Box<dyn FnOnce(&Transaction<'_>) -> Result<(), Error> + Send>;

/// A job that a guard will store, and what its keys say: its caller has the answer already.
pub(crate) struct StagedJob {
    pub job: Prepared,
    pub claim: Claim,
}

/// A key of a job that a guard will store.
#[derive(Clone, PartialEq, Eq, Hash)]
struct StagedKey {
    queue: String,
    kind: StagedKind,
    key: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum StagedKind {
    Idempotency,
    Unique,
    /// The unique key of a throttled job.
    Window,
}

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
            staged: Staged::default(),
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
    /// Those of [`Millpond::enqueue`](crate::Millpond::enqueue) for a job or a queue's name that is not accepted;
    /// [`Error::BatchTooLarge`] for more than 10,000 jobs or 32 MiB in one transaction. For a full queue,
    /// [`commit`](Self::commit) returns the error.
    pub fn enqueue(&mut self, queue: &str, job: impl Into<NewJob>) -> Result<Enqueued, Error> {
        let job = self.prepare.prepare(queue, job.into())?;
        self.size.add(job.bytes.len())?;
        let claim = self.claim(queue, &job)?;
        Ok(self.stage(queue, job, claim))
    }

    /// Enqueues many jobs into one queue, all or none. They exist if and only if this transaction is committed. They count
    /// for the limits of the transaction, 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue). None of the jobs is enqueued then, and the transaction can continue.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let mut tx = pond.begin_write()?;
    /// let ids = tx.enqueue_many("billing", (0..100).map(|order| Charge { order }))?;
    /// tx.commit()?;
    /// assert_eq!(pond.job(ids[99])?.payload.decode::<Charge>()?.order, 99);
    /// # Ok(()) });
    /// ```
    pub fn enqueue_many<J: Into<NewJob>>(
        &mut self,
        queue: &str,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<Enqueued>, Error> {
        let jobs = self.prepare.prepare_many(queue, &mut jobs.into_iter().map(Into::into))?;
        let size = with_all(self.size, jobs.iter().map(|job| &job.bytes))?;
        let claims = jobs.iter().map(|job| self.claim(queue, job)).collect::<Result<Vec<_>, _>>()?;
        self.size = size;
        Ok(jobs.into_iter().zip(claims).map(|(job, claim)| self.stage(queue, job, claim)).collect())
    }

    /// Enqueues a job into the queue of its kind. See [`Millpond::send`](crate::Millpond::send).
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// #[derive(Serialize, Deserialize, Kind)]
    /// #[kind(queue = "emails")]
    /// struct Receipt { order: u64 }
    ///
    /// let mut tx = pond.begin_write()?;
    /// let id = tx.send(Receipt { order: 7 })?;
    /// tx.commit()?;
    /// assert_eq!(pond.job(id)?.queue, "emails");
    /// # Ok(()) });
    /// ```
    pub fn send<K: HasQueue>(&mut self, job: K) -> Result<Enqueued, Error> {
        self.enqueue(K::QUEUE, job)
    }

    /// Enqueues many jobs of one kind into its queue, all or none.
    ///
    /// # Errors
    /// Those of [`enqueue_many`](Self::enqueue_many).
    pub fn send_many<K: HasQueue>(&mut self, jobs: impl IntoIterator<Item = K>) -> Result<Vec<Enqueued>, Error> {
        self.enqueue_many(K::QUEUE, jobs)
    }

    /// Cancels a job, as [`Millpond::cancel`](crate::Millpond::cancel) does, with the commit. What that does is known only
    /// then: [`Transaction::cancel`] answers it. A job that is not there any more is passed over. The jobs of this
    /// transaction can be cancelled too.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let reminder = pond.enqueue("emails", NewJob::json("reminder", &7).delay(Duration::from_secs(3600))).await?;
    /// let mut tx = pond.begin_write()?;
    /// tx.cancel(reminder, "the order was deleted");
    /// tx.commit()?;
    /// assert_eq!(pond.job(reminder)?.state, State::Cancelled);
    /// # Ok(()) });
    /// ```
    pub fn cancel(&mut self, id: impl Into<JobId>, reason: impl Into<String>) {
        let (id, reason) = (id.into(), reason.into());
        self.staged.changes.push(Box::new(move |tx| match tx.cancel(id, reason) {
            Ok(_) | Err(Error::NoSuchJob { .. }) => Ok(()),
            Err(error) => Err(error),
        }));
    }

    /// Changes a waiting job, as [`Millpond::update`](crate::Millpond::update) does, with the commit. If the job cannot be
    /// changed then, [`commit`](Self::commit) returns the error of [`Millpond::update`](crate::Millpond::update), and nothing
    /// of the transaction is stored.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// let mut tx = pond.begin_write()?;
    /// tx.update(id, JobPatch::new().payload(Charge { order: 8 }));
    /// tx.commit()?;
    /// assert_eq!(pond.job(id)?.payload.decode::<Charge>()?.order, 8);
    /// # Ok(()) });
    /// ```
    pub fn update(&mut self, id: impl Into<JobId>, patch: JobPatch) {
        let id = id.into();
        self.staged.changes.push(Box::new(move |tx| tx.update(id, patch)));
    }

    /// Adds a job. What its keys say can have changed by the jobs of its own call before it.
    fn stage(&mut self, queue: &str, job: Prepared, claim: Claim) -> Enqueued {
        let claim = match claim {
            Claim::Repeated(_) => claim,
            claim => self.staged(queue, &job).unwrap_or(claim),
        };
        let answer = match claim {
            Claim::Free => {
                let id = JobId::new(self.next_id);
                self.next_id += 1;
                Enqueued::stored(id)
            }
            Claim::Replaces(id) => Enqueued::replaced(id),
            Claim::Repeated(id) | Claim::Held(id) => Enqueued::duplicate_of(id),
        };
        let is_held = matches!(claim, Claim::Held(_) | Claim::Repeated(_));
        if let Some((key, _)) = job.claims().filter(|_| !is_held) {
            let is_window = job.record().unique().window().is_some();
            let kind = if is_window { StagedKind::Window } else { StagedKind::Unique };
            self.keys.insert(StagedKey { queue: queue.to_owned(), kind, key: key.to_owned() }, answer.id);
        }
        if let Some((key, _)) = job.idempotency_key() {
            let key = StagedKey { queue: queue.to_owned(), kind: StagedKind::Idempotency, key: key.to_owned() };
            self.keys.insert(key, answer.id);
        }
        // Add it also if it will not be stored: the commit publishes the event.
        self.staged.jobs.push(StagedJob { job, claim });
        answer
    }

    /// What the keys of this job say, if a job of this transaction has the same.
    fn staged(&self, queue: &str, job: &Prepared) -> Option<Claim> {
        if !job.has_keys() || self.keys.is_empty() {
            return None;
        }
        let find = |kind, key: Option<&str>| {
            let key = StagedKey { queue: queue.to_owned(), kind, key: key?.to_owned() };
            self.keys.get(&key).copied()
        };
        if let Some(id) = find(StagedKind::Idempotency, job.idempotency_key().map(|(key, _)| key)) {
            return Some(Claim::Repeated(id));
        }
        let key = job.claims().map(|(key, _)| key);
        if let Some(id) = find(StagedKind::Window, key) {
            return Some(Claim::Held(id));
        }
        // No job of this transaction has started.
        let id = find(StagedKind::Unique, key)?;
        Some(if job.record().unique().replaces() { Claim::Replaces(id) } else { Claim::Held(id) })
    }

    /// What the keys of this job say: those in the file, and those of jobs that this transaction will store.
    fn claim(&self, queue: &str, job: &Prepared) -> Result<Claim, Error> {
        if !job.has_keys() {
            return Ok(Claim::Free);
        }
        let repeated = repeated_in(self.tables(), self.now, job)?.map(Claim::Repeated);
        match repeated.or_else(|| self.staged(queue, job)) {
            Some(claim) => Ok(claim),
            None => Ok(claim_in(self.tables(), self.now, job, &*self.prepare)?),
        }
    }

    /// Commits the transaction: everything in it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::QueueFull`], those of a staged [`update`](Self::update), and storage errors. Nothing of the transaction is stored then, except with
    /// [`Error::OutcomeUnknown`]: then it is unknown.
    pub fn commit(mut self) -> Result<(), Error> {
        // In another process the drop does nothing.
        self.prepare.check_process()?;
        let txn = self.txn.take().expect("only commit and drop take it");
        let staged = std::mem::take(&mut self.staged);
        let give_back = self.give_back.take().expect("only commit and drop take it");
        give_back(Some((txn, staged)))
    }
}

impl WriteGuard {
    fn tables(&self) -> &WriteTransaction {
        self.txn.as_ref().expect("only commit and drop take it")
    }

    application_tables!('_);
}

/// The size of a transaction with these rows of jobs or entries.
///
/// # Errors
/// [`Error::BatchTooLarge`] if it is above the limit.
fn with_all<'b>(mut size: CallSize, mut rows: impl Iterator<Item = &'b bytes::Bytes>) -> Result<CallSize, Error> {
    rows.try_for_each(|row| size.add(row.len()))?;
    Ok(size)
}

/// Tables whose names begin with this belong to the queue.
const QUEUE_TABLES: &str = "millpond/";

/// # Errors
/// If the table belongs to the queue.
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

/// redb's write transaction itself, including the queue's own tables, for tests that damage a file on purpose. Changes
/// to those tables lose jobs.
pub trait Unguarded {
    /// redb's transaction. Do not commit it, and do not use its savepoints or its durability: the queue does.
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
                // It belongs to another process: a rollback could write, too.
                return std::mem::forget((txn, give_back));
            }
            drop(txn);
            let _ = give_back(None);
        }
    }
}

impl std::fmt::Debug for WriteGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteGuard").field("jobs", &self.staged.jobs.len()).finish_non_exhaustive()
    }
}
