//! Rows as bytes: a version byte, a checksum, the content. redb does not verify its page checksums when it reads, so
//! each row has a checksum of its own.

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::job::{Codec, KindId, NewEntry, Payload, Priority, Record, State, StoredPayload};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::migrations::old_records;
use crate::storage::rows::sections;
use crate::storage::rows::sections::Sections;
use crate::storage::rows::table_name::TableName;
use crate::time::Timestamp;

/// The version of the content, in all rows but records.
const VERSION: u8 = 1;

/// The version of a record: its header, its sections, its payload. [`old_records`] reads the earlier versions.
pub(in crate::storage) const RECORD_VERSION: u8 = 3;

/// What every record begins with.
#[derive(Serialize, Deserialize)]
struct Header {
    state: State,
    kind: KindId,
    priority: Priority,
    codec: StoredCodec,
    enqueued_at: Timestamp,
    attempts: u32,
    /// How many sections stand between the header and the payload.
    sections: u8,
}

/// How the bytes of a payload are to be read: the codec of the kind, and whether the payload codec comes first.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum StoredCodec {
    Json,
    Postcard,
    Raw,
    CodedJson,
    CodedPostcard,
    CodedRaw,
}

impl StoredCodec {
    fn of(payload: &StoredPayload) -> Self {
        match (payload.codec, payload.is_coded()) {
            (Codec::Json, false) => Self::Json,
            (Codec::Postcard, false) => Self::Postcard,
            (Codec::Raw, false) => Self::Raw,
            (Codec::Json, true) => Self::CodedJson,
            (Codec::Postcard, true) => Self::CodedPostcard,
            (Codec::Raw, true) => Self::CodedRaw,
        }
    }

    fn payload(self, bytes: Bytes) -> StoredPayload {
        let (codec, is_coded) = match self {
            Self::Json => (Codec::Json, false),
            Self::Postcard => (Codec::Postcard, false),
            Self::Raw => (Codec::Raw, false),
            Self::CodedJson => (Codec::Json, true),
            Self::CodedPostcard => (Codec::Postcard, true),
            Self::CodedRaw => (Codec::Raw, true),
        };
        StoredPayload::new(Payload { codec, bytes }, is_coded)
    }
}

/// The version byte and the checksum.
const HEAD: usize = 1 + 4;

fn checksum(version: u8, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(content);
    hasher.finalize()
}

pub(in crate::storage) fn seal(version: u8, mut row: Vec<u8>) -> Vec<u8> {
    sign(version, &mut row);
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
    seal(VERSION, row)
}

pub(crate) fn decode<T: DeserializeOwned>(table: TableName, id: u64, row: &[u8]) -> Result<T, Fault> {
    let content = open(row).map_err(|detail| Fault::corrupt(table, id, detail))?;
    postcard::from_bytes(content).map_err(|error| Fault::corrupt(table, id, error.to_string()))
}

/// Whether a row's checksum is right, whatever the row holds.
pub(crate) fn check(row: &[u8]) -> Result<(), Fault> {
    open_any(row).map(drop).map_err(|detail| Fault::corrupt(TableName::Quarantine, 0, detail))
}

/// A record: its header and its sections, then the payload's bytes as they are.
pub(crate) fn encode_record(record: &Record) -> Bytes {
    encode_record_into(&mut BytesMut::new(), record, 1)
}

/// The most that records which are encoded together have in common, in bytes: it stays in memory as long as one of
/// them.
const CHUNK_BYTES_MAX: usize = 32 << 10;

/// The same for the first of `left` records that are encoded one after the other: their rows are slices of few
/// allocations, because the writer's thread frees them, which is slow for memory of another thread.
pub(crate) fn encode_record_into(chunk: &mut BytesMut, record: &Record, left: usize) -> Bytes {
    let sections = record.extra.as_deref().map(Sections::of);
    let (count, sections) = sections.as_ref().map_or((0, &[][..]), |sections| (sections.count, sections.bytes()));
    encode_into(chunk, &header_of(record, count), sections, &record.payload.bytes, left)
}

