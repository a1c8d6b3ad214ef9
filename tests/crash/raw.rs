//! The rows of a file as redb itself reads them, before the engine's recovery has changed anything.

use std::collections::{BTreeMap, BTreeSet};

use redb::{Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, Value};

use millpond_testkit::{Fault, Image, ON_PURPOSE, SimDisk};

const CACHE_BYTES: usize = 4 << 20;

/// Every row of every table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    pub tables: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Jobs that have not ended.
    pub live: BTreeSet<u64>,
    /// Jobs that have ended and are kept.
    pub ended: BTreeSet<u64>,
    /// Jobs with a start mark.
    pub running: BTreeSet<u64>,
    /// Jobs whose start mark says that they are to be cancelled.
    pub stopping: BTreeSet<u64>,
    /// Jobs that expire unless they start.
    pub expiring: BTreeSet<u64>,
    /// The application's rows: table, key, value.
    pub rows: BTreeMap<(String, u64), u64>,
}

/// What a row says about a job.
#[derive(Clone, Copy)]
enum Says {
    Lives(u64),
    HasEnded(u64),
    Runs(u64),
    Stops(u64),
    Expires(u64),
    Nothing,
}

/// Receives the rows one after the other.
trait Reader {
    fn table(&mut self, name: &str);
    fn row(&mut self, key: &[u8], value: &[u8], says: Says);
    fn app_row(&mut self, key: u64, value: u64);
}

struct Whole {
    name: String,
    dump: Dump,
}

impl Reader for Whole {
    fn table(&mut self, name: &str) {
        self.name = name.to_owned();
        self.dump.tables.entry(name.to_owned()).or_default();
    }

    fn row(&mut self, key: &[u8], value: &[u8], says: Says) {
        let table = self.dump.tables.get_mut(&self.name).expect("named before");
        table.insert(key.to_vec(), value.to_vec());
        match says {
            Says::Lives(id) => self.dump.live.insert(id),
            Says::HasEnded(id) => self.dump.ended.insert(id),
            Says::Runs(id) => self.dump.running.insert(id),
            Says::Stops(id) => self.dump.running.insert(id) && self.dump.stopping.insert(id),
            Says::Expires(id) => self.dump.expiring.insert(id),
            Says::Nothing => false,
        };
    }

    fn app_row(&mut self, key: u64, value: u64) {
        self.dump.rows.insert((self.name.clone(), key), value);
    }
}

/// A checksum of all rows.
#[derive(Default)]
struct Sum {
    content: crc32fast::Hasher,
    bytes: u32,
}

impl Sum {
    fn take(&mut self, field: &[u8]) {
        self.content.update(&(field.len() as u32).to_le_bytes());
        self.content.update(field);
        self.bytes = self.bytes.wrapping_mul(31).wrapping_add(field.len() as u32);
    }
}

impl Reader for Sum {
    fn table(&mut self, name: &str) {
        self.take(name.as_bytes());
    }

    fn row(&mut self, key: &[u8], value: &[u8], _: Says) {
        self.take(key);
        self.take(value);
    }

    fn app_row(&mut self, _: u64, _: u64) {}
}

/// Reads an image as redb opens it after a power cut. Writes while opening it are discarded.
pub fn read_image<T>(
    image: Image,
    f: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let disk = SimDisk::holding(image);
    let db = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(disk.clone())?;
    let result = db.begin_read().map_err(redb::Error::from).and_then(|read| f(&read));
    // A shutdown would cost a commit that nothing reads.
    disk.fail(Fault::DEAD);
    result
}

pub fn dump(read: &ReadTransaction) -> Result<Dump, redb::Error> {
    let mut whole = Whole { name: String::new(), dump: Dump::default() };
    all_rows(read, &mut whole)?;
    Ok(whole.dump)
}

/// A checksum: equal for equal contents, and almost certainly different for different ones.
pub fn sum(read: &ReadTransaction) -> Result<u64, redb::Error> {
    let mut sum = Sum::default();
    all_rows(read, &mut sum)?;
    Ok(u64::from(sum.content.finalize()) << 32 | u64::from(sum.bytes))
}

