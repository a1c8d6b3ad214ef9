//! Encodes a value, and refuses values that would be different after decoding. It is a [`Serializer`] around that of the
//! codec.
//!
//! It checks each value once, as it is written. [`Check::read_back`] says whether the value must also be decoded to be sure.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::codec::Codec;
use super::payload_error::PayloadError;
use crate::error::BoxError;
use crate::text::char_boundary;

/// How deep lists, maps, structs and enums can be nested. `serde_json` reads no deeper nesting. postcard does, and a deep
/// value can overflow the reader's stack.
pub(crate) const NESTING_MAX: usize = 127;

/// Longest path in an error, in bytes.
const PATH_BYTES_MAX: usize = 128;

/// The prefix of the names by which `serde_json` recognises its own types. It writes their text unchanged.
const TEXT_OF_ITS_OWN: &str = "$serde_json::private::";

/// The only `f32` that changes if it is read as an `f64`, as a reader does that buffers values before it knows their types.
/// Its sign does not matter. All other values were tried.
const F32_CHANGED_AS_F64: u32 = 0x15ae_43fd;

/// What must be done to know that a value is the same after decoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadBack {
    /// Nothing: every part of the value is the same after decoding.
    #[default]
    Needless,
    /// Decode it, because some types cannot be decoded.
    Read,
    /// Decode it, encode it again, and compare the bytes.
    Compare,
}

/// What is known of a value that is being encoded.
#[derive(Default)]
pub(crate) struct Check {
    codec: Codec,
    depth: Cell<usize>,
    read_back: Cell<ReadBack>,
    refusal: Cell<Option<Refusal>>,
    /// From the place of an error up to the value itself.
    path: RefCell<Vec<Step>>,
}

#[derive(Clone, Copy)]
enum Refusal {
    NotFinite,
    NullInSome,
    TooDeep,
    SkippedField,
    UnknownLength,
}

enum Step {
    Field(&'static str),
    Key(String),
    Index(usize),
}

impl Check {
    pub fn new(codec: Codec) -> Self {
        Self { codec, ..Self::default() }
    }

    /// The value, to be given to the codec's serializer.
    pub fn watch<'c, T: Serialize + ?Sized>(&'c self, value: &'c T) -> impl Serialize + 'c {
        Watched { value, check: self, at: At::Value }
    }

    /// What must be done with the encoded value.
    pub fn read_back(&self) -> ReadBack {
        // Postcard cannot read every type that it writes.
        if self.codec == Codec::Postcard { ReadBack::Read } else { self.read_back.get() }
    }

    /// Replaces the error of the codec if the value was refused here.
    pub fn explain(&self, error: impl Into<BoxError>) -> BoxError {
        let Some(refusal) = self.refusal.get() else { return error.into() };
        let path = self.path();
        Box::new(match refusal {
            Refusal::NotFinite => PayloadError::NotFinite { path },
            Refusal::NullInSome => PayloadError::NullInSome { path },
            Refusal::TooDeep => PayloadError::TooDeep { path, max: NESTING_MAX },
            Refusal::SkippedField => PayloadError::SkippedField { path },
            Refusal::UnknownLength => PayloadError::UnknownLength { path },
        })
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.path.borrow().iter().rev() {
            let dot = if path.is_empty() { "" } else { "." };
            let _ = match step {
                Step::Field(name) => write!(path, "{dot}{name}"),
                Step::Key(key) => write!(path, "{dot}{key}"),
                Step::Index(index) => write!(path, "[{index}]"),
            };
            if path.len() > PATH_BYTES_MAX {
                path.truncate(char_boundary(&path, PATH_BYTES_MAX));
                path.push('…');
                break;
            }
        }
        path
    }

    fn refuse<E: serde::ser::Error>(&self, refusal: Refusal) -> E {
        self.refusal.set(Some(refusal));
        E::custom("refused")
    }

    fn is_json(&self) -> bool {
        self.codec == Codec::Json
    }

    fn needs(&self, read_back: ReadBack) {
        self.read_back.set(self.read_back.get().max(read_back));
    }

    fn enter<E: serde::ser::Error>(&self, levels: usize) -> Result<(), E> {
        let depth = self.depth.get() + levels;
        if depth > NESTING_MAX {
            return Err(self.refuse(Refusal::TooDeep));
        }
        self.depth.set(depth);
        Ok(())
    }

