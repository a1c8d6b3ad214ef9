//! Batch handlers: functions that handle many jobs with one call.

mod erased;
mod function;
mod jobs;
mod settings;
mod verdicts;

pub use function::BatchHandler;
pub use jobs::Jobs;
pub use settings::Batch;
pub use verdicts::{IntoVerdicts, Verdicts};

pub(super) use erased::BatchRun;
pub(crate) use erased::{BatchCall, BoxedBatch};