fn all_rows(read: &ReadTransaction, reader: &mut impl Reader) -> Result<(), redb::Error> {
    let mut names: Vec<String> = read.list_tables()?.map(|table| table.name().to_owned()).collect();
    names.sort_unstable();
    for name in names {
        reader.table(&name);
        let Some(ours) = name.strip_prefix("millpond/") else {
            app_rows(read, &name, reader)?;
            continue;
        };
        type Bytes = &'static [u8];
        let table = Table { read, name: &name };
        match ours {
            "meta" => table.rows::<&str, Bytes>(reader, |_, _| Says::Nothing)?,
            "queues" | "overrides" | "consumers" => table.rows::<u32, Bytes>(reader, |_, _| Says::Nothing)?,
            "kinds" => table.rows::<u32, &str>(reader, |_, _| Says::Nothing)?,
            "ready" => table.rows::<(u32, u8, u64), Bytes>(reader, |key, _| Says::Lives(key.2))?,
            // A pointer to a member of a group is one byte long.
            "delayed" => table.rows::<(u32, u8, u64, u64), Bytes>(reader, |key, value| match value.len() {
                1 => Says::Nothing,
                _ => Says::Lives(key.3),
            })?,
            "members" => table.rows::<(u32, &str, u8, u64, u64), Bytes>(reader, |key, _| Says::Lives(key.4))?,
            "heads" => table.rows::<(u32, u8, u64), (u64, u64, &str)>(reader, |_, _| Says::Nothing)?,
            "groups" | "rates" | "circuits" | "unique" => {
                table.rows::<(u32, &str), Bytes>(reader, |_, _| Says::Nothing)?
            }
            "blocked" => table.rows::<(u32, u64), Bytes>(reader, |key, _| Says::Lives(key.1))?,
            "flows" => table.rows::<u64, Bytes>(reader, |_, _| Says::Nothing)?,
            "flow_nodes" | "flow_untold" | "entries" => {
                table.rows::<(u64, u64), Bytes>(reader, |_, _| Says::Nothing)?
            }
            "flow_edges" => table.rows::<(u64, u64, u64), u8>(reader, |_, _| Says::Nothing)?,
            "flow_names" | "entry_keys" => table.rows::<(u64, &str), u64>(reader, |_, _| Says::Nothing)?,
            "flow_due" => table.rows::<(u8, u64, u64, u64), ()>(reader, |_, _| Says::Nothing)?,
            "steps" => table.rows::<(u64, &str), Bytes>(reader, |_, _| Says::Nothing)?,
            "bindings" => table.rows::<(&str, u64), Bytes>(reader, |_, _| Says::Nothing)?,
            "timed_keys" => table.rows::<(u32, u8, &str), Bytes>(reader, |_, _| Says::Nothing)?,
            "timed_keys_until" => table.rows::<(u64, u32, u8, &str), ()>(reader, |_, _| Says::Nothing)?,
            "unique_ended" => table.rows::<(u64, u32, &str), ()>(reader, |_, _| Says::Nothing)?,
            "expiring" => table.rows::<(u8, u64, u32, u64), ()>(reader, |key, _| Says::Expires(key.3))?,
            "index" => table.rows::<u64, Bytes>(reader, |_, _| Says::Nothing)?,
            // The reason of a cancel that was requested follows the mark.
            "running" => table.rows::<u64, Bytes>(reader, |key, value| {
                match value.windows(ON_PURPOSE.len()).any(|part| part == ON_PURPOSE.as_bytes()) {
                    true => Says::Stops(*key),
                    false => Says::Runs(*key),
                }
            })?,
            "tags" => table.rows::<(&str, u32, u64), ()>(reader, |_, _| Says::Nothing)?,
            "dead_letters" => table.rows::<(u32, u64, u64), Bytes>(reader, |key, _| Says::HasEnded(key.2))?,
            "finished" => table.rows::<(u32, u8, u64, u64), Bytes>(reader, |key, _| Says::HasEnded(key.3))?,
            "quarantine" => table.rows::<u64, (&str, Bytes, Bytes)>(reader, |_, _| Says::Nothing)?,
            "plugin_state" => table.rows::<(&str, &str), Bytes>(reader, |_, _| Says::Nothing)?,
            "plugin_usage" | "schedules" | "topics" | "streams" => {
                table.rows::<&str, Bytes>(reader, |_, _| Says::Nothing)?
            }
            "schedule_due" => table.rows::<(u8, u64, &str), ()>(reader, |_, _| Says::Nothing)?,
            _ => return Err(redb::Error::Corrupted(format!("table {name} is new: say here how its rows are read"))),
        }
    }
    Ok(())
}

struct Table<'r> {
    read: &'r ReadTransaction,
    name: &'r str,
}

impl Table<'_> {
    fn rows<K: Key + 'static, V: Value + 'static>(
        self,
        reader: &mut impl Reader,
        says: impl for<'a> Fn(&K::SelfType<'a>, &[u8]) -> Says,
    ) -> Result<(), redb::Error> {
        for row in self.read.open_table(TableDefinition::<K, V>::new(self.name))?.iter()? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            let bytes = V::as_bytes(&value);
            reader.row(K::as_bytes(&key).as_ref(), bytes.as_ref(), says(&key, bytes.as_ref()));
        }
        Ok(())
    }
}

/// Reads a table of the workload's own; they are all of one type.
fn app_rows(read: &ReadTransaction, name: &str, reader: &mut impl Reader) -> Result<(), redb::Error> {
    for row in read.open_table(TableDefinition::<u64, u64>::new(name))?.iter()? {
        let (key, value) = row?;
        let (key, value) = (key.value(), value.value());
        reader.row(&key.to_le_bytes(), &value.to_le_bytes(), Says::Nothing);
        reader.app_row(key, value);
    }
    Ok(())
}

impl Dump {
    /// Describes the first row in which they differ.
    pub fn difference(&self, other: &Self) -> String {
        for name in self.tables.keys().chain(other.tables.keys()) {
            let (Some(mine), Some(others)) = (self.tables.get(name), other.tables.get(name)) else {
                return format!("table {name} is in one of them only");
            };
            for key in mine.keys().chain(others.keys()) {
                if mine.get(key) != others.get(key) {
                    return format!("{name}, key {key:?}: {:?} and {:?}", mine.get(key), others.get(key));
                }
            }
        }
        "nothing".into()
    }
}
