//! What can go wrong, each a sentence: what happened, to which job or queue, what to do.

pub(crate) mod panics;
#[cfg(feature = "wasm")]
mod plugin;

use std::path::{Path, PathBuf};

use crate::job::{JobId, State};
use crate::text::{printable, told};
use panics::text_of;
#[cfg(feature = "wasm")]
pub use plugin::PluginError;

/// Any error, boxed: what closures and handlers may fail with.
///
/// ```
/// use millpond::{BoxError, Millpond};
///
/// fn record(pond: &Millpond) -> Result<u64, BoxError> {
///     let order = "7".parse()?;
///     pond.transaction(move |tx| Ok(tx.enqueue("billing", millpond::NewJob::json("charge", &order))?)).wait()?;
///     Ok(order)
/// }
/// ```
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a call on the queue can fail with.
///
/// Dependencies are hidden: storage errors are kept as [`source`](std::error::Error::source).
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// # pond.queue("billing")?.configure(QueueSettings::default().capacity(Capacity::jobs(1))).await?;
/// # pond.enqueue("billing", NewJob::json("charge", &6)).await?;
/// match pond.enqueue("billing", NewJob::json("charge", &7)).await {
///     Ok(id) => println!("job {id}"),
///     Err(Error::QueueFull { queue, jobs, .. }) => println!("{jobs} wait in {queue} already"),
///     Err(error) if error.is_transient() => println!("try again: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) }
/// ```
///
/// What is behind an error is its source.
///
/// ```
/// use std::error::Error as _;
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let error = pond.transaction(|_| Err::<(), _>("no such user".into())).await.unwrap_err();
/// assert!(matches!(error, Error::Aborted { .. }));
/// assert_eq!(error.source().unwrap().to_string(), "no such user");
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is something else: text, another database, or another program's redb file.
    #[error(
        "{} is not a Millpond file: open the right path; if it is the application's own redb database, open it with `Builder::adopt`, or attach the open database with `Builder::attach`",
        shown(path)
    )]
    #[non_exhaustive]
    NotAMillpond {
        /// The file.
        path: PathBuf,
    },
    /// The file is empty. It is never filled, because it may be somebody else's.
    ///
    /// On a file system without hard links a process that is killed in the moment in which it creates a file leaves an empty
    /// one.
    #[error(
        "{} is empty: if nothing else made it, a process was killed while it created the file; remove it and open again",
        shown(path)
    )]
    #[non_exhaustive]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The file was one, but is damaged. It is never recreated.
    #[error("the file is corrupt: {}; {hint}", told(detail))]
    #[non_exhaustive]
    Corrupt {
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// [`verify_on_open`](crate::Builder::verify_on_open) found what does not agree and could not be put right.
    #[error(
        "the file does not agree with itself, {} time(s): {}; open it without `verify_on_open` to look, or restore a backup",
        problems.len(), told(problems.first().map_or("", String::as_str))
    )]
    #[non_exhaustive]
    Inconsistent {
        /// What does not agree, a sentence each.
        problems: Vec<String>,
    },
    /// No backup was taken: the place or the database does not allow it.
    #[error("could not back up to {}: {reason}", shown(path))]
    #[non_exhaustive]
    NotBackedUp {
        /// Where it was to go.
        path: PathBuf,
        /// What is in the way.
        reason: &'static str,
    },
    /// The file was written by a newer Millpond. Its bytes are untouched.
    #[error("the file has schema version {found}, this build reads up to {known}: upgrade Millpond")]
    #[non_exhaustive]
    TooNew {
        /// The file's schema version.
        found: u32,
        /// The newest this build reads.
        known: u32,
    },
    /// Somebody has the file open: this process or another one.
    #[error("{} is already open, here or in another process: close it there first", shown(path))]
    #[non_exhaustive]
    AlreadyOpen {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("could not {operation} {}", shown(path))]
    #[non_exhaustive]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The storage refused; nothing of the call is stored.
    #[error("the storage failed while it tried to {operation}; nothing of this call is stored")]
    #[non_exhaustive]
    Storage {
        /// What was tried.
        operation: &'static str,
        /// What the storage said.
        source: BoxError,
    },
    /// The disk is full; nothing of the call is stored. It heals when there is space again.
    #[error("the disk is full; nothing of this call is stored: make room and try again")]
    StorageFull,
    /// The commit failed in a way that leaves open whether it is on the disk.
    ///
    /// Jobs with a [`unique_key`](crate::NewJob::unique_key) can be enqueued again as they are: what is
    /// there already is not stored twice, and the answer is its id. That holds for the time that the key is
    /// held after the enqueue, five minutes unless set, also if the job has run meanwhile. Without a key look
    /// for the job, or for the rows that were written with it, first.
    #[error(
        "the commit failed and may or may not be on the disk: enqueue jobs that have a unique key again, and look for others, or for the rows written with them, before trying again"
    )]
    #[non_exhaustive]
    OutcomeUnknown {
        /// What the storage said.
        source: BoxError,
    },
    /// The file cannot be written for now; calls fail at once until it can be again: an I/O error has stopped the
    /// writer, which opens the file again by itself, or somebody holds the file's write transaction.
    #[error("the queue is degraded and accepts nothing for now: {}", told(reason))]
    #[non_exhaustive]
    Degraded {
        /// What is in the way.
        reason: String,
    },
    /// Somebody has held the file's only write transaction for longer than
    /// [`write_wait_max`](crate::Builder::write_wait_max). Nothing of this call is stored.
    ///
    /// If the caller itself holds that transaction, this call could never have succeeded. Calls that are made until the
    /// transaction ends are answered [`Degraded`](Self::Degraded) at once.
    #[error(
        "{held_by}, for {waited:?} by now; nothing of this call is stored: end that transaction and try again, and do not wait for the queue while it is open"
    )]
    #[non_exhaustive]
    WriteHeld {
        /// Who holds it, as a sentence.
        held_by: &'static str,
        /// How long the queue has waited.
        waited: std::time::Duration,
    },
    /// The queue was opened by another process, from which this one was forked. Nothing was read or written: two
    /// processes that use one open file destroy it.
    #[error(
        "the queue was opened by process {opened_by}, from which this process was forked: open the file in one process only, after the fork"
    )]
    #[non_exhaustive]
    Forked {
        /// The process that has the file open.
        opened_by: u32,
    },
    /// The async runtime on which the queue's async handlers run has ended, so no worker with such handlers can start.
    ///
    /// Calls still work, and workers whose handlers all block still run.
    #[error(
        "the async runtime in which the queue was opened has ended: open the queue again in one that lives as long as the queue, or give it one with `Builder::runtime`"
    )]
    RuntimeEnded,
    /// A shutdown has passed its deadline, and the queue is not closed yet, or what its workers held is still being dropped. It
    /// goes on closing; another [`shutdown`](crate::Millpond::shutdown) waits for it.
    #[error("the queue is not closed yet: {held_by}; it closes when that ends, and another shutdown waits for it")]
    #[non_exhaustive]
    StillClosing {
        /// What the close waits for, as a sentence.
        held_by: &'static str,
    },
    /// The queue was shut down, or its last handle was dropped.
    #[error("the queue is closed: it was shut down, or its last handle was dropped")]
    Closed,

    /// A name that is empty, too long, or has characters outside the allowed ones.
    #[error("invalid {what} name {name:?}: use 1 to 128 of A-Z a-z 0-9 . _ : -")]
    #[non_exhaustive]
    InvalidName {
        /// What it was to name: queue, kind or plugin.
        what: &'static str,
        /// The name, cut to 128 characters.
        name: String,
    },
    /// A group or a unique key that is empty or too long.
    #[error("invalid {what} of {len} bytes: use 1 to {max} bytes, such as a hash of what is longer")]
    #[non_exhaustive]
    InvalidKey {
        /// What it was to be: group or unique key.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The most bytes.
        max: usize,
    },
    /// A setting that cannot work.
    #[error("invalid {field}: {}", told(reason))]
    #[non_exhaustive]
    InvalidConfig {
        /// Which setting.
        field: &'static str,
        /// Why it cannot work.
        reason: String,
    },
    /// A payload above the limit.
    #[error(
        "the payload has {len} bytes, the limit is {max}: store it elsewhere and enqueue a reference, or raise `payload_bytes_max`"
    )]
    #[non_exhaustive]
    PayloadTooLarge {
        /// The payload's size in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// More in one call or transaction than one commit takes. Nothing of a call is stored then; a transaction may go
    /// on without the job that was too much.
    #[error(
        "one call or transaction carries {jobs} jobs with {bytes} bytes or more, the limit is {jobs_max} jobs and {bytes_max} bytes: split it"
    )]
    #[non_exhaustive]
    BatchTooLarge {
        /// Jobs up to the one that is too much: what follows it was not looked at.
        jobs: usize,
        /// Their bytes.
        bytes: usize,
        /// Most jobs in one call or transaction.
        jobs_max: usize,
        /// Most bytes in one call or transaction.
        bytes_max: usize,
    },
    /// The payload could not be written as the kind's codec, or would not be read back as it is.
    #[error("the payload of kind {kind:?} could not be encoded")]
    #[non_exhaustive]
    Unencodable {
        /// The kind.
        kind: String,
        /// What the encoder said, or a [`PayloadError`](crate::PayloadError).
        source: BoxError,
    },
    /// The queue has reached its capacity, and the caller is not to wait for room: because of the queue's setting, or
    /// because it must not, in a transaction or in some handlers; see [`WhenFull`](crate::WhenFull).
    #[error("queue {queue:?} is full: it holds {jobs} jobs with {bytes} bytes")]
    #[non_exhaustive]
    QueueFull {
        /// The queue.
        queue: String,
        /// Jobs that wait in it.
        jobs: u64,
        /// Their payload bytes.
        bytes: u64,
    },
    /// A call that waits for the queue, made where the queue waits for the caller: in a transaction's closure, beside a
    /// guard from [`begin_write`](crate::Millpond::begin_write) on the same thread, or in a callback on a thread of the
    /// queue's own. Use the transaction's own methods, or hand the call to another thread or task and do not wait for it.
    #[error(
        "this call waits for the queue, and the queue waits for the code that makes it (a transaction, or a callback): use the transaction's own methods, or make the call on another thread or task and do not wait for it"
    )]
    WouldDeadlock,
    /// The transaction's closure returned an error or panicked; nothing of it is stored.
    #[error("the transaction was rolled back, because its closure failed: {}", told(&text_of(&**source)))]
    #[non_exhaustive]
    Aborted {
        /// What the closure returned, or the panic's message.
        source: BoxError,
    },

    /// A table of the queue's own: an application cannot open, delete or rename it.
    #[error("table {table:?} belongs to the queue: use a name that does not begin with `millpond/`")]
    #[non_exhaustive]
    ReservedTable {
        /// The table.
        table: String,
    },
    /// One of the application's tables could not be opened, deleted or renamed.
    #[error("could not {operation} table {table:?}")]
    #[non_exhaustive]
    Table {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The table.
        table: String,
        /// What redb said.
        source: BoxError,
    },

    /// There is no such job, or none any more.
    ///
    /// A job that has ended is kept for as long as its queue's [`Retention`](crate::Retention) says. By default a completed
    /// job is kept for a day if it has a result, and not at all otherwise.
    #[error(
        "there is no job {id}: it never existed, was purged, or has ended and is not kept (a completed job without a result is kept only if `Retention::completed` says so)"
    )]
    #[non_exhaustive]
    NoSuchJob {
        /// The id asked for.
        id: JobId,
    },
    /// The job's state does not allow this.
    #[error("cannot {action} job {id}: it is {state}")]
    #[non_exhaustive]
    NotAllowed {
        /// What was asked.
        action: &'static str,
        /// The job.
        id: JobId,
        /// Its state.
        state: State,
    },
    /// A record that cannot be read. It is set aside; the others go on.
    #[error("the record of job {id} is corrupt ({}); it is set aside", told(detail))]
    #[non_exhaustive]
    CorruptRecord {
        /// The job.
        id: JobId,
        /// What is wrong with it.
        detail: String,
    },
    /// A worker for this queue is already running.
    #[error("queue {queue:?} already has a worker: give that one more kinds, or shut it down first")]
    #[non_exhaustive]
    WorkerExists {
        /// The queue.
        queue: String,
    },
    /// The queue has no worker in this process, so its rate limit is not known.
    #[error("queue {queue:?} has no worker here, which sets its rate limit: start its worker first")]
    #[non_exhaustive]
    NoWorker {
        /// The queue.
        queue: String,
    },
    /// The worker was stopped, or the queue shut down; its queue may have another one.
    #[error("this worker of queue {queue:?} was stopped: use the handle of the one that followed it")]
    #[non_exhaustive]
    WorkerStopped {
        /// The queue.
        queue: String,
    },
    /// A handler asks for shared data that the worker was not given.
    #[error("the handler of kind {kind:?} takes Data<{data}>, but the worker has none: add it with `.data(...)`")]
    #[non_exhaustive]
    MissingData {
        /// The kind whose handler asks.
        kind: String,
        /// The type it asks for.
        data: &'static str,
    },
    /// A plugin that is not fit to run.
    #[cfg(feature = "wasm")]
    #[error("plugin {plugin:?} was refused: {reason}")]
    #[non_exhaustive]
    Plugin {
        /// Its name.
        plugin: String,
        /// Why.
        reason: PluginError,
    },
    /// The bucket is empty.
    #[error("rate limited: the next token is there in {retry_in:?}")]
    #[non_exhaustive]
    RateLimited {
        /// How long until a token is there.
        retry_in: std::time::Duration,
    },
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

