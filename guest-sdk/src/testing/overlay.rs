//! State as one attempt sees it: what is committed, and its own writes over it.

use std::collections::{BTreeMap, BTreeSet};

use millpond_rules::attempt::{STATE_BYTES, STATE_KEY_BYTES, STATE_KEYS, STATE_VALUE_BYTES, STATE_WRITES};

use crate::state::Error;

#[derive(Default)]
pub(crate) struct Overlay {
    /// With the attempt's own writes: what is committed if it completes.
    pub values: BTreeMap<String, Vec<u8>>,
    /// The keys that the attempt has written.
    written: BTreeSet<String>,
    /// Of all keys and values.
    bytes: usize,
}

impl Overlay {
    pub fn new(values: BTreeMap<String, Vec<u8>>) -> Self {
        let bytes = values.iter().map(|(key, value)| key.len() + value.len()).sum();
        Self { values, bytes, ..Self::default() }
    }

    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        check(key)?;
        Ok(self.values.get(key).cloned())
    }

    pub fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        if value.len() > STATE_VALUE_BYTES {
            return Err(Error::ValueTooLarge);
        }
        let own = self.values.get(key).map_or(0, |own| key.len() + own.len());
        let bytes = self.bytes - own + key.len() + value.len();
        let keys = self.values.len() + usize::from(own == 0);
        if keys as u64 > STATE_KEYS || bytes as u64 > STATE_BYTES {
            return Err(Error::QuotaExceeded);
        }
        self.write(key)?;
        self.bytes = bytes;
        self.values.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Whether the attempt may write one key more.
    fn write(&mut self, key: &str) -> Result<(), Error> {
        check(key)?;
        if self.written.len() >= STATE_WRITES as usize && !self.written.contains(key) {
            return Err(Error::QuotaExceeded);
        }
        self.written.insert(key.to_owned());
        Ok(())
    }

    pub fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.write(key)?;
        if let Some(value) = self.values.remove(key) {
            self.bytes -= key.len() + value.len();
        }
        Ok(())
    }

    pub fn increment(&mut self, key: &str, delta: i64) -> Result<(), Error> {
        self.write(key)?;
        let before = match self.values.get(key) {
            None => 0,
            Some(bytes) => match bytes.as_slice().try_into() {
                Ok(bytes) => i64::from_le_bytes(bytes),
                Err(_) => return Err(Error::Other(format!("{key:?} is not a counter"))),
            },
        };
        let sum = before.saturating_add(delta).to_le_bytes();
        if self.values.insert(key.to_owned(), sum.to_vec()).is_none() {
            self.bytes += key.len() + sum.len();
        }
        Ok(())
    }

    #[cfg(feature = "state-scan")]
    pub fn list_keys(&self, prefix: &str, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>), Error> {
        const PAGE: usize = 100;
        let behind = |key: &&String| cursor.is_none_or(|cursor| key.as_str() > cursor);
        let mut keys = self.values.keys().filter(|key| key.starts_with(prefix)).filter(behind).cloned();
        let page: Vec<_> = keys.by_ref().take(PAGE).collect();
        let more = keys.next().and(page.last().cloned());
        Ok((page, more))
    }
}

fn check(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > STATE_KEY_BYTES { Err(Error::KeyTooLarge) } else { Ok(()) }
}
