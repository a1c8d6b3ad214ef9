//! Words and rules about one job: what it is called, what is kept of it, what follows an attempt.
//!
//! Pure: no I/O, no clock, no threads. Refuses to know where a job is stored or what runs it.

mod attempt;
mod call_size;
mod caller;
mod change;
mod checked;
mod id;
pub(crate) mod life;
mod lineage;
mod name;
mod new_job;
mod outcome;
mod payload;
mod payload_error;
mod plugin_hash;
mod priority;
mod queue_settings;
mod rate;
mod read_back;
mod record;
mod retry;
mod run_number;
mod state;
mod suspicion;

pub use attempt::{AttemptError, FailureKind};
pub(crate) use id::{IdMap, IdSet};
pub use id::{JobId, ParseJobIdError};
pub use new_job::NewJob;
pub use outcome::{Failure, Handled, IntoOutcome, Outcome};
pub use payload::{Codec, Kind, Payload};
pub use payload_error::PayloadError;
pub use plugin_hash::{ParsePluginHashError, PluginHash};
pub use priority::Priority;
pub use queue_settings::{Capacity, GroupPolicy, Keep, QueueSettings, Retention, WhenFull};
pub use rate::Rate;
pub use retry::{Backoff, Retry};
pub use run_number::RunNumber;
pub use state::State;

pub(crate) use attempt::{AT_MOST_ONCE, REASON_BYTES_MAX};
pub(crate) use call_size::{CallSize, ENQUEUE_BYTES_MAX, ENQUEUE_JOBS_MAX};
pub(crate) use caller::Caller;
pub(crate) use change::{BucketKey, BucketState, Change, Order, ReadyJob, Refill};
pub(crate) use checked::ReadBack;
pub(crate) use life::{AttemptNumber, Ending, Patch, Transition};
pub(crate) use lineage::Lineage;
#[cfg(feature = "wasm")]
pub(crate) use name::KEY_BYTES_MAX;
pub(crate) use name::{check as check_name, check_key};
pub(crate) use new_job::{Expires, Options, StartTime, UNIQUE_FOR_DEFAULT};
pub(crate) use outcome::ClassedError;
pub(crate) use read_back::read_back;
pub(crate) use record::{Expiry, Extra, KindId, QueueId, Record};
pub(crate) use suspicion::{Suspect, Trial, Witness, culprit, dead_by};