    fn leave(&self, levels: usize) {
        self.depth.set(self.depth.get() - levels);
    }

    /// Adds a step to the path of an error.
    fn located<T, E>(&self, result: Result<T, E>, step: impl FnOnce() -> Step) -> Result<T, E> {
        if result.is_err() {
            self.path.borrow_mut().push(step());
        }
        result
    }
}

/// The role of a value in the one that contains it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Value,
    /// The content of a `Some`.
    Some,
    /// A map's key.
    Key,
}

struct Watched<'c, T: ?Sized> {
    value: &'c T,
    check: &'c Check,
    at: At,
}

impl<T: Serialize + ?Sized> Serialize for Watched<'_, T> {
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Checked { inner, check: self.check, at: self.at })
    }
}

struct Checked<'c, S> {
    inner: S,
    check: &'c Check,
    at: At,
}

impl<'c, S: Serializer> Checked<'c, S> {
    /// Notes that a key is not a text. Only a reader that knows the key's type can read it. A reader that buffers values,
    /// for a tag or for the fields of a flattened struct, does not know the type.
    fn not_text(&self) {
        if self.at == At::Key {
            self.check.needs(ReadBack::Read);
        }
    }

    fn nothing(&self) -> Result<(), S::Error> {
        match self.at {
            At::Some if self.check.is_json() => Err(self.check.refuse(Refusal::NullInSome)),
            _ => Ok(()),
        }
    }

    fn float(&self, is_finite: bool) -> Result<(), S::Error> {
        self.not_text();
        match is_finite || !self.check.is_json() {
            true => Ok(()),
            false => Err(self.check.refuse(Refusal::NotFinite)),
        }
    }

    fn watched<'v, T: ?Sized>(&self, value: &'v T, at: At) -> Watched<'v, T>
    where
        'c: 'v,
    {
        Watched { value, check: self.check, at }
    }
}

macro_rules! numbers {
    ($($name:ident($number:ty))*) => {
        $(fn $name(self, value: $number) -> Result<S::Ok, S::Error> {
            self.not_text();
            self.inner.$name(value)
        })*
    };
}

