//! Rows and keys made of anything, for [`crate::fuzzing`].

use bytes::Bytes;
use redb::{Key, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::{BindingRow, BucketState, CircuitRow, Steered, TopicRow};
use crate::storage::life::groups::row::GroupRow;
use crate::storage::life::unique::Holder;
use crate::storage::rows::batch::Counters;
use crate::storage::rows::codec::{RECORD_VERSION, decode, decode_record, encode, encode_record, seal};
use crate::storage::rows::keys::Numbers;
use crate::storage::rows::place::Location;
use crate::storage::rows::queue_row::QueueRow;
use crate::storage::rows::start_mark::StartMark;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::{DeadKey, DelayedKey, ExpiringKey, FinishedKey, HeadKey, MemberKey, ReadyKey};

/// Reads `content` as a row of one of the tables, with and without a checksum that is right.
pub(crate) fn row(table: u8, content: &[u8]) {
    let head = [0; 5].as_slice();
    let sealed = |version| Bytes::from(seal(version, [head, content].concat()));
    for row in [Bytes::copy_from_slice(content), sealed(1), sealed(2), sealed(RECORD_VERSION)] {
        match table % 12 {
            0 => record(&row),
            1 => plain::<QueueRow>(&row),
            2 => plain::<Counters>(&row),
            3 => plain::<StartMark>(&row),
            4 => plain::<GroupRow>(&row),
            5 => plain::<Location>(&row),
            6 => plain::<BucketState>(&row),
            7 => plain::<Holder>(&row),
            8 => plain::<Steered>(&row),
            9 => plain::<TopicRow>(&row),
            10 => plain::<BindingRow>(&row),
            _ => plain::<CircuitRow>(&row),
        }
    }
}

/// An error or a record; and one that is written again and read again is the same.
fn record(row: &Bytes) {
    let Ok(record) = decode_record(TableName::Ready, 1, row) else { return };
    let written = encode_record(&record);
    let again = decode_record(TableName::Ready, 1, &written).expect("what was written can be read");
    assert_eq!(encode_record(&again), written);
}

fn plain<T: Serialize + DeserializeOwned>(row: &Bytes) {
    let Ok(value) = decode::<T>(TableName::Ready, 1, row) else { return };
    let written = encode(&value);
    let again: T = decode(TableName::Ready, 1, &written).expect("what was written can be read");
    assert_eq!(encode(&again), written);
}

/// Takes numbers and names off the front of `data`; zeros when it has run out.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u64 {
        let mut number = [0; 8];
        let taken = self.bytes(8);
        number[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(number)
    }

    fn name(&mut self) -> &'a str {
        let len = self.number() % 24;
        std::str::from_utf8(self.bytes(len as usize)).unwrap_or("")
    }
}

/// Keys lie in the file in the order of what they are made of, and come back as they went in.
pub(crate) fn keys(data: &[u8]) {
    let from = &mut Source(data);
    let (a, b) = ([from.number(), from.number(), from.number()], [from.number(), from.number(), from.number()]);
    // Ties in the first parts must be tried, too.
    let b = if a[0] & 1 == 0 { [a[0], a[1], b[2]] } else { b };
    let (g, h) = (from.name(), from.name());
    let ready = |k: [u64; 3]| -> ReadyKey { (k[0] as u32, k[1] as u8, k[2]) };
    let delayed = |k: [u64; 3]| -> DelayedKey { (k[0] as u32, k[1] as u8, k[2], k[1]) };
    let dead = |k: [u64; 3]| -> DeadKey { (k[0] as u32, k[1], k[2]) };
    let finished = |k: [u64; 3]| -> FinishedKey { (k[0] as u32, k[1] as u8, k[2], k[0]) };
    let expiring = |k: [u64; 3]| -> ExpiringKey { (k[0] as u8, k[1], k[2] as u32, k[0]) };
    let head = |k: [u64; 3]| -> HeadKey { (k[0] as u32, k[2] as u8, k[1]) };
    fn member(k: [u64; 3], group: &str) -> MemberKey<'_> {
        (k[0] as u32, group, k[1] as u8, k[2], k[1])
    }
    in_order::<ReadyKey>(ready(a), ready(b));
    in_order::<DelayedKey>(delayed(a), delayed(b));
    in_order::<DeadKey>(dead(a), dead(b));
    in_order::<FinishedKey>(finished(a), finished(b));
    in_order::<ExpiringKey>(expiring(a), expiring(b));
    in_order::<HeadKey>(head(a), head(b));
    let (one, other) = (member(a, g), member(b, h));
    let bytes = [MemberKey::as_bytes(&one), MemberKey::as_bytes(&other)];
    assert_eq!(<MemberKey as Key>::compare(bytes[0].as_ref(), bytes[1].as_ref()), one.cmp(&other));
    assert_eq!(MemberKey::from_bytes(bytes[0].as_ref()), one);
}

fn in_order<K>(one: K, other: K)
where
    K: Ord + Copy,
    Numbers<K>: Key + for<'a> Value<SelfType<'a> = K>,
{
    let bytes = [Numbers::<K>::as_bytes(&one), Numbers::<K>::as_bytes(&other)];
    assert_eq!(Numbers::<K>::compare(bytes[0].as_ref(), bytes[1].as_ref()), one.cmp(&other));
    assert!(Numbers::<K>::from_bytes(bytes[0].as_ref()) == one);
}
