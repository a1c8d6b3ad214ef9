//! Writes values as JSON, and refuses floats that JSON does not have.
//!
//! `serde_json` writes NaN and the infinities as `null`, so who reads them gets another value or an error. The queue refuses them in
//! payloads and results of Rust handlers, and so does this crate.

use std::fmt;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// # Errors
/// The value has no JSON: a float that is not finite, a map whose keys are not strings, or an error of its own.
pub(crate) fn written<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    match value.serialize(Finite) {
        Err(NotFinite(true)) => {
            Err(serde_json::Error::custom("a float is NaN or infinite, which JSON cannot represent"))
        }
        // An error of its own is reported with its text here.
        _ => serde_json::to_vec(value),
    }
}

/// Writes nothing, and only looks at floats.
#[derive(Clone, Copy)]
struct Finite;

/// Whether a float was not finite. Otherwise the value itself could not be written.
#[derive(Debug)]
struct NotFinite(bool);

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not finite")
    }
}

impl std::error::Error for NotFinite {}

impl serde::ser::Error for NotFinite {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(false)
    }
}

type Looked = Result<(), NotFinite>;

macro_rules! fine {
    ($($function:ident($type:ty),)*) => {
        $(fn $function(self, _: $type) -> Looked {
            Ok(())
        })*
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = NotFinite;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fine! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]), serialize_unit_struct(&'static str),
    }

    fn serialize_f32(self, float: f32) -> Looked {
        if float.is_finite() { Ok(()) } else { Err(NotFinite(true)) }
    }

    fn serialize_f64(self, float: f64) -> Looked {
        if float.is_finite() { Ok(()) } else { Err(NotFinite(true)) }
    }

    fn serialize_none(self) -> Looked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Looked {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Looked {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Looked {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Looked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Looked {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Looked {
        Ok(())
    }
}

macro_rules! items {
    ($($kind:ident::$function:ident,)*) => {
        $(impl $kind for Finite {
            type Ok = ();
            type Error = NotFinite;

            fn $function<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
                value.serialize(*self)
            }

            fn end(self) -> Looked {
                Ok(())
            }
        })*
    };
}

items! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! fields {
    ($($kind:ident,)*) => {
        $(impl $kind for Finite {
            type Ok = ();
            type Error = NotFinite;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Looked {
                value.serialize(*self)
            }

            fn end(self) -> Looked {
                Ok(())
            }
        })*
    };
}

fields! { SerializeStruct, SerializeStructVariant, }

impl SerializeMap for Finite {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Looked {
        key.serialize(*self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        value.serialize(*self)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(serde::Serialize)]
    enum Shape {
        Unit,
        New(f64),
        Tuple(u8, f32),
        Struct { of: Option<f64> },
    }

    #[test]
    fn a_float_that_json_does_not_have_is_refused_wherever_it_is() {
        fn refused(value: &impl Serialize) -> bool {
            written(value).is_err_and(|error| error.to_string().contains("NaN or infinite"))
        }
        assert!(refused(&f64::NAN) && refused(&f32::INFINITY) && refused(&Some(f64::NEG_INFINITY)));
        assert!(refused(&[1.0, f64::NAN]) && refused(&vec![f64::NAN]) && refused(&(1, f64::NAN)));
        assert!(refused(&BTreeMap::from([("key", f64::NAN)])));
        assert!(refused(&Shape::New(f64::NAN)) && refused(&Shape::Tuple(1, f32::NAN)));
        assert!(refused(&Shape::Struct { of: Some(f64::NAN) }));
    }

    #[test]
    fn any_other_value_is_written_as_serde_json_writes_it() {
        let shapes = [Shape::Unit, Shape::New(1.5), Shape::Tuple(1, 2.5), Shape::Struct { of: None }];
        let json = r#"["Unit",{"New":1.5},{"Tuple":[1,2.5]},{"Struct":{"of":null}}]"#;
        assert_eq!(written(&shapes).unwrap(), json.as_bytes());
        assert_eq!(written(&(u128::MAX, i128::MIN)).unwrap(), serde_json::to_vec(&(u128::MAX, i128::MIN)).unwrap());
        let keys = written(&BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert!(keys.to_string().contains("key must be a string"), "{keys}");
    }
}
