//! Streams: logs of entries, which consumers read. Rules and types; what of them is in the file is in `storage/streams/`.

mod consumer;
mod cursor;
mod entry;
mod info;
mod new_entry;
mod settings;

pub(crate) use consumer::{ConsumerRow, Feeding, consumer_queue};
pub use consumer::{EntryOrder, Start};
pub(crate) use cursor::Cursor;
pub use entry::{Appended, EntryOf};
pub(crate) use entry::{EntryPlace, EntryTag, Passed};
pub use info::{ConsumerInfo, StreamInfo};
pub(crate) use new_entry::NewEntry;
pub(crate) use settings::StreamRow;
pub use settings::StreamSettings;

/// The number of a stream in keys. Its name is stored only in its row.
pub(crate) type StreamId = u64;
