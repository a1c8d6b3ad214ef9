//! Words and rules about one job: what it is called, what is kept of it, what follows an attempt.
//!
//! Pure: no I/O, no clock, no threads. Refuses to know where a job is stored or who runs it.

mod attempt;
mod change;
mod id;
mod lineage;
mod name;
mod new_job;
mod outcome;
mod payload;
mod plugin_hash;
mod priority;
mod rate;
mod record;
mod retry;
mod state;
mod suspicion;

pub use attempt::{AttemptError, FailureKind};
pub(crate) use id::{IdMap, IdSet};
pub use id::{JobId, ParseJobIdError};
pub use new_job::NewJob;
pub use outcome::{Failure, Handled, IntoOutcome, Outcome};
pub use payload::{Codec, Kind, Payload};
pub use plugin_hash::PluginHash;
pub use priority::Priority;
pub use rate::Rate;
pub use retry::{Backoff, Retry};
pub use state::State;

pub(crate) use change::{BucketKey, BucketState, Change, Entry, Order, Refill};
pub(crate) use name::check as check_name;
pub(crate) use new_job::{Expiry, Options, Start, UNIQUE_FOR_DEFAULT};
pub(crate) use outcome::ClassedError;
pub(crate) use record::{Extra, KindId, QueueId, Record, RecordRef};
pub(crate) use state::{Attempt, Ending, Next, after, after_crash, completed};
pub(crate) use suspicion::{Suspect, Trial, Witness, culprit};
