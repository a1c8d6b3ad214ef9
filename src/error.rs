//! The errors of the crate. Each is displayed as a sentence: what happened, to which job or queue, and what to do.

pub(crate) mod panics;
#[cfg(feature = "wasm")]
mod plugin;

use std::path::{Path, PathBuf};

use crate::job::{JobId, Recipient, STEP_BYTES_MAX, STEPS_MAX, State};
use crate::text::{printable, told};
use panics::text_of;
#[cfg(feature = "wasm")]
pub use plugin::PluginError;

/// Any error, boxed: the error type of closures and handlers.
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

/// The error of a call on the queue.
///
/// The types of dependencies are hidden: errors of the storage are kept as the [`source`](std::error::Error::source).
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.queue("billing")?.configure(QueueSettings::default().capacity(Capacity::jobs(1))).await?;
/// # pond.enqueue("billing", NewJob::json("charge", &6)).await?;
/// match pond.enqueue("billing", NewJob::json("charge", &7)).await {
///     Ok(id) => println!("job {id}"),
///     Err(Error::QueueFull { queue, jobs, .. }) => println!("{jobs} wait in {queue} already"),
///     Err(error) if error.is_transient() => println!("try again: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) });
/// ```
///
/// The cause of an error is its source.
///
/// ```
/// use std::error::Error as _;
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let error = pond.transaction(|_| Err::<(), _>("no such user".into())).await.unwrap_err();
/// assert!(matches!(error, Error::Aborted { .. }));
/// assert_eq!(error.source().unwrap().to_string(), "no such user");
/// # Ok(()) });
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
    /// The file is empty. It is never filled, because it may belong to another program.
    ///
    /// On a file system without hard links, a process that is killed while it creates a file can leave an empty one.
    #[error(
        "{} is empty: if no other program created it, a process was killed while it created the file; remove it and open it again",
        shown(path)
    )]
    #[non_exhaustive]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The file is a Millpond file, but it is damaged. It is never recreated.
    #[error("the file is corrupt: {}; {hint}", told(detail))]
    #[non_exhaustive]
    Corrupt {
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// [`verify_on_open`](crate::Builder::verify_on_open) found damage that could not be repaired.
    #[error(
        "the file is inconsistent, with {} problem(s), the first one: {}; open it without `verify_on_open` to examine it, or restore a backup",
        problems.len(), told(problems.first().map_or("", String::as_str))
    )]
    #[non_exhaustive]
    Inconsistent {
        /// The problems, a sentence each.
        problems: Vec<String>,
    },
    /// No backup was taken, because the destination or the database does not allow it.
    #[error("could not back up to {}: {reason}", shown(path))]
    #[non_exhaustive]
    NotBackedUp {
        /// The destination of the backup.
        path: PathBuf,
        /// What prevents it.
        reason: &'static str,
    },
    /// The file was written by a newer Millpond. Its bytes are untouched.
    #[error("the file has schema version {found}, this build reads up to {known}: upgrade Millpond")]
    #[non_exhaustive]
    TooNew {
        /// The file's schema version.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// What is stored in the file was written by another [payload codec](crate::Builder::payload_codec) than the one that it
    /// was opened with, or it was opened without one. Nothing in it was changed.
    #[error(
        "the payload codec {:?} has written what is stored in this file, and it was opened {}: open it with that codec (`Builder::payload_codec`)",
        told(stored), match given { Some(given) => format!("with {:?}", told(given)), None => "without one".to_owned() }
    )]
    #[non_exhaustive]
    OtherPayloadCodec {
        /// The name of the codec that has written it.
        stored: String,
        /// The name of the codec that the file was opened with.
        given: Option<String>,
    },
    /// The file is open already, in this process or in another one.
    #[error("{} is already open, here or in another process: close it there first", shown(path))]
    #[non_exhaustive]
    AlreadyOpen {
        /// The file.
        path: PathBuf,
    },
    /// There is no topic of this name, so nothing was published.
    #[error(
        "there is no topic {:?}: it exists from its first binding on (`Topic::bind`), or from `Topic::configure`",
        told(topic)
    )]
    #[non_exhaustive]
    NoSuchTopic {
        /// The topic.
        topic: String,
    },
    /// No binding of the topic matches the message, and the topic wants each message to reach somebody
    /// ([`TopicSettings::mandatory`](crate::TopicSettings::mandatory)). Nothing of the call is stored.
    #[error(
        "no binding of topic {:?} matches a message with the routing key {:?}, and the topic is mandatory: bind a queue or a stream for it, or set an alternate queue; nothing of this call is stored",
        told(topic),
        told(key)
    )]
    #[non_exhaustive]
    Unroutable {
        /// The topic.
        topic: String,
        /// The routing key.
        key: String,
    },
    /// A binding that is not accepted.
    #[error("the binding to {to} is not accepted: {reason}")]
    #[non_exhaustive]
    InvalidBinding {
        /// Where it leads to.
        to: Recipient,
        /// What is wrong, and what to do.
        reason: &'static str,
    },
    /// A routing key, or the pattern of a binding, that is too long.
    #[error(
        "invalid routing key of {len} bytes and {words} words: use at most {max} bytes and {words_max} words, and headers for the rest"
    )]
    #[non_exhaustive]
    InvalidRoutingKey {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
        /// How many words it has.
        words: usize,
        /// The limit of words.
        words_max: usize,
    },
    /// The file has as many topics as it can have.
    #[error("there are {max} topics already, the most a file can have: use one topic with more routing keys")]
    #[non_exhaustive]
    TooManyTopics {
        /// The limit.
        max: usize,
    },
    /// The topic has as many bindings as a topic can have.
    #[error("topic {:?} has {max} bindings already, the most of a topic: use patterns, or several topics", told(topic))]
    #[non_exhaustive]
    TooManyBindings {
        /// The topic.
        topic: String,
        /// The limit.
        max: usize,
    },
    /// There is no flow of this name: it was never made, or is kept no longer.
    #[error("there is no flow {:?}: it was never made, or it has ended and is kept no longer", told(name))]
    #[non_exhaustive]
    NoSuchFlow {
        /// The name.
        name: String,
    },
    /// The flow has no signal of this name.
    #[error("the flow {:?} has no signal {:?}: `FlowDraft::signal` describes one", told(flow), told(signal))]
    #[non_exhaustive]
    NoSuchSignal {
        /// The flow.
        flow: String,
        /// The name of the signal.
        signal: String,
    },
    /// The flow cannot be made as it was described, or a job cannot be added to it.
    #[error("the flow {:?} is not accepted: {}", told(flow), told(reason))]
    #[non_exhaustive]
    InvalidFlow {
        /// The flow.
        flow: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Nothing of the flow can run any more, so nothing can be added to it.
    #[error(
        "nothing of the flow {:?} can run any more: jobs are added while one of its jobs runs, or before its last signal has come",
        told(name)
    )]
    #[non_exhaustive]
    FlowEnded {
        /// The flow.
        name: String,
    },
    /// The steps of a job are too many or too large, so this one was not stored.
    #[error(
        "job {id} has too many steps: at most {steps_max}, with results of {bytes_max} bytes together; store large results elsewhere, and enqueue other jobs for more work"
    )]
    #[non_exhaustive]
    TooManySteps {
        /// The job.
        id: JobId,
        /// The most steps of a job.
        steps_max: usize,
        /// The most bytes of their results together.
        bytes_max: usize,
    },
    /// The flow has jobs that have not ended, so it is not removed.
    #[error("the flow {:?} has jobs that have not ended: cancel it first", told(name))]
    #[non_exhaustive]
    FlowRuns {
        /// The flow.
        name: String,
    },
    /// The operating system returned an error.
    #[error("could not {operation} {}", shown(path))]
    #[non_exhaustive]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The storage returned an error; nothing of the call is stored.
    #[error("the storage failed while it tried to {operation}; nothing of this call is stored")]
    #[non_exhaustive]
    Storage {
        /// What was tried.
        operation: &'static str,
        /// The error of the storage.
        source: BoxError,
    },
    /// The disk is full; nothing of the call is stored. Calls succeed again once there is space.
    #[error("the disk is full; nothing of this call is stored: free some space and try again")]
    StorageFull,
    /// The commit failed, and it is not known whether it is on the disk.
    ///
    /// Jobs with a [`unique_key`](crate::NewJob::unique_key) can be enqueued again unchanged: a job that is stored
    /// already is not stored twice, and the call returns its id. That holds as long as the key is held after the enqueue,
    /// five minutes by default, even if the job has run meanwhile. Without a key, search for the job first, or for the rows
    /// that were written with it.
    #[error(
        "the commit failed and may or may not be on the disk: enqueue jobs that have a unique key again, and search for other jobs, or for the rows written with them, before trying again"
    )]
    #[non_exhaustive]
    OutcomeUnknown {
        /// The error of the storage.
        source: BoxError,
    },
    /// The file cannot be written for now, and calls fail at once until it can. Either an I/O error has stopped the writer,
    /// which opens the file again by itself, or another caller holds the file's write transaction.
    #[error("the queue is degraded and refuses calls for now: {}", told(reason))]
    #[non_exhaustive]
    Degraded {
        /// What prevents it.
        reason: String,
    },
    /// Another caller has held the file's only write transaction for longer than
    /// [`write_wait_max`](crate::Builder::write_wait_max). Nothing of this call is stored.
    ///
    /// If the caller itself holds that transaction, this call could never have succeeded. Calls that are made until the
    /// transaction ends are answered [`Degraded`](Self::Degraded) at once.
    #[error(
        "{held_by}; this call has waited for {waited:?}, and nothing of it is stored: end that transaction and try again, and do not wait for the queue while it is open"
    )]
    #[non_exhaustive]
    WriteHeld {
        /// What holds the transaction, as a sentence.
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
    /// A shutdown has passed its deadline, and the queue is not closed yet, or the values of its workers are still being dropped.
    /// The closing continues; another [`shutdown`](crate::Millpond::shutdown) waits for it.
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
        /// What it names: queue, kind, plugin or payload codec.
        what: &'static str,
        /// The name, cut to 128 characters.
        name: String,
    },
    /// A group or a unique key that is empty or too long.
    #[error("invalid {what} of {len} bytes: use 1 to {max} bytes, such as a hash of what is longer")]
    #[non_exhaustive]
    InvalidKey {
        /// Which of them: group or unique key.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A [tag](crate::NewJob::tag) that is empty or too long, or has control characters.
    #[error("invalid tag {tag:?} of {len} bytes: use 1 to {max} bytes without control characters")]
    #[non_exhaustive]
    InvalidTag {
        /// The tag, cut to the limit.
        tag: String,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A job has more [tags](crate::NewJob::tag) than a job can have.
    #[error("the job has more than {max} tags, the most: leave out some, or put them into headers or the payload")]
    #[non_exhaustive]
    TooManyTags {
        /// The limit.
        max: usize,
    },
    /// The name of a [header](crate::NewJob::header) is empty or too long.
    #[error("invalid header name {name:?} of {len} bytes: use 1 to {max} bytes")]
    #[non_exhaustive]
    InvalidHeader {
        /// The name, cut to the limit.
        name: String,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The names and values of the [headers](crate::NewJob::header) of a job have more bytes than they can have.
    #[error("the headers of the job have {len} bytes, the limit is {max}: put large values into the payload")]
    #[non_exhaustive]
    HeadersTooLarge {
        /// The size of all names and values in bytes.
        len: usize,
        /// The limit in bytes.
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
    /// One call or transaction has more jobs or bytes than one commit takes. Nothing of a call is stored then; a transaction
    /// can continue without the job that exceeds the limit.
    #[error(
        "one call or transaction has {jobs} jobs with {bytes} bytes or more, the limit is {jobs_max} jobs and {bytes_max} bytes: split it"
    )]
    #[non_exhaustive]
    BatchTooLarge {
        /// How many jobs there are up to the one that exceeds the limit; later ones were not counted.
        jobs: usize,
        /// Their bytes.
        bytes: usize,
        /// The limit of jobs in one call or transaction.
        jobs_max: usize,
        /// The limit of bytes in one call or transaction.
        bytes_max: usize,
    },
    /// The payload could not be encoded by the kind's codec or by the [payload codec](crate::Builder::payload_codec), or would
    /// not be the same after decoding.
    #[error("the payload of kind {kind:?} could not be encoded")]
    #[non_exhaustive]
    Unencodable {
        /// The kind.
        kind: String,
        /// The error of the encoder or of the payload codec, or a [`PayloadError`](crate::PayloadError).
        source: BoxError,
    },
    /// A hook of [`Builder::on_enqueue`](crate::Builder::on_enqueue) refused the job. Nothing is stored.
    #[error("the application's hook refused a job of kind {kind:?} for queue {queue:?}: {source}")]
    #[non_exhaustive]
    EnqueueRefused {
        /// The queue.
        queue: String,
        /// The kind.
        kind: String,
        /// The error of the hook.
        source: BoxError,
    },
    /// The queue has reached its capacity, and the caller does not wait for room: because of the queue's setting, or because
    /// callers must not wait in a transaction and in some handlers; see [`WhenFull`](crate::WhenFull).
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

    /// The table belongs to the queue: an application cannot open, delete or rename it.
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
        /// The error of redb.
        source: BoxError,
    },

    /// There is no job with this id, or not any more.
    ///
    /// A job that has ended is kept for as long as its queue's [`Retention`](crate::Retention) says. By default a completed
    /// job is kept for a day if it has a result, and not at all otherwise.
    #[error(
        "there is no job {id}: it never existed, was purged, or has ended and is not kept (a completed job without a result is kept only if `Retention::completed` says so)"
    )]
    #[non_exhaustive]
    NoSuchJob {
        /// The id of the call.
        id: JobId,
    },
    /// The job's state does not allow the call.
    #[error("cannot {action} job {id}: it is {state}")]
    #[non_exhaustive]
    NotAllowed {
        /// What the call does, as a verb.
        action: &'static str,
        /// The job.
        id: JobId,
        /// Its state.
        state: State,
    },
    /// The record of a job cannot be read. It is moved to the quarantine; other jobs are not affected.
    #[error("the record of job {id} is corrupt ({}); it is moved to the quarantine", told(detail))]
    #[non_exhaustive]
    CorruptRecord {
        /// The job.
        id: JobId,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no schedule of this name.
    #[error("there is no schedule {:?}: it was never stored, or was removed", told(name))]
    #[non_exhaustive]
    NoSuchSchedule {
        /// The name of the call.
        name: String,
    },
    /// There is no stream of this name.
    #[error("there is no stream {:?}: nothing was appended to it, or it was removed", told(stream))]
    #[non_exhaustive]
    NoSuchStream {
        /// The name of the call.
        stream: String,
    },
    /// There is no such consumer.
    #[error("stream {:?} has no consumer {:?}: it was never started, or was removed", told(stream), told(consumer))]
    #[non_exhaustive]
    NoSuchConsumer {
        /// The name of the stream.
        stream: String,
        /// The name of the call.
        consumer: String,
    },
    /// The stream has a consumer, so it is not removed.
    #[error("stream {stream:?} has the consumer {consumer:?}: remove its consumers first")]
    #[non_exhaustive]
    StreamInUse {
        /// The stream.
        stream: String,
        /// One of its consumers.
        consumer: String,
    },
    /// A binding of a topic leads to the stream, so it is not removed.
    #[error("a binding of topic {topic:?} leads to stream {stream:?}: unbind the stream first")]
    #[non_exhaustive]
    StreamBound {
        /// The stream.
        stream: String,
        /// One of the topics.
        topic: String,
    },
    /// The consumer has a worker, so it is not removed.
    #[error("consumer {consumer:?} of stream {stream:?} is running: stop it first")]
    #[non_exhaustive]
    ConsumerRuns {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// Nothing is stored under this queue's name, so there is nothing to rename.
    #[error("there is no queue {queue:?}: nothing was stored in it, or it was removed or renamed")]
    #[non_exhaustive]
    NoSuchQueue {
        /// The queue.
        queue: String,
    },
    /// There is a queue of the name that another one was to get.
    #[error("there is already a queue {queue:?}: remove it first, or move jobs into it with `Selection::move_to`")]
    #[non_exhaustive]
    QueueExists {
        /// The queue that has the name.
        queue: String,
    },
    /// The queue is not removed or renamed, because something uses it.
    #[error("queue {queue:?} is in use: {reason}")]
    #[non_exhaustive]
    QueueInUse {
        /// The queue.
        queue: String,
        /// What uses it, and what to do.
        reason: &'static str,
    },
    /// The queue is not removed, because it has jobs, schedules or bindings.
    #[error(
        "queue {queue:?} is not empty: it has {jobs} jobs, {schedules} schedules enqueue in it, and {bindings} bindings of topics lead to it: use `Queue::obliterate` to remove all of it"
    )]
    #[non_exhaustive]
    QueueNotEmpty {
        /// The queue.
        queue: String,
        /// Its jobs in every state, and its rows in the [quarantine](crate::Quarantine).
        jobs: u64,
        /// The schedules that enqueue in it.
        schedules: u64,
        /// The bindings of [topics](crate::Topic) that lead to it. An [alternate queue](crate::TopicSettings::alternate) counts as
        /// one.
        bindings: u64,
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
    /// The worker was stopped, or the queue was shut down. The queue may have another worker.
    #[error("this worker of queue {queue:?} was stopped: use the handle of the one that followed it")]
    #[non_exhaustive]
    WorkerStopped {
        /// The queue.
        queue: String,
    },
    /// The lease of a job has ended: the job waits again, is held by another lease, or has ended.
    #[error("the lease {id} has ended, or there was none: take the job again")]
    #[non_exhaustive]
    LeaseEnded {
        /// The lease: see [`TakenId`](crate::TakenId).
        id: String,
    },
    /// A handler needs shared data that the worker was not given.
    #[error("the handler of kind {kind:?} takes Data<{data}>, but the worker has none: add it with `.data(...)`")]
    #[non_exhaustive]
    MissingData {
        /// The kind of the handler.
        kind: String,
        /// The type that it needs.
        data: &'static str,
    },
    /// A plugin was refused.
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
    #[error("rate limited: the next token is available in {retry_in:?}")]
    #[non_exhaustive]
    RateLimited {
        /// How long until there is a token.
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

    /// The job would have too many steps.
    pub(crate) fn too_many_steps(id: JobId) -> Self {
        Self::TooManySteps { id, steps_max: STEPS_MAX, bytes_max: STEP_BYTES_MAX }
    }

    /// The system could not start a thread.
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

    /// The error with which the closure of a transaction has failed, if that is an `E`.
    ///
    /// A closure returns its own errors as boxed errors; `?` does that. Errors of the queue that the closure passes on, such
    /// as [`Error::QueueFull`], are found as an `E` of the type [`Error`](Self). A text that was made an error with `into()` has no
    /// type that can be named: it is the [source](std::error::Error::source).
    ///
    /// # Errors
    /// This error itself, if it is another one, or if the closure failed with another type of error.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// #[derive(Debug, PartialEq)]
    /// enum Refused {
    ///     SoldOut { left: u64 },
    /// }
    /// # impl std::fmt::Display for Refused {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("refused") }
    /// # }
    /// impl std::error::Error for Refused {}
    ///
    /// async fn buy(pond: &Millpond) -> Result<Result<Enqueued, Refused>, Error> {
    ///     let bought = pond.transaction(|tx| {
    ///         let left = 0; // read from a table of the application
    ///         if left == 0 {
    ///             return Err(Refused::SoldOut { left }.into());
    ///         }
    ///         Ok(tx.enqueue("billing", Charge { order: 7 })?)
    ///     });
    ///     match bought.await {
    ///         Ok(id) => Ok(Ok(id)),
    ///         Err(error) => Ok(Err(error.aborted()?)),
    ///     }
    /// }
    /// # with_pond(async |pond| {
    /// assert_eq!(buy(&pond).await?, Err(Refused::SoldOut { left: 0 }));
    /// # Ok(()) });
    /// ```
    pub fn aborted<E: std::error::Error + 'static>(self) -> Result<E, Self> {
        match self {
            Self::Aborted { source } => match source.downcast() {
                Ok(error) => Ok(*error),
                Err(source) => Err(Self::Aborted { source }),
            },
            other => Err(other),
        }
    }

    /// [`aborted`](Self::aborted) by reference: the error with which the closure of a transaction has failed, if that is an
    /// `E`.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let failed = pond.transaction(|_| Ok("seven".parse::<u64>()?)).await.unwrap_err();
    /// assert!(failed.aborted_ref::<std::num::ParseIntError>().is_some());
    /// assert!(failed.aborted_ref::<std::io::Error>().is_none());
    /// # Ok(()) });
    /// ```
    pub fn aborted_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Aborted { source } => source.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the disk has failed, so that other commands would fail too.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::StorageFull | Self::Io { .. } | Self::OutcomeUnknown { .. })
    }

    /// Whether the file could not be read or written, independently of the call.
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

    /// Whether the writer could not write at all. What the engine itself has asked of it is asked again once the file is open
    /// again.
    pub(crate) fn is_of_the_writer(&self) -> bool {
        self.is_of_storage() || matches!(self, Self::Degraded { .. } | Self::Closed)
    }

    /// Whether the same call can succeed later without any change to it. It is false for
    /// [`OutcomeUnknown`](Self::OutcomeUnknown): a second call could make the change twice, unless its jobs have unique keys.
    ///
    /// ```
    /// # use doc_prelude::*;
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
