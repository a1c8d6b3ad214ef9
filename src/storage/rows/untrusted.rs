//! Values of tables that have no checksum of ours. They are read as bytes and checked, because redb panics on text that
//! is not UTF-8 and on a tuple whose lengths do not add up. Their bytes on the disk are those that redb writes for the
//! same types.

use std::str;

use redb::{TypeName, Value};

type HeadTuple<'a> = (u64, u64, &'a str);
type AsideTuple<'a> = (&'a str, &'a [u8], &'a [u8]);

macro_rules! untrusted {
    ($($(#[$doc:meta])* $name:ident stands for $stands_for:ty;)*) => {
        $($(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Value for $name {
            type SelfType<'a> = &'a [u8];
            type AsBytes<'a> = &'a [u8];

            fn fixed_width() -> Option<usize> {
                None
            }

            fn from_bytes<'a>(data: &'a [u8]) -> &'a [u8]
            where
                Self: 'a,
            {
                data
            }

            fn as_bytes<'a, 'b: 'a>(value: &'a &'b [u8]) -> &'a [u8]
            where
                Self: 'b,
            {
                value
            }

            fn type_name() -> TypeName {
                <$stands_for as Value>::type_name()
            }
        })*
    };
}

untrusted! {
    /// A text.
    Text stands for &'static str;
    /// A group's ready head: its id, its place in the group, its group.
    HeadValue stands for HeadTuple<'static>;
    /// A row in quarantine: the table that it was in, its key, its value.
    AsideValue stands for AsideTuple<'static>;
}

impl HeadValue {
    pub fn encode(id: u64, seq: u64, group: &str) -> Vec<u8> {
        <HeadTuple<'_> as Value>::as_bytes(&(id, seq, group))
    }

    /// `None` if it is visibly damaged. Only the group's row can tell whether it is true.
    pub fn decode(row: &[u8]) -> Option<HeadTuple<'_>> {
        let (id, rest) = row.split_first_chunk()?;
        let (seq, group) = rest.split_first_chunk()?;
        Some((u64::from_le_bytes(*id), u64::from_le_bytes(*seq), str::from_utf8(group).ok()?))
    }
}

impl AsideValue {
    pub fn encode(table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
        <AsideTuple<'_> as Value>::as_bytes(&(table, key, value))
    }

    /// `None` if the row of the quarantine is damaged itself.
    pub fn decode(row: &[u8]) -> Option<AsideTuple<'_>> {
        let (table_len, row) = take_len(row)?;
        let (key_len, row) = take_len(row)?;
        let (table, row) = row.split_at_checked(table_len)?;
        let (key, value) = row.split_at_checked(key_len)?;
        Some((str::from_utf8(table).ok()?, key, value))
    }
}

/// A length as redb writes it: one byte, or a mark and two or four.
fn take_len(row: &[u8]) -> Option<(usize, &[u8])> {
    match row.split_first()? {
        (254, row) => row.split_first_chunk().map(|(len, row)| (u16::from_le_bytes(*len).into(), row)),
        (255, row) => {
            let (len, row) = row.split_first_chunk()?;
            Some((usize::try_from(u32::from_le_bytes(*len)).ok()?, row))
        }
        (len, row) => Some(((*len).into(), row)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redb_writes_is_read_back() {
        for group in ["g", &"long".repeat(32)] {
            assert_eq!(HeadValue::decode(&HeadValue::encode(7, 8, group)), Some((7, 8, group)));
        }
        for len in [0, 1, 253, 254, 255, 256, 65_535, 65_536] {
            let (key, value) = (vec![1; len], vec![2; len]);
            let row = AsideValue::encode("ready", &key, &value);
            assert_eq!(AsideValue::decode(&row), Some(("ready", &*key, &*value)), "{len}");
        }
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let rows = [HeadValue::encode(7, 8, "group"), AsideValue::encode("ready", &[1; 9], &[2; 300])];
        for row in rows {
            for bit in 0..row.len() * 8 {
                let mut bad = row.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let _ = (HeadValue::decode(&bad), AsideValue::decode(&bad));
            }
            for len in 0..row.len() {
                let _ = (HeadValue::decode(&row[..len]), AsideValue::decode(&row[..len]));
            }
        }
    }
}
