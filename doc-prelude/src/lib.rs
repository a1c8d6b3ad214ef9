//! The hidden lines that the examples in Millpond's documentation share: imports, payload types, and a pond to run in.
//!
//! An example imports everything with `use doc_prelude::*`, and runs its visible lines inside of [`with_pond`],
//! [`with_clock`] or [`block_on`]. An example that shows its own imports or types shows all that it needs.

pub use std::time::Duration;

pub use millpond::testing::{self, ManualClock, drain, in_memory};
pub use millpond::*;
pub use redb::{ReadableTable, TableDefinition};
pub use serde::{Deserialize, Serialize};

/// The payload of most examples: charge the customer for an order.
#[derive(Serialize, Deserialize)]
pub struct Charge {
    /// The order's number.
    pub order: u64,
}

impl Kind for Charge {
    const KIND: &'static str = "charge";
}

/// The payload of examples about long jobs: import some files.
#[derive(Serialize, Deserialize)]
pub struct Import {
    /// The paths of the files.
    pub files: Vec<String>,
}

impl Kind for Import {
    const KIND: &'static str = "import";
}

/// The payload of examples about signing up: send a welcome mail.
#[derive(Serialize, Deserialize)]
pub struct Welcome {
    /// The address that the mail goes to.
    pub email: String,
}

impl Kind for Welcome {
    const KIND: &'static str = "welcome";
}

/// The payload codec of the examples: it writes bytes backwards.
pub struct Backwards;

impl PayloadCodec for Backwards {
    fn name(&self) -> &str {
        "backwards"
    }

    fn encode(&self, bytes: bytes::Bytes) -> Result<bytes::Bytes, BoxError> {
        Ok(bytes.iter().rev().copied().collect())
    }

    fn decode(&self, bytes: bytes::Bytes) -> Result<bytes::Bytes, BoxError> {
        self.encode(bytes)
    }
}

/// Runs an example to its end on this thread.
///
/// # Panics
///
/// If the example returns an error.
pub fn block_on(example: impl Future<Output = Result<(), BoxError>>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime for the example");
    runtime.block_on(example).expect("the example returns no error");
}

/// Runs an example with a pond in memory. The pond's clock stands still.
///
/// # Panics
///
/// If the example returns an error.
pub fn with_pond(example: impl AsyncFnOnce(Millpond) -> Result<(), BoxError>) {
    with_clock(async |pond, _| example(pond).await);
}

/// Runs an example with a pond in memory and with its clock, which the example advances by hand.
///
/// # Panics
///
/// If the example returns an error.
pub fn with_clock(example: impl AsyncFnOnce(Millpond, ManualClock) -> Result<(), BoxError>) {
    let clock = ManualClock::new();
    let pond = in_memory(&clock).expect("a pond in memory opens");
    block_on(example(pond, clock));
}

/// Runs an example with an empty storage backend in memory, outside of any async runtime.
///
/// # Panics
///
/// If the example returns an error.
pub fn with_memory(example: impl FnOnce(redb::backends::InMemoryBackend) -> Result<(), BoxError>) {
    example(redb::backends::InMemoryBackend::new()).expect("the example returns no error");
}

/// Runs an example with an empty directory, outside of any async runtime.
///
/// # Panics
///
/// If the example returns an error.
pub fn with_dir(example: impl FnOnce(tempfile::TempDir) -> Result<(), BoxError>) {
    example(tempfile::tempdir().expect("a directory for the example")).expect("the example returns no error");
}

/// Enqueues charges of these orders in the queue "billing", and lets a worker end each as a dead letter with `reason`.
///
/// # Errors
///
/// Those of the pond.
pub async fn dead_letters(
    pond: &Millpond,
    reason: &'static str,
    orders: impl IntoIterator<Item = u64>,
) -> Result<Vec<Enqueued>, Error> {
    pond.worker("billing").handle(move |_: Job<Charge>| async move { Ok(Outcome::dead_letter(reason)) }).start()?;
    let ids = pond.enqueue_many("billing", orders.into_iter().map(|order| Charge { order })).await?;
    drain(pond).await;
    Ok(ids)
}