/// The same for the first of `left` new entries of a stream. Its row is the one that [`encode_record`] makes of its record.
pub(in crate::storage) fn encode_entry_into(chunk: &mut BytesMut, entry: &NewEntry, left: usize) -> Bytes {
    let NewEntry { kind, key, labels, generation, payload, at, age } = entry;
    let sections = Sections::of_entry(key.as_deref(), *generation, labels.as_deref(), *age);
    let header = Header {
        state: State::Pending,
        kind: *kind,
        priority: Priority::default(),
        codec: StoredCodec::of(payload),
        enqueued_at: *at,
        attempts: 0,
        sections: sections.count,
    };
    encode_into(chunk, &header, sections.bytes(), &payload.bytes, left)
}

fn encode_into(chunk: &mut BytesMut, header: &Header, sections: &[u8], payload: &[u8], left: usize) -> Bytes {
    let mut space = [0; 32];
    let header = short(header, &mut space);
    let bytes = HEAD + header.len() + sections.len() + payload.len();
    if chunk.capacity() < bytes {
        let together = bytes.saturating_mul(left).min(CHUNK_BYTES_MAX);
        *chunk = BytesMut::with_capacity(together.max(bytes));
    }
    chunk.extend_from_slice(&[0; HEAD]);
    chunk.extend_from_slice(header);
    chunk.extend_from_slice(sections);
    chunk.extend_from_slice(payload);
    sign(RECORD_VERSION, chunk);
    if chunk.capacity() == bytes { std::mem::take(chunk).freeze() } else { chunk.split().freeze() }
}

fn header_of(record: &Record, sections: u8) -> Header {
    Header {
        state: record.state,
        kind: record.kind,
        priority: record.priority,
        codec: StoredCodec::of(&record.payload),
        enqueued_at: record.enqueued_at,
        attempts: record.attempts,
        sections,
    }
}

/// A header as it is stored.
fn short<'s>(header: &Header, space: &'s mut [u8; 32]) -> &'s [u8] {
    // Numbers only: at most 5 + 10 + 5 bytes of them, and four bytes.
    postcard::to_slice(header, space).expect("a header is short")
}

/// The record, its payload a slice of the same allocation.
pub(crate) fn decode_record(table: TableName, id: u64, row: &Bytes) -> Result<Record, Fault> {
    let (version, _) = open_any(row).map_err(|detail| Fault::corrupt(table, id, detail))?;
    read_record(version, row).map_err(|detail| Fault::corrupt(table, id, detail))
}

/// A record whose checksum is wrong, as far as it can be read. Most damage is in the payload, so the header and the
/// sections before it are usually right.
pub(crate) fn presumed_record(row: &Bytes) -> Option<Record> {
    let (head, content) = row.split_at_checked(HEAD)?;
    let sum = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    // If only the version byte is damaged, the checksum says which version it was.
    let versions = [RECORD_VERSION, old_records::VERSION, old_records::VERSION_WITH_LINEAGE];
    let version = versions.into_iter().find(|version| checksum(*version, content) == sum).unwrap_or(head[0]);
    read_record(version, row).ok()
}

/// The record of a row if it has tags, as far as it can be read. Of other rows only the header is read.
pub(crate) fn record_with_tags(row: &[u8]) -> Option<Record> {
    record_with(row, sections::have_tags_or_steps)
}

/// The same of a row whose job has a group as well.
pub(crate) fn record_with_tags_or_group(row: &[u8]) -> Option<Record> {
    record_with(row, |count, content| {
        sections::have_group(count, content) || sections::have_tags_or_steps(count, content)
    })
}

fn record_with(row: &[u8], wanted: impl FnOnce(u8, &[u8]) -> bool) -> Option<Record> {
    let (&version, content) = (row.first()?, row.get(HEAD..)?);
    if version != RECORD_VERSION {
        return None;
    }
    let (header, rest) = postcard::take_from_bytes::<Header>(content).ok()?;
    wanted(header.sections, rest).then(|| presumed_record(&Bytes::copy_from_slice(row))).flatten()
}

fn read_record(version: u8, row: &Bytes) -> Result<Record, String> {
    let content = row.get(HEAD..).ok_or("it is shorter than its head")?;
    match version {
        RECORD_VERSION => {
            let (header, rest) = postcard::take_from_bytes(content).map_err(|error| error.to_string())?;
            let Header { state, kind, priority, codec, enqueued_at, attempts, sections } = header;
            let mut payload = row.slice(row.len() - rest.len()..);
            let mut extra = None;
            if sections > 0 {
                let (read, rest) = sections::read(sections, payload)?;
                (extra, payload) = (Some(Box::new(read)), rest);
            }
            let payload = codec.payload(payload);
            Ok(Record { state, kind, priority, enqueued_at, attempts, extra, payload })
        }
        old_records::VERSION | old_records::VERSION_WITH_LINEAGE => {
            let (mut record, payload) = old_records::read(version, content).map_err(|error| error.to_string())?;
            record.payload.bytes = row.slice(HEAD + payload..);
            Ok(record)
        }
        _ => Err("its version is unknown".into()),
    }
}