impl<'c, S: Serializer> Serializer for Checked<'c, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<'c, S::SerializeSeq>;
    type SerializeTuple = Parts<'c, S::SerializeTuple>;
    type SerializeTupleStruct = Parts<'c, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<'c, S::SerializeTupleVariant>;
    type SerializeMap = Parts<'c, S::SerializeMap>;
    type SerializeStruct = Parts<'c, S::SerializeStruct>;
    type SerializeStructVariant = Parts<'c, S::SerializeStructVariant>;

    numbers! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
    }

    /// A reader that buffers values cannot hold numbers of this size.
    fn serialize_i128(self, value: i128) -> Result<S::Ok, S::Error> {
        self.check.needs(ReadBack::Compare);
        self.inner.serialize_i128(value)
    }

    fn serialize_u128(self, value: u128) -> Result<S::Ok, S::Error> {
        self.check.needs(ReadBack::Compare);
        self.inner.serialize_u128(value)
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.float(value.is_finite())?;
        if value.abs().to_bits() == F32_CHANGED_AS_F64 {
            self.check.needs(ReadBack::Compare);
        }
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.float(value.is_finite())?;
        self.inner.serialize_f64(value)
    }

    fn serialize_char(self, value: char) -> Result<S::Ok, S::Error> {
        self.inner.serialize_char(value)
    }

    fn serialize_str(self, value: &str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_str(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<S::Ok, S::Error> {
        self.inner.serialize_bytes(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.nothing()?;
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let at = if self.at == At::Key { At::Key } else { At::Some };
        let value = self.watched(value, at);
        self.inner.serialize_some(&value)
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.nothing()?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.nothing()?;
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(self, name: &'static str, index: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        let value = self.watched(value, self.at);
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.check.enter(1)?;
        let value = self.watched(value, At::Value);
        let written = self.inner.serialize_newtype_variant(name, index, variant, &value);
        self.check.leave(1);
        self.check.located(written, || Step::Field(variant))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        if len.is_none() && !self.check.is_json() {
            return Err(self.check.refuse(Refusal::UnknownLength));
        }
        Parts::begin(self.check, 1, || self.inner.serialize_seq(len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        Parts::begin(self.check, 1, || self.inner.serialize_tuple(len))
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        Parts::begin(self.check, 1, || self.inner.serialize_tuple_struct(name, len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        Parts::begin(self.check, 2, || self.inner.serialize_tuple_variant(name, index, variant, len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        if len.is_none() {
            if !self.check.is_json() {
                return Err(self.check.refuse(Refusal::UnknownLength));
            }
            // Structs with flattened fields are written like this. Their readers buffer the fields, can find a name twice,
            // and put the entries of each of two flattened maps into the other one too.
            self.check.needs(ReadBack::Compare);
        }
        Parts::begin(self.check, 1, || self.inner.serialize_map(len))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        let levels = if name.starts_with(TEXT_OF_ITS_OWN) {
            // A reader that buffers values cannot read such a text.
            self.check.needs(ReadBack::Read);
            0
        } else {
            1
        };
        Parts::begin(self.check, levels, || self.inner.serialize_struct(name, len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        Parts::begin(self.check, 2, || self.inner.serialize_struct_variant(name, index, variant, len))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The parts of a value, one after the other.
struct Parts<'c, P> {
    inner: P,
    check: &'c Check,
    levels: usize,
    index: usize,
}

impl<'c, P> Parts<'c, P> {
    fn begin<E: serde::ser::Error>(
        check: &'c Check,
        levels: usize,
        begin: impl FnOnce() -> Result<P, E>,
    ) -> Result<Self, E> {
        check.enter(levels)?;
        Ok(Self { inner: begin()?, check, levels, index: 0 })
    }

    fn next_index(&mut self) -> usize {
        self.index += 1;
        self.index - 1
    }

    fn value<'v, T: ?Sized>(&self, value: &'v T) -> Watched<'v, T>
    where
        'c: 'v,
    {
        Watched { value, check: self.check, at: At::Value }
    }

    fn key<'v, T: ?Sized>(&self, key: &'v T) -> Watched<'v, T>
    where
        'c: 'v,
    {
        Watched { value: key, check: self.check, at: At::Key }
    }

    /// Ends the value and returns the serializer of the codec.
    fn end(self) -> P {
        self.check.leave(self.levels);
        self.inner
    }
}

macro_rules! items {
    ($($what:ident::$add:ident)*) => {
        $(impl<P: $what> $what for Parts<'_, P> {
            type Ok = P::Ok;
            type Error = P::Error;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), P::Error> {
                let (value, index) = (self.value(value), self.next_index());
                let written = self.inner.$add(&value);
                self.check.located(written, || Step::Index(index))
            }

            fn end(self) -> Result<P::Ok, P::Error> {
                Parts::end(self).end()
            }
        })*
    };
}

items! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

macro_rules! fields {
    ($($what:ident)*) => {
        $(impl<P: $what> $what for Parts<'_, P> {
            type Ok = P::Ok;
            type Error = P::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), P::Error> {
                let value = self.value(value);
                let written = self.inner.serialize_field(name, &value);
                self.check.located(written, || Step::Field(name))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), P::Error> {
                if self.check.is_json() {
                    return self.inner.skip_field(name);
                }
                let refused = Err(self.check.refuse(Refusal::SkippedField));
                self.check.located(refused, || Step::Field(name))
            }

            fn end(self) -> Result<P::Ok, P::Error> {
                Parts::end(self).end()
            }
        })*
    };
}

fields! { SerializeStruct SerializeStructVariant }

impl<P: SerializeMap> SerializeMap for Parts<'_, P> {
    type Ok = P::Ok;
    type Error = P::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), P::Error> {
        let key = self.key(key);
        self.inner.serialize_key(&key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), P::Error> {
        let value = self.value(value);
        self.inner.serialize_value(&value)
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), P::Error> {
        let (watched, value) = (self.key(key), self.value(value));
        let written = self.inner.serialize_entry(&watched, &value);
        self.check.located(written, || {
            let text = serde_json::to_string(key).unwrap_or_default();
            Step::Key(text.trim_matches('"').to_owned())
        })
    }

    fn end(self) -> Result<P::Ok, P::Error> {
        Parts::end(self).end()
    }
}
