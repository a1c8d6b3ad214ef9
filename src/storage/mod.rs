//! The only room (with `transaction.rs`) that names redb: what lies where in the file, and the
//! rules that keep records and indexes in step.
//!
//! Refuses to decide: which job runs, what follows an attempt, when to commit is said elsewhere.

mod attached;
mod batch;
mod catalog;
mod codec;
mod compact;
mod copy;
mod delayed;
mod ended;
mod expiring;
mod fault;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod groups;
mod keys;
mod lock;
mod marks;
mod migrations;
mod new_file;
mod overlay;
mod place;
mod plugin_state;
mod quarantine;
mod queries;
mod ready;
mod recovery;
mod repair;
mod runs;
mod schema;
mod sections;
mod settings;
mod store;
mod tables;
mod tables_ext;
mod taken;
mod unique;
mod untrusted;
mod verify;
mod waiting;
mod watched;

#[cfg(test)]
mod tests;

pub(crate) use batch::{Batch, BatchLimits, Counters, Sealed};
pub(crate) use catalog::{NamesInUse, Number};
pub(crate) use compact::Compacted;
pub use copy::Backup;
pub(crate) use copy::Copying;
pub(crate) use ended::SweepRoom;
pub(crate) use expiring::{Expiring, NextExpiry, NotedExpiries};
pub(crate) use fault::{Fault, unless_damaged};
#[cfg(feature = "wasm")]
pub(crate) use file::open_regular;
pub(crate) use groups::HeadAt;
pub(crate) use marks::StartMark;
pub(crate) use place::{KnownQueue, Location, Place};
#[cfg(feature = "wasm")]
pub(crate) use plugin_state::{StateWrite, Usage, added};
pub(crate) use quarantine::{Aside, Damage};
pub(crate) use queries::{Found, Reader, ScanCursor, ScanMost, WindowPage};
pub(crate) use recovery::{Recovered, recover};
pub(crate) use redb::WriteTransaction as RawTransaction;
pub(crate) use settings::Tally;
pub use settings::{Capacity, GroupPolicy, Keep, QueueSettings, Retention, WhenFull};
pub(crate) use store::{Opening, Store};
pub(crate) use unique::key_holder;
pub use verify::Verification;
pub(crate) use verify::{put_right, verify};
pub(crate) use waiting::{NO_NUMBER, NewJobNames, Prepared};

/// redb's types that stand in the public interface: what an application shares with the queue.
pub(crate) mod redb_types {
    pub use redb::backends::InMemoryBackend;
    pub use redb::{Database, ReadTransaction, StorageBackend};
}
