//! Rows as bytes: a version byte, a checksum, the content. Reads do not verify redb's own page
//! checksums, so each row bears one.

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::job::{Extra, Payload, Record, RecordRef, State};

/// The version of what follows it. One for all rows: a change to any of them raises it.
const VERSION: u8 = 1;

/// A record of version 1 with its lineage between its header and its payload.
const VERSION_WITH_LINEAGE: u8 = 2;

/// The version byte and the checksum.
const HEAD: usize = 1 + 4;

fn checksum(version: u8, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(content);
    hasher.finalize()
}

pub(super) fn seal(mut row: Vec<u8>) -> Vec<u8> {
    sign(VERSION, &mut row);
    row
}

fn sign(version: u8, row: &mut [u8]) {
    row[0] = version;
    let sum = checksum(version, &row[HEAD..]);
    row[1..HEAD].copy_from_slice(&sum.to_le_bytes());
}

fn open(row: &[u8]) -> Result<&[u8], &'static str> {
    match open_any(row)? {
        (VERSION, content) => Ok(content),
        _ => Err("its version is unknown"),
    }
}

fn open_any(row: &[u8]) -> Result<(u8, &[u8]), &'static str> {
    let (head, content) = row.split_at_checked(HEAD).ok_or("it is shorter than its head")?;
    let sum = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if sum != checksum(head[0], content) {
        return Err("its checksum does not match");
    }
    Ok((head[0], content))
}

/// Any row but a record.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let row = postcard::to_extend(value, vec![0; HEAD]).expect("our rows are plain data");
    seal(row)
}

pub(crate) fn decode<T: DeserializeOwned>(table: &'static str, id: u64, row: &[u8]) -> Result<T, Fault> {
    let content = open(row).map_err(|detail| Fault::corrupt(table, id, detail))?;
    postcard::from_bytes(content).map_err(|error| Fault::corrupt(table, id, error.to_string()))
}

/// Whether a row is whole, whatever it holds.
pub(crate) fn check(row: &[u8]) -> Result<(), Fault> {
    open_any(row).map(drop).map_err(|detail| Fault::corrupt("quarantine", 0, detail))
}

/// A record: its header, then the payload's bytes as they are.
pub(crate) fn encode_record(record: &Record) -> Bytes {
    encode_record_into(&mut BytesMut::new(), record, 1)
}

/// The most that records which are encoded together have in common, in bytes: it stays in memory as long as one of them.
const CHUNK_BYTES_MAX: usize = 32 << 10;

/// The same for the first of `left` records that are encoded one after the other: their rows are slices of few
/// allocations, which the writer's thread, not theirs, gives back.
pub(crate) fn encode_record_into(chunk: &mut BytesMut, record: &Record, left: usize) -> Bytes {
    let header = RecordRef::<&Extra> {
        state: record.state,
        kind: record.kind,
        priority: record.priority,
        codec: record.payload.codec,
        enqueued_at: record.enqueued_at,
        attempts: record.attempts,
        extra: record.extra.as_deref(),
    };
    // Most headers are short: written at one place, and the row at its exact size.
    let mut short = [0; 64];
    let long;
    let header = match postcard::to_slice(&header, &mut short) {
        Ok(header) => &*header,
        Err(_) => {
            long = postcard::to_stdvec(&header).expect("our rows are plain data");
            &long
        }
    };
    let lineage = record.lineage().map(|lineage| postcard::to_stdvec(lineage).expect("our rows are plain data"));
    let version = if lineage.is_some() { VERSION_WITH_LINEAGE } else { VERSION };
    let lineage = lineage.unwrap_or_default();
    let payload = &*record.payload.bytes;
    let bytes = HEAD + header.len() + lineage.len() + payload.len();
    if chunk.capacity() < bytes {
        let together = bytes.saturating_mul(left).min(CHUNK_BYTES_MAX);
        *chunk = BytesMut::with_capacity(together.max(bytes));
    }
    chunk.extend_from_slice(&[0; HEAD]);
    chunk.extend_from_slice(header);
    chunk.extend_from_slice(&lineage);
    chunk.extend_from_slice(payload);
    sign(version, chunk);
    if chunk.capacity() == bytes { std::mem::take(chunk).freeze() } else { chunk.split().freeze() }
}

