use std::collections::BTreeSet;

use bytes::Bytes;

use crate::executor::wasm::contract::state::{Error, Host};
use crate::executor::wasm::guest::Guest;
use crate::storage::{StateWrite, Usage, added};
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

/// Keys of one answer.
const KEYS_MAX: usize = 100;

impl Guest {
    fn stored(&self, key: &str) -> Result<Option<Bytes>, Error> {
        let read =
            || self.plugin.host.store.reader().and_then(|reader| Ok(reader.plugin_value(&self.plugin.name, key)?));
        read().map_err(|error| {
            let key = &*printable(key);
            tracing::error!(plugin = self.plugin.name, key, %error, "what a plugin keeps could not be read");
            Error::StoreUnavailable
        })
    }

    /// With this attempt's own writes.
    fn read(&self, key: &str) -> Result<Option<Bytes>, Error> {
        match self.overlay.writes.get(key) {
            None => self.stored(key),
            Some(StateWrite::Put(value)) => Ok(Some(value.clone())),
            Some(StateWrite::Delete) => Ok(None),
            Some(StateWrite::Add(delta)) => self.stored_with(key, *delta).map(Some),
        }
    }

    /// With so much added to what is stored.
    fn stored_with(&self, key: &str, delta: i64) -> Result<Bytes, Error> {
        let value = self.stored(key)?;
        added(value.as_deref(), delta).ok_or_else(|| Error::Other(format!("the value of {key:?} is not a number")))
    }

    /// The next keys behind `after`. Where the stored ones end, this attempt's own may still go on, and the other
    /// way round: the answer ends where the first of both does.
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
            // Told now rather than by a completion that fails.
            self.stored_with(&key, delta)?;
        }
        self.overlay.add(key, delta).map_err(Error::Other)
    }

    /// Told now rather than by a completion that fails, as far as it is known now: what others have
    /// written meanwhile counts then. A key that is replaced is counted twice, unless that matters.
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
