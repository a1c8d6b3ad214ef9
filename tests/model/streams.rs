//! Applies the steps of streams to the queue and to the model, and compares the two.

use std::ops::Range;

use millpond::{Error, StreamSettings};

use crate::check::{Run, expect, text};
use crate::engine::{NUMBER, group_name, new_entry};
use crate::model::Check;
use crate::ops::EntrySpec;

impl Run {
    /// Numbers for so many entries.
    pub fn numbers(&mut self, count: usize) -> Range<u64> {
        let first = self.next_number;
        self.next_number += count as u64;
        first..self.next_number
    }

    /// Entries with these numbers were acknowledged with these offsets.
    pub fn appended(&mut self, offsets: Vec<u64>, specs: &[EntrySpec], numbers: Range<u64>) -> Check {
        let expected = specs.iter().zip(numbers).map(|(spec, n)| self.model.append(spec, n)).collect();
        expect("offsets", offsets, expected)
    }

    pub async fn append_many(&mut self, stream: usize, keys: &[Option<u8>]) -> Check {
        let numbers = self.numbers(keys.len());
        let entries = keys.iter().zip(numbers.clone()).map(|(key, n)| new_entry(*key, n));
        let appended = self.engine.stream(stream).append_many(entries).await.map_err(text)?;
        let specs: Vec<_> = keys.iter().map(|key| EntrySpec { stream, key: *key }).collect();
        self.appended((appended.first..appended.next).collect(), &specs, numbers)
    }

    pub async fn compact(&mut self, stream: usize, compacts: bool) -> Check {
        let handle = self.engine.stream(stream);
        handle.configure(unlimited(compacts)).await.map_err(text)?;
        handle.sweep().await.map_err(text)?;
        self.model.compact(stream, compacts);
        Ok(())
    }

    pub async fn keep_entries(&mut self, stream: usize, most: usize) -> Check {
        let handle = self.engine.stream(stream);
        let unlimited = unlimited(self.model.is_compacting(stream));
        handle.configure(unlimited.clone().max_entries(most as u64)).await.map_err(text)?;
        let left = handle.sweep().await.map_err(text)?;
        self.model.keep_entries(stream, most);
        expect("left", Some(left as usize), self.model.stream(stream).map(|stream| stream.entries.len()))?;
        handle.configure(unlimited).await.map_err(text)
    }

    pub async fn remove_stream(&mut self, stream: usize) -> Check {
        let removed = self.engine.stream(stream).remove().await;
        match (self.model.is_bound(stream), removed) {
            (true, Err(Error::StreamBound { .. })) => Ok(()),
            (false, Ok(())) => expect("removed", true, self.model.remove_stream(stream)),
            (false, Err(Error::NoSuchStream { .. })) if self.model.stream(stream).is_none() => Ok(()),
            (bound, removed) => Err(format!("bound: {bound}, and it is answered {removed:?}")),
        }
    }

    pub fn compare_stream(&self, stream: usize) -> Check {
        let handle = self.engine.stream(stream);
        let (expected, info) = match (self.model.stream(stream), handle.info()) {
            (Some(expected), Ok(info)) => (expected, info),
            (None, Err(Error::NoSuchStream { .. })) => return Ok(()),
            (expected, info) => return Err(format!("stream {stream} is {info:?}, expected {expected:?}")),
        };
        let seen = (info.first, info.next, info.entries as usize);
        expect("stream", seen, (expected.first, expected.next, expected.entries.len()))?;
        // From the first entry on, and from one in the middle.
        for from in [0, info.first.midpoint(info.next)] {
            let read = handle.read(from, 10_000).map_err(text)?.into_iter();
            let seen: Vec<_> = read.map(|entry| (entry.offset, entry.key, entry.headers[NUMBER].clone())).collect();
            let key = |key: Option<u8>| key.map(|key| group_name(usize::from(key)));
            let entries = expected.entries.range(from..);
            let entries = entries.map(|(offset, entry)| (*offset, key(entry.key), entry.n.to_string())).collect();
            expect("entries", seen, entries)?;
        }
        Ok(())
    }
}

/// Settings of a stream that keeps all entries, or the latest of each key.
fn unlimited(compacts: bool) -> StreamSettings {
    let settings = StreamSettings::default();
    if compacts { settings.compact() } else { settings }
}