/// The record, its payload a slice of the same allocation.
pub(crate) fn decode_record(table: &'static str, id: u64, row: &Bytes) -> Result<Record, Fault> {
    let (version, content) = open_any(row).map_err(|detail| Fault::corrupt(table, id, detail))?;
    let unreadable = |error: postcard::Error| Fault::corrupt(table, id, error.to_string());
    let (mut header, rest): (RecordRef<Box<Extra>>, _) = postcard::take_from_bytes(content).map_err(unreadable)?;
    let payload = match version {
        VERSION => rest,
        VERSION_WITH_LINEAGE => {
            let (lineage, payload) = postcard::take_from_bytes(rest).map_err(unreadable)?;
            header.extra.get_or_insert_default().lineage = Some(Box::new(lineage));
            payload
        }
        _ => return Err(Fault::corrupt(table, id, "its version is unknown")),
    };
    Ok(record(header, row.slice(row.len() - payload.len()..)))
}

/// What a record that cannot be read seems to say: most damage is in the payload, behind it.
pub(crate) fn presumed_record(row: &Bytes) -> Option<Record> {
    let (header, _) = postcard::take_from_bytes::<RecordRef<Box<Extra>>>(row.get(HEAD..)?).ok()?;
    Some(record(header, Bytes::new()))
}

fn record(header: RecordRef<Box<Extra>>, payload: Bytes) -> Record {
    Record {
        state: header.state,
        kind: header.kind,
        priority: header.priority,
        enqueued_at: header.enqueued_at,
        attempts: header.attempts,
        extra: header.extra,
        payload: Payload { codec: header.codec, bytes: payload },
    }
}

/// The state that a record bears which cannot be read, for the counts. It is the first of the content:
/// if it is what was damaged, the checksum tells which one it was.
pub(crate) fn presumed_state(row: &[u8]) -> Option<State> {
    let state = |row: &[u8]| postcard::take_from_bytes(row.get(HEAD..)?).ok().map(|(state, _)| state);
    let mut tried = row.to_vec();
    for first in 0..=State::Blocked as u8 {
        *tried.get_mut(HEAD)? = first;
        if open_any(&tried).is_ok() {
            return state(&tried);
        }
    }
    state(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{PluginHash, Priority, State};
    use crate::time::Timestamp;

    fn record() -> Record {
        Record {
            state: State::Pending,
            kind: 3,
            priority: Priority::default(),
            enqueued_at: Timestamp::from_millis(1_700_000_000_000),
            attempts: 0,
            extra: None,
            payload: Payload::raw(vec![7; 128]),
        }
    }

    #[test]
    fn a_record_survives_the_round_trip() {
        let mut full = record();
        full.extra_mut().group = Some("g".into());
        full.extra_mut().result = Some(Bytes::from_static(b"result"));
        let mut descended = record();
        descended.lineage_mut().generation = 3;
        descended.lineage_mut().ran(1, PluginHash::new([7; 32]));
        for record in [record(), full, descended] {
            assert_eq!(decode_record("ready", 1, &encode_record(&record)).unwrap(), record);
        }
    }

    #[test]
    fn a_plain_record_costs_at_most_24_bytes_beside_its_payload() {
        assert!(encode_record(&record()).len() <= 128 + 24);
    }

    #[test]
    fn the_state_of_a_damaged_record_is_still_known() {
        let row = encode_record(&Record { state: State::Retrying, ..record() });
        for bit in 0..row.len() * 8 {
            let mut bad = row.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(presumed_state(&bad), Some(State::Retrying), "bit {bit}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let row = encode_record(&record());
        for bit in 0..row.len() * 8 {
            let mut bad = row.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_record("ready", 1, &bad.into()).is_err(), "bit {bit}");
        }
        for len in 0..row.len() {
            assert!(decode_record("ready", 1, &row.slice(..len)).is_err(), "cut to {len}");
        }
    }
}
