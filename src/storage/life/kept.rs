//! What plugins keep: keys and values of their own, written with the jobs that they complete.
//!
//! Each plugin's rows are counted, so that checking its quota reads one row and does not scan.

use bytes::Bytes;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::verifier::Verifier;
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::text::printable;

/// How much a plugin keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub keys: u64,
    /// Of keys and values.
    pub bytes: u64,
}

/// One change to one key.
#[cfg_attr(not(feature = "wasm"), expect(dead_code, reason = "only plugins keep state"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateWrite {
    Put(Bytes),
    Delete,
    /// To the number that is there when it is written, or to 0.
    Add(i64),
}

impl StateWrite {
    /// A counter's value, 8 bytes, little-endian, after `delta` was added to what is there, or to 0. `None` if what is there
    /// is not a counter.
    pub fn added(value: Option<&[u8]>, delta: i64) -> Option<Bytes> {
        let number = value.map_or(Some(0), |value| Some(i64::from_le_bytes(value.try_into().ok()?)))?;
        Some(Bytes::copy_from_slice(&number.saturating_add(delta).to_le_bytes()))
    }
}

fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

impl Batch<'_> {
    /// Changes what a plugin keeps. `quota` is what it may keep afterwards.
    pub fn keep_plugin_state<'w>(
        &mut self,
        plugin: &str,
        writes: impl IntoIterator<Item = (&'w str, &'w StateWrite)>,
        quota: Usage,
    ) -> Result<Result<(), String>, Fault> {
        self.touch();
        let mut usage = self.plugin_usage(plugin)?;
        for (key, write) in writes {
            let before = self.plugin_value(plugin, key)?;
            if let Some(value) = &before {
                usage.keys = usage.keys.saturating_sub(1);
                usage.bytes = usage.bytes.saturating_sub(size(key, value));
            }
            let after = match write {
                StateWrite::Put(value) => Some(value.clone()),
                StateWrite::Delete => None,
                StateWrite::Add(delta) => match StateWrite::added(before.as_deref(), *delta) {
                    Some(value) => Some(value),
                    None => return Ok(Err(format!("the value of {key:?} is not a number that could be added to"))),
                },
            };
            match after {
                Some(value) => {
                    usage.keys += 1;
                    usage.bytes += size(key, &value);
                    let row = codec::encode(&value);
                    self.tables.plugin_state()?.insert((plugin, key), row.as_slice())?;
                }
                None => drop(self.tables.plugin_state()?.remove((plugin, key))?),
            }
        }
        if usage.keys > quota.keys || usage.bytes > quota.bytes {
            let Usage { keys, bytes } = usage;
            return Ok(Err(format!("it would keep {keys} keys with {bytes} bytes, which is above its quota")));
        }
        self.tables.plugin_usage()?.insert(plugin, codec::encode(&usage).as_slice())?;
        Ok(Ok(()))
    }

    /// A value that cannot be read is lost: what is written now takes its place.
    fn plugin_value(&mut self, plugin: &str, key: &str) -> Result<Option<Bytes>, Fault> {
        let Some(row) = self.tables.plugin_state()?.get_row((plugin, key))? else { return Ok(None) };
        match codec::decode(TableName::PluginState, 0, &row) {
            Ok(value) => Ok(Some(value)),
            Err(fault) => {
                let key = &*printable(key);
                tracing::error!(plugin, key, ?fault, "a value that a plugin keeps cannot be read");
                Ok(None)
            }
        }
    }

    /// Counted anew if the count cannot be read.
    fn plugin_usage(&mut self, plugin: &str) -> Result<Usage, Fault> {
        let Some(row) = self.tables.plugin_usage()?.get_row(plugin)? else { return Ok(Usage::default()) };
        if let Ok(usage) = codec::decode(TableName::PluginUsage, 0, &row) {
            return Ok(usage);
        }
        count(self.tables.plugin_state()?, plugin)
    }
}

/// What a plugin's rows come to. Rows that cannot be read count for nothing, as when they are replaced.
fn count(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    plugin: &str,
) -> Result<Usage, Fault> {
    let mut usage = Usage::default();
    for row in table.range((plugin, "")..)? {
        let (key, row) = row?;
        let (owner, key) = key.value();
        if owner != plugin {
            break;
        }
        add(&mut usage, key, row.value());
    }
    Ok(usage)
}

fn add(usage: &mut Usage, key: &str, row: &[u8]) -> bool {
    let value: Result<Bytes, Fault> = codec::decode(TableName::PluginState, 0, row);
    if let Ok(value) = &value {
        usage.keys += 1;
        usage.bytes += size(key, value);
    }
    value.is_ok()
}

#[cfg_attr(not(feature = "wasm"), expect(dead_code, reason = "only plugins keep state"))]
impl Reader {
    /// What a plugin keeps under a key.
    pub fn plugin_value(&self, plugin: &str, key: &str) -> Result<Option<Bytes>, Fault> {
        let row = self.tables().plugin_state()?.get_row((plugin, key))?;
        row.map(|row| codec::decode(TableName::PluginState, 0, &row)).transpose()
    }

    /// The keys of a plugin that begin with `prefix` and come after `after`, at most `keys_max` of them.
    pub fn plugin_keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        keys_max: usize,
    ) -> Result<Vec<String>, Fault> {
        let table = self.tables().plugin_state()?;
        let from = after.unwrap_or("").max(prefix);
        let mut keys = Vec::new();
        for row in table.range((plugin, from)..)? {
            let (key, _) = row?;
            let (owner, key) = key.value();
            if owner != plugin || !key.starts_with(prefix) || keys.len() == keys_max {
                break;
            }
            if after.is_none_or(|after| key > after) {
                keys.push(key.to_owned());
            }
        }
        Ok(keys)
    }

    /// How much a plugin keeps, as it is counted.
    pub fn plugin_usage(&self, plugin: &str) -> Result<Usage, Fault> {
        match self.tables().plugin_usage()?.get_row(plugin)? {
            Some(row) => codec::decode(TableName::PluginUsage, 0, &row)
                .or_else(|_| count(&self.tables().plugin_state()?, plugin)),
            None => Ok(Usage::default()),
        }
    }
}

/// Checks that what plugins keep can be read, and that each plugin's count agrees with it.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let tables = verifier.tables();
    let mut counted = std::collections::BTreeMap::<String, Usage>::new();
    for row in tables.plugin_state()?.iter()? {
        let (key, row) = row?;
        let (plugin, key) = key.value();
        if !add(counted.entry(plugin.to_owned()).or_default(), key, row.value()) {
            verifier.problem(format!("what plugin {plugin:?} keeps under {key:?} cannot be read"));
        }
    }
    for row in tables.plugin_usage()?.iter()? {
        let (plugin, row) = row?;
        let found = counted.remove(plugin.value()).unwrap_or_default();
        match codec::decode::<Usage>(TableName::PluginUsage, 0, row.value()) {
            Ok(usage) if usage == found => {}
            Ok(usage) => {
                verifier.problem(format!("plugin {:?} counts {usage:?}, but keeps {found:?}", plugin.value()));
            }
            Err(_) => verifier.problem(format!("how much plugin {:?} keeps cannot be read", plugin.value())),
        }
    }
    for plugin in counted.keys() {
        verifier.problem(format!("what plugin {plugin:?} keeps is not counted"));
    }
    Ok(())
}
