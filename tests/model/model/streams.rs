//! The invariant: an entry that was acknowledged is in its stream, at the offset that was answered, until a sweep or a later entry
//! of its key removes it. An offset is given out once.

use std::collections::BTreeMap;

use super::Model;
use crate::ops::{DESTINATIONS, EntrySpec, QUEUES};

/// What tells an entry from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub n: u64,
    pub key: Option<u8>,
}

#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub first: u64,
    pub next: u64,
    /// By their offsets.
    pub entries: BTreeMap<u64, Entry>,
    /// It keeps only the latest entry of each key.
    compacts: bool,
}

impl Stream {
    /// Removes those entries of a key that are not its latest.
    fn compact(&mut self) {
        let mut latest = BTreeMap::new();
        latest.extend(self.entries.iter().filter_map(|(offset, entry)| Some((entry.key?, *offset))));
        self.entries.retain(|offset, entry| entry.key.is_none_or(|key| latest[&key] == *offset));
    }
}

impl Model {
    pub fn stream(&self, stream: usize) -> Option<&Stream> {
        self.streams[stream].as_ref()
    }

    pub(super) fn make_stream(&mut self, stream: usize) -> &mut Stream {
        self.streams[stream].get_or_insert_default()
    }

    /// Appends an entry. Returns its offset.
    pub fn append(&mut self, spec: &EntrySpec, n: u64) -> u64 {
        let stream = self.make_stream(spec.stream);
        let offset = stream.next;
        stream.next += 1;
        stream.entries.insert(offset, Entry { n, key: spec.key });
        if stream.compacts {
            stream.compact();
        }
        offset
    }

    /// The stream was told whether to keep only the latest entry of each key, and swept.
    pub fn compact(&mut self, stream: usize, compacts: bool) {
        let stream = self.make_stream(stream);
        stream.compacts = compacts;
        if compacts {
            stream.compact();
        }
    }

    /// The stream was swept while it had a limit of so many entries.
    pub fn keep_entries(&mut self, stream: usize, most: usize) {
        let stream = self.make_stream(stream);
        while stream.entries.len() > most {
            let (offset, _) = stream.entries.pop_first().expect("there are more than it keeps");
            stream.first = offset + 1;
        }
    }

    pub fn is_compacting(&self, stream: usize) -> bool {
        self.stream(stream).is_some_and(|stream| stream.compacts)
    }

    /// Whether a binding leads to the stream: it cannot be removed then.
    pub fn is_bound(&self, stream: usize) -> bool {
        debug_assert!(QUEUES + stream < DESTINATIONS);
        self.bindings.iter().flatten().any(|(to, _)| *to == QUEUES + stream)
    }

    /// Returns whether it was there.
    pub fn remove_stream(&mut self, stream: usize) -> bool {
        self.streams[stream].take().is_some()
    }
}
