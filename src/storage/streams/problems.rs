//! Checks streams and consumers in a verification.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::read_entry;
use crate::job::{ConsumerRow, StreamRow};
use crate::storage::life::verifier::Verifier;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;

/// What a scan has found of a stream.
#[derive(Default)]
struct Scanned {
    entries: u64,
    bytes: u64,
    first: Option<u64>,
    last: u64,
    /// The latest offset of each key, of a stream that keeps only those.
    latest: HashMap<String, u64>,
    superseded: u64,
}

/// Checks that entries, counts, keys and cursors agree.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let mut streams: BTreeMap<u64, (String, StreamRow)> = BTreeMap::new();
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for row in verifier.tables().streams()?.iter()? {
        let (name, row) = row?;
        verifier.work.rows += 1;
        let name = name.value().to_owned();
        match codec::decode::<StreamRow>(TableName::Streams, 0, row.value()) {
            Ok(row) => {
                ends.insert(name.clone(), row.next);
                streams.insert(row.number, (name, row));
            }
            Err(fault) => verifier.unreadable(fault),
        }
    }
    let mut scanned: BTreeMap<u64, Scanned> = BTreeMap::new();
    for row in verifier.tables().entries()?.iter()? {
        let (key, value) = row?;
        verifier.work.rows += 1;
        let (number, offset) = key.value();
        let Some((name, stream)) = streams.get(&number) else {
            verifier.problem(format!(
                "there is an entry {offset} of a stream with the number {number}, which is not there"
            ));
            continue;
        };
        let seen = scanned.entry(number).or_default();
        seen.entries += 1;
        seen.bytes += value.value().len() as u64;
        seen.first.get_or_insert(offset);
        seen.last = offset;
        match read_entry(offset, &Bytes::copy_from_slice(value.value())) {
            Ok(record) => {
                if record.extra.as_ref().is_none_or(|extra| extra.entry.is_none()) {
                    verifier.problem(format!("entry {offset} of stream {name:?} does not say when it was appended"));
                }
                if !verifier.kinds.contains(&record.kind) {
                    verifier.problem(format!("the kind of entry {offset} of stream {name:?} has no name"));
                }
                if let Some(key) = record.group().filter(|_| stream.settings.compact && offset < stream.compacted_to) {
                    seen.superseded += u64::from(seen.latest.insert(key.to_string(), offset).is_some());
                }
            }
            Err(fault) => verifier.unreadable(fault),
        }
    }
    for (number, (name, row)) in &streams {
        let seen = scanned.remove(number).unwrap_or_default();
        if (seen.entries, seen.bytes) != (row.entries, row.bytes) {
            verifier.problem(format!(
                "stream {name:?} has {} entries of {} bytes, and its row says {} of {}",
                seen.entries, seen.bytes, row.entries, row.bytes
            ));
        }
        if seen.first.is_some_and(|first| first < row.first) || (seen.entries > 0 && seen.last >= row.next) {
            verifier
                .problem(format!("stream {name:?} has an entry outside of the offsets {} to {}", row.first, row.next));
        }
        if seen.superseded > 0 {
            verifier.problem(format!(
                "stream {name:?} has {} entries that are not the latest of their keys",
                seen.superseded
            ));
        }
        for (key, offset) in seen.latest {
            let latest = verifier.tables().entry_keys()?.get((*number, key.as_str()))?.map(|latest| latest.value());
            if latest.is_none_or(|latest| latest < offset) {
                verifier.problem(format!(
                    "the latest entry of a key of stream {name:?} is {offset}, its row says {latest:?}"
                ));
            }
        }
    }
    for row in verifier.tables().consumers()?.iter()? {
        let (queue, row) = row?;
        verifier.work.rows += 1;
        let queue = queue.value();
        let row = match codec::decode::<ConsumerRow>(TableName::Consumers, u64::from(queue), row.value()) {
            Ok(row) => row,
            Err(fault) => {
                verifier.unreadable(fault);
                continue;
            }
        };
        let of = format!("consumer {:?} of stream {:?}", row.name, row.stream);
        if let Some(problem) = row.cursor.problem() {
            verifier.problem(format!("{of}: {problem}"));
        }
        let end = row.cursor.done_ranges().last().map_or(row.cursor.low, |(_, to)| *to);
        match ends.get(&*row.stream) {
            None => verifier.problem(format!("{of}: there is no such stream")),
            Some(next) if end > *next => {
                verifier.problem(format!("{of} has passed {end} entries, and the stream has {next}"));
            }
            Some(_) => {}
        }
        if !verifier.queues.contains_key(&queue) {
            verifier.problem(format!("{of}: its queue, number {queue}, has no name"));
        }
    }
    Ok(())
}
