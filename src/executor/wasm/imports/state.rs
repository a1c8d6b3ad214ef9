//! The contract's interface `state`: durable values of the plugin. An attempt reads the committed values and its own
//! writes, which commit with the job's completion.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::executor::wasm::contract::state::{Error, Host};
use crate::executor::wasm::guest::Guest;
use crate::storage::{StateWrite, Usage};
use crate::text::printable;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Guest {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        self.count_call()?;
        Ok(self.check_key(&key).and_then(|()| self.read(&key)).map(|value| value.map(Vec::from)))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Answer<()> {
        self.count_call()?;
        if value.len() > self.plugin.limits.state_value_bytes {
            return Ok(Err(Error::ValueTooLarge));
        }
        Ok(self.check_quota(&key, &value).and_then(|()| self.write(key, StateWrite::Put(value.into()))))
    }

    fn delete(&mut self, key: String) -> Answer<()> {
        self.count_call()?;
        Ok(self.write(key, StateWrite::Delete))
    }

    fn increment(&mut self, key: String, delta: i64) -> Answer<()> {
        self.count_call()?;
        Ok(self.add(key, delta))
    }

    fn list_keys(&mut self, prefix: String, cursor: Option<String>) -> Answer<(Vec<String>, Option<String>)> {
        self.count_call()?;
        Ok(self.keys(&prefix, cursor.as_deref()))
    }
}

/// The most keys of one answer of `list-keys`.
const KEYS_MAX: usize = 100;

impl Guest {
    /// The committed value.
    fn stored(&self, key: &str) -> Result<Option<Bytes>, Error> {
        let read =
            || self.plugin.host.store.reader().and_then(|reader| Ok(reader.plugin_value(&self.plugin.name, key)?));
        read().map_err(|error| {
            let key = &*printable(key);
            tracing::error!(plugin = self.plugin.name, key, %error, "a plugin's state could not be read");
            Error::StoreUnavailable
        })
    }

    /// The value as this attempt sees it, with its own writes.
    fn read(&self, key: &str) -> Result<Option<Bytes>, Error> {
        match self.overlay.writes.get(key) {
            None => self.stored(key),
            Some(StateWrite::Put(value)) => Ok(Some(value.clone())),
            Some(StateWrite::Delete) => Ok(None),
            Some(StateWrite::Add(delta)) => self.stored_with(key, *delta).map(Some),
        }
    }

    /// The committed counter with `delta` added.
    fn stored_with(&self, key: &str, delta: i64) -> Result<Bytes, Error> {
        let value = self.stored(key)?;
        StateWrite::added(value.as_deref(), delta)
            .ok_or_else(|| Error::Other(format!("the value of {key:?} is not a number")))
    }

    /// The next keys after `after`, with the cursor for the next page. A full page of stored keys ends at its last key.
    /// Keys that this attempt has written are merged in up to there, and the rest of them comes with the next page.
    fn keys(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<String>, Option<String>), Error> {
        let name = &self.plugin.name;
        let read = || self.plugin.host.store.reader().and_then(|r| Ok(r.plugin_keys(name, prefix, after, KEYS_MAX)?));
        let stored = read().map_err(|_| Error::StoreUnavailable)?;
        let end = (stored.len() == KEYS_MAX).then(|| stored.last().cloned()).flatten();
        let mut keys: BTreeSet<String> = stored.into_iter().collect();
        let is_in_reach = |key: &&String| {
            key.starts_with(prefix)
                && after.is_none_or(|after| key.as_str() > after)
                && end.as_ref().is_none_or(|end| *key <= end)
        };
        for (key, write) in self.overlay.writes.iter().filter(|(key, _)| is_in_reach(key)) {
            match write {
                StateWrite::Delete => keys.remove(key),
                _ => keys.insert(key.clone()),
            };
        }
        Ok((keys.into_iter().collect(), end))
    }

    fn write(&mut self, key: String, write: StateWrite) -> Result<(), Error> {
        self.make_room(&key)?;
        self.overlay.writes.insert(key, write);
        Ok(())
    }

    fn add(&mut self, key: String, delta: i64) -> Result<(), Error> {
        self.make_room(&key)?;
        if !self.overlay.writes.contains_key(&key) {
            // An error now is better than a completion that fails.
            self.stored_with(&key, delta)?;
        }
        self.overlay.add(key, delta).map_err(Error::Other)
    }

    /// Checks the plugin's quota early, so that the guest gets an error instead of a completion that fails. The
    /// completion checks it again, because other attempts can write meanwhile. A key that is replaced is counted twice
    /// at first. Only if the quota would be exceeded so, its stored value is read and subtracted.
    fn check_quota(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        let added = (key.len() + value.len()) as u64;
        let stored = self.usage()?;
        let limits = &self.plugin.limits;
        let (keys, bytes) = (self.overlay.writes.len() as u64 + 1, self.overlay.put_bytes.saturating_add(added));
        if stored.keys + keys > limits.state_keys || stored.bytes + bytes > limits.state_bytes {
            let own = self
                .stored(key)?
                .map_or(Usage::default(), |own| Usage { keys: 1, bytes: (key.len() + own.len()) as u64 });
            let own_keys = own.keys + u64::from(own.keys == 0 && self.overlay.writes.contains_key(key));
            if stored.keys + keys > limits.state_keys + own_keys
                || stored.bytes + bytes > limits.state_bytes + own.bytes
            {
                return Err(Error::QuotaExceeded);
            }
        }
        self.overlay.put_bytes = bytes;
        Ok(())
    }

    /// The plugin's usage in the file, read once for each attempt.
    fn usage(&mut self) -> Result<Usage, Error> {
        if let Some(usage) = self.overlay.usage {
            return Ok(usage);
        }
        let name = &self.plugin.name;
        let read = self.plugin.host.store.reader().and_then(|reader| Ok(reader.plugin_usage(name)?));
        let usage = read.map_err(|_| Error::StoreUnavailable)?;
        self.overlay.usage = Some(usage);
        Ok(usage)
    }

    fn check_key(&self, key: &str) -> Result<(), Error> {
        let fits = (1..=self.plugin.limits.state_key_bytes).contains(&key.len());
        if fits { Ok(()) } else { Err(Error::KeyTooLarge) }
    }

    /// # Errors
    /// The key is not valid, or the attempt has written as many keys as it can.
    fn make_room(&self, key: &str) -> Result<(), Error> {
        self.check_key(key)?;
        let limits = &self.plugin.limits;
        let writes = &self.overlay.writes;
        if writes.len() >= limits.state_writes as usize && !writes.contains_key(key) {
            return Err(Error::QuotaExceeded);
        }
        Ok(())
    }
}
