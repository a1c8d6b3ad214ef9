//! The only room (with `transaction.rs`) that names redb: what is where in the file, and what changes together.
//!
//! Refuses to decide: which job runs, what follows an attempt and when to commit are decided elsewhere.
//!
//! It has floors, each of which names only those before it: `file` (the file and its blocks), `rows` (tables and rows as
//! bytes), `life` (what happens to a job), `streams` (entries and consumers), `read` (queries), `repair` (damage and crashes), `open` (the open file).

mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod life;
mod open;
mod read;
mod repair;
mod rows;
mod streams;

#[cfg(test)]
mod tests;

pub(crate) use file::opening::Opening;
#[cfg(feature = "wasm")]
pub(crate) use file::regular::open_regular;
pub(crate) use life::claims::{Claim, claim_in, repeated_in};
pub(crate) use life::ended::SweepRoom;
pub(crate) use life::expiring::Expiring;
pub(crate) use life::flows::{Created, Signalled};
pub(crate) use life::groups::row::HeadAt;
pub(crate) use life::kept::{StateWrite, Usage};
pub(crate) use life::removal::Removal;
pub(crate) use life::room::{Share, Shares};
pub(crate) use life::schedules::{FiringRoom, StoredSchedule, define};
pub(crate) use life::steering::Target;
pub use life::verifier::Verification;
pub(crate) use life::waiting::Stored;
pub(crate) use life::{Move, NewHome, OldHome};
pub use open::compact::Compacted;
pub use open::copy::Backup;
pub(crate) use open::copy::Copying;
pub use open::identity::FileIdentity;
pub(crate) use open::store::Store;
pub(crate) use read::found::Found;
pub(crate) use read::groups::ListedGroup;
pub(crate) use read::listing::{Direction, ScanCursor, ScanFrom, ScanMost, Source};
pub(crate) use read::pages::WindowPage;
pub(crate) use read::streams::ReadEntry;
pub(crate) use redb::WriteTransaction as RawTransaction;
pub(crate) use repair::rebuild::put_right;
pub(crate) use repair::recovery::{Recovered, recover};
pub(crate) use repair::verify::verify;
pub(crate) use rows::aside::{Aside, Damage};
pub(crate) use rows::batch::{Batch, BatchLimits, Counters, Sealed};
pub(crate) use rows::catalog::{Catalog, NamesInUse, Number};
pub(crate) use rows::expiry::{NextExpiry, NotedExpiries};
pub(crate) use rows::fault::{Fault, unless_damaged};
pub(crate) use rows::flow_times::NotedFlows;
pub(crate) use rows::place::{KnownQueue, Location, Place};
pub(crate) use rows::prepared::{KeyTimes, NO_NUMBER, NewJobNames, Prepared};
pub(crate) use rows::reader::Reader;
pub(crate) use rows::schedule_times::NotedSchedules;
pub(crate) use rows::sections::len_as_job;
pub(crate) use rows::start_mark::StartMark;
pub(crate) use rows::stream_rows::StreamNews;
pub(crate) use rows::tally::Tally;
pub(crate) use streams::PreparedEntry;

/// redb's types that stand in the public interface: what an application shares with the queue.
pub(crate) mod redb_types {
    pub use ::redb;
    pub use redb::backends::InMemoryBackend;
    pub use redb::{Database, ReadTransaction, StorageBackend};
}
