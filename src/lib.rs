// Links in the README that do not work in rustdoc. Of two definitions of a link, markdown takes the first.
#![doc = "[`on_dead`]: Builder::on_dead"]
#![doc = "[architecture]: https://docs.rs/crate/millpond/latest/source/ARCHITECTURE.md"]
#![doc = "[changelog]: https://docs.rs/crate/millpond/latest/source/CHANGELOG.md"]
#![doc = "[cancelling]: guide::cancelling"]
#![doc = "[codecs]: guide::codecs"]
#![doc = "[coming-from]: guide::coming_from"]
#![doc = "[contributing]: https://docs.rs/crate/millpond/latest/source/CONTRIBUTING.md"]
#![doc = "[command-line]: guide::command_line"]
#![doc = "[dashboard]: guide::dashboard"]
#![doc = "[deployment]: guide::deployment"]
#![doc = "[finding]: guide::finding"]
#![doc = "[first]: https://docs.rs/crate/millpond/latest/source/examples/first/program.rs"]
#![doc = "[first-job]: guide::first_job"]
#![doc = "[flows]: guide::flows"]
#![doc = "[guarantees]: guide::guarantees"]
#![doc = "[guest-examples]: https://docs.rs/millpond-guest"]
#![doc = "[guest-sdk]: https://docs.rs/millpond-guest"]
#![doc = "[guide]: guide::introduction"]
#![doc = "[kinds]: guide::kinds"]
#![doc = "[limits]: guide::limits"]
#![doc = "[logging]: guide::logging"]
#![doc = "[machines]: guide::machines"]
#![doc = "[metrics]: guide::metrics"]
#![doc = "[order]: guide::order"]
#![doc = "[performance]: https://docs.rs/crate/millpond/latest/source/docs/performance.md"]
#![doc = "[picture]: https://docs.rs/crate/millpond/latest/source/docs/guide/src/dashboard/overview-wide-light.png"]
#![doc = "[plugins]: guide::plugins"]
#![doc = "[rates]: guide::rates"]
#![doc = "[retries]: guide::retries"]
#![doc = "[schedules]: guide::schedules"]
#![doc = "[storage-format]: guide::storage_format"]
#![doc = "[streams]: guide::streams"]
#![doc = "[testing]: guide::testing"]
#![doc = "[topics]: guide::topics"]
#![doc = "[transactions]: guide::transactions"]
#![doc = "[unique]: guide::unique"]
#![doc = ""]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Plugins need the compiler that wasmtime needs, which is newer than `rust-version`.
#![cfg_attr(feature = "wasm", allow(clippy::incompatible_msrv))]
// The sandbox maps code that it has compiled itself back into memory: one call, in one module that says why.
#![cfg_attr(not(feature = "wasm"), forbid(unsafe_code))]
#![cfg_attr(feature = "wasm", deny(unsafe_code))]

mod alarms;
mod builder;
#[cfg(feature = "dashboard")]
pub mod dashboard;
mod dead_letters;
mod error;
mod events;
mod executor;
mod flows;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(doc)]
pub mod guide;
mod handler;
mod inspect;
mod job;
mod links;
mod metrics;
mod millpond;
mod quarantine;
mod queue;
mod runtime;
mod scheduler;
mod schedules;
mod selection;
mod storage;
mod streams;
mod sync;
mod taker;
pub mod testing;
mod text;
mod time;
mod topics;
mod transaction;
mod worker;
mod writer;

// The public interface is:
pub use alarms::{Alarm, AlarmChange};
pub use builder::Builder;
pub use dead_letters::{DeadLetters, Pace};
#[cfg(feature = "wasm")]
pub use error::PluginError;
pub use error::{BoxError, Error};
pub use events::{Event, EventStream, Events, Missed};
#[cfg(feature = "wasm-http")]
pub use executor::Allow;
#[cfg(feature = "wasm")]
pub use executor::{
    AppendGrant, EnqueueGrant, Grant, Plugin, PluginHandle, PluginImport, PluginInfo, PluginLimits, PublishGrant,
};
pub use flows::Flows;
pub use handler::{
    Batch, BatchHandler, BlockingHandler, Context, Data, FromContext, Handler, IntoVerdicts, Job, Jobs, Next,
    NextBlocking, Step, Verdicts,
};
#[cfg(feature = "wasm")]
pub use inspect::PluginStatus;
pub use inspect::{
    Counts, Cursor, Explanation, GroupInfo, GroupPage, JobFilter, JobInfo, LimitInfo, Page, ParseCursorError,
    ProcessInfo, StorageInfo,
};
#[cfg(feature = "cron")]
pub use job::Cron;
#[cfg(feature = "lz4")]
pub use job::Lz4;
pub use job::{
    Aging, Appended, AttemptError, AttemptLog, Backoff, Binding, CancelOutcome, Capacity, Circuit, CircuitBreaker,
    Codec, ConsumerInfo, DeadJob, Delivery, Dependency, EnqueueStatus, Enqueued, EntryOf, EntryOrder, Every,
    FailedAttempt, Failure, FailureKind, FlowCounts, FlowCreated, FlowDraft, FlowEdge, FlowGraph, FlowInfo, FlowJob,
    FlowNode, FlowNodeKind, FlowSignal, FlowState, GroupPolicy, Handled, HasOutput, HasQueue, IntoOutcome, JobId,
    JobPatch, Keep, Kind, KindOptions, LogLine, Matched, Misfire, NewJob, NodeState, OnFailure, Outcome, Overlap,
    Overrides, ParseJobIdError, ParsePluginHashError, Payload, PayloadCodec, PayloadError, PluginHash, Priority,
    Progress, Published, QueueSettings, Rate, RateOverride, Recipient, Retention, Retry, RunNumber, Schedule,
    SchedulePatch, Scheduled, ScheduledFor, Start, State, StepInfo, StepState, StreamInfo, StreamSettings, TopicInfo,
    TopicSettings, Unique, When, WhenFull, WorkerSettings,
};
pub use links::{LinkDirection, LinkGuard, LinkHandle, LinkInfo, LinkState};
pub use metrics::MetricsSnapshot;
pub use millpond::Millpond;
pub use quarantine::{Quarantine, QuarantinedRow};
pub use queue::{Obliterated, Queue, RateHandle};
pub use runtime::{Commit, Stopping};
pub use schedules::{ScheduleInfo, Schedules};
pub use selection::{BulkProgress, Selection};
/// The version of redb that this version of Millpond uses: for the types of an application's own tables.
pub use storage::redb_types::redb;
pub use storage::{Backup, Compacted, FileIdentity, Verification};
pub use streams::{Consumer, ConsumerBuilder, Entry, Stream, Tail};
pub use taker::{InvalidTakenId, Taken, TakenId, Taker};
pub use text::printable;
pub use time::{Clock, SystemClock, Timestamp};
pub use topics::Topic;
pub use transaction::{Transaction, WriteGuard};
pub use worker::{Worker, WorkerBuilder};