impl Error {
    pub(crate) fn config(field: &'static str, reason: String) -> Self {
        Self::InvalidConfig { field, reason }
    }

    /// The system has refused a thread.
    pub(crate) fn no_thread(source: std::io::Error) -> Self {
        Self::Storage { operation: "start a thread", source: Box::new(source) }
    }

    /// The same error for one more waiter of the same commit.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::OutcomeUnknown { source } => Self::OutcomeUnknown { source: text_of(&**source).into() },
            Self::Storage { operation, source } => Self::Storage { operation, source: text_of(&**source).into() },
            Self::StorageFull => Self::StorageFull,
            Self::Io { operation, path, source } => Self::Io {
                operation,
                path: path.clone(),
                source: std::io::Error::new(source.kind(), source.to_string()),
            },
            Self::Degraded { reason } => Self::Degraded { reason: reason.clone() },
            Self::WriteHeld { held_by, waited } => Self::WriteHeld { held_by, waited: *waited },
            Self::Forked { opened_by } => Self::Forked { opened_by: *opened_by },
            Self::Closed => Self::Closed,
            other => Self::Storage { operation: "commit", source: other.to_string().into() },
        }
    }

    /// The disk failed: the next command would fare no better.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::StorageFull | Self::Io { .. } | Self::OutcomeUnknown { .. })
    }

    /// The file could not be read or written, whatever was asked of it.
    pub(crate) fn is_of_storage(&self) -> bool {
        matches!(
            self,
            Self::Storage { .. }
                | Self::StorageFull
                | Self::Corrupt { .. }
                | Self::Io { .. }
                | Self::OutcomeUnknown { .. }
        )
    }

    /// Whether the same call may succeed later without any change to it. Not so for
    /// [`OutcomeUnknown`](Self::OutcomeUnknown): a second call could do it twice, unless its jobs have
    /// unique keys.
    ///
    /// ```
    /// # use millpond::Error;
    /// assert!(Error::StorageFull.is_transient());
    /// assert!(!Error::Closed.is_transient());
    /// ```
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::StorageFull
                | Self::Degraded { .. }
                | Self::WriteHeld { .. }
                | Self::StillClosing { .. }
                | Self::QueueFull { .. }
                | Self::RateLimited { .. }
                | Self::Storage { .. }
        )
    }
}
