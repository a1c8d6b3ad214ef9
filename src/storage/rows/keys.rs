//! Keys made of numbers. Their bytes on the disk are those that redb writes for the same tuples. Comparing them takes a
//! tenth of the instructions, and an insert compares about a dozen keys.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use redb::{Key, TypeName, Value};

/// The key that `T`, a tuple of numbers, stands for.
pub(crate) struct Numbers<T>(PhantomData<T>);

impl<T> fmt::Debug for Numbers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}

macro_rules! keys {
    ($($width:literal: ($($part:ident: $number:ident),+);)*) => {$(
        impl Value for Numbers<($($number,)+)> {
            type SelfType<'a> = ($($number,)+);
            type AsBytes<'a> = [u8; $width];

            fn fixed_width() -> Option<usize> {
                Some($width)
            }

            #[inline]
            fn from_bytes<'a>(data: &'a [u8]) -> Self::SelfType<'a>
            where
                Self: 'a,
            {
                // redb hands out keys at the width that it was told.
                $(let ($part, data) = data.split_first_chunk().expect("a key of full width");)+
                debug_assert!(data.is_empty());
                ($($number::from_le_bytes(*$part),)+)
            }

            #[inline]
            fn as_bytes<'a, 'b: 'a>(value: &'a Self::SelfType<'b>) -> [u8; $width]
            where
                Self: 'b,
            {
                let ($($part,)+) = value;
                let mut bytes = [0; $width];
                let mut at = 0;
                $(
                    let part = $part.to_le_bytes();
                    bytes[at..at + part.len()].copy_from_slice(&part);
                    at += part.len();
                )+
                debug_assert_eq!(at, bytes.len());
                bytes
            }

            fn type_name() -> TypeName {
                <($($number,)+) as Value>::type_name()
            }
        }

        impl Key for Numbers<($($number,)+)> {
            #[inline]
            fn compare(a: &[u8], b: &[u8]) -> Ordering {
                Self::from_bytes(a).cmp(&Self::from_bytes(b))
            }
        }
    )*};
}

keys! {
    13: (a: u32, b: u8, c: u64);
    12: (a: u32, b: u64);
    16: (a: u64, b: u64);
    20: (a: u32, b: u64, c: u64);
    21: (a: u32, b: u8, c: u64, d: u64);
    21: (a: u8, b: u64, c: u32, d: u64);
    24: (a: u64, b: u64, c: u64);
    25: (a: u8, b: u64, c: u64, d: u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike<T: Key + 'static>(keys: &[T::SelfType<'static>])
    where
        for<'a> Numbers<T>: Key + Value<SelfType<'a> = T::SelfType<'a>>,
        T::SelfType<'static>: PartialEq + fmt::Debug,
    {
        assert_eq!(<Numbers<T> as Value>::type_name(), T::type_name());
        assert_eq!(<Numbers<T> as Value>::fixed_width(), T::fixed_width());
        for a in keys {
            let bytes = <Numbers<T> as Value>::as_bytes(a).as_ref().to_vec();
            assert_eq!(bytes, T::as_bytes(a).as_ref());
            for b in keys {
                let other = T::as_bytes(b).as_ref().to_vec();
                assert_eq!(<Numbers<T> as Key>::compare(&bytes, &other), T::compare(&bytes, &other), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn they_are_on_the_disk_what_redb_writes_and_in_its_order() {
        let mut rng = fastrand::Rng::with_seed(1);
        // Often equal in front, so that the numbers behind decide.
        let mut small = || (rng.u32(..3), rng.u8(..3), [0, 1, 255, 256, u64::MAX][rng.usize(..5)], rng.u64(..4));
        let keys: Vec<_> = (0..60).map(|_| small()).collect();
        alike::<(u32, u8, u64)>(&keys.iter().map(|k| (k.0, k.1, k.2)).collect::<Vec<_>>());
        alike::<(u32, u64)>(&keys.iter().map(|k| (k.0, k.2)).collect::<Vec<_>>());
        alike::<(u64, u64)>(&keys.iter().map(|k| (k.2, k.3)).collect::<Vec<_>>());
        alike::<(u64, u64, u64)>(&keys.iter().map(|k| (k.3, k.2, k.3)).collect::<Vec<_>>());
        alike::<(u8, u64, u64, u64)>(&keys.iter().map(|k| (k.1, k.2, k.3, k.3)).collect::<Vec<_>>());
        alike::<(u32, u64, u64)>(&keys.iter().map(|k| (k.0, k.2, k.3)).collect::<Vec<_>>());
        alike::<(u32, u8, u64, u64)>(&keys);
        alike::<(u8, u64, u32, u64)>(&keys.iter().map(|k| (k.1, k.2, k.0, k.3)).collect::<Vec<_>>());
    }
}
