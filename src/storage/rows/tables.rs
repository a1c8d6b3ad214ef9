//! All tables of the queue, with their keys and values. `docs/storage-format.md` describes the layout. A change here
//! needs a new schema version.

use crate::storage::rows::fault::Fault;
use crate::storage::rows::keys::Numbers;
use crate::storage::rows::on_demand::OnDemand;
use crate::storage::rows::untrusted::{AsideValue, HeadValue, Text};
use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, Table, TableDefinition, TableHandle, WriteTransaction};

/// Ready without a group, in dispatch order: (queue, priority, id) -> record.
pub(crate) type ReadyKey = (u32, u8, u64);
/// Due later: (queue, time line, at, id) -> record, or a pointer to a group's member.
pub(crate) type DelayedKey = (u32, u8, u64, u64);
/// Waiting in a group: (queue, group, parked, place in the group, id) -> record. The place is
/// the id, except for a redriven job, which is at the end.
pub(crate) type MemberKey<'a> = (u32, &'a str, u8, u64, u64);
/// Ready heads of groups, in dispatch order: (queue, priority, position) -> (id, place in the group, group).
pub(crate) type HeadKey = (u32, u8, u64);
/// Dead letters, oldest first: (queue, at, id) -> record. `at` is on the age line.
pub(crate) type DeadKey = (u32, u64, u64);
/// Other ended jobs that are kept, oldest first: (queue, state, at, id) -> record. `at` is on the age line.
pub(crate) type FinishedKey = (u32, u8, u64, u64);
/// Unique keys whose jobs have ended, by the time at which they are free: (until, queue, key). `until` is on the age line.
pub(crate) type UniqueEndedKey = (u64, u32, &'static str);
/// Keys that are held for a time, by when they are free: (until, queue, kind of key, key). `until` is on the age line.
pub(crate) type TimedKeyUntil = (u64, u32, u8, &'static str);
/// Waiting jobs that have not started, by when they expire: (time line, at, queue, id).
pub(crate) type ExpiringKey = (u8, u64, u32, u64);

/// Which jobs have a tag: (tag, queue, id).
pub(crate) type TagKey = (&'static str, u32, u64);

/// When something of a flow is due: (time line, at, flow, node; 0 for the flow itself).
pub(crate) type FlowDueKey = (u8, u64, u64, u64);

/// When schedules are due: (time line, at, name).
pub(crate) type ScheduleDueKey = (u8, u64, &'static str);

/// New rows of `ready`, kept until the batch is sealed or the table is read: then `runs.rs` writes them.
#[derive(Default)]
pub(in crate::storage) struct Arriving(pub Vec<(ReadyKey, Bytes)>);

impl Arriving {
    pub fn push(&mut self, key: ReadyKey, row: Bytes) {
        self.0.push((key, row));
    }

    pub fn reserve(&mut self, rows: usize) {
        self.0.reserve(rows);
    }
}

macro_rules! tables {
    (
        always { $($(#[$doc:meta])* $name:ident: $key:ty => $value:ty, $stored:literal;)* }
        on_demand { $($(#[$rare_doc:meta])* $rare:ident, $rare_if_used:ident: $rare_key:ty => $rare_value:ty, $rare_stored:literal;)* }
    ) => {
        $($(#[$doc])* #[allow(non_upper_case_globals)]
        const $name: TableDefinition<'static, $key, $value> = TableDefinition::new(concat!("millpond/", $stored));)*

        $($(#[$rare_doc])* #[allow(non_upper_case_globals)]
        const $rare: TableDefinition<'static, $rare_key, $rare_value> = TableDefinition::new(concat!("millpond/", $rare_stored));)*

        /// The tables of one write transaction, each opened when it is first needed.
        pub(crate) struct Tables<'t> {
            txn: &'t WriteTransaction,
            /// Rows of `ready` that are not in its tree yet.
            pub(in crate::storage) arriving: Arriving,
            $($name: Option<Table<'t, $key, $value>>,)*
            $($rare: Option<Table<'t, $rare_key, $rare_value>>,)*
        }

        impl<'t> Tables<'t> {
            pub fn new(txn: &'t WriteTransaction) -> Self {
                Self { txn, arriving: Arriving::default(), $($name: None,)* $($rare: None,)* }
            }

            /// Creates what is missing of the tables that every file has.
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

            $(/// Creates the table if the file does not have it.
            pub fn $rare(&mut self) -> Result<&mut Table<'t, $rare_key, $rare_value>, Fault> {
                if self.$rare.is_none() {
                    self.$rare = Some(self.txn.open_table($rare)?);
                }
                Ok(self.$rare.as_mut().expect("opened above"))
            }

            /// The same, if the file has the table.
            #[allow(dead_code, reason = "not needed of every table")]
            pub fn $rare_if_used(&mut self) -> Result<Option<&mut Table<'t, $rare_key, $rare_value>>, Fault> {
                let is_there = self.$rare.is_some() || has_table(self.txn, $rare.name())?;
                if is_there { self.$rare().map(Some) } else { Ok(None) }
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

            /// Whether the file has every table that each file of this build has. A build of the same schema version may have added one.
            pub fn are_complete(&self) -> Result<bool, Fault> {
                $(match self.$name() {
                    Ok(_) => {}
                    Err(Fault::Redb(redb::Error::TableDoesNotExist(_))) => return Ok(false),
                    Err(fault) => return Err(fault),
                })*
                Ok(true)
            }

            $(pub fn $name(&self) -> Result<ReadOnlyTable<$key, $value>, Fault> {
                Ok(self.txn.open_table($name)?)
            })*

            $(pub fn $rare(&self) -> Result<OnDemand<$rare_key, $rare_value>, Fault> {
                OnDemand::open(self.txn, $rare)
            })*
        }
    };
}

// The rows of all tables are in one tree, of which each commit writes a part: so a file has a table of tags, topics or streams only if it
// has or had any.
tables! {
    always {
        /// What concerns the whole file: name -> value.
        meta: &'static str => &'static [u8], "meta";
        /// Each queue's name, settings and counts.
        queues: u32 => &'static [u8], "queues";
        /// What an operator has set in place of the limits of a queue's worker: queue -> row.
        overrides: u32 => &'static [u8], "overrides";
        /// Each kind's name.
        kinds: u32 => Text, "kinds";
        ready_rows: Numbers<ReadyKey> => &'static [u8], "ready";
        delayed: Numbers<DelayedKey> => &'static [u8], "delayed";
        members: MemberKey<'static> => &'static [u8], "members";
        heads: Numbers<HeadKey> => HeadValue, "heads";
        /// Each group that has members or is paused: (queue, group) -> row.
        groups: (u32, &'static str) => &'static [u8], "groups";
        /// The place of each job that is not in `ready`: id -> location.
        index: u64 => &'static [u8], "index";
        /// Which jobs a handler has, as far as it is durable: id -> mark.
        running: u64 => &'static [u8], "running";
        dead_letters: Numbers<DeadKey> => &'static [u8], "dead_letters";
        finished: Numbers<FinishedKey> => &'static [u8], "finished";
        /// Token buckets: (queue, group or nothing) -> state.
        rates: (u32, &'static str) => &'static [u8], "rates";
        /// Open circuits: (queue, group or nothing) -> until when.
        circuits: (u32, &'static str) => &'static [u8], "circuits";
        /// Which job holds a unique key: (queue, key) -> holder.
        unique: (u32, &'static str) => &'static [u8], "unique";
        unique_ended: UniqueEndedKey => (), "unique_ended";
        expiring: Numbers<ExpiringKey> => (), "expiring";
        /// Keys that are held for a time, whatever becomes of the job: (queue, kind of key, key) -> job and time.
        timed_keys: (u32, u8, &'static str) => &'static [u8], "timed_keys";
        timed_keys_until: TimedKeyUntil => (), "timed_keys_until";
        /// What plugins keep: (plugin, key) -> value.
        plugin_state: (&'static str, &'static str) => &'static [u8], "plugin_state";
        /// How much each of them keeps: plugin -> keys and bytes.
        plugin_usage: &'static str => &'static [u8], "plugin_usage";
        /// Schedules: name -> what was asked for, and how far it has come.
        schedules: &'static str => &'static [u8], "schedules";
        schedule_due: ScheduleDueKey => (), "schedule_due";
        /// Jobs that wait for others of their flow: (queue, id) -> record.
        blocked: Numbers<(u32, u64)> => &'static [u8], "blocked";
        /// Flows: number -> row.
        flows: u64 => &'static [u8], "flows";
        /// The jobs and signals of flows: (flow, number) -> row.
        flow_nodes: Numbers<(u64, u64)> => &'static [u8], "flow_nodes";
        /// Which node waits for which, for nodes with many dependents: (flow, node, dependent) -> what a failure does.
        flow_edges: Numbers<(u64, u64, u64)> => u8, "flow_edges";
        /// Names of nodes, and of flows as (0, name): (flow, name) -> number.
        flow_names: (u64, &'static str) => u64, "flow_names";
        flow_due: Numbers<FlowDueKey> => (), "flow_due";
        /// Ends of nodes that their dependents were not told of yet, and flows that are being cancelled: (flow, node or 0) -> row.
        flow_untold: Numbers<(u64, u64)> => &'static [u8], "flow_untold";
        /// What handlers have done before they have ended: (id, name) -> row.
        steps: (u64, &'static str) => &'static [u8], "steps";
        /// Rows that could not be read: number -> (table, key, value).
        quarantine: u64 => AsideValue, "quarantine";
    }
    on_demand {
        /// Which jobs have which tags.
        tags, tags_if_used: TagKey => (), "tags";
        /// Streams: name -> row.
        streams, streams_if_used: &'static str => &'static [u8], "streams";
        /// The entries of streams: (stream, offset) -> record.
        entries, entries_if_used: Numbers<(u64, u64)> => &'static [u8], "entries";
        /// The latest entry of each key, of streams that keep only those: (stream, key) -> offset.
        entry_keys, entry_keys_if_used: (u64, &'static str) => u64, "entry_keys";
        /// Consumers of streams: queue -> row.
        consumers, consumers_if_used: u32 => &'static [u8], "consumers";
        /// Topics: name -> settings.
        topics, topics_if_used: &'static str => &'static [u8], "topics";
        /// The bindings of topics: (topic, number) -> row.
        bindings, bindings_if_used: (&'static str, u64) => &'static [u8], "bindings";
    }
}

fn has_table(txn: &WriteTransaction, name: &str) -> Result<bool, Fault> {
    Ok(txn.list_tables()?.any(|table| table.name() == name))
}
