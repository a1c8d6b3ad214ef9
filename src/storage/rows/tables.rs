//! Every table of ours, by the question it answers. The layout is documented in
//! `docs/storage-format.md`; a change here is a change of the schema version.

use crate::storage::rows::fault::Fault;
use crate::storage::rows::keys::Numbers;
use crate::storage::rows::runs::Arriving;
use crate::storage::rows::untrusted::{AsideValue, HeadValue, Text};
use redb::{ReadOnlyTable, ReadTransaction, Table, TableDefinition, WriteTransaction};

/// Ready without a group, in dispatch order: (queue, priority, id) -> record.
pub(crate) type ReadyKey = (u32, u8, u64);
/// Due later: (queue, time line, at, id) -> record, or a pointer to a group's member.
pub(crate) type DelayedKey = (u32, u8, u64, u64);
/// Waiting in a group: (queue, group, parked, place in line, id) -> record. The place in line is
/// the id, except for a job that came back from the dead letters: it stands at the tail.
pub(crate) type MemberKey<'a> = (u32, &'a str, u8, u64, u64);
/// Ready heads of groups, in dispatch order: (queue, priority, position) -> (id, place in line, group).
pub(crate) type HeadKey = (u32, u8, u64);
/// Failed for good, oldest first: (queue, at, id) -> record. `at` lies on the age line.
pub(crate) type DeadKey = (u32, u64, u64);
/// Ended otherwise and kept, oldest first: (queue, state, at, id) -> record. `at` lies on the age line.
pub(crate) type FinishedKey = (u32, u8, u64, u64);
/// Unique keys whose jobs have ended, by when they are free: (until, queue, key). `until` lies on the age line.
pub(crate) type UniqueEndedKey = (u64, u32, &'static str);
/// Waiting jobs that have not started, by when they expire: (time line, at, queue, id).
pub(crate) type ExpiringKey = (u8, u64, u32, u64);

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $value:ty, $stored:literal;)*) => {
        $($(#[$doc])* #[allow(non_upper_case_globals)]
        const $name: TableDefinition<'static, $key, $value> = TableDefinition::new(concat!("millpond/", $stored));)*

        /// The tables of one write transaction, each opened when it is first needed.
        pub(crate) struct Tables<'t> {
            txn: &'t WriteTransaction,
            /// Rows of `ready` that are not in its tree yet.
            pub(in crate::storage) arriving: Arriving,
            $($name: Option<Table<'t, $key, $value>>,)*
        }

        impl<'t> Tables<'t> {
            pub fn new(txn: &'t WriteTransaction) -> Self {
                Self { txn, arriving: Arriving::default(), $($name: None,)* }
            }

            /// Creates what is missing.
            pub fn create_all(&mut self) -> Result<(), Fault> {
                $(self.$name()?;)*
                Ok(())
            }

            $(pub fn $name(&mut self) -> Result<&mut Table<'t, $key, $value>, Fault> {
                if self.$name.is_none() {
                    self.$name = Some(self.txn.open_table($name)?);
                }
                Ok(self.$name.as_mut().expect("opened above"))
            })*
        }

        /// The tables of one read transaction.
        pub(crate) struct ReadTables<'t> {
            txn: &'t ReadTransaction,
        }

        impl<'t> ReadTables<'t> {
            pub fn new(txn: &'t ReadTransaction) -> Self {
                Self { txn }
            }

            $(pub fn $name(&self) -> Result<ReadOnlyTable<$key, $value>, Fault> {
                Ok(self.txn.open_table($name)?)
            })*
        }
    };
}

tables! {
    /// What concerns the whole file: name -> value.
    meta: &'static str => &'static [u8], "meta";
    /// Each queue's name, settings and counts.
    queues: u32 => &'static [u8], "queues";
    /// Each kind's name.
    kinds: u32 => Text, "kinds";
    ready_rows: Numbers<ReadyKey> => &'static [u8], "ready";
    delayed: Numbers<DelayedKey> => &'static [u8], "delayed";
    members: MemberKey<'static> => &'static [u8], "members";
    heads: Numbers<HeadKey> => HeadValue, "heads";
    /// Each group that has members or is paused: (queue, group) -> row.
    groups: (u32, &'static str) => &'static [u8], "groups";
    /// Where a job lies that is not in `ready`: id -> location.
    index: u64 => &'static [u8], "index";
    /// Which jobs a handler has, as far as it is durable: id -> mark.
    running: u64 => &'static [u8], "running";
    dead_letters: Numbers<DeadKey> => &'static [u8], "dead_letters";
    finished: Numbers<FinishedKey> => &'static [u8], "finished";
    /// Token buckets: (queue, group or nothing) -> state.
    rates: (u32, &'static str) => &'static [u8], "rates";
    /// Which job holds a unique key: (queue, key) -> holder.
    unique: (u32, &'static str) => &'static [u8], "unique";
    unique_ended: UniqueEndedKey => (), "unique_ended";
    expiring: Numbers<ExpiringKey> => (), "expiring";
    /// What plugins keep: (plugin, key) -> value.
    plugin_state: (&'static str, &'static str) => &'static [u8], "plugin_state";
    /// How much each of them keeps: plugin -> keys and bytes.
    plugin_usage: &'static str => &'static [u8], "plugin_usage";
    /// Rows that could not be read: number -> (table, key, value).
    quarantine: u64 => AsideValue, "quarantine";
}
