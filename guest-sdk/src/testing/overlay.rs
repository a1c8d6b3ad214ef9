//! State as one attempt sees it: what is committed, and its own writes over it.

use std::collections::BTreeMap;

use crate::state::Error;

/// Bytes of a key that a host allows by default.
const KEY_BYTES_MAX: usize = 256;
/// Bytes of a value that a host allows by default.
const VALUE_BYTES_MAX: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Overlay {
    /// With the attempt's own writes: what is committed if it completes.
    pub values: BTreeMap<String, Vec<u8>>,
}

impl Overlay {
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        check(key)?;
        Ok(self.values.get(key).cloned())
    }

    pub fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        check(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::ValueTooLarge);
        }
        self.values.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    pub fn delete(&mut self, key: &str) -> Result<(), Error> {
        check(key)?;
        self.values.remove(key);
        Ok(())
    }

    pub fn increment(&mut self, key: &str, delta: i64) -> Result<(), Error> {
        check(key)?;
        let before = match self.values.get(key) {
            None => 0,
            Some(bytes) => match bytes.as_slice().try_into() {
                Ok(bytes) => i64::from_le_bytes(bytes),
                Err(_) => return Err(Error::Other(format!("{key:?} is not a counter"))),
            },
        };
        self.values.insert(key.to_owned(), before.saturating_add(delta).to_le_bytes().to_vec());
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
    if key.is_empty() || key.len() > KEY_BYTES_MAX { Err(Error::KeyTooLarge) } else { Ok(()) }
}