/// The state of a record that cannot be read, for the counts. It is the first byte of the content: if only that byte is
/// damaged, the checksum says which state it was.
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
    use crate::job::PluginHash;

    fn record() -> Record {
        Record {
            state: State::Pending,
            kind: 3,
            priority: Priority::default(),
            enqueued_at: Timestamp::from_millis(1_700_000_000_000),
            attempts: 0,
            extra: None,
            payload: Payload::raw(vec![7; 128]).into(),
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
        let mut coded = record();
        coded.payload = StoredPayload::new(Payload { codec: Codec::Json, bytes: Bytes::from_static(b"coded") }, true);
        let mut coded_end = coded.clone();
        coded_end.extra_mut().result = Some(Bytes::from_static(b"coded result"));
        coded_end.extra_mut().is_result_coded = true;
        coded_end.lineage_mut().generation = 3;
        for record in [record(), full, descended, coded, coded_end] {
            assert_eq!(decode_record(TableName::Ready, 1, &encode_record(&record)).unwrap(), record);
        }
    }

    /// As many as before there were sections: what few jobs have costs the others nothing.
    #[test]
    fn a_plain_record_costs_17_bytes_beside_its_payload() {
        assert_eq!(encode_record(&record()).len(), 128 + 17);
    }

    #[test]
    fn a_section_that_this_build_does_not_know_is_kept() {
        let mut newer = record();
        newer.extra_mut().group = Some("g".into());
        newer.extra_mut().unknown = vec![(200, Bytes::from_static(b"of a newer build")), (255, vec![9; 300].into())];
        let mut read = decode_record(TableName::Ready, 1, &encode_record(&newer)).unwrap();
        assert_eq!(read, newer);
        read.attempts = 1;
        read.extra_mut().reason = Some("x".repeat(1_000));
        let again = decode_record(TableName::Ready, 1, &encode_record(&read)).unwrap();
        assert_eq!((&again.extra.as_ref().unwrap().unknown, &again), (&newer.extra.as_ref().unwrap().unknown, &read));
    }

    #[test]
    fn sections_out_of_order_twice_or_too_long_are_damage() {
        let row = |sections: u8, bytes: &[u8]| {
            let mut row = encode_record(&record())[..HEAD + 12].to_vec();
            *row.last_mut().unwrap() = sections;
            row.extend_from_slice(bytes);
            decode_record(TableName::Ready, 1, &seal(RECORD_VERSION, row).into())
        };
        let (group, key) = ([1, 1, b'g'], [5, 1, b'k']);
        assert!(row(2, &[group, key].concat()).is_ok());
        assert!(row(2, &[key, group].concat()).is_err(), "out of order");
        assert!(row(2, &[group, group].concat()).is_err(), "twice");
        assert!(row(1, &[0, 1, 7]).is_err(), "no tag");
        assert!(row(1, &[1, 2, b'g']).is_err(), "longer than the row");
        assert!(row(2, &group).is_err(), "fewer than it says");
        assert!(row(1, &[1, 1, 0xff]).is_err(), "no text");
        assert!(row(1, &[6, 4, 0, 0, 0, 0]).is_err(), "longer than what it says");
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
    fn what_few_jobs_have_is_still_known_of_a_record_whose_payload_or_version_is_damaged() {
        let mut keyed = record();
        keyed.extra_mut().unique_key = Some("key".into());
        let row = encode_record(&keyed);
        let (version, payload) = (0..8, (row.len() - 128) * 8..row.len() * 8);
        for bit in version.chain(payload) {
            let mut bad = row.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let presumed = presumed_record(&bad.into()).unwrap();
            assert_eq!(presumed.unique_key(), Some("key"), "bit {bit}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let row = encode_record(&record());
        for bit in 0..row.len() * 8 {
            let mut bad = row.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_record(TableName::Ready, 1, &bad.into()).is_err(), "bit {bit}");
        }
        for len in 0..row.len() {
            assert!(decode_record(TableName::Ready, 1, &row.slice(..len)).is_err(), "cut to {len}");
        }
    }
}
