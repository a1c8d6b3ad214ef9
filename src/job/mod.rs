//! Words and rules about one job: what it is called, what is kept of it, what follows an attempt.
//!
//! Pure: no I/O, no clock, no threads. Refuses to know where a job is stored or what runs it.

mod aging;
mod attempt;
mod attempt_log;
mod call_size;
mod caller;
mod cancel_outcome;
mod change;
mod checked;
mod circuit_breaker;
mod circuit_step;
mod codec;
mod coded_text;
mod coder;
#[cfg(feature = "cron")]
mod cron;
mod dead_job;
#[cfg(feature = "derive")]
mod derive;
mod enqueue_hook;
mod enqueued;
mod explained_deaths;
mod failed_attempt;
mod firing;
mod flow;
mod id;
mod job_patch;
mod job_step;
mod key_options;
mod kind_options;
mod kind_traits;
mod kinds;
mod labels;
pub(crate) mod life;
mod lineage;
#[cfg(feature = "lz4")]
mod lz4;
mod name;
mod new_job;
mod outcome;
mod overrides;
mod payload;
mod payload_codec;
mod payload_error;
mod plugin_hash;
mod priority;
mod progress;
mod queue_settings;
mod rate;
mod read_back;
mod record;
mod retry;
mod run_number;
mod schedule;
mod schedule_patch;
mod schedule_policy;
mod schedule_row;
mod scheduled_for;
mod state;
mod stored_payload;
mod stream;
mod suspicion;
mod topic;
mod undo;
mod unique;
mod waiting;
mod withdraw;

pub use aging::Aging;
pub use attempt::{AttemptError, FailureKind};
pub use attempt_log::{AttemptLog, LogLine};
pub use cancel_outcome::CancelOutcome;
pub use circuit_breaker::{Circuit, CircuitBreaker};
pub(crate) use circuit_breaker::{CircuitRow, Verdict};
pub(crate) use circuit_step::{CircuitStep, Opened};
pub use codec::Codec;
#[cfg(feature = "cron")]
pub use cron::Cron;
pub use dead_job::DeadJob;
#[cfg(feature = "derive")]
pub use derive::Kind;
pub(crate) use enqueue_hook::EnqueueHooks;
pub use enqueued::{EnqueueStatus, Enqueued};
pub use failed_attempt::FailedAttempt;
pub(crate) use firing::{SET_BACK_MIN, is_set_back};
#[cfg(test)]
pub(crate) use flow::FlowEnd;
pub(crate) use flow::{
    Callback, Dep, Dependent, FLOW_PAGE_BYTES, FlowPlace, FlowRow, NewFlow, NewNode, NewWhat, Node, NodeEnd, NodeRef,
    Told, What,
};
pub use flow::{
    Dependency, FlowCounts, FlowCreated, FlowDraft, FlowEdge, FlowGraph, FlowInfo, FlowJob, FlowNode, FlowNodeKind,
    FlowSignal, FlowState, NodeState, OnFailure,
};
pub(crate) use id::{IdMap, IdSet};
pub use id::{JobId, ParseJobIdError};
pub use job_patch::JobPatch;
pub(crate) use job_patch::check_replacement;
pub(crate) use job_step::{STEP_BYTES_MAX, STEPS_MAX, StepRow, StepWhat, Suspended, Suspension, Undoing};
pub use job_step::{StepInfo, StepState};
pub use kind_options::KindOptions;
pub use kind_traits::{HasOutput, HasQueue};
#[cfg(feature = "lz4")]
pub use lz4::Lz4;
pub use new_job::NewJob;
pub use outcome::{Failure, Handled, IntoOutcome, Outcome};
pub(crate) use overrides::Steered;
pub use overrides::{Overrides, RateOverride, WorkerSettings};
pub use payload::{Kind, Payload};
pub use payload_codec::PayloadCodec;
pub use payload_error::PayloadError;
pub use plugin_hash::{ParsePluginHashError, PluginHash};
pub use priority::Priority;
pub use progress::Progress;
pub use queue_settings::{Capacity, GroupPolicy, Keep, QueueSettings, Retention, WhenFull};
pub use rate::Rate;
pub use retry::{Backoff, Retry};
pub use run_number::RunNumber;
pub use schedule::{Every, Schedule, Scheduled, When};
pub use schedule_patch::SchedulePatch;
pub use schedule_policy::{Misfire, Overlap};
pub use scheduled_for::ScheduledFor;
pub use state::State;
pub use stream::{Appended, ConsumerInfo, EntryOf, EntryOrder, Start, StreamInfo, StreamSettings};
pub(crate) use stream::{
    ConsumerRow, Cursor, EntryPlace, EntryTag, Feeding, NewEntry, Passed, StreamId, StreamRow, consumer_queue,
};
pub use topic::{Binding, Delivery, Matched, Published, Recipient, TopicInfo, TopicSettings};
pub use unique::Unique;

pub(crate) use attempt::{AT_MOST_ONCE, REASON_BYTES_MAX};
#[cfg(test)]
pub(crate) use attempt_log::StoredReport;
pub(crate) use attempt_log::{Reported, Reports, StoredLog};
pub(crate) use call_size::{CallSize, ENQUEUE_BYTES_MAX, ENQUEUE_JOBS_MAX};
pub(crate) use caller::Caller;
pub(crate) use change::{BucketKey, BucketState, Change, EndedJob, Order, ReadyJob, Refill};
pub(crate) use checked::ReadBack;
pub(crate) use coder::{Coder, EndTexts};
pub(crate) use explained_deaths::ExplainedDeaths;
pub(crate) use key_options::KeyOptions;
pub(crate) use kinds::{Kinds, OTHER_KINDS};
pub(crate) use labels::Labels;
pub(crate) use life::{AttemptNumber, Ending, Patch, Transition};
pub(crate) use lineage::Lineage;
#[cfg(feature = "wasm")]
pub(crate) use name::KEY_BYTES_MAX;
pub(crate) use name::{check as check_name, check_key};
pub(crate) use new_job::{Expires, Options, StartTime};
pub(crate) use outcome::ClassedError;
pub(crate) use read_back::read_back;
pub(crate) use record::{Expiry, Extra, KindId, QueueId, Record};
pub(crate) use schedule::check_schedule_name;
pub(crate) use schedule_patch::DefinitionPatch;
pub(crate) use schedule_row::{Definition, JobTemplate, ScheduleRow};
#[cfg(test)]
pub(crate) use schedule_row::{Plan, Progress as ScheduleProgress, Recurrence};
pub(crate) use stored_payload::StoredPayload;
pub(crate) use suspicion::{Suspect, Trial, Witness, blamed, dead_by};
pub(crate) use topic::{
    BINDINGS_MAX, BindingRow, Destination, Routed, RoutingKey, TOPICS_MAX, TopicRoutes, TopicRow, Topics,
};
#[cfg(test)]
pub(crate) use undo::Undo;
pub(crate) use undo::UndoneEnd;
pub(crate) use waiting::{AgedFrom, AgedPage, AgedRefill, AgedRow, Mark, Marks};
pub(crate) use withdraw::{Withdraw, Withdrawn};
